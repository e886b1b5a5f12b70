//! A compiled feature service: which views it reads by which keys, and how a request becomes its outputs.
//!
//! The plan is made once. A request is a batch: every join reads all its entities in one go, joins that need
//! another view's feature come after it, and the outputs are expressions over request columns and features side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue, TableReference};
use datafusion::logical_expr::ExprSchemable;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::sql::sqlparser::ast;
use lockstep_model::key::Keys;
use lockstep_model::{Error, FilledBy, Fingerprint, StateRead, Status, TimeMode};

use crate::catalog::SourcePlan;
use crate::compile::{CompileError, Planner, canonical, digest, physical};
use crate::eval::{Evaluated, RowExpr};
use crate::functions::list_length;
use crate::next_event::{Events, NextEvent, RequestAs, ViewState};
use crate::tiles::{ReadStats, Request, Touch};
use crate::transformation::{Features, Transformation};

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
    /// The reads, in order.
    pub joins: Vec<Join>,
    /// What it gives.
    pub outputs: Vec<Output>,
    /// Names and types of the outputs.
    pub schema: SchemaRef,
    /// Request columns, the moment, and each join's key and features: what expressions are over.
    columns: SchemaRef,
    /// Digest of what the service means, its views included.
    pub meaning: Fingerprint,
    /// How a request is the next event of a source, where it is.
    pub request_as: Option<RequestAs>,
}

/// One view read in one role.
#[derive(Debug)]
pub struct Join {
    /// The view.
    pub view: String,
    /// Its role.
    pub alias: String,
    /// The transformation of the view.
    pub transformation: Arc<Transformation>,
    /// Its key, over the columns that come before this join's.
    keys: Vec<RowExpr>,
    /// Index of its first column; key columns first, then features.
    first: usize,
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
    /// Per output, one value per request.
    pub columns: Vec<ArrayRef>,
    /// Per output and request.
    pub statuses: Vec<Vec<Status>>,
    /// Per output and request.
    pub filled_by: Vec<Arc<[FilledBy]>>,
    /// Per output and request: time of the newest event of the least fresh view it reads, µs.
    pub event_times: Vec<Arc<[Option<i64>]>>,
    /// What it cost, all joins together.
    pub stats: ReadStats,
    /// Per join: the encoded entity keys that were read.
    pub entities: Vec<Keys>,
}

/// Compiles a service over compiled views.
pub fn compile_service(service: &ServiceInput<'_>, views: &BTreeMap<String, Arc<Transformation>>) -> Result<ServicePlan, CompileError> {
    let planner = Planner::new([], None);
    let mut fields: Vec<(Option<TableReference>, FieldRef)> = Vec::new();
    let request = TableReference::bare(service.request_alias);
    fields.extend(service.request.iter().map(|field| (Some(request.clone()), Arc::clone(field))));
    fields.push((Some(request), Arc::new(Field::new(REQUEST_TIME, DataType::Timestamp(TimeUnit::Microsecond, None), false))));
    let mut joins = Vec::new();
    for join in &service.joins {
        joins.push(compile_join(join, views, &mut fields, &planner)?);
    }
    let schema = df_schema(&fields)?;
    let mut outputs = Vec::new();
    for &(name, expr) in &service.outputs {
        outputs.push(compile_output(name, expr, service.defaults.get(name), &schema, &joins, &planner)?);
    }
    let out_schema = Schema::new(outputs.iter().map(|output| Field::new(&output.name, output.expr.data_type.clone(), true)).collect::<Vec<_>>());
    let meaning = meaning(service, &joins, &schema, &planner)?;
    // A name may occur in several roles, so the batch that expressions run over names its columns by position.
    let positional = fields.iter().enumerate().map(|(i, (_, field))| Field::new(format!("column {i}"), field.data_type().clone(), true));
    Ok(ServicePlan {
        name: service.name.to_owned(),
        request: Arc::new(Schema::new(service.request.clone())),
        joins,
        outputs,
        schema: Arc::new(out_schema),
        columns: Arc::new(Schema::new(positional.collect::<Vec<_>>())),
        meaning: digest(&meaning),
        request_as: service.request_as.map(|(source, next)| RequestAs::new(source, next, service.request.iter().map(|field| field.name().as_str()))),
    })
}

fn df_schema(fields: &[(Option<TableReference>, FieldRef)]) -> Result<DFSchema, CompileError> {
    Ok(DFSchema::new_with_metadata(fields.to_vec(), Default::default())?)
}

fn compile_join(
    join: &JoinInput<'_>,
    views: &BTreeMap<String, Arc<Transformation>>,
    fields: &mut Vec<(Option<TableReference>, FieldRef)>,
    planner: &Planner,
) -> Result<Join, CompileError> {
    let transformation = views.get(join.view).ok_or_else(|| format!("no view named `{}`", join.view))?;
    let before = df_schema(fields)?;
    let mut keys = Vec::new();
    for (key, field) in join.keys.iter().zip(&transformation.entity) {
        let expr = planner.expr(key, &before)?;
        let cast = expr.cast_to(field.data_type(), &before)?;
        keys.push(physical(&cast, &before)?);
    }
    let first = fields.len();
    let alias = TableReference::bare(join.alias);
    fields.extend(transformation.entity.iter().map(|field| (Some(alias.clone()), Arc::clone(field))));
    fields.extend(transformation.features.fields().iter().map(|field| (Some(alias.clone()), Arc::clone(field))));
    let transformation = Arc::clone(transformation);
    Ok(Join { view: join.view.to_owned(), alias: join.alias.to_owned(), transformation, keys, first })
}

fn compile_output(
    name: &str,
    expr: &ast::Expr,
    default: Option<&String>,
    schema: &DFSchema,
    joins: &[Join],
    planner: &Planner,
) -> Result<Output, CompileError> {
    let at = |message: String| CompileError { feature: Some(name.to_owned()), message };
    let expr = planner.expr(expr, schema).map_err(|error| at(CompileError::from(error).message))?;
    let length = list_length(&expr);
    let expr = physical(&expr, schema).map_err(|error| at(error.message))?;
    let mut inputs: Vec<(usize, usize)> = Vec::new();
    for column in collect_columns(&expr.expr) {
        let found = joins.iter().enumerate().find_map(|(at, join)| {
            let feature = column.index().checked_sub(join.first + join.transformation.entity.len())?;
            (feature < join.transformation.features.fields().len()).then_some((at, feature))
        });
        inputs.extend(found);
    }
    inputs.sort_unstable();
    let default = default.map(|text| cast_default(text, &expr.data_type)).transpose().map_err(at)?;
    Ok(Output { name: name.to_owned(), expr, inputs, length, default })
}

fn cast_default(text: &str, data_type: &DataType) -> Result<ArrayRef, String> {
    let value = ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| format!("the default `{text}` is not a {data_type}"))?;
    value.to_array().map_err(|error| error.strip_backtrace())
}

fn meaning(service: &ServiceInput<'_>, joins: &[Join], schema: &DFSchema, planner: &Planner) -> Result<String, CompileError> {
    use std::fmt::Write;
    let mut out = "lockstep service meaning 1\n".to_owned();
    for field in &service.request {
        let _ = writeln!(out, "request {:?} {}", field.name(), canonical::type_name(field.data_type())?);
    }
    if let Some((source, _)) = service.request_as {
        let _ = writeln!(out, "request as {:?} {}", source.name, source.meaning);
    }
    for (join, input) in joins.iter().zip(&service.joins) {
        let _ = write!(out, "join {:?} {:?} {}", join.alias, join.view, join.transformation.meaning);
        for key in &input.keys {
            out.push(' ');
            canonical::expr(&mut out, &planner.expr(key, schema)?)?;
        }
        out.push('\n');
    }
    for (name, expr) in &service.outputs {
        let _ = write!(out, "output {name:?} default {:?} ", service.defaults.get(name));
        canonical::expr(&mut out, &planner.expr(expr, schema)?)?;
        out.push('\n');
    }
    Ok(out)
}

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
        self.check_request(request)?;
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

    fn check_request(&self, request: &RecordBatch) -> Result<(), Error> {
        let (found, wanted) = (request.num_columns(), self.request.fields().len());
        if found == wanted { Ok(()) } else { Err(Error::invalid(format!("the request has {found} columns, and {} takes {wanted}", self.name))) }
    }

    /// Answers a batch of requests; `read` reads the view of a join.
    fn answer_by(
        &self,
        read_view: &mut dyn FnMut(usize, &[Request<'_>], Option<&mut Vec<Touch>>) -> Result<Features, Error>,
        request: &RecordBatch,
        moments: &[i64],
        with_event_times: bool,
        mut touches: Option<&mut Vec<Vec<Touch>>>,
    ) -> Result<Answer, Error> {
        self.check_request(request)?;
        let rows = moments.len();
        let mut columns = request.columns().to_vec();
        columns.push(Arc::new(TimestampMicrosecondArray::from(moments.to_vec())));
        let mut read = Vec::with_capacity(self.joins.len());
        let mut entities = Vec::with_capacity(self.joins.len());
        for at in 0..self.joins.len() {
            let mut touched = touches.as_ref().map(|_| Vec::new());
            let (features, keys) = self.read_join(at, read_view, &mut columns, moments, touched.as_mut())?;
            if let (Some(touches), Some(touched)) = (touches.as_deref_mut(), touched) {
                touches.push(touched);
            }
            read.push(features);
            entities.push(keys);
        }
        let batch = self.batch(columns, rows)?;
        let mut answer = Answer {
            columns: Vec::new(),
            statuses: Vec::new(),
            filled_by: Vec::new(),
            event_times: Vec::new(),
            stats: ReadStats::default(),
            entities,
        };
        read.iter().for_each(|features| answer.stats += features.stats);
        for output in &self.outputs {
            output.answer(&batch, &read, with_event_times, &mut answer)?;
        }
        Ok(answer)
    }

    fn read_join(
        &self,
        at: usize,
        read_view: &mut dyn FnMut(usize, &[Request<'_>], Option<&mut Vec<Touch>>) -> Result<Features, Error>,
        columns: &mut Vec<ArrayRef>,
        moments: &[i64],
        touches: Option<&mut Vec<Touch>>,
    ) -> Result<(Features, Keys), Error> {
        let join = &self.joins[at];
        let before = self.batch(columns.clone(), moments.len())?;
        let key_columns = join.keys.iter().map(|key| Ok(key.evaluate(&before)?.values)).collect::<Result<Vec<_>, Error>>()?;
        let keys = Keys::encode(&key_columns)?;
        let requests: Vec<Request<'_>> = moments.iter().enumerate().map(|(row, &at)| Request { entity: keys.get(row), at }).collect();
        let features = read_view(at, &requests, touches)?;
        columns.extend(key_columns);
        columns.extend(features.columns.iter().cloned());
        Ok((features, keys))
    }

    /// The first columns of what expressions are over.
    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, Error> {
        let schema = Arc::new(Schema::new(self.columns.fields()[..columns.len()].to_vec()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|error| Error::invalid(format!("the request's columns are not those of {}: {error}", self.name)))
    }
}

impl Output {
    fn answer(&self, batch: &RecordBatch, read: &[Features], with_event_times: bool, answer: &mut Answer) -> Result<(), Error> {
        let Evaluated { values, failed } = self.expr.evaluate(batch)?;
        let rows = batch.num_rows();
        let failed = |row: usize| failed.as_ref().is_some_and(|failed| failed.value(row));
        let status = |row: usize| {
            // The first that holds among the statuses of what it reads, then its own.
            let worst = self.inputs.iter().map(|&(join, feature)| read[join].statuses[feature][row]).min();
            match worst {
                Some(status @ (Status::NotFound | Status::Expired | Status::Error)) => status,
                _ if failed(row) => Status::Error,
                _ if values.is_null(row) => Status::Null,
                _ => Status::Present,
            }
        };
        answer.statuses.push((0..rows).map(status).collect());
        if with_event_times {
            let event_time = |row: usize| self.inputs.iter().map(|&(join, _)| read[join].newest[row]).min().flatten();
            answer.event_times.push((0..rows).map(event_time).collect());
        }
        let (values, filled_by) = self.fill(values)?;
        answer.columns.push(values);
        answer.filled_by.push(filled_by);
        Ok(())
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
