//! What is asked in JSON.

use lockstep_client::proto;
use lockstep_model::{Error, EventTime, TimeMode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::call;
use super::super::failure::Failure;
use super::super::push::{self, Pushed};
use super::super::service::{Asked, Head, Origin, Service};
use super::values;
use crate::desk;
use crate::wire;

/// A request for features.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeaturesRequest {
    /// A feature service, or a feature view.
    #[serde(default)]
    pub name: String,
    /// The outputs wanted, in this order; all by default. Without `name`: features of views, each as `view.feature`.
    #[serde(default)]
    pub features: Vec<String>,
    /// One object per row, with every column that the service or view is asked with. Whole numbers of 64 bits may be texts.
    #[serde(default)]
    pub rows: Vec<Map<String, Value>>,
    /// The moment of all rows, or one for each, such as `2013-03-01T12:00:00Z`; now by default.
    pub as_of: Option<AsOf>,
    /// Which clock counts events: `known` or `event`; by default that of knowledge, where the definitions have it.
    pub time: Option<TimeMode>,
    /// How much is said beside the values.
    #[serde(default)]
    pub metadata: Metadata,
    /// Comes back in the answer.
    pub request_id: Option<String>,
    /// Answer by this set of definitions, while its state is kept.
    pub definitions: Option<u64>,
    /// Answer only where the pointer to what serves has been moved at least so often.
    pub min_epoch: Option<u64>,
    /// Answer from the snapshot of this name, at its moment or an earlier one.
    #[serde(default)]
    pub snapshot: String,
}

/// Moments.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AsOf {
    /// Of all rows.
    All(String),
    /// Of each.
    Each(Vec<String>),
}

/// How much is said beside the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metadata {
    /// Everything.
    #[default]
    Full,
    /// Statuses, staleness and what filled a value.
    Statuses,
    /// Nothing.
    None,
}

impl From<Metadata> for proto::Metadata {
    fn from(metadata: Metadata) -> Self {
        match metadata {
            Metadata::Full => proto::Metadata::Full,
            Metadata::Statuses => proto::Metadata::Statuses,
            Metadata::None => proto::Metadata::None,
        }
    }
}

/// What a query says that is no column starts with this.
const SETTING: char = '_';

impl FeaturesRequest {
    /// One row, out of the parameters of a query: columns by name, and settings that start with `_`.
    ///
    /// # Errors
    /// Invalid for a setting that is unknown or says nothing.
    pub fn of_query(name: String, parameters: Vec<(String, String)>) -> Result<FeaturesRequest, Error> {
        let mut request = FeaturesRequest { name, ..FeaturesRequest::default() };
        let mut row = Map::new();
        for (key, value) in parameters {
            let Some(setting) = key.strip_prefix(SETTING) else {
                if row.insert(key.clone(), Value::String(value)).is_some() {
                    return Err(Error::invalid(format!("column `{key}` is given twice")));
                }
                continue;
            };
            match setting {
                "as_of" => request.as_of = Some(AsOf::All(value)),
                "features" => request.features = value.split(',').map(str::to_owned).collect(),
                "time" => request.time = Some(named("_time", value, "known or event")?),
                "metadata" => request.metadata = named("_metadata", value, "full, statuses or none")?,
                "request_id" => request.request_id = Some(value),
                "definitions" => request.definitions = Some(number("_definitions", &value)?),
                "snapshot" => request.snapshot = value,
                "min_epoch" => request.min_epoch = Some(number("_min_epoch", &value)?),
                _ => {
                    let known = "_as_of, _features, _time, _metadata, _request_id, _definitions, _min_epoch, _snapshot";
                    return Err(Error::invalid(format!("no setting `{key}` · settings: {known} · everything else is a column")));
                }
            }
        }
        request.rows.push(row);
        Ok(request)
    }

    /// What it says beside its columns.
    pub fn head<'a>(&'a self, as_of: &'a [i64]) -> Head<'a> {
        let FeaturesRequest { name, features, definitions, min_epoch, snapshot, time, .. } = self;
        Head { name, features, definitions: *definitions, min_epoch: *min_epoch, snapshot, as_of, time: *time, streamed: false }
    }

    /// The request, found among the definitions; `as_of` are its moments.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn ask(&self, service: &Service, origin: Origin, as_of: &[i64]) -> Result<Asked, Failure> {
        let names = names(&self.rows)?;
        service.ask(&self.head(as_of), origin, |wanted| {
            let read = |at: usize, data_type: &_| {
                let values = self.rows.iter().map(|row| row.get(names[at]).unwrap_or(&Value::Null));
                wire::array(&values::column(values, data_type)?, data_type)
            };
            desk::rows_of(wanted, &names, Some(self.rows.len()), read)
        })
    }

    /// The moments that it gives, µs.
    ///
    /// # Errors
    /// Invalid where one is none.
    pub fn moments(&self) -> Result<Vec<i64>, Error> {
        moments(self.as_of.as_ref())
    }
}

/// Moments, µs.
///
/// # Errors
/// Invalid where one is none.
pub fn moments(as_of: Option<&AsOf>) -> Result<Vec<i64>, Error> {
    let moment = |text: &String| EventTime::parse(text).map(|moment| moment.0).map_err(|error| Error::invalid(format!("`as_of`: {error}")));
    match as_of {
        None => Ok(Vec::new()),
        Some(AsOf::All(text)) => Ok(vec![moment(text)?]),
        Some(AsOf::Each(texts)) => texts.iter().map(moment).collect(),
    }
}

/// The columns of rows, which every row must say: one that is left out is more often a slip than a NULL.
///
/// # Errors
/// Invalid where a row says others than the first.
pub fn names(rows: &[Map<String, Value>]) -> Result<Vec<&str>, Error> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    for (number, row) in rows.iter().enumerate() {
        if let Some(missing) = first.keys().find(|name| !row.contains_key(*name)) {
            return Err(Error::invalid(format!("row {number} has no `{missing}`, and row 0 has · write null where there is no value")));
        }
        if let Some(more) = row.keys().find(|name| !first.contains_key(*name)) {
            return Err(Error::invalid(format!("row {number} has `{more}`, and row 0 has not · write null where there is no value")));
        }
    }
    Ok(first.keys().map(String::as_str).collect())
}

impl call::Asked for FeaturesRequest {
    fn name(&self) -> &str {
        &self.name
    }

    fn request_id(&self) -> &str {
        self.request_id.as_deref().unwrap_or_default()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// What is told of a push.
#[derive(Debug)]
pub struct PushOf {
    /// Its source.
    pub source: String,
    /// How many events it has.
    pub rows: usize,
}

impl call::Asked for PushOf {
    fn name(&self) -> &str {
        &self.source
    }

    fn request_id(&self) -> &str {
        ""
    }

    fn rows(&self) -> usize {
        self.rows
    }
}

fn number(setting: &str, value: &str) -> Result<u64, Error> {
    value.parse().map_err(|_| Error::invalid(format!("`{setting}` is no number: {value}")))
}

fn named<T: serde::de::DeserializeOwned>(setting: &str, value: String, names: &str) -> Result<T, Error> {
    let wrong = Error::invalid(format!("`{setting}` is `{value}` · write {names}"));
    serde_json::from_value(Value::String(value)).map_err(|_| wrong)
}

/// Events of a source.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsRequest {
    /// One object per event, with columns that the source declares; those left out are NULL. `_tombstone` says that it deletes its key.
    #[serde(default)]
    pub rows: Vec<Map<String, Value>>,
    /// After these events, no event before this moment is to be expected by push.
    pub heartbeat: Option<String>,
}

/// What says that a row deletes its key.
const TOMBSTONE: &str = "_tombstone";

impl EventsRequest {
    /// The events, found among the definitions.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn find(&self, service: &Service, source: &str) -> Result<Pushed, Error> {
        let source = push::source(service, source)?;
        let moment = |text: &String| EventTime::parse(text).map(|moment| moment.0).map_err(|error| Error::invalid(format!("`heartbeat`: {error}")));
        let heartbeat = self.heartbeat.as_ref().map(moment).transpose()?;
        let mut names: Vec<&str> = Vec::new();
        for name in self.rows.iter().flat_map(Map::keys).map(String::as_str).filter(|name| *name != TOMBSTONE) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        // A tombstone may be the key alone; what has no columns at all is a row all the same, and is refused for want of a key.
        if names.is_empty() && !self.rows.is_empty() {
            return Err(Error::invalid("the events have no columns"));
        }
        let tombstone = |(row, columns): (usize, &Map<String, Value>)| match columns.get(TOMBSTONE) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(deletes)) => Ok(*deletes),
            Some(other) => Err(Error::invalid(format!("row {row}: `{TOMBSTONE}` is {other} · write true or false"))),
        };
        let tombstones = self.rows.iter().enumerate().map(tombstone).collect::<Result<Vec<_>, _>>()?;
        let tombstones = if tombstones.contains(&true) { tombstones } else { Vec::new() };
        Pushed::new(source, &names, &tombstones, heartbeat, |at, data_type| {
            let values = self.rows.iter().map(|row| row.get(names[at]).unwrap_or(&Value::Null));
            wire::array(&values::column(values, data_type)?, data_type)
        })
    }
}
