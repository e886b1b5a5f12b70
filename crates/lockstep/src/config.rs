//! The settings of a project: `lockstep.toml`.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lockstep_store::{StoreOptions, SyncPolicy};
use lockstep_transform::definition::{Diagnostic, Interval, SourceFile, Span, suggestion};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::kafka::KafkaConfig;
use crate::predictions::PredictionsConfig;
use crate::release::ReleasesConfig;
use crate::serving::ServeConfig;
use crate::watching::WatchConfig;

/// Name of the file of settings: a directory that has one is a project.
pub const FILE: &str = "lockstep.toml";

/// The settings of a project. Every one has a default, so that an empty file will do.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the definitions and their tests are: a directory of `*.sql` and `*.test` files, searched with those below it.
    pub definitions: PathBuf,
    /// Where the online state is kept: a directory of its own.
    pub store: PathBuf,
    /// Threads that backfill and read history; as many as there are cores by default.
    pub threads: Option<NonZeroUsize>,
    /// Most rows that one commit applies.
    pub batch_rows: NonZeroUsize,
    /// When commits are forced to the disk: `always`, `on close`, or an interval such as `1 second`.
    pub sync: Sync,
    /// Bounds on memory.
    pub memory: Memory,
    /// Where the brokers of Kafka topics are and how to speak to them: librdkafka's properties; and where their schema registry is: `registry.url`, with `registry.user` and
    /// `registry.password`, or `registry.token`, and `registry.ca`. What is secret is better said as `{ env = "NAME" }` or `{ file = "PATH" }`, which are read when it is needed.
    pub kafka: KafkaConfig,
    /// Where `lockstep serve` listens, whom it lets in, and what a request may ask.
    pub serve: ServeConfig,
    /// What is pushed, and kept in the store's directory.
    pub push: PushConfig,
    /// How releases come to serve, and what takes them back.
    pub releases: ReleasesConfig,
    /// Which snapshots are kept.
    pub snapshots: SnapshotsConfig,
    /// When what is measured is told as a signal.
    pub watch: WatchConfig,
    /// How runs of predictions come to serve.
    pub predictions: PredictionsConfig,
}

/// What is pushed.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushConfig {
    /// How long what was pushed is kept once every published view has applied it, such as `30 days`; for ever by default. A view that is made later, and `verify`, read what is
    /// left.
    #[schemars(with = "Option<String>")]
    pub retention: Option<Interval>,
}

/// Which snapshots are kept.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotsConfig {
    /// How many of the last snapshots are kept; older ones go when one is made, but for those that were made with `--keep`, and those that the release that serves or the one before
    /// was validated on.
    pub keep_last: usize,
}

impl Default for SnapshotsConfig {
    fn default() -> Self {
        SnapshotsConfig { keep_last: 5 }
    }
}

/// Bounds on memory.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Of the store: its blocks, filters, indexes and what is not on the disk yet.
    pub cache: ByteSize,
    /// Of what is written before it goes to the disk; part of `cache`.
    pub write_buffer: ByteSize,
    /// Of the history that a backfill sorts at once; a larger one is loaded step by step, which takes longer.
    pub backfill: ByteSize,
    /// Of the histories that a training set is made from; a half of it is for what is remembered of their primary keys while they are read.
    pub train: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            definitions: "feature_defs".into(),
            store: ".lockstep/store".into(),
            threads: None,
            batch_rows: NonZeroUsize::MIN.saturating_add(8191),
            sync: Sync(SyncPolicy::Interval(Duration::from_secs(1))),
            memory: Memory::default(),
            kafka: KafkaConfig::default(),
            serve: ServeConfig::default(),
            push: PushConfig::default(),
            releases: ReleasesConfig::default(),
            snapshots: SnapshotsConfig::default(),
            watch: WatchConfig::default(),
            predictions: PredictionsConfig::default(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory { cache: ByteSize(256 << 20), write_buffer: ByteSize(64 << 20), backfill: ByteSize(1 << 30), train: ByteSize(8 << 30) }
    }
}

impl Config {
    /// Reads the settings in `text`, the file that messages call `name`.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn parse(name: &str, text: &str) -> Result<Config, Diagnostic> {
        toml::from_str(text).map_err(|error| diagnostic(SourceFile::new(name, text), &error))
    }

    /// How many threads to use.
    pub fn threads(&self) -> usize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }

    /// How `verb` opens the store.
    pub fn store_options(&self, verb: &str) -> StoreOptions {
        StoreOptions {
            block_cache_bytes: self.memory.cache.0,
            write_buffer_bytes: self.memory.write_buffer.0,
            sync: self.sync.0,
            ..StoreOptions::new(verb)
        }
    }
}

fn diagnostic(file: SourceFile, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let span = Span { start: span.start, end: span.end };
    let message = error.message();
    match unknown_setting(message) {
        None => Diagnostic::new(&Arc::new(file), span, message),
        Some((name, known)) => {
            let help = suggestion(&name, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let diagnostic = Diagnostic::new(&Arc::new(file), span, format!("unknown setting `{name}`"));
            diagnostic.note(format!("settings: {}", known.join(", "))).help_opt(help)
        }
    }
}

/// The unknown name and the known ones of serde's message.
fn unknown_setting(message: &str) -> Option<(String, Vec<String>)> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((names.next()?, names.collect()))
}

/// A number of bytes, written as `256 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteSize(pub usize);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a size: write a number of KiB, MiB or GiB, such as 256 MiB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim() {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wrong()),
        };
        let number: usize = number.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).map(ByteSize).ok_or_else(wrong)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$"})
    }
}

/// When commits are forced to the disk.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sync(pub SyncPolicy);

impl fmt::Debug for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Sync {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "always" => Ok(Sync(SyncPolicy::Always)),
            "on close" => Ok(Sync(SyncPolicy::OnClose)),
            interval => match interval.parse::<Interval>().ok().and_then(|interval| u64::try_from(interval.micros()).ok()) {
                Some(micros) => Ok(Sync(SyncPolicy::Interval(Duration::from_micros(micros)))),
                None => Err(format!("`{text}` says no time: write always, on close, or an interval such as 1 second")),
            },
        }
    }
}

impl JsonSchema for Sync {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sync".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["always", "on close", "1 second"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(Config::parse(FILE, ""), Ok(Config::default()));
    }

    #[test]
    fn settings_are_read() {
        let text = "store = '/var/lib/lockstep'\nsync = 'always'\nthreads = 2\n[memory]\ncache = '1 GiB'\n";
        let config = Config::parse(FILE, text).unwrap();
        assert_eq!((config.store, config.threads.map(NonZeroUsize::get)), ("/var/lib/lockstep".into(), Some(2)));
        assert_eq!((config.sync, config.memory.cache, config.memory.backfill), (Sync(SyncPolicy::Always), ByteSize(1 << 30), ByteSize(1 << 30)));
    }

    #[test]
    fn wrong_settings_say_what_to_write() {
        let error = Config::parse(FILE, "batch_rows = 10\nstor = 'x'\n").unwrap_err();
        assert_eq!(error.to_string(), "lockstep.toml:2:1: unknown setting `stor`");
        assert_eq!(error.help.as_deref(), Some("did you mean `store`?"));
        let error = Config::parse(FILE, "[memory]\ncache = '12 MB'\n").unwrap_err();
        assert_eq!(error.to_string(), "lockstep.toml:2:9: `12 MB` is not a size: write a number of KiB, MiB or GiB, such as 256 MiB");
        assert!(Config::parse(FILE, "batch_rows = 0").is_err());
        assert!(Config::parse(FILE, "sync = 'soon'").unwrap_err().title.contains("1 second"));
    }
}
