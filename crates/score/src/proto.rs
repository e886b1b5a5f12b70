//! The messages that an ONNX file is made of, and how attributes of nodes are read.

pub(crate) use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto as TypeShape, TypeProto, ValueInfoProto,
    tensor_proto, tensor_shape_proto, type_proto,
};

use tensor_proto::DataType;

/// An operator as it is called in errors and lists: with its domain, unless it is ONNX's own.
pub(crate) fn operator(node: &NodeProto) -> String {
    match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    }
}

/// A node's attributes, of which each is asked for by name and type.
pub(crate) struct Attributes<'a>(pub(crate) &'a NodeProto);

impl<'a> Attributes<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).map(|attribute| attribute.i)
    }

    pub(crate) fn ints(&self, name: &str) -> &'a [i64] {
        self.get(name).map_or(&[], |attribute| &attribute.ints)
    }

    pub(crate) fn floats(&self, name: &str) -> &'a [f32] {
        self.get(name).map_or(&[], |attribute| &attribute.floats)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|attribute| String::from_utf8_lossy(&attribute.s).into_owned())
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let strings = self.get(name).map_or(&[][..], |attribute| &attribute.strings);
        strings.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.get(name).and_then(|attribute| attribute.t.as_ref())
    }
}

/// The number of a tensor's elements, if its dimensions are none that wrap.
pub(crate) fn elements(tensor: &TensorProto) -> Option<usize> {
    tensor.dims.iter().try_fold(1usize, |count, dim| count.checked_mul(usize::try_from(*dim).ok()?))
}

/// The 32-bit floats of a tensor, if it is of them.
pub(crate) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    let values = match tensor.raw_data.is_empty() {
        true => tensor.float_data.clone(),
        false => tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    of(tensor, DataType::Float, values)
}

/// The 64-bit floats of a tensor, if it is of them.
pub(crate) fn doubles(tensor: &TensorProto) -> Option<Vec<f64>> {
    let values = match tensor.raw_data.is_empty() {
        true => tensor.double_data.clone(),
        false => tensor.raw_data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
    };
    of(tensor, DataType::Double, values)
}

/// The bytes of a tensor of bytes.
pub(crate) fn bytes(tensor: &TensorProto) -> Option<Vec<u8>> {
    let values = match tensor.raw_data.is_empty() {
        true => tensor.int32_data.iter().map(|value| u8::try_from(*value).ok()).collect::<Option<_>>()?,
        false => tensor.raw_data.clone(),
    };
    of(tensor, DataType::Uint8, values)
}

/// The 64-bit integers of a tensor, if it is of them.
pub(crate) fn longs(tensor: &TensorProto) -> Option<Vec<i64>> {
    let values = match tensor.raw_data.is_empty() {
        true => tensor.int64_data.clone(),
        false => tensor.raw_data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
    };
    of(tensor, DataType::Int64, values)
}

fn of<T>(tensor: &TensorProto, wanted: DataType, values: Vec<T>) -> Option<Vec<T>> {
    (tensor.data_type == wanted as i32 && elements(tensor) == Some(values.len())).then_some(values)
}
