//! Reading sources from files: Parquet, CSV and NDJSON, on disk, in an object store, or from standard input.
//!
//! [`locate`] turns what a definition says (`data/2013-*.parquet`, `s3://bucket/log.ndjson`, `-`) into files; [`SourceReader::open`] reads one of
//! them from a position on and gives [`Chunk`]s: rows in file order, in the declared schema, each with its number in the file.
//!
//! What the readers promise:
//! - *Types are kept or widened without loss, never guessed.* A Parquet column whose type cannot hold is schema drift and an error; a text value that is
//!   not of its column's type makes its row a [`BadRow`], kept with its bytes and the reason, and costs no other row.
//! - *The same file gives the same rows*, wherever chunks are cut and however often reading resumed.
//! - *A position is checked before it is used*: a file that was cut short, rewritten or replaced since is an error.
//! - *Everything has a bound*: a chunk has at most [`ReadRequest::batch_rows`] rows, a line or CSV record at most [`RECORD_BYTES_MAX`] bytes.
//!
//! # How text is read
//! - NDJSON is strict JSON, one object a line. A missing member is NULL; members nobody declared are ignored. Whole numbers may be written as `7`, `7.0`, `7e0` or
//!   `"7"`; a fraction in an integer column, or more decimal places than a decimal has, is a bad row.
//! - CSV has a header and is quoted as RFC 4180 says. `,,` is NULL and `,"",` is the empty string. Lists are written as JSON in a cell. Empty lines are skipped.
//! - Moments are RFC 3339 (`2013-03-01T12:00:00Z`), or naive (`2013-03-01 12:00:00.25`, `2013-03-01`) in the source's zone. A bare number is no
//!   moment, since nothing says its unit. Digits below the microsecond must be zero. For the local times that a zone has twice or
//!   not at all see [`zone`].
//! - Binary is hexadecimal.
//! - A UTF-8 byte order mark and `\r\n` are allowed everywhere.
//!
//! # Reserved members (or columns)
//! `_source` names the source of a row in a log of several, `_append_time` says when the log took it (RFC 3339, or naive UTC), and `_tombstone: true` says that
//! the row deletes its key. They mean the same in all three formats.

mod avro;
mod block;
mod cast;
mod column;
mod csv;
mod error;
mod infer;
mod input;
mod json;
mod locate;
mod parquet;
mod record;
mod resume;
mod route;
mod rows;
mod settle;
#[cfg(test)]
mod tests;
mod text;
pub mod zone;

use std::sync::Arc;

use ::arrow::array::{BooleanArray, Int64Array, RecordBatch};
use ::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lockstep_model::{Error, EventTime, FilePosition, PartitionId, Position};

pub use avro::{Schemas, Wire};
pub use csv::Dialect;
pub use error::SourceError;
pub use infer::columns_of;
pub use locate::{SourceFile, Stores, locate};
pub use record::{Encoding, Mapping, Record, Records};
pub use rows::OriginalRows;
use zone::Zone;

/// Longest line or CSV record, in bytes; a longer one is a bad row.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Name of the member that says which source a row is of.
pub const SOURCE_MEMBER: &str = "_source";
/// Name of the member that says when the log took the row.
pub const APPEND_TIME_MEMBER: &str = "_append_time";
/// Name of the member that says that the row deletes its key.
pub const TOMBSTONE_MEMBER: &str = "_tombstone";

/// What a reader has to know of a source.
#[derive(Debug, Clone)]
pub struct SourceSchema {
    /// The source's name, as `_source` gives it.
    pub name: String,
    /// The declared columns. A column that may not be NULL makes a row with NULL there a bad row, unless it is a tombstone.
    pub columns: SchemaRef,
    /// Index of the event time, a column of microseconds.
    pub event_time: usize,
    /// Indices of the primary key's columns.
    pub primary_key: Vec<usize>,
    /// The zone of naive timestamps.
    pub time_zone: Zone,
}

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

impl Format {
    /// The format a file's name says: `.parquet`, `.csv`, `.ndjson`, `.jsonl` or `.json`.
    pub fn of(name: &str) -> Option<Format> {
        let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
        match extension.as_str() {
            "parquet" => Some(Format::Parquet),
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
            _ => None,
        }
    }
}

/// A source that is wanted from a file.
#[derive(Debug, Clone)]
pub struct WantedSource {
    /// Its columns.
    pub schema: SourceSchema,
    /// How far it has been read from this file; `None` from the start.
    pub resume: Option<FilePosition>,
}

/// What to read from a file, and how.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The sources wanted. Where there is one, rows need not name it.
    pub sources: Vec<WantedSource>,
    /// The names of all sources that are declared: rows of those not wanted are skipped, and any other name is a bad row.
    pub declared: Vec<String>,
    /// How the file is written.
    pub format: Format,
    /// How CSV is written in it.
    pub csv: Dialect,
    /// Most rows of a chunk.
    pub batch_rows: usize,
}

impl ReadRequest {
    /// Reads one source from the start, 8,192 rows a chunk.
    pub fn new(schema: SourceSchema, format: Format) -> Self {
        let declared = vec![schema.name.clone()];
        ReadRequest { sources: vec![WantedSource { schema, resume: None }], declared, format, csv: Dialect::default(), batch_rows: 8192 }
    }
}

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its number in the file, from 0; in NDJSON the line.
    pub row: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Its bytes as they were (of a line beyond [`RECORD_BYTES_MAX`], the first of them); for Parquet, the row as JSON.
    pub bytes: Vec<u8>,
}

/// Rows of one source, in file order.
#[derive(Debug, Clone)]
pub struct SourceBatch {
    /// The source and the file.
    pub partition: PartitionId,
    /// The number in the file of each row of `batch`.
    pub rows: Vec<u64>,
    /// The rows: the declared columns, all of them nullable (a tombstone has only its key and version).
    pub batch: RecordBatch,
    /// Which rows delete their key; `None` where none does.
    pub tombstone: Option<BooleanArray>,
    /// When the log took each row, in microseconds; `None` where no row says so.
    pub append_time: Option<Int64Array>,
    /// The rows between these that could not be read.
    pub bad: Vec<BadRow>,
    /// Where the rows of `batch` came from, for those that are refused later.
    pub original: OriginalRows,
    /// That no event of the partition before a moment is to be expected after these rows.
    pub heartbeat: Option<Heartbeat>,
    /// The position after this batch. `event_time_max` is what the position resumed from said: admission moves it.
    pub position: Position,
}

/// A record of a log that is no event: it moves the partition's largest event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its number within the partition.
    pub row: u64,
    /// The moment before which no event is to be expected.
    pub event_time: EventTime,
}

/// What one read gives: a batch for each wanted source, empty ones too, since all positions move together.
#[derive(Debug)]
pub struct Chunk {
    /// In the order of [`ReadRequest::sources`].
    pub batches: Vec<SourceBatch>,
    /// Rows of the file that were passed, of whatever source.
    pub rows_read: u64,
    /// Bytes of the file that were passed; of Parquet an estimate by rows.
    pub bytes_read: u64,
}

impl SourceBatch {
    /// The partition's largest event time behind those of its rows whose numbers are `wanted`, where these came to `rows_max`.
    pub fn event_time_max(&self, rows_max: Option<i64>, wanted: impl Fn(u64) -> bool) -> Option<i64> {
        let heartbeat = self.heartbeat.filter(|heartbeat| wanted(heartbeat.row));
        rows_max.max(heartbeat.map(|heartbeat| heartbeat.event_time.0))
    }
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes passed; of Parquet an estimate by rows.
    pub bytes_done: u64,
    /// The file's size; unknown of standard input.
    pub bytes_total: Option<u64>,
    /// Rows passed.
    pub rows_done: u64,
    /// Rows in the file; known of Parquet only.
    pub rows_total: Option<u64>,
}

/// Reads one file, chunk by chunk. Blocking: to be called from a thread that may wait.
#[derive(Debug)]
pub struct SourceReader(Kind);

#[derive(Debug)]
enum Kind {
    Text(Box<text::TextReader>),
    Parquet(Box<parquet::ParquetReader>),
}

impl SourceReader {
    /// Opens a file and checks the positions to resume from.
    ///
    /// # Errors
    /// NotFound where the file does not exist; Unavailable where it cannot be read now; Data where it is damaged, has other columns than
    /// declared, or is not the file the position was taken in.
    pub fn open(file: &SourceFile, request: ReadRequest) -> Result<Self, Error> {
        check(&request)?;
        Ok(SourceReader(match request.format {
            Format::Parquet => Kind::Parquet(Box::new(parquet::ParquetReader::open(file, request)?)),
            Format::Csv | Format::Ndjson => Kind::Text(Box::new(text::TextReader::open(file, request)?)),
        }))
    }

    /// The next chunk; `None` at the end of the file. The last chunk's positions are complete.
    ///
    /// # Errors
    /// As [`SourceReader::open`]. After an error the reader gives nothing more.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        match &mut self.0 {
            Kind::Text(reader) => reader.next_chunk(),
            Kind::Parquet(reader) => reader.next_chunk(),
        }
    }

    /// How far reading has come.
    pub fn progress(&self) -> Progress {
        match &self.0 {
            Kind::Text(reader) => reader.progress(),
            Kind::Parquet(reader) => reader.progress(),
        }
    }
}

impl Iterator for SourceReader {
    type Item = Result<Chunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

fn check(request: &ReadRequest) -> Result<(), Error> {
    if request.sources.is_empty() || request.batch_rows == 0 {
        return Err(Error::internal("a file is read for at least one source, at least one row at a time"));
    }
    for wanted in &request.sources {
        let SourceSchema { name, columns, .. } = &wanted.schema;
        for reserved in [SOURCE_MEMBER, APPEND_TIME_MEMBER, TOMBSTONE_MEMBER] {
            if columns.field_with_name(reserved).is_ok() {
                return Err(Error::invalid(format!("source `{name}` declares a column `{reserved}`, a name that is reserved · call it otherwise")));
            }
        }
    }
    Ok(())
}

/// The declared schema with everything in it nullable.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| nullable_field(field)).collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

fn nullable_field(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::List(element) => DataType::List(Arc::new(nullable_field(element))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| nullable_field(field)).collect()),
        other => other.clone(),
    };
    Field::new(field.name(), data_type, true)
}

/// Where a source stands that has been read to `now`, or further before.
fn position_of(before: Option<&FilePosition>, now: &FilePosition) -> Position {
    Position::File(match before {
        Some(before) if before.rows > now.rows => before.clone(),
        _ => FilePosition {
            event_time_max: before.and_then(|before| before.event_time_max),
            begun_at: before.and_then(|before| before.begun_at),
            order: before.map_or(0, |before| before.order),
            ..now.clone()
        },
    })
}
