//! One way of bringing the rows of a case into a store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use lockstep_ingest::pipeline::{BackfillOptions, Logs, Progress, StreamOptions, Target, backfill, follow, ingest};
use lockstep_ingest::push::{Push, PushLog, PushOptions};
use lockstep_ingest::source::{Format, Stores, locate};
use lockstep_model::{Clock, Error, EventTime};
use lockstep_store::{CutRead, Described, NewGeneration, NewSnapshot, OnlineStore, Snapshot, Store, StoreOptions, SyncPolicy};
use lockstep_testkit::definitions::pick;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::Shape;

use super::case::{Case, FILES, LOGS, NOW, Place};
use super::files;
use super::rows::Row;

/// How the rows come in. The plain course has everything in one go, in order.
#[derive(Debug, Clone)]
pub struct Course {
    seed: u64,
    memory_bytes: usize,
    threads: usize,
    shape: Shape,
    batch_rows: usize,
    /// Chunks after which a run is told to stop, to be gone on with later; the store is opened anew in between.
    stops_after: Option<usize>,
    compacts: bool,
    /// Logs are read in turns, a chunk or some of each.
    pub takes_turns: bool,
    pub permutes_history: bool,
    pub permutes_logs: bool,
    /// Some rows are in the history instead of their log, or the other way round, or in both.
    pub moves_rows: bool,
    pub format: Format,
    /// What is in a log is pushed instead.
    pub pushes: bool,
    /// The store is held, as a snapshot, whenever a run has ended.
    holds: bool,
}

impl Course {
    pub fn plain() -> Course {
        Course {
            seed: 0,
            memory_bytes: usize::MAX,
            threads: 1,
            shape: Shape::default(),
            batch_rows: 8192,
            stops_after: None,
            compacts: false,
            takes_turns: false,
            permutes_history: false,
            permutes_logs: false,
            moves_rows: false,
            format: Format::Ndjson,
            pushes: false,
            holds: false,
        }
    }

    /// Any course in which logs are pushed.
    pub fn pushing(case: &Case, rng: &mut Rng) -> Course {
        let plain = Course { pushes: true, ..Course::plain() };
        let Course { seed, memory_bytes, threads, shape, batch_rows, stops_after, compacts, .. } = Course::any(case, rng);
        Course { seed, memory_bytes, threads, shape, batch_rows, stops_after, compacts, ..plain }
    }

    /// Any course that must come to the same for the case.
    pub fn any(case: &Case, rng: &mut Rng) -> Course {
        let free = case.logs_have_no_order();
        Course {
            seed: rng.u64(..),
            memory_bytes: pick(rng, &[0, 2_000, 20_000, usize::MAX, usize::MAX]),
            threads: rng.usize(1..5),
            shape: Shape { leaf_rows_max: 1 + rng.usize(..6), buffer_rows_max: rng.usize(..7) },
            batch_rows: pick(rng, &[1, 2, 3, 7, 20, 8192]),
            stops_after: pick(rng, &[None, None, Some(1), Some(2), Some(9)]),
            compacts: rng.usize(..3) == 0,
            takes_turns: case.logs_may_take_turns() && rng.bool(),
            permutes_history: case.history_has_no_order() && rng.bool(),
            permutes_logs: free && rng.bool(),
            moves_rows: free && rng.usize(..3) == 0,
            // In another format, what it cannot hold lies in another file.
            format: if case.history_has_no_order() { pick(rng, &[Format::Ndjson, Format::Csv, Format::Parquet]) } else { Format::Ndjson },
            pushes: false,
            holds: false,
        }
    }

    /// The same, with the store held whenever a run has ended.
    pub fn holding(self) -> Course {
        Course { holds: true, ..self }
    }

    /// Whether every row is in the place and has the bytes that it has in the plain course.
    pub fn keeps_places(&self) -> bool {
        !self.permutes_history && !self.permutes_logs && !self.moves_rows && !self.pushes && self.format == Format::Ndjson
    }

    /// Whether each partition has been read before the next was begun.
    pub fn keeps_order(&self) -> bool {
        self.keeps_places() && !self.takes_turns
    }

    /// The files, each with its rows.
    fn files<'c>(&self, case: &'c Case) -> BTreeMap<(Place, usize), Vec<&'c Row>> {
        let mut rng = Rng::with_seed(self.seed);
        let sources = case.definition.branches;
        let all = (0..FILES)
            .flat_map(|file| (0..sources).map(move |source| (Place::History(file), source)))
            .chain((0..LOGS).map(|log| (Place::Log(log), 0)));
        let mut files: BTreeMap<_, Vec<&Row>> = all.map(|file| (file, Vec::new())).collect();
        for (place, row) in &case.rows {
            let mut places = vec![*place];
            if self.moves_rows && rng.bool() && !row.is_garbage() {
                let other = if rng.bool() { Place::History(rng.usize(..FILES)) } else { Place::Log(rng.usize(..LOGS)) };
                places = if rng.bool() { vec![*place, other] } else { vec![other] };
            }
            for mut place in places {
                match place {
                    Place::History(_) if self.permutes_history => place = Place::History(rng.usize(..FILES)),
                    Place::Log(_) if self.permutes_logs => place = Place::Log(rng.usize(..LOGS)),
                    _ => {}
                }
                let source = if matches!(place, Place::History(_)) { row.source } else { 0 };
                files.get_mut(&(place, source)).unwrap().push(row);
            }
        }
        for ((place, _), rows) in &mut files {
            if matches!(place, Place::History(_)) && self.permutes_history || matches!(place, Place::Log(_)) && self.permutes_logs {
                rng.shuffle(rows);
            }
        }
        files
    }
}

/// A project on disk, with its store.
pub struct Project<'c> {
    dir: tempfile::TempDir,
    pub catalog: &'c Catalog,
    course: Course,
    store: Option<Store>,
    pub target: Target,
    /// The names of snapshots, in the order in which they were made.
    pub held: Vec<String>,
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> EventTime {
        EventTime::parse(NOW).unwrap()
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        sync: SyncPolicy::OnClose,
        block_cache_bytes: 8 << 20,
        write_buffer_bytes: 1 << 20,
        clock: Arc::new(FixedClock),
        ..StoreOptions::new("test")
    }
}

fn open(dir: &Path) -> Result<Store, Error> {
    Store::open(dir.join("store"), options())
}

impl<'c> Project<'c> {
    /// Brings in all rows of the case.
    pub fn run(case: &Case, catalog: &'c Catalog, course: &Course) -> Result<Project<'c>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let schemas = [&catalog.sources["a"], &catalog.sources["b"]];
        let mut pushed: Vec<&Row> = Vec::new();
        for ((place, source), rows) in course.files(case) {
            match place {
                Place::History(file) => files::write(&dir.path().join(["a", "b"][source]), file, &rows, schemas[source], course.format),
                Place::Log(_) if course.pushes => pushed.extend(rows),
                Place::Log(log) => files::write_ndjson(&dir.path().join(log_name(log)), &rows),
            }
        }
        let store = open(dir.path())?;
        let view = &catalog.views["v"];
        let new = NewGeneration { view: view.view.clone(), version: 1, meaning: view.meaning, state: view.state };
        let target = Target::new(catalog, view, store.create_generation(new)?)?;
        let mut project = Project { dir, catalog, course: course.clone(), store: Some(store), target, held: Vec::new() };
        project.backfill()?;
        if course.pushes {
            project.pushes(&pushed)?
        } else {
            project.logs()?
        }
        Ok(project)
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The store as it was when a snapshot was made.
    pub fn snapshot(&self, name: &str) -> Snapshot {
        Snapshot::open(self.store().snapshots().dir_of(name), &options()).unwrap()
    }

    /// How the course reads the history.
    pub fn backfill_options(&self) -> BackfillOptions {
        BackfillOptions {
            until: None,
            base: self.dir.path().to_owned(),
            stores: Stores::local(),
            memory_bytes: self.course.memory_bytes,
            batch_rows: self.course.batch_rows,
            shape: self.course.shape,
            threads: self.course.threads,
            stop: Arc::default(),
            clock: Arc::new(FixedClock),
        }
    }

    fn backfill(&mut self) -> Result<(), Error> {
        loop {
            let (stop, mut observe) = stop_after(self.course.stops_after);
            let options = BackfillOptions { stop, ..self.backfill_options() };
            let report = backfill(self.store(), self.catalog, std::slice::from_ref(&self.target), &options, &mut observe)?;
            if !report.stopped {
                return self.pause();
            }
            // All that is in memory starts anew, so that every run has to get further than the one before.
            self.course.stops_after = self.course.stops_after.map(|chunks| chunks * 2);
            self.pause()?;
        }
    }

    /// What happens between two runs.
    fn pause(&mut self) -> Result<(), Error> {
        if self.course.compacts {
            self.store().compact()?;
        }
        if self.course.holds {
            let described = |cut: &dyn CutRead| {
                let generations = cut.generations()?.into_iter().map(|info| (info.generation, None)).collect();
                Ok::<_, Error>(Described { moment: EventTime(0), definitions: 0, generations })
            };
            let manifest = self.store().snapshot(NewSnapshot::default(), described)?;
            self.held.push(manifest.name);
        }
        if self.course.stops_after.is_some() {
            self.store = None;
            self.store = Some(open(self.dir.path())?);
        }
        Ok(())
    }

    fn logs(&mut self) -> Result<(), Error> {
        let mut rng = Rng::with_seed(self.course.seed);
        let mut left: Vec<usize> = (0..LOGS).collect();
        while !left.is_empty() {
            let at = if self.course.takes_turns { rng.usize(..left.len()) } else { 0 };
            let stops_after = if self.course.takes_turns { Some(rng.usize(1..4)) } else { self.course.stops_after };
            if self.log(left[at], stops_after)? {
                left.remove(at);
            }
            self.pause()?;
        }
        Ok(())
    }

    /// Reads on in a log of its own.
    pub fn follow_file(&self, name: &str) -> Result<(), Error> {
        let file = locate(name, self.dir.path(), &Stores::local())?.remove(0);
        let options = self.stream_options(Arc::default());
        ingest(self.store(), self.catalog, std::slice::from_ref(&self.target), &file, &options, &mut |_| {}).map(drop)
    }

    /// Reads on in a log; whether it is read to its end.
    fn log(&self, log: usize, stops_after: Option<usize>) -> Result<bool, Error> {
        let (stop, mut observe) = stop_after(stops_after);
        let options = self.stream_options(stop);
        let file = locate(&log_name(log), self.dir.path(), &Stores::local())?.remove(0);
        Ok(ingest(self.store(), self.catalog, std::slice::from_ref(&self.target), &file, &options, &mut observe)?.complete)
    }
}

impl Project<'_> {
    /// Where what is pushed is kept.
    pub fn push_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("store/push")
    }

    /// Pushes rows in parts, the log being opened anew now and then, and follows them to their end.
    fn pushes(&mut self, rows: &[&Row]) -> Result<(), Error> {
        let mut rng = Rng::with_seed(self.course.seed);
        let options = || PushOptions { segment_bytes: 2_000, clock: Arc::new(FixedClock), ..PushOptions::default() };
        for (source, name) in ["a", "b"].into_iter().enumerate() {
            let plan = &self.catalog.sources[name];
            let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.source == source).collect();
            for batch in files::typed(&rows, plan).0 {
                let (mut at, mut log) = (0, PushLog::open(&self.push_dir(), options())?);
                while at < batch.num_rows() {
                    let count = (1 + rng.usize(..6)).min(batch.num_rows() - at);
                    log.append(plan, batch.slice(at, count))?;
                    at += count;
                    if rng.usize(..8) == 0 {
                        log = PushLog::open(&self.push_dir(), options())?;
                    }
                }
            }
        }
        loop {
            let push = Push { log: Arc::new(PushLog::open(&self.push_dir(), options())?), until_end: true };
            let (stop, mut observe) = stop_after(self.course.stops_after);
            let options = self.stream_options(stop);
            let logs = Logs { kafka: None, push: Some(&push) };
            let report = follow(self.store(), self.catalog, std::slice::from_ref(&self.target), logs, &options, &mut observe)?;
            self.pause()?;
            if let Some((_, error)) = report.stopped.into_iter().next() {
                return Err(error);
            }
            if report.complete {
                return Ok(());
            }
            // Each run begins by saying how its logs stand.
            self.course.stops_after = self.course.stops_after.map(|chunks| chunks * 2);
        }
    }

    fn stream_options(&self, stop: Arc<AtomicBool>) -> StreamOptions {
        StreamOptions { shape: self.course.shape, stop, ..StreamOptions::new(Format::Ndjson, self.course.batch_rows, Arc::new(FixedClock)) }
    }
}

fn log_name(log: usize) -> String {
    format!("log_{log}.ndjson")
}

/// A flag, and the observer that sets it after so many chunks.
fn stop_after(chunks: Option<usize>) -> (Arc<AtomicBool>, impl FnMut(&Progress)) {
    let stop = Arc::new(AtomicBool::new(false));
    let (told, mut passed) = (Arc::clone(&stop), 0);
    let observe = move |_: &Progress| {
        passed += 1;
        told.store(chunks.is_some_and(|chunks| passed >= chunks), Ordering::Relaxed);
    };
    (stop, observe)
}
