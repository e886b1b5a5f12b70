//! The settings of Kafka: librdkafka's properties and those of a schema registry, with secrets kept elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use lockstep_ingest::kafka::Settings;
use lockstep_model::Error;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use toml::{Table, Value};

use crate::secret::Place;

/// librdkafka's properties and `registry.*`, by name.
#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "Table")]
pub struct KafkaConfig(BTreeMap<String, Property>);

#[derive(Clone, PartialEq)]
enum Property {
    Said(String),
    Elsewhere(Place),
}

impl fmt::Debug for KafkaConfig {
    /// Names only: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl KafkaConfig {
    /// The properties with their values; files are named as seen from `dir`.
    ///
    /// # Errors
    /// Invalid where a value is not where it is said to be; as [`Settings::new`].
    pub fn settings(&self, dir: &Path) -> Result<Settings, Error> {
        let value = |(name, property): (&String, &Property)| Ok((name.clone(), property.value(name, dir)?));
        Settings::new(self.0.iter().map(value).collect::<Result<_, Error>>()?, dir)
    }
}

impl Property {
    fn value(&self, name: &str, dir: &Path) -> Result<String, Error> {
        match self {
            Property::Said(value) => Ok(value.clone()),
            Property::Elsewhere(place) => place.read(&format!("[kafka] `{name}`"), dir),
        }
    }
}

impl TryFrom<Table> for KafkaConfig {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, Self::Error> {
        let mut properties = BTreeMap::new();
        flatten("", table, &mut properties)?;
        Ok(KafkaConfig(properties))
    }
}

/// TOML reads `bootstrap.servers = …` as a table in a table.
fn flatten(prefix: &str, table: Table, properties: &mut BTreeMap<String, Property>) -> Result<(), String> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let property = match value {
            Value::String(text) => Property::Said(text),
            Value::Integer(number) => Property::Said(number.to_string()),
            Value::Boolean(value) => Property::Said(value.to_string()),
            Value::Table(table) => match elsewhere(&table) {
                Some(property) => property,
                None => {
                    flatten(&name, table, properties)?;
                    continue;
                }
            },
            _ => return Err(format!("property `{name}` is neither text, number nor truth value: write it as librdkafka takes it")),
        };
        if properties.insert(name.clone(), property).is_some() {
            return Err(format!("property `{name}` is there twice"));
        }
    }
    Ok(())
}

/// Where a value is kept instead.
fn elsewhere(table: &Table) -> Option<Property> {
    let mut entries = table.iter();
    match (entries.next()?, entries.next()) {
        ((key, Value::String(place)), None) if key == "env" => Some(Property::Elsewhere(Place::Environment(place.clone()))),
        ((key, Value::String(place)), None) if key == "file" => Some(Property::Elsewhere(Place::File(place.into()))),
        _ => None,
    }
}

impl JsonSchema for KafkaConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Kafka".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "librdkafka's properties, and `registry.*` of a schema registry; a value may be kept in the environment or in a file",
            "additionalProperties": {"type": ["string", "integer", "boolean", "object"]},
            "examples": [{"bootstrap.servers": "localhost:9092", "sasl.password": {"env": "KAFKA_PASSWORD"}}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<KafkaConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn properties_are_written_as_librdkafka_names_them() {
        let dotted = config("bootstrap.servers = 'h:1'\nqueued.max.messages.kbytes = 1\nsocket.keepalive.enable = true").unwrap();
        let quoted = config("'bootstrap.servers' = 'h:1'\n'queued.max.messages.kbytes' = 1\n[socket.keepalive]\nenable = true").unwrap();
        assert_eq!(dotted, quoted);
        assert_eq!(dotted.0.keys().collect::<Vec<_>>(), ["bootstrap.servers", "queued.max.messages.kbytes", "socket.keepalive.enable"]);
        assert!(dotted.settings(Path::new(".")).is_ok());
        assert!(config("a.b = 1\n'a.b' = 2").unwrap_err().contains("twice"));
        assert!(config("a = [1]").unwrap_err().contains("neither text"));
    }

    #[test]
    fn secrets_are_read_where_they_are_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
        let brokers = "bootstrap.servers = 'h:1'\n";
        let in_file = config(&format!("{brokers}sasl.password = {{ file = 'secret' }}")).unwrap();
        let shown = format!("{in_file:?} {:?}", in_file.settings(dir.path()).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        let said = config(&format!("{brokers}sasl.password = 'hunter2'")).unwrap();
        assert_eq!(in_file.settings(dir.path()).unwrap(), said.settings(dir.path()).unwrap());
        let unset = config("sasl.password = { env = 'LOCKSTEP_NO_SUCH_VARIABLE' }").unwrap().settings(dir.path()).unwrap_err();
        assert!(unset.to_string().contains("LOCKSTEP_NO_SUCH_VARIABLE"), "{unset}");
    }
}
