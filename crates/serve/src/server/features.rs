//! The gRPC service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use lockstep_client::proto::features_server::Features;
use lockstep_client::proto::{self, GetFeaturesRequest, GetFeaturesResponse, Metadata};
use lockstep_model::{Error, TimeMode};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::call::{Asked as _, Call};
use super::deadline::Deadline;
use super::failure::Failure;
use super::service::{Asked, Head, Origin, Service};
use super::{introduce, push, reply};
use crate::desk;
use crate::metrics::Protocol;
use crate::wire;

/// The service as tonic calls it.
#[derive(Debug, Clone)]
pub struct Grpc(pub Arc<Service>);

/// Parts of a streamed answer that wait to be read.
const PARTS_AHEAD: usize = 2;
/// How many times as long as a small request a part may take.
const PART_TIMES: u32 = 16;

/// Ends a call as its outcome says.
pub(super) fn ended<T>(call: Call<'_>, outcome: Result<T, Failure>) -> Result<Response<T>, Status> {
    call.ended(&outcome);
    Ok(Response::new(outcome?))
}

#[async_trait]
impl Features for Grpc {
    type StreamFeaturesStream = Pin<Box<dyn Stream<Item = Result<GetFeaturesResponse, Status>> + Send>>;

    /// Over the wire this call is answered in bytes, by [`Self::get_encoded`].
    async fn get_features(&self, request: Request<GetFeaturesRequest>) -> Result<Response<GetFeaturesResponse>, Status> {
        let encoded = self.get_encoded(request).await?.into_inner();
        let response = GetFeaturesResponse::decode(encoded.as_slice());
        Ok(Response::new(response.map_err(|error| Status::internal(format!("read an answer of one's own: {error}")))?))
    }

    async fn stream_features(&self, request: Request<GetFeaturesRequest>) -> Result<Response<Self::StreamFeaturesStream>, Status> {
        let (deadline, request) = taken(request);
        let mut call = self.0.begin(Protocol::Grpc);
        call.asks(Arc::clone(&request) as _);
        ended(call, self.stream(deadline, request).await)
    }

    async fn push_events(&self, request: Request<proto::PushEventsRequest>) -> Result<Response<proto::PushEventsResponse>, Status> {
        let (deadline, request) = taken(request);
        let mut call = self.0.begin(Protocol::Grpc);
        call.asks(Arc::clone(&request) as _);
        ended(call, self.push(deadline, request).await)
    }

    async fn list_views(&self, _: Request<proto::ListViewsRequest>) -> Result<Response<proto::ListViewsResponse>, Status> {
        Ok(Response::new(introduce::list(&self.0)?))
    }

    async fn describe_view(&self, request: Request<proto::DescribeViewRequest>) -> Result<Response<proto::ViewDescription>, Status> {
        let (deadline, request) = taken(request);
        Ok(Response::new(introduce::view(&self.0, deadline, request.name.clone()).await?))
    }

    async fn describe_service(&self, request: Request<proto::DescribeServiceRequest>) -> Result<Response<proto::ServiceDescription>, Status> {
        Ok(Response::new(introduce::service(&self.0, &request.into_inner().name)?))
    }

    async fn get_status(&self, request: Request<proto::GetStatusRequest>) -> Result<Response<proto::ServerStatus>, Status> {
        let (deadline, _) = taken(request);
        Ok(Response::new(introduce::status(&self.0, deadline).await?))
    }
}

/// When a request is to be answered, and what it says.
pub(super) fn taken<T>(request: Request<T>) -> (Deadline, Arc<T>) {
    let deadline = request.extensions().get().copied().unwrap_or_else(Deadline::none);
    (deadline, Arc::new(request.into_inner()))
}

impl Grpc {
    /// The features of the entities asked for, as the bytes of a [`GetFeaturesResponse`].
    pub async fn get_encoded(&self, request: Request<GetFeaturesRequest>) -> Result<Response<Vec<u8>>, Status> {
        let (deadline, request) = taken(request);
        let mut call = self.0.begin(Protocol::Grpc);
        call.asks(Arc::clone(&request) as _);
        ended(call, self.get(deadline, request).await)
    }

    async fn get(&self, deadline: Deadline, request: Arc<GetFeaturesRequest>) -> Result<Vec<u8>, Failure> {
        let how = self.0.how(&deadline, request.rows(), &head(&request, false)?)?;
        let work = move |service: &Service, origin: Origin| {
            let asked = ask(service, &request, origin, false)?;
            let (answered, counts) = service.answer(&asked)?;
            let vectors = service.picked(&asked, (&asked.rows, &asked.moments), &answered, &request.request_id)?;
            Ok((reply::encoded(&asked, &answered, request.metadata(), request.request_id.clone())?, counts, vectors))
        };
        let (encoded, counts, vectors) = self.0.run(how, work).await?;
        counts.add();
        self.0.given(vectors);
        Ok(encoded)
    }

    async fn push(&self, deadline: Deadline, request: Arc<proto::PushEventsRequest>) -> Result<proto::PushEventsResponse, Failure> {
        let until = deadline.until(self.0.limits.request_time_max)?;
        let source = push::source(&self.0, &request.source)?;
        let names: Vec<&str> = request.columns.iter().map(|column| column.name.as_str()).collect();
        let read = |at: usize, data_type: &_| match &request.columns[at].values {
            Some(values) => wire::array(values, data_type),
            None => Err(Error::invalid("it has no values")),
        };
        let pushed = push::Pushed::new(source, &names, &request.tombstones, request.heartbeat_micros, read)?;
        let service = Arc::clone(&self.0);
        let rows = self.0.push(until, move || pushed.append(&service)).await?;
        Ok(proto::PushEventsResponse { first_row: rows.start, next_row: rows.end })
    }

    async fn stream(&self, deadline: Deadline, request: Arc<GetFeaturesRequest>) -> Result<<Self as Features>::StreamFeaturesStream, Failure> {
        let how = self.0.how(&deadline, 0, &head(&request, true)?)?;
        // Parts are read as long as their caller likes to wait.
        let until = deadline.until(Duration::MAX)?;
        let place = self.0.stream()?;
        let of = Arc::clone(&request);
        let mut asked = self.0.run(how, move |service, origin| ask(service, &of, origin, true)).await?;
        asked.origin = Origin::Disk;
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        let service = Arc::clone(&self.0);
        spawn_blocking(move || {
            let _place = place;
            for first in (0..asked.moments.len()).step_by(asked.part_rows()) {
                let part = until.check().and_then(|()| service.read_now(PART_TIMES, |service| part(service, &asked, first, &request)));
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
    let count = asked.part_rows().min(asked.moments.len() - first);
    let (rows, moments) = (asked.rows.slice(first, count), &asked.moments[first..first + count]);
    let (answered, counts) = service.answer_rows(asked, &rows, moments)?;
    counts.add();
    let vectors = service.picked(asked, (&rows, moments), &answered, &request.request_id)?;
    let mut response = reply::response(asked, answered, request.metadata(), request.request_id.clone())?;
    response.first_row = first as u32;
    service.given(vectors);
    Ok(response)
}

/// What a request says beside its columns.
fn head(request: &GetFeaturesRequest, streamed: bool) -> Result<Head<'_>, Failure> {
    let time = time_mode(request.time)?;
    metadata(request.metadata)?;
    Ok(Head {
        name: &request.name,
        features: &request.features,
        definitions: request.definitions,
        min_epoch: request.min_epoch,
        snapshot: &request.snapshot,
        as_of: &request.as_of_micros,
        time,
        streamed,
    })
}

/// The clock that is to count.
pub(super) fn time_mode(time: i32) -> Result<Option<TimeMode>, Error> {
    match proto::TimeMode::try_from(time) {
        Ok(proto::TimeMode::Unspecified) => Ok(None),
        Ok(proto::TimeMode::Known) => Ok(Some(TimeMode::Known)),
        Ok(proto::TimeMode::Event) => Ok(Some(TimeMode::Event)),
        Err(_) => Err(Error::invalid(format!("no time mode has the number {time}"))),
    }
}

/// How much is to be said beside values.
pub(super) fn metadata(metadata: i32) -> Result<Metadata, Error> {
    Metadata::try_from(metadata).map_err(|_| Error::invalid(format!("no kind of metadata has the number {metadata}")))
}

fn ask(service: &Service, request: &GetFeaturesRequest, origin: Origin, streamed: bool) -> Result<Asked, Failure> {
    let names: Vec<&str> = request.columns.iter().map(|column| column.name.as_str()).collect();
    let said = (request.rows > 0).then_some(request.rows as usize);
    if let Some(said) = said {
        // Before anything is allocated for them.
        service.limits.check_rows(said, streamed)?;
    }
    service.ask(&head(request, streamed)?, origin, |wanted| {
        let read = |at: usize, data_type: &_| match &request.columns[at].values {
            Some(values) => wire::array(values, data_type),
            None => Err(Error::invalid("it has no values")),
        };
        desk::rows_of(wanted, &names, said, read)
    })
}
