//! Scoring as a call, in the process of whoever wants predictions: no server, no network, the same bits.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use futures::executor::block_on;
use lockstep_model::{Error, TimeMode};
use lockstep_transform::definition::sql_name;

use super::deployed::Deployed;
use super::score::{Looked, Lookups, Scored, score};
use crate::Lags;
use crate::desk::{self, Question, Wanted};
use crate::live::{Live, Reach, State};
use crate::server::Failure;

/// Scores by the deployments of what serves.
///
/// ```no_run
/// # fn example(live: std::sync::Arc<lockstep_serve::live::Live>, rows: arrow::array::RecordBatch) -> Result<(), lockstep_model::Error> {
/// let scorer = lockstep_serve::scoring::Scorer::new(live);
/// let scored = scorer.score("late", &rows, &[])?;
/// println!("{:?} by {:?}", scored.predictions, scored.ways);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Scorer {
    live: Arc<Live>,
}

/// Features of one state, read on the thread that asks, which may wait for the disk.
#[derive(Debug, Clone, Copy)]
pub struct FromState<'a> {
    /// The state.
    pub state: &'a State,
    /// How the logs stand.
    pub lags: &'a Lags,
    /// The clock that is to count.
    pub time: Option<TimeMode>,
}

impl Lookups for FromState<'_> {
    async fn look_up(&self, wanted: &Arc<Wanted>, rows: RecordBatch, moments: Vec<i64>) -> Result<Looked, Failure> {
        let question = Question { state: self.state, lags: self.lags, wanted, rows: &rows, moments: &moments, time: self.time };
        Ok(Looked { answered: desk::answer(question, Reach::Disk, None)?, recalled: false })
    }
}

impl Scorer {
    /// By what serves from `live`, which loads models (see [`Live::scoring`]).
    pub fn new(live: Arc<Live>) -> Scorer {
        Scorer { live }
    }

    /// The names of deployments.
    pub fn deployments(&self) -> Vec<String> {
        self.live.last_state().deployments().all().map(|deployed| deployed.name.clone()).collect()
    }

    /// What a deployment is asked with.
    ///
    /// # Errors
    /// NotFound where there is none of the name.
    pub fn asked_with(&self, deployment: &str) -> Result<SchemaRef, Error> {
        Ok(Arc::clone(self.live.last_state().deployments().find(deployment)?.asked.schema()))
    }

    /// What a deployment predicts.
    ///
    /// # Errors
    /// NotFound where there is none of the name.
    pub fn predicts(&self, deployment: &str) -> Result<SchemaRef, Error> {
        Ok(Arc::clone(&self.live.last_state().deployments().find(deployment)?.schema))
    }

    /// Scores rows, each at its moment, µs; of one moment all are, and of none now. The columns are found by their names. It waits for the disk and for the models on this
    /// thread, so that an asynchronous caller puts it on one that may wait.
    ///
    /// # Errors
    /// NotFound where there is no such deployment; Invalid for columns that are missing, unknown or of another type; as a lookup; Unavailable, OutOfRange or Internal where the
    /// model fails and nothing stands in.
    pub fn score(&self, deployment: &str, rows: &RecordBatch, as_of: &[i64]) -> Result<Scored, Error> {
        self.score_request(deployment, "", rows, as_of)
    }

    /// The same for a request that has a name: what is left to chance of its rows is drawn by that.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn score_request(&self, deployment: &str, request_id: &str, rows: &RecordBatch, as_of: &[i64]) -> Result<Scored, Error> {
        let state = self.live.state(Reach::Disk)?;
        let deployed = Arc::clone(state.deployments().find(deployment)?);
        let rows = asked(&deployed, rows)?;
        let moments = desk::moments_of(as_of, rows.num_rows(), self.live.now().0)?;
        score_at(&deployed, FromState { state: &state, lags: self.live.lags(), time: None }, request_id, &rows, &moments)
    }
}

/// Scores rows, which are what the deployment is asked with, on this thread; of a request that is called so, or has no name.
///
/// # Errors
/// As [`Scorer::score`].
pub fn score_at(deployed: &Deployed, from: FromState<'_>, request_id: &str, rows: &RecordBatch, moments: &[i64]) -> Result<Scored, Error> {
    let mut scored = block_on(score(deployed, &from, rows, moments, None)).map_err(Error::from)?;
    scored.decide(deployed, request_id, rows, moments)?;
    Ok(scored)
}

/// The columns that a deployment is asked with, found by their names.
fn asked(deployed: &Deployed, rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let schema = rows.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    desk::rows_of(&deployed.asked, &names, Some(rows.num_rows()), |at, data_type| -> Result<ArrayRef, Error> {
        let column = rows.column(at);
        let other = || Error::invalid(format!("it is {}, and {} was given", sql_name(data_type), sql_name(column.data_type())));
        if column.data_type() == data_type { Ok(Arc::clone(column)) } else { Err(other()) }
    })
}
