//! Calendar periods in a named zone: the days, weeks and months that a `PARTITION BY date_trunc(…)` of the event time means.
//!
//! A period is the run of instants that share a truncated local time. It starts where the zone's clock first shows it, which is not
//! always midnight: a day whose midnight is skipped starts after the gap, and one with a repeated hour is longer.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Timelike, Utc};
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
            Unit::Week => Some(date.week(chrono::Weekday::Mon).first_day()),
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
        let Some(period) = self.period(at) else { return at };
        if let Some(start) = self.zone.from_local_datetime(&period).earliest().map(|start| start.timestamp_micros())
            && start <= at
            && self.period(start - 1).is_some_and(|before| before < period)
        {
            return start;
        }
        self.search(at, period)
    }

    /// Finds the start where the zone's clock does not show it exactly once. Truncated local time does not go back within the searched span but by
    /// less than a period, so bisection holds.
    fn search(&self, at: i64, period: NaiveDateTime) -> i64 {
        let (mut before, mut inside) = (at.saturating_sub(self.unit.span_max()), at);
        while before + 1 < inside {
            let middle = before + (inside - before) / 2;
            match self.period(middle) {
                Some(found) if found < period => before = middle,
                _ => inside = middle,
            }
        }
        inside
    }

    fn period(&self, at: i64) -> Option<NaiveDateTime> {
        let instant = DateTime::<Utc>::from_timestamp_micros(at)?;
        Some(self.unit.truncate(instant.with_timezone(&self.zone).naive_local()))
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
        assert_eq!(start(Unit::Day, chrono_tz::America::Havana, "2013-11-03T12:00:00Z"), "2013-11-03T04:00:00Z");
    }

    #[test]
    fn moments_out_of_range_do_not_panic() {
        for at in [i64::MIN, i64::MIN + 1, i64::MAX, 0] {
            Calendar { unit: Unit::Year, zone: chrono_tz::UTC }.start_of(at);
        }
    }
}
