//! The stream: logs in files, on standard input or in Kafka, applied chunk by chunk, each chunk one atomic commit with its positions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lockstep_model::{Error, EventTime, PartitionId, Position};
use lockstep_store::{Commit, CutRead, OnlineStore};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::KafkaTopic;

use super::file;
use super::horizon::{Newest, forgotten, horizon, view_watermark};
use super::log::{Applied, Input, Next, Read, Reading, Standing};
use super::options::StreamOptions;
use super::step::{Pending, Target, arrivals_of};
use super::{LogProgress, Observer, Progress, Tally};
use crate::admission::{CutKeys, KeyIndex, Kind, MemoryKeyIndex, PendingKeys};
use crate::kafka::{self, Gap, Kafka};
use crate::out::{AdmittedNow, Feeding, Outlets, Staging, carry};
use crate::push::{self, Push};
use crate::source::{Chunk, SourceBatch, SourceFile};

/// What a run did.
#[derive(Debug, Default)]
pub struct StreamReport {
    /// Rows of the input passed.
    pub rows: u64,
    /// Commits made.
    pub commits: u64,
    /// What became of rows, by view and source.
    pub tally: Tally,
    /// The least of the targets' watermarks.
    pub watermark: Option<EventTime>,
    /// Whether the end of every log was reached.
    pub complete: bool,
    /// The logs that could not be read on, and why.
    pub stopped: Vec<(String, Error)>,
}

/// Applies a log in a file to generations from their positions on, to its end or until it is told to stop.
///
/// # Errors
/// As [`SourceReader::open`](crate::source::SourceReader::open) and `next_chunk`; what was committed before stays. Invalid where no target reads a source
/// asked for.
pub fn ingest(
    store: &dyn OnlineStore,
    catalog: &Catalog,
    targets: &[Target],
    file: &SourceFile,
    options: &StreamOptions,
    observe: &mut Observer<'_>,
) -> Result<StreamReport, Error> {
    let mut run = Run::new(store, catalog, targets, options)?;
    let input = file::input(file, &run.sources(&options.sources)?, catalog, targets, &run.positions, options)?;
    run.drain(format!("reading {}", file.name()), vec![input], observe)?;
    match run.report.stopped.pop() {
        Some((_, error)) => Err(error),
        None => Ok(run.report),
    }
}

/// The logs that are followed: of each source its topic, where it declares one, and what is pushed to it.
#[derive(Debug, Clone, Copy)]
pub struct Logs<'a> {
    /// The brokers; `None` where no topics are to be read.
    pub kafka: Option<&'a Kafka>,
    /// The push log; `None` where nobody pushes.
    pub push: Option<&'a Push>,
}

/// Applies the Kafka topics and the push logs of sources to generations from their positions on, until it is told to stop, or to their ends where these say so. A log
/// that cannot be read on is told in the report; the others go on.
///
/// # Errors
/// Where the store cannot be read or written. Invalid where no target reads a source asked for, or there are only topics and the source declares none.
pub fn follow(
    store: &dyn OnlineStore,
    catalog: &Catalog,
    targets: &[Target],
    logs: Logs<'_>,
    options: &StreamOptions,
    observe: &mut Observer<'_>,
) -> Result<StreamReport, Error> {
    let mut run = Run::new(store, catalog, targets, options)?;
    let sources = run.sources(&options.sources)?;
    let topics = logs.topics(sources.clone(), &options.sources)?;
    let declared: Vec<String> = catalog.sources.keys().cloned().collect();
    let topics = logs.kafka.into_iter().flat_map(|kafka| topics.iter().map(move |topic| (kafka, topic)));
    let topics = topics.map(|(kafka, (source, topic))| kafka::input(kafka, source, topic, &declared, run.stands(source), options));
    let pushed = logs.push.into_iter().flat_map(|push| sources.iter().map(move |source| (push, source)));
    let pushed = pushed.map(|(push, source)| push::input(push, source, run.stands(source), options));
    let inputs: Vec<Input> = topics.chain(pushed).collect();
    let names: BTreeSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let stage = format!("following {}", names.into_iter().collect::<Vec<_>>().join(", "));
    run.push = logs.push;
    run.drain(stage, inputs, observe)?;
    Ok(run.report)
}

impl Logs<'_> {
    /// Those of `sources` that have a topic which is to be read, with it.
    fn topics(&self, sources: Vec<Arc<SourcePlan>>, asked: &[String]) -> Result<Vec<(Arc<SourcePlan>, KafkaTopic)>, Error> {
        match (self.kafka, self.push) {
            (None, _) => Ok(Vec::new()),
            (Some(kafka), None) => kafka::sources(kafka, sources, asked),
            (Some(_), Some(_)) => Ok(sources.into_iter().filter_map(|source| source.options.topic.clone().map(|topic| (source, topic))).collect()),
        }
    }
}

/// Puts the positions of sources whose topics or push logs do not hold them any more to what there is, so that [`follow`] goes on from there. What is lost stays lost.
///
/// # Errors
/// As [`follow`].
pub fn accept_gaps(
    store: &dyn OnlineStore,
    catalog: &Catalog,
    targets: &[Target],
    logs: Logs<'_>,
    options: &StreamOptions,
) -> Result<Vec<Gap>, Error> {
    let run = Run::new(store, catalog, targets, options)?;
    let sources = run.sources(&options.sources)?;
    let (mut gaps, mut commits) = (Vec::new(), Vec::new());
    for (target, positions) in targets.iter().zip(&run.positions) {
        let mut commit = Commit::new(target.generation.generation, store.epoch());
        let mut accepted = Vec::new();
        for (source, topic) in logs.topics(sources.clone(), &options.sources)? {
            if let Some(kafka) = logs.kafka {
                accepted.extend(kafka::accept(&kafka.settings, &source.name, &topic.name, positions)?);
            }
        }
        for source in &sources {
            accepted.extend(logs.push.map(|push| push::accept(push, source, positions)).transpose()?.flatten());
        }
        commit.out.extend(accepted.iter().flat_map(|(gap, _)| run.staging.go_on_from(&gap.partition, gap.from)));
        commit.positions.extend(accepted.iter().map(|(gap, position)| (gap.partition.clone(), position.clone())));
        gaps.extend(accepted.into_iter().map(|(gap, _)| gap));
        commits.push(commit);
    }
    store.commit_all(commits)?;
    store.sync()?;
    gaps.sort_by(|a, b| a.partition.cmp(&b.partition));
    gaps.dedup();
    Ok(gaps)
}

struct Run<'a> {
    store: &'a dyn OnlineStore,
    catalog: &'a Catalog,
    targets: &'a [Target],
    options: &'a StreamOptions,
    /// Per target: where each partition stands.
    positions: Vec<BTreeMap<PartitionId, Position>>,
    /// Per target: the largest event time of each partition of its logs.
    newest: Vec<Newest>,
    /// Per target: how many partitions have been begun.
    begun: Vec<u64>,
    pending: Vec<Pending>,
    /// What leaves with the next commit.
    staging: Staging,
    /// That the targets are being fed, for runs that go on at once.
    _feeding: Feeding,
    /// How each log stands.
    standings: Vec<Standing>,
    /// The push log, of which segments may go once everybody has applied them.
    push: Option<&'a Push>,
    report: StreamReport,
}

impl<'a> Run<'a> {
    fn new(store: &'a dyn OnlineStore, catalog: &'a Catalog, targets: &'a [Target], options: &'a StreamOptions) -> Result<Self, Error> {
        let cut = store.cut();
        let mut positions = Vec::with_capacity(targets.len());
        let mut newest = Vec::with_capacity(targets.len());
        for target in targets {
            let known = cut.positions(target.generation.generation)?;
            newest.push(known.iter().filter_map(|(id, position)| Some((id.clone(), position.event_time_max()?))).collect());
            positions.push(known.into_iter().collect::<BTreeMap<_, _>>());
        }
        let read = read_by(catalog, targets);
        let none = Outlets::default();
        let outlets = if options.kind == Kind::Stream { &options.outlets } else { &none };
        let staging = Staging::new(outlets, &read, &*cut, &positions)?;
        let sources = |target: &Target| target.sources.iter().map(|source| source.name.clone()).collect();
        let feeding = staging.together().feed(targets.iter().map(|target| (target.generation.generation, sources(target))));
        let begun = positions.iter().map(|known| known.len() as u64).collect();
        let pending = targets.iter().map(|_| Pending::default()).collect();
        Ok(Run {
            store,
            catalog,
            targets,
            options,
            positions,
            newest,
            begun,
            pending,
            staging,
            _feeding: feeding,
            standings: Vec::new(),
            push: None,
            report: StreamReport::default(),
        })
    }

    /// The sources that targets read, or those of them that are wanted.
    fn sources(&self, wanted: &[String]) -> Result<Vec<Arc<SourcePlan>>, Error> {
        let read: BTreeSet<&str> = self.targets.iter().flat_map(|target| &target.sources).map(|source| source.name.as_str()).collect();
        for name in wanted {
            if !read.contains(name.as_str()) {
                let known: Vec<&str> = read.iter().copied().collect();
                return Err(Error::invalid(format!("no view that is fed reads a source `{name}` · read: {}", known.join(", "))));
            }
        }
        let is_wanted = |name: &str| read.contains(name) && (wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
        Ok(self.catalog.sources.values().filter(|source| is_wanted(&source.name)).cloned().collect())
    }

    /// The positions of the targets that read a source.
    fn stands<'s>(&'s self, source: &'s SourcePlan) -> impl Iterator<Item = &'s BTreeMap<PartitionId, Position>> {
        let reads = |(target, _): &(&Target, _)| target.branches_of(&source.name).next().is_some();
        self.targets.iter().zip(&self.positions).filter(reads).map(|(_, positions)| positions)
    }

    /// Reads logs and applies what comes, to the end of all or until it is told to stop; what leaves the store is carried meanwhile.
    fn drain(&mut self, stage: String, inputs: Vec<Input>, observe: &mut Observer<'_>) -> Result<(), Error> {
        let (store, options) = (self.store, self.options);
        if options.outlets.together.is_some() {
            return self.apply_all(stage, inputs, observe);
        }
        let leaving: Vec<Arc<SourcePlan>> =
            read_by(self.catalog, self.targets).into_iter().filter(|source| self.staging.wants(&source.name)).collect();
        carry(store, &options.outlets, &leaving, &*options.clock, || self.apply_all(stage, inputs, observe))
    }

    fn apply_all(&mut self, stage: String, inputs: Vec<Input>, observe: &mut Observer<'_>) -> Result<(), Error> {
        let stop = &*self.options.stop;
        self.standings = vec![Standing { unbegun: true, ..Standing::default() }; inputs.len()];
        let (names, (opens, applied)): (Vec<_>, (Vec<_>, Vec<_>)) = inputs.into_iter().map(|input| (input.name, (input.open, input.applied))).unzip();
        let mut reading = Reading::start(opens, &self.options.clock);
        let logs = names.iter().map(|name| LogProgress { name: name.clone(), ..LogProgress::default() }).collect();
        let mut progress = Progress { stage, logs, ..Progress::default() };
        loop {
            match reading.next(stop) {
                Next::Read(log, read, at) => {
                    self.take(log, &read, applied.get(log).and_then(Option::as_deref), &mut progress)?;
                    progress.logs[log].stands(read.standing.behind, at);
                }
                Next::Failed(log, error) => {
                    progress.logs[log].stopped = Some(error.to_string());
                    self.stopped(names.get(log), error, names.len() > 1);
                }
                Next::End => {
                    self.report.complete = self.report.stopped.is_empty();
                    break;
                }
                Next::Nothing => break,
            }
            progress.stopped = self.report.stopped.len();
            observe(&progress);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        self.report.watermark = self.watermark();
        self.store.sync()
    }

    /// Remembers that a log cannot be read on, and says so at once where others go on.
    fn stopped(&mut self, name: Option<&String>, error: Error, others: bool) {
        let name = name.cloned().unwrap_or_default();
        if others {
            tracing::error!("source `{name}` stopped: {error}");
        }
        self.report.stopped.push((name, error));
    }

    /// Applies what comes next from a log.
    fn take(&mut self, log: usize, read: &Read, applied: Option<&Applied>, progress: &mut Progress) -> Result<(), Error> {
        let Read { chunk, standing, ends } = read;
        progress.ends.extend(ends.iter().cloned());
        if let Some(known) = self.standings.get_mut(log) {
            *known = *standing;
        }
        self.apply(chunk)?;
        if let Some(applied) = applied {
            chunk.batches.iter().for_each(|batch| applied(&batch.partition, &batch.position));
        }
        chunk.batches.iter().try_for_each(|batch| self.forget_pushes(batch))?;
        progress.rows += chunk.rows_read;
        progress.bytes += chunk.bytes_read;
        progress.bytes_total = standing.bytes_total;
        progress.behind = self.standings.iter().map(|standing| standing.behind).reduce(|all, one| Some(all? + one?)).flatten();
        progress.watermark = self.watermark();
        self.report.rows = progress.rows;
        Ok(())
    }

    /// Removes what was pushed to a source long ago and has been applied by every published generation that reads it, those included that are not fed any more.
    fn forget_pushes(&self, batch: &SourceBatch) -> Result<(), Error> {
        let (Some(push), Position::Push(_)) = (self.push, &batch.position) else { return Ok(()) };
        let source = &batch.partition.source;
        if !push.log.has_passed(source, batch.position.rows()) {
            return Ok(());
        }
        let applied = |positions: &BTreeMap<PartitionId, Position>| positions.get(&batch.partition).map_or(0, Position::rows);
        let fed = self.targets.iter().zip(&self.positions).filter(|(target, _)| target.branches_of(source).next().is_some());
        let mut least = fed.map(|(_, positions)| applied(positions)).min().unwrap_or(0);
        // One that another run feeds may have nothing of the source yet.
        let others = self.staging.together().fed_from(source);
        let cut = self.store.cut();
        for info in cut.generations()?.iter().filter(|info| info.published()) {
            let positions: BTreeMap<PartitionId, Position> = cut.positions(info.generation)?.into_iter().collect();
            if others.contains(&info.generation) || positions.keys().any(|id| id.source == *source) {
                least = least.min(applied(&positions));
            }
        }
        push.log.remove(source, least)
    }

    fn watermark(&self) -> Option<EventTime> {
        let watermarks = self.targets.iter().zip(&self.newest).filter_map(|(target, newest)| view_watermark(target, newest));
        watermarks.min().map(EventTime)
    }

    /// Whether every log that is read with this one has been begun, and every partition: what is old to one may be news of another.
    fn all_begun(&self, at: usize) -> bool {
        let begun = |log: &String| self.newest[at].keys().any(|id| id.partition == *log);
        self.options.beside.iter().all(begun) && !self.standings.iter().any(|standing| standing.unbegun)
    }

    /// Applies a chunk to all targets in one atomic commit.
    fn apply(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let together = Arc::clone(self.staging.together());
        // Who reads what the queues have already waits for nobody, so that a run that is behind never holds up one that is not.
        let puts = chunk.batches.iter().any(|batch| self.staging.lacks(&batch.partition, batch.position.rows()));
        let _turn = puts.then(|| together.turn());
        let cut = self.store.cut();
        let now = self.options.clock.now();
        let mut commits = Vec::with_capacity(self.targets.len());
        for at in 0..self.targets.len() {
            if self.stage(at, chunk, &*cut, now)? {
                let target = &self.targets[at];
                let generation = target.generation.generation;
                let pending = &mut self.pending[at];
                let counters = pending.counters.clone();
                let seen = self.options.seen.as_deref();
                let mut commit = target.commit(pending, &cut.state(generation), self.options.shape, self.store.epoch(), seen)?;
                let name = self.name_of(target);
                for (source, counters) in counters {
                    *self.report.tally.entry((name.clone(), source)).or_default() += counters;
                }
                commit.horizon = self.all_begun(at).then(|| horizon(target, &self.newest[at])).flatten();
                commit.history_until = (self.options.kind == Kind::History).then(|| self.options.until.unwrap_or(EventTime::MAX));
                commits.push(commit);
            }
        }
        drop(cut);
        if let Some(commit) = commits.last_mut() {
            commit.out = self.staging.take();
            self.store.commit_all(commits)?;
            self.staging.committed();
            self.report.commits += 1;
        }
        Ok(())
    }

    /// What reports call a target: its view, with the version where several are fed.
    fn name_of(&self, target: &Target) -> String {
        let (view, version) = (&target.view.view, target.generation.version);
        let several = self.targets.iter().filter(|other| other.view.view == *view).count() > 1;
        if several { format!("{view}@{version}") } else { view.clone() }
    }

    /// Stages what a chunk changes for one target; whether there is anything to commit, a position that moved included.
    fn stage(&mut self, at: usize, chunk: &Chunk, cut: &dyn CutRead, now: EventTime) -> Result<bool, Error> {
        let stored = CutKeys::new(cut, self.targets[at].generation.generation);
        // Two branches of one source have keys of their own, so one batch never meets what another of the chunk wrote, except where
        // a chunk has several batches of a source.
        let mut written = MemoryKeyIndex::new();
        let mut moved = false;
        for batch in &chunk.batches {
            moved |= self.stage_batch(at, batch, (cut, &stored), &mut written, now)?;
        }
        Ok(moved)
    }

    fn stage_batch(
        &mut self,
        at: usize,
        batch: &SourceBatch,
        (cut, stored): (&dyn CutRead, &CutKeys<'_>),
        written: &mut MemoryKeyIndex,
        now: EventTime,
    ) -> Result<bool, Error> {
        let (target, kind) = (&self.targets[at], self.options.kind);
        let source = &batch.partition.source;
        let unknown = || Error::internal(format!("no source named `{source}`"));
        let plan = self.catalog.sources.get(source).ok_or_else(unknown)?;
        let partition = PartitionId { source: source.clone(), partition: file::partition_name(&batch.partition.partition, kind) };
        let position = self.positions[at].get(&partition);
        if position.is_some_and(|position| *position == batch.position || position.rows() > batch.position.rows()) {
            return Ok(false);
        }
        let from = position.map_or(0, Position::rows);
        let begun_at = match position {
            Some(position) => position.begun_at(),
            None if kind == Kind::History => None,
            None => forgotten(target, &cut.horizon(target.generation.generation)?).get(source).copied(),
        };
        let before = position.map_or(begun_at, Position::event_time_max);
        let mut event_time_max = before;
        let mut reads = false;
        for branch in target.branches_of(source) {
            reads = true;
            let already = self.pending[at].keys.len();
            let index = PendingKeys::new(written, stored);
            let index: &dyn KeyIndex = &index;
            let (pending, staging) = (&mut self.pending[at], &mut self.staging);
            let letters = pending.dead_letters.len();
            event_time_max = arrivals_of(
                batch,
                &partition,
                |row| row >= from,
                self.options.until,
                plan,
                |arrivals| {
                    let newest = target.step(branch, arrivals, before, index, now, kind, pending)?;
                    if staging.wants(source) {
                        let (taken, letters) = (&pending.taken, &pending.dead_letters[letters..]);
                        staging.stage(&partition, &AdmittedNow { arrivals, taken, letters, position: &batch.position, at: now })?;
                    }
                    Ok(newest)
                },
            )?;
            written.apply(&self.pending[at].keys[already..]);
        }
        if !reads {
            return Ok(false);
        }
        let event_time_max = batch.event_time_max(event_time_max, |row| row >= from);
        let order = position.map_or(self.begun[at], Position::order);
        self.begun[at] += u64::from(position.is_none());
        let position = batch.position.applied(position, event_time_max, begun_at, order);
        if let Some(time) = event_time_max {
            self.newest[at].insert(partition.clone(), time);
        }
        self.pending[at].positions.push((partition.clone(), position.clone()));
        self.positions[at].insert(partition, position);
        Ok(true)
    }
}

/// The sources that targets read, in the order of their definitions.
fn read_by(catalog: &Catalog, targets: &[Target]) -> Vec<Arc<SourcePlan>> {
    let is_read = |source: &SourcePlan| targets.iter().any(|target| target.branches_of(&source.name).next().is_some());
    catalog.sources.values().filter(|source| is_read(source)).cloned().collect()
}
