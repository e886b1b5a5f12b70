//! What was predicted of vectors that are kept: in the columns `prediction` (a struct), `way` and `scored_by` (as JSON, the deployment and the models that were run). Where the deployment has
//! actions or explores, `action`, `propensity` and `explored` say what was decided, and `logged_share` which share of such rows is logged. Where it ranks candidates, `ranked` (a struct of lists, in
//! the order of the service) says of each at which `place` it was answered, from 1, with which `propensity` it stood there, and which `way` it went; place and propensity are NULL for one that was not answered.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, StructArray, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Fields};
use lockstep_serve::feature_log::Predicted;
use lockstep_serve::scoring::Decided;
use serde::{Deserialize, Serialize};

/// The column of what was done with candidates.
const RANKED: &str = "ranked";

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
    /// What was decided, where the deployment has actions or explores.
    pub decided: Option<KeptDecisions>,
    /// What was done with candidates, where the deployment ranks them.
    pub ranked: Option<StructArray>,
}

/// What was decided of some vectors.
#[derive(Debug, Clone)]
pub struct KeptDecisions {
    /// The actions, propensities and whether rows explore.
    pub decided: Decided,
    /// Which share of rows such as these is logged: rows that explore may be more often than others.
    pub shares: Float64Array,
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

impl KeptDecisions {
    fn of(decided: &Decided, numbers: &[u32], share_of: &dyn Fn(bool) -> f64) -> Result<KeptDecisions> {
        let decided = decided.of_rows(numbers)?;
        let shares = decided.explored.iter().map(|explored| Some(share_of(explored == Some(true)))).collect();
        Ok(KeptDecisions { decided, shares })
    }

    fn read(batch: &RecordBatch) -> Option<KeptDecisions> {
        Some(KeptDecisions {
            decided: Decided {
                actions: batch.column_by_name("action")?.as_string_opt::<i32>()?.clone(),
                propensities: batch.column_by_name("propensity")?.as_primitive_opt()?.clone(),
                explored: batch.column_by_name("explored")?.as_boolean_opt()?.clone(),
            },
            shares: batch.column_by_name("logged_share")?.as_primitive_opt()?.clone(),
        })
    }

    fn row(&self, row: usize) -> KeptDecisions {
        let Decided { actions, propensities, explored } = &self.decided;
        let decided = Decided { actions: actions.slice(row, 1), propensities: propensities.slice(row, 1), explored: explored.slice(row, 1) };
        KeptDecisions { decided, shares: self.shares.slice(row, 1) }
    }
}

impl KeptScores {
    /// What a server tells of rows, of which those with these numbers are kept; `some` takes them out of a column, and `share_of` says which share of rows that explore, or do not, is logged.
    ///
    /// # Errors
    /// Where they are not of the rows.
    pub fn of(
        predicted: &Predicted,
        numbers: &[u32],
        some: &dyn Fn(ArrayRef) -> Result<ArrayRef>,
        share_of: &dyn Fn(bool) -> f64,
    ) -> Result<KeptScores> {
        let by = serde_json::to_string(&ScoredBy::of(predicted))?;
        Ok(KeptScores {
            fields: predicted.schema.fields().clone(),
            values: predicted.values.iter().map(|column| some(Arc::clone(column))).collect::<Result<_>>()?,
            ways: numbers.iter().map(|&row| Some(predicted.ways[row as usize])).collect(),
            by: StringArray::from(vec![by.as_str(); numbers.len()]),
            decided: predicted.decided.as_ref().map(|decided| KeptDecisions::of(decided, numbers, share_of)).transpose()?,
            ranked: predicted
                .ranked
                .as_ref()
                .map(|ranked| Ok::<_, anyhow::Error>(some(Arc::new(ranked.clone()))?.as_struct().clone()))
                .transpose()?,
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
            decided: KeptDecisions::read(batch),
            ranked: batch.column_by_name(RANKED).and_then(|column| column.as_struct_opt()).cloned(),
        })
    }

    /// One row alone.
    #[must_use]
    pub fn row(&self, row: usize) -> KeptScores {
        let KeptScores { fields, values, ways, by, decided, ranked } = self;
        let values = values.iter().map(|column| column.slice(row, 1)).collect();
        let decided = decided.as_ref().map(|decided| decided.row(row));
        let ranked = ranked.as_ref().map(|ranked| ranked.slice(row, 1));
        KeptScores { fields: fields.clone(), values, ways: ways.slice(row, 1), by: by.slice(row, 1), decided, ranked }
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
    let mut columns: Vec<(&'static str, ArrayRef)> = vec![
        ("prediction", Arc::new(StructArray::try_new(fields, values, None)?)),
        ("way", join(&|scores| Arc::new(scores.ways.clone()))?),
        ("scored_by", join(&|scores| Arc::new(scores.by.clone()))?),
    ];
    // Rows of one deployment, by one set of definitions: all of them were ranked and decided about, or none.
    if all.iter().all(|scores| scores.ranked.is_some()) {
        let ranked =
            |scores: &KeptScores| scores.ranked.clone().map_or_else(|| new_null_array(&DataType::Null, 0), |ranked| Arc::new(ranked) as ArrayRef);
        columns.push((RANKED, join(&ranked)?));
    }
    let decided: Vec<&KeptDecisions> = all.iter().filter_map(|scores| scores.decided.as_ref()).collect();
    if decided.len() == all.len() {
        let join = |part: &dyn Fn(&KeptDecisions) -> ArrayRef| -> Result<ArrayRef> {
            let parts: Vec<ArrayRef> = decided.iter().map(|decisions| part(decisions)).collect();
            Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?)
        };
        columns.extend([
            ("action", join(&|kept| Arc::new(kept.decided.actions.clone()))?),
            ("propensity", join(&|kept| Arc::new(kept.decided.propensities.clone()))?),
            ("explored", join(&|kept| Arc::new(kept.decided.explored.clone()))?),
            ("logged_share", join(&|kept| Arc::new(kept.shares.clone()))?),
        ]);
    }
    Ok(columns)
}
