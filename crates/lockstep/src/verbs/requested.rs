//! `get --request`: one answer that was logged, and what has changed since.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{Field, Float64Type, Int32Type};
use lockstep_model::{Error, EventTime};
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::audit::Log;
use super::get::{Feature, Got};
use super::score::{DecidedRow, Predicted};
use super::{Context, verify};
use crate::ask;
use crate::audit::{Audited, Difference, Inputs, Versions, audit};
use crate::failure::Outcome;
use crate::kept::{Kept, KeptScores, ScoredBy};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::verify::shown;

/// Shows the answer to a request.
///
/// # Errors
/// NotFound where it is not in the log.
pub fn run(context: &Context, request_id: &str, log: Option<&Path>) -> Result<Outcome> {
    let log = log.map(Log::read).transpose()?;
    let requested = context.ask(&Question { request_id: request_id.to_owned(), log })?;
    context.out.show(&requested)?;
    Ok(Outcome::of(requested.vectors.iter().all(|vector| vector.replayed.is_empty())))
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// What its caller called the request.
    pub request_id: String,
    /// The log that the command line names; else the store's own.
    pub log: Option<Log>,
}

/// A request that was answered and logged.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// What its caller called it.
    pub request_id: String,
    /// Its rows, in their order.
    pub vectors: Vec<Vector>,
}

/// A row of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Vector {
    /// Its place in the request.
    pub row: u64,
    /// When it was answered.
    pub served_at: Option<String>,
    /// The definitions that answered, by their number.
    pub definitions: Option<u64>,
    /// What was answered.
    pub answer: Got,
    /// What was predicted of it, where it was looked up to be scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<Scored>,
    /// Values that are others by now, at the same moment, and why.
    pub changed: Vec<Difference>,
    /// Values that are not what their own positions give: the log, or what served them, is wrong.
    pub replayed: Vec<String>,
    /// Why it cannot be computed again, where it cannot.
    pub not_auditable: Vec<String>,
}

/// What was predicted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Scored {
    /// The deployment.
    pub deployment: String,
    /// How the row came to its predictions.
    pub way: String,
    /// The predictions.
    pub predictions: Vec<Predicted>,
    /// What was decided; absent where the deployment has no actions and does not explore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<DecidedRow>,
    /// What was done with its candidates, in the order of their service; absent where nothing was ranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranked: Option<Vec<Placed>>,
    /// The models that were run for the request.
    pub models: Vec<ScoredModel>,
}

/// What was done with a candidate.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    /// At which place it was answered, from 1; absent where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<i32>,
    /// With which probability it stood there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity: Option<f64>,
}

impl Placed {
    fn all(ranked: &StructArray, row: usize) -> Option<Vec<Placed>> {
        let lists = |name: &str| Some(ranked.column_by_name(name)?.as_list_opt::<i32>()?.value(row));
        let (places, propensities) = (lists("place")?, lists("propensity")?);
        let (places, propensities) = (places.as_primitive_opt::<Int32Type>()?, propensities.as_primitive_opt::<Float64Type>()?);
        Some(places.iter().zip(propensities).map(|(place, propensity)| Placed { place, propensity }).collect())
    }
}

/// Places for people: where each candidate was answered, and with which probability.
fn places_text(ranked: &[Placed]) -> String {
    let place = |placed: &Placed| match (placed.place, placed.propensity) {
        (Some(place), Some(propensity)) => format!("{place} ({propensity:.3})"),
        (Some(place), None) => place.to_string(),
        (None, _) => "–".to_owned(),
    };
    format!("places (with propensities) [{}]\n", ranked.iter().map(place).collect::<Vec<_>>().join(", "))
}

/// A model that was run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScoredModel {
    /// The model.
    pub model: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

impl Scored {
    fn of(scores: &KeptScores, row: usize) -> Result<Scored> {
        let unreadable = |error| Error::data(format!("the log says of a row that it was scored, and not by what: {error}"));
        let ScoredBy { deployment, models } = serde_json::from_str(scores.by.value(row)).map_err(unreadable)?;
        let predicted = |(field, values): (&Arc<Field>, &ArrayRef)| Predicted {
            name: field.name().clone(),
            value: values.is_valid(row).then(|| shown(values, row)),
        };
        Ok(Scored {
            deployment,
            way: scores.ways.value(row).to_owned(),
            predictions: scores.fields.iter().zip(&scores.values).map(predicted).collect(),
            decided: scores.decided.as_ref().map(|kept| DecidedRow::of(&kept.decided, row)),
            ranked: scores.ranked.as_ref().and_then(|ranked| Placed::all(ranked, row)),
            models: models.into_iter().map(|by| ScoredModel { model: by.model, sha256: by.sha256 }).collect(),
        })
    }
}

impl ask::Question for Question {
    const VERB: &'static str = "get --request";
    type Answer = Requested;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Requested> {
        progress("looking for the request in the log")?;
        let log = Log::of(self.log.as_ref(), owned)?;
        let mut rows: Vec<Kept> = Vec::new();
        // The newest first: what is asked about was mostly served lately, and a request is in one file.
        for file in log.files.iter().rev() {
            if file.has_request(&self.request_id)? {
                let all = file.read()?;
                let of_request = |kept: &Kept, row: &usize| kept.request_id(*row) == Some(self.request_id.as_str());
                rows.extend(all.iter().flat_map(|kept| (0..kept.len()).filter(move |row| of_request(kept, row)).map(move |row| kept.row(row))));
            }
        }
        if rows.is_empty() {
            let expired = match log.expired.vectors {
                0 => String::new(),
                vectors => format!(", and {vectors} earlier vectors are past its retention"),
            };
            let advice = "a vector waits for its file for as long as `roll` says; with a `share` below 1 not every request is logged";
            return Err(Error::not_found(format!("no request `{}` is in the feature log{expired} · {advice}", self.request_id)).into());
        }
        rows.sort_by_key(|kept| (kept.moments[0], kept.numbers[0]));
        let cut = OnlineStore::cut(&*owned.store);
        // Together, so that the inputs are read once.
        let (files, models) = (verify::files(owned, &*cut)?, owned.models());
        let inputs = Inputs { files: &files, models: &models, since: None };
        let audited = audit(&*cut, &Versions::of(&*cut, &rows)?, inputs, &rows, true, progress)?;
        let vectors = rows.iter().map(|kept| Vector::of(kept, &audited)).collect::<Result<_>>()?;
        Ok(Requested { request_id: self.request_id.clone(), vectors })
    }
}

impl Vector {
    fn of(kept: &Kept, audited: &Audited) -> Result<Vector> {
        let at = EventTime(kept.moments[0]).to_string();
        let is_of = |difference: &&Difference| difference.name == kept.from.name && difference.row == kept.numbers[0] && difference.at == at;
        let mut not_auditable: Vec<String> = audited.not_auditable.iter().map(|reason| reason.why.clone()).collect();
        if kept.from.recalled {
            not_auditable.push("the store did not answer, and the last known good was given: where that was read is not known".to_owned());
        }
        let (name, called) = (&kept.from.name, kept.called(0));
        let is_replayed = |line: &&String| line.starts_with(&format!("{name}.")) && line.contains(&format!(" of {called} at {at}: "));
        let predictions = audited.predictions.iter().flat_map(|predictions| &predictions.first);
        let replayed = audited.replay.first.iter().chain(predictions);
        Ok(Vector {
            row: kept.numbers[0],
            served_at: kept.logged.as_ref().map(|logged| EventTime(logged.served_at[0]).to_string()),
            definitions: kept.from.definitions,
            answer: Got {
                name: name.clone(),
                at: at.clone(),
                time: kept.from.time,
                oldest_input_at: None,
                features: features(kept)?,
                explained: None,
            },
            scored: kept.predicted.as_ref().map(|scores| Scored::of(scores, 0)).transpose()?,
            changed: audited.hindsight.examples.iter().filter(is_of).cloned().collect(),
            replayed: replayed.filter(is_replayed).cloned().collect(),
            not_auditable,
        })
    }
}

/// The features that were answered.
fn features(kept: &Kept) -> Result<Vec<Feature>> {
    let asked = (0..kept.outputs.len()).filter(|&output| kept.was_asked(output, 0));
    asked
        .map(|output| {
            let event_times = kept.logged.as_ref().map(|logged| &logged.event_times[output]);
            let event_time = event_times.filter(|times| times.is_valid(0)).map(|times| EventTime(times.value(0)).to_string());
            let values = &kept.values[output];
            Ok(Feature {
                name: kept.outputs[output].name().clone(),
                value: values.is_valid(0).then(|| shown(values, 0)),
                status: word(kept.statuses[output].value(0))?,
                filled_by: word(kept.filled_by[output].value(0))?,
                event_time,
            })
        })
        .collect()
}

/// A status or a fill by its name.
fn word<T: DeserializeOwned>(name: &str) -> Result<T> {
    let unknown = |_| Error::data(format!("the log says `{name}`, which is no status or fill of this release"));
    Ok(serde_json::from_value(Value::String(name.to_owned())).map_err(unknown)?)
}

impl Report for Requested {
    fn text(&self, paint: Paint) -> String {
        self.vectors.iter().map(|vector| vector.text(paint)).collect::<Vec<_>>().join("\n")
    }
}

impl Vector {
    fn text(&self, paint: Paint) -> String {
        let served_at = self.served_at.as_ref().map(|at| format!("served at {at}")).unwrap_or_default();
        let definitions = self.definitions.map(|number| format!(" by definitions number {number}")).unwrap_or_default();
        let mut text = format!("{}{}\n", self.answer.text(paint), paint.dim(format!("row {}, {served_at}{definitions}", self.row)));
        if let Some(Scored { deployment, way, predictions, decided, ranked, models }) = &self.scored {
            let shown = |predicted: &Predicted| format!("{} {}", predicted.name, predicted.value.as_deref().unwrap_or("NULL"));
            let by: Vec<String> = models.iter().map(|by| format!("{} ({})", by.model, by.sha256.get(..12).unwrap_or(&by.sha256))).collect();
            text += &format!("{deployment}: {} by {way}, {}\n", predictions.iter().map(shown).collect::<Vec<_>>().join(", "), by.join(", "));
            if let Some(decided) = decided {
                text += &format!("{}\n", decided.text());
            }
            text += &ranked.as_deref().map(places_text).unwrap_or_default();
        }
        for line in &self.replayed {
            text += &format!("{} {line}\n", paint.red("differs:"));
        }
        for why in &self.not_auditable {
            text += &format!("{} {why}\n", paint.yellow("not auditable:"));
        }
        for difference in &self.changed {
            let now = difference.now.as_deref().unwrap_or("NULL");
            text += &format!("{} {} is {now} {} by now: {}\n", paint.yellow("changed:"), difference.feature, difference.now_status, difference.why());
        }
        if self.changed.is_empty() && self.not_auditable.is_empty() && self.replayed.is_empty() {
            text += "with all that is known by now, it is the same\n";
        }
        text
    }
}
