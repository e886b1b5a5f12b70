//! Snapshots: immutable, named cuts of a store, each in a directory of its own.
//!
//! | file            | what it is                                                          |
//! |-----------------|---------------------------------------------------------------------|
//! | `db/`           | a checkpoint of the database, whose files are links to the store's  |
//! | `FORMAT`        | the format of the store that it is of                               |
//! | `SNAPSHOT.json` | the manifest: what is in it, at which positions, and every file     |
//!
//! A snapshot is made under the name `NAME.partial`, forced to the disk, and renamed; one that is dropped is `NAME.dropped` first. So it is whole or not there, and what a
//! process that was killed left is removed when the store is opened by its next owner. Nothing is ever written to a snapshot: who reads one takes no lock, in as many processes
//! as like to, while the store goes on.
//!
//! That the files are links costs no space at first. What compaction replaces in the store stays for as long as a snapshot has it.

mod files;
mod manifest;
mod open;
mod opened;
mod shelf;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use lockstep_model::{Error, EventTime, Generation};

pub use files::SnapshotFile;
pub use manifest::{DefinitionsMark, Manifest, PositionAt, SnapshotGeneration};
pub use open::Snapshot;
pub(crate) use opened::Opened;
pub use shelf::{Listed, Snapshots};

use crate::database::{DATABASE, Database};
use crate::layout::Tag;
use crate::release::Releases;
use crate::store::{self, Durability};
use crate::{CrashPoint, Cut, CutRead, Store, StoreOptions, explain, format};

/// What a manifest is read by: who reads a snapshot knows by it what else there may be. 1 is the first.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// A snapshot that is about to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name; the next number of the store by default, as in `s0001`.
    pub name: Option<String>,
    /// Who makes it, where known.
    pub by: Option<String>,
    /// Why, where said.
    pub reason: Option<String>,
    /// Whether it is kept until it is dropped by hand.
    pub keep: bool,
    /// Whether it is made to validate a candidate on it. Where that is not promoted it is nobody's, and goes when the store is opened next.
    pub trial: bool,
}

/// What a snapshot is of, as said by who knows the definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The moment up to which it answers.
    pub moment: EventTime,
    /// The definitions it is read by, 0 for none.
    pub definitions: u64,
    /// Its generations, and up to which event time their logs were applied, where that is known.
    pub generations: Vec<(Generation, Option<EventTime>)>,
}

impl Store {
    /// Makes a snapshot of the store as it is now, with every commit made before, while commits go on. `describe` is given what will be in it, and says what it is of.
    ///
    /// # Errors
    /// Invalid for a name that is taken or is none; that of `describe`; where the disk is full. Then nothing is left of it.
    pub fn snapshot<E: From<Error>>(&self, new: NewSnapshot, describe: impl FnOnce(&dyn CutRead) -> Result<Described, E>) -> Result<Manifest, E> {
        let _alone = self.snapshotting.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = self.snapshots();
        let name = self.name_snapshot(&snapshots, new.name.clone())?;
        self.crash().hit(CrashPoint::SnapshotBefore);
        let partial = Partial::make(snapshots.partial(&name))?;
        let dir = partial.dir.as_path();
        self.checkpoint_database(&dir.join(DATABASE))?;
        // Read after the checkpoint: a format is raised before what needs it is written.
        format::copy(self.dir(), dir)?;
        self.crash().hit(CrashPoint::SnapshotLinked);

        let database = Database::open_to_read(dir, &to_look_into(&self.options))?;
        let cut = Cut::new(&database);
        let described = describe(&cut)?;
        let known = files::Known::of(&snapshots);
        let files = files::hash_all(dir, &known).map_err(|error| explain::io(dir, "hash the files of a snapshot", error))?;
        let manifest = Manifest::new(name, self.options.clock.now(), new, &described, &cut, files)?;
        manifest.write(dir)?;
        let sync = || format::sync_dir(&dir.join(DATABASE)).and_then(|()| format::sync_dir(dir)).and_then(|()| store::sync_parent(dir));
        sync().map_err(|error| explain::io(dir, "force a snapshot to the disk", error))?;
        self.crash().hit(CrashPoint::SnapshotWritten);

        let named = snapshots.dir_of(&manifest.name);
        fs::rename(dir, &named).and_then(|()| store::sync_parent(&named)).map_err(|error| explain::io(&named, "name a snapshot", error))?;
        self.crash().hit(CrashPoint::SnapshotAfter);
        Ok(manifest)
    }

    /// Where the store keeps its snapshots.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::of(self.dir())
    }

    /// A snapshot, open for all who read it in this process. It is opened where it was not lately, once every byte of it was checked; who asks for another does not
    /// wait for that.
    ///
    /// # Errors
    /// NotFound where there is none of the name; as [`Snapshot::open`].
    pub fn open_snapshot(&self, name: &str) -> Result<Arc<Snapshot>, Error> {
        self.opened.get(&self.snapshots(), name, &self.options)
    }

    /// Drops a snapshot. Who has it open reads on.
    ///
    /// # Errors
    /// NotFound where there is none of the name; Invalid where the release that serves or the one before was validated on it, unless `forced`.
    pub fn drop_snapshot(&self, name: &str, forced: bool) -> Result<(), Error> {
        let _alone = self.snapshotting.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = self.snapshots();
        snapshots.find(name)?;
        if let Some(release) = named_by(&self.book().releases, name).filter(|_| !forced) {
            return Err(Error::invalid(format!(
                "snapshot `{name}` is what release {release} was validated on · that release serves, or is the one to go back to · promote others first, or force it"
            )));
        }
        snapshots.remove(name, self.crash())?;
        self.opened.forget(&snapshots);
        Ok(())
    }

    /// Drops snapshots that nothing keeps: neither marked to be kept, nor named by the release that serves or the one before, nor among the last `keep_last`. Returns the
    /// names of those that went, oldest first. One whose manifest cannot be read is left for people to look at.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn collect_snapshots(&self, keep_last: usize) -> Result<Vec<String>, Error> {
        let _alone = self.snapshotting.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = self.snapshots();
        let mut whole: Vec<Manifest> = snapshots.list()?.into_iter().filter_map(|listed| listed.manifest.ok()).collect();
        whole.truncate(whole.len().saturating_sub(keep_last));
        let releases = Arc::clone(&self.book().releases);
        whole.retain(|manifest| !manifest.keep && named_by(&releases, &manifest.name).is_none());
        let gone = whole.into_iter().map(|manifest| snapshots.remove(&manifest.name, self.crash()).map(|()| manifest.name)).collect();
        self.opened.forget(&snapshots);
        gone
    }

    /// Drops snapshots of candidates that no release was made of: whoever validated one was killed.
    pub(crate) fn drop_unused_trials(&self) -> Result<(), Error> {
        let snapshots = self.snapshots();
        let releases = Arc::clone(&self.book().releases);
        let is_promoted = |name: &str| releases.made.iter().any(|release| release.new.snapshot.as_deref() == Some(name));
        let trials = snapshots.list()?.into_iter().filter_map(|listed| listed.manifest.ok()).filter(|manifest| manifest.trial);
        trials.filter(|manifest| !is_promoted(&manifest.name)).try_for_each(|manifest| snapshots.remove(&manifest.name, self.crash()))
    }

    /// The name of the next snapshot. A number is used once, dropped or not; it is noted before the snapshot is made, so that the snapshot has it too.
    fn name_snapshot(&self, snapshots: &Snapshots, given: Option<String>) -> Result<String, Error> {
        if let Some(name) = given {
            shelf::check_name(&name)?;
            return if snapshots.dir_of(&name).exists() { Err(taken(&name)) } else { Ok(name) };
        }
        self.update(Durability::Forced, |book, batch| {
            let name = loop {
                book.snapshots = book.snapshots.saturating_add(1);
                let name = format!("s{:04}", book.snapshots);
                if !snapshots.dir_of(&name).exists() {
                    break name;
                }
            };
            batch.put_record(Tag::Snapshot.alone(), &book.snapshots)?;
            Ok(name)
        })
    }
}

fn taken(name: &str) -> Error {
    Error::invalid(format!("there is a snapshot `{name}` already · a snapshot is never changed · choose another name, or drop that one"))
}

/// The release that was validated on a snapshot, of the one that serves and the one that served before.
fn named_by(releases: &Releases, snapshot: &str) -> Option<u32> {
    let switch = releases.switch.as_ref()?;
    let of_use = [Some(switch.release), switch.from];
    let names = |release: &&crate::Release| of_use.contains(&Some(release.release)) && release.new.snapshot.as_deref() == Some(snapshot);
    releases.made.iter().find(names).map(|release| release.release)
}

/// How a checkpoint is opened by who only looks at its records.
fn to_look_into(options: &StoreOptions) -> StoreOptions {
    StoreOptions { block_cache_bytes: 8 << 20, ..options.clone() }
}

/// A directory that is removed unless it has been given another name.
struct Partial {
    dir: PathBuf,
}

impl Partial {
    fn make(dir: PathBuf) -> Result<Partial, Error> {
        let made = store::remove_dir(&dir).and_then(|()| fs::create_dir_all(&dir)).and_then(|()| sync_above(&dir));
        made.map_err(|error| explain::io(&dir, "make a snapshot", error))?;
        Ok(Partial { dir })
    }
}

/// Forces the name of the directory that snapshots are in, which may be new.
fn sync_above(dir: &Path) -> std::io::Result<()> {
    dir.parent().map_or(Ok(()), store::sync_parent)
}

impl Drop for Partial {
    /// What stays is removed when the store is opened next.
    fn drop(&mut self) {
        if let Err(error) = store::remove_dir(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "leave what there is of a snapshot");
        }
    }
}
