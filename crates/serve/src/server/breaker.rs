//! A circuit breaker before the disk: once it does not answer, nobody waits for it any more, until it was seen to answer again.
//!
//! What counts is the work and not who waits for it, since callers give up before the disk does: work that has run for longer than it may has failed, whether
//! it ends later or not. That is looked at when something is admitted or asked about, so that it needs no thread and no timer, and goes by the clock it is given.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_model::Clock;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures, with no success between them, that open it.
    pub failures: usize,
    /// In how long a time.
    pub window: Duration,
    /// How long small work may run before it counts as failed.
    pub stall: Duration,
    /// How long it stays open before one is let through to see.
    pub pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        BreakerSettings { failures: 5, window: 10 * second, stall: second, pause: second }
    }
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything is let through.
    Closed,
    /// Nothing is.
    Open,
    /// One was let through, and what becomes of it decides.
    Probing,
}

/// What is to be seen of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How it stands.
    pub standing: Standing,
    /// Since when, µs.
    pub since: i64,
    /// How often it has opened.
    pub opened: u64,
    /// Work that runs.
    pub running: usize,
    /// Work that runs for longer than it may.
    pub stalled: usize,
}

/// A breaker.
pub struct Breaker {
    settings: BreakerSettings,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    since: i64,
    opened: u64,
    /// When what failed since the last success did, µs; at most as many as open it.
    failures: VecDeque<i64>,
    running: BTreeMap<u64, Running>,
    next: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: i64 },
    Probing { by: u64 },
}

/// Work that was let through.
#[derive(Debug, Clone, Copy)]
struct Running {
    stalls_at: i64,
    /// Whether that was counted.
    stalled: bool,
}

/// Leave to begin; dropped without a word, the work failed.
pub struct Pass {
    breaker: Arc<Breaker>,
    number: u64,
    told: bool,
}

/// The breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsOpen;

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: BreakerSettings, clock: Arc<dyn Clock>) -> Arc<Breaker> {
        let inner = Inner {
            state: State::Closed,
            since: clock.now().0,
            opened: 0,
            failures: VecDeque::with_capacity(settings.failures),
            running: BTreeMap::new(),
            next: 0,
        };
        Arc::new(Breaker { settings, clock, inner: Mutex::new(inner) })
    }

    /// Whether nothing would be let through now. To be asked before waiting for a turn.
    pub fn is_open(&self) -> bool {
        let (inner, now) = self.look();
        match inner.state {
            State::Closed => false,
            State::Open { until } => now < until,
            State::Probing { .. } => true,
        }
    }

    /// Lets work begin that may take `times` as long as small work does.
    ///
    /// # Errors
    /// Where it is open.
    pub fn admit(self: &Arc<Self>, times: u32) -> Result<Pass, IsOpen> {
        let (mut inner, now) = self.look();
        let number = inner.next;
        match inner.state {
            State::Closed => {}
            State::Open { until } if now >= until => inner.turn(State::Probing { by: number }, now),
            State::Open { .. } | State::Probing { .. } => return Err(IsOpen),
        }
        inner.next += 1;
        let stalls_at = now.saturating_add(micros(self.settings.stall.saturating_mul(times.max(1))));
        inner.running.insert(number, Running { stalls_at, stalled: false });
        Ok(Pass { breaker: Arc::clone(self), number, told: false })
    }

    /// How it stands.
    pub fn seen(&self) -> Seen {
        let (inner, _) = self.look();
        let standing = match inner.state {
            State::Closed => Standing::Closed,
            State::Open { .. } => Standing::Open,
            State::Probing { .. } => Standing::Probing,
        };
        let stalled = inner.running.values().filter(|running| running.stalled).count();
        Seen { standing, since: inner.since, opened: inner.opened, running: inner.running.len(), stalled }
    }

    /// Counts what has stalled by now.
    fn look(&self) -> (MutexGuard<'_, Inner>, i64) {
        let now = self.clock.now().0;
        // Nothing that holds the lock panics between two steps.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let is_overdue = |running: &Running| !running.stalled && running.stalls_at <= now;
        let overdue: Vec<u64> = inner.running.iter().filter(|(_, running)| is_overdue(running)).map(|(number, _)| *number).collect();
        for number in overdue {
            inner.running.entry(number).and_modify(|running| running.stalled = true);
            inner.failed(number, now, &self.settings);
        }
        (inner, now)
    }

    fn ended(&self, number: u64, well: bool) {
        let (mut inner, now) = self.look();
        // What has stalled was counted, and says nothing of how the disk is now.
        let Some(Running { stalled: false, .. }) = inner.running.remove(&number) else { return };
        if well { inner.succeeded(number, now) } else { inner.failed(number, now, &self.settings) }
    }
}

impl Inner {
    /// What was let through to see has seen nothing: the next one may.
    fn withdrawn(&mut self, number: u64, now: i64) {
        if self.state == (State::Probing { by: number }) {
            self.turn(State::Open { until: now }, now);
        }
    }

    fn turn(&mut self, state: State, now: i64) {
        self.state = state;
        self.since = now;
    }

    fn succeeded(&mut self, number: u64, now: i64) {
        if self.state == (State::Probing { by: number }) {
            self.turn(State::Closed, now);
        }
        // While it is open, what was let through before says nothing new.
        self.failures.clear();
    }

    fn failed(&mut self, number: u64, now: i64, settings: &BreakerSettings) {
        let opens = match self.state {
            State::Closed => {
                let after = now.saturating_sub(micros(settings.window));
                self.failures.retain(|at| *at > after);
                self.failures.push_back(now);
                self.failures.len() >= settings.failures
            }
            State::Probing { by } => by == number,
            State::Open { .. } => false,
        };
        if opens {
            self.failures.clear();
            self.opened += 1;
            self.turn(State::Open { until: now.saturating_add(micros(settings.pause)) }, now);
        }
    }
}

impl Pass {
    /// Tells that it was not done, or in a way that says nothing of what is behind the breaker.
    pub fn withdrawn(mut self) {
        self.told = true;
        let (mut inner, now) = self.breaker.look();
        if inner.running.remove(&self.number).is_some_and(|running| !running.stalled) {
            inner.withdrawn(self.number, now);
        }
    }

    /// Tells how the work ended.
    pub fn ended(mut self, well: bool) {
        self.told = true;
        self.breaker.ended(self.number, well);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.ended(self.number, false);
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use lockstep_model::EventTime;

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> EventTime {
            EventTime(self.0.load(Ordering::Relaxed))
        }
    }

    /// Two failures within ten seconds open it for one; work stalls after one.
    fn breaker() -> (Arc<Breaker>, Arc<Hand>) {
        let clock = Arc::new(Hand::default());
        let settings = BreakerSettings { failures: 2, ..BreakerSettings::default() };
        (Breaker::new(settings, Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    fn fail(breaker: &Arc<Breaker>) {
        breaker.admit(1).unwrap().ended(false);
    }

    fn succeed(breaker: &Arc<Breaker>) {
        breaker.admit(1).unwrap().ended(true);
    }

    #[test]
    fn failures_without_a_success_between_them_open_it() {
        let (breaker, _) = breaker();
        fail(&breaker);
        succeed(&breaker);
        fail(&breaker);
        assert_eq!(breaker.seen().standing, Standing::Closed);
        fail(&breaker);
        assert!(breaker.is_open() && breaker.admit(1).is_err());
        assert_eq!((breaker.seen().standing, breaker.seen().opened), (Standing::Open, 1));
    }

    #[test]
    fn failures_further_apart_than_the_window_do_not() {
        let (breaker, clock) = breaker();
        fail(&breaker);
        clock.0.store(10_000_000, Ordering::Relaxed);
        fail(&breaker);
        assert!(!breaker.is_open());
        clock.0.store(19_999_999, Ordering::Relaxed);
        fail(&breaker);
        assert!(breaker.is_open());
    }

    #[test]
    fn after_a_pause_one_is_let_through_and_decides() {
        let (breaker, clock) = breaker();
        fail(&breaker);
        fail(&breaker);
        clock.0.store(999_999, Ordering::Relaxed);
        assert!(breaker.is_open());
        clock.0.store(1_000_000, Ordering::Relaxed);
        assert!(!breaker.is_open());
        let probe = breaker.admit(1).unwrap();
        assert!(breaker.is_open() && breaker.admit(1).is_err());
        assert_eq!(breaker.seen().standing, Standing::Probing);
        probe.ended(false);
        assert_eq!((breaker.seen().standing, breaker.seen().opened, breaker.seen().since), (Standing::Open, 2, 1_000_000));
        clock.0.store(2_000_000, Ordering::Relaxed);
        succeed(&breaker);
        assert_eq!((breaker.seen().standing, breaker.seen().since), (Standing::Closed, 2_000_000));
        // What failed before counts no more.
        fail(&breaker);
        assert!(!breaker.is_open());
    }

    #[test]
    fn what_says_nothing_counts_neither_way() {
        let (breaker, clock) = breaker();
        fail(&breaker);
        breaker.admit(1).unwrap().withdrawn();
        fail(&breaker);
        assert!(breaker.is_open(), "it was no success");
        clock.0.store(1_000_000, Ordering::Relaxed);
        breaker.admit(1).unwrap().withdrawn();
        assert_eq!((breaker.seen().standing, breaker.seen().opened, breaker.is_open()), (Standing::Open, 1, false), "another one may see");
        succeed(&breaker);
        assert_eq!(breaker.seen().standing, Standing::Closed);
    }

    #[test]
    fn what_runs_too_long_has_failed_whoever_waits_for_it() {
        let (breaker, clock) = breaker();
        let small = breaker.admit(1).unwrap();
        let large = breaker.admit(3).unwrap();
        clock.0.store(999_999, Ordering::Relaxed);
        assert_eq!((breaker.seen().running, breaker.seen().stalled), (2, 0));
        clock.0.store(1_000_000, Ordering::Relaxed);
        assert_eq!((breaker.seen().stalled, breaker.is_open()), (1, false));
        clock.0.store(3_000_000, Ordering::Relaxed);
        assert_eq!((breaker.seen().stalled, breaker.is_open()), (2, true));
        // It ends well after all, which was before: it is not let through for that.
        small.ended(true);
        drop(large);
        assert_eq!((breaker.seen().running, breaker.is_open(), breaker.seen().opened), (0, true, 1));
    }

    #[test]
    fn a_probe_that_stalls_opens_it_again() {
        let (breaker, clock) = breaker();
        fail(&breaker);
        fail(&breaker);
        clock.0.store(1_000_000, Ordering::Relaxed);
        let probe = breaker.admit(1).unwrap();
        clock.0.store(2_000_000, Ordering::Relaxed);
        assert!(breaker.is_open());
        clock.0.store(3_000_000, Ordering::Relaxed);
        succeed(&breaker);
        assert_eq!(breaker.seen().standing, Standing::Closed);
        probe.ended(false);
        assert_eq!(breaker.seen().standing, Standing::Closed);
    }
}
