//! `snapshot validate`: whether what is in one may serve.

use anyhow::Result;
use clap::Args;
use lockstep_model::{Error, EventTime};
use lockstep_serve::Served;
use lockstep_serve::admin::Progress;
use lockstep_store::{CrashPoint, CutRead, GenerationInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::pinned::Pinned;
use crate::release::validate::{Side, Validation, validate};

/// What is said for that which serves now, in place of a snapshot.
const SERVING: &str = "serving";

/// Check what is in a snapshot, as a release is checked before it serves
///
/// Entities, coverage, NULLs, how far behind it is and how far values have moved, against the limits of `[releases.validate]`; status 1 where one is passed. It is read by its own
/// definitions, at its moment, beside what served when it was made, another snapshot, or what serves now. Nothing is changed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot
    pub name: String,
    /// Beside what: another snapshot, or `serving` for what serves now; the release that served when the snapshot was made by default
    #[arg(long, value_name = "SNAPSHOT|serving")]
    pub against: Option<String>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The snapshot.
    pub name: String,
    /// Beside what, if that is said.
    pub against: Option<String>,
}

/// What was found of a snapshot.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotValidation {
    /// The snapshot.
    pub snapshot: String,
    /// What it was read beside, in words; absent where nothing served when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// What was found.
    #[serde(flatten)]
    pub validation: Validation,
}

/// Validates a snapshot.
///
/// # Errors
/// NotFound where there is none of the name; Data where it is damaged; OutOfRange where the two have no moment at which both can be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { name, against } = arguments;
    let found = context.ask(&Question { name: name.clone(), against: against.clone() })?;
    let outcome = Outcome::of(found.validation.passed);
    context.out.show(&found)?;
    Ok(outcome)
}

impl ask::Question for Question {
    const VERB: &'static str = "snapshot validate";
    type Answer = SnapshotValidation;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<SnapshotValidation> {
        progress("checking the files of the snapshot")?;
        let pinned = owned.pinned.get(&owned.store, &self.name)?;
        let own = pinned.cut();
        let validated = |beside| self.validate(owned, (&pinned, &own), beside, progress);
        match self.against.as_deref() {
            None => {
                let Some((release, _)) = own.serving()? else { return validated(None) };
                let (served, words) = (owned.answering(&own)?, format!("release {}, which served then", release.release));
                validated(Some(Beside { cut: &own, served: &served, moment: None, words }))
            }
            Some(SERVING) => {
                let cut = owned.store.cut();
                let (served, words) = (owned.answering(&cut)?, "what serves now".to_owned());
                validated(Some(Beside { cut: &cut, served: &served, moment: None, words }))
            }
            Some(name) => {
                let other = owned.pinned.get(&owned.store, name)?;
                let (cut, moment, words) = (other.cut(), Some(other.manifest().moment), format!("snapshot {name}"));
                validated(Some(Beside { cut: &cut, served: other.served(), moment, words }))
            }
        }
    }
}

/// What a snapshot is read beside.
struct Beside<'a> {
    cut: &'a dyn CutRead,
    served: &'a Served,
    /// Up to when it answers, where that is bounded.
    moment: Option<EventTime>,
    words: String,
}

impl Question {
    fn validate(
        &self,
        owned: &Owned,
        (pinned, cut): (&Pinned, &dyn CutRead),
        beside: Option<Beside<'_>>,
        progress: &Progress<'_>,
    ) -> Result<SnapshotValidation> {
        let own = pinned.manifest().moment;
        let moment = beside.as_ref().and_then(|beside| beside.moment).map_or(own, |other| own.min(other));
        let generations = readable(cut, pinned.served(), moment)?;
        let candidate = Side { cut, catalog: pinned.served().catalog(), generations: &generations };
        let others = beside.as_ref().map(|beside| readable(beside.cut, beside.served, moment)).transpose()?.unwrap_or_default();
        let other = beside.as_ref().map(|beside| Side { cut: beside.cut, catalog: beside.served.catalog(), generations: &others });
        let limits = &owned.project.config.releases.validate;
        let crash = owned.store.crash();
        crash.hit(CrashPoint::ValidateBefore);
        let validation = validate(candidate, other, (moment, limits), &|text| {
            crash.hit(CrashPoint::ValidateInside);
            Ok(progress(text)?)
        })?;
        crash.hit(CrashPoint::ValidateAfter);
        Ok(SnapshotValidation { snapshot: self.name.clone(), against: beside.map(|beside| beside.words), validation })
    }
}

/// The generations that answer. A moment before which one may have forgotten something is refused.
fn readable(cut: &dyn CutRead, served: &Served, moment: EventTime) -> Result<Vec<GenerationInfo>> {
    let generations: Vec<GenerationInfo> = served.catalog().views.keys().filter_map(|view| served.generation(view).cloned()).collect();
    for GenerationInfo { generation, view, version, .. } in &generations {
        let from = cut.horizon(*generation)?.readable_from;
        if moment < from {
            return Err(Error::out_of_range(format!(
                "`{view}` version {version} can be read from {from} on, and both sides only up to {moment} · validate a newer snapshot, or beside another one"
            ))
            .into());
        }
    }
    Ok(generations)
}

impl Report for SnapshotValidation {
    fn text(&self, paint: Paint) -> String {
        let SnapshotValidation { snapshot, against, validation } = self;
        let beside =
            against.as_ref().map_or_else(|| ", beside nothing: no release served when it was made".to_owned(), |words| format!(" beside {words}"));
        format!("{} {snapshot}{beside}\n{}", paint.bold("snapshot"), Report::text(validation, paint))
    }
}
