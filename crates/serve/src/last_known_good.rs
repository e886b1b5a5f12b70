//! The features of entities as they were read last, for when the store does not answer.
//!
//! What is kept is the features of a view, not the outputs of a service, whose expressions may be over what a request says: those are computed anew from what is
//! kept. Memory is bounded by halves: entities are put into the young half, and once that is full it becomes the old one, whose entities go with the next turn
//! unless they were read again. That is nearly the order in which they were read last, at the cost of a lookup in a hash table.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arrow::row::{RowConverter, SortField};
use lockstep_model::{Error, Generation, Status, TimeMode};
use lockstep_transform::tiles::{ReadStats, Request};
use lockstep_transform::transformation::{Features, Transformation};

/// Parts of the table, each behind a lock of its own.
const SHARDS: usize = 16;
/// What is known of an entity is not written anew before it is so old, µs: a hot entity costs a look into the table, and no more.
const KEPT_ANEW_AFTER: i64 = 1_000_000;
/// What an entry takes beside its bytes: two pointers with lengths, two moments, the table's own.
const ENTRY_BYTES: usize = 96;

/// How much is kept, and for how long it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Most bytes.
    pub memory_bytes: usize,
    /// How old what is answered may be, µs.
    pub age_micros: i64,
}

/// What was read last.
pub struct LastKnownGood {
    keep: Keep,
    hashes: RandomState,
    shards: Vec<Mutex<Shard>>,
    /// How the features of a generation's view become bytes and columns again; `None` where they cannot.
    rows: RwLock<HashMap<Generation, Option<Arc<RowConverter>>>>,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Box<[u8]>, Known>,
    old: HashMap<Box<[u8]>, Known>,
    /// Of the young.
    bytes: usize,
    old_bytes: usize,
}

/// The features of one entity.
struct Known {
    read_at: i64,
    newest: Option<i64>,
    /// A status for each feature, and then their values as a row.
    bytes: Box<[u8]>,
}

/// What is kept now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Entities, each once per view.
    pub entities: usize,
    /// Bytes that they take, about.
    pub bytes: usize,
}

/// A view whose features are read or recalled.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    /// The view.
    pub view: &'a Transformation,
    /// Its state.
    pub generation: Generation,
    /// The clock that counts.
    pub time: TimeMode,
}

impl std::fmt::Debug for LastKnownGood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LastKnownGood").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl LastKnownGood {
    /// Of which nothing is known yet.
    pub fn new(keep: Keep) -> LastKnownGood {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        LastKnownGood { keep, hashes: RandomState::new(), shards, rows: RwLock::default() }
    }

    /// How much is kept.
    pub fn kept(&self) -> Kept {
        self.shards.iter().map(|shard| lock(shard)).fold(Kept::default(), |kept, shard| Kept {
            entities: kept.entities + shard.young.len() + shard.old.len(),
            bytes: kept.bytes + shard.bytes + shard.old_bytes,
        })
    }

    /// Keeps what was read, each entity at its moment.
    ///
    /// # Errors
    /// Internal where features are not of the types that the view declares.
    pub fn remember(&self, of: Of<'_>, requests: &[Request<'_>], features: &Features) -> Result<(), Error> {
        let mut anew = requests.iter().enumerate().filter(|(_, request)| self.is_to_be_kept(of, request)).peekable();
        if anew.peek().is_none() {
            return Ok(());
        }
        let Some(rows) = self.rows_of(of) else { return Ok(()) };
        let values = rows.convert_columns(&features.columns).map_err(|error| Error::internal("features as declared").caused_by(error))?;
        for (row, request) in anew {
            let statuses = features.statuses.iter().map(|statuses| statuses[row] as u8);
            let bytes = statuses.chain(values.row(row).as_ref().iter().copied()).collect();
            let known = Known { read_at: request.at, newest: features.newest[row], bytes };
            let key = key(of, request.entity);
            self.shard(&key).put(key.into(), known, self.keep.memory_bytes / SHARDS / 2);
        }
        Ok(())
    }

    /// What was last read of each entity, and when; `None` where nothing is known of one, or it is too old at its moment.
    ///
    /// # Errors
    /// Internal where what is kept is not what the view declares.
    pub fn recall(&self, of: Of<'_>, requests: &[Request<'_>]) -> Result<Option<(Features, Vec<i64>)>, Error> {
        let Some(rows) = self.rows_of(of) else { return Ok(None) };
        let count = of.view.features.fields().len();
        let mut statuses = vec![Vec::with_capacity(requests.len()); count];
        let (mut newest, mut read_at, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for request in requests {
            let key = key(of, request.entity);
            let shard = self.shard(&key);
            let Some(known) = shard.get(&key).filter(|known| request.at.saturating_sub(known.read_at) <= self.keep.age_micros) else {
                return Ok(None);
            };
            let (said, row) = known.bytes.split_at(count);
            statuses.iter_mut().zip(said).for_each(|(statuses, said)| statuses.push(status(*said)));
            newest.push(known.newest);
            read_at.push(known.read_at);
            values.push(row.to_vec());
        }
        let parser = rows.parser();
        let columns = rows.convert_rows(values.iter().map(|row| parser.parse(row)));
        let columns = columns.map_err(|error| Error::internal("features as they were kept").caused_by(error))?;
        let features = Features { columns, statuses, newest, stats: ReadStats::default() };
        Ok(Some((of.view.say_later(features, requests)?, read_at)))
    }

    fn is_to_be_kept(&self, of: Of<'_>, request: &Request<'_>) -> bool {
        let key = key(of, request.entity);
        // What is in the old half is put into the young one, so that what is read stays.
        self.shard(&key).young.get(&*key).is_none_or(|known| known.read_at.saturating_add(KEPT_ANEW_AFTER) <= request.at)
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hashes.hash_one(key) as usize % SHARDS])
    }

    fn rows_of(&self, of: Of<'_>) -> Option<Arc<RowConverter>> {
        if let Some(known) = self.rows.read().unwrap_or_else(PoisonError::into_inner).get(&of.generation) {
            return known.clone();
        }
        let fields = of.view.features.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let made = RowConverter::new(fields).ok().map(Arc::new);
        self.rows.write().unwrap_or_else(PoisonError::into_inner).insert(of.generation, made.clone());
        made
    }
}

impl Shard {
    fn get(&self, key: &[u8]) -> Option<&Known> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn put(&mut self, key: Box<[u8]>, known: Known, half_bytes: usize) {
        let bytes = key.len() + known.bytes.len() + ENTRY_BYTES;
        if bytes > half_bytes {
            return;
        }
        if self.bytes + bytes > half_bytes {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.bytes);
        }
        self.bytes += bytes;
        let length = key.len();
        if let Some(before) = self.old.remove(&key) {
            self.old_bytes -= length + before.bytes.len() + ENTRY_BYTES;
        }
        if let Some(before) = self.young.insert(key, known) {
            self.bytes -= length + before.bytes.len() + ENTRY_BYTES;
        }
    }
}

/// Nothing that holds a lock panics between two steps.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(of: Of<'_>, entity: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(5 + entity.len());
    key.extend_from_slice(&of.generation.0.to_be_bytes());
    key.push(of.time as u8);
    key.extend_from_slice(entity);
    key
}

fn status(byte: u8) -> Status {
    [Status::NotFound, Status::Expired, Status::Error, Status::Null, Status::Present][byte as usize]
}

#[cfg(test)]
mod tests;
