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
    /// Its values by outcome, where outcomes have it; else rows were asked with it.
    pub of_outcomes: Option<Float64Array>,
    /// The largest weight.
    pub weight_max: f64,
}

/// What is left of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// Per row, whether it stays.
    pub stays: Vec<bool>,
    /// Per row, its weight; `None` where its propensity is that of an outcome which is not known.
    pub weights: Vec<Option<f64>>,
    /// Rows of other definitions than those that count.
    pub other_definitions: u64,
    /// Rows that the cap on requests took.
    pub capped_per_decision: u64,
    /// Rows that the cap on entities took.
    pub capped_per_entity: u64,
    /// Rows whose weight was cut to the largest.
    pub bounded: u64,
}

/// Decides which rows stay, and weighs them.
///
/// # Errors
/// Invalid where a propensity is none.
pub fn weigh(scan: &Scan, group: usize, caps: Caps, outcomes: &[Option<u32>], propensity: Option<&Propensity<'_>>) -> Result<Weighed, Error> {
    let rows = &scan.rows;
    let stays: Vec<bool> = rows.iter().map(|row| row.group == group).collect();
    let other_definitions = stays.iter().filter(|stays| !**stays).count() as u64;
    let mut weighed =
        Weighed { stays, weights: vec![Some(1.0); rows.len()], other_definitions, capped_per_decision: 0, capped_per_entity: 0, bounded: 0 };
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
            let propensity = match &of.of_outcomes {
                None => scan.rows[row].propensity,
                Some(values) => {
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
