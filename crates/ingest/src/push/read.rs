//! Reading a log from a row on.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::SchemaRef;
use lockstep_model::{Error, EventTime, PartitionId, Position, PushPosition};

use super::frame::{Content, Frame, Frames, Next};
use super::rows::Decoder;
use super::segment::{Extent, Segment, beginning, damaged, explain, segments};
use super::{PARTITION, changed};
use crate::source::{Chunk, Heartbeat, OriginalRows, SourceBatch};

/// Most bytes of the frames of a chunk, beyond its first.
const CHUNK_BYTES: usize = 8 << 20;

/// A log being read.
#[derive(Debug)]
pub(super) struct Reader {
    source: String,
    declared: SchemaRef,
    extent: Extent,
    open: Option<Open>,
    /// The next row, and the mark before it.
    row: u64,
    mark: u64,
    /// The first row there was when reading began.
    first: u64,
}

/// The segment that is read.
#[derive(Debug)]
struct Open {
    first_row: u64,
    frames: Frames,
    decoder: Decoder,
}

/// How far a log in `dir` reaches that nobody writes to, or of which nobody reads what is being written.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn extent_of(dir: &Path) -> Result<Extent, Error> {
    let mut known = Vec::new();
    let mut mark = 0;
    for (first_row, path) in segments(dir)? {
        // The last may just have been made.
        let Some((begun_at, mark_before)) = beginning(first_row, &path)? else { break };
        if known.is_empty() {
            mark = mark_before;
        }
        known.push(Segment { first_row, begun_at, path });
    }
    Ok(Extent { segments: Arc::new(known), next_row: u64::MAX, mark, length: u64::MAX })
}

/// What was gathered for a chunk.
#[derive(Default)]
struct Gathered {
    numbers: Vec<u64>,
    batches: Vec<RecordBatch>,
    tombstones: Vec<BooleanArray>,
    append_times: Vec<i64>,
    heartbeat: Option<Heartbeat>,
    bytes: usize,
    frames: u64,
}

impl Reader {
    /// A reader of a log from `row` on, which is the first of a frame.
    ///
    /// # Errors
    /// As [`Self::chunk`]; Data where no frame begins there.
    pub(super) fn open(source: &str, declared: &SchemaRef, extent: Extent, row: u64) -> Result<Reader, Error> {
        let (first, at) = (extent.first_row(), extent.segments.partition_point(|segment| segment.first_row <= row).saturating_sub(1));
        let start = extent.segments.get(at).map_or(extent.next_row, |segment| segment.first_row);
        let (source, declared, mark) = (source.to_owned(), Arc::clone(declared), extent.mark);
        let mut reader = Reader { source, declared, first, open: None, row: start, mark, extent };
        reader.enter(at)?;
        while reader.row < row && reader.step(|_, _| Ok(()))? {}
        if reader.row == row { Ok(reader) } else { Err(changed(&reader.source, &format!("has no push that ends at row {row}"))) }
    }

    /// The next row.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// The mark of the frame before the next row.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// The log reaches further by now.
    pub(super) fn reach(&mut self, extent: Extent) {
        self.extent = extent;
    }

    /// How many rows are there to be read.
    pub(super) fn behind(&self) -> u64 {
        self.extent.next_row.saturating_sub(self.row)
    }

    fn position(&self) -> Position {
        let Reader { first, row: rows, mark, .. } = *self;
        Position::Push(PushPosition { first, rows, mark, gap: None, event_time_max: None, begun_at: None, order: 0 })
    }

    /// Begins to read the segment at a place.
    fn enter(&mut self, at: usize) -> Result<(), Error> {
        let Some(Segment { first_row, path, .. }) = self.extent.segments.get(at) else { return Ok(()) };
        let failed = |error| explain(path, "read the push log", error);
        let mut frames = Frames::new(File::open(path).map_err(failed)?);
        let Next::Frame(frame) = frames.next(u64::MAX).map_err(failed)? else { return Err(damaged(path, 0)) };
        let begins = frame.content == Content::Columns && frame.first_row == *first_row && *first_row == self.row;
        let follows = self.open.is_none() || frame.mark_before == self.mark;
        if !begins || !follows {
            return Err(damaged(path, 0));
        }
        self.mark = frame.mark_before;
        let decoder = Decoder::new(&self.source, &self.declared, frame.body)?;
        self.open = Some(Open { first_row: *first_row, frames, decoder });
        Ok(())
    }

    /// Reads the next frame, where there is one.
    ///
    /// # Errors
    /// Data where it is damaged; as `take` does.
    fn step(&mut self, take: impl FnOnce(&Frame<'_>, &mut Decoder) -> Result<(), Error>) -> Result<bool, Error> {
        if self.row >= self.extent.next_row || self.extent.segments.is_empty() {
            return Ok(false);
        }
        let at = self.extent.segments.partition_point(|segment| segment.first_row <= self.row).saturating_sub(1);
        if self.open.as_ref().is_none_or(|open| open.first_row != self.extent.segments[at].first_row) {
            self.enter(at)?;
        }
        let is_last = at + 1 == self.extent.segments.len();
        let (Some(Open { frames, decoder, .. }), Segment { path, .. }) = (&mut self.open, &self.extent.segments[at]) else { return Ok(false) };
        let (at, limit) = (frames.at(), if is_last { self.extent.length } else { u64::MAX });
        let frame = match frames.next(limit).map_err(|error| explain(path, "read the push log", error))? {
            Next::Frame(frame) if frame.first_row == self.row && frame.mark_before == self.mark && frame.content != Content::Columns => frame,
            // Nobody says how far it reaches: what is being written is nobody's yet.
            Next::End | Next::Broken if is_last && self.extent.next_row == u64::MAX => return Ok(false),
            _ => return Err(damaged(path, at)),
        };
        take(&frame, decoder)?;
        (self.row, self.mark) = (frame.first_row + u64::from(frame.rows), frame.mark);
        Ok(true)
    }

    /// The next rows, up to `until`: as many as a commit takes, or up to a heartbeat. `None` where there are none.
    ///
    /// # Errors
    /// Data where the log is damaged.
    pub(super) fn chunk(&mut self, until: u64, rows_max: usize) -> Result<Option<Chunk>, Error> {
        let first_row = self.row;
        let mut gathered = Gathered::default();
        while self.row < until && gathered.numbers.len() < rows_max && gathered.bytes < CHUNK_BYTES && gathered.heartbeat.is_none() {
            if !self.step(|frame, decoder| gathered.take(frame, decoder))? {
                break;
            }
        }
        if gathered.frames == 0 {
            return Ok(None);
        }
        let (rows_read, bytes_read) = (self.row - first_row, gathered.bytes as u64);
        let batch = gathered.finish(&self.source, &self.declared, self.position())?;
        Ok(Some(Chunk { batches: vec![batch], rows_read, bytes_read }))
    }
}

impl Gathered {
    fn take(&mut self, frame: &Frame<'_>, decoder: &mut Decoder) -> Result<(), Error> {
        self.frames += 1;
        self.bytes += frame.body.len();
        let numbers = frame.first_row..frame.first_row + u64::from(frame.rows);
        if frame.content == Content::Heartbeat {
            let time = frame.body.try_into().map(i64::from_le_bytes);
            let event_time = time.map_err(|_| Error::data("a heartbeat in the push log has no moment · open it with the release that wrote it"))?;
            self.heartbeat = Some(Heartbeat { row: frame.first_row, event_time: EventTime(event_time) });
            return Ok(());
        }
        let (rows, tombstone) = decoder.rows(frame.body)?;
        self.append_times.extend(numbers.clone().map(|_| frame.append_time));
        self.numbers.extend(numbers);
        self.batches.push(rows);
        self.tombstones.push(tombstone);
        Ok(())
    }

    fn finish(self, source: &str, declared: &SchemaRef, position: Position) -> Result<SourceBatch, Error> {
        let failed = |error| Error::internal("rows of a push log made no batch").caused_by(error);
        let tombstones: Vec<&dyn arrow::array::Array> = self.tombstones.iter().map(|column| column as _).collect();
        let tombstone = if tombstones.is_empty() { None } else { Some(concat(&tombstones).map_err(failed)?) };
        let tombstone = tombstone.and_then(|column| column.as_any().downcast_ref::<BooleanArray>().cloned()).filter(|column| column.true_count() > 0);
        Ok(SourceBatch {
            partition: PartitionId { source: source.to_owned(), partition: PARTITION.to_owned() },
            rows: self.numbers,
            batch: concat_batches(declared, &self.batches).map_err(failed)?,
            original: OriginalRows::columns(tombstone.clone()),
            tombstone,
            append_time: (!self.append_times.is_empty()).then(|| Int64Array::from(self.append_times)),
            bad: Vec::new(),
            position,
            heartbeat: self.heartbeat,
        })
    }
}
