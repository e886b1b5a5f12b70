//! One request from beginning to end, whatever the protocol.

mod running;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use lockstep_model::{Error, EventTime, TimeMode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Code;

use super::breaker::{Breaker, Seen};
use super::call::{Call, RequestLog};
use super::deadline::{Deadline, Until};
use super::failure::Failure;
use super::limits::Limits;
use super::queue::Queue;
use crate::desk::{self, Answered, Question, Wanted};
use crate::feature_log::{self, FeatureLog, Figures, Pick, Picked, Taker};
use crate::last_known_good::{Kept, LastKnownGood};
use crate::live::{Live, Reach, State};
use crate::metrics::{Counts, Metrics, Protocol};
use crate::usage::Usage;
use crate::watch::Watcher;
use crate::{Pushes, Reports};

/// Rows of a request that is answered where it is: some hundreds of microseconds.
const ROWS_AT_ONCE: usize = 64;
/// Rows of one part of a streamed answer.
const PART_ROWS: usize = 1024;
/// How many rows a request for candidates is like, about: it reads what is known of each of some hundreds.
const ROWS_OF_CANDIDATES: usize = 64;
/// Small requests that read the disk at once, and those that may wait for that.
const READING_MAX: [usize; 2] = [64, 1024];
/// Large requests that may wait for their turn.
const WAITING_MAX: usize = 64;
/// Pushes at once: each waits for the disk on a thread of its own, and those that come together share a force.
const PUSHING_MAX: usize = 256;
/// Answers that are streamed at once, each from a thread of its own.
const STREAMS_MAX: usize = 64;
/// Requests whose rows are scored by a shadow at once.
const SHADOWS_MAX: usize = 64;
/// How many times as long as a small read a request by definitions may take that have to be compiled first.
const COMPILE_TIMES: u32 = 10;
/// How long what says how the server is waits for the store before it says what it knows.
const SAY_WITHIN: Duration = Duration::from_secs(1);

/// What answers requests.
pub struct Service {
    /// What it answers from.
    pub live: Arc<Live>,
    /// Bounds on requests.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where pushes go; `None` where nothing is applied here.
    pub pushes: Option<Box<dyn Pushes>>,
    /// Where reports go of what was done and what came of it; `None` where nothing is logged here.
    pub reports: Option<Arc<dyn Reports>>,
    /// When it was started.
    pub since: EventTime,
    log: RequestLog,
    known: Option<LastKnownGood>,
    features: Option<Arc<dyn FeatureLog>>,
    watchers: Vec<Arc<dyn Taker>>,
    watch: Option<Arc<Watcher>>,
    usage: Option<Arc<Usage>>,
    reads: Arc<Breaker>,
    writes: Arc<Breaker>,
    small: Queue,
    large: Queue,
    pushing: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shadows: Arc<Semaphore>,
}

/// Where an answer is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The store, as far as it is in memory.
    Memory,
    /// The store.
    Disk,
    /// What was read last, where the store does not answer.
    LastKnown,
}

/// How a request is to be run.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Until when.
    pub until: Until,
    /// When what was read last is answered instead; never where absent.
    instead: Option<Instant>,
    /// Whether it is answered where it is, as far as what it reads is in memory.
    is_small: bool,
    /// How many times as long as a small one it may take.
    times: u32,
}

/// A request that was found to be one.
#[derive(Debug)]
pub struct Asked {
    /// The state that it is answered from.
    pub state: Arc<State>,
    /// Where the answer is taken from.
    pub origin: Origin,
    /// What is wanted.
    pub wanted: Arc<Wanted>,
    /// What it is asked with.
    pub rows: RecordBatch,
    /// The moment of each row, µs.
    pub moments: Vec<i64>,
    /// The moment of all rows, where it was not given.
    pub now: Option<i64>,
    /// The clock that is to count.
    pub time: Option<TimeMode>,
    /// Whether the definitions are those that were asked for.
    pinned: bool,
}

/// What a request says beside its columns.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// A service or view, or nothing.
    pub name: &'a str,
    /// The outputs wanted.
    pub features: &'a [String],
    /// The definitions to answer by; those that serve where absent.
    pub definitions: Option<u64>,
    /// How often the pointer to what serves must have been moved at least.
    pub min_epoch: Option<u64>,
    /// The snapshot to answer from; what is live where empty.
    pub snapshot: &'a str,
    /// The moments given, µs.
    pub as_of: &'a [i64],
    /// The clock that is to count.
    pub time: Option<TimeMode>,
    /// Whether the answer is streamed.
    pub streamed: bool,
}

impl Head<'_> {
    /// Whether it asks for something else than what serves.
    fn is_pinned(&self) -> bool {
        self.definitions.is_some() || !self.snapshot.is_empty()
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("live", &self.live).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Origin {
    /// How far it goes for what it reads.
    pub fn reach(self) -> Option<Reach> {
        match self {
            Origin::Memory => Some(Reach::Memory),
            Origin::Disk => Some(Reach::Disk),
            Origin::LastKnown => None,
        }
    }
}

impl Asked {
    /// Rows that are wanted of a state that serves; `now` is their moment where that was not given.
    pub fn of(
        (state, origin): (&Arc<State>, Origin),
        wanted: &Arc<Wanted>,
        (rows, moments): (&RecordBatch, &[i64]),
        now: Option<i64>,
        time: Option<TimeMode>,
    ) -> Asked {
        let (state, wanted) = (Arc::clone(state), Arc::clone(wanted));
        Asked { state, origin, wanted, rows: rows.clone(), moments: moments.to_vec(), now, time, pinned: false }
    }

    /// Rows of one part, where the answer is streamed.
    pub fn part_rows(&self) -> usize {
        PART_ROWS / rows_like(&self.state, self.wanted.name())
    }
}

/// How many rows each row is like that a service, view or deployment is asked with.
fn rows_like(state: &State, name: &str) -> usize {
    let of_candidates = state.catalog().services.get(name).is_some_and(|service| service.candidates.is_some());
    if of_candidates || state.deployments().ranks(name) { ROWS_OF_CANDIDATES } else { 1 }
}

impl Service {
    /// What answers requests from a store.
    pub fn new(live: Arc<Live>, pushes: Option<Box<dyn Pushes>>, limits: Limits, metrics: Arc<Metrics>) -> Service {
        let breaker = || Breaker::new(limits.breaker, Arc::clone(live.clock()));
        Service {
            since: live.now(),
            log: RequestLog::new(limits.slow),
            known: limits.last_known_good.map(|fallback| LastKnownGood::new(fallback.keep)),
            features: None,
            watchers: Vec::new(),
            reports: None,
            watch: None,
            usage: None,
            reads: breaker(),
            writes: breaker(),
            small: Queue::new(READING_MAX[0], READING_MAX[1], "requests that read the disk"),
            large: Queue::new(limits.large_at_once, WAITING_MAX, "large requests"),
            pushing: Arc::new(Semaphore::new(PUSHING_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            shadows: Arc::new(Semaphore::new(SHADOWS_MAX)),
            live,
            limits,
            metrics,
            pushes,
        }
    }

    /// With a log of what is served.
    #[must_use]
    pub fn logging(self, features: Option<Arc<dyn FeatureLog>>) -> Service {
        Service { features, ..self }
    }

    /// With a log of what callers report.
    #[must_use]
    pub fn reporting(self, reports: Option<Arc<dyn Reports>>) -> Service {
        Service { reports, ..self }
    }

    /// With a note of when each service, view and deployment was asked last.
    #[must_use]
    pub fn used(self, usage: Arc<Usage>) -> Service {
        Service { usage: Some(usage), ..self }
    }

    /// When what was asked last, where that is noted.
    pub fn usage(&self) -> Option<&Arc<Usage>> {
        self.usage.as_ref()
    }

    /// With those who look at some of what is served now.
    #[must_use]
    pub fn watched(self, watchers: Vec<Arc<dyn Taker>>) -> Service {
        Service { watchers, ..self }
    }

    /// With a watch of how all of it is.
    #[must_use]
    pub fn watching(self, watch: Option<Arc<Watcher>>) -> Service {
        Service { watch, ..self }
    }

    /// What watches how all of it is; `None` where nothing does.
    pub fn watch(&self) -> Option<&Arc<Watcher>> {
        self.watch.as_ref()
    }

    /// What of an answer to some rows of a request is to be logged or looked at, once it is given.
    ///
    /// # Errors
    /// Internal where the columns are not those that are declared.
    pub fn picked(&self, asked: &Asked, (rows, moments): (&RecordBatch, &[i64]), answered: &Answered, request_id: &str) -> Result<Picked, Error> {
        self.picked_to_score(asked, (rows, moments), answered, (request_id, false))
    }

    /// The same of rows that are about to be scored: where some of them may explore, the log is handed those, too, that it has not picked.
    ///
    /// # Errors
    /// As [`Self::picked`].
    pub fn picked_to_score(
        &self,
        asked: &Asked,
        (rows, moments): (&RecordBatch, &[i64]),
        answered: &Answered,
        (request_id, explores): (&str, bool),
    ) -> Result<Picked, Error> {
        let is_recalled = asked.origin == Origin::LastKnown;
        let of = |taker: &dyn Taker| {
            let later = explores && taker.takes_explored();
            feature_log::picked(taker, (&asked.state, is_recalled), (&asked.wanted, rows, moments), answered, (request_id, later))
        };
        let logged = self.features.as_ref().map_or(Ok(Vec::new()), |log| of(&**log))?;
        // What was pinned, or read earlier, says nothing of what serves now.
        let mut watched = Vec::new();
        for (number, watcher) in self.watchers.iter().enumerate().filter(|_| !asked.pinned && !is_recalled) {
            watched.extend(of(&**watcher)?.into_iter().map(|vectors| (number, vectors)));
        }
        Ok(Picked { logged, watched })
    }

    /// Hands on what was picked of an answer that was given.
    pub fn given(&self, picked: Picked) {
        let Picked { logged, watched } = picked;
        if let Some(log) = &self.features {
            logged.into_iter().filter(|vectors| vectors.pick != Pick::None).for_each(|vectors| log.take(vectors));
        }
        for (number, vectors) in watched {
            if let Some(watcher) = self.watchers.get(number) {
                watcher.take(vectors);
            }
        }
    }

    /// Whether the log takes rows that explore, whatever was picked.
    pub fn takes_explored(&self) -> bool {
        self.features.as_ref().is_some_and(|log| log.takes_explored())
    }

    /// How the log of what is served stands; `None` where there is none.
    pub fn logged(&self) -> Option<Figures> {
        self.features.as_ref().map(|log| log.figures())
    }

    /// A request that begins.
    pub fn begin(&self, protocol: Protocol) -> Call<'_> {
        Call::begin(&self.metrics, &self.log, protocol)
    }

    /// How a request for features is to be run.
    ///
    /// # Errors
    /// InvalidArgument where its deadline is none; DeadlineExceeded where that has passed.
    pub fn how(&self, deadline: &Deadline, rows: usize, head: &Head<'_>) -> Result<How, Failure> {
        let until = deadline.until(self.limits.request_time_max)?;
        let is_now = head.as_of.is_empty() && !head.is_pinned();
        let fallback = self.limits.last_known_good.filter(|_| is_now && !head.streamed);
        let rows = rows.saturating_mul(rows_like(&self.live.last_state(), head.name));
        let times = u32::try_from(rows / ROWS_AT_ONCE + 1).unwrap_or(u32::MAX);
        Ok(How {
            until,
            instead: fallback.map(|fallback| until.sooner(fallback.after)),
            is_small: rows <= ROWS_AT_ONCE && !head.is_pinned(),
            times: if head.is_pinned() { times.saturating_add(COMPILE_TIMES) } else { times },
        })
    }

    /// How what says how the server is is to be run: it waits for no store that does not answer.
    ///
    /// # Errors
    /// As [`Self::how`].
    pub fn how_to_say(&self, deadline: &Deadline) -> Result<How, Failure> {
        let until = deadline.until(self.limits.request_time_max)?;
        Ok(How { until, instead: Some(until.sooner(SAY_WITHIN)), is_small: true, times: 1 })
    }

    /// The state that a request is answered from.
    ///
    /// # Errors
    /// Where it cannot be read, or is older than is asked for.
    pub fn state(&self, head: &Head<'_>, origin: Origin) -> Result<Arc<State>, Failure> {
        let state = match (head.snapshot, head.definitions, origin.reach()) {
            ("", None, Some(reach)) => self.live.state(reach)?,
            ("", None, None) => self.live.last_state(),
            ("", Some(version), _) => self.live.pinned(version)?,
            (snapshot, None, _) => self.live.snapshot(snapshot)?,
            (_, Some(_), _) => return Err(Error::invalid("a snapshot is read by its own definitions · ask for one of the two").into()),
        };
        check_epoch(&state, head)?;
        Ok(state)
    }

    /// Finds what a request asks for; `rows` reads its columns. Definitions that are pinned may have to be compiled first, so that such a request is not for the
    /// thread that took it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn ask(&self, head: &Head<'_>, origin: Origin, rows: impl FnOnce(&Wanted) -> Result<RecordBatch, Error>) -> Result<Asked, Failure> {
        let state = self.state(head, origin)?;
        let wanted = state.wanted(head.name, head.features)?;
        let rows = rows(&wanted)?;
        self.limits.check_rows(rows.num_rows(), head.streamed)?;
        let now = head.as_of.is_empty().then(|| state.snapshot.as_ref().map_or_else(|| self.live.now().0, |snapshot| snapshot.moment.0));
        let moments = desk::moments_of(head.as_of, rows.num_rows(), now.unwrap_or_default())?;
        if let Some(snapshot) = &state.snapshot {
            snapshot.check(&moments)?;
        }
        Ok(Asked { state, origin, wanted, rows, moments, now, time: head.time, pinned: head.is_pinned() })
    }

    /// Answers a request, on this thread, and says what is to be counted once the answer is given.
    ///
    /// # Errors
    /// As a lookup.
    pub fn answer(&self, asked: &Asked) -> Result<(Answered, Counts), Failure> {
        self.answer_rows(asked, &asked.rows, &asked.moments)
    }

    /// Answers some rows of a request, on this thread.
    ///
    /// # Errors
    /// As a lookup.
    pub fn answer_rows(&self, asked: &Asked, rows: &RecordBatch, moments: &[i64]) -> Result<(Answered, Counts), Failure> {
        let question = Question { state: &asked.state, lags: self.live.lags(), wanted: &asked.wanted, rows, moments, time: asked.time };
        let is_now = asked.now.is_some() && !asked.pinned;
        let known = self.known.as_ref().filter(|_| is_now);
        let answered = match asked.origin.reach() {
            Some(reach) => desk::answer(question, reach, known)?,
            None => {
                let recalled = known.map(|known| desk::recall(question, known)).transpose()?.flatten();
                recalled
                    .ok_or_else(|| Failure::new(Code::Unavailable, "the store does not answer, and what it would say is not known").of_reading())?
            }
        };
        let counts = self.metrics.counts(&asked.wanted, &answered);
        Ok((answered, counts))
    }

    /// The breakers, before reading and before pushing.
    pub fn breakers(&self) -> [(&'static str, Seen); 2] {
        [("reads", self.reads.seen()), ("pushes", self.writes.seen())]
    }

    /// What is kept for when the store does not answer; `None` where nothing is to be.
    pub fn kept(&self) -> Option<Kept> {
        self.known.as_ref().map(LastKnownGood::kept)
    }
}

/// Refuses to answer by what serves where that is older than its caller has seen.
fn check_epoch(state: &State, head: &Head<'_>) -> Result<(), Failure> {
    let Some(least) = head.min_epoch.filter(|_| !head.is_pinned()) else { return Ok(()) };
    let epoch = state.release.map_or(0, |at| at.epoch);
    if epoch >= least {
        return Ok(());
    }
    let message = format!("what serves here has epoch {epoch}, and epoch {least} is asked for at least · try again in a moment, or another server");
    Err(Failure::new(Code::Unavailable, message))
}
