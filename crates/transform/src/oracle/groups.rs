//! The oracle of groups: every probe is given the rows that it sees, and aggregates are grouped by probe.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow::compute::{concat_batches, partition, take};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::sql::sqlparser::ast::{Expr, WindowFrameBound};
use lockstep_model::{Error, TimeMode};

use super::body::{AFTER, AT, Call, NEWEST, PLACE, PROBE, TIME, calendar_column, counted_column, input_column, quoted, value_column};
use super::events::named;
use super::session::Table;
use super::windows::{calendar_periods, in_order};
use super::{Loaded, Probes, WindowValues, internal, kernel};

const ROWS: &str = "oracle rows";
/// Rows of one query; the rows that one probe sees are never split.
const QUERY_ROWS: usize = 1 << 20;

/// The values of all calls at all probes.
pub(super) async fn values(loaded: &Loaded<'_>, probes: &Probes, mode: TimeMode) -> Result<WindowValues, Error> {
    let calls = &loaded.oracle.body.calls;
    let groups = Groups::new(loaded, probes, mode).await?;
    // Frames without an end in the past need all rows of an entity, the others few.
    let (endless, bounded): (Vec<usize>, Vec<usize>) =
        (0..calls.len()).partition(|&call| matches!(calls[call].edges().0, WindowFrameBound::Preceding(None)));
    let mut columns = groups.run(&Pass::new(&groups, bounded, true).await?).await?;
    if !endless.is_empty() {
        columns.extend(groups.run(&Pass::new(&groups, endless, false).await?).await?);
    }
    let missing = || Error::internal("a window without values");
    Ok(WindowValues {
        values: (0..calls.len()).map(|i| columns.remove(&value_column(i))).collect::<Option<_>>().ok_or_else(missing)?,
        counted: (0..calls.len()).map(|i| columns.remove(&counted_column(i))).collect(),
        newest: columns.remove(NEWEST).ok_or_else(missing)?,
    })
}

/// What each probe can see.
struct Groups<'a> {
    loaded: &'a Loaded<'a>,
    probes: &'a Probes,
    mode: TimeMode,
    times: &'a [i64],
    /// Per calendar of the body, the periods of the probes.
    periods: Vec<ArrayRef>,
    /// Per probe: the rows of its entity.
    of_entity: Vec<Range<usize>>,
}

/// Calls that are evaluated together.
struct Pass {
    /// Which inputs they read.
    inputs: Vec<usize>,
    /// Per probe: rows before this moment are in no frame that time bounds.
    oldest: Vec<i64>,
    /// So many of the newest rows may be in a frame that rows bound; the newest is read in any case.
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
        let events = &loaded.events;
        Ok(Groups {
            loaded,
            probes,
            mode,
            times: events.times.as_primitive::<TimestampMicrosecondType>().values(),
            periods: calendar_periods(loaded, probes).await?,
            of_entity: rows_of_entities(&events.keys, &probes.keys)?,
        })
    }

    /// The values of a pass, by column.
    async fn run(&self, pass: &Pass) -> Result<HashMap<String, ArrayRef>, Error> {
        let mut parts = Vec::new();
        let mut next = 0;
        while next < self.probes.at.len() || parts.is_empty() {
            let seen = self.seen_from(next, pass);
            next += seen.probes;
            let values = self.loaded.oracle.session.query(vec![Table::new(ROWS, self.rows(&seen, pass)?)], &pass.sql).await;
            parts.push(in_order::<Int64Type>(&values.map_err(internal("the groups of the view"))?, PROBE)?);
        }
        let schema = parts.first().map(RecordBatch::schema).ok_or_else(|| Error::internal("no values of groups"))?;
        let all = concat_batches(&schema, &parts).map_err(kernel)?;
        Ok(schema.fields().iter().map(|field| field.name().clone()).zip(all.columns().iter().cloned()).collect())
    }

    fn seen_from(&self, first: usize, pass: &Pass) -> Seen {
        let mut seen = Seen { first, probes: 0, probe: Vec::new(), event: Vec::new(), after: Vec::new() };
        while first + seen.probes < self.probes.at.len() && (seen.probes == 0 || seen.event.len() < QUERY_ROWS) {
            self.add_probe(&mut seen, pass);
        }
        seen
    }

    fn add_probe(&self, seen: &mut Seen, pass: &Pass) {
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
            if self.times[row] < pass.oldest[probe] && after >= pass.newest_rows {
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

    fn rows(&self, seen: &Seen, pass: &Pass) -> Result<RecordBatch, Error> {
        let events = UInt32Array::from(seen.event.clone());
        let probes: UInt64Array = seen.probe.iter().map(|&probe| Some((seen.first as i64 + probe) as u64)).collect();
        let mut columns = vec![(TIME.to_owned(), take(&self.loaded.events.times, &events, None).map_err(kernel)?)];
        for &input in &pass.inputs {
            columns.push((input_column(input), take(&self.loaded.events.inputs[input], &events, None).map_err(kernel)?));
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

impl Pass {
    async fn new(groups: &Groups<'_>, indices: Vec<usize>, newest: bool) -> Result<Pass, Error> {
        let body = &groups.loaded.oracle.body;
        let calls: Vec<(usize, &Call)> = indices.into_iter().map(|index| (index, &body.calls[index])).collect();
        let mut inputs: Vec<usize> = calls.iter().flat_map(|(_, call)| call.inputs.iter().copied()).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let edges = Edges { resolution: groups.loaded.oracle.resolution };
        Ok(Pass {
            inputs,
            oldest: oldest(groups, &calls).await?,
            newest_rows: calls.iter().map(|(_, call)| newest_rows(call)).max().unwrap_or(0).max(1),
            sql: sql(&calls, &edges, newest)?,
        })
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
async fn oldest(groups: &Groups<'_>, calls: &[(usize, &Call)]) -> Result<Vec<i64>, Error> {
    let (oracle, at) = (groups.loaded.oracle, &groups.probes.at);
    let starts: Vec<&WindowFrameBound> = calls.iter().filter(|(_, call)| !call.is_rows()).map(|(_, call)| call.edges().0).collect();
    if starts.iter().any(|start| matches!(start, WindowFrameBound::Preceding(None))) {
        return Ok(vec![i64::MIN; at.len()]);
    }
    let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(at.clone()));
    let exact = Edges { resolution: None };
    let items = starts.iter().enumerate().map(|(i, start)| Ok(format!("{} AS edge{i}", exact.moment(start)?))).collect::<Result<Vec<_>, Error>>()?;
    let sql = format!("SELECT {} FROM moments", std::iter::once(quoted(AT)).chain(items).collect::<Vec<_>>().join(", "));
    let table = Table::new("moments", named(vec![(AT.to_owned(), moments)])?);
    let edges = oracle.session.query(vec![table], &sql).await.map_err(internal("the edges of frames"))?;
    let grid = oracle.resolution.unwrap_or(0);
    let edges: Vec<&[i64]> = edges.columns().iter().map(|edge| edge.as_primitive::<TimestampMicrosecondType>().values().as_ref()).collect();
    Ok((0..at.len()).map(|probe| edges.iter().map(|edge| edge[probe]).min().unwrap_or(i64::MIN).saturating_sub(grid)).collect())
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
    fn condition(&self, call: &Call) -> Result<String, Error> {
        let (start, end) = call.edges();
        let mut conditions = vec![format!("{} IS NOT NULL", quoted(PLACE))];
        if let Some(calendar) = call.calendar.map(calendar_column) {
            conditions.push(format!("{} = {}", quoted(&calendar), quoted(&format!("{calendar} of the probe"))));
        }
        match (call.is_rows(), start) {
            (_, WindowFrameBound::Preceding(None)) => {}
            (true, start) => conditions.push(format!("{} <= {}", quoted(AFTER), rows(start)?)),
            (false, start) => conditions.push(format!("{} >= {}", quoted(TIME), self.moment(start)?)),
        }
        conditions.push(match call.is_rows() {
            true => format!("{} >= {}", quoted(AFTER), rows(end)?),
            false => format!("{} <= {}", quoted(TIME), self.moment(end)?),
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

fn sql(calls: &[(usize, &Call)], edges: &Edges, newest: bool) -> Result<String, Error> {
    let mut items = vec![quoted(PROBE)];
    for &(index, call) in calls {
        let condition = edges.condition(call)?;
        items.push(format!("{} AS {}", call.filtered_in_order(&condition, PLACE), quoted(&value_column(index))));
        items.extend(call.counted(&condition).map(|count| format!("{count} AS {}", quoted(&counted_column(index)))));
    }
    if newest {
        items.push(format!("max({}) FILTER (WHERE {} IS NOT NULL) AS {}", quoted(TIME), quoted(PLACE), quoted(NEWEST)));
    }
    Ok(format!("SELECT {} FROM {} GROUP BY {}", items.join(", "), quoted(ROWS), quoted(PROBE)))
}
