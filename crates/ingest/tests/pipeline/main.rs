//! The pipeline on real files and a real store: whichever way events come in, the answers are the same bits.

#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod disk;
mod input;
mod property;
mod support;
mod troubles;
#[cfg(target_os = "linux")]
mod work;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lockstep_store::CutRead;
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
