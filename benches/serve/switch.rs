//! How soon callers see a release that was promoted, or gone back to.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use lockstep_client::{Client, Request};

use crate::beside::promote_another;
use crate::support::{SPAN, START, heading, row};
use crate::{Project, Running};

/// How often the pointer is moved.
const MOVES: usize = 20;

/// Bytes of the record of a move.
const RECORD: usize = 200;

/// Moves the pointer between two releases beside a caller that asks all the time, and prints how long after each move its first answer of the other release came. The floor is a bare forced write of
/// as many bytes as a move has, in the same directory and beside the same load, and an answer: no caller can see a move sooner that is to outlive a power cut.
pub fn seen(project: &Project, server: &Running) {
    promote_another(project);
    let (end, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let mut forced = Vec::with_capacity(MOVES);
    let moved: Vec<(u64, i64)> = std::thread::scope(|scope| {
        scope.spawn(|| watch(server, &end, &seen));
        let moves = (0..MOVES).map(|number| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            forced.push(force(&project.0));
            let to = if number % 2 == 0 { "1" } else { "2" };
            let said = project.run(&["release", "rollback", to, "--force", "--json"]);
            let at = said["at"].as_str().and_then(|at| lockstep_model::EventTime::parse(at).ok()).expect("when");
            (said["epoch"].as_u64().expect("an epoch"), at.0)
        });
        let moved = moves.collect();
        end.store(true, Ordering::Relaxed);
        moved
    });
    let seen = seen.into_inner().expect("what was seen");
    let answer = median(seen.iter().map(|(.., took)| *took).collect());
    let first = |epoch: u64| seen.iter().find(|(answered, ..)| *answered >= epoch).map(|(_, at, _)| *at);
    let delays: Vec<f64> = moved.iter().filter_map(|(epoch, at)| Some((first(*epoch)? - at) as f64)).collect();
    heading(&format!("from moving the pointer to the first answer of the other release, {} times", delays.len()), "µs");
    let longest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    row("half of them within", median(delays.clone()), median(forced.clone()) + answer, "10,000 µs at most");
    row("the longest", longest(&delays), longest(&forced) + answer, "10,000 µs at most");
}

/// How long a bare forced write takes, µs.
fn force(dir: &Path) -> f64 {
    let path = dir.join("forced");
    let mut file = File::options().create(true).append(true).open(&path).expect("a file");
    let begun = now();
    file.write_all(&[7; RECORD]).and_then(|()| file.sync_data()).expect("a forced write");
    (now() - begun) as f64
}

/// Asks until it is told to end: the epoch of each answer, when it was there, and how long it took, µs.
fn watch(server: &Running, end: &AtomicBool, seen: &Mutex<Vec<(u64, i64, f64)>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(format!("http://{}", server.address)).await.expect("a connection");
        while !end.load(Ordering::Relaxed) {
            let begun = now();
            let answer = client.get_features(Request::new("v20").column("account", [1_i64]).as_of(START + SPAN - 1)).await.expect("an answer");
            let at = now();
            seen.lock().expect("the list").push((answer.0.epoch, at, (at - begun) as f64));
        }
    });
}

#[allow(clippy::disallowed_methods, reason = "the clock that the store writes beside a move")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
