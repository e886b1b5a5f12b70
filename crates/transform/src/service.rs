//! A compiled feature service: which views it reads by which keys, and how a request becomes its outputs.
//!
//! The plan is made once. A request is a batch: every join reads all its entities in one go, joins that need
//! another view's feature come after it, and the outputs are expressions over request columns and features side by side.
//!
//! A service of candidates unnests lists between its joins: from there on a row is a candidate, and the candidates of all requests are read together.

mod candidates;
mod compile;
mod nested;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{SortOptions, nullif};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast;
use lockstep_model::key::Keys;
use lockstep_model::{Error, FilledBy, Fingerprint, StateRead, Status, TimeMode};

use crate::catalog::SourcePlan;
use crate::eval::{Evaluated, RowExpr};
use crate::next_event::{Events, NextEvent, RequestAs, ViewState};
use crate::tiles::{ReadStats, Request, Touch};
use crate::transformation::{Features, Transformation};

pub use candidates::{ByRequest, CandidateCounts, CandidatePlan, FallbackPlan, ReadFor};
use candidates::{Chosen, taken};
pub use compile::{Part, ServiceError, compile_service};

/// The name under which expressions see the moment of a request.
pub const REQUEST_TIME: &str = "request_time";

/// A checked service, as the compiler needs it. Columns in its expressions are written `"alias"."column"`.
#[derive(Debug, Clone)]
pub struct ServiceInput<'a> {
    /// Its name.
    pub name: &'a str,
    /// What a request gives beside its moment.
    pub request: Vec<FieldRef>,
    /// What expressions call the request.
    pub request_alias: &'a str,
    /// Joins, each after those its key needs.
    pub joins: Vec<JoinInput<'a>>,
    /// Outputs by name, in order.
    pub outputs: Vec<(&'a str, &'a ast::Expr)>,
    /// Defaults by output, as a text or number that casts to its type.
    pub defaults: BTreeMap<&'a str, String>,
    /// The source whose next event a request is, and who decides what that comes to.
    pub request_as: Option<(&'a Arc<SourcePlan>, &'a Arc<dyn NextEvent>)>,
    /// How a request becomes a row for each candidate, where it does.
    pub candidates: Option<CandidatesInput<'a>>,
    /// How old the oldest input of an output may be before it is absent, µs.
    pub max_age: Option<i64>,
}

/// How requests of a checked service become candidates.
#[derive(Debug, Clone)]
pub struct CandidatesInput<'a> {
    /// What expressions call a candidate.
    pub alias: &'a str,
    /// Its columns by name, each with the list that it is an element of.
    pub columns: Vec<(&'a str, &'a ast::Expr)>,
    /// How many of the joins need no candidate.
    pub joins_before: usize,
    /// The condition on those that are answered.
    pub filter: Option<&'a ast::Expr>,
    /// What they are ordered by.
    pub order: Vec<(&'a ast::Expr, SortOptions)>,
    /// How many of a request are answered at the most.
    pub limit: Option<usize>,
    /// With fewer left by the condition, the fallback answers.
    pub min_items: usize,
    /// Who answers then.
    pub fallback: Option<&'a Arc<ServicePlan>>,
}

/// A join of a checked service.
#[derive(Debug, Clone)]
pub struct JoinInput<'a> {
    /// The view.
    pub view: &'a str,
    /// What expressions call it.
    pub alias: &'a str,
    /// The expression of each key column, in the entity's order.
    pub keys: Vec<&'a ast::Expr>,
}

/// A compiled service.
#[derive(Debug)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// What a request gives beside its moment.
    pub request: SchemaRef,
    /// The reads, in order; the fallback's last.
    pub joins: Vec<Join>,
    /// What it gives.
    pub outputs: Vec<Output>,
    /// Names and types of the outputs.
    pub schema: SchemaRef,
    /// Request columns, the moment, and each join's key and features: what expressions are over, before any candidate.
    columns: SchemaRef,
    /// Digest of what the service means, its views included.
    pub meaning: Fingerprint,
    /// How a request is the next event of a source, where it is.
    pub request_as: Option<RequestAs>,
    /// How requests become candidates, where they do.
    pub candidates: Option<CandidatePlan>,
    /// How old the oldest input of an output may be before it is absent, µs.
    pub max_age: Option<i64>,
}

/// One view read in one role.
#[derive(Debug, Clone)]
pub struct Join {
    /// The view.
    pub view: String,
    /// Its role.
    pub alias: String,
    /// The transformation of the view.
    pub transformation: Arc<Transformation>,
    /// Its key, over the columns that come before this join's.
    keys: Vec<RowExpr>,
}

/// One value of the answer.
#[derive(Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    expr: RowExpr,
    /// The features it reads: join, index of the feature.
    pub inputs: Vec<(usize, usize)>,
    /// How many elements its lists have, where every row has as many.
    pub length: Option<usize>,
    /// What fills it where it has no value: one element.
    default: Option<ArrayRef>,
}

/// The answer to a batch of requests, column-wise.
#[derive(Debug)]
pub struct Answer {
    /// Per output, one value per request, or per candidate.
    pub columns: Vec<ArrayRef>,
    /// Per output and row.
    pub statuses: Vec<Vec<Status>>,
    /// Per output and row.
    pub filled_by: Vec<Arc<[FilledBy]>>,
    /// Per output and row: time of the newest event of the least fresh view it reads, µs.
    pub event_times: Vec<Arc<[Option<i64>]>>,
    /// Per row: when the oldest thing happened that its outputs are made from, µs; `None` where there is nothing behind them.
    pub oldest_inputs: Vec<Option<i64>>,
    /// What it cost, all joins together.
    pub stats: ReadStats,
    /// Per join: the encoded entity keys that were read.
    pub entities: Vec<Keys>,
    /// Per join: what each of those was read for, where that is to be told and there are candidates.
    pub read_for: Vec<ReadFor>,
    /// Which rows are of which request, where the service is one of candidates: every vector then holds one item per row.
    pub by_request: Option<Arc<ByRequest>>,
}

/// Reads the view of a join: for so many entities, at their moments.
pub type Reader<'a> = dyn FnMut(usize, &[Request<'_>], Option<&mut Vec<Touch>>) -> Result<Features, Error> + 'a;

impl ServicePlan {
    /// Answers a batch of requests that are no events. `states[i]` is the state of the view of join `i`, all from one consistent cut.
    ///
    /// # Errors
    /// Invalid where the request's columns are not the declared ones; where the state cannot be read.
    pub fn answer(
        &self,
        states: &[&dyn StateRead],
        request: &RecordBatch,
        moments: &[i64],
        mode: TimeMode,
        touches: Option<&mut Vec<Vec<Touch>>>,
    ) -> Result<Answer, Error> {
        self.check_states(states.len())?;
        let mut read = |at: usize, requests: &[Request<'_>], touched: Option<&mut Vec<Touch>>| -> Result<Features, Error> {
            self.joins[at].transformation.read_at(states[at], requests, mode, touched)
        };
        self.answer_with(&mut read, request, moments, touches)
    }

    /// As [`Self::answer`], of features that `read` finds: those of the view of a join, for so many entities at their moments.
    ///
    /// # Errors
    /// As [`Self::answer`]; as `read`.
    pub fn answer_with(
        &self,
        read: &mut dyn FnMut(usize, &[Request<'_>], Option<&mut Vec<Touch>>) -> Result<Features, Error>,
        request: &RecordBatch,
        moments: &[i64],
        touches: Option<&mut Vec<Vec<Touch>>>,
    ) -> Result<Answer, Error> {
        if let Some(of) = &self.request_as {
            return Err(Error::internal(format!("requests of {} are events of `{}`, and are answered as such", self.name, of.source.name)));
        }
        self.answer_by(read, request, moments, true, touches)
    }

    /// As [`Self::answer`], where `read_view` reads the view of a join for all requests: how many moments are read at once is for whoever has the events. Event times
    /// are left out, and a request is what it is in the spine: whether its own event counts is for its view's events to say.
    ///
    /// # Errors
    /// Invalid where the request's columns are not the declared ones; as `read_view` does.
    pub fn answer_spine(
        &self,
        read_view: &mut dyn FnMut(usize, &[Request<'_>]) -> Result<Features, Error>,
        request: &RecordBatch,
        moments: &[i64],
    ) -> Result<Answer, Error> {
        let mut read = |at: usize, requests: &[Request<'_>], _: Option<&mut Vec<Touch>>| read_view(at, requests);
        self.answer_by(&mut read, request, moments, false, None)
    }

    /// As [`Self::answer`], of requests that are the next events of a source: each sees its own event, as if it had arrived just before.
    ///
    /// # Errors
    /// As [`Self::answer`]; Invalid where a request would be put aside as an event.
    pub fn answer_events(
        &self,
        views: &[ViewState<'_>],
        request: &RecordBatch,
        moments: &[i64],
        mode: TimeMode,
        touches: Option<&mut Vec<Vec<Touch>>>,
    ) -> Result<Answer, Error> {
        let of = self.request_as.as_ref().ok_or_else(|| Error::internal(format!("requests of {} are no events", self.name)))?;
        self.check_states(views.len())?;
        self.check_request(request, moments)?;
        let mut events = Events::new(of, request, moments)?;
        let mut read = |at: usize, requests: &[Request<'_>], touched: Option<&mut Vec<Touch>>| -> Result<Features, Error> {
            events.read(&self.joins[at].transformation, views[at], requests, mode, touched)
        };
        self.answer_by(&mut read, request, moments, true, touches)
    }

    fn check_states(&self, states: usize) -> Result<(), Error> {
        if states == self.joins.len() {
            return Ok(());
        }
        Err(Error::internal(format!("{states} states for the {} joins of {}", self.joins.len(), self.name)))
    }

    fn check_request(&self, request: &RecordBatch, moments: &[i64]) -> Result<(), Error> {
        let (found, wanted) = (request.num_columns(), self.request.fields().len());
        if found != wanted {
            return Err(Error::invalid(format!("the request has {found} columns, and {} takes {wanted}", self.name)));
        }
        let other = request.columns().iter().zip(self.request.fields()).find(|(column, field)| column.data_type() != field.data_type());
        if let Some((column, field)) = other {
            let types = [field.data_type(), column.data_type()];
            return Err(Error::invalid(format!(
                "the request's columns are not those of {}: `{}` is {}, and {} was given",
                self.name,
                field.name(),
                types[0],
                types[1]
            )));
        }
        if request.num_rows() == moments.len() {
            Ok(())
        } else {
            Err(Error::invalid(format!("{} requests of {} at {} moments", request.num_rows(), self.name, moments.len())))
        }
    }

    /// Answers a batch of requests; `read` reads the view of a join.
    fn answer_by(
        &self,
        read_view: &mut Reader<'_>,
        request: &RecordBatch,
        moments: &[i64],
        with_event_times: bool,
        mut touches: Option<&mut Vec<Vec<Touch>>>,
    ) -> Result<Answer, Error> {
        self.check_request(request, moments)?;
        let mut columns = request.columns().to_vec();
        columns.push(Arc::new(TimestampMicrosecondArray::from(moments.to_vec())));
        let joins = self.joins.len();
        let is_told = touches.is_some() && self.candidates.is_some();
        let mut reading = Reading { read: Vec::with_capacity(joins), entities: Vec::with_capacity(joins), max_age: self.max_age };
        let before = self.candidates.as_ref().map_or(self.joins.len(), |candidates| candidates.joins_before);
        for join in &self.joins[..before] {
            reading.join(join, read_view, (&self.columns, &mut columns), moments, touches.as_deref_mut())?;
        }
        let batch = batch_of(&self.columns, columns, moments.len())?;
        let Some(candidates) = &self.candidates else { return self.finish(&batch, reading, with_event_times, None) };
        let mut rows = candidates.unnest(&batch, moments)?;
        let after = candidates.fallback.as_ref().map_or(self.joins.len(), |fallback| fallback.first);
        for join in &self.joins[before..after] {
            reading.join(join, read_view, (&candidates.columns, &mut rows.columns), &rows.moments, touches.as_deref_mut())?;
        }
        let chosen = candidates.choose(&rows)?;
        let batch = reading.chosen(&candidates.columns, std::mem::take(&mut rows.columns), before, &chosen)?;
        let read_for = if is_told { ReadFor::joins(before, after, &rows.requests, chosen.rows.as_deref()) } else { Vec::new() };
        let answer = self.finish(&batch, reading, with_event_times, Some(Arc::new(chosen.of)))?;
        let answer = Answer { read_for, ..answer };
        match &candidates.fallback {
            Some(fallback) => fallback.stand_in(candidates.min_items, answer, read_view, request, (moments, with_event_times), touches),
            None => Ok(answer),
        }
    }

    /// The outputs of rows of which all is read.
    fn finish(&self, batch: &RecordBatch, reading: Reading, with_event_times: bool, by_request: Option<Arc<ByRequest>>) -> Result<Answer, Error> {
        let Reading { read, entities, .. } = reading;
        let oldest = |row: usize| read.iter().filter_map(|read| read.oldest[read.at(row)]).min();
        let mut answer = Answer {
            columns: Vec::new(),
            statuses: Vec::new(),
            filled_by: Vec::new(),
            event_times: Vec::new(),
            oldest_inputs: (0..batch.num_rows()).map(oldest).collect(),
            stats: ReadStats::default(),
            entities,
            read_for: Vec::new(),
            by_request,
        };
        read.iter().for_each(|read| answer.stats += read.features.stats);
        for output in &self.outputs {
            output.answer(batch, &read, with_event_times, &mut answer)?;
        }
        Ok(answer)
    }

    /// The features that an output of a row reads: join, index of the feature.
    pub fn inputs(&self, output: usize, is_by_fallback: bool) -> impl Iterator<Item = (usize, usize)> {
        let fallback = self.candidates.as_ref().and_then(|candidates| candidates.fallback.as_ref()).filter(|_| is_by_fallback);
        let (outputs, first) = fallback.map_or((&self.outputs, 0), |fallback| (&fallback.service.outputs, fallback.first));
        outputs[output].inputs.iter().map(move |&(join, feature)| (first + join, feature))
    }
}

/// What was read so far.
struct Reading {
    read: Vec<ReadJoin>,
    entities: Vec<Keys>,
    max_age: Option<i64>,
}

/// Features of a join, and which of their rows each row of the answer takes; the one of its own number where that is absent.
struct ReadJoin {
    features: Features,
    rows: Option<Arc<[u32]>>,
    /// When the oldest input of each happened, µs.
    oldest: Vec<Option<i64>>,
    /// Which of them are older than they may be; `None` where none is.
    too_old: Option<Vec<bool>>,
}

impl ReadJoin {
    fn at(&self, row: usize) -> usize {
        self.rows.as_ref().map_or(row, |rows| rows[row] as usize)
    }
}

impl Reading {
    /// Reads the view of a join, and adds its key and features to the columns.
    fn join(
        &mut self,
        join: &Join,
        read_view: &mut Reader<'_>,
        (schema, columns): (&SchemaRef, &mut Vec<ArrayRef>),
        moments: &[i64],
        touches: Option<&mut Vec<Vec<Touch>>>,
    ) -> Result<(), Error> {
        let before = batch_of(schema, columns.clone(), moments.len())?;
        let key_columns = join.keys.iter().map(|key| Ok(key.evaluate(&before)?.values)).collect::<Result<Vec<_>, Error>>()?;
        let keys = Keys::encode(&key_columns)?;
        let requests: Vec<Request<'_>> = moments.iter().enumerate().map(|(row, &at)| Request { entity: keys.get(row), at }).collect();
        let mut touched = touches.as_ref().map(|_| Vec::new());
        let features = read_view(self.read.len(), &requests, touched.as_mut())?;
        if let (Some(touches), Some(touched)) = (touches, touched) {
            touches.push(touched);
        }
        columns.extend(key_columns);
        columns.extend(features.columns.iter().cloned());
        let oldest = join.transformation.oldest_inputs(&features, &requests);
        let too_old = self.max_age.map(|max_age| too_old(&oldest, moments, max_age)).filter(|too_old| too_old.contains(&true));
        self.read.push(ReadJoin { features, rows: None, oldest, too_old });
        self.entities.push(keys);
        Ok(())
    }

    /// The columns of candidates that are answered. Features of the first joins are those of their requests.
    fn chosen(&mut self, schema: &SchemaRef, columns: Vec<ArrayRef>, before: usize, chosen: &Chosen) -> Result<RecordBatch, Error> {
        let requests: Arc<[u32]> = chosen.of.requests.as_slice().into();
        self.read[..before].iter_mut().for_each(|read| read.rows = Some(Arc::clone(&requests)));
        let Some(rows) = &chosen.rows else { return batch_of(schema, columns, requests.len()) };
        let of_candidates: Arc<[u32]> = rows.as_slice().into();
        self.read[before..].iter_mut().for_each(|read| read.rows = Some(Arc::clone(&of_candidates)));
        let places = UInt32Array::from(rows.clone());
        let columns = columns.iter().map(|column| taken(column, &places)).collect::<Result<_, _>>()?;
        batch_of(schema, columns, rows.len())
    }
}

/// Which of these happened longer ago than they may have.
fn too_old(oldest: &[Option<i64>], moments: &[i64], max_age: i64) -> Vec<bool> {
    let of_row = |(oldest, at): (&Option<i64>, &i64)| oldest.is_some_and(|oldest| oldest < at.saturating_sub(max_age));
    oldest.iter().zip(moments).map(of_row).collect()
}

/// The first columns of what expressions are over.
fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, Error> {
    let schema =
        if columns.len() == schema.fields().len() { Arc::clone(schema) } else { Arc::new(Schema::new(schema.fields()[..columns.len()].to_vec())) };
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| Error::internal("columns as declared").caused_by(error))
}

impl Output {
    fn answer(&self, batch: &RecordBatch, read: &[ReadJoin], with_event_times: bool, answer: &mut Answer) -> Result<(), Error> {
        let Evaluated { mut values, failed } = self.expr.evaluate(batch)?;
        let rows = batch.num_rows();
        let too_old = self.too_old(read, rows);
        if let Some(too_old) = &too_old {
            values = nullif(&values, too_old).map_err(|error| Error::internal("a kernel refused outputs").caused_by(error))?;
        }
        let failed = |row: usize| failed.as_ref().is_some_and(|failed| failed.value(row));
        let status = |row: usize| {
            // The first that holds among the statuses of what it reads, then its own.
            let worst = self.inputs.iter().map(|&(join, feature)| read[join].features.statuses[feature][read[join].at(row)]).min();
            match worst {
                Some(worst) if worst != Status::NotFound && too_old.as_ref().is_some_and(|too_old| too_old.value(row)) => Status::Expired,
                Some(status @ (Status::NotFound | Status::Expired | Status::Error)) => status,
                _ if failed(row) => Status::Error,
                _ if values.is_null(row) => Status::Null,
                _ => Status::Present,
            }
        };
        answer.statuses.push((0..rows).map(status).collect());
        if with_event_times {
            let event_time = |row: usize| self.inputs.iter().map(|&(join, _)| read[join].features.newest[read[join].at(row)]).min().flatten();
            answer.event_times.push((0..rows).map(event_time).collect());
        }
        let (values, filled_by) = self.fill(values)?;
        answer.columns.push(values);
        answer.filled_by.push(filled_by);
        Ok(())
    }

    /// The rows for which something that it reads is older than it may be; `None` where there are none.
    fn too_old(&self, read: &[ReadJoin], rows: usize) -> Option<BooleanArray> {
        let inputs: Vec<(&ReadJoin, &Vec<bool>)> =
            self.inputs.iter().filter_map(|&(join, _)| Some((&read[join], read[join].too_old.as_ref()?))).collect();
        let is_too_old = |row: usize| inputs.iter().any(|(read, too_old)| too_old[read.at(row)]);
        (!inputs.is_empty()).then(|| (0..rows).map(|row| Some(is_too_old(row))).collect())
    }

    fn fill(&self, values: ArrayRef) -> Result<(ArrayRef, Arc<[FilledBy]>), Error> {
        let Some(default) = &self.default else {
            let filled = (0..values.len()).map(|_| FilledBy::None).collect();
            return Ok((values, filled));
        };
        let present: BooleanArray = (0..values.len()).map(|row| Some(values.is_valid(row))).collect();
        let filled = present.values().iter().map(|present| if present { FilledBy::None } else { FilledBy::Default }).collect();
        let default = arrow::array::Scalar::new(Arc::clone(default));
        let values = zip(&present, &values, &default).map_err(|error| Error::internal("a default does not fit its output").caused_by(error))?;
        Ok((values, filled))
    }
}

#[cfg(test)]
mod tests;
