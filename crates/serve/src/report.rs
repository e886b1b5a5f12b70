//! What callers report: what they did with a row that was scored, and what came of it.

use lockstep_model::Error;
use serde_json::{Map, Value};

/// A log that takes reports. What it has taken is on the disk.
pub trait Reports: Send + Sync {
    /// Appends reports. Of reports that say the same of the same row, one counts: to repeat one is harmless.
    ///
    /// # Errors
    /// Unavailable where the disk is full, or too many wait.
    fn append(&self, reports: &[Report]) -> Result<(), Error>;
}

/// What is reported of a row of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What the request is called.
    pub request_id: String,
    /// Its place in the request.
    pub row: u32,
    /// What is said of it.
    pub said: Said,
}

/// What is said of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// What was done with it.
    Decision {
        /// The action.
        action: String,
        /// With which probability it was chosen; that of the answer where it is absent.
        propensity: Option<f64>,
    },
    /// What came of it.
    Outcome {
        /// When that was known, µs since 1970, UTC.
        time: i64,
        /// Names, and truth values, numbers or texts.
        values: Map<String, Value>,
    },
}

/// Most bytes of an id or an action, of a name, and of a text; most values of an outcome.
const ID_BYTES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = 4096;
const VALUES_MAX: usize = 64;

/// Columns of training sets that no outcome can be called.
const TAKEN: [&str; 10] = [
    "request_id",
    "request_row",
    "outcome_time",
    "outcome_status",
    "sample_weight",
    "action",
    "propensity",
    "decided_by",
    "ranked_place",
    "ranked_propensity",
];

impl Report {
    /// What was done with a row.
    pub fn decision((request_id, row): (&str, u32), action: &str, propensity: Option<f64>) -> Report {
        Report { request_id: request_id.to_owned(), row, said: Said::Decision { action: action.to_owned(), propensity } }
    }

    /// What came of a row, and when that was known, µs.
    pub fn outcome((request_id, row): (&str, u32), time: i64, values: Map<String, Value>) -> Report {
        Report { request_id: request_id.to_owned(), row, said: Said::Outcome { time, values } }
    }

    /// Refuses what nobody could make anything of; `row` is its place among all that are reported.
    ///
    /// # Errors
    /// Invalid.
    pub fn check(&self, row: usize) -> Result<(), Error> {
        let wrong = |what: String, advice: &str| Error::invalid(format!("report {row}: {what} · {advice}"));
        let of_id = |what: &str, text: &str, advice: &str| match text.len() {
            0 => Err(wrong(format!("{what} is missing"), advice)),
            bytes if bytes > ID_BYTES_MAX => Err(wrong(format!("{what} has {bytes} bytes, and {ID_BYTES_MAX} are the most"), advice)),
            _ => Ok(()),
        };
        of_id("its request_id", &self.request_id, "give the id that the request for scores was asked with")?;
        match &self.said {
            Said::Decision { action, propensity } => {
                of_id("its action", action, "give the action that was taken")?;
                match propensity {
                    Some(propensity) if !(*propensity > 0.0 && *propensity <= 1.0) => Err(wrong(
                        format!("{propensity} is no propensity"),
                        "give the probability with which the action was chosen, above 0 and up to 1, or leave it out where it is that of the answer",
                    )),
                    _ => Ok(()),
                }
            }
            Said::Outcome { values, .. } => {
                if values.is_empty() || values.len() > VALUES_MAX {
                    let what = format!("an outcome has from 1 to {VALUES_MAX} values, and this one has {}", values.len());
                    return Err(wrong(what, "give what became known of the row"));
                }
                values.iter().try_for_each(|(name, value)| check_value(name, value).map_err(|(what, advice)| wrong(what, advice)))
            }
        }
    }
}

fn check_value(name: &str, value: &Value) -> Result<(), (String, &'static str)> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err((format!("a value has a name of {} bytes", name.len()), "give it a name of 1 to 128"));
    }
    if TAKEN.contains(&name) {
        return Err((format!("`{name}` says something else in a training set"), "give the value another name"));
    }
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => {
            Err((format!("`{name}` has {} bytes", text.len()), "report what can be learned from, and keep texts elsewhere"))
        }
        Value::Array(_) | Value::Object(_) => {
            Err((format!("`{name}` is neither a truth value, a number nor a text"), "give each part a name of its own"))
        }
        _ => Ok(()),
    }
}
