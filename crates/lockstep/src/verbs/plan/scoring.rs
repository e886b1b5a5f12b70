//! What becomes of models and deployments.

use std::fmt::Write;

use lockstep_store::AppliedModel;
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Change, StatementDiff, change_text, statement};
use crate::diff::{self, diff};
use crate::models::OtherFeatures;
use crate::output::Paint;

/// What becomes of a model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedModel {
    /// The model.
    pub model: String,
    /// What becomes of it: it is changed where its file is another, or its features, their order, or its predictions.
    pub change: Change,
    /// SHA-256 of the file it has now, in hexadecimal.
    pub sha256_before: Option<String>,
    /// SHA-256 of the file it would have.
    pub sha256_after: Option<String>,
    /// Why its features would be others than those that its file was applied with: it is not applied so, unless it says what it was trained on.
    pub other_features: Option<String>,
    /// Its definition, where that changed.
    pub differences: Vec<StatementDiff>,
    /// Deployments that answer by it.
    pub deployments: Vec<String>,
}

/// What becomes of a deployment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedDeployment {
    /// The deployment.
    pub deployment: String,
    /// What becomes of it: it is changed where a model of it is, or what is answered where that does not.
    pub change: Change,
    /// Its models, in the order in which they are run; then its fallback and its shadow.
    pub models: Vec<String>,
}

/// Models and deployments of two sets of definitions, with the files of each.
pub struct Sides<'a> {
    /// The definitions as they are.
    pub before: &'a Catalog,
    /// The definitions as they would be.
    pub after: &'a Catalog,
    /// The files as they are.
    pub files_before: &'a [AppliedModel],
    /// The files as they would be.
    pub files_after: &'a [AppliedModel],
    /// Models that would meet other features.
    pub met: &'a [OtherFeatures],
}

impl Sides<'_> {
    /// What becomes of models, in the order of the definitions; then those that are gone.
    pub fn models(&self) -> Vec<PlannedModel> {
        let mut models: Vec<PlannedModel> = self.after.models.keys().map(|name| self.model(name)).collect();
        let gone = self.before.models.keys().filter(|name| !self.after.models.contains_key(*name));
        models.extend(gone.map(|name| PlannedModel {
            model: name.clone(),
            change: Change::Gone,
            sha256_before: sha256(self.files_before, name),
            sha256_after: None,
            other_features: None,
            differences: Vec::new(),
            deployments: deployments_of(self.before, name),
        }));
        models
    }

    fn model(&self, name: &str) -> PlannedModel {
        let (before, after) = (sha256(self.files_before, name), sha256(self.files_after, name));
        let other = |other: &&OtherFeatures| other.model == name;
        PlannedModel {
            model: name.to_owned(),
            change: self.model_change(name),
            sha256_before: before,
            sha256_after: after,
            other_features: self.met.iter().find(other).map(|other| format!("since version {}, {}", other.since, other.why())),
            differences: self.differences(name),
            deployments: deployments_of(self.after, name),
        }
    }

    fn model_change(&self, name: &str) -> Change {
        match (self.before.models.get(name), self.after.models.get(name)) {
            (None, _) => Change::New,
            (Some(_), None) => Change::Gone,
            (before, after) if before == after && sha256(self.files_before, name) == sha256(self.files_after, name) => Change::Unchanged,
            _ => Change::Changed,
        }
    }

    fn differences(&self, name: &str) -> Vec<StatementDiff> {
        let (Some(old), Some(new)) = (self.before.definitions.models.get(name), self.after.definitions.models.get(name)) else { return Vec::new() };
        let lines = diff(statement(&old.origin, old.statement), statement(&new.origin, new.statement));
        if lines.is_empty() { Vec::new() } else { vec![StatementDiff { of: format!("model {name}"), lines }] }
    }

    /// What becomes of deployments, in the order of the definitions; then those that are gone.
    pub fn deployments(&self) -> Vec<PlannedDeployment> {
        let of = |catalog: &Catalog, name: &String, change| PlannedDeployment { deployment: name.clone(), change, models: models_of(catalog, name) };
        let mut deployments: Vec<_> = self.after.deployments.keys().map(|name| of(self.after, name, self.deployment_change(name))).collect();
        let gone = self.before.deployments.keys().filter(|name| !self.after.deployments.contains_key(*name));
        deployments.extend(gone.map(|name| of(self.before, name, Change::Gone)));
        deployments
    }

    fn deployment_change(&self, name: &str) -> Change {
        match (self.before.deployments.get(name), self.after.deployments.get(name)) {
            (None, _) => Change::New,
            (before, after) if before != after => Change::Changed,
            _ if models_of(self.after, name).iter().any(|model| self.model_change(model) != Change::Unchanged) => Change::Changed,
            _ => Change::Unchanged,
        }
    }
}

fn sha256(files: &[AppliedModel], model: &str) -> Option<String> {
    files.iter().find(|file| file.model == model).map(|file| file.sha256.clone())
}

/// The models of a deployment: its steps, its fallback, its shadow.
fn models_of(catalog: &Catalog, deployment: &str) -> Vec<String> {
    let Some(deployment) = catalog.definitions.deployments.get(deployment) else { return Vec::new() };
    let steps = deployment.steps.iter().map(|step| step.model.clone());
    steps.chain(deployment.fallback.clone()).chain(deployment.shadow.clone()).collect()
}

/// The deployments that answer by a model.
pub fn deployments_of(catalog: &Catalog, model: &str) -> Vec<String> {
    catalog.definitions.deployments.keys().filter(|name| models_of(catalog, name).iter().any(|of| of == model)).cloned().collect()
}

impl PlannedModel {
    /// Its file, and who answers by it.
    pub fn about(&self) -> String {
        let short = |sha256: &str| sha256.get(..12).unwrap_or(sha256).to_owned();
        let file = match (&self.sha256_before, &self.sha256_after) {
            (Some(before), Some(after)) if before != after => format!("file {} → {}", short(before), short(after)),
            (_, Some(file)) | (Some(file), None) => format!("file {}", short(file)),
            (None, None) => String::new(),
        };
        if self.deployments.is_empty() { file } else { format!("{file}, deployed by {}", self.deployments.join(", ")) }
    }

    /// What becomes of it, as people read it.
    pub fn text(&self, paint: Paint) -> String {
        let mut text = format!("{} {}  {}\n", change_text(self.change, paint), paint.dim(format!("model {}", self.model)), self.about());
        if let Some(why) = &self.other_features {
            let _ = writeln!(text, "  {}", paint.red(format!("{} would meet other features: {why}", self.model)));
        }
        for difference in &self.differences {
            let _ = writeln!(text, "  {}", paint.cyan(&difference.of));
            text += &diff::text(&difference.lines, "    ", paint);
        }
        text
    }
}

impl PlannedDeployment {
    /// What becomes of it, as people read it.
    pub fn text(&self, paint: Paint) -> String {
        format!("{} {}  of {}\n", change_text(self.change, paint), paint.dim(format!("deployment {}", self.deployment)), self.models.join(", "))
    }
}
