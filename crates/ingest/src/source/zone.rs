//! From local time to UTC.
//!
//! A zone's clocks are sometimes turned, so that a naive local time may name two moments or none. One rule covers both, the one RFC 5545 gives calendars: the
//! time is read with the offset that was in force *before* the change. A time that occurs twice is therefore its first occurrence, and one that was skipped lies
//! as far after the change as it was written after the gap's start. No row is lost by it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{GapInfo, Tz};

const HOUR_US: i64 = 3_600_000_000;

/// The zone of naive timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// A zone of the tz database.
    Named(Tz),
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.parse() {
            Ok(Tz::UTC | Tz::Etc__UTC) => Ok(Zone::Utc),
            Ok(zone) => Ok(Zone::Named(zone)),
            Err(_) => Err(format!("`{name}` is not a zone of the tz database {} · write one like America/New_York", chrono_tz::IANA_TZDB_VERSION)),
        }
    }
}

impl From<Tz> for Zone {
    fn from(zone: Tz) -> Self {
        match zone {
            Tz::UTC | Tz::Etc__UTC => Zone::Utc,
            zone => Zone::Named(zone),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Zone::Utc => f.write_str("UTC"),
            Zone::Named(zone) => f.write_str(zone.name()),
        }
    }
}

/// Converts naive times of one zone. Remembers the offset of the last hour, since rows lie close together.
#[derive(Debug, Clone)]
pub struct ToUtc {
    zone: Zone,
    /// An hour of local time all of which has one offset, and that offset in microseconds.
    steady: Option<(i64, i64)>,
}

impl ToUtc {
    /// Converts from `zone`.
    pub fn new(zone: Zone) -> Self {
        ToUtc { zone, steady: None }
    }

    /// The moment a local time names, both in microseconds. `None` beyond the years chrono knows (about ±262,000), or past the range of the type.
    pub fn convert(&mut self, local: i64) -> Option<i64> {
        let Zone::Named(zone) = self.zone else { return Some(local) };
        let hour = local.div_euclid(HOUR_US);
        if let Some((steady, offset)) = self.steady
            && steady == hour
        {
            return local.checked_sub(offset);
        }
        let offset = offset_us(zone, local)?;
        // Where the hour's two ends agree there is no change within it.
        let ends = [hour.checked_mul(HOUR_US), hour.checked_mul(HOUR_US).and_then(|start| start.checked_add(HOUR_US))];
        if ends.iter().all(|&end| end.and_then(|end| single_offset_us(zone, end)) == Some(offset)) {
            self.steady = Some((hour, offset));
        }
        local.checked_sub(offset)
    }
}

fn naive(local: i64) -> Option<NaiveDateTime> {
    Some(DateTime::from_timestamp_micros(local)?.naive_utc())
}

fn single_offset_us(zone: Tz, local: i64) -> Option<i64> {
    match zone.offset_from_local_datetime(&naive(local)?) {
        LocalResult::Single(offset) => Some(us(&offset)),
        LocalResult::Ambiguous(_, _) | LocalResult::None => None,
    }
}

fn offset_us(zone: Tz, local: i64) -> Option<i64> {
    let local = naive(local)?;
    match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) => Some(us(&offset)),
        // The earlier of two moments is the one with the greater offset.
        LocalResult::Ambiguous(a, b) => Some(us(&a).max(us(&b))),
        LocalResult::None => GapInfo::new(&local, &zone)?.begin.map(|(_, before)| us(&before)),
    }
}

fn us(offset: &impl Offset) -> i64 {
    i64::from(offset.fix().local_minus_utc()) * 1_000_000
}

#[cfg(test)]
mod tests {
    use lockstep_model::EventTime;

    use super::*;

    fn check(zone: &str, cases: &[(&str, &str)]) {
        let mut to_utc = ToUtc::new(zone.parse().unwrap());
        // Twice, so that the remembered hour is used as well.
        for (local, utc) in cases.iter().chain(cases.iter().rev()) {
            let moment = to_utc.convert(EventTime::parse(local).unwrap().0).unwrap();
            assert_eq!(EventTime(moment).to_string(), *utc, "{local} in {zone}");
        }
    }

    #[test]
    fn new_york_skips_an_hour_in_spring_and_repeats_one_in_autumn() {
        check(
            "America/New_York",
            &[
                ("2013-03-10 01:59:59.999999", "2013-03-10T06:59:59.999999Z"),
                ("2013-03-10 02:00:00", "2013-03-10T07:00:00Z"),
                ("2013-03-10 02:30:00", "2013-03-10T07:30:00Z"),
                ("2013-03-10 03:00:00", "2013-03-10T07:00:00Z"),
                ("2013-03-10 03:30:00", "2013-03-10T07:30:00Z"),
                ("2013-11-03 00:59:59", "2013-11-03T04:59:59Z"),
                ("2013-11-03 01:00:00", "2013-11-03T05:00:00Z"),
                ("2013-11-03 01:59:59", "2013-11-03T05:59:59Z"),
                ("2013-11-03 02:00:00", "2013-11-03T07:00:00Z"),
            ],
        );
    }

    #[test]
    fn lord_howe_moves_by_half_an_hour() {
        check(
            "Australia/Lord_Howe",
            &[
                ("2013-04-07 01:29:59", "2013-04-06T14:29:59Z"),
                ("2013-04-07 01:30:00", "2013-04-06T14:30:00Z"),
                ("2013-04-07 01:59:59", "2013-04-06T14:59:59Z"),
                ("2013-04-07 02:00:00", "2013-04-06T15:30:00Z"),
                ("2013-10-06 01:59:59", "2013-10-05T15:29:59Z"),
                ("2013-10-06 02:15:00", "2013-10-05T15:45:00Z"),
                ("2013-10-06 02:30:00", "2013-10-05T15:30:00Z"),
            ],
        );
    }

    #[test]
    fn apia_had_no_30_december_2011() {
        check(
            "Pacific/Apia",
            &[
                ("2011-12-29 23:59:59", "2011-12-30T09:59:59Z"),
                ("2011-12-30 00:00:00", "2011-12-30T10:00:00Z"),
                ("2011-12-30 12:00:00", "2011-12-30T22:00:00Z"),
                ("2011-12-31 00:00:00", "2011-12-30T10:00:00Z"),
            ],
        );
    }

    #[test]
    fn every_quarter_of_an_hour_agrees_with_the_slow_way() {
        for name in ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Africa/Casablanca", "Antarctica/Troll"] {
            let Ok(Zone::Named(zone)) = name.parse() else { panic!("{name}") };
            let mut to_utc = ToUtc::new(Zone::Named(zone));
            for quarter in 0..4 * 24 * 366 * 3 {
                let local = 1_300_000_000_000_000 + quarter * (HOUR_US / 4) + 1;
                assert_eq!(to_utc.convert(local), Some(local - offset_us(zone, local).unwrap()), "{name} {}", EventTime(local));
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_do_not_panic() {
        for zone in ["America/New_York", "Pacific/Apia", "UTC"] {
            let mut to_utc = ToUtc::new(zone.parse().unwrap());
            for local in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, -8_334_601_228_800_000_000, 8_210_266_876_799_999_999] {
                to_utc.convert(local);
            }
        }
        assert!("America/Gotham".parse::<Zone>().unwrap_err().contains("tz database"));
    }
}
