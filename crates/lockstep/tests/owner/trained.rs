//! Training sets of what a store has applied, made while its owner takes more.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{Project, wait_for};

/// Payments of one card in the seven days before, as a training set has them, and how many rows were pushed by the positions that it names.
fn trained(project: &Project, set: &str) -> (i64, u64) {
    let dir = project.dir.join(set);
    let file = fs::File::open(dir.join("part-00000.parquet")).unwrap();
    let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let counted = batch.column_by_name("payments_7d").unwrap().as_primitive::<Int64Type>().value(0);
    let manifest: Value = serde_json::from_str(&fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap();
    let positions = manifest["job"]["from_store"]["generations"][0]["positions"].as_array().unwrap().clone();
    let pushed = positions.iter().find(|at| at["partition"] == "push").map_or(0, |at| at["position"]["rows"].as_u64().unwrap());
    (counted, pushed)
}

#[test]
fn a_training_set_has_what_was_applied_up_to_its_positions_while_more_is_pushed() {
    let project = Project::new();
    let server = project.server();
    fs::write(project.dir.join("spine.csv"), "card,request_time\nnew,2024-03-09T12:00:00Z\n").unwrap();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut seen: Vec<u64> = Vec::new();
    thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < 100_000 {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let at = format!("2024-03-09T11:{:02}:{:02}.{:03}Z", number / 1000 / 60 % 60, number / 1000 % 60, number % 1000);
                let row = json!({"payment_id": 100_000 + number, "card": "new", "merchant": "shoes", "country": "DE", "amount": 1.5, "paid_at": at});
                let sent = ureq::post(format!("{}/v1/events/payments", server.url())).send(json!({"rows": [row]}).to_string());
                assert!(sent.unwrap().status().is_success());
            }
        });
        for number in 0..4 {
            let before = sent.load(Ordering::Relaxed);
            wait_for("more was pushed", || (sent.load(Ordering::Relaxed) > before + 20).then_some(()));
            let set = format!("set{number}");
            project.run(&["train", "card_activity", "--spine", "spine.csv", "--applied", "--out", &set]).fine();
            let (counted, pushed) = trained(&project, &set);
            assert_eq!(u64::try_from(counted).unwrap(), pushed, "each row is an event of its own");
            seen.push(pushed);
        }
        project.run(&["snapshot", "create", "--moment", "2024-03-09T12:00:00Z", "--force"]).fine();
        stop.store(true, Ordering::Relaxed);
        pushing.join().unwrap();
    });
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    // The snapshot has what it has, with its owner and without.
    let snapshot = ["train", "card_activity", "--spine", "spine.csv", "--snapshot", "s0001", "--out"];
    project.run(&[&snapshot[..], &["beside"]].concat()).fine();
    let got = project.run(&["get", "card_activity", "card=new", "--snapshot", "s0001", "--json"]).fine();
    drop(server);
    project.run(&[&snapshot[..], &["alone"]].concat()).fine();
    let got: Value = serde_json::from_str(&got).unwrap();
    let feature = got["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "payments_7d").unwrap();
    for set in ["beside", "alone"] {
        let (counted, pushed) = trained(&project, set);
        assert_eq!((feature["value"].as_str(), u64::try_from(counted).unwrap()), (Some(counted.to_string().as_str()), pushed), "{set}");
        assert!(pushed >= *seen.last().unwrap());
    }
}
