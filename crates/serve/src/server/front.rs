//! The gRPC service, with the one call that most requests make before all others: its answers are bytes already.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use lockstep_client::proto::GetFeaturesRequest;
use lockstep_client::proto::features_server::{self, FeaturesServer};
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings, EncodeBuf, Encoder};
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::features::Grpc;
use super::unread;

/// The path of `GetFeatures`.
const GET_FEATURES: &str = "/lockstep.v1.Features/GetFeatures";

/// The service.
#[derive(Debug, Clone)]
pub struct Front {
    grpc: Grpc,
    all: FeaturesServer<Grpc>,
    request_bytes_max: usize,
    compression: EnabledCompressionEncodings,
}

impl Front {
    /// Of requests that have so many bytes at most.
    pub fn new(grpc: Grpc, request_bytes_max: usize) -> Front {
        let all = FeaturesServer::new(grpc.clone())
            .max_decoding_message_size(request_bytes_max)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let mut compression = EnabledCompressionEncodings::default();
        compression.enable(CompressionEncoding::Gzip);
        Front { grpc, all, request_bytes_max, compression }
    }
}

impl NamedService for Front {
    const NAME: &'static str = features_server::SERVICE_NAME;
}

impl tower::Service<http::Request<Body>> for Front {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // As the generated service is: always.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != GET_FEATURES {
            return self.all.call(request);
        }
        let mut server = tonic::server::Grpc::new(Encoded)
            .apply_compression_config(self.compression, self.compression)
            .apply_max_message_size_config(Some(self.request_bytes_max), Some(usize::MAX));
        let get = GetFeatures(self.grpc.clone());
        Box::pin(async move { Ok(server.unary(get, request).await) })
    }
}

struct GetFeatures(Grpc);

impl UnaryService<GetFeaturesRequest> for GetFeatures {
    type Response = Vec<u8>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, Status>> + Send>>;

    fn call(&mut self, request: Request<GetFeaturesRequest>) -> Self::Future {
        let grpc = self.0.clone();
        Box::pin(async move { grpc.get_encoded(request).await })
    }
}

/// Reads requests, and sends answers as they are.
#[derive(Debug, Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Vec<u8>;
    type Decode = GetFeaturesRequest;
    type Encoder = Encoded;
    type Decoder = Encoded;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Encoded {
        Encoded
    }
}

impl Encoder for Encoded {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.len());
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = GetFeaturesRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<GetFeaturesRequest>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        GetFeaturesRequest::decode(bytes).map(Some).map_err(|error| unread::failure(&error.to_string()).into())
    }
}
