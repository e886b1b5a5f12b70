//! The doctor: what it finds, and what it says to do.

use std::fs;

use serde_json::Value;

use crate::project::Project;
use crate::support::Server;

fn examined(project: &Project, args: &[&str]) -> (Option<i32>, Vec<(String, String, String)>) {
    let ended = project.run(&[&["doctor", "--json"], args].concat());
    let said: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let check = |check: &Value| (text(&check["what"]), text(&check["health"]), text(&check["found"]));
    (ended.status, said["checks"].as_array().unwrap().iter().map(check).collect())
}

#[track_caller]
fn health<'a>(checks: &'a [(String, String, String)], what: &str) -> (&'a str, &'a str) {
    let found = checks.iter().find(|(named, ..)| named == what).unwrap_or_else(|| panic!("{what} in {checks:?}"));
    (&found.1, &found.2)
}

#[test]
fn what_is_well_is_well_beside_a_server_and_without_one() {
    let project = Project::new();
    project.run(&["snapshot", "create", "first"]).fine();
    let (status, alone) = examined(&project, &["--deep"]);
    assert_eq!(status, Some(0), "{alone:?}");
    for what in ["settings", "definitions", "[serve]", "clock", "store", "view card_activity version 1", "snapshot first", "signals"] {
        assert_eq!(health(&alone, what).0, "ok", "{alone:?}");
    }
    assert!(health(&alone, "snapshot first").1.contains("every byte of it"), "{alone:?}");
    let server = Server::start(&project);
    let (status, beside) = examined(&project, &[]);
    assert_eq!(status, Some(0), "{beside:?}");
    assert!(health(&beside, "store").1.contains("owned by `lockstep serve`"), "{beside:?}");
    let by_server = project.run(&["--server", &server.url(), "doctor"]);
    assert!(
        by_server.status == Some(0) && by_server.out.contains("owned by `lockstep serve`") && !by_server.out.contains("definitions"),
        "{by_server:?}"
    );
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let project = Project::new();
    project.run(&["snapshot", "create", "first"]).fine();
    let file = project.dir.join("feature_defs/payments.sql");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("'data/new_payments.ndjson'", "'kafka://payments?format=json'")).unwrap();
    let (status, checks) = examined(&project, &[]);
    assert_eq!(status, Some(1));
    let (kafka, found) = health(&checks, "kafka");
    assert!(kafka == "fail" && found.contains("bootstrap.servers"), "{found}");
    fs::write(&file, text.replace("BIGINT", "BIGGINT")).unwrap();
    let (status, checks) = examined(&project, &[]);
    let (definitions, found) = health(&checks, "definitions");
    assert!(status == Some(1) && definitions == "fail" && found.contains("payments.sql:") && found.contains("`lockstep check`"), "{found}");
    // What the store has is looked at all the same.
    assert_eq!(health(&checks, "view card_activity version 1").0, "ok");
    fs::write(&file, &text).unwrap();
    let table = find(&project.store().join("snapshots/first/db"), "sst");
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // A file of its own: the store's has the same inode.
    fs::remove_file(&table).unwrap();
    fs::write(&table, bytes).unwrap();
    assert_eq!(examined(&project, &[]).0, Some(0), "sizes are as they were");
    let (status, checks) = examined(&project, &["--deep"]);
    let (snapshot, found) = health(&checks, "snapshot first");
    assert!(status == Some(1) && snapshot == "fail" && found.contains(table.file_name().unwrap().to_str().unwrap()), "{found}");
    fs::write(project.dir.join("lockstep.toml"), "stor = 'x'\n").unwrap();
    let ended = project.run(&["doctor"]);
    assert!(ended.status == Some(1) && ended.out.contains("fail  settings"), "{ended:?}");
}

#[test]
fn a_project_that_was_not_applied_is_told_what_comes_next() {
    let project = Project::unapplied();
    let ended = project.run(&["doctor"]);
    assert!(ended.status == Some(0) && ended.out.contains("run `lockstep apply`"), "{ended:?}");
}

fn find(dir: &std::path::Path, extension: &str) -> std::path::PathBuf {
    let mut files: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    files.remove(0)
}
