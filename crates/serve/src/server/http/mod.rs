//! The same as gRPC as JSON over HTTP, for curl and browsers; health, metrics and a description of it all.

mod answer;
mod explain;
mod open_api;
mod page;
mod report;
mod request;
mod score;
pub mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{HttpBody, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::LengthLimitError;
use lockstep_client::proto::Metadata;
use serde::Serialize;
use tokio::time::timeout_at;
use tonic::{Code, Status};

use self::request::{EventsRequest, FeaturesRequest, PushOf};
use super::call::Call;
use super::deadline::Deadline;
use super::failure::Failure;
use super::introduce;
use super::overview::{self, Overview};
use super::reply;
use super::scoring;
use super::service::{Origin, Service};
use crate::desk::Wanted;
use crate::metrics::Protocol;
use crate::watch;

/// What handlers share.
#[derive(Debug)]
pub struct Http {
    /// What answers.
    pub service: Arc<Service>,
    /// Whether requests are to be sent here.
    pub ready: Arc<AtomicBool>,
}

type Shared = State<Arc<Http>>;

/// The routes.
pub fn router(http: Arc<Http>) -> Router {
    Router::new()
        .route("/v1/features", post(post_features))
        .route("/v1/features/{name}", get(get_features))
        .route("/v1/score", post(post_score))
        .route("/v1/decisions", post(post_decisions))
        .route("/v1/outcomes", post(post_outcomes))
        .route("/v1/deployments", get(deployments))
        .route("/v1/deployments/{name}", get(deployment))
        .route("/v1/events/{source}", post(post_events))
        .route("/v1/views", get(list))
        .route("/v1/views/{name}", get(view))
        .route("/v1/services", get(list))
        .route("/v1/services/{name}", get(service))
        .route("/v1/explain/{name}", get(explain_features))
        .route("/v1/status", get(status))
        .route("/v1/overview", get(overview))
        .route("/v1/signals", get(signals))
        .route("/v1/watch", get(all_watched))
        .route("/v1/watch/{name}", get(features_watched))
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(open_api))
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .with_state(http)
        .fallback(nothing_here)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.http();
        let body = FailureJson { kind: self.kind(), message: self.message };
        match status {
            StatusCode::UNAUTHORIZED => (status, [(WWW_AUTHENTICATE, "Bearer")], Json(body)).into_response(),
            _ => (status, Json(body)).into_response(),
        }
    }
}

/// An error.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct FailureJson {
    /// What a caller can do about it: `invalid`, `not_found`, `out_of_range`, `unavailable`, …
    kind: &'static str,
    /// What is wrong, what is known, what to do.
    message: String,
}

async fn post_features(State(http): Shared, request: Request) -> Result<Response, Failure> {
    let mut call = http.service.begin(Protocol::Http);
    let outcome = answer_body(&http.service, &mut call, request).await;
    call.ended(&outcome);
    outcome
}

async fn answer_body(service: &Arc<Service>, call: &mut Call<'_>, request: Request) -> Result<Response, Failure> {
    let deadline = deadline(&request);
    let body = body(service, &deadline, request).await?;
    let request: FeaturesRequest =
        serde_json::from_slice(&body).map_err(|error| Failure::new(Code::InvalidArgument, format!("the body is no request: {error}")))?;
    answer(service, call, deadline, request).await
}

async fn post_score(State(http): Shared, request: Request) -> Result<Response, Failure> {
    let mut call = http.service.begin(Protocol::Http);
    let outcome = score_body(&http.service, &mut call, request).await;
    call.ended(&outcome);
    outcome
}

async fn score_body(service: &Arc<Service>, call: &mut Call<'_>, request: Request) -> Result<Response, Failure> {
    let deadline = deadline(&request);
    let body = body(service, &deadline, request).await?;
    let request: score::ScoreRequest =
        serde_json::from_slice(&body).map_err(|error| Failure::new(Code::InvalidArgument, format!("the body is no request: {error}")))?;
    let request = Arc::new(request);
    call.asks(Arc::clone(&request) as _);
    let head = request.head()?;
    let scored = scoring::answer(service, &deadline, head, Arc::new(move |wanted: &Wanted| request.read(wanted))).await?;
    let body = serde_json::to_vec(&score::ScoreResponse::from(scored));
    let body = body.map_err(|error| Failure::new(Code::Internal, format!("write the answer: {error}")))?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

async fn post_decisions(State(http): Shared, request: Request) -> Result<Json<report::Taken>, Failure> {
    let mut call = http.service.begin(Protocol::Http);
    let outcome = decisions_body(&http.service, &mut call, request).await;
    call.ended(&outcome);
    outcome.map(Json)
}

async fn decisions_body(service: &Arc<Service>, call: &mut Call<'_>, request: Request) -> Result<report::Taken, Failure> {
    let deadline = deadline(&request);
    let body = body(service, &deadline, request).await?;
    let request: report::DecisionsRequest = serde_json::from_slice(&body).map_err(|error| no_report(&error))?;
    let reports = request.reports();
    call.asks(Arc::new(request));
    Ok(super::report::take(service, &deadline, "decision", reports).await?.into())
}

async fn post_outcomes(State(http): Shared, request: Request) -> Result<Json<report::Taken>, Failure> {
    let mut call = http.service.begin(Protocol::Http);
    let outcome = outcomes_body(&http.service, &mut call, request).await;
    call.ended(&outcome);
    outcome.map(Json)
}

async fn outcomes_body(service: &Arc<Service>, call: &mut Call<'_>, request: Request) -> Result<report::Taken, Failure> {
    let deadline = deadline(&request);
    let body = body(service, &deadline, request).await?;
    let request: report::OutcomesRequest = serde_json::from_slice(&body).map_err(|error| no_report(&error))?;
    let reports = request.reports();
    call.asks(Arc::new(request));
    Ok(super::report::take(service, &deadline, "outcome", reports?).await?.into())
}

fn no_report(error: &serde_json::Error) -> Failure {
    Failure::new(Code::InvalidArgument, format!("the body is no report: {error}"))
}

async fn post_events(State(http): Shared, Path(source): Path<String>, request: Request) -> Result<Json<answer::Pushed>, Failure> {
    let mut call = http.service.begin(Protocol::Http);
    let outcome = push_body(&http.service, &mut call, source, request).await;
    call.ended(&outcome);
    outcome.map(Json)
}

async fn push_body(service: &Arc<Service>, call: &mut Call<'_>, source: String, request: Request) -> Result<answer::Pushed, Failure> {
    let deadline = deadline(&request);
    let body = body(service, &deadline, request).await?;
    let request: EventsRequest =
        serde_json::from_slice(&body).map_err(|error| Failure::new(Code::InvalidArgument, format!("the body is no push: {error}")))?;
    call.asks(Arc::new(PushOf { source: source.clone(), rows: request.rows.len() }));
    let until = deadline.until(service.limits.request_time_max)?;
    let (pushed, pushing) = (request.find(service, &source)?, Arc::clone(service));
    let rows = service.push(until, move || pushed.append(&pushing)).await?;
    Ok(answer::Pushed::from(rows))
}

/// When a request is to be answered.
fn deadline(request: &Request) -> Deadline {
    request.extensions().get().copied().unwrap_or_else(Deadline::none)
}

/// The body of a request, which has a bound in bytes and in time.
async fn body(service: &Service, deadline: &Deadline, request: Request) -> Result<Bytes, Failure> {
    let most = service.limits.request_bytes_max;
    let until = deadline.until(service.limits.request_time_max)?;
    let too_long =
        || Failure::new(Code::OutOfRange, format!("the body has more than {most} bytes, the most a request may have · ask in several requests"));
    let body = request.into_body();
    if body.size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    let late = |_| until.exceeded();
    let unread = |error: axum::Error| {
        let is_length = std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>());
        if is_length { too_long() } else { Failure::new(Code::InvalidArgument, format!("the body cannot be read: {error}")) }
    };
    timeout_at(until.at(), to_bytes(body, most)).await.map_err(late)?.map_err(unread)
}

async fn get_features(
    State(http): Shared,
    Path(name): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
    Extension(deadline): Extension<Deadline>,
) -> Result<Response, Failure> {
    let mut call = http.service.begin(Protocol::Http);
    let outcome = match FeaturesRequest::of_query(name, parameters) {
        Ok(request) => answer(&http.service, &mut call, deadline, request).await,
        Err(error) => Err(error.into()),
    };
    call.ended(&outcome);
    outcome
}

async fn answer(service: &Arc<Service>, call: &mut Call<'_>, deadline: Deadline, request: FeaturesRequest) -> Result<Response, Failure> {
    let request = Arc::new(request);
    call.asks(Arc::clone(&request) as _);
    let moments = request.moments()?;
    let how = service.how(&deadline, request.rows.len(), &request.head(&moments))?;
    let work = move |service: &Service, origin: Origin| {
        let asked = request.ask(service, origin, &moments)?;
        let (answered, counts) = service.answer(&asked)?;
        let request_id = request.request_id.clone().unwrap_or_default();
        let vectors = service.picked(&asked, (&asked.rows, &asked.moments), &answered, &request_id)?;
        let response = answer::FeaturesResponse::from(reply::response(&asked, answered, Metadata::from(request.metadata), request_id)?);
        let body = serde_json::to_vec(&response).map_err(|error| Failure::new(Code::Internal, format!("write the answer: {error}")))?;
        Ok((body, counts, vectors))
    };
    let (body, counts, vectors) = service.run(how, work).await?;
    counts.add();
    service.given(vectors);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

async fn list(State(http): Shared) -> Result<Json<answer::Names>, Failure> {
    Ok(Json(introduce::list(&http.service)?.into()))
}

async fn view(State(http): Shared, Path(name): Path<String>, Extension(deadline): Extension<Deadline>) -> Result<Json<answer::View>, Failure> {
    Ok(Json(introduce::view(&http.service, deadline, name).await?.into()))
}

async fn service(State(http): Shared, Path(name): Path<String>) -> Result<Json<answer::Service>, Failure> {
    Ok(Json(introduce::service(&http.service, &name)?.into()))
}

async fn deployments(State(http): Shared) -> Json<score::DeploymentNames> {
    Json(scoring::list(&http.service).into())
}

async fn deployment(State(http): Shared, Path(name): Path<String>) -> Result<Json<score::Deployment>, Failure> {
    Ok(Json(scoring::describe(&http.service, &name)?.into()))
}

async fn status(State(http): Shared, Extension(deadline): Extension<Deadline>) -> Result<Json<answer::Status>, Failure> {
    Ok(Json(introduce::status(&http.service, deadline).await?.into()))
}

async fn overview(State(http): Shared, Extension(deadline): Extension<Deadline>) -> Result<Json<Overview>, Failure> {
    Ok(Json(overview::overview(&http.service, deadline).await?))
}

async fn explain_features(
    State(http): Shared,
    Path(name): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
    Extension(deadline): Extension<Deadline>,
) -> Result<Json<explain::Explanation>, Failure> {
    Ok(Json(explain::explain(&http.service, deadline, FeaturesRequest::of_query(name, parameters)?).await?))
}

/// Where the store does not answer, what is read off it is as it was read off last.
async fn metrics(State(http): Shared, Extension(deadline): Extension<Deadline>) -> Result<Response, Failure> {
    let service = &http.service;
    let read_off = |service: &Service, origin: Origin| match origin.reach() {
        Some(reach) => service.metrics.read_off(&service.live, reach).map_err(Failure::from),
        None => Ok(()),
    };
    service.run(service.how_to_say(&deadline)?, read_off).await?;
    service.metrics.read_self(service.breakers(), service.kept().unwrap_or_default());
    service.metrics.read_feature_log(&service.logged().unwrap_or_default());
    service.metrics.read_models(service.live.last_state().deployments());
    if let Some(watch) = service.watch() {
        service.metrics.read_watch(&watch.latest());
    }
    let text = service.metrics.text().map_err(|error| Failure::new(Code::Internal, format!("write the metrics: {error}")))?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(http): Shared) -> (StatusCode, String) {
    let taken_out = http.service.watch().and_then(|watch| watch.takes_out());
    match (http.ready.load(Ordering::Relaxed), taken_out) {
        (true, None) => (StatusCode::OK, "ready\n".to_owned()),
        (true, Some(kind)) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {kind}\n")),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    }
}

async fn signals(State(http): Shared) -> Result<Json<watch::Signals>, Failure> {
    Ok(Json(watched(&http)?.signals()))
}

async fn all_watched(State(http): Shared) -> Result<Json<watch::Page>, Failure> {
    Ok(Json(watched(&http)?.page()))
}

async fn features_watched(State(http): Shared, Path(name): Path<String>) -> Result<Json<watch::FeatureHistory>, Failure> {
    let unknown = || Failure::new(Code::NotFound, format!("nothing named `{name}` is watched · /v1/watch has the services and views that are"));
    watched(&http)?.features_of(&name).map(Json).ok_or_else(unknown)
}

fn watched(http: &Http) -> Result<&watch::Watcher, Failure> {
    let unwatched = || Failure::new(Code::Unimplemented, "this server is not watched · `lockstep serve` watches what it serves");
    http.service.watch().map(|watch| &**watch).ok_or_else(unwatched)
}

async fn open_api() -> Json<&'static serde_json::Value> {
    Json(open_api::description())
}

/// Whoever speaks gRPC is told in gRPC.
async fn nothing_here(headers: HeaderMap, uri: Uri) -> Response {
    refusal(&headers, Failure::new(Code::Unimplemented, format!("nothing is at {} · /openapi.json says what there is", uri.path())))
}

/// A failure before any handler, in the protocol of the request.
pub fn refusal(headers: &HeaderMap, failure: Failure) -> Response {
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc { Status::from(failure).into_http() } else { failure.into_response() }
}
