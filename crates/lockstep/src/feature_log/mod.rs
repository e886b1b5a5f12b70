//! The feature log of a server: a share of the vectors that it serves, in Parquet files.
//!
//! A request hands over what it has anyway and goes on; a thread of its own makes files of it ([`keeper`]). What stands between the two is bounded, and what does not fit is dropped and
//! counted, as is what waits in memory when a process is killed. [`files`] says which files count, and what was there before they went.

mod files;
mod keeper;
mod sample;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lockstep_model::Clock;
use lockstep_serve::feature_log::{Asked, FeatureLog, Figures, Pick, Taker, Vectors};

pub use files::{Expired, LogDir, LogFile};

use crate::serving::FeatureLogConfig;
use keeper::Keeper;
use sample::Sampler;

/// Requests that wait for the keeper, and vectors in them.
const REQUESTS_WAITING: usize = 4096;
const VECTORS_WAITING: u64 = 1 << 16;
/// How long a log that ends may take to write what it has.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A feature log that is being written.
pub struct KeptLog {
    sampler: Sampler,
    all_explored: bool,
    sender: SyncSender<Vectors>,
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What the keeper and those who ask about it share.
#[derive(Debug, Default)]
struct Shared {
    /// Vectors between requests and the keeper.
    waiting: AtomicU64,
    /// Vectors that the keeper has, and are in no file.
    held: AtomicU64,
    logged: AtomicU64,
    dropped: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    failing: Mutex<Option<String>>,
    ending: AtomicBool,
}

impl Shared {
    fn fails(&self, why: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

impl std::fmt::Debug for KeptLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptLog").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl KeptLog {
    /// Starts a log in a directory. Nothing is read or written there but by the thread that keeps it.
    pub fn start(config: &FeatureLogConfig, dir: PathBuf, clock: Arc<dyn Clock>) -> Arc<KeptLog> {
        let (sender, receiver) = sync_channel(REQUESTS_WAITING);
        let shared = Arc::new(Shared::default());
        let keeper = Keeper::new(config, LogDir::new(dir), clock, Arc::clone(&shared));
        let keeper = thread::Builder::new().name("feature log".to_owned()).spawn(move || keeper.run(&receiver));
        if let Err(error) = &keeper {
            shared.fails(Some(format!("start its thread: {error}")));
        }
        let (sampler, all_explored) = (Sampler::new(config.share.0), config.all_explored);
        Arc::new(KeptLog { sampler, all_explored, sender, shared, keeper: Mutex::new(keeper.ok()) })
    }

    /// Writes what there is, and ends. A disk that does not answer is not waited for.
    pub fn finish(&self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        let Some(keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        for _ in 0..FINISH_WITHIN.as_millis() / LOOK_EVERY.as_millis() {
            if keeper.is_finished() {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        tracing::warn!("the feature log could not be written within {FINISH_WITHIN:?}, and what waits in memory is lost");
    }

    fn lose(&self, vectors: u64) {
        self.shared.dropped.fetch_add(vectors, Ordering::Relaxed);
    }
}

impl Taker for KeptLog {
    fn pick(&self, asked: &Asked<'_>) -> Pick {
        self.sampler.pick(asked)
    }

    fn take(&self, vectors: Vectors) {
        let count = keeper::count(&vectors);
        // A few too many, where several come at once, are no harm.
        if self.shared.waiting.load(Ordering::Relaxed) + count > VECTORS_WAITING {
            return self.lose(count);
        }
        self.shared.waiting.fetch_add(count, Ordering::Relaxed);
        if self.sender.try_send(vectors).is_err() {
            self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
            self.lose(count);
        }
    }

    fn takes_explored(&self) -> bool {
        self.all_explored
    }
}

impl FeatureLog for KeptLog {
    fn figures(&self) -> Figures {
        let Shared { waiting, held, logged, dropped, files, bytes, failing, .. } = &*self.shared;
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Figures {
            share: self.sampler.share(),
            logged: of(logged),
            dropped: of(dropped),
            waiting: of(waiting) + of(held),
            files: of(files),
            bytes: of(bytes),
            failing: failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
