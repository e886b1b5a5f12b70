//! Functions that DataFusion knows as shorthands alone: `coalesce(a, b)` has no kernel, and is what `CASE WHEN a IS NOT NULL THEN a ELSE b END` gives.
//!
//! Its optimiser spells them out. Nothing else of the optimiser runs here.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};

/// By their canonical names: `ifnull` is `nvl`.
const SHORTHANDS: &[&str] = &["coalesce", "nvl", "nvl2", "arrow_cast", "arrow_try_cast"];

/// The expression with every shorthand spelled out.
pub(super) fn spelled_out(expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let spell_out = |e: Expr| match e {
        Expr::ScalarFunction(call) if SHORTHANDS.contains(&call.name()) => match call.func.simplify(call.args.clone(), &context)? {
            ExprSimplifyResult::Simplified(expr) => Ok(Transformed::yes(expr)),
            ExprSimplifyResult::Original(_) => Ok(Transformed::no(Expr::ScalarFunction(call))),
        },
        e => Ok(Transformed::no(e)),
    };
    expr.clone().transform_up(spell_out).data()
}
