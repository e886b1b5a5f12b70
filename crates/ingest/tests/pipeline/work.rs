//! A small project whose whole life is one piece of work, which can be begun anew wherever it was cut short: two views are backfilled together, a log is
//! applied, a copy of the store is made, snapshots are made and one is dropped, releases are promoted and rolled back, an older
//! version is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow::array::StringArray;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::out::{LetterRoutes, Outlets, Rolling};
use lockstep_ingest::pipeline::{BackfillOptions, Observer, StreamOptions, Target, backfill, ingest};
use lockstep_ingest::source::{Format, SourceFile, Stores};
use lockstep_model::{Clock, Error, EventTime, Fingerprint, Generation, TimeMode};
use lockstep_store::{
    Commit, CrashPlan, CutRead, DefinitionText, Described, NewDefinitions, NewGeneration, NewRelease, NewSnapshot, NewSwitch, OnlineStore, Snapshot,
    Store, StoreOptions, SwitchKind, SyncPolicy,
};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{self, Definitions};
use lockstep_transform::tiles::{Request, Shape};

use crate::leaving;

/// Rows of the history of sales, and of the log.
const ROWS: i64 = 90;
/// Most rows of a commit.
const BATCH_ROWS: usize = 8;
/// The version of the generations that stay.
const VERSION: u32 = 2;
/// The snapshot that stays, and the one that goes.
const KEPT: &str = "kept";
const DOOMED: &str = "doomed";
const START: i64 = 1_704_067_200_000_000;
const MINUTE: i64 = 60_000_000;

const SQL: &str = "
    CREATE ENTITY shop (shop VARCHAR);
    CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP)
      WITH (event_time = 'at', allowed_lateness = '20 minutes', history = 'all', batch = 'sales.csv',
            applied_log = 'all', dead_letters = 'sales.ndjson');
    CREATE SOURCE refunds (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP, v BIGINT)
      WITH (event_time = 'at', allowed_lateness = 'unbounded', version = 'v', history = 'all', batch = 'refunds.ndjson',
            applied_log = 'all');
    CREATE FEATURE VIEW takings ENTITY shop WITH (ttl = '2 hours', limit = 10) AS
    SELECT shop, count(*) OVER h AS sales_h, sum(amount) OVER h AS sum_h, array_agg(id) OVER two AS ids
    FROM sales
    WINDOW h AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '20 minutes' PRECEDING AND CURRENT ROW),
           two AS (PARTITION BY shop ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW);
    CREATE FEATURE VIEW balance ENTITY shop AS
    SELECT shop, sum(amount) OVER ever AS balance, count(*) OVER ever AS n
    FROM (SELECT shop, amount, at FROM sales UNION ALL SELECT shop, -amount, at FROM refunds) AS u
    WINDOW ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);";

/// How the history is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Bulk,
    Incremental,
}

impl Load {
    pub const ALL: [Load; 2] = [Load::Bulk, Load::Incremental];

    fn memory_bytes(self) -> usize {
        if self == Load::Bulk { usize::MAX } else { 0 }
    }
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> EventTime {
        EventTime(START + 2000 * MINUTE)
    }
}

/// The project, and where its store is.
pub struct Work {
    inputs: PathBuf,
    root: PathBuf,
    load: Load,
    catalog: Catalog,
}

/// Everything that can be read of the generations that stay, as text.
pub type Outcome = BTreeMap<String, String>;

impl Work {
    /// The project whose inputs are in `inputs`, with its store below `root`.
    pub fn new(inputs: &Path, root: &Path, load: Load) -> Work {
        let definitions = Definitions::parse(&[definition::SourceFile::new("work.sql", SQL)]).unwrap();
        Work { inputs: inputs.to_owned(), root: root.to_owned(), load, catalog: Catalog::compile(definitions).unwrap() }
    }

    fn store(&self, crash: CrashPlan) -> Result<Store, Error> {
        let options = StoreOptions {
            crash,
            sync: SyncPolicy::OnClose,
            block_cache_bytes: 8 << 20,
            write_buffer_bytes: 1 << 20,
            clock: Arc::new(FixedClock),
            ..StoreOptions::new("work")
        };
        Store::open(self.root.join("store"), options)
    }

    fn copy(&self) -> PathBuf {
        self.root.join("copy")
    }

    /// Does what is left to do, and says after each step that it is done.
    pub fn run(&self, crash: CrashPlan, done: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let store = self.store(crash)?;
        let targets = self.targets(&store)?;
        done("created");
        if !targets[0].generation.published() {
            backfill(&store, &self.catalog, &targets, &self.backfill_options(), &mut |_| {})?;
        }
        done("published");
        self.ingest(&store, &targets, None, &mut |_| {})?;
        done("ingested");
        if !self.copy().exists() {
            store.checkpoint(&self.copy())?;
        }
        done("copied");
        self.snapshots(&store)?;
        done("snapshotted");
        self.releases(&store)?;
        done("released");
        let all = OnlineStore::cut(&store).generations()?;
        all.iter().filter(|info| info.version < VERSION).try_for_each(|info| store.drop_generation(info.generation))?;
        done("dropped");
        store.close()
    }

    /// One snapshot is kept, another was made before it and is dropped.
    fn snapshots(&self, store: &Store) -> Result<(), Error> {
        let snapshots = store.snapshots();
        let make = |name: &str| {
            let new = NewSnapshot { name: Some(name.to_owned()), ..NewSnapshot::default() };
            let describe = |cut: &dyn CutRead| {
                let generations = self.known(cut)?.iter().map(|target| (target.generation.generation, None)).collect();
                Ok::<_, Error>(Described { moment: FixedClock.now(), definitions: 0, generations })
            };
            store.snapshot(new, describe)
        };
        let is_there = |name: &str| snapshots.dir_of(name).exists();
        if !is_there(KEPT) {
            if !is_there(DOOMED) {
                make(DOOMED)?;
            }
            make(KEPT)?;
        }
        if is_there(DOOMED) { store.drop_snapshot(DOOMED, false) } else { Ok(()) }
    }

    /// Two releases are promoted, and the first serves again.
    fn releases(&self, store: &Store) -> Result<(), Error> {
        if store.definitions_version() == 0 {
            let texts = vec![DefinitionText { path: "work.sql".to_owned(), text: SQL.to_owned() }];
            store.apply_definitions(0, NewDefinitions { texts, fingerprint: Fingerprint([3; 32]), by: None, reason: None, models: Vec::new() })?;
        }
        let switch = |kind| NewSwitch { kind, forced: false, by: None, reason: None, automatic: false };
        let all: Vec<Generation> = self.known(&store.cut())?.iter().map(|target| target.generation.generation).collect();
        for epoch in store.serving_epoch()..3 {
            match epoch {
                2 => drop(store.roll_back(2, 1, switch(SwitchKind::RollBack))?),
                _ => {
                    let generations = all[epoch as usize..].to_vec();
                    let release = NewRelease { definitions: 1, generations, snapshot: None, validation: None };
                    store.promote(epoch, release, switch(SwitchKind::Promote))?;
                }
            }
        }
        Ok(())
    }

    /// The generations of both views, made on the first run, and before them an older one of the first.
    fn targets(&self, store: &Store) -> Result<Vec<Target>, Error> {
        let all = OnlineStore::cut(store).generations()?;
        if all.iter().all(|info| info.version < VERSION) {
            let view = &self.catalog.views[0];
            let old = NewGeneration { view: view.view.clone(), version: 1, meaning: Fingerprint([1; 32]), state: view.state };
            let old = all.first().map_or_else(|| store.create_generation(old), |old| Ok(old.clone()))?;
            if !old.published() {
                store.publish(vec![Commit::new(old.generation, store.epoch())])?;
            }
        }
        for view in self.catalog.views.values().filter(|view| !all.iter().any(|info| info.view == view.view && info.version == VERSION)) {
            store.create_generation(NewGeneration { view: view.view.clone(), version: VERSION, meaning: view.meaning, state: view.state })?;
        }
        self.known(&store.cut())
    }

    /// Those of the generations that there are.
    fn known(&self, cut: &dyn CutRead) -> Result<Vec<Target>, Error> {
        let all = cut.generations()?;
        let kept = all.into_iter().filter(|info| info.version == VERSION);
        kept.map(|info| Target::new(&self.catalog, &self.catalog.views[&info.view], info)).collect()
    }

    fn backfill_options(&self) -> BackfillOptions {
        BackfillOptions {
            until: None,
            base: self.inputs.clone(),
            stores: Stores::local(),
            memory_bytes: self.load.memory_bytes(),
            batch_rows: BATCH_ROWS,
            shape: Shape { leaf_rows_max: 4, buffer_rows_max: 3 },
            threads: 2,
            stop: Arc::default(),
            clock: Arc::new(FixedClock),
        }
    }

    fn ingest(&self, store: &Store, targets: &[Target], stop: Option<&Arc<AtomicBool>>, observe: &mut Observer<'_>) -> Result<bool, Error> {
        let options = StreamOptions {
            shape: Shape { leaf_rows_max: 4, buffer_rows_max: 3 },
            stop: stop.cloned().unwrap_or_default(),
            outlets: self.outlets(store),
            ..StreamOptions::new(Format::Ndjson, BATCH_ROWS, Arc::new(FixedClock))
        };
        Ok(ingest(store, &self.catalog, targets, &SourceFile::local(self.inputs.join("log.ndjson")), &options, observe)?.complete)
    }

    /// Files of few rows, and soon one of three.
    fn outlets(&self, store: &Store) -> Outlets {
        let rolling = Rolling { bytes: 6000, merged: 3, look_every: Duration::from_millis(1), ..Rolling::default() };
        let letters = LetterRoutes { base: self.root.join("dead"), kafka: None };
        Outlets { applied: Some(store.applied_logs()), letters: Some(letters), rolling, together: None }
    }

    /// What the store says once the work is done; the copy must say the same.
    pub fn outcome(&self) -> Outcome {
        let store = self.store(CrashPlan::default()).unwrap();
        assert!(OnlineStore::cut(&store).generations().unwrap().iter().all(|info| info.version == VERSION), "the older version is dropped");
        let copy = Store::open(self.copy(), StoreOptions::new("test")).unwrap();
        // What may be forgotten is forgotten sooner or later.
        [&store, &copy].into_iter().for_each(|store| store.compact().unwrap());
        let mut outcome = self.read(&store);
        assert_eq!(self.read(&copy), outcome, "the copy");
        for source in ["sales", "refunds"] {
            outcome.insert(format!("{source} applied"), leaving::applied(&store, source).join("\n"));
        }
        let (release, switch) = store.cut().serving().unwrap().unwrap();
        assert_eq!((release.release, switch.epoch), (1, 3), "the first release serves again");
        assert_eq!(self.snapshot_names(), [KEPT], "one snapshot is kept");
        let letters = fs::read_to_string(self.root.join("dead/sales.ndjson")).unwrap_or_default();
        // A letter may have been sent twice.
        let letters: BTreeSet<&str> = letters.lines().collect();
        outcome.insert("sales letters".to_owned(), letters.into_iter().collect::<Vec<_>>().join("\n"));
        outcome
    }

    /// Fails unless the logs hold of the rows that an undisturbed run applies those before the store's positions, each once.
    fn assert_logged(&self, store: &Store, whole: &Outcome, place: &str) {
        let cut = OnlineStore::cut(store);
        let reached: BTreeMap<String, u64> = self
            .known(&*cut)
            .unwrap()
            .iter()
            .flat_map(|target| cut.positions(target.generation.generation).unwrap())
            .filter(|(id, _)| id.partition.ends_with("log.ndjson"))
            .map(|(id, position)| (id.source, position.rows()))
            .collect();
        for source in ["sales", "refunds"] {
            let reached = reached.get(source).copied().unwrap_or(0);
            let expected: Vec<&str> = whole[&format!("{source} applied")].lines().filter(|line| leaving::row_of(line) < reached).collect();
            assert_eq!(leaving::applied(store, source), expected, "{place}: the log of {source}, read to row {reached}");
        }
    }

    /// Everything that two generations hold, and what they answer.
    fn read(&self, store: &Store) -> Outcome {
        let cut = OnlineStore::cut(store);
        let mut outcome = Outcome::new();
        for target in self.known(&*cut).unwrap() {
            let (generation, view) = (target.generation.generation, &target.view.view);
            let (mut state, mut keys) = (String::new(), String::new());
            let add = |to: &mut String, what: &dyn std::fmt::Debug| writeln!(to, "{what:?}").map_err(|error| Error::internal(error.to_string()));
            cut.each_state(generation, &mut |key, value| add(&mut state, &(key, value))).unwrap();
            cut.each_key(generation, &mut |source, key, value| add(&mut keys, &(source, key, value))).unwrap();
            let refusals = cut.refusals(generation).collect::<Result<Vec<_>, _>>().unwrap();
            let letters = cut.dead_letters(generation).collect::<Result<Vec<_>, _>>().unwrap();
            let parts = [
                ("info", format!("{:?}", cut.generation(generation).unwrap())),
                ("positions", format!("{:#?}", cut.positions(generation).unwrap())),
                ("counters", format!("{:#?}", cut.counters(generation).unwrap())),
                ("refusals", format!("{refusals:#?}")),
                ("dead letters", format!("{letters:#?}")),
                ("answers", self.answers(&*cut, &target)),
                ("state", state),
                ("keys", keys),
            ];
            outcome.extend(parts.map(|(part, text)| (format!("{view} {part}"), text)));
        }
        outcome
    }

    /// Every feature of three shops from before the first event until after the last.
    fn answers(&self, cut: &dyn CutRead, target: &Target) -> String {
        let keys = target.view.entity_keys(&[Arc::new(StringArray::from(vec!["a", "b", "nowhere"]))]).unwrap();
        let moments: Vec<i64> = (-3..2 * ROWS + 30).map(|minute| START + minute * MINUTE).collect();
        let requests: Vec<Request<'_>> =
            moments.iter().flat_map(|&at| (0..3).map(move |i| (i, at))).map(|(i, at)| Request { entity: keys.get(i), at }).collect();
        let state = cut.state(target.generation.generation);
        let features = target.view.read_at(&state, &requests, TimeMode::Event, None).unwrap();
        let mut text = String::new();
        for (column, statuses) in features.columns.iter().zip(&features.statuses) {
            let options = FormatOptions::new().with_null("NULL");
            let values = ArrayFormatter::try_new(column, &options).unwrap();
            statuses.iter().enumerate().for_each(|(row, status)| writeln!(text, "{} {status}", values.value(row)).unwrap());
        }
        text
    }

    /// What each view answers by the number of the log's rows that are applied, from a run that stops after each commit.
    pub fn answers_by_row(&self) -> BTreeMap<u64, [String; 2]> {
        let store = self.store(CrashPlan::default()).unwrap();
        let targets = self.targets(&store).unwrap();
        backfill(&store, &self.catalog, &targets, &self.backfill_options(), &mut |_| {}).unwrap();
        let mut answers = BTreeMap::new();
        loop {
            let (row, seen) = self.seen(&store.cut()).unwrap();
            answers.insert(row, seen);
            let stop = Arc::new(AtomicBool::new(true));
            if self.ingest(&store, &targets, Some(&stop), &mut |_| {}).unwrap() {
                return answers;
            }
        }
    }

    /// How many rows of the log are applied, and what both views answer; `None` where they are not published, neither of them.
    fn seen(&self, cut: &dyn CutRead) -> Option<(u64, [String; 2])> {
        let targets = self.known(cut).unwrap();
        let published = targets.iter().filter(|target| target.generation.published()).count();
        assert!(published == 0 || published == 2, "views that are published together");
        let rows = |target: &Target| {
            let positions = cut.positions(target.generation.generation).unwrap();
            let logs = positions.into_iter().filter(|(id, _)| id.partition.ends_with("log.ndjson"));
            logs.map(|(_, position)| position.rows()).collect::<std::collections::BTreeSet<_>>()
        };
        let rows: std::collections::BTreeSet<u64> = targets.iter().flat_map(rows).collect();
        assert!(rows.len() <= 1, "views and sources that are applied together: {rows:?}");
        (published == 2).then(|| (rows.first().copied().unwrap_or(0), [0, 1].map(|at| self.answers(cut, &targets[at]))))
    }

    /// What lies where snapshots do: nothing that is not whole, once the store was opened.
    pub fn snapshot_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("store/snapshots")).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert!(names.iter().all(|name| [KEPT, DOOMED].contains(&name.as_str())), "{names:?}");
        names
    }

    /// Fails unless what readers see is what was once true of an undisturbed run: nothing, or the answers that belong to the position.
    pub fn assert_once_true(&self, answers: &BTreeMap<u64, [String; 2]>, whole: &Outcome, place: &str) {
        let store = self.store(CrashPlan::default()).unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Some((row, seen)) = self.seen(&store.cut()) {
            assert_eq!(answers.get(&row), Some(&seen), "{place}: after {row} rows");
            self.assert_logged(&store, whole, place);
        }
        if self.copy().exists() {
            let copy = Store::open(self.copy(), StoreOptions::new("test")).unwrap_or_else(|error| panic!("{place}: the copy: {error}"));
            assert_eq!(self.seen(&copy.cut()), answers.last_key_value().map(|(row, seen)| (*row, seen.clone())), "{place}: the copy");
        }
        for name in self.snapshot_names() {
            let options = StoreOptions { block_cache_bytes: 8 << 20, ..StoreOptions::new("test") };
            let snapshot = Snapshot::open(store.snapshots().dir_of(&name), &options).unwrap_or_else(|error| panic!("{place}: {name}: {error}"));
            assert_eq!(self.seen(&snapshot.cut()), answers.last_key_value().map(|(row, seen)| (*row, seen.clone())), "{place}: snapshot {name}");
        }
    }
}

/// Writes the inputs of the project.
pub fn write_inputs(dir: &Path) {
    let moment = |minute: i64| EventTime(START + minute * MINUTE).to_string();
    let shop = |i: i64| ["a", "b", "a"][i as usize % 3];
    let mut sales = "id,shop,amount,at\n".to_owned();
    let mut refunds = String::new();
    let mut log = String::new();
    for i in 0..ROWS {
        writeln!(sales, "{i},{},{}.1,{}", shop(i), i * 7 % 11, moment(i)).unwrap();
        // Every third is of a key that was there before: the same again, or other content.
        let (id, amount) = match i % 9 {
            0 => (ROWS + i / 2, 1),
            3 => (ROWS + i / 2, 2),
            _ => (ROWS + i, i),
        };
        let late = if i % 10 == 4 { 40 } else { i % 5 };
        writeln!(log, r#"{{"_source":"sales","id":{id},"shop":"{}","amount":{amount},"at":"{}"}}"#, shop(i), moment(ROWS + i - late)).unwrap();
        let refund =
            |i: i64| format!(r#"{{"_source":"refunds","id":{},"shop":"{}","amount":0.{i},"at":"{}","v":{}}}"#, i % 20, shop(i), moment(i + 5), i % 4);
        writeln!(if i % 2 == 0 { &mut refunds } else { &mut log }, "{}", refund(i)).unwrap();
        match i % 30 {
            7 => writeln!(log, "no row").unwrap(),
            8 => writeln!(log, r#"{{"_source":"refunds","id":{i},"v":9,"_tombstone":true}}"#).unwrap(),
            9 => writeln!(log, r#"{{"_source":"sales","id":{},"shop":"a","amount":1,"at":"2099-01-01T00:00:00Z"}}"#, 1000 + i).unwrap(),
            _ => {}
        }
    }
    fs::write(dir.join("sales.csv"), sales).unwrap();
    fs::write(dir.join("refunds.ndjson"), refunds).unwrap();
    fs::write(dir.join("log.ndjson"), log).unwrap();
}

/// Says what differs between two outcomes, part by part.
#[track_caller]
pub fn assert_same(place: &str, given: &Outcome, expected: &Outcome) {
    for (part, text) in expected {
        assert_eq!(given.get(part), Some(text), "{place}: {part}");
    }
}
