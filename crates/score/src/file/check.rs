//! Whether a graph holds together: everything is made once and before it is read, and tensors are as long as they say.

use std::collections::HashSet;

use super::FileError;
use crate::proto::{AttributeProto, Attributes, GraphProto, NodeProto, TensorProto, elements, longs, operator, tensor_proto};

/// Checks a graph and those within it. The decoder bounds how deep they are nested.
pub(super) fn graph(graph: &GraphProto) -> Result<(), FileError> {
    inner(graph, &HashSet::new())?;
    if graph.output.is_empty() {
        return Err(wrong("it has no outputs".to_owned()));
    }
    Ok(())
}

/// The graphs that a node runs within itself.
pub(super) fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

fn inner(graph: &GraphProto, outside: &HashSet<&str>) -> Result<(), FileError> {
    let mut known = outside.clone();
    known.extend(graph.input.iter().map(|input| input.name.as_str()));
    for weights in &graph.initializer {
        tensor(weights)?;
        known.insert(&weights.name);
    }
    known.extend(graph.sparse_initializer.iter().filter_map(|sparse| Some(sparse.values.as_ref()?.name.as_str())));
    let mut made: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    for node in &graph.node {
        if let Some(missing) = node.input.iter().find(|input| !input.is_empty() && !known.contains(input.as_str())) {
            return Err(wrong(format!("{} reads `{missing}`, which nothing before it makes", named(node))));
        }
        for attribute in &node.attribute {
            tensors(attribute).try_for_each(tensor)?;
        }
        made_large(graph, node)?;
        for within in subgraphs(node) {
            inner(within, &known)?;
        }
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !made.insert(output) {
                return Err(wrong(format!("{} makes `{output}`, which is there already", named(node))));
            }
            known.insert(output);
        }
    }
    match graph.output.iter().find(|output| !known.contains(output.name.as_str())) {
        Some(output) => Err(wrong(format!("nothing makes its output `{}`", output.name))),
        None => Ok(()),
    }
}

/// Most values that a graph may make out of nothing but a shape.
const MADE_MAX: i128 = 1 << 26;

/// Operators make tensors of shapes that are written in a few bytes: what is larger than any row needs is refused before a runtime tries to hold it.
fn made_large(graph: &GraphProto, node: &NodeProto) -> Result<(), FileError> {
    let place = match node.op_type.as_str() {
        "ConstantOfShape" => 0,
        "Expand" | "Tile" => 1,
        _ => return Ok(()),
    };
    let shape = node.input.get(place).and_then(|name| constant(graph, name)).unwrap_or_default();
    let count = shape.iter().fold(1i128, |count, dim| count.saturating_mul(i128::from(*dim).max(1)));
    if count > MADE_MAX { Err(wrong(format!("{} makes {count} values", named(node)))) } else { Ok(()) }
}

/// The integers of an initializer, or of a Constant.
fn constant(graph: &GraphProto, name: &str) -> Option<Vec<i64>> {
    let held = graph.initializer.iter().find(|tensor| tensor.name == name);
    let made = || graph.node.iter().find(|node| node.op_type == "Constant" && node.output.iter().any(|output| output == name));
    held.or_else(|| made().and_then(|node| Attributes(node).tensor("value"))).and_then(longs)
}

fn tensors(attribute: &AttributeProto) -> impl Iterator<Item = &TensorProto> {
    attribute.t.iter().chain(&attribute.tensors)
}

/// A tensor's values are in the file, and as many as its dimensions say.
fn tensor(tensor: &TensorProto) -> Result<(), FileError> {
    let name = || if tensor.name.is_empty() { "a constant".to_owned() } else { format!("`{}`", tensor.name) };
    if tensor.data_location == Some(tensor_proto::DataLocation::External as i32) || !tensor.external_data.is_empty() {
        let location = tensor.external_data.iter().find(|entry| entry.key == "location").map_or_else(String::new, |entry| entry.value.clone());
        return Err(FileError::External { tensor: tensor.name.clone(), location });
    }
    let count = elements(tensor).ok_or_else(|| wrong(format!("{} has the dimensions {:?}", name(), tensor.dims)))?;
    let found = held(tensor).ok_or_else(|| wrong(format!("{} is of a type that is unknown here, {}", name(), tensor.data_type)))?;
    if found == count { Ok(()) } else { Err(wrong(format!("{} has {found} values, and the dimensions {:?}", name(), tensor.dims))) }
}

/// How many values a tensor holds; none of a type that is not known.
fn held(tensor: &TensorProto) -> Option<usize> {
    use tensor_proto::DataType::{
        Bfloat16, Bool, Complex64, Complex128, Double, Float, Float16, Int8, Int16, Int32, Int64, String, Uint8, Uint16, Uint32, Uint64,
    };
    let data_type = tensor_proto::DataType::try_from(tensor.data_type).ok()?;
    let (size, typed) = match data_type {
        Float => (4, tensor.float_data.len()),
        Double => (8, tensor.double_data.len()),
        Int64 => (8, tensor.int64_data.len()),
        Uint64 => (8, tensor.uint64_data.len()),
        Uint32 => (4, tensor.uint64_data.len()),
        Int32 => (4, tensor.int32_data.len()),
        Int16 | Uint16 | Float16 | Bfloat16 => (2, tensor.int32_data.len()),
        Int8 | Uint8 | Bool => (1, tensor.int32_data.len()),
        Complex64 => (8, tensor.float_data.len() / 2),
        Complex128 => (16, tensor.double_data.len() / 2),
        String => return Some(tensor.string_data.len()),
        _ => return None,
    };
    let raw = &tensor.raw_data;
    match raw.is_empty() {
        true => Some(typed),
        false => raw.len().is_multiple_of(size).then_some(raw.len() / size).or(Some(usize::MAX)),
    }
}

fn named(node: &NodeProto) -> String {
    match node.name.as_str() {
        "" => operator(node),
        name => format!("{} `{name}`", operator(node)),
    }
}

fn wrong(what: String) -> FileError {
    FileError::Graph { what }
}
