//! What watching costs: the sample that is compared with training, beside the same server without one; and how long it takes to tell of five thousand features.

use std::time::{Duration, Instant};

use lockstep_client::{Client, Request};

use crate::load::Load;
use crate::support::{SPAN, START, heading, long, row};
use crate::{HISTORY, Project, Running, SETTINGS};

const ACCOUNTS: u64 = 10_000;
const PAYMENTS: usize = 100_000;
/// Views, and features of each.
const VIEWS: usize = 20;
const FEATURES: usize = 250;
/// How many rows a second are sampled.
const SAMPLED: [u32; 2] = [0, 200];

/// Prints both.
pub fn compare() {
    let dir = tempfile::tempdir().expect("a directory");
    let names: Vec<(String, usize)> = (0..VIEWS).map(|number| (format!("v{number}"), FEATURES)).chain([("few".to_owned(), 20)]).collect();
    let project = Project::with(dir.path(), (PAYMENTS, ACCOUNTS), &names, SETTINGS, HISTORY);
    let load = Load { name: "few", rows: 1, metadata: "full", seconds: if long() { 30 } else { 8 }, per_second: 0, accounts: ACCOUNTS };
    let taken = SAMPLED.map(|sampled| {
        let settings = format!("{SETTINGS}[watch]\nsampled_per_second = {sampled}\n");
        std::fs::write(project.0.join("lockstep.toml"), settings).expect("settings");
        load.on(&project.serve(), None, 0.0).server_micros
    });
    heading(&format!("a request for 20 features, {} rows a second of which are sampled, beside none", SAMPLED[1]), "µs/request");
    row("processor time of the server", taken[1], taken[0], "1.02 at most");
    let server = project.serve();
    ask_all(&server);
    // Sampled answers are compared every ten seconds.
    std::thread::sleep(Duration::from_secs(12));
    heading(&format!("what is told of {} features, beside 50 ms", VIEWS * FEATURES), "ms");
    for path in ["/metrics", "/v1/watch"] {
        let (millis, bytes) = get(&server, path);
        row(&format!("{path}, {} KiB, median of 20", bytes >> 10), millis, 50.0, "1 at most");
    }
}

/// Asks each view for some accounts, so that all of its features are sampled.
fn ask_all(server: &Running) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(format!("http://{}", server.address)).await.expect("a connection");
        for view in 0..VIEWS {
            let request = Request::new(format!("v{view}")).column("account", [1_i64, 2, 3]).as_of(START + SPAN - 1);
            client.get_features(request).await.expect("an answer");
            // The next of the pieces that are sampled.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}

/// How long an answer takes, in ms, and its bytes.
#[allow(clippy::disallowed_methods, reason = "only printed")]
fn get(server: &Running, path: &str) -> (f64, usize) {
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..20 {
        let asked = Instant::now();
        let text = ureq::get(format!("http://{}{path}", server.address)).call().expect("an answer").body_mut().read_to_string().expect("a text");
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        bytes = text.len();
    }
    times.sort_by(f64::total_cmp);
    (times[10], bytes)
}
