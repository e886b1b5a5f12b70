//! The flights as tables: reading, choosing rows and columns, writing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::{and, cast, concat_batches, filter_record_batch, kernels::cmp};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::json::{LineDelimitedWriter, WriterBuilder, writer::LineDelimited};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// A source of `feature_defs/sources.sql`, as far as its log depends on it.
pub struct Source {
    pub name: &'static str,
    pub event_time: &'static str,
    /// The column that says when a row could first be known, and what is added to it.
    known: (&'static str, i64),
    pub allowed_lateness: i64,
}

pub const SOURCES: [Source; 4] = [
    Source { name: "departures", event_time: "departed_at", known: ("departed_at", 0), allowed_lateness: 6 * HOUR },
    Source { name: "arrivals", event_time: "departed_at", known: ("arrived_at", 0), allowed_lateness: 24 * HOUR },
    Source { name: "cancellations", event_time: "scheduled_at", known: ("scheduled_at", 0), allowed_lateness: 6 * HOUR },
    Source { name: "weather", event_time: "observed_at", known: ("observed_at", HOUR), allowed_lateness: 6 * HOUR },
];

impl Source {
    /// When each row could first be known, in microseconds: in a log without trouble it is appended then.
    pub fn known_at(&self, rows: &RecordBatch) -> Result<Int64Array> {
        let (column, delay) = self.known;
        Ok(micros(rows, column)?.unary(|at| at + delay))
    }
}

/// Reads a table whole.
pub fn read(data: &Path, name: &str) -> Result<RecordBatch> {
    let path = data.join(format!("{name}.parquet"));
    let read = || -> Result<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?.build()?;
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        Ok(concat_batches(&schema, &batches)?)
    };
    read().with_context(|| format!("reading {}", path.display()))
}

/// Writes a table as Parquet.
pub fn write(rows: &RecordBatch, path: &Path) -> Result<()> {
    let write = || -> Result<()> {
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
        let mut writer = ArrowWriter::try_new(File::create(path)?, rows.schema(), Some(properties))?;
        writer.write(rows)?;
        writer.close()?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// The rows as JSON objects, NULLs included; times without a zone, which are UTC.
pub fn json_lines(rows: &RecordBatch) -> Result<Vec<String>> {
    let mut writer: LineDelimitedWriter<Vec<u8>> = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner())?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// A column of times, in microseconds.
pub fn micros(rows: &RecordBatch, column: &str) -> Result<Int64Array> {
    let values = rows.column_by_name(column).with_context(|| format!("there is no column {column}"))?;
    let values = cast(values, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    Ok(cast(&values, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// The rows whose time is in `from..until`.
pub fn between(rows: &RecordBatch, times: &Int64Array, from: i64, until: i64) -> Result<RecordBatch> {
    let chosen = and(&cmp::gt_eq(times, &Int64Array::new_scalar(from))?, &cmp::lt(times, &Int64Array::new_scalar(until))?)?;
    Ok(filter_record_batch(rows, &chosen)?)
}

/// The columns of these names, in this order.
pub fn project(rows: &RecordBatch, columns: &[&str]) -> Result<RecordBatch> {
    let indices = columns.iter().map(|name| rows.schema_ref().index_of(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(rows.project(&indices)?)
}

/// Adds a column of times, given in microseconds.
pub fn with_time(rows: &RecordBatch, name: &str, micros: Int64Array) -> Result<RecordBatch> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let column: ArrayRef = cast(&micros, &time)?;
    let fields = rows.schema_ref().fields().iter().cloned().chain([Arc::new(Field::new(name, time, column.is_nullable()))]);
    let columns = rows.columns().iter().cloned().chain([column]);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns.collect())?)
}
