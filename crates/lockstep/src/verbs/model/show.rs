//! `model show`: what goes into a model, what runs it, and what it was trained on.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_serve::scoring::{Bound, pinned};
use lockstep_store::{AppliedModel, OnlineStore};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::sql_name;
use lockstep_transform::profile::Summary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::super::check::CheckedModel;
use super::super::plan::deployments_of;
use super::super::schema::{ColumnType, unknown};
use super::answering;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::table::{Align, Table};

/// Show what goes into a model, what runs it, and what it was trained on
#[derive(Debug, Args)]
pub struct Arguments {
    /// The model
    #[arg(value_name = "NAME")]
    pub model: String,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The model.
    pub model: String,
}

/// A model that is applied.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShownModel {
    /// Number of the definitions that it belongs to.
    pub definitions: u64,
    /// What it is, and what goes into it.
    pub model: CheckedModel,
    /// Where its file was, from the project's directory.
    pub path: String,
    /// What the features meant that it was applied with: the fingerprint of their service.
    pub service_meaning: String,
    /// What it predicts.
    pub predictions: Vec<ColumnType>,
    /// Deployments that answer by it.
    pub deployments: Vec<String>,
    /// What its training set was like, where it names one.
    pub training_set: Option<ShownTraining>,
}

/// A training set.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShownTraining {
    /// Where its manifest was, from the project's directory.
    pub path: String,
    /// Digest of its rows.
    pub digest: String,
    /// When it was made.
    pub created_at: String,
    /// Rows.
    pub rows: u64,
    /// Its features, in order.
    pub features: Vec<ShownFeature>,
}

/// A feature of a training set.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShownFeature {
    /// Its name.
    pub name: String,
    /// Its type in SQL.
    #[serde(rename = "type")]
    pub data_type: String,
    /// What its values were like.
    pub summary: Summary,
}

/// Shows one.
///
/// # Errors
/// NotFound where there is none of the name.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question { model: arguments.model.clone() })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "model show";
    type Answer = ShownModel;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<ShownModel> {
        let set = answering(owned, &*OnlineStore::cut(&*owned.store))?;
        let catalog = owned.compiled(&set)?;
        let applied = set.applied.models.iter().find(|applied| applied.model == self.model);
        let applied = applied.ok_or_else(|| unknown("model", &self.model, catalog.models.keys()))?;
        let bound = pinned::model(&catalog, &set, &owned.store.models(), &self.model)?;
        Ok(ShownModel::new(set.version, &catalog, applied, &bound))
    }
}

impl ShownModel {
    fn new(definitions: u64, catalog: &Catalog, applied: &AppliedModel, bound: &Bound) -> ShownModel {
        let training_set = applied.training_set.as_ref().zip(bound.training.as_ref()).map(|(set, training)| ShownTraining {
            path: set.path.clone(),
            digest: training.digest.clone(),
            created_at: training.created_at.clone(),
            rows: training.rows,
            features: training.features.iter().map(ShownFeature::of).collect(),
        });
        let column = |field: &arrow::datatypes::FieldRef| ColumnType { name: field.name().clone(), data_type: sql_name(field.data_type()) };
        ShownModel {
            definitions,
            model: CheckedModel::of(bound),
            path: applied.path.clone(),
            service_meaning: applied.service_meaning.to_string(),
            predictions: bound.schema.fields().iter().map(column).collect(),
            deployments: deployments_of(catalog, &applied.model),
            training_set,
        }
    }
}

impl ShownFeature {
    fn of(feature: &lockstep_serve::scoring::training::TrainedFeature) -> ShownFeature {
        ShownFeature { name: feature.name.clone(), data_type: feature.data_type.clone(), summary: feature.summary.clone() }
    }
}

impl Report for ShownModel {
    fn text(&self, paint: Paint) -> String {
        let ShownModel { definitions, model, path, service_meaning, predictions, deployments, training_set } = self;
        let mut text = model.text(paint);
        let predicted = predictions.iter().map(|prediction| format!("{} {}", prediction.name, prediction.data_type)).collect::<Vec<_>>();
        let _ = writeln!(text, "  predicts {}", predicted.join(", "));
        let meaning = &service_meaning[..service_meaning.len().min(12)];
        let _ = writeln!(text, "  from {path}, of version {definitions} of the definitions; its features mean {meaning}");
        if !deployments.is_empty() {
            let _ = writeln!(text, "  deployed by {}", deployments.join(", "));
        }
        text + &training_set.as_ref().map(|set| set.text(paint)).unwrap_or_default()
    }
}

impl ShownTraining {
    fn text(&self, paint: Paint) -> String {
        let mut text = format!("\n{} {}, made {}\n", paint.bold("training set"), self.path, self.created_at);
        let mut columns = vec![("feature", Align::Left), ("type", Align::Left)];
        columns.extend(["values", "mean", "stddev", "least", "greatest"].map(|name| (name, Align::Right)));
        let mut table = Table::new(&columns).indented(2);
        for ShownFeature { name, data_type, summary } in &self.features {
            let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.6}"));
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
            table.row([
                name.as_str().into(),
                data_type.as_str().into(),
                summary.count.to_string().into(),
                number(summary.mean).into(),
                number(summary.stddev).into(),
                text(&summary.min).into(),
                text(&summary.max).into(),
            ]);
        }
        text += &table.render(paint);
        text
    }
}
