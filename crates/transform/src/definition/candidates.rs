//! Services of candidates: the lists that a request is unnested to, which candidates are answered, and in which order.

use datafusion::sql::sqlparser::ast::{
    Expr, Join as SqlJoin, JoinConstraint, JoinOperator, LimitClause, OrderBy, OrderByExpr, OrderByKind, Query, SetExpr, TableFactor,
    Value as SqlValue,
};
use indexmap::IndexMap;

use super::data_type::sql_name;
use super::expr::{Checker, Clause, as_column};
use super::join::Joins;
use super::lex::Statement;
use super::names::{did_you_mean, normalise, quoted};
use super::options::{ServiceOptions, WrittenOption, value_span};
use super::qualify::qualified;
use super::scope::{Relation, ScopeColumn};
use super::text::{Origin, Span};
use super::{Candidates, Diagnostic, Fallback, Output, Placed, Service, SortKey};

/// Most candidates of a request that are answered.
const LIMIT_MAX: u64 = 10_000;

/// `CROSS JOIN UNNEST(lists) AS alias(columns)`.
pub(super) struct Unnested<'a> {
    pub(super) relation: Relation,
    pub(super) lists: &'a [Expr],
    /// How many views are joined before it, as it is written.
    pub(super) at: usize,
    pub(super) span: Span,
}

/// Whether the body of a service makes several rows of a request.
pub(super) fn are_unnested(query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    select.from.iter().flat_map(|table| &table.joins).any(|join| matches!(join.relation, TableFactor::UNNEST { .. }))
}

/// Reads the unnesting of a service, which stands behind `at` views; nothing where it is none, which is said.
pub(super) fn unnested<'a>(join: &'a SqlJoin, at: usize, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<Unnested<'a>> {
    let TableFactor::UNNEST { alias, array_exprs, with_offset, with_ordinality, .. } = &join.relation else { return None };
    let span = statement.place(&join.relation);
    let refused = |title: &str, note: &str| {
        let diagnostic = statement.origin.at(span).error(title).note(note);
        diagnostic.help("write CROSS JOIN UNNEST(c.items, c.scores) AS i(item, score)")
    };
    if !matches!(join.join_operator, JoinOperator::CrossJoin(JoinConstraint::None)) {
        found.push(refused(
            "candidates are unnested by CROSS JOIN UNNEST",
            "a request without candidates is answered with none, and has no row of its own",
        ));
        return None;
    }
    if *with_offset || *with_ordinality {
        found.push(refused("candidates have no numbers of their own", "they are answered in the order of their list, unless ORDER BY says another"));
        return None;
    }
    let Some(alias) = alias.as_ref().filter(|alias| alias.columns.len() == array_exprs.len()) else {
        found.push(refused("the columns of UNNEST have no names", "each list becomes a column, and expressions need a name for it"));
        return None;
    };
    let columns = alias.columns.iter().map(|column| ScopeColumn { name: normalise(&column.name), data_type: None }).collect();
    let relation = Relation { alias: normalise(&alias.name), plural: "columns", columns, hidden: Vec::new() };
    for (index, column) in relation.columns.iter().enumerate() {
        if relation.columns[..index].iter().any(|earlier| earlier.name.to_lowercase() == column.name.to_lowercase()) {
            found.push(refused(&format!("two columns of UNNEST are named `{}`", column.name), "a candidate is told by its columns"));
            return None;
        }
    }
    Some(Unnested { relation, lists: array_exprs, at, span })
}

/// A second unnesting would answer every pair.
pub(super) fn unnested_twice(join: &SqlJoin, statement: &Statement) -> Diagnostic {
    let diagnostic = statement.origin.at(statement.place(&join.relation)).error("a feature service unnests once");
    let diagnostic = diagnostic.note("a second UNNEST would make a candidate of every pair of items");
    diagnostic.help("put lists of one length side by side in one UNNEST(a, b) AS i(x, y), or join lists by array_concat(a, b)")
}

/// What a service of candidates says beside its outputs.
pub(super) struct Clauses<'a> {
    pub(super) filter: Option<&'a Expr>,
    pub(super) query: &'a Query,
    pub(super) options: &'a ServiceOptions,
    pub(super) written: &'a [WrittenOption],
    pub(super) name: Span,
}

/// Checks how candidates are chosen; nothing for a service that has none.
pub(super) fn candidates(clauses: &Clauses<'_>, joined: &Joins<'_>, outputs: &[Output], checker: &mut Checker<'_>) -> Option<Candidates> {
    let Some(unnested) = &joined.unnested else {
        check_no_options(clauses, checker);
        return None;
    };
    let columns = unnested.lists.iter().zip(&unnested.relation.columns);
    let columns = columns.map(|(list, column)| (column.name.clone(), scalar(list, unnested.span, checker))).collect();
    let filter = clauses.filter.map(|filter| scalar(filter, clauses.name, checker));
    let order = clauses.query.order_by.as_ref().map_or_else(Vec::new, |order| sort_keys(order, outputs, clauses.name, checker));
    let limit = clauses.query.limit_clause.as_ref().and_then(|limit| self::limit(limit, checker));
    let (min_items, fallback) = least(clauses, limit, checker);
    let alias = unnested.relation.alias.clone();
    Some(Candidates { alias, columns, joins_before: joined.joins_before, filter, order, limit, min_items, fallback, span: unnested.span })
}

fn scalar(expr: &Expr, near: Span, checker: &mut Checker<'_>) -> Placed {
    let span = checker.statement.place_or(expr, near);
    checker.near = span;
    checker.scalar(expr, Clause::Output);
    Placed { expr: qualified(expr, checker.scope, &checker.statement.origin), span }
}

fn check_no_options(clauses: &Clauses<'_>, checker: &mut Checker<'_>) {
    for option in ["min_items", "fallback"] {
        if let Some(span) = value_span(clauses.written, option) {
            let diagnostic = checker.at(span).error(format!("option `{option}` is for services of candidates, and this one has none"));
            let diagnostic = diagnostic.note("a service without UNNEST answers every request with one row");
            checker.found.push(diagnostic.help("leave it out, or unnest a list: CROSS JOIN UNNEST(c.items) AS i(item)"));
        }
    }
}

fn sort_keys(order: &OrderBy, outputs: &[Output], near: Span, checker: &mut Checker<'_>) -> Vec<SortKey> {
    let OrderByKind::Expressions(keys) = &order.kind else {
        checker.found.push(checker.at(near).error("candidates are not ordered by all of their outputs").help("write ORDER BY i.score DESC"));
        return Vec::new();
    };
    keys.iter().filter_map(|key| sort_key(key, outputs, near, checker)).collect()
}

/// An output by its name, as SQL has it, or an expression. NULLs are greatest unless it says otherwise, as SQL engines have them.
fn sort_key(key: &OrderByExpr, outputs: &[Output], near: Span, checker: &mut Checker<'_>) -> Option<SortKey> {
    if let Expr::Value(_) = &key.expr {
        let span = checker.statement.place_or(&key.expr, near);
        checker.found.push(
            checker
                .at(span)
                .error("candidates are ordered by values, and this is a constant")
                .help("write what they are ordered by: ORDER BY i.score DESC"),
        );
        return None;
    }
    let output = match as_column(&key.expr) {
        Some((None, name)) => outputs.iter().find(|output| output.name == normalise(name)),
        _ => None,
    };
    let placed = match output {
        Some(output) => Placed { expr: output.expr.clone(), span: output.span },
        None => scalar(&key.expr, near, checker),
    };
    let descending = key.options.asc == Some(false);
    Some(SortKey { by: placed, descending, nulls_first: key.options.nulls_first.unwrap_or(descending) })
}

fn limit(limit: &LimitClause, checker: &mut Checker<'_>) -> Option<u32> {
    let at = checker.statement.find(0..checker.statement.len(), &["LIMIT"]);
    let span = at.map_or(checker.near, |at| checker.statement.range_span(&(at..at + 2)));
    let digits = match limit {
        LimitClause::LimitOffset { limit: Some(Expr::Value(value)), offset: None, limit_by } if limit_by.is_empty() => match &value.value {
            SqlValue::Number(digits, _) => Some(digits),
            _ => None,
        },
        _ => None,
    };
    let count = digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|count| (1..=LIMIT_MAX).contains(count));
    if count.is_none() {
        let diagnostic = checker.at(span).error(format!("LIMIT of candidates is a number from 1 to {LIMIT_MAX}"));
        checker.found.push(diagnostic.note("so many of each request are answered, from the first on").help("write LIMIT 50"));
    }
    count.and_then(|count| u32::try_from(count).ok())
}

/// How few candidates are too few, and who answers then.
fn least(clauses: &Clauses<'_>, limit: Option<u32>, checker: &mut Checker<'_>) -> (u32, Option<Fallback>) {
    let place = |option: &str| value_span(clauses.written, option).unwrap_or(clauses.name);
    let (min_items, fallback) = (clauses.options.min_items, clauses.options.fallback.as_ref());
    let (given, missing, help) = match (min_items, fallback) {
        (None, None) => return (0, None),
        (Some(min_items), Some(fallback)) => {
            if min_items == 0 || limit.is_some_and(|limit| min_items > limit) {
                let diagnostic = checker.at(place("min_items")).error("option `min_items` is from 1 to the LIMIT of the service");
                checker
                    .found
                    .push(diagnostic.note("where fewer candidates are left, the fallback answers").help("write min_items = 1, or a greater LIMIT"));
            }
            return (min_items, Some(Fallback { service: fallback.clone(), span: place("fallback") }));
        }
        (Some(_), None) => ("min_items", "fallback", "name a service of candidates that answers where fewer are left: fallback = 'popular'"),
        (None, Some(_)) => ("fallback", "min_items", "say how many candidates are to be left: min_items = 1"),
    };
    let diagnostic = checker.at(place(given)).error(format!("option `{given}` does nothing without `{missing}`"));
    checker.found.push(diagnostic.help(help));
    (0, None)
}

/// Checks fallbacks, once all services are known: each is another service of candidates, asked with no more than the service is, and gives the same outputs.
pub(super) fn check_fallbacks(services: &IndexMap<String, Service>, names: &[&str], found: &mut Vec<Diagnostic>) {
    for service in services.values() {
        let Some(fallback) = service.candidates.as_ref().and_then(|candidates| candidates.fallback.as_ref()) else { continue };
        let at = service.origin.at(fallback.span);
        match services.get(&fallback.service) {
            Some(other) => found.extend(unfit(service, other, &at)),
            None if names.contains(&fallback.service.as_str()) => {}
            None => {
                let diagnostic = at.error(format!("unknown feature service `{}`", fallback.service));
                found.push(did_you_mean(diagnostic, &fallback.service, "feature services", names));
            }
        }
    }
}

/// Why a service cannot answer in place of another.
fn unfit(service: &Service, other: &Service, at: &Origin) -> Option<Diagnostic> {
    let name = &other.name;
    let title = |why: &str| at.error(format!("`{name}` cannot answer in place of `{}`: {why}", service.name));
    let Some(candidates) = &other.candidates else {
        return Some(title("it has no candidates").help("name a service with CROSS JOIN UNNEST(…)"));
    };
    if candidates.fallback.is_some() || other.name == service.name {
        let diagnostic = title("it is one that has a fallback").note("who answers last answers as far as it can");
        return Some(diagnostic.help("name a service of candidates that has none"));
    }
    let given = |column: &&super::Column| !service.request.iter().any(|given| given.name == column.name && given.data_type == column.data_type);
    if let Some(column) = other.request.iter().find(given) {
        let diagnostic = title("it is asked with something that a request does not give");
        let diagnostic = diagnostic.note(format!("`{name}` asks for {} {}", quoted(&column.name), sql_name(&column.data_type)));
        return Some(diagnostic.help("let its REQUEST have columns of this service's, of the same types"));
    }
    let names = |service: &Service| service.outputs.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
    let (ours, theirs) = (names(service), names(other));
    (ours != theirs).then(|| {
        let diagnostic = title("it gives other outputs").note(format!("`{}` gives {}", service.name, ours.join(", ")));
        diagnostic.note(format!("`{name}` gives {}", theirs.join(", "))).help("let its SELECT list say the same names, in the same order")
    })
}
