//! Pushes on their way through the pipeline: heartbeats, followers that wake, logs that are not the ones that were read, retention.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use lockstep_ingest::offline::{Files, replay};
use lockstep_ingest::pipeline::{Logs, Progress, StreamReport, Target, accept_gaps, follow};
use lockstep_ingest::push::{PARTITION, Push, PushLog, PushOptions};
use lockstep_ingest::source::Stores;
use lockstep_model::{Clock, EventTime, PartitionId, Position};
use lockstep_store::{Commit, Counters, NewGeneration, OnlineStore, Store};
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::tiles::Shape;

use crate::support::{Project, stream_options};

const SQL: &str = "
    CREATE ENTITY shop (shop VARCHAR);
    CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, at TIMESTAMP)
      WITH (event_time = 'at', allowed_lateness = '10 minutes', available_at = 'append_time', history = 'all');
    CREATE SOURCE refunds (id BIGINT PRIMARY KEY, shop VARCHAR, at TIMESTAMP) WITH (event_time = 'at', allowed_lateness = '10 minutes', history = 'all');
    CREATE FEATURE VIEW takings ENTITY shop AS SELECT shop, count(*) OVER w AS n, count(*) OVER h AS n_h
    FROM (SELECT shop, at FROM sales UNION ALL SELECT shop, at FROM refunds) AS both
    WINDOW w AS (PARTITION BY shop ORDER BY at RANGE UNBOUNDED PRECEDING),
           h AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);";

const MINUTE: i64 = 60_000_000;

/// The moment that is so many minutes after midnight.
fn at(minute: i64) -> EventTime {
    EventTime(EventTime::parse("2024-01-01T00:00:00Z").unwrap().0 + minute * MINUTE)
}

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

/// A store of its own, and what is pushed to it.
struct Pushed {
    project: Project,
    store: Store,
    target: Target,
    dir: PathBuf,
    clock: Arc<SetClock>,
}

impl Pushed {
    fn new() -> Pushed {
        let project = Project::of(SQL, &[]);
        let (store, target) = project.published();
        let dir = store.dir().join("push");
        Pushed { project, store, target, dir, clock: Arc::new(SetClock(AtomicI64::new(at(24 * 60).0))) }
    }

    fn log(&self) -> Arc<PushLog> {
        self.log_in(&self.dir, None)
    }

    fn log_in(&self, dir: &Path, retention: Option<i64>) -> Arc<PushLog> {
        let options = PushOptions { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, retention, segment_bytes: 1, ..PushOptions::default() };
        Arc::new(PushLog::open(dir, options).unwrap())
    }

    fn source(&self, name: &str) -> &SourcePlan {
        &self.project.catalog().sources[name]
    }

    /// Pushes events of shop `a` at these minutes.
    fn push(&self, log: &PushLog, source: &str, events: &[(i64, i64)]) {
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(Int64Array::from_iter_values(events.iter().map(|(id, _)| *id)))),
            ("shop", Arc::new(StringArray::from_iter_values(events.iter().map(|_| "a")))),
            ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(|(_, minute)| at(*minute).0)))),
        ];
        log.append(self.source(source), RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    }

    fn follow_to_end(&self, log: &Arc<PushLog>) -> StreamReport {
        let push = Push { log: Arc::clone(log), until_end: true };
        self.follow(&push, &Arc::default(), &mut |_| {})
    }

    fn follow(&self, push: &Push, stop: &Arc<AtomicBool>, observe: &mut dyn FnMut(&Progress)) -> StreamReport {
        let mut options = stream_options();
        options.stop = Arc::clone(stop);
        let logs = Logs { kafka: None, push: Some(push) };
        follow(&self.store, self.project.catalog(), std::slice::from_ref(&self.target), logs, &options, observe).unwrap()
    }

    fn counters(&self, source: &str) -> Counters {
        OnlineStore::cut(&self.store).counters(self.target.generation.generation).unwrap().get(source).copied().unwrap_or_default()
    }

    fn position(&self, source: &str) -> Option<Position> {
        let id = PartitionId { source: source.to_owned(), partition: PARTITION.to_owned() };
        let positions = OnlineStore::cut(&self.store).positions(self.target.generation.generation).unwrap();
        positions.into_iter().find(|(known, _)| *known == id).map(|(_, position)| position)
    }

    /// Fails unless a replay comes to what is in the store.
    fn assert_replayed(&self) {
        let cut = OnlineStore::cut(&self.store);
        let files = Files { base: self.project.dir().to_owned(), stores: Stores::local(), kafka: None, push: Some(self.dir.clone()) };
        let replayed = replay(self.project.catalog(), &self.target, &*cut, &files, Shape::default()).unwrap();
        assert_eq!(self.project.answers_in(&replayed.state, &self.target), self.project.answers(&self.store, &self.target));
        let refused = cut.refusals(self.target.generation.generation).map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(replayed.refusals, refused);
    }
}

#[test]
fn heartbeats_decide_what_is_late_and_do_so_again_in_a_replay() {
    for beats in [false, true] {
        let pushed = Pushed::new();
        let log = pushed.log();
        pushed.push(&log, "sales", &[(1, 0), (2, 5)]);
        if beats {
            log.heartbeat(pushed.source("sales"), at(30)).unwrap();
            log.heartbeat(pushed.source("sales"), at(20)).unwrap();
        }
        // A follower may stop in between.
        pushed.follow_to_end(&log);
        pushed.push(&log, "sales", &[(3, 6), (4, 21), (5, 19)]);
        let report = pushed.follow_to_end(&log);
        assert_eq!(report.watermark, None, "nothing was pushed of refunds");
        let counters = pushed.counters("sales");
        assert_eq!((counters.applied, counters.refused), if beats { (3, 2) } else { (5, 0) });
        let newest = if beats { at(30) } else { at(21) };
        assert_eq!(pushed.position("sales").and_then(|position| position.event_time_max()), Some(newest.0));
        log.heartbeat(pushed.source("refunds"), at(3)).unwrap();
        assert_eq!(pushed.follow_to_end(&log).watermark, Some(at(3)));
        pushed.assert_replayed();
    }
}

#[test]
fn a_push_that_is_repeated_counts_once() {
    let pushed = Pushed::new();
    let log = pushed.log();
    for _ in 0..3 {
        pushed.push(&log, "sales", &[(1, 0), (2, 5)]);
        pushed.follow_to_end(&log);
    }
    let counters = pushed.counters("sales");
    assert_eq!((counters.applied, counters.duplicates), (2, 4));
    pushed.assert_replayed();
}

#[test]
fn a_follower_wakes_when_something_is_pushed_and_knows_when_it_is_at_the_end() {
    let pushed = Pushed::new();
    let (log, stop) = (pushed.log(), Arc::new(AtomicBool::new(false)));
    let behind = std::sync::Mutex::new(Vec::new());
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let push = Push { log: Arc::clone(&log), until_end: false };
        let follower = scope.spawn({
            let (pushed, stop, behind) = (&pushed, &stop, &behind);
            move || pushed.follow(&push, stop, &mut |progress| behind.lock().unwrap().push(progress.behind))
        });
        for id in 0..20 {
            pushed.push(&log, "sales", &[(id, id)]);
            let begun = instant();
            while pushed.position("sales").map_or(0, |position| position.rows()) <= id as u64 {
                assert!(begun.elapsed() < Duration::from_secs(10), "push {id} is not applied");
                std::thread::sleep(Duration::from_micros(200));
            }
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(!follower.join().unwrap().complete || pushed.counters("sales").applied == 20);
    });
    println!("slowest of 20 pushes: {slowest:?} until it was applied");
    assert_eq!(pushed.counters("sales").applied, 20);
    assert_eq!(behind.lock().unwrap().last(), Some(&Some(0)));
    pushed.assert_replayed();
}

#[allow(clippy::disallowed_methods, reason = "how long something takes is asked")]
fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn a_log_that_is_not_the_one_that_was_read_stops_its_source_only() {
    let pushed = Pushed::new();
    let log = pushed.log();
    pushed.push(&log, "sales", &[(1, 0), (2, 5)]);
    pushed.push(&log, "refunds", &[(1, 1)]);
    pushed.follow_to_end(&log);
    let other_dir = pushed.store.dir().join("other");
    let log = pushed.log_in(&other_dir, None);
    let says = |log: &Arc<PushLog>| {
        let report = pushed.follow_to_end(log);
        assert!(!report.complete);
        report.stopped.into_iter().map(|(source, error)| format!("{source}: {error}")).collect::<Vec<_>>()
    };
    let go_on = "restore it, or go on with what there is: `lockstep ingest --source sales --accept-gap`";
    pushed.push(&log, "refunds", &[(1, 1), (2, 2)]);
    let shorter = says(&log);
    assert_eq!(shorter[0], format!("sales: the push log of source `sales` was read to row 2 and ends at 0: it has lost rows · {go_on}"));
    assert!(shorter.len() == 2 && shorter[1].contains("`refunds` has no push that ends at row 1 · "), "{shorter:?}");
    pushed.push(&log, "sales", &[(1, 0), (9, 5)]);
    pushed.push(&log, "sales", &[(10, 6)]);
    assert!(says(&log).contains(&format!("sales: the push log of source `sales` has another push before row 2 than was read there · {go_on}")));
    // Somebody says so, of both.
    let push = Push { log: Arc::clone(&log), until_end: true };
    let options = stream_options();
    let logs = Logs { kafka: None, push: Some(&push) };
    let gaps = accept_gaps(&pushed.store, pushed.project.catalog(), std::slice::from_ref(&pushed.target), logs, &options).unwrap();
    assert_eq!(
        gaps.iter().map(|gap| (gap.partition.source.as_str(), gap.read_to, gap.from)).collect::<Vec<_>>(),
        [("refunds", 1, 0), ("sales", 2, 0)]
    );
    assert!(pushed.follow_to_end(&log).complete);
    let counters = pushed.counters("sales");
    assert_eq!((counters.applied, counters.duplicates), (4, 1), "rows that are known are no news");
    let files = Files { base: pushed.project.dir().to_owned(), stores: Stores::local(), kafka: None, push: Some(other_dir) };
    let error = replay(pushed.project.catalog(), &pushed.target, &*OnlineStore::cut(&pushed.store), &files, Shape::default()).unwrap_err();
    assert!(error.to_string().contains("was gone on with at row 0, and what was applied before is gone · "), "{error}");
}

#[test]
fn what_was_pushed_goes_once_every_published_version_has_applied_it() {
    let pushed = Pushed::new();
    let segments = || std::fs::read_dir(pushed.dir.join("sales")).unwrap().count();
    let log = pushed.log_in(&pushed.dir, Some(MINUTE));
    (0..4).for_each(|id| pushed.push(&log, "sales", &[(id, id)]));
    pushed.clock.0.fetch_add(2 * MINUTE, Ordering::Relaxed);
    // Another version, which is not fed any more, has come to row 2 only.
    let new = NewGeneration { view: "takings".to_owned(), version: 2, meaning: pushed.target.view.meaning, state: pushed.target.view.state };
    let old = pushed.store.create_generation(new).unwrap();
    pushed.follow_to_end(&log);
    let (id, position) = (PartitionId { source: "sales".to_owned(), partition: PARTITION.to_owned() }, pushed.position("sales").unwrap());
    assert_eq!(segments(), 1, "an unpublished version holds nothing up");
    (4..8).for_each(|id| pushed.push(&log, "sales", &[(id, id)]));
    pushed.clock.0.fetch_add(2 * MINUTE, Ordering::Relaxed);
    let commit = Commit { positions: vec![(id, position.at(6))], ..Commit::new(old.generation, pushed.store.epoch()) };
    pushed.store.publish(vec![commit]).unwrap();
    pushed.follow_to_end(&log);
    let left: Vec<String> = {
        let mut names: Vec<String> =
            std::fs::read_dir(pushed.dir.join("sales")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.iter().map(|name| name.trim_start_matches('0').trim_end_matches(".log").to_owned()).collect()
    };
    assert_eq!(left, ["6", "7"]);
    assert_eq!(pushed.counters("sales").applied, 8);
    let files = Files { base: pushed.project.dir().to_owned(), stores: Stores::local(), kafka: None, push: Some(pushed.dir.clone()) };
    let error = replay(pushed.project.catalog(), &pushed.target, &*OnlineStore::cut(&pushed.store), &files, Shape::default()).unwrap_err();
    assert!(error.to_string().starts_with("the push log of source `sales` was read from row 0 on and begins at 6 now · "), "{error}");
}
