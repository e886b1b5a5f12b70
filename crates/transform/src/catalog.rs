//! Checked definitions, compiled: what every driver, online and offline, runs from.

mod scoring;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use indexmap::IndexMap;
use lockstep_model::{Error, Fingerprint, KeyIndex, TimeMode};

use crate::changes::SourceChanges;
use crate::compile::{self, CompileError, Planner, SourceInput, ViewInput, canonical, digest, physical};
use crate::definition::{
    AvailableAt, Candidates, Column, Definitions, Diagnostic, Lateness, Literal, OLDEST_INPUT_AT, Service, Source, SourceOptions, Version, View,
};
use crate::eval::RowExpr;
use crate::next_event::NextEvent;
use crate::service::{CandidatesInput, JoinInput, Part, ServiceInput, ServicePlan, compile_service};
use crate::transformation::Transformation;

/// All definitions of a project, ready to run. Compiled once; nothing in it changes afterwards.
#[derive(Debug, Default)]
pub struct Catalog {
    /// What it was compiled from.
    pub definitions: Definitions,
    /// Sources by name.
    pub sources: IndexMap<String, Arc<SourcePlan>>,
    /// Feature views by name.
    pub views: IndexMap<String, Arc<Transformation>>,
    /// Feature services by name.
    pub services: IndexMap<String, Arc<ServicePlan>>,
    /// What each model means: its features, their order, its predictions.
    pub models: IndexMap<String, Fingerprint>,
    /// What each deployment means: its models, and what is answered where they do not.
    pub deployments: IndexMap<String, Fingerprint>,
}

/// A source, as reading and admission need it.
#[derive(Debug)]
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its declared columns, all of them nullable.
    pub schema: SchemaRef,
    /// Index of the event time among them.
    pub event_time: usize,
    /// Indices of the primary key's columns, in the key's order.
    pub primary_key: Vec<usize>,
    /// What tells a correction from what it corrects.
    pub version: Option<Version>,
    /// When an event could first be known.
    pub availability: Availability,
    /// How far an event may be behind its partition's newest, µs; `None` is any length.
    pub lateness: Option<i64>,
    /// How far past its append or availability time an event may claim to be, µs.
    pub max_ahead: i64,
    /// The pipeline's own delay, added to the availability, µs.
    pub serving_lag: i64,
    /// What the deployment means whose predictions are its events; absent where they are none.
    pub predicted_by: Option<Fingerprint>,
    /// The options as checked.
    pub options: SourceOptions,
    /// Canonical text of everything that is part of the meaning of a view over it, beside the columns.
    pub meaning: String,
}

/// When an event could first be known.
#[derive(Debug, Clone)]
pub enum Availability {
    /// When it happened.
    None,
    /// When it happened, as far as values go; when the log took it is noted beside, where it says so. No definition says this: it is what audits read a log by.
    Noted,
    /// When the log took it.
    AppendTime,
    /// The value of an expression over the declared columns, a timestamp in µs.
    Expression(RowExpr),
}

impl SourcePlan {
    /// Whether events are known later than they happen, so that the two time modes differ.
    pub fn has_availability(&self) -> bool {
        !matches!(self.availability, Availability::None)
    }

    /// The same source, of whose events an audit knows when they could be known, as far as their log says it. Where `is_late_taken`, what came too late counts, too.
    #[must_use]
    pub fn noted(&self, is_late_taken: bool) -> SourcePlan {
        let SourcePlan {
            name,
            schema,
            event_time,
            primary_key,
            version,
            availability,
            lateness,
            max_ahead,
            serving_lag,
            predicted_by,
            options,
            meaning,
        } = self;
        SourcePlan {
            name: name.clone(),
            schema: Arc::clone(schema),
            event_time: *event_time,
            primary_key: primary_key.clone(),
            version: *version,
            availability: match availability {
                Availability::None => Availability::Noted,
                declared => declared.clone(),
            },
            lateness: lateness.filter(|_| !is_late_taken),
            max_ahead: *max_ahead,
            serving_lag: *serving_lag,
            predicted_by: *predicted_by,
            options: options.clone(),
            meaning: meaning.clone(),
        }
    }
}

impl Catalog {
    /// Compiles definitions, or says what is wrong with each that does not compile. Requests that are events cannot be answered by it: see [`Self::compile_with`].
    pub fn compile(definitions: Definitions) -> Result<Catalog, Vec<Diagnostic>> {
        Catalog::compile_with(definitions, &(Arc::new(NoEvents) as Arc<dyn NextEvent>))
    }

    /// Compiles definitions; `next` decides what a request that is an event comes to.
    pub fn compile_with(definitions: Definitions, next: &Arc<dyn NextEvent>) -> Result<Catalog, Vec<Diagnostic>> {
        let mut catalog = Catalog { definitions, ..Catalog::default() };
        let mut errors = Vec::new();
        // Predictions are made by what reads views, and are views to others: one round more for each step of such a chain, and one that finds nothing to do.
        while errors.is_empty() && catalog.compile_ready(next, &mut errors) {}
        if errors.is_empty() { Ok(catalog) } else { Err(errors) }
    }

    /// Compiles what was not yet and has all that it needs; whether there was anything.
    fn compile_ready(&mut self, next: &Arc<dyn NextEvent>, errors: &mut Vec<Diagnostic>) -> bool {
        let Catalog { definitions, sources, views, services, models, deployments } = self;
        let before = sources.len() + views.len() + services.len() + models.len() + deployments.len();
        let is_made = |source: &Source| definitions.predictions.get(&source.name).is_none_or(|of| deployments.contains_key(&of.deployment));
        let ready: Vec<&Source> = definitions.sources.values().filter(|source| !sources.contains_key(&source.name) && is_made(source)).collect();
        let by = |source: &Source| definitions.predictions.get(&source.name).and_then(|of| deployments.get(&of.deployment)).copied();
        sources.extend(collect(ready.into_iter(), |source| source.name.clone(), |source| source_plan(source, by(source)), errors));
        let has_sources = |view: &&View| view.branches.iter().all(|branch| sources.contains_key(&branch.source));
        let ready: Vec<&View> = definitions.views.values().filter(|view| !views.contains_key(&view.name)).filter(has_sources).collect();
        views.extend(collect(ready.into_iter(), |view| view.name.clone(), |view| self::view(view, definitions, sources), errors));
        let by_name: BTreeMap<String, Arc<Transformation>> = views.iter().map(|(name, view)| (name.clone(), Arc::clone(view))).collect();
        self::services(definitions, &by_name, sources, next, services, errors);
        scoring::models(definitions, services, models, errors);
        scoring::deployments(definitions, services, models, deployments, errors);
        before < sources.len() + views.len() + services.len() + models.len() + deployments.len()
    }

    /// The sources of a view, in the order of its branches.
    pub fn sources_of(&self, view: &Transformation) -> Vec<&Arc<SourcePlan>> {
        view.branches.iter().filter_map(|branch| self.sources.get(&branch.source)).collect()
    }

    /// The time in which a view is read unless told otherwise: that of knowledge where a source of it declares one.
    pub fn time_mode(&self, view: &Transformation) -> TimeMode {
        if self.sources_of(view).iter().any(|source| source.has_availability()) { TimeMode::Known } else { TimeMode::Event }
    }

    /// The time in which a service is read unless told otherwise: that of knowledge where a view of it has one.
    pub fn service_time_mode(&self, service: &ServicePlan) -> TimeMode {
        if service.joins.iter().any(|join| self.time_mode(&join.transformation) == TimeMode::Known) { TimeMode::Known } else { TimeMode::Event }
    }

    /// What a view reads a source from and how, for state below which there is nothing to read, µs; `None` keeps everything.
    ///
    /// Retention is the longest frame or the ttl, whichever is longer, plus the source's lateness and history.
    pub fn retention(&self, view: &Transformation) -> Option<i64> {
        use crate::definition::History;
        let reach = view.reach()?.max(view.ttl.unwrap_or(0));
        let mut longest = reach;
        for source in self.sources_of(view) {
            let History::Within(history) = source.options.history else { return None };
            let beyond = reach.saturating_add(source.lateness?).saturating_add(history.micros()).saturating_add(source.serving_lag);
            longest = longest.max(beyond);
        }
        Some(longest)
    }
}

/// Who does not know of admission.
#[derive(Debug)]
pub struct NoEvents;

impl NextEvent for NoEvents {
    fn admit(
        &self,
        source: &Arc<SourcePlan>,
        _: u16,
        _: &RecordBatch,
        _: i64,
        _: &dyn KeyIndex,
        _: &mut dyn FnMut(SourceChanges<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Err(Error::internal(format!("the definitions were compiled without admission, and a request is to be an event of `{}`", source.name)))
    }
}

/// Compiles each item, keeping what compiles and the errors of what does not.
fn collect<'a, T: 'a, P>(
    items: impl Iterator<Item = &'a T>,
    name: impl Fn(&T) -> String,
    compile: impl Fn(&'a T) -> Result<P, Diagnostic>,
    errors: &mut Vec<Diagnostic>,
) -> IndexMap<String, Arc<P>> {
    let mut compiled = IndexMap::new();
    for item in items {
        match compile(item) {
            Ok(plan) => {
                compiled.insert(name(item), Arc::new(plan));
            }
            Err(error) => errors.push(error),
        }
    }
    compiled
}

fn fields(columns: &[Column]) -> Vec<FieldRef> {
    columns.iter().map(|column| Arc::new(Field::new(&column.name, column.data_type.clone(), true))).collect()
}

fn source_plan(source: &Source, predicted_by: Option<Fingerprint>) -> Result<SourcePlan, Diagnostic> {
    let schema: SchemaRef = Arc::new(Schema::new(fields(&source.columns)));
    let (availability, available) = availability(source, &schema)?;
    let options = &source.options;
    let lateness = match options.allowed_lateness {
        Lateness::Within(interval) => Some(interval.micros()),
        Lateness::Unbounded => None,
    };
    let keys: Vec<&str> = source.primary_key.iter().map(|&column| source.columns[column].name.as_str()).collect();
    let version = match options.version {
        Some(Version::Column(column)) => format!("column {:?}", source.columns[column].name),
        Some(Version::Position) => "position".to_owned(),
        None => "none".to_owned(),
    };
    let predicted = predicted_by.map(|deployment| format!(" predicted by {deployment}")).unwrap_or_default();
    let meaning = format!(
        "primary_key {keys:?} zone {} tzdb {} version {version} lateness {lateness:?} max_ahead {} available {available} lag {}{predicted}",
        options.time_zone.name(),
        crate::calendar::tzdb_release(),
        options.max_ahead.micros(),
        options.serving_lag.micros(),
    );
    Ok(SourcePlan {
        name: source.name.clone(),
        schema,
        event_time: source.event_time,
        primary_key: source.primary_key.clone(),
        version: options.version,
        availability,
        lateness,
        max_ahead: options.max_ahead.micros(),
        serving_lag: options.serving_lag.micros(),
        predicted_by,
        options: options.clone(),
        meaning,
    })
}

/// The availability of a source's rows, and its canonical text.
fn availability(source: &Source, schema: &SchemaRef) -> Result<(Availability, String), Diagnostic> {
    match &source.options.available_at {
        None => Ok((Availability::None, "none".to_owned())),
        Some(AvailableAt::AppendTime) => Ok((Availability::AppendTime, "append_time".to_owned())),
        Some(AvailableAt::Expression { expr, origin, .. }) => {
            let compiled = || -> Result<_, CompileError> {
                let columns = DFSchema::try_from(Arc::clone(schema))?;
                let planner = Planner::new([], None);
                let planned = planner.expr(expr, &columns)?;
                let time = DataType::Timestamp(TimeUnit::Microsecond, None);
                let row = physical(&planned, &columns)?;
                if !matches!(row.data_type, DataType::Timestamp(..)) {
                    return Err(format!("available_at is a moment, and this is of type {}", canonical::type_name(&row.data_type)?).into());
                }
                let mut text = String::new();
                canonical::expr(&mut text, &planned)?;
                use datafusion::logical_expr::ExprSchemable;
                let planned = planner.coerce(planned.cast_to(&time, &columns)?, &columns)?;
                Ok((Availability::Expression(physical(&planned, &columns)?), text))
            };
            compiled().map_err(|error| origin.error(error.message))
        }
    }
}

fn view(view: &View, definitions: &Definitions, sources: &IndexMap<String, Arc<SourcePlan>>) -> Result<Transformation, Diagnostic> {
    let entity = definitions.entities.get(&view.entity);
    let entity = entity.ok_or_else(|| view.origin.error(format!("no entity named `{}`", view.entity)))?;
    let mut inputs = BTreeMap::new();
    for branch in &view.branches {
        let plan = sources.get(&branch.source).ok_or_else(|| view.body.at(branch.span).error(format!("no source named `{}`", branch.source)))?;
        let input = SourceInput {
            schema: Arc::clone(&plan.schema),
            event_time: plan.schema.field(plan.event_time).name().clone(),
            meaning: plan.meaning.clone(),
        };
        inputs.insert(branch.source.clone(), input);
    }
    let input = ViewInput {
        name: &view.name,
        entity: fields(&entity.keys),
        query: &view.query,
        sources: inputs,
        ttl: view.options.ttl.map(|ttl| ttl.micros()),
        resolution: view.options.resolution.map_or(1, |resolution| resolution.micros()),
        limit: view.options.limit.map(|limit| usize::try_from(limit.get()).unwrap_or(usize::MAX)),
    };
    let compiled = compile::compile(&input).map_err(|error| {
        let item = view.features.iter().find(|item| Some(&item.name) == error.feature.as_ref());
        let origin = item.map_or_else(|| view.origin.clone(), |item| view.body.at(item.span));
        origin.error(error.message)
    })?;
    let is_predicted = definitions.predictions.contains_key(&view.name);
    Ok(Transformation { oldest_input: is_predicted.then(|| compiled.features.index_of(OLDEST_INPUT_AT).ok()).flatten(), ..compiled })
}

/// All services whose views compile, in the order of their definitions. Who answers in place of another is compiled before it.
fn services(
    definitions: &Definitions,
    views: &BTreeMap<String, Arc<Transformation>>,
    sources: &IndexMap<String, Arc<SourcePlan>>,
    next: &Arc<dyn NextEvent>,
    compiled: &mut IndexMap<String, Arc<ServicePlan>>,
    errors: &mut Vec<Diagnostic>,
) {
    let fallback = |service: &Service| Some(service.candidates.as_ref()?.fallback.as_ref()?.service.clone());
    let has_views = |service: &&Service| service.joins.iter().all(|join| views.contains_key(&join.view));
    let compiles = |service: &&Service| !compiled.contains_key(&service.name) && has_views(service);
    let (later, first): (Vec<&Service>, Vec<&Service>) =
        definitions.services.values().filter(compiles).partition(|service| fallback(service).is_some());
    let name = |service: &Service| service.name.clone();
    compiled.extend(collect(first.into_iter(), name, |one| service(one, views, sources, next, None), errors));
    let other = |service: &Service| fallback(service).and_then(|other| compiled.get(&other));
    let ready = later.into_iter().filter(|service| other(service).is_some());
    let with_fallback = collect(ready, name, |one| service(one, views, sources, next, other(one)), errors);
    compiled.extend(with_fallback);
    compiled.sort_by(|a, _, b, _| definitions.services.get_index_of(a).cmp(&definitions.services.get_index_of(b)));
}

fn service(
    service: &Service,
    views: &BTreeMap<String, Arc<Transformation>>,
    sources: &IndexMap<String, Arc<SourcePlan>>,
    next: &Arc<dyn NextEvent>,
    fallback: Option<&Arc<ServicePlan>>,
) -> Result<ServicePlan, Diagnostic> {
    let source = |name: &String| sources.get(name).ok_or_else(|| service.origin.error(format!("no source named `{name}`")));
    let request_as = service.request_as.as_ref().map(source).transpose()?;
    let input = ServiceInput {
        name: &service.name,
        request: fields(&service.request),
        request_alias: &service.request_alias,
        joins: service
            .joins
            .iter()
            .map(|join| JoinInput { view: &join.view, alias: &join.alias, keys: join.keys.iter().map(|key| &key.expr).collect() })
            .collect(),
        outputs: service.outputs.iter().map(|output| (output.name.as_str(), &output.expr)).collect(),
        defaults: service.defaults.iter().map(|(name, value)| (name.as_str(), literal(value))).collect(),
        request_as: request_as.map(|source| (source, next)),
        candidates: service.candidates.as_ref().map(|candidates| candidates_input(candidates, fallback)),
        max_age: service.max_age.map(|max_age| max_age.micros()),
    };
    compile_service(&input, views).map_err(|error| {
        let candidates = service.candidates.as_ref();
        let span = match &error.part {
            Part::Service => None,
            Part::Output(name) => service.outputs.iter().find(|output| output.name == *name).map(|output| output.span),
            Part::List(at) => candidates.and_then(|candidates| Some(candidates.columns.get(*at)?.1.span)),
            Part::Filter => candidates.and_then(|candidates| Some(candidates.filter.as_ref()?.span)),
            Part::Order(at) => candidates.and_then(|candidates| Some(candidates.order.get(*at)?.by.span)),
            Part::Fallback => candidates.and_then(|candidates| Some(candidates.fallback.as_ref()?.span)),
        };
        span.map_or_else(|| service.origin.clone(), |span| service.origin.at(span)).error(error.message)
    })
}

fn candidates_input<'a>(candidates: &'a Candidates, fallback: Option<&'a Arc<ServicePlan>>) -> CandidatesInput<'a> {
    let order = candidates.order.iter();
    CandidatesInput {
        alias: &candidates.alias,
        columns: candidates.columns.iter().map(|(name, list)| (name.as_str(), &list.expr)).collect(),
        joins_before: candidates.joins_before,
        filter: candidates.filter.as_ref().map(|filter| &filter.expr),
        order: order.map(|key| (&key.by.expr, SortOptions { descending: key.descending, nulls_first: key.nulls_first })).collect(),
        limit: candidates.limit.map(|limit| limit as usize),
        min_items: candidates.min_items as usize,
        fallback,
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Boolean(value) => value.to_string(),
        Literal::Number(text) | Literal::Text(text) => text.clone(),
    }
}

/// One digest of all that a set of definitions means, for telling one set from another.
pub fn meaning_of_all(catalog: &Catalog) -> Fingerprint {
    let mut text = "lockstep definitions 1\n".to_owned();
    for (name, view) in &catalog.views {
        let _ = writeln!(text, "view {name:?} {}", view.meaning);
    }
    for (name, service) in &catalog.services {
        let _ = writeln!(text, "service {name:?} {}", service.meaning);
    }
    for (name, model) in &catalog.models {
        let _ = writeln!(text, "model {name:?} {model}");
    }
    for (name, deployment) in &catalog.deployments {
        let _ = writeln!(text, "deployment {name:?} {deployment}");
    }
    digest(&text)
}

#[cfg(test)]
mod tests;
