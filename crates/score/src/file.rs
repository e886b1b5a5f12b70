//! What an ONNX file says: its inputs and outputs, its operators, and whether it can be a model at all.

mod check;
mod ports;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::Port;
use crate::proto::{GraphProto, ModelProto, operator};

/// A file that was read and whose graph holds together. Whether a runtime can run it is found by [`load`](crate::load()).
#[derive(Debug, Clone)]
pub struct ModelFile {
    sha256: String,
    /// The graph, in which maps of classes have become tensors.
    proto: ModelProto,
    opsets: BTreeMap<String, i64>,
    operators: BTreeSet<String>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    rows: Option<usize>,
}

/// Why a file is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The bytes are no ONNX.
    #[error("the file is no ONNX model · {reason} · export it again, and compare its length")]
    Unreadable {
        /// What the decoder said.
        reason: String,
    },
    /// Its weights are in other files.
    #[error(
        "the weights of `{tensor}` are in another file, `{location}` · a model is pinned by the hash of one file · export it with its weights inside"
    )]
    External {
        /// The tensor.
        tensor: String,
        /// The other file.
        location: String,
    },
    /// Something in the graph does not fit.
    #[error("the graph does not hold together · {what} · export it again, or ask `onnx.checker` about it")]
    Graph {
        /// What does not fit.
        what: String,
    },
    /// An input or output that rows of features cannot be.
    #[error("`{port}` {what} · {remedy}")]
    Port {
        /// The input or output.
        port: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        remedy: String,
    },
}

impl ModelFile {
    /// Reads a file: nothing in it is run, and what it says of lengths is believed only as far as its bytes go.
    ///
    /// # Errors
    /// It is no ONNX, its graph does not hold together, its weights lie elsewhere, or an input or output cannot be rows.
    pub fn read(bytes: &[u8]) -> Result<ModelFile, FileError> {
        let mut proto = ModelProto::decode(bytes).map_err(|error| FileError::Unreadable { reason: error.to_string() })?;
        let graph = proto.graph.as_mut().ok_or_else(|| FileError::Unreadable { reason: "there is no graph in it".to_owned() })?;
        check::graph(graph)?;
        let labels = ports::take_off_maps(graph);
        let (inputs, rows) = ports::inputs(graph)?;
        let outputs = ports::outputs(graph, &labels)?;
        let operators = operators(graph);
        ports::import_own_operators(&mut proto);
        let opsets = proto.opset_import.iter().map(|opset| (opset.domain.clone(), opset.version)).collect();
        Ok(ModelFile { sha256: hex(&Sha256::digest(bytes)), proto, opsets, operators, inputs, outputs, rows })
    }

    /// The SHA-256 of the file, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The version of each set of operators that the file was written for, by domain; ONNX's own has an empty name.
    pub fn opsets(&self) -> &BTreeMap<String, i64> {
        &self.opsets
    }

    /// The operators that it uses, each once; those of another domain than ONNX's own with it: `ai.onnx.ml.Scaler`.
    pub fn operators(&self) -> &BTreeSet<String> {
        &self.operators
    }

    /// What goes in, in the file's order. Weights are no inputs.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What comes out, in the file's order, as far as the file says it: a model that was loaded knows what its rows really are.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// How many rows the graph takes at a time, where the file fixes it.
    pub(crate) fn rows(&self) -> Option<usize> {
        self.rows
    }

    pub(crate) fn graph(&self) -> &GraphProto {
        // A file without a graph was refused.
        static NONE: std::sync::LazyLock<GraphProto> = std::sync::LazyLock::new(GraphProto::default);
        self.proto.graph.as_ref().unwrap_or(&NONE)
    }

    pub(crate) fn proto(&self) -> &ModelProto {
        &self.proto
    }
}

/// Of all nodes, those of subgraphs too.
fn operators(graph: &GraphProto) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for node in &graph.node {
        found.insert(operator(node));
        for inner in check::subgraphs(node) {
            found.extend(operators(inner));
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
