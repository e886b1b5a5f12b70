//! Owners that are killed, suspended or replaced; clients that misbehave, or are many.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lockstep_model::EventTime;
use lockstep_serve::admin::{Client, Description, Progress, Server};
use lockstep_store::{Store, StoreOptions};

use crate::support::{Ended, Project, socket_of};

const GET: &[&str] = &["get", "card_activity", "card=c1", "--as-of", "2024-03-08T12:00:00Z"];

/// `n` payments of one card, a second apart.
fn payments(n: usize) -> String {
    let line = |i: usize| {
        let (minute, second) = (i / 60, i % 60);
        format!(
            "{{\"payment_id\":{},\"card\":\"c9\",\"merchant\":\"fuel\",\"country\":\"DE\",\"amount\":1.5,\"paid_at\":\"2024-03-09T10:{minute:02}:{second:02}Z\"}}\n",
            1000 + i
        )
    };
    (0..n).map(line).collect()
}

#[test]
fn a_second_owner_is_refused_and_told_of_the_first() {
    let project = Project::new();
    let owner = project.owner();
    let pid = owner.pid();
    let error = project.run(&["ingest", "--from", "data/new_payments.ndjson"]).error();
    let begin = format!("error: the store at .lockstep/store has an owner already · `lockstep ingest`, process {pid} on ");
    assert!(error.starts_with(&begin) && error.ends_with(" · stop it, or wait until it ends\n"), "{error}");
    // A backfill is the owner's to do.
    assert!(project.run(&["backfill"]).fine().starts_with("nothing to backfill"));
    let described = Client::connect(&project.store()).unwrap();
    let Description { verb, pid: described, store, .. } = described.owner();
    assert_eq!((verb.as_str(), *described, store.as_str()), ("ingest", pid, ".lockstep/store"));
    assert!(owner.finish().fine().starts_with("applied to its end: 0 rows"));
    project.run(&["ingest", "--from", "data/new_payments.ndjson"]).fine();
}

#[test]
fn who_stands_by_takes_over_from_one_that_is_killed_or_ends() {
    let project = Project::new();
    let standby = |project: &Project| {
        let mut command = project.command(&["ingest", "--standby", "--from", "data/new_payments.ndjson"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It says for whom it stands by, and nothing else meanwhile.
        let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        (child, said, line)
    };
    let owner = project.owner();
    let (child, mut said, line) = standby(&project);
    assert!(line.starts_with("standing by: the store at .lockstep/store has an owner already · `lockstep ingest`, process "), "{line}");
    assert!(line.contains(&owner.pid().to_string()));
    owner.kill();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert!(ended.fine().starts_with("applied to its end: "));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("took over"), "{rest}");
    // And one that is told to end before its turn comes leaves without a word.
    let owner = project.owner();
    let (child, ..) = standby(&project);
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(Ended::from(child.wait_with_output().unwrap()).fine(), "");
    assert!(owner.finish().fine().starts_with("applied to its end: 0 rows"));
}

#[test]
fn after_a_kill_the_next_one_owns_the_store() {
    let project = Project::new();
    let alone = project.run(GET).fine();
    let owner = project.owner();
    let socket = socket_of(&project.store()).unwrap();
    owner.kill();
    assert!(socket.exists());
    assert_eq!(project.run(GET).fine(), alone);
    assert!(!socket.exists());
    // And where it is an owner that stays.
    project.owner().kill();
    let _owner = project.owner();
    assert_eq!(project.run(GET).fine(), alone);
}

#[test]
fn a_suspended_owner_is_named() {
    let project = Project::new();
    let owner = project.owner();
    owner.signal("STOP");
    let error = project.run(GET).error();
    owner.signal("CONT");
    let who = format!("`lockstep ingest`, process {} on ", owner.pid());
    let why = " · it does not answer: it does not say who it is · it may be suspended · stop it, or wait until it ends\n";
    assert!(error.contains(&who) && error.ends_with(why), "{error}");
    project.run(GET).fine();
}

#[test]
fn a_long_path_and_a_private_socket() {
    let project = Project::below(&"a-directory-with-a-long-name/".repeat(5));
    let alone = project.run(GET).fine();
    let owner = project.owner();
    let socket = socket_of(&project.store()).unwrap();
    assert!(socket.starts_with(std::env::temp_dir()));
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    assert_eq!(project.run(GET).fine(), alone);
    owner.finish().fine();
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn clients_that_leave_or_talk_nonsense_do_not_disturb() {
    let project = Project::with_much_history();
    let mut owner = project.owner();
    // Left in the middle of its question.
    let mut long = project.command(&["verify", "--values", "5000000"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(150));
    long.kill().unwrap();
    long.wait().unwrap();
    let socket = socket_of(&project.store()).unwrap();
    let mut silent = Vec::new();
    for bytes in [&b"\x00\xff\x00\xffgarbage\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(bytes).unwrap();
        silent.push(stream);
    }
    let mut client = Client::connect(&project.store()).unwrap();
    for (verb, question) in [("get", "{"), ("get", "{}"), ("ingest", "{}"), ("", "")] {
        client.ask(verb, question.to_owned(), &mut |_| {}).unwrap_err();
    }
    owner.feed(&project.new_payments());
    project.run(GET).fine();
    let report = owner.finish().fine();
    assert!(report.starts_with(&format!("applied to its end: {} rows", project.new_payments().lines().count())), "{report}");
    silent[0].read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn sixteen_clients_while_ingesting() {
    let project = Project::new();
    let alone = project.run(GET).fine();
    let mut owner = project.owner();
    let log = payments(3000);
    thread::scope(|scope| {
        let ask = || (0..4).map(|_| project.run(GET)).collect::<Vec<Ended>>();
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        for lines in log.lines().collect::<Vec<_>>().chunks(100) {
            owner.feed(&(lines.join("\n") + "\n"));
        }
        let answers = clients.into_iter().flat_map(|client| client.join().unwrap());
        assert!(answers.map(Ended::fine).all(|answer| answer == alone));
    });
    assert!(owner.finish().fine().starts_with("applied to its end: 3000 rows"));
    let count = project.run(&["get", "card_activity", "card=c9", "--as-of", "2024-03-09T11:00:00Z"]).fine();
    assert!(count.contains("3000"), "{count}");
}

#[test]
fn sixteen_without_an_owner_answer_each_other() {
    let project = Project::new();
    let alone = project.run(GET).fine();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(|| project.run(GET))).collect();
        assert!(clients.into_iter().map(|client| client.join().unwrap().fine()).all(|answer| answer == alone));
    });
}

#[test]
fn questions_do_not_keep_an_ingester_out() {
    let project = Project::new();
    thread::scope(|scope| {
        let ask = || (0..6).map(|_| project.run(GET)).collect::<Vec<Ended>>();
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        for _ in 0..3 {
            project.run(&["ingest", "--from", "data/new_payments.ndjson"]).fine();
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).for_each(|ended| drop(ended.fine()));
    });
}

#[test]
fn an_owner_that_is_told_to_end_does_not_wait_for_long_questions() {
    let project = Project::with_much_history();
    let mut owner = project.owner();
    let mut long = project.command(&["verify", "--values", "5000000"]);
    let long = long.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(100));
    owner.signal("TERM");
    // It looks at the signal once it has a batch.
    owner.feed(&payments(1));
    let ended = owner.wait();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // Who asked goes on by itself.
    let verified = Ended::from(long.wait_with_output().unwrap());
    assert!(verified.status == Some(0) || verified.err.contains("standard input cannot be read again"), "{verified:?}");
}

#[test]
fn who_asks_goes_on_alone_where_the_owner_is_killed() {
    let project = Project::with_much_history();
    let verify = &["verify", "--values", "100000", "--json"];
    let alone = project.run(verify).fine();
    let owner = project.owner();
    let asked = project.command(verify).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    owner.kill();
    assert_eq!(Ended::from(asked.wait_with_output().unwrap()).fine(), alone);
}

#[test]
fn an_owner_of_another_release_is_named() {
    let project = Project::new();
    let store = Store::open(project.store(), StoreOptions::new("ingest")).unwrap();
    let owner = Description { protocol: 99, release: "9.9.9".to_owned(), ..Description::new("ingest", "the store", EventTime(0)) };
    let answer = |_: &str, _: &str, _: &Progress<'_>| Ok("{}".to_owned());
    let server = Server::start(&project.store(), owner.clone(), Arc::new(answer)).unwrap();
    let pid = std::process::id();
    let expected = format!(
        "error: the store at the store is owned by `lockstep ingest`, process {pid}, of release 9.9.9, which speaks protocol 99 · this is release {} with protocol 1 · \
         ask with the owner's release, or stop the owner\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(project.run(GET).error(), expected);

    // The same protocol, and an answer that is none.
    drop(server);
    let owner = Description { protocol: lockstep_serve::admin::PROTOCOL, ..owner };
    let server = Server::start(&project.store(), owner, Arc::new(answer)).unwrap();
    let error = project.run(GET).error();
    assert!(error.starts_with("error: the owner's answer cannot be read · "), "{error}");
    drop(server);
    drop(store);
    project.run(GET).fine();
}

#[test]
fn an_owner_without_a_socket_is_named() {
    let project = Project::new();
    let store = Store::open(project.store(), StoreOptions::new("ingest")).unwrap();
    let error = project.run(GET).error();
    assert!(error.contains(&format!("`lockstep ingest`, process {} on ", std::process::id())), "{error}");
    assert!(error.contains(" · it does not answer: "), "{error}");
    drop(store);
}
