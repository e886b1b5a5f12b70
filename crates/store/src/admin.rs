//! The writing side of [`OnlineStore`]: commits, generations, definitions.

use std::sync::Arc;

use lockstep_model::{Error, EventTime, Generation};

use crate::batch::{Batch, generation_range};
use crate::book::{Book, Entry};
use crate::layout::{self, Tag};
use crate::store::Durability;
use crate::{
    Commit, CrashPoint, CutRead, Definitions, Epoch, Filled, GenerationInfo, Horizon, NewDefinitions, NewGeneration, NewRelease, NewSwitch,
    OnlineStore, Release, Store, Switch, definitions, format, outbox, release,
};

impl OnlineStore for Store {
    fn cut(&self) -> Box<dyn CutRead + '_> {
        Box::new(Store::cut(self))
    }

    fn epoch(&self) -> Epoch {
        Store::epoch(self)
    }

    fn fence(&self) -> Result<Epoch, Error> {
        self.update(Durability::Forced, |book, batch| {
            book.epoch = Epoch(book.epoch.0.saturating_add(1));
            batch.put_record(Tag::Epoch.alone(), &book.epoch)?;
            Ok(book.epoch)
        })
    }

    fn commit_all(&self, commits: Vec<Commit>) -> Result<(), Error> {
        self.crash().hit(CrashPoint::CommitBefore);
        self.update(Durability::ByPolicy, |book, batch| apply_all(book, batch, &commits))?;
        self.crash().hit(CrashPoint::CommitAfter);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.force()
    }

    fn create_generation(&self, new: NewGeneration) -> Result<GenerationInfo, Error> {
        self.create(new, None)
    }

    fn publish(&self, commits: Vec<Commit>) -> Result<(), Error> {
        self.crash().hit(CrashPoint::PublishBefore);
        let now = self.options.clock.now();
        self.update(Durability::Forced, |book, batch| {
            apply_all(book, batch, &commits)?;
            let mut generations: Vec<Generation> = commits.iter().map(|commit| commit.generation).collect();
            generations.sort_unstable();
            generations.dedup();
            generations.into_iter().try_for_each(|generation| {
                let entry = book.entry_mut(generation)?;
                refuse_half_done(entry)?;
                entry.info.published_at = Some(now);
                batch.put_record(Tag::Generation.of(generation), &entry.info)
            })
        })?;
        self.crash().hit(CrashPoint::PublishAfter);
        Ok(())
    }

    fn drop_generation(&self, generation: Generation) -> Result<(), Error> {
        self.crash().hit(CrashPoint::DropBefore);
        let now = self.options.clock.now();
        self.update(Durability::Forced, |book, batch| {
            release::refuse_serving(book, generation)?;
            let entry = book.entry_mut(generation)?;
            entry.info.dropped_at = Some(now);
            batch.delete_generation(generation);
            batch.put_record(Tag::Generation.of(generation), &entry.info)?;
            *entry = Entry::new(entry.info.clone());
            Arc::make_mut(&mut book.rules).drop_generation(generation);
            Ok(())
        })?;
        self.crash().hit(CrashPoint::DropInside);
        self.unswept().insert(generation);
        self.sweep()?;
        self.crash().hit(CrashPoint::DropAfter);
        Ok(())
    }

    fn take_out(&self, queue: &str, to: u64, bytes: u64) -> Result<(), Error> {
        self.crash().hit(CrashPoint::OutBefore);
        self.update(Durability::Forced, |book, batch| outbox::take(book, batch, queue, to, bytes))?;
        self.crash().hit(CrashPoint::OutAfter);
        Ok(())
    }

    fn apply_definitions(&self, expected: u64, applied: NewDefinitions) -> Result<Definitions, Error> {
        let applied_at = self.options.clock.now();
        self.update(Durability::Forced, |book, batch| {
            if book.definitions != expected {
                return Err(definitions::overtaken(expected, book.definitions));
            }
            book.definitions = book.definitions.saturating_add(1);
            let definitions = Definitions { version: book.definitions, applied_at, applied };
            batch.put_record(layout::definitions_key(definitions.version), &definitions)?;
            Ok(definitions)
        })
    }

    // What was committed is forced before the pointer is moved: then the move has its own record to force, and not a second of events, and no commit that forces them goes
    // before it.
    fn promote(&self, expected: u64, release: NewRelease, switch: NewSwitch) -> Result<(Release, Switch), Error> {
        self.crash().hit(CrashPoint::PromoteBefore);
        self.force()?;
        let now = self.options.clock.now();
        let promoted = self.update(Durability::Forced, |book, batch| {
            let promoted = release::promote(book, batch, expected, release, switch, now)?;
            format::raise(self.dir(), self.crash())?;
            Ok(promoted)
        })?;
        self.crash().hit(CrashPoint::PromoteAfter);
        Ok(promoted)
    }

    fn roll_back(&self, expected: u64, to: u32, switch: NewSwitch) -> Result<Switch, Error> {
        self.crash().hit(CrashPoint::RollBackBefore);
        self.force()?;
        let now = self.options.clock.now();
        let rolled_back = self.update(Durability::Forced, |book, batch| release::roll_back(book, batch, expected, to, switch, now))?;
        self.crash().hit(CrashPoint::RollBackAfter);
        Ok(rolled_back)
    }
}

impl Store {
    /// Starts a generation for the predictions of a run, unpublished, beside those of other runs. A view's version has at most one of a run at a time.
    ///
    /// # Errors
    /// Invalid where there is one already; where the disk fails.
    pub fn create_run(&self, new: NewGeneration, run: u32) -> Result<GenerationInfo, Error> {
        self.create(new, Some(run))
    }

    fn create(&self, new: NewGeneration, run: Option<u32>) -> Result<GenerationInfo, Error> {
        let created_at = self.options.clock.now();
        self.update(Durability::Forced, |book, batch| {
            refuse_twin(book, &new, run)?;
            let NewGeneration { view, version, meaning, state } = new;
            let generation = book.next_generation()?;
            let (published_at, dropped_at, history_until, caught_up_at) = (None, None, None, None);
            let info = GenerationInfo {
                generation,
                view,
                version,
                meaning,
                state,
                created_at,
                published_at,
                dropped_at,
                history_until,
                caught_up_at,
                filled: None,
                run,
                taken_back_at: None,
            };
            batch.put_record(Tag::Generation.of(generation), &info)?;
            book.generations.insert(generation, Arc::new(Entry::new(info.clone())));
            Ok(info)
        })
    }

    /// Takes generations of runs back, or lets them be read again, all of them by one forced write: what is read of their version is the last that is left.
    ///
    /// # Errors
    /// NotFound where one was dropped meanwhile; Invalid where one is not of a run, or not complete; where the disk fails.
    pub fn take_back(&self, moves: &[(Generation, bool)]) -> Result<(), Error> {
        self.crash().hit(CrashPoint::TakeBackBefore);
        let now = self.options.clock.now();
        self.update(Durability::Forced, |book, batch| {
            moves.iter().try_for_each(|&(generation, is_back)| {
                let info = &mut book.entry_mut(generation)?.info;
                if info.run.is_none() || info.published_at.is_none() {
                    let what = format!("generation {} of `{}` is no complete generation of a run", generation.0, info.view);
                    return Err(Error::invalid(format!("{what} · only such are taken back · name a run that was published")));
                }
                info.taken_back_at = is_back.then(|| info.taken_back_at.unwrap_or(now));
                batch.put_record(Tag::Generation.of(generation), info)
            })
        })?;
        self.crash().hit(CrashPoint::TakeBackAfter);
        Ok(())
    }

    /// Notes of generations whether they keep up with their logs from now on. One that does already has done so since that was noted first.
    pub fn note_keeping_up(&self, notes: &[(Generation, bool)]) -> Result<(), Error> {
        if notes.is_empty() {
            return Ok(());
        }
        let now = self.options.clock.now();
        self.update(Durability::Forced, |book, batch| {
            notes.iter().try_for_each(|&(generation, keeps_up)| {
                let info = &mut book.entry_mut(generation)?.info;
                info.caught_up_at = keeps_up.then(|| info.caught_up_at.unwrap_or(now));
                batch.put_record(Tag::Generation.of(generation), info)
            })
        })
    }

    /// Notes of generations what filling them took.
    ///
    /// # Errors
    /// NotFound where one was dropped meanwhile; where the disk fails.
    pub fn note_filled(&self, generations: &[Generation], filled: Filled) -> Result<(), Error> {
        self.update(Durability::ByPolicy, |book, batch| {
            generations.iter().try_for_each(|&generation| {
                let info = &mut book.entry_mut(generation)?.info;
                info.filled = Some(filled);
                batch.put_record(Tag::Generation.of(generation), info)
            })
        })
    }

    /// About how many bytes of the disk a generation takes: what is not in files yet is left out.
    pub fn approximate_bytes(&self, generation: Generation) -> u64 {
        let (from, to) = generation_range(generation);
        let size = |family| self.database.db.get_approximate_sizes_cf(family, &[rocksdb::Range::new(&from, &to)]).into_iter().sum::<u64>();
        self.database.families().of_generations().into_iter().map(size).sum()
    }

    /// Removes files that hold nothing but a dropped generation, of all that have some left. RocksDB looks at no snapshot when it does: while a cut from before a drop is alive, this is left for
    /// the next time, when commits are forced to the disk or the store is opened.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        // Taken out, so that whoever commits meanwhile does not wait for files.
        let pending = std::mem::take(&mut *self.unswept());
        let mut failed = None;
        for generation in pending {
            let left = if self.database.expiry.is_pinned(generation) { Ok(false) } else { self.delete_files(generation).map(|()| true) };
            if !matches!(left, Ok(true)) {
                self.unswept().insert(generation);
            }
            failed = failed.or(left.err());
        }
        failed.map_or(Ok(()), Err)
    }

    fn delete_files(&self, generation: Generation) -> Result<(), Error> {
        let (from, to) = generation_range(generation);
        self.database.families().of_generations().into_iter().try_for_each(|family| {
            let deleted = self.database.db.delete_file_in_range_cf(family, &from, &to);
            self.crash().hit(CrashPoint::DropDeleting);
            deleted.map_err(|error| self.database.explain("remove the files of a dropped generation", error))
        })
    }
}

fn apply_all(book: &mut Book, batch: &mut Batch<'_>, commits: &[Commit]) -> Result<(), Error> {
    batch.make_room(commits);
    commits.iter().try_for_each(|commit| apply(book, batch, commit))
}

fn apply(book: &mut Book, batch: &mut Batch<'_>, commit: &Commit) -> Result<(), Error> {
    book.check_epoch(commit.epoch)?;
    let generation = commit.generation;
    batch.put_rows(commit)?;
    let entry = book.entry_mut(generation)?;
    for (source, more) in &commit.counters {
        let counters = entry.counters.entry(source.clone()).or_default();
        *counters += *more;
        batch.put_record(layout::counters_key(generation, source), counters)?;
    }
    commit.out.iter().try_for_each(|out| outbox::put(book, batch, out))?;
    let entry = book.entry_mut(generation)?;
    if let Some(until) = commit.history_until {
        note_history(entry, batch, until)?;
    }
    if let Some(horizon) = &commit.horizon {
        raise_horizon(book, batch, generation, horizon)?;
    }
    Ok(())
}

/// Remembers where the history ends that a generation is filled with.
fn note_history(entry: &mut Entry, batch: &mut Batch<'_>, until: EventTime) -> Result<(), Error> {
    let GenerationInfo { generation, view, version, history_until, .. } = &mut entry.info;
    match *history_until {
        Some(begun) if begun != until => {
            let shown = |until: EventTime| if until == EventTime::MAX { "its end".to_owned() } else { until.to_string() };
            Err(Error::invalid(format!(
                "generation {} of `{view}` version {version} is being filled with the history until {}, and not until {} · go on as it was begun, or drop it",
                generation.0,
                shown(begun),
                shown(until)
            )))
        }
        Some(_) => Ok(()),
        None => {
            *history_until = Some(until);
            batch.put_record(Tag::Generation.of(*generation), &entry.info)
        }
    }
}

fn raise_horizon(book: &mut Book, batch: &mut Batch<'_>, generation: Generation, to: &Horizon) -> Result<(), Error> {
    if to.state_before > to.readable_from {
        return Err(Error::internal(format!(
            "generation {} would forget state it still promises to read · state before {}, readable from {}",
            generation.0, to.state_before, to.readable_from
        )));
    }
    let horizon = &mut book.entry_mut(generation)?.horizon;
    if horizon.raise(to) {
        let horizon = horizon.clone();
        batch.put_record(Tag::Horizon.of(generation), &horizon)?;
        Arc::make_mut(&mut book.rules).expire_before(generation, horizon);
    }
    Ok(())
}

fn refuse_twin(book: &Book, new: &NewGeneration, run: Option<u32>) -> Result<(), Error> {
    let live = book.generations.values().map(|entry| &entry.info).filter(|info| info.dropped_at.is_none());
    match live.into_iter().find(|info| info.view == new.view && info.version == new.version && info.run == run) {
        None => Ok(()),
        Some(twin) => Err(Error::invalid(format!(
            "`{}` version {} has a generation already · generation {}, created at {} · go on with it, or drop it first",
            twin.view, twin.version, twin.generation.0, twin.created_at
        ))),
    }
}

fn refuse_half_done(entry: &Entry) -> Result<(), Error> {
    let GenerationInfo { generation, view, version, published_at, .. } = &entry.info;
    let whose = format!("generation {} of `{view}` version {version}", generation.0);
    if let Some(at) = published_at {
        return Err(Error::invalid(format!("{whose} was published already, at {at} · to change it, apply a new version")));
    }
    let missing = entry.bulk.as_ref().map(|bulk| bulk.missing().len()).unwrap_or_default();
    if missing > 0 {
        return Err(Error::invalid(format!(
            "{whose} is not complete · {missing} parts of its bulk load are missing · run the backfill again, it goes on where it stopped"
        )));
    }
    Ok(())
}
