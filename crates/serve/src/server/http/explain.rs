//! What the features of one entity came from, for who looks at them.

use std::sync::Arc;

use lockstep_client::proto::Metadata;
use schemars::JsonSchema;
use serde::Serialize;
use tonic::Code;

use super::super::deadline::Deadline;
use super::super::failure::Failure;
use super::super::reply;
use super::super::service::{Asked, Origin, Service};
use super::answer::FeaturesResponse;
use super::request::FeaturesRequest;
use crate::LookupRequest;
use crate::explained::{Explained, explained};

/// Features, and what each came from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explanation {
    /// As they are answered.
    answer: FeaturesResponse,
    /// What was read for them, window by window.
    explained: Explained,
}

/// Looks up one row, and says what came of what. It counts as no request for features.
pub async fn explain(service: &Arc<Service>, deadline: Deadline, request: FeaturesRequest) -> Result<Explanation, Failure> {
    let moments = request.moments()?;
    let work = move |service: &Service, origin: Origin| {
        let asked = request.ask(service, origin, &moments)?;
        let explained = read(&asked)?;
        let (answered, _) = service.answer(&asked)?;
        let answer = FeaturesResponse::from(reply::response(&asked, answered, Metadata::Full, String::new())?);
        Ok(Explanation { answer, explained })
    };
    service.run(service.how_to_say(&deadline)?, work).await
}

/// The same lookup once more, from the same state, which tells what it touches.
fn read(asked: &Asked) -> Result<Explained, Failure> {
    let Asked { state, origin, wanted, rows, moments, time, .. } = asked;
    let of_the_past =
        || Failure::new(Code::Unavailable, "the store does not answer, and what is known of earlier reads does not say what it came from");
    let reach = origin.reach().ok_or_else(of_the_past)?;
    let [part] = wanted.parts() else {
        return Err(Failure::new(Code::InvalidArgument, "features of several views cannot be explained together · name one service or view"));
    };
    let rows = part.rows(rows)?;
    let request = LookupRequest { name: &part.name, rows: &rows, moments, time: *time, explain: true };
    let lookup = state.served.lookup(state.cut(reach), &request)?;
    explained(&lookup, 0).ok_or_else(|| Failure::new(Code::Internal, "a lookup that was to say what it reads did not"))
}
