//! The files of a feature log: `DIR/NAME/NUMBER-OLDEST-NEWEST-VECTORS.parquet`, where NAME is a service or view, files are numbered in the order in which they were written, and
//! vectors were served from OLDEST to NEWEST (µs since 1970).
//!
//! Files go by their number, the lowest first. What went is written down before it does (`DIR/expired.json`), so that an audit can say what it has not seen, and a file that is still there though
//! it was written down does not count.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lockstep_model::EventTime;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::kept::{self, KeptFile, UNFINISHED, write_whole};

const EXPIRED: &str = "expired.json";

/// The directory of a feature log.
#[derive(Debug, Clone)]
pub struct LogDir {
    dir: PathBuf,
}

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// What its name says.
    pub named: Named,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What the name of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub number: u64,
    /// When its first vector was served.
    pub oldest: EventTime,
    /// When its last one was.
    pub newest: EventTime,
    /// How many there are.
    pub vectors: u64,
}

/// What is past a log's retention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Files up to this number are gone, or about to go.
    pub through: u64,
    /// Vectors that they held.
    pub vectors: u64,
}

impl Named {
    fn name(&self) -> String {
        let Named { number, oldest, newest, vectors } = self;
        let moment = |moment: &EventTime| moment.0.max(0);
        format!("{number:012}-{:016}-{:016}-{vectors:08}.parquet", moment(oldest), moment(newest))
    }

    fn of(path: &Path) -> Option<Named> {
        let mut numbers = path.file_stem()?.to_str()?.split('-').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (number, oldest, newest, vectors) = (next()?, next()?, next()?, next()?);
        let moment = |micros: u64| i64::try_from(micros).ok().map(EventTime);
        numbers.next().is_none().then_some(Named { number, oldest: moment(oldest)?, newest: moment(newest)?, vectors })
    }
}

impl LogFile {
    /// The service or view that it is of, as its directory is called.
    pub fn dir_name(&self) -> String {
        self.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl LogDir {
    /// A log in a directory, which may not be there yet.
    pub fn new(dir: PathBuf) -> LogDir {
        LogDir { dir }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What went already.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn expired(&self) -> Result<Expired> {
        let path = self.dir.join(EXPIRED);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("read {}", path.display())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Expired::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// The files that count, by their numbers.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn files(&self) -> Result<Vec<LogFile>> {
        let expired = self.expired()?;
        let mut files: Vec<LogFile> = self.whole()?.into_iter().filter_map(found).filter(|file| file.named.number > expired.through).collect();
        files.sort_by_key(|file| file.named.number);
        Ok(files)
    }

    /// The files that count of a service or view, by their numbers.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub fn files_of(&self, name: &str) -> Result<Vec<LogFile>> {
        let dir = self.dir.join(dir_name(name));
        let mut files = self.files()?;
        files.retain(|file| file.path.parent() == Some(dir.as_path()));
        Ok(files)
    }

    /// The services and views that have files which count, as their directories are called.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub fn names(&self) -> Result<Vec<String>> {
        let names: BTreeSet<String> = self.files()?.iter().map(LogFile::dir_name).collect();
        Ok(names.into_iter().collect())
    }

    /// What the files say, those of answers that were kept one by one among them, and what is past the log's retention. Files that go meanwhile are left out, and counted among these.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(&self) -> Result<(Vec<KeptFile>, Expired)> {
        let mut files = Vec::new();
        for path in self.whole()? {
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("read {}", path.display()))?,
            };
            let name = path.strip_prefix(&self.dir).unwrap_or(&path).display().to_string();
            files.push((Named::of(&path), KeptFile { name, bytes: Bytes(bytes) }));
        }
        let expired = self.expired()?;
        files.retain(|(named, _)| named.is_none_or(|named| named.number > expired.through));
        files.sort_by_key(|(named, _)| named.map(|named| named.number));
        Ok((files.into_iter().map(|(_, file)| file).collect(), expired))
    }

    fn whole(&self) -> Result<Vec<PathBuf>> {
        if self.dir.is_dir() { kept::paths(&self.dir) } else { Ok(Vec::new()) }
    }

    /// Clears up after a crash, while nobody writes: files that were not finished go, and those that were written down as gone.
    ///
    /// # Errors
    /// Where the directory cannot be read or changed.
    pub fn settle(&self) -> Result<()> {
        let expired = self.expired()?;
        for file in self.whole()?.into_iter().filter_map(found).filter(|file| file.named.number <= expired.through) {
            remove(&file.path)?;
        }
        let dirs = if self.dir.is_dir() { kept::entries(&self.dir)? } else { Vec::new() };
        for dir in dirs.iter().filter(|path| path.is_dir()) {
            for path in kept::entries(dir)?.iter().filter(|path| path.extension().is_some_and(|extension| extension == UNFINISHED)) {
                remove(path)?;
            }
        }
        Ok(())
    }

    /// Writes a file of vectors of a service or view, whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, name: &str, named: Named, bytes: &[u8]) -> Result<LogFile> {
        let path = self.dir.join(dir_name(name)).join(named.name());
        write_whole(&path, bytes)?;
        Ok(LogFile { path, named, bytes: bytes.len() as u64 })
    }

    /// Removes files, the first ones that count.
    ///
    /// # Errors
    /// Where it cannot be written down, or one cannot be removed.
    pub fn expire(&self, files: &[LogFile]) -> Result<()> {
        let Some(last) = files.last() else { return Ok(()) };
        let before = self.expired()?;
        let vectors = before.vectors + files.iter().map(|file| file.named.vectors).sum::<u64>();
        let expired = Expired { through: last.named.number, vectors };
        write_whole(&self.dir.join(EXPIRED), serde_json::to_string(&expired)?.as_bytes())?;
        files.iter().try_for_each(|file| remove(&file.path))
    }
}

/// The directory of a service or view: its name, where that is plain.
fn dir_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn found(path: PathBuf) -> Option<LogFile> {
    let named = Named::of(&path)?;
    let bytes = fs::metadata(&path).ok()?.len();
    Some(LogFile { path, named, bytes })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("remove {}", path.display())),
    }
}
