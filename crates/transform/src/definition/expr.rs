//! Expressions over the columns of events and requests: which forms there are, and whether their names are known.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType as SqlType, DateTimeField, Expr, Function as Call, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectNamePart, Subscript, TimezoneInfo, UnaryOperator, Visit, Visitor,
};

use super::Diagnostic;
use super::functions::{Function, Refusal, aggregate_names, function, names as function_names};
use super::lex::Statement;
use super::names::{list, normalise, quoted, suggestion};
use super::scope::Scope;
use super::text::Span;

/// How deep expressions may nest. The walks here and the planner's recurse.
const DEPTH_MAX: usize = 200;

/// An expression, as the checks see it.
pub(super) enum Node<'a> {
    /// A column, with its qualifier.
    Column(Option<&'a Ident>, &'a Ident),
    /// A function call.
    Call(&'a Call),
    /// An operation on these.
    Parts(Vec<&'a Expr>),
    /// A form that definitions do not have.
    Refused { what: String, help: Option<String> },
}

/// Sorts an expression into the forms there are.
pub(super) fn node(expr: &Expr) -> Node<'_> {
    use Expr::*;
    match expr {
        Identifier(ident) => Node::Column(None, ident),
        CompoundIdentifier(parts) => match parts.as_slice() {
            [column] => Node::Column(None, column),
            [qualifier, column] => Node::Column(Some(qualifier), column),
            _ => refused("a name of more than two parts", Some("write the column, or its source's alias and the column")),
        },
        Function(call) => match bare_word(call) {
            Some(ident) => Node::Column(None, ident),
            None => Node::Call(call),
        },
        IsFalse(e) | IsNotFalse(e) | IsTrue(e) | IsNotTrue(e) | IsNull(e) | IsNotNull(e) | IsUnknown(e) | IsNotUnknown(e) | Nested(e) => {
            Node::Parts(vec![e])
        }
        IsDistinctFrom(a, b) | IsNotDistinctFrom(a, b) => Node::Parts(vec![a, b]),
        InList { expr, list, .. } => Node::Parts(std::iter::once(&**expr).chain(list).collect()),
        Between { expr, low, high, .. } => Node::Parts(vec![expr, low, high]),
        Like { expr, pattern, any: false, .. } | ILike { expr, pattern, any: false, .. } | SimilarTo { expr, pattern, .. } => {
            Node::Parts(vec![expr, pattern])
        }
        BinaryOp { left, op, right } => operation(op, left, right),
        UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, expr } => Node::Parts(vec![expr]),
        UnaryOp { op, .. } => refused(format!("the operator `{op}`"), None),
        Cast { expr, data_type, kind, array: false, format: None } => cast(kind, data_type, expr),
        TypedString(typed) if has_zone(&typed.data_type) => zoned(),
        AtTimeZone { timestamp, time_zone } => Node::Parts(vec![timestamp, time_zone]),
        Extract { expr, .. } => Node::Parts(vec![expr]),
        Ceil { expr, field } | Floor { expr, field } => match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => Node::Parts(vec![expr]),
            _ => refused("CEIL and FLOOR to a unit", Some("write date_trunc('hour', x), or round(x, 2)")),
        },
        Position { expr, r#in } => Node::Parts(vec![expr, r#in]),
        Substring { expr, substring_from, substring_for, .. } => {
            Node::Parts(std::iter::once(&**expr).chain(substring_from.as_deref()).chain(substring_for.as_deref()).collect())
        }
        Trim { expr, trim_what, trim_characters, .. } => {
            Node::Parts(std::iter::once(&**expr).chain(trim_what.as_deref()).chain(trim_characters.iter().flatten()).collect())
        }
        Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            Node::Parts([&**expr, overlay_what, overlay_from].into_iter().chain(overlay_for.as_deref()).collect())
        }
        Value(_) | TypedString(_) | Interval(_) => Node::Parts(Vec::new()),
        Case { operand, conditions, else_result, .. } => {
            let conditions = conditions.iter().flat_map(|when| [&when.condition, &when.result]);
            Node::Parts(operand.as_deref().into_iter().chain(conditions).chain(else_result.as_deref()).collect())
        }
        Array(array) => Node::Parts(array.elem.iter().collect()),
        CompoundFieldAccess { root, access_chain } => access(root, access_chain),
        Subquery(_) | Exists { .. } | InSubquery { .. } => subquery(),
        AnyOp { right, .. } | AllOp { right, .. } if matches!(**right, Subquery(_)) => subquery(),
        AnyOp { left, right, .. } | AllOp { left, right, .. } => Node::Parts(vec![left, right]),
        Lambda(_) => refused("a function as an argument", None),
        Struct { .. } | Named { .. } | Tuple(_) | Dictionary(_) | Map(_) => refused("a value with fields", Some("write a feature for each field")),
        Wildcard(_) | QualifiedWildcard(..) => refused("`*` in an expression", Some("name the columns")),
        _ => refused("this form of expression", None),
    }
}

fn refused<'a>(what: impl Into<String>, help: Option<&str>) -> Node<'a> {
    Node::Refused { what: what.into(), help: help.map(str::to_owned) }
}

fn subquery<'a>() -> Node<'a> {
    refused("a subquery", Some("take what it looks up from the event, or join views in a feature service"))
}

fn zoned<'a>() -> Node<'a> {
    refused(
        "a TIMESTAMP WITH TIME ZONE, whose zone is a setting of the session",
        Some("write TIMESTAMP, which is in UTC, and AT TIME ZONE where a zone is meant"),
    )
}

fn has_zone(data_type: &SqlType) -> bool {
    matches!(data_type, SqlType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz))
}

/// A word that the parser takes for a function without parentheses, and that is no known one: a column, such as `user`.
fn bare_word(call: &Call) -> Option<&Ident> {
    let name = single_name(call)?;
    let clock = matches!(function(&normalise(name)), Function::Refused(_)) && !is_user(name);
    (call.args == FunctionArguments::None && call.over.is_none() && !clock).then_some(name)
}

fn is_user(name: &Ident) -> bool {
    ["user", "current_user", "session_user", "current_catalog"].contains(&normalise(name).as_str())
}

/// The name of a function that has no schema.
pub(super) fn single_name(call: &Call) -> Option<&Ident> {
    match call.name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(ident),
        _ => None,
    }
}

fn operation<'a>(op: &BinaryOperator, left: &'a Expr, right: &'a Expr) -> Node<'a> {
    use BinaryOperator::*;
    match op {
        Plus | Minus | Multiply | Divide | Modulo | StringConcat | Gt | Lt | GtEq | LtEq | Eq | NotEq | And | Or | BitwiseOr | BitwiseAnd
        | BitwiseXor | PGBitwiseXor | PGBitwiseShiftLeft | PGBitwiseShiftRight | PGRegexMatch | PGRegexIMatch | PGRegexNotMatch
        | PGRegexNotIMatch | AtArrow | ArrowAt => Node::Parts(vec![left, right]),
        PGExp => refused("the operator `^`, a power, whose bits come from the platform's libm", Some("multiply: `x * x`")),
        Xor => refused("the operator XOR", Some("write a <> b")),
        Spaceship => refused("the operator `<=>`", Some("write a IS NOT DISTINCT FROM b")),
        other => refused(format!("the operator `{other}`"), None),
    }
}

fn cast<'a>(kind: &CastKind, data_type: &SqlType, expr: &'a Expr) -> Node<'a> {
    match kind {
        _ if has_zone(data_type) => zoned(),
        CastKind::Cast | CastKind::DoubleColon | CastKind::TryCast => Node::Parts(vec![expr]),
        CastKind::SafeCast => refused("SAFE_CAST", Some("write TRY_CAST(x AS …)")),
    }
}

fn access<'a>(root: &'a Expr, chain: &'a [AccessExpr]) -> Node<'a> {
    let mut parts = vec![root];
    for link in chain {
        match link {
            AccessExpr::Subscript(Subscript::Index { index }) => parts.push(index),
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                parts.extend([lower_bound, upper_bound, stride].into_iter().flatten());
            }
            AccessExpr::Dot(_) => return refused("a field of a value", Some("declare a column for each field")),
        }
    }
    Node::Parts(parts)
}

/// The column that an expression is, and nothing else.
pub(super) fn as_column(expr: &Expr) -> Option<(Option<&Ident>, &Ident)> {
    match expr {
        Expr::Nested(inner) => as_column(inner),
        _ => match node(expr) {
            Node::Column(qualifier, column) => Some((qualifier, column)),
            _ => None,
        },
    }
}

/// The arguments of a call, if it has plain ones.
pub(super) fn arguments(call: &Call) -> Result<Vec<&Expr>, &'static str> {
    let FunctionArguments::List(list) = &call.args else {
        return if call.args == FunctionArguments::None { Ok(Vec::new()) } else { Err("a subquery for an argument") };
    };
    let argument = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Ok(expr),
        FunctionArg::Unnamed(_) => Err("`*` for an argument"),
        FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => Err("arguments by name"),
    };
    list.args.iter().map(argument).collect()
}

/// Refuses what nests so deep that walking it could exhaust the stack. Everything else here relies on it.
pub(super) fn check_depth(tree: &impl Visit, statement: &Statement) -> Result<(), Diagnostic> {
    match tree.visit(&mut Depth { depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(statement
            .origin
            .at(statement.token_span(0))
            .error(format!("an expression in here nests more than {DEPTH_MAX} levels deep"))
            .help("split it; a long chain of conditions may be written as `x IN (…)` or as a list")),
    }
}

struct Depth {
    depth: usize,
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Where an expression stands in which aggregates have no place, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    Where,
    Filter,
    Argument,
    Partition,
    Key,
    Branch,
    AvailableAt,
    Output,
    JoinKey,
}

impl Clause {
    /// Why an aggregate has no place here, and what to write.
    fn aggregate_refusal(self) -> (&'static str, &'static str) {
        match self {
            Clause::Where | Clause::Filter => {
                ("this condition is on one event, before any window", "compare the features in a service, or in an expression of the view")
            }
            Clause::Argument => (
                "its argument is a value of one event, and a window of windows has no exact state",
                "give both features, and combine them in an expression",
            ),
            Clause::Partition | Clause::Key => ("the entity of an event is a function of that event alone", "make the key of the event's columns"),
            Clause::Branch => ("a branch of UNION ALL gives the events, before any window", "aggregate over the window of the view"),
            Clause::AvailableAt => ("it is a function of one row", "write an expression over the row's columns"),
            Clause::Output | Clause::JoinKey => ("a service combines values of one request", "define it as a feature in a view, and join the view"),
        }
    }
}

/// Checks expressions of one statement against the columns in scope.
pub(super) struct Checker<'a> {
    pub(super) statement: &'a Statement,
    pub(super) scope: &'a Scope,
    pub(super) found: &'a mut Vec<Diagnostic>,
    /// What is being checked: the place of what the parser has no place for.
    pub(super) near: Span,
}

impl Checker<'_> {
    /// Checks an expression without aggregates.
    pub(super) fn scalar(&mut self, expr: &Expr, clause: Clause) {
        match node(expr) {
            Node::Column(qualifier, column) => self.column(qualifier, column),
            Node::Call(call) => self.scalar_call(call, clause),
            Node::Parts(parts) => parts.into_iter().for_each(|part| self.scalar(part, clause)),
            Node::Refused { what, help } => self.refuse(expr, &what, help),
        }
    }

    pub(super) fn refuse(&mut self, expr: &Expr, what: &str, help: Option<String>) {
        let error = self.at(self.statement.place_or(expr, self.near)).error(format!("definitions have no place for {what}"));
        self.found.push(error.help_opt(help));
    }

    fn column(&mut self, qualifier: Option<&Ident>, column: &Ident) {
        if let Err(diagnostic) = self.scope.resolve(qualifier, column, &self.statement.origin) {
            self.found.push(*diagnostic);
        }
    }

    fn scalar_call(&mut self, call: &Call, clause: Clause) {
        let span = self.call_span(call);
        let Some(name) = self.function_name(call) else { return };
        match function(&name) {
            Function::Scalar => self.scalar_function(call, &name, clause),
            Function::Aggregate(_) => {
                let (reason, help) = clause.aggregate_refusal();
                self.found.push(self.at(span).error(format!("an aggregate, `{name}`, has no place here")).note(reason).help(help));
            }
            Function::Refused(refusal) => self.found.push(self.refused_function(&name, refusal, span)),
            Function::Unknown => self.found.push(self.unknown_function(call, &name)),
        }
    }

    /// Checks a scalar function that is known, with its arguments.
    fn scalar_function(&mut self, call: &Call, name: &str, clause: Clause) {
        let decorated = call.over.is_some() || call.filter.is_some() || !call.within_group.is_empty() || call.null_treatment.is_some();
        let clauses = matches!(&call.args, FunctionArguments::List(list) if list.duplicate_treatment.is_some() || !list.clauses.is_empty());
        if decorated || clauses || call.parameters != FunctionArguments::None {
            let span = self.call_span(call);
            let error = self.at(span).error(format!("`{name}` is no aggregate")).note("FILTER, OVER, DISTINCT and orders go with aggregates");
            self.found.push(error.help(format!("write {name}(…) alone, or aggregate its value: max({name}(…)) OVER w")));
        }
        match arguments(call) {
            Ok(arguments) => arguments.into_iter().for_each(|argument| self.scalar(argument, clause)),
            Err(what) => {
                let span = self.call_span(call);
                self.found.push(self.at(span).error(format!("`{name}` takes plain arguments, not {what}")));
            }
        }
    }

    /// The name of a function, in lower case unless quoted.
    pub(super) fn function_name(&mut self, call: &Call) -> Option<String> {
        let name = single_name(call).map(normalise);
        if name.is_none() {
            let span = self.call_span(call);
            self.found.push(self.at(span).error(format!("unknown function `{}`", call.name)).note("functions have no schemas"));
        }
        name
    }

    pub(super) fn refused_function(&self, name: &str, refusal: Refusal, span: Span) -> Diagnostic {
        self.at(span).error(format!("`{name}` is refused")).note(refusal.reason).help(refusal.help)
    }

    pub(super) fn unknown_function(&self, call: &Call, name: &str) -> Diagnostic {
        let known = function_names();
        let span = self.statement.origin.of(&call.name).span;
        let diagnostic = self.at(span).error(format!("unknown function `{name}`"));
        let near: Vec<_> = known.iter().copied().filter(|function| strsim::jaro_winkler(function, name) > 0.8).take(8).collect();
        let diagnostic = if near.is_empty() {
            diagnostic.note(format!("aggregates: {}; the others are DataFusion's immutable ones", list(aggregate_names())))
        } else {
            diagnostic.note(format!("functions with names like it: {}", list(near)))
        };
        diagnostic.help_opt(suggestion(name, known).map(|name| format!("did you mean `{}`?", quoted(name))))
    }

    /// Where a whole call is written.
    pub(super) fn call_span(&self, call: &Call) -> Span {
        self.statement.range_span(&self.statement.call(self.statement.origin.of(&call.name).span).whole)
    }

    pub(super) fn at(&self, span: Span) -> super::Origin {
        self.statement.origin.at(span)
    }
}
