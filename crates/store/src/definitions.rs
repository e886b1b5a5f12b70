//! The registry of definitions: what was applied to this store, when and by whom, append-only.

use lockstep_model::{Error, EventTime, Fingerprint};
use serde::{Deserialize, Serialize};

/// One definition as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionText {
    /// Where it came from: a path below the project, with `/`.
    pub path: String,
    /// The SQL text.
    pub text: String,
}

/// A complete set of definitions about to be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDefinitions {
    /// Every definition of the set, changed or not.
    pub texts: Vec<DefinitionText>,
    /// Fingerprint of what the set means.
    pub fingerprint: Fingerprint,
    /// Who applied it, where known.
    #[serde(default)]
    pub by: Option<String>,
    /// Why, where said.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A set of definitions that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    /// 1 for the first set of a store, one more for each later one.
    pub version: u64,
    /// When it was applied.
    pub applied_at: EventTime,
    /// What was applied.
    #[serde(flatten)]
    pub applied: NewDefinitions,
}

/// The error of an apply that another one overtook.
pub(crate) fn overtaken(expected: u64, latest: u64) -> Error {
    Error::unavailable(format!(
        "the definitions changed since they were read · expected version {expected}, the store has version {latest} · plan and apply again"
    ))
}
