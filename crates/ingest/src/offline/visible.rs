//! The rows of a source that ever were visible, kept as they are: what the oracle is given.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use lockstep_model::Error;
use lockstep_transform::oracle::Winners;
use lockstep_transform::tiles::order;
use rustc_hash::FxHashMap;

use crate::admission::Admitted;

/// Rows by order key, as changes come and go.
#[derive(Debug, Default)]
pub(super) struct Visible {
    batches: Vec<RecordBatch>,
    rows: FxHashMap<Vec<u8>, Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    batch: usize,
    row: usize,
    known_from: i64,
    known_until: i64,
}

impl Visible {
    /// Takes what one batch came to.
    pub(super) fn take(&mut self, admitted: &Admitted, event_time: usize) -> Result<(), Error> {
        let no_time = || Error::internal("event time is not a timestamp in µs");
        let times = admitted.rows.column(event_time).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(no_time)?;
        for (row, &comes) in admitted.sign.iter().enumerate() {
            let (primary_key, version) = admitted.suffix(row);
            let mut key = Vec::with_capacity(9 + primary_key.len() + version.len());
            order::write(&mut key, times.value(row), 0, primary_key, version);
            if comes {
                let (known_from, known_until) = (admitted.known_from[row], admitted.known_until[row]);
                self.rows.insert(key, Place { batch: self.batches.len(), row, known_from, known_until });
            } else {
                self.rows.remove(&key);
            }
        }
        self.batches.push(admitted.rows.clone());
        Ok(())
    }

    /// All rows, in the order in which they were read.
    pub(super) fn winners(self, schema: &SchemaRef) -> Result<Winners, Error> {
        let mut places: Vec<Place> = self.rows.into_values().collect();
        places.sort_unstable_by_key(|place| (place.batch, place.row));
        let picks: Vec<(usize, usize)> = places.iter().map(|place| (place.batch, place.row)).collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = if batches.is_empty() { Ok(RecordBatch::new_empty(schema.clone())) } else { interleave_record_batch(&batches, &picks) };
        Ok(Winners {
            rows: rows.map_err(|error| Error::internal("a kernel refused rows of a source").caused_by(error))?,
            known_from: places.iter().map(|place| place.known_from).collect(),
            known_until: places.iter().map(|place| place.known_until).collect(),
        })
    }
}
