//! What one batch of applied events changes.

use std::ops::AddAssign;

use lockstep_model::{EventTime, Generation, PartitionId, Position, StateWrite};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Which ingester may write: a number that grows whenever the store is opened or fenced. Commits of an earlier one are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Everything that becomes true together: after a crash either all of it holds or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Whose state changes.
    pub generation: Generation,
    /// The writer's epoch, from [`crate::Store::epoch`] or [`crate::Store::fence`].
    pub epoch: Epoch,
    /// Heads and nodes put or deleted. Where one key occurs twice, the later entry holds.
    pub state: Vec<StateWrite>,
    /// Dedup entries put or deleted.
    pub keys: Vec<KeyWrite>,
    /// How far each partition has been applied, this commit included.
    pub positions: Vec<(PartitionId, Position)>,
    /// Rows that came too late.
    pub refusals: Vec<Refusal>,
    /// Rows that could not be taken.
    pub dead_letters: Vec<DeadLetter>,
    /// What is to be added to the counters, by source.
    pub counters: Vec<(String, Counters)>,
    /// Rows that are to leave the store.
    pub out: Vec<Outgoing>,
    /// What may be forgotten from now on; each bound only ever rises, a lower one leaves it where it is.
    pub horizon: Option<Horizon>,
    /// Where the history that this is part of ends, [`EventTime::MAX`] for all of it. One that differs from an earlier commit's is refused.
    pub history_until: Option<EventTime>,
}

impl Commit {
    /// A commit that changes nothing yet.
    pub fn new(generation: Generation, epoch: Epoch) -> Self {
        Commit {
            generation,
            epoch,
            state: Vec::new(),
            keys: Vec::new(),
            positions: Vec::new(),
            refusals: Vec::new(),
            dead_letters: Vec::new(),
            counters: Vec::new(),
            out: Vec::new(),
            horizon: None,
            history_until: None,
        }
    }
}

/// One change of the dedup index: put, or delete where the value is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWrite {
    /// The source's ordinal within the generation's view.
    pub source: u16,
    /// The encoded primary key.
    pub key: KeyBytes,
    /// What is remembered of the key; starts with a [`crate::KeyEntryHeader`], by which it expires.
    pub value: Option<KeyBytes>,
}

/// Bytes that mostly fit in place: a key of two numbers, or what is remembered of a key without versions. There are two for each event.
pub type KeyBytes = SmallVec<[u8; 36]>;

/// A row that came further behind its partition's newest event than `allowed_lateness`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Where it was read.
    pub partition: PartitionId,
    /// Its number within the partition.
    pub row: u64,
    /// Its event time.
    pub event_time: EventTime,
    /// Its primary key, for people.
    pub primary_key: String,
    /// The partition's newest event time before it.
    pub watermark: EventTime,
    /// Why, for people.
    pub reason: String,
}

/// A row that could not be taken as an event, with its original bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Where it was read.
    pub partition: PartitionId,
    /// Its number within the partition.
    pub row: u64,
    /// Why, in one word of admission's own: what counters and filters go by.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
    /// The row as it was read.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// When it was put aside.
    pub at: EventTime,
}

/// Rows of a partition that are to leave the store by a queue. What is in `bytes` is known to whoever puts and takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The queue's name.
    pub queue: String,
    /// How many rows; none where only `reached` moves.
    pub rows: u64,
    /// The rows.
    pub bytes: Vec<u8>,
    /// Where they were read.
    pub partition: PartitionId,
    /// The number of the next row of the partition that the queue is to have.
    pub reached: u64,
}

/// How a queue of the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Queue {
    /// Rows ever put into it.
    pub put: u64,
    /// Rows that have left the store.
    pub taken: u64,
    /// Bytes of the rows that wait.
    pub bytes: u64,
}

impl Queue {
    /// Rows that wait.
    pub fn waiting(&self) -> u64 {
        self.put.saturating_sub(self.taken)
    }
}

/// What became of the rows of one source, since the generation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Rows that count.
    pub applied: u64,
    /// Rows whose key and content were known already.
    pub duplicates: u64,
    /// Rows with other content under a known key.
    pub conflicts: u64,
    /// Rows that came too late.
    pub refused: u64,
    /// Rows put aside as dead letters.
    pub dead_lettered: u64,
    /// Rows that were ever known and belong to no entity, since part of the key is NULL. A commit may take some back: a row that changes is counted as it is now, so that the
    /// count is one of the set of rows.
    pub null_keys: i64,
    /// Row versions that gave way to a greater one.
    pub superseded: u64,
    /// Expressions that failed on a row that was ever known; taken back likewise.
    pub row_errors: i64,
}

impl AddAssign for Counters {
    /// Adds each count, staying at the largest number rather than passing it.
    fn add_assign(&mut self, more: Counters) {
        let pairs = [
            (&mut self.applied, more.applied),
            (&mut self.duplicates, more.duplicates),
            (&mut self.conflicts, more.conflicts),
            (&mut self.refused, more.refused),
            (&mut self.dead_lettered, more.dead_lettered),
            (&mut self.superseded, more.superseded),
        ];
        for (count, more) in pairs {
            *count = count.saturating_add(more);
        }
        for (count, more) in [(&mut self.null_keys, more.null_keys), (&mut self.row_errors, more.row_errors)] {
            *count = count.saturating_add(more);
        }
    }
}

/// Below which moments a generation can no longer be read, and what it may forget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// The earliest moment that may be asked for.
    pub readable_from: EventTime,
    /// Nodes with nothing at or after this moment may go. At most `readable_from`.
    pub state_before: EventTime,
    /// Dedup entries with an event time before this moment may go, by source ordinal; sources not named keep theirs.
    pub keys_before: Vec<(u16, EventTime)>,
}

impl Default for Horizon {
    /// Nothing is forgotten, every moment can be read.
    fn default() -> Self {
        Horizon { readable_from: EventTime::MIN, state_before: EventTime::MIN, keys_before: Vec::new() }
    }
}

impl Horizon {
    /// Raises each bound to the other's where that is higher, and says whether any rose.
    pub(crate) fn raise(&mut self, other: &Horizon) -> bool {
        let mut rose = raise(&mut self.readable_from, other.readable_from) | raise(&mut self.state_before, other.state_before);
        for &(source, before) in &other.keys_before {
            match self.keys_before.iter_mut().find(|(known, _)| *known == source) {
                Some((_, known)) => rose |= raise(known, before),
                None => {
                    self.keys_before.push((source, before));
                    rose = true;
                }
            }
        }
        rose
    }
}

fn raise(bound: &mut EventTime, to: EventTime) -> bool {
    let rises = to > *bound;
    *bound = to.max(*bound);
    rises
}
