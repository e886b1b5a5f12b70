//! A consumer of one topic.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockstep_model::Error;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::Settings;
use super::native::{self, Described};

/// How long a broker is waited for at once, and how often when a topic is opened: half a minute, in which a broker that restarts is back.
const PATIENCE: Duration = Duration::from_secs(5);
const TRIES: u32 = 6;

/// Which log a topic is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The cluster's id.
    pub(super) cluster: String,
    /// The topic's id.
    pub(super) topic_id: String,
}

/// What librdkafka tells on the side: into the log, and the last of it to be shown where nothing else says what is wrong.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Option<String>>);

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, _: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::error!("kafka: {message}"),
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!("kafka: {message}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!("kafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Told once for each time that the last broker goes.
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => tracing::warn!("kafka: no broker answers, which is waited for: {reason}"),
            _ => tracing::info!("kafka: {error}: {reason}"),
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ConsumerContext for Told {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::info!("kafka: what was applied cannot be told to the group, which nothing depends on: {error}");
        }
    }
}

/// A consumer of one topic.
pub(super) struct Client {
    consumer: BaseConsumer<Told>,
    topic: String,
    brokers: String,
}

impl Client {
    pub(super) fn new(settings: &Settings, topic: &str) -> Result<Client, Error> {
        let consumer = BaseConsumer::from_config_and_context(&settings.client(), Told::default()).map_err(|error| settings.refused(&error))?;
        Ok(Client { consumer, topic: topic.to_owned(), brokers: settings.brokers().to_owned() })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<Told> {
        &self.consumer
    }

    /// Which log the topic is now, and its partitions. Waits for a broker.
    pub(super) fn describe_patiently(&self) -> Result<(Identity, Vec<i32>), Error> {
        let mut failed = None;
        for _ in 0..TRIES {
            match self.describe() {
                Ok(described) => return Ok(described),
                Err(error) if error.kind() != lockstep_model::ErrorKind::Unavailable => return Err(error),
                Err(error) => failed = Some(error),
            }
            // Serves what librdkafka has to tell, such as why it cannot connect.
            let _ = self.consumer.poll(Duration::from_millis(10));
        }
        Err(failed.unwrap_or_else(|| Error::internal("a topic was described no times")))
    }

    /// As [`Self::describe_patiently`], once.
    pub(super) fn describe(&self) -> Result<(Identity, Vec<i32>), Error> {
        let Described { id, mut partitions } = native::describe(self.consumer.client(), &self.topic, PATIENCE).map_err(|code| self.refused(code))?;
        let cluster = self.consumer.client().fetch_cluster_id(PATIENCE).ok_or_else(|| self.refused(RDKafkaErrorCode::OperationTimedOut))?;
        partitions.sort_unstable();
        Ok((Identity { cluster, topic_id: id }, partitions))
    }

    /// Where a partition begins and ends, of what is committed.
    pub(super) fn bounds(&self, partition: i32) -> Result<(u64, u64), Error> {
        let mut failed = RDKafkaErrorCode::OperationTimedOut;
        for _ in 0..TRIES {
            match self.consumer.fetch_watermarks(&self.topic, partition, PATIENCE) {
                Ok((low, high)) => return Ok((u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0))),
                Err(error) => failed = error.rdkafka_error_code().unwrap_or(failed),
            }
        }
        Err(self.refused(failed))
    }

    /// The end of a partition as it was last heard of.
    pub(super) fn known_end(&self, partition: i32) -> Option<u64> {
        native::known_end(self.consumer.client(), &self.topic, partition)
    }

    /// Reads more partitions, each from an offset on.
    pub(super) fn assign(&self, from: &BTreeMap<i32, u64>) -> Result<(), Error> {
        let list = self.list(from);
        self.consumer.incremental_assign(&list).map_err(|error| self.failed(&error))
    }

    /// Tells the group how far the topic has been applied. Nothing waits for it, and nothing comes of a failure.
    pub(super) fn commit(&self, applied: &BTreeMap<i32, u64>) {
        if let Err(error) = self.consumer.commit(&self.list(applied), CommitMode::Async) {
            tracing::info!("kafka: what was applied cannot be told to the group, which nothing depends on: {error}");
        }
    }

    fn list(&self, offsets: &BTreeMap<i32, u64>) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            // Offsets come from Kafka, which has no larger ones.
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            if let Err(error) = list.add_partition_offset(&self.topic, *partition, offset) {
                tracing::error!("kafka: partition {partition} of {}: {error}", self.topic);
            }
        }
        list
    }

    pub(super) fn failed(&self, error: &KafkaError) -> Error {
        match error.rdkafka_error_code() {
            Some(code) => self.refused(code),
            None => Error::unavailable(format!("topic `{}` cannot be read now · {error}", self.topic)),
        }
    }

    fn refused(&self, code: RDKafkaErrorCode) -> Error {
        use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
        let (topic, brokers) = (&self.topic, &self.brokers);
        match code {
            UnknownTopic | UnknownTopicOrPartition | UnknownPartition => {
                Error::not_found(format!("there is no topic `{topic}` at {brokers} · make it, or correct the stream that names it"))
            }
            TopicAuthorizationFailed | GroupAuthorizationFailed => Error::invalid(format!(
                "the brokers at {brokers} do not let topic `{topic}` be read: {code} · ask for the right to read and describe it"
            )),
            RDKafkaErrorCode::NotImplemented => Error::invalid(format!(
                "topic `{topic}` is compressed by no codec that is known here · known: gzip, snappy, lz4, zstd · let it use one of these"
            )),
            code => {
                let told = self.consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let told = told.map(|told| format!(": {told}")).unwrap_or_default();
                Error::unavailable(format!(
                    "topic `{topic}` cannot be read from {brokers}: {code}{told} · run the command again when the brokers are there"
                ))
            }
        }
    }
}
