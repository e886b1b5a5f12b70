//! What the writer keeps in memory of `meta`: enough to check a commit and to add to what it changes without reading.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_model::{Error, EventTime, Fingerprint, Generation};
use serde::{Deserialize, Serialize};

use crate::expiry::Rules;
use crate::release::Releases;
use crate::{Counters, Epoch, GenerationInfo, Horizon, Queue};

/// The writer's book. A change is made to a copy, written, and only then becomes the book; entries are shared, so that a copy is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    pub(crate) epoch: Epoch,
    /// Version of the definitions applied last, 0 before the first.
    pub(crate) definitions: u64,
    /// Every generation that ever was, dropped ones included.
    pub(crate) generations: BTreeMap<Generation, Arc<Entry>>,
    /// Releases and which of them serves.
    pub(crate) releases: Arc<Releases>,
    /// The queues of the outbox.
    pub(crate) queues: BTreeMap<String, Queue>,
    /// The number of the last snapshot that was named by one, 0 before the first.
    pub(crate) snapshots: u32,
    /// What compaction may remove once this book is on the disk.
    pub(crate) rules: Arc<Rules>,
    /// When commits were last forced to the disk by this process.
    pub(crate) synced_at: Option<EventTime>,
}

/// What is kept of one generation.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) info: GenerationInfo,
    pub(crate) horizon: Horizon,
    pub(crate) counters: BTreeMap<String, Counters>,
    pub(crate) bulk: Option<BulkProgress>,
}

/// How far a bulk load has come.
#[derive(Debug, Clone)]
pub(crate) struct BulkProgress {
    pub(crate) job: JobRecord,
    pub(crate) done: Vec<u32>,
}

/// What a bulk load is, on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) parts: u32,
}

impl BulkProgress {
    /// Parts that are not loaded yet, ascending.
    pub(crate) fn missing(&self) -> Vec<u32> {
        (0..self.job.parts).filter(|part| !self.done.contains(part)).collect()
    }
}

impl Entry {
    /// A generation that holds nothing yet.
    pub(crate) fn new(info: GenerationInfo) -> Self {
        Entry { info, horizon: Horizon::default(), counters: BTreeMap::new(), bulk: None }
    }
}

impl Book {
    /// A generation that was not dropped.
    pub(crate) fn entry(&self, generation: Generation) -> Result<&Entry, Error> {
        match self.generations.get(&generation) {
            Some(entry) if entry.info.dropped_at.is_none() => Ok(entry),
            Some(entry) => Err(gone(&entry.info)),
            None => Err(self.unknown(generation)),
        }
    }

    /// A generation that was not dropped, to be changed.
    pub(crate) fn entry_mut(&mut self, generation: Generation) -> Result<&mut Entry, Error> {
        self.entry(generation)?;
        let entry = self.generations.get_mut(&generation).map(Arc::make_mut);
        entry.ok_or_else(|| Error::internal(format!("generation {} has left the book", generation.0)))
    }

    /// Generations that were dropped.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = Generation> {
        self.generations.iter().filter(|(_, entry)| entry.info.dropped_at.is_some()).map(|(generation, _)| *generation)
    }

    /// The number of the next generation.
    pub(crate) fn next_generation(&self) -> Result<Generation, Error> {
        let last = self.generations.keys().next_back().map_or(0, |generation| generation.0);
        // The last number stays free, so that every generation's keys have an end.
        let next = last.checked_add(1).filter(|&next| next < u32::MAX);
        next.map(Generation).ok_or_else(|| Error::invalid("the store has used up its generation numbers · start a new store"))
    }

    /// Refuses writers of an earlier epoch.
    pub(crate) fn check_epoch(&self, epoch: Epoch) -> Result<(), Error> {
        if epoch == self.epoch {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "this writer was replaced by a newer one · its epoch: {}, the store's: {} · stop it; the newer one goes on from the stored positions",
            epoch.0, self.epoch.0
        )))
    }

    fn unknown(&self, generation: Generation) -> Error {
        let live = self.generations.values().filter(|entry| entry.info.dropped_at.is_none());
        let known: Vec<String> = live.map(|entry| format!("{} ({} v{})", entry.info.generation.0, entry.info.view, entry.info.version)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::not_found(format!("the store has no generation {} · known: {known} · `lockstep status` lists them", generation.0))
    }
}

fn gone(info: &GenerationInfo) -> Error {
    let GenerationInfo { generation, view, version, dropped_at, .. } = info;
    let when = dropped_at.map_or_else(String::new, |at| format!(" at {at}"));
    Error::not_found(format!(
        "generation {} of `{view}` version {version} was dropped{when} · backfill the version anew to have it again",
        generation.0
    ))
}
