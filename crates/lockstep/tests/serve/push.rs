//! Events that are pushed: on the disk once it is answered, and applied like those of any other log.

use std::thread;

use lockstep_client::proto::{PushEventsRequest, PushEventsResponse, RequestColumn, Status};
use lockstep_client::{Column, Request};
use serde_json::{Value, json};
use tonic::Code;

use crate::project::{Project, wait_for};
use crate::support::{Caller, Server};

/// 2024-03-09, in µs.
const NOON: i64 = 1_709_985_600_000_000;

fn payments(first: i64, count: i64, card: &str) -> PushEventsRequest {
    let numbers: Vec<i64> = (first..first + count).collect();
    let column = |name: &str, values: lockstep_client::proto::Values| RequestColumn { name: name.to_owned(), values: Some(values) };
    let rows = numbers.len();
    PushEventsRequest {
        source: "payments".to_owned(),
        columns: vec![
            column("payment_id", numbers.clone().into_values()),
            column("card", vec![card; rows].into_values()),
            column("merchant", vec!["shoes"; rows].into_values()),
            column("country", vec!["DE"; rows].into_values()),
            column("amount", numbers.iter().map(|number| *number as f64 / 8.0).collect::<Vec<_>>().into_values()),
            column("paid_at", numbers.iter().map(|number| NOON + number).collect::<Vec<_>>().into_values()),
        ],
        ..PushEventsRequest::default()
    }
}

fn push(caller: &Caller, request: PushEventsRequest) -> Result<PushEventsResponse, tonic::Status> {
    caller.runtime.block_on(caller.client.raw().push_events(request)).map(tonic::Response::into_inner)
}

/// Payments of a card in the seven days before the tenth of March.
fn count(caller: &Caller, card: &str) -> i64 {
    let request = Request::new("card_activity").only(["payments_7d"]).column("card", [card]).as_of(NOON + 43_200_000_000);
    caller.ask(request).unwrap().feature("payments_7d").unwrap().values::<i64>().unwrap()[0].unwrap()
}

#[test]
fn what_is_pushed_is_applied_once_and_survives_a_kill() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let answered = push(&caller, payments(1000, 5, "new")).unwrap();
    assert_eq!((answered.first_row, answered.next_row), (0, 5));
    wait_for("what was pushed is answered", || (count(&caller, "new") == 5).then_some(()));
    // Again, as if the answer had been lost; and in JSON, one of them as a whole number in a text.
    assert_eq!(push(&caller, payments(1000, 5, "new")).unwrap().first_row, 5);
    let row =
        |id: Value| json!({"payment_id": id, "card": "new", "merchant": "shoes", "country": "DE", "amount": 2.5, "paid_at": "2024-03-09T12:30:00Z"});
    let (status, body) = server.post("/v1/events/payments", &json!({"rows": [row(json!(2000)), row(json!("2001"))]}).to_string());
    assert_eq!((status, body.as_str()), (200, r#"{"first_row":10,"next_row":12}"#));
    wait_for("all of it is answered", || (count(&caller, "new") == 7).then_some(()));
    drop(server);
    let server = Server::start(&project);
    assert_eq!(count(&Caller::new(&server), "new"), 7);
    // The whole of it can be computed again.
    project.run(&["verify"]).fine();
    let status: Value = serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap();
    let source = &status["views"][0]["sources"][0];
    assert_eq!((&source["applied"], &source["duplicates"]), (&json!(67), &json!(5)));
    assert_eq!(server.terminate().status, Some(0));
    project.run(&["verify"]).fine();
}

#[test]
fn what_is_acknowledged_outlives_a_kill_at_any_moment() {
    let project = Project::new();
    let mut acknowledged: Vec<i64> = Vec::new();
    let mut next = 10_000;
    for round in 0..5 {
        let server = Server::start(&project);
        let (url, first) = (server.address.clone(), next);
        let pushers = (0..4).map(|pusher| {
            let url = url.clone();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut taken = Vec::new();
                let Ok(client) = runtime.block_on(lockstep_client::Client::connect(format!("http://{url}"))) else { return taken };
                for number in 0..10_000 {
                    let id = first + number * 4 + pusher;
                    if runtime.block_on(client.raw().push_events(payments(id, 1, "killed"))).is_err() {
                        break;
                    }
                    taken.push(id);
                }
                taken
            })
        });
        let pushers: Vec<_> = pushers.collect();
        thread::sleep(std::time::Duration::from_millis(100 + 90 * round));
        drop(server);
        acknowledged.extend(pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()));
        next += 100_000;
    }
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    // What was being pushed when it was killed may be there, too: at most one of each pusher.
    let least = i64::try_from(acknowledged.len()).unwrap();
    let found = wait_for("everything acknowledged is applied", || Some(count(&caller, "killed")).filter(|count| *count >= least));
    assert!(found <= least + 5 * 4, "{found} of {least}");
    project.run(&["verify"]).fine();
}

#[test]
fn a_heartbeat_moves_what_is_late() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let beat = PushEventsRequest { source: "payments".to_owned(), heartbeat_micros: Some(NOON + 7_200_000_000), ..PushEventsRequest::default() };
    push(&caller, beat).unwrap();
    // Two hours behind, where one is allowed.
    push(&caller, payments(1000, 5, "late")).unwrap();
    let refused = || {
        let status: Value = serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap();
        status["views"][0]["sources"][0]["refused"].as_u64()
    };
    wait_for("they are refused", || (refused() == Some(5)).then_some(()));
    let request = Request::new("card_activity").column("card", ["late"]).as_of(NOON);
    assert_eq!(caller.ask(request).unwrap().feature("payments_7d").unwrap().statuses(), [Status::NotFound]);
    project.run(&["verify"]).fine();
}

#[test]
fn wrong_pushes_say_what_is_wrong_and_leave_nothing() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let good = || payments(1, 2, "c1");
    let without = |name: &str| {
        let columns = good().columns.into_iter().filter(|column| column.name != name).collect();
        PushEventsRequest { columns, ..good() }
    };
    let mut unknown = good();
    unknown.columns[2].name = "merchnat".to_owned();
    let mut shorter = good();
    shorter.columns[1].values = Some(["c1"].into_values());
    let cases = [
        (
            PushEventsRequest { source: "payment".to_owned(), ..good() },
            Code::NotFound,
            "no source named `payment` · there are: payments · did you mean `payments`?",
        ),
        (
            unknown,
            Code::InvalidArgument,
            "source `payments` has no column `merchnat` · columns: payment_id, card, merchant, country, amount, paid_at · did you mean `merchant`?",
        ),
        (shorter, Code::InvalidArgument, "column `card` has 1 values, and others have 2"),
        (without("payment_id"), Code::InvalidArgument, "event 0 has no `payment_id`, which is of the primary key"),
        (without("paid_at"), Code::InvalidArgument, "event 0 has no `paid_at`, which is its time"),
        (
            PushEventsRequest { tombstones: vec![true], ..good() },
            Code::InvalidArgument,
            "1 tombstones are given for 2 events · give one for each, or none",
        ),
        (
            PushEventsRequest {
                heartbeat_micros: Some(i64::MAX),
                ..PushEventsRequest { source: "payments".to_owned(), ..PushEventsRequest::default() }
            },
            Code::InvalidArgument,
            "heartbeat of `payments`: ",
        ),
    ];
    for (request, code, message) in cases {
        let status = push(&caller, request).unwrap_err();
        assert!(status.code() == code && status.message().starts_with(message), "{status:?}");
    }
    for (body, message) in [
        (r#"{"rows": [{}]}"#, "the events have no columns"),
        (r#"{"rows": [{"payment_id": 1, "paid_at": "noon"}]}"#, "column `paid_at`: row 0 has \"noon\""),
        (r#"{"rows": [{"payment_id": 1, "_tombstone": 7}]}"#, "row 0: `_tombstone` is 7 · write true or false"),
        (r#"{"heartbeat": "soon"}"#, "`heartbeat`: "),
    ] {
        let (status, answer) = server.post("/v1/events/payments", body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(status == 400 && answer["message"].as_str().unwrap().starts_with(message), "{body}: {answer}");
    }
    // Nothing of it is in the log: the first that is taken is its first.
    assert_eq!(push(&caller, good()).unwrap().first_row, 0);
    let idle = {
        drop(server);
        Server::start_with(&project, &["--no-ingest"])
    };
    let status = push(&Caller::new(&idle), good()).unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("--no-ingest"), "{status:?}");
}
