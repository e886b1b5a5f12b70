//! Answers of candidates that are kept and logged: one vector for each request, of lists, which is computed again to the same bits.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type};
use lockstep_client::{Outcome, Rows, Scores};
use lockstep_model::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::chains::read;
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

/// What was answered to requests `r00` to `r19`, of which half explore; it is logged.
fn ranked_and_logged(project: &Project) -> Vec<Scores> {
    let server = Server::start(project);
    let caller = Caller::new(&server);
    let ask = |number: usize| {
        let rows = Rows::of("trying").column("shopper", ["ann"]).id(format!("r{number:02}"));
        caller.runtime.block_on(caller.client.score(rows)).unwrap()
    };
    let answered: Vec<Scores> = (0..20).map(ask).collect();
    let now = SystemClock.now().0;
    let clicked = |item: &str, is: bool| Outcome::of("r05", 0, now).value("item", [item]).value("clicked", [is]);
    caller.runtime.block_on(caller.client.report_outcomes(vec![clicked("tea", true), clicked("hat", false)])).unwrap();
    assert_eq!(server.terminate().status, Some(0));
    let explored = answered.iter().filter(|scores| scores.0.explored[0]).count();
    assert!(explored > 0 && explored < 20, "{explored}");
    answered
}

fn number_of(request_id: &str) -> usize {
    request_id[1..].parse().unwrap()
}

#[test]
fn a_training_set_of_the_log_has_where_each_candidate_stood() {
    let project = crate::ranked::project();
    let answered = ranked_and_logged(&project);
    std::fs::write(project.dir.join("outcomes.csv"), "request_id,label,outcome_time\nr03,1,2100-01-01T00:00:00Z\n").unwrap();
    project.run(&["train", "to_show", "--from-log", "--outcomes", "outcomes.csv", "--outcome-time", "outcome_time", "--out", "set"]).fine();
    let set = read(&project, "set");
    assert_eq!(set.num_rows(), 20);
    let ids = set.column_by_name("request_id").unwrap().as_string::<i32>();
    let list = |name: &str, row: usize| set.column_by_name(name).unwrap().as_list::<i32>().value(row);
    for row in 0..set.num_rows() {
        let scores = &answered[number_of(ids.value(row))];
        let shown = crate::ranked::items(scores);
        // In the order of the service, as its features are.
        let items: Vec<String> = list("item", row).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        assert_eq!(items, ["hat", "cup", "tea"]);
        let places: Vec<usize> = list("ranked_place", row).as_primitive::<Int32Type>().values().iter().map(|place| *place as usize).collect();
        assert_eq!(places, items.iter().map(|item| place_of(&shown, item)).collect::<Vec<_>>());
        let propensities = list("ranked_propensity", row);
        let wanted: Vec<f64> = places.iter().map(|place| scores.0.propensities[place - 1]).collect();
        assert_eq!(propensities.as_primitive::<Float64Type>().values().to_vec(), wanted);
    }
}

#[test]
fn each_candidate_that_was_answered_can_be_a_row_of_a_training_set() {
    let project = crate::ranked::project();
    let answered = ranked_and_logged(&project);
    let train = ["train", "to_show", "--from-log", "--each-candidate", "item", "--propensity", "propensity", "--weight-max", "100", "--json"];
    let told: Value = serde_json::from_str(&project.run(&[&train[..], &["--out", "set"]].concat()).fine()).unwrap();
    let set = read(&project, "set");
    let text = |name: &str| set.column_by_name(name).unwrap().as_string::<i32>().clone();
    let numbers = |name: &str| set.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
    let (ids, items, actions, by, status) = (text("request_id"), text("item"), text("action"), text("decided_by"), text("outcome_status"));
    let (prices, propensities, weights) = (numbers("price"), numbers("propensity"), numbers("sample_weight"));
    let clicked = set.column_by_name("clicked").unwrap().as_boolean();
    assert_eq!(set.num_rows(), 60);
    for row in 0..set.num_rows() {
        let scores = &answered[number_of(ids.value(row))];
        let place = place_of(&crate::ranked::items(scores), items.value(row));
        assert_eq!(actions.value(row), format!("place {place}"));
        let propensity = scores.0.propensities[place - 1];
        assert_eq!((propensities.value(row), weights.value(row)), (propensity, 1.0 / propensity));
        assert_eq!(by.value(row), if scores.0.explored[0] { "EXPLORED" } else { "MODEL" });
        assert_eq!(
            prices.value(row),
            match items.value(row) {
                "hat" => 30.0,
                "cup" => 9.0,
                _ => 2.5,
            }
        );
        // What was reported is of a candidate, and not of all of its request.
        let outcome = match (ids.value(row), items.value(row)) {
            ("r05", "tea") => Some(true),
            ("r05", "hat") => Some(false),
            _ => None,
        };
        assert_eq!(
            (status.value(row), clicked.is_valid(row).then(|| clicked.value(row))),
            (if outcome.is_some() { "KNOWN" } else { "CENSORED" }, outcome)
        );
    }
    let decisions = &told["report"]["served"]["decisions"];
    let first = decisions["actions"].as_array().unwrap().iter().find(|met| met["action"] == "place 1").unwrap();
    assert_eq!((&first["rows"], decisions["labels"]["model"].as_u64().unwrap() + decisions["labels"]["explored"].as_u64().unwrap()), (&json!(20), 2));
    // Outcomes in a file say it by a column of its name; what tells candidates apart is an output.
    std::fs::write(project.dir.join("clicks.csv"), "request_id,item,clicked,outcome_time\nr03,cup,true,2100-01-01T00:00:00Z\n").unwrap();
    let of_file = ["--outcomes", "clicks.csv", "--outcome-time", "outcome_time", "--out", "of_file"];
    project.run(&[&train[..], &of_file].concat()).fine();
    let known = project.run(&["sql", "SELECT request_id, item, clicked FROM \"of_file/\" WHERE outcome_status = 'KNOWN'"]).fine();
    assert_eq!(known.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), ["r03", "cup", "true"], "{known}");
    let other = ["train", "to_show", "--from-log", "--each-candidate", "clicked", "--out", "other"];
    assert!(project.run(&other).error().contains("`clicked` is no output that tells candidates apart · outputs: item, score, price"));
}

/// From 1.
fn place_of(shown: &[String], item: &str) -> usize {
    shown.iter().position(|of| of == item).unwrap() + 1
}

#[test]
fn the_demo_of_alternative_flights_is_tested_down_both_paths() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights/alternatives");
    let project = Project::of(&files("", ""));
    let ended = project.command(&["test"]).current_dir(example).output().unwrap();
    assert!(ended.status.success() && String::from_utf8_lossy(&ended.stdout).contains("1 test with 5 values"), "{ended:?}");
}
