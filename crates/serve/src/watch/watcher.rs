//! A watch that others ask: what was seen last, and what came before.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use lockstep_model::{Error, EventTime};

use super::history::Past;
use super::kept;
use super::limits::Limits;
use super::page::{FeatureHistory, Page, Signals};
use super::reading::Reading;
use super::signal::{Kind, Signal};
use super::skew::Skew;
use super::tracker::Watch;

/// Features of a service or view that a page shows: those that have moved most.
const SHOWN_MAX: usize = 200;

/// What watches a server. One thread looks; whoever asks is told what it saw last, and waits for nothing.
#[derive(Debug)]
pub struct Watcher {
    inner: Mutex<(Watch, Past)>,
    latest: ArcSwap<Looked>,
    take_out: Vec<Kind>,
}

/// What was seen at a moment.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was measured.
    pub reading: Reading,
    /// What is wrong: causes, each with what it explains behind it.
    pub signals: Vec<Signal>,
    /// The number of the definitions that served.
    pub definitions: u64,
    /// The release that served, where one was promoted.
    pub release: Option<u32>,
}

impl Watcher {
    /// One that has not looked yet.
    pub fn new(limits: Limits) -> Watcher {
        let take_out = limits.take_out.clone();
        Watcher { inner: Mutex::new((Watch::new(limits), Past::default())), latest: ArcSwap::default(), take_out }
    }

    /// Looks at a reading, and gives the signals that are new.
    pub fn look(&self, mut reading: Reading, definitions: u64, release: Option<u32>) -> Vec<Signal> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (watch, past) = &mut *inner;
        let signals = watch.look(&mut reading);
        past.look(&reading, signals.len());
        let before = self.latest.load();
        let new = signals.iter().filter(|signal| before.signals.iter().all(|known| known.id != signal.id)).cloned().collect();
        self.latest.store(Arc::new(Looked { reading, signals, definitions, release }));
        new
    }

    /// Goes on with what was measured before.
    pub fn goes_on_with(&self, past: Past) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1 = past;
    }

    /// What is to be on the disk so that windows, those of `skew` and of what was measured over time, go on after a restart.
    ///
    /// # Errors
    /// As [`kept::encode`].
    pub fn to_keep(&self, skew: &Skew) -> Result<Vec<u8>, Error> {
        kept::encode(skew, &self.inner.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// The features of a service or view by status over time; `None` where nothing of that name is watched. Before the first look nobody knows what is, and nothing is told of any.
    pub fn features_of(&self, target: &str) -> Option<FeatureHistory> {
        let reading = &self.latest.load().reading;
        (reading.at_micros == 0 || reading.targets.contains_key(target)).then(|| {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.1.features_of(target)
        })
    }

    /// What was seen last.
    pub fn latest(&self) -> Arc<Looked> {
        self.latest.load_full()
    }

    /// The signals that there are.
    pub fn signals(&self) -> Signals {
        let latest = self.latest.load();
        Signals { now: EventTime(latest.reading.at_micros).to_string(), signals: latest.signals.clone() }
    }

    /// The signal that says that no requests are to be sent here, where there is one of the kinds that were declared to.
    pub fn takes_out(&self) -> Option<Kind> {
        let latest = self.latest.load();
        latest.signals.iter().map(|signal| signal.kind).find(|kind| self.take_out.contains(kind))
    }

    /// All that is watched.
    pub fn page(&self) -> Page {
        let (latest, history) = (self.latest(), self.inner.lock().unwrap_or_else(PoisonError::into_inner).1.series());
        let mut reading = latest.reading.clone();
        reading.targets.values_mut().for_each(|target| target.features.truncate(SHOWN_MAX));
        Page {
            now: EventTime(reading.at_micros).to_string(),
            since: EventTime(reading.since_micros).to_string(),
            definitions: latest.definitions,
            release: latest.release,
            signals: latest.signals.clone(),
            reading,
            history,
        }
    }
}
