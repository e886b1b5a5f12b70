//! What is stored of an entity: its head, the pages and the leaves of its time tree. Encodings and views over them.
//!
//! ```text
//! head   version ‖ HEAD ‖ rows            the newest arrivals, not yet in the tree (at most `buffer_rows_max`)
//! leaf   version ‖ LEAF ‖ count ‖ tiled runs ‖ (first time ‖ lengths)* ‖ (tile ‖ rows)*     at most `leaf_rows_max` events, in runs of a sixteenth of that
//! page   version ‖ PAGE ‖ prefix ‖ bitmap ‖ lengths ‖ tiles  up to 16 children, one per next half-byte of the order key
//! rows   count ‖ (order key ‖ known interval ‖ arguments)*   ascending by order key
//! tile   live ‖ rows ‖ known_max ‖ newest ‖ state per measure
//! ```
//!
//! A tile sums up everything below one child of a page, or in one run of a leaf, so that a frame which contains it reads nothing of
//! it. A leaf of one run has no tile: that of its page says the same.

use lockstep_model::codec::{CodecError, Reader, put_bytes, put_signed, put_varint};

use smallvec::SmallVec;

use super::order::{self, BRANCHING_NIBBLES, Path};

/// Version of these layouts, first byte of every value.
pub const VERSION: u8 = 2;
const HEAD: u8 = 0;
const LEAF: u8 = 1;
const PAGE: u8 = 2;
/// Children of a page: one for each half-byte.
pub const FANOUT: usize = 16;

/// One event of an entity, as the row stage left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Its order key.
    pub key: &'a [u8],
    /// From when it was known; `i64::MIN` where knowledge time is not declared.
    pub known_from: i64,
    /// Until when it was what was known; `i64::MAX` for the winner.
    pub known_until: i64,
    /// The view's stored arguments, by the row codec.
    pub args: &'a [u8],
}

impl Row<'_> {
    /// Whether it is the winner of its primary key.
    pub fn is_live(&self) -> bool {
        self.known_until == i64::MAX
    }

    /// The last moment at which what is known of this row changed.
    fn known_max(&self) -> i64 {
        if self.is_live() { self.known_from } else { self.known_from.max(self.known_until) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.key);
        // Most rows have neither end: one byte for both.
        let (from, until) = (self.known_from != i64::MIN, self.known_until != i64::MAX);
        out.push(u8::from(from) | u8::from(until) << 1);
        if from {
            put_signed(out, self.known_from);
        }
        if until {
            put_signed(out, self.known_until);
        }
        put_bytes(out, self.args);
    }

    fn decode<'a>(reader: &mut Reader<'a>) -> Result<Row<'a>, CodecError> {
        let key = reader.bytes()?;
        let ends = reader.byte()?;
        if ends > 3 {
            return Err(CodecError::new("an event with neither end of a known interval"));
        }
        let known_from = if ends & 1 == 0 { i64::MIN } else { reader.signed()? };
        let known_until = if ends & 2 == 0 { i64::MAX } else { reader.signed()? };
        Ok(Row { key, known_from, known_until, args: reader.bytes()? })
    }
}

/// A node of the tree, or a head, as read.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for the time of one visit")]
pub enum Node<'a> {
    /// Events.
    Leaf(Leaf<'a>),
    /// Tiles of up to 16 children.
    Page(Page<'a>),
}

/// A leaf as read: where its runs are, before any event is looked at.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// How many events there are, as it says itself.
    pub count: usize,
    /// Its runs, ascending.
    pub runs: SmallVec<[Run<'a>; FANOUT]>,
}

/// Some events of a leaf that follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Their encoded tile, where the leaf has more than one run, and the time of the first of them, µs.
    pub tile: Option<(i64, &'a [u8])>,
    rows: &'a [u8],
}

/// Events being read, one after the other; ends after the first error.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    reader: Reader<'a>,
    left: usize,
    last: &'a [u8],
}

/// A page as read.
#[derive(Debug, Clone)]
pub struct Page<'a> {
    /// The half-bytes all order keys below it share.
    pub prefix: &'a [u8],
    /// How many half-bytes of `prefix` count.
    pub nibbles: usize,
    /// The encoded tile of each child.
    pub tiles: [Option<&'a [u8]>; FANOUT],
}

impl Page<'_> {
    /// Where the child in `slot` lies.
    pub fn child(&self, slot: usize) -> Path {
        Path::of(self.prefix, self.nibbles).child(slot)
    }
}

impl<'a> Leaf<'a> {
    /// Whether it belongs at a path. Rows ascend, so what the first and the last run share with the path, all share.
    fn lies_below(&self, path: &Path) -> Result<bool, CodecError> {
        let (low, high) = path.time_bounds();
        for run in [self.runs.first(), self.runs.last()].into_iter().flatten() {
            let lies_below = match run.tile {
                // Without a look at the event.
                Some((first, _)) if path.nibbles() <= 2 * order::TIME_LEN => low <= first && first <= high,
                _ => path.holds(run.first_key()?),
            };
            if !lies_below {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The events of each run, all of them held to their order and number.
    pub fn decode(&self) -> Result<Vec<Vec<Row<'a>>>, CodecError> {
        let runs = self.runs.iter().map(|run| run.rows()?.collect()).collect::<Result<Vec<Vec<Row<'_>>>, _>>()?;
        if runs.iter().map(Vec::len).sum::<usize>() != self.count {
            return Err(CodecError::new("a leaf of another number of events"));
        }
        let starts = self.runs.iter().zip(&runs).all(|(run, rows)| match (run.tile, rows.first()) {
            (Some((first, _)), Some(row)) => order::time_of(row.key) == first,
            (tile, row) => tile.is_none() && (row.is_some() || self.runs.len() == 1),
        });
        if !starts || !runs.iter().flatten().is_sorted_by(|a, b| a.key < b.key) {
            return Err(CodecError::new("events out of order"));
        }
        Ok(runs)
    }
}

impl<'a> Run<'a> {
    /// Its events.
    pub fn rows(&self) -> Result<Rows<'a>, CodecError> {
        Rows::new(Reader::new(self.rows))
    }

    /// The order key of its first event.
    fn first_key(&self) -> Result<&'a [u8], CodecError> {
        let mut reader = Reader::new(self.rows);
        reader.varint()?;
        reader.bytes()
    }
}

impl<'a> Rows<'a> {
    fn new(mut reader: Reader<'a>) -> Result<Self, CodecError> {
        let left = reader.length()?;
        Ok(Rows { reader, left, last: &[] })
    }

    fn read(&mut self) -> Result<Row<'a>, CodecError> {
        let row = Row::decode(&mut self.reader)?;
        if self.last >= row.key {
            return Err(CodecError::new("events out of order"));
        }
        if self.left == 0 {
            close(&self.reader)?;
        }
        self.last = row.key;
        Ok(row)
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let row = self.read();
        if row.is_err() {
            self.left = 0;
        }
        Some(row)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// How many events a head or node holds itself: none of a page.
pub fn rows_in(bytes: &[u8]) -> Result<u64, CodecError> {
    let mut reader = open(bytes)?;
    match reader.byte()? {
        HEAD | LEAF => reader.varint(),
        PAGE => Ok(0),
        _ => Err(CodecError::new("not a node")),
    }
}

/// The buffered rows of an entity's head.
pub fn head_rows(bytes: &[u8]) -> Result<Rows<'_>, CodecError> {
    let mut reader = open(bytes)?;
    match reader.byte()? {
        HEAD => {
            let rows = Rows::new(reader)?;
            if rows.left == 0 {
                close(&rows.reader)?;
            }
            Ok(rows)
        }
        _ => Err(CodecError::new("not a head")),
    }
}

/// Decodes an entity's head into its buffered rows.
pub fn decode_head(bytes: &[u8]) -> Result<Vec<Row<'_>>, CodecError> {
    head_rows(bytes)?.collect()
}

/// Decodes the node that was found at `path`. Whatever the bytes are, a walk from pages to children comes to an end.
pub fn decode_node<'a>(path: &Path, bytes: &'a [u8]) -> Result<Node<'a>, CodecError> {
    let mut reader = open(bytes)?;
    let (node, lies_below) = match reader.byte()? {
        LEAF => {
            let leaf = decode_leaf(&mut reader)?;
            let lies_below = leaf.lies_below(path)?;
            (Node::Leaf(leaf), lies_below)
        }
        PAGE => {
            let page = decode_page(&mut reader)?;
            let lies_below = page.nibbles >= path.nibbles() && path.holds(page.prefix);
            (Node::Page(page), lies_below)
        }
        _ => return Err(CodecError::new("not a node")),
    };
    if lies_below { Ok(node) } else { Err(CodecError::new("a node of another place")) }
}

fn open(bytes: &[u8]) -> Result<Reader<'_>, CodecError> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        VERSION => Ok(reader),
        _ => Err(CodecError::new("state of an unknown version")),
    }
}

fn decode_leaf<'a>(reader: &mut Reader<'a>) -> Result<Leaf<'a>, CodecError> {
    let (count, tiled) = (reader.length()?, reader.length()?);
    if tiled == 0 {
        let run = Run { tile: None, rows: reader.rest() };
        return Ok(Leaf { count, runs: SmallVec::from_slice(&[run]) });
    }
    // Next to each other, so that runs which are of no interest are not touched.
    let mut starts = Reader::new(reader.take(tiled.saturating_mul(START_LEN))?);
    let mut runs = SmallVec::with_capacity(tiled);
    for _ in 0..tiled {
        let first = i64::from_le_bytes(starts.array()?);
        let (tile, rows) = (length(&mut starts)?, length(&mut starts)?);
        runs.push(Run { tile: Some((first, reader.take(tile)?)), rows: reader.take(rows)? });
    }
    close(reader)?;
    Ok(Leaf { count, runs })
}

/// Bytes of a time and two lengths.
const START_LEN: usize = 16;

fn length(reader: &mut Reader<'_>) -> Result<usize, CodecError> {
    Ok(u32::from_le_bytes(reader.array()?) as usize)
}

fn close(reader: &Reader<'_>) -> Result<(), CodecError> {
    if reader.is_empty() { Ok(()) } else { Err(CodecError::new("bytes after the end of a node")) }
}

fn decode_page<'a>(reader: &mut Reader<'a>) -> Result<Page<'a>, CodecError> {
    let nibbles = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    if nibbles >= BRANCHING_NIBBLES {
        return Err(CodecError::new("a page too deep"));
    }
    let prefix = reader.take(nibbles.div_ceil(2))?;
    let bitmap = u16::from_le_bytes(reader.array()?);
    let mut lengths = [0usize; FANOUT];
    for (slot, length) in lengths.iter_mut().enumerate() {
        if bitmap & (1 << slot) != 0 {
            *length = self::length(reader)?;
        }
    }
    let mut tiles = [None; FANOUT];
    for (slot, tile) in tiles.iter_mut().enumerate() {
        if bitmap & (1 << slot) != 0 {
            *tile = Some(reader.take(lengths[slot])?);
        }
    }
    close(reader)?;
    Ok(Page { prefix, nibbles, tiles })
}

/// Encodes a head; `rows` ascend by order key.
pub fn encode_head(rows: &[Row<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows_size(rows) + 2);
    out.extend_from_slice(&[VERSION, HEAD]);
    put_rows(&mut out, rows);
    out
}

/// Encodes a leaf from its runs, which ascend by order key, each with its tile. A single run is stored without.
pub fn encode_leaf<'a>(runs: impl Iterator<Item = (&'a [Row<'a>], &'a [u8])> + Clone) -> Vec<u8> {
    let (mut bytes, mut count, mut tiled) = (0, 0, 0);
    for (rows, tile) in runs.clone() {
        bytes += rows_size(rows) + tile.len() + START_LEN;
        count += rows.len();
        tiled += 1;
    }
    if tiled == 1 {
        tiled = 0;
    }
    let mut out = Vec::with_capacity(bytes + 8);
    out.extend_from_slice(&[VERSION, LEAF]);
    put_varint(&mut out, count as u64);
    put_varint(&mut out, tiled as u64);
    let mut starts = out.len();
    out.resize(starts + START_LEN * tiled, 0);
    for (rows, tile) in runs {
        let start = out.len();
        if tiled > 0 {
            out.extend_from_slice(tile);
        }
        put_rows(&mut out, rows);
        if tiled > 0 {
            let rows_len = out.len() - start - tile.len();
            let first = rows.first().map_or(i64::MAX, |row| order::time_of(row.key));
            out[starts..][..8].copy_from_slice(&first.to_le_bytes());
            out[starts + 8..][..4].copy_from_slice(&(tile.len() as u32).to_le_bytes());
            out[starts + 12..][..4].copy_from_slice(&(rows_len as u32).to_le_bytes());
            starts += START_LEN;
        }
    }
    out
}

fn rows_size(rows: &[Row<'_>]) -> usize {
    rows.iter().map(|row| row.key.len() + row.args.len() + 6).sum::<usize>() + 4
}

fn put_rows(out: &mut Vec<u8>, rows: &[Row<'_>]) {
    put_varint(out, rows.len() as u64);
    rows.iter().for_each(|row| row.encode(out));
}

/// Encodes a page, whose keys share `shared`, from the tiles of its children.
pub fn encode_page(shared: &Path, tiles: &[Option<&[u8]>; FANOUT]) -> Vec<u8> {
    let bytes: usize = tiles.iter().flatten().map(|tile| tile.len() + 4).sum();
    let mut out = Vec::with_capacity(bytes + shared.prefix().len() + 8);
    out.extend_from_slice(&[VERSION, PAGE]);
    put_varint(&mut out, shared.nibbles() as u64);
    out.extend_from_slice(shared.prefix());
    let bitmap = tiles.iter().enumerate().fold(0u16, |bits, (slot, tile)| bits | u16::from(tile.is_some()) << slot);
    out.extend_from_slice(&bitmap.to_le_bytes());
    for tile in tiles.iter().flatten() {
        out.extend_from_slice(&(tile.len() as u32).to_le_bytes());
    }
    tiles.iter().flatten().for_each(|tile| out.extend_from_slice(tile));
    out
}

/// What a tile says besides its states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileMeta {
    /// Events that are winners: what the states are made of.
    pub live: u64,
    /// All events below, superseded ones included.
    pub rows: u64,
    /// The last moment at which what is known of any event below changed: the tile stands for every moment from then on.
    pub known_max: i64,
    /// Newest event time of the winners; without meaning where there is none.
    pub newest: i64,
}

impl TileMeta {
    /// Of no events.
    pub const EMPTY: TileMeta = TileMeta { live: 0, rows: 0, known_max: i64::MIN, newest: i64::MIN };

    /// Adds one event.
    pub fn add(&mut self, row: &Row<'_>) {
        self.rows += 1;
        self.known_max = self.known_max.max(row.known_max());
        if row.is_live() {
            self.live += 1;
            self.newest = self.newest.max(order::time_of(row.key));
        }
    }

    /// Adds another tile's events.
    pub fn merge(&mut self, other: &TileMeta) {
        // Saturating, since the bytes may say anything.
        self.live = self.live.saturating_add(other.live);
        self.rows = self.rows.saturating_add(other.rows);
        self.known_max = self.known_max.max(other.known_max);
        self.newest = self.newest.max(other.newest);
    }

    /// Starts a tile's encoding; its states follow, each with [`put_bytes`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.live);
        put_varint(out, self.rows);
        put_signed(out, self.known_max);
        put_signed(out, self.newest);
    }

    /// Reads a tile's start; the reader then stands before the states.
    pub fn decode(reader: &mut Reader<'_>) -> Result<TileMeta, CodecError> {
        Ok(TileMeta { live: reader.varint()?, rows: reader.varint()?, known_max: reader.signed()?, newest: reader.signed()? })
    }
}

#[cfg(test)]
mod tests;
