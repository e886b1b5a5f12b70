//! What is said about a value beside the value.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of one feature value: the first that holds, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The entity has had no event: the value is what SQL gives over no rows.
    NotFound,
    /// The entity's newest event is older than the view's `ttl`: the value is absent.
    Expired,
    /// The value could not be computed (overflow, a declared limit passed, a failed cast): it is absent.
    Error,
    /// SQL NULL.
    Null,
    /// A value.
    Present,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::NotFound => "NOT_FOUND",
            Status::Expired => "EXPIRED",
            Status::Error => "ERROR",
            Status::Null => "NULL",
            Status::Present => "PRESENT",
        })
    }
}

/// Where an absent value was filled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FilledBy {
    /// Not filled.
    #[default]
    None,
    /// By the service's declared default, on both paths alike.
    Default,
    /// By the last value that was good, online only.
    LastKnownGood,
}

impl fmt::Display for FilledBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FilledBy::None => "NONE",
            FilledBy::Default => "DEFAULT",
            FilledBy::LastKnownGood => "LAST_KNOWN_GOOD",
        })
    }
}

/// Which clock decides whether an event counts at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeMode {
    /// An event counts once it happened and was known: max(event time, available at) ≤ t. What serving sees.
    Known,
    /// An event counts once it happened: event time ≤ t.
    Event,
}
