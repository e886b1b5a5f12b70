//! The asker's side.

use std::io;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use lockstep_client::proto::admin_client::AdminClient;
use lockstep_client::proto::ask_reply::Reply;
use lockstep_client::proto::{AskReply, AskRequest, DescribeRequest};
use lockstep_client::{Bearer, Security};
use lockstep_model::Error;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};
use tower::service_fn;

use super::place;
use super::{ANSWER_BYTES_MAX, Description, PROTOCOL, QUESTION_BYTES_MAX};

/// How long an owner may take to say who it is. One that was suspended never does.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(5);
/// How often an owner that says nothing is asked whether it is there, and how long it may take to say so.
const IS_IT_THERE: Duration = Duration::from_secs(10);
/// Stands for the socket where gRPC wants an address.
const ADDRESS: &str = "http://owner";

/// Why a question was not answered.
#[derive(Debug)]
pub enum AskError {
    /// The owner's own error, or a question that cannot be asked like this: asking again will not help.
    Failed(Error),
    /// Nobody answered. Another owner might, or this process once it owns the store.
    Ended {
        /// Whether the question may have been begun, so that a change may have been made.
        begun: bool,
        /// What happened.
        why: String,
    },
}

/// A connection to the owner of a store. Dropping it takes back what it asked.
pub struct Client {
    runtime: Runtime,
    admin: Asking,
    owner: Description,
}

type Asking = AdminClient<InterceptedService<Channel, Bearer>>;

impl Client {
    /// Connects to the owner of the store at `store`, and has it say who it is.
    ///
    /// # Errors
    /// [`AskError::Ended`] where nobody listens or says who they are.
    pub fn connect(store: &Path) -> Result<Client, AskError> {
        Client::over(async { Ok(AdminClient::with_interceptor(socket(store).await?, Bearer::default())) })
    }

    /// Connects to a server elsewhere, such as `https://features.example.com:7474`, and has it say who it is.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_to(server: &str, security: &Security) -> Result<Client, AskError> {
        Client::over(async {
            let bearer = Bearer::new(security.token.as_deref()).map_err(|error| not_begun(&error))?;
            let channel = security.connect(server).await.map_err(|error| not_begun(&innermost(&error)))?;
            Ok(AdminClient::with_interceptor(channel, bearer))
        })
    }

    fn over(connect: impl Future<Output = Result<Asking, AskError>>) -> Result<Client, AskError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| not_begun(&error))?;
        let described = async {
            let mut admin = connect.await?;
            let owner = admin.describe(DescribeRequest {}).await.map_err(|status| not_begun(&status.message()))?;
            Ok((admin, Description::from(owner.into_inner())))
        };
        let silent = || not_begun(&"it does not say who it is · it may be suspended");
        let described = runtime.block_on(async { timeout(DESCRIBED_WITHIN, described).await });
        let (admin, owner) = described.unwrap_or_else(|_| Err(silent()))?;
        Ok(Client { runtime, admin, owner })
    }

    /// Who owns the store.
    pub fn owner(&self) -> &Description {
        &self.owner
    }

    /// Asks the owner what `verb` asks, and waits for the answer; `progress` is told what it is doing.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(&mut self, verb: &str, question: String, progress: &mut dyn FnMut(&str)) -> Result<String, AskError> {
        self.check(&question).map_err(AskError::Failed)?;
        let request = AskRequest { protocol: PROTOCOL, verb: verb.to_owned(), question };
        let (runtime, admin, owner) = (&self.runtime, &mut self.admin, &self.owner);
        runtime.block_on(async {
            let replies = admin.ask(request).await.map_err(|status| explain(owner, &status))?;
            let answer = listen(owner, replies.into_inner(), progress).await?;
            String::from_utf8(answer).map_err(|error| AskError::Failed(Error::internal(format!("the owner's answer is no text: {error}"))))
        })
    }

    fn check(&self, question: &str) -> Result<(), Error> {
        if self.owner.protocol != PROTOCOL {
            let Description { protocol, release, verb, pid, store, .. } = &self.owner;
            return Err(Error::unavailable(format!(
                "the store at {store} is owned by `lockstep {verb}`, process {pid}, of release {release}, which speaks protocol {protocol} · this is release {} with protocol {PROTOCOL} · \
                 ask with the owner's release, or stop the owner",
                env!("CARGO_PKG_VERSION")
            )));
        }
        // A little is left for what goes with it.
        if question.len() > QUESTION_BYTES_MAX - 1024 {
            let (bytes, most) = (question.len(), QUESTION_BYTES_MAX >> 20);
            return Err(Error::invalid(format!(
                "a question of {bytes} bytes is too large to ask · the owner takes {most} MiB · ask in several parts"
            )));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("owner", &self.owner).finish_non_exhaustive()
    }
}

async fn socket(store: &Path) -> Result<Channel, AskError> {
    let socket = place::find(store).map_err(|error| not_begun(&error))?;
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { io::Result::Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static(ADDRESS).http2_keep_alive_interval(IS_IT_THERE).keep_alive_timeout(IS_IT_THERE);
    endpoint.connect_with_connector(connector).await.map_err(|error| not_begun(&innermost(&error)))
}

/// Takes replies to their end.
async fn listen(owner: &Description, mut replies: Streaming<AskReply>, progress: &mut dyn FnMut(&str)) -> Result<Vec<u8>, AskError> {
    let mut answer = Vec::new();
    while let Some(AskReply { reply }) = replies.message().await.map_err(|status| explain(owner, &status))? {
        match reply {
            Some(Reply::Progress(text)) if text.is_empty() => {}
            Some(Reply::Progress(text)) => progress(&text),
            Some(Reply::Answer(part)) => answer.extend(part),
            Some(Reply::Failure(failure)) => return Err(AskError::Failed(super::error(failure))),
            None => {}
        }
        if answer.len() > ANSWER_BYTES_MAX {
            let most = ANSWER_BYTES_MAX >> 20;
            return Err(AskError::Failed(Error::unavailable(format!("the answer has more than {most} MiB · ask for less at once"))));
        }
    }
    Ok(answer)
}

/// What the status of a call means for who asked.
fn explain(owner: &Description, status: &Status) -> AskError {
    let Description { verb, pid, store, .. } = owner;
    let said = status.message();
    match status.code() {
        Code::FailedPrecondition | Code::Unimplemented | Code::ResourceExhausted => AskError::Failed(Error::unavailable(format!(
            "the owner of {store}, `lockstep {verb}`, process {pid}, does not take the question · {said} · try again later"
        ))),
        Code::Unauthenticated | Code::PermissionDenied => {
            AskError::Failed(Error::unavailable(format!("the server that owns {store} refuses: {said}")))
        }
        Code::Aborted => not_begun(&said),
        _ => AskError::Ended { begun: true, why: said.to_owned() },
    }
}

fn not_begun(why: &dyn std::fmt::Display) -> AskError {
    AskError::Ended { begun: false, why: why.to_string() }
}

/// What an error comes down to: that there is no such socket, rather than that there was an error.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Calls that a [`Client`] does not make.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::admin) fn ask_in_protocol(store: &Path, protocol: u32) -> Result<(), Status> {
        let Client { runtime, mut admin, .. } = Client::connect(store).unwrap();
        let request = AskRequest { protocol, verb: "get".to_owned(), question: String::new() };
        runtime.block_on(admin.ask(request)).map(|_| ())
    }

    /// Asks, waits for the first reply, and goes.
    pub(in crate::admin) fn ask_and_leave(store: &Path) {
        let Client { runtime, mut admin, .. } = Client::connect(store).unwrap();
        let request = AskRequest { protocol: PROTOCOL, verb: "verify".to_owned(), question: String::new() };
        runtime.block_on(async {
            let mut replies = admin.ask(request).await.unwrap().into_inner();
            assert!(replies.message().await.unwrap().is_some());
        });
    }
}
