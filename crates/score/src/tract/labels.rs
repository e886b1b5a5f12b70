//! Classes that are text: tract's classifiers only know numbers, so that they get these, and what comes out is named again.

use std::collections::HashSet;

use crate::proto::{AttributeProto, Attributes, GraphProto, ModelProto, NodeProto, tensor_proto::DataType, type_proto};
use crate::{Tensor, Values};

/// An output of a graph that is to be named, and the names by number.
#[derive(Debug, Clone)]
pub(super) struct Named {
    output: usize,
    labels: Vec<String>,
}

/// A file's graph with numbers for classes. Where something else reads the classes, they stay what they are.
pub(super) fn numbered(proto: &ModelProto) -> (ModelProto, Vec<Named>) {
    let mut numbered = proto.clone();
    let mut named = Vec::new();
    let Some(graph) = numbered.graph.as_mut() else { return (numbered, named) };
    for at in 0..graph.node.len() {
        let labels = Attributes(&graph.node[at]).texts("classlabels_strings");
        if graph.node[at].op_type != "LinearClassifier" || labels.is_empty() {
            continue;
        }
        let Some(outputs) = outputs(graph, &graph.node[at]) else { continue };
        number(&mut graph.node[at], labels.len());
        for output in outputs {
            if let Some(type_proto::Value::TensorType(tensor)) = graph.output[output].r#type.as_mut().and_then(|of| of.value.as_mut()) {
                tensor.elem_type = DataType::Int64 as i32;
            }
            named.push(Named { output, labels: labels.clone() });
        }
    }
    (numbered, named)
}

/// The graph's outputs that a classifier's classes are, if nothing else is made of them.
fn outputs(graph: &GraphProto, classifier: &NodeProto) -> Option<Vec<usize>> {
    let mut carried: HashSet<&str> = classifier.output.first().map(String::as_str).into_iter().collect();
    for node in &graph.node {
        if node.input.iter().any(|input| carried.contains(input.as_str())) {
            if node.op_type != "Identity" {
                return None;
            }
            carried.extend(node.output.iter().map(String::as_str));
        }
    }
    Some((0..graph.output.len()).filter(|at| carried.contains(graph.output[*at].name.as_str())).collect())
}

fn number(classifier: &mut NodeProto, classes: usize) {
    classifier.attribute.retain(|attribute| !matches!(attribute.name.as_str(), "classlabels_strings" | "classlabels_ints"));
    let ints = (0..classes as i64).collect();
    // The type of a list of integers.
    classifier.attribute.push(AttributeProto { name: "classlabels_ints".to_owned(), r#type: 7, ints, ..AttributeProto::default() });
}

/// Names what was numbered.
pub(super) fn name(outputs: &mut [Tensor], named: &[Named]) -> Result<(), String> {
    for Named { output, labels } in named {
        let Some(Tensor { values, .. }) = outputs.get_mut(*output) else { continue };
        let Values::Int64(numbers) = &*values else { return Err(format!("classes came as {}", values.element())) };
        let label = |number: &i64| usize::try_from(*number).ok().and_then(|number| labels.get(number)).cloned();
        let texts: Option<Vec<String>> = numbers.iter().map(label).collect();
        *values = Values::Text(texts.ok_or("a class came that is none of the file's")?);
    }
    Ok(())
}
