//! `release rollback`: lets a release serve again that has served before.

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use lockstep_store::{CutRead, NewSwitch, OnlineStore, Release, Switch, SwitchKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::{Switched, generations_of, release_numbered};
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::release::validate::watermark_of;
use crate::text::age;
use crate::who::Signed;

/// Go back to a release that has served before
///
/// To the one that served before the present one was promoted, unless another is named. It goes on being fed for a while (`rollback_window`), so that going back is instant, and its values are
/// those of today; one that is further behind than `behind_max` is refused unless forced.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The release to go back to
    #[arg(value_name = "RELEASE")]
    pub to: Option<u32>,
    /// Go back though its state is behind
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub signed: Signed,
}

/// Rolls back.
///
/// # Errors
/// NotFound where there is nothing to go back to; Invalid where it serves already or is too far behind; Unavailable where something else was promoted meanwhile.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { to, force, signed } = arguments;
    let question = Question { to: *to, force: *force, by: signed.by(), reason: signed.reason.clone(), automatic_of: None };
    context.out.show(&context.ask(&question)?)?;
    Ok(Outcome::Fine)
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The release to go back to.
    pub to: Option<u32>,
    /// Whether to go back to one that is behind.
    pub force: bool,
    /// Who asks.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The release that a limit takes back: nothing is done where another serves by now.
    pub automatic_of: Option<u32>,
}

/// A move back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RolledBack(pub Switched);

impl ask::Question for Question {
    const VERB: &'static str = "release rollback";
    const WRITES: bool = true;
    type Answer = RolledBack;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<RolledBack> {
        roll_back(owned, self)
    }
}

/// Lets a release serve again.
///
/// # Errors
/// As [`run`].
pub fn roll_back(owned: &Owned, question: &Question) -> Result<RolledBack> {
    let Question { to, force, by, reason, automatic_of } = question;
    let cut = OnlineStore::cut(&*owned.store);
    let Some((serving, switch)) = cut.serving()? else {
        return Err(Error::not_found("no release was promoted yet, and so there is none to go back to").into());
    };
    if automatic_of.is_some_and(|release| release != serving.release) {
        return Err(Error::unavailable("another release serves by now").into());
    }
    let to = match to {
        Some(to) => *to,
        None => before(&cut.switches()?, &serving)?,
    };
    let release = release_numbered(&*cut, to)?;
    let behind = behind(owned, &*cut, &serving, &release)?;
    let limit = owned.project.config.releases.validate.behind_max.micros();
    if behind > limit && !force && automatic_of.is_none() {
        let message = format!(
            "release {to} is {} behind what serves: it is fed no longer, or catches up · at most {} are allowed · wait, or go back all the same with --force",
            age(behind),
            age(limit)
        );
        return Err(Error::invalid(message).into());
    }
    drop(cut);
    owned.prepare(release.new.definitions)?;
    let new =
        NewSwitch { kind: SwitchKind::RollBack, forced: behind > limit, by: by.clone(), reason: reason.clone(), automatic: automatic_of.is_some() };
    let switch = owned.store.roll_back(switch.epoch, to, new)?;
    owned.switched();
    Ok(RolledBack(Switched::new(&switch, &release)))
}

/// The release that served before the present one was promoted.
fn before(switches: &[Switch], serving: &Release) -> Result<u32> {
    let promoted = switches.iter().find(|switch| switch.release == serving.release && switch.new.kind == SwitchKind::Promote);
    promoted
        .and_then(|switch| switch.from)
        .ok_or_else(|| Error::not_found(format!("release {} is the first: there is none to go back to", serving.release)).into())
}

/// How far the state of a release is behind that of what serves, by watermark, µs.
///
/// # Errors
/// Where the store cannot be read.
pub fn behind(owned: &Owned, cut: &dyn CutRead, serving: &Release, to: &Release) -> Result<i64> {
    let ends = |release: &Release| -> Result<Vec<(String, Option<i64>)>> {
        let catalog = owned.definitions(release.new.definitions)?;
        let mut ends = Vec::new();
        for info in generations_of(cut, release)? {
            if let Some(view) = catalog.views.get(&info.view) {
                ends.push((info.view, watermark_of(cut, &catalog, view, info.generation)?));
            }
        }
        Ok(ends)
    };
    let serving = ends(serving)?;
    let of_view = |(view, end): (String, Option<i64>)| {
        let newest = serving.iter().find(|(other, _)| *other == view).and_then(|(_, end)| *end)?;
        Some(end.map_or(i64::MAX, |end| newest.saturating_sub(end)))
    };
    Ok(ends(to)?.into_iter().filter_map(of_view).max().unwrap_or_default())
}

impl Report for RolledBack {
    fn text(&self, paint: Paint) -> String {
        let Switched { release, epoch, definitions, from, .. } = &self.0;
        let from = from.map(|from| format!(", and release {from} no more")).unwrap_or_default();
        let why = Some(self.0.why()).filter(|why| !why.is_empty()).map(|why| format!(" · {why}")).unwrap_or_default();
        format!("{} release {release} again, definitions number {definitions}, epoch {epoch}{from}{why}\n", paint.green("serves:"))
    }
}
