//! Compiling a checked view into a [`Transformation`]: the row stage, what tiles keep, the frames, and how a value is finished.

mod apart;
pub mod canonical;
mod frames;
mod planner;
mod shorthand;
mod split;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable, WindowFunctionDefinition};
use datafusion::physical_expr::create_physical_expr;
use datafusion::sql::sqlparser::ast;
use lockstep_model::row::RowCodec;
use sha2::{Digest, Sha256};

pub use planner::{Planner, options};
pub use split::{Split, split};

use crate::aggregate::{self, Call};
use crate::definition::normalise;
use crate::eval::RowExpr;
use crate::tiles::{Frame, Measure, Measures, ReadPlan};
use crate::transformation::{Branch, Transformation};
use lockstep_model::Fingerprint;
use split::{BranchPlan, window_column};

/// Frames a view may have: a visit carries them as bits.
pub const FRAMES_MAX: usize = 64;

/// A checked view, as the compiler needs it.
#[derive(Debug, Clone)]
pub struct ViewInput<'a> {
    /// The view's name.
    pub name: &'a str,
    /// Key columns of its entity.
    pub entity: Vec<FieldRef>,
    /// The body.
    pub query: &'a ast::Query,
    /// The sources its body names.
    pub sources: BTreeMap<String, SourceInput>,
    /// How long an entity's values live after its newest event, µs.
    pub ttl: Option<i64>,
    /// Grid that frame edges are floored to, µs; 1 is exact.
    pub resolution: i64,
    /// Most elements of a state that could grow without bound.
    pub limit: Option<usize>,
}

/// A source, as the compiler needs it.
#[derive(Debug, Clone)]
pub struct SourceInput {
    /// Declared columns.
    pub schema: SchemaRef,
    /// Name of the event time column.
    pub event_time: String,
    /// Canonical text of all else that is part of the meaning: key, zone, version column, availability, lateness.
    pub meaning: String,
}

/// Why a view does not compile; the caller adds where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// The feature at fault, where one is.
    pub feature: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl From<String> for CompileError {
    fn from(message: String) -> Self {
        CompileError { feature: None, message }
    }
}

impl From<DataFusionError> for CompileError {
    fn from(error: DataFusionError) -> Self {
        CompileError { feature: None, message: planner_message(&error) }
    }
}

/// What the planner says, without its headings.
fn planner_message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => planner_message(inner),
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
            let message = message.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default();
            let mut letters = message.chars();
            let first = letters.next().map(|letter| letter.to_ascii_lowercase());
            first.into_iter().chain(letters).collect()
        }
        other => {
            let message = other.strip_backtrace();
            // What a function says of its arguments comes wrapped in whose it is.
            message.split_once(COERCION).map_or_else(|| message.clone(), |(_, said)| said.to_owned())
        }
    }
}

const COERCION: &str = "user-defined coercion failed with: Error during planning: ";

type Result<T> = std::result::Result<T, CompileError>;

/// Compiles a view.
pub fn compile(view: &ViewInput<'_>) -> Result<Transformation> {
    compile_query(view, view.query).map_err(|error| if error.feature.is_some() { error } else { blame(view).unwrap_or(error) })
}

/// The error of the first feature that does not compile by itself.
fn blame(view: &ViewInput<'_>) -> Option<CompileError> {
    let ast::SetExpr::Select(select) = view.query.body.as_ref() else { return None };
    let is_key = |item: &ast::SelectItem| item_name(item).is_some_and(|name| view.entity.iter().any(|key| *key.name() == name));
    select.projection.iter().filter(|item| !is_key(item)).find_map(|feature| {
        let mut select = select.clone();
        select.projection.retain(|item| is_key(item) || item == feature);
        let query = ast::Query { body: Box::new(ast::SetExpr::Select(select)), ..view.query.clone() };
        let error = compile_query(view, &query).err()?;
        Some(CompileError { feature: error.feature.or_else(|| item_name(feature)), ..error })
    })
}

/// The name of an item of a SELECT list, where it has one.
fn item_name(item: &ast::SelectItem) -> Option<String> {
    match item {
        ast::SelectItem::ExprWithAlias { alias, .. } => Some(normalise(alias)),
        ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(column)) => Some(normalise(column)),
        ast::SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(parts)) => parts.last().map(normalise),
        _ => None,
    }
}

fn compile_query(view: &ViewInput<'_>, query: &ast::Query) -> Result<Transformation> {
    let planner = Planner::new(view.sources.iter().map(|(name, source)| (name.as_str(), Arc::clone(&source.schema))), view.limit);
    let split = match planner.plan(query) {
        Ok(plan) => split(&plan)?,
        Err(error) if apart::is_needed(&error) => apart::plan(view, &planner, query)?,
        Err(error) => return Err(error.into()),
    };
    let mut compiler = Compiler { view, split: &split, stored: Vec::new(), measures: Vec::new(), frames: Vec::new(), outputs: Vec::new() };
    let schemas = compiler.branch_schemas()?;
    compiler.windows(&schemas)?;
    let keys = compiler.key_inputs()?;
    let branches = compiler.branches(&keys, &schemas)?;
    let (features, finish) = compiler.finish(&planner)?;
    let meaning = compiler.meaning(&keys, &features)?;
    let state = compiler.state();
    let stored = stored_schema(&branches);
    let measures = Measures { codec: RowCodec::new(stored).map_err(|error| error.to_string())?, measures: compiler.measures };
    Ok(Transformation {
        view: view.name.to_owned(),
        entity: view.entity.clone(),
        branches,
        reading: ReadPlan::new(&measures, &compiler.frames, &compiler.outputs),
        measures,
        frames: compiler.frames,
        outputs: compiler.outputs,
        values_schema: Arc::new(compiler_values_schema(&split, &schemas)?),
        finish,
        features: Arc::new(features),
        ttl: view.ttl,
        oldest_input: None,
        meaning: digest(&meaning),
        meaning_text: meaning,
        state: digest(&state),
    })
}

struct Compiler<'a> {
    view: &'a ViewInput<'a>,
    split: &'a Split,
    /// Stored columns, over input positions.
    stored: Vec<Expr>,
    measures: Vec<Measure>,
    frames: Vec<Frame>,
    /// Per window: measure and frame.
    outputs: Vec<(usize, usize)>,
}

impl Compiler<'_> {
    /// The schema of each branch's source.
    fn branch_schemas(&self) -> Result<Vec<DFSchema>> {
        self.split.branches.iter().map(|branch| Ok(DFSchema::try_from(Arc::clone(&self.source(branch)?.schema))?)).collect()
    }

    fn source(&self, branch: &BranchPlan) -> Result<&SourceInput> {
        self.view.sources.get(&branch.source).ok_or_else(|| format!("no source named {}", branch.source).into())
    }

    fn windows(&mut self, schemas: &[DFSchema]) -> Result<()> {
        for call in &self.split.windows {
            let frame = frames::frame(call, self.view.resolution)?;
            // What a frame bounds needs no declared limit.
            let rows_max = frame.last.and_then(|last| last.n).and_then(|n| usize::try_from(n).ok());
            let measure = self.measure(call, schemas, self.view.limit.or(rows_max))?;
            // A frame of rows is read row by row.
            let kept = &mut self.measures[measure];
            kept.tiled |= frame.last.is_none() && kept.aggregate.tiled();
            let frame = position_or_push(&mut self.frames, frame, |a, b| a == b);
            self.outputs.push((measure, frame));
        }
        if self.frames.len() > FRAMES_MAX {
            return Err(format!("{} different frames in one view, at most {FRAMES_MAX}: split the view", self.frames.len()).into());
        }
        Ok(())
    }

    /// The measure of a window call, shared with every call that differs only in its frame.
    fn measure(&mut self, call: &WindowFunction, schemas: &[DFSchema], limit: Option<usize>) -> Result<usize> {
        let aggregate = bind(call, &self.split.branches, schemas, limit)?;
        let mut args = Vec::new();
        for arg in columns_of(call)?.0 {
            if matches!(arg, Expr::Literal(value, _) if value.is_null()) {
                return Err(format!("`{}` of NULL · it is the same at every moment · leave it out", call.fun.name()).into());
            }
            args.push(position_or_push(&mut self.stored, arg.clone(), |a, b| a == b));
        }
        let filter = call.params.filter.as_ref().map(|filter| position_or_push(&mut self.stored, (**filter).clone(), |a, b| a == b));
        let measure = Measure { aggregate, args, filter, tiled: false };
        let same = |a: &Measure, b: &Measure| a.aggregate.name() == b.aggregate.name() && a.args == b.args && a.filter == b.filter;
        Ok(position_or_push(&mut self.measures, measure, same))
    }

    /// The entity key as expressions over input positions: the outputs named like the key columns.
    fn key_inputs(&self) -> Result<Vec<Expr>> {
        self.view
            .entity
            .iter()
            .map(|field| {
                let found = self.split.outputs.iter().find(|(name, _)| name == field.name());
                let (_, expr) = found.ok_or_else(|| format!("the body does not select the entity's key column `{}`", field.name()))?;
                Ok(expr.clone())
            })
            .collect()
    }

    fn branches(&self, keys: &[Expr], schemas: &[DFSchema]) -> Result<Vec<Branch>> {
        if self.split.branches.len() > usize::from(u8::MAX) {
            return Err("a view reads at most 255 sources".to_owned().into());
        }
        let branches = self.split.branches.iter().zip(schemas);
        branches.map(|(plan, schema)| self.branch(plan, keys, schema)).collect()
    }

    fn branch(&self, plan: &BranchPlan, keys: &[Expr], schema: &DFSchema) -> Result<Branch> {
        let source = self.source(plan)?;
        self.check_order(plan, source)?;
        let mut key_exprs = Vec::new();
        for (key, field) in keys.iter().zip(&self.view.entity) {
            let key = plan.over_source(key)?.cast_to(field.data_type(), schema)?;
            key_exprs.push(physical(&key, schema)?);
        }
        let filter = plan.filter.as_ref().map(|filter| physical(filter, schema)).transpose()?;
        let columns = self.stored.iter().map(|expr| physical(&plan.over_source(expr)?, schema)).collect::<Result<Vec<_>>>()?;
        let event_time = source.schema.index_of(&source.event_time).map_err(|_| format!("no column `{}`", source.event_time))?;
        Ok(Branch { source: plan.source.clone(), event_time, filter, keys: key_exprs, columns })
    }

    /// Every window is ordered by what is the source's event time in this branch.
    fn check_order(&self, plan: &BranchPlan, source: &SourceInput) -> Result<()> {
        for call in &self.split.windows {
            let ordered = matches!(call.params.order_by.as_slice(), [sort] if sort.asc
                && matches!(plan.over_source(&sort.expr)?, Expr::Column(column) if column.name == source.event_time));
            if !ordered {
                return Err(format!("a window is ordered by the event time, `{}` in source {}, ascending", source.event_time, plan.source).into());
            }
        }
        Ok(())
    }

    /// The features, and their expressions over the values of the windows.
    fn finish(&self, _planner: &Planner) -> Result<(Schema, Vec<RowExpr>)> {
        let schemas = self.branch_schemas()?;
        let values = DFSchema::try_from(compiler_values_schema(self.split, &schemas)?)?;
        let mut fields = Vec::new();
        let mut finish = Vec::new();
        for (name, expr) in &self.split.outputs {
            if self.view.entity.iter().any(|key| key.name() == name) {
                continue;
            }
            let at = |message: String| CompileError { feature: Some(name.clone()), message };
            if expr.column_refs().iter().any(|column| !column.name.starts_with("window ")) || expr.column_refs().is_empty() {
                return Err(at(format!("`{name}` is a value of a row, and a moment has no row: write last_value(…) OVER …")));
            }
            let finished = physical(expr, &values).map_err(|error| at(error.message))?;
            fields.push(Field::new(name, finished.data_type.clone(), true));
            finish.push(finished);
        }
        Ok((Schema::new(fields), finish))
    }

    /// The canonical text of what this view means.
    fn meaning(&self, keys: &[Expr], features: &Schema) -> Result<String> {
        use std::fmt::Write;
        let mut out = "lockstep view meaning 1\n".to_owned();
        for field in &self.view.entity {
            let _ = writeln!(out, "key {:?} {}", field.name(), canonical::type_name(field.data_type())?);
        }
        let _ = writeln!(out, "ttl {:?} resolution {} limit {:?}", self.view.ttl, self.view.resolution, self.view.limit);
        for branch in &self.split.branches {
            let source = self.source(branch)?;
            let _ = writeln!(out, "source {:?} event_time {:?} {}", branch.source, source.event_time, source.meaning);
            for field in source.schema.fields() {
                let _ = writeln!(out, "  column {:?} {}", field.name(), canonical::type_name(field.data_type())?);
            }
            for (what, expr) in branch
                .filter
                .iter()
                .map(|filter| ("where", filter.clone()))
                .chain(keys.iter().map(|key| ("key", key.clone())).chain(self.stored.iter().map(|stored| ("stored", stored.clone()))))
            {
                let _ = write!(out, "  {what} ");
                canonical::expr(&mut out, &branch.over_source(&expr).unwrap_or(expr))?;
                out.push('\n');
            }
        }
        for measure in &self.measures {
            let _ = writeln!(out, "measure {} args {:?} filter {:?}", measure.aggregate.name(), measure.args, measure.filter);
        }
        for frame in &self.frames {
            let _ = writeln!(out, "frame {}", frames::canonical(frame));
        }
        let _ = writeln!(out, "outputs {:?}", self.outputs);
        for field in features.fields() {
            let expr = self.split.outputs.iter().find(|(name, _)| name == field.name());
            let _ = write!(out, "feature {:?} {} ", field.name(), canonical::type_name(field.data_type())?);
            if let Some((_, expr)) = expr {
                canonical::expr(&mut out, expr)?;
            }
            out.push('\n');
        }
        Ok(out)
    }

    fn state(&self) -> String {
        let versions: Vec<String> = self
            .measures
            .iter()
            .map(|measure| format!("{} v{} tiled {}", measure.aggregate.name(), measure.aggregate.codec_version(), measure.tiled))
            .collect();
        let layout = (crate::tiles::node::VERSION, lockstep_model::key::VERSION, lockstep_model::row::VERSION);
        format!("lockstep state 1 layout {layout:?} {}", versions.join("; "))
    }
}

/// Binds a window call's aggregate, its argument types taken from the first branch: a union's branches agree.
fn bind(call: &WindowFunction, branches: &[BranchPlan], schemas: &[DFSchema], limit: Option<usize>) -> Result<Arc<dyn aggregate::Aggregate>> {
    let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
        return Err(format!("`{}` is not an aggregate", call.fun.name()).into());
    };
    let (Some(branch), Some(schema)) = (branches.first(), schemas.first()) else { return Err("a view reads at least one source".to_owned().into()) };
    let (columns, literals) = columns_of(call)?;
    let arg_types = columns.iter().map(|column| Ok(branch.over_source(column)?.get_type(schema)?)).collect::<Result<Vec<_>>>()?;
    let ignore_nulls = call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
    let call = Call { name: function.name(), arg_types: &arg_types, literals: &literals, distinct: call.params.distinct, ignore_nulls, limit };
    Ok(aggregate::bind(&call)?)
}

/// The arguments of a call that are columns, and the constants after them. What `count` counts of a constant is rows.
fn columns_of(call: &WindowFunction) -> Result<(Vec<&Expr>, Vec<ScalarValue>)> {
    let function = aggregate::Function::parse(call.fun.name())?;
    let args = &call.params.args;
    let (columns, constants) = args.split_at(function.columns(args.len()));
    let counts_rows =
        |arg: &&Expr| function == aggregate::Function::Count && !call.params.distinct && matches!(arg, Expr::Literal(value, _) if !value.is_null());
    let literals = constants.iter().filter_map(|arg| if let Expr::Literal(value, _) = arg { Some(value.clone()) } else { None });
    Ok((columns.iter().filter(|arg| !counts_rows(arg)).collect(), literals.collect()))
}

/// One column per window call.
fn compiler_values_schema(split: &Split, schemas: &[DFSchema]) -> Result<Schema> {
    let mut fields = Vec::new();
    for (index, call) in split.windows.iter().enumerate() {
        let aggregate = bind(call, &split.branches, schemas, Some(1))?;
        fields.push(Field::new(window_column(index), aggregate.return_type(), true));
    }
    Ok(Schema::new(fields))
}

fn stored_schema(branches: &[Branch]) -> SchemaRef {
    let types = branches.first().map(|branch| branch.columns.iter().map(|column| column.data_type.clone()).collect::<Vec<DataType>>());
    let fields = types.unwrap_or_default().into_iter().enumerate().map(|(i, data_type)| Field::new(format!("stored {i}"), data_type, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A physical expression, neither simplified nor rewritten, but for shorthands.
pub(crate) fn physical(expr: &Expr, schema: &DFSchema) -> Result<RowExpr> {
    let data_type = expr.get_type(schema)?;
    let expr = create_physical_expr(&shorthand::spelled_out(expr, schema)?, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    Ok(RowExpr { expr, data_type })
}

fn position_or_push<T>(items: &mut Vec<T>, item: T, same: impl Fn(&T, &T) -> bool) -> usize {
    items.iter().position(|known| same(known, &item)).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

pub(crate) fn digest(text: &str) -> Fingerprint {
    Fingerprint(Sha256::digest(text.as_bytes()).into())
}

#[cfg(test)]
pub(crate) mod tests;
