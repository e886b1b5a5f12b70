//! Pushes of one event each, from 1, 8 and 64 threads, against a bare loop that writes as many bytes at once as those who wait together push, and forces them. How
//! long one takes until it is acknowledged, beside how long one such write takes.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use arrow::array::RecordBatch;
use lockstep_ingest::push::{PushLog, PushOptions};
use lockstep_transform::catalog::SourcePlan;
use support::{Payments, SPAN, compile, heading, long, row, source, view, wall_seconds};

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let nothing = dir.path().join("nothing.parquet");
    let payments = Payments { count: 1 << 20, accounts: 1000, hot: false, span: SPAN };
    Payments { count: 1, ..payments }.write_parquet(&nothing);
    let catalog = compile(source(&nothing) + &view("v", 1, &["1 hour"]));
    let plan = &catalog.sources["payments"];
    let rounds = if long() { 40 } else { 10 };
    heading("pushes of one payment, acknowledged once it is on the disk", "µs/push");
    let mut all = Vec::new();
    for threads in [1, 8, 64] {
        let (mut pushed, mut floor) = (Pushed::default(), Vec::new());
        for round in 0..rounds {
            // In turns, since a disk that others use too is another one from second to second.
            let now = push(&dir.path().join(format!("push-{threads}-{round}")), plan, payments, threads);
            floor.extend(write_and_force(&dir.path().join("floor"), now.bytes / now.forced));
            pushed.add(now);
        }
        floor.sort_by(f64::total_cmp);
        pushed.times.sort_by(f64::total_cmp);
        let name = format!("{threads} at once, {:.1} forced together", pushed.together());
        row(&name, 1e6 / pushed.per_second(), floor.iter().sum::<f64>() / floor.len() as f64 * 1e6 / pushed.together(), "2 at most");
        all.push((threads, pushed, floor));
    }
    println!("\nfrom the call to the acknowledgement; one write of the same bytes and its force");
    for (threads, pushed, floor) in all {
        let percent = |times: &[f64], share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e3;
        let times =
            |times: &[f64]| format!("p50 {:.2} ms · p99 {:.2} ms · longest {:.2} ms", percent(times, 0.5), percent(times, 0.99), percent(times, 1.0));
        println!(
            "  {threads:>2} at once: {:.0} pushes/s, {:.0} bytes each · {} | {}",
            pushed.per_second(),
            pushed.bytes / pushed.times.len() as f64,
            times(&pushed.times),
            times(&floor)
        );
    }
}

/// Seconds of a round.
const ROUND: f64 = 0.4;

#[derive(Default)]
struct Pushed {
    /// Seconds it took in all.
    took: f64,
    /// Seconds of each push.
    times: Vec<f64>,
    /// How often they were forced to the disk, and how many bytes.
    forced: f64,
    bytes: f64,
}

impl Pushed {
    fn add(&mut self, other: Pushed) {
        self.took += other.took;
        self.forced += other.forced;
        self.bytes += other.bytes;
        self.times.extend(other.times);
    }

    fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.took
    }

    fn together(&self) -> f64 {
        self.times.len() as f64 / self.forced
    }
}

/// Pushes one payment after the other from so many threads.
fn push(dir: &Path, source: &SourcePlan, payments: Payments, threads: usize) -> Pushed {
    let log = PushLog::open(dir, PushOptions::default()).expect("a log");
    let rows: Vec<RecordBatch> = (0..1024).map(|number| payments.batch(number..number + 1)).collect();
    let begun = wall_seconds();
    let work = |thread: usize| {
        let mut times = Vec::new();
        for number in 0.. {
            let start = wall_seconds();
            if start - begun > ROUND {
                break;
            }
            log.append(source, rows[(thread * 31 + number) % rows.len()].clone()).expect("pushed");
            times.push(wall_seconds() - start);
        }
        times
    };
    let work = &work;
    let times: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("pushed")).collect()
    });
    let (took, forced) = (wall_seconds() - begun, log.forced(&source.name) as f64);
    let written: u64 = std::fs::read_dir(dir.join(&source.name))
        .expect("segments")
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len())
        .sum();
    Pushed { took, times, forced, bytes: written as f64 }
}

/// Seconds of each of many writes of so many bytes, forced one by one.
fn write_and_force(path: &Path, bytes: f64) -> Vec<f64> {
    let file = File::create(path).expect("a file");
    let bytes = vec![7u8; bytes as usize];
    let (begun, mut times, mut at) = (wall_seconds(), Vec::new(), 0);
    while wall_seconds() - begun < ROUND {
        let start = wall_seconds();
        file.write_all_at(&bytes, at).and_then(|()| file.sync_data()).expect("on the disk");
        at += bytes.len() as u64;
        times.push(wall_seconds() - start);
    }
    times
}
