//! Records at random: what is read is what was written, whatever is damaged in others.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

/// A field: its type in Avro, that of its column, and its values.
fn field() -> impl Strategy<Value = (&'static str, DataType, BoxedStrategy<(Avro, String)>)> {
    prop_oneof![
        Just(("\"long\"", DataType::Int64, any::<i64>().prop_map(|value| (Avro::Number(value), value.to_string())).boxed())),
        Just(("\"int\"", DataType::Int64, any::<i32>().prop_map(|value| (Avro::Number(i64::from(value)), value.to_string())).boxed())),
        Just(("\"boolean\"", DataType::Boolean, any::<bool>().prop_map(|value| (Avro::Boolean(value), value.to_string())).boxed())),
        Just(("\"string\"", DataType::Utf8, "[a-zé]{0,9}".prop_map(|value| (Avro::text(value.clone()), value)).boxed())),
        Just((
            r#"["null","long"]"#,
            DataType::Int64,
            proptest::option::of(any::<i64>())
                .prop_map(|value| match value {
                    Some(value) => (Avro::some(Avro::Number(value)), value.to_string()),
                    None => (Avro::none(), "NULL".to_owned()),
                })
                .boxed()
        )),
        Just((
            r#"{"type":"array","items":"int"}"#,
            DataType::new_list(DataType::Int32, true),
            proptest::collection::vec(any::<i32>(), 0..4)
                .prop_map(|values| (Avro::Array(values.iter().map(|value| Avro::Number(i64::from(*value))).collect()), format!("{values:?}")))
                .boxed()
        )),
    ]
}

/// A schema, columns for those of its fields that are declared, and rows with what they come to.
fn written() -> impl Strategy<Value = (String, Vec<(String, DataType)>, Vec<(Vec<u8>, String)>)> {
    proptest::collection::vec((field(), any::<bool>()), 1..6).prop_flat_map(|fields| {
        let mut schema = String::new();
        let mut columns = Vec::new();
        for (number, ((avro, column, _), declared)) in fields.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(schema, r#"{comma}{{"name":"f{number}","type":{avro}}}"#).unwrap();
            if *declared || number == 0 {
                columns.push((format!("f{number}"), column.clone()));
            }
        }
        let is_shown: Vec<bool> = fields.iter().enumerate().map(|(number, (_, declared))| *declared || number == 0).collect();
        let values: Vec<BoxedStrategy<(Avro, String)>> = fields.into_iter().map(|((_, _, values), _)| values).collect();
        let row = values.prop_map(move |values| {
            let shown: Vec<&str> = values.iter().zip(&is_shown).filter(|(_, shown)| **shown).map(|((_, text), _)| text.as_str()).collect();
            let shown = shown.join(" | ");
            (of(1, values.into_iter().map(|(value, _)| value).collect()), shown)
        });
        (Just(super::schema(&schema)), Just(columns), proptest::collection::vec(row, 1..12))
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read((schema, columns, rows) in written(), damaged in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), by in any::<u8>()) {
        let columns: Vec<(&str, DataType)> = columns.iter().map(|(name, data_type)| (name.as_str(), data_type.clone())).collect();
        let topic = Topic::new(&columns, &[(1, &schema)]);
        let mut values: Vec<Vec<u8>> = rows.iter().map(|(value, _)| value.clone()).collect();
        let expected: Vec<String> = rows.iter().enumerate().map(|(offset, (_, shown))| format!("{offset} {shown}")).collect();
        prop_assert_eq!(topic.told(&values), expected.clone());
        // A byte that is another costs its own record at most.
        let damaged = damaged.index(values.len());
        let at = at.index(values[damaged].len());
        values[damaged][at] = by;
        let told = topic.told(&values);
        prop_assert_eq!(told.len(), expected.len());
        for (offset, (told, expected)) in told.iter().zip(&expected).enumerate() {
            prop_assert!(offset == damaged || told == expected, "{}", told);
        }
    }

    #[test]
    fn any_schema_is_read_or_refused(text in r#"[\[\]{}:,"a-z ]{0,60}"#) {
        let _ = super::super::schema::Schema::parse(&text, &[]);
    }
}
