//! A server that is killed while it is asked for scores, and begun again: how soon it answers, and how the first minute is beside the one before.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use lockstep_client::Rows;
use lockstep_client::proto::scoring_client::ScoringClient;
use lockstep_client::proto::{ScoreRequest, Way};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::transport::{Channel, Endpoint};

use crate::load::account;
use crate::score::{ACCOUNTS, CALLERS, CONNECTIONS, Clients, percent, project};
use crate::support::{SPAN, START, heading, long, row};
use crate::{Project, Running};

/// How long a caller who finds nobody waits before it asks again.
const PAUSE: Duration = Duration::from_millis(2);

/// An answer: when it was there, since the callers began, and how long it took from when it was due, µs.
type Answer = (Duration, f64);

/// What callers do, and what came of it.
struct Callers {
    begun: Instant,
    end: Arc<AtomicBool>,
    unanswered: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<Answer>>>,
}

/// Prints how a restart is seen by callers at half of the rate that is possible: a minute before it and one after it, or some seconds.
pub fn compare(whole: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let project = project(dir.path());
    let address = address();
    let span = Duration::from_secs(if whole || long() { 60 } else { 6 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let server = project.serve_at(&address);
    let rate = runtime.block_on(half_of_what_is_possible(&server));
    let callers = runtime.block_on(async { Callers::start(&address, rate) });
    std::thread::sleep(span);
    let (killed, server) = killed_and_begun(&project, server, &address, callers.begun);
    let ready = callers.begun.elapsed();
    std::thread::sleep(span);
    let (answers, unanswered) = runtime.block_on(callers.finish());
    drop(server);
    report(&answers, unanswered, (killed, ready), span);
}

/// Kills the server, and starts it again at the same address; when it was killed.
fn killed_and_begun(project: &Project, server: Running, address: &str, begun: Instant) -> (Duration, Running) {
    let killed = begun.elapsed();
    drop(server);
    (killed, project.serve_at(address))
}

fn report(answers: &[Answer], unanswered: u64, (killed, ready): (Duration, Duration), span: Duration) {
    let within = |from: Duration, to: Duration| {
        let mut times: Vec<f64> = answers.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    // The first second has connections that are new.
    let steady = within(Duration::from_secs(1), killed);
    let first = answers.iter().map(|(at, _)| *at).filter(|at| *at > killed).min().expect("an answer after it was begun again");
    let after = within(first, first + span);
    let seconds = span.as_secs();
    heading(
        &format!(
            "scores of 1 account over gRPC, {:.0} a second; floor: the same before the server was killed",
            steady.len() as f64 / (killed.as_secs_f64() - 1.0)
        ),
        "µs",
    );
    row(&format!("p99 in the first {seconds} seconds after it is begun again"), percent(&after, 0.99), percent(&steady, 0.99), "2 at most");
    row(&format!("p50 in the first {seconds} seconds"), percent(&after, 0.5), percent(&steady, 0.5), "");
    let second = within(first, first + Duration::from_secs(1));
    row("p99 in the first second", percent(&second, 0.99), percent(&steady, 0.99), "");
    println!(
        "  ready {:.2} s after it was killed, first answer {:.0} ms after that; {unanswered} calls found nobody, and of {} answers none was by anything but the model",
        (ready - killed).as_secs_f64(),
        (first.as_secs_f64() - ready.as_secs_f64()) * 1e3,
        answers.len()
    );
}

/// A port that nobody has, and that no caller is given for itself while it tries to connect.
fn address() -> String {
    let address = (20_000..30_000).map(|port| format!("127.0.0.1:{port}")).find(|address| TcpListener::bind(address).is_ok());
    address.expect("a port that is free")
}

async fn half_of_what_is_possible(server: &Running) -> f64 {
    let within = Duration::from_secs(3);
    let clients = Clients::connect(server).await;
    clients.calls(true, Duration::from_millis(500), 0.0).await;
    clients.calls(true, within, 0.0).await.len() as f64 / within.as_secs_f64() / 2.0
}

impl Callers {
    /// Starts callers that ask so often, whoever is there.
    fn start(address: &str, per_second: f64) -> Callers {
        let (begun, end, unanswered) = (Instant::now(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address").tcp_nodelay(true);
        // Of these, each connects again where its connection broke.
        let channels: Vec<Channel> = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        let pause = Duration::from_secs_f64((CONNECTIONS * CALLERS) as f64 / per_second);
        let tasks = (0..CONNECTIONS * CALLERS).map(|caller| {
            let (client, end, unanswered) = (ScoringClient::new(channels[caller % CONNECTIONS].clone()), Arc::clone(&end), Arc::clone(&unanswered));
            let due = begun + pause.mul_f64(caller as f64 / (CONNECTIONS * CALLERS) as f64);
            tokio::spawn(ask(client, caller as u64, (begun, due, pause), end, unanswered))
        });
        let tasks = tasks.collect();
        Callers { begun, end, unanswered, tasks }
    }

    async fn finish(self) -> (Vec<Answer>, u64) {
        self.end.store(true, Ordering::Relaxed);
        let mut answers = Vec::new();
        for task in self.tasks {
            answers.extend(task.await.expect("a caller"));
        }
        (answers, self.unanswered.load(Ordering::Relaxed))
    }
}

/// Asks until the end. A call that finds nobody is given up, and the next one is due after a pause: nobody is answered late for a server that was not there.
async fn ask(
    mut client: ScoringClient<Channel>,
    seed: u64,
    (begun, mut due, pause): (Instant, Instant, Duration),
    end: Arc<AtomicBool>,
    unanswered: Arc<AtomicU64>,
) -> Vec<Answer> {
    let (mut random, mut answers) = (Rng::with_seed(seed), Vec::new());
    while !end.load(Ordering::Relaxed) {
        sleep_until(due).await;
        let request: ScoreRequest = Rows::of("risky").column("account", [account(&mut random, ACCOUNTS)]).as_of(START + SPAN - 1).into_message();
        match client.score(request).await {
            Ok(response) => {
                assert!(response.get_ref().ways().eq([Way::Model]), "an answer by something else: {response:?}");
                answers.push((begun.elapsed(), due.elapsed().as_secs_f64() * 1e6));
                due += pause;
            }
            Err(_) => {
                unanswered.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
                due = Instant::now();
            }
        }
    }
    answers
}
