//! Rows on their way out of the store: queues that commits append to, whose rows are forgotten once they are where they are to go.
//!
//! What is put goes in with the state and the positions of the same rows, so that after a crash a queue holds what was applied, no more and no less, and
//! whoever carries it goes on from there. A row counts as gone only when [`crate::OnlineStore::take_out`] has said so: one that was carried
//! right before a crash is carried again, unless its destination knows it for the same.

use lockstep_model::{Error, PartitionId};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::book::Book;
use crate::layout;
use crate::{Outgoing, Queue};

/// A queue with its name, since the key is not meant to be decoded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QueueRecord {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) queue: Queue,
}

/// How far a partition has been put into a queue.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReachedRecord {
    pub(crate) partition: PartitionId,
    pub(crate) row: u64,
}

/// Appends rows to their queue.
pub(crate) fn put(book: &mut Book, batch: &mut Batch<'_>, out: &Outgoing) -> Result<(), Error> {
    let Outgoing { queue: name, rows, bytes, partition, reached } = out;
    batch.put_record(layout::reached_key(name, Some(partition)), &ReachedRecord { partition: partition.clone(), row: *reached })?;
    if *rows == 0 {
        return Ok(());
    }
    let queue = book.queues.entry(name.clone()).or_default();
    batch.put_outgoing(&layout::outbox_key(name, queue.put), bytes);
    queue.put = queue.put.saturating_add(*rows);
    queue.bytes = queue.bytes.saturating_add(bytes.len() as u64);
    batch.put_record(layout::queue_key(name), &QueueRecord { name: name.clone(), queue: *queue })
}

/// Forgets the rows of a queue before `to`.
pub(crate) fn take(book: &mut Book, batch: &mut Batch<'_>, name: &str, to: u64, bytes: u64) -> Result<(), Error> {
    let queue = book.queues.entry(name.to_owned()).or_default();
    if to > queue.put {
        return Err(Error::internal(format!("{to} rows of the queue {name} would have left the store, and {} were put into it", queue.put)));
    }
    batch.delete_outgoing(&layout::outbox_key(name, queue.taken.min(to)), &layout::outbox_key(name, to));
    queue.taken = queue.taken.max(to);
    queue.bytes = if queue.waiting() == 0 { 0 } else { queue.bytes.saturating_sub(bytes) };
    batch.put_record(layout::queue_key(name), &QueueRecord { name: name.to_owned(), queue: *queue })
}
