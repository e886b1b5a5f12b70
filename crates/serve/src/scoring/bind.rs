//! A model, bound: the file's inputs and outputs, to the features and predictions of its definition.

pub(super) mod inputs;
pub(super) mod outputs;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use lockstep_model::{Error, Fingerprint};
use lockstep_score::{LoadError, Model, ModelFile, Port, Runtime, Tensor, load};
use lockstep_transform::definition::{self, Diagnostic, RuntimeName};
use lockstep_transform::service::ServicePlan;

use super::training::{self, Training};
use super::{Inputs, predictions, tensors};

/// A model that is ready to be run on the features of its service.
#[derive(Debug)]
pub struct Bound {
    /// The model's name.
    pub name: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// The feature service whose outputs go into it.
    pub service: String,
    /// What that service means.
    pub service_meaning: Fingerprint,
    /// What runs it.
    pub runtime: Runtime,
    /// The operators of its graph.
    pub operators: Vec<String>,
    /// Names and types of its predictions.
    pub schema: SchemaRef,
    /// What its training set was like, where the definition names one.
    pub training: Option<Training>,
    /// The model as it was loaded. A session of it takes what [`Self::tensors`] makes, and gives what [`Self::predictions`] reads.
    pub model: Arc<dyn Model>,
    inputs: Vec<inputs::Input>,
    predictions: Vec<outputs::Predicted>,
}

/// A file as it was read and loaded.
#[derive(Debug)]
struct Loaded {
    sha256: String,
    bytes: u64,
    operators: Vec<String>,
    model: Arc<dyn Model>,
}

impl Bound {
    /// Reads a file, loads it, and binds it to the features of a service. `training` is the manifest that the definition names.
    ///
    /// # Errors
    /// Everything about the file, the features or the training set that does not go with the definition.
    pub fn new(model: &definition::Model, file: &[u8], service: &ServicePlan, training: Option<&[u8]>) -> Result<Bound, Vec<Diagnostic>> {
        let loaded = read(model, file).map_err(|diagnostic| vec![diagnostic])?;
        Bound::of(model, loaded, service, training)
    }

    fn of(model: &definition::Model, loaded: Loaded, service: &ServicePlan, training: Option<&[u8]>) -> Result<Bound, Vec<Diagnostic>> {
        let mut found = Vec::new();
        let Loaded { sha256, bytes, operators, model: runnable } = loaded;
        let training = training.and_then(|text| training::read(model, service, text, &mut found));
        training::check_features(model, service, &mut found);
        let inputs = inputs::bind(model, service, runnable.inputs(), training.as_ref(), &mut found);
        let predictions = outputs::bind(model, runnable.outputs(), &mut found);
        if !found.is_empty() {
            return Err(found);
        }
        let fields = model.predictions.iter().map(|prediction| Field::new(&prediction.name, prediction.data_type.clone(), true));
        Ok(Bound {
            name: model.name.clone(),
            sha256,
            bytes,
            service: service.name.clone(),
            service_meaning: service.meaning,
            runtime: runnable.runtime(),
            operators,
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            training,
            model: runnable,
            inputs,
            predictions,
        })
    }

    /// What goes into the file, in its order.
    pub fn ports(&self) -> &[Port] {
        self.model.inputs()
    }

    /// The features that go into an input, in order.
    pub fn features_of(&self, input: &str) -> Vec<&str> {
        let of = self.inputs.iter().find(|bound| bound.name == input);
        of.map(|bound| bound.features.iter().map(|feature| feature.name.as_str()).collect()).unwrap_or_default()
    }

    /// The outputs of the service that go into the model, as indices, each once.
    pub fn columns(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = self.inputs.iter().flat_map(|input| input.features.iter().map(|feature| feature.column)).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// One tensor an input of the file, in its order, of the outputs of the service, in theirs. Rows that cannot be one (NULL in an input of whole numbers or texts, a list of another
    /// length) are left out and told, by row. A NULL in an input of floats is NaN, and a value that the input's type has not is the nearest one that it has.
    ///
    /// # Errors
    /// Internal where the columns are not the service's.
    pub fn tensors(&self, columns: &[ArrayRef]) -> Result<Inputs, Error> {
        tensors::tensors(&self.inputs, columns)
    }

    /// Predictions of one tensor an output of the file: a column each, of as many rows as the request had, NULL where a row was left out.
    ///
    /// # Errors
    /// Data where the model gives other rows than it was given, or values that a prediction's type has not.
    pub fn predictions(&self, outputs: &[Tensor], inputs: &Inputs) -> Result<Vec<ArrayRef>, Error> {
        predictions::predictions(&self.name, &self.predictions, outputs, inputs)
    }
}

/// Reads a model's file and loads it into a runtime.
fn read(model: &definition::Model, bytes: &[u8]) -> Result<Loaded, Diagnostic> {
    let path = &model.places.path;
    let file = ModelFile::read(bytes).map_err(|error| told(path, &model.path, &error.to_string()))?;
    if let Some(pinned) = model.options.sha256.filter(|pinned| pinned.to_string() != file.sha256()) {
        let title = format!("`{}` is another file than is pinned", model.path);
        let diagnostic = model.option_origin("sha256").error(title).note(format!("pinned is {pinned}; the file has {}", file.sha256()));
        return Err(diagnostic.help("put back the file that was trained, or pin this one by its hash"));
    }
    let wanted = model.options.runtime.map(runtime);
    let loaded = load(&file, wanted).map_err(|error| unloadable(model, &error))?;
    Ok(Loaded { sha256: file.sha256().to_owned(), bytes: bytes.len() as u64, operators: file.operators().iter().cloned().collect(), model: loaded })
}

fn unloadable(model: &definition::Model, error: &LoadError) -> Diagnostic {
    let at = if model.options.runtime.is_some() { model.option_origin("runtime") } else { &model.places.path };
    told(at, &model.path, &error.to_string())
}

/// An error of the file's, in its parts: what is wrong, what is known, what to do.
fn told(at: &definition::Origin, path: &str, error: &str) -> Diagnostic {
    let mut parts: Vec<&str> = error.split(" · ").collect();
    let help = if parts.len() > 1 { parts.pop().map(str::to_owned) } else { None };
    let diagnostic = at.error(format!("`{path}`: {}", parts.remove(0)));
    parts.into_iter().fold(diagnostic, |diagnostic, part| diagnostic.note(part)).help_opt(help)
}

/// A runtime by the name that definitions give it.
pub fn runtime(name: RuntimeName) -> Runtime {
    match name {
        RuntimeName::Trees => Runtime::Trees,
        RuntimeName::Tract => Runtime::Tract,
        RuntimeName::OnnxRuntime => Runtime::OnnxRuntime,
    }
}

/// An input or output as a message shows it: `float32[rows, 13]`.
fn shown(port: &Port) -> String {
    let widths = port.width.iter().map(|width| width.map_or_else(|| "?".to_owned(), |width| width.to_string()));
    format!("{}[{}]", port.element, std::iter::once("rows".to_owned()).chain(widths).collect::<Vec<_>>().join(", "))
}

/// Ports as a message lists them.
fn listed<'a>(ports: impl IntoIterator<Item = &'a Port>) -> String {
    ports.into_iter().map(|port| format!("{} {}", definition::quoted(&port.name), shown(port))).collect::<Vec<_>>().join(", ")
}
