//! What lookups are asked with: from the command line, or many from a file.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit, TimestampMicrosecondType};
use lockstep_ingest::source::zone::Zone;
use lockstep_ingest::source::{Format, ReadRequest, SourceReader, SourceSchema, Stores, locate};
use lockstep_model::{Error, EventTime};
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::sql_name;
use serde::{Deserialize, Serialize};

use crate::ask;
use crate::bytes::Rows;
use crate::owned::Owned;
use crate::text::did_you_mean;

/// The column of a file of requests that gives the moment of each.
pub const MOMENT: &str = "request_time";

/// Requests, in order.
#[derive(Debug, Clone)]
pub struct Requests {
    /// The columns that the service or view is asked with.
    pub rows: RecordBatch,
    /// The moment of each, µs, where it says one.
    pub moments: Vec<Option<i64>>,
}

/// The columns that a service or view is asked with.
///
/// # Errors
/// NotFound for a name that is neither.
pub fn columns(catalog: &Catalog, name: &str) -> Result<Fields, Error> {
    match (catalog.services.get(name), catalog.views.get(name)) {
        (Some(service), _) => Ok(service.request.fields().clone()),
        (None, Some(view)) => Ok(view.entity.iter().cloned().collect()),
        (None, None) => {
            let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let services = list(catalog.services.keys().map(String::as_str).collect());
            let views = list(catalog.views.keys().map(String::as_str).collect());
            Err(Error::not_found(format!("no feature service or view named `{name}` · services: {services} · views: {views}")))
        }
    }
}

/// One request out of `column=value` pairs. Columns that are not given are NULL.
///
/// # Errors
/// NotFound for an unknown name, Invalid for a column that it is not asked with, or a value of another type.
pub fn one(catalog: &Catalog, name: &str, given: &[(String, String)]) -> Result<RecordBatch> {
    of_columns(name, &columns(catalog, name)?, given)
}

/// As [`one`], where it is known what `name` is asked with.
///
/// # Errors
/// Invalid for a column that it is not asked with, or a value of another type.
pub fn of_columns(name: &str, columns: &Fields, given: &[(String, String)]) -> Result<RecordBatch> {
    check_names(name, columns, given)?;
    let values = columns.iter().map(|column| value(column, given)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(nullable(columns)), values, &options)?)
}

/// What [`columns`] are, of a store.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// A feature service or a feature view.
    pub name: String,
    /// The snapshot that is to answer, if not the store as it is.
    #[serde(default)]
    pub snapshot: Option<String>,
}

impl ask::Question for Question {
    const VERB: &'static str = "get --from";
    /// No rows of these columns.
    type Answer = Rows;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Rows> {
        let columns = match &self.snapshot {
            Some(snapshot) => columns(owned.pinned.get(&owned.store, snapshot)?.served().catalog(), &self.name)?,
            None => columns(owned.answering(&*OnlineStore::cut(&*owned.store))?.catalog(), &self.name)?,
        };
        Ok(Rows(RecordBatch::new_empty(Arc::new(Schema::new(columns)))))
    }
}

/// The requests for `name`, which is asked with `columns`, in the files that `from` names: Parquet, CSV or NDJSON.
///
/// # Errors
/// NotFound where there is no such file; Invalid where a row cannot be read.
pub fn read(name: &str, columns: &Fields, from: &str) -> Result<Requests> {
    let schema = with_moment(name, columns)?;
    let mut batches = Vec::new();
    for file in locate(from, Path::new("."), &Stores::local())? {
        let format = Format::of(file.name()).or_else(|| (file.name() == "-").then_some(Format::Ndjson));
        let format = format.ok_or_else(|| {
            Error::invalid(format!("the name of `{}` does not say its format · give it the ending .ndjson, .csv or .parquet", file.name()))
        })?;
        let mut reader = SourceReader::open(&file, ReadRequest::new(schema.clone(), format))?;
        while let Some(chunk) = reader.next_chunk()? {
            for batch in chunk.batches {
                if let Some(bad) = batch.bad.first() {
                    return Err(Error::invalid(format!("row {} of {} is no request for `{name}` · {}", bad.row + 1, file.name(), bad.reason)).into());
                }
                batches.push(batch.batch);
            }
        }
    }
    let read = concat_batches(&Arc::new(nullable(schema.columns.fields())), &batches)?;
    let moments = read.column(columns.len()).as_primitive::<TimestampMicrosecondType>().iter().collect();
    let rows = read.project(&(0..columns.len()).collect::<Vec<_>>())?;
    Ok(Requests { rows, moments })
}

/// The columns of a file of requests: those that are asked for, and the moment.
fn with_moment(name: &str, columns: &Fields) -> Result<SourceSchema, Error> {
    if columns.iter().any(|column| column.name() == MOMENT) {
        return Err(Error::invalid(format!("`{name}` is asked with a column `{MOMENT}`, the name of the moment in a file of requests · rename it")));
    }
    let moment: FieldRef = Arc::new(Field::new(MOMENT, DataType::Timestamp(TimeUnit::Microsecond, None), true));
    let all: Fields = columns.iter().cloned().chain([moment]).collect();
    Ok(SourceSchema {
        name: name.to_owned(),
        columns: Arc::new(nullable(&all)),
        event_time: columns.len(),
        primary_key: Vec::new(),
        time_zone: Zone::Utc,
    })
}

fn nullable(fields: &Fields) -> Schema {
    Schema::new(fields.iter().map(|field| Field::new(field.name(), field.data_type().clone(), true)).collect::<Fields>())
}

fn check_names(name: &str, columns: &Fields, given: &[(String, String)]) -> Result<(), Error> {
    for (at, (column, _)) in given.iter().enumerate() {
        let known = || columns.iter().map(|column| column.name().as_str());
        if !known().any(|known| known == column) {
            let all: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name(), sql_name(column.data_type()))).collect();
            let meant = did_you_mean(column, known());
            return Err(Error::invalid(format!("`{name}` is not asked with a column `{column}` · it is asked with {}{meant}", all.join(", "))));
        }
        if given[..at].iter().any(|(earlier, _)| earlier == column) {
            return Err(Error::invalid(format!("`{column}` is given twice")));
        }
    }
    Ok(())
}

fn value(column: &Field, given: &[(String, String)]) -> Result<ArrayRef> {
    let text = given.iter().find(|(name, _)| name == column.name()).map(|(_, value)| value.as_str());
    let is_moment = matches!(column.data_type(), DataType::Timestamp(TimeUnit::Microsecond, None));
    if let (Some(text), true) = (text, is_moment) {
        let moment = EventTime::parse(text).map_err(|error| Error::invalid(format!("`{}`: {error}", column.name())))?;
        return Ok(Arc::new(TimestampMicrosecondArray::from(vec![moment.0])));
    }
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&texts, column.data_type(), &strict).map_err(|_| {
        let wanted = sql_name(column.data_type());
        Error::invalid(format!("`{}` is of type {wanted}, and `{}` is none", column.name(), text.unwrap_or_default())).into()
    })
}
