//! `verify` on projects of its own: sound ones agree three ways, damaged ones are told from sound ones, kept answers are computed again.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn lockstep(dir: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep")).current_dir(dir).env_remove("LOCKSTEP_STORE").args(arguments).output();
    output.expect("the binary runs")
}

/// Standard output of a run that ends well.
fn fine(dir: &Path, arguments: &[&str]) -> String {
    let output = lockstep(dir, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "lockstep {arguments:?}: {:?}\n{out}\n{err}", output.status.code());
    out.into_owned()
}

fn json(dir: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&fine(dir, arguments)).expect("JSON")
}

/// A project of a few busy accounts with corrections, deletes, arrivals that are known later, and late ones; its history is backfilled and its log applied.
fn busy_project(dir: &Path) {
    let definitions = "CREATE ENTITY account (account BIGINT);
CREATE SOURCE payments (id BIGINT, account BIGINT, amount DOUBLE, kind VARCHAR, paid_at TIMESTAMP, seen_at TIMESTAMP, v BIGINT, PRIMARY KEY (id))
WITH (event_time = 'paid_at', available_at = 'seen_at', version = 'v', allowed_lateness = '1 hour', history = 'all', batch = 'history.csv', csv_delimiter = ';');
CREATE FEATURE VIEW activity ENTITY account WITH (ttl = '1 day', limit = 50) AS
SELECT account, count(*) OVER h AS n, sum(amount) OVER h AS total, avg(amount) OVER h AS mean, max(amount) FILTER (WHERE kind <> 'b') OVER h AS most,
       last_value(kind) OVER h AS last_kind, avg(amount) OVER l AS mean_of_9, count(DISTINCT kind) OVER d AS kinds, stddev(amount) OVER d AS spread
FROM payments WHERE amount < 99
WINDOW h AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
       d AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW),
       l AS (PARTITION BY account ORDER BY paid_at ROWS BETWEEN 8 PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE risk AS SELECT a.n AS n, a.mean AS mean, r.amount / nullif(a.mean, 0.0) AS against_mean
FROM REQUEST (account BIGINT, amount DOUBLE) r LEFT JOIN activity a ON a.account = r.account;";
    fs::create_dir(dir.join("feature_defs")).unwrap();
    fs::write(dir.join("lockstep.toml"), "").unwrap();
    fs::write(dir.join("feature_defs/activity.sql"), definitions).unwrap();
    let (mut history, mut log, mut requests) = ("id;account;amount;kind;paid_at;seen_at;v\n".to_owned(), String::new(), String::new());
    let stamp = |second: u64| format!("2024-03-{:02}T{:02}:{:02}:{:02}Z", 1 + second / 86_400, second / 3600 % 24, second / 60 % 60, second % 60);
    for n in 0..3000u64 {
        let hash = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (id, second) = (n.saturating_sub(hash % 7 * (n % 2)), n * 60 + hash % 600);
        let (account, amount, kind) = (hash >> 8 & 1, (hash >> 16) % 1000, ["a", "b", "c"][(hash >> 32) as usize % 3]);
        let (paid, seen) = (stamp(second), stamp(second + hash % 900));
        if n < 1500 {
            let _ = writeln!(history, "{id};{account};{}.{};{kind};{paid};{seen};{n}", amount / 10, amount % 10);
        } else if n % 40 == 7 {
            let _ = writeln!(log, r#"{{"id":{id},"v":{n},"seen_at":"{seen}","_tombstone":true}}"#);
        } else {
            let late = if n % 50 == 3 { stamp(second - 7200) } else { paid };
            let _ = writeln!(
                log,
                r#"{{"id":{id},"account":{account},"amount":{}.{},"kind":"{kind}","paid_at":"{late}","seen_at":"{seen}","v":{n}}}"#,
                amount / 10,
                amount % 10
            );
        }
        if n > 1500 && n % 10 == 0 {
            let _ = writeln!(requests, r#"{{"account":{},"amount":{amount},"request_time":"{}"}}"#, n % 4, stamp(second));
        }
    }
    fs::write(dir.join("history.csv"), history).unwrap();
    fs::write(dir.join("log.ndjson"), log).unwrap();
    fs::write(dir.join("requests.ndjson"), requests).unwrap();
    fine(dir, &["apply"]);
    fine(dir, &["backfill"]);
    let ask = ["ingest", "--from", "log.ndjson", "--batch-rows", "100", "--answer", "risk=requests.ndjson", "--keep", "answers"];
    fine(dir, &ask);
}

#[test]
fn a_sound_store_agrees_three_ways_in_both_times() {
    let dir = tempfile::tempdir().unwrap();
    busy_project(dir.path());
    for time in ["known", "event"] {
        let verified = json(dir.path(), &["verify", "--values", "20000", "--time", time, "--json"]);
        let count = |name: &str| verified[name].as_u64().unwrap();
        assert_eq!((count("differ"), count("faults")), (0, 0), "{verified:#}");
        assert!(count("compared") > 15_000 && count("oracle") == count("compared"), "{verified:#}");
        assert!(count("telling") * 2 > count("compared"), "{verified:#}");
        let state = &verified["views"][0]["state"];
        assert!(state["tiles"].as_u64() > Some(10) && state["refusals"].as_u64() > Some(0), "{state:#}");
    }
}

#[test]
fn kept_answers_are_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    busy_project(dir.path());
    let served = json(dir.path(), &["verify", "--served", "answers", "--json"]);
    assert_eq!((served["answers"].as_u64(), served["differ"].as_u64()), (Some(149), Some(0)), "{served:#}");
    assert!(served["positions"].as_u64() > Some(5) && served["valid"].as_u64() > Some(200), "{served:#}");

    // Asked again, nothing is left to answer, and nothing is applied twice.
    let ask = ["ingest", "--from", "log.ndjson", "--answer", "risk=requests.ndjson", "--keep", "answers", "--json"];
    assert_eq!(json(dir.path(), &ask)["answered"].as_u64(), Some(0));

    // By the lookup verb too, from a file; the answers at one moment are those of one cut.
    fine(dir.path(), &["get", "risk", "--from", "requests.ndjson", "--keep", "now"]);
    let served = json(dir.path(), &["verify", "--served", "now", "--json"]);
    assert_eq!((served["answers"].as_u64(), served["differ"].as_u64(), served["positions"].as_u64()), (Some(149), Some(0), Some(1)), "{served:#}");
}

#[test]
fn every_damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    busy_project(dir.path());
    let tested = json(dir.path(), &["verify", "--self-test", "--json"]);
    let damages = tested["damages"].as_array().unwrap();
    assert_eq!(damages.len(), 6);
    for damage in damages {
        assert_eq!(damage["noticed"].as_bool(), Some(true), "{damage:#}");
        assert!(!damage["says"].as_str().unwrap().is_empty(), "{damage:#}");
    }
    assert!(!dir.path().join(".lockstep/store.self-test").exists(), "the copy is taken away");
    fine(dir.path(), &["verify", "--values", "2000"]);
}

#[test]
fn an_input_that_was_changed_is_an_error_or_a_difference() {
    let dir = tempfile::tempdir().unwrap();
    busy_project(dir.path());
    let history = dir.path().join("history.csv");
    let text = fs::read_to_string(&history).unwrap();
    fs::write(&history, text.replacen(";1;", ";0;", 1)).unwrap();
    let output = lockstep(dir.path(), &["verify", "--values", "2000"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stderr).contains("history.csv"), "{}", String::from_utf8_lossy(&output.stderr));
}
