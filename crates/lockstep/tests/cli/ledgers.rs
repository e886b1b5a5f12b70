//! Dead letters and refusals: kept, shown, mended.

use crate::support::Place;

const LOG: &str = r#"{"payment_id":70,"card":"c1","amount":5,"paid_at":"2024-03-08T12:00:00Z"}
{"payment_id":71,"card":"c1","amount":"5 euros","paid_at":"2024-03-08T12:00:00Z"}
not a row
{"payment_id":72,"card":"c1","amount":5}
{"payment_id":null,"card":"c1","amount":5,"paid_at":"2024-03-08T12:00:00Z"}
{"payment_id":70,"card":"c1","amount":6,"paid_at":"2024-03-08T12:00:00Z"}
{"payment_id":73,"card":"c1","amount":5,"paid_at":"2024-03-08T10:59:59Z"}
{"payment_id":74,"card":"c2","amount":5,"paid_at":"2099-03-08T10:59:59Z"}
"#;

#[test]
fn rows_that_are_put_aside_are_shown_and_can_be_mended() {
    let mut place = Place::serving();
    place.write("log.ndjson", LOG);
    place.say("ingest --from log.ndjson");
    place.say("dead-letters list");
    place.say("dead-letters list --reason unreadable --limit 1");
    place.say("refusals list");
    place.say("dead-letters export mended.ndjson --reason unreadable");
    place.note(&place.read("mended.ndjson").replace('\n', "\n# "));
    let mended = place.read("mended.ndjson").replace("\"5 euros\"", "5").replace("not a row\n", "");
    place.write("mended.ndjson", mended);
    place.say("ingest --from mended.ndjson");
    place.say("get card_activity card=c1 --as-of 2024-03-08T12:00:00Z");
    place.note("the ledger says what the logs say, then as now");
    place.say("dead-letters list --reason unreadable");
    place.check("ledgers");
    let verified = place.run(&["verify", "--values", "1000"]);
    assert_eq!(verified.status, 0, "{}", verified.stdout);
}

#[test]
fn rows_of_csv_are_exported_below_the_names_of_their_columns() {
    let mut place = Place::project();
    place.edit("data/payments.csv", "1,c1,shoes,DE,42.5,", "1,c1,shoes,DE,many,");
    place.edit("data/payments.csv", "2,c1,market,DE,13.86,2024-03-03T13:03:29Z", "2,c1,market,DE,13.86,");
    place.say("apply");
    place.say("backfill");
    place.say("dead-letters export mended.ndjson");
    place.say("dead-letters export mended.csv");
    place.note(&place.read("mended.csv").replace('\n', "\n# "));
    place.say("dead-letters export mended.csv");
    place.say("dead-letters export mended.parquet");
    place.check("ledgers_csv");
}

#[test]
fn dead_letters_in_a_file_are_mended_and_tried_again() {
    let mut place = Place::project();
    place.edit("feature_defs/payments.sql", "event_time =", "applied_log = '30 days', dead_letters = 'dead/payments.ndjson', event_time =");
    for verb in ["apply", "backfill"] {
        assert_eq!(place.run(&[verb]).status, 0);
    }
    place.write("log.ndjson", LOG);
    place.say("ingest --from log.ndjson");
    let sent = place.read("dead/payments.ndjson");
    place.note(&sent.replace('\n', "\n# "));
    place.say("replay-dlq dead/payments.ndjson");
    place.note("mended, in a new file");
    place.write("dead/mended.ndjson", sent.replace("\"5 euros\"", "5").replace("\"payment_id\":null", "\"payment_id\":75"));
    place.say("replay-dlq dead/mended.ndjson --limit 1");
    place.say("replay-dlq dead/mended.ndjson --limit 0");
    assert_eq!(place.read("dead/payments.ndjson"), sent, "what fails again is not sent again");
    let said = place.run(&["status"]).stdout;
    place.note(said.split("applied log").nth(1).unwrap().split(" · ").next().unwrap().rsplit_once(',').unwrap().0);
    let files = place.run(&["applied-log", "--source", "payments"]).stdout;
    assert_eq!(files.lines().count(), 2, "{files}");
    place.say("applied-log --source payment");
    place.check("ledgers_sent");
    let verified = place.run(&["verify", "--values", "1000"]);
    assert_eq!(verified.status, 0, "{}", verified.stdout);
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    let place = Place::serving();
    place.write("log.ndjson", b"\x1b[31mred\x1b[0m \xff\n");
    assert_eq!(place.run(&["ingest", "--from", "log.ndjson"]).status, 0);
    let said = place.run(&["dead-letters", "list"]);
    assert!(said.stdout.contains("not UTF-8") && !said.stdout.contains('\u{1b}'), "{}", said.stdout);
    let json: serde_json::Value = serde_json::from_str(&place.run(&["dead-letters", "list", "--json"]).stdout).unwrap();
    assert_eq!(json["letters"][0]["hex"], "1b5b33316d7265641b5b306d20ff");
    assert_eq!(place.run(&["dead-letters", "export", "out.ndjson"]).status, 0);
    assert_eq!(std::fs::read(place.path("out.ndjson")).unwrap(), b"\x1b[31mred\x1b[0m \xff\n");
}
