//! One step: rows of a source become changes of one generation, and these a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use lockstep_model::{Error, EventTime, PartitionId, Position, StateRead};
use lockstep_store::{Commit, Counters, DeadLetter, Epoch, GenerationInfo, KeyWrite, Refusal};
use lockstep_transform::catalog::{Availability, Catalog, SourcePlan};
use lockstep_transform::changes::StagedChanges;
use lockstep_transform::tiles::{self, Shape};
use lockstep_transform::transformation::Transformation;

use super::options::Seen;
use crate::admission::{Admission, Admitted, Arrivals, KeyIndex, Kind, Taken, Unreadable};
use crate::source::SourceBatch;

/// A generation that is being fed, and what its rows go through.
#[derive(Debug)]
pub struct Target {
    /// The compiled view.
    pub view: Arc<Transformation>,
    /// The generation.
    pub generation: GenerationInfo,
    /// Per branch of the view: its source.
    pub sources: Vec<Arc<SourcePlan>>,
    /// Retention beyond the watermark, µs; `None` keeps everything.
    pub retention: Option<i64>,
    admissions: Vec<Admission>,
}

/// What one commit will carry.
#[derive(Debug, Default)]
pub struct Pending {
    /// Changes of entities.
    pub staged: StagedChanges,
    /// Dedup entries.
    pub keys: Vec<KeyWrite>,
    /// The rows of the step made last that were taken.
    pub taken: Vec<Taken>,
    /// Rows that came too late.
    pub refusals: Vec<Refusal>,
    /// Rows put aside.
    pub dead_letters: Vec<DeadLetter>,
    /// What became of the rows, by source.
    pub counters: BTreeMap<String, Counters>,
    /// How far each partition has come.
    pub positions: Vec<(PartitionId, Position)>,
}

impl Target {
    /// What feeds `generation`, which holds the state of `view`.
    ///
    /// # Errors
    /// Invalid where the generation was made for another definition, and where a source cannot be admitted.
    pub fn new(catalog: &Catalog, view: &Arc<Transformation>, generation: GenerationInfo) -> Result<Target, Error> {
        generation.expect(view.meaning, view.state)?;
        let sources: Vec<Arc<SourcePlan>> = catalog.sources_of(view).into_iter().cloned().collect();
        let admissions = sources.iter().enumerate().map(|(ordinal, source)| Admission::new(source, ordinal as u16)).collect::<Result<_, _>>()?;
        Ok(Target { retention: catalog.retention(view), view: Arc::clone(view), generation, sources, admissions })
    }

    /// The branches that read a source.
    pub fn branches_of(&self, source: &str) -> impl Iterator<Item = usize> + '_ {
        let source = source.to_owned();
        self.sources.iter().enumerate().filter(move |(_, plan)| plan.name == source).map(|(branch, _)| branch)
    }

    /// How rows of a branch's source are admitted.
    pub fn admission(&self, branch: usize) -> &Admission {
        &self.admissions[branch]
    }

    #[allow(clippy::too_many_arguments, reason = "what admission is given, and where its changes go")]
    /// Admits rows of a branch's source and stages what they change; returns the partition's largest event time.
    ///
    /// # Errors
    /// Where the index cannot be read or a kernel fails.
    pub fn step(
        &self,
        branch: usize,
        arrivals: &Arrivals<'_>,
        event_time_max: Option<i64>,
        index: &dyn KeyIndex,
        now: EventTime,
        kind: Kind,
        pending: &mut Pending,
    ) -> Result<Option<i64>, Error> {
        let admitted = self.admissions[branch].admit(arrivals, event_time_max, index, now, kind)?;
        self.take(branch, admitted, pending)
    }

    /// Stages what was admitted for a branch; returns the partition's largest event time.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn take(&self, branch: usize, admitted: Admitted, pending: &mut Pending) -> Result<Option<i64>, Error> {
        self.stage(branch, &admitted, pending)?;
        let Admitted { keys, taken, refusals, dead_letters, event_time_max, .. } = admitted;
        pending.keys.extend(keys);
        pending.taken = taken;
        // What a log holds is told once, however often a view reads it.
        if self.sources[..branch].iter().all(|earlier| earlier.name != self.sources[branch].name) {
            pending.refusals.extend(refusals);
            pending.dead_letters.extend(dead_letters);
            *pending.counters.entry(self.sources[branch].name.clone()).or_default() += admitted.counters;
        }
        Ok(event_time_max)
    }

    /// Runs the row stage of a branch over changes.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn stage(&self, branch: usize, admitted: &Admitted, pending: &mut Pending) -> Result<(), Error> {
        let before = (pending.staged.null_keys, pending.staged.failed);
        admitted.with_changes(|changes| pending.staged.stage(&self.view, branch, changes))?;
        let counters = pending.counters.entry(self.sources[branch].name.clone()).or_default();
        counters.null_keys += pending.staged.null_keys - before.0;
        counters.row_errors += pending.staged.failed - before.1;
        Ok(())
    }

    /// Folds what is pending into the state and makes it one commit, leaving `pending` empty. `seen` is told which entities it changes.
    ///
    /// # Errors
    /// Where state cannot be read or does not decode.
    pub fn commit(&self, pending: &mut Pending, state: &dyn StateRead, shape: Shape, epoch: Epoch, seen: Option<&Seen>) -> Result<Commit, Error> {
        let mut commit = Commit::new(self.generation.generation, epoch);
        let mut changes = pending.staged.by_entity();
        if let Some(seen) = seen {
            seen(self.generation.generation, &mut changes.iter().map(|changes| (changes.entity, changes.upserts.len() as u64)));
        }
        commit.state = tiles::apply(&self.view.measures, shape, state, &mut changes)?;
        pending.staged.clear();
        commit.keys = std::mem::take(&mut pending.keys);
        commit.refusals = std::mem::take(&mut pending.refusals);
        commit.dead_letters = std::mem::take(&mut pending.dead_letters);
        commit.counters = std::mem::take(&mut pending.counters).into_iter().collect();
        commit.positions = std::mem::take(&mut pending.positions);
        Ok(commit)
    }
}

/// Passes the rows of a batch whose numbers are `wanted`, of those only what was known before `until`, to `run`, as arrivals in `partition`.
///
/// # Errors
/// Where the availability of the rows cannot be evaluated.
pub fn arrivals_of<R>(
    batch: &SourceBatch,
    partition: &PartitionId,
    wanted: impl Fn(u64) -> bool,
    until: Option<EventTime>,
    source: &SourcePlan,
    run: impl FnOnce(&Arrivals<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    Picked::new(batch, wanted, until, source)?.arrivals(batch, partition, run)
}

/// Which rows of a batch count.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Of the rows that could not be read: their places in the batch.
    bad: Vec<usize>,
    /// `None` where all do.
    some: Option<Subset>,
}

/// Some rows of a batch, in columns of their own.
#[derive(Debug)]
struct Subset {
    places: Vec<usize>,
    rows: Vec<u64>,
    columns: RecordBatch,
    tombstone: Option<ArrayRef>,
    append_time: Option<ArrayRef>,
}

impl Picked {
    /// The rows whose numbers are `wanted` and, where there is an end, that were known before `until`.
    pub(crate) fn new(batch: &SourceBatch, wanted: impl Fn(u64) -> bool, until: Option<EventTime>, source: &SourcePlan) -> Result<Picked, Error> {
        let bad = batch.bad.iter().enumerate().filter(|(_, bad)| wanted(bad.row)).map(|(place, _)| place).collect();
        let known = until.map(|until| Ok::<_, Error>((until.0, known_times(batch, source)?))).transpose()?;
        let counts =
            |row: &usize| wanted(batch.rows[*row]) && known.as_ref().is_none_or(|(until, times)| times[*row].is_none_or(|time| time < *until));
        let all = batch.rows.len();
        let places: Vec<usize> = (0..all).filter(counts).collect();
        if places.len() == all {
            return Ok(Picked { bad, some: None });
        }
        let mask: BooleanArray = (0..all).map(|row| Some(counts(&row))).collect();
        let kernel = |error| Error::internal("a kernel refused rows of a source").caused_by(error);
        let some = Subset {
            rows: places.iter().map(|&row| batch.rows[row]).collect(),
            columns: filter_record_batch(&batch.batch, &mask).map_err(kernel)?,
            tombstone: batch.tombstone.as_ref().map(|column| filter(column, &mask)).transpose().map_err(kernel)?,
            append_time: batch.append_time.as_ref().map(|column| filter(column, &mask)).transpose().map_err(kernel)?,
            places,
        };
        Ok(Picked { bad, some: Some(some) })
    }

    /// Passes them to `run`, as arrivals in `partition`. `batch` is the one they were picked from.
    pub(super) fn arrivals<R>(&self, batch: &SourceBatch, partition: &PartitionId, run: impl FnOnce(&Arrivals<'_>) -> R) -> R {
        let bad = self.bad.iter().map(|&place| &batch.bad[place]);
        let bad: Vec<Unreadable<'_>> = bad.map(|bad| Unreadable { row: bad.row, reason: &bad.reason, bytes: &bad.bytes }).collect();
        match &self.some {
            None => run(&Arrivals {
                partition,
                rows: &batch.rows,
                batch: &batch.batch,
                tombstone: batch.tombstone.as_ref(),
                append_time: batch.append_time.as_ref(),
                bad: &bad,
                original: &|row| batch.original.bytes(&batch.batch, row),
            }),
            Some(some) => run(&Arrivals {
                partition,
                rows: &some.rows,
                batch: &some.columns,
                tombstone: some.tombstone.as_ref().map(|column| column.as_boolean()),
                append_time: some.append_time.as_ref().map(|column| column.as_primitive::<Int64Type>()),
                bad: &bad,
                original: &|row| some.places.get(row).map_or_else(Vec::new, |&row| batch.original.bytes(&batch.batch, row)),
            }),
        }
    }
}

/// When each row was known: its event time or its availability, whichever is later, µs. `None` where neither is there.
fn known_times(batch: &SourceBatch, source: &SourcePlan) -> Result<Vec<Option<i64>>, Error> {
    let micros = |column: &ArrayRef| -> Vec<Option<i64>> {
        column.as_primitive_opt::<TimestampMicrosecondType>().map_or_else(|| vec![None; column.len()], |times| times.iter().collect())
    };
    let mut known = micros(batch.batch.column(source.event_time));
    let available = match &source.availability {
        Availability::None | Availability::Noted => return Ok(known),
        Availability::AppendTime => batch.append_time.as_ref().map_or_else(|| vec![None; known.len()], |times| times.iter().collect()),
        Availability::Expression(expression) => micros(&expression.evaluate(&batch.batch)?.values),
    };
    known.iter_mut().zip(available).for_each(|(known, available)| *known = (*known).max(available));
    Ok(known)
}
