//! Requests for scores, whatever the protocol: features are looked up as `GetFeatures` does, and go into the deployment's models.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use lockstep_client::proto::{
    self, GetFeaturesResponse, Metadata, ReportDecisionRequest, ReportOutcomeRequest, ReportResponse, ScoreRequest, ScoreResponse,
};
use lockstep_model::{Error, TimeMode};
use lockstep_transform::service::ByRequest;
use tokio::time::timeout_at;
use tonic::{Request, Response, Status, async_trait};

use super::call::Asked as _;
use super::deadline::Deadline;
use super::failure::Failure;
use super::features::{Grpc, ended, metadata, taken, time_mode};
use super::reply::{self, wire_field};
use super::report;
use super::scored;
use super::service::{Asked, Head, How, Origin, Service};
use crate::desk::{self, Wanted};
use crate::feature_log::Picked;
use crate::live::State;
use crate::metrics::{Counts, Protocol};
use crate::scoring::{Deployed, Loaded, Looked, Lookups, Policy, Scored, Shadowed, Stage, score, shadowed};
use crate::wire;

/// What a request for scores says beside its columns.
#[derive(Debug, Clone, Default)]
pub struct ScoreHead {
    /// The deployment.
    pub deployment: String,
    /// The moments given, µs.
    pub as_of: Vec<i64>,
    /// The clock that is to count.
    pub time: Option<TimeMode>,
    /// How often the pointer to what serves must have been moved at least.
    pub min_epoch: Option<u64>,
    /// How much is said beside the predictions.
    pub metadata: Metadata,
    /// What its caller calls it.
    pub request_id: String,
    /// Whether the features are wanted, too.
    pub features: bool,
    /// How many rows it has, as far as is known before they are read.
    pub rows: usize,
}

/// Reads the columns of a request.
pub type ReadRows = dyn Fn(&Wanted) -> Result<RecordBatch, Error> + Send + Sync;

/// A request for scores that was found to be one.
#[derive(Debug)]
pub struct ScoreAsked {
    /// The state that it is answered from: its features, its models and its definitions are of one release.
    pub state: Arc<State>,
    /// The deployment.
    pub deployed: Arc<Deployed>,
    /// What it is asked with.
    pub rows: RecordBatch,
    /// The moment of each row, µs.
    pub moments: Vec<i64>,
    /// The moment of all rows, where it was not given.
    pub now: Option<i64>,
}

impl ScoreHead {
    fn head(&self) -> Head<'_> {
        Head {
            name: &self.deployment,
            features: &[],
            definitions: None,
            min_epoch: self.min_epoch,
            snapshot: "",
            as_of: &self.as_of,
            time: self.time,
            streamed: false,
        }
    }

    fn ask(&self, service: &Service, origin: Origin, read: &ReadRows) -> Result<ScoreAsked, Failure> {
        let head = self.head();
        let state = service.state(&head, origin)?;
        let deployed = Arc::clone(state.deployments().find(&self.deployment)?);
        let rows = read(&deployed.asked)?;
        service.limits.check_rows(rows.num_rows(), false)?;
        let now = self.as_of.is_empty().then(|| service.live.now().0);
        let moments = desk::moments_of(&self.as_of, rows.num_rows(), now.unwrap_or_default())?;
        Ok(ScoreAsked { state, deployed, rows, moments, now })
    }
}

/// Answers a request for scores.
///
/// # Errors
/// What is wrong with it; as looking features up; where the model fails and nothing stands in.
pub async fn answer(service: &Arc<Service>, deadline: &Deadline, head: ScoreHead, read: Arc<ReadRows>) -> Result<ScoreResponse, Failure> {
    let how = service.how(deadline, head.rows, &head.head())?;
    let head = Arc::new(head);
    let of = Arc::clone(&head);
    let asked = service.run(how, move |service: &Service, origin: Origin| of.ask(service, origin, &*read)).await?;
    if asked.moments.is_empty() {
        return Err(Error::invalid("no rows are asked for · give at least one").into());
    }
    let counting = service.metrics.scoring(&asked.deployed.name);
    let lookups = ByService { service, how, asked: &asked, head: &head, given: Mutex::default() };
    let (state, until) = (&asked, how.until.at());
    let scoring = score(&state.deployed, &lookups, &state.rows, &state.moments, Some(until.into_std()));
    // A model that was begun is not waited for beyond that, and what becomes of it is counted all the same.
    let scored = timeout_at(until, scoring).await.unwrap_or_else(|_| Err(how.until.exceeded()));
    let given = lookups.given.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut scored = match scored {
        Ok(scored) => scored,
        Err(failure) => {
            if failure.is_ours() {
                counting.failed(asked.moments.len());
            }
            return Err(failure);
        }
    };
    scored.decide(&asked.deployed, &head.request_id, &asked.rows, &asked.moments)?;
    let compared =
        Compared { predictions: scored.of_all().to_vec(), by_request: scored.ranked.as_ref().map(|ranked| Arc::clone(ranked.all_by_request())) };
    let mut given = with_predictions(given, &asked.deployed, &scored)?;
    let recalled = scored.looked.iter().any(|step| step.looked.recalled);
    let counts = counting.counts(&scored);
    let response = scored::response(&asked, &head, scored, &mut given)?;
    counts.add();
    for Given { counts, vectors, .. } in given {
        counts.add();
        service.given(vectors);
    }
    if asked.deployed.shadow.is_some() && !recalled {
        shadow(service, how, asked, head, compared);
    }
    Ok(response)
}

/// Has the log told what was predicted of the features of each step, and who looks at what is served, once.
fn with_predictions(mut given: Vec<Given>, deployed: &Deployed, scored: &Scored) -> Result<Vec<Given>, Error> {
    if let Some(predicted) = scored.predicted_by_request(deployed) {
        // Of candidates, with their own features; and of each of them, with those of later steps.
        for (step, given) in given.iter_mut().enumerate() {
            let takes_explored = given.takes_explored;
            let predicted = if step == 0 { Some(predicted.clone()) } else { scored.predicted_of_candidates(deployed, step)? };
            let Some(predicted) = predicted else { continue };
            given.vectors.logged().iter_mut().for_each(|vectors| vectors.scored_as(predicted.clone(), takes_explored));
        }
        return Ok(given);
    }
    for (number, (given, step)) in given.iter_mut().zip(&scored.looked).enumerate() {
        let takes_explored = given.takes_explored;
        for vectors in given.vectors.logged() {
            vectors.scored_as(scored.predicted(deployed, &step.rows)?, takes_explored);
        }
        for vectors in given.vectors.watched().filter(|_| number == 0) {
            vectors.predicted = Some(scored.predicted(deployed, &step.rows)?);
        }
    }
    Ok(given)
}

/// Looks features up as requests for features do, all from one state.
struct ByService<'a> {
    service: &'a Arc<Service>,
    how: How,
    asked: &'a ScoreAsked,
    head: &'a ScoreHead,
    /// What was looked up, in order.
    given: Mutex<Vec<Given>>,
}

/// Features that were looked up, and what is to be told, counted and logged of them once the answer is given.
pub struct Given {
    /// What was asked.
    pub asked: Asked,
    /// What is told of it beside the features. It is read where they are, which is where the store may be read.
    pub told: GetFeaturesResponse,
    counts: Counts,
    vectors: Picked,
    /// Whether the log takes rows that explore, whatever was picked.
    takes_explored: bool,
}

impl Lookups for ByService<'_> {
    async fn look_up(&self, wanted: &Arc<Wanted>, rows: RecordBatch, moments: Vec<i64>) -> Result<Looked, Failure> {
        let (state, now, time) = (Arc::clone(&self.asked.state), self.asked.now, self.head.time);
        let (wanted, request_id, metadata) = (Arc::clone(wanted), self.head.request_id.clone(), self.head.metadata);
        let explores = self.asked.deployed.policy.as_ref().is_some_and(|policy| policy.explore().is_some());
        let work = move |service: &Service, origin: Origin| {
            let asked = Asked::of((&state, origin), &wanted, (&rows, &moments), now, time);
            let (answered, counts) = service.answer(&asked)?;
            let vectors = service.picked_to_score(&asked, (&asked.rows, &asked.moments), &answered, (&request_id, explores))?;
            let told = reply::told(&asked, &answered, metadata, String::new())?;
            let takes_explored = service.takes_explored();
            Ok((Given { asked, told, counts, vectors, takes_explored }, answered))
        };
        let (given, answered) = self.service.run(self.how, work).await?;
        let recalled = given.asked.origin == Origin::LastKnown;
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push(given);
        Ok(Looked { answered, recalled })
    }
}

/// What a shadow is compared with: what was predicted of all rows, and which of them are of which request where they are candidates.
struct Compared {
    predictions: Vec<arrow::array::ArrayRef>,
    by_request: Option<Arc<ByRequest>>,
}

/// Scores the same rows by the deployment's shadow, once they were answered: from the same state, so from the same features. What there is no room for is dropped.
fn shadow(service: &Arc<Service>, how: How, asked: ScoreAsked, head: Arc<ScoreHead>, compared: Compared) {
    let Some(stage) = &asked.deployed.shadow else { return };
    let counting = service.metrics.shadow(&asked.deployed.name, &stage.model.bound.name);
    let rows = compared.by_request.as_ref().map_or(asked.moments.len(), |by| by.requests.len());
    let Some(place) = service.shadows() else { return counting.dropped(rows) };
    let service = Arc::clone(service);
    tokio::spawn(async move {
        let _place = place;
        let Some(stage) = &asked.deployed.shadow else { return };
        let lookups = ByService { service: &service, how, asked: &asked, head: &head, given: Mutex::default() };
        let until = how.until.at();
        let scoring = shadowed((&asked.deployed, stage), &lookups, &asked.rows, &asked.moments, Some(until.into_std()));
        match timeout_at(until, scoring).await {
            // Candidates are others where the store did not answer, and the last that was known of them was taken.
            Ok(Ok(Shadowed { rows, columns, by_request })) if by_request == compared.by_request => {
                counting.compared((&asked.deployed.schema, &compared.predictions), (&stage.model.bound.schema, &columns), &rows);
            }
            Ok(_) | Err(_) => counting.failed(rows),
        }
    });
}

/// The names of deployments.
pub fn list(service: &Service) -> proto::ListDeploymentsResponse {
    let state = service.live.last_state();
    proto::ListDeploymentsResponse { deployments: state.deployments().all().map(|deployed| deployed.name.clone()).collect() }
}

/// A deployment.
///
/// # Errors
/// NotFound where there is none of the name.
pub fn describe(service: &Service, name: &str) -> Result<proto::DeploymentDescription, Failure> {
    let state = service.live.last_state();
    let deployed = state.deployments().find(name)?;
    Ok(proto::DeploymentDescription {
        name: deployed.name.clone(),
        request: deployed.asked.fields().iter().map(wire_field).collect::<Result<_, _>>()?,
        predictions: deployed.schema.fields().iter().map(wire_field).collect::<Result<_, _>>()?,
        models: deployed.steps.iter().map(deployed_model).collect(),
        fallback: deployed.fallback.as_ref().map(deployed_model),
        shadow: deployed.shadow.as_ref().map(deployed_model),
        meaning: deployed.meaning.to_string(),
        actions: deployed.policy.as_ref().and_then(Policy::actions).map(|actions| actions.names.clone()).unwrap_or_default(),
        explore: deployed.policy.as_ref().and_then(Policy::explore).map(|explore| explore.share),
    })
}

fn deployed_model(stage: &Stage) -> proto::DeployedModel {
    let model: &Loaded = &stage.model;
    let figures = model.figures();
    proto::DeployedModel {
        step: stage.name.clone(),
        model: model.bound.name.clone(),
        sha256: model.bound.sha256.to_string(),
        runtime: model.bound.runtime.to_string(),
        service: model.bound.service.clone(),
        service_meaning: model.bound.service_meaning.to_string(),
        threads: figures.threads as u32,
        waiting: figures.waiting as u32,
        hanging: figures.hanging as u32,
        breaker: Some(super::introduce::breaker(&model.bound.name, model.breaker())),
    }
}

#[async_trait]
impl proto::scoring_server::Scoring for Grpc {
    async fn score(&self, request: Request<ScoreRequest>) -> Result<Response<ScoreResponse>, Status> {
        let (deadline, request) = taken(request);
        let mut call = self.0.begin(Protocol::Grpc);
        call.asks(Arc::clone(&request) as _);
        ended(call, over_grpc(&self.0, &deadline, request).await)
    }

    async fn report_decision(&self, request: Request<ReportDecisionRequest>) -> Result<Response<ReportResponse>, Status> {
        let (deadline, request) = taken(request);
        let mut call = self.0.begin(Protocol::Grpc);
        call.asks(Arc::clone(&request) as _);
        ended(call, report::take(&self.0, &deadline, "decision", report::decisions(&request)).await)
    }

    async fn report_outcome(&self, request: Request<ReportOutcomeRequest>) -> Result<Response<ReportResponse>, Status> {
        let (deadline, request) = taken(request);
        let mut call = self.0.begin(Protocol::Grpc);
        call.asks(Arc::clone(&request) as _);
        let outcome = match report::outcomes(&request) {
            Ok(reports) => report::take(&self.0, &deadline, "outcome", reports).await,
            Err(error) => Err(error.into()),
        };
        ended(call, outcome)
    }

    async fn list_deployments(&self, _: Request<proto::ListDeploymentsRequest>) -> Result<Response<proto::ListDeploymentsResponse>, Status> {
        Ok(Response::new(list(&self.0)))
    }

    async fn describe_deployment(
        &self,
        request: Request<proto::DescribeDeploymentRequest>,
    ) -> Result<Response<proto::DeploymentDescription>, Status> {
        Ok(Response::new(describe(&self.0, &request.into_inner().name)?))
    }
}

async fn over_grpc(service: &Arc<Service>, deadline: &Deadline, request: Arc<ScoreRequest>) -> Result<ScoreResponse, Failure> {
    let head = ScoreHead {
        deployment: request.deployment.clone(),
        as_of: request.as_of_micros.clone(),
        time: time_mode(request.time)?,
        min_epoch: request.min_epoch,
        metadata: metadata(request.metadata)?,
        request_id: request.request_id.clone(),
        features: request.features,
        rows: request.rows(),
    };
    // Before anything is allocated for them.
    service.limits.check_rows(head.rows, false)?;
    let read = move |wanted: &Wanted| {
        let names: Vec<&str> = request.columns.iter().map(|column| column.name.as_str()).collect();
        let read = |at: usize, data_type: &_| match &request.columns[at].values {
            Some(values) => wire::array(values, data_type),
            None => Err(Error::invalid("it has no values")),
        };
        desk::rows_of(wanted, &names, (request.rows > 0).then_some(request.rows as usize), read)
    };
    answer(service, deadline, head, Arc::new(read)).await
}
