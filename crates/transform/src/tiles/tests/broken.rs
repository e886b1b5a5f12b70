//! State that is not what was written: an error of kind Data, or values, but never a panic or a walk without an end.

use lockstep_model::{ErrorKind, StateKey, StateWrite, TimeMode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{EntityChanges, MemoryState, ReadPlan, Request, Shape, apply, node, order, read_at};
use super::batches::{Batch, batches, cases, frames};
use super::model::{Op, World};
use super::{SPECS, Stored};

/// What happens to one stored value.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Flip(Vec<(Index, u8)>),
    Other(Index),
    Random(Vec<u8>),
    Gone,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        1 => any::<Index>().prop_map(Damage::Cut),
        4 => vec((any::<Index>(), 1u8..), 1..4).prop_map(Damage::Flip),
        1 => any::<Index>().prop_map(Damage::Other),
        1 => vec(any::<u8>(), 0..60).prop_map(Damage::Random),
        1 => Just(Damage::Gone),
    ]
}

/// Some values of the state, damaged.
fn damaged(state: &MemoryState, damages: &[(Index, Damage)]) -> Vec<StateWrite> {
    let all: Vec<(StateKey, Vec<u8>)> = state.sorted().into_iter().map(|(key, value)| (key.clone(), value.to_vec())).collect();
    let damage = |(at, damage): &(Index, Damage)| {
        let (key, mut value) = at.get(&all).clone();
        let value = match damage {
            Damage::Cut(at) => Some(value[..at.index(value.len())].to_vec()),
            Damage::Flip(flips) => {
                flips.iter().for_each(|(at, bits)| {
                    let at = at.index(value.len());
                    value[at] ^= bits;
                });
                Some(value)
            }
            Damage::Other(other) => Some(other.get(&all).1.clone()),
            Damage::Random(bytes) => Some(bytes.clone()),
            Damage::Gone => None,
        };
        StateWrite { key, value }
    };
    damages.iter().map(damage).collect()
}

fn outputs() -> Vec<(usize, usize)> {
    (0..SPECS.len()).flat_map(|measure| [(measure, 0), (measure, 2), (measure, 16)]).collect()
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn damaged_state_is_an_error_or_values(
        batches in batches(true),
        later in batches(true),
        damages in vec((any::<Index>(), damage()), 1..4),
        leaf_rows_max in 1usize..6,
    ) {
        let mut world = World::new(Shape { leaf_rows_max, buffer_rows_max: 3 });
        batches.iter().for_each(|batch| world.apply(batch));
        let writes = damaged(&world.state, &damages);
        world.state.write(writes);
        let plan = ReadPlan::new(&world.measures, &frames(), &outputs());
        let entities: Vec<Vec<u8>> = world.model.keys().cloned().collect();
        for at in [0, 30, i64::MAX] {
            let requests: Vec<Request<'_>> = entities.iter().map(|entity| Request { entity, at }).collect();
            for mode in [TimeMode::Event, TimeMode::Known] {
                let read = read_at(&plan, &world.measures, &world.state, &requests, mode, None);
                if let Err(error) = read {
                    prop_assert_eq!(error.kind(), ErrorKind::Data, "{}", error);
                }
            }
        }
        for batch in &later {
            if let Err(error) = apply_one_by_one(&world, batch) {
                prop_assert_eq!(error.kind(), ErrorKind::Data, "{}", error);
            }
        }
    }
}

fn apply_one_by_one(world: &World, batch: &Batch) -> Result<(), lockstep_model::Error> {
    for (entity, op) in batch {
        let (Op::Come(event) | Op::Go(event)) = op;
        let (key, args) = (event.key(), event.stored.encode(&world.measures.codec));
        let row = node::Row { key: &key, known_from: event.known_from, known_until: event.known_until, args: &args };
        let upserts = if matches!(op, Op::Come(_)) { vec![row] } else { Vec::new() };
        let mut changes = [EntityChanges { entity, removes: vec![&key], upserts }];
        apply(&world.measures, world.shape, &world.state, &mut changes)?;
    }
    Ok(())
}

#[test]
fn an_unknown_version_is_named() {
    let world = World::new(Shape::default());
    let mut state = MemoryState::default();
    state.write(vec![StateWrite { key: StateKey::head(b"e"), value: Some(vec![9, 0, 0]) }]);
    let request = Request { entity: b"e", at: 0 };
    let error =
        read_at(&ReadPlan::new(&world.measures, &frames(), &[(0, 0)]), &world.measures, &state, &[request], TimeMode::Event, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("state of an unknown version"), "{error}");
}

/// Primary keys that are each the beginning of the next, of one moment: as deep as a tree can be made.
#[test]
fn no_choice_of_primary_keys_makes_a_tree_deep() {
    let world = World::new(Shape { leaf_rows_max: 1, buffer_rows_max: 0 });
    let args = Stored::of(300).encode(&world.measures.codec);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for len in 0..3000 {
        let mut key = Vec::new();
        order::write(&mut key, 5, 0, &vec![b'a'; len], &[]);
        keys.push(key);
    }
    let mut state = MemoryState::default();
    for keys in [&keys[2000..], &keys[..2000]] {
        let upserts = keys.iter().map(|key| node::Row { key, known_from: i64::MIN, known_until: i64::MAX, args: &args }).collect();
        let mut changes = [EntityChanges { entity: b"e", removes: Vec::new(), upserts }];
        let writes = apply(&world.measures, world.shape, &state, &mut changes).unwrap();
        state.write(writes);
    }
    assert!(state.sorted().len() < 300, "{} keys", state.sorted().len());
    let request = Request { entity: b"e", at: 5 };
    let values = read_at(&ReadPlan::new(&world.measures, &frames(), &[(0, 1)]), &world.measures, &state, &[request], TimeMode::Event, None).unwrap();
    assert_eq!(values.columns[0].to_data(), arrow::array::Int64Array::from(vec![3000]).into());
}
