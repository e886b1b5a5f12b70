//! The owner's side: a thread that listens, and a few that answer.

use std::cell::Cell;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use lockstep_client::proto::admin_server::{Admin as AdminService, AdminServer};
use lockstep_client::proto::ask_reply::Reply;
use lockstep_client::proto::{self, AskReply};
use lockstep_model::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, async_trait};

use super::place::Place;
use super::{Description, PART_BYTES, Progress, QUESTION_BYTES_MAX};
use crate::server::{Granted, Role};

/// Questions that are answered at once; each has a thread of its own.
const ANSWERED_AT_ONCE: usize = 8;
/// Questions there may be: those being answered, those that wait for it, and those whose answer is being read.
const QUESTIONS_MAX: u32 = 40;
/// As the main thread has: definitions are compiled on these threads, too.
const STACK_BYTES: usize = 8 << 20;
/// How long an owner that ends goes on for the questions it has.
const FINISHED_WITHIN: Duration = Duration::from_secs(10);
/// How long it then waits for what is on its way.
const FLUSHED_WITHIN: Duration = Duration::from_millis(500);
/// How long a connection that cannot be taken, such as for too many open files, keeps the next ones waiting.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Pieces of progress that wait to be read; more are left out.
const PROGRESS_MAX: usize = 16;

/// Answers a question to a verb, both as JSON; called from several threads at once.
pub type Answer = dyn Fn(&str, &str, &Progress<'_>) -> Result<String, Error> + Send + Sync;

/// Answers the questions of other processes for as long as it lives. Dropping it refuses what was not begun, waits for what was, and removes the socket.
#[derive(Debug)]
pub struct Server {
    place: Option<Place>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Listens at the socket of the store at `store`, which this process must own.
    ///
    /// # Errors
    /// Unavailable where no socket can be made, or no thread.
    pub fn start(store: &Path, owner: Description, answer: Arc<Answer>) -> Result<Server, Error> {
        let failed = |error: io::Error| Error::unavailable(format!("listen for questions about {}: {error}", store.display())).caused_by(error);
        let (place, listener) = Place::bind(store).map_err(failed)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(ANSWERED_AT_ONCE)
            .thread_stack_size(STACK_BYTES)
            .thread_name("answer")
            .build()
            .map_err(failed)?;
        let (end, ended) = oneshot::channel();
        let run = move || run(&runtime, listener, Desk::new(owner, answer), ended);
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(run).map_err(failed)?;
        Ok(Server { place: Some(place), end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First, so that whoever comes now finds nobody and tries again.
        self.place = None;
        self.end = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that listens for questions panicked");
        }
    }
}

/// The same for callers elsewhere: a service of a server that is reached over the network, where who is allowed what is checked.
pub struct Admin {
    desk: Desk,
}

impl Admin {
    /// Answers for `owner`; `writes` says of a verb whether it changes the store.
    pub fn new(owner: Description, answer: Arc<Answer>, writes: fn(&str) -> bool) -> Admin {
        Admin { desk: Desk { writes, ..Desk::new(owner, answer) } }
    }

    pub(crate) fn over_tcp(self) -> AdminServer<impl AdminService> {
        AdminServer::new(self.desk).max_decoding_message_size(QUESTION_BYTES_MAX)
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("owner", &self.desk.owner).finish_non_exhaustive()
    }
}

/// Serves until `ended`. Answers that are being made then keep the runtime from going, and with it what they read.
fn run(runtime: &Runtime, listener: StdListener, desk: Desk, ended: oneshot::Receiver<()>) {
    let outcome = runtime.block_on(async {
        let listener = UnixListener::from_std(listener)?;
        let (questions, ending) = (Arc::clone(&desk.questions), Arc::clone(&desk.ending));
        let (close, closed) = oneshot::channel::<()>();
        let admin = AdminServer::new(desk).max_decoding_message_size(QUESTION_BYTES_MAX);
        let router = tonic::transport::Server::builder().add_service(admin);
        let serving = tokio::spawn(serve(router, listener, closed));
        // Both tell by being dropped.
        let _ = ended.await;
        ending.store(true, Ordering::Relaxed);
        let _ = timeout(FINISHED_WITHIN, questions.acquire_many(QUESTIONS_MAX)).await;
        drop(close);
        // Connections that were begun and say nothing are cut off.
        let _ = timeout(FLUSHED_WITHIN, serving).await;
        io::Result::Ok(())
    });
    if let Err(error) = outcome {
        tracing::error!(%error, "listen for questions");
    }
}

async fn serve(router: Router, listener: UnixListener, closed: oneshot::Receiver<()>) {
    let closed = async {
        let _ = closed.await;
    };
    if let Err(error) = router.serve_with_incoming_shutdown(connections(listener), closed).await {
        tracing::error!(%error, "serve questions");
    }
}

/// Connections as they come. One that cannot be taken does not end the others.
fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => return Some((Ok(connection), listener)),
                Err(error) => tracing::warn!(%error, "take a connection"),
            }
            sleep(ACCEPT_AGAIN).await;
        }
    })
}

/// Where questions come in.
struct Desk {
    owner: Description,
    answer: Arc<Answer>,
    questions: Arc<Semaphore>,
    ending: Arc<AtomicBool>,
    /// Whether a verb changes the store.
    writes: fn(&str) -> bool,
}

impl Desk {
    /// For the socket, which only its owner's user can reach.
    fn new(owner: Description, answer: Arc<Answer>) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS_MAX as usize));
        Desk { owner, answer, questions, ending: Arc::default(), writes: |_| false }
    }

    /// Refuses a change by who may only read. Where nobody was asked who they are, everybody may.
    fn check(&self, granted: Option<&Granted>, verb: &str) -> Result<(), Status> {
        match granted {
            Some(Granted(role)) if *role < Role::Admin && (self.writes)(verb) => {
                let role = format!("{role:?}").to_lowercase();
                Err(Status::permission_denied(format!(
                    "`lockstep {verb}` changes the store, which needs a token with the role admin; this one has {role}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what cannot be answered here; a place for what can.
    fn admit(&self, question: &proto::AskRequest) -> Result<OwnedSemaphorePermit, Status> {
        let Description { protocol, release, .. } = &self.owner;
        if question.protocol != *protocol {
            let asked = question.protocol;
            return Err(Status::failed_precondition(format!("it is lockstep {release} and speaks protocol {protocol}, not {asked}")));
        }
        if self.ending.load(Ordering::Relaxed) {
            return Err(ending());
        }
        let full = |_| Status::resource_exhausted(format!("{QUESTIONS_MAX} questions are being answered or wait for it"));
        Arc::clone(&self.questions).try_acquire_owned().map_err(full)
    }
}

fn ending() -> Status {
    Status::aborted("it is about to end")
}

#[async_trait]
impl AdminService for Desk {
    type AskStream = Pin<Box<dyn Stream<Item = Result<AskReply, Status>> + Send>>;

    async fn describe(&self, _: Request<proto::DescribeRequest>) -> Result<Response<proto::Description>, Status> {
        Ok(Response::new(self.owner.clone().into()))
    }

    async fn ask(&self, request: Request<proto::AskRequest>) -> Result<Response<Self::AskStream>, Status> {
        self.check(request.extensions().get(), &request.get_ref().verb)?;
        let question = request.into_inner();
        // Shared by who answers and who reads the answer: it is free again once both are done.
        let place = Arc::new(self.admit(&question)?);
        let (teller, said) = mpsc::channel(PROGRESS_MAX);
        let (answer, ending, held) = (Arc::clone(&self.answer), Arc::clone(&self.ending), Arc::clone(&place));
        let work = spawn_blocking(move || {
            let _held = held;
            work(&*answer, &question, &teller, &ending)
        });
        Ok(Response::new(Box::pin(replies(Stage::Working { said, work }, place))))
    }
}

/// What came of a question.
enum Outcome {
    Answer(String),
    Failure(Error),
    /// The owner was about to end, and the answer told of progress.
    CutShort,
}

/// Answers one question, on a thread of its own.
fn work(answer: &Answer, question: &proto::AskRequest, teller: &mpsc::Sender<String>, ending: &AtomicBool) -> Outcome {
    let cut_short = Cell::new(false);
    let progress = |text: &str| {
        if ending.load(Ordering::Relaxed) {
            cut_short.set(true);
            return Err(Error::unavailable("the owner of the store is about to end"));
        }
        match teller.try_send(text.to_owned()) {
            Err(TrySendError::Closed(_)) => Err(Error::unavailable("nobody waits for the answer any more")),
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
        }
    };
    // Its turn may have come late.
    let answered = progress("").and_then(|()| answer(&question.verb, &question.question, &progress));
    match answered {
        Ok(answer) => Outcome::Answer(answer),
        Err(_) if cut_short.get() => Outcome::CutShort,
        Err(error) => Outcome::Failure(error),
    }
}

/// How far a reply is.
enum Stage {
    Working { said: mpsc::Receiver<String>, work: JoinHandle<Outcome> },
    Telling { answer: Vec<u8>, from: usize },
    Done,
}

/// Progress as it is told, then the outcome. `place` is held until the last of it was taken, or nobody wants it.
fn replies(stage: Stage, place: Arc<OwnedSemaphorePermit>) -> impl Stream<Item = Result<AskReply, Status>> {
    let reply = |reply| Ok(AskReply { reply: Some(reply) });
    unfold((stage, place), move |(mut stage, place)| async move {
        loop {
            stage = match stage {
                Stage::Working { mut said, mut work } => {
                    let outcome = tokio::select! {
                        biased;
                        Some(text) = said.recv() => {
                            return Some((reply(Reply::Progress(text)), (Stage::Working { said, work }, place)));
                        }
                        outcome = &mut work => outcome,
                    };
                    match outcome {
                        Ok(Outcome::Answer(answer)) => Stage::Telling { answer: answer.into_bytes(), from: 0 },
                        Ok(Outcome::Failure(error)) => return Some((reply(Reply::Failure(super::failure(&error))), (Stage::Done, place))),
                        Ok(Outcome::CutShort) => return Some((Err(ending()), (Stage::Done, place))),
                        Err(panic) => return Some((reply(Reply::Failure(super::failure(&panicked(&panic)))), (Stage::Done, place))),
                    }
                }
                Stage::Telling { answer, from } if from < answer.len() => {
                    let to = answer.len().min(from + PART_BYTES);
                    let part = answer[from..to].to_vec();
                    return Some((reply(Reply::Answer(part)), (Stage::Telling { answer, from: to }, place)));
                }
                Stage::Telling { .. } | Stage::Done => return None,
            };
        }
    })
}

fn panicked(error: &JoinError) -> Error {
    Error::internal(format!("the owner failed to answer: {error} · the store is as it was · please report it with what the owner printed"))
}
