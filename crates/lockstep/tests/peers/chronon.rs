//! Chronon's quickstart: purchases, and the one row that it shows of them.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::engine::{self, Asking, moment};
use crate::tally::{Outcome, Tally};
use crate::trained::Trained;

/// The row: a user, when it is asked for (ms), and per window in days the sum, the number and the average of the prices.
const USER: i64 = 24;
const ASKED_MS: i64 = 1_701_320_475_364;
const PUBLISHED: [(u32, f64, f64, f64); 3] = [(3, 331.0, 1.0, 331.0), (14, 1574.0, 4.0, 393.5), (30, 1934.0, 5.0, 386.8)];

/// Their windows are closed where they begin and open where they end: t − w ≤ ts < t.
pub fn run(folder: &Path, tally: &mut Tally) -> Trained {
    let mut features = Vec::new();
    let mut windows = Vec::new();
    for (days, ..) in PUBLISHED {
        features.extend(["sum", "count", "avg"].map(|call| format!("{call}(purchase_price) OVER w{days} AS {call}_{days}d")));
        windows.push(format!(
            "w{days} AS (PARTITION BY user_id ORDER BY purchased_at RANGE BETWEEN INTERVAL '{days} days' PRECEDING AND INTERVAL '1 microsecond' PRECEDING)"
        ));
    }
    let sql = format!(
        "CREATE ENTITY customer (user_id BIGINT);
         CREATE SOURCE purchases (purchase_id VARCHAR, user_id BIGINT, purchase_price BIGINT, purchased_at TIMESTAMP, PRIMARY KEY (purchase_id))
         WITH (event_time = 'purchased_at', history = 'all', batch = 'purchases.ndjson');
         CREATE FEATURE VIEW purchases_v1 ENTITY customer AS SELECT user_id, {} FROM purchases WINDOW {};",
        features.join(", "),
        windows.join(", ")
    );
    let text = std::fs::read_to_string(folder.join("purchases.csv")).unwrap();
    let files = [
        ("lockstep.toml", String::new()),
        ("feature_defs/purchases_v1.sql", sql),
        ("purchases.ndjson", text.lines().skip(1).map(purchase).collect()),
    ];
    let engine = engine::serve(&files.map(|(name, text)| (name.to_owned(), text)));
    let asking =
        Asking { service: "purchases_v1".into(), rows: vec![Map::from_iter([("user_id".to_owned(), json!(USER))])], moments: vec![ASKED_MS * 1000] };
    let found: Vec<Value> = engine.ask(&asking).into_iter().map(|mut values| values.remove(0)).collect();
    let expected = PUBLISHED
        .iter()
        .flat_map(|(days, sum, count, average)| [("sum", *sum), ("count", *count), ("avg", *average)].map(|(call, value)| (call, days, value)));
    for ((call, days, value), found) in expected.zip(&found) {
        let number = found.as_f64().or_else(|| found.as_str()?.parse().ok());
        let outcome = if number == Some(value) { Outcome::Agrees } else { Outcome::Differs(format!("{found}, and not {value}")) };
        tally.add("chronon", &format!("{call} over {days} days"), outcome);
    }
    engine.trained
}

/// A line of `ds,ts,purchase_id,user_id,product_id,purchase_price`.
fn purchase(line: &str) -> String {
    let fields: Vec<&str> = line.split(',').collect();
    let [_, millis, id, user, _, price] = fields.as_slice() else { panic!("{line}") };
    let number = |text: &str| text.parse::<i64>().unwrap();
    let row = json!({"purchase_id": id, "user_id": number(user), "purchase_price": number(price), "purchased_at": moment(number(millis) * 1000)});
    format!("{row}\n")
}
