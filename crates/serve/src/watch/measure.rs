//! Readings of a store and of a server.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_model::position::{history_path, watermark};
use lockstep_model::{Error, EventTime};
use lockstep_store::{Counters, CutRead};
use lockstep_transform::catalog::Catalog;

use super::reading::{DeploymentReading, Reading, SourceReading, SourceRows, Statuses, TargetReading, ViewReading};
use crate::desk::lag;
use crate::live::{Live, State};
use crate::metrics::Metrics;
use crate::scoring::Deployments;
use crate::{Served, SourceLag};

/// What a store has of the sources and views that serve. Reading it may wait for the disk.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The newest event time of each source, µs.
    newest: BTreeMap<String, i64>,
    rows: BTreeMap<String, SourceRows>,
    /// Of each view, µs.
    watermarks: BTreeMap<String, i64>,
}

impl Stored {
    /// Reads it.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn read(served: &Served, cut: &dyn CutRead) -> Result<Stored, Error> {
        let mut stored = Stored::default();
        let catalog = served.catalog();
        for (name, view) in &catalog.views {
            let Some(info) = served.generation(name) else { continue };
            let positions = cut.positions(info.generation)?;
            let sources = catalog.sources_of(view);
            let ends: Option<Vec<i64>> = sources.iter().map(|source| watermark(&positions, &source.name)).collect();
            stored.watermarks.extend(ends.and_then(|all| all.into_iter().min()).map(|end| (name.clone(), end)));
            // History is no log: it says nothing of what comes.
            for (id, position) in positions.iter().filter(|(id, _)| history_path(&id.partition).is_none()) {
                let Some(at) = position.event_time_max() else { continue };
                stored.newest.entry(id.source.clone()).and_modify(|newest| *newest = at.max(*newest)).or_insert(at);
            }
            for (source, counters) in cut.counters(info.generation)? {
                let rows = rows_of(&counters, info.generation.0);
                let known = stored.rows.entry(source).or_insert(rows);
                if known.applied < rows.applied {
                    *known = rows;
                }
            }
        }
        Ok(stored)
    }

    /// What is known of a store at a moment, whoever serves from it.
    pub fn reading(&self, served: &Served, now: EventTime) -> Reading {
        let catalog = served.catalog();
        let since = |at: Option<&i64>| at.map(|at| seconds(now.0.saturating_sub(*at).max(0)));
        let source = |(name, plan): (&String, &std::sync::Arc<lockstep_transform::catalog::SourcePlan>)| {
            let reading = SourceReading {
                silence_seconds: since(self.newest.get(name)),
                expect_events_every_seconds: plan.options.expect_events_every.map(|every| seconds(every.micros())),
                serving_lag_seconds: seconds(plan.serving_lag),
                rows: self.rows.get(name).copied().unwrap_or_default(),
                ..SourceReading::default()
            };
            (name.clone(), reading)
        };
        let view = |name: &String| {
            let info = served.generation(name)?;
            let options = &catalog.definitions.views.get(name)?.options;
            let reading = ViewReading {
                version: info.version,
                generation: info.generation.0,
                sources: sources(catalog, name),
                watermark_age_seconds: since(self.watermarks.get(name)),
                lag_seconds: None,
                max_staleness_seconds: options.max_staleness.map(|most| seconds(most.micros())),
                min_coverage: options.min_coverage,
                hottest: None,
            };
            Some((name.clone(), reading))
        };
        Reading {
            at_micros: now.0,
            since_micros: now.0,
            sources: catalog.sources.iter().map(source).collect(),
            views: catalog.views.keys().filter_map(view).collect(),
            ..Reading::default()
        }
    }
}

/// What a server knows of itself, beside what its store has. Nothing here waits for the disk.
pub fn of_server(stored: &Stored, live: &Live, state: &State, metrics: &Metrics, since: EventTime) -> Reading {
    let now = live.now();
    let mut reading = Reading { since_micros: since.0, ..stored.reading(&state.served, now) };
    // What has never been at its end since the server began lags since then, at the least.
    let known = |lag: i64| seconds(if lag == i64::MAX { now.0.saturating_sub(since.0) } else { lag });
    for (name, source) in &mut reading.sources {
        let Some(lag) = live.source_lag(state, name, now) else { continue };
        let lag: &SourceLag = &lag;
        source.followed = true;
        source.lag_seconds = Some(known(lag.at(now.0)));
        source.behind_rows = lag.behind();
        source.stopped = lag.why_stopped().map(str::to_owned);
    }
    for (name, view) in &mut reading.views {
        let (Some(plan), Some(info)) = (state.catalog().views.get(name), state.served.generation(name)) else { continue };
        view.lag_seconds = lag(live.lags(), info.generation, plan, now.0).map(known);
    }
    reading.targets = targets(state.catalog(), metrics);
    reading.deployments = deployments(state.deployments(), metrics);
    reading
}

fn targets(catalog: &Catalog, metrics: &Metrics) -> BTreeMap<String, TargetReading> {
    let service = |(name, plan): (&String, &std::sync::Arc<lockstep_transform::service::ServicePlan>)| {
        let views: BTreeSet<&str> = plan.joins.iter().map(|join| join.view.as_str()).collect();
        let min_coverage = catalog.definitions.services.get(name).and_then(|service| service.min_coverage);
        let views = views.into_iter().map(str::to_owned).collect();
        (name.clone(), TargetReading { is_service: true, views, min_coverage, ..TargetReading::default() })
    };
    let view = |name: &String| (name.clone(), TargetReading { views: vec![name.clone()], ..TargetReading::default() });
    let mut targets: BTreeMap<String, TargetReading> = catalog.services.iter().map(service).chain(catalog.views.keys().map(view)).collect();
    for (name, totals) in metrics.totals() {
        let Some(target) = targets.get_mut(&name) else { continue };
        target.rows = totals.rows;
        target.values = Statuses::of(totals.by_status);
        (target.stale, target.defaults) = (totals.stale, totals.defaults);
    }
    targets
}

fn deployments(deployments: &Deployments, metrics: &Metrics) -> BTreeMap<String, DeploymentReading> {
    let scored = metrics.scored();
    let of = |deployed: &std::sync::Arc<crate::scoring::Deployed>| {
        let services: BTreeSet<&str> = deployed.steps.iter().chain(&deployed.fallback).map(|stage| stage.model.bound.service.as_str()).collect();
        let (ways, failed) = scored.get(&deployed.name).cloned().unwrap_or_default();
        let services = services.into_iter().map(str::to_owned).collect();
        (deployed.name.clone(), DeploymentReading { services, ways, failed, ..DeploymentReading::default() })
    };
    deployments.all().map(of).collect()
}

fn sources(catalog: &Catalog, view: &str) -> Vec<String> {
    let Some(view) = catalog.views.get(view) else { return Vec::new() };
    catalog.sources_of(view).iter().map(|source| source.name.clone()).collect()
}

fn rows_of(counters: &Counters, generation: u32) -> SourceRows {
    let Counters { applied, duplicates, conflicts, refused, dead_lettered, null_keys, superseded, row_errors } = *counters;
    let [without_entity, failed_expressions] = [null_keys, row_errors].map(|count| u64::try_from(count).unwrap_or_default());
    SourceRows {
        generation,
        applied,
        duplicates,
        conflicts,
        late: refused,
        dead_letters: dead_lettered,
        superseded,
        without_entity,
        failed_expressions,
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds, to the microsecond, for a few hundred years")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
