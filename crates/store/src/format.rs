//! The format of a store directory, in a file of its own, read before anything else is trusted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use lockstep_model::Error;

use crate::explain;

/// The newest format this release reads and the one it writes. 2 has the outbox, which the release before does not open; what it reads of format 1 becomes 2.
pub const FORMAT_VERSION: u32 = 2;

const FILE: &str = "FORMAT";
const HEAD: &str = "lockstep-store ";

/// Reads the format of the store at `dir` and refuses one that is newer than this release; marks a directory that has none yet or an older one,
/// unless `has_data` says that something else already lies in it.
pub(crate) fn check_or_mark(dir: &Path, has_data: bool) -> Result<(), Error> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match check(dir, &text)? {
            FORMAT_VERSION => Ok(()),
            _ => mark(dir),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound && has_data => Err(Error::data(format!(
            "{} holds a database without its {FILE} file · it is no complete store · restore the file, or choose an empty directory",
            dir.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => mark(dir),
        Err(error) => Err(explain::io(&path, "read the format of the store", error)),
    }
}

/// Writes the format file of `dir`, whole or not at all.
pub(crate) fn mark(dir: &Path) -> Result<(), Error> {
    let path = dir.join(FILE);
    let partial = dir.join("FORMAT.partial");
    let write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        writeln!(file, "{HEAD}{FORMAT_VERSION}")?;
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
            "the {FILE} file of {dir} says `{}` · it should say `{HEAD}{FORMAT_VERSION}` · choose another directory",
            text.trim()
        ))),
    }
}
