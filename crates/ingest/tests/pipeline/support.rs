//! A project of one view, and the ways in which its events can come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::StringArray;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::admission::AdmitNext;
use lockstep_ingest::pipeline::{BackfillOptions, BackfillReport, Progress, StreamOptions, StreamReport, Target, backfill, ingest};
use lockstep_ingest::source::{Format, SourceFile, Stores};
use lockstep_model::{Clock, Error, EventTime, StateRead, TimeMode};
use lockstep_store::{Commit, Counters, DeadLetter, NewGeneration, OnlineStore, Store, StoreOptions};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{self, Definitions};
use lockstep_transform::next_event::NextEvent;
use lockstep_transform::tiles::{Request, Shape};

#[derive(Debug, Clone, Copy)]
pub enum Way {
    Bulk,
    Incremental,
    Stream { batch_rows: usize },
}

/// Noon of the day after the events.
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> EventTime {
        EventTime::parse("2024-01-02T12:00:00Z").unwrap()
    }
}

pub struct Project {
    dir: tempfile::TempDir,
    catalog: Catalog,
}

pub struct Outcome {
    pub answers: Vec<String>,
    pub counters: Counters,
    pub dead_letters: Vec<DeadLetter>,
}

pub fn stream_options() -> StreamOptions {
    StreamOptions::new(Format::Ndjson, 8192, Arc::new(FixedClock))
}

impl Project {
    pub fn new(log: &str) -> Project {
        let sql = "
            CREATE ENTITY shop (shop VARCHAR);
            CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP)
              WITH (event_time = 'at', allowed_lateness = '1 hour', history = 'all', batch = 'log.ndjson');
            CREATE FEATURE VIEW takings ENTITY shop WITH (ttl = '2 hours', limit = 10) AS
            SELECT shop, count(*) OVER h AS sales_h, sum(amount) OVER h AS sum_h, avg(amount) OVER ever AS avg_ever,
                   last_value(amount) OVER two AS last, array_agg(id) OVER two AS ids
            FROM sales
            WINDOW h AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '20 minutes' PRECEDING AND CURRENT ROW),
                   ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
                   two AS (PARTITION BY shop ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW);";
        Project::of(sql, &[("log.ndjson", log.as_bytes())])
    }

    /// A project of these definitions, of which the first view is meant, and these files.
    pub fn of(sql: &str, files: &[(&str, &[u8])]) -> Project {
        let next: Arc<dyn NextEvent> = Arc::new(AdmitNext);
        let dir = tempfile::tempdir().unwrap();
        let definitions = Definitions::parse(&[definition::SourceFile::new("view.sql", sql)]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let project = Project { dir, catalog: Catalog::compile_with(definitions, &next).unwrap_or_else(|errors| panic!("{}", errors[0])) };
        files.iter().for_each(|(name, bytes)| project.write(name, bytes));
        project
    }

    /// Writes a file below the project's directory.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub fn unpublished(&self) -> (Store, Target) {
        let dir = tempfile::TempDir::new_in(self.dir.path()).unwrap().keep();
        let store = Store::open(&dir, StoreOptions::new("test")).unwrap();
        let view = &self.catalog.views[0];
        let new = NewGeneration { view: view.view.clone(), version: 1, meaning: view.meaning, state: view.state };
        let generation = store.create_generation(new).unwrap();
        let target = Target::new(&self.catalog, view, generation).unwrap();
        (store, target)
    }

    pub fn published(&self) -> (Store, Target) {
        let (store, target) = self.unpublished();
        store.publish(vec![Commit::new(target.generation.generation, store.epoch())]).unwrap();
        (store, target)
    }

    pub fn stream(&self, store: &Store, target: &Target, batch_rows: usize, shape: Shape, stop: &Arc<AtomicBool>) -> StreamReport {
        self.stream_file("log.ndjson", store, target, batch_rows, shape, stop)
    }

    pub fn stream_file(&self, file: &str, store: &Store, target: &Target, batch_rows: usize, shape: Shape, stop: &Arc<AtomicBool>) -> StreamReport {
        let options = StreamOptions { batch_rows, shape, stop: Arc::clone(stop), ..stream_options() };
        self.stream_by(file, store, target, &options)
    }

    /// Reads one of several logs that are read in one go, which are called by their paths.
    pub fn stream_together(&self, file: &str, together: &[String], store: &Store, target: &Target) -> StreamReport {
        let beside = together.iter().map(|file| self.dir.path().join(file).display().to_string()).collect();
        self.stream_by(file, store, target, &StreamOptions { beside, ..stream_options() })
    }

    pub fn stream_by(&self, file: &str, store: &Store, target: &Target, options: &StreamOptions) -> StreamReport {
        self.try_stream_by(file, store, target, options).unwrap()
    }

    pub fn try_stream_by(&self, file: &str, store: &Store, target: &Target, options: &StreamOptions) -> Result<StreamReport, Error> {
        ingest(store, &self.catalog, std::slice::from_ref(target), &SourceFile::local(self.dir.path().join(file)), options, &mut |_| {})
    }

    fn options(&self, memory_bytes: usize, stop: bool) -> BackfillOptions {
        BackfillOptions {
            until: None,
            base: self.dir.path().to_owned(),
            stores: Stores::local(),
            memory_bytes,
            batch_rows: 3,
            shape: Shape::default(),
            threads: 2,
            stop: Arc::new(AtomicBool::new(stop)),
            clock: Arc::new(FixedClock),
        }
    }

    pub fn backfill(&self, store: &Store, target: &Target, memory_bytes: usize, stop: bool) -> Result<BackfillReport, Error> {
        backfill(store, &self.catalog, std::slice::from_ref(target), &self.options(memory_bytes, stop), &mut |_| {})
    }

    /// A backfill that is told to stop at the first progress that `stops` holds of.
    pub fn stop_at(&self, store: &Store, target: &Target, memory_bytes: usize, mut stops: impl FnMut(&Progress) -> bool) -> BackfillReport {
        let options = BackfillOptions { threads: 1, ..self.options(memory_bytes, false) };
        let stop = Arc::clone(&options.stop);
        let mut observe = |progress: &Progress| stop.store(stops(progress) || stop.load(Ordering::Relaxed), Ordering::Relaxed);
        backfill(store, &self.catalog, std::slice::from_ref(target), &options, &mut observe).unwrap()
    }

    pub fn backfill_until(&self, store: &Store, target: &Target, until: &str) -> Result<BackfillReport, Error> {
        let options = BackfillOptions { until: Some(EventTime::parse(until).unwrap()), ..self.options(usize::MAX, false) };
        backfill(store, &self.catalog, std::slice::from_ref(target), &options, &mut |_| {})
    }

    pub fn run(&self, way: Way, shape: Shape) -> Outcome {
        let (store, target) = match way {
            Way::Stream { .. } => self.published(),
            Way::Bulk | Way::Incremental => self.unpublished(),
        };
        match way {
            Way::Bulk => drop(self.backfill(&store, &target, usize::MAX, false).unwrap()),
            Way::Incremental => drop(self.backfill(&store, &target, 0, false).unwrap()),
            Way::Stream { batch_rows } => drop(self.stream(&store, &target, batch_rows, shape, &Arc::default())),
        }
        let cut = OnlineStore::cut(&store);
        let generation = target.generation.generation;
        Outcome {
            answers: self.answers(&store, &target),
            counters: cut.counters(generation).unwrap().get("sales").copied().unwrap_or_default(),
            dead_letters: cut.dead_letters(generation).collect::<Result<_, _>>().unwrap(),
        }
    }

    /// Every feature of three shops, at moments a minute apart and at edges, as text that shows every bit.
    pub fn answers(&self, store: &Store, target: &Target) -> Vec<String> {
        let cut = OnlineStore::cut(store);
        self.answers_in(&cut.state(target.generation.generation), target)
    }

    /// The same of any state.
    pub fn answers_in(&self, state: &dyn StateRead, target: &Target) -> Vec<String> {
        let start = EventTime::parse("2023-12-31T23:59:00Z").unwrap().0;
        let minute = 60_000_000;
        let shops: Vec<&str> = vec!["a", "b", "nowhere"];
        let keys = target.view.entity_keys(&[Arc::new(StringArray::from(shops))]).unwrap();
        let mut answers = Vec::new();
        for at in (0..160).flat_map(|i| [start + i * minute, start + i * minute + 1, start + i * minute - 1]) {
            let requests: Vec<Request<'_>> = (0..3).map(|i| Request { entity: keys.get(i), at }).collect();
            let features = target.view.read_at(state, &requests, TimeMode::Event, None).unwrap();
            for (column, statuses) in features.columns.iter().zip(&features.statuses) {
                let options = FormatOptions::new().with_null("NULL");
                let text = ArrayFormatter::try_new(column, &options).unwrap();
                answers.extend((0..3).map(|i| format!("{at} {} {}", text.value(i), statuses[i])));
            }
        }
        answers
    }
}
