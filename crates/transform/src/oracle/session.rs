//! Stock DataFusion with our aggregates under the SQL names.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_err;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::SortExpr;
use datafusion::optimizer::Optimizer;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext, ident};

use super::isolate::{self, Evaluated};
use crate::aggregate::udaf;

/// Rows of a batch that DataFusion is given.
const BATCH_ROWS: usize = 8192;

#[derive(Debug)]
pub(super) struct Session {
    limit: Option<usize>,
}

/// A table for one query.
#[derive(Clone)]
pub(super) struct Table<'a> {
    pub(super) name: &'a str,
    pub(super) rows: RecordBatch,
    /// Columns that the rows are sorted by, ascending.
    pub(super) sorted_by: Vec<String>,
}

impl<'a> Table<'a> {
    pub(super) fn new(name: &'a str, rows: RecordBatch) -> Self {
        Table { name, rows, sorted_by: Vec::new() }
    }
}

impl Session {
    pub(super) fn new(limit: Option<usize>) -> Session {
        Session { limit }
    }

    /// Runs a query over tables of its own. Rows come in the order of the plan, which is that of the table where there is one.
    pub(super) async fn query(&self, tables: Vec<Table<'_>>, sql: &str) -> Result<RecordBatch> {
        let keeps_order = tables.iter().any(|table| !table.sorted_by.is_empty());
        let context = self.context(tables)?;
        let plan = context.sql(sql).await?.create_physical_plan().await?;
        if keeps_order && sorts(plan.as_ref()) {
            return internal_err!("a plan that sorts rows which are sorted, and shuffles peers");
        }
        let schema = plan.schema();
        let batches = collect(plan, context.task_ctx()).await?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        Ok(concat_batches(&schema, &batches)?)
    }

    /// The values of a query of one item over the rows of one table, and the rows at which it fails, where the value is NULL. In a UNION ALL
    /// it is the branch that reads the table.
    pub(super) async fn item(&self, tables: Vec<Table<'_>>, sql: &str, branch: usize, rows: &RecordBatch) -> Result<Evaluated> {
        let plan = self.context(tables)?.sql(sql).await?.create_physical_plan().await?;
        isolate::evaluate(plan.as_ref(), branch, rows)
    }

    fn context(&self, tables: Vec<Table<'_>>) -> Result<SessionContext> {
        // One partition: rows of one moment keep the order they are given in.
        let config = SessionConfig::from(options()).with_target_partitions(1).with_batch_size(BATCH_ROWS);
        // The rule that is left out replaces count(distinct) by a plain count, which knows no limit.
        let rules = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
        let state = SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_aggregate_functions(udaf::all(self.limit))
            .with_window_functions(vec![])
            .with_optimizer_rules(rules.collect())
            .build();
        let context = SessionContext::new_with_state(state);
        crate::functions::all().into_iter().for_each(|function| context.register_udf(function.as_ref().clone()));
        for table in tables {
            context.register_table(datafusion::common::TableReference::bare(table.name), Arc::new(mem_table(&table)?))?;
        }
        Ok(context)
    }
}

fn sorts(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<SortExec>() || plan.children().into_iter().any(|child| sorts(child.as_ref()))
}

/// What no setting of a machine or a user may change.
fn options() -> ConfigOptions {
    let mut options = ConfigOptions::new();
    options.execution.time_zone = Some("+00:00".into());
    options.sql_parser.map_string_types_to_utf8view = false;
    options
}

fn mem_table(table: &Table<'_>) -> Result<MemTable> {
    let rows = table.rows.num_rows();
    let batches = (0..rows).step_by(BATCH_ROWS).map(|start| table.rows.slice(start, BATCH_ROWS.min(rows - start))).collect();
    let mem_table = MemTable::try_new(table.rows.schema(), vec![batches])?;
    if table.sorted_by.is_empty() {
        return Ok(mem_table);
    }
    let order: Vec<SortExpr> = table.sorted_by.iter().map(|column| ident(column).sort(true, false)).collect();
    Ok(mem_table.with_sort_order(vec![order]))
}
