//! From admitted source rows to changes per entity: the row stage applied, order keys made, and everything brought into the store's key order.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use lockstep_model::Error;
use lockstep_model::codec::CodecError;
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

/// Changes of many entities of one view, in buckets by shard: whoever brings a bucket into order works in memory that fits a processor's cache, and buckets can be
/// worked on side by side. Sorting all changes of a backfill of millions at once spent most of its time waiting for memory.
#[derive(Debug)]
pub struct StagedChanges {
    buckets: Vec<Bucket>,
    /// How many bits of a shard are not the bucket's number.
    shift: u32,
    /// Rows that passed WHERE but whose entity key has a NULL or is too long.
    pub null_keys: i64,
    /// Expressions that failed for a row.
    pub failed: i64,
}

/// Pieces of bounded size: a buffer that doubles is copied as often, and leaves the pages of its former selves behind.
#[derive(Debug, Default)]
struct Bucket(Vec<Piece>);

#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// A piece that has reached as many bytes takes nothing more.
const PIECE_BYTES: usize = 1 << 16;

/// A change: its entity key, order key and arguments lie one after the other, and before them the ends of its known interval, where it has any.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    args_len: u32,
    entity_len: u16,
    /// Order keys are as long as [`lockstep_model::state::PRIMARY_KEY_LEN_MAX`] lets them be.
    key_len: u16,
    shard: u16,
    comes: bool,
    is_bounded: bool,
}

/// Bytes of an entry that is put aside.
const ENTRY_LEN: usize = 16;

impl Entry {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.args_len.to_le_bytes());
        out.extend_from_slice(&self.entity_len.to_le_bytes());
        out.extend_from_slice(&self.key_len.to_le_bytes());
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.comes), u8::from(self.is_bounded)]);
    }

    fn read(bytes: &[u8; ENTRY_LEN]) -> Entry {
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, comes, is_bounded] = bytes;
        Entry {
            start: u32::from_le_bytes([a, b, c, d]),
            args_len: u32::from_le_bytes([e, f, g, h]),
            entity_len: u16::from_le_bytes([i, j]),
            key_len: u16::from_le_bytes([k, l]),
            shard: u16::from_le_bytes([m, n]),
            comes: comes != 0,
            is_bounded: is_bounded != 0,
        }
    }

    /// Where it ends among the bytes of its piece.
    fn end(&self) -> usize {
        self.start as usize + usize::from(self.entity_len) + usize::from(self.key_len) + self.args_len as usize
    }
}

impl Piece {
    /// From when to when it was known.
    fn known(&self, entry: &Entry) -> (i64, i64) {
        if !entry.is_bounded {
            return (i64::MIN, i64::MAX);
        }
        let end = entry.start as usize;
        let time = |range: std::ops::Range<usize>| self.bytes[range].first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
        (time(end - 16..end - 8), time(end - 8..end))
    }

    fn entity(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize;
        &self.bytes[start..start + usize::from(entry.entity_len)]
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize + usize::from(entry.entity_len);
        &self.bytes[start..start + usize::from(entry.key_len)]
    }

    fn args(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize + usize::from(entry.entity_len) + usize::from(entry.key_len);
        &self.bytes[start..start + entry.args_len as usize]
    }
}

/// Where a change belongs in the store's key order, as far as fixed widths say it: sorting the changes of a backfill spent a quarter of its time in comparing them byte by byte,
/// each of them somewhere else in memory.
struct Place {
    /// Shard, length and first bytes of the entity key.
    entity: u128,
    /// The event time, with which an order key starts.
    time: i64,
    /// The piece, then the entry in it: the order in which changes were made.
    piece: u32,
    entry: u32,
}

/// Bytes of an entity key in a [`Place`].
const PLACE_ENTITY_LEN: usize = 12;

impl Place {
    fn of(piece: &Piece, entry: &Entry, (piece_number, entry_number): (usize, usize)) -> Place {
        let entity = piece.entity(entry);
        let mut start = [0; 16];
        start[..2].copy_from_slice(&entry.shard.to_be_bytes());
        start[2..4].copy_from_slice(&entry.entity_len.to_be_bytes());
        let short = entity.len().min(PLACE_ENTITY_LEN);
        start[4..4 + short].copy_from_slice(&entity[..short]);
        let time = order::time_of(piece.key(entry));
        Place { entity: u128::from_be_bytes(start), time, piece: piece_number as u32, entry: entry_number as u32 }
    }

    /// Whether all of the entity key is in it, and not only its start.
    fn has_whole_entity(&self) -> bool {
        ((self.entity >> 96) & 0xffff) as usize <= PLACE_ENTITY_LEN
    }
}

impl Default for StagedChanges {
    fn default() -> Self {
        StagedChanges::in_buckets(1)
    }
}

impl StagedChanges {
    /// None yet, to be brought into order in as many equal ranges of shards: a power of two, at most 65,536.
    pub fn in_buckets(buckets: u32) -> Self {
        let buckets = buckets.clamp(1, 1 << 16).next_power_of_two();
        StagedChanges { buckets: (0..buckets).map(|_| Bucket::default()).collect(), shift: 16 - buckets.trailing_zeros(), null_keys: 0, failed: 0 }
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.pieces().map(|piece| piece.entries.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pieces().all(|piece| piece.entries.is_empty())
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.buckets.iter().flat_map(|bucket| &bucket.0)
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
            let shard = shard_of(entity);
            let Piece { bytes, entries } = self.buckets[usize::from(shard) >> self.shift].open();
            let known = (changes.known_from[row], changes.known_until[row]);
            let is_bounded = known != (i64::MIN, i64::MAX);
            if is_bounded {
                bytes.extend_from_slice(&known.0.to_le_bytes());
                bytes.extend_from_slice(&known.1.to_le_bytes());
            }
            let start = bytes.len();
            bytes.extend_from_slice(entity);
            let key = bytes.len();
            order::write(bytes, times.value(row), branch as u8, primary_key, version);
            let args = bytes.len();
            let comes = changes.sign[row];
            if comes {
                encoder.write(at, bytes);
            }
            let too_long = |_| Error::data("an event is too long: an order key takes at most 65,535 bytes, and arguments 4 GiB");
            entries.push(Entry {
                // The piece was open, and the entity key not too long.
                start: start as u32,
                entity_len: entity.len() as u16,
                key_len: u16::try_from(args - key).map_err(|_| too_long(()))?,
                args_len: u32::try_from(bytes.len() - args).map_err(|_| too_long(()))?,
                shard,
                comes,
                is_bounded,
            });
        }
        Ok(())
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        self.pieces().map(|piece| piece.bytes.len() + piece.entries.len() * size_of::<Entry>()).sum()
    }

    /// Bytes held of a bucket, about.
    pub fn bucket_size(&self, bucket: usize) -> usize {
        self.buckets[bucket].0.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// The changes of each entity, in the order of its state keys. What happens to one order key within the batch is settled here: the last change stands.
    pub fn by_entity(&self) -> Vec<EntityChanges<'_>> {
        (0..self.buckets.len()).flat_map(|bucket| StagedChanges::bucket_by_entity(&[self], bucket)).collect()
    }

    /// As [`Self::by_entity`], of one bucket of changes that were staged side by side, in buckets of one size: those of one order key all in one place.
    pub fn bucket_by_entity<'a>(all: &[&'a StagedChanges], bucket: usize) -> Vec<EntityChanges<'a>> {
        let mut by_entity = Vec::new();
        let keep = |changes: &mut EntityChanges<'a>| {
            by_entity.push(std::mem::take(changes));
            Ok(())
        };
        // Keeping them does not fail.
        let _ = StagedChanges::each_entity(all, bucket, keep);
        by_entity
    }

    /// As [`Self::bucket_by_entity`], one after the other, in memory that is used again.
    ///
    /// # Errors
    /// As `visit` does.
    pub fn each_entity<'a>(
        all: &[&'a StagedChanges],
        bucket: usize,
        mut visit: impl FnMut(&mut EntityChanges<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let pieces: Vec<&Piece> = all.iter().flat_map(|staged| &staged.buckets[bucket].0).collect();
        let mut places = Vec::with_capacity(pieces.iter().map(|piece| piece.entries.len()).sum());
        for (number, piece) in pieces.iter().enumerate() {
            places.extend(piece.entries.iter().enumerate().map(|(at, entry)| Place::of(piece, entry, (number, at))));
        }
        let pieces = Pieces(pieces);
        // The order in which they were made decides last, so that changes to one order key keep it.
        places.sort_unstable_by(|a, b| pieces.compare(a, b).then_with(|| (a.piece, a.entry).cmp(&(b.piece, b.entry))));
        let mut changes = EntityChanges::default();
        for places in places.chunk_by(|a, b| pieces.compare_entities(a, b) == Ordering::Equal) {
            pieces.entity_changes(places, &mut changes);
            visit(&mut changes)?;
        }
        Ok(())
    }

    /// Takes all changes out, in pieces of bytes that [`Self::put_piece`] takes in again, each with its bucket.
    ///
    /// # Errors
    /// As `write` does.
    pub fn take_pieces<E>(&mut self, mut write: impl FnMut(usize, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut bytes = Vec::new();
        for (number, Bucket(pieces)) in self.buckets.iter_mut().enumerate() {
            for piece in std::mem::take(pieces) {
                bytes.clear();
                bytes.extend_from_slice(&(piece.entries.len() as u32).to_le_bytes());
                piece.entries.iter().for_each(|entry| entry.write(&mut bytes));
                bytes.extend_from_slice(&piece.bytes);
                if !piece.entries.is_empty() {
                    write(number, &bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Puts a piece behind the others of its bucket: the bytes are those that it was taken out in.
    ///
    /// # Errors
    /// Where they are others.
    pub fn put_piece(&mut self, bucket: usize, bytes: &[u8]) -> Result<(), CodecError> {
        let torn = || CodecError::new("changes that were put aside are torn");
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(torn)?;
        let count = u32::from_le_bytes(*count) as usize;
        let (entries, bytes) = rest.split_at_checked(count * ENTRY_LEN).ok_or_else(torn)?;
        let entries: Vec<Entry> = entries.as_chunks::<ENTRY_LEN>().0.iter().map(Entry::read).collect();
        if entries.iter().any(|entry| entry.end() > bytes.len() || (entry.is_bounded && entry.start < 16)) {
            return Err(torn());
        }
        self.buckets.get_mut(bucket).ok_or_else(torn)?.0.push(Piece { bytes: bytes.to_vec(), entries });
        Ok(())
    }

    /// Takes the changes of each bucket away, to be worked on by themselves; each is the only bucket of what is returned.
    pub fn into_buckets(self) -> Vec<StagedChanges> {
        self.buckets.into_iter().map(|bucket| StagedChanges { buckets: vec![bucket], shift: 16, null_keys: 0, failed: 0 }).collect()
    }

    /// Empties this and keeps some of the memory.
    pub fn clear(&mut self) {
        for Bucket(pieces) in &mut self.buckets {
            pieces.truncate(1);
            pieces.iter_mut().for_each(|piece| {
                piece.bytes.clear();
                piece.entries.clear();
            });
        }
        (self.null_keys, self.failed) = (0, 0);
    }
}

impl Bucket {
    /// The piece that takes the next change.
    fn open(&mut self) -> &mut Piece {
        let Bucket(pieces) = self;
        if pieces.last().is_none_or(|piece| piece.bytes.len() >= PIECE_BYTES) {
            // Most buckets of a small input see a few changes; of one that has filled a piece, more are to come.
            let room = if pieces.is_empty() { 0 } else { PIECE_BYTES + PIECE_BYTES / 16 };
            pieces.push(Piece { bytes: Vec::with_capacity(room), entries: Vec::with_capacity(pieces.last().map_or(0, |last| last.entries.len())) });
        }
        let last = pieces.len() - 1;
        &mut pieces[last]
    }
}

/// The pieces of one bucket.
struct Pieces<'a>(Vec<&'a Piece>);

impl<'a> Pieces<'a> {
    fn get(&self, place: &Place) -> (&'a Piece, &'a Entry) {
        let piece = self.0[place.piece as usize];
        (piece, &piece.entries[place.entry as usize])
    }

    fn entity(&self, place: &Place) -> &'a [u8] {
        let (piece, entry) = self.get(place);
        piece.entity(entry)
    }

    fn key(&self, place: &Place) -> &'a [u8] {
        let (piece, entry) = self.get(place);
        piece.key(entry)
    }

    fn compare_entities(&self, a: &Place, b: &Place) -> Ordering {
        let rest = || if a.has_whole_entity() { Ordering::Equal } else { self.entity(a).cmp(self.entity(b)) };
        a.entity.cmp(&b.entity).then_with(rest)
    }

    fn compare(&self, a: &Place, b: &Place) -> Ordering {
        self.compare_entities(a, b).then(a.time.cmp(&b.time)).then_with(|| self.key(a).cmp(self.key(b)))
    }

    /// The changes of one entity, in order.
    fn entity_changes(&self, places: &[Place], changes: &mut EntityChanges<'a>) {
        changes.entity = places.first().map_or(&[][..], |place| self.entity(place));
        changes.removes.clear();
        changes.upserts.clear();
        changes.upserts.reserve(places.len());
        for same_key in places.chunk_by(|a, b| a.time == b.time && self.key(a) == self.key(b)) {
            let Some(last) = same_key.last() else { continue };
            let (piece, entry) = self.get(last);
            let key = piece.key(entry);
            if same_key.iter().any(|place| !self.get(place).1.comes) {
                changes.removes.push(key);
            }
            if entry.comes {
                let (known_from, known_until) = piece.known(entry);
                changes.upserts.push(Row { key, known_from, known_until, args: piece.args(entry) });
            }
        }
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

#[cfg(test)]
mod tests;
