//! A log applied: 12 features over three windows, against the same rows parsed to Arrow and put into RocksDB as they are, twice an event, in the same batches. Then the records of a topic, parsed
//! from JSON and from Avro, against the bare decoder of each.

mod support;

use std::path::Path;
use std::sync::Arc;

use lockstep_ingest::pipeline::{StreamOptions, ingest, schema_of};
use lockstep_ingest::source::{Encoding, Format, Mapping, ReadRequest, Record, Records, Schemas, SourceFile, SourceReader, Wire};
use lockstep_model::{KafkaPosition, PartitionId, Position};
use lockstep_store::Store;
use lockstep_transform::catalog::Catalog;
use support::{
    BATCH, Payments, SPAN, compile, fill, heading, long, open, outlets, process_seconds, put_twice, raw_database, row, schema, source,
    stream_options, targets, view, with_log,
};

/// Payments whose records are parsed.
const RECORDS: usize = 400_000;

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let accounts: &[u64] = if long() { &[1_000, 10_000, 100_000, 1_000_000, 10_000_000] } else { &[1_000, 100_000] };
    let nothing = dir.path().join("nothing.parquet");
    Payments { count: 1, accounts: 1, hot: false, span: SPAN }.write_parquet(&nothing);
    let catalog = compile(source(&nothing) + &view("v", 12, &["1 hour", "1 day", "30 days"]));
    let catalog_with_log = compile(with_log(source(&nothing)) + &view("v", 12, &["1 hour", "1 day", "30 days"]));
    heading("a log of payments applied, 12 features over three windows: processor time of all threads", "µs/event");
    for &accounts in accounts {
        let count = (accounts as usize * 2).clamp(400_000, 4_000_000);
        let log = dir.path().join("log.ndjson");
        Payments { count, accounts, hot: false, span: SPAN }.write_ndjson(&log);
        let per_event = |seconds: f64| seconds * 1e6 / count as f64;
        let applied = per_event(best(|| apply(dir.path(), &catalog, &log)));
        let put = per_event(best(|| parse_and_put(dir.path(), &catalog, &log)));
        row(&format!("{count} payments of {accounts} accounts"), applied, put, "2 at most");
        let logged = per_event(best(|| apply_and_log(dir.path(), &catalog_with_log, &log)));
        row("  with a log of applied events; floor: without", logged, applied, "");
        let parsed = per_event(best(|| parse(&catalog, &log)));
        let arrow = per_event(best(|| parse_by_arrow(&log)));
        row("  of it, parsing; floor: arrow-json", parsed, arrow, "");
    }
    of_a_topic(&catalog);
}

/// What it takes to make rows of the records of a topic: checked one by one, told by their offsets, of the source's types.
fn of_a_topic(catalog: &Catalog) {
    let payments = Payments { count: RECORDS, accounts: 100_000, hot: false, span: SPAN };
    let per_record = |seconds: f64| seconds * 1e6 / RECORDS as f64;
    let schemas = Arc::new(Schemas::new(Wire::Confluent, &[]).expect("no file"));
    schemas.put(support::avro::SCHEMA_ID, support::avro::SCHEMA, &[]);
    let as_avro: Vec<Vec<u8>> = payments.batches().flat_map(|batch| support::avro::records(&batch)).collect();
    let as_json: Vec<Vec<u8>> = payments.batches().flat_map(|batch| support::json_records(&batch)).collect();
    heading("records of a topic parsed: processor time", "µs/record");
    let json = per_record(best(|| parse_records(catalog, &Encoding::Json, &as_json)));
    let bare_json = per_record(best(|| parse_bare(&as_json, "\n", json_rows)));
    row("JSON; floor: arrow-json", json, bare_json, "");
    let avro = per_record(best(|| parse_records(catalog, &Encoding::Avro(Arc::clone(&schemas)), &as_avro)));
    let mut decoder = support::avro::decoder(BATCH);
    let bare_avro = per_record(best(|| parse_bare(&as_avro, "", |bytes| support::avro::decode(&mut decoder, bytes).num_rows())));
    row("Avro; floor: arrow-avro", avro, bare_avro, "");
}

fn parse_records(catalog: &Catalog, encoding: &Encoding, values: &[Vec<u8>]) -> f64 {
    let source = schema_of(catalog.sources.values().next().expect("a source"));
    let partition = PartitionId { source: source.name.clone(), partition: "kafka://payments/0".to_owned() };
    let declared = vec![source.name.clone()];
    let mut records = Records::new(&partition, source, declared, encoding, Mapping::default()).expect("columns that can be read");
    let (start, mut rows) = (process_seconds(), 0);
    for (number, values) in values.chunks(BATCH).enumerate() {
        let first = (number * BATCH) as u64;
        let record = |(offset, value)| Record { offset, time: None, key: None, value: Some(value), mapped: &[] };
        (first..).zip(values.iter().map(Vec::as_slice)).map(record).for_each(|record| records.push(record));
        rows += records.finish(position(first + values.len() as u64)).expect("rows").batch.num_rows();
    }
    assert_eq!(rows, values.len());
    process_seconds() - start
}

fn position(offset: u64) -> Position {
    let (cluster, topic_id) = ("bench".to_owned(), "payments".to_owned());
    Position::Kafka(KafkaPosition { cluster, topic_id, first: 0, offset, last: None, gap: None, event_time_max: None, begun_at: None, order: 0 })
}

/// The same bytes by a decoder that takes many records at once.
fn parse_bare(values: &[Vec<u8>], between: &str, mut rows_of: impl FnMut(&[u8]) -> usize) -> f64 {
    let texts: Vec<Vec<u8>> = values.chunks(BATCH).map(|values| values.join(between.as_bytes())).collect();
    let start = process_seconds();
    let rows: usize = texts.iter().map(|text| rows_of(text)).sum();
    assert_eq!(rows, values.len());
    process_seconds() - start
}

fn json_rows(text: &[u8]) -> usize {
    let reader = arrow::json::ReaderBuilder::new(schema()).with_batch_size(BATCH).build(text).expect("a reader");
    reader.map(|batch| batch.expect("rows").num_rows()).sum()
}

/// Processor seconds, the better of two runs; `work` takes them itself, so that it may prepare.
fn best(mut work: impl FnMut() -> f64) -> f64 {
    work().min(work())
}

fn fresh(dir: &Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("removed");
    }
    path
}

fn apply(dir: &Path, catalog: &Catalog, log: &Path) -> f64 {
    let store = open(&fresh(dir, "store"));
    apply_to(&store, catalog, log, stream_options(&Arc::default()))
}

/// As [`apply`], with every event in the log of applied events too, and that in its files at the end.
fn apply_and_log(dir: &Path, catalog: &Catalog, log: &Path) -> f64 {
    let store = open(&fresh(dir, "store"));
    let options = StreamOptions { outlets: outlets(&store), ..stream_options(&Arc::default()) };
    apply_to(&store, catalog, log, options)
}

fn apply_to(store: &Store, catalog: &Catalog, log: &Path, options: StreamOptions) -> f64 {
    let targets = targets(store, catalog);
    fill(store, catalog, &targets, 1);
    let start = process_seconds();
    ingest(store, catalog, &targets, &SourceFile::local(log), &options, &mut |_| {}).expect("applied");
    process_seconds() - start
}

fn read(catalog: &Catalog, log: &Path, mut take: impl FnMut(&arrow::array::RecordBatch)) {
    let source = catalog.sources.values().next().expect("a source");
    let request = ReadRequest { batch_rows: BATCH, ..ReadRequest::new(schema_of(source), Format::Ndjson) };
    let mut reader = SourceReader::open(&SourceFile::local(log), request).expect("opened");
    while let Some(chunk) = reader.next_chunk().expect("read") {
        chunk.batches.iter().for_each(|batch| take(&batch.batch));
    }
}

fn parse_and_put(dir: &Path, catalog: &Catalog, log: &Path) -> f64 {
    let db = raw_database(&fresh(dir, "raw"));
    let start = process_seconds();
    read(catalog, log, |rows| put_twice(&db, rows));
    process_seconds() - start
}

fn parse(catalog: &Catalog, log: &Path) -> f64 {
    let start = process_seconds();
    let mut rows = 0;
    read(catalog, log, |batch| rows += batch.num_rows());
    assert!(rows > 0);
    process_seconds() - start
}

fn parse_by_arrow(log: &Path) -> f64 {
    let start = process_seconds();
    let file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(log).expect("a file"));
    let reader = arrow::json::ReaderBuilder::new(schema()).with_batch_size(BATCH).build(file).expect("a reader");
    let rows: usize = reader.map(|batch| batch.expect("read").num_rows()).sum();
    assert!(rows > 0);
    process_seconds() - start
}
