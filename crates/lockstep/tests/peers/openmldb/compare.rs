//! Whether rows are those that are expected.

use serde_json::Value;

use super::case::Type;
use crate::engine::micros;
use crate::tally::Outcome;

/// Their floats are of 32 bits and summed as such.
const FLOAT_TOLERANCE: f64 = 1e-5;
/// Their doubles are summed one by one.
const DOUBLE_TOLERANCE: f64 = 1e-9;

/// Compares rows in any order.
pub fn rows(types: &[Type], expected: &[Vec<Value>], found: &[Vec<Value>], limit: Option<usize>) -> Outcome {
    if limit.is_some_and(|limit| limit < found.len()) {
        return Outcome::Inexpressible("some of the rows are wanted, without an order that says which".into());
    }
    let mut left: Vec<&Vec<Value>> = found.iter().collect();
    for row in expected {
        let Some(at) = left.iter().position(|found| same(types, row, found)) else {
            let first = row.first();
            let near: Vec<&&Vec<Value>> = left.iter().filter(|found| same(&types[..1], &row[..1], &found[..1])).collect();
            return Outcome::Differs(format!("no row {row:?}; of {first:?}: {near:?}"));
        };
        left.remove(at);
    }
    if left.is_empty() { Outcome::Agrees } else { Outcome::Differs(format!("{left:?} besides")) }
}

fn same(types: &[Type], expected: &[Value], found: &[Value]) -> bool {
    expected.len() == found.len() && types.iter().zip(expected.iter().zip(found)).all(|(of, (expected, found))| value(*of, expected, found))
}

fn value(of: Type, expected: &Value, found: &Value) -> bool {
    if expected.is_null() || found.is_null() {
        return expected.is_null() && found.is_null();
    }
    let near = |tolerance: f64| match (number(expected), number(found)) {
        (Some(expected), Some(found)) => (expected - found).abs() <= tolerance * expected.abs().max(found.abs()),
        _ => false,
    };
    match of {
        Type::Float => near(FLOAT_TOLERANCE),
        Type::Double => near(DOUBLE_TOLERANCE),
        Type::Int16 | Type::Int32 | Type::Int64 => near(0.0),
        Type::Timestamp => found.as_str().and_then(micros).zip(expected.as_i64()).is_some_and(|(found, expected)| found == expected * 1000),
        Type::Bool | Type::Text | Type::Date => expected == found,
    }
}

/// Whole numbers of 64 bits are texts.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}
