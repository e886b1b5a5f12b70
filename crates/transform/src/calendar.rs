//! Calendar periods in a named zone: the days, weeks and months that a `PARTITION BY date_trunc(…)` of the event time means.
//!
//! A period starts at an instant when the zone's clock shows a truncated local time, and ends at the next such instant. That is not always
//! midnight or a whole length: a day whose midnight is skipped starts after the gap, a day with a repeated hour is longer, and where a clock shows the
//! start of an hour or a day twice, two periods start. DataFusion's `date_trunc` says the same, so it can check this. (They differ for the minutes
//! by which a clock had passed midnight when it was set back before it, as once a year in Newfoundland until 2011: `date_trunc` takes
//! them out of the day that goes on.)

use chrono::offset::LocalResult;
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;

/// What the event time is truncated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A local hour.
    Hour,
    /// A local day.
    Day,
    /// A local week, from Monday.
    Week,
    /// A local month.
    Month,
    /// A local year.
    Year,
}

impl Unit {
    /// The unit of a `date_trunc` name.
    pub fn parse(name: &str) -> Option<Unit> {
        Some(match name.to_ascii_lowercase().as_str() {
            "hour" => Unit::Hour,
            "day" => Unit::Day,
            "week" => Unit::Week,
            "month" => Unit::Month,
            "year" => Unit::Year,
            _ => return None,
        })
    }

    /// The name `date_trunc` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Year => "year",
        }
    }

    fn truncate(self, local: NaiveDateTime) -> NaiveDateTime {
        let date = local.date();
        let at = match self {
            Unit::Hour => return date.and_time(NaiveTime::from_hms_opt(local.hour(), 0, 0).unwrap_or(NaiveTime::MIN)),
            Unit::Day => Some(date),
            Unit::Week => date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into())),
            Unit::Month => NaiveDate::from_ymd_opt(date.year(), date.month(), 1),
            Unit::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        };
        at.unwrap_or(date).and_time(NaiveTime::MIN)
    }

    /// Longer than any period of this unit, in µs.
    pub fn span_max(self) -> i64 {
        const DAY: i64 = 86_400_000_000;
        match self {
            Unit::Hour | Unit::Day => 3 * DAY,
            Unit::Week => 10 * DAY,
            Unit::Month => 34 * DAY,
            Unit::Year => 369 * DAY,
        }
    }
}

/// Periods of one unit in one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// The unit.
    pub unit: Unit,
    /// The zone, by the tz database this crate was built with ([`tzdb_release`]).
    pub zone: Tz,
}

impl Calendar {
    /// The first instant (µs) of the period that holds `at`. A moment outside the years chrono can show starts its own period.
    pub fn start_of(&self, at: i64) -> i64 {
        let Some(local) = self.local(at) else { return at };
        let boundary = self.unit.truncate(local);
        let start = match self.zone.from_local_datetime(&boundary) {
            LocalResult::Single(start) => start.timestamp_micros(),
            LocalResult::Ambiguous(first, second) if second.timestamp_micros() > at => first.timestamp_micros(),
            LocalResult::Ambiguous(_, second) => second.timestamp_micros(),
            LocalResult::None => self.end_of_gap(boundary, at),
        };
        start.min(at)
    }

    /// The first instant whose local time is not before `boundary`, which the zone's clock skips. Bisection holds, since clocks
    /// are set back at other times of the year.
    fn end_of_gap(&self, boundary: NaiveDateTime, at: i64) -> i64 {
        let day = TimeDelta::days(1);
        let before = boundary.checked_sub_signed(day).map_or(i64::MIN, |earlier| earlier.and_utc().timestamp_micros());
        let (mut before, mut inside) = (before, at);
        while before.saturating_add(1) < inside {
            let middle = before.midpoint(inside);
            match self.local(middle) {
                Some(local) if local < boundary => before = middle,
                _ => inside = middle,
            }
        }
        inside
    }

    fn local(&self, at: i64) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_micros(at)?.naive_utc();
        utc.checked_add_offset(self.zone.offset_from_utc_datetime(&utc).fix())
    }
}

/// The release of the tz database that calendars use, part of the meaning fingerprint of views with calendar windows.
pub fn tzdb_release() -> &'static str {
    chrono_tz::IANA_TZDB_VERSION
}

#[cfg(test)]
mod tests {
    use lockstep_model::EventTime;

    use super::*;

    fn start(unit: Unit, zone: Tz, at: &str) -> String {
        let at = EventTime::parse(at).unwrap().0;
        EventTime(Calendar { unit, zone }.start_of(at)).to_string()
    }

    #[test]
    fn days_of_new_york_at_both_changes() {
        let zone = chrono_tz::America::New_York;
        assert_eq!(start(Unit::Day, zone, "2013-03-10T12:00:00Z"), "2013-03-10T05:00:00Z");
        assert_eq!(start(Unit::Day, zone, "2013-03-11T03:59:59.999999Z"), "2013-03-10T05:00:00Z");
        assert_eq!(start(Unit::Day, zone, "2013-03-11T04:00:00Z"), "2013-03-11T04:00:00Z");
        assert_eq!(start(Unit::Day, zone, "2013-11-04T04:59:59Z"), "2013-11-03T04:00:00Z");
        assert_eq!(start(Unit::Week, zone, "2013-11-03T12:00:00Z"), "2013-10-28T04:00:00Z");
        assert_eq!(start(Unit::Month, zone, "2013-03-31T12:00:00Z"), "2013-03-01T05:00:00Z");
        assert_eq!(start(Unit::Year, zone, "2014-01-01T04:00:00Z"), "2013-01-01T05:00:00Z");
    }

    #[test]
    fn odd_days() {
        // Lord Howe moves by half an hour; Apia had no 30 December 2011; São Paulo skipped midnights; Havana repeated them.
        assert_eq!(start(Unit::Day, chrono_tz::Australia::Lord_Howe, "2013-04-07T13:00:00Z"), "2013-04-06T13:00:00Z");
        assert_eq!(start(Unit::Hour, chrono_tz::Australia::Lord_Howe, "2013-04-06T15:15:00Z"), "2013-04-06T14:00:00Z");
        assert_eq!(start(Unit::Day, chrono_tz::Pacific::Apia, "2011-12-30T10:00:00Z"), "2011-12-30T10:00:00Z");
        assert_eq!(start(Unit::Day, chrono_tz::Pacific::Apia, "2011-12-30T09:59:59Z"), "2011-12-29T10:00:00Z");
        assert_eq!(start(Unit::Day, chrono_tz::America::Sao_Paulo, "2013-10-20T12:00:00Z"), "2013-10-20T03:00:00Z");
        assert_eq!(start(Unit::Day, chrono_tz::America::Havana, "2013-11-03T04:59:59Z"), "2013-11-03T04:00:00Z");
        assert_eq!(start(Unit::Day, chrono_tz::America::Havana, "2013-11-03T12:00:00Z"), "2013-11-03T05:00:00Z");
    }

    /// Every hour and a random minute of some years with odd changes, by DataFusion's own function.
    #[test]
    fn periods_are_those_of_date_trunc() {
        use chrono_tz::*;
        for (zone, year) in [
            (America::New_York, 2013),
            (Australia::Lord_Howe, 2013),
            (Pacific::Apia, 2011),
            (America::Sao_Paulo, 2013),
            (America::Havana, 2013),
            (Asia::Kolkata, 2013),
            (Africa::Casablanca, 2013),
            (Europe::Dublin, 1971),
            (Asia::Tehran, 2013),
            (America::Caracas, 2007),
            (UTC, 2016),
        ] {
            let first = NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_time(NaiveTime::MIN).and_utc().timestamp_micros();
            let moments: Vec<i64> = (0..366 * 24)
                .flat_map(|hour| [0, (hour * 7919) % 3_600_000_000, 3_599_999_999].map(|off| first + hour * 3_600_000_000 + off))
                .collect();
            for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
                let calendar = Calendar { unit, zone };
                for (&at, expected) in moments.iter().zip(date_trunc(unit, zone, &moments)) {
                    assert_eq!(EventTime(calendar.start_of(at)).to_string(), EventTime(expected).to_string(), "{unit:?} {zone} of {}", EventTime(at));
                }
            }
        }
    }

    fn date_trunc(unit: Unit, zone: Tz, moments: &[i64]) -> Vec<i64> {
        use std::sync::Arc;

        use arrow::array::{AsArray, TimestampMicrosecondArray};
        use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
        use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

        let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.name().into()));
        let field = Arc::new(Field::new("t", data_type.clone(), true));
        let args = ScalarFunctionArgs {
            args: vec![
                ColumnarValue::Scalar(unit.name().into()),
                ColumnarValue::Array(Arc::new(TimestampMicrosecondArray::from(moments.to_vec()).with_data_type(data_type))),
            ],
            arg_fields: vec![Arc::new(Field::new("unit", DataType::Utf8, false)), Arc::clone(&field)],
            number_rows: moments.len(),
            return_field: field,
            config_options: Default::default(),
        };
        let truncated = datafusion::functions::datetime::date_trunc().invoke_with_args(args).unwrap();
        truncated.into_array(moments.len()).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
    }

    #[test]
    fn moments_out_of_range_do_not_panic() {
        let (first, last) = (DateTime::<chrono::Utc>::MIN_UTC.timestamp_micros(), DateTime::<chrono::Utc>::MAX_UTC.timestamp_micros());
        for at in [i64::MIN, i64::MIN + 1, first - 1, first, first + 1, 0, last - 1, last, last + 1, i64::MAX] {
            for zone in [chrono_tz::UTC, chrono_tz::Pacific::Apia, chrono_tz::Pacific::Honolulu] {
                for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
                    assert!(Calendar { unit, zone }.start_of(at) <= at);
                }
            }
        }
    }
}
