//! The files of a snapshot, and how they are known again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lockstep_model::Error;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::manifest::{self, damaged};
use super::shelf::Snapshots;
use crate::database::DATABASE;
use crate::explain;

/// How RocksDB calls a table: a file that never changes, and that snapshots share with each other and with the store.
const TABLE: &str = "sst";
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Its path below the snapshot, with `/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// XXH3-128 of its bytes, as 32 hexadecimal digits.
    pub xxh3: String,
}

/// Hashes of tables that earlier snapshots have hashed, by device, inode and size: the same file now, whatever it is called. Its hash of then is what it is to have.
#[derive(Debug, Default)]
pub(super) struct Known {
    hashes: HashMap<(u64, u64, u64), String>,
}

impl Known {
    /// Those of all snapshots whose manifests can be read. What a file on the shelf cannot be asked about is hashed again.
    pub(super) fn of(snapshots: &Snapshots) -> Known {
        let mut known = Known::default();
        for listed in snapshots.list().into_iter().flatten() {
            let dir = snapshots.dir_of(&listed.name);
            let files = listed.manifest.map(|manifest| manifest.files).unwrap_or_default();
            for file in files.into_iter().filter(|file| is_table(&file.path)) {
                let Ok(metadata) = fs::metadata(dir.join(&file.path)) else { continue };
                if metadata.len() == file.bytes {
                    known.hashes.insert(identity(&metadata), file.xxh3);
                }
            }
        }
        known
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64, u64) {
    (metadata.dev(), metadata.ino(), metadata.len())
}

fn is_table(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == TABLE)
}

/// Every file of the snapshot at `dir` but the manifest, by name.
pub(super) fn hash_all(dir: &Path, known: &Known) -> io::Result<Vec<SnapshotFile>> {
    let paths = paths(dir)?;
    each(paths.len(), |index| {
        let path = paths[index].clone();
        let full = dir.join(&path);
        let metadata = fs::metadata(&full)?;
        let hash = match known.hashes.get(&identity(&metadata)).filter(|_| is_table(&path)) {
            Some(hash) => hash.clone(),
            None => hexadecimal(hash(&full)?),
        };
        Ok(SnapshotFile { path, bytes: metadata.len(), xxh3: hash })
    })
}

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// They are there, with their sizes.
    Sizes,
    /// Every byte of them.
    Bytes,
}

/// Refuses a snapshot at `dir` whose files are not those of its manifest.
pub(super) fn check(dir: &Path, files: &[SnapshotFile], look: Look) -> Result<(), Error> {
    let database = format!("{DATABASE}/");
    let there = paths(dir).map_err(|error| explain::io(dir, "list the files of a snapshot", error))?;
    // RocksDB would take a log that lies there for one of its own.
    if let Some(stranger) = there.iter().filter(|path| path.starts_with(&database)).find(|path| !files.iter().any(|file| file.path == **path)) {
        return Err(damaged(dir, stranger, "it does not belong to the snapshot"));
    }
    each(files.len(), |index| Ok(check_file(dir, &files[index], look)))
        .map_err(|error| explain::io(dir, "check the files of a snapshot", error))?
        .into_iter()
        .collect()
}

fn check_file(dir: &Path, file: &SnapshotFile, look: Look) -> Result<(), Error> {
    let path = dir.join(&file.path);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => damaged(dir, &file.path, &format!("it is missing · expected: {} bytes", file.bytes)),
        _ => explain::io(&path, "read a file of a snapshot", error),
    };
    let bytes = fs::metadata(&path).map_err(failed)?.len();
    if bytes != file.bytes {
        return Err(damaged(dir, &file.path, &format!("it has {bytes} bytes · expected: {}", file.bytes)));
    }
    if look == Look::Sizes {
        return Ok(());
    }
    let found = hexadecimal(hash(&path).map_err(failed)?);
    if found != file.xxh3 {
        return Err(damaged(dir, &file.path, &format!("its hash is {found} · expected: {}", file.xxh3)));
    }
    Ok(())
}

/// The paths of all files of a snapshot but its manifest, sorted.
fn paths(dir: &Path) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for (below, prefix) in [(dir.to_owned(), String::new()), (dir.join(DATABASE), format!("{DATABASE}/"))] {
        let entries = match fs::read_dir(below) {
            // Then the files that should be in it are missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                paths.push(format!("{prefix}{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    paths.retain(|path| path != manifest::FILE);
    paths.sort();
    Ok(paths)
}

/// `work(0)`, `work(1)`, … up to before `count`, on as many threads as there are cores, in order.
fn each<T: Send>(count: usize, work: impl Fn(usize) -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count);
    let next = AtomicUsize::new(0);
    let share = || -> io::Result<Vec<(usize, T)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(done);
            }
            done.push((index, work(index)?));
        }
    };
    let shares: Vec<io::Result<Vec<(usize, T)>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut all = Vec::with_capacity(count);
    for share in shares {
        all.extend(share?);
    }
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, done)| done).collect())
}

fn hash(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    let mut hash = Xxh3::new();
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.digest128()),
            read => hash.update(&chunk[..read]),
        }
    }
}

pub(super) fn hexadecimal(hash: u128) -> String {
    format!("{hash:032x}")
}
