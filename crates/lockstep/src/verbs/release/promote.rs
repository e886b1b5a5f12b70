//! `release promote` and `release validate`: lets a candidate serve, if it may.

use anyhow::Result;
use clap::Args;
use lockstep_model::position::come_to;
use lockstep_model::{Error, EventTime, Generation};
use lockstep_serve::admin::Progress;
use lockstep_store::{
    CrashPoint, CutRead, Described, GenerationInfo, NewRelease, NewSnapshot, NewSwitch, OnlineStore, Release, Snapshot, Switch, SwitchKind,
};
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::{Switched, generations_of, published};
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::release::validate::{Side, Validation, validate};
use crate::who::Signed;

/// Validate a candidate, and let it serve
///
/// The candidate is the newest applied definitions, whose views must be filled (`lockstep backfill`). It is validated against limits (`[releases.validate]` in lockstep.toml) and against
/// what serves, both at one moment: entities, coverage, NULLs, how far behind it is, how far values have moved. One that fails is not promoted (status 1), unless it is forced, which is
/// recorded.
#[derive(Debug, Args)]
pub struct Arguments {
    /// This set of definitions instead of the newest, by its number
    #[arg(long, value_name = "NUMBER")]
    pub set: Option<u64>,
    /// Promote it whatever validation finds
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub signed: Signed,
}

/// Only look whether a candidate may serve
///
/// As `lockstep release promote`, and nothing is changed.
#[derive(Debug, Args)]
pub struct ValidateArguments {
    /// This set of definitions instead of the newest, by its number
    #[arg(long, value_name = "NUMBER")]
    pub set: Option<u64>,
}

/// Promotes.
///
/// # Errors
/// Unavailable where a view is not filled, or something else was promoted meanwhile; Invalid where the candidate serves already.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { set, force, signed } = arguments;
    let question = Question { definitions: *set, force: *force, reason: signed.reason.clone(), by: signed.by() };
    let promoted = context.ask(&question)?;
    let outcome = Outcome::of(promoted.switched.is_some());
    context.out.show(&promoted)?;
    Ok(outcome)
}

/// Validates.
///
/// # Errors
/// As [`run`].
pub fn run_validate(context: &Context, arguments: &ValidateArguments) -> Result<Outcome> {
    let validation = context.ask(&ValidateQuestion { definitions: arguments.set })?;
    let outcome = Outcome::of(validation.passed);
    context.out.show(&validation)?;
    Ok(outcome)
}

/// What the owner of the store is asked to promote.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The number of the definitions; the newest where absent.
    pub definitions: Option<u64>,
    /// Whether to promote what fails validation.
    pub force: bool,
    /// Why.
    pub reason: Option<String>,
    /// Who asks.
    pub by: Option<String>,
}

/// What the owner of the store is asked to validate.
#[derive(Debug, Serialize, Deserialize)]
pub struct ValidateQuestion {
    /// The number of the definitions; the newest where absent.
    pub definitions: Option<u64>,
}

/// What became of a promotion.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Promoted {
    /// The move of the pointer; absent where validation failed.
    pub switched: Option<Switched>,
    /// What validation found.
    pub validation: Validation,
}

/// A candidate, and what serves beside it.
struct Candidate {
    definitions: u64,
    catalog: std::sync::Arc<Catalog>,
    generations: Vec<GenerationInfo>,
    serving: Option<Serving>,
}

struct Serving {
    release: Release,
    switch: Switch,
    catalog: std::sync::Arc<Catalog>,
    generations: Vec<GenerationInfo>,
}

impl ask::Question for ValidateQuestion {
    const VERB: &'static str = "release validate";
    type Answer = Validation;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Validation> {
        let cut = OnlineStore::cut(&*owned.store);
        Candidate::find(owned, &*cut, self.definitions)?.validate(owned, &*cut, progress)
    }
}

impl ask::Question for Question {
    const VERB: &'static str = "release promote";
    const WRITES: bool = true;
    type Answer = Promoted;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Promoted> {
        let candidate = Candidate::find(owned, &*OnlineStore::cut(&*owned.store), self.definitions)?;
        candidate.refuse_serving()?;
        progress("making a snapshot of the candidate")?;
        let trial = Trial::new(owned, &candidate, self.by.clone())?;
        let validation = trial.validate(&candidate, progress)?;
        if !validation.passed && !self.force {
            return Ok(Promoted { switched: None, validation });
        }
        owned.prepare(candidate.definitions)?;
        let forced = !validation.passed;
        let new = NewSwitch { kind: SwitchKind::Promote, forced, by: self.by.clone(), reason: self.reason.clone(), automatic: false };
        let expected = candidate.serving.as_ref().map_or(0, |serving| serving.switch.epoch);
        let release = NewRelease {
            definitions: candidate.definitions,
            // Of predictions it reads whichever run is published.
            generations: candidate.generations.iter().filter(|info| info.run.is_none()).map(|info| info.generation).collect(),
            snapshot: Some(trial.name.clone()),
            validation: Some(serde_json::to_value(&validation)?),
        };
        let (release, switch) = owned.store.promote(expected, release, new)?;
        trial.keep();
        owned.switched();
        // What is served has moved, whatever becomes of snapshots that nothing keeps.
        if let Err(error) = owned.collect() {
            tracing::warn!(%error, "drop snapshots that nothing keeps");
        }
        Ok(Promoted { switched: Some(Switched::new(&switch, &release)), validation })
    }
}

/// The snapshot that a candidate is validated on. It goes unless that is promoted.
struct Trial<'a> {
    owned: &'a Owned,
    name: String,
    kept: bool,
}

impl<'a> Trial<'a> {
    fn new(owned: &'a Owned, candidate: &Candidate, by: Option<String>) -> Result<Trial<'a>> {
        let reason = Some(format!("to validate definitions number {}", candidate.definitions));
        let new = NewSnapshot { by, reason, trial: true, ..NewSnapshot::default() };
        let manifest = owned.store.snapshot(new, |cut| candidate.described(cut))?;
        Ok(Trial { owned, name: manifest.name, kept: false })
    }

    fn validate(&self, candidate: &Candidate, progress: &Progress<'_>) -> Result<Validation> {
        let store = &self.owned.store;
        store.crash().hit(CrashPoint::ValidateBefore);
        // Made a moment ago: its bytes were read for their hashes.
        let snapshot = Snapshot::open_trusting(store.snapshots().find(&self.name)?, &self.owned.project.config.store_options("release promote"))?;
        let validation = candidate.validate(self.owned, &snapshot.cut(), &|text| {
            store.crash().hit(CrashPoint::ValidateInside);
            progress(text)
        })?;
        store.crash().hit(CrashPoint::ValidateAfter);
        Ok(validation)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.owned.store.drop_snapshot(&self.name, false) {
            tracing::warn!(%error, "drop the snapshot of a candidate that was not promoted");
        }
    }
}

impl Candidate {
    fn find(owned: &Owned, cut: &dyn CutRead, definitions: Option<u64>) -> Result<Candidate> {
        let newest = cut.definitions()?.map_or(0, |newest| newest.version);
        let definitions = definitions.unwrap_or(newest);
        let catalog = owned.definitions(definitions)?;
        let generations = published(cut, &catalog)?;
        let serving = match cut.serving()? {
            Some((release, switch)) => {
                let (catalog, generations) = (owned.definitions(release.new.definitions)?, generations_of(cut, &release)?);
                Some(Serving { release, switch, catalog, generations })
            }
            None => None,
        };
        Ok(Candidate { definitions, catalog, generations, serving })
    }

    /// Refuses what serves already.
    fn refuse_serving(&self) -> Result<()> {
        let Some(Serving { release, .. }) = &self.serving else { return Ok(()) };
        let same = |info: &GenerationInfo| info.run.is_some() || release.new.generations.contains(&info.generation);
        if release.new.definitions == self.definitions && self.generations.iter().all(same) {
            let number = release.release;
            let message =
                format!("definitions number {} serve already, as release {number} · apply others first, or name those to promote", self.definitions);
            return Err(Error::invalid(message).into());
        }
        Ok(())
    }

    fn validate(&self, owned: &Owned, cut: &dyn CutRead, progress: &Progress<'_>) -> Result<Validation> {
        let side = Side { cut, catalog: &self.catalog, generations: &self.generations };
        let serving = self.serving.as_ref().map(|serving| Side { cut, catalog: &serving.catalog, generations: &serving.generations });
        let moment = self.moment(cut)?;
        validate(side, serving, (moment, &owned.project.config.releases.validate), &|text| Ok(progress(text)?))
    }

    /// What a snapshot of it is of.
    fn described(&self, cut: &dyn CutRead) -> Result<Described> {
        let end = |info: &GenerationInfo| -> Result<(Generation, Option<EventTime>)> {
            Ok((info.generation, come_to(&cut.positions(info.generation)?).map(EventTime)))
        };
        let generations = self.generations.iter().map(end).collect::<Result<_>>()?;
        Ok(Described { moment: self.moment(cut)?, definitions: self.definitions, generations })
    }

    /// The moment at which both sides are read: the earliest that the logs of any of their views have come to, at which nothing is still to come but what is late.
    fn moment(&self, cut: &dyn CutRead) -> Result<EventTime> {
        let serving = self.serving.iter().flat_map(|serving| &serving.generations);
        // Predictions come run by run, and nothing of theirs is waited for.
        let waits = |info: &&GenerationInfo| !self.catalog.definitions.predictions.contains_key(&info.view);
        let ends = self.generations.iter().chain(serving).filter(waits).map(|info| Ok(come_to(&cut.positions(info.generation)?)));
        let ends = ends.collect::<Result<Vec<_>>>()?;
        // A store without any event has nothing to be read at any moment.
        Ok(EventTime(ends.into_iter().flatten().min().unwrap_or_default()))
    }
}

impl Report for Validation {
    fn text(&self, paint: Paint) -> String {
        let outcome = if self.passed { paint.green("it may serve") } else { paint.red("it may not serve") };
        format!("{}{outcome}\n", Validation::text(self, paint))
    }
}

impl Report for Promoted {
    fn text(&self, paint: Paint) -> String {
        let found = Validation::text(&self.validation, paint);
        match &self.switched {
            None => format!("{found}{} what serves goes on · `--force` promotes it all the same\n", paint.red("not promoted:")),
            Some(switched) => {
                let Switched { release, epoch, definitions, .. } = switched;
                let why = Some(switched.why()).filter(|why| !why.is_empty()).map(|why| format!(" · {why}")).unwrap_or_default();
                format!("{found}{} release {release}, definitions number {definitions}, epoch {epoch}{why}\n", paint.green("serves:"))
            }
        }
    }
}
