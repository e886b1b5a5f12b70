//! What is said on the wire, and a client for whoever wants features.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use lockstep_client::{Client, Request};
//! let client = Client::connect("http://localhost:7474").await?;
//! let request = Request::new("delay_v1").column("origin", ["EWR", "JFK"]).column("dest", ["ORD", "SFO"]);
//! let answer = client.get_features(request).await?;
//! let delays: Vec<Option<f64>> = answer.feature("origin_avg_delay_1d")?.values()?;
//! # Ok(()) }
//! ```
//!
//! It knows nothing of SQL, Arrow or RocksDB, so that a service that asks for features builds in seconds.

mod client;
mod score;
mod values;

/// The messages and services of `proto/lockstep/v1`.
#[allow(missing_docs, clippy::all, reason = "generated; the .proto files say what things are")]
pub mod proto {
    tonic::include_proto!("lockstep.v1");

    /// The definitions these were made of, as an encoded `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

pub use client::{Answer, Bearer, Client, ConnectError, Feature, Request, Security, UnknownFeature};
pub use score::{Decision, Outcome, Rows, Scores};
pub use values::{Column, FromValues, WrongType, kind_name};
