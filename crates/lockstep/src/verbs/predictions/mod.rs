//! `predictions`: the runs of batch scoring that views serve.

mod list;
mod publish;
mod rollback;
mod show;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Context;
use crate::failure::Outcome;

pub use list::{PredictionsList, Question as ListQuestion};
pub use publish::{Question as PublishQuestion, publish};
pub use rollback::{Question as RollBackQuestion, TakenBack};
pub use show::{Question as ShowQuestion, ShownRun};

const EXAMPLES: &str = "\
Examples:
  lockstep score late --spine flights.parquet --publish flight_lateness
                                    score the rows, and let a view serve the predictions
  lockstep predictions publish flight_lateness scores/
                                    the same of scores that are there
  lockstep predictions list         every run that is kept, and which of them serves
  lockstep predictions show flight_lateness 4
                                    what run 4 was made of, and how it compared
  lockstep predictions rollback flight_lateness
                                    back to the run before";

/// Publish predictions, go back to earlier ones, and look at them
///
/// Predictions (CREATE PREDICTIONS) are a view of what runs of `lockstep score` predicted. A run is published whole, or not at all: it is compared with limits ([predictions.validate] in
/// lockstep.toml) and with the run that serves, filled in where nobody sees it, and serves from one moment to the next. Servers switch at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Publish(publish::Arguments),
    Rollback(rollback::Arguments),
    List(list::Arguments),
    Show(show::Arguments),
}

/// Does what is asked of predictions.
///
/// # Errors
/// Each verb's own.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    match &arguments.verb {
        Verb::Publish(arguments) => publish::run(context, arguments),
        Verb::Rollback(arguments) => rollback::run(context, arguments),
        Verb::List(arguments) => list::run(context, arguments),
        Verb::Show(arguments) => show::run(context, arguments),
    }
}
