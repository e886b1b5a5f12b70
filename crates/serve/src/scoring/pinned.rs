//! The models of a set of definitions that was applied, from the store.

use std::sync::Arc;

use lockstep_model::Error;
use lockstep_store::{AppliedModel, Definitions, ModelPart, Models};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::Diagnostic;

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
    let AppliedModel { sha256, training_set, .. } = applied.ok_or_else(without)?;
    let named = |error: Error| Error::new(error.kind(), format!("model `{name}`: {error}"));
    let file = store.read(ModelPart::Model, sha256).map_err(named)?;
    let training = training_set.as_ref().map(|set| store.read(ModelPart::TrainingSet, &set.sha256)).transpose().map_err(named)?;
    Bound::new(model, &file, service, training.as_deref()).map_err(|wrong| refused(name, &wrong))
}

/// Why a model that was applied is not taken by this release: the first reason, on one line.
fn refused(name: &str, wrong: &[Diagnostic]) -> Error {
    let first = wrong.first().map(|diagnostic| {
        let notes = diagnostic.notes.iter().chain(&diagnostic.help).map(|text| format!(" · {text}")).collect::<String>();
        format!("{diagnostic}{notes}")
    });
    Error::invalid(format!("model `{name}` cannot be run: {}", first.unwrap_or_default()))
}
