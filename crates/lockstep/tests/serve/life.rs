//! A server's life: beside it every verb works, it ends without cutting anybody off, and begins again where it was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lockstep_client::Request;

use crate::project::{Project, wait_for};
use crate::support::{AT, AT_MICROS, Caller, Server, timeless};

fn all_cards() -> Request {
    Request::new("card_activity").column("card", ["c1", "c2", "c3", "nobody"]).as_of(AT_MICROS)
}

#[test]
fn it_ends_when_asked_to_and_answers_what_it_has() {
    let project = Project::new();
    let server = Server::start(&project);
    let url = server.url();
    let end = AtomicBool::new(false);
    // Callers that never stop asking: each request is answered, or finds nobody.
    let (answered, failed) = thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let caller = Caller::new(&server);
                    let (mut answered, mut failed) = (0, Vec::new());
                    while failed.len() < 3 && !end.load(Ordering::Relaxed) {
                        match caller.ask(all_cards()) {
                            Ok(answer) => {
                                assert_eq!(answer.0.rows, 4);
                                answered += 1;
                            }
                            Err(status) => failed.push(status),
                        }
                    }
                    (answered, failed)
                })
            })
            .collect();
        thread::sleep(std::time::Duration::from_millis(300));
        server.signal("TERM");
        wait_for("the port is free", || std::net::TcpStream::connect(url.trim_start_matches("http://")).is_err().then_some(()));
        thread::sleep(std::time::Duration::from_millis(300));
        end.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        let failed: Vec<tonic::Status> = outcomes.iter().flat_map(|(_, failed)| failed.clone()).collect();
        (outcomes.iter().map(|(answered, _)| answered).sum::<u32>(), failed)
    });
    assert!(answered > 10, "{answered}");
    // Nobody was cut off in the midst: what failed had found nobody. What was handed to a connection that closed before it was sent is called cancelled.
    for status in failed {
        let is_unsent = status.code() == tonic::Code::Cancelled && format!("{status:?}").contains("connection closed");
        assert!(matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Unknown) || is_unsent, "{status:?}");
    }
}

#[test]
fn it_says_how_it_ended() {
    let project = Project::new();
    let server = Server::start(&project);
    let ended = server.terminate();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // The store is nobody's again.
    project.run(&["get", "card_activity", "card=c1", "--as-of", AT]).fine();
    project.run(&["backfill"]).fine();
}

#[test]
fn killed_it_begins_again_with_the_same_answers() {
    let project = Project::new();
    let before = {
        let server = Server::start(&project);
        timeless(Caller::new(&server).ask(all_cards()).unwrap())
        // Dropped: killed.
    };
    let server = Server::start(&project);
    assert_eq!(timeless(Caller::new(&server).ask(all_cards()).unwrap()), before);
}

#[test]
fn a_second_server_is_refused_and_a_standby_takes_over() {
    let project = Project::new();
    let first = Server::start(&project);
    let refused = project.run(&["serve", "--listen", "127.0.0.1:0"]).error();
    assert!(refused.contains("lockstep serve") && refused.contains(&first.pid().to_string()), "{refused}");
    let second = thread::scope(|scope| {
        let standby = scope.spawn(|| Server::start_with(&project, &["--standby"]));
        thread::sleep(std::time::Duration::from_millis(500));
        assert!(!standby.is_finished());
        drop(first);
        standby.join().unwrap()
    });
    assert_eq!(Caller::new(&second).ask(all_cards()).unwrap().0.rows, 4);
}

#[test]
fn a_disk_that_does_not_answer_keeps_nobody_from_ending() {
    let project = Project::new();
    let config = project.dir.join("lockstep.toml");
    let settings = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{settings}\n[serve]\ndrain = '1 second'\n")).unwrap();
    let server = Server::given(&project, &[], &[("LOCKSTEP_CRASH", "commit.before:1:stall")]);
    let push =
        r#"{"rows": [{"payment_id": 901, "card": "c9", "merchant": "shoes", "country": "DE", "amount": 3.5, "paid_at": "2024-03-08T11:00:00Z"}]}"#;
    let (status, said) = server.post("/v1/events/payments", push);
    assert_eq!(status, 200, "{said}");
    thread::sleep(std::time::Duration::from_millis(500));
    let ended = server.terminate();
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.err.contains("not ended within 11 s: a disk, or a file or topic that rows go to, does not answer"), "{}", ended.err);
    // What was acknowledged is there.
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    wait_for("the payment", || {
        let answer = caller.ask(Request::new("card_activity").column("card", ["c9"]).as_of(AT_MICROS)).unwrap();
        (answer.feature("payments_7d").unwrap().values::<i64>().unwrap() == [Some(1)]).then_some(())
    });
}

#[test]
fn nothing_published_is_said() {
    let project = Project::below("empty");
    std::fs::remove_dir_all(project.store()).unwrap();
    let refused = project.run(&["serve"]).error();
    assert!(refused.contains("run `lockstep apply`"), "{refused}");
    project.run(&["apply"]).fine();
    let refused = project.run(&["serve", "--listen", "127.0.0.1:0"]).error();
    assert!(refused.contains("no view has published state"), "{refused}");
}
