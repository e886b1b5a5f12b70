//! Answers that were kept, audited: what people read of it.

use crate::support::Place;

const LOG: &str = r#"{"payment_id":101,"card":"c1","merchant":"m","country":"DE","amount":1,"paid_at":"2024-03-08T11:10:00Z","_append_time":"2024-03-08T11:10:01Z"}
{"payment_id":102,"card":"c2","merchant":"m","country":"DE","amount":500.5,"paid_at":"2024-03-08T11:30:00Z","_append_time":"2024-03-08T12:30:00Z"}
{"payment_id":103,"card":"c3","merchant":"m","country":"DE","amount":3,"paid_at":"2024-03-08T13:00:00Z","_append_time":"2024-03-08T13:00:00Z"}
{"payment_id":104,"card":"c1","merchant":"m","country":"DE","amount":4,"paid_at":"2024-03-08T11:45:00Z","_append_time":"2024-03-08T13:10:00Z"}
"#;

const REQUESTS: &str = r#"{"card":"c1","amount":100,"country":"FR","request_time":"2024-03-08T12:00:00Z"}
{"card":"c2","amount":100,"country":"FR","request_time":"2024-03-08T12:00:00Z"}
{"card":"c3","amount":100,"country":"FR","request_time":"2024-03-08T12:00:00Z"}
"#;

#[test]
fn an_audit_tells_what_differs_and_why() {
    let mut place = Place::serving();
    place.say("audit");
    place.say("get --request 7f3a");
    place.write("requests.ndjson", REQUESTS);
    assert_eq!(place.run(&["get", "fraud_v1", "--from", "requests.ndjson", "--keep", "answers"]).status, 0);
    place.say("audit --log answers");
    place.write("log.ndjson", LOG);
    assert_eq!(place.run(&["ingest", "--from", "log.ndjson"]).status, 0);
    place.note("one event lagged, one was late, one was refused, and one happened after the moment");
    place.say("audit --log answers");
    place.say("audit --log answers --service card_activity");
    place.say("verify --served answers");
    std::fs::remove_file(place.path("log.ndjson")).unwrap();
    place.note("the log that was followed is gone: the answers can be replayed, and their hindsight is not known");
    place.say("audit --log answers");
    place.check("audit");
}
