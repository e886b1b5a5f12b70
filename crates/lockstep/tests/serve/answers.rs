//! Answers are those of `get`, whatever the batch.

use lockstep_client::proto::{FilledBy, GetFeaturesResponse, Metadata, Status, TimeMode};
use lockstep_client::{Answer, Request};
use serde_json::Value;

use crate::project::Project;
use crate::support::{AT, AT_MICROS, Caller, Server, timeless};

/// Cards with events, one without, one whose key is NULL.
const CARDS: [Option<&str>; 7] = [Some("c1"), Some("c2"), Some("nobody"), Some("c1"), None, Some("c3"), Some("c4")];

fn fraud(cards: &[Option<&str>]) -> Request {
    let amounts: Vec<f64> = (0..cards.len()).map(|row| row as f64 + 0.1).collect();
    let countries = vec!["FR"; cards.len()];
    Request::new("fraud_v1").column("card", cards.to_vec()).column("amount", amounts).column("country", countries).as_of(AT_MICROS)
}

/// Rows of an answer, each as if it had been asked for alone.
fn row(response: &GetFeaturesResponse, row: usize) -> Vec<(String, String, Status)> {
    let features = response.features.iter().map(|feature| {
        let values = feature.values.as_ref().unwrap();
        let value = if values.nulls.contains(&(row as u32)) { "NULL".to_owned() } else { nth(values, row) };
        (feature.name.clone(), value, feature.statuses().nth(row).unwrap())
    });
    features.collect()
}

fn nth(values: &lockstep_client::proto::Values, row: usize) -> String {
    use lockstep_client::proto::values::Values;
    match values.values.as_ref().unwrap() {
        Values::Booleans(found) => found.values[row].to_string(),
        Values::Ints(found) => found.values[row].to_string(),
        Values::Doubles(found) => format!("{:016x}", found.values[row].to_bits()),
        Values::Strings(found) => found.values[row].clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_answers_what_get_answers() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    for card in ["c1", "c2", "nobody"] {
        let got = project.run(&["get", "card_activity", &format!("card={card}"), "--as-of", AT, "--json"]).fine();
        let got: Value = serde_json::from_str(&got).unwrap();
        let Answer(answer) = caller.ask(Request::new("card_activity").column("card", [card]).as_of(AT_MICROS)).unwrap();
        assert_eq!(answer.features.len(), got["features"].as_array().unwrap().len());
        let (status, body) = server.get(&format!("/v1/features/card_activity?card={card}&_as_of={AT}"));
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        for ((feature, got), json) in answer.features.iter().zip(got["features"].as_array().unwrap()).zip(body["features"].as_array().unwrap()) {
            assert_eq!((&feature.name, json["name"].as_str()), (&got["name"].as_str().unwrap().to_owned(), got["name"].as_str()));
            let status = format!("STATUS_{}", got["status"].as_str().unwrap());
            assert_eq!(feature.statuses().next().unwrap().as_str_name(), status, "{}", feature.name);
            assert_eq!(json["statuses"][0], got["status"], "{}", feature.name);
            assert_eq!(json["event_times"][0], got["event_time"], "{}", feature.name);
            let value = &json["values"][0];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let shown = got["value"].as_str().unwrap_or("null");
            let same = text == shown || text.parse::<f64>().ok().zip(shown.parse().ok()).is_some_and(|(a, b): (f64, f64)| a.to_bits() == b.to_bits());
            assert!(same, "{}: {text} and {shown}", feature.name);
        }
    }
}

#[test]
fn rows_come_back_in_order_and_each_as_if_it_were_alone() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let Answer(all) = caller.ask(fraud(&CARDS)).unwrap();
    assert_eq!(all.rows as usize, CARDS.len());
    for (number, card) in CARDS.iter().enumerate() {
        let amount = number as f64 + 0.1;
        let alone = Request::new("fraud_v1").column("card", [*card]).column("amount", [amount]).column("country", ["FR"]).as_of(AT_MICROS);
        let Answer(alone) = caller.ask(alone).unwrap();
        assert_eq!(row(&all, number), row(&alone, 0), "{card:?}");
    }
    // So many that they are answered on a thread of their own, and in parts.
    let many: Vec<Option<&str>> = CARDS.iter().copied().cycle().take(3000).collect();
    let same_amounts = |request: Request, rows: usize| request.column("amount", vec![1.5; rows]).column("country", vec!["FR"; rows]).as_of(AT_MICROS);
    let ask = |cards: &[Option<&str>]| same_amounts(Request::new("fraud_v1").column("card", cards.to_vec()), cards.len());
    let (Answer(few), Answer(whole)) = (caller.ask(ask(&CARDS)).unwrap(), caller.ask(ask(&many)).unwrap());
    for number in 0..many.len() {
        assert_eq!(row(&whole, number), row(&few, number % CARDS.len()));
    }
    let streamed = caller.runtime.block_on(async {
        let mut parts = caller.client.raw().stream_features(ask(&many).into_message()).await.unwrap().into_inner();
        let mut rows = Vec::new();
        while let Some(part) = parts.message().await.unwrap() {
            assert_eq!(part.first_row as usize, rows.len());
            rows.extend((0..part.rows as usize).map(|number| row(&part, number)));
        }
        rows
    });
    assert_eq!(streamed, (0..many.len()).map(|number| row(&whole, number)).collect::<Vec<_>>());
}

#[test]
fn features_are_chosen_by_name_and_of_many_views_at_once() {
    let project = Project::new();
    let more = "CREATE FEATURE VIEW card_ever ENTITY card AS\n\
                SELECT card, count(*) OVER (PARTITION BY card ORDER BY paid_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS payments\nFROM payments;\n";
    std::fs::write(project.dir.join("feature_defs/card_ever.sql"), more).unwrap();
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let whole = timeless(caller.ask(Request::new("card_activity").column("card", ["c1", "c2"]).as_of(AT_MICROS)).unwrap());
    let chosen = Request::new("card_activity").only(["last_country", "payments_7d"]).column("card", ["c1", "c2"]).as_of(AT_MICROS);
    let chosen = timeless(caller.ask(chosen).unwrap());
    let of = |name: &str| whole.features.iter().find(|feature| feature.name == name).unwrap().clone();
    assert_eq!(chosen.features, [of("last_country"), of("payments_7d")]);
    let names = ["card_ever.payments", "card_activity.payments_7d", "card_ever.payments"];
    let mixed = caller.ask(Request::features(names).column("card", ["c1", "c2"]).as_of(AT_MICROS)).unwrap();
    assert_eq!(mixed.features().map(|feature| feature.0.name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(
        mixed.feature("card_activity.payments_7d").unwrap().values::<i64>(),
        chosen.features[1].values.as_ref().map(|_| Ok(values(&chosen.features[1]))).unwrap()
    );
    assert_eq!(mixed.0.reads.iter().map(|read| read.view.as_str()).collect::<Vec<_>>(), ["card_ever", "card_activity"]);
}

fn values(feature: &lockstep_client::proto::Feature) -> Vec<Option<i64>> {
    lockstep_client::Feature(feature).values().unwrap()
}

#[test]
fn what_is_said_beside_the_values_can_be_left_out() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let Answer(full) = caller.ask(fraud(&CARDS).id("request 7")).unwrap();
    assert_eq!((full.request_id.as_str(), full.definitions, full.time()), ("request 7", 1, TimeMode::Event));
    let read = &full.reads[0];
    assert_eq!((read.alias.as_str(), read.view.as_str(), read.version, read.generation), ("a", "card_activity", 1, 1));
    let [positions] = full.positions.as_slice() else { panic!("{:?}", full.positions) };
    assert_eq!(
        (positions.views.as_slice(), positions.partitions[0].partition.as_str(), positions.partitions[0].next),
        (["card_activity".to_owned()].as_slice(), "history:data/payments.csv", 60)
    );
    let filled = full.features.iter().find(|feature| feature.name == "avg_amount_7d").unwrap();
    assert_eq!(filled.filled_by().nth(2), Some(FilledBy::Default), "a default where the entity is unknown");
    assert_eq!(filled.statuses().nth(2), Some(Status::NotFound));
    let Answer(statuses) = caller.ask(fraud(&CARDS).metadata(Metadata::Statuses)).unwrap();
    let Answer(none) = caller.ask(fraud(&CARDS).metadata(Metadata::None)).unwrap();
    assert!(statuses.positions.is_empty() && !statuses.reads.is_empty() && none.reads.is_empty());
    for ((full, statuses), none) in full.features.iter().zip(&statuses.features).zip(&none.features) {
        assert_eq!((&full.values, &full.values), (&statuses.values, &none.values));
        assert_eq!((full.statuses.as_slice(), statuses.event_times_micros.len(), none.statuses.len()), (statuses.statuses.as_slice(), 0, 0));
        assert_eq!(full.event_times_micros.len(), CARDS.len());
    }
    // The moment is said where it was the server's to choose.
    let Answer(now) = caller.ask(Request::new("card_activity").column("card", ["c1"])).unwrap();
    assert!(now.moment_micros.is_some() && full.moment_micros.is_none());
}

#[test]
fn moments_are_one_for_all_or_one_for_each() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let card = || Request::new("card_activity").column("card", ["c1", "c1"]);
    let early = AT_MICROS - 4 * 86_400_000_000;
    let Answer(each) = caller.ask(card().as_of_each(vec![early, AT_MICROS])).unwrap();
    let [Answer(first), Answer(second)] = [early, AT_MICROS].map(|at| caller.ask(card().as_of(at)).unwrap());
    assert_eq!((row(&each, 0), row(&each, 1)), (row(&first, 0), row(&second, 1)));
    assert_ne!(row(&each, 0), row(&each, 1));
}

#[test]
fn earlier_definitions_answer_while_their_state_is_kept() {
    let project = Project::new();
    project.change_a_view();
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let asked = || fraud(&CARDS).into_message();
    let of = |definitions| {
        let request = lockstep_client::proto::GetFeaturesRequest { definitions, ..asked() };
        let answered = caller.runtime.block_on(caller.client.raw().get_features(request));
        answered.map(|answer| timeless(Answer(answer.into_inner())))
    };
    let (serving, pinned) = (of(None).unwrap(), of(Some(1)).unwrap());
    assert_eq!((serving.definitions, serving.reads[0].version), (2, 2));
    assert_eq!((pinned.definitions, pinned.reads[0].version), (1, 1));
    assert_eq!(of(Some(2)).unwrap().features, serving.features);
    let unknown = of(Some(9)).unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (tonic::Code::NotFound, "no definitions number 9 were applied · the newest are number 2"));
    project.run(&["--server", &server.url(), "drop", "card_activity@1", "--now"]).fine();
    let gone = of(Some(1)).unwrap_err();
    assert_eq!(gone.code(), tonic::Code::Unavailable, "{gone}");
}
