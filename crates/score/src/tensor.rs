//! What goes into a model and what comes out: rows of equal width.

use std::fmt;

/// What a tensor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// 32-bit floats.
    Float32,
    /// 64-bit floats.
    Float64,
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
    /// Booleans.
    Bool,
    /// Text.
    Text,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::Float32 => "float32",
            Element::Float64 => "float64",
            Element::Int32 => "int32",
            Element::Int64 => "int64",
            Element::Bool => "bool",
            Element::Text => "string",
        })
    }
}

/// An input or output of a model, as its file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// What it is made of.
    pub element: Element,
    /// Dimensions behind the first, which is that of rows; `None` where the file leaves one open. None at all: one value a row.
    pub width: Vec<Option<usize>>,
    /// What each value of a row stands for, where the file says it: the classes of a classifier's probabilities.
    pub labels: Option<Vec<String>>,
}

/// Values of all rows, row after row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    Float32(Vec<f32>),
    /// 64-bit floats.
    Float64(Vec<f64>),
    /// 32-bit integers.
    Int32(Vec<i32>),
    /// 64-bit integers.
    Int64(Vec<i64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Text.
    Text(Vec<String>),
}

/// Rows of equal width.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Dimensions; the first is the number of rows.
    pub shape: Vec<usize>,
    /// As many as the dimensions' product.
    pub values: Values,
}
