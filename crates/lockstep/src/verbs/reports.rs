//! `reports`: what callers reported of what was served, as Parquet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use clap::Args;
use lockstep_model::Error;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::Outcome;
use crate::kept::{encode, write_whole};
use crate::output::{Paint, Report};
use crate::reports::Reported;
use crate::text::counted;
use crate::train::served::{Outcomes, REQUEST_ID, REQUEST_ROW};

const EXAMPLES: &str = "\
Examples:
  lockstep reports                     how many decisions and outcomes there are
  lockstep reports --out reported/     reported/decisions.parquet and reported/outcomes.parquet";

/// Tell what callers have reported of what was served, and write it as Parquet
///
/// ReportDecision and ReportOutcome append to a log beside the feature log, which `lockstep train --from-log` reads. Of decisions about a row the last one is here, of outcomes each moment at which one
/// was known.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Write them into this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The directory of the feature log, instead of the store's own
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
}

/// What was reported.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReportsTold {
    /// Where the log of it lies.
    pub log: String,
    /// Rows about which a decision was reported.
    pub decisions: u64,
    /// Decisions in whose place a later one of the same row counts.
    pub changed: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// The files that were written.
    pub files: Vec<String>,
}

/// Tells what was reported.
///
/// # Errors
/// NotFound where nothing was; where it cannot be read or written.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let dir = arguments.log.clone().map_or_else(|| Ok::<_, anyhow::Error>(context.project()?.feature_log_dir()), Ok)?;
    let reported = Reported::read(&dir, None)?;
    if reported.decisions.is_empty() && reported.outcomes.is_empty() {
        let what = format!("nothing was reported, in {}", reported.dir.display());
        return Err(
            Error::not_found(format!("{what} · callers tell a server that has [serve.feature_log] by ReportDecision and ReportOutcome")).into()
        );
    }
    let files = arguments.out.as_deref().map(|out| write(&reported, out)).transpose()?.unwrap_or_default();
    context.out.show(&ReportsTold {
        log: reported.dir.display().to_string(),
        decisions: reported.decisions.len() as u64,
        changed: reported.changed,
        outcomes: reported.outcomes.len() as u64,
        files,
    })?;
    Ok(Outcome::Fine)
}

/// Writes what there is of both kinds, each whole or not at all.
fn write(reported: &Reported, out: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut file = |name: &str, rows: &RecordBatch| -> Result<()> {
        let path = out.join(name);
        write_whole(&path, &encode(std::slice::from_ref(rows))?)?;
        files.push(path.display().to_string());
        Ok(())
    };
    if !reported.decisions.is_empty() {
        file("decisions.parquet", &decisions(reported)?)?;
    }
    if !reported.outcomes.is_empty() {
        file("outcomes.parquet", &Outcomes::reported(reported, None)?.rows()?)?;
    }
    Ok(files)
}

fn decisions(reported: &Reported) -> Result<RecordBatch> {
    let (ids, rows): (Vec<&str>, Vec<i64>) = reported.decisions.keys().map(|(id, row)| (id.as_str(), *row)).unzip();
    let (actions, propensities): (Vec<&str>, Vec<Option<f64>>) =
        reported.decisions.values().map(|(action, chance)| (action.as_str(), *chance)).unzip();
    let columns: [(&str, ArrayRef); 4] = [
        (REQUEST_ID, Arc::new(StringArray::from(ids))),
        (REQUEST_ROW, Arc::new(Int64Array::from(rows))),
        ("action", Arc::new(StringArray::from(actions))),
        ("propensity", Arc::new(Float64Array::from(propensities))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?)
}

impl Report for ReportsTold {
    fn text(&self, paint: Paint) -> String {
        let ReportsTold { log, decisions, changed, outcomes, files } = self;
        let changed = if *changed > 0 { format!(" · {} reported again since", counted(*changed, "was", "were")) } else { String::new() };
        let (decisions, outcomes) = (counted(*decisions, "decision", "decisions"), counted(*outcomes, "outcome", "outcomes"));
        let mut text = format!("{} in {log}: {decisions}{changed}, {outcomes}\n", paint.bold("reports"));
        files.iter().for_each(|file| text += &format!("  {file}\n"));
        text
    }
}
