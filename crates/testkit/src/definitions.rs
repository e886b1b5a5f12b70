//! Definitions at random, from a grammar.
//!
//! A view `v` of an entity `e`, over source `a` or over `a` and `b`, with every kind of frame, aggregate, filter, key expression and calendar, in any mix. Every
//! definition compiles; whoever uses it says what else the sources declare, and makes events that fit their columns.

use fastrand::Rng;

/// An entity, sources and one view.
#[derive(Debug)]
pub struct Definition {
    entity: String,
    view: String,
    /// How many sources the view reads: `a`, or `a` and `b`.
    pub branches: usize,
    /// What makes the entity's first key column of an event's `k`.
    key: &'static str,
    /// Whether the entity has a second key column, an event's `g`.
    pub two_keys: bool,
    /// Frame lengths, µs: where edges are worth a look.
    pub edges: Vec<i64>,
}

/// What a source declares beyond what a view reads of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct More<'a> {
    /// Columns, each with a comma behind it.
    pub columns: &'a str,
    /// Options, each with a comma before it.
    pub options: &'a str,
}

const SECOND: i64 = 1_000_000;

/// Intervals as text and in µs, multiples of the grids below.
const INTERVALS: &[(&str, i64)] = &[
    ("1 microsecond", 1),
    ("1 second", SECOND),
    ("90 seconds", 90 * SECOND),
    ("1 hour", 3_600 * SECOND),
    ("36 hours", 36 * 3_600 * SECOND),
    ("1 day 2 hours", 26 * 3_600 * SECOND),
    ("7 days", 7 * 24 * 3_600 * SECOND),
];

/// Zones of calendars, UTC first.
const ZONES: &[&str] = &["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Asia/Kolkata", "America/Havana"];

/// Calls with a number for value; `{}` is where nothing or `IGNORE NULLS` goes.
const NUMBERS: &[&str] = &[
    "count(*)",
    "count(x)",
    "count(DISTINCT s)",
    "count(DISTINCT i)",
    "sum(x)",
    "avg(x)",
    "sum(i)",
    "avg(i)",
    "sum(d)",
    "avg(d)",
    "sum(x * 0.1 + i)",
    "min(x)",
    "max(x)",
    "min(i)",
    "max(d)",
    "var(x)",
    "var_pop(x)",
    "stddev(x)",
    "stddev_pop(i)",
    "first_value(x)",
    "last_value(x)",
    "last_value(i) IGNORE NULLS",
    "first_value(d) IGNORE NULLS",
    "nth_value(x, 2)",
    "nth_value(i, -2)",
    "approx_distinct(s)",
    "approx_percentile_cont(x, 0.75)",
    "sum(CASE WHEN b THEN x ELSE 0.0 END)",
    "avg(CASE WHEN s = 'p' THEN 1.0 ELSE 0.0 END)",
    "sum(CAST(s AS BIGINT))",
    "max(12 / i)",
    "last_value(CAST(x + 1 AS BIGINT))",
];

/// Calls with another value.
const OTHERS: &[&str] = &[
    "min(s)",
    "max(s)",
    "max(b)",
    "max(t)",
    "min(t)",
    "bool_and(b)",
    "bool_or(x > 0)",
    "first_value(s)",
    "last_value(s) IGNORE NULLS",
    "last_value(t)",
    "nth_value(s, -3)",
    "array_agg(s)",
    "array_agg(x)",
    "last_value(concat(s, '!'))",
];

const CONDITIONS: &[&str] =
    &["x > 0", "s <> ''", "i % 3 <> 0", "b", "x IS NOT NULL OR i > 2", "s IN ('p', 'q') AND NOT b", "d >= 0.5", "isnan(x)", "7 % i > 1"];

/// Moments around which something happens to clocks, µs.
const BASES: &[i64] = &[
    0,
    1_362_873_600_000_000, // 2013-03-10, New York
    1_383_436_800_000_000, // 2013-11-03, New York
    1_365_256_800_000_000, // 2013-04-06 14:00, Lord Howe
    1_325_152_800_000_000, // 2011-12-29 10:00, Apia
    1_382_236_000_000_000, // 2013-10-20, São Paulo
    -86_400_000_000 * 400,
];

const KEYS: &[&str] = &["k", "k", "lower(k)", "coalesce(k, 'none')"];

/// One of some things.
pub fn pick<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.usize(..items.len())]
}

impl Definition {
    /// A definition, the same for the same numbers.
    pub fn new(rng: &mut Rng) -> Definition {
        let two_keys = rng.bool();
        let branches = 1 + rng.usize(..2);
        let key = pick(rng, KEYS);
        let resolution = (rng.usize(..5) == 0).then(|| pick(rng, &[("1 second", SECOND), ("1 hour", 3_600 * SECOND)]));
        let (time, alias) = if branches == 1 && rng.bool() { ("t", "") } else { ("t", "u.") };
        let zone = pick(rng, ZONES);
        let mut view = View { rng, zone, keys: vec![key], time, alias, grid: resolution.map_or(1, |(_, grid)| grid), edges: Vec::new() };
        if two_keys {
            view.keys.push("g");
        }
        let windows: Vec<String> = (0..1 + view.rng.usize(..4)).map(|_| view.window()).collect();
        let features: Vec<String> = (0..1 + view.rng.usize(..7)).map(|i| format!("{} AS f{i}", view.feature(windows.len()))).collect();
        let condition = if view.rng.bool() { format!("\nWHERE {}", pick(view.rng, CONDITIONS)) } else { String::new() };
        let edges = view.edges.clone();

        let mut options = vec![format!("limit = {}", 3 + rng.usize(..12))];
        if rng.bool() {
            options.push(format!("ttl = '{}'", pick(rng, &INTERVALS[1..]).0));
        }
        options.extend(resolution.map(|(text, _)| format!("resolution = '{text}'")));
        let mut items = vec![format!("{key} AS k")];
        items.extend(two_keys.then(|| "g".to_owned()));
        items.extend(features);
        let named: Vec<String> = windows.iter().enumerate().map(|(i, window)| format!("w{i} AS ({window})")).collect();
        let from = match (branches, alias) {
            (1, "") => "a".to_owned(),
            (1, _) => "a AS u".to_owned(),
            _ => {
                "(SELECT k, g, x, i, s, b, d, t FROM a UNION ALL\n      SELECT upper(k), g, y, j, concat('p', s), NOT b, d, t FROM b) AS u".to_owned()
            }
        };
        let entity = if two_keys { "k VARCHAR, g INTEGER" } else { "k VARCHAR" };
        let view = format!(
            "CREATE FEATURE VIEW v ENTITY e WITH ({}) AS\nSELECT {}\nFROM {from}{condition}\nWINDOW {};",
            options.join(", "),
            items.join(",\n       "),
            named.join(",\n       "),
        );
        Definition { entity: format!("CREATE ENTITY e ({entity});"), view, branches, key, two_keys, edges }
    }

    /// The text of all of it, both sources included.
    pub fn sql(&self, [a, b]: [More<'_>; 2]) -> String {
        let Definition { entity, view, .. } = self;
        let read = |x: &str, i: &str| format!("k VARCHAR, g INTEGER, {x} DOUBLE, {i} BIGINT, s VARCHAR, b BOOLEAN, d DECIMAL(12, 2), t TIMESTAMP");
        format!(
            "{entity}\n\
             CREATE SOURCE a (id BIGINT PRIMARY KEY, {}{}) WITH (event_time = 't'{});\n\
             CREATE SOURCE b (name VARCHAR, id INTEGER, {}{}, PRIMARY KEY (name, id)) WITH (event_time = 't'{});\n\
             {view}",
            a.columns,
            read("x", "i"),
            a.options,
            b.columns,
            read("y", "j"),
            b.options,
        )
    }

    /// A moment around which the events of a case may lie, and a step between them: of which a frame holds some, and which calendars see. Both in µs.
    pub fn moments(&self, rng: &mut Rng) -> (i64, i64) {
        let base = pick(rng, BASES);
        let step = match self.edges.as_slice() {
            [] => pick(rng, &[1, 500_000, 60_000_000, 1_800_000_000, 3_600_000_000]),
            edges => (pick(rng, edges) / rng.i64(1..9)).max(1),
        };
        (base, step)
    }

    /// The entity of an event of a branch, by the event's `k`.
    pub fn entity_of(&self, k: &str, branch: usize) -> String {
        let k = if branch == 1 { k.to_uppercase() } else { k.to_owned() };
        if self.key == "lower(k)" { k.to_lowercase() } else { k }
    }
}

struct View<'r> {
    zone: &'static str,
    rng: &'r mut Rng,
    keys: Vec<&'static str>,
    time: &'static str,
    alias: &'static str,
    grid: i64,
    edges: Vec<i64>,
}

impl View<'_> {
    fn window(&mut self) -> String {
        let mut partition: Vec<String> = self.keys.iter().map(|key| key.to_string()).collect();
        let mut frame = self.frame();
        if self.rng.usize(..4) == 0 {
            let unit = pick(self.rng, &["hour", "day", "week", "month"]);
            // DataFusion gives two windows that differ in a zone alone one name, and refuses both.
            let zone = self.zone;
            let time = format!("{}{}", self.alias, self.time);
            partition.push(match zone {
                "UTC" => format!("date_trunc('{unit}', {time})"),
                zone => format!("date_trunc('{unit}', {time} AT TIME ZONE 'UTC' AT TIME ZONE '{zone}')"),
            });
            if self.rng.bool() {
                frame = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned();
            }
        }
        format!("PARTITION BY {} ORDER BY {} {frame}", partition.join(", "), self.time)
    }

    fn frame(&mut self) -> String {
        let (near, far) = (self.rng.u64(..4), self.rng.u64(..6));
        match self.rng.usize(..8) {
            0 => "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned(),
            1 => "RANGE UNBOUNDED PRECEDING".to_owned(),
            2 => format!("ROWS BETWEEN {far} PRECEDING AND CURRENT ROW"),
            3 => format!("ROWS BETWEEN {} PRECEDING AND {near} PRECEDING", near + far),
            4 => format!("ROWS BETWEEN UNBOUNDED PRECEDING AND {near} PRECEDING"),
            5 => {
                let (a, b) = (self.interval(), self.interval());
                let (far, near) = if a.1 < b.1 { (b, a) } else { (a, b) };
                format!("RANGE BETWEEN INTERVAL '{}' PRECEDING AND INTERVAL '{}' PRECEDING", far.0, near.0)
            }
            _ => format!("RANGE BETWEEN INTERVAL '{}' PRECEDING AND CURRENT ROW", self.interval().0),
        }
    }

    fn interval(&mut self) -> (&'static str, i64) {
        let long: Vec<_> = INTERVALS.iter().filter(|(_, length)| *length >= self.grid).copied().collect();
        let interval = pick(self.rng, &long);
        self.edges.push(interval.1);
        interval
    }

    fn call(&mut self, calls: &[&str], windows: usize) -> String {
        let call = pick(self.rng, calls);
        let positional = ["first_value", "last_value", "nth_value"].iter().any(|name| call.starts_with(name));
        let filter = match self.rng.usize(..3) {
            0 if !positional => format!(" FILTER (WHERE {})", pick(self.rng, CONDITIONS)),
            _ => String::new(),
        };
        format!("{call}{filter} OVER w{}", self.rng.usize(..windows))
    }

    fn feature(&mut self, windows: usize) -> String {
        let number = |view: &mut Self| view.call(NUMBERS, windows);
        match self.rng.usize(..10) {
            0 => format!("coalesce({}, 0)", number(self)),
            1 => format!("{} / nullif({}, 0)", number(self), number(self)),
            2 => format!("{} * -2", number(self)),
            3 => format!("CASE WHEN {} > 1 THEN {} ELSE 0 END", number(self), number(self)),
            4 if self.rng.bool() => format!("10 / {}", number(self)),
            4 => format!("{} - {}", number(self), number(self)),
            5 | 6 => self.call(OTHERS, windows),
            _ => number(self),
        }
    }
}
