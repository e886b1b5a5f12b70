//! Training sets of what was served: rows of a feature log, each with what became of it.
//!
//! Features are those of the log, bit by bit; nothing is computed again. What is decided here is which outcome belongs to which row, which rows a cap leaves out, and what weight that gives
//! to those that stay:
//!
//! - *By the request's id* ([`By::Request`], and with the row of the request [`By::RequestRow`]) wherever outcomes have it: it says which answer something came of, whatever else was asked about
//!   the same entity. A request that was answered more than once, such as one that was tried again, gives its outcome to each answer, since nothing tells which of them was acted upon.
//! - *By a candidate* ([`By::Candidate`]) of a request, where a row is one of those that were ranked and answered. What was decided of it is its place.
//! - *By columns and a bound on time* ([`By::Columns`]) where callers give their requests no ids. An outcome belongs to one row: the newest that asked about the same at or before it, if that is not
//!   longer ago than the bound. A label that is to count for every row before it is a join for SQL, not one that is made here unasked: one fact would be many examples.
//! - *A row has one outcome*, the newest that is known by `--outcomes-until`; of two at one moment, the later in the files. So a correction counts, and a set can be made again as of a moment.
//! - *An outcome that was known before its request* did not come of it, and is counted and not used.
//! - *Reports* ([`crate::reports`]) are outcomes that were told to the server, by request and row, and say what was done with a row, too. Where no file of outcomes is named, they are the outcomes.
//! - *What was done* with a row is what was reported, else what was answered. Labels are mostly there only where that let them be: [`Decisions`] tell which the model decided by itself.
//! - *A row without an outcome* stays, with NULLs and the word CENSORED: that nothing is known by then is no label.

mod decisions;
mod join;
mod log;
mod outcomes;
mod report;
mod rows;
#[cfg(test)]
mod tests;
mod weight;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output::InputFile;

pub use decisions::{DecidedRows, Decisions, DecisionsReport};
pub use join::{Joined, join};
pub use log::{Group, Scan, ServedLog, Wants, check_asked_with};
pub use outcomes::{By, OUTCOMES, Outcomes, columns_reported};
#[cfg(test)]
use report::OutcomesReport;
pub use report::ServedReport;
pub use rows::Rows;
pub use weight::{Caps, Propensity, Weighed, weigh};

/// The columns of ids and of rows of a request, in a training set and in files of outcomes.
pub const REQUEST_ID: &str = "request_id";
/// See [`REQUEST_ID`].
pub const REQUEST_ROW: &str = "request_row";

/// The column of propensities of decisions, in a training set.
pub const PROPENSITY: &str = "propensity";

/// What a training set from the log was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FromLog {
    /// The files of outcomes.
    pub outcomes: Vec<InputFile>,
    /// The columns by which outcomes belong to rows.
    pub joined_by: Vec<String>,
    /// The output by which candidates are told apart, where each that was answered is a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each_candidate: Option<String>,
    /// How long after a row its outcome comes at the latest, µs, where they are joined by columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<i64>,
    /// The column that says when an outcome was known.
    pub outcome_time: String,
    /// Outcomes are known until then; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes_until: Option<String>,
    /// The definitions that were asked for, where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<u64>,
    /// The shares of vectors that were logged, as far as the log says: one, unless it was changed.
    pub shares: Vec<f64>,
    /// Most rows of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_decision: Option<u64>,
    /// Most rows of an entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_entity: Option<u64>,
    /// The columns that are an entity there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entity: Vec<String>,
    /// The column of propensities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity: Option<String>,
    /// The largest weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_max: Option<f64>,
}
