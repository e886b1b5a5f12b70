//! A disk that stalls or fails under a server: nobody waits for it longer than they said, and what was read last is answered where that is declared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use lockstep_client::proto::{BreakerState, Feature, FilledBy, GetFeaturesResponse, GetStatusRequest, ServerStatus, Status};
use lockstep_client::{Answer, Client, Request};
use lockstep_model::{Clock, EventTime};
use lockstep_serve::Lags;
use lockstep_serve::last_known_good::Keep;
use lockstep_serve::live::Live;
use lockstep_serve::metrics::Metrics;
use lockstep_serve::server::{Fallback, Limits, Running, Security, ServerOptions, Service, start};
use lockstep_store::{Store, StoreOptions};
use lockstep_testkit::disk::{Behaviour, Disk};
use lockstep_transform::catalog::NoEvents;
use tonic::Code;

use crate::project::{Project, wait_for};
use crate::support::{AT_MICROS, agent, read};

const SECOND: i64 = 1_000_000;

/// A clock that stands where it was put.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

impl Hand {
    fn advance(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A server in this process, from a store whose disk the test holds.
struct Held {
    disk: Disk,
    clock: Arc<Hand>,
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
    client: Client,
    url: String,
    _project: Project,
}

impl Held {
    fn new(limits: Limits) -> Held {
        let project = Project::new();
        let store = Arc::new(Store::open(project.store(), StoreOptions::new("test")).unwrap());
        let (disk, clock) = (Disk::default(), Arc::new(Hand(AtomicI64::new(AT_MICROS))));
        let layer = disk.clone();
        let layer = Box::new(move |cut| layer.over(cut));
        let live = Live::under(layer, store, Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(Lags::default()), Arc::new(NoEvents)).unwrap();
        let service = Arc::new(Service::new(Arc::new(live), None, limits, Arc::new(Metrics::new())));
        let options = ServerOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            security: Security::default(),
            threads: 2,
            drain: Duration::from_secs(5),
            linger: Duration::ZERO,
        };
        let running = start(service, None, options).unwrap();
        running.ready();
        let url = format!("http://{}", running.address());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect(&url)).unwrap();
        Held { disk, clock, running: Some(running), runtime, client, url, _project: project }
    }

    fn ask(&self, request: Request) -> Result<GetFeaturesResponse, Code> {
        let answered = self.runtime.block_on(self.client.get_features(request));
        answered.map(|Answer(response)| response).map_err(|status| status.code())
    }

    /// Asks and goes on; the answer is to be waited for.
    fn ask_meanwhile(&self, request: Request) -> tokio::task::JoinHandle<Result<GetFeaturesResponse, Code>> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.get_features(request).await.map(|Answer(response)| response).map_err(|status| status.code()) })
    }

    fn status(&self) -> ServerStatus {
        self.runtime.block_on(self.client.raw().get_status(GetStatusRequest {})).unwrap().into_inner()
    }

    fn reads(&self) -> BreakerState {
        let status = self.status();
        status.breakers.iter().find(|breaker| breaker.of == "reads").unwrap().state()
    }

    fn get(&self, path: &str) -> (u16, String) {
        read(agent().get(format!("{}{path}", self.url)).call())
    }

    /// The value of a metric, with its labels.
    fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.behave(Behaviour::InMemory);
        self.running.take();
    }
}

/// With what is kept for as long as a minute and used once the store has had a moment.
fn keeping(after: Duration) -> Limits {
    let keep = Keep { memory_bytes: 1 << 20, age_micros: 60 * SECOND };
    Limits { last_known_good: Some(Fallback { keep, after }), ..Limits::default() }
}

fn card(card: &str) -> Request {
    Request::new("card_activity").column("card", [card])
}

fn fraud(amount: f64) -> Request {
    Request::new("fraud_v1").column("card", ["c1"]).column("amount", [amount]).column("country", ["FR"])
}

/// What a feature says, but for what filled it and how old it is.
fn said(feature: &Feature) -> Feature {
    Feature { filled_by: Vec::new(), ages_micros: Vec::new(), ..feature.clone() }
}

fn feature<'a>(response: &'a GetFeaturesResponse, name: &str) -> &'a Feature {
    response.features.iter().find(|feature| feature.name == name).unwrap()
}

#[test]
fn a_disk_that_stalls_holds_up_who_needs_it_and_nobody_else() {
    let held = Held::new(Limits::default());
    held.disk.behave(Behaviour::Stalls);
    let waiting: Vec<_> = (0..20).map(|_| held.ask_meanwhile(card("c1").deadline(Duration::from_millis(400)))).collect();
    wait_for("the disk is asked", || (held.disk.waiting() == 20).then_some(()));
    // There are two threads that answer, and both do.
    assert_eq!((held.get("/healthz").0, held.get("/readyz").0, held.get("/v1/views").0), (200, 200, 200));
    // Asking for metrics reads too, where it can.
    assert!(held.metric("lockstep_breaker_running{of=\"reads\"}") >= 20.0);
    for waiting in waiting {
        assert_eq!(held.runtime.block_on(waiting).unwrap(), Err(Code::DeadlineExceeded));
    }
    assert_eq!(held.reads(), BreakerState::Closed);
    // Nobody waits any more, and the reads are still there: by the clock they have stalled.
    held.clock.advance(SECOND);
    assert_eq!(held.reads(), BreakerState::Open);
    assert_eq!(held.metric("lockstep_breaker_state{of=\"reads\"}"), 1.0);
    let asked = held.disk.waiting();
    assert_eq!(held.ask(card("c1")), Err(Code::Unavailable));
    assert_eq!(held.get("/v1/features/card_activity?card=c1").0, 503);
    assert_eq!(held.disk.waiting(), asked);
    // What is known without the store is said without it.
    let status = held.status();
    assert!(!status.views.is_empty() && status.views.iter().all(|view| view.watermark_micros.is_none()), "{status:?}");
}

#[test]
fn a_disk_that_answers_again_is_found_by_one_request() {
    let held = Held::new(Limits::default());
    held.disk.behave(Behaviour::Fails);
    for _ in 0..5 {
        assert_eq!(held.ask(card("c1")), Err(Code::Unavailable));
    }
    assert_eq!(held.reads(), BreakerState::Open);
    held.disk.behave(Behaviour::Answers);
    assert_eq!(held.ask(card("c1")), Err(Code::Unavailable));
    // What is in memory is answered as ever.
    held.disk.behave(Behaviour::InMemory);
    assert!(held.ask(card("c1")).is_ok());
    held.disk.behave(Behaviour::Stalls);
    held.clock.advance(SECOND);
    let probe = held.ask_meanwhile(card("c1"));
    wait_for("the probe", || (held.disk.waiting() == 1).then_some(()));
    assert_eq!(held.reads(), BreakerState::Probing);
    assert_eq!(held.ask(card("c2")), Err(Code::Unavailable));
    held.disk.behave(Behaviour::Answers);
    assert!(held.runtime.block_on(probe).unwrap().is_ok());
    assert_eq!(held.reads(), BreakerState::Closed);
    assert!(held.ask(card("c2")).is_ok());
}

#[test]
fn what_is_wrong_with_requests_opens_nothing() {
    let held = Held::new(Limits::default());
    held.disk.behave(Behaviour::Answers);
    for _ in 0..20 {
        assert_eq!(held.ask(Request::new("card_activity").column("card", [7_i64])), Err(Code::InvalidArgument));
        assert_eq!(held.ask(Request::new("nothing")), Err(Code::NotFound));
    }
    assert_eq!(held.reads(), BreakerState::Closed);
}

#[test]
fn what_was_read_last_is_answered_where_reading_fails() {
    let held = Held::new(keeping(Duration::from_millis(20)));
    let fresh = held.ask(card("c1")).unwrap();
    assert!(fresh.features.iter().all(|feature| feature.filled_by.is_empty() && feature.ages_micros.is_empty()));
    let scored = held.ask(fraud(100.0)).unwrap();
    held.clock.advance(10 * SECOND);
    held.disk.behave(Behaviour::Fails);
    let known = held.ask(card("c1")).unwrap();
    for (fresh, known) in fresh.features.iter().zip(&known.features) {
        assert_eq!(said(known), said(fresh));
        assert_eq!(known.filled_by().collect::<Vec<_>>(), [FilledBy::LastKnownGood]);
        assert_eq!(known.ages_micros, [10 * SECOND]);
    }
    // Where the logs stand now says nothing of what was read then.
    assert!(known.positions.is_empty() && known.reads[0].watermark_micros.is_none(), "{known:?}");
    assert_eq!(known.moment_micros, Some(AT_MICROS + 10 * SECOND));
    // A service computes anew, from what was read last and what it is asked with.
    let again = held.ask(fraud(50.0)).unwrap();
    let against =
        |response: &GetFeaturesResponse| lockstep_client::Feature(feature(response, "amount_against_usual")).values::<f64>().unwrap()[0].unwrap();
    assert_eq!(against(&again), against(&scored) / 2.0);
    assert_eq!(feature(&again, "spent_1h").filled_by().collect::<Vec<_>>(), [FilledBy::LastKnownGood]);
    let own = feature(&again, "amount");
    assert!(own.filled_by().all(|filled| filled == FilledBy::None) && own.ages_micros.is_empty(), "{own:?}");
    let (outputs, features) = (scored.features.len() as f64, fresh.features.len() as f64);
    assert_eq!(held.metric("lockstep_values_filled_total{target=\"card_activity\",by=\"last_known_good\"}"), features);
    assert_eq!(held.metric("lockstep_values_filled_total{target=\"fraud_v1\",by=\"last_known_good\"}"), outputs - 1.0);
    assert!(held.status().last_known_good.unwrap().entities >= 1);
    let json: serde_json::Value = serde_json::from_str(&held.get("/v1/features/card_activity?card=c1").1).unwrap();
    assert_eq!((&json["features"][0]["filled_by"][0], &json["features"][0]["ages_seconds"][0]), (&"LAST_KNOWN_GOOD".into(), &10.0.into()));
    // Once it can be read it is.
    held.disk.behave(Behaviour::InMemory);
    let read = held.ask(card("c1")).unwrap();
    assert!(read.features.iter().all(|feature| feature.filled_by.is_empty()) && !read.positions.is_empty());
}

#[test]
fn the_last_known_good_stands_for_nothing_else() {
    let held = Held::new(keeping(Duration::from_millis(20)));
    let definitions = held.ask(card("c1")).unwrap().definitions;
    held.ask(card("c1").as_of(AT_MICROS)).unwrap();
    let by_definitions = |number| {
        let request = lockstep_client::proto::GetFeaturesRequest { definitions: Some(number), ..card("c1").into_message() };
        let answered = held.runtime.block_on(held.client.raw().get_features(request));
        answered.map(tonic::Response::into_inner).map_err(|status| status.code())
    };
    by_definitions(definitions).unwrap();
    held.clock.advance(SECOND);
    held.disk.behave(Behaviour::Fails);
    assert!(held.ask(card("c1")).is_ok());
    assert_eq!(held.ask(card("c1").as_of(AT_MICROS)), Err(Code::Unavailable));
    assert_eq!(by_definitions(definitions), Err(Code::Unavailable));
    // Of entities that were not read, nothing is known; an answer is of all of its rows or none.
    assert_eq!(held.ask(card("c2")), Err(Code::Unavailable));
    assert_eq!(held.ask(Request::new("card_activity").column("card", ["c1", "c2"])), Err(Code::Unavailable));
    held.clock.advance(59 * SECOND);
    assert!(held.ask(card("c1")).is_ok());
    held.clock.advance(1);
    assert_eq!(held.ask(card("c1")), Err(Code::Unavailable));
}

#[test]
fn a_null_is_a_null_and_not_what_was_known_before() {
    let held = Held::new(keeping(Duration::from_millis(20)));
    let before = held.ask(card("c1")).unwrap();
    assert_eq!(feature(&before, "last_country").statuses().next(), Some(Status::Present));
    // A year later the windows are empty, and what is kept is too old besides.
    held.clock.advance(366 * 24 * 3600 * SECOND);
    let after = held.ask(card("c1")).unwrap();
    let country = feature(&after, "last_country");
    assert!(country.statuses().next() != Some(Status::Present) && country.filled_by.is_empty(), "{country:?}");
    // Which is what is known from now on.
    held.disk.behave(Behaviour::Fails);
    let known = held.ask(card("c1")).unwrap();
    assert_eq!(said(feature(&known, "last_country")), said(country));
}

#[test]
fn a_store_that_takes_long_is_not_waited_for() {
    for (limits, deadline) in [
        // By the server's own patience, and by that of its caller, which is shorter.
        (keeping(Duration::from_millis(20)), None),
        (keeping(Duration::from_secs(3600)), Some(Duration::from_secs(3))),
    ] {
        let held = Held::new(limits);
        held.ask(card("c1")).unwrap();
        held.disk.behave(Behaviour::Stalls);
        let ask = || deadline.map_or_else(|| card("c1"), |deadline| card("c1").deadline(deadline));
        let known = held.ask(ask()).unwrap();
        assert!(known.features.iter().all(|feature| feature.filled_by().eq([FilledBy::LastKnownGood])));
        assert_eq!(held.disk.waiting(), 1);
        // What is not known is waited for after all.
        let unknown = held.ask_meanwhile(card("c2"));
        wait_for("the disk is asked", || (held.disk.waiting() == 2).then_some(()));
        thread::sleep(Duration::from_millis(100));
        held.disk.behave(Behaviour::Answers);
        assert!(held.runtime.block_on(unknown).unwrap().unwrap().features.iter().all(|feature| feature.filled_by.is_empty()));
    }
}

#[test]
fn requests_past_their_deadline_are_dropped_before_any_work() {
    let held = Held::new(Limits { large_at_once: 1, ..Limits::default() });
    let cards = |rows: usize| Request::new("card_activity").column("card", vec!["c1"; rows]);
    assert_eq!(held.ask(card("c1").deadline(Duration::ZERO)), Err(Code::DeadlineExceeded));
    let over_http = |header: &str| {
        let asked = agent().get(format!("{}/v1/features/card_activity?card=c1", held.url)).header("request-timeout", header);
        read(asked.call())
    };
    let (status, said) = over_http("0");
    assert_eq!(status, 504, "{said}");
    assert!(said.contains("\"deadline_exceeded\"") && said.contains("that its caller gave it"), "{said}");
    let (status, said) = over_http("soon");
    assert!(status == 400 && said.contains("request-timeout: 0.25"), "{said}");
    assert_eq!(over_http("30").0, 200);
    assert_eq!(held.metric("lockstep_request_rows_total{target=\"card_activity\"}"), 1.0);
    // A large one waits for its turn, and is dropped where that comes too late.
    held.disk.behave(Behaviour::Stalls);
    let first = held.ask_meanwhile(cards(100));
    wait_for("the first large one", || (held.disk.waiting() == 1).then_some(()));
    assert_eq!(held.ask(cards(200).deadline(Duration::from_millis(200))), Err(Code::DeadlineExceeded));
    assert_eq!(over_http("0.2").0, 504);
    held.disk.behave(Behaviour::Answers);
    assert_eq!(held.runtime.block_on(first).unwrap().unwrap().rows, 100);
    assert_eq!(held.ask(cards(300)).unwrap().rows, 300);
    // The small one was at the disk already; nobody waited for the second large one when its turn came.
    let rows = || held.metric("lockstep_request_rows_total{target=\"card_activity\"}");
    wait_for("the small one", || (rows() >= 402.0).then_some(()));
    assert_eq!(rows(), 402.0);
}

#[test]
fn a_stream_stops_where_its_disk_does() {
    let held = Held::new(Limits::default());
    let rows = 200_000;
    let request = Request::new("card_activity").column("card", vec!["c1"; rows]).into_message();
    let outcome = held.runtime.block_on(async {
        let mut parts = held.client.raw().stream_features(request).await.unwrap().into_inner();
        let mut read = parts.message().await.unwrap().unwrap().rows;
        held.disk.behave(Behaviour::Fails);
        loop {
            match parts.message().await {
                Ok(Some(part)) => read += part.rows,
                Ok(None) => break (read, Code::Ok),
                Err(status) => break (read, status.code()),
            }
        }
    });
    // Some parts had been read ahead; what is not there is an error, and not an end.
    assert!((outcome.0 as usize) < rows && outcome.1 == Code::Unavailable, "{outcome:?}");
}
