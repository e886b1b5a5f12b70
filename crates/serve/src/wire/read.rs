//! What a request gives, as the types that are declared. A value that does not fit its type is an error, never a NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, ListArray, PrimitiveArray,
    StringArray, UInt64Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type,
};
use lockstep_client::kind_name;
use lockstep_client::proto::values::Values as Kind;
use lockstep_client::proto::{self, Lists};
use lockstep_model::{Error, EventTime};
use lockstep_transform::definition::sql_name;

/// Most values of a column, lists' items included: the wire gives a length in few bytes.
const VALUES_MAX: usize = 16 << 20;

/// A column of `data_type`.
///
/// # Errors
/// Invalid where the values are of a type that does not become it without loss, or one does not fit; the message names row and value.
pub fn array(values: &proto::Values, data_type: &DataType) -> Result<ArrayRef, Error> {
    let Some(kind) = &values.values else {
        // Nothing but NULLs, of any type.
        let rows = values.nulls.len();
        return if values.nulls.iter().copied().eq(0..rows as u32) { Ok(new_null_array(data_type, rows)) } else { Err(no_values()) };
    };
    let nulls = Nulls::new(&values.nulls, len(kind))?;
    let wrong = || Error::invalid(format!("it is {}, and {} were given", sql_name(data_type), kind_name(kind)));
    Ok(match (data_type, kind) {
        (DataType::Boolean, Kind::Booleans(given)) => Arc::new(BooleanArray::new(given.values.clone().into(), nulls.buffer())),
        (DataType::Int8, _) => ints::<Int8Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Int16, _) => ints::<Int16Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Int32, _) => ints::<Int32Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Int64, _) => ints::<Int64Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::UInt8, _) => ints::<UInt8Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::UInt16, _) => ints::<UInt16Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::UInt32, _) => ints::<UInt32Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::UInt64, _) => uints(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Float64, _) => doubles(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Float32, _) => floats(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Utf8, Kind::Strings(given)) => Arc::new(StringArray::from_iter(nulls.over(&given.values))),
        (DataType::Binary, Kind::Binaries(given)) => Arc::new(BinaryArray::from_iter(nulls.over(&given.values))),
        (DataType::Decimal128(precision, scale), _) => decimals(kind, &nulls, *precision, *scale).ok_or_else(wrong)??,
        (DataType::Date32, Kind::Ints(_)) => ints::<Date32Type>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Date32, Kind::Strings(given)) => {
            let date = |text: &String| Date32Type::parse(text);
            Arc::new(parsed::<Date32Type>(&given.values, &nulls, date, "a date, such as 2013-03-01")?)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, None), Kind::Ints(_)) => ints::<TimestampMicrosecondType>(kind, &nulls).ok_or_else(wrong)??,
        (DataType::Timestamp(TimeUnit::Microsecond, None), Kind::Strings(given)) => {
            let moment = |text: &String| EventTime::parse(text).ok().map(|moment| moment.0);
            Arc::new(parsed::<TimestampMicrosecondType>(&given.values, &nulls, moment, "a moment, such as 2013-03-01T12:00:00Z")?)
        }
        (DataType::List(items), Kind::Lists(given)) => lists(given, items, &nulls)?,
        _ => return Err(wrong()),
    })
}

fn no_values() -> Error {
    Error::invalid("it has no values")
}

/// How many there are in a column.
pub fn rows(values: &proto::Values) -> usize {
    values.values.as_ref().map_or(values.nulls.len(), len)
}

fn len(kind: &Kind) -> usize {
    match kind {
        Kind::Booleans(given) => given.values.len(),
        Kind::Ints(given) => given.values.len(),
        Kind::Uints(given) => given.values.len(),
        Kind::Floats(given) => given.values.len(),
        Kind::Doubles(given) => given.values.len(),
        Kind::Strings(given) => given.values.len(),
        Kind::Binaries(given) => given.values.len(),
        Kind::Intervals(given) => given.values.len(),
        Kind::Lists(given) => given.lengths.len(),
    }
}

/// Which rows have no value.
struct Nulls(Option<Vec<bool>>);

impl Nulls {
    fn new(places: &[u32], rows: usize) -> Result<Nulls, Error> {
        if places.is_empty() {
            return Ok(Nulls(None));
        }
        let mut valid = vec![true; rows];
        for &place in places {
            *valid.get_mut(place as usize).ok_or_else(|| Error::invalid(format!("a NULL in row {place}, of {rows}")))? = false;
        }
        Ok(Nulls(Some(valid)))
    }

    fn is_null(&self, row: usize) -> bool {
        self.0.as_ref().is_some_and(|valid| !valid[row])
    }

    fn buffer(&self) -> Option<NullBuffer> {
        self.0.clone().map(NullBuffer::from)
    }

    fn over<'a, T>(&'a self, values: &'a [T]) -> impl Iterator<Item = Option<&'a T>> {
        values.iter().enumerate().map(|(row, value)| (!self.is_null(row)).then_some(value))
    }

    /// Converts each value that is there, or says which one is not `wanted`.
    fn convert<T: std::fmt::Debug, V>(&self, values: &[T], wanted: &str, convert: impl Fn(&T) -> Option<V>) -> Result<Vec<Option<V>>, Error> {
        let one = |(row, value): (usize, Option<&T>)| match value {
            None => Ok(None),
            Some(value) => convert(value).map(Some).ok_or_else(|| Error::invalid(format!("row {row} has {value:?}, which is not {wanted}"))),
        };
        self.over(values).enumerate().map(one).collect()
    }
}

fn parsed<T: ArrowPrimitiveType>(
    values: &[String],
    nulls: &Nulls,
    parse: impl Fn(&String) -> Option<T::Native>,
    wanted: &str,
) -> Result<PrimitiveArray<T>, Error> {
    Ok(PrimitiveArray::<T>::from_iter(nulls.convert(values, wanted, parse)?))
}

/// Integers of one width out of any that fit.
fn ints<T: ArrowPrimitiveType>(kind: &Kind, nulls: &Nulls) -> Option<Result<ArrayRef, Error>>
where
    T::Native: TryFrom<i64> + TryFrom<u64>,
{
    let wanted = format!("of type {}", sql_name(&T::DATA_TYPE));
    let values = match kind {
        Kind::Ints(given) => nulls.convert(&given.values, &wanted, |value| T::Native::try_from(*value).ok()),
        Kind::Uints(given) => nulls.convert(&given.values, &wanted, |value| T::Native::try_from(*value).ok()),
        _ => return None,
    };
    Some(values.map(|values| Arc::new(PrimitiveArray::<T>::from_iter(values)) as ArrayRef))
}

fn uints(kind: &Kind, nulls: &Nulls) -> Option<Result<ArrayRef, Error>> {
    let values = match kind {
        Kind::Ints(given) => nulls.convert(&given.values, "of type BIGINT UNSIGNED", |value| u64::try_from(*value).ok()),
        Kind::Uints(given) => nulls.convert(&given.values, "of type BIGINT UNSIGNED", |value| Some(*value)),
        _ => return None,
    };
    Some(values.map(|values| Arc::new(UInt64Array::from_iter(values)) as ArrayRef))
}

/// The largest number up to which a double holds every whole one.
const WHOLE_DOUBLE_MAX: i64 = 1 << 53;

#[allow(clippy::cast_precision_loss, reason = "checked")]
fn doubles(kind: &Kind, nulls: &Nulls) -> Option<Result<ArrayRef, Error>> {
    let wanted = "a number that a DOUBLE holds";
    let values = match kind {
        Kind::Doubles(given) => nulls.convert(&given.values, wanted, |value| Some(*value)),
        Kind::Floats(given) => nulls.convert(&given.values, wanted, |value| Some(f64::from(*value))),
        Kind::Ints(given) => {
            nulls.convert(&given.values, wanted, |value| (-WHOLE_DOUBLE_MAX..=WHOLE_DOUBLE_MAX).contains(value).then_some(*value as f64))
        }
        Kind::Uints(given) => nulls.convert(&given.values, wanted, |value| (*value <= WHOLE_DOUBLE_MAX as u64).then_some(*value as f64)),
        _ => return None,
    };
    Some(values.map(|values| Arc::new(Float64Array::from_iter(values)) as ArrayRef))
}

/// Only what a REAL holds exactly: a client that has doubles says so by declaring DOUBLE.
#[allow(clippy::cast_possible_truncation, reason = "checked")]
fn floats(kind: &Kind, nulls: &Nulls) -> Option<Result<ArrayRef, Error>> {
    let narrow = |value: f64| {
        let narrow = value as f32;
        (f64::from(narrow) == value || value.is_nan()).then_some(narrow)
    };
    let values = match kind {
        Kind::Floats(given) => nulls.convert(&given.values, "a REAL", |value| Some(*value)),
        Kind::Doubles(given) => nulls.convert(&given.values, "a number that a REAL holds exactly", |value| narrow(*value)),
        _ => return None,
    };
    Some(values.map(|values| Arc::new(Float32Array::from_iter(values)) as ArrayRef))
}

fn decimals(kind: &Kind, nulls: &Nulls, precision: u8, scale: i8) -> Option<Result<ArrayRef, Error>> {
    let wanted = format!("a DECIMAL({precision}, {scale})");
    let decimal = |text: &str| {
        let digits = text.split_once('.').map_or(0, |(_, places)| places.trim_end_matches('0').len());
        // The parser rounds what has more places; here that is a loss.
        (digits <= usize::try_from(scale).unwrap_or(0)).then(|| parse_decimal::<Decimal128Type>(text, precision, scale).ok()).flatten()
    };
    let values = match kind {
        Kind::Strings(given) => nulls.convert(&given.values, &wanted, |text| decimal(text)),
        Kind::Ints(given) => nulls.convert(&given.values, &wanted, |value| decimal(&value.to_string())),
        Kind::Uints(given) => nulls.convert(&given.values, &wanted, |value| decimal(&value.to_string())),
        _ => return None,
    };
    let array = values.and_then(|values| {
        let array = Decimal128Array::from_iter(values).with_precision_and_scale(precision, scale);
        Ok(Arc::new(array.map_err(|error| Error::invalid(error.to_string()))?) as ArrayRef)
    });
    Some(array)
}

fn lists(given: &Lists, items: &FieldRef, nulls: &Nulls) -> Result<ArrayRef, Error> {
    let total = given.lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length as usize)).filter(|total| *total <= VALUES_MAX);
    let total = total.ok_or_else(|| Error::invalid(format!("its lists have more than {VALUES_MAX} items")))?;
    let values = match &given.items {
        Some(given) => array(given, items.data_type())?,
        None => new_null_array(items.data_type(), 0),
    };
    if values.len() != total {
        return Err(Error::invalid(format!("its lists have {total} items by their lengths, and {} were given", values.len())));
    }
    let offsets = OffsetBuffer::from_lengths(given.lengths.iter().map(|&length| length as usize));
    let list = ListArray::try_new(Arc::clone(items), offsets, values, nulls.buffer());
    Ok(Arc::new(list.map_err(|error| Error::invalid(format!("its lists do not fit their type: {error}")))?))
}
