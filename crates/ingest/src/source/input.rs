//! Opening a file for reading from its start.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

use super::error::SourceError;
use super::locate::{Place, SourceFile};

/// A file that is open, and what tells it from another.
pub(super) struct Input {
    /// Its bytes.
    pub(super) read: Box<dyn Read + Send>,
    /// How many there are; unknown of a stream.
    pub(super) size: Option<u64>,
    /// The object store's entity tag, where it gives one.
    pub(super) etag: Option<String>,
}

pub(super) fn open(file: &SourceFile) -> Result<Input, SourceError> {
    match file.place() {
        Place::Local(path) => {
            let (opened, size) = open_local(file, path)?;
            // What is appended from now on belongs to the next read. A pipe or a device has no size.
            match size {
                Some(size) => Ok(Input { read: Box::new(opened.take(size)), size: Some(size), etag: None }),
                None => Ok(Input { read: Box::new(opened), size: None, etag: None }),
            }
        }
        Place::Stream(stream) => {
            let taken = stream.lock().ok().and_then(|mut stream| stream.take());
            let read = taken.ok_or_else(|| SourceError::Io { file: file.name().to_owned(), cause: "a stream can be read once".to_owned() })?;
            Ok(Input { read, size: None, etag: None })
        }
        Place::Remote { store, path, runtime } => {
            let got = runtime.block_on(store.get_opts(path, GetOptions::default())).map_err(|error| store_error(file.name(), error))?;
            let (size, etag) = (got.meta.size, got.meta.e_tag.clone());
            let read = StreamRead { stream: got.into_stream(), runtime: runtime.clone(), pending: io::Cursor::default() };
            Ok(Input { read: Box::new(read), size: Some(size), etag })
        }
    }
}

/// Opens a file on disk; with it its size, which only a regular file has.
pub(super) fn open_local(file: &SourceFile, path: &Path) -> Result<(File, Option<u64>), SourceError> {
    let opened = File::open(path).map_err(|error| io_error(file, error))?;
    let metadata = opened.metadata().map_err(|error| io_error(file, error))?;
    if metadata.is_dir() {
        let reason = "it is a directory · name its files, as in `dir/*.parquet`".to_owned();
        return Err(SourceError::Location { location: file.name().to_owned(), reason });
    }
    Ok((opened, metadata.is_file().then_some(metadata.len())))
}

/// Size and entity tag of an object.
pub(super) fn head(
    name: &str,
    store: &dyn ObjectStore,
    path: &object_store::path::Path,
    runtime: &Handle,
) -> Result<(u64, Option<String>), SourceError> {
    let meta = runtime.block_on(store.head(path)).map_err(|error| store_error(name, error))?;
    Ok((meta.size, meta.e_tag))
}

pub(super) fn io_error(file: &SourceFile, error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound { location: file.name().to_owned(), hint: String::new() },
        _ => SourceError::Io { file: file.name().to_owned(), cause: error.to_string() },
    }
}

pub(super) fn store_error(name: &str, error: object_store::Error) -> SourceError {
    match error {
        object_store::Error::NotFound { .. } => SourceError::NotFound { location: name.to_owned(), hint: String::new() },
        object_store::Error::Precondition { .. } => {
            SourceError::Damaged { file: name.to_owned(), what: "was replaced while it was being read · read it again".to_owned() }
        }
        other => SourceError::Io { file: name.to_owned(), cause: other.to_string() },
    }
}

/// The bytes of an object as they arrive. Fills the buffer it is given, so that network packets do not decide how much is parsed at once.
struct StreamRead {
    stream: BoxStream<'static, object_store::Result<bytes::Bytes>>,
    runtime: Handle,
    pending: io::Cursor<bytes::Bytes>,
}

impl Read for StreamRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let count = self.pending.read(&mut buffer[filled..])?;
            filled += count;
            if count == 0 {
                match self.runtime.block_on(self.stream.next()) {
                    Some(Ok(bytes)) => self.pending = io::Cursor::new(bytes),
                    Some(Err(error)) => return Err(io::Error::other(error)),
                    None => break,
                }
            }
        }
        Ok(filled)
    }
}
