//! A topic applied: 12 features over three windows, against a bare loop that consumes the same records, parses them to Arrow and puts them into RocksDB as they
//! are, twice an event; the same payments as Avro too. Then how fresh what is served is, at half that speed. The broker is a process of its own; its time is not counted.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use lockstep_ingest::kafka::{Kafka, Settings};
use lockstep_ingest::pipeline::{Logs, StreamOptions, Target, follow};
use lockstep_store::{OnlineStore, Store};
use lockstep_testkit::kafka::{Broker, Sent};
use lockstep_testkit::registry::Registry;
use lockstep_transform::catalog::Catalog;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use support::{
    BATCH, Payments, SPAN, compile, fill, heading, long, open, outlets, process_seconds, put_twice, raw_database, row, schema, source,
    stream_options, targets, view, wall_seconds, with_log,
};

/// How a topic's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Avro,
}

const PARTITIONS: i32 = 4;
const ACCOUNTS: u64 = 100_000;

fn main() {
    let Some((broker, _guard)) = Broker::real("a benchmark") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let count = if long() { 4_000_000 } else { 600_000 };
    let topic = "payments";
    broker.create_topic(topic, PARTITIONS, &[]);
    let payments = Payments { count, accounts: ACCOUNTS, hot: false, span: SPAN };
    payments.batches().for_each(|batch| broker.produce(topic, &records(&batch, Form::Json)));
    let without_log = catalog(dir.path(), topic, false);
    heading(&format!("{count} payments of {ACCOUNTS} accounts from a broker, 12 features over three windows"), "µs/event");
    let per_event = |seconds: f64| seconds * 1e6 / count as f64;
    let (applied, put) = (best(|| apply(dir.path(), &without_log, broker)), best(|| consume_and_put(dir.path(), broker, (topic, Form::Json), count)));
    row("processor time of all threads", per_event(applied.0), per_event(put.0), "2 at most");
    let with_log = catalog(dir.path(), topic, true);
    let logged = best(|| apply(dir.path(), &with_log, broker));
    row("  with a log of applied events; floor: without", per_event(logged.0), per_event(applied.0), "");
    row("time on the wall", per_event(applied.1), per_event(put.1), "2 at most");
    row("  with a log of applied events; floor: without", per_event(logged.1), per_event(applied.1), "");
    as_avro(dir.path(), broker, payments);
    beside_peer(broker, topic, count, applied);
    freshness(dir.path(), broker, (count as f64 / applied.1 / 2.0) as usize);
}

fn catalog(dir: &Path, topic: &str, is_logged: bool) -> Arc<Catalog> {
    let nothing = dir.join("nothing.parquet");
    Payments { count: 1, accounts: 1, hot: false, span: SPAN }.write_parquet(&nothing);
    let source = source(&nothing).replace("batch =", &format!("stream = 'kafka://{topic}', batch ="));
    let source = if is_logged { with_log(source) } else { source };
    compile(source + &view("v", 12, &["1 hour", "1 day", "30 days"]))
}

/// The same payments as Avro, whose schema a registry has.
fn as_avro(dir: &Path, broker: &Broker, payments: Payments) {
    let registry = Registry::start();
    registry.put(support::avro::SCHEMA_ID, support::avro::SCHEMA);
    let topic = "payments_avro";
    broker.create_topic(topic, PARTITIONS, &[]);
    payments.batches().for_each(|batch| broker.produce(topic, &records(&batch, Form::Avro)));
    let catalog = catalog(dir, &format!("{topic}?format=avro&registry={}", registry.url()), false);
    let applied = best(|| apply(dir, &catalog, broker));
    let put = best(|| consume_and_put(dir, broker, (topic, Form::Avro), payments.count));
    let per_event = |seconds: f64| seconds * 1e6 / payments.count as f64;
    heading("as Avro, decoded by arrow-avro in the floor", "µs/event");
    row("processor time of all threads", per_event(applied.0), per_event(put.0), "2 at most");
    row("time on the wall", per_event(applied.1), per_event(put.1), "2 at most");
}

/// What another system takes for the same topic, where `LOCKSTEP_BENCH_PEER` is a command that reads it (`benches/peers`): it is given the brokers, the topic and the number of its
/// partitions, and prints processor seconds and seconds on the wall in its last line, and what it is before that.
fn beside_peer(broker: &Broker, topic: &str, count: usize, (processor, wall): (f64, f64)) {
    let Ok(peer) = std::env::var("LOCKSTEP_BENCH_PEER") else { return };
    let command = format!("{peer} {} {topic} {PARTITIONS}", broker.address());
    let output = std::process::Command::new("sh").args(["-c", &command]).stderr(std::process::Stdio::inherit()).output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    let (about, last) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    let seconds: Vec<f64> = last.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [its_processor, its_wall] = seconds[..] else { panic!("{command} said {said}") };
    println!(
        "\nthe same topic by a peer: {about}\n  and by lockstep {}, librdkafka {}",
        env!("CARGO_PKG_VERSION"),
        rdkafka::util::get_rdkafka_version().1
    );
    let per_second = |seconds: f64| count as f64 / seconds;
    println!("  {:<58} {:>12} {:>12} {:>7}", "", "lockstep", "peer", "ratio");
    for (name, ours, its) in
        [("events a second of processor time, which is a core", processor, its_processor), ("events a second on the wall", wall, its_wall)]
    {
        println!("  {name:<58} {:>12.0} {:>12.0} {:>7.2}", per_second(ours), per_second(its), its / ours);
    }
}

/// A batch of payments as records, in partitions by account.
fn records(batch: &arrow::array::RecordBatch, form: Form) -> Vec<Sent> {
    let values = match form {
        Form::Json => support::json_records(batch),
        Form::Avro => support::avro::records(batch),
    };
    let accounts = batch.column(1).as_primitive::<Int64Type>();
    let times = batch.column(4).as_primitive::<TimestampMicrosecondType>();
    let record = |(at, value): (usize, Vec<u8>)| Sent {
        partition: (accounts.value(at) % i64::from(PARTITIONS)) as i32,
        key: None,
        value: Some(value),
        time_ms: times.value(at) / 1000,
        ..Sent::default()
    };
    values.into_iter().enumerate().map(record).collect()
}

/// Processor seconds and seconds on the wall, the better of two runs.
fn best(mut work: impl FnMut() -> (f64, f64)) -> (f64, f64) {
    let (one, other) = (work(), work());
    (one.0.min(other.0), one.1.min(other.1))
}

fn fresh(dir: &Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("removed");
    }
    path
}

fn kafka(broker: &Broker, until_end: bool) -> Kafka {
    let settings = Settings::new([("bootstrap.servers".to_owned(), broker.address().to_owned())].into(), Path::new(".")).expect("settings");
    Kafka { settings: Arc::new(settings), until_end, instead: None, tells: true }
}

fn published(dir: &Path, catalog: &Catalog) -> (Store, Vec<Target>) {
    let store = open(&fresh(dir, "store"));
    let targets = targets(&store, catalog);
    fill(&store, catalog, &targets, 1);
    (store, targets)
}

fn apply(dir: &Path, catalog: &Catalog, broker: &Broker) -> (f64, f64) {
    let (store, targets) = published(dir, catalog);
    let (processor, wall) = (process_seconds(), wall_seconds());
    // A source that declares no log has none.
    let options = StreamOptions { outlets: outlets(&store), ..stream_options(&Arc::default()) };
    follow(&store, catalog, &targets, Logs { kafka: Some(&kafka(broker, true)), push: None }, &options, &mut |_| {}).expect("applied");
    (process_seconds() - processor, wall_seconds() - wall)
}

/// What any store of events that reads a topic would have to do: an event by entity and time, and its key.
fn consume_and_put(dir: &Path, broker: &Broker, (topic, form): (&str, Form), count: usize) -> (f64, f64) {
    let db = raw_database(&fresh(dir, "raw"));
    let (processor, wall) = (process_seconds(), wall_seconds());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "floor")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    (0..PARTITIONS).for_each(|partition| list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset"));
    consumer.assign(&list).expect("assigned");
    let (mut text, mut rows, mut done, mut in_vain) = (Vec::new(), 0, 0, 0);
    let mut decoder = support::avro::decoder(BATCH);
    while done < count {
        // What is no record is given as nothing, early.
        let Some(polled) = consumer.poll(Duration::from_millis(100)) else {
            in_vain += 1;
            assert!(in_vain < 1000, "{} of {count} records", done + rows);
            continue;
        };
        match polled {
            Ok(message) => {
                text.extend_from_slice(message.payload().unwrap_or_default());
                if form == Form::Json {
                    text.push(b'\n');
                }
                rows += 1;
            }
            Err(KafkaError::PartitionEOF(_)) => {}
            Err(error) => panic!("{error}"),
        }
        if rows == BATCH || done + rows == count {
            match form {
                Form::Json => put(&db, &text),
                Form::Avro => put_twice(&db, &support::avro::decode(&mut decoder, &text)),
            }
            done += std::mem::take(&mut rows);
            text.clear();
        }
    }
    (process_seconds() - processor, wall_seconds() - wall)
}

fn put(db: &rocksdb::DB, text: &[u8]) {
    for rows in arrow::json::ReaderBuilder::new(schema()).with_batch_size(BATCH).build(text).expect("a reader") {
        put_twice(db, &rows.expect("rows"));
    }
}

/// How long it takes from handing records to a producer until they are in what a lookup reads, at `rate` records a second.
fn freshness(dir: &Path, broker: &Broker, rate: usize) {
    const SECONDS: usize = 10;
    /// Records are produced in so many parts a second.
    const PARTS: usize = 50;
    let topic = "fresh_payments";
    broker.create_topic(topic, 1, &[]);
    let catalog = catalog(dir, topic, false);
    let (store, targets) = published(dir, &catalog);
    let part = (rate / PARTS).max(1);
    let payments = Payments { count: part * PARTS * SECONDS, accounts: ACCOUNTS, hot: false, span: SPAN };
    let parts: Vec<Vec<Sent>> = (0..payments.count)
        .step_by(part)
        .map(|first| records(&payments.batch(first..first + part), Form::Json).into_iter().map(|record| Sent { partition: 0, ..record }).collect())
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let generation = targets[0].generation.generation;
    let mut delays = std::thread::scope(|scope| {
        scope.spawn(|| {
            follow(&store, &catalog, &targets, Logs { kafka: Some(&kafka(broker, false)), push: None }, &stream_options(&stop), &mut |_| {})
                .expect("followed")
        });
        let (sent, produced) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let start = wall_seconds();
            let producer = broker.producer();
            for (number, part) in parts.iter().enumerate() {
                let due = start + 2.0 + number as f64 / PARTS as f64;
                std::thread::sleep(Duration::from_secs_f64((due - wall_seconds()).max(0.0)));
                let _ = sent.send(wall_seconds());
                producer.send(topic, part);
            }
        });
        let (mut delays, mut next) = (Vec::new(), 0);
        while let Ok(at) = produced.recv() {
            next += part as u64;
            while OnlineStore::cut(&store).positions(generation).expect("positions").iter().map(|(_, position)| position.rows()).max().unwrap_or(0)
                < next
            {
                std::thread::sleep(Duration::from_micros(500));
            }
            delays.push((wall_seconds() - at) * 1e3);
        }
        stop.store(true, Ordering::Relaxed);
        delays
    });
    delays.sort_by(f64::total_cmp);
    let share = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    println!("\nfrom the producer to what a lookup reads, at {} payments a second", part * PARTS);
    println!("  p50 {:.1} ms · p99 {:.1} ms · longest {:.1} ms · aim: well below 150 ms at p99", share(0.5), share(0.99), share(1.0));
}
