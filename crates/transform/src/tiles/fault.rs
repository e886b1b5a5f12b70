//! Damage done on purpose to a copy of a state: what `verify --self-test` has to notice.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use lockstep_model::codec::{CodecError, Reader, put_bytes};
use lockstep_model::{Error, StateKey, StateRead, StateWrite};

use super::audit;
use super::measure::Folder;
use super::node::{self, FANOUT, Leaf, Node, Page, TileMeta};
use super::order::{self, Path};
use super::{EntityChanges, Measures, Shape, apply};

/// What to damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The newest event is taken out, and every tile above it computed without it.
    Event,
    /// One tile counts what lies below it twice.
    Tile,
    /// The key that holds the newest events is gone.
    Key,
    /// The state of a float sum, mean or deviation in one tile is off by the least that its value shows.
    Ulp,
}

/// Writes that damage a state, and a moment at which it should show.
#[derive(Debug)]
pub struct Damaged {
    /// What to write.
    pub writes: Vec<StateWrite>,
    /// The moment, µs.
    pub at: i64,
}

/// Damages the state of one entity; `None` where it has nothing of the kind. A tile is chosen whose span is at most `reach`, so that a frame of that length holds it whole.
///
/// # Errors
/// Where the state cannot be read or is damaged already.
pub fn damage(measures: &Measures, state: &dyn StateRead, entity: &[u8], damage: Damage, reach: i64) -> Result<Option<Damaged>, Error> {
    match damage {
        Damage::Event => without_newest(measures, state, entity),
        Damage::Key => without_key(measures, state, entity),
        Damage::Tile | Damage::Ulp => {
            let mut tree = Tree { measures, state, entity, damage, reach };
            tree.node_at(&Path::root())
        }
    }
}

fn without_newest(measures: &Measures, state: &dyn StateRead, entity: &[u8]) -> Result<Option<Damaged>, Error> {
    let walked = audit::walk(measures, state, entity, i64::MIN)?;
    let Some(newest) = walked.rows.iter().rfind(|row| row.known.1 == i64::MAX) else { return Ok(None) };
    let mut changes = [EntityChanges { entity, removes: vec![&newest.key], upserts: Vec::new() }];
    let writes = apply(measures, Shape::default(), state, &mut changes)?;
    Ok(Some(Damaged { writes, at: order::time_of(&newest.key).max(newest.known.0) }))
}

fn without_key(measures: &Measures, state: &dyn StateRead, entity: &[u8]) -> Result<Option<Damaged>, Error> {
    let walked = audit::walk(measures, state, entity, i64::MIN)?;
    let Some(newest) = walked.rows.last() else { return Ok(None) };
    let head = StateKey::head(entity);
    let mut in_head = false;
    state.get_many(std::slice::from_ref(&head), &mut |_, bytes| {
        in_head = bytes.is_some_and(|bytes| node::decode_head(bytes).is_ok_and(|rows| !rows.is_empty()));
    })?;
    let key = if in_head { head } else { StateKey::node(entity, Some((0, &[]))) };
    Ok(Some(Damaged { writes: vec![StateWrite { key, value: None }], at: order::time_of(&newest.key).max(newest.known.0) }))
}

struct Tree<'a> {
    measures: &'a Measures,
    state: &'a dyn StateRead,
    entity: &'a [u8],
    damage: Damage,
    reach: i64,
}

impl Tree<'_> {
    /// Looks for a tile to damage in the node at `path` and below, the newest first.
    fn node_at(&mut self, path: &Path) -> Result<Option<Damaged>, Error> {
        let key = StateKey::node(self.entity, Some((path.nibbles(), path.prefix())));
        let mut bytes = None;
        self.state.get_many(std::slice::from_ref(&key), &mut |_, found| bytes = found.map(<[u8]>::to_vec))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match node::decode_node(path, &bytes)? {
            Node::Page(page) => self.page(key, &page),
            Node::Leaf(leaf) => Ok(self.leaf(key, &leaf)?),
        }
    }

    fn page(&mut self, key: StateKey, page: &Page<'_>) -> Result<Option<Damaged>, Error> {
        for slot in (0..FANOUT).rev() {
            let Some(tile) = page.tiles[slot] else { continue };
            let (first, last) = page.child(slot).time_bounds();
            if last.saturating_sub(first) > self.reach {
                if let Some(found) = self.node_at(&page.child(slot))? {
                    return Ok(Some(found));
                }
            } else if let Some((damaged, known_max)) = self.damaged(tile)? {
                let writes = vec![StateWrite { key, value: Some(with_tile(page, slot, &damaged)) }];
                return Ok(Some(Damaged { writes, at: last.max(known_max) }));
            }
        }
        Ok(None)
    }

    fn leaf(&mut self, key: StateKey, leaf: &Leaf<'_>) -> Result<Option<Damaged>, CodecError> {
        let runs = leaf.decode()?;
        for (at, rows) in runs.iter().enumerate().rev() {
            let (Some((first, tile)), Some(last)) = (leaf.runs[at].tile, rows.last()) else { continue };
            let last = order::time_of(last.key);
            if last.saturating_sub(first) > self.reach {
                continue;
            }
            if let Some((damaged, known_max)) = self.damaged(tile)? {
                let tiles = leaf.runs.iter().enumerate().map(|(i, run)| match run.tile {
                    Some((_, tile)) if i != at => tile,
                    _ => &damaged[..],
                });
                let value = node::encode_leaf(runs.iter().map(Vec::as_slice).zip(tiles));
                return Ok(Some(Damaged { writes: vec![StateWrite { key, value: Some(value) }], at: last.max(known_max) }));
            }
        }
        Ok(None)
    }

    /// The tile, damaged, and from when on it stands for all that lies below it.
    fn damaged(&self, tile: &[u8]) -> Result<Option<(Vec<u8>, i64)>, CodecError> {
        let mut reader = Reader::new(tile);
        let meta = TileMeta::decode(&mut reader)?;
        if meta.live == 0 {
            return Ok(None);
        }
        if self.damage == Damage::Tile {
            return Folder::new(self.measures).tile_of_tiles([tile, tile].into_iter()).map(|twice| Some((twice, meta.known_max)));
        }
        let states = self.measures.measures.iter().map(|_| reader.bytes()).collect::<Result<Vec<_>, _>>()?;
        let nudged = states.iter().enumerate().find_map(|(at, state)| Some((at, self.nudged(at, state)?)));
        let Some((at, nudged)) = nudged else { return Ok(None) };
        let mut out = Vec::with_capacity(tile.len());
        meta.encode(&mut out);
        states.iter().enumerate().for_each(|(i, state)| put_bytes(&mut out, if i == at { &nudged } else { state }));
        Ok(Some((out, meta.known_max)))
    }

    /// The state with one bit the other way, so chosen that it is a state still and that its value, a float, moves as little as can be seen.
    fn nudged(&self, measure: usize, state: &[u8]) -> Option<Vec<u8>> {
        let value = self.value(measure, state)?.1;
        let flips = (0..state.len() * 8).filter_map(|bit| {
            let mut flipped = state.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (encoded, moved) = self.value(measure, &flipped)?;
            let ulps = moved.to_bits().abs_diff(value.to_bits());
            (ulps > 0 && encoded == flipped).then_some((ulps, flipped))
        });
        flips.min_by_key(|(ulps, _)| *ulps).map(|(_, flipped)| flipped)
    }

    /// What a state is when it is written again, and its value where that is a float.
    fn value(&self, measure: usize, state: &[u8]) -> Option<(Vec<u8>, f64)> {
        let aggregate = &self.measures.measures[measure].aggregate;
        let of_all_rows = ["sum", "avg", "var", "stddev"].iter().any(|name| aggregate.name().starts_with(name));
        if !of_all_rows || aggregate.return_type() != DataType::Float64 || state.is_empty() {
            return None;
        }
        let mut groups = aggregate.groups();
        groups.resize(1);
        groups.merge(0, state).ok()?;
        let mut encoded = Vec::new();
        groups.encode(0, &mut encoded);
        let values = groups.finish().values;
        let value = values.is_valid(0).then(|| values.as_primitive::<Float64Type>().value(0))?;
        value.is_finite().then_some((encoded, value))
    }
}

fn with_tile(page: &Page<'_>, slot: usize, tile: &[u8]) -> Vec<u8> {
    let mut tiles = page.tiles;
    tiles[slot] = Some(tile);
    node::encode_page(&Path::of(page.prefix, page.nibbles), &tiles)
}
