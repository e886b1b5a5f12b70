//! What a view reads: one source, or a UNION ALL of projections of sources.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Ident, Join, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::Token;
use indexmap::IndexMap;

use super::expr::{Checker, Clause, as_column};
use super::lex::Statement;
use super::names::{did_you_mean, normalise, quoted};
use super::scope::{Relation, Scope, ScopeColumn};
use super::shape::{Of, clauses, select_start, set_operation};
use super::{Branch, Diagnostic, Source};

/// What a view reads.
pub(super) struct From {
    pub(super) relation: Relation,
    pub(super) branches: Vec<Branch>,
    /// The event time among the relation's columns.
    pub(super) event_time: usize,
}

impl From {
    pub(super) fn event_time_name(&self) -> &str {
        self.relation.columns.get(self.event_time).map_or("", |column| column.name.as_str())
    }
}

/// The sources there are; those that are defined wrongly by name alone, since enough is said of them.
pub(super) struct Sources<'a> {
    pub(super) good: &'a IndexMap<String, Source>,
    pub(super) all: &'a [&'a str],
    /// Names of other definitions, each with what it is.
    pub(super) others: &'a [(&'a str, &'static str)],
}

/// Reads the FROM clause; nothing where it is wrong.
pub(super) fn from(selected: &Select, sources: &Sources<'_>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<From> {
    let [table] = selected.from.as_slice() else {
        found.push(match selected.from.get(1) {
            None => no_from(selected, statement),
            Some(second) => join_refused(&second.relation, statement),
        });
        return None;
    };
    if let Some(join) = table.joins.first() {
        found.push(explicit_join(join, statement));
        return None;
    }
    match &table.relation {
        TableFactor::Derived { lateral: false, subquery, alias, sample: None } => union(subquery, alias.as_ref(), sources, statement, found),
        TableFactor::Table { .. } => single(&table.relation, sources, statement, found),
        other => {
            found.push(other_relation(other, statement));
            None
        }
    }
}

fn no_from(selected: &Select, statement: &Statement) -> Diagnostic {
    let span = statement.token_span(select_start(selected, statement));
    statement.origin.at(span).error("this SELECT reads from no source").help("write FROM and the name of a source")
}

fn other_relation(relation: &TableFactor, statement: &Statement) -> Diagnostic {
    let diagnostic = statement.origin.at(statement.place(relation)).error("a feature view reads from a source by its name");
    diagnostic.help("write FROM departures, or FROM (SELECT … FROM a UNION ALL SELECT … FROM b) u")
}

fn explicit_join(join: &Join, statement: &Statement) -> Diagnostic {
    let place = statement.place(&join.relation);
    let before = statement.index_at(place.start);
    let mut start = before.saturating_sub(1);
    while start > 0 && is_join_word(statement, start - 1) {
        start -= 1;
    }
    join_diagnostic(statement, statement.range_span(&(start..before)).to(place))
}

fn is_join_word(statement: &Statement, index: usize) -> bool {
    ["LEFT", "RIGHT", "FULL", "INNER", "OUTER", "CROSS", "NATURAL", "ASOF", "JOIN"].iter().any(|word| statement.are_words(index, &[word]))
}

fn join_refused(relation: &TableFactor, statement: &Statement) -> Diagnostic {
    join_diagnostic(statement, statement.place(relation))
}

fn join_diagnostic(statement: &Statement, span: super::Span) -> Diagnostic {
    (statement.origin.at(span).error("a feature view has no JOIN"))
        .note("what a dimension said when the event happened is not what it says now; joining it as of event time comes later")
        .help("carry the column on the event, define the other table as a view and join both in a feature service, or put sources together with UNION ALL")
}

/// A source by its name, with an alias perhaps.
fn single(table: &TableFactor, sources: &Sources<'_>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<From> {
    let named = named_source(table, sources, statement, found)?;
    let relation = relation_of(named.source, &named.alias);
    Some(From { relation, branches: vec![named.branch], event_time: named.source.event_time })
}

/// A source as a relation under an alias.
pub(super) fn relation_of(source: &Source, alias: &str) -> Relation {
    let columns = source.columns.iter().map(|column| ScopeColumn { name: column.name.clone(), data_type: Some(column.data_type.clone()) }).collect();
    Relation { alias: alias.to_owned(), plural: "columns", columns, hidden: Vec::new() }
}

/// A source that is named where a table may be.
struct NamedSource<'a> {
    source: &'a Source,
    alias: String,
    branch: Branch,
}

fn named_source<'a>(table: &TableFactor, sources: &Sources<'a>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<NamedSource<'a>> {
    let TableFactor::Table { name, alias, .. } = table else {
        found.push(other_relation(table, statement));
        return None;
    };
    if !is_plain(table) {
        found.push(other_relation(table, statement));
        return None;
    }
    let ident = single_name(name).or_else(|| {
        found.push(statement.origin.of(name).error(format!("unknown source `{name}`")).note("definitions have no schemas"));
        None
    })?;
    let source_name = normalise(ident);
    let span = statement.origin.of_ident(ident).span;
    let Some(source) = sources.good.get(&source_name) else {
        found.extend(unknown_source(&source_name, sources, &statement.origin.at(span)));
        return None;
    };
    let alias = alias.as_ref().map_or_else(|| source_name.clone(), |alias| normalise(&alias.name));
    Some(NamedSource { source, alias, branch: Branch { source: source_name, span } })
}

/// Whether a table is a name, and an alias without columns.
fn is_plain(table: &TableFactor) -> bool {
    match table {
        TableFactor::Table {
            name: _,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } => with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() && alias.as_ref().is_none_or(|alias| alias.columns.is_empty()),
        _ => false,
    }
}

pub(super) fn single_name(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(ident),
        _ => None,
    }
}

/// An unknown source; nothing where it is known and defined wrongly.
pub(super) fn unknown_source(name: &str, sources: &Sources<'_>, at: &super::Origin) -> Option<Diagnostic> {
    if sources.all.contains(&name) {
        return None;
    }
    let diagnostic = at.error(format!("unknown source `{name}`"));
    Some(match sources.others.iter().find(|(other, _)| *other == name) {
        Some((_, kind)) => diagnostic.note(format!("`{name}` is a {kind}")).help(if ["feature view", "set of predictions"].contains(kind) {
            "views read from sources; join views in a feature service"
        } else {
            "name a source"
        }),
        None => did_you_mean(diagnostic, name, "sources", sources.all),
    })
}

/// A UNION ALL of projections.
fn union(query: &Query, alias: Option<&TableAlias>, sources: &Sources<'_>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<From> {
    let before = found.len();
    let mut selects = Vec::new();
    set_branches(&query.body, statement, found, &mut selects);
    if query.with.is_some() || query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        found.push(
            statement
                .origin
                .at(statement.place(query))
                .error("a UNION ALL has branches, and nothing around them")
                .help("leave out WITH, ORDER BY and LIMIT"),
        );
    }
    if let ([_], true) = (selects.as_slice(), found.len() == before) {
        found.push(lone_subquery(query, statement));
        return None;
    }
    if alias.is_some_and(|alias| !alias.columns.is_empty()) {
        found.push(
            statement
                .origin
                .at(statement.place(query))
                .error("column names after the alias are refused")
                .help("name the columns in the first branch: SELECT x AS name"),
        );
    }
    let branches: Vec<Option<BranchColumns>> = selects.into_iter().map(|select| branch(select, sources, statement, found)).collect();
    if found.len() > before {
        return None;
    }
    let branches: Vec<BranchColumns> = branches.into_iter().collect::<Option<_>>()?;
    unite(branches, alias, statement, found)
}

/// The SELECTs of a UNION ALL, in order.
fn set_branches<'a>(body: &'a SetExpr, statement: &Statement, found: &mut Vec<Diagnostic>, selects: &mut Vec<&'a Select>) {
    match body {
        SetExpr::SetOperation { op: SetOperator::Union, set_quantifier: SetQuantifier::All, left, right } => {
            set_branches(left, statement, found, selects);
            set_branches(right, statement, found, selects);
        }
        SetExpr::SetOperation { op, set_quantifier, left, .. } => found.push(set_operation(*op, *set_quantifier, &**left, Of::Branch, statement)),
        SetExpr::Select(select) => selects.push(select),
        SetExpr::Query(query) if query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() => {
            set_branches(&query.body, statement, found, selects);
        }
        other => found.push(statement.origin.at(statement.place(other)).error("a branch of UNION ALL is a SELECT from a source")),
    }
}

fn lone_subquery(query: &Query, statement: &Statement) -> Diagnostic {
    (statement.origin.at(statement.place(query)).error("a feature view has no subquery"))
        .note("a view is one SELECT over its sources, so that it reads like what is kept")
        .help("write FROM and the source's name, and its expressions in place")
}

/// The columns that one branch gives, by position.
struct BranchColumns {
    branch: Branch,
    columns: Vec<ScopeColumn>,
    /// Those that are its source's event time.
    event_times: Vec<usize>,
    span: super::Span,
}

fn branch(selected: &Select, sources: &Sources<'_>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<BranchColumns> {
    let before = found.len();
    clauses(selected, Of::Branch, statement, found);
    let [table] = selected.from.as_slice() else {
        found.push(match selected.from.get(1) {
            None => no_from(selected, statement),
            Some(second) => join_refused(&second.relation, statement),
        });
        return None;
    };
    if let Some(join) = table.joins.first() {
        found.push(explicit_join(join, statement));
        return None;
    }
    let named = named_source(&table.relation, sources, statement, found)?;
    let scope = Scope::of(relation_of(named.source, &named.alias));
    let span = statement.token_span(select_start(selected, statement));
    let mut checker = Checker { statement, scope: &scope, found, near: span };
    if let Some(condition) = &selected.selection {
        checker.scalar(condition, Clause::Where);
    }
    let mut columns = Vec::new();
    let mut event_times = Vec::new();
    for (index, item) in selected.projection.iter().enumerate() {
        let (column, is_event_time) = branch_item(item, named.source, &mut checker)?;
        columns.push(column);
        event_times.extend(is_event_time.then_some(index));
    }
    (found.len() == before).then_some(BranchColumns { branch: named.branch, columns, event_times, span })
}

/// One item of a branch: the column it gives, and whether that is the event time as it is.
fn branch_item(item: &SelectItem, source: &Source, checker: &mut Checker<'_>) -> Option<(ScopeColumn, bool)> {
    let (expr, alias) = match item {
        SelectItem::UnnamedExpr(expr) => (expr, None),
        SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
        other => {
            let span = checker.statement.place(other);
            let diagnostic = checker.at(span).error("a branch of UNION ALL names its columns").note("columns are put together by position");
            checker.found.push(diagnostic.help("write them out, in the same order in every branch"));
            return None;
        }
    };
    checker.scalar(expr, Clause::Branch);
    let column = as_column(expr).and_then(|(_, ident)| source.column(&normalise(ident)));
    let name = alias.map(normalise).or_else(|| column.map(|(_, column)| column.name.clone()));
    let data_type = column.map(|(_, column)| column.data_type.clone());
    let is_event_time = column.is_some_and(|(index, _)| index == source.event_time);
    Some((ScopeColumn { name: name.unwrap_or_default(), data_type }, is_event_time))
}

/// Puts branches together: names from the first, and an event time that is one in all of them.
fn unite(branches: Vec<BranchColumns>, alias: Option<&TableAlias>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<From> {
    let (first, rest) = branches.split_first()?;
    if let Some(other) = rest.iter().find(|other| other.columns.len() != first.columns.len()) {
        let title = format!("this branch has {} columns, and the first has {}", other.columns.len(), first.columns.len());
        found.push(
            statement.origin.at(other.span).error(title).help("give every branch the same columns, in the same order; NULL where there is none"),
        );
        return None;
    }
    check_names(first, statement, found)?;
    let common = first.event_times.iter().copied().find(|index| rest.iter().all(|other| other.event_times.contains(index)));
    let Some(event_time) = common else {
        found.push(no_event_time(first, rest, statement));
        return None;
    };
    let alias = alias.map_or_else(String::new, |alias| normalise(&alias.name));
    let columns = (first.columns.iter().enumerate())
        .map(|(index, column)| {
            let same = rest.iter().all(|other| other.columns.get(index).is_some_and(|other| other.data_type == column.data_type));
            ScopeColumn { name: column.name.clone(), data_type: column.data_type.clone().filter(|_| same) }
        })
        .collect();
    let relation = Relation { alias, plural: "columns", columns, hidden: Vec::new() };
    Some(From { relation, branches: branches.into_iter().map(|columns| columns.branch).collect(), event_time })
}

fn check_names(first: &BranchColumns, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<()> {
    let mut names = HashSet::new();
    for column in &first.columns {
        let title = match column.name.as_str() {
            "" => "a column of the first branch has no name".to_owned(),
            name if !names.insert(name.to_lowercase()) => format!("column `{name}` is there twice"),
            _ => continue,
        };
        found.push(statement.origin.at(first.span).error(title).note("the first branch names the columns of all").help("write x AS name"));
        return None;
    }
    Some(())
}

fn no_event_time(first: &BranchColumns, rest: &[BranchColumns], statement: &Statement) -> Diagnostic {
    let without = std::iter::once(first).chain(rest).find(|branch| branch.event_times.is_empty());
    let (span, title) = match without {
        Some(branch) => (branch.span, format!("this branch lacks the event time of `{}`", branch.branch.source)),
        None => (first.span, "the branches have their event time at different places".to_owned()),
    };
    let diagnostic = statement.origin.at(span).error(title);
    diagnostic.note("columns are put together by position").help(format!(
        "give each branch its event time as it is, at the same place: SELECT departed_at AS {}, …",
        first.event_times.first().and_then(|index| first.columns.get(*index)).map_or_else(|| "at".to_owned(), |column| quoted(&column.name))
    ))
}

/// The tokens between a SELECT and its FROM are items; this is where one starts and ends.
pub(super) fn item_span(item: &SelectItem, statement: &Statement) -> super::Span {
    let place = statement.place(item);
    let (mut first, mut last) = (statement.index_at(place.start), statement.index_at(place.end.saturating_sub(1)));
    while first > 0
        && !matches!(statement.token(first - 1), None | Some(Token::Comma | Token::LParen))
        && !statement.are_words(first - 1, &["SELECT"])
    {
        first -= 1;
    }
    while last + 1 < statement.len()
        && !matches!(statement.token(last + 1), Some(Token::Comma | Token::RParen))
        && !statement.are_words(last + 1, &["FROM"])
    {
        last += 1;
    }
    statement.range_span(&(first..last + 1))
}
