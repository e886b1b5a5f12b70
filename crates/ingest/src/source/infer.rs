//! The columns of a file that nobody declared.

use std::io::BufReader;
use std::sync::Arc;

use arrow::csv::reader::Format as CsvFormat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::reader::infer_json_schema;
use lockstep_model::Error;

use super::input;
use super::parquet::columns_of_file;
use super::{Format, SourceFile};

/// The columns of a file: those of Parquet, and of text what all of its rows can be read as.
///
/// # Errors
/// NotFound where there is no such file; Unavailable where it cannot be read now; Data where it is damaged; Invalid where two columns have one name.
pub fn columns_of(file: &SourceFile, format: Format) -> Result<SchemaRef, Error> {
    let schema = match format {
        Format::Parquet => columns_of_file(file)?,
        Format::Csv | Format::Ndjson => Arc::new(of_text(file, format)?),
    };
    for (at, field) in schema.fields().iter().enumerate() {
        if schema.fields()[..at].iter().any(|earlier| earlier.name() == field.name()) {
            return Err(Error::invalid(format!("{} has two columns `{}` · rename one of them", file.name(), field.name())));
        }
    }
    Ok(schema)
}

fn of_text(file: &SourceFile, format: Format) -> Result<Schema, Error> {
    let read = BufReader::new(input::open(file)?.read);
    let schema = match format {
        Format::Csv => CsvFormat::default().with_header(true).infer_schema(read, None).map(|(schema, _)| schema),
        _ => infer_json_schema(read, None).map(|(schema, _)| schema),
    };
    let schema = schema.map_err(|error| Error::data(format!("{} cannot be read: {error}", file.name())))?;
    Ok(Schema::new(schema.fields().iter().map(|field| Field::new(field.name(), text_type(field.data_type()), true)).collect::<Vec<_>>()))
}

/// The type that a column of text is read as.
fn text_type(inferred: &DataType) -> DataType {
    match inferred {
        DataType::Timestamp(..) | DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        // Nothing but NULL was seen.
        DataType::Null => DataType::Utf8,
        DataType::List(element) => DataType::List(Arc::new(Field::new(element.name(), text_type(element.data_type()), true))),
        other => other.clone(),
    }
}
