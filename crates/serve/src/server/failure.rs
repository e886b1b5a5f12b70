//! Errors as gRPC and HTTP have them: mapped once.

use http::StatusCode;
use lockstep_model::{Error, ErrorKind};
use tonic::{Code, Status};

use super::guard::Refused;

/// What went wrong with a request, whatever the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// What is wrong, what is known, what to do.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
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
        if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Data) {
            // Somebody has to look at it, and the caller may not be who can.
            tracing::error!(%error, "answer a request");
        }
        Failure::new(code, error.to_string())
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
