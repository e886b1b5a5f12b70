//! Where admission looks up what it remembers of a key.

use std::collections::BTreeMap;
use std::fmt;

use hashbrown::HashTable;
use lockstep_model::{Error, Generation};
use lockstep_store::{CutRead, KeyWrite};
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

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
#[derive(Clone, Default)]
pub struct MemoryKeyIndex {
    /// By source.
    sources: FxHashMap<u16, Entries>,
}

/// What is remembered of the keys of a source. Keys and entries lie in one buffer: a backfill remembers millions, and two allocations for each were a fifth of its time.
#[derive(Clone, Default)]
struct Entries {
    bytes: Vec<u8>,
    slots: HashTable<Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    key: (u64, u32),
    /// `None` where it was deleted.
    entry: Option<(u64, u32)>,
}

impl Entries {
    fn hash(key: &[u8]) -> u64 {
        xxh3_64(key)
    }

    fn of(&self, (start, len): (u64, u32)) -> &[u8] {
        &self.bytes[start as usize..start as usize + len as usize]
    }

    fn push(&mut self, bytes: &[u8]) -> (u64, u32) {
        let start = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        (start, bytes.len() as u32)
    }

    fn get(&self, key: &[u8]) -> Option<&Slot> {
        let hash = Entries::hash(key);
        self.slots.find(hash, |slot| slot.hash == hash && self.of(slot.key) == key)
    }

    fn put(&mut self, key: &[u8], entry: Option<&[u8]>) {
        let hash = Entries::hash(key);
        let entry = entry.map(|entry| self.push(entry));
        let Entries { bytes, slots } = self;
        let is_same = |slot: &Slot| slot.hash == hash && bytes[slot.key.0 as usize..][..slot.key.1 as usize] == *key;
        if let Some(slot) = slots.find_mut(hash, is_same) {
            slot.entry = entry;
            return;
        }
        let key = self.push(key);
        self.slots.insert_unique(hash, Slot { hash, key, entry }, |slot| slot.hash);
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.slots.iter().filter_map(|slot| Some((self.of(slot.key), self.of(slot.entry?))))
    }
}

impl fmt::Debug for MemoryKeyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.sources.keys().map(|&source| (source, self.of(source).collect::<BTreeMap<_, _>>()))).finish()
    }
}

impl PartialEq for MemoryKeyIndex {
    /// Whether the same is remembered of the same keys.
    fn eq(&self, other: &MemoryKeyIndex) -> bool {
        let all = |index: &MemoryKeyIndex| index.sources.keys().copied().collect::<Vec<u16>>();
        let within = |one: &MemoryKeyIndex, other: &MemoryKeyIndex| {
            all(one).into_iter().all(|source| one.of(source).all(|(key, entry)| other.get(source, key) == Some(entry)))
        };
        within(self, other) && within(other, self)
    }
}

impl Eq for MemoryKeyIndex {}

impl MemoryKeyIndex {
    /// An index that knows no key.
    pub fn new() -> Self {
        MemoryKeyIndex::default()
    }

    /// Applies writes, the later of two to one key last.
    pub fn apply(&mut self, writes: &[KeyWrite]) {
        for source_writes in writes.chunk_by(|a, b| a.source == b.source) {
            let Some(first) = source_writes.first() else { continue };
            let entries = self.sources.entry(first.source).or_default();
            source_writes.iter().for_each(|write| entries.put(&write.key, write.value.as_deref()));
        }
    }

    /// All keys and what is remembered of each, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.sources.values().flat_map(Entries::iter)
    }

    /// All keys of a source and what is remembered of each, in no order.
    pub fn of(&self, source: u16) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.sources.get(&source).into_iter().flat_map(Entries::iter)
    }

    /// What was written of a key: nothing, or that it is known or was deleted.
    fn written(&self, source: u16, key: &[u8]) -> Option<Option<&[u8]>> {
        let entries = self.sources.get(&source)?;
        entries.get(key).map(|slot| slot.entry.map(|entry| entries.of(entry)))
    }

    /// What is remembered of a key.
    pub fn get(&self, source: u16, key: &[u8]) -> Option<&[u8]> {
        self.written(source, key).flatten()
    }

    /// How many keys of a source are known.
    pub fn len(&self, source: u16) -> usize {
        self.of(source).count()
    }

    /// Whether no key of any source is known.
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }
}

impl Extend<KeyWrite> for MemoryKeyIndex {
    /// As [`MemoryKeyIndex::apply`].
    fn extend<T: IntoIterator<Item = KeyWrite>>(&mut self, writes: T) {
        writes.into_iter().for_each(|write| self.apply(std::slice::from_ref(&write)));
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
