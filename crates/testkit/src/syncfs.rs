//! Power cuts and full disks, for tests that run in a child process.
//!
//! A [`Layer`] is a C library, preloaded into the child, that lets its calls through to the file system and keeps a journal of those
//! that matter. From the journal, [`Journal::power_cut`] makes the directory that a machine would have come up with if it had lost
//! power at any of its lines: what was forced to the disk is there, and of everything else as much as chance will have it.
//!
//! The rules are those of POSIX, not of one file system: forcing a file makes its bytes safe but not its name, forcing a
//! directory makes its names safe. Between the two, names come and go in the order in which they were made in their directory.
//! Of a file's unforced end any part may be left, or whole writes and zeros in place of the others; unforced changes within a file are lost.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

mod disk;
mod journal;

pub use journal::Journal;

/// The compiled library.
#[derive(Debug, Clone)]
pub struct Layer {
    library: PathBuf,
}

impl Layer {
    /// Compiles the library into `dir`, such as `env!("CARGO_TARGET_TMPDIR")`, with the machine's `cc`.
    pub fn build(dir: &Path) -> io::Result<Layer> {
        static BUILDS: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(dir)?;
        // Under a name of its own first: other tests may be running with the one they built.
        let unique = format!("syncfs-{}-{}.so", std::process::id(), BUILDS.fetch_add(1, Ordering::Relaxed));
        let (source, built, library) = (dir.join(&unique).with_extension("c"), dir.join(&unique), dir.join("syncfs.so"));
        fs::write(&source, include_str!("syncfs/syncfs.c"))?;
        let output = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-Wall", "-o"]).arg(&built).arg(&source).arg("-ldl").output();
        let output = output.map_err(|error| io::Error::new(error.kind(), format!("the power-cut tests need a C compiler, `cc`: {error}")))?;
        fs::remove_file(&source)?;
        if !output.status.success() {
            return Err(io::Error::other(format!("syncfs.c does not compile: {}", String::from_utf8_lossy(&output.stderr))));
        }
        fs::rename(&built, &library)?;
        Ok(Layer { library })
    }
}

/// What goes wrong for the child besides the power cut that comes after it. Writes count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The disk is full after half of this write.
    NoSpaceAt(usize),
    /// The process is killed after half of this write.
    KillAt(usize),
}

/// A directory whose changes are noted.
#[derive(Debug)]
pub struct Watch {
    library: PathBuf,
    root: PathBuf,
    shadow: PathBuf,
}

impl Watch {
    /// Starts to watch `root`, an existing directory; what lies in it counts as forced to the disk. The journal and the bytes it needs
    /// go to `shadow`, which must not exist yet and be on the same file system.
    pub fn start(layer: &Layer, root: &Path, shadow: &Path) -> io::Result<Watch> {
        fs::create_dir(shadow)?;
        // The library compares paths without links in them.
        let (root, shadow) = (root.canonicalize()?, shadow.canonicalize()?);
        fs::create_dir(shadow.join("inodes")).and_then(|()| fs::create_dir(shadow.join("copies")))?;
        let mut journal = String::new();
        note_all(&root, &shadow, &mut journal)?;
        fs::write(shadow.join("journal"), journal)?;
        Ok(Watch { library: layer.library.clone(), root, shadow })
    }

    /// A command whose changes to the directory are noted.
    pub fn command(&self, program: &Path, fault: Fault) -> Command {
        let mut command = Command::new(program);
        command.env("LD_PRELOAD", &self.library).env("SYNCFS_ROOT", &self.root).env("SYNCFS_SHADOW", &self.shadow);
        match fault {
            Fault::None => {}
            Fault::NoSpaceAt(nth) => drop(command.env("SYNCFS_ENOSPC_AT", nth.to_string())),
            Fault::KillAt(nth) => drop(command.env("SYNCFS_KILL_AT", nth.to_string())),
        }
        command
    }

    /// What has happened. To be read once the child has ended.
    pub fn journal(&self) -> io::Result<Journal> {
        Journal::read(&self.root, &self.shadow)
    }
}

/// Notes what lies in a directory as if it had been made and forced just now.
fn note_all(dir: &Path, shadow: &Path, journal: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let file = fs::symlink_metadata(&path)?;
        let shown = path.display();
        if file.is_dir() {
            journal.push_str(&format!("M\t{shown}\n"));
            note_all(&path, shadow, journal)?;
        } else {
            let (inode, size) = (file.ino(), file.len());
            match fs::hard_link(&path, shadow.join("inodes").join(inode.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => journal.push_str(&format!("L\t{inode}\t{shown}\nT\t{inode}\t{size}\nS\t{inode}\t{size}\n")),
            }
        }
    }
    journal.push_str(&format!("D\t{}\n", dir.display()));
    Ok(())
}

/// Says, from within a child, that something has happened which the test will hold the disk to: an acknowledgement, say. Does
/// nothing in a process that is not watched.
pub fn mark(text: &str) -> io::Result<()> {
    let Some(shadow) = std::env::var_os("SYNCFS_SHADOW") else { return Ok(()) };
    let mut journal = fs::OpenOptions::new().append(true).open(Path::new(&shadow).join("journal"))?;
    io::Write::write_all(&mut journal, format!("#\t{text}\n").as_bytes())
}
