//! Generations: one version's live key space each.

use lockstep_model::{Error, EventTime, Fingerprint, Generation};
use serde::{Deserialize, Serialize};

/// What a generation is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGeneration {
    /// The feature view's name.
    pub view: String,
    /// The view's version.
    pub version: u32,
    /// Fingerprint of what the view means.
    pub meaning: Fingerprint,
    /// Fingerprint of how its state is encoded.
    pub state: Fingerprint,
}

/// A generation and what it was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationInfo {
    /// Its number, never used twice in a store.
    pub generation: Generation,
    /// The feature view's name.
    pub view: String,
    /// The view's version.
    pub version: u32,
    /// Fingerprint of what the view means.
    pub meaning: Fingerprint,
    /// Fingerprint of how its state is encoded.
    pub state: Fingerprint,
    /// When it was created.
    pub created_at: EventTime,
    /// When it became complete; absent while it is being filled, and nothing may serve from it till then.
    pub published_at: Option<EventTime>,
    /// When it was dropped; its number is remembered so that what compaction has not removed yet is never taken for another's.
    #[serde(default)]
    pub dropped_at: Option<EventTime>,
    /// Where the history that it was filled with ends: rows that were known from this moment on come by the stream. [`EventTime::MAX`] for all of the history;
    /// absent where nothing of a history was loaded yet.
    #[serde(default)]
    pub history_until: Option<EventTime>,
    /// Since when it keeps up with its logs: it had come to the end of all that are followed, or as far as the version that served, and has been fed since. Absent
    /// before that, and once it is fed no more.
    #[serde(default)]
    pub caught_up_at: Option<EventTime>,
    /// What filling it with history took, where that is known: what another will take is told by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Filled>,
    /// The run whose predictions it was filled with, where it holds those: one of several of its version, of which the last that was not taken back is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// When it was taken back for an earlier run. It is whole, and can be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_at: Option<EventTime>,
}

/// What a backfill took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Rows that were read.
    pub rows: u64,
    /// Bytes that they were read from.
    pub bytes: u64,
    /// How long it took, µs.
    pub micros: u64,
    /// How many generations were filled together.
    pub generations: u32,
}

impl GenerationInfo {
    /// Whether it is complete, and was not taken back.
    pub fn published(&self) -> bool {
        self.published_at.is_some() && self.taken_back_at.is_none()
    }

    /// Refuses a definition other than the one this generation was made for.
    pub fn expect(&self, meaning: Fingerprint, state: Fingerprint) -> Result<(), Error> {
        self.expect_same("definition", self.meaning, meaning, "apply the changed definition as a new version, or restore the earlier one")?;
        self.expect_same("state encoding", self.state, state, "read it with the release that wrote it, or backfill the view anew")
    }

    fn expect_same(&self, what: &str, stored: Fingerprint, given: Fingerprint, advice: &str) -> Result<(), Error> {
        if stored == given {
            return Ok(());
        }
        let GenerationInfo { generation, view, version, .. } = self;
        Err(Error::invalid(format!(
            "the stored state of `{view}` version {version} (generation {}) was made with another {what} · stored: {}, given: {} · {advice}",
            generation.0,
            stored.short(),
            given.short(),
        )))
    }
}
