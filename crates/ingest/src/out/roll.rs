//! Rows of the outbox to files of the log of applied events; small files to larger ones; old files away.
//!
//! Exactly once, whatever ends the process: rows are forced to the disk in the outbox before they are in a file, so that no file holds what a power cut takes from the store; a
//! file gets its name when it is whole and on the disk; then its rows leave the outbox, in one commit. A file that has its name while its rows still wait does not count, and is
//! taken for what it is when the next run begins ([`AppliedLogs::settle`]).

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lockstep_model::{Clock, Error, EventTime};
use lockstep_store::{AppliedFile, AppliedLogs, OnlineStore, Queue, Span};
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::definition::History;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::carry::Carrier;
use super::{Rolling, applied, applied_queue};

/// Rows of a row group: what a writer holds in memory.
const GROUP_ROWS: usize = 1 << 17;
/// How often it is looked for files that are old enough to go, µs.
const EXPIRE_EVERY: i64 = 60_000_000;

/// Makes the files of a source's log.
pub(super) struct Roller<'a> {
    store: &'a dyn OnlineStore,
    logs: &'a AppliedLogs,
    source: String,
    queue: String,
    keep: History,
    rolling: Rolling,
    clock: &'a dyn Clock,
    expired_at: Option<EventTime>,
}

impl<'a> Roller<'a> {
    pub(super) fn new(
        store: &'a dyn OnlineStore,
        logs: &'a AppliedLogs,
        source: &SourcePlan,
        keep: History,
        rolling: Rolling,
        clock: &'a dyn Clock,
    ) -> Self {
        Roller { store, logs, source: source.name.clone(), queue: applied_queue(&source.name), keep, rolling, clock, expired_at: None }
    }

    fn stands(&self) -> Result<Queue, Error> {
        Ok(self.store.cut().queues()?.get(&self.queue).copied().unwrap_or_default())
    }

    /// Whether what waits is to be a file now.
    fn is_due(&self, stands: Queue) -> Result<bool, Error> {
        if stands.bytes >= self.rolling.bytes {
            return Ok(true);
        }
        let mut oldest = None;
        self.store.cut().each_outgoing(&self.queue, &mut |_, bytes| {
            oldest = Some(applied::decode(&self.source, bytes)?.at);
            Ok(false)
        })?;
        let every = i64::try_from(self.rolling.every.as_micros()).unwrap_or(i64::MAX);
        Ok(oldest.is_some_and(|oldest| oldest.0.saturating_add(every) <= self.clock.now().0))
    }

    /// Makes a file of the rows that have waited longest.
    fn roll(&self) -> Result<(), Error> {
        let cut = self.store.cut();
        self.store.sync()?;
        let mut bytes_taken = 0;
        let file = self.logs.roll(&self.source, &mut |out| {
            let mut file = Writing::new(out);
            bytes_taken = 0;
            cut.each_outgoing(&self.queue, &mut |first, bytes| {
                let applied = applied::decode(&self.source, bytes)?;
                let is_enough = bytes_taken > 0 && (bytes_taken >= self.rolling.bytes || !file.fits(&applied.rows.schema()));
                if is_enough {
                    return Ok(false);
                }
                let end = first + applied.rows.num_rows() as u64;
                file.write(&applied.rows, Span { first, end, oldest: applied.at, newest: applied.at })?;
                bytes_taken += bytes.len() as u64;
                Ok(true)
            })?;
            file.finish()
        })?;
        drop(cut);
        self.store.take_out(&self.queue, file.span.end, bytes_taken)
    }

    /// Makes one file of many small ones that follow each other, while there are so many.
    fn merge(&self, taken: u64) -> Result<(), Error> {
        while let Some(many) = self.small_files(taken)? {
            self.logs.merge(&self.source, &many, &mut |out| {
                let mut file = Writing::new(out);
                for AppliedFile { path, span, .. } in &many {
                    let failed =
                        |error: &dyn std::fmt::Display| Error::data(format!("{}: {error} · restore the file, or take it away", path.display()));
                    let opened = File::open(path).map_err(|error| failed(&error))?;
                    let rows =
                        ParquetRecordBatchReaderBuilder::try_new(opened).and_then(|builder| builder.build()).map_err(|error| failed(&error))?;
                    for batch in rows {
                        file.write(&batch.map_err(|error| failed(&error))?, *span)?;
                    }
                }
                file.finish()
            })?;
        }
        Ok(())
    }

    /// Small files of the same columns that follow each other, where there are enough of them.
    fn small_files(&self, taken: u64) -> Result<Option<Vec<AppliedFile>>, Error> {
        let mut run: Vec<AppliedFile> = Vec::new();
        let mut columns: Option<SchemaRef> = None;
        for file in self.logs.files(&self.source, taken)? {
            let follows = run.last().is_some_and(|last| last.span.end == file.span.first);
            let is_small = file.bytes < self.rolling.small_bytes;
            let schema = if is_small { columns_of(&file) } else { None };
            if !follows || schema.is_none() || schema != columns {
                run.clear();
            }
            if schema.is_some() {
                run.push(file);
            }
            columns = schema;
            if run.len() >= self.rolling.merged.max(2) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn expire(&mut self, taken: u64) -> Result<(), Error> {
        let (now, History::Within(keep)) = (self.clock.now(), self.keep) else { return Ok(()) };
        if self.expired_at.is_some_and(|at| now.0.saturating_sub(at.0) < EXPIRE_EVERY) {
            return Ok(());
        }
        let rows = self.logs.expire(&self.source, taken, EventTime(now.0.saturating_sub(keep.micros())))?;
        if rows > 0 {
            tracing::info!("the log of applied events of source `{}` let go of {rows} rows that are older than it keeps", self.source);
        }
        self.expired_at = Some(now);
        Ok(())
    }
}

impl Carrier for Roller<'_> {
    fn name(&self) -> String {
        format!("the log of applied events of source `{}`", self.source)
    }

    fn begin(&mut self) -> Result<(), Error> {
        let stands = self.stands()?;
        let settled = self.logs.settle(&self.source, stands.taken, stands.put)?;
        if settled > stands.taken {
            let mut bytes_taken = 0;
            self.store.cut().each_outgoing(&self.queue, &mut |first, bytes| {
                let in_file = first < settled;
                bytes_taken += if in_file { bytes.len() as u64 } else { 0 };
                Ok(in_file)
            })?;
            self.store.take_out(&self.queue, settled, bytes_taken)?;
        }
        Ok(())
    }

    fn look(&mut self, is_last: bool) -> Result<(), Error> {
        loop {
            let stands = self.stands()?;
            let is_due = stands.waiting() > 0 && (is_last || self.is_due(stands)?);
            if !is_due {
                return self.expire(stands.taken);
            }
            self.roll()?;
            self.merge(self.stands()?.taken)?;
        }
    }
}

/// The columns of a file, where it can be read.
fn columns_of(file: &AppliedFile) -> Option<SchemaRef> {
    let opened = File::open(&file.path).ok()?;
    Some(Arc::clone(ParquetRecordBatchReaderBuilder::try_new(opened).ok()?.schema()))
}

/// A file being written, of the columns of its first rows.
struct Writing<'a> {
    out: Option<&'a mut (dyn Write + Send)>,
    writer: Option<ArrowWriter<&'a mut (dyn Write + Send)>>,
    schema: Option<SchemaRef>,
    span: Option<Span>,
}

impl<'a> Writing<'a> {
    fn new(out: &'a mut (dyn Write + Send)) -> Self {
        Writing { out: Some(out), writer: None, schema: None, span: None }
    }

    /// Whether rows of these columns can be written to it.
    fn fits(&self, schema: &SchemaRef) -> bool {
        self.schema.as_ref().is_none_or(|known| known.fields() == schema.fields())
    }

    fn write(&mut self, rows: &RecordBatch, span: Span) -> Result<(), Error> {
        if let Some(out) = self.out.take() {
            // Rows are written once and read seldom; a level more costs a multiple of the time.
            let level = ZstdLevel::try_new(1).map_err(failed)?;
            let properties =
                WriterProperties::builder().set_compression(Compression::ZSTD(level)).set_max_row_group_row_count(Some(GROUP_ROWS)).build();
            self.writer = Some(ArrowWriter::try_new(out, rows.schema(), Some(properties)).map_err(failed)?);
            self.schema = Some(rows.schema());
        }
        self.span = Some(match self.span {
            None => span,
            Some(before) => Span { end: span.end, newest: before.newest.max(span.newest), ..before },
        });
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write(rows)).map_err(failed)
    }

    fn finish(self) -> Result<Span, Error> {
        if let Some(writer) = self.writer {
            writer.close().map_err(failed)?;
        }
        self.span.ok_or_else(|| Error::internal("a file of the log of applied events would have no rows"))
    }
}

fn failed(error: ParquetError) -> Error {
    Error::internal(format!("rows of the log of applied events cannot be written as Parquet: {error}"))
}
