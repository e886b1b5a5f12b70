//! `predictions rollback`: lets an earlier run serve again.

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::predictions;

/// Go back to an earlier run
///
/// To the one before that which serves, unless another is named; it may also be one that was gone back from. The runs after it are taken back, and the next one that is published serves again.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The predictions
    pub name: String,
    /// The run to go back to
    #[arg(value_name = "RUN")]
    pub to: Option<u32>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The predictions.
    pub name: String,
    /// The run to go back to.
    pub to: Option<u32>,
}

/// A move back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TakenBack {
    /// The predictions.
    pub name: String,
    /// The run that serves from here on.
    pub run: u32,
    /// The one that served before.
    pub from: u32,
}

/// Rolls back.
///
/// # Errors
/// As [`predictions::roll_back`].
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { name, to } = arguments;
    context.out.show(&context.ask(&Question { name: name.clone(), to: *to })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "predictions rollback";
    const WRITES: bool = true;
    type Answer = TakenBack;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<TakenBack> {
        let (from, run) = predictions::roll_back(owned, &self.name, self.to)?;
        Ok(TakenBack { name: self.name.clone(), run, from })
    }
}

impl Report for TakenBack {
    fn text(&self, paint: Paint) -> String {
        let TakenBack { name, run, from } = self;
        format!("{} run {run} of {name} again, and run {from} no more\n", paint.green("serves:"))
    }
}
