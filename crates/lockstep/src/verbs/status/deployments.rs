//! Deployments: which models they run, on what, and how these stand.

use std::fmt::Write as _;

use lockstep_serve::scoring::{Deployed, Stage};
use lockstep_serve::server::Standing;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::Paint;
use crate::owned::Owned;
use crate::table::{Align, Table};

/// A deployment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentStatus {
    /// Its name.
    pub deployment: String,
    /// What may be done with a row; nothing where it has no actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// The share of rows that explore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explore: Option<f64>,
    /// Its models: those of its steps, its fallback and its shadow.
    pub models: Vec<DeployedStatus>,
}

/// A model of a deployment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeployedStatus {
    /// What the deployment calls it: `fallback` and `shadow` for these.
    pub step: String,
    /// The model.
    pub model: String,
    /// What runs it; absent where it is not loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// How it stands: `ready`, `hangs`, `not asked` (it has failed or stalled several times), `tried again`, or `not loaded` where nothing serves.
    pub state: String,
    /// Threads that run it.
    #[serde(default)]
    pub threads: u64,
    /// Runs that wait for one.
    #[serde(default)]
    pub waiting: u64,
}

/// Deployments as they serve; where nothing does, those of the definitions that were applied last.
pub fn deployments(owned: &Owned, catalog: &Catalog) -> Vec<DeploymentStatus> {
    match owned.serving() {
        Some(live) => live.last_state().deployments().all().map(|deployed| loaded(deployed)).collect(),
        None => catalog.definitions.deployments.values().map(defined).collect(),
    }
}

fn loaded(deployed: &Deployed) -> DeploymentStatus {
    let policy = deployed.policy.as_ref();
    DeploymentStatus {
        deployment: deployed.name.clone(),
        actions: policy.and_then(|policy| policy.actions()).map(|actions| actions.names.clone()).unwrap_or_default(),
        explore: policy.and_then(|policy| policy.explore()).map(|explore| explore.share),
        models: deployed.stages().map(stands).collect(),
    }
}

fn stands(stage: &Stage) -> DeployedStatus {
    let (figures, bound) = (stage.model.figures(), &stage.model.bound);
    let state = match stage.model.breaker().standing {
        Standing::Open => "not asked",
        Standing::Probing => "tried again",
        Standing::Closed if figures.hanging > 0 => "hangs",
        Standing::Closed => "ready",
    };
    DeployedStatus {
        step: stage.name.clone(),
        model: bound.name.clone(),
        runtime: Some(bound.runtime.to_string()),
        state: state.to_owned(),
        threads: figures.threads as u64,
        waiting: figures.waiting as u64,
    }
}

fn defined(deployment: &definition::Deployment) -> DeploymentStatus {
    let model = |(step, model): (&str, &str)| DeployedStatus {
        step: step.to_owned(),
        model: model.to_owned(),
        runtime: None,
        state: "not loaded".to_owned(),
        threads: 0,
        waiting: 0,
    };
    let steps = deployment.steps.iter().map(|step| (step.name.as_str(), step.model.as_str()));
    let beside = [("fallback", &deployment.fallback), ("shadow", &deployment.shadow)];
    let beside = beside.into_iter().filter_map(|(step, model)| Some((step, model.as_deref()?)));
    DeploymentStatus {
        deployment: deployment.name.clone(),
        actions: deployment.actions.as_ref().map(|actions| actions.names.clone()).unwrap_or_default(),
        explore: deployment.explore.map(|explore| explore.share),
        models: steps.chain(beside).map(model).collect(),
    }
}

/// Deployments for people.
pub fn text(all: &[DeploymentStatus], paint: Paint) -> String {
    let mut text = String::new();
    for DeploymentStatus { deployment, actions, explore, models } in all {
        let actions = if actions.is_empty() { String::new() } else { format!(", {}", actions.join(" or ")) };
        let explore = explore.map(|share| format!(" · explores a share of {share}")).unwrap_or_default();
        let _ = writeln!(text, "\n{} {}{actions}{explore}", paint.bold("deployment"), paint.cyan(deployment));
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left)]).indented(2);
        for DeployedStatus { step, model, runtime, state, threads, waiting } in models {
            let called = if step == model { model.clone() } else { format!("{step}: {model}") };
            let waits = if *waiting > 0 { format!(", {waiting} wait for {threads} threads") } else { String::new() };
            table.row([called.into(), runtime.clone().unwrap_or_default().into(), format!("{state}{waits}").into()]);
        }
        text += &table.render(paint);
    }
    text
}
