//! Training sets of what was served: as it was served, each row with what became of it, and equal to what history gives where nothing was late.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::feature_log::{SERVED, ask, files, logged, logging, rewrite, with};
use crate::project::Project;
use crate::support::Server;

/// Requests of two rows each, an hour apart: an id, and the cards.
const REQUESTS: u64 = 12;

fn serve_requests(project: &Project) {
    let server = Server::start(project);
    for number in 0..REQUESTS {
        let cards = [format!("c{}", 1 + number % 3), "nobody".to_owned()];
        let rows: Vec<Value> = cards.iter().map(|card| json!({"card": card, "amount": number as f64 + 0.5, "country": "DE"})).collect();
        let as_of = format!("2024-03-08T{:02}:00:00Z", 3 + number);
        let body = json!({"name": "fraud_v1", "rows": rows, "as_of": as_of, "request_id": format!("r{number}")});
        let (code, said) = server.post("/v1/features", &body.to_string());
        assert_eq!(code, 200, "{said}");
    }
    logged(&server, 2 * REQUESTS);
    assert_eq!(server.terminate().status, Some(0));
}

/// All rows of a training set.
fn rows(dir: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(dir.join("part-00000.parquet")).unwrap()).unwrap();
    let schema = reader.schema().clone();
    concat_batches(&schema, &reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

fn texts(set: &RecordBatch, column: &str) -> Vec<Option<String>> {
    set.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn weights(set: &RecordBatch) -> Float64Array {
    set.column_by_name("sample_weight").unwrap().as_primitive::<Float64Type>().clone()
}

/// Makes a training set; its report.
fn train(project: &Project, args: &[&str]) -> Value {
    let said = project.run(&[&["train", "fraud_v1", "--from-log", "--json"], args].concat()).fine();
    serde_json::from_str::<Value>(&said).unwrap()["report"].clone()
}

/// What became of some of them; one was known before its request, one is of another log, and one was corrected.
const OUTCOMES: &str = "request_id,request_row,fraud,chance,outcome_time
r0,0,1,0.5,2024-03-20T00:00:00Z
r0,0,0,0.25,2024-03-25T00:00:00Z
r1,1,0,0.5,2024-03-20T00:00:00Z
r2,0,1,0.001,2024-03-20T00:00:00Z
r3,0,1,1,2024-03-01T00:00:00Z
r99,0,1,1,2024-03-20T00:00:00Z
r4,0,1,1,2024-04-20T00:00:00Z
";

#[test]
fn what_was_served_is_a_training_set_with_what_became_of_it() {
    let project = logging("share = 1");
    serve_requests(&project);
    fs::write(project.dir.join("outcomes.csv"), OUTCOMES).unwrap();
    let until = ["--outcomes", "outcomes.csv", "--outcomes-until", "2024-04-01"];
    let report = train(&project, &[&until[..], &["--out", "served", "--statuses"]].concat());
    let served = &report["served"];
    assert_eq!((&report["rows"], &served["logged"], &served["censored"]), (&json!(24), &json!(24), &json!(21)), "{report}");
    let outcomes = json!({"read": 7, "used": 3, "left_out": 0, "superseded": 1, "before_request": 1, "beyond": 0, "later": 1, "no_row": 1});
    assert_eq!((&served["outcomes"], &served["several_outcomes"]), (&outcomes, &json!(1)), "{served}");
    let set = rows(&project.dir.join("served"));
    assert_eq!(set.num_rows(), 24);
    let (ids, known) = (texts(&set, "request_id"), texts(&set, "outcome_status"));
    let fraud = set.column_by_name("fraud").unwrap().as_primitive::<Int64Type>();
    let numbers = set.column_by_name("request_row").unwrap().as_primitive::<Int64Type>();
    for row in 0..set.num_rows() {
        let label = match (ids[row].as_deref().unwrap(), numbers.value(row)) {
            ("r0", 0) | ("r1", 1) => Some(0),
            ("r2", 0) => Some(1),
            _ => None,
        };
        assert_eq!(fraud.is_valid(row).then(|| fraud.value(row)), label, "row {row}");
        assert_eq!(known[row].as_deref(), Some(if label.is_some() { "KNOWN" } else { "CENSORED" }), "row {row}");
    }
    assert!(weights(&set).iter().all(|weight| weight == Some(1.0)));
    assert!(texts(&set, "avg_amount_7d_status").iter().flatten().any(|status| status == "PRESENT"));
    let manifest: Value = serde_json::from_str(&fs::read_to_string(project.dir.join("served/manifest.json")).unwrap()).unwrap();
    let from_log = &manifest["job"]["from_log"];
    assert_eq!((&from_log["shares"], &from_log["joined_by"]), (&json!([1.0]), &json!(["request_id", "request_row"])));
    let log: u64 = manifest["job"]["spine"].as_array().unwrap().iter().map(|file| file["rows"].as_u64().unwrap()).sum();
    assert!(log == 24 && manifest["job"]["spine"][0]["identity"].as_str().unwrap().len() == 64, "{manifest}");
    assert_eq!(manifest["report"]["served"]["definitions"][0]["meaning"], manifest["job"]["meaning"]);
    assert_eq!(manifest["report"]["features"][0]["statuses"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>(), 24);
    // Once more, the same bytes; and the same rows as a stream.
    train(&project, &[&until[..], &["--out", "again", "--statuses"]].concat());
    let again: Value = serde_json::from_str(&fs::read_to_string(project.dir.join("again/manifest.json")).unwrap()).unwrap();
    assert_eq!(again["digest"], manifest["digest"]);
    let streamed = project.command(&[&["train", "fraud_v1", "--from-log", "--out", "-", "--statuses"][..], &until].concat()).output().unwrap();
    let reader = StreamReader::try_new(streamed.stdout.as_slice(), None).unwrap();
    let schema = reader.schema();
    assert_eq!(concat_batches(&schema, &reader.map(Result::unwrap).collect::<Vec<_>>()).unwrap().columns(), set.columns());
}

#[test]
fn what_was_served_is_what_history_gives_where_nothing_was_late() {
    let project = logging("share = 1");
    serve_requests(&project);
    fs::write(project.dir.join("outcomes.csv"), OUTCOMES).unwrap();
    train(&project, &["--outcomes", "outcomes.csv", "--out", "served"]);
    let spine = "SELECT request_id, request_row, request_time, card, country, amount, fraud, chance, outcome_time, outcome_status, sample_weight, last_known_good FROM \"served/\"";
    project.run(&["train", "fraud_v1", "--spine-sql", spine, "--out", "computed"]).fine();
    let same = project.run(&["diff", "served", "computed"]).fine();
    assert!(same.contains("24 rows and 24, 24 in both") && same.contains("all columns are the same in every bit"), "{same}");
    assert!(same.contains("the first is what was served, the second is computed from history"), "{same}");
    // A payment that comes late changes what history says, and not what was served.
    let history = project.dir.join("data/payments.csv");
    let late = "999,c1,shoes,DE,77,2024-03-08T02:30:00Z\n";
    fs::write(&history, fs::read_to_string(&history).unwrap() + late).unwrap();
    project.run(&["train", "fraud_v1", "--spine-sql", spine, "--out", "later"]).fine();
    let other = project.run(&["diff", "served", "later", "--json"]);
    let differs: Value = serde_json::from_str(&other.out).unwrap();
    let payments = differs["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "payments_1h").unwrap();
    assert_eq!((other.status, &payments["differing"]), (Some(1), &json!(1)), "{differs}");
}

#[test]
fn rows_are_capped_and_weighed() {
    let project = logging("share = 1");
    serve_requests(&project);
    fs::write(project.dir.join("outcomes.csv"), OUTCOMES).unwrap();
    let until = ["--outcomes", "outcomes.csv", "--outcomes-until", "2024-04-01"];
    let report = train(&project, &[&until[..], &["--per-decision", "1", "--out", "one"]].concat());
    let served = &report["served"];
    assert_eq!((&report["rows"], &served["capped_per_decision"], &served["weight"]), (&json!(12), &json!(12), &json!(24.0)), "{report}");
    let report = train(&project, &[&until[..], &["--per-entity", "2", "--entity", "card", "--out", "two"]].concat());
    let served = &report["served"];
    // Three cards of four rows each, and one of twelve.
    assert_eq!((&report["rows"], &served["capped_per_entity"], &served["weight"]), (&json!(8), &json!(16), &json!(24.0)), "{report}");
    assert_eq!(served["weight_largest"], json!(6.0));
    let unnamed = project.run(&[&["train", "fraud_v1", "--from-log", "--per-entity", "2", "--out", "x"][..], &until].concat()).error();
    assert!(unnamed.contains("which columns are the entity") && unnamed.contains("--entity"), "{unnamed}");
    let report = train(&project, &[&until[..], &["--propensity", "chance", "--weight-max", "100", "--out", "weighed"]].concat());
    assert_eq!((&report["served"]["bounded"], &report["served"]["weight_largest"]), (&json!(1), &json!(100.0)), "{report}");
    let set = rows(&project.dir.join("weighed"));
    let weighed: Vec<f64> = weights(&set).iter().flatten().collect();
    assert_eq!((weighed, weights(&set).null_count()), (vec![4.0, 2.0, 100.0], 21));
    // Of the request: amounts are above one.
    let wrong = project
        .run(&[&["train", "fraud_v1", "--from-log", "--propensity", "amount", "--weight-max", "9", "--out", "x"][..], &until].concat())
        .error();
    assert!(wrong.contains("the propensity of row ") && wrong.contains("is no probability") && wrong.contains("`amount` is 1.5 there"), "{wrong}");
    let unbounded = project.run(&[&["train", "fraud_v1", "--from-log", "--propensity", "chance", "--out", "x"][..], &until].concat()).error();
    assert!(unbounded.contains("--weight-max"), "{unbounded}");
    assert!(!project.dir.join("x").exists());
}

#[test]
fn outcomes_are_found_by_columns_too() {
    let project = logging("share = 1");
    serve_requests(&project);
    // The newest request for c1 before is that of noon.
    fs::write(
        project.dir.join("outcomes.ndjson"),
        "{\"card\":\"c1\",\"fraud\":true,\"at\":\"2024-03-08T13:30:00Z\"}\n{\"card\":\"c1\",\"fraud\":true,\"at\":\"2024-05-08T13:30:00Z\"}\n",
    )
    .unwrap();
    let report = train(&project, &["--outcomes", "outcomes.ndjson", "--on", "card", "--within", "7 days", "--out", "set", "--outcome-time", "at"]);
    assert_eq!((&report["served"]["outcomes"]["used"], &report["served"]["outcomes"]["beyond"]), (&json!(1), &json!(1)), "{report}");
    let set = rows(&project.dir.join("set"));
    let known: Vec<usize> =
        texts(&set, "outcome_status").iter().enumerate().filter(|(_, status)| status.as_deref() == Some("KNOWN")).map(|(row, _)| row).collect();
    assert_eq!((known.len(), texts(&set, "request_id")[known[0]].as_deref()), (1, Some("r9")));
    let without = ["train", "fraud_v1", "--from-log", "--outcomes", "outcomes.ndjson", "--out", "x", "--outcome-time", "at"];
    let no_id = project.run(&without).error();
    assert!(no_id.contains("outcomes have no column `request_id`") && no_id.contains("--on"), "{no_id}");
    let unknown = project.run(&[&without[..], &["--on", "fraud", "--within", "7 days"]].concat()).error();
    assert!(unknown.contains("rows of the log were not asked with `fraud`"), "{unknown}");
    let none = project
        .run(&["train", "card_activity", "--from-log", "--outcomes", "outcomes.ndjson", "--on", "card", "--within", "1 day", "--out", "x"])
        .error();
    assert!(none.contains("nothing of `card_activity` is logged") && none.contains("logged are fraud_v1"), "{none}");
}

#[test]
fn the_last_known_good_and_what_was_not_asked_for_are_told() {
    let project = logging("share = 1");
    let server = Server::start(&project);
    ask(&server, "recalled", "c1");
    let (code, _) = server.get(&format!("/v1/features/card_activity?card=c2&_as_of={}&_request_id=part&_features=spent_1h", crate::support::AT));
    assert_eq!(code, 200);
    logged(&server, 2);
    assert_eq!(server.terminate().status, Some(0));
    for file in files(&project, SERVED) {
        let to = project.dir.join("copy/card_activity").join(file.file_name().unwrap());
        rewrite(&file, &to, |name, column| match name {
            "filled_by" => with(column, "avg_amount_7d", |filled| {
                let recalled = filled.as_string::<i32>().iter().map(|by| by.map(|_| "LAST_KNOWN_GOOD"));
                Arc::new(recalled.collect::<StringArray>())
            }),
            _ => column.clone(),
        });
    }
    fs::write(project.dir.join("none.csv"), "request_id,label,outcome_time\n").unwrap();
    let args = ["train", "card_activity", "--from-log", "--log", "copy", "--outcomes", "none.csv", "--outcome-time", "outcome_time", "--out", "set"];
    let said = project.run(&args).fine();
    assert!(said.contains("last known good") && said.contains("not asked") && said.contains("2 rows without an outcome"), "{said}");
    let set = rows(&project.dir.join("set"));
    let ids = texts(&set, "request_id");
    let recalled = set.column_by_name("last_known_good").unwrap().as_boolean();
    let expected: BooleanArray = ids.iter().map(|id| Some(id.as_deref() == Some("recalled"))).collect();
    assert_eq!(recalled, &expected);
    let manifest: Value = serde_json::from_str(&fs::read_to_string(project.dir.join("set/manifest.json")).unwrap()).unwrap();
    let feature = |name: &str| manifest["report"]["features"].as_array().unwrap().iter().find(|feature| feature["name"] == name).unwrap().clone();
    assert_eq!((&feature("avg_amount_7d")["last_known_good"], &feature("avg_amount_7d")["not_asked"]), (&json!(1), &json!(1)));
    assert_eq!((&feature("spent_1h")["not_asked"], &manifest["report"]["served"]["last_known_good"]), (&Value::Null, &json!(1)));
}

#[test]
fn rows_of_other_definitions_are_refused_or_left_out() {
    let project = logging("share = 1");
    serve_requests(&project);
    project.change_a_view();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    serve_requests(&project);
    fs::write(project.dir.join("outcomes.csv"), OUTCOMES).unwrap();
    let args = ["--outcomes", "outcomes.csv", "--out", "set"];
    let refused = project.run(&[&["train", "fraud_v1", "--from-log"], &args[..]].concat()).error();
    assert!(refused.contains("do not all mean the same") && refused.contains("(24 rows)"), "{refused}");
    let newest = refused.split("--set ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let report = train(&project, &[&args[..], &["--set", &newest]].concat());
    let served = &report["served"];
    assert_eq!((&report["rows"], &served["logged"], &served["other_definitions"]), (&json!(24), &json!(48), &json!(24)), "{report}");
    let used: Vec<&Value> = served["definitions"].as_array().unwrap().iter().map(|of| &of["used"]).collect();
    assert_eq!(used, [&json!(false), &json!(true)]);
}

/// What a killed run leaves: its job, and parts with a report each.
fn make_partial(project: &Project, set: &str) {
    let dir = project.dir.join(set);
    let text = fs::read_to_string(dir.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let job: Vec<&str> = text.lines().skip_while(|line| *line != "  \"job\": {").skip(1).take_while(|line| *line != "  },").collect();
    let job: Vec<&str> = job.iter().map(|line| line.strip_prefix("  ").unwrap()).collect();
    let report = &manifest["report"];
    let mut part = manifest["parts"][0].clone();
    for (name, value) in [("own_events", json!(0)), ("compared", json!(0)), ("features", report["features"].clone())] {
        part[name] = value;
    }
    fs::remove_file(dir.join("manifest.json")).unwrap();
    let partial = project.dir.join(format!("{set}.partial"));
    fs::rename(dir, &partial).unwrap();
    fs::write(partial.join("job.json"), format!("{{\n{}\n}}", job.join("\n"))).unwrap();
    fs::write(partial.join("part-00000.json"), part.to_string()).unwrap();
}

#[test]
fn a_killed_run_goes_on_behind_the_parts_that_are_there() {
    let project = logging("share = 1");
    serve_requests(&project);
    fs::write(project.dir.join("outcomes.csv"), OUTCOMES).unwrap();
    let args = ["--outcomes", "outcomes.csv", "--per-decision", "1", "--out", "set"];
    let whole = train(&project, &args);
    let digest = |set: &str| -> Value {
        let text = fs::read_to_string(project.dir.join(set).join("manifest.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["digest"].clone()
    };
    let (before, changed) = (digest("set"), |dir: &str| fs::metadata(project.dir.join(dir).join("part-00000.parquet")).unwrap().modified().unwrap());
    make_partial(&project, "set");
    let written = changed("set.partial");
    let again = train(&project, &args);
    assert_eq!((digest("set"), &again["features"], &again["served"]), (before, &whole["features"], &whole["served"]));
    assert_eq!(changed("set"), written, "the part that was there was not written again");
    // What another job left is not gone on with.
    make_partial(&project, "set");
    train(&project, &["--outcomes", "outcomes.csv", "--out", "set"]);
    assert!(changed("set") > written);
    // And what people read of it.
    let said = project.run(&[&["train", "fraud_v1", "--from-log", "--replace"], &args[..]].concat()).fine();
    for line in [
        "fraud_v1 · 12 rows in set, as they were served, from 24 rows of the log",
        "  rows      24 logged · 12 more than a request may have · 12 here",
        "1 superseded by a newer one of the same row · 1 known before the request, and not used · 1 of no row of the log",
        "  weights   24.000 in all · 2.000 the largest",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
