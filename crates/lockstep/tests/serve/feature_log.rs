//! The feature log and its audit: what is served is logged beside, and computed again to the same bits; what has changed since is told by its cause.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use lockstep_client::Request;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::project::{Ended, Project, wait_for};
use crate::support::{AT, AT_MICROS, Caller, Server};

/// A project that logs, with the settings given.
pub fn logging(settings: &str) -> Project {
    let project = Project::new();
    log(&project, settings);
    project
}

fn log(project: &Project, settings: &str) {
    let path = project.dir.join("lockstep.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}\n[serve.feature_log]\nroll = '50 milliseconds'\n{settings}\n")).unwrap();
}

pub fn edit(project: &Project, name: &str, old: &str, new: &str) {
    let path = project.dir.join(name);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{name} has no {old}");
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

fn status(server: &Server) -> Value {
    let (code, body) = server.get("/v1/status");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["feature_log"].clone()
}

/// Waits until so many vectors are in files.
#[track_caller]
pub fn logged(server: &Server, vectors: u64) {
    wait_for("what was served is logged", || (status(server)["logged"] == json!(vectors)).then_some(()));
    assert_eq!((&status(server)["waiting"], &status(server)["dropped"]), (&json!(0), &json!(0)));
}

pub fn ask(server: &Server, request_id: &str, card: &str) -> Value {
    let (code, body) = server.get(&format!("/v1/features/card_activity?card={card}&_as_of={AT}&_request_id={request_id}"));
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn audited(project: &Project, args: &[&str]) -> (Option<i32>, Value) {
    let ended = project.run(&[&["audit", "--json"], args].concat());
    assert!(ended.status != Some(2), "{ended:?}");
    (ended.status, serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}")))
}

/// What is said of a log of which nothing can be computed again: that is no success.
fn audited_nothing(project: &Project) -> Value {
    let ended = project.run(&["audit", "--json"]);
    assert!(ended.status == Some(2) && ended.err.contains("nothing was audited"), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"))
}

pub fn files(project: &Project, dir: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(project.dir.join(dir)) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "parquet")).collect();
    files.sort();
    files
}

pub const SERVED: &str = ".lockstep/store/served/card_activity";

/// Writes a file of the log into another directory, with other columns.
pub fn rewrite(from: &Path, to: &Path, change: impl Fn(&str, &ArrayRef) -> ArrayRef) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let changed = |batch: &RecordBatch| {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| (field.name().clone(), change(field.name(), column)));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let batches: Vec<RecordBatch> = batches.iter().map(changed).collect();
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(to).unwrap(), batches[0].schema(), None).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
}

/// A struct with one of its columns changed.
pub fn with(column: &ArrayRef, name: &str, change: impl Fn(&ArrayRef) -> ArrayRef) -> ArrayRef {
    let (fields, mut columns, nulls) = column.as_struct().clone().into_parts();
    let (at, _) = fields.find(name).unwrap();
    columns[at] = change(&columns[at]);
    Arc::new(StructArray::new(fields, columns, nulls))
}

fn push(server: &Server, id: i64, card: &str, paid_at: &str) {
    let event = json!({"payment_id": id, "card": card, "merchant": "shoes", "country": "DE", "amount": 2.5, "paid_at": paid_at});
    let (code, body) = server.post("/v1/events/payments", &json!({"rows": [event]}).to_string());
    assert_eq!(code, 200, "{body}");
}

#[test]
fn what_is_served_is_logged_and_computes_again_to_the_same_bits() {
    let project = logging("share = 1");
    let server = Server::start(&project);
    let rows = json!([{"card": "c1", "amount": 250, "country": "FR"}, {"card": "c9", "amount": null, "country": null}]);
    let body = json!({"name": "fraud_v1", "rows": rows, "as_of": AT, "request_id": "first"});
    assert_eq!(server.post("/v1/features", &body.to_string()).0, 200);
    let caller = Caller::new(&server);
    // Some of the outputs, one of them twice; features of a view without a name; nothing said beside the values; the present moment.
    caller
        .ask(
            Request::new("fraud_v1")
                .only(["spent_1h", "amount", "spent_1h"])
                .column("card", ["c2"])
                .column("amount", [1.0])
                .column("country", ["DE"])
                .as_of(AT_MICROS),
        )
        .unwrap();
    caller.ask(Request::features(["card_activity.payments_7d"]).column("card", ["c1", "c2", "c3"]).as_of(AT_MICROS)).unwrap();
    caller.ask(Request::new("card_activity").column("card", ["c1"]).metadata(lockstep_client::proto::Metadata::None)).unwrap();
    logged(&server, 7);
    for number in 0..20 {
        push(&server, 1000 + number, "c1", &format!("2024-03-09T12:00:{:02}Z", number));
        let (code, body) = server.get("/v1/features/card_activity?card=c1&_as_of=2024-03-09T12:01:00Z");
        assert_eq!(code, 200, "{body}");
    }
    logged(&server, 27);
    // Beside the server, and of what is left of it once it is killed.
    let (code, report) = audited(&project, &[]);
    assert_eq!(
        (code, &report["vectors"], &report["replay"]["vectors"], &report["replay"]["differ"]),
        (Some(0), &json!(27), &json!(27), &json!(0)),
        "{report}"
    );
    assert_eq!(report["not_auditable"], json!([]));
    drop(server);
    fs::write(project.dir.join(SERVED).join("000000000099.unfinished"), "torn").unwrap();
    let server = Server::start(&project);
    let (code, body) = server.get(&format!("/v1/features/fraud_v1?card=c1&amount=7&country=DE&_as_of={AT}"));
    assert_eq!(code, 200, "{body}");
    logged(&server, 1);
    assert!(!project.dir.join(SERVED).join("000000000099.unfinished").exists());
    assert_eq!(ask(&server, "last", "c3")["request_id"], json!("last"));
    // What waits is written when the server ends.
    assert_eq!(server.terminate().status, Some(0));
    let (code, report) = audited(&project, &[]);
    assert_eq!((code, &report["replay"]["vectors"], &report["replay"]["differ"]), (Some(0), &json!(29), &json!(0)), "{report}");
    // Three of all outputs, one of two, three of one, 22 of the nine of the view.
    assert_eq!(report["replay"]["values"], json!(3 * 7 + 2 + 3 + 22 * 9));
    let (_, report) = audited(&project, &["--service", "fraud_v1"]);
    assert_eq!(report["vectors"], json!(4));
    let other = project.run(&["audit", "--service", "fraud_v9"]);
    assert!(other.status == Some(2) && other.err.contains("holds no vector of what was asked for"), "{other:?}");
    // The store's own status has the log too.
    let shown = project.run(&["status"]).fine();
    assert!(shown.contains("feature log in .lockstep/store/served, a share of 1 of what is served"), "{shown}");
    assert!(shown.contains("fraud_v1 4 vectors in ") && shown.contains(", served from 20"), "{shown}");
    let status: Value = serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap();
    let rows: u64 = status["feature_log"]["services"].as_array().unwrap().iter().map(|of| of["rows"].as_u64().unwrap()).sum();
    assert_eq!((rows, &status["feature_log"]["expired"]), (29, &json!(0)), "{status}");
    assert!(project.run(&["audit", "--log", "nowhere"]).error().contains("nothing that was served is logged in nowhere"));
}

/// Payments that come after vectors were served at noon: what each card's are is its name.
const LOG: &str = r#"{"payment_id":53,"card":"moved","merchant":"market","country":"FR","amount":48.08,"paid_at":"2024-03-07T11:28:43Z","_append_time":"2024-03-08T15:00:00Z"}
{"payment_id":57,"card":"c1","merchant":"bakery","country":"DE","amount":99,"paid_at":"2024-03-07T14:30:50Z","_append_time":"2024-03-08T15:00:00Z"}
{"payment_id":101,"card":"lag","merchant":"m","country":"DE","amount":1,"paid_at":"2024-03-08T10:00:00Z","_append_time":"2024-03-08T10:05:00Z"}
{"payment_id":102,"card":"unapplied","merchant":"m","country":"DE","amount":2,"paid_at":"2024-03-08T10:30:00Z"}
{"payment_id":103,"card":"late","merchant":"m","country":"DE","amount":3,"paid_at":"2024-03-08T11:30:00Z","_append_time":"2024-03-08T12:30:00Z"}
{"payment_id":104,"card":"other","merchant":"m","country":"DE","amount":4,"paid_at":"2024-03-08T13:00:00Z","_append_time":"2024-03-08T13:00:00Z"}
{"payment_id":105,"card":"refused","merchant":"m","country":"DE","amount":5,"paid_at":"2024-03-08T11:45:00Z","_append_time":"2024-03-08T13:10:00Z"}
"#;

#[test]
fn what_is_another_value_by_now_is_told_by_its_cause() {
    let project = Project::unapplied();
    edit(&project, "feature_defs/payments.sql", "event_time =", "version = 'position', event_time =");
    log(&project, "share = 1");
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    let server = Server::start_with(&project, &["--no-ingest"]);
    let cards = ["c1", "moved", "lag", "unapplied", "late", "refused", "c2"];
    cards.iter().for_each(|card| drop(ask(&server, &format!("of-{card}"), card)));
    logged(&server, 7);
    assert_eq!(server.terminate().status, Some(0));
    let (_, report) = audited(&project, &[]);
    assert_eq!((&report["hindsight"]["vectors"], &report["hindsight"]["differ"]), (&json!(7), &json!(0)), "{report}");
    fs::write(project.dir.join("log.ndjson"), LOG).unwrap();
    project.run(&["ingest", "--from", "log.ndjson"]).fine();
    let (code, report) = audited(&project, &[]);
    assert_eq!((code, &report["replay"]["vectors"], &report["replay"]["differ"]), (Some(0), &json!(7), &json!(0)), "{report}");
    assert_eq!((&report["hindsight"]["vectors"], &report["hindsight"]["vectors_differ"]), (&json!(7), &json!(6)), "{report}");
    let causes: Vec<&String> = report["hindsight"]["causes"].as_object().unwrap().keys().collect();
    assert_eq!(causes, ["lag", "unapplied", "late", "corrected", "refused"]);
    for card in cards {
        let request = format!("of-{card}");
        let requested = project.run(&["get", "--request", &request, "--json"]).fine();
        let requested: Value = serde_json::from_str(&requested).unwrap();
        let vector = &requested["vectors"][0];
        let changed = vector["changed"].as_array().unwrap();
        let expected = match card {
            "c1" | "moved" => "corrected",
            other => other,
        };
        assert_eq!(changed.is_empty(), card == "c2", "{card}: {vector}");
        assert!(changed.iter().all(|change| change["causes"] == json!([expected]) && change["events"] != json!([])), "{card}: {vector}");
        assert_eq!((&vector["replayed"], &vector["not_auditable"]), (&json!([]), &json!([])));
    }
    let same = project.run(&["get", "--request", "of-c2"]).fine();
    assert!(same.contains("card_activity at 2024-03-08T12:00:00Z") && same.contains("it is the same"), "{same}");
    let late = project.run(&["get", "--request", "of-late"]).fine();
    assert!(late.contains("payments_7d is 1 PRESENT by now: late, by events of 2024-03-08T11:30:00Z"), "{late}");
    assert!(project.run(&["get", "--request", "unknown"]).error().contains("no request `unknown` is in the feature log"));
}

#[test]
fn a_value_that_was_tampered_with_is_found() {
    let project = logging("share = 1");
    let server = Server::start(&project);
    ask(&server, "honest", "c2");
    ask(&server, "tampered", "c1");
    logged(&server, 2);
    assert_eq!(server.terminate().status, Some(0));
    for (number, file) in files(&project, SERVED).iter().enumerate() {
        let to = project.dir.join(format!("copy/card_activity/{number}.parquet"));
        rewrite(file, &to, |name, column| match name {
            "value" => with(column, "avg_amount_7d", |values| {
                let values = values.as_primitive::<Float64Type>();
                // One ulp of the largest there is.
                let most = values.iter().flatten().fold(0.0, f64::max);
                Arc::new(values.iter().map(|value| value.map(|value| if value == most { value.next_up() } else { value })).collect::<Float64Array>())
            }),
            _ => column.clone(),
        });
    }
    let (code, report) = audited(&project, &["--log", "copy"]);
    assert_eq!(code, Some(1), "{report}");
    let first = report["replay"]["first"].as_array().unwrap();
    assert!(!first.is_empty() && first.iter().all(|line| line.as_str().unwrap().contains("avg_amount_7d")), "{report}");
    assert_eq!(report["hindsight"]["causes"], json!({"replay": first.len()}));
    assert_eq!(audited(&project, &[]).0, Some(0), "the log itself is as it was");
    let ended: Ended = project.run(&["get", "--request", "tampered", "--log", "copy"]);
    assert!(ended.status == Some(1) || ended.out.contains("it is the same"), "{ended:?}");
}

#[test]
fn the_last_known_good_is_told_apart() {
    let project = logging("share = 1");
    let server = Server::start(&project);
    ask(&server, "recalled", "c1");
    logged(&server, 1);
    assert_eq!(server.terminate().status, Some(0));
    let file = files(&project, SERVED).remove(0);
    rewrite(&file, &project.dir.join("copy/card_activity/1.parquet"), |name, column| match name {
        "value" => with(column, "avg_amount_7d", |values| Arc::new(Float64Array::from(vec![1.0; values.len()]))),
        "filled_by" => with(column, "avg_amount_7d", |values| Arc::new(StringArray::from(vec!["LAST_KNOWN_GOOD"; values.len()]))),
        "read_from" => {
            let texts = cast(column, &DataType::Utf8).unwrap();
            let recalled = |text: &str| {
                let mut from: Value = serde_json::from_str(text).unwrap();
                from["recalled"] = json!(true);
                from["views"].as_array_mut().unwrap().iter_mut().for_each(|view| view["positions"] = json!([]));
                from.to_string()
            };
            Arc::new(texts.as_string::<i32>().iter().map(|text| text.map(recalled)).collect::<StringArray>())
        }
        _ => column.clone(),
    });
    let (code, report) = audited(&project, &["--log", "copy"]);
    assert_eq!((code, &report["fallbacks"], &report["replay"]["vectors"]), (Some(0), &json!(1), &json!(0)), "{report}");
    assert_eq!((&report["hindsight"]["differ"], &report["hindsight"]["causes"]), (&json!(1), &json!({"fallback": 1})), "{report}");
    let shown = project.run(&["get", "--request", "recalled", "--log", "copy"]).fine();
    assert!(shown.contains("(last known good)") && shown.contains("by now: fallback"), "{shown}");
}

/// More files than a log may have.
const ROUNDS: u64 = 30;

#[test]
fn what_is_past_a_retention_is_not_auditable_and_never_equal() {
    // A file takes some kilobytes: a few of them are kept.
    let project = logging("share = 1\nsize = '100 KiB'");
    let server = Server::start(&project);
    for round in 1..=ROUNDS {
        ask(&server, &format!("request-{round}"), "c1");
        logged(&server, round);
    }
    let kept = wait_for("old files go", || {
        let kept = files(&project, SERVED).len() as u64;
        // A file is there a moment before others go for it.
        let log = status(&server);
        (kept < ROUNDS && log["files"] == json!(kept) && log["bytes"].as_u64().unwrap() <= 100 << 10).then_some(kept)
    });
    assert!(kept > 0);
    let (code, report) = audited(&project, &[]);
    assert_eq!((code, &report["vectors"], &report["replay"]["vectors"]), (Some(0), &json!(kept), &json!(kept)), "{report}");
    assert_eq!(report["not_auditable"], json!([{"vectors": ROUNDS - kept, "why": "past the log's retention"}]));
    let status: Value = serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap();
    assert_eq!(
        (&status["feature_log"]["expired"], &status["feature_log"]["services"][0]["files"]),
        (&json!(ROUNDS - kept), &json!(kept)),
        "{status}"
    );
    let gone = project.run(&["get", "--request", "request-1"]).error();
    assert!(gone.contains("earlier vectors are past its retention"), "{gone}");
    // The inputs go: the log that was followed, and then the version of the view.
    push(&server, 1000, "c1", "2024-03-09T12:00:00Z");
    wait_for("the push is applied", || {
        server.get("/v1/features/card_activity?card=c1&_as_of=2024-03-09T12:00:00Z").1.contains("\"1\"").then_some(())
    });
    assert_eq!(server.terminate().status, Some(0));
    let history = project.dir.join("data/payments.csv");
    fs::rename(&history, project.dir.join("away.csv")).unwrap();
    let report = audited_nothing(&project);
    assert_eq!((&report["replay"]["vectors"], &report["hindsight"]["vectors"]), (&json!(0), &json!(0)), "{report}");
    let why = report["not_auditable"][0]["why"].as_str().unwrap();
    assert!(why.contains("their inputs cannot be read again"), "{report}");
    fs::rename(project.dir.join("away.csv"), &history).unwrap();
    project.change_a_view();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    let (_, report) = audited(&project, &[]);
    assert!(report["replay"]["vectors"].as_u64().unwrap() > 0, "what earlier definitions served is computed by them: {report}");
    // The new version reads the pushes, too, before it takes the place of the first.
    project.run(&["ingest", "--until-end"]).fine();
    project.run(&["drop", "card_activity@1", "--now"]).fine();
    let report = audited_nothing(&project);
    assert_eq!(report["replay"]["vectors"], json!(0), "{report}");
    assert!(report["not_auditable"].to_string().contains("version 1 of `card_activity` is dropped"), "{report}");
}

#[test]
fn a_log_that_cannot_be_written_holds_nobody_up() {
    let project = logging("share = 1\ndir = 'data/payments.csv/served'\nfile_size = '64 KiB'");
    let server = Server::start(&project);
    for number in 0..400 {
        ask(&server, &format!("request-{number}"), "c1");
    }
    let log = wait_for("what does not fit is dropped", || Some(status(&server)).filter(|log| log["dropped"].as_u64().unwrap() > 0));
    assert_eq!(log["logged"], json!(0), "{log}");
    assert!(log["failing"].as_str().unwrap().contains("data/payments.csv/served"), "{log}");
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains("lockstep_feature_log_failing 1"), "{metrics}");
    let ended = server.terminate();
    assert_eq!(ended.status, Some(0));
    assert!(ended.err.contains("the feature log cannot be written"), "{}", ended.err);
}

#[test]
fn the_share_is_about_right_and_the_same_for_the_same_requests() {
    let picked = || {
        let project = logging("share = 0.25");
        let server = Server::start(&project);
        let caller = Caller::new(&server);
        let cards: Vec<String> = (0..4000).map(|number| format!("card-{number}")).collect();
        let request = Request::new("card_activity").column("card", cards.iter().map(String::as_str).collect::<Vec<_>>()).as_of(AT_MICROS);
        caller.ask(request).unwrap();
        for number in 0..200 {
            caller.ask(Request::new("card_activity").column("card", ["c1", "c2"]).as_of(AT_MICROS).id(format!("request-{number}"))).unwrap();
        }
        assert_eq!(status(&server)["share"], json!(0.25));
        assert_eq!(server.terminate().status, Some(0));
        let mut picked: Vec<(Option<String>, String)> = Vec::new();
        for file in files(&project, SERVED) {
            for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let ids = batch.column_by_name("request_id").unwrap().as_string::<i32>().clone();
                let cards = batch.column_by_name("request").unwrap().as_struct().column(0).as_string::<i32>().clone();
                picked.extend((0..batch.num_rows()).map(|row| (ids.is_valid(row).then(|| ids.value(row).to_owned()), cards.value(row).to_owned())));
            }
        }
        picked.sort();
        picked
    };
    let (first, second) = (picked(), picked());
    assert_eq!(first, second, "it is a function of what is asked");
    let (whole, single): (Vec<_>, Vec<_>) = first.into_iter().partition(|(id, _)| id.is_some());
    // Four standard deviations of 4000 and of 200 draws.
    assert!((890..=1110).contains(&single.len()), "{}", single.len());
    assert!(whole.len() % 2 == 0 && (26..=74).contains(&(whole.len() / 2)), "a request with an id is logged whole: {}", whole.len());
}
