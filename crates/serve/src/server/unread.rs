//! Messages over gRPC that cannot be read: tonic says INTERNAL of them, as of what a server does wrong, and they are their caller's to mend.

use axum::response::Response;
use tonic::{Code, Status};

use super::failure::Failure;

/// How tonic begins what it says of a message that has other bytes than its type, has fewer than it says, or did not come. A message with the flags of a compression that was not agreed on
/// stays INTERNAL, as gRPC wants it.
const UNREAD: [&str; 3] = ["failed to decode Protobuf message", "Unexpected EOF decoding stream", "Missing request message"];

/// Says INVALID_ARGUMENT of a message that could not be read. It is seen at the head of an answer, where tonic leaves the status, so that answers to other requests pay for one look.
pub fn told(response: Response) -> Response {
    let status = response.extensions().get::<Status>();
    match status.filter(|status| status.code() == Code::Internal && UNREAD.iter().any(|said| status.message().starts_with(said))) {
        Some(status) => Status::from(failure(status.message())).into_http(),
        None => response,
    }
}

/// What is said of it.
pub fn failure(why: &str) -> Failure {
    let why = why.trim_end_matches('.');
    Failure::new(Code::InvalidArgument, format!("the request is no message of this call: {why} · make it from the .proto files of this release"))
}
