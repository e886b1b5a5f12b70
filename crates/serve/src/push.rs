//! Events that are pushed, for whoever keeps and applies them.

use std::ops::Range;

use arrow::array::RecordBatch;
use lockstep_model::{Error, EventTime};
use lockstep_transform::catalog::SourcePlan;

/// A log that takes what is pushed. What it has taken is on the disk.
pub trait Pushes: Send + Sync {
    /// Appends events: rows of the source's declared columns, with `_tombstone` beside them where some delete their key. The numbers that they have in the log.
    ///
    /// # Errors
    /// Invalid where the columns are others; Unavailable where the disk is full, or too many wait.
    fn append(&self, source: &SourcePlan, rows: RecordBatch) -> Result<Range<u64>, Error>;

    /// Says that no event of a source before `event_time` is to be expected.
    ///
    /// # Errors
    /// Invalid where the moment is too far ahead; as [`Self::append`].
    fn heartbeat(&self, source: &SourcePlan, event_time: EventTime) -> Result<Range<u64>, Error>;
}
