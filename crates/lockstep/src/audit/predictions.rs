//! Predictions, computed again: the same models, on features as they were replayed.
//!
//! The log has the predictions of a deployment beside the features of each of its steps. The last step's features give them, and the fallback's where that has answered; so a prediction is
//! computed again where these are logged. What an earlier step predicted went into the next one, whose request it is logged in.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::Field;
use futures::executor::block_on;
use lockstep_model::{Error, EventTime};
use lockstep_serve::scoring::{Deployed, Deployments, MIXED, Models, Of, Stage, Way};
use lockstep_store::{CutRead, Definitions};
use lockstep_transform::catalog::Catalog;

use super::places;
use super::report::PredictionsReplayed;
use crate::kept::{Kept, KeptScores, ScoredBy};
use crate::recompute::Again;
use crate::verify::{same, shown};

/// Threads that run a model again.
const THREADS: usize = 1;

/// What runs models again.
pub struct Predictions<'a> {
    models: &'a Models,
    history: Vec<Definitions>,
    /// Deployments by the number of their definitions, or why they cannot be run.
    deployed: BTreeMap<(Option<u64>, String), Result<Deployed, String>>,
}

/// What a row's predictions follow from. Of ranked candidates a row is all of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    /// The model of a step, by its place.
    Step(usize),
    Fallback,
    Defaults,
    Nothing,
    /// Each candidate's from its own way.
    Each,
}

impl Drop for Predictions<'_> {
    fn drop(&mut self) {
        self.deployed.values().flatten().flat_map(Deployed::stages).for_each(|stage| stage.model.finish());
    }
}

impl<'a> Predictions<'a> {
    /// Of the models that the definitions of a store name.
    ///
    /// # Errors
    /// Where these cannot be read.
    pub fn new(cut: &dyn CutRead, models: &'a Models) -> Result<Predictions<'a>> {
        Ok(Predictions { models, history: cut.definitions_history()?, deployed: BTreeMap::new() })
    }

    /// Computes the predictions of an answer again, of features that were computed again, and tells `report`.
    ///
    /// # Errors
    /// Data where the log does not say what predicted.
    pub fn replay(&mut self, catalog: &Catalog, kept: &Kept, again: &Again, report: &mut PredictionsReplayed) -> Result<()> {
        let Some(scores) = &kept.predicted else { return Ok(()) };
        let mut same_way: BTreeMap<(String, From), Vec<u32>> = BTreeMap::new();
        let mut known: Option<(&str, ScoredBy)> = None;
        for row in 0..kept.len() {
            let text = scores.by.value(row);
            let by = match known.take() {
                Some((of, by)) if of == text => by,
                _ => serde_json::from_str(text)
                    .map_err(|error| Error::data(format!("the log says of a row that it was scored, and not by what: {error}")))?,
            };
            let deployed = self.deployed(catalog, kept.from.definitions, &by.deployment);
            match deployed.and_then(|deployed| from(deployed, kept, scores.ways.value(row), &by)) {
                Ok(from) => same_way.entry((by.deployment.clone(), from)).or_default().push(row as u32),
                Err(why) => report.not_computed(1, &why),
            }
            if let Ok(deployed) = self.deployed(catalog, kept.from.definitions, &by.deployment) {
                places::replay(deployed, kept, (scores, row), report)?;
            }
            known = Some((text, by));
        }
        for ((name, from), rows) in same_way {
            let Some(Ok(deployed)) = self.deployed.get(&(kept.from.definitions, name)) else { continue };
            match predict(deployed, &from, (kept, scores), again, &rows)? {
                Ok(columns) => compare(kept, scores, (&columns, &rows), report),
                Err(why) => report.not_computed(rows.len() as u64, &why),
            }
        }
        Ok(())
    }

    /// A deployment of a set of definitions, loaded once.
    fn deployed(&mut self, catalog: &Catalog, number: Option<u64>, name: &str) -> Result<&Deployed, String> {
        let Predictions { models, history, deployed } = self;
        let loaded = deployed.entry((number, name.to_owned())).or_insert_with(|| {
            let definitions = match number {
                None => history.last(),
                Some(number) => history.iter().find(|definitions| definitions.version == number),
            };
            let definitions = definitions.ok_or_else(|| "their definitions are not known".to_owned())?;
            Deployments::load_one(models, Of { definitions, catalog }, name, THREADS).map_err(|error| format!("`{name}` cannot be run: {error}"))
        });
        loaded.as_ref().map_err(Clone::clone)
    }
}

/// What the predictions of a row follow from, where its features are among those that are logged here; else why they cannot be computed.
fn from(deployed: &Deployed, kept: &Kept, way: &str, by: &ScoredBy) -> Result<From, String> {
    let is_here = |stage: &Stage| stage.model.bound.service == kept.from.name;
    let is_same = |stage: &Stage| {
        let ran = by.models.iter().find(|ran| ran.step == stage.name);
        let other = || format!("model `{}` is another file in the store than was run", stage.model.bound.name);
        if ran.is_some_and(|ran| ran.sha256 == stage.model.bound.sha256) { Ok(()) } else { Err(other()) }
    };
    match (way, deployed.steps.split_last()) {
        (MIXED, Some((last, []))) if kept.predicted.as_ref().is_some_and(|scores| scores.ranked.is_some()) => {
            is_same(last)?;
            deployed.fallback.iter().filter(|stage| by.models.iter().any(|ran| ran.step == stage.name)).try_for_each(is_same)?;
            Ok(From::Each)
        }
        (MIXED, Some((_, [_, ..]))) => Err("they are logged beside the features of the last step, too, and computed there".to_owned()),
        (MIXED, _) => Err("the candidates of a request went several ways, which an earlier release did not tell apart in the log".to_owned()),
        ("MODEL", Some((last, earlier))) if is_here(last) && !earlier.iter().any(is_here) => is_same(last).map(|()| From::Step(earlier.len())),
        ("MODEL", Some((last, _))) if is_here(last) => Err(format!("several steps of `{}` take features of `{}`", deployed.name, kept.from.name)),
        ("MODEL", _) => Err("they are logged beside the features of the last step, too, and computed there".to_owned()),
        ("FALLBACK_MODEL", _) => match &deployed.fallback {
            Some(stage) if is_here(stage) => is_same(stage).map(|()| From::Fallback),
            _ => Err("they are logged beside the features of the fallback, too, and computed there".to_owned()),
        },
        ("DEFAULT", _) => Ok(From::Defaults),
        ("NONE", _) => Ok(From::Nothing),
        _ => Err("they were made of features that were read earlier, nobody knows where".to_owned()),
    }
}

/// Predictions of some rows, or why there are none. Candidates are logged as lists beside the features of their service, of which each element is a row of its own.
fn predict(
    deployed: &Deployed,
    from: &From,
    (kept, scores): (&Kept, &KeptScores),
    again: &Again,
    rows: &[u32],
) -> Result<Result<Vec<ArrayRef>, String>> {
    let taken = UInt32Array::from(rows.to_vec());
    let columns = again.columns.iter().map(|column| take(column, &taken, None)).collect::<Result<Vec<_>, _>>()?;
    let is_first = deployed.steps.first().is_some_and(|stage| stage.model.bound.service == kept.from.name);
    if deployed.ranking.is_none() || !is_first {
        return predict_rows(deployed, from, &columns, rows.len());
    }
    let lists = columns.iter().map(|column| column.as_list_opt::<i32>()).collect::<Option<Vec<&ListArray>>>();
    let Some(lists) = lists.filter(|lists| !lists.is_empty()) else { return Ok(Err("their features are no lists of candidates".to_owned())) };
    let offsets = lists[0].offsets().clone();
    let count = lists[0].values().len();
    let elements: Vec<ArrayRef> = lists.iter().map(|list| Arc::clone(list.values())).collect();
    let nested = |values: ArrayRef| -> ArrayRef {
        Arc::new(ListArray::new(Arc::new(Field::new_list_field(values.data_type().clone(), true)), offsets.clone(), values, None))
    };
    let predicted = match from {
        From::Each => predict_each(deployed, &places::ways(scores, &taken)?, &elements)?,
        from => predict_rows(deployed, from, &elements, count)?,
    };
    Ok(predicted.map(|columns| columns.into_iter().map(nested).collect()))
}

/// Predictions of candidates of which each went a way of its own, or why there are none.
fn predict_each(deployed: &Deployed, ways: &[Way], elements: &[ArrayRef]) -> Result<Result<Vec<ArrayRef>, String>> {
    let mut by_way: Vec<(Way, Vec<ArrayRef>)> = Vec::new();
    for &way in ways {
        if by_way.iter().any(|(known, _)| *known == way) {
            continue;
        }
        let from = match way {
            Way::Model => From::Step(0),
            Way::Fallback => From::Fallback,
            Way::Default => From::Defaults,
            Way::None => From::Nothing,
            Way::LastKnownGood => return Ok(Err("they were made of features that were read earlier, nobody knows where".to_owned())),
        };
        match predict_rows(deployed, &from, elements, ways.len())? {
            Ok(columns) => by_way.push((way, columns)),
            Err(why) => return Ok(Err(why)),
        }
    }
    let place = |(row, way): (usize, &Way)| (by_way.iter().position(|(of, _)| of == way).unwrap_or_default(), row);
    let places: Vec<(usize, usize)> = ways.iter().enumerate().map(place).collect();
    let column = |at: usize| -> Result<ArrayRef> {
        let columns: Vec<&dyn Array> = by_way.iter().map(|(_, columns)| &*columns[at]).collect();
        Ok(interleave(&columns, &places)?)
    };
    Ok(Ok((0..deployed.schema.fields().len()).map(column).collect::<Result<_>>()?))
}

/// Predictions of rows with these features, or why there are none.
fn predict_rows(deployed: &Deployed, from: &From, columns: &[ArrayRef], rows: usize) -> Result<Result<Vec<ArrayRef>, String>> {
    let stage = match from {
        From::Step(at) => deployed.steps.get(*at),
        From::Each => None,
        From::Fallback => deployed.fallback.as_ref(),
        From::Defaults => {
            let all = UInt32Array::from(vec![0; rows]);
            return Ok(Ok(deployed.defaults.iter().map(|default| take(default, &all, None)).collect::<Result<_, _>>()?));
        }
        From::Nothing => {
            let none = |field: &Arc<Field>| arrow::array::new_null_array(field.data_type(), rows);
            return Ok(Ok(deployed.schema.fields().iter().map(none).collect()));
        }
    };
    let Some(stage) = stage else { return Ok(Err("their deployment has no such step".to_owned())) };
    let bound = &stage.model.bound;
    let mut inputs = bound.tensors(columns)?;
    if inputs.rows.is_empty() {
        return Ok(Ok(bound.predictions(&[], &inputs)?));
    }
    let tensors = std::mem::take(&mut inputs.tensors);
    match block_on(stage.model.run(tensors, inputs.rows.len(), None)) {
        Ok(outputs) => Ok(Ok(bound.predictions(&outputs, &inputs)?)),
        Err(trouble) => Ok(Err(format!("model `{}` was run again, and failed: {trouble}", bound.name))),
    }
}

fn compare(kept: &Kept, scores: &KeptScores, (columns, rows): (&[ArrayRef], &[u32]), report: &mut PredictionsReplayed) {
    report.rows += rows.len() as u64;
    for ((field, logged), computed) in scores.fields.iter().zip(&scores.values).zip(columns) {
        for (at, &row) in rows.iter().enumerate() {
            let row = row as usize;
            report.values += 1;
            if same(&logged.slice(row, 1), &computed.slice(at, 1)) {
                continue;
            }
            report.differs(|| {
                format!(
                    "{}.{} of {} at {}: logged {}, computed {}",
                    kept.from.name,
                    field.name(),
                    kept.called(row),
                    EventTime(kept.moments[row]),
                    shown(logged, row),
                    shown(computed, at),
                )
            });
        }
    }
}
