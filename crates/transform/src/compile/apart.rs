//! A body planned call by call.
//!
//! DataFusion names a call over a window by its text without casts, so that `sum(x) OVER w` and `sum(CAST(x AS BIGINT)) OVER w`, or days in two zones, share a name, and it
//! refuses a SELECT that has both. Such a body is planned one call at a time, and its items over the values of the calls.

use std::ops::ControlFlow;

use datafusion::common::{DFSchema, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{self, Ident, SelectItem, VisitMut, VisitorMut};

use super::planner::Planner;
use super::split::{BranchPlan, Split, split, window_column};
use super::{CompileError, ViewInput, compiler_values_schema, item_name};

/// Whether two calls of a body share a name.
pub(super) fn is_needed(error: &DataFusionError) -> bool {
    let is_twice = |error: &SchemaError| matches!(error, SchemaError::DuplicateUnqualifiedField { .. } | SchemaError::DuplicateQualifiedField { .. });
    matches!(error.find_root(), DataFusionError::SchemaError(error, _) if is_twice(error))
}

/// Plans a body call by call.
///
/// # Errors
/// Where a call or an item does not plan by itself.
pub(super) fn plan(view: &ViewInput<'_>, planner: &Planner, query: &ast::Query) -> Result<Split, CompileError> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else { return Err("a view's body is a SELECT over windows".to_owned().into()) };
    let by_itself = |item: SelectItem| -> Result<Split, CompileError> {
        let mut select = select.clone();
        select.projection = vec![item];
        let query = ast::Query { body: Box::new(ast::SetExpr::Select(select)), ..query.clone() };
        Ok(split(&planner.plan(&query)?)?)
    };
    let mut calls = Calls(Vec::new());
    let mut items = Vec::new();
    for item in &select.projection {
        let mut item = item.clone();
        let before = item.clone();
        let _ = item.visit(&mut calls);
        items.push((item_name(&item).unwrap_or_default(), if item == before { Item::OfRow(item) } else { Item::OfWindows(item) }));
    }
    let mut whole = Split { outputs: Vec::new(), windows: Vec::new(), branches: Vec::new() };
    for (index, call) in calls.0.iter().enumerate() {
        let alias = Ident::with_quote('"', window_column(index));
        let part = by_itself(SelectItem::ExprWithAlias { expr: call.clone(), alias })?;
        whole.windows.extend(part.windows);
        whole.branches = part.branches;
    }
    let values = values(view, &whole)?;
    for (name, item) in items {
        let expr = match item {
            Item::OfWindows(SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr)) => planner.expr(&expr, &values)?,
            Item::OfWindows(other) | Item::OfRow(other) => {
                let outputs = by_itself(other)?.outputs;
                outputs.into_iter().next().map(|(_, expr)| expr).ok_or_else(|| CompileError::from("a SELECT without items".to_owned()))?
            }
        };
        whole.outputs.push((name, unqualified(expr)?));
    }
    Ok(whole)
}

enum Item {
    /// Without calls over windows: part of the key.
    OfRow(SelectItem),
    OfWindows(SelectItem),
}

fn values(view: &ViewInput<'_>, split: &Split) -> Result<DFSchema, CompileError> {
    let source =
        |branch: &BranchPlan| view.sources.get(&branch.source).ok_or_else(|| CompileError::from(format!("no source named {}", branch.source)));
    let schemas = split.branches.iter().map(|branch| Ok(DFSchema::try_from(source(branch)?.schema.clone())?));
    let schemas = schemas.collect::<Result<Vec<_>, CompileError>>()?;
    Ok(DFSchema::try_from(compiler_values_schema(split, &schemas)?)?)
}

fn unqualified(expr: Expr) -> Result<Expr, CompileError> {
    Ok(expr.unalias_nested().data)
}

/// Takes calls over windows out of expressions, and puts the columns of their values in their place.
struct Calls(Vec<ast::Expr>);

impl VisitorMut for Calls {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if matches!(expr, ast::Expr::Function(function) if function.over.is_some()) {
            let index = super::position_or_push(&mut self.0, expr.clone(), |a, b| a == b);
            *expr = ast::Expr::Identifier(Ident::with_quote('"', window_column(index)));
        }
        ControlFlow::Continue(())
    }
}
