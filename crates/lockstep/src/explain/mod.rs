//! What a view does and what it costs, in the terms of its row stage and of the time tree.

mod estimate;
mod text;

use anyhow::{Result, anyhow};
use lockstep_serve::explained::features_over;
use lockstep_transform::catalog::{Availability, Catalog, SourcePlan};
use lockstep_transform::definition::{AvailableAt, Interval, Version, View, sql_name};
use lockstep_transform::tiles::{Frame, Shape};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::Serialize;

pub use estimate::Estimate;

use crate::verbs::explain::Measured;

/// A view, explained.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explained {
    /// The view.
    pub view: String,
    /// The entity, with its key.
    pub entity: String,
    /// Fingerprint of what it means.
    pub meaning: String,
    /// Fingerprint of how its state is encoded.
    pub state: String,
    /// The inputs and what is done to their rows.
    pub inputs: Vec<Input>,
    /// What a tile keeps one state of.
    pub measures: Vec<MeasureText>,
    /// The distinct windows.
    pub windows: Vec<WindowText>,
    /// The features.
    pub features: Vec<FeatureText>,
    /// The tree of an entity.
    pub tree: TreeText,
    /// How long values live after the entity's newest event.
    pub ttl: Option<String>,
    /// How far behind the watermark state is kept; absent where all of it is.
    pub retention: Option<String>,
    /// Why all of it is kept.
    pub kept_for_ever: Option<String>,
    /// Which clock counts events unless told otherwise: `known` or `event`.
    pub time: lockstep_model::TimeMode,
    /// The grid that edges are floored to; absent where they are exact.
    pub resolution: Option<String>,
    /// Entities of several sizes, as they would be kept and read.
    pub estimates: Vec<Estimate>,
    /// What the store holds, where there is one.
    pub measured: Option<Measured>,
}

/// An input of a view: its row stage.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Input {
    /// The source.
    pub source: String,
    /// Its event time.
    pub event_time: String,
    /// Its primary key.
    pub primary_key: Vec<String>,
    /// Rows that count.
    pub filter: Option<String>,
    /// The entity's key.
    pub key: Vec<String>,
    /// The columns that are stored with each event: `s1`, `s2`, ….
    pub stored: Vec<String>,
    /// When an event could first be known.
    pub available: String,
    /// How far an event may be behind.
    pub lateness: Option<String>,
    /// What tells a correction from what it corrects.
    pub version: Option<String>,
    /// How much of it is kept beyond what views need.
    pub history: String,
}

/// An aggregate call without its window.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MeasureText {
    /// `m1`, `m2`, ….
    pub name: String,
    /// The call over stored columns.
    pub call: String,
    /// Whether tiles keep a state of it.
    pub tiled: bool,
}

/// A window.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WindowText {
    /// `w1`, `w2`, ….
    pub name: String,
    /// As SQL writes it.
    pub frame: String,
    /// The longest slot whose tile fits into it, µs; absent where it is answered from single events.
    pub slot_micros: Option<u64>,
    /// The features that read it.
    pub features: Vec<String>,
}

/// A feature.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FeatureText {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Its definition.
    pub sql: String,
    /// The measures and windows it reads, as `m1·w2`.
    pub reads: Vec<String>,
}

/// Bounds of the tree of an entity.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TreeText {
    /// Most events of the head.
    pub head_rows_max: usize,
    /// Most events of a leaf.
    pub leaf_rows_max: usize,
    /// What a read follows down, at most one key a level for each: the edges of the windows, the moment itself, and the newest events where a window counts rows.
    pub ways: usize,
    /// Newest events that windows of rows look at.
    pub newest_rows: u64,
    /// Lengths of the slots of pages, the longest first, µs.
    pub slots_micros: Vec<u64>,
}

/// Explains a view.
///
/// # Errors
/// As the engine does with events made up for it.
pub fn explain(catalog: &Catalog, view: &Transformation, measured: Option<Measured>) -> Result<Explained> {
    let definition = catalog.definitions.views.get(&view.view).ok_or_else(|| anyhow!("`{}` has no definition", view.view))?;
    let keys: Vec<String> = view.entity.iter().map(|key| format!("{} {}", key.name(), sql_name(key.data_type()))).collect();
    let resolution = view.frames.iter().map(|frame| frame.resolution).max().filter(|&grid| grid > 1);
    let retention = catalog.retention(view);
    Ok(Explained {
        view: view.view.clone(),
        entity: format!("{} ({})", definition.entity, keys.join(", ")),
        meaning: view.meaning.to_string(),
        state: view.state.to_string(),
        inputs: (0..view.branches.len()).filter_map(|branch| input(catalog, view, branch)).collect(),
        measures: (0..view.measures.measures.len()).map(|measure| measure_text(view, measure)).collect(),
        windows: (0..view.frames.len()).map(|frame| window_text(view, frame)).collect(),
        features: (0..view.features.fields().len()).map(|feature| feature_text(definition, view, feature)).collect(),
        tree: tree(view),
        ttl: view.ttl.map(length),
        retention: retention.map(length),
        kept_for_ever: if retention.is_none() { kept_for_ever(catalog, view) } else { None },
        time: catalog.time_mode(view),
        resolution: resolution.map(length),
        estimates: estimate::estimates(catalog, view)?,
        measured,
    })
}

fn length(micros: i64) -> String {
    Interval::from_micros(micros).map_or_else(|| format!("{micros} µs"), |interval| interval.to_string())
}

fn input(catalog: &Catalog, view: &Transformation, branch: usize) -> Option<Input> {
    let stage = &view.branches[branch];
    let source = catalog.sources.get(&stage.source)?;
    let column = |index: usize| source.schema.field(index).name().clone();
    Some(Input {
        source: source.name.clone(),
        event_time: column(source.event_time),
        primary_key: source.primary_key.iter().map(|&index| column(index)).collect(),
        filter: stage.filter.as_ref().map(ToString::to_string),
        key: stage.keys.iter().map(ToString::to_string).collect(),
        stored: stage.columns.iter().map(ToString::to_string).collect(),
        available: available(source),
        lateness: source.lateness.map(length),
        version: source.version.map(|version| match version {
            Version::Column(index) => column(index),
            Version::Position => "position".to_owned(),
        }),
        history: match source.options.history {
            lockstep_transform::definition::History::All => "all".to_owned(),
            lockstep_transform::definition::History::Within(interval) => interval.to_string(),
        },
    })
}

fn available(source: &SourcePlan) -> String {
    let lag = if source.serving_lag > 0 { format!(" + {}", length(source.serving_lag)) } else { String::new() };
    let at = match (&source.availability, &source.options.available_at) {
        (Availability::None | Availability::Noted, _) => "when it happens".to_owned(),
        (Availability::Expression(_), Some(AvailableAt::Expression { text, .. })) => format!("at {text}"),
        (Availability::Expression(expression), _) => format!("at {expression}"),
        (Availability::AppendTime, _) => "when the log takes it".to_owned(),
    };
    at + &lag
}

fn measure_text(view: &Transformation, index: usize) -> MeasureText {
    let measure = &view.measures.measures[index];
    let stored = |column: usize| format!("s{}", column + 1);
    let args: Vec<String> = measure.args.iter().map(|&column| stored(column)).collect();
    let filter = measure.filter.map(|column| format!(" where {}", stored(column))).unwrap_or_default();
    MeasureText { name: format!("m{}", index + 1), call: format!("{}({}){filter}", measure.aggregate.name(), args.join(", ")), tiled: measure.tiled }
}

fn window_text(view: &Transformation, index: usize) -> WindowText {
    let frame = &view.frames[index];
    let tiled = view.outputs.iter().filter(|output| output.1 == index).all(|output| view.measures.measures[output.0].tiled);
    WindowText {
        name: format!("w{}", index + 1),
        frame: frame.to_string(),
        slot_micros: if tiled { longest_slot(frame) } else { None },
        features: features_over(view, index),
    }
}

/// Slots are powers of sixteen microseconds; the longest that can lie inside a frame.
fn longest_slot(frame: &Frame) -> Option<u64> {
    if frame.last.is_some() {
        return None;
    }
    let span = match (frame.preceding, frame.calendar) {
        (Some(preceding), _) => preceding.saturating_sub(frame.ends_before),
        (None, Some(calendar)) => calendar.unit.span_max(),
        (None, None) => i64::MAX,
    };
    slots().find(|&slot| i128::from(slot) <= i128::from(span) + 1)
}

/// Lengths of slots, µs, the longest first: a sixteenth of all time, and so on.
fn slots() -> impl Iterator<Item = u64> {
    (1..=16).map(|nibbles: u32| 1u64 << (64 - 4 * nibbles))
}

fn feature_text(definition: &View, view: &Transformation, index: usize) -> FeatureText {
    let field = view.features.field(index);
    let item = definition.features.iter().find(|item| item.name == *field.name());
    let sql = item.map(|item| item.expr.to_string());
    let reads = view.calls_of(index).into_iter().map(|call| {
        let (measure, frame) = view.outputs[call];
        format!("m{}·w{}", measure + 1, frame + 1)
    });
    FeatureText { name: field.name().clone(), data_type: sql_name(field.data_type()), sql: sql.unwrap_or_default(), reads: reads.collect() }
}

fn tree(view: &Transformation) -> TreeText {
    let mut edges: Vec<i64> = view.frames.iter().flat_map(|frame| frame.preceding.into_iter().chain([frame.ends_before])).collect();
    edges.sort_unstable();
    edges.dedup();
    let calendars = view.frames.iter().filter(|frame| frame.calendar.is_some()).count();
    let is_moment = usize::from(!edges.contains(&0));
    let newest_rows = view.frames.iter().filter_map(|frame| frame.last).map(|last| last.n.map_or(u64::MAX, |n| n.saturating_add(last.skip)));
    let Shape { leaf_rows_max, buffer_rows_max: head_rows_max } = Shape::default();
    TreeText {
        head_rows_max,
        leaf_rows_max,
        ways: edges.len() + calendars + is_moment + usize::from(view.frames.iter().any(|frame| frame.last.is_some())),
        newest_rows: newest_rows.max().unwrap_or(0),
        // From centuries down to a millisecond: others are met by ties and by the tests alone.
        slots_micros: slots().filter(|slot| (1 << 12..=1 << 48).contains(slot)).collect(),
    }
}

fn kept_for_ever(catalog: &Catalog, view: &Transformation) -> Option<String> {
    if let Some(frame) = view.frames.iter().find(|frame| frame.last.is_some() || (frame.preceding.is_none() && frame.calendar.is_none())) {
        return Some(format!("a window has no length: {frame}"));
    }
    let sources = catalog.sources_of(view);
    let all = sources.iter().find(|source| source.options.history == lockstep_transform::definition::History::All);
    let unbounded = sources.iter().find(|source| source.lateness.is_none());
    all.map(|source| format!("`{}` declares history = 'all'", source.name))
        .or_else(|| unbounded.map(|source| format!("`{}` declares allowed_lateness = 'unbounded'", source.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_transform::definition::{Definitions, SourceFile};

    const SQL: &str = "CREATE ENTITY e (e VARCHAR);
        CREATE SOURCE s (id BIGINT PRIMARY KEY, e VARCHAR, x DOUBLE, t VARCHAR, n DECIMAL(12, 2), tags VARCHAR[], at TIMESTAMP)
          WITH (event_time = 'at', available_at = 'append_time', allowed_lateness = '1 hour');
        CREATE FEATURE VIEW hours ENTITY e AS SELECT e, sum(x) OVER h AS x_h, avg(x) OVER d AS x_d, sum(n) OVER lag AS n_lag, count(*) OVER today AS today FROM s
        WHERE t <> 'it''s' AND x > 0
        WINDOW h AS (PARTITION BY e ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
               d AS (PARTITION BY e ORDER BY at RANGE BETWEEN INTERVAL '30 days' PRECEDING AND CURRENT ROW),
               lag AS (PARTITION BY e ORDER BY at RANGE BETWEEN INTERVAL '8 days' PRECEDING AND INTERVAL '7 days' PRECEDING),
               today AS (PARTITION BY e, date_trunc('day', at) ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
        CREATE FEATURE VIEW last ENTITY e WITH (limit = 100) AS SELECT e, avg(x) OVER ten AS x_10, last_value(t) OVER ever AS t, count(DISTINCT t) OVER h AS kinds FROM s
        WINDOW ten AS (PARTITION BY e ORDER BY at ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
               h AS (PARTITION BY e ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
               ever AS (PARTITION BY e ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);";

    fn explained(view: &str) -> Explained {
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", SQL)]).unwrap();
        let catalog = Catalog::compile(definitions).unwrap();
        explain(&catalog, &catalog.views[view], None).unwrap()
    }

    #[test]
    fn no_read_touches_more_keys_than_is_said() {
        for view in ["hours", "last"] {
            let explained = explained(view);
            let TreeText { ways, newest_rows, .. } = explained.tree;
            for Estimate { events, read, .. } in &explained.estimates {
                let most = 2 + ways as u64 * (read.rounds - 1) + newest_rows;
                assert!(read.keys <= most, "{view}, {events} events: {} keys, at most {most} were said", read.keys);
            }
            let longest = explained.estimates.last().unwrap();
            assert!(longest.read.tiles > 0 && longest.read.events < 1_000, "{view}: {:?}", longest.read);
            assert!(explained.estimates.is_sorted_by_key(|estimate| estimate.kept_bytes));
        }
    }

    #[test]
    fn a_view_is_told_in_its_own_terms() {
        let hours = explained("hours");
        assert_eq!(hours.inputs[0].filter.as_deref(), Some("t != 'it''s' AND x > 0"));
        assert_eq!((hours.inputs[0].available.as_str(), hours.time), ("when the log takes it", lockstep_model::TimeMode::Known));
        assert_eq!(hours.retention.as_deref(), Some("30 days 1 hour"));
        let mut slots: Vec<Option<u64>> = hours.windows.iter().map(|window| window.slot_micros).collect();
        slots.sort_unstable();
        assert_eq!(slots, [Some(1 << 28), Some(1 << 36), Some(1 << 36), Some(1 << 40)]);
        let last = explained("last");
        assert!(last.retention.is_none() && last.kept_for_ever.unwrap().contains("ROWS BETWEEN 9 PRECEDING"));
        assert_eq!(
            last.windows.iter().filter(|window| window.slot_micros.is_none()).map(|window| window.frame.as_str()).collect::<Vec<_>>(),
            ["ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"]
        );
    }
}
