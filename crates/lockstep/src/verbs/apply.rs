//! `apply`: puts the definitions into the store.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_store::{NewDefinitions, NewGeneration, OnlineStore, Store};
use lockstep_transform::catalog::meaning_of_all;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::{Outcome, Wrong};
use crate::output::{Paint, Report};
use crate::project::compile;

/// Apply the definitions to the store
///
/// A view that is new, or means something else than before, gets a version and a generation of its own, beside what is there; `lockstep backfill` fills
/// it. A change of comments, names of files or layout changes nothing.
#[derive(Debug, Args)]
pub struct Arguments {}

/// What was applied.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Applied {
    /// Number of the set of definitions in this store, from 1.
    pub version: u64,
    /// Fingerprint of what the definitions mean.
    pub fingerprint: String,
    /// Each view, in the order of the definitions.
    pub views: Vec<AppliedView>,
}

/// What became of a view.
#[derive(Debug, Serialize, JsonSchema)]
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
    let catalog = compile(&files).map_err(Wrong)?;
    let store = Store::open(&project.store, project.config.store_options("apply"))?;
    let cut = OnlineStore::cut(&store);
    let (latest, generations) = (cut.definitions()?.map_or(0, |latest| latest.version), cut.generations()?);
    let fingerprint = meaning_of_all(&catalog);
    let new = NewDefinitions { texts: project.texts(&files), fingerprint, by: None, reason: None };
    let applied = store.apply_definitions(latest, new)?;
    let mut views = Vec::with_capacity(catalog.views.len());
    for view in catalog.views.values() {
        let known = generations.iter().find(|info| info.view == view.view && info.meaning == view.meaning && info.state == view.state);
        let version = match known {
            Some(info) => info.version,
            None => {
                let version = cut.version_for(&view.view, view.meaning, view.state)?;
                store.create_generation(NewGeneration { view: view.view.clone(), version, meaning: view.meaning, state: view.state })?;
                version
            }
        };
        views.push(AppliedView { view: view.view.clone(), version, new: known.is_none() });
    }
    context.out.show(&Applied { version: applied.version, fingerprint: fingerprint.to_string(), views })?;
    Ok(Outcome::Fine)
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
