//! A graph of trees, one operator after the other. Around the trees stand operators that carry, cast, join and scale values.

use std::borrow::Cow;
use std::collections::HashMap;

use super::around::Around;
use super::described::Described;
use super::ensemble::Ensemble;
use super::number::Number;
use crate::load::Refusal;
use crate::proto::{Attributes, GraphProto, NodeProto, longs, operator, tensor_proto::DataType};
use crate::{Element, ModelFile, Runtime, Tensor, Values};

/// A compiled graph.
#[derive(Debug)]
pub(super) struct Steps {
    steps: Vec<Step>,
    /// How many values there are on the way; the first are the inputs.
    values: usize,
    outputs: Vec<usize>,
}

/// An operator, and which values it reads and makes.
#[derive(Debug)]
struct Step {
    inputs: Vec<usize>,
    outputs: Vec<Option<usize>>,
    does: Does,
}

#[derive(Debug)]
enum Does {
    Trees32(Ensemble<f32>),
    Trees64(Ensemble<f64>),
    Carry,
    Cast(Element),
    Around(Around),
    /// Rows beside each other.
    Join,
    /// Rows of other dimensions: all of their values, or one alone.
    Shape(Shape),
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    /// One dimension of values behind that of rows, of so many where the file says it.
    Row(Option<usize>),
    /// No dimension but that of rows, which have one value each.
    Single,
}

impl Steps {
    /// Compiles a file's graph.
    pub(super) fn new(file: &ModelFile) -> Result<Steps, Refusal> {
        let graph = file.graph();
        let unknown = graph.node.iter().find(|node| !knows(node));
        if let Some(node) = unknown {
            return Err(Refusal::operator(Runtime::Trees, operator(node)));
        }
        if !graph.node.iter().any(trees) {
            return Err(Refusal::new(Runtime::Trees, "there are no trees in it"));
        }
        compile(file, graph).map_err(|reason| Refusal::new(Runtime::Trees, reason))
    }

    /// The steps that these rows take at the most: in trees, and one for each value that an operator around them handles.
    pub(super) fn count(&self, inputs: &[Tensor]) -> usize {
        let rows = inputs.first().map_or(0, Tensor::rows);
        let values: usize = inputs.iter().map(|input| input.values.len()).sum();
        let of_step = |step: &Step| match &step.does {
            Does::Trees32(ensemble) => rows.saturating_mul(ensemble.steps()),
            Does::Trees64(ensemble) => rows.saturating_mul(ensemble.steps()),
            _ => 0,
        };
        self.steps.iter().map(|step| of_step(step).saturating_add(values)).fold(0, usize::saturating_add)
    }

    /// Runs rows.
    pub(super) fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut values: Vec<Option<Cow<'_, Tensor>>> = inputs.iter().map(|input| Some(Cow::Borrowed(input))).collect();
        values.resize(self.values, None);
        for step in &self.steps {
            let read: Vec<&Tensor> = step.inputs.iter().filter_map(|at| values[*at].as_deref()).collect();
            let made = step.does.run(&read)?;
            for (at, tensor) in step.outputs.iter().zip(made) {
                if let Some(at) = at {
                    values[*at] = Some(Cow::Owned(tensor));
                }
            }
        }
        let output = |at: &usize| values[*at].take().map(Cow::into_owned).ok_or_else(|| "an output was not made".to_owned());
        self.outputs.iter().map(output).collect()
    }
}

fn trees(node: &NodeProto) -> bool {
    node.domain == "ai.onnx.ml" && matches!(node.op_type.as_str(), "TreeEnsembleClassifier" | "TreeEnsembleRegressor" | "TreeEnsemble")
}

fn knows(node: &NodeProto) -> bool {
    match node.domain.as_str() {
        "" | "ai.onnx" => matches!(node.op_type.as_str(), "Identity" | "Cast" | "Concat" | "Reshape" | "Flatten" | "Mul"),
        "ai.onnx.ml" => trees(node) || matches!(node.op_type.as_str(), "Scaler" | "Imputer" | "Normalizer"),
        _ => false,
    }
}

/// What is known of a value before anything runs.
struct Known<'a> {
    places: HashMap<&'a str, usize>,
    elements: Vec<Element>,
}

impl<'a> Known<'a> {
    fn add(&mut self, name: &'a str, element: Element) -> usize {
        self.elements.push(element);
        self.places.insert(name, self.elements.len() - 1);
        self.elements.len() - 1
    }

    fn place(&self, name: &str) -> Result<usize, String> {
        self.places.get(name).copied().ok_or_else(|| format!("`{name}` is a constant where rows are wanted"))
    }
}

fn compile(file: &ModelFile, graph: &GraphProto) -> Result<Steps, String> {
    let mut known = Known { places: HashMap::new(), elements: Vec::new() };
    for input in file.inputs() {
        // The names live in the graph, which has the same inputs.
        if let Some(own) = graph.input.iter().find(|own| own.name == input.name) {
            known.add(&own.name, input.element);
        }
    }
    let mut steps = Vec::new();
    for node in &graph.node {
        steps.push(step(graph, node, &mut known)?);
    }
    let outputs: Vec<usize> = graph.output.iter().map(|output| known.place(&output.name)).collect::<Result<_, _>>()?;
    if outputs.iter().enumerate().any(|(at, output)| outputs[..at].contains(output)) {
        return Err("it has an output twice".to_owned());
    }
    Ok(Steps { steps, values: known.elements.len(), outputs })
}

fn step<'a>(graph: &GraphProto, node: &'a NodeProto, known: &mut Known<'a>) -> Result<Step, String> {
    let named: Vec<&String> = match node.op_type.as_str() {
        "Reshape" => node.input.iter().take(1).collect(),
        "Mul" => vec![Around::times(graph, node)?.1],
        _ => node.input.iter().collect(),
    };
    let inputs: Vec<usize> = named.iter().map(|name| known.place(name)).collect::<Result<_, _>>()?;
    let first = *inputs.first().ok_or_else(|| format!("{} has no input", operator(node)))?;
    let element = known.elements[first];
    let (does, elements) = does(graph, node, element, inputs.iter().any(|at| known.elements[*at] != element))?;
    let named = node.output.iter().zip(elements);
    let outputs = named.map(|(name, element)| (!name.is_empty()).then(|| known.add(name, element))).collect();
    Ok(Step { inputs, outputs, does })
}

/// What a node does, and of what its outputs are.
fn does(graph: &GraphProto, node: &NodeProto, element: Element, mixed: bool) -> Result<(Does, Vec<Element>), String> {
    let attributes = Attributes(node);
    Ok(match node.op_type.as_str() {
        "Identity" => (Does::Carry, vec![element]),
        "Cast" => {
            let to = cast(element, attributes.int("to").unwrap_or(0))?;
            (Does::Cast(to), vec![to])
        }
        "Concat" if mixed => return Err("it joins values of several types".to_owned()),
        "Concat" if !matches!(attributes.int("axis"), Some(1 | -1)) => return Err("it joins rows to rows".to_owned()),
        "Concat" => (Does::Join, vec![element]),
        "Flatten" if attributes.int("axis").unwrap_or(1) != 1 => return Err("it flattens rows".to_owned()),
        "Flatten" => (Does::Shape(Shape::Row(None)), vec![element]),
        "Reshape" => (Does::Shape(shape(graph, node)?), vec![element]),
        "Mul" => (Does::Around(Around::times(graph, node)?.0), vec![Element::Float32]),
        "Scaler" => (Does::Around(Around::scaler(&attributes)?), vec![Element::Float32]),
        "Imputer" => (Does::Around(Around::imputer(&attributes)?), vec![Element::Float32]),
        "Normalizer" => (Does::Around(Around::normalizer(&attributes)?), vec![Element::Float32]),
        _ if element == Element::Float64 => {
            let (ensemble, elements) = ensemble::<f64>(node, Element::Float64)?;
            (Does::Trees64(ensemble), elements)
        }
        _ if element == Element::Text || element == Element::Bool => return Err(format!("its trees look at {element}")),
        _ => {
            let (ensemble, elements) = ensemble::<f32>(node, Element::Float32)?;
            (Does::Trees32(ensemble), elements)
        }
    })
}

fn ensemble<T: Number>(node: &NodeProto, own: Element) -> Result<(Ensemble<T>, Vec<Element>), String> {
    let described = Described::<T>::read(node)?;
    let scores = if described.wide { own } else { Element::Float32 };
    let elements = match &described.labels {
        Some(super::described::Labels::Int64(_)) => vec![Element::Int64, scores],
        Some(super::described::Labels::Text(_)) => vec![Element::Text, scores],
        None => vec![scores],
    };
    Ok((Ensemble::new(described)?, elements))
}

/// Casts that lose nothing but precision. What becomes of a float that no integer is differs from machine to machine.
fn cast(from: Element, to: i64) -> Result<Element, String> {
    use Element::{Float32, Float64, Int32, Int64};
    let to = match i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok()) {
        Some(DataType::Float) => Float32,
        Some(DataType::Double) => Float64,
        Some(DataType::Int64) => Int64,
        _ => return Err(format!("it casts {from} to type {to}")),
    };
    match (from, to) {
        (Float32 | Float64 | Int32 | Int64, Float32 | Float64) | (Int32 | Int64, Int64) => Ok(to),
        _ => Err(format!("it casts {from} to {to}")),
    }
}

/// To where rows are reshaped: the first dimension is to stay that of rows.
fn shape(graph: &GraphProto, node: &NodeProto) -> Result<Shape, String> {
    let name = node.input.get(1).map_or("", String::as_str);
    let constant = graph.initializer.iter().find(|own| own.name == name).and_then(longs);
    match constant.as_deref() {
        Some([-1]) => Ok(Shape::Single),
        Some([-1, width]) if *width > 0 => Ok(Shape::Row(usize::try_from(*width).ok())),
        Some([0, -1]) => Ok(Shape::Row(None)),
        other => Err(format!("it reshapes to {other:?}")),
    }
}

impl Does {
    fn run(&self, read: &[&Tensor]) -> Result<Vec<Tensor>, String> {
        let first = *read.first().ok_or("an input was not made")?;
        Ok(match self {
            Does::Trees32(ensemble) => made(ensemble.run(two_dimensions(first)?)?),
            Does::Trees64(ensemble) => made(ensemble.run(two_dimensions(first)?)?),
            Does::Carry => vec![first.clone()],
            Does::Around(around) => vec![around.run(first)?],
            Does::Cast(to) => vec![Tensor { shape: first.shape.clone(), values: converted(&first.values, *to)? }],
            Does::Join => vec![join(read)?],
            Does::Shape(shape) => vec![reshape(first, *shape)?],
        })
    }
}

fn made((classes, scores): (Option<Tensor>, Tensor)) -> Vec<Tensor> {
    classes.into_iter().chain([scores]).collect()
}

fn two_dimensions(tensor: &Tensor) -> Result<&Tensor, String> {
    match tensor.shape.len() {
        2 => Ok(tensor),
        _ => Err(format!("its trees look at rows of the dimensions {:?}", &tensor.shape[1..])),
    }
}

fn converted(values: &Values, to: Element) -> Result<Values, String> {
    Ok(match (values, to) {
        (Values::Int32(values), Element::Int64) => Values::Int64(values.iter().map(|value| i64::from(*value)).collect()),
        (Values::Int64(values), Element::Int64) => Values::Int64(values.clone()),
        (values, Element::Float32) => Values::Float32(f32::all(values).ok_or("text is no number")?.into_owned()),
        (values, Element::Float64) => Values::Float64(f64::all(values).ok_or("text is no number")?.into_owned()),
        (values, to) => return Err(format!("{} is not cast to {to}", values.element())),
    })
}

fn join(read: &[&Tensor]) -> Result<Tensor, String> {
    let rows = read[0].rows();
    if read.iter().any(|tensor| tensor.shape.len() != 2 || tensor.rows() != rows) {
        return Err("what it joins has other dimensions than rows".to_owned());
    }
    let mut values = Values::none(read[0].values.element());
    for row in 0..rows {
        for tensor in read {
            let width = tensor.width();
            values.extend(&tensor.values, row * width..(row + 1) * width);
        }
    }
    Ok(Tensor { shape: vec![rows, read.iter().map(|tensor| tensor.width()).sum()], values })
}

fn reshape(tensor: &Tensor, shape: Shape) -> Result<Tensor, String> {
    let (rows, width) = (tensor.rows(), tensor.width());
    match shape {
        Shape::Row(wanted) if wanted.is_none_or(|wanted| wanted == width) => Ok(Tensor { shape: vec![rows, width], values: tensor.values.clone() }),
        Shape::Single if width == 1 => Ok(Tensor { shape: vec![rows], values: tensor.values.clone() }),
        _ => Err(format!("it makes {width} values a row something else")),
    }
}
