//! What verify found.

use std::fmt;

use arrow::array::ArrayRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_model::{EventTime, TimeMode};
use lockstep_transform::tiles::Request;
use lockstep_transform::transformation::{Features, Transformation};

/// What was found of one view.
#[derive(Debug)]
pub struct ViewReport {
    /// The view.
    pub view: String,
    /// Which clock counted.
    pub mode: TimeMode,
    /// Per feature.
    pub features: Vec<FeatureReport>,
    /// The first few that differ.
    pub differences: Vec<Difference>,
    /// The moments covered.
    pub range: Range,
}

/// What was found of one feature.
#[derive(Debug)]
pub struct FeatureReport {
    /// Its name.
    pub name: String,
    /// Values compared.
    pub compared: u64,
    /// Of these, how many differ in a bit or in their status.
    pub differ: u64,
    /// Values with status PRESENT.
    pub present: u64,
    /// Values that are neither NULL nor what no events give.
    pub telling: u64,
}

/// The least and the greatest of some moments, µs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range(pub Option<(i64, i64)>);

impl Range {
    /// Takes moments in.
    pub fn extend(&mut self, moments: impl Iterator<Item = i64>) {
        for at in moments {
            let (low, high) = self.0.unwrap_or((at, at));
            self.0 = Some((low.min(at), high.max(at)));
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((low, high)) => write!(f, "{} to {}", EventTime(low), EventTime(high)),
            None => f.write_str("nothing"),
        }
    }
}

/// A value that is not the same both ways.
#[derive(Debug)]
pub struct Difference {
    /// The feature.
    pub feature: String,
    /// The entity, for people.
    pub entity: String,
    /// The moment.
    pub at: EventTime,
    /// Value and status online.
    pub online: String,
    /// Value and status offline.
    pub offline: String,
}

impl Difference {
    /// The value of `feature` in row `row` of what the online state and the offline driver gave.
    pub fn new(view: &Transformation, feature: usize, request: &Request<'_>, (online, offline): (&Features, &Features), row: usize) -> Self {
        let show = |features: &Features| format!("{} {}", text(&features.columns[feature], row), features.statuses[feature][row]);
        Difference {
            feature: format!("{}.{}", view.view, view.features.field(feature).name()),
            entity: lockstep_model::key::display(request.entity),
            at: EventTime(request.at),
            online: show(online),
            offline: show(offline),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { feature, entity, at, online, offline } = self;
        write!(f, "{feature} of {entity} at {at}: online {online}, offline {offline}")
    }
}

fn text(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    ArrayFormatter::try_new(column, &options).map_or_else(|error| error.to_string(), |formatter| formatter.value(row).to_string())
}

impl ViewReport {
    /// Nothing compared yet.
    pub fn new(view: &Transformation, mode: TimeMode) -> Self {
        let feature = |name: &String| FeatureReport { name: name.clone(), compared: 0, differ: 0, present: 0, telling: 0 };
        ViewReport {
            view: view.view.clone(),
            mode,
            features: view.features.fields().iter().map(|field| feature(field.name())).collect(),
            differences: Vec::new(),
            range: Range::default(),
        }
    }

    /// Values compared.
    pub fn compared(&self) -> u64 {
        self.features.iter().map(|feature| feature.compared).sum()
    }

    /// Values that differ.
    pub fn differ(&self) -> u64 {
        self.features.iter().map(|feature| feature.differ).sum()
    }

    /// Values that are neither NULL nor what no events give.
    pub fn telling(&self) -> u64 {
        self.features.iter().map(|feature| feature.telling).sum()
    }
}
