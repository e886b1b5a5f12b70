//! What goes onto the wire comes back with the same bits, as messages and as JSON.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, NullArray, StringArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt8Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int32Type, IntervalMonthDayNano};
use lockstep_client::proto;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::{array, encode, values, wire_type};
use crate::server::json;

/// Arrays of every type that a request may have.
fn arrays() -> impl Strategy<Value = ArrayRef> {
    fn of<T: std::fmt::Debug>(value: impl Strategy<Value = T>, make: impl Fn(Vec<Option<T>>) -> ArrayRef) -> impl Strategy<Value = ArrayRef> {
        vec(option::weighted(0.8, value), 0..20).prop_map(make)
    }
    // Bits at random: NaNs with payloads, infinities, −0.0, subnormals.
    let doubles = || any::<u64>().prop_map(f64::from_bits);
    // Within what a text can say of a moment: years 1 to 9999.
    let moments = || -62_135_596_800_000_000_i64..253_402_300_800_000_000;
    prop_oneof![
        of(any::<bool>(), |values| Arc::new(BooleanArray::from(values))),
        of(any::<i8>(), |values| Arc::new(Int8Array::from(values))),
        of(any::<i32>(), |values| Arc::new(Int32Array::from(values))),
        of(any::<i64>(), |values| Arc::new(Int64Array::from(values))),
        of(any::<u8>(), |values| Arc::new(UInt8Array::from(values))),
        of(any::<u64>(), |values| Arc::new(UInt64Array::from(values))),
        of(any::<u32>().prop_map(f32::from_bits), |values| Arc::new(Float32Array::from(values))),
        of(doubles(), |values| Arc::new(Float64Array::from(values))),
        of(any::<String>(), |values| Arc::new(StringArray::from(values))),
        of(vec(any::<u8>(), 0..9), |values| Arc::new(BinaryArray::from_iter(values))),
        of(-999_999_999_999_999_999_i128..=999_999_999_999_999_999, |values| {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(18, 4).unwrap())
        }),
        of(-700_000..2_900_000, |values| Arc::new(Date32Array::from(values))),
        of(moments(), |values| Arc::new(TimestampMicrosecondArray::from(values))),
        of(vec(option::of(any::<i32>()), 0..4), |values| Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(values))),
    ]
}

/// Equal as bits: NaNs too.
fn assert_same(found: &ArrayRef, wanted: &ArrayRef) {
    assert_eq!((found.data_type(), found.len()), (wanted.data_type(), wanted.len()));
    match wanted.data_type() {
        DataType::Float64 => {
            let bits = |array: &ArrayRef| array.as_primitive::<Float64Type>().iter().map(|value| value.map(f64::to_bits)).collect::<Vec<_>>();
            assert_eq!(bits(found), bits(wanted));
        }
        DataType::Float32 => {
            let bits = |array: &ArrayRef| array.as_primitive::<Float32Type>().iter().map(|value| value.map(f32::to_bits)).collect::<Vec<_>>();
            assert_eq!(bits(found), bits(wanted));
        }
        _ => assert_eq!(found, wanted),
    }
}

/// JSON has one NaN.
fn with_one_nan(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .iter()
                .map(|value| value.map(|value| if value.is_nan() { f64::NAN } else { value }))
                .collect::<Float64Array>(),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .iter()
                .map(|value| value.map(|value| if value.is_nan() { f32::NAN } else { value }))
                .collect::<Float32Array>(),
        ),
        _ => array,
    }
}

proptest! {
    #[test]
    fn messages_are_lossless(wanted in arrays()) {
        assert_same(&array(&values(&wanted).unwrap(), wanted.data_type()).unwrap(), &wanted);
    }

    #[test]
    fn columns_are_written_as_messages_are(wanted in arrays()) {
        let values = values(&wanted).unwrap();
        let mut bytes = Vec::new();
        encode::column(&mut bytes, 3, &wanted).unwrap();
        let feature = proto::Feature { values: Some(values), ..proto::Feature::default() };
        assert_eq!(bytes, feature.encode_to_vec());
    }

    #[test]
    fn json_is_lossless(wanted in arrays()) {
        let wanted = with_one_nan(wanted);
        let items = json::to_json(&values(&wanted).unwrap(), &wire_type(wanted.data_type()).unwrap());
        // As it is read: through its text.
        let text = serde_json::to_string(&items).unwrap();
        let items: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let column = json::column(items.iter(), wanted.data_type()).unwrap();
        assert_same(&array(&column, wanted.data_type()).unwrap(), &wanted);
    }
}

/// Types that only expressions have, as they are shown.
#[test]
fn what_only_answers_have() {
    let interval = IntervalMonthDayNano::new(1, -2, 3);
    let cases: [(ArrayRef, &str); 4] = [
        (Arc::new(DurationMicrosecondArray::from(vec![Some(-5), None])), r#"["-5",null]"#),
        (Arc::new(IntervalMonthDayNanoArray::from(vec![interval])), r#"[{"months":1,"days":-2,"nanos":"3"}]"#),
        (Arc::new(TimestampNanosecondArray::from(vec![1])), r#"["1970-01-01T00:00:00.000000001Z"]"#),
        (Arc::new(NullArray::new(2)), "[null,null]"),
    ];
    for (array, wanted) in cases {
        let shown = json::to_json(&values(&array).unwrap(), &wire_type(array.data_type()).unwrap());
        assert_eq!(serde_json::to_string(&shown).unwrap(), wanted);
    }
}

/// NULL, an empty list and a list of a NULL are three things, whatever lies under a NULL.
#[test]
fn lists_of_nothing() {
    let items: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), Some(8), None]));
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    let offsets = OffsetBuffer::from_lengths([0, 2, 1]);
    // The list of two items is NULL.
    let lists = ListArray::new(field, offsets, items, Some(NullBuffer::from(vec![true, false, true])));
    let lists: ArrayRef = Arc::new(lists);
    let wire = values(&lists).unwrap();
    let shown = json::to_json(&wire, &wire_type(lists.data_type()).unwrap());
    assert_eq!(serde_json::to_string(&shown).unwrap(), "[[],null,[null]]");
    assert_eq!(&array(&wire, lists.data_type()).unwrap(), &lists);
}

#[test]
fn values_that_do_not_fit_are_named() {
    let refused = |given: ArrayRef, wanted: DataType| array(&values(&given).unwrap(), &wanted).unwrap_err().to_string();
    let ints = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let texts = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let decimal = DataType::Decimal128(4, 2);
    let moment = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let cases = [
        (refused(ints(vec![1, 128]), DataType::Int8), "row 1 has 128, which is not of type TINYINT"),
        (refused(ints(vec![-1]), DataType::UInt64), "row 0 has -1, which is not of type BIGINT UNSIGNED"),
        (refused(ints(vec![(1 << 53) + 1]), DataType::Float64), "row 0 has 9007199254740993, which is not a number that a DOUBLE holds"),
        (refused(Arc::new(Float64Array::from(vec![0.1])), DataType::Float32), "row 0 has 0.1, which is not a number that a REAL holds exactly"),
        (refused(texts(vec!["1.234"]), decimal.clone()), "row 0 has \"1.234\", which is not a DECIMAL(4, 2)"),
        (refused(texts(vec!["100"]), decimal), "row 0 has \"100\", which is not a DECIMAL(4, 2)"),
        (refused(texts(vec!["noon"]), moment), "row 0 has \"noon\", which is not a moment, such as 2013-03-01T12:00:00Z"),
        (refused(texts(vec!["2013-02-30"]), DataType::Date32), "row 0 has \"2013-02-30\", which is not a date, such as 2013-03-01"),
        (refused(texts(vec!["x"]), DataType::Boolean), "it is BOOLEAN, and strings were given"),
    ];
    for (found, wanted) in cases {
        assert_eq!(found, wanted);
    }
}
