//! A log applied: 12 features over three windows, against the same rows parsed to Arrow and put into RocksDB as they are, twice an event, in the same batches.

mod support;

use std::path::Path;
use std::sync::Arc;

use lockstep_ingest::pipeline::{StreamOptions, ingest, schema_of};
use lockstep_ingest::source::{Format, ReadRequest, SourceFile, SourceReader};
use lockstep_store::Store;
use lockstep_transform::catalog::Catalog;
use support::{
    BATCH, Payments, SPAN, compile, fill, heading, long, open, outlets, process_seconds, put_twice, raw_database, row, schema, source,
    stream_options, targets, view, with_log,
};

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
