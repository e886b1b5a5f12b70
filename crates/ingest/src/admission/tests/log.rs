//! A log of test rows, and what comes of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use lockstep_model::{EventTime, PartitionId};
use lockstep_store::{Counters, DeadLetter, KeyEntryHeader, Refusal};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::definition::{Definitions, SourceFile};

use crate::admission::{Admission, Admitted, Arrivals, Kind, MemoryKeyIndex};

/// The clock of all tests, µs.
pub(super) const NOW: i64 = 1_000;

/// A row of the test source. Times are µs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Row {
    pub(super) key: Option<i64>,
    pub(super) time: Option<i64>,
    pub(super) version: Option<i64>,
    pub(super) x: Option<f64>,
    pub(super) seen: Option<i64>,
    pub(super) append: Option<i64>,
    pub(super) tombstone: bool,
}

/// Reads rows as `k=1 t=10 v=2 x=1.5 seen=4 append=9 tombstone`, one a line.
pub(super) fn parse(text: &str) -> Vec<Row> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_row).collect()
}

fn parse_row(line: &str) -> Row {
    let mut row = Row::default();
    for word in line.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "k" => row.key = Some(value.parse().unwrap()),
            "t" => row.time = Some(value.parse().unwrap()),
            "v" => row.version = Some(value.parse().unwrap()),
            "x" => row.x = Some(value.parse().unwrap()),
            "seen" => row.seen = Some(value.parse().unwrap()),
            "append" => row.append = Some(value.parse().unwrap()),
            "tombstone" => row.tombstone = true,
            _ => panic!("{word}"),
        }
    }
    row
}

/// A source of `(k, at, v, x, seen)` with these options.
pub(super) fn plan(options: &str) -> Arc<SourcePlan> {
    let text = format!(
        "CREATE SOURCE events (k BIGINT, at TIMESTAMP, v BIGINT, x DOUBLE, seen TIMESTAMP, PRIMARY KEY (k)) WITH (event_time = 'at'{}{options});",
        if options.is_empty() { "" } else { ", " }
    );
    let definitions = Definitions::parse(&[SourceFile::new("events.sql", text)]).unwrap();
    Arc::clone(&Catalog::compile(definitions).unwrap().sources["events"])
}

pub(super) fn batch(plan: &SourcePlan, rows: &[Row]) -> RecordBatch {
    let times = |of: fn(&Row) -> Option<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(of))) };
    let integers = |of: fn(&Row) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(rows.iter().map(of))) };
    let xs: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.x)));
    let columns = vec![integers(|row| row.key), times(|row| row.time), integers(|row| row.version), xs, times(|row| row.seen)];
    RecordBatch::try_new(Arc::clone(&plan.schema), columns).unwrap()
}

/// An event that stands: its place in the order, and what is known of it.
pub(super) type Events = BTreeMap<(i64, Vec<u8>, Vec<u8>), Event>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) row: Row,
    pub(super) known: (i64, i64),
}

/// One partition being admitted, with everything that came of it.
pub(super) struct Log {
    pub(super) admission: Admission,
    pub(super) kind: Kind,
    pub(super) partition: PartitionId,
    pub(super) next_row: u64,
    pub(super) event_time_max: Option<i64>,
    pub(super) index: MemoryKeyIndex,
    pub(super) events: Events,
    pub(super) counters: Counters,
    pub(super) refusals: Vec<Refusal>,
    pub(super) dead_letters: Vec<DeadLetter>,
}

impl Log {
    pub(super) fn new(options: &str, kind: Kind) -> Self {
        Log {
            admission: Admission::new(&plan(options), 0).unwrap(),
            kind,
            partition: PartitionId { source: "events".to_owned(), partition: "a".to_owned() },
            next_row: 0,
            event_time_max: None,
            index: MemoryKeyIndex::new(),
            events: Events::new(),
            counters: Counters::default(),
            refusals: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    /// Admits a batch and keeps what comes of it.
    pub(super) fn admit(&mut self, rows: &[Row]) -> &mut Self {
        let admitted = self.decide(rows);
        self.next_row += rows.len() as u64;
        self.keep(admitted);
        self
    }

    /// Admits a batch and keeps nothing.
    pub(super) fn decide(&self, rows: &[Row]) -> Admitted {
        let numbers: Vec<u64> = (self.next_row..).take(rows.len()).collect();
        let batch = batch(&self.admission.plan, rows);
        let tombstone = BooleanArray::from_iter(rows.iter().map(|row| row.tombstone.then_some(true)));
        let append_time = Int64Array::from_iter(rows.iter().map(|row| row.append));
        let original = |row: usize| format!("{:?}", rows[row]).into_bytes();
        let arrivals = Arrivals {
            partition: &self.partition,
            rows: &numbers,
            batch: &batch,
            tombstone: Some(&tombstone),
            append_time: Some(&append_time),
            bad: &[],
            original: &original,
        };
        self.admission.admit(&arrivals, self.event_time_max, &self.index, EventTime(NOW), self.kind).unwrap()
    }

    fn keep(&mut self, admitted: Admitted) {
        self.apply_changes(&admitted);
        let keys: Vec<&[u8]> = admitted.keys.iter().map(|write| write.key.as_slice()).collect();
        assert!(keys.iter().collect::<std::collections::BTreeSet<_>>().len() == keys.len(), "one write a key");
        self.index.apply(&admitted.keys);
        self.event_time_max = admitted.event_time_max;
        self.counters += admitted.counters;
        self.refusals.extend(admitted.refusals);
        self.dead_letters.extend(admitted.dead_letters);
    }

    /// What goes must be there as it is said to be, and what comes must not.
    fn apply_changes(&mut self, admitted: &Admitted) {
        admitted.with_changes(|changes| {
            for at in 0..changes.rows.num_rows() {
                let row = row_of(changes.rows, at);
                let (key, version) = (changes.suffix)(at);
                let place = (row.time.unwrap(), key.to_vec(), version.to_vec());
                let event = Event { row, known: (changes.known_from[at], changes.known_until[at]) };
                assert!(event.known.0 < event.known.1, "{event:?} was never known");
                if changes.sign[at] {
                    assert_eq!(self.events.insert(place, event), None);
                } else {
                    assert_eq!(self.events.remove(&place), Some(event));
                }
            }
        });
    }

    /// Everything that came of the log, as text.
    pub(super) fn report(&self) -> String {
        let mut out = String::new();
        for Event { row, known } in self.events.values() {
            let end = |time: i64, open: i64| if time == open { "∞".to_owned() } else { time.to_string() };
            writeln!(out, "{} [{}, {})", text(row), end(known.0, i64::MIN), end(known.1, i64::MAX)).unwrap();
        }
        for refusal in &self.refusals {
            let Refusal { row, event_time, primary_key, watermark, .. } = refusal;
            writeln!(out, "refused {row}: k={primary_key} t={} after {}", event_time.0, watermark.0).unwrap();
        }
        for letter in &self.dead_letters {
            writeln!(out, "dead {}: {}", letter.row, letter.reason).unwrap();
        }
        let Counters { applied, duplicates, conflicts, refused, dead_lettered, superseded, .. } = self.counters;
        assert_eq!(applied + duplicates + refused + dead_lettered, self.next_row, "every row is one of these");
        writeln!(out, "applied {applied}, superseded {superseded}, duplicates {duplicates}, conflicts {conflicts}").unwrap();
        writeln!(out, "max {:?}", self.event_time_max).unwrap();
        out
    }

    /// By when the entry of a key expires.
    pub(super) fn expires(&self, key: i64) -> Option<i64> {
        let (header, _) = KeyEntryHeader::split(self.entry(key)?).unwrap();
        Some(header.event_time.0)
    }

    /// What is remembered of a key.
    pub(super) fn entry(&self, key: i64) -> Option<&[u8]> {
        let columns: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![key]))];
        let keys = lockstep_model::key::Keys::encode(&columns).unwrap();
        self.index.get(0, keys.get(0))
    }
}

fn text(row: &Row) -> String {
    let mut out = format!("k={} t={}", row.key.unwrap(), row.time.unwrap());
    for (name, value) in [("v", row.version), ("seen", row.seen)] {
        value.iter().for_each(|value| write!(out, " {name}={value}").unwrap());
    }
    row.x.iter().for_each(|x| write!(out, " x={x}").unwrap());
    out
}

fn row_of(batch: &RecordBatch, at: usize) -> Row {
    let integer = |column: usize| {
        let column = batch.column(column).as_primitive::<Int64Type>();
        column.is_valid(at).then(|| column.value(at))
    };
    let time = |column: usize| {
        let column = batch.column(column).as_primitive::<TimestampMicrosecondType>();
        column.is_valid(at).then(|| column.value(at))
    };
    let xs = batch.column(3).as_primitive::<Float64Type>();
    Row { key: integer(0), time: time(1), version: integer(2), x: xs.is_valid(at).then(|| xs.value(at)), seen: time(4), ..Row::default() }
}
