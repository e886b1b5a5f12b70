//! What one release answers beside another, to the same requests at the same moments: so that what differs is what the definitions mean, and not who asked, or when.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{take, take_record_batch};
use lockstep_model::{Error, ErrorKind};
use lockstep_transform::catalog::Catalog;

use crate::Lags;
use crate::desk::{self, Question, Wanted};
use crate::feature_log::{Pick, Vectors};
use crate::live::{Reach, State};

/// One output of some requests, as two releases answer it.
#[derive(Debug)]
pub struct Both {
    /// Its name.
    pub feature: Arc<str>,
    /// The values that the other release has, one a request.
    pub other: ArrayRef,
    /// The values that were answered.
    pub answered: ArrayRef,
}

/// Answers again, from another state, what was answered. Outputs that are not there, or of another type, are left out; nothing is left where requests are asked with
/// other columns there.
///
/// # Errors
/// As a lookup.
pub fn beside(other: &State, lags: &Lags, answered: &Vectors) -> Result<Vec<Both>, Error> {
    let Some(wanted) = wanted(other, &answered.name)? else { return Ok(Vec::new()) };
    let picked = Picked::of(answered);
    let Some(rows) = columns(&wanted, &picked.rows(&answered.rows)?)? else { return Ok(Vec::new()) };
    let moments = picked.moments(&answered.moments);
    let question = Question { state: other, lags, wanted: &wanted, rows: &rows, moments: &moments, time: Some(answered.time) };
    let again = desk::answer(question, Reach::Disk, None)?;
    let mut all = Vec::with_capacity(answered.outputs.len());
    for output in &answered.outputs {
        let name = output_name(&answered.catalog, &answered.name, output.index);
        let Some(feature) = again.features.iter().find(|feature| Some(&*feature.name) == name) else { continue };
        let other = again.by_request.as_ref().map_or_else(|| Arc::clone(&feature.values), |by| by.lists(&feature.values));
        if other.data_type() == output.values.data_type() {
            all.push(Both { feature: Arc::clone(&feature.name), other, answered: picked.values(&output.values)? });
        }
    }
    Ok(all)
}

/// All outputs of a service or view; `None` where there is none of the name.
fn wanted(state: &State, name: &str) -> Result<Option<Arc<Wanted>>, Error> {
    match state.wanted(name, &[]) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// The columns that something is asked with, out of those of a request; `None` where one is missing, or of another type.
fn columns(wanted: &Wanted, rows: &RecordBatch) -> Result<Option<RecordBatch>, Error> {
    let column = |field: &Arc<arrow::datatypes::Field>| rows.column_by_name(field.name()).filter(|column| column.data_type() == field.data_type());
    let Some(columns) = wanted.fields().iter().map(|field| column(field).cloned()).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(wanted.schema()), columns, &options)
        .map(Some)
        .map_err(|error| Error::internal("columns as declared").caused_by(error))
}

fn output_name<'a>(catalog: &'a Catalog, name: &str, index: usize) -> Option<&'a str> {
    let outputs = match (catalog.services.get(name), catalog.views.get(name)) {
        (Some(service), _) => &service.schema,
        (None, view) => &view?.features,
    };
    outputs.fields().get(index).map(|field| field.name().as_str())
}

/// Which rows of a request were picked; `None` for all.
struct Picked(Option<UInt32Array>);

impl Picked {
    fn of(vectors: &Vectors) -> Picked {
        match &vectors.pick {
            Pick::All => Picked(None),
            Pick::None => Picked(Some(UInt32Array::from(Vec::<u32>::new()))),
            Pick::Some(rows) => Picked(Some(UInt32Array::from(rows.clone()))),
        }
    }

    fn rows(&self, rows: &RecordBatch) -> Result<RecordBatch, Error> {
        self.0.as_ref().map_or_else(|| Ok(rows.clone()), |picked| take_record_batch(rows, picked).map_err(kernel))
    }

    fn values(&self, values: &ArrayRef) -> Result<ArrayRef, Error> {
        self.0.as_ref().map_or_else(|| Ok(Arc::clone(values)), |picked| take(values, picked, None).map_err(kernel))
    }

    fn moments(&self, moments: &[i64]) -> Vec<i64> {
        self.0.as_ref().map_or_else(|| moments.to_vec(), |picked| picked.values().iter().map(|&row| moments[row as usize]).collect())
    }
}

fn kernel(error: arrow::error::ArrowError) -> Error {
    Error::internal("rows of a request").caused_by(error)
}
