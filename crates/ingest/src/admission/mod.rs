//! Admission: which rows of a source are events, and what becomes of earlier ones.
//!
//! [`Admission::admit`] takes rows of one partition in their order and gives [`Admitted`]: the changes of the set of events, the writes that make
//! the index of primary keys remember them, and the rows that are no events, each with its place and the reason. It reads no clock and keeps no
//! state: everything it decides by is in the rows, in the index, and in the partition's largest event time so far.
//!
//! # By the row and its log alone
//! - *Dead letters.* A row that cannot be read, has no event time, a NULL in its primary key or its version, a key beyond
//!   [`PRIMARY_KEY_LEN_MAX`](lockstep_model::state::PRIMARY_KEY_LEN_MAX), no moment of availability where that is an expression or a log's append time, or an event time further than
//!   `max_ahead` past its availability (by an expression), else its append time, else the clock: the one thing that the clock decides, once, and the dead letter says so. Also a
//!   tombstone where the source has no versions.
//! - *Lateness.* A row of a log whose event time is before the partition's largest so far less `allowed_lateness` is refused.
//! - *The largest event time* is moved by every row that is not a dead letter by the above, whatever is then found under its key: a duplicate moves it, and so does a
//!   conflict. A log that is begun when others of its source have come to some watermark has seen that watermark: what they have passed may have been forgotten. What is refused therefore follows from the log, in every replay, and from no other partition after that. Tombstones have no event time: they are never refused and
//!   move nothing. History is never refused; what it moves is its own partition's.
//!
//! # By primary key
//! - A log forgets: at a row, the keys of events further behind the partition's largest event time than `allowed_lateness` are unknown, whether or not the index still has them.
//!   (Not with versions: those keys are kept.)
//! - *Without versions* the first content under a key stands; the same again is a duplicate, other content a conflict. Content is the declared columns after casting, as the
//!   row codec writes them: neither availability nor append time.
//! - *With versions* the greatest stands. A tombstone is greater than the row of an equal version. Of a version that is available later than a greater one, nothing is kept: it
//!   was never what was known. Without declared availability, that is every version but the greatest, so that a repeat of a lesser one is superseded again rather than
//!   known for a duplicate.
//! - *Known time.* A row is known from its availability plus `serving_lag`, and until that of the least greater version that was available later; a tombstone ends it like any
//!   version, at its availability, else its append time, else the partition's largest event time up to it, plus `serving_lag`. History of a source that goes by append time was known when
//!   it happened. Where one row arrives twice, its earliest availability stands.
//! - *Versions by position* are row numbers. A log supersedes history, since history is taken of it.
//! - Entries are a function of the set of rows that arrived, except where rows conflict: then the first stands.
//! - An entry holds every version that was once known, and is written whole: a source whose keys are corrected thousands of times is better off
//!   without `available_at`. It expires by the largest event time of any of its versions. A correction of a key that was forgotten is a new event, so the
//!   keys of versioned sources are to be kept for as long as their events can be read.
//!
//! # Counters
//! Every row is one of applied, duplicates, refused and dead_lettered; conflicts are dead letters too. Of the rows applied, those are superseded that gave way to a greater
//! version, on arrival or later.

mod admitted;
mod batch;
mod index;
mod next;
mod screen;
mod slots;
#[cfg(test)]
mod tests;
mod unversioned;
mod versioned;
mod versions;

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch};
use lockstep_model::codec::CodecError;
use lockstep_model::row::RowCodec;
use lockstep_model::{Error, EventTime, PartitionId};
use lockstep_store::{Counters, DeadLetter, Refusal};
use lockstep_transform::catalog::SourcePlan;

pub use admitted::{Admitted, Fate, Taken};
pub use index::{CutKeys, KeyEntry, KeyTable, MemoryKeyIndex, PendingKeys};
pub use lockstep_model::KeyIndex;
pub use next::AdmitNext;

/// Version of the layout of a key's entry.
const LAYOUT: u8 = 1;

/// Rows of one partition, by position.
#[derive(Clone, Copy)]
pub struct Arrivals<'a> {
    /// Where they were read.
    pub partition: &'a PartitionId,
    /// The number of each row within the partition.
    pub rows: &'a [u64],
    /// The rows: the source's declared columns, times in µs.
    pub batch: &'a RecordBatch,
    /// Which rows delete their key; `None` where none does.
    pub tombstone: Option<&'a BooleanArray>,
    /// When the log took each row, µs; NULL or `None` where it does not say.
    pub append_time: Option<&'a Int64Array>,
    /// The rows between these that could not be read.
    pub bad: &'a [Unreadable<'a>],
    /// The bytes of a row of `batch` as they were read.
    pub original: &'a dyn Fn(usize) -> Vec<u8>,
}

impl fmt::Debug for Arrivals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("partition", self.partition).field("rows", &self.rows.len()).field("bad", &self.bad).finish_non_exhaustive()
    }
}

/// A row that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable<'a> {
    /// Its number within the partition.
    pub row: u64,
    /// What is wrong with it.
    pub reason: &'a str,
    /// Its bytes as they were.
    pub bytes: &'a [u8],
}

/// What a partition is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A log, in its order: what comes too late is refused.
    Stream,
    /// Batch files, in whatever order: all of it is admitted.
    History,
}

/// What the rows of a batch are by themselves and by their log.
pub struct Screening {
    columns: batch::Columns,
    screened: screen::Screened,
}

impl fmt::Debug for Screening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screening").field("screened", &self.screened).finish_non_exhaustive()
    }
}

impl Screening {
    /// The partition's largest event time after the rows, µs.
    pub fn event_time_max(&self) -> Option<i64> {
        self.screened.event_time_max
    }

    /// The rows that came too late, those put aside, and how many they are; to be asked for once.
    pub fn take_ledger(&mut self) -> (Vec<Refusal>, Vec<DeadLetter>, Counters) {
        let screen::Ledger { refusals, dead_letters, counters, taken: _ } = std::mem::take(&mut self.screened.ledger);
        (refusals, dead_letters, counters)
    }
}

/// Some of the rows that passed the screen: of each primary key all or none.
#[derive(Debug)]
pub struct Share(screen::Passed);

/// Admission of one source into one generation. Made once, used for every batch.
#[derive(Debug)]
pub struct Admission {
    plan: Arc<SourcePlan>,
    ordinal: u16,
    codec: RowCodec,
}

impl Admission {
    /// Admission of the source that is number `ordinal` within the generation's view.
    ///
    /// # Errors
    /// Invalid where a column's type cannot be stored.
    pub fn new(plan: &Arc<SourcePlan>, ordinal: u16) -> Result<Admission, Error> {
        Ok(Admission { plan: Arc::clone(plan), ordinal, codec: RowCodec::new(Arc::clone(&plan.schema))? })
    }

    /// The number of the source within the generation's view.
    pub fn ordinal(&self) -> u16 {
        self.ordinal
    }

    /// Decides what the rows come to. `event_time_max` is the partition's largest event time before them, as [`Admitted::event_time_max`] gave it; `index` is
    /// what was known of the source's keys, all earlier writes applied.
    ///
    /// # Errors
    /// Where the index cannot be read or an entry of it does not decode, and where the batch is not one of the source.
    pub fn admit(
        &self,
        arrivals: &Arrivals<'_>,
        event_time_max: Option<i64>,
        index: &dyn KeyIndex,
        now: EventTime,
        kind: Kind,
    ) -> Result<Admitted, Error> {
        let mut screening = self.screen(arrivals, event_time_max, now, kind)?;
        let mut admitted = self.decide(arrivals, &screening, &screening.screened.passed, index)?;
        let event_time_max = screening.event_time_max();
        let (refusals, dead_letters, counters) = screening.take_ledger();
        admitted.counters += counters;
        admitted.refusals = refusals;
        admitted.dead_letters.extend(dead_letters);
        admitted.dead_letters.sort_by_key(|letter| letter.row);
        Ok(Admitted { event_time_max, ..admitted })
    }

    /// The part of [`Self::admit`] that goes by the rows and their log alone.
    ///
    /// # Errors
    /// Where the batch is not one of the source.
    pub fn screen(&self, arrivals: &Arrivals<'_>, event_time_max: Option<i64>, now: EventTime, kind: Kind) -> Result<Screening, Error> {
        let columns = batch::Columns::new(&self.plan, arrivals, now, kind)?;
        let screened = screen::screen(&batch::Batch::new(&self.plan, arrivals, &columns)?, kind, event_time_max);
        Ok(Screening { columns, screened })
    }

    /// Cuts the rows that passed into shares by their primary key, to be decided side by side, each with an index of its own.
    ///
    /// # Errors
    /// Where the screening is not one of these arrivals.
    pub fn shares(&self, arrivals: &Arrivals<'_>, screening: &Screening, shares: usize) -> Result<Vec<Share>, Error> {
        let batch = batch::Batch::new(&self.plan, arrivals, &screening.columns)?;
        Ok(screening.screened.passed.shares(&batch, shares).into_iter().map(Share).collect())
    }

    /// The part of [`Self::admit`] that goes by primary key, for a share of the rows. `index` is what was known of the share's keys.
    ///
    /// # Errors
    /// Where the index cannot be read or an entry of it does not decode.
    pub fn decide_share(&self, arrivals: &Arrivals<'_>, screening: &Screening, share: &Share, index: &dyn KeyIndex) -> Result<Admitted, Error> {
        self.decide(arrivals, screening, &share.0, index)
    }

    fn decide(&self, arrivals: &Arrivals<'_>, screening: &Screening, passed: &screen::Passed, index: &dyn KeyIndex) -> Result<Admitted, Error> {
        let batch = batch::Batch::new(&self.plan, arrivals, &screening.columns)?;
        let mut ledger = screen::Ledger::default();
        let mut buffers = versioned::Buffers::default();
        let (changes, keys) = match self.plan.version {
            None => unversioned::admit(self, &batch, passed, index, &mut ledger)?,
            Some(_) => versioned::admit(self, &batch, passed, index, &mut ledger, &mut buffers)?,
        };
        Ok(Admitted {
            rows: changes.gather(arrivals.batch, &self.codec)?,
            sign: changes.sign,
            known_from: changes.known_from,
            known_until: changes.known_until,
            suffixes: changes.suffixes,
            taken: ledger.taken,
            keys,
            refusals: ledger.refusals,
            dead_letters: ledger.dead_letters,
            counters: ledger.counters,
            event_time_max: None,
        })
    }

    fn undecodable(&self, error: CodecError) -> Error {
        let CodecError { what } = error;
        Error::data(format!(
            "what is remembered of a key of source `{}` does not decode · {what} · restore a snapshot, or open the store with the release that wrote it",
            self.plan.name
        ))
        .caused_by(error)
    }
}
