//! Candidates: requests unnested to a row for each, those that are left, in their order; and who answers where too few are.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use lockstep_model::Error;

use super::{Answer, Reader, ServicePlan, batch_of};
use crate::eval::RowExpr;
use crate::tiles::{Request, Touch};
use crate::transformation::Features;

/// Most candidates of all requests that are answered together: what holds them is to fit into memory.
const CANDIDATES_MAX: usize = 1 << 20;

/// How candidates come of requests, and which are answered.
#[derive(Debug)]
pub struct CandidatePlan {
    /// How many of the joins need no candidate; they come first.
    pub joins_before: usize,
    /// How many candidates of a request are answered at the most.
    pub limit: Option<usize>,
    /// With fewer left by the condition, the fallback answers.
    pub min_items: usize,
    /// Who answers then. Its joins are the last of the service's.
    pub fallback: Option<FallbackPlan>,
    /// Over the columns of requests: what is unnested, side by side.
    lists: Vec<RowExpr>,
    /// The columns of its request that a candidate keeps.
    carried: Vec<usize>,
    /// Those, what was unnested, and each join's key and features: what all expressions behind are over.
    pub(super) columns: SchemaRef,
    /// Conditions on what is known before the candidates' own views are read.
    pub(super) early: Vec<RowExpr>,
    /// All others.
    pub(super) late: Vec<RowExpr>,
    /// What the candidates of a request are ordered by.
    pub(super) order: Vec<(RowExpr, SortOptions)>,
}

/// A service that answers in place of another.
#[derive(Debug)]
pub struct FallbackPlan {
    /// The service.
    pub service: Arc<ServicePlan>,
    /// The columns of the request that it is asked with.
    pub(super) columns: Vec<usize>,
    /// The place of its first join among the other's.
    pub(super) first: usize,
}

/// Which rows of an answer are of which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByRequest {
    /// Per row, the request that it answers; ascending.
    pub requests: Vec<u32>,
    /// Per request.
    pub counts: Vec<CandidateCounts>,
}

/// What became of the candidates of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CandidateCounts {
    /// How many there were.
    pub unnested: u32,
    /// How many the condition left.
    pub left: u32,
    /// How many rows answer the request: not more than the limit.
    pub answered: u32,
    /// Whether these are the fallback's, since too few were left.
    pub by_fallback: bool,
}

/// What the rows of a join were read for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadFor {
    /// Per row, its request; ascending. `None` where each is a request of its own, in order.
    pub requests: Option<Vec<u32>>,
    /// Per row, whether it is of a candidate that is answered; `None` where the rows are of no candidates.
    pub answered: Option<Vec<bool>>,
}

impl ReadFor {
    /// Of joins, of which the first `before` are of requests, and those up to `after` of candidates: these are of `requests`, and some of them were chosen.
    pub(super) fn joins(before: usize, after: usize, requests: &[u32], chosen: Option<&[u32]>) -> Vec<ReadFor> {
        let mut answered = vec![chosen.is_none(); requests.len()];
        chosen.unwrap_or_default().iter().for_each(|&row| answered[row as usize] = true);
        let of_candidates = ReadFor { requests: Some(requests.to_vec()), answered: Some(answered) };
        (0..after).map(|join| if join < before { ReadFor::default() } else { of_candidates.clone() }).collect()
    }

    /// As it is where a fallback answers these requests.
    fn without(&mut self, of: &[u32]) {
        let Some((requests, answered)) = self.requests.as_ref().zip(self.answered.as_mut()) else { return };
        requests.iter().zip(answered).filter(|(request, _)| of.binary_search(request).is_ok()).for_each(|(_, answered)| *answered = false);
    }

    /// What a fallback read that was asked for some requests.
    fn among(self, of: &[u32], rows: usize) -> ReadFor {
        let requests = match self.requests {
            Some(requests) => requests.into_iter().map(|request| of[request as usize]).collect(),
            None => of[..rows.min(of.len())].to_vec(),
        };
        ReadFor { requests: Some(requests), ..self }
    }
}

/// Candidates on their way to an answer.
pub(super) struct Rows {
    /// Per row, its request; ascending.
    pub(super) requests: Vec<u32>,
    /// The moment of each, µs.
    pub(super) moments: Vec<i64>,
    /// As far as they are known, in the order of the plan's.
    pub(super) columns: Vec<ArrayRef>,
    counts: Vec<CandidateCounts>,
}

/// Candidates that are answered.
pub(super) struct Chosen {
    /// Their rows, in order; `None` where they are all rows as they stand.
    pub(super) rows: Option<Vec<u32>>,
    pub(super) of: ByRequest,
}

impl CandidatePlan {
    pub(super) fn new(joins_before: usize, lists: Vec<RowExpr>, carried: Vec<usize>, (limit, min_items): (Option<usize>, usize)) -> CandidatePlan {
        let columns = Arc::new(Schema::empty());
        let (early, late, order) = (Vec::new(), Vec::new(), Vec::new());
        CandidatePlan { joins_before, limit, min_items, fallback: None, lists, carried, columns, early, late, order }
    }

    /// The candidates of requests, but for those that are out whatever their own views say.
    ///
    /// # Errors
    /// OutOfRange where there are too many.
    pub(super) fn unnest(&self, requests: &RecordBatch, moments: &[i64]) -> Result<Rows, Error> {
        let lists = self.lists.iter().map(|list| Ok(list.evaluate(requests)?.values)).collect::<Result<Vec<_>, Error>>()?;
        let lists = lists.iter().map(|list| list.as_list_opt::<i32>().ok_or_else(|| Error::internal("what is unnested is no list")));
        let lists = lists.collect::<Result<Vec<&ListArray>, _>>()?;
        let lengths: Vec<usize> = (0..requests.num_rows()).map(|row| lists.iter().map(|list| length(list, row)).max().unwrap_or_default()).collect();
        let total: usize = lengths.iter().sum();
        if total > CANDIDATES_MAX {
            let message =
                format!("{total} candidates are more than {CANDIDATES_MAX} at once · ask for fewer requests together, or make the lists shorter");
            return Err(Error::out_of_range(message));
        }
        let of: Vec<u32> = lengths.iter().enumerate().flat_map(|(row, &length)| std::iter::repeat_n(row as u32, length)).collect();
        let counts = lengths.iter().map(|&length| CandidateCounts { unnested: length as u32, ..CandidateCounts::default() }).collect();
        let places = UInt32Array::from(of.clone());
        let mut columns = self.carried.iter().map(|&at| taken(requests.column(at), &places)).collect::<Result<Vec<_>, _>>()?;
        for list in lists {
            columns.push(elements(list, &lengths, total)?);
        }
        let moments = of.iter().map(|&row| moments[row as usize]).collect();
        let mut rows = Rows { requests: of, moments, columns, counts };
        if let Some(kept) = self.passing(&self.early, &rows)? {
            rows.keep(&kept)?;
        }
        Ok(rows)
    }

    /// The rows for which all conditions are true; `None` where these are all. What is NULL, or fails, is not true.
    fn passing(&self, conditions: &[RowExpr], rows: &Rows) -> Result<Option<Vec<u32>>, Error> {
        let mut kept: Option<Vec<u32>> = None;
        if conditions.is_empty() {
            return Ok(None);
        }
        let batch = batch_of(&self.columns, rows.columns.clone(), rows.requests.len())?;
        for condition in conditions {
            let values = condition.evaluate(&batch)?.values;
            let truth = values.as_boolean_opt().ok_or_else(|| Error::internal("a condition is neither true nor false"))?;
            let is_true = |row: usize| truth.is_valid(row) && truth.value(row);
            kept = match kept {
                Some(kept) => Some(kept.into_iter().filter(|&row| is_true(row as usize)).collect()),
                None if truth.null_count() == 0 && truth.false_count() == 0 => None,
                None => Some((0..truth.len() as u32).filter(|&row| is_true(row as usize)).collect()),
            };
        }
        Ok(kept)
    }

    /// Which candidates are answered, in order.
    pub(super) fn choose(&self, rows: &Rows) -> Result<Chosen, Error> {
        let mut counts = rows.counts.clone();
        let mut kept = self.passing(&self.late, rows)?;
        let all = || (0..rows.requests.len() as u32).collect::<Vec<_>>();
        let mut is_left = |request: u32| counts[request as usize].left += 1;
        match &kept {
            Some(kept) => kept.iter().for_each(|&row| is_left(rows.requests[row as usize])),
            None => rows.requests.iter().for_each(|&request| is_left(request)),
        }
        if !self.order.is_empty() {
            kept = Some(self.ordered(rows, kept.unwrap_or_else(all))?);
        }
        if let Some(limit) = self.limit.filter(|&limit| counts.iter().any(|counts| counts.left as usize > limit)) {
            let mut first = kept.unwrap_or_else(all);
            let mut taken = vec![0; counts.len()];
            first.retain(|&row| {
                let taken: &mut usize = &mut taken[rows.requests[row as usize] as usize];
                *taken += 1;
                *taken <= limit
            });
            kept = Some(first);
        }
        let limit = self.limit.map_or(u32::MAX, |limit| limit as u32);
        counts.iter_mut().for_each(|counts| counts.answered = counts.left.min(limit));
        let requests = match &kept {
            Some(kept) => kept.iter().map(|&row| rows.requests[row as usize]).collect(),
            None => rows.requests.clone(),
        };
        Ok(Chosen { rows: kept, of: ByRequest { requests, counts } })
    }

    /// Rows in the order of the candidates of each request. Where they are equal in it, the one that comes first in its list does.
    fn ordered(&self, rows: &Rows, mut kept: Vec<u32>) -> Result<Vec<u32>, Error> {
        let failed = |error| Error::internal("values of one type cannot be ordered").caused_by(error);
        let batch = batch_of(&self.columns, rows.columns.clone(), rows.requests.len())?;
        let fields = self.order.iter().map(|(expr, options)| SortField::new_with_options(expr.data_type.clone(), *options)).collect();
        let values = self.order.iter().map(|(expr, _)| Ok(expr.evaluate(&batch)?.values)).collect::<Result<Vec<_>, Error>>()?;
        let keys = RowConverter::new(fields).map_err(failed)?.convert_columns(&values).map_err(failed)?;
        let key = |row: u32| (rows.requests[row as usize], keys.row(row as usize), row);
        kept.sort_unstable_by(|&a, &b| key(a).cmp(&key(b)));
        Ok(kept)
    }
}

impl Rows {
    fn keep(&mut self, kept: &[u32]) -> Result<(), Error> {
        self.requests = kept.iter().map(|&row| self.requests[row as usize]).collect();
        self.moments = kept.iter().map(|&row| self.moments[row as usize]).collect();
        let kept = UInt32Array::from(kept.to_vec());
        for column in &mut self.columns {
            *column = taken(column, &kept)?;
        }
        Ok(())
    }
}

impl ByRequest {
    /// Whether the fallback answered a row.
    pub fn is_by_fallback(&self, row: usize) -> bool {
        self.counts[self.requests[row] as usize].by_fallback
    }

    /// What is said of each request, for each row.
    pub fn each_row<T: Copy>(&self, of_requests: &[T]) -> Vec<T> {
        self.requests.iter().map(|&request| of_requests[request as usize]).collect()
    }
}

impl FallbackPlan {
    /// Answers requests of which too few candidates are left, in place of what `answer` says of them.
    ///
    /// # Errors
    /// As an answer has.
    pub(super) fn stand_in(
        &self,
        min_items: usize,
        answer: Answer,
        read_view: &mut Reader<'_>,
        request: &RecordBatch,
        (moments, with_event_times): (&[i64], bool),
        touches: Option<&mut Vec<Vec<Touch>>>,
    ) -> Result<Answer, Error> {
        let Some(own) = &answer.by_request else { return Ok(answer) };
        let short: Vec<u32> = (0..own.counts.len() as u32).filter(|&request| (own.counts[request as usize].left as usize) < min_items).collect();
        if short.is_empty() {
            return Ok(answer.without_reads(self.service.joins.len(), touches));
        }
        let places = UInt32Array::from(short.clone());
        let columns = self.columns.iter().map(|&at| taken(request.column(at), &places)).collect::<Result<Vec<_>, _>>()?;
        let asked = batch_of(&self.service.request, columns, short.len())?;
        let asked_at: Vec<i64> = short.iter().map(|&row| moments[row as usize]).collect();
        let mut read = |at: usize, requests: &[Request<'_>], touched: Option<&mut Vec<Touch>>| -> Result<Features, Error> {
            read_view(self.first + at, requests, touched)
        };
        let theirs = self.service.answer_by(&mut read, &asked, &asked_at, with_event_times, touches)?;
        answer.with(theirs, &short)
    }
}

impl Answer {
    /// With nothing read of as many joins more.
    fn without_reads(mut self, joins: usize, touches: Option<&mut Vec<Vec<Touch>>>) -> Answer {
        self.entities.extend((0..joins).map(|_| lockstep_model::key::Keys::default()));
        if let Some(touches) = touches {
            touches.extend((0..joins).map(|_| Vec::new()));
            self.read_for.extend((0..joins).map(|_| ReadFor { requests: Some(Vec::new()), answered: None }));
        }
        self
    }

    /// With what another answer says of some requests in place of what this one does.
    fn with(mut self, theirs: Answer, of: &[u32]) -> Result<Answer, Error> {
        let (Some(own), Some(other)) = (&self.by_request, &theirs.by_request) else { return Err(Error::internal("a fallback without candidates")) };
        let mut counts = own.counts.clone();
        // Which answer, and which of its rows.
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(own.requests.len() + other.requests.len());
        let mut requests = Vec::with_capacity(places.capacity());
        let (mut ours, mut at) = (rows_of(&own.requests, counts.len()), rows_of(&other.requests, of.len()));
        for (request, counts) in counts.iter_mut().enumerate() {
            let (answer, rows) = match of.binary_search(&(request as u32)) {
                Ok(asked) => {
                    (counts.answered, counts.by_fallback) = (other.counts[asked].answered, true);
                    (1, std::mem::take(&mut at[asked]))
                }
                Err(_) => (0, std::mem::take(&mut ours[request])),
            };
            requests.extend(rows.clone().map(|_| request as u32));
            places.extend(rows.map(|row| (answer, row)));
        }
        let place = |failed| Error::internal("outputs of one type").caused_by(failed);
        for (column, other) in self.columns.iter_mut().zip(&theirs.columns) {
            *column = interleave(&[&**column, &**other], &places).map_err(place)?;
        }
        self.statuses = gathered(&self.statuses, &theirs.statuses, &places, |all| all);
        self.filled_by = gathered(&self.filled_by, &theirs.filled_by, &places, Arc::from);
        self.event_times = gathered(&self.event_times, &theirs.event_times, &places, Arc::from);
        self.oldest_inputs = places.iter().map(|&(answer, row)| [&self.oldest_inputs, &theirs.oldest_inputs][answer][row]).collect();
        self.stats += theirs.stats;
        self.read_for.iter_mut().for_each(|read| read.without(of));
        let read = theirs.read_for.into_iter().zip(&theirs.entities).map(|(read, entities)| read.among(of, entities.len()));
        self.read_for.extend(read);
        self.entities.extend(theirs.entities);
        self.by_request = Some(Arc::new(ByRequest { requests, counts }));
        Ok(self)
    }
}

/// Per output, what two answers say of it, row by row.
fn gathered<T: Copy, S: std::ops::Deref<Target = [T]>>(ours: &[S], theirs: &[S], places: &[(usize, usize)], shared: impl Fn(Vec<T>) -> S) -> Vec<S> {
    let of = |(ours, theirs): (&S, &S)| shared(places.iter().map(|&(answer, row)| if answer == 0 { ours[row] } else { theirs[row] }).collect());
    ours.iter().zip(theirs).map(of).collect()
}

/// The rows of each request, which follow one another.
fn rows_of(requests: &[u32], count: usize) -> Vec<std::ops::Range<usize>> {
    let mut rows = vec![0..0; count];
    let mut first = 0;
    for chunk in requests.chunk_by(|a, b| a == b) {
        rows[chunk[0] as usize] = first..first + chunk.len();
        first += chunk.len();
    }
    rows
}

fn length(list: &ListArray, row: usize) -> usize {
    if list.is_null(row) { 0 } else { list.value_length(row) as usize }
}

/// The elements of lists, those of each row filled up with NULLs to its length.
fn elements(list: &ListArray, lengths: &[usize], total: usize) -> Result<ArrayRef, Error> {
    let offsets = list.value_offsets();
    let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
    let is_even = last - first == total && lengths.iter().enumerate().all(|(row, &wanted)| length(list, row) == wanted);
    if is_even {
        return Ok(list.values().slice(first, total));
    }
    let element = |row: usize, at: usize| (at < length(list, row)).then(|| (offsets[row] as usize + at) as u32);
    let places: UInt32Array = lengths.iter().enumerate().flat_map(|(row, &wanted)| (0..wanted).map(move |at| element(row, at))).collect();
    take(list.values(), &places, None).map_err(|error| Error::internal("elements of a list").caused_by(error))
}

/// These rows of a column.
pub(super) fn taken(column: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef, Error> {
    take(column, rows, None).map_err(|error| Error::internal("rows of a column").caused_by(error))
}

#[cfg(test)]
mod tests;
