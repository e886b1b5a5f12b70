//! Tests of all aggregates, in one place: what they compute (`golden`) and
//! what DataFusion makes of them (`sql`).

mod golden;
mod sql;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::{Aggregate, Call, Groups, OrderKeys, Rows, bind};

/// A call as the cases spell it: `nth_value(2) ignore_nulls`, `count distinct limit=3`.
pub(super) fn bind_text(text: &str, argument: &DataType) -> Result<Arc<dyn Aggregate>, String> {
    let mut words = text.split(' ');
    let head = words.next().unwrap_or_default();
    let (name, constant) = head.trim_end_matches(')').split_once('(').unwrap_or((head, ""));
    let literals: Vec<ScalarValue> = match constant {
        "" => vec![],
        float if float.contains('.') => vec![ScalarValue::Float64(Some(float.parse().unwrap()))],
        integer => vec![ScalarValue::Int64(Some(integer.parse().unwrap()))],
    };
    let options: Vec<&str> = words.collect();
    bind(&Call {
        name,
        arg_types: std::slice::from_ref(argument),
        literals: &literals,
        distinct: options.contains(&"distinct"),
        ignore_nulls: options.contains(&"ignore_nulls"),
        limit: options.iter().find_map(|option| option.strip_prefix("limit=")).map(|limit| limit.parse().unwrap()),
    })
}

/// Order keys that are the rows' numbers, from `first`.
#[derive(Debug)]
pub(super) struct Numbered(Vec<[u8; 4]>);

impl Numbered {
    pub(super) fn from(first: usize, rows: usize) -> Self {
        Numbered((first..first + rows).map(|row| (row as u32).to_be_bytes()).collect())
    }
}

impl OrderKeys for Numbered {
    fn get(&self, row: usize) -> &[u8] {
        &self.0[row]
    }
}

/// Folds rows of a column, each to one group of `groups`.
pub(super) fn fold(groups: &mut dyn Groups, column: &ArrayRef, pairs: &[(u32, u32)]) {
    groups.update(Rows { args: std::slice::from_ref(column), pairs, order: &Numbered::from(0, column.len()) });
}

/// One group, with rows folded in in the order given.
pub(super) fn state_of(aggregate: &dyn Aggregate, column: &ArrayRef, rows: impl IntoIterator<Item = usize>) -> Box<dyn Groups> {
    let mut groups = aggregate.groups();
    groups.resize(1);
    let pairs: Vec<(u32, u32)> = rows.into_iter().map(|row| (row as u32, 0)).collect();
    fold(groups.as_mut(), column, &pairs);
    groups
}

pub(super) fn encoded(groups: &dyn Groups, group: usize) -> Vec<u8> {
    let mut out = Vec::new();
    groups.encode(group, &mut out);
    out
}
