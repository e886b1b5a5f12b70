//! What scoring adds to looking features up and to running the model, in process and over gRPC.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use fastrand::Rng;
use lockstep_client::proto::ScoreRequest;
use lockstep_client::proto::scoring_client::ScoringClient;
use lockstep_client::{Client, Rows};
use lockstep_ingest::admission::AdmitNext;
use lockstep_model::{EventTime, SystemClock};
use lockstep_score::{ModelFile, Session, Tensor, Values, load};
use lockstep_serve::live::{Live, Reach};
use lockstep_serve::scoring::{Models, Scorer};
use lockstep_serve::server::BreakerSettings;
use lockstep_serve::{Lags, LookupRequest};
use lockstep_store::{Store, StoreOptions};
use lockstep_testkit::onnx::{Tree, trees};
use tokio::time::{Instant, sleep_until};
use tonic::transport::{Channel, Endpoint};

use crate::load::account;
use crate::support::{SPAN, START, heading, long, row, source, view, wall_seconds};
use crate::{Payments, Project, Running};

pub const ACCOUNTS: u64 = 100_000;
const PAYMENTS: usize = 400_000;
const FEATURES: usize = 20;
/// Trees, and the splits that a row passes in each.
const TREES: usize = 200;
const LEVELS: u32 = 6;
/// Connections, and callers of each.
pub const CONNECTIONS: usize = 4;
pub const CALLERS: usize = 4;

/// Prints what scoring costs, of a project of its own.
pub fn compare() {
    let dir = tempfile::tempdir().expect("a directory");
    let project = project(dir.path());
    in_process(&project.0.join(".lockstep/store"));
    in_a_batch(&project);
    over_grpc(&project);
}

fn model() -> Vec<u8> {
    let mut random = Rng::with_seed(7);
    let leaves = 1 << LEVELS;
    let tree = |_| Tree {
        splits: (1..leaves).map(|_| (random.i64(0..FEATURES as i64), random.f32() * 100.0)).collect(),
        leaves: (0..leaves).map(|_| random.f32() - 0.5).collect(),
    };
    trees(FEATURES as i64, &(0..TREES).map(tree).collect::<Vec<_>>())
}

/// A project with a model of payments, deployed as `risky`.
pub fn project(dir: &Path) -> Project {
    let payments = Payments { count: PAYMENTS, accounts: ACCOUNTS, hot: false, span: SPAN };
    let history = dir.join("payments.parquet");
    payments.write_parquet(&history);
    let project = Project(dir.join("project"));
    for sub in ["feature_defs", "models"] {
        fs::create_dir_all(project.0.join(sub)).expect("a directory");
    }
    fs::write(project.0.join("lockstep.toml"), "[memory]\ncache = '2 GiB'\n").expect("settings");
    fs::write(project.0.join("models/risk.onnx"), model()).expect("a model");
    let names: Vec<String> = (0..FEATURES).map(|at| format!("f{at}")).collect();
    let outputs: Vec<String> = names.iter().map(|name| format!("v.{name} AS {name}")).collect();
    let definitions = format!(
        "{}\n{}\nCREATE FEATURE SERVICE s20 AS SELECT {} FROM REQUEST (account BIGINT) r LEFT JOIN v20 v ON v.account = r.account;\n\
         CREATE MODEL risk FROM 'models/risk.onnx' USING s20 (input => ({})) PREDICT (risk REAL FROM score);\n\
         CREATE DEPLOYMENT risky AS risk;\n",
        source(&history),
        view("v20", FEATURES, &["1 hour", "1 day", "30 days"]),
        outputs.join(", "),
        names.join(", ")
    );
    fs::write(project.0.join("feature_defs/all.sql"), definitions).expect("definitions");
    for verb in ["apply", "backfill"] {
        let ran = project.command(&[verb]).output().expect("a verb");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    project
}

/// A call of the library, beside a lookup and a run of the same model that follow each other.
fn in_process(store: &Path) {
    let store = Arc::new(Store::open(store, StoreOptions::new("bench")).expect("the store"));
    let models = Models::new(store.models(), BreakerSettings::default(), Arc::new(SystemClock));
    let live = Live::new(store, Arc::new(SystemClock), Arc::new(Lags::default()), Arc::new(AdmitNext)).expect("definitions");
    let live = Arc::new(live.scoring(models).expect("a model"));
    let scorer = Scorer::new(Arc::clone(&live));
    let loaded = load(&ModelFile::read(&model()).expect("a model"), None).expect("it runs");
    let mut session = loaded.session().expect("a session");
    let mut alone = Vec::new();
    heading(
        &format!("{FEATURES} features looked up and scored by {TREES} trees of {LEVELS} levels, by a call; floor: a lookup, then a bare call"),
        "µs",
    );
    for (rows, aim) in [(1, "50 µs more at most"), (10, ""), (100, ""), (1000, "1.2 at most")] {
        let batches: Vec<RecordBatch> = (0..1000 / rows as u64 + 4).map(|seed| accounts(rows, seed)).collect();
        let at = START + SPAN - 1;
        let call = |batch: &RecordBatch| drop(scorer.score("risky", batch, &[at]).expect("scores"));
        let mut bare = |batch: &RecordBatch| {
            let features = looked_up(&live, batch, at);
            drop(run(&mut *session, &features));
        };
        let (value, floor) = (median(&batches, &mut |batch| call(batch)), median(&batches, &mut bare));
        row(&format!("{rows} rows"), value, floor, aim);
        let features: Vec<Vec<ArrayRef>> = batches.iter().map(|batch| looked_up(&live, batch, at)).collect();
        let mut next = features.iter().cycle();
        let model = median(&batches, &mut |_| next.by_ref().take(1).for_each(|features| drop(run(&mut *session, features))));
        alone.push((rows, value, model));
    }
    heading("the same; floor: the bare call of the model alone, on features that are there", "µs");
    for (rows, value, model) in alone {
        row(
            &format!("{rows} rows ({:.1} µs more a row)", (value - model) / rows as f64),
            value,
            model,
            if rows == 1 { "50 µs more at most" } else { "" },
        );
    }
}

/// Every account at several moments, by the command line: reading what the store has applied, features, scores, files. Beside the model alone, and the features alone.
fn in_a_batch(project: &Project) {
    let days = if long() { 20 } else { 5 };
    let rows = ACCOUNTS as usize * days;
    let day = |back: usize| EventTime(START + SPAN - 1 - back as i64 * 86_400_000_000).to_string();
    let range = ["--every", "1 day", "--from", &day(days - 1), "--to", &day(0)];
    let timed = |args: &[&str]| {
        let begun = wall_seconds();
        let ran = project.command(&[args, &range[..]].concat()).output().expect("a verb");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        wall_seconds() - begun
    };
    let scored = timed(&["score", "risky", "--out", "scores"]);
    let features = timed(&["train", "s20", "--applied", "--out", "features"]);
    let bare = bare_of(rows);
    let title = format!("{rows} rows scored in a batch ({:.0} a second, as files), with {FEATURES} features each", rows as f64 / scored);
    heading(&title, "s");
    row(&format!("beside the bare model on all cores ({:.0} rows a second)", rows as f64 / bare), scored, bare, "");
    row("beside a training set of the same rows, and then the bare model", scored, features + bare, "");
}

/// How long the model alone takes for so many rows, with a session for each core, s.
fn bare_of(rows: usize) -> f64 {
    const BLOCK: usize = 4096;
    let loaded = load(&ModelFile::read(&model()).expect("a model"), None).expect("it runs");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut random = Rng::with_seed(3);
    let values: Vec<f32> = (0..BLOCK * FEATURES).map(|_| random.f32() * 100.0).collect();
    let begun = wall_seconds();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut session = loaded.session().expect("a session");
                for _ in 0..rows.div_ceil(BLOCK * threads) {
                    drop(session.run(&[Tensor { shape: vec![BLOCK, FEATURES], values: Values::Float32(values.clone()) }]).expect("scores"));
                }
            });
        }
    });
    wall_seconds() - begun
}

fn accounts(rows: usize, seed: u64) -> RecordBatch {
    let mut random = Rng::with_seed(seed);
    let accounts: Int64Array = (0..rows).map(|_| Some(account(&mut random, ACCOUNTS))).collect();
    let schema = Arc::new(Schema::new(vec![Field::new("account", DataType::Int64, true)]));
    RecordBatch::try_new(schema, vec![Arc::new(accounts)]).expect("a column")
}

fn looked_up(live: &Live, batch: &RecordBatch, at: i64) -> Vec<ArrayRef> {
    let state = live.state(Reach::Disk).expect("a state");
    let moments = vec![at; batch.num_rows()];
    let request = LookupRequest { name: "s20", rows: batch, moments: &moments, time: None, explain: false };
    state.served.lookup(state.cut(Reach::Disk), &request).expect("features").columns
}

/// As plainly as it can be done.
fn run(session: &mut dyn Session, features: &[ArrayRef]) -> Vec<Tensor> {
    let rows = features[0].len();
    let mut values = vec![f32::NAN; rows * FEATURES];
    for (at, feature) in features.iter().enumerate() {
        let feature = cast(feature, &DataType::Float32).expect("a number");
        for (row, value) in feature.as_primitive::<Float32Type>().iter().enumerate() {
            values[row * FEATURES + at] = value.unwrap_or(f32::NAN);
        }
    }
    session.run(&[Tensor { shape: vec![rows, FEATURES], values: Values::Float32(values) }]).expect("scores")
}

/// The median time of a call, µs, after one round that is not counted.
fn median(batches: &[RecordBatch], call: &mut dyn FnMut(&RecordBatch)) -> f64 {
    let seconds = if long() { 20.0 } else { 2.0 };
    batches.iter().for_each(&mut *call);
    let (began, mut times) = (wall_seconds(), Vec::new());
    for batch in batches.iter().cycle() {
        let begun = wall_seconds();
        call(batch);
        times.push((wall_seconds() - begun) * 1e6);
        if wall_seconds() - began > seconds {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Scores over gRPC beside features over gRPC, of one account: at the highest rate, and at half of it.
fn over_grpc(project: &Project) {
    let server = project.serve();
    let seconds = Duration::from_secs(if long() { 30 } else { 3 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clients = Clients::connect(&server).await;
        let mut measured = Vec::new();
        for scores in [true, false] {
            clients.calls(scores, Duration::from_millis(500), 0.0).await;
            let full = clients.calls(scores, seconds, 0.0).await;
            let half = clients.calls(scores, seconds, full.len() as f64 / seconds.as_secs_f64() / 2.0).await;
            measured.push((seconds.as_secs_f64() * 1e6 / full.len() as f64, percent(&half, 0.5), percent(&half, 0.99)));
        }
        heading("a score of 1 account over gRPC, beside its features over gRPC, callers on the same cores", "µs");
        row("a request at the highest rate", measured[0].0, measured[1].0, "");
        row("p50 at half of the rate that is possible", measured[0].1, measured[1].1, "");
        row("p99 at half of the rate that is possible", measured[0].2, measured[1].2, "");
    });
}

pub fn percent(times: &[f64], share: f64) -> f64 {
    times[((times.len() - 1) as f64 * share) as usize]
}

#[derive(Clone)]
pub struct Clients {
    scoring: Vec<ScoringClient<Channel>>,
    features: Vec<Client>,
}

impl Clients {
    pub async fn connect(server: &Running) -> Clients {
        let url = format!("http://{}", server.address);
        let mut clients = Clients { scoring: Vec::new(), features: Vec::new() };
        for _ in 0..CONNECTIONS {
            let channel = Endpoint::from_shared(url.clone()).expect("an address").tcp_nodelay(true).connect().await.expect("a connection");
            clients.scoring.push(ScoringClient::new(channel));
            clients.features.push(Client::connect(&url).await.expect("a connection"));
        }
        clients
    }

    /// How long calls took, µs, sorted: as many as are answered, or so many a second.
    pub async fn calls(&self, scores: bool, within: Duration, per_second: f64) -> Vec<f64> {
        let begun = Instant::now();
        let callers = (0..CONNECTIONS * CALLERS).map(|caller| {
            let clients = self.clone();
            let pause = if per_second > 0.0 { Duration::from_secs_f64((CONNECTIONS * CALLERS) as f64 / per_second) } else { Duration::ZERO };
            tokio::spawn(async move {
                let (mut random, mut times) = (Rng::with_seed(caller as u64), Vec::new());
                let mut due = begun + pause.mul_f64(caller as f64 / (CONNECTIONS * CALLERS) as f64);
                while begun.elapsed() < within {
                    sleep_until(due).await;
                    let asked = if pause.is_zero() { Instant::now() } else { due };
                    clients.call(scores, caller % CONNECTIONS, account(&mut random, ACCOUNTS)).await;
                    times.push(asked.elapsed().as_secs_f64() * 1e6);
                    due += pause;
                }
                times
            })
        });
        let mut times = Vec::new();
        for caller in callers.collect::<Vec<_>>() {
            times.extend(caller.await.expect("a caller"));
        }
        times.sort_by(f64::total_cmp);
        times
    }

    async fn call(&self, scores: bool, connection: usize, account: i64) {
        let at = START + SPAN - 1;
        if scores {
            let request: ScoreRequest = Rows::of("risky").column("account", [account]).as_of(at).into_message();
            self.scoring[connection].clone().score(request).await.expect("a score");
        } else {
            let request = lockstep_client::Request::new("s20").column("account", [account]).as_of(at);
            self.features[connection].get_features(request).await.expect("features");
        }
    }
}
