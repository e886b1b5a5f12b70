//! Arroyo's inputs and what its queries write of them. Its windows are groups of rows; here a window is read where it ends, over a frame
//! that is closed where it begins and open there.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::engine::{self, Asking, Engine, micros};
use crate::tally::{Outcome, Tally};
use crate::trained::Trained;

const HOUR: i64 = 3_600_000_000;
/// When everything has happened: 2100.
const THE_END: i64 = 4_102_444_800_000_000;

const DEFINITIONS: &str = "
CREATE ENTITY city (city VARCHAR);
CREATE ENTITY event_type (event_type VARCHAR);
CREATE ENTITY counter_mod (counter_mod BIGINT);
CREATE ENTITY product (product_name VARCHAR);
CREATE SOURCE cars (line BIGINT, city VARCHAR, driver_id BIGINT, event_type VARCHAR, location VARCHAR, happened_at TIMESTAMP, PRIMARY KEY (line))
WITH (event_time = 'happened_at', history = 'all', batch = 'cars.ndjson');
CREATE SOURCE impulse (counter BIGINT, city VARCHAR, counter_mod BIGINT, happened_at TIMESTAMP, PRIMARY KEY (counter))
WITH (event_time = 'happened_at', history = 'all', batch = 'impulse.ndjson');
CREATE SOURCE orders (id BIGINT, customer_name VARCHAR, product_name VARCHAR, quantity BIGINT, order_date TIMESTAMP, lsn BIGINT, PRIMARY KEY (id))
WITH (event_time = 'order_date', version = 'lsn', allowed_lateness = 'unbounded', history = 'all', batch = 'none.ndjson');
CREATE FEATURE VIEW traffic ENTITY city WITH (limit = 512) AS
SELECT city, count(*) OVER hour AS count, count(*) OVER month AS month_count,
  count(DISTINCT driver_id) FILTER (WHERE event_type = 'dropoff') OVER hour AS drivers,
  count(DISTINCT driver_id) FILTER (WHERE event_type = 'pickup') OVER hour AS pickups
FROM cars
WINDOW hour AS (PARTITION BY city ORDER BY happened_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND INTERVAL '1 microsecond' PRECEDING),
  month AS (PARTITION BY city ORDER BY happened_at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND INTERVAL '1 microsecond' PRECEDING);
CREATE FEATURE VIEW by_event_type ENTITY event_type AS
SELECT event_type, count(*) OVER hour AS count,
  avg(driver_id) OVER ever AS avg_driver, bool_and(driver_id > 0) OVER ever AS bool_and_driver, bool_or(driver_id > 0) OVER ever AS bool_or_driver,
  count(*) OVER ever AS cnt, max(driver_id) OVER ever AS max_driver, min(driver_id) OVER ever AS min_driver, sum(driver_id) OVER ever AS sum_driver,
  stddev(driver_id) OVER ever AS stddev_driver, stddev_pop(driver_id) OVER ever AS stddev_pop_driver,
  var(driver_id) OVER ever AS var_driver, var_pop(driver_id) OVER ever AS var_pop_driver,
  approx_distinct(driver_id) OVER ever AS approx_distinct_driver, approx_percentile_cont(driver_id, 0.5) OVER ever AS approx_percentile_cont_driver
FROM cars
WINDOW hour AS (PARTITION BY event_type ORDER BY happened_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND INTERVAL '1 microsecond' PRECEDING),
  ever AS (PARTITION BY event_type ORDER BY happened_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW sliding ENTITY city AS
SELECT city, count(*) OVER w AS count, max(counter) OVER w AS max, min(counter) OVER w AS min
FROM impulse
WINDOW w AS (PARTITION BY city ORDER BY happened_at RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND INTERVAL '1 microsecond' PRECEDING);
CREATE FEATURE VIEW grouped ENTITY counter_mod AS
SELECT counter_mod, avg(counter) OVER ever AS avg, count(*) OVER ever AS count, max(counter) OVER ever AS max, min(counter) OVER ever AS min, sum(counter) OVER ever AS sum
FROM impulse
WINDOW ever AS (PARTITION BY counter_mod ORDER BY happened_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
CREATE FEATURE VIEW ordered ENTITY product WITH (limit = 512) AS
SELECT product_name, count(*) OVER ever AS c, count(DISTINCT customer_name) OVER ever AS d, sum(quantity + 5) OVER ever + 10 AS q
FROM orders
WINDOW ever AS (PARTITION BY product_name ORDER BY order_date RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
";

/// Goldens of what there is nothing like here.
const INEXPRESSIBLE: [(&str, &str); 5] = [
    ("session_window", "sessions"),
    ("global_session_window", "sessions"),
    ("offset_impulse_join", "a join of two streams"),
    ("updating_full_join", "a join of two streams"),
    ("updating_left_join", "a join of two streams"),
];

/// A golden's rows: which view, its key, and its moment.
struct Golden {
    name: &'static str,
    view: &'static str,
    key: fn(&Value) -> (&'static str, Value),
    moment: fn(&Value) -> i64,
    /// Columns of the golden that are not values of the view.
    besides: &'static [&'static str],
}

fn city(_: &Value) -> (&'static str, Value) {
    ("city", json!("all"))
}

/// The end of the hour that a row names by its beginning.
fn hour_after(row: &Value) -> i64 {
    at(row, "hour") + HOUR
}

fn at(row: &Value, column: &str) -> i64 {
    micros(row[column].as_str().unwrap()).unwrap()
}

const GOLDENS: [Golden; 8] = [
    Golden { name: "tight_watermark", view: "traffic", key: city, moment: |row| at(row, "timestamp"), besides: &["timestamp"] },
    Golden { name: "windowed_inner_join", view: "traffic", key: city, moment: hour_after, besides: &["hour"] },
    Golden { name: "windowed_outer_join", view: "traffic", key: city, moment: hour_after, besides: &["hour"] },
    Golden { name: "month_loose_watermark", view: "traffic", key: city, moment: |row| at(row, "month") + 30 * 24 * HOUR, besides: &["month"] },
    Golden {
        name: "hourly_by_event_type",
        view: "by_event_type",
        key: |row| ("event_type", row["event_type"].clone()),
        moment: hour_after,
        besides: &["hour", "event_type"],
    },
    Golden { name: "sliding_window_end", view: "sliding", key: city, moment: |row| at(row, "end"), besides: &["start", "end"] },
    Golden {
        name: "grouped_aggregates",
        view: "grouped",
        key: |row| ("counter_mod", row["counter_mod"].clone()),
        moment: |_| THE_END,
        besides: &["counter_mod"],
    },
    Golden {
        name: "debezium_agg",
        view: "ordered",
        key: |row| ("product_name", row["id"].as_str().unwrap().trim_start_matches("p_").into()),
        moment: |_| THE_END,
        besides: &["id"],
    },
];

pub fn run(folder: &Path, tally: &mut Tally) -> Trained {
    let input = |name: &str, row: fn(usize, &Value) -> Value| {
        let lines = read(&folder.join("inputs").join(name));
        lines.iter().enumerate().map(|(number, line)| format!("{}\n", row(number, line))).collect::<String>()
    };
    let files = [
        ("lockstep.toml", String::new()),
        ("feature_defs/traffic.sql", DEFINITIONS.to_owned()),
        ("cars.ndjson", input("cars.json", car)),
        ("impulse.ndjson", input("impulse.json", impulse)),
        ("orders.ndjson", input("aggregate_updates.json", order)),
        ("none.ndjson", String::new()),
    ];
    let project = crate::project::Project::of(&files.map(|(name, text)| (name.to_owned(), text)));
    project.run(&["ingest", "--from", "orders.ndjson", "--source", "orders"]).fine();
    let engine = Engine::of(project, &["ordered"]);
    for golden in &GOLDENS {
        hold(golden, &last_states(&read(&folder.join("golden").join(format!("{}.json", golden.name)))), &engine, tally);
    }
    every_aggregate(&last_states(&read(&folder.join("golden/every_aggregate.json"))), &engine, tally);
    for (name, reason) in INEXPRESSIBLE {
        assert!(folder.join("golden").join(format!("{name}.json")).exists());
        tally.add("arroyo", name, Outcome::Inexpressible(reason.to_owned()));
    }
    engine.trained
}

fn read(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn car(number: usize, line: &Value) -> Value {
    json!({"line": number, "city": "all", "driver_id": line["driver_id"], "event_type": line["event_type"], "location": line["location"], "happened_at": line["timestamp"]})
}

fn impulse(_: usize, line: &Value) -> Value {
    let counter = line["counter"].as_i64().unwrap();
    json!({"counter": counter, "city": "all", "counter_mod": counter % 5, "happened_at": line["timestamp"]})
}

/// A change of a row: what it is now, or that it is gone.
fn order(_: usize, line: &Value) -> Value {
    let lsn = &line["source"]["lsn"];
    match &line["after"] {
        Value::Null => json!({"id": line["before"]["id"], "lsn": lsn, "_tombstone": true}),
        row => json!({"id": row["id"], "customer_name": row["customer_name"], "product_name": row["product_name"], "quantity": row["quantity"],
                      "order_date": engine::moment(row["order_date"].as_i64().unwrap()), "lsn": lsn}),
    }
}

/// The rows themselves, or, where they are changes, what they leave: the states between depend on when they were written.
fn last_states(rows: &[Value]) -> Vec<Value> {
    let mut left: Vec<Value> = Vec::new();
    for row in rows {
        if row.get("op").is_none() {
            left.push(row.clone());
            continue;
        }
        left.retain(|state| *state != row["before"]);
        left.extend((!row["after"].is_null()).then(|| row["after"].clone()));
    }
    left
}

/// The values of a view for each row, by name.
fn answers(view: &str, rows: &[(&'static str, Value)], moments: Vec<i64>, engine: &Engine) -> Vec<Map<String, Value>> {
    let rows: Vec<Map<String, Value>> = rows.iter().map(|(key, value)| Map::from_iter([((*key).to_owned(), value.clone())])).collect();
    let mut found = vec![Map::new(); rows.len()];
    let asking = Asking { service: view.to_owned(), rows, moments };
    for (name, values) in engine.ask_by_name(&asking) {
        found.iter_mut().zip(values).for_each(|(row, value)| drop(row.insert(name.clone(), value)));
    }
    found
}

fn hold(golden: &Golden, rows: &[Value], engine: &Engine, tally: &mut Tally) {
    let keys: Vec<_> = rows.iter().map(golden.key).collect();
    let found = answers(golden.view, &keys, rows.iter().map(golden.moment).collect(), engine);
    for (number, (row, found)) in rows.iter().zip(&found).enumerate() {
        let wanted = row.as_object().unwrap().iter().filter(|(name, _)| !golden.besides.contains(&name.as_str()));
        let differ: Vec<_> = wanted.filter(|(name, value)| !same(golden, name, value, found)).collect();
        let outcome = if differ.is_empty() { Outcome::Agrees } else { Outcome::Differs(format!("{found:?}, and not {differ:?}")) };
        tally.add("arroyo", &format!("{} {number}", golden.name), outcome);
    }
}

fn same(golden: &Golden, name: &str, wanted: &Value, found: &Map<String, Value>) -> bool {
    let name = if golden.name == "month_loose_watermark" { "month_count" } else { name };
    let found = found.get(name).unwrap_or_else(|| panic!("no {name} of {}", golden.view));
    match number(wanted) {
        // A group that an outer join has no row for has counted nothing.
        None => number(found) == Some(0.0),
        wanted => number(found) == wanted,
    }
}

/// One query of all aggregates, rounded to four places: each of the aggregates is a case.
fn every_aggregate(rows: &[Value], engine: &Engine, tally: &mut Tally) {
    let keys: Vec<_> = rows.iter().map(|row| ("event_type", row["event_type"].clone())).collect();
    let found = answers("by_event_type", &keys, vec![THE_END; rows.len()], engine);
    for (row, found) in rows.iter().zip(&found) {
        for (name, wanted) in row.as_object().unwrap().iter().filter(|(name, _)| *name != "event_type") {
            let outcome = match found.get(name) {
                None => Outcome::Inexpressible("an aggregate that is not here".into()),
                Some(value) if rounded(value) == rounded(wanted) => Outcome::Agrees,
                Some(value) => Outcome::Differs(format!("{value}, and not {wanted}")),
            };
            tally.add("arroyo", &format!("every_aggregate {} {name}", row["event_type"].as_str().unwrap()), outcome);
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn rounded(value: &Value) -> Value {
    number(value).map_or_else(|| value.clone(), |number| json!((number * 1e4).round() / 1e4))
}
