//! The format of a store directory, in a file of its own, read before anything else is trusted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use lockstep_model::Error;

use crate::explain;

/// The newest format this release reads. 2 has the outbox, 3 has releases. A store is given a format when it first needs it, so that one without releases can still be
/// opened by the program before: that one knows nothing of the pointer, and would serve something else than it says.
pub const FORMAT_VERSION: u32 = 3;

/// What a store is marked as that has no releases; what is read of format 1 becomes this.
const WITHOUT_RELEASES: u32 = 2;

const FILE: &str = "FORMAT";
const HEAD: &str = "lockstep-store ";

/// Reads the format of the store at `dir` and refuses one that is newer than this release; marks a directory that has none yet or an older one,
/// unless `has_data` says that something else already lies in it.
pub(crate) fn check_or_mark(dir: &Path, has_data: bool) -> Result<(), Error> {
    match read(dir)? {
        Some(WITHOUT_RELEASES..) => Ok(()),
        None if has_data => Err(Error::data(format!(
            "{} holds a database without its {FILE} file · it is no complete store · restore the file, or choose an empty directory",
            dir.display()
        ))),
        _ => mark(dir, WITHOUT_RELEASES),
    }
}

/// Marks the store at `dir` as one that has releases, before the first is written.
pub(crate) fn raise(dir: &Path) -> Result<(), Error> {
    if read(dir)? == Some(FORMAT_VERSION) { Ok(()) } else { mark(dir, FORMAT_VERSION) }
}

/// Marks `to` as what the store at `dir` is.
pub(crate) fn copy(dir: &Path, to: &Path) -> Result<(), Error> {
    mark(to, read(dir)?.unwrap_or(FORMAT_VERSION))
}

/// The format of the store at `dir`, which this release reads; `None` where the directory says nothing.
pub(crate) fn read(dir: &Path) -> Result<Option<u32>, Error> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => check(dir, &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(explain::io(&path, "read the format of the store", error)),
    }
}

/// Writes the format file of `dir`, whole or not at all.
fn mark(dir: &Path, version: u32) -> Result<(), Error> {
    let path = dir.join(FILE);
    let partial = dir.join("FORMAT.partial");
    let write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        writeln!(file, "{HEAD}{version}")?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        sync_dir(dir)
    };
    write().map_err(|error| explain::io(&path, "write the format of the store", error))
}

/// Makes creations, renames and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The format that a text says.
fn check(dir: &Path, text: &str) -> Result<u32, Error> {
    let dir = dir.display();
    let version = text.strip_prefix(HEAD).and_then(|rest| rest.trim_end().parse::<u32>().ok());
    match version {
        Some(version @ 1..=FORMAT_VERSION) => Ok(version),
        Some(version) if version > FORMAT_VERSION => Err(Error::invalid(format!(
            "the store at {dir} has format {version} · this release reads formats up to {FORMAT_VERSION} · open it with the release that wrote it, or a later one"
        ))),
        _ => Err(Error::data(format!(
            "the {FILE} file of {dir} says `{}` · it should say `{HEAD}{WITHOUT_RELEASES}` or later · choose another directory",
            text.trim()
        ))),
    }
}
