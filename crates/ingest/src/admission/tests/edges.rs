//! Shapes of batches, messages, and what an entry remembers.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use lockstep_model::state::PRIMARY_KEY_LEN_MAX;
use lockstep_model::{ErrorKind, EventTime, Fingerprint, PartitionId};
use lockstep_store::{Commit, KeyWrite, NewGeneration, OnlineStore, Store, StoreOptions};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};

use super::log::{Log, NOW, parse, plan};
use crate::admission::{Admission, Arrivals, CutKeys, KeyIndex, Kind, MemoryKeyIndex, PendingKeys, Unreadable};

fn partition() -> PartitionId {
    PartitionId { source: "events".to_owned(), partition: "a".to_owned() }
}

#[test]
fn an_empty_batch_changes_nothing_but_keeps_its_unreadable_rows() {
    let plan = plan("version = 'v', available_at = 'seen'");
    let batch = super::log::batch(&plan, &[]);
    let bad = [Unreadable { row: 7, reason: "not an object", bytes: b"[1" }];
    let partition = partition();
    let arrivals =
        Arrivals { partition: &partition, rows: &[], batch: &batch, tombstone: None, append_time: None, bad: &bad, original: &|_| Vec::new() };
    let admission = Admission::new(&plan, 0).unwrap();
    let admitted = admission.admit(&arrivals, Some(5), &MemoryKeyIndex::new(), EventTime(NOW), Kind::Stream).unwrap();
    assert_eq!((admitted.rows.num_rows(), admitted.keys.len(), admitted.event_time_max), (0, 0, Some(5)));
    let letter = &admitted.dead_letters[0];
    assert_eq!((letter.row, letter.reason.as_str(), letter.detail.as_str(), letter.bytes.as_slice()), (7, "unreadable", "not an object", &b"[1"[..]));
    assert_eq!((admitted.counters.dead_lettered, letter.at), (1, EventTime(NOW)));
}

#[test]
fn a_batch_of_another_source_is_refused() {
    let batch = RecordBatch::try_from_iter([("k", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]).unwrap();
    let partition = partition();
    let arrivals =
        Arrivals { partition: &partition, rows: &[0], batch: &batch, tombstone: None, append_time: None, bad: &[], original: &|_| Vec::new() };
    let admission = Admission::new(&plan(""), 0).unwrap();
    let error = admission.admit(&arrivals, None, &MemoryKeyIndex::new(), EventTime(NOW), Kind::Stream).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn a_key_longer_than_an_order_key_can_hold_is_put_aside() {
    let text = "CREATE SOURCE events (k VARCHAR, at TIMESTAMP, PRIMARY KEY (k)) WITH (event_time = 'at');";
    let catalog = Catalog::compile(Definitions::parse(&[SourceFile::new("events.sql", text)]).unwrap()).unwrap();
    let plan = &catalog.sources["events"];
    // A key is a version byte, a tag, the text and its two bytes of end.
    let fits = "x".repeat(PRIMARY_KEY_LEN_MAX - 4);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(vec![fits.clone(), fits + "x"])), Arc::new(TimestampMicrosecondArray::from(vec![1, 1]))];
    let batch = RecordBatch::try_new(Arc::clone(&plan.schema), columns).unwrap();
    let partition = partition();
    let arrivals = Arrivals {
        partition: &partition,
        rows: &[3, 4],
        batch: &batch,
        tombstone: None,
        append_time: None,
        bad: &[],
        original: &|row| vec![row as u8],
    };
    let admission = Admission::new(plan, 0).unwrap();
    let admitted = admission.admit(&arrivals, None, &MemoryKeyIndex::new(), EventTime(NOW), Kind::Stream).unwrap();
    assert_eq!((admitted.rows.num_rows(), admitted.counters.applied), (1, 1));
    let letter = &admitted.dead_letters[0];
    assert_eq!((letter.row, letter.reason.as_str(), letter.bytes.as_slice()), (4, "long_key", &[1u8][..]));
}

#[test]
fn messages_say_what_is_known() {
    let mut log = Log::new("allowed_lateness = '1 minute', version = 'v', max_ahead = '1 hour'", Kind::Stream);
    log.admit(&parse(
        "k=1 t=100000000 v=1 append=1
         k=2 t=1 v=1
         k=1 t=100000000 v=1 x=2 append=1
         k=3 t=7200000000 v=1",
    ));
    assert_eq!(
        log.refusals[0].reason,
        "1 minute 39 seconds 999 milliseconds 999 microseconds behind the newest event of its partition · allowed_lateness: 1 minute"
    );
    let details: Vec<&str> = log.dead_letters.iter().map(|letter| letter.detail.as_str()).collect();
    assert_eq!(
        details,
        [
            "other content under the known key 1 and version 1 · the first content stands · corrections need a greater version",
            "event time 1970-01-01T02:00:00Z is too far past the clock, 1970-01-01T00:00:00.001Z · max_ahead: 1 hour",
        ]
    );
}

#[test]
fn an_entry_expires_by_the_largest_event_time_of_any_version() {
    let mut log = Log::new("allowed_lateness = 'unbounded', version = 'v'", Kind::Stream);
    log.admit(&parse("k=1 t=10 v=2\nk=1 t=90 v=1\nk=1 t=50 v=3\nk=2 v=1 tombstone append=70\nk=3 v=1 tombstone"));
    assert_eq!([log.expires(1), log.expires(2), log.expires(3), log.expires(4)], [Some(90), Some(70), Some(90), None]);
    let mut log = Log::new("allowed_lateness = 'unbounded'", Kind::Stream);
    log.admit(&parse("k=1 t=10"));
    assert_eq!(log.expires(1), Some(10));
}

#[test]
fn entries_keep_their_bytes() {
    let entry = |options: &str, rows: &str| {
        let mut log = Log::new(options, Kind::Stream);
        log.admit(&parse(rows));
        log.entry(1).unwrap().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let row = "k=1 t=10 v=2 x=1.5 seen=7 append=9";
    let unversioned = "800000000000000a01b3c5d3096920513e6a441c5a0ec1877a";
    assert_eq!(entry("", row), unversioned);
    assert_eq!(entry("available_at = 'append_time'", row), format!("{unversioned}0000000000000009"));
    let content = "00020a0000000000000004000000000000f83f0700000000000000";
    assert_eq!(entry("version = 'v'", row), format!("800000000000000a010a01028000000000000002001b{content}"));
    assert_eq!(
        entry("version = 'v', available_at = 'seen'", &format!("{row}\nk=1 v=3 tombstone append=12")),
        format!("800000000000000c010a010280000000000000020000000000000000071b{content}0a0102800000000000000301000000000000000c")
    );
}

#[test]
fn history_gives_way_to_its_log() {
    let mut log = Log::new("allowed_lateness = 'unbounded', version = 'position'", Kind::History);
    log.next_row = 500;
    log.admit(&parse("k=1 t=10 x=1"));
    (log.kind, log.next_row) = (Kind::Stream, 0);
    log.admit(&parse("k=1 t=11 x=2"));
    assert_eq!(log.events.values().map(|event| event.row.x).collect::<Vec<_>>(), [Some(2.0)]);
}

#[test]
fn an_entry_that_does_not_decode_is_an_error_that_names_the_source() {
    for options in ["", "version = 'v'"] {
        let mut log = Log::new(options, Kind::Stream);
        let rows = parse("k=1 t=10 v=1");
        let key = log.decide(&rows).keys[0].key.clone();
        for value in [&b""[..], b"short", b"12345678", b"12345678\x09", b"12345678\x01garbage"] {
            log.index.apply(&[KeyWrite { source: 0, key: key.clone(), value: Some(value.into()) }]);
            let batch = super::log::batch(&log.admission.plan, &rows);
            let arrivals = Arrivals {
                partition: &log.partition,
                rows: &[0],
                batch: &batch,
                tombstone: None,
                append_time: None,
                bad: &[],
                original: &|_| Vec::new(),
            };
            match log.admission.admit(&arrivals, None, &log.index, EventTime(NOW), Kind::Stream) {
                Ok(_) => assert!(options.starts_with("version") && (value.is_empty() || value == b"12345678\x01"), "{value:?}"),
                Err(error) => assert!(error.kind() == ErrorKind::Data && error.to_string().contains("`events`"), "{error}"),
            }
        }
    }
}

#[test]
fn the_store_and_memory_answer_alike() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::new("test")).unwrap();
    let new = NewGeneration { view: "v".to_owned(), version: 1, meaning: Fingerprint([1; 32]), state: Fingerprint([2; 32]) };
    let generation = store.create_generation(new).unwrap().generation;
    let log = Log::new("", Kind::Stream);
    let keys = log.decide(&parse("k=1 t=10\nk=2 t=10")).keys;
    let mut commit = Commit::new(generation, store.epoch());
    commit.keys.clone_from(&keys);
    store.commit(commit).unwrap();
    let mut memory = MemoryKeyIndex::new();
    memory.apply(&keys);
    let wanted: Vec<&[u8]> = [&keys[1].key[..], b"unknown", &keys[0].key].to_vec();
    let read = |index: &dyn KeyIndex| {
        let mut found = Vec::new();
        index.get_many(0, &wanted, &mut |i, entry| found.push((i, entry.map(<[u8]>::to_vec)))).unwrap();
        found
    };
    let cut = store.cut();
    let stored = CutKeys::new(&cut, generation);
    assert_eq!(read(&stored), read(&memory));
    assert_eq!(read(&memory)[2].1.as_deref(), keys[0].value.as_deref());
    let mut pending = MemoryKeyIndex::new();
    pending.apply(&[KeyWrite { value: None, ..keys[0].clone() }, KeyWrite { key: b"unknown".as_slice().into(), ..keys[1].clone() }]);
    let layered = read(&PendingKeys::new(&pending, &stored));
    let known = keys[1].value.as_ref().map(|value| value.to_vec());
    assert_eq!(layered, [(0, known.clone()), (1, known), (2, None)]);
}
