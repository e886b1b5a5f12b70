//! Candidates that are scored: each is a row of its own from its features to its prediction, and those of a request are answered together, in the order of what was predicted.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_model::Error;
use lockstep_transform::service::{ByRequest, CandidateCounts};

use super::deployed::{Deployed, Ranking, Stage};
use super::policy::Decided;
use super::score::{Looked, Lookups, Scored, StepLooked, Way, scored, taken};
use crate::desk::{Answered, Feature};
use crate::server::Failure;

/// What is said of candidates beside their predictions.
#[derive(Debug)]
pub struct Ranked {
    /// Which rows answer which request, and what became of its candidates.
    pub by_request: Arc<ByRequest>,
    /// Which candidate each row is: outputs of the service.
    pub items: Vec<Feature>,
    /// All that were scored, as the service gives them.
    pub(super) all: All,
    /// Which of all each row is.
    pub(super) order: Vec<u32>,
}

/// All candidates, in the order of their service.
#[derive(Debug)]
pub(super) struct All {
    pub(super) by_request: Arc<ByRequest>,
    pub(super) predictions: Vec<ArrayRef>,
    pub(super) ways: Vec<Way>,
    /// Of each step that was looked up, those that came to it.
    pub(super) came: Vec<Vec<u32>>,
}

impl Ranked {
    /// The predictions of all that were scored, as the service gives them.
    pub(super) fn predictions(&self) -> &[ArrayRef] {
        &self.all.predictions
    }

    /// Which of all that were scored are of which request.
    pub fn all_by_request(&self) -> &Arc<ByRequest> {
        &self.all.by_request
    }
}

/// Scores the candidates of each row of a request, and ranks them.
///
/// # Errors
/// As scoring; where their features cannot be read, since it is not known then which there are.
pub(super) async fn ranked<L: Lookups>(
    deployed: &Deployed,
    ranking: &Ranking,
    lookups: &L,
    (request, moments): (&RecordBatch, &[i64]),
    until: Option<Instant>,
) -> Result<Scored, Failure> {
    let Some(first) = deployed.steps.first() else { return Err(Error::internal("a deployment without steps").into()) };
    let Candidates { looked, by, rows, moments } = Candidates::of(first, lookups, (request, moments)).await?;
    let scored = scored(deployed, lookups, (&rows, &moments), Some(looked), until).await?;
    Ok(in_order(ranking, scored, by)?)
}

/// The candidates of a request, as the service of a first step gives them.
pub(super) struct Candidates {
    pub(super) looked: Looked,
    pub(super) by: Arc<ByRequest>,
    /// For each candidate, what its request gives.
    pub(super) rows: RecordBatch,
    /// The moment of each, µs.
    pub(super) moments: Vec<i64>,
}

impl Candidates {
    /// Looks them up.
    ///
    /// # Errors
    /// Where their features cannot be read, since it is not known then which there are.
    pub(super) async fn of<L: Lookups>(first: &Stage, lookups: &L, (request, moments): (&RecordBatch, &[i64])) -> Result<Candidates, Failure> {
        let columns = first.columns.iter().map(|given| given.of_caller(request)).collect::<Result<Vec<_>, _>>()?;
        let asked = RecordBatch::try_new(Arc::clone(first.wanted.schema()), columns);
        let asked = asked.map_err(|error| Error::internal("columns as declared").caused_by(error))?;
        let looked = lookups.look_up(&first.wanted, asked, moments.to_vec()).await?;
        let Some(by) = looked.answered.by_request.clone() else { return Err(Error::internal("candidates that are of no request").into()) };
        let of_each = request.columns().iter().map(|column| taken(column, &by.requests)).collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatch::try_new(request.schema(), of_each).map_err(|error| Error::internal("columns as declared").caused_by(error))?;
        let moments = by.each_row(moments);
        Ok(Candidates { looked, by, rows, moments })
    }
}

/// Scored candidates in the order in which they are answered.
fn in_order(ranking: &Ranking, scored: Scored, by: Arc<ByRequest>) -> Result<Scored, Error> {
    let order = ranking.order(&scored.predictions, &by)?;
    let Scored { predictions, ways, whys, ran, looked, .. } = scored;
    let answered_by = Arc::new(ranking.answered(&by, &order));
    let items = match looked.first() {
        Some(first) => ranking.items.iter().map(|&item| first.looked.answered.features[item].rows(&order)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let told = looked.iter().map(|step| step.in_order(&order, &answered_by)).collect::<Result<_, _>>()?;
    let came = looked.iter().map(|step| step.rows.clone()).collect();
    let all = All { by_request: by, predictions, ways, came };
    Ok(Scored {
        predictions: all.predictions.iter().map(|column| taken(column, &order)).collect::<Result<_, _>>()?,
        ways: order.iter().map(|&row| all.ways[row as usize]).collect(),
        whys: order.iter().map(|&row| whys[row as usize].clone()).collect(),
        ran,
        looked: told,
        ranked: Some(Ranked { by_request: answered_by, items, all, order }),
        decided: None,
    })
}

impl Scored {
    /// Puts candidates that are answered into another order, in which those of a request stay together.
    ///
    /// # Errors
    /// Internal where there are no such rows.
    pub(super) fn reorder(&mut self, order: &[u32]) -> Result<(), Error> {
        let Some(ranked) = self.ranked.as_mut().filter(|_| !order.is_sorted()) else { return Ok(()) };
        ranked.items = ranked.items.iter().map(|item| item.rows(order)).collect::<Result<_, _>>()?;
        let looked = std::mem::take(&mut self.looked);
        self.looked = looked.iter().map(|step| step.in_order(order, &ranked.by_request)).collect::<Result<_, _>>()?;
        self.predictions = self.predictions.iter().map(|column| taken(column, order)).collect::<Result<_, _>>()?;
        self.ways = order.iter().map(|&row| self.ways[row as usize]).collect();
        self.whys = order.iter().map(|&row| self.whys[row as usize].clone()).collect();
        ranked.order = order.iter().map(|&row| ranked.order[row as usize]).collect();
        Ok(())
    }

    /// What was decided of ranked candidates, request by request: which one stands first, and with which probability it does.
    pub(super) fn decided_by_request(&self) -> Option<Decided> {
        let (Ranked { by_request, items, .. }, decided) = (self.ranked.as_ref()?, self.decided.as_ref()?);
        let firsts: Vec<Option<usize>> = by_request.ranges().map(|rows| (!rows.is_empty()).then_some(rows.start)).collect();
        let options = FormatOptions::default();
        let item = items.first().and_then(|item| Some((ArrayFormatter::try_new(&item.values, &options).ok()?, &item.values)));
        let named = |first: &Option<usize>| {
            let (formatter, values) = item.as_ref()?;
            first.filter(|&row| values.is_valid(row)).map(|row| formatter.value(row).to_string())
        };
        Some(Decided {
            actions: firsts.iter().map(named).collect(),
            propensities: firsts.iter().map(|first| Some(first.map_or(1.0, |row| decided.propensities.value(row)))).collect(),
            explored: firsts.iter().map(|first| Some(first.is_some_and(|row| decided.explored.value(row)))).collect(),
        })
    }
}

impl Ranking {
    /// Which of the rows that are answered are of which request.
    pub(super) fn answered(&self, by: &ByRequest, order: &[u32]) -> ByRequest {
        let requests = order.iter().map(|&row| by.requests[row as usize]).collect();
        let top = self.top.map_or(u32::MAX, |top| top as u32);
        let counts = by.counts.iter().map(|counts| CandidateCounts { answered: counts.answered.min(top), ..*counts });
        ByRequest { requests, counts: counts.collect() }
    }

    /// The rows that are answered, in order: request by request, what is predicted, and where that is equal as the service has them.
    pub(super) fn order(&self, predictions: &[ArrayRef], by: &ByRequest) -> Result<Vec<u32>, Error> {
        let mut order: Vec<u32> = (0..by.requests.len() as u32).collect();
        if !self.by.is_empty() {
            let failed = |error| Error::internal("predictions cannot be ordered").caused_by(error);
            let options = |descending| SortOptions { descending, nulls_first: false };
            let fields =
                self.by.iter().map(|&(at, descending)| SortField::new_with_options(predictions[at].data_type().clone(), options(descending)));
            let values: Vec<ArrayRef> = self.by.iter().map(|&(at, _)| Arc::clone(&predictions[at])).collect();
            let keys = RowConverter::new(fields.collect()).map_err(failed)?.convert_columns(&values).map_err(failed)?;
            order.sort_by(|&a, &b| {
                let request = |row: u32| by.requests[row as usize];
                request(a).cmp(&request(b)).then_with(|| keys.row(a as usize).cmp(&keys.row(b as usize)))
            });
        }
        if let Some(top) = self.top {
            let mut answered = vec![0; by.counts.len()];
            order.retain(|&row| {
                let answered: &mut usize = &mut answered[by.requests[row as usize] as usize];
                *answered += 1;
                *answered <= top
            });
        }
        Ok(order)
    }
}

impl StepLooked {
    /// The features of the rows that are answered, in their order.
    fn in_order(&self, order: &[u32], answered_by: &Arc<ByRequest>) -> Result<StepLooked, Error> {
        let StepLooked { step, rows, looked: Looked { answered, recalled } } = self;
        // Which of the answered rows came to the step, and which of the step's rows each is.
        let came = order.iter().enumerate().filter_map(|(place, row)| Some((place as u32, rows.binary_search(row).ok()? as u32)));
        let (places, of_step): (Vec<u32>, Vec<u32>) = came.unzip();
        let requests = places.iter().map(|&place| answered_by.requests[place as usize]).collect();
        let by_request = Some(Arc::new(ByRequest { requests, counts: answered_by.counts.clone() }));
        let answered = Answered { by_request, ..answered.rows(&of_step)? };
        Ok(StepLooked { step: step.clone(), rows: places, looked: Looked { answered, recalled: *recalled } })
    }
}
