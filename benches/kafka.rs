//! A Kafka topic followed, on a real broker: 12 features over three windows, against a bare loop that consumes, parses to Arrow and puts twice an event; and how soon
//! what was appended can be read.

mod support;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use lockstep_ingest::admission::Kind;
use lockstep_ingest::kafka::{Kafka, Settings};
use lockstep_ingest::pipeline::{StreamOptions, Target, follow};
use lockstep_ingest::source::Format;
use lockstep_model::{Position, SystemClock};
use lockstep_store::{OnlineStore, Store};
use lockstep_testkit::kafka::{Broker, Producer};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::Shape;
use support::{Payments, SPAN, compile, fill, heading, long, open, process_seconds, row, targets, view, wall_seconds};

const BATCH: usize = 8192;
const ACCOUNTS: u64 = 100_000;

fn main() {
    let Some((broker, _alone)) = Broker::alone() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let count = if long() { 4_000_000 } else { 800_000 };
    let payments = Payments { count, accounts: ACCOUNTS, hot: false, span: SPAN };
    broker.create_topic("payments", 4, &[]);
    let producer = broker.producer();
    (0..count).for_each(|number| producer.send("payments", number as i32 % 4, &json(&payments, number)));
    producer.flush();
    let rate = throughput(broker, dir.path(), &payments);
    freshness(broker, dir.path(), rate / 2.0);
}

fn json(payments: &Payments, number: usize) -> Vec<u8> {
    let kind = ["card", "transfer", "cash", "refund"][number % 4];
    let (account, time) = (payments.account(number), lockstep_model::EventTime(payments.time(number)));
    format!("{{\"id\":{number},\"account\":{account},\"amount\":{}.5,\"kind\":\"{kind}\",\"paid_at\":\"{time}\"}}", number % 1000).into_bytes()
}

/// Prints processor time an event; events a second by the clock.
fn throughput(broker: &Broker, dir: &Path, payments: &Payments) -> f64 {
    heading(
        "a topic of 4 partitions followed to its end, 12 features over three windows: processor time of all threads but the broker's",
        "µs/event",
    );
    let per_event = |seconds: f64| seconds * 1e6 / payments.count as f64;
    let (mut applied, mut clock, mut put) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    for round in 0..2 {
        let feed = Feed::new(broker, dir, "payments", &format!("store{round}"));
        let (cpu, wall) = (process_seconds(), wall_seconds());
        feed.run(true, &AtomicBool::new(false).into());
        (applied, clock) = (applied.min(process_seconds() - cpu), clock.min(wall_seconds() - wall));
        put = put.min(consume_and_put(broker, &dir.join(format!("raw{round}")), payments.count));
    }
    row(&format!("{} payments; floor: consume, parse, put", payments.count), per_event(applied), per_event(put), "2 at most");
    println!("      {:.0} events a second and core, {:.0} by the clock", payments.count as f64 / applied, payments.count as f64 / clock);
    payments.count as f64 / clock
}

/// What follows a topic, from its definitions to its store.
struct Feed {
    catalog: Arc<Catalog>,
    store: Store,
    targets: Vec<Target>,
    kafka: Kafka,
}

impl Feed {
    fn new(broker: &Broker, dir: &Path, topic: &str, name: &str) -> Feed {
        let nothing = dir.join("nothing.parquet");
        Payments { count: 1, accounts: 1, hot: false, span: SPAN }.write_parquet(&nothing);
        let source = support::source(&nothing).replace("batch =", &format!("stream = 'kafka://{topic}?format=json', batch ="));
        let catalog = compile(source + &view("v", 12, &["1 hour", "1 day", "30 days"]));
        let store = open(&dir.join(name));
        let targets = targets(&store, &catalog);
        fill(&store, &catalog, &targets, 1);
        let settings = Settings::new([("bootstrap.servers".to_owned(), broker.address().to_owned())].into()).expect("settings");
        Feed { catalog, store, targets, kafka: Kafka { settings: Arc::new(settings), until_end: true } }
    }

    fn run(&self, until_end: bool, stop: &Arc<AtomicBool>) {
        let options = StreamOptions {
            format: Format::Ndjson,
            sources: Vec::new(),
            kind: Kind::Stream,
            beside: Vec::new(),
            until: None,
            batch_rows: BATCH,
            shape: Shape::default(),
            stop: Arc::clone(stop),
            clock: Arc::new(SystemClock),
        };
        let kafka = Kafka { until_end, ..self.kafka.clone() };
        let report = follow(&self.store, &self.catalog, &self.targets, &kafka, &options, &mut |_| {}).expect("followed");
        assert!(report.stopped.is_empty(), "{:?}", report.stopped);
    }

    /// The offset before which everything can be read, of a topic of one partition.
    fn readable(&self) -> u64 {
        let positions = OnlineStore::cut(&self.store).positions(self.targets[0].generation.generation).expect("positions");
        positions.iter().find_map(|(_, position)| matches!(position, Position::Kafka(_)).then(|| position.rows())).unwrap_or(0)
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let fields = [("id", DataType::Int64), ("account", DataType::Int64), ("amount", DataType::Float64), ("kind", DataType::Utf8), ("paid_at", time)];
    Arc::new(Schema::new(fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect::<Vec<_>>()))
}

/// Processor seconds of what any consumer that stores events would have to do.
fn consume_and_put(broker: &Broker, path: &Path, count: usize) -> f64 {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(64 << 20);
    options.set_max_write_buffer_number(4);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let db = rocksdb::DB::open(&options, path).expect("a database");
    let mut decoder = arrow::json::ReaderBuilder::new(schema()).with_batch_size(BATCH).build_decoder().expect("a decoder");
    let put = |rows: &RecordBatch| {
        let (ids, accounts) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<Int64Type>());
        let (amounts, times) = (rows.column(2).as_primitive::<Float64Type>(), rows.column(4).as_primitive::<TimestampMicrosecondType>());
        let mut batch = rocksdb::WriteBatch::default();
        for row in 0..rows.num_rows() {
            let (id, time) = (ids.value(row).to_be_bytes(), times.value(row).to_be_bytes());
            batch.put([accounts.value(row).to_be_bytes(), time, id].concat(), amounts.value(row).to_le_bytes());
            batch.put(id, time);
        }
        db.write(batch).expect("written");
    };
    let (mut rows, start) = (0, process_seconds());
    broker.consume("payments", 4, count, |value| {
        assert_eq!(decoder.decode(value).expect("JSON"), value.len());
        rows += 1;
        if rows % BATCH == 0 {
            put(&decoder.flush().expect("rows").expect("a batch"));
        }
    });
    decoder.flush().expect("rows").iter().for_each(put);
    process_seconds() - start
}

/// From append to readable, at `rate` events a second for some seconds.
fn freshness(broker: &Broker, dir: &Path, rate: f64) {
    const SECONDS: usize = 10;
    const TICK: Duration = Duration::from_millis(1);
    broker.create_topic("fresh", 1, &[]);
    let feed = Feed::new(broker, dir, "fresh", "fresh");
    let stop = Arc::new(AtomicBool::new(false));
    // The offset behind each tick's records, and when the last of them was handed to the producer.
    let sent: Mutex<VecDeque<(u64, f64)>> = Mutex::default();
    let (produced, mut delays) = (AtomicU64::new(0), Vec::new());
    let all = (rate * SECONDS as f64) as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| feed.run(false, &stop));
        scope.spawn(|| {
            let payments = Payments { count: all, accounts: ACCOUNTS, hot: false, span: SPAN };
            let (producer, start): (Producer, f64) = (broker.producer(), wall_seconds());
            let mut number = 0;
            while number < all {
                let due = (((wall_seconds() - start) * rate) as usize).min(all);
                (number..due).for_each(|number| producer.send("fresh", 0, &json(&payments, number)));
                if due > number {
                    number = due;
                    produced.store(number as u64, Ordering::Relaxed);
                    sent.lock().expect("sent").push_back((number as u64, wall_seconds()));
                }
                std::thread::sleep(TICK);
            }
            producer.flush();
        });
        let give_up = wall_seconds() + 6.0 * SECONDS as f64;
        while (delays.is_empty() || feed.readable() < all as u64) && wall_seconds() < give_up {
            let (readable, now) = (feed.readable(), wall_seconds());
            let mut sent = sent.lock().expect("sent");
            while let Some((_, at)) = sent.pop_front_if(|(offset, _)| *offset <= readable) {
                delays.push((now - at) * 1e3);
            }
            drop(sent);
            std::thread::sleep(TICK / 2);
        }
        stop.store(true, Ordering::Relaxed);
    });
    delays.sort_by(f64::total_cmp);
    let of = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    println!(
        "\nfrom append to readable at {rate:.0} events a second, broker, producer and ingester on the same cores; floor: 150 ms, what others report at p99"
    );
    row("p50", of(0.5), 150.0, "");
    row("p99", of(0.99), 150.0, "well below 1");
}
