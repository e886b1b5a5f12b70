//! Reports in JSON.

use lockstep_client::proto;
use lockstep_model::{Error, EventTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::report::asked;
use crate::report::Report;

/// What was done with rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionsRequest {
    /// One for each row.
    decisions: Vec<Decision>,
}

/// What was done with a row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Decision {
    /// What the request for its score was called.
    request_id: String,
    /// Its place in that request.
    #[serde(default)]
    row: u32,
    /// The action.
    action: String,
    /// With which probability it was chosen; that of the answer by default.
    propensity: Option<f64>,
}

/// What came of rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomesRequest {
    /// One for each row.
    outcomes: Vec<Outcome>,
}

/// What came of a row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Outcome {
    /// What the request for its score was called.
    request_id: String,
    /// Its place in that request.
    #[serde(default)]
    row: u32,
    /// When that was known, such as `2013-03-01T12:00:00Z`.
    outcome_time: String,
    /// Names, and truth values, numbers or texts.
    values: Map<String, Value>,
}

/// That reports are on the disk.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Taken {
    /// How many.
    taken: u32,
}

impl From<proto::ReportResponse> for Taken {
    fn from(response: proto::ReportResponse) -> Self {
        Taken { taken: response.taken }
    }
}

impl DecisionsRequest {
    /// The reports.
    pub fn reports(&self) -> Vec<Report> {
        let report = |of: &Decision| Report::decision((&of.request_id, of.row), &of.action, of.propensity);
        self.decisions.iter().map(report).collect()
    }
}

impl OutcomesRequest {
    /// The reports.
    ///
    /// # Errors
    /// Invalid where a moment is none.
    pub fn reports(&self) -> Result<Vec<Report>, Error> {
        let report = |(row, outcome): (usize, &Outcome)| {
            let time = EventTime::parse(&outcome.outcome_time);
            let EventTime(time) = time.map_err(|error| Error::invalid(format!("report {row}: its outcome_time: {error}")))?;
            Ok(Report::outcome((&outcome.request_id, outcome.row), time, outcome.values.clone()))
        };
        self.outcomes.iter().enumerate().map(report).collect()
    }
}

asked!(DecisionsRequest => decisions, OutcomesRequest => outcomes);
