//! Chains over candidates: a ranker that is given what a model predicted of each, and what their service says of it; by a server, in batches, and published.

use std::fs;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, Float64Type};
use lockstep_client::proto::{StepFeatures, Way};
use lockstep_client::{Feature, Request, Rows, Scores};
use lockstep_model::EventTime;
use lockstep_testkit::onnx::{Stump, stumps};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::ranked::{MODELS, deploy, items, run, score};
use crate::shop::push;
use crate::support::{Caller, Server};

const CHAIN: &str = "
CREATE FEATURE SERVICE again AS SELECT r.wish AS wish, r.price AS price, r.score AS score, s.pieces AS pieces
FROM REQUEST (shopper VARCHAR, item VARCHAR, price DOUBLE, score DOUBLE, wish REAL) r LEFT JOIN in_stock s ON s.item = r.item;
CREATE MODEL second FROM 'models/second.onnx' USING again (input => (wish, price, score, pieces)) PREDICT (last REAL FROM score);
CREATE DEPLOYMENT chained AS (candidates => wishes, ranker => second) WITH (timeout = '20 s', rank_by = 'last DESC', top = 2);
CREATE PREDICTIONS best_items ENTITY shopper (item VARCHAR, last REAL) FROM chained WITH (item = 'item');
CREATE FEATURE SERVICE best_now AS SELECT i.item AS item, i.last AS last, s.price AS price FROM REQUEST (shopper VARCHAR) r
LEFT JOIN best_items p ON p.shopper = r.shopper LEFT JOIN looked w ON w.shopper = r.shopper
CROSS JOIN UNNEST(p.items, p.scores) AS i(item, last)
LEFT JOIN in_stock s ON s.item = i.item WHERE s.pieces > 0 AND NOT coalesce(array_contains(w.items_1h, i.item), false);
";

/// Of wish, price, score and pieces.
fn second() -> Vec<u8> {
    let stump = |feature, at, leaves| Stump { feature, at, leaves };
    stumps(4, &[stump(1, 5.0, [0.5, 1.0]), stump(3, 2.5, [0.25, 0.125]), stump(0, 0.4, [0.0625, 0.03125]), stump(2, 0.8, [0.015625, 0.0078125])])
}

fn project() -> Project {
    let project = crate::ranked::project();
    deploy(&project, &format!("{MODELS}{CHAIN}"));
    fs::write(project.dir.join("models/second.onnx"), second()).unwrap();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    project
}

const SPINE: [(&str, &str); 4] =
    [("ann", "2024-03-02T00:00:00Z"), ("nobody", "2024-03-02T00:00:00Z"), ("bob", "2024-03-02T06:00:00Z"), ("ann", "2024-02-01T00:00:00Z")];

/// Features of the second step, and what a batch calls them.
const RANKER: [(&str, &str); 3] = [("wish", "ranker_wish"), ("price", "ranker_price"), ("score", "ranker_score")];

fn spine(project: &Project) {
    let rows = SPINE.map(|(shopper, at)| format!("{shopper},{at}\n")).concat();
    fs::write(project.dir.join("rows.csv"), format!("shopper,at\n{rows}")).unwrap();
}

/// What a server answers to the rows of the spine.
fn answered(caller: &Caller) -> Scores {
    let moments = SPINE.map(|(_, at)| EventTime::parse(at).unwrap().0).to_vec();
    let rows = Rows::of("chained").column("shopper", SPINE.map(|(shopper, _)| shopper).to_vec()).as_of_each(moments).with_features();
    caller.runtime.block_on(caller.client.score(rows)).unwrap()
}

pub fn read(project: &Project, dir: &str) -> RecordBatch {
    let file = fs::File::open(project.dir.join(dir).join("part-00000.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    concat_batches(&schema, &reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

/// The elements of each row of a column of lists, as bits.
fn lists(rows: &RecordBatch, name: &str) -> Vec<Vec<Option<u64>>> {
    let lists = rows.column_by_name(name).unwrap_or_else(|| panic!("{name} in {:?}", rows.schema())).as_list::<i32>();
    let bits = |values: &dyn Array| -> Vec<Option<u64>> {
        if let Some(floats) = values.as_primitive_opt::<Float32Type>() {
            return floats.iter().map(|value| value.map(|value| u64::from(value.to_bits()))).collect();
        }
        if let Some(floats) = values.as_primitive_opt::<Float64Type>() {
            return floats.iter().map(|value| value.map(f64::to_bits)).collect();
        }
        panic!("{name} is {}", values.data_type())
    };
    (0..lists.len()).map(|row| bits(&lists.value(row))).collect()
}

fn each_request<T: Clone>(scores: &Scores, values: &[T]) -> Vec<Vec<T>> {
    (0..SPINE.len() as u32)
        .map(|request| values.iter().zip(&scores.0.request_rows).filter(|(_, of)| **of == request).map(|(value, _)| value.clone()).collect())
        .collect()
}

fn feature<'a>(step: &'a StepFeatures, name: &str) -> Feature<'a> {
    Feature(step.features.iter().find(|feature| feature.name == name).unwrap())
}

#[test]
fn a_ranker_is_given_predictions_and_what_the_service_of_candidates_says() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let scores = score(&caller, "chained", &["ann"]);
    // hat (30.0, 1.0), cup (9.0, 0.75), tea (2.5, 0.5), with what the first model makes of them, and how many pieces there are.
    let wishes = run(&crate::ranked::wishes(), &[[30.0, 1.0], [9.0, 0.75], [2.5, 0.5]]);
    let by_hand = run(&second(), &[[wishes[0], 30.0, 1.0, 3.0], [wishes[1], 9.0, 0.75, 2.0], [wishes[2], 2.5, 0.5, 7.0]]);
    assert!(by_hand[1] > by_hand[0] && by_hand[0] > by_hand[2], "{by_hand:?}");
    assert_eq!(items(&scores), ["cup", "hat"]);
    assert_eq!(scores.prediction("last").unwrap().values::<f32>().unwrap(), [Some(by_hand[1]), Some(by_hand[0])]);
    assert_eq!(scores.ways(), [Way::Model; 2]);
    assert_eq!(scores.0.models.iter().map(|model| (model.step.as_str(), model.rows)).collect::<Vec<_>>(), [("candidates", 3), ("ranker", 3)]);
    let [_, ranker] = scores.0.features.as_slice() else { panic!("{:?}", scores.0.features) };
    assert_eq!(feature(ranker, "price").values::<f64>().unwrap(), [Some(9.0), Some(30.0)]);
    // A caller gives neither price nor score, nor which item it is.
    let (_, described) = server.get("/v1/deployments/chained");
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["request"].as_array().unwrap().iter().map(|column| &column["name"]).collect::<Vec<_>>(), ["shopper"]);
    let said = project.run(&["explain", "chained"]).fine();
    for line in
        ["asked with shopper VARCHAR", "asked with wish of step candidates, item of the candidate, price of the candidate, score of the candidate"]
    {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(said.contains("candidates, which are told by item, score, are ranked by last DESC, of which the first 2 are answered"), "{said}");
    // What is logged beside the features of the last step can be computed again there, and the order beside those of the first.
    let logged = || serde_json::from_str::<Value>(&server.get("/v1/status").1).unwrap()["feature_log"].clone();
    wait_for("what was served is in files", || (logged()["waiting"] == json!(0) && logged()["logged"].as_u64() >= Some(4)).then_some(()));
    let audited: Value = serde_json::from_str(&project.run(&["audit", "--json"]).out).unwrap();
    let predictions = &audited["predictions"];
    assert_eq!((&predictions["rows"], &predictions["orders"], &predictions["differ"]), (&json!(3), &json!(1), &json!(0)), "{audited:#}");
}

#[test]
fn a_batch_says_of_a_chain_what_a_server_does() {
    let project = project();
    spine(&project);
    project.run(&["score", "chained", "--spine", "rows.csv", "--timestamp", "at", "--features", "--out", "scores"]).fine();
    let written = read(&project, "scores");
    let server = Server::start(&project);
    let scores = answered(&Caller::new(&server));
    let of_items = |row: usize| -> Vec<String> {
        let list = written.column_by_name("item").unwrap().as_list::<i32>().value(row);
        list.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
    };
    let by_batch: Vec<Vec<String>> = (0..SPINE.len()).map(of_items).collect();
    assert_eq!(by_batch, each_request(&scores, &items(&scores)));
    assert_eq!((by_batch[0].as_slice(), by_batch[3].as_slice()), (["cup".to_owned(), "hat".to_owned()].as_slice(), [].as_slice()));
    let singles = |feature: Feature<'_>| -> Vec<Option<u64>> {
        match feature.values::<f32>() {
            Ok(values) => values.into_iter().map(|value| value.map(|value| u64::from(value.to_bits()))).collect(),
            Err(_) => feature.values::<f64>().unwrap().into_iter().map(|value| value.map(f64::to_bits)).collect(),
        }
    };
    assert_eq!(lists(&written, "last"), each_request(&scores, &singles(scores.prediction("last").unwrap())));
    for step in &scores.0.features {
        // Which candidate it is stands there once.
        for (name, column) in if step.step == "ranker" { &RANKER[..] } else { &[("price", "candidates_price"), ("score", "score")] } {
            let found = lists(&written, column);
            assert_eq!(found, each_request(&scores, &singles(feature(step, name))), "{name} of {}", step.step);
        }
    }
    let ways = written.column_by_name("scored_by").unwrap().as_string::<i32>();
    assert!(ways.iter().all(|way| way == Some("MODEL")));
}

#[test]
fn ranked_lists_are_published_and_filtered_by_what_is_fresh() {
    let project = project();
    spine(&project);
    let publish = ["score", "chained", "--spine", "rows.csv", "--timestamp", "at", "--publish", "best_items", "--force"];
    let told: Value = serde_json::from_str(&project.run(&[&publish[..], &["--json"]].concat()).fine()).unwrap();
    let run = &told["published"]["run"];
    assert_eq!((&run["rows"], &run["events"], &run["entities"]), (&json!(4), &json!(4), &json!(3)), "{told:#}");
    assert!(project.run(&publish).fine().contains("nothing to publish"));
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let now = |shopper: &str| {
        let answer = caller.ask(Request::new("best_now").column("shopper", [shopper])).unwrap();
        let items: Vec<String> = answer.feature("item").unwrap().values::<String>().unwrap().into_iter().flatten().collect();
        (items, answer.feature("last").unwrap().values::<f32>().unwrap().into_iter().flatten().collect::<Vec<_>>())
    };
    let scores = answered(&caller);
    let last = scores.prediction("last").unwrap().values::<f32>().unwrap().into_iter().flatten().collect::<Vec<_>>();
    let (items, last) = (each_request(&scores, &items(&scores)), each_request(&scores, &last));
    // As the deployment ranks them, bit by bit; what it ranked of nobody is what is popular.
    for (request, shopper) in [(0, "ann"), (1, "nobody"), (2, "bob")] {
        assert_eq!(now(shopper), (items[request].clone(), last[request].clone()), "{shopper}");
    }
    push(&server, "counts", json!({"id": 100, "item": "cup", "pieces": 0, "price": 9.0}));
    wait_for("what is sold out is gone", || (now("ann").0 == ["hat"]).then_some(()));
    push(&server, "looks", json!({"id": 1, "shopper": "ann", "item": "hat"}));
    wait_for("what was looked at is gone", || now("ann").0.is_empty().then_some(()));
    project.run(&["verify"]).fine();
}
