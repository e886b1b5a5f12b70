//! The schemas of a topic's records, and how a record says which is its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_avro::schema::{AvroSchema, CONFLUENT_MAGIC, Fingerprint, FingerprintAlgorithm, SINGLE_OBJECT_MAGIC};

use super::super::record::Mapping;
use super::super::route::Router;
use super::super::{SourceSchema, nullable};
use super::schema::Schema;
use super::writer::{Target, Writer};

/// Most ids of a registry whose schema is remembered to be unknown or unfit: records may say any.
const REFUSED_MAX: usize = 4096;

/// What stands before each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A zero byte and the schema's id in a registry, four bytes, the highest first.
    Confluent,
    /// `C3 01` and the fingerprint of the schema, CRC-64-AVRO, eight bytes, the lowest first.
    SingleObject,
    /// Nothing: all records are of one schema.
    Plain,
}

/// The schemas that records of a topic are written with, shared by its partitions.
#[derive(Debug)]
pub struct Schemas {
    wire: Wire,
    /// By what names fields are also known, and what stands for fields that are missing.
    reader: Option<Schema>,
    /// Those in files, by their names.
    files: Vec<(String, Arc<Schema>)>,
    known: Mutex<HashMap<u64, Known>>,
}

type Known = Result<Arc<Schema>, Arc<str>>;

impl Schemas {
    /// The schemas in files: each a name for messages and its text. With [`Wire::Confluent`], one at most, by which rows are read; else those that records are written with,
    /// the first of which rows are also read by.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(wire: Wire, files: &[(String, String)]) -> Result<Schemas, String> {
        let mut known = HashMap::new();
        let mut parsed = Vec::with_capacity(files.len());
        let mut reader = None;
        for (name, text) in files {
            let wrong = |what: String| format!("{name} {what}");
            let schema = Schema::parse(text, &[]).map_err(wrong)?;
            if schema.fields().is_none() {
                return Err(wrong("is the schema of no record".to_owned()));
            }
            let key = match wire {
                Wire::Confluent => None,
                Wire::SingleObject => Some(fingerprint(text).map_err(wrong)?),
                Wire::Plain => Some(0),
            };
            reader.get_or_insert_with(|| schema.clone());
            let schema = Arc::new(schema);
            known.extend(key.map(|key| (key, Ok(Arc::clone(&schema)))));
            parsed.push((name.clone(), schema));
        }
        Ok(Schemas { wire, reader, files: parsed, known: Mutex::new(known) })
    }

    /// Whether records of the schemas in files are rows of a source.
    ///
    /// # Errors
    /// Which are not, and why.
    pub fn check(&self, source: &SourceSchema, mapping: &Mapping) -> Result<(), String> {
        let (columns, router) = (nullable(&source.columns), Router::of(vec![source.name.clone()], vec![source.name.clone()]));
        let target = Target { source, columns: &columns, router: &router, mapping };
        let check = |(name, schema): &(String, Arc<Schema>)| match Writer::new(Arc::clone(schema), self.reader(), &target) {
            Ok(_) => Ok(()),
            Err(what) => Err(format!("{name} {what}")),
        };
        self.files.iter().try_for_each(check)
    }

    /// Whether it is known what a registry has under an id.
    pub fn knows(&self, id: u32) -> bool {
        self.lock().contains_key(&u64::from(id))
    }

    /// Remembers the schema that a registry has under an id; `references` are those that it uses, each after those that it uses itself.
    pub fn put(&self, id: u32, text: &str, references: &[String]) {
        let parsed = Schema::parse(text, references);
        let known = parsed.map(Arc::new).map_err(|what| Arc::from(format!("schema {id} {what}")));
        self.lock().insert(u64::from(id), known);
    }

    /// Remembers why there is no schema under an id that can be used, until it is [forgotten](Self::forget).
    pub fn put_refused(&self, id: u32, reason: &str) {
        let mut known = self.lock();
        if known.values().filter(|known| known.is_err()).count() >= REFUSED_MAX {
            known.retain(|_, known| known.is_ok());
        }
        known.insert(u64::from(id), Err(Arc::from(format!("schema {id} {reason}"))));
    }

    /// Forgets what is known of an id.
    pub fn forget(&self, id: u32) {
        self.lock().remove(&u64::from(id));
    }

    /// What a record, or a key, says its schema is, and what is behind that.
    ///
    /// # Errors
    /// How it should begin.
    pub(super) fn split<'a>(&self, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), String> {
        let begins = |what: &str| {
            let shown: Vec<String> = bytes.iter().take(2).map(|byte| format!("{byte:02X}")).collect();
            let shown = if shown.is_empty() { "is empty".to_owned() } else { format!("begins with {}", shown.join(" ")) };
            format!("it {shown} and not with {what}")
        };
        match self.wire {
            Wire::Confluent => {
                let rest = bytes.strip_prefix(&CONFLUENT_MAGIC).and_then(|rest| rest.split_first_chunk());
                let (id, body) = rest.ok_or_else(|| begins("00 and the four bytes of a schema's id"))?;
                Ok((u64::from(u32::from_be_bytes(*id)), body))
            }
            Wire::SingleObject => {
                let rest = bytes.strip_prefix(&SINGLE_OBJECT_MAGIC).and_then(|rest| rest.split_first_chunk());
                let (fingerprint, body) = rest.ok_or_else(|| begins("C3 01 and the eight bytes of a schema's fingerprint"))?;
                Ok((u64::from_le_bytes(*fingerprint), body))
            }
            Wire::Plain => Ok((0, bytes)),
        }
    }

    /// Whether a key is Avro: it begins as a record does. Text begins otherwise.
    pub(super) fn is_avro_key(&self, key: &[u8]) -> bool {
        match self.wire {
            Wire::Confluent => key.starts_with(&CONFLUENT_MAGIC),
            Wire::SingleObject => key.starts_with(&SINGLE_OBJECT_MAGIC),
            Wire::Plain => false,
        }
    }

    /// The id in a registry that a record says, where it says one.
    pub(super) fn id_of(&self, bytes: &[u8]) -> Option<u32> {
        if self.wire != Wire::Confluent {
            return None;
        }
        self.split(bytes).ok().and_then(|(id, _)| u32::try_from(id).ok())
    }

    /// The schema that records say by `key`.
    pub(super) fn get(&self, key: u64) -> Known {
        self.lock().get(&key).cloned().unwrap_or_else(|| {
            Err(Arc::from(match self.wire {
                Wire::SingleObject => format!("no schema that the stream names has the fingerprint {key:016x}, which it says"),
                Wire::Confluent | Wire::Plain => format!("schema {key} is not known"),
            }))
        })
    }

    pub(super) fn reader(&self) -> Option<&Schema> {
        self.reader.as_ref()
    }

    /// How messages call the schema that records say by `key`.
    pub(super) fn name(&self, key: u64) -> String {
        match self.wire {
            Wire::Confluent => format!("schema {key}"),
            Wire::SingleObject => format!("the schema of fingerprint {key:016x}"),
            Wire::Plain => "the schema".to_owned(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fingerprint of a schema: CRC-64-AVRO of its canonical form.
fn fingerprint(text: &str) -> Result<u64, String> {
    // arrow-avro reads names that borrow from the text, so that it is written plainly first.
    let plain: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    match AvroSchema::new(plain.to_string()).fingerprint(FingerprintAlgorithm::Rabin) {
        Ok(Fingerprint::Rabin(fingerprint)) => Ok(fingerprint),
        Ok(other) => Err(format!("has a fingerprint of another kind: {other:?}")),
        Err(error) => Err(format!("has no canonical form: {error}")),
    }
}
