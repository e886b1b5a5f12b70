//! A project that is watched closely, and what its server says.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use lockstep_model::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::support::Server;

/// Limits that are reached in a test.
const WATCH: &str = "
[watch]
window = '20 seconds'
raise_after = '1 second'
clear_after = '1 second'
rows_min = 20
backfill_max = '1 second'
drift_window = '1 minute'
sampled_per_second = 100000
";

/// The project of `init`, with more settings.
pub fn project(settings: &str) -> Project {
    let project = Project::new();
    let path = project.dir.join("lockstep.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}{WATCH}{settings}\n")).unwrap();
    project
}

/// A server of it that has looked.
pub fn serve(project: &Project) -> Server {
    let server = Server::start(project);
    wait_for("a first look", || (get(&server, "/v1/watch")["reading"]["at_micros"] != json!(0)).then_some(()));
    server
}

/// Replaces a text in a file of the project, where it must be.
pub fn edit(project: &Project, name: &str, old: &str, new: &str) {
    let path = project.dir.join(name);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{name} has no {old}");
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// The present moment, µs.
pub fn now() -> i64 {
    SystemClock.now().0
}

/// Pushes payments of the present moment, a microsecond apart.
pub fn push(server: &Server, first: i64, count: i64) {
    push_at(server, first, count, now());
}

/// As [`push`], of another moment.
pub fn push_at(server: &Server, first: i64, count: i64, at: i64) {
    let row = |number: i64| {
        let paid_at = lockstep_model::EventTime(at + number - first).to_string();
        json!({"payment_id": number, "card": format!("c{}", number % 50), "merchant": "shoes", "country": "DE", "amount": 2.5, "paid_at": paid_at})
    };
    let rows: Vec<Value> = (first..first + count).map(row).collect();
    let (code, body) = server.post("/v1/events/payments", &json!({"rows": rows}).to_string());
    assert_eq!(code, 200, "{body}");
}

/// What a server says at a path, as JSON.
pub fn get(server: &Server, path: &str) -> Value {
    let (code, body) = server.get(path);
    assert_eq!(code, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The signals of a server: kind, name and whether it is a cause.
pub fn signals(server: &Server) -> Vec<(String, String, bool)> {
    let told = get(server, "/v1/signals");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let signal = |signal: &Value| (text(&signal["kind"]), text(&signal["subject"]["name"]), signal["cause"].is_null());
    told["signals"].as_array().unwrap().iter().map(signal).collect()
}

/// Waits until a signal is raised, and holds that it is the first, and a cause; prints how long that took.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "only printed")]
pub fn told_of(server: &Server, kind: &str, name: &str) {
    let began = Instant::now();
    let all = wait_for(&format!("{kind} of {name}"), || Some(signals(server)).filter(|all| !all.is_empty()));
    println!("{kind} of {name} after {:?}", began.elapsed());
    assert_eq!(all[0], (kind.to_owned(), name.to_owned(), true), "{all:?}");
}

/// Waits until no signal is raised any more.
#[track_caller]
pub fn well(server: &Server) {
    wait_for("all is well", || signals(server).is_empty().then_some(()));
}

/// Holds that nothing is raised for so long.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "for how long it is looked")]
pub fn stays_well(server: &Server, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        assert_eq!(signals(server), []);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The names of our metrics in a text.
pub fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    // What counters are called ends otherwise in the text of OpenMetrics.
    words.filter(|word| word.starts_with("lockstep_") && !word.ends_with("_total")).map(str::to_owned).collect()
}
