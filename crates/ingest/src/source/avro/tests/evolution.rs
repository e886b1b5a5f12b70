//! Records of several schemas, read as the columns and the reader's schema say.

use super::*;

const ID: &str = r#"{"name":"id","type":"long"}"#;

#[test]
fn schemas_that_change_midway_leave_rows_in_their_order() {
    let (one, two) = (
        schema(&format!(r#"{ID},{{"name":"shop","type":"string"}}"#)),
        schema(&format!(r#"{{"name":"shop","type":["null","string"]}},{{"name":"new","type":"int"}},{ID}"#)),
    );
    let topic = Topic::new(&[("id", DataType::Int64), ("shop", DataType::Utf8)], &[(1, &one), (2, &two)]);
    let old = |id: i64| of(1, vec![Avro::Number(id), Avro::text("a")]);
    let new = |id: i64| of(2, vec![Avro::none(), Avro::Number(0), Avro::Number(id)]);
    assert_eq!(
        topic.told(&[old(1), new(2), old(3), new(4), of(9, vec![]), new(5)]),
        ["0 1 | a", "1 2 | NULL", "2 3 | a", "3 4 | NULL", "4! schema 9 is not known", "5 5 | NULL"]
    );
}

#[test]
fn a_field_that_is_missing_is_null_or_its_readers_default() {
    let reader = schema(&format!(
        r#"{ID},
        {{"name":"shop","type":"string","default":"none"}},
        {{"name":"amount","type":{{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}},"default":"\u00ff"}},
        {{"name":"at","type":{{"type":"long","logicalType":"timestamp-millis"}},"default":1704067200000}},
        {{"name":"tags","type":{{"type":"array","items":"string"}},"default":["x","y"]}},
        {{"name":"state","type":["null","int"],"default":null}}"#
    ));
    let columns = [
        ("id", DataType::Int64),
        ("shop", DataType::Utf8),
        ("amount", DataType::Decimal128(6, 2)),
        ("at", MOMENT),
        ("tags", DataType::new_list(DataType::Utf8, true)),
        ("state", DataType::Int32),
    ];
    let writer = schema(ID);
    let rows = [of(1, vec![Avro::Number(1)]), of(1, vec![Avro::Number(2)])];
    let without = Topic::new(&columns, &[(1, &writer)]);
    assert_eq!(without.told(&rows)[0], "0 1 | NULL | NULL | NULL | NULL | NULL");
    let with = Topic::new(&columns, &[]).reader(&reader, &[(1, &writer)]);
    let expected = "| none | -0.01 | 2024-01-01T00:00:00 | [x, y] | NULL";
    assert_eq!(with.told(&rows), [format!("0 1 {expected}"), format!("1 2 {expected}")]);
}

#[test]
fn a_field_is_found_by_an_alias_of_the_reader() {
    let reader = schema(&format!(r#"{ID},{{"name":"shop","type":"string","aliases":["store","branch"]}}"#));
    let writers = ["store", "branch", "shop"].map(|name| schema(&format!(r#"{ID},{{"name":"{name}","type":"string"}}"#)));
    let known = [(1, writers[0].as_str()), (2, writers[1].as_str()), (3, writers[2].as_str())];
    let topic = Topic::new(&[("id", DataType::Int64), ("shop", DataType::Utf8)], &[]).reader(&reader, &known);
    let row = |id: u32| of(id, vec![Avro::Number(i64::from(id)), Avro::text("a")]);
    assert_eq!(topic.told(&[row(1), row(2), row(3)]), ["0 1 | a", "1 2 | a", "2 3 | a"]);
}

#[test]
fn a_default_that_is_none_is_told() {
    let reader = schema(&format!(r#"{ID},{{"name":"n","type":"int","default":"x"}}"#));
    let topic = Topic::new(&[("id", DataType::Int64), ("n", DataType::Int32)], &[]).reader(&reader, &[(1, &schema(ID))]);
    assert_eq!(topic.told(&[of(1, vec![Avro::Number(1)])]), ["0! schema 1 lacks field `n`, whose default is wrong: \"x\" is not of its type"]);
}

#[test]
fn schemas_refer_to_others_in_the_registry() {
    let money = r#"{"type":"record","name":"Money","namespace":"bank","fields":[{"name":"cents","type":"long"}]}"#;
    let wire = r#"{"type":"enum","name":"Kind","namespace":"bank","symbols":["CARD","CASH"]}"#;
    let topic = Topic::new(&[("id", DataType::Int64), ("kind", DataType::Utf8)], &[]);
    let using = schema(&format!(r#"{{"name":"price","type":"bank.Money"}},{ID},{{"name":"kind","type":"bank.Kind"}}"#));
    topic.schemas.put(1, &using, &[money.to_owned(), wire.to_owned()]);
    assert_eq!(topic.told(&[of(1, vec![Avro::Record(vec![Avro::Number(5)]), Avro::Number(1), Avro::Number(1)])]), ["0 1 | CASH"]);
}

#[test]
fn reserved_fields_mean_what_they_mean_elsewhere() {
    let fields = format!(
        r#"{ID},{{"name":"_source","type":["null","string"]}},{{"name":"_tombstone","type":"boolean"}},
        {{"name":"_append_time","type":{{"type":"long","logicalType":"timestamp-micros"}}}}"#
    );
    let topic = Topic::new(&[("id", DataType::Int64)], &[(1, &schema(&fields))]);
    let row = |id: i64, source: Avro, deletes: bool| of(1, vec![Avro::Number(id), source, Avro::Boolean(deletes), Avro::Number(id * 10)]);
    let named = |name: &str| Avro::some(Avro::text(name));
    assert_eq!(
        topic.told(&[row(1, Avro::none(), false), row(2, named("sales"), true), row(3, named("returns"), false), row(4, named("other"), false)]),
        ["0 1 @10", "1 2 @20 deletes", "3! `_source` names `other`, which is not declared · declared: sales, returns"]
    );
}
