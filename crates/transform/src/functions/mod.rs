//! Functions of ours, beside DataFusion's: what models are given of texts, and of vectors.
//!
//! | call | value |
//! |---|---|
//! | [`hash_bucket(value, n)`](hash_bucket) | a number from 0 to n − 1 |
//! | [`one_hot(value, 'a', 'b', …)`](one_hot) | a list of as many floats as there are values: 1 at the place of the value, 0 elsewhere |
//! | [`dot(a, b)`](vectors) | the sum of the products of two lists' elements |
//! | [`cosine(a, b)`](vectors) | the cosine of the angle between two lists |
//!
//! NULL of NULL, each of them. What they give is frozen: a change of a bit of it is another version of the function (see `compile::canonical`), and with it another meaning of whatever calls it.
//! Whatever is learned from data (means, categories that were met, weights) belongs in a model's own graph, where it is pinned with the rest of it.

pub mod hash_bucket;
pub mod one_hot;
pub mod vectors;

use std::sync::Arc;

use datafusion::common::{DataFusionError, ScalarValue, plan_datafusion_err};
use datafusion::logical_expr::{Expr, ReturnFieldArgs, ScalarUDF};

/// The names of all of them.
pub const NAMES: [&str; 4] = ["cosine", "dot", "hash_bucket", "one_hot"];

/// All of them, as DataFusion knows functions.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(vectors::Vectors::new(vectors::Kind::Cosine))),
        Arc::new(ScalarUDF::from(vectors::Vectors::new(vectors::Kind::Dot))),
        Arc::new(ScalarUDF::from(hash_bucket::HashBucket::default())),
        Arc::new(ScalarUDF::from(one_hot::OneHot::default())),
    ]
}

/// How long the lists are that an expression gives, where that is the same for every row.
pub fn list_length(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => list_length(&alias.expr),
        Expr::Cast(cast) => list_length(&cast.expr),
        Expr::ScalarFunction(call) if call.name() == one_hot::NAME => call.args.len().checked_sub(1),
        Expr::ScalarFunction(call) if call.name() == "make_array" => Some(call.args.len()),
        _ => None,
    }
}

/// The argument at a place, where it is a constant.
fn constant<'a>(args: &ReturnFieldArgs<'a>, at: usize) -> Option<&'a ScalarValue> {
    args.scalar_arguments.get(at).copied().flatten()
}

fn wrong(message: String) -> DataFusionError {
    plan_datafusion_err!("{message}")
}

#[cfg(test)]
mod tests;
