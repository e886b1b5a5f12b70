//! Payments as Avro, the way Confluent's clients write them.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use lockstep_testkit::avro::{Avro, confluent};

/// The schema of a payment, and its id in a registry.
pub const SCHEMA: &str = r#"{"type":"record","name":"Payment","fields":[
    {"name":"id","type":"long"},{"name":"account","type":"long"},{"name":"amount","type":"double"},{"name":"kind","type":"string"},
    {"name":"paid_at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
pub const SCHEMA_ID: u32 = 1;

/// The records of a batch.
pub fn records(batch: &RecordBatch) -> Vec<Vec<u8>> {
    let (ids, accounts) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
    let (amounts, kinds) = (batch.column(2).as_primitive::<Float64Type>(), batch.column(3).as_string::<i32>());
    let times = batch.column(4).as_primitive::<TimestampMicrosecondType>();
    let record = |row: usize| {
        let (id, account) = (Avro::Number(ids.value(row)), Avro::Number(accounts.value(row)));
        Avro::Record(vec![id, account, Avro::Double(amounts.value(row)), Avro::text(kinds.value(row)), Avro::Number(times.value(row))])
    };
    (0..batch.num_rows()).map(|row| confluent(SCHEMA_ID, &record(row))).collect()
}

/// A bare decoder of them, for batches of so many.
pub fn decoder(rows: usize) -> Decoder {
    let mut schemas = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    schemas.set(Fingerprint::Id(SCHEMA_ID), AvroSchema::new(SCHEMA.to_owned())).expect("a schema");
    ReaderBuilder::new().with_writer_schema_store(schemas).with_batch_size(rows).build_decoder().expect("a decoder")
}

/// Decodes records that stand behind each other.
pub fn decode(decoder: &mut Decoder, mut bytes: &[u8]) -> RecordBatch {
    while !bytes.is_empty() {
        let read = decoder.decode(bytes).expect("records");
        assert!(read > 0, "more records than a batch has");
        bytes = &bytes[read..];
    }
    decoder.flush().expect("rows").expect("some")
}
