//! Staleness at its boundary, on a clock of the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, StringArray};
use lockstep_model::{Clock, EventTime};
use lockstep_store::{Commit, DefinitionText, NewDefinitions, NewGeneration, OnlineStore, Store, StoreOptions};
use lockstep_transform::catalog::{Catalog, NoEvents};
use lockstep_transform::definition::{Definitions, SourceFile};

use super::{Question, Wanted, answer, moments_of, rows_of};
use crate::Lags;
use crate::live::{Live, Reach};

pub(super) const SQL: &str = "CREATE ENTITY shop (shop VARCHAR);
CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, at TIMESTAMP) WITH (event_time = 'at');
CREATE SOURCE visits (id BIGINT PRIMARY KEY, shop VARCHAR, at TIMESTAMP) WITH (event_time = 'at');
CREATE FEATURE VIEW quick ENTITY shop WITH (max_staleness = '2 seconds') AS SELECT shop, count(*) OVER (PARTITION BY shop ORDER BY at
    RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS sales_1h FROM sales;
CREATE FEATURE VIEW slow ENTITY shop AS SELECT shop, count(*) OVER (PARTITION BY shop ORDER BY at
    RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS visits_1h FROM visits;
CREATE FEATURE SERVICE both AS SELECT q.sales_1h AS sales, s.visits_1h AS visits, q.sales_1h + s.visits_1h AS all_of_it
FROM REQUEST (shop VARCHAR) r LEFT JOIN quick q ON q.shop = r.shop LEFT JOIN slow s ON s.shop = r.shop;";

/// A clock that stands where it was put.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

/// A store with published views and nothing in them.
fn live(dir: &std::path::Path, lags: &Arc<Lags>, clock: &Arc<Hand>, is_followed: bool) -> Live {
    let store = Arc::new(Store::open(dir, StoreOptions::new("test")).unwrap());
    let catalog = Catalog::compile(Definitions::parse(&[SourceFile::new("all.sql", SQL)]).unwrap()).unwrap();
    let texts = vec![DefinitionText { path: "all.sql".to_owned(), text: SQL.to_owned() }];
    let fingerprint = lockstep_model::Fingerprint([7; 32]);
    store.apply_definitions(0, NewDefinitions { texts, fingerprint, by: None, reason: None, models: Vec::new() }).unwrap();
    for view in catalog.views.values() {
        let new = NewGeneration { view: view.view.clone(), version: 1, meaning: view.meaning, state: view.state };
        let generation = store.create_generation(new).unwrap().generation;
        store.publish(vec![Commit::new(generation, store.epoch())]).unwrap();
        if is_followed {
            lags.follow(generation, ["sales", "visits"].into_iter().filter(|source| view.branches.iter().any(|branch| branch.source == *source)));
        }
    }
    Live::new(store, Arc::clone(clock) as Arc<dyn Clock>, Arc::clone(lags), Arc::new(NoEvents)).unwrap()
}

/// Which outputs of `both` are stale at each moment.
fn stale(live: &Live, moments: &[i64]) -> Vec<Vec<bool>> {
    let state = live.state(Reach::Disk).unwrap();
    let wanted = Wanted::find(state.catalog(), "both", &[]).unwrap();
    let shops: ArrayRef = Arc::new(StringArray::from(vec!["s"; moments.len().max(1)]));
    let rows = rows_of(&wanted, &["shop"], None, |_, _| Ok(Arc::clone(&shops))).unwrap();
    let moments = moments_of(moments, rows.num_rows(), live.now().0).unwrap();
    let question = Question { state: &state, lags: live.lags(), wanted: &wanted, rows: &rows, moments: &moments, time: None };
    let answered = answer(question, Reach::Disk, None).unwrap();
    let each = answered.features.into_iter().map(|feature| feature.stale.unwrap_or_else(|| vec![false; moments.len()]));
    each.collect()
}

#[test]
fn a_value_is_stale_from_a_microsecond_beyond_its_bound_on() {
    const SEEN: i64 = 1_700_000_000_000_000;
    const BOUND: i64 = 2_000_000;
    let dir = tempfile::tempdir().unwrap();
    let (lags, clock) = (Arc::new(Lags::default()), Arc::new(Hand::default()));
    let live = live(dir.path(), &lags, &clock, true);
    let quick = live.state(Reach::Disk).unwrap().served.generation("quick").unwrap().generation;
    clock.0.store(SEEN, Ordering::Relaxed);
    // Before the end of the log was seen, it is not known what is missing; a view without a bound is never stale.
    assert_eq!(stale(&live, &[]), [[true], [false], [true]]);
    lags.source(quick, "sales").unwrap().told(Some(0), Some(EventTime(SEEN)));
    for (now, is_stale) in [(SEEN, false), (SEEN + BOUND - 1, false), (SEEN + BOUND, false), (SEEN + BOUND + 1, true)] {
        clock.0.store(now, Ordering::Relaxed);
        assert_eq!(stale(&live, &[]), [[is_stale], [false], [is_stale]], "{}", now - SEEN);
    }
    // A moment of the past is asked for as it was then known: nothing of it is missing.
    let moments = [SEEN - 1, SEEN + BOUND, SEEN + BOUND + 1];
    assert_eq!(stale(&live, &moments), [[false, false, true], [false; 3], [false, false, true]]);
    // Rows that are known to be there and were not applied do not move the end.
    lags.source(quick, "sales").unwrap().told(Some(5), None);
    assert_eq!(stale(&live, &[SEEN + BOUND + 1]), [[true], [false], [true]]);
    lags.source(quick, "sales").unwrap().told(Some(0), Some(EventTime(SEEN + 1)));
    assert_eq!(stale(&live, &[SEEN + BOUND + 1]), [[false], [false], [false]]);
}

#[test]
fn what_is_not_followed_here_does_not_lag() {
    let dir = tempfile::tempdir().unwrap();
    let (lags, clock) = (Arc::new(Lags::default()), Arc::new(Hand::default()));
    let live = live(dir.path(), &lags, &clock, false);
    clock.0.store(1, Ordering::Relaxed);
    assert_eq!(stale(&live, &[]), [[false], [false], [false]]);
}
