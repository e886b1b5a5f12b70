//! Snapshots that are open, each with the definitions that it is read by.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use lockstep_model::Error;
use lockstep_serve::Served;
use lockstep_serve::live::check_moments;
use lockstep_store::{Cut, CutRead, Manifest, Snapshot, Snapshots, StoreOptions};

use crate::failure::Wrong;
use crate::project::{compile, sources_of_texts};

/// Bytes of blocks that an open snapshot may hold in memory.
const CACHE_BYTES: usize = 64 << 20;
/// Snapshots that are open at once.
const OPEN_MAX: usize = 4;

/// A snapshot, and how its generations answer.
#[derive(Debug)]
pub struct Pinned {
    snapshot: Snapshot,
    served: Served,
}

impl Pinned {
    /// Opens the snapshot in `dir`, once every byte of it was checked.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; NotFound where it has no definitions; [`Wrong`] where this release has something against them.
    pub fn open(dir: &Path) -> Result<Pinned> {
        let options = StoreOptions { block_cache_bytes: CACHE_BYTES, ..StoreOptions::new("snapshot") };
        let snapshot = Snapshot::open(dir, &options)?;
        let served = {
            let cut = snapshot.cut();
            let mark = snapshot.manifest().definitions.as_ref().map_or(0, |mark| mark.version);
            let applied = cut.definitions_history()?.into_iter().find(|applied| applied.version == mark).ok_or_else(|| {
                let name = &snapshot.manifest().name;
                Error::not_found(format!("snapshot `{name}` has no definitions · nothing was applied when it was made · make another"))
            })?;
            let catalog = compile(&sources_of_texts(&applied.applied.texts)).map_err(Wrong)?;
            Served::new(Arc::new(catalog), &cut)?
        };
        Ok(Pinned { snapshot, served })
    }

    /// What is in it.
    pub fn manifest(&self) -> &Manifest {
        self.snapshot.manifest()
    }

    /// Everything in it.
    pub fn cut(&self) -> Cut<'_> {
        self.snapshot.cut()
    }

    /// Its definitions, and the generation of each view.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// Refuses moments after that of the snapshot: not all that counts then is in it.
    ///
    /// # Errors
    /// OutOfRange.
    pub fn check_moments(&self, moments: &[i64]) -> Result<(), Error> {
        let Manifest { name, moment, .. } = self.manifest();
        check_moments(name, *moment, moments)
    }
}

/// The snapshots that are open, by name: checking and opening one takes as long as reading it.
#[derive(Debug, Default)]
pub struct AllPinned {
    open: Mutex<BTreeMap<String, Arc<Pinned>>>,
}

impl AllPinned {
    /// A snapshot, opened now or before.
    ///
    /// # Errors
    /// NotFound where there is none of this name; as [`Pinned::open`].
    pub fn get(&self, snapshots: &Snapshots, name: &str) -> Result<Arc<Pinned>> {
        let dir = snapshots.find(name)?;
        // Held while one is opened, so that many who ask for it open it once.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was dropped, and made anew under its name, is another.
        let manifest = Manifest::read(&dir)?;
        open.retain(|known, pinned| known != name || *pinned.manifest() == manifest);
        if let Some(pinned) = open.get(name) {
            return Ok(Arc::clone(pinned));
        }
        let pinned = Arc::new(Pinned::open(&dir)?);
        while open.len() >= OPEN_MAX {
            open.pop_first();
        }
        open.insert(name.to_owned(), Arc::clone(&pinned));
        Ok(pinned)
    }

    /// Closes those that are there no more, once nobody reads them.
    pub fn forget(&self, snapshots: &Snapshots) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| snapshots.find(name).is_ok());
    }
}
