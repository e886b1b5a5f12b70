//! Arrays onto the wire.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bytes::Bytes;
use lockstep_client::proto::values::Values as Kind;
use lockstep_client::proto::{self, Binaries, Booleans, Doubles, Floats, Interval, Intervals, Ints, Lists, Strings, UInts};
use lockstep_model::Error;

/// A column of values. What stands where a value is NULL is nothing's: zero, or empty.
///
/// # Errors
/// Internal for a type that no definition can have.
pub fn values(array: &ArrayRef) -> Result<proto::Values, Error> {
    if array.data_type() == &DataType::Null {
        return Ok(proto::Values { values: None, nulls: (0..array.len() as u32).collect() });
    }
    let nulls = match array.nulls() {
        Some(nulls) if nulls.null_count() > 0 => (0..array.len()).filter(|&row| nulls.is_null(row)).map(|row| row as u32).collect(),
        _ => Vec::new(),
    };
    Ok(proto::Values { values: Some(kind(array)?), nulls })
}

fn kind(array: &ArrayRef) -> Result<Kind, Error> {
    Ok(match array.data_type() {
        DataType::Boolean => Kind::Booleans(Booleans { values: array.as_boolean().iter().map(Option::unwrap_or_default).collect() }),
        DataType::Int8 => ints::<Int8Type>(array),
        DataType::Int16 => ints::<Int16Type>(array),
        DataType::Int32 => ints::<Int32Type>(array),
        DataType::Int64 => ints::<Int64Type>(array),
        DataType::Date32 => ints::<Date32Type>(array),
        DataType::Timestamp(TimeUnit::Second, _) => ints::<TimestampSecondType>(array),
        DataType::Timestamp(TimeUnit::Millisecond, _) => ints::<TimestampMillisecondType>(array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => ints::<TimestampMicrosecondType>(array),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => ints::<TimestampNanosecondType>(array),
        DataType::Duration(TimeUnit::Second) => ints::<DurationSecondType>(array),
        DataType::Duration(TimeUnit::Millisecond) => ints::<DurationMillisecondType>(array),
        DataType::Duration(TimeUnit::Microsecond) => ints::<DurationMicrosecondType>(array),
        DataType::Duration(TimeUnit::Nanosecond) => ints::<DurationNanosecondType>(array),
        DataType::UInt8 => uints::<UInt8Type>(array),
        DataType::UInt16 => uints::<UInt16Type>(array),
        DataType::UInt32 => uints::<UInt32Type>(array),
        DataType::UInt64 => uints::<UInt64Type>(array),
        DataType::Float32 => Kind::Floats(Floats { values: primitives::<Float32Type>(array).collect() }),
        DataType::Float64 => Kind::Doubles(Doubles { values: primitives::<Float64Type>(array).collect() }),
        DataType::Decimal128(..) => {
            let decimals = array.as_primitive::<Decimal128Type>();
            let digits = |row: usize| if decimals.is_null(row) { String::new() } else { decimals.value_as_string(row) };
            Kind::Strings(Strings { values: (0..decimals.len()).map(digits).collect() })
        }
        DataType::Utf8 => {
            Kind::Strings(Strings { values: array.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect() })
        }
        DataType::LargeUtf8 | DataType::Utf8View => kind(&as_type(array, &DataType::Utf8)?)?,
        DataType::Binary => {
            let bytes = |value: Option<&[u8]>| Bytes::copy_from_slice(value.unwrap_or_default());
            Kind::Binaries(Binaries { values: array.as_binary::<i32>().iter().map(bytes).collect() })
        }
        DataType::LargeBinary | DataType::BinaryView => kind(&as_type(array, &DataType::Binary)?)?,
        DataType::Interval(_) => {
            let interval = |row: usize| {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                Interval { months: value.months, days: value.days, nanos: value.nanoseconds }
            };
            Kind::Intervals(Intervals {
                values: (0..array.len()).map(|row| if array.is_null(row) { Interval::default() } else { interval(row) }).collect(),
            })
        }
        DataType::List(_) => lists(array)?,
        other => return Err(Error::internal(format!("the wire has no type {other}"))),
    })
}

fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, Error> {
    cast(array, data_type).map_err(|error| Error::internal(format!("{} as {data_type}", array.data_type())).caused_by(error))
}

/// Lists back to back: a NULL one is empty, whatever lies under it.
fn lists(array: &ArrayRef) -> Result<Kind, Error> {
    let lists = array.as_list::<i32>();
    let length = |row: usize| if lists.is_null(row) { 0 } else { lists.value_length(row) as u32 };
    let lengths: Vec<u32> = (0..lists.len()).map(length).collect();
    let offsets = lists.value_offsets();
    let dense = lists.nulls().is_none_or(|nulls| (0..lists.len()).all(|row| nulls.is_valid(row) || lists.value_length(row) == 0));
    let items = if dense {
        let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
        lists.values().slice(first, last - first)
    } else {
        let parts: Vec<ArrayRef> = (0..lists.len()).filter(|&row| lists.is_valid(row)).map(|row| lists.value(row)).collect();
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        match parts.is_empty() {
            true => lists.values().slice(0, 0),
            false => arrow::compute::concat(&parts).map_err(|error| Error::internal("lists of one column are of one type").caused_by(error))?,
        }
    };
    Ok(Kind::Lists(Box::new(Lists { lengths, items: Some(Box::new(values(&items)?)) })))
}

fn primitives<T: ArrowPrimitiveType>(array: &ArrayRef) -> impl Iterator<Item = T::Native> + '_
where
    T::Native: Default,
{
    let array: &PrimitiveArray<T> = array.as_primitive::<T>();
    // Under a NULL lies what a kernel left there, which is nobody's business.
    (0..array.len()).map(|row| if array.is_null(row) { T::Native::default() } else { array.value(row) })
}

fn ints<T: ArrowPrimitiveType>(array: &ArrayRef) -> Kind
where
    T::Native: Default + Into<i64>,
{
    Kind::Ints(Ints { values: primitives::<T>(array).map(Into::into).collect() })
}

fn uints<T: ArrowPrimitiveType>(array: &ArrayRef) -> Kind
where
    T::Native: Default + Into<u64>,
{
    Kind::Uints(UInts { values: primitives::<T>(array).map(Into::into).collect() })
}
