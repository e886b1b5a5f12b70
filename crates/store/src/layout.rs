//! Where things lie: column families and physical keys. Frozen: stores on disk are made of these.
//!
//! | family         | key                                                    | value                          |
//! |----------------|--------------------------------------------------------|--------------------------------|
//! | `state`        | generation (4) ‖ state key                             | the engine's bytes             |
//! | `keys`         | generation (4) ‖ source ordinal (2) ‖ primary key      | header (8) ‖ admission's bytes |
//! | `refusals`     | generation (4) ‖ (source, partition) ‖ row (8)         | JSON                           |
//! | `dead_letters` | generation (4) ‖ (source, partition) ‖ row (8)         | length ‖ JSON ‖ original bytes |
//! | `outbox`       | (queue) ‖ first row (8)                                | whoever carries them knows     |
//! | `meta`         | tag (1) ‖ generation (4) ‖ …, see the functions below  | JSON                           |
//!
//! Integers are big-endian, so that bytes sort as numbers; (source, partition) is encoded as a key of two strings, a queue as a
//! key of one, which delimit themselves.

use lockstep_model::key::KeyWriter;
use lockstep_model::{Generation, PartitionId};

/// Heads and nodes.
pub(crate) const STATE: &str = "state";
/// The dedup index.
pub(crate) const KEYS: &str = "keys";
/// Positions, generations, definitions, releases, counters, horizons, bulk progress.
pub(crate) const META: &str = "meta";
/// Rows that came too late.
pub(crate) const REFUSALS: &str = "refusals";
/// Rows that could not be taken.
pub(crate) const DEAD_LETTERS: &str = "dead_letters";

/// Rows that are to leave the store.
pub(crate) const OUTBOX: &str = "outbox";

/// What a record of `meta` is about: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// One job of a bulk load, by generation.
    BulkJob = b'B',
    /// A part of a bulk load that is loaded, by generation and part.
    BulkPart = b'b',
    /// Counters, by generation and source.
    Counters = b'c',
    /// An applied set of definitions, by version.
    Definitions = b'd',
    /// The epoch.
    Epoch = b'e',
    /// A generation.
    Generation = b'g',
    /// A generation's horizon.
    Horizon = b'h',
    /// A queue of the outbox, by its name.
    Queue = b'o',
    /// A position, by generation and partition.
    Position = b'p',
    /// How far a partition has been put into a queue, by both.
    Reached = b'r',
    /// A release, by number.
    Release = b'R',
    /// The number of the last snapshot that was named by one.
    Snapshot = b'S',
    /// A switch of the release that serves, by epoch.
    Switch = b's',
}

impl Tag {
    /// Records that belong to one generation and go when it is dropped.
    pub(crate) const OF_A_GENERATION: [Tag; 5] = [Tag::BulkJob, Tag::BulkPart, Tag::Counters, Tag::Horizon, Tag::Position];

    /// The key of the one record with this tag.
    pub(crate) fn alone(self) -> Vec<u8> {
        vec![self as u8]
    }

    /// The key of a generation's record, or the start of the keys of its records.
    pub(crate) fn of(self, generation: Generation) -> Vec<u8> {
        let mut key = Vec::with_capacity(32);
        key.push(self as u8);
        key.extend_from_slice(&generation.0.to_be_bytes());
        key
    }
}

/// The key of a position.
pub(crate) fn position_key(generation: Generation, partition: &PartitionId) -> Vec<u8> {
    let mut key = Tag::Position.of(generation);
    push_partition(&mut key, partition);
    key
}

/// The key of a source's counters.
pub(crate) fn counters_key(generation: Generation, source: &str) -> Vec<u8> {
    let mut key = Tag::Counters.of(generation);
    key.extend_from_slice(source.as_bytes());
    key
}

/// The source a counters key is about.
pub(crate) fn source_of_counters_key(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(5..)?).ok()
}

/// The key of a finished part of a bulk load.
pub(crate) fn bulk_part_key(generation: Generation, part: u32) -> Vec<u8> {
    let mut key = Tag::BulkPart.of(generation);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The part a bulk part's key is about.
pub(crate) fn part_of_bulk_key(key: &[u8]) -> Option<u32> {
    key.get(5..)?.try_into().ok().map(u32::from_be_bytes)
}

/// The key of a set of definitions.
pub(crate) fn definitions_key(version: u64) -> Vec<u8> {
    let mut key = Tag::Definitions.alone();
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// The key of a release.
pub(crate) fn release_key(release: u32) -> Vec<u8> {
    let mut key = Tag::Release.alone();
    key.extend_from_slice(&release.to_be_bytes());
    key
}

/// The key of a switch.
pub(crate) fn switch_key(epoch: u64) -> Vec<u8> {
    let mut key = Tag::Switch.alone();
    key.extend_from_slice(&epoch.to_be_bytes());
    key
}

/// The key of a row in a ledger.
pub(crate) fn ledger_key(generation: Generation, partition: &PartitionId, row: u64) -> Vec<u8> {
    let mut key = generation.0.to_be_bytes().to_vec();
    push_partition(&mut key, partition);
    key.extend_from_slice(&row.to_be_bytes());
    key
}

fn push_partition(key: &mut Vec<u8>, PartitionId { source, partition }: &PartitionId) {
    let mut parts = KeyWriter::new();
    parts.push_str(source);
    parts.push_str(partition);
    key.extend_from_slice(parts.as_bytes());
}

/// The key of a queue's record.
pub(crate) fn queue_key(queue: &str) -> Vec<u8> {
    let mut key = Tag::Queue.alone();
    push_queue(&mut key, queue);
    key
}

/// The key that says how far a partition has been put into a queue, or the start of the keys of all partitions.
pub(crate) fn reached_key(queue: &str, partition: Option<&PartitionId>) -> Vec<u8> {
    let mut key = Tag::Reached.alone();
    push_queue(&mut key, queue);
    if let Some(partition) = partition {
        push_partition(&mut key, partition);
    }
    key
}

/// The start of the keys of a queue's rows.
pub(crate) fn outbox_prefix(queue: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    push_queue(&mut key, queue);
    key
}

/// The key of rows of a queue, of which `first` is the first.
pub(crate) fn outbox_key(queue: &str, first: u64) -> Vec<u8> {
    let mut key = outbox_prefix(queue);
    key.extend_from_slice(&first.to_be_bytes());
    key
}

/// The first row that a key of the outbox is of.
pub(crate) fn row_of_outbox_key(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|row| u64::from_be_bytes(*row))
}

fn push_queue(key: &mut Vec<u8>, queue: &str) {
    let mut parts = KeyWriter::new();
    parts.push_str(queue);
    key.extend_from_slice(parts.as_bytes());
}

/// Replaces `out` by the physical key of a head or node.
pub(crate) fn state_key(out: &mut Vec<u8>, generation: Generation, key: &[u8]) {
    out.clear();
    out.extend_from_slice(&generation.0.to_be_bytes());
    out.extend_from_slice(key);
}

/// Replaces `out` by the physical key of a dedup entry.
pub(crate) fn entry_key(out: &mut Vec<u8>, generation: Generation, source: u16, key: &[u8]) {
    out.clear();
    out.extend_from_slice(&generation.0.to_be_bytes());
    out.extend_from_slice(&source.to_be_bytes());
    out.extend_from_slice(key);
}

/// The generation of a physical key and what follows.
pub(crate) fn split_generation(key: &[u8]) -> Option<(Generation, &[u8])> {
    let (generation, rest) = key.split_first_chunk::<4>()?;
    Some((Generation(u32::from_be_bytes(*generation)), rest))
}

/// The source ordinal of a dedup entry and its primary key.
pub(crate) fn split_source(key: &[u8]) -> Option<(u16, &[u8])> {
    let (source, rest) = key.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*source), rest))
}

/// The smallest key that comes after all keys with this prefix, which has a byte below 0xff.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(source: &str, partition: &str) -> PartitionId {
        PartitionId { source: source.to_owned(), partition: partition.to_owned() }
    }

    #[test]
    fn partitions_cannot_run_into_each_other() {
        let generation = Generation(7);
        assert_ne!(ledger_key(generation, &partition("ab", "c"), 1), ledger_key(generation, &partition("a", "bc"), 1));
        let nine = ledger_key(generation, &partition("a", "b"), 9);
        assert!(nine < ledger_key(generation, &partition("a", "b"), 256), "rows sort as numbers");
        assert!(nine < ledger_key(generation, &partition("a", "bb"), 0), "partitions stay together");
    }

    #[test]
    fn keys_split_as_they_were_joined() {
        let mut key = Vec::new();
        entry_key(&mut key, Generation(0x0102_0304), 0x0506, b"pk");
        assert_eq!(key, b"\x01\x02\x03\x04\x05\x06pk");
        let (generation, rest) = split_generation(&key).unwrap();
        assert_eq!((generation, split_source(rest)), (Generation(0x0102_0304), Some((0x0506, b"pk".as_slice()))));
        assert_eq!(part_of_bulk_key(&bulk_part_key(generation, 12)), Some(12));
        assert_eq!(source_of_counters_key(&counters_key(generation, "departures")), Some("departures"));
    }

    #[test]
    fn the_end_of_a_prefix_is_past_all_its_keys() {
        assert_eq!(after_prefix(&[1, 2]), [1, 3]);
        assert_eq!(after_prefix(&[1, 0xff, 0xff]), [2]);
        assert_eq!(after_prefix(&[0xff]), [0u8; 0]);
    }
}
