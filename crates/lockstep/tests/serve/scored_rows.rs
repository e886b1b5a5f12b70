//! Rows that are scored in one go have the predictions that a server answers for their moments, in every bit.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, TimestampMicrosecondType};
use lockstep_client::Rows;
use lockstep_client::proto::Way;
use lockstep_testkit::onnx::{Stump, stumps};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::project::{Ended, Project, wait_for};
use crate::scoring::project;
use crate::support::{Caller, Server};

const ROWS: usize = 300;

/// Payments of known and unknown cards at moments of a week, some of them without an amount.
fn spine(project: &Project) {
    let mut lines = "label,card,amount,country,asked_at\n".to_owned();
    for row in 0..ROWS {
        let card = ["c1", "c2", "nobody", "c3", "", "c4"][row % 6];
        let amount = if row % 11 == 3 { String::new() } else { format!("{}.1", row * 23 % 97) };
        lines += &format!("{},{card},{amount},FR,2024-03-{:02}T{:02}:{:02}:00Z\n", row % 2, 2 + row % 7, row * 5 % 24, row * 13 % 60);
    }
    fs::write(project.dir.join("spine.csv"), lines).unwrap();
}

fn scored(project: &Project, deployment: &str, out: &str, more: &[&str]) -> Ended {
    project.run(&[&["score", deployment, "--spine", "spine.csv", "--timestamp", "asked_at", "--out", out], more].concat())
}

/// All rows of a set of scores, in order, and its manifest.
fn read(project: &Project, out: &str) -> (RecordBatch, Value) {
    let dir = project.dir.join(out);
    let manifest: Value = serde_json::from_str(&fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["parts"].as_array().unwrap().iter().map(|part| File::open(dir.join(part["file"].as_str().unwrap())).unwrap());
    let batches: Vec<RecordBatch> =
        files.flat_map(|file| ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap)).collect();
    (concat_batches(&batches[0].schema(), &batches).unwrap(), manifest)
}

/// Compares scores with what the server answers to the same rows, each at its moment; how many rows went the way of the model.
fn compare(caller: &Caller, deployment: &str, prediction: &str, scores: &RecordBatch) -> usize {
    let texts = |name: &str| -> Vec<Option<String>> {
        scores.column_by_name(name).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    };
    let amounts: Vec<Option<f64>> = scores.column_by_name("amount").unwrap().as_primitive::<arrow::datatypes::Float64Type>().iter().collect();
    let moments = scores.column_by_name("asked_at").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec();
    let rows = Rows::of(deployment).column("card", texts("card")).column("amount", amounts).column("country", texts("country")).as_of_each(moments);
    let answered = caller.runtime.block_on(caller.client.score(rows)).unwrap();
    let bits = |risk: Option<f32>| risk.map(f32::to_bits);
    let expected: Vec<Option<u32>> = answered.prediction(prediction).unwrap().values::<f32>().unwrap().into_iter().map(bits).collect();
    let given: Vec<Option<u32>> = scores.column_by_name(prediction).unwrap().as_primitive::<Float32Type>().iter().map(bits).collect();
    assert_eq!(expected, given, "{deployment}");
    let ways: Vec<Option<String>> = answered.ways().iter().map(|way| Some(way.as_str_name().trim_start_matches("WAY_").to_owned())).collect();
    assert_eq!(ways, texts("scored_by"), "{deployment}");
    answered.ways().iter().filter(|way| **way == Way::Model).count()
}

#[test]
fn scored_rows_are_what_a_server_answers_bit_for_bit() {
    let project = project();
    project.run(&["ingest", "--from", "data/new_payments.ndjson"]).fine();
    spine(&project);
    // Without an owner, in little memory; then beside a server, which gives the same bytes.
    for deployment in ["fraud", "careful", "plain"] {
        scored(&project, deployment, &format!("{deployment}-alone"), &[]).fine();
    }
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    for (deployment, by_model) in [("fraud", ROWS), ("careful", 1), ("plain", 1)] {
        let said = scored(&project, deployment, deployment, &["--json"]).fine();
        let told: Value = serde_json::from_str(&said).unwrap();
        let (scores, manifest) = read(&project, deployment);
        let (alone, of_alone) = read(&project, &format!("{deployment}-alone"));
        assert_eq!((&scores, &manifest["job"], &manifest["digest"]), (&alone, &of_alone["job"], &of_alone["digest"]));
        assert_eq!(scores.num_rows(), ROWS);
        let counted = compare(&caller, deployment, "risk", &scores);
        assert!(counted >= by_model && (deployment == "fraud" || counted < ROWS), "{deployment}: {counted}");
        assert_eq!(told["report"]["scored"]["ways"]["MODEL"].as_u64().unwrap_or(0) as usize, counted);
        let used = &manifest["job"]["scores"];
        assert_eq!((&used["deployment"], &used["models"][0]["model"]), (&deployment.into(), &"fraud_trees".into()));
        assert_eq!(used["models"][0]["sha256"].as_str().unwrap().len(), 64);
        assert_eq!(manifest["job"]["from_store"]["generations"][0]["view"], "card_activity");
    }
}

/// A model whose features are another one's prediction, and how often the card has paid.
const CHAIN: &str = "
CREATE FEATURE SERVICE after_risk AS
SELECT r.risk AS risk, a.payments_7d AS payments_7d FROM REQUEST (card VARCHAR, risk REAL) r LEFT JOIN card_activity a ON a.card = r.card;
CREATE MODEL last FROM 'models/last.onnx' USING after_risk (input => (risk, payments_7d)) PREDICT (verdict REAL FROM score);
CREATE DEPLOYMENT chained AS (first => fraud_trees, second => last) WITH (timeout = '5 s');
";

#[test]
fn a_chain_is_scored_step_by_step_as_a_server_does() {
    let project = project();
    let stump = |feature, at, leaves| Stump { feature, at, leaves };
    fs::write(project.dir.join("models/last.onnx"), stumps(2, &[stump(0, 0.5, [0.25, 0.5]), stump(1, 3.0, [0.0, 0.125])])).unwrap();
    fs::write(project.dir.join("feature_defs/chain.sql"), CHAIN).unwrap();
    project.run(&["apply"]).fine();
    spine(&project);
    scored(&project, "chained", "chained", &["--features"]).fine();
    let (scores, manifest) = read(&project, "chained");
    let server = Server::start(&project);
    assert_eq!(compare(&Caller::new(&server), "chained", "verdict", &scores), ROWS);
    let models: Vec<&str> = manifest["job"]["scores"]["models"].as_array().unwrap().iter().map(|used| used["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["fraud_trees", "last"]);
    // What went into the second is what the first predicted.
    scored(&project, "fraud", "fraud", &[]).fine();
    assert_eq!(scores.column_by_name("second_risk"), read(&project, "fraud").0.column_by_name("risk"));
    assert_eq!(scores.column_by_name("first_payments_7d"), None, "a service gives its outputs, and not all of its views");
    assert!(scores.column_by_name("second_payments_7d").is_some() && scores.column_by_name("first_payments_1h").is_some());
}

#[test]
fn a_snapshot_scores_the_same_for_ever_and_by_its_own_models() {
    let project = project();
    spine(&project);
    project.run(&["snapshot", "create", "--moment", "2024-03-09T00:00:00Z", "--force"]).fine();
    scored(&project, "fraud", "before", &["--snapshot", "s0001", "--features"]).fine();
    // Another model under the same name, and more payments.
    fs::copy(project.dir.join("models/next.onnx"), project.dir.join("models/fraud.onnx")).unwrap();
    project.run(&["apply"]).fine();
    project.run(&["ingest", "--from", "data/new_payments.ndjson"]).fine();
    scored(&project, "fraud", "after", &["--snapshot", "s0001", "--features"]).fine();
    scored(&project, "fraud", "now", &[]).fine();
    let ((before, of_before), (after, of_after), (now, of_now)) = (read(&project, "before"), read(&project, "after"), read(&project, "now"));
    assert_eq!((&before, &of_before["digest"]), (&after, &of_after["digest"]));
    assert_ne!(of_before["job"]["scores"]["models"], of_now["job"]["scores"]["models"]);
    assert_ne!(before.column_by_name("risk"), now.column_by_name("risk"));
    let diff = project.run(&["diff", "before", "now"]);
    assert!(diff.status == Some(1) && diff.out.contains("they are scored by fraud_trees "), "{diff:?}");
    // The features are those of a training set of the snapshot.
    let train = ["train", "fraud_v1", "--spine", "spine.csv", "--timestamp", "asked_at", "--snapshot", "s0001", "--out", "trained"];
    project.run(&train).fine();
    let (trained, _) = read(&project, "trained");
    for feature in ["amount", "payments_1h", "spent_1h", "avg_amount_7d", "amount_against_usual"] {
        assert_eq!(before.column_by_name(feature).unwrap(), trained.column_by_name(feature).unwrap(), "{feature}");
    }
    let roles: Vec<&str> = of_before["columns"].as_array().unwrap().iter().map(|column| column["role"].as_str().unwrap()).collect();
    assert_eq!(roles.iter().filter(|role| **role == "feature").count(), 7, "{roles:?}");
    // An unfinished run is gone on with by the same job alone; one that is there is replaced whole.
    let refused = scored(&project, "fraud", "now", &[]).error();
    assert!(refused.contains("there is a set of scores at now"), "{refused}");
    scored(&project, "fraud", "now", &["--replace"]).fine();
    assert_eq!(read(&project, "now").1["digest"], of_now["digest"]);
}

#[test]
fn a_run_that_is_killed_goes_on_behind_the_parts_that_are_there() {
    let project = project();
    // Three parts, and a few rows more.
    let lines: String = (0..3 * (1 << 17) + 7).map(|row| format!("c{},{}.1,FR,2024-03-07T12:{:02}:00Z\n", row % 5, row % 97, row % 60)).collect();
    fs::write(project.dir.join("spine.csv"), format!("card,amount,country,asked_at\n{lines}")).unwrap();
    scored(&project, "fraud", "undisturbed", &[]).fine();
    let args = ["score", "fraud", "--spine", "spine.csv", "--timestamp", "asked_at", "--out", "killed"];
    let mut child = project.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (partial, whole) = (project.dir.join("killed.partial"), project.dir.join("killed"));
    // A part is whole once its report is there.
    wait_for("a part", || (partial.join("part-00000.json").exists() || whole.exists()).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let made = |dir: &Path| fs::metadata(dir.join("part-00000.parquet")).ok()?.modified().ok();
    let before = made(&partial);
    if !whole.exists() {
        assert!(before.is_some() && !partial.join("manifest.json").exists());
        scored(&project, "fraud", "killed", &[]).fine();
        assert_eq!(made(&whole), before, "the part that was there is written again");
    }
    let ((rows, of_rows), (same, of_same)) = (read(&project, "undisturbed"), read(&project, "killed"));
    assert_eq!((&rows, &of_rows["digest"], &of_rows["report"]), (&same, &of_same["digest"], &of_same["report"]));
}

#[test]
fn what_cannot_be_scored_is_said() {
    let project = project();
    spine(&project);
    let said = |deployment: &str, more: &[&str]| scored(&project, deployment, "out", more).error();
    let unknown = said("frad", &[]);
    assert!(unknown.contains("no deployment named `frad`") && unknown.contains("did you mean `fraud`"), "{unknown}");
    assert!(said("fraud", &["--snapshot", "s0001"]).contains("there is no snapshot `s0001`"));
    project.run(&["snapshot", "create", "--moment", "2024-03-04T00:00:00Z"]).fine();
    assert!(said("fraud", &["--snapshot", "s0001"]).contains("snapshot `s0001` answers up to"));
    fs::write(project.dir.join("spine.csv"), "card,risk,amount,country,asked_at\nc1,1,2,FR,2024-03-03\n").unwrap();
    assert!(said("fraud", &[]).contains("the spine has a column `risk`, and so have the scores of `fraud` · rename the spine's"));
    fs::write(project.dir.join("spine.csv"), "card,country,asked_at\nc1,FR,2024-03-03\n").unwrap();
    assert!(said("fraud", &[]).contains("the spine has no column `amount` (DOUBLE), which `fraud` is asked with"));
    let both = project.run(&["score", "fraud", "card=c1", "--spine", "spine.csv", "--out", "out"]).error();
    assert!(both.contains("cannot be used with"), "{both}");
    let nowhere = project.run(&["score", "fraud", "--spine", "spine.csv"]).error();
    assert!(nowhere.contains("--out <DIR>"), "{nowhere}");
    // A model whose file is damaged in the store is named.
    let models = project.store().join("models");
    let file = fs::read_dir(&models).unwrap().map(|entry| entry.unwrap().path()).find(|path| fs::read(path).unwrap() == crate::scoring::fraud(1.0));
    fs::write(file.unwrap(), b"other").unwrap();
    let damaged = said("fraud", &[]);
    assert!(damaged.contains("damaged"), "{damaged}");
    assert!(!project.dir.join("out").exists());
}
