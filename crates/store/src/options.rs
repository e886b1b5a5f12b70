//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lockstep_model::{Clock, SystemClock};

use crate::CrashPlan;

/// When commits are forced to the disk. Every commit reaches the operating system at once and survives the end of the process; this is
/// about power cuts, after which the store reopens at the last forced commit or a later one, and sources are read again from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// With every commit: for sources that cannot be read again.
    Always,
    /// With the first commit after this much time since the last; the tail of a source that falls silent waits for
    /// [`crate::OnlineStore::sync`] or for the end.
    Interval(Duration),
    /// When the store is closed or told to.
    OnClose,
}

/// Settings of a store that do not change what it holds.
#[derive(Clone)]
pub struct StoreOptions {
    /// The verb that opens it, for whoever finds it taken.
    pub verb: String,
    /// Bound on blocks, filters, indexes and memtables in memory, in bytes.
    pub block_cache_bytes: usize,
    /// Size of one memtable of state, in bytes; the dedup index has half of it.
    pub write_buffer_bytes: usize,
    /// Size at which a bulk load starts its next file, in bytes.
    pub bulk_file_bytes: u64,
    /// Threads for flushes and compactions.
    pub background_jobs: usize,
    /// When commits are forced to the disk.
    pub sync: SyncPolicy,
    /// Where to crash, in tests.
    pub crash: CrashPlan,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl StoreOptions {
    /// Settings for a machine that does other things too: 256 MiB of cache, a sync a second.
    pub fn new(verb: impl Into<String>) -> Self {
        StoreOptions {
            verb: verb.into(),
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            bulk_file_bytes: 64 << 20,
            background_jobs: std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8)),
            sync: SyncPolicy::Interval(Duration::from_secs(1)),
            crash: CrashPlan::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("verb", &self.verb)
            .field("block_cache_bytes", &self.block_cache_bytes)
            .field("write_buffer_bytes", &self.write_buffer_bytes)
            .field("bulk_file_bytes", &self.bulk_file_bytes)
            .field("background_jobs", &self.background_jobs)
            .field("sync", &self.sync)
            .field("crash", &self.crash)
            .finish_non_exhaustive()
    }
}
