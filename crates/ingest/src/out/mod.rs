//! What leaves a store while a log is applied: the log of applied events, as Parquet files, and dead letters, to a topic or a file.
//!
//! - *Put with the commit.* What is to leave goes into a queue of the store's outbox, in the commit that applies the same rows: a queue holds what the positions cover, no more and no
//!   less. Each queue remembers by itself how far it has come in each partition, so that a view which is filled later and reads a log again puts nothing in twice; and since no view
//!   can be further than its queue, the first that meets a row decides what became of it. Runs that go on at once share how far the queues have come ([`Together`]).
//! - *Carried beside the work.* A thread for each queue takes what waits to where it is to go ([`applied`], [`letters`]), and then out of the outbox. What cannot be carried waits, and is
//!   carried later, or by the next run; the work goes on meanwhile.
//! - *Only what `ingest` applies.* A backfill puts nothing into a queue: its rows are in the batch files.

pub mod applied;
mod carry;
mod file_sink;
pub mod letters;
mod roll;
mod together;
mod topic_sink;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockstep_model::{Error, EventTime, PartitionId, Position};
use lockstep_store::{AppliedLogs, CutRead, DeadLetter, Outgoing};
use lockstep_transform::catalog::SourcePlan;

use crate::admission::{Arrivals, Taken};
use crate::kafka::Settings;
pub use carry::Carriers;
pub(crate) use carry::carry;
pub(crate) use together::Feeding;
pub use together::Together;

/// Where rows go that leave a store. By default none do.
#[derive(Debug, Clone, Default)]
pub struct Outlets {
    /// The logs of applied events; sources that declare none have none.
    pub applied: Option<AppliedLogs>,
    /// How dead letters get to where their sources want them.
    pub letters: Option<LetterRoutes>,
    /// When files of the logs are made, and of what size.
    pub rolling: Rolling,
    /// Shared with runs that go on at once, where there are any: what leaves is carried by [`Carriers`] then, and not by each run.
    pub together: Option<Arc<Together>>,
}

/// How dead letters get to where their sources want them.
#[derive(Debug, Clone)]
pub struct LetterRoutes {
    /// Where relative paths start.
    pub base: PathBuf,
    /// How to speak to the brokers, where that is known.
    pub kafka: Option<Arc<Settings>>,
}

/// When rows that wait become a file, and when files become one.
#[derive(Debug, Clone, Copy)]
pub struct Rolling {
    /// Bytes of rows that are not waited with any longer, before they are compressed; about the rows of one file.
    pub bytes: u64,
    /// How long rows wait for a file at most, while the ingester runs.
    pub every: Duration,
    /// A file of fewer bytes is small.
    pub small_bytes: u64,
    /// As many small files that follow each other become one.
    pub merged: usize,
    /// How often to look.
    pub look_every: Duration,
}

impl Default for Rolling {
    fn default() -> Self {
        Rolling { bytes: 64 << 20, every: Duration::from_secs(300), small_bytes: 16 << 20, merged: 8, look_every: Duration::from_millis(250) }
    }
}

/// The queue of a source's log of applied events.
pub fn applied_queue(source: &str) -> String {
    format!("applied {source}")
}

/// The queue of a source's dead letters.
pub fn letters_queue(source: &str) -> String {
    format!("dead_letters {source}")
}

/// What is put into queues with the next commit.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    queues: Vec<Staged>,
    staged: Vec<Outgoing>,
    /// How far queues will have come with what was taken.
    advanced: Vec<(String, PartitionId, u64)>,
    together: Arc<Together>,
}

/// What leaves by a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Applied,
    Letters,
}

#[derive(Debug)]
struct Staged {
    source: String,
    queue: String,
    what: What,
}

/// Rows that were admitted just now: what was taken of them, and what was put aside.
pub(crate) struct AdmittedNow<'a> {
    pub(crate) arrivals: &'a Arrivals<'a>,
    pub(crate) taken: &'a [Taken],
    pub(crate) letters: &'a [DeadLetter],
    /// The position behind them.
    pub(crate) position: &'a Position,
    pub(crate) at: EventTime,
}

impl Outlets {
    fn of(&self, source: &SourcePlan) -> impl Iterator<Item = (What, String)> {
        let applied = self.applied.is_some() && source.options.applied_log.is_some();
        let letters = self.letters.is_some() && source.options.dead_letters.is_some();
        let queues = [(applied, What::Applied, applied_queue(&source.name)), (letters, What::Letters, letters_queue(&source.name))];
        queues.into_iter().filter(|(is_wanted, ..)| *is_wanted).map(|(_, what, queue)| (what, queue))
    }
}

impl Staging {
    /// The queues of sources as they stand in a cut, in which `positions` has those of each view that is fed. A queue that is new begins where the furthest of them stands.
    ///
    /// # Errors
    /// Where the cut cannot be read.
    pub(crate) fn new(
        outlets: &Outlets,
        sources: &[Arc<SourcePlan>],
        cut: &dyn CutRead,
        positions: &[BTreeMap<PartitionId, Position>],
    ) -> Result<Staging, Error> {
        let together = outlets.together.clone().unwrap_or_default();
        let mut queues = Vec::new();
        for source in sources {
            for (what, queue) in outlets.of(source) {
                let stand = positions.iter().flatten().filter(|(id, _)| id.source == source.name).map(|(id, position)| (id.clone(), position.rows()));
                together.join(&queue, cut.reached(&queue)?.into_iter().chain(stand));
                queues.push(Staged { source: source.name.clone(), queue, what });
            }
        }
        Ok(Staging { queues, staged: Vec::new(), advanced: Vec::new(), together })
    }

    /// What is shared with other runs.
    pub(crate) fn together(&self) -> &Arc<Together> {
        &self.together
    }

    /// Whether rows of a partition before `end` are missing in a queue. Where they are not, they never will be.
    pub(crate) fn lacks(&self, partition: &PartitionId, end: u64) -> bool {
        let mut of_source = self.queues.iter().filter(|queue| queue.source == partition.source);
        of_source.any(|queue| self.together.reached(&queue.queue, partition) < end)
    }

    /// Whether anything of a source leaves.
    pub(crate) fn wants(&self, source: &str) -> bool {
        self.queues.iter().any(|queue| queue.source == source)
    }

    /// Stages what leaves of rows that were admitted; those that a queue has had already are left out.
    ///
    /// # Errors
    /// Where they cannot be encoded.
    pub(crate) fn stage(&mut self, partition: &PartitionId, now: &AdmittedNow<'_>) -> Result<(), Error> {
        let end = now.position.rows();
        for queue in self.queues.iter().filter(|queue| queue.source == partition.source) {
            let staged = self.advanced.iter().rfind(|(name, id, _)| *name == queue.queue && id == partition).map(|(.., row)| *row);
            let from = staged.unwrap_or_else(|| self.together.reached(&queue.queue, partition));
            if from >= end {
                continue;
            }
            self.advanced.push((queue.queue.clone(), partition.clone(), end));
            let (rows, bytes) = match queue.what {
                What::Applied => applied::encode(partition, now, from)?,
                What::Letters => letters::encode(now, from)?,
            };
            self.staged.push(Outgoing { queue: queue.queue.clone(), rows, bytes, partition: partition.clone(), reached: end });
        }
        Ok(())
    }

    /// What has been staged.
    pub(crate) fn take(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.staged)
    }

    /// That what was taken is in the queues.
    pub(crate) fn committed(&mut self) {
        self.advanced.drain(..).for_each(|(queue, partition, row)| self.together.join(&queue, [(partition, row)]));
    }

    /// That a partition goes on from another row, since it is another log by now, or lacks records.
    pub(crate) fn go_on_from(&self, partition: &PartitionId, row: u64) -> Vec<Outgoing> {
        let of_source = self.queues.iter().filter(|queue| queue.source == partition.source);
        let moved = |queue: &Staged| Outgoing { queue: queue.queue.clone(), rows: 0, bytes: Vec::new(), partition: partition.clone(), reached: row };
        of_source.map(moved).collect()
    }
}

/// Which log a position is in, where it is one of a topic: the ids of the cluster and of the topic.
fn log_of(position: &Position) -> (Option<&str>, Option<&str>) {
    match position {
        Position::Kafka(position) => (Some(&position.cluster), Some(&position.topic_id)),
        Position::File(_) | Position::Push(_) => (None, None),
    }
}
