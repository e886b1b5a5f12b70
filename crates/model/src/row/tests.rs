use std::sync::Arc;

use arrow::array::{
    Array, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, PrimitiveArray, StringArray,
    StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::nullif;
use arrow::datatypes::*;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

use super::*;
use crate::codec::put_varint;

fn codec_of(columns: &[ArrayRef]) -> RowCodec {
    let fields = columns.iter().enumerate().map(|(i, column)| Field::new(format!("c{i}"), column.data_type().clone(), true));
    RowCodec::new(Arc::new(Schema::new(fields.collect::<Vec<_>>()))).unwrap()
}

fn encode(columns: &[ArrayRef]) -> Vec<Vec<u8>> {
    let codec = codec_of(columns);
    let encoder = codec.encoder(columns).unwrap();
    let write = |row| {
        let mut out = Vec::new();
        encoder.write(row, &mut out);
        out
    };
    (0..columns[0].len()).map(write).collect()
}

fn decode(columns: &[ArrayRef], rows: &[Vec<u8>]) -> Result<Vec<ArrayRef>, CodecError> {
    codec_of(columns).decode(rows.iter().map(Vec::as_slice))
}

fn round_trip(column: ArrayRef) {
    let columns = [column];
    assert_eq!(decode(&columns, &encode(&columns)).unwrap(), columns);
}

const ROWS: usize = 12;

fn primitive<T: ArrowPrimitiveType>(data_type: DataType, value: impl Strategy<Value = T::Native> + 'static) -> BoxedStrategy<ArrayRef> {
    let array = move |values: Vec<Option<T::Native>>| Arc::new(PrimitiveArray::<T>::from_iter(values).with_data_type(data_type.clone())) as ArrayRef;
    vec(weighted(0.8, value), ROWS).prop_map(array).boxed()
}

/// Small values, ends of the range and anything: the widths of a varint are all met.
fn i64s() -> BoxedStrategy<i64> {
    prop_oneof![-300i64..300, any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just((1 << 53) + 1)].boxed()
}

/// Values equal to themselves: canonical floats are tested apart.
fn f64s() -> BoxedStrategy<f64> {
    let floats = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::INFINITE;
    floats.prop_map(|value| value + 0.0).boxed()
}

fn leaf(data_type: DataType) -> BoxedStrategy<ArrayRef> {
    use DataType::*;
    let t = data_type.clone();
    match data_type {
        Boolean => vec(any::<Option<bool>>(), ROWS).prop_map(|values| Arc::new(BooleanArray::from(values)) as ArrayRef).boxed(),
        Int8 => primitive::<Int8Type>(t, any::<i8>()),
        Int16 => primitive::<Int16Type>(t, any::<i16>()),
        Int32 => primitive::<Int32Type>(t, any::<i32>()),
        Int64 => primitive::<Int64Type>(t, i64s()),
        UInt8 => primitive::<UInt8Type>(t, any::<u8>()),
        UInt16 => primitive::<UInt16Type>(t, any::<u16>()),
        UInt32 => primitive::<UInt32Type>(t, any::<u32>()),
        UInt64 => primitive::<UInt64Type>(t, prop_oneof![any::<u64>(), Just(u64::MAX), Just(i64::MAX as u64 + 1)]),
        Float32 => primitive::<Float32Type>(t, f64s().prop_map(|value| value as f32 + 0.0)),
        Float64 => primitive::<Float64Type>(t, f64s()),
        Decimal128(38, _) => primitive::<Decimal128Type>(t, -10i128.pow(38) + 1..10i128.pow(38)),
        Decimal128(_, _) => primitive::<Decimal128Type>(t, (-999_999i64..1_000_000).prop_map(i128::from)),
        Date32 => primitive::<Date32Type>(t, any::<i32>()),
        Timestamp(_, _) => primitive::<TimestampMicrosecondType>(t, i64s()),
        Duration(_) => primitive::<DurationMicrosecondType>(t, i64s()),
        Interval(IntervalUnit::YearMonth) => primitive::<IntervalYearMonthType>(t, any::<i32>()),
        Interval(IntervalUnit::DayTime) => {
            primitive::<IntervalDayTimeType>(t, any::<(i32, i32)>().prop_map(|(days, ms)| IntervalDayTime::new(days, ms)))
        }
        Interval(IntervalUnit::MonthDayNano) => {
            let value = any::<(i32, i32, i64)>().prop_map(|(months, days, ns)| IntervalMonthDayNano::new(months, days, ns));
            primitive::<IntervalMonthDayNanoType>(t, value)
        }
        Utf8 => vec(weighted(0.8, ".{0,20}"), ROWS).prop_map(|values| Arc::new(StringArray::from(values)) as ArrayRef).boxed(),
        Binary => {
            let array = |values: Vec<Option<Vec<u8>>>| Arc::new(BinaryArray::from_iter(values)) as ArrayRef;
            vec(weighted(0.8, vec(any::<u8>(), 0..200)), ROWS).prop_map(array).boxed()
        }
        other => unreachable!("no strategy for {other}"),
    }
}

/// The array, the lists cut out of it, and a struct of it, over the first rows: three columns of one length.
fn nested(array: ArrayRef, cuts: Vec<(usize, bool)>) -> Vec<ArrayRef> {
    let rows = cuts.len();
    let field = Arc::new(Field::new("item", array.data_type().clone(), true));
    let valid = NullBuffer::from_iter(cuts.iter().map(|&(_, valid)| valid));
    let lists = ListArray::new(field.clone(), OffsetBuffer::from_lengths(cuts.iter().map(|&(len, _)| len)), array.clone(), Some(valid.clone()));
    let lists: ArrayRef = Arc::new(lists);
    let first = array.slice(0, rows);
    let list_field = Arc::new(Field::new("list", lists.data_type().clone(), true));
    // Nothing but NULL below a struct that is NULL, since rows do not carry what cannot be seen.
    let hidden = BooleanArray::new(!valid.inner(), None);
    let below = [&first, &lists].map(|column| nullif(column, &hidden).unwrap()).to_vec();
    let record = StructArray::new(Fields::from(vec![field, list_field]), below, Some(valid));
    vec![first, lists, Arc::new(record)]
}

fn leaf_types() -> impl Strategy<Value = DataType> {
    use DataType::*;
    prop::sample::select(vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Decimal128(6, 2),
        Decimal128(38, 10),
        Date32,
        Timestamp(TimeUnit::Microsecond, None),
        Duration(TimeUnit::Microsecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
        Utf8,
        Binary,
    ])
}

/// Columns of a few types with lists and structs of them.
fn tables() -> impl Strategy<Value = Vec<ArrayRef>> {
    let columns = (leaf_types().prop_flat_map(leaf), vec((0usize..=3, any::<bool>()), 4));
    vec(columns.prop_map(|(array, cuts)| nested(array, cuts)), 1..4).prop_map(|tables| tables.into_iter().flatten().collect())
}

/// Rows as values that compare equal iff they are the same: the debug text of one-row slices.
fn shown(columns: &[ArrayRef], row: usize) -> String {
    columns.iter().map(|column| format!("{:?};", column.slice(row, 1))).collect()
}

proptest! {
    #[test]
    fn rows_round_trip(columns in tables()) {
        let rows = encode(&columns);
        let decoded = decode(&columns, &rows).unwrap();
        for row in 0..rows.len() {
            prop_assert_eq!(shown(&decoded, row), shown(&columns, row));
        }
        prop_assert_eq!(encode(&decoded), rows);
    }

    #[test]
    fn equal_rows_and_only_they_have_equal_bytes(columns in tables()) {
        let rows = encode(&columns);
        for a in 0..rows.len() {
            for b in 0..a {
                prop_assert_eq!(rows[a] == rows[b], shown(&columns, a) == shown(&columns, b));
            }
        }
    }

    #[test]
    fn a_slice_encodes_as_the_whole(columns in tables(), from in 0usize..4) {
        let sliced: Vec<_> = columns.iter().map(|column| column.slice(from, 4 - from)).collect();
        prop_assert_eq!(encode(&sliced), encode(&columns)[from..].to_vec());
    }

    #[test]
    fn malformed_bytes_are_an_error(columns in tables(), row in 0usize..4, at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut rows = encode(&columns);
        let length = rows[row].len();
        let mut short = rows.clone();
        short[row].truncate(at.index(length));
        prop_assert!(decode(&columns, &short).is_err());
        let mut long = rows.clone();
        long[row].push(0);
        prop_assert!(decode(&columns, &long).is_err());
        // A flipped bit may be another row, never a panic, and never one that does not re-encode.
        rows[row][at.index(length)] ^= flip;
        if let Ok(decoded) = decode(&columns, &rows) {
            let again = decode(&columns, &encode(&decoded)).unwrap();
            prop_assert!((0..rows.len()).all(|row| shown(&again, row) == shown(&decoded, row)));
        }
    }
}

#[test]
fn zeros_and_nans_have_one_encoding() {
    let payload = f64::from_bits(0xfff8_0000_0000_0001);
    let column: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, payload]));
    let rows = encode(&[column]);
    assert_eq!(rows[0], rows[1]);
    assert!(rows[2] == rows[3] && rows[3] == rows[4]);
    let column: ArrayRef = Arc::new(PrimitiveArray::<Float32Type>::from(vec![0.0, -0.0, f32::NAN, -f32::NAN]));
    let rows = encode(&[column]);
    assert!(rows[0] == rows[1] && rows[2] == rows[3] && rows[0] != rows[2]);
}

#[test]
fn null_empty_and_a_list_of_null_are_three_things() {
    let lists = vec![None, Some(vec![]), Some(vec![None]), Some(vec![Some(0)]), Some(vec![Some(0), None])];
    let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    let rows = encode(std::slice::from_ref(&column));
    for (a, row) in rows.iter().enumerate() {
        assert!(rows[..a].iter().all(|other| other != row), "{rows:?}");
    }
    round_trip(column);
}

#[test]
fn the_bytes_are_frozen() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(-1)])),
        Arc::new(StringArray::from(vec![Some("EWR")])),
        Arc::new(Float64Array::from(vec![None])),
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(vec![1])),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(64), None])])),
        Arc::new(Decimal128Array::from(vec![-300i128]).with_precision_and_scale(9, 2).unwrap()),
    ];
    let row = [&[0b100u8, 1, 3][..], b"EWR", &[1, 0, 0, 0, 0, 0, 0, 0, 5, 0b10, 0x80, 1, 0xd7, 4]].concat();
    assert_eq!(encode(&columns), [row]);
}

#[test]
fn a_corrupt_count_does_not_allocate() {
    let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)])]));
    for has_null in [0, 1] {
        let mut row = vec![0];
        put_varint(&mut row, u64::MAX - 1 + has_null);
        assert!(decode(std::slice::from_ref(&column), &[row]).is_err());
    }
}

#[test]
fn values_out_of_their_type_are_refused() {
    let refused = |data_type: DataType, row: &[u8]| {
        let codec = RowCodec::new(Arc::new(Schema::new(vec![Field::new("c", data_type, true)]))).unwrap();
        codec.decode([row]).unwrap_err().what
    };
    assert_eq!(refused(DataType::Int8, &[0, 0x80, 2]), "an integer out of its type's range");
    assert_eq!(refused(DataType::Boolean, &[0, 2]), "a boolean that is neither 0 nor 1");
    assert_eq!(refused(DataType::Utf8, &[0, 1, 0xff]), "text that is not UTF-8");
    assert_eq!(refused(DataType::Decimal128(1, 0), &[0, 20]), "a decimal out of its precision");
    assert_eq!(refused(DataType::Int64, &[2]), "a null bitmap longer than its columns");
    assert_eq!(refused(DataType::Int64, &[1, 0]), "a row longer than its columns");
}

#[test]
fn types_and_columns_are_checked() {
    let field = Field::new("when", DataType::Timestamp(TimeUnit::Nanosecond, None), true);
    let error = RowCodec::new(Arc::new(Schema::new(vec![field]))).unwrap_err();
    assert!(error.to_string().starts_with("column `when` has type "), "{error}");
    let codec = codec_of(&[Arc::new(Int64Array::from(vec![1])) as ArrayRef]);
    assert!(codec.encoder(&[Arc::new(StringArray::from(vec!["1"])) as ArrayRef]).is_err());
    assert!(codec.encoder(&[]).is_err());
    assert_eq!(codec.decode([]).unwrap()[0].as_primitive::<Int64Type>().len(), 0);
}

/// What a lookup pays: 64 rows of 6 columns. Run with `--ignored --nocapture`; a few nanoseconds a value is what the design counts on.
#[test]
#[ignore = "a measurement, for people to read"]
fn decode_speed() {
    let n = 64i64;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..n)),
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_iter_values((0..n).map(|i| 1_362_139_200_000_000 + i))),
        Arc::new(Float64Array::from_iter((0..n).map(|i| (i % 7 != 0).then_some(i as f64 * 0.5)))),
        Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64))),
        Arc::new(StringArray::from_iter_values((0..n).map(|i| ["EWR", "JFK", "LaGuardia"][i as usize % 3]))),
        Arc::new(Int64Array::from_iter_values((0..n).map(|i| i * 100_003))),
    ];
    let (codec, rows) = (codec_of(&columns), encode(&columns));
    let encoder = codec.encoder(&columns).unwrap();
    let rounds = 20_000;
    let started = cpu_ns();
    for _ in 0..rounds {
        std::hint::black_box(codec.decode(rows.iter().map(Vec::as_slice)).unwrap());
    }
    let decode = cpu_ns() - started;
    let started = cpu_ns();
    let mut out = Vec::new();
    for _ in 0..rounds {
        out.clear();
        (0..n as usize).for_each(|row| encoder.write(row, &mut out));
        std::hint::black_box(&out);
    }
    let encode = cpu_ns() - started;
    let values = (rounds * n as usize * columns.len()) as f64;
    println!("decode {:.1} ns a value, encode {:.1} ns a value", decode as f64 / values, encode as f64 / values);
}

/// Time on the processor, which other work on the machine does not lengthen.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}
