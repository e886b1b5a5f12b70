//! Rows that were read apart, by their schemas, in the order of the log again.

use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;

/// Rows in the order of their offsets.
pub(super) struct Rows {
    pub(super) batch: RecordBatch,
    pub(super) rows: Vec<u64>,
    pub(super) tombstone: Option<BooleanArray>,
    pub(super) append_time: Option<Int64Array>,
}

/// Puts parts together, each of which is in the order of its offsets.
pub(super) fn merge(schema: &SchemaRef, mut parts: Vec<Rows>) -> Result<Rows, ArrowError> {
    parts.retain(|part| !part.rows.is_empty());
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let batch = concat_batches(schema, parts.iter().map(|part| &part.batch))?;
    let rows: Vec<u64> = parts.iter().flat_map(|part| part.rows.iter().copied()).collect();
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_unstable_by_key(|row| rows[*row as usize]);
    let order = UInt32Array::from(order);
    let tombstone = parts.iter().any(|part| part.tombstone.is_some()).then(|| parts.iter().flat_map(deletes).collect::<BooleanArray>());
    let append_time = parts.iter().any(|part| part.append_time.is_some()).then(|| parts.iter().flat_map(said).collect::<Int64Array>());
    Ok(Rows {
        batch: take_record_batch(&batch, &order)?,
        rows: order.values().iter().map(|row| rows[*row as usize]).collect(),
        tombstone: tombstone.map(|array| take(&array, &order, None)).transpose()?.map(|array| array.as_boolean().clone()),
        append_time: append_time.map(|array| take(&array, &order, None)).transpose()?.map(|array| array.as_primitive::<Int64Type>().clone()),
    })
}

fn deletes(part: &Rows) -> Vec<Option<bool>> {
    part.tombstone.as_ref().map_or_else(|| vec![Some(false); part.rows.len()], |array| array.iter().collect())
}

fn said(part: &Rows) -> Vec<Option<i64>> {
    part.append_time.as_ref().map_or_else(|| vec![None; part.rows.len()], |array| array.iter().collect())
}
