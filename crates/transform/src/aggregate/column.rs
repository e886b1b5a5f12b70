//! Columns as canonical values: equal values have equal bytes, whatever the layout of their array.
//!
//! −0.0 is 0.0 and every NaN is one NaN. Fixed-width types of up to 64 bits are *words*: unsigned integers in the order of the
//! values, with NaN greatest. A value's bytes, which states hold and hashes read, are its shortest form:
//!
//! | type | bytes |
//! |---|---|
//! | boolean, unsigned integer | LEB128 |
//! | integer, date, time, timestamp, duration | zigzag LEB128 |
//! | float | big-endian bits without trailing zero bytes, at least one byte |
//! | decimal | sign, length, magnitude ([`super::exact::number`]) |
//! | string, binary | as they are |
//! | list | number of elements, and for each 0 where it is NULL, else 1 + its length and its bytes |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    GenericBinaryArray, GenericStringArray, ListArray, NullBufferBuilder, StringViewArray, make_array, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef};
use lockstep_model::codec::{CodecError, Reader, put_signed, put_varint};

use super::exact::integer::Integer;

/// A type whose values have canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) data_type: DataType,
    pub(crate) shape: Shape,
}

/// How the values of a type are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In up to 64 bits.
    Word(Word),
    /// In 128 bits: a decimal.
    Wide,
    /// Strings (where true) and binaries.
    Bytes { text: bool },
    /// Lists of values of one of these shapes.
    List,
}

/// What the bits of a word mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Signed,
    Unsigned,
    Float32,
    Float64,
}

const SIGN: u64 = 1 << 63;

impl ValueType {
    /// `None` for types that have no canonical bytes (nested ones, dictionaries, wide and narrow decimals).
    pub(crate) fn new(data_type: &DataType) -> Option<Self> {
        use DataType::*;
        let shape = match data_type {
            Boolean | UInt8 | UInt16 | UInt32 | UInt64 => Shape::Word(Word::Unsigned),
            Int8 | Int16 | Int32 | Int64 | Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..) | Duration(_) => Shape::Word(Word::Signed),
            Float32 => Shape::Word(Word::Float32),
            Float64 => Shape::Word(Word::Float64),
            Decimal128(..) => Shape::Wide,
            Utf8 | LargeUtf8 | Utf8View => Shape::Bytes { text: true },
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Shape::Bytes { text: false },
            _ => return None,
        };
        Some(ValueType { data_type: data_type.clone(), shape })
    }

    /// As [`Self::new`], and lists of such values, whose bytes are canonical too but have no order.
    pub(crate) fn or_list(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::List(element) => ValueType::new(element.data_type()).map(|_| ValueType { data_type: data_type.clone(), shape: Shape::List }),
            plain => ValueType::new(plain),
        }
    }

    /// What the elements of a list are.
    fn element(&self) -> Option<(FieldRef, ValueType)> {
        let DataType::List(field) = &self.data_type else { return None };
        Some((Arc::clone(field), ValueType::new(field.data_type())?))
    }

    /// The column's values; the array has this type.
    pub(crate) fn view<'a>(&self, array: &'a ArrayRef) -> View<'a> {
        let cells = match self.shape {
            Shape::List => {
                let lists = array.as_list::<i32>();
                let element = self.element().map(|(_, element)| element.view(lists.values()));
                Cells::Lists(lists.value_offsets(), element.map(Box::new))
            }
            Shape::Word(word) => Cells::Words(word, words(word, array)),
            Shape::Wide => Cells::Wide(array.as_primitive::<arrow::datatypes::Decimal128Type>().values()),
            Shape::Bytes { .. } => Cells::Bytes(array),
        };
        View { nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0), cells }
    }

    /// Refuses bytes that are no value of this type.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), CodecError> {
        match self.shape {
            Shape::Word(_) => self.word(bytes).map(|_| ()),
            Shape::Wide => wide(bytes).map(|_| ()),
            Shape::Bytes { text: true } => std::str::from_utf8(bytes).map(|_| ()).map_err(|_| CodecError::new("string that is not UTF-8")),
            Shape::List => self.elements(bytes).map(|_| ()),
            Shape::Bytes { text: false } => match self.data_type {
                DataType::FixedSizeBinary(width) if bytes.len() != width as usize => Err(CodecError::new("binary of another length")),
                _ => Ok(()),
            },
        }
    }

    /// The array of values whose bytes have been [checked](Self::check).
    pub(crate) fn build<'a>(&self, items: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> ArrayRef {
        match self.shape {
            Shape::Word(_) => self.build_words(items.map(|item| item.and_then(|bytes| self.word(bytes).ok()))),
            Shape::Wide => self.build_wide(items.map(|item| item.and_then(|bytes| wide(bytes).ok()))),
            Shape::Bytes { text } => self.build_bytes(text, items),
            Shape::List => self.build_lists(items),
        }
    }

    /// The elements of a list.
    fn elements<'a>(&self, bytes: &'a [u8]) -> Result<Vec<Option<&'a [u8]>>, CodecError> {
        let (_, element) = self.element().ok_or(CodecError::new("list of no known type"))?;
        let mut reader = Reader::new(bytes);
        let count = reader.varint()?;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(match reader.varint()?.checked_sub(1) {
                None => None,
                Some(len) => {
                    let value = reader.take(usize::try_from(len).map_err(|_| CodecError::new("element too long"))?)?;
                    element.check(value)?;
                    Some(value)
                }
            });
        }
        if reader.is_empty() { Ok(elements) } else { Err(CodecError::new("list of another length")) }
    }

    fn build_lists<'a>(&self, items: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> ArrayRef {
        let len = items.len();
        let Some((field, element)) = self.element() else { return new_null_array(&self.data_type, len) };
        let (mut values, mut lengths, mut valid) = (Vec::new(), Vec::with_capacity(len), NullBufferBuilder::new(len));
        for item in items {
            let elements = item.and_then(|bytes| self.elements(bytes).ok());
            valid.append(elements.is_some());
            lengths.push(elements.as_ref().map_or(0, Vec::len));
            values.extend(elements.into_iter().flatten());
        }
        let built = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), element.build(values.into_iter()), valid.finish());
        built.map_or_else(|_| new_null_array(&self.data_type, len), |lists| Arc::new(lists) as ArrayRef)
    }

    /// The array of these words.
    pub(crate) fn build_words(&self, items: impl ExactSizeIterator<Item = Option<u64>>) -> ArrayRef {
        let Shape::Word(word) = self.shape else { return new_null_array(&self.data_type, items.len()) };
        if self.data_type == DataType::Boolean {
            return Arc::new(items.map(|item| item.map(|bit| bit != 0)).collect::<BooleanArray>());
        }
        let (mut values, mut valid) = (Vec::with_capacity(items.len()), NullBufferBuilder::new(items.len()));
        for item in items {
            values.push(item.map_or(0, |sortable| native(word, sortable)));
            valid.append(item.is_some());
        }
        let len = values.len();
        let buffer = match self.data_type.primitive_width() {
            Some(1) => Buffer::from_iter(values.iter().map(|&v| v as u8)),
            Some(2) => Buffer::from_iter(values.iter().map(|&v| v as u16)),
            Some(4) => Buffer::from_iter(values.iter().map(|&v| v as u32)),
            _ => Buffer::from_vec(values),
        };
        let builder = ArrayData::builder(self.data_type.clone()).len(len).add_buffer(buffer).nulls(valid.finish());
        builder.build().map_or_else(|_| new_null_array(&self.data_type, len), make_array)
    }

    /// The array of these decimals.
    pub(crate) fn build_wide(&self, items: impl Iterator<Item = Option<i128>>) -> ArrayRef {
        Arc::new(items.collect::<Decimal128Array>().with_data_type(self.data_type.clone()))
    }

    fn build_bytes<'a>(&self, text: bool, items: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> ArrayRef {
        if text {
            // Nothing is replaced: states hold checked strings only.
            let items = items.map(|item| item.map(String::from_utf8_lossy));
            return match self.data_type {
                DataType::LargeUtf8 => Arc::new(items.collect::<GenericStringArray<i64>>()),
                DataType::Utf8View => Arc::new(items.collect::<StringViewArray>()),
                _ => Arc::new(items.collect::<GenericStringArray<i32>>()),
            };
        }
        match self.data_type {
            DataType::LargeBinary => Arc::new(items.collect::<GenericBinaryArray<i64>>()),
            DataType::BinaryView => Arc::new(items.collect::<BinaryViewArray>()),
            DataType::FixedSizeBinary(width) => fixed_size(width, items),
            _ => Arc::new(items.collect::<GenericBinaryArray<i32>>()),
        }
    }

    /// Reads a word.
    pub(crate) fn word(&self, bytes: &[u8]) -> Result<u64, CodecError> {
        let Shape::Word(word) = self.shape else { return Err(CodecError::new("value of another type")) };
        let bits = 8 * self.data_type.primitive_width().unwrap_or(0) as u32;
        let mut reader = Reader::new(bytes);
        let (sortable, fits) = match word {
            Word::Unsigned if self.data_type == DataType::Boolean => reader.varint().map(|v| (v, v <= 1))?,
            Word::Unsigned => reader.varint().map(|v| (v, v.checked_shr(bits).unwrap_or(0) == 0))?,
            Word::Signed => reader.signed().map(|v| (sortable_i64(v), fits(v, bits)))?,
            Word::Float32 => return float_bytes::<4>(bytes).map(|raw| sortable_f32(f32::from_be_bytes(raw))),
            Word::Float64 => return float_bytes::<8>(bytes).map(|raw| sortable_f64(f64::from_be_bytes(raw))),
        };
        if fits && reader.is_empty() { Ok(sortable) } else { Err(CodecError::new("value out of range")) }
    }
}

/// Whether a value fits into a signed integer of `bits`.
fn fits(value: i64, bits: u32) -> bool {
    let unused = 64 - bits;
    value << unused >> unused == value
}

/// The values of a column in canonical form.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) nulls: Option<NullBuffer>,
    pub(crate) cells: Cells<'a>,
}

/// The values without their nulls.
#[derive(Debug)]
pub(crate) enum Cells<'a> {
    Words(Word, Vec<u64>),
    Wide(&'a [i128]),
    Bytes(&'a ArrayRef),
    /// Where each list begins, and one more; and the elements of all.
    Lists(&'a [i32], Option<Box<View<'a>>>),
}

impl View<'_> {
    /// Whether the value is not NULL.
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    /// Appends the canonical bytes of a value that is not NULL.
    pub(crate) fn put(&self, row: usize, out: &mut Vec<u8>) {
        match &self.cells {
            Cells::Words(word, words) => put_word(*word, words[row], out),
            Cells::Wide(values) => put_wide(values[row], out),
            Cells::Bytes(array) => out.extend_from_slice(bytes_at(array, row)),
            Cells::Lists(offsets, elements) => {
                let Some(elements) = elements else { return };
                let (mut value, range) = (Vec::new(), offsets[row] as usize..offsets[row + 1] as usize);
                put_varint(out, range.len() as u64);
                for at in range {
                    value.clear();
                    let present = elements.is_valid(at);
                    if present {
                        elements.put(at, &mut value);
                    }
                    put_varint(out, if present { 1 + value.len() as u64 } else { 0 });
                    out.extend_from_slice(&value);
                }
            }
        }
    }
}

/// The bytes of a string or binary.
pub(crate) fn bytes_at(array: &ArrayRef, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).as_bytes(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).as_bytes(),
        DataType::Utf8View => array.as_string_view().value(row).as_bytes(),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => array.as_binary::<i32>().value(row),
    }
}

/// An array's data under another type of the same layout.
pub(crate) fn retyped(data: ArrayData, to: &DataType) -> ArrayRef {
    let len = data.len();
    data.into_builder().data_type(to.clone()).build().map_or_else(|_| new_null_array(to, len), make_array)
}

/// The values of a column as words, in the order of the values.
fn words(word: Word, array: &ArrayRef) -> Vec<u64> {
    if let Some(booleans) = array.as_boolean_opt() {
        return booleans.values().iter().map(u64::from).collect();
    }
    let data = array.to_data();
    match (word, array.data_type().primitive_width()) {
        (Word::Float32, _) => data.buffer::<f32>(0)[..data.len()].iter().map(|&x| sortable_f32(x)).collect(),
        (Word::Float64, _) => data.buffer::<f64>(0)[..data.len()].iter().map(|&x| sortable_f64(x)).collect(),
        (Word::Unsigned, Some(1)) => data.buffer::<u8>(0)[..data.len()].iter().map(|&x| u64::from(x)).collect(),
        (Word::Unsigned, Some(2)) => data.buffer::<u16>(0)[..data.len()].iter().map(|&x| u64::from(x)).collect(),
        (Word::Unsigned, Some(4)) => data.buffer::<u32>(0)[..data.len()].iter().map(|&x| u64::from(x)).collect(),
        (Word::Unsigned, _) => data.buffer::<u64>(0)[..data.len()].to_vec(),
        (Word::Signed, Some(1)) => data.buffer::<i8>(0)[..data.len()].iter().map(|&x| sortable_i64(x.into())).collect(),
        (Word::Signed, Some(2)) => data.buffer::<i16>(0)[..data.len()].iter().map(|&x| sortable_i64(x.into())).collect(),
        (Word::Signed, Some(4)) => data.buffer::<i32>(0)[..data.len()].iter().map(|&x| sortable_i64(x.into())).collect(),
        (Word::Signed, _) => data.buffer::<i64>(0)[..data.len()].iter().map(|&x| sortable_i64(x)).collect(),
    }
}

fn sortable_i64(x: i64) -> u64 {
    x as u64 ^ SIGN
}

fn sortable_f64(x: f64) -> u64 {
    let bits = if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn sortable_f32(x: f32) -> u64 {
    let bits = if x.is_nan() { f32::NAN.to_bits() } else { (x + 0.0).to_bits() };
    u64::from(if bits >> 31 == 0 { bits | 1 << 31 } else { !bits })
}

/// The bits of the value that a word stands for.
fn native(word: Word, sortable: u64) -> u64 {
    match word {
        Word::Unsigned => sortable,
        Word::Signed => sortable ^ SIGN,
        Word::Float64 => {
            if sortable & SIGN == 0 {
                !sortable
            } else {
                sortable ^ SIGN
            }
        }
        Word::Float32 => {
            let sortable = sortable as u32;
            u64::from(if sortable >> 31 == 0 { !sortable } else { sortable ^ 1 << 31 })
        }
    }
}

/// Appends the canonical bytes of a word.
pub(crate) fn put_word(word: Word, sortable: u64, out: &mut Vec<u8>) {
    let bits = native(word, sortable);
    match word {
        Word::Unsigned => put_varint(out, bits),
        Word::Signed => put_signed(out, bits as i64),
        Word::Float32 => put_float(out, &(bits as u32).to_be_bytes()),
        Word::Float64 => put_float(out, &bits.to_be_bytes()),
    }
}

fn put_float(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0) + 1;
    out.extend_from_slice(&bytes[..len]);
}

/// Reads what [`put_float`] wrote, refusing the forms it never writes.
fn float_bytes<const N: usize>(bytes: &[u8]) -> Result<[u8; N], CodecError> {
    let mut raw = [0; N];
    raw.get_mut(..bytes.len()).ok_or(CodecError::new("float of too many bytes"))?.copy_from_slice(bytes);
    if bytes.is_empty() || (bytes.len() > 1 && bytes.last() == Some(&0)) {
        return Err(CodecError::new("float not in its shortest form"));
    }
    Ok(raw)
}

/// Appends the canonical bytes of a decimal.
pub(crate) fn put_wide(value: i128, out: &mut Vec<u8>) {
    let mut integer = Integer::default();
    integer.add(value);
    integer.encode(out);
}

/// Reads a decimal.
pub(crate) fn wide(bytes: &[u8]) -> Result<i128, CodecError> {
    let mut reader = Reader::new(bytes);
    let mut integer = Integer::default();
    integer.add_encoded(&mut reader, false)?;
    integer.to_i128().filter(|_| reader.is_empty()).ok_or(CodecError::new("decimal out of range"))
}

/// All items have the width.
fn fixed_size<'a>(width: i32, items: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let len = items.len();
    let mut builder = FixedSizeBinaryBuilder::with_capacity(len, width);
    for item in items {
        match item {
            Some(bytes) if builder.append_value(bytes).is_ok() => {}
            _ => builder.append_null(),
        }
    }
    let array: FixedSizeBinaryArray = builder.finish();
    Arc::new(array)
}
