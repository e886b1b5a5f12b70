//! State in memory, for the offline driver and for tests: the same tree over a map.

use std::collections::HashMap;

use lockstep_model::{Error, StateKey, StateRead, StateWrite};
use rustc_hash::FxBuildHasher;

/// Heads and nodes by key.
#[derive(Debug, Default)]
pub struct MemoryState(HashMap<StateKey, Vec<u8>, FxBuildHasher>);

impl MemoryState {
    /// Applies changes.
    pub fn write(&mut self, writes: Vec<StateWrite>) {
        for StateWrite { key, value } in writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    /// All keys and values, in key order.
    pub fn sorted(&self) -> Vec<(&StateKey, &[u8])> {
        let mut all: Vec<_> = self.0.iter().map(|(key, value)| (key, value.as_slice())).collect();
        all.sort_unstable();
        all
    }
}

impl StateRead for MemoryState {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        keys.iter().enumerate().for_each(|(i, key)| found(i, self.0.get(key).map(Vec::as_slice)));
        Ok(())
    }
}

/// Changes that lie over another state: what they have written, and what they have taken away.
#[derive(Debug, Default)]
pub struct Written(HashMap<StateKey, Option<Vec<u8>>, FxBuildHasher>);

/// A state with changes over it.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "the state below has none")]
pub struct Over<'a> {
    written: &'a Written,
    base: &'a dyn StateRead,
}

impl Written {
    /// Takes changes in.
    pub fn write(&mut self, writes: Vec<StateWrite>) {
        self.0.extend(writes.into_iter().map(|StateWrite { key, value }| (key, value)));
    }

    /// They, over a state.
    pub fn over<'a>(&'a self, base: &'a dyn StateRead) -> Over<'a> {
        Over { written: self, base }
    }
}

impl StateRead for Over<'_> {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.base.get_many(keys, &mut |i, stored| found(i, self.written.0.get(&keys[i]).map_or(stored, Option::as_deref)))
    }
}
