//! What is in memory can be read without the disk, and what is not says so.

use std::sync::Arc;

use lockstep_model::{Error, ErrorKind, EventTime, Generation, StateKey};
use lockstep_store::{Commit, CutRead, Horizon, NotInMemory, OnlineStore, SharedCut, SharedRead, Store};

use crate::support::{self, new_generation, put};

fn value(cut: &dyn CutRead, generation: Generation, keys: &[StateKey]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut values = vec![None; keys.len()];
    cut.get_state(generation, keys, &mut |i, bytes| values[i] = bytes.map(<[u8]>::to_vec))?;
    Ok(values)
}

fn entity(number: u32) -> StateKey {
    StateKey::head(&number.to_be_bytes())
}

#[test]
fn what_is_on_the_disk_alone_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let generation = new_generation(&store);
    let mut commit = Commit::new(generation, store.epoch());
    commit.state = (0..2000).map(|number| put(entity(number), &[7; 100])).collect();
    let horizon = Horizon { readable_from: EventTime(-5), ..Horizon::default() };
    commit.horizon = Some(horizon.clone());
    store.commit(commit).unwrap();
    let there = |keys: usize| vec![Some(vec![7; 100]); keys];
    // Not on the disk yet.
    assert_eq!(value(&store.cut().in_memory(), generation, &[entity(3)]).unwrap(), there(1));
    store.compact().unwrap();
    store.close().unwrap();

    let store = Arc::new(support::open(dir.path()));
    let cut = SharedCut::new(&store);
    for keys in [vec![entity(3)], vec![entity(3), entity(1999)]] {
        let error = value(cut.in_memory(), generation, &keys).unwrap_err();
        assert!(NotInMemory::caused(&error) && error.kind() == ErrorKind::Unavailable, "{error:?}");
    }
    // What a server needs to know of generations was read when the store was opened.
    assert_eq!(cut.in_memory().generations().unwrap().len(), 1);
    assert_eq!(cut.in_memory().horizon(generation).unwrap(), horizon);
    assert!(cut.in_memory().positions(generation).unwrap().is_empty());
    // Once it was read it is there, for later cuts too.
    assert_eq!(value(cut.whole(), generation, &[entity(3), entity(1999)]).unwrap(), there(2));
    assert_eq!(value(cut.in_memory(), generation, &[entity(3)]).unwrap(), there(1));
    // Where the index of a file was read and a block of it was not, what is in that block is not there: alone, with others of it, and among what is.
    for keys in [vec![entity(1000)], vec![entity(1000), entity(1001)], vec![entity(3), entity(1000)]] {
        let error = value(cut.in_memory(), generation, &keys).unwrap_err();
        assert!(NotInMemory::caused(&error), "{keys:?}: {error:?}");
    }
    let later: &Store = &store;
    assert_eq!(value(&later.cut().in_memory(), generation, &[entity(3), entity(1999)]).unwrap(), there(2));
    // Both read the same moment.
    let mut commit = Commit::new(generation, store.epoch());
    commit.state.push(put(entity(3), b"newer"));
    store.commit(commit).unwrap();
    assert_eq!(value(cut.in_memory(), generation, &[entity(3)]).unwrap(), there(1));
    assert_eq!(value(&later.cut().in_memory(), generation, &[entity(3)]).unwrap(), [Some(b"newer".to_vec())]);
}
