//! Which outcome each row of a log has.

use std::collections::HashMap;

use lockstep_model::{Error, EventTime};

use super::log::Row;
use super::outcomes::{By, Outcomes};
use super::report::OutcomesReport;
use crate::text::grouped;

/// The outcomes of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Per row, its outcome.
    pub outcomes: Vec<Option<u32>>,
    /// Rows that have more than one.
    pub several: Vec<bool>,
    /// Per outcome, what became of it.
    fates: Vec<Fate>,
}

/// What becomes of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It belongs to rows, whichever they are.
    Found,
    /// It was known later than outcomes are read.
    Later,
    /// It is of no row.
    NoRow,
    /// It was known before all of its rows.
    Before,
    /// It was known too long after its row.
    Beyond,
}

/// Finds the outcome of each row, of those that were known by `until`.
///
/// # Errors
/// Invalid where an outcome says a request and not which of its rows.
pub fn join(rows: &[Row], outcomes: &Outcomes, by: &By, until: Option<EventTime>) -> Result<Joined, Error> {
    let mut by_key: HashMap<u128, Vec<u32>> = HashMap::new();
    for (at, row) in (0..).zip(rows) {
        if let Some(key) = row.key {
            by_key.entry(key).or_default().push(at);
        }
    }
    // Of rows of one moment the one that was answered last is the newest, and of these the last one that was logged.
    by_key.values_mut().for_each(|of_key| of_key.sort_by_key(|&at| (rows[at as usize].moment, rows[at as usize].served_at, at)));
    let mut joined = Joined { outcomes: vec![None; rows.len()], several: vec![false; rows.len()], fates: Vec::with_capacity(outcomes.times.len()) };
    for (at, (key, &time)) in outcomes.keys.iter().zip(&outcomes.times).enumerate() {
        let of_key = key.and_then(|key| by_key.get(&key));
        let fate = match (of_key, by) {
            _ if until.is_some_and(|until| time > until.0) => Fate::Later,
            (None, _) => Fate::NoRow,
            (Some(of_key), By::Columns { within, .. }) => joined.give_newest(rows, of_key, outcomes, at, *within),
            (Some(of_key), by) => {
                check_one_row(rows, of_key, outcomes, at, by)?;
                joined.give_all(rows, of_key, outcomes, at)
            }
        };
        joined.fates.push(fate);
    }
    Ok(joined)
}

/// Refuses an outcome of a request of several rows that does not say of which it is.
fn check_one_row(rows: &[Row], of_key: &[u32], outcomes: &Outcomes, at: usize, by: &By) -> Result<(), Error> {
    let numbers = |row: &u32| rows[*row as usize].number;
    let is_one = of_key.first().is_none_or(|first| of_key.iter().all(|row| numbers(row) == numbers(first)));
    if matches!(by, By::RequestRow | By::Candidate { with_row: true, .. }) || is_one {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "which row of its request is the outcome of? · {} has {} rows in the log · give outcomes a column `{}`, counted from 0",
        outcomes.called(at),
        grouped(of_key.len() as u64),
        super::REQUEST_ROW
    )))
}

impl Joined {
    /// Gives an outcome to every answer to its request that it did not come before.
    fn give_all(&mut self, rows: &[Row], of_key: &[u32], outcomes: &Outcomes, at: usize) -> Fate {
        let later: Vec<u32> = of_key.iter().copied().filter(|&row| rows[row as usize].moment <= outcomes.times[at]).collect();
        later.iter().for_each(|&row| self.give(row, outcomes, at));
        if later.is_empty() { Fate::Before } else { Fate::Found }
    }

    /// Gives an outcome to the newest row at or before it.
    fn give_newest(&mut self, rows: &[Row], of_key: &[u32], outcomes: &Outcomes, at: usize, within: i64) -> Fate {
        let time = outcomes.times[at];
        let before = of_key.partition_point(|&row| rows[row as usize].moment <= time);
        let Some(&newest) = before.checked_sub(1).and_then(|newest| of_key.get(newest)) else { return Fate::Before };
        if time.saturating_sub(rows[newest as usize].moment) > within {
            return Fate::Beyond;
        }
        self.give(newest, outcomes, at);
        Fate::Found
    }

    fn give(&mut self, row: u32, outcomes: &Outcomes, at: usize) {
        let has = &mut self.outcomes[row as usize];
        self.several[row as usize] |= has.is_some();
        // The newest counts, and of two at one moment the later one.
        if has.is_none_or(|known| outcomes.times[known as usize] <= outcomes.times[at]) {
            *has = Some(at as u32);
        }
    }

    /// What became of the outcomes, where these rows stay.
    pub fn report(&self, stays: &[bool]) -> OutcomesReport {
        let mut report = OutcomesReport { read: self.fates.len() as u64, ..OutcomesReport::default() };
        let (mut of_any, mut of_stay) = (vec![false; self.fates.len()], vec![false; self.fates.len()]);
        for (outcome, stays) in self.outcomes.iter().zip(stays) {
            let Some(outcome) = *outcome else { continue };
            of_any[outcome as usize] = true;
            of_stay[outcome as usize] |= *stays;
        }
        for (at, fate) in self.fates.iter().enumerate() {
            *match fate {
                Fate::Later => &mut report.later,
                Fate::NoRow => &mut report.no_row,
                Fate::Before => &mut report.before_request,
                Fate::Beyond => &mut report.beyond,
                Fate::Found if of_stay[at] => &mut report.used,
                Fate::Found if of_any[at] => &mut report.left_out,
                Fate::Found => &mut report.superseded,
            } += 1;
        }
        report
    }
}
