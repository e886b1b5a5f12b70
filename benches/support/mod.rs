//! What the benchmarks share: payments of many users, features over them, clocks, and a table with a floor in every row.

#![allow(dead_code, reason = "each benchmark uses some of it")]

pub mod avro;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use lockstep_ingest::out::Outlets;
use lockstep_ingest::pipeline::{BackfillOptions, BackfillReport, StreamOptions, Target, backfill};
use lockstep_ingest::source::{Format, Stores};
use lockstep_model::SystemClock;
use lockstep_store::{NewGeneration, OnlineStore, Store, StoreOptions};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use lockstep_transform::tiles::Shape;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first moment of the payments, 2024-01-01, and how far they reach, µs.
pub const START: i64 = 1_704_067_200_000_000;
pub const HOUR: i64 = 3_600_000_000;
pub const SPAN: i64 = 60 * 24 * HOUR;

/// Whether the long cases are wanted too.
pub fn long() -> bool {
    std::env::var_os("LOCKSTEP_BENCH_LONG").is_some()
}

/// Seconds that all threads of this process, those that have ended too, were running.
pub fn process_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 1..].split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

/// Bytes that this process has had written to the disk, or that are on their way there.
pub fn written_bytes() -> f64 {
    let counts = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = counts.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("what was written");
    line.parse().expect("a number")
}

/// Seconds that this thread was running.
pub fn thread_seconds() -> f64 {
    // The kernel brings the count up to date when the thread gives way.
    std::thread::yield_now();
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    nanos.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("a number") / 1e9
}

/// What `work` takes by `clock` at best: others on the machine only ever slow it down.
pub fn at_best(rounds: usize, clock: fn() -> f64, mut work: impl FnMut()) -> f64 {
    let mut round = || {
        let start = clock();
        work();
        clock() - start
    };
    (0..rounds.max(1)).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Seconds by the clock on the wall.
#[allow(clippy::disallowed_methods, reason = "only printed")]
pub fn wall_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Prints the heading of a table.
pub fn heading(title: &str, unit: &str) {
    println!("\n{title}");
    println!("  {:<58} {:>12} {:>12} {:>7}  aim", "", format!("value {unit}"), format!("floor {unit}"), "ratio");
}

/// Prints a value beside its floor: how many times the floor it is, and how many it may be.
pub fn row(name: &str, value: f64, floor: f64, aim: &str) {
    println!("  {name:<58} {value:>12.2} {floor:>12.2} {:>7.2}  {aim}", value / floor);
}

/// Payments, one to a row: `id`, `account`, `amount`, `kind`, `paid_at`.
#[derive(Debug, Clone, Copy)]
pub struct Payments {
    pub count: usize,
    pub accounts: u64,
    /// Whether one account holds half of all payments.
    pub hot: bool,
    /// In how long a time they are made, µs.
    pub span: i64,
}

impl Payments {
    fn hash(number: usize) -> u64 {
        (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    pub fn account(&self, number: usize) -> i64 {
        if self.hot && number.is_multiple_of(2) { 0 } else { (Payments::hash(number) % self.accounts) as i64 }
    }

    /// They come in the order of their time, evenly spread.
    pub fn time(&self, number: usize) -> i64 {
        START + (number as i128 * i128::from(self.span) / self.count as i128) as i64
    }

    pub fn batch(&self, numbers: std::ops::Range<usize>) -> RecordBatch {
        let amount = |number: usize| (Payments::hash(number ^ 0x55) % 100_000) as f64 / 100.0;
        let kinds = ["card", "transfer", "cash", "refund"];
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from_iter_values(numbers.clone().map(|number| number as i64)))),
            ("account", Arc::new(Int64Array::from_iter_values(numbers.clone().map(|number| self.account(number))))),
            ("amount", Arc::new(Float64Array::from_iter_values(numbers.clone().map(amount)))),
            ("kind", Arc::new(StringArray::from_iter_values(numbers.clone().map(|number| kinds[number % 4])))),
            ("paid_at", Arc::new(TimestampMicrosecondArray::from_iter_values(numbers.map(|number| self.time(number))))),
        ];
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }

    /// All of them, in batches.
    pub fn batches(&self) -> impl Iterator<Item = RecordBatch> + '_ {
        (0..self.count).step_by(1 << 16).map(|first| self.batch(first..self.count.min(first + (1 << 16))))
    }

    pub fn write_parquet(&self, path: &Path) {
        // A few row groups to each core.
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1 << 18)).build();
        let mut writer = ArrowWriter::try_new(File::create(path).expect("a file"), self.batch(0..0).schema(), Some(properties)).expect("a writer");
        self.batches().for_each(|batch| writer.write(&batch).expect("written"));
        writer.close().expect("closed");
    }

    pub fn write_ndjson(&self, path: &Path) {
        let mut writer = arrow::json::LineDelimitedWriter::new(std::io::BufWriter::new(File::create(path).expect("a file")));
        self.batches().for_each(|batch| writer.write(&batch).expect("written"));
        writer.finish().expect("finished");
    }
}

/// The rows of a batch as JSON, an object each.
pub fn json_records(batch: &RecordBatch) -> Vec<Vec<u8>> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).expect("written");
    writer.into_inner().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The entity and the source, with its history in `batch`.
pub fn source(batch: &Path) -> String {
    format!(
        "CREATE ENTITY account (account BIGINT);
         CREATE SOURCE payments (id BIGINT, account BIGINT, amount DOUBLE, kind VARCHAR, paid_at TIMESTAMP, PRIMARY KEY (id))
         WITH (event_time = 'paid_at', allowed_lateness = '1 hour', history = '90 days', batch = '{}');",
        batch.display()
    )
}

/// A view of `features` features, spread over windows of these lengths.
pub fn view(name: &str, features: usize, windows: &[&str]) -> String {
    let calls = ["count(*)", "sum(amount)", "avg(amount)", "max(amount)", "count(*) FILTER (WHERE kind = 'refund')", "min(amount)", "stddev(amount)"];
    let feature = |at: usize| format!("{} OVER w{} AS f{at}", calls[at / windows.len() % calls.len()], at % windows.len());
    let list: Vec<String> = (0..features).map(feature).collect();
    let window = |(at, length): (usize, &&str)| {
        format!("w{at} AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '{length}' PRECEDING AND CURRENT ROW)")
    };
    let windows: Vec<String> = windows.iter().enumerate().map(window).collect();
    format!("CREATE FEATURE VIEW {name} ENTITY account AS SELECT account, {} FROM payments WINDOW {};", list.join(", "), windows.join(", "))
}

/// The columns of payments.
pub fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [("id", DataType::Int64), ("account", DataType::Int64), ("amount", DataType::Float64), ("kind", DataType::Utf8), ("paid_at", time)];
    Arc::new(Schema::new(columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect::<Vec<_>>()))
}

/// RocksDB for events as they are.
pub fn raw_database(path: &Path) -> rocksdb::DB {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(64 << 20);
    options.set_max_write_buffer_number(4);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    rocksdb::DB::open(&options, path).expect("a database")
}

/// RocksDB for values that are looked up, with the store's own settings.
pub fn lookup_options() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    let mut blocks = rocksdb::BlockBasedOptions::default();
    blocks.set_block_cache(&rocksdb::Cache::new_hyper_clock_cache(256 << 20, 0));
    blocks.set_block_size(8 << 10);
    blocks.set_hybrid_ribbon_filter(10.0, 1);
    blocks.set_data_block_index_type(rocksdb::DataBlockIndexType::BinaryAndHash);
    options.set_block_based_table_factory(&blocks);
    options
}

/// What any store of events would have to do: an event by entity and time, and its key.
pub fn put_twice(db: &rocksdb::DB, rows: &RecordBatch) {
    let (ids, accounts) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<Int64Type>());
    let (amounts, times) = (rows.column(2).as_primitive::<Float64Type>(), rows.column(4).as_primitive::<TimestampMicrosecondType>());
    let mut batch = rocksdb::WriteBatch::default();
    for row in 0..rows.num_rows() {
        let (id, time) = (ids.value(row).to_be_bytes(), times.value(row).to_be_bytes());
        batch.put([accounts.value(row).to_be_bytes(), time, id].concat(), amounts.value(row).to_le_bytes());
        batch.put(id, time);
    }
    db.write(batch).expect("written");
}

/// How a log of payments is applied, until it ends or `stop` is set.
pub fn stream_options(stop: &Arc<AtomicBool>) -> StreamOptions {
    StreamOptions { stop: Arc::clone(stop), ..StreamOptions::new(Format::Ndjson, BATCH, Arc::new(SystemClock)) }
}

/// Where rows of a store with logs of applied events go.
pub fn outlets(store: &Store) -> Outlets {
    Outlets { applied: Some(store.applied_logs()), ..Outlets::default() }
}

/// The source with a log of applied events.
pub fn with_log(source: String) -> String {
    source.replace("allowed_lateness =", "applied_log = 'all', allowed_lateness =")
}

/// Most rows of a commit.
pub const BATCH: usize = 8192;

pub fn compile(sql: String) -> Arc<Catalog> {
    let definitions = Definitions::parse(&[SourceFile::new("bench.sql", sql)]).unwrap_or_else(|errors| panic!("{}", errors[0]));
    Arc::new(Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0])))
}

pub fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::new("bench")).expect("a store")
}

/// A generation for each view.
pub fn targets(store: &Store, catalog: &Catalog) -> Vec<Target> {
    targets_of(store, catalog, 1)
}

/// A generation for each view, as its version of this number.
pub fn targets_of(store: &Store, catalog: &Catalog, version: u32) -> Vec<Target> {
    let target = |view: &Arc<lockstep_transform::transformation::Transformation>| {
        let new = NewGeneration { view: view.view.clone(), version, meaning: view.meaning, state: view.state };
        Target::new(catalog, view, store.create_generation(new).expect("a generation")).expect("a target")
    };
    catalog.views.values().map(target).collect()
}

pub fn fill(store: &Store, catalog: &Catalog, targets: &[Target], threads: usize) -> BackfillReport {
    let options = BackfillOptions {
        until: None,
        base: PathBuf::from("/"),
        stores: Stores::local(),
        memory_bytes: 4 << 30,
        batch_rows: 8192,
        shape: Shape::default(),
        threads,
        stop: Arc::new(AtomicBool::new(false)),
        clock: Arc::new(SystemClock),
    };
    backfill(store, catalog, targets, &options, &mut |_| {}).expect("a backfill")
}
