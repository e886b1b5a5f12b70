//! What a topic's definition says besides its format: columns that are parts of records, and which partitions are read.

use lockstep_testkit::avro::{Avro, confluent};
use lockstep_testkit::kafka::{Broker, Sent};
use lockstep_testkit::registry::Registry;

use crate::outcome::{assert_same, outcome};
use crate::rows::{PARTITIONS, START_MS, records, sales};
use crate::support::{Project, topic_name};

/// Payments whose account is the key of their records, sent at a moment that a header says.
fn payments(topic: &str, parameters: &str) -> String {
    format!(
        "CREATE ENTITY shop (shop VARCHAR);
         CREATE SOURCE payments (id BIGINT PRIMARY KEY, shop VARCHAR, trace BYTEA, sent_at TIMESTAMP, taken_at TIMESTAMP, amount DOUBLE, at TIMESTAMP)
           WITH (event_time = 'at', allowed_lateness = 'unbounded', available_at = 'coalesce(sent_at, taken_at)', history = 'all',
                 stream = 'kafka://{topic}?key=shop&header.trace=trace&header.sent-at=sent_at&append_time=taken_at{parameters}');
         CREATE FEATURE VIEW takings ENTITY shop AS
         SELECT shop, sum(amount) OVER h AS sum_1h, count(trace) OVER h AS traced, max(taken_at) OVER h AS taken, max(sent_at) OVER h AS sent
         FROM payments
         WINDOW h AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);"
    )
}

#[test]
fn keys_headers_and_append_times_are_values_of_columns() {
    let (broker, _guard) = Broker::shared();
    let registry = Registry::start();
    registry.put(
        1,
        r#"{"type":"record","name":"Payment","fields":[{"name":"id","type":"long"},{"name":"shop","type":"string"},{"name":"amount","type":"double"},
            {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#,
    );
    registry.put(2, "\"string\"");
    let (json, avro, file) = (topic_name("json"), topic_name("avro"), topic_name("file"));
    let (mut as_json, mut as_avro, mut lines) = (Vec::new(), Vec::new(), String::new());
    for id in 0..300i64 {
        let (shop, at) = (format!("s{}", id % 7), START_MS + id * 1000);
        let moment = |ms: i64| lockstep_model::EventTime(ms * 1000).to_string();
        let sent_at = (id % 5 != 0).then(|| moment(at + 700));
        let trace = (id % 3 != 0).then(|| vec![id as u8, 0xff]);
        let headers = [("trace", Some(b"not the last".to_vec())), ("trace", trace.clone()), ("sent-at", sent_at.clone().map(String::into_bytes))];
        let headers: Vec<_> =
            headers.into_iter().filter(|(name, value)| *name == "trace" || value.is_some()).map(|(name, value)| (name.to_owned(), value)).collect();
        let sent =
            |key: Vec<u8>, value: Vec<u8>| Sent { partition: 0, key: Some(key), value: Some(value), time_ms: at + 900, headers: headers.clone() };
        // What the value says of a column that is a part of the record does not count.
        let value = format!(r#"{{"id":{id},"shop":"nowhere","amount":{id}.5,"at":"{}"}}"#, moment(at));
        as_json.push(sent(shop.clone().into_bytes(), value.into_bytes()));
        let fields = vec![Avro::Number(id), Avro::text("nowhere"), Avro::Double(id as f64 + 0.5), Avro::Number(at)];
        let key = if id % 2 == 0 { shop.clone().into_bytes() } else { confluent(2, &Avro::text(shop.clone())) };
        as_avro.push(sent(key, confluent(1, &Avro::Record(fields))));
        let text = |value: Option<String>| value.map_or_else(|| "null".to_owned(), |value| format!("\"{value}\""));
        let trace = text(trace.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()));
        lines += &format!(
            "{{\"_append_time\":\"{taken}\",\"id\":{id},\"shop\":\"{shop}\",\"trace\":{trace},\"sent_at\":{},\"taken_at\":\"{taken}\",\"amount\":{id}.5,\"at\":\"{}\"}}\n",
            text(sent_at),
            moment(at),
            taken = moment(at + 900)
        );
    }
    let of_file = Project::new(None, &payments(&file, ""));
    of_file.write("rows.ndjson", lines);
    of_file.run(&["ingest", "--from", "rows.ndjson"]).fine();
    let expected = outcome(&of_file.store());
    assert!(expected["takings answers"].contains("PRESENT") && expected["takings dead letters"].is_empty(), "{expected:?}");
    for (topic, rows, parameters) in [(&json, as_json, String::new()), (&avro, as_avro, format!("&format=avro&registry={}", registry.url()))] {
        broker.create_topic(topic, 1, &[]);
        broker.produce(topic, &rows);
        let project = Project::new(Some(broker), &payments(topic, &parameters));
        project.to_the_end().fine();
        assert_same(topic, &outcome(&project.store()), &expected);
        project.run(&["verify"]).fine();
    }
}

#[test]
fn a_deletion_is_told_by_a_key_that_is_a_column_of_the_primary_key() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("mapped");
    broker.create_topic(&topic, 1, &[]);
    let sql = format!(
        "CREATE ENTITY shop (shop VARCHAR);
         CREATE SOURCE prices (item VARCHAR PRIMARY KEY, shop VARCHAR, at TIMESTAMP)
           WITH (event_time = 'at', version = 'position', allowed_lateness = 'unbounded', history = 'all', stream = 'kafka://{topic}?key=item');
         CREATE FEATURE VIEW stock ENTITY shop AS
         SELECT shop, count(*) OVER ever AS items FROM prices
         WINDOW ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);"
    );
    let value = br#"{"shop":"s1","at":"2024-01-01T00:00:00Z"}"#.to_vec();
    let sent =
        |key: &str, value: Option<&Vec<u8>>| Sent { key: Some(key.as_bytes().to_vec()), value: value.cloned(), time_ms: START_MS, ..Sent::default() };
    let rows = [sent("{\"odd\":1}", Some(&value)), sent("b", Some(&value)), sent("c", Some(&value)), sent("{\"odd\":1}", None)];
    broker.produce(&topic, &rows);
    let project = Project::new(Some(broker), &sql);
    project.to_the_end().fine();
    assert!(outcome(&project.store())["stock answers"].lines().any(|line| line == "2 PRESENT"));
    assert!(outcome(&project.store())["stock dead letters"].is_empty());
    project.run(&["verify"]).fine();
}

#[test]
fn a_shard_reads_the_partitions_that_are_declared_and_no_other() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("sharded");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let rows = records(0, 900);
    broker.produce(&topic, &rows);
    let sharded = |partitions: &str| sales(&topic).replace("?format=json", &format!("?format=json{partitions}"));
    let whole = Project::new(Some(broker), &sharded(""));
    whole.to_the_end().fine();
    let mut applied = 0;
    for (partitions, numbers) in [("&partitions=0,2", vec![0, 2]), ("&partitions=1", vec![1])] {
        let shard = Project::new(Some(broker), &sharded(partitions));
        shard.to_the_end().fine();
        shard.run(&["verify"]).fine();
        let status: serde_json::Value = serde_json::from_str(&shard.run(&["status", "--json"]).fine()).unwrap();
        let known: Vec<String> = status["views"][0]["sources"][0]["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|known| known["partition"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(known, numbers.iter().map(|number| format!("kafka://{topic}/{number}")).collect::<Vec<_>>());
        applied += shard.applied("sales").unwrap();
    }
    assert_eq!(Some(applied), whole.applied("sales"));
}

#[test]
fn partitions_may_be_declared_later_and_not_be_left_out_again() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("resharded");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 900));
    let sharded = |partitions: &str| sales(&topic).replace("?format=json", &format!("?format=json{partitions}")).replace("10 minutes", "unbounded");
    let whole = Project::new(Some(broker), &sharded(""));
    whole.to_the_end().fine();
    let shard = Project::new(Some(broker), &sharded("&partitions=0"));
    let declare = |partitions: &str| {
        shard.write("feature_defs/all.sql", sharded(partitions));
        shard.run(&["apply"]).fine();
        shard.to_the_end()
    };
    shard.to_the_end().fine();
    declare("&partitions=0-2").fine();
    assert_eq!(outcome(&shard.store())["takings answers"], outcome(&whole.store())["takings answers"]);
    shard.run(&["verify"]).fine();
    let said = declare("&partitions=1-2").error();
    assert!(said.contains("partition 0 of topic") && said.contains("reads partitions 1-2 · declare them together again"), "{said}");
    let said = declare("&partitions=0-5").error();
    assert!(said.contains("has no partition 3, which source `sales` reads · it has 3"), "{said}");
    declare("").fine();
}
