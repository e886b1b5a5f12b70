//! How far the logs of sources are behind, for each generation that is fed here: what those who feed them saw, for whoever answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use lockstep_model::{EventTime, Generation};

use crate::watch::Came;

/// A source that has not been seen at its end yet.
const NEVER: i64 = i64::MIN;

/// The generations that are fed here, and how the logs of their sources stand. Two generations of one source may stand at different places of its log. What is fed is
/// told by who feeds it; how it stands, too.
#[derive(Debug, Default)]
pub struct Lags {
    /// Replaced whole, since each request reads it and it hardly ever changes.
    generations: ArcSwap<BTreeMap<Generation, Sources>>,
    entities: Came,
}

type Sources = BTreeMap<String, Arc<SourceLag>>;

/// How the logs of one source stand, as one generation reads them.
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
    /// Tells that a generation is fed from these sources from now on. When it was at their ends before stays known; why it stopped does not. One that is not fed any
    /// more is not taken away: it lags ever more.
    pub fn follow<N: Into<String>>(&self, generation: Generation, sources: impl IntoIterator<Item = N>) {
        let sources: Vec<String> = sources.into_iter().map(Into::into).collect();
        self.generations.rcu(|known| {
            let before = known.get(&generation);
            let again =
                |name: &String| (name.clone(), Arc::new(before.and_then(|all| all.get(name)).map_or_else(SourceLag::default, |lag| lag.again())));
            let mut next = BTreeMap::clone(known);
            next.insert(generation, sources.iter().map(again).collect());
            next
        });
    }

    /// The entities that events come to.
    pub fn entities(&self) -> &Came {
        &self.entities
    }

    /// How a source stands that a generation is fed from.
    pub fn source(&self, generation: Generation, name: &str) -> Option<Arc<SourceLag>> {
        self.generations.load().get(&generation)?.get(name).cloned()
    }

    /// The time, at a moment, since a generation was last seen at the ends of these sources, µs; `None` where it is fed from none of them here. See [`SourceLag::at`].
    pub fn at<'n>(&self, generation: Generation, sources: impl IntoIterator<Item = &'n str>, moment: i64) -> Option<i64> {
        let generations = self.generations.load();
        let known = generations.get(&generation)?;
        sources.into_iter().filter_map(|name| Some(known.get(name)?.at(moment))).max()
    }

    /// Tells that a generation is fed no more, though it should be, and why.
    pub fn stopped(&self, generation: Generation, why: &str) {
        self.generations.load().get(&generation).into_iter().flat_map(Sources::values).for_each(|lag| lag.stopped(why));
    }

    /// When a generation was last seen at the ends of all its logs; `None` where it never was, or is not fed here.
    pub fn caught_up(&self, generation: Generation) -> Option<EventTime> {
        let generations = self.generations.load();
        generations.get(&generation)?.values().map(|lag| lag.caught_up_at()).reduce(Option::min)?
    }
}

impl SourceLag {
    /// The same, followed anew.
    fn again(&self) -> SourceLag {
        SourceLag { caught_up_at: AtomicI64::new(self.caught_up_at.load(Ordering::Relaxed)), ..SourceLag::default() }
    }

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

    /// When it was last seen at its end; `None` where it has not been there since this process began.
    pub fn caught_up_at(&self) -> Option<EventTime> {
        Some(self.caught_up_at.load(Ordering::Relaxed)).filter(|at| *at != NEVER).map(EventTime)
    }

    /// The time, at a moment, since it was last seen at its end, µs; nothing at moments before that. `i64::MAX` where it has not been there since this process
    /// began: what was missed meanwhile is not known.
    pub fn at(&self, moment: i64) -> i64 {
        self.caught_up_at().map_or(i64::MAX, |at| moment.saturating_sub(at.0).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Generation = Generation(1);
    const NEW: Generation = Generation(2);

    #[test]
    fn lag_is_the_time_since_the_end_was_reached() {
        let lags = Lags::default();
        lags.follow(OLD, ["departures"]);
        let lag = lags.source(OLD, "departures").unwrap();
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
        assert!(lags.source(OLD, "arrivals").is_none() && lags.source(NEW, "departures").is_none());
    }

    #[test]
    fn each_generation_has_its_own() {
        let lags = Lags::default();
        lags.follow(OLD, ["departures", "arrivals"]);
        lags.follow(NEW, ["departures"]);
        lags.source(OLD, "departures").unwrap().told(Some(0), Some(EventTime(7)));
        assert_eq!((lags.caught_up(OLD), lags.caught_up(NEW), lags.caught_up(Generation(3))), (None, None, None));
        lags.source(OLD, "arrivals").unwrap().told(Some(0), Some(EventTime(5)));
        assert_eq!((lags.caught_up(OLD), lags.caught_up(NEW)), (Some(EventTime(5)), None));
        let both = ["departures", "arrivals"];
        assert_eq!((lags.at(OLD, both, 9), lags.at(NEW, both, 9), lags.at(Generation(3), both, 9)), (Some(4), Some(i64::MAX), None));
    }

    #[test]
    fn followed_anew_it_knows_when_it_was_at_its_end() {
        let lags = Lags::default();
        lags.follow(OLD, ["departures"]);
        let lag = lags.source(OLD, "departures").unwrap();
        lag.told(Some(2), Some(EventTime(7)));
        lag.stopped("the topic was made anew");
        lag.stopped("nobody reads it");
        assert_eq!(lag.why_stopped(), Some("the topic was made anew"));
        lags.follow(OLD, ["departures"]);
        let lag = lags.source(OLD, "departures").unwrap();
        assert_eq!((lag.why_stopped(), lag.behind(), lag.caught_up_at()), (None, None, Some(EventTime(7))));
    }
}
