//! What a deployment's shadow predicts beside it: of the same rows, of the same state, and told to nobody but the metrics.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch};
use lockstep_transform::service::ByRequest;

use super::deployed::{Deployed, Stage};
use super::ranked::Candidates;
use super::score::{Lookups, Predicted, Scoring};
use crate::server::Failure;

/// What a shadow predicts.
#[derive(Debug)]
pub struct Shadowed {
    /// The rows that it predicts something for, ascending; of a deployment that ranks, the candidates as their service gives them.
    pub rows: Vec<u32>,
    /// Its predictions of these, as its model declares them.
    pub columns: Vec<ArrayRef>,
    /// Which candidates are of which request, where there are any.
    pub by_request: Option<Arc<ByRequest>>,
}

/// What a deployment's shadow predicts for rows. It is given what callers give, and candidates where the deployment ranks them: those of the same service.
///
/// # Errors
/// As [`super::score()`].
pub async fn shadowed<L: Lookups>(
    (deployed, shadow): (&Deployed, &Stage),
    lookups: &L,
    request: &RecordBatch,
    moments: &[i64],
    until: Option<Instant>,
) -> Result<Shadowed, Failure> {
    let Some(first) = deployed.steps.first().filter(|_| deployed.ranking.is_some()) else {
        let mut scoring = Scoring::new(lookups, (request, moments), until);
        return told(scoring.fall_back(shadow, all(moments)).await?, None, scoring.failure);
    };
    let Candidates { looked, by, rows, moments } = Candidates::of(first, lookups, (request, moments)).await?;
    let mut scoring = Scoring::new(lookups, (&rows, &moments), until);
    scoring.first = Some((Arc::clone(&first.wanted), looked));
    told(scoring.fall_back(shadow, all(&moments)).await?, Some(by), scoring.failure)
}

fn all(moments: &[i64]) -> Vec<u32> {
    (0..moments.len() as u32).collect()
}

fn told(predicted: Predicted, by_request: Option<Arc<ByRequest>>, failure: Option<Failure>) -> Result<Shadowed, Failure> {
    let Predicted { rows, columns } = predicted;
    failure.map_or(Ok(Shadowed { rows, columns, by_request }), Err)
}
