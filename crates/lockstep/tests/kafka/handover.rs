//! History first, then a topic that repeats most of it: together they are what one run over everything is.

use lockstep_model::EventTime;
use lockstep_testkit::kafka::{Broker, Sent};

use crate::outcome::outcome;
use crate::rows::{PARTITIONS, START_MS};
use crate::support::{Project, topic_name};

/// Seconds, and sales, of the history and of all.
const HISTORY: i64 = 2000;
const ALL: i64 = 3000;

fn sales(topic: &str) -> String {
    format!(
        "CREATE ENTITY shop (shop VARCHAR);
         CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, v INTEGER, at TIMESTAMP)
           WITH (event_time = 'at', version = 'v', allowed_lateness = '1 minute', history = 'all', batch = 'history.ndjson',
                 stream = 'kafka://{topic}');
         CREATE FEATURE VIEW takings ENTITY shop AS
         SELECT shop, count(*) OVER h AS sales_1h, sum(amount) OVER h AS sum_1h, avg(amount) OVER ever AS avg_ever FROM sales
         WINDOW h AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
                ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);"
    )
}

fn row(id: i64, v: i64) -> String {
    let at = EventTime((START_MS + id * 1000) * 1000);
    // A correction may move a sale to another shop.
    format!(r#"{{"id":{id},"shop":"s{}","amount":{}.25,"v":{v},"at":"{at}"}}"#, (id + v) % 7, id * v % 101)
}

#[test]
fn history_and_a_topic_that_overlaps_it_are_one_run_over_everything() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("overlap");
    broker.create_topic(&topic, PARTITIONS, &[]);
    // One in a hundred is in the history alone, one in the topic alone, and one was corrected in between.
    let (in_history, in_topic) = (|id: i64| id < HISTORY && id % 100 != 33, |id: i64| id % 100 != 66);
    let version = |id: i64| if id % 100 == 99 { 2 } else { 1 };
    let history: Vec<String> = (0..ALL).filter(|id| in_history(*id)).map(|id| row(id, 1)).collect();
    let stream: Vec<(i64, String)> = (0..ALL).filter(|id| in_topic(*id)).map(|id| (id, row(id, version(id)))).collect();
    let sent = |(id, value): &(i64, String)| Sent {
        partition: i32::try_from(id % i64::from(PARTITIONS)).unwrap(),
        key: None,
        value: Some(value.clone().into_bytes()),
        time_ms: START_MS + id * 1000,
        ..Sent::default()
    };
    broker.produce(&topic, &stream.iter().map(sent).collect::<Vec<_>>());
    let with_history = |lines: &[String]| {
        let project = Project::with_files(Some(broker), &sales(&topic), &[("history.ndjson", lines.join("\n") + "\n")]);
        project.run(&["verify"]).fine();
        project
    };
    let everything = with_history(&[history.clone(), stream.into_iter().map(|(_, row)| row).collect()].concat());
    let handed_over = with_history(&history);
    handed_over.to_the_end().fine();
    handed_over.run(&["verify"]).fine();
    let [expected, given] = [&everything, &handed_over].map(|project| outcome(&project.store())["takings answers"].clone());
    assert!(expected.contains("PRESENT"));
    assert!(given == expected, "the answers differ");
}
