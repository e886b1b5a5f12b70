//! The schemas of a topic whose records are Avro: read from files when it is opened, and from a registry when records say them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockstep_model::Error;
use lockstep_transform::definition::{Avro, KafkaTopic, TopicFormat, Wire};

use super::Settings;
use super::registry::{Answer, Failure, Registry};
use super::topic::instant;
use crate::source::{self, Encoding, Schemas};

/// How often a registry is asked where nothing is followed, and the longest pause between.
const TRIES: u32 = 6;
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is said that a registry is waited for.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long an id is held to be unknown: a registry may come to know it.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the schemas of a topic come from.
pub(super) struct TopicSchemas {
    topic: String,
    known: Arc<Schemas>,
    registry: Option<Registry>,
    /// The ids that the registry did not know, and when they are asked for again.
    unknown: BTreeMap<u32, Instant>,
}

/// How the values of a topic's records are written, and where their schemas come from.
///
/// # Errors
/// Invalid where a schema's file is none, or nothing says where the registry is.
pub(super) fn open(topic: &KafkaTopic, settings: &Settings) -> Result<(Encoding, Option<TopicSchemas>), Error> {
    let avro = match &topic.format {
        TopicFormat::Json => return Ok((Encoding::Json, None)),
        TopicFormat::Avro(avro) => avro,
    };
    let Avro { wire, schemas, registry } = avro;
    let (wire, registry) = match wire {
        Wire::Confluent => (source::Wire::Confluent, Some(Registry::new(registry.as_deref(), settings.registry())?)),
        Wire::SingleObject => (source::Wire::SingleObject, None),
        Wire::Plain => (source::Wire::Plain, None),
    };
    let files = schemas.iter().map(|path| Ok((path.clone(), read(path, settings)?))).collect::<Result<Vec<_>, Error>>()?;
    let known = Schemas::new(wire, &files).map_err(|what| Error::invalid(format!("topic `{}`: {what} · correct it", topic.name)))?;
    let known = Arc::new(known);
    let schemas = TopicSchemas { topic: topic.name.clone(), known: Arc::clone(&known), registry, unknown: BTreeMap::new() };
    Ok((Encoding::Avro(known), Some(schemas)))
}

fn read(path: &str, settings: &Settings) -> Result<String, Error> {
    let place = settings.base().join(path);
    std::fs::read_to_string(&place).map_err(|error| {
        let advice = "put it there, or correct `schema` in the stream that names it";
        Error::not_found(format!("the schema {} cannot be read: {error} · {advice}", place.display()))
    })
}

impl TopicSchemas {
    /// Sees to it that it is known what the registry has under these ids. Where a topic is followed, a registry that is away is waited for until `stop`; whether all is known.
    ///
    /// # Errors
    /// Unavailable where it stays away and nothing is followed; Invalid where waiting helps nothing.
    pub(super) fn learn(&mut self, ids: impl Iterator<Item = u32>, follows: bool, stop: &AtomicBool) -> Result<bool, Error> {
        let Some(registry) = &self.registry else { return Ok(true) };
        for id in ids {
            if self.unknown.get(&id).is_some_and(|until| instant() >= *until) {
                self.unknown.remove(&id);
                self.known.forget(id);
            }
            if self.known.knows(id) {
                continue;
            }
            match ask(registry, &self.topic, id, follows, stop)? {
                None => return Ok(false),
                Some(Answer::Schema { text, references }) => self.known.put(id, &text, &references),
                Some(Answer::Nothing(reason)) => {
                    self.known.put_refused(id, &reason);
                    self.unknown.retain(|_, until| instant() < *until);
                    self.unknown.insert(id, instant() + UNKNOWN_FOR);
                }
            }
        }
        Ok(true)
    }
}

/// Asks a registry until it answers; `None` where it is to stop before.
fn ask(registry: &Registry, topic: &str, id: u32, follows: bool, stop: &AtomicBool) -> Result<Option<Answer>, Error> {
    let (mut tries, mut said_at) = (0, None);
    loop {
        let why = match registry.schema(id) {
            Ok(answer) => {
                if said_at.is_some() {
                    tracing::warn!("kafka: topic {topic}: the schema registry at {} answers again", registry.place());
                }
                return Ok(Some(answer));
            }
            Err(Failure::Wrong(error)) => return Err(error),
            Err(Failure::Away(why)) => why,
        };
        tries += 1;
        let place = registry.place();
        if !follows && tries == TRIES {
            let advice = "run the command again when it is there";
            return Err(Error::unavailable(format!(
                "topic `{topic}` cannot be read: the schema registry at {place} does not answer: {why} · {advice}"
            )));
        }
        if said_at.is_none_or(|at| instant().saturating_duration_since(at) >= SAY_EVERY) {
            said_at = Some(instant());
            tracing::warn!("kafka: topic {topic} waits for the schema registry at {place}, for schema {id}: {why}");
        }
        if !pause(PAUSE_MAX.min(Duration::from_millis(250) * 2u32.pow(tries.min(5) - 1)), stop) {
            return Ok(None);
        }
    }
}

/// Waits, but not when told to stop; whether it has waited.
fn pause(length: Duration, stop: &AtomicBool) -> bool {
    let until = instant() + length;
    while instant() < until {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        std::thread::sleep(LOOK_EVERY.min(length));
    }
    true
}
