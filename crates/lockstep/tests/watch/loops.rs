//! Scores that creep: a loop where the model itself decided what is known to have come of rows, and drift where others did.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lockstep_testkit::onnx::{Stump, stumps};
use serde_json::{Value, json};

use crate::project::Project;
use crate::skew::amounts;
use crate::support::{AT, Server};
use crate::watched::{edit, get, project, serve, signals};

/// A second after [`AT`].
const LATER: &str = "2024-03-08T12:00:01Z";
/// For how long scores are as they were: what they are compared with is gathered.
const STEADY: Duration = Duration::from_secs(26);

/// A project with a deployment that decides by a score of many steps.
fn deciding() -> Project {
    let log = "[serve.feature_log]\nshare = 1\nroll = '500 milliseconds'";
    let project = project(&format!("values_min = 500\n{log}"));
    edit(&project, "lockstep.toml", "drift_window = '1 minute'", "drift_window = '24 seconds'");
    let all: Vec<Stump> = (0..30).map(|step| Stump { feature: 0, at: 1.4_f32.powi(step), leaves: [0.0, 0.03] }).collect();
    fs::create_dir(project.dir.join("models")).unwrap();
    fs::write(project.dir.join("models/fraud.onnx"), stumps(1, &all)).unwrap();
    let sql = "CREATE MODEL fraud_trees FROM 'models/fraud.onnx' USING fraud_v1 (input => (amount)) PREDICT (risk REAL FROM score);
               CREATE DEPLOYMENT fraud AS fraud_trees WITH (timeout = '5 s', actions = ['approve', 'decline'], thresholds = [0.5]);";
    fs::write(project.dir.join("feature_defs/models.sql"), sql).unwrap();
    project.run(&["apply"]).fine();
    project
}

/// Scores the same amounts again and again, which grow once the steady time is over, and reports what came of each row; until a signal is raised, which is given.
#[allow(clippy::disallowed_methods, reason = "how far amounts have grown")]
fn creep(server: &Server, by_caller: bool) -> (String, String, bool) {
    let (began, of_a_round) = (Instant::now(), amounts(2, 96));
    for round in 0.. {
        let since = began.elapsed().saturating_sub(STEADY).as_secs_f64();
        let factor = (0.06 * since).exp();
        for (part, some) in of_a_round.chunks(32).enumerate() {
            let request_id = format!("r{round}-{part}");
            let rows: Vec<Value> = some.iter().map(|amount| json!({"card": "c1", "amount": amount * factor, "country": "DE"})).collect();
            let body = json!({"deployment": "fraud", "rows": rows, "as_of": AT, "request_id": request_id});
            let (code, said) = server.post("/v1/score", &body.to_string());
            assert_eq!(code, 200, "{said}");
            let each = |values: &dyn Fn(usize) -> Value| (0..some.len()).map(values).collect::<Vec<Value>>();
            let came = each(&|row| json!({"request_id": request_id, "row": row, "outcome_time": LATER, "values": {"fraud": false}}));
            assert_eq!(server.post("/v1/outcomes", &json!({"outcomes": came}).to_string()).0, 200);
            if by_caller {
                let decided = each(&|row| json!({"request_id": request_id, "row": row, "action": "look at it"}));
                assert_eq!(server.post("/v1/decisions", &json!({"decisions": decided}).to_string()).0, 200);
            }
        }
        if let Some(first) = signals(server).into_iter().next() {
            println!("{} after {:?}, with amounts {factor:.2} times as large", first.0, began.elapsed());
            return first;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "nothing is told of: {}", get(server, "/v1/watch")["reading"]["deployments"]);
        sleep(Duration::from_millis(40));
    }
    unreachable!("it is told of, or takes too long")
}

#[test]
fn a_model_that_decides_by_itself_is_told_of_as_a_loop_and_one_that_does_not_is_not() {
    let project = deciding();
    let server = serve(&project);
    assert_eq!(creep(&server, false), ("feedback_loop".to_owned(), "fraud".to_owned(), true));
    let told = get(&server, "/v1/signals");
    assert!(told["signals"][0]["what"].as_str().unwrap().contains("the model itself decided 100.0 % of"), "{told}");
    drop(server);

    let project = deciding();
    let server = serve(&project);
    assert_eq!(creep(&server, true), ("score_drift".to_owned(), "fraud".to_owned(), true));
    let watched = get(&server, "/v1/watch");
    let decided = &watched["reading"]["deployments"]["fraud"]["decided"];
    assert!(decided["model"] == json!(0) && decided["caller"].as_u64() > Some(100), "{decided}");
}
