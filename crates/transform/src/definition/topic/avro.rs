//! How the records of a topic are Avro: what stands before each, and where its schema is.

use super::Refused;

/// How the records of a topic are Avro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avro {
    /// What stands before each record.
    pub wire: Wire,
    /// Files of schemas, as seen from the project. The first says by what other names fields are known, and what stands for fields that are missing.
    pub schemas: Vec<String>,
    /// Where the schema registry is, where the settings do not say it.
    pub registry: Option<String>,
}

/// What stands before an Avro record, which says by what schema it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A zero byte and four bytes of a schema's id in a registry.
    Confluent,
    /// The bytes C3 01 and eight bytes of the schema's fingerprint: Avro's single-object encoding.
    SingleObject,
    /// Nothing: there is one schema.
    Plain,
}

/// What the parameters of a topic say.
#[derive(Default)]
pub(super) struct Written<'a> {
    pub(super) wire: Option<&'a str>,
    pub(super) schema: Option<&'a str>,
    pub(super) registry: Option<&'a str>,
}

impl Written<'_> {
    /// That nothing is said which only Avro has.
    pub(super) fn unused(&self) -> Result<(), Refused> {
        let said = [("wire", self.wire), ("schema", self.schema), ("registry", self.registry)];
        match said.into_iter().find(|(_, said)| said.is_some()) {
            Some((name, _)) => Err((format!("parameter `{name}` goes with format=avro"), "write format=avro, or leave it out".to_owned())),
            None => Ok(()),
        }
    }

    pub(super) fn check(self) -> Result<Avro, Refused> {
        let schemas: Vec<String> = self.schema.into_iter().flat_map(|paths| paths.split(',')).map(str::to_owned).collect();
        if schemas.iter().any(String::is_empty) {
            return Err(("a schema's file has no name".to_owned(), "write schema=PATH, as seen from the project".to_owned()));
        }
        let wire = match self.wire {
            Some("confluent") => Wire::Confluent,
            Some("single-object") => Wire::SingleObject,
            Some("plain") => Wire::Plain,
            // A schema alone is what the fingerprints of single-object encoding are of; what begins otherwise is told, and never decoded into something else.
            None if self.registry.is_none() && !schemas.is_empty() => Wire::SingleObject,
            None => Wire::Confluent,
            Some(other) => {
                let help = "write wire=confluent, wire=single-object or wire=plain";
                return Err((format!("no record of Avro is written as `{other}`"), help.to_owned()));
            }
        };
        let avro = Avro { wire, schemas, registry: self.registry.map(registry).transpose()? };
        avro.fits().map(|()| avro)
    }
}

impl Avro {
    /// Whether the schemas are where its wire has them.
    fn fits(&self) -> Result<(), Refused> {
        let refused = |title: &str, help: &str| Err((title.to_owned(), help.to_owned()));
        match (self.wire, self.schemas.len(), &self.registry) {
            (Wire::Confluent, 2.., _) => {
                refused("the rows of a topic are read by one schema, and their own are in the registry", "name one schema, or none")
            }
            (Wire::SingleObject | Wire::Plain, _, Some(_)) => {
                refused("a registry knows schemas by ids, which only wire=confluent has", "write wire=confluent, or leave `registry` out")
            }
            (Wire::SingleObject, 0, _) => {
                refused("records are told by the fingerprints of their schemas, and none is named", "write schema=PATH, several with commas between")
            }
            (Wire::Plain, count, _) if count != 1 => refused("records that do not say their schema are all of one", "name one: schema=PATH"),
            _ => Ok(()),
        }
    }
}

/// Checks where a registry is said to be.
fn registry(url: &str) -> Result<String, Refused> {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let place = host.map(|rest| rest.split('/').next().unwrap_or_default());
    match place {
        Some(place) if place.contains('@') => {
            let help = "write registry.user and registry.password in [kafka] of lockstep.toml, each as { env = \"NAME\" } or { file = \"PATH\" }";
            Err(("a definition is no place for the password of a registry".to_owned(), help.to_owned()))
        }
        Some(place) if !place.is_empty() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err((format!("`{url}` is no address of a schema registry"), "write registry=http://HOST:PORT, or https".to_owned())),
    }
}
