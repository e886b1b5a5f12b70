//! What is computed around trees, as ONNX Runtime computes it: value by value, in 32 bits.

use super::number::Number;
use crate::proto::{Attributes, GraphProto, NodeProto, floats};
use crate::{Tensor, Values};

/// An operator that gives a row as many 32-bit floats as it is given values.
#[derive(Debug)]
pub(super) enum Around {
    /// `(value - offset) * scale`, one of each or one for each value of a row.
    Scale {
        offset: Vec<f32>,
        scale: Vec<f32>,
    },
    /// What is missing, or a value that stands for it, becomes one of these: one for each value of a row, or one for all.
    Impute {
        missing: f32,
        by: Vec<f32>,
    },
    /// `value * factor`.
    Times(f32),
    Normalize(Norm),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Norm {
    Max,
    L1,
    L2,
}

impl Around {
    pub(super) fn scaler(attributes: &Attributes<'_>) -> Result<Around, String> {
        let (offset, scale) = (attributes.floats("offset").to_vec(), attributes.floats("scale").to_vec());
        if offset.is_empty() || offset.len() != scale.len() {
            return Err(format!("it scales by {} factors and {} offsets", scale.len(), offset.len()));
        }
        Ok(Around::Scale { offset, scale })
    }

    pub(super) fn normalizer(attributes: &Attributes<'_>) -> Result<Around, String> {
        match attributes.text("norm").as_deref().unwrap_or("MAX") {
            "MAX" => Ok(Around::Normalize(Norm::Max)),
            "L1" => Ok(Around::Normalize(Norm::L1)),
            "L2" => Ok(Around::Normalize(Norm::L2)),
            other => Err(format!("it normalizes by {other}")),
        }
    }

    pub(super) fn imputer(attributes: &Attributes<'_>) -> Result<Around, String> {
        let by = attributes.floats("imputed_value_floats").to_vec();
        match by.is_empty() {
            true => Err("it imputes no floats".to_owned()),
            false => Ok(Around::Impute { missing: attributes.get("replaced_value_float").map_or(0.0, |attribute| attribute.f), by }),
        }
    }

    /// A multiplication by a constant, which is one of its two inputs; the other's name is returned too.
    pub(super) fn times<'a>(graph: &GraphProto, node: &'a NodeProto) -> Result<(Around, &'a String), String> {
        let constant = |name: &String| graph.initializer.iter().find(|own| own.name == *name).and_then(floats);
        let [first, second] = node.input.as_slice() else { return Err("it multiplies other than two values".to_owned()) };
        match (constant(first).as_deref(), constant(second).as_deref()) {
            (None, Some([factor])) => Ok((Around::Times(*factor), first)),
            (Some([factor]), None) => Ok((Around::Times(*factor), second)),
            _ => Err("it multiplies by more than one number".to_owned()),
        }
    }

    pub(super) fn run(&self, tensor: &Tensor) -> Result<Tensor, String> {
        let width = tensor.width();
        let values = match self {
            Around::Scale { offset, scale } if offset.len() == 1 || offset.len() == width => scaled(&tensor.values, offset, scale)?,
            Around::Scale { offset, .. } => return Err(format!("it scales {} values, and a row has {width}", offset.len())),
            Around::Impute { missing, by } if by.len() == 1 || by.len() == width => {
                let stands = |value: f32| value == *missing || value.is_nan() && missing.is_nan();
                own(&tensor.values)?.iter().zip(by.iter().cycle()).map(|(value, by)| if stands(*value) { *by } else { *value }).collect()
            }
            Around::Impute { by, .. } => return Err(format!("it imputes {} values, and a row has {width}", by.len())),
            Around::Times(factor) => own(&tensor.values)?.iter().map(|value| value * factor).collect(),
            Around::Normalize(_) if tensor.shape.len() != 2 => return Err("it normalizes other than rows".to_owned()),
            Around::Normalize(norm) => own(&tensor.values)?.chunks(width.max(1)).flat_map(|row| norm.row(row)).collect(),
        };
        Ok(Tensor { shape: tensor.shape.clone(), values: Values::Float32(values) })
    }
}

fn own(values: &Values) -> Result<&[f32], String> {
    match values {
        Values::Float32(values) => Ok(values),
        other => Err(format!("it computes with {}", other.element())),
    }
}

/// 64-bit floats are scaled in 64 bits, and everything else in 32.
fn scaled(values: &Values, offset: &[f32], scale: &[f32]) -> Result<Vec<f32>, String> {
    let by = offset.iter().zip(scale).cycle();
    if let Values::Float64(values) = values {
        let scale = |(value, (offset, scale)): (&f64, (&f32, &f32))| ((value - f64::from(*offset)) * f64::from(*scale)) as f32;
        return Ok(values.iter().zip(by).map(scale).collect());
    }
    let values = f32::all(values).ok_or("text is not scaled")?;
    Ok(values.iter().zip(by).map(|(value, (offset, scale))| (value - offset) * scale).collect())
}

impl Norm {
    fn row(self, row: &[f32]) -> Vec<f32> {
        match self {
            Norm::Max => divided(row, row.iter().fold(f32::MIN, |most, value| if most < *value { *value } else { most })),
            Norm::L1 => divided(row, row.iter().map(|value| value.abs()).sum()),
            Norm::L2 => {
                let sum: f32 = row.iter().map(|value| value * value).sum();
                let root = |value: &f32| (value * value / sum).sqrt() * if *value < 0.0 { -1.0 } else { 1.0 };
                if sum == 0.0 { row.to_vec() } else { row.iter().map(root).collect() }
            }
        }
    }
}

fn divided(row: &[f32], by: f32) -> Vec<f32> {
    if by == 0.0 { row.to_vec() } else { row.iter().map(|value| value / by).collect() }
}
