//! The gRPC service.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use lockstep_client::proto::features_server::Features;
use lockstep_client::proto::{self, GetFeaturesRequest, GetFeaturesResponse, Metadata};
use lockstep_model::{Error, TimeMode};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, async_trait};

use super::failure::Failure;
use super::service::{Asked, Head, PART_ROWS, Service};
use super::{introduce, push, reply};
use crate::desk;
use crate::metrics::Protocol;
use crate::wire;

/// The service as tonic calls it.
#[derive(Debug, Clone)]
pub struct Grpc(pub Arc<Service>);

/// Parts of a streamed answer that wait to be read.
const PARTS_AHEAD: usize = 2;

#[async_trait]
impl Features for Grpc {
    type StreamFeaturesStream = Pin<Box<dyn Stream<Item = Result<GetFeaturesResponse, Status>> + Send>>;

    async fn get_features(&self, request: Request<GetFeaturesRequest>) -> Result<Response<GetFeaturesResponse>, Status> {
        let call = self.0.metrics.begin(Protocol::Grpc);
        let outcome = self.get(request.into_inner()).await;
        call.ended(outcome.as_ref().err().map_or(Code::Ok, |failure| failure.code));
        Ok(Response::new(outcome?))
    }

    async fn stream_features(&self, request: Request<GetFeaturesRequest>) -> Result<Response<Self::StreamFeaturesStream>, Status> {
        let call = self.0.metrics.begin(Protocol::Grpc);
        let outcome = self.stream(request.into_inner()).await;
        call.ended(outcome.as_ref().err().map_or(Code::Ok, |failure| failure.code));
        Ok(Response::new(outcome?))
    }

    async fn push_events(&self, request: Request<proto::PushEventsRequest>) -> Result<Response<proto::PushEventsResponse>, Status> {
        let call = self.0.metrics.begin(Protocol::Grpc);
        let outcome = self.push(request.into_inner()).await;
        call.ended(outcome.as_ref().err().map_or(Code::Ok, |failure| failure.code));
        Ok(Response::new(outcome?))
    }

    async fn list_views(&self, _: Request<proto::ListViewsRequest>) -> Result<Response<proto::ListViewsResponse>, Status> {
        Ok(Response::new(introduce::list(&self.0)?))
    }

    async fn describe_view(&self, request: Request<proto::DescribeViewRequest>) -> Result<Response<proto::ViewDescription>, Status> {
        Ok(Response::new(introduce::view(&self.0, &request.into_inner().name)?))
    }

    async fn describe_service(&self, request: Request<proto::DescribeServiceRequest>) -> Result<Response<proto::ServiceDescription>, Status> {
        Ok(Response::new(introduce::service(&self.0, &request.into_inner().name)?))
    }

    async fn get_status(&self, _: Request<proto::GetStatusRequest>) -> Result<Response<proto::ServerStatus>, Status> {
        Ok(Response::new(introduce::status(&self.0)?))
    }
}

impl Grpc {
    async fn get(&self, request: GetFeaturesRequest) -> Result<GetFeaturesResponse, Failure> {
        let (request, asked) = self.asked(request, false).await?;
        let metadata = request.metadata();
        let reply = move |asked: &Asked, answered| Ok(reply::response(asked, answered, metadata, request.request_id)?);
        self.0.run(asked, reply).await
    }

    async fn push(&self, request: proto::PushEventsRequest) -> Result<proto::PushEventsResponse, Failure> {
        let source = push::source(&self.0, &request.source)?;
        let names: Vec<&str> = request.columns.iter().map(|column| column.name.as_str()).collect();
        let read = |at: usize, data_type: &_| match &request.columns[at].values {
            Some(values) => wire::array(values, data_type),
            None => Err(Error::invalid("it has no values")),
        };
        let pushed = push::Pushed::new(source, &names, &request.tombstones, request.heartbeat_micros, read)?;
        let service = Arc::clone(&self.0);
        let rows = self.0.push(move || pushed.append(&service)).await?;
        Ok(proto::PushEventsResponse { first_row: rows.start, next_row: rows.end })
    }

    async fn asked(&self, request: GetFeaturesRequest, streamed: bool) -> Result<(GetFeaturesRequest, Asked), Failure> {
        if request.definitions.is_none() {
            let asked = ask(&self.0, &request, streamed)?;
            return Ok((request, asked));
        }
        let service = Arc::clone(&self.0);
        let found = move || {
            let asked = ask(&service, &request, streamed)?;
            Ok((request, asked))
        };
        self.0.apart(found).await
    }

    async fn stream(&self, request: GetFeaturesRequest) -> Result<<Self as Features>::StreamFeaturesStream, Failure> {
        let (request, asked) = self.asked(request, true).await?;
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        let service = Arc::clone(&self.0);
        spawn_blocking(move || {
            for first in (0..asked.moments.len()).step_by(PART_ROWS) {
                let part = part(&service, &asked, first, &request);
                let failed = part.is_err();
                // Nobody may be listening any more.
                if sender.blocking_send(part.map_err(Status::from)).is_err() || failed {
                    return;
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(parts)))
    }
}

/// Consecutive rows of an answer.
fn part(service: &Service, asked: &Asked, first: usize, request: &GetFeaturesRequest) -> Result<GetFeaturesResponse, Failure> {
    let count = PART_ROWS.min(asked.moments.len() - first);
    let (rows, moments) = (asked.rows.slice(first, count), &asked.moments[first..first + count]);
    let answered = desk::answer(&asked.state, service.live.lags(), &asked.wanted, &rows, moments, asked.time)?;
    service.metrics.answered(asked.wanted.name(), &answered);
    let mut response = reply::response(asked, answered, request.metadata(), request.request_id.clone())?;
    response.first_row = first as u32;
    Ok(response)
}

fn ask(service: &Service, request: &GetFeaturesRequest, streamed: bool) -> Result<Asked, Failure> {
    let time = match proto::TimeMode::try_from(request.time) {
        Ok(proto::TimeMode::Unspecified) => None,
        Ok(proto::TimeMode::Known) => Some(TimeMode::Known),
        Ok(proto::TimeMode::Event) => Some(TimeMode::Event),
        Err(_) => return Err(Error::invalid(format!("no time mode has the number {}", request.time)).into()),
    };
    if Metadata::try_from(request.metadata).is_err() {
        return Err(Error::invalid(format!("no kind of metadata has the number {}", request.metadata)).into());
    }
    let head =
        Head { name: &request.name, features: &request.features, definitions: request.definitions, as_of: &request.as_of_micros, time, streamed };
    let names: Vec<&str> = request.columns.iter().map(|column| column.name.as_str()).collect();
    let said = (request.rows > 0).then_some(request.rows as usize);
    if let Some(said) = said {
        // Before anything is allocated for them.
        service.limits.check_rows(said, streamed)?;
    }
    service.ask(&head, |wanted| {
        let read = |at: usize, data_type: &_| match &request.columns[at].values {
            Some(values) => wire::array(values, data_type),
            None => Err(Error::invalid("it has no values")),
        };
        desk::rows_of(wanted, &names, said, read)
    })
}
