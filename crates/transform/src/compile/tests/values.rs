//! Rows through compiled views, with the values worked out by hand.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use lockstep_model::EventTime;

use super::{catalog, feed, read, sales, shown};
use crate::tiles::MemoryState;

type Sale = (&'static str, Option<&'static str>, Option<f64>, Option<i32>, Option<bool>, &'static str);

fn columns(sales: &[Sale]) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::from_iter_values(0..sales.len() as i64)),
        Arc::new(StringArray::from_iter(sales.iter().map(|sale| Some(sale.0)))),
        Arc::new(StringArray::from_iter(sales.iter().map(|sale| sale.1))),
        Arc::new(Float64Array::from_iter(sales.iter().map(|sale| sale.2))),
        Arc::new(Int32Array::from_iter(sales.iter().map(|sale| sale.3))),
        Arc::new(BooleanArray::from_iter(sales.iter().map(|sale| sale.4))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(sales.iter().map(|sale| moment(sale.5)))),
    ]
}

fn moment(text: &str) -> i64 {
    EventTime::parse(text).unwrap().0
}

/// Three hours of one shop, and a sale of another.
const DAY: [Sale; 6] = [
    ("a", Some("tea"), Some(2.0), Some(1), Some(true), "2024-05-01T10:00:00Z"),
    ("a", Some("jam"), Some(4.0), Some(0), Some(false), "2024-05-01T11:00:00Z"),
    ("a", None, None, Some(3), None, "2024-05-01T11:30:00Z"),
    ("a", Some("tea"), Some(8.0), Some(2), Some(true), "2024-05-01T12:00:00Z"),
    ("a", Some("bun"), Some(-1.0), None, Some(true), "2024-05-01T12:00:00Z"),
    ("b", Some("jam"), Some(100.0), Some(1), Some(true), "2024-05-01T12:00:00Z"),
];

/// The features of shops at a moment, given what is selected and from where.
fn at(features: &str, at: &str, shops: &[&str]) -> Vec<String> {
    let catalog = catalog(&sales(features)).unwrap_or_else(|error| panic!("{features}\n{error}"));
    let view = &catalog.views["v"];
    let mut state = MemoryState::default();
    feed(view, 0, columns(&DAY), &catalog, &mut state);
    shown(&read(view, &state, shops, moment(at)))
}

const HOUR: &str = "WINDOW w AS ({w} RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW)";

#[test]
fn both_edges_count() {
    let features = format!("count(*) OVER w AS n, sum(price) OVER w AS p FROM sales {HOUR}");
    assert_eq!(at(&features, "2024-05-01T12:00:00Z", &["a", "b", "nobody"]), ["4 11.0", "1 100.0", "0/NotFound NULL/NotFound"]);
    assert_eq!(at(&features, "2024-05-01T12:00:00.000001Z", &["a"]), ["3 7.0"]);
    assert_eq!(at(&features, "2024-05-01T11:59:59.999999Z", &["a"]), ["2 4.0"]);
    assert_eq!(at(&features, "2024-05-01T09:59:59.999999Z", &["a"]), ["0/NotFound NULL/NotFound"]);
    assert_eq!(at(&features, "2024-05-02T00:00:00Z", &["a"]), ["0 NULL/Null"]);
}

#[test]
fn filters_pass_what_is_true() {
    let features = format!(
        "count(*) FILTER (WHERE paid) OVER w AS paid, count(*) FILTER (WHERE NOT paid) OVER w AS unpaid,
         count(*) FILTER (WHERE paid IS NULL) OVER w AS unknown, max(price) FILTER (WHERE item = 'tea') OVER w AS tea FROM sales {HOUR}"
    );
    assert_eq!(at(&features, "2024-05-01T12:00:00Z", &["a"]), ["2 1 1 8.0"]);
    let filtered = format!("count(*) OVER w AS n, first_value(item) OVER w AS item FROM sales WHERE paid AND price > 0 {HOUR}");
    assert_eq!(at(&filtered, "2024-05-01T12:00:00Z", &["a", "b"]), ["1 tea", "1 jam"]);
}

#[test]
fn expressions_are_finished_over_aggregates() {
    let features = format!(
        "sum(price) OVER w / count(price) OVER w AS mean, count(*) OVER w / nullif(count(*) OVER d, 0.0) AS share,
         CASE WHEN count(*) OVER w > 3 THEN 'busy' ELSE 'calm' END AS mood, 100 / (count(*) OVER w - 4) AS odd
         FROM sales {HOUR}, d AS ({{w}} RANGE INTERVAL '1 day' PRECEDING)"
    );
    assert_eq!(at(&features, "2024-05-01T12:00:00Z", &["a", "b"]), ["3.6666666666666665 0.8 busy NULL/Error", "100.0 1.0 calm -33"]);
}

#[test]
fn order_is_that_of_time_and_key() {
    let features = "last_value(item) OVER w AS last, first_value(item) OVER w AS first, array_agg(item) OVER w AS items,
         nth_value(price, 2) OVER w AS second, last_value(item) OVER before AS earlier FROM sales
         WINDOW w AS ({w} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), before AS ({w} ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING)";
    assert_eq!(at(features, "2024-05-01T12:00:00Z", &["a"]), ["bun NULL/Null [, tea, bun] 8.0 tea"]);
}

#[test]
fn constants_are_arguments() {
    let features = format!(
        "count(1) OVER w AS n, count('x') OVER w AS x, sum(2) OVER w AS twice, avg(1.5) OVER w AS same,
         last_value('z') OVER w AS z, count(DISTINCT 7) OVER r AS one
         FROM sales {HOUR}, r AS ({{w}} ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)"
    );
    assert_eq!(at(&features, "2024-05-01T12:00:00Z", &["a"]), ["4 4 8 1.5 z 1"]);
}

#[test]
fn what_is_never_true_counts_nothing() {
    let features = format!("count(*) OVER w AS n FROM sales WHERE NULL {HOUR}");
    assert_eq!(at(&features, "2024-05-01T12:00:00Z", &["a"]), ["0/NotFound"]);
    let features = format!("count(*) FILTER (WHERE NULL) OVER w AS n FROM sales {HOUR}");
    assert_eq!(at(&features, "2024-05-01T12:00:00Z", &["a"]), ["0"]);
}

#[test]
fn a_row_that_fails_is_null_and_counted() {
    let catalog = catalog(&sales(&format!("sum(12 / pieces) OVER w AS p, count(*) OVER w AS n FROM sales {HOUR}"))).unwrap();
    let view = &catalog.views["v"];
    let mut state = MemoryState::default();
    let staged = feed(view, 0, columns(&DAY), &catalog, &mut state);
    assert_eq!((staged.failed, staged.null_keys, staged.len()), (1, 0, 6));
    assert_eq!(shown(&read(view, &state, &["a"], moment("2024-05-01T12:00:00Z"))), ["10 4"]);
}

#[test]
fn branches_of_a_union_are_one_history() {
    let sql = "CREATE FEATURE VIEW v ENTITY shop AS
        SELECT shop, sum(amount) OVER w AS balance, count(*) FILTER (WHERE kind = 'back') OVER w AS backs, last_value(kind) OVER w AS last
        FROM (SELECT shop, price AS amount, 'sale' AS kind, sold_at AS at FROM sales WHERE price > 0
              UNION ALL
              SELECT CAST(shop AS VARCHAR), -refund, 'back', returned_at FROM returns) AS moves
        WINDOW w AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW)";
    let catalog = catalog(sql).unwrap();
    let view = &catalog.views["v"];
    assert_eq!(view.branches.iter().map(|branch| branch.source.as_str()).collect::<Vec<_>>(), ["sales", "returns"]);
    let mut state = MemoryState::default();
    let mut sold = DAY;
    sold.iter_mut().for_each(|sale| sale.0 = "7");
    feed(view, 0, columns(&sold), &catalog, &mut state);
    let times = ["2024-05-01T12:00:00Z", "2024-05-01T12:30:00Z"].map(moment);
    let returned: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![0, 1])),
        Arc::new(Int64Array::from(vec![Some(7), None])),
        Arc::new(Int32Array::from(vec![5, 6])),
        Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
    ];
    let staged = feed(view, 1, returned, &catalog, &mut state);
    assert_eq!((staged.len(), staged.null_keys), (1, 1));
    // 4 + 8 + 100 of sales above nothing, 5 back; of one moment, the later branch is last.
    assert_eq!(shown(&read(view, &state, &["7"], moment("2024-05-01T12:00:00Z"))), ["107.0 1 back"]);
}

#[test]
fn values_expire_after_their_ttl() {
    let sql = sales(&format!("count(*) OVER w AS n FROM sales {HOUR}")).replace("ENTITY shop AS", "ENTITY shop WITH (ttl = '1 day') AS");
    let catalog = catalog(&sql).unwrap();
    let mut state = MemoryState::default();
    feed(&catalog.views["v"], 0, columns(&DAY), &catalog, &mut state);
    let shown_at = |at: &str| shown(&read(&catalog.views["v"], &state, &["a"], moment(at)));
    assert_eq!(shown_at("2024-05-02T12:00:00Z"), ["0"]);
    assert_eq!(shown_at("2024-05-02T12:00:00.000001Z"), ["NULL/Expired"]);
}

#[test]
fn a_limit_passed_is_an_error_of_what_reads_it() {
    let sql = sales(&format!(
        "count(DISTINCT item) OVER w AS items, count(DISTINCT item) OVER w + count(*) OVER w AS both, count(*) OVER w AS n FROM sales {HOUR}"
    ));
    let catalog = catalog(&sql.replace("ENTITY shop AS", "ENTITY shop WITH (limit = 2) AS")).unwrap();
    let mut state = MemoryState::default();
    feed(&catalog.views["v"], 0, columns(&DAY), &catalog, &mut state);
    let shown_at = |at: &str| shown(&read(&catalog.views["v"], &state, &["a", "b"], moment(at)));
    assert_eq!(shown_at("2024-05-01T12:00:00Z"), ["NULL/Error NULL/Error 4", "1 2 1"]);
    assert_eq!(shown_at("2024-05-01T12:00:00.000001Z"), ["2 5 3", "1 2 1"]);
}
