//! Backfill of 12 features over three windows against DataFusion merely reading and sorting the same file by (entity, event time).

mod support;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::{Payments, SPAN, compile, fill, heading, long, open, process_seconds, row, source, targets, view, wall_seconds};

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let counts: &[usize] = if long() { &[2_000_000, 20_000_000] } else { &[2_000_000] };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    for &count in counts {
        let mut evenly = None;
        heading(&format!("backfill of {count} payments, 12 features over three windows, {threads} threads, seconds"), "s");
        for (name, hot) in [("100,000 accounts", false), ("one account holds half", true)] {
            let file = dir.path().join("payments.parquet");
            Payments { count, accounts: 100_000, hot, span: SPAN }.write_parquet(&file);
            let (wall, cpu) = backfill(dir.path(), &file, threads);
            let (floor_wall, floor_cpu) = read_and_sort(&file, threads);
            row(&format!("{name}, by the clock; floor: read and sort"), wall, floor_wall, "2 at most");
            row(&format!("{name}, processor time; floor: read and sort"), cpu, floor_cpu, "");
            match evenly {
                None => evenly = Some(wall),
                Some(even) => row(&format!("{name}, by the clock; floor: evenly spread"), wall, even, "1.2 at most"),
            }
        }
    }
}

/// The best of three, seconds by the clock and of all threads.
fn best(mut work: impl FnMut()) -> (f64, f64) {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        let (wall, cpu) = (wall_seconds(), process_seconds());
        work();
        best = (best.0.min(wall_seconds() - wall), best.1.min(process_seconds() - cpu));
    }
    best
}

fn backfill(dir: &Path, file: &Path, threads: usize) -> (f64, f64) {
    let catalog = compile(source(file) + &view("v", 12, &["1 hour", "1 day", "30 days"]));
    let path = dir.join("store");
    best(|| {
        if path.exists() {
            std::fs::remove_dir_all(&path).expect("removed");
        }
        let store = open(&path);
        let targets = targets(&store, &catalog);
        fill(&store, &catalog, &targets, threads);
        store.close().expect("closed");
    })
}

/// Row groups are read on as many threads as there are, by the reader that DataFusion uses, and then sorted by DataFusion.
fn read_and_sort(file: &Path, threads: usize) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime");
    best(|| {
        let partitions: Vec<Vec<RecordBatch>> = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || read_row_groups(file, thread, threads))).collect();
            readers.into_iter().map(|reader| reader.join().expect("read")).collect()
        });
        runtime.block_on(async {
            let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
            let table = MemTable::try_new(partitions[0][0].schema(), partitions).expect("a table");
            context.register_table("payments", Arc::new(table)).expect("registered");
            let sorted = context.sql("SELECT * FROM payments ORDER BY account, paid_at").await.expect("planned");
            let mut stream = sorted.execute_stream().await.expect("started");
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                rows += batch.expect("sorted").num_rows();
            }
            assert!(rows > 0);
        });
    })
}

/// The row groups that fall to one of several threads.
fn read_row_groups(file: &Path, thread: usize, threads: usize) -> Vec<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).expect("a file")).expect("Parquet");
    let groups = (0..builder.metadata().num_row_groups()).filter(|group| group % threads == thread).collect();
    builder.with_row_groups(groups).with_batch_size(8192).build().expect("a reader").map(|batch| batch.expect("read")).collect()
}
