//! The log of one source, as its writers and its readers share it: whoever comes while another writes waits, and all who wait are written together.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lockstep_model::{Error, ErrorKind, EventTime};

use super::PushOptions;
use super::frame::{Content, Draft};
use super::segment::{Extent, Writer, recover, removable};

/// The log of a source.
pub(super) struct SourceLog {
    name: String,
    options: Arc<PushOptions>,
    state: Mutex<State>,
    /// Something was written, or could not be.
    written: Condvar,
    /// Somebody reads who waits for more.
    more: Condvar,
}

struct State {
    /// `None` while somebody writes.
    writer: Option<Writer>,
    /// What is on the disk.
    extent: Extent,
    /// What waits to be written, in the order in which it came.
    groups: VecDeque<Group>,
    waiting: usize,
    waiting_bytes: usize,
    /// How many groups were written.
    forced: u64,
    /// Why there is nothing to be had of it.
    damage: Option<Failure>,
}

/// What is written in one go.
#[derive(Default)]
struct Group {
    columns: Vec<u8>,
    entries: Vec<Entry>,
    pushes: usize,
    rows: u64,
    bytes: usize,
    outcome: Arc<OnceLock<Result<u64, Failure>>>,
}

/// One append, or a heartbeat.
pub(super) struct Entry {
    pub(super) content: Content,
    pub(super) rows: u32,
    pub(super) body: Vec<u8>,
    append_time: i64,
}

impl Entry {
    pub(super) fn new(content: Content, rows: u32, body: Vec<u8>) -> Entry {
        Entry { content, rows, body, append_time: 0 }
    }
}

/// An error that everybody of a group is told.
#[derive(Clone)]
struct Failure {
    kind: ErrorKind,
    message: String,
}

impl Failure {
    fn of(error: &Error) -> Failure {
        Failure { kind: error.kind(), message: error.to_string() }
    }

    fn error(&self) -> Error {
        Error::new(self.kind, self.message.clone())
    }
}

impl SourceLog {
    /// Finds the log of a source in its directory. What is wrong with it is told to whoever wants something of it.
    pub(super) fn open(name: &str, dir: &Path, options: &Arc<PushOptions>) -> SourceLog {
        let (extent, damage) = match recover(dir) {
            Ok(extent) => (extent, None),
            Err(error) => {
                tracing::error!("source `{name}` takes no pushes: {error}");
                (Extent::default(), Some(Failure::of(&error)))
            }
        };
        let writer = Some(Writer::new(dir, options.segment_bytes, extent.clone()));
        let state = State { writer, extent, groups: VecDeque::new(), waiting: 0, waiting_bytes: 0, forced: 0, damage };
        SourceLog { name: name.to_owned(), options: Arc::clone(options), state: Mutex::new(state), written: Condvar::new(), more: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it reaches.
    ///
    /// # Errors
    /// Data where it is damaged.
    pub(super) fn extent(&self) -> Result<Extent, Error> {
        let state = self.lock();
        state.damage.as_ref().map_or_else(|| Ok(state.extent.clone()), |damage| Err(damage.error()))
    }

    /// How far it reaches, once that is beyond `row` or it has taken too long.
    ///
    /// # Errors
    /// Data where it is damaged.
    pub(super) fn extent_beyond(&self, row: u64, patience: Duration) -> Result<Extent, Error> {
        let nothing_new = |state: &mut State| state.damage.is_none() && state.extent.next_row <= row;
        drop(self.more.wait_timeout_while(self.lock(), patience, nothing_new));
        self.extent()
    }

    /// Appends entries behind each other; the number of their first row, once they are on the disk.
    ///
    /// # Errors
    /// Unavailable where too much waits already, or the disk fails; Data where the log is damaged.
    pub(super) fn append(&self, columns: Vec<u8>, mut entries: Vec<Entry>) -> Result<u64, Error> {
        let mut state = self.lock();
        if let Some(damage) = &state.damage {
            return Err(damage.error());
        }
        self.check_room(&state, entries.iter().map(|entry| entry.body.len()).sum())?;
        let append_time = self.options.clock.now().0;
        entries.iter_mut().for_each(|entry| entry.append_time = append_time);
        let (outcome, offset) = state.queue(columns, entries);
        loop {
            if let Some(outcome) = outcome.get() {
                return outcome.as_ref().map(|first_row| first_row + offset).map_err(Failure::error);
            }
            state = match state.writer.take() {
                Some(writer) => self.write_group(state, writer),
                None => self.written.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn check_room(&self, state: &State, bytes: usize) -> Result<(), Error> {
        let PushOptions { waiting_max, waiting_bytes_max, .. } = *self.options;
        if state.waiting < waiting_max && (state.waiting == 0 || state.waiting_bytes + bytes <= waiting_bytes_max) {
            return Ok(());
        }
        let State { waiting, waiting_bytes, .. } = state;
        let what = format!("{waiting} pushes to `{}`, {waiting_bytes} bytes, wait for the disk already", self.name);
        Err(Error::unavailable(format!("{what} · push again in a moment, and more rows at once")))
    }

    /// Writes what has waited longest, while others come and wait.
    fn write_group<'a>(&'a self, mut state: MutexGuard<'a, State>, mut writer: Writer) -> MutexGuard<'a, State> {
        let group = state.groups.pop_front().unwrap_or_default();
        state.waiting -= group.pushes;
        state.waiting_bytes -= group.bytes;
        drop(state);
        let first_row = writer.extent.next_row;
        let drafts: Vec<Draft<'_>> = group.entries.iter().map(draft).collect();
        let written = writer.write(&group.columns, &drafts);
        let mut state = self.lock();
        state.extent = writer.extent.clone();
        state.writer = Some(writer);
        state.forced += u64::from(written.is_ok());
        // It is set once: a group is taken by one thread.
        let _ = group.outcome.set(written.map(|()| first_row).map_err(|error| Failure::of(&error)));
        self.written.notify_all();
        self.more.notify_all();
        state
    }

    /// How often it was forced to the disk.
    pub(super) fn forced(&self) -> u64 {
        self.lock().forced
    }

    /// Whether [`Self::remove`] would remove anything.
    pub(super) fn has_passed(&self, row: u64, before: EventTime) -> bool {
        removable(&self.lock().extent, row, before) > 0
    }

    /// Removes segments whose rows are all before `row` and were written before `before`; another time, where somebody writes.
    ///
    /// # Errors
    /// Where they cannot be removed.
    pub(super) fn remove(&self, row: u64, before: EventTime) -> Result<(), Error> {
        let mut state = self.lock();
        let Some(writer) = &mut state.writer else { return Ok(()) };
        let removed = writer.remove(row, before);
        state.extent = writer.extent.clone();
        removed
    }
}

fn draft(entry: &Entry) -> Draft<'_> {
    let Entry { content, rows, body, append_time } = entry;
    Draft { content: *content, rows: *rows, append_time: *append_time, body }
}

impl State {
    /// Puts a push behind all that waits; how its group ends, and its place there in rows.
    fn queue(&mut self, columns: Vec<u8>, entries: Vec<Entry>) -> (Arc<OnceLock<Result<u64, Failure>>>, u64) {
        // The columns change with the definitions: a group goes into one segment.
        if self.groups.back().is_none_or(|group| group.columns != columns) {
            self.groups.push_back(Group { columns, ..Group::default() });
        }
        let last = self.groups.len() - 1;
        let group = &mut self.groups[last];
        let offset = group.rows;
        let bytes: usize = entries.iter().map(|entry| entry.body.len()).sum();
        group.pushes += 1;
        group.rows += entries.iter().map(|entry| u64::from(entry.rows)).sum::<u64>();
        group.bytes += bytes;
        group.entries.extend(entries);
        self.waiting += 1;
        self.waiting_bytes += bytes;
        (Arc::clone(&group.outcome), offset)
    }
}

/// The directory of a source's log below that of all: its name, with what a file system may not take written as `%` and two digits.
pub(super) fn dir_of(root: &Path, source: &str) -> PathBuf {
    let mut name = String::new();
    for byte in source.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    root.join(name)
}

/// The source that a directory below that of all is of.
pub(super) fn source_of(dir: &Path) -> Option<String> {
    let mut rest = dir.file_name()?.to_str()?.as_bytes();
    let mut name = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            name.push(byte);
        }
    }
    String::from_utf8(name).ok()
}
