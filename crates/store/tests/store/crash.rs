//! Crashes: a child process does the work and aborts at a planned point; what it leaves must be a state that once was.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use lockstep_model::{ErrorKind, Generation};
use lockstep_store::{Commit, CrashPlan, CutRead, FORMAT_VERSION, OnlineStore, Store, StoreOptions, SwitchKind, format_of};

use crate::inventory::Inventory;
use crate::support::{self, all_state, numbered, numbered_up_to};
use crate::{bulk, releases, snapshots};

const GENERATION: Generation = Generation(1);

/// Runs `scenario` on the store in `dir` in a process of its own and expects it to abort as planned.
fn crash(dir: &Path, scenario: &str, plan: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env("STORE_DIR", dir)
        .env("SCENARIO", scenario)
        .env("CRASH", plan)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(std::os::unix::process::ExitStatusExt::signal(&output.status).is_some(), "{scenario} at {plan} does not abort: {said}");
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let (Ok(dir), Ok(scenario), Ok(plan)) = (std::env::var("STORE_DIR"), std::env::var("SCENARIO"), std::env::var("CRASH")) else { return };
    let store = Store::open(&dir, StoreOptions { crash: CrashPlan::parse(&plan).unwrap(), ..support::options() }).unwrap();
    if store.cut().generations().unwrap().is_empty() {
        assert_eq!(support::new_generation(&store), GENERATION);
    }
    match scenario.as_str() {
        "commits" => commits(&store),
        "bulk" => drop(bulk::load_missing(&store, GENERATION)),
        "publish" => store.publish(vec![numbered(GENERATION, store.epoch(), 1)]).unwrap(),
        "promote" => {
            releases::promote(&store, 2);
        }
        "rollback" => {
            releases::promote(&store, 2);
            releases::promote(&store, 3);
            store.roll_back(2, 1, releases::by_hand(SwitchKind::RollBack)).unwrap();
        }
        "migrate" => {
            commits(&store);
            store.migrate().unwrap();
        }
        "snapshot" => {
            commits(&store);
            store.snapshot(snapshots::named("s"), snapshots::all).unwrap();
        }
        "unsnapshot" => {
            commits(&store);
            store.snapshot(snapshots::named("s"), snapshots::all).unwrap();
            store.drop_snapshot("s", false).unwrap();
        }
        "checkpoint" => {
            commits(&store);
            store.checkpoint(&Path::new(&dir).with_extension("copy")).unwrap();
        }
        "drop" => drop_one_of_two(&store),
        other => panic!("no scenario `{other}`"),
    }
}

/// Fills two generations, whose files lie below level 0 then, and drops the first, to which something was written since.
fn drop_one_of_two(store: &Store) {
    let kept = store.create_generation(support::view("carrier_load", 1)).unwrap().generation;
    for generation in [GENERATION, kept] {
        bulk::load_missing(store, generation);
        store.publish(vec![Commit::new(generation, store.epoch())]).unwrap();
    }
    (1..=10).for_each(|n| store.commit(numbered(GENERATION, store.epoch(), n)).unwrap());
    store.drop_generation(GENERATION).unwrap();
}

/// Ten commits more than there are, forced to the disk after every fifth.
fn commits(store: &Store) {
    let done = numbered_up_to(&store.cut(), GENERATION);
    for n in done + 1..=done + 10 {
        store.commit(numbered(GENERATION, store.epoch(), n)).unwrap();
        if n % 5 == 0 {
            store.sync().unwrap();
        }
    }
}

#[test]
fn state_and_positions_agree_wherever_a_commit_is_cut_short() {
    for (plan, left) in [("commit.before:7", 6), ("commit.inside:7", 6), ("commit.after:7", 7), ("sync.before:2", 10), ("sync.after:1", 5)] {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), "commits", plan);
        let store = support::open(dir.path());
        assert_eq!(numbered_up_to(&store.cut(), GENERATION), left, "{plan}");
        store.commit(numbered(GENERATION, store.epoch(), left + 1)).unwrap();
        assert_eq!(numbered_up_to(&store.cut(), GENERATION), left + 1, "{plan}: ingestion goes on from there");
    }
}

#[test]
fn a_store_survives_one_crash_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut left = 0;
    for (plan, applied) in [("commit.inside:3", 2), ("commit.after:1", 1), ("commit.inside:1", 0), ("sync.before:1", 2), ("commit.before:9", 8)] {
        crash(dir.path(), "commits", plan);
        left += applied;
        assert_eq!(numbered_up_to(&support::open(dir.path()).cut(), GENERATION), left, "{plan}");
    }
}

#[test]
fn a_killed_bulk_load_resumes_with_what_is_missing() {
    let plans = [
        ("sst.write:1", vec![0, 1, 2, 3]),
        ("sst.write:4", vec![1, 2, 3]),
        ("sst.before_ingest:2", vec![1, 2, 3]),
        ("sst.inside_ingest:3", vec![2, 3]),
        ("sst.after_ingest:4", vec![3]),
    ];
    for (plan, missing) in plans {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), "bulk", plan);
        let store = support::open(dir.path());
        assert!(!dir.path().join("bulk").exists(), "{plan}: leftovers are cleaned up");
        assert!(!store.cut().generation(GENERATION).unwrap().published(), "{plan}: a half-done load is never visible");
        assert_eq!(bulk::load_missing(&store, GENERATION), missing, "{plan}");
        bulk::assert_loaded(&store, GENERATION);
        store.publish(vec![Commit::new(GENERATION, store.epoch())]).unwrap();
    }
}

#[test]
fn a_generation_is_published_with_its_positions_or_not_at_all() {
    for (plan, published) in [("publish.before", false), ("publish.after", true)] {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), "publish", plan);
        let store = support::open(dir.path());
        let cut = store.cut();
        assert_eq!(cut.generation(GENERATION).unwrap().published(), published, "{plan}");
        assert_eq!(numbered_up_to(&cut, GENERATION), u64::from(published), "{plan}");
    }
}

#[test]
fn the_pointer_has_moved_or_it_has_not() {
    let plans = [
        ("promote", "promote.before", (0, None)),
        ("promote", "promote.after", (1, Some(1))),
        ("rollback", "rollback.before", (2, Some(2))),
        ("rollback", "rollback.after", (3, Some(1))),
    ];
    for (scenario, plan, left) in plans {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), scenario, plan);
        let store = support::open(dir.path());
        let serving = store.cut().serving().unwrap().map(|(release, _)| release.release);
        assert_eq!((store.serving_epoch(), serving), left, "{plan}");
        releases::promote(&store, 4);
        assert_eq!(store.serving_epoch(), left.0 + 1, "{plan}: and goes on from there");
    }
}

#[test]
fn a_format_is_the_one_or_the_other() {
    let written = [("format.before:2", 2), ("format.written:2", 2), ("format.after:2", 3)];
    for (scenario, (plan, left)) in ["migrate", "promote"].into_iter().flat_map(|scenario| written.map(|plan| (scenario, plan))) {
        let dir = tempfile::tempdir().unwrap();
        // The first mark is that of a store that is made.
        crash(dir.path(), scenario, plan);
        assert_eq!(format_of(dir.path()).unwrap(), Some(left), "{scenario} at {plan}");
        let store = support::open(dir.path());
        assert!(!dir.path().join("FORMAT.partial").exists(), "{scenario} at {plan}: nothing else is left");
        assert_eq!(numbered_up_to(&store.cut(), GENERATION), if scenario == "migrate" { 10 } else { 0 }, "{scenario} at {plan}");
        assert_eq!(store.serving_epoch(), 0, "{scenario} at {plan}: no pointer before the format that has it");
        assert_eq!(store.migrate().unwrap().len(), usize::from(left == 2), "{scenario} at {plan}");
        assert_eq!(format_of(dir.path()).unwrap(), Some(FORMAT_VERSION), "{scenario} at {plan}");
    }
}

#[test]
fn an_earlier_store_is_the_same_wherever_opening_it_is_cut_short() {
    for (plan, left) in [("format.before", 1), ("format.written", 1), ("format.after", 2)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, generation) = (support::open(dir.path()), GENERATION);
        assert_eq!(support::new_generation(&store), generation);
        commits(&store);
        let state = all_state(&store.cut(), generation);
        drop(store);
        support::make_format_1(dir.path());
        crash(dir.path(), "commits", plan);
        assert_eq!(format_of(dir.path()).unwrap(), Some(left), "{plan}");
        let store = support::open(dir.path());
        assert_eq!((numbered_up_to(&store.cut(), generation), all_state(&store.cut(), generation)), (10, state), "{plan}");
        assert_eq!(format_of(dir.path()).unwrap(), Some(2), "{plan}");
    }
}

#[test]
fn a_checkpoint_appears_whole_or_not_at_all() {
    for (plan, made) in [("checkpoint.before", false), ("checkpoint.inside", false), ("checkpoint.after", true)] {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("live"), dir.path().join("live.copy"));
        crash(&live, "checkpoint", plan);
        assert_eq!(copy.exists(), made, "{plan}");
        if !made {
            support::open(&live).checkpoint(&copy).unwrap();
        }
        assert_eq!(numbered_up_to(&support::open(&copy).cut(), GENERATION), 10, "{plan}");
        assert_eq!(numbered_up_to(&support::open(&live).cut(), GENERATION), 10, "{plan}");
    }
}

#[test]
fn a_snapshot_is_whole_or_not_there() {
    let plans = [
        ("snapshot", "snapshot.before", false),
        ("snapshot", "snapshot.linked", false),
        ("snapshot", "snapshot.written", false),
        ("snapshot", "snapshot.after", true),
        ("unsnapshot", "unsnapshot.before", true),
        ("unsnapshot", "unsnapshot.renamed", false),
        ("unsnapshot", "unsnapshot.inside", false),
        ("unsnapshot", "unsnapshot.after", false),
    ];
    for (scenario, plan, there) in plans {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), scenario, plan);
        let store = support::open(dir.path());
        let expected: &[&str] = if there { &["s"] } else { &[] };
        assert_eq!(snapshots::shelf(dir.path()), expected, "{plan}: nothing else is left");
        assert_eq!(numbered_up_to(&store.cut(), GENERATION), 10, "{plan}");
        if there {
            assert_eq!(numbered_up_to(&snapshots::open(dir.path(), "s").unwrap().cut(), GENERATION), 10, "{plan}");
            store.drop_snapshot("s", false).unwrap();
        }
        let room = snapshots::room(dir.path(), &mut BTreeMap::new());
        store.snapshot(snapshots::named("s"), snapshots::all).unwrap();
        store.drop_snapshot("s", false).unwrap();
        let grown = snapshots::room(dir.path(), &mut BTreeMap::new()).saturating_sub(room);
        assert!(grown < 8192, "{plan}: {grown} bytes more");
    }
}

#[test]
fn a_generation_is_there_or_dropped_and_nothing_of_it_is_left() {
    let undisturbed = tempfile::tempdir().unwrap();
    let store = support::open(undisturbed.path());
    assert_eq!(support::new_generation(&store), GENERATION);
    drop_one_of_two(&store);
    drop(store);
    drop(support::open(undisturbed.path()));
    let expected = Inventory::of(undisturbed.path());
    for (plan, dropped) in [
        ("drop.before", false),
        ("drop.inside", true),
        ("drop.deleting:1", true),
        ("drop.deleting:2", true),
        ("drop.deleting:4", true),
        ("drop.after", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), "drop", plan);
        let before = Inventory::of(dir.path());
        assert_eq!(before.keys["state"] == expected.keys["state"], dropped, "{plan}");
        let store = support::open(dir.path());
        // Of a drop that was killed early, files are left that go when the store is opened.
        let left = ["drop.before", "drop.inside"].contains(&plan);
        assert_eq!(before.files["state"].len() > expected.files["state"].len(), left, "{plan}");
        if !dropped {
            assert!(all_state(&store.cut(), GENERATION).len() > 1000, "{plan}");
            store.drop_generation(GENERATION).unwrap();
        }
        assert_eq!(store.cut().generation(GENERATION).unwrap_err().kind(), ErrorKind::NotFound, "{plan}");
        assert_eq!(all_state(&store.cut(), GENERATION), [], "{plan}");
        drop(store);
        assert_eq!(Inventory::of(dir.path()), expected, "{plan}");
    }
}
