//! What was predicted of vectors that are kept: in the columns `prediction` (a struct), `way` and `scored_by` (as JSON, the deployment and the models that were run).

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray};
use arrow::compute::concat;
use arrow::datatypes::Fields;
use lockstep_serve::feature_log::Predicted;
use serde::{Deserialize, Serialize};

/// What was predicted of some vectors.
#[derive(Debug, Clone)]
pub struct KeptScores {
    /// Names and types of the predictions.
    pub fields: Fields,
    /// Per prediction, the values.
    pub values: Vec<ArrayRef>,
    /// How each row came to them.
    pub ways: StringArray,
    /// What predicted for each row: a [`ScoredBy`] as JSON.
    pub by: StringArray,
}

/// What predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoredBy {
    /// The deployment.
    pub deployment: String,
    /// The models that were run for the request, in order.
    pub models: Vec<ScoredByModel>,
}

/// A model that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoredByModel {
    /// What the deployment calls it.
    pub step: String,
    /// The model.
    pub model: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

impl ScoredBy {
    fn of(predicted: &Predicted) -> ScoredBy {
        let model = |[step, model, sha256]: &[String; 3]| ScoredByModel { step: step.clone(), model: model.clone(), sha256: sha256.clone() };
        ScoredBy { deployment: predicted.deployment.to_string(), models: predicted.models.iter().map(model).collect() }
    }
}

impl KeptScores {
    /// What a server tells of rows, of which those with these numbers are kept; `some` takes them out of a column.
    ///
    /// # Errors
    /// Where they are not of the rows.
    pub fn of(predicted: &Predicted, numbers: &[u32], some: &dyn Fn(ArrayRef) -> Result<ArrayRef>) -> Result<KeptScores> {
        let by = serde_json::to_string(&ScoredBy::of(predicted))?;
        Ok(KeptScores {
            fields: predicted.schema.fields().clone(),
            values: predicted.values.iter().map(|column| some(Arc::clone(column))).collect::<Result<_>>()?,
            ways: numbers.iter().map(|&row| Some(predicted.ways[row as usize])).collect(),
            by: StringArray::from(vec![by.as_str(); numbers.len()]),
        })
    }

    /// What a file says; `None` where it says nothing of predictions.
    pub fn read(batch: &RecordBatch) -> Option<KeptScores> {
        let predictions = batch.column_by_name("prediction")?.as_struct_opt()?;
        let texts = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>().cloned();
        Some(KeptScores {
            fields: predictions.fields().clone(),
            values: predictions.columns().to_vec(),
            ways: texts("way")?,
            by: texts("scored_by")?,
        })
    }

    /// One row alone.
    #[must_use]
    pub fn row(&self, row: usize) -> KeptScores {
        let KeptScores { fields, values, ways, by } = self;
        let values = values.iter().map(|column| column.slice(row, 1)).collect();
        KeptScores { fields: fields.clone(), values, ways: ways.slice(row, 1), by: by.slice(row, 1) }
    }
}

/// The columns of a file, of what was predicted by one deployment; there is at least one.
///
/// # Errors
/// Where they are not of one schema.
pub fn columns(all: &[&KeptScores]) -> Result<Vec<(&'static str, ArrayRef)>> {
    let join = |part: &dyn Fn(&KeptScores) -> ArrayRef| -> Result<ArrayRef> {
        let parts: Vec<ArrayRef> = all.iter().map(|scores| part(scores)).collect();
        Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?)
    };
    let fields = all.first().map(|scores| scores.fields.clone()).unwrap_or_default();
    let values = (0..fields.len()).map(|at| join(&|scores| Arc::clone(&scores.values[at]))).collect::<Result<Vec<_>>>()?;
    Ok(vec![
        ("prediction", Arc::new(StructArray::try_new(fields, values, None)?)),
        ("way", join(&|scores| Arc::new(scores.ways.clone()))?),
        ("scored_by", join(&|scores| Arc::new(scores.by.clone()))?),
    ])
}
