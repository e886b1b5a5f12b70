//! `ingest`: applies a log.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::Catalog;

use super::Context;
use crate::answering::Answering;
use crate::failure::Outcome;
use crate::feed;
use crate::feed::followers::{Followers, How};
use crate::owned::Held;

/// Apply logs to the published state
///
/// Reads the Kafka topics of sources, or a log in a file (NDJSON, CSV or Parquet), in its order, from where the store stands. Each batch is one atomic commit with
/// its positions, so that after a crash the same command goes on: nothing is lost, nothing counts twice.
///
/// The versions that serve are fed, those that were applied last and wait to serve, and those that served within `[releases] rollback_window`, each from where it stands.
///
/// Topics are followed until the process is asked to end (SIGTERM, or Ctrl-C). A topic that was made anew, trimmed or moved since it was read stops its source
/// and no other.
///
/// Rows of an NDJSON log may say which source they are of (`_source`), when the log took them (`_append_time`), and that they delete their key
/// (`_tombstone`).
#[derive(Debug, Args)]
pub struct Arguments {
    /// A path, a pattern, or `-` for standard input, instead of the Kafka topics of the sources
    #[arg(long, value_name = "LOG")]
    pub from: Option<String>,
    /// Only these sources
    #[arg(long, value_name = "SOURCE")]
    pub source: Vec<String>,
    /// End where the topics end now, instead of following them
    #[arg(long, conflicts_with = "from")]
    pub until_end: bool,
    /// Go on with the topics of these sources as they are now, though they are not the ones that were read or lack records: what is lost stays lost
    #[arg(long, requires = "source", conflicts_with = "from")]
    pub accept_gap: bool,
    /// Where another process owns the store, stand by and take over when it ends or dies
    #[arg(long)]
    pub standby: bool,
    /// Most rows of one commit, instead of the project's setting
    #[arg(long, value_name = "N")]
    pub batch_rows: Option<NonZeroUsize>,
    /// Answer the requests in a file on the way, each when the log has come to its `request_time`
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file, requires_all = ["keep", "from"])]
    pub answer: Option<(String, String)>,
    /// The directory in which the answers are kept, for `lockstep verify --served`
    #[arg(long, value_name = "DIR", requires = "answer")]
    pub keep: Option<PathBuf>,
}

fn named_file(text: &str) -> Result<(String, String), String> {
    let (name, file) = text.split_once('=').ok_or_else(|| format!("`{text}` is no NAME=FILE: a feature service or view, and its requests"))?;
    Ok((name.to_owned(), file.to_owned()))
}

/// How long it may take, once it is asked to end, until what was read is committed.
const END_WITHIN: Duration = Duration::from_secs(60);

/// Applies a log.
///
/// # Errors
/// Where the log cannot be read, or is not the one that was read before.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut project = context.project()?;
    project.config.batch_rows = arguments.batch_rows.unwrap_or(project.config.batch_rows);
    let stop = feed::stop_on_signals_within(END_WITHIN)?;
    let held = if arguments.standby { context.own_in_turn(&project, "ingest", &stop)? } else { Some(context.own(&project, "ingest")?) };
    let Some(held) = held else { return Ok(Outcome::Fine) };
    let mut answering = match (&arguments.answer, &arguments.keep) {
        (Some((name, requests)), Some(keep)) => Some(Answering::new(&*held.store, answering(&held)?, name, requests, keep.clone())?),
        _ => None,
    };
    let mut followed = match &arguments.from {
        Some(from) => {
            let logs = feed::LogFiles { from, sources: &arguments.source, are_letters: false };
            feed::run_ingest(&held, &logs, answering.as_mut(), &stop)?
        }
        None => {
            let Arguments { source, until_end, accept_gap, .. } = arguments;
            let topics = feed::Topics { sources: source.clone(), until_end: *until_end, accept_gap: *accept_gap, instead: None };
            let push = project.push_dir().is_dir().then(|| project.push_log()).transpose()?;
            let how = How { topics, push, lags: None, out: context.out, stays: false };
            Followers::new(held.shared(), how, &stop)?.run()?
        }
    };
    let stopped = std::mem::take(&mut followed.report.stopped);
    let answered = answering.map(|answering| answering.answered);
    context.out.show(&feed::Ingested { answered, ..feed::Ingested::from(followed) })?;
    feed::say_stopped(&stopped)?;
    Ok(Outcome::Fine)
}

/// The definitions that answer.
fn answering(held: &Held) -> Result<Arc<Catalog>> {
    Ok(Arc::clone(held.answering(&*OnlineStore::cut(&*held.store))?.catalog()))
}
