//! `lockstep audit`: what a server logged of what it served, computed again.
//!
//! *Replay* computes each vector at the positions it was served from, by `verify --served`'s means: the inputs are read once, from their beginning, and stand at one set of positions after
//! the other. Not a bit may differ. Who audits all the time goes on from where the store stood at an earlier moment instead ([`Since`]), and reads what came since. *Hindsight* computes it from all that is known by now, at the same moment; what differs then differs for a reason, and is told by it ([`causes`]).
//!
//! Predictions that are logged beside features are computed again from the features that replay gave ([`predictions`]).
//!
//! What cannot be computed any more is counted as that, with the reason: it is never taken for equal.

mod causes;
mod order;
mod places;
mod predictions;
mod report;
mod versions;

use std::collections::BTreeMap;

use anyhow::Result;
use lockstep_ingest::offline::{Files, Replay, Since};
use lockstep_model::{Error, ErrorKind, EventTime, Generation, StateRead, TimeMode};
use lockstep_serve::admin::Progress;
use lockstep_serve::scoring::Models;
use lockstep_store::CutRead;

pub use causes::Cause;
pub use report::{Audited, Difference};
pub use versions::Versions;

use crate::kept::{Kept, ViewAt};
use crate::recompute::{Again, Of, again};
use crate::verify::OTHER_SHAPE;
use causes::{Between, Entities, NoKeys, Stage, Today, corrected, forgotten};
use predictions::Predictions;
use versions::Version;

/// From what vectors are computed again.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Where inputs are.
    pub files: &'a Files,
    /// The models of the store.
    pub models: &'a Models,
    /// Where the store stood at an earlier moment, before any of the vectors; the inputs are read from their beginning where none is given.
    pub since: Option<Since<'a>>,
}

/// Audits vectors, as a store and its inputs stand in `cut`, and what the store's models predicted of them; tells of a few differences, or of all. `versions` are the definitions that they were
/// served by.
///
/// # Errors
/// Where the store cannot be read; as `progress` has. Inputs that cannot be read again are no error: what depends on them is not auditable.
pub fn audit(cut: &dyn CutRead, versions: &Versions, inputs: Inputs<'_>, kept: &[Kept], tell_all: bool, progress: &Progress<'_>) -> Result<Audited> {
    let predictions = Predictions::new(cut, inputs.models)?;
    let mut audit = Audit { predictions, cut, inputs, versions, kept, today: BTreeMap::new(), progress, report: Audited::of(kept, tell_all) };
    let mut auditable = Vec::new();
    for (place, kept) in kept.iter().enumerate() {
        match versions.find(kept) {
            Ok(version) => auditable.push((place, version)),
            Err(why) => audit.report.not_auditable(kept, &why),
        }
    }
    audit.look_at_today(&auditable)?;
    audit.replay(&auditable)?;
    for (place, version) in auditable.iter().filter(|(place, _)| kept[*place].from.recalled) {
        audit.recalled(version, &kept[*place])?;
    }
    Ok(audit.report.finish())
}

struct Audit<'a> {
    predictions: Predictions<'a>,
    cut: &'a dyn CutRead,
    inputs: Inputs<'a>,
    versions: &'a Versions,
    kept: &'a [Kept],
    /// Views as they stand today, or why that cannot be known.
    today: BTreeMap<Generation, Result<Today<'a>, String>>,
    progress: &'a Progress<'a>,
    report: Audited,
}

/// A view whose inputs are read again, and how far it has come: rows applied.
struct Reading<'a> {
    replay: Replay<'a>,
    at: u64,
}

/// What is not auditable any more for a reason of the inputs; other errors stay errors.
fn reason(error: Error) -> Result<String, Error> {
    match error.kind() {
        ErrorKind::Internal => Err(error),
        _ => Ok(format!("their inputs cannot be read again: {error}")),
    }
}

impl<'a> Audit<'a> {
    /// Reads the inputs of each view to where the store stands.
    fn look_at_today(&mut self, auditable: &[(usize, &Version)]) -> Result<()> {
        let all = self.kept;
        let views = auditable.iter().flat_map(|(place, _)| all[*place].from.views.iter());
        let generations: BTreeMap<Generation, &str> = views.map(|view| (view.generation, view.view.as_str())).collect();
        for (generation, view) in generations {
            (self.progress)(&format!("reading the inputs of {view} to where they stand today"))?;
            let today = match self.today_of(generation) {
                Ok(today) => Ok(today),
                Err(error) => Err(reason(error)?),
            };
            self.today.insert(generation, today);
        }
        Ok(())
    }

    fn today_of(&self, generation: Generation) -> Result<Today<'a>, Error> {
        let version = self.versions.with(generation).ok_or_else(|| Error::internal("a view without definitions"))?;
        let positions = self.cut.positions(generation)?;
        let read = |compiled: &'a versions::Compiled| {
            let mut replay = self.begin_with(compiled, generation)?;
            replay.advance(&positions)?;
            Ok::<_, Error>(replay)
        };
        let taken = read(&version.noted)?;
        let whole = self.has_refused(generation)?.then(|| read(&version.whole)).transpose()?;
        let corrected = corrected(&version.noted.targets[&generation], &taken)?;
        Ok(Today { taken, whole, corrected })
    }

    /// Whether a view has refused rows of those that are read again.
    fn has_refused(&self, generation: Generation) -> Result<bool, Error> {
        let Some(since) = self.inputs.since else { return Ok(self.cut.refusals(generation).next().transpose()?.is_some()) };
        let refused = |cut: &dyn CutRead| Ok::<_, Error>(cut.counters(generation)?.values().map(|counters| counters.refused).sum::<u64>());
        Ok(refused(self.cut)? > refused(since.cut)?)
    }

    /// A view of which nothing is read again yet.
    fn begin_with(&self, compiled: &'a versions::Compiled, generation: Generation) -> Result<Replay<'a>, Error> {
        let (catalog, target) = (&compiled.catalog, &compiled.targets[&generation]);
        match self.inputs.since {
            Some(since) => Replay::since(catalog, target, self.cut, self.inputs.files, (OTHER_SHAPE, since)),
            None => Replay::new(catalog, target, self.cut, self.inputs.files, OTHER_SHAPE),
        }
    }

    /// Computes every vector again at the positions it was served from, and compares it with hindsight.
    fn replay(&mut self, auditable: &[(usize, &'a Version)]) -> Result<()> {
        let all = self.kept;
        let of_place: BTreeMap<usize, &'a Version> = auditable.iter().copied().filter(|(place, _)| !all[*place].from.recalled).collect();
        let mut readings: BTreeMap<Generation, Result<Reading<'a>, String>> = BTreeMap::new();
        let steps = order::steps(all, of_place.keys().copied());
        let mut done = 0;
        for step in &steps {
            (self.progress)(&format!("{done} of {} logged answers computed again", of_place.len()))?;
            done += step.kept.len();
            let Some(first) = step.kept.first() else { continue };
            self.advance(&mut readings, &all[*first])?;
            for place in &step.kept {
                let (kept, version) = (&all[*place], of_place[place]);
                match kept.from.views.iter().find_map(|view| readings.get(&view.generation)?.as_ref().err()) {
                    Some(why) => self.report.not_auditable(kept, why),
                    None => self.compare(version, kept, &readings)?,
                }
            }
        }
        Ok(())
    }

    /// Brings the views of an answer to its positions.
    fn advance(&self, readings: &mut BTreeMap<Generation, Result<Reading<'a>, String>>, kept: &Kept) -> Result<()> {
        for view in &kept.from.views {
            let at = view.rows_applied();
            let goes_back = matches!(readings.get(&view.generation), Some(Ok(reading)) if at < reading.at);
            if goes_back {
                readings.remove(&view.generation);
            }
            let known = match readings.remove(&view.generation) {
                Some(Err(why)) => Err(why),
                Some(Ok(reading)) => Ok(reading),
                None => match self.begin(view.generation) {
                    Ok(reading) => Ok(reading),
                    Err(error) => Err(reason(error)?),
                },
            };
            let come = match known {
                Ok(mut reading) => match reading.replay.advance(&view.positions) {
                    Ok(()) => Ok(Reading { at, ..reading }),
                    Err(error) => Err(reason(error)?),
                },
                Err(why) => Err(why),
            };
            readings.insert(view.generation, come);
        }
        Ok(())
    }

    fn begin(&self, generation: Generation) -> Result<Reading<'a>, Error> {
        let version = self.versions.with(generation).ok_or_else(|| Error::internal("a view without definitions"))?;
        Ok(Reading { replay: self.begin_with(&version.applied, generation)?, at: 0 })
    }

    fn compare(&mut self, version: &Version, kept: &Kept, readings: &BTreeMap<Generation, Result<Reading<'a>, String>>) -> Result<()> {
        let reading = |view: &str| -> Result<&Reading<'a>, Error> {
            let generation = generation_of(kept, view)?;
            readings.get(&generation).and_then(|reading| reading.as_ref().ok()).ok_or_else(|| Error::internal("a view that was not read again"))
        };
        let replayed = again(&version.applied.catalog, kept, kept.from.time, &|view| {
            let replay = &reading(view)?.replay;
            Ok(Of { state: replay.state(), keys: replay.keys(), keys_before: replay.keys_before() })
        })?;
        self.report.replayed(kept, &replayed);
        if kept.predicted.is_some() {
            let report = self.report.predictions.get_or_insert_default();
            let before = report.differ;
            self.predictions.replay(&version.applied.catalog, kept, &replayed, report)?;
            if report.differ > before {
                self.report.differing.insert(kept.from.name.clone());
            }
        }
        let of_today = match of_today(&self.today, kept) {
            Ok(of_today) => of_today,
            Err(why) => {
                self.report.no_hindsight(kept, &why);
                return Ok(());
            }
        };
        let known = hindsight(version, kept, &of_today)?;
        for row in 0..kept.len() {
            let differ = differing(kept, &known, row);
            if differ.is_empty() {
                continue;
            }
            let one = kept.row(row);
            let served = |view: &str| Ok::<_, Error>(reading(view)?.replay.state());
            let explained = explain(version, &one, &of_today, &served)?;
            for output in differ {
                let causes = explained.causes(&one, output, replayed.is_as_kept(kept, output, row));
                self.report
                    .differs(kept, row, output, &known, &causes, &|cause| explained.entities.values().flat_map(|found| found.times(cause)).collect());
            }
        }
        self.report.looked_back(kept);
        Ok(())
    }

    /// The last known good, which was read nobody knows where.
    fn recalled(&mut self, version: &Version, kept: &Kept) -> Result<()> {
        self.report.recalled(kept);
        if kept.predicted.is_some() {
            let why = "they were made of features that were read earlier, nobody knows where";
            self.report.predictions.get_or_insert_default().not_computed(kept.len() as u64, why);
        }
        let of_today = match of_today(&self.today, kept) {
            Ok(of_today) => of_today,
            Err(why) => {
                self.report.no_hindsight(kept, &why);
                return Ok(());
            }
        };
        let known = hindsight(version, kept, &of_today)?;
        for row in 0..kept.len() {
            for output in differing(kept, &known, row) {
                self.report.differs(kept, row, output, &known, &[Cause::Fallback], &|_| Vec::new());
            }
        }
        self.report.looked_back(kept);
        Ok(())
    }
}

/// The views of an answer as they stand today, or why that cannot be known.
fn of_today<'t>(today: &'t BTreeMap<Generation, Result<Today<'t>, String>>, kept: &Kept) -> Result<BTreeMap<Generation, &'t Today<'t>>, String> {
    let find = |view: &ViewAt| match today.get(&view.generation) {
        Some(Ok(today)) => Ok((view.generation, today)),
        Some(Err(why)) => Err(why.clone()),
        None => Err("their inputs were not read again".to_owned()),
    };
    kept.from.views.iter().map(find).collect()
}

/// An answer, from all that is known by now.
fn hindsight(version: &Version, kept: &Kept, today: &BTreeMap<Generation, &Today<'_>>) -> Result<Again, Error> {
    again(&version.applied.catalog, kept, TimeMode::Event, &|view| {
        let generation = generation_of(kept, view)?;
        let today = today.get(&generation).ok_or_else(|| Error::internal("a view that was not read again"))?;
        Ok(Of { state: today.all(), keys: &NoKeys, keys_before: forgotten(&version.applied.targets[&generation]) })
    })
}

/// The generation that an answer read a view from.
fn generation_of(kept: &Kept, view: &str) -> Result<Generation, Error> {
    let found = kept.from.views.iter().find(|read| read.view == view).map(|read| read.generation);
    found.ok_or_else(|| Error::data(format!("the logged answers do not say where `{view}` stood")))
}

/// The outputs of a row that were answered, and come to something else.
fn differing(kept: &Kept, known: &Again, row: usize) -> Vec<usize> {
    (0..kept.outputs.len()).filter(|&output| kept.was_asked(output, row) && !known.is_as_kept(kept, output, row)).collect()
}

/// What a vector came to, cause by cause.
struct Explained {
    /// As it was served.
    first: Again,
    /// After the changes of each cause.
    after: Vec<(Cause, Again)>,
    entities: BTreeMap<Generation, Entities>,
}

impl Explained {
    /// The causes by which an output came to be another.
    fn causes(&self, kept: &Kept, output: usize, is_replayed: bool) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut before = &self.first;
        for (cause, after) in &self.after {
            if !after.is_as(before, output, 0) {
                causes.push(*cause);
            }
            before = after;
        }
        if !is_replayed {
            causes.push(Cause::Replay);
        } else if causes.is_empty() || !self.first.is_as_kept(kept, output, 0) {
            // A request that is an event, and could itself not be known at its moment.
            causes.push(Cause::Late);
        }
        causes.sort_unstable();
        causes.dedup();
        causes
    }
}

/// Computes one vector again and again, from the events that it was served from to those of today, cause by cause.
fn explain<'s>(
    version: &Version,
    kept: &Kept,
    today: &BTreeMap<Generation, &'s Today<'s>>,
    served: &dyn Fn(&str) -> Result<&'s dyn StateRead, Error>,
) -> Result<Explained, Error> {
    let entities: BTreeMap<Generation, Entities> = kept.from.views.iter().map(|view| (view.generation, Entities::default())).collect();
    let stage = |upto: Option<Cause>| -> Result<Again, Error> {
        let mut stages: BTreeMap<&str, Stage<'_>> = BTreeMap::new();
        for view in &kept.from.views {
            let unknown = || Error::internal("a view that was not read again");
            let between = Between {
                target: version.noted.targets.get(&view.generation).ok_or_else(unknown)?,
                served: served(&view.view)?,
                today: today.get(&view.generation).copied().ok_or_else(unknown)?,
                time: kept.from.time,
                at: kept.moments[0],
            };
            stages.insert(&view.view, Stage::new(between, upto, &entities[&view.generation]));
        }
        again(&version.applied.catalog, kept, TimeMode::Event, &|view| {
            let stage = stages.get(view).ok_or_else(|| Error::data(format!("the logged answers do not say where `{view}` stood")))?;
            let target = &version.applied.targets[&generation_of(kept, view)?];
            Ok(Of { state: stage as &dyn StateRead, keys: &NoKeys, keys_before: forgotten(target) })
        })
    };
    let first = stage(None)?;
    let after = Cause::OF_EVENTS.iter().map(|cause| Ok((*cause, stage(Some(*cause))?))).collect::<Result<Vec<_>, Error>>()?;
    Ok(Explained { first, after, entities })
}

/// A moment for people.
fn moment(micros: i64) -> String {
    EventTime(micros).to_string()
}
