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
    /// The file of each model of the set. A release that knows no models refuses the texts of such a set, and so misreads none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<AppliedModel>,
}

/// A model, pinned: by the file that it is, and by what its features meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedModel {
    /// The model.
    pub model: String,
    /// Where its file was, from the project's directory.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal: it is in the store under this name.
    pub sha256: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// What the feature service meant whose outputs go into it.
    pub service_meaning: Fingerprint,
    /// The manifest of its training set, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_set: Option<AppliedTrainingSet>,
}

/// The manifest of a training set, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedTrainingSet {
    /// Where it was, from the project's directory.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
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
