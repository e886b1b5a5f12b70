//! `REQUEST AS`: asked, tested down both paths, kept and computed again.

use crate::support::Place;

const SERVICE: &str = "CREATE FEATURE SERVICE next_v1 AS
SELECT a.payments_1h AS payments_1h, a.spent_1h AS spent_1h, a.avg_amount_last_3 AS avg_amount_last_3, r.amount / nullif(a.avg_amount_7d, 0.0) AS against_avg
FROM REQUEST AS payments r
LEFT JOIN card_activity a ON a.card = r.card;
";

const TEST: &str = "events payments
  payment_id, card, amount, paid_at
  1, c1, 10, 2024-03-03T12:00:00Z
  2, c1, 20, 2024-03-03T12:30:00Z

-- the third of the card within the hour
at 2024-03-03T12:45:00Z payment_id=3 card=c1 amount=60
  payments_1h        3
  spent_1h           90
  avg_amount_last_3  30
  against_avg        2

-- a card that nobody has seen
at 2024-03-03T12:45:00Z payment_id=3 card=c9 amount=60
  payments_1h        1
  spent_1h           60

-- it has arrived already
at 2024-03-03T12:30:00Z payment_id=2 card=c1 amount=20
  payments_1h        2
  spent_1h           30

-- and one of another content stands as it is known
at 2024-03-03T12:45:00Z payment_id=2 card=c1 amount=7000
  payments_1h        2
  spent_1h           30

events payments
  payment_id, card, amount, paid_at
  3, c1, 60, 2024-03-03T12:45:00Z

at 2024-03-03T12:45:00Z payment_id=3 card=c1 amount=60
  payments_1h        3
  spent_1h           90
";

#[test]
fn a_request_that_is_an_event_is_answered_with_it() {
    let mut place = Place::project();
    place.write("feature_defs/next_v1.sql", SERVICE);
    place.write("feature_defs/next_v1.test", TEST);
    place.say("check");
    place.say("test next_v1");
    place.write("feature_defs/next_v1.test", "at 2024-03-03T12:45:00Z card=c1 amount=60\n  payments_1h 3\n");
    place.note("a request without a primary key is no event");
    place.say("test next_v1");
    for verb in ["apply", "backfill"] {
        assert_eq!(place.run(&[verb]).status, 0);
    }
    place.say("get next_v1 payment_id=90 card=c1 amount=5 --as-of 2024-03-08T12:00:00Z");
    place.say("get next_v1 payment_id=90 card=c1 amount=5 --as-of 2024-03-08T12:00:00Z --explain");
    place.say("get next_v1 card=c1 amount=5 --as-of 2024-03-08T12:00:00Z");
    place.note("asked again once the event has arrived");
    place.write("log.ndjson", "{\"payment_id\":90,\"card\":\"c1\",\"amount\":5,\"paid_at\":\"2024-03-08T12:00:00Z\"}\n");
    let request =
        |id: u32, card: &str, moment: &str| format!("{{\"payment_id\":{id},\"card\":\"{card}\",\"amount\":{id},\"request_time\":\"{moment}\"}}\n");
    let requests: String =
        (80..110).map(|id| request(id, ["c1", "c2", "c9"][id as usize % 3], &format!("2024-03-08T12:00:{:02}Z", id % 60))).collect();
    place.write("requests.ndjson", requests);
    let fine = |args: &[&str]| {
        let said = place.run(args);
        assert_eq!(said.status, 0, "{args:?}: {}{}", said.stdout, said.stderr);
        said.stdout
    };
    fine(&["get", "next_v1", "--from", "requests.ndjson", "--keep", "kept"]);
    fine(&["ingest", "--from", "log.ndjson"]);
    fine(&["get", "next_v1", "--from", "requests.ndjson", "--keep", "kept_later"]);
    let later = fine(&["get", "next_v1", "payment_id=90", "card=c1", "amount=5", "--as-of", "2024-03-08T12:00:00Z", "--json"]);
    assert!(later.contains("\"payments_1h\""), "{later}");
    for kept in ["kept", "kept_later"] {
        let served: serde_json::Value = serde_json::from_str(&fine(&["verify", "--served", kept, "--json"])).unwrap();
        assert_eq!((served["answers"].as_u64(), served["differ"].as_u64()), (Some(30), Some(0)), "{served:#}");
    }
    fine(&["verify", "--values", "500"]);
    place.say("get next_v1 payment_id=90 card=c1 amount=5 --as-of 2024-03-08T12:00:00Z");
    place.check("next_event");
}
