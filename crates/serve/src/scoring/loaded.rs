//! A model that is loaded: bound to its service's features, in a pool of sessions, behind a breaker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_model::{Clock, Error};
use lockstep_score::{Figures, Model, Pool, PoolError, PoolOptions, RunError, Tensor, sample};
use tonic::Code;

use super::Bound;
use crate::server::{Breaker, BreakerSettings, Failure, Seen};

/// Most rows that a session runs before it takes requests.
const SAMPLE_ROWS_MAX: usize = 256;
const SAMPLE_SEED: u64 = 0;

/// A model that is loaded.
pub struct Loaded {
    /// What goes into it and comes out.
    pub bound: Bound,
    pool: Pool,
    breaker: Arc<Breaker>,
}

/// Why a model gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It was not asked: it has failed or stalled several times.
    NotAsked,
    /// It was asked.
    Pool(PoolError),
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("model", &self.bound.name).field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Loaded {
    /// Loads `model`, which is that of `bound` but in tests, and warms it.
    ///
    /// # Errors
    /// Data where it cannot be run.
    pub fn new(bound: Bound, model: Arc<dyn Model>, options: PoolOptions, breaker: BreakerSettings, clock: &Arc<dyn Clock>) -> Result<Loaded, Error> {
        let samples = [1, options.max_batch.min(SAMPLE_ROWS_MAX)].map(|rows| sample(model.inputs(), rows, SAMPLE_SEED));
        let failed = |error: PoolError| {
            let advice = "the release before it goes on serving · look at the model, or deploy another";
            Error::data(format!("load model `{}`: {error} · {advice}", bound.name)).caused_by(error)
        };
        let pool = Pool::new(model, options, samples.into()).map_err(failed)?;
        // As long as it may wait for a thread, and then be run.
        let stall = options.timeout.saturating_mul(2);
        let breaker = Breaker::new(BreakerSettings { stall, ..breaker }, Arc::clone(clock));
        Ok(Loaded { bound, pool, breaker })
    }

    /// Runs rows.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn run(&self, tensors: Vec<Tensor>, rows: usize, until: Option<Instant>) -> Result<Vec<Tensor>, Trouble> {
        let turns = self.turns(rows);
        let pass = self.breaker.admit(turns).map_err(|_| Trouble::NotAsked)?;
        let timeout = self.pool.options().timeout.saturating_mul(turns);
        let (deadline, is_own) = deadline(timeout, until);
        // Whoever had to wait for a thread for as long as the model may take has waited for a slow model.
        let is_slow = move |error: &PoolError| is_own && *error == PoolError::Late;
        // Told by the pool, since whoever asked may be gone before a model that hangs is given up.
        let tell = move |outcome: Result<(), &PoolError>| match outcome {
            Ok(()) => pass.ended(true),
            Err(error) if says_nothing(error) && !is_slow(error) => pass.withdrawn(),
            Err(_) => pass.ended(false),
        };
        let outcome = self.pool.submit_telling(tensors, deadline, Box::new(tell)).await;
        outcome.map_err(|error| Trouble::Pool(if is_slow(&error) { PoolError::TimedOut(timeout) } else { error }))
    }

    /// How many runs follow each other for so many rows.
    fn turns(&self, rows: usize) -> u32 {
        let PoolOptions { max_batch, threads, .. } = self.pool.options();
        u32::try_from(rows.div_ceil(max_batch).div_ceil(threads).max(1)).unwrap_or(u32::MAX)
    }

    /// How its pool stands.
    pub fn figures(&self) -> Figures {
        self.pool.figures()
    }

    /// How its breaker stands.
    pub fn breaker(&self) -> Seen {
        self.breaker.seen()
    }

    /// Ends its threads; what waits is answered before.
    pub fn finish(&self) {
        self.pool.finish();
    }
}

/// Until when rows have to be begun, and whether that is the model's own bound and not the caller's: what answers in its place needs some time, too.
#[allow(clippy::disallowed_methods, reason = "compared with deadlines; no prediction depends on it")]
fn deadline(timeout: Duration, until: Option<Instant>) -> (Option<Instant>, bool) {
    match (Instant::now().checked_add(timeout), until) {
        (Some(own), Some(until)) if until < own => (Some(until), false),
        (Some(own), _) => (Some(own), true),
        (None, until) => (until, false),
    }
}

/// What is no fault of the model: there are too many requests, or the caller had too little time, or gave what the model does not take.
fn says_nothing(error: &PoolError) -> bool {
    matches!(error, PoolError::Full(_) | PoolError::Late | PoolError::Ended | PoolError::Run(RunError::Inputs(_)))
}

impl Trouble {
    /// What is told of it.
    pub fn failure(&self, model: &str) -> Failure {
        let code = match self {
            Trouble::Pool(PoolError::Full(_)) => Code::ResourceExhausted,
            Trouble::Pool(PoolError::Late | PoolError::TimedOut(_)) => Code::DeadlineExceeded,
            Trouble::Pool(PoolError::Panicked(_) | PoolError::Run(_)) => Code::Internal,
            Trouble::NotAsked | Trouble::Pool(PoolError::Stuck(_) | PoolError::Ended | PoolError::NoThread(_)) => Code::Unavailable,
        };
        Failure::new(code, format!("model `{model}`: {self}"))
    }

    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Trouble::NotAsked => "breaker",
            Trouble::Pool(PoolError::Full(_)) => "shed",
            Trouble::Pool(PoolError::Late) => "late",
            Trouble::Pool(PoolError::TimedOut(_)) => "timed_out",
            Trouble::Pool(PoolError::Panicked(_)) => "panicked",
            Trouble::Pool(PoolError::Stuck(_)) => "stuck",
            Trouble::Pool(PoolError::Run(_) | PoolError::Ended | PoolError::NoThread(_)) => "failed",
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::NotAsked => f.write_str("it has failed or stalled several times, and is tried again in a moment"),
            Trouble::Pool(error) => error.fmt(f),
        }
    }
}
