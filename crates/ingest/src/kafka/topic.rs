//! A topic as a log: its partitions are read at once, and given in chunks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockstep_model::{Error, ErrorKind, KafkaPosition, PartitionId, Position, RecordMark};
use lockstep_transform::definition::{KafkaTopic, Part};
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{Client, Identity};
use super::partition::{Partition, Polled};
use super::resume::{self, Now};
use super::schemas::{self, TopicSchemas};
use super::{Settings, partition_name};
use crate::pipeline::{Log, Read, Standing};
use crate::source::{Chunk, Encoding, Mapping, Records, SourceSchema};

/// Most bytes of keys and values of a chunk, beyond its first record.
const CHUNK_BYTES: usize = 8 << 20;
/// How long a chunk that has rows waits for more, and how long it takes more while there is.
const LINGER: Duration = Duration::from_millis(5);
const CUT: Duration = Duration::from_millis(25);
/// How long is waited for a first record before looking whether to stop.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long is waited before a registry that is away may be asked again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the group is told what has been applied, and a topic without records says how it stands.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long an empty partition of a topic that is followed is expected to be begun any moment, as those of a new topic are: until then nothing is forgotten,
/// so that its first records are late from nothing but themselves.
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// Where reading ends.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// Nowhere.
    Never,
    /// Where the partitions end when it begins.
    AsItBegins,
    /// Where this partition ends when it begins; it alone is read, from its beginning or from an offset.
    Again(i32, Option<u64>),
}

/// What to read of a topic.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) settings: Arc<Settings>,
    pub(crate) source: SourceSchema,
    /// The names of all sources that are declared.
    pub(crate) declared: Vec<String>,
    pub(crate) topic: KafkaTopic,
    /// Where each that takes what is read stands, by partition: reading starts at the least.
    pub(crate) stands: Vec<BTreeMap<i32, KafkaPosition>>,
    pub(crate) end: End,
    /// Most rows of a chunk.
    pub(crate) batch_rows: usize,
    /// Set to end.
    pub(crate) stop: Arc<AtomicBool>,
    /// How far the partitions have been applied.
    pub(crate) applied: Arc<Mutex<BTreeMap<i32, u64>>>,
}

/// A topic that is being read.
pub(crate) struct TopicLog {
    client: Client,
    request: Request,
    identity: Identity,
    encoding: Encoding,
    schemas: Option<TopicSchemas>,
    parts: Arc<[Part]>,
    partitions: BTreeMap<i32, Partition>,
    /// Bytes of the records that were gathered and not given yet.
    gathered_bytes: u64,
    /// When to look for partitions that were added, and to tell how things stand.
    look_at: Instant,
    tell_at: Instant,
    /// Whether it has been told how things stand at all.
    told: bool,
}

#[allow(clippy::disallowed_methods, reason = "how long has been waited; nothing is computed from it")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

impl TopicLog {
    /// Finds the topic, checks the positions, and begins to read.
    ///
    /// # Errors
    /// NotFound where there is no such topic; Unavailable where no broker answers; Data where a position is not one of this log.
    pub(crate) fn open(request: Request) -> Result<TopicLog, Error> {
        let (encoding, schemas) = schemas::open(&request.topic, &request.source, &request.settings)?;
        let client = Client::new(&request.settings, &request.topic.name)?;
        let (identity, numbers) = client.describe_patiently()?;
        let look_at = instant() + Duration::from_millis(request.settings.look_every_ms());
        let parts = request.topic.mapped.iter().map(|mapped| mapped.part.clone()).collect();
        let (partitions, tell_at) = (BTreeMap::new(), instant());
        let mut log = TopicLog { client, request, identity, encoding, schemas, parts, partitions, gathered_bytes: 0, look_at, tell_at, told: false };
        log.check_partitions(&numbers)?;
        log.check_declared(&numbers)?;
        log.add(&numbers)?;
        Ok(log)
    }

    /// Every partition that has been read must be there.
    fn check_partitions(&self, numbers: &[i32]) -> Result<(), Error> {
        let stands = self.request.stands.iter().flatten();
        match stands.map(|(partition, position)| (*partition, position)).find(|(partition, _)| !numbers.contains(partition)) {
            None => Ok(()),
            Some((partition, position)) => self.start(partition, &[position], (0, 0)).map(drop),
        }
    }

    /// Every partition that is declared must be there, and no other must have been read: what was read of it would stay, and hold the watermark.
    fn check_declared(&self, numbers: &[i32]) -> Result<(), Error> {
        let KafkaTopic { name, partitions: Some(declared), .. } = &self.request.topic else { return Ok(()) };
        let source = &self.request.source.name;
        let count = numbers.last().map_or(0, |last| last + 1);
        if let Some(missing) = declared.beyond(count) {
            let advice = "correct `partitions`, or give the topic more";
            return Err(Error::invalid(format!(
                "topic `{name}` has no partition {missing}, which source `{source}` reads · it has {count} · {advice}"
            )));
        }
        let mut read = self.request.stands.iter().flatten().map(|(partition, _)| *partition);
        match read.find(|partition| !declared.contains(*partition)) {
            None => Ok(()),
            Some(other) => {
                let advice = "declare them together again, or begin a store for those that are declared";
                Err(Error::invalid(format!(
                    "partition {other} of topic `{name}` was read into this store, and source `{source}` reads partitions {declared} · {advice}"
                )))
            }
        }
    }

    /// Starts to read partitions that are not read yet.
    fn add(&mut self, numbers: &[i32]) -> Result<(), Error> {
        let wanted = |partition: &i32| match self.request.end {
            End::Again(only, _) => *partition == only,
            End::Never | End::AsItBegins => self.request.topic.reads(*partition) && !self.partitions.contains_key(partition),
        };
        let added: Vec<i32> = numbers.iter().copied().filter(wanted).collect();
        let mut from = BTreeMap::new();
        for partition in added {
            let (start, read) = self.partition(partition)?;
            from.insert(partition, start);
            self.partitions.insert(partition, read);
        }
        if from.is_empty() { Ok(()) } else { self.client.assign(&from) }
    }

    /// A partition, and the offset to read it from.
    fn partition(&self, partition: i32) -> Result<(u64, Partition), Error> {
        let Request { source, declared, topic, stands, end, .. } = &self.request;
        let id = PartitionId { source: source.name.clone(), partition: partition_name(&topic.name, partition) };
        let (low, high) = self.client.bounds(partition)?;
        let positions: Vec<&KafkaPosition> = stands.iter().filter_map(|positions| positions.get(&partition)).collect();
        let start = self.start(partition, &positions, (low, high))?;
        // Whoever has read nothing of it begins at its beginning, and so does what is read again.
        let again_from = if let End::Again(_, from) = end { *from } else { None };
        let from_beginning = again_from.is_none() && (positions.len() < stands.len() || matches!(end, End::Again(..)));
        let least = positions.iter().min_by_key(|position| position.offset).filter(|_| !from_beginning && again_from.is_none());
        let mut marks: Vec<RecordMark> = positions.iter().filter_map(|position| position.last).collect();
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.offset));
        let next = again_from.unwrap_or_else(|| least.map_or(low, |position| position.offset));
        tracing::info!("kafka: {}: offsets {low} to {high}, read on from {next}", id.partition);
        let read = Partition {
            records: Records::new(&id, source.clone(), declared.clone(), &self.encoding, mapping(topic))?,
            parts: Arc::clone(&self.parts),
            id,
            first: low,
            next,
            last: least.and_then(|position| position.last),
            marks,
            begun: least.is_some() || again_from.is_some(),
            idle_at: if matches!(end, End::Never) { instant() + IDLE_AFTER } else { instant() },
            end: high,
            at_end: next >= high,
            until: (!matches!(end, End::Never)).then_some(high),
        };
        Ok((again_from.unwrap_or(if from_beginning { low } else { start }), read))
    }

    /// Checks positions in a partition; the offset to read on from after the least of them.
    fn start(&self, partition: i32, positions: &[&KafkaPosition], bounds: (u64, u64)) -> Result<u64, Error> {
        let Request { source, topic, end, .. } = &self.request;
        let name = partition_name(&topic.name, partition);
        let now = Now { source: &source.name, partition: &name, identity: &self.identity, bounds };
        let mut start = bounds.0;
        for (at, position) in positions.iter().enumerate() {
            let from = resume::start(position, &now)?;
            start = if at == 0 { from } else { start.min(from) };
            let is_gone = match end {
                End::Again(_, None) => position.gap.is_some() || bounds.0 > position.first,
                End::Again(_, Some(from)) => bounds.0 > *from,
                End::Never | End::AsItBegins => false,
            };
            if is_gone {
                return Err(resume::gone(position, &now));
            }
        }
        Ok(start)
    }

    /// Whether everything that was asked for has been read.
    fn is_done(&self) -> bool {
        !matches!(self.request.end, End::Never) && self.partitions.values().all(Partition::is_done)
    }

    fn gather(&mut self) -> Result<u64, Error> {
        let (mut rows, mut bytes) = (0, 0);
        let mut first: Option<Instant> = None;
        while rows < self.request.batch_rows && bytes < CHUNK_BYTES && !self.request.stop.load(Ordering::Relaxed) {
            let waited = first.map(|first| instant().saturating_duration_since(first));
            if waited.is_some_and(|waited| waited > CUT) {
                break;
            }
            let patience = waited.map_or(PATIENCE, |waited| LINGER.saturating_sub(waited));
            match self.poll(patience)? {
                Polled::Record(size) => {
                    (rows, bytes) = (rows + 1, bytes + size);
                    first = first.or_else(|| Some(instant()));
                }
                Polled::Other if self.is_done() => break,
                Polled::Other if first.is_none() && instant() >= self.tell_at => break,
                Polled::Other => {}
                Polled::Nothing => break,
            }
        }
        Ok(bytes as u64)
    }

    fn poll(&mut self, patience: Duration) -> Result<Polled, Error> {
        let failed = match self.client.consumer().poll(patience) {
            None => return Ok(Polled::Nothing),
            Some(Ok(message)) => {
                let Some(partition) = self.partitions.get_mut(&message.partition()) else { return Ok(Polled::Other) };
                return partition.take(&message);
            }
            Some(Err(error)) => error,
        };
        match failed {
            KafkaError::PartitionEOF(number) => {
                if let Some(partition) = self.partitions.get_mut(&number) {
                    let end = self.client.known_end(number).unwrap_or(partition.end);
                    partition.end = end.max(partition.end).max(partition.next);
                    partition.at_end = true;
                    // What has not been met by now has been compacted away.
                    partition.marks.clear();
                }
            }
            error => self.judge(&error)?,
        }
        Ok(Polled::Other)
    }

    /// Whether an error is one that comes right by waiting.
    fn judge(&self, error: &KafkaError) -> Result<(), Error> {
        use RDKafkaErrorCode as Code;
        tracing::info!("kafka: topic {}: {error}", self.request.topic.name);
        match error.rdkafka_error_code() {
            // A topic that is gone or made anew, or has lost what was to be read next, says it in one of these ways, and so may a broker that has just come back.
            Some(
                Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::UnknownTopicId
                | Code::OffsetOutOfRange
                | Code::AutoOffsetReset
                | Code::NoOffset,
            ) => {
                self.check_identity()?;
                self.check_bounds()
            }
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::MessageTimedOut
                | Code::RequestTimedOut
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::BrokerNotAvailable
                | Code::ReplicaNotAvailable
                | Code::NetworkException
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NotCoordinator
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::OffsetNotAvailable
                | Code::KafkaStorageError
                | Code::Authentication
                | Code::SSL,
            ) => Ok(()),
            _ => Err(self.client.failed(error)),
        }
    }

    /// Whether the topic is still the one that is being read. No answer is no evidence.
    fn check_identity(&self) -> Result<Vec<i32>, Error> {
        let (identity, numbers) = match self.client.describe() {
            Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(Vec::new()),
            described => described?,
        };
        for (number, partition) in &self.partitions {
            let name = partition_name(&self.request.topic.name, *number);
            let now = Now { source: &self.request.source.name, partition: &name, identity: &identity, bounds: (0, u64::MAX) };
            resume::start(&partition.position(&self.identity), &now)?;
        }
        Ok(numbers)
    }

    /// Whether what comes next is there.
    fn check_bounds(&self) -> Result<(), Error> {
        for (number, partition) in &self.partitions {
            match self.client.bounds(*number) {
                Ok(bounds) => self.start(*number, &[&partition.position(&self.identity)], bounds).map(drop)?,
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Looks for partitions that were added, now and then.
    fn look(&mut self) -> Result<(), Error> {
        if instant() < self.look_at || matches!(self.request.end, End::Again(..)) {
            return Ok(());
        }
        self.look_at = instant() + Duration::from_millis(self.request.settings.look_every_ms());
        let numbers = self.check_identity()?;
        match self.request.end {
            End::Never => self.add(&numbers).or_else(|error| if error.kind() == ErrorKind::Unavailable { Ok(()) } else { Err(error) }),
            End::AsItBegins | End::Again(..) => Ok(()),
        }
    }

    /// Tells the group what has been applied, and learns where the partitions end.
    fn tell(&mut self) {
        self.told = true;
        self.tell_at = instant() + TELL_EVERY;
        let applied = std::mem::take(&mut *self.request.applied.lock().unwrap_or_else(PoisonError::into_inner));
        if !applied.is_empty() {
            self.client.commit(&applied);
        }
        for (number, partition) in &mut self.partitions {
            let end = self.client.known_end(*number).unwrap_or(partition.end);
            partition.end = end.max(partition.end);
        }
    }

    /// Sees to it that the schemas of what was gathered are known; whether they are.
    fn learn_schemas(&mut self) -> Result<bool, Error> {
        let Some(schemas) = &mut self.schemas else { return Ok(true) };
        let ids = self.partitions.values().flat_map(|partition| partition.records.schema_ids());
        schemas.learn(ids, matches!(self.request.end, End::Never))
    }

    fn ends(&self) -> Vec<(PartitionId, u64)> {
        self.partitions.values().map(|partition| (partition.id.clone(), partition.known_end())).collect()
    }

    /// What was gathered, where it is readable, and how things stand.
    fn read(&mut self, readable: bool, due: bool) -> Result<Read, Error> {
        let chunk = if readable { self.chunk()? } else { Chunk { batches: Vec::new(), rows_read: 0, bytes_read: 0 } };
        let standing = Standing {
            bytes_total: None,
            // What waits for its schema is as good as unread.
            behind: Some(self.partitions.values().map(|partition| partition.behind() + partition.records.len() as u64).sum()),
            unbegun: self.partitions.values().any(|partition| !partition.begun && (!partition.at_end || instant() < partition.idle_at)),
        };
        Ok(Read { chunk, standing, ends: if due { self.ends() } else { Vec::new() } })
    }

    fn chunk(&mut self) -> Result<Chunk, Error> {
        let mut batches = Vec::new();
        let mut rows_read = 0;
        for partition in self.partitions.values_mut().filter(|partition| !partition.records.is_empty()) {
            rows_read += partition.records.len() as u64;
            partition.begun = true;
            let position = Position::Kafka(partition.position(&self.identity));
            batches.push(partition.records.finish(position)?);
        }
        Ok(Chunk { batches, rows_read, bytes_read: std::mem::take(&mut self.gathered_bytes) })
    }
}

/// The columns whose values are parts of records.
pub(super) fn mapping(topic: &KafkaTopic) -> Mapping {
    let columns = topic.mapped.iter().map(|mapped| mapped.column).collect();
    Mapping { columns, key: topic.mapped.iter().position(|mapped| mapped.part == Part::Key) }
}

impl Log for TopicLog {
    fn next(&mut self) -> Result<Option<Read>, Error> {
        loop {
            let done = self.is_done();
            if !done && !self.schemas.as_ref().is_some_and(TopicSchemas::waits) {
                self.gathered_bytes += self.gather()?;
            }
            self.look()?;
            let due = instant() >= self.tell_at;
            if due {
                self.tell();
            }
            let some = self.partitions.values().any(|partition| !partition.records.is_empty());
            let readable = self.learn_schemas()?;
            if (some && readable) || (due && !(done && readable)) {
                return self.read(readable, due).map(Some);
            }
            if self.request.stop.load(Ordering::Relaxed) || (done && readable) {
                return Ok(None);
            }
            if !readable {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

impl Drop for TopicLog {
    fn drop(&mut self) {
        self.tell();
    }
}
