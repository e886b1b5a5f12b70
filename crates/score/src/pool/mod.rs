//! Sessions of one model that requests share: loaded and warm before the first request, bounded in every direction.
//!
//! A pool has threads of its own, each with a session, so that nobody else runs a model, waits while one loads, or is lost to one that hangs. A request that finds a thread idle is
//! run at once and alone; what comes while all of them run waits, and is put together by whoever becomes free. Sessions promise that a row's values do not depend on the rows
//! beside it, so that none of this can change a bit. A few rows of a model that cannot hang ([`Model::brief`]) are run by whoever asks.
//!
//! - What waits is bounded: more is refused ([`PoolError::Full`]).
//! - What is past its deadline when its turn comes is not begun ([`PoolError::Late`]).
//! - A session that panics is thrown away, and another one made ([`PoolError::Panicked`]).
//! - A run that takes longer than it may has its thread taken out of the pool, and another thread takes its place, up to a bound ([`PoolError::TimedOut`]). A thread that comes
//!   back after all is used again. Where all hang, requests are refused until one comes back ([`PoolError::Stuck`]).
//!
//! When to stop asking a model that fails is for whoever asks: a breaker stands before the pool, not in it.

mod asked;
mod brief;
mod rows;
mod state;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::asked::{Asked, tell};
pub use self::asked::{Pending, Teller};
use self::state::State;
pub use self::state::{Counted, Figures};
use crate::{Model, RunError, Tensor, sample};

/// Threads that hang, beyond as many as the pool has, before none takes their place any more.
const HUNG_MORE: usize = 2;

/// How a pool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Threads, each with a session.
    pub threads: usize,
    /// Most rows of a run.
    pub max_batch: usize,
    /// How long what waits may wait for more to come, where no thread is idle.
    pub max_wait: Duration,
    /// Runs that may wait: a request of more rows than a run has is several.
    pub queue: usize,
    /// How long a run may take before its thread is given up.
    pub timeout: Duration,
    /// How long all sessions may take to load and to run their first rows.
    pub warm_within: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions {
            threads: 2,
            max_batch: 256,
            max_wait: Duration::ZERO,
            queue: 1024,
            timeout: Duration::from_secs(1),
            warm_within: Duration::from_secs(60),
        }
    }
}

/// Why a pool gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// As many wait as may.
    #[error("{0} runs of the model wait already · try again in a moment, or give it more threads")]
    Full(usize),
    /// Its deadline had passed before it was begun.
    #[error("the request's time was over before the model was run")]
    Late,
    /// The run took longer than it may.
    #[error("it did not answer within {0:?}")]
    TimedOut(Duration),
    /// The model panicked.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// The model said what is wrong.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Every thread hangs.
    #[error("all threads of the model hang, {0} of them · it is run again once one comes back; else the server has to be started anew")]
    Stuck(usize),
    /// The pool has ended.
    #[error("the model is about to be put away · try again in a moment")]
    Ended,
    /// No thread could be had.
    #[error("no thread could be started for the model: {0}")]
    NoThread(String),
}

/// Sessions of a model.
pub struct Pool {
    shared: Arc<Shared>,
    watch: Mutex<Option<thread::JoinHandle<()>>>,
}

/// What the pool and its threads share.
struct Shared {
    model: Arc<dyn Model>,
    /// Rows that a session runs before it takes requests.
    samples: Vec<Vec<Tensor>>,
    options: PoolOptions,
    state: Mutex<State>,
    /// Something waits, or the end has come.
    work: Condvar,
    /// Something runs, or the end has come: for the thread that watches.
    watch: Condvar,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("runtime", &self.shared.model.runtime()).field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Pool {
    /// Loads a session in each thread and runs `samples` through it; it is warm when this returns. Without samples, a row at random stands in.
    ///
    /// # Errors
    /// What a session or its samples failed with; [`PoolError::TimedOut`] where they take too long.
    pub fn new(model: Arc<dyn Model>, options: PoolOptions, samples: Vec<Vec<Tensor>>) -> Result<Pool, PoolError> {
        let options = PoolOptions { threads: options.threads.max(1), max_batch: options.max_batch.max(1), ..options };
        let samples = if samples.is_empty() { vec![sample(model.inputs(), 1, 0)] } else { samples };
        let (work, watch) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { model, samples, options, state: Mutex::default(), work, watch });
        let watched = Arc::clone(&shared);
        let watch = thread::Builder::new().name("score-watch".to_owned()).spawn(move || watch::watch(&watched)).map_err(no_thread)?;
        // Dropped on any way out below, which ends what was started.
        let pool = Pool { shared, watch: Mutex::new(Some(watch)) };
        let (teller, told) = mpsc::sync_channel(options.threads);
        for _ in 0..options.threads {
            worker::start(&pool.shared, &mut pool.shared.lock(), Some(teller.clone()))?;
        }
        let until = now() + options.warm_within;
        for _ in 0..options.threads {
            let warm = told.recv_timeout(until.saturating_duration_since(now()));
            warm.map_err(|_| PoolError::TimedOut(options.warm_within))??;
        }
        Ok(pool)
    }

    /// Hands rows over: one tensor an input, all of as many rows. What comes of them can be awaited, or waited for. A few rows of a model that cannot hang are run before this returns.
    ///
    /// # Errors
    /// [`PoolError::Run`] where they are not what the model takes; [`PoolError::Full`], [`PoolError::Late`], [`PoolError::Stuck`], [`PoolError::Ended`].
    #[must_use = "rows that nobody waits for are not run"]
    pub fn submit(&self, tensors: Vec<Tensor>, deadline: Option<Instant>) -> Pending {
        self.shared.submit(tensors, deadline, None)
    }

    /// As [`Self::submit`]; `teller` is told how it ended, also where whoever asked is gone by then.
    #[must_use = "rows that nobody waits for are not run"]
    pub fn submit_telling(&self, tensors: Vec<Tensor>, deadline: Option<Instant>, teller: Teller) -> Pending {
        self.shared.submit(tensors, deadline, Some(teller))
    }

    /// Runs rows, and waits for them on this thread.
    ///
    /// # Errors
    /// As [`Self::submit`]; whatever becomes of the run.
    pub fn run(&self, tensors: Vec<Tensor>, deadline: Option<Instant>) -> Result<Vec<Tensor>, PoolError> {
        self.submit(tensors, deadline).wait()
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.shared.model
    }

    /// How it runs.
    pub fn options(&self) -> PoolOptions {
        self.shared.options
    }

    /// How it stands, and what it has done.
    pub fn figures(&self) -> Figures {
        self.shared.lock().figures()
    }

    /// Takes no more, and lets what waits and runs end; returns once it has. Threads that hang are left behind.
    pub fn finish(&self) {
        self.shared.end();
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = watch {
            // It goes last, and does nothing that could panic.
            let _ = watch.join();
        }
    }
}

impl Drop for Pool {
    /// Ends without waiting: whoever drops the last of it may be answering a request.
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics between two steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ending = true;
        self.work.notify_all();
        self.watch.notify_all();
    }

    fn submit(&self, tensors: Vec<Tensor>, deadline: Option<Instant>, teller: Option<Teller>) -> Pending {
        let came = now();
        let refused = |teller: Option<Teller>, error: PoolError| {
            tell(teller, &Err(error.clone()));
            Pending::ended(Err(error))
        };
        if let Err(error) = rows::check(&tensors, self.model.inputs()) {
            return refused(teller, error.into());
        }
        if deadline.is_some_and(|deadline| deadline <= came) {
            self.lock().counted.late += 1;
            return refused(teller, PoolError::Late);
        }
        if let Some(brief) = self.brief(&tensors) {
            return Pending::ended(self.run_here(brief, &tensors, teller));
        }
        // Cut before the lock is taken, since it copies.
        let blocks = rows::blocks(tensors, self.options.max_batch);
        let many = blocks.len() > 1;
        let asked = Arc::new(Asked::new(blocks.len(), came, deadline, teller));
        let put = self.lock().put(&asked, blocks, &self.options);
        if let Err(error) = put {
            asked.block_ended(0, Err(error));
            return Pending::of(asked);
        }
        if many {
            self.work.notify_all()
        } else {
            self.work.notify_one()
        }
        Pending::of(asked)
    }

    /// A session that has run the samples.
    fn session(&self) -> Result<Box<dyn crate::Session>, PoolError> {
        let make = || -> Result<Box<dyn crate::Session>, PoolError> {
            let mut session = self.model.session()?;
            for sample in &self.samples {
                session.run(sample)?;
            }
            Ok(session)
        };
        catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| Err(panicked(&*panic)))
    }

    /// What a run of so many rows came to, or that it panicked. Outputs are held to what a session promises, since they are taken apart by it.
    fn caught(&self, rows: usize, run: impl FnOnce() -> Result<Vec<Tensor>, RunError>) -> Result<Vec<Tensor>, PoolError> {
        let outcome = catch_unwind(AssertUnwindSafe(run));
        let outputs = outcome.map_or_else(|panic| Err(panicked(&*panic)), |run| run.map_err(PoolError::from))?;
        match outputs.iter().find(|output| output.shape.first() != Some(&rows)) {
            None => Ok(outputs),
            Some(wrong) => {
                let reason = format!("{rows} rows went in, and an output of shape {:?} came out", wrong.shape);
                Err(RunError::Failed { runtime: self.model.runtime(), reason }.into())
            }
        }
    }
}

/// What a panic said.
fn panicked(panic: &(dyn std::any::Any + Send)) -> PoolError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    PoolError::Panicked(text.unwrap_or_else(|| "without a word".to_owned()))
}

fn no_thread(error: std::io::Error) -> PoolError {
    PoolError::NoThread(error.to_string())
}

#[allow(clippy::disallowed_methods, reason = "compared with deadlines; no prediction depends on it")]
fn now() -> Instant {
    Instant::now()
}
