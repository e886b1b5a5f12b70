//! What verify found, for people and programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::ArrayRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::offline::Replayed;
use lockstep_ingest::pipeline::Target;
use lockstep_model::{EventTime, TimeMode, key};
use lockstep_transform::oracle::Kind;
use lockstep_transform::tiles::Request;
use lockstep_transform::tiles::audit::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::oracle::Answers;
use crate::output::{Paint, Report};
use crate::table::{Align, Table};
use crate::text::grouped;

/// What was found of all views.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Values compared.
    pub compared: u64,
    /// Of these, how many differ in a bit or in their status.
    pub differ: u64,
    /// Values that are neither NULL nor what no events give.
    pub telling: u64,
    /// Values that the oracle computed too.
    pub oracle: u64,
    /// Everything in the state that is not what the inputs give.
    pub faults: u64,
    /// View by view.
    pub views: Vec<ViewReport>,
    /// Which oracle computed how many values of which aggregate over which frame.
    pub aggregates: Vec<AggregateReport>,
}

/// What was found of one view.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ViewReport {
    /// The view.
    pub view: String,
    /// Which clock counted.
    pub time: TimeMode,
    /// Rows of the inputs read again.
    pub rows: u64,
    /// The earliest moment compared.
    pub from: Option<String>,
    /// The latest.
    pub to: Option<String>,
    /// Which oracle ran.
    pub oracle: String,
    /// Per feature.
    pub features: Vec<FeatureReport>,
    /// The state itself.
    pub state: StateReport,
    /// The few values that differ most, the worst first.
    pub differences: Vec<Difference>,
    #[serde(skip)]
    range: Option<(i64, i64)>,
    /// Per feature, the windows it is made of: function and frame.
    #[serde(skip)]
    windows: Vec<Vec<(String, String)>>,
}

/// What was found of one feature.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FeatureReport {
    /// Its name.
    pub name: String,
    /// Values compared.
    pub compared: u64,
    /// Of these, how many differ in a bit or in their status.
    pub differ: u64,
    /// Values that the oracle computed too.
    pub oracle: u64,
    /// Values with status PRESENT.
    pub present: u64,
    /// Values that are neither NULL nor what no events give.
    pub telling: u64,
}

/// What was found of the state of a view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateReport {
    /// Entities walked through.
    pub entities: u64,
    /// Heads and nodes read.
    pub nodes: u64,
    /// Tiles computed again from what lies below.
    pub tiles: u64,
    /// Events compared with the inputs.
    pub events: u64,
    /// Events and tiles that are not as the inputs give them.
    pub faults: u64,
    /// Nodes that belong to no tree.
    pub unreachable_nodes: u64,
    /// Remembered primary keys.
    pub keys: u64,
    /// Keys that are missing, unknown to the inputs, or of another content.
    pub keys_differ: u64,
    /// Rows in the refusal ledger.
    pub refusals: u64,
    /// Rows that come too late by the log.
    pub refusals_by_log: u64,
    /// The first few faults.
    pub first: Vec<String>,
}

/// How often an oracle computed an aggregate over a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AggregateReport {
    /// The function.
    pub aggregate: String,
    /// The frame.
    pub frame: String,
    /// Values by DataFusion's window operators.
    pub windows: u64,
    /// Values by a GROUP BY of what each moment sees.
    pub groups: u64,
    /// Values that only the two drivers computed.
    pub none: u64,
}

/// A value that is not the same all ways.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// View and feature.
    pub feature: String,
    /// The entity, for people.
    pub entity: String,
    /// The moment.
    pub at: String,
    /// Value and status online.
    pub online: String,
    /// Value and status offline.
    pub offline: String,
    /// Value and status by the oracle, if it was asked.
    pub oracle: Option<String>,
    /// Why, as far as it can be told.
    pub cause: String,
    /// How far the answers are apart: of numbers as a share of the greater one, and infinite where one has no value or another status.
    #[serde(skip)]
    pub(super) distance: f64,
}

/// Differences told of each view.
const DIFFERENCES_MAX: usize = 10;

impl Difference {
    pub(super) fn new(
        feature: String,
        request: &Request<'_>,
        [online, offline]: [String; 2],
        oracle: Option<String>,
        cause: String,
        distance: f64,
    ) -> Self {
        Difference { feature, entity: key::display(request.entity), at: EventTime(request.at).to_string(), online, offline, oracle, cause, distance }
    }
}

impl StateReport {
    /// Counts faults of an entity, and tells the first few.
    pub(super) fn tell(&mut self, entity: &[u8], faults: &[Fault], most: usize) {
        self.faults += faults.len() as u64;
        let room = most.saturating_sub(self.first.len());
        self.first.extend(faults.iter().take(room).map(|fault| format!("{}: {fault}", key::display(entity))));
    }

    /// How much of the state is not what the inputs give.
    pub fn wrong(&self) -> u64 {
        self.faults + self.unreachable_nodes + self.keys_differ + self.refusals.abs_diff(self.refusals_by_log)
    }
}

impl ViewReport {
    /// Nothing compared yet.
    pub(super) fn new(target: &Target, time: TimeMode, replayed: &Replayed, state: StateReport, answers: &Answers) -> Self {
        let feature = |name: &String| FeatureReport { name: name.clone(), compared: 0, differ: 0, oracle: 0, present: 0, telling: 0 };
        let windows = answers.windows.iter().map(|calls| calls.iter().map(|call| (call.function.clone(), call.frame.clone())).collect());
        ViewReport {
            view: target.view.view.clone(),
            time,
            rows: replayed.rows,
            from: None,
            to: None,
            oracle: oracle_name(answers.kind).to_owned(),
            features: target.view.features.fields().iter().map(|field| feature(field.name())).collect(),
            state,
            differences: Vec::new(),
            range: None,
            windows: windows.collect(),
        }
    }

    /// Takes in the moments compared.
    pub(super) fn cover(&mut self, moments: impl Iterator<Item = i64>) {
        for at in moments {
            let (low, high) = self.range.unwrap_or((at, at));
            self.range = Some((low.min(at), high.max(at)));
        }
        let ends = self.range.map(|(low, high)| (EventTime(low).to_string(), EventTime(high).to_string()));
        (self.from, self.to) = ends.unzip();
    }

    /// Keeps a difference if it is among the worst; of equal ones the first.
    pub(super) fn tell(&mut self, distance: f64, difference: impl FnOnce() -> Difference) {
        let at = self.differences.partition_point(|told| told.distance >= distance);
        if at < DIFFERENCES_MAX {
            self.differences.insert(at, difference());
            self.differences.truncate(DIFFERENCES_MAX);
        }
    }

    /// Values that differ.
    pub fn differ(&self) -> u64 {
        self.features.iter().map(|feature| feature.differ).sum()
    }
}

fn oracle_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Windows => "windows",
        Kind::Groups => "groups",
    }
}

/// A value as people read it.
pub fn shown(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    ArrayFormatter::try_new(column, &options).map_or_else(|error| error.to_string(), |formatter| formatter.value(row).to_string())
}

impl Verified {
    pub(super) fn new(views: Vec<ViewReport>) -> Self {
        let sum = |count: fn(&FeatureReport) -> u64| views.iter().flat_map(|view| &view.features).map(count).sum();
        Verified {
            compared: sum(|feature| feature.compared),
            differ: sum(|feature| feature.differ),
            telling: sum(|feature| feature.telling),
            oracle: sum(|feature| feature.oracle),
            faults: views.iter().map(|view| view.state.wrong()).sum(),
            aggregates: aggregates(&views),
            views,
        }
    }

    /// Whether everything is as the inputs give it.
    pub fn agrees(&self) -> bool {
        self.differ == 0 && self.faults == 0
    }
}

/// Counts a feature's values for every window that it is made of.
fn aggregates(views: &[ViewReport]) -> Vec<AggregateReport> {
    let mut rows: BTreeMap<(String, String), (u64, u64, u64)> = BTreeMap::new();
    for view in views {
        for (feature, windows) in view.features.iter().zip(&view.windows) {
            for window in windows {
                let (by_windows, by_groups, by_none) = rows.entry(window.clone()).or_default();
                *(if view.oracle == oracle_name(Kind::Windows) { by_windows } else { by_groups }) += feature.oracle;
                *by_none += feature.compared - feature.oracle;
            }
        }
    }
    let row = |((aggregate, frame), (windows, groups, none))| AggregateReport { aggregate, frame, windows, groups, none };
    rows.into_iter().map(row).collect()
}

impl Report for Verified {
    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        self.views.iter().for_each(|view| view.write(&mut text, paint));
        text += &self.aggregates_text(paint);
        text += &self.sum(paint);
        text
    }
}

impl Verified {
    fn aggregates_text(&self, paint: Paint) -> String {
        let columns = [
            ("aggregate", Align::Left),
            ("frame", Align::Left),
            ("by windows", Align::Right),
            ("by groups", Align::Right),
            ("by no oracle", Align::Right),
        ];
        let mut table = Table::new(&columns).indented(2);
        for AggregateReport { aggregate, frame, windows, groups, none } in &self.aggregates {
            let counts = [windows, groups, none].map(|count| if *count == 0 { String::new() } else { grouped(*count) });
            let [windows, groups, none] = counts;
            table.row([aggregate.as_str().into(), frame.as_str().into(), windows.into(), groups.into(), none.into()]);
        }
        format!("{}\n{}", paint.bold("which oracle computed what, in values"), table.render(paint))
    }

    /// The last lines: what it all comes to.
    pub fn sum(&self, paint: Paint) -> String {
        let Verified { compared, differ, telling, oracle, faults, views, .. } = self;
        let state = |count: fn(&StateReport) -> u64| grouped(views.iter().map(|view| count(&view.state)).sum());
        let share = 100.0 * *telling as f64 / (*compared).max(1) as f64;
        let differ = if *differ == 0 { paint.green("0 differ") } else { paint.red(format!("{} differ", grouped(*differ))) };
        let wrong = if *faults == 0 { paint.green("0 are not") } else { paint.red(format!("{} are not", grouped(*faults))) };
        format!(
            "{} values compared, {differ}; {share:.1}% are neither NULL nor what no events give; the oracle computed {} of them\n\
             {} events, {} tiles and {} keys of the state compared with what the inputs give, {wrong}\n",
            grouped(*compared),
            grouped(*oracle),
            state(|state| state.events),
            state(|state| state.tiles),
            state(|state| state.keys),
        )
    }
}

impl ViewReport {
    fn write(&self, text: &mut String, paint: Paint) {
        let mode = match self.time {
            TimeMode::Known => "known",
            TimeMode::Event => "event",
        };
        let range = self.from.as_ref().zip(self.to.as_ref()).map_or("no moments".to_owned(), |(from, to)| format!("{from} to {to}"));
        let StateReport { entities, nodes, tiles, events, keys, refusals, refusals_by_log, .. } = &self.state;
        let _ = writeln!(text, "{} · {mode} time · {range} · {} rows read again", paint.bold(&self.view), grouped(self.rows));
        let columns = [
            ("feature", Align::Left),
            ("compared", Align::Right),
            ("differ", Align::Right),
            ("by the oracle too", Align::Right),
            ("telling", Align::Right),
        ];
        let mut table = Table::new(&columns).indented(2);
        for FeatureReport { name, compared, differ, oracle, telling, .. } in &self.features {
            let share = format!("{:.1}%", 100.0 * *telling as f64 / (*compared).max(1) as f64);
            table.row([name.as_str().into(), grouped(*compared).into(), grouped(*differ).into(), grouped(*oracle).into(), share.into()]);
        }
        text.push_str(&table.render(paint));
        let (entities, nodes, tiles) = (grouped(*entities), grouped(*nodes), grouped(*tiles));
        let _ = writeln!(text, "  state: {entities} entities, {nodes} nodes, {tiles} tiles, {} events, {} keys", grouped(*events), grouped(*keys));
        if refusals + refusals_by_log > 0 {
            let _ = writeln!(text, "  refusals: {refusals} in the ledger, {refusals_by_log} by the log");
        }
        self.write_faults(text, paint);
        text.push('\n');
    }

    fn write_faults(&self, text: &mut String, paint: Paint) {
        let StateReport { unreachable_nodes, keys_differ, faults, first, .. } = &self.state;
        let mut wrong = |line: String| {
            let _ = writeln!(text, "  {} {line}", paint.red("wrong:"));
        };
        if *unreachable_nodes > 0 {
            wrong(format!("{unreachable_nodes} nodes belong to no tree"));
        }
        if *keys_differ > 0 {
            wrong(format!("{keys_differ} remembered keys are not those of the inputs"));
        }
        first.iter().for_each(|fault| wrong(fault.clone()));
        if *faults > first.len() as u64 {
            wrong(format!("and {} more faults", faults - first.len() as u64));
        }
        for Difference { feature, entity, at, online, offline, oracle, cause, .. } in &self.differences {
            let oracle = oracle.as_ref().map(|oracle| format!(", oracle {oracle}")).unwrap_or_default();
            let _ = writeln!(text, "  {} {feature} of {entity} at {at}: online {online}, offline {offline}{oracle}", paint.red("differs:"));
            let _ = writeln!(text, "    {cause}");
        }
        let (differ, told) = (self.differ(), self.differences.len() as u64);
        if differ > told {
            let _ = writeln!(text, "  {} {} more, none of them further apart", paint.red("differ:"), grouped(differ - told));
        }
    }
}
