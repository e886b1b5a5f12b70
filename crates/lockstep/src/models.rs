//! Models of a project: their files read, bound to the features they take, and pinned.
//!
//! Whoever asks reads the files, since only they see them; whoever owns the store binds them again, from the bytes that were sent, and keeps them.

use std::fs;
use std::path::Path;

use anyhow::Result;
use lockstep_model::{Error, Fingerprint};
use lockstep_score::{ModelFile, Runtime, chosen};
use lockstep_serve::scoring::{Bound, bind};
use lockstep_store::{AppliedModel, AppliedTrainingSet, Definitions, ModelPart, Models};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{self, Diagnostic, Origin};
use lockstep_transform::service::ServicePlan;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::failure::Wrong;
use crate::owned::Owned;
use crate::project::Project;
use crate::smoke;
use crate::text::bytes;

/// Most bytes of a model's file.
const MODEL_BYTES_MAX: u64 = 160 << 20;
/// Most bytes of all files that are sent with one question, which holds them in base64.
const SENT_BYTES_MAX: u64 = 180 << 20;

/// The file of a model, with the manifest of its training set where it names one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadModel {
    /// The model.
    pub model: String,
    /// Its file.
    pub file: Bytes,
    /// The manifest.
    pub training_set: Option<Bytes>,
}

/// Reads the files of all models.
///
/// # Errors
/// [`Wrong`] where one is not there, or too large.
pub fn read(project: &Project, catalog: &Catalog) -> Result<Vec<ReadModel>, Wrong> {
    let mut wrong = Vec::new();
    let mut models = Vec::new();
    for model in catalog.definitions.models.values() {
        let file = read_file(&project.dir, &model.path, &model.places.path);
        let manifest = model.options.training_set.as_ref().map(|path| read_file(&project.dir, path, model.option_origin("training_set")));
        match (file, manifest.transpose()) {
            (Ok(file), Ok(training_set)) => models.push(ReadModel { model: model.name.clone(), file, training_set }),
            (file, manifest) => wrong.extend(file.err().into_iter().chain(manifest.err())),
        }
    }
    if wrong.is_empty() { Ok(models) } else { Err(Wrong(wrong)) }
}

fn read_file(dir: &Path, path: &str, at: &Origin) -> Result<Bytes, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        let diagnostic = at.error(format!("`{path}` cannot be read")).note(error.to_string());
        diagnostic.help(format!("paths begin at the project's directory, {}", dir.display()))
    };
    let size = fs::metadata(dir.join(path)).map_err(unreadable)?.len();
    if size > MODEL_BYTES_MAX {
        let diagnostic = at.error(format!("`{path}` has {}, and {} are the most", bytes(size), bytes(MODEL_BYTES_MAX)));
        return Err(diagnostic.note("a model is run in this process, and read whole").help("export it smaller, such as with weights of 16 bits"));
    }
    fs::read(dir.join(path)).map(Bytes).map_err(unreadable)
}

/// That files are not too many to be sent to whoever owns the store.
///
/// # Errors
/// Invalid where they are.
pub fn check_size(models: &[ReadModel]) -> Result<(), Error> {
    let size = |model: &ReadModel| model.file.0.len() + model.training_set.as_ref().map_or(0, |manifest| manifest.0.len());
    let all = models.iter().map(|model| size(model) as u64).sum::<u64>();
    if all <= SENT_BYTES_MAX {
        return Ok(());
    }
    let most = bytes(SENT_BYTES_MAX);
    Err(Error::invalid(format!("the models of these definitions are {} · {most} are the most that one set has · export them smaller", bytes(all))))
}

/// Binds all models to the features of their services, in the order of the definitions.
///
/// # Errors
/// Everything about them that does not fit.
pub fn bind(catalog: &Catalog, models: &[ReadModel], smoking: Smoking) -> Result<Vec<Bound>, Vec<Diagnostic>> {
    let mut wrong = Vec::new();
    let mut bound = Vec::new();
    for (name, model) in &catalog.definitions.models {
        let (Some(read), Some(service)) = (models.iter().find(|read| read.model == *name), catalog.services.get(&model.service)) else {
            wrong.push(model.origin.error(format!("the file of model `{name}` was not sent")).help("apply from where the file is"));
            continue;
        };
        match bind_one(model, read, service, smoking) {
            Ok(one) => bound.push(one),
            Err(mut found) => wrong.append(&mut found),
        }
    }
    if wrong.is_empty() { Ok(bound) } else { Err(wrong) }
}

/// Whether models for ONNX Runtime are run in a process of their own first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smoking {
    /// They are: what is wrong with such a file may end the process that loads it.
    First,
    /// They are not.
    Not,
}

fn bind_one(model: &definition::Model, read: &ReadModel, service: &ServicePlan, smoking: Smoking) -> Result<Bound, Vec<Diagnostic>> {
    if smoking == Smoking::First
        && let Ok(file) = ModelFile::read(&read.file.0)
        && chosen(&file, model.options.runtime.map(bind::runtime)) == Ok(Runtime::OnnxRuntime)
    {
        smoke::in_child(model, &read.file.0).map_err(|diagnostic| vec![diagnostic])?;
    }
    Bound::new(model, &read.file.0, service, read.training_set.as_ref().map(|manifest| manifest.0.as_slice()))
}

/// What is written down of models, in the order of the definitions.
pub fn pins(catalog: &Catalog, models: &[ReadModel]) -> Vec<AppliedModel> {
    let pin = |(name, model): (&String, &definition::Model)| {
        let read = models.iter().find(|read| read.model == *name)?;
        let training_set = model.options.training_set.as_ref().zip(read.training_set.as_ref());
        Some(AppliedModel {
            model: name.clone(),
            path: model.path.clone(),
            sha256: lockstep_store::sha256(&read.file.0),
            bytes: read.file.0.len() as u64,
            service_meaning: catalog.services.get(&model.service)?.meaning,
            training_set: training_set.map(|(path, manifest)| AppliedTrainingSet { path: path.clone(), sha256: lockstep_store::sha256(&manifest.0) }),
        })
    };
    catalog.definitions.models.iter().filter_map(pin).collect()
}

/// Keeps the files of models in the store.
///
/// # Errors
/// Where the disk is full or cannot be written.
pub fn keep(store: &Models, models: &[ReadModel]) -> Result<(), Error> {
    for read in models {
        store.put(ModelPart::Model, &read.file.0)?;
        if let Some(manifest) = &read.training_set {
            store.put(ModelPart::TrainingSet, &manifest.0)?;
        }
    }
    Ok(())
}

/// Models whose file is what it was, and whose features are not: they would meet values that they were not trained on. Whoever says what features a model was trained on, by its training set
/// or by their fingerprint, is held to that, and not to this.
///
/// # Errors
/// Where definitions that were applied cannot be read.
pub fn meeting_other_features(owned: &Owned, history: &[Definitions], catalog: &Catalog, pins: &[AppliedModel]) -> Result<Vec<OtherFeatures>> {
    let mut found = Vec::new();
    for pin in pins {
        let Some(model) = catalog.definitions.models.get(&pin.model) else { continue };
        if model.options.training_set.is_some() || model.options.features.is_some() {
            continue;
        }
        let applied = || history.iter().rev().filter_map(|set| Some((set, set.applied.models.iter().find(|known| is_same_file(known, pin))?)));
        if applied().any(|(_, known)| known.service_meaning == pin.service_meaning) {
            continue;
        }
        if let Some((set, known)) = applied().next() {
            let before = owned.compiled(set)?;
            let changed = changed_views(&before, catalog, &model.service);
            // The same definitions, read by this release, mean what they mean now: so it is the release that says it otherwise.
            let is_same = before.services.get(&model.service).is_some_and(|service| service.meaning == pin.service_meaning);
            let said = is_same.then_some(known.service_meaning);
            found.push(OtherFeatures { model: pin.model.clone(), service: model.service.clone(), since: set.version, changed, said });
        }
    }
    Ok(found)
}

fn is_same_file(known: &AppliedModel, pin: &AppliedModel) -> bool {
    known.model == pin.model && known.sha256 == pin.sha256
}

/// A model whose features would mean something else than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherFeatures {
    /// The model.
    pub model: String,
    /// Its service.
    pub service: String,
    /// The set of definitions that it was applied with last.
    pub since: u64,
    /// The views of the service that mean something else; none where it is the service itself.
    pub changed: Vec<String>,
    /// What an earlier release of Lockstep has said that the service means, where its definition is the same and only that is written otherwise.
    pub said: Option<Fingerprint>,
}

/// The views of a service that mean something else in another set of definitions.
fn changed_views(before: &Catalog, after: &Catalog, service: &str) -> Vec<String> {
    let Some(service) = after.services.get(service) else { return Vec::new() };
    let mut changed: Vec<String> = Vec::new();
    for join in &service.joins {
        let same = before.views.get(&join.view).is_some_and(|view| view.meaning == join.transformation.meaning);
        if !same && !changed.contains(&join.view) {
            changed.push(join.view.clone());
        }
    }
    changed
}

impl OtherFeatures {
    /// What changed, as people read it.
    pub fn why(&self) -> String {
        if let Some(said) = self.said {
            let (service, said) = (&self.service, said.short());
            return format!(
                "the definition of {service} is the same, and this release of Lockstep says what it means otherwise than the one that applied it (then {said})"
            );
        }
        match self.changed.as_slice() {
            [] => format!("{} means something else", self.service),
            [view] => format!("view {view} means something else"),
            views => format!("views {} mean something else", views.join(", ")),
        }
    }

    /// What is wrong, at the place of the model.
    pub fn diagnostic(&self, catalog: &Catalog) -> Option<Diagnostic> {
        let (model, service) = (catalog.definitions.models.get(&self.model)?, catalog.services.get(&self.service)?);
        let title = format!("model `{}` is the file that it was, and would meet other features", self.model);
        let note = format!("since version {} of the definitions, {}", self.since, self.why());
        let features = format!("features = '{}'", service.meaning.short());
        let diagnostic = model.places.path.error(title).note(note);
        if self.said.is_some() {
            return Some(diagnostic.help(format!("nothing has to be trained again: write WITH ({features}) at the model, and apply")));
        }
        let confirm = format!("if it was trained on these, write WITH ({features})");
        Some(diagnostic.help(format!("train it again, or keep what it was trained on under its own name; {confirm}")))
    }
}
