//! One age for an answer: that of the oldest thing that it is made from, through predictions too; and what is done with what is too old.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use lockstep_client::proto::{Status, TimeMode, Way};
use lockstep_client::{Request, Rows};
use lockstep_model::EventTime;

use crate::predictions::{AT_MICROS, project, publish, read, spine};
use crate::support::{Caller, Server};

/// When the last payment of a card before the predictions was, in µs.
fn newest_payment(caller: &Caller, card: &str) -> i64 {
    let request = Request::new("card_activity").column("card", vec![card]).as_of(AT_MICROS);
    caller.ask(request).unwrap().oldest_inputs()[0].unwrap()
}

/// More than a part of a stream has.
const ROWS: usize = 2_500;
const THREE_DAYS: i64 = 3 * 86_400_000_000;

#[test]
fn an_answer_is_as_old_as_the_oldest_thing_that_it_is_made_from() {
    let project = project();
    spine(&project, 3, 0);
    publish(&project, &[]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    // The first card has never paid: its prediction is of nothing but the request. The second's is as old as its last payment.
    let newest = newest_payment(&caller, "c1");
    assert!(newest < AT_MICROS && newest > AT_MICROS - THREE_DAYS, "{newest}");
    let answer = caller.ask(Request::new("with_risk").column("card", vec!["c0", "c1", "nobody"])).unwrap();
    assert_eq!(answer.oldest_inputs(), [Some(AT_MICROS), Some(newest), None]);
    let rows = |at: i64| {
        let rows = Rows::of("fresh_only").column("card", vec!["c0", "c1"]).column("amount", vec![1.0, 2.0]).column("country", vec!["FR", "FR"]);
        caller.runtime.block_on(caller.client.score(rows.as_of(at))).unwrap()
    };
    assert_eq!(rows(AT_MICROS).oldest_inputs(), [None, Some(newest)]);

    // At the greatest age that is allowed it is there, and a moment later it is not; by a service, by a deployment, and in a batch.
    let edge = newest + THREE_DAYS;
    for (at, status, way, by) in [(edge, Status::Present, Way::Model, "MODEL"), (edge + 1, Status::Expired, Way::Default, "DEFAULT")] {
        let request = Request::new("fresh_risk").column("card", vec!["c0", "c1"]).as_of(at).time(TimeMode::Event);
        assert_eq!(caller.ask(request).unwrap().feature("last_risk").unwrap().statuses(), [Status::Present, status], "{at}");
        let scores = rows(at);
        assert_eq!(scores.ways(), [Way::Model, way], "{at}");
        let reasons = &scores.0.reasons;
        assert!(reasons.is_empty() == (way == Way::Model) && reasons.iter().all(|why| why.is_empty() || why.contains("`max_age`")), "{reasons:?}");
        let out = format!("at-{at}");
        fs::write(project.dir.join("late.csv"), format!("card,amount,country,asked_at\nc0,1,FR,{0}\nc1,2,FR,{0}\n", EventTime(at))).unwrap();
        project.run(&["score", "fresh_only", "--spine", "late.csv", "--timestamp", "asked_at", "--out", &out]).fine();
        let scored = read(&project, &out);
        assert_eq!(scored.column_by_name("scored_by").unwrap().as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["MODEL", by]);
        let oldest = scored.column_by_name("oldest_input_at").unwrap().as_primitive::<TimestampMicrosecondType>();
        assert_eq!(oldest.iter().collect::<Vec<_>>(), [None, Some(newest)]);
    }
    // A stream says of each row what an answer in one piece does.
    let cards: Vec<&str> = ["c0", "c1", "nobody"].into_iter().cycle().take(ROWS).collect();
    let request = || Request::new("with_risk").column("card", cards.clone());
    let whole = caller.ask(request()).unwrap();
    let parts = caller.runtime.block_on(async {
        let mut stream = caller.client.raw().stream_features(request().into_message()).await.unwrap().into_inner();
        let mut parts = Vec::new();
        while let Some(part) = stream.message().await.unwrap() {
            parts.push(part);
        }
        parts
    });
    assert!(parts.len() > 1 && parts.iter().all(|part| part.oldest_inputs_micros.len() == part.rows as usize));
    let streamed: Vec<i64> = parts.iter().flat_map(|part| part.oldest_inputs_micros.clone()).collect();
    assert_eq!(streamed, whole.0.oldest_inputs_micros);
    let of_each = [Some(AT_MICROS), Some(newest), None];
    assert_eq!(whole.oldest_inputs(), of_each.into_iter().cycle().take(ROWS).collect::<Vec<_>>());
    let pushed = server.post("/v1/events/card_risk", r#"{"rows": [{"card": "c1", "risk": 1}]}"#);
    assert!(pushed.0 == 400 && pushed.1.contains("`card_risk` are predictions"), "{pushed:?}");
}

#[test]
fn a_published_prediction_is_served_for_as_long_as_it_lives() {
    const LIVES: i64 = 86_400_000_000;
    let project = project();
    let path = project.dir.join("feature_defs/predictions.sql");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("(keep = 2)", "(keep = 2, ttl = '1 day')").replace("top = 3)", "top = 3, ttl = '1 day')")).unwrap();
    project.run(&["apply"]).fine();
    spine(&project, 3, 0);
    publish(&project, &[]).fine();
    let by_country = ["score", "fraud", "--spine", "spine.csv", "--timestamp", "asked_at", "--publish", "riskiest"];
    project.run(&by_country).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    // One score, and a list: at the last moment of its day, and right after it.
    for (at, status) in [(AT_MICROS + LIVES, Status::Present), (AT_MICROS + LIVES + 1, Status::Expired)] {
        for (view, key, of, feature) in [("card_risk", "card", "c1", "risk"), ("riskiest", "country", "FR", "items")] {
            let answer = caller.ask(Request::new(view).column(key, vec![of]).as_of(at).time(TimeMode::Event)).unwrap();
            assert_eq!(answer.feature(feature).unwrap().statuses(), [status], "{view} at {at}");
            assert_eq!(answer.feature("computed_at").unwrap().statuses(), [status], "{view} at {at}");
        }
    }
}
