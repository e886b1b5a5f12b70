//! Lookups: answers to requests, from one consistent cut of a store; the server that answers them over gRPC and HTTP; and [`admin`], by which the process
//! that owns a store answers others.
//!
//! A [`Served`] is made once per set of definitions and generations; a lookup takes a cut, plans nothing, and reads all its entities in one batch. [`live`]
//! keeps both up to date while the store is written to, [`desk`] finds what a request asks for and answers it whatever the protocol, [`server`] speaks the
//! protocols. [`scoring`] has models score what was looked up. [`watch`] sees whether all of it is as it should be.

pub mod admin;
pub mod beside;
pub mod chosen;
pub mod desk;
pub mod explained;
pub mod feature_log;
pub mod lag;
pub mod last_known_good;
pub mod live;
mod lookup;
pub mod metrics;
mod push;
pub mod report;
pub mod scoring;
pub mod server;
pub mod usage;
mod warm;
pub mod watch;
pub mod wire;

pub use lag::{Lags, SourceLag};
pub use lookup::{Lookup, LookupRequest, Read, Role, Served};
pub use push::Pushes;
pub use report::Reports;
pub use warm::warm;
