//! `apply`: puts the definitions into the store.

mod list;

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lockstep_model::{Error, Fingerprint};
use lockstep_serve::admin::Progress;
use lockstep_serve::scoring::Bound;
use lockstep_store::{AppliedModel, CutRead, DefinitionText, Definitions, GenerationInfo, NewDefinitions, NewGeneration, OnlineStore, Store};
use lockstep_transform::catalog::{Catalog, meaning_of_all};
use lockstep_transform::definition::Diagnostic;
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::{Outcome, Wrong};
use crate::models::{self, ReadModel, Smoking};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::project::{Project, compile, sources_of_texts};
use crate::text::bytes;
use crate::who::Signed;

pub use list::{AppliedList, Question as ListQuestion};

/// Apply the definitions to the store
///
/// A view that is new, or means something else than before, gets a version and a generation of its own, beside what is there; `lockstep backfill` fills
/// it. A change of comments, names of files or layout changes no view; definitions that read as those applied last change nothing at all.
///
/// Where others apply something else at the same time, one of them wins and the others are told so.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub signed: Signed,
    /// Only where the definitions applied last have this number, as `lockstep plan` told; 0 where there are none yet
    #[arg(long, value_name = "NUMBER", conflicts_with = "list")]
    pub expect: Option<u64>,
    /// List what was applied instead: when, by whom, why, and which serves
    #[arg(long, conflicts_with_all = ["reason", "by"])]
    pub list: bool,
}

/// What to apply.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The definitions.
    pub texts: Vec<DefinitionText>,
    /// Number of the definitions that its asker saw applied last; 0 for none. Others are not to be overwritten unseen.
    pub expected: u64,
    /// Who applies them.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The files of the models.
    #[serde(default)]
    pub models: Vec<ReadModel>,
}

/// Asks for the number of the definitions that were applied last: it compiles nothing, so that definitions this release has something against can be replaced.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewestQuestion {}

/// What was applied.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Number of the set of definitions in this store, from 1.
    pub version: u64,
    /// Whether the set is new: one that reads and means the same as that applied last is that one.
    pub new: bool,
    /// Fingerprint of what the definitions mean.
    pub fingerprint: String,
    /// Who applied the set.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Each view, in the order of the definitions.
    pub views: Vec<AppliedView>,
    /// Each model, in the same order.
    #[serde(default)]
    pub models: Vec<AppliedFile>,
    /// Each deployment, in the same order.
    #[serde(default)]
    pub deployments: Vec<String>,
}

/// A model that is kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedFile {
    /// The model.
    pub model: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// What runs it: `trees`, `tract` or `onnxruntime`.
    pub runtime: String,
    /// Whether it is another file than before, or was not there.
    pub new: bool,
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

/// Applies the definitions of the project, or lists what was applied.
///
/// # Errors
/// Where they do not check out, or the store cannot be written; Unavailable where others were applied since they were looked at.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    if arguments.list {
        return list::run(context);
    }
    let project = context.project()?;
    let files = project.files()?;
    // Here, too: what is wrong is said of the files as they are seen from here.
    let catalog = compile(&files).map_err(Wrong)?;
    let models = models::read(&project, &catalog)?;
    // A server may run what this machine cannot.
    if context.global.server.is_none() {
        models::bind(&catalog, &models, Smoking::First).map_err(Wrong)?;
    }
    models::check_size(&models)?;
    let expected = arguments.expect.map_or_else(|| newest(context, &project), Ok)?;
    let (by, reason) = (arguments.signed.by(), arguments.signed.reason.clone());
    context.out.show(&context.ask(&Question { texts: project.texts(&files), expected, by, reason, models })?)?;
    Ok(Outcome::Fine)
}

/// The number of the definitions that were applied last, 0 where none were.
fn newest(context: &Context, project: &Project) -> Result<u64> {
    if context.has_store(project) { context.ask(&NewestQuestion {}) } else { Ok(0) }
}

impl ask::Question for NewestQuestion {
    const VERB: &'static str = "apply --expect";
    type Answer = u64;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<u64> {
        Ok(OnlineStore::cut(&*owned.store).definitions()?.map_or(0, |latest| latest.version))
    }
}

impl ask::Question for Question {
    const VERB: &'static str = "apply";
    const WRITES: bool = true;
    const MAKES_STORE: bool = true;
    type Answer = Applied;

    /// Keeps the models, appends the definitions and makes a generation for each view that is new. Safe beside whatever the owner does: that goes on with the generations that
    /// it began with, and nobody sees a new one before it is backfilled.
    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Applied> {
        let catalog = compile(&sources_of_texts(&self.texts)).map_err(Wrong)?;
        let bound = models::bind(&catalog, &self.models, Smoking::First).map_err(Wrong)?;
        let pins = models::pins(&catalog, &self.models);
        let _alone = owned.change();
        let cut = OnlineStore::cut(&*owned.store);
        let latest = cut.definitions()?;
        let fingerprint = meaning_of_all(&catalog);
        // Two who apply the same are of one mind, whatever each of them saw.
        let same =
            |latest: &&Definitions| latest.applied.fingerprint == fingerprint && latest.applied.texts == self.texts && latest.applied.models == pins;
        let known = latest.as_ref().filter(same).cloned();
        let new = known.is_none();
        if new {
            check_features(owned, &*cut, &catalog, &pins)?;
        }
        // Before they are named, and again where they are: a file that was damaged is mended so.
        models::keep(&owned.store.models(), &self.models)?;
        let definitions = known.map_or_else(|| self.append(&owned.store, latest.as_ref(), fingerprint, &pins), Ok)?;
        let views = catalog.views.values().map(|view| apply_view(&owned.store, &*cut, view)).collect::<Result<Vec<_>>>()?;
        let models = bound.iter().map(|bound| applied_file(bound, latest.as_ref())).collect();
        let deployments = catalog.deployments.keys().cloned().collect();
        let NewDefinitions { by, reason, .. } = definitions.applied;
        Ok(Applied { version: definitions.version, new, fingerprint: fingerprint.to_string(), by, reason, views, models, deployments })
    }
}

/// No model meets features of another meaning unseen.
fn check_features(owned: &Owned, cut: &dyn CutRead, catalog: &Catalog, pins: &[AppliedModel]) -> Result<()> {
    let met = models::meeting_other_features(owned, &cut.definitions_history()?, catalog, pins)?;
    let wrong: Vec<Diagnostic> = met.iter().filter_map(|other| other.diagnostic(catalog)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Wrong(wrong).into()) }
}

fn applied_file(bound: &Bound, latest: Option<&Definitions>) -> AppliedFile {
    let known = latest.and_then(|latest| latest.applied.models.iter().find(|known| known.model == bound.name));
    AppliedFile {
        model: bound.name.clone(),
        sha256: bound.sha256.clone(),
        bytes: bound.bytes,
        runtime: bound.runtime.to_string(),
        new: known.is_none_or(|known| known.sha256 != bound.sha256),
    }
}

impl Question {
    /// Appends the definitions behind those that its asker saw.
    fn append(&self, store: &Store, latest: Option<&Definitions>, fingerprint: Fingerprint, pins: &[AppliedModel]) -> Result<Definitions> {
        if latest.map_or(0, |latest| latest.version) != self.expected {
            return Err(overtaken(self.expected, latest).into());
        }
        let (texts, by, reason, models) = (self.texts.clone(), self.by.clone(), self.reason.clone(), pins.to_vec());
        let new = NewDefinitions { texts, fingerprint, by, reason, models };
        Ok(store.apply_definitions(self.expected, new)?)
    }
}

/// The error of an apply whose asker saw others than there are.
fn overtaken(expected: u64, latest: Option<&Definitions>) -> Error {
    let found = latest.map_or_else(
        || "the store has none".to_owned(),
        |Definitions { version, applied_at, applied }| {
            let by = applied.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let reason = applied.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("the store has version {version}, applied {applied_at}{by}{reason}")
        },
    );
    let expected = if expected == 0 { "expected none".to_owned() } else { format!("expected version {expected}") };
    Error::unavailable(format!(
        "other definitions are applied than were seen · {expected}, {found} · `lockstep plan` shows what yours would change of them; then apply again"
    ))
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
        let Applied { version, fingerprint, .. } = self;
        let mut text = if self.new {
            format!("{} version {version} of the definitions, {}\n", paint.green("applied:"), &fingerprint[..12])
        } else {
            format!("{} version {version} of the definitions reads the same, {}\n", paint.dim("nothing to apply:"), &fingerprint[..12])
        };
        let by = self.by.as_ref().map(|by| format!("by {by}"));
        let why: Vec<String> = by.into_iter().chain(self.reason.clone()).collect();
        if !why.is_empty() {
            let _ = writeln!(text, "  {}", why.join(" · "));
        }
        for AppliedView { view, version, new } in &self.views {
            let what = if *new { "new, to be backfilled" } else { "unchanged" };
            let _ = writeln!(text, "  {view:<24} version {version:<4} {what}");
        }
        for AppliedFile { model, sha256, bytes: size, runtime, new } in &self.models {
            let what = if *new { "new" } else { "unchanged" };
            let _ = writeln!(text, "  {model:<24} {} {runtime}, {}, {what}", &sha256[..12], bytes(*size));
        }
        if !self.deployments.is_empty() {
            let _ = writeln!(text, "  deployments: {}", self.deployments.join(", "));
        }
        text
    }
}
