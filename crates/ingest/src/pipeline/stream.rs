//! The stream: a log in a file or on standard input, applied chunk by chunk, each chunk one atomic commit with its positions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use lockstep_model::{Clock, Error, EventTime, FilePosition, PartitionId, Position};
use lockstep_store::{CutRead, OnlineStore};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::tiles::Shape;

use super::horizon::{Newest, forgotten, horizon, view_watermark};
use super::step::{Pending, Target, arrivals_of};
use super::{Observer, Progress, Tally, history_partition};
use crate::admission::{CutKeys, KeyIndex, Kind, MemoryKeyIndex, PendingKeys};
use crate::source::{Chunk, Dialect, Format, ReadRequest, SourceFile, SourceReader, SourceSchema, WantedSource, zone::Zone};

/// How to read a log.
pub struct StreamOptions {
    /// Its format.
    pub format: Format,
    /// The sources to take from it; all that the targets read where empty.
    pub sources: Vec<String>,
    /// Whether it is a log, or history that is not bulk-loaded.
    pub kind: Kind,
    /// The logs that are to be read in one go with this one, itself included or not: nothing is forgotten before each of them was begun.
    pub beside: Vec<String>,
    /// Only rows that were known before this moment.
    pub until: Option<EventTime>,
    /// Most rows of one commit.
    pub batch_rows: usize,
    /// The tree's shape.
    pub shape: Shape,
    /// Set to end after the chunk under way.
    pub stop: Arc<AtomicBool>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for StreamOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamOptions").field("format", &self.format).field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct StreamReport {
    /// Rows of the input passed.
    pub rows: u64,
    /// Commits made.
    pub commits: u64,
    /// What became of rows, by view and source.
    pub tally: Tally,
    /// The least of the targets' watermarks.
    pub watermark: Option<EventTime>,
    /// Whether the input's end was reached.
    pub complete: bool,
}

/// Applies a log to generations from their positions on, to its end or until it is told to stop.
///
/// # Errors
/// As [`SourceReader::open`] and `next_chunk`; what was committed before stays. Invalid where no target reads a source asked for.
pub fn ingest(
    store: &dyn OnlineStore,
    catalog: &Catalog,
    targets: &[Target],
    file: &SourceFile,
    options: &StreamOptions,
    observe: &mut Observer<'_>,
) -> Result<StreamReport, Error> {
    let mut run = Run::new(store, catalog, targets, file, options)?;
    let reading = Reading::start(file.clone(), run.request()?);
    run.drain(reading, observe)?;
    Ok(run.report)
}

/// How often a run that waits for its input looks whether it is to stop, and how often it looks for the chunk under way then.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LAST_LOOKS: u32 = 20;

/// An input that is read on a thread of its own: parsing one chunk goes on while the one before is applied.
struct Reading {
    chunks: Receiver<Result<(Chunk, Option<u64>), Error>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Reading {
    fn start(file: SourceFile, request: ReadRequest) -> Self {
        let (sender, chunks) = sync_channel(2);
        let thread = thread::spawn(move || {
            let mut reader = match SourceReader::open(&file, request) {
                Ok(reader) => reader,
                Err(error) => return drop(sender.send(Err(error))),
            };
            while let Some(chunk) = reader.next_chunk().transpose() {
                let failed = chunk.is_err();
                // The receiver goes when the run is told to stop.
                if sender.send(chunk.map(|chunk| (chunk, reader.progress().bytes_total))).is_err() || failed {
                    return;
                }
            }
        });
        Reading { chunks, thread: Some(thread) }
    }

    /// What comes next. Told to stop, it waits for the chunk under way, but not for ever: the thread may be reading a pipe that nobody writes to.
    fn next(&mut self, stop: &AtomicBool) -> Result<Next, Error> {
        let mut last_looks = 0;
        while last_looks < LAST_LOOKS {
            match self.chunks.recv_timeout(LOOK_EVERY) {
                Ok(chunk) => return chunk.map(|(chunk, bytes_total)| Next::Chunk(chunk, bytes_total)),
                Err(RecvTimeoutError::Timeout) => last_looks += u32::from(stop.load(Ordering::Relaxed)),
                Err(RecvTimeoutError::Disconnected) => return Ok(self.end()),
            }
        }
        Ok(Next::Nothing)
    }

    /// The reader has ended. That it panicked must not look like the end of the input.
    fn end(&mut self) -> Next {
        if let Some(Err(panic)) = self.thread.take().map(thread::JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        Next::End
    }
}

/// What comes next from an input.
enum Next {
    /// A chunk, and the bytes of the input where they are known.
    Chunk(Chunk, Option<u64>),
    /// Its end.
    End,
    /// Nothing in time, and the run is to stop.
    Nothing,
}

struct Run<'a> {
    store: &'a dyn OnlineStore,
    catalog: &'a Catalog,
    targets: &'a [Target],
    file: &'a SourceFile,
    options: &'a StreamOptions,
    /// The sources read, in the order of a chunk's batches.
    sources: Vec<Arc<SourcePlan>>,
    /// Per target and source: where it stands.
    positions: Vec<BTreeMap<String, FilePosition>>,
    /// Per target: the largest event time of each partition of its logs.
    newest: Vec<Newest>,
    /// Per target: the watermarks of its sources before this run.
    begun_at: Vec<BTreeMap<String, i64>>,
    /// Per target: how many partitions have been begun.
    begun: Vec<u64>,
    pending: Vec<Pending>,
    report: StreamReport,
}

impl<'a> Run<'a> {
    fn new(
        store: &'a dyn OnlineStore,
        catalog: &'a Catalog,
        targets: &'a [Target],
        file: &'a SourceFile,
        options: &'a StreamOptions,
    ) -> Result<Self, Error> {
        let sources = sources(catalog, targets, &options.sources)?;
        let cut = store.cut();
        let mut positions = Vec::with_capacity(targets.len());
        let mut newest = Vec::with_capacity(targets.len());
        let mut begun_at = Vec::with_capacity(targets.len());
        let mut begun = Vec::with_capacity(targets.len());
        for target in targets {
            let (mut here, mut all) = (BTreeMap::new(), Newest::new());
            let known = cut.positions(target.generation.generation)?;
            begun.push(known.len() as u64);
            for (id, position) in known {
                let Position::File(position) = position;
                if let Some(time) = position.event_time_max {
                    all.insert(id.clone(), time);
                }
                if id.partition == partition_name(file, options.kind) {
                    here.insert(id.source, position);
                }
            }
            positions.push(here);
            newest.push(all);
            begun_at.push(forgotten(target, &cut.horizon(target.generation.generation)?));
        }
        let pending = targets.iter().map(|_| Pending::default()).collect();
        Ok(Run { store, catalog, targets, file, options, sources, positions, newest, begun_at, begun, pending, report: StreamReport::default() })
    }

    /// Reads each source from where the target that is furthest behind stands.
    fn request(&self) -> Result<ReadRequest, Error> {
        let mut wanted = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let readers = self.targets.iter().zip(&self.positions).filter(|(target, _)| target.branches_of(&source.name).next().is_some());
            let positions: Vec<Option<&FilePosition>> = readers.map(|(_, positions)| positions.get(&source.name)).collect();
            let least = positions.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min_by_key(|position| position.rows));
            wanted.push(WantedSource { schema: schema_of(source), resume: least.cloned() });
        }
        Ok(ReadRequest {
            csv: self.dialect()?,
            sources: wanted,
            declared: self.catalog.sources.keys().cloned().collect(),
            format: self.options.format,
            batch_rows: self.options.batch_rows,
        })
    }

    /// How CSV is written in the log: as its sources declare.
    fn dialect(&self) -> Result<Dialect, Error> {
        let dialects: Vec<Dialect> = self.sources.iter().map(|source| dialect_of(source)).collect();
        match dialects.iter().position(|dialect| *dialect != dialects[0]) {
            Some(at) if self.options.format == Format::Csv => Err(Error::invalid(format!(
                "{} is one file, and its sources `{}` and `{}` declare CSV of different kinds · give them the same csv_delimiter and csv_null, or name one by --source",
                self.file.name(),
                self.sources[0].name,
                self.sources[at].name
            ))),
            _ => Ok(dialects.into_iter().next().unwrap_or_default()),
        }
    }

    fn drain(&mut self, mut reading: Reading, observe: &mut Observer<'_>) -> Result<(), Error> {
        let stop = &*self.options.stop;
        let mut progress = Progress { stage: format!("reading {}", self.file.name()), ..Progress::default() };
        loop {
            let (chunk, bytes_total) = match reading.next(stop)? {
                Next::Chunk(chunk, bytes_total) => (chunk, bytes_total),
                Next::End => {
                    self.report.complete = true;
                    break;
                }
                Next::Nothing => break,
            };
            self.apply(&chunk)?;
            progress.rows += chunk.rows_read;
            progress.bytes += chunk.bytes_read;
            progress.bytes_total = bytes_total;
            progress.watermark = self.watermark();
            observe(&progress);
            self.report.rows = progress.rows;
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        self.report.watermark = self.watermark();
        self.store.sync()
    }

    fn watermark(&self) -> Option<EventTime> {
        let watermarks = self.targets.iter().zip(&self.newest).filter_map(|(target, newest)| view_watermark(target, newest));
        watermarks.min().map(EventTime)
    }

    /// Whether every log that is read with this one has been begun: what is old to this one may be news of another.
    fn all_begun(&self, at: usize) -> bool {
        let begun = |log: &String| self.newest[at].keys().any(|id| id.partition == *log);
        self.options.beside.iter().all(begun)
    }

    /// Applies a chunk to all targets in one atomic commit.
    fn apply(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let cut = self.store.cut();
        let now = self.options.clock.now();
        let mut commits = Vec::with_capacity(self.targets.len());
        for at in 0..self.targets.len() {
            if self.stage(at, chunk, &*cut, now)? {
                let target = &self.targets[at];
                let generation = target.generation.generation;
                let pending = &mut self.pending[at];
                let counters = pending.counters.clone();
                let mut commit = target.commit(pending, &cut.state(generation), self.options.shape, self.store.epoch())?;
                for (source, counters) in counters {
                    *self.report.tally.entry((target.view.view.clone(), source)).or_default() += counters;
                }
                commit.horizon = self.all_begun(at).then(|| horizon(target, &self.newest[at])).flatten();
                commit.history_until = (self.options.kind == Kind::History).then(|| self.options.until.unwrap_or(EventTime::MAX));
                commits.push(commit);
            }
        }
        drop(cut);
        if !commits.is_empty() {
            self.store.commit_all(commits)?;
            self.report.commits += 1;
        }
        Ok(())
    }

    /// Stages what a chunk changes for one target; whether there is anything to commit, a position that moved included.
    fn stage(&mut self, at: usize, chunk: &Chunk, cut: &dyn CutRead, now: EventTime) -> Result<bool, Error> {
        let target = &self.targets[at];
        let stored = CutKeys::new(cut, target.generation.generation);
        // Two branches of one source have keys of their own, so one batch never meets what another of the chunk wrote, except where
        // a chunk has several batches of a source.
        let mut written = MemoryKeyIndex::new();
        let mut moved = false;
        for (source, batch) in self.sources.iter().zip(&chunk.batches) {
            let partition = PartitionId { source: source.name.clone(), partition: partition_name(self.file, self.options.kind) };
            let position = self.positions[at].get(&source.name);
            let from = position.map_or(0, |position| position.rows);
            let begun_at = match position {
                Some(position) => position.begun_at,
                None if self.options.kind == Kind::History => None,
                None => self.begun_at[at].get(&source.name).copied(),
            };
            let mut event_time_max = position.map_or(begun_at, |position| position.event_time_max);
            if position.is_some_and(|position| *position == batch.position || position.rows > batch.position.rows) {
                continue;
            }
            let mut reads = false;
            let before = event_time_max;
            for branch in target.branches_of(&source.name) {
                reads = true;
                let already = self.pending[at].keys.len();
                let index = PendingKeys::new(&written, &stored);
                let index: &dyn KeyIndex = &index;
                event_time_max = arrivals_of(
                    batch,
                    &partition,
                    |row| row >= from,
                    self.options.until,
                    source,
                    |arrivals| target.step(branch, arrivals, before, index, now, self.options.kind, &mut self.pending[at]),
                )?;
                written.apply(&self.pending[at].keys[already..]);
            }
            if !reads {
                continue;
            }
            moved = true;
            let order = position.map(|position| position.order).unwrap_or(self.begun[at]);
            self.begun[at] += u64::from(position.is_none());
            let position = FilePosition { event_time_max, begun_at, order, ..batch.position.clone() };
            if let Some(time) = event_time_max {
                self.newest[at].insert(partition.clone(), time);
            }
            self.pending[at].positions.push((partition, Position::File(position.clone())));
            self.positions[at].insert(source.name.clone(), position);
        }
        Ok(moved)
    }
}

fn partition_name(file: &SourceFile, kind: Kind) -> String {
    match kind {
        Kind::Stream => file.name().to_owned(),
        Kind::History => history_partition(file.name()),
    }
}

/// The sources that targets read, or those of them that are wanted.
fn sources(catalog: &Catalog, targets: &[Target], wanted: &[String]) -> Result<Vec<Arc<SourcePlan>>, Error> {
    let read: BTreeSet<&str> = targets.iter().flat_map(|target| &target.sources).map(|source| source.name.as_str()).collect();
    for name in wanted {
        if !read.contains(name.as_str()) {
            let known: Vec<&str> = read.iter().copied().collect();
            return Err(Error::invalid(format!("no view that is fed reads a source `{name}` · read: {}", known.join(", "))));
        }
    }
    let is_wanted = |name: &str| read.contains(name) && (wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
    Ok(catalog.sources.values().filter(|source| is_wanted(&source.name)).cloned().collect())
}

/// What a reader has to know of a source.
pub fn schema_of(source: &SourcePlan) -> SourceSchema {
    SourceSchema {
        name: source.name.clone(),
        columns: Arc::clone(&source.schema),
        event_time: source.event_time,
        primary_key: source.primary_key.clone(),
        time_zone: zone(source.options.time_zone),
    }
}

/// How a source's CSV files are written.
pub fn dialect_of(source: &SourcePlan) -> Dialect {
    // The definition's check lets only ASCII through.
    let delimiter = u8::try_from(source.options.csv_delimiter).unwrap_or(b',');
    Dialect { delimiter, null: source.options.csv_null.clone() }
}

fn zone(zone: chrono_tz::Tz) -> Zone {
    match zone {
        chrono_tz::Tz::UTC | chrono_tz::Tz::Etc__UTC => Zone::Utc,
        zone => Zone::Named(zone),
    }
}
