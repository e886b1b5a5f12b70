//! What is measured at a moment: what signals are made of, and what a page shows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A server, or a store that nobody serves, at one moment. Counts go up from when the server began, or from when a version of a view was made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// The moment, µs since 1970.
    pub at_micros: i64,
    /// When what is measured began to be, µs since 1970.
    pub since_micros: i64,
    /// Sources, by name.
    pub sources: BTreeMap<String, SourceReading>,
    /// Views that serve, by name.
    pub views: BTreeMap<String, ViewReading>,
    /// Versions of views that do not serve and are to.
    pub versions: Vec<VersionReading>,
    /// What was answered, by service or view.
    pub targets: BTreeMap<String, TargetReading>,
    /// What was scored, by deployment.
    pub deployments: BTreeMap<String, DeploymentReading>,
    /// What was computed again of what was served; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayReading>,
    /// What stands before the disk and asks it no more: `reads`, `pushes`.
    pub breakers_open: Vec<String>,
    /// Why what is served cannot be logged, where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_failing: Option<String>,
}

/// How a source is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SourceReading {
    /// Time since its newest event; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_seconds: Option<f64>,
    /// After how long a silence something is wrong, as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_events_every_seconds: Option<f64>,
    /// Whether it is followed here.
    pub followed: bool,
    /// Time since it was last seen applied to its end; before the first time, since the server began. Absent where it is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// The median of that, as it was looked at once a second for ten minutes: an event is applied within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_p50_seconds: Option<f64>,
    /// What it was beneath for 99 looks of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_p99_seconds: Option<f64>,
    /// The pipeline's delay that the source declares: what training takes it to be.
    pub serving_lag_seconds: f64,
    /// Rows that are known to be there and were not applied yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_rows: Option<u64>,
    /// Why it is not followed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// What became of its rows, in the view that has applied most of them.
    pub rows: SourceRows,
    /// What share of the rows of the last window was put aside, refused, in conflict or of no entity; absent where there were too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<RowShares>,
}

/// What became of the rows of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SourceRows {
    /// The generation that counted them.
    pub generation: u32,
    /// Rows that count.
    pub applied: u64,
    /// Rows that were known already.
    pub duplicates: u64,
    /// Rows with other content under a known key.
    pub conflicts: u64,
    /// Rows that came too late.
    pub late: u64,
    /// Rows that could not be taken.
    pub dead_letters: u64,
    /// Row versions that gave way to a greater one.
    pub superseded: u64,
    /// Rows that belong to no entity; some of those applied.
    pub without_entity: u64,
    /// Expressions that failed on a row.
    pub failed_expressions: u64,
}

/// Shares of the rows of a window.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RowShares {
    /// Rows of the window.
    pub rows: u64,
    /// Of these, those that could not be taken.
    pub dead_letters: f64,
    /// Those that came too late.
    pub late: f64,
    /// Those with other content under a known key.
    pub conflicts: f64,
    /// Those that belong to no entity.
    pub without_entity: f64,
}

/// How a view that serves is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ViewReading {
    /// Its version.
    pub version: u32,
    /// Its generation.
    pub generation: u32,
    /// The sources that it reads.
    pub sources: Vec<String>,
    /// Time since the least of the newest event times of its logs; absent until each source has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_age_seconds: Option<f64>,
    /// Time since its logs were last seen applied to their ends; before the first time, since the server began. Absent where none is followed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Above which its values are stale, as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_staleness_seconds: Option<f64>,
    /// The least share of its values that must be real ones, as declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_coverage: Option<f64>,
    /// The entity that most of the events of the last hour came to, where it is far more than its part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hottest: Option<HotKey>,
}

/// A version of a view that is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionReading {
    /// The view.
    pub view: String,
    /// The version.
    pub version: u32,
    /// The number of the definitions that it is there for.
    pub definitions: u64,
    /// When it was made, µs since 1970.
    pub created_micros: i64,
    /// When it was filled, µs since 1970; absent while it waits for its backfill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_micros: Option<i64>,
    /// Whether it keeps up with its logs.
    pub caught_up: bool,
    /// Rows that it is behind, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_rows: Option<u64>,
}

/// What a service or view has answered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TargetReading {
    /// Whether it is a service, and no view.
    pub is_service: bool,
    /// The views that it reads.
    pub views: Vec<String>,
    /// The least share of its values that must be real ones, as a service declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_coverage: Option<f64>,
    /// Rows, since the server began.
    pub rows: u64,
    /// Values by status, before anything was filled, since the server began.
    pub values: Statuses,
    /// Values that were stale.
    pub stale: u64,
    /// Values that a default filled.
    pub defaults: u64,
    /// The share of real values of the last window; absent where there were too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// The share of values of the last window that could not be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<f64>,
    /// Its features, those that have moved most first.
    pub features: Vec<FeatureReading>,
    /// The entity that is in most requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hottest: Option<HotKey>,
}

/// Values by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Statuses {
    /// Of entities without events.
    pub not_found: u64,
    /// Of entities whose events are too old.
    pub expired: u64,
    /// Those that could not be computed.
    pub error: u64,
    /// NULLs.
    pub null: u64,
    /// Real values.
    pub present: u64,
}

impl Statuses {
    /// Counts in the order of [`lockstep_model::Status`].
    pub fn of([not_found, expired, error, null, present]: [u64; 5]) -> Statuses {
        Statuses { not_found, expired, error, null, present }
    }

    /// The same, in that order.
    pub fn counts(&self) -> [u64; 5] {
        let Statuses { not_found, expired, error, null, present } = *self;
        [not_found, expired, error, null, present]
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.not_found + self.expired + self.error + self.null + self.present
    }
}

/// An entity that is asked for more than others, or that more events come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HotKey {
    /// The view.
    pub view: String,
    /// Its key, as text.
    pub key: String,
    /// The share of sampled rows that ask for it, or of events that came to it, at the least.
    pub share: f64,
    /// Rows that were sampled, or events that came.
    pub rows: u64,
}

/// What a feature or prediction is like, of a sample of what is served.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FeatureReading {
    /// Its name.
    pub feature: String,
    /// The views behind it.
    pub views: Vec<String>,
    /// Values of the sample, in the window of drift.
    pub sampled: u64,
    /// The same by status, before anything was filled.
    #[serde(default)]
    pub by_status: Statuses,
    /// Values that were ever sampled, since its definitions serve: what coverage over time is made of.
    #[serde(default)]
    pub values: Statuses,
    /// Of these, the share of real ones.
    pub coverage: f64,
    /// The share of values that could not be computed.
    pub errors: f64,
    /// How far it is from what it is compared with; absent where that is nothing, or values are too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// For how long it has moved in one direction from slot to slot, where it has for several of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creeping_seconds: Option<f64>,
}

/// How far values are from those that they are compared with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// With what: `training`, `published` for a published run's predictions, or `first` for what was served first.
    pub against: Against,
    /// Population stability index.
    pub psi: f64,
    /// What the index of two samples of one distribution is beneath, of so many values: beneath it, it says nothing.
    pub psi_by_chance: f64,
    /// Kolmogorov–Smirnov: the greatest distance of the two cumulative distributions; 0 for texts.
    pub ks: f64,
    /// What that is beneath by chance.
    pub ks_by_chance: f64,
    /// Values that it is compared with.
    pub reference_values: u64,
    /// The share of NULL among them.
    pub reference_nulls: f64,
    /// The share of NULL among what is served.
    pub nulls: f64,
    /// Shares by bin, on both sides.
    pub bins: Vec<Bin>,
}

/// What values are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The training set of a model that is deployed.
    #[default]
    Training,
    /// What the run of the deployment that is published predicted.
    Published,
    /// What was served first, since the definitions serve.
    First,
}

/// A bin of a distribution.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Bin {
    /// What is in it: `≤ 12.5`, `> 90`, `NULL`, or a group of texts.
    pub label: String,
    /// The share of what it is compared with.
    pub reference: f64,
    /// The share of what is served.
    pub served: f64,
}

/// What a deployment has scored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentReading {
    /// The services that its models take.
    pub services: Vec<String>,
    /// Rows by how each came to its predictions, since the server began.
    pub ways: BTreeMap<String, u64>,
    /// Rows of requests that failed.
    pub failed: u64,
    /// The share of rows of the last window that did not go the way of the model; absent where there were too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallen: Option<f64>,
    /// Its predictions.
    pub scores: Vec<FeatureReading>,
    /// Who decided about the rows of which it is known what came of them. It is looked for where scores creep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<DecidedLabels>,
}

/// Who decided what was done with rows that have an outcome, as the log of what was served and what callers reported say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DecidedLabels {
    /// The model by itself, by what it predicted.
    pub model: u64,
    /// Chance: rows that explore.
    pub explored: u64,
    /// Callers, who did something else than was answered.
    pub caller: u64,
    /// Nobody knows.
    pub unknown: u64,
}

impl DecidedLabels {
    /// Those of which it is known who decided.
    pub fn known(&self) -> u64 {
        self.model + self.explored + self.caller
    }

    /// The share of these that the model decided by itself; absent where there are none.
    #[allow(clippy::cast_precision_loss, reason = "a share for limits and people")]
    pub fn model_share(&self) -> Option<f64> {
        (self.known() > 0).then(|| self.model as f64 / self.known() as f64)
    }
}

/// What came of computing again what was served.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ReplayReading {
    /// Vectors computed again, since the server began.
    pub vectors: u64,
    /// Their values.
    pub values: u64,
    /// Values that differ. There must be none.
    pub differ: u64,
    /// The first that differ, in words.
    pub first: Vec<String>,
    /// The services and views that differ.
    pub differing: Vec<String>,
    /// Vectors that could not be computed again, by reason.
    pub not_auditable: BTreeMap<String, u64>,
    /// Values that come to something else with all that is known by now, by cause.
    pub hindsight: BTreeMap<String, u64>,
    /// Values that hindsight looked at.
    pub hindsight_values: u64,
    /// When it was done last, µs since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_micros: Option<i64>,
    /// Why it was not done, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}
