//! The UDAFs in a session: every function in every position and in several plans, against the states driven by hand.

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::concat_batches;
use arrow::datatypes::*;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::super::udaf;
use super::golden::value_text;
use super::{bind_text, state_of};

const LIMIT: usize = 12;

/// Calls in SQL, with the same in the spelling of the cases, and the column they read. `{}` stands for the order among the
/// arguments, where there is one.
const CALLS: &[(&str, &str, &str)] = &[
    ("count(*)", "count", "id"),
    ("count(x)", "count", "x"),
    ("count(distinct s)", "count distinct limit=12", "s"),
    ("count(distinct id)", "count distinct limit=12", "id"),
    ("sum(x)", "sum", "x"),
    ("avg(x)", "avg", "x"),
    ("mean(x)", "avg", "x"),
    ("sum(i)", "sum", "i"),
    ("avg(i)", "avg", "i"),
    ("sum(d)", "sum", "d"),
    ("avg(d)", "avg", "d"),
    ("min(x)", "min", "x"),
    ("max(x)", "max", "x"),
    ("min(i)", "min", "i"),
    ("max(s)", "max", "s"),
    ("min(s)", "min", "s"),
    ("max(d)", "max", "d"),
    ("max(b)", "max", "b"),
    ("max(ts)", "max", "ts"),
    ("var(x)", "var_samp", "x"),
    ("var_samp(x)", "var_samp", "x"),
    ("var_pop(x)", "var_pop", "x"),
    ("stddev(x)", "stddev", "x"),
    ("stddev_samp(x)", "stddev_samp", "x"),
    ("stddev_pop(x)", "stddev_pop", "x"),
    ("bool_and(b)", "bool_and", "b"),
    ("bool_or(b)", "bool_or", "b"),
    ("first_value(x{})", "first_value", "x"),
    ("first_value(s ignore nulls{})", "first_value ignore_nulls", "s"),
    ("last_value(x{})", "last_value", "x"),
    ("last_value(i ignore nulls{})", "last_value ignore_nulls", "i"),
    ("nth_value(x, 2{})", "nth_value(2)", "x"),
    ("nth_value(s, -3{})", "nth_value(-3)", "s"),
    ("last_value(l{})", "last_value", "l"),
    ("first_value(l ignore nulls{})", "first_value ignore_nulls", "l"),
    ("nth_value(m, -2{})", "nth_value(-2)", "m"),
    ("approx_distinct(s)", "approx_distinct", "s"),
    ("approx_distinct(x)", "approx_distinct", "x"),
    ("approx_percentile_cont(x, 0.75)", "approx_percentile_cont(0.75)", "x"),
    ("array_agg(s{})", "array_agg limit=12", "s"),
    ("array_agg(x ignore nulls{})", "array_agg ignore_nulls limit=12", "x"),
];

/// Rows of three keys in the order of time, with everything a float column can hold.
fn rows() -> RecordBatch {
    let mut seed = 1u64;
    let mut next = |bound: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % bound
    };
    let n = 90;
    let special = [0.1, -0.0, 1e16, -1e16, 1e300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 12.34];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..n)),
        Arc::new(Int64Array::from_iter_values((0..n).map(|_| next(3) as i64))),
        // Gaps of 0.5 to 4 seconds.
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..n).scan(0, |at, _| {
            *at += 500_000 * (1 + next(8) as i64);
            Some(*at)
        }))),
    ];
    // Infinities come late, so that the sums before them are numbers.
    columns.push(Arc::new((0..n).map(|row| (next(6) > 0).then(|| special[next(if row < 50 { 6 } else { 10 }) as usize])).collect::<Float64Array>()));
    columns.push(Arc::new((0..n).map(|_| (next(5) > 0).then(|| if next(9) == 0 { i64::MAX } else { next(1000) as i64 })).collect::<Int64Array>()));
    columns.push(Arc::new((0..n).map(|_| (next(5) > 0).then(|| format!("s{}", next(20)))).collect::<StringArray>()));
    columns.push(Arc::new((0..n).map(|_| (next(5) > 0).then(|| next(4) > 0)).collect::<BooleanArray>()));
    let decimals = (0..n).map(|_| (next(5) > 0).then(|| i128::from(next(1_000_000)) - 500_000)).collect::<Decimal128Array>();
    columns.push(Arc::new(decimals.with_precision_and_scale(12, 2).unwrap()));
    let mut texts = ListBuilder::new(StringBuilder::new());
    (0..n).for_each(|_| {
        texts.append_option((next(5) > 0).then(|| (0..next(4)).map(|_| (next(5) > 0).then(|| format!("t{}", next(9)))).collect::<Vec<_>>()))
    });
    columns.push(Arc::new(texts.finish()));
    let floats = (0..n).map(|_| (next(5) > 0).then(|| (0..next(4)).map(|_| (next(5) > 0).then(|| special[next(10) as usize])).collect::<Vec<_>>()));
    columns.push(Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(floats)));
    RecordBatch::try_from_iter(["id", "k", "ts", "x", "i", "s", "b", "d", "l", "m"].into_iter().zip(columns)).unwrap()
}

struct Plan {
    partitions: usize,
    batch_size: usize,
    /// Whether partial aggregation gives up at once and passes each row's state on.
    skip_partial: bool,
}

const PLANS: [Plan; 4] = [
    Plan { partitions: 1, batch_size: 8192, skip_partial: false },
    Plan { partitions: 4, batch_size: 7, skip_partial: false },
    Plan { partitions: 3, batch_size: 1, skip_partial: false },
    Plan { partitions: 4, batch_size: 5, skip_partial: true },
];

fn session(plan: &Plan, tables: &[(&str, RecordBatch)]) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(plan.partitions).with_batch_size(plan.batch_size);
    if plan.skip_partial {
        config.options_mut().execution.skip_partial_aggregation_probe_rows_threshold = 0;
        config.options_mut().execution.skip_partial_aggregation_probe_ratio_threshold = 0.0;
    }
    let rules = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_aggregate_functions(udaf::all(Some(LIMIT)))
        .with_window_functions(vec![])
        .with_optimizer_rules(rules.collect())
        .build();
    let context = SessionContext::new_with_state(state);
    for (name, rows) in tables {
        let step = rows.num_rows().div_ceil(plan.partitions);
        let partitions = (0..plan.partitions).map(|i| {
            let (start, end) = ((i * step).min(rows.num_rows()), ((i + 1) * step).min(rows.num_rows()));
            vec![rows.slice(start, end - start)]
        });
        context.register_table(*name, Arc::new(MemTable::try_new(rows.schema(), partitions.collect()).unwrap())).unwrap();
    }
    context
}

fn query(context: &SessionContext, sql: &str) -> RecordBatch {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        concat_batches(&schema, &batches).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    })
}

/// The value of a call over some of the rows, by hand.
fn expected(call: &str, column: &ArrayRef, rows: impl IntoIterator<Item = usize>) -> String {
    let aggregate = bind_text(call, column.data_type()).unwrap();
    value_text(&state_of(aggregate.as_ref(), column, rows).finish().values, 0)
}

fn integers(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch[column].to_data().buffer::<i64>(0)[..batch.num_rows()].to_vec()
}

/// `count(*) AS c0, …`, with an order among the arguments of the calls that take one.
fn select_list(order: &str, clause: &str) -> String {
    let calls = CALLS.iter().enumerate().map(|(i, (call, _, _))| format!("{} {clause} AS c{i}", call.replace("{}", order)));
    calls.collect::<Vec<_>>().join(", ")
}

/// Compares each row's calls with those over the rows that `frame` gives for it.
fn check(sql: &str, result: &RecordBatch, rows: &RecordBatch, frame: impl Fn(usize) -> Vec<usize>) {
    for (i, (call, by_hand, column)) in CALLS.iter().enumerate() {
        let actual = &result[format!("c{i}").as_str()];
        for row in 0..result.num_rows() {
            let expected = expected(by_hand, &rows[*column], frame(row));
            assert_eq!(value_text(actual, row), expected, "{call}, row {row} of {sql}");
        }
    }
}

#[test]
fn in_plain_and_filter_and_group_by_positions_and_in_any_plan() {
    let rows = rows();
    let (keys, numbers) = (integers(&rows, "k"), integers(&rows, "id"));
    for plan in &PLANS {
        let context = session(plan, &[("t", rows.clone())]);
        let sql = format!("SELECT {} FROM t", select_list(" ORDER BY ts", ""));
        check(&sql, &query(&context, &sql), &rows, |_| (0..rows.num_rows()).collect());

        let sql = format!("SELECT {} FROM t", select_list(" ORDER BY ts", "FILTER (WHERE id % 3 = 1)"));
        check(&sql, &query(&context, &sql), &rows, |_| numbers.iter().filter(|&id| id % 3 == 1).map(|&id| id as usize).collect());

        let sql = format!("SELECT {} FROM t WHERE id < 0", select_list(" ORDER BY ts", ""));
        check(&sql, &query(&context, &sql), &rows, |_| vec![]);

        let filtered = select_list(" ORDER BY ts", "FILTER (WHERE x > 0 OR x IS NULL)");
        let passes = |row: usize| rows["x"].is_null(row) || rows["x"].as_primitive::<Float64Type>().value(row) > 0.0;
        for from in ["t", "(SELECT * FROM t ORDER BY k)"] {
            let sql = format!("SELECT k, {} FROM {from} GROUP BY k ORDER BY k", select_list(" ORDER BY ts", ""));
            let of_key = |key: usize| (0..keys.len()).filter(|&row| keys[row] as usize == key).collect::<Vec<_>>();
            check(&sql, &query(&context, &sql), &rows, of_key);

            let sql = format!("SELECT k, {filtered} FROM {from} GROUP BY k ORDER BY k");
            // DataFusion compares NaN as the greatest.
            let passes = |&row: &usize| passes(row) || rows["x"].as_primitive::<Float64Type>().value(row).is_nan();
            check(&sql, &query(&context, &sql), &rows, |key| of_key(key).into_iter().filter(passes).collect());

            let sql = format!("SELECT id, {} FROM {from} GROUP BY id ORDER BY id", select_list(" ORDER BY ts", ""));
            check(&sql, &query(&context, &sql), &rows, |row| vec![row]);
        }
    }
}

#[test]
fn the_order_among_the_arguments_decides_and_ties_are_broken_by_value() {
    let rows = rows();
    for plan in &PLANS {
        let context = session(plan, &[("t", rows.clone())]);
        let sql = "SELECT first_value(id ORDER BY ts DESC) AS a, last_value(id ORDER BY ts DESC) AS b, first_value(id ORDER BY k, ts DESC) AS c, \
                   last_value(id ORDER BY 1 + 0 * k) AS d, first_value(id ORDER BY 1 + 0 * k) AS e FROM t";
        let result = query(&context, sql);
        let keys = integers(&rows, "k");
        let last_of_key_0 = keys.iter().rposition(|&key| key == 0).unwrap() as i64;
        let values: Vec<i64> = result.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect();
        assert_eq!(values, [89, 0, last_of_key_0, 89, 0]);
    }
}

#[test]
fn in_over_positions_with_every_kind_of_frame() {
    let rows = rows();
    let (keys, times) = (integers(&rows, "k"), integers(&rows, "ts"));
    let n = rows.num_rows();
    let before = |row: usize| (0..=row).filter(|&other| keys[other] == keys[row]).collect::<Vec<_>>();
    let after = |row: usize| (row + 1..n).filter(|&other| keys[other] == keys[row]).collect::<Vec<_>>();
    let within = |row: usize, low: i64, high: i64| {
        let lies = |other: &usize| keys[*other] == keys[row] && (times[row] - high..=times[row] - low).contains(&times[*other]);
        (0..n).filter(lies).collect::<Vec<_>>()
    };
    let last = |rows: Vec<usize>, count: usize| rows[rows.len().saturating_sub(count)..].to_vec();
    type Frame<'a> = &'a dyn Fn(usize) -> Vec<usize>;
    let second = 1_000_000;
    let frames: [(&str, Frame<'_>); 7] = [
        ("ROWS BETWEEN 3 PRECEDING AND CURRENT ROW", &|row| last(before(row), 4)),
        ("ROWS BETWEEN 20 PRECEDING AND 2 FOLLOWING", &|row| [last(before(row), 21), after(row).into_iter().take(2).collect()].concat()),
        ("ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", &before),
        ("RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND CURRENT ROW", &|row| within(row, 0, 10 * second)),
        ("RANGE BETWEEN INTERVAL '20 seconds' PRECEDING AND INTERVAL '1 microsecond' PRECEDING", &|row| within(row, 1, 20 * second)),
        ("RANGE BETWEEN INTERVAL '1 minute' PRECEDING AND INTERVAL '30 seconds' PRECEDING", &|row| within(row, 30 * second, 60 * second)),
        ("ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", &|row| [before(row), after(row)].concat()),
    ];
    for plan in &PLANS[..2] {
        let context = session(plan, &[("t", rows.clone())]);
        for (frame, by_hand) in &frames {
            let sql = format!("SELECT id, {} FROM t WINDOW w AS (PARTITION BY k ORDER BY ts {frame}) ORDER BY id", select_list("", "OVER w"));
            check(&sql, &query(&context, &sql), &rows, by_hand);
        }
        let (frame, by_hand) = &frames[0];
        let filtered = select_list("", "FILTER (WHERE id % 2 = 0) OVER w");
        let sql = format!("SELECT id, {filtered} FROM t WINDOW w AS (PARTITION BY k ORDER BY ts {frame}) ORDER BY id");
        check(&sql, &query(&context, &sql), &rows, |row| by_hand(row).into_iter().filter(|row| row % 2 == 0).collect());
    }
}

#[test]
fn a_sliding_sum_forgets_what_left_it() {
    let minute = 60_000_000i64;
    let rows = RecordBatch::try_from_iter([
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values([0, 30, 40, 90].map(|at| at * minute))) as ArrayRef),
        ("x", Arc::new(Float64Array::from(vec![1e16, 1.0, -1e16, 1.0]))),
    ])
    .unwrap();
    let context = session(&PLANS[0], &[("t", rows)]);
    let sql = "SELECT sum(x) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS s, \
               1 + first_value(x) OVER (ORDER BY ts ROWS 1 PRECEDING) AS f FROM t ORDER BY ts";
    let result = query(&context, sql);
    // The built-in sum says 1e16, 1e16, 0, −1e16.
    assert_eq!(result["s"].as_primitive::<Float64Type>().values(), &[1e16, 1e16, 1.0, -9999999999999998.0]);
    assert_eq!(result["f"].as_primitive::<Float64Type>().values(), &[1e16, 1e16, 2.0, -1e16]);
}

#[test]
fn what_cannot_be_planned_says_what_to_write() {
    let rows = rows();
    let context = session(&PLANS[0], &[("t", rows.clone())]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let message = |context: &SessionContext, sql: &str| {
        runtime.block_on(async {
            let planned = context.sql(sql).await;
            let result = match planned {
                Ok(frame) => frame.collect().await.map(|_| ()),
                Err(error) => Err(error),
            };
            result.err().map_or_else(|| panic!("{sql} runs"), |error| error.to_string())
        })
    };
    let says = |sql: &str, part: &str| {
        let message = message(&context, sql);
        assert!(message.contains(part), "{sql}: {message}");
    };
    says("SELECT sum(s) FROM t", "sum does not take Utf8 · it takes integers");
    says("SELECT max(l) FROM t", "max does not take List(Utf8) · it takes booleans");
    says("SELECT sum(distinct x) FROM t", "write sum(…) without it");
    says("SELECT nth_value(x, id) FROM t", "is not a constant · write a number in its place");
    says("SELECT nth_value(x, 0) FROM t", "not a constant from 1 to 10000");
    says("SELECT approx_percentile_cont(x, 2.5) FROM t", "not a constant from 0 to 1");
    says("SELECT approx_percentile_cont(x) FROM t", "takes 2 arguments, not 1");
    says("SELECT count(distinct x, s) FROM t", "count(distinct …) takes 1 argument, not 2");
    let unlimited = SessionStateBuilder::new_with_default_features().with_aggregate_functions(udaf::all(None)).build();
    let unlimited = SessionContext::new_with_state(unlimited);
    unlimited.register_batch("t", rows).unwrap();
    assert!(message(&unlimited, "SELECT k, array_agg(x) FROM t GROUP BY k").contains("array_agg has no limit"));
}
