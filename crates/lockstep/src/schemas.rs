//! JSON Schemas of everything that is read or written as JSON or TOML, from the types themselves.

use lockstep_transform::definition;
use schemars::{Schema, schema_for};

use crate::config::Config;
use crate::failure::ErrorJson;
use crate::verbs;
use crate::verify::Verified;

/// A schema and what it describes.
#[derive(Debug)]
pub struct Named {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it describes.
    pub about: &'static str,
    /// The schema.
    pub schema: Schema,
}

/// Every schema there is.
pub fn all() -> Vec<Named> {
    let about = |name: &str| match name {
        "source_options" => "options of CREATE SOURCE … WITH (…)",
        "view_options" => "options of CREATE FEATURE VIEW … WITH (…)",
        "service_options" => "options of CREATE FEATURE SERVICE … WITH (…)",
        "model_options" => "options of CREATE MODEL … WITH (…)",
        "deployment_options" => "options of CREATE DEPLOYMENT … WITH (…)",
        "predictions_options" => "options of CREATE PREDICTIONS … WITH (…)",
        _ => "one error in the definitions",
    };
    let mut all = vec![Named { name: "config", about: "lockstep.toml", schema: schema_for!(Config) }];
    all.extend(definition::schemas().into_iter().map(|(name, schema)| Named { name, about: about(name), schema }));
    all.extend([
        Named { name: "error", about: "what --json puts on standard error when a verb fails", schema: schema_for!(ErrorJson) },
        Named { name: "init", about: "lockstep init --json", schema: schema_for!(verbs::init::Made) },
        Named { name: "check", about: "lockstep check --json", schema: schema_for!(verbs::check::Checked) },
        Named { name: "test", about: "lockstep test --json", schema: schema_for!(verbs::test::Tested) },
        Named { name: "apply", about: "lockstep apply --json", schema: schema_for!(verbs::apply::Applied) },
        Named { name: "applied", about: "lockstep apply --list --json", schema: schema_for!(verbs::apply::AppliedList) },
        Named { name: "backfill", about: "lockstep backfill --json", schema: schema_for!(crate::feed::Backfilled) },
        Named { name: "ingest", about: "lockstep ingest --json", schema: schema_for!(crate::feed::Ingested) },
        Named { name: "get", about: "lockstep get --json", schema: schema_for!(verbs::get::Got) },
        Named { name: "score", about: "lockstep score --json", schema: schema_for!(verbs::score::ScoredRow) },
        Named { name: "plan", about: "lockstep plan --json", schema: schema_for!(verbs::plan::Planned) },
        Named { name: "explain", about: "lockstep explain --json", schema: schema_for!(crate::explain::Explained) },
        Named {
            name: "explain_scoring",
            about: "lockstep explain DEPLOYMENT --json, and of a model",
            schema: schema_for!(verbs::explain::ExplainedScoring),
        },
        Named { name: "status", about: "lockstep status --json", schema: schema_for!(verbs::status::StoreStatus) },
        Named { name: "alerts", about: "lockstep alerts --json", schema: schema_for!(verbs::alerts::Alerts) },
        Named { name: "doctor", about: "lockstep doctor --json", schema: schema_for!(verbs::doctor::Examined) },
        Named { name: "dead_letters", about: "lockstep dead-letters list --json", schema: schema_for!(verbs::dead_letters::DeadLetters) },
        Named { name: "exported", about: "lockstep dead-letters export --json", schema: schema_for!(verbs::dead_letters::Exported) },
        Named { name: "refusals", about: "lockstep refusals list --json", schema: schema_for!(verbs::refusals::Refusals) },
        Named { name: "replay_dlq", about: "lockstep replay-dlq --json", schema: schema_for!(verbs::replay_dlq::Replayed) },
        Named { name: "applied_log", about: "lockstep applied-log --json", schema: schema_for!(verbs::applied_log::AppliedLogs) },
        Named { name: "drop", about: "lockstep drop --json", schema: schema_for!(verbs::drop::Dropped) },
        Named { name: "promoted", about: "lockstep release promote --json", schema: schema_for!(verbs::release::promote::Promoted) },
        Named { name: "validation", about: "lockstep release validate --json", schema: schema_for!(crate::release::validate::Validation) },
        Named { name: "rolled_back", about: "lockstep release rollback --json", schema: schema_for!(verbs::release::rollback::RolledBack) },
        Named { name: "releases", about: "lockstep release list --json", schema: schema_for!(verbs::release::Releases) },
        Named { name: "release", about: "lockstep release show --json", schema: schema_for!(verbs::release::Shown) },
        Named { name: "release_diff", about: "lockstep release diff --json", schema: schema_for!(verbs::release::ReleasesDiffer) },
        Named { name: "models", about: "lockstep model list --json", schema: schema_for!(verbs::model::ModelList) },
        Named { name: "model", about: "lockstep model show --json", schema: schema_for!(verbs::model::ShownModel) },
        Named { name: "snapshot_made", about: "lockstep snapshot create --json", schema: schema_for!(verbs::snapshot::create::SnapshotMade) },
        Named { name: "snapshots", about: "lockstep snapshot list --json", schema: schema_for!(verbs::snapshot::list::SnapshotList) },
        Named { name: "snapshot", about: "lockstep snapshot show --json", schema: schema_for!(verbs::snapshot::show::Shown) },
        Named { name: "snapshots_differ", about: "lockstep snapshot diff --json", schema: schema_for!(verbs::snapshot::diff::SnapshotsDiffer) },
        Named {
            name: "snapshot_export",
            about: "lockstep snapshot export --json, and its manifest.json",
            schema: schema_for!(verbs::snapshot::export::SnapshotExport),
        },
        Named {
            name: "snapshot_validation",
            about: "lockstep snapshot validate --json",
            schema: schema_for!(verbs::snapshot::validate::SnapshotValidation),
        },
        Named { name: "snapshot_dropped", about: "lockstep snapshot drop --json", schema: schema_for!(verbs::snapshot::drop::SnapshotDropped) },
        Named { name: "migrated", about: "lockstep migrate --json", schema: schema_for!(verbs::migrate::Migrated) },
        Named { name: "requested", about: "lockstep get --request --json", schema: schema_for!(verbs::requested::Requested) },
        Named { name: "audit", about: "lockstep audit --json", schema: schema_for!(crate::audit::Audited) },
        Named { name: "reports", about: "lockstep reports --json", schema: schema_for!(verbs::reports::ReportsTold) },
        Named { name: "verify", about: "lockstep verify --json", schema: schema_for!(Verified) },
        Named { name: "train", about: "lockstep train --json", schema: schema_for!(verbs::train::Trained) },
        Named { name: "scores", about: "lockstep score --out --json", schema: schema_for!(verbs::score::Written) },
        Named { name: "scores_published", about: "lockstep score --publish --json", schema: schema_for!(verbs::score::ScoredAndPublished) },
        Named { name: "published", about: "lockstep predictions publish --json", schema: schema_for!(crate::predictions::Published) },
        Named { name: "predictions", about: "lockstep predictions list --json", schema: schema_for!(verbs::predictions::PredictionsList) },
        Named { name: "run", about: "lockstep predictions show --json", schema: schema_for!(verbs::predictions::ShownRun) },
        Named { name: "taken_back", about: "lockstep predictions rollback --json", schema: schema_for!(verbs::predictions::TakenBack) },
        Named { name: "diff", about: "lockstep diff --json", schema: schema_for!(verbs::diff::SetsDiffer) },
        Named { name: "manifest", about: "manifest.json of a training set, or of scores", schema: schema_for!(crate::train::Manifest) },
        Named {
            name: "columns",
            about: "lockstep schema --service, --view or --deployment, with --json",
            schema: schema_for!(verbs::schema::Columns),
        },
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_schema_says_what_it_is() {
        let all = all();
        let mut names: Vec<&str> = all.iter().map(|named| named.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|named| named.schema.get("title").is_some() && !named.about.is_empty()));
    }
}
