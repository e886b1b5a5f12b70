//! Failures of the disk and of RocksDB, in words and kinds that people and callers can act on.

use std::io;
use std::path::Path;

use lockstep_model::Error;
use rocksdb::ErrorKind;

/// Explains a failure of RocksDB while `doing` (a verb phrase) in the store at `dir`.
pub(crate) fn rocks(dir: &Path, doing: &str, error: rocksdb::Error) -> Error {
    let kind = error.kind();
    let said = error.to_string();
    let dir = dir.display();
    let explained = if said.contains("No space left on device") {
        disk_full(&dir.to_string(), doing)
    } else if kind == ErrorKind::Corruption {
        Error::data(format!("cannot {doing} · the store at {dir} is damaged: {said} · restore a snapshot, or backfill into a new store"))
    } else if said.contains("While lock file") || said.contains("lock hold by current process") {
        Error::unavailable(format!("cannot {doing} · the store at {dir} is in use: {said} · stop its owner first"))
    } else if matches!(kind, ErrorKind::InvalidArgument | ErrorKind::NotSupported | ErrorKind::ColumnFamilyDropped) {
        Error::internal(format!("cannot {doing} · store at {dir}: {said}"))
    } else {
        Error::unavailable(format!("cannot {doing} · store at {dir}: {said} · check the disk, then start again: what was committed is kept"))
    };
    explained.caused_by(error)
}

/// Whether a failure is that there was one before.
pub(crate) fn is_aftermath(error: &rocksdb::Error) -> bool {
    error.to_string().contains("Writer has previous error")
}

/// Whether the disk refused to take something.
pub(crate) fn is_of_disk(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && !is_aftermath(error)
}

/// Explains a failure of the file system while `doing` (a verb phrase) at `path`.
pub(crate) fn io(path: &Path, doing: &str, error: io::Error) -> Error {
    let path = path.display();
    let explained = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(&path.to_string(), doing),
        _ => Error::unavailable(format!("cannot {doing} · {path}: {error}")),
    };
    explained.caused_by(error)
}

fn disk_full(path: &str, doing: &str) -> Error {
    Error::unavailable(format!("cannot {doing} · no space is left on the disk of {path} · free some, then start again: what was committed is kept"))
}
