//! What a generation may forget: a function of how far its logs have come.

use std::collections::BTreeMap;

use lockstep_model::position::watermark_of;
use lockstep_model::{EventTime, PartitionId};
use lockstep_store::Horizon;

use super::step::Target;

/// The largest event time of each partition of the logs, µs.
pub(crate) type Newest = BTreeMap<PartitionId, i64>;

/// The least of the partitions' newest event times, of one source.
fn watermark(newest: &Newest, source: &str) -> Option<i64> {
    watermark_of(newest.iter().map(|(id, &time)| (id, time)), source)
}

/// The least watermark of a view's sources; `None` until each has one.
pub(super) fn view_watermark(target: &Target, newest: &Newest) -> Option<i64> {
    target.sources.iter().map(|source| watermark(newest, &source.name)).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// The watermarks of the sources of which keys may have been forgotten, by what a generation's horizon says.
pub(super) fn forgotten(target: &Target, horizon: &Horizon) -> BTreeMap<String, i64> {
    let of = |(ordinal, before): &(u16, EventTime)| {
        let source = target.sources.get(usize::from(*ordinal))?;
        Some((source.name.clone(), before.0.saturating_add(source.lateness?)))
    };
    horizon.keys_before.iter().filter_map(of).collect()
}

/// The horizon of a generation; `None` while nothing may be forgotten.
pub(crate) fn horizon(target: &Target, newest: &Newest) -> Option<Horizon> {
    let mut horizon = Horizon::default();
    for (ordinal, source) in target.sources.iter().enumerate() {
        // A correction may move an event past any lateness: keys of sources with versions are remembered.
        if source.version.is_some() {
            continue;
        }
        if let (Some(watermark), Some(lateness)) = (watermark(newest, &source.name), source.lateness) {
            horizon.keys_before.push((ordinal as u16, EventTime(watermark.saturating_sub(lateness))));
        }
    }
    if let (Some(watermark), Some(retention), Some(reach)) = (view_watermark(target, newest), target.retention, target.view.reach()) {
        let state_before = watermark.saturating_sub(retention);
        horizon.state_before = EventTime(state_before);
        horizon.readable_from = EventTime(state_before.saturating_add(reach.max(target.view.ttl.unwrap_or(0))));
    }
    (horizon != Horizon::default()).then_some(horizon)
}
