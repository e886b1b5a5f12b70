//! Snapshots that are open: checking and opening one takes as long as reading it, and is done once for all who read it in this process.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use lockstep_model::Error;

use super::{Snapshot, Snapshots};
use crate::{StoreOptions, explain};

/// Snapshots that are kept open, and the bytes of blocks that each may hold in memory.
const OPEN_MAX: usize = 4;
const CACHE_BYTES: usize = 64 << 20;

/// The snapshots that were asked for lately, those asked for last first.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    slots: Mutex<Vec<Slot>>,
}

/// A snapshot that is open, or is about to be.
#[derive(Debug, Clone)]
struct Slot {
    name: String,
    /// Which directory it is: another snapshot may come to have the name.
    made: (u64, Option<SystemTime>),
    /// Held by who opens it: others who want it wait for that, and nobody else does.
    snapshot: Arc<Mutex<Option<Arc<Snapshot>>>>,
}

impl Opened {
    /// A snapshot, opened now or before.
    pub(crate) fn get(&self, snapshots: &Snapshots, name: &str, options: &StoreOptions) -> Result<Arc<Snapshot>, Error> {
        let dir = snapshots.find(name)?;
        let slot = self.slot(name, made(&dir)?);
        let mut opened = slot.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*opened {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(Snapshot::open(dir, &StoreOptions { block_cache_bytes: CACHE_BYTES, ..options.clone() })?);
        *opened = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn slot(&self, name: &str, made: (u64, Option<SystemTime>)) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().position(|slot| slot.name == name).map(|at| slots.remove(at)).filter(|slot| slot.made == made);
        let slot = known.unwrap_or_else(|| Slot { name: name.to_owned(), made, snapshot: Arc::default() });
        slots.truncate(OPEN_MAX - 1);
        slots.insert(0, slot.clone());
        slot
    }

    /// Closes those that are there no more, once nobody reads them.
    pub(crate) fn forget(&self, snapshots: &Snapshots) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|slot| snapshots.find(&slot.name).is_ok());
    }
}

fn made(dir: &Path) -> Result<(u64, Option<SystemTime>), Error> {
    let metadata = std::fs::metadata(dir).map_err(|error| explain::io(dir, "open a snapshot", error))?;
    Ok((metadata.ino(), metadata.modified().ok()))
}
