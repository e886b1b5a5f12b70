//! The same lookups over HTTP by this server and by another one (`benches/peers`), one after the other.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ureq::Agent;

use crate::support::{SPAN, START, wall_seconds};
use crate::{HISTORY, Project, Running, SETTINGS};

/// Accounts that both know.
const ACCOUNTS: u64 = 20_000;
const PAYMENTS: usize = 200_000;
/// Callers, each with a connection of its own.
const CALLERS: usize = 16;
const SECONDS: u64 = 8;

/// A service, accounts of a request, and what it is called.
const CASES: [(&str, usize, &str); 2] = [("v20", 1, "1 account, 20 features"), ("v50", 100, "100 accounts, 50 features")];

/// What came of calling.
struct Called {
    per_second: f64,
    per_core: f64,
    p50: Duration,
    p99: Duration,
}

/// Compares with the command in `LOCKSTEP_BENCH_PEER`: it is given a directory and the number of accounts, prints its address, its process and its versions, and
/// serves until its standard input ends.
pub fn run() {
    let Ok(peer) = std::env::var("LOCKSTEP_BENCH_PEER") else { panic!("LOCKSTEP_BENCH_PEER is not set: see benches/peers") };
    let dir = tempfile::tempdir().expect("a directory");
    let project = Project::of(dir.path(), PAYMENTS, ACCOUNTS, SETTINGS, HISTORY);
    let server = project.serve();
    let ours: Vec<Called> =
        CASES.iter().map(|(name, rows, _)| call(&ours_url(&server), server.child.id(), |random| our_body(name, *rows, random))).collect();
    drop(server);
    let command = format!("exec {peer} {} {ACCOUNTS}", dir.path().join("peer").display());
    let mut child = Command::new("sh").args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("standard output")).read_line(&mut line).expect("a line");
    let mut said = line.split_whitespace();
    let url = format!("{}/get-online-features", said.next().unwrap_or_else(|| panic!("`{command}` said nothing")));
    let pid = said.next().and_then(|pid| pid.parse().ok()).expect("the number of its process");
    let versions = said.collect::<Vec<_>>().join(", ");
    let its: Vec<Called> = CASES.iter().map(|(name, rows, _)| call(&url, pid, |random| its_body(name, *rows, random))).collect();
    drop(child.stdin.take());
    let _ = child.wait();
    println!("\nthe same lookups as JSON over HTTP, {CALLERS} callers on the same cores · {versions}");
    println!("  {:<58} {:>12} {:>12} {:>7}  aim", "", "lockstep", "peer", "ratio");
    for ((_, _, title), (ours, its)) in CASES.iter().zip(ours.iter().zip(&its)) {
        let row = |what: &str, ours: f64, its: f64, ratio: f64, aim: &str| {
            println!("  {:<58} {ours:>12.0} {its:>12.0} {ratio:>7.2}  {aim}", format!("{title}: {what}"));
        };
        row("requests a second and core", ours.per_core, its.per_core, ours.per_core / its.per_core, "20 at least");
        row("requests a second", ours.per_second, its.per_second, ours.per_second / its.per_second, "");
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        row("p50, µs", micros(ours.p50), micros(its.p50), micros(its.p50) / micros(ours.p50), "");
        row("p99, µs", micros(ours.p99), micros(its.p99), micros(its.p99) / micros(ours.p99), "");
    }
}

fn ours_url(server: &Running) -> String {
    format!("http://{}/v1/features", server.address)
}

fn accounts(rows: usize, random: &mut Rng) -> Vec<u64> {
    (0..rows).map(|_| random.u64(0..ACCOUNTS)).collect()
}

fn our_body(name: &str, rows: usize, random: &mut Rng) -> String {
    let rows: Vec<String> = accounts(rows, random).into_iter().map(|account| format!("{{\"account\": {account}}}")).collect();
    let as_of = lockstep_model::EventTime(START + SPAN - 1);
    format!("{{\"name\": \"{name}\", \"as_of\": \"{as_of}\", \"rows\": [{}]}}", rows.join(", "))
}

fn its_body(name: &str, rows: usize, random: &mut Rng) -> String {
    format!("{{\"feature_service\": \"{name}\", \"entities\": {{\"account\": {:?}}}}}", accounts(rows, random))
}

fn call(url: &str, pid: u32, body: impl Fn(&mut Rng) -> String) -> Called {
    let mut random = Rng::with_seed(5);
    let bodies: Vec<String> = (0..1024).map(|_| body(&mut random)).collect();
    calls(url, &bodies, Duration::from_secs(1));
    let (begun, before) = (wall_seconds(), tree_seconds(pid));
    let mut times = calls(url, &bodies, Duration::from_secs(SECONDS));
    let (took, processor) = (wall_seconds() - begun, tree_seconds(pid) - before);
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let count = times.len() as f64;
    Called { per_second: count / took, per_core: count / processor, p50: at(0.5), p99: at(0.99) }
}

#[allow(clippy::disallowed_methods, reason = "only printed")]
fn calls(url: &str, bodies: &[String], time: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let caller = |caller: usize| {
        let agent: Agent = Agent::config_builder().http_status_as_error(true).build().into();
        let mut times = Vec::new();
        for body in bodies.iter().cycle().skip(caller * 64) {
            if begun.elapsed() >= time {
                break;
            }
            let asked = Instant::now();
            let mut answered = agent.post(url).header("content-type", "application/json").send(body).expect("an answer");
            std::hint::black_box(answered.body_mut().read_to_vec().expect("an answer").len());
            times.push(asked.elapsed());
        }
        times
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|number| scope.spawn(move || caller(number))).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    })
}

/// Processor time of a process and of all below it, in seconds.
fn tree_seconds(pid: u32) -> f64 {
    let mut of_parents: Vec<(u32, u32, f64)> = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 1..].split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        of_parents.push((pid, fields[1].parse().expect("a number"), (ticks(11) + ticks(12)) / 100.0));
    }
    let mut tree = vec![pid];
    let mut at = 0;
    while at < tree.len() {
        let above = tree[at];
        tree.extend(of_parents.iter().filter(|(_, parent, _)| *parent == above).map(|(pid, ..)| *pid));
        at += 1;
    }
    of_parents.iter().filter(|(pid, ..)| tree.contains(pid)).map(|(.., seconds)| seconds).sum()
}
