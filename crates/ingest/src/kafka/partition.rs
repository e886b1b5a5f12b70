//! A partition of a topic while it is read.

use std::sync::Arc;
use std::time::Instant;

use lockstep_model::{Error, EventTime, KafkaPosition, PartitionId, RecordMark};
use lockstep_transform::definition::Part;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers};
use smallvec::SmallVec;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::client::Identity;
use super::resume;
use crate::out::letters::SOURCE_HEADER;
use crate::source::{Record, Records};

/// A partition that is being read.
pub(super) struct Partition {
    pub(super) id: PartitionId,
    pub(super) records: Records,
    /// The parts of its records that are values of columns.
    pub(super) parts: Arc<[Part]>,
    /// What is first in it, and the next offset.
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) last: Option<RecordMark>,
    /// Records that must be met as they were, the next one last.
    pub(super) marks: Vec<RecordMark>,
    /// Whether any record of it has been read, now or before.
    pub(super) begun: bool,
    /// When it is taken for idle, if it is empty then.
    pub(super) idle_at: Instant,
    /// Its end as far as is known, and whether all before it has been read.
    pub(super) end: u64,
    pub(super) at_end: bool,
    /// Where reading ends.
    pub(super) until: Option<u64>,
}

/// What polling came to.
pub(super) enum Polled {
    /// A record that counts, of so many bytes.
    Record(usize),
    /// Nothing that counts.
    Other,
    /// Nothing at all.
    Nothing,
}

impl Partition {
    /// Takes a record, unless it was read before and is met again to be compared.
    pub(super) fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<Polled, Error> {
        let Ok(offset) = u64::try_from(message.offset()) else { return Ok(Polled::Other) };
        let mark = mark(offset, message);
        while self.marks.pop_if(|known| known.offset < offset).is_some() {
            // Compacted away since: the topic's id must do.
        }
        while let Some(known) = self.marks.pop_if(|known| known.offset == offset) {
            resume::compare(&self.id.source, &self.id.partition, &known, &mark)?;
        }
        if offset < self.next {
            return Ok(Polled::Other);
        }
        if let Some(until) = self.until.filter(|until| offset >= *until) {
            self.next = until;
            return Ok(Polled::Other);
        }
        if is_of_another(message, &self.id.source) {
            (self.next, self.last, self.at_end) = (offset + 1, Some(mark), false);
            return Ok(Polled::Other);
        }
        let time = mark.time_ms.and_then(|millis| millis.checked_mul(1000));
        let (key, value) = (message.key(), message.payload());
        let taken = time.map(|time| EventTime(time).to_string()).filter(|_| self.parts.contains(&Part::AppendTime));
        let mapped: SmallVec<[_; 4]> = self.parts.iter().map(|part| part_of(part, message, taken.as_deref())).collect();
        self.records.push(Record { offset, time, key, value, mapped: &mapped });
        (self.next, self.last, self.at_end) = (offset + 1, Some(mark), false);
        Ok(Polled::Record(key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)))
    }

    pub(super) fn position(&self, identity: &Identity) -> KafkaPosition {
        KafkaPosition {
            cluster: identity.cluster.clone(),
            topic_id: identity.topic_id.clone(),
            first: self.first,
            offset: self.next,
            last: self.last,
            gap: None,
            event_time_max: None,
            begun_at: None,
            order: 0,
        }
    }

    /// Whether it has been read to where reading ends, and is known to be the log that was read before.
    pub(super) fn is_done(&self) -> bool {
        self.marks.is_empty() && self.until.is_some_and(|until| self.next >= until || (self.at_end && until <= self.end))
    }

    pub(super) fn behind(&self) -> u64 {
        self.known_end().saturating_sub(self.next)
    }

    /// The offset behind the last record that is known to come. What is left before the end of a partition that was read to it are no records.
    pub(super) fn known_end(&self) -> u64 {
        if self.at_end { self.next } else { self.end }
    }
}

/// A part of a record. Of headers of one name the last counts, as it does for Kafka's own clients.
fn part_of<'a>(part: &Part, message: &'a BorrowedMessage<'_>, taken: Option<&'a str>) -> Option<&'a [u8]> {
    match part {
        Part::Key => message.key(),
        Part::AppendTime => taken.map(str::as_bytes),
        Part::Header(name) => message.headers()?.iter().filter(|header| header.key == name).last()?.value,
    }
}

/// Whether a header says that a record is of another source, as dead letters that share a topic do.
fn is_of_another(message: &BorrowedMessage<'_>, source: &str) -> bool {
    let said = |header: Header<'_, &[u8]>| header.key == SOURCE_HEADER && header.value.is_some_and(|name| name != source.as_bytes());
    message.headers().is_some_and(|headers| headers.iter().any(said))
}

/// What a record is known again by.
fn mark(offset: u64, message: &BorrowedMessage<'_>) -> RecordMark {
    let hash = |seed: u64, part: Option<&[u8]>| part.map_or(seed ^ 1, |bytes| xxh3_64_with_seed(bytes, seed));
    let hash = hash(message.key().map_or(0, xxh3_64), message.payload());
    RecordMark { offset, time_ms: message.timestamp().to_millis().filter(|millis| *millis >= 0), hash }
}
