//! `backfill`: fills new generations with history.

use anyhow::Result;
use clap::Args;
use lockstep_model::EventTime;

use super::Context;
use crate::failure::Outcome;
use crate::feed;

/// Fill new versions of views with their history, and publish them
///
/// Reads the batch files of the sources and loads them into generations that nobody sees until they are whole. Run it again after a crash: it does what is
/// missing. Views that have published state are left alone.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these views
    #[arg(value_name = "VIEW")]
    pub views: Vec<String>,
    /// Only what was known before this moment: the stream brings the rest
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub until: Option<EventTime>,
}

/// Backfills.
///
/// # Errors
/// Where an input cannot be read or the store cannot be written.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let held = context.own(&context.project()?, "backfill")?;
    let report = feed::run_backfill(&held, &arguments.views, arguments.until, &feed::stop_on_signals()?)?;
    context.out.show(&feed::Backfilled::from(report))?;
    Ok(Outcome::Fine)
}
