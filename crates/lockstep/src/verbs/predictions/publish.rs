//! `predictions publish`: lets a view serve the predictions of a run.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::predictions::{self, Publish, Published, Runs};
use crate::text::counted;
use crate::train::MANIFEST;
use crate::who::Signed;

/// Let a view serve the predictions of a run
///
/// Of scores that `lockstep score … --out` wrote, by the deployment that the predictions are declared to be of. A run that fails validation is not published (status 1), unless it is forced, which is
/// recorded. The same scores a second time are no new run; a publication that was killed goes on.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The predictions
    pub name: String,
    /// The directory of the scores
    #[arg(value_name = "DIR")]
    pub scores: PathBuf,
    /// Publish them whatever validation finds
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub signed: Signed,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question(pub Publish);

/// Publishes.
///
/// # Errors
/// As [`predictions::publish`].
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { name, scores, force, signed } = arguments;
    if context.global.server.is_some() {
        return Err(Error::invalid("scores are published where the store and their files are · run it beside them, without --server").into());
    }
    if !scores.join(MANIFEST).is_file() {
        let what = format!("there are no scores at {}", scores.display());
        return Err(Error::not_found(format!("{what} · `lockstep score … --out {}` makes them", scores.display())).into());
    }
    let _alone = Runs::of(&context.project()?.store, name).alone()?;
    // The owner may have been started elsewhere.
    let scores = std::path::absolute(scores)?;
    let published = publish(context, Publish { name: name.clone(), scores, force: *force, by: signed.by(), reason: signed.reason.clone() })?;
    context.out.show(&published)?;
    Ok(Outcome::of(published.run.is_some()))
}

/// Has the owner of the store publish.
///
/// # Errors
/// As [`predictions::publish`].
pub fn publish(context: &Context, publish: Publish) -> Result<Published> {
    context.ask(&Question(publish))
}

impl ask::Question for Question {
    const VERB: &'static str = "predictions publish";
    const WRITES: bool = true;
    const RESUMES: bool = true;
    type Answer = Published;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Published> {
        predictions::publish(owned, &self.0, progress)
    }
}

impl Report for Published {
    fn text(&self, paint: Paint) -> String {
        let Published { name, run, already, serves, validation, gone } = self;
        let serving = serves.map_or_else(|| "no run serves yet".to_owned(), |serves| format!("run {serves} goes on serving"));
        let Some(run) = run else {
            return format!("{}{} {serving} · `--force` publishes it all the same\n", validation.text(paint), paint.red("not published:"));
        };
        if *already {
            let what = match serves {
                Some(serves) if *serves == run.run => "and serves".to_owned(),
                _ => format!("and {serving} · `lockstep predictions rollback {name} {}` lets it serve", run.run),
            };
            return format!("{} these scores are run {} of {name} already, {what}\n", paint.dim("nothing to publish:"), run.run);
        }
        let (events, entities) = (counted(run.events, "prediction", "predictions"), counted(run.entities, "entity", "entities"));
        let forced = if run.forced { ", forced" } else { "" };
        let mut text = validation.text(paint);
        let _ = writeln!(text, "{} run {} of {name}: {events} of {entities}{forced}", paint.green("serves:"), run.run);
        if run.without_key > 0 {
            let _ =
                writeln!(text, "  {} {} without a key, which nobody can ask for", paint.yellow("warning:"), counted(run.without_key, "row", "rows"));
        }
        if !gone.is_empty() {
            let gone: Vec<String> = gone.iter().map(u32::to_string).collect();
            let _ = writeln!(text, "  kept no longer: run {}", gone.join(", "));
        }
        text
    }
}
