//! The schemas of a topic whose records are Avro: read from files when it is opened, and from a registry when records say them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_model::Error;
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::definition::{Avro, KafkaTopic, TopicFormat, Wire};

use super::Settings;
use super::registry::{Answer, Failure, Registry};
use super::topic::{instant, mapping};
use crate::pipeline::schema_of;
use crate::source::{self, Encoding, Schemas, SourceSchema};

/// How often a registry that is away is asked where nothing is followed, and the pauses between: some ten seconds.
const TRIES: u32 = 6;
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is said that a registry is waited for.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long an id is held to be unknown: a registry may come to know it.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// Where the schemas of a topic come from.
pub(super) struct TopicSchemas {
    topic: String,
    known: Arc<Schemas>,
    registry: Option<Registry>,
    /// The ids that the registry did not know, and when they are asked for again.
    unknown: BTreeMap<u32, Instant>,
    away: Option<Away>,
}

/// How a registry that does not answer is waited for.
struct Away {
    tries: u32,
    ask_at: Instant,
    say_at: Instant,
}

/// Whether the schemas in files that a source's topic names are there, and have its columns.
///
/// # Errors
/// NotFound where one is not there; Invalid where one is none, or has fields that are no values of their columns.
pub fn check_schemas(source: &SourcePlan, base: &Path) -> Result<(), Error> {
    match &source.options.topic {
        Some(topic @ KafkaTopic { format: TopicFormat::Avro(avro), .. }) => of_files(topic, avro, &schema_of(source), base).map(drop),
        _ => Ok(()),
    }
}

/// How the values of a topic's records are written, and where their schemas come from.
///
/// # Errors
/// As [`check_schemas`]; Invalid where nothing says where the registry is.
pub(super) fn open(topic: &KafkaTopic, source: &SourceSchema, settings: &Settings) -> Result<(Encoding, Option<TopicSchemas>), Error> {
    let avro = match &topic.format {
        TopicFormat::Json => return Ok((Encoding::Json, None)),
        TopicFormat::Avro(avro) => avro,
    };
    let registry = match avro.wire {
        Wire::Confluent => Some(Registry::new(avro.registry.as_deref(), settings.registry())?),
        Wire::SingleObject | Wire::Plain => None,
    };
    let known = of_files(topic, avro, source, settings.base())?;
    let known = Arc::new(known);
    let schemas = TopicSchemas { topic: topic.name.clone(), known: Arc::clone(&known), registry, unknown: BTreeMap::new(), away: None };
    Ok((Encoding::Avro(known), Some(schemas)))
}

/// The schemas in files that a topic names.
fn of_files(topic: &KafkaTopic, avro: &Avro, source: &SourceSchema, base: &Path) -> Result<Schemas, Error> {
    let wire = match avro.wire {
        Wire::Confluent => source::Wire::Confluent,
        Wire::SingleObject => source::Wire::SingleObject,
        Wire::Plain => source::Wire::Plain,
    };
    let files = avro.schemas.iter().map(|path| Ok((path.clone(), read(path, base)?))).collect::<Result<Vec<_>, Error>>()?;
    let wrong = |what: String| Error::invalid(format!("the schema {what} · correct it, or what source `{}` declares", source.name));
    let schemas = Schemas::new(wire, &files).map_err(wrong)?;
    schemas.check(source, &mapping(topic)).map_err(wrong)?;
    Ok(schemas)
}

fn read(path: &str, base: &Path) -> Result<String, Error> {
    // Without `./` before it, as all paths are shown.
    let place = if base == Path::new(".") { path.into() } else { base.join(path) };
    std::fs::read_to_string(&place).map_err(|error| {
        let advice = "put it there, or correct `schema` in the stream that names it";
        Error::not_found(format!("the schema {} cannot be read: {error} · {advice}", place.display()))
    })
}

impl TopicSchemas {
    /// Sees to it that it is known what the registry has under these ids; whether it is. A registry that is away is asked again by a later call: for as long as it takes where a
    /// topic is followed, else a number of times.
    ///
    /// # Errors
    /// Unavailable where it stays away and nothing is followed; Invalid where waiting helps nothing.
    pub(super) fn learn(&mut self, ids: impl Iterator<Item = u32>, follows: bool) -> Result<bool, Error> {
        for id in ids {
            if self.registry.is_some() && !self.knows(id) && !self.ask(id, follows)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the registry is away, and records wait for it.
    pub(super) fn waits(&self) -> bool {
        self.away.is_some()
    }

    /// Whether it is known what the registry has under an id; that it had nothing is forgotten after a while.
    fn knows(&mut self, id: u32) -> bool {
        if self.unknown.get(&id).is_some_and(|until| instant() >= *until) {
            self.unknown.remove(&id);
            self.known.forget(id);
        }
        self.known.knows(id)
    }

    /// Asks the registry, unless it was asked in vain just now; whether it has answered.
    fn ask(&mut self, id: u32, follows: bool) -> Result<bool, Error> {
        let Some(registry) = &self.registry else { return Ok(true) };
        if self.away.as_ref().is_some_and(|away| instant() < away.ask_at) {
            return Ok(false);
        }
        match registry.schema(id) {
            Ok(Answer::Schema { text, references }) => self.known.put(id, &text, &references),
            Ok(Answer::Nothing(reason)) => {
                self.known.put_refused(id, &reason);
                self.unknown.retain(|_, until| instant() < *until);
                self.unknown.insert(id, instant() + UNKNOWN_FOR);
            }
            Err(Failure::Wrong(error)) => return Err(error),
            Err(Failure::Away(why)) => return self.wait(id, &why, follows).map(|()| false),
        }
        if self.away.take().is_some() {
            tracing::warn!("kafka: topic {}: the schema registry answers again", self.topic);
        }
        Ok(true)
    }

    /// Remembers that the registry is away, and says so now and then.
    fn wait(&mut self, id: u32, why: &str, follows: bool) -> Result<(), Error> {
        let place = self.registry.as_ref().map_or("", Registry::place);
        let now = instant();
        let away = self.away.get_or_insert(Away { tries: 0, ask_at: now, say_at: now });
        away.tries += 1;
        if !follows && away.tries >= TRIES {
            let what = format!("topic `{}` cannot be read: the schema registry at {place} does not answer: {why}", self.topic);
            return Err(Error::unavailable(format!("{what} · run the command again when it is there")));
        }
        if now >= away.say_at {
            away.say_at = now + SAY_EVERY;
            tracing::warn!("kafka: topic {} waits for the schema registry at {place}, for schema {id}: {why}", self.topic);
        }
        away.ask_at = instant() + PAUSE_MAX.min(PAUSE_MIN * 2u32.pow(away.tries.min(8) - 1));
        Ok(())
    }
}
