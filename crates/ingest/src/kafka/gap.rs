//! Going on with a log that is not the one that was read, or lacks records: because somebody has said so.

use std::collections::BTreeMap;

use lockstep_model::{Error, KafkaPosition, PartitionId, Position};

use super::client::Client;
use super::{Settings, partition_of};

/// A partition that is gone on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub partition: PartitionId,
    /// The offset it was read to.
    pub read_to: u64,
    /// The offset it is read on from.
    pub from: u64,
}

/// The positions of a source in a topic that does not hold them any more, as they are to be: at what there is.
///
/// # Errors
/// As opening the topic has.
pub(crate) fn accept(
    settings: &Settings,
    source: &str,
    topic: &str,
    positions: &BTreeMap<PartitionId, Position>,
) -> Result<Vec<(Gap, Position)>, Error> {
    let client = Client::new(settings, topic)?;
    let (identity, numbers) = client.describe_patiently()?;
    let mut accepted = Vec::new();
    for (id, position) in positions {
        let (Some((of, number)), Position::Kafka(position)) = (partition_of(&id.partition), position) else { continue };
        if id.source != source || of != topic {
            continue;
        }
        let (low, high) = if numbers.contains(&number) { client.bounds(number)? } else { (0, 0) };
        let same = position.cluster == identity.cluster && position.topic_id == identity.topic_id;
        let from = if same { position.offset.clamp(low, high) } else { low };
        let gap = Gap { partition: id.clone(), read_to: position.offset, from };
        let (cluster, topic_id) = (identity.cluster.clone(), identity.topic_id.clone());
        let position = KafkaPosition { cluster, topic_id, offset: from, last: None, gap: Some(from), ..position.clone() };
        accepted.push((gap, Position::Kafka(position)));
    }
    Ok(accepted)
}
