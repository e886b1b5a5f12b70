//! The directory that a store keeps its snapshots in.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lockstep_model::Error;

use super::manifest::{self, Manifest};
use crate::{CrashPlan, CrashPoint, explain, format, store};

/// Where it lies in the store's directory.
const SNAPSHOTS: &str = "snapshots";
/// What the name of a snapshot ends with that is being made.
const PARTIAL: &str = ".partial";
/// What the name of a snapshot ends with that is being removed.
const DROPPED: &str = ".dropped";
/// Most letters of a name.
const NAME_MAX: usize = 64;

/// The snapshots of a store. Looking needs no owner; making and dropping them is the owner's.
#[derive(Debug, Clone)]
pub struct Snapshots {
    dir: PathBuf,
}

/// A snapshot on the shelf.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What is in it, or what is wrong with it.
    pub manifest: Result<Manifest, Error>,
    /// Bytes on the disk that neither the store nor another snapshot has: what dropping it gives back.
    pub own_bytes: u64,
}

impl Snapshots {
    /// Those of the store in `store`.
    pub fn of(store: &Path) -> Snapshots {
        Snapshots { dir: store.join(SNAPSHOTS) }
    }

    /// The directory of the snapshot of this name, there or not.
    pub fn dir_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn partial(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{PARTIAL}"))
    }

    /// Every snapshot, oldest first; those that cannot be read come before all others.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let names = self.names().map_err(|error| explain::io(&self.dir, "list the snapshots", error))?;
        let mut all: Vec<Listed> = names
            .into_iter()
            .map(|name| {
                let dir = self.dir_of(&name);
                // One that goes while it is looked at takes no room.
                Listed { manifest: Manifest::read(&dir), own_bytes: own_bytes(&dir).unwrap_or_default(), name }
            })
            .collect();
        all.sort_by_cached_key(|listed| (listed.manifest.as_ref().map(|manifest| manifest.created_at).ok(), listed.name.clone()));
        Ok(all)
    }

    /// Bytes on the disk that snapshots have and the store has no more: what dropping all of them gives back.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn held_bytes(&self) -> Result<u64, Error> {
        let names = self.names().map_err(|error| explain::io(&self.dir, "list the snapshots", error))?;
        let mut files = HashMap::new();
        for name in names {
            each_file(&self.dir_of(&name), &mut |file| {
                files.entry((file.dev(), file.ino())).or_insert((0, file.nlink(), file.len())).0 += 1;
            })
            // One that goes while it is looked at holds nothing.
            .unwrap_or_default();
        }
        // A file that has another name has it in the store.
        Ok(files.into_values().filter(|(names, of_file, _)| names == of_file).map(|(_, _, bytes)| bytes).sum())
    }

    /// The directory of a snapshot.
    ///
    /// # Errors
    /// NotFound where there is none of this name; Invalid where it is no name.
    pub fn find(&self, name: &str) -> Result<PathBuf, Error> {
        check_name(name)?;
        let dir = self.dir_of(name);
        if dir.is_dir() {
            return Ok(dir);
        }
        let known = self.names().map_err(|error| explain::io(&self.dir, "list the snapshots", error))?;
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::not_found(format!("there is no snapshot `{name}` · known: {known} · `lockstep snapshot list` shows them")))
    }

    /// Names of snapshots, sorted.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.all_names()?;
        names.retain(|name| check_name(name).is_ok());
        names.sort();
        Ok(names)
    }

    fn all_names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Removes a snapshot: its name first, so that what is left after a crash is no snapshot.
    pub(super) fn remove(&self, name: &str, crash: &CrashPlan) -> Result<(), Error> {
        let (dir, dropped) = (self.dir_of(name), self.dir.join(format!("{name}{DROPPED}")));
        let failed = |error| explain::io(&dir, "drop a snapshot", error);
        crash.hit(CrashPoint::UnsnapshotBefore);
        store::remove_dir(&dropped).and_then(|()| fs::rename(&dir, &dropped)).and_then(|()| format::sync_dir(&self.dir)).map_err(failed)?;
        crash.hit(CrashPoint::UnsnapshotRenamed);
        // One without a manifest may be dropped too.
        let _ = fs::remove_file(dropped.join(manifest::FILE));
        crash.hit(CrashPoint::UnsnapshotInside);
        store::remove_dir(&dropped).map_err(failed)?;
        crash.hit(CrashPoint::UnsnapshotAfter);
        Ok(())
    }

    /// Removes what processes left that were killed while they made or dropped a snapshot. For the owner of the store.
    pub(crate) fn clean(&self) -> Result<(), Error> {
        let clean = || -> io::Result<()> {
            let left = self.all_names()?.into_iter().filter(|name| name.ends_with(PARTIAL) || name.ends_with(DROPPED));
            left.map(|name| self.dir.join(name)).try_for_each(|dir| store::remove_dir(&dir))
        };
        clean().map_err(|error| explain::io(&self.dir, "clean up after a snapshot", error))
    }
}

/// Refuses what is no name of a snapshot.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let fits = !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits && !name.starts_with('.') && !name.ends_with(PARTIAL) && !name.ends_with(DROPPED) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "`{name}` is no name for a snapshot · a name has up to {NAME_MAX} letters, digits, `-`, `_` and `.`, does not begin with `.`, and does not end with `{PARTIAL}` or `{DROPPED}`"
    )))
}

/// Bytes of files that have no other name.
fn own_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    each_file(dir, &mut |file| bytes += if file.nlink() == 1 { file.len() } else { 0 })?;
    Ok(bytes)
}

/// Calls `visit` for each file of a snapshot.
fn each_file(dir: &Path, visit: &mut dyn FnMut(&fs::Metadata)) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            each_file(&entry.path(), visit)?;
        } else {
            visit(&metadata);
        }
    }
    Ok(())
}
