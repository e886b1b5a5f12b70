//! What is said of wrong commands, wrong files and damaged stores. Never a panic: the harness looks for one in all that is said.

use std::fs;

use crate::support::Place;

#[test]
fn without_a_project_or_a_store() {
    let mut place = Place::empty();
    for line in
        ["check", "test", "plan", "apply", "backfill", "get x", "explain x", "status", "ingest --from x.ndjson", "drop x@1", "dead-letters list"]
    {
        place.say(line);
    }
    place.say("--project nowhere check");
    assert!(!place.path(".lockstep").join("store/db").exists(), "a store was made by asking for one");
    place.check("errors_nothing");
}

#[test]
fn names_values_and_moments_that_are_wrong() {
    let mut place = Place::serving();
    for line in [
        "get fraud_v2 card=c1",
        "get fraud_v1 crad=c1",
        "get fraud_v1 card=c1 card=c2",
        "get fraud_v1 card=c1 amount=much",
        "get fraud_v1 card",
        "get fraud_v1 card=c1 --as-of noon",
        "explain card_actvity",
        "explain card_activity --entity crad=c1",
        "explain card_activity --as-of 2024-03-08",
        "backfill card_actvity",
        "ingest --from nowhere.ndjson",
        "ingest --from data",
        "ingest --from README.md",
        "ingest --from data/new_payments.ndjson --source paymnets",
        "dead-letters list --source paymnets",
        "refusals list --view card_actvity",
        "schema feature",
        "schema --service fraud_v2",
    ] {
        place.say(line);
    }
    place.check("errors_names");
}

#[test]
fn schemas_of_avro_that_do_not_go_with_their_source() {
    let mut place = Place::project();
    place.write(
        "feature_defs/sales.sql",
        "CREATE SOURCE sales (id BIGINT PRIMARY KEY, amount DOUBLE, at TIMESTAMP)
           WITH (event_time = 'at', stream = 'kafka://sales?format=avro&schema=schemas/sale.avsc');",
    );
    place.say("check");
    let at = r#"{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}"#;
    let schema = |amount: &str| {
        format!(r#"{{"type":"record","name":"Sale","fields":[{{"name":"id","type":"int"}},{{"name":"amount","type":{amount}}},{at}]}}"#)
    };
    fs::create_dir_all(place.path("schemas")).unwrap();
    for text in ["{".to_owned(), "\"int\"".to_owned(), schema("\"string\""), schema("\"money\""), schema("\"Sale\""), schema("[\"null\",\"float\"]")]
    {
        place.write("schemas/sale.avsc", text);
        place.say("check");
    }
    place.check("errors_schemas");
}

#[test]
fn definitions_and_settings_that_are_wrong() {
    let mut place = Place::project();
    place.write("feature_defs/more.sql", "CREATE FEATURE VIEW w ENTITY crad AS SELECT card, count(*) OVER h AS n FROM payments");
    place.say("check");
    place.say("plan");
    place.write("feature_defs/more.sql", b"-- \xff\xfe");
    place.say("check");
    place.write("feature_defs/more.sql", "CREATE");
    place.say("apply");
    fs::remove_file(place.path("feature_defs/more.sql")).unwrap();
    for toml in ["stroe = \"x\"\n", "sync = \"sometimes\"\n", "[memory]\ncache = \"256 apples\"\n", "= = =\n", "batch_rows = 0\n", "\u{0}"] {
        place.write("lockstep.toml", toml);
        place.say("check");
    }
    place.write("lockstep.toml", b"\xff");
    place.say("check");
    place.check("errors_definitions");
}

#[test]
fn inputs_that_are_damaged() {
    let mut place = Place::project();
    place.say("apply");
    fs::remove_file(place.path("data/payments.csv")).unwrap();
    place.say("backfill");
    place.write("data/payments.csv", "payment_id,card\n1,c1\n");
    place.say("backfill");
    place.write("data/payments.csv", "");
    place.say("backfill");
    place.write("data/payments.csv", b"\xff\xfe\x00");
    place.say("backfill");
    place.edit("feature_defs/payments.sql", "data/payments.csv", "data/payments.parquet");
    place.write("data/payments.parquet", "PAR1 but no more");
    place.say("apply");
    place.say("plan");
    place.say("backfill");
    place.write("data/payments.parquet", "");
    place.say("backfill");
    place.check("errors_inputs");
}

#[test]
fn a_log_that_was_rewritten_is_not_read_on() {
    let mut place = Place::serving();
    place.say("ingest --from data/new_payments.ndjson");
    place.edit("data/new_payments.ndjson", "22.29", "22.28");
    place.say("ingest --from data/new_payments.ndjson");
    place.write("data/new_payments.ndjson", "");
    place.say("ingest --from data/new_payments.ndjson");
    place.check("errors_rewritten");
}

#[test]
fn stores_that_are_damaged() {
    let mut place = Place::empty();
    place.write("file", "no directory");
    assert_eq!(place.run(&["init"]).status, 0);
    place.say("--store file status");
    place.say("--store file apply");
    for verb in ["apply", "backfill"] {
        assert_eq!(place.run(&[verb]).status, 0);
    }
    let database = place.path(".lockstep/store/db");
    let current = fs::read(database.join("CURRENT")).unwrap();
    fs::write(database.join("CURRENT"), "garbage\n").unwrap();
    for verb in ["status", "plan", "explain card_activity", "get card_activity card=c1", "verify"] {
        let said = place.run(&verb.split(' ').collect::<Vec<_>>());
        assert_eq!(said.status, 2, "{verb}: {}{}", said.stdout, said.stderr);
        assert!(said.stderr.starts_with("error: "), "{verb}: {}", said.stderr);
    }
    fs::write(database.join("CURRENT"), current).unwrap();
    assert_eq!(place.run(&["status"]).status, 0);
    // Every table cut short: whatever is read of them is an error, and nothing is made up.
    for entry in fs::read_dir(&database).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    for line in ["status", "get card_activity card=c1 --as-of 2024-03-08T12:00:00Z", "explain card_activity --entity card=c1", "verify --values 10"] {
        let said = place.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(said.status, 2, "{line}: {}{}", said.stdout, said.stderr);
        assert!(said.stderr.starts_with("error: "), "{line}: {}", said.stderr);
    }
    place.check("errors_stores");
}

#[test]
fn a_new_project_overwrites_nothing() {
    let mut place = Place::empty();
    place.write("feature_defs/payments.sql", "mine");
    place.say("init");
    assert_eq!(place.read("feature_defs/payments.sql"), "mine");
    assert!(!place.path("lockstep.toml").exists());
    place.check("errors_init");
}
