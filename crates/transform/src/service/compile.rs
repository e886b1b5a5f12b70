//! Compiling a service over compiled views: once, when definitions are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, TableReference};
use datafusion::logical_expr::ExprSchemable;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::sql::sqlparser::ast;

use super::candidates::{CandidatePlan, FallbackPlan};
use super::{CandidatesInput, Join, JoinInput, Output, REQUEST_TIME, ServiceInput, ServicePlan};
use crate::compile::{CompileError, Planner, canonical, digest, physical};
use crate::eval::RowExpr;
use crate::functions::list_length;
use crate::next_event::RequestAs;
use crate::transformation::Transformation;

/// Why a service does not compile, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// Which part of it is at fault.
    pub part: Part,
    /// What is wrong and what to do.
    pub message: String,
}

/// A part of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Service,
    /// An output, by its name.
    Output(String),
    /// What is unnested to a column of the candidates, by its place.
    List(usize),
    /// The condition on candidates.
    Filter,
    /// What candidates are ordered by, by its place.
    Order(usize),
    /// The service that answers where too few are left.
    Fallback,
}

impl From<CompileError> for ServiceError {
    fn from(error: CompileError) -> Self {
        Part::Service.wrong(error)
    }
}

impl From<String> for ServiceError {
    fn from(message: String) -> Self {
        Part::Service.wrong(message)
    }
}

impl From<DataFusionError> for ServiceError {
    fn from(error: DataFusionError) -> Self {
        Part::Service.wrong(error)
    }
}

impl Part {
    fn wrong(&self, error: impl Into<CompileError>) -> ServiceError {
        ServiceError { part: self.clone(), message: error.into().message }
    }
}

/// Compiles a service over compiled views.
///
/// # Errors
/// What is wrong with it, and where.
pub fn compile_service(service: &ServiceInput<'_>, views: &BTreeMap<String, Arc<Transformation>>) -> Result<ServicePlan, ServiceError> {
    let planner = Planner::new([], None);
    let compiling = Compiling { service, views, planner: &planner };
    let mut columns = Columns::of_request(service);
    let mut joins = Vec::new();
    let before = service.candidates.as_ref().map_or(service.joins.len(), |candidates| candidates.joins_before);
    for join in &service.joins[..before] {
        joins.push(compiling.join(join, joins.len(), &mut columns)?);
    }
    let first = columns.clone();
    let unnested = service.candidates.as_ref().map(|candidates| compiling.unnest(candidates, columns.clone())).transpose()?;
    let mut candidates = None;
    if let (Some((mut plan, later)), Some(input)) = (unnested, &service.candidates) {
        columns = later;
        for join in &service.joins[before..] {
            joins.push(compiling.join(join, joins.len(), &mut columns)?);
        }
        compiling.choose(input, &columns, &mut plan)?;
        candidates = Some(plan);
    }
    let schema = columns.schema()?;
    let outputs = service.outputs.iter().map(|&(name, expr)| compiling.output(name, expr, &columns, &schema));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let meaning = compiling.meaning(&joins, &schema, &first.schema()?)?;
    let mut plan = ServicePlan {
        name: service.name.to_owned(),
        request: Arc::new(Schema::new(service.request.clone())),
        joins,
        schema: Arc::new(Schema::new(outputs.iter().map(|output| Field::new(&output.name, output.expr.data_type.clone(), true)).collect::<Vec<_>>())),
        outputs,
        columns: first.positional(),
        meaning: digest(&meaning),
        request_as: service.request_as.map(|(source, next)| RequestAs::new(source, next, service.request.iter().map(|field| field.name().as_str()))),
        candidates,
        max_age: service.max_age,
    };
    if let Some(other) = service.candidates.as_ref().and_then(|candidates| candidates.fallback) {
        fall_back(&mut plan, other)?;
    }
    Ok(plan)
}

/// The columns that expressions are over, each with the features behind it: join, index of the feature.
#[derive(Clone)]
struct Columns {
    fields: Vec<(Option<TableReference>, FieldRef)>,
    behind: Vec<Vec<(usize, usize)>>,
}

impl Columns {
    fn of_request(service: &ServiceInput<'_>) -> Columns {
        let moment = Arc::new(Field::new(REQUEST_TIME, DataType::Timestamp(TimeUnit::Microsecond, None), false));
        let mut columns = Columns { fields: Vec::new(), behind: Vec::new() };
        service.request.iter().chain([&moment]).for_each(|field| columns.push(service.request_alias, field, Vec::new()));
        columns
    }

    fn push(&mut self, alias: &str, field: &FieldRef, behind: Vec<(usize, usize)>) {
        self.fields.push((Some(TableReference::bare(alias)), Arc::clone(field)));
        self.behind.push(behind);
    }

    fn schema(&self) -> Result<DFSchema, CompileError> {
        Ok(DFSchema::new_with_metadata(self.fields.clone(), Default::default())?)
    }

    /// The same for a batch. A name may occur in several roles, so that its columns are named by position.
    fn positional(&self) -> SchemaRef {
        let fields = self.fields.iter().enumerate();
        Arc::new(Schema::new(fields.map(|(at, (_, field))| Field::new(format!("column {at}"), field.data_type().clone(), true)).collect::<Vec<_>>()))
    }

    /// The features that an expression reads.
    fn inputs(&self, expr: &RowExpr) -> Vec<(usize, usize)> {
        let mut inputs: Vec<_> = collect_columns(&expr.expr).iter().flat_map(|column| self.behind[column.index()].iter().copied()).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }
}

struct Compiling<'a> {
    service: &'a ServiceInput<'a>,
    views: &'a BTreeMap<String, Arc<Transformation>>,
    planner: &'a Planner,
}

impl Compiling<'_> {
    fn row_expr(&self, expr: &ast::Expr, schema: &DFSchema, part: Part) -> Result<RowExpr, ServiceError> {
        let planned = self.planner.expr(expr, schema).map_err(|error| part.wrong(error))?;
        physical(&planned, schema).map_err(|error| part.wrong(error))
    }

    /// A join whose key is over the columns so far, to which it adds its own.
    fn join(&self, join: &JoinInput<'_>, at: usize, columns: &mut Columns) -> Result<Join, ServiceError> {
        let transformation = self.views.get(join.view).ok_or_else(|| format!("no view named `{}`", join.view))?;
        let before = columns.schema()?;
        let mut keys = Vec::new();
        for (key, field) in join.keys.iter().zip(&transformation.entity) {
            let expr = self.planner.expr(key, &before)?;
            let cast = expr.cast_to(field.data_type(), &before)?;
            keys.push(physical(&cast, &before)?);
        }
        transformation.entity.iter().for_each(|field| columns.push(join.alias, field, Vec::new()));
        for (feature, field) in transformation.features.fields().iter().enumerate() {
            columns.push(join.alias, field, vec![(at, feature)]);
        }
        Ok(Join { view: join.view.to_owned(), alias: join.alias.to_owned(), transformation: Arc::clone(transformation), keys })
    }

    /// What makes candidates of requests, and the columns that a candidate has then: those of its request that something is still to be made of, and its own.
    fn unnest(&self, input: &CandidatesInput<'_>, columns: Columns) -> Result<(CandidatePlan, Columns), ServiceError> {
        let schema = columns.schema()?;
        let named = self.named_later(input);
        let is_carried = |(alias, field): &(Option<TableReference>, FieldRef)| {
            alias.as_ref().is_some_and(|alias| named.contains(&(alias.table().to_owned(), field.name().clone())))
        };
        let carried: Vec<usize> = (0..columns.fields.len()).filter(|&at| is_carried(&columns.fields[at])).collect();
        let mut later = Columns {
            fields: carried.iter().map(|&at| columns.fields[at].clone()).collect(),
            behind: carried.iter().map(|&at| columns.behind[at].clone()).collect(),
        };
        let mut lists = Vec::new();
        for (at, &(name, list)) in input.columns.iter().enumerate() {
            let list = self.row_expr(list, &schema, Part::List(at))?;
            let DataType::List(element) = &list.data_type else {
                let message = format!("what is unnested to `{name}` is no list · it is {}", crate::definition::sql_name(&list.data_type));
                return Err(Part::List(at).wrong(message));
            };
            let field = Arc::new(Field::new(name, element.data_type().clone(), true));
            later.push(input.alias, &field, columns.inputs(&list));
            lists.push(list);
        }
        let plan = CandidatePlan::new(input.joins_before, lists, carried, (input.limit, input.min_items));
        Ok((plan, later))
    }

    /// What is named behind the unnesting, each by alias and name.
    fn named_later(&self, input: &CandidatesInput<'_>) -> BTreeSet<(String, String)> {
        let keys = self.service.joins[input.joins_before..].iter().flat_map(|join| join.keys.iter().copied());
        let chosen = input.filter.iter().copied().chain(input.order.iter().map(|(expr, _)| *expr));
        let outputs = self.service.outputs.iter().map(|(_, expr)| *expr);
        keys.chain(chosen).chain(outputs).flat_map(named).collect()
    }

    /// Which candidates are answered, and in which order.
    fn choose(&self, input: &CandidatesInput<'_>, columns: &Columns, plan: &mut CandidatePlan) -> Result<(), ServiceError> {
        let schema = columns.schema()?;
        plan.columns = columns.positional();
        let later: Vec<&str> = self.service.joins[input.joins_before..].iter().map(|join| join.alias).collect();
        for condition in input.filter.map(conjuncts).unwrap_or_default() {
            let condition_expr = self.row_expr(condition, &schema, Part::Filter)?;
            if condition_expr.data_type != DataType::Boolean {
                let message =
                    format!("the condition on candidates is {} · write a condition", crate::definition::sql_name(&condition_expr.data_type));
                return Err(Part::Filter.wrong(message));
            }
            // What needs nothing of the candidate's own views is asked before those are read.
            let needs_reads = named(condition).iter().any(|(alias, _)| later.contains(&alias.as_str()));
            if needs_reads { &mut plan.late } else { &mut plan.early }.push(condition_expr);
        }
        for (at, (expr, options)) in input.order.iter().enumerate() {
            plan.order.push((self.row_expr(expr, &schema, Part::Order(at))?, *options));
        }
        Ok(())
    }

    fn output(&self, name: &str, expr: &ast::Expr, columns: &Columns, schema: &DFSchema) -> Result<Output, ServiceError> {
        let part = Part::Output(name.to_owned());
        let expr = self.planner.expr(expr, schema).map_err(|error| part.wrong(error))?;
        let length = list_length(&expr);
        let expr = physical(&expr, schema).map_err(|error| part.wrong(error))?;
        let default = self.service.defaults.get(name).map(|text| cast_default(text, &expr.data_type)).transpose();
        let default = default.map_err(|message| part.wrong(message))?;
        Ok(Output { name: name.to_owned(), inputs: columns.inputs(&expr), expr, length, default })
    }

    /// The canonical text of what it means; `first` are the columns before any candidate, `schema` those behind.
    fn meaning(&self, joins: &[Join], schema: &DFSchema, first: &DFSchema) -> Result<String, CompileError> {
        use std::fmt::Write;
        let service = self.service;
        let mut out = "lockstep service meaning 1\n".to_owned();
        let several = Several::of(service, joins);
        for field in &service.request {
            let _ = writeln!(out, "request {:?} {}", field.name(), canonical::type_name(field.data_type())?);
        }
        if let Some((source, _)) = service.request_as {
            let _ = writeln!(out, "request as {:?} {}", source.name, source.meaning);
        }
        if let Some(max_age) = service.max_age {
            let _ = writeln!(out, "max_age {max_age}");
        }
        let before = service.candidates.as_ref().map_or(joins.len(), |candidates| candidates.joins_before);
        for (at, (join, input)) in joins.iter().zip(&service.joins).enumerate() {
            let _ = write!(out, "join {:?} {:?} {}", join.alias, join.view, join.transformation.meaning);
            for key in &input.keys {
                out.push(' ');
                let schema = if at < before { first } else { schema };
                canonical::expr(&mut out, &self.planner.expr(key, schema)?)?;
                told_apart(&mut out, key, &several);
            }
            out.push('\n');
        }
        if let Some(candidates) = &service.candidates {
            self.meaning_of_candidates(&mut out, candidates, (first, schema), &several)?;
        }
        for (name, expr) in &service.outputs {
            let _ = write!(out, "output {name:?} default {:?} ", service.defaults.get(name));
            canonical::expr(&mut out, &self.planner.expr(expr, schema)?)?;
            told_apart(&mut out, expr, &several);
            out.push('\n');
        }
        Ok(out)
    }

    fn meaning_of_candidates(
        &self,
        out: &mut String,
        input: &CandidatesInput<'_>,
        (first, schema): (&DFSchema, &DFSchema),
        several: &Several<'_>,
    ) -> Result<(), CompileError> {
        use std::fmt::Write;
        let mut line = |name: &str, expr: &ast::Expr, schema: &DFSchema| -> Result<(), CompileError> {
            let _ = write!(out, "{name} ");
            canonical::expr(out, &self.planner.expr(expr, schema)?)?;
            told_apart(out, expr, several);
            out.push('\n');
            Ok(())
        };
        for (name, list) in &input.columns {
            line(&format!("unnest {:?} {name:?}", input.alias), list, first)?;
        }
        if let Some(filter) = input.filter {
            line("filter", filter, schema)?;
        }
        for (expr, SortOptions { descending, nulls_first }) in &input.order {
            line(&format!("order descending={descending} nulls_first={nulls_first}"), expr, schema)?;
        }
        let fallback = input.fallback.map(|fallback| fallback.meaning.to_string());
        let _ = writeln!(out, "limit {:?} min_items {} fallback {fallback:?}", input.limit, input.min_items);
        Ok(())
    }
}

/// Names that more than one relation of a service has, so that a name alone does not say whose is meant: two views, or a view in two roles, may have features of one name, and the request
/// a column of the same. Of candidates every name counts as one.
enum Several<'a> {
    All,
    Some(BTreeSet<&'a str>),
}

impl<'a> Several<'a> {
    fn of(service: &'a ServiceInput<'_>, joins: &'a [Join]) -> Several<'a> {
        if service.candidates.is_some() {
            return Several::All;
        }
        let (mut seen, mut several) = (BTreeSet::new(), BTreeSet::new());
        let features = joins.iter().flat_map(|join| join.transformation.features.fields());
        for name in service.request.iter().chain(features).map(|field| field.name().as_str()) {
            if !seen.insert(name) {
                several.insert(name);
            }
        }
        Several::Some(several)
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Several::All => true,
            Several::Some(names) => names.contains(name),
        }
    }
}

/// Writes the roles of an expression's columns, where a name of several is among them.
fn told_apart(out: &mut String, expr: &ast::Expr, several: &Several<'_>) {
    use std::fmt::Write;
    let columns = named(expr);
    if matches!(several, Several::All) || columns.iter().any(|(_, column)| several.has(column)) {
        let _ = write!(out, " of {columns:?}");
    }
}

/// The columns that a checked expression names, each by alias and name, as they stand in it.
fn named(expr: &ast::Expr) -> Vec<(String, String)> {
    let mut columns = Vec::new();
    let _ = ast::visit_expressions(expr, |part| {
        if let ast::Expr::CompoundIdentifier(parts) = part
            && let [alias, column] = parts.as_slice()
        {
            columns.push((alias.value.clone(), column.value.clone()));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    columns
}

/// The conditions of an AND.
fn conjuncts(expr: &ast::Expr) -> Vec<&ast::Expr> {
    match expr {
        ast::Expr::BinaryOp { left, op: ast::BinaryOperator::And, right } => [conjuncts(left), conjuncts(right)].concat(),
        ast::Expr::Nested(inner) => conjuncts(inner),
        other => vec![other],
    }
}

fn cast_default(text: &str, data_type: &DataType) -> Result<ArrayRef, String> {
    let value = ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| format!("the default `{text}` is not a {data_type}"))?;
    value.to_array().map_err(|error| error.strip_backtrace())
}

/// Has another service answer where too few candidates are left. Its reads are those of this one, too, so that whoever reads for it reads from one state.
fn fall_back(plan: &mut ServicePlan, other: &Arc<ServicePlan>) -> Result<(), ServiceError> {
    for (ours, theirs) in plan.schema.fields().iter().zip(other.schema.fields()) {
        if ours.data_type() != theirs.data_type() {
            let types = [ours, theirs].map(|field| crate::definition::sql_name(field.data_type()));
            let message =
                format!("`{}` gives `{}` as {}, and this service as {} · let both give the same type", other.name, ours.name(), types[1], types[0]);
            return Err(Part::Fallback.wrong(message));
        }
    }
    let columns = other.request.fields().iter().filter_map(|field| plan.request.index_of(field.name()).ok()).collect();
    let first = plan.joins.len();
    let alias = |join: &Join| format!("{}.{}", other.name, join.alias);
    plan.joins.extend(other.joins.iter().map(|join| Join { alias: alias(join), ..join.clone() }));
    if let Some(candidates) = &mut plan.candidates {
        candidates.fallback = Some(FallbackPlan { service: Arc::clone(other), columns, first });
    }
    Ok(())
}
