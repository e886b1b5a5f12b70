//! Scores by the binary itself: what features and a model give by themselves, whichever way it is asked for.

#[path = "../../../../examples/embed/main.rs"]
#[allow(dead_code, reason = "a program by itself")]
mod embed;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;

use lockstep_client::proto::{FilledBy, Status, Way};
use lockstep_client::{Answer, Request, Rows, Scores};
use lockstep_score::{Element, ModelFile, Tensor, Values, load};
use lockstep_testkit::onnx::{Stump, stumps};
use serde_json::{Value, json};
use tonic::Code;

use crate::project::{Project, wait_for};
use crate::support::{Caller, Server, timeless};

/// When some cards have payments of the hour before, and some have none.
pub const AT: &str = "2024-03-07T14:40:00Z";
pub const AT_MICROS: i64 = 1_709_822_400_000_000;

pub const CARDS: [Option<&str>; 6] = [Some("c1"), Some("c2"), Some("nobody"), Some("c3"), None, Some("c4")];
/// The features that go into the model, in its order.
const FEATURES: [&str; 4] = ["amount", "payments_1h", "spent_1h", "avg_amount_7d"];

const MODELS: &str = "
CREATE FEATURE SERVICE amounts AS SELECT r.amount AS amount FROM REQUEST (card VARCHAR, amount DOUBLE, country VARCHAR) r;
CREATE MODEL fraud_trees FROM 'models/fraud.onnx' USING fraud_v1 (input => (amount, payments_1h, spent_1h, avg_amount_7d)) PREDICT (risk REAL FROM score);
CREATE MODEL fraud_simple FROM 'models/simple.onnx' USING amounts (input => (amount)) PREDICT (risk REAL FROM score);
CREATE MODEL fraud_next FROM 'models/next.onnx' USING fraud_v1 (input => (amount, payments_1h, spent_1h, avg_amount_7d)) PREDICT (risk REAL FROM score);
CREATE DEPLOYMENT fraud AS fraud_trees WITH (timeout = '5 s');
CREATE DEPLOYMENT careful AS fraud_trees WITH (timeout = '5 s', fallback = 'fraud_simple', shadow = 'fraud_next', when_missing = 'fallback');
CREATE DEPLOYMENT plain AS fraud_trees WITH (timeout = '5 s', when_missing = 'default', 'default.risk' = 0.25);
";

/// A model whose leaves are worth `times` as much.
pub fn fraud(times: f32) -> Vec<u8> {
    let stump = |feature, at, leaves: [f32; 2]| Stump { feature, at, leaves: leaves.map(|leaf| leaf * times) };
    stumps(4, &[stump(0, 50.0, [0.1, 0.3]), stump(1, 1.0, [0.02, 0.2]), stump(2, 20.0, [0.05, 0.25]), stump(3, 30.0, [0.01, 0.125])])
}

fn simple() -> Vec<u8> {
    stumps(1, &[Stump { feature: 0, at: 50.0, leaves: [0.125, 0.75] }])
}

/// The project of `init`, with models.
pub fn project() -> Project {
    project_of(MODELS)
}

/// The same, with these models and deployments.
pub fn project_of(models: &str) -> Project {
    let project = Project::unapplied();
    fs::create_dir(project.dir.join("models")).unwrap();
    for (name, file) in [("fraud", fraud(1.0)), ("simple", simple()), ("next", fraud(2.0))] {
        fs::write(project.dir.join(format!("models/{name}.onnx")), file).unwrap();
    }
    fs::write(project.dir.join("feature_defs/models.sql"), models).unwrap();
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    project
}

pub fn amounts(rows: usize) -> Vec<f64> {
    (0..rows).map(|row| row as f64 * 23.0 + 0.1).collect()
}

pub fn rows(deployment: &str, cards: &[Option<&str>], amounts: Vec<f64>) -> Rows {
    let countries = vec!["FR"; cards.len()];
    Rows::of(deployment).column("card", cards.to_vec()).column("amount", amounts).column("country", countries).as_of(AT_MICROS)
}

impl Caller {
    pub fn score(&self, rows: Rows) -> Result<Scores, tonic::Status> {
        self.runtime.block_on(self.client.score(rows))
    }

    /// The features that `GetFeatures` gives, as rows of what a model takes.
    fn features(&self, cards: &[Option<&str>], amounts: Vec<f64>) -> Tensor {
        let request = Request::new("fraud_v1").column("card", cards.to_vec()).column("amount", amounts).column("country", vec!["FR"; cards.len()]);
        let answer = self.ask(request.as_of(AT_MICROS)).unwrap();
        let columns = FEATURES.map(|name| numbers(&answer, name));
        let values = (0..cards.len()).flat_map(|row| columns.iter().map(move |column| column[row].map_or(f32::NAN, |value| value as f32)));
        Tensor { shape: vec![cards.len(), FEATURES.len()], values: Values::Float32(values.collect()) }
    }
}

fn numbers(answer: &Answer, name: &str) -> Vec<Option<f64>> {
    let feature = answer.feature(name).unwrap();
    match feature.values::<i64>() {
        Ok(whole) => whole.into_iter().map(|value| value.map(|value| value as f64)).collect(),
        Err(_) => feature.values::<f64>().unwrap(),
    }
}

/// What a model makes of rows, as bits.
fn run(file: &[u8], rows: Tensor) -> Vec<u32> {
    let model = load(&ModelFile::read(file).unwrap(), None).unwrap();
    assert_eq!(model.inputs()[0].element, Element::Float32);
    let outputs = model.session().unwrap().run(&[rows]).unwrap();
    let Values::Float32(scores) = &outputs[0].values else { panic!("{outputs:?}") };
    scores.iter().map(|score| score.to_bits()).collect()
}

pub fn bits(scores: &Scores) -> Vec<u32> {
    let risks = scores.prediction("risk").unwrap().values::<f32>().unwrap();
    risks.into_iter().map(|risk| risk.unwrap().to_bits()).collect()
}

#[test]
fn a_score_is_the_features_and_the_model_bit_for_bit() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let wanted = run(&fraud(1.0), caller.features(&CARDS, amounts(CARDS.len())));
    let scores = caller.score(rows("fraud", &CARDS, amounts(CARDS.len())).id("a request").with_features()).unwrap();
    assert_eq!(bits(&scores), wanted);
    assert!(wanted.iter().any(|risk| *risk != wanted[0]), "rows differ");
    assert_eq!(scores.ways(), [Way::Model; 6]);
    assert_eq!((scores.0.request_id.as_str(), scores.0.rows, scores.0.definitions, scores.0.reasons.len()), ("a request", 6, 1, 0));
    let [by] = scores.0.models.as_slice() else { panic!("{:?}", scores.0.models) };
    assert_eq!((by.model.as_str(), by.runtime.as_str(), by.service.as_str(), by.rows), ("fraud_trees", "trees", "fraud_v1", 6));
    assert_eq!(by.sha256, lockstep_store::sha256(&fraud(1.0)));
    assert_eq!((scores.0.reads.len(), scores.0.positions.len()), (1, 1));
    assert_eq!(scores.prediction("risk").unwrap().statuses(), [Status::Present; 6]);
    // The features are those of `GetFeatures`, in all that is said of them, but for what depends on when it was asked.
    let features = Request::new("fraud_v1").column("card", CARDS.to_vec()).column("amount", amounts(6)).column("country", ["FR"; 6]);
    let features = timeless(caller.ask(features.as_of(AT_MICROS)).unwrap()).features;
    let mut scored = scores.0.features[0].features.clone();
    scored.iter_mut().for_each(|feature| feature.stale.clear());
    assert_eq!(scored, features);
    // Alone as in a batch, of any size.
    for (row, card) in CARDS.iter().enumerate() {
        let alone = caller.score(rows("fraud", &[*card], vec![amounts(6)[row]])).unwrap();
        assert_eq!(bits(&alone), [wanted[row]], "{card:?}");
    }
    let many: Vec<Option<&str>> = CARDS.iter().copied().cycle().take(3000).collect();
    let all = caller.score(rows("fraud", &many, amounts(6).into_iter().cycle().take(3000).collect())).unwrap();
    assert_eq!(bits(&all), wanted.iter().copied().cycle().take(3000).collect::<Vec<_>>());
}

#[test]
fn json_and_the_command_line_say_the_same() {
    let project = project();
    let wanted = |server: &Server| {
        let scores = Caller::new(server).score(rows("careful", &CARDS[..1], vec![60.5])).unwrap();
        scores.prediction("risk").unwrap().values::<f32>().unwrap()[0].unwrap()
    };
    let columns = ["card=c1", "amount=60.5", "country=FR"];
    let alone = project.run(&[&["score", "careful"][..], &columns, &["--as-of", AT, "--json"]].concat()).fine();
    let server = Server::start(&project);
    let beside = project.run(&[&["score", "careful"][..], &columns, &["--as-of", AT, "--json"]].concat()).fine();
    assert_eq!(alone, beside);
    let said: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!((&said["way"], &said["models"][0]["model"]), (&json!("MODEL"), &json!("fraud_trees")));
    assert_eq!(said["predictions"][0]["value"].as_str().unwrap().parse::<f32>().unwrap().to_bits(), wanted(&server).to_bits());
    let body = json!({"deployment": "careful", "rows": [{"card": "c1", "amount": 60.5, "country": "FR"}], "as_of": AT, "features": true});
    let (status, answer) = server.post("/v1/score", &body.to_string());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["ways"]), (200, &json!(["MODEL"])), "{answer}");
    assert_eq!((answer["predictions"][0]["values"][0].as_f64().unwrap() as f32).to_bits(), wanted(&server).to_bits());
    assert_eq!(answer["features"][0]["features"][0]["name"], "amount");
    let (status, named) = server.get("/v1/deployments");
    assert_eq!((status, named.as_str()), (200, r#"{"deployments":["fraud","careful","plain"]}"#));
    let (_, described) = server.get("/v1/deployments/careful");
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!((&described["fallback"]["model"], &described["shadow"]["model"]), (&json!("fraud_simple"), &json!("fraud_next")));
    assert_eq!(described["request"][1], json!({"name": "amount", "type": "DOUBLE"}));
    assert_eq!((&described["models"][0]["threads"], &described["models"][0]["breaker"]["state"]), (&json!(2), &json!("CLOSED")));
    let text = project.run(&[&["score", "careful"][..], &columns, &["--as-of", AT]].concat()).fine();
    assert!(text.contains("risk") && text.contains("by MODEL") && text.contains("fraud_trees"), "{text}");
}

#[test]
fn rows_without_features_go_the_declared_way() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let all = amounts(CARDS.len());
    let by_model = run(&fraud(1.0), caller.features(&CARDS, all.clone()));
    let simple = run(&simple(), Tensor { shape: vec![6, 1], values: Values::Float32(all.iter().map(|amount| *amount as f32).collect()) });
    let spent = numbers(&caller.ask(Request::new("card_activity").column("card", CARDS.to_vec()).as_of(AT_MICROS)).unwrap(), "spent_1h");
    assert!(spent.contains(&None) && spent.iter().any(Option::is_some), "some cards have no payments in the hour: {spent:?}");
    let careful = caller.score(rows("careful", &CARDS, all.clone())).unwrap();
    let plain = caller.score(rows("plain", &CARDS, all)).unwrap();
    for row in 0..CARDS.len() {
        let [way, risk] = match spent[row] {
            Some(_) => [(Way::Model, by_model[row]), (Way::Model, by_model[row])],
            None => [(Way::FallbackModel, simple[row]), (Way::Default, 0.25_f32.to_bits())],
        };
        assert_eq!((careful.ways()[row], bits(&careful)[row]), way, "row {row}");
        assert_eq!((plain.ways()[row], bits(&plain)[row]), risk, "row {row}");
        let reason = if spent[row].is_some() { "" } else { "feature `spent_1h` has no value" };
        assert_eq!(careful.0.reasons[row], reason);
    }
    let steps: Vec<(&str, u32)> = careful.0.models.iter().map(|by| (by.step.as_str(), by.rows)).collect();
    let missing = spent.iter().filter(|spent| spent.is_none()).count() as u32;
    assert_eq!(steps, [("fraud_trees", 6 - missing), ("fallback", missing)]);
    let filled: Vec<FilledBy> = plain.prediction("risk").unwrap().0.filled_by().collect();
    assert_eq!(filled.iter().filter(|filled| **filled == FilledBy::Default).count() as u32, missing);
    let (_, text) = server.get("/metrics");
    assert_eq!(metric("lockstep_score_rows_total{deployment=\"plain\",way=\"default\"}", &text), f64::from(missing));
    assert_eq!(metric("lockstep_score_rows_fallen_total{deployment=\"careful\",why=\"missing\"}", &text), f64::from(missing));
    assert_eq!(metric("lockstep_model_threads{deployment=\"fraud\",step=\"fraud_trees\",model=\"fraud_trees\"}", &text), 2.0);
    // One pool runs the model for all deployments that run it alike.
    let runs =
        |deployment: &str| metric(&format!("lockstep_model_runs{{deployment=\"{deployment}\",step=\"fraud_trees\",model=\"fraud_trees\"}}"), &text);
    assert_eq!([runs("careful"), runs("plain")], [2.0; 2]);
    // The shadow has seen the same rows, after they were answered, and is worth twice as much.
    let shadow = "{deployment=\"careful\",model=\"fraud_next\"}";
    let seen = wait_for("the shadow", || {
        let (_, text) = server.get("/metrics");
        (metric(&format!("lockstep_shadow_rows_total{shadow}"), &text) >= 6.0).then_some(text)
    });
    assert!(metric(&format!("lockstep_shadow_difference_total{shadow}"), &seen) > 0.1);
    assert_eq!(metric(&format!("lockstep_shadow_rows_agreeing_total{shadow}"), &seen), 0.0);
}

#[test]
fn what_cannot_be_scored_is_refused_and_says_why() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let refused = |rows: Rows| {
        let status = caller.score(rows).unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let card = || Rows::of("fraud").column("card", ["c1"]);
    assert_eq!(
        refused(Rows::of("froud").column("card", ["c1"])),
        (Code::NotFound, "no deployment named `froud` · there are: fraud, careful, plain · did you mean `fraud`?".to_owned())
    );
    let (code, message) = refused(card());
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(message, "column `amount` is missing · `fraud` is asked with card VARCHAR, amount DOUBLE, country VARCHAR");
    let (code, message) = refused(card().column("amount", [1.0]).column("county", ["FR"]).column("country", ["FR"]));
    assert!(code == Code::InvalidArgument && message.contains("did you mean `country`"), "{message}");
    let (code, message) = refused(card().column("amount", ["much"]).column("country", ["FR"]));
    assert!(code == Code::InvalidArgument && message.starts_with("column `amount`: it is DOUBLE"), "{message}");
    assert_eq!(refused(rows("fraud", &CARDS, amounts(6)).min_epoch(3)).0, Code::Unavailable);
    let (status, body) = server.post("/v1/score", r#"{"deployment": "fraud", "rows": []}"#);
    assert_eq!(status, 400, "{body}");
    let (status, body) = server.post("/v1/score", r#"{"deployment": "none", "rows": [{"card": "c1"}]}"#);
    assert!(status == 404 && body.contains("no deployment named `none`"), "{body}");
    let (_, body) = server.get("/v1/deployments/froud");
    assert!(body.contains("did you mean `fraud`?"), "{body}");
    let failed = project.run(&["score", "froud", "card=c1"]).error();
    assert!(failed.contains("no deployment named `froud`"), "{failed}");
}

#[test]
fn a_release_switches_its_model_between_two_answers() {
    let project = project();
    project.run(&["release", "promote"]).fine();
    fs::write(project.dir.join("models/fraud.onnx"), fraud(3.0)).unwrap();
    project.run(&["apply"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let features = caller.features(&CARDS, amounts(6));
    let expected = [1.0, 3.0].map(|times| run(&fraud(times), features.clone()));
    let hashes = [1.0, 3.0].map(|times| lockstep_store::sha256(&fraud(times)));
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (caller, mut seen) = (Caller::new(&server), Vec::new());
                    while !end.load(Ordering::Relaxed) {
                        let scores = caller.score(rows("fraud", &CARDS, amounts(6))).expect("a score while the pointer moves");
                        let of = scores.0.definitions as usize - 1;
                        assert_eq!((bits(&scores), &scores.0.models[0].sha256), (expected[of].clone(), &hashes[of]), "epoch {}", scores.0.epoch);
                        seen.push((scores.0.epoch, of));
                    }
                    assert!(seen.is_sorted());
                    seen.dedup();
                    seen.len()
                })
            })
            .collect();
        for _ in 0..4 {
            project.run(&["--server", &server.url(), "release", "promote", "--force"]).fine();
            project.run(&["--server", &server.url(), "release", "rollback", "--force"]).fine();
        }
        end.store(true, Ordering::Relaxed);
        let seen: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert!(seen > 6, "callers saw {seen} releases");
    });
}

#[test]
fn a_damaged_model_is_named_and_nothing_else_is_taken_for_it() {
    let project = project();
    let sha256 = lockstep_store::sha256(&fraud(1.0));
    let path = project.store().join(format!("models/{sha256}.onnx"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let failed = project.run(&["serve", "--listen", "127.0.0.1:0"]).error();
    assert!(failed.contains(&format!("the model {} is damaged", &sha256[..12])), "{failed}");
    let failed = project.run(&["score", "fraud", "card=c1", "--as-of", AT]).error();
    assert!(failed.contains("is damaged"), "{failed}");
}

/// What is read off the server's metrics.
fn metric(name: &str, text: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_service_that_embeds_it_gets_the_same() {
    let project = project();
    let columns = [("card", "c1"), ("amount", "60.5"), ("country", "FR")];
    let scorer = embed::open(&project.store()).unwrap();
    assert_eq!(scorer.deployments(), ["fraud", "careful", "plain"]);
    let scored = embed::score(&scorer, "careful", &columns).unwrap();
    // By now the card has had no payment in the hour before.
    assert_eq!(scored.ways, [lockstep_serve::scoring::Way::Fallback]);
    let embedded = scored.predictions[0].as_primitive::<Float32Type>().value(0);
    let refused = scorer.score("fraud", &arrow::array::RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())), &[]).unwrap_err();
    assert!(refused.to_string().starts_with("column `card` is missing"), "{refused}");
    drop(scorer);
    let said = project.run(&["score", "careful", "card=c1", "amount=60.5", "country=FR", "--json"]).fine();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["predictions"][0]["value"].as_str().unwrap().parse::<f32>().unwrap().to_bits(), embedded.to_bits());
}

#[test]
fn a_release_whose_rows_have_no_predictions_is_taken_back() {
    let project = project();
    let settings = fs::read_to_string(project.dir.join("lockstep.toml")).unwrap();
    fs::write(project.dir.join("lockstep.toml"), settings + "\n[releases.watch]\nvalues_min = 10\ndefault_rate = 0.2\n").unwrap();
    project.run(&["release", "promote"]).fine();
    // With a default for what the card has not: nothing is scored any more.
    let definitions = project.dir.join("feature_defs/models.sql");
    let text = fs::read_to_string(&definitions).unwrap();
    fs::write(
        &definitions,
        text.replace("fraud AS fraud_trees WITH (timeout = '5 s')", "fraud AS fraud_trees WITH (when_missing = 'default', 'default.risk' = 0)"),
    )
    .unwrap();
    project.run(&["apply"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    project.run(&["--server", &server.url(), "release", "promote", "--force"]).fine();
    let nobody = vec![Some("nobody"); 20];
    let back = wait_for("the former release", || {
        let scores = caller.score(rows("fraud", &nobody, amounts(20))).unwrap();
        (scores.0.epoch == 3).then_some(scores)
    });
    assert_eq!((back.0.release, back.0.definitions), (1, 1));
    assert_eq!(back.ways(), [Way::Model; 20]);
    let listed = project.run(&["--server", &server.url(), "release", "list"]).fine();
    assert!(listed.contains("values of `fraud` are defaults"), "{listed}");
}

#[test]
fn a_deadline_that_has_passed_is_told_and_nothing_is_run() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let runs = || metric("lockstep_model_runs{deployment=\"fraud\",step=\"fraud_trees\",model=\"fraud_trees\"}", &server.get("/metrics").1);
    caller.score(rows("fraud", &CARDS, amounts(6))).unwrap();
    let before = runs();
    let late = caller.score(rows("fraud", &CARDS, amounts(6)).deadline(std::time::Duration::from_nanos(1))).unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert_eq!((before, runs()), (1.0, 1.0));
}

#[test]
fn what_was_predicted_is_logged_beside_the_features() {
    let project = project();
    let settings = fs::read_to_string(project.dir.join("lockstep.toml")).unwrap();
    fs::write(project.dir.join("lockstep.toml"), settings + "\n[serve.feature_log]\nshare = 1\nroll = '1 second'\n").unwrap();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let scores = caller.score(rows("careful", &CARDS, amounts(6)).id("a request")).unwrap();
    caller.ask(Request::new("fraud_v1").column("card", ["c1"]).column("amount", [1.0]).column("country", ["FR"]).id("features alone")).unwrap();
    // Vectors of each service have a file of their own, so that some may be there before others.
    let logged = |request: &str, vectors: usize| {
        wait_for("the log", || {
            let ended = project.run(&["get", "--request", request, "--json"]);
            let said: Value = serde_json::from_str(&ended.out).ok()?;
            (said["vectors"].as_array()?.len() == vectors).then_some(said)
        })
    };
    let fell = scores.ways().iter().filter(|way| **way == Way::FallbackModel).count();
    let said = logged("a request", 6 + fell);
    let of = |name: &str| said["vectors"].as_array().unwrap().iter().filter(|vector| vector["answer"]["name"] == name).cloned().collect::<Vec<_>>();
    assert_eq!(of("fraud_v1").len(), 6);
    for (row, vector) in of("fraud_v1").iter().enumerate() {
        let scored = &vector["scored"];
        let wanted = scores.ways()[row].as_str_name().replace("WAY_", "");
        assert_eq!((&scored["deployment"], &scored["way"], &vector["row"]), (&json!("careful"), &json!(wanted), &json!(row)));
        let value = scored["predictions"][0]["value"].as_str().unwrap();
        assert_eq!((value.parse::<f32>().unwrap().to_bits(), &vector["replayed"]), (bits(&scores)[row], &json!([])));
        assert_eq!(scored["models"][0], json!({"model": "fraud_trees", "sha256": lockstep_store::sha256(&fraud(1.0))}));
    }
    // The fallback's features, of the rows that it was given.
    assert_eq!(of("amounts").len(), fell);
    assert!(of("amounts").iter().all(|vector| vector["scored"]["way"] == "FALLBACK_MODEL"));
    assert_eq!(logged("features alone", 1)["vectors"][0].get("scored"), None);
    // Features that were scored are audited like others.
    drop(server);
    let audited: Value = serde_json::from_str(&project.run(&["audit", "--json"]).fine()).unwrap();
    assert_eq!(audited["replay"]["differ"], json!(0), "{audited}");
}
