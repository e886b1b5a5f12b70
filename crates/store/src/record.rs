//! The encoding of everything that is not the engine's: JSON, so that a store can be looked into and fields can be added.

use lockstep_model::codec::{Reader, put_bytes};
use lockstep_model::{Error, PartitionId, Position};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::DeadLetter;

/// A position with the partition it is of, since the key is not meant to be decoded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PositionRecord {
    pub(crate) partition: PartitionId,
    pub(crate) position: Position,
}

/// The bytes of a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(record).map_err(|error| Error::internal(format!("a record cannot be encoded: {error}")).caused_by(error))
}

/// The record in these bytes; `what` says whose they are.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| undecodable(what, &error.to_string()).caused_by(error))
}

/// A dead letter's bytes: length, JSON, and the original row after it as it is.
pub(crate) fn encode_dead_letter(letter: &DeadLetter) -> Result<Vec<u8>, Error> {
    let json = encode(letter)?;
    let mut out = Vec::with_capacity(json.len() + letter.bytes.len() + 4);
    put_bytes(&mut out, &json);
    out.extend_from_slice(&letter.bytes);
    Ok(out)
}

/// The dead letter in these bytes.
pub(crate) fn decode_dead_letter(bytes: &[u8]) -> Result<DeadLetter, Error> {
    let mut reader = Reader::new(bytes);
    let json = reader.bytes().map_err(|error| undecodable("a dead letter", error.what))?;
    Ok(DeadLetter { bytes: reader.rest().to_vec(), ..decode("a dead letter", json)? })
}

/// The error of stored bytes that mean nothing to this release.
pub(crate) fn undecodable(what: &str, why: &str) -> Error {
    Error::data(format!(
        "the record of {what} in the store does not decode · {why} · restore a snapshot, or open the store with the release that wrote it"
    ))
}
