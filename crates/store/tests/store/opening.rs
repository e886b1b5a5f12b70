//! Who may open what.

use std::fs;

use lockstep_model::ErrorKind;
use lockstep_store::{FORMAT_VERSION, OnlineStore, Store, StoreOptions, format_of, read_owner, steps_from};

use crate::support::{self, assert_says, new_generation, numbered, numbered_up_to};

#[test]
fn a_second_owner_is_refused_and_told_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions { verb: "serve".to_owned(), ..support::options() }).unwrap();
    let pid = std::process::id();
    assert_says(Store::open(dir.path(), support::options()), ErrorKind::Unavailable, &["`lockstep serve`", &format!("process {pid} on ")]);
    assert_eq!(read_owner(dir.path()).unwrap().pid, pid);
    drop(store);
    assert_eq!(read_owner(dir.path()), None);
    support::open(dir.path());
}

#[test]
fn a_newer_format_is_refused_naming_both() {
    let dir = tempfile::tempdir().unwrap();
    drop(support::open(dir.path()));
    let newer = FORMAT_VERSION + 1;
    fs::write(dir.path().join("FORMAT"), format!("lockstep-store {newer}\n")).unwrap();
    let said = [format!("has format {newer}"), format!("formats up to {FORMAT_VERSION}")];
    assert_says(Store::open(dir.path(), support::options()), ErrorKind::Invalid, &[&said[0], &said[1]]);
}

#[test]
fn an_older_format_becomes_the_one_of_today() {
    let dir = tempfile::tempdir().unwrap();
    drop(support::open(dir.path()));
    fs::write(dir.path().join("FORMAT"), "lockstep-store 1\n").unwrap();
    drop(support::open(dir.path()));
    assert_eq!(fs::read_to_string(dir.path().join("FORMAT")).unwrap(), "lockstep-store 2\n");
}

#[test]
fn a_store_is_given_the_newest_format_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    (1..=5).for_each(|n| store.commit(numbered(generation, store.epoch(), n)).unwrap());
    let state = support::all_state(&store.cut(), generation);
    store.snapshot(crate::snapshots::named("s"), crate::snapshots::all).unwrap();
    drop(store);
    support::make_format_1(dir.path());
    assert_eq!(steps_from(1).map(|step| step.to).collect::<Vec<_>>(), [2, 3]);
    let store = support::open(dir.path());
    let steps = store.migrate().unwrap();
    assert_eq!(steps.iter().map(|step| step.to).collect::<Vec<_>>(), [3], "opening it was the first step");
    assert_eq!((format_of(dir.path()).unwrap(), store.migrate().unwrap()), (Some(FORMAT_VERSION), vec![]));
    drop(store);
    let store = support::open(dir.path());
    assert_eq!((numbered_up_to(&store.cut(), generation), support::all_state(&store.cut(), generation)), (5, state.clone()));
    // The snapshot is what it was.
    let snapshot = crate::snapshots::open(dir.path(), "s").unwrap();
    assert_eq!((format_of(snapshot.dir()).unwrap(), support::all_state(&snapshot.cut(), generation)), (Some(2), state));
}

/// Makes the store in `STORE_DIR` one of format 1: for the fixture that the command line's tests open.
#[test]
#[ignore = "changes a store"]
fn make_a_store_of_format_1() {
    let dir = std::env::var("STORE_DIR").expect("STORE_DIR says which store");
    support::make_format_1(dir.as_ref());
}

#[test]
fn what_is_no_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(support::open(dir.path()));
    for text in ["", "lockstep-store 0", "lockstep-store one", "something else"] {
        fs::write(dir.path().join("FORMAT"), text).unwrap();
        assert_says(Store::open(dir.path(), support::options()), ErrorKind::Data, &["FORMAT file"]);
    }
    fs::remove_file(dir.path().join("FORMAT")).unwrap();
    assert_says(Store::open(dir.path(), support::options()), ErrorKind::Data, &["without its FORMAT file"]);
}

#[test]
fn a_place_where_no_store_can_be_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    for place in [file.clone(), file.join("below")] {
        let named = place.display().to_string();
        assert_says(Store::open(&place, support::options()), ErrorKind::Unavailable, &["cannot ", &named]);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
}

/// Nobody may write there, whoever runs this.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_is_told() {
    for place in ["/proc/self", "/proc/self/store"] {
        assert_says(Store::open(place, support::options()), ErrorKind::Unavailable, &["cannot ", place]);
    }
}

#[test]
fn damage_is_called_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(support::open(dir.path()));
    fs::write(dir.path().join("db/CURRENT"), "MANIFEST-nonsense").unwrap();
    let error = Store::open(dir.path(), support::options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.to_string().contains("restore a snapshot"), "{error}");
}

#[test]
fn a_checkpoint_opens_as_a_store_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let store = support::open(&live);
    let generation = new_generation(&store);
    (1..=5).for_each(|n| store.commit(numbered(generation, store.epoch(), n)).unwrap());
    store.checkpoint(&copy).unwrap();
    assert_says(store.checkpoint(&copy), ErrorKind::Invalid, &["exists already"]);
    store.commit(numbered(generation, store.epoch(), 6)).unwrap();

    let copied = support::open(&copy);
    assert_eq!(numbered_up_to(&copied.cut(), generation), 5);
    copied.commit(numbered(generation, copied.epoch(), 6)).unwrap();
    copied.compact().unwrap();
    store.commit(numbered(generation, store.epoch(), 7)).unwrap();
    assert_eq!((numbered_up_to(&copied.cut(), generation), numbered_up_to(&store.cut(), generation)), (6, 7));
}
