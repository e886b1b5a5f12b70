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
