//! Where a source has been read to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A source and one of its partitions. A file source has one partition per file (its path), standard input has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The source's name.
    pub source: String,
    /// The partition: a file's path, `-` for standard input, `kafka://departures/3` for a topic and a number, `push` for what is pushed.
    pub partition: String,
}

/// What the partition of a batch file starts with.
const HISTORY: &str = "history:";

/// The name under which a batch file's position is kept: the same path may also be replayed as a log.
pub fn history_partition(file: &str) -> String {
    format!("{HISTORY}{file}")
}

/// The path of a partition that is a file of history.
pub fn history_path(partition: &str) -> Option<&str> {
    partition.strip_prefix(HISTORY)
}

/// The least of the newest event times of a source's logs, µs: what is older may be late. History is no log; `None` until a log has an event.
pub fn watermark(positions: &[(PartitionId, Position)], source: &str) -> Option<i64> {
    watermark_of(positions.iter().filter_map(|(id, position)| Some((id, position.event_time_max()?))), source)
}

/// As [`watermark`], by the newest event time of each partition, µs.
pub fn watermark_of<'a>(newest: impl IntoIterator<Item = (&'a PartitionId, i64)>, source: &str) -> Option<i64> {
    let logs = newest.into_iter().filter(|(id, _)| id.source == source && history_path(&id.partition).is_none());
    logs.map(|(_, newest)| newest).min()
}

/// Up to which event time all sources have come, µs: the least of the newest event times of their logs, and of a source without a log that of its history. `None` where nothing has an event.
pub fn come_to(positions: &[(PartitionId, Position)]) -> Option<i64> {
    let mut by_source: BTreeMap<&str, (Option<i64>, Option<i64>)> = BTreeMap::new();
    for (PartitionId { source, partition }, position) in positions {
        let Some(newest) = position.event_time_max() else { continue };
        let (log, history) = by_source.entry(source).or_default();
        match history_path(partition) {
            Some(_) => *history = Some(history.map_or(newest, |most: i64| most.max(newest))),
            None => *log = Some(log.map_or(newest, |least: i64| least.min(newest))),
        }
    }
    by_source.into_values().filter_map(|(log, history)| log.or(history)).min()
}

/// How far a partition has been applied, with enough beside it to notice that it is no longer the same partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Position {
    /// A file, or standard input.
    File(FilePosition),
    /// A partition of a Kafka topic.
    Kafka(KafkaPosition),
    /// A push log.
    Push(PushPosition),
}

impl Position {
    /// The number of the next row: rows passed of a file or a push log, the next offset of a topic's partition.
    pub fn rows(&self) -> u64 {
        match self {
            Position::File(position) => position.rows,
            Position::Kafka(position) => position.offset,
            Position::Push(position) => position.rows,
        }
    }

    /// See [`FilePosition::event_time_max`].
    pub fn event_time_max(&self) -> Option<i64> {
        match self {
            Position::File(position) => position.event_time_max,
            Position::Kafka(position) => position.event_time_max,
            Position::Push(position) => position.event_time_max,
        }
    }

    /// See [`FilePosition::begun_at`].
    pub fn begun_at(&self) -> Option<i64> {
        match self {
            Position::File(position) => position.begun_at,
            Position::Kafka(position) => position.begun_at,
            Position::Push(position) => position.begun_at,
        }
    }

    /// See [`FilePosition::order`].
    pub fn order(&self) -> u64 {
        match self {
            Position::File(position) => position.order,
            Position::Kafka(position) => position.order,
            Position::Push(position) => position.order,
        }
    }

    /// Whether it is at the end of what never grows.
    pub fn complete(&self) -> bool {
        matches!(self, Position::File(FilePosition { complete: true, .. }))
    }

    /// The same place, with other rows passed.
    #[must_use]
    pub fn at(&self, rows: u64) -> Position {
        match self.clone() {
            Position::File(position) => Position::File(FilePosition { rows, ..position }),
            Position::Kafka(position) => Position::Kafka(KafkaPosition { offset: rows, ..position }),
            Position::Push(position) => Position::Push(PushPosition { rows, ..position }),
        }
    }

    /// The same place, with what admission has come to there; reading went on from `before`, where it was not begun now.
    #[must_use]
    pub fn applied(&self, before: Option<&Position>, event_time_max: Option<i64>, begun_at: Option<i64>, order: u64) -> Position {
        match (self.clone(), before) {
            (Position::File(position), _) => Position::File(FilePosition { event_time_max, begun_at, order, ..position }),
            (Position::Kafka(position), Some(&Position::Kafka(KafkaPosition { first, gap, .. }))) => {
                Position::Kafka(KafkaPosition { first, gap, event_time_max, begun_at, order, ..position })
            }
            (Position::Kafka(position), _) => Position::Kafka(KafkaPosition { event_time_max, begun_at, order, ..position }),
            (Position::Push(position), Some(&Position::Push(PushPosition { first, gap, .. }))) => {
                Position::Push(PushPosition { first, gap, event_time_max, begun_at, order, ..position })
            }
            (Position::Push(position), _) => Position::Push(PushPosition { event_time_max, begun_at, order, ..position }),
        }
    }
}

/// Rows done of a file or of standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// Rows applied, refused or dead-lettered so far.
    pub rows: u64,
    /// Bytes consumed of a text format, 0 for Parquet.
    pub bytes: u64,
    /// Size of the file when it was read, in bytes; absent for standard input.
    pub size: Option<u64>,
    /// The object store's entity tag, where it gives one.
    pub etag: Option<String>,
    /// Rolling hash (XXH3-64) of the text consumed, or of a Parquet file's footer.
    pub hash: u64,
    /// The partition's own largest event time so far, which decides lateness.
    pub event_time_max: Option<i64>,
    /// The source's watermark when this partition was begun, where there was one: what its other partitions had passed may have been forgotten by then. Counts
    /// as an event time that was seen before the first row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<i64>,
    /// How many partitions of the generation had been begun before it: where rows conflict, the first that came stands.
    #[serde(default)]
    pub order: u64,
    /// Whether the file's end was reached.
    pub complete: bool,
}

/// How far a partition of a Kafka topic has been applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaPosition {
    /// The cluster's id, as its brokers say it.
    pub cluster: String,
    /// The topic's id: a topic that was deleted and made again has another one under the same name.
    pub topic_id: String,
    /// The offset that was the partition's first when it was begun.
    pub first: u64,
    /// The offset of the next record.
    pub offset: u64,
    /// The last record passed, by which the log is known again; absent before the first.
    pub last: Option<RecordMark>,
    /// The offset from which reading went on though the log was another one by then, or lacked records: because somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<u64>,
    /// See [`FilePosition::event_time_max`].
    pub event_time_max: Option<i64>,
    /// See [`FilePosition::begun_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<i64>,
    /// See [`FilePosition::order`].
    pub order: u64,
}

/// How far a source's push log has been applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushPosition {
    /// The row that was the log's first when it was begun.
    pub first: u64,
    /// The number of the next row.
    pub rows: u64,
    /// What the last push passed, and the log up to it, are known by.
    pub mark: u64,
    /// The row from which reading went on though the log was another one by then, or lacked rows: because somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<u64>,
    /// See [`FilePosition::event_time_max`].
    pub event_time_max: Option<i64>,
    /// See [`FilePosition::begun_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<i64>,
    /// See [`FilePosition::order`].
    pub order: u64,
}

/// What a record of a log is known again by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordMark {
    /// Its offset.
    pub offset: u64,
    /// Its timestamp, in milliseconds; absent where it has none.
    pub time_ms: Option<i64>,
    /// XXH3-64 of its key and value.
    pub hash: u64,
}
