use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{Field, Int16Type, TimeUnit, i256};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;

fn moment(unit: TimeUnit, zone: Option<&str>) -> DataType {
    DataType::Timestamp(unit, zone.map(Into::into))
}

fn us() -> DataType {
    moment(TimeUnit::Microsecond, None)
}

fn list(element: DataType) -> DataType {
    DataType::new_list(element, true)
}

/// The values of `array` as `to`, or why they are bad; `None` where the types do not go together.
fn taken_in(zone: &str, array: impl Array + 'static, to: &DataType) -> Option<Vec<String>> {
    let array: ArrayRef = Arc::new(array);
    let mut cast = Cast::between(array.data_type(), to, zone.parse().unwrap())?;
    let mut bad = Bad::new();
    let whole = cast.apply(&array, &mut bad).unwrap();
    assert_eq!(whole.data_type(), to);
    let mut shown = shown(&whole);
    for (row, reason) in &bad {
        shown[*row] = reason.clone();
    }
    // A slice, whose offsets do not start at zero, gives the same.
    let mut bad_of_slice = Bad::new();
    let slice = cast.apply(&array.slice(1, array.len() - 1), &mut bad_of_slice).unwrap();
    assert_eq!(&slice, &whole.slice(1, whole.len() - 1));
    assert_eq!(bad_of_slice, bad.into_iter().filter(|(row, _)| *row > 0).map(|(row, reason)| (row - 1, reason)).collect::<Bad>());
    Some(shown)
}

fn taken(array: impl Array + 'static, to: &DataType) -> Vec<String> {
    taken_in("UTC", array, to).unwrap()
}

fn shown(array: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).unwrap();
    (0..array.len()).map(|row| formatter.value(row).to_string()).collect()
}

#[test]
fn numbers_are_widened() {
    assert_eq!(taken(Int8Array::from(vec![i8::MIN, i8::MAX]), &DataType::Int64), ["-128", "127"]);
    assert_eq!(taken(UInt32Array::from(vec![u32::MAX, 0]), &DataType::Int64), ["4294967295", "0"]);
    assert_eq!(taken(Float32Array::from(vec![0.1, f32::NAN]), &DataType::Float64), ["0.10000000149011612", "NaN"]);
    assert_eq!(taken(Int32Array::from(vec![i32::MIN, 7]), &DataType::Float64), ["-2147483648.0", "7.0"]);
    assert_eq!(taken(Int64Array::from(vec![i64::MAX, 7]), &DataType::Decimal128(21, 2)), ["9223372036854775807.00", "7.00"]);
    let decimal = |values: Vec<i128>, precision, scale| Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap();
    assert_eq!(taken(decimal(vec![-12345, 5], 5, 2), &DataType::Decimal128(9, 4)), ["-123.4500", "0.0500"]);
    assert_eq!(taken(decimal(vec![999_999_999, 5], 9, 0), &DataType::Int32), ["999999999", "5"]);
    let wide = Decimal256Array::from(vec![i256::from_i128(-7), i256::from_i128(8)]).with_precision_and_scale(20, 1).unwrap();
    assert_eq!(taken(wide, &DataType::Decimal128(20, 1)), ["-0.7", "0.8"]);
    assert_eq!(taken(NullArray::new(2), &DataType::Int64), ["NULL", "NULL"]);
}

#[test]
fn floats_take_integers_that_they_hold() {
    let integers = Int64Array::from(vec![Some(1 << 53), Some((1 << 53) + 1), None, Some(i64::MAX), Some(i64::MIN)]);
    let not_exact = |value: i64, to: &str| format!("{value} is not exactly a {to}");
    let expected = [
        "9007199254740992.0".to_owned(),
        not_exact((1 << 53) + 1, "DOUBLE"),
        "NULL".to_owned(),
        not_exact(i64::MAX, "DOUBLE"),
        "-9.223372036854776e18".to_owned(),
    ];
    assert_eq!(taken(integers, &DataType::Float64), expected);
    assert_eq!(
        taken(UInt64Array::from(vec![u64::MAX, 1 << 63]), &DataType::Float64),
        [format!("{} is not exactly a DOUBLE", u64::MAX), "9.223372036854776e18".to_owned()]
    );
    assert_eq!(
        taken(Int32Array::from(vec![1 << 24, (1 << 24) + 1]), &DataType::Float32),
        ["16777216.0".to_owned(), not_exact((1 << 24) + 1, "REAL")]
    );
    assert_eq!(taken(UInt32Array::from(vec![u32::MAX, 0]), &DataType::Float32), [not_exact(u32::MAX.into(), "REAL"), "0.0".to_owned()]);
}

#[test]
fn texts_and_bytes_of_any_layout() {
    let words = vec![Some("a"), None, Some("\u{e9}")];
    let expected = ["a", "NULL", "\u{e9}"];
    assert_eq!(taken(LargeStringArray::from(words.clone()), &DataType::Utf8), expected);
    assert_eq!(taken(StringViewArray::from(words.clone()), &DataType::Utf8), expected);
    assert_eq!(taken(words.into_iter().collect::<DictionaryArray<Int16Type>>(), &DataType::Utf8), expected);
    assert_eq!(taken(FixedSizeBinaryArray::try_from_iter([[1u8, 2], [3, 4]].iter()).unwrap(), &DataType::Binary), ["0102", "0304"]);
    assert_eq!(taken(LargeBinaryArray::from_vec(vec![b"\0", b""]), &DataType::Binary), ["00", ""]);
}

#[test]
fn moments_of_any_unit_are_microseconds_or_bad() {
    assert_eq!(
        taken(TimestampSecondArray::from(vec![-1, i64::MAX]), &us()),
        ["1969-12-31T23:59:59".to_owned(), format!("{} seconds since 1970 are not a moment in whole microseconds that its zone has", i64::MAX),]
    );
    assert_eq!(taken(TimestampMillisecondArray::from(vec![Some(1), None]), &us()), ["1970-01-01T00:00:00.001", "NULL"]);
    assert_eq!(
        taken(TimestampNanosecondArray::from(vec![-1_000, 1_001]), &us()),
        ["1969-12-31T23:59:59.999999", "1001 nanoseconds since 1970 are not a moment in whole microseconds that its zone has",]
    );
    assert_eq!(taken(Date32Array::from(vec![0, -1]), &us()), ["1970-01-01T00:00:00", "1969-12-31T00:00:00"]);
    assert_eq!(
        taken(Date64Array::from(vec![-86_400_000, 1]), &DataType::Date32),
        ["1969-12-31", "1 milliseconds since 1970 are not a whole number of days"]
    );
}

#[test]
fn naive_moments_are_in_the_zone_and_others_are_not() {
    // 2013-03-10 02:30 does not exist in New York.
    let local = 1_362_882_600_000_000;
    let naive = |zone| taken_in(zone, TimestampMicrosecondArray::from(vec![local, local]), &us()).unwrap().remove(0);
    assert_eq!((naive("UTC"), naive("America/New_York")), ("2013-03-10T02:30:00".to_owned(), "2013-03-10T07:30:00".to_owned()));
    assert_eq!(naive("Australia/Lord_Howe"), "2013-03-09T15:30:00");
    for zone in ["UTC", "America/New_York", "Australia/Lord_Howe"] {
        let zoned = TimestampMillisecondArray::from(vec![local / 1_000; 2]).with_timezone("Europe/Berlin");
        assert_eq!(taken_in(zone, zoned, &us()).unwrap().remove(0), "2013-03-10T02:30:00");
        let zoned = TimestampMicrosecondArray::from(vec![local; 2]).with_timezone("+05:30");
        assert_eq!(taken_in(zone, zoned, &us()).unwrap().remove(0), "2013-03-10T02:30:00");
    }
    let days = || Date32Array::from(vec![15_774, i32::MAX]);
    assert_eq!(taken_in("America/New_York", days(), &us()).unwrap()[0], "2013-03-10T05:00:00");
    let beyond = format!("day {} since 1970 is not a moment within the range of its zone", i32::MAX);
    assert_eq!(taken_in("America/New_York", days(), &us()).unwrap()[1], beyond);
}

#[test]
fn lists_of_any_layout_element_by_element() {
    let lists = || {
        let mut builder = ListBuilder::new(Int64Builder::new());
        builder.append_value([Some(1), None]);
        builder.append_null();
        builder.append_value([]);
        builder.append_value([Some(2), Some(i64::MAX), Some(3)]);
        builder.append_value([Some(4)]);
        builder.finish()
    };
    let expected = ["[1.0, NULL]", "NULL", "[]", "element 1: 9223372036854775807 is not exactly a DOUBLE", "[4.0]"];
    assert_eq!(taken(lists(), &list(DataType::Float64)), expected);
    let large = cast(&lists(), &DataType::LargeList(Arc::new(Field::new("element", DataType::Int64, true)))).unwrap();
    assert_eq!(taken(large.as_list::<i64>().clone(), &list(DataType::Float64)), expected);
    assert_eq!(taken(lists(), &list(DataType::Int64))[3], "[2, 9223372036854775807, 3]");
    let fixed = FixedSizeListArray::new(Arc::new(Field::new("x", DataType::Int8, true)), 2, Arc::new(Int8Array::from(vec![1, 2, 3, 4])), None);
    assert_eq!(taken(fixed, &list(DataType::Int16)), ["[1, 2]", "[3, 4]"]);
}

#[test]
fn types_that_cannot_hold_others_are_drift() {
    use DataType::*;
    let refused = [
        (Int64, Int32),
        (UInt64, Int64),
        (Int32, UInt64),
        (Float64, Float32),
        (Float64, Int64),
        (Float64, Decimal128(38, 10)),
        (Decimal128(10, 2), Float64),
        (Decimal128(10, 2), Int64),
        (Decimal128(10, 2), Decimal128(10, 1)),
        (Decimal128(10, 2), Decimal128(10, 3)),
        (Decimal128(19, 0), Int64),
        (Int64, Decimal128(20, 2)),
        (Boolean, Int64),
        (Int8, Boolean),
        (Utf8, Int64),
        (Int64, Utf8),
        (Utf8, us()),
        (Int64, us()),
        (us(), Int64),
        (us(), Date32),
        (Date32, Utf8),
        (Binary, Utf8),
        (Utf8, Binary),
        (Time64(TimeUnit::Microsecond), Int64),
        (Int64, list(Int64)),
        (list(Int64), list(Int32)),
        (Dictionary(Box::new(Int8), Box::new(Int64)), Int32),
    ];
    for (from, to) in refused {
        assert!(Cast::between(&from, &to, Zone::Utc).is_none(), "{from} to {to}");
    }
}

/// Whatever the table of types lets through, a kernel casts, and back again to the same values.
#[test]
fn what_is_let_through_loses_nothing() {
    use DataType::*;
    let numbers = [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16, Float32, Float64];
    let decimals = [Decimal32(9, 0), Decimal64(18, 3), Decimal128(38, 0), Decimal128(5, 2), Decimal128(22, 2), Decimal256(30, 0)];
    let types: Vec<DataType> = numbers.into_iter().chain(decimals).collect();
    let mut let_through = 0;
    for from in &types {
        let values = extremes(from);
        for to in types.iter().filter(|to| !matches!(to, Float16 | Decimal32(..) | Decimal64(..) | Decimal256(..))) {
            let Some(mut between) = Cast::between(from, to, Zone::Utc) else { continue };
            let mut bad = Bad::new();
            let there = between.apply(&values, &mut bad).unwrap();
            if bad.is_empty() {
                assert_eq!(&cast(&there, from).unwrap(), &values, "{from} to {to}");
                let_through += 1;
            }
        }
    }
    assert!(let_through > 50, "{let_through}");
}

/// The least and greatest values of a numeric type, zero and NULL.
fn extremes(data_type: &DataType) -> ArrayRef {
    use DataType::*;
    let texts = |least: String, greatest: String| -> ArrayRef {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(least), Some(greatest), Some("0".to_owned()), None]));
        cast(&texts, data_type).unwrap()
    };
    match data_type {
        Int8 => texts(i8::MIN.to_string(), i8::MAX.to_string()),
        Int16 => texts(i16::MIN.to_string(), i16::MAX.to_string()),
        Int32 => texts(i32::MIN.to_string(), i32::MAX.to_string()),
        Int64 => texts(i64::MIN.to_string(), i64::MAX.to_string()),
        UInt8 => texts("0".to_owned(), u8::MAX.to_string()),
        UInt16 => texts("0".to_owned(), u16::MAX.to_string()),
        UInt32 => texts("0".to_owned(), u32::MAX.to_string()),
        UInt64 => texts("0".to_owned(), u64::MAX.to_string()),
        Float16 => texts("-65504".to_owned(), "0.00006103515625".to_owned()),
        Float32 => texts(f32::MIN.to_string(), f32::MIN_POSITIVE.to_string()),
        Float64 => texts(f64::MIN.to_string(), f64::MIN_POSITIVE.to_string()),
        Decimal32(precision, scale) | Decimal64(precision, scale) | Decimal128(precision, scale) | Decimal256(precision, scale) => {
            let (whole, fraction) = ("9".repeat((*precision as i8 - scale) as usize), "9".repeat(*scale as usize));
            texts(format!("-{whole}.{fraction}0"), format!("{whole}.{fraction}0"))
        }
        other => panic!("{other} has no extremes here"),
    }
}
