//! Who may ask what: bearer tokens with roles, and how often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// What a caller may do. Each may also do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look features up, and ask what does not change the store.
    Read,
    /// Push events.
    Write,
    /// Change definitions and generations.
    Admin,
}

/// What the caller of a request was found to be allowed; kept with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted(pub Role);

/// A secret that stands for a role.
#[derive(Clone)]
pub struct Token {
    /// What it is called in settings and messages.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    secret: String,
}

impl Token {
    /// A token.
    pub fn new(name: impl Into<String>, role: Role, secret: impl Into<String>) -> Token {
        Token { name: name.into(), role, secret: secret.into() }
    }
}

impl std::fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Lets callers in.
#[derive(Debug)]
pub struct Guard {
    tokens: Vec<(Token, Rate)>,
    /// Of whoever needs no token.
    open: Rate,
}

/// Why a caller is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// No token, or one that is not known.
    Unauthenticated,
    /// A token whose role is too little.
    Forbidden {
        /// The token's name.
        token: String,
        /// Its role.
        role: Role,
    },
    /// More requests than are allowed.
    TooMany,
}

impl Guard {
    /// Lets in who has one of `tokens`; everybody where there are none.
    pub fn new(tokens: Vec<Token>, requests_per_second: Option<u32>) -> Guard {
        let rate = || Rate::new(requests_per_second);
        Guard { tokens: tokens.into_iter().map(|token| (token, rate())).collect(), open: rate() }
    }

    /// Whether it asks anything of anybody.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.open.interval_nanos == 0
    }

    /// Lets a caller in who needs `role`, by the headers of the request; what it may do.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn admit(&self, headers: &HeaderMap, role: Role) -> Result<Role, Refused> {
        if self.tokens.is_empty() {
            return self.open.take().map(|()| Role::Admin);
        }
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer).unwrap_or_default();
        // Every one is looked at, and each in the same time whatever it has in common with what was given.
        let mut found = None;
        for (token, rate) in &self.tokens {
            if bool::from(token.secret.as_bytes().ct_eq(given.as_bytes())) {
                found = Some((token, rate));
            }
        }
        let (token, rate) = found.ok_or(Refused::Unauthenticated)?;
        if token.role < role {
            return Err(Refused::Forbidden { token: token.name.clone(), role: token.role });
        }
        rate.take().map(|()| token.role)
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// So many requests a second, with as many at once after a pause: the generic cell rate algorithm, which needs one number.
#[derive(Debug)]
pub struct Rate {
    /// Nanoseconds between two requests at the rate; 0 for any number.
    interval_nanos: u64,
    begun: Instant,
    /// When the next request would come if all came evenly, in nanoseconds since `begun`.
    next: AtomicU64,
}

impl Rate {
    /// So many a second, or any number.
    #[allow(clippy::disallowed_methods, reason = "how often requests come; no answer depends on it")]
    pub fn new(per_second: Option<u32>) -> Rate {
        let interval_nanos = per_second.map_or(0, |rate| 1_000_000_000 / u64::from(rate.max(1)));
        Rate { interval_nanos, begun: Instant::now(), next: AtomicU64::new(0) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// TooMany where it is too early.
    pub fn take(&self) -> Result<(), Refused> {
        if self.interval_nanos == 0 {
            return Ok(());
        }
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(now)
    }

    fn take_at(&self, now: u64) -> Result<(), Refused> {
        const BURST_NANOS: u64 = 1_000_000_000;
        let advance = |next: u64| {
            let next = next.max(now) + self.interval_nanos;
            (next - now <= BURST_NANOS).then_some(next)
        };
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance).map(|_| ()).map_err(|_| Refused::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn a_token_opens_what_its_role_may() {
        let guard = Guard::new(vec![Token::new("dashboard", Role::Read, "r3ad"), Token::new("release", Role::Admin, "adm1n")], None);
        assert_eq!(guard.admit(&HeaderMap::new(), Role::Read), Err(Refused::Unauthenticated));
        assert_eq!(guard.admit(&headers("Bearer r3ad"), Role::Read), Ok(Role::Read));
        assert_eq!(guard.admit(&headers("bearer  r3ad"), Role::Read), Ok(Role::Read));
        assert_eq!(guard.admit(&headers("Bearer r3ad"), Role::Write), Err(Refused::Forbidden { token: "dashboard".to_owned(), role: Role::Read }));
        assert_eq!(guard.admit(&headers("Bearer adm1n"), Role::Write), Ok(Role::Admin));
        for wrong in ["Bearer r3a", "Bearer r3ad1", "Basic r3ad", "r3ad", "Bearer", "Bearer "] {
            assert_eq!(guard.admit(&headers(wrong), Role::Read), Err(Refused::Unauthenticated), "{wrong}");
        }
        assert!(!format!("{guard:?}").contains("r3ad"));
    }

    #[test]
    fn without_tokens_everybody_may_everything() {
        let guard = Guard::new(Vec::new(), None);
        assert!(guard.is_open());
        assert_eq!(guard.admit(&headers("Bearer anything"), Role::Admin), Ok(Role::Admin));
    }

    #[test]
    fn a_rate_allows_a_second_of_requests_at_once_and_then_one_after_the_other() {
        let rate = Rate::new(Some(10));
        let taken = (0..100).take_while(|_| rate.take_at(0).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(rate.take_at(99_999_999), Err(Refused::TooMany));
        assert_eq!(rate.take_at(100_000_001), Ok(()));
        assert_eq!(rate.take_at(100_000_002), Err(Refused::TooMany));
    }
}
