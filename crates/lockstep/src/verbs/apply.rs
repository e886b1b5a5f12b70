//! `apply`: puts the definitions into the store.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use lockstep_store::{CutRead, DefinitionText, GenerationInfo, NewDefinitions, NewGeneration, OnlineStore, Store};
use lockstep_transform::catalog::meaning_of_all;
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::{Outcome, Wrong};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::project::{compile, sources_of_texts};

/// Apply the definitions to the store
///
/// A view that is new, or means something else than before, gets a version and a generation of its own, beside what is there; `lockstep backfill` fills
/// it. A change of comments, names of files or layout changes nothing.
#[derive(Debug, Args)]
pub struct Arguments {}

/// What to apply.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The definitions.
    pub texts: Vec<DefinitionText>,
}

/// What was applied.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Number of the set of definitions in this store, from 1.
    pub version: u64,
    /// Fingerprint of what the definitions mean.
    pub fingerprint: String,
    /// Each view, in the order of the definitions.
    pub views: Vec<AppliedView>,
}

/// What became of a view.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedView {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// Whether this is a new version, to be backfilled.
    pub new: bool,
}

/// Applies the definitions of the project.
///
/// # Errors
/// Where they do not check out, or the store cannot be written.
pub fn run(context: &Context, _: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let files = project.files()?;
    // Here, too: what is wrong is said of the files as they are seen from here.
    compile(&files).map_err(Wrong)?;
    context.out.show(&context.ask(&Question { texts: project.texts(&files) })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "apply";
    const WRITES: bool = true;
    const MAKES_STORE: bool = true;
    type Answer = Applied;

    /// Appends the definitions and makes a generation for each view that is new. Safe beside whatever the owner does: that goes on with the generations that
    /// it began with, and nobody sees a new one before it is backfilled.
    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Applied> {
        let catalog = compile(&sources_of_texts(&self.texts)).map_err(Wrong)?;
        let _alone = owned.change();
        let cut = OnlineStore::cut(&*owned.store);
        let latest = cut.definitions()?.map_or(0, |latest| latest.version);
        let fingerprint = meaning_of_all(&catalog);
        let new = NewDefinitions { texts: self.texts.clone(), fingerprint, by: None, reason: None };
        let applied = owned.store.apply_definitions(latest, new)?;
        let views = catalog.views.values().map(|view| apply_view(&owned.store, &*cut, view)).collect::<Result<Vec<_>>>()?;
        Ok(Applied { version: applied.version, fingerprint: fingerprint.to_string(), views })
    }
}

/// Makes a generation for a view, unless one of those there are means the same.
fn apply_view(store: &Store, cut: &dyn CutRead, view: &Transformation) -> Result<AppliedView> {
    let same = |info: &GenerationInfo| info.view == view.view && info.meaning == view.meaning && info.state == view.state;
    let known = cut.generations()?.into_iter().find(same);
    let version = match &known {
        Some(info) => info.version,
        None => {
            let version = cut.version_for(&view.view, view.meaning, view.state)?;
            store.create_generation(NewGeneration { view: view.view.clone(), version, meaning: view.meaning, state: view.state })?;
            version
        }
    };
    Ok(AppliedView { view: view.view.clone(), version, new: known.is_none() })
}

impl Report for Applied {
    fn text(&self, paint: Paint) -> String {
        let mut text = format!("{} version {} of the definitions, {}\n", paint.green("applied:"), self.version, &self.fingerprint[..12]);
        for AppliedView { view, version, new } in &self.views {
            let what = if *new { "new, to be backfilled" } else { "unchanged" };
            let _ = writeln!(text, "  {view:<24} version {version:<4} {what}");
        }
        text
    }
}
