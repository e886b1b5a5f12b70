//! What a page shows of a server, as JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reading::Reading;
use super::signal::Signal;

/// The signals of a server: those that are causes, each with those that it explains behind it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Signals {
    /// The moment.
    pub now: String,
    /// What is wrong; nothing where all is well.
    pub signals: Vec<Signal>,
}

/// All that is watched of a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The moment.
    pub now: String,
    /// When the server began.
    pub since: String,
    /// The number of the definitions that serve.
    pub definitions: u64,
    /// The release that serves; absent where none was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// What is wrong: causes, each with what it explains behind it.
    pub signals: Vec<Signal>,
    /// What is measured.
    pub reading: Reading,
    /// The same over time, as far as it is held.
    pub history: History,
}

/// Measures over time, oldest first, in memory alone. Every series has as many points as there are moments; one without a value is null.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// How far moments are apart.
    pub every_seconds: f64,
    /// The moments.
    pub at: Vec<String>,
    /// The share of real values, by service or view.
    pub coverage: BTreeMap<String, Vec<Option<f64>>>,
    /// Rows a second, by service or view.
    pub rows_per_second: BTreeMap<String, Vec<Option<f64>>>,
    /// Seconds of lag, by source.
    pub lag_seconds: BTreeMap<String, Vec<Option<f64>>>,
    /// Seconds of silence, by source.
    pub silence_seconds: BTreeMap<String, Vec<Option<f64>>>,
    /// Rows applied a second, by source.
    pub applied_per_second: BTreeMap<String, Vec<Option<f64>>>,
    /// Signals that were raised.
    pub signals: Vec<Option<f64>>,
}

/// Sampled values of the features of a service or view by status, over time, oldest first: as many counts as there are moments.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FeatureHistory {
    /// How far moments are apart.
    pub every_seconds: f64,
    /// The moments.
    pub at: Vec<String>,
    /// Values from a moment to the next, by feature.
    pub features: BTreeMap<String, ByStatus>,
}

/// Counts by status, one for each moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ByStatus {
    /// Real values.
    pub present: Vec<u32>,
    /// What SQL gives as NULL.
    pub null: Vec<u32>,
    /// Of entities whose events are too old.
    pub expired: Vec<u32>,
    /// Of entities without events.
    pub not_found: Vec<u32>,
    /// What could not be computed.
    pub error: Vec<u32>,
}
