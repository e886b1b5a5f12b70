//! What became of rows that a deployment scored: which way each went, and what was predicted.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::datatypes::DataType;
use lockstep_model::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::{FeaturePart, FeatureReport, PartReport, short};
use crate::output::Paint;
use crate::table::{Align, Cell, Table};
use crate::text::grouped;

/// What rows were scored by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scores {
    /// The deployment.
    pub deployment: String,
    /// Its models, and its fallback's, in the order in which they are run.
    pub models: Vec<ModelUsed>,
    /// Whether the features that went into them are written.
    pub features: bool,
}

/// A model that rows were scored by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelUsed {
    /// What the deployment calls it.
    pub step: String,
    /// Its name.
    pub model: String,
    /// SHA-256 of its file.
    pub sha256: String,
    /// What ran it.
    pub runtime: String,
    /// The feature service whose outputs went into it.
    pub service: String,
    /// Fingerprint of what that means.
    pub service_meaning: String,
}

/// The scores of a part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoredPart {
    /// How many rows went each way.
    pub ways: BTreeMap<String, u64>,
    /// How many did not go the way of the model, by the word for why.
    pub whys: BTreeMap<String, u64>,
    /// Per prediction.
    pub predictions: Vec<FeaturePart>,
}

impl ScoredPart {
    /// Counts a row.
    pub fn count(&mut self, way: &str, why: Option<&str>) {
        let add = |counts: &mut BTreeMap<String, u64>, name: &str| match counts.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(counts.insert(name.to_owned(), 1)),
        };
        add(&mut self.ways, way);
        why.into_iter().for_each(|why| add(&mut self.whys, why));
    }
}

/// The scores of all rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScoredRows {
    /// How many rows went each way: `MODEL`, `FALLBACK_MODEL`, `DEFAULT` or `NONE`.
    pub ways: BTreeMap<String, u64>,
    /// How many did not go the way of the model, by the word for why: `missing` or `unfit` features.
    pub whys: BTreeMap<String, u64>,
    /// Per prediction, in order.
    pub predictions: Vec<FeatureReport>,
}

impl ScoredRows {
    /// Puts parts together.
    ///
    /// # Errors
    /// Data where a part has other predictions.
    pub fn new(names: &[String], types: &[DataType], parts: &[PartReport]) -> Result<ScoredRows, Error> {
        let mut all = ScoredRows::default();
        let scored: Vec<&ScoredPart> = parts.iter().filter_map(|part| part.scored.as_ref()).collect();
        for part in &scored {
            part.ways.iter().for_each(|(way, count)| *all.ways.entry(way.clone()).or_default() += count);
            part.whys.iter().for_each(|(why, count)| *all.whys.entry(why.clone()).or_default() += count);
        }
        // A part without rows has nothing of any of them.
        let told: Vec<&Vec<FeaturePart>> = scored.iter().map(|part| &part.predictions).filter(|predictions| !predictions.is_empty()).collect();
        for (at, (name, data_type)) in names.iter().zip(types).enumerate() {
            let parts = told.iter().map(|predictions| predictions.get(at).ok_or_else(|| Error::data("a part of the scores has other predictions")));
            all.predictions.push(FeatureReport::new(name, data_type, parts)?);
        }
        Ok(all)
    }

    /// Predictions and ways, as people read them.
    pub fn text(&self, paint: Paint) -> String {
        let columns = [("prediction", Align::Left), ("present", Align::Right), ("mean", Align::Right), ("median", Align::Right)];
        let mut table = Table::new(&columns).indented(2);
        let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        for FeatureReport { name, statuses, summary, .. } in &self.predictions {
            let median = summary.quantiles.as_ref().and_then(|quantiles| quantiles.get(3).copied());
            table.row([Cell::from(name.as_str()), grouped(statuses.present).into(), number(summary.mean).into(), number(median).into()]);
        }
        let told =
            |counts: &BTreeMap<String, u64>| counts.iter().map(|(word, rows)| format!("{word} {}", grouped(*rows))).collect::<Vec<_>>().join(", ");
        let mut text = table.render(paint);
        let _ = writeln!(text, "\n  by {}", told(&self.ways));
        if !self.whys.is_empty() {
            let _ = writeln!(text, "  {} {}", paint.yellow("not by the model:"), told(&self.whys));
        }
        text
    }
}
