//! Frames: which events of an entity a value is made of.

use std::fmt;

use super::order::TimeRange;
use crate::calendar::Calendar;
use crate::definition::Interval;

/// Which events of an entity a value is made of, seen from a moment t.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// First moment inside is t minus this many µs; `None` reaches back without end.
    pub preceding: Option<i64>,
    /// Last moment inside is t minus this many µs.
    pub ends_before: i64,
    /// Of the events inside, only the last `n` after leaving out the last `skip`, by order key.
    pub last: Option<LastRows>,
    /// Only events of the calendar period that holds t.
    pub calendar: Option<Calendar>,
    /// Grid in µs that every edge which is not t itself is floored to; 1 is exact.
    pub resolution: i64,
}

/// The bounds of a `ROWS` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRows {
    /// How many rows; `None` for all.
    pub n: Option<u64>,
    /// How many of the last rows to leave out first.
    pub skip: u64,
}

impl LastRows {
    /// How many of the newest rows have to be looked at.
    pub(super) fn reach(self) -> u64 {
        self.n.map_or(u64::MAX, |n| n.saturating_add(self.skip))
    }
}

impl Frame {
    /// The moments inside, seen from `at`.
    pub fn range(&self, at: i64) -> TimeRange {
        // What lies before the beginning of time is `None`.
        let edge = |before: i64| {
            let time = at.checked_sub(before)?;
            let is_exact = before == 0 || self.resolution <= 1;
            if is_exact { Some(time) } else { time.div_euclid(self.resolution).checked_mul(self.resolution) }
        };
        let first = self.preceding.and_then(edge).unwrap_or(i64::MIN);
        let Some(last) = edge(self.ends_before) else { return TimeRange::EMPTY };
        match &self.calendar {
            None => TimeRange { first, last },
            Some(calendar) => TimeRange { first: first.max(calendar.start_of(at)), last },
        }
    }
}

/// As SQL writes it.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            None => {
                let end = if self.ends_before == 0 { "CURRENT ROW".to_owned() } else { format!("{} PRECEDING", length(self.ends_before)) };
                let start = self.preceding.map_or_else(|| "UNBOUNDED".to_owned(), length);
                write!(f, "RANGE BETWEEN {start} PRECEDING AND {end}")?;
            }
            Some(LastRows { n, skip }) => {
                let end = if skip == 0 { "CURRENT ROW".to_owned() } else { format!("{skip} PRECEDING") };
                let start = n.map_or_else(|| "UNBOUNDED".to_owned(), |n| n.saturating_add(skip).saturating_sub(1).to_string());
                write!(f, "ROWS BETWEEN {start} PRECEDING AND {end}")?;
            }
        }
        if let Some(calendar) = self.calendar {
            write!(f, " of the same {} in {}", calendar.unit.name(), calendar.zone.name())?;
        }
        if self.resolution > 1 { write!(f, ", edges floored to {}", length(self.resolution)) } else { Ok(()) }
    }
}

fn length(micros: i64) -> String {
    Interval::from_micros(micros).map_or_else(|| format!("{micros} µs"), |interval| interval.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{Calendar, Unit};

    #[test]
    fn frames_read_as_they_are_written() {
        let hour = Frame { preceding: Some(3_600_000_000), ends_before: 0, last: None, calendar: None, resolution: 1 };
        assert_eq!(hour.to_string(), "RANGE BETWEEN 1 hour PRECEDING AND CURRENT ROW");
        let lagged = Frame { preceding: None, ends_before: 1, resolution: 60_000_000, ..hour.clone() };
        assert_eq!(lagged.to_string(), "RANGE BETWEEN UNBOUNDED PRECEDING AND 1 microsecond PRECEDING, edges floored to 1 minute");
        let rows = |n, skip| Frame { preceding: None, last: Some(LastRows { n, skip }), ..hour.clone() }.to_string();
        assert_eq!(rows(Some(10), 0), "ROWS BETWEEN 9 PRECEDING AND CURRENT ROW");
        assert_eq!(rows(Some(3), 1), "ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING");
        assert_eq!(rows(None, 2), "ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING");
        let today = Frame { preceding: None, calendar: Some(Calendar { unit: Unit::Day, zone: chrono_tz::UTC }), ..hour };
        assert_eq!(today.to_string(), "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW of the same day in UTC");
    }
}
