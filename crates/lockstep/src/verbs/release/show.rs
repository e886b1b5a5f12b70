//! `release show`: what a release is made of, and what validation found.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::{Switched, generations_of, release_numbered};
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::release::validate::Validation;

/// Show what a release is made of, and what validation found
#[derive(Debug, Args)]
pub struct Arguments {
    /// The release; the one that serves by default
    #[arg(value_name = "RELEASE")]
    pub release: Option<u32>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The release; the one that serves where absent.
    pub release: Option<u32>,
}

/// A release.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// Its number.
    pub release: u32,
    /// When it was made.
    pub made_at: String,
    /// Whether it serves.
    pub serves: bool,
    /// The set of definitions that answers.
    pub definitions: u64,
    /// What the definitions mean.
    pub fingerprint: String,
    /// Its views.
    pub views: Vec<ReleasedView>,
    /// What validation found; absent where it was not recorded.
    pub validation: Option<Validation>,
    /// When it came to serve, each time.
    pub switches: Vec<Switched>,
}

/// A view of a release.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedView {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// Its state.
    pub generation: u32,
    /// What it means.
    pub meaning: String,
}

/// Shows one.
///
/// # Errors
/// NotFound where there is none.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    context.out.show(&context.ask(&Question { release: arguments.release })?)?;
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "release show";
    type Answer = Shown;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Shown> {
        let cut = OnlineStore::cut(&*owned.store);
        let serving = cut.serving()?.map(|(release, _)| release);
        let release = match self.release {
            Some(number) => release_numbered(&*cut, number)?,
            None => serving.clone().ok_or_else(|| Error::not_found("no release was promoted yet · `lockstep release promote` begins"))?,
        };
        let view = |info: lockstep_store::GenerationInfo| ReleasedView {
            view: info.view,
            version: info.version,
            generation: info.generation.0,
            meaning: info.meaning.to_string(),
        };
        let definitions = cut.definitions_numbered(release.new.definitions)?;
        Ok(Shown {
            release: release.release,
            made_at: release.made_at.to_string(),
            serves: serving.is_some_and(|serving| serving.release == release.release),
            definitions: release.new.definitions,
            fingerprint: definitions.map(|definitions| definitions.applied.fingerprint.to_string()).unwrap_or_default(),
            views: generations_of(&*cut, &release)?.into_iter().map(view).collect(),
            validation: release.new.validation.clone().map(serde_json::from_value).transpose()?,
            switches: cut
                .switches()?
                .iter()
                .filter(|switch| switch.release == release.release)
                .map(|switch| Switched::new(switch, &release))
                .collect(),
        })
    }
}

impl Report for Shown {
    fn text(&self, paint: Paint) -> String {
        let Shown { release, made_at, serves, definitions, fingerprint, views, validation, switches } = self;
        let serves = if *serves { paint.green(", serves") } else { String::new() };
        let mut text = format!(
            "{} {release}{serves}: definitions number {definitions}, {}, made {made_at}\n",
            paint.bold("release"),
            &fingerprint[..fingerprint.len().min(12)]
        );
        for ReleasedView { view, version, generation, .. } in views {
            let _ = writeln!(text, "  {view} version {version}, generation {generation}");
        }
        for switch in switches {
            let _ = writeln!(text, "  served from {}, epoch {} · {}", switch.at, switch.epoch, switch.why());
        }
        text + &validation.as_ref().map(|validation| validation.text(paint)).unwrap_or_default()
    }
}
