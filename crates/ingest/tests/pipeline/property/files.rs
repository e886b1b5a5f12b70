//! Rows as files of each format.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use lockstep_ingest::pipeline::schema_of;
use lockstep_ingest::source::{Format, ReadRequest, SourceBatch, SourceFile, SourceReader};
use lockstep_transform::catalog::SourcePlan;
use parquet::arrow::ArrowWriter;

use super::rows::Row;

/// Writes a file of a source's history; what the format cannot hold goes to an NDJSON file beside it.
pub fn write(dir: &Path, file: usize, rows: &[&Row], source: &SourcePlan, format: Format) {
    fs::create_dir_all(dir).unwrap();
    if format == Format::Ndjson {
        return write_ndjson(&dir.join(format!("{file}.ndjson")), rows);
    }
    let (garbage, rows): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_garbage());
    match format {
        Format::Csv => write_csv(&dir.join(format!("{file}.csv")), &rows, source),
        _ => {
            let beside = write_parquet(&dir.join(format!("{file}.parquet")), &rows, source);
            return write_ndjson(&dir.join(format!("{file}_rest.ndjson")), &[garbage, beside].concat());
        }
    }
    write_ndjson(&dir.join(format!("{file}_rest.ndjson")), &garbage);
}

pub fn write_ndjson(path: &Path, rows: &[&Row]) {
    fs::write(path, rows.iter().flat_map(|row| row.ndjson()).collect::<Vec<u8>>()).unwrap();
}

fn write_csv(path: &Path, rows: &[&Row], source: &SourcePlan) {
    let reserved = ["_append_time", "_tombstone"];
    let columns: Vec<&str> = source.schema.fields().iter().map(|field| field.name().as_str()).chain(reserved).collect();
    let records: String = rows.iter().map(|row| row.csv(&columns)).collect();
    fs::write(path, format!("{}\n{records}", columns.join(","))).unwrap();
}

/// Writes the rows that can be read, by the types that they are declared with, and returns the others.
fn write_parquet<'r>(path: &Path, rows: &[&'r Row], source: &SourcePlan) -> Vec<&'r Row> {
    let chunks: Vec<_> = read(rows, source).iter().map(with_reserved).collect();
    let Some((first, _)) = chunks.first() else { return Vec::new() };
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), first.schema(), None).unwrap();
    chunks.iter().for_each(|(batch, _)| writer.write(batch).unwrap());
    writer.close().unwrap();
    chunks.iter().flat_map(|(_, bad)| bad).map(|&row| rows[row as usize]).collect()
}

fn read(rows: &[&Row], source: &SourcePlan) -> Vec<SourceBatch> {
    let text: Vec<u8> = rows.iter().flat_map(|row| row.ndjson()).collect();
    let request = ReadRequest { batch_rows: rows.len().max(1), ..ReadRequest::new(schema_of(source), Format::Ndjson) };
    let mut reader = SourceReader::open(&SourceFile::stream("-", std::io::Cursor::new(text)), request).unwrap();
    reader.by_ref().map(|chunk| chunk.unwrap().batches.remove(0)).collect()
}

/// The rows as they are pushed, and the numbers of those that could not be read.
pub fn typed(rows: &[&Row], source: &SourcePlan) -> (Vec<RecordBatch>, Vec<u64>) {
    let (batches, bad): (Vec<RecordBatch>, Vec<Vec<u64>>) = read(rows, source).iter().map(with_reserved).unzip();
    let pushed = |batch: RecordBatch| {
        let columns: Vec<usize> = (0..batch.num_columns()).filter(|&at| batch.schema().field(at).name() != "_append_time").collect();
        batch.project(&columns).unwrap()
    };
    (batches.into_iter().map(pushed).collect(), bad.concat())
}

/// The rows with the reserved columns, and the numbers of those that could not be read.
fn with_reserved(batch: &SourceBatch) -> (RecordBatch, Vec<u64>) {
    let rows = batch.batch.num_rows();
    let appended: ArrayRef = match &batch.append_time {
        Some(times) => Arc::new(times.iter().collect::<TimestampMicrosecondArray>()),
        None => Arc::new(StringArray::new_null(rows)),
    };
    let tombstone =
        batch.tombstone.clone().map_or_else(|| arrow::array::new_null_array(&arrow::datatypes::DataType::Boolean, rows), |deletes| Arc::new(deletes));
    let schema = batch.batch.schema();
    let columns = schema.fields().iter().map(|field| field.name().clone()).zip(batch.batch.columns().iter().cloned());
    let columns =
        columns.chain([("_append_time".to_owned(), appended), ("_tombstone".to_owned(), tombstone)]).map(|(name, column)| (name, column, true));
    (RecordBatch::try_from_iter_with_nullable(columns).unwrap(), batch.bad.iter().map(|bad| bad.row).collect())
}
