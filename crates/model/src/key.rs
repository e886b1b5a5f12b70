//! The one encoding of keys: entity keys and primary keys alike.
//!
//! A key is a version byte, then each column as a type tag and its value. The encoding is canonical (equal values, equal
//! bytes, whatever the width of the integer or the layout of the string array), self-delimiting (`("1","23")` and
//! `("12","3")` differ), and keeps the order of SQL ascending with NULL first, so that comparing bytes orders events of one moment by
//! primary key. Strings and binaries escape 0x00 as `00 FF` and end with `00 00`. Where a key is embedded
//! in a longer one, it goes in with its length before it.

mod columns;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

use crate::{Error, EventTime};

pub use columns::decode;

/// The version of this encoding, first byte of every key.
pub const VERSION: u8 = 1;

const NULL: u8 = 0;
const BOOLEAN: u8 = 1;
const SIGNED: u8 = 2;
const UNSIGNED: u8 = 3;
const DECIMAL: u8 = 4;
const DATE: u8 = 5;
const TIMESTAMP: u8 = 6;
const STRING: u8 = 7;
const BINARY: u8 = 8;

/// Builds one key value by value.
#[derive(Debug, Clone)]
pub struct KeyWriter {
    bytes: Vec<u8>,
}

impl Default for KeyWriter {
    fn default() -> Self {
        KeyWriter::new()
    }
}

impl KeyWriter {
    /// An empty key.
    pub fn new() -> Self {
        KeyWriter { bytes: vec![VERSION] }
    }

    /// Appends a string.
    pub fn push_str(&mut self, value: &str) {
        push_escaped(&mut self.bytes, STRING, value.as_bytes());
    }

    /// Appends a signed integer of any width.
    pub fn push_i64(&mut self, value: i64) {
        push_signed(&mut self.bytes, SIGNED, value);
    }

    /// The key so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Keys of the rows of a batch, in one buffer.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    has_null: Vec<bool>,
}

impl Keys {
    /// Encodes row by row the key made of `columns`, all of one length.
    pub fn encode(columns: &[ArrayRef]) -> Result<Keys, Error> {
        let rows = columns.first().map_or(0, |column| column.len());
        let writers = columns.iter().map(|column| writer(column)).collect::<Result<Vec<_>, _>>()?;
        let mut keys = Keys { bytes: Vec::with_capacity(rows * 16), ends: Vec::with_capacity(rows), has_null: Vec::with_capacity(rows) };
        for row in 0..rows {
            keys.bytes.push(VERSION);
            let mut has_null = false;
            for (column, write) in columns.iter().zip(&writers) {
                if column.is_null(row) {
                    keys.bytes.push(NULL);
                    has_null = true;
                } else {
                    write(&mut keys.bytes, row);
                }
            }
            keys.ends.push(keys.bytes.len());
            keys.has_null.push(has_null);
        }
        Ok(keys)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key of a row.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }

    /// Whether any column of the row's key is NULL: such a row belongs to no entity.
    pub fn has_null(&self, row: usize) -> bool {
        self.has_null[row]
    }
}

/// Whether columns of this type can be part of a key. Floats cannot: their equality is not that of their bytes.
pub fn is_key_type(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Date32 | Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary
        | BinaryView => true,
        Timestamp(unit, _) => *unit == TimeUnit::Microsecond,
        Decimal128(_, _) => true,
        _ => false,
    }
}

type Writer<'a> = Box<dyn Fn(&mut Vec<u8>, usize) + 'a>;

/// Resolves a column's type once, so that the row loop does not.
fn writer(column: &ArrayRef) -> Result<Writer<'_>, Error> {
    macro_rules! integer {
        ($type:ty, $push:ident, $tag:expr, $wide:ty) => {{
            let values = column.as_primitive::<$type>().values();
            Box::new(move |out: &mut Vec<u8>, row: usize| $push(out, $tag, <$wide>::from(values[row])))
        }};
    }
    macro_rules! text {
        ($array:expr, $tag:expr) => {{
            let values = $array;
            Box::new(move |out: &mut Vec<u8>, row: usize| push_escaped(out, $tag, values.value(row).as_ref()))
        }};
    }
    Ok(match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean();
            Box::new(move |out, row| out.extend_from_slice(&[BOOLEAN, u8::from(values.value(row))]))
        }
        DataType::Int8 => integer!(Int8Type, push_signed, SIGNED, i64),
        DataType::Int16 => integer!(Int16Type, push_signed, SIGNED, i64),
        DataType::Int32 => integer!(Int32Type, push_signed, SIGNED, i64),
        DataType::Int64 => integer!(Int64Type, push_signed, SIGNED, i64),
        DataType::UInt8 => integer!(UInt8Type, push_unsigned, UNSIGNED, u64),
        DataType::UInt16 => integer!(UInt16Type, push_unsigned, UNSIGNED, u64),
        DataType::UInt32 => integer!(UInt32Type, push_unsigned, UNSIGNED, u64),
        DataType::UInt64 => integer!(UInt64Type, push_unsigned, UNSIGNED, u64),
        DataType::Date32 => integer!(Date32Type, push_signed, DATE, i64),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integer!(TimestampMicrosecondType, push_signed, TIMESTAMP, i64),
        DataType::Decimal128(_, _) => {
            let values = column.as_primitive::<Decimal128Type>().values();
            Box::new(move |out, row| {
                out.push(DECIMAL);
                out.extend_from_slice(&((values[row] as u128) ^ (1 << 127)).to_be_bytes());
            })
        }
        DataType::Utf8 => text!(column.as_string::<i32>(), STRING),
        DataType::LargeUtf8 => text!(column.as_string::<i64>(), STRING),
        DataType::Utf8View => text!(column.as_string_view(), STRING),
        DataType::Binary => text!(column.as_binary::<i32>(), BINARY),
        DataType::LargeBinary => text!(column.as_binary::<i64>(), BINARY),
        DataType::BinaryView => text!(column.as_binary_view(), BINARY),
        other => return Err(Error::invalid(format!("a key cannot have a column of type {other}"))),
    })
}

fn push_signed(out: &mut Vec<u8>, tag: u8, value: i64) {
    push_unsigned(out, tag, value as u64 ^ (1 << 63));
}

fn push_unsigned(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    out.extend_from_slice(&value.to_be_bytes());
}

fn push_escaped(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    for &byte in value {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// A key as people read it: its values, separated by `,`. For messages; bytes that are no key are shown in hexadecimal.
pub fn display(key: &[u8]) -> String {
    let shown = || values_of(key)?.into_iter().map(Value::shown).collect::<Option<Vec<_>>>();
    match shown() {
        Some(values) => values.join(","),
        None => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// How many bytes the key of the first `columns` values takes that `bytes` begins with; `None` where it begins with none.
pub fn prefix_len(bytes: &[u8], columns: usize) -> Option<usize> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    for _ in 0..columns {
        let (&tag, after) = rest.split_first()?;
        rest = value_of(tag, after)?.1;
    }
    Some(bytes.len() - rest.len())
}

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Null,
    Boolean(bool),
    Signed(i64),
    Unsigned(u64),
    Decimal(i128),
    Date(i64),
    Timestamp(i64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

impl Value {
    /// As people read it; `None` where it is no text.
    fn shown(self) -> Option<String> {
        Some(match self {
            Value::Null => "NULL".to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Signed(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            Value::Decimal(value) => value.to_string(),
            Value::Date(days) => {
                let date = i32::try_from(days).ok().and_then(chrono::NaiveDate::from_epoch_days);
                date.map_or_else(|| days.to_string(), |date| date.to_string())
            }
            Value::Timestamp(micros) => EventTime(micros).to_string(),
            Value::Text(bytes) | Value::Bytes(bytes) => String::from_utf8(bytes).ok()?,
        })
    }
}

/// The values of a key, in order; `None` where the bytes are no key.
fn values_of(key: &[u8]) -> Option<Vec<Value>> {
    let mut rest = key.strip_prefix(&[VERSION])?;
    let mut values = Vec::new();
    while let Some((&tag, after)) = rest.split_first() {
        let (value, after) = value_of(tag, after)?;
        values.push(value);
        rest = after;
    }
    Some(values)
}

fn value_of(tag: u8, rest: &[u8]) -> Option<(Value, &[u8])> {
    let fixed = |rest: &'_ [u8]| rest.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    let signed = |rest: &'_ [u8]| fixed(rest).map(|value| (value ^ (1 << 63)) as i64);
    Some(match tag {
        NULL => (Value::Null, rest),
        BOOLEAN => (Value::Boolean(*rest.first()? != 0), &rest[1..]),
        SIGNED => (Value::Signed(signed(rest)?), &rest[8..]),
        UNSIGNED => (Value::Unsigned(fixed(rest)?), &rest[8..]),
        DATE => (Value::Date(signed(rest)?), &rest[8..]),
        TIMESTAMP => (Value::Timestamp(signed(rest)?), &rest[8..]),
        DECIMAL => {
            let value = u128::from_be_bytes(*rest.first_chunk::<16>()?) ^ (1 << 127);
            (Value::Decimal(value as i128), &rest[16..])
        }
        STRING | BINARY => {
            let (value, rest) = unescape(rest)?;
            (if tag == STRING { Value::Text(value) } else { Value::Bytes(value) }, rest)
        }
        _ => return None,
    })
}

fn unescape(rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        let byte = *rest.get(at)?;
        at += 1;
        if byte == 0 {
            match *rest.get(at)? {
                0 => return Some((value, &rest[at + 1..])),
                0xff => at += 1,
                _ => return None,
            }
        }
        value.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn keys(columns: Vec<ArrayRef>) -> Vec<Vec<u8>> {
        let keys = Keys::encode(&columns).unwrap();
        (0..keys.len()).map(|row| keys.get(row).to_vec()).collect()
    }

    #[test]
    fn columns_cannot_run_into_each_other() {
        let a = keys(vec![Arc::new(StringArray::from(vec!["1"])), Arc::new(StringArray::from(vec!["23"]))]);
        let b = keys(vec![Arc::new(StringArray::from(vec!["12"])), Arc::new(StringArray::from(vec!["3"]))]);
        assert_ne!(a, b);
    }

    #[test]
    fn a_key_is_found_before_what_follows_it() {
        let both = keys(vec![Arc::new(StringArray::from(vec!["a\0b"])), Arc::new(Int64Array::from(vec![7]))]);
        let first = keys(vec![Arc::new(StringArray::from(vec!["a\0b"]))]);
        assert_eq!(prefix_len(&both[0], 1), Some(first[0].len()));
        assert_eq!(prefix_len(&[both[0].as_slice(), &[1, 2, 3]].concat(), 2), Some(both[0].len()));
        assert_eq!((prefix_len(&both[0], 3), prefix_len(b"", 0)), (None, None));
    }

    #[test]
    fn width_and_layout_do_not_matter() {
        let narrow = keys(vec![Arc::new(Int32Array::from(vec![-7]))]);
        assert_eq!(narrow, keys(vec![Arc::new(Int64Array::from(vec![-7]))]));
        let text = keys(vec![Arc::new(StringArray::from(vec!["a\0b"]))]);
        assert_eq!(text, keys(vec![Arc::new(StringViewArray::from(vec!["a\0b"]))]));
        assert_eq!(display(&text[0]), "a\0b");
    }

    #[test]
    fn bytes_keep_the_order_of_values() {
        let ints = keys(vec![Arc::new(Int64Array::from(vec![None, Some(i64::MIN), Some(-1), Some(0), Some(1 << 53), Some(i64::MAX)]))]);
        assert!(ints.is_sorted(), "{ints:?}");
        let texts = keys(vec![Arc::new(StringArray::from(vec!["", "\0", "\0\0", "\0a", "a", "a\0", "aa", "b"]))]);
        assert!(texts.is_sorted() && texts.windows(2).all(|pair| pair[0] != pair[1]), "{texts:?}");
    }

    #[test]
    fn a_null_is_seen_and_shown() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("N1"), None]));
        let keys = Keys::encode(&[column]).unwrap();
        assert_eq!([keys.has_null(0), keys.has_null(1)], [false, true]);
        assert_eq!(display(keys.get(1)), "NULL");
    }
}
