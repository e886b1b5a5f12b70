//! Candidates of a user over gRPC: what is suggested to one, filtered by what is known of each candidate, and ranked by a model; beside a bare tonic server that reads as many
//! values in one MultiGet, with a reply of the same size that is encoded.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use lockstep_client::Rows;
use lockstep_client::proto::scoring_client::ScoringClient;
use lockstep_testkit::onnx::{Stump, stumps};
use tokio::time::{Instant, sleep_until};
use tonic::transport::{Channel, Endpoint};

use crate::load::{Load, Loaded, account};
use crate::support::{SPAN, START, heading, long, row, source, view};
use crate::{Payments, Project, Running};

const ACCOUNTS: u64 = 100_000;
const PAYMENTS: usize = 400_000;
const FEATURES: usize = 20;
const USERS: u64 = 1000;
/// Candidates of each user.
const CANDIDATES: usize = 500;
/// Trees of one split each.
const STUMPS: usize = 100;
/// Callers, each with a connection of its own.
const CALLERS: usize = 8;

/// Prints what candidates cost, of a project of its own.
pub fn compare() {
    let dir = tempfile::tempdir().expect("a directory");
    let project = project(dir.path());
    let server = project.serve();
    let seconds = if long() { 30 } else { 4 };
    let reply = dir.path().join("candidates.reply");
    let load = Load { name: "shown", rows: 1, metadata: "full", seconds, per_second: 0, accounts: USERS };
    let ours = load.on(&server, Some(&reply), 0.0);
    let floor = Running::start(&["floor", &reply.display().to_string(), &CANDIDATES.to_string(), &dir.path().join("floor").display().to_string()]);
    let bare = load.on(&floor, None, 0.0);
    let half = Load { per_second: (ours.per_second / 2.0) as u32, ..load };
    let (calm, bare_calm) = (half.on(&server, None, 0.0), half.on(&floor, None, 0.0));
    let full = ranked(&server, f64::from(seconds), 0.0);
    let ranked_calm = ranked(&server, f64::from(seconds), full.len() as f64 / f64::from(seconds) / 2.0);
    heading(
        &format!("1 user × {CANDIDATES} candidates with {FEATURES} features over gRPC, beside one MultiGet of them, callers on the same cores"),
        "µs",
    );
    let of = |title: &str, ours: f64, bare: f64| row(title, ours, bare, "");
    of("filtered: a request at the highest rate", 1e6 / ours.per_second, 1e6 / bare.per_second);
    of("filtered: processor time of the server", ours.server_micros, bare.server_micros);
    let calm_rows: [(&str, fn(&Loaded) -> f64); 2] = [("p50", |loaded| loaded.p50), ("p99", |loaded| loaded.p99)];
    for (name, value) in calm_rows {
        of(&format!("filtered: {name} at half of the rate that is possible"), value(&calm), value(&bare_calm));
    }
    for (name, share, value) in [("p50", 0.5, bare_calm.p50), ("p99", 0.99, bare_calm.p99)] {
        of(&format!("filtered and ranked by {STUMPS} trees: {name} at half of its rate"), percent(&ranked_calm, share), value);
    }
    println!(
        "  {:.0} bytes a reply · {:.0} requests a second filtered, {:.0} ranked",
        ours.bytes,
        ours.per_second,
        full.len() as f64 / f64::from(seconds)
    );
}

/// Accounts that are suggested to users, three quarters of which pass a condition that needs them to be read.
fn project(dir: &Path) -> Project {
    let payments = Payments { count: PAYMENTS, accounts: ACCOUNTS, hot: false, span: SPAN };
    let history = dir.join("payments.parquet");
    payments.write_parquet(&history);
    let project = Project(dir.join("project"));
    for sub in ["feature_defs", "models"] {
        fs::create_dir_all(project.0.join(sub)).expect("a directory");
    }
    let suggestions = dir.join("suggestions.ndjson");
    suggest(&suggestions);
    let mut random = Rng::with_seed(7);
    let stump = |_| Stump { feature: random.i64(0..FEATURES as i64), at: random.f32() * 100.0, leaves: [random.f32() - 0.5, random.f32() - 0.5] };
    fs::write(project.0.join("models/wish.onnx"), stumps(FEATURES as i64, &(0..STUMPS).map(stump).collect::<Vec<_>>())).expect("a model");
    fs::write(project.0.join("lockstep.toml"), "[memory]\ncache = '2 GiB'\n").expect("settings");
    let names: Vec<String> = (0..FEATURES).map(|at| format!("f{at}")).collect();
    let outputs: Vec<String> = names.iter().map(|name| format!("v.{name} AS {name}")).collect();
    let definitions = format!(
        "{}\n{}\nCREATE ENTITY user (user_id BIGINT);\n\
         CREATE SOURCE suggestions (id BIGINT PRIMARY KEY, user_id BIGINT, items BIGINT[], made_at TIMESTAMP) WITH (event_time = 'made_at', batch = '{}');\n\
         CREATE FEATURE VIEW suggested ENTITY user AS SELECT user_id, last_value(items) OVER w AS items FROM suggestions\n\
         WINDOW w AS (PARTITION BY user_id ORDER BY made_at RANGE UNBOUNDED PRECEDING);\n\
         CREATE FEATURE SERVICE shown AS SELECT i.item AS item, {} FROM REQUEST (account BIGINT) r LEFT JOIN suggested c ON c.user_id = r.account\n\
         CROSS JOIN UNNEST(c.items) AS i(item) LEFT JOIN v20 v ON v.account = i.item WHERE i.item % 4 <> 0 OR v.f0 < 0;\n\
         CREATE MODEL wish FROM 'models/wish.onnx' USING shown (input => ({})) PREDICT (wish REAL FROM score);\n\
         CREATE DEPLOYMENT best AS wish WITH (rank_by = 'wish DESC', top = 50, max_batch = 1024);\n",
        source(&history),
        view("v20", FEATURES, &["1 hour", "1 day", "30 days"]),
        suggestions.display(),
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

fn suggest(path: &Path) {
    let mut random = Rng::with_seed(5);
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let at = lockstep_model::EventTime(START);
    for user in 0..USERS {
        let items: Vec<String> = (0..CANDIDATES).map(|_| account(&mut random, ACCOUNTS).to_string()).collect();
        writeln!(file, "{{\"id\": {user}, \"user_id\": {user}, \"items\": [{}], \"made_at\": \"{at}\"}}", items.join(", ")).expect("written");
    }
    file.flush().expect("written");
}

/// How long calls took that rank the candidates of a user, µs, sorted: as many as are answered, or so many a second.
fn ranked(server: &Running, seconds: f64, per_second: f64) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let url = format!("http://{}", server.address);
    runtime.block_on(async {
        let begun = Instant::now();
        let pause = if per_second > 0.0 { Duration::from_secs_f64(CALLERS as f64 / per_second) } else { Duration::ZERO };
        let mut callers = Vec::new();
        for caller in 0..CALLERS {
            let channel: Channel = Endpoint::from_shared(url.clone()).expect("an address").tcp_nodelay(true).connect().await.expect("a connection");
            let mut client = ScoringClient::new(channel);
            callers.push(tokio::spawn(async move {
                let (mut random, mut times) = (Rng::with_seed(caller as u64), Vec::new());
                let mut due = begun + pause.mul_f64(caller as f64 / CALLERS as f64);
                while begun.elapsed().as_secs_f64() < seconds {
                    sleep_until(due).await;
                    let asked = if pause.is_zero() { Instant::now() } else { due };
                    let request = Rows::of("best").column("account", [random.i64(0..USERS as i64)]).as_of(START + SPAN - 1).into_message();
                    client.score(request).await.expect("scores");
                    times.push(asked.elapsed().as_secs_f64() * 1e6);
                    due += pause;
                }
                times
            }));
        }
        let mut times = Vec::new();
        for caller in callers {
            times.extend(caller.await.expect("a caller"));
        }
        times.sort_by(f64::total_cmp);
        times
    })
}

fn percent(times: &[f64], share: f64) -> f64 {
    times[((times.len() - 1) as f64 * share) as usize]
}
