//! A walk over the whole tree: nothing to find in a sound one, and every damage found in a damaged one.

use lockstep_model::StateRead;

use super::super::audit::{FaultKind, compare, walk};
use super::super::fault::{Damage, damage};
use super::super::node::Row;
use super::super::{EntityChanges, MemoryState, Shape, apply, order};
use super::{Stored, measures};

pub(super) const ENTITY: &[u8] = b"e";
const SECOND: i64 = 1_000_000;

pub(super) fn state(events: usize, shape: Shape) -> MemoryState {
    let measures = measures();
    let args: Vec<Vec<u8>> = (0..events).map(|n| Stored::of((n * 4 + 9) as u16).encode(&measures.codec)).collect();
    let keys: Vec<Vec<u8>> = (0..events)
        .map(|n| {
            let mut key = Vec::new();
            order::write(&mut key, (n as i64 * 7919 % events as i64) * SECOND, 0, &(n as u64).to_be_bytes(), &[]);
            key
        })
        .collect();
    let mut state = MemoryState::default();
    for batch in (0..events).collect::<Vec<_>>().chunks(50) {
        let upserts = batch.iter().map(|&n| Row { key: &keys[n], known_from: i64::MIN, known_until: i64::MAX, args: &args[n] }).collect();
        let mut changes = [EntityChanges { entity: ENTITY, removes: Vec::new(), upserts }];
        let writes = apply(&measures, shape, &state, &mut changes).unwrap();
        state.write(writes);
    }
    state
}

#[test]
fn sound_trees_of_any_shape_hold_the_same_events() {
    let measures = measures();
    let one = walk(&measures, &state(400, Shape { leaf_rows_max: 3, buffer_rows_max: 0 }), ENTITY, i64::MIN).unwrap();
    let other = walk(&measures, &state(400, Shape { leaf_rows_max: 40, buffer_rows_max: 70 }), ENTITY, i64::MIN).unwrap();
    assert_eq!((&one.faults, &other.faults), (&vec![], &vec![]));
    assert_eq!(one.rows.len(), 400);
    assert!(one.tiles > 100 && other.tiles > 5, "{} and {}", one.tiles, other.tiles);
    assert_eq!(compare(&one.rows, &other.rows, i64::MIN), []);
}

#[test]
fn every_damage_is_found_and_named() {
    let measures = measures();
    let shape = Shape { leaf_rows_max: 8, buffer_rows_max: 0 };
    let sound = walk(&measures, &state(400, shape), ENTITY, i64::MIN).unwrap();
    for kind in [Damage::Event, Damage::Tile, Damage::Key, Damage::Ulp] {
        let mut state = state(400, shape);
        let damaged = damage(&measures, &state, ENTITY, kind, 60 * SECOND).unwrap().unwrap_or_else(|| panic!("nothing to damage: {kind:?}"));
        state.write(damaged.writes);
        let walked = walk(&measures, &state as &dyn StateRead, ENTITY, i64::MIN).unwrap();
        let lost = compare(&walked.rows, &sound.rows, i64::MIN);
        let kinds: Vec<&FaultKind> = walked.faults.iter().chain(&lost).map(|fault| &fault.kind).collect();
        match kind {
            Damage::Event => assert_eq!(kinds, [&FaultKind::EventMissing]),
            Damage::Key => assert!(kinds.len() == 400 && kinds.iter().all(|kind| **kind == FaultKind::EventMissing), "{kinds:?}"),
            // The tile itself, and every tile above it.
            Damage::Tile => {
                assert!(kinds.iter().all(|kind| matches!(kind, FaultKind::Tile(what) if what.len() > 3)) && !kinds.is_empty(), "{kinds:?}")
            }
            Damage::Ulp => {
                assert!(kinds.iter().all(|kind| matches!(kind, FaultKind::Tile(what) if what.len() == 1)) && !kinds.is_empty(), "{kinds:?}")
            }
        }
    }
}

#[test]
fn nodes_that_may_be_gone_are_not_missed() {
    let measures = measures();
    let shape = Shape { leaf_rows_max: 8, buffer_rows_max: 0 };
    let state = state(400, shape);
    let gone = Forgetful { state: &state, before: 200 * SECOND };
    let walked = walk(&measures, &gone, ENTITY, 200 * SECOND).unwrap();
    assert_eq!(walked.faults, []);
    assert!(walked.rows.len() < 300);
    let all = walk(&measures, &state, ENTITY, i64::MIN).unwrap();
    assert_eq!(compare(&walked.rows, &all.rows, 200 * SECOND), []);
    assert!(walk(&measures, &gone, ENTITY, i64::MIN).unwrap().faults.iter().all(|fault| fault.kind == FaultKind::NodeMissing));
}

/// A state without the nodes that have expired.
struct Forgetful<'a> {
    state: &'a MemoryState,
    before: i64,
}

impl StateRead for Forgetful<'_> {
    fn get_many(&self, keys: &[lockstep_model::StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), lockstep_model::Error> {
        self.state.get_many(keys, &mut |i, bytes| {
            let newest = lockstep_model::state::newest_time_below(keys[i].as_bytes());
            found(i, bytes.filter(|_| newest.is_none_or(|newest| newest >= self.before)));
        })
    }
}
