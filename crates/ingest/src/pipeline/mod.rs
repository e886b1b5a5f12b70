//! From source files to the state of generations: backfill and the stream.
//!
//! Both run the same steps, chunk by chunk: read, admit, run the row stage, fold, commit with positions. Backfill of a history that fits into
//! memory leaves the folding to the end and loads sorted files instead of committing.

mod backfill;
mod file;
mod history;
mod horizon;
mod inputs;
mod load;
mod log;
mod options;
mod schema;
mod spill;
mod step;
mod stream;

pub use lockstep_model::position::{history_partition, history_path};

pub(crate) use backfill::history_files;
pub use backfill::{BackfillOptions, BackfillReport, LocationsOf, backfill, backfill_from, file_format};
pub(crate) use history::{History, KeyShare, Staged};
pub(crate) use horizon::{Newest, horizon};
pub(crate) use inputs::{HistoryInput, Rows, SomeRows};
pub use log::{Applied, Input, Log, Read, Standing};
pub use options::{Seen, StreamOptions};
pub use schema::{dialect_of, schema_of};
pub(crate) use spill::{Spill, Spilling};
pub(crate) use step::Picked;
pub use step::{Pending, Target, arrivals_of};
pub use stream::{Logs, StreamReport, accept_gaps, follow, ingest};

use std::collections::BTreeMap;

use lockstep_model::{EventTime, PartitionId};
use lockstep_store::Counters;

/// What a run is doing, for whoever waits for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// The step: `reading departures.parquet`, `sorting`, `loading`, and [`PUBLISHING`] right before what was loaded can be read.
    pub stage: String,
    /// Rows of the input passed in this run.
    pub rows: u64,
    /// Bytes of the input passed in this run, and all there are where that is known.
    pub bytes: u64,
    /// See `bytes`.
    pub bytes_total: Option<u64>,
    /// The least of the partitions' newest event times.
    pub watermark: Option<EventTime>,
    /// Rows that are known to be there and have not been read yet, where that is known.
    pub behind: Option<u64>,
    /// Where partitions of logs that are followed end, as far as is known: the row behind the last.
    pub ends: BTreeMap<PartitionId, u64>,
    /// Logs that could not be read on so far.
    pub stopped: usize,
    /// Each log that is read.
    pub logs: Vec<LogProgress>,
}

/// How far a log is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogProgress {
    /// What messages call it: a topic by its source.
    pub name: String,
    /// Rows that are known to be there and were not applied yet, where that is known.
    pub behind: Option<u64>,
    /// When it was last seen applied to its then known end.
    pub caught_up_at: Option<EventTime>,
    /// Why it could not be read on.
    pub stopped: Option<String>,
}

impl LogProgress {
    /// What was read up to `at` is applied, with `behind` rows known to be there then.
    fn stands(&mut self, behind: Option<u64>, at: EventTime) {
        self.behind = behind;
        if behind == Some(0) {
            self.caught_up_at = self.caught_up_at.max(Some(at));
        }
    }
}

/// The last step of a backfill. Who is told of it may wait, and may still stop it.
pub const PUBLISHING: &str = "publishing";

/// Told about progress after each chunk; may be asked often.
pub type Observer<'a> = dyn FnMut(&Progress) + 'a;

/// What became of rows, by view and source.
pub type Tally = BTreeMap<(String, String), Counters>;
