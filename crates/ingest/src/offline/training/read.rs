//! Reading histories: what they are made of is admitted, staged and sorted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_model::{Error, EventTime, Generation};
use lockstep_store::{Counters, DeadLetter, GenerationInfo};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::changes::StagedChanges;
use lockstep_transform::point_in_time::sorted;
use lockstep_transform::transformation::Transformation;

use super::again::groups;
use super::{Histories, Partition, ViewHistory, in_parallel};
use crate::offline::Files;
use crate::offline::applied::Applied;
use crate::pipeline::{BackfillOptions, History, HistoryInput, KeyShare, Observer, Progress, Spill, Spilling, Staged, Tally, Target, history_files};

/// Most passes over the inputs.
const PASSES_MAX: usize = 64;

/// Most dead letters that are kept as examples.
const EXAMPLES: usize = 20;

/// How passes over the inputs ended.
enum Passed {
    Whole(Vec<KeyShare>),
    Stopped,
    TooLarge,
}

impl Histories {
    /// Reads the batch files of all sources that `views` read; `None` where it was told to stop. What takes more memory than `options` allow goes to files in `spill_dir`.
    ///
    /// # Errors
    /// As reading does; Invalid where the histories take more memory than is allowed, and there is no such directory.
    pub fn read(
        catalog: &Catalog,
        views: &[Arc<Transformation>],
        options: &BackfillOptions,
        spill_dir: Option<&Path>,
        observe: &mut Observer<'_>,
    ) -> Result<Option<Self>, Error> {
        let targets = views.iter().map(|view| Target::new(catalog, view, nowhere(view))).collect::<Result<Vec<_>, Error>>()?;
        let files = history_files(catalog, &targets, options)?;
        Histories::of_inputs(catalog, &targets, &files, options, spill_dir, observe)
    }

    /// As [`Self::read`], of everything that a store has applied for `views`, as far as it has: batch files, files that were followed as logs, topics, and what was pushed. Where
    /// its history ended is its own affair: `until` of the options is not looked at.
    ///
    /// # Errors
    /// As [`Self::read`]; Unavailable where an input cannot be read again; Data where one is no longer what was applied.
    pub fn read_applied(
        catalog: &Catalog,
        views: &[Arc<Transformation>],
        (applied, files): (&Applied, &Files),
        options: &BackfillOptions,
        spill_dir: Option<&Path>,
        observe: &mut Observer<'_>,
    ) -> Result<Option<Self>, Error> {
        let mut all = Histories::none(options);
        for group in groups(catalog, views, applied)? {
            let inputs = group.inputs(catalog, applied, files)?;
            let Some(mut read) = Histories::of_inputs(catalog, &group.targets, &inputs, options, spill_dir, observe)? else { return Ok(None) };
            for (of, rows) in group.ahead() {
                read.tally.entry(of).or_default().dead_lettered += rows;
            }
            read.positions = group.positions();
            all.absorb(read);
        }
        Ok(Some(all))
    }

    fn none(options: &BackfillOptions) -> Histories {
        Histories {
            views: BTreeMap::new(),
            threads: options.threads.max(1),
            rows: 0,
            positions: BTreeMap::new(),
            tally: Tally::new(),
            dead_letters: Vec::new(),
        }
    }

    /// Takes in the histories of other views.
    fn absorb(&mut self, other: Histories) {
        self.views.extend(other.views);
        self.rows += other.rows;
        self.positions.extend(other.positions);
        self.tally.extend(other.tally);
        self.dead_letters.extend(other.dead_letters);
        self.dead_letters.truncate(EXAMPLES);
    }

    /// Reads inputs for views that read them alike.
    fn of_inputs<I: HistoryInput>(
        catalog: &Catalog,
        targets: &[Target],
        inputs: &[I],
        options: &BackfillOptions,
        spill_dir: Option<&Path>,
        observe: &mut Observer<'_>,
    ) -> Result<Option<Self>, Error> {
        let mut all = Histories::none(options);
        let Some(shares) = all.stage(inputs, catalog, targets, options, spill_dir, observe)? else { return Ok(None) };
        let is_large = shares.iter().any(|share| share.spills.iter().any(Option::is_some));
        let mut by_target: Vec<Vec<Share>> = targets.iter().map(|_| Vec::new()).collect();
        for share in shares {
            for ((of_target, pending), spill) in by_target.iter_mut().zip(share.pending).zip(share.spills) {
                of_target.push(Share { staged: pending.staged, spill });
            }
        }
        for (target, shares) in targets.iter().zip(by_target) {
            let rows = shares.iter().map(|share| share.staged.len() as u64).sum();
            observe(&Progress { stage: format!("sorting {}", target.view.view), rows, ..Progress::default() });
            let partitions = sort(shares, all.threads, spill_dir.filter(|_| is_large))?;
            all.views.insert(target.view.view.clone(), ViewHistory { view: Arc::clone(&target.view), partitions });
        }
        Ok(Some(all))
    }

    /// Reads and admits all inputs: in one pass, or, where what has to be remembered of primary keys does not fit into memory, in several.
    fn stage<I: HistoryInput>(
        &mut self,
        inputs: &[I],
        catalog: &Catalog,
        targets: &[Target],
        options: &BackfillOptions,
        spill_dir: Option<&Path>,
        observe: &mut Observer<'_>,
    ) -> Result<Option<Vec<KeyShare>>, Error> {
        let most = if spill_dir.is_some() { PASSES_MAX } else { 1 };
        let mut passes = 1;
        while passes <= most {
            (self.rows, self.positions, self.tally, self.dead_letters) = (0, BTreeMap::new(), Tally::new(), Vec::new());
            match self.stage_in(passes, inputs, catalog, targets, options, spill_dir, observe)? {
                Passed::Whole(shares) => return Ok(Some(shares)),
                Passed::Stopped => return Ok(None),
                Passed::TooLarge => passes *= 2,
            }
        }
        Err(Error::invalid(format!(
            "the histories take more than {} MiB of memory · raise memory.train in lockstep.toml, or name fewer files",
            options.memory_bytes >> 20
        )))
    }

    /// As [`Self::stage`], in so many passes.
    #[allow(clippy::too_many_arguments, reason = "what is read, for what, and within what")]
    fn stage_in<I: HistoryInput>(
        &mut self,
        passes: usize,
        inputs: &[I],
        catalog: &Catalog,
        targets: &[Target],
        options: &BackfillOptions,
        spill_dir: Option<&Path>,
        observe: &mut Observer<'_>,
    ) -> Result<Passed, Error> {
        let mut shares = Vec::new();
        for pass in 0..passes {
            // One half is for keys, the other for what is staged.
            let share_bytes = options.memory_bytes / 2 / self.threads;
            let spilling = spill_dir.map(|dir| Spilling { dir: dir.to_owned(), share_bytes, pass: (pass, passes) });
            match History::read(inputs, catalog, targets, options, options.memory_bytes, spilling.as_ref(), observe)? {
                Staged::Whole(history) => shares.extend(self.take(targets, history, pass == 0)),
                Staged::Stopped { .. } => return Ok(Passed::Stopped),
                Staged::TooLarge => return Ok(Passed::TooLarge),
            }
        }
        Ok(Passed::Whole(shares))
    }

    /// Takes what a pass came to: its rows, positions and ledgers of the inputs from the first, of its keys from each.
    fn take(&mut self, targets: &[Target], mut history: History, is_first: bool) -> Vec<KeyShare> {
        for (at, target) in targets.iter().enumerate() {
            let of_inputs = std::mem::take(&mut history.pending[at]);
            if is_first {
                self.positions.extend(of_inputs.positions);
                self.tell(target, of_inputs.counters, of_inputs.dead_letters);
            }
            for share in &mut history.shares {
                let pending = &mut share.pending[at];
                self.tell(target, std::mem::take(&mut pending.counters), std::mem::take(&mut pending.dead_letters));
            }
        }
        self.rows = if is_first { history.rows } else { self.rows };
        // What is remembered of keys is of no use any more.
        history.shares.iter_mut().for_each(|share| share.keys.clear());
        history.shares
    }

    fn tell(&mut self, target: &Target, counters: BTreeMap<String, Counters>, dead_letters: Vec<DeadLetter>) {
        for (source, counters) in counters {
            *self.tally.entry((target.view.view.clone(), source)).or_default() += counters;
        }
        let room = EXAMPLES.saturating_sub(self.dead_letters.len());
        self.dead_letters.extend(dead_letters.into_iter().take(room));
    }
}

/// The generation of a history that goes into no store.
fn nowhere(view: &Transformation) -> GenerationInfo {
    GenerationInfo {
        generation: Generation(0),
        view: view.view.clone(),
        version: 0,
        meaning: view.meaning,
        state: view.state,
        created_at: EventTime(0),
        published_at: None,
        dropped_at: None,
        history_until: None,
        caught_up_at: None,
        filled: None,
        run: None,
        taken_back_at: None,
    }
}

/// What one share of the primary keys staged for a view.
struct Share {
    staged: StagedChanges,
    spill: Option<Spill>,
}

/// The events of a view, by partition; in files in `dir`, where there is one.
fn sort(shares: Vec<Share>, threads: usize, dir: Option<&Path>) -> Result<Vec<Partition>, Error> {
    let mut buckets: Vec<Vec<StagedChanges>> = Vec::new();
    let mut spills = Vec::new();
    for Share { staged, spill } in shares {
        spills.push(spill);
        for (number, bucket) in staged.into_buckets().into_iter().enumerate() {
            if number == buckets.len() {
                buckets.push(Vec::new());
            }
            buckets[number].push(bucket);
        }
    }
    let buckets: Vec<Mutex<Vec<StagedChanges>>> = buckets.into_iter().map(Mutex::new).collect();
    in_parallel(threads, buckets.len(), |number| {
        // What was sorted is given back at once: both together would take twice the memory.
        let pending = std::mem::take(&mut *buckets[number].lock().unwrap_or_else(PoisonError::into_inner));
        let mut all = Vec::with_capacity(2 * pending.len());
        for (pending, spill) in pending.into_iter().zip(&spills) {
            // What was put aside came before.
            if let Some(spill) = spill {
                let mut earlier = StagedChanges::default();
                spill.put_back(number, &mut earlier)?;
                all.push(earlier);
            }
            all.push(pending);
        }
        Partition::new(sorted(&all.iter().collect::<Vec<_>>())?, dir)
    })
}
