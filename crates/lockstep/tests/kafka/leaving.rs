//! What leaves the store while topics are applied: the log of applied events, and dead letters to a topic, which can be tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use lockstep_store::{OnlineStore, Store, StoreOptions};
use lockstep_testkit::kafka::{Broker, Got, Sent};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::rows::{PARTITIONS, START_MS, records, sale, sales};
use crate::support::{Project, topic_name};

/// Sales with a log of applied events, whose dead letters go to a topic.
pub fn leaving(topic: &str, letters: &str) -> String {
    sales(topic).replace("history = 'all'", &format!("history = 'all', applied_log = '30 days', dead_letters = 'kafka://{letters}'"))
}

/// Fails unless the log holds each row that counts once, and nothing waits for its file.
#[track_caller]
pub fn assert_logged(project: &Project) {
    let logs: Value = serde_json::from_str(&project.run(&["applied-log", "--json"]).fine()).unwrap();
    let log = &logs["logs"][0];
    assert_eq!((&log["source"], &log["waiting"]), (&Value::from("sales"), &Value::from(0)));
    let (mut seen, mut rows) = (BTreeSet::new(), 0);
    for file in log["files"].as_array().unwrap() {
        let file = File::open(project.path(file["path"].as_str().unwrap())).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let partitions = batch.column_by_name("_partition").unwrap().as_string::<i32>();
            let ids = batch.column_by_name("_topic_id").unwrap().as_string::<i32>();
            let offsets = batch.column_by_name("_row").unwrap().as_primitive::<UInt64Type>();
            let places = partitions.iter().zip(ids).zip(offsets);
            seen.extend(places.map(|((partition, id), offset)| (partition.unwrap().to_owned(), id.unwrap().to_owned(), offset.unwrap())));
            rows += batch.num_rows();
        }
    }
    println!("{rows} rows in {} files of the log", log["files"].as_array().unwrap().len());
    assert_eq!((rows as u64, seen.len()), (project.applied("sales").unwrap(), rows), "each row that counts, once");
}

/// The places and reasons of the letters in the ledger of a store that nobody owns.
fn ledger(project: &Project) -> BTreeMap<String, (String, Vec<u8>)> {
    let store = Store::open(project.store(), StoreOptions::new("test")).unwrap();
    let cut = OnlineStore::cut(&store);
    let generations = cut.generations().unwrap();
    let letters = generations.iter().flat_map(|info| cut.dead_letters(info.generation));
    letters
        .map(|letter| letter.unwrap())
        .map(|letter| (format!("{}@{}", letter.partition.partition, letter.row), (letter.reason, letter.bytes)))
        .collect()
}

fn header<'a>(got: &'a Got, name: &str) -> &'a str {
    got.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
}

/// Fails unless the topic holds each dead letter, byte for byte, and nothing else; one may be there again.
#[track_caller]
pub fn assert_letters(broker: &Broker, project: &Project, topic: &str) {
    let records = broker.records(topic);
    let place = |got: &Got| String::from_utf8(got.key.clone().unwrap()).unwrap();
    let sent: BTreeMap<String, (String, Vec<u8>)> =
        records.iter().map(|got| (place(got), (header(got, "lockstep.reason").to_owned(), got.value.clone().unwrap_or_default()))).collect();
    println!("{} records of {} dead letters", records.len(), sent.len());
    let expected = ledger(project);
    assert!(!expected.is_empty() && sent == expected, "{} were put aside, and {} are in the topic", expected.len(), sent.len());
}

#[test]
fn dead_letters_are_sent_and_can_be_tried_again() {
    let Some((broker, _guard)) = Broker::real("a topic that takes no large records") else { return };
    let (topic, letters) = (topic_name("lettered"), topic_name("lettered-dlq"));
    broker.create_topic(&topic, PARTITIONS, &[]);
    let project = Project::new(Some(broker), &leaving(&topic, &letters));
    let large = vec![b'x'; 3 << 20];
    let mut rows = records(0, 300);
    rows.push(Sent { partition: 1, key: None, value: Some(large.clone()), time_ms: START_MS, ..Sent::default() });
    broker.produce(&topic, &rows);
    // The topic is not there yet: they wait in the store, and the rest goes on.
    let said = project.to_the_end().error();
    assert!(
        said.contains(&format!("dead letters of source `sales`: there is no topic `{letters}`")) && said.contains("waits in the store"),
        "{said}"
    );
    let shown = project.run(&["status"]).fine();
    assert!(shown.contains("dead letters of sales wait to be sent"), "{shown}");
    broker.create_topic(&letters, 2, &[("max.message.bytes", "1048576")]);
    project.to_the_end().fine();
    // The large one does not fit into a record of this topic: it is cut, and says so.
    let records = broker.records(&letters);
    let cut = records.iter().find(|got| header(got, "lockstep.cut_from_bytes") == large.len().to_string()).unwrap();
    assert_eq!(cut.value.as_ref().map(Vec::len), Some(64 << 10));
    assert_eq!(records.len(), ledger(&project).len());
    assert!(records.iter().all(|got| header(got, "lockstep.source") == "sales" && header(got, "lockstep.topic_id").len() > 10));

    // Again, they fail again; and a third time there is nothing new.
    let from = format!("kafka://{letters}");
    let replayed = |from: &str| -> Value { serde_json::from_str(&project.run(&["replay-dlq", from, "--json"]).fine()).unwrap() };
    let first = replayed(&from);
    assert_eq!(first["rows"], Value::from(records.len()), "{first}");
    let failed = first["failed"].as_u64().unwrap();
    assert!(failed > 0 && failed <= records.len() as u64 && first["letters"].as_array().unwrap().len() as u64 == failed.min(20), "{first}");
    let second = replayed(&from);
    assert_eq!((&second["rows"], &second["failed"]), (&Value::from(0), &Value::from(failed)), "{second}");
    assert_eq!(broker.records(&letters).len(), records.len(), "what fails again is not sent again");

    // One that is mended counts; one of another source does not.
    let mended = sale(40_000_000, 10_000);
    let before = project.applied("sales").unwrap();
    broker
        .produce(&letters, &[Sent { partition: 0, key: None, value: Some(mended.into_bytes()), time_ms: START_MS + 10_000_000, ..Sent::default() }]);
    let third = replayed(&from);
    assert_eq!((&third["rows"], &third["failed"]), (&Value::from(1), &Value::from(failed)), "{third}");
    assert_eq!(project.applied("sales"), Some(before + 1));
    project.run(&["verify"]).fine();
    assert_logged(&project);
}

#[test]
fn a_broker_that_does_not_cut_letters_gets_them_whole() {
    let (broker, _guard) = Broker::shared();
    let (topic, letters) = (topic_name("whole"), topic_name("whole-dlq"));
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.create_topic(&letters, 1, &[("max.message.bytes", "33554432")]);
    let project = Project::new(Some(broker), &leaving(&topic, &letters));
    let mut rows = records(0, 200);
    rows.push(Sent { partition: 1, key: None, value: Some(vec![b'x'; 3 << 20]), time_ms: START_MS, ..Sent::default() });
    broker.produce(&topic, &rows);
    project.to_the_end().fine();
    assert_letters(broker, &project, &letters);
    assert_logged(&project);
}

#[test]
fn the_log_goes_on_with_a_topic_that_was_made_anew() {
    let Some((broker, _guard)) = Broker::real("deleted topics") else { return };
    let (topic, letters) = (topic_name("anew"), topic_name("anew-dlq"));
    broker.create_topic(&letters, 1, &[]);
    let project = Project::new(Some(broker), &leaving(&topic, &letters));
    let mut applied = 0;
    for round in 0..2 {
        broker.create_topic(&topic, PARTITIONS, &[]);
        // Fewer the second time, so that its offsets were all there before.
        broker.produce(&topic, &records(1000 * round, 400 - 200 * round));
        let more: &[&str] = if round == 0 { &[] } else { &["--source", "sales", "--accept-gap"] };
        project.run(&[&["ingest", "--until-end"], more].concat()).fine();
        assert!(project.applied("sales").unwrap() > applied + 100);
        applied = project.applied("sales").unwrap();
        assert_logged(&project);
        broker.delete_topic(&topic);
    }
    // A place of the first topic is not one of the second.
    let sent = broker.records(&letters);
    let places: BTreeSet<(Option<Vec<u8>>, &str)> = sent.iter().map(|got| (got.key.clone(), header(got, "lockstep.topic_id"))).collect();
    assert_eq!(places.len(), sent.len());
    let ids: BTreeSet<&str> = places.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn letters_do_not_carry_what_a_source_takes_of_keys() {
    let (broker, _guard) = Broker::shared();
    let (topic, letters) = (topic_name("keyed"), topic_name("keyed-dlq"));
    for topic in [&topic, &letters] {
        broker.create_topic(topic, 1, &[]);
    }
    let project = Project::new(Some(broker), &leaving(&topic, &letters).replace("?format=json", "?format=json&key=shop"));
    broker.produce(&topic, &[Sent { key: Some(b"s1".to_vec()), value: Some(b"no json".to_vec()), time_ms: START_MS, ..Sent::default() }]);
    project.to_the_end().fine();
    assert_letters(broker, &project, &letters);
    let said = project.run(&["replay-dlq", &format!("kafka://{letters}")]).error();
    assert!(said.contains("it takes more than the value: shop") && said.contains("lockstep dead-letters export"), "{said}");
    assert_eq!(project.applied("sales"), Some(0));
}
