//! `get`: the features of an entity, now or at a moment.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use lockstep_model::{Clock, Error, EventTime, FilledBy, Status, SystemClock, TimeMode};
use lockstep_serve::{Lookup, LookupRequest, Served};
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::sql_name;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use super::verify::Time;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::table::{Align, Cell, Table};
use crate::text::{age, did_you_mean};

const EXAMPLES: &str = "\
Examples:
  lockstep get airport_load airport=EWR
  lockstep get delay_v1 origin=EWR dest=ORD carrier=UA --as-of 2013-03-01T12:00:00Z";

/// Look up features of an entity
///
/// Takes a feature service with the columns of its request, or a feature view with its key. Columns that are not given are NULL.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A feature service or a feature view
    pub name: String,
    /// What the request gives, as column=value
    #[arg(value_name = "COLUMN=VALUE", value_parser = assignment)]
    pub columns: Vec<(String, String)>,
    /// The moment; now by default
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub as_of: Option<EventTime>,
    /// Which clock counts events; that of knowledge by default, where the definitions have it
    #[arg(long, value_enum)]
    pub time: Option<Time>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (column, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no column=value"))?;
    Ok((column.to_owned(), value.to_owned()))
}

/// The features of one request.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Got {
    /// What was asked.
    pub name: String,
    /// The moment.
    pub at: String,
    /// Which clock counted.
    pub time: TimeMode,
    /// The features, in order.
    pub features: Vec<Feature>,
    #[serde(skip)]
    at_micros: i64,
}

/// One value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// Its value as text; absent where it is NULL.
    pub value: Option<String>,
    /// Whether it is a value, and why not.
    pub status: Status,
    /// Where an absent value was filled from.
    pub filled_by: FilledBy,
    /// Time of the newest event of the least fresh view it reads.
    pub event_time: Option<String>,
    #[serde(skip)]
    event_micros: Option<i64>,
}

/// Looks features up.
///
/// # Errors
/// NotFound for an unknown name, Invalid for columns that the request does not have or values that are not of their type.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let (store, catalog) = project.open("get")?;
    let row = request(&catalog, &arguments.name, &arguments.columns)?;
    let at = arguments.as_of.unwrap_or_else(|| SystemClock.now());
    let cut = OnlineStore::cut(&store);
    let served = Served::new(Arc::new(catalog), &*cut)?;
    let request = LookupRequest { name: &arguments.name, rows: &row, moments: &[at.0], time: arguments.time.map(TimeMode::from), explain: false };
    let lookup = served.lookup(&*cut, &request)?;
    context.out.show(&got(&arguments.name, at, &lookup)?)?;
    Ok(Outcome::Fine)
}

/// One row of the columns that a service or view is asked with. An unknown name goes on: the lookup says which there are.
fn request(catalog: &Catalog, name: &str, given: &[(String, String)]) -> Result<RecordBatch> {
    let columns: Fields = match (catalog.services.get(name), catalog.views.get(name)) {
        (Some(service), _) => service.request.fields().clone(),
        (None, Some(view)) => view.entity.iter().cloned().collect(),
        (None, None) => Fields::empty(),
    };
    if catalog.services.contains_key(name) || catalog.views.contains_key(name) {
        check_names(name, &columns, given)?;
    }
    let values = columns.iter().map(|column| value(column, given)).collect::<Result<Vec<_>>>()?;
    let fields: Fields = columns.iter().map(|column| Field::new(column.name(), column.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values, &options)?)
}

fn check_names(name: &str, columns: &Fields, given: &[(String, String)]) -> Result<()> {
    for (at, (column, _)) in given.iter().enumerate() {
        let known = || columns.iter().map(|column| column.name().as_str());
        if !known().any(|known| known == column) {
            let all: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name(), sql_name(column.data_type()))).collect();
            let meant = did_you_mean(column, known());
            return Err(Error::invalid(format!("`{name}` is not asked with a column `{column}` · it is asked with {}{meant}", all.join(", "))).into());
        }
        if given[..at].iter().any(|(earlier, _)| earlier == column) {
            return Err(Error::invalid(format!("`{column}` is given twice")).into());
        }
    }
    Ok(())
}

fn value(column: &Field, given: &[(String, String)]) -> Result<ArrayRef> {
    let text = given.iter().find(|(name, _)| name == column.name()).map(|(_, value)| value.as_str());
    let is_moment = matches!(column.data_type(), DataType::Timestamp(TimeUnit::Microsecond, None));
    if let (Some(text), true) = (text, is_moment) {
        let moment = EventTime::parse(text).map_err(|error| Error::invalid(format!("`{}`: {error}", column.name())))?;
        return Ok(Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![moment.0])));
    }
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&texts, column.data_type(), &strict).map_err(|_| {
        let wanted = sql_name(column.data_type());
        Error::invalid(format!("`{}` is of type {wanted}, and `{}` is none", column.name(), text.unwrap_or_default())).into()
    })
}

fn got(name: &str, at: EventTime, lookup: &Lookup) -> Result<Got> {
    let options = FormatOptions::new();
    let mut features = Vec::with_capacity(lookup.columns.len());
    for (index, column) in lookup.columns.iter().enumerate() {
        let value = column.is_valid(0).then(|| ArrayFormatter::try_new(column, &options).map(|text| text.value(0).to_string())).transpose()?;
        let event_micros = lookup.event_times[index][0];
        features.push(Feature {
            name: lookup.schema.field(index).name().clone(),
            value,
            status: lookup.statuses[index][0],
            filled_by: lookup.filled_by[index][0],
            event_time: event_micros.map(|time| EventTime(time).to_string()),
            event_micros,
        });
    }
    Ok(Got { name: name.to_owned(), at: at.to_string(), time: lookup.time, features, at_micros: at.0 })
}

impl Report for Got {
    fn text(&self, paint: Paint) -> String {
        let columns =
            [("feature", Align::Left), ("value", Align::Right), ("status", Align::Left), ("event time", Align::Left), ("age", Align::Right)];
        let mut table = Table::new(&columns);
        for feature in &self.features {
            let status = match feature.filled_by {
                FilledBy::None => feature.status.to_string(),
                FilledBy::Default => format!("{} (default)", feature.status),
                FilledBy::LastKnownGood => format!("{} (last known good)", feature.status),
            };
            let status = if feature.status == Status::Present { Cell::from(status) } else { Cell::painted(status, |paint, text| paint.yellow(text)) };
            let age = feature.event_micros.map(|time| age(self.at_micros.saturating_sub(time))).unwrap_or_default();
            let value = feature.value.clone().unwrap_or_else(|| "NULL".to_owned());
            let event_time = feature.event_time.clone().unwrap_or_default();
            table.row([feature.name.as_str().into(), value.into(), status, event_time.into(), age.into()]);
        }
        format!("{} at {}\n{}", paint.bold(&self.name), self.at, table.render(paint))
    }
}
