//! Callers.

use std::time::Duration;

use fastrand::Rng;
use lockstep_client::proto::features_client::FeaturesClient;
use lockstep_client::proto::{GetFeaturesRequest, Metadata, PushEventsRequest, RequestColumn};
use lockstep_client::{Column, Request};
use prost::Message;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::transport::{Channel, Endpoint};

use crate::PAYMENTS;
use crate::support::{Payments, SPAN, START, process_seconds};

/// Connections, and callers of each: enough to keep two cores busy.
const CONNECTIONS: usize = 4;
const CALLERS: usize = 4;
/// Requests that are made before, so that drawing accounts is not measured.
const REQUESTS: usize = 4096;

/// What callers do.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub name: &'a str,
    pub rows: usize,
    pub metadata: &'a str,
    pub seconds: u32,
    /// Requests a second, evenly; 0 for as many as are answered.
    pub per_second: u32,
    /// Accounts that are asked for.
    pub accounts: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Loaded {
    pub per_second: f64,
    /// µs.
    pub p50: f64,
    pub p99: f64,
    /// Of a reply.
    pub bytes: f64,
    pub server_micros: f64,
    pub callers_share: f64,
}

impl Loaded {
    /// Reads what the callers printed; the server took `server` seconds of processor time meanwhile.
    pub fn read(text: &str, server: f64) -> Loaded {
        let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        let [requests, per_second, p50, p99, bytes, callers] = numbers[..] else { panic!("{text}") };
        Loaded { per_second, p50, p99, bytes, server_micros: server * 1e6 / requests, callers_share: callers / (callers + server) }
    }
}

/// Draws accounts by Zipf's law with exponent 1: by the inverse of its continuous form.
pub fn account(random: &mut Rng, accounts: u64) -> i64 {
    let rank = (accounts as f64).powf(random.f64()) as u64;
    // Ranks are spread over the accounts that there are.
    (rank.wrapping_mul(0x9e37_79b9_7f4a_7c15) % accounts) as i64
}

fn requests(name: &str, rows: usize, metadata: Metadata, accounts: u64) -> Vec<GetFeaturesRequest> {
    let mut random = Rng::with_seed(7);
    let request = |_| {
        let accounts: Vec<i64> = (0..rows).map(|_| account(&mut random, accounts)).collect();
        // A moment in the last third of the history, so that windows have something in them.
        let at = START + SPAN * 2 / 3 + random.i64(0..SPAN / 3);
        Request::new(name).column("account", accounts).as_of(at).metadata(metadata).into_message()
    };
    (0..REQUESTS).map(request).collect()
}

/// Calls until the time is over, and prints what came of it.
pub fn run(arguments: &[String]) {
    let [address, name, metadata, rows, seconds, per_second, accounts, reply] = arguments else { panic!("{arguments:?}") };
    let number = |text: &String| text.parse::<u32>().expect("a number");
    let metadata = if metadata == "none" { Metadata::None } else { Metadata::Full };
    let requests = requests(name, number(rows) as usize, metadata, u64::from(number(accounts)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (requests, url) = (std::sync::Arc::new(requests), format!("http://{address}"));
    let before = process_seconds();
    let (mut times, bytes, took) = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let channel = Endpoint::from_shared(url.clone()).expect("an address").tcp_nodelay(true).connect().await.expect("a connection");
            clients.push(FeaturesClient::new(channel).max_decoding_message_size(64 << 20));
        }
        let first = clients[0].get_features(requests[0].clone()).await.expect("an answer").into_inner();
        if !reply.is_empty() {
            std::fs::write(reply, first.encode_to_vec()).expect("written");
        }
        // Warm: caches, connections, the processor's own.
        calls(&clients, &requests, Duration::from_millis(500), 0).await;
        let begun = Instant::now();
        let times = calls(&clients, &requests, Duration::from_secs(u64::from(number(seconds))), number(per_second)).await;
        (times, first.encoded_len(), begun.elapsed())
    });
    times.sort_unstable();
    let percent = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    let callers = process_seconds() - before;
    println!("{} {} {} {} {bytes} {callers}", times.len(), times.len() as f64 / took.as_secs_f64(), percent(0.5), percent(0.99));
}

/// Calls at a rate for long; the answers to the first requests must be the same at its end. Prints how many there were.
pub fn soak(arguments: &[String]) {
    const SAMPLED: usize = 500;
    let [address, name, _, rows, seconds, per_second, accounts, _] = arguments else { panic!("{arguments:?}") };
    let number = |text: &String| text.parse::<u32>().expect("a number");
    let requests = std::sync::Arc::new(requests(name, number(rows) as usize, Metadata::Full, u64::from(number(accounts))));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address").tcp_nodelay(true);
        let client = FeaturesClient::new(endpoint.connect().await.expect("a connection")).max_decoding_message_size(64 << 20);
        let sample = |mut client: FeaturesClient<Channel>, requests: std::sync::Arc<Vec<GetFeaturesRequest>>| async move {
            let mut sampled = Vec::new();
            for request in requests.iter().take(SAMPLED) {
                let mut answer = client.get_features(request.clone()).await.expect("an answer").into_inner().features;
                // Lag is of now; the rest is of the moment that was asked for.
                answer.iter_mut().for_each(|feature| feature.stale.clear());
                sampled.push(answer);
            }
            sampled
        };
        let before = sample(client.clone(), requests.clone()).await;
        let clients = vec![client.clone(); CONNECTIONS];
        let times = calls(&clients, &requests, Duration::from_secs(u64::from(number(seconds))), number(per_second)).await;
        let after = sample(client, requests).await;
        let differ = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        println!("{} answered, none failed, {differ} of {SAMPLED} sampled answers differ", times.len());
        assert_eq!(differ, 0);
    });
}

/// Nanoseconds of each call. At a rate, a call counts from when it was due: one that could not be made in time is not forgotten.
async fn calls(clients: &[FeaturesClient<Channel>], requests: &std::sync::Arc<Vec<GetFeaturesRequest>>, time: Duration, per_second: u32) -> Vec<u64> {
    let (begun, callers) = (Instant::now(), clients.len() * CALLERS);
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (mut client, requests) = (clients[caller % clients.len()].clone(), std::sync::Arc::clone(requests));
            tokio::spawn(async move {
                let (mut times, mut number) = (Vec::new(), caller);
                while begun.elapsed() < time {
                    let due = if per_second > 0 { begun + Duration::from_secs_f64(number as f64 / f64::from(per_second)) } else { Instant::now() };
                    sleep_until(due).await;
                    let request = requests[number % requests.len()].clone();
                    client.get_features(request).await.expect("an answer");
                    times.push(due.elapsed().as_nanos() as u64);
                    number += callers;
                }
                times
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a caller"));
    }
    all
}

/// Pushes payments at a rate until it is ended. They go on from where the history ends.
pub fn push(arguments: &[String]) {
    const EVERY: Duration = Duration::from_millis(20);
    let [address, per_second, accounts] = arguments else { panic!("{arguments:?}") };
    let accounts: u64 = accounts.parse().expect("a number");
    let per_push = per_second.parse::<i64>().expect("a number") * EVERY.as_millis() as i64 / 1000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("{address}");
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let mut client = FeaturesClient::new(endpoint.connect().await.expect("a connection"));
        let (mut random, mut next) = (Rng::with_seed(11), PAYMENTS as i64);
        let mut due = Instant::now();
        loop {
            let numbers: Vec<i64> = (next..next + per_push).collect();
            let column = |name: &str, values| RequestColumn { name: name.to_owned(), values: Some(values) };
            let payments = Payments { count: PAYMENTS, accounts, hot: false, span: SPAN };
            let columns = vec![
                column("id", numbers.clone().into_values()),
                column("account", numbers.iter().map(|_| account(&mut random, accounts)).collect::<Vec<_>>().into_values()),
                column("amount", numbers.iter().map(|number| (number % 1000) as f64 / 8.0).collect::<Vec<_>>().into_values()),
                column("kind", vec!["card"; numbers.len()].into_values()),
                column("paid_at", numbers.iter().map(|number| payments.time(*number as usize)).collect::<Vec<_>>().into_values()),
            ];
            // Whoever measures ends this when it is done.
            if client.push_events(PushEventsRequest { source: "payments".to_owned(), columns, ..PushEventsRequest::default() }).await.is_err() {
                return;
            }
            next += per_push;
            due += EVERY;
            sleep(due.saturating_duration_since(Instant::now())).await;
        }
    });
}
