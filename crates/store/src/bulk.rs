//! Bulk loads: sorted files written beside the store and moved into an unpublished generation, part by part.
//!
//! A job is cut into numbered parts, the same for every run of it. A part is recorded as done once all its files are in; one that was
//! cut short is loaded again from its start, and what of it was in already is replaced by the same rows. Whoever runs a
//! killed job again thus has to make only the parts that are missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use lockstep_model::{Error, Fingerprint, Generation, StateKey};
use rocksdb::{ColumnFamily, IngestExternalFileOptions, Options, SstFileWriter};

use crate::book::{BulkProgress, Entry, JobRecord};
use crate::layout::{self, Tag};
use crate::store::Durability;
use crate::{CrashPoint, Epoch, Store, explain};

/// A bulk load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkJob {
    /// The generation to load, not published yet.
    pub generation: Generation,
    /// The loader's epoch, as in a commit.
    pub epoch: Epoch,
    /// What is loaded and how it is cut into parts: equal fingerprints promise equal rows in each part.
    pub fingerprint: Fingerprint,
    /// How many parts there are.
    pub parts: u32,
}

/// A bulk load under way. Parts may be loaded in any order and from several threads.
#[derive(Debug)]
pub struct BulkLoader<'a> {
    store: &'a Store,
    job: BulkJob,
}

impl Store {
    /// Starts a bulk load, or goes on with it. A generation takes one job only: another one is refused, since rows of the first may be in.
    pub fn bulk_load(&self, job: BulkJob) -> Result<BulkLoader<'_>, Error> {
        let record = JobRecord { fingerprint: job.fingerprint, parts: job.parts };
        self.update(Durability::Forced, |book, batch| {
            book.check_epoch(job.epoch)?;
            let entry = book.entry_mut(job.generation)?;
            refuse_other_job(entry, record)?;
            if entry.bulk.is_none() {
                batch.put_record(Tag::BulkJob.of(job.generation), &record)?;
                entry.bulk = Some(BulkProgress { job: record, done: Vec::new() });
            }
            Ok(())
        })?;
        Ok(BulkLoader { store: self, job })
    }

    /// Whether a bulk load of a generation was begun: it takes nothing else until that is done.
    pub fn bulk_begun(&self, generation: Generation) -> Result<bool, Error> {
        Ok(self.book().entry(generation)?.bulk.is_some())
    }
}

fn refuse_other_job(entry: &Entry, job: JobRecord) -> Result<(), Error> {
    let whose = format!("generation {} of `{}` version {}", entry.info.generation.0, entry.info.view, entry.info.version);
    if entry.info.published() {
        return Err(Error::invalid(format!("{whose} is published and takes no bulk load · backfill a new version")));
    }
    match &entry.bulk {
        Some(bulk) if bulk.job != job => Err(Error::invalid(format!(
            "{whose} was begun with another bulk load · begun: {} in {} parts, asked for: {} in {} parts · restore its inputs, or drop the generation and start anew",
            bulk.job.fingerprint.short(),
            bulk.job.parts,
            job.fingerprint.short(),
            job.parts
        ))),
        _ => Ok(()),
    }
}

impl<'a> BulkLoader<'a> {
    /// Parts that are not loaded yet, ascending.
    pub fn missing(&self) -> Result<Vec<u32>, Error> {
        let book = self.store.book();
        Ok(book.entry(self.job.generation)?.bulk.as_ref().map(BulkProgress::missing).unwrap_or_default())
    }

    /// Starts a part. One thread at a time may load a given part.
    pub fn part(&self, part: u32) -> Result<BulkPart<'a>, Error> {
        if part >= self.job.parts {
            return Err(Error::internal(format!("part {part} is not one of the {} parts of this bulk load", self.job.parts)));
        }
        let dir = self.store.bulk_dir().join(format!("{}-{part}", self.job.generation.0));
        start_dir(&dir).map_err(|error| explain::io(&dir, "write files of a bulk load", error))?;
        let [state, keys] = &self.store.bulk_tables;
        let (state, keys) = (SortedFiles::new(self.store, &dir, "state", state), SortedFiles::new(self.store, &dir, "keys", keys));
        Ok(BulkPart { store: self.store, job: self.job, part, dir, state, keys, key: Vec::new() })
    }
}

fn start_dir(dir: &Path) -> std::io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)
}

/// One part: a stream of state and a stream of dedup entries, each strictly ascending. The two may be fed in turns.
///
/// Parts load fastest where their key ranges do not overlap: cut state by shard, and dedup entries by ranges of the primary key.
pub struct BulkPart<'a> {
    store: &'a Store,
    job: BulkJob,
    part: u32,
    dir: PathBuf,
    state: SortedFiles<'a>,
    keys: SortedFiles<'a>,
    key: Vec<u8>,
}

impl BulkPart<'_> {
    /// Adds a head or node. Keys ascend as their bytes do.
    pub fn put_state(&mut self, key: &StateKey, value: &[u8]) -> Result<(), Error> {
        layout::state_key(&mut self.key, self.job.generation, key.as_bytes());
        self.state.put(&self.key, value)
    }

    /// Adds a dedup entry, which starts with a [`crate::KeyEntryHeader`]. Entries ascend by source ordinal, then by key.
    pub fn put_key(&mut self, source: u16, key: &[u8], value: &[u8]) -> Result<(), Error> {
        layout::entry_key(&mut self.key, self.job.generation, source, key);
        self.keys.put(&self.key, value)
    }

    /// Moves the part into the generation and records it. Durable once it returns.
    pub fn finish(self) -> Result<(), Error> {
        let BulkPart { store, job, part, dir, state, keys, .. } = self;
        let (state, keys) = (state.finish()?, keys.finish()?);
        store.crash().hit(CrashPoint::SstBeforeIngest);
        store.ingest(store.database.families().state, state)?;
        store.crash().hit(CrashPoint::SstInsideIngest);
        store.ingest(store.database.families().keys, keys)?;
        store.crash().hit(CrashPoint::SstAfterIngest);
        store.record_part(job, part)?;
        if let Err(error) = fs::remove_dir(&dir) {
            tracing::debug!(dir = %dir.display(), %error, "leave an empty directory of a bulk load to the next opening");
        }
        Ok(())
    }
}

impl Store {
    fn ingest(&self, family: &ColumnFamily, files: Vec<PathBuf>) -> Result<(), Error> {
        if files.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // One after the other: a store whose disk was full in the midst of a load on several threads was found with a MANIFEST that names a file which is gone. As far as can be
        // told, RocksDB writes what several bring as one group, and where the second record of it fails, deletes the files of the first, which is written already.
        let _alone = self.ingesting.lock().unwrap_or_else(PoisonError::into_inner);
        self.database.db.ingest_external_file_cf_opts(family, &options, files).map_err(|error| self.database.explain("load files in bulk", error))
    }

    fn record_part(&self, job: BulkJob, part: u32) -> Result<(), Error> {
        self.update(Durability::Forced, |book, batch| {
            book.check_epoch(job.epoch)?;
            let entry = book.entry_mut(job.generation)?;
            if let Some(bulk) = entry.bulk.as_mut().filter(|bulk| !bulk.done.contains(&part)) {
                bulk.done.push(part);
            }
            batch.put_record(layout::bulk_part_key(job.generation, part), &JobRecord { fingerprint: job.fingerprint, parts: job.parts })
        })
    }
}

/// Files of one family, each of the size at which a store starts the next.
struct SortedFiles<'a> {
    store: &'a Store,
    dir: PathBuf,
    name: &'static str,
    tables: &'a Options,
    writer: Option<SstFileWriter<'a>>,
    files: Vec<PathBuf>,
    last_key: Vec<u8>,
}

impl<'a> SortedFiles<'a> {
    fn new(store: &'a Store, dir: &Path, name: &'static str, tables: &'a Options) -> Self {
        SortedFiles { store, dir: dir.to_owned(), name, tables, writer: None, files: Vec::new(), last_key: Vec::new() }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        // RocksDB would notice within a file, but not from one to the next.
        if key <= self.last_key.as_slice() {
            return Err(Error::internal(format!("rows of a bulk load do not ascend: {key:02x?} comes after {:02x?}", self.last_key)));
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.start_file()?,
        };
        writer.put(key, value).map_err(|error| self.failed(error))?;
        if writer.file_size() < self.store.options.bulk_file_bytes {
            self.writer = Some(writer);
            return Ok(());
        }
        self.finish_file(writer)
    }

    fn start_file(&mut self) -> Result<SstFileWriter<'a>, Error> {
        let path = self.dir.join(format!("{}-{}.sst", self.name, self.files.len()));
        let writer = SstFileWriter::create(self.tables);
        writer.open(&path).map_err(|error| self.failed(error))?;
        self.files.push(path);
        Ok(writer)
    }

    fn finish_file(&self, mut writer: SstFileWriter<'a>) -> Result<(), Error> {
        self.store.crash().hit(CrashPoint::SstWrite);
        writer.finish().map_err(|error| self.failed(error))
    }

    fn finish(mut self) -> Result<Vec<PathBuf>, Error> {
        if let Some(writer) = self.writer.take() {
            self.finish_file(writer)?;
        }
        Ok(self.files)
    }

    fn failed(&self, error: rocksdb::Error) -> Error {
        self.store.database.explain("write files of a bulk load", error)
    }
}
