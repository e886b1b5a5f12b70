//! Answers of candidates that are kept and logged: one vector for each request, of lists, which is computed again to the same bits.

use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::shop::{ask, files, project, push, until_shown};
use crate::support::{Caller, Server};

#[test]
fn answers_that_are_kept_are_computed_again() {
    let project = project();
    std::fs::write(project.dir.join("asked.ndjson"), "{\"shopper\": \"ann\"}\n{\"shopper\": \"bob\"}\n{\"shopper\": \"nobody\"}\n").unwrap();
    project.run(&["get", "to_show", "--from", "asked.ndjson", "--keep", "kept"]).fine();
    let served: Value = serde_json::from_str(&project.run(&["verify", "--served", "kept", "--json"]).fine()).unwrap();
    assert_eq!((&served["answers"], &served["differ"]), (&json!(3), &json!(0)), "{served:#}");
}

#[test]
fn what_is_served_is_logged_and_audited() {
    let project = Project::of(&files("", "[serve.feature_log]\nroll = '50 milliseconds'\nshare = 1.0\n"));
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    ask(&caller, &["ann", "bob", "nobody"]);
    push(&server, "counts", json!({"id": 100, "item": "hat", "pieces": 0, "price": 1.5}));
    until_shown(&caller, "ann", &["cup", "tea", "jam"]);
    let logged = || serde_json::from_str::<Value>(&server.get("/v1/status").1).unwrap()["feature_log"].clone();
    wait_for("what was served is in files", || (logged()["waiting"] == json!(0) && logged()["logged"].as_u64() >= Some(4)).then_some(()));
    // What came in since may differ in hindsight.
    let audited: Value = serde_json::from_str(&project.run(&["audit", "--json"]).out).unwrap();
    let vectors = logged()["logged"].clone();
    assert_eq!((&audited["replay"]["vectors"], &audited["replay"]["differ"]), (&vectors, &json!(0)), "{audited:#}");
}

#[test]
fn a_training_set_has_lists_of_what_candidates_had() {
    let project = project();
    let spine = "{\"shopper\": \"ann\", \"chosen\": \"cup\", \"at\": \"2024-03-02T00:00:00Z\"}\n{\"shopper\": \"nobody\", \"chosen\": \"tea\", \"at\": \"2024-03-02T00:00:00Z\"}\n";
    std::fs::write(project.dir.join("spine.ndjson"), spine).unwrap();
    let told = project.run(&["train", "to_show", "--spine", "spine.ndjson", "--timestamp", "at", "--out", "set", "--json"]).fine();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["report"]["rows"], json!(2), "{told:#}");
    let rows = project.run(&["sql", "SELECT item, score, chosen FROM \"set/\" ORDER BY chosen"]).fine();
    assert!(rows.contains("[hat, cup, tea]") && rows.contains("[tea, jam]"), "{rows}");
}

#[test]
fn the_demo_of_alternative_flights_is_tested_down_both_paths() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights/alternatives");
    let project = Project::of(&files("", ""));
    let ended = project.command(&["test"]).current_dir(example).output().unwrap();
    assert!(ended.status.success() && String::from_utf8_lossy(&ended.stdout).contains("1 test with 5 values"), "{ended:?}");
}
