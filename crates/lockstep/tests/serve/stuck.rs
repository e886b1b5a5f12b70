//! A model that is slow or hangs under a server: who asks for it is told in time and in a way to act on, nobody else notices, and it is asked again once it answers.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use lockstep_client::proto::Way;
use lockstep_client::{Client, Request, Rows, Scores};
use lockstep_model::{Clock, EventTime};
use lockstep_score::{Model, Port, RunError, Runtime, Session, Tensor, Values};
use lockstep_serve::Lags;
use lockstep_serve::live::Live;
use lockstep_serve::metrics::Metrics;
use lockstep_serve::scoring::{ModelLayer, Models};
use lockstep_serve::server::{BreakerSettings, Limits, Running, Security, ServerOptions, Service, start};
use lockstep_store::{Store, StoreOptions};
use lockstep_transform::catalog::NoEvents;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::project::{Project, wait_for};
use crate::scoring::{AT, AT_MICROS, fraud, project_of};
use crate::support::{agent, read};

/// What a row has for an amount that the model hangs over, until it is let go.
const HANGS: f64 = 666.0;
const SECOND: i64 = 1_000_000;
/// Failures that open the breaker.
const FAILURES: usize = 2;

const DEFINITIONS: &str = "
CREATE FEATURE SERVICE amounts AS SELECT r.amount AS amount FROM REQUEST (card VARCHAR, amount DOUBLE, country VARCHAR) r;
CREATE MODEL fraud_trees FROM 'models/fraud.onnx' USING fraud_v1 (input => (amount, payments_1h, spent_1h, avg_amount_7d)) PREDICT (risk REAL FROM score);
CREATE MODEL fraud_simple FROM 'models/simple.onnx' USING amounts (input => (amount)) PREDICT (risk REAL FROM score);
CREATE DEPLOYMENT narrow AS fraud_trees WITH (threads = 1, queue = 2, timeout = '1 hour');
CREATE DEPLOYMENT hasty AS fraud_trees WITH (threads = 1, timeout = '300 ms');
CREATE DEPLOYMENT careful AS fraud_trees WITH (threads = 1, timeout = '200 ms', fallback = 'fraud_simple');
CREATE DEPLOYMENT other AS fraud_simple;
";

/// Holds whoever comes while it is closed.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        drop(self.opened.wait_while(self.closed.lock().unwrap(), |closed| *closed).unwrap());
    }
}

/// A model that stops at a gate before rows that tell it to.
#[derive(Debug)]
struct Stopping {
    model: Arc<dyn Model>,
    gate: Arc<Gate>,
}

struct StoppingSession {
    session: Box<dyn Session>,
    gate: Arc<Gate>,
}

impl Model for Stopping {
    fn runtime(&self) -> Runtime {
        self.model.runtime()
    }

    fn inputs(&self) -> &[Port] {
        self.model.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.model.outputs()
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        Ok(Box::new(StoppingSession { session: self.model.session()?, gate: Arc::clone(&self.gate) }))
    }
}

impl Session for StoppingSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        if matches!(&inputs[0].values, Values::Float32(values) if values.contains(&(HANGS as f32))) {
            self.gate.pass();
        }
        self.session.run(inputs)
    }
}

fn layer(gate: &Arc<Gate>, loading: &Arc<Gate>, loaded: &Arc<AtomicUsize>) -> Box<ModelLayer> {
    let (gate, loading, loaded) = (Arc::clone(gate), Arc::clone(loading), Arc::clone(loaded));
    Box::new(move |name: &str, model: Arc<dyn Model>| -> Arc<dyn Model> {
        loaded.fetch_add(1, Ordering::Relaxed);
        loading.pass();
        if name == "fraud_trees" { Arc::new(Stopping { model, gate: Arc::clone(&gate) }) } else { model }
    })
}

/// A clock that stands where it was put.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }
}

/// A server in this process, whose model `fraud_trees` the test can have hang.
struct Held {
    /// Before rows that tell the model to hang: closed at the beginning.
    gate: Arc<Gate>,
    /// Before a model is loaded, and how many came to it.
    loading: Arc<Gate>,
    loaded: Arc<AtomicUsize>,
    live: Arc<Live>,
    clock: Arc<Hand>,
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
    client: Client,
    url: String,
    _project: Project,
}

impl Held {
    fn new() -> Held {
        Held::of(project_of(DEFINITIONS))
    }

    fn of(project: Project) -> Held {
        let store = Arc::new(Store::open(project.store(), StoreOptions::new("test")).unwrap());
        let (gate, loading, loaded) = (Arc::<Gate>::default(), Arc::<Gate>::default(), Arc::<AtomicUsize>::default());
        let clock = Arc::new(Hand(AtomicI64::new(AT_MICROS)));
        gate.close();
        let layer = layer(&gate, &loading, &loaded);
        let breaker = BreakerSettings { failures: FAILURES, ..BreakerSettings::default() };
        let by_hand = || Arc::clone(&clock) as Arc<dyn Clock>;
        let models = Models::under(layer, store.models(), breaker, by_hand());
        let live = Live::new(store, by_hand(), Arc::new(Lags::default()), Arc::new(NoEvents)).unwrap().scoring(models).unwrap();
        let live = Arc::new(live);
        let service = Arc::new(Service::new(Arc::clone(&live), None, Limits::default(), Arc::new(Metrics::new())));
        let (drain, linger) = (Duration::from_secs(5), Duration::ZERO);
        let options = ServerOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), security: Security::default(), threads: 2, drain, linger };
        let running = start(service, None, options).unwrap();
        running.ready();
        let url = format!("http://{}", running.address());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect(&url)).unwrap();
        Held { gate, loading, loaded, live, clock, running: Some(running), runtime, client, url, _project: project }
    }

    /// Asks and goes on; the answer is to be waited for.
    fn score_meanwhile(&self, deployment: &str, amount: f64) -> tokio::task::JoinHandle<Result<Scores, Status>> {
        let rows = Rows::of(deployment).column("card", ["c1"]).column("amount", [amount]).column("country", ["FR"]).as_of(AT_MICROS);
        let client = self.client.clone();
        self.runtime.spawn(async move { client.score(rows).await })
    }

    fn score(&self, deployment: &str, amount: f64) -> Result<Scores, Status> {
        self.runtime.block_on(self.score_meanwhile(deployment, amount)).unwrap()
    }

    /// The code and the message of what must fail over gRPC.
    #[track_caller]
    fn refused(&self, deployment: &str, amount: f64) -> (Code, String) {
        let status = self.score(deployment, amount).unwrap_err();
        (status.code(), status.message().to_owned())
    }

    /// The same over HTTP: status, kind and message.
    fn refused_over_http(&self, deployment: &str, amount: f64) -> (u16, String, String) {
        let body = json!({"deployment": deployment, "rows": [{"card": "c1", "amount": amount, "country": "FR"}], "as_of": AT});
        let sent = agent().post(format!("{}/v1/score", self.url)).header("content-type", "application/json").send(body.to_string());
        let (status, body) = read(sent);
        let body: Value = serde_json::from_str(&body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        (status, text("kind"), text("message"))
    }

    fn get(&self, path: &str) -> (u16, String) {
        read(agent().get(format!("{}{path}", self.url)).call())
    }

    /// A gauge of the model `fraud_trees` in a deployment.
    fn of_model(&self, deployment: &str, name: &str) -> f64 {
        self.metric(&format!("lockstep_model_{name}{{deployment=\"{deployment}\",step=\"fraud_trees\",model=\"fraud_trees\"}}"))
    }

    fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} in {text}"))
    }

    /// Whatever a model does, the server is ready, and answers who does not ask for it.
    fn goes_on_with_others(&self) {
        assert_eq!((self.get("/healthz").0, self.get("/readyz").0), (200, 200));
        let said = self.runtime.block_on(async {
            let channel = tonic::transport::Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap();
            HealthClient::new(channel).check(HealthCheckRequest { service: "lockstep.v1.Scoring".to_owned() }).await.unwrap().into_inner()
        });
        assert_eq!(said.status(), ServingStatus::Serving);
        assert_eq!(self.score("other", 60.5).unwrap().ways(), [Way::Model]);
        let features = Request::new("card_activity").column("card", ["c1"]).as_of(AT_MICROS);
        assert_eq!(self.runtime.block_on(self.client.get_features(features)).unwrap().0.rows, 1);
    }

    /// What the model of a deployment is said to be.
    fn described(&self, deployment: &str) -> Value {
        let (status, body) = self.get(&format!("/v1/deployments/{deployment}"));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["models"][0].clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.open();
        self.loading.open();
        self.running.take();
    }
}

fn risk(scores: &Scores) -> Option<f32> {
    scores.prediction("risk").unwrap().values::<f32>().unwrap()[0]
}

#[test]
fn more_than_may_wait_is_told_and_others_go_on() {
    let held = Held::new();
    let alone = risk(&held.score("narrow", 1.0).unwrap());
    let begun = held.score_meanwhile("narrow", HANGS);
    wait_for("it is begun", || (held.of_model("narrow", "running") == 1.0).then_some(()));
    let waiting = [1.0, 1.0].map(|amount| held.score_meanwhile("narrow", amount));
    wait_for("they wait", || (held.of_model("narrow", "waiting") == 2.0).then_some(()));
    let told = "model `fraud_trees`: 2 runs of the model wait already · try again in a moment, or give it more threads";
    assert_eq!(held.refused("narrow", 2.0), (Code::ResourceExhausted, told.to_owned()));
    assert_eq!(held.refused_over_http("narrow", 2.0), (429, "too_many".to_owned(), told.to_owned()));
    // It says nothing of the model, and is seen where who runs the server looks.
    assert_eq!((held.of_model("narrow", "shed"), held.of_model("narrow", "breaker_state")), (2.0, 0.0));
    assert_eq!(held.metric("lockstep_score_rows_failed_total{deployment=\"narrow\"}"), 2.0);
    assert_eq!(held.described("narrow")["waiting"], json!(2));
    held.goes_on_with_others();
    assert!(!begun.is_finished() && waiting.iter().all(|waiting| !waiting.is_finished()));
    held.gate.open();
    assert_eq!(held.runtime.block_on(begun).unwrap().unwrap().ways(), [Way::Model]);
    for waiting in waiting {
        assert_eq!(risk(&held.runtime.block_on(waiting).unwrap().unwrap()), alone);
    }
    assert_eq!(risk(&held.score("narrow", 1.0).unwrap()), alone);
}

#[test]
fn a_model_that_hangs_is_told_left_alone_and_asked_again() {
    let held = Held::new();
    let in_time = "model `fraud_trees`: it did not answer within 300ms";
    assert_eq!(held.refused("hasty", HANGS), (Code::DeadlineExceeded, in_time.to_owned()));
    assert_eq!(held.refused_over_http("hasty", HANGS), (504, "deadline_exceeded".to_owned(), in_time.to_owned()));
    // Nobody waits for it any more, nor is told so after a while only.
    let not_asked = "model `fraud_trees`: it has failed or stalled several times, and is tried again in a moment";
    assert_eq!(held.refused("hasty", 1.0), (Code::Unavailable, not_asked.to_owned()));
    assert_eq!(held.refused_over_http("hasty", 1.0), (503, "unavailable".to_owned(), not_asked.to_owned()));
    let of_model = |name: &str| held.of_model("hasty", name);
    assert_eq!([of_model("hung"), of_model("hanging"), of_model("breaker_state"), of_model("breaker_opened")], [2.0, 2.0, 1.0, 1.0]);
    assert_eq!(held.metric("lockstep_score_rows_failed_total{deployment=\"hasty\"}"), 4.0);
    let described = held.described("hasty");
    assert_eq!((&described["hanging"], &described["breaker"]["state"]), (&json!(2), &json!("OPEN")));
    // What is declared stands in, and says why.
    let instead = held.score("careful", HANGS).unwrap();
    assert_eq!(instead.ways(), [Way::FallbackModel]);
    assert_eq!(instead.0.reasons, ["model `fraud_trees`: it did not answer within 200ms"]);
    assert_eq!(held.metric("lockstep_score_rows_fallen_total{deployment=\"careful\",why=\"timed_out\"}"), 1.0);
    held.goes_on_with_others();
    held.gate.open();
    wait_for("its threads are back", || (of_model("hanging") == 0.0 && of_model("threads") == 1.0).then_some(()));
    assert_eq!(held.refused("hasty", 1.0).0, Code::Unavailable, "its pause is not over");
    let again = wait_for("it is asked again", || {
        held.clock.0.fetch_add(SECOND, Ordering::Relaxed);
        held.score("hasty", HANGS).ok()
    });
    assert_eq!((again.ways(), of_model("breaker_state")), (vec![Way::Model], 0.0));
}

/// A model that takes long to load holds up nobody who asks for what serves.
#[test]
fn requests_go_on_while_a_model_loads() {
    let project = project_of(DEFINITIONS);
    project.run(&["release", "promote"]).fine();
    fs::write(project.dir.join("models/fraud.onnx"), fraud(3.0)).unwrap();
    project.run(&["apply"]).fine();
    let held = Held::of(project);
    let before = risk(&held.score("narrow", 1.0).unwrap());
    held.loading.close();
    let (live, loaded) = (Arc::clone(&held.live), held.loaded.load(Ordering::Relaxed));
    let prepared = thread::spawn(move || live.prepare(2));
    wait_for("it loads", || (held.loaded.load(Ordering::Relaxed) > loaded).then_some(()));
    for _ in 0..20 {
        let scores = held.score("narrow", 1.0).unwrap();
        assert_eq!((risk(&scores), scores.0.definitions), (before, 1));
    }
    held.goes_on_with_others();
    assert!(!prepared.is_finished());
    held.loading.open();
    prepared.join().unwrap().unwrap();
    assert_eq!(held.score("narrow", 1.0).unwrap().0.definitions, 1, "what is prepared serves once it is promoted");
}
