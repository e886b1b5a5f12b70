//! The same questions to the online store, the offline driver and the oracle.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
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
/// Differences told of each view.
const DIFFERENCES_MAX: usize = 10;

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
        if report.differences.len() < DIFFERENCES_MAX {
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
            let name = format!("{}.{}", report.view, report.features[feature].name);
            let text = |value: &Value<'_>| value.shown();
            report.differences.push(Difference::new(
                name,
                request,
                [online.as_ref().map_or_else(|| self.unreadable.unwrap_or_default().to_owned(), text), text(&offline)],
                third.as_ref().map(text),
                cause,
            ));
        }
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

    fn shown(&self) -> String {
        format!("{} {}", shown(self.column, self.row), self.status)
    }
}

/// Whether two values are equal in every bit.
fn same_at(a: &ArrayRef, row_a: usize, b: &ArrayRef, row_b: usize) -> bool {
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
