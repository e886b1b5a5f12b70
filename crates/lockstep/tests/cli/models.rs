//! Models: bound to their features by `check`, kept by `apply`, and never given features of another meaning.

use std::fs;
use std::path::Path;

use lockstep_model::Fingerprint;
use lockstep_store::{AppliedTrainingSet, ModelPart, NewDefinitions, OnlineStore, Store, StoreOptions};
use serde_json::Value;

use crate::support::Place;

const RISK: &str = "CREATE MODEL risk_v1 FROM 'models/risk.onnx' USING fraud_v1 (
  x => (amount, payments_1h, spent_1h, avg_amount_7d, amount_against_usual, merchants_7d)
) PREDICT (risk DOUBLE FROM output_probability['1'], is_fraud BOOLEAN FROM output_label);
";
const DEPLOYMENT: &str = "CREATE DEPLOYMENT risk AS risk_v1 WITH (timeout = '50 ms', 'default.risk' = 0.5);\n";

/// A forest of six features and two classes.
fn forest() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../score/tests/models/sklearn_forest_binary.onnx")).unwrap()
}

fn project() -> Place {
    let place = Place::project();
    place.write("models/risk.onnx", forest());
    place.write("feature_defs/risk.sql", format!("{RISK}{DEPLOYMENT}"));
    place
}

fn fingerprint(place: &Place) -> String {
    let said = place.run(&["schema", "--service", "fraud_v1", "--json"]);
    let columns: Value = serde_json::from_str(&said.stdout).unwrap();
    columns["fingerprint"].as_str().unwrap()[..12].to_owned()
}

#[test]
fn what_does_not_go_with_a_file_is_said_of_the_definition() {
    let mut place = project();
    place.say("check");
    place.note("a feature too many, one that is not there, an output of another name");
    place.edit("feature_defs/risk.sql", "merchants_7d)", "merchants_7d, other_country)");
    place.say("check");
    place.edit("feature_defs/risk.sql", ", merchants_7d, other_country)", ")");
    place.say("check");
    place.edit("feature_defs/risk.sql", "amount_against_usual)", "amount_against_usual, merchants_7d)");
    place.edit("feature_defs/risk.sql", "FROM output_label", "FROM output_labels");
    place.say("check");
    place.edit("feature_defs/risk.sql", "FROM output_labels", "FROM output_label");
    place.note("a label that the file has not, and a runtime that cannot run it");
    place.edit("feature_defs/risk.sql", "output_probability['1']", "output_probability['yes']");
    place.say("check");
    place.edit("feature_defs/risk.sql", "output_probability['yes']", "output_probability['1']");
    place.edit("feature_defs/risk.sql", "FROM output_label)", "FROM output_label) WITH (runtime = 'tract')");
    place.say("check");
    place.note("another file than is pinned, one that is no model, one that is cut off, none");
    place.edit("feature_defs/risk.sql", "runtime = 'tract'", &format!("sha256 = '{}'", "0".repeat(64)));
    place.say("check");
    place.edit("feature_defs/risk.sql", &format!(" WITH (sha256 = '{}')", "0".repeat(64)), "");
    place.write("models/risk.onnx", "no model");
    place.say("check");
    place.write("models/risk.onnx", &forest()[..9000]);
    place.say("check");
    fs::remove_file(place.path("models/risk.onnx")).unwrap();
    place.say("check");
    place.say("plan");
    place.check("models_wrong");
}

#[test]
fn a_model_is_kept_and_never_given_features_of_another_meaning() {
    let mut place = project();
    place.say("plan");
    place.say("apply");
    place.say("apply");
    place.say("plan");
    place.say("model list");
    place.say("model show risk_v1");
    place.say("model show risk");
    place.say("schema --deployment risk");
    place.note("a view that it takes features of means something else");
    place.edit("feature_defs/card_activity.sql", "INTERVAL '7 days' PRECEDING", "INTERVAL '8 days' PRECEDING");
    place.say("plan");
    place.say("apply");
    place.note("it was trained on these");
    place.edit("feature_defs/risk.sql", "FROM output_label);", &format!("FROM output_label) WITH (features = '{}');", fingerprint(&place)));
    place.say("apply");
    place.note("what it was trained on before, and is not any more");
    place.edit("feature_defs/card_activity.sql", "INTERVAL '8 days' PRECEDING", "INTERVAL '7 days' PRECEDING");
    place.say("apply");
    place.note("the first text again, which it was applied with");
    place.write("feature_defs/risk.sql", format!("{RISK}{DEPLOYMENT}"));
    place.say("apply");
    place.note("another file under the same name");
    let regressor = Path::new(env!("CARGO_MANIFEST_DIR")).join("../score/tests/models/sklearn_scaled_forest.onnx");
    place.write("models/risk.onnx", fs::read(regressor).unwrap());
    place.say("plan");
    place.say("apply");
    place.say("apply --list");
    place.check("models");
}

#[test]
fn a_file_that_was_damaged_is_named_and_mended() {
    let place = project();
    assert_eq!(place.run(&["apply"]).status, 0);
    let kept: Vec<_> = fs::read_dir(place.path(".lockstep/store/models")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [kept] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(fs::read(kept).unwrap(), forest());
    fs::write(kept, "no model").unwrap();
    let said = place.run(&["model", "show", "risk_v1"]);
    assert_eq!(said.status, 2);
    assert!(said.stderr.contains("model `risk_v1`: the model ") && said.stderr.contains(" is damaged · "), "{}", said.stderr);
    assert_eq!(place.run(&["apply"]).status, 0);
    assert_eq!(place.run(&["model", "show", "risk_v1"]).status, 0);
    fs::remove_file(kept).unwrap();
    let said = place.run(&["model", "show", "risk_v1"]);
    assert!(said.stderr.contains(" is not in the store · "), "{}", said.stderr);
}

#[test]
fn the_manifest_of_its_training_set_says_what_features_meant() {
    let place = project();
    place.write("spine.csv", "card,amount,country,at\nc1,10,DE,2024-03-08T12:00:00Z\nc2,20,FR,2024-03-08T13:00:00Z\n");
    let train = ["train", "fraud_v1", "--spine", "spine.csv", "--timestamp", "at", "--out", "train", "--allow-own-events"];
    let said = place.run(&train);
    assert_eq!(said.status, 0, "{}", said.stderr);
    place.edit("feature_defs/risk.sql", "FROM output_label);", "FROM output_label) WITH (training_set = 'train/manifest.json');");
    let said = place.run(&["check"]);
    assert_eq!(said.status, 0, "{}", said.stdout);
    assert!(said.stdout.contains("trained on 2 rows"), "{}", said.stdout);
    assert_eq!(place.run(&["apply"]).status, 0);
    // What was applied has the manifest, whatever becomes of the file.
    fs::remove_dir_all(place.path("train")).unwrap();
    let shown: Value = serde_json::from_str(&place.run(&["model", "show", "risk_v1", "--json"]).stdout).unwrap();
    assert_eq!((&shown["training_set"]["rows"], &shown["training_set"]["features"][0]["summary"]["mean"]), (&2.into(), &15.0.into()));
    let said = place.run(&["apply"]);
    assert!(said.status == 2 && said.stderr.contains("`train/manifest.json` cannot be read"), "{}", said.stderr);
    assert_eq!(place.run(&train).status, 0);
    place.edit("feature_defs/card_activity.sql", "INTERVAL '7 days' PRECEDING", "INTERVAL '8 days' PRECEDING");
    let said = place.run(&["apply"]);
    assert_eq!(said.status, 2);
    for text in ["`risk_v1` was made for fraud_v1 as of meaning ", "views that changed: card_activity", "train again (`lockstep train fraud_v1 …`)"]
    {
        assert!(said.stderr.contains(text), "{text}: {}", said.stderr);
    }
}

/// A model for ONNX Runtime is loaded by a process of its own first; it is skipped where that library is not there.
#[test]
fn a_model_for_onnx_runtime_is_run_in_a_process_of_its_own_first() {
    let place = project();
    place.edit("feature_defs/risk.sql", "FROM output_label);", "FROM output_label) WITH (runtime = 'onnxruntime');");
    let said = place.run(&["check"]);
    if said.stdout.contains("scripts/onnxruntime.sh") && std::env::var_os("LOCKSTEP_REQUIRE_ONNXRUNTIME").is_none() {
        eprintln!("skipped: ONNX Runtime is not here, scripts/onnxruntime.sh fetches it");
        return;
    }
    assert!(said.status == 0 && said.stdout.starts_with("model risk_v1  onnxruntime, "), "{}", said.stdout);
    let applied = place.run(&["apply"]);
    assert_eq!(applied.status, 0, "{}", applied.stderr);
    assert!(applied.stdout.contains(" onnxruntime, "), "{}", applied.stdout);
    // What that process says, asked by itself.
    let said = place.run_with(&["smoke-model"], "no model");
    assert!(said.status == 2 && said.stderr.contains("the file is no ONNX model"), "{}", said.stderr);
}

#[test]
fn a_row_is_scored_and_says_which_way_it_went() {
    let mut place = project();
    place.edit("feature_defs/risk.sql", "timeout = '50 ms'", "timeout = '20 s'");
    place.say("apply");
    place.say("backfill");
    place.say("score risk card=c1 amount=250 country=FR --as-of 2024-03-08T12:00:00Z");
    place.say("score risk card=c1 amount=250 country=FR --as-of 2024-03-08T12:00:00Z --json");
    place.note("where a feature has no value, the defaults are to answer");
    place.edit("feature_defs/risk.sql", "'default.risk' = 0.5", "'default.risk' = 0.5, 'default.is_fraud' = false, when_missing = 'default'");
    place.say("apply");
    place.say("score risk card=nobody amount=1 country=FR --as-of 2024-03-08T12:00:00Z");
    place.note("a column that there is not, a value of another type, another deployment");
    place.say("score risk amuont=1");
    place.say("score risk amount=much");
    place.say("score rsk card=c1");
    place.check("scores");
}

/// What an earlier release of Lockstep has said that the service means.
const THEN: Fingerprint = Fingerprint([0x11; 32]);

fn store(place: &Place) -> Store {
    Store::open(place.path(".lockstep/store"), StoreOptions::new("test")).unwrap()
}

/// Another place whose store an earlier release has left: the same definitions were applied, whose service it said to mean something else.
fn of_an_earlier_release(place: &Place) -> Place {
    let latest = OnlineStore::cut(&store(place)).definitions().unwrap().unwrap();
    let other = project();
    other.write("feature_defs/risk.sql", place.read("feature_defs/risk.sql"));
    let left = store(&other);
    let files = left.models();
    files.put(ModelPart::Model, &forest()).unwrap();
    let mut models = latest.applied.models.clone();
    for model in &mut models {
        let now = std::mem::replace(&mut model.service_meaning, THEN).to_string();
        if let Some(set) = &mut model.training_set {
            let manifest = place.read(&set.path).replace(&now, &THEN.to_string());
            other.write(&set.path, &manifest);
            files.put(ModelPart::TrainingSet, manifest.as_bytes()).unwrap();
            *set = AppliedTrainingSet { path: set.path.clone(), sha256: lockstep_store::sha256(manifest.as_bytes()) };
        }
    }
    left.apply_definitions(0, NewDefinitions { models, ..latest.applied }).unwrap();
    other
}

#[test]
fn a_release_that_says_a_meaning_otherwise_says_what_to_do() {
    let place = project();
    assert_eq!(place.run(&["apply"]).status, 0);
    let other = of_an_earlier_release(&place);
    // What was applied is run as it was.
    assert_eq!(other.run(&["model", "show", "risk_v1"]).status, 0);
    let said = other.run(&["apply"]);
    let features = format!("features = '{}'", fingerprint(&place));
    let help = format!("nothing has to be trained again: write WITH ({features}) at the model, and apply");
    for text in [
        "would meet other features",
        "the definition of fraud_v1 is the same, and this release of Lockstep says what it means otherwise",
        "(then 111111111111)",
        &help,
    ] {
        assert!(said.status == 2 && said.stderr.contains(text), "{text} in {}", said.stderr);
    }
    other.edit("feature_defs/risk.sql", "FROM output_label);", &format!("FROM output_label) WITH ({features});"));
    let said = other.run(&["apply"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    // Another definition is another one, and the model may not have been trained on it.
    let changed = of_an_earlier_release(&place);
    changed.edit("feature_defs/card_activity.sql", "INTERVAL '7 days' PRECEDING", "INTERVAL '8 days' PRECEDING");
    let said = changed.run(&["apply"]);
    assert!(said.status == 2 && said.stderr.contains("view card_activity means something else"), "{}", said.stderr);
}

#[test]
fn a_training_set_of_an_earlier_release_is_taken_where_the_definition_confirms_it() {
    let place = project();
    place.write("spine.csv", "card,amount,country,at\nc1,10,DE,2024-03-08T12:00:00Z\nc2,20,FR,2024-03-08T13:00:00Z\n");
    let said = place.run(&["train", "fraud_v1", "--spine", "spine.csv", "--timestamp", "at", "--out", "train", "--allow-own-events"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    place.edit("feature_defs/risk.sql", "FROM output_label);", "FROM output_label) WITH (training_set = 'train/manifest.json');");
    assert_eq!(place.run(&["apply"]).status, 0);
    let other = of_an_earlier_release(&place);
    let said = other.run(&["model", "show", "risk_v1"]);
    let now = fingerprint(&place);
    let help = format!(
        "nothing has to be trained again: write features = '{now}' among the options of `risk_v1`, beside its training_set where it has one, run `lockstep apply`, and start again"
    );
    for text in [
        "was made for fraud_v1 as of meaning 111111111111",
        "the definition of fraud_v1 is the one that was applied",
        &format!("(then 111111111111, now {now})"),
        &help,
    ] {
        assert!(said.status == 2 && said.stderr.contains(text), "{text} in {}", said.stderr);
    }
    other.edit("feature_defs/risk.sql", "training_set =", &format!("features = '{now}', training_set ="));
    let said = other.run(&["apply"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let shown: Value = serde_json::from_str(&other.run(&["model", "show", "risk_v1", "--json"]).stdout).unwrap();
    assert_eq!(shown["training_set"]["rows"], 2);
}
