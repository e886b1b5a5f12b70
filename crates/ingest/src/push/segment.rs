//! The segments of one log on the disk: made, written, found again and mended.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_model::{Error, EventTime};

use super::frame::{Content, Draft, Frames, Next, was_synced};

const ENDING: &str = "log";

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first row.
    pub(super) first_row: u64,
    /// When it was begun, which is when the one before it was last written to, about.
    pub(super) begun_at: EventTime,
    pub(super) path: PathBuf,
}

/// How far a log reaches. What lies behind is not known to be on the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Extent {
    pub(super) segments: Arc<Vec<Segment>>,
    /// The number of the next row.
    pub(super) next_row: u64,
    /// The mark of the last frame; before the first, what it will follow on.
    pub(super) mark: u64,
    /// How long the last segment is, in bytes.
    pub(super) length: u64,
}

impl Extent {
    /// The first row that is there.
    pub(super) fn first_row(&self) -> u64 {
        self.segments.first().map_or(self.next_row, |segment| segment.first_row)
    }
}

/// Explains a failure of the file system while `doing` (a verb phrase) at `path`.
pub(super) fn explain(path: &Path, doing: &str, error: io::Error) -> Error {
    let place = path.display();
    let explained = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::unavailable(format!(
            "cannot {doing} · no space is left on the disk of {place} · free some: what was acknowledged is kept, and pushes are taken again then"
        )),
        _ => Error::unavailable(format!("cannot {doing} · {place}: {error} · what was acknowledged is kept")),
    };
    explained.caused_by(error)
}

/// The segments in a directory, by their first rows; none where there is no directory.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let failed = |error| explain(dir, "read the push log", error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_segment = path.extension().is_some_and(|ending| ending == ENDING);
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (true, Some(first_row)) = (is_segment, number) {
            found.push((first_row, path));
        }
    }
    found.sort();
    Ok(found)
}

/// How a segment begins: when it was begun, and the mark before it. `None` where it does not.
pub(super) fn beginning(first_row: u64, path: &Path) -> Result<Option<(EventTime, u64)>, Error> {
    let failed = |error| explain(path, "read the push log", error);
    let mut frames = Frames::new(File::open(path).map_err(failed)?);
    Ok(match frames.next(u64::MAX).map_err(failed)? {
        Next::Frame(frame) if frame.content == Content::Columns && frame.first_row == first_row => {
            Some((EventTime(frame.append_time), frame.mark_before))
        }
        _ => None,
    })
}

pub(super) fn damaged(path: &Path, at: u64) -> Error {
    let place = path.display();
    Error::data(format!(
        "the push log is damaged · {place}, byte {at}: what was on the disk there is gone · restore the file, or move the directory away to begin another log"
    ))
}

/// Finds a log on the disk and cuts off what a crash left of writes that were not acknowledged.
///
/// # Errors
/// Data where something is damaged that was on the disk; where files cannot be read or cut.
pub(super) fn recover(dir: &Path) -> Result<Extent, Error> {
    let mut found = segments(dir)?;
    while let Some((first_row, path)) = found.last() {
        if let Some(end) = recover_last(*first_row, path)? {
            let known = found.iter().map(|(first_row, path)| {
                let (begun_at, _) = beginning(*first_row, path)?.ok_or_else(|| damaged(path, 0))?;
                Ok(Segment { first_row: *first_row, begun_at, path: path.clone() })
            });
            let segments = known.collect::<Result<Vec<_>, Error>>()?;
            return Ok(Extent { segments: Arc::new(segments), ..end });
        }
        let removed = fs::remove_file(path).and_then(|()| sync_dir(dir));
        removed.map_err(|error| explain(path, "mend the push log", error))?;
        found.pop();
    }
    Ok(Extent::default())
}

/// The end of the last segment, behind its last whole frame; `None` where there is nothing of it.
fn recover_last(first_row: u64, path: &Path) -> Result<Option<Extent>, Error> {
    let failed = |error| explain(path, "mend the push log", error);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut frames = Frames::new(file.try_clone().map_err(failed)?);
    let mut end: Option<Extent> = None;
    loop {
        let at = frames.at();
        match (frames.next(size).map_err(failed)?, &mut end) {
            (Next::Frame(frame), None) if frame.content == Content::Columns && frame.first_row == first_row => {
                end = Some(Extent { next_row: first_row, mark: frame.mark_before, ..Extent::default() });
            }
            (Next::Frame(frame), Some(end)) if frame.first_row == end.next_row && frame.mark_before == end.mark => {
                (end.next_row, end.mark) = (end.next_row + u64::from(frame.rows), frame.mark);
            }
            (Next::End, _) => break,
            _ => {
                let bytes = fs::read(path).map_err(failed)?;
                if was_synced(&bytes, at) {
                    return Err(damaged(path, at));
                }
                tracing::warn!("{}: cut off at byte {at}: what follows was never acknowledged", path.display());
                file.set_len(at).and_then(|()| file.sync_all()).map_err(failed)?;
                break;
            }
        }
    }
    let length = file.metadata().map_err(failed)?.len();
    // One without rows was never acknowledged either.
    Ok(end.filter(|end| end.next_row > first_row).map(|end| Extent { length, ..end }))
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a directory, and its name safe.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(parent),
    }
}

/// The writing end of a log.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    segment_bytes: u64,
    pub(super) extent: Extent,
    /// The last segment, where it is to be gone on with, and its columns.
    open: Option<(File, Vec<u8>)>,
}

impl Writer {
    /// Behind `extent`.
    pub(super) fn new(dir: &Path, segment_bytes: u64, extent: Extent) -> Writer {
        Writer { dir: dir.to_owned(), segment_bytes, extent, open: None }
    }

    /// Writes frames of rows with these columns; they are on the disk then.
    ///
    /// # Errors
    /// Unavailable where the disk is full or fails: nothing of them is in the log, and what comes next begins a segment of its own, since nobody knows what the disk has of this one.
    pub(super) fn write(&mut self, columns: &[u8], drafts: &[Draft<'_>]) -> Result<(), Error> {
        let goes_on = self.open.as_ref().is_some_and(|(_, known)| known == columns) && self.extent.length < self.segment_bytes;
        let written = if goes_on { self.go_on(drafts) } else { self.begin(columns, drafts) };
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn go_on(&mut self, drafts: &[Draft<'_>]) -> Result<(), Error> {
        let (Some((file, _)), Some(segment)) = (&self.open, self.extent.segments.last()) else { return Err(Error::internal("no segment is open")) };
        let Extent { next_row, mark, length, .. } = self.extent;
        let mut bytes = Vec::new();
        let (next_row, mark) = frames(drafts, next_row, mark, length, &mut bytes);
        if let Err(error) = file.write_all_at(&bytes, length).and_then(|()| file.sync_data()) {
            // Best effort, for the space: what is behind the next segment's first row is never read.
            let _ = file.set_len(length);
            return Err(explain(&segment.path, "write the push log", error));
        }
        self.extent = Extent { next_row, mark, length: length + bytes.len() as u64, ..self.extent.clone() };
        Ok(())
    }

    fn begin(&mut self, columns: &[u8], drafts: &[Draft<'_>]) -> Result<(), Error> {
        let Extent { next_row, mark, .. } = self.extent;
        let path = self.dir.join(format!("{next_row:020}.{ENDING}"));
        let begun_at = drafts.first().map_or(0, |draft| draft.append_time);
        let mut bytes = Vec::new();
        Draft { content: Content::Columns, rows: 0, append_time: begun_at, body: columns }.write(mark, 0, next_row, &mut bytes);
        let (end_row, end_mark) = frames(drafts, next_row, mark, 0, &mut bytes);
        let file = self.create(&path, &bytes).map_err(|error| {
            let _ = fs::remove_file(&path);
            explain(&path, "write the push log", error)
        })?;
        let segments = Arc::make_mut(&mut self.extent.segments);
        segments.push(Segment { first_row: next_row, begun_at: EventTime(begun_at), path });
        (self.extent.next_row, self.extent.mark, self.extent.length) = (end_row, end_mark, bytes.len() as u64);
        self.open = Some((file, columns.to_vec()));
        Ok(())
    }

    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<File> {
        make_dir(&self.dir)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Removes the oldest segments whose rows are all before `row` and were written before `before`; never the last.
    pub(super) fn remove(&mut self, row: u64, before: EventTime) -> Result<(), Error> {
        let passed = removable(&self.extent, row, before);
        let segments = Arc::make_mut(&mut self.extent.segments);
        // The oldest first, so that what a crash leaves is a log.
        for segment in segments.drain(..passed) {
            fs::remove_file(&segment.path).map_err(|error| explain(&segment.path, "remove a segment of the push log", error))?;
        }
        if passed > 0 { sync_dir(&self.dir).map_err(|error| explain(&self.dir, "remove a segment of the push log", error)) } else { Ok(()) }
    }
}

/// How many segments [`Writer::remove`] would remove.
pub(super) fn removable(extent: &Extent, row: u64, before: EventTime) -> usize {
    extent.segments.windows(2).take_while(|pair| pair[1].first_row <= row && pair[1].begun_at < before).count()
}

/// Writes frames behind each other; the next row and the mark behind them.
fn frames(drafts: &[Draft<'_>], mut row: u64, mut mark: u64, synced: u64, bytes: &mut Vec<u8>) -> (u64, u64) {
    for draft in drafts {
        mark = draft.write(mark, synced, row, bytes);
        row += u64::from(draft.rows);
    }
    (row, mark)
}
