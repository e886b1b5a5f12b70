//! Predictions, as they are asked for over a connection.

use std::time::Duration;

use crate::UnknownFeature;
use crate::client::{Feature, moments};
use crate::proto::{self, Metadata, RequestColumn, ScoreRequest, ScoreResponse, TimeMode, Way};
use crate::values::Column;

/// What is to be scored.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub(crate) request: ScoreRequest,
    pub(crate) deadline: Option<Duration>,
}

impl Rows {
    /// Rows of a deployment.
    pub fn of(deployment: impl Into<String>) -> Rows {
        Rows { request: ScoreRequest { deployment: deployment.into(), ..ScoreRequest::default() }, deadline: None }
    }

    /// A column that the deployment is asked with: a value for each row.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, values: impl Column) -> Rows {
        self.request.columns.push(RequestColumn { name: name.into(), values: Some(values.into_values()) });
        self
    }

    /// The moment of every row, µs since 1970, UTC; now where none is given.
    #[must_use]
    pub fn as_of(mut self, micros: i64) -> Rows {
        self.request.as_of_micros = vec![micros];
        self
    }

    /// A moment for each row, µs since 1970, UTC.
    #[must_use]
    pub fn as_of_each(mut self, micros: Vec<i64>) -> Rows {
        self.request.as_of_micros = micros;
        self
    }

    /// Which clock counts.
    #[must_use]
    pub fn time(mut self, time: TimeMode) -> Rows {
        self.request.time = time.into();
        self
    }

    /// How much is to be said beside the predictions.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Rows {
        self.request.metadata = metadata.into();
        self
    }

    /// The features that went into the models are wanted, too.
    #[must_use]
    pub fn with_features(mut self) -> Rows {
        self.request.features = true;
        self
    }

    /// A name for this request, which comes back.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Rows {
        self.request.request_id = id.into();
        self
    }

    /// Answer only where the pointer to what serves has been moved at least so often, as an earlier answer or a promotion said.
    #[must_use]
    pub fn min_epoch(mut self, epoch: u64) -> Rows {
        self.request.min_epoch = Some(epoch);
        self
    }

    /// How long the answer may take; the server drops it unread after that.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Rows {
        self.deadline = Some(deadline);
        self
    }

    /// The message.
    pub fn into_message(self) -> ScoreRequest {
        self.request
    }
}

/// What is to be done with a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What its request is called.
    pub request_id: String,
    /// Its place in the request.
    pub row: u32,
    /// The action; empty where none follows from what was predicted.
    pub action: String,
    /// With which probability it was given that, over all draws.
    pub propensity: f64,
    /// Whether it was drawn.
    pub explored: bool,
}

impl Decision {
    pub(crate) fn into_message(self) -> proto::Decision {
        let Decision { request_id, row, action, propensity, .. } = self;
        proto::Decision { request_id, row, action, propensity: Some(propensity) }
    }
}

/// What came of a row that was scored.
#[derive(Debug, Clone, Default)]
pub struct Outcome(proto::Outcome);

impl Outcome {
    /// Of a row of the request that is called so, known at a moment, µs since 1970, UTC.
    pub fn of(request_id: impl Into<String>, row: u32, known_at_micros: i64) -> Outcome {
        Outcome(proto::Outcome { request_id: request_id.into(), row, outcome_time_micros: Some(known_at_micros), values: Vec::new() })
    }

    /// A value that became known: a list of one truth value, number or text.
    #[must_use]
    pub fn value(mut self, name: impl Into<String>, value: impl Column) -> Outcome {
        self.0.values.push(RequestColumn { name: name.into(), values: Some(value.into_values()) });
        self
    }

    pub(crate) fn into_message(self) -> proto::Outcome {
        self.0
    }
}

/// What was predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores(pub ScoreResponse);

impl Scores {
    /// A prediction by its name.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn prediction(&self, name: &str) -> Result<Feature<'_>, UnknownFeature> {
        self.predictions().find(|prediction| prediction.0.name == name).ok_or_else(|| UnknownFeature(name.to_owned()))
    }

    /// All of them, in order.
    pub fn predictions(&self) -> impl Iterator<Item = Feature<'_>> {
        self.0.predictions.iter().map(Feature)
    }

    /// When the oldest thing happened that went into each row, µs; none where nothing did into any, or metadata was left out.
    pub fn oldest_inputs(&self) -> Vec<Option<i64>> {
        moments(&self.0.oldest_inputs_micros)
    }

    /// How each row came to its predictions.
    pub fn ways(&self) -> Vec<Way> {
        self.0.ways().collect()
    }

    /// What is to be done with each row, and what is to be said of it where that is reported; nothing where the deployment has no actions.
    pub fn decisions(&self) -> Vec<Decision> {
        let ScoreResponse { request_id, actions, propensities, explored, .. } = &self.0;
        let each = actions.iter().zip(propensities).zip(explored).zip(0u32..);
        each.map(|(((action, propensity), explored), row)| Decision {
            request_id: request_id.clone(),
            row,
            action: action.clone(),
            propensity: *propensity,
            explored: *explored,
        })
        .collect()
    }

    /// Whether the caller is to do something else with each row than the best, where the deployment explores and has no actions.
    pub fn explore(&self) -> &[bool] {
        &self.0.explore
    }
}
