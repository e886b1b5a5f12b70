//! `verify --served`: answers that were kept, computed again from the inputs up to the positions they were read at.

use anyhow::Result;
use arrow::array::Array;
use lockstep_ingest::offline::{Files, Replay};
use lockstep_ingest::pipeline::Target;
use lockstep_model::{Error, EventTime};
use lockstep_serve::admin::Progress;
use lockstep_store::CutRead;
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OTHER_SHAPE;
use super::report::shown;
use crate::kept::Kept;
use crate::output::{Paint, Report};
use crate::recompute::{Again, Of, again};
use crate::text::grouped;

/// Differences told.
const DIFFERENCES_MAX: usize = 10;

/// What became of kept answers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServedReport {
    /// Answers computed again.
    pub answers: u64,
    /// Their values.
    pub values: u64,
    /// Values, statuses or fills that differ.
    pub differ: u64,
    /// Values that are not NULL.
    pub valid: u64,
    /// Different positions that they were read at.
    pub positions: u64,
    /// The earliest moment.
    pub from: Option<String>,
    /// The latest.
    pub to: Option<String>,
    /// The first few that differ.
    pub first: Vec<String>,
}

/// Computes every answer again, in their order, the inputs read once, from the earliest positions to the latest.
///
/// # Errors
/// Invalid where answers came from other versions than those of the store; as reading the inputs does.
pub fn verify_served(
    catalog: &Catalog,
    cut: &dyn CutRead,
    targets: &[Target],
    files: &Files,
    all: &[Kept],
    progress: &Progress<'_>,
) -> Result<ServedReport> {
    let mut replays: Vec<Option<Replay<'_>>> = targets.iter().map(|_| None).collect();
    let mut report = ServedReport::default();
    let (mut range, mut read_at) = (None::<(i64, i64)>, None);
    for kept in all {
        progress(&format!("{} kept answers computed again", report.answers))?;
        if kept.logged.is_some() {
            return Err(Error::invalid("these are the files of a feature log · `lockstep audit --log DIR` audits them").into());
        }
        for view in &kept.from.views {
            let at = targets.iter().position(|target| target.generation.generation == view.generation && target.view.view == view.view);
            let at = at.ok_or_else(|| {
                Error::invalid(format!(
                    "answers of `{}` version {} were kept, and the store serves another now · verify them against that store",
                    view.view, view.version
                ))
            })?;
            if replays[at].is_none() {
                replays[at] = Some(Replay::new(catalog, &targets[at], cut, files, OTHER_SHAPE)?);
            }
            if let Some(replay) = &mut replays[at] {
                replay.advance(&view.positions)?;
            }
        }
        report.positions += u64::from(read_at.replace(&kept.from.views) != Some(&kept.from.views));
        for &at in &kept.moments {
            let (low, high) = range.unwrap_or((at, at));
            range = Some((low.min(at), high.max(at)));
        }
        compare(&mut report, kept, &answer(catalog, targets, &replays, kept)?);
    }
    (report.from, report.to) = range.map(|(low, high)| (EventTime(low).to_string(), EventTime(high).to_string())).unzip();
    Ok(report)
}

/// The answer to the same requests, from the state in memory.
fn answer(catalog: &Catalog, targets: &[Target], replays: &[Option<Replay<'_>>], kept: &Kept) -> Result<Again, Error> {
    again(catalog, kept, kept.from.time, &|view| {
        let at = targets.iter().position(|target| target.view.view == view);
        let replay = at.and_then(|at| replays[at].as_ref());
        let replay = replay.ok_or_else(|| Error::data(format!("the kept answers do not say where `{view}` stood")))?;
        Ok(Of { state: replay.state(), keys: replay.keys(), keys_before: replay.keys_before() })
    })
}

fn compare(report: &mut ServedReport, kept: &Kept, again: &Again) {
    report.answers += kept.moments.len() as u64;
    for (output, field) in kept.outputs.iter().enumerate() {
        let (served, computed) = (&kept.values[output], &again.columns[output]);
        for row in (0..served.len()).filter(|&row| kept.was_asked(output, row)) {
            report.values += 1;
            report.valid += u64::from(served.is_valid(row));
            if !again.is_as_kept(kept, output, row) {
                report.differ += 1;
                if report.first.len() < DIFFERENCES_MAX {
                    let (was, is) = (kept.statuses[output].value(row), again.statuses[output].value(row));
                    report.first.push(format!(
                        "{} of request {} at {}: served {} {was}, again {} {is}",
                        field.name(),
                        kept.numbers[row] + 1,
                        EventTime(kept.moments[row]),
                        shown(served, row),
                        shown(computed, row),
                    ));
                }
            }
        }
    }
}

impl Report for ServedReport {
    fn text(&self, paint: Paint) -> String {
        let ServedReport { answers, values, differ, valid, positions, from, to, first } = self;
        let share = 100.0 * *valid as f64 / (*values).max(1) as f64;
        let differ = if *differ == 0 { paint.green("0 differ") } else { paint.red(format!("{} differ", grouped(*differ))) };
        let range = from.as_ref().zip(to.as_ref()).map(|(from, to)| format!("moments from {from} to {to}, ")).unwrap_or_default();
        let lines: String = first.iter().map(|line| format!("  {} {line}\n", paint.red("differs:"))).collect();
        format!(
            "{lines}{} kept answers computed again as they were served, {} values, {differ}\n{range}at {} positions of the log; {share:.1}% of the values are not NULL\n",
            grouped(*answers),
            grouped(*values),
            grouped(*positions)
        )
    }
}
