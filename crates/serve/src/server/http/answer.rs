//! Answers in JSON: what the wire says, as people and scripts read it.

use lockstep_client::proto;
use lockstep_model::EventTime;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::values;

/// The features of many entities, column by column.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FeaturesResponse {
    /// As it was asked with.
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    /// How many rows.
    rows: u32,
    /// The moment, where it was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<String>,
    /// Which clock counted: `known` or `event`.
    time: &'static str,
    /// The number of the definitions that answered.
    definitions: u64,
    /// The release that answered; absent where none was promoted yet, or the definitions were pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<u32>,
    /// How often the pointer to what serves had been moved; absent as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// The snapshot that answered, where one was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    snapshot: String,
    /// In the order asked for, or declared.
    features: Vec<Feature>,
    /// What was read, in each role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reads: Vec<Read>,
    /// Where the logs stood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    positions: Vec<Positions>,
    /// Of a service of candidates: which row of the request each row answers, ascending from 0; absent elsewhere, where there is one row for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request_rows: Vec<u32>,
    /// Of a service of candidates: what became of those of each row of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Candidates>,
    /// When the oldest thing happened that each row is made from; absent where there is nothing behind any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    oldest_inputs: Vec<Option<String>>,
}

/// What became of the candidates of a request.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Candidates {
    /// How many its lists had.
    unnested: u32,
    /// How many the service's WHERE left.
    left: u32,
    /// How many rows answer the request.
    answered: u32,
    /// Whether these are the fallback's, since fewer than `min_items` were left; absent where they are not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    by_fallback: bool,
}

/// One output of all rows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Feature {
    name: String,
    /// Its type, as definitions write it.
    r#type: String,
    /// Whole numbers of 64 bits and decimals are texts; so are NaN and the infinities.
    values: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<&'static str>,
    /// Whether the state behind each lags more than its view allows; absent where none does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stale: Vec<bool>,
    /// What filled each; absent where nothing did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filled_by: Vec<&'static str>,
    /// Time of the newest event of the least fresh view behind each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    event_times: Vec<Option<String>>,
    /// How long ago what is behind each was read, where the store did not answer and the last known good is used; absent where it was read for this answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ages_seconds: Vec<f64>,
}

/// A view that was read, in one role.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Read {
    alias: String,
    view: String,
    version: u32,
    generation: u32,
    /// The least of the newest event times of its logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark: Option<String>,
    /// Time since its logs were last seen applied to their ends; absent where it reads none here. A text where they were not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<Value>,
}

/// Where the logs of views stood that had come equally far.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Positions {
    views: Vec<String>,
    partitions: Vec<Partition>,
}

/// Where a partition stood.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Partition {
    source: String,
    partition: String,
    /// The number of the next row, or the next offset, as text.
    next: String,
}

/// Where events came to lie in the log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pushed {
    /// The number of the first row.
    first_row: u64,
    /// The number behind the last row.
    next_row: u64,
}

impl From<std::ops::Range<u64>> for Pushed {
    fn from(rows: std::ops::Range<u64>) -> Self {
        Pushed { first_row: rows.start, next_row: rows.end }
    }
}

/// What there is to ask for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Names {
    views: Vec<String>,
    services: Vec<String>,
}

/// A feature view.
#[derive(Debug, Serialize, JsonSchema)]
pub struct View {
    name: String,
    /// Key columns of its entity.
    keys: Vec<Column>,
    features: Vec<Column>,
    sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_staleness_seconds: Option<f64>,
    /// Digest of what it means.
    meaning: String,
    version: u32,
    generation: u32,
}

/// A feature service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Service {
    name: String,
    /// What it is asked with.
    request: Vec<Column>,
    outputs: Vec<Column>,
    /// Which view it reads in which role.
    roles: Vec<RoleOf>,
    /// Digest of what it means, its views included.
    meaning: String,
    /// Whether it answers a row of the request with its candidates, a row each; absent where it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    candidates: bool,
}

/// A view in its role.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoleOf {
    alias: String,
    view: String,
}

/// A name and a type.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Column {
    name: String,
    r#type: String,
}

/// How far the server is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    release: String,
    definitions: u64,
    /// The release that serves; absent where none was promoted yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    serving: Option<u32>,
    /// How often the pointer to what serves has been moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    since: String,
    now: String,
    sources: Vec<Source>,
    views: Vec<Read>,
    /// What stands before the disk, so that nobody waits for one that does not answer.
    breakers: Vec<Breaker>,
    /// What is kept for when the store does not answer; absent where nothing is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_known_good: Option<Kept>,
    /// The log of what is served; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature_log: Option<FeatureLog>,
}

/// How the log of what is served stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FeatureLog {
    /// The share of vectors that is logged.
    share: f64,
    /// Vectors that were written since the server began.
    logged: u64,
    /// Vectors that there was no room for.
    dropped: u64,
    /// Vectors that wait for their file.
    waiting: u64,
    /// Files that are kept.
    files: u64,
    bytes: u64,
    /// Why files cannot be written, where they cannot.
    #[serde(skip_serializing_if = "String::is_empty")]
    failing: String,
}

/// A breaker.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Breaker {
    /// `reads` or `pushes`.
    of: String,
    /// `CLOSED`, `OPEN`, or `PROBING` while one request sees whether the disk answers again.
    state: &'static str,
    since: String,
    /// How often it has opened since the server began.
    opened: u64,
    /// What waits for the disk now.
    running: u32,
    /// What of it has waited for longer than it should.
    stalled: u32,
}

/// What is kept for when the store does not answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Kept {
    /// Entities, each once per view.
    entities: u64,
    bytes: u64,
}

/// How far a source is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Source {
    source: String,
    /// Whether this server follows a log of it.
    followed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silence_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    stopped: String,
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Moments of rows, as people read them; none of a row that has none.
pub(super) fn times(micros: Vec<i64>) -> Vec<Option<String>> {
    micros.into_iter().map(|micros| (micros != i64::MIN).then(|| moment(micros))).collect()
}

pub(super) fn moment(micros: i64) -> String {
    EventTime(micros).to_string()
}

/// A status without the prefix that enums have on the wire.
pub(super) fn bare(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

impl From<proto::GetFeaturesResponse> for FeaturesResponse {
    fn from(response: proto::GetFeaturesResponse) -> Self {
        let time = if response.time() == proto::TimeMode::Known { "known" } else { "event" };
        FeaturesResponse {
            request_id: response.request_id,
            rows: response.rows,
            moment: response.moment_micros.map(moment),
            time,
            definitions: response.definitions,
            release: Some(response.release).filter(|release| *release > 0),
            epoch: Some(response.epoch).filter(|epoch| *epoch > 0),
            snapshot: response.snapshot,
            features: response.features.into_iter().map(Feature::from).collect(),
            reads: response.reads.into_iter().map(Read::from).collect(),
            positions: response.positions.into_iter().map(Positions::from).collect(),
            request_rows: response.request_rows,
            candidates: response.candidates.into_iter().map(Candidates::from).collect(),
            oldest_inputs: times(response.oldest_inputs_micros),
        }
    }
}

impl From<proto::CandidateCounts> for Candidates {
    fn from(counts: proto::CandidateCounts) -> Self {
        let proto::CandidateCounts { unnested, left, answered, by_fallback } = counts;
        Candidates { unnested, left, answered, by_fallback }
    }
}

impl From<proto::Feature> for Feature {
    fn from(feature: proto::Feature) -> Self {
        let r#type = feature.r#type.clone().unwrap_or_default();
        let statuses = feature.statuses().map(|status| bare(status.as_str_name(), "STATUS_")).collect();
        let filled_by = feature.filled_by().map(|filled| bare(filled.as_str_name(), "FILLED_BY_")).collect();
        Feature {
            values: values::to_json(&feature.values.unwrap_or_default(), &r#type),
            r#type: type_name(&r#type),
            statuses,
            stale: feature.stale,
            filled_by,
            event_times: times(feature.event_times_micros),
            ages_seconds: feature.ages_micros.iter().map(|&age| seconds(age)).collect(),
            name: feature.name,
        }
    }
}

/// A type as definitions write it; those that only expressions have, by a name of their own.
fn type_name(r#type: &proto::Type) -> String {
    use proto::Kind;
    match r#type.kind() {
        Kind::Unspecified | Kind::Null => "NULL".to_owned(),
        Kind::Boolean => "BOOLEAN".to_owned(),
        Kind::Int8 => "TINYINT".to_owned(),
        Kind::Int16 => "SMALLINT".to_owned(),
        Kind::Int32 => "INT".to_owned(),
        Kind::Int64 => "BIGINT".to_owned(),
        Kind::Uint8 => "TINYINT UNSIGNED".to_owned(),
        Kind::Uint16 => "SMALLINT UNSIGNED".to_owned(),
        Kind::Uint32 => "INT UNSIGNED".to_owned(),
        Kind::Uint64 => "BIGINT UNSIGNED".to_owned(),
        Kind::Float32 => "REAL".to_owned(),
        Kind::Float64 => "DOUBLE".to_owned(),
        Kind::Decimal => format!("DECIMAL({}, {})", r#type.precision, r#type.scale),
        Kind::String => "VARCHAR".to_owned(),
        Kind::Binary => "BYTEA".to_owned(),
        Kind::Date => "DATE".to_owned(),
        Kind::Timestamp => "TIMESTAMP".to_owned(),
        Kind::Duration => format!("DURATION in {}s", bare(r#type.unit().as_str_name(), "TIME_UNIT_").to_lowercase()),
        Kind::Interval => "INTERVAL".to_owned(),
        Kind::List => format!("{}[]", r#type.items.as_deref().map(type_name).unwrap_or_default()),
    }
}

impl From<proto::ReadState> for Read {
    fn from(read: proto::ReadState) -> Self {
        let lag = |lag: i64| if lag == i64::MAX { Value::from("not yet at the end") } else { Value::from(seconds(lag)) };
        Read {
            alias: read.alias,
            view: read.view,
            version: read.version,
            generation: read.generation,
            watermark: read.watermark_micros.map(moment),
            lag_seconds: read.lag_micros.map(lag),
        }
    }
}

impl From<proto::Positions> for Positions {
    fn from(positions: proto::Positions) -> Self {
        let partition = |partition: proto::PartitionPosition| Partition {
            source: partition.source,
            partition: partition.partition,
            next: partition.next.to_string(),
        };
        Positions { views: positions.views, partitions: positions.partitions.into_iter().map(partition).collect() }
    }
}

impl From<proto::ListViewsResponse> for Names {
    fn from(names: proto::ListViewsResponse) -> Self {
        Names { views: names.views, services: names.services }
    }
}

pub(super) fn columns(fields: Vec<proto::Field>) -> Vec<Column> {
    fields.into_iter().map(|field| Column { name: field.name, r#type: field.sql }).collect()
}

impl From<proto::ViewDescription> for View {
    fn from(view: proto::ViewDescription) -> Self {
        View {
            name: view.name,
            keys: columns(view.keys),
            features: columns(view.features),
            sources: view.sources,
            ttl_seconds: view.ttl_micros.map(seconds),
            max_staleness_seconds: view.max_staleness_micros.map(seconds),
            meaning: view.meaning,
            version: view.version,
            generation: view.generation,
        }
    }
}

impl From<proto::ServiceDescription> for Service {
    fn from(service: proto::ServiceDescription) -> Self {
        let role = |role: proto::RoleDescription| RoleOf { alias: role.alias, view: role.view };
        Service {
            name: service.name,
            request: columns(service.request),
            outputs: columns(service.outputs),
            roles: service.roles.into_iter().map(role).collect(),
            meaning: service.meaning,
            candidates: service.candidates,
        }
    }
}

impl From<proto::ServerStatus> for Status {
    fn from(status: proto::ServerStatus) -> Self {
        let source = |source: proto::SourceStatus| Source {
            source: source.source,
            followed: source.followed,
            lag_seconds: source.lag_micros.map(seconds),
            silence_seconds: source.silence_micros.map(seconds),
            behind: source.behind,
            stopped: source.stopped,
        };
        Status {
            release: status.release,
            definitions: status.definitions,
            serving: Some(status.serving).filter(|release| *release > 0),
            epoch: Some(status.epoch).filter(|epoch| *epoch > 0),
            since: moment(status.since_micros),
            now: moment(status.now_micros),
            sources: status.sources.into_iter().map(source).collect(),
            views: status.views.into_iter().map(Read::from).collect(),
            breakers: status.breakers.into_iter().map(Breaker::from).collect(),
            last_known_good: status.last_known_good.map(|kept| Kept { entities: kept.entities, bytes: kept.bytes }),
            feature_log: status.feature_log.map(FeatureLog::from),
        }
    }
}

impl From<proto::FeatureLogStatus> for FeatureLog {
    fn from(log: proto::FeatureLogStatus) -> Self {
        let proto::FeatureLogStatus { share, logged, dropped, waiting, files, bytes, failing } = log;
        FeatureLog { share, logged, dropped, waiting, files, bytes, failing }
    }
}

impl From<proto::BreakerStatus> for Breaker {
    fn from(breaker: proto::BreakerStatus) -> Self {
        Breaker {
            state: bare(breaker.state().as_str_name(), "BREAKER_STATE_"),
            of: breaker.of,
            since: moment(breaker.since_micros),
            opened: breaker.opened,
            running: breaker.running,
            stalled: breaker.stalled,
        }
    }
}
