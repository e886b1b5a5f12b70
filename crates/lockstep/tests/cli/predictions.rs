//! Published predictions as the command line tells of them, before there are any and where they contradict what they are made from.

use std::fs;
use std::path::Path;

use crate::support::Place;

const DEFINITIONS: &str = "CREATE MODEL risk_v1 FROM 'models/risk.onnx' USING fraud_v1 (
  x => (amount, payments_1h, spent_1h, avg_amount_7d, amount_against_usual, merchants_7d)
) PREDICT (risk DOUBLE FROM output_probability['1'], is_fraud BOOLEAN FROM output_label);
CREATE DEPLOYMENT risk AS risk_v1;
CREATE PREDICTIONS card_risk ENTITY card (risk DOUBLE) FROM risk WITH (ttl = '30 days');
";

fn project() -> Place {
    let place = Place::project();
    let forest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../score/tests/models/sklearn_forest_binary.onnx");
    place.write("models/risk.onnx", fs::read(forest).unwrap());
    place.write("feature_defs/risk.sql", DEFINITIONS);
    place
}

#[test]
fn they_are_declared_applied_and_read_before_any_run() {
    let mut place = project();
    place.say("check");
    place.say("plan");
    place.say("apply");
    place.say("backfill");
    place.say("predictions list");
    place.say("predictions list card_risks");
    place.say("predictions show card_risk");
    place.say("predictions rollback card_risk");
    place.say("get card_risk card=c1 --as-of 2024-03-08T12:00:00Z");
    place.say("explain card_risk");
    place.note("a service that joins them; and predictions that would outlive what they are made from");
    place.write(
        "feature_defs/with_risk.sql",
        "CREATE FEATURE SERVICE with_risk AS SELECT p.* FROM REQUEST (card VARCHAR) r LEFT JOIN card_risk p ON p.card = r.card;\n",
    );
    place.say("schema --service with_risk");
    place.edit("feature_defs/risk.sql", "ttl = '30 days'", "ttl = '31 days'");
    place.say("check");
    place.check("predictions");
}

#[test]
fn what_stands_in_is_no_older_than_what_it_stands_in_for() {
    let mut place = project();
    let service = "CREATE FEATURE SERVICE fresh WITH (max_age = '1 hour') AS SELECT p.risk FROM REQUEST (card VARCHAR) r LEFT JOIN card_risk p ON p.card = r.card;\n";
    place.write("feature_defs/fresh.sql", service);
    let settings = place.read("lockstep.toml");
    place.write("lockstep.toml", format!("{settings}\n[serve.last_known_good]\nage = '2 hours'\n"));
    place.say("check");
    place.write("lockstep.toml", format!("{settings}\n[serve.last_known_good]\nage = '1 hour'\n"));
    place.say("check");
    place.check("predictions_ages");
}
