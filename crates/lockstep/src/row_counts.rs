//! What became of the rows of a source, as it is told.

use lockstep_store::Counters;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::grouped;

/// How many rows came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowCounts {
    /// Rows that count.
    pub applied: u64,
    /// Rows that were known already.
    pub duplicates: u64,
    /// Rows with other content under a known key.
    pub conflicts: u64,
    /// Rows that came too late.
    pub refused: u64,
    /// Rows put aside.
    pub dead_lettered: u64,
    /// Row versions that gave way to a greater one.
    pub superseded: u64,
}

impl From<&Counters> for RowCounts {
    fn from(counters: &Counters) -> Self {
        let Counters { applied, duplicates, conflicts, refused, dead_lettered, superseded, .. } = *counters;
        RowCounts { applied, duplicates, conflicts, refused, dead_lettered, superseded }
    }
}

impl RowCounts {
    /// All but those that count: ` · 3 duplicates · 1 too late`.
    pub fn others(&self) -> String {
        told([
            (self.duplicates, "duplicates"),
            (self.conflicts, "conflicts"),
            (self.refused, "too late"),
            (self.dead_lettered, "dead letters"),
            (self.superseded, "superseded"),
        ])
    }
}

/// What there is of it, each after a dot.
pub fn told<const N: usize>(counts: [(u64, &str); N]) -> String {
    counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(" · {} {what}", grouped(count))).collect()
}
