//! `status`: how far the store has come, and what it holds.

mod deployments;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use lockstep_ingest::out::letters_queue;
use lockstep_ingest::pipeline::history_path;
use lockstep_model::{EventTime, Generation, PartitionId, Position, position};
use lockstep_serve::admin::Progress;
use lockstep_serve::chosen::read_by;
use lockstep_serve::watch::{Reading, Signal};
use lockstep_store::{Counters, CutRead, GenerationInfo, OnlineStore};
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::deployments::DeploymentStatus;
use super::{Context, applied_log};
use crate::ask;
use crate::failure::Outcome;
use crate::feature_log::{LogDir, LogFile};
use crate::feed;
use crate::feed::wanted::{self, Set, Why};
use crate::owned::{Ends, Owned};
use crate::row_counts::RowCounts;
use crate::usage::{Usage, usage};
use crate::watching;

mod text;
mod watched;

/// Keys of each version that are counted before the rest is estimated.
const KEYS_MAX: u64 = 200_000;

/// Show how far the store has come, and what it holds
///
/// What is wrong comes first: signals, each cause with what follows from it; exits with 1 where there is one. Then, where a server serves from the store, how its sources and what it answers
/// are. Then, per version of a view: its generation, from when it can be read, its watermark, what it holds, and what became of the rows of each source; per partition its position and newest
/// event.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show it again and again, every two seconds, until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// How long to wait before it is shown again.
const WATCH_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Features of a service or view that are told: those that have moved most.
const FEATURES_MAX: usize = 10;

/// What the owner of the store is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Question {}

/// A store.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatus {
    /// Its directory.
    pub store: String,
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Number of the set of definitions applied last.
    pub definitions: u64,
    /// Its fingerprint.
    pub fingerprint: String,
    /// When it was applied.
    pub applied_at: String,
    /// The release that serves; absent where none was promoted.
    #[serde(default)]
    pub release: Option<u32>,
    /// What is wrong: causes, each with what it explains behind it.
    #[serde(default)]
    pub signals: Vec<Signal>,
    /// What is measured of the server that serves from the store; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Reading>,
    /// Versions of views, in order of their generations.
    pub views: Vec<VersionStatus>,
    /// Deployments as they serve; where nothing does, those that were applied last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<DeploymentStatus>,
    /// The logs of applied events, of the sources that have one.
    #[serde(default)]
    pub applied_logs: Vec<AppliedLogStatus>,
    /// What was served and is logged; absent where nothing is, and nothing is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_log: Option<FeatureLogStatus>,
    /// Dead letters that wait in the store to be sent, by source.
    #[serde(default)]
    pub letters_waiting: BTreeMap<String, u64>,
}

/// A log of applied events.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedLogStatus {
    /// The source.
    pub source: String,
    /// How long it is kept, as declared; absent where the source declares no log any more.
    pub keep: Option<String>,
    /// Its files.
    pub files: usize,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows that wait in the store for their file.
    pub waiting: u64,
    /// When the first row that is kept in a file was applied.
    pub oldest: Option<String>,
    /// When the last row in a file was.
    pub newest: Option<String>,
}

/// A feature log: what `lockstep serve` has logged of its answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FeatureLogStatus {
    /// Its directory.
    pub dir: String,
    /// The share of vectors that is logged, as the settings say; absent where they have no log any more.
    pub share: Option<f64>,
    /// By service or view.
    pub services: Vec<LoggedStatus>,
    /// Vectors that were logged and are past the log's retention.
    pub expired: u64,
}

/// What is logged of a service or view.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoggedStatus {
    /// The service or view, as its directory is called.
    pub name: String,
    /// Its files.
    pub files: usize,
    /// Vectors in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first of them was served.
    pub oldest: String,
    /// When the last was.
    pub newest: String,
}

/// What a version of a view is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It answers.
    Serving,
    /// It waits for its backfill.
    Filling,
    /// It is filled, and serves with the definitions that were applied last once all that these mean has caught up.
    Next,
    /// It answered until lately, and is fed so that it can answer again at once.
    Previous,
    /// Nothing needs it.
    Old,
}

/// A version of a view.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct VersionStatus {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// Its generation.
    pub generation: u32,
    /// What it is there for.
    pub role: Role,
    /// The number of the set of definitions that it is there for, unless it is old.
    #[serde(default)]
    pub definitions: Option<u64>,
    /// Until when it is fed, where it answered until lately.
    #[serde(default)]
    pub until: Option<String>,
    /// Since when it keeps up with its logs; absent while it catches up, and where it is fed no more.
    #[serde(default)]
    pub caught_up_at: Option<String>,
    /// Files that were applied to what serves and not, or not as far, to this one, which is to serve next.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// When it was created.
    pub created_at: String,
    /// When it became complete.
    pub published_at: Option<String>,
    /// The earliest moment that it answers for; absent where that is every moment.
    pub readable_from: Option<String>,
    /// The least of the newest event times of its logs; absent until each source has one.
    pub watermark: Option<String>,
    /// What it holds.
    pub usage: Usage,
    /// Its sources.
    pub sources: Vec<SourceStatus>,
}

/// A source, as a version of a view has read it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    /// The source.
    pub source: String,
    /// What became of its rows.
    #[serde(flatten)]
    pub rows: RowCounts,
    /// Rows that belong to no entity.
    pub null_keys: u64,
    /// Expressions that failed on a row.
    pub row_errors: u64,
    /// Where each of its partitions stands.
    pub partitions: Vec<PartitionStatus>,
}

/// Where a partition stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PartitionStatus {
    /// A path; `-` for standard input; `kafka://departures/3` for a topic and a number; `push` for what is pushed.
    pub partition: String,
    /// Whether it is history.
    pub history: bool,
    /// Rows done, heartbeats of a push log among them; of a topic's partition the next offset.
    pub rows: u64,
    /// Whether its end was reached.
    pub complete: bool,
    /// The newest event time, of a log.
    pub newest: Option<String>,
    /// Rows that are known to be there and are not applied yet, while it is followed.
    #[serde(default)]
    pub lag: Option<u64>,
}

/// Tells about the store of the project.
///
/// # Errors
/// NotFound where there is none; where it cannot be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    if arguments.watch {
        return watch(context);
    }
    let status = context.ask(&Question::default())?;
    context.out.show(&status)?;
    Ok(Outcome::of(status.signals.is_empty()))
}

/// Shows it until it is interrupted; on a terminal in the same place.
fn watch(context: &Context) -> Result<Outcome> {
    let stop = feed::stop_on_signals()?;
    loop {
        let status = context.ask(&Question::default())?;
        if std::io::stdout().is_terminal() {
            context.out.print("\u{1b}[H\u{1b}[2J")?;
        }
        context.out.show(&status)?;
        let mut waited = Duration::ZERO;
        while waited < WATCH_EVERY {
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::of(status.signals.is_empty()));
            }
            sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }
}

impl ask::Question for Question {
    const VERB: &'static str = "status";
    type Answer = StoreStatus;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<StoreStatus> {
        let (store, catalog) = (&*owned.store, &*owned.catalog()?);
        let (sets, lacking) = (wanted::wanted(owned)?, wanted::files_lacking(owned)?);
        let cut = OnlineStore::cut(store);
        let definitions = cut.definitions()?;
        let ends = owned.ends();
        let (signals, watched) = signals(owned)?;
        let all = cut.generations()?;
        let numbers: Vec<Generation> = all.iter().map(|info| info.generation).collect();
        // Of predictions, the run that is read.
        let views = read_by(all, &numbers).iter().map(|info| version(&sets, &lacking, &*cut, info, &ends)).collect::<Result<_>>()?;
        Ok(StoreStatus {
            store: store.dir().display().to_string(),
            disk_bytes: size_of(store.dir()),
            definitions: definitions.as_ref().map_or(0, |definitions| definitions.version),
            fingerprint: definitions.as_ref().map(|definitions| definitions.applied.fingerprint.to_string()).unwrap_or_default(),
            applied_at: definitions.map(|definitions| definitions.applied_at.to_string()).unwrap_or_default(),
            release: cut.serving()?.map(|(release, _)| release.release),
            signals,
            watched,
            views,
            deployments: deployments::deployments(owned, catalog),
            applied_logs: applied_log::logs(owned)?.into_iter().map(AppliedLogStatus::from).collect(),
            feature_log: feature_log(owned)?,
            letters_waiting: letters_waiting(&*cut, catalog)?,
        })
    }
}

/// What is wrong: as the server has seen it that serves from the store, with what it measures; else as the store tells it by itself.
fn signals(owned: &Owned) -> Result<(Vec<Signal>, Option<Reading>)> {
    let Some(watching) = owned.watching() else {
        return if owned.store.definitions_version() == 0 { Ok((Vec::new(), None)) } else { Ok((watching::of_store(owned)?.1, None)) };
    };
    let latest = watching.watcher().latest();
    let mut reading = latest.reading.clone();
    reading.targets.values_mut().for_each(|target| target.features.truncate(FEATURES_MAX));
    Ok((latest.signals.clone(), (reading.at_micros != 0).then_some(reading)))
}

impl From<applied_log::Log> for AppliedLogStatus {
    fn from(log: applied_log::Log) -> Self {
        let applied_log::Log { source, keep, rows, bytes, waiting, oldest, newest, files } = log;
        AppliedLogStatus { source, keep, files: files.len(), rows, bytes, waiting, oldest, newest }
    }
}

fn feature_log(owned: &Owned) -> Result<Option<FeatureLogStatus>> {
    let log = LogDir::new(owned.project.feature_log_dir());
    let (files, expired) = (log.files()?, log.expired()?.vectors);
    let share = owned.project.config.serve.feature_log.as_ref().map(|config| config.share.0);
    if files.is_empty() && expired == 0 && share.is_none() {
        return Ok(None);
    }
    let mut services: BTreeMap<String, Vec<LogFile>> = BTreeMap::new();
    for file in files {
        services.entry(file.dir_name()).or_default().push(file);
    }
    let of = |(name, files): (String, Vec<LogFile>)| {
        let (named, least) = (|| files.iter().map(|file| file.named), EventTime::MIN);
        LoggedStatus {
            name,
            files: files.len(),
            rows: named().map(|named| named.vectors).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            oldest: named().map(|named| named.oldest).min().unwrap_or(least).to_string(),
            newest: named().map(|named| named.newest).max().unwrap_or(least).to_string(),
        }
    };
    Ok(Some(FeatureLogStatus { dir: log.path().display().to_string(), share, services: services.into_iter().map(of).collect(), expired }))
}

fn letters_waiting(cut: &dyn CutRead, catalog: &Catalog) -> Result<BTreeMap<String, u64>> {
    let queues = cut.queues()?;
    let waiting = |source: &String| Some((source.clone(), queues.get(&letters_queue(source))?.waiting()));
    Ok(catalog.sources.keys().filter_map(waiting).filter(|(_, waiting)| *waiting > 0).collect())
}

/// Bytes of the files of a directory: of one that has several names, as snapshots have of the store's, once. A file that goes while they are counted is left out.
fn size_of(dir: &Path) -> u64 {
    let mut sizes = HashMap::new();
    add_sizes(dir, &mut sizes);
    sizes.into_values().sum()
}

/// Adds the sizes of files by device and inode.
fn add_sizes(dir: &Path, sizes: &mut HashMap<(u64, u64), u64>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => add_sizes(&entry.path(), sizes),
            Ok(metadata) => drop(sizes.insert((metadata.dev(), metadata.ino()), metadata.len())),
            Err(_) => {}
        }
    }
}

fn version(
    sets: &[Set],
    lacking: &BTreeMap<Generation, Vec<String>>,
    cut: &dyn CutRead,
    info: &GenerationInfo,
    ends: &Ends,
) -> Result<VersionStatus> {
    let generation = info.generation;
    let positions = cut.positions(generation)?;
    let why = wanted::why(sets, info);
    let (role, until) = match why {
        None => (Role::Old, None),
        Some(_) if !info.published() => (Role::Filling, None),
        Some((_, Why::Serves)) => (Role::Serving, None),
        Some((_, Why::Next)) => (Role::Next, None),
        Some((_, Why::Until(until))) => (Role::Previous, Some(until)),
    };
    // What is not fed is not behind.
    let none = Ends::new();
    let ends = if why.is_some() { ends } else { &none };
    let readable_from = cut.horizon(generation)?.readable_from;
    Ok(VersionStatus {
        view: info.view.clone(),
        version: info.version,
        generation: generation.0,
        role,
        definitions: why.map(|(set, _)| set),
        until: until.map(|until| until.to_string()),
        caught_up_at: info.caught_up_at.map(|at| at.to_string()),
        lacks: lacking.get(&generation).cloned().unwrap_or_default(),
        created_at: info.created_at.to_string(),
        published_at: info.published_at.map(|at| at.to_string()),
        readable_from: (readable_from != EventTime::MIN).then(|| readable_from.to_string()),
        watermark: watermark(&positions).map(|at| at.to_string()),
        usage: usage(cut, generation, KEYS_MAX)?,
        sources: sources(cut.counters(generation)?, positions, ends),
    })
}

/// The least of the newest event times of all logs, where every source has one.
fn watermark(positions: &[(PartitionId, Position)]) -> Option<EventTime> {
    let sources: BTreeSet<&str> = positions.iter().map(|(id, _)| id.source.as_str()).collect();
    let of_sources = sources.into_iter().map(|source| position::watermark(positions, source)).collect::<Option<Vec<i64>>>()?;
    of_sources.into_iter().min().map(EventTime)
}

fn sources(counters: BTreeMap<String, Counters>, positions: Vec<(PartitionId, Position)>, ends: &Ends) -> Vec<SourceStatus> {
    let mut partitions: BTreeMap<String, Vec<PartitionStatus>> = counters.keys().map(|source| (source.clone(), Vec::new())).collect();
    for (id, position) in positions {
        let lag = ends.get(&id).map(|end| end.saturating_sub(position.rows()));
        let PartitionId { source, partition } = id;
        let history = history_path(&partition).map(str::to_owned);
        partitions.entry(source).or_default().push(PartitionStatus {
            history: history.is_some(),
            partition: history.unwrap_or(partition),
            rows: position.rows(),
            complete: position.complete(),
            newest: position.event_time_max().map(|at| EventTime(at).to_string()),
            lag,
        });
    }
    let status = |(source, partitions): (String, Vec<PartitionStatus>)| {
        let counters = counters.get(&source).copied().unwrap_or_default();
        let [null_keys, row_errors] = [counters.null_keys, counters.row_errors].map(|count| u64::try_from(count).unwrap_or_default());
        SourceStatus { source, rows: RowCounts::from(&counters), null_keys, row_errors, partitions }
    };
    partitions.into_iter().map(status).collect()
}
