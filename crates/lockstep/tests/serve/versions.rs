//! One version beside another: the new one is filled and caught up while the old one serves, and each is what it would be alone.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lockstep_client::proto::GetFeaturesRequest;
use lockstep_client::{Answer, Client, Request};
use serde_json::{Value, json};

use crate::project::{Ended, Project, wait_for};
use crate::support::{Caller, Server, timeless};

/// 2024-03-10, in µs: all that is pushed happened within a week of it.
const AT: i64 = 1_710_028_800_000_000;
/// The first payment that is pushed.
const FIRST: i64 = 1_000_000;

/// Payments, as JSON: every second one is not counted by the changed view, and one more card has them all.
fn payment(number: i64) -> Value {
    let at = format!("2024-03-09T{:02}:{:02}:{:02}Z", 6 + number / 3600 % 12, number / 60 % 60, number % 60);
    json!({"payment_id": FIRST + number, "card": "flow", "merchant": "shoes", "country": "DE", "amount": 2.5, "paid_at": at})
}

/// Pushes payments from a number on, one at a time, until it is told to end or nobody answers; the number of the next one.
fn flow(address: &str, first: i64, end: &AtomicBool) -> i64 {
    let mut next = first;
    while !end.load(Ordering::Relaxed) {
        let body = json!({"rows": [payment(next)]}).to_string();
        let url = format!("http://{address}/v1/events/payments");
        let pushed = crate::support::agent().post(url).header("content-type", "application/json").send(body);
        if !pushed.is_ok_and(|answered| answered.status().as_u16() == 200) {
            break;
        }
        next += 1;
        thread::sleep(Duration::from_millis(2));
    }
    next
}

/// What definitions of a number answer; those that serve where there is none.
fn answer(caller: &Caller, definitions: Option<u64>) -> Answer {
    let request = Request::new("card_activity").column("card", ["flow", "c1", "c7", "nobody"]).as_of(AT).into_message();
    let request = GetFeaturesRequest { definitions, ..request };
    Answer(caller.runtime.block_on(caller.client.raw().get_features(request)).unwrap().into_inner())
}

/// Payments of the card that has all that is pushed.
fn count(answer: &Answer) -> i64 {
    answer.feature("payments_7d").unwrap().values::<i64>().unwrap()[0].unwrap_or_default()
}

/// Asks until it is told to end: no request fails, and no answer goes back in time. The versions of the view that answered.
fn ask(address: &str, end: &AtomicBool) -> BTreeSet<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(Client::connect(format!("http://{address}"))).unwrap();
    let caller = Caller { runtime, client };
    let (mut versions, mut last) = (BTreeSet::new(), 0);
    while !end.load(Ordering::Relaxed) {
        let answered = answer(&caller, None);
        let (count, version) = (count(&answered), answered.0.reads[0].version);
        assert!(count >= last, "{count} after {last}, by version {version}");
        last = count;
        versions.insert(version);
        thread::sleep(Duration::from_millis(1));
    }
    versions
}

fn status(project: &Project) -> Value {
    serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap()
}

/// The role of each version of the only view.
fn roles(project: &Project) -> Vec<String> {
    status(project)["views"].as_array().unwrap().iter().map(|view| view["role"].as_str().unwrap().to_owned()).collect()
}

fn serving(server: &Server) -> u64 {
    serde_json::from_str::<Value>(&server.get("/v1/status").1).unwrap()["definitions"].as_u64().unwrap()
}

/// The same features from a store whose definitions never changed, which took the payments from a file.
fn undisturbed(changed: bool, payments: i64) -> Answer {
    let project = Project::with_much_history();
    if changed {
        project.change_a_view();
        project.run(&["apply"]).fine();
        project.run(&["backfill"]).fine();
    }
    let lines: String = (0..payments).map(|number| format!("{}\n", payment(number))).collect();
    fs::write(project.dir.join("pushed.ndjson"), lines).unwrap();
    project.run(&["ingest", "--from", "pushed.ndjson"]).fine();
    let server = Server::start(&project);
    if changed {
        wait_for("the changed view serves", || (serving(&server) == 2).then_some(()));
    }
    answer(&Caller::new(&server), None)
}

#[test]
fn a_new_version_catches_up_beside_the_one_that_serves_and_takes_its_place() {
    let project = Project::with_much_history();
    let server = Server::start(&project);
    let end = AtomicBool::new(false);
    let original = fs::read_to_string(project.dir.join("feature_defs/card_activity.sql")).unwrap();
    let (pushed, versions) = thread::scope(|scope| {
        let pusher = scope.spawn(|| flow(&server.address, 0, &end));
        let asker = scope.spawn(|| ask(&server.address, &end));
        thread::sleep(Duration::from_millis(500));
        project.change_a_view();
        project.run(&["apply"]).fine();
        let refused = project.run(&["drop", "card_activity@1"]).error();
        assert!(refused.contains("`card_activity@1` serves with version 1 of the definitions"), "{refused}");
        let filled = project.run(&["backfill"]).fine();
        assert!(filled.starts_with("published: card_activity\n30000 rows read"), "{filled}");
        wait_for("the new version serves", || (serving(&server) == 2).then_some(()));
        thread::sleep(Duration::from_millis(500));
        end.store(true, Ordering::Relaxed);
        (pusher.join().unwrap(), asker.join().unwrap())
    });
    assert_eq!(versions, BTreeSet::from([1, 2]));
    // A connection of its own for each: a server does not keep one that is silent for long.
    let answer_of = |definitions| answer(&Caller::new(&server), definitions);
    for (definitions, changed) in [(1, false), (2, true)] {
        // Both are fed on: what serves, and what served until now.
        wait_for("all is applied", || (count(&answer_of(Some(definitions))) == pushed).then_some(()));
        let features = |answer: Answer| timeless(answer).features;
        assert_eq!(features(answer_of(Some(definitions))), features(undisturbed(changed, pushed)), "{definitions}");
    }
    project.run(&["verify"]).fine();
    assert_eq!(roles(&project), ["previous", "serving"]);

    // Going back takes no time, and loses nothing: what was applied first serves again as soon as it is applied again.
    fs::write(project.dir.join("feature_defs/card_activity.sql"), original).unwrap();
    project.run(&["apply"]).fine();
    wait_for("the first version serves again", || (serving(&server) == 3).then_some(()));
    assert_eq!(count(&answer_of(None)), pushed);
    project.run(&["verify"]).fine();
    assert_eq!(roles(&project), ["serving", "previous"]);
    let refused = project.run(&["drop", "card_activity@2"]).error();
    assert!(refused.contains("`card_activity@2` served, and is kept until "), "{refused}");
    project.run(&["drop", "card_activity@2", "--now"]).fine();
    let answered = server.post("/v1/events/payments", &json!({"rows": [payment(pushed)]}).to_string());
    assert_eq!(answered.0, 200);
    wait_for("what is left is fed", || (count(&answer_of(None)) == pushed + 1).then_some(()));
    assert_eq!(server.terminate().status, Some(0));
}

#[test]
fn killed_at_any_moment_it_comes_to_the_same_end() {
    let project = Project::with_much_history();
    let mut next = 0;
    for round in 0..5_u64 {
        let server = Server::start(&project);
        let end = AtomicBool::new(false);
        next = thread::scope(|scope| {
            let pusher = scope.spawn(|| flow(&server.address, next, &end));
            thread::sleep(Duration::from_millis(100));
            if round == 0 {
                project.change_a_view();
                project.run(&["apply"]).fine();
            }
            let mut backfill = project.command(&["backfill"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(40 + 170 * round));
            server.signal("KILL");
            // Who asked would go on by itself.
            let _ = backfill.kill();
            backfill.wait().unwrap();
            pusher.join().unwrap()
        });
    }
    let server = Server::start(&project);
    let end = AtomicBool::new(false);
    let pushed = thread::scope(|scope| {
        let pusher = scope.spawn(|| flow(&server.address, next, &end));
        let asker = scope.spawn(|| ask(&server.address, &end));
        project.run(&["backfill"]).fine();
        wait_for("the new version serves", || (serving(&server) == 2).then_some(()));
        end.store(true, Ordering::Relaxed);
        asker.join().unwrap();
        pusher.join().unwrap()
    });
    let answer_of = |definitions| answer(&Caller::new(&server), definitions);
    for (definitions, changed) in [(1, false), (2, true)] {
        // What was pushed when it was killed is pushed again, under the same key.
        wait_for("all is applied", || (count(&answer_of(Some(definitions))) == pushed).then_some(()));
        assert_eq!(timeless(answer_of(Some(definitions))).features, timeless(undisturbed(changed, pushed)).features, "{definitions}");
    }
    project.run(&["verify"]).fine();
}

#[test]
fn who_asked_for_a_backfill_may_go_and_ask_again() {
    let project = Project::with_much_history();
    let server = Server::start(&project);
    project.change_a_view();
    project.run(&["apply"]).fine();
    let mut asked = project.command(&["backfill"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(60));
    asked.kill().unwrap();
    asked.wait().unwrap();
    // The one that is left behind ends at its next chunk, or is done; until then there is only one.
    let filled = wait_for("it is filled", || Some(project.run(&["backfill"])).filter(|ended| !ended.err.contains("a backfill is under way")));
    filled.fine();
    assert_ne!(roles(&project)[1], "filling");
    wait_for("the new version serves", || (serving(&server) == 2).then_some(()));
    let unknown: Ended = project.run(&["backfill", "no_such_view"]);
    assert!(unknown.error().contains("no feature view named `no_such_view`"));
    // The server is told to end while it backfills: who asked goes on by itself.
    project.change_a_view_again();
    project.run(&["apply"]).fine();
    let asked = project.command(&["backfill"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(60));
    assert_eq!(server.terminate().status, Some(0));
    let ended = Ended::from(asked.wait_with_output().unwrap());
    assert!(ended.clone().fine().starts_with("published: card_activity"), "{ended:?}");
}

/// A payment of an hour of many cards, one a second; some come late, a few too late.
fn payment_of_an_hour(number: i64) -> Value {
    let back = match number % 50 {
        7 => 600,
        9 => 6 * 3600,
        _ => 0,
    };
    let second = 12 * 3600 + number - back;
    let at = format!("2024-03-09T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
    let (card, amount) = (format!("c{}", number % 60), (number * 37 % 1000) as f64 / 8.0);
    json!({"payment_id": FIRST + number, "card": card, "merchant": "shoes", "country": "DE", "amount": amount, "paid_at": at})
}

#[test]
fn what_serves_again_after_an_hour_answers_as_if_it_had_never_been_away() {
    const HOUR: i64 = 3600;
    let projects = [(); 2].map(|()| Project::with_much_history());
    projects.iter().for_each(|project| drop(project.run(&["release", "promote"]).fine()));
    let [moved, stayed] = &projects;
    let servers = [Server::start(moved), Server::start(stayed)];
    moved.change_a_view();
    moved.run(&["apply"]).fine();
    moved.run(&["backfill"]).fine();
    moved.run(&["release", "promote", "--force"]).fine();
    assert_eq!(serving(&servers[0]), 2);
    for first in (0..HOUR).step_by(100) {
        let rows: Vec<Value> = (first..first + 100).map(payment_of_an_hour).collect();
        let body = json!({"rows": rows}).to_string();
        servers.iter().for_each(|server| assert_eq!(server.post("/v1/events/payments", &body).0, 200));
    }
    let counts = |project: &Project| {
        let view = &status(project)["views"][0];
        ["applied", "refused"].map(|count| view["sources"][0][count].as_u64().unwrap())
    };
    let all = |project: &Project| counts(project).iter().sum::<u64>() == 30_000 + HOUR as u64;
    wait_for("all is applied", || projects.iter().all(all).then_some(()));
    moved.run(&["release", "rollback"]).fine();
    assert_eq!(serving(&servers[0]), 1);
    assert_eq!(counts(moved), counts(stayed));
    assert!(counts(moved)[1] > 0, "some came too late: {:?}", counts(moved));
    let cards: Vec<String> = (0..60).map(|card| format!("c{card}")).collect();
    // Before the hour, within it, at its end and a day later.
    let hour = 1_709_985_600_000_000;
    for moment in [hour - 1, hour + 1_800_000_000, hour + 3_599_000_000, hour + 86_400_000_000] {
        let [moved, stayed] = servers.each_ref().map(|server| {
            let answered = Caller::new(server).ask(Request::new("card_activity").column("card", cards.clone()).as_of(moment)).unwrap();
            assert_eq!(answered.0.release, 1);
            timeless(answered).features
        });
        assert_eq!(moved, stayed, "{moment}");
    }
    projects.iter().for_each(|project| drop(project.run(&["verify", "--values", "200"]).fine()));
}

#[test]
fn the_release_that_served_before_is_fed_on_and_so_is_the_next() {
    let project = Project::new();
    project.run(&["release", "promote"]).fine();
    let server = Server::start(&project);
    project.change_a_view();
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    let caught_up = || !status(&project)["views"][1]["caught_up_at"].is_null();
    wait_for("the candidate has caught up", || caught_up().then_some(()));
    // It does not serve by itself: the pointer decides.
    assert_eq!((serving(&server), roles(&project)), (1, vec!["serving".to_owned(), "next".to_owned()]));
    let has = |payments: i64| {
        let answer_of = |definitions| count(&answer(&Caller::new(&server), definitions));
        wait_for("both are fed", || (answer_of(Some(1)) == payments && answer_of(Some(2)) == payments).then_some(()));
        assert_eq!(answer_of(None), payments);
    };
    let push = |number| assert_eq!(server.post("/v1/events/payments", &json!({"rows": [payment(number)]}).to_string()).0, 200);
    push(0);
    has(1);
    project.run(&["release", "promote", "--force"]).fine();
    wait_for("it serves", || (serving(&server) == 2).then_some(()));
    assert_eq!(roles(&project), ["previous", "serving"]);
    push(1);
    has(2);
    project.run(&["release", "rollback"]).fine();
    wait_for("the first serves again", || (serving(&server) == 1).then_some(()));
    assert_eq!(roles(&project), ["serving", "next"]);
    push(2);
    has(3);
    let refused = project.run(&["drop", "card_activity@1", "--now"]).error();
    assert!(refused.contains("`card_activity@1` is served by release 1"), "{refused}");
    project.run(&["verify"]).fine();
    project.run(&["verify", "--definitions", "2"]).fine();
}
