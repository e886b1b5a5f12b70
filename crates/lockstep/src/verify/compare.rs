//! The same questions to the online store, the offline driver and the oracle.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use lockstep_ingest::offline::Replayed;
use lockstep_ingest::pipeline::Target;
use lockstep_model::{Error, StateRead, Status, TimeMode};
use lockstep_serve::admin::Progress;
use lockstep_transform::tiles::Request;
use lockstep_transform::tiles::audit::Fault;
use lockstep_transform::transformation::Features;

use super::Probe;
use super::oracle::Answers;
use super::report::{Difference, FeatureReport, ViewReport, shown};

/// Requests answered at once.
const BATCH: usize = 4096;

type Faults = BTreeMap<Vec<u8>, Vec<Fault>>;

/// Compares all answers at each probe and counts what comes out into `report`.
pub(super) fn compare(
    report: &mut ViewReport,
    target: &Target,
    (online, replayed): (&dyn StateRead, &Replayed),
    probes: &[Probe],
    mode: TimeMode,
    (oracle, faults): (&Answers, &Faults),
    progress: &Progress<'_>,
) -> Result<(), Error> {
    let view = &*target.view;
    let empty = view.read_at(online, &[Request { entity: &[], at: 0 }], mode, None)?;
    for first in (0..probes.len()).step_by(BATCH) {
        progress(&format!("comparing {}, {first} of {} moments", view.view, probes.len()))?;
        let batch = &probes[first..probes.len().min(first + BATCH)];
        let requests: Vec<Request<'_>> = batch.iter().map(|probe| Request { entity: &replayed.entities[probe.entity].0, at: probe.at }).collect();
        let online = view.read_at(online, &requests, mode, None);
        let offline = view.read_at(&replayed.state, &requests, mode, None)?;
        report.cover(batch.iter().map(|probe| probe.at));
        // State that does not decode answers nothing: what is wrong with it was found on the walk through it.
        let (online, unreadable) = match online {
            Ok(online) => (Some(online), None),
            Err(error) => (None, Some(error.to_string())),
        };
        for feature in 0..view.features.fields().len() {
            count(&mut report.features[feature], &offline, feature, &empty.columns[feature]);
            for (row, request) in requests.iter().enumerate() {
                let answers = Answered {
                    online: online.as_ref().map(|online| (online, row)),
                    offline: (&offline, row),
                    oracle: oracle.rows[first + row],
                    unreadable: unreadable.as_deref(),
                };
                answers.settle(report, feature, request, oracle, faults);
            }
        }
    }
    Ok(())
}

/// The answers to one question.
struct Answered<'a> {
    online: Option<(&'a Features, usize)>,
    offline: (&'a Features, usize),
    /// The row of the oracle's answer.
    oracle: Option<usize>,
    unreadable: Option<&'a str>,
}

impl Answered<'_> {
    fn settle(&self, report: &mut ViewReport, feature: usize, request: &Request<'_>, oracle: &Answers, faults: &Faults) {
        let offline = Value::of(self.offline.0, feature, self.offline.1);
        let online = self.online.map(|(features, row)| Value::of(features, feature, row));
        let third = self.oracle.map(|row| Value { column: &oracle.features.columns[feature], status: oracle.features.statuses[feature][row], row });
        let counts = &mut report.features[feature];
        counts.oracle += u64::from(third.is_some());
        let stored = online.as_ref().is_some_and(|online| online.same(&offline));
        let by_oracle = third.as_ref().is_none_or(|third| third.same(&offline));
        if stored && by_oracle {
            return;
        }
        counts.differ += 1;
        let apart = |value: Option<&Value<'_>>| value.map_or(f64::INFINITY, |value| value.distance(&offline));
        let distance = apart(online.as_ref()).max(third.as_ref().map_or(0.0, |third| apart(Some(third))));
        let name = format!("{}.{}", report.view, report.features[feature].name);
        report.tell(distance, || {
            let of_entity = faults.get(request.entity);
            let fault = of_entity.and_then(|faults| faults.iter().find(|fault| fault.span.0 <= request.at).or(faults.first()));
            let agrees = |with: Option<&Value<'_>>| third.as_ref().zip(with).is_some_and(|(third, with)| third.same(with));
            let cause = match (stored, fault) {
                (false, Some(fault)) => fault.to_string(),
                (false, None) if agrees(online.as_ref()) => {
                    "the offline driver is alone: the inputs are read otherwise than they were applied".to_owned()
                }
                (false, None) => "its events and tiles are those of the inputs: the read differs".to_owned(),
                (true, _) => "the oracle is alone: the view's SQL says otherwise than both drivers".to_owned(),
            };
            let text = |value: &Value<'_>| value.shown();
            Difference::new(
                name,
                request,
                [online.as_ref().map_or_else(|| self.unreadable.unwrap_or_default().to_owned(), text), text(&offline)],
                third.as_ref().map(text),
                cause,
                distance,
            )
        });
    }
}

/// A value with its status.
struct Value<'a> {
    column: &'a ArrayRef,
    status: Status,
    row: usize,
}

impl<'a> Value<'a> {
    fn of(features: &'a Features, feature: usize, row: usize) -> Value<'a> {
        Value { column: &features.columns[feature], status: features.statuses[feature][row], row }
    }

    fn same(&self, other: &Value<'_>) -> bool {
        self.status == other.status && same_at(self.column, self.row, other.column, other.row)
    }

    /// How far two values are apart: nothing where only their bits are, at most 2 of numbers, which is what values of other kinds are too, and infinitely where their status is
    /// not the same.
    fn distance(&self, other: &Value<'_>) -> f64 {
        if self.status != other.status {
            return f64::INFINITY;
        }
        if self.same(other) {
            return 0.0;
        }
        match (self.number(), other.number()) {
            (Some(a), Some(b)) if a == b || a.is_nan() && b.is_nan() => 0.0,
            (Some(a), Some(b)) if a.is_finite() && b.is_finite() => (a - b).abs() / a.abs().max(b.abs()),
            _ => 2.0,
        }
    }

    /// The value as a number, if it is one.
    fn number(&self) -> Option<f64> {
        let value = self.column.slice(self.row, 1);
        let is_number = value.data_type().is_numeric();
        let number = is_number.then(|| cast(&value, &DataType::Float64).ok()).flatten()?;
        number.as_primitive_opt::<Float64Type>().filter(|number| number.is_valid(0)).map(|number| number.value(0))
    }

    fn shown(&self) -> String {
        format!("{} {}", shown(self.column, self.row), self.status)
    }
}

/// Whether two values are equal in every bit.
pub fn same_at(a: &ArrayRef, row_a: usize, b: &ArrayRef, row_b: usize) -> bool {
    same(&a.slice(row_a, 1), &b.slice(row_b, 1))
}

/// Whether two columns are equal in every bit of every value.
pub fn same(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.to_data() == b.to_data()
}

/// Counts statuses, and values that are neither NULL nor what no events give.
fn count(report: &mut FeatureReport, features: &Features, feature: usize, empty: &ArrayRef) {
    let column = &features.columns[feature];
    for (row, status) in features.statuses[feature].iter().enumerate() {
        report.compared += 1;
        report.present += u64::from(*status == Status::Present);
        let is_trivial = column.is_null(row) || same_at(column, row, empty, 0);
        report.telling += u64::from(!is_trivial);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn a_status_is_worse_than_a_number_and_an_ulp_the_least() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::from_bits(1.0f64.to_bits() + 1), -1.0, 0.0, -0.0, f64::NAN]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let of = |column, row| Value { column, status: Status::Present, row };
        let apart = |a, b| of(&numbers, a).distance(&of(&numbers, b));
        assert_eq!([apart(0, 0), apart(3, 4), apart(0, 2), apart(0, 3), apart(0, 5)], [0.0, 0.0, 2.0, 1.0, 2.0]);
        assert_eq!(apart(0, 1), f64::EPSILON / (1.0 + f64::EPSILON));
        assert_eq!(of(&texts, 0).distance(&of(&texts, 1)), 2.0);
        let absent = Value { status: Status::Null, ..of(&numbers, 0) };
        assert_eq!(absent.distance(&of(&numbers, 0)), f64::INFINITY);
    }
}
