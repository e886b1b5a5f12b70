//! Where admission looks up what it remembers of a key.

use std::fmt;

use lockstep_model::{Error, Generation};
use lockstep_store::{CutRead, KeyWrite};
use rustc_hash::FxHashMap;

/// What is remembered of the primary keys of a generation's sources.
pub trait KeyIndex {
    /// Calls `found(i, entry)` for each primary key of a source in order, with `None` where it is not known. `keys` need not be sorted.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn get_many(&self, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error>;
}

/// The keys of one generation in a store, as of one cut.
#[derive(Clone, Copy)]
pub struct CutKeys<'a> {
    cut: &'a dyn CutRead,
    generation: Generation,
}

impl<'a> CutKeys<'a> {
    /// The keys of `generation` at `cut`.
    pub fn new(cut: &'a dyn CutRead, generation: Generation) -> Self {
        CutKeys { cut, generation }
    }
}

impl fmt::Debug for CutKeys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutKeys").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl KeyIndex for CutKeys<'_> {
    fn get_many(&self, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.cut.get_keys(self.generation, source, keys, found)
    }
}

/// Keys in memory: all there are, for a driver that keeps no store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryKeyIndex {
    /// By source; an absent entry was deleted.
    sources: FxHashMap<u16, FxHashMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl MemoryKeyIndex {
    /// An index that knows no key.
    pub fn new() -> Self {
        MemoryKeyIndex::default()
    }

    /// Applies writes, the later of two to one key last.
    pub fn apply(&mut self, writes: &[KeyWrite]) {
        for write in writes {
            let entries = self.sources.entry(write.source).or_default();
            match entries.get_mut(write.key.as_slice()) {
                Some(entry) => entry.clone_from(&write.value),
                None => {
                    entries.insert(write.key.clone(), write.value.clone());
                }
            }
        }
    }

    /// All keys and what is remembered of each, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.sources.values().flatten().filter_map(|(key, entry)| Some((key.as_slice(), entry.as_deref()?)))
    }

    /// All keys of a source and what is remembered of each, in no order.
    pub fn of(&self, source: u16) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = self.sources.get(&source).into_iter().flatten();
        entries.filter_map(|(key, entry)| Some((key.as_slice(), entry.as_deref()?)))
    }

    /// What was written of a key: nothing, or that it is known or was deleted.
    fn written(&self, source: u16, key: &[u8]) -> Option<Option<&[u8]>> {
        self.sources.get(&source)?.get(key).map(Option::as_deref)
    }

    /// What is remembered of a key.
    pub fn get(&self, source: u16, key: &[u8]) -> Option<&[u8]> {
        self.written(source, key).flatten()
    }

    /// How many keys of a source are known.
    pub fn len(&self, source: u16) -> usize {
        self.sources.get(&source).map_or(0, |entries| entries.values().flatten().count())
    }

    /// Whether no key of any source is known.
    pub fn is_empty(&self) -> bool {
        self.sources.keys().all(|&source| self.len(source) == 0)
    }
}

impl Extend<KeyWrite> for MemoryKeyIndex {
    /// As [`MemoryKeyIndex::apply`], for writes that are needed nowhere else.
    fn extend<T: IntoIterator<Item = KeyWrite>>(&mut self, writes: T) {
        for KeyWrite { source, key, value } in writes {
            self.sources.entry(source).or_default().insert(key, value);
        }
    }
}

impl KeyIndex for MemoryKeyIndex {
    fn get_many(&self, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        keys.iter().enumerate().for_each(|(i, key)| found(i, self.get(source, key)));
        Ok(())
    }
}

/// Keys written since, over those of another index: for batches that are admitted one after the other into one commit.
#[derive(Clone, Copy)]
pub struct PendingKeys<'a> {
    pending: &'a MemoryKeyIndex,
    base: &'a dyn KeyIndex,
}

impl<'a> PendingKeys<'a> {
    /// What `pending` holds of a key, or else `base`.
    pub fn new(pending: &'a MemoryKeyIndex, base: &'a dyn KeyIndex) -> Self {
        PendingKeys { pending, base }
    }
}

impl fmt::Debug for PendingKeys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingKeys").field("pending", self.pending).finish_non_exhaustive()
    }
}

impl KeyIndex for PendingKeys<'_> {
    fn get_many(&self, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.base.get_many(source, keys, &mut |i, entry| {
            let pending = keys.get(i).and_then(|key| self.pending.written(source, key));
            found(i, pending.unwrap_or(entry));
        })
    }
}
