//! Rows as a log holds them: Arrow's IPC stream, of which the columns are said once a segment.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::{StreamDecoder, StreamReader};
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use lockstep_model::Error;
use lockstep_transform::catalog::SourcePlan;

use crate::source::TOMBSTONE_MEMBER;

/// What is pushed, as bytes.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The columns.
    pub(super) columns: Vec<u8>,
    /// The rows.
    pub(super) rows: Vec<u8>,
}

/// The columns of a source's log: those declared, and whether the row deletes its key.
fn columns_of(source: &SourcePlan) -> SchemaRef {
    let fields = source.schema.fields().iter().cloned();
    Arc::new(Schema::new(fields.chain([Arc::new(Field::new(TOMBSTONE_MEMBER, DataType::Boolean, true))]).collect::<Vec<_>>()))
}

/// Encodes rows that have the source's columns, and `_tombstone` where they say it.
///
/// # Errors
/// Invalid where they have others.
pub(super) fn encode(source: &SourcePlan, rows: &RecordBatch) -> Result<Encoded, Error> {
    let schema = columns_of(source);
    let column = |field: &Arc<Field>| -> Result<ArrayRef, Error> {
        let given = rows.column_by_name(field.name());
        match given {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            None if field.name() == TOMBSTONE_MEMBER => Ok(new_null_array(&DataType::Boolean, rows.num_rows())),
            _ => {
                let found = given.map_or_else(|| "is missing".to_owned(), |column| format!("is of type {}", column.data_type()));
                let (name, declared) = (field.name(), field.data_type());
                Err(Error::invalid(format!("push to `{}`: column `{name}` {found} · declared: {declared} · push every declared column", source.name)))
            }
        }
    };
    let known = |field: &&Arc<Field>| schema.field_with_name(field.name()).is_err();
    if let Some(unknown) = rows.schema().fields().iter().find(known) {
        let columns: Vec<&str> = source.schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::invalid(format!("push to `{}`: unknown column `{}` · columns: {}", source.name, unknown.name(), columns.join(", "))));
    }
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let failed = |error: ArrowError| Error::internal("rows that are pushed do not encode").caused_by(error);
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(failed)?;
    stream(&schema, Some(&batch)).map_err(failed)
}

/// The columns alone.
///
/// # Errors
/// Where they do not encode.
pub(super) fn encode_columns(source: &SourcePlan) -> Result<Vec<u8>, Error> {
    let failed = |error: ArrowError| Error::internal("columns of a source do not encode").caused_by(error);
    Ok(stream(&columns_of(source), None).map_err(failed)?.columns)
}

fn stream(schema: &SchemaRef, batch: Option<&RecordBatch>) -> Result<Encoded, ArrowError> {
    // Buffers are padded to eight bytes: to 64, as by default, a push of one row would be four times as long.
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::with_capacity(1 << 10), schema, options)?;
    let columns_end = writer.get_ref().len();
    batch.map_or(Ok(()), |batch| writer.write(batch))?;
    let mut columns = std::mem::take(writer.get_mut());
    let rows = columns.split_off(columns_end);
    Ok(Encoded { columns, rows })
}

/// Decodes the rows of one segment to the declared columns of its source.
#[derive(Debug)]
pub(super) struct Decoder {
    stream: StreamDecoder,
    source: String,
    declared: SchemaRef,
    /// Of the segment, by name.
    columns: HashMap<String, usize>,
}

impl Decoder {
    /// Of a segment whose rows have these columns.
    ///
    /// # Errors
    /// Where they do not decode; Data where a column has another type than is declared by now.
    pub(super) fn new(source: &str, declared: &SchemaRef, columns: &[u8]) -> Result<Decoder, Error> {
        let schema = StreamReader::try_new(Cursor::new(columns), None).map_err(|error| undecodable(source, error))?.schema();
        let mut stream = StreamDecoder::new();
        stream.decode(&mut Buffer::from(columns)).map_err(|error| undecodable(source, error))?;
        for field in declared.fields() {
            if let Ok(pushed) = schema.field_with_name(field.name())
                && pushed.data_type() != field.data_type()
            {
                let (name, was, is) = (field.name(), pushed.data_type(), field.data_type());
                let what = format!("column `{name}` of source `{source}` was pushed as {was} and is declared as {is}");
                return Err(Error::data(format!("{what} · declare a source of another name for the events to come, and read both by UNION ALL")));
            }
        }
        let columns = schema.fields().iter().enumerate().map(|(at, field)| (field.name().clone(), at)).collect();
        Ok(Decoder { stream, source: source.to_owned(), declared: Arc::clone(declared), columns })
    }

    /// The rows of a frame, and which of them delete their key.
    ///
    /// # Errors
    /// Data where they do not decode.
    pub(super) fn rows(&mut self, body: &[u8]) -> Result<(RecordBatch, BooleanArray), Error> {
        let decoded = self.stream.decode(&mut Buffer::from(body)).and_then(|batch| batch.ok_or_else(|| ArrowError::IpcError("no rows".to_owned())));
        let batch = decoded.map_err(|error| undecodable(&self.source, error))?;
        let column = |name: &str, data_type: &DataType| match self.columns.get(name) {
            Some(&at) => Arc::clone(batch.column(at)),
            // Declared since.
            None => new_null_array(data_type, batch.num_rows()),
        };
        let columns = self.declared.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.declared), columns).map_err(|error| undecodable(&self.source, error))?;
        let tombstone = column(TOMBSTONE_MEMBER, &DataType::Boolean);
        let tombstone = tombstone.as_boolean_opt().cloned().unwrap_or_else(|| BooleanArray::new_null(rows.num_rows()));
        Ok((rows, tombstone))
    }
}

fn undecodable(source: &str, error: ArrowError) -> Error {
    Error::data(format!("the push log of source `{source}` does not decode: {error} · open it with the release that wrote it, or restore it"))
        .caused_by(error)
}
