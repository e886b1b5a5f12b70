//! What is told: signals, each of one kind and about one thing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is wrong. In the order in which one explains another that comes after it, where both lie on one way from source to deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What was served is not what its inputs come to. It is a fault of the engine, and nothing explains it.
    ReplayDiffers,
    /// The store does not answer, and is asked no more for a while.
    StoreSilent,
    /// A source cannot be read on.
    SourceStopped,
    /// A source was not seen applied to its end for longer than a view that reads it allows.
    SourceLagging,
    /// Too many rows of a source cannot be taken: what is sent has changed.
    DeadLetters,
    /// Too many rows of a source belong to no entity.
    WithoutEntity,
    /// Too many rows of a source have other content under a known key.
    Conflicts,
    /// Too many rows of a source come too late.
    LateRows,
    /// A source has had no event for longer than it declares.
    SourceSilent,
    /// A version of a view waits for its backfill.
    BackfillUnfinished,
    /// What was applied last does not serve, since it has not caught up.
    OldVersion,
    /// A view lags more than it allows.
    ViewStale,
    /// One entity is in too many requests of a service or view, or too many events of a view come to it.
    HotKey,
    /// Scores creep away from what they were, step by step in one direction, and nearly all that is known to have come of rows is of what the model decided by itself: it counts and learns what it did.
    FeedbackLoop,
    /// Too many values cannot be computed.
    Errors,
    /// Too few values are real ones.
    LowCoverage,
    /// A feature is not like in training.
    FeatureDrift,
    /// Too many rows do not go the way of their model.
    Fallen,
    /// Scores are not like they were.
    ScoreDrift,
    /// What is served cannot be logged.
    LogFailing,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 20] = [
        Kind::ReplayDiffers,
        Kind::StoreSilent,
        Kind::SourceStopped,
        Kind::SourceLagging,
        Kind::DeadLetters,
        Kind::WithoutEntity,
        Kind::Conflicts,
        Kind::LateRows,
        Kind::SourceSilent,
        Kind::BackfillUnfinished,
        Kind::OldVersion,
        Kind::ViewStale,
        Kind::HotKey,
        Kind::FeedbackLoop,
        Kind::Errors,
        Kind::LowCoverage,
        Kind::FeatureDrift,
        Kind::Fallen,
        Kind::ScoreDrift,
        Kind::LogFailing,
    ];

    /// As labels, JSON and settings call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ReplayDiffers => "replay_differs",
            Kind::StoreSilent => "store_silent",
            Kind::SourceStopped => "source_stopped",
            Kind::SourceLagging => "source_lagging",
            Kind::DeadLetters => "dead_letters",
            Kind::WithoutEntity => "without_entity",
            Kind::Conflicts => "conflicts",
            Kind::LateRows => "late_rows",
            Kind::SourceSilent => "source_silent",
            Kind::BackfillUnfinished => "backfill_unfinished",
            Kind::OldVersion => "old_version",
            Kind::ViewStale => "view_stale",
            Kind::HotKey => "hot_key",
            Kind::FeedbackLoop => "feedback_loop",
            Kind::Errors => "errors",
            Kind::LowCoverage => "low_coverage",
            Kind::FeatureDrift => "feature_drift",
            Kind::Fallen => "fallen",
            Kind::ScoreDrift => "score_drift",
            Kind::LogFailing => "log_failing",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Kind::ReplayDiffers
            | Kind::StoreSilent
            | Kind::SourceStopped
            | Kind::SourceLagging
            | Kind::SourceSilent
            | Kind::ViewStale
            | Kind::Errors
            | Kind::LowCoverage
            | Kind::Fallen => Severity::Critical,
            _ => Severity::Warning,
        }
    }

    /// Whether one look is enough: what is measured is a time that has passed already, or a fact. The others are shares, which may be beyond a limit by chance.
    pub fn is_at_once(self) -> bool {
        matches!(
            self,
            Kind::ReplayDiffers
                | Kind::SourceStopped
                | Kind::SourceLagging
                | Kind::SourceSilent
                | Kind::BackfillUnfinished
                | Kind::OldVersion
                | Kind::ViewStale
        )
    }

    /// In what its value and its limit are said.
    pub fn unit(self) -> Unit {
        match self {
            Kind::SourceLagging | Kind::SourceSilent | Kind::BackfillUnfinished | Kind::OldVersion | Kind::ViewStale => Unit::Seconds,
            Kind::FeatureDrift | Kind::ScoreDrift => Unit::Index,
            Kind::ReplayDiffers => Unit::Count,
            Kind::StoreSilent | Kind::SourceStopped | Kind::LogFailing => Unit::None,
            _ => Unit::Share,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How bad a signal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Answers are wrong, old or missing: somebody is to look now.
    Critical,
    /// Answers will be, or are not what they were: somebody is to look today.
    Warning,
}

impl Severity {
    /// As labels call it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

/// In what a value is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// It has none.
    None,
    /// Seconds.
    Seconds,
    /// A share, from 0 to 1.
    Share,
    /// A population stability index, or a distance of distributions.
    Index,
    /// A number.
    Count,
}

/// What a signal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The server as a whole.
    Server,
    /// A source.
    Source,
    /// A feature view.
    View,
    /// A feature service.
    Service,
    /// A deployment.
    Deployment,
}

impl Of {
    /// As labels call it.
    pub fn name(self) -> &'static str {
        match self {
            Of::Server => "server",
            Of::Source => "source",
            Of::View => "view",
            Of::Service => "service",
            Of::Deployment => "deployment",
        }
    }
}

/// One thing: a source, a view, a service, a deployment, or a feature of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// What it is.
    pub of: Of,
    /// Its name.
    pub name: String,
    /// The feature or prediction, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

impl Subject {
    /// Something that has a name.
    pub fn new(of: Of, name: impl Into<String>) -> Subject {
        Subject { of, name: name.into(), feature: None }
    }

    /// A feature of it.
    #[must_use]
    pub fn feature(self, feature: impl Into<String>) -> Subject {
        Subject { feature: Some(feature.into()), ..self }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { of, name, feature } = self;
        match feature {
            Some(feature) => write!(f, "{} {name}.{feature}", of.name()),
            None => write!(f, "{} {name}", of.name()),
        }
    }
}

/// Something that is wrong, until it is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// What it is called: kind and subject.
    pub id: String,
    /// What is wrong.
    pub kind: Kind,
    /// How bad that is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// When it was raised.
    pub since: String,
    /// When what it tells of began, as far as that is known.
    pub began: String,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What was declared for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// In what both are said.
    pub unit: Unit,
    /// What is wrong, in words.
    pub what: String,
    /// What to do.
    pub todo: String,
    /// The signal that explains it, by what that is called; absent for one that is a cause itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_all_listed_in_their_order_and_called_one_thing() {
        assert!(Kind::ALL.is_sorted());
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        // The last one: a kind more has to be listed.
        assert_eq!(Kind::ALL.len(), Kind::LogFailing as usize + 1);
    }

    #[test]
    fn subjects_read_as_they_are_named() {
        let subject = Subject::new(Of::Service, "fraud_v1").feature("spent_7d");
        assert_eq!(subject.to_string(), "service fraud_v1.spent_7d");
        assert_eq!(Subject::new(Of::Source, "payments").to_string(), "source payments");
    }
}
