//! Any sequence of commits, flushes and reopenings reads like a map.

use std::collections::BTreeMap;

use lockstep_model::{Generation, StateKey, StateWrite};
use lockstep_store::{Commit, CutRead, KeyWrite, OnlineStore, Store};
use proptest::prelude::*;

use crate::support::{self, all_keys, all_state, entry, get, node, partition, rows_done};

const GENERATIONS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// Writes to each generation's small key space: an entity, a moment (none for the head), a value (none to delete).
    Commit(Vec<(usize, u8, Option<i64>, Option<u8>)>),
    Reopen,
    Compact,
    /// Drops a generation and makes its successor.
    Replace(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..GENERATIONS, 0u8..4, prop::option::of(-3i64..3), prop::option::weighted(0.7, any::<u8>()));
    prop_oneof![
        8 => prop::collection::vec(write, 0..12).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Compact),
        1 => (0..GENERATIONS).prop_map(Step::Replace),
    ]
}

/// What one generation should hold.
#[derive(Debug, Default)]
struct Model {
    generation: u32,
    version: u32,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    keys: BTreeMap<(u16, Vec<u8>), Vec<u8>>,
    commits: u64,
}

impl Model {
    fn create(store: &Store, view: usize, version: u32) -> Self {
        let generation = store.create_generation(support::view(&format!("view_{view}"), version)).unwrap().generation.0;
        Model { generation, version, ..Model::default() }
    }

    fn commit(&mut self, store: &Store, writes: &[(u8, Option<i64>, Option<u8>)]) -> Commit {
        self.commits += 1;
        let mut commit = Commit::new(Generation(self.generation), store.epoch());
        commit.positions = vec![(partition("a"), rows_done(self.commits))];
        for &(entity, moment, value) in writes {
            let key = moment.map_or_else(|| StateKey::head(&[entity]), |moment| node(&[entity], moment));
            self.put(&mut commit, key, (u16::from(entity % 2), vec![entity, moment.unwrap_or(9) as u8]), value);
        }
        commit
    }

    fn put(&mut self, commit: &mut Commit, key: StateKey, (source, primary): (u16, Vec<u8>), value: Option<u8>) {
        set(&mut self.state, key.as_bytes().to_vec(), value.map(|value| vec![value; usize::from(value)]));
        set(&mut self.keys, (source, primary.clone()), value.map(|value| entry(0, &[value])));
        commit.state.push(StateWrite { value: value.map(|value| vec![value; usize::from(value)]), key });
        commit.keys.push(KeyWrite { source, key: primary.into(), value: value.map(|value| entry(0, &[value]).into()) });
    }

    fn check(&self, cut: &dyn CutRead) {
        let generation = Generation(self.generation);
        let state: Vec<_> = self.state.clone().into_iter().collect();
        assert_eq!(all_state(cut, generation), state);
        let keys: Vec<_> = self.keys.clone().into_iter().map(|((source, key), value)| (source, key, value)).collect();
        assert_eq!(all_keys(cut, generation), keys);
        let asked: Vec<StateKey> = (0..4).rev().flat_map(|entity| (-3..3).map(move |moment| node(&[entity], moment))).collect();
        let expected: Vec<_> = asked.iter().map(|key| self.state.get(key.as_bytes()).cloned()).collect();
        assert_eq!(get(cut, generation, &asked), expected);
        let positions = cut.positions(generation).unwrap();
        assert_eq!(positions, (self.commits > 0).then(|| (partition("a"), rows_done(self.commits))).into_iter().collect::<Vec<_>>());
    }
}

fn set<K: Ord>(map: &mut BTreeMap<K, Vec<u8>>, key: K, value: Option<Vec<u8>>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_store_reads_like_a_map(steps in prop::collection::vec(step(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = support::open(dir.path());
        let mut models: Vec<Model> = (0..GENERATIONS).map(|view| Model::create(&store, view, 1)).collect();
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    let commits = models.iter_mut().enumerate().map(|(i, model)| {
                        let of_this: Vec<_> = writes.iter().filter(|write| write.0 == i).map(|&(_, entity, moment, value)| (entity, moment, value)).collect();
                        model.commit(&store, &of_this)
                    });
                    let commits = commits.collect();
                    store.commit_all(commits).unwrap();
                }
                Step::Reopen => {
                    drop(store);
                    store = support::open(dir.path());
                }
                Step::Compact => store.compact().unwrap(),
                Step::Replace(view) => {
                    store.drop_generation(Generation(models[view].generation)).unwrap();
                    models[view] = Model::create(&store, view, models[view].version + 1);
                }
            }
            let cut = store.cut();
            models.iter().for_each(|model| model.check(&cut));
        }
    }
}
