//! How the rows that DataFusion passes become rows of ours.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, Rows as OrderRows, SortField};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_plan::PhysicalExpr;

use crate::aggregate::{Aggregate, Groups, OrderKeys, Rows};

/// An aggregate, and where its arguments and its order are found among the columns that DataFusion passes: first the arguments of
/// the call, then the columns of its ORDER BY.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) aggregate: Arc<dyn Aggregate>,
    columns: usize,
    arguments: usize,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// The value does not depend on it.
    Any,
    /// The order of the input.
    Arrival,
    /// An ORDER BY.
    By(RowConverter),
}

impl Bound {
    pub(super) fn new(aggregate: Arc<dyn Aggregate>, columns: usize, ordered: bool, args: &AccumulatorArgs<'_>) -> Result<Self> {
        let order = match (ordered, args.order_bys) {
            (false, _) => Order::Any,
            (true, []) => Order::Arrival,
            (true, order_bys) => {
                let field = |sort: &datafusion::physical_expr::PhysicalSortExpr| {
                    Ok(SortField::new_with_options(sort.expr.data_type(args.schema)?, sort.options))
                };
                Order::By(RowConverter::new(order_bys.iter().map(field).collect::<Result<_>>()?)?)
            }
        };
        Ok(Bound { aggregate, columns, arguments: args.exprs.len(), order })
    }

    /// Calls `then` with the rows of a batch, the first of which is number `first` of the input.
    pub(super) fn with_rows<R>(&self, values: &[ArrayRef], first: u64, pairs: &[(u32, u32)], then: impl FnOnce(Rows<'_>) -> R) -> Result<R> {
        let rows = |order| Rows { args: &values[..self.columns], pairs, order };
        Ok(match &self.order {
            Order::Any => then(rows(&Unordered)),
            Order::Arrival => then(rows(&Arrival::new(first, row_count(values)))),
            Order::By(converter) => then(rows(&By(converter.convert_columns(&values[self.arguments..])?))),
        })
    }

    /// Fresh states, one for each of `groups` groups.
    pub(super) fn groups(&self, groups: usize) -> Box<dyn Groups> {
        let mut fresh = self.aggregate.groups();
        fresh.resize(groups);
        fresh
    }

    /// The encoded state of each row by itself, of those that `pairs` lists (as row and row).
    pub(super) fn row_states(&self, values: &[ArrayRef], first: u64, pairs: &[(u32, u32)]) -> Result<Box<dyn Groups>> {
        let mut groups = self.groups(row_count(values));
        self.with_rows(values, first, pairs, |rows| groups.update(rows))?;
        Ok(groups)
    }
}

/// Rows in a batch; DataFusion passes at least one column.
pub(super) fn row_count(values: &[ArrayRef]) -> usize {
    values.first().map_or(0, |column| column.len())
}

/// The value of an argument that is the same in every row.
pub(super) fn constant(expr: &Arc<dyn PhysicalExpr>) -> Result<ScalarValue> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let no_columns = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    match expr.evaluate(&no_columns) {
        Ok(ColumnarValue::Scalar(value)) => Ok(value),
        Ok(ColumnarValue::Array(array)) => ScalarValue::try_from_array(&array, 0),
        Err(_) => plan_err!("{expr} is not a constant · write a number in its place"),
    }
}

#[derive(Debug)]
struct Unordered;

impl OrderKeys for Unordered {
    fn get(&self, _: usize) -> &[u8] {
        &[]
    }
}

/// Numbers of the rows, big-endian.
#[derive(Debug)]
struct Arrival(Vec<[u8; 8]>);

impl Arrival {
    fn new(first: u64, rows: usize) -> Self {
        Arrival((first..).take(rows).map(u64::to_be_bytes).collect())
    }
}

impl OrderKeys for Arrival {
    fn get(&self, row: usize) -> &[u8] {
        &self.0[row]
    }
}

#[derive(Debug)]
struct By(OrderRows);

impl OrderKeys for By {
    fn get(&self, row: usize) -> &[u8] {
        self.0.row(row).data()
    }
}
