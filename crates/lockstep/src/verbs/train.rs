//! `train`: training sets, of features as they were at a spine's moments, or as they were served.

pub mod engine;
mod from_log;
pub mod given;
mod history;
pub mod origin;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::{ArgGroup, Args};
use lockstep_model::{Error, TimeMode};
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::text::{bytes, counted};
use crate::train::{Directory, TrainingReport};
use given::{Events, Given};

/// Rows of a part.
const PART_ROWS: usize = 1 << 17;
/// The version of the layout.
const FORMAT: u32 = 1;

const EXAMPLES: &str = "\
Examples:
  lockstep train delay_v1 --spine labels.parquet --out train/
  lockstep train delay_v1 --spine 'labels-*.csv' --timestamp scheduled_at --before '2 hours' --out train/
  lockstep train airport_load --every '1 hour' --from 2013-01-01 --to 2013-02-01 --out hourly/
  lockstep train airport_load --spine hours.ndjson --time event --out -  | python train.py
  lockstep train delay_v1 --spine labels.parquet --snapshot s0001 --out train/
  lockstep train fraud_v1 --from-log --outcomes chargebacks.parquet --out served/
  lockstep train fraud_v1 --from-log --outcomes chargebacks.parquet --on card --within '30 days' --per-entity 5 --out served/";

/// Make a training set: the features of a spine's rows, as they were at its moments
///
/// A spine is a file of rows: what the service is asked with, the moment, and whatever is to be carried along, such as labels. N rows in, N rows out, in their
/// order, each with the features that serving would have answered at that moment. They are computed from the batch files of the sources, by the definitions of the project; no store is
/// read. With --applied or --snapshot they are computed from all that a store has applied, by its definitions: batch files, files that were followed as logs, topics and pushes, each read
/// again exactly as far as the store had come. They are then what `lockstep get --snapshot` answers, bit for bit.
///
/// With --from-log, rows are those that `lockstep serve` has logged, with the features as they were served, bit by bit, each beside what became of it. Nothing is
/// computed again. A row of which nothing is known yet is kept and marked CENSORED.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("rows").required(true).args(["spine", "spine_sql", "every", "from_log"])), group(ArgGroup::new("target").args(["out"])))]
pub struct Arguments {
    /// A feature service or a feature view
    pub name: String,
    /// The rows.
    #[command(flatten)]
    pub given: Given,
    /// What their features are computed from.
    #[command(flatten)]
    pub events: Events,
    /// The directory to make; `-` writes an Arrow stream to standard output
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Count rows' own events where they come before their moments
    #[arg(long)]
    pub allow_own_events: bool,
    /// Write a column with the status of each value too
    #[arg(long)]
    pub statuses: bool,
    /// Replace the training set that is there
    #[arg(long)]
    pub replace: bool,
    /// What a set from the feature log is told.
    #[command(flatten)]
    pub log: from_log::LogArguments,
}

/// A training set that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trained {
    /// The feature service or view.
    pub name: String,
    /// Where it is; absent where it went to standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// Which clock counted events.
    pub time: TimeMode,
    /// Files and their bytes.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// SHA-256 of the files' digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Events that were read for it.
    pub events: u64,
    /// What they were read from: `batch files`, `the store`, `snapshot s0001` or `the feature log`.
    pub origin: String,
    /// Rows of the histories that were put aside, and why, by source.
    pub put_aside: Vec<String>,
    /// What became of its rows.
    pub report: TrainingReport,
}

/// Makes a training set.
///
/// # Errors
/// Where something is there that is not to be replaced; as [`history::make`] and [`from_log::make`].
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    if context.global.server.is_some() {
        return Err(Error::invalid("a training set is made from files, where they are · run it beside them, without --server").into());
    }
    let to_stdout = arguments.out == Path::new("-");
    if !to_stdout {
        Directory::check(&arguments.out, arguments.replace, "training set")?;
    }
    let trained = if arguments.log.from_log { from_log::make(context, arguments)? } else { history::make(context, arguments)? };
    if to_stdout {
        context.out.say(&trained.text(context.out.err()));
    } else {
        context.out.show(&trained)?;
    }
    Ok(Outcome::Fine)
}

fn check_stop(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(Error::unavailable("told to stop · the same command goes on behind the parts that are written").into());
    }
    Ok(())
}

impl Report for Trained {
    fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        let rows = counted(self.report.rows, "row", "rows");
        let place = self.out.as_ref().map_or_else(|| "to standard output".to_owned(), |out| format!("in {out}"));
        let from = match &self.report.served {
            Some(served) => format!("as they were served, from {} of the log", counted(served.logged, "row", "rows")),
            None => {
                let time = if self.time == TimeMode::Known { "known" } else { "event" };
                let of = if self.origin == "batch files" { String::new() } else { format!(" of {}", self.origin) };
                format!("in {time} time, from {}{of}", counted(self.events, "event", "events"))
            }
        };
        let _ = writeln!(out, "{} · {rows} {place}, {from}", paint.bold(&self.name));
        let _ = writeln!(out);
        out.push_str(&self.report.text(paint));
        for line in &self.put_aside {
            let _ = writeln!(out, "  {} {line}", paint.yellow("warning:"));
        }
        if let Some(digest) = &self.digest {
            let _ = writeln!(out, "\n  {} in {} · digest {}", bytes(self.bytes), counted(self.files, "file", "files"), &digest[..16]);
            if self.report.served.is_none() {
                let [median, p99, longest] = self.report.unit_ms;
                let text = format!("units of work took {median:.1} ms (median), {p99:.1} ms (p99), {longest:.1} ms (longest)");
                let _ = writeln!(out, "  {}", paint.dim(text));
            }
        }
        out
    }
}
