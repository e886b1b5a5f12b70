//! Requests that nobody sane would send: typed errors, no panic, no leak.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use lockstep_client::proto::GetFeaturesRequest;
use lockstep_client::{Request, Rows};
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use crate::project::Project;
use crate::support::{AT_MICROS, Caller, Server};

/// Requests of each kind, times `LOCKSTEP_TEST_EFFORT`.
const REQUESTS: usize = 3000;

fn effort() -> usize {
    std::env::var("LOCKSTEP_TEST_EFFORT").ok().and_then(|effort| effort.parse().ok()).unwrap_or(1).max(1)
}

/// Another one each time, unless `LOCKSTEP_TEST_SEED` says which.
fn seed() -> u64 {
    std::env::var("LOCKSTEP_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

/// A message that is sent as it is.
#[derive(Debug, Clone, Default)]
struct Raw(Bytes);

struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Raw;
    type Decode = Raw;
    type Encoder = RawCodec;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> RawCodec {
        RawCodec
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Raw;
    type Error = tonic::Status;

    fn encode(&mut self, item: Raw, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put(buffer, item.0);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = Raw;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Raw>, tonic::Status> {
        let all = bytes::Buf::remaining(buffer);
        Ok(Some(Raw(bytes::Buf::copy_to_bytes(buffer, all))))
    }
}

/// A good request, with some bytes of it changed, cut off, doubled or put in.
fn mutated(good: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(0..=bytes.len());
        match random.u8(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 => bytes.extend_from_within(at..),
            _ if at < bytes.len() => bytes[at] = random.u8(..),
            _ => {}
        }
        bytes.truncate(4096);
    }
    bytes
}

fn good() -> GetFeaturesRequest {
    let rows = 3;
    let request = Request::new("fraud_v1").column("card", vec![Some("c1"), None, Some("nobody")]).column("amount", vec![1.5; rows]);
    request.column("country", vec!["FR"; rows]).as_of(AT_MICROS).id("seven").only(["payments_1h", "amount_against_usual"]).into_message()
}

/// How a call of either kind ended: both kinds of answer are a stream of messages.
async fn answered(channel: &Channel, path: PathAndQuery, message: Raw) -> Result<(), tonic::Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut replies = grpc.server_streaming(tonic::Request::new(message), path, RawCodec).await?.into_inner();
    while replies.message().await?.is_some() {}
    Ok(())
}

/// Sends a good message with bytes of it changed to one call after the other, and holds what is said to the codes of what is wrong with a request.
fn garbage(server: &Server, good: &[u8], calls: &[&str], seed: u64) {
    println!("seed {seed}");
    let caller = Caller::new(server);
    let mut random = Rng::with_seed(seed);
    let channel = caller.runtime.block_on(lockstep_client::Security::default().connect(&server.url())).unwrap();
    let mut codes = std::collections::BTreeMap::new();
    for number in 0..REQUESTS * effort() {
        let message = Raw(mutated(good, &mut random).into());
        let path = PathAndQuery::try_from(format!("/lockstep.v1.{}", calls[number % calls.len()])).unwrap();
        let ended = caller.runtime.block_on(answered(&channel, path, message));
        let code = ended.as_ref().map_or_else(tonic::Status::code, |()| tonic::Code::Ok);
        *codes.entry(format!("{code:?}")).or_insert(0) += 1;
        let expected = [tonic::Code::Ok, tonic::Code::InvalidArgument, tonic::Code::NotFound, tonic::Code::OutOfRange];
        // Bytes that happen to ask for an epoch ask for one that is still to come.
        let of_the_future = ended.as_ref().is_err_and(|status| code == tonic::Code::Unavailable && status.message().contains("epoch"));
        assert!(expected.contains(&code) || of_the_future, "{ended:?} · seed {seed}, request {number}");
    }
    println!("{codes:?}");
}

#[test]
fn garbage_over_grpc() {
    let project = Project::new();
    let server = Server::start(&project);
    let calls = ["GetFeatures", "StreamFeatures", "DescribeView", "DescribeService", "GetStatus"].map(|call| format!("Features/{call}"));
    garbage(&server, &good().encode_to_vec(), &calls.each_ref().map(String::as_str), seed());
    still_sound(&project, &server);
}

#[test]
fn garbage_to_be_scored() {
    let project = crate::scoring::project();
    let server = Server::start(&project);
    let rows = Rows::of("careful").column("card", vec![Some("c1"), None]).column("amount", vec![1.5, f64::NAN]).column("country", vec!["FR"; 2]);
    let good = rows.as_of(AT_MICROS).id("seven").with_features().into_message().encode_to_vec();
    garbage(&server, &good, &["Scoring/Score", "Scoring/DescribeDeployment"], seed());
    still_sound(&project, &server);
}

#[test]
fn a_message_that_is_none_is_its_callers_to_mend() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let channel = caller.runtime.block_on(lockstep_client::Security::default().connect(&server.url())).unwrap();
    let calls = ["Features/GetFeatures", "Features/StreamFeatures", "Features/PushEvents", "Scoring/Score", "Scoring/ReportOutcome"];
    // A field of a length that is not there; one of a type that no message has; text that is none.
    for bytes in [&[0x0a, 0x7f, 0x61][..], &[0x0f], &[0x0a, 0x01, 0xff]] {
        for call in calls {
            let path = PathAndQuery::try_from(format!("/lockstep.v1.{call}")).unwrap();
            let status = caller.runtime.block_on(answered(&channel, path, Raw(Bytes::copy_from_slice(bytes)))).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{call} {bytes:?}: {status}");
            let said = status.message();
            assert!(said.starts_with("the request is no message of this call: failed to decode Protobuf message"), "{call}: {said}");
            assert!(said.ends_with(" · make it from the .proto files of this release"), "{call}: {said}");
        }
    }
    still_sound(&project, &server);
}

#[test]
fn garbage_over_http() {
    let (project, seed) = (Project::new(), seed());
    println!("seed {seed}");
    let server = Server::start(&project);
    let mut random = Rng::with_seed(seed);
    let good =
        r#"{"name": "fraud_v1", "rows": [{"card": "c1", "amount": 1.5, "country": null}], "as_of": ["2024-03-08T12:00:00Z"], "metadata": "full"}"#;
    let agent = crate::support::agent();
    for number in 0..REQUESTS * effort() {
        let body = mutated(good.as_bytes(), &mut random);
        let answered = agent.post(format!("{}/v1/features", server.url())).header("content-type", "application/json").send(&body[..]);
        let (status, text) = crate::support::read(answered);
        assert!([200, 400, 404].contains(&status), "{status} {text} · seed {seed}, request {number}");
        let _: serde_json::Value = serde_json::from_str(&text).unwrap();
    }
    still_sound(&project, &server);
}

#[test]
fn garbage_over_the_connection() {
    let (project, seed) = (Project::new(), seed());
    println!("seed {seed}");
    let server = Server::start(&project);
    let mut random = Rng::with_seed(seed);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for _ in 0..300 * effort() {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut bytes =
            if random.bool() { preface.to_vec() } else { b"POST /v1/features HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n{".to_vec() };
        bytes = mutated(&bytes, &mut random);
        bytes.extend((0..random.usize(0..200)).map(|_| random.u8(..)));
        // The server may hang up before all of it is there.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = [0; 512];
        let _ = stream.read(&mut answer);
    }
    still_sound(&project, &server);
}

#[test]
fn connections_that_say_nothing_hold_nobody_up() {
    let project = Project::new();
    let server = Server::start(&project);
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    still_sound(&project, &server);
    drop(silent);
}

/// It answers as ever, and has not grown.
fn still_sound(project: &Project, server: &Server) {
    let caller = Caller::new(server);
    let answer = caller.ask(Request::new("card_activity").column("card", ["c1"]).as_of(AT_MICROS)).unwrap();
    let alone = project.run(&["get", "card_activity", "card=c1", "--as-of", crate::support::AT, "--json"]).fine();
    let alone: serde_json::Value = serde_json::from_str(&alone).unwrap();
    let payments = answer.feature("payments_7d").unwrap().values::<i64>().unwrap()[0].unwrap();
    assert_eq!(alone["features"][2]["value"], payments.to_string().as_str());
    let peak = server.peak_memory() >> 10;
    assert!(peak < 1024, "{peak} MiB");
}
