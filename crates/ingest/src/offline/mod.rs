//! The offline driver: what a generation has applied, read again from its files and computed in memory.
//!
//! The same admission, row stage and tree as online, fed in one go instead of commit by commit; nothing is read from the generation but how far it has come
//! and which rows its clock put aside.

pub mod applied;
mod log;
mod recent;
pub mod training;
mod visible;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_model::{Error, EventTime, KeyIndex, PartitionId, Position, StateRead};
use lockstep_store::{Counters, CutRead, GenerationInfo, Refusal};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::changes::StagedChanges;
use lockstep_transform::oracle::Winners;
use lockstep_transform::tiles::{self, MemoryState, Shape};

use crate::admission::{CutKeys, Kind, MemoryKeyIndex, PendingKeys};
use crate::kafka::Settings;
use crate::pipeline::{Newest, Pending, Target, arrivals_of, history_path, horizon};
use crate::source::{SourceBatch, SourceFile, Stores, locate};
use applied::{Ahead, Together, in_order};
use log::Log;
use recent::Recent;
pub use recent::Since;
use visible::Visible;

/// The moment that no event is ahead of: what the clock put aside is told by the generation, not decided anew.
const NOW: EventTime = EventTime(i64::MAX / 2);

/// What a generation has applied, computed again.
#[derive(Debug)]
pub struct Replayed {
    /// State of all entities.
    pub state: MemoryState,
    /// Every entity's encoded key, with the event times of its events, ascending.
    pub entities: Vec<(Vec<u8>, Vec<i64>)>,
    /// Per branch of the view: the rows that ever were visible.
    pub winners: Vec<Winners>,
    /// What is remembered of primary keys.
    pub keys: MemoryKeyIndex,
    /// Rows that came too late, by the log alone.
    pub refusals: Vec<Refusal>,
    /// What became of the rows of each source.
    pub counters: BTreeMap<String, Counters>,
    /// Rows read.
    pub rows: u64,
}

/// Where files, topics and what was pushed are.
#[derive(Debug, Clone)]
pub struct Files {
    /// Where relative paths start.
    pub base: PathBuf,
    /// Object stores that locations may name.
    pub stores: Stores,
    /// Where the brokers of Kafka topics are, where that is known.
    pub kafka: Option<Arc<Settings>>,
    /// The directory of what was pushed: `push` in that of the store.
    pub push: Option<PathBuf>,
}

/// Reads everything that `target` has applied, up to its positions in `cut`, and computes its state with trees of the given shape.
///
/// # Errors
/// Unavailable where an input cannot be read again, as standard input cannot; Data where a file is no longer the one that was applied.
pub fn replay(catalog: &Catalog, target: &Target, cut: &dyn CutRead, files: &Files, shape: Shape) -> Result<Replayed, Error> {
    let mut replay = Replay::new(catalog, target, cut, files, shape)?;
    replay.admit(&cut.positions(target.generation.generation)?)?;
    replay.finish()
}

/// The inputs of a generation, read again step by step: its state as it was at one set of positions after the other.
#[derive(Debug)]
pub struct Replay<'a> {
    catalog: &'a Catalog,
    target: &'a Target,
    files: &'a Files,
    shape: Shape,
    /// Where the history ended.
    until: Option<EventTime>,
    logs: BTreeMap<PartitionId, Log>,
    keys: Keys<'a>,
    pending: Pending,
    /// Per branch.
    visible: Vec<Visible>,
    state: State<'a>,
    rows: u64,
    /// Rows that the clock put aside.
    ahead: Ahead,
    /// The sources that were read from each partition.
    together: Together,
}

/// What the inputs come to.
#[derive(Debug)]
enum State<'a> {
    /// From their beginning.
    Whole(MemoryState),
    /// From an earlier moment of a store.
    Recent(Box<Recent<'a>>),
}

/// What is remembered of primary keys: what was read, over what an earlier store knew.
#[derive(Debug)]
struct Keys<'a> {
    read: MemoryKeyIndex,
    before: Option<CutKeys<'a>>,
}

impl KeyIndex for Keys<'_> {
    fn get_many(&self, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        match &self.before {
            Some(before) => PendingKeys::new(&self.read, before).get_many(source, keys, found),
            None => self.read.get_many(source, keys, found),
        }
    }
}

impl<'a> Replay<'a> {
    /// Nothing read yet. Of the generation in `cut`, only the rows that its clock put aside are taken over, and of all which sources were read together.
    ///
    /// # Errors
    /// Where the cut cannot be read.
    pub fn new(catalog: &'a Catalog, target: &'a Target, cut: &dyn CutRead, files: &'a Files, shape: Shape) -> Result<Replay<'a>, Error> {
        let GenerationInfo { generation, history_until, .. } = &target.generation;
        Ok(Replay {
            catalog,
            target,
            files,
            shape,
            until: history_until.filter(|until| *until != EventTime::MAX),
            logs: BTreeMap::new(),
            keys: Keys { read: MemoryKeyIndex::new(), before: None },
            pending: Pending::default(),
            visible: target.sources.iter().map(|_| Visible::default()).collect(),
            state: State::Whole(MemoryState::default()),
            rows: 0,
            ahead: Ahead::of(cut, *generation)?,
            together: Together::of(cut)?,
        })
    }

    /// One that stands where `since` did: of the inputs, only what came then is read.
    ///
    /// # Errors
    /// Where a cut cannot be read.
    pub fn since(
        catalog: &'a Catalog,
        target: &'a Target,
        cut: &dyn CutRead,
        files: &'a Files,
        (shape, since): (Shape, Since<'a>),
    ) -> Result<Replay<'a>, Error> {
        let GenerationInfo { generation, history_until, .. } = &target.generation;
        let recent = Recent::new(since, *generation, &target.view, shape)?;
        Ok(Replay {
            catalog,
            target,
            files,
            shape,
            until: history_until.filter(|until| *until != EventTime::MAX),
            logs: BTreeMap::new(),
            keys: Keys { read: MemoryKeyIndex::new(), before: Some(CutKeys::new(since.cut, *generation)) },
            pending: Pending::default(),
            visible: Vec::new(),
            rows: 0,
            ahead: Ahead::since(cut, *generation, &recent.positions)?,
            together: Together::of(cut)?,
            state: State::Recent(Box::new(recent)),
        })
    }

    /// Goes on to `positions`, which are not before those it stands at.
    ///
    /// # Errors
    /// As [`replay`].
    pub fn advance(&mut self, positions: &[(PartitionId, Position)]) -> Result<(), Error> {
        self.admit(positions)?;
        let mut changes = self.pending.staged.by_entity();
        match &mut self.state {
            State::Whole(state) => {
                let writes = tiles::apply(&self.target.view.measures, self.shape, state, &mut changes)?;
                state.write(writes);
            }
            State::Recent(recent) => recent.apply(&mut changes)?,
        }
        self.pending.staged.clear();
        // Who goes step by step asks for the state alone.
        (self.pending.refusals, self.pending.dead_letters) = Default::default();
        Ok(())
    }

    /// The state at the positions it stands at.
    pub fn state(&self) -> &dyn StateRead {
        match &self.state {
            State::Whole(state) => state,
            State::Recent(recent) => &**recent,
        }
    }

    /// All of the state; `None` where it is of what came since an earlier moment, of which entities are computed when they are asked for.
    pub fn whole(&self) -> Option<&MemoryState> {
        match &self.state {
            State::Whole(state) => Some(state),
            State::Recent(_) => None,
        }
    }

    /// The order keys of events that gave way to others since an earlier moment, of all entities.
    pub fn superseded(&self) -> &[Vec<u8>] {
        match &self.state {
            State::Whole(_) => &[],
            State::Recent(recent) => &recent.superseded,
        }
    }

    /// What is remembered of primary keys at the positions it stands at; nothing is forgotten of it.
    pub fn keys(&self) -> &dyn KeyIndex {
        &self.keys
    }

    /// Per source, by its number within the view: before which event time a store at these positions may have forgotten keys, µs.
    pub fn keys_before(&self) -> Vec<(u16, i64)> {
        let mut newest = Newest::new();
        if let State::Recent(recent) = &self.state {
            newest.extend(recent.positions.iter().filter_map(|(id, position)| Some((id.clone(), position.event_time_max()?))));
        }
        newest.extend(self.logs.iter().filter_map(|(id, log)| Some((id.clone(), log.event_time_max?))));
        horizon(self.target, &newest)
            .map_or_else(Vec::new, |horizon| horizon.keys_before.iter().map(|&(source, before)| (source, before.0)).collect())
    }

    fn admit(&mut self, positions: &[(PartitionId, Position)]) -> Result<(), Error> {
        in_order(positions).into_iter().try_for_each(|(id, position)| self.partition(id, position))
    }

    fn partition(&mut self, id: &PartitionId, position: &Position) -> Result<(), Error> {
        let kind = kind_of(id);
        let from = if let State::Recent(recent) = &self.state { recent.position(id) } else { None };
        let mut log = match (self.logs.remove(id), from) {
            (Some(log), _) => log,
            // Nothing came since, so that it need not be there any more.
            (None, Some(from)) if from.rows() == position.rows() => return Ok(()),
            (None, Some(from)) => Log::open_from(self.catalog, &self.together, self.files, (id, position), from)?,
            (None, None) => Log::open(self.catalog, &self.together, self.files, (id, position))?,
        };
        if position.rows() < log.done() {
            return Err(Error::internal(format!("{} is asked for up to row {} after row {}", id.partition, position.rows(), log.done())));
        }
        self.rows += log.read_to(position.rows(), |batch, rows, event_time_max| self.batch(batch, id, rows, event_time_max, kind))?;
        log.compare(position)?;
        self.logs.insert(id.clone(), log);
        Ok(())
    }

    fn batch(
        &mut self,
        batch: &SourceBatch,
        id: &PartitionId,
        rows: std::ops::Range<u64>,
        event_time_max: Option<i64>,
        kind: Kind,
    ) -> Result<Option<i64>, Error> {
        let (target, catalog) = (self.target, self.catalog);
        let ahead = self.ahead.rows(id);
        let counts = |row: u64| rows.contains(&row) && ahead.is_none_or(|ahead| !ahead.contains(&row));
        let until = self.until.filter(|_| kind == Kind::History);
        let mut after = event_time_max;
        for branch in target.branches_of(&id.source) {
            let source = &target.sources[branch];
            let (keys, already) = (&self.keys, self.pending.keys.len());
            let admitted = arrivals_of(batch, id, counts, until, &catalog.sources[&source.name], |arrivals| {
                target.admission(branch).admit(arrivals, event_time_max, keys, NOW, kind)
            })?;
            if let Some(visible) = self.visible.get_mut(branch) {
                visible.take(&admitted, source.event_time)?;
            }
            after = target.take(branch, admitted, &mut self.pending)?;
            self.keys.read.apply(&self.pending.keys[already..]);
            self.pending.keys.truncate(already);
        }
        Ok(batch.event_time_max(after, |row| rows.contains(&row)))
    }

    fn finish(self) -> Result<Replayed, Error> {
        let State::Whole(mut state) = self.state else { return Err(Error::internal("what came since is no whole state")) };
        let measures = &self.target.view.measures;
        let entities = build(&self.pending.staged, &mut state, |entity, rows| tiles::build(measures, self.shape, entity, rows))?;
        let winners = self.visible.into_iter().zip(&self.target.sources).map(|(visible, source)| visible.winners(&source.schema));
        let mut counters = self.pending.counters;
        for (source, rows) in self.ahead.by_source() {
            counters.entry(source.to_owned()).or_default().dead_lettered += rows;
        }
        Ok(Replayed {
            state,
            entities,
            winners: winners.collect::<Result<_, _>>()?,
            keys: self.keys.read,
            refusals: self.pending.refusals,
            counters,
            rows: self.rows,
        })
    }
}

/// Whether a partition is history or a log.
fn kind_of(id: &PartitionId) -> Kind {
    if history_path(&id.partition).is_some() { Kind::History } else { Kind::Stream }
}

/// Builds the state of all entities at once; their keys and event times.
fn build(
    staged: &StagedChanges,
    state: &mut MemoryState,
    build: impl Fn(&[u8], &[tiles::node::Row<'_>]) -> Result<Vec<lockstep_model::StateWrite>, Error>,
) -> Result<Vec<(Vec<u8>, Vec<i64>)>, Error> {
    let mut entities = Vec::new();
    for changes in staged.by_entity() {
        if changes.upserts.is_empty() {
            continue;
        }
        state.write(build(changes.entity, &changes.upserts)?);
        let times = changes.upserts.iter().map(|row| tiles::order::time_of(row.key)).collect();
        entities.push((changes.entity.to_vec(), times));
    }
    Ok(entities)
}

impl Files {
    /// The file that a partition was read from.
    fn find(&self, path: &str) -> Result<SourceFile, Error> {
        if path == "-" {
            return Err(Error::unavailable(
                "standard input cannot be read again · ingest from a file to verify against it, or verify the answers that were kept",
            ));
        }
        let local = Path::new(path);
        if path.contains("://") || local.is_absolute() || local.exists() {
            let found = locate(path, &self.base, &self.stores)?;
            return found.into_iter().next().ok_or_else(|| Error::not_found(format!("`{path}` was applied and is gone · restore it")));
        }
        Ok(SourceFile::local(self.base.join(path)))
    }
}
