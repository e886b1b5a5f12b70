//! The shape of stored state: which keys exist, and the batch-shaped ways in and out.
//!
//! The engine asks for state by [`StateKey`]; the store answers. Neither knows the other, both know this.
//!
//! A state key is `shard (2 bytes) ‖ entity length (2 bytes) ‖ entity key ‖ path`. The shard is a hash of the entity key, so
//! that a bulk load splits into disjoint sorted ranges. An entity's *head* has the empty path; a node of its time tree
//! has the path `1 + nibbles ‖ packed nibbles`, the common prefix of the order keys below it. Since an order key starts
//! with the event time, a path says which time range lies below it, and expiry needs to look at nothing else.

use crate::Error;
use xxhash_rust::xxh3::xxh3_64;

/// One version's live key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// The address of a head or a node within a generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey(Vec<u8>);

/// Longest entity key, in bytes.
pub const ENTITY_KEY_LEN_MAX: usize = u16::MAX as usize;

/// Longest primary key, in bytes: an order key is the event time, a branch, a primary key and a version of at most 32 bytes, and a path
/// counts its half-bytes in two bytes.
pub const PRIMARY_KEY_LEN_MAX: usize = (u16::MAX as usize - 1) / 2 - 9 - 32;

impl StateKey {
    /// The head of an entity. The entity key is at most [`ENTITY_KEY_LEN_MAX`] bytes, which the row stage has checked.
    pub fn head(entity: &[u8]) -> Self {
        StateKey::node(entity, None)
    }

    /// A node of an entity's tree: its prefix is the first `nibbles` half-bytes of `order_key`.
    pub fn node(entity: &[u8], prefix: Option<(usize, &[u8])>) -> Self {
        let mut bytes = Vec::with_capacity(4 + entity.len() + 1 + prefix.map_or(0, |(nibbles, _)| nibbles.div_ceil(2)));
        bytes.extend_from_slice(&shard_of(entity).to_be_bytes());
        bytes.extend_from_slice(&(entity.len() as u16).to_be_bytes());
        bytes.extend_from_slice(entity);
        if let Some((nibbles, order_key)) = prefix {
            // Two bytes, so that long primary keys fit.
            bytes.extend_from_slice(&(1 + nibbles as u16).to_be_bytes());
            bytes.extend_from_slice(&order_key[..nibbles / 2]);
            if nibbles % 2 == 1 {
                bytes.push(order_key[nibbles / 2] & 0xf0);
            }
        }
        StateKey(bytes)
    }

    /// The encoded key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The shard an entity key belongs to: frozen, since stored keys start with it.
pub fn shard_of(entity: &[u8]) -> u16 {
    (xxh3_64(entity) >> 48) as u16
}

/// The entity key within an encoded state key.
pub fn entity_of(state_key: &[u8]) -> Option<&[u8]> {
    let len = u16::from_be_bytes(state_key.get(2..4)?.try_into().ok()?) as usize;
    state_key.get(4..4 + len)
}

/// The largest event time that can lie below an encoded state key's node; `None` for a head, which never expires by itself.
pub fn newest_time_below(state_key: &[u8]) -> Option<i64> {
    let entity = entity_of(state_key)?;
    let path = &state_key[4 + entity.len()..];
    let (&[high, low], packed) = path.split_first_chunk::<2>()?;
    let nibbles = usize::from(u16::from_be_bytes([high, low])).checked_sub(1)?;
    let mut time = [0xff; 8];
    for nibble in 0..nibbles.min(16) {
        let byte = *packed.get(nibble / 2)?;
        let at = &mut time[nibble / 2];
        *at = if nibble % 2 == 0 { (byte & 0xf0) | 0x0f } else { (*at & 0xf0) | (byte & 0x0f) };
    }
    Some((u64::from_be_bytes(time) ^ (1 << 63)) as i64)
}

/// Reads state of one generation, from one consistent cut.
pub trait StateRead {
    /// Calls `found(i, bytes)` for each key in order, with `None` where there is nothing. `keys` need not be sorted.
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error>;
}

/// Reads what is remembered of the primary keys of a generation's sources.
pub trait KeyIndex {
    /// Calls `found(i, entry)` for each primary key of a source in order, with `None` where it is not known. `keys` need not be sorted.
    ///
    /// # Errors
    /// Where the index cannot be read.
    fn get_many(&self, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error>;
}

/// One change of state: put, or delete where the value is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// What changes.
    pub key: StateKey,
    /// The new bytes.
    pub value: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_newest_time_below_it() {
        let t = 1_362_139_200_000_000i64;
        let order_key = [(t as u64 ^ (1 << 63)).to_be_bytes().as_slice(), b"pk"].concat();
        assert_eq!(newest_time_below(StateKey::head(b"e").as_bytes()), None);
        for nibbles in 0..=20 {
            let key = StateKey::node(b"entity", Some((nibbles, &order_key)));
            let span = 1i128 << (64 - 4 * nibbles.min(16));
            let expected = (i128::from(t) + (1 << 63)) / span * span + span - 1 - (1 << 63);
            assert_eq!(newest_time_below(key.as_bytes()), Some(expected as i64), "{nibbles}");
            assert_eq!(entity_of(key.as_bytes()), Some(b"entity".as_slice()));
        }
    }
}
