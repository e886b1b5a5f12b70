//! Where a text file has been read to, and whether it is still the file that was read.
//!
//! A position carries the hash of all bytes before it. On resume they are read again, without being parsed, and the hash is compared as the position is passed.
//! Several sources of one file may stand at different positions: reading starts at the least, and the others are checked on the way.

use xxhash_rust::xxh3::Xxh3;

use super::WantedSource;
use super::error::SourceError;

/// How a file has changed, before it is put in words.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// The source whose position it contradicts.
    pub(super) source: String,
    /// Rows it had done.
    pub(super) rows: u64,
    /// How it is seen.
    pub(super) what: String,
}

impl Change {
    pub(super) fn in_file(self, file: &str) -> SourceError {
        SourceError::Changed { file: file.to_owned(), source_name: self.source, rows: self.rows, what: self.what }
    }
}

#[derive(Debug, Clone)]
struct Check {
    bytes: u64,
    hash: u64,
    source: String,
    rows: u64,
}

impl Check {
    fn failed(&self, what: impl Into<String>) -> Change {
        Change { source: self.source.clone(), rows: self.rows, what: what.into() }
    }
}

/// The bytes passed so far.
pub(super) struct Passed {
    bytes: u64,
    hash: Xxh3,
    last: Option<u8>,
    /// Positions ahead, the nearest last.
    checks: Vec<Check>,
    /// A position that stands behind a line without an end: the line must not have gone on since.
    open: Option<Check>,
}

impl std::fmt::Debug for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passed").field("bytes", &self.bytes).field("checks", &self.checks).finish_non_exhaustive()
    }
}

impl Passed {
    /// Nothing passed yet of a file of `size` bytes.
    pub(super) fn new(sources: &[WantedSource], size: Option<u64>) -> Result<Self, Change> {
        let mut checks = Vec::new();
        for wanted in sources {
            let Some(position) = &wanted.resume else { continue };
            let check = Check { bytes: position.bytes, hash: position.hash, source: wanted.schema.name.clone(), rows: position.rows };
            if let (Some(before), Some(now)) = (position.size, size)
                && now < before
            {
                return Err(check.failed(format!("it had {before} bytes and has {now}")));
            }
            checks.push(check);
        }
        checks.sort_by_key(|check| std::cmp::Reverse(check.bytes));
        let mut passed = Passed { bytes: 0, hash: Xxh3::new(), last: None, checks, open: None };
        passed.check()?;
        Ok(passed)
    }

    /// Bytes passed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The hash of the bytes passed.
    pub(super) fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// Whether the last byte passed ended a line, or there is none.
    pub(super) fn at_line_start(&self) -> bool {
        self.last.is_none_or(|byte| byte == b'\n')
    }

    /// Moves past `bytes`, comparing at each position on the way.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Change> {
        while let Some(&next) = bytes.first() {
            self.end_open(next)?;
            let until = match &self.open {
                Some(_) => 1,
                None => self.checks.last().map_or(u64::MAX, |check| check.bytes) - self.bytes,
            };
            let (now, rest) = bytes.split_at(usize::try_from(until).unwrap_or(usize::MAX).min(bytes.len()));
            self.hash.update(now);
            self.bytes += now.len() as u64;
            self.last = now.last().copied();
            self.check()?;
            bytes = rest;
        }
        Ok(())
    }

    /// Where a line is open, it must end now: `next` is what follows.
    fn end_open(&mut self, next: u8) -> Result<(), Change> {
        match self.open.take() {
            Some(check) if next == b'\r' && self.last != Some(b'\r') => self.open = Some(check),
            Some(check) if next != b'\n' => return Err(check.failed("its last line had no end and has been continued")),
            _ => {}
        }
        Ok(())
    }

    /// Compares with the positions that stand right here.
    fn check(&mut self) -> Result<(), Change> {
        while let Some(check) = self.checks.pop_if(|check| check.bytes == self.bytes) {
            if check.hash != self.hash.digest() && check.bytes > 0 {
                return Err(check.failed(format!("its first {} bytes are others now", check.bytes)));
            }
            if !self.at_line_start() {
                self.open = Some(check);
            }
        }
        Ok(())
    }

    /// At the end of the file: no position may lie beyond.
    pub(super) fn end(&self) -> Result<(), Change> {
        match self.checks.last() {
            Some(check) => Err(check.failed(format!("it had been read to byte {} and ends after {}", check.bytes, self.bytes))),
            None => Ok(()),
        }
    }
}
