//! One group, row batch by row batch; the sliding accumulator too where rows can be taken out.

use std::fmt;

use arrow::array::{ArrayRef, AsArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::codec_error;
use super::input::{Bound, row_count};
use crate::aggregate::Groups;

/// All rows go to group 0.
pub(super) struct RowAccumulator {
    bound: Bound,
    groups: Box<dyn Groups>,
    /// Rows folded in so far, which numbers the next one.
    folded: u64,
    /// Rows taken out so far: the oldest leave first.
    retracted: u64,
}

impl RowAccumulator {
    pub(super) fn new(bound: Bound) -> Self {
        let groups = bound.groups(1);
        RowAccumulator { bound, groups, folded: 0, retracted: 0 }
    }
}

/// Every row to group 0.
fn all_to_one(values: &[ArrayRef]) -> Vec<(u32, u32)> {
    (0..row_count(values) as u32).map(|row| (row, 0)).collect()
}

impl fmt::Debug for RowAccumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} rows", self.bound.aggregate.name(), self.folded - self.retracted)
    }
}

impl Accumulator for RowAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.bound.with_rows(values, self.folded, &all_to_one(values), |rows| self.groups.update(rows))?;
        self.folded += row_count(values) as u64;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.bound.with_rows(values, self.retracted, &all_to_one(values), |rows| self.groups.retract(rows))?;
        self.retracted += row_count(values) as u64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.bound.aggregate.invertible()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.groups.finish().values, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = Vec::new();
        self.groups.encode(0, &mut state);
        Ok(vec![ScalarValue::Binary(Some(state))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0].as_binary::<i32>().iter().flatten().try_for_each(|state| self.groups.merge(0, state)).map_err(codec_error)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.size()
    }
}
