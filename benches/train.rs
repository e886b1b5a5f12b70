//! Training sets, from Parquet to Parquet by the built binary, against DataFusion merely reading and sorting the same inputs.

mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use support::{HOUR, Payments, SPAN, heading, long, process_seconds, row, source, view, wall_seconds};

/// Rounds, of which the best counts.
const ROUNDS: usize = 3;

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let sizes: &[(usize, usize)] = if long() { &[(1_000_000, 100_000), (10_000_000, 1_000_000)] } else { &[(1_000_000, 100_000)] };
    for &(events, rows) in sizes {
        heading(
            &format!("{events} events, {rows} spine rows, 100,000 accounts, 20 features over 1 h, 24 h, 7 d, 30 d, {threads} threads, seconds"),
            "s",
        );
        let mut evenly = None;
        for (name, hot) in [("evenly spread", false), ("one account holds half", true)] {
            let payments = Payments { count: events, accounts: 100_000, hot, span: SPAN };
            let history = dir.path().join("payments.parquet");
            let spine = dir.path().join("spine.parquet");
            payments.write_parquet(&history);
            write_spine(&payments, rows, &spine);
            let (wall, cpu, memory) = train(dir.path(), &history, &spine);
            let (floor, floor_cpu) = read_and_sort(&history, &spine, threads);
            row(&format!("{name}, by the clock; floor: read and sort"), wall, floor, "3 at most");
            row(&format!("{name}, processor time; floor: read and sort"), cpu, floor_cpu, "");
            match evenly {
                None => evenly = Some(wall),
                Some(even) => row(&format!("{name}, by the clock; floor: evenly spread"), wall, even, "1.2 at most"),
            }
            let bytes = std::fs::metadata(&history).map_or(0, |file| file.len());
            row(&format!("{name}, MiB of memory at most; floor: the history's file"), memory / 1024.0, bytes as f64 / (1 << 20) as f64, "");
        }
    }
}

/// Requests of the same accounts, in the order of their moments, none at that of a payment.
fn write_spine(payments: &Payments, rows: usize, path: &Path) {
    let numbers: Vec<usize> = (0..rows).map(|row| row * (payments.count / rows)).collect();
    let moments = numbers.iter().map(|&number| payments.time(number) + HOUR + 1);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("account", Arc::new(Int64Array::from_iter_values(numbers.iter().map(|&number| payments.account(number))))),
        ("request_time", Arc::new(TimestampMicrosecondArray::from_iter_values(moments))),
        ("label", Arc::new(Int64Array::from_iter_values(numbers.iter().map(|&number| (number % 2) as i64)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer = ArrowWriter::try_new(File::create(path).expect("a file"), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

/// Seconds by the clock and of the processor, and KiB of memory at most.
fn train(dir: &Path, history: &Path, spine: &Path) -> (f64, f64, f64) {
    let definitions = dir.join("feature_defs");
    std::fs::create_dir_all(&definitions).expect("made");
    std::fs::write(definitions.join("payments.sql"), source(history) + &view("v", 20, &["1 hour", "24 hours", "7 days", "30 days"]))
        .expect("written");
    let out = dir.join("set");
    let mut best = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        if out.exists() {
            std::fs::remove_dir_all(&out).expect("removed");
        }
        let (wall, cpu) = (wall_seconds(), children_seconds());
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.args(["train", "v", "--spine"]).arg(spine).arg("--out").arg(&out).current_dir(dir);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        let mut memory = 0.0f64;
        let status = loop {
            if let Some(status) = child.try_wait().expect("waited for") {
                break status;
            }
            memory = memory.max(peak_memory(child.id()));
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        assert!(status.success(), "a training set");
        best = (best.0.min(wall_seconds() - wall), best.1.min(children_seconds() - cpu), best.2.min(memory));
    }
    best
}

/// Seconds that children were running which have ended.
fn children_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 1..].split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(13) + ticks(14)) / 100.0
}

/// The most memory that a process had so far, KiB.
fn peak_memory(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// DataFusion reads and sorts the history by (account, time), and the spine likewise.
fn read_and_sort(history: &Path, spine: &Path, threads: usize) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime");
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let (wall, cpu) = (wall_seconds(), process_seconds());
        runtime.block_on(async {
            let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
            for (name, file) in [("payments", history), ("spine", spine)] {
                let path = file.to_str().expect("a path");
                context.register_parquet(name, path, ParquetReadOptions::default()).await.expect("registered");
            }
            for sql in ["SELECT * FROM payments ORDER BY account, paid_at", "SELECT * FROM spine ORDER BY account, request_time"] {
                let mut stream = context.sql(sql).await.expect("planned").execute_stream().await.expect("started");
                let mut rows = 0;
                while let Some(batch) = stream.next().await {
                    rows += batch.expect("sorted").num_rows();
                }
                assert!(rows > 0);
            }
        });
        best = (best.0.min(wall_seconds() - wall), best.1.min(process_seconds() - cpu));
    }
    best
}
