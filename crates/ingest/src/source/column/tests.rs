use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Field, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::super::rows::Rows;
use super::*;

/// Parses one value a row, JSON or CSV by its kind: the values as text, or the reasons.
fn parse(data_type: &DataType, values: &[(Kind, &str)]) -> (ArrayRef, Vec<String>) {
    let mut text = String::new();
    let mut rows = Rows::new(1);
    for &(kind, value) in values {
        let start = text.len();
        text.push_str(value);
        rows.push(0, (0, 0))[0] = Cell::new(kind, start, text.len());
    }
    let mut column = column(data_type, "America/New_York".parse().unwrap()).unwrap();
    let mut bad = Vec::new();
    column.push_rows(&text, &rows, 0, &mut bad);
    let array = column.finish();
    assert_eq!(array.len(), values.len());
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).unwrap();
    let mut shown: Vec<_> = (0..array.len()).map(|row| formatter.value(row).to_string()).collect();
    drop(formatter);
    for (row, reason) in bad {
        assert!(array.is_null(row));
        shown[row] = reason;
    }
    (array, shown)
}

/// The one value, as text.
fn one(data_type: &DataType, kind: Kind, text: &str) -> String {
    parse(data_type, &[(kind, text)]).1.remove(0)
}

#[test]
fn integers_are_exact_at_every_width() {
    for kind in [Kind::Bare, Kind::Text] {
        assert_eq!(one(&DataType::Int64, kind, "9007199254740993"), "9007199254740993");
        assert_eq!(one(&DataType::Int64, kind, "-9223372036854775808"), "-9223372036854775808");
        assert_eq!(one(&DataType::UInt64, kind, "18446744073709551615"), "18446744073709551615");
        assert_eq!(one(&DataType::Int32, kind, "7.0"), "7");
        assert_eq!(one(&DataType::Int8, kind, "1e2"), "100");
    }
    assert_eq!(one(&DataType::Int64, Kind::Bare, "9223372036854775808"), "9223372036854775808 is not within the range of Int64");
    assert_eq!(one(&DataType::Int8, Kind::Bare, "128"), "128 is not within the range of Int8");
    assert_eq!(one(&DataType::UInt8, Kind::Bare, "-1"), "-1 is not within the range of UInt8");
    assert_eq!(one(&DataType::Int64, Kind::Bare, "1.5"), "1.5 is not a whole number: it has too many decimal places");
    assert_eq!(one(&DataType::Int64, Kind::Text, "seven"), "\"seven\" is not a number");
    assert_eq!(one(&DataType::Int64, Kind::Bare, "true"), "true is not a number");
    assert_eq!(one(&DataType::Int64, Kind::Nested, "[1]"), "[1] is not a number");
}

#[test]
fn floats_are_the_nearest_and_never_overflow() {
    assert_eq!(one(&DataType::Float64, Kind::Bare, "0.1"), "0.1");
    assert_eq!(one(&DataType::Float64, Kind::Bare, "123"), "123.0");
    assert_eq!(one(&DataType::Float64, Kind::Text, "NaN"), "NaN");
    assert_eq!(one(&DataType::Float64, Kind::Text, "-Infinity"), "-inf");
    assert_eq!(one(&DataType::Float64, Kind::Bare, "1e400"), "1e400 is not within the range of Float64");
    assert_eq!(one(&DataType::Float32, Kind::Bare, "1e39"), "1e39 is not within the range of Float32");
    assert_eq!(one(&DataType::Float64, Kind::Text, "NA"), "\"NA\" is not a number");
    assert_eq!(one(&DataType::Float64, Kind::Text, ""), "\"\" is not a number");
}

#[test]
fn decimals_are_not_rounded() {
    let decimal = DataType::Decimal128(5, 2);
    assert_eq!(one(&decimal, Kind::Bare, "12.3"), "12.30");
    assert_eq!(one(&decimal, Kind::Text, "-999.99"), "-999.99");
    assert_eq!(one(&decimal, Kind::Bare, "1000"), "1000 is not within the range of Decimal128(5, 2)");
    assert_eq!(one(&decimal, Kind::Bare, "1.005"), "1.005 is not Decimal128(5, 2): it has too many decimal places");
}

#[test]
fn strings_are_strings() {
    assert_eq!(one(&DataType::Utf8, Kind::Text, ""), "");
    assert_eq!(one(&DataType::Utf8, Kind::JsonEscaped, r"a\u0000\n"), "a\0\n");
    assert_eq!(one(&DataType::Utf8, Kind::CsvEscaped, r#"5"" pipe"#), "5\" pipe");
    assert_eq!(one(&DataType::Utf8, Kind::Bare, "123"), "123 is not a string");
    assert_eq!(one(&DataType::Utf8, Kind::JsonEscaped, r"\ud800"), "half of a surrogate pair");
    assert_eq!(one(&DataType::Binary, Kind::Text, "00fF"), "00ff");
    assert_eq!(one(&DataType::Binary, Kind::Text, "0"), "\"0\" is not hexadecimal");
    assert_eq!(one(&DataType::Boolean, Kind::Text, "TRUE"), "true");
    assert_eq!(one(&DataType::Boolean, Kind::Bare, "1"), "1 is not true or false");
    let long = "x".repeat(100);
    assert_eq!(one(&DataType::Int8, Kind::Text, &long), format!("\"{}…\" is not a number", &long[..60]));
}

#[test]
fn naive_moments_are_in_the_zone_and_others_are_not() {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(one(&moment, Kind::Text, "2013-03-10 02:30:00"), "2013-03-10T07:30:00");
    assert_eq!(one(&moment, Kind::Text, "2013-03-10T02:30:00Z"), "2013-03-10T02:30:00");
    assert_eq!(one(&moment, Kind::Bare, "1362139200"), "1362139200 is not a moment: nothing says the unit of a number · write 2013-03-01T12:00:00Z");
    assert_eq!(one(&moment, Kind::Text, "2013-03-10 02:30:00.0000001"), "\"2013-03-10 02:30:00.0000001\" is not a whole number of microseconds");
    assert_eq!(one(&DataType::Date32, Kind::Text, "2013-02-28"), "2013-02-28");
    assert_eq!(one(&DataType::Date32, Kind::Text, "2013-02-29"), "\"2013-02-29\" is not a date · write 2013-03-01");
}

#[test]
fn null_empty_and_a_list_of_null_are_three_things() {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let values = [
        (Kind::Null, "null"),
        (Kind::Nested, "[]"),
        (Kind::Nested, "[ null ]"),
        (Kind::Nested, "[1, \"x\", 3]"),
        (Kind::Text, "[4,5]"),
        (Kind::Nested, "{}"),
        (Kind::Absent, ""),
        (Kind::Nested, "[6]"),
    ];
    let (array, shown) = parse(&list, &values);
    let not_an_array = "{} is not JSON: not an array at its byte 1";
    assert_eq!(shown, ["NULL", "[]", "[NULL]", "element 1: \"x\" is not a number", "[4, 5]", not_an_array, "NULL", "[6]"]);
    assert_eq!(array.as_list::<i32>().value(7).as_primitive::<Int64Type>().values(), &[6]);
}

#[test]
fn lists_of_lists_and_structs_survive_bad_ones_between_them() {
    let inner = Arc::new(Field::new_list_field(DataType::Int64, true));
    let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::List(inner), false)];
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields.into()), true)));
    let values = [
        (Kind::Nested, r#"[{"b":[1],"a":"x"},null]"#),
        (Kind::Nested, r#"[{"a":"y","b":[2]},{"a":"z","b":[3,true]}]"#),
        (Kind::Nested, r#"[{"a":"z"}]"#),
        (Kind::Nested, r#"[{"b":[],"a":"p","a":"q"}]"#),
        (Kind::Nested, r#"[{"b":[4,null],"c":0}]"#),
    ];
    let (_, shown) = parse(&list, &values);
    assert_eq!(
        shown,
        [
            "[{a: x, b: [1]}, NULL]",
            "element 1: field `b`: element 1: true is not a number",
            "element 0: field `b`: NULL, which its declared type does not allow",
            "element 0: field `a`: occurs twice",
            "[{a: NULL, b: [4, NULL]}]",
        ]
    );
}
