//! Records in, rows out: what is told of them, as text.

mod evolution;
mod golden;
mod keys;
mod peer;
mod poison;
mod types;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_model::{KafkaPosition, PartitionId, Position};
use lockstep_testkit::avro::{Avro, confluent};

use super::super::zone::Zone;
use super::super::{Encoding, Mapping, Record, Records, SourceBatch, SourceSchema};
use super::{Schemas, Wire};

const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A source that is read from a topic of Avro.
struct Topic {
    source: SourceSchema,
    mapping: Mapping,
    schemas: Arc<Schemas>,
}

impl Topic {
    /// With these columns, the first of which is the key, and schemas in a registry.
    fn new(columns: &[(&str, DataType)], schemas: &[(u32, &str)]) -> Topic {
        let fields: Vec<Field> = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
        let known = Schemas::new(Wire::Confluent, &[]).unwrap();
        schemas.iter().for_each(|(id, schema)| known.put(*id, schema, &[]));
        Topic {
            source: SourceSchema {
                name: "sales".to_owned(),
                columns: Arc::new(ArrowSchema::new(fields)),
                event_time: 0,
                primary_key: vec![0],
                time_zone: Zone::Utc,
            },
            mapping: Mapping::default(),
            schemas: Arc::new(known),
        }
    }

    /// Whose rows are read by a schema.
    fn reader(mut self, schema: &str, schemas: &[(u32, &str)]) -> Topic {
        let known = Schemas::new(Wire::Confluent, &[("reader.avsc".to_owned(), schema.to_owned())]).unwrap();
        schemas.iter().for_each(|(id, schema)| known.put(*id, schema, &[]));
        self.schemas = Arc::new(known);
        self
    }

    fn records(&self) -> Records {
        let partition = PartitionId { source: "sales".to_owned(), partition: "kafka://sales/0".to_owned() };
        let declared = vec!["sales".to_owned(), "returns".to_owned()];
        Records::new(&partition, self.source.clone(), declared, &Encoding::Avro(Arc::clone(&self.schemas)), self.mapping.clone()).unwrap()
    }

    fn batch(&self, records: &[Record<'_>]) -> SourceBatch {
        let mut gathered = self.records();
        records.iter().for_each(|record| gathered.push(*record));
        gathered.finish(position()).unwrap()
    }

    /// What comes of values: rows, and what is wrong with the others, in the order of the log.
    fn told(&self, values: &[Vec<u8>]) -> Vec<String> {
        shown(&self.batch(&values.iter().enumerate().map(|(offset, value)| record(offset, value)).collect::<Vec<_>>()))
    }
}

fn record(offset: usize, value: &[u8]) -> Record<'_> {
    Record { offset: offset as u64, time: None, key: None, value: Some(value), mapped: &[] }
}

fn position() -> Position {
    Position::Kafka(KafkaPosition {
        cluster: String::new(),
        topic_id: String::new(),
        first: 0,
        offset: 99,
        last: None,
        gap: None,
        event_time_max: None,
        begun_at: None,
        order: 0,
    })
}

/// Rows as `0 7 | a | NULL`, others as `1! why`.
fn shown(batch: &SourceBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let columns: Vec<_> = batch.batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let row = |row: usize| {
        let values: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
        let deletes = batch.tombstone.as_ref().is_some_and(|deletes| deletes.value(row));
        let append_time = batch.append_time.as_ref().map(|times| format!(" @{}", times.value(row))).unwrap_or_default();
        (batch.rows[row], format!("{} {}{append_time}{}", batch.rows[row], values.join(" | "), if deletes { " deletes" } else { "" }))
    };
    let mut rows: Vec<(u64, String)> = (0..batch.rows.len()).map(row).collect();
    assert!(rows.is_sorted(), "{rows:?}");
    rows.extend(batch.bad.iter().map(|bad| (bad.row, format!("{}! {}", bad.row, bad.reason))));
    rows.sort();
    rows.into_iter().map(|(_, text)| text).collect()
}

/// A record of fields, of schema `id`.
fn of(id: u32, fields: Vec<Avro>) -> Vec<u8> {
    confluent(id, &Avro::Record(fields))
}

/// A record schema with these fields.
fn schema(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"Sale","namespace":"test","fields":[{fields}]}}"#)
}
