//! What is said of models, deployments and predictions, of what was answered, and of what goes into training sets, is the same whoever answers.

use std::fs;

use lockstep_testkit::onnx::{Stump, stumps};

use crate::same::{AT, masked};
use crate::support::{Ended, Project};

const DEFINITIONS: &str = "
CREATE MODEL fraud_trees FROM 'models/fraud.onnx' USING fraud_v1 (input => (amount, payments_1h, spent_1h, avg_amount_7d)) PREDICT (risk REAL FROM score);
CREATE DEPLOYMENT fraud AS fraud_trees WITH (timeout = '1 minute');
CREATE PREDICTIONS card_risk ENTITY card (risk REAL) FROM fraud WITH (ttl = '30 days');
";

/// What is asked, one after the other: some of it changes the store, for what comes behind it.
pub const SAID: &[&[&str]] = &[
    &["backfill"],
    &["model", "list"],
    &["model", "list", "--json"],
    &["model", "show", "fraud_trees"],
    &["model", "show", "fraud_tres"],
    &["score", "fraud", "card=c1", "amount=60.5", "country=FR", "--as-of", AT],
    &["score", "fraud", "card=c1", "amount=60.5", "country=FR", "--as-of", AT, "--json"],
    &["score", "fraud", "card=c1", "amount=much", "country=FR"],
    &["get", "fraud_v1", "--from", "requests.ndjson", "--keep", "kept", "--as-of", AT],
    &["audit"],
    &["audit", "--log", "kept"],
    &["audit", "--log", "kept", "--json"],
    &["get", "--request", "r1"],
    &["get", "--request", "r1", "--log", "kept"],
    &["release", "promote", "--by", "ada", "--reason", "first"],
    &["release", "promote", "--force", "--by", "ada", "--reason", "again"],
    &["release", "list"],
    &["release", "diff", "1", "1"],
    &["release", "diff", "1", "7"],
    &["release", "rollback"],
    &["predictions", "list"],
    &["predictions", "show", "card_risk"],
    &["predictions", "rollback", "card_risk"],
    &["migrate"],
];

/// What is asked where the store is: by its owner's socket, where there is an owner.
pub const SAID_HERE: &[&[&str]] = &[
    &["train", "fraud_v1", "--spine", "spine.csv", "--timestamp", "asked_at", "--applied", "--out", "set"],
    &["score", "fraud", "--spine", "spine.csv", "--timestamp", "asked_at", "--out", "scores"],
    &["predictions", "publish", "card_risk", "scores", "--by", "ada"],
    &["predictions", "publish", "card_risk", "scores", "--by", "ada"],
    &["predictions", "publish", "card_risk", "nowhere"],
    &["predictions", "list", "card_risk"],
    &["predictions", "show", "card_risk", "--json"],
];

fn project() -> Project {
    let project = Project::unapplied();
    fs::create_dir(project.dir.join("models")).unwrap();
    let stump = |feature, at, leaves| Stump { feature, at, leaves };
    let model = stumps(4, &[stump(0, 50.0, [0.1, 0.3]), stump(1, 1.0, [0.02, 0.2]), stump(2, 20.0, [0.05, 0.25]), stump(3, 30.0, [0.01, 0.125])]);
    fs::write(project.dir.join("models/fraud.onnx"), model).unwrap();
    fs::write(project.dir.join("feature_defs/models.sql"), DEFINITIONS).unwrap();
    fs::write(project.dir.join("requests.ndjson"), "{\"card\":\"c1\",\"amount\":0.5,\"country\":\"FR\"}\n{\"card\":\"nobody\",\"amount\":7}\n")
        .unwrap();
    let rows = (0..40).map(|card| format!("c{card},{}.5,FR,2024-03-07T14:40:00Z\n", card * 3));
    fs::write(project.dir.join("spine.csv"), format!("card,amount,country,asked_at\n{}", rows.collect::<String>())).unwrap();
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    project
}

/// What comes of all of it, as `run` asks, or `here` where the store is.
fn outcomes(project: &Project, run: &dyn Fn(&[&str]) -> Ended) -> Vec<Ended> {
    let said = SAID.iter().map(|args| masked(run(args)));
    said.chain(SAID_HERE.iter().map(|args| masked(timeless(project.run(args))))).collect()
}

/// Without how long it took, and without digests of what says when it was made.
fn timeless(ended: Ended) -> Ended {
    let is_timeless = |line: &&str| ![" took ", " a second", "\"job\": ", "\"sha256\": "].iter().any(|of_then| line.contains(of_then));
    let lines = |text: &str| text.lines().filter(is_timeless).map(|line| format!("{line}\n")).collect();
    Ended { out: lines(&ended.out), err: lines(&ended.err), ..ended }
}

#[test]
fn with_and_without_an_owner_and_through_a_server() {
    let [alone, beside, served] = [(); 3].map(|()| project());
    let of_alone = outcomes(&alone, &|args| alone.run(args));
    let owner = beside.owner();
    let of_beside = outcomes(&beside, &|args| beside.run(args));
    owner.finish().fine();
    let server = served.server();
    let of_served = outcomes(&served, &|args| {
        let mut command = served.command(args);
        command.env("LOCKSTEP_SERVER", server.url()).env("LOCKSTEP_STORE", "/nowhere");
        command.output().unwrap().into()
    });
    for (args, ((alone, beside), served)) in SAID.iter().chain(SAID_HERE).zip(of_alone.iter().zip(&of_beside).zip(&of_served)) {
        assert_eq!(alone, beside, "{args:?}");
        assert_eq!(alone, served, "{args:?}, through a server");
        assert!(!alone.out.is_empty() || !alone.err.is_empty(), "{args:?}");
    }
    let scores = |project: &Project| fs::read(project.dir.join("scores/part-00000.parquet")).unwrap();
    assert!(scores(&alone) == scores(&beside) && scores(&alone) == scores(&served));
}
