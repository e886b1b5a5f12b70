//! What a tile keeps: one state per distinct aggregate call, whatever the number of frames it is read over.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use lockstep_model::codec::{CodecError, Reader, put_bytes};
use lockstep_model::row::RowCodec;
use smallvec::SmallVec;

use super::node::{Row, TileMeta};
use crate::aggregate::{Aggregate, Groups, OrderKeys, Rows};

/// A distinct aggregate call of a view: function, arguments and FILTER, without the frame.
#[derive(Debug, Clone)]
pub struct Measure {
    /// The function.
    pub aggregate: Arc<dyn Aggregate>,
    /// Its arguments, as indices of stored columns.
    pub args: Vec<usize>,
    /// The stored boolean column that says which rows count.
    pub filter: Option<usize>,
    /// Whether tiles keep a state of it: where the aggregate has one, and a frame that is not bounded by rows asks for it.
    pub tiled: bool,
}

/// All measures of a view, and the layout of its stored rows.
#[derive(Debug)]
pub struct Measures {
    /// Layout of the stored columns.
    pub codec: RowCodec,
    /// The distinct calls.
    pub measures: Vec<Measure>,
}

impl Measures {
    /// Fresh states, one `Groups` per measure.
    pub fn groups(&self) -> Vec<Box<dyn Groups>> {
        self.measures.iter().map(|measure| measure.aggregate.groups()).collect()
    }
}

impl Measure {
    /// The rows of `pairs` that the FILTER passes. NULL does not pass.
    pub fn filtered<'p>(&self, columns: &[ArrayRef], pairs: &'p [(u32, u32)], scratch: &'p mut Vec<(u32, u32)>) -> &'p [(u32, u32)] {
        let Some(filter) = self.filter else { return pairs };
        let filter = columns[filter].as_boolean();
        scratch.clear();
        scratch.extend(pairs.iter().filter(|&&(row, _)| filter.is_valid(row as usize) && filter.value(row as usize)));
        scratch
    }

    /// The argument columns.
    pub fn args(&self, columns: &[ArrayRef]) -> SmallVec<[ArrayRef; 2]> {
        self.args.iter().map(|&column| columns[column].clone()).collect()
    }
}

/// Folds rows into tiles and tiles into tiles, reusing its states.
pub(super) struct Folder<'m> {
    measures: &'m Measures,
    /// One group for each tile made of rows; as many as there ever were at once.
    groups: Vec<Box<dyn Groups>>,
    /// The one group of a sum of tiles: emptying it does not touch all the others.
    sum: Vec<Box<dyn Groups>>,
    state: Vec<u8>,
    filtered: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct RowKeys<'a>(&'a [Row<'a>]);

impl OrderKeys for RowKeys<'_> {
    fn get(&self, row: usize) -> &[u8] {
        self.0[row].key
    }
}

impl<'m> Folder<'m> {
    pub fn new(measures: &'m Measures) -> Self {
        let mut sum = measures.groups();
        sum.iter_mut().for_each(|groups| groups.resize(1));
        Folder { measures, groups: measures.groups(), sum, state: Vec::new(), filtered: Vec::new() }
    }

    /// The tile of each run of rows. All rows are decoded and folded in one go.
    pub fn tiles_of_rows(&mut self, rows: &[Row<'_>], runs: &[std::ops::Range<usize>]) -> Result<Vec<Vec<u8>>, CodecError> {
        let mut metas = vec![TileMeta::EMPTY; runs.len()];
        let mut live = Vec::with_capacity(rows.len());
        let mut pairs = Vec::with_capacity(rows.len());
        for (group, run) in runs.iter().enumerate() {
            for row in &rows[run.clone()] {
                metas[group].add(row);
                if row.is_live() {
                    pairs.push((live.len() as u32, group as u32));
                    live.push(*row);
                }
            }
        }
        let columns = self.measures.codec.decode(live.iter().map(|row| row.args))?;
        for groups in &mut self.groups {
            groups.clear();
            groups.resize(runs.len());
        }
        for (measure, groups) in self.measures.measures.iter().zip(&mut self.groups) {
            if measure.tiled {
                let pairs = measure.filtered(&columns, &pairs, &mut self.filtered);
                groups.update(Rows { args: &measure.args(&columns), pairs, order: &RowKeys(&live) });
            }
        }
        Ok(metas.iter().enumerate().map(|(group, meta)| encode(&self.groups, group, meta, &mut self.state)).collect())
    }

    /// The tile of all events of some tiles.
    pub fn tile_of_tiles<'a>(&mut self, tiles: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, CodecError> {
        let mut all = TileMeta::EMPTY;
        self.sum.iter_mut().for_each(|groups| groups.clear());
        for tile in tiles {
            let mut reader = Reader::new(tile);
            all.merge(&TileMeta::decode(&mut reader)?);
            for groups in &mut self.sum {
                groups.merge(0, reader.bytes()?)?;
            }
        }
        Ok(encode(&self.sum, 0, &all, &mut self.state))
    }
}

/// The tile of a group.
fn encode(groups: &[Box<dyn Groups>], group: usize, meta: &TileMeta, state: &mut Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + 16 * groups.len());
    meta.encode(&mut out);
    for groups in groups {
        state.clear();
        groups.encode(group, state);
        put_bytes(&mut out, state);
    }
    out
}
