//! Every type that a column can have, from every type that says the same.

use super::*;

/// One row of a field of this type, in a column of that one.
#[track_caller]
fn check(avro: &str, value: Avro, column: DataType, expected: &str) {
    let schema = schema(&format!(r#"{{"name":"id","type":"int"}},{{"name":"skipped","type":{avro}}},{{"name":"v","type":{avro}}}"#));
    let topic = Topic::new(&[("id", DataType::Int64), ("v", column)], &[(1, &schema)]);
    let told = topic.told(&[of(1, vec![Avro::Number(7), value.clone(), value])]);
    assert_eq!(told, [expected.to_owned()], "{avro}");
}

#[test]
fn values_are_kept_or_widened() {
    check(r#""boolean""#, Avro::Boolean(true), DataType::Boolean, "0 7 | true");
    check(r#""int""#, Avro::Number(-5), DataType::Int64, "0 7 | -5");
    check(r#""int""#, Avro::Number(-5), DataType::Float64, "0 7 | -5.0");
    check(r#""int""#, Avro::Number(5), DataType::Decimal128(18, 2), "0 7 | 5.00");
    check(r#""long""#, Avro::Number(i64::MIN), DataType::Int64, "0 7 | -9223372036854775808");
    check(r#""long""#, Avro::Number(1 << 53), DataType::Float64, "0 7 | 9007199254740992.0");
    check(r#""long""#, Avro::Number((1 << 53) + 1), DataType::Float64, "0! column `v`: 9007199254740993 is not exactly a DOUBLE");
    check(r#""float""#, Avro::Float(0.1), DataType::Float64, "0 7 | 0.10000000149011612");
    check(r#""double""#, Avro::Double(-0.0), DataType::Float64, "0 7 | -0.0");
    check(r#""string""#, Avro::text("é"), DataType::Utf8, "0 7 | é");
    check(r#""bytes""#, Avro::Bytes(vec![0, 255]), DataType::Binary, "0 7 | 00ff");
    check(r#"["null","string"]"#, Avro::some(Avro::text("")), DataType::Utf8, "0 7 | ");
    check(r#"["null","string"]"#, Avro::none(), DataType::Utf8, "0 7 | NULL");
    check(r#"["long","null"]"#, Avro::Branch(0, Box::new(Avro::Number(3))), DataType::Int64, "0 7 | 3");
    check(r#"["long","null"]"#, Avro::Branch(1, Box::new(Avro::Null)), DataType::Int64, "0 7 | NULL");
    check(r#""null""#, Avro::Null, DataType::Date32, "0 7 | NULL");
}

#[test]
fn logical_types_are_what_they_say() {
    let long = |logical: &str| format!(r#"{{"type":"long","logicalType":"{logical}"}}"#);
    let moment = 1_704_067_200_123;
    check(&long("timestamp-millis"), Avro::Number(moment), MOMENT, "0 7 | 2024-01-01T00:00:00.123");
    check(&long("timestamp-micros"), Avro::Number(moment * 1000 + 4), MOMENT, "0 7 | 2024-01-01T00:00:00.123004");
    check(&long("timestamp-nanos"), Avro::Number(moment * 1_000_000 + 4000), MOMENT, "0 7 | 2024-01-01T00:00:00.123004");
    check(
        &long("timestamp-nanos"),
        Avro::Number(moment * 1_000_000 + 1),
        MOMENT,
        "0! column `v`: 1704067200123000001 nanoseconds since 1970 are not a moment in whole microseconds that its zone has",
    );
    check(&long("local-timestamp-millis"), Avro::Number(moment), MOMENT, "0 7 | 2024-01-01T00:00:00.123");
    check(r#"{"type":"int","logicalType":"date"}"#, Avro::Number(-1), DataType::Date32, "0 7 | 1969-12-31");
    check(r#"{"type":"int","logicalType":"date"}"#, Avro::Number(1), MOMENT, "0 7 | 1970-01-02T00:00:00");
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}"#;
    check(decimal, Avro::decimal(-12_345), DataType::Decimal128(18, 4), "0 7 | -123.4500");
    check(decimal, Avro::decimal(-12_345), DataType::Decimal128(6, 2), "0 7 | -123.45");
    check(decimal, Avro::decimal(1_000_000), DataType::Decimal128(6, 2), "0! field `skipped`: it has more than 6 digits");
    let fixed = r#"{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":9,"scale":0}"#;
    let topic = Topic::new(&[("v", DataType::Int64)], &[(1, &schema(&format!(r#"{{"name":"v","type":{fixed}}}"#)))]);
    assert_eq!(topic.told(&[of(1, vec![Avro::Fixed(vec![0xff, 0xff, 0xff, 0xfe])])]), ["0 -2"]);
    check(
        r#"{"type":"string","logicalType":"uuid"}"#,
        Avro::text("A0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        DataType::Utf8,
        "0 7 | A0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    );
    // A logical type that is not known means nothing.
    check(r#"{"type":"string","logicalType":"iban"}"#, Avro::text("x"), DataType::Utf8, "0 7 | x");
}

#[test]
fn named_types_are_what_they_are_where_they_are_referred_to() {
    let fields = r#"
        {"name":"id","type":{"type":"fixed","name":"Id","size":16,"logicalType":"uuid"}},
        {"name":"state","type":{"type":"enum","name":"State","symbols":["OPEN","SHUT"]}},
        {"name":"before","type":["null","State"]},
        {"name":"other","type":["null","test.Id"]}"#;
    let topic = Topic::new(
        &[("id", DataType::Utf8), ("state", DataType::Utf8), ("before", DataType::Utf8), ("other", DataType::Binary)],
        &[(1, &schema(fields))],
    );
    let id: Vec<u8> = (0..16).collect();
    let row = vec![Avro::Fixed(id.clone()), Avro::Number(1), Avro::some(Avro::Number(0)), Avro::some(Avro::Fixed(id))];
    assert_eq!(topic.told(&[of(1, row)]), ["0 00010203-0405-0607-0809-0a0b0c0d0e0f | SHUT | OPEN | 000102030405060708090a0b0c0d0e0f"]);
}

#[test]
fn lists_are_read_in_blocks_of_either_kind() {
    let list = r#"{"type":"array","items":["null","int"]}"#;
    let one = |value: i64| Avro::some(Avro::Number(value));
    check(list, Avro::Array(vec![]), DataType::new_list(DataType::Int64, true), "0 7 | []");
    check(list, Avro::Array(vec![one(1), Avro::none()]), DataType::new_list(DataType::Int64, true), "0 7 | [1, NULL]");
    check(list, Avro::Blocks(vec![vec![one(1)], vec![one(2), one(3)]]), DataType::new_list(DataType::Int64, true), "0 7 | [1, 2, 3]");
}

#[test]
fn what_is_no_column_is_passed_over_or_refused_by_name() {
    let odd = r#"{"name":"map","type":{"type":"map","values":"long"}},
        {"name":"any","type":["null","int","string"]},
        {"name":"inner","type":{"type":"record","name":"Inner","fields":[{"name":"x","type":"int"}]}},
        {"name":"again","type":"Inner"},
        {"name":"when","type":{"type":"long","logicalType":"time-micros"}}"#;
    let fields = format!(r#"{odd},{{"name":"id","type":"int"}}"#);
    let row = || {
        vec![
            Avro::Map(vec![("a".to_owned(), Avro::Number(1))]),
            Avro::Branch(2, Box::new(Avro::text("x"))),
            Avro::Record(vec![Avro::Number(1)]),
            Avro::Record(vec![Avro::Number(2)]),
            Avro::Number(5),
            Avro::Number(7),
        ]
    };
    let topic = Topic::new(&[("id", DataType::Int64)], &[(1, &schema(&fields))]);
    assert_eq!(topic.told(&[of(1, row())]), ["0 7"]);
    for (name, column) in [("map", DataType::Utf8), ("any", DataType::Utf8), ("inner", DataType::Utf8), ("when", DataType::Int64)] {
        let topic = Topic::new(&[("id", DataType::Int64), (name, column)], &[(1, &schema(&fields))]);
        let told = topic.told(&[of(1, row())]).remove(0);
        assert!(told.starts_with(&format!("0! schema 1 has a field `{name}` that is ")) && told.ends_with("values might be lost"), "{told}");
    }
}

#[test]
fn types_that_might_lose_values_are_refused() {
    for (avro, column, is) in [
        (r#""long""#, DataType::Int32, "BIGINT"),
        (r#""double""#, DataType::Float32, "DOUBLE"),
        (r#""string""#, DataType::Int64, "VARCHAR"),
        (r#""string""#, MOMENT, "VARCHAR"),
        (r#""long""#, MOMENT, "BIGINT"),
        (r#""bytes""#, DataType::Utf8, "BYTEA"),
    ] {
        let topic = Topic::new(&[("id", column)], &[(1, &schema(&format!(r#"{{"name":"id","type":{avro}}}"#)))]);
        let told = topic.told(&[of(
            1,
            vec![match avro {
                r#""long""# => Avro::Number(1),
                r#""double""# => Avro::Double(1.0),
                _ => Avro::text("1"),
            }],
        )]);
        assert!(told[0].starts_with(&format!("0! schema 1 has a field `id` that is {is}, and column `id` of source `sales` is ")), "{told:?}");
    }
}
