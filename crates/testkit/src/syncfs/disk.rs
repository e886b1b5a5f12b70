//! What of a directory has reached the disk.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::journal::{Line, invalid};

/// A tree of directories, as the process sees it and as it is on the disk.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    /// By number; 0 is the root. Directories are never taken out, since an older one may be what the disk still has.
    dirs: Vec<Directory>,
    /// By inode.
    files: HashMap<u64, Contents>,
}

type Names = BTreeMap<OsString, Entry>;

#[derive(Debug, Default)]
struct Directory {
    now: Names,
    forced: Names,
    since: Vec<Change>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Dir(usize),
    File(u64),
}

/// One change of a directory's names. A rename within it is one change: no file system shows half of it.
#[derive(Debug)]
enum Change {
    Add(OsString, Entry),
    Remove(OsString),
    Rename(OsString, OsString, Entry),
}

/// The bytes of one file.
#[derive(Debug, Default)]
struct Contents {
    /// How long it is.
    size: u64,
    /// How much of it is safe.
    forced: u64,
    /// How long it was after each write since.
    ends: Vec<u64>,
    /// The copy that has the safe bytes, where they have changed in place since.
    copy: Option<String>,
}

impl Disk {
    /// An empty directory.
    pub(super) fn new(root: &Path) -> Disk {
        Disk { root: root.to_owned(), dirs: vec![Directory::default()], files: HashMap::new() }
    }

    pub(super) fn apply(&mut self, line: &Line) -> io::Result<()> {
        match line {
            Line::Made(path) => {
                self.dirs.push(Directory::default());
                self.change(path, |name, dirs| Change::Add(name, Entry::Dir(dirs - 1)))?;
            }
            Line::Named(inode, path) => {
                self.files.entry(*inode).or_default();
                self.change(path, |name, _| Change::Add(name, Entry::File(*inode)))?;
            }
            Line::Gone(path) => self.change(path, |name, _| Change::Remove(name))?,
            Line::Renamed(from, to) => self.rename(from, to)?,
            Line::DirForced(path) => self.dir(path)?.force(),
            Line::Written(inode, size) | Line::Truncated(inode, size) => {
                let file = self.file(*inode)?;
                file.size = *size;
                file.ends.push(*size);
            }
            Line::Kept(inode, copy) => drop(self.file(*inode)?.copy.get_or_insert_with(|| copy.clone())),
            Line::Forced(inode, size) => {
                let file = self.file(*inode)?;
                (file.size, file.forced, file.copy) = (file.size.max(*size), *size, None);
                file.ends.clear();
            }
            Line::Mark(_) => {}
        }
        Ok(())
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(OsString, usize) -> Change) -> io::Result<()> {
        let dirs = self.dirs.len();
        let (dir, name) = split(path)?;
        let change = change(name.to_owned(), dirs);
        self.dir(dir)?.change(change);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, old), (to_dir, new)) = (split(from)?, split(to)?);
        let entry = *self.dir(from_dir)?.now.get(old).ok_or_else(|| unknown(from))?;
        if from_dir == to_dir {
            self.dir(from_dir)?.change(Change::Rename(old.to_owned(), new.to_owned(), entry));
        } else {
            self.dir(to_dir)?.change(Change::Add(new.to_owned(), entry));
            self.dir(from_dir)?.change(Change::Remove(old.to_owned()));
        }
        Ok(())
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Directory> {
        let below = path.strip_prefix(&self.root).map_err(|_| unknown(path))?;
        let mut at = 0;
        for name in below {
            at = match self.dirs[at].now.get(name) {
                Some(Entry::Dir(dir)) => *dir,
                _ => return Err(unknown(path)),
            };
        }
        Ok(&mut self.dirs[at])
    }

    /// Takes the safe bytes of a file, if it is there yet, from a copy that was made later.
    pub(super) fn restore(&mut self, inode: u64, copy: &str) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.copy.get_or_insert_with(|| copy.to_owned());
        }
    }

    fn file(&mut self, inode: u64) -> io::Result<&mut Contents> {
        self.files.get_mut(&inode).ok_or_else(|| invalid(format!("inode {inode} was never named")))
    }

    /// Cuts the power. With chance at hand, a first part of each directory's unforced changes is on the disk all the same, and a
    /// first part of each file's unforced end.
    pub(super) fn lose_power(mut self, mut chance: Option<fastrand::Rng>) -> Survivors {
        for dir in &mut self.dirs {
            let kept = chance.as_mut().map_or(0, |chance| chance.usize(..=dir.since.len()));
            dir.since.drain(..kept).for_each(|change| change.make(&mut dir.forced));
        }
        Survivors { disk: self, chance }
    }
}

impl Directory {
    fn change(&mut self, change: Change) {
        change.make(&mut self.now);
        self.since.push(change);
    }

    fn force(&mut self) {
        self.since.clear();
        self.forced = self.now.clone();
    }
}

impl Change {
    fn make(&self, names: &mut Names) {
        match self {
            Change::Add(name, entry) => drop(names.insert(name.clone(), *entry)),
            Change::Remove(name) => drop(names.remove(name)),
            Change::Rename(old, new, entry) => {
                names.remove(old);
                names.insert(new.clone(), *entry);
            }
        }
    }
}

/// What is left after a power cut.
#[derive(Debug)]
pub(super) struct Survivors {
    disk: Disk,
    chance: Option<fastrand::Rng>,
}

impl Survivors {
    /// Writes it to a new directory, from the bytes kept in `shadow`.
    pub(super) fn write(mut self, shadow: &Path, to: &Path) -> io::Result<()> {
        self.write_dir(0, shadow, to, &mut HashMap::new())
    }

    /// `written` says where each file that has been written lies, since one file may have several names.
    fn write_dir(&mut self, dir: usize, shadow: &Path, to: &Path, written: &mut HashMap<u64, PathBuf>) -> io::Result<()> {
        fs::create_dir(to)?;
        for (name, entry) in self.disk.dirs[dir].forced.clone() {
            let path = to.join(name);
            match entry {
                Entry::Dir(below) => self.write_dir(below, shadow, &path, written)?,
                Entry::File(inode) => match written.get(&inode) {
                    Some(same) => fs::hard_link(same, path)?,
                    None => {
                        fs::write(&path, self.bytes(inode, shadow)?)?;
                        written.insert(inode, path);
                    }
                },
            }
        }
        Ok(())
    }

    fn bytes(&mut self, inode: u64, shadow: &Path) -> io::Result<Vec<u8>> {
        let Contents { size, forced, ends, copy } = self.disk.file(inode)?;
        let path = copy.as_ref().map_or_else(|| shadow.join("inodes").join(inode.to_string()), |copy| shadow.join("copies").join(copy));
        let mut bytes = Vec::new();
        let mut file = fs::File::open(path)?;
        let Some(chance) = &mut self.chance else {
            file.take(*forced).read_to_end(&mut bytes)?;
            return Ok(bytes);
        };
        // The length of a file can reach the disk before its bytes do. Then these end with a write: they come block by block, and writes are smaller.
        let is_extended = chance.u8(..3) == 0;
        let kept = match ends.get(chance.usize(..=ends.len())) {
            Some(end) if is_extended => (*end).max(*forced),
            None if is_extended => *forced,
            _ => *forced + chance.u64(..=size.saturating_sub(*forced)),
        };
        (&mut file).take(kept).read_to_end(&mut bytes)?;
        if is_extended {
            bytes.resize((*size).max(kept) as usize, 0);
        }
        Ok(bytes)
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    path.parent().zip(path.file_name()).ok_or_else(|| unknown(path))
}

fn unknown(path: &Path) -> io::Error {
    invalid(format!("{} is not known", path.display()))
}
