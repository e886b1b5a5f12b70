//! Keys back into columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Int64Array, StringArray, UInt64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type};

use super::{Value, values_of};
use crate::Error;

/// The columns that `keys` were made of, given their types: what [`super::Keys::encode`] gives back.
///
/// # Errors
/// Data where bytes are no key of these types.
pub fn decode<'a>(types: &[DataType], keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, Error> {
    let no_key = || Error::data("a key is damaged, or of other types than its entity's · verify the store, or backfill the view anew");
    let mut columns: Vec<Vec<Value>> = vec![Vec::new(); types.len()];
    for key in keys {
        let values = values_of(key).filter(|values| values.len() == types.len()).ok_or_else(no_key)?;
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    columns.into_iter().zip(types).map(|(values, data_type)| column(values, data_type).ok_or_else(no_key)).collect()
}

/// An array of `data_type`; `None` where a value is of another kind, or does not fit.
fn column(values: Vec<Value>, data_type: &DataType) -> Option<ArrayRef> {
    macro_rules! wide {
        ($array:ty, $variant:ident) => {{
            let items = values.into_iter().map(|value| match value {
                Value::Null => Some(None),
                Value::$variant(value) => Some(Some(value)),
                _ => None,
            });
            Arc::new(items.collect::<Option<$array>>()?) as ArrayRef
        }};
    }
    use DataType::*;
    let wide = match data_type {
        Boolean => wide!(BooleanArray, Boolean),
        Int8 | Int16 | Int32 | Int64 => wide!(Int64Array, Signed),
        UInt8 | UInt16 | UInt32 | UInt64 => wide!(UInt64Array, Unsigned),
        Date32 => wide!(Int64Array, Date),
        Timestamp(_, _) => wide!(Int64Array, Timestamp),
        Decimal128(precision, scale) => {
            let decimals = wide!(Decimal128Array, Decimal);
            let decimals = decimals.as_primitive::<Decimal128Type>().clone();
            return Some(Arc::new(decimals.with_precision_and_scale(*precision, *scale).ok()?));
        }
        Utf8 | LargeUtf8 | Utf8View => texts(values)?,
        _ => bytes(values)?,
    };
    if *data_type == Date32 {
        let days = cast_with_options(&wide, &Int32, &STRICT).ok()?;
        return cast_with_options(&days, &Date32, &STRICT).ok();
    }
    cast_with_options(&wide, data_type, &STRICT).ok()
}

const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

fn texts(values: Vec<Value>) -> Option<ArrayRef> {
    let text = |value: Value| match value {
        Value::Null => Some(None),
        Value::Text(bytes) => String::from_utf8(bytes).ok().map(Some),
        _ => None,
    };
    Some(Arc::new(values.into_iter().map(text).collect::<Option<StringArray>>()?))
}

fn bytes(values: Vec<Value>) -> Option<ArrayRef> {
    let bytes = |value: Value| match value {
        Value::Null => Some(None),
        Value::Bytes(bytes) => Some(Some(bytes)),
        _ => None,
    };
    Some(Arc::new(values.into_iter().map(bytes).collect::<Option<BinaryArray>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keys;
    use arrow::array::{Array, Date32Array, Int8Array, StringViewArray, TimestampMicrosecondArray, UInt16Array};

    #[test]
    fn columns_come_back_as_they_went_in() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)])),
            Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX])),
            Arc::new(UInt16Array::from(vec![0, 1, u16::MAX])),
            Arc::new(UInt64Array::from(vec![0, 1, u64::MAX])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(Date32Array::from(vec![-1, 0, 20_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(5)]).with_timezone("+00:00")),
            Arc::new(Decimal128Array::from(vec![-5, 0, 99_999]).with_precision_and_scale(9, 2).unwrap()),
            Arc::new(StringArray::from(vec!["", "a\0b", "ß"])),
            Arc::new(StringViewArray::from(vec![Some("x"), None, Some("\0")])),
            Arc::new(BinaryArray::from(vec![&[0u8, 255, 0][..], &[], &[7]])),
        ];
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let keys = Keys::encode(&columns).unwrap();
        let decoded = decode(&types, (0..keys.len()).map(|row| keys.get(row))).unwrap();
        for (one, other) in columns.iter().zip(&decoded) {
            assert_eq!(one.to_data(), other.to_data());
        }
    }

    #[test]
    fn other_types_and_other_bytes_are_errors() {
        let keys = Keys::encode(&[Arc::new(Int64Array::from(vec![300])) as ArrayRef]).unwrap();
        for types in [&[DataType::Utf8][..], &[DataType::Int8], &[DataType::Int64, DataType::Int64], &[]] {
            assert!(decode(types, [keys.get(0)]).is_err(), "{types:?}");
        }
        for cut in 0..keys.get(0).len() {
            assert!(decode(&[DataType::Int64], [&keys.get(0)[..cut]]).is_err(), "{cut}");
        }
    }
}
