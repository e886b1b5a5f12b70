//! The functions as services call them: values made outside Rust, and what becomes of NULL and of rows that fail.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::list_length;
use crate::compile::{Planner, physical};
use crate::eval::Evaluated;

const CASES: &str = include_str!("../../../../tests/golden/functions/cases.txt");

/// An expression over columns `a`, `b`, as a definition has it.
fn evaluate(sql: &str, columns: &[ArrayRef]) -> Evaluated {
    let fields = columns.iter().zip(["a", "b"]).map(|(column, name)| Field::new(name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let planned = DFSchema::try_from(Arc::clone(&schema)).unwrap();
    let expr = Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
    let expr = Planner::new([], None).expr(&expr, &planned).unwrap();
    physical(&expr, &planned).unwrap().evaluate(&RecordBatch::try_new(schema, columns.to_vec()).unwrap()).unwrap()
}

fn float(text: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(text, 16).unwrap())
}

fn list(text: &str) -> ArrayRef {
    let elements = text.split_whitespace().map(|element| Some(float(element))).collect::<Vec<_>>();
    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(elements)]))
}

fn scalar(kind: &str, text: &str) -> ArrayRef {
    match kind {
        "Utf8" => Arc::new(StringArray::from(vec![serde_json::from_str::<String>(text).unwrap()])),
        "Int64" => Arc::new(Int64Array::from(vec![text.parse::<i64>().unwrap()])),
        "UInt64" => Arc::new(UInt64Array::from(vec![text.parse::<u64>().unwrap()])),
        "Boolean" => Arc::new(BooleanArray::from(vec![text == "true"])),
        "Float64" => Arc::new(Float64Array::from(vec![float(text)])),
        other => panic!("{other}"),
    }
}

#[test]
fn values_are_those_that_were_made_outside_of_rust() {
    let mut wrong = String::new();
    let mut cases = 0;
    for line in CASES.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let actual = match parts[..] {
            ["hash_bucket", kind, value, buckets, _] => {
                let found = evaluate(&format!("hash_bucket(a, {buckets})"), &[scalar(kind, value)]);
                found.values.as_primitive::<arrow::datatypes::Int64Type>().value(0).to_string()
            }
            [function, a, b, _] => {
                let found = evaluate(&format!("{function}(a, b)"), &[list(a), list(b)]);
                let value = found.values.as_primitive::<Float64Type>().iter().next().unwrap();
                value.map_or_else(|| "null".to_owned(), |value| format!("{:016x}", value.to_bits()))
            }
            _ => panic!("not a case: {line}"),
        };
        if Some(&actual.as_str()) != parts.last() {
            writeln!(wrong, "{line:.200}: {actual}").unwrap();
        }
        cases += 1;
    }
    assert!(cases > 500, "{cases} cases");
    assert!(wrong.is_empty(), "{} wrong of {cases}:\n{wrong}", wrong.lines().count());
}

#[test]
fn whole_numbers_of_every_width_have_one_bucket() {
    let bucket = |column: ArrayRef| evaluate("hash_bucket(a, 1000000)", &[column]).values;
    let wide = bucket(Arc::new(Int64Array::from(vec![Some(-7), None, Some(300)])));
    assert_eq!(&wide, &bucket(Arc::new(Int16Array::from(vec![Some(-7), None, Some(300)]))));
    assert_eq!(&wide, &bucket(Arc::new(Int32Array::from(vec![Some(-7), None, Some(300)]))));
    assert!(wide.is_null(1));
}

#[test]
fn one_hot_has_a_place_for_each_value_that_is_named() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![Some("AA"), Some("XX"), None, Some("UA")]));
    let rows = |lists: [Option<[f32; 2]>; 4]| -> ArrayRef {
        let lists = lists.map(|list| list.map(|list| list.map(Some)));
        Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(lists))
    };
    assert_eq!(&evaluate("one_hot(a, 'UA', 'AA')", &[Arc::clone(&column)]).values, &rows([Some([0.0, 1.0]), Some([0.0; 2]), None, Some([1.0, 0.0])]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), Some(-1), None, Some(7)]));
    assert_eq!(&evaluate("one_hot(a, 7, -1)", &[numbers]).values, &rows([Some([0.0; 2]), Some([0.0, 1.0]), None, Some([1.0, 0.0])]));
    let truths: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]));
    assert_eq!(&evaluate("one_hot(a, false, true)", &[truths]).values, &rows([Some([0.0, 1.0]), Some([1.0, 0.0]), None, Some([0.0, 1.0])]));
    let filled = evaluate("one_hot(coalesce(a, ''), 'UA', 'AA')", &[column]).values;
    assert_eq!(filled.null_count(), 0);
}

#[test]
fn lists_that_do_not_go_together_fail_by_themselves() {
    let lists = |lists: Vec<Option<Vec<Option<f64>>>>| -> ArrayRef { Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists)) };
    let a = lists(vec![Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(1.0)]), None, Some(vec![Some(1.0), None])]);
    let b = lists(vec![Some(vec![Some(3.0), Some(4.0)]), Some(vec![Some(1.0), Some(1.0)]), Some(vec![]), Some(vec![Some(1.0), Some(1.0)])]);
    let found = evaluate("dot(a, b)", &[a, b]);
    assert_eq!(found.values.as_primitive::<Float64Type>(), &Float64Array::from(vec![Some(11.0), None, None, None]));
    assert_eq!(found.failed, Some(BooleanArray::from(vec![false, true, false, false])));
    let whole: ArrayRef = Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>([Some(vec![Some(3), Some(4)])]));
    assert_eq!(evaluate("cosine(a, [4, 3])", &[whole]).values.as_primitive::<Float64Type>().value(0), 0.96);
}

#[test]
fn the_length_of_a_list_is_known_where_every_row_has_as_many() {
    let schema = DFSchema::try_from(Schema::new(vec![Field::new("a", DataType::Utf8, true)])).unwrap();
    let length = |sql: &str| {
        let expr = Parser::new(&GenericDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
        list_length(&Planner::new([], None).expr(&expr, &schema).unwrap())
    };
    assert_eq!(length("one_hot(a, 'x', 'y', 'z')"), Some(3));
    assert_eq!(length("[1.0, 2.0]"), Some(2));
    assert_eq!(length("string_to_array(a, ',')"), None);
}
