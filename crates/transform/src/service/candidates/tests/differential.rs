//! Random lists, conditions and orders: what is answered against what stock DataFusion says of the same SQL.
//!
//! DataFusion is given the requests as a table, the view's features of every item as another, and the service's own SELECT list, WHERE and ORDER BY. Rewritten are the request (a
//! table), the unnesting (in a subquery, with the place in the list beside it), the LIMIT (of each request, so by a window's row number) and the ties (by the place).
//!
//! A failure prints its seed. `CANDIDATES_SEED=n` runs that one case, `CANDIDATES_CASES=n` so many.

use arrow::array::{ArrayRef, Int64Array, ListArray, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Int64Type};
use datafusion::prelude::SessionContext;
use fastrand::Rng;

use super::*;
use crate::tiles::Request;

const CASES: u64 = 150;
const ITEMS: [Option<&str>; 7] = [Some("a"), Some("b"), Some("old"), Some("nobody"), Some("c"), Some(""), None];
const CONDITIONS: [&str; 12] = [
    "v.n > 0",
    "v.top >= 1.5",
    "i.score > 0.25",
    "NOT array_contains(['b', 'c'], i.item)",
    "array_position(r.items, i.item) < 3",
    "cardinality(r.items) > 2",
    "v.n = 1 OR i.score IS NULL",
    "i.item <> r.who",
    "v.top / v.n > i.score",
    "coalesce(v.top, 1) > 0.5",
    "v.n IN (0, 2)",
    "CASE WHEN i.score > 0.5 THEN v.n > 0 ELSE i.item IS NOT NULL END",
];
const ORDERS: [&str; 8] = ["i.score", "v.n", "v.top", "i.item", "i.score * v.n", "length(i.item)", "who", "points"];
const SELECT: &str = "SELECT i.item AS item, i.score + 1 AS points, v.n AS n, v.top AS highest, r.who AS who";

struct Case {
    filter: String,
    order: String,
    limit: Option<u64>,
    requests: RecordBatch,
}

impl Case {
    fn new(seed: u64) -> Case {
        let mut rng = Rng::with_seed(seed);
        let conditions: Vec<&str> = (0..rng.usize(0..4)).map(|_| CONDITIONS[rng.usize(0..CONDITIONS.len())]).collect();
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE ({})", conditions.join(") AND (")) };
        let directions = ["", " ASC", " DESC", " DESC NULLS LAST", " ASC NULLS FIRST", " NULLS LAST"];
        let keys: Vec<String> =
            (0..rng.usize(0..3)).map(|_| format!("{}{}", ORDERS[rng.usize(0..ORDERS.len())], directions[rng.usize(0..directions.len())])).collect();
        let limit = rng.bool().then(|| rng.u64(1..5));
        let lists: Vec<(String, Option<Vec<Option<&str>>>, Option<Vec<Option<f64>>>)> = (0..rng.usize(1..6)).map(|_| request(&mut rng)).collect();
        let rows: Vec<Asked<'_>> = lists.iter().map(|(who, items, scores)| (who.as_str(), items.clone(), scores.clone())).collect();
        Case { filter, order: keys.join(", "), limit, requests: requests(&rows) }
    }

    fn service(&self) -> String {
        let order = if self.order.is_empty() { String::new() } else { format!(" ORDER BY {}", self.order) };
        let limit = self.limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
        format!(
            "CREATE FEATURE SERVICE s AS {SELECT} FROM REQUEST (who VARCHAR, items VARCHAR[], scores DOUBLE[]) r
             CROSS JOIN UNNEST(r.items, r.scores) AS i(item, score) LEFT JOIN v ON v.shop = i.item{}{order}{limit}",
            self.filter
        )
    }

    /// The same for DataFusion.
    fn query(&self) -> String {
        // An output's name is that output, and a window does not know it.
        let order = self.order.replace("who", "r.who").replace("points", "i.score + 1");
        let order = if order.is_empty() { "r.place".to_owned() } else { format!("{order}, r.place") };
        let limit = self.limit.map_or_else(String::new, |limit| format!(" WHERE numbered.number <= {limit}"));
        let select = format!("{SELECT}, r.request AS request, row_number() OVER (PARTITION BY r.request ORDER BY {order}) AS number");
        format!(
            "SELECT request, item, points, n, highest, who FROM (
                {select} FROM (SELECT request, who, items, unnest(items) AS item, unnest(scores) AS score, unnest(places) AS place FROM requests) r
                LEFT JOIN v ON v.shop IS NOT DISTINCT FROM r.item{}
             ) numbered{limit} ORDER BY request, number",
            self.filter
        )
        .replace("i.item", "r.item")
        .replace("i.score", "r.score")
    }
}

fn request(rng: &mut Rng) -> (String, Option<Vec<Option<&'static str>>>, Option<Vec<Option<f64>>>) {
    let count = rng.usize(0..8);
    let items = (0..count).map(|_| ITEMS[rng.usize(0..ITEMS.len())]).collect();
    // Mostly as many scores as items.
    let scores = if rng.u8(0..4) == 0 { rng.usize(0..8) } else { count };
    let scores = (0..scores).map(|_| (rng.u8(0..6) > 0).then(|| f64::from(rng.u8(0..8)) / 8.0)).collect();
    (["a", "b", "x"][rng.usize(0..3)].to_owned(), (rng.u8(0..8) > 0).then_some(items), (rng.u8(0..8) > 0).then_some(scores))
}

/// What the view says of every item there is.
fn features(catalog: &Catalog, state: &MemoryState) -> RecordBatch {
    let view = &catalog.views["v"];
    let items: ArrayRef = Arc::new(ITEMS.iter().copied().collect::<StringArray>());
    let keys = view.entity_keys(std::slice::from_ref(&items)).unwrap();
    let requests: Vec<Request<'_>> = (0..ITEMS.len()).map(|row| Request { entity: keys.get(row), at: AT }).collect();
    let read = view.read_at(state, &requests, TimeMode::Event, None).unwrap();
    let shop = Field::new("shop", DataType::Utf8, true);
    let fields: Vec<Field> =
        std::iter::once(shop).chain(view.features.fields().iter().map(|field| field.as_ref().clone().with_nullable(true))).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), std::iter::once(items).chain(read.columns).collect()).unwrap()
}

/// The requests with their number, and the numbers of their candidates.
fn numbered(requests: &RecordBatch) -> RecordBatch {
    let rows = requests.num_rows();
    let longest = |row: usize| [1, 2].iter().map(|&at| length(requests.column(at).as_list::<i32>(), row)).max().unwrap();
    let places = ListArray::from_iter_primitive::<Int64Type, _, _>((0..rows).map(|row| Some((0..longest(row) as i64).map(Some))));
    let mut fields: Vec<Field> = requests.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("places", places.data_type().clone(), true));
    fields.push(Field::new("request", DataType::Int64, true));
    let numbers: ArrayRef = Arc::new((0..rows as i64).collect::<Int64Array>());
    let columns = requests.columns().iter().cloned().chain([Arc::new(places) as ArrayRef, numbers]);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).unwrap()
}

/// Rows as texts, with the request first.
fn rows(columns: &[ArrayRef], count: usize) -> Vec<String> {
    let cell = |column: &ArrayRef, row: usize| match column.is_null(row) {
        true => "NULL".to_owned(),
        false => arrow::util::display::array_value_to_string(column, row).unwrap(),
    };
    (0..count).map(|row| columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|")).collect()
}

async fn asked_of_datafusion(case: &Case, catalog: &Catalog, state: &MemoryState) -> Vec<String> {
    let context = SessionContext::new();
    context.register_batch("requests", numbered(&case.requests)).unwrap();
    context.register_batch("v", features(catalog, state)).unwrap();
    let batches = context.sql(&case.query()).await.unwrap().collect().await.unwrap();
    let Some(first) = batches.first() else { return Vec::new() };
    let all = concat_batches(&first.schema(), &batches).unwrap();
    rows(all.columns(), all.num_rows())
}

fn answered(case: &Case, catalog: &Catalog, state: &MemoryState) -> Vec<String> {
    let service = &catalog.services["s"];
    let moments = vec![AT; case.requests.num_rows()];
    let answer = service.answer(&[state], &case.requests, &moments, TimeMode::Event, None).unwrap();
    let by = answer.by_request.unwrap();
    let numbers: ArrayRef = Arc::new(by.requests.iter().map(|&request| i64::from(request)).collect::<Int64Array>());
    rows(&std::iter::once(numbers).chain(answer.columns).collect::<Vec<_>>(), by.requests.len())
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn candidates_are_those_of_stock_datafusion() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seeds = match variable("CANDIDATES_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("CANDIDATES_CASES").unwrap_or(CASES),
    };
    let (mut compared, mut in_all) = (0, 0);
    for seed in seeds {
        let case = Case::new(seed);
        let catalog = compiled(&case.service()).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", case.service()));
        let state = state(&catalog);
        let (ours, theirs) = (answered(&case, &catalog, &state), runtime.block_on(asked_of_datafusion(&case, &catalog, &state)));
        assert_eq!(ours, theirs, "seed {seed}\n{}\n{}", case.service(), case.query());
        compared += ours.len();
        in_all += case.requests.num_rows();
    }
    assert!(compared > in_all, "{compared} candidates of {in_all} requests say too little");
}
