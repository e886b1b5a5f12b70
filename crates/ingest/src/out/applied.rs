//! Rows of the log of applied events: as they wait in the outbox, and as they are in files.
//!
//! | column          | type            | what                                                                                                |
//! |-----------------|-----------------|-----------------------------------------------------------------------------------------------------|
//! | those declared  | as declared     | the row; of a deletion its key and version                                                          |
//! | `_source`       | VARCHAR         | the source                                                                                          |
//! | `_append_time`  | TIMESTAMP (UTC) | when the log took the row, where it says so                                                         |
//! | `_tombstone`    | BOOLEAN         | whether the row deletes its key                                                                     |
//! | `_outcome`      | VARCHAR         | `new`; `replaces` an earlier version; `superseded` by a greater one that was there; `deletes` a key |
//! | `_partition`    | VARCHAR         | where it was read: `kafka://payments/3`, or a path                                                  |
//! | `_row`          | UBIGINT         | its offset, or its number in the file                                                               |
//! | `_cluster`      | VARCHAR         | the id of the Kafka cluster                                                                         |
//! | `_topic_id`     | VARCHAR         | the id of the topic, which one that is made anew has another of                                     |
//! | `_applied_at`   | TIMESTAMP (UTC) | when it was applied                                                                                 |
//!
//! The reserved members of logs mean what they mean there, so that a file of the log can itself be ingested as one.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array, UInt32Array, UInt64Array,
};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, TimeUnit, UInt8Type};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use lockstep_model::codec::{Reader, put_bytes};
use lockstep_model::{Error, EventTime, PartitionId};
use lockstep_store::CutRead;
use lockstep_transform::definition::APPLIED_LOG_COLUMNS;
use serde::{Deserialize, Serialize};

use super::{AdmittedNow, applied_queue, log_of};
use crate::admission::{Fate, Taken};

const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// What is true of all rows that were put together.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    partition: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    at: EventTime,
}

/// Rows of a log that were applied at one moment.
#[derive(Debug)]
pub(super) struct Applied {
    /// In the columns of the log.
    pub(super) rows: RecordBatch,
    /// When.
    pub(super) at: EventTime,
}

/// The rows that were taken, from number `from` of their partition on, and how many: `length ‖ head as JSON ‖ Arrow IPC stream`.
///
/// # Errors
/// Where a kernel fails.
pub(super) fn encode(partition: &PartitionId, now: &AdmittedNow<'_>, from: u64) -> Result<(u64, Vec<u8>), Error> {
    let is_new = |taken: &&Taken| now.arrivals.rows[taken.row as usize] >= from;
    let taken: Vec<Taken> = now.taken.iter().filter(is_new).copied().collect();
    if taken.is_empty() {
        return Ok((0, Vec::new()));
    }
    let (cluster, topic_id) = log_of(now.position);
    let (cluster, topic_id) = (cluster.map(str::to_owned), topic_id.map(str::to_owned));
    let head = Head { partition: partition.partition.clone(), cluster, topic_id, at: now.at };
    let mut bytes = Vec::new();
    put_bytes(
        &mut bytes,
        &serde_json::to_vec(&head).map_err(|error| Error::internal(format!("the head of applied rows cannot be encoded: {error}")))?,
    );
    write(&mut bytes, now, &taken).map_err(|error| Error::internal("applied rows cannot be encoded").caused_by(error))?;
    Ok((taken.len() as u64, bytes))
}

fn write(bytes: &mut Vec<u8>, now: &AdmittedNow<'_>, taken: &[Taken]) -> Result<(), ArrowError> {
    let arrivals = now.arrivals;
    let is_whole = taken.len() == arrivals.rows.len() && taken.iter().enumerate().all(|(at, taken)| taken.row as usize == at);
    let places = UInt32Array::from_iter_values(taken.iter().map(|taken| taken.row));
    let rows = if is_whole { arrivals.batch.clone() } else { take_record_batch(arrivals.batch, &places)? };
    let picked = |column: &dyn Array| take(column, &places, None);
    let none = || Ok::<ArrayRef, ArrowError>(arrow::array::new_null_array(&DataType::Int64, taken.len()));
    let is_tombstone =
        |taken: &Taken| arrivals.tombstone.is_some_and(|column| column.is_valid(taken.row as usize) && column.value(taken.row as usize));
    let more: [(&str, ArrayRef); 4] = [
        ("append_time", arrivals.append_time.map_or_else(none, |times| picked(times))?),
        ("tombstone", Arc::new(taken.iter().map(|taken| Some(is_tombstone(taken))).collect::<BooleanArray>())),
        ("fate", Arc::new(UInt8Array::from_iter_values(taken.iter().map(|taken| taken.fate as u8)))),
        ("row", Arc::new(UInt64Array::from_iter_values(taken.iter().map(|taken| arrivals.rows[taken.row as usize])))),
    ];
    let fields = rows.schema().fields().iter().cloned().chain(more.iter().map(|(name, column)| field(name, column.data_type()))).collect::<Vec<_>>();
    let columns = rows.columns().iter().cloned().chain(more.into_iter().map(|(_, column)| column)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    let mut writer = StreamWriter::try_new_with_options(bytes, &batch.schema(), options)?;
    writer.write(&batch)?;
    writer.finish()
}

fn field(name: &str, data_type: &DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type.clone(), true))
}

/// How many columns [`write`] adds to those declared.
const MORE: usize = 4;

/// The columns of a source's log.
pub fn log_schema(declared: &Schema) -> SchemaRef {
    let types = [DataType::Utf8, MOMENT, DataType::Boolean, DataType::Utf8, DataType::Utf8, DataType::UInt64, DataType::Utf8, DataType::Utf8, MOMENT];
    let more = APPLIED_LOG_COLUMNS.iter().zip(&types).map(|(name, data_type)| field(name, data_type));
    Arc::new(Schema::new(declared.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// Rows of the outbox, in the columns of the log of `source`.
///
/// # Errors
/// Data where they do not decode.
pub(super) fn decode(source: &str, bytes: &[u8]) -> Result<Applied, Error> {
    let undecodable = |why: String| {
        Error::data(format!(
            "rows of source `{source}` that wait for their file do not decode · {why} · open the store with the release that wrote it"
        ))
    };
    let mut reader = Reader::new(bytes);
    let head = reader.bytes().map_err(|error| undecodable(error.what.to_owned()))?;
    let head: Head = serde_json::from_slice(head).map_err(|error| undecodable(error.to_string()))?;
    let rows = read(source, &head, reader.rest()).map_err(|error| undecodable(error.to_string()))?;
    Ok(Applied { rows, at: head.at })
}

/// The rows of a source's log that wait for their file, in the columns of the log.
///
/// # Errors
/// Where the cut cannot be read, or rows do not decode.
pub fn rows_waiting(cut: &dyn CutRead, source: &str) -> Result<Vec<RecordBatch>, Error> {
    let mut rows = Vec::new();
    cut.each_outgoing(&applied_queue(source), &mut |_, bytes| {
        rows.push(decode(source, bytes)?.rows);
        Ok(true)
    })?;
    Ok(rows)
}

fn read(source: &str, head: &Head, stream: &[u8]) -> Result<RecordBatch, ArrowError> {
    let batch = StreamReader::try_new(stream, None)?.next().ok_or_else(|| ArrowError::IpcError("it holds no rows".to_owned()))??;
    let declared = batch.num_columns().checked_sub(MORE).ok_or_else(|| ArrowError::SchemaError("it lacks columns".to_owned()))?;
    let (rows, [append_time, tombstone, fate, row]) = (&batch.columns()[..declared], [0, 1, 2, 3].map(|at| batch.column(declared + at)));
    let (Some(append_time), Some(fates)) = (append_time.as_primitive_opt::<Int64Type>(), fate.as_primitive_opt::<UInt8Type>()) else {
        return Err(ArrowError::SchemaError("its columns have other types".to_owned()));
    };
    let word = |fate: &u8| Fate::ALL.get(usize::from(*fate)).map_or("unknown", |fate| fate.word());
    let all = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, batch.num_rows()))) };
    let said = |text: &Option<String>| text.as_deref().map_or_else(|| arrow::array::new_null_array(&DataType::Utf8, batch.num_rows()), all);
    let more: [ArrayRef; 9] = [
        all(source),
        Arc::new(append_time.reinterpret_cast::<arrow::datatypes::TimestampMicrosecondType>()),
        Arc::clone(tombstone),
        Arc::new(StringArray::from_iter_values(fates.values().iter().map(word))),
        all(&head.partition),
        Arc::clone(row),
        said(&head.cluster),
        said(&head.topic_id),
        Arc::new(TimestampMicrosecondArray::from_value(head.at.0, batch.num_rows())),
    ];
    let schema = batch.schema().project(&(0..declared).collect::<Vec<_>>())?;
    RecordBatch::try_new(log_schema(&schema), rows.iter().cloned().chain(more).collect())
}
