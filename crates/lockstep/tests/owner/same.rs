//! What people see is the same whoever answers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use crate::support::{Ended, Project, wait_for};

const AT: &str = "2024-03-08T12:00:00Z";

/// Every verb that asks a store, with answers, errors and both kinds of output. They change nothing that another one shows, except that `apply` counts.
const CASES: &[&[&str]] = &[
    &["get", "card_activity", "card=c1", "--as-of", AT],
    &["get", "card_activity", "card=c1", "--as-of", AT, "--json"],
    &["get", "card_activity", "card=c1", "--as-of", AT, "--color", "always"],
    &["get", "card_activity", "card=c1", "--as-of", AT, "--time", "event"],
    &["get", "card_activity", "card=nobody", "--as-of", AT],
    &["get", "fraud_v1", "card=c1", "amount=250", "country=FR", "--as-of", AT],
    &["get", "fraud_v1", "card=c1", "amount=0.1", "country=FR", "--as-of", "1900-01-01", "--json"],
    &["get", "fraud_v2", "card=c1"],
    &["get", "fraud_v2", "card=c1", "--json"],
    &["get", "fraud_v1", "card=c1", "amuont=250"],
    &["get", "fraud_v1", "amount=much"],
    &["get", "fraud_v1", "--from", "requests.ndjson", "--as-of", AT],
    &["get", "fraud_v1", "--from", "requests.ndjson", "--json", "--keep", "kept", "--as-of", AT],
    &["get", "fraud_v2", "--from", "requests.ndjson"],
    &["get", "card_activity", "--from", "requests.csv"],
    &["get", "card_activity", "--from", "bad.ndjson"],
    &["verify"],
    &["verify", "--values", "100", "--seed", "7", "--json"],
    &["verify", "--served", "kept"],
    &["verify", "--served", "feature_defs"],
    &["verify", "--self-test"],
    &["apply"],
    &["apply", "--json"],
    &["check"],
];

/// Requests of 3 cards: one says no moment, one is no request.
fn write_requests(project: &Project) {
    let requests = "{\"card\":\"c1\",\"amount\":0.1,\"country\":\"FR\",\"request_time\":\"2024-03-07T10:00:00.000001Z\"}\n\
                    {\"card\":\"c2\",\"amount\":7}\n{\"card\":\"nobody\",\"amount\":1e300,\"request_time\":\"2024-03-08\"}\n";
    fs::write(project.dir.join("requests.ndjson"), requests).unwrap();
    fs::write(project.dir.join("requests.csv"), "card,request_time\nc1,2024-03-08T12:00:00Z\n").unwrap();
    fs::write(project.dir.join("bad.ndjson"), "{\"card\":[7]}\n").unwrap();
}

/// What `--keep` kept.
fn kept(project: &Project) -> BTreeMap<OsString, Vec<u8>> {
    let files = fs::read_dir(project.dir.join("kept")).unwrap().map(|entry| entry.unwrap());
    files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect()
}

fn outcomes(project: &Project) -> Vec<Ended> {
    write_requests(project);
    CASES.iter().map(|args| project.run(args)).collect()
}

fn compare(alone: &Project, beside: &Project) {
    for ((args, alone), beside) in CASES.iter().zip(outcomes(alone)).zip(outcomes(beside)) {
        assert_eq!(alone, beside, "{args:?}");
        assert!(!alone.out.is_empty() || !alone.err.is_empty(), "{args:?}");
    }
}

#[test]
fn with_and_without_an_owner() {
    let (alone, beside) = (Project::new(), Project::new());
    let mut owner = beside.owner();
    compare(&alone, &beside);
    assert!(!kept(&alone).is_empty() && kept(&alone) == kept(&beside));

    // A log that came through standard input: `verify` cannot read it again, and says so.
    let payments = alone.new_payments();
    let mut other = alone.owner();
    other.feed(&payments);
    let report = other.finish().fine();
    owner.feed(&payments);
    let get = &["get", "card_activity", "card=c1", "--as-of", "2024-03-09", "--json"];
    let ingested = alone.run(get);
    wait_for("the log is applied", || (beside.run(get) == ingested).then_some(()));
    compare(&alone, &beside);
    assert_eq!(owner.finish().fine(), report);
}

#[test]
fn a_changed_view_is_applied_beside_the_ingester() {
    let (alone, beside) = (Project::new(), Project::new());
    let mut owner = beside.owner();
    for project in [&alone, &beside] {
        project.change_a_view();
    }
    let changed: &[&[&str]] = &[&["apply"], &["get", "card_activity", "card=c1"], &["verify"], &["apply"]];
    for args in changed {
        assert_eq!(alone.run(args), beside.run(args), "{args:?}");
    }
    // It goes on with what it began with, and the new version is backfilled once it has ended.
    owner.feed(&beside.new_payments());
    assert!(owner.finish().fine().contains("applied to 1 view"));
    for project in [&alone, &beside] {
        project.run(&["backfill"]).fine();
    }
    let get = &["get", "card_activity", "card=c1", "--as-of", AT];
    assert_eq!(alone.run(get).fine(), beside.run(get).fine());
}

#[test]
fn from_another_directory() {
    let project = Project::new();
    let alone = project.run(&["get", "card_activity", "card=c1", "--as-of", AT]).fine();
    let _owner = project.owner();
    let dir = project.dir.to_str().unwrap();
    let mut command = project.command(&["--project", dir, "get", "card_activity", "card=c1", "--as-of", AT]);
    assert_eq!(Ended::from(command.current_dir("/").output().unwrap()).fine(), alone);
}
