//! Dead letters to a topic, a record each.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use lockstep_model::Error;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::letters::{Letter, Sink};
use crate::kafka::Settings;

/// How long letters may take to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// As much of a row is sent where the topic takes no larger records; its ledger has the whole.
const CUT_BYTES: usize = 64 << 10;

/// A topic that letters are appended to.
pub(super) struct TopicSink {
    producer: BaseProducer<Delivered>,
    topic: String,
    brokers: String,
}

/// What became of the records of one sending: the places of those that were too large, and the last error of another kind.
#[derive(Default)]
struct Delivered(Mutex<Outcome>);

#[derive(Default)]
struct Outcome {
    delivered: usize,
    too_large: Vec<usize>,
    failed: Option<KafkaError>,
}

impl Delivered {
    fn note(&self, number: usize, error: Option<KafkaError>) {
        let mut outcome = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            None => outcome.delivered += 1,
            Some(error) if is_too_large(&error) => outcome.too_large.push(number),
            Some(error) => outcome.failed = Some(error),
        }
    }

    fn take(&self) -> Outcome {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Delivered {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::info!("kafka: dead letters: {error}: {reason}");
    }
}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        self.note(*number, result.as_ref().err().map(|(error, _)| error.clone()));
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

impl TopicSink {
    /// A producer of records for a topic, which must be there.
    ///
    /// # Errors
    /// Invalid where the settings do not fit together; NotFound where there is no such topic; Unavailable where no broker answers.
    pub(super) fn open(settings: &Settings, topic: &str) -> Result<TopicSink, Error> {
        let producer =
            BaseProducer::from_config_and_context(&settings.producer(PATIENCE), Delivered::default()).map_err(|error| settings.refused(&error))?;
        let sink = TopicSink { producer, topic: topic.to_owned(), brokers: settings.brokers().to_owned() };
        // Asked for, since records of a topic that is not there only time out.
        let metadata = sink.producer.client().fetch_metadata(Some(topic), PATIENCE).map_err(|error| sink.failed(&error))?;
        let refused = metadata.topics().first().and_then(|topic| topic.error());
        match refused.map(RDKafkaErrorCode::from) {
            None | Some(RDKafkaErrorCode::NoError) => Ok(sink),
            Some(code) => Err(sink.failed(&KafkaError::MetadataFetch(code))),
        }
    }

    fn produce(&self, number: usize, letter: &Letter, whole: bool) -> Result<(), Error> {
        let (key, value) = (letter.place(), &letter.letter.bytes);
        let kept = if whole { value.as_slice() } else { &value[..value.len().min(CUT_BYTES)] };
        let mut headers = OwnedHeaders::new();
        for (name, said) in letter.headers() {
            headers = headers.insert(Header { key: name, value: Some(&said) });
        }
        if !whole {
            headers = headers.insert(Header { key: "lockstep.cut_from_bytes", value: Some(&value.len().to_string()) });
        }
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(number)).key(&key).payload(kept).headers(headers);
        while let Err((error, again)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                self.producer.context().note(number, Some(error));
                return Ok(());
            }
            self.producer.poll(Duration::from_millis(10));
            record = again;
        }
        Ok(())
    }

    /// Waits for what was produced.
    fn settle(&self) -> Result<Outcome, Error> {
        let flushed = self.producer.flush(PATIENCE + Duration::from_secs(5));
        let outcome = self.producer.context().take();
        match (flushed, outcome.failed) {
            (_, Some(error)) | (Err(error), None) => Err(self.failed(&error)),
            (Ok(()), None) => Ok(Outcome { failed: None, ..outcome }),
        }
    }

    fn failed(&self, error: &KafkaError) -> Error {
        let (topic, brokers) = (&self.topic, &self.brokers);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition) => {
                Error::not_found(format!("there is no topic `{topic}` at {brokers} · make it, or correct the dead_letters that names it"))
            }
            _ => Error::unavailable(format!("topic `{topic}` cannot be written to at {brokers}: {error}")),
        }
    }
}

impl Sink for TopicSink {
    fn send(&mut self, letters: &[Letter]) -> Result<(), Error> {
        letters.iter().enumerate().try_for_each(|(number, letter)| self.produce(number, letter, true))?;
        let outcome = self.settle()?;
        for number in &outcome.too_large {
            self.produce(*number, &letters[*number], false)?;
        }
        let delivered = outcome.delivered + if outcome.too_large.is_empty() { 0 } else { self.settle()?.delivered };
        if delivered == letters.len() {
            return Ok(());
        }
        let (count, topic) = (letters.len() - delivered, &self.topic);
        Err(Error::unavailable(format!("{count} of {} records were not taken by topic `{topic}` at {}", letters.len(), self.brokers)))
    }
}
