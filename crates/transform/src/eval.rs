//! Evaluating expressions so that an outcome is a function of its row alone.
//!
//! Kernels fail for a whole batch when one row fails, and skip work for a whole batch when no row needs it. Where a batch fails it is
//! bisected, so that the failing rows, and only they, become NULL with an error: just what each would give by itself.
//!
//! A kernel that panics over a value fails like any other. The value comes from outside, and a process that dies of it would die again at
//! every replay.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr_common::physical_expr::fmt_sql;
use datafusion::physical_plan::PhysicalExpr;
use lockstep_model::Error;

/// An expression ready to run, with its type.
#[derive(Debug, Clone)]
pub struct RowExpr {
    /// The expression.
    pub expr: Arc<dyn PhysicalExpr>,
    /// Type of its values.
    pub data_type: DataType,
}

/// As SQL writes it, about: for people, never for comparison.
impl fmt::Display for RowExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Arc::clone(&self.expr).transform_down(|expr| Ok(plain_constant(&expr).map_or_else(|| Transformed::no(expr), Transformed::yes)));
        match plain {
            Ok(plain) => write!(f, "{}", fmt_sql(plain.data.as_ref())),
            Err(_) => write!(f, "{}", self.expr),
        }
    }
}

/// A constant in place of which its text is shown: texts in quotes, and without the cast that the planner put around it.
fn plain_constant(expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let inner = expr.downcast_ref::<CastExpr>().map_or(expr, |cast| cast.expr());
    let value = inner.downcast_ref::<Literal>()?.value();
    let text = match value.try_as_str() {
        Some(Some(text)) => format!("'{}'", text.replace('\'', "''")),
        _ => value.to_string(),
    };
    Some(Arc::new(Column::new(&text, 0)))
}

/// Values of an expression, one per row.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// NULL where the row failed.
    pub values: ArrayRef,
    /// The rows that failed; `None` where none did.
    pub failed: Option<BooleanArray>,
}

impl RowExpr {
    /// The column that this is the value of, as it is: what most features are of a window.
    pub fn column(&self) -> Option<usize> {
        self.expr.downcast_ref::<Column>().map(Column::index)
    }

    /// Evaluates the expression for each row of `batch`.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<Evaluated, Error> {
        if let Some(column) = self.column().and_then(|column| batch.columns().get(column)) {
            return Ok(Evaluated { values: Arc::clone(column), failed: None });
        }
        if let Some(values) = self.evaluate_whole(batch) {
            return Ok(Evaluated { values, failed: None });
        }
        let mut pieces = Vec::new();
        let mut failed = BooleanBufferBuilder::new(batch.num_rows());
        self.isolate(batch, &mut pieces, &mut failed);
        let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece.as_ref()).collect();
        let values = concat(&pieces).map_err(|error| Error::internal("pieces of an expression do not fit together").caused_by(error))?;
        Ok(Evaluated { values, failed: Some(BooleanArray::new(failed.finish(), None)) })
    }

    /// `None` where a row of the batch fails.
    fn evaluate_whole(&self, batch: &RecordBatch) -> Option<ArrayRef> {
        // Expressions hold no state that a panic could leave half changed.
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.expr.evaluate(batch)?.into_array(batch.num_rows())));
        evaluated.ok()?.ok()
    }

    /// Evaluates a batch that fails as a whole.
    fn isolate(&self, batch: &RecordBatch, pieces: &mut Vec<ArrayRef>, failed: &mut BooleanBufferBuilder) {
        let rows = batch.num_rows();
        if rows <= 1 {
            pieces.push(new_null_array(&self.data_type, rows));
            failed.append_n(rows, true);
            return;
        }
        let half = rows / 2;
        for part in [batch.slice(0, half), batch.slice(half, rows - half)] {
            match self.evaluate_whole(&part) {
                Some(values) => {
                    pieces.push(values);
                    failed.append_n(part.num_rows(), false);
                }
                None => self.isolate(&part, pieces, failed),
            }
        }
    }
}

#[cfg(test)]
mod tests;
