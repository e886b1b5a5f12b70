//! Answers straight into the bytes of the wire.
//!
//! A message of structs has a piece of memory for each name, column and list of statuses, and its length is counted once per level before it is written: for twenty
//! features of one row that is half of what a server does beside reading. Here columns are written as they lie. What is written is what
//! [`GetFeaturesResponse`](lockstep_client::proto::GetFeaturesResponse) would be, which tests hold it to.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use lockstep_client::proto;
use lockstep_model::Error;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::{values, wire_type};

/// Fields that are as long as they say.
const DELIMITED: u32 = 2;

/// Writes a message of one's own within another, as its field `number`; `guess` is how many bytes it will have, about.
pub fn message(out: &mut Vec<u8>, number: u32, guess: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>) -> Result<(), Error> {
    encode_varint(u64::from((number << 3) | DELIMITED), out);
    let (start, room) = (out.len(), encoded_len_varint(guess as u64));
    out.resize(start + room, 0);
    write(out)?;
    let length = out.len() - start - room;
    let needed = encoded_len_varint(length as u64);
    if needed > room {
        out.splice(start..start, std::iter::repeat_n(0, needed - room));
    } else {
        out.drain(start..start + room - needed);
    }
    let mut place = &mut out[start..start + needed];
    encode_varint(length as u64, &mut place);
    Ok(())
}

/// Writes items of a field that lie back to back, nothing where there are none; `size` is what they take together.
pub fn packed<T>(out: &mut Vec<u8>, number: u32, size: usize, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    if size == 0 {
        return;
    }
    encode_varint(u64::from((number << 3) | DELIMITED), out);
    encode_varint(size as u64, out);
    let start = out.len();
    out.reserve(size);
    items.for_each(|item| write(out, item));
    debug_assert_eq!(out.len() - start, size, "what items take was counted otherwise");
}

/// Name and type of a feature, which every answer of it begins with.
///
/// # Errors
/// Internal for a type that no definition can have.
pub fn head(name: &str, data_type: &DataType) -> Result<Vec<u8>, Error> {
    let head = proto::Feature { name: name.to_owned(), r#type: Some(wire_type(data_type)?), ..proto::Feature::default() };
    Ok(head.encode_to_vec())
}

/// Writes a column of values, as the field `number`: what [`values`] would be.
///
/// # Errors
/// As [`values`].
pub fn column(out: &mut Vec<u8>, number: u32, array: &ArrayRef) -> Result<(), Error> {
    let guess = array.len() * 8 + 8;
    match array.data_type() {
        DataType::Float64 => {
            let of = |out: &mut Vec<u8>| {
                let array = array.as_primitive::<Float64Type>();
                let values = (0..array.len()).map(|row| if array.is_null(row) { 0.0 } else { array.value(row) });
                packed(out, 1, array.len() * 8, values, |out, value| out.extend_from_slice(&value.to_le_bytes()));
                Ok(())
            };
            message(out, number, guess, |out| message(out, 5, guess, of).map(|()| nulls(out, array)))
        }
        DataType::Boolean => {
            let of = |out: &mut Vec<u8>| {
                let array = array.as_boolean();
                packed(out, 1, array.len(), array.iter(), |out, value| out.push(u8::from(value.unwrap_or_default())));
                Ok(())
            };
            message(out, number, array.len() + 4, |out| message(out, 1, array.len() + 2, of).map(|()| nulls(out, array)))
        }
        DataType::Utf8 => {
            let of = |out: &mut Vec<u8>| {
                for text in array.as_string::<i32>() {
                    let text = text.unwrap_or_default();
                    encode_varint(u64::from((1 << 3) | DELIMITED), out);
                    encode_varint(text.len() as u64, out);
                    out.extend_from_slice(text.as_bytes());
                }
                Ok(())
            };
            message(out, number, guess, |out| message(out, 6, guess, of).map(|()| nulls(out, array)))
        }
        DataType::Int8 => ints::<Int8Type>(out, number, array),
        DataType::Int16 => ints::<Int16Type>(out, number, array),
        DataType::Int32 => ints::<Int32Type>(out, number, array),
        DataType::Int64 => ints::<Int64Type>(out, number, array),
        DataType::Date32 => ints::<Date32Type>(out, number, array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => ints::<TimestampMicrosecondType>(out, number, array),
        _ => {
            let values = values(array)?;
            encode_varint(u64::from((number << 3) | DELIMITED), out);
            values.encode_length_delimited(out).map_err(|error| Error::internal("a buffer that grows").caused_by(error))
        }
    }
}

fn ints<T: ArrowPrimitiveType>(out: &mut Vec<u8>, number: u32, array: &ArrayRef) -> Result<(), Error>
where
    T::Native: Default + Into<i64>,
{
    let ints = array.as_primitive::<T>();
    let value = |row: usize| -> i64 { if ints.is_null(row) { 0 } else { ints.value(row).into() } };
    let size = (0..ints.len()).map(|row| encoded_len_varint(zigzag(value(row)))).sum::<usize>();
    let of = |out: &mut Vec<u8>| {
        packed(out, 1, size, 0..ints.len(), |out, row| encode_varint(zigzag(value(row)), out));
        Ok(())
    };
    message(out, number, size + 4, |out| message(out, 2, size + 2, of).map(|()| nulls(out, array)))
}

/// As signed numbers are written, so that small ones are short.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The places of NULLs.
fn nulls(out: &mut Vec<u8>, array: &ArrayRef) {
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else { return };
    let places = || (0..array.len()).filter(|&row| nulls.is_null(row)).map(|row| row as u64);
    let size = places().map(encoded_len_varint).sum();
    packed(out, 15, size, places(), |out, place| encode_varint(place, out));
}
