//! Reading Parquet: batch by batch, from a row on.

mod columns;
mod file;
mod footer;
mod object;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use lockstep_model::{Error, FilePosition};

use super::cast::Cast;
use super::error::SourceError;
use super::locate::SourceFile;
use super::resume::Change;
use super::route::{Route, Router};
use super::rows::as_json;
use super::{BadRow, Chunk, Progress, ReadRequest, SOURCE_MEMBER};
use columns::{Columns, Projection, take_over};
use file::{Batches, ParquetFile};

/// Runs what decodes a file. The decoder asserts what it relies on, and bytes that were damaged may break any of it: that is an error of the file.
fn decoding<T>(file: &str, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let what = "is damaged: it does not decode · write it again".to_owned();
        Err(SourceError::Damaged { file: file.to_owned(), what }.into())
    })
}

/// The columns of a file.
pub(super) fn columns_of_file(file: &SourceFile) -> Result<SchemaRef, Error> {
    decoding(file.name(), || Ok(Arc::clone(ParquetFile::open(file)?.schema())))
}

/// A Parquet file being read.
pub(super) struct ParquetReader {
    file: String,
    batches: Batches,
    router: Router,
    /// How the column that names the source is taken over.
    named: Option<Cast>,
    sources: Vec<Columns>,
    /// What tells the file from another; its rows are those passed.
    position: FilePosition,
    rows_total: u64,
    end_known: bool,
    done: bool,
}

impl std::fmt::Debug for ParquetReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetReader").field("file", &self.file).field("position", &self.position).finish_non_exhaustive()
    }
}

impl ParquetReader {
    pub(super) fn open(file: &SourceFile, request: ReadRequest) -> Result<Self, Error> {
        decoding(file.name(), || Self::open_whole(file, request))
    }

    fn open_whole(file: &SourceFile, request: ReadRequest) -> Result<Self, Error> {
        let router = Router::new(&request);
        let opened = ParquetFile::open(file)?;
        let position = FilePosition {
            rows: 0,
            bytes: 0,
            size: Some(opened.size),
            etag: opened.etag.clone(),
            hash: opened.hash,
            event_time_max: None,
            begun_at: None,
            order: 0,
            complete: false,
        };
        let rows_total = opened.rows();
        for wanted in &request.sources {
            if let Some(before) = &wanted.resume {
                let change = |what| Change { source: wanted.schema.name.clone(), rows: before.rows, what };
                check_same(before, &position, rows_total).map_err(|what| change(what).in_file(file.name()))?;
            }
        }
        let resumed = || request.sources.iter().map(|wanted| wanted.resume.as_ref());
        let from = resumed().map(|position| position.map_or(0, |position| position.rows)).min().unwrap_or(0);
        let end_known = resumed().all(|position| position.is_some_and(|position| position.complete));
        let mut projection = Projection::new(file.name(), opened.schema());
        let sources = request.sources.into_iter().map(|wanted| Columns::new(wanted, &mut projection)).collect::<Result<Vec<_>, _>>()?;
        let named = projection.reserved(SOURCE_MEMBER, &DataType::Utf8)?;
        let columns = projection.into_read();
        Ok(ParquetReader {
            file: file.name().to_owned(),
            batches: opened.read(&columns, from, request.batch_rows)?,
            router,
            named,
            sources,
            position: FilePosition { rows: from, complete: from == rows_total, ..position },
            rows_total,
            end_known,
            done: false,
        })
    }

    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        if self.done {
            return Ok(None);
        }
        let file = self.file.clone();
        let chunk = decoding(&file, || self.chunk());
        if self.position.complete || !matches!(chunk, Ok(Some(_))) {
            self.done = true;
        }
        chunk
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            bytes_done: self.bytes_before(self.position.rows),
            bytes_total: self.position.size,
            rows_done: self.position.rows,
            rows_total: Some(self.rows_total),
        }
    }

    /// Where a row would be if all rows took as many bytes.
    fn bytes_before(&self, row: u64) -> u64 {
        let size = u128::from(self.position.size.unwrap_or(0));
        let bytes = size * u128::from(row) / u128::from(self.rows_total.max(1));
        if self.rows_total == 0 { size as u64 } else { bytes as u64 }
    }

    fn chunk(&mut self) -> Result<Option<Chunk>, Error> {
        if self.position.complete {
            // Nothing is left, but that it was the end may be news.
            let batches = || self.sources.iter().map(|source| source.none(&self.position)).collect();
            return Ok((!self.end_known).then(|| Chunk { batches: batches(), rows_read: 0, bytes_read: 0 }));
        }
        let start = self.position.rows;
        let batch = self.batches.next().transpose()?.filter(|batch| batch.num_rows() > 0);
        let Some(batch) = batch.filter(|batch| start + batch.num_rows() as u64 <= self.rows_total) else {
            let what = format!("is damaged: it does not have the {} rows that its footer says · write it again", self.rows_total);
            return Err(SourceError::Damaged { file: self.file.clone(), what }.into());
        };
        self.position.rows += batch.num_rows() as u64;
        self.position.complete = self.position.rows == self.rows_total;
        let chunk = self.batches_of(&batch, start).map_err(|error| {
            let what = format!("has rows that cannot be taken over: {error} · write it again");
            SourceError::Damaged { file: self.file.clone(), what }
        })?;
        Ok(Some(chunk))
    }

    /// The rows of `batch`, the first of which is number `start`, as batches of all wanted sources.
    fn batches_of(&mut self, batch: &RecordBatch, start: u64) -> Result<Chunk, ArrowError> {
        // Rows that no source can be told of are kept with the first.
        let (rows, mut lost) = self.split(batch, start)?;
        let mut batches = Vec::with_capacity(self.sources.len());
        for (source, rows) in self.sources.iter_mut().zip(rows) {
            batches.push(source.read(batch, rows, start, std::mem::take(&mut lost), &self.position)?);
        }
        let bytes_read = self.bytes_before(self.position.rows) - self.bytes_before(start);
        Ok(Chunk { batches, rows_read: self.position.rows - start, bytes_read })
    }

    /// Per wanted source the indices of its rows in a batch; and the rows of which none can be told.
    fn split(&mut self, batch: &RecordBatch, start: u64) -> Result<(Vec<Vec<u32>>, Vec<BadRow>), ArrowError> {
        let names = self.named.as_mut().map(|cast| take_over(batch, SOURCE_MEMBER, cast, &mut Vec::new())).transpose()?;
        let names: Option<&StringArray> = names.as_ref().map(|names| names.as_string());
        let (mut rows, mut lost) = (vec![Vec::new(); self.sources.len()], Vec::new());
        for row in 0..batch.num_rows() {
            let name = names.filter(|names| names.is_valid(row)).map(|names| names.value(row));
            match self.router.route(name) {
                Ok(Route::To(source)) => rows[source].push(row as u32),
                Ok(Route::Elsewhere) => {}
                Err(reason) => lost.push(BadRow { row: start + row as u64, reason, bytes: as_json(&batch.slice(row, 1)) }),
            }
        }
        Ok((rows, lost))
    }
}

/// What shows that a file is not the one a position was taken in.
fn check_same(before: &FilePosition, now: &FilePosition, rows: u64) -> Result<(), String> {
    match (before.size, now.size, &before.etag, &now.etag) {
        (Some(before), Some(now), ..) if before != now => Err(format!("it had {before} bytes and has {now}")),
        (.., Some(before), Some(now)) if before != now => Err(format!("its entity tag was {before} and is {now}")),
        _ if before.hash != now.hash => Err("its footer is another now".to_owned()),
        _ if before.rows > rows => Err(format!("it has {rows} rows")),
        _ => Ok(()),
    }
}

/// The rows of a batch with these indices; all of them as they are.
fn picked(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch, ArrowError> {
    if rows.len() == batch.num_rows() { Ok(batch.clone()) } else { take_record_batch(batch, &UInt32Array::from(rows)) }
}
