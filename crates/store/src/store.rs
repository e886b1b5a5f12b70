//! The store on RocksDB: opening, writing, forcing to the disk, checkpoints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockstep_model::{Error, EventTime, Generation};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Options, WriteBatch, WriteOptions};

use crate::applied::AppliedLogs;
use crate::batch::Batch;
use crate::book::Book;
use crate::database::{DATABASE, Database};
use crate::layout::{KEYS, STATE};
use crate::owner::{OwnerLock, Taken};
use crate::snapshot::Opened;
use crate::tuning::{self, Memory};
use crate::{CrashPlan, CrashPoint, Cut, Epoch, FormatStep, OnlineStore, Snapshots, StoreOptions, SyncPolicy};
use crate::{explain, format};

/// Where the logs of applied events lie.
const APPLIED: &str = "applied";
/// Where bulk loads write their files: the same file system, so that they can be moved in.
const BULK: &str = "bulk";

/// A store of online state in a directory of its own.
pub struct Store {
    pub(crate) database: Database,
    pub(crate) options: StoreOptions,
    /// How a bulk load writes files of state and of dedup entries.
    pub(crate) bulk_tables: [Options; 2],
    /// Held while files of a bulk load are moved in.
    pub(crate) ingesting: Mutex<()>,
    /// Held while a snapshot is made or dropped.
    pub(crate) snapshotting: Mutex<()>,
    /// Snapshots that are open.
    pub(crate) opened: Opened,
    book: Mutex<Book>,
    /// Dropped generations whose files may be there still.
    unswept: Mutex<BTreeSet<Generation>>,
    /// Last, so that nobody else can open the store before RocksDB is closed.
    _owner: OwnerLock,
}

/// What came of claiming a store.
#[derive(Debug)]
pub enum Claim {
    /// It is this process's, and open.
    Owned(Box<Store>),
    /// It is another's.
    Taken(Taken),
}

impl Store {
    /// Opens the store in `dir`, which is created if it is not there. Fails as Unavailable where another process owns the store, as
    /// Invalid where its format is newer than this release reads, as Data where it is damaged.
    pub fn open(dir: impl Into<PathBuf>, options: StoreOptions) -> Result<Self, Error> {
        match Store::claim(dir, options)? {
            Claim::Owned(store) => Ok(*store),
            Claim::Taken(taken) => Err(taken.into()),
        }
    }

    /// As [`Self::open`], for whoever can do with another process owning the store.
    pub fn claim(dir: impl Into<PathBuf>, options: StoreOptions) -> Result<Claim, Error> {
        let dir = dir.into();
        create_dir(&dir)?;
        let Some(owner) = OwnerLock::take(&dir, &options.verb, options.clock.now())? else {
            return Ok(Claim::Taken(Taken::new(&dir)));
        };
        format::check_or_mark(&dir, dir.join(DATABASE).exists(), &options.crash)?;
        clean_bulk(&dir)?;
        Snapshots::of(&dir).clean()?;

        let memory = Memory::new(&options);
        let database = Database::open(&dir, &options, &memory)?;
        let bulk_tables = [STATE, KEYS].map(|name| tuning::bulk_tables(name, &options, &memory));
        let store = Store {
            database,
            options,
            bulk_tables,
            ingesting: Mutex::default(),
            snapshotting: Mutex::default(),
            opened: Opened::default(),
            book: Mutex::default(),
            unswept: Mutex::default(),
            _owner: owner,
        };
        store.start()?;
        // What stays takes room, and is no reason not to open.
        if let Err(error) = store.drop_unused_trials() {
            tracing::warn!(%error, "drop snapshots of candidates that were never promoted");
        }
        store.sweep_or_warn();
        Ok(Claim::Owned(Box::new(store)))
    }

    /// Reads the book and starts a new epoch. What recovery found is on the disk by now, so that its rules can be enforced.
    fn start(&self) -> Result<(), Error> {
        let book = self.cut().book()?;
        self.database.expiry.enforce(book.rules.clone());
        self.unswept().extend(book.dropped());
        *self.book() = book;
        self.fence().map(|_| ())
    }

    /// The directory it lies in.
    pub fn dir(&self) -> &Path {
        &self.database.dir
    }

    /// The epoch that commits must carry.
    pub fn epoch(&self) -> Epoch {
        self.book().epoch
    }

    /// A number that is another one after every write, whoever made it.
    pub fn sequence(&self) -> u64 {
        self.database.db.latest_sequence_number()
    }

    /// The version of the definitions that were applied last, 0 for none.
    pub fn definitions_version(&self) -> u64 {
        self.book().definitions
    }

    /// The epoch of the last switch of the release that serves, 0 for none.
    pub fn serving_epoch(&self) -> u64 {
        self.book().releases.epoch()
    }

    /// A view of the whole store at one moment.
    pub fn cut(&self) -> Cut<'_> {
        Cut::new(&self.database)
    }

    /// Marks the store as one of the newest format this release reads, so that no earlier release opens it; gives the steps from the format that it had.
    ///
    /// # Errors
    /// Where the disk fails: then it is of the one format or the other.
    pub fn migrate(&self) -> Result<Vec<FormatStep>, Error> {
        // Nobody raises it meanwhile for what they are about to write.
        let _book = self.book();
        let steps = format::steps_from(format::format_of(self.dir())?.unwrap_or_default()).collect();
        format::raise_to_newest(self.dir(), self.crash())?;
        Ok(steps)
    }

    /// Where the store keeps its logs of applied events.
    pub fn applied_logs(&self) -> AppliedLogs {
        AppliedLogs::new(self.database.dir.join(APPLIED), self.options.crash.clone())
    }

    /// Makes a copy of the store in `dir`, which must not exist and be on the same file system: files are hard links, so that it takes
    /// little time and space. The copy appears whole or not at all, holds every commit made before the call, and opens as a store.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        self.options.crash.hit(CrashPoint::CheckpointBefore);
        if dir.exists() {
            return Err(Error::invalid(format!("{} exists already · a checkpoint needs a new directory · name another", dir.display())));
        }
        let failed = |error| explain::io(dir, "make a checkpoint", error);
        let partial = partial_of(dir);
        remove_dir(&partial).and_then(|()| fs::create_dir_all(&partial)).map_err(failed)?;
        self.checkpoint_database(&partial.join(DATABASE))?;
        // Read after the checkpoint: a format is raised before what needs it is written.
        format::copy(&self.database.dir, &partial)?;
        self.options.crash.hit(CrashPoint::CheckpointInside);
        fs::rename(&partial, dir).and_then(|()| sync_parent(dir)).map_err(failed)?;
        self.options.crash.hit(CrashPoint::CheckpointAfter);
        Ok(())
    }

    pub(crate) fn checkpoint_database(&self, to: &Path) -> Result<(), Error> {
        Checkpoint::new(&self.database.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(to))
            .map_err(|error| self.database.explain("make a checkpoint", error))
    }

    /// Flushes memtables and rewrites every file, so that what has expired or was dropped leaves the disk now. Takes as long as
    /// reading and writing the whole store.
    pub fn compact(&self) -> Result<(), Error> {
        for family in self.database.families().all() {
            self.database.db.flush_cf(family).map_err(|error| self.database.explain("compact the store", error))?;
            let mut options = rocksdb::CompactOptions::default();
            // The last level too: that is where old data lies.
            options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
            self.database.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }

    /// Forces every commit to the disk and closes the store. Dropping it does the same, but cannot say whether it went well.
    pub fn close(self) -> Result<(), Error> {
        self.sync()
    }

    /// Changes the book, and with it what `change` puts into the batch: all or nothing.
    pub(crate) fn update<T>(&self, durability: Durability, change: impl FnOnce(&mut Book, &mut Batch<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut book = self.book();
        let mut next = Book::clone(&book);
        let mut batch = Batch::new(self.database.families());
        let outcome = change(&mut next, &mut batch)?;
        let now = self.options.clock.now();
        let sync = durability == Durability::Forced || self.sync_is_due(book.synced_at, now);
        let torn = durability == Durability::ByPolicy && self.crash().is_due(CrashPoint::CommitInside);
        self.write(batch.into_rows(), sync, torn)?;
        if sync {
            next.synced_at = Some(now);
            self.database.expiry.enforce(next.rules.clone());
        }
        *book = next;
        drop(book);
        if sync {
            self.sweep_or_warn();
        }
        Ok(outcome)
    }

    fn sync_is_due(&self, synced_at: Option<EventTime>, now: EventTime) -> bool {
        let Some(synced_at) = synced_at else { return true };
        match self.options.sync {
            SyncPolicy::Always => true,
            SyncPolicy::Interval(interval) => u128::from(now.0.saturating_sub(synced_at.0).max(0).unsigned_abs()) >= interval.as_micros(),
            SyncPolicy::OnClose => false,
        }
    }

    fn write(&self, rows: WriteBatch, sync: bool, torn: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let size = rows.size_in_bytes();
        self.database.db.write_opt(rows, &options).map_err(|error| self.database.explain("commit", error))?;
        if torn {
            tear_log(&self.database.dir.join(DATABASE), size);
        }
        Ok(())
    }

    pub(crate) fn force(&self) -> Result<(), Error> {
        self.crash().hit(CrashPoint::SyncBefore);
        // Taken first: only what was committed before the log is forced is sure to be on the disk after.
        let rules = self.book().rules.clone();
        self.database.db.flush_wal(true).map_err(|error| self.database.explain("force commits to the disk", error))?;
        self.crash().hit(CrashPoint::SyncAfter);
        self.database.expiry.enforce(rules);
        self.book().synced_at = Some(self.options.clock.now());
        self.sweep_or_warn();
        Ok(())
    }

    /// Where the disk does not let files go, they stay for the next time, and nothing else waits for it.
    fn sweep_or_warn(&self) {
        if let Err(error) = self.sweep() {
            tracing::warn!(%error, "files of dropped generations stay for now");
        }
    }

    /// Each change is a single step, so that what a panicking thread left is sound.
    pub(crate) fn unswept(&self) -> MutexGuard<'_, BTreeSet<Generation>> {
        self.unswept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the process is to crash, in tests.
    pub fn crash(&self) -> &CrashPlan {
        &self.options.crash
    }

    /// The book becomes another in one assignment, so that what a panicking writer left is sound.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bulk_dir(&self) -> PathBuf {
        self.database.dir.join(BULK)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.database.db.flush_wal(true) {
            tracing::warn!(dir = %self.database.dir.display(), %error, "close the store without forcing its last commits to the disk");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.database.dir).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Whether a change may wait for the sync policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It may: it can be had again from the sources.
    ByPolicy,
    /// It may not: somebody is told that it has happened.
    Forced,
}

fn create_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).and_then(|()| sync_parent(dir)).map_err(|error| explain::io(dir, "create the store", error))
}

/// Removes what a killed bulk load left: its parts are loaded whole or again.
fn clean_bulk(dir: &Path) -> Result<(), Error> {
    let bulk = dir.join(BULK);
    remove_dir(&bulk).map_err(|error| explain::io(&bulk, "clean up after a bulk load", error))
}

pub(crate) fn remove_dir(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn sync_parent(dir: &Path) -> std::io::Result<()> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    format::sync_dir(parent)
}

fn partial_of(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    dir.with_file_name(name)
}

/// Cuts half of the last record off the newest log and ends the process: what a crash in the middle of a write leaves.
fn tear_log(database: &Path, record_size: usize) -> ! {
    let logs = fs::read_dir(database).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max();
    if let Some(file) = newest.and_then(|path| fs::OpenOptions::new().write(true).open(path).ok()) {
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        // If this fails the record is whole, which a crash can leave as well.
        let _ = file.set_len(len.saturating_sub(record_size as u64 / 2 + 1));
    }
    std::process::abort()
}
