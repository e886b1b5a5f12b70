//! An expression whose evaluation fails for some rows: the values of the others.
//!
//! A query fails as a whole when one row fails. DataFusion's plan of the expression is run over ever smaller parts of the table instead, down to the
//! rows that fail: there, the value is NULL, which is what the definition's language says of them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;

/// Values of an expression, one per row.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) values: ArrayRef,
    /// Where the value is NULL because the expression failed.
    pub(super) failed: Vec<bool>,
}

/// Evaluates a plan of projections that gives one column.
pub(super) fn evaluate(plan: &dyn ExecutionPlan, branch: usize, rows: &RecordBatch) -> Result<Evaluated> {
    let mut parts = Vec::new();
    let mut failed = Vec::with_capacity(rows.num_rows());
    // A plan that this cannot run is a fault, and no failure of a row.
    run(plan, branch, &rows.slice(0, 0))?;
    bisect(plan, branch, rows, &mut parts, &mut failed);
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
    Ok(Evaluated { values: concat(&parts)?, failed })
}

fn bisect(plan: &dyn ExecutionPlan, branch: usize, rows: &RecordBatch, parts: &mut Vec<ArrayRef>, failed: &mut Vec<bool>) {
    let len = rows.num_rows();
    match run(plan, branch, rows) {
        Ok(values) => {
            parts.extend(values.columns().first().cloned());
            failed.resize(failed.len() + len, false);
        }
        Err(_) if len <= 1 => {
            parts.push(new_null_array(plan.schema().field(0).data_type(), len));
            failed.resize(failed.len() + len, true);
        }
        Err(_) => {
            bisect(plan, branch, &rows.slice(0, len / 2), parts, failed);
            bisect(plan, branch, &rows.slice(len / 2, len - len / 2), parts, failed);
        }
    }
}

fn run(plan: &dyn ExecutionPlan, branch: usize, rows: &RecordBatch) -> Result<RecordBatch> {
    let children = plan.children();
    let columns = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let input = run(projection.input().as_ref(), branch, rows)?;
        let values = projection.expr().iter().map(|item| item.expr.evaluate(&input)?.into_array(rows.num_rows()));
        values.collect::<Result<Vec<_>>>()?
    } else if plan.is::<UnionExec>() {
        let Some(child) = children.get(branch) else { return internal_err!("a union without branch {branch}") };
        run(child.as_ref(), branch, rows)?.columns().to_vec()
    } else if let [child] = children.as_slice() {
        run(child.as_ref(), branch, rows)?.columns().to_vec()
    } else if children.is_empty() {
        let column = |field: &Arc<arrow::datatypes::Field>| rows.column_by_name(field.name()).cloned();
        match plan.schema().fields().iter().map(column).collect::<Option<Vec<_>>>() {
            Some(columns) => columns,
            None => return internal_err!("a plan that reads more than its table"),
        }
    } else {
        return internal_err!("a plan of other nodes than projections");
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = plan.schema();
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()).with_nullable(true))
        .collect();
    Ok(RecordBatch::try_new_with_options(Arc::new(arrow::datatypes::Schema::new(fields)), columns, &options)?)
}
