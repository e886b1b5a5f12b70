//! Bytes that are no records: each costs itself alone.

use lockstep_testkit::avro::{fingerprint, single_object};

use super::*;

const FIELDS: &str = r#"{"name":"id","type":"long"},{"name":"name","type":["null","string"]},{"name":"list","type":{"type":"array","items":"int"}}"#;

fn columns() -> [(&'static str, DataType); 2] {
    [("id", DataType::Int64), ("name", DataType::Utf8)]
}

fn fine(id: i64) -> Vec<u8> {
    of(1, vec![Avro::Number(id), Avro::some(Avro::text("a")), Avro::Array(vec![Avro::Number(1)])])
}

#[test]
fn what_is_no_record_is_put_aside_and_the_others_are_read() {
    let topic = Topic::new(&columns(), &[(1, &schema(FIELDS))]);
    let mut trailing = fine(2);
    trailing.extend([0, 0]);
    let cut = |by: usize| fine(3)[..fine(3).len() - by].to_vec();
    let raw = |body: &[u8]| [&[0, 0, 0, 0, 1][..], body].concat();
    let values = [
        fine(1),
        vec![],
        vec![0, 0, 0],
        b"{\"id\":1}".to_vec(),
        raw(&[]),
        trailing,
        cut(1),
        cut(4),
        raw(&[2, 8, 0]),
        raw(&[2, 2, 2, 0xff, 0]),
        raw(&[2, 2, 9, 0]),
        raw(&[0xff; 12]),
        raw(&[2, 0, 1, 4, 2, 0]),
        raw(&[2, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]),
        raw(&[2, 0, 2, 0x80, 0x80, 0x80, 0x80, 0x20, 0]),
        vec![b'x'; (16 << 20) + 1],
        fine(4),
    ];
    assert_eq!(
        topic.told(&values),
        [
            "0 1 | a",
            "1! it is empty and not with 00 and the four bytes of a schema's id",
            "2! it begins with 00 00 and not with 00 and the four bytes of a schema's id",
            "3! it begins with 7B 22 and not with 00 and the four bytes of a schema's id",
            "4! nothing is behind what says its schema",
            "5! 2 bytes are behind its last field",
            "6! field `list`: the record ends in it",
            "7! field `name`: the record ends in it",
            "8! field `name`: 4 is no branch of a union, of which there are 2",
            "9! field `name`: its bytes are not UTF-8",
            "10! field `name`: -5 is no length",
            "11! field `id`: its number has more than 64 bits",
            "12! field `list`: a block has another size than it says",
            "13! field `list`: element 1: the record ends in it",
            "14! field `list`: element 0: 4294967296 is not an int",
            "15! longer than 16 MiB, the longest a row may be",
            "16 4 | a",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn a_dead_letter_has_the_bytes_of_its_record() {
    let topic = Topic::new(&columns(), &[(1, &schema(FIELDS))]);
    let values = [fine(1), b"\x00\x00\x00\x00\x07x".to_vec()];
    let batch = topic.batch(&[record(0, &values[0]), record(5, &values[1])]);
    assert_eq!((batch.bad[0].row, batch.bad[0].bytes.as_slice()), (5, &values[1][..]));
    assert_eq!(String::from_utf8(batch.original.bytes(&batch.batch, 0)).unwrap(), r#"{"id":1,"name":"a"}"#);
}

#[test]
fn schemas_that_are_not_read_are_told_by_name() {
    let told = |schema: &str| Topic::new(&columns(), &[(1, schema)]).told(&[fine(1)]).remove(0);
    assert!(told("{").starts_with("0! schema 1 is not JSON: "));
    assert_eq!(told("\"string\""), "0! schema 1 is the schema of no record");
    assert_eq!(told(&schema(r#"{"name":"id","type":"lnog"}"#)), "0! schema 1 refers to a type `lnog` that it does not have");
    let itself = schema(r#"{"name":"id","type":"long"},{"name":"next","type":["null","Sale"]}"#);
    assert_eq!(told(&itself), "0! schema 1 has a type `Sale` that contains itself, for which Arrow has no type");
    let nothing = schema(r#"{"name":"id","type":"long"},{"name":"none","type":{"type":"array","items":"null"}}"#);
    assert_eq!(told(&nothing), "0! schema 1 has an array whose elements take no bytes, so that nothing bounds their number");
    let deep = format!("{}\"int\"{}", "{\"type\":\"array\",\"items\":".repeat(100), "}".repeat(100));
    assert_eq!(told(&schema(&format!(r#"{{"name":"id","type":{deep}}}"#))), "0! schema 1 is larger than what is read: 64 levels, 10000 types");
}

#[test]
fn single_objects_are_told_by_their_fingerprints() {
    let canonical = r#"{"name":"Sale","type":"record","fields":[{"name":"id","type":"long"}]}"#;
    let written = r#"{"type":"record","doc":"a sale","name":"Sale","fields":[{"name":"id","type":{"type":"long"}}]}"#;
    let mut topic = Topic::new(&[("id", DataType::Int64)], &[]);
    topic.schemas = Arc::new(Schemas::new(Wire::SingleObject, &[("a.avsc".to_owned(), written.to_owned())]).unwrap());
    let known = fingerprint(canonical);
    let row = Avro::Record(vec![Avro::Number(7)]);
    let told = topic.told(&[single_object(known, &row), single_object(known ^ 1, &row), confluent(1, &row)]);
    assert_eq!(told[0], "0 7");
    assert_eq!(told[1], format!("1! no schema that the stream names has the fingerprint {:016x}, which it says", known ^ 1));
    assert_eq!(told[2], "2! it begins with 00 00 and not with C3 01 and the eight bytes of a schema's fingerprint");
}

#[test]
fn plain_records_are_of_the_one_schema() {
    let mut topic = Topic::new(&[("id", DataType::Int64)], &[]);
    topic.schemas = Arc::new(Schemas::new(Wire::Plain, &[("a.avsc".to_owned(), schema(r#"{"name":"id","type":"long"}"#))]).unwrap());
    assert_eq!(topic.told(&[vec![14], vec![14, 0]]), ["0 7", "1! one byte is behind its last field"]);
}

#[test]
fn a_file_that_is_no_schema_is_told_when_the_topic_is_opened() {
    let wrong = |text: &str| Schemas::new(Wire::Plain, &[("a.avsc".to_owned(), text.to_owned())]).unwrap_err();
    assert!(wrong("").starts_with("a.avsc is not JSON: "));
    assert_eq!(wrong("\"int\""), "a.avsc is the schema of no record");
}
