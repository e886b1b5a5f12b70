//! What is asked, and what is answered.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use lockstep_model::key::Keys;
use lockstep_model::{Error, ErrorKind, FilledBy, Generation, Status, TimeMode};
use lockstep_store::{CutRead, GenerationInfo};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::next_event::ViewState;
use lockstep_transform::service::{Answer, ByRequest, CandidateCounts, ReadFor, ServicePlan};
use lockstep_transform::tiles::{ReadStats, Request, Touch};
use lockstep_transform::transformation::{Features, Transformation};

use crate::chosen::read_by;
use crate::last_known_good::{LastKnownGood, Of};

/// Compiled definitions, and the generation that holds the state of each view.
#[derive(Debug)]
pub struct Served {
    catalog: Arc<Catalog>,
    /// In the order of the catalog's views; `None` where nothing is published yet.
    generations: Vec<Option<GenerationInfo>>,
}

/// Many entities at many moments, of one feature service or view.
#[derive(Debug, Clone, Copy)]
pub struct LookupRequest<'a> {
    /// Name of a feature service or a feature view.
    pub name: &'a str,
    /// One row per request: the service's request columns, or the view's key columns.
    pub rows: &'a RecordBatch,
    /// The moment of each request, µs.
    pub moments: &'a [i64],
    /// Which clock counts; `None` for knowledge where the definitions have it.
    pub time: Option<TimeMode>,
    /// Whether to tell what each value came from.
    pub explain: bool,
}

/// The answer to a [`LookupRequest`], column-wise: every vector per output holds one item per row, which is one per request, unless there are candidates.
#[derive(Debug)]
pub struct Lookup {
    /// Names and types of the outputs.
    pub schema: SchemaRef,
    /// Values per output.
    pub columns: Vec<ArrayRef>,
    /// Statuses per output.
    pub statuses: Vec<Vec<Status>>,
    /// Where absent values were filled from, per output.
    pub filled_by: Vec<Arc<[FilledBy]>>,
    /// Time of the newest event of the least fresh view an output reads, per output, µs.
    pub event_times: Vec<Arc<[Option<i64>]>>,
    /// Per request: when the oldest thing happened that the outputs are made from, µs; `None` where there is nothing behind them.
    pub oldest_inputs: Arc<[Option<i64>]>,
    /// When what is behind a value was read, per output, µs, where that is the last that was; `None` for what was read now, and for outputs that read nothing.
    pub known_at: Vec<Option<Arc<[i64]>>>,
    /// Which clock counted.
    pub time: TimeMode,
    /// The reads behind it: one for a view, one per join of a service.
    pub reads: Vec<Read>,
    /// What it cost.
    pub stats: ReadStats,
    /// Which rows are of which request, where those of candidates are told apart.
    pub by_request: Option<Arc<ByRequest>>,
    /// What became of the candidates of each request, where there are any and its row is a list of them.
    pub counts: Vec<CandidateCounts>,
}

/// One view read in one role.
#[derive(Debug)]
pub struct Read {
    /// What was read.
    pub role: Role,
    /// Encoded entity key per request; per candidate, where it is a view of those.
    pub entities: Keys,
    /// What each value came from, if asked for.
    pub touches: Option<Vec<Touch>>,
    /// What each key was read for, if asked for and where there are candidates.
    pub read_for: Option<ReadFor>,
}

/// A view, and the state it was read from.
#[derive(Debug, Clone)]
pub struct Role {
    /// The view's name in the request: a join's alias, or the view's own.
    pub alias: String,
    /// The compiled view.
    pub view: Arc<Transformation>,
    /// Its version.
    pub version: u32,
    /// Its state.
    pub generation: Generation,
}

/// Why a view cannot be read: it has no published state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpublished;

impl std::fmt::Display for Unpublished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no published state")
    }
}

impl std::error::Error for Unpublished {}

impl Served {
    /// Finds the published generation of each view of `catalog`.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn new(catalog: Arc<Catalog>, cut: &dyn CutRead) -> Result<Served, Error> {
        Served::among(catalog, cut, None)
    }

    /// As [`Self::new`], among these generations only.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn among(catalog: Arc<Catalog>, cut: &dyn CutRead, generations: Option<&[Generation]>) -> Result<Served, Error> {
        let mut all = cut.generations()?;
        if let Some(named) = generations {
            all = read_by(all, named);
        }
        let published = |view: &Transformation| {
            let same =
                |info: &&GenerationInfo| info.published() && info.view == view.view && info.meaning == view.meaning && info.state == view.state;
            all.iter().rfind(same).cloned()
        };
        let generations = catalog.views.values().map(|view| published(view)).collect();
        Ok(Served { catalog, generations })
    }

    /// The compiled definitions.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The generation that holds the state of a view.
    pub fn generation(&self, view: &str) -> Option<&GenerationInfo> {
        self.generations.get(self.catalog.views.get_index_of(view)?)?.as_ref()
    }

    /// Answers a batch of requests from one cut. Candidates of a request are one row, a list of each output.
    ///
    /// # Errors
    /// NotFound for a name that is no service and no view; Unavailable where a view has no published state; OutOfRange for a moment before
    /// a view's `readable_from`; Invalid where the request's columns are not the declared ones.
    pub fn lookup(&self, cut: &dyn CutRead, request: &LookupRequest<'_>) -> Result<Lookup, Error> {
        let mut lookup = self.lookup_keeping(cut, request, None)?;
        if let (Some(service), Some(by)) = (self.catalog.services.get(request.name), lookup.by_request.take()) {
            lookup.schema = service.schema_by_request();
            by.nest(&mut lookup.columns, &mut lookup.statuses, &mut lookup.filled_by, &mut lookup.event_times);
            lookup.oldest_inputs = by.oldest(&lookup.oldest_inputs).into();
            lookup.counts.clone_from(&by.counts);
        }
        Ok(lookup)
    }

    /// As [`Self::lookup`], with a row for each candidate, and keeps what was read for when the store does not answer.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn lookup_keeping(&self, cut: &dyn CutRead, request: &LookupRequest<'_>, keep: Option<&LastKnownGood>) -> Result<Lookup, Error> {
        if request.rows.num_rows() != request.moments.len() {
            return Err(Error::internal(format!("{} requests at {} moments", request.rows.num_rows(), request.moments.len())));
        }
        if let Some(service) = self.catalog.services.get(request.name) {
            return self.service(cut, service, request, keep);
        }
        match self.catalog.views.get(request.name) {
            Some(view) => self.view(cut, view, request, keep),
            None => Err(self.unknown(request.name)),
        }
    }

    /// Answers a batch of requests from what was read last, without the store; `None` where something of it is not known, or is too old, and for requests that are
    /// events, whose own event could not be counted.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn recall(&self, known: &LastKnownGood, request: &LookupRequest<'_>) -> Result<Option<Lookup>, Error> {
        if let Some(service) = self.catalog.services.get(request.name) {
            return if service.request_as.is_some() { Ok(None) } else { self.recall_service(known, service, request) };
        }
        match self.catalog.views.get(request.name) {
            Some(view) => self.recall_view(known, view, request),
            None => Err(self.unknown(request.name)),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let services = list(self.catalog.services.keys().map(String::as_str).collect());
        let views = list(self.catalog.views.keys().map(String::as_str).collect());
        Error::not_found(format!("no feature service or view named `{name}` · services: {services} · views: {views}"))
    }

    fn role(&self, alias: &str, view: &Arc<Transformation>) -> Result<Role, Error> {
        let info = self.generation(&view.view).ok_or_else(|| {
            let what = format!("`{}` has no published state · run `lockstep apply`, then `lockstep backfill {}`", view.view, view.view);
            Error::unavailable(what).caused_by(Unpublished)
        })?;
        Ok(Role { alias: alias.to_owned(), view: Arc::clone(view), version: info.version, generation: info.generation })
    }

    /// Refuses moments whose state may be gone already.
    fn check_moments(&self, cut: &dyn CutRead, roles: &[Role], moments: &[i64]) -> Result<(), Error> {
        let Some(&earliest) = moments.iter().min() else { return Ok(()) };
        for role in roles {
            let from = cut.horizon(role.generation)?.readable_from;
            if earliest < from.0 {
                let at = lockstep_model::EventTime(earliest);
                return Err(Error::out_of_range(format!(
                    "`{}` can be read from {from} on, and {at} is before that · declare `history` on its sources to keep more",
                    role.view.view
                )));
            }
        }
        Ok(())
    }

    fn roles(&self, service: &ServicePlan) -> Result<Vec<Role>, Error> {
        service.joins.iter().map(|join| self.role(&join.alias, &join.transformation)).collect()
    }

    fn service(&self, cut: &dyn CutRead, service: &ServicePlan, request: &LookupRequest<'_>, keep: Option<&LastKnownGood>) -> Result<Lookup, Error> {
        let roles = self.roles(service)?;
        self.check_moments(cut, &roles, request.moments)?;
        let states: Vec<_> = roles.iter().map(|role| cut.state(role.generation)).collect();
        let time = request.time.unwrap_or_else(|| self.catalog.service_time_mode(service));
        let mut touches = request.explain.then(Vec::new);
        let answer = if service.request_as.is_none() {
            let mut read = |join: usize, requests: &[Request<'_>], touched: Option<&mut Vec<Touch>>| -> Result<Features, Error> {
                let role = &roles[join];
                let features = role.view.read_at(&states[join], requests, time, touched)?;
                role.keep(keep, time, requests, &features)?;
                Ok(features)
            };
            service.answer_with(&mut read, request.rows, request.moments, touches.as_mut())?
        } else {
            let before = |role: &Role| -> Result<Vec<(u16, i64)>, Error> {
                Ok(cut.horizon(role.generation)?.keys_before.iter().map(|&(source, before)| (source, before.0)).collect())
            };
            let before = roles.iter().map(before).collect::<Result<Vec<_>, _>>()?;
            let views: Vec<ViewState<'_>> =
                states.iter().zip(&before).map(|(state, keys_before)| ViewState { state, keys: state, keys_before }).collect();
            service.answer_events(&views, request.rows, request.moments, time, touches.as_mut())?
        };
        let known_at = vec![None; answer.columns.len()];
        Ok(of_service(service, answer, time, roles, touches, known_at))
    }

    fn recall_service(&self, known: &LastKnownGood, service: &ServicePlan, request: &LookupRequest<'_>) -> Result<Option<Lookup>, Error> {
        let roles = self.roles(service)?;
        let time = request.time.unwrap_or_else(|| self.catalog.service_time_mode(service));
        // Per join, when each row was read; fewer than joins where something was not known.
        let mut read_at: Vec<Vec<i64>> = Vec::with_capacity(roles.len());
        let mut recall = |join: usize, requests: &[Request<'_>], _: Option<&mut Vec<Touch>>| -> Result<Features, Error> {
            let Role { view, generation, .. } = &roles[join];
            let recalled = known.recall(Of { view, generation: *generation, time }, requests)?;
            let (features, at) = recalled.ok_or_else(|| Error::unavailable("it is not known"))?;
            read_at.push(at);
            Ok(features)
        };
        let answered = service.answer_with(&mut recall, request.rows, request.moments, None);
        if read_at.len() < roles.len() && answered.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
            return Ok(None);
        }
        let mut answer = answered?;
        let rows = answer.by_request.as_ref().map_or(request.moments.len(), |by| by.requests.len());
        // Which candidates there are depends on all that was read.
        let oldest_of_all = read_at.iter().flatten().min().copied();
        let mut known_at = Vec::with_capacity(answer.columns.len());
        for (output, filled) in service.outputs.iter().zip(&mut answer.filled_by) {
            let oldest = |row: usize| match answer.by_request {
                None => output.inputs.iter().map(|&(join, _)| read_at[join][row]).min(),
                Some(_) => oldest_of_all,
            };
            let of_output: Option<Arc<[i64]>> = (0..rows).map(oldest).collect();
            if of_output.is_some() {
                *filled = filled.iter().map(|filled| if *filled == FilledBy::None { FilledBy::LastKnownGood } else { *filled }).collect();
            }
            known_at.push(of_output);
        }
        Ok(Some(of_service(service, answer, time, roles, None, known_at)))
    }

    fn view(
        &self,
        cut: &dyn CutRead,
        view: &Arc<Transformation>,
        request: &LookupRequest<'_>,
        keep: Option<&LastKnownGood>,
    ) -> Result<Lookup, Error> {
        let role = self.role(&view.view, view)?;
        self.check_moments(cut, std::slice::from_ref(&role), request.moments)?;
        let state = cut.state(role.generation);
        let entities = view.entity_keys(request.rows.columns())?;
        let requests = requests_of(&entities, request.moments);
        let time = request.time.unwrap_or_else(|| self.catalog.time_mode(view));
        let mut touches = request.explain.then(Vec::new);
        let features = view.read_at(&state, &requests, time, touches.as_mut())?;
        role.keep(keep, time, &requests, &features)?;
        let outputs = features.columns.len();
        let filled_by: Arc<[FilledBy]> = requests.iter().map(|_| FilledBy::None).collect();
        let oldest = view.oldest_inputs(&features, &requests).into();
        Ok(of_view((features, oldest), time, filled_by, vec![None; outputs], Read { role, entities, touches, read_for: None }))
    }

    fn recall_view(&self, known: &LastKnownGood, view: &Arc<Transformation>, request: &LookupRequest<'_>) -> Result<Option<Lookup>, Error> {
        let role = self.role(&view.view, view)?;
        let entities = view.entity_keys(request.rows.columns())?;
        let requests = requests_of(&entities, request.moments);
        let time = request.time.unwrap_or_else(|| self.catalog.time_mode(view));
        let Some((features, read_at)) = known.recall(Of { view, generation: role.generation, time }, &requests)? else { return Ok(None) };
        let known_at = vec![Some(Arc::from(read_at)); features.columns.len()];
        let filled_by: Arc<[FilledBy]> = requests.iter().map(|_| FilledBy::LastKnownGood).collect();
        let oldest = view.oldest_inputs(&features, &requests).into();
        Ok(Some(of_view((features, oldest), time, filled_by, known_at, Read { role, entities, touches: None, read_for: None })))
    }
}

impl Role {
    /// Keeps what was read, where it is to be kept.
    fn keep(&self, keep: Option<&LastKnownGood>, time: TimeMode, requests: &[Request<'_>], features: &Features) -> Result<(), Error> {
        let Some(keep) = keep else { return Ok(()) };
        keep.remember(Of { view: &self.view, generation: self.generation, time }, requests, features)
    }
}

fn requests_of<'a>(entities: &'a Keys, moments: &[i64]) -> Vec<Request<'a>> {
    moments.iter().enumerate().map(|(row, &at)| Request { entity: entities.get(row), at }).collect()
}

fn of_view(
    (features, oldest_inputs): (Features, Arc<[Option<i64>]>),
    time: TimeMode,
    filled_by: Arc<[FilledBy]>,
    known_at: Vec<Option<Arc<[i64]>>>,
    read: Read,
) -> Lookup {
    let outputs = features.columns.len();
    Lookup {
        schema: Arc::clone(&read.role.view.features),
        columns: features.columns,
        statuses: features.statuses,
        filled_by: vec![filled_by; outputs],
        event_times: vec![features.newest.into(); outputs],
        oldest_inputs,
        known_at,
        time,
        stats: features.stats,
        reads: vec![read],
        by_request: None,
        counts: Vec::new(),
    }
}

fn of_service(
    service: &ServicePlan,
    answer: Answer,
    time: TimeMode,
    roles: Vec<Role>,
    touches: Option<Vec<Vec<Touch>>>,
    known_at: Vec<Option<Arc<[i64]>>>,
) -> Lookup {
    let (mut touches, mut read_for) = (touches.map(Vec::into_iter), answer.read_for.into_iter());
    let read = |(role, entities)| Read { role, entities, touches: touches.as_mut().and_then(Iterator::next), read_for: read_for.next() };
    let reads = roles.into_iter().zip(answer.entities).map(read);
    Lookup {
        schema: Arc::clone(&service.schema),
        columns: answer.columns,
        statuses: answer.statuses,
        filled_by: answer.filled_by,
        event_times: answer.event_times,
        oldest_inputs: answer.oldest_inputs.into(),
        known_at,
        time,
        reads: reads.collect(),
        stats: answer.stats,
        by_request: answer.by_request,
        counts: Vec::new(),
    }
}
