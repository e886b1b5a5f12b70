//! Text, a block at a time: read, made valid UTF-8, and passed record by record.

use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;

use super::error::SourceError;

/// How much is read at once.
const BLOCK_BYTES: usize = 4 << 20;
/// A read that gives less than this from a pipe means that the writer is behind: where a line has ended, what there is goes on rather than wait.
const PIPE_BYTES: usize = 64 << 10;

/// The text of a file that has been read and not passed yet.
pub(super) struct Blocks {
    file: String,
    read: Box<dyn Read + Send>,
    /// The block, in which bytes that are no UTF-8 are replaced by `?`, so that no offset changes.
    text: Arc<String>,
    /// The block as it was read, where that differs.
    original: Option<Vec<u8>>,
    /// Offsets of the replaced bytes, ascending.
    replaced: Vec<usize>,
    /// Offset in the block of what has not been passed.
    at: usize,
    /// Bytes read so far, and how many there must be.
    read_bytes: u64,
    expected: Option<u64>,
    eof: bool,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("file", &self.file).field("read_bytes", &self.read_bytes).field("eof", &self.eof).finish_non_exhaustive()
    }
}

impl Blocks {
    /// Reads `read`, which must give `expected` bytes where that is known.
    pub(super) fn new(file: &str, read: Box<dyn Read + Send>, expected: Option<u64>) -> Self {
        Blocks { file: file.to_owned(), read, text: Arc::default(), original: None, replaced: Vec::new(), at: 0, read_bytes: 0, expected, eof: false }
    }

    /// The block.
    pub(super) fn text(&self) -> &Arc<String> {
        &self.text
    }

    /// Where in the block the text begins that has not been passed.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Whether the block reaches to the end of the file.
    pub(super) fn eof(&self) -> bool {
        self.eof
    }

    /// Bytes of the block that have not been passed.
    pub(super) fn left(&self) -> usize {
        self.text.len() - self.at
    }

    /// The bytes of a range of the block as they were read.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        let bytes = self.original.as_deref().unwrap_or(self.text.as_bytes());
        bytes.get(range).unwrap_or_default()
    }

    /// Whether all of a range was UTF-8.
    pub(super) fn is_utf8(&self, range: Range<usize>) -> bool {
        let first = self.replaced.partition_point(|&at| at < range.start);
        self.replaced.get(first).is_none_or(|&at| at >= range.end)
    }

    /// Moves past `count` bytes.
    pub(super) fn pass(&mut self, count: usize) {
        self.at = (self.at + count).min(self.text.len());
    }

    /// Reads more behind what is left; sets the end of the file if there is none.
    pub(super) fn more(&mut self) -> Result<(), SourceError> {
        let mut bytes = self.bytes(self.at..self.text.len()).to_vec();
        let kept = bytes.len();
        bytes.resize(kept + BLOCK_BYTES, 0);
        let mut filled = kept;
        while filled < bytes.len() && !self.eof {
            match self.read.read(&mut bytes[filled..]) {
                Ok(0) => self.eof = true,
                Ok(count) => {
                    let ends_line = memchr::memchr(b'\n', &bytes[filled..filled + count]).is_some();
                    filled += count;
                    if count < PIPE_BYTES && ends_line {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceError::Io { file: self.file.clone(), cause: error.to_string() }),
            }
        }
        bytes.truncate(filled);
        self.read_bytes += (filled - kept) as u64;
        self.check_length()?;
        self.take(bytes);
        Ok(())
    }

    fn check_length(&mut self) -> Result<(), SourceError> {
        match self.expected {
            // Nothing is behind the end that is known, so that the end is seen without one more read.
            Some(expected) if self.read_bytes >= expected => self.eof = true,
            Some(expected) if self.eof => {
                let what = format!(
                    "was cut short while it was being read: it ended after {} of {expected} bytes · read it when it is whole",
                    self.read_bytes
                );
                return Err(SourceError::Damaged { file: self.file.clone(), what });
            }
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, bytes: Vec<u8>) {
        self.at = 0;
        self.replaced.clear();
        self.original = None;
        self.text = Arc::new(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let bytes = error.into_bytes();
                let text = replace(&bytes, &mut self.replaced);
                self.original = Some(bytes);
                text
            }
        });
    }
}

/// A text of the same length with `?` for every byte that is part of no character.
fn replace(bytes: &[u8], replaced: &mut Vec<usize>) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            replaced.push(text.len());
            text.push('?');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_keep_their_places() {
        let bytes = b"ab\xffc\xc3\n\xe2\x82z\xc3\xa9";
        let mut replaced = Vec::new();
        assert_eq!(replace(bytes, &mut replaced), "ab?c?\n??z\u{e9}");
        assert_eq!(replaced, [2, 4, 6, 7]);
    }

    #[test]
    fn what_is_left_is_carried_as_it_was() {
        let bytes = [b"one\n\xe2".as_slice(), &[0x82], b"\xac\n"];
        let read = bytes.iter().fold(Box::new(std::io::empty()) as Box<dyn Read + Send>, |all, part| Box::new(all.chain(*part)));
        let mut blocks = Blocks::new("f", read, Some(8));
        blocks.more().unwrap();
        assert_eq!(blocks.text().as_str(), "one\n?");
        assert!(blocks.is_utf8(0..4) && !blocks.is_utf8(4..5) && !blocks.eof());
        blocks.pass(4);
        blocks.more().unwrap();
        blocks.more().unwrap();
        assert_eq!(blocks.text().as_str(), "\u{20ac}\n");
        assert!(blocks.is_utf8(0..4) && blocks.eof());
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let mut blocks = Blocks::new("f", Box::new(&b"ab\n"[..]), Some(5));
        blocks.more().unwrap();
        let error = blocks.more().unwrap_err().to_string();
        assert_eq!(error, "`f` was cut short while it was being read: it ended after 3 of 5 bytes · read it when it is whole");
    }
}
