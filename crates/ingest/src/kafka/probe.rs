//! Whether a topic and its registry are there: looked at once, without reading anything.

use std::collections::BTreeMap;

use lockstep_model::{Error, KafkaPosition, PartitionId};
use lockstep_transform::definition::{KafkaTopic, TopicFormat, Wire};

use super::client::Client;
use super::registry::{Failure, Registry};
use super::resume::{self, Now};
use super::{Settings, partition_of};

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

/// Looks whether the partitions of topics are still the logs that were read to these positions, so that they can be read on: by topic, how many positions were looked at.
pub fn probe_positions(settings: &Settings, positions: &[(PartitionId, KafkaPosition)]) -> BTreeMap<String, Result<usize, Error>> {
    let mut by_topic: BTreeMap<String, Vec<(&PartitionId, i32, &KafkaPosition)>> = BTreeMap::new();
    for (id, position) in positions {
        if let Some((topic, partition)) = partition_of(&id.partition) {
            by_topic.entry(topic.to_owned()).or_default().push((id, partition, position));
        }
    }
    let look = |topic: &str, positions: &[(&PartitionId, i32, &KafkaPosition)]| {
        let client = Client::new(settings, topic)?;
        let (identity, _) = client.describe()?;
        let mut bounds: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
        for (id, partition, position) in positions {
            let bounds = match bounds.get(partition) {
                Some(bounds) => *bounds,
                None => *bounds.entry(*partition).or_insert(client.bounds(*partition)?),
            };
            resume::start(position, &Now { source: &id.source, partition: &id.partition, identity: &identity, bounds })?;
        }
        Ok(positions.len())
    };
    by_topic.into_iter().map(|(topic, positions)| (topic.clone(), look(&topic, &positions))).collect()
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
