//! Rows and answers that were stored beside a model, and how near to them what a runtime gives is.

use std::path::Path;

use lockstep_score::{Element, Port, Tensor, Values};
use serde_json::Value;

/// A model's rows, and what they came to.
pub struct Stored {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
}

pub fn stored(path: &Path) -> Stored {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let tensors = |key: &str| json[key].as_array().unwrap().iter().map(tensor).collect();
    Stored { inputs: tensors("inputs"), outputs: tensors("outputs") }
}

fn tensor(json: &Value) -> Tensor {
    let shape = json["shape"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap() as usize).collect();
    let values = json["values"].as_array().unwrap();
    let bits = |value: &Value| u64::from_str_radix(value.as_str().unwrap(), 16).unwrap();
    let values = match json["type"].as_str().unwrap() {
        "float32" => Values::Float32(values.iter().map(|value| f32::from_bits(bits(value) as u32)).collect()),
        "float64" => Values::Float64(values.iter().map(|value| f64::from_bits(bits(value))).collect()),
        "int64" => Values::Int64(values.iter().map(|value| value.as_i64().unwrap()).collect()),
        "string" => Values::Text(values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()),
        other => panic!("{other}"),
    };
    Tensor { shape, values }
}

/// Reshapes stored inputs to what a port takes: an array of one dimension is a column.
pub fn as_rows(tensor: Tensor, port: &Port) -> Tensor {
    let mut tensor = tensor;
    if tensor.shape.len() == 1 && port.width == [Some(1)] {
        tensor.shape.push(1);
    }
    assert_eq!(tensor.values.element(), port.element);
    tensor
}

/// How near two runtimes' outputs are.
#[derive(Debug, Clone, PartialEq)]
pub enum Nearness {
    /// In every bit.
    Equal,
    /// Floats differ by no more than this many of their last places, at a magnitude of at least one.
    Near(f64),
    /// By more, or in something else.
    Far(String),
}

/// What a float may be off by where kernels sum in another order: some last places of 32 bits.
const PLACES_MAX: f64 = 64.0;

pub fn nearness(found: &[Tensor], wanted: &[Tensor]) -> Nearness {
    if found.len() != wanted.len() {
        return Nearness::Far(format!("{} outputs, and not {}", found.len(), wanted.len()));
    }
    let mut most = 0.0f64;
    let mut equal = true;
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        if found.shape != wanted.shape || found.values.element() != wanted.values.element() {
            let told = |tensor: &Tensor| format!("{} {:?}", tensor.values.element(), tensor.shape);
            return Nearness::Far(format!("output {at} is {}, and not {}", told(found), told(wanted)));
        }
        equal &= same(found, wanted);
        for (row, (found, wanted)) in floats(found).into_iter().zip(floats(wanted)).enumerate() {
            let off = if found.is_nan() && wanted.is_nan() || found == wanted {
                0.0
            } else {
                (found - wanted).abs() / wanted.abs().max(1.0) * 2f64.powi(23)
            };
            if off.is_nan() || off > PLACES_MAX {
                return Nearness::Far(format!("output {at}, value {row}: {found}, and not {wanted}"));
            }
            most = most.max(off);
        }
        if !matches!(found.values.element(), Element::Float32 | Element::Float64) && found.values != wanted.values {
            return Nearness::Far(format!("output {at}: {:?}, and not {:?}", found.values, wanted.values));
        }
    }
    if equal { Nearness::Equal } else { Nearness::Near(most) }
}

/// Bit for bit, any NaN being any other.
fn same(found: &Tensor, wanted: &Tensor) -> bool {
    match (&found.values, &wanted.values) {
        (Values::Float32(a), Values::Float32(b)) => a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()),
        (Values::Float64(a), Values::Float64(b)) => a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()),
        (a, b) => a == b,
    }
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    match &tensor.values {
        Values::Float32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Values::Float64(values) => values.clone(),
        _ => Vec::new(),
    }
}
