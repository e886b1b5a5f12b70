//! How much a generation holds, by looking at it.

use lockstep_model::{Error, Generation};
use lockstep_store::CutRead;
use lockstep_transform::tiles::node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keys looked at before what is left is estimated.
pub const KEYS_MAX: u64 = 500_000;

/// What a generation holds. Bytes are those of keys and values, before compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Entities.
    pub entities: u64,
    /// Events kept.
    pub events: u64,
    /// Keys of state: heads, pages and leaves.
    pub state_keys: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Primary keys that are remembered.
    pub primary_keys: u64,
    /// Bytes of what is remembered of them.
    pub primary_key_bytes: u64,
    /// Whether all of it was counted. Where not, state is estimated from a part of the entities, and primary keys are at least so many.
    pub exact: bool,
}

/// Counts what a generation holds, looking at up to `most` keys of state and as many primary keys.
///
/// # Errors
/// Where the store cannot be read or state does not decode.
pub fn usage(cut: &dyn CutRead, generation: Generation, most: u64) -> Result<Usage, Error> {
    let mut usage = Usage { exact: true, ..Usage::default() };
    let mut last_shard = 0;
    let more = up_to(most, |visit| {
        cut.each_state(generation, &mut |key, value| {
            visit()?;
            let entity_len = lockstep_model::state::entity_of(key).map_or(0, <[u8]>::len);
            usage.entities += u64::from(key.len() == 4 + entity_len);
            usage.events += node::rows_in(value)?;
            usage.state_keys += 1;
            usage.state_bytes += (key.len() + value.len()) as u64;
            last_shard = key.first_chunk().map_or(0, |shard| u16::from_be_bytes(*shard));
            Ok(())
        })
    })?;
    if more {
        usage.extrapolate(last_shard);
    }
    let more = up_to(most, |visit| {
        cut.each_key(generation, &mut |_, key, entry| {
            visit()?;
            usage.primary_keys += 1;
            usage.primary_key_bytes += (key.len() + entry.len()) as u64;
            Ok(())
        })
    })?;
    usage.exact &= !more;
    Ok(usage)
}

impl Usage {
    /// Entities are spread over shards by a hash, so that those of some stand for all.
    fn extrapolate(&mut self, last_shard: u16) {
        self.exact = false;
        let scale = |count: &mut u64| *count = (u128::from(*count) * 65_536 / (u128::from(last_shard) + 1)) as u64;
        [&mut self.entities, &mut self.events, &mut self.state_keys, &mut self.state_bytes].into_iter().for_each(scale);
    }
}

/// Runs a scan that calls what it is given for each item, for up to `most` items; whether there were more.
fn up_to(most: u64, scan: impl FnOnce(&mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error>) -> Result<bool, Error> {
    let mut left = most;
    let mut enough = false;
    let outcome = scan(&mut || {
        // A scan ends where its visitor fails.
        if left == 0 {
            enough = true;
            return Err(Error::internal("enough was seen"));
        }
        left -= 1;
        Ok(())
    });
    match outcome {
        Err(_) if enough => Ok(true),
        other => other.map(|()| false),
    }
}
