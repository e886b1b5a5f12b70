//! A shop that suggests items to shoppers, leaves out what is not in stock or was looked at, and shows what is popular where too little is left.

use std::time::{Duration, Instant};

use lockstep_client::{Answer, Request};
use lockstep_model::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::support::{Caller, Server};

pub const DEFINITIONS: &str = "
CREATE ENTITY shopper (shopper VARCHAR);
CREATE ENTITY item (item VARCHAR);
CREATE SOURCE suggestions (id BIGINT PRIMARY KEY, shopper VARCHAR, items VARCHAR[], scores DOUBLE[], made_at TIMESTAMP)
WITH (event_time = 'made_at', batch = 'data/suggestions.ndjson');
CREATE SOURCE counts (id BIGINT PRIMARY KEY, item VARCHAR, pieces INT, price DOUBLE, counted_at TIMESTAMP)
WITH (event_time = 'counted_at', batch = 'data/counts.ndjson');
CREATE SOURCE looks (id BIGINT PRIMARY KEY, shopper VARCHAR, item VARCHAR, looked_at TIMESTAMP) WITH (event_time = 'looked_at');

CREATE FEATURE VIEW suggested ENTITY shopper AS
SELECT shopper, last_value(items) OVER w AS items, last_value(scores) OVER w AS scores FROM suggestions
WINDOW w AS (PARTITION BY shopper ORDER BY made_at RANGE UNBOUNDED PRECEDING);
CREATE FEATURE VIEW in_stock ENTITY item AS
SELECT item, last_value(pieces) OVER w AS pieces, last_value(price) OVER w AS price FROM counts
WINDOW w AS (PARTITION BY item ORDER BY counted_at RANGE UNBOUNDED PRECEDING);
CREATE FEATURE VIEW looked ENTITY shopper WITH (limit = 100) AS
SELECT shopper, array_agg(item) OVER w AS items_1h FROM looks
WINDOW w AS (PARTITION BY shopper ORDER BY looked_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);

CREATE FEATURE SERVICE to_show WITH (min_items = 2, fallback = 'popular') AS
SELECT i.item AS item, i.score AS score, s.price AS price
FROM REQUEST (shopper VARCHAR) r
LEFT JOIN suggested c ON c.shopper = r.shopper
LEFT JOIN looked w ON w.shopper = r.shopper
CROSS JOIN UNNEST(c.items, c.scores) AS i(item, score)
LEFT JOIN in_stock s ON s.item = i.item
WHERE s.pieces > 0 AND NOT coalesce(array_contains(w.items_1h, i.item), false)
ORDER BY i.score DESC NULLS LAST LIMIT 3;
CREATE FEATURE SERVICE popular AS
SELECT i.item AS item, CAST(0 AS DOUBLE) AS score, s.price AS price
FROM REQUEST (shopper VARCHAR) r
CROSS JOIN UNNEST(['tea', 'jam']) AS i(item)
LEFT JOIN in_stock s ON s.item = i.item
WHERE s.pieces > 0;
";

const SUGGESTIONS: &str = r#"{"id": 1, "shopper": "ann", "items": ["tea", "cup", "hat", "jam", "pen"], "scores": [0.5, 0.75, 1.0, 0.25, 0.125], "made_at": "2024-03-01T08:00:00Z"}
{"id": 2, "shopper": "bob", "items": ["hat", "gone"], "scores": [0.5, 0.25], "made_at": "2024-03-01T08:00:00Z"}
"#;

const COUNTS: &str = r#"{"id": 1, "item": "tea", "pieces": 7, "price": 2.5, "counted_at": "2024-03-01T08:00:00Z"}
{"id": 2, "item": "cup", "pieces": 2, "price": 9.0, "counted_at": "2024-03-01T08:00:00Z"}
{"id": 3, "item": "hat", "pieces": 3, "price": 30.0, "counted_at": "2024-03-01T08:00:00Z"}
{"id": 4, "item": "jam", "pieces": 5, "price": 4.5, "counted_at": "2024-03-01T08:00:00Z"}
{"id": 5, "item": "gone", "pieces": 0, "price": 1.0, "counted_at": "2024-03-01T08:00:00Z"}
"#;

/// The shop's project, with more definitions beside its own.
pub fn files(more: &str, config: &str) -> Vec<(String, String)> {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    vec![
        file("lockstep.toml", config),
        file("feature_defs/shop.sql", DEFINITIONS),
        file("feature_defs/more.sql", more),
        file("data/suggestions.ndjson", SUGGESTIONS),
        file("data/counts.ndjson", COUNTS),
    ]
}

pub fn project() -> Project {
    Project::of(&files("", ""))
}

pub fn ask(caller: &Caller, shoppers: &[&str]) -> Answer {
    caller.ask(Request::new("to_show").column("shopper", shoppers.to_vec())).unwrap()
}

/// What is shown to the shopper of a row of the request.
pub fn items(answer: &Answer, request: u32) -> Vec<String> {
    let items = answer.feature("item").unwrap().values::<String>().unwrap();
    answer.rows_of(request).map(|row| items[row].clone().unwrap()).collect()
}

/// An event of now.
pub fn push(server: &Server, source: &str, mut event: Value) {
    let time = if source == "counts" { "counted_at" } else { "looked_at" };
    event[time] = json!(SystemClock.now().to_string());
    let (code, body) = server.post(&format!("/v1/events/{source}"), &json!({"rows": [event]}).to_string());
    assert_eq!(code, 200, "{body}");
}

/// How long it takes until a shopper is shown these items.
#[allow(clippy::disallowed_methods, reason = "how soon it is seen is what is asked")]
pub fn until_shown(caller: &Caller, shopper: &str, wanted: &[&str]) -> Duration {
    let since = Instant::now();
    wait_for("what happened is seen", || (items(&ask(caller, &[shopper]), 0) == wanted).then_some(()));
    since.elapsed()
}
