//! A topic and files of the same rows, whatever is in them and however it was written.

use lockstep_testkit::kafka::{Broker, Sent};

use crate::outcome::{assert_same, outcome};
use crate::rows::{PARTITIONS, START_MS, files, records, sale, sales};
use crate::support::{Project, topic_name};

#[test]
fn a_topic_comes_to_what_files_of_its_rows_come_to() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("sales");
    let rows = records(0, 6000);
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &rows);
    let (of_topic, of_files) = (Project::new(Some(broker), &sales(&topic)), Project::new(None, &sales(&topic)));
    of_topic.to_the_end().fine();
    for (number, file) in files(&rows).into_iter().enumerate() {
        of_files.write(&format!("p{number}.ndjson"), file);
    }
    of_files.run(&["ingest", "--from", "p*.ndjson"]).fine();
    let expected = outcome(&of_files.store());
    assert!(expected["takings dead letters"].contains("ahead") && expected["takings refusals"].lines().count() > 50);
    assert_same("the topic", &outcome(&of_topic.store()), &expected);
    of_topic.run(&["verify"]).fine();
    // Again from its end: nothing is new.
    let again = of_topic.to_the_end().fine();
    assert!(again.contains("0 rows in 0 commits"), "{again}");
    assert_same("the topic, again", &outcome(&of_topic.store()), &expected);
    // One row a commit.
    let slowly = Project::new(Some(broker), &sales(&topic));
    slowly.run(&["ingest", "--until-end", "--batch-rows", "7"]).fine();
    assert_same("the topic, in small commits", &outcome(&slowly.store()), &expected);
}

#[test]
fn records_of_transactions_that_were_aborted_never_count() {
    let Some((broker, _guard)) = Broker::real("transactions") else { return };
    let (plain, transactional) = (topic_name("plain"), topic_name("transactional"));
    for topic in [&plain, &transactional] {
        broker.create_topic(topic, PARTITIONS, &[]);
    }
    let commits = |number: usize| number % 3 != 1;
    let rows = records(0, 1500);
    broker.produce_in_transactions(&transactional, &rows, 40, commits);
    let committed: Vec<Sent> = rows.chunks(40).enumerate().filter(|(number, _)| commits(*number)).flat_map(|(_, rows)| rows.to_vec()).collect();
    assert!(committed.len() < rows.len());
    broker.produce(&plain, &committed);
    let [one, other] = [&plain, &transactional].map(|topic| {
        let project = Project::new(Some(broker), &sales(topic));
        project.to_the_end().fine();
        project.run(&["verify"]).fine();
        let mut outcome = outcome(&project.store());
        // Rows are numbered by offset, and aborted records have offsets.
        for part in ["takings refusals", "takings dead letters"] {
            let text = outcome.get_mut(part).unwrap();
            *text = text
                .lines()
                .map(|line| line.split_once(' ').unwrap().1)
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
                .join("\n");
        }
        outcome
    });
    assert_same("the transactional topic", &other, &one);
}

#[test]
fn what_is_no_row_is_put_aside_with_its_bytes() {
    let Some((broker, _guard)) = Broker::real("a record of 10 MB") else { return };
    let topic = topic_name("poison");
    broker.create_topic(&topic, 1, &[("max.message.bytes", "33554432")]);
    let large = vec![b'x'; 10 << 20];
    let deep = "[".repeat(100_000);
    let values: [Option<&[u8]>; 6] = [Some(b""), Some(b" "), Some(b"\xff\xfe"), Some(&large), Some(deep.as_bytes()), None];
    let sent = |value: Option<&[u8]>| Sent {
        partition: 0,
        key: Some(b"5".to_vec()),
        value: value.map(<[u8]>::to_vec),
        time_ms: START_MS,
        ..Sent::default()
    };
    let mut rows: Vec<Sent> = values.into_iter().map(sent).collect();
    rows.push(sent(Some(sale(1, 0).as_bytes())));
    broker.produce(&topic, &rows);
    let project = Project::new(Some(broker), &sales(&topic));
    project.to_the_end().fine();
    let shown = project.run(&["dead-letters", "list"]).fine();
    for what in ["its value is empty", "its bytes are not UTF-8", "not a JSON object", "a tombstone for a source without versions"] {
        assert!(shown.contains(what), "{what}: {shown}");
    }
    assert_eq!(project.applied("sales"), Some(1));
    assert_eq!(outcome(&project.store())["takings dead letters"].lines().count(), 6);
    project.run(&["verify"]).fine();
}

#[test]
fn topics_are_read_however_they_are_compressed() {
    let Some((broker, _guard)) = Broker::real("codecs of topics") else { return };
    let rows = records(0, 200);
    let expected = ["uncompressed", "gzip", "snappy", "lz4", "zstd"].map(|codec| {
        let topic = topic_name(codec);
        broker.create_topic(&topic, PARTITIONS, &[("compression.type", codec)]);
        broker.produce(&topic, &rows);
        let project = Project::new(Some(broker), &sales(&topic));
        project.to_the_end().fine();
        assert_eq!(project.applied("sales"), Some(200), "{codec}");
        (codec, outcome(&project.store()))
    });
    let [(_, plain), compressed @ ..] = expected;
    compressed.iter().for_each(|(codec, outcome)| assert_same(codec, outcome, &plain));
}

/// Prices, of which the last one counts.
pub fn prices(topic: &str) -> String {
    format!(
        "CREATE ENTITY shop (shop VARCHAR);
         CREATE SOURCE prices (item VARCHAR PRIMARY KEY, shop VARCHAR, price DOUBLE, at TIMESTAMP)
           WITH (event_time = 'at', version = 'position', allowed_lateness = 'unbounded', history = 'all', stream = 'kafka://{topic}');
         CREATE FEATURE VIEW stock ENTITY shop AS
         SELECT shop, count(*) OVER ever AS items, sum(price) OVER ever AS worth FROM prices
         WINDOW ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);"
    )
}

/// A topic that is compacted as soon as may be.
pub const COMPACTED: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1048576"),
    ("segment.ms", "500"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "86400000"),
];

/// The price of an item in a round, or that it has none any more.
pub fn price(round: i64, item: i64) -> Sent {
    let value = format!(r#"{{"item":"i{item}","shop":"s{}","price":{round}.5,"at":"2024-01-01T0{round}:00:00Z"}}"#, item % 7);
    let deleted = round > 1 && item % 5 == round % 5;
    Sent {
        partition: 0,
        key: Some(format!("i{item}").into_bytes()),
        value: (!deleted).then(|| value.into_bytes()),
        time_ms: START_MS + round * 3_600_000,
        ..Sent::default()
    }
}

#[test]
fn a_compacted_topic_keeps_its_last_values_and_its_deletions() {
    let Some((broker, _guard)) = Broker::real("compaction") else { return };
    let topic = topic_name("prices");
    broker.create_topic(&topic, 1, &COMPACTED);
    let whole = Project::new(Some(broker), &prices(&topic));
    for round in 0..6 {
        let rows: Vec<Sent> = (0..200).map(|item| price(round, item)).collect();
        broker.produce(&topic, &rows);
        whole.to_the_end().fine();
        // A segment must be older than this to be closed, and closed to be compacted.
        std::thread::sleep(std::time::Duration::from_millis(700));
    }
    let expected = outcome(&whole.store())["stock answers"].clone();
    assert!(expected.contains("PRESENT"));
    let compacted = || {
        let late = Project::new(Some(broker), &prices(&topic));
        late.to_the_end().fine();
        assert_eq!(outcome(&late.store())["stock answers"], expected);
        late.run(&["verify"]).fine();
        late.applied("prices").unwrap()
    };
    // Every read of it comes to the same, before it is compacted, while it is, and after.
    let rows = crate::support::wait_for("compaction", || Some(compacted()).filter(|rows| *rows < 1000));
    assert!(rows >= 200, "{rows}");
    whole.to_the_end().fine();
}
