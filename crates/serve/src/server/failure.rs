//! Errors as gRPC and HTTP have them: mapped once.

use http::StatusCode;
use lockstep_model::{Error, ErrorKind};
use lockstep_store::NotInMemory;
use tonic::{Code, Status};

use super::guard::Refused;
use crate::lookup::Unpublished;

/// What went wrong with a request, whatever the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// What is wrong, what is known, what to do.
    pub message: String,
    /// What it is about.
    pub about: About,
}

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The request, or the server.
    Asking,
    /// That what is to be read is not in memory.
    Memory,
    /// That the store was not read, or not in time.
    Reading,
}

impl Failure {
    /// A failure.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), about: About::Asking }
    }

    /// It is that the store was not read, or not in time.
    #[must_use]
    pub fn of_reading(self) -> Failure {
        Failure { about: About::Reading, ..self }
    }

    /// Whether somebody has to look at the server for it, and not at the request.
    pub fn is_ours(&self) -> bool {
        matches!(
            self.code,
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::DataLoss | Code::Internal | Code::Unknown | Code::Cancelled
        )
    }

    /// The HTTP status of it.
    pub fn http(&self) -> StatusCode {
        match self.code {
            Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::NotFound | Code::Unimplemented => StatusCode::NOT_FOUND,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The name of its kind, as JSON has it.
    pub fn kind(&self) -> &'static str {
        match self.code {
            Code::InvalidArgument => "invalid",
            Code::OutOfRange => "out_of_range",
            Code::NotFound | Code::Unimplemented => "not_found",
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "forbidden",
            Code::ResourceExhausted => "too_many",
            Code::Unavailable => "unavailable",
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::DataLoss => "data",
            _ => "internal",
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Invalid => Code::InvalidArgument,
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::OutOfRange => Code::OutOfRange,
            ErrorKind::Unavailable => Code::Unavailable,
            ErrorKind::Data => Code::DataLoss,
            ErrorKind::Internal => Code::Internal,
        };
        let failure = Failure::new(code, error.to_string());
        if NotInMemory::caused(&error) {
            return Failure { about: About::Memory, ..failure };
        }
        let is_unpublished = std::error::Error::source(&error).is_some_and(|source| source.is::<Unpublished>());
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Data if !is_unpublished => failure.of_reading(),
            _ => failure,
        }
    }
}

impl From<Failure> for Error {
    /// For whoever asks in this process: the few kinds that there are, and the same words.
    fn from(failure: Failure) -> Self {
        match failure.code {
            Code::InvalidArgument => Error::invalid(failure.message),
            Code::NotFound | Code::Unimplemented => Error::not_found(failure.message),
            Code::OutOfRange => Error::out_of_range(failure.message),
            Code::DataLoss => Error::data(failure.message),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => Error::unavailable(failure.message),
            _ => Error::internal(failure.message),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => Failure::new(
                Code::Unauthenticated,
                "no token, or one that is not known · send `authorization: Bearer …` with one of the server's tokens",
            ),
            Refused::Forbidden { token, role } => {
                let role = format!("{role:?}").to_lowercase();
                Failure::new(Code::PermissionDenied, format!("the token `{token}` has the role {role}, which does not allow this"))
            }
            Refused::TooMany => Failure::new(Code::ResourceExhausted, "more requests a second than this server allows · try again in a moment"),
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        Status::new(failure.code, failure.message)
    }
}
