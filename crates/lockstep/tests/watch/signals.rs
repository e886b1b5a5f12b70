//! Failures, each of which is told of as itself.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::project::{Ended, wait_for};
use crate::watched::{edit, get, now, project, push, push_at, serve, signals, stays_well, told_of, well};

#[test]
fn a_source_that_falls_silent_is_told_until_it_speaks_again() {
    let project = project("not_ready = ['source_silent']");
    edit(&project, "feature_defs/payments.sql", "event_time = 'paid_at',", "event_time = 'paid_at', expect_events_every = '3 seconds',");
    project.run(&["apply"]).fine();
    // Nothing came by a log yet: there is no silence before the first event.
    let server = serve(&project);
    stays_well(&server, Duration::from_secs(2));
    push(&server, 1000, 5);
    wait_for("events are applied", || get(&server, "/v1/watch")["reading"]["sources"]["payments"]["silence_seconds"].as_f64());
    assert_eq!(server.get("/readyz").0, 200);
    told_of(&server, "source_silent", "payments");
    assert_eq!(server.get("/readyz"), (503, "not ready: source_silent\n".to_owned()));
    // Beside the server, by its owner.
    let status = project.run(&["status"]);
    assert_eq!(status.status, Some(1), "{status:?}");
    assert!(status.out.contains("critical source_silent of source payments"), "{}", status.out);
    assert!(status.out.contains("look at its producer"), "{}", status.out);
    // What is measured of a lag beside what is declared of it.
    assert!(["p50", "p99", "declared"].iter().all(|column| status.out.contains(column)), "{}", status.out);
    let said: Value = serde_json::from_str(&project.run(&["status", "--json"]).out).unwrap();
    assert_eq!((&said["signals"][0]["kind"], &said["signals"][0]["limit"]), (&json!("source_silent"), &json!(3.0)));
    assert_eq!(said["watched"]["sources"]["payments"]["followed"], json!(true));
    let (_, metrics) = server.get("/metrics");
    assert!(
        metrics.contains(r#"lockstep_signal{kind="source_silent",of="source",subject="payments",severity="critical",role="cause"} 1"#),
        "{metrics}"
    );
    push(&server, 2000, 5);
    well(&server);
    assert_eq!(server.get("/readyz").0, 200);
    drop(server);
    // Without a server the store tells it by itself.
    std::thread::sleep(Duration::from_secs(3));
    let status = project.run(&["status"]);
    assert!(status.status == Some(1) && status.out.contains("source_silent"), "{status:?}");
}

#[test]
fn rows_that_cannot_be_taken_are_told_of_with_where_to_look() {
    let project = project("");
    let server = serve(&project);
    push(&server, 1000, 100);
    stays_well(&server, Duration::from_secs(2));
    // What claims to be of the next century is put aside.
    push_at(&server, 2000, 50, now() + 3_000_000_000_000_000);
    told_of(&server, "dead_letters", "payments");
    let told = get(&server, "/v1/signals");
    assert!(told["signals"][0]["what"].as_str().unwrap().contains("rows of `payments` cannot be taken"), "{told}");
    assert!(told["signals"][0]["todo"].as_str().unwrap().contains("lockstep dead-letters list --source payments"), "{told}");
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains(r#"lockstep_source_rows{source="payments",outcome="dead_letter"} 50"#), "{metrics}");
}

#[test]
fn a_backfill_that_was_not_done_is_told_of_until_it_is() {
    let project = project("");
    let server = serve(&project);
    stays_well(&server, Duration::from_secs(2));
    project.change_a_view();
    project.run(&["apply"]).fine();
    told_of(&server, "backfill_unfinished", "card_activity");
    let examined = project.run(&["doctor"]);
    assert!(examined.status == Some(0) && examined.out.contains("waits for its backfill · run `lockstep backfill card_activity`"), "{examined:?}");
    project.run(&["backfill"]).fine();
    well(&server);
    wait_for("the new version answers", || (get(&server, "/v1/watch")["definitions"] == json!(2)).then_some(()));
}

#[test]
fn a_version_that_cannot_catch_up_is_told_of_and_the_old_one_answers() {
    let project = project("catch_up_max = '1 second'");
    // However long a machine takes from one verb to the next.
    edit(&project, "lockstep.toml", "backfill_max = '1 second'", "backfill_max = '1 hour'");
    project.run(&["ingest", "--from", "data/new_payments.ndjson"]).fine();
    let server = serve(&project);
    project.change_a_view();
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    // It lacks the log that was ingested.
    told_of(&server, "old_version", "card_activity");
    assert_eq!(get(&server, "/v1/watch")["definitions"], json!(1));
    let examined = project.run(&["doctor"]);
    assert!(examined.out.contains("lacks files · ingest them again: data/new_payments.ndjson"), "{}", examined.out);
}

#[test]
fn status_is_shown_again_and_again_until_it_is_interrupted() {
    let project = project("");
    let server = serve(&project);
    let mut command = project.command(&["status", "--watch"]);
    let shown = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert!(std::process::Command::new("kill").args(["-INT", &shown.id().to_string()]).status().unwrap().success());
    let shown: Ended = shown.wait_with_output().unwrap().into();
    assert!(shown.out.matches("all is well · no signal is raised").count() >= 2, "{shown:?}");
    assert_eq!((shown.status, signals(&server)), (Some(0), Vec::new()), "{shown:?}");
}

#[test]
fn one_entity_that_everybody_asks_for_is_told_of() {
    let project = project("");
    let server = serve(&project);
    let ask = |hot: usize| {
        for request in 0..60 {
            let card = |row: usize| if row % 10 < hot { "c1".to_owned() } else { format!("card {}", request * 32 + row) };
            let rows: Vec<Value> = (0..32).map(|row| json!({"card": card(row), "amount": 1, "country": "DE"})).collect();
            assert_eq!(server.post("/v1/features", &json!({"name": "fraud_v1", "rows": rows}).to_string()).0, 200);
        }
    };
    ask(1);
    wait_for("answers were sampled", || {
        get(&server, "/v1/watch")["reading"]["targets"]["fraud_v1"]["features"][0]["sampled"].as_u64().filter(|n| *n >= 1000)
    });
    stays_well(&server, Duration::from_secs(2));
    (0..3).for_each(|_| ask(9));
    told_of(&server, "hot_key", "fraud_v1");
    let told = get(&server, "/v1/signals");
    assert!(told["signals"][0]["what"].as_str().unwrap().ends_with("sampled rows of `fraud_v1` ask for one entity of `card_activity`: c1"), "{told}");
}

#[test]
fn one_entity_that_most_events_come_to_is_told_of() {
    let project = project("");
    let server = serve(&project);
    let send = |first: i64, card: &dyn Fn(i64) -> String| {
        let row = |number: i64| {
            let paid_at = lockstep_model::EventTime(now() + number).to_string();
            json!({"payment_id": number, "card": card(number), "merchant": "shoes", "country": "DE", "amount": 2.5, "paid_at": paid_at})
        };
        let rows: Vec<Value> = (first..first + 500).map(row).collect();
        assert_eq!(server.post("/v1/events/payments", &json!({"rows": rows}).to_string()).0, 200);
    };
    (0..3).for_each(|part| send(10_000 + part * 500, &|number| format!("c{number}")));
    wait_for("they are applied", || {
        get(&server, "/v1/watch")["reading"]["sources"]["payments"]["rows"]["applied"].as_u64().filter(|applied| *applied >= 1500)
    });
    stays_well(&server, Duration::from_secs(2));
    (0..8).for_each(|part| send(20_000 + part * 500, &|number| if number % 10 < 9 { "nobody-at-all".to_owned() } else { format!("c{number}") }));
    told_of(&server, "hot_key", "card_activity");
    let told = get(&server, "/v1/signals");
    assert!(told["signals"][0]["what"].as_str().unwrap().ends_with("events of `card_activity` came to one entity: nobody-at-all"), "{told}");
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains(r#"lockstep_hot_events_share{view="card_activity"}"#) && !metrics.contains("nobody-at-all"), "{metrics}");
}

#[test]
fn what_is_computed_again_is_the_same_until_it_is_not() {
    let settings = "[watch.replay]\nevery = '1 second'\nshare = 1\n[serve.feature_log]\nshare = 1\nroll = '50 milliseconds'";
    let project = project(settings);
    let server = serve(&project);
    let ask = |request: usize| {
        let path = format!("/v1/features/card_activity?card=c1&_as_of={}&_request_id=r{request}", crate::support::AT);
        assert_eq!(server.get(&path).0, 200);
    };
    let replay = || get(&server, "/v1/watch")["reading"]["replay"].clone();
    (0..5).for_each(ask);
    let replayed = wait_for("what was served is computed again", || Some(replay()).filter(|replay| replay["vectors"].as_u64() >= Some(5)));
    assert_eq!((&replayed["differ"], &replayed["why_not"]), (&json!(0), &Value::Null));
    assert_eq!(signals(&server), []);
    // A file of the log that says something else than was computed.
    let dir = project.store().join("served/card_activity");
    let mut files: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "parquet")).collect();
    files.sort();
    let of = fs::read(&files[0]).unwrap();
    crate::skew::write_changed(&of, &dir.join("000000000900-0000000000000010-1909899200000000-00000005.parquet"));
    told_of(&server, "replay_differs", "card_activity");
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.lines().any(|line| line.starts_with("lockstep_replay_differ ") && !line.ends_with(" 0")), "{metrics}");
}
