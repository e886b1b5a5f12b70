//! The clauses that a query has, and that neither views nor services have a place for.

use datafusion::sql::sqlparser::ast::{GroupByExpr, Query, Select, SelectFlavor, SetExpr, SetOperator, SetQuantifier, Spanned};

use super::Diagnostic;
use super::lex::Statement;
use super::text::Span;

/// What a query is the body of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    View,
    Branch,
    Service,
    /// A service that unnests its requests to candidates.
    Candidates,
}

impl Of {
    fn noun(self) -> &'static str {
        match self {
            Of::View => "a feature view",
            Of::Branch => "a branch of UNION ALL",
            Of::Service | Of::Candidates => "a feature service",
        }
    }
}

/// A clause that is there, and why it may not be.
struct Excess {
    words: &'static [&'static str],
    note: &'static str,
    help: &'static str,
}

const fn excess(words: &'static [&'static str], note: &'static str, help: &'static str) -> Excess {
    Excess { words, note, help }
}

/// The one SELECT of a body; nothing where there is none. Whatever else the query has is a diagnostic.
pub(super) fn select<'a>(query: &'a Query, of: Of, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<&'a Select> {
    let SetExpr::Select(select) = &*query.body else {
        found.push(no_select(&query.body, of, statement));
        return None;
    };
    let start = select_start(select, statement);
    found.extend(query_excess(query, of).iter().map(|excess| refuse(excess, start, of, statement)));
    clauses(select, of, statement, found);
    // What such a body names is not where the checks look for it.
    (query.with.is_none() && select.flavor == SelectFlavor::Standard).then_some(&**select)
}

/// Refuses the clauses of a SELECT that have no place in it.
pub(super) fn clauses(select: &Select, of: Of, statement: &Statement, found: &mut Vec<Diagnostic>) {
    let start = select_start(select, statement);
    found.extend(select_excess(select, of).iter().map(|excess| refuse(excess, start, of, statement)));
    if select.flavor != SelectFlavor::Standard {
        let span = statement.token_span(start);
        found.push(statement.origin.at(span).error("a body begins with SELECT").help("write SELECT … FROM …"));
    }
}

/// The token of a SELECT.
pub(super) fn select_start(select: &Select, statement: &Statement) -> usize {
    let span = statement.origin.file.span(select.select_token.0.span).unwrap_or(statement.origin.span);
    statement.index_at(span.start)
}

fn query_excess(query: &Query, of: Of) -> Vec<Excess> {
    let order_help = match of {
        Of::Service => "sort what the service answers where it is used; only candidates, of CROSS JOIN UNNEST(…), have an order here",
        _ => "the order of events is that of the window; leave it out",
    };
    let limit_help = match of {
        Of::Service => "send fewer requests at once; only candidates, of CROSS JOIN UNNEST(…), have a limit here",
        _ => "for the last 10 events, write the frame ROWS BETWEEN 9 PRECEDING AND CURRENT ROW",
    };
    let limit_note = match of {
        Of::Service | Of::Candidates => "a service answers every request, in order",
        _ => "a view has a value for every entity at every moment, and is no list of rows",
    };
    let checks = [
        (
            query.with.is_some(),
            excess(&["WITH"], "a body is one SELECT, so that it reads like what is kept", "write its expressions in place, or a view of their own"),
        ),
        (query.order_by.is_some() && of != Of::Candidates, excess(&["ORDER", "BY"], limit_note, order_help)),
        (query.limit_clause.is_some() && !has_offset_alone(query) && of != Of::Candidates, excess(&["LIMIT"], limit_note, limit_help)),
        (has_offset_alone(query), excess(&["OFFSET"], limit_note, limit_help)),
        (query.fetch.is_some(), excess(&["FETCH"], limit_note, limit_help)),
        (!query.locks.is_empty() || query.for_clause.is_some(), excess(&["FOR"], "nothing is locked", "leave it out")),
        (query.settings.is_some(), excess(&["SETTINGS"], "no session's settings may change a value", "leave it out")),
        (query.format_clause.is_some(), excess(&["FORMAT"], "a body gives columns, not text", "leave it out")),
        (!query.pipe_operators.is_empty(), excess(&[], "a body is one SELECT", "write it as one SELECT")),
    ];
    checks.into_iter().filter(|(there, _)| *there).map(|(_, excess)| excess).collect()
}

fn has_offset_alone(query: &Query) -> bool {
    use datafusion::sql::sqlparser::ast::LimitClause::LimitOffset;
    matches!(&query.limit_clause, Some(LimitOffset { limit: None, offset: Some(_), limit_by }) if limit_by.is_empty())
}

fn select_excess(select: &Select, of: Of) -> Vec<Excess> {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, modifiers) if by.is_empty() && modifiers.is_empty());
    let one_row = match of {
        Of::Candidates => "a service of candidates gives one row for each of them",
        _ => "a service gives one row for each request, in order",
    };
    let (group_note, group_help) = match of {
        Of::Service | Of::Candidates => (one_row, "aggregate in a feature view, and join it"),
        Of::Branch => ("a branch gives events, one for one", "aggregate over the windows of the view"),
        Of::View => (
            "a view is asked for any moment, and a group has none",
            "write the aggregate over a window: count(*) OVER (PARTITION BY … ORDER BY … RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW)",
        ),
    };
    let (distinct_note, distinct_help) = match of {
        Of::Service | Of::Candidates => (one_row, "leave it out"),
        _ => (
            "which rows are equal depends on rows that have not come yet",
            "for distinct values, write count(DISTINCT x) OVER w; repeated events are one by their primary key already",
        ),
    };
    let checks = [
        (select.distinct.is_some(), excess(&["DISTINCT"], distinct_note, distinct_help)),
        (grouped, excess(&["GROUP", "BY"], group_note, group_help)),
        (
            select.having.is_some(),
            excess(&["HAVING"], group_note, "choose events with WHERE or FILTER (WHERE …), and compare features in an expression"),
        ),
        (
            select.qualify.is_some(),
            excess(&["QUALIFY"], "it drops rows, and a view has a value at every moment", "compare features in an expression"),
        ),
        (select.top.is_some(), excess(&["TOP"], "a body is no list of rows", "leave it out")),
        (select.into.is_some(), excess(&["INTO"], "a definition names what it defines at its head", "leave it out")),
        (!select.lateral_views.is_empty(), excess(&["LATERAL"], "it makes several rows of one", "write the rows as events of their own")),
        (select.prewhere.is_some(), excess(&["PREWHERE"], "it is WHERE by another name", "write WHERE")),
        (!select.connect_by.is_empty(), excess(&["CONNECT", "BY"], "it walks from row to row", "leave it out")),
        (!select.cluster_by.is_empty(), excess(&["CLUSTER", "BY"], "where rows lie is not the definition's to say", "leave it out")),
        (!select.distribute_by.is_empty(), excess(&["DISTRIBUTE", "BY"], "where rows lie is not the definition's to say", "leave it out")),
        (!select.sort_by.is_empty(), excess(&["SORT", "BY"], "where rows lie is not the definition's to say", "leave it out")),
        (
            select.value_table_mode.is_some() || select.select_modifiers.is_some() || select.exclude.is_some(),
            excess(&[], "a body is a plain SELECT", "write SELECT, and expressions"),
        ),
        (
            of == Of::Service && select.selection.is_some(),
            excess(
                &["WHERE"],
                one_row,
                "choose events in the views with WHERE or FILTER, or give the condition as an output; only candidates, of CROSS JOIN UNNEST(…), are left out",
            ),
        ),
        (
            of != Of::View && !select.named_window.is_empty(),
            excess(&["WINDOW"], "windows are over the events of a view", "define windows in a feature view"),
        ),
    ];
    checks.into_iter().filter(|(there, _)| *there).map(|(_, excess)| excess).collect()
}

fn refuse(excess: &Excess, start: usize, of: Of, statement: &Statement) -> Diagnostic {
    let what = if excess.words.is_empty() { "this form of SELECT".to_owned() } else { excess.words.join(" ") };
    let span = clause_span(excess.words, start, statement);
    statement.origin.at(span).error(format!("{} has no {what}", of.noun())).note(excess.note).help(excess.help)
}

/// Where a clause's words stand: after the SELECT, or before it in the case of WITH.
fn clause_span(words: &[&str], start: usize, statement: &Statement) -> Span {
    let found = match words {
        [] => None,
        ["WITH"] => (0..start).rev().find(|index| statement.are_words(*index, words) && statement.token(*index + 1).is_some_and(is_word)),
        _ => statement.find(start..statement.len(), words),
    };
    found.map_or(statement.token_span(start), |index| statement.range_span(&(index..index + words.len())))
}

fn is_word(token: &datafusion::sql::sqlparser::tokenizer::Token) -> bool {
    matches!(token, datafusion::sql::sqlparser::tokenizer::Token::Word(_))
}

fn no_select(body: &SetExpr, of: Of, statement: &Statement) -> Diagnostic {
    match body {
        SetExpr::SetOperation { op, set_quantifier, left, .. } => set_operation(*op, *set_quantifier, &**left, of, statement),
        SetExpr::Query(inner) => {
            let span = statement.place(&**inner);
            statement.origin.at(span).error(format!("{} is a SELECT without parentheses", of.noun())).help("leave the parentheses out")
        }
        other => {
            let span = statement.place(other);
            statement.origin.at(span).error(format!("{} is a SELECT", of.noun())).help("write SELECT … FROM …")
        }
    }
}

/// A set operation where none may be, or one that is no UNION ALL.
pub(super) fn set_operation(op: SetOperator, quantifier: SetQuantifier, left: &impl Spanned, of: Of, statement: &Statement) -> Diagnostic {
    let after = statement.index_at(statement.place(left).end.saturating_sub(1));
    let word = match op {
        SetOperator::Union => "UNION",
        SetOperator::Except => "EXCEPT",
        SetOperator::Intersect => "INTERSECT",
        SetOperator::Minus => "MINUS",
    };
    let index = (after..statement.len()).find(|index| statement.are_words(*index, &[word]));
    let span = index.map_or(statement.origin.span, |index| {
        let more = ["ALL", "DISTINCT", "BY"].iter().any(|more| statement.are_words(index + 1, &[more]));
        statement.range_span(&(index..index + 1 + usize::from(more)))
    });
    let at = statement.origin.at(span);
    match (op, quantifier, of) {
        (SetOperator::Union, SetQuantifier::All, Of::Service | Of::Candidates) => {
            at.error("a feature service is one SELECT").help("join several views, or define several services")
        }
        (SetOperator::Union, SetQuantifier::All, _) => at
            .error("UNION ALL joins sources, before any window")
            .note("two unions of features would give two values at one moment")
            .help("write FROM (SELECT … FROM a UNION ALL SELECT … FROM b) u"),
        (SetOperator::Union, SetQuantifier::AllByName, _) => {
            at.error("UNION ALL BY NAME is refused").help("write UNION ALL, with the columns in one order")
        }
        (SetOperator::Union, ..) => at
            .error("UNION drops equal rows, which only the end of all events could tell")
            .note("repeats of an event are one by its primary key already")
            .help("write UNION ALL"),
        _ => at
            .error(format!("{word} takes rows away for rows that have not come yet"))
            .help("choose events with WHERE, or count both kinds and compare the features"),
    }
}
