//! Stock DataFusion with our aggregates under the SQL names.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::SortExpr;
use datafusion::optimizer::Optimizer;
use datafusion::prelude::{SessionConfig, SessionContext, ident};

use crate::aggregate::udaf;

/// Rows of a batch that DataFusion is given.
const BATCH_ROWS: usize = 8192;

#[derive(Debug)]
pub(super) struct Session {
    limit: Option<usize>,
}

/// A table for one query.
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
        let context = self.context(tables)?;
        let frame = context.sql(sql).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        Ok(concat_batches(&schema, &batches)?)
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
        for table in tables {
            context.register_table(datafusion::common::TableReference::bare(table.name), Arc::new(mem_table(&table)?))?;
        }
        Ok(context)
    }
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
