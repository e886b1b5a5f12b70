//! `sum` and `avg` of integers, durations and decimals.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, Decimal128Type, DecimalType, Int64Type, UInt64Type,
};
use lockstep_model::codec::{CodecError, Reader, put_varint};

use super::column::retyped;
use super::exact::integer::Integer;
use super::kernel::{COUNT_MAX, Kernel, Way, finished, finished_with, fold_values};
use super::{Finished, Rows};

/// `sum` or `avg` of a type that is an integer inside.
#[derive(Debug, Clone)]
pub(crate) struct IntegerSum {
    pub(crate) average: bool,
    pub(crate) argument: DataType,
}

/// A count and an exact sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IntegerTotal {
    count: u64,
    sum: Integer,
}

impl IntegerSum {
    /// The type of the sum, or of the mean, of values of `argument`; `None` where there is none.
    pub(crate) fn result(average: bool, argument: &DataType) -> Option<DataType> {
        match argument {
            DataType::Int64 | DataType::UInt64 if average => Some(DataType::Float64),
            DataType::Int64 | DataType::UInt64 | DataType::Duration(_) => Some(argument.clone()),
            &DataType::Decimal128(precision, scale) => {
                let (more, finer) = if average { (4, 4) } else { (10, 0) };
                Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION.min(precision + more), DECIMAL128_MAX_SCALE.min(scale + finer)))
            }
            _ => None,
        }
    }

    /// The finished value as an integer of the result's type; `None` where it does not fit.
    fn value(&self, state: &IntegerTotal, result: &DataType) -> Option<i128> {
        let value = match (self.average, &self.argument, result) {
            (false, _, _) => state.sum.to_i128()?,
            (true, DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => {
                state.sum.scaled_quotient(10u64.pow((to - from) as u32), state.count)?
            }
            (true, _, _) => state.sum.scaled_quotient(1, state.count)?,
        };
        match *result {
            DataType::UInt64 => u64::try_from(value).is_ok(),
            DataType::Decimal128(precision, scale) => Decimal128Type::validate_decimal_precision(value, precision, scale).is_ok(),
            _ => i64::try_from(value).is_ok(),
        }
        .then_some(value)
    }
}

impl Kernel for IntegerSum {
    type State = IntegerTotal;
    const INVERTIBLE: bool = true;

    fn name(&self) -> String {
        if self.average { "avg" } else { "sum" }.into()
    }

    fn return_type(&self) -> DataType {
        IntegerSum::result(self.average, &self.argument).unwrap_or(DataType::Null)
    }

    fn fold(&self, states: &mut [IntegerTotal], rows: Rows<'_>, way: Way) {
        match &self.argument {
            DataType::UInt64 => fold_column::<UInt64Type>(states, rows, rows.args[0].as_primitive(), way),
            DataType::Decimal128(..) => fold_column::<Decimal128Type>(states, rows, rows.args[0].as_primitive(), way),
            // A duration is an Int64 with a unit.
            _ => {
                let column = retyped(rows.args[0].to_data(), &DataType::Int64);
                fold_column::<Int64Type>(states, rows, column.as_primitive(), way);
            }
        }
    }

    fn merge(&self, state: &mut IntegerTotal, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        let count = bytes.varint()?;
        if count == 0 || count > COUNT_MAX {
            return Err(CodecError::new("count out of range"));
        }
        way.count(&mut state.count, count)?;
        state.sum.add_encoded(bytes, way == Way::Out)
    }

    fn absorb(&self, state: &mut IntegerTotal, other: &IntegerTotal, way: Way) {
        way.steps(&mut state.count, other.count);
        state.sum.absorb(other.sum, way == Way::Out);
    }

    fn encode(&self, state: &IntegerTotal, out: &mut Vec<u8>) {
        if state.count > 0 {
            put_varint(out, state.count);
            state.sum.encode(out);
        }
    }

    fn finish(&self, states: &[IntegerTotal]) -> Finished {
        let result = self.return_type();
        let seen = |state: &IntegerTotal| state.count > 0;
        if result == DataType::Float64 {
            let values = states.iter().map(|state| seen(state).then(|| state.sum.quotient(state.count)));
            return finished(Arc::new(values.collect::<Float64Array>()));
        }
        let values: Vec<Option<i128>> = states.iter().map(|state| seen(state).then(|| self.value(state, &result)).flatten()).collect();
        let failed = states.iter().zip(&values).map(|(state, value)| seen(state) && value.is_none()).collect();
        finished_with(build(&result, &values), failed)
    }
}

fn fold_column<T: ArrowPrimitiveType>(states: &mut [IntegerTotal], rows: Rows<'_>, column: &PrimitiveArray<T>, way: Way)
where
    T::Native: Into<i128>,
{
    fold_values(states, rows, column.nulls(), column.values(), |state, value| {
        way.step(&mut state.count);
        match way {
            Way::In => state.sum.add(value.into()),
            Way::Out => state.sum.subtract(value.into()),
        }
    });
}

/// Values that are known to fit the type.
fn build(result: &DataType, values: &[Option<i128>]) -> ArrayRef {
    match result {
        DataType::UInt64 => Arc::new(values.iter().map(|value| value.map(|v| v as u64)).collect::<PrimitiveArray<UInt64Type>>()),
        DataType::Decimal128(..) => Arc::new(values.iter().copied().collect::<PrimitiveArray<Decimal128Type>>().with_data_type(result.clone())),
        _ => {
            let values = values.iter().map(|value| value.map(|v| v as i64)).collect::<PrimitiveArray<Int64Type>>();
            retyped(values.into_data(), result)
        }
    }
}
