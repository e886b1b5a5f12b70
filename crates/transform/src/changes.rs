//! From admitted source rows to changes per entity: the row stage applied, order keys made, and everything brought into the store's key order.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use lockstep_model::Error;
use lockstep_model::state::{ENTITY_KEY_LEN_MAX, shard_of};

use crate::tiles::node::Row;
use crate::tiles::{EntityChanges, order};
use crate::transformation::{Branch, Transformation};

/// Rows of a source that admission let through, and what became of earlier ones.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations)]
pub struct SourceChanges<'a> {
    /// Declared columns of the source.
    pub rows: &'a RecordBatch,
    /// Per row: whether it comes (true) or an earlier content goes (false).
    pub sign: &'a [bool],
    /// Per row: from when it was known, µs.
    pub known_from: &'a [i64],
    /// Per row: until when, µs; `i64::MAX` for a winner.
    pub known_until: &'a [i64],
    /// What follows the event time and branch in a row's order key: its primary key, and its version where the source has versions.
    pub suffix: &'a dyn Fn(usize) -> (&'a [u8], &'a [u8]),
}

/// Changes of many entities of one view, in one buffer.
#[derive(Debug, Default)]
pub struct StagedChanges {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Rows that passed WHERE but whose entity key has a NULL or is too long.
    pub null_keys: i64,
    /// Expressions that failed for a row.
    pub failed: i64,
}

#[derive(Debug, Clone)]
struct Entry {
    shard: u16,
    entity: Range<usize>,
    key: Range<usize>,
    args: Range<usize>,
    known_from: i64,
    known_until: i64,
    comes: bool,
}

/// Where a change belongs in the store's key order, as far as fixed widths say it: sorting the changes of a backfill spent a quarter of its time in comparing them byte by byte,
/// each of them somewhere else in memory.
struct Place {
    /// Shard, length and first bytes of the entity key.
    entity: u128,
    /// The event time, with which an order key starts.
    time: i64,
    number: u32,
}

/// Bytes of an entity key in a [`Place`].
const PLACE_ENTITY_LEN: usize = 12;

impl Place {
    /// Whether all of the entity key is in it, and not only its start.
    fn has_whole_entity(&self) -> bool {
        ((self.entity >> 96) & 0xffff) as usize <= PLACE_ENTITY_LEN
    }
}

impl StagedChanges {
    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Runs the row stage of one branch over changes of its source and adds what comes out.
    pub fn stage(&mut self, transformation: &Transformation, branch: usize, changes: SourceChanges<'_>) -> Result<(), Error> {
        let stage = &transformation.branches[branch];
        let staged = stage.stage(changes.rows)?;
        let gone = counts_of_gone(stage, &changes)?;
        self.null_keys += staged.null_keys as i64 - 2 * gone.0;
        self.failed += staged.failed as i64 - 2 * gone.1;
        let codec = &transformation.measures.codec;
        let encoder = codec.encoder(&staged.columns)?;
        let times: &ArrayRef = changes.rows.column(stage.event_time);
        let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| Error::internal("event time is not a timestamp in µs"))?;
        for (at, &row) in staged.rows.iter().enumerate() {
            let row = row as usize;
            let entity = staged.keys.get(at);
            if entity.len() > ENTITY_KEY_LEN_MAX || times.is_null(row) {
                self.null_keys += if changes.sign[row] { 1 } else { -1 };
                continue;
            }
            let (primary_key, version) = (changes.suffix)(row);
            let start = self.bytes.len();
            self.bytes.extend_from_slice(entity);
            let key = self.bytes.len();
            order::write(&mut self.bytes, times.value(row), branch as u8, primary_key, version);
            let args = self.bytes.len();
            let comes = changes.sign[row];
            if comes {
                encoder.write(at, &mut self.bytes);
            }
            self.entries.push(Entry {
                shard: shard_of(entity),
                entity: start..key,
                key: key..args,
                args: args..self.bytes.len(),
                known_from: changes.known_from[row],
                known_until: changes.known_until[row],
                comes,
            });
        }
        Ok(())
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Which changes fall into each of `parts` equal ranges of shards, so that the parts can be brought into order side by side.
    pub fn in_parts(&self, parts: u32) -> Vec<Vec<u32>> {
        let mut numbers = vec![Vec::with_capacity(self.entries.len() / parts.max(1) as usize); parts as usize];
        for (number, entry) in self.entries.iter().enumerate() {
            numbers[((u32::from(entry.shard) * parts) >> 16) as usize].push(number as u32);
        }
        numbers
    }

    /// As [`Self::by_entity`], of some changes, whose numbers ascend.
    pub fn by_entity_of(&self, numbers: &[u32]) -> Vec<EntityChanges<'_>> {
        let mut places: Vec<Place> = numbers.iter().map(|&number| self.place(number)).collect();
        // Numbers decide last, so that changes to one order key keep the order in which they were made.
        places.sort_unstable_by(|a, b| self.compare(a, b).then(a.number.cmp(&b.number)));
        let entries: Vec<&Entry> = places.iter().map(|place| &self.entries[place.number as usize]).collect();
        self.grouped(&entries)
    }

    fn place(&self, number: u32) -> Place {
        let entry = &self.entries[number as usize];
        let (entity, key) = (&self.bytes[entry.entity.clone()], &self.bytes[entry.key.clone()]);
        let mut start = [0; 16];
        start[..2].copy_from_slice(&entry.shard.to_be_bytes());
        // No longer than ENTITY_KEY_LEN_MAX.
        start[2..4].copy_from_slice(&(entity.len() as u16).to_be_bytes());
        let short = entity.len().min(PLACE_ENTITY_LEN);
        start[4..4 + short].copy_from_slice(&entity[..short]);
        Place { entity: u128::from_be_bytes(start), time: order::time_of(key), number }
    }

    fn compare(&self, a: &Place, b: &Place) -> std::cmp::Ordering {
        let entry = |place: &Place| &self.entries[place.number as usize];
        let entity = |place: &Place| &self.bytes[entry(place).entity.clone()];
        let key = |place: &Place| &self.bytes[entry(place).key.clone()];
        let by_entity = a.entity.cmp(&b.entity).then_with(|| if a.has_whole_entity() { Ordering::Equal } else { entity(a).cmp(entity(b)) });
        by_entity.then(a.time.cmp(&b.time)).then_with(|| key(a).cmp(key(b)))
    }

    fn grouped(&self, entries: &[&Entry]) -> Vec<EntityChanges<'_>> {
        let same_entity = |a: &&Entry, b: &&Entry| self.bytes[a.entity.clone()] == self.bytes[b.entity.clone()];
        entries.chunk_by(same_entity).map(|entries| entity_changes(&self.bytes, entries)).collect()
    }

    /// The changes of each entity, in the order of its state keys. What happens to one order key within the batch is settled here: the last change stands.
    pub fn by_entity(&self) -> Vec<EntityChanges<'_>> {
        self.by_entity_of(&(0..self.entries.len() as u32).collect::<Vec<_>>())
    }

    /// Empties this and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        (self.null_keys, self.failed) = (0, 0);
    }
}

/// Among the rows that go: those whose entity key has a NULL, and expressions that fail. They were counted when the rows came, and are so no longer: what is counted
/// follows from the rows there are, not from how often they changed between commits.
fn counts_of_gone(stage: &Branch, changes: &SourceChanges<'_>) -> Result<(i64, i64), Error> {
    if changes.sign.iter().all(|comes| *comes) {
        return Ok((0, 0));
    }
    let goes: BooleanArray = changes.sign.iter().map(|comes| Some(!comes)).collect();
    let rows = filter_record_batch(changes.rows, &goes).map_err(|error| Error::internal("a kernel refused rows of a source").caused_by(error))?;
    let staged = stage.stage(&rows)?;
    Ok((staged.null_keys as i64, staged.failed as i64))
}

fn entity_changes<'a>(bytes: &'a [u8], entries: &[&Entry]) -> EntityChanges<'a> {
    let entity = entries.first().map_or(&[][..], |entry| &bytes[entry.entity.clone()]);
    let mut changes = EntityChanges { entity, ..EntityChanges::default() };
    for same_key in entries.chunk_by(|a, b| bytes[a.key.clone()] == bytes[b.key.clone()]) {
        let Some(last) = same_key.last() else { continue };
        if same_key.iter().any(|entry| !entry.comes) {
            changes.removes.push(&bytes[last.key.clone()]);
        }
        if last.comes {
            changes.upserts.push(Row {
                key: &bytes[last.key.clone()],
                known_from: last.known_from,
                known_until: last.known_until,
                args: &bytes[last.args.clone()],
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests;
