//! Records that fastavro has written: `tests/golden/avro`.

use super::*;

const RECORDS: &str = include_str!("../../../../../../tests/golden/avro/records.txt");

#[test]
fn what_another_has_written_is_read() {
    let mut lines = RECORDS.lines();
    let columns = [
        ("id", DataType::Int64),
        ("small", DataType::Int32),
        ("truth", DataType::Boolean),
        ("single", DataType::Float64),
        ("double", DataType::Float64),
        ("text", DataType::Utf8),
        ("raw", DataType::Binary),
        ("uuid", DataType::Utf8),
        ("state", DataType::Utf8),
        ("before", DataType::Utf8),
        ("day", DataType::Date32),
        ("millis", MOMENT),
        ("micros", MOMENT),
        ("local", MOMENT),
        ("amount", DataType::Decimal128(18, 3)),
        ("fixed", DataType::Decimal128(18, 2)),
        ("list", DataType::new_list(DataType::Int64, true)),
    ];
    let mut topic = Topic::new(&columns, &[]);
    topic.schemas = Arc::new(Schemas::new(Wire::SingleObject, &[("golden.avsc".to_owned(), lines.next().unwrap().to_owned())]).unwrap());
    let (values, expected): (Vec<Vec<u8>>, Vec<String>) = lines
        .enumerate()
        .map(|(number, line)| {
            let (bytes, row) = line.split_once('\t').unwrap();
            let bytes = (0..bytes.len()).step_by(2).map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap()).collect();
            (bytes, format!("{number} {row}"))
        })
        .unzip();
    assert_eq!(values.len(), 24);
    assert_eq!(topic.told(&values), expected);
}
