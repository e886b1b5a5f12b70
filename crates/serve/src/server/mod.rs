//! The server: gRPC, and the same as JSON over HTTP, at one address.
//!
//! A request is answered on the thread that took it, since a lookup takes microseconds; one of many rows goes to a thread of its own, so that the others do not
//! wait for it.

mod failure;
mod features;
mod guard;
mod http;
mod introduce;
mod limits;
mod listen;
mod push;
mod reply;
mod service;

pub(crate) use guard::Granted;
pub use guard::{Role, Token};
#[cfg(test)]
pub(crate) use http::values as json;
pub use limits::Limits;
pub use listen::{Running, Security, ServerOptions, start};
pub use service::Service;
