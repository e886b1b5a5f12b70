//! `predictions list`: the runs that are kept, and which of them serve.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::feed::wanted;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::predictions::{Defined, Runs, good};
use crate::table::{Align, Cell, Table};
use crate::text::grouped;

/// Show the runs that are kept, and which of them serve
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only of these predictions
    pub name: Option<String>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Only of these predictions.
    pub name: Option<String>,
}

/// Runs that are kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PredictionsList {
    /// By predictions, and then by number.
    pub runs: Vec<ListedRun>,
    /// Predictions of which no run was published yet.
    pub without: Vec<String>,
}

/// A run that is kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedRun {
    /// The predictions.
    pub name: String,
    /// Its number.
    pub run: u32,
    /// `serves`; `kept`, to go back to; `taken back`; `held`, for what a later run answers of the past; or `not published`: whoever published it was cut short, and goes on with it.
    pub state: String,
    /// The deployment that predicted.
    pub deployment: String,
    /// When it was put into the store.
    pub published_at: String,
    /// Rows that were scored.
    pub rows: u64,
    /// Entities that have a prediction.
    pub entities: u64,
    /// Whether it was published in spite of what was found.
    pub forced: bool,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Lists.
///
/// # Errors
/// NotFound for predictions that there are not; where the store cannot be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question { name: arguments.name.clone() })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "predictions list";
    type Answer = PredictionsList;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<PredictionsList> {
        let sets = wanted::wanted(owned)?;
        let catalog = &sets.first().ok_or_else(|| owned.project.nothing_applied())?.catalog;
        let names: Vec<&str> = match &self.name {
            Some(name) => vec![name],
            None => catalog.definitions.predictions.keys().map(String::as_str).collect(),
        };
        let mut list = PredictionsList { runs: Vec::new(), without: Vec::new() };
        for name in names {
            let listed = of(owned, &Defined::find(catalog, name)?)?;
            if listed.is_empty() {
                list.without.push(name.to_owned());
            }
            list.runs.extend(listed);
        }
        Ok(list)
    }
}

fn of(owned: &Owned, of: &Defined) -> Result<Vec<ListedRun>> {
    let cut = OnlineStore::cut(&*owned.store);
    let name = &of.view.view;
    let serving = of.serving(&*cut)?.map(|(run, _)| run);
    let good = good(&*cut, name)?;
    let generations = cut.generations()?;
    let whole: BTreeSet<u32> =
        generations.iter().filter(|info| info.view == *name && info.published_at.is_some()).filter_map(|info| info.run).collect();
    let listed = |run: crate::predictions::Run| {
        let state = match run.run {
            number if Some(number) == serving => "serves",
            number if good.contains(&number) => "kept",
            number if whole.contains(&number) => "taken back",
            number if good.last().is_some_and(|last| *last > number) => "held",
            _ => "not published",
        };
        ListedRun {
            name: run.name,
            run: run.run,
            state: state.to_owned(),
            deployment: run.deployment,
            published_at: run.published_at,
            rows: run.rows,
            entities: run.entities,
            forced: run.forced,
            by: run.by,
            reason: run.reason,
        }
    };
    Ok(Runs::of(&owned.project.store, name).all()?.into_iter().map(listed).collect())
}

impl Report for PredictionsList {
    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        if !self.runs.is_empty() {
            let mut table = Table::new(&[
                ("predictions", Align::Left),
                ("run", Align::Right),
                ("", Align::Left),
                ("by deployment", Align::Left),
                ("rows", Align::Right),
                ("entities", Align::Right),
                ("why", Align::Left),
                ("published", Align::Left),
            ]);
            for run in &self.runs {
                let state = match run.state.as_str() {
                    "serves" => Cell::painted("serves", |paint, text| paint.green(text)),
                    "kept" | "held" => Cell::from(run.state.as_str()),
                    other => Cell::painted(other, |paint, text| paint.yellow(text)),
                };
                let forced = run.forced.then(|| "forced".to_owned());
                let by = run.by.as_ref().map(|by| format!("by {by}"));
                let why: Vec<String> = [by, forced, run.reason.clone()].into_iter().flatten().collect();
                table.row([
                    Cell::from(run.name.as_str()),
                    run.run.to_string().into(),
                    state,
                    run.deployment.as_str().into(),
                    grouped(run.rows).into(),
                    grouped(run.entities).into(),
                    why.join(" · ").into(),
                    run.published_at.as_str().into(),
                ]);
            }
            text += &table.render(paint);
        }
        for name in &self.without {
            text += &format!("no run of {name} was published yet · `lockstep score … --publish {name}` does\n");
        }
        if text.is_empty() {
            text = "the definitions have no predictions · CREATE PREDICTIONS declares them\n".to_owned();
        }
        text
    }
}
