//! The offline driver: what a generation has applied, read again from its files and computed in memory.
//!
//! The same admission, row stage and tree as online, fed in one go instead of commit by commit; nothing is read from the generation but how far it has come
//! and which rows its clock put aside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lockstep_model::{Error, EventTime, FilePosition, PartitionId, Position};
use lockstep_store::{CutRead, Refusal};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::tiles::{self, MemoryState, Shape};

use crate::admission::{Kind, MemoryKeyIndex};
use crate::pipeline::{Pending, Target, arrivals_of, file_format, history_path, schema_of};
use crate::source::{ReadRequest, SourceBatch, SourceFile, SourceReader, Stores, locate};

/// The moment that no event is ahead of: what the clock put aside is told by the generation, not decided anew.
const NOW: EventTime = EventTime(i64::MAX / 2);

/// What a generation has applied, computed again.
#[derive(Debug)]
pub struct Replayed {
    /// State of all entities.
    pub state: MemoryState,
    /// Every entity's encoded key, with the event times of its events, ascending.
    pub entities: Vec<(Vec<u8>, Vec<i64>)>,
    /// Rows that came too late, by the log alone.
    pub refusals: Vec<Refusal>,
    /// Rows read.
    pub rows: u64,
}

/// Where files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// Where relative paths start.
    pub base: PathBuf,
    /// Object stores that locations may name.
    pub stores: Stores,
    /// The moment that the history ends at, where the backfill had one.
    pub until: Option<EventTime>,
}

/// Reads everything that `target` has applied, up to its positions in `cut`, and computes its state with trees of the given shape.
///
/// # Errors
/// Unavailable where an input cannot be read again, as standard input cannot; Data where a file is no longer the one that was applied.
pub fn replay(catalog: &Catalog, target: &Target, cut: &dyn CutRead, files: &Files, shape: Shape) -> Result<Replayed, Error> {
    let generation = target.generation.generation;
    let mut ahead: BTreeMap<PartitionId, BTreeSet<u64>> = BTreeMap::new();
    for letter in cut.dead_letters(generation) {
        let letter = letter?;
        if letter.reason == "ahead" {
            ahead.entry(letter.partition).or_default().insert(letter.row);
        }
    }
    let mut replay = Replay { target, until: files.until, keys: MemoryKeyIndex::new(), pending: Pending::default(), rows: 0, ahead };
    let mut positions = cut.positions(generation)?;
    // History comes before the logs, as it did.
    positions.sort_by_key(|(id, _)| history_path(&id.partition).is_none());
    for (id, position) in positions {
        let Position::File(position) = position;
        let source = catalog.sources.get(&id.source).ok_or_else(|| Error::internal(format!("no source named `{}`", id.source)))?;
        replay.partition(catalog, source, &id, &position, files)?;
    }
    replay.finish(shape)
}

struct Replay<'a> {
    target: &'a Target,
    until: Option<EventTime>,
    keys: MemoryKeyIndex,
    pending: Pending,
    rows: u64,
    /// Rows that the clock put aside.
    ahead: BTreeMap<PartitionId, BTreeSet<u64>>,
}

impl Replay<'_> {
    fn partition(&mut self, catalog: &Catalog, source: &SourcePlan, id: &PartitionId, position: &FilePosition, files: &Files) -> Result<(), Error> {
        let path = history_path(&id.partition);
        let kind = if path.is_some() { Kind::History } else { Kind::Stream };
        let file = find(path.unwrap_or(&id.partition), files)?;
        let mut request = ReadRequest::new(schema_of(source), file_format(source, &file)?);
        request.declared = catalog.sources.keys().cloned().collect();
        let mut reader = SourceReader::open(&file, request)?;
        let mut event_time_max = None;
        while let Some(chunk) = reader.next_chunk()? {
            for batch in &chunk.batches {
                event_time_max = self.batch(batch, source, id, position, event_time_max, kind)?;
            }
            self.rows += chunk.rows_read;
        }
        Ok(())
    }

    fn batch(
        &mut self,
        batch: &SourceBatch,
        source: &SourcePlan,
        id: &PartitionId,
        position: &FilePosition,
        event_time_max: Option<i64>,
        kind: Kind,
    ) -> Result<Option<i64>, Error> {
        let ahead = self.ahead.get(id);
        let counts = |row: u64| row < position.rows && ahead.is_none_or(|ahead| !ahead.contains(&row));
        let until = self.until.filter(|_| kind == Kind::History);
        let mut after = event_time_max;
        for branch in self.target.branches_of(&source.name) {
            let (target, keys, pending) = (self.target, &self.keys, &mut self.pending);
            let already = pending.keys.len();
            after =
                arrivals_of(batch, id, counts, until, source, |arrivals| target.step(branch, arrivals, event_time_max, keys, NOW, kind, pending))?;
            self.keys.apply(&self.pending.keys[already..]);
            self.pending.keys.truncate(already);
        }
        Ok(after)
    }

    fn finish(self, shape: Shape) -> Result<Replayed, Error> {
        let mut state = MemoryState::default();
        let mut entities = Vec::new();
        for changes in self.pending.staged.by_entity() {
            if changes.upserts.is_empty() {
                continue;
            }
            state.write(tiles::build(&self.target.view.measures, shape, changes.entity, &changes.upserts)?);
            let times = changes.upserts.iter().map(|row| tiles::order::time_of(row.key)).collect();
            entities.push((changes.entity.to_vec(), times));
        }
        Ok(Replayed { state, entities, refusals: self.pending.refusals, rows: self.rows })
    }
}

fn find(path: &str, files: &Files) -> Result<SourceFile, Error> {
    if path == "-" {
        return Err(Error::unavailable(
            "standard input cannot be read again · ingest from a file to verify against it, or verify the answers that were kept",
        ));
    }
    let local = Path::new(path);
    if path.contains("://") || local.is_absolute() || local.exists() {
        let found = locate(path, &files.base, &files.stores)?;
        return found.into_iter().next().ok_or_else(|| Error::not_found(format!("`{path}` was applied and is gone · restore it")));
    }
    Ok(SourceFile::local(files.base.join(path)))
}
