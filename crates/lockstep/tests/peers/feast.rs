//! Feast's statistics of drivers, joined as of moments around their rows; `feast.csv` is what Feast itself answers, written by `feast_answers.py`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::engine::{self, Asking, micros};
use crate::tally::{Outcome, Tally};
use crate::trained::Trained;

pub fn run(folder: &Path, tally: &mut Tally) -> Trained {
    // The newest row of a driver is a frame of one row; of two at one moment, the one that was created last.
    let sql = format!(
        "CREATE ENTITY driver (driver_id BIGINT);
         CREATE SOURCE driver_stats (
           driver_id BIGINT, event_timestamp TIMESTAMP, conv_rate REAL, acc_rate REAL, avg_daily_trips INT, created TIMESTAMP,
           PRIMARY KEY (driver_id, event_timestamp)
         ) WITH (event_time = 'event_timestamp', version = 'created', history = 'all', batch = '{}');
         CREATE FEATURE VIEW driver_stats_v1 ENTITY driver WITH (ttl = '1 day') AS
         SELECT driver_id, last_value(conv_rate) OVER w AS conv_rate, last_value(acc_rate) OVER w AS acc_rate, last_value(avg_daily_trips) OVER w AS avg_daily_trips
         FROM driver_stats WINDOW w AS (PARTITION BY driver_id ORDER BY event_timestamp ROWS BETWEEN CURRENT ROW AND CURRENT ROW);",
        folder.canonicalize().unwrap().join("driver_stats.parquet").display()
    );
    let files = [("lockstep.toml", String::new()), ("feature_defs/driver_stats_v1.sql", sql)];
    let engine = engine::serve(&files.map(|(name, text)| (name.to_owned(), text)));
    let lines: Vec<Vec<&str>> = include_str!("feast.csv").lines().skip(1).map(|line| line.split(',').collect()).collect();
    let asking = Asking {
        service: "driver_stats_v1".into(),
        rows: lines.iter().map(|line| Map::from_iter([("driver_id".to_owned(), json!(line[0].parse::<i64>().unwrap()))])).collect(),
        moments: lines.iter().map(|line| micros(line[1]).unwrap()).collect(),
    };
    let found = engine.ask(&asking);
    for (row, line) in lines.iter().enumerate() {
        let differs = found.iter().zip(&line[2..]).any(|(values, expected)| !same(&values[row], expected));
        let shown: Vec<&Value> = found.iter().map(|values| &values[row]).collect();
        let outcome = if differs { Outcome::Differs(format!("{shown:?}")) } else { Outcome::Agrees };
        tally.add("feast", &format!("{} at {}", line[0], line[1]), outcome);
    }
    engine.trained
}

/// Nothing is computed: the numbers are those of the rows, of 32 bits.
#[allow(clippy::cast_possible_truncation, reason = "they were of 32 bits")]
fn same(found: &Value, expected: &str) -> bool {
    match found.as_f64() {
        None => found.is_null() && expected.is_empty(),
        Some(found) => expected.parse::<f64>().is_ok_and(|expected| (found as f32).to_bits() == (expected as f32).to_bits()),
    }
}
