//! Publishing predictions, cut short at each step: readers see one run or the other, and the same command goes on.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::predictions::{CARDS, PUBLISH, expected, project, publish, runs, served, spine, states};
use crate::project::wait_for;
use crate::support::{Caller, Server};

/// At each step of publishing a second run: which of the two serves then.
const STEPS: [(&str, usize); 9] = [
    ("run.written", 0),
    ("run.named", 0),
    ("sst.write", 0),
    ("sst.before_ingest:3", 0),
    ("sst.inside_ingest", 0),
    ("sst.after_ingest:2", 0),
    ("publish.before", 0),
    ("publish.after", 1),
    ("run.published", 1),
];

#[test]
fn a_run_that_is_cut_short_changes_nothing_for_readers_and_goes_on() {
    let whole = project();
    spine(&whole, CARDS, 0);
    let first = expected(&whole, "first");
    publish(&whole, &[]).fine();
    spine(&whole, CARDS, 50);
    let second = expected(&whole, "second");
    for (plan, left) in STEPS {
        let project = whole.copy();
        let ended = project.command(&PUBLISH).env("LOCKSTEP_CRASH", plan).output().unwrap();
        assert_eq!(ended.status.code(), None, "{plan} does not crash: {}", String::from_utf8_lossy(&ended.stderr));
        // Readers see one of them, whole.
        let server = Server::start(&project);
        let caller = Caller::new(&server);
        assert_eq!(served(&caller, CARDS), [&first, &second][left].clone(), "{plan}");
        // The same command goes on, beside the server.
        let said = publish(&project, &[]).fine();
        assert_eq!(said.contains("nothing to publish"), left == 1, "{plan}: {said}");
        assert_eq!(served(&caller, CARDS), second, "{plan}");
        assert_eq!(runs(&project, "card_risk"), states(&[(1, "kept"), (2, "serves")]), "{plan}");
    }
    publish(&whole, &[]).fine();
    for (plan, left) in [("takeback.before", 1), ("takeback.after", 0)] {
        let project = whole.copy();
        let ended = project.command(&["predictions", "rollback", "card_risk"]).env("LOCKSTEP_CRASH", plan).output().unwrap();
        assert_eq!(ended.status.code(), None, "{plan} does not crash");
        assert_eq!(served(&Caller::new(&Server::start(&project)), CARDS), [&first, &second][left].clone(), "{plan}");
    }
}

#[test]
fn a_run_that_is_killed_beside_a_server_changes_nothing() {
    let project = project();
    spine(&project, CARDS, 0);
    let first = expected(&project, "first");
    publish(&project, &[]).fine();
    let server = Server::start(&project);
    let caller = Caller::new(&server);
    spine(&project, CARDS, 50);
    let second = expected(&project, "second");
    let mut killed = 0;
    for millis in [20, 80, 160, 320, 640] {
        let mut child = project.command(&PUBLISH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(millis));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        let seen = served(&caller, CARDS);
        assert!(seen == first || seen == second, "a part of a run is visible after {millis} ms");
        if seen == second {
            break;
        }
    }
    assert!(killed > 0, "no run was killed");
    publish(&project, &[]).fine();
    assert_eq!(served(&caller, CARDS), second);
}

#[test]
fn the_owner_is_killed_while_it_publishes() {
    let project = project();
    spine(&project, CARDS, 0);
    let first = expected(&project, "first");
    publish(&project, &[]).fine();
    spine(&project, CARDS, 50);
    let second = expected(&project, "second");
    // A server that ends the hard way between filling the generation and moving on to it.
    let mut child =
        project.command(&["serve", "--listen", "127.0.0.1:0"]).env("LOCKSTEP_CRASH", "publish.before").stderr(Stdio::null()).spawn().unwrap();
    wait_for("the server owns the store", || lockstep_store::read_owner(&project.store()).filter(|owner| owner.pid == child.id()));
    // Who asks owns the store once the server is gone, and does it.
    let said = publish(&project, &[]);
    child.wait().unwrap();
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(served(&Caller::new(&Server::start(&project)), CARDS), second);
    assert_ne!(first, second);
}
