//! Going back to an earlier run.

use anyhow::Result;
use lockstep_model::{Error, Generation};
use lockstep_store::{GenerationInfo, OnlineStore};

use super::Defined;
use crate::feed::wanted;
use crate::owned::Owned;

/// Lets an earlier run be read again, or a later one that was taken back: the one before that which serves, unless another is named. The run that serves now, and the one that does from then on.
///
/// # Errors
/// NotFound where there are no such predictions, or no such run is kept; Invalid where it serves already.
pub fn roll_back(owned: &Owned, name: &str, to: Option<u32>) -> Result<(u32, u32)> {
    let sets = wanted::wanted(owned)?;
    let Some(serving) = sets.first() else { return Err(owned.project.nothing_applied().into()) };
    let of = Defined::find(&serving.catalog, name)?;
    let cut = OnlineStore::cut(&*owned.store);
    let Some((now, _)) = of.serving(&*cut)? else {
        return Err(Error::not_found(format!("no run of `{name}` was published yet, and so there is none to go back to")).into());
    };
    let generations = cut.generations()?;
    let whole: Vec<&GenerationInfo> = generations.iter().filter(|info| of.is(info) && info.run.is_some() && info.published_at.is_some()).collect();
    let before = || whole.iter().filter(|info| info.published()).filter_map(|info| info.run).filter(|run| *run < now).max();
    let to = match to.or_else(before) {
        Some(to) if to == now => return Err(Error::invalid(format!("run {to} of `{name}` serves already · name another")).into()),
        Some(to) if whole.iter().any(|info| info.run == Some(to)) => to,
        to => return Err(not_kept(name, to, &whole).into()),
    };
    // In every version of the definitions that is fed: what serves next is to go on from here.
    let mut moves: Vec<(Generation, bool)> = Vec::new();
    for of in sets.iter().filter_map(|set| Defined::find(&set.catalog, name).ok()) {
        let runs = generations.iter().filter(|info| of.is(info) && info.published_at.is_some());
        for (info, run) in runs.filter_map(|info| Some((info, info.run?))) {
            let is_back = run > to;
            let changes = run >= to && info.taken_back_at.is_some() != is_back;
            if changes && !moves.iter().any(|(known, _)| *known == info.generation) {
                moves.push((info.generation, is_back));
            }
        }
    }
    owned.store.take_back(&moves)?;
    Ok((now, to))
}

fn not_kept(name: &str, to: Option<u32>, whole: &[&GenerationInfo]) -> Error {
    let known: Vec<String> = whole.iter().filter_map(|info| info.run).map(|run| run.to_string()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let what = to.map_or_else(|| format!("`{name}` have no earlier run that was not taken back"), |to| format!("run {to} of `{name}` is not kept"));
    Error::not_found(format!("{what} · kept: {known} · name one of them, or publish another run"))
}
