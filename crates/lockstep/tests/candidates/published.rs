//! Candidates that were predicted in one go and published: unnested, joined with what is fresh, and filtered when they are asked for.

use std::fs;

use lockstep_client::{Answer, Request};
use lockstep_testkit::onnx::{Stump, stumps};
use serde_json::json;

use crate::project::{Project, wait_for};
use crate::shop::{files, push};
use crate::support::{Caller, Server};

const DEFINITIONS: &str = "
CREATE FEATURE SERVICE liking AS
SELECT r.weight AS weight, s.price AS price FROM REQUEST (shopper VARCHAR, item VARCHAR, weight DOUBLE) r LEFT JOIN in_stock s ON s.item = r.item;
CREATE MODEL likes FROM 'models/likes.onnx' USING liking (input => (weight, price)) PREDICT (likely REAL FROM score);
CREATE DEPLOYMENT liked AS likes WITH (timeout = '20 s');
CREATE PREDICTIONS liked_items ENTITY shopper (item VARCHAR, likely REAL) FROM liked WITH (item = 'item', top = 3);
CREATE FEATURE SERVICE liked_now AS
SELECT i.item, i.likely, s.price FROM REQUEST (shopper VARCHAR) r
LEFT JOIN liked_items p ON p.shopper = r.shopper
CROSS JOIN UNNEST(p.items, p.scores) AS i(item, likely)
LEFT JOIN in_stock s ON s.item = i.item
WHERE s.pieces > 0;
";

fn items(answer: &Answer) -> Vec<String> {
    answer.feature("item").unwrap().values::<String>().unwrap().into_iter().flatten().collect()
}

#[test]
fn published_predictions_are_candidates_that_are_filtered_by_what_is_fresh() {
    let project = Project::of(&files("", ""));
    fs::create_dir(project.dir.join("models")).unwrap();
    let model = stumps(2, &[Stump { feature: 0, at: 0.5, leaves: [0.125, 0.5] }, Stump { feature: 1, at: 5.0, leaves: [0.25, 0.0625] }]);
    fs::write(project.dir.join("models/likes.onnx"), model).unwrap();
    fs::write(project.dir.join("feature_defs/liked.sql"), DEFINITIONS).unwrap();
    let rows = ["tea,0.75", "cup,0.75", "hat,0.25", "jam,0.25"].map(|row| format!("ann,{row},2024-03-02T00:00:00Z\n"));
    fs::write(project.dir.join("rows.csv"), format!("shopper,item,weight,at\n{}", rows.concat())).unwrap();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    project.run(&["score", "liked", "--spine", "rows.csv", "--timestamp", "at", "--publish", "liked_items", "--force"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let ask = || caller.ask(Request::new("liked_now").column("shopper", ["ann"])).unwrap();
    wait_for("what was published is served", || (items(&ask()) == ["tea", "cup", "jam"]).then_some(()));
    assert_eq!(ask().feature("likely").unwrap().values::<f32>().unwrap(), [Some(0.75), Some(0.5625), Some(0.375)]);
    push(&server, "counts", json!({"id": 100, "item": "cup", "pieces": 0, "price": 9.0}));
    wait_for("what is sold out is gone", || (items(&ask()) == ["tea", "jam"]).then_some(()));
    let counts = ask().0.candidates[0];
    assert_eq!((counts.unnested, counts.left, counts.answered), (3, 2, 2));
}
