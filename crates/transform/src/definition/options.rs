//! Options as they are written in `WITH (…)`: typed structs, read by serde, described by schemars.

use std::fmt;
use std::num::NonZeroU64;

use lockstep_model::Fingerprint;
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::interval::IntervalError;
use super::names::{Name, suggestion};
use super::text::{Origin, Span};
use super::{Diagnostic, ExploreBy, History, Interval, Lateness, When};

/// One option as written.
#[derive(Debug, Clone)]
pub(super) struct WrittenOption {
    pub(super) name: Name,
    pub(super) value: Value,
    pub(super) value_span: Span,
}

/// The options of `CREATE SOURCE … WITH (…)`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenSourceOptions {
    /// The column that says when an event happened; of type TIMESTAMP.
    pub event_time: Option<String>,
    /// The IANA zone of timestamps that are written without one; UTC by default.
    pub time_zone: Option<String>,
    /// How far an event may be behind its partition's newest: an interval, or `unbounded`. `0 seconds` by default.
    #[schemars(with = "Option<String>")]
    pub allowed_lateness: Option<Lateness>,
    /// How much state is kept beyond what the views need: an interval, or `all`. `0 seconds` by default.
    #[schemars(with = "Option<String>")]
    pub history: Option<History>,
    /// How far past its append or availability time an event may claim to be. `1 hour` by default.
    pub max_ahead: Option<Interval>,
    /// Where the history lies: a path, a glob or a URL, or a list of them.
    #[schemars(with = "Option<OneOrMany>")]
    pub batch: Locations,
    /// The format of those files, where their names do not say.
    pub batch_format: Option<BatchFormat>,
    /// What separates the fields of CSV files: one ASCII character. `,` by default.
    pub csv_delimiter: Option<char>,
    /// The text that stands for NULL in CSV files. Empty by default.
    pub csv_null: Option<String>,
    /// Where the log is: a path, or a URL such as `kafka://departures?format=json`.
    pub stream: Option<String>,
    /// What tells a correction from what it corrects: a column, or `position`.
    pub version: Option<String>,
    /// When an event could first be known: an SQL expression over its columns, or `append_time`.
    pub available_at: Option<String>,
    /// The pipeline's own delay, added to that. `0 seconds` by default.
    pub serving_lag: Option<Interval>,
    /// The silence after which it is worth an alert.
    pub expect_events_every: Option<Interval>,
    /// How long the log of events that `ingest` has applied is kept: an interval, or `all`. Without it there is none.
    #[schemars(with = "Option<String>")]
    pub applied_log: Option<History>,
    /// Where `ingest` sends rows that could not be taken, as it happens: a topic such as `kafka://payments-dlq`, or the path of an NDJSON file.
    pub dead_letters: Option<String>,
}

/// A format of batch files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BatchFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// The options of `CREATE FEATURE VIEW … WITH (…)`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ViewOptions {
    /// How old the entity's newest event may be before its values are absent. More than nothing.
    pub ttl: Option<Interval>,
    /// The lag above which served values are marked stale. More than nothing.
    pub max_staleness: Option<Interval>,
    /// The grid to which every edge of a window that is not the moment itself is floored; exact by default.
    pub resolution: Option<Interval>,
    /// The largest number of elements in the state of a distinct set or a list.
    pub limit: Option<NonZeroU64>,
    /// The least share of requests that must get a real value, from 0 to 1.
    pub min_coverage: Option<f64>,
}

/// The options of `CREATE FEATURE SERVICE … WITH (…)`, beside defaults of its outputs, named `default.<output>`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("patternProperties" = {"^default\\..+$": {"type": ["boolean", "number", "string"]}}))]
pub struct ServiceOptions {
    /// The least share of values that must be real ones, before defaults, from 0 to 1.
    pub min_coverage: Option<f64>,
    /// How many candidates of a request are to be left by the WHERE; with fewer, the fallback answers. From 1.
    pub min_items: Option<u32>,
    /// The service of candidates that answers then. It is asked with columns of the same request, and gives the same outputs.
    pub fallback: Option<String>,
    /// How old the oldest input of an output may be before the output is absent. More than nothing.
    pub max_age: Option<Interval>,
}

/// The options of `CREATE MODEL … WITH (…)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelOptions {
    /// The manifest that `lockstep train` wrote of the training set, from the project's directory. Features are to mean what they meant in it.
    pub training_set: Option<String>,
    /// What runs the model; by default the first of these that can.
    pub runtime: Option<RuntimeName>,
    /// What the features meant that it was trained on: the fingerprint of the service, or its first twelve digits, as `lockstep schema --service` prints it. Where they mean something else, the
    /// model is refused. A training set says the same by itself.
    pub features: Option<String>,
    /// SHA-256 of the file, in hexadecimal: another file is refused.
    #[schemars(with = "Option<String>")]
    pub sha256: Option<Fingerprint>,
}

/// What runs models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeName {
    /// Our executor of tree ensembles.
    Trees,
    /// tract: linear models, small nets.
    Tract,
    /// ONNX Runtime, a library that is loaded.
    OnnxRuntime,
}

/// The options of `CREATE DEPLOYMENT … WITH (…)`, beside defaults of its predictions, named `default.<prediction>`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("patternProperties" = {"^default\\..+$": {"type": ["boolean", "number", "string"]}}))]
pub struct WrittenDeploymentOptions {
    /// The model that answers where the deployment's does not: where it fails, takes too long, or features are missing or stale and that is to be so.
    pub fallback: Option<String>,
    /// A model that is scored beside it, logged and compared, and never answers.
    pub shadow: Option<String>,
    /// Over candidates: the predictions by which they are ranked, each with ASC or DESC, such as `delay ASC`. In the order of the service by default.
    pub rank_by: Option<String>,
    /// Over candidates: how many of each request are answered at the most, from the first on, from 1. All by default.
    pub top: Option<u32>,
    /// How long a model may take. `1 second` by default.
    pub timeout: Option<Interval>,
    /// How long a request waits for others that it is run together with, where all threads are busy. `2 milliseconds` by default.
    pub max_wait: Option<Interval>,
    /// Most rows that are run together, from 1 to 65536. 256 by default.
    pub max_batch: Option<u32>,
    /// Most requests that wait, from 1 to 1000000; more are refused. 1024 by default.
    pub queue: Option<u32>,
    /// Threads that run a model, from 1 to 256. 2 by default.
    pub threads: Option<u32>,
    /// What is done where a feature has no value. `score` by default.
    pub when_missing: Option<When>,
    /// What is done where a feature is stale. `score` by default.
    pub when_stale: Option<When>,
    /// What may be done with a row, at least two names: each is a prediction, whose score is the larger the better, or `thresholds` say which is taken.
    pub actions: Vec<String>,
    /// The prediction that thresholds cut, where it predicts several numbers.
    pub decide_by: Option<String>,
    /// Bounds between the actions, one fewer than there are, ascending: below the first one it is the first action, from the last one on the last.
    pub thresholds: Vec<f64>,
    /// The share of rows for which something else is tried, above 0 and up to 1. None by default.
    pub explore: Option<f64>,
    /// What is tried there: `random` (any action, by default), or `softmax` and a temperature, such as `softmax 0.5` (actions by their scores).
    pub explore_by: Option<ExploreBy>,
    /// How old the oldest input of a row may be before the row counts as stale. More than nothing.
    pub max_age: Option<Interval>,
}

/// The options of `CREATE PREDICTIONS … WITH (…)`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PredictionsOptions {
    /// How old a prediction may be before it is absent. More than nothing, and no more than what it is made from.
    pub ttl: Option<Interval>,
    /// Runs that are kept, from 1 to 100, the one that serves included: moments of the past are answered by them. 3 by default.
    pub keep: Option<u32>,
    /// The column of items, where an entity has a ranked list of them and not one prediction.
    pub item: Option<String>,
    /// Most items of a list, from 1 to 10000. 100 by default.
    pub top: Option<u32>,
    /// Which predictions come first in a list. `greatest` by default.
    pub best: Option<Best>,
}

/// Which predictions come first in a ranked list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Best {
    /// The greatest.
    #[default]
    Greatest,
    /// The least.
    Least,
}

/// JSON Schemas of the options and of diagnostics, by name.
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("source_options", schema_for!(WrittenSourceOptions)),
        ("view_options", schema_for!(ViewOptions)),
        ("service_options", schema_for!(ServiceOptions)),
        ("model_options", schema_for!(ModelOptions)),
        ("deployment_options", schema_for!(WrittenDeploymentOptions)),
        ("predictions_options", schema_for!(PredictionsOptions)),
        ("diagnostic", schema_for!(super::DiagnosticJson)),
    ]
}

/// One location or several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locations(pub Vec<String>);

#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Locations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LocationsVisitor)
    }
}

struct LocationsVisitor;

impl<'de> Visitor<'de> for LocationsVisitor {
    type Value = Locations;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a location, or a list of locations")
    }

    fn visit_str<E>(self, value: &str) -> Result<Locations, E> {
        Ok(Locations(vec![value.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Locations, A::Error> {
        let mut locations = Vec::new();
        while let Some(location) = values.next_element()? {
            locations.push(location);
        }
        Ok(Locations(locations))
    }
}

impl TryFrom<String> for Lateness {
    type Error = IntervalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "unbounded" { Ok(Lateness::Unbounded) } else { text.parse().map(Lateness::Within) }
    }
}

impl TryFrom<String> for History {
    type Error = IntervalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "all" { Ok(History::All) } else { text.parse().map(History::Within) }
    }
}

/// Reads options into their struct. Every option that is unknown, given twice or of a wrong value is a diagnostic, and left out.
///
/// `plural` names the options in messages; `more` are names that are known beside the fields of `T`.
pub(super) fn read<T: DeserializeOwned + JsonSchema + Default>(
    options: &[WrittenOption],
    plural: &str,
    more: &[&str],
    origin: &Origin,
    found: &mut Vec<Diagnostic>,
) -> T {
    let fields = field_names::<T>();
    let known: Vec<&str> = fields.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let mut good = Map::new();
    for option in options {
        match read_one::<T>(option, &known, plural, &good, origin) {
            Ok(()) => {
                good.insert(option.name.text.clone(), option.value.clone());
            }
            Err(diagnostic) => found.push(diagnostic),
        }
    }
    // Each option was read on its own, and no struct here relates one to another.
    serde_json::from_value(Value::Object(good)).unwrap_or_default()
}

/// Whether one option can be read on its own, so that a failure has a place.
fn read_one<T: DeserializeOwned>(
    option: &WrittenOption,
    known: &[&str],
    plural: &str,
    before: &Map<String, Value>,
    origin: &Origin,
) -> Result<(), Diagnostic> {
    let name = option.name.text.as_str();
    if !known.contains(&name) {
        let diagnostic = origin.at(option.name.span).error(format!("unknown option `{name}`")).note(format!("{plural}: {}", known.join(", ")));
        return Err(diagnostic.help_opt(suggestion(name, known.iter().copied()).map(|name| format!("did you mean `{name}`?"))));
    }
    if before.contains_key(name) {
        return Err(origin.at(option.name.span).error(format!("option `{name}` is given twice")).help("keep one of them"));
    }
    let single = Map::from_iter([(name.to_owned(), option.value.clone())]);
    serde_json::from_value::<T>(Value::Object(single)).map(drop).map_err(|error| {
        let message = plain(&error.to_string());
        let diagnostic = origin.at(option.value_span).error(format!("option `{name}` cannot be read: {message}"));
        match &option.value {
            Value::String(text) if message.contains("expected a number") => diagnostic.help(format!("write it without quotes: {name} = {text}")),
            Value::Number(number) if message.contains("expected a text") => diagnostic.help(format!("write it in quotes: {name} = '{number}'")),
            _ => diagnostic,
        }
    })
}

/// serde's words for types in the words of SQL.
fn plain(message: &str) -> String {
    let words = [
        ("invalid type: ", ""),
        ("invalid value: ", ""),
        ("unknown variant", "unknown value"),
        ("string \"", "text \""),
        ("floating point", "number"),
        ("integer", "number"),
        ("boolean", "truth value"),
        ("a sequence", "a list"),
        ("sequence", "a list"),
        ("a nonzero u64", "a number from 1"),
        ("u32", "a number from 1"),
        ("f64", "a number"),
        ("a string", "a text"),
    ];
    words.iter().fold(message.to_owned(), |message, (theirs, ours)| message.replace(theirs, ours))
}

/// The names of a struct's fields, in order, from its schema.
fn field_names<T: JsonSchema>() -> Vec<String> {
    let schema = schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

/// What is wrong with a share, where anything is; `place` is where it is written.
pub(super) fn check_share(name: &str, share: Option<f64>, place: &Origin) -> Option<Diagnostic> {
    let is_wrong = share.is_some_and(|share| !(0.0..=1.0).contains(&share));
    is_wrong.then(|| place.error(format!("option `{name}` is a share from 0 to 1")).help("write 0.95 for 95 in 100"))
}

/// Where the value of an option is written.
pub(super) fn value_span(options: &[WrittenOption], name: &str) -> Option<Span> {
    options.iter().find(|option| option.name.text == name).map(|option| option.value_span)
}
