//! From when on a run is known: the moment at which it becomes readable.
//!
//! That moment is a column of its events, so that it is said before a generation is filled with them. So it lies ahead, and the run is published once it has come. A run that is filled later than
//! that is given up, and made again with a moment that is further ahead: nobody has read it, and what was read is never known earlier than it could be read.

use std::time::Duration;

use anyhow::Result;
use lockstep_model::{Error, EventTime};

/// How far ahead the first moment lies, at the least.
const AHEAD_MIN: Duration = Duration::from_millis(500);
/// How often a run is made again.
const TRIES: u32 = 8;

/// What became of filling a run that is to be readable at a moment.
#[derive(Debug, PartialEq, Eq)]
pub enum Filled<T> {
    /// It was ready, the moment was waited for, and it can be read.
    InTime(T),
    /// It was not ready by then, and cannot be read.
    TooLate,
}

/// Has a run filled that is readable from a moment on which lies ahead, as far as it has to. `now` says what time it is, and `fill` fills a run that is stamped with a moment; the first one lies
/// `ahead`.
///
/// # Errors
/// As `fill`; Unavailable where it takes longer each time.
pub fn in_time<T>(ahead: Duration, now: &dyn Fn() -> EventTime, fill: &mut dyn FnMut(EventTime) -> Result<Filled<T>>) -> Result<T> {
    let mut ahead = ahead.max(AHEAD_MIN);
    for _ in 0..TRIES {
        let begun = now();
        if let Filled::InTime(filled) = fill(after(begun, ahead))? {
            return Ok(filled);
        }
        let took = Duration::from_micros(u64::try_from(now().0.saturating_sub(begun.0)).unwrap_or_default());
        ahead = ahead.max(took) * 2;
    }
    let what = format!("a run was filled {TRIES} times, and each time later than the moment from which it was to be known");
    Err(Error::unavailable(format!("{what} · publish it again once the machine has less to do")).into())
}

fn after(moment: EventTime, ahead: Duration) -> EventTime {
    EventTime(moment.0.saturating_add(i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Fills runs that take so long, ms, one after the other; the moments that they were stamped with, and when the last could be read.
    fn filled(takes: &[i64]) -> (Vec<i64>, Result<i64>) {
        let (clock, at) = (Cell::new(1_000_000_i64), Cell::new(0));
        let mut stamps = Vec::new();
        let mut fill = |stamp: EventTime| {
            stamps.push(stamp.0);
            let took = takes.get(at.replace(at.get() + 1)).copied().unwrap_or(i64::MAX / 4_000);
            clock.set(clock.get().saturating_add(took.saturating_mul(1_000)));
            if clock.get() > stamp.0 {
                return Ok(Filled::TooLate);
            }
            clock.set(stamp.0);
            Ok(Filled::InTime(clock.get()))
        };
        let readable = in_time(Duration::ZERO, &|| EventTime(clock.get()), &mut fill);
        (stamps, readable)
    }

    #[test]
    fn a_run_is_known_from_when_it_can_be_read() {
        let (stamps, readable) = filled(&[100]);
        assert_eq!((stamps.as_slice(), readable.unwrap()), ([1_500_000].as_slice(), 1_500_000));
    }

    #[test]
    fn a_run_that_takes_long_is_stamped_again_and_never_readable_after_its_stamp() {
        // Ready at 4 s, for which it was stamped with 1.5 s; then 6 s are waited for, and 4 s are taken.
        let (stamps, readable) = filled(&[3_000, 4_000]);
        assert_eq!((stamps.as_slice(), readable.unwrap()), ([1_500_000, 10_000_000].as_slice(), 10_000_000));
    }

    #[test]
    fn what_takes_longer_each_time_is_given_up() {
        let takes: Vec<i64> = (0..TRIES).map(|times| 1_000 * 4i64.pow(times)).collect();
        let (stamps, readable) = filled(&takes);
        assert_eq!(stamps.len(), TRIES as usize);
        assert!(readable.unwrap_err().to_string().starts_with("a run was filled 8 times"), "{stamps:?}");
    }
}
