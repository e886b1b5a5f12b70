//! What a history is read from: batch files, and what a store has applied of files and logs.

use std::sync::Arc;

use lockstep_model::{Clock, Error, EventTime, PartitionId};
use lockstep_transform::catalog::{Catalog, SourcePlan};

use super::backfill::{BackfillOptions, HistoryFile};
use super::history_partition;
use super::schema::{dialect_of, schema_of};
use super::step::Picked;
use crate::admission::Kind;
use crate::source::{Progress, ReadRequest, SourceBatch, SourceReader};

/// An input of a history. It is opened when its turn comes, and again in every pass.
pub(crate) trait HistoryInput {
    /// The source that its rows are of.
    fn source(&self) -> &Arc<SourcePlan>;

    /// The partition that they are in.
    fn partition(&self) -> PartitionId;

    /// What messages call it.
    fn name(&self) -> &str;

    /// Whether it is history or a log.
    fn kind(&self) -> Kind;

    /// Opens it at its first row.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn open<'s>(&'s self, catalog: &'s Catalog, options: &'s BackfillOptions) -> Result<Box<dyn Rows + 's>, Error>;
}

/// The rows of an input, in their order.
pub(crate) trait Rows {
    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// As reading does.
    fn next(&mut self) -> Result<Option<SomeRows>, Error>;

    /// The largest event time that its partition had before its first row, µs.
    fn begun_at(&self) -> Option<i64>;

    /// The moment that events may be ahead of.
    fn now(&self) -> EventTime;

    /// How far reading has come.
    fn progress(&self) -> Progress;
}

/// Rows that were read.
pub(crate) struct SomeRows {
    /// Rows of the input that were passed.
    pub(crate) rows: u64,
    /// Those of the source, and which of them count.
    pub(crate) batches: Vec<(SourceBatch, Picked)>,
}

impl HistoryInput for HistoryFile {
    fn source(&self) -> &Arc<SourcePlan> {
        &self.source
    }

    fn partition(&self) -> PartitionId {
        PartitionId { source: self.source.name.clone(), partition: history_partition(self.file.name()) }
    }

    fn name(&self) -> &str {
        self.file.name()
    }

    fn kind(&self) -> Kind {
        Kind::History
    }

    fn open<'s>(&'s self, catalog: &'s Catalog, options: &'s BackfillOptions) -> Result<Box<dyn Rows + 's>, Error> {
        let request = ReadRequest {
            batch_rows: options.batch_rows,
            csv: dialect_of(&self.source),
            // A file may hold the rows of several sources, of which one is read here.
            declared: catalog.sources.keys().cloned().collect(),
            ..ReadRequest::new(schema_of(&self.source), self.format)
        };
        let reader = SourceReader::open(&self.file, request)?;
        Ok(Box::new(FileRows { reader, source: &self.source, until: options.until, clock: &*options.clock }))
    }
}

/// A batch file, from its first row to its last.
struct FileRows<'a> {
    reader: SourceReader,
    source: &'a SourcePlan,
    until: Option<EventTime>,
    clock: &'a dyn Clock,
}

impl Rows for FileRows<'_> {
    fn next(&mut self) -> Result<Option<SomeRows>, Error> {
        let Some(chunk) = self.reader.next_chunk()? else { return Ok(None) };
        let picked = |batch: SourceBatch| {
            let picked = Picked::new(&batch, |_| true, self.until, self.source)?;
            Ok::<_, Error>((batch, picked))
        };
        Ok(Some(SomeRows { rows: chunk.rows_read, batches: chunk.batches.into_iter().map(picked).collect::<Result<_, _>>()? }))
    }

    fn begun_at(&self) -> Option<i64> {
        None
    }

    fn now(&self) -> EventTime {
        self.clock.now()
    }

    fn progress(&self) -> Progress {
        self.reader.progress()
    }
}
