//! What was served, computed again all the time from where the store stood a moment before: however much came before that.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::project::{Project, wait_for};
use crate::support::Server;
use crate::watched::{edit, get, now, project, push, push_at, serve, signals};

/// Far fewer rows than the store comes to have.
const SETTINGS: &str = "[watch.replay]\nevery = '1 second'\nshare = 1\nevents_max = 300\n[serve.feature_log]\nshare = 1\nroll = '50 milliseconds'";

fn replay(server: &Server) -> Value {
    get(server, "/v1/watch")["reading"]["replay"].clone()
}

fn ask(server: &Server, card: &str, request: usize) {
    let path = format!("/v1/features/card_activity?card={card}&_request_id=r{request}");
    assert_eq!(server.get(&path).0, 200);
}

fn applied(server: &Server, rows: u64) {
    wait_for("rows are applied", || {
        let rows_of = get(server, "/v1/watch")["reading"]["sources"]["payments"]["rows"].clone();
        let all = ["applied", "duplicates", "late", "conflicts", "dead_letters"].map(|name| rows_of[name].as_u64().unwrap_or_default());
        (all.iter().sum::<u64>() >= rows).then_some(())
    });
}

/// A project whose payments may be known late.
fn watched() -> Project {
    let project = project(SETTINGS);
    edit(&project, "feature_defs/payments.sql", "allowed_lateness = '1 hour'", "allowed_lateness = '1 minute'");
    project.run(&["apply"]).fine();
    project.run(&["backfill"]).fine();
    project
}

#[test]
fn a_store_with_more_events_than_are_read_is_audited_for_ever() {
    let project = watched();
    let server = serve(&project);
    // Three times as many as may be read again, in parts, since a round reads what came between two moments.
    for part in 0..9 {
        push(&server, 1000 + part * 100, 100);
        applied(&server, (part as u64 + 1) * 100);
    }
    // The moments of the store that vectors are computed from have gone on meanwhile.
    sleep(Duration::from_secs(3));
    let mut asked = 0;
    for round in 0..5 {
        // Events, some of them twice, with other content, too late, or from the next century; and what is asked in between.
        push(&server, 5000 + round * 10, 10);
        push(&server, 5000 + round * 10, 5);
        push_at(&server, 5005 + round * 10, 2, now() + 7);
        push_at(&server, 6000 + round * 10, 3, now() - 3_600_000_000);
        push_at(&server, 7000 + round * 10, 2, now() + 3_000_000_000_000_000);
        for card in 0..20 {
            ask(&server, &format!("c{card}"), asked);
            asked += 1;
        }
        sleep(Duration::from_millis(300));
    }
    let replayed =
        wait_for("all of it is computed again", || Some(replay(&server)).filter(|replay| replay["vectors"].as_u64() >= Some(asked as u64)));
    assert_eq!((&replayed["differ"], &replayed["not_auditable"], &replayed["why_not"]), (&json!(0), &json!({}), &Value::Null), "{replayed}");
    // From the beginning of its inputs it is the same.
    let audited: Value = serde_json::from_str(&project.run(&["audit", "--json"]).fine()).unwrap();
    assert_eq!((audited["replay"]["vectors"].as_u64(), audited["replay"]["differ"].as_u64()), (Some(asked as u64), Some(0)), "{audited}");
    assert!(signals(&server).iter().all(|(kind, ..)| kind != "replay_differs"));
}

#[test]
fn what_comes_late_is_a_cause_and_what_is_too_much_is_counted_as_not_audited() {
    let project = watched();
    let server = serve(&project);
    sleep(Duration::from_secs(1));
    // Asked about a moment before an event that comes after it was asked.
    let mut request = 0;
    let hindsight = wait_for("something came late", || {
        let before = now() - 2_000_000;
        ask(&server, "c7", request);
        push_at(&server, 8000 + 50 * request as i64 + 7, 1, before);
        request += 1;
        Some(replay(&server)["hindsight"].clone()).filter(|causes| causes.as_object().is_some_and(|causes| !causes.is_empty()))
    });
    assert!(hindsight.as_object().unwrap().keys().all(|cause| ["late", "lag", "unapplied"].contains(&cause.as_str())), "{hindsight}");
    assert_eq!(replay(&server)["differ"], json!(0));
    // More between two moments than may be read: it is told as that, and the next is computed again.
    let lost = wait_for("too much came", || {
        push(&server, 20_000 + 400 * request as i64, 400);
        for _ in 0..5 {
            ask(&server, "c1", request);
            request += 1;
            sleep(Duration::from_millis(20));
        }
        let lost = replay(&server)["not_auditable"].as_object().cloned().unwrap_or_default();
        lost.keys().find(|why| why.ends_with("[watch.replay] events_max is 300")).cloned()
    });
    assert!(lost.contains("rows came since"), "{lost}");
    sleep(Duration::from_secs(3));
    let before = replay(&server)["vectors"].as_u64().unwrap();
    ask(&server, "c1", request + 1);
    wait_for("it goes on", || replay(&server)["vectors"].as_u64().filter(|vectors| *vectors > before));
    assert_eq!(replay(&server)["differ"], json!(0));
}
