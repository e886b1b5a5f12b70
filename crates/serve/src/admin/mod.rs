//! The admin API: what the process that owns a store answers to others.
//!
//! The owner holds a [`Server`] for as long as it has the store open; whoever finds the store taken makes a [`Client`] and asks. This module carries
//! questions and answers and knows none of them: they are JSON to it, and the verb says what they mean.
//!
//! It is not for serving features at a high rate: every question is planned, answered and rendered for itself.

mod client;
mod place;
mod server;
#[cfg(test)]
mod tests;

use lockstep_client::proto;
use lockstep_model::{Error, ErrorKind, EventTime};

pub use client::{AskError, Client};
pub use server::{Admin, Answer, Server};

/// The protocol spoken here. It is raised when a question or answer changes so that an earlier release would take it for something else.
pub const PROTOCOL: u32 = 1;

/// Most bytes of a question.
const QUESTION_BYTES_MAX: usize = 256 << 20;
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Bytes of one part of an answer, well below what gRPC takes as one message.
const PART_BYTES: usize = 1 << 20;

/// Tells whoever asked what is being done. It fails once nobody waits for the answer, or the owner is about to end: then the work may end, too.
pub type Progress<'a> = dyn Fn(&str) -> Result<(), Error> + 'a;

/// Who owns a store, and which protocol it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The protocol of its questions.
    pub protocol: u32,
    /// Its release of Lockstep.
    pub release: String,
    /// The verb it runs.
    pub verb: String,
    /// Its process.
    pub pid: u32,
    /// When it opened the store.
    pub since: EventTime,
    /// The store's directory, as it was told.
    pub store: String,
}

impl Description {
    /// This process, which has opened `store` for `verb`.
    pub fn new(verb: impl Into<String>, store: impl Into<String>, since: EventTime) -> Self {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Description { protocol: PROTOCOL, release, verb: verb.into(), pid: std::process::id(), since, store: store.into() }
    }
}

impl From<Description> for proto::Description {
    fn from(owner: Description) -> Self {
        let Description { protocol, release, verb, pid, since, store } = owner;
        proto::Description { protocol, release, verb, pid, since_micros: since.0, store }
    }
}

impl From<proto::Description> for Description {
    fn from(owner: proto::Description) -> Self {
        let proto::Description { protocol, release, verb, pid, since_micros, store } = owner;
        Description { protocol, release, verb, pid, since: EventTime(since_micros), store }
    }
}

/// An error as it is told.
fn failure(error: &Error) -> proto::Failure {
    let kind = match error.kind() {
        ErrorKind::Invalid => proto::ErrorKind::Invalid,
        ErrorKind::NotFound => proto::ErrorKind::NotFound,
        ErrorKind::OutOfRange => proto::ErrorKind::OutOfRange,
        ErrorKind::Unavailable => proto::ErrorKind::Unavailable,
        ErrorKind::Data => proto::ErrorKind::Data,
        ErrorKind::Internal => proto::ErrorKind::Internal,
    };
    proto::Failure { kind: kind.into(), message: error.to_string() }
}

/// An error that was told.
fn error(failure: proto::Failure) -> Error {
    let kind = match failure.kind() {
        proto::ErrorKind::Invalid => ErrorKind::Invalid,
        proto::ErrorKind::NotFound => ErrorKind::NotFound,
        proto::ErrorKind::OutOfRange => ErrorKind::OutOfRange,
        proto::ErrorKind::Unavailable => ErrorKind::Unavailable,
        proto::ErrorKind::Data => ErrorKind::Data,
        proto::ErrorKind::Internal | proto::ErrorKind::Unspecified => ErrorKind::Internal,
    };
    Error::new(kind, failure.message)
}
