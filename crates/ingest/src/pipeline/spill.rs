//! Staged changes put aside on the disk, where there are more of them than memory may take.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lockstep_model::Error;
use lockstep_transform::changes::StagedChanges;
use xxhash_rust::xxh3::xxh3_64;

/// How a history is read that may not fit into memory.
#[derive(Debug, Clone)]
pub(crate) struct Spilling {
    /// Where changes are put.
    pub(crate) dir: PathBuf,
    /// Bytes of staged changes from which on a share of them goes there.
    pub(crate) share_bytes: usize,
    /// Which of several passes over the inputs this is, and of how many: each decides about a part of the primary keys.
    pub(crate) pass: (usize, usize),
}

/// A file of pieces of staged changes. It has no name, so that nothing is left of it.
#[derive(Debug)]
pub(crate) struct Spill {
    file: File,
    end: u64,
    pieces: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    bucket: u32,
    start: u64,
    len: u32,
    hash: u64,
}

fn failed(error: std::io::Error) -> Error {
    Error::unavailable("staged events could not be put aside on the disk, or read again").caused_by(error)
}

impl Spill {
    /// An empty one.
    ///
    /// # Errors
    /// Where no file can be made.
    pub(crate) fn new(dir: &Path) -> Result<Spill, Error> {
        Ok(Spill { file: tempfile::tempfile_in(dir).map_err(failed)?, end: 0, pieces: Vec::new() })
    }

    /// Takes all staged changes.
    ///
    /// # Errors
    /// Where the disk is full.
    pub(crate) fn take(&mut self, staged: &mut StagedChanges) -> Result<(), Error> {
        staged.take_pieces(|bucket, bytes| {
            self.file.write_all_at(bytes, self.end).map_err(failed)?;
            // Pieces are of some 64 KiB.
            self.pieces.push(Place { bucket: bucket as u32, start: self.end, len: bytes.len() as u32, hash: xxh3_64(bytes) });
            self.end += bytes.len() as u64;
            Ok(())
        })
    }

    /// Puts the pieces of a bucket, in their order, into the only bucket of `staged`.
    ///
    /// # Errors
    /// Data where the file is not what was written.
    pub(crate) fn put_back(&self, bucket: usize, staged: &mut StagedChanges) -> Result<(), Error> {
        for place in self.pieces.iter().filter(|place| place.bucket as usize == bucket) {
            let mut bytes = vec![0; place.len as usize];
            self.file.read_exact_at(&mut bytes, place.start).map_err(failed)?;
            if xxh3_64(&bytes) != place.hash {
                return Err(Error::data("events that were put aside on the disk came back damaged · see to the disk, and run it again"));
            }
            staged.put_piece(0, &bytes)?;
        }
        Ok(())
    }
}
