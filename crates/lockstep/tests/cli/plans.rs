//! `plan`, `apply`, `drop`: one version beside another.

use serde_json::Value;

use crate::support::Place;

#[test]
fn a_change_is_planned_applied_and_the_old_version_dropped() {
    let mut place = Place::serving();
    place.note("layout and comments change nothing");
    place.edit("feature_defs/card_activity.sql", "SELECT card,", "-- the card\nSELECT   card,");
    place.say("plan");
    place.note("a feature changes, one comes, one goes");
    place.edit(
        "feature_defs/card_activity.sql",
        "sum(amount)                            OVER h1    AS spent_1h",
        "sum(amount + 1)                        OVER h1    AS spent_1h",
    );
    place.edit(
        "feature_defs/card_activity.sql",
        "max(amount)                            OVER d7    AS max_amount_7d",
        "min(amount)                            OVER d7    AS min_amount_7d",
    );
    place.say("plan");
    place.say("apply");
    place.say("status");
    place.say("get card_activity card=c1 --as-of 2024-03-08T12:00:00Z");
    place.say("backfill");
    place.say("drop card_activity@2");
    place.say("drop card_activity@7");
    place.say("drop card_activity");
    place.say("drop card_activity@1");
    place.say("status");
    place.say("drop card_activity@1 --now");
    place.say("drop card_activity@1");
    place.note("what a source means changes every view over it; where it lies changes none");
    place.edit("feature_defs/payments.sql", "allowed_lateness = '1 hour'", "allowed_lateness = '2 hours'");
    place.edit("feature_defs/payments.sql", "data/payments.csv", "data/paymnets.csv");
    place.say("plan");
    place.edit("feature_defs/payments.sql", "allowed_lateness = '2 hours'", "allowed_lateness = '1 hour'");
    place.say("plan");
    place.note("a window that is named by a feature is part of it");
    place.edit("feature_defs/card_activity.sql", "INTERVAL '1 hour' PRECEDING", "INTERVAL '2 hours' PRECEDING");
    place.say("plan");
    place.note("a view and its service go");
    let last = place.read("feature_defs/card_activity.sql");
    std::fs::remove_file(place.path("feature_defs/card_activity.sql")).unwrap();
    std::fs::remove_file(place.path("feature_defs/fraud_v1.sql")).unwrap();
    place.say("plan");
    place.say("apply");
    place.say("drop card_activity@2 --now");
    place.note("numbers of versions that were dropped are not used again");
    place.write("feature_defs/card_activity.sql", last);
    place.say("plan");
    place.say("apply");
    place.check("plans");
}

#[test]
fn who_applied_what_and_why_is_told() {
    let mut place = Place::project();
    place.say("apply --list");
    place.say("apply --expect 1");
    place.say("apply --by ada --reason first");
    place.say("apply --list");
    place.say("backfill");
    place.note("what reads the same is no other set, whoever applies it");
    place.say("apply --by grace --reason again");
    place.say("apply --expect 7");
    place.note("a comment is another text, and no other meaning");
    place.edit("feature_defs/card_activity.sql", "SELECT card,", "-- the card\nSELECT card,");
    place.say("apply --expect 0");
    place.say("apply --by grace --reason comments --expect 1");
    place.note("who planned before that has not seen it");
    place.edit("feature_defs/card_activity.sql", "WHERE amount > 0", "WHERE amount > 1");
    place.say("apply --expect 1");
    place.say("apply --list --by grace");
    place.say("apply");
    place.say("apply --list");
    place.check("applies");
}

#[test]
fn values_of_what_changes_are_told() {
    let mut place = Place::project();
    place.note("nothing was applied, so nothing changes");
    place.say("plan --values");
    place.run(&["apply"]);
    place.note("all is as it was");
    place.say("plan --values --markdown");
    place.note("rows go, a feature has another type, one comes and one goes");
    place.edit("feature_defs/card_activity.sql", "WHERE amount > 0", "WHERE amount > 20");
    place.edit(
        "feature_defs/card_activity.sql",
        "count(*)                               OVER h1    AS payments_1h",
        "CAST(count(*) OVER h1 AS DOUBLE)                  AS payments_1h",
    );
    place.edit(
        "feature_defs/card_activity.sql",
        "max(amount)                            OVER d7    AS max_amount_7d",
        "min(amount)                            OVER d7    AS min_amount_7d",
    );
    place.say("plan --values");
    place.say("plan --values 2 --markdown");
    place.say("plan --values 0");
    place.say("plan --markdown --json");
    place.note("another key is no key of the same entities");
    place.edit("feature_defs/payments.sql", "CREATE ENTITY card (card VARCHAR)", "CREATE ENTITY card (card BIGINT)");
    place.edit("feature_defs/payments.sql", "payment_id BIGINT, card VARCHAR", "payment_id BIGINT, card BIGINT");
    place.edit("feature_defs/fraud_v1.sql", "card VARCHAR", "card BIGINT");
    place.say("plan --values");
    place.note("history that is not there, by the definitions here or by those that were applied");
    place.edit("feature_defs/payments.sql", "data/payments.csv", "data/paymnets.csv");
    place.say("plan --values");
    std::fs::rename(place.path("data/payments.csv"), place.path("data/paymnets.csv")).unwrap();
    place.say("plan --values");
    place.check("plans_values");
}

/// The values of each card by the version that serves, as its features say them.
fn values_at(place: &Place, moment: &str) -> Vec<Value> {
    let of = |card: &str| {
        let said = place.run(&["get", "card_activity", &format!("card={card}"), "--as-of", moment, "--json"]);
        assert_eq!(said.status, 0, "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    };
    ["c1", "c2", "c3", "c4"].into_iter().map(of).collect()
}

/// What is told beforehand is what a store comes to, once both versions have served.
#[test]
fn values_are_those_that_will_be_served() {
    let place = Place::serving();
    place.edit("feature_defs/card_activity.sql", "WHERE amount > 0", "WHERE amount > 20");
    let planned: Value = serde_json::from_str(&place.run(&["plan", "--values", "--json"]).stdout).unwrap();
    let view = &planned["values"][0];
    assert_eq!((&view["view"], &view["sampled"], &planned["definitions"]), (&"card_activity".into(), &4.into(), &1.into()));
    let moment = view["moment"].as_str().unwrap();
    let before = values_at(&place, moment);
    for verb in ["apply", "backfill"] {
        assert_eq!(place.run(&[verb]).status, 0);
    }
    let after = values_at(&place, moment);
    let features = view["features"].as_array().unwrap();
    let mut changed = 0;
    for told in features {
        let value = |answer: &Value| {
            let feature = answer["features"].as_array().unwrap().iter().find(|feature| feature["name"] == told["feature"]).unwrap();
            feature["value"].clone()
        };
        let share =
            |holds: &dyn Fn(Value, Value) -> bool| before.iter().zip(&after).filter(|(was, is)| holds(value(was), value(is))).count() as f64 / 4.0;
        assert_eq!(told["changed"], share(&|was, is| was != is), "{told}");
        assert_eq!(told["null_before"], share(&|was, _| was.is_null()), "{told}");
        assert_eq!(told["null_after"], share(&|_, is| is.is_null()), "{told}");
        changed += u32::from(told["changed"] != 0.0);
    }
    assert!(features.len() > 5 && changed > 5, "{view}");
}
