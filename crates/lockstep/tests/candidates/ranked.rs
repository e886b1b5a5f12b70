//! Candidates that a model ranks: their features are those of the service, and they are answered in the order of what is predicted.

use std::fs;

use lockstep_client::proto::{Status, Way};
use lockstep_client::{Rows, Scores};
use lockstep_score::{ModelFile, Tensor, Values, load};
use lockstep_testkit::onnx::{Stump, stumps};
use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::shop::{files, push};
use crate::support::{Caller, Server};

pub const MODELS: &str = "
CREATE MODEL wishes FROM 'models/wishes.onnx' USING to_show (input => (price, score)) PREDICT (wish REAL FROM score);
CREATE MODEL simple FROM 'models/simple.onnx' USING to_show (input => (price, score)) PREDICT (wish REAL FROM score);
CREATE DEPLOYMENT best AS wishes WITH (timeout = '5 s', rank_by = 'wish DESC', top = 2);
CREATE DEPLOYMENT trying AS wishes WITH (timeout = '5 s', rank_by = 'wish DESC', explore = 0.5);
CREATE DEPLOYMENT in_their_order AS wishes WITH (timeout = '5 s');
CREATE DEPLOYMENT careful AS wishes WITH (timeout = '5 s', rank_by = 'wish ASC', when_missing = 'fallback', fallback = 'simple', 'default.wish' = 0.5);
";

pub fn wishes() -> Vec<u8> {
    stumps(2, &[Stump { feature: 0, at: 5.0, leaves: [0.5, 0.25] }, Stump { feature: 1, at: 0.8, leaves: [0.125, 0.0625] }])
}

pub fn simple() -> Vec<u8> {
    stumps(2, &[Stump { feature: 1, at: 0.6, leaves: [0.75, 1.0] }])
}

pub fn project() -> Project {
    let project = Project::of(&files("", "[serve.feature_log]\nroll = '50 milliseconds'\nshare = 1.0\n"));
    deploy(&project, MODELS);
    project.run(&["apply"]).fine();
    project
}

pub fn deploy(project: &Project, models: &str) {
    fs::create_dir_all(project.dir.join("models")).unwrap();
    fs::write(project.dir.join("models/wishes.onnx"), wishes()).unwrap();
    fs::write(project.dir.join("models/simple.onnx"), simple()).unwrap();
    fs::write(project.dir.join("feature_defs/models.sql"), models).unwrap();
}

pub fn score(caller: &Caller, deployment: &str, shoppers: &[&str]) -> Scores {
    caller.runtime.block_on(caller.client.score(Rows::of(deployment).column("shopper", shoppers.to_vec()).with_features())).unwrap()
}

pub fn items(scores: &Scores) -> Vec<String> {
    let items = scores.0.items.iter().find(|item| item.name == "item").unwrap();
    lockstep_client::Feature(items).values::<String>().unwrap().into_iter().flatten().collect()
}

pub fn wish(scores: &Scores) -> Vec<f32> {
    scores.prediction("wish").unwrap().values::<f32>().unwrap().into_iter().flatten().collect()
}

/// What a model makes of the features of each candidate: of `wishes`, its price and its score.
pub fn run<const FEATURES: usize>(file: &[u8], rows: &[[f32; FEATURES]]) -> Vec<f32> {
    let model = load(&ModelFile::read(file).unwrap(), None).unwrap();
    let tensor = Tensor { shape: vec![rows.len(), FEATURES], values: Values::Float32(rows.concat()) };
    let outputs = model.session().unwrap().run(&[tensor]).unwrap();
    let Values::Float32(scores) = &outputs[0].values else { panic!("{outputs:?}") };
    scores.clone()
}

#[test]
fn candidates_are_answered_in_the_order_of_what_is_predicted() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    // By the service: hat (30.0, 1.0), cup (9.0, 0.75), tea (2.5, 0.5); and what is popular, tea and jam, without scores.
    let by_hand = run(&wishes(), &[[30.0, 1.0], [9.0, 0.75], [2.5, 0.5], [2.5, 0.0], [4.5, 0.0]]);
    assert!(by_hand[2] > by_hand[1] && by_hand[1] > by_hand[0], "{by_hand:?}");
    let plain = score(&caller, "in_their_order", &["ann", "bob"]);
    assert_eq!((items(&plain), wish(&plain)), (["hat", "cup", "tea", "tea", "jam"].map(str::to_owned).to_vec(), by_hand.clone()));
    let best = score(&caller, "best", &["ann", "bob"]);
    assert_eq!(items(&best), ["tea", "cup", "tea", "jam"]);
    assert_eq!(wish(&best), [by_hand[2], by_hand[1], by_hand[3], by_hand[4]]);
    assert_eq!((best.0.rows, best.0.request_rows.as_slice(), best.ways()), (4, [0, 0, 1, 1].as_slice(), vec![Way::Model; 4]));
    let counts: Vec<_> = best.0.candidates.iter().map(|counts| (counts.unnested, counts.left, counts.answered, counts.by_fallback)).collect();
    assert_eq!(counts, [(5, 4, 2, false), (2, 1, 2, true)]);
    // The features that are told are those of the rows that are answered.
    let [features] = best.0.features.as_slice() else { panic!("{:?}", best.0.features) };
    let prices = features.features.iter().find(|feature| feature.name == "price").unwrap();
    assert_eq!(lockstep_client::Feature(prices).values::<f64>().unwrap(), [Some(2.5), Some(9.0), Some(2.5), Some(4.5)]);
    assert_eq!(features.rows.len(), 0);
}

#[test]
fn who_has_no_candidates_is_answered_with_none() {
    let project = project();
    let more = "
CREATE FEATURE SERVICE suggested_alone AS SELECT i.item, i.score FROM REQUEST (shopper VARCHAR) r
LEFT JOIN suggested c ON c.shopper = r.shopper CROSS JOIN UNNEST(c.items, c.scores) AS i(item, score);
CREATE MODEL alone FROM 'models/alone.onnx' USING suggested_alone (input => (score)) PREDICT (wish REAL FROM score);
CREATE DEPLOYMENT few AS alone WITH (timeout = '5 s', rank_by = 'wish DESC', top = 2);";
    deploy(&project, &format!("{MODELS}{more}"));
    fs::write(project.dir.join("models/alone.onnx"), stumps(1, &[Stump { feature: 0, at: 0.4, leaves: [0.5, 0.25] }])).unwrap();
    project.run(&["apply"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let none = score(&caller, "few", &["nobody"]);
    assert_eq!((none.0.rows, items(&none).len(), wish(&none).len(), none.0.candidates[0].unnested), (0, 0, 0, 0));
    let some = score(&caller, "few", &["nobody", "ann", "nobody"]);
    assert_eq!((items(&some), some.0.request_rows.as_slice()), (vec!["jam".to_owned(), "pen".to_owned()], [1, 1].as_slice()));
    assert_eq!(project.run(&["score", "few", "shopper=nobody"]).fine().lines().last(), Some("no candidates"));
}

#[test]
fn json_and_the_command_line_say_the_same() {
    let project = project();
    let server = Server::start(&project);
    let (code, body) = server.post("/v1/score", &json!({"deployment": "best", "rows": [{"shopper": "ann"}]}).to_string());
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["items"][0]["values"], &body["request_rows"]), (200, &json!(["tea", "cup"]), &json!([0, 0])), "{body:#}");
    let told: Value = serde_json::from_str(&project.run(&["score", "best", "shopper=ann", "--json"]).fine()).unwrap();
    let items: Vec<&Value> = told["ranked"].as_array().unwrap().iter().map(|row| &row["item"][0]["value"]).collect();
    assert_eq!(items, ["tea", "cup"]);
    let text = project.run(&["score", "best", "shopper=ann"]).fine();
    assert!(text.contains("item") && text.contains("wish") && text.contains("MODEL"), "{text}");
    // Of a row of a file, candidates and predictions are lists.
    let rows = "{\"shopper\": \"ann\", \"at\": \"2024-03-02T00:00:00Z\"}\n{\"shopper\": \"nobody\", \"at\": \"2024-02-02T00:00:00Z\"}\n";
    fs::write(project.dir.join("rows.ndjson"), rows).unwrap();
    let scored = ["score", "best", "--spine", "rows.ndjson", "--timestamp", "at", "--out", "scores"];
    project.run(&scored).fine();
    let written = project.run(&["sql", "SELECT shopper, item, wish, scored_by FROM \"scores/\" ORDER BY shopper"]).fine();
    let wishes = run(&wishes(), &[[2.5, 0.5], [9.0, 0.75]]);
    let told: Vec<Vec<&str>> = written.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let ann = format!("ann [tea, cup] [{}, {}] MODEL", wishes[0], wishes[1]);
    assert_eq!(told, [ann.split(' ').collect::<Vec<_>>(), vec!["nobody", "[]", "[]", "MODEL"]], "{written}");
    // Their features stand beside them, in the order in which they are answered.
    project.run(&[&scored[..], &["--replace", "--features"]].concat()).fine();
    let written = project.run(&["sql", "SELECT item, price, score FROM \"scores/\" ORDER BY shopper"]).fine();
    assert!(written.contains("[tea, cup]  [2.5, 9.0]  [0.5, 0.75]"), "{written}");
}

#[test]
fn what_has_no_features_goes_its_own_way() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    // Suggested without a score, and in stock without a price.
    push(&server, "counts", json!({"id": 100, "item": "pen", "pieces": 1}));
    push(&server, "counts", json!({"id": 101, "item": "hat", "pieces": 0, "price": 30.0}));
    push(&server, "counts", json!({"id": 102, "item": "jam", "pieces": 0, "price": 30.0}));
    let scores =
        wait_for("what was counted is seen", || Some(score(&caller, "careful", &["ann"])).filter(|scores| items(scores).contains(&"pen".to_owned())));
    let by_model = run(&wishes(), &[[9.0, 0.75], [2.5, 0.5]]);
    let by_fallback = run(&simple(), &[[f32::NAN, 0.125]]);
    let mut wanted = vec![("cup", by_model[0], Way::Model), ("tea", by_model[1], Way::Model), ("pen", by_fallback[0], Way::FallbackModel)];
    wanted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let found: Vec<(String, f32, Way)> =
        items(&scores).into_iter().zip(wish(&scores)).zip(scores.ways()).map(|((item, wish), way)| (item, wish, way)).collect();
    assert_eq!(found, wanted.into_iter().map(|(item, wish, way)| (item.to_owned(), wish, way)).collect::<Vec<_>>());
    assert_eq!(scores.prediction("wish").unwrap().statuses(), [Status::Present; 3]);
    // What was scored is logged with its features, a vector for each request, and can be computed again.
    let logged = || serde_json::from_str::<Value>(&server.get("/v1/status").1).unwrap()["feature_log"].clone();
    wait_for("what was served is in files", || (logged()["waiting"] == json!(0) && logged()["logged"].as_u64() >= Some(1)).then_some(()));
    let audited: Value = serde_json::from_str(&project.run(&["audit", "--json"]).out).unwrap();
    assert_eq!((&audited["replay"]["differ"], audited["replay"]["vectors"].as_u64() > Some(0)), (&json!(0), true), "{audited:#}");
    // Each candidate by the way that it went, and their order.
    let predictions = &audited["predictions"];
    assert_eq!((&predictions["differ"], &predictions["not_computed"]), (&json!(0), &json!([])), "{predictions:#}");
    assert_eq!((&predictions["rows"], &predictions["orders"]), (&audited["replay"]["vectors"], &audited["replay"]["vectors"]), "{predictions:#}");
}

#[test]
fn a_shadow_scores_the_same_candidates() {
    let project = project();
    let shadowed = "CREATE DEPLOYMENT shadowed AS wishes WITH (timeout = '20 s', rank_by = 'wish DESC', top = 1, shadow = 'simple');";
    deploy(&project, &format!("{MODELS}{shadowed}"));
    project.run(&["apply"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let by_model = run(&wishes(), &[[30.0, 1.0], [9.0, 0.75], [2.5, 0.5]]);
    let by_shadow = run(&simple(), &[[30.0, 1.0], [9.0, 0.75], [2.5, 0.5]]);
    assert_eq!(items(&score(&caller, "shadowed", &["ann"])), ["tea"]);
    let agreeing = by_model.iter().zip(&by_shadow).filter(|(a, b)| a == b).count();
    let difference: f64 = by_model.iter().zip(&by_shadow).map(|(a, b)| f64::from((a - b).abs())).sum();
    // All of them, whichever are answered.
    let counted = |name: &str| format!("lockstep_shadow_{name}{{deployment=\"shadowed\",model=\"simple\"}}");
    wait_for("the shadow has scored", || server.get("/metrics").1.contains(&format!("{} 3", counted("rows_total"))).then_some(()));
    let metrics = server.get("/metrics").1;
    for line in [format!("{} {agreeing}", counted("rows_agreeing_total")), format!("{} {difference}", counted("difference_total"))] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}

#[test]
fn a_ranker_of_one_release_is_not_given_the_candidates_of_another() {
    let project = project();
    let path = project.dir.join("feature_defs/shop.sql");
    let text = fs::read_to_string(&path).unwrap();
    // The generator becomes another: what it lists means something else, and the ranker was made of what it meant.
    for (old, new, why) in [
        ("FROM suggestions\n", "FROM suggestions WHERE cardinality(items) > 1\n", "the view of candidates"),
        ("ORDER BY i.score DESC NULLS LAST LIMIT 3", "ORDER BY i.score DESC NULLS LAST LIMIT 4", "which are answered"),
        ("UNNEST(['tea', 'jam'])", "UNNEST(['tea', 'cup'])", "the fallback's"),
    ] {
        assert!(text.contains(old), "{old}");
        fs::write(&path, text.replace(old, new)).unwrap();
        let refused = project.run(&["apply"]).error();
        assert!(refused.contains("wishes") && refused.contains("to_show"), "{why}: {refused}");
    }
    // With a file of its own for the new meaning, it goes; the old one then meets the candidates of its own release only.
    fs::write(&path, text.replace("LIMIT 3", "LIMIT 4")).unwrap();
    fs::write(project.dir.join("models/wishes.onnx"), stumps(2, &[Stump { feature: 0, at: 5.0, leaves: [0.25, 0.5] }])).unwrap();
    fs::write(project.dir.join("models/simple.onnx"), stumps(2, &[Stump { feature: 1, at: 0.6, leaves: [0.5, 1.0] }])).unwrap();
    project.run(&["apply"]).fine();
    deploy(&project, MODELS);
    let refused = project.run(&["apply"]).error();
    assert!(refused.contains("wishes") && refused.contains("to_show"), "{refused}");
}

#[test]
fn a_share_of_requests_is_answered_in_an_order_of_chance_and_says_so() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let ask = |id: &str| caller.runtime.block_on(caller.client.score(Rows::of("trying").column("shopper", ["ann"]).with_features().id(id))).unwrap();
    let mut firsts = Vec::new();
    for number in 0..60 {
        let scores = ask(&format!("r{number}"));
        let (items, wishes) = (items(&scores), wish(&scores));
        let explored = scores.0.explored[0];
        assert!(scores.0.explored.iter().all(|each| *each == explored) && scores.0.actions.is_empty() && scores.explore().is_empty());
        // Everything that is said of a candidate goes with it.
        let prices = scores.0.features[0].features.iter().find(|feature| feature.name == "price").unwrap();
        let prices = lockstep_client::Feature(prices).values::<f64>().unwrap();
        for (at, item) in items.iter().enumerate() {
            let (best, price, wished) = match item.as_str() {
                "tea" => (0, 2.5, 0.5 + 0.125),
                "cup" => (1, 9.0, 0.25 + 0.125),
                "hat" => (2, 30.0, 0.25 + 0.0625),
                other => panic!("{other}"),
            };
            assert_eq!((prices[at], wishes[at]), (Some(price), wished), "{item}");
            let propensity = if best == at { 0.5 + 0.5 / 3.0 } else { 0.5 / 3.0 };
            assert!((scores.0.propensities[at] - propensity).abs() < 1e-12, "{:?}", scores.0);
            assert!(explored || best == at);
        }
        assert_eq!(ask(&format!("r{number}")).0.items, scores.0.items, "the same request is answered alike");
        firsts.push((items[0].clone(), explored));
    }
    assert!(
        firsts.iter().filter(|(first, explored)| *explored && first != "tea").count() > 5 && firsts.iter().any(|(_, explored)| !explored),
        "{firsts:?}"
    );
    // The log says which one stood first, and the audit computes what was predicted of all of them.
    wait_for("what was served is logged", || {
        let status: Value = serde_json::from_str(&server.get("/v1/status").1).unwrap();
        (status["feature_log"]["logged"] == json!(120)).then_some(())
    });
    let shown: Value = serde_json::from_str(&project.run(&["get", "--request", "r0", "--json"]).fine()).unwrap();
    let decided = &shown["vectors"][0]["scored"]["decided"];
    assert_eq!((&decided["action"], &decided["explored"]), (&json!(firsts[0].0), &json!(firsts[0].1)), "{shown}");
    // And of all of them, in the order of their service, where each stood, and with which probability.
    let answered = ask("r0");
    let place = |item: &str| items(&answered).iter().position(|of| of == item).unwrap();
    let placed: Vec<Value> =
        ["hat", "cup", "tea"].map(|item| json!({"place": place(item) + 1, "propensity": answered.0.propensities[place(item)]})).to_vec();
    assert_eq!(shown["vectors"][0]["scored"]["ranked"], json!(placed), "{shown}");
    assert!(project.run(&["get", "--request", "r0"]).fine().contains("places (with propensities) ["));
    assert_eq!(server.terminate().status, Some(0));
    let audited: Value = serde_json::from_str(&project.run(&["audit", "--json"]).fine()).unwrap();
    assert_eq!(
        (&audited["predictions"]["rows"], &audited["predictions"]["values"], &audited["predictions"]["differ"]),
        (&json!(121), &json!(121), &json!(0)),
        "{audited}"
    );
    assert_eq!(audited["predictions"]["orders"], json!(121));
}
