//! A server that is killed under load and begun again: whoever stands before it is answered by warm models or not at all.

use std::error::Error;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lockstep_client::proto::Way;

use crate::project::wait_for;
use crate::scoring::{CARDS, amounts, bits, project, rows};
use crate::support::{Caller, Server};

const CALLERS: usize = 4;
const RESTARTS: usize = 3;
/// Answers that each server is to give before it is killed.
const ANSWERS: usize = 40;

/// An address that nobody has, and none whose port a caller may be given for itself while it tries to connect.
fn address() -> String {
    let address = (20_000..30_000).map(|port| format!("127.0.0.1:{port}")).find(|address| TcpListener::bind(address).is_ok());
    address.expect("a port that is free")
}

/// Tells callers to end, whatever comes.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_is_answered_is_answered_by_warm_models() {
    let (project, address) = (project(), address());
    let start = || Server::start_with(&project, &["--listen", &address]);
    let mut server = Some(start());
    let request = || rows("fraud", &CARDS, amounts(CARDS.len()));
    let wanted = bits(&Caller::at(&format!("http://{address}")).unwrap().score(request()).unwrap());
    let (end, answered, turned_away) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let call = || {
        while !end.load(Ordering::Relaxed) {
            // There may be nobody to connect to.
            let Some(caller) = Caller::at(&format!("http://{address}")) else {
                turned_away.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            while !end.load(Ordering::Relaxed) {
                match caller.score(request()) {
                    Ok(scores) => {
                        assert_eq!((scores.ways(), bits(&scores)), (vec![Way::Model; CARDS.len()], wanted.clone()));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    // A connection that broke is no answer: what a server says has no cause in this process.
                    Err(status) if status.source().is_some() => break,
                    Err(status) => panic!("{status}"),
                }
            }
        }
    };
    thread::scope(|scope| {
        // Also where what follows fails.
        let _ends = Ends(&end);
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        for _ in 0..RESTARTS {
            let enough = answered.load(Ordering::Relaxed) + ANSWERS;
            let has_failed = || callers.iter().any(thread::ScopedJoinHandle::is_finished);
            wait_for("answers", || (answered.load(Ordering::Relaxed) >= enough || has_failed()).then_some(()));
            drop(server.take());
            let again = server.insert(start());
            let (_, text) = again.get("/metrics");
            assert!(text.contains("lockstep_model_threads{deployment=\"fraud\",step=\"fraud_trees\",model=\"fraud_trees\"} 2\n"), "{text}");
        }
    });
    assert!(turned_away.load(Ordering::Relaxed) > 0, "callers stood before it while there was none");
}
