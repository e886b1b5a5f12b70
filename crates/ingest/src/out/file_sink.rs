//! Dead letters to a file, a line each.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lockstep_model::Error;

use super::letters::{Letter, Sink};

/// How much is read at once to find where the last whole line ends.
const BLOCK: u64 = 64 << 10;

/// A file that lines are appended to.
pub(super) struct FileSink {
    path: PathBuf,
    file: File,
}

impl FileSink {
    /// Opens the file, or makes it. A line that a crash has cut short is taken away: it is sent again.
    ///
    /// # Errors
    /// Unavailable where it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<FileSink, Error> {
        let open = || -> io::Result<File> {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::create_dir_all(dir)?;
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let end = end_of_lines(&mut file)?;
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            // Its name, and that of its directory: whoever made them may have been killed before they were on the disk.
            for dir in dir.ancestors().take(2).filter(|dir| !dir.as_os_str().is_empty()) {
                File::open(dir)?.sync_all()?;
            }
            Ok(file)
        };
        Ok(FileSink { file: open().map_err(|error| failed(path, error))?, path: path.to_owned() })
    }
}

impl Sink for FileSink {
    fn send(&mut self, letters: &[Letter]) -> Result<(), Error> {
        let lines: String = letters.iter().map(|letter| letter.line() + "\n").collect();
        self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_all()).map_err(|error| failed(&self.path, error))
    }
}

/// Where the last whole line ends.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn failed(path: &Path, error: io::Error) -> Error {
    let path = path.display();
    let explained = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::unavailable(format!("no space is left on the disk of {path} · free some"))
        }
        _ => Error::unavailable(format!("{path} cannot be written: {error}")),
    };
    explained.caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/letters.ndjson");
        FileSink::open(&path).unwrap();
        let long = "x".repeat(200_000);
        for (before, after) in [("", ""), ("a\n", "a\n"), ("a\nb", "a\n"), ("half", ""), (long.as_str(), ""), (&format!("a\n{long}"), "a\n")] {
            std::fs::write(&path, before).unwrap();
            FileSink::open(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }
}
