//! The format of a store directory, in a file of its own, read before anything else is trusted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use lockstep_model::Error;

use crate::{CrashPlan, CrashPoint, explain};

/// The newest format this release reads. A store is given a format when it first needs it, so that one without releases can still be opened by the program before: that
/// one knows nothing of the pointer, and would serve something else than it says.
pub const FORMAT_VERSION: u32 = 3;

/// What a store is marked as that is opened: it has the outbox from then on, and RocksDB opens no database with a family that it is not told of.
const OPENED: u32 = 2;
/// What a store is marked as before its first release is written.
const RELEASES: u32 = 3;

/// What each format has that the one before had not, from the second on.
const STEPS: [(u32, &str); 2] = [(OPENED, "a queue for rows that leave the store"), (RELEASES, "releases, and the pointer to the one that serves")];

/// A step from one format to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatStep {
    /// The format that it leads to.
    pub to: u32,
    /// What that has.
    pub what: &'static str,
}

/// The steps that lead from a format to the newest, in order.
pub fn steps_from(format: u32) -> impl Iterator<Item = FormatStep> {
    STEPS.into_iter().map(|(to, what)| FormatStep { to, what }).filter(move |step| step.to > format)
}

const FILE: &str = "FORMAT";
/// What the file is called until it is whole.
const PARTIAL: &str = "FORMAT.partial";
const HEAD: &str = "lockstep-store ";

/// The format of the store at `dir`, or of a snapshot; `None` where the directory says nothing. Takes no lock, and opens nothing.
///
/// # Errors
/// Invalid where it is newer than this release reads; Data where the file says no format.
pub fn format_of(dir: &Path) -> Result<Option<u32>, Error> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => check(dir, &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(explain::io(&path, "read the format of the store", error)),
    }
}

/// Reads the format of the store at `dir` and refuses one that is newer than this release; marks a directory that has none yet or an older one,
/// unless `has_data` says that something else already lies in it.
pub(crate) fn check_or_mark(dir: &Path, has_data: bool, crash: &CrashPlan) -> Result<(), Error> {
    clean(dir)?;
    match format_of(dir)? {
        Some(OPENED..) => Ok(()),
        None if has_data => Err(Error::data(format!(
            "{} holds a database without its {FILE} file · it is no complete store · restore the file, or choose an empty directory",
            dir.display()
        ))),
        _ => mark(dir, OPENED, crash),
    }
}

/// Marks the store at `dir` as one that has releases, before the first is written.
pub(crate) fn raise(dir: &Path, crash: &CrashPlan) -> Result<(), Error> {
    raise_to(dir, RELEASES, crash)
}

/// Marks the store at `dir`, which is open, as one of the newest format.
pub(crate) fn raise_to_newest(dir: &Path, crash: &CrashPlan) -> Result<(), Error> {
    raise_to(dir, FORMAT_VERSION, crash)
}

fn raise_to(dir: &Path, version: u32, crash: &CrashPlan) -> Result<(), Error> {
    if format_of(dir)? >= Some(version) { Ok(()) } else { mark(dir, version, crash) }
}

/// Marks `to` as what the store at `dir` is.
pub(crate) fn copy(dir: &Path, to: &Path) -> Result<(), Error> {
    mark(to, format_of(dir)?.unwrap_or(FORMAT_VERSION), &CrashPlan::default())
}

/// Writes the format file of `dir`, whole or not at all.
fn mark(dir: &Path, version: u32, crash: &CrashPlan) -> Result<(), Error> {
    let (path, partial) = (dir.join(FILE), dir.join(PARTIAL));
    crash.hit(CrashPoint::FormatBefore);
    let write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        writeln!(file, "{HEAD}{version}")?;
        file.sync_all()?;
        crash.hit(CrashPoint::FormatWritten);
        fs::rename(&partial, &path)?;
        sync_dir(dir)
    };
    write().map_err(|error| explain::io(&path, "write the format of the store", error))?;
    crash.hit(CrashPoint::FormatAfter);
    Ok(())
}

/// Removes what a process left that was killed while it wrote the file.
fn clean(dir: &Path) -> Result<(), Error> {
    let partial = dir.join(PARTIAL);
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(explain::io(&partial, "clean up the format of the store", error)),
        _ => Ok(()),
    }
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
            "the {FILE} file of {dir} says `{}` · it should say `{HEAD}{OPENED}` or later · choose another directory",
            text.trim()
        ))),
    }
}
