//! The files of the logs of applied events: how they come to be whole, and which of them count.
//!
//! `STORE/applied/SOURCE/FIRST-END-OLDEST-NEWEST.parquet` holds the rows of a source's log from number FIRST to before END, which were applied from OLDEST to NEWEST (µs since 1970). A
//! file is written under another name, forced to the disk, and then gets this one; so what has such a name is whole. Names alone say what counts:
//!
//! - rows that are still in the store's outbox are not yet in a file: a file that ends behind what has left the outbox does not count until it is settled;
//! - where files were written as one, the many may still be there after a crash: a file within the range of a wider one does not count.
//!
//! What is in the files is not this crate's affair.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use lockstep_model::{Error, EventTime};

use crate::{CrashPlan, CrashPoint, explain, format};

const WHOLE: &str = "parquet";
const UNFINISHED: &str = "unfinished";

/// The logs of applied events of a store.
#[derive(Debug, Clone)]
pub struct AppliedLogs {
    dir: PathBuf,
    crash: CrashPlan,
}

/// The rows of a file: those from number `first` to before `end`, applied from `oldest` to `newest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The number of its first row.
    pub first: u64,
    /// The number of the row behind its last.
    pub end: u64,
    /// When its first row was applied.
    pub oldest: EventTime,
    /// When its last row was.
    pub newest: EventTime,
}

/// A file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub span: Span,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Writes the rows of a file, and says which they are.
pub type WriteRows<'a> = dyn FnMut(&mut (dyn Write + Send)) -> Result<Span, Error> + 'a;

impl Span {
    fn name(&self) -> String {
        let moment = |moment: EventTime| moment.0.max(0);
        format!("{:020}-{:020}-{:016}-{:016}.{WHOLE}", self.first, self.end, moment(self.oldest), moment(self.newest))
    }

    /// The span that a file's name says.
    fn of(path: &Path) -> Option<Span> {
        if path.extension()? != WHOLE {
            return None;
        }
        let mut numbers = path.file_stem()?.to_str()?.split('-').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (first, end, oldest, newest) = (next()?, next()?, next()?, next()?);
        let moment = |micros: u64| i64::try_from(micros).ok().map(EventTime);
        (numbers.next().is_none() && first < end).then_some(Span { first, end, oldest: moment(oldest)?, newest: moment(newest)? })
    }
}

impl AppliedLogs {
    pub(crate) fn new(dir: PathBuf, crash: CrashPlan) -> Self {
        AppliedLogs { dir, crash }
    }

    /// The directory of a source's log.
    pub fn dir(&self, source: &str) -> PathBuf {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let name: String = source.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect();
        self.dir.join(name)
    }

    /// The files that count of a source's log of which `taken` rows have left the outbox, by the numbers of their rows.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn files(&self, source: &str, taken: u64) -> Result<Vec<AppliedFile>, Error> {
        let (mut counts, mut reached) = (Vec::new(), 0);
        for file in self.all(source)?.into_iter().filter(|file| file.span.end <= taken) {
            if file.span.end > reached {
                reached = file.span.end;
                counts.push(file);
            }
        }
        Ok(counts)
    }

    /// Every whole file: ascending by the first row, of those with the same the widest first.
    fn all(&self, source: &str) -> Result<Vec<AppliedFile>, Error> {
        let mut files: Vec<AppliedFile> = self.listed(source)?.into_iter().filter_map(found).collect();
        files.sort_by_key(|file| (file.span.first, std::cmp::Reverse(file.span.end)));
        Ok(files)
    }

    fn listed(&self, source: &str) -> Result<Vec<PathBuf>, Error> {
        let dir = self.dir(source);
        let listed = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
        };
        listed.map_err(|error| explain::io(&dir, "read the log of applied events", error))
    }

    /// Clears up after a crash, while nobody writes: files that were not finished go, and those that are within a wider one. Of a queue whose rows from `taken` to before `put` wait,
    /// says up to which row they are in a file already: one that got its name right before the crash.
    ///
    /// # Errors
    /// Where the directory cannot be read or changed.
    pub fn settle(&self, source: &str, taken: u64, put: u64) -> Result<u64, Error> {
        let unfinished = self.listed(source)?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == UNFINISHED));
        unfinished.map(|path| remove(&path)).collect::<Result<Vec<()>, Error>>()?;
        let mut reached = taken;
        let (mut end, mut is_first) = (0, true);
        for file in self.all(source)? {
            let within = !is_first && file.span.end <= end;
            let unsettled = file.span.end > taken;
            if within || (unsettled && (file.span.first != reached || file.span.end > put)) {
                remove(&file.path)?;
                continue;
            }
            (end, is_first) = (file.span.end, false);
            reached = reached.max(end);
        }
        Ok(reached)
    }

    /// Writes a file of the next rows of a log, whole or not at all. What it holds must be on the disk in the outbox, and be taken out of it afterwards.
    ///
    /// # Errors
    /// As `write` has; Unavailable where the file cannot be written.
    pub fn roll(&self, source: &str, write: &mut WriteRows<'_>) -> Result<AppliedFile, Error> {
        self.write(source, CrashPoint::RollBefore, write)
    }

    /// Writes files that follow each other as one, and removes them.
    ///
    /// # Errors
    /// As [`Self::roll`].
    pub fn merge(&self, source: &str, files: &[AppliedFile], write: &mut WriteRows<'_>) -> Result<AppliedFile, Error> {
        let file = self.write(source, CrashPoint::MergeBefore, write)?;
        self.crash.hit(CrashPoint::MergeInside);
        for old in files.iter().filter(|old| old.path != file.path) {
            remove(&old.path)?;
            self.crash.hit(CrashPoint::MergeAfter);
        }
        Ok(file)
    }

    /// Removes the files whose rows were all applied before a moment; how many rows they held.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn expire(&self, source: &str, taken: u64, before: EventTime) -> Result<u64, Error> {
        let mut rows = 0;
        for file in self.files(source, taken)?.iter().take_while(|file| file.span.newest < before) {
            remove(&file.path)?;
            rows += file.span.end - file.span.first;
        }
        Ok(rows)
    }

    fn write(&self, source: &str, before_name: CrashPoint, write: &mut WriteRows<'_>) -> Result<AppliedFile, Error> {
        let dir = self.dir(source);
        make_dir(&self.dir, &dir).map_err(|error| explain::io(&dir, "make the directory of a log of applied events", error))?;
        let unfinished = dir.join(format!("next.{UNFINISHED}"));
        let failed = |error| explain::io(&unfinished, "write the log of applied events", error);
        let written = self.write_under(&unfinished, before_name, write);
        let span = written.inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
        let path = dir.join(span.name());
        fs::rename(&unfinished, &path).and_then(|()| format::sync_dir(&dir)).map_err(failed)?;
        let bytes = fs::metadata(&path).map_err(failed)?.len();
        Ok(AppliedFile { path, span, bytes })
    }

    fn write_under(&self, path: &Path, before_name: CrashPoint, write: &mut WriteRows<'_>) -> Result<Span, Error> {
        let failed = |error| explain::io(path, "write the log of applied events", error);
        let mut out = Told { out: BufWriter::new(File::create(path).map_err(failed)?), failed: None };
        let written = write(&mut out);
        // A full disk is known by the file's own error, whatever the format's writer makes of it.
        if let Some(error) = out.failed.take() {
            return Err(failed(error));
        }
        let span = written?;
        out.flush().map_err(failed)?;
        self.crash.hit(before_name);
        out.out.get_ref().sync_all().map_err(failed)?;
        Ok(span)
    }
}

/// Remembers the error of a file, which its writer may wrap in one of its own.
struct Told {
    out: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Told {
    fn note<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| {
            let told = io::Error::from(error.kind());
            self.failed = Some(error);
            told
        })
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.note(flushed)
    }
}

/// A file of a log, if it has the name of one and is there.
fn found(path: PathBuf) -> Option<AppliedFile> {
    let span = Span::of(&path)?;
    let bytes = fs::metadata(&path).ok()?.len();
    Some(AppliedFile { path, span, bytes })
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(explain::io(path, "remove a file of a log of applied events", error)),
        _ => Ok(()),
    }
}

/// Makes the directory of a log, and its name durable: also where it is there, since whoever made it may have been killed before that.
fn make_dir(parent: &Path, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    format::sync_dir(parent)?;
    parent.parent().map_or(Ok(()), format::sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, end: u64) -> Span {
        Span { first, end, oldest: EventTime(first as i64), newest: EventTime(end as i64) }
    }

    /// A log with files of these spans.
    fn logs(spans: &[(u64, u64)]) -> (tempfile::TempDir, AppliedLogs) {
        let dir = tempfile::tempdir().unwrap();
        let logs = AppliedLogs::new(dir.path().join("applied"), CrashPlan::default());
        fs::create_dir_all(logs.dir("sales")).unwrap();
        for &(first, end) in spans {
            fs::write(logs.dir("sales").join(span(first, end).name()), b"rows").unwrap();
        }
        (dir, logs)
    }

    fn counts(logs: &AppliedLogs, taken: u64) -> Vec<(u64, u64)> {
        logs.files("sales", taken).unwrap().iter().map(|file| (file.span.first, file.span.end)).collect()
    }

    #[test]
    fn names_alone_say_which_files_count() {
        let (_dir, logs) = logs(&[(0, 5), (0, 9), (5, 9), (9, 12), (12, 20)]);
        assert_eq!(counts(&logs, 12), [(0, 9), (9, 12)], "the widest, and nothing that still waits");
        assert_eq!(logs.settle("sales", 12, 20).unwrap(), 20, "a file that got its name before a crash is taken for what it is");
        assert_eq!(counts(&logs, 20), [(0, 9), (9, 12), (12, 20)]);
        assert_eq!(logs.all("sales").unwrap().len(), 3, "the others are gone");
    }

    #[test]
    fn a_file_that_is_of_no_use_goes() {
        let (_dir, logs) = logs(&[(0, 5), (5, 30), (7, 9)]);
        fs::write(logs.dir("sales").join("next.unfinished"), b"").unwrap();
        assert_eq!(logs.settle("sales", 5, 20).unwrap(), 5, "it holds more than was ever put, and one begins behind what was taken");
        assert_eq!(fs::read_dir(logs.dir("sales")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_old_expires_and_what_fails_leaves_nothing() {
        let (_dir, logs) = logs(&[(0, 5), (5, 9), (9, 12)]);
        assert_eq!(logs.expire("sales", 12, EventTime(10)).unwrap(), 9);
        assert_eq!(counts(&logs, 12), [(9, 12)]);
        let failed = logs.roll("sales", &mut |out| {
            out.write_all(b"half").unwrap();
            Err(Error::internal("no"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(logs.dir("sales")).unwrap().count(), 1);
        let file = logs.roll("a/b ü", &mut |out| out.write_all(b"rows").map(|()| span(3, 4)).map_err(|_| Error::internal("no"))).unwrap();
        assert!(file.path.parent().unwrap().ends_with("a%2Fb%20%C3%BC") && file.bytes == 4, "{file:?}");
    }
}
