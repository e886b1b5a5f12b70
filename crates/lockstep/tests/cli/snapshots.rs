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
    place.say("snapshot validate s0001");
    place.say("snapshot validate after --against s0001");
    place.say("snapshot validate s0001 --against serving");
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

/// The commands that are written of snapshots do what is said.
#[test]
fn what_the_page_tells_to_run() {
    let place = Place::serving();
    let page = include_str!("../../../../docs/versions.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Snapshots\n")).expect("a section on snapshots");
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    lockstep ")).collect();
    assert_eq!(commands.len(), 6, "{commands:?}");
    for command in commands {
        if command.starts_with("snapshot diff") {
            assert_eq!(place.run(&["snapshot", "create"]).status, 0);
        }
        let command = command.split('#').next().unwrap_or_default().trim();
        // A text in quotes is one word.
        let args = command.split('"').enumerate().flat_map(|(at, part)| if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
        let said = place.run(&args.collect::<Vec<_>>());
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{command}: {}", said.stdout);
    }
}
