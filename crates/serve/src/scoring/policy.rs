//! Which action a row is given, and whether it tries another one than its predictions say.
//!
//! What is left to chance is drawn by a frozen hash of the deployment, the request's id and the row in it, so that every server, and every replay, gives the same row the same action. A row
//! of a request without an id is drawn by its columns and its moment. The hash is another one than those by which a log picks its share and caps leave rows out, so that what is tried is not
//! what is logged, or kept.
//!
//! With the action comes its *propensity*: with which probability this row would have been given it, over all draws. It is what makes a fair estimate of logged rows possible, so it is counted
//! from what the draw is made by, and not measured. Of ranked candidates the order is what is decided: a request that explores is answered in an order of chance, and a candidate's propensity is
//! the probability with which it stands where it stands. Only rows that the deployment's own model has scored explore; what stands in where it fails is taken as it is, with a propensity of 1.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Float64Type};
use lockstep_model::Error;
use lockstep_model::row::RowCodec;
use lockstep_transform::definition::{Actions, DecideBy, Deployment, Explore, ExploreBy, Prediction};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::score::Way;

/// Whether a row explores, and what it tries then. Frozen: other seeds would give other actions to the same requests.
const SHARE_SEED: u64 = 0x6578_706c_6f72_6501;
const CHOICE_SEED: u64 = 0x6578_706c_6f72_6502;

/// What decides about the rows of a deployment.
#[derive(Debug, Clone)]
pub struct Policy {
    deployment: String,
    actions: Option<Actions>,
    explore: Option<Explore>,
    /// The predictions that actions follow from: one for each action, or the one that is cut.
    scores: Vec<usize>,
}

/// What was decided of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The action of each row; NULL where nothing was predicted that it follows from, or the deployment has no actions.
    pub actions: StringArray,
    /// With which probability it was chosen; NULL where the deployment has no actions.
    pub propensities: Float64Array,
    /// Whether the row explores: its action was drawn or, where there are no actions, is for its caller to draw.
    pub explored: BooleanArray,
}

/// What is left to chance of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    share: u64,
    choice: u64,
}

/// Ranked candidates in the order in which they are answered.
#[derive(Debug)]
pub(super) struct Reordered {
    /// The rows, those of a request among each other.
    pub(super) order: Vec<u32>,
    /// What was decided of each, in this order.
    pub(super) decided: Decided,
}

impl Draw {
    /// That of bytes that say which row it is.
    pub fn of(bytes: &[u8]) -> Draw {
        Draw { share: xxh3_64_with_seed(bytes, SHARE_SEED), choice: xxh3_64_with_seed(bytes, CHOICE_SEED) }
    }

    /// A number from 0 up to 1, without 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits, which a double holds")]
    fn choice(self) -> f64 {
        (self.choice >> 11) as f64 * 2f64.powi(-53)
    }
}

impl Policy {
    /// That of a deployment; `None` where it has neither actions nor a share that explores.
    pub fn of(deployment: &Deployment) -> Option<Policy> {
        let Deployment { name, actions, explore, predictions, .. } = deployment;
        if actions.is_none() && explore.is_none() {
            return None;
        }
        let place = |name: &String| predictions.iter().position(|Prediction { name: of, .. }| of == name);
        let scores = match actions {
            None => Vec::new(),
            Some(Actions { names, by: DecideBy::Scores }) => names.iter().filter_map(place).collect(),
            Some(Actions { by: DecideBy::Thresholds { prediction, .. }, .. }) => place(prediction).into_iter().collect(),
        };
        Some(Policy { deployment: name.clone(), actions: actions.clone(), explore: *explore, scores })
    }

    /// The actions there are.
    pub fn actions(&self) -> Option<&Actions> {
        self.actions.as_ref()
    }

    /// For which rows something else is tried.
    pub fn explore(&self) -> Option<Explore> {
        self.explore
    }

    /// What is left to chance of the rows of a request.
    pub fn draws(&self, request_id: &str, rows: &RecordBatch, moments: &[i64]) -> Vec<Draw> {
        // Rows of a type that has no bytes of its own are drawn by their moments alone, as where a log picks its share.
        let codec = request_id.is_empty().then(|| RowCodec::new(rows.schema()).ok()).flatten();
        let encoder = codec.as_ref().and_then(|codec| codec.encoder(rows.columns()).ok());
        let mut bytes = Vec::with_capacity(64);
        let draw = |(row, moment): (usize, &i64)| {
            if !request_id.is_empty() {
                return self.draw(request_id, row as u64, &mut bytes);
            }
            self.begin(&mut bytes);
            bytes.extend_from_slice(&moment.to_le_bytes());
            if let Some(encoder) = &encoder {
                encoder.write(row, &mut bytes);
            }
            Draw::of(&bytes)
        };
        moments.iter().enumerate().map(draw).collect()
    }

    /// What is left to chance of a row of a request that has a name; `bytes` is room for it.
    pub fn draw(&self, request_id: &str, row: u64, bytes: &mut Vec<u8>) -> Draw {
        self.begin(bytes);
        bytes.extend_from_slice(request_id.as_bytes());
        bytes.extend_from_slice(&row.to_le_bytes());
        Draw::of(bytes)
    }

    fn begin(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(self.deployment.as_bytes());
        bytes.push(0);
    }

    /// What is decided of rows, by their predictions and how they came to these.
    ///
    /// # Errors
    /// Internal where the predictions are not those that are declared.
    pub fn decide(&self, draws: &[Draw], predictions: &[ArrayRef], ways: &[Way]) -> Result<Decided, Error> {
        let scores = self.scores.iter().map(|&at| numbers(predictions, at)).collect::<Result<Vec<_>, _>>()?;
        let explores = |row: usize| self.explore.filter(|_| ways[row] == Way::Model);
        let Some(actions) = &self.actions else {
            let explored = (0..draws.len()).map(|row| Some(explores(row).is_some_and(|explore| is_in(explore, draws[row])))).collect();
            let (actions, propensities) = (StringArray::new_null(draws.len()), Float64Array::new_null(draws.len()));
            return Ok(Decided { actions, propensities, explored });
        };
        let mut of_row = Vec::with_capacity(scores.len());
        let decide_row = |row: usize| {
            of_row.clear();
            of_row.extend(scores.iter().map(|column| column.is_valid(row).then(|| column.value(row)).filter(|score| !score.is_nan())));
            choose(actions, &of_row, explores(row), draws[row])
        };
        let chosen: Vec<Choice> = (0..draws.len()).map(decide_row).collect();
        Ok(Decided {
            actions: chosen.iter().map(|choice| choice.action.map(|action| actions.names[action].as_str())).collect(),
            propensities: chosen.iter().map(|choice| Some(choice.propensity)).collect(),
            explored: chosen.iter().map(|choice| Some(choice.explored)).collect(),
        })
    }
}

impl Policy {
    /// Ranked candidates as they are answered: those of a request that explores in an order of chance, where the deployment's own model has scored all of them. `requests` says of which request each is,
    /// ascending.
    #[allow(clippy::cast_precision_loss, reason = "candidates of a request")]
    pub(super) fn reorder(&self, draws: &[Draw], requests: &[u32], ways: &[Way]) -> Reordered {
        let mut order: Vec<u32> = (0..requests.len() as u32).collect();
        let (mut propensities, mut explored) = (vec![1.0; requests.len()], vec![false; requests.len()]);
        let mut first = 0;
        for of_request in requests.chunk_by(|a, b| a == b) {
            let rows = first..first + of_request.len();
            first = rows.end;
            let Some(explore) = self.explore.filter(|_| ways[rows.clone()].iter().all(|way| *way == Way::Model)) else { continue };
            let draw = draws[of_request[0] as usize];
            let is_explored = is_in(explore, draw);
            if is_explored {
                draw.shuffle(&mut order[rows.clone()]);
            }
            for place in rows {
                let kept = if order[place] as usize == place { 1.0 - explore.share } else { 0.0 };
                propensities[place] = kept + explore.share / of_request.len() as f64;
                explored[place] = is_explored;
            }
        }
        let actions = StringArray::new_null(requests.len());
        Reordered { order, decided: Decided { actions, propensities: propensities.into(), explored: explored.into() } }
    }
}

impl Draw {
    /// Puts rows into an order of chance, each order as likely as the others.
    fn shuffle(self, rows: &mut [u32]) {
        for place in (1..rows.len()).rev() {
            let drawn = xxh3_64_with_seed(&(place as u64).to_le_bytes(), self.choice);
            rows.swap(place, ((u128::from(drawn) * (place as u128 + 1)) >> 64) as usize);
        }
    }
}

/// What is chosen for a row.
struct Choice {
    action: Option<usize>,
    propensity: f64,
    explored: bool,
}

fn choose(actions: &Actions, scores: &[Option<f64>], explore: Option<Explore>, draw: Draw) -> Choice {
    let Some(best) = best(actions, scores) else { return Choice { action: None, propensity: 1.0, explored: false } };
    let Some(explore) = explore else { return Choice { action: Some(best), propensity: 1.0, explored: false } };
    let tried = Tried::of(actions, scores, explore.by);
    let explored = is_in(explore, draw);
    let action = if explored { tried.draw(draw) } else { best };
    let kept = if action == best { 1.0 - explore.share } else { 0.0 };
    Choice { action: Some(action), propensity: kept + tried.share_of(explore.share, action), explored }
}

/// Whether a row is of the share that explores.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share below 1, of all numbers of 64 bits")]
fn is_in(explore: Explore, draw: Draw) -> bool {
    explore.share >= 1.0 || draw.share < (explore.share * 2f64.powi(64)) as u64
}

/// The action that follows from predictions; `None` where one is missing that it follows from.
fn best(actions: &Actions, scores: &[Option<f64>]) -> Option<usize> {
    match &actions.by {
        DecideBy::Thresholds { bounds, .. } => {
            let score = scores.first().copied().flatten()?;
            Some(bounds.iter().take_while(|bound| **bound <= score).count())
        }
        DecideBy::Scores => {
            let mut best: Option<(usize, f64)> = None;
            for (action, score) in scores.iter().enumerate().filter_map(|(action, score)| Some((action, (*score)?))) {
                if best.is_none_or(|(_, known)| score > known) {
                    best = Some((action, score));
                }
            }
            best.map(|(action, _)| action)
        }
    }
}

/// What is drawn from where a row explores.
enum Tried {
    /// So many actions, each as likely as the others.
    Any(usize),
    /// The probability of each.
    Each(Vec<f64>),
}

impl Tried {
    fn of(actions: &Actions, scores: &[Option<f64>], by: ExploreBy) -> Tried {
        let ExploreBy::Softmax(temperature) = by else { return Tried::Any(actions.names.len()) };
        // Against the largest, so that nothing overflows; an action without a score is never drawn.
        let largest = scores.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |score: &Option<f64>| match score {
            Some(score) if *score == largest => 1.0,
            Some(score) => ((score - largest) / temperature).exp(),
            None => 0.0,
        };
        let weights: Vec<f64> = scores.iter().map(weight).collect();
        let all: f64 = weights.iter().sum();
        Tried::Each(weights.into_iter().map(|weight| weight / all).collect())
    }

    fn draw(&self, draw: Draw) -> usize {
        match self {
            Tried::Any(actions) => ((u128::from(draw.choice) * *actions as u128) >> 64) as usize,
            Tried::Each(probabilities) => {
                let mut left = draw.choice();
                let found = probabilities.iter().position(|probability| {
                    left -= probability;
                    left < 0.0
                });
                // Sums of probabilities are rounded, and may fall short of 1.
                found.or_else(|| probabilities.iter().rposition(|probability| *probability > 0.0)).unwrap_or_default()
            }
        }
    }

    /// What an action has of a share that explores.
    #[allow(clippy::cast_precision_loss, reason = "a few actions")]
    fn share_of(&self, share: f64, action: usize) -> f64 {
        match self {
            Tried::Any(actions) => share / *actions as f64,
            Tried::Each(probabilities) => share * probabilities[action],
        }
    }
}

impl Decided {
    /// The same of some of the rows.
    ///
    /// # Errors
    /// Internal where there are no such rows.
    pub fn of_rows(&self, rows: &[u32]) -> Result<Decided, Error> {
        let rows = UInt32Array::from(rows.to_vec());
        let some = |column: &dyn Array| take(column, &rows, None).map_err(|error| Error::internal("rows of a column").caused_by(error));
        Ok(Decided {
            actions: some(&self.actions)?.as_string().clone(),
            propensities: some(&self.propensities)?.as_primitive().clone(),
            explored: some(&self.explored)?.as_boolean().clone(),
        })
    }

    /// The rows that explore.
    pub fn explored(&self) -> impl Iterator<Item = u32> {
        self.explored.iter().zip(0u32..).filter(|(explored, _)| *explored == Some(true)).map(|(_, row)| row)
    }
}

fn numbers(predictions: &[ArrayRef], at: usize) -> Result<Float64Array, Error> {
    let wrong = || Error::internal("scores of actions are checked, and are no numbers");
    let column = predictions.get(at).ok_or_else(wrong)?;
    let numbers: ArrayRef = match column.data_type() {
        DataType::Float64 => Arc::clone(column),
        _ => cast(column, &DataType::Float64).map_err(|error| wrong().caused_by(error))?,
    };
    Ok(numbers.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.clone())
}

#[cfg(test)]
mod tests;
