//! Dates and moments of any unit as microseconds UTC.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;

use super::super::column::Bad;
use super::super::zone::{ToUtc, Zone};
use super::convert_each;

const DAY_MS: i64 = 86_400_000;
const DAY_US: i64 = DAY_MS * 1_000;

/// How dates or moments are taken over.
#[derive(Debug)]
pub(in super::super) enum Times {
    /// Moments of some unit. With `to_utc`, local times.
    Moments { unit: TimeUnit, to_utc: Option<ToUtc> },
    /// Dates as the moments they begin at.
    Midnights(ToUtc),
    /// Milliseconds that are whole days.
    Days,
}

impl Times {
    /// `None` where these types are no dates or moments, or something would be lost; `Some(None)` where values are kept as they are.
    pub(super) fn between(from: &DataType, to: &DataType, zone: Zone) -> Option<Option<Times>> {
        use DataType::*;
        Some(match (from, to) {
            (Timestamp(TimeUnit::Microsecond, None), Timestamp(TimeUnit::Microsecond, None)) if zone == Zone::Utc => None,
            (&Timestamp(unit, ref named), Timestamp(TimeUnit::Microsecond, None)) => {
                // A timestamp with a zone is a moment already; the zone is for showing it.
                let to_utc = (named.is_none() && zone != Zone::Utc).then(|| ToUtc::new(zone));
                Some(Times::Moments { unit, to_utc })
            }
            (Date32, Timestamp(TimeUnit::Microsecond, None)) => Some(Times::Midnights(ToUtc::new(zone))),
            (Date64, Date32) => Some(Times::Days),
            _ => return None,
        })
    }

    pub(super) fn apply(&mut self, array: &ArrayRef, bad: &mut Bad) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Times::Moments { unit, to_utc } => Arc::new(moments(array, *unit, to_utc.as_mut(), bad)),
            Times::Midnights(to_utc) => {
                let midnight = |day: i32| i64::from(day).checked_mul(DAY_US).and_then(|local| to_utc.convert(local));
                let reason = |day| format!("day {day} since 1970 is not a moment within the range of its zone");
                Arc::new(convert_each::<Date32Type, TimestampMicrosecondType>(array.as_primitive(), midnight, reason, bad))
            }
            Times::Days => {
                let day = |ms: i64| (ms % DAY_MS == 0).then_some(ms / DAY_MS).and_then(|day| i32::try_from(day).ok());
                let reason = |ms| format!("{ms} milliseconds since 1970 are not a whole number of days");
                Arc::new(convert_each::<Date64Type, Date32Type>(array.as_primitive(), day, reason, bad))
            }
        })
    }
}

fn moments(array: &ArrayRef, unit: TimeUnit, to_utc: Option<&mut ToUtc>, bad: &mut Bad) -> PrimitiveArray<TimestampMicrosecondType> {
    match unit {
        TimeUnit::Second => in_us::<TimestampSecondType>(array, to_utc, |s| s.checked_mul(1_000_000), "seconds", bad),
        TimeUnit::Millisecond => in_us::<TimestampMillisecondType>(array, to_utc, |ms| ms.checked_mul(1_000), "milliseconds", bad),
        TimeUnit::Microsecond if to_utc.is_none() => array.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<Arc<str>>),
        TimeUnit::Microsecond => in_us::<TimestampMicrosecondType>(array, to_utc, Some, "microseconds", bad),
        TimeUnit::Nanosecond => in_us::<TimestampNanosecondType>(array, to_utc, |ns| (ns % 1_000 == 0).then_some(ns / 1_000), "nanoseconds", bad),
    }
}

fn in_us<T: ArrowPrimitiveType<Native = i64>>(
    array: &ArrayRef,
    mut to_utc: Option<&mut ToUtc>,
    micros: impl Fn(i64) -> Option<i64>,
    unit: &str,
    bad: &mut Bad,
) -> PrimitiveArray<TimestampMicrosecondType> {
    let convert = |value| {
        let local = micros(value)?;
        to_utc.as_deref_mut().map_or(Some(local), |to_utc| to_utc.convert(local))
    };
    let reason = |value| format!("{value} {unit} since 1970 are not a moment in whole microseconds that its zone has");
    convert_each::<T, TimestampMicrosecondType>(array.as_primitive::<T>(), convert, reason, bad)
}
