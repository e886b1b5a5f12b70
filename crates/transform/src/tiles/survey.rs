//! What an entity keeps: its whole tree, counted.

use std::collections::BTreeMap;

use lockstep_model::codec::{CodecError, Reader};
use lockstep_model::{Error, StateKey, StateRead};

use super::node::{self, Node, TileMeta};
use super::order::Path;

/// Keys and what is in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many keys.
    pub keys: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Events in them.
    pub rows: u64,
}

impl Extent {
    fn add(&mut self, bytes: &[u8], rows: u64) {
        self.keys += 1;
        self.bytes += bytes.len() as u64;
        self.rows += rows;
    }
}

/// Pages whose slots are of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Half-bytes of the order key that a slot stands for: it spans 2^(64 − 4 × nibbles) µs.
    pub nibbles: usize,
    /// How many pages.
    pub pages: u64,
    /// How many tiles in them.
    pub tiles: u64,
}

/// An entity's tree, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The head.
    pub head: Extent,
    /// Leaves.
    pub leaves: Extent,
    /// Pages.
    pub pages: Extent,
    /// The pages by the length of their slots, the longest first.
    pub levels: Vec<Level>,
}

/// Counts the tree of an entity. Reads all of it.
///
/// # Errors
/// Where state cannot be read or does not decode.
pub fn survey(state: &dyn StateRead, entity: &[u8]) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    read(state, &[StateKey::head(entity)], |_, bytes| {
        survey.head.add(bytes, node::rows_in(bytes)?);
        Ok(())
    })?;
    let mut levels: BTreeMap<usize, Level> = BTreeMap::new();
    let mut next = vec![Path::root()];
    while !next.is_empty() {
        let paths = std::mem::take(&mut next);
        let keys: Vec<StateKey> = paths.iter().map(|path| StateKey::node(entity, Some((path.nibbles(), path.prefix())))).collect();
        read(state, &keys, |i, bytes| {
            match node::decode_node(&paths[i], bytes)? {
                Node::Leaf(leaf) => survey.leaves.add(bytes, leaf.count as u64),
                Node::Page(page) => {
                    survey.pages.add(bytes, 0);
                    let nibbles = page.nibbles + 1;
                    let level = levels.entry(nibbles).or_insert(Level { nibbles, pages: 0, tiles: 0 });
                    level.pages += 1;
                    let children = (0..node::FANOUT).filter(|&slot| page.tiles[slot].is_some());
                    level.tiles += children.clone().count() as u64;
                    next.extend(children.map(|slot| page.child(slot)));
                }
            }
            Ok(())
        })?;
    }
    survey.levels = levels.into_values().collect();
    Ok(survey)
}

/// How many events an entity has, those that it has forgotten included, as its head and its root say: without reading its tree.
///
/// # Errors
/// Where state cannot be read or does not decode.
pub fn events(state: &dyn StateRead, entity: &[u8]) -> Result<u64, Error> {
    let root = Path::root();
    let mut all = 0u64;
    read(state, &[StateKey::head(entity), StateKey::node(entity, Some((root.nibbles(), root.prefix())))], |key, bytes| {
        let rows = match key {
            0 => node::rows_in(bytes)?,
            _ => match node::decode_node(&root, bytes)? {
                Node::Leaf(leaf) => leaf.count as u64,
                Node::Page(page) => {
                    let rows = |tile: &[u8]| TileMeta::decode(&mut Reader::new(tile)).map(|meta| meta.rows);
                    page.tiles.iter().flatten().map(|tile| rows(tile)).sum::<Result<u64, CodecError>>()?
                }
            },
        };
        all = all.saturating_add(rows);
        Ok(())
    })?;
    Ok(all)
}

fn read(state: &dyn StateRead, keys: &[StateKey], mut found: impl FnMut(usize, &[u8]) -> Result<(), CodecError>) -> Result<(), Error> {
    let mut failed = None;
    state.get_many(keys, &mut |i, bytes| {
        // What is not there has expired, or never was.
        if let (Some(bytes), None) = (bytes, &failed) {
            failed = found(i, bytes).err();
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
