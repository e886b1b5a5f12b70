//! Published predictions: a run serves whole or not at all, wherever it is cut short, and going back is one move.

use std::collections::BTreeMap;
use std::fs::{self, File};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, TimestampMicrosecondType};
use lockstep_client::Request;
use lockstep_client::proto::Status;
use lockstep_model::EventTime;
use lockstep_store::{OnlineStore, Store, StoreOptions};
use lockstep_testkit::onnx::{Stump, stumps};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::project::{Ended, Project};
use crate::scoring::fraud;
use crate::support::{Caller, Server};

/// Cards that are scored: enough that their drift says something.
pub const CARDS: usize = 600;
/// The moment that they are scored as of, in µs, and as it is written.
pub const AT_MICROS: i64 = 1_709_822_400_000_000;
const AT: &str = "2024-03-07T14:40:00Z";

const DEFINITIONS: &str = "
CREATE ENTITY country (country VARCHAR);
CREATE MODEL fraud_trees FROM 'models/fraud.onnx' USING fraud_v1 (input => (amount, payments_1h, spent_1h, avg_amount_7d)) PREDICT (risk REAL FROM score);
CREATE DEPLOYMENT fraud AS fraud_trees WITH (timeout = '20 s');
CREATE PREDICTIONS card_risk ENTITY card (risk REAL) FROM fraud WITH (keep = 2);
CREATE PREDICTIONS riskiest ENTITY country (card VARCHAR, risk REAL) FROM fraud WITH (item = 'card', top = 3);
CREATE DEPLOYMENT fresh_only AS fraud_trees WITH (timeout = '20 s', max_age = '3 days', when_stale = 'default', 'default.risk' = 0.5);
CREATE FEATURE SERVICE fresh_risk WITH (max_age = '3 days') AS
SELECT p.risk AS last_risk FROM REQUEST (card VARCHAR) r LEFT JOIN card_risk p ON p.card = r.card;
CREATE FEATURE SERVICE with_risk AS
SELECT p.risk AS last_risk, p.computed_at AS risk_at FROM REQUEST (card VARCHAR) r LEFT JOIN card_risk p ON p.card = r.card;
";

/// The project of `init` with predictions, whose state does not expire, since all that it has happened long ago, and is not stale before the server has looked at its logs.
fn unapplied() -> Project {
    let project = Project::unapplied();
    fs::create_dir(project.dir.join("models")).unwrap();
    fs::write(project.dir.join("models/fraud.onnx"), fraud(1.0)).unwrap();
    let path = project.dir.join("feature_defs/card_activity.sql");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("ttl = '30 days', max_staleness = '1 minute', ", "")).unwrap();
    fs::write(project.dir.join("feature_defs/predictions.sql"), DEFINITIONS).unwrap();
    project
}

pub fn project() -> Project {
    let project = unapplied();
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    project
}

/// Writes a spine of so many cards, whose amounts depend on `salt`.
pub fn spine(project: &Project, cards: usize, salt: usize) {
    let mut lines = "card,amount,country,asked_at\n".to_owned();
    for card in 0..cards {
        lines += &format!("c{card},{}.1,{},{AT}\n", (card * 23 + salt) % 97, ["FR", "DE"][card % 2]);
    }
    fs::write(project.dir.join("spine.csv"), lines).unwrap();
}

pub const PUBLISH: [&str; 8] = ["score", "fraud", "--spine", "spine.csv", "--timestamp", "asked_at", "--publish", "card_risk"];

pub fn publish(project: &Project, more: &[&str]) -> Ended {
    project.run(&[&PUBLISH[..], more].concat())
}

/// What the rows of the spine are predicted to be, by card, as a run into a directory says.
pub fn expected(project: &Project, out: &str) -> BTreeMap<String, u32> {
    project.run(&["score", "fraud", "--spine", "spine.csv", "--timestamp", "asked_at", "--out", out]).fine();
    let scores = read(project, out);
    let cards = scores.column_by_name("card").unwrap().as_string::<i32>().iter().map(|card| card.unwrap().to_owned());
    let risks = scores.column_by_name("risk").unwrap().as_primitive::<Float32Type>().iter().map(|risk| risk.unwrap().to_bits());
    cards.zip(risks).collect()
}

pub fn read(project: &Project, out: &str) -> RecordBatch {
    let dir = project.dir.join(out);
    let manifest: Value = serde_json::from_str(&fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["parts"].as_array().unwrap().iter().map(|part| File::open(dir.join(part["file"].as_str().unwrap())).unwrap());
    let batches: Vec<RecordBatch> =
        files.flat_map(|file| ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap)).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// What a server says the risk of each card is now; none for those that it knows of none.
pub fn served(caller: &Caller, cards: usize) -> BTreeMap<String, u32> {
    let names: Vec<String> = (0..cards).map(|card| format!("c{card}")).collect();
    let answer = caller.ask(Request::new("with_risk").column("card", names.clone())).unwrap();
    let risks = answer.feature("last_risk").unwrap();
    let statuses: Vec<Status> = risks.statuses();
    let found = names.into_iter().zip(risks.values::<f32>().unwrap()).zip(statuses);
    found
        .filter_map(|((name, risk), status)| {
            assert_eq!(risk.is_some(), status == Status::Present, "{name}: {status:?}");
            assert!(risk.is_some() || status == Status::NotFound, "{name}: {status:?}");
            Some((name, risk?.to_bits()))
        })
        .collect()
}

/// The same by the command line, of one card.
fn got(project: &Project, card: &str) -> Option<f64> {
    let said: Value = serde_json::from_str(&project.run(&["get", "with_risk", &format!("card={card}"), "--json"]).fine()).unwrap();
    said["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "last_risk").unwrap()["value"]
        .as_str()
        .map(|value| value.parse().unwrap())
}

/// The runs that are kept: number and state.
pub fn runs(project: &Project, name: &str) -> Vec<(u64, String)> {
    let said: Value = serde_json::from_str(&project.run(&["predictions", "list", name, "--json"]).fine()).unwrap();
    said["runs"].as_array().unwrap().iter().map(|run| (run["run"].as_u64().unwrap(), run["state"].as_str().unwrap().to_owned())).collect()
}

pub fn states(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(run, state)| (*run, (*state).to_owned())).collect()
}

#[test]
fn a_server_switches_to_a_run_and_back_without_a_restart() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    assert_eq!(served(&caller, CARDS), BTreeMap::new(), "nothing was published");
    spine(&project, CARDS, 0);
    let first = expected(&project, "first");
    let said = publish(&project, &["--reason", "the first"]).fine();
    assert!(said.contains("serves: run 1 of card_risk: 600 predictions of 600 entities"), "{said}");
    assert_eq!(served(&caller, CARDS), first);
    // Each prediction is of the moment that it was made as of.
    let answer = caller.ask(Request::new("with_risk").column("card", vec!["c1"])).unwrap();
    assert_eq!(answer.feature("risk_at").unwrap().values::<i64>().unwrap(), [Some(AT_MICROS)]);

    // The same again is no new run, by either way.
    let said = publish(&project, &[]).fine();
    assert!(said.contains("nothing to publish: these scores are run 1 of card_risk already, and serves"), "{said}");
    let said = project.run(&["predictions", "publish", "card_risk", "first"]).fine();
    assert!(said.contains("these scores are run 1 of card_risk already"), "{said}");
    assert_eq!(runs(&project, "card_risk"), states(&[(1, "serves")]));

    spine(&project, CARDS, 50);
    let second = expected(&project, "second");
    assert_ne!(first, second);
    let generations = || fs::read_dir(project.store().join("predictions/card_risk")).unwrap().count();
    publish(&project, &[]).fine();
    assert_eq!(served(&caller, CARDS), second);
    let said = project.run(&["predictions", "rollback", "card_risk"]).fine();
    assert_eq!(said, "serves: run 1 of card_risk again, and run 2 no more\n");
    assert_eq!(served(&caller, CARDS), first);
    assert_eq!(runs(&project, "card_risk"), states(&[(1, "serves"), (2, "taken back")]));
    let said = publish(&project, &[]).fine();
    assert!(
        said.contains("run 2 of card_risk already, and run 1 goes on serving · `lockstep predictions rollback card_risk 2` lets it serve"),
        "{said}"
    );
    project.run(&["predictions", "rollback", "card_risk", "2"]).fine();
    assert_eq!(served(&caller, CARDS), second);
    let nothing = project.run(&["predictions", "rollback", "card_risk", "7"]).error();
    assert!(nothing.contains("run 7 of `card_risk` is not kept · kept: 1, 2"), "{nothing}");

    // Two are kept; a third takes the first along, but for what the second answers of the past by it.
    let before = generations();
    spine(&project, CARDS, 20);
    let third = expected(&project, "third");
    publish(&project, &[]).fine();
    assert_eq!((served(&caller, CARDS), generations()), (third.clone(), before + 1));
    assert_eq!(runs(&project, "card_risk"), states(&[(1, "held"), (2, "kept"), (3, "serves")]));
    spine(&project, CARDS, 30);
    let fourth = expected(&project, "fourth");
    publish(&project, &[]).fine();
    assert_eq!(served(&caller, CARDS), fourth);
    assert_eq!(runs(&project, "card_risk"), states(&[(2, "held"), (3, "kept"), (4, "serves")]));
    // What serves is there after a restart, and what it was made of is there to be verified.
    drop((server, caller));
    let server = Server::start(&project);
    assert_eq!(served(&Caller::new(&server), CARDS), fourth);
    drop(server);
    let said = project.run(&["verify"]).fine();
    assert!(said.contains("card_risk"), "{said}");
}

#[test]
fn a_run_that_is_unlike_what_serves_is_refused() {
    let project = project();
    spine(&project, CARDS, 0);
    publish(&project, &[]).fine();
    let before = got(&project, "c1");
    assert!(before.is_some());
    spine(&project, CARDS / 2, 50);
    let said = publish(&project, &[]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.out.contains("fewer entities") && said.out.contains("not published: run 1 goes on serving · `--force` publishes it all the same"),
        "{said:?}"
    );
    assert_eq!((got(&project, "c1"), runs(&project, "card_risk")), (before, states(&[(1, "serves")])));
    // A model that predicts twice as much has moved all of them.
    fs::write(project.dir.join("models/fraud.onnx"), fraud(2.0)).unwrap();
    project.run(&["apply"]).fine();
    spine(&project, CARDS, 0);
    let said = publish(&project, &[]);
    assert!(said.status == Some(1) && said.out.contains("drift"), "{said:?}");
    assert_eq!(got(&project, "c1"), before);
    let said = publish(&project, &["--force", "--reason", "a new model"]).fine();
    assert!(said.contains("serves: run 2 of card_risk: 600 predictions of 600 entities, forced"), "{said}");
    assert_ne!(got(&project, "c1"), before);
    let shown: Value = serde_json::from_str(&project.run(&["predictions", "show", "card_risk", "--json"]).fine()).unwrap();
    assert_eq!((&shown["serves"], &shown["run"]["forced"], &shown["run"]["reason"]), (&true.into(), &true.into(), &"a new model".into()));
    assert_eq!(shown["run"]["models"][0]["model"], "fraud_trees");
}

#[test]
fn what_cannot_be_published_is_said() {
    let project = project();
    spine(&project, 10, 0);
    let said = |args: &[&str]| project.run(args).error();
    let other = said(&["score", "fraud", "--spine", "spine.csv", "--timestamp", "asked_at", "--publish", "card_risks"]);
    assert!(other.contains("no predictions named `card_risks` · predictions: card_risk, riskiest · did you mean `card_risk`?"), "{other}");
    let nowhere = said(&["predictions", "publish", "card_risk", "nowhere"]);
    assert!(nowhere.contains("there are no scores at "), "{nowhere}");
    fs::write(project.dir.join("spine.csv"), "card,amount,asked_at\nc1,1,2024-03-07\nc1,2,2024-03-07\n").unwrap();
    let service = "CREATE FEATURE SERVICE alone AS SELECT r.amount AS amount FROM REQUEST (amount DOUBLE) r;
CREATE MODEL alone_v1 FROM 'models/fraud.onnx' USING fraud_v1 (input => (amount, payments_1h, spent_1h, avg_amount_7d)) PREDICT (risk REAL FROM score);
CREATE DEPLOYMENT other AS alone_v1;";
    fs::write(project.dir.join("feature_defs/other.sql"), service).unwrap();
    project.run(&["apply"]).fine();
    let another = said(&["score", "other", "--spine", "spine.csv", "--timestamp", "asked_at", "--publish", "card_risk"]);
    assert!(another.contains("`card_risk` are predictions of `fraud`, and rows are to be scored by `other`"), "{another}");
    fs::write(project.dir.join("spine.csv"), "card,amount,country,asked_at\nc1,1,FR,2024-03-07\nc1,2,FR,2024-03-07\n").unwrap();
    let twice = publish(&project, &[]).error();
    assert!(twice.contains("the scores have two rows of one entity at 2024-03-07T00:00:00Z"), "{twice}");
    assert_eq!(runs(&project, "card_risk"), []);
    fs::write(project.dir.join("spine.csv"), "card,amount,country,asked_at\nc1,1,FR,2124-03-07\n").unwrap();
    let ahead = publish(&project, &[]).error();
    assert!(ahead.contains("a prediction would be of 2124-03-07T00:00:00Z, which has not come yet"), "{ahead}");
    let offline = said(&["train", "with_risk", "--spine", "spine.csv", "--timestamp", "asked_at", "--out", "train"]);
    assert!(offline.contains("`card_risk` are predictions") && offline.contains("add --applied, or --snapshot NAME"), "{offline}");
}

#[test]
fn a_ranked_list_is_the_best_items_of_each_entity() {
    let project = project();
    spine(&project, 40, 0);
    let risks = expected(&project, "scores");
    project.run(&["predictions", "publish", "riskiest", "scores"]).fine();
    let said: Value = serde_json::from_str(&project.run(&["get", "riskiest", "country=FR", "--json"]).fine()).unwrap();
    let feature = |name: &str| said["features"].as_array().unwrap().iter().find(|feature| feature["name"] == name).unwrap()["value"].clone();
    let mut best: Vec<(f32, String)> = risks
        .iter()
        .filter(|(card, _)| card[1..].parse::<u32>().unwrap() % 2 == 0)
        .map(|(card, risk)| (f32::from_bits(*risk), card.clone()))
        .collect();
    best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let items: Vec<&str> = best.iter().take(3).map(|(_, card)| card.as_str()).collect();
    assert_eq!(feature("items"), format!("[{}]", items.join(", ")));
    let scores: Vec<String> = best.iter().take(3).map(|(risk, _)| risk.to_string()).collect();
    assert_eq!(feature("scores"), format!("[{}]", scores.join(", ")));
}

#[test]
fn what_was_predicted_is_known_from_when_it_was_published() {
    let project = project();
    spine(&project, 3, 0);
    publish(&project, &[]).fine();
    // The predictions are of the seventh; what came by logs and history has come further, and that is what a snapshot is of.
    let made = project.run(&["snapshot", "create"]).fine();
    assert!(made.contains("made: s0001, 4 generations at 2024-03-0") && !made.contains(AT), "{made}");
    // A model that is trained on them sees, at a moment, what could be known at it; by the clock of events, what was predicted as of it.
    fs::write(project.dir.join("labels.csv"), format!("card,at\nc1,{AT}\nc1,2024-03-07T14:39:59Z\n")).unwrap();
    let train = |time: &str, out: &str| {
        project.run(&["train", "with_risk", "--spine", "labels.csv", "--timestamp", "at", "--applied", "--time", time, "--out", out]).fine();
        let rows = read(&project, out);
        let at = rows.column_by_name("risk_at").unwrap().as_primitive::<TimestampMicrosecondType>();
        at.iter().collect::<Vec<_>>()
    };
    assert_eq!(train("known", "known"), [None, None]);
    assert_eq!(train("event", "event"), [Some(AT_MICROS), None]);
    // Known from the moment on at which it could be read: not a microsecond before, and it was read no earlier.
    let told: Value = serde_json::from_str(&project.run(&["predictions", "show", "card_risk", "1", "--json"]).fine()).unwrap();
    let published_at = EventTime::parse(told["run"]["published_at"].as_str().unwrap()).unwrap();
    let readable_at = {
        let store = Store::open(project.store(), StoreOptions::new("test")).unwrap();
        let generations = OnlineStore::cut(&store).generations().unwrap();
        generations.iter().find(|info| info.view == "card_risk" && info.run == Some(1)).unwrap().published_at.unwrap()
    };
    assert!(readable_at >= published_at, "readable at {readable_at}, and known from {published_at}");
    fs::write(project.dir.join("labels.csv"), format!("card,at\nc1,{}\nc1,{published_at}\n", EventTime(published_at.0 - 1))).unwrap();
    assert_eq!(train("known", "at_the_edge"), [None, Some(AT_MICROS)]);
    // A later run moves neither what a snapshot answers nor what a service means.
    let at_snapshot = |args: &[&str]| project.run(&[&["get", "with_risk", "card=c1", "--time", "event", "--as-of", AT], args].concat()).fine();
    let (before, schema) = (at_snapshot(&["--snapshot", "s0001"]), project.run(&["schema", "--service", "with_risk", "--json"]).fine());
    spine(&project, 3, 50);
    publish(&project, &["--force"]).fine();
    assert_eq!(at_snapshot(&["--snapshot", "s0001"]), before);
    assert_ne!(at_snapshot(&[]), before);
    assert_eq!(project.run(&["schema", "--service", "with_risk", "--json"]).fine(), schema);
}

#[test]
fn predictions_of_another_meaning_are_not_served() {
    let project = project();
    spine(&project, 3, 0);
    expected(&project, "scores");
    publish(&project, &[]).fine();
    assert!(got(&project, "c1").is_some());
    // The deployment means something else: what its predecessor predicted is not what readers are told it is.
    let path = project.dir.join("feature_defs/predictions.sql");
    fs::write(&path, DEFINITIONS.replace("timeout = '20 s');", "timeout = '20 s', when_missing = 'default', 'default.risk' = 0.5);")).unwrap();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    assert_eq!(got(&project, "c1"), None);
    let stale = project.run(&["predictions", "publish", "card_risk", "scores"]).error();
    assert!(
        stale.contains("the scores are of `fraud` as it meant ") && stale.contains("score the rows again by the definitions that serve"),
        "{stale}"
    );
    publish(&project, &["--force"]).fine();
    assert!(got(&project, "c1").is_some());
    // A ranker that was trained on predictions of the earlier meaning is not given these.
    let meant = project.run(&["schema", "--service", "with_risk", "--json"]).fine();
    let meant: Value = serde_json::from_str(&meant).unwrap();
    let ranker = format!(
        "CREATE MODEL ranker FROM 'models/ranker.onnx' USING with_risk (input => (last_risk)) PREDICT (rank REAL FROM score) WITH (features = '{}');",
        &meant["fingerprint"].as_str().unwrap()[..12]
    );
    fs::write(project.dir.join("models/ranker.onnx"), stumps(1, &[Stump { feature: 0, at: 0.5, leaves: [0.0, 1.0] }])).unwrap();
    fs::write(project.dir.join("feature_defs/ranker.sql"), ranker).unwrap();
    project.run(&["apply"]).fine();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("'default.risk' = 0.5);\nCREATE PREDICTIONS", "'default.risk' = 0.25);\nCREATE PREDICTIONS")).unwrap();
    let refused = project.run(&["apply"]).error();
    assert!(refused.contains("`ranker`") && refused.contains("with_risk"), "{refused}");
    fs::remove_file(project.dir.join("feature_defs/ranker.sql")).unwrap();
    fs::write(&path, text).unwrap();
    project.run(&["apply"]).fine();
    // Another ttl is another version of the view, which takes over what was predicted.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("(keep = 2)", "(keep = 2, ttl = '100000 days')")).unwrap();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    assert!(got(&project, "c1").is_some());
    assert_eq!(runs(&project, "card_risk").last(), Some(&(2, "serves".to_owned())));
}

#[test]
fn a_release_reads_the_run_that_is_published() {
    let project = project();
    spine(&project, CARDS, 0);
    let first = expected(&project, "first");
    publish(&project, &[]).fine();
    project.run(&["release", "promote"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    assert_eq!(served(&caller, CARDS), first);
    spine(&project, CARDS, 50);
    let second = expected(&project, "second");
    publish(&project, &[]).fine();
    assert_eq!(served(&caller, CARDS), second);
    project.run(&["predictions", "rollback", "card_risk"]).fine();
    assert_eq!(served(&caller, CARDS), first);
    // The release names none of them, so that an old one can be let go.
    spine(&project, CARDS, 20);
    publish(&project, &[]).fine();
    spine(&project, CARDS, 30);
    let last = expected(&project, "last");
    publish(&project, &[]).fine();
    assert_eq!(served(&caller, CARDS), last);
}
