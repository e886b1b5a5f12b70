//! What there is and how it hangs together: from sources to features, services and models; what takes how much room and is asked how often; snapshots and releases.
//!
//! It is what a page in a browser shows beside [`super::introduce::status`], and is said over HTTP alone: a service that asks for features has no use for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_model::{Error, EventTime};
use lockstep_store::{Listed, Release, Switch, SwitchKind};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::{Origin as Written, Span, sql_name};
use lockstep_transform::service::ServicePlan;
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::Serialize;

use super::deadline::Deadline;
use super::failure::Failure;
use super::introduce;
use super::service::{Origin, Service};
use crate::live::{Reach, State};
use crate::metrics::Answers;
use crate::scoring::{Deployed, Stage};
use crate::usage::Known;

/// Moves of the pointer that are told of, the newest.
const SWITCHES_MAX: usize = 50;

/// What there is and how it hangs together.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// The moment of it.
    now: String,
    /// The number of the definitions that serve.
    definitions: u64,
    sources: Vec<SourceEntry>,
    views: Vec<ViewEntry>,
    services: Vec<ServiceEntry>,
    models: Vec<ModelEntry>,
    deployments: Vec<DeploymentEntry>,
    /// The last moves of the pointer to what serves, the newest first.
    releases: Vec<SwitchEntry>,
    /// The newest first.
    snapshots: Vec<SnapshotEntry>,
    /// Since when it is noted what is asked for; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_since: Option<String>,
}

/// A source.
#[derive(Debug, Serialize, JsonSchema)]
struct SourceEntry {
    name: String,
    /// Its log, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    /// Files of its history.
    batch: Vec<String>,
    columns: usize,
    /// The silence after which it is worth an alert, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_events_every: Option<f64>,
    /// Its SQL.
    sql: String,
    /// The views that read it.
    views: Vec<String>,
}

/// A feature view.
#[derive(Debug, Serialize, JsonSchema)]
struct ViewEntry {
    name: String,
    /// Columns of its key.
    keys: Vec<ColumnEntry>,
    features: Vec<FeatureEntry>,
    sources: Vec<String>,
    /// The services that join it.
    services: Vec<String>,
    version: u32,
    /// Its SQL.
    sql: String,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<f64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_staleness: Option<f64>,
    /// About how much room its state takes on the disk.
    bytes: u64,
    /// Rows that were applied to it since it was made.
    applied: u64,
    /// Rows of it that were asked for since the server began, by its name, its features' or a service that joins it.
    asked: u64,
    /// When it was asked last, in any of these ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<String>,
}

/// A column.
#[derive(Debug, Serialize, JsonSchema)]
struct ColumnEntry {
    name: String,
    /// As definitions write it.
    r#type: String,
}

/// A feature of a view.
#[derive(Debug, Serialize, JsonSchema)]
struct FeatureEntry {
    name: String,
    r#type: String,
    /// The outputs of services that read it, as `service.output`.
    outputs: Vec<String>,
    /// When it was read last: by its view, or by a service that has such an output.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<String>,
}

/// A feature service.
#[derive(Debug, Serialize, JsonSchema)]
struct ServiceEntry {
    name: String,
    request: Vec<ColumnEntry>,
    outputs: Vec<OutputEntry>,
    /// Its SQL.
    sql: String,
    /// The models that are given its outputs.
    models: Vec<String>,
    /// Rows that were asked for since the server began, those of deployments over it included.
    asked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<String>,
}

/// An output of a service.
#[derive(Debug, Serialize, JsonSchema)]
struct OutputEntry {
    name: String,
    r#type: String,
    /// The features that it reads, as `view.feature`.
    reads: Vec<String>,
}

/// A model.
#[derive(Debug, Serialize, JsonSchema)]
struct ModelEntry {
    name: String,
    service: String,
    /// The outputs that go into it.
    inputs: Vec<String>,
    predictions: Vec<String>,
    /// The deployments that run it.
    deployments: Vec<String>,
}

/// A deployment.
#[derive(Debug, Serialize, JsonSchema)]
struct DeploymentEntry {
    name: String,
    stages: Vec<StageEntry>,
    /// Rows that were asked for since the server began.
    asked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<String>,
}

/// A model in its place.
#[derive(Debug, Serialize, JsonSchema)]
struct StageEntry {
    /// What the deployment calls it; `fallback` and `shadow` for those.
    step: String,
    model: String,
    /// SHA-256 of its file, in hexadecimal.
    sha256: String,
    runtime: String,
    /// Rows that it has run since it was loaded.
    rows: u64,
    /// Runs that failed, were too late, or for which there was no room.
    failures: u64,
}

/// A move of the pointer to what serves.
#[derive(Debug, Serialize, JsonSchema)]
struct SwitchEntry {
    epoch: u64,
    release: u32,
    definitions: u64,
    at: String,
    /// `promote` or `roll_back`.
    kind: &'static str,
    forced: bool,
    /// Whether a limit that was passed made it.
    automatic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A snapshot.
#[derive(Debug, Serialize, JsonSchema)]
struct SnapshotEntry {
    name: String,
    /// The moment up to which it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    /// Bytes that only it has.
    own_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What is wrong with it, as far as its manifest tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

/// Says it. Where the store does not answer, the call fails.
pub async fn overview(service: &Arc<Service>, deadline: Deadline) -> Result<Overview, Failure> {
    service.run(service.how_to_say(&deadline)?, |service, origin| Ok(tell(service, origin)?)).await
}

fn tell(service: &Service, origin: Origin) -> Result<Overview, Error> {
    // Directories and file sizes are read, which are never in memory.
    let Some(Reach::Disk) = origin.reach() else { return Err(lockstep_store::NotInMemory.into()) };
    let (live, state) = (&service.live, introduce::state(service, origin)?);
    let known = service.usage().map(|usage| usage.known());
    let asked = Asked::new(state.catalog(), service.metrics.answers(), known.as_ref());
    let catalog = state.catalog();
    let views = catalog.views.iter().map(|(name, view)| view_entry(service, &state, (name, view), &asked)).collect::<Result<_, Error>>()?;
    let cut = state.cut(Reach::Disk);
    let (releases, switches) = (cut.releases()?, cut.switches()?);
    let moves = switches.iter().rev().take(SWITCHES_MAX);
    Ok(Overview {
        now: live.now().to_string(),
        definitions: state.version,
        sources: catalog.sources.values().map(|source| source_entry(catalog, source)).collect(),
        views,
        services: catalog.services.values().map(|service| service_entry(catalog, service, &asked)).collect(),
        models: model_entries(catalog),
        deployments: state.deployments().all().map(|deployed| deployment_entry(deployed, &asked)).collect(),
        releases: moves.map(|switch| switch_entry(switch, &releases)).collect(),
        snapshots: live.store().snapshots().list()?.into_iter().rev().map(snapshot_entry).collect(),
        used_since: known.map(|known| known.since.to_string()),
    })
}

/// What is asked how often, and when it was last: what asks for a deployment asks for its services, and that for views and features.
struct Asked {
    rows: BTreeMap<String, u64>,
    at: BTreeMap<String, EventTime>,
    /// When each name was asked last by itself.
    by_name: BTreeMap<String, EventTime>,
    /// By feature, as `view.feature`: the outputs that read it, as `service.output`.
    outputs: BTreeMap<String, Vec<String>>,
}

impl Asked {
    fn new(catalog: &Catalog, answers: BTreeMap<String, Answers>, known: Option<&Known>) -> Asked {
        let rows = answers.into_iter().map(|(name, answered)| (name, answered.rows)).collect();
        let by_name = known.map(|known| known.asked.clone()).unwrap_or_default();
        let mut asked = Asked { rows, at: by_name.clone(), by_name, outputs: BTreeMap::new() };
        for (name, deployment) in &catalog.definitions.deployments {
            let models = deployment.models().filter_map(|model| catalog.definitions.models.get(model));
            let services: BTreeSet<&str> = models.map(|model| model.service.as_str()).collect();
            services.into_iter().for_each(|service| asked.hand_down(name, service));
        }
        for (name, plan) in &catalog.services {
            let views: BTreeSet<&str> = plan.joins.iter().map(|join| join.view.as_str()).collect();
            views.into_iter().for_each(|view| asked.hand_down(name, view));
            let mut features = BTreeSet::new();
            for output in &plan.outputs {
                for feature in read_by(plan, output).collect::<BTreeSet<_>>() {
                    asked.outputs.entry(feature.clone()).or_default().push(format!("{name}.{}", output.name));
                    features.insert(feature);
                }
            }
            features.iter().for_each(|feature| asked.hand_down(name, feature));
        }
        asked
    }

    fn hand_down(&mut self, from: &str, to: &str) {
        if let Some(rows) = self.rows.get(from).copied() {
            *self.rows.entry(to.to_owned()).or_default() += rows;
        }
        if let Some(at) = self.at.get(from).copied() {
            let latest = self.at.entry(to.to_owned()).or_insert(at);
            *latest = (*latest).max(at);
        }
    }

    fn rows(&self, name: &str) -> u64 {
        self.rows.get(name).copied().unwrap_or_default()
    }

    fn at(&self, name: &str) -> Option<String> {
        self.at.get(name).map(EventTime::to_string)
    }

    /// Of a feature: by a service, or with the whole of its view. That it was asked for by another view's services is no reading of it.
    fn feature(&self, view: &str, feature: &str) -> Option<String> {
        let by_service = self.at.get(feature).copied();
        by_service.max(self.by_name.get(view).copied()).map(|at| at.to_string())
    }

    /// The outputs of services that read a feature.
    fn outputs(&self, feature: &str) -> Vec<String> {
        self.outputs.get(feature).cloned().unwrap_or_default()
    }
}

/// The features that an output reads, as `view.feature`.
fn read_by<'a>(plan: &'a ServicePlan, output: &'a lockstep_transform::service::Output) -> impl Iterator<Item = String> + 'a {
    output.inputs.iter().map(|&(join, feature)| {
        let join = &plan.joins[join];
        format!("{}.{}", join.view, join.transformation.features.field(feature).name())
    })
}

fn sql(origin: &Written, statement: Span) -> String {
    origin.file.slice(statement).trim().to_owned()
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn columns<'a>(fields: impl Iterator<Item = &'a Arc<arrow::datatypes::Field>>) -> Vec<ColumnEntry> {
    fields.map(|field| ColumnEntry { name: field.name().clone(), r#type: sql_name(field.data_type()) }).collect()
}

fn source_entry(catalog: &Catalog, source: &SourcePlan) -> SourceEntry {
    let reads = |(_, view): &(&String, &Arc<Transformation>)| catalog.sources_of(view).iter().any(|of| of.name == source.name);
    let written = catalog.definitions.sources.get(&source.name);
    SourceEntry {
        name: source.name.clone(),
        stream: source.options.stream.clone(),
        batch: source.options.batch.clone(),
        columns: source.schema.fields().len(),
        expect_events_every: source.options.expect_events_every.map(|every| seconds(every.micros())),
        sql: written.map(|source| sql(&source.origin, source.statement)).unwrap_or_default(),
        views: catalog.views.iter().filter(reads).map(|(name, _)| name.clone()).collect(),
    }
}

fn view_entry(service: &Service, state: &State, (name, view): (&String, &Arc<Transformation>), asked: &Asked) -> Result<ViewEntry, Error> {
    let (catalog, generation) = (state.catalog(), state.served.generation(name));
    let written = catalog.definitions.views.get(name);
    let counters = generation.map(|info| state.cut(Reach::Disk).counters(info.generation)).transpose()?.unwrap_or_default();
    let feature = |field: &Arc<arrow::datatypes::Field>| {
        let qualified = format!("{name}.{}", field.name());
        FeatureEntry {
            name: field.name().clone(),
            r#type: sql_name(field.data_type()),
            outputs: asked.outputs(&qualified),
            asked_at: asked.feature(name, &qualified),
        }
    };
    let joins = |(_, plan): &(&String, &Arc<ServicePlan>)| plan.joins.iter().any(|join| join.view == *name);
    Ok(ViewEntry {
        name: name.clone(),
        keys: columns(view.entity.iter()),
        features: view.features.fields().iter().map(feature).collect(),
        sources: catalog.sources_of(view).iter().map(|source| source.name.clone()).collect(),
        services: catalog.services.iter().filter(joins).map(|(name, _)| name.clone()).collect(),
        version: generation.map_or(0, |info| info.version),
        sql: written.map(|view| sql(&view.origin, view.statement)).unwrap_or_default(),
        ttl: view.ttl.map(seconds),
        max_staleness: written.and_then(|view| view.options.max_staleness).map(|bound| seconds(bound.micros())),
        bytes: generation.map_or(0, |info| service.live.store().approximate_bytes(info.generation)),
        applied: counters.values().map(|counters| counters.applied).sum(),
        asked: asked.rows(name),
        asked_at: asked.at(name),
    })
}

fn service_entry(catalog: &Catalog, plan: &ServicePlan, asked: &Asked) -> ServiceEntry {
    let outputs = plan.outputs.iter().zip(plan.schema.fields()).map(|(output, field)| OutputEntry {
        name: output.name.clone(),
        r#type: sql_name(field.data_type()),
        reads: read_by(plan, output).collect(),
    });
    let written = catalog.definitions.services.get(&plan.name);
    let models = catalog.definitions.models.iter().filter(|(_, model)| model.service == plan.name);
    ServiceEntry {
        name: plan.name.clone(),
        request: columns(plan.request.fields().iter()),
        outputs: outputs.collect(),
        sql: written.map(|service| sql(&service.origin, service.statement)).unwrap_or_default(),
        models: models.map(|(name, _)| name.clone()).collect(),
        asked: asked.rows(&plan.name),
        asked_at: asked.at(&plan.name),
    }
}

fn model_entries(catalog: &Catalog) -> Vec<ModelEntry> {
    let definitions = &catalog.definitions;
    let run_by = |model: &str| {
        let runs = definitions.deployments.iter().filter(move |(_, deployment)| deployment.models().any(|of| of == model));
        runs.map(|(name, _)| name.clone()).collect()
    };
    let entry = |(name, model): (&String, &lockstep_transform::definition::Model)| ModelEntry {
        name: name.clone(),
        service: model.service.clone(),
        inputs: model.inputs.values().flatten().cloned().collect(),
        predictions: model.predictions.iter().map(|prediction| prediction.name.clone()).collect(),
        deployments: run_by(name),
    };
    definitions.models.iter().map(entry).collect()
}

fn deployment_entry(deployed: &Deployed, asked: &Asked) -> DeploymentEntry {
    let stage = |stage: &Stage| {
        let counted = stage.model.figures().counted;
        StageEntry {
            step: stage.name.clone(),
            model: stage.model.bound.name.clone(),
            sha256: stage.model.bound.sha256.clone(),
            runtime: stage.model.bound.runtime.to_string(),
            rows: counted.rows,
            failures: counted.failed + counted.panicked + counted.hung + counted.late + counted.shed,
        }
    };
    DeploymentEntry {
        name: deployed.name.clone(),
        stages: deployed.stages().map(stage).collect(),
        asked: asked.rows(&deployed.name),
        asked_at: asked.at(&deployed.name),
    }
}

fn switch_entry(switch: &Switch, releases: &[Release]) -> SwitchEntry {
    let release = releases.iter().find(|release| release.release == switch.release);
    SwitchEntry {
        epoch: switch.epoch,
        release: switch.release,
        definitions: release.map_or(0, |release| release.new.definitions),
        at: switch.at.to_string(),
        kind: match switch.new.kind {
            SwitchKind::Promote => "promote",
            SwitchKind::RollBack => "roll_back",
        },
        forced: switch.new.forced,
        automatic: switch.new.automatic,
        by: switch.new.by.clone(),
        reason: switch.new.reason.clone(),
    }
}

fn snapshot_entry(listed: Listed) -> SnapshotEntry {
    let Listed { name, manifest, own_bytes } = listed;
    let (manifest, damage) = match manifest {
        Ok(manifest) => (Some(manifest), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let (moment, created_at) = (manifest.as_ref().map(|of| of.moment.to_string()), manifest.as_ref().map(|of| of.created_at.to_string()));
    SnapshotEntry { name, moment, created_at, own_bytes, reason: manifest.and_then(|of| of.reason), damage }
}
