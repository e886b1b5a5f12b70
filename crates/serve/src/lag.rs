//! How far the logs of sources are behind: what the ingester of this process saw, for whoever answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use lockstep_model::EventTime;

/// A source that has not been seen at its end yet.
const NEVER: i64 = i64::MIN;

/// The sources whose logs are followed here. The set is fixed; how they stand is told by who follows them.
#[derive(Debug, Default)]
pub struct Lags {
    sources: BTreeMap<String, Arc<SourceLag>>,
}

/// How the logs of one source stand.
#[derive(Debug)]
pub struct SourceLag {
    /// When every partition was last seen applied to its then known end, µs.
    caught_up_at: AtomicI64,
    /// Rows that are known to be there and were not applied yet; `u64::MAX` where that is not known.
    behind: AtomicU64,
    /// Why it is not followed any more.
    stopped: OnceLock<String>,
}

impl Default for SourceLag {
    fn default() -> Self {
        SourceLag { caught_up_at: AtomicI64::new(NEVER), behind: AtomicU64::new(u64::MAX), stopped: OnceLock::new() }
    }
}

impl Lags {
    /// Of sources by name.
    pub fn new<N: Into<String>>(sources: impl IntoIterator<Item = N>) -> Lags {
        Lags { sources: sources.into_iter().map(|name| (name.into(), Arc::default())).collect() }
    }

    /// A source that is followed.
    pub fn source(&self, name: &str) -> Option<&Arc<SourceLag>> {
        self.sources.get(name)
    }
}

impl SourceLag {
    /// Tells how much of it is known to be there and not applied, and when it was last seen at its end.
    pub fn told(&self, behind: Option<u64>, caught_up_at: Option<EventTime>) {
        self.behind.store(behind.unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some(at) = caught_up_at {
            self.caught_up_at.fetch_max(at.0, Ordering::Relaxed);
        }
    }

    /// Tells that it is not followed any more, and why.
    pub fn stopped(&self, why: impl Into<String>) {
        // The first reason is the one to look at.
        let _ = self.stopped.set(why.into());
    }

    /// Why it is not followed any more.
    pub fn why_stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Rows that are known to be there and were not applied yet.
    pub fn behind(&self) -> Option<u64> {
        Some(self.behind.load(Ordering::Relaxed)).filter(|behind| *behind != u64::MAX)
    }

    /// The time, at a moment, since it was last seen at its end, µs; nothing at moments before that. `i64::MAX` where it has not been there since this process
    /// began: what was missed meanwhile is not known.
    pub fn at(&self, moment: i64) -> i64 {
        match self.caught_up_at.load(Ordering::Relaxed) {
            NEVER => i64::MAX,
            at => moment.saturating_sub(at).max(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_time_since_the_end_was_reached() {
        let lags = Lags::new(["departures"]);
        let lag = lags.source("departures").unwrap();
        assert_eq!((lag.at(5), lag.behind()), (i64::MAX, None));
        lag.told(Some(3), None);
        assert_eq!((lag.at(100), lag.behind()), (i64::MAX, Some(3)));
        lag.told(Some(0), Some(EventTime(200)));
        assert_eq!((lag.at(199), lag.at(200), lag.at(201)), (0, 0, 1));
        lag.told(Some(9), Some(EventTime(200)));
        assert_eq!(lag.at(300), 100);
        // A clock that is set back does not make it fresher or staler than it was seen.
        lag.told(Some(0), Some(EventTime(150)));
        assert_eq!(lag.at(300), 100);
        assert!(lags.source("arrivals").is_none());
    }

    #[test]
    fn the_first_reason_to_stop_stays() {
        let lag = SourceLag::default();
        lag.stopped("the topic was made anew");
        lag.stopped("nobody reads it");
        assert_eq!(lag.why_stopped(), Some("the topic was made anew"));
    }
}
