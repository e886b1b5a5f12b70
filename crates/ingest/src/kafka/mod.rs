//! Kafka topics as logs: each source with a stream `kafka://TOPIC` is read by a consumer of its own, from the positions in the store.
//!
//! - *Assignment.* A store has one ingester, which takes all partitions of a topic, those that are added later included, or those that are declared. There is no group to join: the group's
//!   committed offsets are written for dashboards and never read.
//! - *Positions.* A row is numbered by its offset, and a position says the cluster, the topic by its id, the next offset, and the last record by its time and
//!   hash. [`resume`] decides whether a log is still the one a position was taken in; the last record is read again to be sure. Nothing ever goes on
//!   from somewhere else by itself: `auto.offset.reset` is `error`.
//! - *Offsets have gaps*: of aborted transactions, of their markers, of compaction. Only committed records are read.
//! - *Partitions are read independently.* What a record comes to follows from its own partition, except where the same primary key stands in two with
//!   other content: then the one that was applied first stands. Producers that key by what the primary key belongs to have no such rows.
//! - *Bounds.* A chunk has at most as many rows as a commit, and [`CHUNK_BYTES`](topic) of values; two chunks are read ahead; librdkafka itself
//!   holds `queued.max.messages.kbytes` of a topic, 16 MiB unless set otherwise.
//! - *A broker that is away* is waited for while a topic is followed, and so is a schema registry. What cannot come right by waiting stops the source it concerns and no
//!   other.

mod client;
mod gap;
mod native;
mod partition;
mod probe;
mod registry;
mod resume;
mod schemas;
mod settings;
mod topic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_model::{Error, KafkaPosition, PartitionId, Position};
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::definition::KafkaTopic;

use crate::pipeline::{Applied, Input, Log, StreamOptions, schema_of};
pub use gap::Gap;
pub(crate) use gap::accept;
pub use probe::{Probed, probe, probe_positions, probe_registry};
pub use schemas::check_schemas;
pub use settings::Settings;
pub(crate) use topic::{End, Request, TopicLog};

/// How topics are read.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// Where the brokers are, and how to speak to them.
    pub settings: Arc<Settings>,
    /// Whether to end where the topics end when it begins.
    pub until_end: bool,
    /// A topic that is read instead of the sources' own: dead letters, mended or to be tried again.
    pub instead: Option<String>,
    /// Whether the group is told what was applied. Of several that read a topic at once, one is to tell.
    pub tells: bool,
}

const SCHEME: &str = "kafka://";

/// The name of a partition of a topic.
pub(crate) fn partition_name(topic: &str, partition: i32) -> String {
    format!("{SCHEME}{topic}/{partition}")
}

/// The topic and the number that a partition's name says.
pub(crate) fn partition_of(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.strip_prefix(SCHEME)?.rsplit_once('/')?;
    Some((topic, number.parse().ok()?))
}

/// Those of `sources` that have a topic, with it.
///
/// # Errors
/// Invalid where one of `asked` has none, or none of all has.
pub(crate) fn sources(kafka: &Kafka, sources: Vec<Arc<SourcePlan>>, asked: &[String]) -> Result<Vec<(Arc<SourcePlan>, KafkaTopic)>, Error> {
    if let Some(topic) = &kafka.instead {
        return sources.into_iter().map(|source| Ok((Arc::clone(&source), instead(topic, &source)?))).collect();
    }
    if let Some(other) = sources.iter().find(|source| source.options.topic.is_none() && asked.contains(&source.name)) {
        let advice = "name its log by --from, or declare stream = 'kafka://TOPIC?format=json'";
        return Err(Error::invalid(format!("source `{}` has no Kafka topic · {advice}", other.name)));
    }
    let found: Vec<_> = sources.into_iter().filter_map(|source| source.options.topic.clone().map(|topic| (source, topic))).collect();
    if found.is_empty() {
        let advice = "name a log by --from, or declare stream = 'kafka://TOPIC?format=json'";
        return Err(Error::invalid(format!("no source that is read has a Kafka topic · {advice}")));
    }
    Ok(found)
}

/// A topic of a source's dead letters, written as the source's own records are.
///
/// # Errors
/// Invalid where the source has columns that are parts of records beside their values: a letter's key and headers are its own.
fn instead(topic: &str, source: &SourcePlan) -> Result<KafkaTopic, Error> {
    let own = source.options.topic.clone().unwrap_or_else(|| KafkaTopic::json(""));
    if own.mapped.is_empty() {
        return Ok(KafkaTopic { name: topic.to_owned(), partitions: None, ..own });
    }
    let columns: Vec<&str> = own.mapped.iter().map(|mapped| source.schema.field(mapped.column).name().as_str()).collect();
    Err(Error::invalid(format!(
        "dead letters of source `{}` cannot be tried again from a topic · it takes more than the value: {} · write the rows to a file by `lockstep dead-letters export`, name these columns in them, and ingest it",
        source.name,
        columns.join(", ")
    )))
}

/// The topic of a source, to be read from where those stand that read it: `stands` has the positions of each.
pub(crate) fn input<'a>(
    kafka: &Kafka,
    source: &SourcePlan,
    topic: &KafkaTopic,
    declared: &[String],
    stands: impl Iterator<Item = &'a BTreeMap<PartitionId, Position>>,
    options: &StreamOptions,
) -> Input {
    let applied = Arc::new(Mutex::new(BTreeMap::new()));
    let request = Request {
        settings: Arc::clone(&kafka.settings),
        source: schema_of(source),
        declared: declared.to_vec(),
        topic: topic.clone(),
        stands: stands.map(|positions| standing_in(positions, &source.name, &topic.name)).collect(),
        end: if kafka.until_end { End::AsItBegins } else { End::Never },
        batch_rows: options.batch_rows,
        stop: Arc::clone(&options.stop),
        applied: Arc::clone(&applied),
    };
    let note = move |id: &PartitionId, position: &Position| {
        if let Some((_, partition)) = partition_of(&id.partition) {
            applied.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, position.rows());
        }
    };
    let open = move || -> Result<Box<dyn Log>, Error> { Ok(Box::new(TopicLog::open(request)?)) };
    Input { name: source.name.clone(), open: Box::new(open), applied: kafka.tells.then(|| Box::new(note) as Box<Applied>) }
}

/// The positions in the partitions of a topic.
fn standing_in(positions: &BTreeMap<PartitionId, Position>, source: &str, topic: &str) -> BTreeMap<i32, KafkaPosition> {
    let of = |(id, position): (&PartitionId, &Position)| match (partition_of(&id.partition), position) {
        (Some((of, partition)), Position::Kafka(position)) if id.source == source && of == topic => Some((partition, position.clone())),
        _ => None,
    };
    positions.iter().filter_map(of).collect()
}
