//! How to speak to the brokers: librdkafka's properties, checked, and never shown where they may be secret.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_model::Error;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::registry::Access;
use crate::source::RECORD_BYTES_MAX;

/// What is not for users to say, and why.
const OURS: [(&str, &str); 6] = [
    ("enable.auto.commit", "positions are in the store; what the group has committed follows them"),
    ("enable.auto.offset.store", "positions are in the store; what the group has committed follows them"),
    ("auto.offset.reset", "a log that is not where it was read to is told, never skipped"),
    ("enable.partition.eof", "the end of a partition is how its lag is known"),
    ("isolation.level", "records of transactions that were aborted never count"),
    ("group.instance.id", "the ingester joins no group"),
];

/// What holds unless a project says otherwise.
const DEFAULTS: [(&str, &str); 6] = [
    ("group.id", "lockstep"),
    ("client.id", "lockstep"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    ("fetch.queue.backoff.ms", "10"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// librdkafka's properties, and those of a schema registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings {
    properties: BTreeMap<String, String>,
    registry: Access,
    /// Where paths start.
    base: PathBuf,
}

impl fmt::Debug for Settings {
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.properties.keys()).finish()
    }
}

impl Settings {
    /// Checks properties, without speaking to a broker. Those of a schema registry are `registry.url`, `.user`, `.password`, `.token` and `.ca`; paths start at
    /// `base`.
    ///
    /// # Errors
    /// Invalid where one is unknown, cannot have its value, or is not for users to say; where the brokers are not named.
    pub fn new(mut properties: BTreeMap<String, String>, base: &Path) -> Result<Settings, Error> {
        let registry = registry_of(&mut properties, base)?;
        if let Some((name, reason)) = OURS.iter().find(|(name, _)| properties.contains_key(*name)) {
            return Err(Error::invalid(format!("`{name}` is not a setting of [kafka] · {reason} · leave it out")));
        }
        if !["bootstrap.servers", "metadata.broker.list"].iter().any(|name| properties.contains_key(*name)) {
            return Err(Error::invalid("[kafka] does not say where the brokers are · write bootstrap.servers = \"host:9092\" there"));
        }
        let settings = Settings { properties, registry, base: base.to_owned() };
        settings.client().create_native_config().map(drop).map_err(|error| settings.refused(&error))?;
        Ok(settings)
    }

    /// Where the brokers are, for messages.
    pub(crate) fn brokers(&self) -> &str {
        let named = |name: &str| self.properties.get(name).map(String::as_str);
        named("bootstrap.servers").or_else(|| named("metadata.broker.list")).unwrap_or_default()
    }

    /// Where a schema registry is, and who asks it.
    pub(super) fn registry(&self) -> &Access {
        &self.registry
    }

    /// Where paths start.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// How often to look for partitions that were added.
    pub(super) fn look_every_ms(&self) -> u64 {
        let said = self.properties.get("topic.metadata.refresh.interval.ms").and_then(|text| text.parse().ok());
        said.filter(|interval| *interval > 0).unwrap_or(30_000)
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS.into_iter().chain(self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
            config.set(name, value);
        }
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false").set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
        config
    }

    /// The properties of a producer that waits so long for a record to be taken; those of consumers are passed over by librdkafka.
    pub(crate) fn producer(&self, patience: Duration) -> ClientConfig {
        let mut config = ClientConfig::new();
        let consumers = ["group.id", "queued.max.messages.kbytes", "fetch."];
        for (name, value) in self.properties.iter().filter(|(name, _)| !consumers.iter().any(|start| name.starts_with(start))) {
            config.set(name, value);
        }
        // As large as a row may be, unless the settings say otherwise; repeats are kept out as far as one producer's life goes.
        if !self.properties.contains_key("message.max.bytes") {
            config.set("message.max.bytes", (RECORD_BYTES_MAX + (1 << 20)).to_string());
        }
        config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", patience.as_millis().to_string());
        config
    }

    /// What librdkafka has against the properties. Its own text may quote a value, so that it is shown of those alone that are no secrets.
    pub(crate) fn refused(&self, error: &KafkaError) -> Error {
        match error {
            KafkaError::ClientConfig(_, text, name, _) if !is_secret(name) => Error::invalid(format!("[kafka] `{name}`: {text}")),
            KafkaError::ClientConfig(_, _, name, _) => Error::invalid(format!("[kafka] `{name}` cannot have the value it has")),
            KafkaError::ClientCreation(text) => Error::invalid(format!("[kafka] does not fit together · {text}")),
            other => Error::invalid(format!("[kafka] cannot be used · {other}")),
        }
    }
}

/// Takes the properties of a schema registry out of those that librdkafka is given.
fn registry_of(properties: &mut BTreeMap<String, String>, base: &Path) -> Result<Access, Error> {
    let mut access = Access::default();
    let ours = |name: &str| name == "registry" || name.starts_with("registry.");
    for (name, value) in properties.extract_if(.., |name, _| ours(name)) {
        if !access.set(&name, &value) {
            let known = "registry.url, registry.user, registry.password, registry.token, registry.ca";
            return Err(Error::invalid(format!("`{name}` is not a setting of [kafka] · of a schema registry there are: {known} · leave it out")));
        }
    }
    access.ca = access.ca.map(|path| base.join(path));
    Ok(access)
}

fn is_secret(name: &str) -> bool {
    ["password", "secret", "token", "pem", "sasl", "oauth", "key"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::new(properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), Path::new("."))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn properties_are_checked_and_never_shown() {
        let brokers = ("bootstrap.servers", "127.0.0.1:1");
        let settings = |more: (&str, &str)| settings(&[brokers, more]);
        let shown = format!("{:?}", settings(("sasl.password", "hunter2")).unwrap());
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
        let errors = [
            settings(("auto.offset.reset", "latest")).unwrap_err(),
            settings(("no.such", "x")).unwrap_err(),
            settings(("sasl.kerberos.min.time.before.relogin", "hunter2")).unwrap_err(),
        ];
        assert_eq!(
            errors[0],
            "`auto.offset.reset` is not a setting of [kafka] · a log that is not where it was read to is told, never skipped · leave it out"
        );
        assert!(errors[1].starts_with("[kafka] `no.such`: "), "{}", errors[1]);
        assert!(!errors[2].contains("hunter2"), "{}", errors[2]);
    }

    #[test]
    fn a_registry_is_no_concern_of_librdkafka() {
        let properties = [("bootstrap.servers", "127.0.0.1:1"), ("registry.url", "http://r:1"), ("registry.password", "hunter2")];
        let known = settings(&properties).unwrap();
        assert_eq!(known.registry().url.as_deref(), Some("http://r:1"));
        assert!(!format!("{known:?}").contains("hunter2"));
        assert!(settings(&[("registry.pasword", "hunter2")]).unwrap_err().starts_with("`registry.pasword` is not a setting of [kafka]"));
    }

    #[test]
    fn the_brokers_must_be_named() {
        assert!(settings(&[]).unwrap_err().contains("bootstrap.servers"));
    }
}
