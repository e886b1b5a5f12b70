//! A push log as the pipeline reads it: from the positions in the store on, and on as it grows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use lockstep_model::{Error, PartitionId, Position, PushPosition};
use lockstep_transform::catalog::SourcePlan;

use super::read::{Reader, extent_of};
use super::segment::Extent;
use super::source::{SourceLog, dir_of};
use super::{PARTITION, Push, changed};
use crate::kafka::Gap;
use crate::pipeline::{Input, Log, Read, Standing, StreamOptions};
use crate::source::Chunk;

/// How long is waited for a push before looking whether to stop, and how often that is before it is told how the log stands.
const PATIENCE: Duration = Duration::from_millis(100);
const TELL_AFTER: u32 = 2;

/// The push log of a source, to be read from where those stand that read it: `stands` has the positions of each.
pub(crate) fn input<'a>(
    push: &Push,
    source: &SourcePlan,
    stands: impl Iterator<Item = &'a BTreeMap<PartitionId, Position>>,
    options: &StreamOptions,
) -> Input {
    let request = Request {
        log: push.log.of(&source.name),
        source: source.name.clone(),
        declared: Arc::clone(&source.schema),
        stands: stands.map(|positions| standing_in(positions, &source.name)).collect(),
        until_end: push.until_end,
        batch_rows: options.batch_rows,
        stop: Arc::clone(&options.stop),
    };
    let open = move || -> Result<Box<dyn Log>, Error> { Ok(Box::new(PushInput::open(request)?)) };
    Input { name: source.name.clone(), open: Box::new(open), applied: None }
}

/// The position in the push log of a source.
fn standing_in(positions: &BTreeMap<PartitionId, Position>, source: &str) -> Option<PushPosition> {
    match positions.get(&PartitionId { source: source.to_owned(), partition: PARTITION.to_owned() }) {
        Some(Position::Push(position)) => Some(position.clone()),
        _ => None,
    }
}

/// What to read.
struct Request {
    log: Arc<SourceLog>,
    source: String,
    declared: SchemaRef,
    /// Where each that takes what is read stands: reading starts at the least.
    stands: Vec<Option<PushPosition>>,
    until_end: bool,
    batch_rows: usize,
    stop: Arc<AtomicBool>,
}

/// A log that is being read.
struct PushInput {
    request: Request,
    reader: Reader,
    /// Where reading ends.
    until: u64,
    begun: bool,
    /// Whether it has been told how things stand.
    told: bool,
}

impl PushInput {
    fn open(request: Request) -> Result<PushInput, Error> {
        let extent = request.log.extent()?;
        let until = if request.until_end { extent.next_row } else { u64::MAX };
        for position in request.stands.iter().flatten() {
            check(&request.source, &request.declared, &extent, position)?;
        }
        let least = request.stands.iter().map(|stand| stand.as_ref().map(|position| position.rows)).collect::<Option<Vec<u64>>>();
        let least = least.and_then(|rows| rows.into_iter().min());
        let reader = Reader::open(&request.source, &request.declared, extent.clone(), least.unwrap_or(extent.first_row()))?;
        Ok(PushInput { request, reader, until, begun: least.is_some(), told: false })
    }

    fn read(&mut self, chunk: Chunk) -> Read {
        self.begun |= chunk.rows_read > 0;
        self.told = true;
        let behind = self.reader.behind();
        let standing = Standing { bytes_total: None, behind: Some(behind), unbegun: !self.begun && behind > 0 };
        Read { chunk, standing, ends: Vec::new() }
    }
}

impl Log for PushInput {
    fn next(&mut self) -> Result<Option<Read>, Error> {
        let mut waited = 0;
        loop {
            if let Some(chunk) = self.reader.chunk(self.until, self.request.batch_rows)? {
                return Ok(Some(self.read(chunk)));
            }
            if self.request.stop.load(Ordering::Relaxed) || (self.reader.row() >= self.until && self.told) {
                return Ok(None);
            }
            if !self.told || waited == TELL_AFTER {
                return Ok(Some(self.read(Chunk { batches: Vec::new(), rows_read: 0, bytes_read: 0 })));
            }
            self.reader.reach(self.request.log.extent_beyond(self.reader.row(), PATIENCE)?);
            waited += 1;
        }
    }
}

/// Whether a position is one of this log.
///
/// # Errors
/// Data where it is not; what to do about it.
fn check(source: &str, declared: &SchemaRef, extent: &Extent, position: &PushPosition) -> Result<(), Error> {
    let (rows, first_row) = (position.rows, extent.first_row());
    if rows > extent.next_row {
        return Err(changed(source, &format!("was read to row {rows} and ends at {}: it has lost rows", extent.next_row)));
    }
    if rows < first_row {
        return Err(changed(source, &format!("was read to row {rows} and begins at {first_row} now: the rows between are gone")));
    }
    compare(&Reader::open(source, declared, extent.clone(), rows)?, source, position)
}

/// Whether a reader that has come to a position finds there what was read.
fn compare(reader: &Reader, source: &str, position: &PushPosition) -> Result<(), Error> {
    if reader.row() == position.rows && reader.mark() == position.mark {
        return Ok(());
    }
    Err(changed(source, &format!("has another push before row {} than was read there", position.rows)))
}

/// Where a source goes on with a log that is not the one that was read: at what there is. `None` where it is the one.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) fn accept(push: &Push, source: &SourcePlan, positions: &BTreeMap<PartitionId, Position>) -> Result<Option<(Gap, Position)>, Error> {
    let extent = push.log.of(&source.name).extent()?;
    let Some(position) = standing_in(positions, &source.name) else { return Ok(None) };
    if check(&source.name, &source.schema, &extent, &position).is_ok() {
        return Ok(None);
    }
    let from = extent.first_row();
    let mark = Reader::open(&source.name, &source.schema, extent, from)?.mark();
    let gap = Gap { partition: PartitionId { source: source.name.clone(), partition: PARTITION.to_owned() }, read_to: position.rows, from };
    Ok(Some((gap, Position::Push(PushPosition { rows: from, mark, gap: Some(from), ..position }))))
}

/// A push log, read again from where it was begun, or from later on.
#[derive(Debug)]
pub(crate) struct Again {
    source: String,
    reader: Reader,
}

impl Again {
    /// The log of a source below `root`, which a generation has read up to `position`: from where it was begun, or from a row on.
    ///
    /// # Errors
    /// Unavailable where what was read first is gone.
    pub(crate) fn open(root: &Path, source: &SourcePlan, position: &PushPosition, from: Option<u64>) -> Result<Again, Error> {
        let extent = extent_of(&dir_of(root, &source.name))?;
        let first = from.unwrap_or(position.first);
        let gone = match position.gap {
            Some(gap) if gap > first || from.is_none() => Some(format!("was gone on with at row {gap}, and what was applied before is gone")),
            _ if extent.segments.is_empty() => Some("is gone".to_owned()),
            _ if extent.first_row() > first => Some(format!("was read from row {first} on and begins at {} now", extent.first_row())),
            _ => None,
        };
        if let Some(what) = gone {
            let advice = "what was answered while it was there can be verified: `lockstep verify --served`";
            return Err(Error::unavailable(format!("the push log of source `{}` {what} · {advice}", source.name)));
        }
        Ok(Again { source: source.name.clone(), reader: Reader::open(&source.name, &source.schema, extent, first)? })
    }

    /// The next rows up to `end`; `None` where there are none.
    ///
    /// # Errors
    /// Data where the log is damaged.
    pub(crate) fn chunk(&mut self, end: u64, rows_max: usize) -> Result<Option<Chunk>, Error> {
        self.reader.chunk(end, rows_max)
    }

    /// Whether what was read so far is what was read up to a position.
    ///
    /// # Errors
    /// Data where it is not.
    pub(crate) fn compare(&self, position: &PushPosition) -> Result<(), Error> {
        compare(&self.reader, &self.source, position)
    }
}
