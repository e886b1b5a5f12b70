//! Reading a snapshot.

use std::path::{Path, PathBuf};

use lockstep_model::Error;

use super::files::{self, Look};
use super::manifest::Manifest;
use crate::database::Database;
use crate::{Cut, StoreOptions, format};

/// A snapshot that is open. Any number of processes may have it open, whoever owns the store.
pub struct Snapshot {
    database: Database,
    manifest: Manifest,
}

impl Snapshot {
    /// Opens the snapshot in `dir`, whose every byte is checked before: takes as long as reading it.
    ///
    /// # Errors
    /// Data where a file is missing, is another one, or does not belong there, which it names; Invalid where a later release wrote it.
    pub fn open(dir: impl Into<PathBuf>, options: &StoreOptions) -> Result<Snapshot, Error> {
        Snapshot::open_looking(dir.into(), options, Look::Bytes)
    }

    /// As [`Self::open`], but looks at the sizes of the files only. Each block that is read is checked by itself, so that what is damaged is an error and never an answer; to know of
    /// it before, call [`Self::verify`], from a thread that has the time.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_trusting(dir: impl Into<PathBuf>, options: &StoreOptions) -> Result<Snapshot, Error> {
        Snapshot::open_looking(dir.into(), options, Look::Sizes)
    }

    fn open_looking(dir: PathBuf, options: &StoreOptions, look: Look) -> Result<Snapshot, Error> {
        let manifest = Manifest::read(&dir)?;
        files::check(&dir, &manifest.files, look)?;
        // One that this release does not read is refused.
        format::format_of(&dir)?;
        Ok(Snapshot { database: Database::open_to_read(&dir, options)?, manifest })
    }

    /// Checks every byte of the snapshot.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn verify(&self) -> Result<(), Error> {
        files::check(self.dir(), &self.manifest.files, Look::Bytes)
    }

    /// Everything in it, at the one moment that there is.
    pub fn cut(&self) -> Cut<'_> {
        Cut::new(&self.database)
    }

    /// What is in it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The directory it lies in.
    pub fn dir(&self) -> &Path {
        &self.database.dir
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("dir", &self.dir()).finish_non_exhaustive()
    }
}
