//! What leaves a store while a log is applied: the log of applied events, exactly once, and dead letters, at least once.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::out::applied::rows_waiting;
use lockstep_ingest::out::{Carriers, LetterRoutes, Outlets, Rolling, Together, applied_queue};
use lockstep_ingest::pipeline::{StreamOptions, StreamReport, Target};
use lockstep_ingest::source::Format;
use lockstep_model::{Clock, EventTime};
use lockstep_store::{NewGeneration, OnlineStore, Store};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{Project, stream_options};

/// The rows of a log, in files that count and waiting for one, as text that begins with the row's number and the partition's last part.
pub fn applied(store: &Store, source: &str) -> Vec<String> {
    let cut = OnlineStore::cut(store);
    let taken = cut.queues().unwrap().get(&applied_queue(source)).map_or(0, |queue| queue.taken);
    let mut lines = Vec::new();
    for file in store.applied_logs().files(source, taken).unwrap() {
        let before = lines.len();
        let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(&file.path).unwrap()).unwrap().build().unwrap();
        rows.for_each(|batch| lines.extend(lines_of(&batch.unwrap())));
        assert_eq!((lines.len() - before) as u64, file.span.end - file.span.first, "{}", file.path.display());
    }
    rows_waiting(&*cut, source).unwrap().iter().for_each(|batch| lines.extend(lines_of(batch)));
    lines
}

fn lines_of(batch: &RecordBatch) -> Vec<String> {
    let rows = batch.column_by_name("_row").unwrap().as_primitive::<UInt64Type>();
    let partitions = batch.column_by_name("_partition").unwrap().as_string::<i32>();
    let options = FormatOptions::new().with_null("NULL");
    let shown: Vec<(String, ArrayFormatter<'_>)> = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| !["_row", "_partition"].contains(&field.name().as_str()))
        .map(|(field, column)| (field.name().clone(), ArrayFormatter::try_new(column, &options).unwrap()))
        .collect();
    let line = |row: usize| {
        let values: Vec<String> = shown.iter().map(|(name, column)| format!("{name}={}", column.value(row))).collect();
        format!("{} {} {}", rows.value(row), partitions.value(row).rsplit('/').next().unwrap_or_default(), values.join(" "))
    };
    (0..batch.num_rows()).map(line).collect()
}

/// The number that a line begins with.
pub fn row_of(line: &str) -> u64 {
    line.split(' ').next().and_then(|number| number.parse().ok()).unwrap()
}

const SQL: &str = "
    CREATE ENTITY shop (shop VARCHAR);
    CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, v BIGINT, at TIMESTAMP)
      WITH (event_time = 'at', version = 'v', allowed_lateness = '1 hour', history = 'all', applied_log = '30 days', dead_letters = 'dead/sales.ndjson');
    CREATE FEATURE VIEW takings ENTITY shop AS
    SELECT shop, count(*) OVER ever AS sales FROM sales
    WINDOW ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);";

/// A clock that goes only as told.
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

const DAY: i64 = 24 * 3_600_000_000;

/// A project whose store lets rows go.
struct Leaving {
    project: Project,
    store: Arc<Store>,
    target: Target,
    clock: Arc<TestClock>,
    rolling: Rolling,
}

impl Leaving {
    fn new(log: &str) -> Leaving {
        let project = Project::of(SQL, &[("log.ndjson", log.as_bytes())]);
        let (store, target) = project.published();
        let start = EventTime::parse("2024-01-02T12:00:00Z").unwrap().0;
        let rolling = Rolling { look_every: Duration::from_millis(1), ..Rolling::default() };
        Leaving { project, store: Arc::new(store), target, clock: Arc::new(TestClock(AtomicI64::new(start))), rolling }
    }

    fn options(&self) -> StreamOptions {
        let letters = LetterRoutes { base: self.project.dir().to_owned(), kafka: None };
        let outlets = Outlets { applied: Some(self.store.applied_logs()), letters: Some(letters), rolling: self.rolling, together: None };
        StreamOptions { batch_rows: 2, clock: Arc::clone(&self.clock) as Arc<dyn Clock>, outlets, ..stream_options() }
    }

    fn ingest(&self, file: &str) -> StreamReport {
        self.project.stream_by(file, &self.store, &self.target, &self.options())
    }

    fn applied(&self) -> Vec<String> {
        applied(&self.store, "sales")
    }

    fn files(&self) -> Vec<(u64, u64)> {
        let taken = OnlineStore::cut(&*self.store).queues().unwrap()[&applied_queue("sales")].taken;
        let files = self.store.applied_logs().files("sales", taken).unwrap();
        files.iter().map(|file| (file.span.first, file.span.end)).collect()
    }
}

fn sale(id: i64, v: i64, minute: i64) -> String {
    format!("{{\"id\":{id},\"shop\":\"a\",\"v\":{v},\"at\":\"2024-01-01T{:02}:{:02}:00Z\"}}\n", minute / 60, minute % 60)
}

/// New, corrected, corrected too late, repeated, deleted, of no use, and refused.
fn log() -> String {
    let deleted = "{\"id\":3,\"v\":9,\"_tombstone\":true}\n".to_owned();
    [
        sale(1, 1, 300),
        sale(1, 3, 301),
        sale(1, 2, 302),
        sale(1, 3, 301),
        sale(3, 1, 303),
        deleted,
        "no row\n".to_owned(),
        sale(4, 1, 1),
        sale(5, 1, 304),
    ]
    .concat()
}

#[test]
fn the_log_says_of_each_row_that_counts_what_became_of_it() {
    let leaving = Leaving::new(&log());
    leaving.ingest("log.ndjson");
    let outcome = |line: &String| {
        let word = |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
        (row_of(line), word("_outcome="), word("_tombstone="))
    };
    let said: Vec<(u64, String, String)> = leaving.applied().iter().map(outcome).collect();
    let said: Vec<(u64, &str, &str)> = said.iter().map(|(row, outcome, tombstone)| (*row, outcome.as_str(), tombstone.as_str())).collect();
    assert_eq!(
        said,
        [(0, "new", "false"), (1, "replaces", "false"), (2, "superseded", "false"), (4, "new", "false"), (5, "deletes", "true"), (8, "new", "false")]
    );
    let counters = OnlineStore::cut(&*leaving.store).counters(leaving.target.generation.generation).unwrap()["sales"];
    assert_eq!((counters.applied, counters.duplicates, counters.refused, counters.dead_lettered), (6, 1, 1, 1), "{counters:?}");
    let letters = std::fs::read_to_string(leaving.project.dir().join("dead/sales.ndjson")).unwrap();
    assert!(
        letters.contains("\"row\":6,\"reason\":\"unreadable\"") && letters.contains("\"text\":\"no row\"") && letters.lines().count() == 1,
        "{letters}"
    );
    // Again from the end, nothing is new.
    let before = leaving.applied();
    leaving.ingest("log.ndjson");
    assert_eq!(leaving.applied(), before);
}

#[test]
fn a_view_that_reads_a_log_later_puts_nothing_into_it_twice() {
    let leaving = Leaving::new(&log());
    leaving.ingest("log.ndjson");
    let before = leaving.applied();
    let view = &leaving.project.catalog().views[0];
    let new = NewGeneration { view: view.view.clone(), version: 2, meaning: view.meaning, state: view.state };
    let second = Target::new(leaving.project.catalog(), view, leaving.store.create_generation(new).unwrap()).unwrap();
    leaving.project.write("log.ndjson", log() + &sale(6, 1, 305));
    leaving.project.stream_by("log.ndjson", &leaving.store, &second, &leaving.options());
    let after = leaving.applied();
    assert_eq!(after[..before.len()], before);
    assert_eq!(after[before.len()..].iter().map(|line| row_of(line)).collect::<Vec<_>>(), [9]);
    // The one that was there before catches up with it.
    leaving.ingest("log.ndjson");
    assert_eq!(leaving.applied(), after);
}

#[test]
fn small_files_become_one_and_old_ones_go() {
    let mut leaving = Leaving::new("");
    leaving.rolling.merged = 4;
    let mut log = String::new();
    let mut sizes = Vec::new();
    for day in 0..9 {
        log += &sale(day, 1, 300 + day);
        leaving.project.write("log.ndjson", &log);
        leaving.ingest("log.ndjson");
        sizes.push(leaving.files().len());
        leaving.clock.0.fetch_add(DAY, Ordering::Relaxed);
    }
    assert_eq!(sizes, [1, 2, 3, 1, 2, 3, 1, 2, 3], "{:?}", leaving.files());
    assert_eq!(leaving.applied().len(), 9);
    // What was merged is as old as its newest row: the seven of the first days go together.
    leaving.clock.0.fetch_add(30 * DAY - 2 * DAY - DAY, Ordering::Relaxed);
    leaving.ingest("log.ndjson");
    assert_eq!(leaving.files(), [(0, 7), (7, 8), (8, 9)]);
    leaving.clock.0.fetch_add(1, Ordering::Relaxed);
    leaving.ingest("log.ndjson");
    assert_eq!(leaving.files(), [(7, 8), (8, 9)]);
    log += &sale(9, 1, 309);
    leaving.project.write("log.ndjson", &log);
    leaving.ingest("log.ndjson");
    let rows: Vec<u64> = leaving.applied().iter().map(|line| row_of(line)).collect();
    assert_eq!(rows, [7, 8, 9]);
}

#[test]
fn the_log_can_be_ingested_as_a_log() {
    let leaving = Leaving::new(&log());
    leaving.ingest("log.ndjson");
    let dir = leaving.store.applied_logs().dir("sales");
    let file = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    let (store, target) = leaving.project.published();
    let copy = leaving.project.dir().join("applied.parquet");
    std::fs::copy(file, &copy).unwrap();
    let options = StreamOptions { format: Format::Parquet, ..stream_options() };
    leaving.project.stream_by("applied.parquet", &store, &target, &options);
    assert_eq!(leaving.project.answers(&store, &target), leaving.project.answers(&leaving.store, &leaving.target));
}

#[test]
fn a_log_that_cannot_be_written_says_so_and_loses_nothing() {
    let leaving = Leaving::new(&log());
    // A file stands where its directory is to be.
    let place = leaving.store.dir().join("applied");
    std::fs::write(&place, b"").unwrap();
    let failed = leaving.project.try_stream_by("log.ndjson", &leaving.store, &leaving.target, &leaving.options()).unwrap_err();
    assert!(failed.to_string().contains("the log of applied events of source `sales`: cannot read the log"), "{failed}");
    let waiting: BTreeSet<u64> =
        rows_waiting(&*OnlineStore::cut(&*leaving.store), "sales").unwrap().iter().flat_map(lines_of).map(|line| row_of(&line)).collect();
    assert_eq!(waiting.len(), 6);
    std::fs::remove_file(&place).unwrap();
    leaving.ingest("log.ndjson");
    assert_eq!(leaving.applied().len(), 6);
    assert_eq!(leaving.files(), [(0, 6)]);
}

#[test]
fn of_two_that_read_a_log_at_once_each_row_leaves_once() {
    let part = |rows: std::ops::Range<i64>| -> String {
        rows.map(|id| if id % 7 == 3 { format!("no row {id}\n") } else { sale(id, 1, 300 + id / 10) }).collect()
    };
    let leaving = Leaving::new("");
    let catalog = leaving.project.catalog();
    let view = &catalog.views[0];
    let new = NewGeneration { view: view.view.clone(), version: 2, meaning: view.meaning, state: view.state };
    let second = Target::new(catalog, view, leaving.store.create_generation(new).unwrap()).unwrap();
    let together = Arc::new(Together::default());
    let options = || {
        let options = leaving.options();
        StreamOptions { outlets: Outlets { together: Some(Arc::clone(&together)), ..options.outlets }, ..options }
    };
    let mut carriers = Carriers::new(Arc::clone(&leaving.store) as Arc<dyn OnlineStore>, options().outlets, options().clock);
    carriers.carry(catalog.sources.values());
    let mut log = String::new();
    for round in 0..6 {
        log += &part(round * 70..(round + 1) * 70);
        leaving.project.write("log.ndjson", &log);
        thread::scope(|scope| {
            for target in [&leaving.target, &second] {
                // One begins behind the other in every second round, so that it reads what the queue has already.
                if round % 2 == 0 || target.generation.version == 1 {
                    scope.spawn(|| leaving.project.stream_by("log.ndjson", &leaving.store, target, &options()));
                }
            }
        });
    }
    leaving.project.stream_by("log.ndjson", &leaving.store, &second, &options());
    carriers.finish().unwrap();
    let rows: Vec<u64> = leaving.applied().iter().map(|line| row_of(line)).collect();
    let (letters, expected): (Vec<u64>, Vec<u64>) = (0..420).partition(|row| row % 7 == 3);
    assert_eq!(rows, expected);
    let sent = std::fs::read_to_string(leaving.project.dir().join("dead/sales.ndjson")).unwrap();
    let sent: Vec<u64> =
        sent.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["_dead_letter"]["row"].as_u64().unwrap()).collect();
    assert_eq!(sent, letters);
    let answers = |target: &Target| leaving.project.answers(&leaving.store, target);
    assert_eq!(answers(&leaving.target), answers(&second));
}
