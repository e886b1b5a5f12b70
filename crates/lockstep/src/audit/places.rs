//! The order of ranked candidates, computed again: from the predictions that are logged, and from what was left to chance of the request.

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, UInt32Array};
use arrow::compute::take;
use lockstep_model::{Error, EventTime};
use lockstep_serve::scoring::places::by_lengths;
use lockstep_serve::scoring::{Deployed, Draw, Policy, Way};

use super::report::PredictionsReplayed;
use crate::kept::{Kept, KeptScores};
use crate::verify::{same, shown};

/// What is compared of each candidate.
const COMPARED: [&str; 2] = ["place", "propensity"];

/// Computes the order of a row's candidates again, where the log has one, and tells `report`.
///
/// # Errors
/// Data where the log does not say of each candidate what became of it.
pub fn replay(deployed: &Deployed, kept: &Kept, (scores, row): (&KeptScores, usize), report: &mut PredictionsReplayed) -> Result<()> {
    let Some(logged) = scores.ranked.as_ref().filter(|_| deployed.ranking.is_some()) else { return Ok(()) };
    let draws = match deployed.policy.as_ref().map(|policy| draw(policy, deployed, kept, row)) {
        None => None,
        Some(Some(draw)) => Some(vec![draw]),
        Some(None) => {
            report.not_computed(1, "the order of their candidates was drawn by columns that are not in this log, since the request had no id");
            return Ok(());
        }
    };
    let lists = scores.values.iter().map(|values| values.as_list_opt::<i32>().map(|list| list.value(row)));
    let predictions: Vec<ArrayRef> = lists.collect::<Option<_>>().ok_or_else(|| no_lists(kept))?;
    let ways = ways(scores, &UInt32Array::from(vec![row as u32]))?;
    let by = by_lengths(std::iter::once(ways.len()));
    let again = deployed.places(&predictions, &by, &ways, draws.as_deref())?;
    report.orders += 1;
    for name in COMPARED {
        let (Some(was), Some(is)) = (logged.column_by_name(name), again.column_by_name(name)) else { return Err(no_lists(kept).into()) };
        if !same(&was.slice(row, 1), is) {
            report.differs(|| {
                let at = EventTime(kept.moments[row]);
                format!("{} of {} of {} at {at}: logged {}, computed {}", name, kept.from.name, kept.called(row), shown(was, row), shown(is, 0))
            });
        }
    }
    Ok(())
}

/// What was left to chance of a row; `None` where it cannot be said.
fn draw(policy: &Policy, deployed: &Deployed, kept: &Kept, row: usize) -> Option<Draw> {
    if let Some(request_id) = kept.request_id(row) {
        return Some(policy.draw(request_id, kept.numbers[row], &mut Vec::new()));
    }
    let (asked, logged) = (deployed.asked.fields(), kept.requests.schema());
    let is_whole = asked.len() == logged.fields().len() && asked.iter().zip(logged.fields()).all(|(a, b)| a.name() == b.name());
    is_whole.then(|| policy.draws("", &kept.requests.slice(row, 1), &kept.moments[row..=row]).pop())?
}

/// How each candidate of some rows came to its predictions.
///
/// # Errors
/// Data where the log does not say so.
pub fn ways(scores: &KeptScores, rows: &UInt32Array) -> Result<Vec<Way>> {
    let no = || Error::data("the log does not say of ranked candidates how they came to their predictions");
    let ways = scores.ranked.as_ref().and_then(|ranked: &StructArray| ranked.column_by_name("way")).ok_or_else(no)?;
    let ways = take(ways, rows, None)?;
    let lists: &ListArray = ways.as_list_opt().ok_or_else(no)?;
    let names = lists.values().as_string_opt::<i32>().ok_or_else(no)?;
    Ok(names.iter().map(|name| Way::named(name?)).collect::<Option<Vec<_>>>().ok_or_else(no)?)
}

fn no_lists(kept: &Kept) -> Error {
    Error::data(format!("the log of `{}` says of ranked candidates no lists of what was predicted", kept.from.name))
}
