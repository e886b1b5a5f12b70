//! `alerts`: what is declared, as alerting rules of Prometheus.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::watching::WatchConfig;

/// How long a condition must hold that is no time by itself.
const FOR: &str = "1m";

/// Print alerting rules for Prometheus
///
/// Made of what the definitions and `[watch]` declare: `expect_events_every`, `max_staleness`, `min_coverage`, and the limits of shares and drift. The metrics are those of the server's
/// `/metrics`. Rules of single limits go off though the server's own watch should not look; those of signals have the cause told apart from what follows from it.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Rules.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Alerts {
    /// Groups of rules, as Prometheus reads them.
    pub groups: Vec<Group>,
}

/// A group of rules.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rule {
    /// The alert.
    pub alert: String,
    /// What must hold.
    pub expr: String,
    /// For how long.
    #[serde(rename = "for")]
    pub holds: String,
    /// How bad it is: `critical` or `warning`.
    pub severity: String,
    /// What is wrong.
    pub summary: String,
    /// What to do.
    pub description: String,
}

/// Prints the rules of the project.
///
/// # Errors
/// Where the definitions do not check out.
pub fn run(context: &Context, _: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    context.out.show(&Alerts::of(&project.catalog()?, &project.config.watch))?;
    Ok(Outcome::Fine)
}

impl Alerts {
    /// The rules of definitions and settings.
    pub fn of(catalog: &Catalog, config: &WatchConfig) -> Alerts {
        let groups = [("lockstep", whole(config)), ("lockstep-sources", sources(catalog)), ("lockstep-views", views(catalog))];
        let group = |(name, rules): (&str, Vec<Rule>)| Group { name: name.to_owned(), rules };
        Alerts { groups: groups.into_iter().filter(|(_, rules)| !rules.is_empty()).map(group).collect() }
    }
}

fn rule(alert: &str, expr: String, holds: &str, severity: &str, summary: impl Into<String>, description: impl Into<String>) -> Rule {
    let [alert, holds, severity] = [alert, holds, severity].map(str::to_owned);
    Rule { alert, expr, holds, severity, summary: summary.into(), description: description.into() }
}

/// Rules of a server as a whole.
fn whole(config: &WatchConfig) -> Vec<Rule> {
    let status = "`lockstep status` says what is wrong, and what to do";
    vec![
        rule(
            "LockstepAbsent",
            "absent(lockstep_build_info)".to_owned(),
            FOR,
            "critical",
            "no server is there",
            "start `lockstep serve`, or look why it ended",
        ),
        rule(
            "LockstepCritical",
            r#"lockstep_signal{severity="critical",role="cause"} == 1"#.to_owned(),
            "0s",
            "critical",
            "{{ $labels.kind }} of {{ $labels.of }} {{ $labels.subject }}",
            status,
        ),
        rule(
            "LockstepWarning",
            r#"lockstep_signal{severity="warning",role="cause"} == 1"#.to_owned(),
            "0s",
            "warning",
            "{{ $labels.kind }} of {{ $labels.of }} {{ $labels.subject }}",
            status,
        ),
        rule(
            "LockstepReplayDiffers",
            "lockstep_replay_differ > 0".to_owned(),
            "0s",
            "critical",
            "what was served is not what its inputs come to",
            "run `lockstep audit`, keep the store, and report it",
        ),
        rule(
            "LockstepSourceStopped",
            "lockstep_source_stopped == 1".to_owned(),
            "0s",
            "critical",
            "source {{ $labels.source }} cannot be read on",
            status,
        ),
        rule(
            "LockstepDrift",
            format!("lockstep_feature_psi > {} and lockstep_feature_sampled >= {}", config.psi_max, config.values_min),
            "10m",
            "warning",
            "{{ $labels.feature }} of {{ $labels.target }} is not like in training",
            "see what its source has become; if the world has changed, train again",
        ),
        rule(
            "LockstepFallen",
            format!("lockstep_deployment_fallen_share > {}", config.fallen_max.0),
            FOR,
            "critical",
            "rows of {{ $labels.deployment }} do not go the way of its model",
            "lockstep_score_rows_fallen_total says why",
        ),
    ]
}

fn sources(catalog: &Catalog) -> Vec<Rule> {
    let silent = |(name, source): (&String, &std::sync::Arc<lockstep_transform::catalog::SourcePlan>)| {
        let every = source.options.expect_events_every?;
        let expr = format!("lockstep_source_silence_seconds{{source={}}} > {}", quoted(name), seconds(every.micros()));
        let summary = format!("source {name} has had no event for longer than it declares");
        Some(rule("LockstepSourceSilent", expr, "0s", "critical", summary, "look at its producer: what is there is applied"))
    };
    catalog.sources.iter().filter_map(silent).collect()
}

fn views(catalog: &Catalog) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, view) in &catalog.definitions.views {
        if let Some(most) = view.options.max_staleness {
            let expr = format!("lockstep_view_lag_seconds{{view={}}} > {}", quoted(name), seconds(most.micros()));
            let summary = format!("view {name} lags more than it allows, and its values are stale");
            rules.push(rule("LockstepViewStale", expr, "0s", "critical", summary, "see what its sources do: brokers, load, disk"));
        }
        if let Some(least) = view.options.min_coverage {
            let expr = format!(r#"lockstep_signal{{kind="low_coverage",subject={}}} == 1"#, quoted(name));
            let summary = format!("fewer than {:.1} % of the values of view {name} are real ones", least * 100.0);
            rules.push(rule("LockstepLowCoverage", expr, "0s", "critical", summary, "see which status the others have"));
        }
    }
    for (name, service) in &catalog.definitions.services {
        if let Some(least) = service.min_coverage {
            let expr = format!("lockstep_coverage{{target={}}} < {least}", quoted(name));
            let summary = format!("fewer than {:.1} % of the values of service {name} are real ones", least * 100.0);
            rules.push(rule("LockstepLowCoverage", expr, FOR, "critical", summary, "see which status the others have"));
        }
    }
    rules
}

/// A name as a value of a label.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[allow(clippy::cast_precision_loss, reason = "a limit, in seconds")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// A text of YAML, between single quotes.
fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Report for Alerts {
    fn text(&self, _: Paint) -> String {
        let mut text = "# Made by `lockstep alerts` of the definitions and of [watch] in lockstep.toml.\ngroups:\n".to_owned();
        for Group { name, rules } in &self.groups {
            let _ = writeln!(text, "- name: {}\n  rules:", yaml(name));
            for Rule { alert, expr, holds, severity, summary, description } in rules {
                let _ = writeln!(text, "  - alert: {alert}\n    expr: {}\n    for: {holds}\n    labels:\n      severity: {severity}", yaml(expr));
                let _ = writeln!(text, "    annotations:\n      summary: {}\n      description: {}", yaml(summary), yaml(description));
            }
        }
        text
    }
}
