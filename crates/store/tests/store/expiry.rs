//! What compaction lets go, and that nothing readable is among it.

use std::collections::BTreeMap;

use lockstep_model::state::newest_time_below;
use lockstep_model::{ErrorKind, EventTime, Generation, StateKey};
use lockstep_store::{Commit, CutRead, Horizon, KeyWrite, OnlineStore, Store};
use proptest::prelude::*;

use crate::support::{self, all_keys, all_state, assert_says, entry, new_generation, node, order_key, put};

fn horizon(micros: i64) -> Horizon {
    Horizon { readable_from: EventTime(micros), state_before: EventTime(micros), keys_before: vec![(0, EventTime(micros))] }
}

fn raise(store: &Store, generation: Generation, to: Horizon) {
    let mut commit = Commit::new(generation, store.epoch());
    commit.horizon = Some(to);
    store.commit(commit).unwrap();
}

/// A generation with a head, a node and two sources' dedup entries at each moment from 0 to 99.
fn filled(store: &Store) -> Generation {
    let generation = new_generation(store);
    let mut commit = Commit::new(generation, store.epoch());
    commit.state = (0..100).map(|t| put(node(b"EWR", t), b"node")).chain([put(StateKey::head(b"EWR"), b"head")]).collect();
    let keys =
        (0..100i64).flat_map(|t| [0, 1].map(|source| KeyWrite { source, key: t.to_be_bytes().as_slice().into(), value: Some(entry(t, b"").into()) }));
    commit.keys = keys.collect();
    store.commit(commit).unwrap();
    generation
}

fn sizes(cut: &dyn CutRead, generation: Generation) -> (usize, usize) {
    (all_state(cut, generation).len(), all_keys(cut, generation).len())
}

#[test]
fn what_lies_before_the_horizon_goes_once_the_horizon_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = filled(&store);
    raise(&store, generation, horizon(40));
    store.compact().unwrap();
    assert_eq!(sizes(&store.cut(), generation), (101, 200), "a power cut could still undo the horizon");

    store.sync().unwrap();
    let cut = store.cut();
    store.compact().unwrap();
    assert_eq!(sizes(&cut, generation).0, 61, "a cut taken under the horizon does not hold it back");
    assert_eq!(sizes(&store.cut(), generation), (61, 160), "the head, and the source without a horizon, keep everything");
}

#[test]
fn a_live_cut_reads_what_it_could_read_when_it_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = filled(&store);
    store.sync().unwrap();
    let cut = store.cut();
    raise(&store, generation, horizon(40));
    store.sync().unwrap();
    store.compact().unwrap();
    assert_eq!(sizes(&cut, generation), (101, 200));
    drop(cut);
    store.compact().unwrap();
    assert_eq!(sizes(&store.cut(), generation), (61, 160));
}

#[test]
fn horizons_only_rise_and_hold_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = filled(&store);
    raise(&store, generation, horizon(40));
    raise(&store, generation, Horizon { keys_before: vec![(0, EventTime(50)), (1, EventTime(10))], ..horizon(30) });
    let raised = Horizon { keys_before: vec![(0, EventTime(50)), (1, EventTime(10))], ..horizon(40) };
    assert_eq!(store.cut().horizon(generation).unwrap(), raised);
    drop(store);

    let store = support::open(dir.path());
    store.compact().unwrap();
    assert_eq!(store.cut().horizon(generation).unwrap(), raised);
    assert_eq!(sizes(&store.cut(), generation), (61, 50 + 90));
    let promise = Horizon { readable_from: EventTime(1), state_before: EventTime(2), keys_before: Vec::new() };
    let mut commit = Commit::new(generation, store.epoch());
    commit.horizon = Some(promise);
    assert_says(store.commit(commit), ErrorKind::Internal, &["still promises to read"]);
}

/// Nodes at any depth of an entity's tree, at and around the horizon.
fn nodes() -> impl Strategy<Value = Vec<(i64, usize)>> {
    prop::collection::vec((-500i64..500, 0usize..=18), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn nothing_at_or_after_the_horizon_is_lost(nodes in nodes(), horizons in prop::collection::vec(-400i64..400, 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let store = support::open(dir.path());
        let generation = new_generation(&store);
        let mut rows = BTreeMap::new();
        for (t, nibbles) in nodes {
            let order_key = [order_key(t).as_slice(), b"pk"].concat();
            rows.insert(StateKey::node(b"EWR", Some((nibbles, &order_key))), t.to_be_bytes());
        }
        let mut commit = Commit::new(generation, store.epoch());
        commit.state = rows.iter().map(|(key, value)| put(key.clone(), value)).collect();
        store.commit(commit).unwrap();
        for &to in &horizons {
            raise(&store, generation, horizon(to));
            store.sync().unwrap();
            store.compact().unwrap();
        }
        let last = horizons.into_iter().max().unwrap_or(i64::MIN);
        let kept = rows.iter().filter(|(key, _)| newest_time_below(key.as_bytes()).is_none_or(|newest| newest >= last));
        let kept: Vec<_> = kept.map(|(key, value)| (key.as_bytes().to_vec(), value.to_vec())).collect();
        prop_assert_eq!(all_state(&store.cut(), generation), kept);
    }
}
