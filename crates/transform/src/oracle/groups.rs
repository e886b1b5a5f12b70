//! The oracle of groups: every probe is given the rows that it sees, and aggregates are grouped by probe.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow::compute::{concat_batches, partition, take};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::sql::sqlparser::ast::{Expr, WindowFrameBound};
use lockstep_model::{Error, TimeMode};

use super::body::{AFTER, AT, Call, NEWEST, PLACE, PROBE, calendar_column, counted_column, quoted, value_column};
use super::session::Table;
use super::windows::{calendar_periods, in_order, named};
use super::{Loaded, Probes, WindowValues, internal, kernel};

const ROWS: &str = "oracle rows";
/// Rows of one query; the rows that one probe sees are never split.
const QUERY_ROWS: usize = 1 << 20;

/// The values of all calls at all probes.
pub(super) async fn values(loaded: &Loaded<'_>, probes: &Probes, mode: TimeMode) -> Result<WindowValues, Error> {
    let groups = Groups::new(loaded, probes, mode).await?;
    let mut parts = Vec::new();
    let mut next = 0;
    while next < probes.at.len() || parts.is_empty() {
        let seen = groups.seen_from(next);
        next += seen.probes;
        parts.push(groups.query(&seen).await?);
    }
    let schema = parts.first().map(RecordBatch::schema).ok_or_else(|| Error::internal("no values of groups"))?;
    let all = concat_batches(&schema, &parts).map_err(kernel)?;
    let column = |name: &str| all.column_by_name(name).cloned();
    let calls = 0..loaded.oracle.body.calls.len();
    let missing = || Error::internal("a window without values");
    Ok(WindowValues {
        values: calls.clone().map(|i| column(&value_column(i))).collect::<Option<_>>().ok_or_else(missing)?,
        counted: calls.map(|i| column(&counted_column(i))).collect(),
        newest: column(NEWEST).ok_or_else(missing)?,
    })
}

struct Groups<'a> {
    loaded: &'a Loaded<'a>,
    probes: &'a Probes,
    mode: TimeMode,
    /// Columns of the relation that something reads.
    columns: RecordBatch,
    times: &'a [i64],
    /// Per calendar of the body, the periods of the probes.
    periods: Vec<ArrayRef>,
    /// Per probe: the rows of its entity.
    of_entity: Vec<Range<usize>>,
    /// Per probe: rows before this moment are in no frame that time bounds.
    oldest: Vec<i64>,
    /// So many of the newest rows may be in a frame that rows bound.
    newest_rows: usize,
    sql: String,
}

/// The rows that a run of probes sees.
struct Seen {
    first: usize,
    probes: usize,
    /// Per row: the probe, counted from the first.
    probe: Vec<i64>,
    /// Per row: its place among the events; `None` for a row that stands for the probe itself.
    event: Vec<Option<u32>>,
    /// Per row: how many rows the probe sees after it.
    after: Vec<i64>,
}

impl<'a> Groups<'a> {
    async fn new(loaded: &'a Loaded<'a>, probes: &'a Probes, mode: TimeMode) -> Result<Self, Error> {
        let body = &loaded.oracle.body;
        let events = &loaded.events;
        let mut names = HashSet::from([body.event_time.clone()]);
        body.calls.iter().for_each(|call| call.identifiers(&mut names));
        let schema = events.columns.schema();
        let read: Vec<usize> = (0..schema.fields().len()).filter(|&i| names.contains(schema.field(i).name())).collect();
        let times = events.columns.column_by_name(&body.event_time).ok_or_else(|| Error::internal("no event time"))?;
        let edges = Edges { resolution: loaded.oracle.resolution };
        Ok(Groups {
            loaded,
            probes,
            mode,
            columns: events.columns.project(&read).map_err(kernel)?,
            times: times.as_primitive::<TimestampMicrosecondType>().values(),
            periods: calendar_periods(loaded, probes).await?,
            of_entity: rows_of_entities(&events.keys, &probes.keys)?,
            oldest: oldest(loaded, probes).await?,
            newest_rows: body.calls.iter().map(newest_rows).max().unwrap_or(0).max(1),
            sql: sql(loaded, &edges)?,
        })
    }

    fn seen_from(&self, first: usize) -> Seen {
        let mut seen = Seen { first, probes: 0, probe: Vec::new(), event: Vec::new(), after: Vec::new() };
        while first + seen.probes < self.probes.at.len() && (seen.probes == 0 || seen.event.len() < QUERY_ROWS) {
            self.add_probe(&mut seen);
        }
        seen
    }

    fn add_probe(&self, seen: &mut Seen) {
        let probe = seen.first + seen.probes;
        let at = self.probes.at[probe];
        let events = &self.loaded.events;
        let is_visible = |row: usize| match self.mode {
            TimeMode::Event => events.known_until[row] == i64::MAX,
            TimeMode::Known => events.known_from[row] <= at && at < events.known_until[row],
        };
        let start = seen.event.len();
        let of_entity = self.of_entity[probe].clone();
        let up_to = of_entity.start + self.times[of_entity.clone()].partition_point(|&time| time <= at);
        let mut after = 0;
        for row in (of_entity.start..up_to).rev() {
            if self.times[row] < self.oldest[probe] && after >= self.newest_rows {
                break;
            }
            if is_visible(row) {
                seen.event.push(Some(row as u32));
                seen.after.push(after as i64);
                after += 1;
            }
        }
        // Events in their order, then the row of the probe.
        seen.event[start..].reverse();
        seen.after[start..].reverse();
        seen.event.push(None);
        seen.after.push(-1);
        seen.probe.resize(seen.event.len(), seen.probes as i64);
        seen.probes += 1;
    }

    async fn query(&self, seen: &Seen) -> Result<RecordBatch, Error> {
        let rows = self.rows(seen)?;
        let values = self.loaded.oracle.session.query(vec![Table::new(ROWS, rows)], &self.sql).await;
        in_order::<Int64Type>(&values.map_err(internal("the groups of the view"))?, PROBE)
    }

    fn rows(&self, seen: &Seen) -> Result<RecordBatch, Error> {
        let events = UInt32Array::from(seen.event.clone());
        let probes: UInt64Array = seen.probe.iter().map(|&probe| Some((seen.first as i64 + probe) as u64)).collect();
        let mut columns = Vec::new();
        for (field, column) in self.columns.schema().fields().iter().zip(self.columns.columns()) {
            columns.push((field.name().clone(), take(column, &events, None).map_err(kernel)?));
        }
        for (index, (of_events, of_probes)) in self.loaded.events.calendars.iter().zip(&self.periods).enumerate() {
            columns.push((calendar_column(index), take(of_events, &events, None).map_err(kernel)?));
            columns.push((format!("{} of the probe", calendar_column(index)), take(of_probes, &probes, None).map_err(kernel)?));
        }
        let at: TimestampMicrosecondArray = probes.values().iter().map(|&probe| Some(self.probes.at[probe as usize])).collect();
        let place: UInt64Array = seen.event.iter().enumerate().map(|(place, event)| event.map(|_| place as u64)).collect();
        columns.push((PROBE.to_owned(), Arc::new(Int64Array::from(seen.probe.clone()))));
        columns.push((AT.to_owned(), Arc::new(at)));
        columns.push((PLACE.to_owned(), Arc::new(place)));
        columns.push((AFTER.to_owned(), Arc::new(Int64Array::from(seen.after.clone()))));
        named(columns)
    }
}

/// Per probe: where the rows of its entity lie.
fn rows_of_entities(events: &[ArrayRef], probes: &[ArrayRef]) -> Result<Vec<Range<usize>>, Error> {
    let converter = RowConverter::new(events.iter().map(|key| SortField::new(key.data_type().clone())).collect()).map_err(kernel)?;
    let events_rows = converter.convert_columns(events).map_err(kernel)?;
    let probes_rows = converter.convert_columns(probes).map_err(kernel)?;
    let ranges = if events_rows.num_rows() > 0 { partition(events).map_err(kernel)?.ranges() } else { Vec::new() };
    let of_entity: HashMap<_, _> = ranges.into_iter().map(|range| (events_rows.row(range.start), range)).collect();
    Ok(probes_rows.iter().map(|key| of_entity.get(&key).cloned().unwrap_or(0..0)).collect())
}

/// Per probe: the oldest moment in any frame that time bounds, to within the grid.
async fn oldest(loaded: &Loaded<'_>, probes: &Probes) -> Result<Vec<i64>, Error> {
    let body = &loaded.oracle.body;
    let starts: Vec<&WindowFrameBound> = body.calls.iter().filter(|call| !call.is_rows()).map(|call| call.edges().0).collect();
    if starts.iter().any(|start| matches!(start, WindowFrameBound::Preceding(None))) {
        return Ok(vec![i64::MIN; probes.at.len()]);
    }
    let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(probes.at.clone()));
    let exact = Edges { resolution: None };
    let items = starts.iter().enumerate().map(|(i, start)| Ok(format!("{} AS edge{i}", exact.moment(start)?))).collect::<Result<Vec<_>, Error>>()?;
    let sql = format!("SELECT {} FROM moments", std::iter::once(quoted(AT)).chain(items).collect::<Vec<_>>().join(", "));
    let table = Table::new("moments", named(vec![(AT.to_owned(), moments)])?);
    let edges = loaded.oracle.session.query(vec![table], &sql).await.map_err(internal("the edges of frames"))?;
    let grid = loaded.oracle.resolution.unwrap_or(0);
    let edges: Vec<&[i64]> = edges.columns().iter().map(|edge| edge.as_primitive::<TimestampMicrosecondType>().values().as_ref()).collect();
    Ok((0..probes.at.len()).map(|probe| edges.iter().map(|edge| edge[probe]).min().unwrap_or(i64::MIN).saturating_sub(grid)).collect())
}

/// How many of the newest rows a frame that rows bound can hold.
fn newest_rows(call: &Call) -> usize {
    match (call.is_rows(), call.edges().0) {
        (false, _) => 0,
        (true, WindowFrameBound::CurrentRow) => 1,
        (true, WindowFrameBound::Preceding(Some(rows))) => rows.to_string().parse::<usize>().map_or(usize::MAX, |rows| rows.saturating_add(1)),
        (true, _) => usize::MAX,
    }
}

/// Frames as conditions on a row and the moment it is seen from.
struct Edges {
    resolution: Option<i64>,
}

impl Edges {
    fn condition(&self, call: &Call, event_time: &str) -> Result<String, Error> {
        let (start, end) = call.edges();
        let mut conditions = vec![format!("{} IS NOT NULL", quoted(PLACE))];
        if let Some(calendar) = call.calendar.map(calendar_column) {
            conditions.push(format!("{} = {}", quoted(&calendar), quoted(&format!("{calendar} of the probe"))));
        }
        match (call.is_rows(), start) {
            (_, WindowFrameBound::Preceding(None)) => {}
            (true, start) => conditions.push(format!("{} <= {}", quoted(AFTER), rows(start)?)),
            (false, start) => conditions.push(format!("{} >= {}", quoted(event_time), self.moment(start)?)),
        }
        conditions.push(match call.is_rows() {
            true => format!("{} >= {}", quoted(AFTER), rows(end)?),
            false => format!("{} <= {}", quoted(event_time), self.moment(end)?),
        });
        Ok(conditions.join(" AND "))
    }

    /// The moment at an edge. One that is not the probe's own is floored to the grid.
    fn moment(&self, edge: &WindowFrameBound) -> Result<String, Error> {
        let at = quoted(AT);
        match (edge, self.resolution) {
            (WindowFrameBound::CurrentRow, _) => Ok(at),
            (WindowFrameBound::Preceding(Some(interval)), None) => Ok(format!("({at} - {interval})")),
            (WindowFrameBound::Preceding(Some(interval)), Some(grid)) => Ok(format!(
                "CASE WHEN {at} - {interval} = {at} THEN {at} ELSE date_bin(INTERVAL '{grid} microseconds', {at} - {interval}, TIMESTAMP '1970-01-01T00:00:00') END"
            )),
            _ => Err(Error::internal("a frame with an edge that the definition's checks refuse")),
        }
    }
}

fn rows(edge: &WindowFrameBound) -> Result<String, Error> {
    match edge {
        WindowFrameBound::CurrentRow => Ok("0".to_owned()),
        WindowFrameBound::Preceding(Some(rows)) if matches!(**rows, Expr::Value(_)) => Ok(rows.to_string()),
        _ => Err(Error::internal("a frame with an edge that the definition's checks refuse")),
    }
}

fn sql(loaded: &Loaded<'_>, edges: &Edges) -> Result<String, Error> {
    let body = &loaded.oracle.body;
    let mut items = vec![quoted(PROBE)];
    for (index, call) in body.calls.iter().enumerate() {
        let condition = edges.condition(call, &body.event_time)?;
        items.push(format!("{} AS {}", call.filtered_in_order(&condition, PLACE), quoted(&value_column(index))));
        items.extend(call.counted(&condition).map(|count| format!("{count} AS {}", quoted(&counted_column(index)))));
    }
    let time = quoted(&body.event_time);
    items.push(format!("max({time}) FILTER (WHERE {} IS NOT NULL) AS {}", quoted(PLACE), quoted(NEWEST)));
    Ok(format!("SELECT {} FROM {} GROUP BY {}", items.join(", "), body.from(ROWS), quoted(PROBE)))
}
