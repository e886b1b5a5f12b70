//! `hash_bucket(value, n)`: the value's hash, modulo n, so that a model can be given values of which there are too many to name.
//!
//! The hash is XXH3 with 64 bits and seed 0, of the value's bytes. They are frozen:
//!
//! | type | bytes |
//! |---|---|
//! | text, bytes | as they are |
//! | whole number, date, timestamp (µs) | zigzag LEB128: 0, 1 and 300 are `00`, `02` and `d8 04` |
//! | unsigned whole number, boolean | LEB128 |
//! | float | big-endian bits without trailing zero bytes, at least one byte; −0.0 is 0.0, and every NaN is one |
//! | decimal | sign, length and magnitude of the digits |
//!
//! So a column of another width hashes alike, and `xxhash.xxh3_64_intdigest("UA") % 16` is the bucket of a text in Python.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use xxhash_rust::xxh3::xxh3_64;

use super::{constant, wrong};
use crate::aggregate::column::ValueType;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HashBucket {
    signature: Signature,
}

impl Default for HashBucket {
    fn default() -> Self {
        HashBucket { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HashBucket {
    fn name(&self) -> &str {
        "hash_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [value, buckets] = arguments else {
            return Err(wrong("`hash_bucket` takes a value and how many buckets there are: hash_bucket(carrier, 64)".to_owned()));
        };
        if ValueType::new(value).is_none() {
            return Err(wrong(format!("`hash_bucket` takes one value, and this is of type {value} · hash an element of it")));
        }
        if !buckets.is_integer() {
            return Err(wrong(NO_BUCKETS.to_owned()));
        }
        Ok(vec![value.clone(), DataType::Int64])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match constant(&args, 1) {
            Some(ScalarValue::Int64(Some(1..))) => Ok(Arc::new(Field::new(self.name(), DataType::Int64, true))),
            _ => Err(wrong(NO_BUCKETS.to_owned())),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, ColumnarValue::Scalar(ScalarValue::Int64(Some(buckets @ 1..)))] = args.args.as_slice() else {
            return internal_err!("hash_bucket was planned with other arguments");
        };
        let values = value.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(buckets_of(&values, *buckets)?))
    }
}

const NO_BUCKETS: &str = "the second argument of `hash_bucket` is how many buckets there are, a constant from 1 · write hash_bucket(carrier, 64)";

/// The bucket of each value; NULL for NULL.
fn buckets_of(values: &ArrayRef, buckets: i64) -> Result<ArrayRef> {
    let Some(of) = ValueType::new(values.data_type()) else { return internal_err!("hash_bucket of {}", values.data_type()) };
    let view = of.view(values);
    let mut bytes = Vec::new();
    let bucket = |row: usize| {
        if !view.is_valid(row) {
            return None;
        }
        bytes.clear();
        view.put(row, &mut bytes);
        // Less than `buckets`, which is no more than an i64 holds.
        Some((xxh3_64(&bytes) % buckets.unsigned_abs()) as i64)
    };
    Ok(Arc::new((0..values.len()).map(bucket).collect::<Int64Array>()))
}
