//! The server: gRPC, and the same as JSON over HTTP, at one address.
//!
//! A small request is answered on the thread that took it, as far as what it reads is in memory; what has to read the disk, and what has many rows, goes to threads
//! that may wait, so that nobody else does. A [`breaker`] stands before the disk.

mod breaker;
mod call;
mod deadline;
mod failure;
mod features;
mod front;
mod guard;
mod http;
mod introduce;
mod limits;
mod listen;
mod overview;
mod push;
mod queue;
mod reply;
mod report;
mod scored;
mod scoring;
mod service;
mod unread;

pub use breaker::{Breaker, BreakerSettings, Seen, Standing};
pub use failure::{About, Failure};
pub(crate) use guard::Granted;
pub use guard::{Role, Token};
#[cfg(test)]
pub(crate) use http::values as json;
pub use limits::{Fallback, Limits};
pub use listen::{Running, Security, ServerOptions, start};
pub use service::Service;
