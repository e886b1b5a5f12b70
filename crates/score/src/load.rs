//! Which runtime runs a file.

use std::fmt;
use std::sync::Arc;

use crate::{Model, ModelFile, Port, Runtime, Tensor, sample, tract, trees};

/// Why a runtime does not run a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which one.
    pub runtime: Runtime,
    /// The operator that it does not know, where it is one.
    pub operator: Option<String>,
    /// What stands in the way.
    pub reason: String,
}

/// No runtime that was asked runs the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// Each of those that were asked, in that order.
    pub refusals: Vec<Refusal>,
}

impl Refusal {
    pub(crate) fn new(runtime: Runtime, reason: impl Into<String>) -> Refusal {
        Refusal { runtime, operator: None, reason: reason.into() }
    }

    pub(crate) fn operator(runtime: Runtime, operator: String) -> Refusal {
        let reason = format!("it does not know the operator {operator}");
        Refusal { runtime, operator: Some(operator), reason }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.runtime, self.reason)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> = self.refusals.iter().map(Refusal::to_string).collect();
        write!(f, "no runtime runs the model · {} · export it with operators that one of them knows", reasons.join("; "))
    }
}

impl std::error::Error for LoadError {}

/// Prepares a file for the runtime that is wanted, else for the first that knows all its operators: our trees, tract, ONNX Runtime.
///
/// It is run on sample rows, so that what it gives is known, and that rows are seen to be independent.
///
/// # Errors
/// Each runtime that was asked refuses it, with its reason.
pub fn load(file: &ModelFile, wanted: Option<Runtime>) -> Result<Arc<dyn Model>, LoadError> {
    first(wanted, |runtime| match runtime {
        Runtime::Trees => trees::load(file),
        Runtime::Tract => tract::load(file),
        Runtime::OnnxRuntime => onnx_runtime(file),
    })
}

/// Which runtime [`load`] would take, without loading anything into ONNX Runtime, which a file may bring down with the process.
///
/// # Errors
/// Each runtime that was asked refuses it, with its reason.
pub fn chosen(file: &ModelFile, wanted: Option<Runtime>) -> Result<Runtime, LoadError> {
    first(wanted, |runtime| match runtime {
        Runtime::Trees => trees::load(file).map(|model| model.runtime()),
        Runtime::Tract => tract::load(file).map(|model| model.runtime()),
        Runtime::OnnxRuntime => available().map(|()| runtime),
    })
}

/// Loads a file into ONNX Runtime and runs sample rows: in a process of its own, since what is wrong with a file may end it.
///
/// # Errors
/// What ONNX Runtime says.
pub fn smoke(file: &ModelFile, rows: usize) -> Result<(), LoadError> {
    let refused = |reason: String| LoadError { refusals: vec![Refusal::new(Runtime::OnnxRuntime, reason)] };
    let model = load(file, Some(Runtime::OnnxRuntime))?;
    let mut session = model.session().map_err(|error| refused(error.to_string()))?;
    session.run(&sample(model.inputs(), rows, 1)).map_err(|error| refused(error.to_string()))?;
    Ok(())
}

fn first<T>(wanted: Option<Runtime>, ask: impl Fn(Runtime) -> Result<T, Refusal>) -> Result<T, LoadError> {
    let all = [Runtime::Trees, Runtime::Tract, Runtime::OnnxRuntime];
    let mut refusals = Vec::new();
    for runtime in all.into_iter().filter(|runtime| wanted.is_none_or(|wanted| wanted == *runtime)) {
        match ask(runtime) {
            Ok(found) => return Ok(found),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(LoadError { refusals })
}

#[cfg(feature = "onnxruntime")]
fn onnx_runtime(file: &ModelFile) -> Result<Arc<dyn Model>, Refusal> {
    crate::onnx_runtime::load(file)
}

#[cfg(feature = "onnxruntime")]
fn available() -> Result<(), Refusal> {
    crate::onnx_runtime::find().map(|_| ())
}

#[cfg(not(feature = "onnxruntime"))]
fn onnx_runtime(_: &ModelFile) -> Result<Arc<dyn Model>, Refusal> {
    available().and_then(|()| Err(Refusal::new(Runtime::OnnxRuntime, "nothing")))
}

#[cfg(not(feature = "onnxruntime"))]
fn available() -> Result<(), Refusal> {
    Err(Refusal::new(Runtime::OnnxRuntime, "this build is without it: build with the feature `onnxruntime`"))
}

/// The outputs as a run gave them: their dimensions are what came, whatever the file says of them.
pub(crate) fn settle(ports: &[Port], given: &[Tensor]) -> Result<Vec<Port>, String> {
    if ports.len() != given.len() {
        return Err(format!("{} outputs came, and the file has {}", given.len(), ports.len()));
    }
    let settled = ports.iter().zip(given).map(|(port, tensor)| {
        let element = tensor.values.element();
        if element != port.element {
            return Err(format!("output `{}` is of {element}, and the file says {}", port.name, port.element));
        }
        let width: Vec<Option<usize>> = tensor.shape.iter().skip(1).map(|width| Some(*width)).collect();
        let labels = port.labels.clone().filter(|labels| width.last() == Some(&Some(labels.len())));
        Ok(Port { name: port.name.clone(), element, width, labels })
    });
    settled.collect()
}
