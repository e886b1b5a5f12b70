//! Values as a test writes them: one text per value, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_model::EventTime;

/// The text of row `row`: texts in quotes, moments in UTC, and every number so that it reads back to the same bits.
pub fn text(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    match column.data_type() {
        DataType::Utf8 => serde_json::Value::from(column.as_string::<i32>().value(row)).to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => EventTime(column.as_primitive::<TimestampMicrosecondType>().value(row)).to_string(),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            let texts: Vec<String> = (0..items.len()).map(|item| text(&items, item)).collect();
            format!("[{}]", texts.join(", "))
        }
        _ => ArrayFormatter::try_new(column, &FormatOptions::new()).map_or_else(|error| error.to_string(), |shown| shown.value(row).to_string()),
    }
}

/// Whether `expected` is a text of the value in row `row`: the same text, or another that means the same bits.
pub fn is_text_of(expected: &str, column: &ArrayRef, row: usize) -> bool {
    text(column, row) == expected || parse(expected, column.data_type()).is_some_and(|value| value.to_data() == column.slice(row, 1).to_data())
}

/// The value of a text that is of no type that is always written in one way.
fn parse(text: &str, data_type: &DataType) -> Option<ArrayRef> {
    let texts: ArrayRef = match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let moment = EventTime::parse(text).ok()?;
            return Some(Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![moment.0])));
        }
        DataType::Boolean | DataType::Date32 | DataType::Decimal128(..) => Arc::new(StringArray::from(vec![text])),
        numbers if numbers.is_numeric() => Arc::new(StringArray::from(vec![text])),
        _ => return None,
    };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&texts, data_type, &strict).ok().filter(|value| value.is_valid(0))
}

/// Whether two columns hold the same bits.
pub fn same(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.to_data() == b.to_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, ListArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Float64Type, Int64Type};

    #[test]
    fn numbers_are_compared_by_their_bits_however_they_are_written() {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![Some(2.0), Some(0.1 + 0.2), Some(f64::NAN), None]));
        assert!(is_text_of("2", &column, 0) && is_text_of("2.0", &column, 0) && is_text_of("2e0", &column, 0));
        assert_eq!(text(&column, 1), "0.30000000000000004");
        assert!(!is_text_of("0.3", &column, 1) && is_text_of("NaN", &column, 2) && is_text_of("NULL", &column, 3));
        assert!(!is_text_of("NULL", &column, 0) && !is_text_of("0", &column, 3));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        assert!(is_text_of("7", &column, 0) && !is_text_of("7.5", &column, 0));
    }

    #[test]
    fn texts_moments_and_lists_have_one_form_each() {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["NULL", "a \"b\""]));
        assert_eq!([text(&column, 0), text(&column, 1)], ["\"NULL\"", "\"a \\\"b\\\"\""]);
        assert!(!is_text_of("NULL", &column, 0));
        let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_362_139_200_000_000]));
        assert_eq!(text(&column, 0), "2013-03-01T12:00:00Z");
        assert!(is_text_of("2013-03-01 12:00:00", &column, 0));
        let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]));
        assert_eq!(text(&column, 0), "[1, NULL]");
        let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(-0.5)])]));
        assert_eq!(text(&column, 0), "[-0.5]");
    }
}
