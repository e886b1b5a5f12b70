//! `plan`: what applying the definitions would change, and what it would cost.

mod cost;
mod history;
mod markdown;
mod scoring;
mod values;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use lockstep_store::{AppliedModel, CutRead, DefinitionText, Definitions, GenerationInfo, OnlineStore};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Origin, Span, View};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::diff::{self, Line, diff};
use crate::failure::{Outcome, Wrong};
use crate::models::{self, OtherFeatures, Smoking};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::project::{Project, compile, sources_of_texts};

pub use cost::Cost;
use cost::Known;
pub use history::PlannedFile;
pub use scoring::{PlannedDeployment, PlannedModel, Sides, deployments_of};
pub use values::ViewValues;

/// Show what applying the definitions would change
///
/// Compares the definitions with those that were applied: which views are new, changed or gone and why, which services read them, and what a backfill
/// would read, take and keep. Changes nothing.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Also compute the views that change, as they were and as they would be, for so many entities of their history, and tell how the values differ
    #[arg(long, value_name = "ENTITIES", num_args = 0..=1, default_missing_value = "1000")]
    pub values: Option<NonZeroUsize>,
    /// Print Markdown, for the discussion of a pull request
    #[arg(long)]
    pub markdown: bool,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The definitions as they would be applied.
    pub texts: Vec<DefinitionText>,
    /// The files of their models.
    #[serde(default)]
    pub models: Vec<AppliedModel>,
}

/// What the owner of the store answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// What applying would change.
    pub planned: Planned,
    /// The definitions that it was compared with.
    pub before: Vec<DefinitionText>,
}

/// What applying would change.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Number of the definitions that these were compared with, for `lockstep apply --expect`; 0 where none were applied.
    pub definitions: u64,
    /// Views, in the order of the definitions; then those that are gone.
    pub views: Vec<PlannedView>,
    /// Services, in the same way.
    pub services: Vec<PlannedService>,
    /// Models, in the same way.
    #[serde(default)]
    pub models: Vec<PlannedModel>,
    /// Deployments, in the same way.
    #[serde(default)]
    pub deployments: Vec<PlannedDeployment>,
    /// Files of history that a backfill would read.
    pub backfill: Vec<PlannedFile>,
    /// What the views that change give before and after, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<ViewValues>>,
}

/// What becomes of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    New,
    /// It means something else than before.
    Changed,
    /// It means what it meant.
    Unchanged,
    /// It is there no more.
    Gone,
}

/// What becomes of a view.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedView {
    /// The view.
    pub view: String,
    /// What becomes of it.
    pub change: Change,
    /// The version it has now.
    pub version_before: Option<u32>,
    /// The version it would have.
    pub version_after: Option<u32>,
    /// Whether a backfill is needed before it serves.
    pub backfill: bool,
    /// What that would cost, where its history can be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Features that come.
    pub features_new: Vec<String>,
    /// Features that mean something else.
    pub features_changed: Vec<String>,
    /// Features that go.
    pub features_gone: Vec<String>,
    /// Whether its FROM, WHERE or a source of it changed, and with it every feature.
    pub rows_changed: bool,
    /// Its definition and those of its sources, where they changed.
    pub differences: Vec<StatementDiff>,
    /// Services that read it.
    pub services: Vec<String>,
}

/// A definition that changed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StatementDiff {
    /// What it defines: `source departures`.
    pub of: String,
    /// What changed.
    pub lines: Vec<Line>,
}

/// What becomes of a service.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedService {
    /// The service.
    pub service: String,
    /// What becomes of it.
    pub change: Change,
}

/// Plans.
///
/// # Errors
/// [`Wrong`] where the definitions do not check out; where the store cannot be read; where values are to be compared, as reading history has.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    if arguments.markdown && context.out.json {
        return Err(Error::invalid("a plan is printed as Markdown or as JSON · leave out --markdown or --json").into());
    }
    let project = context.project()?;
    let files = project.files()?;
    let after = compile(&files).map_err(Wrong)?;
    let read = models::read(&project, &after)?;
    // A server may run what this machine cannot.
    if context.global.server.is_none() {
        models::bind(&after, &read, Smoking::Not).map_err(Wrong)?;
    }
    let question = Question { texts: project.texts(&files), models: models::pins(&after, &read) };
    let Answer { mut planned, before } =
        if context.has_store(&project) { context.ask(&question)? } else { question.plan(&project, None, None, &[], &[])? };
    if let Some(sample) = arguments.values {
        let before = compile(&sources_of_texts(&before)).map_err(Wrong)?;
        planned.values = Some(values::compare(&project, &before, &after, &planned.views, sample)?);
    }
    if arguments.markdown {
        context.out.print(&planned.markdown())?
    } else {
        context.out.show(&planned)?
    }
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "plan";
    type Answer = Answer;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Answer> {
        let cut = OnlineStore::cut(&*owned.store);
        let applied = cut.definitions()?;
        let catalog = applied.as_ref().map(|applied| owned.compiled(applied)).transpose()?;
        let after = compile(&sources_of_texts(&self.texts)).map_err(Wrong)?;
        let met = models::meeting_other_features(owned, &cut.definitions_history()?, &after, &self.models)?;
        self.plan(&owned.project, applied.zip(catalog), Some(&*cut), &met, &cost::known(&owned.store, &*cut)?)
    }
}

impl Question {
    /// Compares with what was applied last; `met` are models that would meet other features.
    fn plan(
        &self,
        project: &Project,
        applied: Option<(Definitions, Arc<Catalog>)>,
        cut: Option<&dyn CutRead>,
        met: &[OtherFeatures],
        known: &[Known],
    ) -> Result<Answer> {
        let after = compile(&sources_of_texts(&self.texts)).map_err(Wrong)?;
        let (definitions, texts, files, before) = match applied {
            Some((Definitions { version, applied, .. }, catalog)) => (version, applied.texts, applied.models, catalog),
            None => (0, Vec::new(), Vec::new(), Arc::new(nothing()?)),
        };
        let (mut views, services) = changes(&before, &after, cut)?;
        let backfill = history::backfill(project, &after, &views);
        for planned in views.iter_mut().filter(|view| view.backfill) {
            planned.cost = after.views.get(&planned.view).and_then(|view| Cost::new(view, &backfill, known));
        }
        let sides = Sides { before: &before, after: &after, files_before: &files, files_after: &self.models, met };
        let (models, deployments) = (sides.models(), sides.deployments());
        Ok(Answer { planned: Planned { definitions, views, services, models, deployments, backfill, values: None }, before: texts })
    }
}

/// What is applied to a store that is not there.
fn nothing() -> Result<Catalog> {
    Ok(compile(&[]).map_err(Wrong)?)
}

/// What changes from one set of definitions to another, with the versions that a store has of them.
///
/// # Errors
/// Where the store cannot be read.
pub fn changes(before: &Catalog, after: &Catalog, cut: Option<&dyn CutRead>) -> Result<(Vec<PlannedView>, Vec<PlannedService>)> {
    let generations = cut.map_or_else(|| Ok(Vec::new()), CutRead::generations)?;
    let mut views = Vec::with_capacity(after.views.len());
    for view in after.views.values() {
        let version = cut.map_or(Ok(1), |cut| cut.version_for(&view.view, view.meaning, view.state))?;
        views.push(planned_view(before, after, &generations, view, version));
    }
    views.extend(before.views.values().filter(|view| !after.views.contains_key(&view.view)).map(|view| gone(before, &generations, view)));
    let mut services: Vec<PlannedService> = Vec::new();
    for (name, service) in &after.services {
        let change = match before.services.get(name) {
            None => Change::New,
            Some(old) if old.meaning == service.meaning => Change::Unchanged,
            Some(_) => Change::Changed,
        };
        services.push(PlannedService { service: name.clone(), change });
    }
    let is_gone = |name: &&String| !after.services.contains_key(*name);
    services.extend(before.services.keys().filter(is_gone).map(|name| PlannedService { service: name.clone(), change: Change::Gone }));
    Ok((views, services))
}

fn planned_view(before: &Catalog, after: &Catalog, generations: &[GenerationInfo], view: &Transformation, version_after: u32) -> PlannedView {
    let name = &view.view;
    let of_view = || generations.iter().filter(|info| info.view == *name);
    let same = of_view().rfind(|info| info.meaning == view.meaning && info.state == view.state);
    let old = before.views.get(name);
    let version = |old: &Arc<Transformation>| of_view().rfind(|info| info.meaning == old.meaning && info.state == old.state).map(|info| info.version);
    let change = match old {
        None => Change::New,
        Some(old) if old.meaning == view.meaning && old.state == view.state => Change::Unchanged,
        Some(_) => Change::Changed,
    };
    let mut planned = PlannedView {
        view: name.clone(),
        change,
        version_before: old.and_then(version),
        version_after: Some(version_after),
        backfill: !same.is_some_and(GenerationInfo::published),
        cost: None,
        features_new: Vec::new(),
        features_changed: Vec::new(),
        features_gone: Vec::new(),
        rows_changed: false,
        differences: Vec::new(),
        services: readers(after, name),
    };
    if let (Change::Changed, Some(old), Some(new)) = (change, before.definitions.views.get(name), after.definitions.views.get(name)) {
        compare_features(&mut planned, old, new);
        compare_statements(&mut planned, before, after, old, new);
    }
    planned
}

fn compare_features(planned: &mut PlannedView, old: &View, new: &View) {
    for feature in &new.features {
        match old.features.iter().find(|earlier| earlier.name == feature.name) {
            None => planned.features_new.push(feature.name.clone()),
            Some(earlier) if old.feature_text(earlier) != new.feature_text(feature) => planned.features_changed.push(feature.name.clone()),
            Some(_) => {}
        }
    }
    let is_gone = |feature: &&lockstep_transform::definition::FeatureItem| !new.features.iter().any(|later| later.name == feature.name);
    planned.features_gone = old.features.iter().filter(is_gone).map(|feature| feature.name.clone()).collect();
}

fn compare_statements(planned: &mut PlannedView, before: &Catalog, after: &Catalog, old: &View, new: &View) {
    planned.rows_changed = old.rows_text() != new.rows_text();
    let names: BTreeSet<&str> = new.branches.iter().map(|branch| branch.source.as_str()).collect();
    for name in names {
        let (Some(was), Some(is)) = (before.sources.get(name), after.sources.get(name)) else { continue };
        if was.meaning == is.meaning && was.schema == is.schema && was.event_time == is.event_time {
            continue;
        }
        planned.rows_changed = true;
        if let (Some(was), Some(is)) = (before.definitions.sources.get(name), after.definitions.sources.get(name)) {
            let lines = diff(statement(&was.origin, was.statement), statement(&is.origin, is.statement));
            planned.differences.push(StatementDiff { of: format!("source {name}"), lines });
        }
    }
    let lines = diff(statement(&old.origin, old.statement), statement(&new.origin, new.statement));
    if !lines.is_empty() {
        planned.differences.push(StatementDiff { of: format!("feature view {}", new.name), lines });
    }
}

fn statement(origin: &Origin, span: Span) -> &str {
    origin.file.slice(span)
}

fn gone(before: &Catalog, generations: &[GenerationInfo], view: &Transformation) -> PlannedView {
    let version = generations.iter().rfind(|info| info.view == view.view && info.meaning == view.meaning).map(|info| info.version);
    PlannedView {
        view: view.view.clone(),
        change: Change::Gone,
        version_before: version,
        version_after: None,
        backfill: false,
        cost: None,
        features_new: Vec::new(),
        features_changed: Vec::new(),
        features_gone: view.features.fields().iter().map(|field| field.name().clone()).collect(),
        rows_changed: false,
        differences: Vec::new(),
        services: readers(before, &view.view),
    }
}

fn readers(catalog: &Catalog, view: &str) -> Vec<String> {
    catalog.services.values().filter(|service| service.joins.iter().any(|join| join.view == view)).map(|service| service.name.clone()).collect()
}

impl Report for Planned {
    fn text(&self, paint: Paint) -> String {
        let mut text: String = self.views.iter().map(|view| view_text(view, paint)).collect();
        for service in self.services.iter().filter(|service| service.change != Change::Unchanged) {
            text += &service_text(service, paint);
        }
        for model in self.models.iter().filter(|model| model.change != Change::Unchanged || model.other_features.is_some()) {
            text += &model.text(paint);
        }
        for deployment in self.deployments.iter().filter(|deployment| deployment.change != Change::Unchanged) {
            text += &deployment.text(paint);
        }
        for values in self.values.iter().flatten() {
            text += &values.text(paint);
        }
        text + &self.backfill_text(paint) + &self.next(paint)
    }
}

fn change_text(change: Change, paint: Paint) -> String {
    match change {
        Change::New => paint.green("new      "),
        Change::Changed => paint.yellow("changed  "),
        Change::Unchanged => paint.dim("unchanged"),
        Change::Gone => paint.red("gone     "),
    }
}

/// What becomes of a service, as people read it.
pub fn service_text(service: &PlannedService, paint: Paint) -> String {
    format!("{} {}\n", change_text(service.change, paint), paint.dim(format!("service {}", service.service)))
}

/// What becomes of a view, as people read it.
pub fn view_text(view: &PlannedView, paint: Paint) -> String {
    let mut text = format!("{} {}  {}\n", change_text(view.change, paint), paint.bold(&view.view), view.about());
    if let Some(cost) = &view.cost {
        let _ = writeln!(text, "  costs {}", cost.text());
    }
    if view.change != Change::Changed {
        return text;
    }
    if view.rows_changed {
        text += "  its rows change, and with them every feature\n";
    }
    for (what, features) in view.features() {
        if !features.is_empty() {
            let _ = writeln!(text, "  {what}: {}", features.join(", "));
        }
    }
    for difference in &view.differences {
        let _ = writeln!(text, "  {}", paint.cyan(&difference.of));
        text += &diff::text(&difference.lines, "    ", paint);
    }
    text
}

impl PlannedView {
    /// Its versions, what they need, and who reads it.
    fn about(&self) -> String {
        let version = match (self.version_before, self.version_after) {
            (Some(before), Some(after)) if before != after => format!("version {before} → {after}"),
            (_, Some(after)) => format!("version {after}"),
            (Some(before), None) => format!("version {before} stays until `lockstep drop {}@{before}`", self.view),
            (None, None) => String::new(),
        };
        let backfill = if self.backfill { ", to be backfilled" } else { "" };
        let read = if self.services.is_empty() { String::new() } else { format!(", read by {}", self.services.join(", ")) };
        format!("{version}{backfill}{read}")
    }

    /// The features that come, change and go.
    fn features(&self) -> [(&'static str, &[String]); 3] {
        [("comes", &self.features_new), ("changes", &self.features_changed), ("goes", &self.features_gone)]
    }
}

impl Planned {
    /// What becomes of each definition.
    fn changes(&self) -> impl Iterator<Item = Change> {
        let (views, services) = (self.views.iter().map(|view| view.change), self.services.iter().map(|service| service.change));
        let (models, deployments) = (self.models.iter().map(|model| model.change), self.deployments.iter().map(|deployment| deployment.change));
        views.chain(services).chain(models).chain(deployments)
    }

    /// What to do next, and the number of what this was compared with.
    fn next(&self, paint: Paint) -> String {
        let applies = self.changes().any(|change| change != Change::Unchanged);
        let stops = self.models.iter().any(|model| model.other_features.is_some());
        if stops {
            return format!("{} models that would meet other features; `lockstep apply` refuses them, and says what to do\n", paint.bold("first:"));
        }
        let next = match (applies, self.views.iter().any(|view| view.backfill)) {
            (true, true) => "`lockstep apply`, then `lockstep backfill`",
            (true, false) => "`lockstep apply`",
            (false, true) => "`lockstep backfill`",
            (false, false) => return "nothing would change\n".to_owned(),
        };
        let compared = match self.definitions {
            number if applies && number > 0 => format!(" · compared with version {number} of the definitions"),
            _ => String::new(),
        };
        format!("{} {next}{}\n", paint.bold("next:"), paint.dim(compared))
    }
}
