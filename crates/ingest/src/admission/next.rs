//! An event that has not arrived: a request that is the next one of its source.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use lockstep_model::{Error, EventTime, KeyIndex, PartitionId};
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::changes::SourceChanges;
use lockstep_transform::next_event::NextEvent;

use super::batch::Reason;
use super::{Admission, Arrivals, Kind};

/// Admission of requests that are events. The row of a request has the greatest number there is, so that where versions are positions it is the latest.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmitNext;

impl NextEvent for AdmitNext {
    fn admit(
        &self,
        source: &Arc<SourcePlan>,
        ordinal: u16,
        row: &RecordBatch,
        at: i64,
        keys: &dyn KeyIndex,
        take: &mut dyn FnMut(SourceChanges<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let partition = PartitionId { source: source.name.clone(), partition: "request".to_owned() };
        let arrivals = Arrivals {
            partition: &partition,
            rows: &[u64::MAX],
            batch: row,
            tombstone: None,
            append_time: Some(&Int64Array::from(vec![at])),
            bad: &[],
            original: &|_| Vec::new(),
        };
        // A partition that begins with it: it is late from nothing, and keys are forgotten as behind it.
        let admitted = Admission::new(source, ordinal)?.admit(&arrivals, None, keys, EventTime(at), Kind::Stream)?;
        // Other content under a known key: that stands, and the request is the event that is known.
        if let Some(letter) = admitted.dead_letters.iter().find(|letter| letter.reason != Reason::Conflict.word()) {
            return Err(Error::invalid(format!("a request at {} is no event of `{}` · {}", EventTime(at), source.name, letter.detail)));
        }
        admitted.with_changes(take)
    }
}
