//! From features to tensors.
//!
//! Values are written row by row, as a model takes them. A value is rounded once, and here: a DOUBLE or a whole number that a `float32` has not becomes the nearest one that it has, ties to
//! even. −0.0 stays what it is. NULL is NaN where there is one.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use lockstep_model::Error;
use lockstep_score::{Element, Tensor, Values};

use super::bind::inputs::{Feature, Input};

/// What goes into a model of some rows of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// One tensor an input of the file, in its order.
    pub tensors: Vec<Tensor>,
    /// The rows that are in them, in order, as they were asked for.
    pub rows: Vec<u32>,
    /// The rows that are not, in order, and why.
    pub left_out: Vec<(u32, String)>,
}

impl Inputs {
    /// How many rows were asked for.
    pub fn asked(&self) -> usize {
        self.rows.len() + self.left_out.len()
    }
}

/// Makes tensors of the outputs of a service.
pub(super) fn tensors(inputs: &[Input], columns: &[ArrayRef]) -> Result<Inputs, Error> {
    let rows = columns.first().map_or(0, |column| column.len());
    let mut reasons: Vec<Option<String>> = vec![None; rows];
    let mut tensors = inputs.iter().map(|input| tensor(input, columns, &mut reasons)).collect::<Result<Vec<Tensor>, Error>>()?;
    if reasons.iter().any(Option::is_some) {
        tensors.iter_mut().for_each(|tensor| retain(tensor, &reasons));
    }
    let mut all = Inputs { tensors, rows: Vec::with_capacity(rows), left_out: Vec::new() };
    for (row, reason) in (0_u32..).zip(reasons) {
        match reason {
            None => all.rows.push(row),
            Some(reason) => all.left_out.push((row, reason)),
        }
    }
    Ok(all)
}

/// All rows of an input; those with a reason hold what comes to hand.
fn tensor(input: &Input, columns: &[ArrayRef], reasons: &mut [Option<String>]) -> Result<Tensor, Error> {
    let values = match input.element {
        Element::Float32 => Values::Float32(written(input, columns, reasons)?),
        Element::Float64 => Values::Float64(written(input, columns, reasons)?),
        Element::Int32 => Values::Int32(written(input, columns, reasons)?),
        Element::Int64 => Values::Int64(written(input, columns, reasons)?),
        Element::Bool => Values::Bool(written(input, columns, reasons)?),
        Element::Text => Values::Text(written(input, columns, reasons)?),
    };
    Ok(Tensor { shape: std::iter::once(reasons.len()).chain(input.dimensions.iter().copied()).collect(), values })
}

fn written<T: Value>(input: &Input, columns: &[ArrayRef], reasons: &mut [Option<String>]) -> Result<Vec<T>, Error> {
    let width: usize = input.features.iter().map(|feature| feature.values).sum();
    let mut out = vec![T::default(); reasons.len() * width];
    let mut first = 0;
    for feature in &input.features {
        let column = columns.get(feature.column).filter(|column| column.len() == reasons.len() && *column.data_type() == feature.data_type);
        let column = column.ok_or_else(|| Error::internal(format!("the columns for input `{}` are not those of its service", input.name)))?;
        let mut target = Target { input, feature, out: &mut out, width, first, reasons: &mut *reasons };
        match column.data_type() {
            DataType::List(_) => target.lists(column.as_list::<i32>().values(), column, |row| {
                let offsets = column.as_list::<i32>().value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            })?,
            DataType::LargeList(_) => target.lists(column.as_list::<i64>().values(), column, |row| {
                let offsets = column.as_list::<i64>().value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            })?,
            DataType::FixedSizeList(_, length) => {
                let length = usize::try_from(*length).unwrap_or_default();
                let begin = |row: usize| usize::try_from(column.as_fixed_size_list().value_offset(row)).unwrap_or_default();
                target.lists(column.as_fixed_size_list().values(), column, |row| (begin(row), begin(row) + length))?;
            }
            _ => target.values(column)?,
        }
        first += feature.values;
    }
    Ok(out)
}

/// Where the values of a feature go.
struct Target<'a, T> {
    input: &'a Input,
    feature: &'a Feature,
    out: &'a mut [T],
    /// Values of a row, and the first of this feature.
    width: usize,
    first: usize,
    reasons: &'a mut [Option<String>],
}

impl<T: Value> Target<'_, T> {
    /// One value a row.
    fn values(&mut self, column: &ArrayRef) -> Result<(), Error> {
        each::<T>(column, &mut |row, value| self.put(row, 0, value))
    }

    /// As many values a row as a list has, whose elements are at `place` among `elements`.
    fn lists(&mut self, elements: &ArrayRef, lists: &ArrayRef, place: impl Fn(usize) -> (usize, usize)) -> Result<(), Error> {
        let mut values: Vec<Result<T, Misfit>> = Vec::with_capacity(elements.len());
        each::<T>(elements, &mut |_, value| values.push(value))?;
        for row in 0..lists.len() {
            let (begin, end) = place(row);
            match (lists.is_null(row), T::null()) {
                (true, Some(null)) => (0..self.feature.values).for_each(|at| self.put(row, at, Ok(null.clone()))),
                (true, None) => self.leave_out(row, Misfit::Null),
                (false, _) if end - begin != self.feature.values => self.leave_out(row, Misfit::Length(end - begin)),
                (false, _) => values[begin..end].iter().enumerate().for_each(|(at, value)| self.put(row, at, value.clone())),
            }
        }
        Ok(())
    }

    #[inline]
    fn put(&mut self, row: usize, at: usize, value: Result<T, Misfit>) {
        match value {
            Ok(value) => self.out[row * self.width + self.first + at] = value,
            Err(misfit) => self.leave_out(row, misfit),
        }
    }

    /// The first reason stands.
    fn leave_out(&mut self, row: usize, misfit: Misfit) {
        if self.reasons[row].is_some() {
            return;
        }
        let Target { input, feature, .. } = self;
        self.reasons[row] = Some(match misfit {
            Misfit::Null => format!("feature `{}` is NULL, which input `{}` of type {} has not", feature.name, input.name, input.element),
            Misfit::Range(value) => format!("feature `{}` is {value}, which input `{}` of type {} has not", feature.name, input.name, input.element),
            Misfit::Length(length) => {
                format!("feature `{}` is a list of {length} elements, and input `{}` takes {} of them", feature.name, input.name, feature.values)
            }
        });
    }
}

/// Why a value cannot go into an input.
#[derive(Debug, Clone, Copy)]
enum Misfit {
    Null,
    Range(i128),
    Length(usize),
}

/// What a tensor can be made of.
trait Value: Clone + Default {
    /// What stands for NULL.
    fn null() -> Option<Self> {
        None
    }
    /// The value of a whole number.
    fn whole(_: i64) -> Option<Self> {
        None
    }
    /// The value of a whole number that is not below zero.
    fn unsigned(_: u64) -> Option<Self> {
        None
    }
    /// The value of a float.
    fn float(_: f64) -> Option<Self> {
        None
    }
    /// The value of a text.
    fn text(_: &str) -> Option<Self> {
        None
    }
}

impl Value for f32 {
    fn null() -> Option<f32> {
        Some(f32::NAN)
    }

    fn whole(value: i64) -> Option<f32> {
        Some(value as f32)
    }

    fn unsigned(value: u64) -> Option<f32> {
        Some(value as f32)
    }

    fn float(value: f64) -> Option<f32> {
        Some(value as f32)
    }
}

impl Value for f64 {
    fn null() -> Option<f64> {
        Some(f64::NAN)
    }

    fn whole(value: i64) -> Option<f64> {
        Some(value as f64)
    }

    fn unsigned(value: u64) -> Option<f64> {
        Some(value as f64)
    }

    fn float(value: f64) -> Option<f64> {
        Some(value)
    }
}

impl Value for i32 {
    fn whole(value: i64) -> Option<i32> {
        i32::try_from(value).ok()
    }

    fn unsigned(value: u64) -> Option<i32> {
        i32::try_from(value).ok()
    }
}

impl Value for i64 {
    fn whole(value: i64) -> Option<i64> {
        Some(value)
    }

    fn unsigned(value: u64) -> Option<i64> {
        i64::try_from(value).ok()
    }
}

impl Value for bool {
    fn whole(value: i64) -> Option<bool> {
        match value {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Value for String {
    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }
}

/// Calls `put` with each value of a column.
fn each<T: Value>(column: &ArrayRef, put: &mut impl FnMut(usize, Result<T, Misfit>)) -> Result<(), Error> {
    match column.data_type() {
        DataType::Float64 => primitives::<T, Float64Type>(column, put, T::float, |_| 0),
        DataType::Float32 => primitives::<T, Float32Type>(column, put, |value| T::float(f64::from(value)), |_| 0),
        DataType::Int8 => primitives::<T, Int8Type>(column, put, |value| T::whole(value.into()), i128::from),
        DataType::Int16 => primitives::<T, Int16Type>(column, put, |value| T::whole(value.into()), i128::from),
        DataType::Int32 => primitives::<T, Int32Type>(column, put, |value| T::whole(value.into()), i128::from),
        DataType::Int64 => primitives::<T, Int64Type>(column, put, |value| T::whole(value), i128::from),
        DataType::UInt8 => primitives::<T, UInt8Type>(column, put, |value| T::unsigned(value.into()), i128::from),
        DataType::UInt16 => primitives::<T, UInt16Type>(column, put, |value| T::unsigned(value.into()), i128::from),
        DataType::UInt32 => primitives::<T, UInt32Type>(column, put, |value| T::unsigned(value.into()), i128::from),
        DataType::UInt64 => primitives::<T, UInt64Type>(column, put, |value| T::unsigned(value), i128::from),
        DataType::Boolean => {
            let values = column.as_boolean();
            for row in 0..values.len() {
                let value = i64::from(values.value(row));
                put(row, of::<T>(values.is_null(row), || T::whole(value), || value.into()));
            }
        }
        DataType::Utf8 => texts(column.as_string::<i32>().iter(), put),
        DataType::LargeUtf8 => texts(column.as_string::<i64>().iter(), put),
        DataType::Utf8View => texts(column.as_string_view().iter(), put),
        other => return Err(Error::internal(format!("a feature of type {other} was bound to a model"))),
    }
    Ok(())
}

/// Values that are `converted`, and `shown` where the type has none such; binding lets floats into floats alone, which have all of them.
fn primitives<T: Value, A: ArrowPrimitiveType>(
    column: &ArrayRef,
    put: &mut impl FnMut(usize, Result<T, Misfit>),
    converted: impl Fn(A::Native) -> Option<T>,
    shown: impl Fn(A::Native) -> i128,
) {
    let values = column.as_primitive::<A>();
    for (row, &value) in values.values().iter().enumerate() {
        put(row, of::<T>(values.is_null(row), || converted(value), || shown(value)));
    }
}

fn texts<'a, T: Value>(values: impl Iterator<Item = Option<&'a str>>, put: &mut impl FnMut(usize, Result<T, Misfit>)) {
    for (row, value) in values.enumerate() {
        put(row, of::<T>(value.is_none(), || T::text(value.unwrap_or_default()), || 0));
    }
}

#[inline]
fn of<T: Value>(is_null: bool, value: impl FnOnce() -> Option<T>, shown: impl FnOnce() -> i128) -> Result<T, Misfit> {
    if is_null { T::null().ok_or(Misfit::Null) } else { value().ok_or_else(|| Misfit::Range(shown())) }
}

/// Takes the rows out that have a reason.
fn retain(tensor: &mut Tensor, reasons: &[Option<String>]) {
    let width: usize = tensor.shape[1..].iter().product();
    fn kept<T>(values: &mut Vec<T>, width: usize, reasons: &[Option<String>]) {
        let mut at = 0;
        values.retain(|_| {
            let row = at / width.max(1);
            at += 1;
            reasons[row].is_none()
        });
    }
    match &mut tensor.values {
        Values::Float32(values) => kept(values, width, reasons),
        Values::Float64(values) => kept(values, width, reasons),
        Values::Int32(values) => kept(values, width, reasons),
        Values::Int64(values) => kept(values, width, reasons),
        Values::Bool(values) => kept(values, width, reasons),
        Values::Text(values) => kept(values, width, reasons),
    }
    tensor.shape[0] = reasons.iter().filter(|reason| reason.is_none()).count();
}

#[cfg(test)]
mod tests;
