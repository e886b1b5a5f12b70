//! Publishing a run: written whole, looked at, filled into a generation, and made the one that is read at the moment that it is stamped with, in that order, so that whatever cuts it short leaves
//! what served.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use lockstep_ingest::pipeline::{BackfillOptions, PUBLISHING, Progress as Step, Target, backfill_from};
use lockstep_ingest::source::Stores;
use lockstep_model::{Clock, Error, EventTime, SystemClock};
use lockstep_serve::admin::Progress;
use lockstep_store::{CrashPoint, GenerationInfo, NewGeneration, OnlineStore};
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::tiles::Shape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::events::{self, Stamp};
use super::runs::FORMAT;
use super::stamp::{self, Filled};
use super::{Defined, Run, Runs, check_columns, good, location};
use crate::feed::wanted::{self, Why};
use crate::owned::Owned;
use crate::release::measure::Measured;
use crate::release::validate::{Validation, compared};
use crate::train::{Job, MANIFEST, Manifest, ManifestPart};

/// How long it takes to fill a run, where nothing is known of that: so long for each MiB of its scores.
const FILL_EACH_MIB: Duration = Duration::from_millis(200);

/// How often it is looked whether a backfill has ended, and how long is waited between: 20 s in all.
const LOOKS: u32 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is to be published, and who wants it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publish {
    /// The predictions.
    pub name: String,
    /// The directory of the scores.
    pub scores: PathBuf,
    /// Whether to publish what fails validation.
    pub force: bool,
    /// Who asks.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The predictions.
    pub name: String,
    /// The run; absent where validation refused it.
    pub run: Option<Run>,
    /// Whether these very scores were published before, so that there is no new run.
    pub already: bool,
    /// The run that is read from here on; absent where none was ever published.
    pub serves: Option<u32>,
    /// What validation found.
    pub validation: Validation,
    /// Runs that are kept no longer.
    pub gone: Vec<u32>,
}

/// SHA-256 of what a run of scoring does, in hexadecimal: equal jobs give equal scores.
///
/// # Errors
/// Where it cannot be said.
fn job_digest(job: &Job) -> Result<String> {
    Ok(Sha256::digest(serde_json::to_vec(job)?).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Publishes the scores in a directory, or goes on with it. What was published before is found again, and nothing is done.
///
/// # Errors
/// NotFound where there are no such predictions, or no scores; Invalid where those are of another deployment, or of one that means something else by now; Unavailable where a backfill is under way.
pub fn publish(owned: &Owned, asked: &Publish, progress: &Progress<'_>) -> Result<Published> {
    let _alone = alone(owned, progress)?;
    let manifest = scores_in(&asked.scores)?;
    let all = definitions_of(owned, &asked.name, &manifest)?;
    let Some(first) = all.first() else { return Err(Error::internal("predictions that no definitions have").into()) };
    let runs = Runs::of(&owned.project.store, &asked.name);
    let job = job_digest(&manifest.job)?;
    let known = runs.all()?.into_iter().find(|run| run.job == job && run.digest == manifest.digest);
    let serving = first.serving(&*OnlineStore::cut(&*owned.store))?.map(|(run, _)| run);
    let (run, is_new) = match known {
        Some(run) if is_published(owned, &asked.name, run.run)? => (run, false),
        begun => {
            // What was begun and is readable by nobody is made again: by now it would be known earlier than it can be read.
            begun.iter().try_for_each(|run| discard(owned, &asked.name, run.run))?;
            match stamped(owned, first, asked, (&manifest, &job), serving, progress)? {
                Made::Whole(run) => (*run, true),
                Made::Refused(validation) => {
                    return Ok(Published { name: asked.name.clone(), run: None, already: false, serves: serving, validation, gone: Vec::new() });
                }
            }
        }
    };
    let mut filled = false;
    for of in &all {
        filled |= fill(owned, of, &runs, &run, None, progress)? == Filled::InTime(true);
    }
    owned.store.crash().hit(CrashPoint::RunPublished);
    let gone = remove_old(owned, first, &runs)?;
    let serves = first.serving(&*OnlineStore::cut(&*owned.store))?.map(|(run, _)| run);
    Ok(Published { name: asked.name.clone(), already: !is_new && !filled, validation: run.validation.clone(), run: Some(run), serves, gone })
}

/// Whether a run can be read, or could be before it was taken back, in any version of its view.
fn is_published(owned: &Owned, name: &str, run: u32) -> Result<bool> {
    let generations = OnlineStore::cut(&*owned.store).generations()?;
    Ok(generations.iter().any(|info| info.view == name && info.run == Some(run) && info.published_at.is_some()))
}

/// How far ahead a run is stamped first.
fn ahead(parts: &[ManifestPart]) -> Duration {
    let mebibytes = parts.iter().map(|part| part.bytes).sum::<u64>() >> 20;
    FILL_EACH_MIB.saturating_mul(u32::try_from(mebibytes).unwrap_or(u32::MAX))
}

/// Removes a run that nobody can read, and generations that were begun of it.
fn discard(owned: &Owned, name: &str, run: u32) -> Result<()> {
    let begun = |info: &&GenerationInfo| info.view == name && info.run == Some(run) && info.published_at.is_none();
    for info in OnlineStore::cut(&*owned.store).generations()?.iter().filter(begun) {
        owned.store.drop_generation(info.generation)?;
    }
    Runs::of(&owned.project.store, name).remove(run)
}

/// Puts a run into the store, and makes it readable at the moment that it is stamped with, unless validation refuses it.
fn stamped(
    owned: &Owned,
    of: &Defined,
    asked: &Publish,
    (manifest, job): (&Manifest, &str),
    serving: Option<u32>,
    progress: &Progress<'_>,
) -> Result<Made> {
    let runs = Runs::of(&owned.project.store, &asked.name);
    let mut fill_by = |stamp: EventTime| {
        let run = match make(owned, of, asked, (manifest, job), (serving, stamp), progress)? {
            Made::Whole(run) => run,
            refused => return Ok(Filled::InTime(refused)),
        };
        match fill(owned, of, &runs, &run, Some(stamp), progress)? {
            Filled::InTime(_) => Ok(Filled::InTime(Made::Whole(run))),
            Filled::TooLate => {
                discard(owned, &asked.name, run.run)?;
                Ok(Filled::TooLate)
            }
        }
    };
    stamp::in_time(ahead(&manifest.parts), &|| SystemClock.now(), &mut fill_by)
}

/// Keeps backfills and other publications away; who published before may be gone in a moment.
fn alone<'o>(owned: &'o Owned, progress: &Progress<'_>) -> Result<MutexGuard<'o, ()>> {
    for _ in 0..LOOKS {
        if let Some(alone) = owned.backfill_alone() {
            return Ok(alone);
        }
        progress("waiting for a backfill")?;
        sleep(LOOK_EVERY);
    }
    Err(Error::unavailable("a backfill is under way · wait until it ends, and publish again").into())
}

/// The manifest of scores.
fn scores_in(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    match &manifest.job.scores {
        Some(_) => Ok(manifest),
        None => {
            Err(Error::invalid(format!("{} is a training set, and has no predictions · score its spine, and publish that", dir.display())).into())
        }
    }
}

/// The predictions of a name in what serves and in what is to serve next, each meaning once: those that the scores are of.
fn definitions_of(owned: &Owned, name: &str, manifest: &Manifest) -> Result<Vec<Defined>> {
    let mut sets = wanted::wanted(owned)?;
    // What served before goes on with the runs that it has.
    sets.retain(|set| !matches!(set.why, Why::Until(_)));
    let Some(serving) = sets.first() else { return Err(owned.project.nothing_applied().into()) };
    let mut all: Vec<Defined> = Vec::new();
    let mut other = None;
    for set in &sets {
        let of = match Defined::find(&set.catalog, name) {
            Ok(of) => of,
            Err(error) if set.version == serving.version && sets.len() == 1 => return Err(error.into()),
            Err(_) => continue,
        };
        if of.source.predicted_by.is_none_or(|meaning| meaning.to_string() != manifest.job.meaning) {
            other = other.or(Some(of));
        } else if !all.iter().any(|known| known.view.meaning == of.view.meaning && known.view.state == of.view.state) {
            all.push(of);
        }
    }
    match (all.is_empty(), other) {
        (false, _) => Ok(all),
        (true, Some(of)) => Err(is_other(&of, manifest).into()),
        (true, None) => Err(Defined::find(&serving.catalog, name).err().unwrap_or_else(|| Error::internal("predictions that are there")).into()),
    }
}

/// The error of scores that are not of what the predictions are declared to be of.
fn is_other(of: &Defined, manifest: &Manifest) -> Error {
    let (name, wanted) = (&of.view.view, &of.predictions().deployment);
    let scored = manifest.job.scores.as_ref().map_or("", |scores| &scores.deployment);
    if scored != wanted {
        return Error::invalid(format!("the scores are of `{scored}`, and `{name}` are predictions of `{wanted}` · score the rows by that"));
    }
    let meant = of.source.predicted_by.map(|meaning| meaning.to_string()).unwrap_or_default();
    Error::invalid(format!(
        "the scores are of `{scored}` as it meant {}, and `{name}` are of what it means now, {} · score the rows again by the definitions that serve",
        short(&manifest.job.meaning),
        short(&meant)
    ))
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A run that was made, or why not.
enum Made {
    Whole(Box<Run>),
    Refused(Validation),
}

/// Puts a run into the store, unless validation refuses it.
fn make(
    owned: &Owned,
    of: &Defined,
    asked: &Publish,
    (manifest, job): (&Manifest, &str),
    (serving, published_at): (Option<u32>, EventTime),
    progress: &Progress<'_>,
) -> Result<Made> {
    let (project, runs) = (&owned.project, Runs::of(&owned.project.store, &asked.name));
    check_columns(of, &columns_of(manifest))?;
    let number = next_number(owned, &runs, &asked.name)?;
    progress(&format!("writing run {number} of {}", asked.name))?;
    let now = SystemClock.now();
    let path = runs.begin(number)?;
    let written = events::write(of, (&asked.scores, manifest), Stamp { run: number, now, published_at }, &path);
    let written = written.inspect_err(|_| drop(runs.give_up(number)))?;
    progress(&format!("validating run {number} of {}", asked.name))?;
    let before = serving.map(|serving| measured(of, &runs, serving)).transpose()?.flatten();
    let new = Measured::of_columns(written.entities, events::predicted(of, &path)?);
    let before = before.as_ref().map(|(run, measured)| (*run, measured));
    let view = compared(&asked.name, (number, &new), before, &project.config.predictions.validate)?;
    let validation = Validation { moment: now.to_string(), passed: view.passed(), views: vec![view] };
    if !validation.passed && !asked.force {
        runs.give_up(number)?;
        return Ok(Made::Refused(validation));
    }
    let run = Run {
        format: FORMAT,
        name: asked.name.clone(),
        run: number,
        deployment: of.predictions().deployment.clone(),
        deployment_meaning: manifest.job.meaning.clone(),
        models: manifest.job.scores.as_ref().map(|scores| scores.models.clone()).unwrap_or_default(),
        job: job.to_owned(),
        digest: manifest.digest.clone(),
        origin: origin_of(manifest),
        published_at: published_at.to_string(),
        computed: written.computed.map(|(first, last)| [first, last].map(|at| EventTime(at).to_string())),
        rows: written.rows,
        without_key: written.without_key,
        events: written.events,
        entities: written.entities,
        with: kept_with(owned, of, &runs)?,
        bytes: written.bytes,
        sha256: written.sha256,
        forced: !validation.passed,
        validation,
        by: asked.by.clone(),
        reason: asked.reason.clone(),
    };
    runs.write(&run)?;
    owned.store.crash().hit(CrashPoint::RunWritten);
    runs.name(number)?;
    owned.store.crash().hit(CrashPoint::RunNamed);
    Ok(Made::Whole(Box::new(run)))
}

/// The columns of scores, by their names. Their types are seen when they are read.
fn columns_of(manifest: &Manifest) -> arrow::datatypes::Schema {
    let field = |column: &crate::train::ManifestColumn| arrow::datatypes::Field::new(&column.name, arrow::datatypes::DataType::Null, true);
    arrow::datatypes::Schema::new(manifest.columns.iter().map(field).collect::<Vec<_>>())
}

fn origin_of(manifest: &Manifest) -> String {
    let snapshot = manifest.job.from_store.as_ref().and_then(|store| store.snapshot.as_ref());
    snapshot.map_or_else(|| "the store".to_owned(), |name| format!("snapshot {name}"))
}

/// A number that no run has had.
fn next_number(owned: &Owned, runs: &Runs, name: &str) -> Result<u32> {
    let generations = OnlineStore::cut(&*owned.store).generations()?;
    let in_store = generations.iter().filter(|info| info.view == name).filter_map(|info| info.run).max();
    let on_disk = runs.all()?.last().map(|run| run.run);
    Ok(in_store.max(on_disk).unwrap_or(0) + 1)
}

/// What a run predicted; nothing where it is kept no longer.
fn measured(of: &Defined, runs: &Runs, run: u32) -> Result<Option<(u32, Measured)>> {
    let Ok(record) = runs.find(run) else { return Ok(None) };
    Ok(Some((run, Measured::of_columns(record.entities, events::predicted(of, &runs.events(run))?))))
}

/// The earlier runs that a new one's generation holds too: the last of those that were not taken back, of the same deployment.
fn kept_with(owned: &Owned, of: &Defined, runs: &Runs) -> Result<Vec<u32>> {
    let good = good(&*OnlineStore::cut(&*owned.store), &of.view.view)?;
    let meaning = of.source.predicted_by.map(|meaning| meaning.to_string()).unwrap_or_default();
    let all = runs.all()?;
    let same: Vec<u32> = all.iter().filter(|run| good.contains(&run.run) && run.deployment_meaning == meaning).map(|run| run.run).collect();
    let keep = of.predictions().keep as usize - 1;
    Ok(same[same.len().saturating_sub(keep)..].to_vec())
}

/// Fills a generation with a run and makes it the one that is read, no earlier than at a moment and not at all where that was missed; false where there is such a one already, whether it is
/// read or was taken back.
fn fill(owned: &Owned, of: &Defined, runs: &Runs, run: &Run, at: Option<EventTime>, progress: &Progress<'_>) -> Result<Filled<bool>> {
    let generations = OnlineStore::cut(&*owned.store).generations()?;
    let unfinished = |info: &&GenerationInfo| of.is(info) && info.published_at.is_none();
    // Whoever was killed may have begun another.
    for info in generations.iter().filter(unfinished).filter(|info| info.run.is_some_and(|begun| begun != run.run)) {
        owned.store.drop_generation(info.generation)?;
    }
    let info = match generations.iter().find(|info| of.is(info) && info.run == Some(run.run)) {
        Some(info) if info.published_at.is_some() => return Ok(Filled::InTime(false)),
        Some(info) => info.clone(),
        None => create(owned, of, run.run)?,
    };
    let locations = |source: &SourcePlan| {
        let is_it = source.name == of.source.name;
        if !is_it {
            return Vec::new();
        }
        run.with.iter().chain([&run.run]).map(|run| location(&owned.project, runs, *run)).collect()
    };
    let target = Target::new(&of.catalog, &of.view, info)?;
    let (project, config) = (&owned.project, &owned.project.config);
    let options = BackfillOptions {
        until: None,
        base: project.dir.clone(),
        stores: Stores::local(),
        memory_bytes: config.memory.backfill.0,
        batch_rows: config.batch_rows.get(),
        shape: Shape::default(),
        threads: config.threads(),
        stop: Arc::default(),
        clock: Arc::new(SystemClock),
    };
    progress(&format!("loading run {} of {}", run.run, run.name))?;
    let stop = Arc::clone(&options.stop);
    let mut observe = |step: &Step| {
        if let Some(at) = at.filter(|_| step.stage == PUBLISHING)
            && !has_come(at, progress)
        {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let report = backfill_from(&owned.store, &of.catalog, &[target], &locations, &options, &mut observe)?;
    Ok(if report.stopped { Filled::TooLate } else { Filled::InTime(true) })
}

/// Waits for a moment; false where it has passed already, or nobody waits for it any more.
fn has_come(at: EventTime, progress: &Progress<'_>) -> bool {
    if SystemClock.now() > at {
        return false;
    }
    while let Ok(left @ 1..) = u64::try_from(at.0.saturating_sub(SystemClock.now().0)) {
        if progress("waiting for the moment from which it is known").is_err() {
            return false;
        }
        sleep(Duration::from_micros(left).min(LOOK_EVERY));
    }
    true
}

fn create(owned: &Owned, of: &Defined, run: u32) -> Result<GenerationInfo, Error> {
    let version = OnlineStore::cut(&*owned.store).version_for(&of.view.view, of.view.meaning, of.view.state)?;
    let new = NewGeneration { view: of.view.view.clone(), version, meaning: of.view.meaning, state: of.view.state };
    owned.store.create_run(new, run)
}

/// Removes runs that are kept no longer, and generations of them: all but the last ones, the one that is read, and those that are in their generations.
fn remove_old(owned: &Owned, of: &Defined, runs: &Runs) -> Result<Vec<u32>> {
    let cut = OnlineStore::cut(&*owned.store);
    let name = &of.view.view;
    let serving = of.serving(&*cut)?.map(|(run, _)| run);
    let all = runs.all()?;
    let last = all.iter().rev().take(of.predictions().keep as usize).map(|run| run.run);
    let kept: BTreeSet<u32> = last.chain(serving).collect();
    for info in cut.generations()?.iter().filter(|info| info.view == *name && info.run.is_some_and(|run| !kept.contains(&run))) {
        owned.store.drop_generation(info.generation)?;
    }
    // What answers moments of the past is read again by whoever verifies it.
    let held = all.iter().filter(|run| kept.contains(&run.run)).flat_map(|run| run.with.iter().copied().chain([run.run]));
    let held: BTreeSet<u32> = held.collect();
    let gone: Vec<u32> = all.iter().map(|run| run.run).filter(|run| !held.contains(run)).collect();
    gone.iter().try_for_each(|run| runs.remove(*run))?;
    Ok(gone)
}
