//! `one_hot(value, 'a', 'b', …)`: a list with a place for each value that is named, 1 at that of the value and 0 elsewhere.
//!
//! A value that is not named gives zeros alone. NULL gives NULL, since what is missing is no other value; `one_hot(coalesce(x, ''), …)` gives zeros for it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cmp::eq;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::{constant, wrong};

/// Its name in definitions.
pub const NAME: &str = "one_hot";

/// Most values that can be named.
const VALUES_MAX: usize = 1_000;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OneHot {
    signature: Signature,
}

impl Default for OneHot {
    fn default() -> Self {
        OneHot { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for OneHot {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let Some((value, named)) = arguments.split_first().filter(|(_, named)| !named.is_empty()) else {
            return Err(wrong("`one_hot` takes a value, and the values that have a place: one_hot(carrier, 'UA', 'AA')".to_owned()));
        };
        if named.len() > VALUES_MAX {
            return Err(wrong(format!("`one_hot` names {} values, and {VALUES_MAX} are the most · write hash_bucket(…, n)", named.len())));
        }
        let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let common = match value {
            text if is_text(text) => DataType::Utf8,
            DataType::Boolean => DataType::Boolean,
            whole if whole.is_integer() => DataType::Int64,
            other => {
                return Err(wrong(format!(
                    "`one_hot` takes a text, a whole number or a truth value, and this is of type {other} · write one_hot(CAST(… AS VARCHAR), …)"
                )));
            }
        };
        let fits = |data_type: &DataType| match &common {
            DataType::Utf8 => is_text(data_type),
            DataType::Boolean => *data_type == DataType::Boolean,
            _ => data_type.is_integer(),
        };
        match named.iter().position(|named| !fits(named)) {
            Some(at) => {
                Err(wrong(format!("`one_hot` of a value of type {value} names one of type {} · write a constant of the value's type", named[at])))
            }
            None => Ok(vec![common; arguments.len()]),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let mut seen = HashSet::new();
        for at in 1..args.arg_fields.len() {
            match constant(&args, at) {
                Some(value) if value.is_null() => {
                    return Err(wrong("`one_hot` has no place for NULL · write one_hot(coalesce(…, ''), '', …)".to_owned()));
                }
                Some(value) if !seen.insert(value) => return Err(wrong(format!("`one_hot` names {value} twice · name it once"))),
                Some(_) => {}
                None => return Err(wrong("the values that `one_hot` names are constants · write one_hot(carrier, 'UA', 'AA')".to_owned())),
            }
        }
        Ok(Arc::new(Field::new(NAME, list_type(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((value, named)) = args.args.split_first() else { return internal_err!("one_hot without arguments") };
        let values = value.to_array(args.number_rows)?;
        let mut places = vec![0.0_f32; values.len() * named.len()];
        for (place, named) in named.iter().enumerate() {
            let ColumnarValue::Scalar(constant) = named else { return internal_err!("one_hot was planned with constants") };
            let equal = eq(&values, &constant.to_scalar()?)?;
            for row in (0..values.len()).filter(|&row| equal.is_valid(row) && equal.value(row)) {
                places[row * named_len(&args) + place] = 1.0;
            }
        }
        Ok(ColumnarValue::Array(lists(&values, places, named.len())?))
    }
}

/// How many values are named.
fn named_len(args: &ScalarFunctionArgs) -> usize {
    args.args.len() - 1
}

fn list_type() -> DataType {
    DataType::new_list(DataType::Float32, true)
}

/// Lists of one length, NULL where the value is.
fn lists(values: &ArrayRef, places: Vec<f32>, length: usize) -> Result<ArrayRef> {
    let DataType::List(element) = list_type() else { return internal_err!("one_hot gives lists") };
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(length, values.len()));
    Ok(Arc::new(ListArray::try_new(element, offsets, Arc::new(Float32Array::from(places)), values.logical_nulls())?))
}
