//! The models of a set of definitions that was applied, from the store.

use std::sync::Arc;

use lockstep_model::{Error, Fingerprint};
use lockstep_store::{AppliedModel, Definitions, ModelPart, Models};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::Diagnostic;
use lockstep_transform::service::ServicePlan;

use super::Bound;

/// Every model of a set of definitions, in their order, bound to the features of the set. Files are held to the hashes that were applied.
///
/// # Errors
/// NotFound and Data where a file is not in the store, or damaged; Invalid where this release has something against a model.
pub fn models(catalog: &Catalog, definitions: &Definitions, store: &Models) -> Result<Vec<Arc<Bound>>, Error> {
    catalog.definitions.models.keys().map(|name| model(catalog, definitions, store, name).map(Arc::new)).collect()
}

/// One model of a set of definitions, as [`models`].
///
/// # Errors
/// As [`models`]; NotFound where the set has none of the name.
pub fn model(catalog: &Catalog, definitions: &Definitions, store: &Models, name: &str) -> Result<Bound, Error> {
    let number = definitions.version;
    let unknown = || Error::not_found(format!("definitions number {number} have no model named `{name}`"));
    let model = catalog.definitions.models.get(name).ok_or_else(unknown)?;
    let service = catalog.services.get(&model.service).ok_or_else(unknown)?;
    let applied = definitions.applied.models.iter().find(|applied| applied.model == *name);
    let without = || Error::data(format!("definitions number {number} were applied without the file of model `{name}` · apply them again"));
    let AppliedModel { sha256, training_set, service_meaning, .. } = applied.ok_or_else(without)?;
    let named = |error: Error| Error::new(error.kind(), format!("model `{name}`: {error}"));
    let file = store.read(ModelPart::Model, sha256).map_err(named)?;
    let training = training_set.as_ref().map(|set| store.read(ModelPart::TrainingSet, &set.sha256)).transpose().map_err(named)?;
    Bound::new(model, &file, service, training.as_deref()).map_err(|wrong| {
        // What is told to help is tried first.
        let mut confirmed = model.clone();
        confirmed.options.features = Some(service.meaning.to_string());
        let is_said_otherwise = service.meaning != *service_meaning && Bound::new(&confirmed, &file, service, training.as_deref()).is_ok();
        if is_said_otherwise { said_otherwise(name, service, *service_meaning, &wrong) } else { refused(name, &wrong) }
    })
}

/// Why a model is not taken whose features are defined as they were when it was applied, and which an earlier release said to mean something else.
fn said_otherwise(model: &str, service: &ServicePlan, then: Fingerprint, wrong: &[Diagnostic]) -> Error {
    let (of, then, now) = (&service.name, then.short(), service.meaning.short());
    let first = wrong.first().map(ToString::to_string).unwrap_or_default();
    Error::invalid(format!(
        "model `{model}` cannot be run: {first} · the definition of {of} is the one that was applied, and this release of Lockstep says what it means otherwise than the release that applied it (then \
         {then}, now {now}) · nothing has to be trained again: write features = '{now}' among the options of `{model}`, beside its training_set where it has one, run `lockstep apply`, and start again"
    ))
}

/// Why a model that was applied is not taken by this release: the first reason, on one line.
fn refused(name: &str, wrong: &[Diagnostic]) -> Error {
    let first = wrong.first().map(|diagnostic| {
        let notes = diagnostic.notes.iter().chain(&diagnostic.help).map(|text| format!(" · {text}")).collect::<String>();
        format!("{diagnostic}{notes}")
    });
    Error::invalid(format!("model `{name}` cannot be run: {}", first.unwrap_or_default()))
}
