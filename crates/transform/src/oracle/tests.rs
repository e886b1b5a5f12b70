//! What the oracle says of a few events, by hand.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_model::{Error, Status, TimeMode};

use super::{Kind, Oracle, OracleFeatures, Probes, Winners};
use crate::catalog::Catalog;
use crate::definition::{Definitions, SourceFile};

const SECOND: i64 = 1_000_000;

/// One event: primary key, entity, value, text, time (s), and when it was known (s).
type Event = (i64, &'static str, Option<i64>, Option<&'static str>, i64, (i64, i64));

const EVER: (i64, i64) = (i64::MIN, i64::MAX);

fn catalog(options: &str, body: &str) -> Catalog {
    let sql = format!(
        "CREATE ENTITY e (k VARCHAR);
         CREATE SOURCE s (id BIGINT PRIMARY KEY, k VARCHAR, x BIGINT, name VARCHAR, t TIMESTAMP) WITH (event_time = 't');
         CREATE FEATURE VIEW v ENTITY e {options} AS {body};"
    );
    let definitions = Definitions::parse(&[SourceFile::new("v.sql", sql)]).unwrap_or_else(|errors| panic!("{}", errors[0]));
    Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn winners(events: &[Event]) -> Winners {
    let seconds = |at: i64| if at == i64::MIN || at == i64::MAX { at } else { at * SECOND };
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(events.iter().map(|event| Some(event.0)).collect::<Int64Array>())),
        ("k", Arc::new(events.iter().map(|event| Some(event.1)).collect::<StringArray>())),
        ("x", Arc::new(events.iter().map(|event| event.2).collect::<Int64Array>())),
        ("name", Arc::new(events.iter().map(|event| event.3).collect::<StringArray>())),
        ("t", Arc::new(events.iter().map(|event| Some(event.4 * SECOND)).collect::<TimestampMicrosecondArray>())),
    ];
    Winners {
        rows: RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap(),
        known_from: events.iter().map(|event| seconds(event.5.0)).collect(),
        known_until: events.iter().map(|event| seconds(event.5.1)).collect(),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn probes_of_a(at: impl Iterator<Item = f64>) -> Probes {
    let at: Vec<i64> = at.map(|at| (at * SECOND as f64) as i64).collect();
    Probes { keys: vec![Arc::new(StringArray::from(vec!["a"; at.len()]))], at }
}

/// What is said of a probe: the values, with their statuses unless they are present.
fn line(answer: &OracleFeatures, row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let values = answer.columns.iter().zip(&answer.statuses).map(|(column, statuses)| {
        let value = ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
        if statuses[row] == Status::Present { value } else { format!("{value} {}", statuses[row]) }
    });
    values.collect::<Vec<_>>().join(", ")
}

/// Checks the features of `a` at moments in seconds, by every oracle that can say. Each branch of the view is given the same events.
fn check(options: &str, body: &str, events: &[Event], mode: TimeMode, expected: &[(f64, &str)]) {
    let catalog = catalog(options, body);
    let oracle = Oracle::new(&catalog, "v").unwrap();
    let probes = probes_of_a(expected.iter().map(|(at, _)| *at));
    let branches = vec![winners(events); catalog.views["v"].branches.len()];
    let kinds = if oracle.kind(mode) == Kind::Windows { vec![Kind::Windows, Kind::Groups] } else { vec![Kind::Groups] };
    for kind in kinds {
        let answer = run(async { oracle.load(&branches).await?.answer_by(kind, &probes, mode).await }).unwrap();
        for (row, (at, expected)) in expected.iter().enumerate() {
            assert_eq!(line(&answer, row), *expected, "{kind:?} at {at}");
        }
    }
}

const FIVE: &[Event] = &[
    (3, "a", Some(4), Some("c"), 20, EVER),
    (1, "a", Some(1), Some("a"), 10, EVER),
    (5, "b", Some(100), None, 20, EVER),
    (2, "a", Some(2), Some("b"), 20, EVER),
    (4, "a", None, Some("d"), 30, EVER),
];

#[test]
fn frames_of_every_kind() {
    let body = "SELECT k, count(*) OVER w AS n, sum(x) OVER w AS s, sum(x) OVER before AS b, sum(x) OVER last2 AS l, count(*) OVER ever AS e FROM s
                WINDOW w AS (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND CURRENT ROW),
                       before AS (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND INTERVAL '1 microsecond' PRECEDING),
                       last2 AS (PARTITION BY k ORDER BY t ROWS BETWEEN 1 PRECEDING AND CURRENT ROW),
                       ever AS (PARTITION BY k ORDER BY t RANGE UNBOUNDED PRECEDING)";
    let expected = [
        (9.0, "0 NOT_FOUND, NULL NOT_FOUND, NULL NOT_FOUND, NULL NOT_FOUND, 0 NOT_FOUND"),
        (10.0, "1, 1, NULL NULL, 1, 1"),
        (20.0, "3, 7, 1, 6, 3"),
        (20.000001, "2, 6, 6, 6, 3"),
        (30.0, "3, 6, 6, 4, 4"),
        (40.000001, "0, NULL NULL, NULL NULL, 4, 4"),
    ];
    check("", body, FIVE, TimeMode::Event, &expected);
}

#[test]
fn peers_are_in_the_order_of_their_primary_key() {
    let body = "SELECT k, first_value(name) OVER w AS f, last_value(name) OVER w AS l, array_agg(name) OVER w AS a FROM s
                WINDOW w AS (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW)";
    check("WITH (limit = 9)", body, FIVE, TimeMode::Event, &[(21.0, "b, c, [b, c]")]);
    let reversed: Vec<Event> = FIVE.iter().rev().copied().collect();
    check("WITH (limit = 9)", body, &reversed, TimeMode::Event, &[(21.0, "b, c, [b, c]")]);
}

#[test]
fn a_calendar_period_ends_with_its_clock() {
    // New York's clocks went from 2:00 to 3:00 on 2013-03-10: that day has 23 hours, from 05:00 to 04:00 UTC.
    let midnight = 1_362_891_600;
    let events: Vec<Event> =
        [-1, 0, 1, 23 * 3600 - 1, 23 * 3600].into_iter().enumerate().map(|(id, at)| (id as i64, "a", Some(1), None, midnight + at, EVER)).collect();
    let body = "SELECT k, count(*) OVER w AS n, count(*) OVER r AS r FROM s
                WINDOW w AS (PARTITION BY k, date_trunc('day', t AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York') ORDER BY t RANGE UNBOUNDED PRECEDING),
                       r AS (PARTITION BY k, date_trunc('day', t AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York') ORDER BY t ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)";
    let midnight = midnight as f64;
    let expected = [
        (midnight - 1.0, "1, 1"),
        (midnight, "1, 1"),
        (midnight + 1.5, "2, 2"),
        (midnight + 82799.5, "3, 2"),
        (midnight + 82800.0, "1, 1"),
        (midnight + 2e5, "0, 0"),
    ];
    check("", body, &events, TimeMode::Event, &expected);
}

#[test]
fn edges_are_floored_to_the_grid() {
    let body =
        "SELECT k, count(*) OVER w AS n FROM s WINDOW w AS (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '15 seconds' PRECEDING AND CURRENT ROW)";
    // From 25.5 the edge is at 10.5, and from 25 at 10; the grid puts both at 10, and that from 24 too at 0.
    let expected = [(25.0, "3"), (25.5, "3"), (24.0, "3"), (35.0, "3"), (35.1, "3"), (36.0, "3"), (46.0, "1")];
    check("WITH (resolution = '10 seconds')", body, FIVE, TimeMode::Event, &expected);
}

#[test]
fn versions_count_while_they_are_known() {
    let events = [
        (1, "a", Some(1), None, 10, (12, 30)),
        (1, "a", Some(5), None, 10, (30, i64::MAX)),
        (2, "a", Some(7), None, 20, (20, 40)),
        (2, "b", Some(7), None, 20, (40, i64::MAX)),
    ];
    let body = "SELECT k, sum(x) OVER w AS s, sum(x) OVER l AS l FROM s
                WINDOW w AS (PARTITION BY k ORDER BY t RANGE UNBOUNDED PRECEDING), l AS (PARTITION BY k ORDER BY t ROWS CURRENT ROW)";
    let known = [(11.0, "NULL NOT_FOUND, NULL NOT_FOUND"), (12.0, "1, 1"), (20.0, "8, 7"), (30.0, "12, 7"), (40.0, "5, 5")];
    check("", body, &events, TimeMode::Known, &known);
    check("", body, &events, TimeMode::Event, &[(11.0, "5, 5"), (20.0, "5, 5")]);
}

#[test]
fn statuses_are_the_first_that_holds() {
    let events = [
        (1, "a", None, Some("p"), 10, EVER),
        (2, "a", Some(i64::MAX), Some("q"), 20, EVER),
        (3, "a", Some(1), Some("r"), 30, EVER),
        (4, "a", Some(-9), None, 40, EVER),
    ];
    let body =
        "SELECT k, sum(x) OVER w AS s, count(DISTINCT name) OVER w AS d, coalesce(sum(x) OVER w, 0) AS c, 100 / (count(*) OVER w - 2) AS i FROM s
                WHERE id < 4 WINDOW w AS (PARTITION BY k ORDER BY t RANGE UNBOUNDED PRECEDING)";
    let expected = [
        (0.0, "NULL NOT_FOUND, 0 NOT_FOUND, 0 NOT_FOUND, -50 NOT_FOUND"),
        (10.0, "NULL NULL, 1, 0, -100"),
        (20.0, "9223372036854775807, 2, 9223372036854775807, NULL ERROR"),
        (30.0, "NULL ERROR, NULL ERROR, NULL ERROR, 100"),
        (45.0, "NULL ERROR, NULL ERROR, NULL ERROR, 100"),
        (45.000001, "NULL EXPIRED, NULL EXPIRED, NULL EXPIRED, NULL EXPIRED"),
    ];
    check("WITH (ttl = '15 seconds', limit = 2)", body, &events, TimeMode::Event, &expected);
}

#[test]
fn an_expression_that_fails_for_a_row_is_null_there() {
    let events = [
        (1, "a", Some(0), Some("12"), 10, EVER),
        (2, "a", Some(5), Some("x"), 20, EVER),
        (3, "a", Some(2), Some("7"), 30, EVER),
        (4, "a", Some(3), None, 40, EVER),
    ];
    let body = "SELECT k, count(*) OVER w AS n, sum(CAST(name AS BIGINT)) OVER w AS s, max(y) OVER w AS m FROM
                (SELECT k, name, 10 / x AS y, t FROM s WHERE 6 / x <> 2 OR x = 0 UNION ALL SELECT k, name, x, t FROM s WHERE false) u
                WINDOW w AS (PARTITION BY k ORDER BY t RANGE UNBOUNDED PRECEDING)";
    // The first row fails in WHERE, the second in the cast, and the last does not pass.
    let expected = [(10.0, "0 NOT_FOUND, NULL NOT_FOUND, NULL NOT_FOUND"), (20.0, "1, NULL NULL, 2"), (40.0, "2, 7, 5")];
    check("", body, &events, TimeMode::Event, &expected);
}

#[test]
fn what_does_not_fit_is_refused() {
    let catalog = catalog("", "SELECT k, count(*) OVER (PARTITION BY k ORDER BY t RANGE UNBOUNDED PRECEDING) AS n FROM s");
    let oracle = Oracle::new(&catalog, "v").unwrap();
    assert_eq!(oracle.windows_of_features()[0][0].frame, "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW");
    let says = |result: Result<(), Error>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    says(Oracle::new(&catalog, "w").map(drop), "no feature view `w` · views: v");
    says(run(oracle.load(&[])).map(drop), "view `v` reads 1 sources, and rows of 0 are given");
    let mut short = winners(FIVE);
    short.known_from.pop();
    says(run(oracle.load(&[short])).map(drop), "not of the declared columns of source `s`");
    let loaded = run(oracle.load(&[winners(FIVE)])).unwrap();
    let of_strings = Probes { keys: vec![Arc::new(StringArray::from(vec!["a"]))], at: vec![0] };
    let of_numbers = Probes { keys: vec![Arc::new(Int64Array::from(vec![1]))], at: vec![0] };
    says(run(loaded.answer(&of_numbers, TimeMode::Event)).map(drop), "probes do not fit view `v` · its key: k Utf8");
    let mut late = winners(FIVE);
    late.known_from[0] = i64::MAX - 1;
    let late = run(oracle.load(&[late])).unwrap();
    says(run(late.answer_by(Kind::Windows, &of_strings, TimeMode::Known)).map(drop), "windows see the same rows from every moment");
    assert_eq!((loaded.kind(TimeMode::Known), late.kind(TimeMode::Known)), (Kind::Windows, Kind::Groups));
    let none = Probes { keys: vec![Arc::new(StringArray::from(Vec::<&str>::new()))], at: vec![] };
    for mode in [TimeMode::Event, TimeMode::Known] {
        assert_eq!(run(loaded.answer(&none, mode)).unwrap().columns[0].len(), 0);
    }
}

#[test]
fn functions_of_ours_mean_the_same_to_datafusion() {
    let body = "SELECT k, sum(hash_bucket(name, 1000)) OVER w AS buckets, dot(array_agg(x) OVER w, array_agg(x) OVER w) AS squares,
         cosine(array_agg(x) OVER w, [1, 1]) AS along FROM s WHERE one_hot(name, 'i', 'j')[1] = 1.0
         WINDOW w AS (PARTITION BY k ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)";
    let events = [
        (1, "a", Some(3), Some("i"), 1, EVER),
        (2, "a", Some(9), Some("x"), 2, EVER),
        (3, "a", Some(4), Some("i"), 3, EVER),
        (4, "a", Some(5), Some("i"), 5, EVER),
    ];
    // A list of three has no angle to one of two.
    let bucket = xxhash_rust::xxh3::xxh3_64(b"i") % 1000;
    let of = |events: u64| bucket * events;
    let expected = [
        (2.0, format!("{}, 9.0, NULL ERROR", of(1))),
        (4.0, format!("{}, 25.0, 0.9899494936611665", of(2))),
        (6.0, format!("{}, 50.0, NULL ERROR", of(3))),
    ];
    let expected: Vec<(f64, &str)> = expected.iter().map(|(at, text)| (*at, text.as_str())).collect();
    check("WITH (limit = 10)", body, &events, TimeMode::Event, &expected);
}
