//! `model list`: which models there are, and who answers by them.

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::{AppliedModel, OnlineStore};
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::super::plan::deployments_of;
use super::answering;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::table::{Align, Table};
use crate::text::bytes;

/// List the models that are applied
#[derive(Debug, Args)]
pub struct Arguments {}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {}

/// The models of a set of definitions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelList {
    /// Number of the definitions.
    pub definitions: u64,
    /// Their models, in order.
    pub models: Vec<ListedModel>,
}

/// A model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedModel {
    /// Its name.
    pub model: String,
    /// The feature service whose outputs go into it.
    pub service: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// Where its file was, from the project's directory.
    pub path: String,
    /// Deployments that answer by it.
    pub deployments: Vec<String>,
}

/// Lists them.
///
/// # Errors
/// NotFound where nothing was applied.
pub fn run(context: &Context, _: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question {})?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "model list";
    type Answer = ModelList;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<ModelList> {
        let set = answering(owned, &*OnlineStore::cut(&*owned.store))?;
        let catalog = owned.compiled(&set)?;
        let models = set.applied.models.iter().map(|applied| listed(&catalog, applied)).collect();
        Ok(ModelList { definitions: set.version, models })
    }
}

fn listed(catalog: &Catalog, applied: &AppliedModel) -> ListedModel {
    ListedModel {
        model: applied.model.clone(),
        service: catalog.definitions.models.get(&applied.model).map(|model| model.service.clone()).unwrap_or_default(),
        sha256: applied.sha256.clone(),
        bytes: applied.bytes,
        path: applied.path.clone(),
        deployments: deployments_of(catalog, &applied.model),
    }
}

impl Report for ModelList {
    fn text(&self, paint: Paint) -> String {
        if self.models.is_empty() {
            return format!("version {} of the definitions has no models\n", self.definitions);
        }
        let columns = [("model", Align::Left), ("service", Align::Left), ("file", Align::Left), ("sha256", Align::Left), ("size", Align::Right)];
        let mut table = Table::new(&[&columns[..], &[("deployed by", Align::Left)]].concat());
        for ListedModel { model, service, sha256, bytes: size, path, deployments } in &self.models {
            let deployed = if deployments.is_empty() { "–".to_owned() } else { deployments.join(", ") };
            table.row([
                model.as_str().into(),
                service.as_str().into(),
                path.as_str().into(),
                sha256[..sha256.len().min(12)].into(),
                bytes(*size).into(),
                deployed.into(),
            ]);
        }
        table.render(paint)
    }
}
