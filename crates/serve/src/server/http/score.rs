//! Scores in JSON.

use std::sync::Arc;

use arrow::array::RecordBatch;
use lockstep_client::proto;
use lockstep_model::{Error, TimeMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::call;
use super::super::scoring::ScoreHead;
use super::answer::{Breaker, Candidates, Column, Feature, Positions, Read, bare, columns, moment, times};
use super::request::{AsOf, Metadata, moments, names};
use super::values;
use crate::desk::{self, Wanted};
use crate::wire;

/// A request for scores.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreRequest {
    /// The deployment.
    pub deployment: String,
    /// One object per row, with every column that the deployment is asked with. Whole numbers of 64 bits may be texts.
    #[serde(default)]
    pub rows: Vec<Map<String, Value>>,
    /// The moment of all rows, or one for each, such as `2013-03-01T12:00:00Z`; now by default.
    pub as_of: Option<AsOf>,
    /// Which clock counts events: `known` or `event`; by default that of knowledge, where the definitions have it.
    pub time: Option<TimeMode>,
    /// How much is said beside the predictions.
    #[serde(default)]
    pub metadata: Metadata,
    /// Comes back in the answer.
    pub request_id: Option<String>,
    /// Answer only where the pointer to what serves has been moved at least so often.
    pub min_epoch: Option<u64>,
    /// Whether the features that went into the models are wanted too.
    #[serde(default)]
    pub features: bool,
}

impl ScoreRequest {
    /// What it says beside its columns.
    ///
    /// # Errors
    /// Invalid where a moment is none.
    pub fn head(&self) -> Result<ScoreHead, Error> {
        Ok(ScoreHead {
            deployment: self.deployment.clone(),
            as_of: moments(self.as_of.as_ref())?,
            time: self.time,
            min_epoch: self.min_epoch,
            metadata: self.metadata.into(),
            request_id: self.request_id.clone().unwrap_or_default(),
            features: self.features,
            rows: self.rows.len(),
        })
    }

    /// Its columns.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(self: &Arc<Self>, wanted: &Wanted) -> Result<RecordBatch, Error> {
        let names = names(&self.rows)?;
        let read = |at: usize, data_type: &_| {
            let values = self.rows.iter().map(|row| row.get(names[at]).unwrap_or(&Value::Null));
            wire::array(&values::column(values, data_type)?, data_type)
        };
        desk::rows_of(wanted, &names, Some(self.rows.len()), read)
    }
}

impl call::Asked for ScoreRequest {
    fn name(&self) -> &str {
        &self.deployment
    }

    fn request_id(&self) -> &str {
        self.request_id.as_deref().unwrap_or_default()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// The predictions for many rows, column by column.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScoreResponse {
    /// As it was asked with.
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    /// How many rows.
    rows: u32,
    /// In the order in which the model declares them.
    predictions: Vec<Feature>,
    /// How each row came to its predictions: `MODEL`, `LAST_KNOWN_GOOD` (by the model, of features that were read earlier), `FALLBACK_MODEL`, `DEFAULT` or `NONE`.
    ways: Vec<&'static str>,
    /// The action of each row, and nothing where none follows from what was predicted; absent where the deployment has no actions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<String>,
    /// With which probability each row was given its action, or each ranked candidate stands where it stands; absent where there is nothing of that kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    propensities: Vec<f64>,
    /// Whether the action of each row was drawn, or the order of its request's candidates; absent as above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    explored: Vec<bool>,
    /// Whether the caller is to do something else with a row than the best; only where the deployment explores and has no actions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    explore: Vec<bool>,
    /// Why each row did not go the way of the model, and nothing where it did; absent where all did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    /// The models that were run, in the order in which they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<ScoredBy>,
    /// The moment, where it was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<String>,
    /// Which clock counted: `known` or `event`.
    time: &'static str,
    /// The number of the definitions that answered.
    definitions: u64,
    /// The release that answered; absent where none was promoted yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<u32>,
    /// How often the pointer to what serves had been moved; absent as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// What was read, in each role, step by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reads: Vec<Read>,
    /// Where the logs stood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    positions: Vec<Positions>,
    /// The features that went into the steps, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    features: Vec<StepFeatures>,
    /// Of a deployment that ranks candidates: which row of the request each row answers, ascending from 0; absent elsewhere, where there is one row for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request_rows: Vec<u32>,
    /// Of a deployment that ranks candidates: which candidate each row is, as outputs of its service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<Feature>,
    /// Of a deployment that ranks candidates: what became of those of each row of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Candidates>,
    /// When the oldest thing happened that went into each row; absent where there is nothing behind any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    oldest_inputs: Vec<Option<String>>,
}

/// A model that was run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScoredBy {
    /// What the deployment calls it; `fallback` for that.
    step: String,
    model: String,
    /// SHA-256 of its file.
    sha256: String,
    /// What ran it: `trees`, `tract` or `onnxruntime`.
    runtime: String,
    /// The feature service whose outputs went into it.
    service: String,
    /// Digest of what that means.
    service_meaning: String,
    /// Rows that it was run on.
    rows: u32,
}

/// The features of a step.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepFeatures {
    step: String,
    /// Which rows of the request these are; all of them where absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<u32>,
    features: Vec<Feature>,
}

/// What there is to score by.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeploymentNames {
    deployments: Vec<String>,
}

/// A deployment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Deployment {
    name: String,
    /// What it is asked with.
    request: Vec<Column>,
    predictions: Vec<Column>,
    /// Its models, in the order in which they are run.
    models: Vec<DeployedModel>,
    /// What answers where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<DeployedModel>,
    /// What is scored beside it, and does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<DeployedModel>,
    /// Digest of what it means, its models and their features included.
    meaning: String,
    /// What may be done with a row; absent where it has no actions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<String>,
    /// The share of rows for which something else is tried; absent where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    explore: Option<f64>,
}

/// A model of a deployment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeployedModel {
    step: String,
    model: String,
    sha256: String,
    runtime: String,
    service: String,
    service_meaning: String,
    /// Threads that run it.
    threads: u32,
    /// Runs that wait for one.
    waiting: u32,
    /// Threads that hang, and were taken out.
    hanging: u32,
    /// What stands before it, so that nobody waits for a model that does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<Breaker>,
}

impl From<proto::ScoreResponse> for ScoreResponse {
    fn from(response: proto::ScoreResponse) -> Self {
        let time = if response.time() == proto::TimeMode::Known { "known" } else { "event" };
        let ways = response.ways().map(|way| bare(way.as_str_name(), "WAY_")).collect();
        ScoreResponse {
            request_id: response.request_id,
            rows: response.rows,
            predictions: response.predictions.into_iter().map(Feature::from).collect(),
            ways,
            actions: response.actions,
            propensities: response.propensities,
            explored: response.explored,
            explore: response.explore,
            reasons: response.reasons,
            models: response.models.into_iter().map(ScoredBy::from).collect(),
            moment: response.moment_micros.map(moment),
            time,
            definitions: response.definitions,
            release: Some(response.release).filter(|release| *release > 0),
            epoch: Some(response.epoch).filter(|epoch| *epoch > 0),
            reads: response.reads.into_iter().map(Read::from).collect(),
            positions: response.positions.into_iter().map(Positions::from).collect(),
            features: response.features.into_iter().map(StepFeatures::from).collect(),
            request_rows: response.request_rows,
            items: response.items.into_iter().map(Feature::from).collect(),
            candidates: response.candidates.into_iter().map(Candidates::from).collect(),
            oldest_inputs: times(response.oldest_inputs_micros),
        }
    }
}

impl From<proto::ScoredBy> for ScoredBy {
    fn from(by: proto::ScoredBy) -> Self {
        let proto::ScoredBy { step, model, sha256, runtime, service, service_meaning, rows } = by;
        ScoredBy { step, model, sha256, runtime, service, service_meaning, rows }
    }
}

impl From<proto::StepFeatures> for StepFeatures {
    fn from(step: proto::StepFeatures) -> Self {
        StepFeatures { step: step.step, rows: step.rows, features: step.features.into_iter().map(Feature::from).collect() }
    }
}

impl From<proto::ListDeploymentsResponse> for DeploymentNames {
    fn from(names: proto::ListDeploymentsResponse) -> Self {
        DeploymentNames { deployments: names.deployments }
    }
}

impl From<proto::DeploymentDescription> for Deployment {
    fn from(deployment: proto::DeploymentDescription) -> Self {
        Deployment {
            name: deployment.name,
            request: columns(deployment.request),
            predictions: columns(deployment.predictions),
            models: deployment.models.into_iter().map(DeployedModel::from).collect(),
            fallback: deployment.fallback.map(DeployedModel::from),
            shadow: deployment.shadow.map(DeployedModel::from),
            meaning: deployment.meaning,
            actions: deployment.actions,
            explore: deployment.explore,
        }
    }
}

impl From<proto::DeployedModel> for DeployedModel {
    fn from(model: proto::DeployedModel) -> Self {
        let proto::DeployedModel { step, model, sha256, runtime, service, service_meaning, threads, waiting, hanging, breaker } = model;
        let breaker = breaker.map(Breaker::from);
        DeployedModel { step, model, sha256, runtime, service, service_meaning, threads, waiting, hanging, breaker }
    }
}
