//! From the types a columnar file has to those that are declared, without loss.
//!
//! Whether a type can hold another is decided once, by types alone, when the file is opened. Three conversions depend on values, and where a value does not fit its row is
//! bad: integers that a float must hold exactly, nanoseconds that must be whole microseconds, and times beyond what microseconds reach.

mod time;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray, StringArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;

use lockstep_transform::definition::sql_name;

use super::column::{Bad, Column, Value, column};
use super::rows::Kind;
use super::zone::Zone;
use time::Times;

/// How the values of a column are taken over.
#[derive(Debug)]
pub(super) enum Cast {
    /// As they are.
    Keep,
    /// By a kernel that loses nothing between these types.
    Kernel(DataType),
    /// By a kernel to a type that is then cast on.
    Through(DataType, Box<Cast>),
    /// A column that has no type has no values.
    Nulls(DataType),
    /// Integers to floats that hold them exactly.
    Floats(DataType),
    /// Dates and moments.
    Times(Times),
    /// Lists, element by element.
    List(FieldRef, Box<Cast>),
    /// Text that is parsed once it is Utf8.
    Parsed(Box<Cast>, Box<dyn Column>),
}

impl Cast {
    /// From `from` to `to`, which both are types of columns; `None` where something might be lost. Naive timestamps are in `zone`.
    pub(super) fn between(from: &DataType, to: &DataType, zone: Zone) -> Option<Cast> {
        use DataType::*;
        let through = |data_type: DataType| Cast::between(&data_type, to, zone).map(|rest| Cast::Through(data_type.clone(), Box::new(rest)));
        if let Some(times) = Times::between(from, to, zone) {
            return Some(times.map_or(Cast::Keep, Cast::Times));
        }
        match (from, to) {
            (from, to) if from == to => Some(Cast::Keep),
            (Null, to) => Some(Cast::Nulls(to.clone())),
            (Dictionary(_, value), _) => through(value.as_ref().clone()),
            (RunEndEncoded(_, value), _) => through(value.data_type().clone()),
            (List(from), List(to)) => {
                let element = Cast::between(from.data_type(), to.data_type(), zone)?;
                Some(Cast::List(to.clone(), Box::new(element)))
            }
            (LargeList(element) | FixedSizeList(element, _) | ListView(element) | LargeListView(element), List(_)) => through(List(element.clone())),
            (LargeUtf8 | Utf8View, Utf8) | (LargeBinary | BinaryView | FixedSizeBinary(_), Binary) => Some(Cast::Kernel(to.clone())),
            (Int64 | UInt64 | Int32 | UInt32, Float32) | (Int64 | UInt64, Float64) => Some(Cast::Floats(to.clone())),
            _ if holds(from, to) => Some(Cast::Kernel(to.clone())),
            _ => None,
        }
    }

    /// From text to what it says, as in text files; for what no file format has a fixed type for.
    pub(super) fn parsed(from: &DataType, to: &DataType) -> Option<Cast> {
        let text = Cast::between(from, &DataType::Utf8, Zone::Utc)?;
        Some(Cast::Parsed(Box::new(text), column(to, Zone::Utc)?))
    }

    /// The values of `array` in the new type. Those that do not fit become NULL, and are told in `bad` with their index.
    pub(super) fn apply(&mut self, array: &ArrayRef, bad: &mut Bad) -> Result<ArrayRef, ArrowError> {
        match self {
            Cast::Keep => Ok(array.clone()),
            Cast::Kernel(to) => exactly(array, to),
            Cast::Through(to, rest) => rest.apply(&exactly(array, to)?, bad),
            Cast::Nulls(to) => Ok(new_null_array(to, array.len())),
            Cast::Floats(to) => floats(array, to, bad),
            Cast::Times(times) => times.apply(array, bad),
            Cast::List(element, cast) => lists(array.as_list(), element, cast, bad),
            Cast::Parsed(text, column) => {
                let array = text.apply(array, bad)?;
                Ok(parse(array.as_string(), column.as_mut(), bad))
            }
        }
    }
}

/// Decimal digits, before and behind the point, that a type of exact numbers has at most.
fn digits(data_type: &DataType) -> Option<(i16, i16)> {
    use DataType::*;
    let whole = match data_type {
        Int8 | UInt8 => 3,
        Int16 | UInt16 => 5,
        Int32 | UInt32 => 10,
        Int64 => 19,
        UInt64 => 20,
        Decimal32(precision, scale) | Decimal64(precision, scale) | Decimal128(precision, scale) | Decimal256(precision, scale) => {
            return Some((i16::from(*precision) - i16::from(*scale), i16::from(*scale)));
        }
        _ => return None,
    };
    Some((whole, 0))
}

/// The largest number of digits all of whose values an integer type has.
fn integer_digits(data_type: &DataType) -> Option<i16> {
    use DataType::*;
    Some(match data_type {
        Int8 | UInt8 => 2,
        Int16 | UInt16 => 4,
        Int32 | UInt32 => 9,
        Int64 => 18,
        UInt64 => 19,
        _ => return None,
    })
}

/// Whether every value of `from` is one of `to`.
fn holds(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Int8, Int16 | Int32 | Int64 | Float32 | Float64) => true,
        (Int16, Int32 | Int64 | Float32 | Float64) => true,
        (Int32, Int64 | Float64) => true,
        (UInt8, UInt16 | UInt32 | UInt64 | Int16 | Int32 | Int64 | Float32 | Float64) => true,
        (UInt16, UInt32 | UInt64 | Int32 | Int64 | Float32 | Float64) => true,
        (UInt32, UInt64 | Int64 | Float64) => true,
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (_, Decimal128(..)) => digits(from).zip(digits(to)).is_some_and(|(from, to)| from.0 <= to.0 && from.1 <= to.1),
        // Unsigned integers hold no negative decimals.
        (_, Int8 | Int16 | Int32 | Int64) => {
            from.is_decimal() && digits(from).zip(integer_digits(to)).is_some_and(|((whole, fraction), most)| whole <= most && fraction <= 0)
        }
        _ => false,
    }
}

fn exactly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn floats(array: &ArrayRef, to: &DataType, bad: &mut Bad) -> Result<ArrayRef, ArrowError> {
    macro_rules! exact {
        ($from:ty, $to:ty) => {{
            let integers = array.as_primitive::<$from>();
            let convert = |value: <$from as ArrowPrimitiveType>::Native| {
                let float = value as <$to as ArrowPrimitiveType>::Native;
                (float as i128 == i128::from(value)).then_some(float)
            };
            Ok(Arc::new(convert_each::<$from, $to>(integers, convert, |value| format!("{value} is not exactly a {}", sql_name(to)), bad)))
        }};
    }
    match (array.data_type(), to) {
        (DataType::Int32, DataType::Float32) => exact!(Int32Type, Float32Type),
        (DataType::UInt32, DataType::Float32) => exact!(UInt32Type, Float32Type),
        (DataType::Int64, DataType::Float32) => exact!(Int64Type, Float32Type),
        (DataType::UInt64, DataType::Float32) => exact!(UInt64Type, Float32Type),
        (DataType::Int64, DataType::Float64) => exact!(Int64Type, Float64Type),
        (DataType::UInt64, DataType::Float64) => exact!(UInt64Type, Float64Type),
        (from, to) => Err(ArrowError::CastError(format!("{from} is not cast to {to} here"))),
    }
}

/// Converts value by value; what cannot be becomes NULL, with its reason.
fn convert_each<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
    array: &PrimitiveArray<F>,
    mut convert: impl FnMut(F::Native) -> Option<T::Native>,
    reason: impl Fn(F::Native) -> String,
    bad: &mut Bad,
) -> PrimitiveArray<T> {
    let mut one = |(row, value): (usize, Option<F::Native>)| {
        let value = value?;
        let converted = convert(value);
        if converted.is_none() {
            bad.push((row, reason(value)));
        }
        converted
    };
    array.iter().enumerate().map(&mut one).collect()
}

fn parse(array: &StringArray, column: &mut dyn Column, bad: &mut Bad) -> ArrayRef {
    for (row, text) in array.iter().enumerate() {
        let pushed = match text {
            Some(text) => column.push(Value { kind: Kind::Text, text }),
            None => column.push_any(Value { kind: Kind::Null, text: "" }),
        };
        if let Err(reason) = pushed {
            column.push_null();
            bad.push((row, reason));
        }
    }
    column.finish()
}

fn lists(array: &ListArray, element: &FieldRef, cast: &mut Cast, bad: &mut Bad) -> Result<ArrayRef, ArrowError> {
    let offsets = array.value_offsets();
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let values = array.values().slice(first as usize, (last - first) as usize);
    let mut bad_elements = Bad::new();
    let values = cast.apply(&values, &mut bad_elements)?;
    let offsets: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
    for (index, reason) in bad_elements {
        let row = offsets.partition_point(|&offset| offset as usize <= index).saturating_sub(1);
        if array.is_valid(row) {
            bad.push((row, format!("element {}: {reason}", index - offsets[row] as usize)));
        }
    }
    Ok(Arc::new(ListArray::try_new(element.clone(), OffsetBuffer::new(offsets.into()), values, array.nulls().cloned())?))
}

#[cfg(test)]
mod tests;
