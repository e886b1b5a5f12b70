//! Records of a log, one JSON object each, to batches: the same scanner and the same columns as NDJSON in files.

use std::sync::Arc;

use arrow::array::{Array, Int64Array};
use lockstep_model::{Error, PartitionId, Position};

use super::super::json::{self, Member};
use super::super::route::{Route, Router};
use super::super::{RECORD_BYTES_MAX, SourceBatch, SourceSchema, TOMBSTONE_MEMBER, WantedSource};
use super::gather::Gather;
use super::{LONG_RECORD_KEPT_BYTES, route};

/// Longest key of a record that deletes what it names.
const KEY_BYTES_MAX: usize = 64 << 10;

/// A record of a log.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its number within its partition.
    pub offset: u64,
    /// When the log took it, in microseconds, where it says so.
    pub time: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value: a JSON object. Without one, the record deletes what its key names.
    pub value: Option<&'a [u8]>,
}

/// Records of one partition, gathered until they are made a batch.
///
/// A row that does not say its `_append_time` was taken when its record was. A record without a value deletes its key: the columns of the primary key as a JSON
/// object, or, where that is one column, its value as text.
#[derive(Debug)]
pub struct Records {
    gather: Gather,
    router: Router,
    /// The column of a primary key that is one.
    only_key: Option<String>,
    text: String,
    members: Vec<Member>,
    /// Offset and time of each record that has one.
    times: Vec<(u64, i64)>,
    records: usize,
}

impl Records {
    /// Nothing gathered yet of a partition. `declared` are the sources that rows may name by `_source`.
    ///
    /// # Errors
    /// Invalid where a column's type has no form in JSON.
    pub fn new(partition: &PartitionId, schema: SourceSchema, declared: Vec<String>) -> Result<Self, Error> {
        let only_key = match schema.primary_key.as_slice() {
            [column] => Some(schema.columns.field(*column).name().clone()),
            _ => None,
        };
        let router = Router::of(vec![schema.name.clone()], declared);
        let gather = Gather::new(&partition.partition, WantedSource { schema, resume: None })?;
        Ok(Records { gather, router, only_key, text: String::new(), members: Vec::new(), times: Vec::new(), records: 0 })
    }

    /// Records gathered.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds the next record.
    pub fn push(&mut self, record: Record<'_>) {
        self.records += 1;
        self.times.extend(record.time.map(|time| (record.offset, time)));
        let taken = match record.value {
            Some(value) => self.push_value(record.offset, value),
            None => self.push_tombstone(record.offset, record.key),
        };
        if let Err(reason) = taken {
            let bytes = record.value.or(record.key).unwrap_or_default();
            let kept = if bytes.len() > RECORD_BYTES_MAX { &bytes[..LONG_RECORD_KEPT_BYTES] } else { bytes };
            self.gather.push_bad(record.offset, reason, kept);
        }
    }

    fn push_value(&mut self, offset: u64, value: &[u8]) -> Result<(), String> {
        if value.len() > RECORD_BYTES_MAX {
            return Err(format!("longer than {} MiB, the longest a row may be", RECORD_BYTES_MAX >> 20));
        }
        let value = std::str::from_utf8(value).map_err(|_| "its bytes are not UTF-8".to_owned())?;
        if value.trim_ascii().is_empty() {
            return Err("its value is empty".to_owned());
        }
        self.push_text(offset, value)
    }

    /// Adds an object; takes its text back where it is none.
    fn push_text(&mut self, offset: u64, value: &str) -> Result<(), String> {
        let start = self.text.len();
        self.text.push_str(value);
        let taken = self.take(offset, start);
        if taken.is_err() {
            self.text.truncate(start);
        }
        taken
    }

    fn take(&mut self, offset: u64, start: usize) -> Result<(), String> {
        let end = self.text.len();
        json::members(&self.text, start, end, &mut self.members)
            .map_err(|error| format!("not a JSON object: {} at byte {} of the value", error.what, error.at - start + 1))?;
        if let Route::To(_) = route(&self.router, &self.text, &self.members)? {
            self.gather.push_object(&self.text, &self.members, offset, (start, end));
        }
        Ok(())
    }

    /// A record without a value, as the object that would say the same.
    fn push_tombstone(&mut self, offset: u64, key: Option<&[u8]>) -> Result<(), String> {
        let key = key.ok_or("it has neither key nor value: what it deletes is named by its key")?;
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
        self.push_text(offset, &object)
    }

    /// The records gathered, with the position behind them.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn finish(&mut self, position: Position) -> Result<SourceBatch, Error> {
        self.records = 0;
        let text = Arc::new(std::mem::take(&mut self.text));
        let mut batch = self.gather.finish(&text, position)?;
        let times = std::mem::take(&mut self.times);
        batch.append_time = append_time(batch.append_time.as_ref(), &batch.rows, &times);
        Ok(batch)
    }
}

/// When each row was taken: as it says, else as its record does.
fn append_time(said: Option<&Int64Array>, rows: &[u64], times: &[(u64, i64)]) -> Option<Int64Array> {
    if times.is_empty() {
        return said.cloned();
    }
    let mut times = times.iter().peekable();
    let of_row = |(index, &row): (usize, &u64)| {
        while times.next_if(|(offset, _)| *offset < row).is_some() {}
        let recorded = times.next_if(|(offset, _)| *offset == row).map(|(_, time)| *time);
        said.filter(|said| said.is_valid(index)).map(|said| said.value(index)).or(recorded)
    };
    Some(rows.iter().enumerate().map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use lockstep_model::KafkaPosition;

    use super::*;
    use crate::source::zone::Zone;

    fn records(keys: usize) -> Records {
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
        Records::new(&partition, schema, vec!["sales".to_owned(), "returns".to_owned()]).unwrap()
    }

    /// What records come to: rows as JSON with append time and whether they delete, and what is wrong with the others.
    fn told(keys: usize, given: &[(Option<&[u8]>, Option<&[u8]>)]) -> Vec<String> {
        let mut records = records(keys);
        for (offset, (key, value)) in given.iter().enumerate() {
            records.push(Record { offset: 10 + 2 * offset as u64, time: Some(offset as i64), key: *key, value: *value });
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
        assert!(records.is_empty());
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
