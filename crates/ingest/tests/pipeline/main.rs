//! The pipeline on real files and a real store: whichever way events come in, the answers are the same bits.

#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod disk;
mod forgotten;
mod input;
mod leaving;
mod property;
mod pushes;
mod support;
mod troubles;
#[cfg(target_os = "linux")]
mod work;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lockstep_ingest::offline::{Files, replay};
use lockstep_ingest::source::Stores;
use lockstep_store::{CutRead, OnlineStore};
use lockstep_transform::tiles::Shape;

use support::{Project, Way};

const LOG: &str = r#"{"id": 1, "shop": "a", "amount": 1.5, "at": "2024-01-01T00:00:00Z"}
{"id": 2, "shop": "a", "amount": -0.5, "at": "2024-01-01T00:10:00Z"}
{"id": 3, "shop": "b", "amount": null, "at": "2024-01-01T00:20:00Z"}
{"id": 2, "shop": "a", "amount": -0.5, "at": "2024-01-01T00:10:00Z"}
{"id": 4, "shop": "a", "amount": 1e300, "at": "2024-01-01T00:05:00Z"}
{"id": 5, "shop": "a", "amount": 1e-300, "at": "2024-01-01T00:30:00Z"}
not json
{"id": 6, "shop": "a", "amount": 7, "at": "2099-01-01T00:00:00Z"}
{"id": 7, "shop": null, "amount": 7, "at": "2024-01-01T00:31:00Z"}
{"id": 2, "shop": "a", "amount": 4, "at": "2024-01-01T00:10:00Z"}
"#;

#[test]
fn all_ways_in_give_the_same_bits() {
    let project = Project::new(LOG);
    let bulk = project.run(Way::Bulk, Shape::default());
    assert_eq!(bulk.counters.applied, 5 + 1, "{:?}", bulk.counters);
    assert_eq!((bulk.counters.duplicates, bulk.counters.conflicts, bulk.counters.null_keys), (1, 1, 1));
    assert_eq!(bulk.dead_letters.iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>(), ["unreadable", "ahead", "conflict"]);
    for (way, shape) in [
        (Way::Incremental, Shape::default()),
        (Way::Stream { batch_rows: 8192 }, Shape::default()),
        (Way::Stream { batch_rows: 1 }, Shape { leaf_rows_max: 1, buffer_rows_max: 0 }),
        (Way::Stream { batch_rows: 3 }, Shape { leaf_rows_max: 2, buffer_rows_max: 1 }),
    ] {
        let other = project.run(way, shape);
        assert_eq!(other.answers, bulk.answers, "{way:?} {shape:?}");
        assert_eq!(other.counters, bulk.counters, "{way:?} {shape:?}");
        assert_eq!(other.dead_letters.len(), bulk.dead_letters.len(), "{way:?}");
    }
}

#[test]
fn a_tombstone_of_a_history_is_known_when_the_file_has_come_to_it_wherever_it_is_cut() {
    let sql = "
        CREATE ENTITY shop (shop VARCHAR);
        CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, seen TIMESTAMP, v BIGINT, at TIMESTAMP)
          WITH (event_time = 'at', available_at = 'seen', version = 'v', allowed_lateness = '1 hour', history = 'all', batch = 'log.ndjson');
        CREATE FEATURE VIEW takings ENTITY shop AS
        SELECT shop, count(*) OVER ever AS sales FROM sales
        WINDOW ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);";
    let sale = |id: u32| format!("{{\"id\":{id},\"shop\":\"a\",\"seen\":\"2024-01-01T00:0{id}:30Z\",\"v\":1,\"at\":\"2024-01-01T00:0{id}:00Z\"}}\n");
    // The batches of a backfill have three rows here: the tombstone has none of its own batch before it.
    let log = [1, 2, 3].map(sale).concat() + "{\"id\":2,\"v\":2,\"_tombstone\":true}\n" + &sale(4);
    let project = Project::of(sql, &[("log.ndjson", log.as_bytes())]);
    let held = [usize::MAX, 0].map(|memory_bytes| {
        let (store, target) = project.unpublished();
        project.backfill(&store, &target, memory_bytes, false).unwrap();
        let cut = OnlineStore::cut(&store);
        let (generation, mut held) = (target.generation.generation, Vec::new());
        let mut hold = |key: &[u8], value: &[u8]| {
            held.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        cut.each_state(generation, &mut hold).unwrap();
        cut.each_key(generation, &mut |_, key, entry| hold(key, entry)).unwrap();
        (held, cut.positions(generation).unwrap())
    });
    assert_eq!(held[0].0.len(), 1 + 4);
    assert_eq!(held[0], held[1]);
}

#[test]
fn a_stream_that_stops_goes_on_where_it_stopped() {
    let project = Project::new(LOG);
    let whole = project.run(Way::Stream { batch_rows: 2 }, Shape::default());
    let (store, target) = project.published();
    let mut runs = 0;
    loop {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let report = project.stream(&store, &target, 2, Shape::default(), &stop);
        runs += 1;
        assert!(runs < 20, "the stream never ends");
        if report.complete {
            break;
        }
        assert!(stop.load(Ordering::Relaxed));
    }
    assert!(runs > 3, "{runs}");
    assert_eq!(project.answers(&store, &target), whole.answers);
    // Again from the end: nothing is new.
    let before = store.cut().counters(target.generation.generation).unwrap();
    let stop = Arc::default();
    project.stream(&store, &target, 2, Shape::default(), &stop);
    assert_eq!(store.cut().counters(target.generation.generation).unwrap(), before);
}

const SHOPS: &str = "
    CREATE ENTITY shop (shop VARCHAR);
    CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, at TIMESTAMP) WITH (event_time = 'at', allowed_lateness = '10 minutes', history = 'all');
    CREATE FEATURE VIEW takings ENTITY shop AS SELECT shop, count(*) OVER w AS n FROM sales
    WINDOW w AS (PARTITION BY shop ORDER BY at RANGE UNBOUNDED PRECEDING);";

/// Two logs of one source, of which the second repeats what the first has long passed.
fn two_logs() -> Project {
    let row = |id: i64, minute: i64| format!("{{\"id\":{id},\"shop\":\"a\",\"at\":\"2024-01-01T00:{minute:02}:00Z\"}}\n");
    Project::of(
        SHOPS,
        &[("a.ndjson", (row(1, 0) + &row(2, 50)).as_bytes()), ("b.ndjson", (row(3, 0) + &row(1, 0) + &row(3, 0) + &row(4, 45)).as_bytes())],
    )
}

#[test]
fn a_log_that_is_begun_behind_what_is_forgotten_brings_nothing_twice() {
    let project = two_logs();
    let (store, target) = project.published();
    for log in ["a.ndjson", "b.ndjson"] {
        project.stream_file(log, &store, &target, 1, Shape::default(), &Arc::default());
        store.compact().unwrap();
    }
    let cut = store.cut();
    let counters = cut.counters(target.generation.generation).unwrap()["sales"];
    assert_eq!((counters.applied, counters.refused), (3, 3), "{counters:?}");
    let refused: Vec<(u64, String)> = cut
        .refusals(target.generation.generation)
        .map(|refusal| refusal.map(|refusal| (refusal.row, refusal.watermark.to_string())).unwrap())
        .collect();
    let watermark = "2024-01-01T00:50:00Z";
    assert_eq!(refused, [0, 1, 2].map(|row| (row, watermark.to_owned())));
    let files = Files { base: project.dir().to_owned(), stores: Stores::local(), kafka: None, push: None };
    let replayed = replay(project.catalog(), &target, &cut, &files, Shape::default()).unwrap();
    assert_eq!(replayed.refusals.len(), 3);
    assert_eq!(project.answers_in(&replayed.state, &target), project.answers(&store, &target));
}

#[test]
fn where_rows_conflict_the_first_that_came_stands_in_a_replay_too() {
    let row = |id: i64, shop: &str| format!("{{\"id\":{id},\"shop\":\"{shop}\",\"at\":\"2024-01-01T00:00:00Z\"}}\n");
    let files = [("z.ndjson", row(1, "a")), ("y.ndjson", row(1, "b")), ("x.ndjson", row(2, "a")), ("w.ndjson", row(2, "b"))];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let project = Project::of(&SHOPS.replace("history = 'all'", "history = 'all', batch = ['z.ndjson', 'y.ndjson']"), &files);
    let mut answers = Vec::new();
    for memory in [usize::MAX, 0] {
        let (store, target) = project.unpublished();
        project.backfill(&store, &target, memory, false).unwrap();
        for log in ["x.ndjson", "w.ndjson"] {
            project.stream_file(log, &store, &target, 1, Shape::default(), &Arc::default());
        }
        let files = Files { base: project.dir().to_owned(), stores: Stores::local(), kafka: None, push: None };
        let replayed = replay(project.catalog(), &target, &store.cut(), &files, Shape::default()).unwrap();
        assert_eq!(project.answers_in(&replayed.state, &target), project.answers(&store, &target));
        answers.push(project.answers(&store, &target));
        let counters = store.cut().counters(target.generation.generation).unwrap()["sales"];
        assert_eq!((counters.applied, counters.conflicts), (2, 2), "{counters:?}");
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn logs_that_are_read_together_forget_nothing_of_each_other() {
    let project = two_logs();
    let (store, target) = project.published();
    let together = ["a.ndjson", "b.ndjson"].map(str::to_owned);
    for log in &together {
        project.stream_together(log, &together, &store, &target);
        store.compact().unwrap();
    }
    let counters = store.cut().counters(target.generation.generation).unwrap()["sales"];
    assert_eq!((counters.applied, counters.duplicates, counters.refused), (4, 2, 0), "{counters:?}");
}

#[test]
fn a_backfill_is_invisible_until_it_is_whole_and_harmless_to_repeat() {
    let project = Project::new(LOG);
    let (store, target) = project.unpublished();
    let stopped = project.backfill(&store, &target, usize::MAX, true).unwrap();
    assert!(stopped.stopped);
    assert!(!store.cut().generation(target.generation.generation).unwrap().published());
    let done = project.backfill(&store, &target, usize::MAX, false).unwrap();
    assert!(!done.stopped);
    assert!(store.cut().generation(target.generation.generation).unwrap().published());
    assert_eq!(project.answers(&store, &target), project.run(Way::Bulk, Shape::default()).answers);
}

#[test]
fn history_until_a_moment_and_the_log_from_there_are_all_of_it() {
    let project = Project::new(LOG);
    let whole = project.run(Way::Stream { batch_rows: 8192 }, Shape::default());
    let (store, target) = project.unpublished();
    project.backfill_until(&store, &target, "2024-01-01T00:10:00Z").unwrap();
    // The log overlaps the history from its start.
    project.stream(&store, &target, 3, Shape::default(), &Arc::default());
    assert_eq!(project.answers(&store, &target), whole.answers);
}
