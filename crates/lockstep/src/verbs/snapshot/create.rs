//! `snapshot create`: makes one.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use lockstep_model::position::come_to;
use lockstep_model::{Error, EventTime, Generation};
use lockstep_serve::Served;
use lockstep_serve::admin::Progress;
use lockstep_store::{CutRead, Described, NewSnapshot, OnlineStore};
use lockstep_transform::catalog::Catalog;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::show::Shown;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::text::{bytes, counted};
use crate::who::Signed;

/// Make a snapshot
///
/// It has every event that was applied before, while others go on being applied. Afterwards older snapshots go, as `[snapshots] keep_last` of lockstep.toml says; which, is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Its name: letters, digits, `-`, `_` and `.`; by default the next number, as in s0001
    pub name: Option<String>,
    /// The moment up to which it answers; by default the one that the logs of all views have come to (where a source has no log, the newest event of its history)
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub moment: Option<EventTime>,
    /// Take a moment that the logs have not come to, or before which state may be gone: what it answers then may lack events
    #[arg(long, requires = "moment")]
    pub force: bool,
    #[command(flatten)]
    pub signed: Signed,
    /// The set of definitions that reads it, by its number; by default that which serves, or the newest where no release was promoted
    #[arg(long, value_name = "NUMBER")]
    pub set: Option<u64>,
    /// Keep it until it is dropped by hand
    #[arg(long)]
    pub keep: bool,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Its name, if given.
    pub name: Option<String>,
    /// Its moment, if given.
    pub moment: Option<EventTime>,
    /// Whether a moment is taken that cannot be answered for.
    pub force: bool,
    /// Why it is made.
    pub reason: Option<String>,
    /// Who makes it.
    pub by: Option<String>,
    /// The number of the definitions that read it, if given.
    pub definitions: Option<u64>,
    /// Whether it is kept until it is dropped.
    pub keep: bool,
}

/// A snapshot that was made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotMade {
    /// The snapshot.
    pub snapshot: Shown,
    /// Names of older ones that went.
    pub collected: Vec<String>,
}

/// Makes a snapshot.
///
/// # Errors
/// Invalid for a name that is taken, or a moment that cannot be answered for; Unavailable where nothing is published.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { name, moment, force, signed, set, keep } = arguments;
    let (name, reason, by) = (name.clone(), signed.reason.clone(), signed.by());
    context.out.show(&context.ask(&Question { name, moment: *moment, force: *force, reason, by, definitions: *set, keep: *keep })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "snapshot create";
    const WRITES: bool = true;
    type Answer = SnapshotMade;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<SnapshotMade> {
        let _alone = owned.change();
        let serving = OnlineStore::cut(&*owned.store).serving()?.map(|(release, _)| release.new.definitions);
        let definitions = self.definitions.or(serving).unwrap_or_else(|| owned.store.definitions_version());
        let catalog = owned.definitions(definitions)?;
        let Question { name, reason, by, keep, .. } = self;
        let new = NewSnapshot { name: name.clone(), by: by.clone(), reason: reason.clone(), keep: *keep, trial: false };
        let manifest = owned.store.snapshot(new, |cut| self.describe(cut, definitions, &catalog))?;
        let collected = owned.collect()?;
        owned.pinned.forget(&owned.store.snapshots());
        // What no other snapshot and no store has of it is little by now, and not worth looking for.
        Ok(SnapshotMade { snapshot: Shown::new(&manifest, None), collected })
    }
}

impl Question {
    /// All that is published, read by these definitions.
    fn describe(&self, cut: &dyn CutRead, definitions: u64, catalog: &Arc<Catalog>) -> Result<Described> {
        let mut generations = Vec::new();
        for info in cut.generations()?.into_iter().filter(|info| info.published()) {
            generations.push((info.generation, come_to(&cut.positions(info.generation)?).map(EventTime)));
        }
        let served = Served::new(Arc::clone(catalog), cut)?;
        let current_of = |view: &String| Some(served.generation(view)?.generation);
        let current: Vec<Generation> = catalog.views.keys().filter_map(current_of).collect();
        // Predictions come run by run, and nothing of theirs is waited for.
        let predicted: Vec<Generation> = catalog.definitions.predictions.keys().filter_map(current_of).collect();
        if current.is_empty() {
            return Err(Error::unavailable("no view of the applied definitions is published · run `lockstep backfill` first").into());
        }
        let counts = |generation: &Generation| current.contains(generation) && !predicted.contains(generation);
        let come_to = generations.iter().filter(|(generation, _)| counts(generation)).filter_map(|(_, watermark)| *watermark).min();
        let moment = self
            .moment
            .or(come_to)
            .ok_or_else(|| Error::invalid("no event was applied, so that there is no moment to answer for · say which with --moment and --force"))?;
        if !self.force {
            refuse_unanswered(cut, &current, moment, come_to)?;
        }
        Ok(Described { moment, definitions, generations })
    }
}

/// Refuses a moment for which not all has come, or for which something may be gone.
fn refuse_unanswered(cut: &dyn CutRead, generations: &[Generation], moment: EventTime, come_to: Option<EventTime>) -> Result<(), Error> {
    match come_to {
        Some(come_to) if moment > come_to => {
            return Err(Error::invalid(format!(
                "not all that counts at {moment} has come · the logs have come to {come_to} · ask for that or an earlier moment, or use --force"
            )));
        }
        None => return Err(Error::invalid(format!("no event was applied, so that nothing counts at {moment} · use --force to have it so"))),
        Some(_) => {}
    }
    for &generation in generations {
        let from = cut.horizon(generation)?.readable_from;
        if moment < from {
            let view = cut.generation(generation)?.view;
            return Err(Error::out_of_range(format!(
                "`{view}` can be read from {from} on, and {moment} is before that · choose a later --moment, or use --force to have the other views"
            )));
        }
    }
    Ok(())
}

impl Report for SnapshotMade {
    fn text(&self, paint: Paint) -> String {
        let Shown { name, moment, bytes: size, generations, .. } = &self.snapshot;
        let generations = counted(generations.len() as u64, "generation", "generations");
        let made = format!("{} {name}, {generations} at {moment}, {} on the disk\n", paint.green("made:"), bytes(*size));
        let gone = self.collected.iter().map(|name| format!("{} {name}, which nothing kept\n", paint.dim("dropped:")));
        made + &gone.collect::<String>()
    }
}
