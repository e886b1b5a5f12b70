//! Records of a log, one JSON object each, to batches: the same scanner and the same columns as NDJSON in files.

use std::sync::Arc;

use lockstep_model::{Error, PartitionId, Position};

use super::super::json::{self, Member};
use super::super::record::{Mapping, Record, append_time, push_part};
use super::super::route::{Route, Router};
use super::super::rows::{Cell, Kind};
use super::super::{RECORD_BYTES_MAX, SourceBatch, SourceSchema, TOMBSTONE_MEMBER, WantedSource};
use super::gather::Gather;
use super::{LONG_RECORD_KEPT_BYTES, route};

/// Longest key of a record that deletes what it names.
const KEY_BYTES_MAX: usize = 64 << 10;

/// Records whose values are JSON objects.
#[derive(Debug)]
pub struct JsonRecords {
    gather: Gather,
    router: Router,
    mapping: Mapping,
    /// Whether what a record deletes is named by a mapped column.
    key_is_mapped: bool,
    /// The column of a primary key that is one.
    only_key: Option<String>,
    text: String,
    members: Vec<Member>,
    mapped: Vec<(usize, Cell)>,
    /// Offset and time of each record that has one.
    times: Vec<(u64, i64)>,
    records: usize,
}

impl JsonRecords {
    pub(in super::super) fn new(partition: &PartitionId, source: SourceSchema, declared: Vec<String>, mapping: Mapping) -> Result<Self, Error> {
        let only_key = match source.primary_key.as_slice() {
            [column] => Some(source.columns.field(*column).name().clone()),
            _ => None,
        };
        let key_is_mapped = mapping.has_primary_key(&source);
        let router = Router::of(vec![source.name.clone()], declared);
        let gather = Gather::new(&partition.partition, WantedSource { schema: source, resume: None })?;
        let (text, members, mapped, times) = (String::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(JsonRecords { gather, router, mapping, key_is_mapped, only_key, text, members, mapped, times, records: 0 })
    }

    /// Records gathered.
    pub(in super::super) fn len(&self) -> usize {
        self.records
    }

    /// Adds the next record.
    pub(in super::super) fn push(&mut self, record: Record<'_>) {
        self.records += 1;
        self.times.extend(record.time.map(|time| (record.offset, time)));
        let taken = match record.value {
            Some(value) => self.push_value(&record, value),
            None => self.push_tombstone(&record),
        };
        if let Err(reason) = taken {
            let bytes = record.value.or(record.key).unwrap_or_default();
            let kept = if bytes.len() > RECORD_BYTES_MAX { &bytes[..LONG_RECORD_KEPT_BYTES] } else { bytes };
            self.gather.push_bad(record.offset, reason, kept);
        }
    }

    fn push_value(&mut self, record: &Record<'_>, value: &[u8]) -> Result<(), String> {
        if value.len() > RECORD_BYTES_MAX {
            return Err(format!("longer than {} MiB, the longest a row may be", RECORD_BYTES_MAX >> 20));
        }
        let value = std::str::from_utf8(value).map_err(|_| "its bytes are not UTF-8".to_owned())?;
        if value.trim_ascii().is_empty() {
            return Err("its value is empty".to_owned());
        }
        self.push_text(record, value)
    }

    /// Adds an object; takes its text back where it is none.
    fn push_text(&mut self, record: &Record<'_>, value: &str) -> Result<(), String> {
        let start = self.text.len();
        self.text.push_str(value);
        let taken = self.take(record, start);
        if taken.is_err() {
            self.text.truncate(start);
        }
        taken
    }

    fn take(&mut self, record: &Record<'_>, start: usize) -> Result<(), String> {
        let end = self.text.len();
        json::members(&self.text, start, end, &mut self.members)
            .map_err(|error| format!("not a JSON object: {} at byte {} of the value", error.what, error.at - start + 1))?;
        if let Route::To(_) = route(&self.router, &self.text, &self.members)? {
            self.map(record.mapped)?;
            self.gather.push_object(&self.text, &self.members, record.offset, (start, end), &self.mapped);
        }
        Ok(())
    }

    /// Puts the parts of a record that are values of columns behind its text.
    fn map(&mut self, parts: &[Option<&[u8]>]) -> Result<(), String> {
        self.mapped.clear();
        for (column, part) in self.mapping.columns.iter().zip(parts) {
            let start = self.text.len();
            let field = self.gather.source().columns.field(*column);
            let kind = match part {
                Some(part) => {
                    let pushed = push_part(part, field.data_type(), &mut self.text);
                    pushed.map(|()| Kind::Text).map_err(|reason| format!("column `{}`: {reason}", field.name()))?
                }
                None => Kind::Null,
            };
            self.mapped.push((*column, Cell::new(kind, start, self.text.len())));
        }
        Ok(())
    }

    /// A record without a value, as the object that would say the same.
    fn push_tombstone(&mut self, record: &Record<'_>) -> Result<(), String> {
        let key = record.key.ok_or("it has neither key nor value: what it deletes is named by its key")?;
        if self.key_is_mapped {
            return self.push_text(record, &format!("{{\"{TOMBSTONE_MEMBER}\":true}}"));
        }
        let key = std::str::from_utf8(key).ok().filter(|key| key.len() <= KEY_BYTES_MAX);
        let key = key.ok_or_else(|| format!("its key is not UTF-8, or longer than {} KiB", KEY_BYTES_MAX >> 10))?;
        let object = if json::members(key, 0, key.len(), &mut self.members).is_ok() {
            let inside = key.trim_ascii().strip_suffix('}').unwrap_or(key);
            let comma = if self.members.is_empty() { "" } else { "," };
            format!("{inside}{comma}\"{TOMBSTONE_MEMBER}\":true}}")
        } else {
            let column = self.only_key.as_deref().ok_or("its key is not a JSON object with the columns of the primary key")?;
            // A key that a JSON serialiser wrote is quoted already.
            let text = serde_json::from_str::<String>(key).unwrap_or_else(|_| key.to_owned());
            format!("{{{}:{},\"{TOMBSTONE_MEMBER}\":true}}", serde_json::Value::from(column), serde_json::Value::from(text))
        };
        self.push_text(record, &object)
    }

    /// The records gathered, with the position behind them.
    pub(in super::super) fn finish(&mut self, position: Position) -> Result<SourceBatch, Error> {
        self.records = 0;
        let text = Arc::new(std::mem::take(&mut self.text));
        let mut batch = self.gather.finish(&text, position)?;
        let times = std::mem::take(&mut self.times);
        batch.append_time = append_time(batch.append_time.as_ref(), &batch.rows, &times);
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use lockstep_model::KafkaPosition;

    use super::*;
    use crate::source::zone::Zone;

    fn records(keys: usize) -> JsonRecords {
        let fields = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ];
        let schema = SourceSchema {
            name: "sales".to_owned(),
            columns: Arc::new(Schema::new(fields)),
            event_time: 2,
            primary_key: (0..keys).collect(),
            time_zone: Zone::Utc,
        };
        let partition = PartitionId { source: "sales".to_owned(), partition: "kafka://sales/0".to_owned() };
        JsonRecords::new(&partition, schema, vec!["sales".to_owned(), "returns".to_owned()], Mapping::default()).unwrap()
    }

    /// What records come to: rows as JSON with append time and whether they delete, and what is wrong with the others.
    fn told(keys: usize, given: &[(Option<&[u8]>, Option<&[u8]>)]) -> Vec<String> {
        let mut records = records(keys);
        for (offset, (key, value)) in given.iter().enumerate() {
            records.push(Record { offset: 10 + 2 * offset as u64, time: Some(offset as i64), key: *key, value: *value, mapped: &[] });
        }
        let position = KafkaPosition {
            cluster: String::new(),
            topic_id: String::new(),
            first: 0,
            offset: 99,
            last: None,
            gap: None,
            event_time_max: None,
            begun_at: None,
            order: 0,
        };
        let batch = records.finish(Position::Kafka(position)).unwrap();
        assert_eq!(records.len(), 0);
        let time = |row: usize| batch.append_time.as_ref().unwrap().value(row);
        let deletes = |row: usize| batch.tombstone.as_ref().is_some_and(|deletes| deletes.value(row));
        let row = |row: usize| {
            let original = String::from_utf8(batch.original.bytes(&batch.batch, row)).unwrap();
            format!("{}@{} {original}{}", batch.rows[row], time(row), if deletes(row) { " deletes" } else { "" })
        };
        let bad = batch.bad.iter().map(|bad| format!("{}! {} · {}", bad.row, bad.reason, String::from_utf8_lossy(&bad.bytes)));
        (0..batch.rows.len()).map(row).chain(bad).collect()
    }

    #[test]
    fn records_are_rows_and_what_is_none_is_kept() {
        let values: [&[u8]; 8] = [
            br#"{"id":1,"name":"a"}"#,
            b"",
            b"not json",
            b"{\"name\":\"\xff\"}",
            br#"{"id":1.5}"#,
            br#"{"_source":"returns","id":1}"#,
            br#"{"_append_time":"1970-01-01T00:00:01Z","id":2}"#,
            br#"{"_source":"nowhere"}"#,
        ];
        let given: Vec<_> = values.iter().map(|value| (None, Some(*value))).collect();
        assert_eq!(
            told(1, &given),
            [
                r#"10@0 {"id":1,"name":"a"}"#,
                r#"22@1000000 {"_append_time":"1970-01-01T00:00:01Z","id":2}"#,
                "12! its value is empty · ",
                "14! not a JSON object: not an object at byte 1 of the value · not json",
                "16! its bytes are not UTF-8 · {\"name\":\"\u{fffd}\"}",
                r#"18! column `id`: 1.5 is not a whole number: it has too many decimal places · {"id":1.5}"#,
                r#"24! `_source` names `nowhere`, which is not declared · declared: sales, returns · {"_source":"nowhere"}"#,
            ]
        );
    }

    #[test]
    fn a_record_without_a_value_deletes_its_key() {
        let keys: [Option<&[u8]>; 6] = [Some(b"7"), Some(br#"{"id":8}"#), Some(b"\"9\""), Some(b"{}"), Some(b"\xff"), None];
        let given: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
        let rows = told(1, &given);
        assert_eq!(rows[0], r#"10@0 {"id":"7","_tombstone":true} deletes"#);
        assert_eq!(rows[1], r#"12@1 {"id":8,"_tombstone":true} deletes"#);
        assert_eq!(rows[2], r#"14@2 {"id":"9","_tombstone":true} deletes"#);
        assert_eq!(rows[3], r#"16@3 {"_tombstone":true} deletes"#);
        assert!(rows[4].starts_with("18! its key is not UTF-8") && rows[5].starts_with("20! it has neither key nor value"), "{rows:?}");
        let two = told(2, &[(Some(br#"{"id":1,"name":"a"}"#), None), (Some(b"1"), None)]);
        assert_eq!(two[0], r#"10@0 {"id":1,"name":"a","_tombstone":true} deletes"#);
        assert!(two[1].starts_with("12! its key is not a JSON object"), "{two:?}");
    }
}
