//! The oracle of windows: DataFusion's window operators over events and probes in one table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array, new_null_array};
use arrow::compute::{concat, filter_record_batch, interleave, is_not_null, is_null, partition, take, take_record_batch};
use arrow::datatypes::{Int64Type, UInt64Type};
use lockstep_model::Error;

use super::body::{Call, NEWEST, PLACE, PROBE, TIME, calendar_column, counted_column, input_column, key_column, quoted, value_column};
use super::events::{named, order_of, with_columns};
use super::session::Table;
use super::{Loaded, Probes, WindowValues, internal, kernel};

const ROWS: &str = "oracle rows";
const MOMENTS: &str = "oracle moments";

/// The values of all calls at all probes.
pub(super) async fn values(loaded: &Loaded<'_>, probes: &Probes) -> Result<WindowValues, Error> {
    let body = &loaded.oracle.body;
    let periods = calendar_periods(loaded, probes).await?;
    let empty = over_no_rows(loaded).await?;
    let mut values: Vec<Option<ArrayRef>> = vec![None; body.calls.len()];
    let mut counted: Vec<Option<ArrayRef>> = vec![None; body.calls.len()];
    let mut newest = None;
    for calendar in std::iter::once(None).chain((0..body.calendars.len()).map(Some)) {
        let table = Combined::new(loaded, probes, calendar, &periods)?;
        let of = |rows: bool| body.calls.iter().enumerate().filter(move |(_, call)| call.calendar == calendar && call.is_rows() == rows);
        let range = table.at_probes(of(false), calendar.is_none()).await?;
        let rows = table.at_events(of(true), &empty).await?;
        for (index, _) in body.calls.iter().enumerate() {
            let find = |name: &str| range.column_by_name(name).or_else(|| rows.as_ref().and_then(|rows| rows.column_by_name(name))).cloned();
            if let Some(value) = find(&value_column(index)) {
                values[index] = Some(value);
                counted[index] = find(&counted_column(index));
            }
        }
        newest = newest.or_else(|| range.column_by_name(NEWEST).cloned());
    }
    let missing = || Error::internal("a window without values");
    Ok(WindowValues { values: values.into_iter().collect::<Option<_>>().ok_or_else(missing)?, counted, newest: newest.ok_or_else(missing)? })
}

/// Per calendar of the body, the periods of the probes' moments.
pub(super) async fn calendar_periods(loaded: &Loaded<'_>, probes: &Probes) -> Result<Vec<ArrayRef>, Error> {
    let body = &loaded.oracle.body;
    if body.calendars.is_empty() {
        return Ok(Vec::new());
    }
    let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(probes.at.clone()));
    let moments = RecordBatch::try_from_iter([(&body.event_time, moments)]).map_err(kernel)?;
    let periods = loaded.oracle.session.query(vec![Table::new(MOMENTS, moments)], &body.calendars_sql(MOMENTS)).await;
    Ok(periods.map_err(internal("the calendar periods of the moments"))?.columns().to_vec())
}

/// One row: the value of every call over no rows.
pub(super) async fn over_no_rows(loaded: &Loaded<'_>) -> Result<RecordBatch, Error> {
    let body = &loaded.oracle.body;
    let items: Vec<String> = body.calls.iter().enumerate().flat_map(|(index, call)| call_items(index, call, "true", "")).collect();
    let sql = format!("SELECT {} FROM {} WHERE false", items.join(", "), quoted(ROWS));
    let inputs = loaded.events.inputs.iter().enumerate().map(|(i, input)| (input_column(i), input.slice(0, 0)));
    let table = Table::new(ROWS, named(inputs.chain([(TIME.to_owned(), loaded.events.times.slice(0, 0))]).collect())?);
    loaded.oracle.session.query(vec![table], &sql).await.map_err(internal("the aggregates over no rows"))
}

/// A call and its count, `over` a window.
fn call_items(index: usize, call: &Call, condition: &str, over: &str) -> Vec<String> {
    let mut items = vec![format!("{}{over} AS {}", call.filtered(condition), quoted(&value_column(index)))];
    items.extend(call.counted(condition).map(|count| format!("{count}{over} AS {}", quoted(&counted_column(index)))));
    items
}

/// Events and probes in one table, in the order of (entity, calendar period, time), probes after the events of their moment.
struct Combined<'a> {
    loaded: &'a Loaded<'a>,
    rows: RecordBatch,
    partition_by: Vec<String>,
    probes: usize,
}

impl<'a> Combined<'a> {
    fn new(loaded: &'a Loaded<'a>, probes: &Probes, calendar: Option<usize>, periods: &[ArrayRef]) -> Result<Self, Error> {
        let events = &loaded.events;
        let live: BooleanArray = events.known_until.iter().map(|&until| Some(until == i64::MAX)).collect();
        let (event_count, probe_count) = (live.true_count(), probes.at.len());
        let join = |events: &ArrayRef, probes: &dyn Array| {
            let events = arrow::compute::filter(events, &live).map_err(kernel)?;
            concat(&[&events, probes]).map_err(kernel)
        };
        let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(probes.at.clone()));
        let mut columns = Vec::new();
        let mut sort = Vec::new();
        let mut partition_by = Vec::new();
        for (index, (events, probes)) in events.keys.iter().zip(&probes.keys).enumerate() {
            let column = join(events, probes)?;
            sort.push(column.clone());
            partition_by.push(key_column(index));
            columns.push((key_column(index), column));
        }
        if let Some(calendar) = calendar {
            let column = join(&events.calendars[calendar], &periods[calendar])?;
            sort.push(column.clone());
            partition_by.push(calendar_column(calendar));
            columns.push((calendar_column(calendar), column));
        }
        let times = join(&events.times, &moments)?;
        sort.push(times.clone());
        columns.push((TIME.to_owned(), times));
        for (index, input) in events.inputs.iter().enumerate() {
            columns.push((input_column(index), join(input, &new_null_array(input.data_type(), probe_count))?));
        }
        let probe: Int64Array = std::iter::repeat_n(None, event_count).chain((0..probe_count as i64).map(Some)).collect();
        let probe: ArrayRef = Arc::new(probe);
        let place: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..(event_count + probe_count) as u64));
        // NULLs first: events before probes. Events are in their order already.
        let order = order_of(sort.into_iter().chain([probe.clone(), place]))?;
        columns.push((PROBE.to_owned(), probe));
        let rows = take_record_batch(&named(columns)?, &order).map_err(kernel)?;
        Ok(Combined { loaded, rows, partition_by, probes: probe_count })
    }

    fn over(&self, frame: &str) -> String {
        let partition_by: Vec<String> = self.partition_by.iter().map(|column| quoted(column)).collect();
        format!(" OVER (PARTITION BY {} ORDER BY {} {frame})", partition_by.join(", "), quoted(TIME))
    }

    fn items<'c>(&self, calls: impl Iterator<Item = (usize, &'c Call)>, condition: &str) -> Vec<String> {
        calls.flat_map(|(index, call)| call_items(index, call, condition, &self.over(&call.frame_text()))).collect()
    }

    async fn query(&self, rows: RecordBatch, items: &[String]) -> Result<RecordBatch, Error> {
        let sorted_by = self.partition_by.iter().cloned().chain([TIME.to_owned()]).collect();
        let sql = format!("SELECT {} FROM {}", items.join(", "), quoted(ROWS));
        let table = Table { name: ROWS, rows, sorted_by };
        self.loaded.oracle.session.query(vec![table], &sql).await.map_err(internal("the windows of the view"))
    }

    /// The values of calls at the probes, in their order; with the newest event time where it is wanted.
    async fn at_probes<'c>(&self, calls: impl Iterator<Item = (usize, &'c Call)>, newest: bool) -> Result<RecordBatch, Error> {
        let events = format!("{} IS NULL", quoted(PROBE));
        let mut items = self.items(calls, &events);
        if newest {
            let time = quoted(TIME);
            let over = self.over("RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW");
            items.push(format!("max({time}) FILTER (WHERE {events}){over} AS {}", quoted(NEWEST)));
        }
        if items.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())));
        }
        items.push(quoted(PROBE));
        let rows = self.query(self.rows.clone(), &items).await?;
        let probe = rows.column_by_name(PROBE).ok_or_else(|| Error::internal("no column of probes"))?;
        let rows = filter_record_batch(&rows, &is_not_null(probe).map_err(kernel)?).map_err(kernel)?;
        in_order::<Int64Type>(&rows, PROBE)
    }

    /// The values of calls at the last event of each probe's partition, or over no rows; `None` without calls.
    async fn at_events<'c>(&self, calls: impl Iterator<Item = (usize, &'c Call)>, empty: &RecordBatch) -> Result<Option<RecordBatch>, Error> {
        let mut items = self.items(calls, "true");
        if items.is_empty() {
            return Ok(None);
        }
        let probe = self.rows.column_by_name(PROBE).ok_or_else(|| Error::internal("no column of probes"))?;
        let events = filter_record_batch(&self.rows, &is_null(probe).map_err(kernel)?).map_err(kernel)?;
        let places: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..events.num_rows() as u64));
        items.push(quoted(PLACE));
        let values = in_order::<UInt64Type>(&self.query(with_columns(&events, [(PLACE.to_owned(), places)])?, &items).await?, PLACE)?;
        let last = self.last_events()?;
        let mut columns = Vec::new();
        for (field, column) in values.schema().fields().iter().zip(values.columns()).filter(|(field, _)| field.name() != PLACE) {
            let over_none =
                empty.column_by_name(field.name()).ok_or_else(|| Error::internal(format!("no value over no rows of `{}`", field.name())))?;
            let picks: Vec<(usize, usize)> = last.iter().map(|last| last.map_or((1, 0), |place| (0, place))).collect();
            columns.push((field.name().clone(), interleave(&[column, over_none], &picks).map_err(kernel)?));
        }
        named(columns).map(Some)
    }

    /// Per probe: the place, among events alone, of the last one before it in its partition.
    fn last_events(&self) -> Result<Vec<Option<usize>>, Error> {
        let keys: Vec<ArrayRef> = self.partition_by.iter().filter_map(|name| self.rows.column_by_name(name).cloned()).collect();
        let probe = self.rows.column_by_name(PROBE).ok_or_else(|| Error::internal("no column of probes"))?.as_primitive::<Int64Type>();
        let mut last = vec![None; self.probes];
        let mut events = 0;
        for range in partition(&keys).map_err(kernel)?.ranges() {
            let first = events;
            for row in range {
                if probe.is_null(row) {
                    events += 1;
                } else if events > first {
                    last[probe.value(row) as usize] = Some(events - 1);
                }
            }
        }
        Ok(last)
    }
}

/// Rows numbered by a column, each number once, in the order of these numbers.
pub(super) fn in_order<T>(rows: &RecordBatch, column: &str) -> Result<RecordBatch, Error>
where
    T: arrow::datatypes::ArrowPrimitiveType,
    T::Native: TryInto<usize>,
{
    let fault = || Error::internal(format!("rows are not numbered by `{column}`"));
    let numbers = rows.column_by_name(column).ok_or_else(fault)?.as_primitive_opt::<T>().ok_or_else(fault)?;
    let mut order = vec![u64::MAX; rows.num_rows()];
    for (row, &number) in numbers.values().iter().enumerate() {
        let number: usize = number.try_into().map_err(|_| fault())?;
        let place = order.get_mut(number).filter(|place| **place == u64::MAX).ok_or_else(fault)?;
        *place = row as u64;
    }
    let order = UInt64Array::from(order);
    let columns = rows.columns().iter().map(|column| take(column, &order, None)).collect::<Result<_, _>>().map_err(kernel)?;
    RecordBatch::try_new(rows.schema(), columns).map_err(kernel)
}
