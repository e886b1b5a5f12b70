//! `lockstep verify`: the same values computed several ways, compared as bits.

mod probes;
mod report;
mod run;

use arrow::array::{Array, ArrayRef};
use lockstep_ingest::offline::Replayed;
use lockstep_ingest::pipeline::Target;
use lockstep_model::{Error, Generation, StateKey, StateRead, Status, TimeMode};
use lockstep_store::CutRead;
use lockstep_transform::tiles::Request;
use lockstep_transform::transformation::{Features, Transformation};

pub use probes::{Probe, probes};
pub use report::{Difference, FeatureReport, ViewReport};
pub use run::{VerifyOptions, verify};

/// Requests answered at once.
const BATCH: usize = 4096;
/// Differences told of each view.
const DIFFERENCES_MAX: usize = 10;

/// The state of one generation in a cut.
pub struct CutState<'a> {
    /// The cut.
    pub cut: &'a dyn CutRead,
    /// The generation.
    pub generation: Generation,
}

impl StateRead for CutState<'_> {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.cut.get_state(self.generation, keys, found)
    }
}

/// Compares what the online state and the offline driver say at each probe.
///
/// # Errors
/// Where state cannot be read.
pub fn compare(target: &Target, online: &dyn StateRead, replayed: &Replayed, probes: &[Probe], mode: TimeMode) -> Result<ViewReport, Error> {
    let view = &*target.view;
    let empty = features(view, online, &[Request { entity: &[], at: 0 }], mode)?;
    let mut report = ViewReport::new(view, mode);
    for batch in probes.chunks(BATCH) {
        let requests: Vec<Request<'_>> = batch.iter().map(|probe| Request { entity: &replayed.entities[probe.entity].0, at: probe.at }).collect();
        let one = features(view, online, &requests, mode)?;
        let other = features(view, &replayed.state, &requests, mode)?;
        report.range.extend(batch.iter().map(|probe| probe.at));
        for feature in 0..view.features.fields().len() {
            count(&mut report.features[feature], &one, feature, &empty.columns[feature]);
            for row in differing(&one, &other, feature) {
                report.features[feature].differ += 1;
                if report.differences.len() < DIFFERENCES_MAX {
                    report.differences.push(Difference::new(view, feature, &requests[row], (&one, &other), row));
                }
            }
        }
    }
    Ok(report)
}

fn features(view: &Transformation, state: &dyn StateRead, requests: &[Request<'_>], mode: TimeMode) -> Result<Features, Error> {
    view.read_at(state, requests, mode, None)
}

/// The rows at which a feature's value or status differ.
fn differing(one: &Features, other: &Features, feature: usize) -> Vec<usize> {
    let (a, b) = (&one.columns[feature], &other.columns[feature]);
    if same(a, b) && one.statuses[feature] == other.statuses[feature] {
        return Vec::new();
    }
    let differs = |row: &usize| !same(&a.slice(*row, 1), &b.slice(*row, 1)) || one.statuses[feature][*row] != other.statuses[feature][*row];
    (0..a.len()).filter(differs).collect()
}

/// Whether two columns are equal in every bit of every value.
fn same(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.to_data() == b.to_data()
}

/// Counts statuses, and values that are neither NULL nor what no events give.
fn count(report: &mut FeatureReport, features: &Features, feature: usize, empty: &ArrayRef) {
    let column = &features.columns[feature];
    for (row, status) in features.statuses[feature].iter().enumerate() {
        report.compared += 1;
        report.present += u64::from(*status == Status::Present);
        let is_trivial = column.is_null(row) || same(&column.slice(row, 1), empty);
        report.telling += u64::from(!is_trivial);
    }
}
