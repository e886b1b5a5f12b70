//! Which generations are fed: those of the definitions that serve, of those that are to serve next, and of those that may have to serve again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use lockstep_ingest::pipeline::{Target, history_path};
use lockstep_ingest::push::PARTITION;
use lockstep_model::{Clock, EventTime, Generation, PartitionId, SystemClock};
use lockstep_serve::chosen::{Stand, chosen, generation_of};
use lockstep_store::{CutRead, Definitions, GenerationInfo, OnlineStore, Release};
use lockstep_transform::catalog::Catalog;

use crate::owned::Owned;

/// Why a set of definitions is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It serves.
    Serves,
    /// It was applied last, and serves once it has caught up.
    Next,
    /// It served, and may have to serve again until then.
    Until(EventTime),
}

/// A set of definitions that is fed.
#[derive(Debug, Clone)]
pub struct Set {
    /// Its number.
    pub version: u64,
    /// Why it is fed.
    pub why: Why,
    /// What it says.
    pub catalog: Arc<Catalog>,
}

/// The generations that are fed for a set of definitions.
#[derive(Debug)]
pub struct Work {
    /// The set.
    pub set: Set,
    /// Its published generations, without those that are fed for a set before it.
    pub targets: Vec<Target>,
}

impl Work {
    /// The generations.
    pub fn generations(&self) -> Vec<Generation> {
        self.targets.iter().map(|target| target.generation.generation).collect()
    }

    /// The names of the sources that they read.
    pub fn sources(&self) -> BTreeSet<&str> {
        self.targets.iter().flat_map(|target| &target.sources).map(|source| source.name.as_str()).collect()
    }
}

/// The sets of definitions that are fed, that which serves first; none where none was applied. Those that served are fed for `[releases] rollback_window` after another took their place. What serves is
/// what the release says; where none was promoted, what keeps up (see [`chosen`]).
///
/// # Errors
/// Where the store cannot be read, or this release has something against the definitions.
pub fn wanted(owned: &Owned) -> Result<Vec<Set>> {
    let cut = OnlineStore::cut(&*owned.store);
    match cut.serving()? {
        Some((release, _)) => wanted_by_release(owned, &*cut, &release),
        None => wanted_unreleased(owned, &*cut),
    }
}

/// Where a release says what serves: that, what was applied last, and what served before the pointer moved.
fn wanted_by_release(owned: &Owned, cut: &dyn CutRead, release: &Release) -> Result<Vec<Set>> {
    let serving = release.new.definitions;
    let mut sets = vec![Set { version: serving, why: Why::Serves, catalog: owned.definitions(serving)? }];
    let newest = owned.store.definitions_version();
    if newest > serving {
        sets.push(Set { version: newest, why: Why::Next, catalog: owned.definitions(newest)? });
    }
    let (releases, generations) = (cut.releases()?, cut.generations()?);
    let window = owned.project.config.releases.rollback_window.micros();
    for switch in cut.switches()?.iter().rev() {
        let until = EventTime(switch.at.0.saturating_add(window));
        if until <= SystemClock.now() {
            break;
        }
        let from = releases.iter().find(|known| Some(known.release) == switch.from).map(|known| known.new.definitions);
        let Some(earlier) = from.filter(|earlier| sets.iter().all(|set| set.version != *earlier)) else { continue };
        // What this release cannot compile cannot serve again, either, nor can what was given up.
        let Ok(catalog) = owned.definitions(earlier) else { continue };
        if Stand::of(&catalog, &generations) == Stand::KeepsUp {
            sets.push(Set { version: earlier, why: Why::Until(until), catalog });
        }
    }
    Ok(sets)
}

fn wanted_unreleased(owned: &Owned, cut: &dyn CutRead) -> Result<Vec<Set>> {
    let (history, generations) = (cut.definitions_history()?, cut.generations()?);
    let compile = |definitions: &Definitions| -> Result<_> { Ok((definitions.clone(), owned.compiled(definitions)?)) };
    let Some((serving, catalog)) = chosen(cut, compile, |(_, catalog)| catalog)? else { return Ok(Vec::new()) };
    let mut since = served_since(&serving, &catalog, &generations);
    let mut sets = vec![Set { version: serving.version, why: Why::Serves, catalog }];
    if let Some(newest) = history.last().filter(|newest| newest.version > serving.version) {
        sets.push(Set { version: newest.version, why: Why::Next, catalog: owned.compiled(newest)? });
    }
    let window = owned.project.config.releases.rollback_window.micros();
    for earlier in history.iter().rev().filter(|earlier| earlier.version < serving.version) {
        let until = EventTime(since.0.saturating_add(window));
        if until <= SystemClock.now() {
            break;
        }
        // What this release cannot compile cannot serve again, either.
        let Ok(catalog) = owned.compiled(earlier) else { continue };
        if Stand::of(&catalog, &generations) == Stand::KeepsUp {
            since = since.min(served_since(earlier, &catalog, &generations));
            sets.push(Set { version: earlier.version, why: Why::Until(until), catalog });
        }
    }
    Ok(sets)
}

/// When a set of definitions came to serve: once it was applied, and all its generations kept up.
fn served_since(definitions: &Definitions, catalog: &Catalog, generations: &[GenerationInfo]) -> EventTime {
    let caught_up = catalog.views.values().filter_map(|view| generation_of(view, generations)?.caught_up_at);
    caught_up.fold(definitions.applied_at, EventTime::max)
}

/// Why a generation is wanted, filled or not; the first of its reasons.
pub fn why(sets: &[Set], info: &GenerationInfo) -> Option<(u64, Why)> {
    let means = |set: &&Set| set.catalog.views.get(&info.view).is_some_and(|view| view.meaning == info.meaning && view.state == info.state);
    sets.iter().find(means).map(|set| (set.version, set.why))
}

/// What is to be fed from now on, set by set: that which serves first, so that what several mean alike is fed with it. Notes that what serves keeps up, by which others
/// are measured, and that what is fed no more does not.
///
/// # Errors
/// As [`wanted`]; where the store cannot be written.
pub fn works(owned: &Owned) -> Result<Vec<Work>> {
    note(owned, &wanted(owned)?)?;
    planned(owned)
}

/// As [`works`], only to know it.
///
/// # Errors
/// As [`wanted`].
pub fn planned(owned: &Owned) -> Result<Vec<Work>> {
    let sets = wanted(owned)?;
    let generations = OnlineStore::cut(&*owned.store).generations()?;
    let mut taken = BTreeSet::new();
    let mut works = Vec::new();
    for set in sets {
        let mut targets = Vec::new();
        for view in set.catalog.views.values() {
            // A run of predictions has all that it will have.
            let found = generation_of(view, &generations).filter(|info| info.run.is_none() && taken.insert(info.generation));
            targets.extend(found.map(|info| Target::new(&set.catalog, view, info.clone())).transpose()?);
        }
        if !targets.is_empty() {
            works.push(Work { set, targets });
        }
    }
    Ok(works)
}

fn note(owned: &Owned, sets: &[Set]) -> Result<()> {
    let notes = |info: GenerationInfo| {
        let keeps_up = match why(sets, &info) {
            Some((_, Why::Serves)) => true,
            Some(_) => return None,
            None => false,
        };
        (info.published() && info.caught_up_at.is_some() != keeps_up).then_some((info.generation, keeps_up))
    };
    let generations = OnlineStore::cut(&*owned.store).generations()?;
    Ok(owned.store.note_keeping_up(&generations.into_iter().filter_map(notes).collect::<Vec<_>>())?)
}

/// Notes which generations have come as far as those that serve, after a run that followed nothing.
///
/// # Errors
/// As [`works`].
pub fn note_in_step(owned: &Owned) -> Result<()> {
    let _alone = owned.change();
    let works = works(owned)?;
    let Some((serving, others)) = works.split_first().filter(|(first, _)| first.set.why == Why::Serves) else { return Ok(()) };
    let served = serving.generations();
    let cut = OnlineStore::cut(&*owned.store);
    let mut notes = Vec::new();
    for target in others.iter().flat_map(|work| &work.targets).filter(|target| target.generation.caught_up_at.is_none()) {
        if lacks(&*cut, target, &served, |_| true)?.is_empty() {
            notes.push((target.generation.generation, true));
        }
    }
    Ok(owned.store.note_keeping_up(&notes)?)
}

/// The logs, of those that `counts` holds of, that a generation has not read as far as those that serve have.
///
/// # Errors
/// Where the cut cannot be read.
pub fn lacks(cut: &dyn CutRead, target: &Target, served: &[Generation], counts: impl Fn(&PartitionId) -> bool) -> Result<BTreeSet<PartitionId>> {
    let own: BTreeMap<PartitionId, u64> = rows(cut, target.generation.generation)?.collect();
    let reads = |id: &PartitionId| counts(id) && target.branches_of(&id.source).next().is_some();
    let mut lacking = BTreeSet::new();
    for generation in served {
        let further = rows(cut, *generation)?.filter(|(id, row)| reads(id) && own.get(id).is_none_or(|own| own < row));
        lacking.extend(further.map(|(id, _)| id));
    }
    Ok(lacking)
}

/// Whether a log of this name is one that can be followed, and no file.
pub fn is_followable(partition: &str) -> bool {
    partition.starts_with("kafka://") || partition == PARTITION
}

/// The files that were applied to what serves and not, or not as far, to a generation that is to serve next.
///
/// # Errors
/// As [`planned`].
pub fn files_lacking(owned: &Owned) -> Result<BTreeMap<Generation, Vec<String>>> {
    let works = planned(owned)?;
    let served = works.iter().find(|work| work.set.why == Why::Serves).map(Work::generations).unwrap_or_default();
    let cut = OnlineStore::cut(&*owned.store);
    let mut lacking = BTreeMap::new();
    for target in works.iter().filter(|work| work.set.why == Why::Next).flat_map(|work| &work.targets) {
        let files = lacks(&*cut, target, &served, |id| !is_followable(&id.partition))?;
        lacking.insert(target.generation.generation, files.into_iter().map(|id| id.partition).collect());
    }
    Ok(lacking)
}

/// Where a generation stands in logs.
fn rows(cut: &dyn CutRead, generation: Generation) -> Result<impl Iterator<Item = (PartitionId, u64)>> {
    let positions = cut.positions(generation)?.into_iter().filter(|(id, _)| history_path(&id.partition).is_none());
    Ok(positions.map(|(id, position)| (id, position.rows())))
}
