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
    /// Of an output, what each value of a row stands for, where the file says it: the classes of a classifier's probabilities. Of an input, values that the file knows: categories, of which
    /// others may be refused.
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

impl Values {
    /// None yet, of an element.
    pub fn none(element: Element) -> Values {
        match element {
            Element::Float32 => Values::Float32(Vec::new()),
            Element::Float64 => Values::Float64(Vec::new()),
            Element::Int32 => Values::Int32(Vec::new()),
            Element::Int64 => Values::Int64(Vec::new()),
            Element::Bool => Values::Bool(Vec::new()),
            Element::Text => Values::Text(Vec::new()),
        }
    }

    /// What they are.
    pub fn element(&self) -> Element {
        match self {
            Values::Float32(_) => Element::Float32,
            Values::Float64(_) => Element::Float64,
            Values::Int32(_) => Element::Int32,
            Values::Int64(_) => Element::Int64,
            Values::Bool(_) => Element::Bool,
            Values::Text(_) => Element::Text,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Values::Float32(values) => values.len(),
            Values::Float64(values) => values.len(),
            Values::Int32(values) => values.len(),
            Values::Int64(values) => values.len(),
            Values::Bool(values) => values.len(),
            Values::Text(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds some of another's values, which is of the same element; of another element, none.
    pub fn extend(&mut self, from: &Values, range: std::ops::Range<usize>) {
        match (self, from) {
            (Values::Float32(to), Values::Float32(from)) => to.extend_from_slice(&from[range]),
            (Values::Float64(to), Values::Float64(from)) => to.extend_from_slice(&from[range]),
            (Values::Int32(to), Values::Int32(from)) => to.extend_from_slice(&from[range]),
            (Values::Int64(to), Values::Int64(from)) => to.extend_from_slice(&from[range]),
            (Values::Bool(to), Values::Bool(from)) => to.extend_from_slice(&from[range]),
            (Values::Text(to), Values::Text(from)) => to.extend_from_slice(&from[range]),
            _ => {}
        }
    }

    /// Whether the same values, bit for bit.
    fn same(&self, other: &Values) -> bool {
        match (self, other) {
            (Values::Float32(a), Values::Float32(b)) => a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())),
            (Values::Float64(a), Values::Float64(b)) => a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())),
            (a, b) => a == b,
        }
    }
}

impl Tensor {
    /// Its rows; one where it has no dimensions.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// How many values a row has.
    pub fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Some of its rows.
    pub fn slice(&self, rows: std::ops::Range<usize>) -> Tensor {
        let width = self.width();
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        let mut values = Values::none(self.values.element());
        values.extend(&self.values, rows.start * width..rows.end * width);
        Tensor { shape, values }
    }

    /// Whether the same shape and values, bit for bit: a NaN is itself.
    pub fn same(&self, other: &Tensor) -> bool {
        self.shape == other.shape && self.values.same(&other.values)
    }

    /// What is wrong with it as a value of a port, or the number of its rows.
    pub(crate) fn fits(&self, port: &Port) -> Result<usize, String> {
        let Port { name, element, width, .. } = port;
        if self.values.element() != *element {
            return Err(format!("input `{name}` is of {} · the model takes {element}", self.values.element()));
        }
        let fits = self.shape.len() == width.len() + 1
            && width.iter().zip(&self.shape[1..]).all(|(wanted, found)| wanted.is_none_or(|wanted| wanted == *found));
        if !fits {
            return Err(format!("input `{name}` has the dimensions {:?} · the model takes {}", self.shape, port.dimensions()));
        }
        if self.shape.iter().product::<usize>() != self.values.len() {
            return Err(format!("input `{name}` has {} values · its dimensions are {:?}", self.values.len(), self.shape));
        }
        Ok(self.rows())
    }
}

impl Port {
    /// Its dimensions, that of rows and open ones as `?`: `[?, 20]`.
    pub fn dimensions(&self) -> String {
        let widths = self.width.iter().map(|width| width.map_or_else(|| "?".to_owned(), |width| width.to_string()));
        format!("[{}]", std::iter::once("?".to_owned()).chain(widths).collect::<Vec<_>>().join(", "))
    }
}
