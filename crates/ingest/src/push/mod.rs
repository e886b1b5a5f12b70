//! Pushes: for those without a log of their own, the rows of a source are appended to one here, and go the way of every other log from then on.
//!
//! - *What is acknowledged is on the disk.* [`PushLog::append`] returns once its rows are forced to it. Appends of one source that come while one is being
//!   written wait, and are written and forced together: the more come at once, the more share a force. Sources do not wait for each other.
//! - *A log is a partition of its source*, named `push`: lateness, duplicates, versions and known time are decided in it as in any other, by its order. The moment a row was
//!   appended is its append time. A push that is repeated, since its answer was lost, is harmless where a primary key is remembered: that makes its rows one with
//!   the first.
//! - *A heartbeat* says that no event before a moment is to be expected. It is a record of the log and moves the partition's largest event time where it stands,
//!   so that a replay refuses the same rows.
//! - *On the disk* a source has a directory of *segments*, named by their first rows, of [frames](frame), each of which carries the checksum of the one before: the last stands for
//!   all. A position is a row and that checksum. What a crash has left of a write that was not acknowledged is cut off when the log is opened; that it was not is known from a later
//!   frame that says so, and damage is told and stops that source only.
//! - *After a failed write* nobody knows what the disk has of a segment: the next append begins another, which says by its first row what of the former counts.
//! - *Retention.* Segments stay unless there is a limit to their age, and never go before every published generation that reads the source has applied them.

mod frame;
mod log;
mod read;
mod rows;
mod segment;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use lockstep_model::{Clock, Error, EventTime, SystemClock};
use lockstep_transform::catalog::SourcePlan;

use frame::Content;
pub(crate) use log::{Again, accept, input};
use segment::explain;
use source::{Entry, SourceLog, dir_of, source_of};

/// The name of the partition that a push log is.
pub const PARTITION: &str = "push";

/// Most rows of a frame: what a commit takes by default. More are several frames, written together.
const FRAME_ROWS: usize = 8192;

/// Bounds of push logs, and what time it is.
#[derive(Clone)]
pub struct PushOptions {
    /// Size at which a segment is full, in bytes.
    pub segment_bytes: u64,
    /// Most bytes of one push.
    pub push_bytes_max: usize,
    /// Most pushes to a source that wait to be written.
    pub waiting_max: usize,
    /// Most bytes of them.
    pub waiting_bytes_max: usize,
    /// How long segments are kept after everybody has applied them, µs; for ever where there is no limit.
    pub retention: Option<i64>,
    /// What time it is: the append time of rows, and what heartbeats may not be far ahead of.
    pub clock: Arc<dyn Clock>,
}

impl Default for PushOptions {
    fn default() -> Self {
        PushOptions {
            segment_bytes: 64 << 20,
            push_bytes_max: 16 << 20,
            waiting_max: 4096,
            waiting_bytes_max: 64 << 20,
            retention: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for PushOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushOptions").field("segment_bytes", &self.segment_bytes).field("retention", &self.retention).finish_non_exhaustive()
    }
}

/// Where rows came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The number of the first row.
    pub first_row: u64,
    /// The number behind the last row.
    pub next_row: u64,
}

/// A push log that is followed.
#[derive(Debug, Clone)]
pub struct Push {
    /// The log.
    pub log: Arc<PushLog>,
    /// Whether to end where it ends when reading begins.
    pub until_end: bool,
}

/// The push logs of a store's sources. Whoever owns the store has them open, once.
pub struct PushLog {
    dir: PathBuf,
    options: Arc<PushOptions>,
    sources: Mutex<BTreeMap<String, Arc<SourceLog>>>,
}

impl fmt::Debug for PushLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushLog").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl PushLog {
    /// Finds the logs in a directory, `push` in that of the store, which need not be there yet. Cuts off what a crash has left of writes that were never
    /// acknowledged. A log that is damaged is told to whoever wants something of its source.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn open(dir: &Path, options: PushOptions) -> Result<PushLog, Error> {
        let options = Arc::new(options);
        let failed = |error| explain(dir, "open the push log", error);
        let mut sources = BTreeMap::new();
        match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries.map_err(failed)? {
                    let path = entry.map_err(failed)?.path();
                    if let (true, Some(source)) = (path.is_dir(), source_of(&path)) {
                        let log = SourceLog::open(&source, &path, &options);
                        sources.insert(source, Arc::new(log));
                    }
                }
            }
        }
        Ok(PushLog { dir: dir.to_owned(), options, sources: Mutex::new(sources) })
    }

    /// Appends rows, which have the source's declared columns, and may have `_tombstone`, true where the row deletes its key. Returns once they are on the disk. Blocking,
    /// and to be called by as many threads as there are.
    ///
    /// # Errors
    /// Invalid where the columns are others or the rows are too many; Unavailable where too many wait already, or the disk is full or fails: the rows are not in the log
    /// then. Data where the log is damaged.
    pub fn append(&self, source: &SourcePlan, rows: RecordBatch) -> Result<Appended, Error> {
        let log = self.of(&source.name);
        let count = rows.num_rows() as u64;
        if count == 0 {
            let next_row = log.extent()?.next_row;
            return Ok(Appended { first_row: next_row, next_row });
        }
        let mut entries = Vec::new();
        let (mut columns, mut bytes) = (Vec::new(), 0);
        for from in (0..rows.num_rows()).step_by(FRAME_ROWS) {
            let part = rows.slice(from, FRAME_ROWS.min(rows.num_rows() - from));
            let encoded = rows::encode(source, &part)?;
            bytes += encoded.rows.len();
            self.check_size(&source.name, bytes)?;
            entries.push(Entry::new(Content::Rows, part.num_rows() as u32, encoded.rows));
            columns = encoded.columns;
        }
        let first_row = log.append(columns, entries)?;
        Ok(Appended { first_row, next_row: first_row + count })
    }

    fn check_size(&self, source: &str, bytes: usize) -> Result<(), Error> {
        let most = self.options.push_bytes_max;
        if bytes <= most {
            return Ok(());
        }
        Err(Error::invalid(format!("push to `{source}`: {bytes} bytes at once, and {most} are the most · push the rows in several parts")))
    }

    /// Says that no event of a source before `event_time` is to be expected by push. Returns once that is on the disk.
    ///
    /// # Errors
    /// Invalid where the moment is further ahead of the clock than the source's `max_ahead`; as [`Self::append`].
    pub fn heartbeat(&self, source: &SourcePlan, event_time: EventTime) -> Result<Appended, Error> {
        let now = self.options.clock.now();
        if event_time.0 > now.0.saturating_add(source.max_ahead) {
            let what = format!("heartbeat of `{}`: {event_time} is further ahead than max_ahead allows, and it is {now}", source.name);
            return Err(Error::invalid(format!("{what} · a heartbeat says up to when all events have been pushed")));
        }
        let columns = rows::encode_columns(source)?;
        let entry = Entry::new(Content::Heartbeat, 1, event_time.0.to_le_bytes().to_vec());
        let first_row = self.of(&source.name).append(columns, vec![entry])?;
        Ok(Appended { first_row, next_row: first_row + 1 })
    }

    /// How often the log of a source was forced to the disk since it was opened: the more pushes come at once, the fewer times for each.
    pub fn forced(&self, source: &str) -> u64 {
        self.of(source).forced()
    }

    /// Removes segments of a log that nobody applies, once they are older than the retention.
    ///
    /// # Errors
    /// Where they cannot be removed.
    pub fn expire(&self, source: &str) -> Result<(), Error> {
        self.remove(source, u64::MAX)
    }

    /// Whether segments of a source may go once everybody has applied its rows before `row`.
    pub(crate) fn has_passed(&self, source: &str, row: u64) -> bool {
        self.kept_from().is_some_and(|before| self.of(source).has_passed(row, before))
    }

    /// Removes segments of a source that are older than the retention and whose rows are all before `row`.
    ///
    /// # Errors
    /// Where they cannot be removed.
    pub(crate) fn remove(&self, source: &str, row: u64) -> Result<(), Error> {
        self.kept_from().map_or(Ok(()), |before| self.of(source).remove(row, before))
    }

    fn kept_from(&self) -> Option<EventTime> {
        Some(EventTime(self.options.clock.now().0.saturating_sub(self.options.retention?)))
    }

    /// The log of a source.
    fn of(&self, source: &str) -> Arc<SourceLog> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(SourceLog::open(source, &dir_of(&self.dir, source), &self.options));
        Arc::clone(sources.entry(source.to_owned()).or_insert_with(made))
    }
}

/// Reads the log of a source below `root`, from its first row to its last; somebody may be writing to it, of whose rows those are read that are whole by then.
///
/// # Errors
/// Data where it is damaged; Unavailable where it cannot be read.
pub fn read(root: &Path, source: &SourcePlan, take: &mut dyn FnMut(&RecordBatch) -> Result<(), Error>) -> Result<(), Error> {
    let extent = read::extent_of(&dir_of(root, &source.name))?;
    let first = extent.first_row();
    if extent.segments.is_empty() {
        return Ok(());
    }
    let mut reader = read::Reader::open(&source.name, &source.schema, extent, first)?;
    while let Some(chunk) = reader.chunk(u64::MAX, FRAME_ROWS)? {
        chunk.batches.iter().try_for_each(|batch| take(&batch.batch))?;
    }
    Ok(())
}

/// What is said where a log is not the one that was read.
fn changed(source: &str, what: &str) -> Error {
    let go_on = format!("or go on with what there is: `lockstep ingest --source {source} --accept-gap`");
    Error::data(format!("the push log of source `{source}` {what} · restore it, {go_on}"))
}
