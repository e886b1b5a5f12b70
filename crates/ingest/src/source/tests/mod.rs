//! Files in, rows out: every promise of the module, through [`SourceReader`] alone.

mod csv;
mod json;
mod locations;
mod parquet;
mod resume;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use ::arrow::array::Array;
use ::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use ::arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_model::{Error, ErrorKind, EventTime, FilePosition};

use super::*;

const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A source whose first column is its key and last its event time.
fn source(name: &str, columns: &[(&str, DataType)]) -> SourceSchema {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>();
    SourceSchema {
        name: name.to_owned(),
        event_time: columns.len() - 1,
        columns: Arc::new(Schema::new(fields)),
        primary_key: vec![0],
        time_zone: Zone::Utc,
    }
}

/// `departures (id BIGINT, carrier VARCHAR, delay DOUBLE, at TIMESTAMP)`.
fn departures() -> SourceSchema {
    source("departures", &[("id", DataType::Int64), ("carrier", DataType::Utf8), ("delay", DataType::Float64), ("at", MOMENT)])
}

fn stream(text: impl AsRef<[u8]>) -> SourceFile {
    SourceFile::stream("-", std::io::Cursor::new(text.as_ref().to_vec()))
}

fn all(file: &SourceFile, request: ReadRequest) -> Result<Vec<Chunk>, Error> {
    let mut reader = SourceReader::open(file, request)?;
    let chunks = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    let progress = reader.progress();
    assert_eq!(progress.bytes_total.unwrap_or(progress.bytes_done), progress.bytes_done);
    assert!(reader.next_chunk().unwrap().is_none(), "a reader that ended stays at its end");
    Ok(chunks)
}

/// The rows of a source, bad ones too, in file order: `0 7 | UA | NULL | 2013-01-01T…`, `1! why: bytes`.
fn rows_of(chunks: &[Chunk], source: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in chunks.iter().map(|chunk| &chunk.batches[source]) {
        let first = rows.len();
        rows.extend((0..batch.rows.len()).map(|row| (batch.rows[row], shown(batch, row))));
        rows.extend(batch.bad.iter().map(|bad| (bad.row, format!("{}! {}: {}", bad.row, bad.reason, String::from_utf8_lossy(&bad.bytes)))));
        rows[first..].sort();
    }
    assert!(rows.is_sorted_by_key(|(row, _)| *row), "{rows:?}");
    rows.into_iter().map(|(_, text)| text).collect()
}

fn shown(batch: &SourceBatch, row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let value = |column: &::arrow::array::ArrayRef| ArrayFormatter::try_new(column.as_ref(), &options).unwrap().value(row).to_string();
    let mut text = format!("{} {}", batch.rows[row], batch.batch.columns().iter().map(value).collect::<Vec<_>>().join(" | "));
    if batch.tombstone.as_ref().is_some_and(|deletes| deletes.is_valid(row) && deletes.value(row)) {
        text.push_str(" deleted");
    }
    if let Some(times) = batch.append_time.as_ref().filter(|times| times.is_valid(row)) {
        text.push_str(&format!(" appended {}", EventTime(times.value(row))));
    }
    text
}

/// Reads all of a text as one source.
fn read(schema: SourceSchema, format: Format, text: impl AsRef<[u8]>) -> Vec<String> {
    rows_of(&all(&stream(text), ReadRequest::new(schema, format)).unwrap(), 0)
}

/// The kind and message of an error.
fn error(result: Result<impl Sized, Error>) -> (ErrorKind, String) {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

/// A file of its own for a test, which goes with it.
struct TestFile {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl TestFile {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        TestFile { _directory: directory, path }
    }

    /// The file, under its name alone.
    fn source(&self) -> SourceFile {
        let name = self.path.file_name().unwrap().to_str().unwrap();
        locate(name, self.path.parent().unwrap(), &Stores::local()).unwrap().remove(0)
    }

    fn write(&self, bytes: impl AsRef<[u8]>) {
        std::fs::write(&self.path, bytes).unwrap();
    }
}

/// Gives `bytes` at most `step` at a time, as a slow pipe does.
struct Trickle {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.step.min(buffer.len()).min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// The position behind a batch of a file.
fn file_position(batch: &SourceBatch) -> FilePosition {
    match &batch.position {
        Position::File(position) => position.clone(),
        other => panic!("{other:?}"),
    }
}

/// The position behind the last chunk, of its first source.
fn end(chunks: &[Chunk]) -> FilePosition {
    file_position(&chunks.last().unwrap().batches[0])
}
