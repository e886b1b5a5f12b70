//! Where a source has been read to.

use serde::{Deserialize, Serialize};

/// A source and one of its partitions. A file source has one partition per file (its path), standard input has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The source's name.
    pub source: String,
    /// The partition: a file's path, a topic and number, `-` for standard input.
    pub partition: String,
}

/// How far a partition has been applied, with enough beside it to notice that it is no longer the same partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Position {
    /// A file, or standard input.
    File(FilePosition),
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
