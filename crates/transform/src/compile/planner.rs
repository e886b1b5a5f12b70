//! Planning SQL over declared sources, with our functions under the SQL names. No catalog, no session, no async.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, DFSchema, Result, TableReference, plan_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast;

/// Functions, and the tables a body may name.
pub struct Planner {
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    scalars: BTreeMap<String, Arc<ScalarUDF>>,
    aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

/// The session options every plan is made with: nothing a user's session could change.
pub fn options() -> ConfigOptions {
    let mut options = ConfigOptions::new();
    options.execution.time_zone = Some("+00:00".into());
    options.sql_parser.map_string_types_to_utf8view = false;
    options
}

impl Planner {
    /// A planner over tables of these schemas.
    pub fn new<'a>(tables: impl IntoIterator<Item = (&'a str, SchemaRef)>, limit: Option<usize>) -> Planner {
        let table = |(name, schema): (&str, SchemaRef)| (name.to_owned(), Arc::new(LogicalTableSource::new(schema)) as Arc<dyn TableSource>);
        let mut scalars = BTreeMap::new();
        for function in SessionStateDefaults::default_scalar_functions().into_iter().chain(crate::functions::all()) {
            for name in std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned()) {
                scalars.insert(name, Arc::clone(&function));
            }
        }
        let mut aggregates = BTreeMap::new();
        for function in crate::aggregate::udaf::all(limit) {
            for name in std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned()) {
                aggregates.insert(name, Arc::clone(&function));
            }
        }
        Planner {
            tables: tables.into_iter().map(table).collect(),
            scalars,
            aggregates,
            expr_planners: SessionStateDefaults::default_expr_planners(),
            options: options(),
        }
    }

    /// The analysed plan of a query: names resolved, types coerced, nothing rewritten.
    pub fn plan(&self, query: &ast::Query) -> Result<LogicalPlan> {
        let plan = SqlToRel::new(self).sql_statement_to_plan(ast::Statement::Query(Box::new(query.clone())))?;
        Analyzer::new().execute_and_check(plan, &self.options, |_, _| {})
    }

    /// An expression over columns of `schema`, types coerced.
    pub fn expr(&self, expr: &ast::Expr, schema: &DFSchema) -> Result<Expr> {
        let planned = SqlToRel::new(self).sql_to_expr(expr.clone(), schema, &mut PlannerContext::new())?;
        self.coerce(planned, schema)
    }

    /// Coerces the types within an expression.
    pub fn coerce(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        use datafusion::common::tree_node::{TransformedResult, TreeNode};
        let mut rewriter = datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter::new(schema);
        expr.rewrite(&mut rewriter).data()
    }
}

impl ContextProvider for Planner {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()) {
            Some(table) => Ok(Arc::clone(table)),
            None => plan_err!("no source named {name}"),
        }
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    // None: `first_value` and its kin in OVER bind to our aggregates of those names.
    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.scalars.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The index of a column in a plan node's schema.
pub fn index_of(schema: &DFSchema, column: &Column) -> Result<usize> {
    schema.index_of_column(column)
}
