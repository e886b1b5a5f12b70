//! Backfill: the whole history of a view into a generation that nobody sees until it is whole.
//!
//! A history that fits into the memory budget is admitted, staged and sorted there, its trees are built once, and sorted files are moved into the store, part by part;
//! a killed run does the missing parts. A larger one goes through the stream's own loop, commit by commit, and goes on from its positions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use lockstep_model::{Clock, Error, EventTime, FilePosition, Fingerprint, PartitionId, Position};
use lockstep_store::{BulkJob, BulkLoader, Commit, OnlineStore, Store};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::changes::StagedChanges;
use lockstep_transform::definition::BatchFormat;
use lockstep_transform::tiles::{self, Shape};
use sha2::{Digest, Sha256};

use super::step::{Pending, Target, arrivals_of};
use super::stream::{StreamOptions, dialect_of, ingest, schema_of};
use super::{Observer, Progress, Tally, history_partition};
use crate::admission::{Kind, MemoryKeyIndex};
use crate::source::{Format, ReadRequest, SourceFile, SourceReader, Stores, locate};

/// Parts of a bulk load: what a killed run loses at most, and what threads share.
const PARTS: u32 = 16;

/// How to backfill.
pub struct BackfillOptions {
    /// Only rows that were known before this moment: the stream brings the others.
    pub until: Option<EventTime>,
    /// Where relative paths of the definitions start.
    pub base: PathBuf,
    /// Object stores that locations may name.
    pub stores: Stores,
    /// Bytes that staged changes may take before the history is loaded commit by commit.
    pub memory_bytes: usize,
    /// Most rows read at once.
    pub batch_rows: usize,
    /// The tree's shape.
    pub shape: Shape,
    /// Threads that build trees.
    pub threads: usize,
    /// Set to end at the next chunk or part.
    pub stop: Arc<AtomicBool>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for BackfillOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackfillOptions").field("until", &self.until).field("memory_bytes", &self.memory_bytes).finish_non_exhaustive()
    }
}

/// What a backfill did.
#[derive(Debug, Clone, Default)]
pub struct BackfillReport {
    /// Rows of the inputs passed.
    pub rows: u64,
    /// Events in all trees.
    pub events: u64,
    /// What became of rows, by view and source.
    pub tally: Tally,
    /// Views that are published now.
    pub published: Vec<String>,
    /// Whether it was told to stop before the end.
    pub stopped: bool,
}

/// A file of a source's history.
struct HistoryFile {
    source: Arc<SourcePlan>,
    file: SourceFile,
    format: Format,
}

/// Fills unpublished generations with the history of their views and publishes them together.
///
/// # Errors
/// As reading does; Invalid where a source has no history, or where a generation was begun with other inputs. A failed backfill leaves nothing
/// visible, and can be run again.
pub fn backfill(
    store: &Store,
    catalog: &Catalog,
    targets: &[Target],
    options: &BackfillOptions,
    observe: &mut Observer<'_>,
) -> Result<BackfillReport, Error> {
    let files = history_files(catalog, targets, options)?;
    if !begun_incrementally(store, targets)? {
        let mut history = History::new(targets, memory_bytes(store, targets, options)?);
        match history.read(&files, catalog, targets, options, observe)? {
            Read::Whole => return history.load(store, targets, options, observe),
            Read::Stopped => return Ok(BackfillReport { stopped: true, ..history.report }),
            Read::TooLarge => drop(history),
        }
    }
    incrementally(store, catalog, targets, &files, options, observe)
}

/// The files of all sources that targets read, in the order of their definitions.
fn history_files(catalog: &Catalog, targets: &[Target], options: &BackfillOptions) -> Result<Vec<HistoryFile>, Error> {
    let mut files = Vec::new();
    let is_read = |source: &SourcePlan| targets.iter().any(|target| target.branches_of(&source.name).next().is_some());
    for source in catalog.sources.values().filter(|source| is_read(source)) {
        for location in &source.options.batch {
            for file in locate(location, &options.base, &options.stores)? {
                let format = file_format(source, &file)?;
                files.push(HistoryFile { source: Arc::clone(source), file, format });
            }
        }
    }
    Ok(files)
}

/// The format of a file: what its source declares, or what its name says.
///
/// # Errors
/// Invalid where neither does.
pub fn file_format(source: &SourcePlan, file: &SourceFile) -> Result<Format, Error> {
    let declared = source.options.batch_format.map(|format| match format {
        BatchFormat::Parquet => Format::Parquet,
        BatchFormat::Csv => Format::Csv,
        BatchFormat::Ndjson => Format::Ndjson,
    });
    declared.or_else(|| Format::of(file.name())).ok_or_else(|| {
        Error::invalid(format!(
            "the name of `{}` does not say its format · declare batch_format = 'parquet', 'csv' or 'ndjson' on source `{}`",
            file.name(),
            source.name
        ))
    })
}

/// Whether an earlier run loads commit by commit.
fn begun_incrementally(store: &Store, targets: &[Target]) -> Result<bool, Error> {
    let cut = OnlineStore::cut(store);
    for target in targets {
        if !cut.positions(target.generation.generation)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What staged changes may take. A bulk load that was begun has to be gone on with, and its history has fitted before.
fn memory_bytes(store: &Store, targets: &[Target], options: &BackfillOptions) -> Result<usize, Error> {
    for target in targets {
        if store.bulk_begun(target.generation.generation)? {
            return Ok(usize::MAX);
        }
    }
    Ok(options.memory_bytes)
}

/// How reading a history ended.
enum Read {
    Whole,
    TooLarge,
    Stopped,
}

/// A history in memory.
struct History {
    pending: Vec<Pending>,
    /// Bytes that staged changes may take.
    memory_bytes: usize,
    /// Per source: what is remembered of its keys.
    keys: BTreeMap<String, MemoryKeyIndex>,
    /// What was read, for the job's fingerprint.
    inputs: String,
    report: BackfillReport,
}

impl History {
    fn new(targets: &[Target], memory_bytes: usize) -> Self {
        let pending = targets.iter().map(|_| Pending::default()).collect();
        History { pending, memory_bytes, keys: BTreeMap::new(), inputs: String::new(), report: BackfillReport::default() }
    }

    fn read(
        &mut self,
        files: &[HistoryFile],
        catalog: &Catalog,
        targets: &[Target],
        options: &BackfillOptions,
        observe: &mut Observer<'_>,
    ) -> Result<Read, Error> {
        // A file may hold the rows of several sources, of which one is read here.
        let declared: Vec<String> = catalog.sources.keys().cloned().collect();
        for history in files {
            let request = ReadRequest {
                batch_rows: options.batch_rows,
                csv: dialect_of(&history.source),
                declared: declared.clone(),
                ..ReadRequest::new(schema_of(&history.source), history.format)
            };
            let mut reader = SourceReader::open(&history.file, request)?;
            let partition = PartitionId { source: history.source.name.clone(), partition: history_partition(history.file.name()) };
            let (start, mut position) = (self.report.rows, None);
            while let Some(chunk) = reader.next_chunk()? {
                self.report.rows += chunk.rows_read;
                for batch in chunk.batches {
                    self.admit(&history.source, &batch, &partition, targets, options)?;
                    position = Some(batch.position);
                }
                let progress = reader.progress();
                observe(&Progress {
                    stage: format!("reading {}", history.file.name()),
                    rows: self.report.rows - start,
                    bytes: progress.bytes_done,
                    bytes_total: progress.bytes_total,
                    watermark: None,
                });
                if options.stop.load(Ordering::Relaxed) {
                    return Ok(Read::Stopped);
                }
                if self.pending.iter().map(|pending| pending.staged.size()).sum::<usize>() > self.memory_bytes {
                    return Ok(Read::TooLarge);
                }
            }
            self.finish_file(history, targets, &partition, position);
        }
        Ok(Read::Whole)
    }

    /// Admits rows once for all targets: none of them has any keys yet, so admission comes to the same for each.
    fn admit(
        &mut self,
        source: &SourcePlan,
        batch: &crate::source::SourceBatch,
        partition: &PartitionId,
        targets: &[Target],
        options: &BackfillOptions,
    ) -> Result<(), Error> {
        let readers: Vec<(usize, usize)> =
            targets.iter().enumerate().flat_map(|(at, target)| target.branches_of(&source.name).map(move |branch| (at, branch))).collect();
        let Some(&(first, branch)) = readers.first() else { return Ok(()) };
        let index = self.keys.entry(source.name.clone()).or_default();
        let now = options.clock.now();
        let admission = targets[first].admission(branch);
        let admitted =
            arrivals_of(batch, partition, |_| true, options.until, source, |arrivals| admission.admit(arrivals, None, index, now, Kind::History))?;
        index.apply(&admitted.keys);
        let mut told = vec![false; targets.len()];
        for (at, branch) in readers {
            let pending = &mut self.pending[at];
            targets[at].stage(branch, &admitted, pending)?;
            if !std::mem::replace(&mut told[at], true) {
                pending.dead_letters.extend(admitted.dead_letters.iter().cloned());
                *pending.counters.entry(source.name.clone()).or_default() += admitted.counters;
            }
        }
        Ok(())
    }

    fn finish_file(&mut self, history: &HistoryFile, targets: &[Target], partition: &PartitionId, position: Option<FilePosition>) {
        use std::fmt::Write;
        let Some(position) = position else { return };
        let FilePosition { rows, size, etag, hash, .. } = &position;
        let _ = writeln!(self.inputs, "{} {} rows {rows} size {size:?} etag {etag:?} hash {hash:016x}", history.source.name, history.file.name());
        for (target, pending) in targets.iter().zip(&mut self.pending) {
            if target.branches_of(&history.source.name).next().is_some() {
                let order = pending.positions.len() as u64;
                pending.positions.push((partition.clone(), Position::File(FilePosition { order, ..position.clone() })));
            }
        }
    }

    /// Builds the trees, loads them and publishes the generations.
    fn load(mut self, store: &Store, targets: &[Target], options: &BackfillOptions, observe: &mut Observer<'_>) -> Result<BackfillReport, Error> {
        let mut commits = Vec::with_capacity(targets.len());
        for (at, target) in targets.iter().enumerate() {
            observe(&Progress { stage: format!("loading {}", target.view.view), rows: self.pending[at].staged.len() as u64, ..Progress::default() });
            self.report.events += self.pending[at].staged.len() as u64;
            let Some(commit) = self.load_target(store, target, at, options)? else {
                return Ok(BackfillReport { stopped: true, ..self.report });
            };
            for (source, counters) in &commit.counters {
                *self.report.tally.entry((target.view.view.clone(), source.clone())).or_default() += *counters;
            }
            commits.push(commit);
        }
        store.publish(commits)?;
        self.report.published = targets.iter().map(|target| target.view.view.clone()).collect();
        Ok(self.report)
    }

    /// Loads one generation; `None` where it was told to stop.
    fn load_target(&mut self, store: &Store, target: &Target, at: usize, options: &BackfillOptions) -> Result<Option<Commit>, Error> {
        let pending = std::mem::take(&mut self.pending[at]);
        let generation = target.generation.generation;
        let job = format!(
            "lockstep backfill 1\nmeaning {}\nstate {}\nuntil {:?}\nshape {:?}\n{}",
            target.view.meaning, target.view.state, options.until, options.shape, self.inputs
        );
        let fingerprint = Fingerprint(Sha256::digest(job.as_bytes()).into());
        let loader = store.bulk_load(BulkJob { generation, epoch: store.epoch(), fingerprint, parts: PARTS })?;
        let missing = loader.missing()?;
        let mut keys = self.sorted_keys(target);
        let load = Load { target, loader: &loader, staged: &pending.staged, entries: pending.staged.in_parts(PARTS), keys: &mut keys, options };
        if !load.run(&missing)? {
            return Ok(None);
        }
        let mut commit = Commit::new(generation, store.epoch());
        commit.positions = pending.positions;
        commit.counters = pending.counters.into_iter().collect();
        commit.dead_letters = pending.dead_letters;
        commit.history_until = Some(options.until.unwrap_or(EventTime::MAX));
        Ok(Some(commit))
    }

    /// Dedup entries of a target, ascending by ordinal and key.
    fn sorted_keys(&self, target: &Target) -> Vec<(u16, &[u8], &[u8])> {
        let mut keys = Vec::new();
        for (ordinal, source) in target.sources.iter().enumerate() {
            if let Some(index) = self.keys.get(&source.name) {
                keys.extend(index.entries().map(|(key, entry)| (ordinal as u16, key, entry)));
            }
        }
        // Most keys differ in what a register holds of them.
        let start = |key: &[u8]| {
            let mut start = [0; 16];
            let len = key.len().min(16);
            start[..len].copy_from_slice(&key[..len]);
            u128::from_be_bytes(start)
        };
        let mut placed: Vec<(u16, u128, u32)> = keys.iter().enumerate().map(|(at, (ordinal, key, _))| (*ordinal, start(key), at as u32)).collect();
        placed.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| keys[a.2 as usize].1.cmp(keys[b.2 as usize].1)));
        placed.into_iter().map(|(_, _, at)| keys[at as usize]).collect()
    }
}

/// A bulk load of one generation.
struct Load<'a> {
    target: &'a Target,
    loader: &'a BulkLoader<'a>,
    staged: &'a StagedChanges,
    entries: Vec<Vec<u32>>,
    keys: &'a mut [(u16, &'a [u8], &'a [u8])],
    options: &'a BackfillOptions,
}

impl Load<'_> {
    /// Loads the missing parts on several threads; false where it was told to stop.
    fn run(&self, missing: &[u32]) -> Result<bool, Error> {
        let next = AtomicU32::new(0);
        let work = || -> Result<(), Error> {
            while let Some(&part) = missing.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                if self.options.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                self.load_part(part)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.options.threads.max(1)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(!self.options.stop.load(Ordering::Relaxed))
    }

    fn load_part(&self, number: u32) -> Result<(), Error> {
        let mut part = self.loader.part(number)?;
        for changes in self.staged.by_entity_of(&self.entries[number as usize]) {
            if changes.upserts.is_empty() {
                continue;
            }
            let mut writes = tiles::build(&self.target.view.measures, self.options.shape, changes.entity, &changes.upserts)?;
            writes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            for write in &writes {
                part.put_state(&write.key, write.value.as_deref().unwrap_or_default())?;
            }
        }
        let bound = |part: u32| (self.keys.len() as u64 * u64::from(part) / u64::from(PARTS)) as usize;
        for (ordinal, key, entry) in &self.keys[bound(number)..bound(number + 1)] {
            part.put_key(*ordinal, key, entry)?;
        }
        part.finish()
    }
}

/// Loads file by file, commit by commit, and publishes.
fn incrementally(
    store: &Store,
    catalog: &Catalog,
    targets: &[Target],
    files: &[HistoryFile],
    options: &BackfillOptions,
    observe: &mut Observer<'_>,
) -> Result<BackfillReport, Error> {
    let mut report = BackfillReport::default();
    for history in files {
        let stream = StreamOptions {
            format: history.format,
            sources: vec![history.source.name.clone()],
            kind: Kind::History,
            beside: Vec::new(),
            until: options.until,
            batch_rows: options.batch_rows,
            shape: options.shape,
            stop: Arc::clone(&options.stop),
            clock: Arc::clone(&options.clock),
        };
        let done = ingest(store, catalog, targets, &history.file, &stream, observe)?;
        report.rows += done.rows;
        for (at, counters) in done.tally {
            report.events += counters.applied;
            *report.tally.entry(at).or_default() += counters;
        }
        if !done.complete {
            return Ok(BackfillReport { stopped: true, ..report });
        }
    }
    let epoch = store.epoch();
    let history_until = Some(options.until.unwrap_or(EventTime::MAX));
    store.publish(targets.iter().map(|target| Commit { history_until, ..Commit::new(target.generation.generation, epoch) }).collect())?;
    report.published = targets.iter().map(|target| target.view.view.clone()).collect();
    Ok(report)
}
