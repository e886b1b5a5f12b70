//! From columns to rows.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use super::bitmap_len;
use crate::Error;
use crate::codec::{put_bytes, put_signed, put_varint};

/// Writes the rows of one batch.
pub struct RowEncoder<'a> {
    columns: Vec<Column<'a>>,
}

impl RowEncoder<'_> {
    /// Appends the encoding of `row` to `out`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        write_fields(&self.columns, row, out);
    }
}

type Write<'a> = Box<dyn Fn(&mut Vec<u8>, usize) + Send + Sync + 'a>;

struct Column<'a> {
    nulls: Option<&'a NullBuffer>,
    write: Write<'a>,
}

impl Column<'_> {
    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }
}

pub(super) fn encoder(columns: &[ArrayRef]) -> Result<RowEncoder<'_>, Error> {
    Ok(RowEncoder { columns: columns.iter().map(column).collect::<Result<_, _>>()? })
}

fn column(array: &ArrayRef) -> Result<Column<'_>, Error> {
    Ok(Column { nulls: array.nulls(), write: writer(array)? })
}

fn write_fields(columns: &[Column<'_>], row: usize, out: &mut Vec<u8>) {
    let bitmap = out.len();
    out.resize(bitmap + bitmap_len(columns.len()), 0);
    for (index, column) in columns.iter().enumerate() {
        if column.is_null(row) {
            out[bitmap + index / 8] |= 1 << (index % 8);
        } else {
            (column.write)(out, row);
        }
    }
}

fn write_elements(elements: &Column<'_>, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
    let has_null = elements.nulls.is_some() && range.clone().any(|at| elements.is_null(at));
    put_varint(out, (range.len() as u64) << 1 | u64::from(has_null));
    let bitmap = out.len();
    if has_null {
        out.resize(bitmap + bitmap_len(range.len()), 0);
    }
    for (index, at) in range.enumerate() {
        if has_null && elements.is_null(at) {
            out[bitmap + index / 8] |= 1 << (index % 8);
        } else {
            (elements.write)(out, at);
        }
    }
}

fn writer(array: &ArrayRef) -> Result<Write<'_>, Error> {
    macro_rules! primitive {
        ($type:ty, $put:expr) => {{
            let values = array.as_primitive::<$type>().values();
            Box::new(move |out: &mut Vec<u8>, row: usize| $put(out, values[row]))
        }};
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(move |out, row| out.push(u8::from(values.value(row))))
        }
        DataType::Int8 => primitive!(Int8Type, |out, v| put_signed(out, i64::from(v))),
        DataType::Int16 => primitive!(Int16Type, |out, v| put_signed(out, i64::from(v))),
        DataType::Int32 => primitive!(Int32Type, |out, v| put_signed(out, i64::from(v))),
        DataType::Int64 => primitive!(Int64Type, put_signed),
        DataType::UInt8 => primitive!(UInt8Type, |out, v| put_varint(out, u64::from(v))),
        DataType::UInt16 => primitive!(UInt16Type, |out, v| put_varint(out, u64::from(v))),
        DataType::UInt32 => primitive!(UInt32Type, |out, v| put_varint(out, u64::from(v))),
        DataType::UInt64 => primitive!(UInt64Type, put_varint),
        DataType::Float32 => primitive!(Float32Type, |out: &mut Vec<u8>, v: f32| out.extend_from_slice(&canonical_f32(v).to_le_bytes())),
        DataType::Float64 => primitive!(Float64Type, |out: &mut Vec<u8>, v: f64| out.extend_from_slice(&canonical_f64(v).to_le_bytes())),
        DataType::Decimal128(_, _) => primitive!(Decimal128Type, put_signed_128),
        DataType::Date32 => primitive!(Date32Type, |out, v| put_signed(out, i64::from(v))),
        DataType::Timestamp(_, _) => primitive!(TimestampMicrosecondType, |out: &mut Vec<u8>, v: i64| out.extend_from_slice(&v.to_le_bytes())),
        DataType::Duration(_) => primitive!(DurationMicrosecondType, |out: &mut Vec<u8>, v: i64| out.extend_from_slice(&v.to_le_bytes())),
        DataType::Interval(IntervalUnit::YearMonth) => primitive!(IntervalYearMonthType, |out, v| put_signed(out, i64::from(v))),
        DataType::Interval(IntervalUnit::DayTime) => {
            let values = array.as_primitive::<IntervalDayTimeType>().values();
            Box::new(move |out, row| {
                out.extend_from_slice(&values[row].days.to_le_bytes());
                out.extend_from_slice(&values[row].milliseconds.to_le_bytes());
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            Box::new(move |out, row| {
                out.extend_from_slice(&values[row].months.to_le_bytes());
                out.extend_from_slice(&values[row].days.to_le_bytes());
                out.extend_from_slice(&values[row].nanoseconds.to_le_bytes());
            })
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Box::new(move |out, row| put_bytes(out, values.value(row).as_bytes()))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Box::new(move |out, row| put_bytes(out, values.value(row)))
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let (elements, offsets) = (column(lists.values())?, lists.value_offsets());
            Box::new(move |out, row| write_elements(&elements, offsets[row] as usize..offsets[row + 1] as usize, out))
        }
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter().map(column).collect::<Result<Vec<_>, _>>()?;
            Box::new(move |out, row| write_fields(&fields, row, out))
        }
        other => return Err(Error::internal(format!("a stored row cannot carry {other}"))),
    })
}

/// −0.0 becomes 0.0 and every NaN the quiet one without payload.
fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { value + 0.0 }
}

fn canonical_f32(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value + 0.0 }
}

fn put_signed_128(out: &mut Vec<u8>, value: i128) {
    let mut rest = ((value << 1) ^ (value >> 127)) as u128;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
