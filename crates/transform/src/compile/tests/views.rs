//! What compiling makes of frames, arguments, filters and sources.

use super::super::frames;
use super::{catalog, sales, view};

/// The frames of a view, in the order of its features.
fn frames_of(features: &str) -> Vec<String> {
    let view = view(&sales(&format!("{features} FROM sales")));
    view.outputs.iter().map(|&(_, frame)| frames::canonical(&view.frames[frame])).collect()
}

fn frame(text: &str) -> String {
    frames_of(&format!("count(*) OVER ({{w}} {text}) AS n")).remove(0)
}

#[test]
fn frames_are_lengths_in_microseconds() {
    let plain = "last None calendar None resolution 1";
    for (sql, expected) in [
        ("RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW", "preceding Some(3600000000) ends_before 0"),
        ("RANGE BETWEEN INTERVAL '1 day' PRECEDING AND INTERVAL '1 microsecond' PRECEDING", "preceding Some(86400000000) ends_before 1"),
        ("RANGE BETWEEN INTERVAL '7 days' PRECEDING AND INTERVAL '1 day' PRECEDING", "preceding Some(604800000000) ends_before 86400000000"),
        ("RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL '2 minutes' PRECEDING", "preceding None ends_before 120000000"),
        ("RANGE UNBOUNDED PRECEDING", "preceding None ends_before 0"),
        ("RANGE BETWEEN CURRENT ROW AND CURRENT ROW", "preceding Some(0) ends_before 0"),
        ("RANGE INTERVAL '90 minutes' PRECEDING", "preceding Some(5400000000) ends_before 0"),
    ] {
        assert_eq!(frame(sql), format!("{expected} {plain}"), "{sql}");
    }
}

#[test]
fn rows_are_counted_from_the_moment() {
    for (sql, expected) in [
        ("ROWS BETWEEN 9 PRECEDING AND CURRENT ROW", "Some((Some(10), 0))"),
        ("ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING", "Some((Some(3), 1))"),
        ("ROWS BETWEEN CURRENT ROW AND CURRENT ROW", "Some((Some(1), 0))"),
        ("ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING", "Some((None, 2))"),
        ("ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", "None"),
    ] {
        assert_eq!(frame(sql), format!("preceding None ends_before 0 last {expected} calendar None resolution 1"), "{sql}");
    }
}

#[test]
fn calendar_windows_are_of_a_unit_and_a_zone() {
    let tzdb = crate::calendar::tzdb_release();
    for (moment, zone) in [
        ("sold_at", "UTC"),
        ("sold_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York'", "America/New_York"),
        ("sold_at AT TIME ZONE 'UTC' AT TIME ZONE 'Australia/Lord_Howe'", "Australia/Lord_Howe"),
        ("sold_at AT TIME ZONE 'UTC' AT TIME ZONE 'UTC'", "UTC"),
    ] {
        for unit in ["hour", "day", "week", "month", "year"] {
            let sql = format!("count(*) OVER (PARTITION BY shop, date_trunc('{unit}', {moment}) ORDER BY sold_at RANGE UNBOUNDED PRECEDING) AS n");
            let expected = format!("preceding None ends_before 0 last None calendar Some(\"{unit} {zone} tzdb {tzdb}\") resolution 1");
            assert_eq!(frames_of(&sql), [expected], "{sql}");
        }
    }
}

#[test]
fn windows_share_what_they_have_in_common() {
    let view = view(&sales(
        "count(*) OVER h AS n, sum(price) OVER h AS a, sum(price) OVER d AS b, sum(price) FILTER (WHERE paid) OVER d AS c,
         sum(price) FILTER (WHERE paid) OVER h AS d, avg(price) OVER h AS e, sum(price) OVER h / sum(price) OVER d AS f,
         max(price) FILTER (WHERE paid) OVER d AS g, count(price) OVER d AS i
         FROM sales WINDOW h AS ({w} RANGE INTERVAL '1 hour' PRECEDING), d AS ({w} RANGE INTERVAL '1 day' PRECEDING)",
    ));
    assert_eq!((view.frames.len(), view.features.fields().len()), (2, 9));
    let mut measures: Vec<String> =
        view.measures.measures.iter().map(|m| format!("{} {:?} {:?}", m.aggregate.name(), m.args.len(), m.filter.is_some())).collect();
    measures.sort();
    assert_eq!(measures, ["avg 1 false", "count 0 false", "count 1 false", "max 1 true", "sum 1 false", "sum 1 true"]);
    // Stored once each: the price and what is filtered by.
    assert_eq!(view.measures.codec.schema().fields().len(), 2);
}

#[test]
fn a_reach_is_that_of_the_longest_frame() {
    let reach = |features: &str| view(&sales(&format!("{features} FROM sales"))).reach();
    assert_eq!(
        reach("count(*) OVER ({w} RANGE INTERVAL '1 hour' PRECEDING) AS n, sum(price) OVER ({w} RANGE INTERVAL '1 day' PRECEDING) AS p"),
        Some(86_400_000_000)
    );
    assert_eq!(reach("count(*) OVER ({w} RANGE UNBOUNDED PRECEDING) AS n"), None);
    assert_eq!(reach("count(*) OVER ({w} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n"), None);
    let coarse = sales("count(*) OVER ({w} RANGE INTERVAL '1 hour' PRECEDING) AS n FROM sales")
        .replace("ENTITY shop AS", "ENTITY shop WITH (resolution = '1 minute') AS");
    assert_eq!(view(&coarse).reach(), Some(3_600_000_000 + 59_999_999));
}

#[test]
fn errors_name_their_feature() {
    let window = "WINDOW w AS ({w} RANGE INTERVAL '1 hour' PRECEDING)";
    for (feature, place, words) in [
        ("sum(item) OVER w AS items", 53, ["sum", "does not take"]),
        ("avg(price) OVER w + sum(paid) OVER w AS mixed", 53, ["sum", "Boolean"]),
        ("max(repeat(item, pieces)) OVER w AS long", 53, ["repeat", "1000"]),
        ("min(lpad(item, 2000)) OVER w AS long", 53, ["lpad", "1000"]),
        ("count(NULL) OVER w AS none", 53, ["count", "NULL"]),
        ("nth_value(price, 20000) OVER w AS far", 53, ["nth_value", "10000"]),
        ("sum(price) OVER w - last_value(item) OVER w AS odd", 53, ["Float64", "Utf8"]),
    ] {
        let error = catalog(&sales(&format!("count(*) OVER w AS n, {feature} FROM sales {window}"))).unwrap_err();
        let (at, message) = error.split_once(": ").unwrap();
        assert!(words.iter().all(|word| message.contains(word)), "{feature}: {error}");
        assert!(message.starts_with(|first: char| first.is_lowercase() || first == '`'), "{error}");
        let column: usize = at.rsplit(':').next().unwrap().parse().unwrap();
        assert!(at.starts_with("v.sql:1:") && column > place, "{feature}: {error}");
    }
}

#[test]
fn a_frame_of_rows_bounds_a_set() {
    let view = view(&sales("count(DISTINCT item) OVER ({w} ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS n FROM sales"));
    assert_eq!(view.measures.measures[0].aggregate.name(), "count_distinct limit 10");
}

#[test]
fn tiles_keep_what_a_frame_of_time_asks_for() {
    let kept =
        |features: &str| view(&sales(&format!("{features} FROM sales"))).measures.measures.iter().map(|measure| measure.tiled).collect::<Vec<_>>();
    let (rows, time) = ("OVER ({w} ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)", "OVER ({w} RANGE INTERVAL '1 hour' PRECEDING)");
    assert_eq!(kept(&format!("sum(price) {rows} AS a")), [false]);
    assert_eq!(kept(&format!("sum(price) {rows} AS a, sum(price) {time} AS b")), [true]);
    assert_eq!(kept(&format!("sum(price) {time} AS b, sum(price) {rows} AS a")), [true]);
    // A list is its rows.
    assert_eq!(kept(&format!("array_agg(price) {rows} AS a")), [false]);
}
