//! Until when a request is to be answered.

use std::time::Duration;

use axum::extract::Request;
use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use super::failure::Failure;

/// As gRPC says it: digits and a unit.
const GRPC: &str = "grpc-timeout";
/// As HTTP requests say it: seconds, with decimals.
const HTTP: &str = "request-timeout";
/// Longer than anybody waits, so that adding it to a moment does not overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What a request says of the time it has, from when its head arrived; kept with the request.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    arrived: Instant,
    within: Option<Duration>,
    /// It says something, and that is no time.
    unclear: bool,
}

/// Notes when a request arrived, and how much time it has.
pub fn note(mut request: Request) -> Request {
    let deadline = Deadline::of(request.headers());
    request.extensions_mut().insert(deadline);
    request
}

impl Deadline {
    fn of(headers: &HeaderMap) -> Deadline {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let within = match (text(GRPC), text(HTTP)) {
            (Some(given), _) => Some(grpc(given)),
            (None, Some(given)) => Some(seconds(given)),
            (None, None) => None,
        };
        Deadline { arrived: Instant::now(), within: within.flatten(), unclear: within == Some(None) }
    }

    /// Of a request that says nothing, from now.
    pub fn none() -> Deadline {
        Deadline { arrived: Instant::now(), within: None, unclear: false }
    }

    /// Until when to answer, where no request may take longer than `most`.
    ///
    /// # Errors
    /// InvalidArgument where what it says is no time; DeadlineExceeded where that moment has passed.
    pub fn until(&self, most: Duration) -> Result<Until, Failure> {
        if self.unclear {
            return Err(Failure::new(
                Code::InvalidArgument,
                format!("`{HTTP}` and `{GRPC}` say no time · write seconds, such as {HTTP}: 0.25, or what gRPC writes, such as {GRPC}: 250m"),
            ));
        }
        let within = self.within.unwrap_or(most).min(most).min(LONGEST);
        let until = Until { at: self.arrived + within, within, is_callers: self.within.is_some_and(|within| within <= most) };
        until.check().map(|()| until)
    }
}

/// The moment until which a request is to be answered.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    at: Instant,
    within: Duration,
    is_callers: bool,
}

impl Until {
    /// Refuses to begin what nobody waits for any more.
    ///
    /// # Errors
    /// DeadlineExceeded where it has passed.
    pub fn check(&self) -> Result<(), Failure> {
        if Instant::now() < self.at { Ok(()) } else { Err(self.exceeded()) }
    }

    /// The moment.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// A moment before it, after so long at most, at which something else can still be done in time.
    pub fn sooner(&self, after: Duration) -> Instant {
        self.at - (self.within - after.min(self.within / 10 * 9))
    }

    /// The failure of whatever takes longer.
    pub fn exceeded(&self) -> Failure {
        let message = if self.is_callers {
            format!("the request was not answered within the {:?} that its caller gave it", self.within)
        } else {
            format!("the answer took longer than {} s, the most a request may take · ask for less at once", self.within.as_secs_f64())
        };
        Failure::new(Code::DeadlineExceeded, message)
    }
}

/// At most eight digits, and a unit.
fn grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = text.parse().ok().filter(|_| plain)?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn deadline(headers: &[(&'static str, &'static str)]) -> Deadline {
        let header = |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Deadline::of(&headers.iter().map(header).collect())
    }

    #[test]
    fn times_are_read_as_grpc_and_http_write_them() {
        let cases = [
            (GRPC, "2H", Some(Duration::from_secs(7200))),
            (GRPC, "3M", Some(Duration::from_secs(180))),
            (GRPC, "4S", Some(Duration::from_secs(4))),
            (GRPC, "250m", Some(Duration::from_millis(250))),
            (GRPC, "99999999u", Some(Duration::from_micros(99_999_999))),
            (GRPC, "0n", Some(Duration::ZERO)),
            (GRPC, "999999999m", None),
            (GRPC, "m", None),
            (GRPC, "", None),
            (GRPC, "-1m", None),
            (GRPC, "1x", None),
            (HTTP, "0.25", Some(Duration::from_millis(250))),
            (HTTP, "30", Some(Duration::from_secs(30))),
            (HTTP, "1e3", None),
            (HTTP, "-1", None),
            (HTTP, "soon", None),
            (HTTP, "", None),
            (HTTP, "NaN", None),
            (HTTP, "99999999999999999999999", None),
        ];
        for (name, value, wanted) in cases {
            let deadline = deadline(&[(name, value)]);
            assert_eq!((deadline.within, deadline.unclear), (wanted, wanted.is_none()), "{name}: {value}");
        }
        assert!(!deadline(&[]).unclear);
        assert_eq!(deadline(&[(HTTP, "3"), (GRPC, "1S")]).within, Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_has_passed_is_refused_and_nothing_is_longer_than_it_may() {
        let most = Duration::from_secs(30);
        let code = |deadline: Deadline| deadline.until(most).map(|_| ()).map_err(|failure| failure.code);
        assert_eq!(code(deadline(&[(GRPC, "0m")])), Err(Code::DeadlineExceeded));
        assert_eq!(code(deadline(&[(HTTP, "x")])), Err(Code::InvalidArgument));
        let until = deadline(&[(GRPC, "99999999H")]).until(most).unwrap();
        assert_eq!((until.within, until.is_callers), (most, false));
        let until = deadline(&[(HTTP, "10")]).until(most).unwrap();
        assert_eq!((until.within, until.is_callers), (Duration::from_secs(10), true));
        assert_eq!(until.at - until.sooner(Duration::from_secs(60)), Duration::from_secs(1));
        assert_eq!(until.at - until.sooner(Duration::from_secs(4)), Duration::from_secs(6));
    }
}
