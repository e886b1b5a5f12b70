use arrow::array::{Array, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use lockstep_model::ErrorKind;

use super::*;
use crate::catalog::Catalog;
use crate::compile::tests::{catalog, feed, sales};
use crate::tiles::MemoryState;

const SERVICE: &str = "
CREATE FEATURE SERVICE s WITH ('default.there_n' = 0, 'default.last' = 'none', 'default.there_top' = -1) AS
SELECT here.n AS here_n, there.n AS there_n, there.top AS there_top, here.last AS last, here.n + there.n AS both,
       r.amount / here.n AS each, r.request_time - here.newest AS idle, r.amount AS amount
FROM REQUEST (here VARCHAR, there VARCHAR, amount BIGINT) r
LEFT JOIN v here ON here.shop = r.here
LEFT JOIN v there ON there.shop = r.there;";

fn compiled() -> Catalog {
    let view = sales(
        "count(*) OVER w AS n, max(price) OVER w AS top, last_value(item) OVER w AS last, max(sold_at) OVER w AS newest,
         count(DISTINCT item) OVER w AS items FROM sales WINDOW w AS ({w} RANGE INTERVAL '1 second' PRECEDING)",
    );
    catalog(&(view.replace("ENTITY shop AS", "ENTITY shop WITH (ttl = '1 minute', limit = 9) AS") + ";" + SERVICE)).unwrap()
}

/// Two sales of `a`, a second apart, and one of `b` without price or item.
fn state(catalog: &Catalog) -> MemoryState {
    let mut state = MemoryState::default();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(StringArray::from(vec!["a", "a", "b"])),
        Arc::new(StringArray::from(vec![Some("tea"), Some("jam"), None])),
        Arc::new(Float64Array::from(vec![Some(2.0), Some(1.0), None])),
        Arc::new(Int32Array::from(vec![1, 1, 1])),
        Arc::new(BooleanArray::from(vec![true, true, true])),
        Arc::new(TimestampMicrosecondArray::from(vec![1_000_000, 2_000_000, 2_000_000])),
    ];
    feed(&catalog.views["v"], 0, columns, catalog, &mut state);
    state
}

fn request(rows: &[(Option<&str>, Option<&str>, i64)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("here", DataType::Utf8, true),
        Field::new("there", DataType::Utf8, true),
        Field::new("amount", DataType::Int64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// Each row's outputs: value, status where it is not PRESENT, `*` where a default fills.
fn shown(answer: &Answer) -> Vec<String> {
    let cell = |output: usize, row: usize| {
        let column = &answer.columns[output];
        let value = if column.is_null(row) { "NULL".to_owned() } else { arrow::util::display::array_value_to_string(column, row).unwrap() };
        let status = match answer.statuses[output][row] {
            Status::Present => String::new(),
            status => format!("/{status:?}"),
        };
        format!("{value}{status}{}", if answer.filled_by[output][row] == FilledBy::Default { "*" } else { "" })
    };
    let rows = answer.columns[0].len();
    (0..rows).map(|row| (0..answer.columns.len()).map(|output| cell(output, row)).collect::<Vec<_>>().join(" ")).collect()
}

fn answer(rows: &[(Option<&str>, Option<&str>, i64)], moments: &[i64]) -> Answer {
    let catalog = compiled();
    let state = state(&catalog);
    let states: [&dyn StateRead; 2] = [&state, &state];
    catalog.services["s"].answer(&states, &request(rows), moments, TimeMode::Event, None).unwrap()
}

#[test]
fn each_role_reads_its_own_entity() {
    let found = answer(&[(Some("a"), Some("b"), 10), (Some("b"), Some("a"), 7)], &[2_000_000, 2_500_000]);
    assert_eq!(shown(&found), ["2 1 -1.0/Null* jam 3 5 P0D 10", "1 1 1.0 none/Null* 2 7 PT0.5S 7"]);
    assert_eq!(*found.event_times[4], [Some(2_000_000), Some(2_000_000)]);
    assert_eq!(*found.event_times[7], [None, None]);
    assert_eq!((found.entities.len(), found.entities[0].len()), (2, 2));
}

#[test]
fn absent_values_keep_their_status_under_a_default() {
    let found = answer(
        &[(Some("nobody"), Some("a"), 1), (Some("a"), Some("nobody"), 1), (None, Some("a"), 1), (Some("a"), Some("a"), 1)],
        &[2_000_000, 2_000_000, 2_000_000, 62_000_001],
    );
    let rows = shown(&found);
    // Of nobody, a count is 0 and an extreme is NULL; dividing by that count fails, but what there is not comes first.
    assert_eq!(rows[0], "0/NotFound 2 2.0 none/NotFound* 2/NotFound NULL/NotFound NULL/NotFound 1");
    assert_eq!(rows[1], "2 0/NotFound -1.0/NotFound* jam 2/NotFound 0 P0D 1");
    assert_eq!(rows[2], rows[0]);
    assert_eq!(rows[3], "NULL/Expired 0/Expired* -1.0/Expired* none/Expired* NULL/Expired NULL/Expired NULL/Expired 1");
    assert_eq!(*found.event_times[4], [None, None, None, Some(2_000_000)]);
}

#[test]
fn a_failing_output_is_an_error() {
    let found = answer(&[(Some("a"), Some("a"), 4)], &[50_000_000]);
    assert_eq!(shown(&found), ["0 0 -1.0/Null* none/Null* 0 NULL/Error NULL/Null 4"]);
}

#[test]
fn a_request_of_another_shape_is_refused() {
    let catalog = compiled();
    let state = state(&catalog);
    let (service, states): (_, [&dyn StateRead; 2]) = (&catalog.services["s"], [&state, &state]);
    let good = request(&[(Some("a"), Some("b"), 1)]);
    let kind = |request: &RecordBatch, moments: &[i64], states: &[&dyn StateRead]| {
        service.answer(states, request, moments, TimeMode::Event, None).unwrap_err().kind()
    };
    assert_eq!(kind(&good.project(&[0, 1]).unwrap(), &[0], &states), ErrorKind::Invalid);
    assert_eq!(kind(&good.project(&[0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]).unwrap(), &[0], &states), ErrorKind::Invalid);
    assert_eq!(kind(&good.project(&[0, 2, 1]).unwrap(), &[0], &states), ErrorKind::Invalid);
    assert_eq!(kind(&good, &[0, 1], &states), ErrorKind::Invalid);
    assert_eq!(kind(&good, &[0], &states[..1]), ErrorKind::Internal);
    let none = service.answer(&states, &good.slice(0, 0), &[], TimeMode::Event, None).unwrap();
    assert!(none.columns.iter().all(|column| column.is_empty()));
}

#[test]
fn touches_say_what_a_value_is_made_of() {
    let catalog = compiled();
    let state = state(&catalog);
    let states: [&dyn StateRead; 2] = [&state, &state];
    let mut touches = Vec::new();
    let found =
        catalog.services["s"].answer(&states, &request(&[(Some("a"), Some("b"), 1)]), &[2_000_000], TimeMode::Event, Some(&mut touches)).unwrap();
    let rows: Vec<u64> = touches.iter().map(|touches| touches.iter().map(|touch| touch.rows).sum()).collect();
    assert_eq!(rows, [2, 1]);
    assert!(found.stats.keys >= 4 && found.stats.bytes > 0);
}
