//! Admission held to a model that sorts all rows of a key and says outright what stands.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::log::{Event, Log, NOW, Row};
use crate::admission::Kind;

const SOURCES: [&str; 6] = [
    "allowed_lateness = 'unbounded'",
    "allowed_lateness = 'unbounded', available_at = 'seen', serving_lag = '3 microseconds'",
    "allowed_lateness = 'unbounded', available_at = 'append_time'",
    "allowed_lateness = 'unbounded', version = 'v'",
    "allowed_lateness = 'unbounded', version = 'v', available_at = 'seen'",
    "allowed_lateness = 'unbounded', version = 'v', available_at = 'append_time', serving_lag = '3 microseconds'",
];

fn is_versioned(options: &str) -> bool {
    options.contains("version")
}

/// Rows without conflicts: content is a function of the key and the version. Few values, so that all of them meet.
fn rows(options: &'static str) -> impl Strategy<Value = Vec<Row>> {
    let row = (0..4i64, -1..5i64, 0..8i64, any::<bool>(), 0..6u8).prop_map(move |(key, version, append, says_append, tombstone)| {
        let version = if is_versioned(options) { version } else { 0 };
        let tombstone = is_versioned(options) && tombstone == 0;
        let content = key * 7 + version * 3;
        Row {
            key: Some(key),
            time: (!tombstone).then_some(20 + content % 5),
            version: Some(version),
            x: (content % 4 != 0).then_some(content as f64),
            seen: (!tombstone).then_some(content.rem_euclid(8)),
            // What says nothing of when it was known goes by its place in the log, and by no law that holds in any order.
            append: (says_append || tombstone || options.contains("append_time")).then_some(append),
            tombstone,
        }
    });
    proptest::collection::vec(row, 0..24)
}

/// How rows are brought in: in which order, and cut where.
fn course(rows: usize) -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let order = Just((0..rows).collect::<Vec<_>>()).prop_shuffle();
    (order, proptest::collection::vec(1..=rows.max(1), 0..4))
}

fn cases(options: &'static str) -> impl Strategy<Value = (Vec<Row>, [(Vec<usize>, Vec<usize>); 2])> {
    rows(options).prop_flat_map(|rows| {
        let courses = [course(rows.len()), course(rows.len())];
        (Just(rows), courses)
    })
}

fn run(options: &str, kind: Kind, rows: &[Row], (order, cuts): &(Vec<usize>, Vec<usize>)) -> Log {
    let mut log = Log::new(options, kind);
    let rows: Vec<Row> = order.iter().map(|&at| rows[at]).collect();
    let mut rest = rows.as_slice();
    for &cut in cuts {
        let (batch, after) = rest.split_at(cut.min(rest.len()));
        log.admit(batch);
        rest = after;
    }
    log.admit(rest);
    log
}

/// When a row was known, by the definition.
fn known_from(options: &str, row: &Row) -> i64 {
    let append = row.append.unwrap_or(NOW);
    let lag = if options.contains("serving_lag") { 3 } else { 0 };
    match () {
        () if options.contains("append_time") => append + lag,
        () if options.contains("seen") => row.seen.unwrap_or(append) + lag,
        () => i64::MIN,
    }
}

/// What stands of some rows: at every moment, the greatest version that is known by then, row by row and moment by moment.
fn model(options: &str, rows: &[Row]) -> Vec<Event> {
    let mut by_key: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|row| by_key.entry(row.key.unwrap()).or_default().push(row));
    by_key.values().flat_map(|rows| model_of_key(options, rows)).collect()
}

fn model_of_key(options: &str, rows: &[&Row]) -> Vec<Event> {
    let known = |row: &&&Row| known_from(options, row);
    let mut moments: Vec<i64> = rows.iter().map(|row| known(&row)).collect();
    moments.sort_unstable();
    moments.dedup();
    let mut events: Vec<Event> = Vec::new();
    for (at, &moment) in moments.iter().enumerate() {
        let until = moments.get(at + 1).copied().unwrap_or(i64::MAX);
        let winner = rows.iter().filter(|row| known(row) <= moment).max_by_key(|row| (row.version, row.tombstone)).unwrap();
        let row = Row { append: None, ..**winner };
        match events.last_mut().filter(|last| last.row == row && last.known.1 == moment) {
            Some(last) => last.known.1 = until,
            None => events.push(Event { row, known: (moment, until) }),
        }
    }
    events.retain(|event| !event.row.tombstone);
    events
}

fn sorted(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut events: Vec<Event> = events.into_iter().collect();
    events.sort_by_key(|event| (event.row.key, event.row.version, event.known));
    events
}

/// Runs a law, and says with which seed.
fn law<T: std::fmt::Debug>(cases: impl Strategy<Value = T>, holds: impl Fn(T) -> Result<(), TestCaseError>) {
    let seed: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
    let rng = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, rng).run(&cases, holds).unwrap_or_else(|error| panic!("seed {seed:?}\n{error}"));
}

#[test]
fn what_stands_is_what_the_definition_says_in_any_order_and_any_cuts() {
    for options in SOURCES {
        law(cases(options), |(rows, courses)| {
            let [first, second] = courses.map(|course| run(options, Kind::Stream, &rows, &course));
            prop_assert_eq!(sorted(first.events.values().cloned()), sorted(model(options, &rows)));
            prop_assert_eq!(&first.events, &second.events);
            prop_assert_eq!(&first.dead_letters, &[]);
            Ok(())
        });
    }
}

#[test]
fn entries_are_a_function_of_the_set_of_rows() {
    for options in SOURCES {
        law(cases(options), |(rows, courses)| {
            let [first, second] = courses.map(|course| run(options, Kind::Stream, &rows, &course));
            prop_assert_eq!(&first.index, &second.index);
            Ok(())
        });
    }
}

#[test]
fn a_replay_changes_nothing() {
    for options in SOURCES {
        law(cases(options), |(rows, [course, again])| {
            let mut log = run(options, Kind::Stream, &rows, &course);
            let (index, events) = (log.index.clone(), log.events.clone());
            for &at in &again.0 {
                let admitted = log.decide(&rows[at..=at]);
                prop_assert!(admitted.rows.num_rows() == 0 && admitted.keys.is_empty());
            }
            log.admit(&rows);
            prop_assert_eq!((&log.index, &log.events), (&index, &events));
            Ok(())
        });
    }
}

#[test]
fn cuts_do_not_matter_to_anything_even_where_rows_conflict_or_come_late() {
    let options = [
        "allowed_lateness = '2 microseconds'",
        "allowed_lateness = '2 microseconds', available_at = 'append_time'",
        "allowed_lateness = '2 microseconds', version = 'v'",
        "allowed_lateness = '2 microseconds', version = 'v', available_at = 'append_time'",
        "allowed_lateness = '2 microseconds', version = 'position', available_at = 'append_time'",
    ];
    for options in options {
        let row = (0..4i64, 0..6i64, 0..3i64, 0..2u8, 0..8i64, 0..8u8);
        let row = row.prop_map(|(key, time, version, x, append, odd)| Row {
            key: (odd != 1).then_some(key),
            time: (odd != 2).then_some(time),
            version: Some(version),
            x: Some(f64::from(x)),
            append: Some(append),
            tombstone: odd == 3,
            ..Row::default()
        });
        let cases = proptest::collection::vec(row, 0..24).prop_flat_map(|rows| {
            let len = rows.len().max(1);
            (Just(rows), proptest::collection::vec(1..=len, 0..6))
        });
        law(cases, |(rows, cuts)| {
            let in_order: Vec<usize> = (0..rows.len()).collect();
            let whole = run(options, Kind::Stream, &rows, &(in_order.clone(), Vec::new()));
            let cut = run(options, Kind::Stream, &rows, &(in_order, cuts));
            prop_assert_eq!(whole.report(), cut.report());
            prop_assert_eq!(&whole.index, &cut.index);
            prop_assert_eq!(&whole.refusals, &cut.refusals);
            prop_assert_eq!(&whole.dead_letters, &cut.dead_letters);
            Ok(())
        });
    }
}
