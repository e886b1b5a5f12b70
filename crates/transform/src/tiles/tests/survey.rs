//! Counting a tree counts all of it.

use super::super::{MemoryState, Shape, events as counted_by_root, survey};
use super::audit::{ENTITY, state};

#[test]
fn every_key_byte_and_event_is_counted_once() {
    for (events, shape) in [
        (1, Shape::default()),
        (64, Shape::default()),
        (400, Shape { leaf_rows_max: 3, buffer_rows_max: 0 }),
        (1000, Shape { leaf_rows_max: 40, buffer_rows_max: 30 }),
    ] {
        let state = state(events, shape);
        let counted = survey(&state, ENTITY).unwrap();
        let all = state.sorted();
        let bytes: usize = all.iter().map(|(_, value)| value.len()).sum();
        assert_eq!(counted.head.rows + counted.leaves.rows, events as u64, "{shape:?}");
        assert_eq!(counted_by_root(&state, ENTITY).unwrap(), events as u64, "{shape:?}");
        assert_eq!(counted.head.keys + counted.leaves.keys + counted.pages.keys, all.len() as u64, "{shape:?}");
        assert_eq!(counted.head.bytes + counted.leaves.bytes + counted.pages.bytes, bytes as u64, "{shape:?}");
        assert_eq!(counted.levels.iter().map(|level| level.pages).sum::<u64>(), counted.pages.keys, "{shape:?}");
        let tiles: u64 = counted.levels.iter().map(|level| level.tiles).sum();
        // A tile for each page but the root, and one for each leaf that is not the root.
        let root = u64::from(counted.pages.keys + counted.leaves.keys > 0);
        assert_eq!(tiles, counted.pages.keys + counted.leaves.keys - root, "{shape:?}");
        assert!(counted.levels.is_sorted_by_key(|level| level.nibbles));
    }
    assert_eq!(survey(&MemoryState::default(), ENTITY).unwrap(), Default::default());
    assert_eq!(counted_by_root(&MemoryState::default(), ENTITY).unwrap(), 0);
}
