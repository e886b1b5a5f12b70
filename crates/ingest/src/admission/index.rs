//! Where admission looks up what it remembers of a key.

use std::collections::BTreeMap;
use std::fmt;

use hashbrown::HashTable;
use lockstep_model::{Error, Generation, KeyIndex};
use lockstep_store::{CutRead, KeyWrite};
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

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
    sources: FxHashMap<u16, KeyTable>,
}

/// A key, and what is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry<'a> {
    /// The encoded primary key.
    pub key: &'a [u8],
    /// What is remembered.
    pub entry: &'a [u8],
    /// A hash of the key alone.
    pub hash: u64,
}

/// What is remembered of the keys of a source. Keys and entries lie in one buffer: a backfill remembers millions, and two allocations for each were a fifth of its time.
/// The table has nothing but numbers, so that it stays small, and whoever wants all keys goes through the records in the order of memory.
#[derive(Clone, Default)]
pub struct KeyTable {
    bytes: Vec<u8>,
    records: Vec<Record>,
    numbers: HashTable<u32>,
}

#[derive(Clone, Copy)]
struct Record {
    hash: u64,
    /// Where the key starts.
    start: u64,
    key_len: u32,
    /// Of the entry, which follows the key; `u32::MAX` where it was deleted.
    entry_len: u32,
}

impl Record {
    fn key<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start as usize..][..self.key_len as usize]
    }

    fn entry<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        (self.entry_len != u32::MAX).then(|| &bytes[self.start as usize + self.key_len as usize..][..self.entry_len as usize])
    }
}

impl KeyTable {
    fn get(&self, key: &[u8]) -> Option<&Record> {
        let hash = xxh3_64(key);
        let record = |number: &u32| &self.records[*number as usize];
        self.numbers.find(hash, |number| record(number).hash == hash && record(number).key(&self.bytes) == key).map(record)
    }

    fn put(&mut self, key: &[u8], entry: Option<&[u8]>) {
        let hash = xxh3_64(key);
        let KeyTable { bytes, records, numbers } = self;
        let is_same = |number: &u32| records[*number as usize].hash == hash && records[*number as usize].key(bytes) == key;
        let entry_len = entry.map_or(u32::MAX, |entry| entry.len() as u32);
        let known = numbers.find(hash, is_same).copied();
        // What was written before stays where it is: few keys are written twice.
        let record = Record { hash, start: bytes.len() as u64, key_len: key.len() as u32, entry_len };
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(entry.unwrap_or_default());
        match known {
            Some(number) => records[number as usize] = record,
            None => {
                let number = records.len() as u32;
                records.push(record);
                numbers.insert_unique(hash, number, |number| records[*number as usize].hash);
            }
        }
    }

    fn reserve(&mut self, keys: usize) {
        let KeyTable { bytes, records, numbers } = self;
        // What a key of a few columns takes without versions.
        bytes.reserve(40 * keys);
        records.reserve(keys);
        numbers.reserve(keys, |number| records[*number as usize].hash);
    }

    /// The keys that are known, in the order in which they were first written, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, KeyEntry<'_>)> {
        (0..self.records.len() as u32).filter_map(|number| Some((number, self.numbered(number)?)))
    }

    /// The key of a number, where it is known.
    pub fn numbered(&self, number: u32) -> Option<KeyEntry<'_>> {
        let record = self.records.get(number as usize)?;
        Some(KeyEntry { key: record.key(&self.bytes), entry: record.entry(&self.bytes)?, hash: record.hash })
    }

    /// How many keys were written, deleted ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable").field("keys", &self.records.len()).finish_non_exhaustive()
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

    /// Makes room for more keys of a source.
    pub fn reserve(&mut self, source: u16, keys: usize) {
        self.sources.entry(source).or_default().reserve(keys);
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        self.sources.values().map(|entries| entries.bytes.len() + entries.records.len() * (size_of::<Record>() + size_of::<u32>())).sum()
    }

    /// The keys of the one source of which any were written.
    pub fn only(&self) -> Option<&KeyTable> {
        self.sources.values().find(|table| !table.is_empty())
    }

    /// All keys of a source and what is remembered of each, in no order.
    pub fn of(&self, source: u16) -> impl Iterator<Item = (&[u8], &[u8])> {
        let table = self.sources.get(&source).into_iter();
        table.flat_map(|table| table.iter().map(|(_, KeyEntry { key, entry, .. })| (key, entry)))
    }

    /// What was written of a key: nothing, or that it is known or was deleted.
    fn written(&self, source: u16, key: &[u8]) -> Option<Option<&[u8]>> {
        let entries = self.sources.get(&source)?;
        entries.get(key).map(|record| record.entry(&entries.bytes))
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
        self.sources.keys().all(|&source| self.len(source) == 0)
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
