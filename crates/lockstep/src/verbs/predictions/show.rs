//! `predictions show`: what a run was made of.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
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
use crate::predictions::{Defined, Run, Runs};
use crate::text::{bytes, counted};

/// Show what a run was made of, and what was found when it was published
#[derive(Debug, Args)]
pub struct Arguments {
    /// The predictions
    pub name: String,
    /// The run; the one that serves by default
    #[arg(value_name = "RUN")]
    pub run: Option<u32>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The predictions.
    pub name: String,
    /// The run; the one that serves where absent.
    pub run: Option<u32>,
}

/// A run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShownRun {
    /// Whether it serves.
    pub serves: bool,
    /// What it is.
    pub run: Run,
}

/// Shows.
///
/// # Errors
/// NotFound where there are no such predictions, or no such run.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question { name: arguments.name.clone(), run: arguments.run })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "predictions show";
    type Answer = ShownRun;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<ShownRun> {
        let sets = wanted::wanted(owned)?;
        let of = Defined::find(&sets.first().ok_or_else(|| owned.project.nothing_applied())?.catalog, &self.name)?;
        let serving = of.serving(&*OnlineStore::cut(&*owned.store))?.map(|(run, _)| run);
        let none = || Error::not_found(format!("no run of `{}` was published yet · `lockstep score … --publish {}` does", self.name, self.name));
        let number = self.run.or(serving).ok_or_else(none)?;
        Ok(ShownRun { serves: serving == Some(number), run: Runs::of(&owned.project.store, &self.name).find(number)? })
    }
}

impl Report for ShownRun {
    fn text(&self, paint: Paint) -> String {
        let Run { name, run, deployment, deployment_meaning, models, origin, published_at, computed, rows, events, entities, .. } = &self.run;
        let serves = if self.serves { paint.green(", which serves") } else { String::new() };
        let mut text = format!("{} run {run}{serves}\n", paint.bold(name));
        let _ = writeln!(text, "  predicted by  {deployment} as it means {}", deployment_meaning.get(..12).unwrap_or(deployment_meaning));
        for model in models {
            let _ = writeln!(
                text,
                "                {} {}, {} on {}",
                model.model,
                model.sha256.get(..12).unwrap_or(&model.sha256),
                model.runtime,
                model.service
            );
        }
        let _ = writeln!(text, "  from          {origin}");
        if let Some([first, last]) = computed {
            let moments = if first == last { first.clone() } else { format!("{first} to {last}") };
            let _ = writeln!(text, "  as of         {moments}");
        }
        let _ = writeln!(text, "  published     {published_at}");
        let (events, entities) = (counted(*events, "prediction", "predictions"), counted(*entities, "entity", "entities"));
        let _ = writeln!(text, "  rows          {}, {events} of {entities}", counted(*rows, "row", "rows"));
        let _ = writeln!(text, "  file          {}, SHA-256 {}", bytes(self.run.bytes), self.run.sha256.get(..12).unwrap_or(&self.run.sha256));
        let why: Vec<String> =
            [self.run.by.as_ref().map(|by| format!("by {by}")), self.run.forced.then(|| "forced".to_owned()), self.run.reason.clone()]
                .into_iter()
                .flatten()
                .collect();
        if !why.is_empty() {
            let _ = writeln!(text, "  {}", why.join(" · "));
        }
        text + &self.run.validation.text(paint)
    }
}
