//! The floats that an ensemble computes with: 64-bit where its input is of them, else 32-bit.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::proto::{Attributes, TensorProto};
use crate::{Values, proto};

/// A float.
pub(crate) trait Number:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    const NAN: Self;
    const INFINITY: Self;
    const NEG_INFINITY: Self;
    const ONE: Self;

    /// The nearest.
    fn of_f32(value: f32) -> Self;

    /// The nearest.
    fn of_usize(value: usize) -> Self;

    /// The nearest.
    fn to_f32(self) -> f32;

    /// The greatest that is less.
    fn before(self) -> Self;

    fn is_nan(self) -> bool {
        self.partial_cmp(&self).is_none()
    }

    /// A tensor's values, if it is of these.
    fn of_tensor(tensor: &TensorProto) -> Option<Vec<Self>>;

    /// Values as the floats that thresholds are compared with; integers become the nearest. None of text.
    fn all(values: &Values) -> Option<Cow<'_, [Self]>>;

    /// As a tensor's values.
    fn into_values(values: Vec<Self>) -> Values;

    /// An attribute that may be given as a list of 32-bit floats, or as a tensor of these.
    fn attribute(attributes: &Attributes<'_>, name: &str) -> Result<Vec<Self>, String> {
        let tensor = format!("{name}_as_tensor");
        match attributes.tensor(&tensor) {
            None => Ok(attributes.floats(name).iter().map(|value| Self::of_f32(*value)).collect()),
            Some(_) if !attributes.floats(name).is_empty() => Err(format!("{name} is given twice, as a list and as a tensor")),
            Some(values) => Self::of_tensor(values).ok_or_else(|| format!("{tensor} is of another type than the input")),
        }
    }
}

impl Number for f32 {
    const NAN: f32 = f32::NAN;
    const INFINITY: f32 = f32::INFINITY;
    const NEG_INFINITY: f32 = f32::NEG_INFINITY;
    const ONE: f32 = 1.0;

    fn of_f32(value: f32) -> f32 {
        value
    }

    fn of_usize(value: usize) -> f32 {
        value as f32
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn before(self) -> f32 {
        self.next_down()
    }

    fn of_tensor(tensor: &TensorProto) -> Option<Vec<f32>> {
        proto::floats(tensor)
    }

    fn all(values: &Values) -> Option<Cow<'_, [f32]>> {
        Some(match values {
            Values::Float32(values) => Cow::Borrowed(values),
            Values::Float64(values) => values.iter().map(|value| *value as f32).collect(),
            Values::Int32(values) => values.iter().map(|value| *value as f32).collect(),
            Values::Int64(values) => values.iter().map(|value| *value as f32).collect(),
            Values::Bool(values) => values.iter().map(|value| f32::from(u8::from(*value))).collect(),
            Values::Text(_) => return None,
        })
    }

    fn into_values(values: Vec<f32>) -> Values {
        Values::Float32(values)
    }
}

impl Number for f64 {
    const NAN: f64 = f64::NAN;
    const INFINITY: f64 = f64::INFINITY;
    const NEG_INFINITY: f64 = f64::NEG_INFINITY;
    const ONE: f64 = 1.0;

    fn of_f32(value: f32) -> f64 {
        f64::from(value)
    }

    fn of_usize(value: usize) -> f64 {
        value as f64
    }

    fn to_f32(self) -> f32 {
        self as f32
    }

    fn before(self) -> f64 {
        self.next_down()
    }

    fn of_tensor(tensor: &TensorProto) -> Option<Vec<f64>> {
        proto::doubles(tensor)
    }

    fn all(values: &Values) -> Option<Cow<'_, [f64]>> {
        Some(match values {
            Values::Float32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Values::Float64(values) => Cow::Borrowed(values),
            Values::Int32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Values::Int64(values) => values.iter().map(|value| *value as f64).collect(),
            Values::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
            Values::Text(_) => return None,
        })
    }

    fn into_values(values: Vec<f64>) -> Values {
        Values::Float64(values)
    }
}
