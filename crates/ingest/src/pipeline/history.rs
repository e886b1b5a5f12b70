//! A history in memory: read, admitted and staged, on all threads.
//!
//! One thread reads and screens, round by round, while the others decide and stage the round before: each of them a share of the primary keys, so that
//! what a key's rows come to is decided in their order and by one index, and no thread waits for another within a round.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::thread;

use lockstep_model::{Error, EventTime, FilePosition, PartitionId, Position};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::changes::StagedChanges;

use super::backfill::{BackfillOptions, HistoryFile};
use super::step::{Pending, Picked, Target};
use super::stream::{dialect_of, schema_of};
use super::{Observer, Progress, history_partition};
use crate::admission::{Admission, Arrivals, Kind, MemoryKeyIndex, Screening, Share};
use crate::source::{ReadRequest, SourceBatch, SourceReader};

/// Buckets of staged changes. A few thousand changes of a history of millions fall into each, which is what a core's cache holds.
pub(super) const BUCKETS: u32 = 256;

/// Rows of a round, about: enough that starting threads for it does not count.
const ROUND_ROWS: usize = 1 << 16;

/// How reading a history ended.
pub(super) enum Read {
    Whole(History),
    TooLarge,
    Stopped { rows: u64 },
}

/// A whole history.
pub(super) struct History {
    /// Rows of the inputs passed.
    pub(super) rows: u64,
    /// What was read, for the job's fingerprint.
    pub(super) inputs: String,
    /// Per target: what its commit carries, without staged changes.
    pub(super) pending: Vec<Pending>,
    pub(super) shares: Vec<KeyShare>,
}

/// What a share of the primary keys comes to.
pub(super) struct KeyShare {
    /// Per source: what is remembered of its keys.
    pub(super) keys: BTreeMap<String, MemoryKeyIndex>,
    /// Per target.
    pub(super) pending: Vec<Pending>,
}

/// Screened rows that the shares go on with.
struct Round {
    batches: Vec<Screened>,
    rows: u64,
}

struct Screened {
    batch: SourceBatch,
    picked: Picked,
    screening: Screening,
    shares: Vec<Share>,
}

/// A file being read for some branches of the targets.
struct Input<'a> {
    reader: SourceReader,
    history: &'a HistoryFile,
    options: &'a BackfillOptions,
    partition: PartitionId,
    /// Target and branch.
    readers: Vec<(usize, usize)>,
    admission: &'a Admission,
    position: Option<Position>,
    event_time_max: Option<i64>,
}

impl History {
    /// Reads all files, unless what is staged of them takes more than `memory_bytes`.
    ///
    /// # Errors
    /// As reading does.
    pub(super) fn read(
        files: &[HistoryFile],
        catalog: &Catalog,
        targets: &[Target],
        options: &BackfillOptions,
        memory_bytes: usize,
        observe: &mut Observer<'_>,
    ) -> Result<Read, Error> {
        let pending = || targets.iter().map(|_| Pending { staged: StagedChanges::in_buckets(BUCKETS), ..Pending::default() }).collect();
        let shares = (0..options.threads.max(1)).map(|_| KeyShare { keys: BTreeMap::new(), pending: pending() }).collect();
        let mut whole = History { rows: 0, inputs: String::new(), pending: targets.iter().map(|_| Pending::default()).collect(), shares };
        // A file may hold the rows of several sources, of which one is read here.
        let declared: Vec<String> = catalog.sources.keys().cloned().collect();
        for history in files {
            let request = ReadRequest {
                batch_rows: options.batch_rows,
                csv: dialect_of(&history.source),
                declared: declared.clone(),
                ..ReadRequest::new(schema_of(&history.source), history.format)
            };
            let Some(mut input) = Input::new(history, request, targets, options)? else { continue };
            whole.make_room(&input);
            let start = whole.rows;
            let mut next = input.round(whole.shares.len())?;
            while let Some(round) = next {
                whole.rows += round.rows;
                next = whole.take(round, &mut input, targets)?;
                let progress = input.reader.progress();
                observe(&Progress {
                    stage: format!("reading {}", history.file.name()),
                    rows: whole.rows - start,
                    bytes: progress.bytes_done,
                    bytes_total: progress.bytes_total,
                    ..Progress::default()
                });
                if options.stop.load(Ordering::Relaxed) {
                    return Ok(Read::Stopped { rows: whole.rows });
                }
                if whole.size() > memory_bytes {
                    return Ok(Read::TooLarge);
                }
            }
            whole.finish_file(input);
        }
        Ok(Read::Whole(whole))
    }

    /// Bytes held, about.
    fn size(&self) -> usize {
        let of_share = |share: &KeyShare| {
            let staged: usize = share.pending.iter().map(|pending| pending.staged.size()).sum();
            staged + share.keys.values().map(MemoryKeyIndex::size).sum::<usize>()
        };
        self.shares.iter().map(of_share).sum()
    }

    /// Makes room for the keys of a file that says how many rows it has: tables that grow were a sixth of the time.
    fn make_room(&mut self, input: &Input<'_>) {
        let Some(rows) = input.reader.progress().rows_total else { return };
        let shares = self.shares.len();
        // The footer may say anything; what it exceeds the bound by is grown into.
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).min(1 << 26) / shares;
        for share in &mut self.shares {
            share.keys.entry(input.history.source.name.clone()).or_default().reserve(input.admission.ordinal(), rows + rows / 64);
        }
    }

    /// Lets each share take what is its own of a round, while the next one is read.
    fn take(&mut self, round: Round, input: &mut Input<'_>, targets: &[Target]) -> Result<Option<Round>, Error> {
        let shares = self.shares.len();
        let (admission, partition, readers) = (input.admission, input.partition.clone(), input.readers.clone());
        let source = &input.history.source.name;
        let next = thread::scope(|scope| {
            let (round, partition, readers) = (&round, &partition, &readers);
            let take = |(number, share): (usize, &mut KeyShare)| -> Result<(), Error> {
                round.batches.iter().try_for_each(|screened| share.take(screened, number, (source, admission, partition), readers, targets))
            };
            let threads: Vec<_> = self.shares.iter_mut().enumerate().map(|share| scope.spawn(move || take(share))).collect();
            let next = input.round(shares);
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))?;
            next
        })?;
        // What the screen kept back is told once for each target.
        let mut told = vec![false; targets.len()];
        let ledgers: Vec<_> = round.batches.into_iter().map(|screened| screened.screening.into_ledger()).collect();
        for (at, _) in &input.readers {
            if !std::mem::replace(&mut told[*at], true) {
                for (_, dead_letters, counters) in &ledgers {
                    self.pending[*at].dead_letters.extend(dead_letters.iter().cloned());
                    *self.pending[*at].counters.entry(source.clone()).or_default() += *counters;
                }
            }
        }
        Ok(next)
    }

    fn finish_file(&mut self, input: Input<'_>) {
        let Some(Position::File(position)) = input.position else { return };
        let FilePosition { rows, size, etag, hash, .. } = &position;
        let (source, name) = (&input.history.source.name, input.history.file.name());
        let _ = writeln!(self.inputs, "{source} {name} rows {rows} size {size:?} etag {etag:?} hash {hash:016x}");
        let mut told = vec![false; self.pending.len()];
        for (at, _) in input.readers {
            if !std::mem::replace(&mut told[at], true) {
                let order = self.pending[at].positions.len() as u64;
                let position = FilePosition { order, event_time_max: input.event_time_max, ..position.clone() };
                self.pending[at].positions.push((input.partition.clone(), Position::File(position)));
            }
        }
    }
}

impl<'a> Input<'a> {
    /// Opens a file; `None` where no target reads its source.
    fn new(history: &'a HistoryFile, request: ReadRequest, targets: &'a [Target], options: &'a BackfillOptions) -> Result<Option<Self>, Error> {
        let source = &history.source.name;
        let readers: Vec<(usize, usize)> =
            targets.iter().enumerate().flat_map(|(at, target)| target.branches_of(source).map(move |branch| (at, branch))).collect();
        let Some(&(first, branch)) = readers.first() else { return Ok(None) };
        Ok(Some(Input {
            reader: SourceReader::open(&history.file, request)?,
            partition: PartitionId { source: source.clone(), partition: history_partition(history.file.name()) },
            history,
            options,
            readers,
            // None of the targets has any keys yet, so admission comes to the same for each.
            admission: targets[first].admission(branch),
            position: None,
            event_time_max: None,
        }))
    }

    /// Reads and screens a round; `None` at the end of the file.
    fn round(&mut self, shares: usize) -> Result<Option<Round>, Error> {
        let mut round = Round { batches: Vec::new(), rows: 0 };
        let mut is_end = true;
        while let Some(chunk) = self.reader.next_chunk()? {
            is_end = false;
            round.rows += chunk.rows_read;
            for batch in chunk.batches {
                self.position = Some(batch.position.clone());
                round.batches.push(self.screen(batch, shares)?);
            }
            if round.batches.iter().map(|screened| screened.batch.rows.len() + screened.batch.bad.len()).sum::<usize>() >= ROUND_ROWS {
                break;
            }
        }
        Ok((!is_end).then_some(round))
    }

    fn screen(&mut self, batch: SourceBatch, shares: usize) -> Result<Screened, Error> {
        let now: EventTime = self.options.clock.now();
        let picked = Picked::new(&batch, |_| true, self.options.until, &self.history.source)?;
        let (screening, shares) = picked.arrivals(&batch, &self.partition, |arrivals| {
            let screening = self.admission.screen(arrivals, self.event_time_max, now, Kind::History)?;
            let shares = self.admission.shares(arrivals, &screening, shares)?;
            Ok::<_, Error>((screening, shares))
        })?;
        self.event_time_max = screening.event_time_max();
        Ok(Screened { batch, picked, screening, shares })
    }
}

impl KeyShare {
    /// Decides what the rows of this share come to, and stages them for each branch that reads them.
    fn take(
        &mut self,
        screened: &Screened,
        number: usize,
        (source, admission, partition): (&str, &Admission, &PartitionId),
        readers: &[(usize, usize)],
        targets: &[Target],
    ) -> Result<(), Error> {
        let index = self.keys.entry(source.to_owned()).or_default();
        let share = &screened.shares[number];
        let screening = &screened.screening;
        let decide = |arrivals: &Arrivals<'_>| admission.decide_share(arrivals, screening, share, index);
        let admitted = screened.picked.arrivals(&screened.batch, partition, decide)?;
        index.apply(&admitted.keys);
        let mut told = vec![false; targets.len()];
        for &(at, branch) in readers {
            let pending = &mut self.pending[at];
            targets[at].stage(branch, &admitted, pending)?;
            if !std::mem::replace(&mut told[at], true) {
                pending.dead_letters.extend(admitted.dead_letters.iter().cloned());
                *pending.counters.entry(source.to_owned()).or_default() += admitted.counters;
            }
        }
        Ok(())
    }
}
