//! Many groups at once.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray};
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::codec_error;
use super::input::{Bound, row_count};
use crate::aggregate::Groups;

pub(super) struct GroupedAccumulator {
    bound: Bound,
    groups: Box<dyn Groups>,
    len: usize,
    /// Rows seen so far, which numbers the next one; a cell, since rows are also seen where DataFusion passes `&self`.
    seen: Cell<u64>,
}

impl GroupedAccumulator {
    pub(super) fn new(bound: Bound) -> Self {
        let groups = bound.aggregate.groups();
        GroupedAccumulator { bound, groups, len: 0, seen: Cell::new(0) }
    }

    fn resize(&mut self, groups: usize) {
        self.len = self.len.max(groups);
        self.groups.resize(self.len);
    }

    /// How many groups leave.
    fn leaving(&self, emit_to: EmitTo) -> usize {
        match emit_to {
            EmitTo::All => self.len,
            EmitTo::First(n) => n.min(self.len),
        }
    }

    /// Drops the first groups and moves the others to the front.
    fn drop_first(&mut self, leaving: usize) -> Result<()> {
        let staying = self.len - leaving;
        let mut groups = self.bound.groups(staying);
        let mut state = Vec::new();
        for group in 0..staying {
            state.clear();
            self.groups.encode(leaving + group, &mut state);
            groups.merge(group, &state).map_err(codec_error)?;
        }
        (self.groups, self.len) = (groups, staying);
        Ok(())
    }

    fn number(&self, values: &[ArrayRef]) -> u64 {
        self.seen.replace(self.seen.get() + row_count(values) as u64)
    }
}

/// Rows that the filter passes.
fn passing(filter: Option<&BooleanArray>) -> impl Fn(usize) -> bool {
    move |row| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

fn encoded(groups: &dyn Groups, len: usize) -> ArrayRef {
    let mut states = BinaryBuilder::new();
    let mut state = Vec::new();
    for group in 0..len {
        state.clear();
        groups.encode(group, &mut state);
        states.append_value(&state);
    }
    Arc::new(states.finish())
}

impl GroupsAccumulator for GroupedAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], filter: Option<&BooleanArray>, groups: usize) -> Result<()> {
        self.resize(groups);
        let passes = passing(filter);
        let pairs: Vec<(u32, u32)> =
            group_indices.iter().enumerate().filter(|&(row, _)| passes(row)).map(|(row, &group)| (row as u32, group as u32)).collect();
        let first = self.number(values);
        self.bound.with_rows(values, first, &pairs, |rows| self.groups.update(rows))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.resize(groups);
        let states = values[0].as_binary::<i32>();
        for (state, &group) in states.iter().zip(group_indices) {
            self.groups.merge(group, state.unwrap_or_default()).map_err(codec_error)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let leaving = self.leaving(emit_to);
        let values = self.groups.finish().values.slice(0, leaving);
        self.drop_first(leaving)?;
        Ok(values)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let leaving = self.leaving(emit_to);
        let states = encoded(self.groups.as_ref(), leaving);
        self.drop_first(leaving)?;
        Ok(vec![states])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let passes = passing(filter);
        let rows = row_count(values);
        let pairs: Vec<(u32, u32)> = (0..rows).filter(|&row| passes(row)).map(|row| (row as u32, row as u32)).collect();
        let states = self.bound.row_states(values, self.number(values), &pairs)?;
        Ok(vec![encoded(states.as_ref(), rows)])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.size()
    }
}
