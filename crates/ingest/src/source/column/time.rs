//! Dates and moments.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Builder, TimestampMicrosecondBuilder};

use super::super::rows::Kind;
use super::super::zone::ToUtc;
use super::{Column, Value};

const DAY_US: i64 = 86_400_000_000;
const SECOND_US: i64 = 1_000_000;

#[derive(Default)]
pub(super) struct Dates(Date32Builder);

impl Column for Dates {
    #[inline(always)]
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        let date = value.plain().and_then(|text| match text.as_bytes().split_first_chunk() {
            Some((date, [])) => days(date),
            _ => None,
        });
        self.0.append_value(date.ok_or_else(|| value.is_not("a date · write 2013-03-01"))?);
        Ok(())
    }

    fn push_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

pub(super) struct Moments {
    builder: TimestampMicrosecondBuilder,
    to_utc: ToUtc,
}

impl Moments {
    pub(super) fn new(to_utc: ToUtc) -> Self {
        Moments { builder: TimestampMicrosecondBuilder::new(), to_utc }
    }
}

impl Column for Moments {
    #[inline(always)]
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        let moment = match value.kind {
            Kind::Text => parse(value.text.as_bytes()),
            Kind::Bare => Err("a moment: nothing says the unit of a number · write 2013-03-01T12:00:00Z"),
            _ => Err("a moment · write 2013-03-01T12:00:00Z"),
        };
        let moment = match moment.map_err(|what| value.is_not(what))? {
            Moment::Utc(moment) => Some(moment),
            Moment::Local(local) => self.to_utc.convert(local),
        };
        self.builder.append_value(moment.ok_or_else(|| value.is_not("a moment within the range of its zone"))?);
        Ok(())
    }

    fn push_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

/// Microseconds since the epoch, of UTC or of some local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Utc(i64),
    Local(i64),
}

/// `2013-03-01`, then perhaps `T` or a space and `12:00`, `:30`, `.25`, then perhaps `Z` or `+01:00`.
fn parse(text: &[u8]) -> Result<Moment, &'static str> {
    const SHAPE: &str = "a moment · write 2013-03-01T12:00:00Z";
    let (date, rest) = text.split_first_chunk().ok_or(SHAPE)?;
    let date_us = i64::from(days(date).ok_or(SHAPE)?) * DAY_US;
    let Some((separator, rest)) = rest.split_first() else { return Ok(Moment::Local(date_us)) };
    let (&[h1, h0, b':', m1, m0], rest) = rest.split_first_chunk().ok_or(SHAPE)? else { return Err(SHAPE) };
    let (hour, minute) = two(h1, h0, 23).zip(two(m1, m0, 59)).ok_or(SHAPE)?;
    if !matches!(separator, b'T' | b't' | b' ') {
        return Err(SHAPE);
    }
    let minute_us = date_us + (hour * 60 + minute) * 60 * SECOND_US;
    let (second_us, rest) = seconds(rest)?;
    let time_us = minute_us + second_us;
    match rest {
        [] => Ok(Moment::Local(time_us)),
        [b'Z' | b'z'] => Ok(Moment::Utc(time_us)),
        [sign @ (b'+' | b'-'), h1, h0, b':', m1, m0] => {
            let (hour, minute) = two(*h1, *h0, 23).zip(two(*m1, *m0, 59)).ok_or(SHAPE)?;
            let offset_us = (hour * 60 + minute) * 60 * SECOND_US;
            Ok(Moment::Utc(if *sign == b'-' { time_us + offset_us } else { time_us - offset_us }))
        }
        _ => Err(SHAPE),
    }
}

/// `:30.25` or nothing, in microseconds, and what follows it.
fn seconds(text: &[u8]) -> Result<(i64, &[u8]), &'static str> {
    let [b':', s1, s0, rest @ ..] = text else { return Ok((0, text)) };
    let second = match two(*s1, *s0, 60) {
        Some(60) => return Err("a moment: leap seconds are not on the scale of UTC microseconds"),
        Some(second) => second,
        None => return Err("a moment: its seconds are not 00 to 59"),
    };
    let [b'.', rest @ ..] = rest else { return Ok((second * SECOND_US, rest)) };
    let len = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(len);
    if digits.is_empty() {
        return Err("a moment: there are no digits behind its point");
    }
    if digits.iter().skip(6).any(|&digit| digit != b'0') {
        return Err("a whole number of microseconds");
    }
    let micros = (0..6).fold(0, |all, at| all * 10 + i64::from(digits.get(at).map_or(0, |digit| digit - b'0')));
    Ok((second * SECOND_US + micros, rest))
}

/// Days since the epoch of `2013-03-01` in the proleptic Gregorian calendar.
#[inline(always)]
fn days(&[y3, y2, y1, y0, dash, m1, m0, dash_again, d1, d0]: &[u8; 10]) -> Option<i32> {
    let year = two(y3, y2, 99)? * 100 + two(y1, y0, 99)?;
    let (month, day) = two(m1, m0, 12).zip(two(d1, d0, 31))?;
    if dash != b'-' || dash_again != b'-' || month == 0 || day == 0 || day > days_of_month(year, month) {
        return None;
    }
    // The year starts in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let since = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    i32::try_from(since - 719_468).ok()
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[inline(always)]
fn two(tens: u8, ones: u8, most: i64) -> Option<i64> {
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    let number = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    (number <= most).then_some(number)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use lockstep_model::EventTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        let mut date = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
        while date < NaiveDate::from_ymd_opt(9999, 12, 31).unwrap() {
            let text = date.to_string();
            assert_eq!(days(text.as_bytes().first_chunk().unwrap()).map(i64::from), Some((date - epoch).num_days()), "{text}");
            date = date.succ_opt().unwrap();
        }
        for text in ["2013-02-29", "1900-02-29", "2013-13-01", "2013-00-10", "2013-04-31", "2013-01-00", "2013/01/01", "+013-01-01"] {
            assert_eq!(days(text.as_bytes().first_chunk().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn moments_in_the_forms_people_write() {
        let noon = 1_362_139_200_000_000;
        for text in ["2013-03-01T12:00:00Z", "2013-03-01 12:00z", "2013-03-01t07:00:00.000-05:00", "2013-03-01T17:30:00.0000000000+05:30"] {
            assert_eq!(parse(text.as_bytes()), Ok(Moment::Utc(noon)), "{text}");
        }
        assert_eq!(parse(b"2013-03-01 12:00:00.000001"), Ok(Moment::Local(noon + 1)));
        assert_eq!(parse(b"2013-03-01"), Ok(Moment::Local(noon - DAY_US / 2)));
        assert_eq!(parse(b"1969-12-31T23:59:59.999999Z"), Ok(Moment::Utc(-1)));
        assert_eq!(parse(b"2013-03-01T12:00:00.0000001Z"), Err("a whole number of microseconds"));
        for text in [
            "",
            "noon",
            "2013-03-01T",
            "2013-03-01T24:00:00Z",
            "2013-03-01T12:00:60Z",
            "2013-03-01T12:00:00.Z",
            "2013-03-01T12:00:00+0100",
            "2013-03-01T12:00:00 Z",
            "2013-03-01X12:00",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn moments_read_as_chrono_writes_them(us in -62_135_596_800_000_000i64..253_402_300_799_999_999, offset in -1439i32..1440) {
            let shown = EventTime(us).to_string();
            prop_assert_eq!(parse(shown.as_bytes()), Ok(Moment::Utc(us)), "{}", shown);
            let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
            let shown = DateTime::from_timestamp_micros(us).unwrap().with_timezone(&zone).to_rfc3339();
            if shown.starts_with(|c: char| c.is_ascii_digit()) {
                prop_assert_eq!(parse(shown.as_bytes()), Ok(Moment::Utc(us)), "{}", shown);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9T:.Z+ -]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
