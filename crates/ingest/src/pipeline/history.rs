//! A history in memory: read, admitted and staged, on all threads.
//!
//! One thread reads and screens, round by round, while the others decide and stage the rounds before: each of them a share of the primary keys, so that
//! what a key's rows come to is decided in their order and by one index.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use lockstep_model::{Error, FilePosition, PartitionId, Position};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::changes::StagedChanges;

use super::backfill::BackfillOptions;
use super::inputs::{HistoryInput, Rows};
use super::spill::{Spill, Spilling};
use super::step::{Pending, Picked, Target};
use super::{Observer, Progress};
use crate::admission::{Admission, Arrivals, Kind, MemoryKeyIndex, Screening, Share};
use crate::source::SourceBatch;

/// Buckets of staged changes. A few thousand changes of a history of millions fall into each, which is what a core's cache holds.
pub(super) const BUCKETS: u32 = 256;

/// Rows of a round, about: enough that handing it over does not count.
const ROUND_ROWS: usize = 1 << 16;

/// How reading a history ended.
pub(crate) enum Staged {
    Whole(History),
    TooLarge,
    Stopped { rows: u64 },
}

/// A whole history.
pub(crate) struct History {
    /// Rows of the inputs passed.
    pub(crate) rows: u64,
    /// What was read, for the job's fingerprint.
    pub(super) inputs: String,
    /// Per target: what its commit carries, without staged changes.
    pub(crate) pending: Vec<Pending>,
    pub(crate) shares: Vec<KeyShare>,
}

/// What a share of the primary keys comes to.
pub(crate) struct KeyShare {
    /// Per source: what is remembered of its keys.
    pub(crate) keys: BTreeMap<String, MemoryKeyIndex>,
    /// Per target.
    pub(crate) pending: Vec<Pending>,
    /// Per target: staged changes that were put aside, all of them before those that are pending.
    pub(crate) spills: Vec<Option<Spill>>,
}

/// What the shares are given to do, in order.
enum Work<'a> {
    /// So many keys of a source are to come to each.
    Room { source: &'a str, ordinal: u16, keys: usize },
    /// Screened rows, of which each takes its own.
    Round(Arc<Round<'a>>),
}

struct Round<'a> {
    file: Arc<File<'a>>,
    batches: Vec<Screened>,
    rows: u64,
}

struct Screened {
    batch: SourceBatch,
    picked: Picked,
    screening: Screening,
    shares: Vec<Share>,
}

/// An input, and who reads it.
struct File<'a> {
    source: &'a str,
    name: &'a str,
    kind: Kind,
    partition: PartitionId,
    /// Target and branch.
    readers: Vec<(usize, usize)>,
    admission: &'a Admission,
}

/// An input being read.
struct Input<'a> {
    file: Arc<File<'a>>,
    rows: Box<dyn Rows + 'a>,
    options: &'a BackfillOptions,
    position: Option<FilePosition>,
    event_time_max: Option<i64>,
}

/// Who decides what the rows of a share come to. The threads are there from the first file to the last: what one of them has allocated is of use to it
/// again, where a thread for each round began with memory that the system had to clear.
struct Worker<'s, 'a> {
    work: SyncSender<Work<'a>>,
    thread: ScopedJoinHandle<'s, Result<(), Error>>,
    size: Arc<AtomicUsize>,
}

/// Why reading ended before the end.
enum Ended {
    TooLarge,
    Stopped,
    /// A worker is gone, and will say why.
    Broken,
}

impl History {
    /// Reads all inputs, unless what is staged of them takes more than `memory_bytes`.
    ///
    /// # Errors
    /// As reading does.
    pub(crate) fn read<I: HistoryInput>(
        inputs: &[I],
        catalog: &Catalog,
        targets: &[Target],
        options: &BackfillOptions,
        memory_bytes: usize,
        spilling: Option<&Spilling>,
        observe: &mut Observer<'_>,
    ) -> Result<Staged, Error> {
        let pending = || targets.iter().map(|_| Pending { staged: StagedChanges::in_buckets(BUCKETS), ..Pending::default() }).collect();
        let share = || KeyShare { keys: BTreeMap::new(), pending: pending(), spills: targets.iter().map(|_| None).collect() };
        let mut shares: Vec<KeyShare> = (0..options.threads.max(1)).map(|_| share()).collect();
        let (pass, passes) = spilling.map_or((0, 1), |spilling| spilling.pass);
        let first = pass * shares.len();
        let all_shares = passes * shares.len();
        let mut whole = History { rows: 0, inputs: String::new(), pending: targets.iter().map(|_| Pending::default()).collect(), shares: Vec::new() };
        let ended = thread::scope(|scope| {
            let workers: Vec<Worker<'_, '_>> =
                shares.iter_mut().enumerate().map(|(number, share)| Worker::new(scope, first + number, share, targets, spilling)).collect();
            let read = inputs.iter().try_for_each(|input| match Input::new(input, catalog, targets, options) {
                Ok(Some(input)) => whole.file(input, &workers, all_shares, memory_bytes, observe),
                Ok(None) => Ok(()),
                Err(error) => Err(Err(error)),
            });
            workers.into_iter().try_for_each(Worker::finish)?;
            match read {
                Ok(()) => Ok(None),
                Err(Ok(ended)) => Ok(Some(ended)),
                Err(Err(error)) => Err(error),
            }
        })?;
        whole.shares = shares;
        // Workers are behind the reader, and so was what it knew of their size.
        let size: usize = whole.shares.iter().map(KeyShare::size).sum();
        Ok(match ended {
            None if size > memory_bytes => Staged::TooLarge,
            None => Staged::Whole(whole),
            Some(Ended::Stopped) => Staged::Stopped { rows: whole.rows },
            Some(Ended::TooLarge) => Staged::TooLarge,
            Some(Ended::Broken) => return Err(Error::internal("a thread of a backfill ended early")),
        })
    }

    /// Reads an input round by round, and gives each to the workers.
    fn file<'a>(
        &mut self,
        mut input: Input<'a>,
        workers: &[Worker<'_, 'a>],
        all_shares: usize,
        memory_bytes: usize,
        observe: &mut Observer<'_>,
    ) -> Result<(), Result<Ended, Error>> {
        let start = self.rows;
        let give = |work: &dyn Fn() -> Work<'a>| workers.iter().try_for_each(|worker| worker.work.send(work()).map_err(|_| Ok(Ended::Broken)));
        if let Some(rows) = input.rows.progress().rows_total {
            // The footer may say anything; what it exceeds the bound by is grown into.
            let keys = usize::try_from(rows).unwrap_or(usize::MAX).min(1 << 26) / all_shares;
            let (source, ordinal) = (input.file.source, input.file.admission.ordinal());
            give(&|| Work::Room { source, ordinal, keys: keys + keys / 64 })?;
        }
        while let Some(mut round) = input.round(all_shares).map_err(Err)? {
            self.rows += round.rows;
            self.tell(&mut round);
            let round = Arc::new(round);
            give(&|| Work::Round(Arc::clone(&round)))?;
            let progress = input.rows.progress();
            observe(&Progress {
                stage: format!("reading {}", input.file.name),
                rows: self.rows - start,
                bytes: progress.bytes_done,
                bytes_total: progress.bytes_total,
                ..Progress::default()
            });
            if input.options.stop.load(Ordering::Relaxed) {
                return Err(Ok(Ended::Stopped));
            }
            if workers.iter().map(|worker| worker.size.load(Ordering::Relaxed)).sum::<usize>() > memory_bytes {
                return Err(Ok(Ended::TooLarge));
            }
        }
        self.finish_file(input);
        Ok(())
    }

    /// Tells each target once what the screen kept back.
    fn tell(&mut self, round: &mut Round<'_>) {
        let mut told = vec![false; self.pending.len()];
        let ledgers: Vec<_> = round.batches.iter_mut().map(|screened| screened.screening.take_ledger()).collect();
        for (at, _) in &round.file.readers {
            if !std::mem::replace(&mut told[*at], true) {
                for (_, dead_letters, counters) in &ledgers {
                    self.pending[*at].dead_letters.extend(dead_letters.iter().cloned());
                    *self.pending[*at].counters.entry(round.file.source.to_owned()).or_default() += *counters;
                }
            }
        }
    }

    fn finish_file(&mut self, input: Input<'_>) {
        let Some(position) = input.position else { return };
        let FilePosition { rows, size, etag, hash, .. } = &position;
        let File { source, name, partition, readers, .. } = &*input.file;
        let _ = writeln!(self.inputs, "{source} {name} rows {rows} size {size:?} etag {etag:?} hash {hash:016x}");
        let mut told = vec![false; self.pending.len()];
        for (at, _) in readers {
            if !std::mem::replace(&mut told[*at], true) {
                let order = self.pending[*at].positions.len() as u64;
                let position = FilePosition { order, event_time_max: input.event_time_max, ..position.clone() };
                self.pending[*at].positions.push((partition.clone(), Position::File(position)));
            }
        }
    }
}

impl<'s, 'a> Worker<'s, 'a> {
    /// Starts the thread of a share.
    fn new<'e>(scope: &'s Scope<'s, 'e>, number: usize, share: &'s mut KeyShare, targets: &'s [Target], spilling: Option<&'s Spilling>) -> Self
    where
        'a: 's,
    {
        // One round is under way, one waits, and one is read.
        let (work, given) = sync_channel::<Work<'a>>(1);
        let size = Arc::new(AtomicUsize::new(0));
        let held = Arc::clone(&size);
        let thread = scope.spawn(move || {
            for work in given {
                match work {
                    Work::Room { source, ordinal, keys } => share.keys.entry(source.to_owned()).or_default().reserve(ordinal, keys),
                    Work::Round(round) => {
                        round.batches.iter().try_for_each(|screened| share.take(screened, number, &round.file, targets))?;
                        spilling.map_or(Ok(()), |spilling| share.spill(spilling))?;
                        held.store(share.size(), Ordering::Relaxed);
                    }
                }
            }
            Ok(())
        });
        Worker { work, thread, size }
    }

    /// Waits for all that was given.
    fn finish(self) -> Result<(), Error> {
        drop(self.work);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<'a> Input<'a> {
    /// Opens an input; `None` where no target reads its source.
    fn new<I: HistoryInput>(input: &'a I, catalog: &'a Catalog, targets: &'a [Target], options: &'a BackfillOptions) -> Result<Option<Self>, Error> {
        let source = input.source().name.as_str();
        let readers: Vec<(usize, usize)> =
            targets.iter().enumerate().flat_map(|(at, target)| target.branches_of(source).map(move |branch| (at, branch))).collect();
        let Some(&(first, branch)) = readers.first() else { return Ok(None) };
        let file = File {
            source,
            name: input.name(),
            kind: input.kind(),
            partition: input.partition(),
            readers,
            // None of the targets has any keys yet, so admission comes to the same for each.
            admission: targets[first].admission(branch),
        };
        let rows = input.open(catalog, options)?;
        Ok(Some(Input { event_time_max: rows.begun_at(), rows, file: Arc::new(file), options, position: None }))
    }

    /// Reads and screens a round; `None` at the end of the input.
    fn round(&mut self, shares: usize) -> Result<Option<Round<'a>>, Error> {
        let mut round = Round { file: Arc::clone(&self.file), batches: Vec::new(), rows: 0 };
        let mut is_end = true;
        while let Some(some) = self.rows.next()? {
            is_end = false;
            round.rows += some.rows;
            for (batch, picked) in some.batches {
                if let Position::File(position) = &batch.position {
                    self.position = Some(position.clone());
                }
                round.batches.push(self.screen(batch, picked, shares)?);
            }
            if round.batches.iter().map(|screened| screened.batch.rows.len() + screened.batch.bad.len()).sum::<usize>() >= ROUND_ROWS {
                break;
            }
        }
        Ok((!is_end).then_some(round))
    }

    fn screen(&mut self, batch: SourceBatch, picked: Picked, shares: usize) -> Result<Screened, Error> {
        let now = self.rows.now();
        let File { kind, partition, admission, .. } = &*self.file;
        let (screening, shares) = picked.arrivals(&batch, partition, |arrivals| {
            let screening = admission.screen(arrivals, self.event_time_max, now, *kind)?;
            let shares = admission.shares(arrivals, &screening, shares)?;
            Ok::<_, Error>((screening, shares))
        })?;
        self.event_time_max = batch.event_time_max(screening.event_time_max(), |_| true);
        Ok(Screened { batch, picked, screening, shares })
    }
}

impl KeyShare {
    /// Decides what the rows of this share come to, and stages them for each branch that reads them.
    fn take(&mut self, screened: &Screened, number: usize, file: &File<'_>, targets: &[Target]) -> Result<(), Error> {
        let source = file.source;
        let index = self.keys.entry(source.to_owned()).or_default();
        let (share, screening) = (&screened.shares[number], &screened.screening);
        let decide = |arrivals: &Arrivals<'_>| file.admission.decide_share(arrivals, screening, share, index);
        let admitted = screened.picked.arrivals(&screened.batch, &file.partition, decide)?;
        index.apply(&admitted.keys);
        let mut told = vec![false; targets.len()];
        for &(at, branch) in &file.readers {
            let pending = &mut self.pending[at];
            targets[at].stage(branch, &admitted, pending)?;
            if !std::mem::replace(&mut told[at], true) {
                pending.dead_letters.extend(admitted.dead_letters.iter().cloned());
                *pending.counters.entry(source.to_owned()).or_default() += admitted.counters;
            }
        }
        Ok(())
    }

    /// Puts staged changes aside where they take more than their part of memory.
    fn spill(&mut self, spilling: &Spilling) -> Result<(), Error> {
        if self.staged_size() <= spilling.share_bytes {
            return Ok(());
        }
        for (pending, spill) in self.pending.iter_mut().zip(&mut self.spills) {
            let spill = match spill {
                Some(spill) => spill,
                None => spill.insert(Spill::new(&spilling.dir)?),
            };
            spill.take(&mut pending.staged)?;
        }
        Ok(())
    }

    fn staged_size(&self) -> usize {
        self.pending.iter().map(|pending| pending.staged.size()).sum()
    }

    /// Bytes held, about.
    fn size(&self) -> usize {
        self.staged_size() + self.keys.values().map(MemoryKeyIndex::size).sum::<usize>()
    }
}
