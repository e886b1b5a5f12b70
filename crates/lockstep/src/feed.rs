//! Filling generations: what `backfill` and `ingest` share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use lockstep_ingest::admission::Kind;
use lockstep_ingest::kafka::Kafka;
use lockstep_ingest::out::{LetterRoutes, Outlets};
use lockstep_ingest::pipeline::{
    BackfillOptions, BackfillReport, Logs, Progress, StreamOptions, StreamReport, Tally, Target, accept_gaps, backfill, follow, ingest,
};
use lockstep_ingest::push::{Push, PushLog};
use lockstep_ingest::source::{Format, SourceFile, Stores, locate};
use lockstep_model::{Error, EventTime, SystemClock};
use lockstep_store::{CutRead, OnlineStore};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::Shape;
use schemars::JsonSchema;
use serde::Serialize;

use crate::answering::Answering;
use crate::output::{Output, Paint, Report};
use crate::owned::Owned;
use crate::progress::Display;
use crate::project::Project;
use crate::text::counted;

/// The newest generation of each view of the catalog, published or not; views that were not applied are left out.
pub fn targets(cut: &dyn CutRead, catalog: &Catalog, published: bool) -> Result<Vec<Target>> {
    let generations = cut.generations()?;
    let mut targets = Vec::new();
    for view in catalog.views.values() {
        let same = |info: &&lockstep_store::GenerationInfo| info.view == view.view && info.meaning == view.meaning && info.state == view.state;
        if let Some(info) = generations.iter().filter(|info| info.published() == published).rfind(same) {
            targets.push(Target::new(catalog, view, info.clone())?);
        }
    }
    Ok(targets)
}

/// Backfills every generation that is not published, or those of `views`.
pub fn run_backfill(owned: &Owned, views: &[String], until: Option<EventTime>, stop: &Arc<AtomicBool>) -> Result<BackfillReport> {
    let (project, store) = (&owned.project, &*owned.store);
    let catalog = &*owned.catalog()?;
    if let Some(unknown) = views.iter().find(|name| !catalog.views.contains_key(name.as_str())) {
        let known: Vec<&str> = catalog.views.keys().map(String::as_str).collect();
        bail!("no feature view named `{unknown}` · views: {}", known.join(", "));
    }
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
    let mut display = Display::new();
    let report = backfill(store, catalog, &chosen, &options, &mut |progress| display.show(progress));
    display.finish();
    Ok(report?)
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

/// Applies logs in files to every published generation.
pub fn run_ingest(owned: &Owned, logs: &LogFiles<'_>, mut answering: Option<&mut Answering<'_>>, stop: &Arc<AtomicBool>) -> Result<StreamReport> {
    let catalog = &*owned.catalog()?;
    let targets = published(owned, catalog)?;
    let mut total = StreamReport { complete: true, ..StreamReport::default() };
    let mut display = Display::new();
    let files = locate(logs.from, Path::new("."), &Stores::local())?;
    for file in &files {
        let mut failed = None;
        let report = ingest_file(owned, (catalog, &targets), (file, &files), logs, stop, &mut |progress| {
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
        let report = match failed {
            Some(error) => return Err(error),
            None => report?,
        };
        total.rows += report.rows;
        total.commits += report.commits;
        total.watermark = report.watermark;
        total.complete &= report.complete;
        for (at, counters) in report.tally {
            *total.tally.entry(at).or_default() += counters;
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

/// Which topics are followed, and how.
#[derive(Debug)]
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

/// Applies the Kafka topics of sources, and what was pushed to them, to every published generation.
///
/// # Errors
/// As [`follow`].
pub fn run_follow(
    owned: &Owned,
    topics: &Topics,
    push: Option<Arc<PushLog>>,
    out: &Output,
    stop: &Arc<AtomicBool>,
    observe: &mut dyn FnMut(&Progress),
) -> Result<StreamReport> {
    let (project, store) = (&owned.project, &*owned.store);
    let catalog = &*owned.catalog()?;
    let targets = published(owned, catalog)?;
    let push = push.map(|log| Push { log, until_end: topics.until_end });
    let kafka = (push.is_none() || catalog.sources.values().any(|source| source.options.topic.is_some())).then(|| project.kafka()).transpose()?;
    let kafka = kafka.map(|settings| Kafka { settings, until_end: topics.until_end, instead: topics.instead.clone() });
    let logs = Logs { kafka: kafka.as_ref(), push: push.as_ref() };
    let outlets = outlets(owned, topics.instead.is_none());
    let options = stream_options(project, (Format::Ndjson, outlets), &topics.sources, Vec::new(), stop);
    if topics.accept_gap {
        for gap in accept_gaps(store, catalog, &targets, logs, &options)? {
            out.say(&format!("{} was read to {} and goes on at {}", gap.partition.partition, gap.read_to, gap.from));
        }
    }
    let mut display = Display::new();
    let report = follow(store, catalog, &targets, logs, &options, &mut |progress| {
        owned.ends().clone_from(&progress.ends);
        display.show(progress);
        observe(progress);
    });
    owned.ends().clear();
    display.finish();
    Ok(report?)
}

/// The sources that are read by a view that is published.
///
/// # Errors
/// Where nothing is published.
pub fn sources(owned: &Owned) -> Result<Vec<String>> {
    let catalog = owned.catalog()?;
    let targets = published(owned, &catalog)?;
    let is_read = |name: &str| targets.iter().any(|target| target.branches_of(name).next().is_some());
    Ok(catalog.sources.keys().filter(|name| is_read(name)).cloned().collect())
}

/// The error of logs that could not be read on, where there are any.
pub fn say_stopped(stopped: Vec<(String, Error)>) -> Result<()> {
    let names: Vec<String> = stopped.iter().map(|(name, error)| format!("source `{name}` stopped: {error}")).collect();
    match stopped.into_iter().next() {
        Some((_, error)) => Err(Error::new(error.kind(), names.join("\n")).into()),
        None => Ok(()),
    }
}

fn published(owned: &Owned, catalog: &Catalog) -> Result<Vec<Target>> {
    let targets = owned.feed(|| targets(&*OnlineStore::cut(&*owned.store), catalog, true))?;
    if targets.is_empty() {
        bail!("no view has published state · run `lockstep apply` and `lockstep backfill` first");
    }
    Ok(targets)
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
        format,
        sources: sources.to_vec(),
        kind: Kind::Stream,
        beside,
        until: None,
        batch_rows: project.config.batch_rows.get(),
        shape: Shape::default(),
        stop: Arc::clone(stop),
        clock: Arc::new(SystemClock),
        outlets,
    }
}

fn ingest_file(
    owned: &Owned,
    (catalog, targets): (&Catalog, &[Target]),
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
    let options = stream_options(&owned.project, (format, outlets), logs.sources, beside, stop);
    Ok(ingest(&*owned.store, catalog, targets, file, &options, observe)?)
}

/// Ends the run after the batch under way once the process is asked to end; a second time ends it at once.
///
/// # Errors
/// Where signals cannot be listened to.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
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
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if told.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(stop)
}

/// What a backfill did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Backfilled {
    /// Rows read.
    pub rows: u64,
    /// Events kept, counted once per view.
    pub events: u64,
    /// Views that are published now.
    pub published: Vec<String>,
    /// Whether it was told to stop before it was done.
    pub stopped: bool,
    /// What became of the rows.
    pub sources: Vec<SourceTally>,
}

/// What an ingestion did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ingested {
    /// Rows read.
    pub rows: u64,
    /// Commits made.
    pub commits: u64,
    /// The least of the newest event times of all partitions.
    pub watermark: Option<String>,
    /// Whether the end of the log was reached.
    pub complete: bool,
    /// Requests answered on the way, and kept.
    pub answered: Option<u64>,
    /// What became of the rows.
    pub sources: Vec<SourceTally>,
}

/// What became of the rows of a source, in the views that took them alike.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SourceTally {
    /// The source.
    pub source: String,
    /// How many views took them so.
    pub views: usize,
    /// Rows that count.
    pub applied: u64,
    /// Rows that were known already.
    pub duplicates: u64,
    /// Rows with other content under a known key.
    pub conflicts: u64,
    /// Rows that came too late.
    pub refused: u64,
    /// Rows put aside.
    pub dead_lettered: u64,
    /// Row versions that gave way to a greater one.
    pub superseded: u64,
}

/// One line per source where all views agree, else one for each way they took it.
fn by_source(tally: &Tally) -> Vec<SourceTally> {
    let mut sources: Vec<SourceTally> = Vec::new();
    for ((_, source), counters) in tally {
        // Null keys and failed expressions belong to views; the rest is the same for all that stood at the same position.
        let same = |known: &&mut SourceTally| known.source == *source && known.applied == counters.applied && known.duplicates == counters.duplicates;
        match sources.iter_mut().find(same) {
            Some(known) => known.views += 1,
            None => sources.push(SourceTally {
                source: source.clone(),
                views: 1,
                applied: counters.applied,
                duplicates: counters.duplicates,
                conflicts: counters.conflicts,
                refused: counters.refused,
                dead_lettered: counters.dead_lettered,
                superseded: counters.superseded,
            }),
        }
    }
    sources
}

fn tally_text(sources: &[SourceTally]) -> String {
    let mut text = String::new();
    for source in sources {
        let SourceTally { source, views, applied, duplicates, conflicts, refused, dead_lettered, superseded } = source;
        let counts = [
            (duplicates, "duplicates"),
            (conflicts, "conflicts"),
            (refused, "too late"),
            (dead_lettered, "dead letters"),
            (superseded, "superseded"),
        ];
        let others: Vec<String> = counts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let others = if others.is_empty() { String::new() } else { format!(" · {}", others.join(" · ")) };
        text += &format!("  {source:<20} {applied:>10} applied to {}{others}\n", counted(*views, "view", "views"));
    }
    text
}

impl From<BackfillReport> for Backfilled {
    fn from(report: BackfillReport) -> Self {
        let BackfillReport { rows, events, tally, published, stopped } = report;
        Backfilled { rows, events, published, stopped, sources: by_source(&tally) }
    }
}

impl Report for Backfilled {
    fn text(&self, paint: Paint) -> String {
        if self.stopped {
            return format!("{} nothing is visible yet · run the same command again to go on\n", paint.yellow("stopped:"));
        }
        if self.published.is_empty() {
            return "nothing to backfill: every applied view has published state\n".to_owned();
        }
        let published = self.published.join(", ");
        format!("{} {published}\n{} rows read, {} events kept\n{}", paint.green("published:"), self.rows, self.events, tally_text(&self.sources))
    }
}

impl From<StreamReport> for Ingested {
    fn from(report: StreamReport) -> Self {
        let StreamReport { rows, commits, tally, watermark, complete, stopped: _ } = report;
        Ingested { rows, commits, watermark: watermark.map(|watermark| watermark.to_string()), complete, answered: None, sources: by_source(&tally) }
    }
}

impl Report for Ingested {
    fn text(&self, paint: Paint) -> String {
        let end = if self.complete { paint.green("applied to its end:") } else { paint.yellow("stopped:") };
        let watermark = self.watermark.as_ref().map(|watermark| format!(", watermark {watermark}")).unwrap_or_default();
        let commits = counted(self.commits, "commit", "commits");
        let answered =
            self.answered.map(|answered| format!("{} answered and kept on the way\n", counted(answered, "request", "requests"))).unwrap_or_default();
        format!("{end} {} rows in {commits}{watermark}\n{answered}{}", self.rows, tally_text(&self.sources))
    }
}
