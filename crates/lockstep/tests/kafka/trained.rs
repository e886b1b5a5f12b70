//! Training sets of topics, as far as a store or a snapshot has read them.

use std::fs::{self, File};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_testkit::kafka::Broker;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::rows::{PARTITIONS, records, sales};
use crate::support::{Project, topic_name, wait_for};

fn rows(project: &Project, set: &str) -> RecordBatch {
    let file = File::open(project.path(set).join("part-00000.parquet")).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap()
}

/// Compares a training set of every shop's hours with what `get` answers; how many values are there.
fn compare(project: &Project, set: &str, get: &[&str]) -> usize {
    let batch = rows(project, set);
    let options = FormatOptions::default();
    let text = |name: &str, row: usize| {
        let column = batch.column_by_name(name).unwrap();
        column.is_valid(row).then(|| ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string())
    };
    let request =
        |row: usize| format!("{{\"shop\":\"{}\",\"request_time\":\"{}Z\"}}\n", text("shop", row).unwrap(), text("request_time", row).unwrap());
    project.write("requests.ndjson", (0..batch.num_rows()).map(request).collect::<String>());
    let got = project.run(&[&["get", "takings", "--from", "requests.ndjson", "--json"], get].concat()).fine();
    let got: Vec<Value> = serde_json::from_str(&got).unwrap();
    assert_eq!(got.len(), batch.num_rows());
    let mut present = 0;
    for (row, answer) in got.iter().enumerate() {
        for feature in answer["features"].as_array().unwrap() {
            let column = feature["name"].as_str().unwrap();
            assert_eq!(text(column, row).as_deref(), feature["value"].as_str(), "{column} of row {row}");
            present += usize::from(feature["status"] == "PRESENT");
        }
    }
    present
}

#[test]
fn a_training_set_of_a_topic_has_what_get_answers() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("sales");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 3000));
    let project = Project::new(Some(broker), &sales(&topic));
    project.to_the_end().fine();
    let moment = "2024-01-01T00:40:00Z";
    project.run(&["snapshot", "create", "--moment", moment]).fine();
    // The ingester goes on while sets are made.
    broker.produce(&topic, &records(3000, 3000));
    let following = project.follow(&[]);
    wait_for("more is read", || project.applied("sales").filter(|rows| *rows > 4000));
    let range = ["--every", "1 minute", "--from", "2024-01-01T00:00:00Z", "--to", moment, "--allow-own-events"];
    for time in ["known", "event"] {
        let out = ["--time", time, "--snapshot", "s0001", "--out", time];
        project.run(&[&["train", "takings"][..], &range, &out].concat()).fine();
        assert!(compare(&project, time, &["--snapshot", "s0001", "--time", time]) > 500);
    }
    wait_for("all is read", || project.applied("sales").filter(|rows| *rows > 5500));
    project.run(&[&["train", "takings"][..], &range, &["--applied", "--out", "now"]].concat()).fine();
    assert!(compare(&project, "now", &[]) > 500);
    let manifest: Value = serde_json::from_str(&fs::read_to_string(project.path("now/manifest.json")).unwrap()).unwrap();
    let positions = manifest["job"]["from_store"]["generations"][0]["positions"].as_array().unwrap();
    assert_eq!(positions.len(), PARTITIONS as usize);
    assert!(positions.iter().all(|at| at["position"]["kind"] == "kafka"));
    following.terminate();
}
