//! tract: linear models, small nets, and what stands around them.
//!
//! A graph is optimised for a number of rows, and gets its rows in blocks of that number: for a small one, and for a large one where that gives the same bits. Where the rows of a block are
//! not independent after all, blocks are of one row.

mod labels;
mod scaler;

use std::sync::Arc;

use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor as TractTensor, TractResult, TypedSimplePlan, tvec,
};

use crate::blocks::{BLOCKS, independent, run_blocks};
use crate::load::{Refusal, settle};
use crate::proto::ModelProto;
use crate::runtime::caught;
use crate::{Element, Model, ModelFile, Port, RunError, Runtime, Session, Tensor, Values, sample};

/// A graph that was optimised.
#[derive(Clone)]
struct Tract {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// The sizes of blocks, and for each a plan.
    sizes: Vec<usize>,
    plans: Vec<Arc<TypedSimplePlan>>,
    /// Outputs that are classes by number, to be named.
    named: Vec<labels::Named>,
}

/// Operators that tract has, and that give something else here than elsewhere: their classes are numbers, or their sums are in another order.
const ELSEWHERE: [&str; 3] = ["TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"];

/// Optimises a file's graph.
pub(crate) fn load(file: &ModelFile) -> Result<Arc<dyn Model>, Refusal> {
    let known = onnx().op_register;
    for operator in file.operators() {
        let name = operator.rsplit('.').next().unwrap_or(operator);
        if !known.0.contains_key(name) || ELSEWHERE.contains(&name) {
            return Err(Refusal::operator(Runtime::Tract, operator.clone()));
        }
    }
    if let Some(port) = file.inputs().iter().find(|port| port.element == Element::Text) {
        return Err(refused(format!("input `{}` is of text", port.name)));
    }
    if let Some(port) = file.inputs().iter().find(|port| port.width.contains(&None)) {
        return Err(refused(format!("input `{}` has a dimension that is open, {}", port.name, port.dimensions())));
    }
    let model = match file.rows() {
        Some(rows) => prepare(file, &[rows])?.ok_or_else(|| refused(format!("its rows are not independent, and it takes {rows} at a time")))?,
        None => [&BLOCKS[..], &BLOCKS[..1], &[1]]
            .into_iter()
            .find_map(|sizes| prepare(file, sizes).transpose())
            .unwrap_or_else(|| Err(refused("a row alone gives one result, and then another".to_owned())))?,
    };
    Ok(Arc::new(model))
}

/// tract's reader of ONNX, with an operator more.
fn onnx() -> tract_onnx::Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_output_shapes(true);
    onnx.op_register.insert("Scaler", scaler::scaler);
    onnx
}

fn refused(reason: String) -> Refusal {
    Refusal::new(Runtime::Tract, reason)
}

/// Prepared for blocks of so many rows, if rows are independent in them.
fn prepare(file: &ModelFile, sizes: &[usize]) -> Result<Option<Tract>, Refusal> {
    let (proto, named) = labels::numbered(file.proto());
    let plan = |size: &usize| caught(|| plan(&proto, file.inputs(), *size).map_err(|error| cause(&error)));
    let plans: Vec<Arc<TypedSimplePlan>> = sizes.iter().map(plan).collect::<Result<_, _>>().map_err(refused)?;
    let mut model = Tract { inputs: file.inputs().to_vec(), outputs: Vec::new(), sizes: sizes.to_vec(), plans, named };
    if !independent(file.inputs(), sizes, |size, inputs| model.block(size, inputs)).map_err(refused)? {
        return Ok(None);
    }
    let given = model.block(sizes[0], sample(file.inputs(), sizes[0], 3)).map_err(refused)?;
    model.outputs = settle(file.outputs(), &given).map_err(refused)?;
    same_ranks(file.outputs(), &model.outputs)?;
    Ok(Some(model))
}

/// Where a file says how many dimensions an output has, tract is to give as many: some of its operators leave out one of a single value.
fn same_ranks(said: &[Port], given: &[Port]) -> Result<(), Refusal> {
    let differs = |(said, given): &(&Port, &Port)| said.width != [None] && said.width.len() != given.width.len();
    match said.iter().zip(given).find(differs) {
        None => Ok(()),
        Some((said, given)) => {
            Err(refused(format!("output `{}` has the dimensions {}, and the file says {}", said.name, given.dimensions(), said.dimensions())))
        }
    }
}

impl Tract {
    fn block(&self, size: usize, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
        let plan = self.sizes.iter().position(|own| *own == size).and_then(|at| self.plans.get(at));
        let mut outputs = run(plan.ok_or_else(|| format!("there is no plan for {size} rows"))?, inputs)?;
        labels::name(&mut outputs, &self.named)?;
        Ok(outputs)
    }
}

fn plan(proto: &ModelProto, inputs: &[Port], block: usize) -> TractResult<Arc<TypedSimplePlan>> {
    let mut model = onnx().model_for_proto_model(proto)?;
    for (at, port) in inputs.iter().enumerate() {
        let shape: Vec<usize> = std::iter::once(block).chain(port.width.iter().map(|width| width.unwrap_or(1))).collect();
        model.set_input_fact(at, InferenceFact::dt_shape(datum_type(port.element), shape))?;
    }
    model.into_optimized()?.into_runnable()
}

fn datum_type(element: Element) -> DatumType {
    match element {
        Element::Float32 => DatumType::F32,
        Element::Float64 => DatumType::F64,
        Element::Int32 => DatumType::I32,
        Element::Int64 => DatumType::I64,
        Element::Bool => DatumType::Bool,
        Element::Text => DatumType::String,
    }
}

/// The innermost reason, and where it stood.
fn cause(error: &tract_onnx::prelude::TractError) -> String {
    let chain: Vec<String> = error.chain().map(|cause| cause.to_string().lines().next().unwrap_or_default().to_owned()).collect();
    match chain.as_slice() {
        [only] => only.clone(),
        [.., place, reason] => format!("{reason} ({place})"),
        [] => "it says no reason".to_owned(),
    }
}

fn run(plan: &Arc<TypedSimplePlan>, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
    caught(|| {
        let mut given = tvec!();
        for input in &inputs {
            given.push(to_tract(input).map_err(|error| cause(&error))?.into());
        }
        let made = plan.run(given).map_err(|error| cause(&error))?;
        made.iter().map(|value| from_tract(value).map_err(|error| cause(&error))).collect()
    })
}

fn to_tract(tensor: &Tensor) -> TractResult<TractTensor> {
    let shape = &tensor.shape;
    match &tensor.values {
        Values::Float32(values) => TractTensor::from_shape(shape, values),
        Values::Float64(values) => TractTensor::from_shape(shape, values),
        Values::Int32(values) => TractTensor::from_shape(shape, values),
        Values::Int64(values) => TractTensor::from_shape(shape, values),
        Values::Bool(values) => TractTensor::from_shape(shape, values),
        Values::Text(_) => Err(tract_onnx::prelude::TractError::msg("text is no input of tract's")),
    }
}

fn from_tract(tensor: &TractTensor) -> TractResult<Tensor> {
    // Sizes are symbolic numbers to tract, also where they are known.
    if tensor.datum_type() == DatumType::TDim {
        return from_tract(&*tensor.cast_to_dt(DatumType::I64)?);
    }
    let plain = tensor.try_as_plain_ram()?;
    let values = match tensor.datum_type() {
        DatumType::F32 => Values::Float32(plain.as_slice::<f32>()?.to_vec()),
        DatumType::F64 => Values::Float64(plain.as_slice::<f64>()?.to_vec()),
        DatumType::I32 => Values::Int32(plain.as_slice::<i32>()?.to_vec()),
        DatumType::I64 => Values::Int64(plain.as_slice::<i64>()?.to_vec()),
        DatumType::Bool => Values::Bool(plain.as_slice::<bool>()?.to_vec()),
        DatumType::String => Values::Text(plain.as_slice::<String>()?.to_vec()),
        other => return Err(tract_onnx::prelude::TractError::msg(format!("an output is of {other:?}"))),
    };
    Ok(Tensor { shape: tensor.shape().to_vec(), values })
}

impl std::fmt::Debug for Tract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tract").field("inputs", &self.inputs).field("outputs", &self.outputs).field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

impl Model for Tract {
    fn runtime(&self) -> Runtime {
        Runtime::Tract
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for Tract {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        run_blocks(Runtime::Tract, &self.inputs, &self.sizes, inputs, |size, block| self.block(size, block))
    }
}
