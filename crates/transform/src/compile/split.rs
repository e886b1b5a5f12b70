//! Splitting the analysed plan of a view body into row stage, aggregates and finishing expressions.
//!
//! The split is made before the optimiser, whose rewrites may change bits and let one feature's presence change another's. The plan is
//! a projection over window nodes over the input; the input is one source, or a union of projections of sources, with filters.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result, internal_err, plan_err};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::planner::index_of;

/// A view body taken apart. Expressions of `windows` are over the columns of the input; those of the branches over their source.
#[derive(Debug)]
pub struct Split {
    /// Output expressions and names, in which the value of `windows[i]` is the column named [`window_column`]`(i)`.
    pub outputs: Vec<(String, Expr)>,
    /// The distinct window calls.
    pub windows: Vec<WindowFunction>,
    /// The inputs.
    pub branches: Vec<BranchPlan>,
}

/// One input of a view: a source, a predicate, and the input columns as expressions over the source's columns.
#[derive(Debug, Clone)]
pub struct BranchPlan {
    /// The source's name.
    pub source: String,
    /// Rows that count; `None` for all.
    pub filter: Option<Expr>,
    /// The input columns by position.
    pub columns: Vec<Expr>,
}

/// Name of the column that stands for a window call's value.
pub fn window_column(index: usize) -> String {
    format!("window {index}")
}

/// Takes the analysed plan of a view body apart.
pub fn split(plan: &LogicalPlan) -> Result<Split> {
    let LogicalPlan::Projection(top) = plan else { return plan_err!("a view's body is a SELECT over windows") };
    let mut windows = Vec::new();
    let mut calls: Vec<(Column, usize)> = Vec::new();
    let mut input = top.input.as_ref();
    while let LogicalPlan::Window(node) = input {
        for expr in &node.window_expr {
            let Expr::WindowFunction(call) = expr.clone().unalias_nested().data else { return internal_err!("a window node holds {expr}") };
            calls.push((Column::from_name(expr.schema_name().to_string()), windows.len()));
            windows.push(*call);
        }
        input = node.input.as_ref();
    }
    let outputs = top.expr.iter().map(|expr| output(expr, &calls)).collect::<Result<Vec<_>>>()?;
    let mut branches = branches(input)?;
    // From here on the input's columns are known by position, so that every branch can say what they are.
    for call in &mut windows {
        positional_call(call, input)?;
    }
    let mut outputs = outputs;
    for (_, expr) in &mut outputs {
        *expr = positional(expr.clone(), input, Some(&calls))?;
    }
    branches.shrink_to_fit();
    Ok(Split { outputs, windows, branches })
}

fn output(expr: &Expr, calls: &[(Column, usize)]) -> Result<(String, Expr)> {
    let name = expr.qualified_name().1;
    let replaced = expr.clone().transform_up(|e| match &e {
        Expr::Column(column) => match calls.iter().find(|(name, _)| name.name == column.name) {
            Some((_, index)) => Ok(Transformed::yes(Expr::Column(Column::from_name(window_column(*index))))),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    });
    Ok((name, replaced.data()?.unalias_nested().data))
}

/// Name of the input column at a position.
pub fn input_column(index: usize) -> String {
    format!("input {index}")
}

fn positional(expr: Expr, input: &LogicalPlan, calls: Option<&[(Column, usize)]>) -> Result<Expr> {
    expr.transform_up(|e| match &e {
        Expr::Column(column) if calls.is_some_and(|calls| calls.iter().any(|(_, index)| column.name == window_column(*index))) => {
            Ok(Transformed::no(e))
        }
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::from_name(input_column(index_of(input.schema(), column)?))))),
        _ => Ok(Transformed::no(e)),
    })
    .data()
}

fn positional_call(call: &mut WindowFunction, input: &LogicalPlan) -> Result<()> {
    let params = &mut call.params;
    for expr in params.args.iter_mut().chain(&mut params.partition_by).chain(params.order_by.iter_mut().map(|sort| &mut sort.expr)) {
        *expr = positional(expr.clone(), input, None)?;
    }
    if let Some(filter) = &mut params.filter {
        **filter = positional((**filter).clone(), input, None)?;
    }
    Ok(())
}

/// The branches of an input, each with all its filters and projections composed into expressions over the source.
fn branches(plan: &LogicalPlan) -> Result<Vec<BranchPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let columns = scan.projected_schema.columns().into_iter().map(|column| Expr::Column(Column::from_name(column.name))).collect();
            Ok(vec![BranchPlan { source: scan.table_name.table().to_owned(), filter: None, columns }])
        }
        LogicalPlan::SubqueryAlias(alias) => branches(&alias.input),
        LogicalPlan::Filter(node) => {
            let mut inputs = branches(&node.input)?;
            for branch in &mut inputs {
                let predicate = compose(&node.predicate, &node.input, branch)?;
                branch.filter = conjunction(branch.filter.take().into_iter().chain([predicate]));
            }
            Ok(inputs)
        }
        LogicalPlan::Projection(node) => {
            let mut inputs = branches(&node.input)?;
            for branch in &mut inputs {
                branch.columns = node.expr.iter().map(|expr| compose(expr, &node.input, branch)).collect::<Result<_>>()?;
            }
            Ok(inputs)
        }
        LogicalPlan::Union(node) => {
            let mut all = Vec::new();
            for input in &node.inputs {
                all.extend(branches(input)?);
            }
            Ok(all)
        }
        other => {
            plan_err!("`{}` is not supported in a view: write a SELECT over one source or a UNION ALL of projections of sources", other.display())
        }
    }
}

/// An expression over the output of `input`, as one over the source of a branch of it.
fn compose(expr: &Expr, input: &LogicalPlan, branch: &BranchPlan) -> Result<Expr> {
    expr.clone()
        .unalias_nested()
        .data
        .transform_up(|e| match &e {
            Expr::Column(column) => Ok(Transformed::yes(branch.columns[index_of(input.schema(), column)?].clone())),
            _ => Ok(Transformed::no(e)),
        })
        .data()
}

impl BranchPlan {
    /// An expression over input positions, as one over this branch's source.
    pub fn over_source(&self, expr: &Expr) -> Result<Expr> {
        expr.clone()
            .transform_up(|e| match &e {
                Expr::Column(column) => {
                    let at = (0..self.columns.len()).find(|&i| input_column(i) == column.name);
                    match at {
                        Some(at) => Ok(Transformed::yes(self.columns[at].clone())),
                        None => internal_err!("no input column {column}"),
                    }
                }
                _ => Ok(Transformed::no(e)),
            })
            .data()
    }
}
