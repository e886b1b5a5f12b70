//! A bare tonic server: what any server would have to do.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use fastrand::Rng;
use futures::future::{Ready, ready};
use lockstep_client::proto::{GetFeaturesRequest, GetFeaturesResponse};
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::support::lookup_options;

/// Values that a row takes: one for each window, of 256 bytes, as beside lookups in process.
const VALUES: usize = 3;
const ENTITIES: u64 = 100_000;

/// Serves a reply until it is ended; prints where.
pub fn run(arguments: &[String]) {
    let [reply, rows, dir] = arguments else { panic!("{arguments:?}") };
    let (reply, rows) = (std::fs::read(reply).expect("a reply"), rows.parse::<usize>().expect("a number"));
    let reads = (rows > 1).then(|| Reads::new(Path::new(dir), rows, &reply));
    let bare = Bare { reply: reply.into(), reads: reads.map(Arc::new) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tonic::transport::Server::builder().add_service(bare).serve_with_incoming(incoming).await.expect("it serves");
    });
}

/// The values of entities in RocksDB, with the store's own settings, and a reply to encode.
struct Reads {
    db: rocksdb::DB,
    rows: usize,
    reply: GetFeaturesResponse,
}

impl Reads {
    fn new(dir: &Path, rows: usize, reply: &[u8]) -> Reads {
        let options = lookup_options();
        let path = dir.with_extension(std::process::id().to_string());
        let family = rocksdb::ColumnFamilyDescriptor::new("default", options.clone());
        let db = rocksdb::DB::open_cf_descriptors(&options, path, [family]).expect("a database");
        let mut random = Rng::with_seed(3);
        for entity in 0..ENTITIES {
            for value in 0..VALUES {
                db.put(key(entity, value), (0..256).map(|_| random.u8(..)).collect::<Vec<_>>()).expect("put");
            }
        }
        db.flush().expect("flushed");
        db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Reads { db, rows, reply: GetFeaturesResponse::decode(reply).expect("a reply") }
    }

    fn answer(&self) -> Bytes {
        let entities = (0..self.rows).map(|_| fastrand::u64(0..ENTITIES));
        let mut keys: Vec<_> = entities.flat_map(|entity| (0..VALUES).map(move |value| key(entity, value))).collect();
        keys.sort_unstable();
        let family = self.db.cf_handle("default").expect("the default family");
        for value in self.db.batched_multi_get_cf(&family, &keys, true) {
            std::hint::black_box(value.expect("read").expect("there").len());
        }
        self.reply.encode_to_vec().into()
    }
}

fn key(entity: u64, value: usize) -> [u8; 9] {
    let mut key = [value as u8; 9];
    key[..8].copy_from_slice(&entity.to_be_bytes());
    key
}

#[derive(Clone)]
struct Bare {
    reply: Bytes,
    reads: Option<Arc<Reads>>,
}

impl NamedService for Bare {
    const NAME: &'static str = "lockstep.v1.Features";
}

impl UnaryService<GetFeaturesRequest> for Bare {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<GetFeaturesRequest>) -> Self::Future {
        std::hint::black_box(request);
        ready(Ok(Response::new(self.reads.as_ref().map_or_else(|| self.reply.clone(), |reads| reads.answer()))))
    }
}

impl tower::Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move { Ok(Grpc::new(ReadyBytes).unary(bare, request).await) })
    }
}

/// Reads requests, and sends bytes that are ready.
struct ReadyBytes;

impl Codec for ReadyBytes {
    type Encode = Bytes;
    type Decode = GetFeaturesRequest;
    type Encoder = ReadyBytes;
    type Decoder = ReadyBytes;

    fn encoder(&mut self) -> ReadyBytes {
        ReadyBytes
    }

    fn decoder(&mut self) -> ReadyBytes {
        ReadyBytes
    }
}

impl Encoder for ReadyBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for ReadyBytes {
    type Item = GetFeaturesRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<GetFeaturesRequest>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        GetFeaturesRequest::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
