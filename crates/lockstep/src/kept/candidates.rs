//! Ranked candidates that are kept, taken apart: a row for each that was answered, in place of a row of lists for each request.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type};
use lockstep_model::Error;
use lockstep_serve::scoring::Decided;

use super::scores::KeptDecisions;
use super::{Kept, KeptScores, Logged};

/// Which rows of requests, and which elements of their lists, candidates are, by the place at which they were answered.
struct Candidates {
    rows: UInt32Array,
    elements: UInt32Array,
    places: Vec<i32>,
    propensities: Vec<Option<f64>>,
}

impl Kept {
    /// The same with a row for each candidate that was answered, best first; of rows that were not ranked there are none. What was decided of a candidate is its place: the action is `place 1`,
    /// and its propensity that with which it stood there.
    ///
    /// # Errors
    /// Data where an output is no list of as many elements as there are candidates.
    pub fn each_candidate(&self) -> Result<Kept> {
        let candidates = Candidates::of(self.predicted.as_ref())?;
        let Candidates { rows, elements, .. } = &candidates;
        let texts =
            |columns: &[StringArray]| columns.iter().map(|column| Ok(take(column, rows, None)?.as_string().clone())).collect::<Result<Vec<_>>>();
        let each = |values: &[i64]| rows.values().iter().map(|&row| values[row as usize]).collect::<Vec<_>>();
        let element = |field: &Arc<Field>| match field.data_type() {
            DataType::List(element) => Field::new(field.name(), element.data_type().clone(), true),
            _ => field.as_ref().clone(),
        };
        let logged = |logged: &Logged| -> Result<Logged> {
            let times = |column: &TimestampMicrosecondArray| Ok(take(column, rows, None)?.as_primitive().clone());
            Ok(Logged {
                request_ids: take(&logged.request_ids, rows, None)?.as_string().clone(),
                served_at: each(&logged.served_at),
                event_times: logged.event_times.iter().map(times).collect::<Result<_>>()?,
            })
        };
        Ok(Kept {
            from: Arc::clone(&self.from),
            numbers: rows.values().iter().map(|&row| self.numbers[row as usize]).collect(),
            moments: each(&self.moments),
            requests: take_record_batch(&self.requests, rows)?,
            values: self.values.iter().map(|column| elements_of(column, rows, elements)).collect::<Result<_>>()?,
            outputs: self.outputs.iter().map(element).collect(),
            statuses: texts(&self.statuses)?,
            filled_by: texts(&self.filled_by)?,
            logged: self.logged.as_ref().map(logged).transpose()?,
            predicted: self.predicted.as_ref().map(|scores| scores.each_candidate(&candidates)).transpose()?,
        })
    }
}

impl Candidates {
    fn of(scores: Option<&KeptScores>) -> Result<Candidates, Error> {
        let mut found: Vec<(u32, u32, i32, Option<f64>)> = Vec::new();
        if let Some(ranked) = scores.and_then(|scores| scores.ranked.as_ref()) {
            let lists = |name: &str| ranked.column_by_name(name)?.as_list_opt::<i32>();
            let (Some(places), Some(propensities)) = (lists("place"), lists("propensity")) else {
                return Err(Error::data("the log does not say of ranked candidates where they were answered"));
            };
            for row in 0..places.len() {
                let (places, propensities) = (places.value(row), propensities.value(row));
                let (places, propensities) = (places.as_primitive::<Int32Type>(), propensities.as_primitive::<Float64Type>());
                let answered =
                    places.iter().zip(propensities).zip(0..).filter_map(|((place, propensity), at)| Some((row as u32, at, place?, propensity)));
                let first = found.len();
                found.extend(answered);
                found[first..].sort_by_key(|(_, _, place, _)| *place);
            }
        }
        Ok(Candidates {
            rows: found.iter().map(|(row, ..)| *row).collect(),
            elements: found.iter().map(|(_, at, ..)| *at).collect(),
            places: found.iter().map(|(_, _, place, _)| *place).collect(),
            propensities: found.iter().map(|(.., propensity)| *propensity).collect(),
        })
    }
}

impl KeptScores {
    fn each_candidate(&self, candidates: &Candidates) -> Result<KeptScores> {
        let Candidates { rows, elements, places, propensities } = candidates;
        let texts = |column: &StringArray| -> Result<StringArray> { Ok(take(column, rows, None)?.as_string().clone()) };
        let field = |field: &Arc<Field>| match field.data_type() {
            DataType::List(element) => Field::new(field.name(), element.data_type().clone(), true),
            _ => field.as_ref().clone(),
        };
        let actions: StringArray = places.iter().map(|place| Some(format!("place {place}"))).collect();
        let decided = match &self.decided {
            // Nothing is left to chance, and everything that is told is logged alike.
            None => None,
            Some(kept) => {
                let explored: BooleanArray = rows.values().iter().map(|&row| Some(kept.decided.explored.value(row as usize))).collect();
                let shares = rows.values().iter().map(|&row| kept.shares.value(row as usize)).collect::<Vec<_>>();
                let decided = Decided { actions, propensities: Float64Array::from(propensities.clone()), explored };
                Some(KeptDecisions { decided, shares: shares.into() })
            }
        };
        Ok(KeptScores {
            fields: self.fields.iter().map(field).collect(),
            values: self.values.iter().map(|column| elements_of(column, rows, elements)).collect::<Result<_>>()?,
            ways: texts(&self.ways)?,
            by: texts(&self.by)?,
            decided,
            ranked: None,
        })
    }
}

/// Of each of these rows, the element of its list at a place.
fn elements_of(column: &ArrayRef, rows: &UInt32Array, elements: &UInt32Array) -> Result<ArrayRef> {
    let lists: &ListArray = column.as_list_opt().ok_or_else(|| Error::data("the log has of ranked candidates an output that is no list of them"))?;
    let place = |(&row, &at): (&u32, &u32)| {
        let element = lists.value_offsets()[row as usize] as u32 + at;
        ((element as i32) < lists.value_offsets()[row as usize + 1]).then_some(element)
    };
    let places: UInt32Array = rows.values().iter().zip(elements.values()).map(place).collect();
    Ok(take(lists.values(), &places, None)?)
}
