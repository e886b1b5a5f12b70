//! Rows are given actions, some by chance; what was done and what came of it is reported, and learned from.

use std::fs;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Float64Type;
use lockstep_client::{Decision, Outcome, Rows, Scores};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tonic::Code;

use crate::feature_log::{files, logged, rewrite, with};
use crate::project::Project;
use crate::scoring;
use crate::support::{Caller, Server};

const AT_MICROS: i64 = 1_709_822_400_000_000;

/// Amounts up to 50 have a risk of 0.125, others of 0.75.
const DEPLOYMENTS: &str = "
CREATE DEPLOYMENT approving AS fraud_simple WITH (timeout = '5 s', actions = ['approve', 'decline'], thresholds = [0.5]);
CREATE DEPLOYMENT trying AS fraud_simple WITH (timeout = '5 s', actions = ['approve', 'decline'], thresholds = [0.5], explore = 0.5);
CREATE DEPLOYMENT tried AS fraud_simple WITH (timeout = '5 s', explore = 0.5);
CREATE DEPLOYMENT standing_in AS fraud_trees WITH (timeout = '5 s', actions = ['approve', 'decline'], thresholds = [0.5], explore = 1, when_missing = 'default', 'default.risk' = 0.75);
";

/// A project that explores and logs, with the settings given.
fn project(settings: &str) -> Project {
    let project = scoring::project();
    fs::write(project.dir.join("feature_defs/deployments.sql"), DEPLOYMENTS).unwrap();
    let path = project.dir.join("lockstep.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}\n[serve.feature_log]\nroll = '50 milliseconds'\n{settings}\n")).unwrap();
    project.run(&["apply"]).fine();
    project
}

fn amount(row: usize) -> f64 {
    if row.is_multiple_of(2) { 10.0 } else { 90.0 }
}

fn rows(deployment: &str, count: usize) -> Rows {
    let amounts: Vec<f64> = (0..count).map(amount).collect();
    Rows::of(deployment).column("card", vec!["c1"; count]).column("amount", amounts).column("country", vec!["FR"; count]).as_of(AT_MICROS)
}

impl Caller {
    fn decided(&self, rows: Rows) -> Scores {
        self.runtime.block_on(self.client.score(rows)).unwrap()
    }

    fn report(&self, decisions: Vec<Decision>, outcomes: Vec<Outcome>) {
        self.runtime.block_on(self.client.report_decisions(decisions)).unwrap();
        if !outcomes.is_empty() {
            self.runtime.block_on(self.client.report_outcomes(outcomes)).unwrap();
        }
    }
}

#[test]
fn a_share_of_rows_is_given_an_action_by_chance_and_says_so() {
    let project = project("share = 0");
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    const ROWS: usize = 400;
    let scores = caller.decided(rows("trying", ROWS).id("a request"));
    let decisions = scores.decisions();
    assert_eq!(decisions.len(), ROWS);
    let explored = decisions.iter().filter(|decision| decision.explored).count();
    assert!((140..=260).contains(&explored), "{explored} of {ROWS} explore");
    for (row, decision) in decisions.iter().enumerate() {
        let best = if amount(row) < 50.0 { "approve" } else { "decline" };
        let propensity = if decision.action == best { 0.75 } else { 0.25 };
        assert_eq!((decision.row as usize, decision.propensity), (row, propensity), "{decision:?}");
        assert!(decision.explored || decision.action == best, "{decision:?}");
    }
    assert!(decisions.iter().filter(|decision| decision.explored && decision.propensity == 0.25).count() > explored / 4);
    // By the id and the row alone: the same again, also in JSON; another request is another draw.
    assert_eq!(caller.decided(rows("trying", ROWS).id("a request")).decisions(), decisions);
    assert_ne!(caller.decided(rows("trying", ROWS).id("another")).0.actions, scores.0.actions);
    let body = json!({"deployment": "trying", "rows": [{"card": "c1", "amount": 10.0, "country": "FR"}], "as_of": "2024-03-07T14:40:00Z", "request_id": "a request"});
    let (code, said) = server.post("/v1/score", &body.to_string());
    let said: Value = serde_json::from_str(&said).unwrap();
    let first = json!([[decisions[0].action], [decisions[0].propensity], [decisions[0].explored]]);
    assert_eq!((code, json!([said["actions"], said["propensities"], said["explored"]])), (200, first), "{said}");
    // Without an id by what is asked and when, so that rows that are the same are drawn alike.
    let nameless = caller.decided(rows("trying", 4)).decisions();
    assert_eq!((&nameless[0].action, &nameless[1].action), (&nameless[2].action, &nameless[3].action));
    let beside = project.run(&["score", "trying", "card=c1", "amount=10", "country=FR", "--as-of", "2024-03-07T14:40:00Z", "--json"]).fine();
    let beside: Value = serde_json::from_str(&beside).unwrap();
    assert_eq!(beside["decided"]["action"], json!(nameless[0].action), "{beside}");
    // Where there are no actions, the caller acts; where nothing explores, nothing is drawn.
    let caller_acts = caller.decided(rows("tried", ROWS).id("a request"));
    assert_eq!((caller_acts.explore().len(), caller_acts.decisions().len()), (ROWS, 0));
    assert!((140..=260).contains(&caller_acts.explore().iter().filter(|explore| **explore).count()));
    let greedy = caller.decided(rows("approving", 2)).decisions();
    assert!(greedy.iter().all(|decision| decision.propensity == 1.0 && !decision.explored));
    assert_eq!((greedy[0].action.as_str(), greedy[1].action.as_str()), ("approve", "decline"));
    let plain = caller.decided(rows("fraud", 2));
    assert!(plain.0.actions.is_empty() && plain.explore().is_empty() && plain.0.propensities.is_empty());
    // What stands in for the model does not explore.
    let stood_in =
        caller.decided(Rows::of("standing_in").column("card", ["nobody"]).column("amount", [1.0]).column("country", ["FR"]).as_of(AT_MICROS).id("x"));
    assert_eq!(
        (stood_in.decisions()[0].action.as_str(), stood_in.decisions()[0].propensity, stood_in.decisions()[0].explored),
        ("decline", 1.0, false)
    );
    let (_, described) = server.get("/v1/deployments/trying");
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!((&described["actions"], &described["explore"]), (&json!(["approve", "decline"]), &json!(0.5)));
    let status: Value = serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap();
    let trying = status["deployments"].as_array().unwrap().iter().find(|of| of["deployment"] == "trying").unwrap();
    let model = &trying["models"][0];
    assert_eq!((&trying["explore"], &model["model"], &model["runtime"]), (&json!(0.5), &json!("fraud_simple"), &json!("trees")), "{trying}");
    assert_eq!(model["state"], "ready");
    let said = project.run(&["status"]).fine();
    assert!(
        said.contains("deployment trying, approve or decline · explores a share of 0.5") && said.contains("fraud_simple  trees  ready"),
        "{said}"
    );
    let said = project.run(&["explain", "trying"]).fine();
    for line in [
        "asked with card VARCHAR, amount DOUBLE, country VARCHAR",
        "input takes amount",
        "predicts risk REAL from score",
        "approve where risk < 0.5",
        "decline where 0.5 <= risk",
        "the action that follows has a propensity of 0.75, each other of 0.25",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = project.run(&["explain", "fraud_trees"]).fine();
    assert!(said.starts_with("model fraud_trees, ") && said.contains("from card_activity"), "{said}");
    let (_, metrics) = server.get("/metrics");
    for bucket in ["of_rows{", "waited{"] {
        let gauge = format!("lockstep_model_runs_{bucket}deployment=\"trying\",step=\"fraud_simple\",model=\"fraud_simple\",le=\"+Inf\"}}");
        assert!(metrics.contains(&gauge), "{gauge} in {metrics}");
    }
    for line in [
        "lockstep_score_rows_decided_total{deployment=\"approving\",action=\"decline\"} 1",
        "lockstep_score_rows_explored_total{deployment=\"trying\"}",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn rows_that_explore_are_logged_whatever_the_share() {
    let project = project("share = 0.125");
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let mut wanted = Vec::new();
    for number in 0..100 {
        let decision = caller.decided(rows("trying", 1).id(format!("r{number}"))).decisions().remove(0);
        if decision.explored {
            wanted.push(decision.request_id);
        }
    }
    let (_, status) = server.get("/v1/status");
    assert!(status.contains("feature_log"), "{status}");
    assert_eq!(server.terminate().status, Some(0));
    let log = logged_rows(&project);
    let (ids, explored) = (log.column_by_name("request_id").unwrap().as_string::<i32>(), log.column_by_name("explored").unwrap().as_boolean());
    let shares = log.column_by_name("logged_share").unwrap().as_primitive::<Float64Type>();
    let mut found: Vec<String> = Vec::new();
    for row in 0..log.num_rows() {
        assert_eq!(shares.value(row), if explored.value(row) { 1.0 } else { 0.125 });
        if explored.value(row) {
            found.push(ids.value(row).to_owned());
        }
    }
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(log.num_rows() > found.len() && log.num_rows() < found.len() + 40, "{} rows, {} explore", log.num_rows(), found.len());
    // Each of the others stands for eight in a training set.
    fs::write(project.dir.join("none.csv"), "request_id,label,outcome_time\n").unwrap();
    project.run(&["train", "amounts", "--from-log", "--outcomes", "none.csv", "--out", "set", "--outcome-time", "outcome_time"]).fine();
    let set = read(&project, "set/part-00000.parquet");
    let (weights, by) =
        (set.column_by_name("sample_weight").unwrap().as_primitive::<Float64Type>(), set.column_by_name("decided_by").unwrap().as_string::<i32>());
    for row in 0..set.num_rows() {
        assert_eq!(weights.value(row), if by.value(row) == "EXPLORED" { 1.0 } else { 8.0 });
    }
}

fn read(project: &Project, file: &str) -> RecordBatch {
    let file = fs::File::open(project.dir.join(file)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    concat_batches(&schema, &reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

fn logged_rows(project: &Project) -> RecordBatch {
    let batches: Vec<RecordBatch> = files(project, ".lockstep/store/served/amounts")
        .iter()
        .map(|file| read(project, file.strip_prefix(&project.dir).unwrap().to_str().unwrap()))
        .map(|batch| {
            let kept: Vec<usize> = ["request_id", "explored", "logged_share"].iter().map(|name| batch.schema().index_of(name).unwrap()).collect();
            batch.project(&kept).unwrap()
        })
        .collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// Has rows decided about, reports what was done, and what came of those that were approved: nobody sees what a declined one would have come to.
fn a_day(caller: &Caller, deployment: &str, requests: usize) {
    for number in 0..requests {
        let (amount, id) = (amount(number), format!("r{number}"));
        let rows = Rows::of(deployment).column("card", ["c1"]).column("amount", [amount]).column("country", ["FR"]).as_of(AT_MICROS).id(&id);
        let decisions = caller.decided(rows).decisions();
        let approved = decisions[0].action == "approve";
        let outcome = Outcome::of(&id, 0, AT_MICROS + 60_000_000).value("fraud", [false]).value("paid", [amount]).value("note", ["as agreed"]);
        caller.report(decisions, if approved { vec![outcome] } else { Vec::new() });
    }
}

fn train(project: &Project, out: &str, more: &[&str]) -> Value {
    let said = project.run(&[&["train", "amounts", "--from-log", "--out", out, "--json"], more].concat()).fine();
    serde_json::from_str::<Value>(&said).unwrap()
}

#[test]
fn a_model_that_is_trained_only_on_its_own_approvals_is_reported_as_such() {
    let project = project("share = 1");
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    a_day(&caller, "approving", 40);
    // Reports are repeated, changed, and of requests that nobody knows.
    let nobody = Decision { request_id: "nobody".to_owned(), row: 0, action: "approve".to_owned(), propensity: 0.5, explored: false };
    caller.report(vec![nobody.clone()], vec![Outcome::of("r0", 0, AT_MICROS + 60_000_000).value("fraud", [false]).value("paid", [10.0])]);
    logged(&server, 40);
    // What was acknowledged is there after a kill.
    server.signal("KILL");
    drop(server);
    let trained = train(&project, "own", &[]);
    let served = &trained["report"]["served"];
    assert_eq!((&trained["report"]["rows"], &served["censored"], &served["outcomes"]["used"]), (&json!(40), &json!(20), &json!(20)), "{trained}");
    let decisions = &served["decisions"];
    let of = |rows: u64| json!({"model": rows, "explored": 0, "caller": 0, "unknown": 0});
    assert_eq!((&decisions["rows"], &decisions["labels"], &decisions["model_share"]), (&of(40), &of(20), &json!(1.0)), "{decisions}");
    assert_eq!((&decisions["reported"], &decisions["no_row"]), (&json!(41), &json!(1)));
    let actions = json!([{"action": "approve", "rows": 20, "labels": 20}, {"action": "decline", "rows": 20, "labels": 0}]);
    assert_eq!(decisions["actions"], actions);
    let warning = trained["report"]["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("this set has only what the model itself chose") && warning.contains("none is of `decline` (20 rows)"), "{warning}");
    let told = project.run(&["reports", "--out", "reported"]).fine();
    assert!(told.contains("41 decisions, 20 outcomes") && told.contains("reported/decisions.parquet"), "{told}");
    let (decisions, outcomes) = (read(&project, "reported/decisions.parquet"), read(&project, "reported/outcomes.parquet"));
    assert_eq!((decisions.num_rows(), outcomes.num_rows(), outcomes.num_columns()), (41, 20, 6));
    let said = project.run(&["train", "amounts", "--from-log", "--out", "own", "--replace"]).fine();
    for line in [
        "100.0% of 20 labels were decided by the model itself · approve 20 of 20 · decline 0 of 20",
        "warning: this set has only what the model itself chose",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let set = read(&project, "own/part-00000.parquet");
    let texts = |name: &str| set.column_by_name(name).unwrap().as_string::<i32>().clone();
    let (actions, known, by) = (texts("action"), texts("outcome_status"), texts("decided_by"));
    for row in 0..set.num_rows() {
        assert_eq!((actions.value(row) == "approve", by.value(row)), (known.value(row) == "KNOWN", "MODEL"), "row {row}");
    }
    let paid = set.column_by_name("paid").unwrap().as_primitive::<Float64Type>();
    assert_eq!((paid.null_count(), set.column_by_name("fraud").unwrap().as_boolean().null_count()), (20, 20));
}

#[test]
fn what_explores_is_learned_from_with_weights() {
    let project = project("share = 1");
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    a_day(&caller, "trying", 60);
    logged(&server, 60);
    assert_eq!(server.terminate().status, Some(0));
    let weighed = ["--propensity", "propensity", "--weight-max", "100"];
    let trained = train(&project, "tried", &weighed);
    let decisions = &trained["report"]["served"]["decisions"];
    let share = decisions["model_share"].as_f64().unwrap();
    assert!(share > 0.2 && share < 0.8 && trained["report"]["warnings"] == json!([]), "{trained}");
    let set = read(&project, "tried/part-00000.parquet");
    let numbers = |name: &str| set.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
    let (weights, propensities) = (numbers("sample_weight"), numbers("propensity"));
    assert!((0..set.num_rows()).all(|row| weights.value(row) == 1.0 / propensities.value(row) && [0.25, 0.75].contains(&propensities.value(row))));
    // The same reports give the same set.
    assert_eq!(train(&project, "again", &weighed)["digest"], trained["digest"]);
}

#[test]
fn a_caller_who_decides_otherwise_is_no_decision_of_the_model() {
    let project = project("share = 1");
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let mut decisions = caller.decided(rows("approving", 2).id("r0")).decisions();
    decisions[1].action = "approve".to_owned();
    decisions[1].propensity = 0.125;
    let outcomes = (0..2).map(|row| Outcome::of("r0", row, AT_MICROS + 1).value("fraud", [row == 1])).collect();
    caller.report(decisions, outcomes);
    let refused = |decision: Value, text: &str| {
        let (code, said) = server.post("/v1/decisions", &json!({"decisions": [decision]}).to_string());
        assert!(code == 400 && said.contains(text), "{code}: {said}");
    };
    refused(json!({"request_id": "r0", "action": "approve", "propensity": 2}), "report 0: 2 is no propensity");
    refused(json!({"request_id": "", "action": "approve"}), "its request_id is missing");
    refused(json!({"request_id": "r0"}), "missing field `action`");
    let outcome = |values: Value| json!({"outcomes": [{"request_id": "r1", "outcome_time": "2024-03-08T00:00:00Z", "values": values}]}).to_string();
    assert_eq!(server.post("/v1/outcomes", &outcome(json!({"fraud": true, "who": null}))), (200, "{\"taken\":1}".to_owned()));
    assert_eq!(server.post("/v1/outcomes", &outcome(json!({"fraud": {"was": true}}))).0, 400);
    assert_eq!(server.post("/v1/outcomes", "{\"outcomes\":[]}").0, 400);
    let no_time = lockstep_client::proto::Outcome { request_id: "r0".to_owned(), ..Default::default() };
    let request = lockstep_client::proto::ReportOutcomeRequest { outcomes: vec![no_time] };
    let said = caller.runtime.block_on(caller.client.raw_scoring().report_outcome(request)).unwrap_err();
    assert!(said.code() == Code::InvalidArgument && said.message().contains("outcome_time_micros is missing"), "{said}");
    logged(&server, 2);
    let (_, metrics) = server.get("/metrics");
    assert!(
        metrics.contains("lockstep_reports_total{kind=\"decision\"} 2") && metrics.contains("lockstep_reports_total{kind=\"outcome\"} 3"),
        "{metrics}"
    );
    assert_eq!(server.terminate().status, Some(0));
    let trained = train(&project, "set", &["--propensity", "propensity", "--weight-max", "100"]);
    let decisions = &trained["report"]["served"]["decisions"];
    assert_eq!(decisions["labels"], json!({"model": 1, "explored": 0, "caller": 1, "unknown": 0}), "{decisions}");
    assert_eq!((&trained["report"]["served"]["weight"], &trained["report"]["warnings"]), (&json!(9.0), &json!([])));
}

#[test]
fn a_server_that_logs_nothing_keeps_no_reports() {
    let project = scoring::project();
    let server = Server::start(&project);
    let (code, said) = server.post("/v1/decisions", &json!({"decisions": [{"request_id": "r0", "action": "approve"}]}).to_string());
    assert!(code == 503 && said.contains("[serve.feature_log]"), "{code}: {said}");
    drop(server);
    assert!(project.run(&["reports"]).error().contains("nothing was reported"));
    let none = project.run(&["train", "amounts", "--from-log", "--out", "set"]).error();
    assert!(none.contains("there are no outcomes") && none.contains("--outcomes"), "{none}");
}

#[test]
fn an_audit_computes_predictions_again_by_the_models_that_were_run() {
    let project = project("share = 1");
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let cards = [Some("c1"), Some("nobody"), Some("c3"), None];
    for deployment in ["fraud", "careful", "plain", "trying"] {
        let rows = Rows::of(deployment).column("card", cards.to_vec()).column("amount", vec![1.0, 60.0, 90.0, 40.0]).column("country", vec!["FR"; 4]);
        caller.decided(rows.as_of(AT_MICROS).id(deployment));
    }
    // Four of each, and those of the fallback beside its own features.
    logged(&server, 4 + 4 + 2 + 4 + 4);
    let shown = server.get("/v1/status").1;
    assert_eq!(server.terminate().status, Some(0));
    let ended = project.run(&["audit", "--json"]);
    let audited: Value = serde_json::from_str(&ended.out).unwrap();
    let predictions = &audited["predictions"];
    assert_eq!((ended.status, &predictions["differ"], &predictions["first"]), (Some(0), &json!(0), &json!([])), "{audited} {shown}");
    assert_eq!(predictions["rows"].as_u64().unwrap() + 2, 18, "{audited}");
    let why = predictions["not_computed"][0]["why"].as_str().unwrap();
    assert!(why.contains("beside the features of the fallback") && predictions["not_computed"][0]["vectors"] == json!(2), "{audited}");
    let said = project.run(&["audit"]).fine();
    assert!(said.contains("scores     of 16 rows computed again by the models that were run") && said.contains("0 differ"), "{said}");
    // A prediction that nobody made is told.
    for file in files(&project, ".lockstep/store/served/fraud_v1") {
        let to = project.dir.join("copy/fraud_v1").join(file.file_name().unwrap());
        rewrite(&file, &to, |name, column| match name {
            "prediction" => with(column, "risk", |risks| Arc::new(Float32Array::from(vec![0.5; risks.len()]))),
            _ => column.clone(),
        });
    }
    let ended = project.run(&["audit", "--log", "copy"]);
    assert!(ended.status == Some(1) && ended.out.contains("differs: fraud_v1.risk of request fraud row 0"), "{ended:?}");
}
