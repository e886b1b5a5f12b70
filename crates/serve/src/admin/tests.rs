//! Questions and answers over a real socket, with an answerer that does what its question says.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lockstep_model::{Error, ErrorKind, EventTime};
use tempfile::TempDir;

use super::*;

fn owner() -> Description {
    Description::new("ingest", "the store", EventTime(7))
}

fn start(dir: &TempDir, answer: impl Fn(&str, &str, &Progress<'_>) -> Result<String, Error> + Send + Sync + 'static) -> Server {
    Server::start(dir.path(), owner(), Arc::new(answer)).unwrap()
}

fn echo(dir: &TempDir) -> Server {
    start(dir, |verb, question, _| Ok(format!("{verb} {question}")))
}

fn ask(dir: &Path, verb: &str, question: &str) -> Result<String, AskError> {
    Client::connect(dir)?.ask(verb, question.to_owned(), &mut |_| {})
}

fn failure(answer: Result<String, AskError>) -> Error {
    match answer {
        Err(AskError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// How long `work` takes.
#[allow(clippy::disallowed_methods, reason = "a bound of a test")]
fn took(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

#[test]
fn an_owner_says_who_it_is_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(&dir);
    let mut client = Client::connect(dir.path()).unwrap();
    assert_eq!(*client.owner(), owner());
    for question in ["1", "größe"] {
        assert_eq!(client.ask("get", question.to_owned(), &mut |_| {}).unwrap(), format!("get {question}"));
    }
    drop(server);
    assert!(matches!(ask(dir.path(), "get", "1"), Err(AskError::Ended { begun: false, .. })));
}

#[test]
fn progress_is_told_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let _server = start(&dir, |_, _, progress| {
        ["one", "two"].iter().try_for_each(|text| progress(text))?;
        Ok("done".to_owned())
    });
    let mut told = Vec::new();
    let answer = Client::connect(dir.path()).unwrap().ask("verify", String::new(), &mut |text| told.push(text.to_owned())).unwrap();
    assert_eq!((told, answer.as_str()), (vec!["one".to_owned(), "two".to_owned()], "done"));
}

#[test]
fn large_questions_and_answers_arrive_whole() {
    let dir = tempfile::tempdir().unwrap();
    let _server = echo(&dir);
    // Its parts end within characters.
    let question = "é".repeat(5 << 20);
    assert_eq!(ask(dir.path(), "get", &question).unwrap(), format!("get {question}"));
    let error = failure(ask(dir.path(), "get", &"x".repeat(QUESTION_BYTES_MAX)));
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.to_string(), "a question of 268435456 bytes is too large to ask · the owner takes 256 MiB · ask in several parts");
}

#[test]
fn errors_arrive_as_they_were() {
    let kinds = [ErrorKind::Invalid, ErrorKind::NotFound, ErrorKind::OutOfRange, ErrorKind::Unavailable, ErrorKind::Data, ErrorKind::Internal];
    let dir = tempfile::tempdir().unwrap();
    let _server = start(&dir, move |_, question, _| Err(Error::new(kinds[question.parse::<usize>().unwrap()], format!("error {question}"))));
    for (at, kind) in kinds.into_iter().enumerate() {
        let error = failure(ask(dir.path(), "get", &at.to_string()));
        assert_eq!((error.kind(), error.to_string()), (kind, format!("error {at}")));
    }
}

#[test]
fn another_protocol_is_refused_by_either_side() {
    let dir = tempfile::tempdir().unwrap();
    let later = Description { protocol: PROTOCOL + 1, release: "9.9.9".to_owned(), ..owner() };
    let _server = Server::start(dir.path(), later.clone(), Arc::new(|_: &str, _: &str, _: &Progress<'_>| Ok(String::new()))).unwrap();
    let error = failure(ask(dir.path(), "get", "1"));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let expected = format!(
        "the store at the store is owned by `lockstep ingest`, process {}, of release 9.9.9, which speaks protocol 2 · this is release {} with protocol 1 · \
         ask with the owner's release, or stop the owner",
        later.pid,
        later_release()
    );
    assert_eq!(error.to_string(), expected);

    let status = client::tests::ask_in_protocol(dir.path(), PROTOCOL).unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::FailedPrecondition, "it is lockstep 9.9.9 and speaks protocol 2, not 1"));
    client::tests::ask_in_protocol(dir.path(), PROTOCOL + 1).unwrap();
}

fn later_release() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[test]
fn no_more_than_eight_are_answered_at_once_and_forty_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (release, released) = channel::<()>();
    let gate = Mutex::new(released);
    let (counted, peak) = (Arc::clone(&now), Arc::clone(&most));
    let _server = start(&dir, move |_, question, _| {
        peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Until the sender is gone.
        let _ = gate.lock().unwrap().recv_timeout(Duration::from_secs(20));
        counted.fetch_sub(1, Ordering::SeqCst);
        Ok(question.to_owned())
    });
    thread::scope(|scope| {
        let asked: Vec<_> = (0..44)
            .map(|number: usize| {
                scope.spawn({
                    let dir = dir.path();
                    move || ask(dir, "get", &number.to_string())
                })
            })
            .collect();
        // All but those that are refused wait by now.
        let refused = || asked.iter().filter(|asked| asked.is_finished()).count();
        for _ in 0..1000 {
            if refused() >= 4 {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(refused(), 4);
        drop(release);
        let mut errors = 0;
        for (number, asked) in asked.into_iter().enumerate() {
            match asked.join().unwrap() {
                Ok(answer) => assert_eq!(answer, number.to_string()),
                refused => {
                    errors += 1;
                    let error = failure(refused);
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    assert!(error.to_string().contains("40 questions are being answered or wait for it · try again later"), "{error}");
                }
            }
        }
        assert_eq!(errors, 4);
    });
    assert_eq!(most.load(Ordering::SeqCst), 8);
}

#[test]
fn garbage_and_silence_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(&dir);
    let socket = place::find(dir.path()).unwrap();
    let connect = || UnixStream::connect(&socket).unwrap();
    let mut garbage: Vec<UnixStream> = Vec::new();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], preface, b"PRI * HTTP", b""] {
        let mut stream = connect();
        stream.write_all(bytes).unwrap();
        garbage.push(stream);
    }
    let mut broken = connect();
    broken.write_all(&[&preface[..], &[0xff; 999]].concat()).unwrap();
    broken.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Refused rather than left waiting.
    broken.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(ask(dir.path(), "get", "1").unwrap(), "get 1");
    // Those that are still open do not keep the owner.
    assert!(took(|| drop(server)) < Duration::from_secs(3));
}

#[test]
fn an_answer_that_panics_is_an_error_to_one() {
    let dir = tempfile::tempdir().unwrap();
    let _server = start(&dir, |_, question, _| match question {
        "panic" => panic!("on purpose"),
        question => Ok(question.to_owned()),
    });
    let error = failure(ask(dir.path(), "get", "panic"));
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().starts_with("the owner failed to answer: "), "{error}");
    assert_eq!(ask(dir.path(), "get", "1").unwrap(), "1");
}

/// An owner that goes on telling of progress until that fails, and then says why.
fn endless(dir: &TempDir) -> (Server, Receiver<String>) {
    let (sender, ended) = channel();
    let server = start(dir, move |_, _, progress| {
        loop {
            if let Err(error) = progress("still at it") {
                sender.send(error.to_string()).unwrap();
                return Err(error);
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    (server, ended)
}

#[test]
fn nobody_works_for_a_client_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, ended) = endless(&dir);
    client::tests::ask_and_leave(dir.path());
    assert_eq!(ended.recv_timeout(Duration::from_secs(10)).unwrap(), "nobody waits for the answer any more");
}

#[test]
fn an_owner_that_ends_cuts_long_work_short() {
    let dir = tempfile::tempdir().unwrap();
    let (server, ended) = endless(&dir);
    thread::scope(|scope| {
        let (begun, has_begun) = channel();
        let path = dir.path();
        let asked = scope.spawn(move || Client::connect(path)?.ask("verify", String::new(), &mut |_| begun.send(()).unwrap()));
        has_begun.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(took(|| drop(server)) < Duration::from_secs(5));
        assert!(matches!(asked.join().unwrap(), Err(AskError::Ended { begun: false, .. })));
    });
    assert_eq!(ended.recv().unwrap(), "the owner of the store is about to end");
}

#[test]
fn an_owner_that_ends_finishes_what_is_nearly_done() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, begun) = channel();
    let server = start(&dir, move |_, _, _| {
        sender.send(()).unwrap();
        thread::sleep(Duration::from_millis(300));
        Ok("x".repeat(5 << 20))
    });
    thread::scope(|scope| {
        let asked = scope.spawn(|| ask(dir.path(), "apply", "1"));
        begun.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(server);
        assert_eq!(asked.join().unwrap().unwrap().len(), 5 << 20);
    });
}
