//! Keys: of records that delete them, and as values of columns.

use super::*;

const FIELDS: &str = r#"{"name":"id","type":"long"},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}"#;

fn topic() -> Topic {
    let keys = [
        (10, "\"long\"".to_owned()),
        (11, schema(FIELDS)),
        (12, schema(r#"{"name":"id","type":["null",{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}]}"#)),
        (13, "\"string\"".to_owned()),
    ];
    let known: Vec<(u32, &str)> = keys.iter().map(|(id, schema)| (*id, schema.as_str())).collect();
    Topic::new(&[("id", DataType::Int64), ("at", MOMENT)], &known)
}

fn deleted(offset: usize, key: &[u8]) -> Record<'_> {
    Record { offset: offset as u64, time: Some(offset as i64), key: Some(key), value: None, mapped: &[] }
}

#[test]
fn a_record_without_a_value_deletes_its_key_however_that_is_written() {
    let keys = [
        confluent(10, &Avro::Number(1)),
        of(11, vec![Avro::Number(2), Avro::Number(1)]),
        of(12, vec![Avro::some(Avro::decimal(30))]),
        confluent(13, &Avro::text("4")),
        b"5".to_vec(),
        br#"{"id":6}"#.to_vec(),
        confluent(14, &Avro::Number(7)),
        [confluent(10, &Avro::Number(8)), vec![0]].concat(),
        of(12, vec![Avro::some(Avro::decimal(35))]),
    ];
    let mut records: Vec<Record<'_>> = keys.iter().enumerate().map(|(offset, key)| deleted(offset, key)).collect();
    let value = of(11, vec![Avro::Number(9), Avro::Number(0)]);
    records.push(Record { value: Some(&value), ..deleted(9, b"9") });
    records.push(Record { key: None, ..deleted(10, b"") });
    let batch = topic().batch(&records);
    assert_eq!(
        shown(&batch),
        [
            "0 1 | NULL @0 deletes",
            "1 2 | 1970-01-01T00:00:00.001 @1 deletes",
            "2 3 | NULL @2 deletes",
            "3 4 | NULL @3 deletes",
            "4 5 | NULL @4 deletes",
            "5 6 | NULL @5 deletes",
            "6! its key: schema 14 is not known",
            "7! its key: one byte is behind its last field",
            "8! column `id`: \"35e-1\" is not a whole number: it has too many decimal places",
            "9 9 | 1970-01-01T00:00:00 @9",
            "10! it has neither key nor value: what it deletes is named by its key",
        ]
    );
    assert_eq!(batch.bad[0].bytes, keys[6]);
    assert_eq!(String::from_utf8(batch.original.bytes(&batch.batch, 0)).unwrap(), r#"{"id":1,"_tombstone":true}"#);
}

#[test]
fn parts_of_records_are_values_of_columns() {
    let mut topic = topic();
    topic.source.columns = Arc::new(ArrowSchema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("key", DataType::Utf8, true),
        Field::new("raw", DataType::Binary, true),
        Field::new("at", MOMENT, true),
    ]));
    topic.mapping = Mapping { columns: vec![1, 2, 3], key: Some(0) };
    let value = of(11, vec![Avro::Number(1), Avro::Number(0)]);
    let with = |offset: u64, key, mapped| Record { offset, time: None, key, value: Some(&value), mapped };
    let avro_key = confluent(10, &Avro::Number(77));
    let unknown = confluent(99, &Avro::Number(77));
    let rows: [(&[u8], [Option<&[u8]>; 3]); 4] = [
        (b"k", [Some(b"k"), Some(b"\x00\xff"), Some(b"2024-01-01T00:00:00Z")]),
        (&avro_key, [Some(&avro_key), None, None]),
        (&unknown, [Some(&unknown), None, None]),
        (b"\xff", [Some(b"\xff"), None, Some(b"noon")]),
    ];
    let records: Vec<Record<'_>> = rows.iter().enumerate().map(|(offset, (key, mapped))| with(offset as u64, Some(*key), mapped)).collect();
    assert_eq!(
        shown(&topic.batch(&records)),
        [
            "0 1 | k | 00ff | 2024-01-01T00:00:00",
            "1 1 | 77 | NULL | NULL",
            "2! its key: schema 99 is not known",
            "3! column `key`: its bytes are not UTF-8",
        ]
    );
}
