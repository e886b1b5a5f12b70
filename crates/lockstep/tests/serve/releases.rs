//! Promotions and rollbacks beside callers: every answer is of one release, and of the one that it names.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lockstep_client::proto::{GetFeaturesRequest, GetFeaturesResponse};
use lockstep_client::{Answer, Request};

use crate::project::{Project, wait_for};
use crate::support::{AT_MICROS, Caller, Server, timeless};

const CARDS: [&str; 4] = ["c1", "c2", "c3", "nobody"];

fn fraud() -> Request {
    let amounts = vec![Some(10.0), Some(0.5), None, Some(2.0)];
    Request::new("fraud_v1").column("card", CARDS).column("amount", amounts).column("country", ["DE", "FR", "US", "DE"]).as_of(AT_MICROS)
}

/// A project in which two versions of a view are filled, and the first is promoted.
fn two_versions() -> Project {
    let project = Project::new();
    project.run(&["release", "promote", "--reason", "the first", "--by", "a test"]).fine();
    edit(&project, "card_activity", "avg(amount)                            OVER d7", "avg(amount + 1)                        OVER d7");
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    project
}

/// Replaces a text in a definition, where it must be.
fn edit(project: &Project, definition: &str, old: &str, new: &str) {
    let path = project.dir.join(format!("feature_defs/{definition}.sql"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(&path, text.replace(old, new)).unwrap();
}

/// How often the pointer is moved: 200 times with `LOCKSTEP_TEST_EFFORT=5`.
fn moves() -> u64 {
    40 * std::env::var("LOCKSTEP_TEST_EFFORT").ok().and_then(|effort| effort.parse::<u64>().ok()).unwrap_or(1)
}

/// An answer without what names the release.
fn nameless(answer: Answer) -> GetFeaturesResponse {
    GetFeaturesResponse { release: 0, epoch: 0, ..timeless(answer) }
}

#[test]
fn answers_are_of_one_release_while_the_pointer_moves() {
    let project = two_versions();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let pinned = |definitions| {
        let request = GetFeaturesRequest { definitions: Some(definitions), ..fraud().into_message() };
        nameless(Answer(caller.runtime.block_on(caller.client.raw().get_features(request)).unwrap().into_inner()))
    };
    let expected = [pinned(1), pinned(2)];
    assert_ne!(expected[0].features, expected[1].features);
    // Which definitions an epoch serves, once its move is known to be made.
    let moved: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::from([(1, 1)]));
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let caller = Caller::new(&server);
                    let (mut last, mut seen) = (0, Vec::new());
                    while !end.load(Ordering::Relaxed) {
                        let answer = caller.ask(fraud()).expect("an answer while the pointer moves");
                        let (epoch, release, definitions) = (answer.0.epoch, answer.0.release, answer.0.definitions);
                        assert!(epoch >= last && epoch > 0, "epoch {epoch} after {last}");
                        last = epoch;
                        let answer = nameless(answer);
                        assert_eq!(answer, expected[definitions as usize - 1], "epoch {epoch}, release {release}");
                        seen.push((epoch, definitions));
                    }
                    seen.dedup();
                    seen
                })
            })
            .collect();
        for at in 0..moves() / 2 {
            let promote = ["--server", &server.url(), "release", "promote", "--force", "--json"].map(str::to_owned);
            let back = ["--server", &server.url(), "release", "rollback", "--json"].map(str::to_owned);
            for (args, definitions) in [(&promote[..], 2), (&back[..], 1)] {
                let said = project.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).fine();
                let said: serde_json::Value = serde_json::from_str(&said).unwrap();
                let epoch = said.get("switched").unwrap_or(&said)["epoch"].as_u64().unwrap();
                assert_eq!(epoch, 2 * at + 2 + u64::from(definitions == 1));
                moved.lock().unwrap().insert(epoch, definitions);
                // Whoever was told sees it at once.
                let request = GetFeaturesRequest { min_epoch: Some(epoch), ..fraud().into_message() };
                let answered = caller.runtime.block_on(caller.client.raw().get_features(request)).unwrap().into_inner();
                assert_eq!((answered.epoch, answered.definitions), (epoch, definitions));
            }
        }
        end.store(true, Ordering::Relaxed);
        let moved = moved.lock().unwrap();
        let mut epochs = 0;
        for caller in callers {
            let seen = caller.join().unwrap();
            epochs += seen.len();
            for (epoch, definitions) in seen {
                assert_eq!(moved.get(&epoch), Some(&definitions), "epoch {epoch}");
            }
        }
        assert!(epochs > 10, "callers saw {epochs} epochs");
    });
    let refused =
        caller.runtime.block_on(caller.client.raw().get_features(GetFeaturesRequest { min_epoch: Some(moves() + 2), ..fraud().into_message() }));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().starts_with(&format!("what serves here has epoch {}, and epoch {}", moves() + 1, moves() + 2)), "{refused}");
}

#[test]
fn the_pointer_decides_and_outlives_the_server() {
    let project = two_versions();
    for _ in 0..2 {
        let server = Server::start(&project);
        let answer = Caller::new(&server).ask(fraud()).unwrap().0;
        assert_eq!((answer.release, answer.epoch, answer.definitions, answer.reads[0].version), (1, 1, 1, 1));
        let (status, body) = server.post("/v1/features", r#"{"name":"fraud_v1","rows":[{"card":"c1","amount":1,"country":"DE"}]}"#);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["release"].as_u64(), body["epoch"].as_u64()), (200, Some(1), Some(1)), "{body}");
        // Killed here.
    }
    // Without a server, and beside one that is told nothing of it, what is looked up is what serves.
    let got = || project.run(&["get", "fraud_v1", "card=c1", "amount=1", "country=DE", "--as-of", crate::support::AT]).fine();
    let before = got();
    project.run(&["release", "promote"]).fine();
    assert_ne!(got(), before);
    project.run(&["release", "rollback"]).fine();
    assert_eq!(got(), before);
    let refused = project.run(&["drop", "card_activity@1"]).error();
    assert!(refused.contains("served by release 1"), "{refused}");
}

#[test]
fn a_candidate_that_lost_its_entities_is_not_promoted() {
    let project = two_versions();
    edit(&project, "card_activity", "WHERE amount > 0", "WHERE amount > 1000000");
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    let validated = project.run(&["release", "validate"]);
    assert_eq!(validated.status, Some(1));
    let promoted = project.run(&["release", "promote"]);
    assert_eq!(promoted.status, Some(1));
    assert!(promoted.out.contains("not promoted:") && promoted.out.contains("fewer entities"), "{}", promoted.out);
    assert!(!project.run(&["release", "list"]).fine().contains("forced"));
    project.run(&["release", "promote", "--force", "--reason", "the shop is closed", "--by", "a test"]).fine();
    let list = project.run(&["release", "list"]).fine();
    assert!(list.contains("by a test · forced · the shop is closed"), "{list}");
    let shown: serde_json::Value = serde_json::from_str(&project.run(&["release", "show", "--json"]).fine()).unwrap();
    assert_eq!((shown["release"].as_u64(), shown["validation"]["passed"].as_bool()), (Some(2), Some(false)));
}

#[test]
fn what_serves_already_is_not_promoted_again_and_the_first_has_none_before_it() {
    let project = two_versions();
    let refused = project.run(&["release", "promote", "--set", "1"]).error();
    assert!(refused.contains("definitions number 1 serve already, as release 1"), "{refused}");
    let refused = project.run(&["release", "rollback"]).error();
    assert!(refused.contains("release 1 is the first: there is none to go back to"), "{refused}");
    let refused = project.run(&["release", "rollback", "7"]).error();
    assert!(refused.contains("the store has no release 7 · there are: 1"), "{refused}");
    let refused = project.run(&["release", "promote", "--set", "9"]).error();
    assert!(refused.contains("no definitions number 9 were applied · the newest are number 2"), "{refused}");
}

#[test]
fn a_release_that_answers_with_errors_is_taken_back() {
    let project = Project::new();
    let settings = project.dir.join("lockstep.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}\n[releases.watch]\nvalues_min = 20\nerror_rate = 0.05\n")).unwrap();
    project.run(&["release", "promote"]).fine();
    // The whole number 0 divides in every row: an error in every value.
    edit(&project, "fraud_v1", "AS other_country", "AS other_country, 1 / (a.payments_1h * 0) AS broken");
    project.run(&["apply"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let release = || caller.ask(fraud()).unwrap().0.release;
    assert_eq!(release(), 1);
    project.run(&["--server", &server.url(), "release", "promote"]).fine();
    assert_eq!(release(), 2);
    wait_for("the release is taken back", || {
        thread::sleep(Duration::from_millis(20));
        (release() == 1).then_some(())
    });
    let list = project.run(&["--server", &server.url(), "release", "list"]).fine();
    assert!(list.contains("by itself") && list.contains("are errors, and at most 5.00 % may be"), "{list}");
}

/// A server of a project whose second version is promoted, and watched for drift; how many cards are asked for at once is what is compared of a request.
fn promoted_with(average: &str) -> (Project, Server) {
    let project = Project::with_much_history();
    let settings = project.dir.join("lockstep.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let limits = "[releases.validate]\ndrift_max = 1000\n[releases.watch]\nvalues_min = 600\ndrift_max = 0.25\n";
    fs::write(&settings, format!("{text}\n{limits}")).unwrap();
    project.run(&["release", "promote"]).fine();
    edit(&project, "card_activity", "avg(amount)                            OVER d7", average);
    for verb in ["apply", "backfill"] {
        project.run(&[verb]).fine();
    }
    let server = Server::start_with(&project, &["--verbose"]);
    project.run(&["--server", &server.url(), "release", "promote"]).fine();
    (project, server)
}

fn cards_of_history() -> Request {
    Request::new("card_activity").column("card", (0..30).map(|n| format!("c{n}")).collect::<Vec<_>>()).as_of(AT_MICROS)
}

#[test]
fn a_release_that_doubles_a_feature_is_taken_back() {
    let (project, server) = promoted_with("2 * avg(amount) OVER d7");
    let caller = Caller::new(&server);
    assert_eq!(caller.ask(cards_of_history()).unwrap().0.release, 2);
    wait_for("the release is taken back", || (caller.ask(cards_of_history()).unwrap().0.release == 1).then_some(()));
    let list = project.run(&["--server", &server.url(), "release", "list"]).fine();
    assert!(list.contains("by itself") && list.contains("of `card_activity` has moved by") && list.contains("from what release 1 answers"), "{list}");
}

#[test]
fn a_release_that_answers_the_same_stays() {
    let (_project, server) = promoted_with("avg(amount + 0) OVER d7");
    let caller = Caller::new(&server);
    for _ in 0..400 {
        assert_eq!(caller.ask(cards_of_history()).unwrap().0.release, 2);
        thread::sleep(Duration::from_millis(10));
    }
    drop(caller);
    let said = server.terminate().err;
    assert!(said.contains("compared with the release before") && said.contains("has moved most, by 0.000"), "{said}");
}

#[test]
fn a_snapshot_answers_the_same_whatever_comes_later() {
    let project = Project::new();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let url = server.url();
    project.run(&["--server", &url, "snapshot", "create", "before", "--reason", "a test"]).fine();
    let cards = || Request::new("card_activity").column("card", CARDS);
    let pinned = || timeless(caller.ask(cards().snapshot("before")).unwrap());
    let (first, live) = (pinned(), timeless(caller.ask(cards().as_of(AT_MICROS)).unwrap()));
    assert_eq!((first.snapshot.as_str(), live.snapshot.as_str()), ("before", ""));

    // An event of the past, which counts in what is live, and another version, which serves.
    let event = r#"{"rows":[{"payment_id":900,"card":"c1","merchant":"m","country":"DE","amount":7.5,"paid_at":"2024-03-08T11:59:00Z"}]}"#;
    assert_eq!(server.post("/v1/events/payments", event).0, 200);
    wait_for("the event is applied", || (timeless(caller.ask(cards().as_of(AT_MICROS)).unwrap()).features != live.features).then_some(()));
    assert_eq!(pinned(), first);
    edit(&project, "card_activity", "avg(amount)                            OVER d7", "avg(amount + 1)                        OVER d7");
    project.run(&["--server", &url, "apply"]).fine();
    assert_eq!(pinned(), first);

    // The same over HTTP, and as `get` reads it.
    let (status, body) = server.get("/v1/features/card_activity?card=c1&_snapshot=before");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body["snapshot"].as_str()), (200, Some("before")), "{body}");
    let got = project.run(&["--server", &url, "get", "card_activity", "card=c1", "--snapshot", "before", "--json"]).fine();
    let got: serde_json::Value = serde_json::from_str(&got).unwrap();
    for (number, feature) in got["features"].as_array().unwrap().iter().enumerate() {
        let served = &body["features"][number];
        assert_eq!((&served["name"], &served["statuses"][0]), (&feature["name"], &feature["status"]));
        let value = served["values"][0].as_str().map_or_else(|| served["values"][0].to_string(), str::to_owned);
        assert_eq!(value, feature["value"].as_str().unwrap_or("null"), "{}", served["name"]);
    }

    let (code, message) = caller.refused(cards().snapshot("before").as_of(AT_MICROS + 1_000_000_000_000));
    assert_eq!(code, tonic::Code::OutOfRange, "{message}");
    let (code, message) = caller.refused(cards().snapshot("after"));
    assert_eq!(code, tonic::Code::NotFound, "{message}");
    // Damage is noticed when it is opened, named, and nobody else's.
    drop(caller);
    server.terminate();
    let dir = project.store().join("snapshots/before/db");
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sst"));
    let file = files.first().expect("a file of the snapshot");
    // A link to the store's own file: a copy takes its place first.
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
    project.run(&["backfill"]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    let (code, message) = caller.refused(cards().snapshot("before"));
    assert_eq!(code, tonic::Code::DataLoss, "{message}");
    assert!(message.contains(file.file_name().unwrap().to_str().unwrap()), "{message}");
    assert_eq!(caller.ask(cards().as_of(AT_MICROS)).unwrap().0.rows, 4);
}
