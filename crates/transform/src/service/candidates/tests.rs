//! Candidates of requests: which are answered, in which order, and what is said of each.

mod differential;

use arrow::array::{BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Float64Type};
use lockstep_model::{FilledBy, StateRead, Status, TimeMode};

use super::*;
use crate::catalog::Catalog;
use crate::compile::tests::{catalog, feed, sales};
use crate::service::Answer;
use crate::tiles::MemoryState;

/// Sales by shop: here the shops are the items that are suggested.
const VIEW: &str = "count(*) OVER w AS n, max(price) OVER w AS top, array_agg(item) OVER w AS items FROM sales
    WINDOW w AS ({w} RANGE INTERVAL '1 minute' PRECEDING)";

const SERVICE: &str = "
CREATE FEATURE SERVICE s AS
SELECT i.item AS item, i.score AS score, v.n AS n, v.top AS top, r.who AS who
FROM REQUEST (who VARCHAR, items VARCHAR[], scores DOUBLE[]) r
CROSS JOIN UNNEST(r.items, r.scores) AS i(item, score)
LEFT JOIN v ON v.shop = i.item";

pub(super) fn compiled(service: &str) -> Result<Catalog, String> {
    catalog(&(sales(VIEW).replace("ENTITY shop AS", "ENTITY shop WITH (ttl = '1 minute', limit = 9) AS") + ";" + service + ";"))
}

/// Two sales of `a`, one of `b`, which has no price, and one of `old`, which has expired.
pub(super) fn state(catalog: &Catalog) -> MemoryState {
    let mut state = MemoryState::default();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
        Arc::new(StringArray::from(vec!["a", "a", "b", "old"])),
        Arc::new(StringArray::from(vec![Some("b"), Some("c"), None, Some("a")])),
        Arc::new(Float64Array::from(vec![Some(2.0), Some(1.0), None, Some(4.0)])),
        Arc::new(Int32Array::from(vec![1, 1, 1, 1])),
        Arc::new(BooleanArray::from(vec![true, true, true, true])),
        Arc::new(TimestampMicrosecondArray::from(vec![100_000_000, 101_000_000, 101_000_000, 1_000_000])),
    ];
    feed(&catalog.views["v"], 0, columns, catalog, &mut state);
    state
}

pub(super) const AT: i64 = 110_000_000;

/// Who asks, which items, and with which scores.
pub(super) type Asked<'a> = (&'a str, Option<Vec<Option<&'a str>>>, Option<Vec<Option<f64>>>);

pub(super) fn texts(lists: impl Iterator<Item = Option<Vec<Option<String>>>>) -> ListArray {
    let mut builder = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    lists.for_each(|list| builder.append_option(list));
    builder.finish()
}

pub(super) fn requests(rows: &[Asked<'_>]) -> RecordBatch {
    let items = texts(rows.iter().map(|row| row.1.clone().map(|list| list.into_iter().map(|item| item.map(str::to_owned)).collect())));
    let scores = ListArray::from_iter_primitive::<Float64Type, _, _>(rows.iter().map(|row| row.2.clone()));
    let who: StringArray = rows.iter().map(|row| Some(row.0)).collect();
    let field = |name: &str, array: &dyn Array| Field::new(name, array.data_type().clone(), true);
    let schema = Schema::new(vec![field("who", &who), field("items", &items), field("scores", &scores)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(who), Arc::new(items), Arc::new(scores)]).unwrap()
}

fn answer(service: &str, rows: &[Asked<'_>]) -> Answer {
    let catalog = compiled(service).unwrap();
    let (service, state) = (&catalog.services["s"], state(&catalog));
    let states = vec![&state as &dyn StateRead; service.joins.len()];
    service.answer(&states, &requests(rows), &vec![AT; rows.len()], TimeMode::Event, None).unwrap()
}

/// Each row: its request, then its values; a status where it is not PRESENT, `*` where a default fills.
fn shown(answer: &Answer) -> Vec<String> {
    let by = answer.by_request.as_ref().unwrap();
    let cell = |output: usize, row: usize| {
        let column = &answer.columns[output];
        let value = if column.is_null(row) { "NULL".to_owned() } else { arrow::util::display::array_value_to_string(column, row).unwrap() };
        let status = match answer.statuses[output][row] {
            Status::Present => String::new(),
            status => format!("/{status:?}"),
        };
        format!("{value}{status}{}", if answer.filled_by[output][row] == FilledBy::Default { "*" } else { "" })
    };
    let row = |row: usize| std::iter::once(by.requests[row].to_string()).chain((0..answer.columns.len()).map(move |output| cell(output, row)));
    (0..by.requests.len()).map(|number| row(number).collect::<Vec<_>>().join(" ")).collect()
}

fn counts(answer: &Answer) -> Vec<[u32; 4]> {
    let by = answer.by_request.as_ref().unwrap();
    by.counts.iter().map(|counts| [counts.unnested, counts.left, counts.answered, u32::from(counts.by_fallback)]).collect()
}

fn three<'a>() -> Vec<Asked<'a>> {
    vec![
        ("x", Some(vec![Some("a"), Some("b"), Some("old"), Some("nobody")]), Some(vec![Some(0.5), Some(0.75), None, Some(1.0)])),
        ("y", None, Some(vec![])),
        ("z", Some(vec![Some("b"), None]), Some(vec![Some(0.25), Some(0.5), Some(0.125)])),
    ]
}

#[test]
fn every_candidate_is_a_row_with_what_is_known_of_it() {
    let found = answer(SERVICE, &three());
    assert_eq!(
        shown(&found),
        [
            "0 a 0.5 2 2.0 x",
            "0 b 0.75 1 NULL/Null x",
            "0 old NULL/Null NULL/Expired NULL/Expired x",
            "0 nobody 1.0 0/NotFound NULL/NotFound x",
            "2 b 0.25 1 NULL/Null z",
            // Lists of different lengths are filled up with NULLs, as SQL does.
            "2 NULL/Null 0.5 0/NotFound NULL/NotFound z",
            "2 NULL/Null 0.125 0/NotFound NULL/NotFound z",
        ]
    );
    assert_eq!(counts(&found), [[4, 4, 4, 0], [0, 0, 0, 0], [3, 3, 3, 0]]);
    assert_eq!(found.entities[0].len(), 7);
}

#[test]
fn what_is_not_true_is_out() {
    // NULL is not true, nor is what cannot be computed: of nobody, a division by no sales.
    let found = answer(&format!("{SERVICE} WHERE v.top > 0.5 OR 4 / v.n > 3"), &three());
    assert_eq!(shown(&found), ["0 a 0.5 2 2.0 x", "0 b 0.75 1 NULL/Null x", "2 b 0.25 1 NULL/Null z"]);
    assert_eq!(counts(&found), [[4, 2, 2, 0], [0, 0, 0, 0], [3, 1, 1, 0]]);
    // What is known of the list alone is asked before anything is read.
    let found = answer(&format!("{SERVICE} WHERE i.score >= 0.5 AND v.n > 0 AND NOT array_contains(['b'], i.item)"), &three());
    assert_eq!(shown(&found), ["0 a 0.5 2 2.0 x"]);
    assert_eq!(found.entities[0].len(), 2);
}

#[test]
fn candidates_are_in_order_and_limited_request_by_request() {
    let found = answer(&format!("{SERVICE} ORDER BY score DESC NULLS LAST LIMIT 2"), &three());
    assert_eq!(
        shown(&found),
        ["0 nobody 1.0 0/NotFound NULL/NotFound x", "0 b 0.75 1 NULL/Null x", "2 NULL/Null 0.5 0/NotFound NULL/NotFound z", "2 b 0.25 1 NULL/Null z"]
    );
    assert_eq!(counts(&found), [[4, 4, 2, 0], [0, 0, 0, 0], [3, 3, 2, 0]]);
    // Where they are equal, the list decides.
    let found = answer(&format!("{SERVICE} ORDER BY v.n > 0, v.n * 0"), &three());
    let items: Vec<String> = shown(&found).iter().map(|row| row.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(items, ["0 nobody", "0 a", "0 b", "0 old", "2 NULL/Null", "2 NULL/Null", "2 b"]);
}

#[test]
fn the_fallback_answers_where_too_few_are_left() {
    let fallback = "
CREATE FEATURE SERVICE popular AS
SELECT i.item AS item, 0.0 AS score, c.n AS n, c.top AS top, r.who AS who
FROM REQUEST (who VARCHAR) r
LEFT JOIN v a ON a.shop = 'a'
CROSS JOIN UNNEST(a.items) AS i(item)
LEFT JOIN v c ON c.shop = i.item;";
    let service = format!("{fallback}{SERVICE} WHERE v.n > 0").replace("SERVICE s AS", "SERVICE s WITH (min_items = 2, fallback = 'popular') AS");
    let found = answer(&service, &three());
    assert_eq!(
        shown(&found),
        [
            "0 a 0.5 2 2.0 x",
            "0 b 0.75 1 NULL/Null x",
            "1 b 0.0 1 NULL/Null y",
            "1 c 0.0 0/NotFound NULL/NotFound y",
            "2 b 0.0 1 NULL/Null z",
            "2 c 0.0 0/NotFound NULL/NotFound z",
        ]
    );
    assert_eq!(counts(&found), [[4, 2, 2, 0], [0, 0, 2, 1], [3, 1, 2, 1]]);
    // The least fresh of what a row reads: of the fallback's, the list that it is of.
    assert_eq!(found.event_times[2].to_vec(), [Some(101_000_000), Some(101_000_000), Some(101_000_000), None, Some(101_000_000), None]);
    assert_eq!(found.entities.len(), 3);
    // Nobody asks the fallback where nobody needs it.
    let found = answer(&service, &three()[..1]);
    assert_eq!((counts(&found), found.entities.len(), found.entities[1].len()), (vec![[4, 2, 2, 0]], 3, 0));
}

#[test]
fn of_each_request_there_is_one_row_of_lists() {
    let found = answer(&format!("{SERVICE} WHERE i.score < 1"), &three()).by_requests();
    let shown =
        |output: usize| (0..3).map(|row| arrow::util::display::array_value_to_string(&found.columns[output], row).unwrap()).collect::<Vec<_>>();
    assert_eq!(
        (shown(0), shown(2)),
        (vec!["[a, b]".into(), "[]".into(), "[b, , ]".into()], vec!["[2, 1]".to_owned(), "[]".into(), "[1, 0, 0]".into()])
    );
    assert_eq!(found.statuses[0], [Status::Present, Status::Present, Status::Null]);
    assert_eq!(found.statuses[3], [Status::Null, Status::Present, Status::NotFound]);
    assert!(found.by_request.is_none());
    let catalog = compiled(SERVICE).unwrap();
    assert_eq!(catalog.services["s"].schema_by_request().field(0).data_type(), found.columns[0].data_type());
    assert_eq!(catalog.services["s"].schema.field(0).data_type(), &DataType::Utf8);
}

#[test]
fn every_part_is_in_what_it_means() {
    let meaning = |service: &str| compiled(service).unwrap().services["s"].meaning;
    let all = format!("{SERVICE} WHERE v.n > 0 ORDER BY i.score LIMIT 9");
    let others = [
        all.replace("> 0", ">= 0"),
        all.replace("WHERE v.n > 0", ""),
        all.replace("i.score LIMIT", "i.score DESC NULLS LAST LIMIT"),
        all.replace("i.score LIMIT", "i.score NULLS FIRST LIMIT"),
        all.replace("LIMIT 9", "LIMIT 8"),
        all.replace("LIMIT 9", ""),
        all.replace("UNNEST(r.items,", "UNNEST(array_reverse(r.items),"),
        all.replace("i(item, score)", "i(item, points)").replace("i.score", "i.points"),
    ];
    let mut meanings: Vec<_> = std::iter::once(&all).chain(&others).map(|service| meaning(service)).collect();
    meanings.sort();
    meanings.dedup();
    assert_eq!(meanings.len(), others.len() + 1);
}

#[test]
fn too_many_candidates_are_refused_and_not_held() {
    let catalog = compiled(SERVICE).unwrap();
    let state = state(&catalog);
    let items: Vec<Option<&str>> = vec![Some("a"); 2000];
    let rows: Vec<Asked<'_>> = (0..600).map(|_| ("x", Some(items.clone()), None)).collect();
    let error = catalog.services["s"].answer(&[&state], &requests(&rows), &[AT; 600], TimeMode::Event, None).unwrap_err();
    assert_eq!(error.kind(), lockstep_model::ErrorKind::OutOfRange);
    assert!(error.to_string().starts_with("1200000 candidates are more than"), "{error}");
}
