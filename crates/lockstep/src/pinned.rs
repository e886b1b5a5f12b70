//! Snapshots that are open, each with the definitions that it is read by.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use lockstep_model::{Error, Generation};
use lockstep_serve::Served;
use lockstep_serve::live::check_moments;
use lockstep_store::{Cut, CutRead, Manifest, Snapshot, Snapshots, Store, StoreOptions};

use crate::failure::Wrong;
use crate::project::{compile, sources_of_texts};

/// Bytes of blocks that a snapshot may hold in memory that is read without its store.
const CACHE_BYTES: usize = 64 << 20;
/// Snapshots whose definitions are kept compiled.
const KNOWN_MAX: usize = 4;

/// A snapshot, and how its generations answer.
#[derive(Debug)]
pub struct Pinned {
    snapshot: Arc<Snapshot>,
    served: Served,
}

impl Pinned {
    /// Opens the snapshot in `dir`, once every byte of it was checked.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; NotFound where it has no definitions; [`Wrong`] where this release has something against them.
    pub fn open(dir: &Path) -> Result<Pinned> {
        let options = StoreOptions { block_cache_bytes: CACHE_BYTES, ..StoreOptions::new("snapshot") };
        Pinned::of(Arc::new(Snapshot::open(dir, &options)?))
    }

    /// An open snapshot.
    fn of(snapshot: Arc<Snapshot>) -> Result<Pinned> {
        let served = {
            let (cut, manifest) = (snapshot.cut(), snapshot.manifest());
            let mark = manifest.definitions.as_ref().map_or(0, |mark| mark.version);
            let applied = cut.definitions_numbered(mark)?.ok_or_else(|| {
                let name = &manifest.name;
                Error::not_found(format!("snapshot `{name}` has no definitions · nothing was applied when it was made · make another"))
            })?;
            let catalog = compile(&sources_of_texts(&applied.applied.texts)).map_err(Wrong)?;
            let generations: Vec<Generation> = manifest.generations.iter().map(|known| known.generation).collect();
            Served::among(Arc::new(catalog), &cut, Some(&generations))?
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

/// Open snapshots with their definitions, those asked for last first. The store keeps the snapshots themselves open, for whoever else reads them.
#[derive(Debug, Default)]
pub struct AllPinned {
    known: Mutex<Vec<Arc<Pinned>>>,
}

impl AllPinned {
    /// A snapshot, opened now or before.
    ///
    /// # Errors
    /// NotFound where there is none of this name; as [`Pinned::open`].
    pub fn get(&self, store: &Store, name: &str) -> Result<Arc<Pinned>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = store.open_snapshot(name)?;
        if let Some(pinned) = known().iter().find(|pinned| Arc::ptr_eq(&pinned.snapshot, &snapshot)) {
            return Ok(Arc::clone(pinned));
        }
        // Not under the lock, since it takes a while.
        let pinned = Arc::new(Pinned::of(snapshot)?);
        let mut known = known();
        known.truncate(KNOWN_MAX - 1);
        known.insert(0, Arc::clone(&pinned));
        Ok(pinned)
    }

    /// Closes those that are there no more, once nobody reads them.
    pub fn forget(&self, snapshots: &Snapshots) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|pinned| snapshots.find(&pinned.manifest().name).is_ok());
    }
}
