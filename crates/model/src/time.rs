//! Event time and the clock.

use std::fmt;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A moment: microseconds since 1970-01-01T00:00:00Z, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event.
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// After every event.
    pub const MAX: EventTime = EventTime(i64::MAX);

    /// Parses RFC 3339 (`2013-03-01T12:00:00Z`, any offset), or a naive time (`2013-03-01 12:00:00.5`, `2013-03-01`), which is UTC.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(EventTime(moment.timestamp_micros()));
        }
        for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
            if let Ok(naive) = NaiveDateTime::parse_from_str(text, format) {
                return Ok(EventTime(naive.and_utc().timestamp_micros()));
            }
        }
        if let Ok(date) = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Ok(EventTime(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()));
        }
        Err(format!("`{text}` is not a moment: write 2013-03-01T12:00:00Z, or 2013-03-01 12:00:00 for UTC"))
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_micros(self.0) {
            Some(moment) => f.write_str(&moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} µs", self.0),
        }
    }
}

/// Where "now" comes from. Passed in, so that tests and replays decide what time it is.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> EventTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that asks the machine; everything else is handed a Clock")]
    fn now(&self) -> EventTime {
        EventTime(Utc::now().timestamp_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_parse_in_the_forms_people_write() {
        let noon = EventTime(1_362_139_200_000_000);
        for text in ["2013-03-01T12:00:00Z", "2013-03-01 12:00:00", "2013-03-01T07:00:00-05:00", "2013-03-01T12:00", " 2013-03-01T12:00:00.000000Z "]
        {
            assert_eq!(EventTime::parse(text), Ok(noon), "{text}");
        }
        assert_eq!(EventTime::parse("2013-03-01T12:00:00.000001Z"), Ok(EventTime(noon.0 + 1)));
        assert_eq!(EventTime(noon.0 + 1).to_string(), "2013-03-01T12:00:00.000001Z");
        assert!(EventTime::parse("noon").unwrap_err().contains("2013-03-01T12:00:00Z"));
    }
}
