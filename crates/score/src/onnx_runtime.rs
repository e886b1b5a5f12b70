//! ONNX Runtime, as a library that is loaded when a model first needs it.
//!
//! Each session has one thread, and gets its rows in small blocks of one size, and in large ones where they give the same bits; where the rows of a block are not independent after all, blocks
//! are of one row.

mod library;

use std::sync::Arc;

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session as OrtSession, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType, ValueType};
use prost::Message;

pub(crate) use library::find;

use crate::blocks::{BLOCKS, independent, run_blocks};
use crate::load::{Refusal, settle};
use crate::runtime::caught;
use crate::{Model, ModelFile, Port, RunError, Runtime, Session, Tensor, Values, sample};

/// A file that ONNX Runtime loads.
#[derive(Debug)]
struct OnnxRuntime {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    sizes: Vec<usize>,
    bytes: Arc<[u8]>,
}

/// Loads a file, and sees what comes out.
pub(crate) fn load(file: &ModelFile) -> Result<Arc<dyn Model>, Refusal> {
    let bytes: Arc<[u8]> = file.proto().encode_to_vec().into();
    let mut run = open(&bytes, file.inputs().to_vec(), Vec::new()).map_err(refused)?;
    let fixed: Vec<usize> = file.rows().into_iter().collect();
    let choices = if fixed.is_empty() { vec![&BLOCKS[..], &BLOCKS[..1], &[1]] } else { vec![fixed.as_slice()] };
    let sizes = independent_in(&mut run, file.inputs(), &choices)?;
    let given = run.block(sample(file.inputs(), sizes[0], 3)).map_err(refused)?;
    let outputs = settle(file.outputs(), &given).map_err(refused)?;
    Ok(Arc::new(OnnxRuntime { inputs: file.inputs().to_vec(), outputs, sizes, bytes }))
}

/// The first sizes of blocks in which rows are independent.
fn independent_in(run: &mut Run, ports: &[Port], choices: &[&[usize]]) -> Result<Vec<usize>, Refusal> {
    for sizes in choices {
        if independent(ports, sizes, |_, inputs| run.block(inputs)).map_err(refused)? {
            return Ok(sizes.to_vec());
        }
    }
    Err(refused("its rows are not independent, and it takes no single ones, or gives one result and then another".to_owned()))
}

fn refused(reason: String) -> Refusal {
    Refusal::new(Runtime::OnnxRuntime, reason)
}

impl Model for OnnxRuntime {
    fn runtime(&self) -> Runtime {
        Runtime::OnnxRuntime
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        let run = open(&self.bytes, self.inputs.clone(), self.sizes.clone());
        Ok(Box::new(run.map_err(|reason| RunError::Failed { runtime: Runtime::OnnxRuntime, reason })?))
    }
}

struct Run {
    inputs: Vec<Port>,
    sizes: Vec<usize>,
    session: OrtSession,
}

fn open(bytes: &[u8], inputs: Vec<Port>, sizes: Vec<usize>) -> Result<Run, String> {
    let environment = library::environment()?;
    let session = guarded(|| {
        let mut builder = OrtSession::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?;
        builder.commit_from_memory(bytes)
    })?;
    Ok(Run { inputs, sizes, session })
}

/// What is done, or why not, as ONNX Runtime says it.
fn guarded<T>(work: impl FnOnce() -> ort::Result<T>) -> Result<T, String> {
    caught(|| work().map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned()))
}

impl Run {
    /// Runs one block.
    fn block(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
        let session = &mut self.session;
        guarded(|| {
            let given = inputs.into_iter().map(to_ort).collect::<ort::Result<Vec<_>>>()?;
            let outputs = session.run(given.as_slice())?;
            outputs.values().map(|value| from_ort(&value)).collect()
        })
    }
}

fn to_ort(tensor: Tensor) -> ort::Result<SessionInputValue<'static>> {
    let Tensor { shape, values } = tensor;
    Ok(match values {
        Values::Float32(values) => OrtTensor::from_array((shape, values))?.into(),
        Values::Float64(values) => OrtTensor::from_array((shape, values))?.into(),
        Values::Int32(values) => OrtTensor::from_array((shape, values))?.into(),
        Values::Int64(values) => OrtTensor::from_array((shape, values))?.into(),
        Values::Bool(values) => OrtTensor::from_array((shape, values))?.into(),
        Values::Text(values) => OrtTensor::from_string_array((shape, values.as_slice()))?.into(),
    })
}

fn from_ort(value: &DynValue) -> ort::Result<Tensor> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(ort::Error::new("an output is no tensor"));
    };
    let values = match ty {
        TensorElementType::Float32 => Values::Float32(value.try_extract_tensor::<f32>()?.1.to_vec()),
        TensorElementType::Float64 => Values::Float64(value.try_extract_tensor::<f64>()?.1.to_vec()),
        TensorElementType::Int32 => Values::Int32(value.try_extract_tensor::<i32>()?.1.to_vec()),
        TensorElementType::Int64 => Values::Int64(value.try_extract_tensor::<i64>()?.1.to_vec()),
        TensorElementType::Bool => Values::Bool(value.try_extract_tensor::<bool>()?.1.to_vec()),
        TensorElementType::String => Values::Text(value.try_extract_strings()?.1),
        other => return Err(ort::Error::new(format!("an output is of {other}"))),
    };
    Ok(Tensor { shape: shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect(), values })
}

impl Session for Run {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let (ports, sizes) = (std::mem::take(&mut self.inputs), std::mem::take(&mut self.sizes));
        let outputs = run_blocks(Runtime::OnnxRuntime, &ports, &sizes, inputs, |_, inputs| self.block(inputs));
        (self.inputs, self.sizes) = (ports, sizes);
        outputs
    }
}
