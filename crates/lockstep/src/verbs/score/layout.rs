//! What is written of each row that is scored in a batch.

use std::sync::Arc;

use anyhow::Result;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lockstep_model::Error;
use lockstep_serve::scoring::{Deployed, Stage};
use lockstep_transform::definition::OLDEST_INPUT_AT;

use crate::train::{Asked, Spine};

/// The columns that say how a row came to its predictions, and why it did not go the way of the model.
const SCORED_BY: &str = "scored_by";
const SCORED_WHY: &str = "scored_why";
/// These, and when the oldest thing happened that went into a row.
pub(super) const TOLD: usize = 3;
/// The columns that say what was decided of a row, where the deployment has actions or explores.
const ACTION: &str = "action";
const PROPENSITY: &str = "propensity";
const EXPLORED: &str = "explored";
/// These.
const DECIDED: usize = 3;

/// What is written of each row.
pub(super) struct Layout<'a> {
    pub(super) deployed: &'a Deployed,
    /// What is predicted: of candidates, lists of these and of their predictions.
    pub(super) predicted: SchemaRef,
    asked: &'a [Arc<Asked>],
    /// Whether features are.
    pub(super) features: bool,
}

impl<'a> Layout<'a> {
    /// Of a deployment and the services that its models take features of.
    pub(super) fn new(deployed: &'a Deployed, asked: &'a [Arc<Asked>], features: bool) -> Layout<'a> {
        Layout { deployed, predicted: predicted(deployed, asked), asked, features }
    }

    /// The features of each step that are written, by their places among the outputs of its service: each under its name, and that of its step before it where there are several. Of candidates
    /// they are lists beside those of what was predicted, and which ones these are is there already.
    pub(super) fn by_step(&self) -> Vec<(&'a Stage, Vec<(usize, Field)>)> {
        let Deployed { steps, ranking, asked: request, .. } = self.deployed;
        let is_item = |step: usize, output: usize| step == 0 && ranking.as_ref().is_some_and(|ranking| ranking.items.contains(&output));
        let of_step = |(at, stage): (usize, &'a Stage)| {
            let asked = self.asked.iter().find(|asked| asked.name == stage.model.bound.service);
            let schema = asked.map(|asked| asked.features());
            let fields = schema.iter().flat_map(|schema| schema.fields().iter()).enumerate().filter(|&(output, _)| !is_item(at, output));
            let written = fields.map(|(output, field)| {
                let name = field.name();
                // A request is one value, and what a service repeats of it for each candidate would take its name.
                let is_prefixed = steps.len() > 1 || (ranking.is_some() && request.fields().find(name).is_some());
                let name = if is_prefixed { format!("{}_{name}", stage.name) } else { name.clone() };
                let is_of_each = ranking.is_some() && at > 0;
                let data_type = if is_of_each { DataType::new_list(field.data_type().clone(), true) } else { field.data_type().clone() };
                (output, Field::new(name, data_type, true))
            });
            (stage, written.collect())
        };
        self.deployed.steps.iter().enumerate().map(of_step).collect()
    }

    /// The features of all steps.
    pub(super) fn features(&self) -> Vec<Field> {
        self.by_step().into_iter().flat_map(|(_, written)| written).map(|(_, field)| field).collect()
    }

    /// What comes behind the columns that are carried along.
    fn own(&self) -> Vec<Field> {
        let mut fields: Vec<Field> = self.predicted.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.extend([Field::new(SCORED_BY, DataType::Utf8, false), Field::new(SCORED_WHY, DataType::Utf8, true)]);
        fields.push(Field::new(OLDEST_INPUT_AT, DataType::Timestamp(TimeUnit::Microsecond, None), true));
        if self.deployed.policy.is_some() {
            let (action, propensity) = (Field::new(ACTION, DataType::Utf8, true), Field::new(PROPENSITY, DataType::Float64, true));
            fields.extend([action, propensity, Field::new(EXPLORED, DataType::Boolean, false)]);
        }
        if self.features {
            fields.extend(self.features());
        }
        fields
    }

    /// How many columns stand before the features.
    pub(super) fn before_features(&self) -> usize {
        self.predicted.fields().len() + TOLD + if self.deployed.policy.is_some() { DECIDED } else { 0 }
    }

    /// The columns of the spine that are carried along: all, but for those that a feature repeats which is written.
    pub(super) fn carried(&self, spine: &Spine) -> Result<Vec<usize>> {
        let (own, request) = (self.own(), self.deployed.asked.fields());
        let predicted = self.before_features();
        let mut carried = Vec::new();
        for (at, field) in spine.columns.fields().iter().enumerate() {
            let name = field.name();
            match own.iter().position(|own| own.name() == name) {
                None => carried.push(at),
                Some(place) if place >= predicted && at != spine.timestamp && request.find(name).is_some() => {}
                Some(_) => {
                    let what = format!("the spine has a column `{name}`, and so have the scores of `{}`", self.deployed.name);
                    return Err(Error::invalid(format!("{what} · rename the spine's")).into());
                }
            }
        }
        Ok(carried)
    }

    /// All columns.
    pub(super) fn schema(&self, spine: &Spine, carried: &[usize]) -> SchemaRef {
        let carried = carried.iter().map(|&at| spine.columns.field(at).clone());
        Arc::new(Schema::new(carried.chain(self.own()).collect::<Vec<_>>()))
    }
}

/// What is predicted of a row: of candidates, which ones they are, and their predictions, each a list in the order in which they are ranked.
fn predicted(deployed: &Deployed, asked: &[Arc<Asked>]) -> SchemaRef {
    let (Some(ranking), Some(first)) = (&deployed.ranking, deployed.steps.first()) else { return Arc::clone(&deployed.schema) };
    let features = asked.iter().find(|asked| asked.name == first.model.bound.service).map(|asked| asked.features());
    let names = ranking.items.iter().map(|&item| &*first.wanted.outputs()[item].name);
    let items = names.filter_map(|name| features.as_ref()?.field_with_name(name).ok().cloned());
    let list = |field: &Arc<Field>| Field::new(field.name(), DataType::new_list(field.data_type().clone(), true), true);
    Arc::new(Schema::new(items.chain(deployed.schema.fields().iter().map(list)).collect::<Vec<_>>()))
}
