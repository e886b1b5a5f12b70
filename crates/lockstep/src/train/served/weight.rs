//! Which rows stay where rows are capped, and what each of them weighs.

use arrow::array::{Array, Float64Array};
use lockstep_model::Error;

use super::log::{Row, Scan};

/// Most rows that stay of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// Of a request; rows whose request has no id are requests of their own.
    pub per_decision: Option<u64>,
    /// Of an entity.
    pub per_entity: Option<u64>,
}

/// Where propensities come from.
#[derive(Debug)]
pub struct Propensity<'a> {
    /// The column.
    pub column: &'a str,
    /// Its values by outcome, where outcomes have it.
    pub of_outcomes: Option<Float64Array>,
    /// Its values by row, where it is that of decisions; where neither says it, rows were asked with it.
    pub of_decisions: Option<Vec<Option<f64>>>,
    /// The largest weight.
    pub weight_max: f64,
}

/// What is left of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// Per row, whether it stays.
    pub stays: Vec<bool>,
    /// Per row, its weight; `None` where its propensity is that of an outcome or a decision which is not known.
    pub weights: Vec<Option<f64>>,
    /// Rows of other definitions than those that count.
    pub other_definitions: u64,
    /// Rows that the cap on requests took.
    pub capped_per_decision: u64,
    /// Rows that the cap on entities took.
    pub capped_per_entity: u64,
    /// Rows whose weight was cut to the largest.
    pub bounded: u64,
    /// Rows that have no weight, since nobody knows with which probability it was decided so.
    pub without_propensity: u64,
}

/// Decides which rows stay, and weighs them.
///
/// # Errors
/// Invalid where a propensity is none.
pub fn weigh(scan: &Scan, group: usize, caps: Caps, outcomes: &[Option<u32>], propensity: Option<&Propensity<'_>>) -> Result<Weighed, Error> {
    let rows = &scan.rows;
    let stays: Vec<bool> = rows.iter().map(|row| row.group == group).collect();
    let other_definitions = stays.iter().filter(|stays| !**stays).count() as u64;
    let weights = by_share(rows, &stays);
    let mut weighed = Weighed { stays, weights, other_definitions, capped_per_decision: 0, capped_per_entity: 0, bounded: 0, without_propensity: 0 };
    if let Some(most) = caps.per_decision {
        weighed.capped_per_decision = weighed.cap(rows, most, |row| row.decision);
    }
    if let Some(most) = caps.per_entity {
        weighed.capped_per_entity = weighed.cap(rows, most, |row| row.entity);
    }
    if let Some(propensity) = propensity {
        weighed.weigh(scan, outcomes, propensity)?;
    }
    Ok(weighed)
}

/// What rows weigh of which some are logged more often than others: as much more as they are logged less. One each, where all are logged alike.
fn by_share(rows: &[Row], stays: &[bool]) -> Vec<Option<f64>> {
    let shares = || rows.iter().zip(stays).filter(|(_, stays)| **stays).map(|(row, _)| row.share.filter(|share| *share > 0.0));
    let largest = shares().flatten().fold(0.0, f64::max);
    // A row that does not say so was logged by a release, or a deployment, that had one share for all.
    if largest == 0.0 || shares().any(|share| share.is_none()) {
        return vec![Some(1.0); rows.len()];
    }
    rows.iter().map(|row| Some(row.share.filter(|share| *share > 0.0).map_or(1.0, |share| largest / share))).collect()
}

impl Weighed {
    /// Takes rows out of groups that have too many, those with the largest draws, and gives their weight to the others. How many are taken.
    fn cap(&mut self, rows: &[Row], most: u64, of: impl Fn(&Row) -> Option<u128>) -> u64 {
        let mut staying: Vec<(u128, u64, usize)> =
            (0..rows.len()).filter(|&row| self.stays[row]).filter_map(|row| Some((of(&rows[row])?, rows[row].draw, row))).collect();
        staying.sort_unstable();
        let mut taken = 0;
        for group in staying.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() as u64 > most) {
            let (stay, go) = group.split_at(most as usize);
            let factor = group.len() as f64 / most as f64;
            stay.iter().for_each(|&(_, _, row)| self.weights[row] = self.weights[row].map(|weight| weight * factor));
            go.iter().for_each(|&(_, _, row)| self.stays[row] = false);
            taken += go.len() as u64;
        }
        taken
    }

    fn weigh(&mut self, scan: &Scan, outcomes: &[Option<u32>], of: &Propensity<'_>) -> Result<(), Error> {
        for row in (0..scan.rows.len()).filter(|&row| self.stays[row]) {
            let propensity = match (&of.of_outcomes, &of.of_decisions) {
                (None, None) => scan.rows[row].propensity,
                (None, Some(propensities)) => match propensities[row] {
                    None => {
                        self.weights[row] = None;
                        self.without_propensity += 1;
                        continue;
                    }
                    known => known,
                },
                (Some(values), _) => {
                    let Some(outcome) = outcomes[row].map(|outcome| outcome as usize) else {
                        self.weights[row] = None;
                        continue;
                    };
                    values.is_valid(outcome).then(|| values.value(outcome))
                }
            };
            let weight = self.weights[row].unwrap_or(1.0) / probability(propensity, of.column, &|| scan.place(row))?;
            self.bounded += u64::from(weight > of.weight_max);
            self.weights[row] = Some(weight.min(of.weight_max));
        }
        Ok(())
    }
}

/// A propensity that is one: above 0, and no more than 1.
fn probability(propensity: Option<f64>, column: &str, place: &dyn Fn() -> String) -> Result<f64, Error> {
    match propensity {
        Some(propensity) if propensity > 0.0 && propensity <= 1.0 => Ok(propensity),
        other => Err(Error::invalid(format!(
            "the propensity of {} is no probability · `{column}` is {} there · log the probability, above 0 and up to 1, with which it was decided so",
            place(),
            other.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
        ))),
    }
}
