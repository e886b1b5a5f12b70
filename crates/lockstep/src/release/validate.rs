//! Whether a candidate may serve: its features at one moment, against limits and against those that serve.

use std::fmt::Write;

use anyhow::Result;
use lockstep_model::position::watermark;
use lockstep_model::{EventTime, Generation, Status};
use lockstep_store::{CutRead, GenerationInfo};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::drift::stability_index;
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ValidateConfig;
use super::measure::{Measured, MeasuredFeature, Of, measure};
use crate::output::Paint;
use crate::table::{Align, Cell, Table};
use crate::text::{age, counted, grouped};

/// Definitions, with the generation of each of their views, and where those are read.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The store, or a snapshot.
    pub cut: &'a dyn CutRead,
    /// The definitions.
    pub catalog: &'a Catalog,
    /// Their generations.
    pub generations: &'a [GenerationInfo],
}

/// What validation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    /// The moment that features were read at.
    pub moment: String,
    /// Whether every check held.
    pub passed: bool,
    /// Each view.
    pub views: Vec<ValidatedView>,
}

/// What was found of a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValidatedView {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// The version that serves.
    pub serving: Option<u32>,
    /// Whether its state is what serves already, so that there is nothing to look at.
    pub same_state: bool,
    /// Its entities.
    pub entities: u64,
    /// How many of them were looked at.
    pub sampled: u64,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The feature; absent where it is about the view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// What.
    pub what: What,
    /// What it is in the candidate.
    pub value: f64,
    /// What it is in what serves, where that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<f64>,
    /// The bound.
    pub limit: f64,
    /// Whether it holds.
    pub passed: bool,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// How many entities there are, at least.
    Entities,
    /// By what share there are fewer entities than in what serves.
    EntitiesFall,
    /// Seconds by which the watermark is behind that of what serves.
    Behind,
    /// The share of entities with a value, at least.
    Coverage,
    /// By how much it is less than in what serves.
    CoverageFall,
    /// The share of entities with NULL, at most.
    NullShare,
    /// By how much it is more than in what serves.
    NullShareRise,
    /// By how much values have moved, as a population stability index.
    Drift,
}

impl What {
    fn text(self) -> &'static str {
        match self {
            What::Entities => "entities",
            What::EntitiesFall => "fewer entities",
            What::Behind => "behind",
            What::Coverage => "coverage",
            What::CoverageFall => "less coverage",
            What::NullShare => "NULLs",
            What::NullShareRise => "more NULLs",
            What::Drift => "drift",
        }
    }

    /// A value of it, for people.
    fn shown(self, value: f64) -> String {
        match self {
            What::Entities => grouped(value as u64),
            What::Behind if value == f64::MAX => "all there is".to_owned(),
            What::Behind => age((value * 1e6) as i64),
            What::Drift => format!("{value:.3}"),
            _ => format!("{:.1} %", value * 100.0),
        }
    }
}

/// Validates a candidate against what serves, both at one moment.
///
/// # Errors
/// Where the store cannot be read; as `progress` has.
pub fn validate(
    candidate: Side<'_>,
    serving: Option<Side<'_>>,
    (moment, limits): (EventTime, &ValidateConfig),
    progress: &dyn Fn(&str) -> Result<()>,
) -> Result<Validation> {
    let mut views = Vec::new();
    // Runs of predictions are validated when they are published.
    let predictions = &candidate.catalog.definitions.predictions;
    for view in candidate.catalog.views.values().filter(|view| !predictions.contains_key(&view.view)) {
        let Some(is) = candidate.view(&view.view) else { continue };
        let was = serving.as_ref().and_then(|serving| serving.view(&view.view));
        views.push(validated(is, was, (moment, limits), progress)?);
    }
    let passed = views.iter().all(ValidatedView::passed);
    Ok(Validation { moment: moment.to_string(), passed, views })
}

/// A run of predictions beside the one that serves, each with its number.
///
/// # Errors
/// Internal where a prediction is of another type in both.
pub fn compared(name: &str, (run, now): (u32, &Measured), before: Option<(u32, &Measured)>, limits: &ValidateConfig) -> Result<ValidatedView> {
    let mut checks = absolute(now, limits);
    if let Some((_, before)) = before {
        checks.extend(relative(now, before, [None; 2], limits)?);
    }
    Ok(ValidatedView {
        view: name.to_owned(),
        version: run,
        serving: before.map(|(run, _)| run),
        same_state: false,
        entities: now.entities,
        sampled: now.sampled,
        checks,
    })
}

/// A view of one side.
#[derive(Clone, Copy)]
struct ViewOf<'a> {
    cut: &'a dyn CutRead,
    catalog: &'a Catalog,
    view: &'a Transformation,
    info: &'a GenerationInfo,
}

fn validated(
    is: ViewOf<'_>,
    was: Option<ViewOf<'_>>,
    (moment, limits): (EventTime, &ValidateConfig),
    progress: &dyn Fn(&str) -> Result<()>,
) -> Result<ValidatedView> {
    let same_state = was.map_or(Ok(false), |was| is.is_state_of(was))?;
    let (view, version, serving) = (is.view.view.clone(), is.info.version, was.map(|was| was.info.version));
    let found = |entities, sampled, checks| ValidatedView { view, version, serving, same_state, entities, sampled, checks };
    if same_state {
        return Ok(found(0, 0, Vec::new()));
    }
    let measured = |of: ViewOf<'_>, side: &str| {
        let (name, time, sample) = (&of.view.view, of.catalog.time_mode(of.view), limits.sample.get());
        let told = |read: u64| progress(&format!("validating `{name}`, {side}: {} read", counted(read, "entity", "entities")));
        measure(of.cut, Of { view: of.view, generation: of.info.generation, time, moment: moment.0, sample }, &told)
    };
    let now = measured(is, "the candidate")?;
    let mut checks = absolute(&now, limits);
    if let Some(was) = was {
        let before = measured(was, "what serves")?;
        let end = |of: ViewOf<'_>| watermark_of(of.cut, of.catalog, of.view, of.info.generation);
        // Of two cuts one is behind by nature: it was taken earlier.
        let ends = if std::ptr::addr_eq(is.cut, was.cut) { [end(is)?, end(was)?] } else { [None; 2] };
        checks.extend(relative(&now, &before, ends, limits)?);
    }
    Ok(found(now.entities, now.sampled, checks))
}

impl<'a> Side<'a> {
    fn view(&self, name: &str) -> Option<ViewOf<'a>> {
        let view = self.catalog.views.get(name)?;
        Some(ViewOf { cut: self.cut, catalog: self.catalog, view, info: self.generations.iter().find(|info| info.view == name)? })
    }
}

impl ViewOf<'_> {
    /// Whether both are one state: what two cuts have of a generation is the same where it stands at the same positions.
    fn is_state_of(self, other: ViewOf<'_>) -> Result<bool> {
        let generation = self.info.generation;
        Ok(generation == other.info.generation && self.cut.positions(generation)? == other.cut.positions(generation)?)
    }
}

impl ValidatedView {
    /// Whether every check held.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

fn at_least(what: What, feature: Option<&str>, value: f64, limit: f64) -> Check {
    Check { feature: feature.map(str::to_owned), what, value, serving: None, limit, passed: value >= limit }
}

fn at_most(what: What, feature: Option<&str>, value: f64, serving: Option<f64>, limit: f64) -> Check {
    Check { feature: feature.map(str::to_owned), what, value, serving, limit, passed: value <= limit }
}

/// What is looked at whatever serves.
#[allow(clippy::cast_precision_loss, reason = "counts for people and limits")]
fn absolute(measured: &Measured, limits: &ValidateConfig) -> Vec<Check> {
    let mut checks = vec![at_least(What::Entities, None, measured.entities as f64, limits.entities_min as f64)];
    for feature in &measured.features {
        let name = Some(feature.name.as_str());
        checks.extend(limits.coverage_min.map(|least| at_least(What::Coverage, name, feature.share(Status::Present), least.0)));
        checks.extend(limits.null_share_max.map(|most| at_most(What::NullShare, name, feature.share(Status::Null), None, most.0)));
    }
    checks
}

/// What is looked at beside what serves.
#[allow(clippy::cast_precision_loss, reason = "counts for people and limits")]
fn relative(measured: &Measured, before: &Measured, ends: [Option<i64>; 2], limits: &ValidateConfig) -> Result<Vec<Check>> {
    let fall = if before.entities == 0 { 0.0 } else { 1.0 - measured.entities as f64 / before.entities as f64 };
    let mut checks =
        vec![Check { serving: Some(before.entities as f64), ..at_most(What::EntitiesFall, None, fall, None, limits.entities_fall_max.0) }];
    if let [end, Some(serving)] = ends {
        // A candidate that has read no log yet is behind by all that there is.
        let behind = end.map_or(f64::MAX, |end| serving.saturating_sub(end) as f64 / 1e6);
        checks.push(at_most(What::Behind, None, behind, None, limits.behind_max.micros() as f64 / 1e6));
    }
    for feature in &measured.features {
        let same = |other: &&MeasuredFeature| other.name == feature.name && other.values.data_type() == feature.values.data_type();
        let Some(other) = before.features.iter().find(same) else { continue };
        let name = Some(feature.name.as_str());
        let [coverage, covered] = [feature, other].map(|feature| feature.share(Status::Present));
        let [nulls, were_null] = [feature, other].map(|feature| feature.share(Status::Null));
        checks.push(at_most(What::CoverageFall, name, covered - coverage, Some(covered), limits.coverage_fall_max.0));
        checks.push(at_most(What::NullShareRise, name, nulls - were_null, Some(were_null), limits.null_share_rise_max.0));
        checks.extend(stability_index(&other.values, &feature.values)?.map(|drift| at_most(What::Drift, name, drift, None, limits.drift_max)));
    }
    Ok(checks)
}

/// The least of the newest event times of a view's logs, µs.
pub fn watermark_of(cut: &dyn CutRead, catalog: &Catalog, view: &Transformation, generation: Generation) -> Result<Option<i64>> {
    let positions = cut.positions(generation)?;
    let of_sources = catalog.sources_of(view).into_iter().map(|source| watermark(&positions, &source.name)).collect::<Option<Vec<_>>>();
    Ok(of_sources.and_then(|all| all.into_iter().min()))
}

impl Validation {
    /// As people read it.
    pub fn text(&self, paint: Paint) -> String {
        let mut text = format!("{} at {}\n", paint.bold("validated"), self.moment);
        self.views.iter().for_each(|view| text += &view.text(paint));
        text
    }
}

impl ValidatedView {
    fn text(&self, paint: Paint) -> String {
        let ValidatedView { view, version, serving, same_state, entities, sampled, checks } = self;
        let beside = match serving {
            _ if *same_state => return format!("  {} version {version}: its state serves already\n", paint.bold(view)),
            Some(serving) => format!(" beside version {serving}"),
            None => ", which is new".to_owned(),
        };
        let looked = if sampled < entities { format!(", {} looked at", grouped(*sampled)) } else { String::new() };
        let of = counted(*entities, "entity", "entities");
        let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed).collect();
        let outcome = match failed.len() {
            0 => paint.green(format!("{} held", counted(checks.len(), "check", "checks"))),
            _ => paint.red(format!("{} of {} failed", failed.len(), counted(checks.len(), "check", "checks"))),
        };
        let mut text = format!("  {} version {version}{beside}: {of}{looked} · {outcome}\n", paint.bold(view));
        if !failed.is_empty() {
            let mut table = Table::new(&[
                ("feature", Align::Left),
                ("check", Align::Left),
                ("is", Align::Right),
                ("serving", Align::Right),
                ("limit", Align::Right),
            ]);
            for check in failed {
                let serving =
                    check.serving.map(|serving| if check.what == What::EntitiesFall { grouped(serving as u64) } else { check.what.shown(serving) });
                table.row([
                    Cell::from(check.feature.clone().unwrap_or_default()),
                    check.what.text().into(),
                    Cell::painted(check.what.shown(check.value), |paint, text| paint.red(text)),
                    serving.unwrap_or_default().into(),
                    check.what.shown(check.limit).into(),
                ]);
            }
            table.render(paint).lines().for_each(|line| {
                let _ = writeln!(text, "    {line}");
            });
        }
        text
    }
}
