//! Backfill: the whole history of a view into a generation that nobody sees until it is whole.
//!
//! A history that fits into the memory budget is admitted and staged there ([`super::history`]), its trees are built once, and sorted files are moved into the store, part by
//! part ([`super::load`]); a killed run does the missing parts. A larger one goes through the stream's own loop, commit by commit, and goes on from its positions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lockstep_model::{Clock, Error, EventTime};
use lockstep_store::{Commit, OnlineStore, Store};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::BatchFormat;
use lockstep_transform::tiles::Shape;

use super::history::{History, Staged};
use super::load::{load, may_publish};
use super::options::StreamOptions;
use super::step::Target;
use super::stream::ingest;
use super::{Observer, Tally};
use crate::admission::Kind;
use crate::source::{Format, SourceFile, Stores, locate};

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
pub(crate) struct HistoryFile {
    pub(super) source: Arc<SourcePlan>,
    pub(super) file: SourceFile,
    pub(super) format: Format,
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
    backfill_from(store, catalog, targets, &declared, options, observe)
}

/// Where files lie.
pub type LocationsOf<'a> = dyn Fn(&SourcePlan) -> Vec<String> + 'a;

/// Where a source says that its history lies.
fn declared(source: &SourcePlan) -> Vec<String> {
    source.options.batch.clone()
}

/// As [`backfill`], with the history of each source where `locations` says, from [`BackfillOptions::base`].
///
/// # Errors
/// As [`backfill`].
pub fn backfill_from(
    store: &Store,
    catalog: &Catalog,
    targets: &[Target],
    locations: &LocationsOf<'_>,
    options: &BackfillOptions,
    observe: &mut Observer<'_>,
) -> Result<BackfillReport, Error> {
    let files = files_of(catalog, targets, locations, options)?;
    if !begun_incrementally(store, targets)? {
        match History::read(&files, catalog, targets, options, memory_bytes(store, targets, options)?, None, observe)? {
            Staged::Whole(history) => return load(history, store, targets, options, observe),
            Staged::Stopped { rows } => return Ok(BackfillReport { rows, stopped: true, ..BackfillReport::default() }),
            Staged::TooLarge => {}
        }
    }
    incrementally(store, catalog, targets, &files, options, observe)
}

/// The files of all sources that targets read, in the order of their definitions.
pub(crate) fn history_files(catalog: &Catalog, targets: &[Target], options: &BackfillOptions) -> Result<Vec<HistoryFile>, Error> {
    files_of(catalog, targets, &declared, options)
}

fn files_of(catalog: &Catalog, targets: &[Target], locations: &LocationsOf<'_>, options: &BackfillOptions) -> Result<Vec<HistoryFile>, Error> {
    let mut files = Vec::new();
    let is_read = |source: &SourcePlan| targets.iter().any(|target| target.branches_of(&source.name).next().is_some());
    for source in catalog.sources.values().filter(|source| is_read(source)) {
        for location in locations(source) {
            for file in locate(&location, &options.base, &options.stores)? {
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
            sources: vec![history.source.name.clone()],
            kind: Kind::History,
            until: options.until,
            shape: options.shape,
            stop: Arc::clone(&options.stop),
            ..StreamOptions::new(history.format, options.batch_rows, Arc::clone(&options.clock))
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
    if !may_publish(&report, options, observe) {
        return Ok(BackfillReport { stopped: true, ..report });
    }
    let epoch = store.epoch();
    let history_until = Some(options.until.unwrap_or(EventTime::MAX));
    store.publish(targets.iter().map(|target| Commit { history_until, ..Commit::new(target.generation.generation, epoch) }).collect())?;
    report.published = targets.iter().map(|target| target.view.view.clone()).collect();
    Ok(report)
}
