//! `ingest`: applies a log.

use anyhow::Result;
use clap::Args;

use super::Context;
use crate::failure::Outcome;
use crate::feed;

/// Apply a log to the published state
///
/// Reads NDJSON, CSV or Parquet in its order, from where the store stands. Each batch is one atomic commit with its positions, so that after a crash the
/// same command goes on: nothing is lost, nothing counts twice.
///
/// Rows of an NDJSON log may say which source they are of (`_source`), when the log took them (`_append_time`), and that they delete their key
/// (`_tombstone`).
#[derive(Debug, Args)]
pub struct Arguments {
    /// A path, a pattern, or `-` for standard input
    #[arg(long, value_name = "LOG")]
    pub from: String,
    /// Only these sources
    #[arg(long, value_name = "SOURCE")]
    pub source: Vec<String>,
}

/// Applies a log.
///
/// # Errors
/// Where the log cannot be read, or is not the one that was read before.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let (store, catalog) = project.open("ingest")?;
    let report = feed::run_ingest(&store, &catalog, &project, &arguments.from, &arguments.source, &feed::stop_on_signals()?)?;
    context.out.show(&feed::Ingested::from(report))?;
    Ok(Outcome::Fine)
}
