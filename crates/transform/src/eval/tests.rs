//! Whatever rows stand beside it, a row's outcome is what it is by itself.

use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::compile::{Planner, physical};

/// Expressions that fail for some rows, and everything that may keep a kernel from looking at a row.
const EXPRESSIONS: &[&str] = &[
    "a / b",
    "a % b",
    "a / b + a / c",
    "CAST(s AS BIGINT)",
    "CAST(f AS INT)",
    "CAST(a * 1000000000000 AS INT)",
    "CAST(s AS TIMESTAMP)",
    "CAST(s AS DATE)",
    "CAST(f AS DECIMAL(5, 2))",
    "TRY_CAST(s AS BIGINT)",
    "TRY_CAST(s AS BIGINT) / b",
    "1 / 0",
    "a + 1 / 0",
    "b <> 0 AND a / b > 1",
    "b = 0 OR a / b > 1",
    "flag AND a / b > 1",
    "flag OR a / b > 1",
    "NOT flag AND a / b > 1",
    "flag IS NULL OR a / b = 1",
    "flag AND 1 / 0 > 1",
    "flag OR 1 / 0 > 1",
    "(flag AND a / b > 0) OR a / c > 0",
    "(flag OR a / b > 0) AND (a / c > 0 OR NOT flag)",
    "a > 0 AND b > 0 AND a / (b - 1) > 0 AND c / (a - 1) > 0",
    "flag AND NULL",
    "NULL OR a / b > 0",
    "flag = (a / b > 0)",
    "CASE WHEN b <> 0 THEN a / b END",
    "CASE WHEN flag THEN a / b ELSE a / c END",
    "CASE WHEN flag THEN a ELSE a / c END",
    "CASE WHEN flag THEN 1 ELSE 2 END",
    "CASE WHEN flag THEN 1 / 0 ELSE a END",
    "CASE WHEN flag THEN 1 / 0 END",
    "CASE WHEN b = 0 THEN a / c WHEN c = 0 THEN a / b ELSE 1 / 0 END",
    "CASE WHEN a / b > 0 THEN 1 WHEN a / c > 0 THEN 2 ELSE 3 END",
    "CASE b WHEN 0 THEN a / c WHEN 1 THEN a / b ELSE c / a END",
    "CASE a / b WHEN 1 THEN c WHEN a / c THEN b END",
    "CASE s WHEN '1' THEN 'one' WHEN 'x' THEN 'ex' ELSE 'other' END",
    "CASE s WHEN 'x' THEN 0 ELSE CAST(s AS BIGINT) END",
    "CASE WHEN flag THEN f END",
    "coalesce(a / b, c)",
    "coalesce(c, a / b)",
    "coalesce(TRY_CAST(s AS BIGINT), a / b, 7)",
    "nullif(a / b, c)",
    "nvl(c, a / b)",
    "nvl2(c, a / b, a)",
    "ifnull(c, a % b)",
    "greatest(a / b, c)",
    "least(a, b / c, 3)",
    "a IN (b, c, a / b)",
    "a IN (1, 2, 3)",
    "s IN ('1', 'x', NULL)",
    "a BETWEEN b AND a / c",
    "s LIKE '1%' AND CAST(s AS BIGINT) > 2",
    "s LIKE s",
    "regexp_like(s, s)",
    "regexp_replace(s, '[0-9]', s)",
    "abs(a - 9223372036854775807 - 2)",
    "-a",
    "factorial(a)",
    "gcd(a, b)",
    "lcm(a, b)",
    "chr(a)",
    "repeat(s, 3)",
    "lpad(s, 7, 'x')",
    "left(s, a)",
    "substr(s, a, b)",
    "split_part(s, '1', a)",
    "to_hex(a)",
    "s || CAST(a AS VARCHAR)",
    "round(f, 1)",
    "sqrt(f)",
    "f / 0",
    "f % b",
    "a << b",
    "a & b",
    "make_date(a, b, c)",
    "date_trunc('day', CAST(s AS TIMESTAMP))",
    "to_timestamp(s)",
    "date_part('hour', CAST(s AS TIMESTAMP))",
    "CAST('2024-01-01' AS TIMESTAMP) + INTERVAL '1 day'",
];

const TEXTS: [&str; 7] = ["1", "-20", "x", "", "2024-05-01T10:00:00", "(", "9999999999999999999"];

#[derive(Debug, Clone)]
struct Row {
    a: Option<i64>,
    b: Option<i64>,
    c: Option<i64>,
    f: Option<f64>,
    s: Option<&'static str>,
    flag: Option<bool>,
}

/// Of `one_in` rows, one has what expressions trip over.
fn row(one_in: u32) -> impl Strategy<Value = Row> {
    let integer = move || prop_oneof![8 * one_in => (1i64..6).prop_map(Some), 4 => Just(Some(0)), 1 => Just(None), 1 => Just(Some(-1)), 1 => Just(Some(i64::MIN))];
    let float = prop_oneof![8 * one_in => (0u8..9).prop_map(|f| Some(f64::from(f) / 2.0)), 2 => Just(Some(1e300)), 1 => Just(Some(f64::NAN)), 1 => Just(None)];
    let text = prop_oneof![8 * one_in => Just(Some("1")), 8 => (0..TEXTS.len()).prop_map(|at| Some(TEXTS[at])), 1 => Just(None)];
    let flag = prop_oneof![4 => Just(Some(true)), 12 => Just(Some(false)), 1 => Just(None)];
    (integer(), integer(), integer(), float, text, flag).prop_map(|(a, b, c, f, s, flag)| Row { a, b, c, f, s, flag })
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.a).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.b).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.c).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.s).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).unwrap()
}

fn schema() -> Schema {
    let types = [DataType::Int64, DataType::Int64, DataType::Int64, DataType::Float64, DataType::Utf8, DataType::Boolean];
    Schema::new(
        ["a", "b", "c", "f", "s", "flag"].into_iter().zip(types).map(|(name, data_type)| Field::new(name, data_type, true)).collect::<Vec<_>>(),
    )
}

fn compile(text: &str) -> RowExpr {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
    let schema = DFSchema::try_from(schema()).unwrap();
    let planned = Planner::new([], None).expr(&parsed, &schema).unwrap_or_else(|error| panic!("{text}: {error}"));
    physical(&planned, &schema).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Value and failure of each row.
fn outcomes(expr: &RowExpr, batch: &RecordBatch) -> Vec<(arrow::array::ArrayData, bool)> {
    let Evaluated { values, failed } = expr.evaluate(batch).unwrap();
    assert_eq!(values.data_type(), &expr.data_type);
    let failed = |row: usize| failed.as_ref().is_some_and(|failed| failed.value(row));
    (0..batch.num_rows()).map(|row| (values.slice(row, 1).to_data(), failed(row))).collect()
}

fn check(rows: &[Row], cut: usize) -> Result<(), TestCaseError> {
    let whole = batch(rows);
    for text in EXPRESSIONS {
        let expr = compile(text);
        let single: Vec<_> = (0..rows.len()).flat_map(|row| outcomes(&expr, &whole.slice(row, 1))).collect();
        let (first, second) = (whole.slice(0, cut), whole.slice(cut, rows.len() - cut));
        for (found, wanted) in
            [(outcomes(&expr, &whole), &single[..]), (outcomes(&expr, &first), &single[..cut]), (outcomes(&expr, &second), &single[cut..])]
        {
            for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                prop_assert_eq!(found, wanted, "{} of row {}", text, at);
            }
        }
    }
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn an_outcome_is_of_its_row_alone(rows in vec(row(1), 1..40), cut in any::<prop::sample::Index>()) {
        check(&rows, cut.index(rows.len() + 1))?;
    }

    /// Few rows fail, as in life: kernels choose other ways through a batch then.
    #[test]
    fn a_rare_failure_is_of_its_row_alone(rows in vec(row(60), 1..200), cut in any::<prop::sample::Index>()) {
        check(&rows, cut.index(rows.len() + 1))?;
    }
}

#[test]
fn a_failure_is_null_and_marked() {
    let row = |a, b| Row { a: Some(a), b: Some(b), c: None, f: None, s: None, flag: None };
    let Evaluated { values, failed } = compile("a / b").evaluate(&batch(&[row(6, 3), row(1, 0), row(7, 2)])).unwrap();
    assert_eq!(values.to_data(), Int64Array::from(vec![Some(2), None, Some(3)]).to_data());
    assert_eq!(failed, Some(BooleanArray::from(vec![false, true, false])));
    let none = compile("1 / 0").evaluate(&batch(&[])).unwrap();
    assert_eq!((none.values.len(), none.values.data_type()), (0, &DataType::Int64));
}
