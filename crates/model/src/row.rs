//! The one encoding of a row of columns: what a stored event carries, and what "the same content" is compared by.
//!
//! A row is a null bitmap (one bit a column, set where NULL), then each value that is not NULL, in column order: integers, dates and
//! year-month intervals as zigzag or plain LEB128, floats, timestamps, durations and the other intervals little-endian
//! at their own width, strings and binaries with their length before them. A list is its length doubled, plus one if a
//! bitmap of its NULL elements follows, then its elements; a struct is encoded like a row.
//!
//! The encoding is canonical: equal values give equal bytes (−0.0 is written as 0.0, and every NaN as one). It is not
//! self-describing: whoever stores rows writes a version, and knows the schema.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, Int64Array};
//! use arrow::datatypes::{DataType, Field, Schema};
//! use lockstep_model::row::RowCodec;
//!
//! let codec = RowCodec::new(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))).unwrap();
//! let columns: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![Some(7), None]))];
//! let encoder = codec.encoder(&columns).unwrap();
//! let mut rows = [Vec::new(), Vec::new()];
//! encoder.write(0, &mut rows[0]);
//! encoder.write(1, &mut rows[1]);
//! assert_eq!(codec.decode(rows.iter().map(Vec::as_slice)).unwrap(), columns);
//! ```

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};

use crate::Error;
use crate::codec::CodecError;

pub use encode::RowEncoder;

/// Version of the encoding; part of the fingerprint of whatever stores rows.
pub const VERSION: u8 = 1;

/// Encodes and decodes the rows of one schema.
#[derive(Debug, Clone)]
pub struct RowCodec {
    schema: SchemaRef,
}

impl RowCodec {
    /// A codec for rows of `schema`. Columns are taken by position; their names do not matter.
    ///
    /// # Errors
    /// Invalid where a column has a type that rows cannot carry.
    pub fn new(schema: SchemaRef) -> Result<Self, Error> {
        for field in schema.fields() {
            if !is_row_type(field.data_type()) {
                return Err(Error::invalid(format!("column `{}` has type {}, which a stored row cannot carry", field.name(), field.data_type())));
            }
        }
        Ok(RowCodec { schema })
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Resolves the types of `columns` once, so that the row loop does not.
    ///
    /// # Errors
    /// Internal where the columns are not those of the schema, in number, type or length.
    pub fn encoder<'a>(&self, columns: &'a [ArrayRef]) -> Result<RowEncoder<'a>, Error> {
        let fields = self.schema.fields();
        let same_types = fields.len() == columns.len() && fields.iter().zip(columns).all(|(field, column)| field.data_type() == column.data_type());
        if !same_types || columns.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
            let found = columns.iter().map(|column| format!("{}[{}]", column.data_type(), column.len())).collect::<Vec<_>>().join(", ");
            return Err(Error::internal(format!("rows of another schema than the codec's: {found}")));
        }
        encode::encoder(columns)
    }

    /// Decodes rows into one array a column.
    ///
    /// # Errors
    /// Where bytes do not decode: truncated, too long, or with a value out of its type's range.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, CodecError> {
        decode::decode(self.schema.fields(), rows.into_iter())
    }
}

/// Whether a row can carry values of this type.
pub fn is_row_type(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Utf8 | Binary | Date32 => true,
        Decimal128(_, _) | Interval(_) => true,
        Timestamp(unit, _) | Duration(unit) => *unit == TimeUnit::Microsecond,
        List(element) => is_row_type(element.data_type()),
        Struct(fields) => !fields.is_empty() && fields.iter().all(|field: &std::sync::Arc<Field>| is_row_type(field.data_type())),
        _ => false,
    }
}

/// Bytes of a bitmap of `bits` bits.
fn bitmap_len(bits: usize) -> usize {
    bits.div_ceil(8)
}
