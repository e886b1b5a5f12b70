//! The server over gRPC, at one address with everything else that a server does: accounts are drawn by Zipf's law among a million, and ten thousand events a second are
//! pushed meanwhile. Beside it a bare tonic server: with a reply of the same size that is ready; for batches, with one MultiGet of as many values, and a reply that is encoded.
//!
//! Server, floor and callers are processes of their own, so that each has its own processor time; they share the cores of the machine, and the share of the callers is printed.

#[path = "../support/mod.rs"]
mod support;

mod beside;
mod candidates;
mod floor;
mod load;
mod peer;
mod restarted;
mod score;
mod start;
mod switch;
mod watched;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use load::{Load, Loaded};
use support::{Payments, SPAN, heading, long, row, source, view, wall_seconds};

/// Accounts, and payments of them.
const ACCOUNTS: u64 = 1_000_000;
const PAYMENTS: usize = 4_000_000;
/// Events a second that are pushed.
const EVENTS_PER_SECOND: u32 = 10_000;

/// Settings of a project, and what it keeps.
const SETTINGS: &str = "[memory]\nbackfill = '4 GiB'\ncache = '2 GiB'\n";
const HISTORY: &str = "history = '90 days'";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("load") => load::run(&arguments[2..]),
        Some("soak") => load::soak(&arguments[2..]),
        Some("push") => load::push(&arguments[2..]),
        Some("floor") => floor::run(&arguments[2..]),
        Some("peer") => peer::run(),
        Some("views") => start::by_views(),
        Some("score") => score::compare(),
        Some("restarted") => restarted::compare(true),
        Some("again") => again(),
        Some("candidates") => candidates::compare(),
        Some("watched") => watched::compare(),
        Some("beside") => beside::compare(),
        _ => compare(),
    }
}

fn compare() {
    let dir = tempfile::tempdir().expect("a directory");
    let project = Project::new(dir.path());
    let server = project.serve();
    let pushing = Running::start(&["push", &server.address, &EVENTS_PER_SECOND.to_string(), &ACCOUNTS.to_string()]);
    let applying = server.share_of_a_processor();
    println!(
        "applying {EVENTS_PER_SECOND} events a second to three views takes the server {:.0} % of a processor, which is not in its time for requests",
        applying * 100.0
    );
    let seconds = if long() { 60 } else { 4 };
    let cases = [("v20", 1, "1 account, 20 features"), ("v20", 10, "10 accounts, 20 features"), ("v20", 100, "100 accounts, 20 features")];
    let others = [("v250", 1, "1 account, 250 features"), ("v50", 100, "100 accounts, 50 features")];
    let mut measured = Vec::new();
    for (name, rows, title) in cases.into_iter().chain(others) {
        let reply = dir.path().join(format!("{name}-{rows}.reply"));
        let load = Load { name, rows, metadata: "full", seconds, per_second: 0, accounts: ACCOUNTS };
        let ours = load.on(&server, Some(&reply), applying);
        let floor = Running::start(&["floor", &reply.display().to_string(), &rows.to_string(), &dir.path().join("floor").display().to_string()]);
        let bare = load.on(&floor, None, 0.0);
        let half = Load { per_second: (ours.per_second / 2.0) as u32, ..load };
        let calm = half.on(&server, None, applying);
        let bare_calm = half.on(&floor, None, 0.0);
        measured.push((title, ours, bare, calm, bare_calm));
    }
    heading("a request at the highest rate, callers on the same cores", "µs/request");
    for (title, ours, bare, ..) in &measured {
        row(title, 1e6 / ours.per_second, 1e6 / bare.per_second, "2 at most");
    }
    heading("processor time of the server", "µs/request");
    for (title, ours, bare, ..) in &measured {
        row(title, ours.server_micros, bare.server_micros, "2 at most");
    }
    heading("p99 at half of the rate that is possible, the floor at the same rate", "µs");
    for (title, _, _, calm, bare) in &measured {
        row(title, calm.p99, bare.p99, "2 at most");
    }
    println!("\nwhat callers saw and took");
    for (title, ours, _, calm, _) in &measured {
        println!(
            "  {title:<58} {:.0} bytes a reply · full load p50 {:.0} µs p99 {:.0} µs, callers took {:.0} % of the processor time · at {:.0}/s p50 {:.0} µs p99 {:.0} µs",
            ours.bytes,
            ours.p50,
            ours.p99,
            ours.callers_share * 100.0,
            calm.per_second,
            calm.p50,
            calm.p99
        );
    }
    switch::seen(&project, &server);
    score::compare();
    drop((pushing, server));
    restarted::compare(false);
    candidates::compare();
    watched::compare();
    beside::compare();
    if long() {
        again();
        start::by_views();
    }
    println!("\nmarks that others set on machines of theirs: 1 × 250 p99 1.3 ms (Feast, Java), 100 × 50 p99 22 ms (Feast, Go)");
}

/// A long run, and a server that is killed after it and begun again with a store of more than a gigabyte.
fn again() {
    let dir = tempfile::tempdir().expect("a directory");
    // Ten minutes of pushes are half a year of payments, all of which are kept, so that answers of the past stay; and a cache that is full soon, so that what grows shows.
    let project = Project::of(dir.path(), PAYMENTS * 3 / 2, ACCOUNTS, "[memory]\nbackfill = '4 GiB'\ncache = '512 MiB'\n", "history = 'all'");
    let server = project.serve();
    let pushing = Running::start(&["push", &server.address, &EVENTS_PER_SECOND.to_string(), &ACCOUNTS.to_string()]);
    let load = Load { name: "v20", rows: 1, metadata: "full", seconds: 10, per_second: 0, accounts: ACCOUNTS };
    let full = load.on(&server, None, 0.0);
    let calm = Load { per_second: (full.per_second / 2.0) as u32, ..load }.on(&server, None, 0.0);
    soak(&server, full.per_second * 0.8);
    drop(pushing);
    drop(start::again(&project, server, calm.p99));
}

/// A long run at four fifths of the rate that is possible: memory, errors, and answers at moments of the past, which are to be the same at its end.
fn soak(server: &Running, per_second: f64) {
    const MINUTES: usize = 10;
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let numbers = [1, MINUTES * 60, per_second as usize, ACCOUNTS as usize].map(|number| number.to_string());
    command.args(["soak", &server.address, "v20", "full"]).args(&numbers).arg("");
    let callers = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("callers");
    let mut memory = vec![server.memory() >> 10];
    for _ in 0..MINUTES {
        std::thread::sleep(Duration::from_secs(60));
        memory.push(server.memory() >> 10);
    }
    let ran = callers.wait_with_output().expect("callers");
    let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    println!("\n{MINUTES} minutes at {per_second:.0} requests a second, {EVENTS_PER_SECOND} events a second applied beside them: {said}");
    println!("  memory minute by minute, MiB: {}", memory.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
    assert!(ran.status.success(), "an answer was another one at the end, or an error");
}

/// A project of payments that was backfilled.
struct Project(PathBuf);

impl Project {
    fn new(dir: &Path) -> Project {
        Project::of(dir, PAYMENTS, ACCOUNTS, SETTINGS, HISTORY)
    }

    fn of(dir: &Path, count: usize, accounts: u64, settings: &str, kept: &str) -> Project {
        Project::with(dir, (count, accounts), &[("v20".to_owned(), 20), ("v50".to_owned(), 50), ("v250".to_owned(), 250)], settings, kept)
    }

    /// With views of so many features.
    fn with(dir: &Path, (count, accounts): (usize, u64), views: &[(String, usize)], settings: &str, kept: &str) -> Project {
        let payments = Payments { count, accounts, hot: false, span: SPAN };
        let history = dir.join("payments.parquet");
        payments.write_parquet(&history);
        let windows = ["1 hour", "1 day", "30 days"];
        let views: Vec<String> = views.iter().map(|(name, features)| view(name, *features, &windows)).collect();
        let project = Project(dir.join("project"));
        fs::create_dir_all(project.0.join("feature_defs")).expect("a directory");
        fs::write(project.0.join("lockstep.toml"), settings).expect("settings");
        fs::write(project.0.join("feature_defs/all.sql"), source(&history).replace(HISTORY, kept) + &views.join("\n")).expect("definitions");
        for verb in ["apply", "backfill"] {
            project.run(&[verb]);
        }
        project
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.current_dir(&self.0).args(arguments);
        command
    }

    /// Runs a verb that is to come to something; what it says as JSON, where it says that.
    fn run(&self, arguments: &[&str]) -> serde_json::Value {
        let ran = self.command(arguments).output().expect("a verb");
        assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice(&ran.stdout).unwrap_or_default()
    }

    fn serve(&self) -> Running {
        self.serve_at("127.0.0.1:0")
    }

    fn serve_at(&self, listen: &str) -> Running {
        let mut command = self.command(&["serve", "--listen", listen]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a server");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error"));
        let (mut line, mut address) = (String::new(), String::new());
        while !line.starts_with("ready") {
            line.clear();
            assert!(lines.read_line(&mut line).expect("a line") > 0, "the server ended");
            if let Some(at) = line.strip_prefix("listening on ") {
                address = at.split(": ").next().unwrap_or_default().to_owned();
            }
        }
        std::thread::spawn(move || {
            lines.lines().map_while(Result::ok).filter(|line| !line.starts_with("following")).for_each(|line| eprintln!("{line}"))
        });
        Running { child, address }
    }
}

/// A process that is ended when this is dropped.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// Starts this program in another role, and reads its address where it says one.
    fn start(arguments: &[&str]) -> Running {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("standard output")).read_line(&mut line).expect("a line");
        Running { child, address: line.trim().to_owned() }
    }

    /// How much of a processor it takes by itself.
    fn share_of_a_processor(&self) -> f64 {
        let (begun, before) = (wall_seconds(), self.seconds());
        std::thread::sleep(std::time::Duration::from_secs(4));
        (self.seconds() - before) / (wall_seconds() - begun)
    }

    /// Memory that it has, in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
    }

    /// Processor time that it has taken, in seconds.
    fn seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("Linux");
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 1..].split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Load<'_> {
    /// Runs callers against a server, which is taken so much of a processor by something else; keeps a reply.
    fn on(&self, server: &Running, reply: Option<&Path>, otherwise: f64) -> Loaded {
        let (begun, before) = (wall_seconds(), server.seconds());
        let reply = reply.map(|reply| reply.display().to_string()).unwrap_or_default();
        let arguments = [self.rows, self.seconds as usize, self.per_second as usize, self.accounts as usize].map(|number| number.to_string());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["load", &server.address, self.name, self.metadata]).args(&arguments).arg(reply);
        let ran = command.stderr(Stdio::inherit()).output().expect("callers");
        assert!(ran.status.success(), "callers failed");
        let took = server.seconds() - before - otherwise * (wall_seconds() - begun);
        Loaded::read(&String::from_utf8_lossy(&ran.stdout), took)
    }
}
