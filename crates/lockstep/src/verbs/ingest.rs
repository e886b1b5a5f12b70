//! `ingest`: applies a log.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Context;
use crate::answering::Answering;
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
    /// Most rows of one commit, instead of the project's setting
    #[arg(long, value_name = "N")]
    pub batch_rows: Option<NonZeroUsize>,
    /// Answer the requests in a file on the way, each when the log has come to its `request_time`
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, requires = "keep")]
    pub answer: Option<(String, String)>,
    /// The directory in which the answers are kept, for `lockstep verify --served`
    #[arg(long, value_name = "DIR", requires = "answer")]
    pub keep: Option<PathBuf>,
}

fn named_file(text: &str) -> Result<(String, String), String> {
    let (name, file) = text.split_once('=').ok_or_else(|| format!("`{text}` is no NAME=FILE: a feature service or view, and its requests"))?;
    Ok((name.to_owned(), file.to_owned()))
}

/// Applies a log.
///
/// # Errors
/// Where the log cannot be read, or is not the one that was read before.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut project = context.project()?;
    project.config.batch_rows = arguments.batch_rows.unwrap_or(project.config.batch_rows);
    let held = context.own(&project, "ingest")?;
    let mut answering = match (&arguments.answer, &arguments.keep) {
        (Some((name, requests)), Some(keep)) => Some(Answering::new(&held.store, held.catalog()?, name, requests, keep.clone())?),
        _ => None,
    };
    let stop = feed::stop_on_signals()?;
    let report = feed::run_ingest(&held, &arguments.from, &arguments.source, answering.as_mut(), &stop)?;
    let answered = answering.map(|answering| answering.answered);
    context.out.show(&feed::Ingested { answered, ..feed::Ingested::from(report) })?;
    Ok(Outcome::Fine)
}
