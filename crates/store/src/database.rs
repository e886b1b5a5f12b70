//! RocksDB itself, open to write or only to read: what a store and a snapshot have in common.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lockstep_model::Error;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB};

use crate::expiry::Expiry;
use crate::layout::{DEAD_LETTERS, KEYS, META, OUTBOX, REFUSALS, STATE};
use crate::tuning::{self, Memory};
use crate::{StoreOptions, explain, format};

const FAMILIES: [&str; 6] = [STATE, KEYS, META, REFUSALS, DEAD_LETTERS, OUTBOX];

/// RocksDB's own directory within that of a store or a snapshot.
pub(crate) const DATABASE: &str = "db";

/// The database of a store or of a snapshot.
pub(crate) struct Database {
    pub(crate) db: DB,
    /// The directory of the store or the snapshot.
    pub(crate) dir: PathBuf,
    pub(crate) expiry: Expiry,
    /// The first failure of the disk.
    failed: OnceLock<rocksdb::Error>,
}

impl Database {
    /// Opens the database of the store in `dir`, which the caller owns. It is made where there is none.
    pub(crate) fn open(dir: &Path, options: &StoreOptions, memory: &Memory) -> Result<Database, Error> {
        let expiry = Expiry::default();
        let db = DB::open_cf_descriptors(&tuning::database(options, memory), dir.join(DATABASE), families(options, memory, &expiry))
            .map_err(|error| explain::rocks(dir, "open the store", error))?;
        // RocksDB makes its files durable within its directory; that the directory exists is ours to see to.
        format::sync_dir(dir).map_err(|error| explain::io(dir, "open the store", error))?;
        Ok(Database { db, dir: dir.to_owned(), expiry, failed: OnceLock::new() })
    }

    /// Opens the database in `dir` to be read, by nobody knows how many at once: no file is written, and none is locked.
    pub(crate) fn open_to_read(dir: &Path, options: &StoreOptions) -> Result<Database, Error> {
        let (memory, expiry) = (Memory::new(options), Expiry::default());
        let mut database = tuning::database(options, &memory);
        database.create_if_missing(false);
        database.create_missing_column_families(false);
        // What a checkpoint has of the log belongs to it.
        let log_is_an_error = false;
        let families = families(options, &memory, &expiry);
        let db = DB::open_cf_descriptors_read_only(&database, dir.join(DATABASE), families, log_is_an_error)
            .map_err(|error| explain::rocks(dir, "open the snapshot", error))?;
        Ok(Database { db, dir: dir.to_owned(), expiry, failed: OnceLock::new() })
    }

    pub(crate) fn families(&self) -> Families<'_> {
        let family = |name| self.db.cf_handle(name).expect("the database was opened with every family");
        Families {
            state: family(STATE),
            keys: family(KEYS),
            meta: family(META),
            refusals: family(REFUSALS),
            dead_letters: family(DEAD_LETTERS),
            outbox: family(OUTBOX),
        }
    }

    /// Explains a failure while `doing` (a verb phrase). After one, RocksDB refuses to write and says no more than that there was one: what it was is remembered, so that
    /// whoever is told, on whatever thread, is told that.
    pub(crate) fn explain(&self, doing: &str, error: rocksdb::Error) -> Error {
        match self.failed.get() {
            Some(first) if explain::is_aftermath(&error) => explain::rocks(&self.dir, doing, first.clone()),
            _ => {
                if explain::is_of_disk(&error) {
                    let _ = self.failed.set(error.clone());
                }
                explain::rocks(&self.dir, doing, error)
            }
        }
    }
}

fn families(options: &StoreOptions, memory: &Memory, expiry: &Expiry) -> [ColumnFamilyDescriptor; FAMILIES.len()] {
    FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, tuning::family(name, options, memory, expiry)))
}

/// The column families of an open database.
#[derive(Clone, Copy)]
pub(crate) struct Families<'a> {
    pub(crate) state: &'a ColumnFamily,
    pub(crate) keys: &'a ColumnFamily,
    pub(crate) meta: &'a ColumnFamily,
    pub(crate) refusals: &'a ColumnFamily,
    pub(crate) dead_letters: &'a ColumnFamily,
    pub(crate) outbox: &'a ColumnFamily,
}

impl<'a> Families<'a> {
    /// Those whose keys start with a generation.
    pub(crate) fn of_generations(&self) -> [&'a ColumnFamily; 4] {
        [self.state, self.keys, self.refusals, self.dead_letters]
    }

    pub(crate) fn all(&self) -> [&'a ColumnFamily; 6] {
        [self.state, self.keys, self.meta, self.refusals, self.dead_letters, self.outbox]
    }
}
