//! Definitions that several processes apply at once.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Ended, Project};

/// Writes the project's definitions to a directory of its own, with other rows in one view.
fn variant(project: &Project, name: &str, least: u32) {
    let from = project.dir.join("feature_defs");
    let to = project.dir.join(name);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let text = fs::read_to_string(&path).unwrap().replace("WHERE amount > 0", &format!("WHERE amount > {least}"));
            fs::write(to.join(path.file_name().unwrap()), text).unwrap();
        }
    }
}

/// Applies each of these directories, all at once.
fn apply_at_once(project: &Project, dirs: &[&str], more: &[&str]) -> Vec<Ended> {
    let start = |dir: &&str| {
        let args: Vec<&str> = ["apply", "--definitions", dir, "--by", dir].iter().chain(more).copied().collect();
        project.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = dirs.iter().map(start).collect();
    children.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect()
}

/// Who applied each set of definitions that the store has.
fn applied_by(project: &Project) -> Vec<Option<String>> {
    let list: Value = serde_json::from_str(&project.run(&["apply", "--list", "--json"]).fine()).unwrap();
    list["definitions"].as_array().unwrap().iter().map(|set| set["by"].as_str().map(str::to_owned)).collect()
}

/// Of two who apply different texts, having seen the same, one wins, and the other is told who did.
fn one_of_two_wins(project: &Project) {
    assert!(Path::new(&project.store()).exists());
    variant(project, "left", 1);
    variant(project, "right", 2);
    let outcomes = apply_at_once(project, &["left", "right"], &["--expect", "1"]);
    let won: Vec<&str> = ["left", "right"].into_iter().zip(&outcomes).filter(|(_, ended)| ended.status == Some(0)).map(|(dir, _)| dir).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    let lost = outcomes.into_iter().find(|ended| ended.status != Some(0)).unwrap().error();
    assert!(lost.contains("other definitions are applied than were seen · expected version 1, the store has version 2, applied "), "{lost}");
    assert!(lost.contains(&format!(" by {} · ", won[0])), "{lost}");
    assert_eq!(applied_by(project)[1..], [Some(won[0].to_owned())]);
}

#[test]
fn one_of_two_wins_where_nobody_owns_the_store() {
    one_of_two_wins(&Project::new());
}

#[test]
fn one_of_two_wins_beside_an_owner() {
    let project = Project::new();
    let owner = project.owner();
    one_of_two_wins(&project);
    owner.finish().fine();
}

/// Who says no number has read it himself: whoever is not refused is in the list, and nobody else.
#[test]
fn nothing_is_overwritten_unseen_without_a_number() {
    let project = Project::new();
    let dirs = ["a", "b", "c"];
    for (dir, least) in dirs.iter().zip(1..) {
        variant(&project, dir, least);
    }
    let outcomes = apply_at_once(&project, &dirs, &[]);
    let mut won: Vec<String> = Vec::new();
    for (dir, ended) in dirs.iter().zip(outcomes) {
        if ended.status == Some(0) {
            won.push((*dir).to_owned());
        } else {
            let lost = ended.error();
            assert!(lost.contains("other definitions are applied than were seen"), "{lost}");
        }
    }
    let mut applied: Vec<String> = applied_by(&project).into_iter().skip(1).flatten().collect();
    applied.sort();
    assert!(!won.is_empty());
    assert_eq!(applied, won);
}

#[test]
fn equal_texts_are_no_conflict() {
    let project = Project::unapplied();
    variant(&project, "feature_defs", 3);
    let outcomes = apply_at_once(&project, &["feature_defs"; 3], &["--expect", "0"]);
    let new: Vec<bool> = outcomes.into_iter().map(|ended| ended.fine().starts_with("applied: version 1")).collect();
    assert_eq!(new.iter().filter(|new| **new).count(), 1);
    assert_eq!(applied_by(&project), [Some("feature_defs".to_owned())]);
}

#[test]
fn models_are_applied_beside_an_owner_and_over_a_server() {
    let project = Project::new();
    let forest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../score/tests/models/sklearn_forest_binary.onnx");
    fs::create_dir_all(project.dir.join("models")).unwrap();
    fs::copy(&forest, project.dir.join("models/risk.onnx")).unwrap();
    let model = |name: &str| {
        format!(
            "CREATE MODEL {name} FROM 'models/risk.onnx' USING fraud_v1 (
               x => (amount, payments_1h, spent_1h, avg_amount_7d, amount_against_usual, merchants_7d)
             ) PREDICT (risk DOUBLE FROM output_probability['1']);"
        )
    };
    fs::write(project.dir.join("feature_defs/risk.sql"), model("risk_v1")).unwrap();
    let owner = project.owner();
    project.run(&["apply"]).fine();
    owner.finish().fine();
    let kept: Vec<_> = fs::read_dir(project.store().join("models")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(&kept[0]).unwrap(), fs::read(&forest).unwrap());
    // Over a server the file goes along as well, from a directory that the server does not see.
    let server = project.server();
    fs::write(project.dir.join("feature_defs/risk.sql"), model("risk_v2")).unwrap();
    project.run(&["apply", "--server", &server.url()]).fine();
    let list: Value = serde_json::from_str(&project.run(&["model", "list", "--json", "--server", &server.url()]).fine()).unwrap();
    assert_eq!(list["models"][0]["model"], "risk_v2");
    fs::write(project.dir.join("models/risk.onnx"), "no model").unwrap();
    let refused = project.run(&["apply", "--server", &server.url()]).error();
    assert!(refused.contains("`models/risk.onnx`: the file is no ONNX model"), "{refused}");
}
