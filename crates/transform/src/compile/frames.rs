//! From SQL window frames to [`Frame`]s.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, WindowFrameBound, WindowFrameUnits};

use crate::calendar::{Calendar, Unit};
use crate::tiles::{Frame, LastRows};

const DAY: i64 = 86_400_000_000;

/// The frame of a window call.
pub fn frame(call: &WindowFunction, resolution: i64) -> Result<Frame, String> {
    let window = &call.params.window_frame;
    let calendar = calendar(&call.params.partition_by)?;
    let exact = Frame { preceding: None, ends_before: 0, last: None, calendar, resolution };
    match window.units {
        WindowFrameUnits::Range => {
            let preceding = match &window.start_bound {
                WindowFrameBound::Preceding(bound) if bound.is_null() => None,
                WindowFrameBound::Preceding(bound) => Some(micros(bound)?),
                WindowFrameBound::CurrentRow => Some(0),
                WindowFrameBound::Following(_) => return Err(following()),
            };
            let ends_before = match &window.end_bound {
                WindowFrameBound::Preceding(bound) if bound.is_null() => return Err("a frame cannot end at UNBOUNDED PRECEDING".into()),
                WindowFrameBound::Preceding(bound) => micros(bound)?,
                WindowFrameBound::CurrentRow => 0,
                WindowFrameBound::Following(_) => return Err(following()),
            };
            Ok(Frame { preceding, ends_before, ..exact })
        }
        WindowFrameUnits::Rows => rows(&window.start_bound, &window.end_bound, exact),
        WindowFrameUnits::Groups => Err("GROUPS frames are not supported: use RANGE or ROWS".into()),
    }
}

fn rows(start: &WindowFrameBound, end: &WindowFrameBound, exact: Frame) -> Result<Frame, String> {
    let skip = match end {
        WindowFrameBound::CurrentRow => 0,
        WindowFrameBound::Preceding(bound) => count(bound)?,
        WindowFrameBound::Following(_) => return Err(following()),
    };
    let n = match start {
        WindowFrameBound::Preceding(bound) if bound.is_null() => None,
        WindowFrameBound::Preceding(bound) => Some((count(bound)? + 1).saturating_sub(skip)),
        WindowFrameBound::CurrentRow => Some(1u64.saturating_sub(skip)),
        WindowFrameBound::Following(_) => return Err(following()),
    };
    // All rows up to t is all time up to t, which tiles answer.
    let last = if n.is_none() && skip == 0 { None } else { Some(LastRows { n, skip }) };
    Ok(Frame { last, ..exact })
}

fn following() -> String {
    "a frame cannot reach past the current moment: end it at CURRENT ROW or before".into()
}

fn count(bound: &ScalarValue) -> Result<u64, String> {
    match bound {
        ScalarValue::UInt64(Some(n)) => Ok(*n),
        other => Err(format!("the bound of a ROWS frame is a number, not {other}")),
    }
}

fn micros(bound: &ScalarValue) -> Result<i64, String> {
    let too_long = || "an interval of a frame is too long".to_owned();
    match bound {
        ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months: 0, days, nanoseconds })) => {
            if nanoseconds % 1000 != 0 {
                return Err("event time has microseconds: an interval cannot be finer".into());
            }
            i64::from(*days).checked_mul(DAY).and_then(|days| days.checked_add(nanoseconds / 1000)).filter(|span| *span >= 0).ok_or_else(too_long)
        }
        ScalarValue::IntervalMonthDayNano(Some(_)) => Err("months and years have no fixed length: write days".into()),
        ScalarValue::DurationMicrosecond(Some(span)) => Ok(*span),
        other => Err(format!("the bound of a RANGE frame over the event time is an INTERVAL, not {other}")),
    }
}

/// The calendar window that a further `PARTITION BY date_trunc('unit', event_time [AT TIME ZONE 'zone'])` asks for.
fn calendar(partition_by: &[Expr]) -> Result<Option<Calendar>, String> {
    let mut found = None;
    for expr in partition_by {
        let Expr::ScalarFunction(call) = expr else { continue };
        if call.name() != "date_trunc" {
            continue;
        }
        let [Expr::Literal(unit, _), time] = call.args.as_slice() else { continue };
        let unit = unit.try_as_str().flatten().and_then(Unit::parse).ok_or("date_trunc takes 'hour', 'day', 'week', 'month' or 'year' here")?;
        let zone = zone(time)?;
        found = Some(Calendar { unit, zone });
    }
    Ok(found)
}

fn zone(time: &Expr) -> Result<chrono_tz::Tz, String> {
    let data_type = match time {
        Expr::Cast(cast) => cast.field.data_type(),
        _ => return Ok(chrono_tz::UTC),
    };
    match data_type {
        arrow::datatypes::DataType::Timestamp(_, Some(zone)) => zone.parse().map_err(|_| format!("`{zone}` is not a time zone of the tz database")),
        _ => Ok(chrono_tz::UTC),
    }
}

/// The canonical text of a frame.
pub fn canonical(frame: &Frame) -> String {
    let calendar = frame.calendar.map(|c| format!("{} {} tzdb {}", c.unit.name(), c.zone.name(), crate::calendar::tzdb_release()));
    let last = frame.last.map(|last| (last.n, last.skip));
    format!("preceding {:?} ends_before {} last {last:?} calendar {calendar:?} resolution {}", frame.preceding, frame.ends_before, frame.resolution)
}
