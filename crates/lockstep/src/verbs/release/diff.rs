//! `release diff`: what changed from one release to another.

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::super::plan::{Change, PlannedService, PlannedView, changes, service_text, view_text};
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
        let catalog = |number| owned.definitions(release_numbered(&*cut, number)?.new.definitions);
        let (views, services) = changes(&*catalog(self.from)?, &*catalog(self.to)?, Some(&*cut))?;
        Ok(ReleasesDiffer { from: self.from, to: self.to, views, services })
    }
}

impl ReleasesDiffer {
    fn are_alike(&self) -> bool {
        self.views.iter().all(|view| view.change == Change::Unchanged) && self.services.iter().all(|service| service.change == Change::Unchanged)
    }
}

impl Report for ReleasesDiffer {
    fn text(&self, paint: Paint) -> String {
        if self.are_alike() {
            return format!("releases {} and {} mean the same\n", self.from, self.to);
        }
        let views = self.views.iter().map(|view| view_text(view, paint));
        views.chain(self.services.iter().filter(|service| service.change != Change::Unchanged).map(|service| service_text(service, paint))).collect()
    }
}
