//! Filling generations: what `backfill`, `ingest` and `serve` share.

pub mod followers;
mod report;
pub mod wanted;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use lockstep_ingest::out::{LetterRoutes, Outlets};
use lockstep_ingest::pipeline::{BackfillOptions, BackfillReport, Progress, StreamOptions, StreamReport, Target, backfill_from, ingest};
use lockstep_ingest::source::{Format, SourceFile, Stores, locate};
use lockstep_model::{Clock, Error, EventTime, Generation, SystemClock};
use lockstep_store::{CutRead, Filled, OnlineStore};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::tiles::Shape;

use crate::answering::Answering;
use crate::owned::Owned;
use crate::predictions;
use crate::progress::Display;
use crate::project::Project;
pub use report::{Backfilled, Ingested};
use wanted::{Work, note_in_step, works};

/// The newest generation of each view of the catalog, published or not; views that were not applied are left out.
pub fn targets(cut: &dyn CutRead, catalog: &Catalog, published: bool) -> Result<Vec<Target>> {
    let generations = cut.generations()?;
    let mut targets = Vec::new();
    for view in catalog.views.values() {
        let same = |info: &&lockstep_store::GenerationInfo| info.view == view.view && info.meaning == view.meaning && info.state == view.state;
        // One of a run is filled by whoever publishes that.
        if let Some(info) = generations.iter().filter(|info| info.published() == published && (published || info.run.is_none())).rfind(same) {
            targets.push(Target::new(catalog, view, info.clone())?);
        }
    }
    Ok(targets)
}

/// Backfills every generation of the definitions applied last that is not published, or those of `views`, beside whatever else this process does.
///
/// # Errors
/// Unavailable where another backfill is under way; as [`backfill`].
pub fn run_backfill(
    owned: &Owned,
    views: &[String],
    until: Option<EventTime>,
    stop: &Arc<AtomicBool>,
    observe: &mut dyn FnMut(&Progress),
) -> Result<BackfillReport> {
    let Some(_alone) = owned.backfill_alone() else {
        let message = format!("a backfill is under way in process {} · wait until it ends, and run the command again", std::process::id());
        return Err(Error::unavailable(message).into());
    };
    let (project, store) = (&owned.project, &*owned.store);
    let catalog = &*owned.catalog()?;
    if let Some(unknown) = views.iter().find(|name| !catalog.views.contains_key(name.as_str())) {
        let known: Vec<&str> = catalog.views.keys().map(String::as_str).collect();
        bail!("no feature view named `{unknown}` · views: {}", known.join(", "));
    }
    // Before anything is published: what serves by now is what that is measured by.
    works(owned)?;
    let chosen = owned.feed(|| {
        let mut chosen = targets(&*OnlineStore::cut(store), catalog, false)?;
        chosen.retain(|target| views.is_empty() || views.contains(&target.view.view));
        Ok(chosen)
    })?;
    if chosen.is_empty() {
        return Ok(BackfillReport::default());
    }
    let options = BackfillOptions {
        until,
        base: project.dir.clone(),
        stores: Stores::local(),
        memory_bytes: project.config.memory.backfill.0,
        batch_rows: project.config.batch_rows.get(),
        shape: Shape::default(),
        threads: project.config.threads(),
        stop: Arc::clone(stop),
        clock: Arc::new(SystemClock),
    };
    let (began, mut bytes) = (SystemClock.now(), 0);
    let locations = locations(owned, catalog)?;
    let report =
        backfill_from(store, catalog, &chosen, &|source| locations.get(&source.name).cloned().unwrap_or_default(), &options, &mut |progress| {
            bytes = bytes.max(progress.bytes);
            observe(progress);
        });
    let filled: Vec<Generation> = chosen.iter().map(|target| target.generation.generation).collect();
    owned.leave(&filled);
    let report = report?;
    if !report.stopped {
        let micros = SystemClock.now().0.saturating_sub(began.0).max(1).unsigned_abs();
        store.note_filled(&filled, Filled { rows: report.rows, bytes, micros, generations: filled.len() as u32 })?;
    }
    // Who feeds something notes by itself what that keeps up with.
    let feeds = !owned.change().is_empty();
    if !feeds {
        note_in_step(owned)?;
    }
    Ok(report)
}

/// Where the history of each source lies: that of predictions in the store.
fn locations(owned: &Owned, catalog: &Catalog) -> Result<BTreeMap<String, Vec<String>>> {
    catalog.sources.values().map(|source| Ok((source.name.clone(), predictions::kept(owned, source)?))).collect()
}

/// Logs in files, and how they are read.
#[derive(Debug)]
pub struct LogFiles<'a> {
    /// A path, a pattern, or `-` for standard input.
    pub from: &'a str,
    /// Only these sources; all where empty.
    pub sources: &'a [String],
    /// Whether they hold dead letters, which are tried again.
    pub are_letters: bool,
}

/// Applies logs in files to every generation that is fed: those of several sets of definitions in one go where they read their sources alike, else one after the other.
///
/// # Errors
/// As [`ingest`]; Invalid where standard input would have to be read more than once.
pub fn run_ingest(owned: &Owned, logs: &LogFiles<'_>, mut answering: Option<&mut Answering<'_>>, stop: &Arc<AtomicBool>) -> Result<Followed> {
    let groups = groups(published(owned)?);
    let files = locate(logs.from, Path::new("."), &Stores::local())?;
    if let ([first, second, ..], true) = (&groups[..], files.iter().any(|file| file.name() == "-")) {
        bail!(
            "versions {} and {} of the definitions are both fed, and read their sources in different ways · standard input can be read once · write it to a file, and ingest that",
            first.versions[0],
            second.versions[0]
        );
    }
    let newest = owned.store.definitions_version();
    let last = groups.iter().position(|group| group.versions.contains(&newest)).unwrap_or(0);
    let mut followed = Followed::default();
    let wanted: Vec<usize> = (0..groups.len()).filter(|at| groups[*at].reads_any(logs.sources)).collect();
    for at in if wanted.is_empty() { vec![0] } else { wanted } {
        let Some(group) = groups.get(at) else { break };
        let answering = answering.as_deref_mut().filter(|_| at == last);
        followed.add(at == 0, group.versions[0], ingest_group(owned, group, &files, logs, answering, stop)?);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if followed.report.complete && !logs.are_letters {
        note_in_step(owned)?;
    }
    Ok(followed)
}

fn ingest_group(
    owned: &Owned,
    group: &Group,
    files: &[SourceFile],
    logs: &LogFiles<'_>,
    mut answering: Option<&mut Answering<'_>>,
    stop: &Arc<AtomicBool>,
) -> Result<StreamReport> {
    let mut total = StreamReport { complete: true, ..StreamReport::default() };
    let mut display = Display::new();
    for file in files {
        let mut failed = None;
        let report = ingest_file(owned, group, (file, files), logs, stop, &mut |progress| {
            display.show(progress);
            if let (Some(answering), Some(_), None) = (&mut answering, progress.watermark, &failed) {
                failed = answering.come_to(progress.watermark).err();
                // What was applied is applied; nothing more is until somebody has looked at this.
                stop.fetch_or(failed.is_some(), Ordering::Relaxed);
            }
        });
        if report.is_err() || failed.is_some() {
            display.finish();
        }
        match failed {
            Some(error) => return Err(error),
            None => add(&mut total, report?),
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if let (Some(answering), true) = (&mut answering, total.complete) {
        answering.come_to(None)?;
    }
    display.finish();
    Ok(total)
}

/// What was applied, for one set of definitions after the other or for several at once.
#[derive(Debug)]
pub struct Followed {
    /// For those that serve. Logs that stopped are here, whatever they were read for.
    pub report: StreamReport,
    /// For the others, by their numbers.
    pub beside: Vec<(u64, StreamReport)>,
}

impl Default for Followed {
    fn default() -> Self {
        Followed { report: StreamReport { complete: true, ..StreamReport::default() }, beside: Vec::new() }
    }
}

impl Followed {
    /// Adds what was done for a set of definitions.
    pub fn add(&mut self, serves: bool, set: u64, mut report: StreamReport) {
        self.report.complete &= report.complete;
        for (name, error) in std::mem::take(&mut report.stopped) {
            // Where several read one log, one word of it is enough.
            if !self.report.stopped.iter().any(|(known, why)| *known == name && why.to_string() == error.to_string()) {
                self.report.stopped.push((name, error));
            }
        }
        if serves {
            return add(&mut self.report, report);
        }
        match self.beside.iter_mut().find(|(known, _)| *known == set) {
            Some((_, total)) => add(total, report),
            None => self.beside.push((set, report)),
        }
    }
}

fn add(total: &mut StreamReport, report: StreamReport) {
    total.rows += report.rows;
    total.commits += report.commits;
    total.watermark = report.watermark;
    total.complete &= report.complete;
    for (at, counters) in report.tally {
        *total.tally.entry(at).or_default() += counters;
    }
}

/// Which topics are followed, and how.
#[derive(Debug, Clone)]
pub struct Topics {
    /// Of these sources; of all where empty.
    pub sources: Vec<String>,
    /// Whether to end where they end now.
    pub until_end: bool,
    /// Whether to go on with them though they are not what was read.
    pub accept_gap: bool,
    /// A topic of dead letters that is read instead.
    pub instead: Option<String>,
}

/// The error of logs that could not be read on, where there are any.
///
/// # Errors
/// That.
pub fn say_stopped(stopped: &[(String, Error)]) -> Result<(), Error> {
    let names: Vec<String> = stopped.iter().map(|(name, error)| format!("source `{name}` stopped: {error}")).collect();
    stopped.first().map_or(Ok(()), |(_, error)| Err(Error::new(error.kind(), names.join("\n"))))
}

/// The error of a store that has nothing to feed or to serve from.
pub fn nothing_published() -> Error {
    Error::invalid("no view has published state · run `lockstep apply` and `lockstep backfill` first")
}

/// What is to be fed.
///
/// # Errors
/// Where nothing is published; as [`works`].
fn published(owned: &Owned) -> Result<Vec<Work>> {
    owned.catalog()?;
    let mut fed = owned.change();
    let works = works(owned)?;
    if works.is_empty() {
        return Err(nothing_published().into());
    }
    fed.extend(works.iter().flat_map(Work::generations));
    Ok(works)
}

/// Generations that are fed in one go.
struct Group {
    /// The sets of definitions.
    versions: Vec<u64>,
    /// Has every source that is read.
    catalog: Arc<Catalog>,
    targets: Vec<Target>,
}

impl Group {
    /// Whether any of these sources is read; any at all where none is named.
    fn reads_any(&self, sources: &[String]) -> bool {
        sources.is_empty() || sources.iter().any(|name| self.reads(name))
    }

    fn reads(&self, source: &str) -> bool {
        self.targets.iter().any(|target| target.branches_of(source).next().is_some())
    }

    /// The catalog that says of the sources of both, the group's and the work's, what each says of its own.
    fn catalog_with(&self, work: &Work) -> Option<Arc<Catalog>> {
        let sources = || self.targets.iter().chain(&work.targets).flat_map(|target| &target.sources);
        let has_all =
            |catalog: &&Arc<Catalog>| sources().all(|source| catalog.sources.get(&source.name).is_some_and(|known| is_alike(known, source)));
        [&self.catalog, &work.set.catalog].into_iter().find(has_all).map(Arc::clone)
    }
}

/// Whether two definitions of a source read a log alike.
fn is_alike(a: &SourcePlan, b: &SourcePlan) -> bool {
    let written = |source: &SourcePlan| {
        let options = &source.options;
        (options.time_zone, options.csv_delimiter, options.csv_null.clone(), options.applied_log, options.dead_letters.clone())
    };
    a.schema == b.schema && a.meaning == b.meaning && written(a) == written(b)
}

/// Puts what can be fed in one go together; that which serves is in the first.
fn groups(works: Vec<Work>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for work in works {
        let found = groups.iter_mut().find_map(|group| Some((group.catalog_with(&work)?, group)));
        match found {
            Some((catalog, group)) => {
                group.catalog = catalog;
                group.versions.push(work.set.version);
                group.targets.extend(work.targets);
            }
            None => groups.push(Group { versions: vec![work.set.version], catalog: work.set.catalog, targets: work.targets }),
        }
    }
    groups
}

/// Where rows go beside the state. Dead letters that are tried again and fail again stay in the ledger alone: sent, they would be tried for ever.
fn outlets(owned: &Owned, sends_letters: bool) -> Outlets {
    let letters = LetterRoutes { base: owned.project.dir.clone(), kafka: owned.project.kafka().ok() };
    Outlets { applied: Some(owned.store.applied_logs()), letters: sends_letters.then_some(letters), ..Outlets::default() }
}

fn stream_options(
    project: &Project,
    (format, outlets): (Format, Outlets),
    sources: &[String],
    beside: Vec<String>,
    stop: &Arc<AtomicBool>,
) -> StreamOptions {
    StreamOptions {
        sources: sources.to_vec(),
        beside,
        stop: Arc::clone(stop),
        outlets,
        ..StreamOptions::new(format, project.config.batch_rows.get(), Arc::new(SystemClock))
    }
}

fn ingest_file(
    owned: &Owned,
    group: &Group,
    (file, beside): (&SourceFile, &[SourceFile]),
    logs: &LogFiles<'_>,
    stop: &Arc<AtomicBool>,
    observe: &mut dyn FnMut(&Progress),
) -> Result<StreamReport> {
    let named = Format::of(file.name()).or_else(|| (file.name() == "-").then_some(Format::Ndjson));
    let Some(format) = named else {
        bail!("the name of `{}` does not say its format · give it the ending .ndjson, .csv or .parquet", file.name());
    };
    let beside = beside.iter().map(|file| file.name().to_owned()).collect();
    let outlets = outlets(owned, !logs.are_letters);
    let read: Vec<String> = logs.sources.iter().filter(|name| group.reads(name)).cloned().collect();
    // What is read by nobody is told by the name that was given.
    let sources = if read.is_empty() { logs.sources } else { &read };
    let options = stream_options(&owned.project, (format, outlets), sources, beside, stop);
    Ok(ingest(&*owned.store, &group.catalog, &group.targets, file, &options, observe)?)
}

/// Ends the run after the batch under way once the process is asked to end; a second time ends it at once.
///
/// # Errors
/// Where signals cannot be listened to.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    stop_on_signals_within(Duration::MAX)
}

/// As [`stop_on_signals`], for a process that others wait for: where it has not ended by then, since a disk or a sink does not answer, it ends at once.
///
/// # Errors
/// As [`stop_on_signals`].
pub fn stop_on_signals_within(limit: Duration) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on, not from when the thread comes to it: whoever sees that this runs may send a signal.
    let (mut interrupt, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            told.store(true, Ordering::Relaxed);
            let status = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 130,
                () = tokio::time::sleep(limit) => {
                    eprintln!("{}", not_ended(limit));
                    2
                }
            };
            std::process::exit(status)
        });
    });
    Ok(stop)
}

/// What is told where something does not let the process end. Nothing is lost: what a kill leaves is a prefix of commits.
fn not_ended(limit: Duration) -> String {
    format!(
        "not ended within {} s: a disk, or a file or topic that rows go to, does not answer · what was committed is whole, and everything else is read again · ending at once",
        limit.as_secs()
    )
}
