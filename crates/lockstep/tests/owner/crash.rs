//! A process that ends the hard way while it makes, validates, promotes, goes back or drops: what it leaves is before or after, and nothing beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use lockstep_store::{Store, StoreOptions};

use crate::inventory::Inventory;
use crate::same::AT;
use crate::support::Project;

/// What is done, where it crashes, which release serves then, which snapshots there are, and the status of doing it again.
type Case<'a> = (&'a [&'a str], &'a str, u64, &'a [&'a str], i32);

const CREATE: &[&str] = &["snapshot", "create", "mine"];
const VALIDATE: &[&str] = &["snapshot", "validate", "s0001"];
const DROP_SNAPSHOT: &[&str] = &["snapshot", "drop", "s0001", "--force"];
const PROMOTE: &[&str] = &["release", "promote"];
const ROLL_BACK: &[&str] = &["release", "rollback"];
const DROP: &[&str] = &["drop", "card_activity@1", "--now"];

const OF_A_CANDIDATE: &[Case<'_>] = &[
    (CREATE, "snapshot.before", 1, &["s0001"], 0),
    (CREATE, "snapshot.linked", 1, &["s0001"], 0),
    (CREATE, "snapshot.written", 1, &["s0001"], 0),
    (CREATE, "snapshot.after", 1, &["mine", "s0001"], 2),
    (VALIDATE, "validate.before", 1, &["s0001"], 0),
    (VALIDATE, "validate.inside", 1, &["s0001"], 0),
    (VALIDATE, "validate.after", 1, &["s0001"], 0),
    (DROP_SNAPSHOT, "unsnapshot.before", 1, &["s0001"], 0),
    (DROP_SNAPSHOT, "unsnapshot.renamed", 1, &[], 2),
    (DROP_SNAPSHOT, "unsnapshot.inside", 1, &[], 2),
    (DROP_SNAPSHOT, "unsnapshot.after", 1, &[], 2),
    (PROMOTE, "snapshot.linked", 1, &["s0001"], 0),
    (PROMOTE, "snapshot.after", 1, &["s0001"], 0),
    (PROMOTE, "validate.before", 1, &["s0001"], 0),
    (PROMOTE, "validate.inside", 1, &["s0001"], 0),
    (PROMOTE, "validate.inside:2", 1, &["s0001"], 0),
    (PROMOTE, "validate.after", 1, &["s0001"], 0),
    (PROMOTE, "promote.before", 1, &["s0001"], 0),
    (PROMOTE, "promote.after", 2, &["s0001", "s0002"], 2),
];

const OF_A_RELEASE: &[Case<'_>] = &[
    (ROLL_BACK, "rollback.before", 2, &["s0001", "s0002"], 0),
    (ROLL_BACK, "rollback.after", 1, &["s0001", "s0002"], 2),
    (DROP, "drop.before", 2, &["s0001", "s0002"], 0),
    (DROP, "drop.inside", 2, &["s0001", "s0002"], 2),
    (DROP, "drop.deleting", 2, &["s0001", "s0002"], 2),
    (DROP, "drop.deleting:3", 2, &["s0001", "s0002"], 2),
    (DROP, "drop.after", 2, &["s0001", "s0002"], 2),
];

/// Runs a verb that is to crash.
fn crash(project: &Project, args: &[&str], plan: &str) {
    let ended = project.command(args).env("LOCKSTEP_CRASH", plan).output().unwrap();
    assert_eq!(ended.status.code(), None, "{args:?} at {plan} does not crash: {}", String::from_utf8_lossy(&ended.stderr));
}

fn serves(project: &Project) -> u64 {
    let shown: serde_json::Value = serde_json::from_str(&project.run(&["release", "show", "--json"]).fine()).unwrap();
    shown["release"].as_u64().unwrap()
}

fn answer(project: &Project) -> String {
    project.run(&["get", "card_activity", "card=c1", "--as-of", AT]).fine()
}

/// What lies in a directory of the store, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A project of two releases' worth of state, whose first is promoted.
fn with_candidate() -> Project {
    let project = Project::new();
    project.run(&["release", "promote"]).fine();
    let path = project.dir.join("feature_defs/card_activity.sql");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("avg(amount)                            OVER d7", "avg(amount + 1)                        OVER d7")).unwrap();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    project
}

/// What there is in the end, once the store has been opened and compacted: keys and files, counted.
fn inventory(project: &Project) -> Inventory {
    let store = Store::open(project.store(), StoreOptions::new("test")).unwrap();
    store.compact().unwrap();
    drop(store);
    Inventory::of(&project.store()).counted()
}

fn check(of: &Project, cases: &[Case<'_>], answers: &[String; 2]) {
    let mut undisturbed = BTreeMap::new();
    for (args, plan, release, snapshots, status) in cases {
        let project = of.copy();
        crash(&project, args, plan);
        assert_eq!(serves(&project), *release, "{args:?} at {plan}");
        assert_eq!(answer(&project), answers[*release as usize - 1], "{args:?} at {plan}");
        assert_eq!(names(&project.store().join("snapshots")), *snapshots, "{args:?} at {plan}");
        let left: Vec<String> = names(&project.store()).into_iter().filter(|name| name.ends_with(".partial") || name == "bulk").collect();
        assert_eq!(left, Vec::<String>::new(), "{args:?} at {plan}");
        // What was not done is done when it is asked for again; what was, is told.
        let again = project.run(args);
        assert_eq!(again.status, Some(*status), "{args:?} at {plan}: {again:?}");
        let undisturbed = undisturbed.entry(args).or_insert_with(|| {
            let project = of.copy();
            project.run(args).fine();
            inventory(&project)
        });
        assert_eq!(inventory(&project), *undisturbed, "{args:?} at {plan}: keys and files are those of who was not disturbed");
    }
}

#[test]
fn what_is_left_is_before_or_after_and_nothing_beside_it() {
    let candidate = with_candidate();
    let first = answer(&candidate);
    let promoted = candidate.copy();
    promoted.run(PROMOTE).fine();
    let answers = [first, answer(&promoted)];
    assert_ne!(answers[0], answers[1]);
    check(&candidate, OF_A_CANDIDATE, &answers);
    check(&promoted, OF_A_RELEASE, &answers);
}

#[test]
fn a_version_is_there_or_dropped() {
    let project = with_candidate();
    project.run(PROMOTE).fine();
    let before = answer(&project);
    crash(&project, &["drop", "card_activity@1", "--now"], "drop.inside");
    assert_eq!((serves(&project), answer(&project)), (2, before));
    let again = project.run(&["drop", "card_activity@1", "--now"]).error();
    assert!(again.contains("no `card_activity@1`"), "{again}");
    let refused = project.run(ROLL_BACK).error();
    assert!(refused.contains("release 1 cannot serve again"), "{refused}");
    project.run(&["verify"]).fine();
}

#[test]
fn a_store_is_migrated_or_it_is_not() {
    let of = Project::new();
    let before = answer(&of);
    let migrated = of.copy();
    migrated.run(&["migrate"]).fine();
    let expected = inventory(&migrated);
    for (plan, format) in [("format.before", 2), ("format.written", 2), ("format.after", 3)] {
        let project = of.copy();
        crash(&project, &["migrate"], plan);
        let path = project.store().join("FORMAT");
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("lockstep-store {format}\n"), "{plan}");
        assert_eq!(answer(&project), before, "{plan}");
        assert!(!project.store().join("FORMAT.partial").exists(), "{plan}");
        assert_eq!(project.run(&["migrate", "--check"]).status, Some(i32::from(format == 2)), "{plan}");
        project.run(&["migrate"]).fine();
        assert_eq!((fs::read_to_string(&path).unwrap(), answer(&project)), ("lockstep-store 3\n".to_owned(), before.clone()), "{plan}");
        assert_eq!(inventory(&project), expected, "{plan}");
    }
}

/// A server that validates and promotes for who asks, killed at moments of its own.
#[test]
fn a_server_killed_while_it_promotes_leaves_one_release_or_the_other() {
    let of = Project::with_much_history();
    of.run(&["release", "promote"]).fine();
    of.change_a_view();
    of.run(&["apply"]).fine();
    of.run(&["backfill"]).fine();
    let mut left = [0; 2];
    for round in 0..8_u64 {
        let project = of.copy();
        let server = project.server();
        let mut asked = project.command(&["--server", &server.url(), "release", "promote", "--force"]);
        let mut asked = asked.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30 * round * round));
        // Killed here.
        drop(server);
        asked.wait().unwrap();
        let release = serves(&project);
        let snapshots: &[&str] = if release == 1 { &["s0001"] } else { &["s0001", "s0002"] };
        assert_eq!(names(&project.store().join("snapshots")), snapshots, "round {round}");
        project.run(&["verify", "--values", "20"]).fine();
        left[release as usize - 1] += 1;
    }
    println!("the first served on {} times, the second {} times", left[0], left[1]);
}
