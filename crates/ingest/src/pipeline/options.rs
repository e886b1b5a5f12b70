//! How a log is read.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lockstep_model::{Clock, EventTime, Generation};
use lockstep_transform::tiles::Shape;

use crate::admission::Kind;
use crate::out::Outlets;
use crate::source::Format;

/// Told which entities a commit changes in a generation, and how many events came to each: once for each commit, before it is made.
pub type Seen = dyn Fn(Generation, &mut dyn Iterator<Item = (&[u8], u64)>) + Send + Sync;

/// How to read a log.
pub struct StreamOptions {
    /// Its format, where it is a file.
    pub format: Format,
    /// The sources to take from it; all that the targets read where empty.
    pub sources: Vec<String>,
    /// Whether it is a log, or history that is not bulk-loaded.
    pub kind: Kind,
    /// The logs that are to be read in one go with this one, itself included or not: nothing is forgotten before each of them was begun.
    pub beside: Vec<String>,
    /// Only rows that were known before this moment.
    pub until: Option<EventTime>,
    /// Most rows of one commit.
    pub batch_rows: usize,
    /// The tree's shape.
    pub shape: Shape,
    /// Set to end after the chunk under way.
    pub stop: Arc<AtomicBool>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where rows of a log go beside the state.
    pub outlets: Outlets,
    /// Who is told of the entities that events come to.
    pub seen: Option<Arc<Seen>>,
}

impl StreamOptions {
    /// A log of all sources, read to its end.
    pub fn new(format: Format, batch_rows: usize, clock: Arc<dyn Clock>) -> StreamOptions {
        StreamOptions {
            format,
            sources: Vec::new(),
            kind: Kind::Stream,
            beside: Vec::new(),
            until: None,
            batch_rows,
            shape: Shape::default(),
            stop: Arc::default(),
            clock,
            outlets: Outlets::default(),
            seen: None,
        }
    }
}

impl std::fmt::Debug for StreamOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamOptions").field("format", &self.format).field("sources", &self.sources).finish_non_exhaustive()
    }
}
