//! Lengths of time as text: `6 hours`, `1 day 30 minutes`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A fixed length of time in microseconds, never negative. A day is 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval(i64);

const MICROSECOND: i64 = 1;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// Names of units, as DataFusion's interval parser knows them, without the ones that have no fixed length.
const UNITS: [(&[&str], i64); 7] = [
    (&["week", "weeks", "w"], WEEK),
    (&["day", "days", "d"], DAY),
    (&["hour", "hours", "h", "hr", "hrs"], HOUR),
    (&["minute", "minutes", "m", "min", "mins"], MINUTE),
    (&["second", "seconds", "s", "sec", "secs"], SECOND),
    (&["millisecond", "milliseconds", "ms", "msec", "msecs"], MILLISECOND),
    (&["microsecond", "microseconds", "us", "usec", "usecs"], MICROSECOND),
];

/// Units that name no fixed length, or less than event time resolves, with what to write.
const REFUSED_UNITS: [(&[&str], &str, &str); 3] = [
    (&["month", "months", "mon", "mons"], "a month has no fixed length", "write days, such as `30 days`"),
    (
        &["year", "years", "y", "yr", "yrs", "decade", "decades", "century", "centuries"],
        "a year has no fixed length",
        "write days, such as `365 days`",
    ),
    (&["nanosecond", "nanoseconds", "ns"], "event time is in microseconds", "write `microseconds`"),
];

/// A text that is no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no interval: {reason}; {help}")]
pub struct IntervalError {
    /// The text.
    pub text: String,
    /// Why it is none.
    pub reason: String,
    /// What to write.
    pub help: String,
}

/// Why, and what to write.
type Fault = (String, String);

fn fault(reason: impl Into<String>, help: impl Into<String>) -> Fault {
    (reason.into(), help.into())
}

const EXAMPLE: &str = "write a number and a unit, such as `6 hours`";

impl Interval {
    /// No time at all.
    pub const ZERO: Interval = Interval(0);

    /// So many microseconds; nothing where they are negative.
    pub fn from_micros(micros: i64) -> Option<Interval> {
        (micros >= 0).then_some(Interval(micros))
    }

    /// So many milliseconds.
    pub(super) const fn milliseconds(milliseconds: u16) -> Interval {
        Interval(milliseconds as i64 * MILLISECOND)
    }

    /// So many hours.
    pub(super) const fn hours(hours: u16) -> Interval {
        Interval(hours as i64 * HOUR)
    }

    /// Its length in microseconds.
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    /// Reads pairs of a number and a unit.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text.trim()).map(Interval).map_err(|(reason, help)| IntervalError { text: text.to_owned(), reason, help })
    }
}

fn read(text: &str) -> Result<i64, Fault> {
    if text.is_empty() {
        return Err(fault("it is empty", EXAMPLE));
    }
    let (mut micros, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let (part, after) = read_part(rest)?;
        micros = micros.checked_add(part).ok_or_else(|| fault("it is longer than event time can span", "write less"))?;
        rest = after;
    }
    Ok(micros)
}

/// Reads a number and its unit; the rest of the text follows.
fn read_part(text: &str) -> Result<(i64, &str), Fault> {
    if text.starts_with('-') {
        return Err(fault("it is negative", "write it without the sign"));
    }
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, after) = text.split_at(number_len);
    if number.is_empty() {
        return Err(fault(format!("`{}` is no number", first_word(text)), EXAMPLE));
    }
    let after = after.trim_start();
    let unit_len = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
    let (unit, after) = after.split_at(unit_len);
    Ok((scaled(number, unit_micros(number, unit)?)?, after.trim_start()))
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or(text)
}

fn unit_micros(number: &str, unit: &str) -> Result<i64, Fault> {
    if unit.is_empty() {
        return Err(fault(format!("`{number}` has no unit"), format!("write `{number} seconds`, or another unit")));
    }
    let lower = unit.to_ascii_lowercase();
    if let Some((_, micros)) = UNITS.iter().find(|(names, _)| names.contains(&lower.as_str())) {
        return Ok(*micros);
    }
    if let Some((_, reason, help)) = REFUSED_UNITS.iter().find(|(names, ..)| names.contains(&lower.as_str())) {
        return Err(fault(*reason, *help));
    }
    let units: Vec<&str> = UNITS.iter().filter_map(|(names, _)| names.get(1).copied()).collect();
    Err(fault(format!("`{unit}` is no unit"), format!("units: {}", units.join(", "))))
}

/// `number` times `unit` microseconds, where that is a whole number of them.
fn scaled(number: &str, unit: i64) -> Result<i64, Fault> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let too_long = || fault(format!("`{number}` is too large"), "write less");
    let denominator = 10_i128.checked_pow(u32::try_from(fraction.len()).map_err(|_| too_long())?).ok_or_else(too_long)?;
    let numerator = digits.parse::<i128>().map_err(|_| fault(format!("`{number}` is no number"), EXAMPLE))?;
    let product = numerator.checked_mul(i128::from(unit)).ok_or_else(too_long)?;
    if product % denominator != 0 {
        return Err(fault(format!("`{number}` of that unit is no whole number of microseconds"), "write a smaller unit"));
    }
    i64::try_from(product / denominator).map_err(|_| too_long())
}

/// In the largest units that leave nothing over: `1 day 30 minutes`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0 seconds");
        }
        let mut rest = self.0;
        let mut separator = "";
        for (names, unit) in UNITS.iter().filter(|(_, unit)| *unit != WEEK) {
            let count = rest / unit;
            rest %= unit;
            if count > 0 {
                let name = if count == 1 { names[0] } else { names[1] };
                write!(f, "{separator}{count} {name}")?;
                separator = " ";
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Interval {
    type Error = IntervalError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.to_string()
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A fixed length of time: numbers and units, such as `6 hours` or `1 day 30 minutes`. A day is 24 hours; there are no months or years.",
            "pattern": "^\\s*([0-9.]+\\s*[A-Za-z]+\\s*)+$",
            "examples": ["6 hours", "1 day 30 minutes"]
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;

    use super::*;

    #[test]
    fn texts_mean_what_datafusion_reads_in_them() {
        for text in
            ["6 hours", "1 day 30 minutes", "1 week", "90 min", "1.5 hours", "250 ms", "1 microsecond", "2 days 1 second", "0 seconds", "10 s"]
        {
            let theirs = parse_interval_month_day_nano(text).unwrap();
            let micros = i64::from(theirs.days) * DAY + theirs.nanoseconds / 1000;
            assert_eq!(text.parse::<Interval>().map(Interval::micros), Ok(micros), "{text}");
            assert_eq!(theirs.months, 0, "{text}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for micros in [0, 1, 999, 1_000, SECOND, 90 * MINUTE, DAY, WEEK, 400 * DAY + HOUR + 1, i64::MAX] {
            let interval = Interval::from_micros(micros).unwrap();
            assert_eq!(interval.to_string().parse(), Ok(interval));
        }
        assert_eq!("1 day 30 minutes".parse::<Interval>().unwrap().to_string(), "1 day 30 minutes");
        assert_eq!(Interval::from_micros(-1), None);
    }

    #[test]
    fn what_has_no_fixed_length_is_refused_with_the_rewrite() {
        let error = |text: &str| text.parse::<Interval>().unwrap_err().to_string();
        assert!(error("1 month").contains("30 days"));
        assert!(error("2 years").contains("365 days"));
        assert!(error("5 nanoseconds").contains("microseconds"));
        assert!(error("6").contains("`6 seconds`"));
        assert!(error("6 hoers").contains("units: weeks, days"));
        assert!(error("-1 hour").contains("negative"));
        assert!(error("an hour").contains("`an` is no number"));
        assert!(error("").contains("empty"));
        assert!(error("0.0000001 seconds").contains("whole number"));
        assert!(error("99999999999999999999 days").contains("too large"));
        assert!(error("1.2.3 days").contains("no number"));
        assert!(error("100000000 days 100000000 days").contains("longer than event time can span"));
    }
}
