//! A view's body taken apart as syntax: its relation, its windows, and its items over their values.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, NamedWindowExpr, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};
use lockstep_model::Error;

use super::CallText;
use crate::definition::{Interval, View, interval_text, normalise};

/// The index of a probe; NULL for events.
pub(super) const PROBE: &str = "oracle probe";
/// Which input of a UNION ALL a row comes from.
pub(super) const BRANCH: &str = "oracle branch";
/// Place of a row in its source, by (event time, primary key).
pub(super) const ROW: &str = "oracle row";
/// Place of a row among all rows of an answer.
pub(super) const PLACE: &str = "oracle place";
/// The newest event time.
pub(super) const NEWEST: &str = "oracle newest";
/// The moment of a probe.
pub(super) const AT: &str = "oracle at";
/// How many rows a probe sees after this one.
pub(super) const AFTER: &str = "oracle after";

/// The event time.
pub(super) const TIME: &str = "oracle time";

/// What an argument or a FILTER gives.
pub(super) fn input_column(index: usize) -> String {
    format!("oracle input {index}")
}

pub(super) fn key_column(index: usize) -> String {
    format!("oracle key {index}")
}

pub(super) fn calendar_column(index: usize) -> String {
    format!("oracle calendar {index}")
}

pub(super) fn value_column(index: usize) -> String {
    format!("oracle value {index}")
}

pub(super) fn counted_column(index: usize) -> String {
    format!("oracle counted {index}")
}

/// A name as SQL reads it exactly.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[derive(Debug)]
pub(super) struct Body {
    relation: TableFactor,
    condition: Option<Expr>,
    /// Names of the sources, in the order of the branches.
    pub(super) branches: Vec<String>,
    /// In the entity's order.
    pub(super) keys: Vec<Expr>,
    pub(super) event_time: String,
    /// The distinct arguments and FILTERs of aggregates.
    pub(super) inputs: Vec<Expr>,
    /// The distinct `date_trunc`s that windows are further partitioned by.
    pub(super) calendars: Vec<Expr>,
    /// The distinct calls over windows.
    pub(super) calls: Vec<Call>,
    pub(super) features: Vec<Feature>,
}

/// A call whose arguments and FILTER are [`input_column`]s.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    function: Function,
    /// Which inputs it reads.
    pub(super) inputs: Vec<usize>,
    pub(super) calendar: Option<usize>,
    pub(super) frame: WindowFrame,
    /// The frame as it is written.
    text: String,
    pub(super) failure: Failure,
}

/// When a value could not be computed.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    Never,
    /// When it is NULL.
    WhereNull,
    /// When it is NULL and this, a count over the same window, is not 0.
    WhereNullOver(String),
}

#[derive(Debug)]
pub(super) struct Feature {
    pub(super) name: String,
    /// Its expression over [`value_column`]s.
    pub(super) expr: Expr,
    pub(super) calls: Vec<usize>,
}

impl Body {
    pub(super) fn of(view: &View) -> Result<Body, Error> {
        let fault = || Error::internal(format!("the body of `{}` is no SELECT over a relation", view.name));
        let SetExpr::Select(select) = &*view.query.body else { return Err(fault()) };
        let [from] = select.from.as_slice() else { return Err(fault()) };
        let mut body = Body {
            relation: from.relation.clone(),
            condition: select.selection.clone(),
            branches: view.branches.iter().map(|branch| branch.source.clone()).collect(),
            keys: view.keys.iter().map(|key| key.expr.clone()).collect(),
            event_time: view.event_time.clone(),
            inputs: Vec::new(),
            calendars: Vec::new(),
            calls: Vec::new(),
            features: Vec::new(),
        };
        for item in &view.features {
            let mut collector = Collector { select, body: &mut body, calls: Vec::new() };
            let mut expr = item.expr.clone();
            if let ControlFlow::Break(message) = expr.visit(&mut collector) {
                return Err(Error::internal(format!("feature `{}`: {message}", item.name)));
            }
            let calls = collector.calls;
            body.features.push(Feature { name: item.name.clone(), expr, calls });
        }
        Ok(body)
    }

    /// What is read of a row: its event time, its entity key, its calendar periods, the inputs of aggregates.
    pub(super) fn row_items(&self) -> Vec<(String, String)> {
        let mut items = vec![(TIME.to_owned(), quoted(&self.event_time))];
        items.extend(self.keys.iter().enumerate().map(|(i, key)| (key_column(i), key.to_string())));
        items.extend(self.calendars.iter().enumerate().map(|(i, calendar)| (calendar_column(i), calendar.to_string())));
        items.extend(self.inputs.iter().enumerate().map(|(i, input)| (input_column(i), input.to_string())));
        items
    }

    /// `FROM … WHERE …` with what is read of a row, and which branch and row of it each row is.
    pub(super) fn rows_sql(&self) -> String {
        let mut relation = self.relation.clone();
        let branch = match &mut relation {
            TableFactor::Derived { subquery, .. } => {
                add_branch_columns(subquery);
                quoted(BRANCH)
            }
            _ => "0".to_owned(),
        };
        let mut items: Vec<String> = self.row_items().into_iter().map(|(name, item)| format!("{item} AS {}", quoted(&name))).collect();
        items.push(format!("{branch} AS {}, {}", quoted(BRANCH), quoted(ROW)));
        let condition = self.condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        format!("SELECT {} FROM {relation}{condition}", items.join(", "))
    }

    /// The value of one expression for every row of the sources.
    pub(super) fn item_sql(&self, item: &str) -> String {
        let mut relation = self.relation.clone();
        if let TableFactor::Derived { subquery, .. } = &mut relation {
            selects_of(&mut subquery.body).into_iter().for_each(|select| select.selection = None);
        }
        format!("SELECT {item} AS v FROM {relation}")
    }

    /// The conditions on rows of a branch: each as an expression for every row of the sources.
    pub(super) fn conditions_sql(&self, branch: usize) -> Vec<String> {
        let mut relation = self.relation.clone();
        let mut conditions: Vec<String> = self.condition.iter().map(|condition| self.item_sql(&format!("({condition})"))).collect();
        if let TableFactor::Derived { subquery, .. } = &mut relation
            && let Some(select) = selects_of(&mut subquery.body).into_iter().nth(branch)
            && let (Some(condition), [from]) = (&select.selection, select.from.as_slice())
        {
            conditions.push(format!("SELECT ({condition}) AS v FROM {from}"));
        }
        conditions
    }

    /// The calendar periods of the moments in a table of that one column.
    pub(super) fn calendars_sql(&self, table: &str) -> String {
        let items = self.calendars.iter().enumerate().map(|(i, calendar)| format!("{calendar} AS {}", quoted(&calendar_column(i))));
        format!("SELECT {} FROM {}", items.collect::<Vec<_>>().join(", "), self.from(table))
    }

    /// A table in the place of the body's relation, under its name.
    pub(super) fn from(&self, table: &str) -> String {
        let name = match &self.relation {
            TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => alias.name.to_string(),
            TableFactor::Table { name, .. } => name.to_string(),
            _ => return quoted(table),
        };
        format!("{} AS {name}", quoted(table))
    }
}

/// The SELECTs of a UNION ALL, in order.
fn selects_of(body: &mut SetExpr) -> Vec<&mut Select> {
    match body {
        SetExpr::SetOperation { left, right, .. } => selects_of(left).into_iter().chain(selects_of(right)).collect(),
        SetExpr::Query(query) => selects_of(&mut query.body),
        SetExpr::Select(select) => vec![select],
        _ => Vec::new(),
    }
}

/// Every SELECT of a union says which it is, and which row of its source it gives.
fn add_branch_columns(query: &mut Query) {
    for (branch, select) in selects_of(&mut query.body).into_iter().enumerate() {
        let branch = Expr::value(Value::Number(branch.to_string(), false));
        let row = Ident::with_quote('"', ROW);
        select.projection.push(SelectItem::ExprWithAlias { expr: branch, alias: Ident::with_quote('"', BRANCH) });
        select.projection.push(SelectItem::ExprWithAlias { expr: Expr::Identifier(row.clone()), alias: row });
    }
}

impl Call {
    /// `f(x) FILTER (WHERE condition AND …)`.
    pub(super) fn filtered(&self, condition: &str) -> String {
        call_text(&self.function, &self.function.args, condition)
    }

    /// The same with an order among the arguments, where the function has one.
    pub(super) fn filtered_in_order(&self, condition: &str, order: &str) -> String {
        let mut args = self.function.args.clone();
        if let (FunctionArguments::List(list), true) = (&mut args, self.is_ordered()) {
            let by = datafusion::sql::sqlparser::ast::OrderByExpr::from(Ident::with_quote('"', order));
            list.clauses.push(FunctionArgumentClause::OrderBy(vec![by]));
        }
        call_text(&self.function, &args, condition)
    }

    fn is_ordered(&self) -> bool {
        ["first_value", "last_value", "nth_value", "array_agg"].contains(&function_name(&self.function).as_str())
    }

    /// The count that tells an error from a NULL, under the same FILTER.
    pub(super) fn counted(&self, condition: &str) -> Option<String> {
        let Failure::WhereNullOver(count) = &self.failure else { return None };
        let condition = both(condition, self.function.filter.as_deref());
        Some(format!("{count} FILTER (WHERE {condition})"))
    }

    pub(super) fn is_rows(&self) -> bool {
        self.frame.units == WindowFrameUnits::Rows
    }

    /// The edges of the frame, the farther one first.
    pub(super) fn edges(&self) -> (&WindowFrameBound, &WindowFrameBound) {
        (&self.frame.start_bound, self.frame.end_bound.as_ref().unwrap_or(&WindowFrameBound::CurrentRow))
    }

    pub(super) fn frame_text(&self) -> String {
        frame_text(&self.frame)
    }

    pub(super) fn text(&self, body: &Body) -> CallText {
        let frame = match self.calendar {
            None => self.text.clone(),
            Some(calendar) => format!("{} of {}", self.text, body.calendars[calendar]),
        };
        let distinct = if is_distinct(&self.function) { " distinct" } else { "" };
        CallText { function: format!("{}{distinct}", function_name(&self.function)), frame }
    }
}

fn call_text(function: &Function, args: &FunctionArguments, condition: &str) -> String {
    let nulls = function.null_treatment.as_ref().map(|nulls| format!(" {nulls}")).unwrap_or_default();
    format!("{}{args} FILTER (WHERE {}){nulls}", function.name, both(condition, function.filter.as_deref()))
}

fn both(condition: &str, filter: Option<&Expr>) -> String {
    filter.map_or_else(|| condition.to_owned(), |filter| format!("{condition} AND ({filter})"))
}

fn function_name(function: &Function) -> String {
    function.name.0.last().and_then(ObjectNamePart::as_ident).map(normalise).unwrap_or_default()
}

fn is_distinct(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list) if list.duplicate_treatment.is_some_and(|d| d.to_string() == "DISTINCT"))
}

/// Replaces calls over windows by the columns of their values.
struct Collector<'a> {
    select: &'a Select,
    body: &'a mut Body,
    calls: Vec<usize>,
}

impl VisitorMut for Collector<'_> {
    type Break = String;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let Some(over) = function.over.take() else { return ControlFlow::Continue(()) };
        let index = match self.window(&over).and_then(|spec| self.call(function, &spec)) {
            Ok(index) => index,
            Err(message) => return ControlFlow::Break(message),
        };
        if !self.calls.contains(&index) {
            self.calls.push(index);
        }
        *expr = Expr::Identifier(Ident::with_quote('"', value_column(index)));
        ControlFlow::Continue(())
    }
}

impl Collector<'_> {
    fn window(&self, over: &WindowType) -> Result<WindowSpec, String> {
        let ident = match over {
            WindowType::WindowSpec(spec) => return Ok(spec.clone()),
            WindowType::NamedWindow(ident) => ident,
        };
        let named = self.select.named_window.iter().find(|window| normalise(&window.0) == normalise(ident));
        match named.map(|window| &window.1) {
            Some(NamedWindowExpr::WindowSpec(spec)) => Ok(spec.clone()),
            _ => Err(format!("no window `{ident}`")),
        }
    }

    fn call(&mut self, function: &Function, spec: &WindowSpec) -> Result<usize, String> {
        let mut frame = spec.window_frame.clone().ok_or("a window has no frame")?;
        let text = frame_text(&frame);
        in_microseconds(&mut frame.start_bound)?;
        frame.end_bound.as_mut().map_or(Ok(()), in_microseconds)?;
        let calendar = self.calendar(spec);
        let mut function = function.clone();
        let inputs = self.take_inputs(&mut function);
        let call = Call { inputs, calendar, frame, text, failure: failure(&function), function };
        Ok(position_or_push(&mut self.body.calls, call))
    }

    /// Puts columns in the place of the first argument and the FILTER. Further arguments are constants.
    fn take_inputs(&mut self, function: &mut Function) -> Vec<usize> {
        let argument = match &mut function.args {
            FunctionArguments::List(list) => match list.args.first_mut() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) => Some(argument),
                _ => None,
            },
            _ => None,
        };
        argument.into_iter().chain(function.filter.as_deref_mut()).map(|input| self.take_input(input)).collect()
    }

    fn take_input(&mut self, expr: &mut Expr) -> usize {
        let index = position_or_push(&mut self.body.inputs, expr.clone());
        *expr = Expr::Identifier(Ident::with_quote('"', input_column(index)));
        index
    }

    /// What a window is partitioned by beside the entity's key.
    fn calendar(&mut self, spec: &WindowSpec) -> Option<usize> {
        if spec.partition_by.len() <= self.body.keys.len() {
            return None;
        }
        let is_date_trunc =
            |expr: &&Expr| matches!(expr, Expr::Function(call) if ["date_trunc", "datetrunc"].contains(&function_name(call).as_str()));
        let mut found = spec.partition_by.iter().filter(is_date_trunc);
        let calendar = found.clone().find(|expr| !self.body.keys.contains(expr)).or_else(|| found.next())?;
        Some(position_or_push(&mut self.body.calendars, calendar.clone()))
    }
}

fn frame_text(frame: &WindowFrame) -> String {
    let end = frame.end_bound.as_ref().unwrap_or(&WindowFrameBound::CurrentRow);
    format!("{} BETWEEN {} AND {end}", frame.units, frame.start_bound)
}

/// Writes an interval in its length. DataFusion compares the edges of a frame unit by unit, for which 1 day is more than 36 hours.
fn in_microseconds(bound: &mut WindowFrameBound) -> Result<(), String> {
    let WindowFrameBound::Preceding(Some(edge)) = bound else { return Ok(()) };
    let Some(text) = interval_text(edge) else { return Ok(()) };
    let interval: Interval = text.parse().map_err(|_| format!("`{text}` is no length of a frame"))?;
    if let Expr::Interval(written) = edge.as_mut() {
        let text = Value::SingleQuotedString(format!("{} microseconds", interval.micros()));
        *written.value = Expr::value(text);
        written.leading_field = None;
    }
    Ok(())
}

fn position_or_push<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|known| *known == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

/// Sums and means overflow; distinct sets and lists have a limit. All others have a value whatever the rows.
fn failure(function: &Function) -> Failure {
    let argument = match &function.args {
        FunctionArguments::List(list) => list.args.first(),
        _ => None,
    };
    match (function_name(function).as_str(), argument) {
        ("count", _) if is_distinct(function) => Failure::WhereNull,
        ("sum" | "avg" | "mean", Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(x)))) => Failure::WhereNullOver(format!("count({x})")),
        ("array_agg", _) => Failure::WhereNullOver("count(*)".to_owned()),
        _ => Failure::Never,
    }
}
