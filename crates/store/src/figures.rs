//! What RocksDB says of itself.

use lockstep_model::Error;

use crate::Store;

/// The store's own figures, of all its families together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Blocks in memory, in bytes.
    pub block_cache_bytes: u64,
    /// What is written and not on the disk yet, in bytes.
    pub memtable_bytes: u64,
    /// Files that are read, in bytes.
    pub file_bytes: u64,
    /// What compaction has to rewrite, in bytes.
    pub pending_compaction_bytes: u64,
    /// Compactions that run.
    pub compactions: u64,
    /// Flushes that run.
    pub flushes: u64,
    /// Cuts that are held.
    pub snapshots: u64,
    /// Failures of flushes and compactions since the store was opened.
    pub background_errors: u64,
    /// Whether commits wait for the disk.
    pub writes_stopped: bool,
}

impl Store {
    /// RocksDB's figures, as they are now. Reading them takes some microseconds.
    ///
    /// # Errors
    /// Where RocksDB does not tell.
    pub fn figures(&self) -> Result<Figures, Error> {
        let of_database = |name: &str| {
            self.database.db.property_int_value(name).map(Option::unwrap_or_default).map_err(|error| self.database.explain("read figures", error))
        };
        let of_families = |name: &str| -> Result<u64, Error> {
            let one = |family| self.database.db.property_int_value_cf(family, name).map(Option::unwrap_or_default);
            self.database.families().all().into_iter().map(one).sum::<Result<u64, _>>().map_err(|error| self.database.explain("read figures", error))
        };
        Ok(Figures {
            // Shared by all families.
            block_cache_bytes: of_database("rocksdb.block-cache-usage")?,
            memtable_bytes: of_families("rocksdb.cur-size-all-mem-tables")?,
            file_bytes: of_families("rocksdb.live-sst-files-size")?,
            pending_compaction_bytes: of_families("rocksdb.estimate-pending-compaction-bytes")?,
            compactions: of_database("rocksdb.num-running-compactions")?,
            flushes: of_database("rocksdb.num-running-flushes")?,
            snapshots: of_database("rocksdb.num-snapshots")?,
            background_errors: of_database("rocksdb.background-errors")?,
            writes_stopped: of_database("rocksdb.is-write-stopped")? > 0,
        })
    }
}
