//! The journal of a watched directory.
//!
//! | line          | what happened                                                    |
//! |---------------|------------------------------------------------------------------|
//! | `M` path      | a directory was made                                             |
//! | `L` inode path| a file got a name                                                |
//! | `R` old new   | a name changed                                                   |
//! | `U` path      | a name went                                                      |
//! | `W` inode size| bytes were written; the file is so long now                      |
//! | `T` inode size| the file was cut or stretched to this length                     |
//! | `P` inode copy| bytes are about to change in place; `copies/<copy>` has them all |
//! | `S` inode size| the file was forced, when it was so long                         |
//! | `D` path      | a directory was forced                                           |
//! | `#` text      | the child said so                                                |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;

/// What happened to a watched directory, line by line.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    shadow: PathBuf,
    lines: Vec<Line>,
}

/// One line.
#[derive(Debug)]
pub(super) enum Line {
    Made(PathBuf),
    Named(u64, PathBuf),
    Renamed(PathBuf, PathBuf),
    Gone(PathBuf),
    Written(u64, u64),
    Truncated(u64, u64),
    Kept(u64, String),
    Forced(u64, u64),
    DirForced(PathBuf),
    Mark(String),
}

impl Journal {
    pub(super) fn read(root: &Path, shadow: &Path) -> io::Result<Journal> {
        let text = fs::read_to_string(shadow.join("journal"))?;
        let lines = text.lines().map(|line| Line::parse(line).ok_or_else(|| invalid(format!("no journal line: `{line}`"))));
        Ok(Journal { root: root.to_owned(), shadow: shadow.to_owned(), lines: lines.collect::<io::Result<_>>()? })
    }

    /// How many moments there are to cut the power at: after the first `0..=lines()` lines.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// How many writes the child made: what a [`super::Fault`] counts.
    pub fn writes(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::Written(..))).count()
    }

    /// What the child had said by a moment, oldest first.
    pub fn marks(&self, at: usize) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().take(at).filter_map(|line| match line {
            Line::Mark(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Makes `to` the directory as it is after a power cut at a moment. With a seed, some of what was not forced is there too,
    /// as a disk may have it; without one, nothing is.
    pub fn power_cut(&self, at: usize, seed: Option<u64>, to: &Path) -> io::Result<()> {
        let mut disk = Disk::new(&self.root);
        self.lines.iter().take(at).try_for_each(|line| disk.apply(line))?;
        // What was forced before the cut and changed in place after it: as it was before that.
        for line in self.lines.iter().skip(at) {
            if let Line::Kept(inode, copy) = line {
                disk.restore(*inode, copy);
            }
        }
        disk.lose_power(seed.map(fastrand::Rng::with_seed)).write(&self.shadow, to)
    }
}

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let mut parts = line.split('\t');
        let kind = parts.next()?;
        let mut part = || parts.next();
        Some(match kind {
            "M" => Line::Made(part()?.into()),
            "L" => Line::Named(part()?.parse().ok()?, part()?.into()),
            "R" => Line::Renamed(part()?.into(), part()?.into()),
            "U" => Line::Gone(part()?.into()),
            "W" => Line::Written(part()?.parse().ok()?, part()?.parse().ok()?),
            "T" => Line::Truncated(part()?.parse().ok()?, part()?.parse().ok()?),
            "P" => Line::Kept(part()?.parse().ok()?, part()?.to_owned()),
            "S" => Line::Forced(part()?.parse().ok()?, part()?.parse().ok()?),
            "D" => Line::DirForced(part()?.into()),
            "#" => Line::Mark(part()?.to_owned()),
            _ => return None,
        })
    }
}

pub(super) fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
