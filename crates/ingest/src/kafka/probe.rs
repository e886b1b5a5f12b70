//! Whether a topic and its registry are there: looked at once, without reading anything.

use lockstep_model::Error;
use lockstep_transform::definition::{KafkaTopic, TopicFormat, Wire};

use super::Settings;
use super::client::Client;
use super::registry::{Failure, Registry};

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// How many partitions it has.
    pub partitions: usize,
    /// The id of the cluster.
    pub cluster: String,
}

/// Asks the brokers for a topic.
///
/// # Errors
/// NotFound where there is no such topic; Unavailable where no broker answers; Invalid where they do not let it be read.
pub fn probe(settings: &Settings, topic: &KafkaTopic) -> Result<Probed, Error> {
    let (identity, partitions) = Client::new(settings, &topic.name)?.describe()?;
    Ok(Probed { partitions: partitions.len(), cluster: identity.cluster })
}

/// Asks the registry that a topic's schemas are in whether it is there; gives its place. `None` where the topic needs none.
///
/// # Errors
/// Invalid where nothing says where it is, or it does not let its schemas be read; Unavailable where it does not answer.
pub fn probe_registry(settings: &Settings, topic: &KafkaTopic) -> Result<Option<String>, Error> {
    let TopicFormat::Avro(avro) = &topic.format else { return Ok(None) };
    if avro.wire != Wire::Confluent {
        return Ok(None);
    }
    let registry = Registry::new(avro.registry.as_deref(), settings.registry())?;
    registry.is_there().map_err(|failure| match failure {
        Failure::Away(why) => {
            Error::unavailable(format!("the schema registry at {} does not answer: {why} · look whether it runs", registry.place()))
        }
        Failure::Wrong(error) => error,
    })?;
    Ok(Some(registry.place().to_owned()))
}
