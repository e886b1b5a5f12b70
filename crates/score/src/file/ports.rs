//! A graph's inputs and outputs, as rows.

use std::collections::{HashMap, HashSet};

use super::FileError;
use crate::proto::{
    Attributes, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto,
    type_proto,
};
use crate::{Element, Port};

/// Most values that one row of an input may have: a file that says more is broken, or no model of rows.
const WIDTH_MAX: usize = 1 << 20;

/// Replaces ZipMaps, which only write a row's values into a map from class to value, by what they read. What they call the values is returned, by output.
pub(super) fn take_off_maps(graph: &mut GraphProto) -> HashMap<String, Vec<String>> {
    let mut labels = HashMap::new();
    for node in graph.node.iter_mut().filter(|node| node.op_type == "ZipMap" && node.domain == "ai.onnx.ml" && node.output.len() == 1) {
        let own = class_labels(node, "classlabels_strings", "classlabels_int64s");
        labels.insert(node.output[0].clone(), own);
        *node = NodeProto {
            input: std::mem::take(&mut node.input),
            output: std::mem::take(&mut node.output),
            name: std::mem::take(&mut node.name),
            op_type: "Identity".to_owned(),
            ..NodeProto::default()
        };
    }
    for output in &mut graph.output {
        if let Some(own) = labels.get(&output.name) {
            output.r#type = Some(rows_of_floats(own.len()));
        }
    }
    labels
}

fn rows_of_floats(width: usize) -> TypeProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let width = Dimension { value: i64::try_from(width).ok().map(Value::DimValue), ..Dimension::default() };
    let shape = crate::proto::TypeShape { dim: vec![Dimension::default(), width] };
    TypeProto {
        value: Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) })),
        ..TypeProto::default()
    }
}

/// An Identity, which took a map's place, is an operator of ONNX's own, which a file of trees alone may not have imported.
pub(super) fn import_own_operators(proto: &mut ModelProto) {
    let imported = proto.opset_import.iter().any(|opset| opset.domain.is_empty() || opset.domain == "ai.onnx");
    if !imported {
        proto.opset_import.push(OperatorSetIdProto { domain: String::new(), version: 13 });
    }
}

/// The inputs that are no weights, and how many rows they take at once, where that is fixed.
pub(super) fn inputs(graph: &GraphProto) -> Result<(Vec<Port>, Option<usize>), FileError> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|weights| weights.name.as_str()).collect();
    let mut fixed = None;
    let mut ports: Vec<Port> = Vec::new();
    for input in graph.input.iter().filter(|input| !weights.contains(input.name.as_str())) {
        let (element, dims) = tensor_of(input)?;
        let dims = dims.ok_or_else(|| wrong(input, "has dimensions that the file does not tell", "export it with the shapes of its inputs"))?;
        let Some((rows, width)) = dims.split_first() else {
            return Err(wrong(input, "has no dimension of rows", "export it with a first dimension that is open, for rows"));
        };
        let total = width.iter().flatten().try_fold(1usize, |total, width| total.checked_mul(*width)).unwrap_or(usize::MAX);
        if total > WIDTH_MAX || rows.is_some_and(|rows| rows > WIDTH_MAX) {
            return Err(wrong(input, &format!("has the dimensions {dims:?}"), "a row has a million values at most"));
        }
        if rows.is_some() && fixed.is_some() && fixed != *rows {
            return Err(wrong(
                input,
                &format!("takes {} rows, and another input {}", rows.unwrap_or(0), fixed.unwrap_or(0)),
                "leave the first dimension open",
            ));
        }
        fixed = fixed.or(*rows);
        ports.push(Port { name: input.name.clone(), element, width: width.to_vec(), labels: categories(graph, &input.name) });
    }
    if ports.is_empty() {
        return Err(FileError::Graph { what: "it has no inputs".to_owned() });
    }
    Ok((ports, fixed))
}

/// The categories that encoders of an input know, seen through what only carries its values.
fn categories(graph: &GraphProto, input: &str) -> Option<Vec<String>> {
    let mut carried = HashSet::from([input]);
    let mut known = Vec::new();
    for node in graph.node.iter() {
        if !node.input.iter().any(|name| carried.contains(name.as_str())) {
            continue;
        }
        match node.op_type.as_str() {
            "Identity" | "Gather" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Concat" | "ArrayFeatureExtractor" => {
                carried.extend(node.output.iter().map(String::as_str))
            }
            "OneHotEncoder" => known.extend(class_labels(node, "cats_strings", "cats_int64s")),
            "LabelEncoder" => known.extend(class_labels(node, "keys_strings", "keys_int64s")),
            _ => {}
        }
    }
    (!known.is_empty()).then_some(known)
}

/// The outputs, with the classes that a row's values stand for.
pub(super) fn outputs(graph: &GraphProto, maps: &HashMap<String, Vec<String>>) -> Result<Vec<Port>, FileError> {
    graph.output.iter().map(|output| port(graph, output, maps)).collect()
}

fn port(graph: &GraphProto, output: &ValueInfoProto, maps: &HashMap<String, Vec<String>>) -> Result<Port, FileError> {
    let (element, dims) = tensor_of(output)?;
    let width: Vec<Option<usize>> = dims.map_or_else(|| vec![None], |dims| dims.into_iter().skip(1).collect());
    let labels = maps.get(&output.name).cloned().or_else(|| classes_of(graph, &output.name)).filter(|labels| !labels.is_empty());
    let fits = |labels: &Vec<String>| width.last().is_some_and(|last| last.is_none_or(|last| last == labels.len()));
    Ok(Port { name: output.name.clone(), element, labels: labels.filter(fits), width })
}

/// The classes of a classifier whose scores a value is, seen through what only carries or normalises them.
fn classes_of(graph: &GraphProto, name: &str) -> Option<Vec<String>> {
    let mut name = name;
    // Each step goes to an earlier node, so that there are no more of them than nodes.
    for _ in 0..=graph.node.len() {
        let (node, place) = graph.node.iter().find_map(|node| Some((node, node.output.iter().position(|output| output == name)?)))?;
        match node.op_type.as_str() {
            "TreeEnsembleClassifier" | "LinearClassifier" if place == 1 => {
                return Some(class_labels(node, "classlabels_strings", "classlabels_int64s"))
                    .map(|labels| if labels.is_empty() { class_labels(node, "", "classlabels_ints") } else { labels });
            }
            "SVMClassifier" if place == 1 => return Some(class_labels(node, "classlabels_strings", "classlabels_ints")),
            "Identity" | "Cast" | "Normalizer" | "Softmax" | "Sigmoid" => name = node.input.first()?,
            _ => return None,
        }
    }
    None
}

fn class_labels(node: &NodeProto, strings: &str, ints: &str) -> Vec<String> {
    let attributes = Attributes(node);
    let strings = attributes.texts(strings);
    if strings.is_empty() { attributes.ints(ints).iter().map(i64::to_string).collect() } else { strings }
}

/// What a value is made of, and its dimensions; those that are open, and all of a value of which nothing is said, are absent.
fn tensor_of(value: &ValueInfoProto) -> Result<(Element, Option<Vec<Option<usize>>>), FileError> {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|of| of.value.as_ref()) else {
        return Err(wrong(value, "is no tensor", "only tensors can be rows: export without maps, sequences and optional values"));
    };
    let element = match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float) => Element::Float32,
        Ok(DataType::Double) => Element::Float64,
        Ok(DataType::Int32) => Element::Int32,
        Ok(DataType::Int64) => Element::Int64,
        Ok(DataType::Bool) => Element::Bool,
        Ok(DataType::String) => Element::Text,
        Ok(other) => return Err(wrong(value, &format!("is of {}", other.as_str_name().to_lowercase()), KNOWN)),
        Err(_) => return Err(wrong(value, &format!("is of the unknown type {}", tensor.elem_type), KNOWN)),
    };
    Ok((element, tensor.shape.as_ref().map(|shape| shape.dim.iter().map(dimension).collect())))
}

const KNOWN: &str = "known are float, double, int32, int64, bool and string: cast within the graph";

fn dimension(dimension: &tensor_shape_proto::Dimension) -> Option<usize> {
    match dimension.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(value)) => usize::try_from(value).ok().filter(|value| *value > 0),
        _ => None,
    }
}

fn wrong(port: &ValueInfoProto, what: &str, remedy: &str) -> FileError {
    FileError::Port { port: port.name.clone(), what: what.to_owned(), remedy: remedy.to_owned() }
}
