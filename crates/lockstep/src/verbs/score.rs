//! `score`: the predictions of a deployment for one row, now or at a moment; or for the rows of a file, each as of its own.

mod batch;
mod layout;
mod written;

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::{ArgGroup, Args};
use lockstep_model::{Clock, EventTime, SystemClock, TimeMode};
use lockstep_serve::Lags;
use lockstep_serve::admin::Progress;
use lockstep_serve::live::{Live, Reach};
use lockstep_serve::scoring::{Decided, Deployed, FromState, Ranked, Scored, Way, score_at};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::get::assignment;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::project::next_event;
use crate::requests;
use crate::table::{Align, Cell, Table};
use batch::BatchArguments;
pub use written::{ScoredAndPublished, Written};

/// Threads that run a model for one row.
const THREADS: usize = 1;

const EXAMPLES: &str = "\
Examples:
  lockstep score late origin=EWR dest=ORD tailnum=N14228 distance=719
  lockstep score late origin=EWR dest=ORD tailnum=N14228 distance=719 --as-of 2013-03-01T12:00:00Z --json
  lockstep score late --spine flights.parquet --out scores/
  lockstep score late --spine flights.parquet --snapshot s0001 --features --out scores/
  lockstep score late --spine flights.parquet --publish flight_lateness";

/// Score a row by a deployment
///
/// Looks its features up as `lockstep get` does, runs its models, and says which way the row went: by the model, by the fallback, or by defaults. Columns that are not given are NULL.
///
/// With --out, the rows of a spine are scored, each as of its moment, from all that the store has applied: what a request at that moment would have been answered by what is known now, bit for bit. Rows
/// that the model cannot score go to the fallback or the defaults, as in a request; a model that fails ends the run. With --publish, a view serves what was predicted (CREATE PREDICTIONS): see
/// `lockstep predictions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("rows").args(["spine", "spine_sql", "every"])), group(ArgGroup::new("target").args(["out", "publish"])))]
pub struct Arguments {
    /// A deployment
    pub deployment: String,
    /// What the request gives, as column=value
    #[arg(value_name = "COLUMN=VALUE", value_parser = assignment, conflicts_with_all = ["target", "rows"])]
    pub columns: Vec<(String, String)>,
    /// The moment; now by default
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse, conflicts_with = "target")]
    pub as_of: Option<EventTime>,
    /// What the spine form is told.
    #[command(flatten)]
    pub batch: BatchArguments,
}

/// The predictions for one row.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScoredRow {
    /// The deployment.
    pub deployment: String,
    /// The moment.
    pub at: String,
    /// How the row came to its predictions: `MODEL`, `FALLBACK_MODEL`, `DEFAULT` or `NONE`.
    pub way: String,
    /// Why it did not go the way of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The predictions, in order.
    pub predictions: Vec<Predicted>,
    /// What was decided; absent where the deployment has no actions and does not explore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<DecidedRow>,
    /// The models that were run, in the order in which they were.
    pub models: Vec<RanModel>,
    /// The number of the definitions that answered.
    pub definitions: u64,
    /// The release that answered; absent where none was promoted yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// The features that went into each step.
    pub features: Vec<Feature>,
    /// Of a deployment that ranks candidates: these, in order; what is said of one row is then said of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranked: Option<Vec<RankedRow>>,
}

/// A candidate that was scored.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RankedRow {
    /// Which one it is, by outputs of the service.
    pub item: Vec<Predicted>,
    /// Its predictions, in order.
    pub predictions: Vec<Predicted>,
    /// How it came to them.
    pub way: String,
}

/// One prediction.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Predicted {
    /// Its name.
    pub name: String,
    /// Its value as text; absent where it is NULL.
    pub value: Option<String>,
}

/// What was decided of a row.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DecidedRow {
    /// The action; absent where the deployment has none, or none follows from the predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// With which probability it was chosen; absent where the deployment has no actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
    /// Whether the row explores: its action was drawn or, where there are none, is for whoever asked to draw.
    pub explored: bool,
}

impl DecidedRow {
    /// That of a row.
    pub fn of(decided: &Decided, row: usize) -> DecidedRow {
        DecidedRow {
            action: decided.actions.is_valid(row).then(|| decided.actions.value(row).to_owned()),
            propensity: decided.propensities.is_valid(row).then(|| decided.propensities.value(row)),
            explored: decided.explored.value(row),
        }
    }

    /// The same for people.
    pub fn text(&self) -> String {
        let DecidedRow { action, propensity, explored } = self;
        let how = if *explored { " · explores" } else { "" };
        match (action, propensity) {
            (Some(action), Some(propensity)) => format!("{action} with propensity {propensity}{how}"),
            (None, Some(_)) => "no action: nothing was predicted that one follows from".to_owned(),
            (_, None) => format!("no actions are declared{how}"),
        }
    }
}

/// A model that was run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RanModel {
    /// What the deployment calls it.
    pub step: String,
    /// The model.
    pub model: String,
    /// SHA-256 of its file.
    pub sha256: String,
    /// What ran it.
    pub runtime: String,
    /// The feature service whose outputs went into it.
    pub service: String,
    /// Digest of what that means.
    pub service_meaning: String,
}

/// A feature of a step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Feature {
    /// What the deployment calls the step.
    pub step: String,
    /// Its name.
    pub name: String,
    /// Its value as text; absent where it is NULL.
    pub value: Option<String>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// A deployment.
    pub deployment: String,
    /// What the request gives.
    pub columns: Vec<(String, String)>,
    /// The moment.
    pub at: EventTime,
    /// Which clock is to count.
    pub time: Option<TimeMode>,
}

/// Scores a row.
///
/// # Errors
/// NotFound for an unknown deployment; Invalid for columns that it is not asked with, or values that are not of their type; where the model fails and nothing stands in.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { deployment, columns, as_of, batch } = arguments;
    if let Some(out) = &batch.out {
        context.out.show(&batch::run(context, deployment, batch, out)?)?;
        return Ok(Outcome::Fine);
    }
    if let Some(name) = &batch.publish {
        let done = batch::publish(context, deployment, batch, name)?;
        context.out.show(&done)?;
        return Ok(Outcome::of(done.published.run.is_some()));
    }
    let time = batch.given.time;
    let at = as_of.unwrap_or_else(|| SystemClock.now());
    let question = Question { deployment: deployment.clone(), columns: columns.clone(), at, time: time.map(TimeMode::from) };
    let answer = context.ask(&question)?;
    context.out.show(&answer)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "score";
    type Answer = ScoredRow;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<ScoredRow> {
        let live = match owned.serving() {
            Some(live) => live,
            None => Arc::new(Live::new(Arc::clone(&owned.store), Arc::new(SystemClock), Arc::new(Lags::default()), next_event())?),
        };
        let state = live.state(Reach::Disk)?;
        // A server has it loaded. Who only answers this loads what is asked about, and nothing else.
        let deployed = match state.deployments().find(&self.deployment) {
            Ok(deployed) => Arc::clone(deployed),
            Err(_) => {
                progress("loading the model")?;
                Arc::new(live.load_one(&owned.models(), &self.deployment, THREADS)?)
            }
        };
        let fields = deployed.asked.fields();
        let rows = requests::of_columns(&self.deployment, fields, &self.columns)?;
        let scored = score_at(&deployed, FromState { state: &state, lags: live.lags(), time: self.time }, "", &rows, &[self.at.0])?;
        ScoredRow::new(&deployed, &scored, self.at, (state.version, state.release.map(|at| at.release)))
    }
}

impl ScoredRow {
    fn new(deployed: &Deployed, scored: &Scored, at: EventTime, (definitions, release): (u64, Option<u32>)) -> Result<ScoredRow> {
        let names = deployed.schema.fields().iter().map(|field| field.name());
        let predicted = |(name, values): (&String, &ArrayRef)| Ok(Predicted { name: name.clone(), value: shown(values, 0)? });
        let ran = scored.ran.iter().map(|ran| {
            let bound = &ran.model.bound;
            let (sha256, runtime, service_meaning) = (bound.sha256.to_string(), bound.runtime.to_string(), bound.service_meaning.to_string());
            RanModel { step: ran.step.clone(), model: bound.name.clone(), sha256, runtime, service: bound.service.clone(), service_meaning }
        });
        let features = scored.looked.iter().flat_map(|step| {
            let feature = |feature: &lockstep_serve::desk::Feature| {
                Ok(Feature { step: step.step.clone(), name: feature.name.to_string(), value: shown(&feature.values, 0)? })
            };
            step.looked.answered.features.iter().map(feature).collect::<Vec<Result<Feature>>>()
        });
        Ok(ScoredRow {
            deployment: deployed.name.clone(),
            at: at.to_string(),
            way: scored.ways.first().map_or("NONE", |way| way.name()).to_owned(),
            reason: scored.whys.first().and_then(Option::as_ref).map(|why| why.text.to_string()),
            predictions: names.zip(&scored.predictions).map(predicted).collect::<Result<_>>()?,
            decided: scored.decided.as_ref().filter(|decided| !decided.explored.is_empty()).map(|decided| DecidedRow::of(decided, 0)),
            models: ran.collect(),
            definitions,
            release,
            features: features.collect::<Result<_>>()?,
            ranked: scored.ranked.as_ref().map(|ranked| RankedRow::all(deployed, scored, ranked)).transpose()?,
        })
    }
}

impl RankedRow {
    fn all(deployed: &Deployed, scored: &Scored, ranked: &Ranked) -> Result<Vec<RankedRow>> {
        let value = |name: &str, values: &ArrayRef, row: usize| Ok(Predicted { name: name.to_owned(), value: shown(values, row)? });
        let row = |(row, way): (usize, &Way)| {
            let predictions = deployed.schema.fields().iter().zip(&scored.predictions);
            Ok(RankedRow {
                item: ranked.items.iter().map(|item| value(&item.name, &item.values, row)).collect::<Result<_>>()?,
                predictions: predictions.map(|(field, values)| value(field.name(), values, row)).collect::<Result<_>>()?,
                way: way.name().to_owned(),
            })
        };
        scored.ways.iter().enumerate().map(row).collect()
    }
}

/// The value of a row, where it has one.
fn shown(values: &ArrayRef, row: usize) -> Result<Option<String>> {
    let formatter = ArrayFormatter::try_new(values, &FormatOptions::new())?;
    Ok((row < values.len() && values.is_valid(row)).then(|| formatter.value(row).to_string()))
}

/// Ranked candidates as a table: which one each is, its predictions, and the way where that is not the model's.
fn ranked_table(ranked: &[RankedRow], paint: Paint) -> String {
    let Some(first) = ranked.first() else { return "no candidates\n".to_owned() };
    let columns = first.item.iter().chain(&first.predictions).map(|value| (value.name.as_str(), Align::Right));
    let mut table = Table::new(&columns.chain([("by", Align::Left)]).collect::<Vec<_>>());
    for RankedRow { item, predictions, way } in ranked {
        let values = item.iter().chain(predictions).map(|value| Cell::from(value.value.clone().unwrap_or_else(|| "NULL".to_owned())));
        table.row(values.chain([Cell::from(way.as_str())]));
    }
    table.render(paint)
}

impl Report for ScoredRow {
    fn text(&self, paint: Paint) -> String {
        if let Some(ranked) = &self.ranked {
            let explores = if self.decided.as_ref().is_some_and(|decided| decided.explored) { "explores: in an order of chance\n" } else { "" };
            return format!("{} at {}\n{}{explores}", paint.bold(&self.deployment), self.at, ranked_table(ranked, paint));
        }
        let mut table = Table::new(&[("prediction", Align::Left), ("value", Align::Right)]);
        for Predicted { name, value } in &self.predictions {
            table.row([Cell::from(name.as_str()), Cell::from(value.clone().unwrap_or_else(|| "NULL".to_owned()))]);
        }
        let mut text = format!("{} at {}\n{}", paint.bold(&self.deployment), self.at, table.render(paint));
        match &self.reason {
            None => text += &format!("by {}\n", self.way),
            Some(reason) => text += &format!("{} {reason}\n", paint.yellow(format!("by {}:", self.way))),
        }
        if let Some(decided) = &self.decided {
            text += &format!("{}\n", decided.text());
        }
        for RanModel { step, model, sha256, runtime, service, .. } in &self.models {
            let called = if step == model { String::new() } else { format!("{step}: ") };
            text += &paint.dim(format!("{called}{model} ({}, {runtime}) on {service}\n", &sha256[..12]));
        }
        let mut features = Table::new(&[("feature", Align::Left), ("value", Align::Right)]);
        for Feature { name, value, .. } in &self.features {
            features.row([Cell::from(name.as_str()), Cell::from(value.clone().unwrap_or_else(|| "NULL".to_owned()))]);
        }
        text + &features.render(paint)
    }
}
