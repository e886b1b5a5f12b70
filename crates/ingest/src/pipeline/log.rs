//! A log as the pipeline sees it: of one partition or many, read on a thread of its own, chunk by chunk.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lockstep_model::{Clock, Error, EventTime, PartitionId, Position};

use crate::source::Chunk;

/// A log that is read from some positions on. A file is one of one partition, a Kafka topic one of many.
pub trait Log: Send {
    /// What comes next; `None` at its end. Waits for it, and gives a chunk without batches now and then meanwhile.
    ///
    /// # Errors
    /// Where it cannot be read on. Nothing comes after an error.
    fn next(&mut self) -> Result<Option<Read>, Error>;
}

/// What comes next from a log, and how it stands then.
#[derive(Debug)]
pub struct Read {
    /// Rows, in the order of each partition.
    pub chunk: Chunk,
    /// How the log stands behind them.
    pub standing: Standing,
    /// Partitions whose ends were looked up anew, with the row behind the last that is to be expected of each.
    pub ends: Vec<(PartitionId, u64)>,
}

/// How a log stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its size in bytes, where it is known.
    pub bytes_total: Option<u64>,
    /// Rows that are known to be there and have not been read yet.
    pub behind: Option<u64>,
    /// Whether it has partitions of which nothing has been read and rows are to be expected: what is old to the others may be news of these.
    pub unbegun: bool,
}

/// Told where a log has been applied to.
pub type Applied = dyn Fn(&PartitionId, &Position) + Send + Sync;

/// A log to be read.
pub struct Input {
    /// What messages call it.
    pub name: String,
    /// Opens it, on the thread that reads it.
    pub open: Box<dyn FnOnce() -> Result<Box<dyn Log>, Error> + Send>,
    /// Told of every commit.
    pub applied: Option<Box<Applied>>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How often a run that waits for its logs looks whether it is to stop, and how often it looks for the chunk under way then.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LAST_LOOKS: u32 = 20;
/// Chunks that are read ahead: parsing one goes on while the one before is applied.
const CHUNKS_AHEAD: usize = 2;

/// What comes next from logs that are read at once.
#[derive(Debug)]
pub(super) enum Next {
    /// Rows of the log of this number, and when it was said how it stands.
    Read(usize, Box<Read>, EventTime),
    /// It cannot be read on.
    Failed(usize, Error),
    /// All logs have ended.
    End,
    /// Nothing in time, and the run is to stop.
    Nothing,
}

enum Event {
    Read(Box<Read>, EventTime),
    Failed(Error),
    Ended,
}

/// Logs that are being read.
pub(super) struct Reading {
    events: Option<Receiver<(usize, Event)>>,
    threads: Vec<Option<JoinHandle<()>>>,
}

impl Reading {
    /// Starts a thread for each log.
    pub(super) fn start(opens: Vec<Box<dyn FnOnce() -> Result<Box<dyn Log>, Error> + Send>>, clock: &Arc<dyn Clock>) -> Self {
        let (sender, events) = sync_channel(CHUNKS_AHEAD.max(opens.len()));
        let start = |(number, open)| {
            let teller = Teller { number, sender: sender.clone(), clock: Arc::clone(clock) };
            Some(thread::spawn(move || teller.read(open)))
        };
        let threads = opens.into_iter().enumerate().map(start).collect();
        Reading { events: Some(events), threads }
    }

    /// What comes next. Told to stop, it waits for the chunk under way, but not for ever: a thread may be reading a pipe that nobody writes to.
    pub(super) fn next(&mut self, stop: &AtomicBool) -> Next {
        let mut last_looks = 0;
        while last_looks < LAST_LOOKS {
            let Some(events) = &self.events else { return Next::End };
            match events.recv_timeout(LOOK_EVERY) {
                Ok((number, Event::Read(read, at))) => return Next::Read(number, read, at),
                Ok((number, Event::Failed(error))) => return Next::Failed(number, error),
                Ok((number, Event::Ended)) => self.ended(number),
                Err(RecvTimeoutError::Timeout) => last_looks += u32::from(stop.load(Ordering::Relaxed)),
                Err(RecvTimeoutError::Disconnected) => return Next::End,
            }
        }
        Next::Nothing
    }

    /// That a reader panicked must not look like the end of its log.
    fn ended(&mut self, number: usize) {
        if let Some(Err(panic)) = self.threads.get_mut(number).and_then(Option::take).map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        if self.threads.iter().all(Option::is_none) {
            self.events = None;
        }
    }
}

impl Drop for Reading {
    /// Readers end at their next chunk, since nobody takes it; one that waits in a pipe is left behind.
    fn drop(&mut self) {
        self.events = None;
        for _ in 0..LAST_LOOKS {
            if self.threads.iter().flatten().all(JoinHandle::is_finished) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// The reading thread's end of the channel; says that it has ended, however it has.
struct Teller {
    number: usize,
    sender: SyncSender<(usize, Event)>,
    clock: Arc<dyn Clock>,
}

impl Teller {
    fn read(self, open: Box<dyn FnOnce() -> Result<Box<dyn Log>, Error> + Send>) {
        let mut log = match open() {
            Ok(log) => log,
            Err(error) => {
                self.tell(Event::Failed(error));
                return;
            }
        };
        while let Some(next) = log.next().transpose() {
            let failed = next.is_err();
            let told = self.tell(next.map_or_else(Event::Failed, |read| Event::Read(Box::new(read), self.clock.now())));
            if failed || !told {
                return;
            }
        }
    }

    /// Whether somebody still listens.
    fn tell(&self, event: Event) -> bool {
        self.sender.send((self.number, event)).is_ok()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.tell(Event::Ended);
    }
}
