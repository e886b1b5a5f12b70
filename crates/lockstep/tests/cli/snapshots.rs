//! What is said of snapshots.

use crate::support::Place;

#[test]
fn snapshots_are_made_read_compared_and_dropped() {
    let mut place = Place::serving();
    place.say("snapshot create --reason first");
    place.say("snapshot show s0001");
    place.note("a log is applied: the snapshot answers as before");
    place.say("get card_activity card=c1 --snapshot s0001");
    place.say("ingest --from data/new_payments.ndjson");
    place.say("get card_activity card=c1 --snapshot s0001");
    place.say("get card_activity card=c1 --snapshot s0001 --as-of 2024-04-01");
    place.say("snapshot create after --by ada --keep");
    place.say("snapshot show after");
    place.say("snapshot diff s0001 after --values");
    place.say("snapshot export s0001 --out exported");
    place.say("snapshot export s0001 --out exported");
    place.say("snapshot drop s0001");
    place.say("snapshot drop s0001");
    place.note("moments and names that cannot be");
    place.say("snapshot create --moment 2030-01-01");
    place.say("snapshot create later --moment 2030-01-01 --force");
    place.say("snapshot create after");
    place.say("snapshot create .after");
    place.say("get card_activity card=c1 --snapshot s0001");
    place.check("snapshots");
}

#[test]
fn nothing_to_make_a_snapshot_of() {
    let mut place = Place::project();
    place.say("snapshot create");
    place.say("snapshot list");
    assert_eq!(place.run(&["apply"]).status, 0);
    place.say("snapshot create");
    place.say("snapshot list");
    place.check("snapshots_of_nothing");
}
