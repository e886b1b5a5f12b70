//! Releases: made, switched between, and in the way of what would take them apart.

use std::fs;
use std::path::Path;

use lockstep_model::{ErrorKind, EventTime, Fingerprint, Generation};
use lockstep_store::{Commit, CutRead, DefinitionText, NewDefinitions, NewRelease, NewSwitch, OnlineStore, Store, StoreOptions, SwitchKind};

use crate::support::{self, assert_says, view};

/// Applies the next definitions.
pub fn apply(store: &Store) -> u64 {
    let texts = vec![DefinitionText { path: "feature_defs/airport_load.sql".to_owned(), text: "SELECT 1".to_owned() }];
    let new = NewDefinitions { texts, fingerprint: Fingerprint([3; 32]), by: None, reason: None, models: Vec::new() };
    store.apply_definitions(store.definitions_version(), new).unwrap().version
}

/// A generation that may be served.
pub fn published(store: &Store, name: &str, version: u32) -> Generation {
    let generation = store.create_generation(view(name, version)).unwrap().generation;
    store.publish(vec![Commit::new(generation, store.epoch())]).unwrap();
    generation
}

pub fn of(definitions: u64, generations: &[Generation]) -> NewRelease {
    NewRelease { definitions, generations: generations.to_vec(), snapshot: None, validation: None }
}

pub fn by_hand(kind: SwitchKind) -> NewSwitch {
    NewSwitch { kind, forced: false, by: Some("ada".to_owned()), reason: None, automatic: false }
}

/// Makes definitions and a generation of version `n`, and promotes them.
pub fn promote(store: &Store, n: u32) -> Generation {
    let generation = published(store, "airport_load", n);
    store.promote(store.serving_epoch(), of(apply(store), &[generation]), by_hand(SwitchKind::Promote)).unwrap();
    generation
}

fn serving(store: &Store) -> (u32, u64) {
    let (release, switch) = store.cut().serving().unwrap().unwrap();
    assert_eq!((release.release, switch.epoch), (switch.release, store.serving_epoch()));
    (release.release, switch.epoch)
}

fn format_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("FORMAT")).unwrap()
}

#[test]
fn the_pointer_moves_forth_and_back_and_every_move_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    assert_eq!((store.serving_epoch(), store.cut().serving().unwrap()), (0, None));
    let old = promote(&store, 1);
    let before = store.cut();
    let young = published(&store, "airport_load", 2);
    let found = serde_json::json!({"coverage": 0.5});
    let release = NewRelease { snapshot: Some("s0001".to_owned()), validation: Some(found), ..of(apply(&store), &[young]) };
    let (made, switch) = store.promote(1, release.clone(), by_hand(SwitchKind::Promote)).unwrap();
    assert_eq!((made.release, made.new, switch.epoch, switch.from), (2, release, 2, Some(1)));
    assert_eq!(before.serving().unwrap().unwrap().0.new.generations, [old], "a cut from before reads the release from before");
    drop(before);
    let back = NewSwitch { automatic: true, reason: Some("errors".to_owned()), ..by_hand(SwitchKind::RollBack) };
    assert_eq!(store.roll_back(2, 1, back.clone()).unwrap().new, back);
    assert_eq!(serving(&store), (1, 3));
    drop(store);

    let store = support::open(dir.path());
    assert_eq!(serving(&store), (1, 3));
    let cut = store.cut();
    let moves: Vec<_> = cut.switches().unwrap().iter().map(|switch| (switch.epoch, switch.from, switch.release, switch.new.kind)).collect();
    let (promote, roll_back) = (SwitchKind::Promote, SwitchKind::RollBack);
    assert_eq!(moves, [(1, None, 1, promote), (2, Some(1), 2, promote), (3, Some(2), 1, roll_back)]);
    assert_eq!(cut.releases().unwrap().iter().map(|made| made.release).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn who_was_overtaken_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let first = promote(&store, 1);
    promote(&store, 2);
    let late = store.promote(1, of(1, &[first]), by_hand(SwitchKind::Promote));
    assert_says(late, ErrorKind::Unavailable, &["expected epoch 1, the store has epoch 2, serving release: 2"]);
    assert_says(store.roll_back(1, 1, by_hand(SwitchKind::RollBack)), ErrorKind::Unavailable, &["expected epoch 1"]);
    assert_eq!(serving(&store), (2, 2));
}

#[test]
fn what_cannot_be_served_is_not_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    apply(&store);
    let fit = published(&store, "airport_load", 1);
    let twin = published(&store, "airport_load", 2);
    let unfilled = store.create_generation(view("carrier_load", 1)).unwrap().generation;
    let gone = published(&store, "gone", 1);
    store.drop_generation(gone).unwrap();
    let promote = |definitions, generations: &[Generation]| store.promote(0, of(definitions, generations), by_hand(SwitchKind::Promote));
    assert_says(promote(1, &[fit, unfilled]), ErrorKind::Invalid, &["`carrier_load` version 1 is not complete"]);
    assert_says(promote(1, &[gone]), ErrorKind::NotFound, &["was dropped"]);
    assert_says(promote(1, &[Generation(99)]), ErrorKind::NotFound, &["no generation 99"]);
    assert_says(promote(1, &[fit, twin]), ErrorKind::Invalid, &["one generation a view", "`airport_load` has two"]);
    assert_says(promote(0, &[fit]), ErrorKind::NotFound, &["no definitions 0", "the latest are 1"]);
    assert_says(promote(2, &[fit]), ErrorKind::NotFound, &["no definitions 2"]);
    assert_eq!((store.serving_epoch(), store.cut().releases().unwrap()), (0, vec![]));
    assert_eq!(format_of(dir.path()), "lockstep-store 2\n", "nothing was written that the program before cannot read");
}

#[test]
fn what_serves_is_not_dropped_and_what_was_dropped_does_not_serve_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let old = promote(&store, 1);
    assert_says(store.drop_generation(old), ErrorKind::Invalid, &["`airport_load` version 1 is served by release 1", "promote a release without it"]);
    promote(&store, 2);
    assert_says(store.roll_back(2, 3, by_hand(SwitchKind::RollBack)), ErrorKind::NotFound, &["no release 3", "known: 1, 2"]);
    assert_says(store.roll_back(2, 2, by_hand(SwitchKind::RollBack)), ErrorKind::Invalid, &["release 2 serves already"]);
    store.drop_generation(old).unwrap();
    assert_says(store.roll_back(2, 1, by_hand(SwitchKind::RollBack)), ErrorKind::NotFound, &["release 1 cannot serve again", "was dropped"]);
    assert_eq!(serving(&store), (2, 2));
}

#[test]
fn a_store_has_the_format_that_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let store = support::open(&live);
    assert_eq!(format_of(&live), "lockstep-store 2\n");
    promote(&store, 1);
    assert_eq!(format_of(&live), "lockstep-store 3\n");
    store.checkpoint(&copy).unwrap();
    drop(store);
    assert_eq!(serving(&support::open(&live)), (1, 1));
    assert_eq!((format_of(&live), format_of(&copy)), ("lockstep-store 3\n".to_owned(), "lockstep-store 3\n".to_owned()));
    assert_eq!(serving(&support::open(&copy)), (1, 1));
}

#[test]
fn a_switch_says_when_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let clock = std::sync::Arc::new(support::TestClock::default());
    let store = Store::open(dir.path(), StoreOptions { clock: clock.clone(), ..support::options() }).unwrap();
    clock.advance(7);
    promote(&store, 1);
    let (release, switch) = store.cut().serving().unwrap().unwrap();
    assert_eq!((release.made_at, switch.at), (EventTime(7), EventTime(7)));
}
