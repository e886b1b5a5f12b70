//! Models and deployments as checked.

use arrow::datatypes::DataType;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::ModelOptions;
use super::text::{Origin, Span};
use super::{Actions, Column, Explore, Interval, Literal};

/// A model: a file, what goes into it, and what it predicts.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub origin: Origin,
    /// All of its definition, in the same file.
    pub statement: Span,
    /// The ONNX file, from the project's directory.
    pub path: String,
    /// The feature service whose outputs go into it.
    pub service: String,
    /// The outputs of the service that go into each input of the file, in order; at least one each.
    pub inputs: IndexMap<String, Vec<String>>,
    /// What it predicts, in order; at least one.
    pub predictions: Vec<Prediction>,
    /// Everything else.
    pub options: ModelOptions,
    /// Where all of that is written.
    pub places: ModelPlaces,
}

/// Where the parts of a model are written.
#[derive(Debug, Clone)]
pub struct ModelPlaces {
    /// The path.
    pub path: Origin,
    /// The name of each input, and its features.
    pub inputs: IndexMap<String, (Origin, Vec<Origin>)>,
    /// The values of the options that are given.
    pub options: IndexMap<String, Origin>,
}

impl Model {
    /// Where an option's value is written; the model's name where it is not given.
    pub fn option_origin(&self, option: &str) -> &Origin {
        self.places.options.get(option).unwrap_or(&self.origin)
    }

    /// The features that go into it, each once, in the order in which they are named first.
    pub fn features(&self) -> Vec<&str> {
        let mut features: Vec<&str> = Vec::new();
        for feature in self.inputs.values().flatten() {
            if !features.contains(&feature.as_str()) {
                features.push(feature);
            }
        }
        features
    }
}

/// What a model predicts under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// Its name.
    pub name: String,
    /// Its type: a number, a truth value, a text, or a list of one of them.
    pub data_type: DataType,
    /// The output of the file that it is.
    pub output: String,
    /// Which of several values of a row.
    pub pick: Option<Pick>,
    /// Where its name is written.
    pub origin: Origin,
    /// Where the output is named.
    pub output_origin: Origin,
    /// Where it is said which value is meant.
    pub pick_origin: Option<Origin>,
}

/// Which of several values of a row is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// That of a label, such as a class.
    Label(String),
    /// That at a position, from 0.
    Index(usize),
}

/// A model that answers under a name, or a chain of them.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub origin: Origin,
    /// All of its definition, in the same file.
    pub statement: Span,
    /// Its models, in the order in which they are run; one, unless it is a chain.
    pub steps: Vec<Step>,
    /// What a request gives: the columns that the services of the steps ask for, but for predictions of earlier steps.
    pub request: Vec<Column>,
    /// What it answers: the predictions of its last step.
    pub predictions: Vec<Prediction>,
    /// The model that answers where those of the steps do not. It predicts the same, and takes what a request gives.
    pub fallback: Option<String>,
    /// The model that is scored beside it, and does not answer. It takes what a request gives.
    pub shadow: Option<String>,
    /// What is answered where no model does, by prediction.
    pub defaults: IndexMap<String, Literal>,
    /// How candidates are ranked, where the first step's service has them.
    pub ranking: Option<Ranking>,
    /// What may be done with a row, and how that follows from the predictions.
    pub actions: Option<Actions>,
    /// For which share of rows something else is tried.
    pub explore: Option<Explore>,
    /// Everything else.
    pub options: DeploymentOptions,
}

impl Deployment {
    /// The models that are run for it, those of its steps first.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.model.as_str()).chain(self.fallback.as_deref()).chain(self.shadow.as_deref())
    }
}

/// How the candidates of a request are ranked that were scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    /// The predictions that they are ranked by, and whether the greatest comes first. Those that are equal in it keep the order of the service, and those without a prediction come last.
    pub by: Vec<(String, bool)>,
    /// How many of a request are answered at the most.
    pub top: Option<u32>,
    /// The outputs of the service that say which candidate a row is: what was unnested, as it is.
    pub items: Vec<String>,
}

/// A model in a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What the deployment calls it; the model's name, unless it is a chain.
    pub name: String,
    /// The model.
    pub model: String,
    /// Where it is named.
    pub origin: Origin,
    /// The columns of its service's request that are predictions of earlier steps, under the same name and of the same type, and which step predicts each.
    pub given: IndexMap<String, String>,
    /// The columns of its service's request that are outputs of the first step's service, which has candidates: what it gives of the candidate at hand, under the same name.
    pub of_candidate: Vec<String>,
}

/// How a deployment is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentOptions {
    /// How long a model may take; longer than nothing.
    pub timeout: Interval,
    /// How long a request waits for others that it is run together with, where no thread is free; not longer than the timeout.
    pub max_wait: Interval,
    /// Most rows that are run together; from 1.
    pub max_batch: u32,
    /// Most requests that wait; from 1. More are refused.
    pub queue: u32,
    /// Threads that run the model; from 1.
    pub threads: u32,
    /// What is done where a feature has no value.
    pub when_missing: When,
    /// What is done where a feature is stale.
    pub when_stale: When,
    /// How old the oldest input of a row may be before the row is stale.
    pub max_age: Option<Interval>,
}

impl Default for DeploymentOptions {
    fn default() -> Self {
        DeploymentOptions {
            timeout: Interval::milliseconds(1_000),
            max_wait: Interval::milliseconds(2),
            max_batch: 256,
            queue: 1_024,
            threads: 2,
            when_missing: When::Score,
            when_stale: When::Score,
            max_age: None,
        }
    }
}

/// What is done with a row of which a feature is missing or stale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// The model is asked all the same: what is missing is NaN.
    #[default]
    Score,
    /// The fallback is asked.
    Fallback,
    /// The defaults are the answer.
    Default,
}
