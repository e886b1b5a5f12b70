//! Published predictions: runs of batch scoring that a view serves, one after the other.
//!
//! A run is a directory in the store's ([`runs`]): the predictions of its rows as events of their source ([`events`]), and a record of what they are. Publishing one ([`publish`]) fills a generation of the
//! view with them, and with those of the runs before it that are kept, which nobody sees until it is whole; one forced write then makes it the one that is read. Nothing of it is an engine of its own: the events
//! are a history like any other, and what is read of several generations of one version is the last that was not taken back.

mod back;
mod events;
mod publish;
mod runs;
mod stamp;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use lockstep_model::position::history_path;
use lockstep_model::{Error, PartitionId};
use lockstep_serve::chosen::generation_of;
use lockstep_store::{CutRead, GenerationInfo, OnlineStore};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::Predictions;
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::owned::Owned;
use crate::project::Project;
use crate::release::ValidateConfig;
use crate::text::did_you_mean;

pub use back::roll_back;
pub use events::check_columns;
pub use publish::{Publish, Published, publish};
pub use runs::{Run, Runs};

/// How runs of predictions come to serve.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PredictionsConfig {
    /// What a run must be like: another is not published, unless it is forced. `entities` are those that have a prediction, and coverage is the share of rows that do.
    pub validate: ValidateConfig,
}

/// Predictions as a set of definitions has them.
#[derive(Debug, Clone)]
pub struct Defined {
    /// The definitions.
    pub catalog: Arc<Catalog>,
    /// The view that serves them.
    pub view: Arc<Transformation>,
    /// Their source.
    pub source: Arc<SourcePlan>,
}

impl Defined {
    /// Those of a name.
    ///
    /// # Errors
    /// NotFound where the definitions have none.
    pub fn find(catalog: &Arc<Catalog>, name: &str) -> Result<Defined, Error> {
        let found = (catalog.definitions.predictions.get(name), catalog.views.get(name), catalog.sources.get(name));
        let (Some(_), Some(view), Some(source)) = found else {
            return Err(unknown(catalog, name));
        };
        Ok(Defined { catalog: Arc::clone(catalog), view: Arc::clone(view), source: Arc::clone(source) })
    }

    /// What the definition says.
    pub fn predictions(&self) -> &Predictions {
        &self.catalog.definitions.predictions[&self.view.view]
    }

    /// Whether their deployment ranks candidates, so that a row of its scores is a list already.
    pub fn are_ranked(&self) -> bool {
        let deployment = self.catalog.definitions.deployments.get(&self.predictions().deployment);
        deployment.is_some_and(|deployment| deployment.ranking.is_some())
    }

    /// Whether they mean the same, so that what holds the ones holds the others.
    pub fn is(&self, info: &GenerationInfo) -> bool {
        info.view == self.view.view && info.meaning == self.view.meaning && info.state == self.view.state
    }

    /// The run that is read, with the generation that holds it; `None` where none is.
    ///
    /// # Errors
    /// Where the cut cannot be read.
    pub fn serving(&self, cut: &dyn CutRead) -> Result<Option<(u32, GenerationInfo)>, Error> {
        let Some(info) = generation_of(&self.view, &cut.generations()?).cloned() else { return Ok(None) };
        let run = match info.run {
            Some(run) => Some(run),
            // One that was backfilled holds what was kept then.
            None => runs_in(cut, &info)?.last().copied(),
        };
        Ok(run.map(|run| (run, info)))
    }
}

fn unknown(catalog: &Catalog, name: &str) -> Error {
    let names: Vec<&str> = catalog.definitions.predictions.keys().map(String::as_str).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Error::not_found(format!("no predictions named `{name}` · predictions: {known}{}", did_you_mean(name, names.iter().copied())))
}

/// The runs whose events a generation holds.
fn runs_in(cut: &dyn CutRead, info: &GenerationInfo) -> Result<BTreeSet<u32>, Error> {
    let positions = cut.positions(info.generation)?;
    let run = |(PartitionId { partition, .. }, _): &(PartitionId, _)| Runs::number_of(history_path(partition)?);
    Ok(positions.iter().filter_map(run).collect())
}

/// The runs of some predictions that were published and are not taken back, ascending.
///
/// # Errors
/// Where the store cannot be read.
pub fn good(cut: &dyn CutRead, name: &str) -> Result<BTreeSet<u32>, Error> {
    Ok(cut.generations()?.iter().filter(|info| info.view == name && info.published()).filter_map(|info| info.run).collect())
}

/// Where the events of predictions lie, for whoever fills a generation of them that is of no run: those of the runs that are kept, as far as the same deployment predicted them.
///
/// # Errors
/// Where the store cannot be read.
pub fn kept(owned: &Owned, source: &SourcePlan) -> Result<Vec<String>> {
    let Some(predicted_by) = source.predicted_by else { return Ok(source.options.batch.clone()) };
    let (runs, good) = (Runs::of(&owned.project.store, &source.name), good(&*OnlineStore::cut(&*owned.store), &source.name)?);
    let all = runs.all()?;
    let of_it = all.iter().filter(|run| good.contains(&run.run) && run.deployment_meaning == predicted_by.to_string());
    Ok(of_it.map(|run| location(&owned.project, &runs, run.run)).collect())
}

/// The events of a run, from the project's directory where they are below it.
fn location(project: &Project, runs: &Runs, run: u32) -> String {
    let path = runs.events(run);
    path.strip_prefix(&project.dir).unwrap_or(&path).display().to_string()
}

/// Refuses to read predictions where no store is read, which has them.
///
/// # Errors
/// Invalid where one of the views serves predictions.
pub fn refuse_without_store(catalog: &Catalog, views: &[Arc<Transformation>]) -> Result<(), Error> {
    match views.iter().find(|view| catalog.definitions.predictions.contains_key(&view.view)) {
        None => Ok(()),
        Some(view) => {
            let what = format!("`{}` are predictions, and the runs that were published are in the store, which is not read", view.view);
            Err(Error::invalid(format!("{what} · add --applied, or --snapshot NAME")))
        }
    }
}
