//! `migrate`: brings a store to the newest format.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::{FORMAT_VERSION, Snapshots, format_of, steps_from};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;

/// Bring the store to the newest format of this release
///
/// Every store that this release reads can be opened as it is, and is given no newer format than what is in it needs: so the release before can open it again, as long as nothing was done
/// that it does not know. This gives it the newest format at once, and no earlier release opens it from then on. A server that has the store open does it, and goes on.
///
/// Snapshots are never changed; they are read in the format that they were made in.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only say what would be done, with status 1 where anything would; the store is not opened
    #[arg(long, visible_alias = "dry-run")]
    pub check: bool,
}

/// What the owner of the store is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The format that it had before it was opened, as far as its asker could see.
    pub from: Option<u32>,
}

/// What the owner of the store is asked to look at.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CheckQuestion {}

/// What was done, or would be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Migrated {
    /// Whether it was done, and not only looked at.
    pub done: bool,
    /// The format that the store had.
    pub from: u32,
    /// The newest format.
    pub to: u32,
    /// What was missing.
    pub steps: Vec<MigratedStep>,
    /// Snapshots of other formats than the newest.
    pub snapshots: Vec<OlderSnapshot>,
}

/// A step from one format to the next.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MigratedStep {
    /// The format that it leads to.
    pub format: u32,
    /// What that has.
    pub what: String,
}

/// A snapshot that stays as it is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct OlderSnapshot {
    /// The snapshot.
    pub name: String,
    /// Its format, where this release reads it.
    pub format: Option<u32>,
    /// Why it cannot be read, where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Migrates, or says what that would do.
///
/// # Errors
/// NotFound where there is no store; Invalid where it is of a later release.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let local = if context.global.server.is_none() { Some(context.project()?) } else { None };
    // Opening a store may be a step by itself: it is looked at before.
    let before = local.as_ref().map(|project| format_of(&project.store)).transpose()?;
    if let (Some(project), Some(None)) = (&local, before) {
        return Err(project.nothing_applied().into());
    }
    let found = match (&local, arguments.check) {
        (Some(project), true) => Migrated::look(&project.store, None)?,
        (None, true) => context.ask(&CheckQuestion::default())?,
        (_, false) => context.ask(&Question { from: before.flatten() })?,
    };
    let outcome = Outcome::of(found.done || found.steps.is_empty());
    context.out.show(&found)?;
    Ok(outcome)
}

impl ask::Question for Question {
    const VERB: &'static str = "migrate";
    const WRITES: bool = true;
    type Answer = Migrated;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Migrated> {
        let migrated = Migrated::look(owned.store.dir(), self.from)?;
        owned.store.migrate()?;
        Ok(Migrated { done: true, ..migrated })
    }
}

impl ask::Question for CheckQuestion {
    const VERB: &'static str = "migrate --check";
    type Answer = Migrated;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Migrated> {
        Migrated::look(owned.store.dir(), None)
    }
}

impl Migrated {
    /// What is to be done to the store at `dir`, which had the format `before` where that is known.
    fn look(dir: &Path, before: Option<u32>) -> Result<Migrated> {
        let from = before.or(format_of(dir)?).unwrap_or(FORMAT_VERSION);
        let steps = steps_from(from).map(|step| MigratedStep { format: step.to, what: step.what.to_owned() }).collect();
        let snapshots = Snapshots::of(dir);
        let older = snapshots.list()?.into_iter().filter_map(|listed| {
            let read = listed.manifest.and_then(|_| format_of(&snapshots.dir_of(&listed.name)));
            let (format, problem) = match read {
                Ok(format) => (format, None),
                Err(error) => (None, Some(error.to_string())),
            };
            (format != Some(FORMAT_VERSION)).then_some(OlderSnapshot { name: listed.name, format, problem })
        });
        Ok(Migrated { done: false, from, to: FORMAT_VERSION, steps, snapshots: older.collect() })
    }
}

impl Report for Migrated {
    fn text(&self, paint: Paint) -> String {
        let Migrated { done, from, to, steps, snapshots } = self;
        let mut text = match (steps.is_empty(), done) {
            (true, _) => format!("the store has format {to}, the newest\n"),
            (false, true) => format!("{} the store had format {from}, and has {to}\n", paint.green("migrated:")),
            (false, false) => format!("the store has format {from}, and the newest is {to}\n"),
        };
        for MigratedStep { format, what } in steps {
            let _ = writeln!(text, "  {format}: {what}");
        }
        for OlderSnapshot { name, format, problem } in snapshots {
            let said = match (format, problem) {
                (_, Some(problem)) => paint.red(problem),
                (format, None) => format!("format {}, in which it is read", format.map(|format| format.to_string()).unwrap_or_default()),
            };
            let _ = writeln!(text, "  snapshot {name}: {said}");
        }
        if !done && !steps.is_empty() {
            let _ = writeln!(text, "{} `lockstep migrate`, after which no earlier release opens it; this one opens it as it is", paint.bold("next:"));
        }
        text
    }
}
