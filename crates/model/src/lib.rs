//! The vocabulary of Lockstep: event time, keys, statuses, positions, the shape of stored state, error kinds.
//!
//! Plain data and its one canonical encoding; no I/O, no clock, no arithmetic on feature values. Every other crate
//! depends on this one, so what is here must be worth sharing.
//!
//! ```
//! use lockstep_model::{EventTime, key::KeyWriter};
//! let t = EventTime::parse("2013-03-01T12:00:00Z").unwrap();
//! assert_eq!(t.to_string(), "2013-03-01T12:00:00Z");
//! let mut key = KeyWriter::new();
//! key.push_str("EWR");
//! assert_eq!(lockstep_model::key::display(key.as_bytes()), "EWR");
//! ```

pub mod codec;
pub mod error;
pub mod fingerprint;
pub mod key;
pub mod position;
pub mod row;
pub mod state;
pub mod status;
pub mod time;

pub use error::{Error, ErrorKind};
pub use fingerprint::Fingerprint;
pub use position::{FilePosition, KafkaPosition, PartitionId, Position, PushPosition, RecordMark};
pub use state::{Generation, KeyIndex, StateKey, StateRead, StateWrite};
pub use status::{FilledBy, Status, TimeMode};
pub use time::{Clock, EventTime, SystemClock};
