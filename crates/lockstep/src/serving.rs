//! The settings of `lockstep serve`.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_model::Error;
use lockstep_serve::last_known_good::Keep;
use lockstep_serve::server::{BreakerSettings, Fallback, Limits, Role, Security, Token};
use lockstep_transform::definition::Interval;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::config::ByteSize;
use crate::secret::Place;

/// Where a server listens, whom it lets in, and what a request may ask.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Address and port; port 0 is any that is free.
    pub listen: String,
    /// Threads that answer; as many as there are cores by default.
    pub threads: Option<NonZeroUsize>,
    /// Listen where other machines can connect though nothing keeps anybody out.
    pub insecure: bool,
    /// Certificates.
    pub tls: Option<Tls>,
    /// Tokens that let in, by names of your own; everybody is let in where there are none.
    pub tokens: BTreeMap<String, TokenConfig>,
    /// Most bytes of a request.
    pub request_size: ByteSize,
    /// Most rows of a request that is answered in one message.
    pub rows: NonZeroUsize,
    /// Most rows of a request whose answer is streamed.
    pub stream_rows: NonZeroUsize,
    /// Longest time that a request may take.
    pub request_time: Interval,
    /// Requests a second of one token, or of all together where there are none; any number by default.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests that take so long are told of in the log.
    pub slow: Interval,
    /// When a disk that does not answer is asked no more.
    pub breaker: BreakerConfig,
    /// What was read last is answered where the store does not answer, and marked; never where this is not said.
    pub last_known_good: Option<LastKnownGoodConfig>,
    /// A share of what is served is logged, to be audited and learned from; nothing is where this is not said.
    pub feature_log: Option<FeatureLogConfig>,
    /// How long requests may take to end once the server is told to end.
    pub drain: Interval,
    /// How long the server says that it is not ready before it takes no more connections; nothing by default. Set it where a load balancer looks now and then.
    pub linger: Option<Interval>,
}

/// The feature log: Parquet files of vectors that were served, with what they were read from. `lockstep audit` computes them again.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureLogConfig {
    /// The share of vectors that is logged, from 0 to 1. A request that has an id is logged whole or not at all, by a hash of the id; other vectors by a hash of their columns and moment.
    pub share: Share,
    /// Whether scored rows that explore are logged whatever the share: there are few of them, and they are what can be learned from. What is logged of others is noted beside each row, and weighs
    /// it in training sets.
    pub all_explored: bool,
    /// Where; `served` in the store's directory by default.
    pub dir: Option<PathBuf>,
    /// A file is written once so much is to be logged of one service or view; twice as much is held in memory where files cannot be written.
    pub file_size: ByteSize,
    /// How long a vector waits for its file at the longest.
    pub roll: Interval,
    /// How long files are kept.
    pub keep: Interval,
    /// Most bytes of all files: beyond that the oldest go.
    pub size: ByteSize,
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(pub f64);

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&share) { Ok(Share(share)) } else { Err(format!("{share} is no share: write a number from 0 to 1, such as 0.01")) }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "maximum": 1})
    }
}

impl Default for FeatureLogConfig {
    fn default() -> Self {
        let days = |days: i64| Interval::from_micros(days * 86_400_000_000).unwrap_or_default();
        FeatureLogConfig {
            share: Share(0.01),
            all_explored: true,
            dir: None,
            file_size: ByteSize(64 << 20),
            roll: interval(Duration::from_secs(300)),
            keep: days(30),
            size: ByteSize(10 << 30),
        }
    }
}

/// When a disk that does not answer is asked no more, so that nobody waits for it. Requests for what is in memory are answered as ever meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Reads that fail or stall, with none that succeeds between them.
    pub failures: NonZeroUsize,
    /// In how long a time.
    pub window: Interval,
    /// How long a read of up to 64 rows may take before it counts as stalled; more rows may take longer, and pushes five times as long.
    pub stall: Interval,
    /// How long it is not asked before one request tries again.
    pub pause: Interval,
}

/// The last known good: features of entities as they were read last, for when the store fails or takes too long. It is used for requests of the present
/// moment alone, and says how old it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LastKnownGoodConfig {
    /// Most memory that it takes.
    pub memory: ByteSize,
    /// How old it may be.
    pub age: Interval,
    /// How long the store has to answer before it is used; less where the caller has less time.
    pub after: Interval,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        let settings = BreakerSettings::default();
        BreakerConfig {
            failures: NonZeroUsize::new(settings.failures).unwrap_or(NonZeroUsize::MIN),
            window: interval(settings.window),
            stall: interval(settings.stall),
            pause: interval(settings.pause),
        }
    }
}

impl Default for LastKnownGoodConfig {
    fn default() -> Self {
        LastKnownGoodConfig { memory: ByteSize(64 << 20), age: interval(Duration::from_secs(600)), after: interval(Duration::from_millis(100)) }
    }
}

impl BreakerConfig {
    fn settings(&self) -> BreakerSettings {
        let [window, stall, pause] = [self.window, self.stall, self.pause].map(duration);
        BreakerSettings { failures: self.failures.get(), window, stall, pause }
    }
}

impl LastKnownGoodConfig {
    fn fallback(&self) -> Fallback {
        let keep = Keep { memory_bytes: self.memory.0, age_micros: self.age.micros() };
        Fallback { keep, after: duration(self.after) }
    }
}

/// The server's certificate, and the authority whose certificates its clients must have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, with those that lead to its authority: a PEM file.
    pub certificate: PathBuf,
    /// Its key: a PEM file.
    pub key: PathBuf,
    /// The authority of clients: a PEM file. Without it clients need no certificate.
    pub client_authority: Option<PathBuf>,
}

/// A token: what it allows, and where its secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// What its holder may do.
    pub role: RoleName,
    /// The environment variable that has it.
    pub env: Option<String>,
    /// The file that has it.
    pub file: Option<PathBuf>,
}

/// What the holder of a token may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Look features up, and ask what does not change the store.
    Read,
    /// Push events.
    Write,
    /// Change definitions and generations.
    Admin,
}

impl Default for ServeConfig {
    fn default() -> Self {
        let limits = Limits::default();
        let most = |count: usize| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        ServeConfig {
            listen: "127.0.0.1:7474".to_owned(),
            threads: None,
            insecure: false,
            tls: None,
            tokens: BTreeMap::new(),
            request_size: ByteSize(limits.request_bytes_max),
            rows: most(limits.rows_max),
            stream_rows: most(limits.stream_rows_max),
            request_time: interval(limits.request_time_max),
            requests_per_second: None,
            slow: interval(limits.slow.unwrap_or(limits.request_time_max)),
            breaker: BreakerConfig::default(),
            last_known_good: None,
            feature_log: None,
            drain: interval(Duration::from_secs(10)),
            linger: None,
        }
    }
}

fn interval(duration: Duration) -> Interval {
    Interval::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)).unwrap_or_default()
}

fn duration(interval: Interval) -> Duration {
    Duration::from_micros(u64::try_from(interval.micros()).unwrap_or_default())
}

impl ServeConfig {
    /// The address to listen on.
    ///
    /// # Errors
    /// Invalid where it is none.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        let wrong = || Error::invalid(format!("[serve] listen is `{}` · write an address and a port, such as 127.0.0.1:7474", self.listen));
        self.listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(wrong)
    }

    /// Whom to let in; files are named as seen from `dir`.
    ///
    /// # Errors
    /// Invalid where a token is not where it is said to be, or is empty.
    pub fn security(&self, dir: &Path) -> Result<Security, Error> {
        let tokens = self.tokens.iter().map(|(name, token)| token.read(name, dir)).collect::<Result<_, _>>()?;
        let tls = self.tls.as_ref();
        Ok(Security {
            identity: tls.map(|tls| (dir.join(&tls.certificate), dir.join(&tls.key))),
            client_authority: tls.and_then(|tls| tls.client_authority.as_ref()).map(|path| dir.join(path)),
            tokens,
            insecure: self.insecure,
        })
    }

    /// What a request may ask.
    pub fn limits(&self) -> Limits {
        Limits {
            request_bytes_max: self.request_size.0,
            rows_max: self.rows.get(),
            stream_rows_max: self.stream_rows.get(),
            request_time_max: duration(self.request_time),
            requests_per_second: self.requests_per_second.map(NonZeroU32::get),
            breaker: self.breaker.settings(),
            last_known_good: self.last_known_good.as_ref().map(LastKnownGoodConfig::fallback),
            slow: Some(duration(self.slow)),
            ..Limits::default()
        }
    }

    /// How long requests may take to end, and how long the server says before that it is not ready.
    pub fn ending(&self) -> [Duration; 2] {
        [duration(self.drain), self.linger.map(duration).unwrap_or_default()]
    }
}

impl TokenConfig {
    fn read(&self, name: &str, dir: &Path) -> Result<Token, Error> {
        let at = format!("[serve.tokens.{name}]");
        let place = match (&self.env, &self.file) {
            (Some(variable), None) => Place::Environment(variable.clone()),
            (None, Some(path)) => Place::File(path.clone()),
            _ => return Err(Error::invalid(format!("{at} says no place of its secret, or two · write env = \"NAME\" or file = \"PATH\""))),
        };
        let secret = place.read(&at, dir)?;
        // A short one can be guessed; how long a good one is, is the user's to know.
        if secret.trim().is_empty() {
            return Err(Error::invalid(format!("{at} is empty · write a secret there")));
        }
        let role = match self.role {
            RoleName::Read => Role::Read,
            RoleName::Write => Role::Write,
            RoleName::Admin => Role::Admin,
        };
        Ok(Token::new(name, role, secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<ServeConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn by_default_it_listens_to_this_machine_alone() {
        let config = config("").unwrap();
        assert_eq!(config, ServeConfig::default());
        assert!(config.address().unwrap().ip().is_loopback());
        assert!(ServeConfig { listen: "nowhere".to_owned(), ..config }.address().unwrap_err().to_string().contains("127.0.0.1:7474"));
    }

    #[test]
    fn fallbacks_are_off_until_they_are_said() {
        assert_eq!(config("").unwrap().limits().last_known_good, None);
        let fallback = config("[last_known_good]").unwrap().limits().last_known_good.unwrap();
        assert_eq!((fallback.keep.memory_bytes, fallback.keep.age_micros, fallback.after), (64 << 20, 600_000_000, Duration::from_millis(100)));
        let text = "[last_known_good]\nage = '1 minute'\n[breaker]\nfailures = 2\nstall = '250 milliseconds'";
        let limits = config(text).unwrap().limits();
        assert_eq!(limits.last_known_good.unwrap().keep.age_micros, 60_000_000);
        assert_eq!((limits.breaker.failures, limits.breaker.stall), (2, Duration::from_millis(250)));
        assert!(config("[breaker]\nfailures = 0").is_err());
    }

    #[test]
    fn a_share_lies_between_nothing_and_all() {
        assert_eq!(config("").unwrap().feature_log, None);
        let log = config("[feature_log]\nshare = 1\nroll = '1 second'\nsize = '1 MiB'").unwrap().feature_log.unwrap();
        assert_eq!((log.share, log.roll.micros(), log.size), (Share(1.0), 1_000_000, ByteSize(1 << 20)));
        assert!(config("[feature_log]\nshare = 1.5").unwrap_err().contains("is no share"));
        assert!(config("[feature_log]\nshare = nan").unwrap_err().contains("is no share"));
    }

    #[test]
    fn tokens_are_read_where_they_are_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
        let read = config("[tokens.dashboard]\nrole = 'read'\nfile = 'secret'").unwrap().security(dir.path()).unwrap();
        assert_eq!((read.tokens.len(), read.tokens[0].role), (1, Role::Read));
        assert!(!format!("{read:?}").contains("hunter2"));
        let wrong = |text: &str| config(text).unwrap().security(dir.path()).unwrap_err().to_string();
        assert!(wrong("[tokens.a]\nrole = 'admin'\nenv = 'LOCKSTEP_NO_SUCH_VARIABLE'").contains("LOCKSTEP_NO_SUCH_VARIABLE"));
        assert!(wrong("[tokens.a]\nrole = 'admin'").contains("no place"));
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        assert!(wrong("[tokens.a]\nrole = 'admin'\nfile = 'empty'").contains("is empty"));
        assert!(config("[tokens.a]\nrole = 'owner'\nenv = 'X'").unwrap_err().contains("unknown variant"));
    }
}
