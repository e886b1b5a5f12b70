//! What published runs predicted, as that with which the predictions of requests are compared.
//!
//! A run is read once, when it becomes the one that is read: some of its rows, spread over all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::ArrayRef;
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::distribution::{Reference, concat};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};

use crate::owned::Owned;
use crate::predictions::{Defined, Runs};

/// Pieces of a run that are read, and rows of each, at most.
const PIECES: usize = 64;
const PIECE_ROWS: usize = 1024;

/// By deployment and prediction.
pub type Published = Arc<Vec<(String, String, Arc<Reference>)>>;

/// What was read of the runs that are published.
#[derive(Debug, Default)]
pub struct References {
    /// The run of each predictions.
    runs: BTreeMap<String, u32>,
    by_name: BTreeMap<String, Vec<(String, String, Arc<Reference>)>>,
    published: Published,
}

impl References {
    /// What the runs predicted that are read now, of the predictions of what serves. A run that does not say it is told of once, and is compared with nothing.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn look(&mut self, owned: &Owned, catalog: &Arc<Catalog>) -> Result<Published> {
        let names = || catalog.definitions.predictions.iter().filter(|(_, predictions)| predictions.list.is_none()).map(|(name, _)| name);
        if self.runs.is_empty() && names().next().is_none() {
            return Ok(Arc::clone(&self.published));
        }
        let cut = OnlineStore::cut(&*owned.store);
        let mut runs = BTreeMap::new();
        for name in names() {
            runs.extend(Defined::find(catalog, name)?.serving(&*cut)?.map(|(run, _)| (name.clone(), run)));
        }
        if runs == self.runs {
            return Ok(Arc::clone(&self.published));
        }
        self.by_name.retain(|name, _| runs.get(name) == self.runs.get(name));
        for (name, run) in &runs {
            if self.by_name.contains_key(name) {
                continue;
            }
            let read = read(owned, catalog, name, *run).unwrap_or_else(|error| {
                tracing::warn!("read what run {run} of `{name}` predicted: {error:#}");
                Vec::new()
            });
            self.by_name.insert(name.clone(), read);
        }
        self.runs = runs;
        self.published = Arc::new(self.by_name.values().flatten().cloned().collect());
        Ok(Arc::clone(&self.published))
    }
}

fn read(owned: &Owned, catalog: &Catalog, name: &str, run: u32) -> Result<Vec<(String, String, Arc<Reference>)>> {
    let predictions = &catalog.definitions.predictions[name];
    let path = Runs::of(&owned.project.store, name).events(run);
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let rows = usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or_default();
    let wanted = ProjectionMask::columns(reader.parquet_schema(), predictions.columns.iter().map(|column| column.name.as_str()));
    let mut values: BTreeMap<String, Vec<ArrayRef>> = BTreeMap::new();
    for batch in reader.with_projection(wanted).with_row_selection(spread(rows)).build()? {
        let batch = batch?;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            values.entry(field.name().clone()).or_default().push(Arc::clone(column));
        }
    }
    let mut references = Vec::new();
    for (prediction, values) in values {
        if let Some(reference) = Reference::of_values(&concat(&values)?)? {
            references.push((predictions.deployment.clone(), prediction, Arc::new(reference)));
        }
    }
    Ok(references)
}

/// Some rows of so many, in pieces that are equally far apart.
fn spread(rows: usize) -> RowSelection {
    let every = rows.div_ceil(PIECES).max(1);
    let taken = every.min(PIECE_ROWS);
    let pieces = (0..rows.div_ceil(every)).flat_map(|piece| {
        let here = every.min(rows - piece * every);
        [RowSelector::select(taken.min(here)), RowSelector::skip(here - taken.min(here))]
    });
    pieces.filter(|selector| selector.row_count > 0).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_from_all_over_a_run_and_no_more_than_that() {
        for rows in [0, 1, 63, 64, 65, 1000, PIECES * PIECE_ROWS, 1_000_003, 50_000_000] {
            let selectors: Vec<RowSelector> = spread(rows).into();
            let taken: usize = selectors.iter().filter(|selector| !selector.skip).map(|selector| selector.row_count).sum();
            let all: usize = selectors.iter().map(|selector| selector.row_count).sum();
            assert_eq!(all, rows);
            assert!(taken <= PIECES * PIECE_ROWS && (rows > PIECES * PIECE_ROWS || taken == rows), "{rows}: {taken}");
        }
    }
}
