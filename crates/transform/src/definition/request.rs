//! The request of a feature service.

use arrow::datatypes::{DataType, TimeUnit};

use super::data_type::sql_name;
use super::ddl::{Columns, Request};
use super::lex::Statement;
use super::names::quoted;
use super::relation::unknown_source;
use super::scope::{Relation, ScopeColumn};
use super::service::Known;
use super::source::columns;
use super::{Column, Diagnostic, REQUEST_TIME, Source, Version};

/// What a request gives.
pub(super) struct RequestColumns<'a> {
    pub(super) columns: Vec<Column>,
    /// Those, and the moment of the request.
    pub(super) relation: Relation,
    /// The source whose next event it is.
    pub(super) source: Option<&'a Source>,
}

/// Checks a request; nothing where its columns cannot be known.
pub(super) fn request<'a>(written: &Request, known: &Known<'a>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<RequestColumns<'a>> {
    let before = found.len();
    let source = match &written.source {
        None => None,
        Some(name) => match known.sources.good.get(&name.text) {
            Some(source) => Some(source),
            None => {
                let unknown = unknown_source(&name.text, &known.sources, &statement.origin.at(name.span));
                found.extend(unknown.map(|diagnostic| {
                    diagnostic.note("REQUEST AS says which source's next event the request is; its own name comes after, without AS")
                }));
                return None;
            }
        },
    };
    let columns = match (&written.columns, source) {
        (Some(declared), source) => declared_columns(declared, source, statement, found),
        (None, Some(source)) => event_columns(source).cloned().collect(),
        (None, None) => {
            let diagnostic = statement.origin.at(written.span).error("this request has no columns");
            found.push(diagnostic.help("write REQUEST (origin VARCHAR), or REQUEST AS departures for the next event of that source"));
            return None;
        }
    };
    let alias = written.alias.as_ref().map_or_else(|| "request".to_owned(), |name| name.text.clone());
    (found.len() == before).then(|| RequestColumns { relation: relation(&alias, &columns, source), columns, source })
}

/// The columns of an event that its request gives: all but the event time, which is the moment of the request.
fn event_columns(source: &Source) -> impl Iterator<Item = &Column> {
    source.columns.iter().enumerate().filter(|(index, _)| *index != source.event_time).map(|(_, column)| column)
}

fn relation(alias: &str, columns: &[Column], source: Option<&Source>) -> Relation {
    let mut scope: Vec<_> =
        columns.iter().map(|column| ScopeColumn { name: column.name.clone(), data_type: Some(column.data_type.clone()) }).collect();
    scope.push(ScopeColumn { name: REQUEST_TIME.to_owned(), data_type: Some(DataType::Timestamp(TimeUnit::Microsecond, None)) });
    let event_time = source.and_then(|source| source.columns.get(source.event_time));
    let hidden = event_time
        .map(|column| (column.name.clone(), format!("the event's time is the moment of the request: write {}.{REQUEST_TIME}", quoted(alias))));
    Relation { alias: alias.to_owned(), plural: "columns", columns: scope, hidden: hidden.into_iter().collect() }
}

fn declared_columns(declared: &Columns, source: Option<&Source>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Vec<Column> {
    let columns = columns(statement, &declared.columns, found);
    if let Some(span) = declared.primary_key_span {
        found.push(statement.origin.at(span).error("a request has no primary key").help("leave PRIMARY KEY out"));
    }
    for column in columns.iter().filter(|column| column.name == REQUEST_TIME) {
        let diagnostic = statement.origin.at(column.span).error(format!("`{REQUEST_TIME}` is the moment of the request already"));
        found.push(diagnostic.help("leave it out; every request has one"));
    }
    if let Some(source) = source {
        as_event(&columns, declared, source, statement, found);
    }
    columns
}

/// A request that is an event names it, and gives its columns with their types.
fn as_event(columns: &[Column], declared: &Columns, source: &Source, statement: &Statement, found: &mut Vec<Diagnostic>) {
    for column in columns {
        let at = statement.origin.at(column.span);
        match source.column(&column.name) {
            Some((index, _)) if index == source.event_time => {
                let title = format!("`{}` is the event time of `{}`, and the event's time is the moment of the request", column.name, source.name);
                found.push(at.error(title).help(format!("leave it out; it is {REQUEST_TIME}")));
            }
            Some((_, theirs)) if theirs.data_type != column.data_type => {
                let title = format!("`{}` is of type {} in `{}`", column.name, sql_name(&theirs.data_type), source.name);
                found.push(at.error(title).help(format!("write {} {}", quoted(&column.name), sql_name(&theirs.data_type))));
            }
            _ => {}
        }
    }
    if let Some(Version::Column(version)) = source.options.version
        && let Some(version) = source.columns.get(version).filter(|version| !columns.iter().any(|column| column.name == version.name))
    {
        let diagnostic = statement.origin.at(declared.span).error(format!("the request lacks `{}`, the version of `{}`", version.name, source.name));
        let note = "by it the event takes the place of what is known under its key, or gives way to that";
        found.push(diagnostic.note(note).help(format!("add {} {}", quoted(&version.name), sql_name(&version.data_type))));
    }
    for key in source.primary_key.iter().filter_map(|index| source.columns.get(*index)) {
        if !columns.iter().any(|column| column.name == key.name) {
            let diagnostic =
                statement.origin.at(declared.span).error(format!("the request lacks `{}`, of the primary key of `{}`", key.name, source.name));
            let note = "it makes the request one with the event itself when that arrives";
            found.push(diagnostic.note(note).help(format!("add {} {}", quoted(&key.name), sql_name(&key.data_type))));
        }
    }
}
