//! How soon a server is ready that was killed with a large store, how the first request fares then, and whether latency grows with the number of views.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use lockstep_client::{Client, Request};

use crate::load::{Load, account};
use crate::support::{SPAN, START, heading, row};
use crate::{ACCOUNTS, HISTORY, Project, Running, SETTINGS};

/// A server that was killed, and began again.
#[allow(clippy::disallowed_methods, reason = "only printed")]
pub fn again(project: &Project, server: Running, steady_p99: f64) -> Running {
    drop(server);
    let bytes = size(&project.0.join(".lockstep/store"));
    let begun = Instant::now();
    let server = project.serve();
    let ready = begun.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut random = Rng::with_seed(13);
    let mut first: Vec<f64> = runtime.block_on(async {
        let client = Client::connect(format!("http://{}", server.address)).await.expect("a connection");
        let mut times = Vec::new();
        for _ in 0..20 {
            let request = Request::new("v20").column("account", [account(&mut random, ACCOUNTS)]).as_of(START + SPAN - 1);
            let asked = Instant::now();
            client.get_features(request).await.expect("an answer");
            times.push(asked.elapsed().as_secs_f64() * 1e6);
        }
        times
    });
    heading(&format!("killed and begun again with a store of {} MiB", bytes >> 20), "");
    row("seconds until it is ready", ready, 2.0, "1 at most");
    row("first request, µs, beside the steady p99 at half load", first[0], steady_p99, "2 at most");
    first.sort_by(f64::total_cmp);
    println!("  the first twenty: median {:.0} µs, longest {:.0} µs", first[10], first[19]);
    server
}

fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |file| file.len()) }).sum()
}

/// The same lookup, with more and more views beside the one that is asked.
pub fn by_views() {
    const COUNTS: [usize; 3] = [10, 100, 1000];
    const FEW: u64 = 1000;
    let mut measured = Vec::new();
    for count in COUNTS {
        let dir = tempfile::tempdir().expect("a directory");
        let names: Vec<(String, usize)> = (0..count).map(|number| (format!("v{number}"), 20)).collect();
        let project = Project::with(dir.path(), (10_000, FEW), &names, SETTINGS, HISTORY);
        let server = project.serve();
        let load = Load { name: "v0", rows: 1, metadata: "full", seconds: 4, per_second: 2000, accounts: FEW };
        std::thread::sleep(Duration::from_secs(1));
        measured.push(load.on(&server, None, 0.0));
    }
    heading("1 account, 20 features, 2000 requests a second, by registered views, beside 10 views", "p50 µs");
    for (count, loaded) in COUNTS.iter().zip(&measured) {
        row(
            &format!("{count} views (p99 {:.0} µs, server {:.1} µs a request)", loaded.p99, loaded.server_micros),
            loaded.p50,
            measured[0].p50,
            "1.2 at most",
        );
    }
}
