//! Served values that are no longer like those of training, by the binary itself: trained, deployed, served, shifted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StructArray};
use arrow::datatypes::Float64Type;
use lockstep_testkit::onnx::{Stump, stumps};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::support::{AT, Server};
use crate::watched::{edit, get, names, project, push, serve, stays_well, told_of};

const MODELS: &str = "
CREATE MODEL fraud_trees FROM 'models/fraud.onnx' USING fraud_v1 (input => (amount, avg_amount_7d)) PREDICT (risk REAL FROM score)
  WITH (training_set = 'train/manifest.json');
CREATE DEPLOYMENT fraud AS fraud_trees WITH (timeout = '5 s');
";

/// Amounts that look random, between a few and a few hundred, and are the same in every run.
pub fn amounts(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count).map(|_| ((next() + next() + next()) * 2.0).exp()).collect()
}

/// A project whose model was trained on so many amounts.
pub fn trained() -> Project {
    trained_of(|_| ())
}

/// As [`trained`], of definitions that are changed first.
pub fn trained_of(change: impl FnOnce(&Project)) -> Project {
    let project = project("values_min = 500\n");
    edit(&project, "feature_defs/payments.sql", "event_time = 'paid_at',", "event_time = 'paid_at', expect_events_every = '1 hour',");
    edit(&project, "feature_defs/card_activity.sql", "max_staleness = '1 minute',", "max_staleness = '1 minute', min_coverage = 0,");
    change(&project);
    let mut spine = "card,amount,country,request_time\n".to_owned();
    for (row, amount) in amounts(1, 4000).into_iter().enumerate() {
        spine += &format!("c{},{amount},DE,{AT}\n", row % 9);
    }
    fs::write(project.dir.join("spine.csv"), spine).unwrap();
    project.run(&["train", "fraud_v1", "--spine", "spine.csv", "--out", "train"]).fine();
    fs::create_dir(project.dir.join("models")).unwrap();
    let model = stumps(2, &[Stump { feature: 0, at: 50.0, leaves: [0.1, 0.3] }, Stump { feature: 0, at: 100.0, leaves: [0.0, 0.2] }]);
    fs::write(project.dir.join("models/fraud.onnx"), model).unwrap();
    fs::write(project.dir.join("feature_defs/models.sql"), MODELS).unwrap();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    project
}

pub fn score(server: &Server, amounts: &[f64]) {
    for (at, some) in amounts.chunks(32).enumerate() {
        let row = |(row, amount): (usize, &f64)| json!({"card": format!("c{}", (at * 32 + row) % 9), "amount": amount, "country": "DE"});
        let rows: Vec<Value> = some.iter().enumerate().map(row).collect();
        let (code, body) = server.post("/v1/score", &json!({"deployment": "fraud", "rows": rows, "as_of": AT}).to_string());
        assert_eq!(code, 200, "{body}");
    }
}

pub fn amount_of(server: &Server) -> Option<Value> {
    let watched = get(server, "/v1/watch");
    watched["reading"]["targets"]["fraud_v1"]["features"].as_array()?.iter().find(|feature| feature["feature"] == json!("amount")).cloned()
}

#[test]
fn a_shift_of_what_is_served_is_told_of_and_what_is_like_in_training_is_not() {
    let project = trained();
    let server = serve(&project);
    push(&server, 1000, 30);
    score(&server, &amounts(2, 1600));
    let amount = wait_for("answers were sampled", || amount_of(&server).filter(|amount| amount["sampled"].as_u64() >= Some(1500)));
    let drift = &amount["drift"];
    assert_eq!((&drift["against"], &drift["reference_values"]), (&json!("training"), &json!(4000)));
    assert!(drift["psi"].as_f64().unwrap() < 0.1 && drift["ks"].as_f64().unwrap() < 0.1, "{drift}");
    assert!(drift["bins"].as_array().unwrap().len() > 8, "{drift}");
    stays_well(&server, Duration::from_secs(2));
    // Cents, where there were euros.
    score(&server, &amounts(3, 1600).into_iter().map(|amount| amount * 100.0).collect::<Vec<_>>());
    told_of(&server, "feature_drift", "fraud_v1");
    let (_, metrics) = server.get("/metrics");
    let psi = metrics.lines().find(|line| line.starts_with(r#"lockstep_feature_psi{target="fraud_v1",feature="amount"}"#)).unwrap();
    assert!(psi.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.25, "{psi}");
    let watched = get(&server, "/v1/watch");
    assert_eq!(watched["reading"]["deployments"]["fraud"]["ways"]["model"], json!(3200));
    // Every metric that an alert is of is there, where what it tells of is.
    let rules = names(&project.run(&["alerts"]).fine());
    let missing: BTreeSet<String> = rules.difference(&names(&metrics)).cloned().collect();
    assert!(rules.len() >= 9 && missing.is_empty(), "{missing:?} of {rules:?}");
    let status = project.run(&["status"]);
    assert!(status.status == Some(1) && status.out.contains("feature_drift of service fraud_v1.amount"), "{}", status.out);
}

#[test]
fn predictions_are_compared_with_those_of_the_run_that_is_published() {
    let project = trained();
    let text = format!("{MODELS}CREATE PREDICTIONS card_risk ENTITY card (risk REAL) FROM fraud WITH (ttl = '30 days');\n");
    fs::write(project.dir.join("feature_defs/models.sql"), text).unwrap();
    let mut spine = "card,amount,country,asked_at\n".to_owned();
    for (row, amount) in amounts(5, 3000).into_iter().enumerate() {
        spine += &format!("c{row},{amount},DE,{AT}\n");
    }
    fs::write(project.dir.join("scored.csv"), spine).unwrap();
    for args in [&["apply"][..], &["backfill"], &["score", "fraud", "--spine", "scored.csv", "--timestamp", "asked_at", "--publish", "card_risk"]] {
        project.run(args).fine();
    }
    let server = serve(&project);
    push(&server, 1000, 30);
    score(&server, &amounts(2, 1600));
    let risk = || get(&server, "/v1/watch")["reading"]["deployments"]["fraud"]["scores"][0].clone();
    let compared =
        wait_for("predictions are compared", || Some(risk()).filter(|risk| risk["drift"].is_object() && risk["sampled"].as_u64() >= Some(1500)));
    let drift = &compared["drift"];
    assert_eq!((&drift["against"], &drift["reference_values"]), (&json!("published"), &json!(3000)));
    assert!(drift["psi"].as_f64().unwrap() < 0.1, "{drift}");
    stays_well(&server, Duration::from_secs(2));
    score(&server, &amounts(3, 1600).into_iter().map(|amount| amount * 100.0).collect::<Vec<_>>());
    told_of(&server, "feature_drift", "fraud_v1");
    let told = wait_for("it is told of", || {
        let told = get(&server, "/v1/signals")["signals"].as_array().cloned().unwrap_or_default();
        told.into_iter().find(|signal| signal["kind"] == json!("score_drift"))
    });
    assert!(told["what"].as_str().unwrap().contains("3000 of the run that is published") && told["cause"].is_string(), "{told}");
}

/// Writes the file of a feature log with other values.
pub fn write_changed(file: &[u8], to: &Path) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(file)).unwrap().build().unwrap();
    let changed = |batch: RecordBatch| {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| match field.name().as_str() {
            "value" => (field.name().clone(), more(column)),
            _ => (field.name().clone(), Arc::clone(column)),
        });
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let batches: Vec<RecordBatch> = reader.map(|batch| changed(batch.unwrap())).collect();
    // Whole or not at all, as the log itself writes.
    let beside = to.with_extension("unfinished");
    let mut writer = ArrowWriter::try_new(fs::File::create(&beside).unwrap(), batches[0].schema(), None).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
    fs::rename(beside, to).unwrap();
}

/// A struct in which every float is one more.
fn more(column: &ArrayRef) -> ArrayRef {
    let (fields, columns, nulls) = column.as_struct().clone().into_parts();
    let more = |column: &ArrayRef| -> ArrayRef {
        match column.as_primitive_opt::<Float64Type>() {
            Some(floats) => Arc::new(floats.iter().map(|value| value.map(|value| value + 1.0)).collect::<Float64Array>()),
            None => Arc::clone(column),
        }
    };
    let columns = columns.iter().map(more).collect();
    Arc::new(StructArray::new(fields, columns, nulls))
}
