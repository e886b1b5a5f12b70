//! A sliding window over an aggregate whose rows cannot be taken out: two stacks.
//!
//! The window is a queue of rows, each held as the encoded state of that row alone. New rows are folded into the state of the
//! *back*. The rows before them, the *front*, are covered by the states of all their suffixes, so that dropping the oldest row
//! is dropping a state; when the front is used up, the back becomes the front. Suffixes are held for one block of rows at a time
//! and at the block boundaries: about 2√n states for n rows, and three merges a row.

use std::collections::VecDeque;
use std::fmt;

use arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;
use lockstep_model::codec::CodecError;

use super::codec_error;
use super::input::{Bound, row_count};
use crate::aggregate::Groups;

pub(super) struct SlidingAccumulator {
    bound: Bound,
    /// The states of all rows of the window, oldest first.
    rows: VecDeque<Vec<u8>>,
    front: Front,
    /// The rows after the front, in group 0.
    back: Box<dyn Groups>,
    /// Group 0 of it is overwritten.
    scratch: Box<dyn Groups>,
    folded: u64,
}

/// The suffix states of the oldest rows.
#[derive(Debug, Default)]
struct Front {
    /// Rows it covers.
    len: usize,
    block_len: usize,
    /// State of the suffix from each row of the first block; the last is that of the whole front.
    block: Vec<Vec<u8>>,
    /// State of the suffix from the start of each later block, and of the empty one; the last is that of the second block.
    boundaries: Vec<Vec<u8>>,
}

impl SlidingAccumulator {
    pub(super) fn new(bound: Bound) -> Self {
        let (back, scratch) = (bound.groups(1), bound.groups(1));
        SlidingAccumulator { bound, rows: VecDeque::new(), front: Front::default(), back, scratch, folded: 0 }
    }

    /// The state of the whole window, in the scratch group.
    fn combine(&mut self) -> Result<(), CodecError> {
        self.scratch.clear();
        if let Some(state) = self.front.block.last() {
            self.scratch.merge(0, state)?;
        }
        self.scratch.merge(0, &encoded(self.back.as_ref()))
    }

    fn drop_oldest(&mut self) -> Result<(), CodecError> {
        if self.front.len == 0 {
            self.turn()?;
        }
        self.rows.pop_front();
        self.front.len -= 1;
        self.front.block.pop();
        if self.front.block.is_empty() && self.front.len > 0 {
            self.open_block()?;
        }
        Ok(())
    }

    /// All rows become the front.
    fn turn(&mut self) -> Result<(), CodecError> {
        let (len, block_len) = (self.rows.len(), self.rows.len().isqrt().max(1));
        self.front = Front { len, block_len, ..Front::default() };
        self.back.clear();
        self.scratch.clear();
        // The first block takes the odd rows, so that the boundaries lie at whole blocks from the end.
        for (from_end, state) in self.rows.iter().rev().enumerate() {
            if from_end % block_len == 0 {
                self.front.boundaries.push(encoded(self.scratch.as_ref()));
            }
            self.scratch.merge(0, state)?;
        }
        self.open_block()
    }

    /// Computes the suffixes of the first block from the boundary after it.
    fn open_block(&mut self) -> Result<(), CodecError> {
        let after = self.front.boundaries.pop().unwrap_or_default();
        let rest = self.front.boundaries.len() * self.front.block_len;
        self.scratch.clear();
        self.scratch.merge(0, &after)?;
        for state in self.rows.range(..self.front.len.saturating_sub(rest)).rev() {
            self.scratch.merge(0, state)?;
            self.front.block.push(encoded(self.scratch.as_ref()));
        }
        Ok(())
    }
}

fn encoded(groups: &dyn Groups) -> Vec<u8> {
    let mut state = Vec::new();
    groups.encode(0, &mut state);
    state
}

impl fmt::Debug for SlidingAccumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {} rows", self.bound.aggregate.name(), self.rows.len())
    }
}

impl Accumulator for SlidingAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = row_count(values);
        let pairs: Vec<(u32, u32)> = (0..rows as u32).map(|row| (row, row)).collect();
        let states = self.bound.row_states(values, self.folded, &pairs)?;
        self.folded += rows as u64;
        for row in 0..rows {
            let mut state = Vec::new();
            states.encode(row, &mut state);
            self.back.merge(0, &state).map_err(codec_error)?;
            self.rows.push_back(state);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if row_count(values) > self.rows.len() {
            return internal_err!("more rows leave a window than are in it");
        }
        (0..row_count(values)).try_for_each(|_| self.drop_oldest()).map_err(codec_error)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.combine().map_err(codec_error)?;
        ScalarValue::try_from_array(&self.scratch.finish().values, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.combine().map_err(codec_error)?;
        Ok(vec![ScalarValue::Binary(Some(encoded(self.scratch.as_ref())))])
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a window takes rows, not states")
    }

    fn size(&self) -> usize {
        let states = self.rows.iter().chain(&self.front.block).chain(&self.front.boundaries);
        size_of::<Self>() + self.back.size() + self.scratch.size() + states.map(|state| size_of_val(state) + state.capacity()).sum::<usize>()
    }
}
