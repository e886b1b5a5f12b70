//! What a request may ask, so that none takes what others need.

use std::time::Duration;

use lockstep_model::Error;

use super::breaker::BreakerSettings;
use crate::last_known_good::Keep;

/// What is answered where the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// What is kept for it.
    pub keep: Keep,
    /// How long the store has before it is used; less where the caller has less time.
    pub after: Duration,
}

/// Bounds on requests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of a request.
    pub request_bytes_max: usize,
    /// Most rows of a request that is answered in one message.
    pub rows_max: usize,
    /// Most rows of a request whose answer is streamed.
    pub stream_rows_max: usize,
    /// Most large requests that are answered at once; others wait their turn.
    pub large_at_once: usize,
    /// Longest time that a request may take, whatever its own deadline.
    pub request_time_max: Duration,
    /// Requests a second of one token, or of all who have none; `None` for any number.
    pub requests_per_second: Option<u32>,
    /// When the disk is asked no more.
    pub breaker: BreakerSettings,
    /// What is answered then; nothing where absent.
    pub last_known_good: Option<Fallback>,
    /// Requests that take so long are told of.
    pub slow: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes_max: 4 << 20,
            rows_max: 10_000,
            stream_rows_max: 1_000_000,
            large_at_once: 4,
            request_time_max: Duration::from_secs(30),
            requests_per_second: None,
            breaker: BreakerSettings::default(),
            last_known_good: None,
            slow: Some(Duration::from_secs(1)),
        }
    }
}

impl Limits {
    /// Refuses too many rows.
    ///
    /// # Errors
    /// OutOfRange, with what to do.
    pub fn check_rows(&self, rows: usize, streamed: bool) -> Result<(), Error> {
        let (most, advice) = if streamed {
            (self.stream_rows_max, "ask for them in several requests")
        } else {
            (self.rows_max, "ask for them by StreamFeatures, or in several requests")
        };
        if rows <= most {
            return Ok(());
        }
        Err(Error::out_of_range(format!("{rows} rows are asked for, and one request may have {most} · {advice}")))
    }
}
