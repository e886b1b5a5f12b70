//! What is answered of candidates, and how soon events are seen in it.

use std::time::Duration;

use lockstep_client::Request;
use lockstep_client::proto::{CandidateCounts, Status};
use serde_json::{Value, json};

use crate::shop::{ask, items, project, push, until_shown};
use crate::support::{Caller, Server};

fn counts(unnested: u32, left: u32, answered: u32, by_fallback: bool) -> CandidateCounts {
    CandidateCounts { unnested, left, answered, by_fallback }
}

#[test]
fn requests_are_answered_with_their_candidates() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let answer = ask(&caller, &["ann", "nobody", "bob", "ann"]);
    assert_eq!(answer.0.request_rows, [0, 0, 0, 1, 1, 2, 2, 3, 3, 3]);
    assert_eq!(answer.0.rows, 10);
    let (ann, popular) = (["hat", "cup", "tea"], ["tea", "jam"]);
    assert_eq!([items(&answer, 0), items(&answer, 3)], [ann, ann]);
    // Of bob one is left, and of nobody none: what is popular is shown instead.
    assert_eq!([items(&answer, 1), items(&answer, 2)], [popular, popular]);
    assert_eq!(answer.0.candidates, [counts(5, 4, 3, false), counts(0, 0, 2, true), counts(2, 1, 2, true), counts(5, 4, 3, false)]);
    let prices = answer.feature("price").unwrap().values::<f64>().unwrap();
    assert_eq!(prices.into_iter().flatten().collect::<Vec<_>>(), [30.0, 9.0, 2.5, 2.5, 4.5, 2.5, 4.5, 30.0, 9.0, 2.5]);
    assert_eq!(answer.feature("score").unwrap().statuses(), [Status::Present; 10]);
    let roles: Vec<&str> = answer.0.reads.iter().map(|read| read.alias.as_str()).collect();
    assert_eq!(roles, ["c", "w", "s", "popular.s"]);
    // Some outputs of one shopper, in JSON.
    let (code, body) = server.post("/v1/features", &json!({"name": "to_show", "features": ["item"], "rows": [{"shopper": "bob"}]}).to_string());
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["features"][0]["values"], &body["request_rows"]), (200, &json!(["tea", "jam"]), &json!([0, 0])));
    assert_eq!(body["candidates"], json!([{"unnested": 2, "left": 1, "answered": 2, "by_fallback": true}]));
    // One row for each request, of lists, for who asks the store.
    let got: Value = serde_json::from_str(&project.run(&["get", "to_show", "shopper=ann", "--json"]).fine()).unwrap();
    assert_eq!(got["features"][0]["value"], json!("[hat, cup, tea]"));
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains(r#"lockstep_candidates_total{target="to_show",what="left"} 10"#), "{metrics}");
    assert!(metrics.contains(r#"lockstep_candidates_by_fallback_total{target="to_show"} 3"#), "{metrics}");
}

#[test]
fn what_candidates_came_of_is_explained() {
    let project = project();
    let explained = |shopper: &str| -> Value {
        let said = project.run(&["get", "to_show", &format!("shopper={shopper}"), "--explain", "--json"]).fine();
        serde_json::from_str::<Value>(&said).unwrap()["explained"].clone()
    };
    let read = |explained: &Value, role: &str| -> Vec<(String, Option<bool>, usize)> {
        let of_role = |read: &&Value| read["role"] == role;
        let told = |read: &Value| {
            let events: usize = read["windows"].as_array().unwrap().iter().map(|window| window["events"].as_array().unwrap().len()).sum();
            (read["entity"].as_str().unwrap().to_owned(), read["answered"].as_bool(), events)
        };
        explained["reads"].as_array().unwrap().iter().filter(of_role).map(told).collect()
    };
    // Of ann five are suggested; the pen was never counted, and the jam is the fourth of three that are answered.
    let ann = explained("ann");
    assert_eq!(ann["candidates"], json!({"unnested": 5, "left": 4, "answered": 3, "by_fallback": false}));
    assert_eq!(read(&ann, "c"), [("ann".to_owned(), None, 1)]);
    let of = |item: &str, answered: bool, events: usize| (item.to_owned(), Some(answered), events);
    let in_stock = [of("tea", true, 1), of("cup", true, 1), of("hat", true, 1), of("jam", false, 1), of("pen", false, 0)];
    assert_eq!(read(&ann, "s"), in_stock);
    assert_eq!(read(&ann, "popular.s"), []);
    // Of bob one is left, so that what is popular answers, and his own candidates do not.
    let bob = explained("bob");
    assert_eq!(bob["candidates"], json!({"unnested": 2, "left": 1, "answered": 2, "by_fallback": true}));
    assert_eq!(read(&bob, "s"), [of("hat", false, 1), of("gone", false, 1)]);
    assert_eq!(read(&bob, "popular.s"), [of("tea", true, 1), of("jam", true, 1)]);
    let text = project.run(&["get", "to_show", "shopper=ann", "--explain"]).fine();
    for line in ["5 candidates, 4 left by the conditions, 3 answered", "s: in_stock version 1 of tea", "of jam · not answered"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // Several requests at once are told apart.
    std::fs::write(project.dir.join("asked.ndjson"), "{\"shopper\": \"bob\"}\n{\"shopper\": \"ann\"}\n").unwrap();
    let both: Value = serde_json::from_str(&project.run(&["get", "to_show", "--from", "asked.ndjson", "--explain", "--json"]).fine()).unwrap();
    assert_eq!((read(&both[0]["explained"], "s"), read(&both[1]["explained"], "s")), (read(&bob, "s"), in_stock.to_vec()));
    assert_eq!(read(&both[0]["explained"], "popular.s"), read(&bob, "popular.s"));
    let server = Server::start(&project);
    let (code, page) = server.get("/v1/explain/to_show?shopper=ann");
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((code, &page["explained"]["candidates"], read(&page["explained"], "s")), (200, &ann["candidates"], in_stock.to_vec()));
}

#[test]
fn a_streamed_answer_says_which_row_of_its_part_each_row_answers() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let shoppers: Vec<&str> = ["ann", "bob", "nobody"].into_iter().cycle().take(50).collect();
    let whole = ask(&caller, &shoppers);
    let request = Request::new("to_show").column("shopper", shoppers).into_message();
    let parts = caller.runtime.block_on(async {
        let mut parts = Vec::new();
        let mut stream = caller.client.raw().stream_features(request).await.unwrap().into_inner();
        while let Some(part) = stream.message().await.unwrap() {
            parts.push(part);
        }
        parts
    });
    assert!(parts.len() > 1);
    let rows: Vec<u32> = parts.iter().flat_map(|part| part.request_rows.iter().map(|row| part.first_row + row)).collect();
    let counts: Vec<_> = parts.iter().flat_map(|part| part.candidates.clone()).collect();
    assert_eq!((rows, counts), (whole.0.request_rows, whole.0.candidates));
}

#[test]
fn an_item_that_is_out_of_stock_or_was_looked_at_is_gone_from_the_next_answer() {
    let project = project();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    assert_eq!(items(&ask(&caller, &["ann"]), 0), ["hat", "cup", "tea"]);
    let count = |id: i64, item: &str, pieces: i64| push(&server, "counts", json!({"id": id, "item": item, "pieces": pieces, "price": 1.5}));
    count(100, "hat", 0);
    let mut taken = vec![until_shown(&caller, "ann", &["cup", "tea", "jam"])];
    count(101, "hat", 1);
    taken.push(until_shown(&caller, "ann", &["hat", "cup", "tea"]));
    push(&server, "looks", json!({"id": 1, "shopper": "ann", "item": "cup"}));
    taken.push(until_shown(&caller, "ann", &["hat", "tea", "jam"]));
    // Of other shoppers it is none of the business.
    assert_eq!(items(&ask(&caller, &["bob"]), 0), ["tea", "jam"]);
    count(102, "hat", 0);
    taken.push(until_shown(&caller, "ann", &["tea", "jam"]));
    count(103, "jam", 0);
    // One is left of what is suggested, and one of what is popular: who answers last answers as far as it can.
    taken.push(until_shown(&caller, "ann", &["tea"]));
    let quick = taken.iter().filter(|taken| **taken < Duration::from_secs(1)).count();
    assert!(quick >= 4, "what happens is seen within a second, but for what the machine is busy with: {taken:?}");
    project.run(&["verify"]).fine();
}
