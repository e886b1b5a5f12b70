//! The last step of all formats: bad rows leave, and what is left is a batch.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;

use super::SourceSchema;

/// Rows of one source with all their columns, bad ones among them.
pub(super) struct Draft<'a> {
    /// The source.
    pub(super) source: &'a SourceSchema,
    /// Its columns, all nullable.
    pub(super) schema: &'a SchemaRef,
    /// Their values.
    pub(super) columns: Vec<ArrayRef>,
    /// Values of `_tombstone`.
    pub(super) tombstone: Option<BooleanArray>,
    /// Values of `_append_time`, in microseconds.
    pub(super) append_time: Option<Int64Array>,
    /// The number of each row in its file.
    pub(super) rows: Vec<u64>,
    /// What is wrong with which row, by index.
    pub(super) faults: Vec<(usize, String)>,
}

/// Rows that could be read, and what is wrong with the others.
pub(super) struct Settled {
    pub(super) batch: RecordBatch,
    pub(super) tombstone: Option<BooleanArray>,
    pub(super) append_time: Option<Int64Array>,
    pub(super) rows: Vec<u64>,
    /// Per bad row its first fault, ascending by the row's index in the draft.
    pub(super) faults: Vec<(usize, String)>,
}

impl Draft<'_> {
    pub(super) fn settle(mut self) -> Result<Settled, ArrowError> {
        self.find_nulls();
        // Stable, so that the first fault found of a row is the one that is told.
        self.faults.sort_by_key(|&(row, _)| row);
        self.faults.dedup_by_key(|(row, _)| *row);
        let tombstone = self.tombstone.filter(|deletes| deletes.true_count() > 0);
        let append_time = self.append_time.filter(|times| times.null_count() < times.len());
        let batch = RecordBatch::try_new(self.schema.clone(), self.columns)?;
        let all = Settled { batch, tombstone, append_time, rows: self.rows, faults: self.faults };
        if all.faults.is_empty() { Ok(all) } else { all.without_bad_rows() }
    }

    /// Finds NULLs where the source declares none. A tombstone has only its key and version.
    fn find_nulls(&mut self) {
        for (field, column) in self.source.columns.fields().iter().zip(&self.columns) {
            if field.is_nullable() || column.null_count() == 0 {
                continue;
            }
            for row in (0..column.len()).filter(|&row| column.is_null(row)) {
                if !self.tombstone.as_ref().is_some_and(|deletes| deletes.is_valid(row) && deletes.value(row)) {
                    self.faults.push((row, format!("column `{}` is NULL, which its declaration does not allow", field.name())));
                }
            }
        }
    }
}

impl Settled {
    fn without_bad_rows(self) -> Result<Settled, ArrowError> {
        let mut good = vec![true; self.rows.len()];
        for (row, _) in &self.faults {
            good[*row] = false;
        }
        let rows = self.rows.iter().zip(&good).filter(|(_, good)| **good).map(|(row, _)| *row).collect();
        let good = BooleanArray::from(good);
        let tombstone = self.tombstone.map(|column| filter(&column, &good)).transpose()?;
        let append_time = self.append_time.map(|column| filter(&column, &good)).transpose()?;
        Ok(Settled {
            batch: filter_record_batch(&self.batch, &good)?,
            tombstone: tombstone.map(|column| column.as_boolean().clone()),
            append_time: append_time.map(|column| column.as_primitive::<Int64Type>().clone()),
            rows,
            faults: self.faults,
        })
    }
}
