//! Online state on disk: what the engine keeps per entity, what admission remembers, and the source positions all of it is true at.
//!
//! One [`Commit`] carries state, dedup keys, ledgers, counters and positions of the events it applied, in one atomic batch,
//! so that whatever the store is reopened with after a crash is a prefix of what was committed: nothing lost in between, nothing
//! counted twice. One [`Cut`] reads all of it at one moment, however many commits go on beside it.
//!
//! A [`Snapshot`] is such a moment under a name, kept beside the store and read without it. A [`Release`] says which generations serve.
//!
//! This crate knows no SQL, no aggregates and no sources; values are bytes to it. It is the only one that imports RocksDB,
//! and the [`OnlineStore`] trait is what the rest sees of it.
//!
//! ```
//! use lockstep_model::{Fingerprint, StateKey, StateRead, StateWrite};
//! use lockstep_store::{Commit, NewGeneration, OnlineStore, Store, StoreOptions};
//!
//! # fn main() -> Result<(), lockstep_model::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! let store = Store::open(dir.path(), StoreOptions::new("ingest"))?;
//! let view = NewGeneration { view: "airport_load".to_owned(), version: 1, meaning: Fingerprint([1; 32]), state: Fingerprint([2; 32]) };
//! let generation = store.create_generation(view)?.generation;
//!
//! let mut commit = Commit::new(generation, store.epoch());
//! commit.state.push(StateWrite { key: StateKey::head(b"EWR"), value: Some(b"one flight".to_vec()) });
//! store.commit(commit)?;
//!
//! let cut = store.cut();
//! let mut seen = None;
//! cut.state(generation).get_many(&[StateKey::head(b"EWR")], &mut |_, bytes| seen = bytes.map(<[u8]>::to_vec))?;
//! assert_eq!(seen.as_deref(), Some(b"one flight".as_slice()));
//! # Ok(())
//! # }
//! ```

mod admin;
mod applied;
mod batch;
mod book;
mod bulk;
mod commit;
mod crash;
mod cut;
mod database;
mod definitions;
mod expiry;
mod explain;
mod figures;
mod format;
mod generation;
mod key_entry;
mod layout;
mod models;
mod online;
mod options;
mod outbox;
mod owner;
mod record;
mod release;
#[allow(unsafe_code, reason = "written by a macro of self_cell, whose soundness is its purpose")]
mod shared;
mod snapshot;
mod store;
mod tuning;

pub use applied::{AppliedFile, AppliedLogs, Span};
pub use bulk::{BulkJob, BulkLoader, BulkPart};
pub use commit::{Commit, Counters, DeadLetter, Epoch, Horizon, KeyBytes, KeyWrite, Outgoing, Queue, Refusal};
pub use crash::{CrashPlan, CrashPoint};
pub use cut::{Cut, GenerationState};
pub use definitions::{AppliedModel, AppliedTrainingSet, DefinitionText, Definitions, NewDefinitions};
pub use figures::Figures;
pub use format::{FORMAT_VERSION, FormatStep, format_of, steps_from};
pub use generation::{Filled, GenerationInfo, NewGeneration};
pub use key_entry::KeyEntryHeader;
pub use models::{ModelPart, Models, sha256};
pub use online::{CutRead, OnlineStore};
pub use options::{StoreOptions, SyncPolicy};
pub use owner::{Owner, Taken, read_owner};
pub use release::{NewRelease, NewSwitch, Release, Switch, SwitchKind};
pub use shared::{NotInMemory, SharedCut, SharedRead};
pub use snapshot::{
    DefinitionsMark, Described, Listed, Manifest, NewSnapshot, PositionAt, SNAPSHOT_FORMAT, Snapshot, SnapshotFile, SnapshotGeneration, Snapshots,
};
pub use store::{Claim, Store};
