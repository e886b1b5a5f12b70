//! What people see is the same whoever answers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::thread;

use serde_json::Value;

use crate::support::{Ended, Project, wait_for};

pub const AT: &str = "2024-03-08T12:00:00Z";

/// Every verb that asks a store, with answers, errors and both kinds of output. They change nothing that another one shows.
pub const CASES: &[&[&str]] = &[
    &["get", "card_activity", "card=c1", "--as-of", AT],
    &["get", "card_activity", "card=c1", "--as-of", AT, "--json"],
    &["get", "card_activity", "card=c1", "--as-of", AT, "--color", "always"],
    &["get", "card_activity", "card=c1", "--as-of", AT, "--time", "event"],
    &["get", "card_activity", "card=nobody", "--as-of", AT],
    &["get", "fraud_v1", "card=c1", "amount=250", "country=FR", "--as-of", AT],
    &["get", "fraud_v1", "card=c1", "amount=0.1", "country=FR", "--as-of", "1900-01-01", "--json"],
    &["get", "fraud_v1", "card=c1", "amount=250", "country=FR", "--as-of", AT, "--explain"],
    &["get", "fraud_v2", "card=c1"],
    &["get", "fraud_v2", "card=c1", "--json"],
    &["get", "fraud_v1", "card=c1", "amuont=250"],
    &["get", "fraud_v1", "amount=much"],
    &["get", "fraud_v1", "--from", "requests.ndjson", "--as-of", AT],
    &["get", "fraud_v1", "--from", "requests.ndjson", "--json", "--keep", "kept", "--as-of", AT],
    &["get", "fraud_v2", "--from", "requests.ndjson"],
    &["get", "card_activity", "--from", "requests.csv"],
    &["get", "card_activity", "--from", "bad.ndjson"],
    &["score", "fraud", "card=c1"],
    &["score", "fraud", "card=c1", "--json"],
    &["verify"],
    &["verify", "--values", "100", "--seed", "7", "--json"],
    &["verify", "--served", "kept"],
    &["verify", "--served", "feature_defs"],
    &["verify", "--self-test"],
    &["plan"],
    &["plan", "--json"],
    &["apply"],
    &["apply", "--json"],
    &["apply", "--list"],
    &["apply", "--list", "--json"],
    &["explain", "card_activity"],
    &["explain", "card_activity", "--entity", "card=c1", "--as-of", AT, "--json"],
    &["explain", "card_activity", "--entity", "card=c1", "--as-of", AT],
    &["explain", "fraud_v1"],
    &["status"],
    &["status", "--json"],
    &["dead-letters", "list"],
    &["dead-letters", "list", "--source", "orders"],
    &["dead-letters", "export", "letters.csv"],
    &["refusals", "list", "--json"],
    &["applied-log", "--json"],
    &["applied-log", "--source", "payments"],
    &["drop", "card_activity@1"],
    &["drop", "card_activity@7"],
    &["release", "list"],
    &["release", "show"],
    &["release", "rollback"],
    &["release", "promote", "--set", "9"],
    &["release", "validate", "--json"],
    &["model", "list"],
    &["model", "show", "late"],
    &["predictions", "list"],
    &["predictions", "list", "late"],
    &["predictions", "show", "late"],
    &["predictions", "rollback", "late"],
    &["migrate", "--check"],
    &["migrate", "--check", "--json"],
    &["snapshot", "list"],
    &["snapshot", "show", "nowhere"],
    &["snapshot", "validate", "nowhere"],
    &["snapshot", "validate", "nowhere", "--against", "serving"],
    &["snapshot", "drop", "nowhere"],
    &["get", "card_activity", "card=c1", "--snapshot", "nowhere"],
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

/// What comes of every case; `run` says how they are run.
fn outcomes(project: &Project, run: impl Fn(&[&str]) -> Ended) -> Vec<Ended> {
    write_requests(project);
    let outcomes = CASES.iter().map(|args| masked(run(args))).collect();
    fs::remove_file(project.dir.join("letters.csv")).unwrap();
    outcomes
}

/// Without what differs between two projects: when things were done, and how much room the store takes. All events are of 2024.
pub fn masked(ended: Ended) -> Ended {
    let word = |word: &str| {
        let is_now = word.trim_start_matches('"').get(..5).is_some_and(|year| year.starts_with("20") && year.ends_with('-') && year != "2024-");
        if is_now { "(now)".to_owned() } else { word.to_owned() }
    };
    let line = |line: &str| match line {
        line if line.contains("on the disk") || line.contains("\"disk_bytes\"") => "(room)".to_owned(),
        line => line.split(' ').map(word).collect::<Vec<_>>().join(" "),
    };
    Ended { out: unwatched(&ended.out).split('\n').map(line).collect::<Vec<_>>().join("\n"), ..ended }
}

/// Without what a server alone measures of itself.
fn unwatched(out: &str) -> String {
    if let Ok(Value::Object(status)) = serde_json::from_str(out)
        && status.contains_key("disk_bytes")
    {
        let others: serde_json::Map<String, Value> = status.into_iter().filter(|(name, _)| name != "watched").collect();
        return serde_json::to_string_pretty(&others).unwrap();
    }
    match out.split_once("all is well · no signal is raised\n\n") {
        // A table of sources, up to the first view.
        Some((before, watched)) => before.to_owned() + "\n" + watched.split_once("\n\n").map_or("", |(_, views)| views),
        None => out.to_owned(),
    }
}

fn compare(alone: &Project, beside: &Project) {
    compare_runs(alone, beside, |args| beside.run(args));
}

fn compare_runs(alone: &Project, beside: &Project, run: impl Fn(&[&str]) -> Ended) {
    let (of_alone, of_beside) = thread::scope(|scope| {
        let of_alone = scope.spawn(|| outcomes(alone, |args| alone.run(args)));
        let of_beside = outcomes(beside, run);
        (of_alone.join().unwrap(), of_beside)
    });
    for ((args, alone), beside) in CASES.iter().zip(of_alone).zip(of_beside) {
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

    // A log that came through standard input: `verify` cannot read it again, and says so. Both were applied and not ended.
    let mut killed = alone.owner();
    for (project, owner) in [(&alone, &mut killed), (&beside, &mut owner)] {
        owner.feed(&project.new_payments());
        let applied = |status: String| status.contains(&format!("{} rows so far", project.new_payments().lines().count()));
        wait_for("the log is applied", || applied(project.run(&["status"]).fine().replace("  ", " ")).then_some(()));
    }
    killed.kill();
    compare(&alone, &beside);
    owner.finish().fine();
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
    // Changed once more: the version in between is nobody's, and the first serves.
    for project in [&alone, &beside] {
        project.change_a_view_again();
    }
    let changed: &[&[&str]] =
        &[&["plan"], &["apply"], &["drop", "card_activity@2"], &["status"], &["drop", "card_activity@2"], &["drop", "card_activity@1"]];
    for args in changed {
        assert_eq!(masked(alone.run(args)), masked(beside.run(args)), "{args:?}");
    }
    // It goes on with what it began with, and fills the new version meanwhile, which is as far once it has read the same.
    assert_eq!(alone.run(&["backfill"]).fine(), beside.run(&["backfill"]).fine());
    owner.feed(&beside.new_payments());
    assert!(owner.finish().fine().contains("applied to 1 view"));
    let serves = |project: &Project, version: &str| {
        let status = project.run(&["status"]).fine();
        assert!(status.contains(&format!("card_activity version {version}, generation {version}, serving")), "{status}");
    };
    serves(&alone, "3");
    serves(&beside, "1");
    for project in [&alone, &beside] {
        let mut again = project.owner();
        again.feed(&project.new_payments());
        again.finish().fine();
    }
    serves(&beside, "3");
    assert!(beside.run(&["drop", "card_activity@1"]).error().contains("`card_activity@1` served, and is kept until "));
    for args in [&["drop", "card_activity@1", "--now"][..], &["get", "card_activity", "card=c1", "--as-of", AT]] {
        assert_eq!(alone.run(args).fine(), beside.run(args).fine());
    }
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

/// A server owns the store: it is found through the store's socket, and asked over the network.
#[test]
fn beside_a_server_and_through_it() {
    let (alone, beside) = (Project::new(), Project::new());
    let server = beside.server();
    compare(&alone, &beside);
    compare_runs(&alone, &beside, |args| {
        let mut command = beside.command(args);
        command.env("LOCKSTEP_SERVER", server.url()).env("LOCKSTEP_STORE", "/nowhere");
        command.output().unwrap().into()
    });
    assert!(beside.run(&["backfill", "--server", &server.url()]).fine().starts_with("nothing to backfill"));
    for verb in [&["ingest", "--from", "-"][..], &["serve"]] {
        let refused = beside.run(&[verb, &["--server", &server.url()]].concat()).error();
        assert!(refused.contains("needs the store itself"), "{refused}");
    }
    let url = server.url();
    drop(server);
    let nobody = beside.run(&["status", "--server", &url]).error();
    assert!(nobody.starts_with(&format!("error: the server at {url} does not answer: ")), "{nobody}");
}
