//! Generations and definitions: made, published, dropped; applied one after the other.

use std::sync::Arc;

use lockstep_model::{ErrorKind, Fingerprint, StateKey};
use lockstep_store::{Commit, CutRead, DefinitionText, NewDefinitions, OnlineStore};

use crate::bulk;
use crate::support::{self, all_state, assert_says, new_generation, numbered, numbered_up_to, view};

#[test]
fn a_generation_is_unpublished_until_its_positions_are_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let made = store.create_generation(view("airport_load", 1)).unwrap();
    assert!(!made.published());
    let before = store.cut();
    store.publish(vec![numbered(made.generation, store.epoch(), 1)]).unwrap();
    assert!(!before.generation(made.generation).unwrap().published());
    assert_eq!(numbered_up_to(&before, made.generation), 0);
    drop(before);
    drop(store);

    let store = support::open(dir.path());
    let cut = store.cut();
    assert!(cut.generation(made.generation).unwrap().published());
    assert_eq!(numbered_up_to(&cut, made.generation), 1);
    assert_says(store.publish(vec![Commit::new(made.generation, store.epoch())]), ErrorKind::Invalid, &["published already"]);
}

#[test]
fn a_version_has_one_generation_at_a_time_and_numbers_are_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let first = store.create_generation(view("airport_load", 1)).unwrap().generation;
    assert_says(store.create_generation(view("airport_load", 1)), ErrorKind::Invalid, &["`airport_load` version 1 has a generation already"]);
    let second = store.create_generation(view("airport_load", 2)).unwrap().generation;
    store.drop_generation(second).unwrap();
    drop(store);
    let store = support::open(dir.path());
    let made = view("airport_load", 2);
    let version = |meaning| store.cut().version_for("airport_load", meaning, made.state).unwrap();
    assert_eq!((version(made.meaning), version(Fingerprint([9; 32]))), (2, 3), "a number that was dropped means what it meant");
    assert_eq!(store.cut().version_for("other", made.meaning, made.state).unwrap(), 1);
    let third = store.create_generation(view("airport_load", 2)).unwrap().generation;
    assert!(third > second && second > first);
    let known: Vec<_> = store.cut().generations().unwrap().into_iter().map(|info| info.generation).collect();
    assert_eq!(known, [first, third]);
}

#[test]
fn runs_of_a_version_stand_beside_each_other_and_are_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let plain = store.create_generation(view("late", 1)).unwrap().generation;
    let run = |number| store.create_run(view("late", 1), number).unwrap().generation;
    let runs = [run(1), run(2)];
    assert_says(store.create_run(view("late", 1), 2), ErrorKind::Invalid, &["`late` version 1 has a generation already"]);
    let unfit = ["is no complete generation of a run", "name a run that was published"];
    assert_says(store.take_back(&[(runs[0], true)]), ErrorKind::Invalid, &unfit);
    store.publish([plain, runs[0], runs[1]].map(|generation| numbered(generation, store.epoch(), 1)).to_vec()).unwrap();
    assert_says(store.take_back(&[(plain, true)]), ErrorKind::Invalid, &unfit);
    let read = |store: &lockstep_store::Store| {
        let all = store.cut().generations().unwrap().into_iter();
        all.filter(|info| info.published()).map(|info| (info.generation, info.run)).collect::<Vec<_>>()
    };
    let whole = [(plain, None), (runs[0], Some(1)), (runs[1], Some(2))];
    assert_eq!(read(&store), whole);
    // All of it or nothing: one that is not of a run is among them.
    assert!(store.take_back(&[(runs[1], true), (plain, true)]).is_err());
    assert_eq!(read(&store), whole);
    store.take_back(&[(runs[1], true)]).unwrap();
    let before = store.cut();
    drop(before);
    drop(store);
    let store = support::open(dir.path());
    assert_eq!(read(&store), whole[..2]);
    store.take_back(&[(runs[0], true), (runs[1], false)]).unwrap();
    assert_eq!(read(&store), [whole[0], whole[2]]);
}

#[test]
fn another_fingerprint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let info = store.create_generation(view("airport_load", 1)).unwrap();
    info.expect(info.meaning, info.state).unwrap();
    let other = Fingerprint([9; 32]);
    assert_says(
        info.expect(other, info.state),
        ErrorKind::Invalid,
        &["`airport_load` version 1", "another definition", "stored: 010101010101, given: 090909090909"],
    );
    assert_says(info.expect(info.meaning, other), ErrorKind::Invalid, &["another state encoding"]);
}

#[test]
fn a_dropped_generation_is_gone_and_leaves_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let doomed = new_generation(&store);
    let kept = store.create_generation(view("carrier_load", 1)).unwrap().generation;
    let epoch = store.epoch();
    for n in 1..=50 {
        store.commit_all(vec![numbered(doomed, epoch, n), numbered(kept, epoch, n)]).unwrap();
    }
    let before = store.cut();
    store.drop_generation(doomed).unwrap();
    store.compact().unwrap();
    assert_eq!(numbered_up_to(&before, doomed), 50, "a cut from before still sees it");
    drop(before);
    store.compact().unwrap();

    let check = |store: &lockstep_store::Store| {
        let cut = store.cut();
        assert_eq!(numbered_up_to(&cut, doomed), 0);
        assert_eq!(all_state(&cut, doomed), []);
        assert_eq!(numbered_up_to(&cut, kept), 50);
        assert_says(cut.generation(doomed), ErrorKind::NotFound, &["no generation 1", "known: 2"]);
        assert_says(store.commit(numbered(doomed, store.epoch(), 51)), ErrorKind::NotFound, &["was dropped"]);
        assert_says(store.drop_generation(doomed), ErrorKind::NotFound, &["was dropped"]);
    };
    check(&store);
    drop(store);
    check(&support::open(dir.path()));
}

#[test]
fn files_of_a_dropped_generation_go_when_the_last_that_reads_them_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let doomed = new_generation(&store);
    bulk::load_missing(&store, doomed);
    store.publish(vec![Commit::new(doomed, store.epoch())]).unwrap();
    let (before, filled) = (store.cut(), store.approximate_bytes(doomed));
    assert!(filled > 0);
    store.drop_generation(doomed).unwrap();
    let after = store.cut();
    store.sync().unwrap();
    assert_eq!(store.approximate_bytes(doomed), filled);
    bulk::assert_loaded_in(&before, doomed);
    drop(before);
    store.sync().unwrap();
    assert_eq!(store.approximate_bytes(doomed), 0, "a cut from after the drop holds nothing");
    assert_eq!(all_state(&after, doomed), []);
}

#[test]
fn entities_are_visited_once_each_however_large_their_trees() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let mut commit = Commit::new(generation, store.epoch());
    let entities = [b"".as_slice(), b"a", b"aa", b"ab", b"\xff\xff"];
    for (i, entity) in entities.iter().enumerate() {
        commit.state.push(support::put(StateKey::head(entity), entity));
        commit.state.extend((0..i as i64 * 15).map(|t| support::put(support::node(entity, t), b"node")));
    }
    store.commit(commit).unwrap();
    let mut seen = Vec::new();
    let cut = store.cut();
    cut.each_entity(generation, &mut |entity, head| {
        assert_eq!(entity, head);
        seen.push(entity.to_vec());
        Ok(())
    })
    .unwrap();
    let mut paged = Vec::new();
    loop {
        let page = cut.entities_after(generation, paged.last().map(Vec::as_slice), 2).unwrap();
        paged.extend(page.iter().cloned());
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(paged, seen, "page by page");
    assert_eq!(cut.entities_after(generation, None, 0).unwrap(), [[0u8; 0]; 0]);
    seen.sort();
    assert_eq!(seen, entities);
}

fn definitions(text: &str, by: &str) -> NewDefinitions {
    let texts = vec![DefinitionText { path: "feature_defs/airport_load.sql".to_owned(), text: text.to_owned() }];
    NewDefinitions { texts, fingerprint: Fingerprint([3; 32]), by: Some(by.to_owned()), reason: None, models: Vec::new() }
}

#[test]
fn definitions_are_appended_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    assert_eq!(store.cut().definitions().unwrap(), None);
    let first = store.apply_definitions(0, definitions("SELECT 1", "ada")).unwrap();
    let second = store.apply_definitions(1, definitions("SELECT 2", "bob")).unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    drop(store);
    let store = support::open(dir.path());
    let cut = store.cut();
    assert_eq!(cut.definitions().unwrap().as_ref(), Some(&second));
    assert_eq!(cut.definitions_history().unwrap(), [first, second]);
    assert_says(store.apply_definitions(1, definitions("SELECT 3", "eve")), ErrorKind::Unavailable, &["expected version 1, the store has version 2"]);
}

#[test]
fn of_concurrent_applies_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(support::open(dir.path()));
    let applies: Vec<_> = (0..8)
        .map(|i| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.apply_definitions(0, definitions("SELECT 1", &i.to_string())))
        })
        .collect();
    let outcomes: Vec<_> = applies.into_iter().map(|apply| apply.join().unwrap()).collect();
    let winners: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.cut().definitions_history().unwrap(), winners);
}
