//! `release diff`: what changed from one release to another.

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::super::plan::{Change, PlannedDeployment, PlannedModel, PlannedService, PlannedView, Sides, changes, service_text, view_text};
use super::release_numbered;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;

/// Show what changed from one release to another, as SQL and as features
#[derive(Debug, Args)]
pub struct Arguments {
    /// A release
    #[arg(value_name = "FROM")]
    pub from: u32,
    /// Another
    #[arg(value_name = "TO")]
    pub to: u32,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// A release.
    pub from: u32,
    /// Another.
    pub to: u32,
}

/// How two releases differ.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReleasesDiffer {
    /// A release.
    pub from: u32,
    /// Another.
    pub to: u32,
    /// Views, in the order of the definitions; then those that are gone.
    pub views: Vec<PlannedView>,
    /// Services, in the same way.
    pub services: Vec<PlannedService>,
    /// Models, in the same way.
    #[serde(default)]
    pub models: Vec<PlannedModel>,
    /// Deployments, in the same way.
    #[serde(default)]
    pub deployments: Vec<PlannedDeployment>,
}

/// Compares.
///
/// # Errors
/// NotFound where one of them is not there.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let differ = context.ask(&Question { from: arguments.from, to: arguments.to })?;
    let outcome = Outcome::of(differ.are_alike());
    context.out.show(&differ)?;
    Ok(outcome)
}

impl ask::Question for Question {
    const VERB: &'static str = "release diff";
    type Answer = ReleasesDiffer;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<ReleasesDiffer> {
        let cut = OnlineStore::cut(&*owned.store);
        let all = cut.definitions_history()?;
        let of = |release| -> Result<_> {
            let number = release_numbered(&*cut, release)?.new.definitions;
            let files = all.iter().find(|set| set.version == number).map(|set| set.applied.models.as_slice()).unwrap_or_default();
            Ok((owned.definitions(number)?, files))
        };
        let ((before, files_before), (after, files_after)) = (of(self.from)?, of(self.to)?);
        let (views, services) = changes(&before, &after, Some(&*cut))?;
        let sides = Sides { before: &before, after: &after, files_before, files_after, met: &[] };
        Ok(ReleasesDiffer { from: self.from, to: self.to, views, services, models: sides.models(), deployments: sides.deployments() })
    }
}

impl ReleasesDiffer {
    fn are_alike(&self) -> bool {
        let (views, services) = (self.views.iter().map(|view| view.change), self.services.iter().map(|service| service.change));
        let (models, deployments) = (self.models.iter().map(|model| model.change), self.deployments.iter().map(|deployment| deployment.change));
        views.chain(services).chain(models).chain(deployments).all(|change| change == Change::Unchanged)
    }
}

impl Report for ReleasesDiffer {
    fn text(&self, paint: Paint) -> String {
        if self.are_alike() {
            return format!("releases {} and {} mean the same\n", self.from, self.to);
        }
        let views = self.views.iter().map(|view| view_text(view, paint));
        let services = self.services.iter().filter(|service| service.change != Change::Unchanged).map(|service| service_text(service, paint));
        let models = self.models.iter().filter(|model| model.change != Change::Unchanged).map(|model| model.text(paint));
        let deployments = self.deployments.iter().filter(|one| one.change != Change::Unchanged).map(|one| one.text(paint));
        views.chain(services).chain(models).chain(deployments).collect()
    }
}
