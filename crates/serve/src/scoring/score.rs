//! Rows from a request to their predictions, step by step; and what stands in where that fails.
//!
//! Every row goes its own way: one whose features are missing, or that no tensor can be made of, takes no other with it. What a model fails with it fails with for all rows that were
//! run. Rows that fell out are given to the fallback, as a batch, and what that cannot score is answered by the declared defaults.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, interleave, take};
use arrow::datatypes::DataType;
use lockstep_model::Error;
use lockstep_transform::definition::When;

use super::deployed::{Deployed, Given, Stage};
use super::loaded::Loaded;
use super::policy::{Decided, Reordered};
use super::ranked::{Ranked, ranked};
use super::screen::Screen;
use crate::desk::{Answered, Wanted};
use crate::server::{About, Failure};

/// Where features come from: one state, whatever asks for them.
pub trait Lookups: Sync {
    /// The features that are wanted, for each row at its moment.
    fn look_up(&self, wanted: &Arc<Wanted>, rows: RecordBatch, moments: Vec<i64>) -> impl Future<Output = Result<Looked, Failure>> + Send;
}

/// Features that were looked up.
#[derive(Debug)]
pub struct Looked {
    /// What was answered.
    pub answered: Answered,
    /// Whether that is what was read last, since the store did not answer.
    pub recalled: bool,
}

/// How a row came to its predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// By the deployment's model, or all models of its chain.
    Model,
    /// By the model, of features that were read earlier.
    LastKnownGood,
    /// By the deployment's fallback.
    Fallback,
    /// They are the declared defaults.
    Default,
    /// There are none.
    None,
}

impl Way {
    const ALL: [Way; 5] = [Way::Model, Way::LastKnownGood, Way::Fallback, Way::Default, Way::None];

    /// The one that is called so.
    pub fn named(name: &str) -> Option<Way> {
        Way::ALL.into_iter().find(|way| way.name() == name)
    }

    /// As answers and logs call it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Model => "MODEL",
            Way::LastKnownGood => "LAST_KNOWN_GOOD",
            Way::Fallback => "FALLBACK_MODEL",
            Way::Default => "DEFAULT",
            Way::None => "NONE",
        }
    }
}

/// What logs call the way of a request whose candidates went several.
pub const MIXED: &str = "MIXED";

/// Why a row did not go the way of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// One word for it: `missing`, `stale`, `unfit`, `features`, or what the model failed with.
    pub word: &'static str,
    /// The same in words.
    pub text: Arc<str>,
}

/// What was scored.
#[derive(Debug)]
pub struct Scored {
    /// As the deployment declares them.
    pub predictions: Vec<ArrayRef>,
    /// One for each row.
    pub ways: Vec<Way>,
    /// One for each row; `None` where it went the way of the model.
    pub whys: Vec<Option<Why>>,
    /// The models that were run, in order.
    pub ran: Vec<Ran>,
    /// The features of each step, of the rows that came to it.
    pub looked: Vec<StepLooked>,
    /// Which rows are of which request, where they are ranked candidates; else there is one for each.
    pub ranked: Option<Ranked>,
    /// What was decided of each row, where the deployment has actions or explores, and [`Scored::decide`] was asked.
    pub decided: Option<Decided>,
}

impl Scored {
    /// Decides about the rows, which are those that were scored, of a request that is called so.
    ///
    /// # Errors
    /// Internal where the predictions are not those that are declared.
    pub fn decide(&mut self, deployed: &Deployed, request_id: &str, rows: &RecordBatch, moments: &[i64]) -> Result<(), Error> {
        let Some(policy) = &deployed.policy else { return Ok(()) };
        let draws = policy.draws(request_id, rows, moments);
        match &self.ranked {
            None => self.decided = Some(policy.decide(&draws, &self.predictions, &self.ways)?),
            Some(ranked) => {
                let Reordered { order, decided } = policy.reorder(&draws, &ranked.by_request.requests, &self.ways);
                self.reorder(&order)?;
                self.decided = Some(decided);
            }
        }
        Ok(())
    }

    /// What was predicted of all rows that were scored: of candidates, in the order of their service and whether they are answered or not.
    pub fn of_all(&self) -> &[ArrayRef] {
        self.ranked.as_ref().map_or(self.predictions.as_slice(), Ranked::predictions)
    }

    /// Per row: when the oldest thing happened that went into it, µs, in any step; `None` where there is nothing.
    pub fn oldest_inputs(&self) -> Vec<Option<i64>> {
        let mut oldest: Vec<Option<i64>> = vec![None; self.ways.len()];
        for StepLooked { rows, looked, .. } in &self.looked {
            for (&row, at) in rows.iter().zip(looked.answered.oldest_inputs.iter()) {
                let known = &mut oldest[row as usize];
                *known = (*known).into_iter().chain(*at).min();
            }
        }
        oldest
    }
}

/// A model that was run.
#[derive(Debug)]
pub struct Ran {
    /// What the deployment calls it.
    pub step: String,
    /// The model.
    pub model: Arc<Loaded>,
    /// On how many rows.
    pub rows: usize,
}

/// The features of a step.
#[derive(Debug)]
pub struct StepLooked {
    /// What the deployment calls it.
    pub step: String,
    /// Which rows of the request came to it, ascending.
    pub rows: Vec<u32>,
    /// Their features.
    pub looked: Looked,
}

/// Scores rows: what the deployment is asked with, each at its moment. `until` is when the answer is of no use any more.
///
/// # Errors
/// As looking features up; where a model fails and nothing stands in, what it failed with.
pub async fn score<L: Lookups>(
    deployed: &Deployed,
    lookups: &L,
    request: &RecordBatch,
    moments: &[i64],
    until: Option<Instant>,
) -> Result<Scored, Failure> {
    match &deployed.ranking {
        Some(ranking) => ranked(deployed, ranking, lookups, (request, moments), until).await,
        None => scored(deployed, lookups, (request, moments), None, until).await,
    }
}

/// Scores rows, of which the features of the first step may be known.
pub(super) async fn scored<L: Lookups>(
    deployed: &Deployed,
    lookups: &L,
    (request, moments): (&RecordBatch, &[i64]),
    first: Option<Looked>,
    until: Option<Instant>,
) -> Result<Scored, Failure> {
    let mut scoring = Scoring::new(lookups, (request, moments), until);
    scoring.first = first.zip(deployed.steps.first()).map(|(looked, stage)| (Arc::clone(&stage.wanted), looked));
    let by_model = scoring.steps(deployed).await?;
    let mut left = Left::over(moments.len(), &by_model);
    let fallen: Vec<u32> = left.rows().filter(|&row| deployed.may_fall_back(scoring.whys[row as usize].as_ref())).collect();
    let by_fallback = match &deployed.fallback {
        Some(stage) if !fallen.is_empty() => scoring.fall_back(stage, fallen).await?,
        _ => Predicted::default(),
    };
    left.take(&by_fallback);
    if let Some(failure) = scoring.failure.take()
        && !deployed.has_defaults
        && left.rows().next().is_some()
    {
        return Err(failure);
    }
    let recalled = scoring.looked.iter().any(|step| step.looked.recalled);
    let by = By { model: by_model, fallback: by_fallback, recalled };
    let Scoring { whys, ran, looked, .. } = scoring;
    let (predictions, ways) = by.together(deployed, moments.len())?;
    Ok(Scored { predictions, ways, whys, ran, looked, ranked: None, decided: None })
}

/// Predictions of some rows.
#[derive(Debug, Default)]
pub(super) struct Predicted {
    /// Ascending.
    pub(super) rows: Vec<u32>,
    pub(super) columns: Vec<ArrayRef>,
}

/// A request that is being scored.
pub(super) struct Scoring<'a, L> {
    lookups: &'a L,
    request: &'a RecordBatch,
    moments: &'a [i64],
    until: Option<Instant>,
    whys: Vec<Option<Why>>,
    /// What a model, or the store, failed with.
    pub(super) failure: Option<Failure>,
    ran: Vec<Ran>,
    looked: Vec<StepLooked>,
    /// What is asked for each row of, where that is known already.
    pub(super) first: Option<(Arc<Wanted>, Looked)>,
}

impl<'a, L: Lookups> Scoring<'a, L> {
    pub(super) fn new(lookups: &'a L, (request, moments): (&'a RecordBatch, &'a [i64]), until: Option<Instant>) -> Self {
        let (whys, failure, ran, looked, first) = (vec![None; moments.len()], None, Vec::new(), Vec::new(), None);
        Scoring { lookups, request, moments, until, whys, failure, ran, looked, first }
    }

    /// The features that are wanted of some rows: those that are known, or what is looked up.
    async fn look_up(&self, stage: &Stage, rows: &[u32], batch: RecordBatch) -> Result<Looked, Failure> {
        match &self.first {
            Some((wanted, looked)) if wanted.name() == stage.wanted.name() => {
                Ok(Looked { answered: looked.answered.rows(rows)?, recalled: looked.recalled })
            }
            _ => {
                let moments = rows.iter().map(|&row| self.moments[row as usize]).collect();
                self.lookups.look_up(&stage.wanted, batch, moments).await
            }
        }
    }

    /// The predictions of the last step, of the rows that came through all of them.
    async fn steps(&mut self, deployed: &Deployed) -> Result<Predicted, Failure> {
        let screen = Screen::of(deployed);
        let mut earlier: HashMap<&str, (Arc<Vec<u32>>, ArrayRef)> = HashMap::new();
        let mut last = Predicted { rows: (0..self.moments.len() as u32).collect(), columns: Vec::new() };
        for stage in &deployed.steps {
            let batch = self.batch(stage, &last.rows, &earlier)?;
            last = self.stage(stage, last.rows, batch, screen).await?;
            if last.rows.is_empty() {
                return Ok(last);
            }
            let rows = Arc::new(last.rows.clone());
            let named = stage.model.bound.schema.fields().iter().zip(&last.columns);
            earlier.extend(named.map(|(field, column)| (field.name().as_str(), (Arc::clone(&rows), Arc::clone(column)))));
        }
        Ok(last)
    }

    /// What the fallback makes of rows that fell out.
    pub(super) async fn fall_back(&mut self, stage: &Stage, rows: Vec<u32>) -> Result<Predicted, Failure> {
        let batch = self.batch(stage, &rows, &HashMap::new())?;
        // Why a row fell out stays what is told of it, and what the deployment failed with what its caller is told where this fails as well.
        let (whys, failure) = (self.whys.clone(), self.failure.clone());
        let predicted = self.stage(stage, rows, batch, Screen::NONE).await?;
        self.whys = whys;
        self.failure = failure.or(self.failure.take());
        Ok(predicted)
    }

    /// What the service of a stage is asked with, for some rows.
    fn batch(&self, stage: &Stage, rows: &[u32], earlier: &HashMap<&str, (Arc<Vec<u32>>, ArrayRef)>) -> Result<RecordBatch, Error> {
        let all = rows.len() == self.moments.len();
        let column = |given: &Given| match given {
            Given::Caller(at) if all => Ok(Arc::clone(self.request.column(*at))),
            Given::Caller(at) => taken(self.request.column(*at), rows),
            Given::Predicted(name) => {
                let (of, column) = earlier.get(name.as_str()).ok_or_else(|| Error::internal(format!("no step before predicts `{name}`")))?;
                // Both ascend, and no row comes to a step that did not come through those before.
                if of.len() == rows.len() { Ok(Arc::clone(column)) } else { taken(column, &places(of, rows)) }
            }
            Given::Candidate(output) => self.of_candidate(*output, rows),
        };
        let columns = stage.columns.iter().zip(stage.wanted.fields());
        let columns = columns.map(|(given, field)| as_text(column(given)?, field.data_type())).collect::<Result<_, Error>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(stage.wanted.schema()), columns, &options);
        batch.map_err(|error| Error::internal("columns as declared").caused_by(error))
    }

    /// What the service of the first step gives of candidates.
    fn of_candidate(&self, output: usize, rows: &[u32]) -> Result<ArrayRef, Error> {
        let features = self.first.as_ref().map(|(_, looked)| &looked.answered.features);
        let feature = features.and_then(|features| features.get(output));
        let values = &feature.ok_or_else(|| Error::internal("a step takes something of candidates, and there are none"))?.values;
        if rows.len() == values.len() { Ok(Arc::clone(values)) } else { taken(values, rows) }
    }

    /// Runs the model of a stage on the features of some rows. Those that it gives nothing for are left out, and it is noted why.
    async fn stage(&mut self, stage: &Stage, rows: Vec<u32>, batch: RecordBatch, screen: Screen) -> Result<Predicted, Failure> {
        let looked = match self.look_up(stage, &rows, batch).await {
            Ok(looked) => looked,
            Err(failure) if failure.about == About::Reading => {
                self.fell_out(&rows, &Why { word: "features", text: failure.message.as_str().into() });
                self.failure = Some(failure);
                return Ok(Predicted::default());
            }
            Err(failure) => return Err(failure),
        };
        let kept = screen.kept(stage, &looked.answered, (&rows, self.moments), &mut self.whys);
        let columns = looked.answered.features.iter().map(|feature| match &kept {
            None => Ok(Arc::clone(&feature.values)),
            Some(kept) => taken(&feature.values, kept),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let of_columns = match &kept {
            None => rows.clone(),
            Some(kept) => kept.iter().map(|&row| rows[row as usize]).collect(),
        };
        self.looked.push(StepLooked { step: stage.name.clone(), rows, looked });
        if of_columns.is_empty() { Ok(Predicted::default()) } else { self.run(stage, &of_columns, &columns).await }
    }

    async fn run(&mut self, stage: &Stage, rows: &[u32], columns: &[ArrayRef]) -> Result<Predicted, Failure> {
        let (model, bound) = (&stage.model, &stage.model.bound);
        let mut inputs = bound.tensors(columns)?;
        for (row, why) in &inputs.left_out {
            self.whys[rows[*row as usize] as usize] = Some(Why { word: "unfit", text: why.as_str().into() });
        }
        if inputs.rows.is_empty() {
            return Ok(Predicted::default());
        }
        let run = inputs.rows.iter().map(|&row| rows[row as usize]).collect::<Vec<_>>();
        let outputs = match model.run(std::mem::take(&mut inputs.tensors), run.len(), self.until).await {
            Ok(outputs) => outputs,
            Err(trouble) => {
                let failure = trouble.failure(&bound.name);
                self.fell_out(&run, &Why { word: trouble.word(), text: failure.message.as_str().into() });
                self.failure = Some(failure);
                return Ok(Predicted::default());
            }
        };
        self.ran.push(Ran { step: stage.name.clone(), model: Arc::clone(model), rows: run.len() });
        let predictions = bound.predictions(&outputs, &inputs)?;
        let scored = |column: ArrayRef| if inputs.rows.len() == rows.len() { Ok(column) } else { taken(&column, &inputs.rows) };
        Ok(Predicted { rows: run, columns: predictions.into_iter().map(scored).collect::<Result<_, _>>()? })
    }

    fn fell_out(&mut self, rows: &[u32], why: &Why) {
        for &row in rows {
            self.whys[row as usize] = Some(why.clone());
        }
    }
}

impl Deployed {
    /// Whether a row that fell out is for the fallback, where there is one.
    fn may_fall_back(&self, why: Option<&Why>) -> bool {
        match why.map(|why| why.word) {
            Some("missing") => self.when_missing == When::Fallback,
            Some("stale") => self.when_stale == When::Fallback,
            _ => true,
        }
    }
}

/// Rows that nothing was predicted for yet.
struct Left(Vec<bool>);

impl Left {
    fn over(rows: usize, predicted: &Predicted) -> Left {
        let mut left = Left(vec![true; rows]);
        left.take(predicted);
        left
    }

    fn take(&mut self, predicted: &Predicted) {
        predicted.rows.iter().for_each(|&row| self.0[row as usize] = false);
    }

    fn rows(&self) -> impl Iterator<Item = u32> {
        self.0.iter().enumerate().filter(|(_, left)| **left).map(|(row, _)| row as u32)
    }
}

/// Who has predicted what.
struct By {
    model: Predicted,
    fallback: Predicted,
    /// Whether the model had features that were read earlier.
    recalled: bool,
}

impl By {
    /// The predictions of all rows.
    fn together(self, deployed: &Deployed, rows: usize) -> Result<(Vec<ArrayRef>, Vec<Way>), Error> {
        let by_model = if self.recalled { Way::LastKnownGood } else { Way::Model };
        if self.model.rows.len() == rows && rows > 0 {
            return Ok((self.model.columns, vec![by_model; rows]));
        }
        let otherwise = if deployed.has_defaults { Way::Default } else { Way::None };
        let mut ways = vec![otherwise; rows];
        let mut places = vec![(0, 0); rows];
        let mut sources: Vec<&[ArrayRef]> = vec![&deployed.defaults];
        for (predicted, way) in [(&self.model, by_model), (&self.fallback, Way::Fallback)] {
            for (at, &row) in predicted.rows.iter().enumerate() {
                (ways[row as usize], places[row as usize]) = (way, (sources.len(), at));
            }
            if !predicted.rows.is_empty() {
                sources.push(&predicted.columns);
            }
        }
        let column = |at: usize| {
            let columns: Vec<&dyn Array> = sources.iter().map(|columns| &*columns[at]).collect();
            interleave(&columns, &places).map_err(|error| Error::internal("predictions of one type").caused_by(error))
        };
        Ok(((0..deployed.defaults.len()).map(column).collect::<Result<_, _>>()?, ways))
    }
}

/// The places of `rows` among `of`, both ascending.
fn places(of: &[u32], rows: &[u32]) -> Vec<u32> {
    rows.iter().filter_map(|row| of.binary_search(row).ok()).map(|at| at as u32).collect()
}

/// A column as its service asks for it: texts may be held otherwise.
fn as_text(column: ArrayRef, wanted: &DataType) -> Result<ArrayRef, Error> {
    if column.data_type() == wanted {
        return Ok(column);
    }
    cast(&column, wanted).map_err(|error| Error::internal("texts as texts").caused_by(error))
}

pub(super) fn taken(column: &ArrayRef, rows: &[u32]) -> Result<ArrayRef, Error> {
    take(column, &UInt32Array::from(rows.to_vec()), None).map_err(|error| Error::internal("rows of a column").caused_by(error))
}
