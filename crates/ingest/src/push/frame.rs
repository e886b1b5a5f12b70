//! What a segment consists of: frames, each with its length, its checksum and what it holds.
//!
//! ```text
//! frame    magic (4) ‖ length of the rest (4) ‖ XXH3-64 of the rest (8) ‖ rest
//! rest     mark of the frame before (8) ‖ synced (8) ‖ first row (8) ‖ rows (4) ‖ append time (8) ‖ content (1) ‖ body
//! ```
//!
//! Numbers are little-endian. The checksum of a frame is its *mark*: since it covers the mark before it, it stands for all that the log holds up to there. *Synced* is how
//! long the segment was when all of it was known to be on the disk, before this frame was written: whatever lies before that and does not check was there once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use lockstep_model::codec::{CodecError, Reader};
use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"LSpf";
/// Magic, length and checksum.
const HEAD_BYTES: usize = 16;
/// Longest rest of a frame: more than any push may have.
const REST_BYTES_MAX: usize = 1 << 30;
/// How much of a segment is read at once.
const READ_BYTES: usize = 256 << 10;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// The columns of the rows of its segment: the first frame, and no row.
    Columns,
    /// Rows.
    Rows,
    /// That no event before a moment is to be expected. Takes a row's number.
    Heartbeat,
}

/// A frame to be written.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) content: Content,
    pub(super) rows: u32,
    pub(super) append_time: i64,
    pub(super) body: &'a [u8],
}

/// A frame as read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// What it and all before it are known by.
    pub(super) mark: u64,
    pub(super) mark_before: u64,
    pub(super) synced: u64,
    pub(super) first_row: u64,
    pub(super) rows: u32,
    pub(super) append_time: i64,
    pub(super) content: Content,
    pub(super) body: &'a [u8],
}

impl Draft<'_> {
    /// Appends the frame to `out`; its mark.
    pub(super) fn write(&self, mark_before: u64, synced: u64, first_row: u64, out: &mut Vec<u8>) -> u64 {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        [mark_before, synced, first_row].iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.append_time.to_le_bytes());
        out.push(match self.content {
            Content::Columns => 0,
            Content::Rows => 1,
            Content::Heartbeat => 2,
        });
        out.extend_from_slice(self.body);
        let rest = &out[start + HEAD_BYTES..];
        let (length, mark) = (rest.len() as u32, xxh3_64(rest));
        out[start..][..4].copy_from_slice(&MAGIC);
        out[start + 4..][..4].copy_from_slice(&length.to_le_bytes());
        out[start + 8..][..8].copy_from_slice(&mark.to_le_bytes());
        mark
    }
}

/// The length and the checksum of what follows a head; `None` where it is none.
fn head(bytes: &[u8]) -> Option<(usize, u64)> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (mark, _) = rest.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*length) as usize;
    (*magic == MAGIC && length <= REST_BYTES_MAX).then(|| (length, u64::from_le_bytes(*mark)))
}

fn decode(mark: u64, rest: &[u8]) -> Result<Frame<'_>, CodecError> {
    let mut reader = Reader::new(rest);
    let [mark_before, synced, first_row] = [reader.array()?, reader.array()?, reader.array()?].map(u64::from_le_bytes);
    let rows = u32::from_le_bytes(reader.array()?);
    let append_time = i64::from_le_bytes(reader.array()?);
    let content = match reader.byte()? {
        0 => Content::Columns,
        1 => Content::Rows,
        2 => Content::Heartbeat,
        _ => return Err(CodecError::new("a frame of another release")),
    };
    Ok(Frame { mark, mark_before, synced, first_row, rows, append_time, content, body: reader.rest() })
}

/// What comes next in a segment.
#[derive(Debug)]
pub(super) enum Next<'a> {
    Frame(Frame<'a>),
    End,
    /// Bytes that are no whole frame.
    Broken,
}

/// Reads the frames of a segment, one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    file: File,
    /// What has been read of it, and from where on.
    bytes: Vec<u8>,
    start: u64,
    /// Where the next frame begins.
    at: u64,
}

impl Frames {
    /// From the beginning of the file.
    pub(super) fn new(file: File) -> Frames {
        Frames { file, bytes: Vec::new(), start: 0, at: 0 }
    }

    /// Where the next frame begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next frame that ends within the first `limit` bytes.
    pub(super) fn next(&mut self, limit: u64) -> io::Result<Next<'_>> {
        if self.at >= limit {
            return Ok(Next::End);
        }
        let Some((length, mark)) = head(self.fill(HEAD_BYTES, limit)?) else { return Ok(Next::Broken) };
        let rest = self.fill(HEAD_BYTES + length, limit)?;
        let whole = rest.len() >= HEAD_BYTES + length && xxh3_64(&rest[HEAD_BYTES..][..length]) == mark;
        if !whole {
            return Ok(Next::Broken);
        }
        let from = (self.at - self.start) as usize + HEAD_BYTES;
        self.at += (HEAD_BYTES + length) as u64;
        Ok(decode(mark, &self.bytes[from..from + length]).map_or(Next::Broken, Next::Frame))
    }

    /// At least `wanted` bytes from where the next frame begins, or all up to the limit.
    fn fill(&mut self, wanted: usize, limit: u64) -> io::Result<&[u8]> {
        let passed = (self.at - self.start) as usize;
        if self.bytes.len() < passed + wanted {
            self.bytes.drain(..passed.min(self.bytes.len()));
            self.start = self.at;
            let mut have = self.bytes.len();
            let room = wanted.max(READ_BYTES).min(usize::try_from(limit - self.at).unwrap_or(usize::MAX));
            self.bytes.resize(room.max(have), 0);
            while have < room {
                match self.file.read_at(&mut self.bytes[have..room], self.start + have as u64) {
                    Ok(0) => break,
                    Ok(count) => have += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.bytes.truncate(have);
        }
        Ok(&self.bytes[(self.at - self.start) as usize..])
    }
}

/// Whether any frame behind byte `broken` of a segment says that what lies there was on the disk before it.
pub(super) fn was_synced(segment: &[u8], broken: u64) -> bool {
    let from = (broken as usize + 1).min(segment.len());
    memmem::find_iter(&segment[from..], &MAGIC).any(|at| {
        let bytes = &segment[from + at..];
        let Some((length, mark)) = head(bytes) else { return false };
        let Some(rest) = bytes.get(HEAD_BYTES..HEAD_BYTES + length) else { return false };
        xxh3_64(rest) == mark && decode(mark, rest).is_ok_and(|frame| frame.synced > broken)
    })
}
