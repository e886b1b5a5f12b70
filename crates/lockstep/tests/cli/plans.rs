//! `plan`, `apply`, `drop`: one version beside another.

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
