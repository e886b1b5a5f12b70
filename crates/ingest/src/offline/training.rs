//! Histories for training sets: a view's batch files, or all that a store has applied for it, admitted and staged in memory, and read at as many moments as a spine has.
//!
//! Reading, admission and the row stage are those of a backfill. In place of trees there is a table of events, sorted by entity and time, over which moments are swept
//! ([`lockstep_transform::point_in_time`]).

mod again;
mod read;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{concat, take};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use futures::executor::block_on;
use lockstep_model::key::Keys;
use lockstep_model::{Clock, Error, PartitionId, Position, Status, TimeMode};
use lockstep_store::DeadLetter;
use lockstep_transform::point_in_time::{Part, Reading, Unit, assign, each, event_schema, slices};
use lockstep_transform::tiles::{ReadStats, Request, order};
use lockstep_transform::transformation::{Features, Transformation};

use crate::pipeline::Tally;

/// Events and requests of a unit of work, about, unless there are few of them.
const UNIT_ROWS: usize = 1 << 20;

/// The histories of some views, in memory.
#[derive(Debug)]
pub struct Histories {
    views: BTreeMap<String, ViewHistory>,
    threads: usize,
    /// Rows of the inputs.
    pub rows: u64,
    /// Where the inputs end: files with their sizes and what identifies them, logs as far as they were applied.
    pub positions: BTreeMap<PartitionId, Position>,
    /// What became of the rows, by view and source.
    pub tally: Tally,
    /// Some of the rows that were put aside.
    pub dead_letters: Vec<DeadLetter>,
}

#[derive(Debug)]
struct ViewHistory {
    view: Arc<Transformation>,
    /// By the hash of entities.
    partitions: Vec<Partition>,
}

/// Events, sorted by entity and order key.
#[derive(Debug)]
struct Partition {
    rows: usize,
    events: Held,
}

#[derive(Debug)]
enum Held {
    Memory(Vec<RecordBatch>),
    /// As an Arrow stream, in a file that has no name.
    Disk(File),
}

impl Partition {
    fn new(events: Vec<RecordBatch>, dir: Option<&Path>) -> Result<Partition, Error> {
        let rows = events.iter().map(RecordBatch::num_rows).sum();
        let events = match dir {
            Some(dir) if rows > 0 => Held::Disk(to_disk(&events, dir)?),
            _ => Held::Memory(events),
        };
        Ok(Partition { rows, events })
    }

    /// Its events: those in memory are shared.
    fn load(&self) -> Result<Vec<RecordBatch>, Error> {
        match &self.events {
            Held::Memory(events) => Ok(events.clone()),
            Held::Disk(file) => from_disk(file),
        }
    }

    fn size(&self) -> usize {
        match &self.events {
            Held::Memory(events) => events.iter().map(RecordBatch::get_array_memory_size).sum(),
            Held::Disk(_) => 0,
        }
    }
}

fn to_disk(events: &[RecordBatch], dir: &Path) -> Result<File, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::unavailable(format!("sorted events could not be put on the disk: {error}"));
    let file = tempfile::tempfile_in(dir).map_err(|error| failed(&error))?;
    let mut writer = StreamWriter::try_new(BufWriter::new(file), &event_schema()).map_err(|error| failed(&error))?;
    events.iter().try_for_each(|batch| writer.write(batch)).map_err(|error| failed(&error))?;
    let written = writer.into_inner().map_err(|error| failed(&error))?;
    written.into_inner().map_err(|error| failed(error.error()))
}

/// Each reader has a place of its own in the file.
fn from_disk(file: &File) -> Result<Vec<RecordBatch>, Error> {
    struct At<'a>(&'a File, u64);
    impl Read for At<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let read = self.0.read_at(buffer, self.1)?;
            self.1 += read as u64;
            Ok(read)
        }
    }
    let failed = |error| Error::unavailable("sorted events could not be read again from the disk").caused_by(error);
    let reader = StreamReader::try_new(BufReader::with_capacity(1 << 18, At(file, 0)), None).map_err(failed)?;
    reader.collect::<Result<_, _>>().map_err(failed)
}

/// How long the units of a read took.
#[derive(Debug, Clone, Default)]
pub struct UnitTimes(pub Vec<u64>);

impl Histories {
    /// How many events the views have.
    pub fn events(&self) -> u64 {
        self.partitions().map(|partition| partition.rows as u64).sum()
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        self.partitions().map(Partition::size).sum()
    }

    /// The encoded keys of all entities of a view, in order.
    ///
    /// # Errors
    /// NotFound for a view that was not read; where events that were put aside cannot be read again.
    pub fn entities(&self, view: &str) -> Result<Vec<Vec<u8>>, Error> {
        let history = self.views.get(view).ok_or_else(|| Error::not_found(format!("the history of `{view}` was not read")))?;
        let found = in_parallel(self.threads, history.partitions.len(), |partition| {
            let mut entities: Vec<Vec<u8>> = Vec::new();
            each(&history.partitions[partition].load()?, |entity, _| {
                if entities.last().is_none_or(|last| last != entity) {
                    entities.push(entity.to_vec());
                }
            });
            Ok(entities)
        })?;
        let mut entities: Vec<Vec<u8>> = found.into_iter().flatten().collect();
        entities.sort_unstable();
        Ok(entities)
    }

    fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.views.values().flat_map(|history| &history.partitions)
    }

    /// The features of a view for each request, in their order, and how long each unit of work took, µs.
    ///
    /// # Errors
    /// NotFound for a view that was not read.
    pub fn features(&self, view: &str, requests: &[Request<'_>], mode: TimeMode, clock: &dyn Clock) -> Result<(Features, UnitTimes), Error> {
        let history = self.views.get(view).ok_or_else(|| Error::not_found(format!("the history of `{view}` was not read")))?;
        let assigned = assign(requests, history.partitions.len())?;
        let events: usize = history.partitions.iter().map(|partition| partition.rows).sum();
        let unit_rows = UNIT_ROWS.min(events / self.threads + 1);
        let sorted = in_parallel(self.threads, assigned.len(), |partition| {
            Ok(slices(requests, assigned[partition].clone(), history.partitions[partition].rows, unit_rows))
        })?;
        let mut units: Vec<(usize, Vec<u32>)> =
            sorted.into_iter().enumerate().flat_map(|(partition, slices)| slices.into_iter().map(move |numbers| (partition, numbers))).collect();
        // The largest first: begun last, it would be waited for.
        units.sort_by_key(|(partition, numbers)| std::cmp::Reverse(history.partitions[*partition].rows + numbers.len()));
        let parts = in_parallel(self.threads, units.len(), |unit| {
            let (partition, numbers) = &units[unit];
            let started = clock.now();
            let unit = Unit::new(history.partitions[*partition].load()?, requests, numbers)?;
            let parts = block_on(Reading::new(&history.view, mode, vec![unit])?.unit(0))?;
            Ok((parts, u64::try_from(clock.now().0 - started.0).unwrap_or(0)))
        })?;
        let (parts, times): (Vec<Vec<Part>>, Vec<u64>) = parts.into_iter().unzip();
        let features = in_order(&history.view, parts.into_iter().flatten().collect(), requests.len(), self.threads)?;
        Ok((features, UnitTimes(times)))
    }
}

/// A request by the primary key of its own event.
#[derive(Debug, Clone, Copy)]
struct Owner<'a> {
    key: &'a [u8],
    request: Request<'a>,
    number: usize,
}

impl Histories {
    /// For each request, whether an event of `source` counts for it that has the primary key given, in any window that holds its moment.
    ///
    /// # Errors
    /// NotFound for a view that was not read.
    pub fn counted(&self, view: &str, source: &str, requests: &[Request<'_>], keys: &Keys, mode: TimeMode) -> Result<Vec<bool>, Error> {
        let history = self.views.get(view).ok_or_else(|| Error::not_found(format!("the history of `{view}` was not read")))?;
        let branches: Vec<u8> = (0u8..).zip(&history.view.branches).filter(|(_, branch)| branch.source == source).map(|(number, _)| number).collect();
        let mut owners: Vec<Owner<'_>> = (requests.iter().enumerate())
            .filter(|(number, _)| !keys.has_null(*number))
            .map(|(number, request)| Owner { key: keys.get(number), request: *request, number })
            .collect();
        owners.sort_unstable_by_key(|owner| owner.key);
        let frames = &history.view.frames;
        let found = in_parallel(self.threads, history.partitions.len(), |partition| {
            let mut found = Vec::new();
            each(&history.partitions[partition].load()?, |entity, row| {
                let Some((&branch, suffix)) = row.key.get(order::TIME_LEN..).and_then(<[u8]>::split_first) else { return };
                if !branches.contains(&branch) {
                    return;
                }
                // What follows the branch begins with the primary key, and no key is the beginning of another: it is the last one that is not greater.
                let end = owners.partition_point(|owner| owner.key <= suffix);
                for owner in owners[..end].iter().rev().take_while(|owner| suffix.starts_with(owner.key)) {
                    let (time, at) = (order::time_of(row.key), owner.request.at);
                    let is_known = match mode {
                        TimeMode::Event => row.is_live(),
                        TimeMode::Known => row.known_from <= at && at < row.known_until,
                    };
                    if owner.request.entity == entity && is_known && frames.iter().any(|frame| frame.range(at).contains(time)) {
                        found.push(owner.number);
                    }
                }
            });
            Ok(found)
        })?;
        let mut counted = vec![false; requests.len()];
        found.into_iter().flatten().for_each(|number| counted[number] = true);
        Ok(counted)
    }
}

/// Does `work` for each number below `count`, in that order, on some threads; what came of it, by number.
fn in_parallel<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> Result<T, Error> + Sync) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(done);
            }
            done.push((number, work(number)?));
        }
    };
    let mut all: Vec<(usize, T)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(count)).map(|_| scope.spawn(some)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<Vec<Vec<_>>, Error>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    all.sort_unstable_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, done)| done).collect())
}

/// Parts put together in the order of their requests.
fn in_order(view: &Transformation, parts: Vec<Part>, requests: usize, threads: usize) -> Result<Features, Error> {
    let mut places = vec![u64::MAX; requests];
    let mut at = 0;
    for row in parts.iter().flat_map(|part| &part.rows) {
        *places.get_mut(*row as usize).ok_or_else(|| Error::internal("an answer to nobody"))? = at;
        at += 1;
    }
    if at != requests as u64 {
        return Err(Error::internal(format!("{at} answers to {requests} requests")));
    }
    let mut newest = vec![None; requests];
    for part in &parts {
        part.rows.iter().zip(&part.features.newest).for_each(|(&row, &time)| newest[row as usize] = time);
    }
    let places = UInt64Array::from(places);
    let kernel = |error| Error::internal("a kernel refused features").caused_by(error);
    let features = in_parallel(threads, view.features.fields().len(), |feature| {
        let pieces: Vec<&dyn Array> = parts.iter().map(|part| &*part.features.columns[feature]).collect();
        let column: ArrayRef = if pieces.is_empty() {
            arrow::array::new_empty_array(view.features.field(feature).data_type())
        } else {
            take(&concat(&pieces).map_err(kernel)?, &places, None).map_err(kernel)?
        };
        let mut statuses = vec![Status::NotFound; requests];
        for part in &parts {
            part.rows.iter().zip(&part.features.statuses[feature]).for_each(|(&row, &status)| statuses[row as usize] = status);
        }
        Ok((column, statuses))
    })?;
    let (columns, statuses) = features.into_iter().unzip();
    Ok(Features { columns, statuses, newest, stats: ReadStats::default() })
}
