//! Expected values made outside Rust, compared bit by bit.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;

use super::super::{Aggregate, Finished};
use super::{bind_text, encoded, state_of};

const CASES: &str = include_str!("../../../../../tests/golden/aggregates/cases.txt");

#[test]
fn aggregates_give_the_values_made_with_exact_fractions() {
    let mut wrong = String::new();
    let mut cases = 0;
    for line in CASES.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let &[call, argument, values, expected] = parts.as_slice() else { panic!("not a case: {line}") };
        let column = column(argument, values);
        let aggregate = bind_text(call, column.data_type()).unwrap_or_else(|error| panic!("{line}: {error}"));
        for (how, finished) in every_way(aggregate.as_ref(), &column) {
            let actual = shown(&finished);
            if actual != expected {
                writeln!(wrong, "{call} | {argument} | {values:.120} | {expected}: {actual} {how}").unwrap();
            }
        }
        cases += 1;
    }
    assert!(cases > 3000, "{cases} cases");
    assert!(wrong.is_empty(), "{} wrong of {cases}:\n{wrong}", wrong.lines().count());
}

/// Whatever is in them: NULLs, nothing, or they themselves NULL.
#[test]
fn one_of_several_lists_comes_back_as_it_is() {
    let numbers = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.5), None]), None, Some(vec![]), Some(vec![Some(-3.0)])]);
    let mut texts = ListBuilder::new(StringBuilder::new());
    texts.append_value([Some("a"), None, Some("")]);
    texts.append_null();
    texts.append_value(Vec::<Option<&str>>::new());
    texts.append_value([Some("long enough to be no short one")]);
    for column in [Arc::new(numbers) as ArrayRef, Arc::new(texts.finish())] {
        for (call, row) in [("first_value", 0), ("nth_value(2)", 1), ("nth_value(3)", 2), ("last_value", 3), ("nth_value(-2) ignore_nulls", 2)] {
            let aggregate = bind_text(call, column.data_type()).unwrap();
            for (how, finished) in every_way(aggregate.as_ref(), &column) {
                assert_eq!(&finished.values, &column.slice(row, 1), "{call} of {}, {how}", column.data_type());
            }
        }
    }
}

/// The value over a column, computed in several orders and splits.
fn every_way(aggregate: &dyn Aggregate, column: &ArrayRef) -> Vec<(&'static str, Finished)> {
    let rows = column.len();
    let forward = state_of(aggregate, column, 0..rows);
    let mut merged = aggregate.groups();
    merged.resize(1);
    for part in [0..rows / 3, rows / 3..rows / 3, rows / 3..rows] {
        let part = state_of(aggregate, column, part);
        merged.merge(0, &encoded(part.as_ref(), 0)).unwrap();
    }
    assert_eq!(aggregate.return_type(), *forward.finish().values.data_type());
    vec![("in order", forward.finish()), ("backwards", state_of(aggregate, column, (0..rows).rev()).finish()), ("merged from parts", merged.finish())]
}

fn shown(finished: &Finished) -> String {
    if finished.errors.as_ref().is_some_and(|errors| errors.value(0)) {
        assert!(finished.values.is_null(0), "a failed value is NULL");
        return "error".into();
    }
    value_text(&finished.values, 0)
}

/// A value as the cases spell it.
pub(super) fn value_text(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    match array.data_type() {
        DataType::Float64 => format!("{:016x}", array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Float32 => format!("{:08x}", array.as_primitive::<Float32Type>().value(row).to_bits()),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value(row).to_string(),
        DataType::Utf8 => json(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => json(array.as_string::<i64>().value(row)),
        DataType::Utf8View => json(array.as_string_view().value(row)),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hex(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hex(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row)),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items: Vec<String> = (0..items.len()).map(|item| value_text(&items, item)).collect();
            format!("[{}]", items.join(" "))
        }
        _ => integer_text(array, row),
    }
}

fn integer_text(array: &ArrayRef, row: usize) -> String {
    macro_rules! first_of {
        ($($t:ty),*) => { $(if let Some(array) = array.as_primitive_opt::<$t>() { return array.value(row).to_string(); })* };
    }
    first_of!(Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, Date32Type, Date64Type, Time32SecondType);
    first_of!(Time64MicrosecondType, TimestampSecondType, TimestampMillisecondType, TimestampMicrosecondType, TimestampNanosecondType);
    first_of!(DurationSecondType, DurationMillisecondType, DurationMicrosecondType, DurationNanosecondType);
    panic!("no text for {}", array.data_type())
}

fn json(value: &str) -> String {
    // As Python writes it: ASCII only.
    let quoted = serde_json::to_string(value).unwrap().replace(' ', "\\u0020");
    quoted.chars().map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) }).collect()
}

fn hex(value: &[u8]) -> String {
    value.iter().fold("x".to_string(), |text, byte| text + &format!("{byte:02x}"))
}

/// The column of a case.
fn column(argument: &str, values: &str) -> ArrayRef {
    let tokens: Vec<Option<&str>> =
        values.split(' ').filter(|token| !token.is_empty()).map(|token| Some(token).filter(|token| *token != "null")).collect();
    let data_type = DataType::from_str(argument).unwrap_or_else(|error| panic!("{argument}: {error}"));
    macro_rules! integers {
        ($($t:ty),*) => { $(if data_type.equals_datatype(&<$t>::DATA_TYPE) {
            return Arc::new(tokens.iter().map(|token| token.map(|t| t.parse().unwrap())).collect::<PrimitiveArray<$t>>());
        })* };
    }
    integers!(Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type, Date32Type, Date64Type, Time32SecondType);
    integers!(Time64MicrosecondType, TimestampSecondType, TimestampMillisecondType, TimestampMicrosecondType);
    integers!(DurationSecondType, DurationMillisecondType, DurationMicrosecondType, DurationNanosecondType);
    let strings = tokens.iter().map(|token| token.map(|t| serde_json::from_str::<String>(t).unwrap()));
    let bytes = tokens.iter().map(|token| token.map(unhex));
    let bits = tokens.iter().map(|token| token.map(|t| u64::from_str_radix(t, 16).unwrap()));
    let integers = tokens.iter().map(|token| token.map(|t| t.parse::<i128>().unwrap()));
    match &data_type {
        DataType::Float64 => Arc::new(bits.map(|bits| bits.map(f64::from_bits)).collect::<Float64Array>()),
        DataType::Float32 => Arc::new(bits.map(|bits| bits.map(|bits| f32::from_bits(bits as u32))).collect::<Float32Array>()),
        DataType::Boolean => Arc::new(tokens.iter().map(|token| token.map(|t| t == "true")).collect::<BooleanArray>()),
        DataType::Decimal128(..) => Arc::new(integers.collect::<Decimal128Array>().with_data_type(data_type)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Arc::new(integers.map(|i| i.map(|i| i as i64)).collect::<TimestampNanosecondArray>().with_data_type(data_type))
        }
        DataType::Utf8 => Arc::new(strings.collect::<StringArray>()),
        DataType::LargeUtf8 => Arc::new(strings.collect::<LargeStringArray>()),
        DataType::Utf8View => Arc::new(strings.collect::<StringViewArray>()),
        DataType::Binary => Arc::new(bytes.collect::<BinaryArray>()),
        DataType::LargeBinary => Arc::new(bytes.collect::<LargeBinaryArray>()),
        DataType::BinaryView => Arc::new(bytes.collect::<BinaryViewArray>()),
        DataType::FixedSizeBinary(width) => Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, *width).unwrap()),
        other => panic!("no column of {other}"),
    }
}

fn unhex(token: &str) -> Vec<u8> {
    let digits = token.strip_prefix('x').unwrap();
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
}
