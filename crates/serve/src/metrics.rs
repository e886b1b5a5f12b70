//! What is counted about requests and what is read off when somebody asks: Prometheus metrics.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use lockstep_model::{FilledBy, Status};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use crate::desk::{Answered, Wanted};

mod reading;
mod scoring;
mod watching;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// JSON over HTTP.
    Http,
}

impl Protocol {
    /// As labels and logs call it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
        }
    }
}

impl EncodeLabelValue for Protocol {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: Protocol,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabel {
    protocol: Protocol,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabel {
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValueLabels {
    target: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FilledLabels {
    target: String,
    by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CandidateLabels {
    target: String,
    what: &'static str,
}

/// What becomes of candidates, in the order in which it does.
const CANDIDATES: [&str; 3] = ["unnested", "left", "answered"];

/// In the order of [`Status`].
const STATUSES: [&str; 5] = ["not_found", "expired", "error", "null", "present"];

/// What a service or view has answered since the server began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// Rows that were asked for.
    pub rows: u64,
    /// Values.
    pub values: u64,
    /// Those that could not be computed.
    pub errors: u64,
    /// Those that a default filled.
    pub defaults: u64,
    /// Those whose state lagged more than their view allows.
    pub stale: u64,
}

/// All that is counted of what a service or view has answered since the server began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Values in the order of [`Status`].
    pub by_status: [u64; 5],
    /// Values that a default filled.
    pub defaults: u64,
    /// Values whose state lagged more than their view allows.
    pub stale: u64,
}

impl Answers {
    /// What was answered since then.
    #[must_use]
    pub fn since(self, then: Answers) -> Answers {
        Answers {
            rows: self.rows.saturating_sub(then.rows),
            values: self.values.saturating_sub(then.values),
            errors: self.errors.saturating_sub(then.errors),
            defaults: self.defaults.saturating_sub(then.defaults),
            stale: self.stale.saturating_sub(then.stale),
        }
    }
}

/// The metrics of a server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<ProtocolLabel, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    rows: Family<TargetLabel, Counter>,
    values: Family<ValueLabels, Counter>,
    filled: Family<FilledLabels, Counter>,
    stale: Family<TargetLabel, Counter>,
    of_candidates: CandidateFamilies,
    /// By target, so that an answer looks no label up.
    targets: RwLock<HashMap<String, Arc<Target>>>,
    reading: reading::Reading,
    scores: scoring::Scores,
    watching: watching::Watching,
}

/// The counters of one service or view.
#[derive(Debug)]
struct Target {
    rows: Counter,
    values: [Counter<u64, AtomicU64>; 5],
    defaults: Counter,
    last_known_good: Counter,
    stale: Counter,
    /// Of services of candidates only.
    candidates: OnceLock<CandidateCounters>,
}

/// The counters of all services of candidates.
struct CandidateFamilies {
    candidates: Family<CandidateLabels, Counter>,
    by_fallback: Family<TargetLabel, Counter>,
}

/// The counters of a service of candidates.
#[derive(Debug)]
struct CandidateCounters {
    candidates: [Counter; 3],
    by_fallback: Counter,
}

impl Target {
    fn answers(&self) -> Answers {
        Answers {
            rows: self.rows.get(),
            values: self.values.iter().map(Counter::get).sum(),
            errors: self.values[Status::Error as usize].get(),
            defaults: self.defaults.get(),
            stale: self.stale.get(),
        }
    }
}

/// What an answer adds to what is counted. One that comes when nobody waits for it any more adds nothing.
#[derive(Debug)]
pub struct Counts {
    target: Arc<Target>,
    /// The views whose features were listed, where no service or view was named.
    views: Vec<Arc<Target>>,
    rows: u64,
    by_status: [u64; 5],
    filled: [u64; 3],
    stale: u64,
    /// Candidates, by what became of them, and requests that the fallback answered.
    candidates: [u64; 3],
    by_fallback: u64,
}

impl Counts {
    /// The answer was given.
    pub fn add(&self) {
        let Counts { target, views, rows, by_status, filled, stale, candidates, by_fallback } = self;
        target.rows.inc_by(*rows);
        for view in views {
            view.rows.inc_by(*rows);
        }
        for (counter, count) in target.values.iter().zip(by_status).filter(|(_, count)| **count > 0) {
            counter.inc_by(*count);
        }
        target.defaults.inc_by(filled[FilledBy::Default as usize]);
        target.last_known_good.inc_by(filled[FilledBy::LastKnownGood as usize]);
        target.stale.inc_by(*stale);
        if let Some(counters) = target.candidates.get() {
            for (counter, count) in counters.candidates.iter().zip(candidates) {
                counter.inc_by(*count);
            }
            counters.by_fallback.inc_by(*by_fallback);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// From 10 µs, doubling up to 5 s.
fn latency_buckets() -> Histogram {
    Histogram::new(exponential_buckets(10e-6, 2.0, 20))
}

impl Metrics {
    /// Metrics that nothing was counted in yet.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("lockstep");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The release that runs", build);
        let requests = Family::default();
        registry.register("requests", "Requests answered, by how they came and what they ended with", requests.clone());
        let seconds = Family::new_with_constructor(latency_buckets as fn() -> Histogram);
        registry.register_with_unit("request", "Time from a request's last byte to its answer's first", Unit::Seconds, seconds.clone());
        let in_flight = Gauge::default();
        registry.register("requests_in_flight", "Requests that are being answered", in_flight.clone());
        let rows = Family::default();
        registry.register("request_rows", "Rows asked for, by feature service or view", rows.clone());
        let values = Family::default();
        registry.register("values", "Values answered, by feature service or view and status, before anything is filled", values.clone());
        let filled = Family::default();
        registry.register(
            "values_filled",
            "Values that a default filled, being absent, or the last known good, since the store did not answer",
            filled.clone(),
        );
        let stale = Family::default();
        registry.register("values_stale", "Values whose state lagged more than their view allows", stale.clone());
        let candidates = Family::default();
        registry.register(
            "candidates",
            "Candidates, by feature service and what became of them: unnested, left by its WHERE, answered",
            candidates.clone(),
        );
        let by_fallback = Family::default();
        registry.register(
            "candidates_by_fallback",
            "Requests for candidates that the fallback answered, since too few were left",
            by_fallback.clone(),
        );
        let (reading, scores) = (reading::Reading::new(&mut registry), scoring::Scores::new(&mut registry));
        let (watching, targets) = (watching::Watching::new(&mut registry), RwLock::default());
        let of_candidates = CandidateFamilies { candidates, by_fallback };
        Metrics { registry, requests, seconds, in_flight, rows, values, filled, stale, of_candidates, targets, reading, scores, watching }
    }

    /// A request that begins.
    #[allow(clippy::disallowed_methods, reason = "how long an answer took; no answer depends on it")]
    pub fn begin(&self, protocol: Protocol) -> Call<'_> {
        self.in_flight.inc();
        Call { metrics: self, protocol, begun: Instant::now(), code: Code::Cancelled }
    }

    /// What an answer adds to what is counted once it is given.
    pub fn counts(&self, wanted: &Wanted, answered: &Answered) -> Counts {
        let listed = if wanted.parts().len() > 1 { wanted.parts() } else { &[] };
        let views = listed.iter().map(|part| self.target(&part.name)).collect();
        let (target, rows) = (self.target(wanted.name()), answered.rows as u64);
        let mut counts = Counts { target, views, rows, by_status: [0; 5], filled: [0; 3], stale: 0, candidates: [0; 3], by_fallback: 0 };
        if let Some(by) = &answered.by_request {
            counts.target.candidates.get_or_init(|| self.candidate_counters(wanted.name()));
            for request in &by.counts {
                let of_request = [request.unnested, request.left, request.answered];
                counts.candidates.iter_mut().zip(of_request).for_each(|(all, count)| *all += u64::from(count));
                counts.by_fallback += u64::from(request.by_fallback);
            }
        }
        for feature in &answered.features {
            feature.statuses.iter().for_each(|status| counts.by_status[*status as usize] += 1);
            feature.filled_by.iter().for_each(|by| counts.filled[*by as usize] += 1);
            counts.stale += feature.stale.as_ref().map_or(0, |stale| stale.iter().filter(|stale| **stale).count() as u64);
        }
        counts
    }

    /// What each service, view and deployment has answered.
    pub fn answers(&self) -> BTreeMap<String, Answers> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let mut answers = targets.iter().map(|(name, target)| (name.clone(), target.answers())).collect();
        self.scores.add_answers(&mut answers);
        answers
    }

    /// What each service and view has answered, in full.
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let of = |target: &Target| Totals {
            rows: target.rows.get(),
            by_status: [0, 1, 2, 3, 4].map(|status| target.values[status].get()),
            defaults: target.defaults.get(),
            stale: target.stale.get(),
        };
        targets.iter().map(|(name, target)| (name.clone(), of(target))).collect()
    }

    fn target(&self, name: &str) -> Arc<Target> {
        if let Some(target) = self.targets.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(target);
        }
        let label = || TargetLabel { target: name.to_owned() };
        let value = |status| self.values.get_or_create_owned(&ValueLabels { target: name.to_owned(), status });
        let filled = |by| self.filled.get_or_create_owned(&FilledLabels { target: name.to_owned(), by });
        let target = Arc::new(Target {
            rows: self.rows.get_or_create_owned(&label()),
            values: STATUSES.map(value),
            defaults: filled("default"),
            last_known_good: filled("last_known_good"),
            stale: self.stale.get_or_create_owned(&label()),
            candidates: OnceLock::new(),
        });
        // Names of services and views that there are, so that there is a bound on them.
        self.targets.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::clone(&target));
        target
    }

    fn candidate_counters(&self, target: &str) -> CandidateCounters {
        let CandidateFamilies { candidates, by_fallback } = &self.of_candidates;
        let of = |what| candidates.get_or_create_owned(&CandidateLabels { target: target.to_owned(), what });
        CandidateCounters { candidates: CANDIDATES.map(of), by_fallback: by_fallback.get_or_create_owned(&TargetLabel { target: target.to_owned() }) }
    }

    /// All of them in the text format of OpenMetrics, which Prometheus reads. What is read off is what was read off last.
    ///
    /// # Errors
    /// Where they cannot be written, which does not happen to a text in memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A request that is being answered. Where nobody waits for the end it counts as cancelled.
#[derive(Debug)]
pub struct Call<'a> {
    metrics: &'a Metrics,
    protocol: Protocol,
    begun: Instant,
    code: Code,
}

impl Call<'_> {
    /// It ends with this.
    pub fn ends_with(&mut self, code: Code) {
        self.code = code;
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How it came.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Call { metrics, protocol, begun, code } = self;
        metrics.in_flight.dec();
        metrics.seconds.get_or_create(&ProtocolLabel { protocol: *protocol }).observe(begun.elapsed().as_secs_f64());
        metrics.requests.get_or_create(&RequestLabels { protocol: *protocol, code: code_name(*code) }).inc();
    }
}

/// The name of a code, as gRPC writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// That statuses index [`STATUSES`].
const _: () = assert!(Status::NotFound as usize == 0 && Status::Present as usize == 4);
