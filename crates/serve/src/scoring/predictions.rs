//! From a model's outputs to predictions.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, StringArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use lockstep_model::Error;
use lockstep_score::{Tensor, Values};

use super::Inputs;
use super::bind::outputs::Predicted;

/// A column for each prediction, of as many rows as were asked for.
pub(super) fn predictions(model: &str, bound: &[Predicted], outputs: &[Tensor], inputs: &Inputs) -> Result<Vec<ArrayRef>, Error> {
    let rows = inputs.asked();
    if inputs.rows.is_empty() {
        return Ok(bound.iter().map(|predicted| new_null_array(&predicted.data_type, rows)).collect());
    }
    // Which row of the tensors a row that was asked for is.
    let mut places: Vec<Option<usize>> = vec![None; rows];
    for (place, &row) in inputs.rows.iter().enumerate() {
        let of_row = places.get_mut(row as usize).ok_or_else(|| Error::internal(format!("row {row} of {rows} went into a model")))?;
        *of_row = Some(place);
    }
    bound.iter().map(|predicted| column(model, predicted, outputs, &places, inputs.rows.len())).collect()
}

fn column(model: &str, predicted: &Predicted, outputs: &[Tensor], places: &[Option<usize>], rows: usize) -> Result<ArrayRef, Error> {
    let name = &predicted.name;
    let given = |what: String| {
        Error::data(format!("model `{model}` gave {what} for prediction `{name}` · its file says otherwise · look at the file, and export it again"))
    };
    let output = outputs.get(predicted.output).ok_or_else(|| given("no output".to_owned()))?;
    if output.shape.first() != Some(&rows) {
        return Err(given(format!("{:?} values, of {rows} rows,", output.shape)));
    }
    let width: usize = output.shape[1..].iter().product();
    if count(&output.values) != rows * width {
        return Err(given(format!("{} values where there are {} by its dimensions", count(&output.values), rows * width)));
    }
    let column = match &predicted.data_type {
        DataType::List(element) => {
            let at = places.iter().flatten().flat_map(|place| (0..width).map(move |value| Some(place * width + value)));
            let values = taken(&output.values, at);
            let lengths = places.iter().map(|place| place.map_or(0, |_| width));
            let valid = NullBuffer::from(places.iter().map(Option::is_some).collect::<Vec<bool>>());
            let values = converted(values, element.data_type()).map_err(given)?;
            Arc::new(ListArray::new(Arc::clone(element), OffsetBuffer::from_lengths(lengths), values, Some(valid)))
        }
        data_type => {
            if predicted.at >= width {
                return Err(given(format!("{width} values a row, of which there is none at {},", predicted.at)));
            }
            let values = taken(&output.values, places.iter().map(|place| place.map(|place| place * width + predicted.at)));
            converted(values, data_type).map_err(given)?
        }
    };
    Ok(column)
}

fn count(values: &Values) -> usize {
    match values {
        Values::Float32(values) => values.len(),
        Values::Float64(values) => values.len(),
        Values::Int32(values) => values.len(),
        Values::Int64(values) => values.len(),
        Values::Bool(values) => values.len(),
        Values::Text(values) => values.len(),
    }
}

/// The values at these places, NULL where there is none.
fn taken(values: &Values, at: impl Iterator<Item = Option<usize>>) -> ArrayRef {
    match values {
        Values::Float32(values) => Arc::new(at.map(|at| at.map(|at| values[at])).collect::<Float32Array>()),
        Values::Float64(values) => Arc::new(at.map(|at| at.map(|at| values[at])).collect::<Float64Array>()),
        Values::Int32(values) => Arc::new(at.map(|at| at.map(|at| i64::from(values[at]))).collect::<Int64Array>()),
        Values::Int64(values) => Arc::new(at.map(|at| at.map(|at| values[at])).collect::<Int64Array>()),
        Values::Bool(values) => Arc::new(at.map(|at| at.map(|at| values[at])).collect::<BooleanArray>()),
        Values::Text(values) => Arc::new(at.map(|at| at.map(|at| values[at].as_str())).collect::<StringArray>()),
    }
}

/// Values as a type that was declared of them; which value it has not, where there is one.
fn converted(values: ArrayRef, data_type: &DataType) -> Result<ArrayRef, String> {
    if let (DataType::Boolean, Some(whole)) = (data_type, values.as_any().downcast_ref::<Int64Array>())
        && let Some(other) = whole.iter().flatten().find(|value| !(0..=1).contains(value))
    {
        return Err(format!("{other}, which is neither true nor false,"));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&values, data_type, &strict).map_err(|error| format!("a value that is none of its type ({error})"))
}
