//! `release`: what serves, and what has served.

mod diff;
mod list;
pub mod promote;
pub mod rollback;
mod show;

use anyhow::Result;
use clap::{Args, Subcommand};
use lockstep_model::Error;
use lockstep_serve::chosen::read_by;
use lockstep_store::{CutRead, GenerationInfo, Release, Switch};
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::failure::Outcome;

pub use diff::{Question as DiffQuestion, ReleasesDiffer};
pub use list::{Question as ListQuestion, Releases};
pub use show::{Question as ShowQuestion, Shown};

const EXAMPLES: &str = "\
Examples:
  lockstep release promote --reason 'shorter windows'
                                    validate the newest definitions, and let them serve
  lockstep release validate         only look whether they may
  lockstep release rollback         back to the release before
  lockstep release list             what has served, since when, by whom and why
  lockstep release diff 3 4         what changed from one to the other";

/// Say what serves: promote, roll back, and look at what has served
///
/// A release is a set of applied definitions with the state of each of their views. Until the first is promoted, the newest definitions serve as soon as all of their
/// views are filled; from then on nothing serves but what was promoted. Servers switch at once, and no answer has parts of two releases.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Promote(promote::Arguments),
    Validate(promote::ValidateArguments),
    Rollback(rollback::Arguments),
    List(list::Arguments),
    Show(show::Arguments),
    Diff(diff::Arguments),
}

/// Does what is asked of releases.
///
/// # Errors
/// Each verb's own.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    match &arguments.verb {
        Verb::Promote(arguments) => promote::run(context, arguments),
        Verb::Validate(arguments) => promote::run_validate(context, arguments),
        Verb::Rollback(arguments) => rollback::run(context, arguments),
        Verb::List(arguments) => list::run(context, arguments),
        Verb::Show(arguments) => show::run(context, arguments),
        Verb::Diff(arguments) => diff::run(context, arguments),
    }
}

/// One move of the pointer to what serves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Switched {
    /// How often the pointer had been moved, this time included.
    pub epoch: u64,
    /// When.
    pub at: String,
    /// `promote` or `roll_back`.
    pub kind: String,
    /// The release that serves from here on.
    pub release: u32,
    /// The one that served before.
    pub from: Option<u32>,
    /// The set of definitions that answers.
    pub definitions: u64,
    /// Whether it was made in spite of what was found, or without looking.
    pub forced: bool,
    /// Whether a limit that was passed made it.
    pub automatic: bool,
    /// Who made it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl Switched {
    fn new(switch: &Switch, release: &Release) -> Switched {
        let Switch { epoch, release: number, from, at, new } = switch;
        let kind = match new.kind {
            lockstep_store::SwitchKind::Promote => "promote",
            lockstep_store::SwitchKind::RollBack => "roll_back",
        };
        Switched {
            epoch: *epoch,
            at: at.to_string(),
            kind: kind.to_owned(),
            release: *number,
            from: *from,
            definitions: release.new.definitions,
            forced: new.forced,
            automatic: new.automatic,
            by: new.by.clone(),
            reason: new.reason.clone(),
        }
    }

    /// Who and why, as far as it is known.
    fn why(&self) -> String {
        let by = match (&self.by, self.automatic) {
            (_, true) => Some("by itself".to_owned()),
            (Some(by), false) => Some(format!("by {by}")),
            (None, false) => None,
        };
        let forced = self.forced.then(|| "forced".to_owned());
        [by, forced, self.reason.clone()].into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

/// A release by its number.
fn release_numbered(cut: &dyn CutRead, number: u32) -> Result<Release> {
    let all = cut.releases()?;
    let known: Vec<String> = all.iter().map(|release| release.release.to_string()).collect();
    let known = if known.is_empty() { "none was promoted yet".to_owned() } else { format!("there are: {}", known.join(", ")) };
    all.into_iter()
        .find(|release| release.release == number)
        .ok_or_else(|| Error::not_found(format!("the store has no release {number} · {known}")).into())
}

/// The generations of a release, as far as they were not dropped, and the runs of predictions that it reads by now.
fn generations_of(cut: &dyn CutRead, release: &Release) -> Result<Vec<GenerationInfo>> {
    Ok(read_by(cut.generations()?, &release.new.generations))
}

/// The newest published generation of each view of a catalog.
fn published(cut: &dyn CutRead, catalog: &Catalog) -> Result<Vec<GenerationInfo>> {
    let all = cut.generations()?;
    let mut found = Vec::with_capacity(catalog.views.len());
    let mut missing = Vec::new();
    for view in catalog.views.values() {
        let same = |info: &&GenerationInfo| info.view == view.view && info.meaning == view.meaning && info.state == view.state && info.published();
        match all.iter().rfind(same) {
            Some(info) => found.push(info.clone()),
            None => missing.push(format!("`{}`", view.view)),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let missing = missing.join(", ");
    Err(Error::unavailable(format!("not filled yet, and so not to serve: {missing} · run `lockstep backfill`, then promote")).into())
}
