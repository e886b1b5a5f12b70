//! What there is to ask for, and how far the server is.

use std::sync::Arc;

use lockstep_client::proto;
use lockstep_model::Error;
use lockstep_transform::definition::suggestion;

use super::breaker::{Seen, Standing};
use super::deadline::Deadline;
use super::failure::Failure;
use super::reply::{read_state, wire_field};
use super::service::{Origin, Service};
use crate::Role;
use crate::desk::{RoleRead, lag};
use crate::feature_log::Figures;
use crate::live::{State, newest};
use crate::watch::Signal;

/// The names of views and services.
pub fn list(service: &Service) -> Result<proto::ListViewsResponse, Failure> {
    let catalog = &service.live.definitions().catalog;
    Ok(proto::ListViewsResponse { views: catalog.views.keys().cloned().collect(), services: catalog.services.keys().cloned().collect() })
}

/// A view.
pub async fn view(service: &Arc<Service>, deadline: Deadline, name: String) -> Result<proto::ViewDescription, Failure> {
    let how = service.how_to_say(&deadline)?;
    let described = move |service: &Service, origin: Origin| {
        let state = state(service, origin)?;
        Ok(describe(&state, &name)?)
    };
    service.run(how, described).await
}

/// The state that is told of: the newest, or the last that was read.
pub(super) fn state(service: &Service, origin: Origin) -> Result<Arc<State>, Error> {
    origin.reach().map_or_else(|| Ok(service.live.last_state()), |reach| service.live.state(reach))
}

fn describe(state: &State, name: &str) -> Result<proto::ViewDescription, Error> {
    let catalog = state.catalog();
    let view = catalog.views.get(name).ok_or_else(|| unknown("feature view", name, catalog.views.keys()))?;
    let options = catalog.definitions.views.get(name).map(|view| &view.options);
    let generation = state.served.generation(name);
    Ok(proto::ViewDescription {
        name: name.to_owned(),
        keys: view.entity.iter().map(wire_field).collect::<Result<_, _>>()?,
        features: view.features.fields().iter().map(wire_field).collect::<Result<_, _>>()?,
        sources: catalog.sources_of(view).iter().map(|source| source.name.clone()).collect(),
        ttl_micros: view.ttl,
        max_staleness_micros: options.and_then(|options| options.max_staleness).map(|bound| bound.micros()),
        meaning: view.meaning.to_string(),
        version: generation.map_or(0, |info| info.version),
        generation: generation.map_or(0, |info| info.generation.0),
    })
}

/// A service.
pub fn service(service: &Service, name: &str) -> Result<proto::ServiceDescription, Failure> {
    let catalog = &service.live.definitions().catalog;
    let plan = catalog.services.get(name).ok_or_else(|| unknown("feature service", name, catalog.services.keys()))?;
    let role = |join: &lockstep_transform::service::Join| proto::RoleDescription { alias: join.alias.clone(), view: join.view.clone() };
    Ok(proto::ServiceDescription {
        name: name.to_owned(),
        request: plan.request.fields().iter().map(wire_field).collect::<Result<_, _>>()?,
        outputs: plan.schema.fields().iter().map(wire_field).collect::<Result<_, _>>()?,
        roles: plan.joins.iter().map(role).collect(),
        meaning: plan.meaning.to_string(),
        candidates: plan.candidates.is_some(),
    })
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String> + Clone) -> Error {
    let names: Vec<&str> = known.map(String::as_str).collect();
    let meant = suggestion(name, names.iter().copied()).map_or_else(String::new, |near| format!(" · did you mean `{near}`?"));
    Error::not_found(format!("no {what} named `{name}` · there are: {}{meant}", names.join(", ")))
}

/// How far the server is. Where the store does not answer, what is known is said, and the watermarks of views may be left out.
pub async fn status(service: &Arc<Service>, deadline: Deadline) -> Result<proto::ServerStatus, Failure> {
    service.run(service.how_to_say(&deadline)?, |service, origin| Ok(tell(service, origin)?)).await
}

fn tell(service: &Service, origin: Origin) -> Result<proto::ServerStatus, Error> {
    let live = &service.live;
    let (state, now) = (state(service, origin)?, live.now());
    let catalog = state.catalog();
    let mut views = Vec::new();
    for (name, view) in &catalog.views {
        let Some(info) = state.served.generation(name) else { continue };
        let role = Role { alias: name.clone(), view: view.clone(), version: info.version, generation: info.generation };
        views.push(read_state(&state, origin.reach(), &RoleRead { role, lag: lag(live.lags(), info.generation, view, now.0) })?);
    }
    let mut sources = Vec::new();
    for source in catalog.sources.values() {
        let lag = live.source_lag(&state, &source.name, now);
        sources.push(proto::SourceStatus {
            source: source.name.clone(),
            followed: lag.is_some(),
            lag_micros: lag.as_ref().map(|lag| lag.at(now.0)).filter(|lag| *lag != i64::MAX),
            silence_micros: newest(&state, &source.name).map(|newest| now.0.saturating_sub(newest)),
            behind: lag.as_ref().and_then(|lag| lag.behind()),
            stopped: lag.as_ref().and_then(|lag| lag.why_stopped()).unwrap_or_default().to_owned(),
        });
    }
    Ok(proto::ServerStatus {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        definitions: state.version,
        serving: state.release.map_or(0, |at| at.release),
        epoch: state.release.map_or(0, |at| at.epoch),
        since_micros: service.since.0,
        now_micros: now.0,
        sources,
        views,
        breakers: service.breakers().map(|(of, seen)| breaker(of, seen)).into(),
        last_known_good: service.kept().map(|kept| proto::LastKnownGoodStatus { entities: kept.entities as u64, bytes: kept.bytes as u64 }),
        feature_log: service.logged().map(feature_log),
        signals: service.watch().map(|watch| watch.latest().signals.iter().map(signal).collect()).unwrap_or_default(),
    })
}

fn signal(signal: &Signal) -> proto::Signal {
    let Signal { id, kind, severity, subject, since, what, todo, cause, .. } = signal.clone();
    let (kind, severity, subject) = (kind.name().to_owned(), severity.name().to_owned(), subject.to_string());
    proto::Signal { id, kind, severity, subject, since, what, todo, cause: cause.unwrap_or_default() }
}

fn feature_log(figures: Figures) -> proto::FeatureLogStatus {
    let Figures { share, logged, dropped, waiting, files, bytes, failing } = figures;
    proto::FeatureLogStatus { share, logged, dropped, waiting, files, bytes, failing: failing.unwrap_or_default() }
}

/// How a breaker stands, as the wire says it.
pub fn breaker(of: &str, seen: Seen) -> proto::BreakerStatus {
    let state = match seen.standing {
        Standing::Closed => proto::BreakerState::Closed,
        Standing::Open => proto::BreakerState::Open,
        Standing::Probing => proto::BreakerState::Probing,
    };
    proto::BreakerStatus {
        of: of.to_owned(),
        state: state.into(),
        since_micros: seen.since,
        opened: seen.opened,
        running: seen.running as u32,
        stalled: seen.stalled as u32,
    }
}
