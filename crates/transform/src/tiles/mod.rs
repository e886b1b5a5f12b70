//! State of one entity over time: an adaptive tree of tiles, folded from events and read at any moment.
//!
//! Events of an entity, ordered by [order key](order), form a radix tree over the half-bytes of that key: since the key starts with the
//! event time, a page's children are sixteen equal slots of time, and a child exists only where there are more than a leafful of
//! events. A frame from t − w to t is the tiles that lie inside it plus a walk down either edge, so a read touches a number of keys that grows
//! with the logarithm of the events, whatever the frame's length and however hot the entity; the events it
//! folds one by one are at most a leaf at each edge and the buffer of the newest arrivals. The same tree serves every frame of the view.
//!
//! Because aggregates are exact functions of sets, the tree's shape cannot change a bit of any answer. Tests use that: they
//! compare shapes.

pub mod audit;
pub mod fault;
mod fold;
mod frame;
mod gathered;
mod measure;
mod memory;
pub mod node;
pub mod order;
mod plan;
mod read;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;

pub use fold::{EntityChanges, apply, build};
pub use frame::{Frame, LastRows};
pub use measure::{Measure, Measures};
pub use memory::{MemoryState, Over, Written};
pub use plan::ReadPlan;
pub use read::{ReadStats, Request, Touch, TouchKind, Values, read_at};
pub use survey::{Extent, Level, Survey, events, survey};
pub use sweep::{Series, sweep};

/// When events move from the head into the tree, and when a leaf becomes a page. No choice of these changes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Most events a leaf holds.
    pub leaf_rows_max: usize,
    /// Most events an entity's head holds before they go into the tree together.
    pub buffer_rows_max: usize,
}

impl Default for Shape {
    /// An entity of up to 64 events is one key, and an event of a hot one costs 1/64 of a path of pages. A key more costs a lookup as much as
    /// folding fifty events does, so leaves are large, and have tiles of their own.
    fn default() -> Self {
        Shape { leaf_rows_max: 384, buffer_rows_max: 64 }
    }
}

impl Shape {
    /// Most events in a run, which has a tile of its own: a sixteenth of a full leaf.
    pub(crate) fn run_rows_max(self) -> usize {
        self.leaf_rows_max.div_ceil(node::FANOUT).max(1)
    }
}
