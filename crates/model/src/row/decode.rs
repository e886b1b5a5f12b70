//! From rows to columns, a column at a time: each row has a cursor, and a column's loop moves all of them past its value, so that the type is
//! looked at once a column and not once a value.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, ListArray, PrimitiveArray, StringArray, StructArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, FieldRef, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTime, IntervalDayTimeType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::bitmap_len;
use crate::codec::{CodecError, Reader};

pub(super) fn decode<'a>(fields: &Fields, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, CodecError> {
    let mut cursors = rows.map(|row| Cursor::new(row, fields.len())).collect::<Result<Vec<_>, _>>()?;
    let columns = fields.iter().enumerate().map(|(index, field)| {
        let mut column = column(field.data_type(), cursors.len())?;
        column.rows(index, &mut cursors)?;
        column.finish()
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    match cursors.iter().all(|cursor| cursor.values.is_empty()) {
        true => Ok(columns),
        false => Err(CodecError::new("a row longer than its columns")),
    }
}

/// A row being read: its null bitmap, and the values not read yet.
struct Cursor<'a> {
    nulls: &'a [u8],
    values: Reader<'a>,
}

impl<'a> Cursor<'a> {
    fn new(row: &'a [u8], columns: usize) -> Result<Self, CodecError> {
        let mut values = Reader::new(row);
        Ok(Cursor { nulls: read_bitmap(&mut values, columns)?, values })
    }
}

/// A bitmap of `bits` bits, of which the padding is zero.
fn read_bitmap<'a>(from: &mut Reader<'a>, bits: usize) -> Result<&'a [u8], CodecError> {
    let bitmap = from.take(bitmap_len(bits))?;
    match bitmap.last() {
        Some(&last) if !bits.is_multiple_of(8) && last >> (bits % 8) != 0 => Err(CodecError::new("a null bitmap longer than its columns")),
        _ => Ok(bitmap),
    }
}

/// `index` is below the number of bits the bitmap was read for.
#[inline(always)]
fn is_null(bitmap: &[u8], index: usize) -> bool {
    bitmap[index / 8] >> (index % 8) & 1 == 1
}

/// A column being built. The loops are provided methods, so that each type has its own copy of them.
trait Column {
    /// Reads one value.
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError>;

    /// Appends what stands in the place of NULL.
    fn null(&mut self);

    /// Which of the values are NULL; the loops keep it as long as the column.
    fn nulls(&mut self) -> &mut Nulls;

    /// The array, of all that was appended.
    fn finish(self: Box<Self>) -> Result<ArrayRef, CodecError>;

    /// Reads column `index` of each row.
    fn rows(&mut self, index: usize, rows: &mut [Cursor<'_>]) -> Result<(), CodecError> {
        if rows.iter().any(|row| is_null(row.nulls, index)) {
            rows.iter_mut().try_for_each(|row| self.maybe(is_null(row.nulls, index), &mut row.values))
        } else {
            rows.iter_mut().try_for_each(|row| self.value(&mut row.values))?;
            self.nulls().push_valid(rows.len());
            Ok(())
        }
    }

    /// Reads the elements of a list.
    fn elements(&mut self, count: usize, nulls: Option<&[u8]>, from: &mut Reader<'_>) -> Result<(), CodecError> {
        if let Some(nulls) = nulls {
            (0..count).try_for_each(|index| self.maybe(is_null(nulls, index), from))
        } else {
            (0..count).try_for_each(|_| self.value(from))?;
            self.nulls().push_valid(count);
            Ok(())
        }
    }

    /// Reads one value, or NULL.
    fn maybe(&mut self, null: bool, from: &mut Reader<'_>) -> Result<(), CodecError> {
        if null {
            self.null();
            self.nulls().push_null();
            return Ok(());
        }
        self.value(from)?;
        self.nulls().push_valid(1);
        Ok(())
    }
}

fn column(data_type: &DataType, rows: usize) -> Result<Box<dyn Column>, CodecError> {
    macro_rules! primitive {
        ($type:ty, $read:expr) => {
            Box::new(Primitive::<$type, _> { data_type: data_type.clone(), values: Vec::with_capacity(rows), nulls: Nulls::default(), read: $read })
        };
    }
    macro_rules! narrow {
        ($type:ty, $read:ident) => {
            primitive!($type, |from: &mut Reader<'_>| {
                let out_of_range = CodecError::new("an integer out of its type's range");
                <$type as ArrowPrimitiveType>::Native::try_from(from.$read()?).map_err(|_| out_of_range)
            })
        };
    }
    let fixed_i64 = |from: &mut Reader<'_>| from.array().map(i64::from_le_bytes);
    Ok(match data_type {
        DataType::Boolean => Box::new(Booleans { values: Vec::with_capacity(rows), nulls: Nulls::default() }),
        DataType::Int8 => narrow!(Int8Type, signed),
        DataType::Int16 => narrow!(Int16Type, signed),
        DataType::Int32 => narrow!(Int32Type, signed),
        DataType::Int64 => primitive!(Int64Type, |from: &mut Reader<'_>| from.signed()),
        DataType::UInt8 => narrow!(UInt8Type, varint),
        DataType::UInt16 => narrow!(UInt16Type, varint),
        DataType::UInt32 => narrow!(UInt32Type, varint),
        DataType::UInt64 => primitive!(UInt64Type, |from: &mut Reader<'_>| from.varint()),
        DataType::Float32 => primitive!(Float32Type, |from: &mut Reader<'_>| from.array().map(f32::from_le_bytes)),
        DataType::Float64 => primitive!(Float64Type, |from: &mut Reader<'_>| from.array().map(f64::from_le_bytes)),
        DataType::Decimal128(precision, _) => {
            let limit = 10u128.checked_pow(u32::from(*precision)).unwrap_or(u128::MAX);
            primitive!(Decimal128Type, move |from: &mut Reader<'_>| {
                let value = signed_128(from)?;
                if value.unsigned_abs() < limit { Ok(value) } else { Err(CodecError::new("a decimal out of its precision")) }
            })
        }
        DataType::Date32 => narrow!(Date32Type, signed),
        DataType::Timestamp(_, _) => primitive!(TimestampMicrosecondType, fixed_i64),
        DataType::Duration(_) => primitive!(DurationMicrosecondType, fixed_i64),
        DataType::Interval(IntervalUnit::YearMonth) => narrow!(IntervalYearMonthType, signed),
        DataType::Interval(IntervalUnit::DayTime) => primitive!(IntervalDayTimeType, |from: &mut Reader<'_>| {
            Ok(IntervalDayTime::new(i32::from_le_bytes(from.array()?), i32::from_le_bytes(from.array()?)))
        }),
        DataType::Interval(IntervalUnit::MonthDayNano) => primitive!(IntervalMonthDayNanoType, |from: &mut Reader<'_>| {
            let (months, days) = (i32::from_le_bytes(from.array()?), i32::from_le_bytes(from.array()?));
            Ok(IntervalMonthDayNano::new(months, days, i64::from_le_bytes(from.array()?)))
        }),
        DataType::Utf8 => Box::new(Texts(Slices::with_capacity(rows))),
        DataType::Binary => Box::new(Binaries(Slices::with_capacity(rows))),
        DataType::List(element) => {
            let elements = column(element.data_type(), rows)?;
            Box::new(Lists { element: element.clone(), ends: Ends::with_capacity(rows), elements, nulls: Nulls::default() })
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| column(field.data_type(), rows)).collect::<Result<_, _>>()?;
            Box::new(Structs { fields: fields.clone(), columns, nulls: Nulls::default() })
        }
        _ => return Err(CodecError::new("a type that rows do not carry")),
    })
}

/// Validity, for as long as nothing is NULL only a count.
#[derive(Default)]
struct Nulls {
    len: usize,
    valid: Vec<bool>,
}

impl Nulls {
    fn push_valid(&mut self, count: usize) {
        self.len += count;
        if !self.valid.is_empty() {
            self.valid.resize(self.len, true);
        }
    }

    fn push_null(&mut self) {
        self.valid.resize(self.len, true);
        self.valid.push(false);
        self.len += 1;
    }

    fn finish(self) -> Option<NullBuffer> {
        (!self.valid.is_empty()).then(|| NullBuffer::from(self.valid))
    }
}

struct Primitive<T: ArrowPrimitiveType, R> {
    data_type: DataType,
    values: Vec<T::Native>,
    nulls: Nulls,
    read: R,
}

impl<T: ArrowPrimitiveType, R: Fn(&mut Reader<'_>) -> Result<T::Native, CodecError>> Column for Primitive<T, R> {
    #[inline(always)]
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError> {
        self.values.push((self.read)(from)?);
        Ok(())
    }

    fn null(&mut self) {
        self.values.push(T::Native::default());
    }

    fn nulls(&mut self) -> &mut Nulls {
        &mut self.nulls
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, CodecError> {
        let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(self.values), self.nulls.finish()).map_err(|_| malformed())?;
        // Sets precision and scale, or the time zone.
        Ok(Arc::new(array.with_data_type(self.data_type)))
    }
}

struct Booleans {
    values: Vec<bool>,
    nulls: Nulls,
}

impl Column for Booleans {
    #[inline(always)]
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError> {
        let value = match from.byte()? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::new("a boolean that is neither 0 nor 1")),
        };
        self.values.push(value);
        Ok(())
    }

    fn null(&mut self) {
        self.values.push(false);
    }

    fn nulls(&mut self) -> &mut Nulls {
        &mut self.nulls
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, CodecError> {
        Ok(Arc::new(BooleanArray::new(BooleanBuffer::from(self.values), self.nulls.finish())))
    }
}

/// Where each slice or list ends, as Arrow wants it: starting with 0, at most `i32::MAX`.
struct Ends(Vec<i32>);

impl Ends {
    fn with_capacity(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Ends(ends)
    }

    #[inline(always)]
    fn push(&mut self, end: usize) -> Result<(), CodecError> {
        self.0.push(i32::try_from(end).map_err(|_| CodecError::new("more than 2 GiB in one column"))?);
        Ok(())
    }

    fn repeat(&mut self) {
        self.0.extend(self.0.last().copied());
    }

    fn len_total(&self) -> usize {
        self.0.last().map_or(0, |&end| end as usize)
    }

    fn finish(self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(self.0))
    }
}

struct Slices {
    bytes: Vec<u8>,
    ends: Ends,
    nulls: Nulls,
}

impl Slices {
    fn with_capacity(rows: usize) -> Self {
        Slices { bytes: Vec::with_capacity(rows * 8), ends: Ends::with_capacity(rows), nulls: Nulls::default() }
    }

    #[inline(always)]
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError> {
        self.bytes.extend_from_slice(from.bytes()?);
        self.ends.push(self.bytes.len())
    }
}

struct Texts(Slices);

impl Column for Texts {
    #[inline(always)]
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError> {
        self.0.value(from)
    }

    fn null(&mut self) {
        self.0.ends.repeat();
    }

    fn nulls(&mut self) -> &mut Nulls {
        &mut self.0.nulls
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, CodecError> {
        let Slices { bytes, ends, nulls } = self.0;
        let array = StringArray::try_new(ends.finish(), bytes.into(), nulls.finish());
        Ok(Arc::new(array.map_err(|_| CodecError::new("text that is not UTF-8"))?))
    }
}

struct Binaries(Slices);

impl Column for Binaries {
    #[inline(always)]
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError> {
        self.0.value(from)
    }

    fn null(&mut self) {
        self.0.ends.repeat();
    }

    fn nulls(&mut self) -> &mut Nulls {
        &mut self.0.nulls
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, CodecError> {
        let Slices { bytes, ends, nulls } = self.0;
        Ok(Arc::new(BinaryArray::try_new(ends.finish(), bytes.into(), nulls.finish()).map_err(|_| malformed())?))
    }
}

struct Lists {
    element: FieldRef,
    ends: Ends,
    elements: Box<dyn Column>,
    nulls: Nulls,
}

impl Column for Lists {
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError> {
        let header = from.varint()?;
        let (count, has_null) = (header >> 1, header & 1 == 1);
        // An element is at least one byte, or one bit where it is NULL: what is left bounds what a corrupt count can make us allocate.
        let most = from.rest().len().saturating_mul(if has_null { 8 } else { 1 });
        let count = usize::try_from(count).ok().filter(|&count| count <= most).ok_or(CodecError::new("length past the end"))?;
        let nulls = if has_null { Some(read_bitmap(from, count)?) } else { None };
        self.elements.elements(count, nulls, from)?;
        self.ends.push(self.ends.len_total() + count)
    }

    fn null(&mut self) {
        self.ends.repeat();
    }

    fn nulls(&mut self) -> &mut Nulls {
        &mut self.nulls
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, CodecError> {
        let elements = self.elements.finish()?;
        let array = ListArray::try_new(self.element, self.ends.finish(), elements, self.nulls.finish());
        Ok(Arc::new(array.map_err(|_| malformed())?))
    }
}

struct Structs {
    fields: Fields,
    columns: Vec<Box<dyn Column>>,
    nulls: Nulls,
}

impl Column for Structs {
    fn value(&mut self, from: &mut Reader<'_>) -> Result<(), CodecError> {
        let nulls = read_bitmap(from, self.columns.len())?;
        self.columns.iter_mut().enumerate().try_for_each(|(index, column)| column.maybe(is_null(nulls, index), from))
    }

    fn null(&mut self) {
        for column in &mut self.columns {
            column.null();
            column.nulls().push_null();
        }
    }

    fn nulls(&mut self) -> &mut Nulls {
        &mut self.nulls
    }

    fn finish(self: Box<Self>) -> Result<ArrayRef, CodecError> {
        let columns = self.columns.into_iter().map(|column| column.finish()).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(StructArray::try_new(self.fields, columns, self.nulls.finish()).map_err(|_| malformed())?))
    }
}

fn malformed() -> CodecError {
    CodecError::new("values that the schema does not allow")
}

fn signed_128(from: &mut Reader<'_>) -> Result<i128, CodecError> {
    let mut raw = 0u128;
    for shift in (0..128).step_by(7) {
        let byte = from.byte()?;
        let bits = u128::from(byte & 0x7f);
        if shift == 126 && bits > 3 {
            break;
        }
        raw |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((raw >> 1) as i128 ^ -((raw & 1) as i128));
        }
    }
    Err(CodecError::new("integer of more than 128 bits"))
}
