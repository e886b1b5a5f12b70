//! Reading the store at one moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_model::{Error, Fingerprint, Generation, KeyIndex, PartitionId, Position, StateKey, StateRead, state};
use rocksdb::{ColumnFamily, DBRawIterator, ErrorKind, PrefixRange, ReadOptions, ReadTier, Snapshot};
use serde::de::DeserializeOwned;

use crate::book::{Book, BulkProgress, Entry};
use crate::database::{Database, Families};
use crate::expiry::Pin;
use crate::layout::{self, Tag};
use crate::outbox::{QueueRecord, ReachedRecord};
use crate::record::{self, PositionRecord};
use crate::release::Releases;
use crate::{Counters, CutRead, DeadLetter, Definitions, Epoch, GenerationInfo, Horizon, NotInMemory, Queue, Refusal, Release, Switch};

/// The whole store at one moment: a snapshot across all families. While it lives, nothing that it can read goes by expiry; keep
/// it for a request or a scan, not for longer, since what is superseded stays on the disk with it.
pub struct Cut<'a> {
    database: &'a Database,
    families: Families<'a>,
    reach: Reach,
    read: ReadOptions,
    snapshot: Arc<Snapshot<'a>>,
    /// Horizons that were read already: every lookup asks for those of its views. Uncontended, since a cut is for one request or a few.
    horizons: Arc<Mutex<Vec<(Generation, Horizon)>>>,
    /// Released after the snapshot.
    _pin: Arc<Pin>,
}

/// How far a cut goes for what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// To the disk.
    Disk,
    /// To what is in memory already.
    Memory,
}

impl Reach {
    fn options(self) -> ReadOptions {
        let mut read = ReadOptions::default();
        if self == Reach::Memory {
            read.set_read_tier(ReadTier::BlockCache);
        }
        read
    }
}

impl<'a> Cut<'a> {
    pub(crate) fn new(database: &'a Database) -> Self {
        let pin = database.expiry.pin();
        let snapshot = database.db.snapshot();
        Cut::reaching(Reach::Disk, database, Arc::new(snapshot), Arc::default(), Arc::new(pin))
    }

    fn reaching(
        reach: Reach,
        database: &'a Database,
        snapshot: Arc<Snapshot<'a>>,
        horizons: Arc<Mutex<Vec<(Generation, Horizon)>>>,
        pin: Arc<Pin>,
    ) -> Cut<'a> {
        let mut read = reach.options();
        read.set_snapshot(&snapshot);
        Cut { database, families: database.families(), reach, read, snapshot, horizons, _pin: pin }
    }

    /// The same moment, of which only what is in memory is read: it never waits for the disk, and fails as Unavailable, caused by [`NotInMemory`], where
    /// that would have to be asked.
    #[must_use]
    pub fn in_memory(&self) -> Cut<'a> {
        Cut::reaching(Reach::Memory, self.database, Arc::clone(&self.snapshot), Arc::clone(&self.horizons), Arc::clone(&self._pin))
    }

    /// The state of one generation, as the engine reads it.
    pub fn state(&self, generation: Generation) -> GenerationState<'_, Self> {
        GenerationState { cut: self, generation }
    }

    /// What the writer keeps in memory, as it is at this moment.
    pub(crate) fn book(&self) -> Result<Book, Error> {
        let epoch = self.record::<Epoch>("the epoch", &Tag::Epoch.alone())?.unwrap_or_default();
        let definitions = self.definitions()?.map_or(0, |latest| latest.version);
        let switch = self.last("a switch", Tag::Switch)?;
        let releases = Arc::new(Releases { made: self.releases()?, switch });
        let snapshots = self.record("the number of the last snapshot", &Tag::Snapshot.alone())?.unwrap_or_default();
        let mut book = Book { epoch, definitions, releases, snapshots, queues: self.queues()?, ..Book::default() };
        for info in self.records::<GenerationInfo>("a generation", &Tag::Generation.alone())? {
            let generation = info.generation;
            let rules = Arc::make_mut(&mut book.rules);
            match info.dropped_at {
                Some(_) => rules.drop_generation(generation),
                None => rules.expire_before(generation, self.horizon(generation)?),
            }
            book.generations.insert(generation, Arc::new(self.entry(info)?));
        }
        Ok(book)
    }

    fn entry(&self, info: GenerationInfo) -> Result<Entry, Error> {
        let generation = info.generation;
        let (horizon, counters) = (self.horizon(generation)?, self.counters(generation)?);
        Ok(Entry { horizon, counters, bulk: self.bulk_progress(generation)?, info })
    }

    fn bulk_progress(&self, generation: Generation) -> Result<Option<BulkProgress>, Error> {
        let Some(job) = self.record("a bulk load", &Tag::BulkJob.of(generation))? else { return Ok(None) };
        let mut done = Vec::new();
        self.scan(self.families.meta, &Tag::BulkPart.of(generation), |key, _| {
            done.extend(layout::part_of_bulk_key(key));
            Ok(())
        })?;
        Ok(Some(BulkProgress { job, done }))
    }

    /// Reads many keys of one family, which lie back to back in `bytes` and end at `ends`.
    fn get_many(&self, family: &ColumnFamily, keys: &PhysicalKeys, found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        if keys.ends.is_empty() {
            return Ok(());
        }
        // What a batched read sets up costs more than reading a single key does: a third of a level of a tree. And it is not to be had from memory alone: where the index of a file is
        // there and a block is not, RocksDB reads the block all the same, or says that it was read and gives an empty value (its MultiGet leaves the status as it was). A server's
        // benchmark met one of those within seconds.
        if keys.ends.len() == 1 || self.reach == Reach::Memory {
            for (i, key) in keys.iter().enumerate() {
                let value = self.database.db.get_pinned_cf_opt(family, key, &self.read);
                found(i, value.map_err(|error| self.unread("read state", error))?.as_deref());
            }
            return Ok(());
        }
        // RocksDB sorts pointers to the keys where they are not sorted yet; the values come back in the order asked for.
        let values = self.database.db.batched_multi_get_cf_opt(family, keys.iter(), keys.are_sorted(), &self.read);
        for (i, value) in values.into_iter().enumerate() {
            let value = value.map_err(|error| self.unread("read state", error))?;
            found(i, value.as_deref());
        }
        Ok(())
    }

    fn record<T: DeserializeOwned>(&self, what: &str, key: &[u8]) -> Result<Option<T>, Error> {
        let value = self.database.db.get_pinned_cf_opt(self.families.meta, key, &self.read);
        let value = value.map_err(|error| self.unread(&format!("read the record of {what}"), error))?;
        value.map(|bytes| record::decode(what, &bytes)).transpose()
    }

    fn records<T: DeserializeOwned>(&self, what: &str, prefix: &[u8]) -> Result<Vec<T>, Error> {
        let mut records = Vec::new();
        self.scan(self.families.meta, prefix, |_, value| {
            records.push(record::decode(what, value)?);
            Ok(())
        })?;
        Ok(records)
    }

    /// The last of the records with this tag.
    fn last<T: DeserializeOwned>(&self, what: &str, tag: Tag) -> Result<Option<T>, Error> {
        let mut rows = self.iterate(self.families.meta, &tag.alone());
        rows.seek_to_last();
        let last = rows.value().map(|bytes| record::decode(what, bytes)).transpose()?;
        self.check(&rows)?;
        Ok(last)
    }

    fn iterate(&self, family: &ColumnFamily, prefix: &[u8]) -> DBRawIterator<'_> {
        let mut read = self.reach.options();
        read.set_iterate_range(PrefixRange(prefix));
        // A scan must not push out of the cache what lookups need. The records about generations are few, and lookups need them.
        read.fill_cache(std::ptr::eq(family, self.families.meta));
        let mut rows = self.snapshot.raw_iterator_cf_opt(family, read);
        rows.seek_to_first();
        rows
    }

    fn scan(&self, family: &ColumnFamily, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut rows = self.iterate(family, prefix);
        while let Some((key, value)) = rows.item() {
            visit(key, value)?;
            rows.next();
        }
        self.check(&rows)
    }

    /// Visits entities with their heads, from the first or from behind `after`, for as long as `visit` says so.
    fn walk_entities(
        &self,
        generation: Generation,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut rows = self.iterate(self.families.state, &generation.0.to_be_bytes());
        if let Some(after) = after {
            let mut head = Vec::new();
            layout::state_key(&mut head, generation, StateKey::head(after).as_bytes());
            rows.seek(layout::after_prefix(&head));
        }
        while let Some((key, value)) = rows.item() {
            let head_len = match key.get(4..).and_then(state::entity_of) {
                Some(entity) => 8 + entity.len(),
                None => return Err(record::undecodable("an entity", "its key is too short")),
            };
            if key.len() == head_len && !visit(&key[8..], value)? {
                return Ok(());
            }
            let entity = key[..head_len].to_vec();
            skip_entity(&mut rows, &entity);
        }
        self.check(&rows)
    }

    /// An iterator that is at its end may be there because of a failure.
    fn check(&self, rows: &DBRawIterator<'_>) -> Result<(), Error> {
        rows.status().map_err(|error| self.unread("scan the store", error))
    }

    /// Explains why something was not read.
    fn unread(&self, doing: &str, error: rocksdb::Error) -> Error {
        if self.reach == Reach::Memory && error.kind() == ErrorKind::Incomplete {
            return NotInMemory.into();
        }
        self.database.explain(doing, error)
    }

    fn ledger<T>(&self, family: &ColumnFamily, generation: Generation, decode: fn(&[u8]) -> Result<T, Error>) -> Ledger<'_, T> {
        Ledger { cut: self, rows: self.iterate(family, &generation.0.to_be_bytes()), decode, failed: false }
    }
}

impl CutRead for Cut<'_> {
    fn get_state(&self, generation: Generation, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        let prefix = generation.0.to_be_bytes();
        let keys = PhysicalKeys::new(&prefix, keys.iter().map(StateKey::as_bytes));
        self.get_many(self.families.state, &keys, found)
    }

    fn get_keys(&self, generation: Generation, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        let mut prefix = Vec::with_capacity(6);
        layout::entry_key(&mut prefix, generation, source, b"");
        let keys = PhysicalKeys::new(&prefix, keys.iter().copied());
        self.get_many(self.families.keys, &keys, found)
    }

    fn positions(&self, generation: Generation) -> Result<Vec<(PartitionId, Position)>, Error> {
        let records = self.records::<PositionRecord>("a position", &Tag::Position.of(generation))?;
        Ok(records.into_iter().map(|PositionRecord { partition, position }| (partition, position)).collect())
    }

    fn counters(&self, generation: Generation) -> Result<BTreeMap<String, Counters>, Error> {
        let mut all = BTreeMap::new();
        self.scan(self.families.meta, &Tag::Counters.of(generation), |key, value| {
            let source = layout::source_of_counters_key(key).ok_or_else(|| record::undecodable("counters", "the source is not text"))?;
            all.insert(source.to_owned(), record::decode("counters", value)?);
            Ok(())
        })?;
        Ok(all)
    }

    fn horizon(&self, generation: Generation) -> Result<Horizon, Error> {
        let known = |horizons: &[(Generation, Horizon)]| horizons.iter().find(|(known, _)| *known == generation).map(|(_, horizon)| horizon.clone());
        let horizons = || self.horizons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(horizon) = known(&horizons()) {
            return Ok(horizon);
        }
        // Not under the lock: who reads what is in memory is not to wait for who reads the disk.
        let horizon: Horizon = self.record("a horizon", &Tag::Horizon.of(generation))?.unwrap_or_default();
        let mut horizons = horizons();
        if known(&horizons).is_none() {
            horizons.push((generation, horizon.clone()));
        }
        Ok(horizon)
    }

    fn generation(&self, generation: Generation) -> Result<GenerationInfo, Error> {
        let known = self.generations()?;
        let listed: Vec<String> = known.iter().map(|info| info.generation.0.to_string()).collect();
        known.into_iter().find(|info| info.generation == generation).ok_or_else(|| {
            let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
            Error::not_found(format!("the store has no generation {} · known: {listed} · `lockstep status` lists them", generation.0))
        })
    }

    fn generations(&self) -> Result<Vec<GenerationInfo>, Error> {
        let mut known = self.records::<GenerationInfo>("a generation", &Tag::Generation.alone())?;
        known.retain(|info| info.dropped_at.is_none());
        Ok(known)
    }

    fn version_for(&self, view: &str, meaning: Fingerprint, state: Fingerprint) -> Result<u32, Error> {
        let mut made = self.records::<GenerationInfo>("a generation", &Tag::Generation.alone())?;
        made.retain(|info| info.view == view);
        let same = made.iter().rfind(|info| info.meaning == meaning && info.state == state);
        Ok(same.map_or_else(|| made.iter().map(|info| info.version).max().unwrap_or(0).saturating_add(1), |info| info.version))
    }

    fn refusals(&self, generation: Generation) -> Box<dyn Iterator<Item = Result<Refusal, Error>> + '_> {
        Box::new(self.ledger(self.families.refusals, generation, |bytes| record::decode("a refusal", bytes)))
    }

    fn dead_letters(&self, generation: Generation) -> Box<dyn Iterator<Item = Result<DeadLetter, Error>> + '_> {
        Box::new(self.ledger(self.families.dead_letters, generation, record::decode_dead_letter))
    }

    fn dead_letters_from(
        &self,
        generation: Generation,
        partition: &PartitionId,
        row: u64,
    ) -> Box<dyn Iterator<Item = Result<DeadLetter, Error>> + '_> {
        let from = layout::ledger_key(generation, partition, row);
        let of_partition = &from[..from.len() - size_of::<u64>()];
        let mut rows = self.iterate(self.families.dead_letters, of_partition);
        rows.seek(&from);
        Box::new(Ledger { cut: self, rows, decode: record::decode_dead_letter, failed: false })
    }

    fn each_entity(&self, generation: Generation, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.walk_entities(generation, None, |entity, head| visit(entity, head).map(|()| true))
    }

    fn entities_after(&self, generation: Generation, entity: Option<&[u8]>, count: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut entities = Vec::with_capacity(count);
        if count > 0 {
            self.walk_entities(generation, entity, |entity, _| {
                entities.push(entity.to_vec());
                Ok(entities.len() < count)
            })?;
        }
        Ok(entities)
    }

    fn each_state(&self, generation: Generation, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.scan(self.families.state, &generation.0.to_be_bytes(), |key, value| visit(&key[4..], value))
    }

    fn each_key(&self, generation: Generation, visit: &mut dyn FnMut(u16, &[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.scan(self.families.keys, &generation.0.to_be_bytes(), |key, value| {
            let (source, primary_key) =
                layout::split_source(&key[4..]).ok_or_else(|| record::undecodable("a dedup entry", "its key is too short"))?;
            visit(source, primary_key, value)
        })
    }

    fn queues(&self) -> Result<BTreeMap<String, Queue>, Error> {
        let records = self.records::<QueueRecord>("a queue", &Tag::Queue.alone())?;
        Ok(records.into_iter().map(|QueueRecord { name, queue }| (name, queue)).collect())
    }

    fn reached(&self, queue: &str) -> Result<BTreeMap<PartitionId, u64>, Error> {
        let records = self.records::<ReachedRecord>("how far a queue has come", &layout::reached_key(queue, None))?;
        Ok(records.into_iter().map(|ReachedRecord { partition, row }| (partition, row)).collect())
    }

    fn each_outgoing(&self, queue: &str, visit: &mut dyn FnMut(u64, &[u8]) -> Result<bool, Error>) -> Result<(), Error> {
        let record = self.record::<QueueRecord>("a queue", &layout::queue_key(queue))?;
        let mut rows = self.iterate(self.families.outbox, &layout::outbox_prefix(queue));
        // What was taken is still there for a while, as keys to be passed.
        rows.seek(layout::outbox_key(queue, record.map_or(0, |record| record.queue.taken)));
        while let Some((key, value)) = rows.item() {
            let first = layout::row_of_outbox_key(key).ok_or_else(|| record::undecodable("rows that wait", "their key is too short"))?;
            if !visit(first, value)? {
                return Ok(());
            }
            rows.next();
        }
        self.check(&rows)
    }

    fn definitions(&self) -> Result<Option<Definitions>, Error> {
        self.last("the definitions", Tag::Definitions)
    }

    fn definitions_numbered(&self, number: u64) -> Result<Option<Definitions>, Error> {
        self.record("the definitions", &layout::definitions_key(number))
    }

    fn definitions_history(&self) -> Result<Vec<Definitions>, Error> {
        self.records("the definitions", &Tag::Definitions.alone())
    }

    fn releases(&self) -> Result<Vec<Release>, Error> {
        self.records("a release", &Tag::Release.alone())
    }

    fn switches(&self) -> Result<Vec<Switch>, Error> {
        self.records("a switch", &Tag::Switch.alone())
    }

    fn serving(&self) -> Result<Option<(Release, Switch)>, Error> {
        let Some(switch) = self.last::<Switch>("a switch", Tag::Switch)? else { return Ok(None) };
        let release = self.record::<Release>("a release", &layout::release_key(switch.release))?;
        let release = release.ok_or_else(|| record::undecodable("a switch", "the release that it names is not there"))?;
        Ok(Some((release, switch)))
    }
}

/// Moves to the first row past an entity, whose physical keys start with `entity`: by steps while that may be quick, then by a seek.
fn skip_entity(rows: &mut DBRawIterator<'_>, entity: &[u8]) {
    for _ in 0..16 {
        rows.next();
        if !rows.key().is_some_and(|key| key.starts_with(entity)) {
            return;
        }
    }
    rows.seek(layout::after_prefix(entity));
}

/// The state of one generation in a cut, and what is remembered of its primary keys.
pub struct GenerationState<'c, C: CutRead + ?Sized> {
    cut: &'c C,
    generation: Generation,
}

impl<'a> dyn CutRead + 'a {
    /// The state of one generation, as the engine reads it.
    pub fn state(&self, generation: Generation) -> GenerationState<'_, dyn CutRead + 'a> {
        GenerationState { cut: self, generation }
    }
}

impl<C: CutRead + ?Sized> StateRead for GenerationState<'_, C> {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.cut.get_state(self.generation, keys, found)
    }
}

impl<C: CutRead + ?Sized> KeyIndex for GenerationState<'_, C> {
    fn get_many(&self, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.cut.get_keys(self.generation, source, keys, found)
    }
}

/// Physical keys in one buffer.
struct PhysicalKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PhysicalKeys {
    fn new<'k>(prefix: &[u8], keys: impl ExactSizeIterator<Item = &'k [u8]> + Clone) -> Self {
        let size = keys.clone().map(|key| prefix.len() + key.len()).sum();
        let mut physical = PhysicalKeys { bytes: Vec::with_capacity(size), ends: Vec::with_capacity(keys.len()) };
        for key in keys {
            physical.bytes.extend_from_slice(prefix);
            physical.bytes.extend_from_slice(key);
            physical.ends.push(physical.bytes.len());
        }
        physical
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    fn are_sorted(&self) -> bool {
        self.iter().is_sorted()
    }
}

/// Rows of a ledger, decoded one by one. Ends after its first error.
struct Ledger<'c, T> {
    cut: &'c Cut<'c>,
    rows: DBRawIterator<'c>,
    decode: fn(&[u8]) -> Result<T, Error>,
    failed: bool,
}

impl<T> Iterator for Ledger<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = match self.rows.value() {
            Some(bytes) => (self.decode)(bytes),
            None => Err(self.cut.check(&self.rows).err()?),
        };
        self.failed = row.is_err();
        self.rows.next();
        Some(row)
    }
}
