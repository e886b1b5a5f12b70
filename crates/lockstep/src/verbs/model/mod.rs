//! `model`: the models that are applied.

mod list;
mod show;

use anyhow::Result;
use clap::{Args, Subcommand};
use lockstep_store::{CutRead, Definitions};

use super::Context;
use crate::failure::Outcome;
use crate::owned::Owned;

pub use list::{ModelList, Question as ListQuestion};
pub use show::{Question as ShowQuestion, ShownModel};

const EXAMPLES: &str = "\
Examples:
  lockstep model list             which models there are, of which files, and who answers by them
  lockstep model show late_v1     what goes into it, what runs it, and what it was trained on";

/// Show the models that are applied
///
/// Of the definitions that serve; where no release was promoted, of those that were applied last.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Arguments),
    Show(show::Arguments),
}

/// Does what is asked of models.
///
/// # Errors
/// Each verb's own.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    match &arguments.verb {
        Verb::List(arguments) => list::run(context, arguments),
        Verb::Show(arguments) => show::run(context, arguments),
    }
}

/// The definitions that serve, or those that were applied last.
fn answering(owned: &Owned, cut: &dyn CutRead) -> Result<Definitions> {
    let latest = cut.definitions()?.ok_or_else(|| owned.project.nothing_applied())?;
    let Some((release, _)) = cut.serving()? else { return Ok(latest) };
    let serves = cut.definitions_history()?.into_iter().find(|set| set.version == release.new.definitions);
    Ok(serves.unwrap_or(latest))
}
