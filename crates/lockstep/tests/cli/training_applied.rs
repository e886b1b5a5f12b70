//! `train --snapshot` and `--applied`: sets that are computed from all that a store has applied.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use arrow::array::RecordBatch;
use lockstep_ingest::push::{PushLog, PushOptions};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use serde_json::Value;

use crate::support::Place;
use crate::training::{fine, rows, text};

/// Payments that are corrected, deleted, repeated, late, and known later than they happen; from a history, a log and pushes.
const DEFINITIONS: &str = "CREATE ENTITY account (account BIGINT);
CREATE SOURCE payments (id BIGINT, account BIGINT, amount DOUBLE, kind VARCHAR, paid_at TIMESTAMP, seen_at TIMESTAMP, v BIGINT, PRIMARY KEY (id))
WITH (event_time = 'paid_at', available_at = 'seen_at', version = 'v', allowed_lateness = '1 hour', history = 'all', batch = 'history.csv', csv_delimiter = ';');
CREATE FEATURE VIEW activity ENTITY account WITH (ttl = '1 day', limit = 50) AS
SELECT account, count(*) OVER h AS n, sum(amount) OVER h AS total, last_value(kind) OVER h AS last_kind, avg(amount) OVER l AS mean_of_9, count(DISTINCT kind) OVER d AS kinds
FROM payments WHERE amount < 99
WINDOW h AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
       d AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW),
       l AS (PARTITION BY account ORDER BY paid_at ROWS BETWEEN 8 PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW sizes ENTITY account AS
SELECT account, max(amount) OVER w AS most FROM payments
WINDOW w AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '2 hours' PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE risk AS SELECT a.n AS n, a.total AS total, a.last_kind AS last_kind, a.kinds AS kinds, a.mean_of_9 AS mean_of_9,
  r.amount / nullif(a.mean_of_9, 0.0) AS against_mean, s.most AS most
FROM REQUEST (account BIGINT, amount DOUBLE) r LEFT JOIN activity a ON a.account = r.account LEFT JOIN sizes s ON s.account = r.account;";

fn stamp(second: u64) -> String {
    format!("2024-03-{:02}T{:02}:{:02}:{:02}Z", 1 + second / 86_400, second / 3600 % 24, second / 60 % 60, second % 60)
}

/// A row of one of three parts: the history, the log, and what is pushed.
fn payment(n: u64) -> Value {
    let hash = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (id, second) = (n.saturating_sub(hash % 7 * (n % 2)), n * 60 + hash % 600);
    let late = if n % 50 == 3 { second.saturating_sub(7200) } else { second };
    let (account, amount, kind) = (hash >> 8 & 3, ((hash >> 16) % 1000) as f64 / 10.0, ["a", "b", "c"][(hash >> 32) as usize % 3]);
    serde_json::json!({"id": id, "account": account, "amount": amount, "kind": kind, "paid_at": stamp(late), "seen_at": stamp(second + hash % 900), "v": n})
}

/// The log's lines of these rows: some delete, some are there twice.
fn log(numbers: std::ops::Range<u64>) -> String {
    let mut lines = String::new();
    for n in numbers {
        let row = payment(n);
        if n % 40 == 7 {
            let _ = writeln!(lines, r#"{{"id":{},"v":{n},"seen_at":{},"_tombstone":true}}"#, row["id"], row["seen_at"]);
            continue;
        }
        (0..1 + u64::from(n % 30 == 4)).for_each(|_| {
            let _ = writeln!(lines, "{row}");
        });
    }
    lines
}

fn push(place: &Place, numbers: std::ops::Range<u64>) {
    let files = [SourceFile::new("all.sql", std::fs::read_to_string(place.path("feature_defs/all.sql")).unwrap())];
    let catalog = Catalog::compile(Definitions::parse(&files).unwrap()).unwrap();
    let source = &catalog.sources["payments"];
    let text: String = numbers.map(|n| payment(n).to_string().replace('Z', "") + "\n").collect();
    let reader = arrow::json::ReaderBuilder::new(source.schema.clone()).build(text.as_bytes()).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let log = PushLog::open(&place.path(".lockstep/store/push"), PushOptions::default()).unwrap();
    log.append(source, arrow::compute::concat_batches(&source.schema, &batches).unwrap()).unwrap();
}

/// A project that has applied 1,000 payments of each kind.
fn project() -> Place {
    let place = Place::empty();
    place.write("lockstep.toml", "");
    place.write("feature_defs/all.sql", DEFINITIONS);
    let cell = |row: &Value, name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
    let columns = ["id", "account", "amount", "kind", "paid_at", "seen_at", "v"];
    let history = (0..1000).map(|n| columns.map(|name| cell(&payment(n), name)).join(";") + "\n");
    place.write("history.csv", std::iter::once(columns.join(";") + "\n").chain(history).collect::<String>());
    place.write("log.ndjson", log(1000..2000));
    fine(place.run(&["apply"]));
    fine(place.run(&["backfill"]));
    fine(place.run(&["ingest", "--from", "log.ndjson", "--batch-rows", "100"]));
    push(&place, 2000..3000);
    fine(place.run(&["ingest", "--until-end"]));
    place
}

/// Requests of all accounts and one that nobody knows, up to a second.
fn spine(seconds: u64) -> String {
    let moment = |n: u64| stamp(n.wrapping_mul(0x9e37_79b9) % seconds);
    (0..400).map(|n| format!(r#"{{"account":{},"amount":{}.25,"request_time":"{}","label":{}}}"#, n % 5, n % 90, moment(n), n % 2) + "\n").collect()
}

/// Compares a training set with what `get` answers to the same requests, and counts statuses.
fn compare(place: &Place, set: &str, get: &[&str]) -> BTreeMap<String, usize> {
    place.write("requests.ndjson", place.read("spine.ndjson").replace("\"label\"", "\"_label\""));
    let set = rows(&place.path(set));
    let got = fine(place.run(&[&["get", "risk", "--from", "requests.ndjson", "--json"], get].concat()));
    let got: Vec<Value> = serde_json::from_str(&got.stdout).unwrap();
    assert_eq!((set.num_rows(), got.len()), (400, 400));
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for (row, answer) in got.iter().enumerate() {
        for feature in answer["features"].as_array().unwrap() {
            let column = feature["name"].as_str().unwrap();
            assert_eq!(text(&set, column, row).as_deref(), feature["value"].as_str(), "{column} of row {row}");
            let status = text(&set, &format!("{column}_status"), row).unwrap();
            assert_eq!(status, feature["status"].as_str().unwrap(), "{column} of row {row}");
            *statuses.entry(status).or_default() += 1;
        }
    }
    statuses
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn a_training_set_of_a_snapshot_has_what_get_answers_from_it() {
    let place = project();
    // The log has not come so far as what was pushed.
    fine(place.run(&["snapshot", "create", "--moment", &stamp(2900 * 60), "--force"]));
    let snapshot: Value = serde_json::from_str(&fine(place.run(&["snapshot", "show", "s0001", "--json"])).stdout).unwrap();
    // What comes after it is not in it.
    place.write("more.ndjson", log(3000..3600));
    fine(place.run(&["ingest", "--from", "more.ndjson"]));
    push(&place, 3600..3800);
    fine(place.run(&["ingest", "--until-end"]));
    place.write("spine.ndjson", spine(2900 * 60));
    let mut digests = Vec::new();
    for time in ["known", "event"] {
        let args = ["train", "risk", "--spine", "spine.ndjson", "--statuses", "--time", time, "--snapshot", "s0001", "--out"];
        let said = fine(place.run(&[&args[..], &[time]].concat()));
        assert!(said.stdout.contains("of snapshot s0001") && said.stdout.contains("refused as late"), "{}", said.stdout);
        let statuses = compare(&place, time, &["--snapshot", "s0001", "--time", time]);
        assert!(statuses["PRESENT"] > 1000 && statuses["NOT_FOUND"] > 300, "{statuses:?}");
        // The same once more is the same bytes, in less memory too.
        place.write("lockstep.toml", "[memory]\ntrain = \"64KiB\"\n");
        fine(place.run(&[&args[..], &["again"]].concat()));
        place.write("lockstep.toml", "");
        let (one, other) = (manifest(&place.path(time)), manifest(&place.path("again")));
        assert_eq!((&one["job"], &one["digest"]), (&other["job"], &other["digest"]));
        std::fs::remove_dir_all(place.path("again")).unwrap();
        digests.push(one);
    }
    assert_ne!(digests[0]["digest"], digests[1]["digest"]);
    let from = &digests[0]["job"]["from_store"];
    assert_eq!((&from["snapshot"], &from["moment"]), (&"s0001".into(), &snapshot["moment"]));
    assert_eq!(from["generations"].as_array().unwrap().len(), 2);
    let kinds: Vec<&str> =
        from["generations"][0]["positions"].as_array().unwrap().iter().map(|at| at["position"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["file", "file", "push"]);

    // As far as the store has come by now, it is another set.
    fine(place.run(&["train", "risk", "--spine", "spine.ndjson", "--statuses", "--applied", "--out", "now"]));
    compare(&place, "now", &[]);
    let diff = place.run(&["diff", "known", "now"]);
    assert!(diff.stdout.contains("what was pushed to `payments` is not the same: it had 1,000 rows and has 1,200 rows"), "{}", diff.stdout);
    // Of batch files alone, most of it is not there.
    fine(place.run(&["train", "risk", "--spine", "spine.ndjson", "--statuses", "--out", "files"]));
    let diff = place.run(&["diff", "files", "known"]);
    assert!(diff.stdout.contains("the first is computed from batch files, the second from all that a store had applied"), "{}", diff.stdout);

    // A moment after the snapshot's is refused, and so is one that --before does not bring back.
    place.write("spine.ndjson", spine(3700 * 60));
    let said = place.run(&["train", "risk", "--spine", "spine.ndjson", "--snapshot", "s0001", "--out", "late"]);
    assert!(said.status == 2 && said.stderr.contains("snapshot `s0001` answers up to"), "{}", said.stderr);
    fine(place.run(&["train", "risk", "--spine", "spine.ndjson", "--snapshot", "s0001", "--before", "1 day", "--out", "late"]));
    let every = ["--every", "1 day", "--from", "2024-03-01", "--to", "2024-03-20"];
    let said = place.run(&[&["train", "activity", "--snapshot", "s0001", "--out", "every"][..], &every].concat());
    assert!(said.status == 2 && said.stderr.contains("snapshot `s0001` answers up to"), "{}", said.stderr);
}

#[test]
fn a_view_that_was_filled_later_stands_elsewhere() {
    let place = project();
    place.write("more.ndjson", log(3000..3300));
    fine(place.run(&["ingest", "--from", "more.ndjson"]));
    // The history grew into what was a log, and a changed view is filled from it: one source, read in two ways.
    place.edit("feature_defs/all.sql", "WHERE amount < 99", "WHERE amount < 98");
    fine(place.run(&["apply"]));
    fine(place.run(&["backfill", "--until", "2024-03-01T20:00:00Z"]));
    fine(place.run(&["ingest", "--from", "log.ndjson"]));
    fine(place.run(&["ingest", "--until-end"]));
    place.write("spine.ndjson", spine(3200 * 60));
    for set in ["1", "2"] {
        fine(place.run(&["release", "promote", "--set", set, "--force", "--reason", "either may be asked for"]));
        fine(place.run(&["train", "risk", "--spine", "spine.ndjson", "--statuses", "--applied", "--out", set]));
        let statuses = compare(&place, set, &[]);
        assert!(statuses["PRESENT"] > 1000, "{statuses:?}");
    }
}

#[test]
fn what_cannot_be_read_again_is_said() {
    let mut place = Place::project();
    place.write("spine.csv", "card,country,amount,request_time\nc1,DE,5,2024-03-08T12:00:00Z\n");
    place.say("train fraud_v1 --spine spine.csv --applied --out set");
    place.say("train fraud_v1 --spine spine.csv --snapshot s0001 --out set");
    fine(place.run(&["apply"]));
    place.say("train fraud_v1 --spine spine.csv --applied --out set");
    fine(place.run(&["backfill"]));
    place.say("train fraud_v1 --spine spine.csv --snapshot s0001 --out set");
    place.say("train fraud_v1 --spine spine.csv --applied --until 2024-03-05 --out set");
    fine(place.run(&["ingest", "--from", "data/new_payments.ndjson"]));
    fine(place.run(&["train", "fraud_v1", "--spine", "spine.csv", "--applied", "--out", "set"]));
    place.note("a log that is gone");
    std::fs::remove_file(place.path("data/new_payments.ndjson")).unwrap();
    place.say("train fraud_v1 --spine spine.csv --applied --out other");
    place.check("training_applied");
}
