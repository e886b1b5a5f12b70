//! `applied-log`: the log of the events that were applied.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_ingest::out::applied_queue;
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use lockstep_store::{AppliedFile, OnlineStore, Queue, Store};
use lockstep_transform::definition::History;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::text::did_you_mean;

const EXAMPLES: &str = "\
Examples:
  lockstep applied-log                      the files, a path a line
  duckdb -c \"SELECT _outcome, count(*) FROM read_parquet([$(lockstep applied-log --source payments |
             sed \"s/.*/'&'/\" | paste -sd,)]) GROUP BY ALL\"
  lockstep applied-log --json               with their rows, sizes and times, and what waits for its file";

/// List the files of the log of applied events
///
/// A source with the option applied_log = '30 days' (or 'all') has a log of every event that `lockstep ingest` has applied: Parquet files in the store's directory, with
/// the columns of the source, and beside them `_source`, `_append_time`, `_tombstone`, `_outcome` (new, replaces, superseded, deletes), `_partition` and `_row` (where it was
/// read), `_cluster` and `_topic_id` (of a topic), and `_applied_at`.
///
/// The files that are listed hold each event once, and none that the store has not applied. Rows that were applied in the last minutes may wait in the store for their
/// file; `--json` and `lockstep status` say how many.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only the log of this source
    #[arg(long)]
    source: Option<String>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Only the log of this source.
    pub source: Option<String>,
}

/// Logs of applied events.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedLogs {
    /// By source.
    pub logs: Vec<Log>,
}

/// The log of a source.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// The source.
    pub source: String,
    /// How long it is kept, as declared; absent where the source declares no log any more.
    pub keep: Option<String>,
    /// Rows in files that are kept.
    pub rows: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Rows that wait in the store for their file.
    pub waiting: u64,
    /// When the first row that is kept in a file was applied.
    pub oldest: Option<String>,
    /// When the last row in a file was.
    pub newest: Option<String>,
    /// The files, in the order in which their rows were applied.
    pub files: Vec<LogFile>,
}

/// A file of a log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogFile {
    /// Where it is.
    pub path: String,
    /// The number of its first row in the log.
    pub first: u64,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// When its first row was applied.
    pub oldest: String,
    /// When its last row was.
    pub newest: String,
}

/// Lists the files.
///
/// # Errors
/// NotFound where the source has no log; where the store cannot be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question { source: arguments.source.clone() })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "applied-log";
    type Answer = AppliedLogs;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<AppliedLogs> {
        let all = logs(owned)?;
        let Some(wanted) = &self.source else { return Ok(AppliedLogs { logs: all }) };
        let known: Vec<String> = all.iter().map(|log| log.source.clone()).collect();
        let logs: Vec<Log> = all.into_iter().filter(|log| log.source == *wanted).collect();
        if logs.is_empty() {
            let meant = did_you_mean(wanted, known.iter().map(String::as_str));
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let advice = "declare applied_log = '30 days' among the options of the source";
            return Err(Error::not_found(format!("source `{wanted}` has no log of applied events · there are: {known}{meant} · {advice}")).into());
        }
        Ok(AppliedLogs { logs })
    }
}

/// The logs of all sources that declare one, or have had one.
///
/// # Errors
/// Where the store cannot be read.
pub fn logs(owned: &Owned) -> Result<Vec<Log>> {
    let catalog = owned.catalog()?;
    let queues = OnlineStore::cut(&*owned.store).queues()?;
    let mut sources: BTreeMap<&str, Option<History>> =
        catalog.sources.values().map(|source| (source.name.as_str(), source.options.applied_log)).collect();
    sources.retain(|source, keep| keep.is_some() || queues.contains_key(&applied_queue(source)));
    let stands = |source: &str| queues.get(&applied_queue(source)).copied().unwrap_or_default();
    sources.into_iter().map(|(source, keep)| log(&owned.store, source, keep, stands(source))).collect()
}

fn log(store: &Store, source: &str, keep: Option<History>, stands: Queue) -> Result<Log> {
    let files = store.applied_logs().files(source, stands.taken)?;
    let keep = keep.map(|keep| match keep {
        History::All => "all".to_owned(),
        History::Within(interval) => interval.to_string(),
    });
    Ok(Log {
        source: source.to_owned(),
        keep,
        rows: files.iter().map(|file| file.span.end - file.span.first).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        waiting: stands.waiting(),
        oldest: files.first().map(|file| file.span.oldest.to_string()),
        newest: files.last().map(|file| file.span.newest.to_string()),
        files: files.into_iter().map(LogFile::from).collect(),
    })
}

impl From<AppliedFile> for LogFile {
    fn from(AppliedFile { path, span, bytes }: AppliedFile) -> Self {
        LogFile {
            // Whoever asks may be in another directory than who owns the store.
            path: std::path::absolute(&path).unwrap_or(path).display().to_string(),
            first: span.first,
            rows: span.end - span.first,
            bytes,
            oldest: span.oldest.to_string(),
            newest: span.newest.to_string(),
        }
    }
}

impl Report for AppliedLogs {
    fn text(&self, _: Paint) -> String {
        let mut text = String::new();
        for file in self.logs.iter().flat_map(|log| &log.files) {
            let _ = writeln!(text, "{}", file.path);
        }
        text
    }
}
