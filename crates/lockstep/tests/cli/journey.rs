//! From nothing to features that agree.

use crate::support::Place;

#[test]
fn a_project_from_init_to_verify() {
    let mut place = Place::empty();
    for line in [
        "init",
        "check",
        "schema --service fraud_v1",
        "test",
        "plan",
        "apply",
        "plan",
        "status",
        "backfill",
        "backfill",
        "get fraud_v1 card=c1 amount=250 country=FR --as-of 2024-03-08T12:00:00Z",
        "ingest --from data/new_payments.ndjson",
        "get fraud_v1 card=c1 amount=250 country=FR --as-of 2024-03-08T12:00:00Z --explain",
        "get card_activity card=nobody --as-of 2024-03-08T12:00:00Z",
        "status",
        "explain card_activity --entity card=c1 --as-of 2024-03-08T12:00:00Z",
        "dead-letters list",
        "refusals list",
    ] {
        place.say(line);
    }
    place.check("journey");
    let verified = place.run(&["verify", "--values", "1000"]);
    assert_eq!(verified.status, 0, "{}", verified.stdout);
}

#[test]
fn a_log_on_standard_input_is_taken_from_where_it_stands() {
    let place = Place::serving();
    let log = place.read("data/new_payments.ndjson");
    let first = place.run_with(&["ingest", "--from", "-"], &log);
    assert_eq!((first.status, first.stderr.as_str()), (0, ""), "{}", first.stdout);
    assert!(first.stdout.contains("12 applied") && first.stdout.contains("1 too late"), "{}", first.stdout);
}
