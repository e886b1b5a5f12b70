//! One request from beginning to end, whatever the protocol.

use std::sync::Arc;

use arrow::array::RecordBatch;
use lockstep_model::{Error, EventTime, TimeMode};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::Code;

use super::failure::Failure;
use super::limits::Limits;
use crate::Pushes;
use crate::desk::{self, Answered, Wanted};
use crate::live::{Live, State};
use crate::metrics::Metrics;

/// Rows of a request that is answered where it is: some hundreds of microseconds.
const ROWS_AT_ONCE: usize = 64;
/// Rows of one part of a streamed answer.
pub const PART_ROWS: usize = 1024;
/// Large requests that may wait for their turn.
const WAITING_MAX: usize = 64;
/// Pushes at once: each waits for the disk on a thread of its own, and those that come together share a force.
const PUSHING_MAX: usize = 256;

/// What answers requests.
pub struct Service {
    /// What it answers from.
    pub live: Arc<Live>,
    /// Bounds on requests.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where pushes go; `None` where nothing is applied here.
    pub pushes: Option<Box<dyn Pushes>>,
    /// When it was started.
    pub since: EventTime,
    waiting: Semaphore,
    large: Arc<Semaphore>,
    pushing: Semaphore,
}

/// A request that was found to be one.
#[derive(Debug)]
pub struct Asked {
    /// The state that it is answered from.
    pub state: Arc<State>,
    /// What is wanted.
    pub wanted: Wanted,
    /// What it is asked with.
    pub rows: RecordBatch,
    /// The moment of each row, µs.
    pub moments: Vec<i64>,
    /// The moment of all rows, where it was not given.
    pub now: Option<i64>,
    /// The clock that is to count.
    pub time: Option<TimeMode>,
}

/// What a request says beside its columns.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// A service or view, or nothing.
    pub name: &'a str,
    /// The outputs wanted.
    pub features: &'a [String],
    /// The definitions to answer by; those that serve where absent.
    pub definitions: Option<u64>,
    /// The moments given, µs.
    pub as_of: &'a [i64],
    /// The clock that is to count.
    pub time: Option<TimeMode>,
    /// Whether the answer is streamed.
    pub streamed: bool,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("live", &self.live).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Service {
    /// What answers requests from a store.
    pub fn new(live: Arc<Live>, pushes: Option<Box<dyn Pushes>>, limits: Limits, metrics: Arc<Metrics>) -> Service {
        let large = Arc::new(Semaphore::new(limits.large_at_once));
        let since = live.now();
        Service { live, limits, metrics, pushes, since, waiting: Semaphore::new(WAITING_MAX), large, pushing: Semaphore::new(PUSHING_MAX) }
    }

    /// Finds what a request asks for; `rows` reads its columns. Definitions that are pinned may have to be compiled first, so that such a request is not for the
    /// thread that took it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn ask(&self, head: &Head<'_>, rows: impl FnOnce(&Wanted) -> Result<RecordBatch, Error>) -> Result<Asked, Failure> {
        let state = match head.definitions {
            None => self.live.state()?,
            Some(version) => self.live.pinned(version)?,
        };
        let wanted = Wanted::find(state.catalog(), head.name, head.features)?;
        let rows = rows(&wanted)?;
        self.limits.check_rows(rows.num_rows(), head.streamed)?;
        let now = head.as_of.is_empty().then(|| self.live.now().0);
        let moments = desk::moments_of(head.as_of, rows.num_rows(), now.unwrap_or_default())?;
        Ok(Asked { state, wanted, rows, moments, now, time: head.time })
    }

    /// Answers a request, on this thread.
    ///
    /// # Errors
    /// As a lookup.
    pub fn answer(&self, asked: &Asked) -> Result<Answered, Failure> {
        let answered = desk::answer(&asked.state, self.live.lags(), &asked.wanted, &asked.rows, &asked.moments, asked.time)?;
        self.metrics.answered(asked.wanted.name(), &answered);
        Ok(answered)
    }

    /// Answers a request, here or on a thread of its own, and makes a reply of it there.
    ///
    /// # Errors
    /// As a lookup; ResourceExhausted where too many large requests wait already.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        asked: Asked,
        reply: impl FnOnce(&Asked, Answered) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if asked.moments.len() <= ROWS_AT_ONCE {
            let answered = self.answer(&asked)?;
            return reply(&asked, answered);
        }
        let service = Arc::clone(self);
        self.apart(move || reply(&asked, service.answer(&asked)?)).await
    }

    /// Does what waits for the disk on a thread of its own.
    ///
    /// # Errors
    /// Those of `work`; ResourceExhausted where too many wait already.
    pub async fn push<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
        let full = |_| Failure::new(Code::ResourceExhausted, format!("{PUSHING_MAX} pushes wait already · try again in a moment"));
        let _place = self.pushing.try_acquire().map_err(full)?;
        let lost = |error| Failure::new(Code::Internal, format!("whether the push was taken is not known: {error} · repeat it"));
        // Not dropped with who asked: what was begun is written.
        spawn_blocking(work).await.map_err(lost)?
    }

    /// Does what takes long on a thread of its own, a few at once. What nobody waits for any more when its turn comes is not done.
    ///
    /// # Errors
    /// Those of `work`; ResourceExhausted where too many wait already.
    pub async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
        let full = |_| Failure::new(Code::ResourceExhausted, format!("{WAITING_MAX} large requests wait already · try again in a moment"));
        let _waiting = self.waiting.try_acquire().map_err(full)?;
        let closed = |_| Failure::new(Code::Unavailable, "the server is about to end");
        let turn = Arc::clone(&self.large).acquire_owned().await.map_err(closed)?;
        let (teller, told) = oneshot::channel();
        spawn_blocking(move || {
            let _turn = turn;
            if !teller.is_closed() {
                // Whoever waited may be gone by now.
                let _ = teller.send(work());
            }
        });
        let most = self.limits.request_time_max;
        let late = |_| {
            Failure::new(
                Code::DeadlineExceeded,
                format!("the answer took longer than {} s, the most a request may take · ask for less at once", most.as_secs_f64()),
            )
        };
        let lost = |_| Failure::new(Code::Internal, "the request was not answered · please report it with what the server printed");
        timeout(most, told).await.map_err(late)?.map_err(lost)?
    }
}
