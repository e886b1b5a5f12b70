//! One process owns a store: an advisory lock, and beside it who holds it.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use lockstep_model::{Error, EventTime};
use serde::{Deserialize, Serialize};

use crate::explain;

const FILE: &str = "OWNER";

/// Who holds a store, as its `OWNER` file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The verb it runs, such as `serve`.
    pub verb: String,
    /// Its process.
    pub pid: u32,
    /// Its machine.
    pub host: String,
    /// When it opened the store.
    pub started_at: EventTime,
}

/// Who holds the store at `dir`, or held it last if it ended without closing it. `None` where nobody does.
pub fn read_owner(dir: &Path) -> Option<Owner> {
    serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()
}

/// A store that another process owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its directory.
    pub dir: PathBuf,
    /// Who owns it; absent where they have not said so yet.
    pub owner: Option<Owner>,
}

impl Taken {
    pub(crate) fn new(dir: &Path) -> Self {
        Taken { dir: dir.to_owned(), owner: read_owner(dir) }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store at {} has an owner already", self.dir.display())?;
        match &self.owner {
            Some(Owner { verb, pid, host, started_at }) => write!(f, " · `lockstep {verb}`, process {pid} on {host}, since {started_at}"),
            None => write!(f, " · another process, which has not said its name yet"),
        }
    }
}

impl From<Taken> for Error {
    fn from(taken: Taken) -> Self {
        Error::unavailable(format!("{taken} · stop it, or wait until it ends"))
    }
}

/// The lock; the operating system frees it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    file: File,
}

impl OwnerLock {
    /// Takes the store at `dir` for `verb`; `None` where another process has it.
    pub(crate) fn take(dir: &Path, verb: &str, now: EventTime) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let doing = "take the store";
        let failed = |error| explain::io(&path, doing, error);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let owner = Owner { verb: verb.to_owned(), pid: std::process::id(), host: host(), started_at: now };
        let text = serde_json::to_vec(&owner).map_err(|error| Error::internal(error.to_string()))?;
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text)).map_err(failed)?;
        Ok(Some(OwnerLock { file }))
    }
}

impl Drop for OwnerLock {
    /// Leaves no name behind. The lock goes with the file, whether or not the name can be wiped; but a process that is being started beside this one holds
    /// the file open for a moment longer, and would hold a lock that is not given up.
    fn drop(&mut self) {
        if let Err(error) = self.file.set_len(0).and(self.file.unlock()) {
            tracing::debug!(%error, "leave the OWNER file as it is");
        }
    }
}

fn host() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    kernel.map_or_else(|_| "an unnamed host".to_owned(), |name| name.trim().to_owned())
}
