//! Folding changes into an entity's tree.
//!
//! A tile is always recomputed from what lies directly below it, never patched: a leaf's from its rows, a page's from its children's
//! tiles. With at most a leafful of rows and sixteen tiles a step, that costs a few microseconds for the 64 events that arrive
//! together, and there is no second way in which a state could come about.

use std::ops::Range;

use lockstep_model::codec::CodecError;
use lockstep_model::{Error, StateKey, StateRead, StateWrite};

use super::Shape;
use super::measure::{Folder, Measures};
use super::node::{self, FANOUT, Node, Page, Row};
use super::order::{self, BRANCHING_NIBBLES, Path};

/// What changes for one entity: first rows go, then rows come.
#[derive(Debug, Clone, Default)]
pub struct EntityChanges<'a> {
    /// Encoded entity key.
    pub entity: &'a [u8],
    /// Order keys of rows to take out; one that is not there is ignored.
    pub removes: Vec<&'a [u8]>,
    /// Rows to put in, each of another order key. Where a row of that key may be there already it is among the removes too: what waits in the
    /// head does not hide what is in the tree.
    pub upserts: Vec<Row<'a>>,
}

/// Folds changes into the stored state of their entities and returns what has to be written. Each entity occurs once.
pub fn apply(measures: &Measures, shape: Shape, state: &dyn StateRead, changes: &mut [EntityChanges<'_>]) -> Result<Vec<StateWrite>, Error> {
    let keys: Vec<StateKey> = changes.iter().map(|change| StateKey::head(change.entity)).collect();
    let mut heads = vec![None; keys.len()];
    state.get_many(&keys, &mut |i, bytes| heads[i] = bytes.map(<[u8]>::to_vec))?;
    let mut folder = Folder::new(measures);
    let mut writes = Vec::with_capacity(changes.len());
    for ((change, head), key) in changes.iter_mut().zip(heads).zip(keys) {
        let mut writer = Writer { entity: change.entity, shape, state, folder: &mut folder, writes: &mut writes };
        let head = writer.apply_entity(change, head.as_deref())?;
        writes.push(StateWrite { key, value: Some(head) });
    }
    Ok(writes)
}

/// Builds the whole state of an entity that has none yet, from all its rows in ascending order: what [`apply`] would come to, with every event in the tree
/// unless they fit the head.
pub fn build(measures: &Measures, shape: Shape, entity: &[u8], rows: &[Row<'_>]) -> Result<Vec<StateWrite>, Error> {
    let mut writes = Vec::new();
    let buffered = rows.len() <= shape.buffer_rows_max;
    if !buffered {
        let mut folder = Folder::new(measures);
        Writer { entity, shape, state: &NoState, folder: &mut folder, writes: &mut writes }.build(&Path::root(), rows)?;
    }
    let head = node::encode_head(if buffered { rows } else { &[] });
    writes.push(StateWrite { key: StateKey::head(entity), value: Some(head) });
    Ok(writes)
}

/// The state of an entity that does not exist yet.
struct NoState;

impl StateRead for NoState {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        (0..keys.len()).for_each(|i| found(i, None));
        Ok(())
    }
}

/// Runs whose rows are decoded and folded in one go: as many as a core's cache holds, since an entity may have millions.
const RUNS_FOLDED: usize = 256;

struct Writer<'w, 'm> {
    entity: &'w [u8],
    shape: Shape,
    state: &'w dyn StateRead,
    folder: &'w mut Folder<'m>,
    writes: &'w mut Vec<StateWrite>,
}

type Tile = Vec<u8>;

impl Writer<'_, '_> {
    /// Returns the new head; what goes into the tree is added to the writes.
    fn apply_entity(&mut self, change: &mut EntityChanges<'_>, head: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        change.upserts.sort_unstable_by_key(|row| row.key);
        change.removes.sort_unstable();
        let buffered = head.map(node::decode_head).transpose()?.unwrap_or_default();
        let in_tree: Vec<&[u8]> = change.removes.iter().copied().filter(|key| buffered.binary_search_by_key(key, |row| row.key).is_err()).collect();
        let rows = merge(&buffered, &change.upserts, &change.removes);
        if rows.len() <= self.shape.buffer_rows_max {
            if !in_tree.is_empty() {
                self.apply_at(&Path::root(), &[], &in_tree)?;
            }
            return Ok(node::encode_head(&rows));
        }
        self.apply_at(&Path::root(), &rows, &in_tree)?;
        Ok(node::encode_head(&[]))
    }

    fn load(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let mut value = None;
        self.state.get_many(&[self.key(path)], &mut |_, bytes| value = bytes.map(<[u8]>::to_vec))?;
        Ok(value)
    }

    fn key(&self, path: &Path) -> StateKey {
        StateKey::node(self.entity, Some((path.nibbles(), path.prefix())))
    }

    fn write(&mut self, path: &Path, value: Option<Vec<u8>>) {
        self.writes.push(StateWrite { key: self.key(path), value });
    }

    fn apply_at(&mut self, path: &Path, upserts: &[Row<'_>], removes: &[&[u8]]) -> Result<Option<Tile>, Error> {
        let bytes = self.load(path)?;
        self.apply_to(path, bytes.as_deref(), upserts, removes)
    }

    /// Applies changes to the node at `path`, which is `bytes`; the tile it leaves, or none where nothing is left.
    fn apply_to(&mut self, path: &Path, bytes: Option<&[u8]>, upserts: &[Row<'_>], removes: &[&[u8]]) -> Result<Option<Tile>, Error> {
        match bytes.map(|bytes| node::decode_node(path, bytes)).transpose()? {
            None if upserts.is_empty() => Ok(None),
            None => self.build(path, upserts).map(Some),
            Some(Node::Leaf(leaf)) => self.apply_to_leaf(path, &merge(&leaf.decode()?.concat(), upserts, removes)),
            Some(Node::Page(page)) => {
                let shared = upserts.iter().map(|row| order::common_nibbles(row.key, page.prefix)).min().unwrap_or(page.nibbles);
                if shared < page.nibbles {
                    self.widen(path, bytes.unwrap_or_default(), &page, shared, upserts, removes)
                } else {
                    self.apply_to_page(path, &page, upserts, removes)
                }
            }
        }
    }

    fn apply_to_leaf(&mut self, path: &Path, rows: &[Row<'_>]) -> Result<Option<Tile>, Error> {
        if rows.is_empty() {
            self.write(path, None);
            return Ok(None);
        }
        self.build(path, rows).map(Some)
    }

    fn apply_to_page(&mut self, path: &Path, page: &Page<'_>, upserts: &[Row<'_>], removes: &[&[u8]]) -> Result<Option<Tile>, Error> {
        let removes: Vec<&[u8]> = removes.iter().copied().filter(|key| order::common_nibbles(key, page.prefix) >= page.nibbles).collect();
        let mut changed: [Option<Option<Tile>>; FANOUT] = Default::default();
        for (slot, tile) in changed.iter_mut().enumerate() {
            let upserts = slot_of(upserts, |row| row.key, page.nibbles, slot);
            let removes = slot_of(&removes, |key| *key, page.nibbles, slot);
            if !upserts.is_empty() || !removes.is_empty() {
                *tile = Some(self.apply_at(&page.child(slot), upserts, removes)?);
            }
        }
        let mut tiles = page.tiles;
        for (tile, changed) in tiles.iter_mut().zip(&changed) {
            if let Some(changed) = changed {
                *tile = changed.as_deref();
            }
        }
        self.finish_page(path, &Path::of(page.prefix, page.nibbles), &tiles)
    }

    /// Some new keys do not share the page's prefix: a page of the shorter prefix takes its place, and it moves down.
    fn widen(
        &mut self,
        path: &Path,
        bytes: &[u8],
        page: &Page<'_>,
        shared: usize,
        upserts: &[Row<'_>],
        removes: &[&[u8]],
    ) -> Result<Option<Tile>, Error> {
        let slot = order::nibble(page.prefix, shared);
        let place = Path::of(page.prefix, shared);
        let moved = place.clone().child(slot);
        self.write(&moved, Some(bytes.to_vec()));
        let old_tile = self.folder.tile_of_tiles(page.tiles.iter().flatten().copied())?;
        let mut tiles: [Option<Tile>; FANOUT] = Default::default();
        for (at, tile) in tiles.iter_mut().enumerate() {
            let upserts = slot_of(upserts, |row| row.key, shared, at);
            if at == slot {
                let removes: Vec<&[u8]> = removes.iter().copied().filter(|key| order::common_nibbles(key, page.prefix) > shared).collect();
                *tile = if upserts.is_empty() && removes.is_empty() {
                    Some(old_tile.clone())
                } else {
                    self.apply_to(&moved, Some(bytes), upserts, &removes)?
                };
            } else if !upserts.is_empty() {
                *tile = Some(self.build(&place.clone().child(at), upserts)?);
            }
        }
        self.finish_page(path, &place, &tiles.each_ref().map(|tile| tile.as_deref()))
    }

    fn finish_page(&mut self, path: &Path, shared: &Path, tiles: &[Option<&[u8]>; FANOUT]) -> Result<Option<Tile>, Error> {
        if tiles.iter().all(Option::is_none) {
            self.write(path, None);
            return Ok(None);
        }
        self.write(path, Some(node::encode_page(shared, tiles)));
        Ok(Some(self.folder.tile_of_tiles(tiles.iter().flatten().copied())?))
    }

    /// Writes a node, and all below it, made of `rows` alone: not empty, ascending.
    fn build(&mut self, path: &Path, rows: &[Row<'_>]) -> Result<Tile, Error> {
        let mut leaves = Vec::new();
        let plan = plan(rows, 0..rows.len(), path.clone(), self.shape.leaf_rows_max, &mut leaves);
        let run_rows = self.shape.run_rows_max();
        let runs: Vec<Range<usize>> =
            leaves.into_iter().flat_map(|Range { start, end }| (start..end).step_by(run_rows).map(move |at| at..end.min(at + run_rows))).collect();
        let mut run_tiles = Vec::with_capacity(runs.len());
        for runs in runs.chunks(RUNS_FOLDED) {
            run_tiles.extend(self.folder.tiles_of_rows(rows, runs)?);
        }
        Ok(self.write_plan(plan, rows, &mut run_tiles.iter().map(Vec::as_slice))?)
    }

    fn write_plan<'t>(&mut self, plan: Plan, rows: &[Row<'_>], run_tiles: &mut impl Iterator<Item = &'t [u8]>) -> Result<Tile, CodecError> {
        match plan {
            Plan::Leaf { path, run } => {
                let rows = &rows[run];
                let run_rows = self.shape.run_rows_max();
                let tiles: Vec<&[u8]> = run_tiles.by_ref().take(rows.len().div_ceil(run_rows)).collect();
                self.write(&path, Some(node::encode_leaf(rows.chunks(run_rows).zip(tiles.iter().copied()))));
                if let [tile] = tiles[..] { Ok(tile.to_vec()) } else { self.folder.tile_of_tiles(tiles.into_iter()) }
            }
            Plan::Page { path, shared, children } => {
                let mut tiles: [Option<Tile>; FANOUT] = Default::default();
                for (slot, child) in children {
                    tiles[slot] = Some(self.write_plan(child, rows, run_tiles)?);
                }
                self.write(&path, Some(node::encode_page(&shared, &tiles.each_ref().map(|tile| tile.as_deref()))));
                self.folder.tile_of_tiles(tiles.iter().flatten().map(Vec::as_slice))
            }
        }
    }
}

/// Nodes to write for a run of rows.
enum Plan {
    Leaf { path: Path, run: Range<usize> },
    Page { path: Path, shared: Path, children: Vec<(usize, Plan)> },
}

/// Splits rows until each run fits a leaf; the runs are appended to `leaves` in order.
fn plan(rows: &[Row<'_>], run: Range<usize>, path: Path, leaf_rows_max: usize, leaves: &mut Vec<Range<usize>>) -> Plan {
    let (first, last) = (rows[run.start].key, rows[run.end - 1].key);
    // Rows ascend, so what the first and the last share, all share.
    let nibbles = order::common_nibbles(first, last);
    if run.len() <= leaf_rows_max.max(1) || nibbles >= BRANCHING_NIBBLES {
        leaves.push(run.clone());
        return Plan::Leaf { path, run };
    }
    let shared = Path::of(first, nibbles);
    let mut children = Vec::new();
    let mut start = run.start;
    while start < run.end {
        let slot = order::nibble(rows[start].key, nibbles);
        let len = rows[start..run.end].partition_point(|row| order::nibble(row.key, nibbles) <= slot);
        children.push((slot, plan(rows, start..start + len, shared.clone().child(slot), leaf_rows_max, leaves)));
        start += len;
    }
    Plan::Page { path, shared, children }
}

/// The run of ascending `items` whose key has `slot` as its half-byte at `nibbles`; all share what comes before.
fn slot_of<T>(items: &[T], key: impl Fn(&T) -> &[u8], nibbles: usize, slot: usize) -> &[T] {
    let start = items.partition_point(|item| order::nibble(key(item), nibbles) < slot);
    let end = items.partition_point(|item| order::nibble(key(item), nibbles) <= slot);
    &items[start..end]
}

/// `old` without `removes`, with `new` put in, ascending; where keys are equal the new row stands.
fn merge<'a>(old: &[Row<'a>], new: &[Row<'a>], removes: &[&[u8]]) -> Vec<Row<'a>> {
    let mut rows = Vec::with_capacity(old.len() + new.len());
    let mut new = new.iter().peekable();
    for row in old {
        while let Some(next) = new.next_if(|next| next.key < row.key) {
            rows.push(*next);
        }
        let replaced = new.peek().is_some_and(|next| next.key == row.key);
        if !replaced && removes.binary_search(&row.key).is_err() {
            rows.push(*row);
        }
    }
    rows.extend(new);
    rows
}
