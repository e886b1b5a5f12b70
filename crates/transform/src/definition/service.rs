//! Feature services: a request, views joined to it, outputs.

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SelectItem, SelectItemQualifiedWildcardKind};
use indexmap::IndexMap;
use serde_json::Value;

use super::candidates::{Clauses, are_unnested, candidates};
use super::ddl::Request;
use super::expr::{Checker, Clause, as_column, check_depth};
use super::join::{Joins, joins};
use super::lex::Statement;
use super::names::{Name, did_you_mean, normalise, quoted};
use super::options::{ServiceOptions, WrittenOption, check_share, read, value_span};
use super::qualify::{column, qualified};
use super::relation::{Sources, item_span, single_name};
use super::request::{RequestColumns, request};
use super::scope::Relation;
use super::shape::{Of, select};
use super::text::Span;
use super::{Diagnostic, Entity, Interval, Literal, Output, REQUEST_TIME, Service, View};

/// A feature service as written.
pub(super) struct WrittenService<'a> {
    pub(super) statement: &'a Statement,
    pub(super) name: &'a Name,
    pub(super) options: &'a [WrittenOption],
    pub(super) request: &'a Request,
    pub(super) query: &'a Query,
}

/// What a service may name.
pub(super) struct Known<'a> {
    pub(super) entities: &'a IndexMap<String, Entity>,
    pub(super) views: &'a IndexMap<String, View>,
    /// Views by name, also those that are defined wrongly.
    pub(super) view_names: &'a [&'a str],
    pub(super) sources: Sources<'a>,
}

/// Checks a service. Where it gives nothing, diagnostics were added, to it or to what it needs.
pub(super) fn service(written: &WrittenService<'_>, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> Option<Service> {
    let statement = written.statement;
    let before = found.len();
    let defaults: Vec<_> = written.options.iter().filter(|option| option.name.text.starts_with(DEFAULT)).collect();
    let others: Vec<_> = written.options.iter().filter(|option| !option.name.text.starts_with(DEFAULT)).cloned().collect();
    let options: ServiceOptions = read(&others, "options of a feature service", &["default.<output>"], &statement.origin, found);
    if options.max_age == Some(Interval::ZERO) {
        let place = statement.origin.at(value_span(written.options, "max_age").unwrap_or(written.name.span));
        found.push(place.error("option `max_age` is more than nothing").note("every output would be absent").help("leave it out to do without"));
    }
    let place = value_span(&others, "min_coverage").unwrap_or(written.name.span);
    found.extend(check_share("min_coverage", options.min_coverage, &statement.origin.at(place)));
    if let Err(diagnostic) = check_depth(written.query, statement) {
        found.push(diagnostic);
        return None;
    }
    let of = if are_unnested(written.query) { Of::Candidates } else { Of::Service };
    let selected = select(written.query, of, statement, found)?;
    let request = request(written.request, known, statement, found)?;
    let joined = joins(selected, &request, known, statement, found)?;
    check_event_is_read(written.request, &request, &joined, known, statement, found);
    check_one_answer(&request, &joined, statement, found);
    let scope = joined.scope();
    let mut body =
        ServiceBody { selected, request: &request, joined: &joined, checker: Checker { statement, scope: &scope, found, near: written.name.span } };
    let outputs = body.outputs(written);
    let clauses =
        Clauses { filter: selected.selection.as_ref(), query: written.query, options: &options, written: written.options, name: written.name.span };
    let candidates = candidates(&clauses, &joined, &outputs, &mut body.checker);
    let names: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
    let what = Defaulted { one: "output", many: "outputs", without: "leave it out, and the output has no value where there is none" };
    let defaults = checked_defaults(&defaults, &names, &what, statement, found);
    (found.len() == before).then(|| Service {
        name: written.name.text.clone(),
        origin: statement.origin.at(written.name.span),
        statement: statement.origin.span,
        request_alias: request.relation.alias.clone(),
        request_as: request.source.map(|source| source.name.clone()),
        request: request.columns,
        joins: joined.joins,
        outputs,
        defaults,
        min_coverage: options.min_coverage,
        candidates,
        max_age: options.max_age,
    })
}

/// A request that is an event gets one answer: the one in which it is counted.
fn check_one_answer(request: &RequestColumns<'_>, joined: &Joins<'_>, statement: &Statement, found: &mut Vec<Diagnostic>) {
    if let (Some(source), Some(unnested)) = (request.source, &joined.unnested) {
        let diagnostic = statement.origin.at(unnested.span).error(format!("a request that is an event of `{}` has no candidates", source.name));
        let diagnostic = diagnostic.note("its own event is counted in one answer, and candidates are many");
        found.push(diagnostic.help("write REQUEST (…) with the columns that a request gives"));
    }
}

/// A request that is an event is one for the sake of the views that read its source.
fn check_event_is_read(
    written: &Request,
    request: &RequestColumns<'_>,
    joined: &Joins<'_>,
    known: &Known<'_>,
    statement: &Statement,
    found: &mut Vec<Diagnostic>,
) {
    let Some(source) = request.source else { return };
    let reads = |view: &&View| view.branches.iter().any(|branch| branch.source == source.name);
    if joined.joins.iter().filter_map(|join| known.views.get(&join.view)).any(|view| reads(&view)) {
        return;
    }
    let span = written.source.as_ref().map_or(written.span, |name| name.span);
    let diagnostic =
        statement.origin.at(span).error(format!("the request is the next event of `{}`, and no view that is joined reads that", source.name));
    let mut readers = known.views.values().filter(reads).map(|view| view.name.as_str()).peekable();
    let diagnostic = match readers.peek() {
        Some(_) => diagnostic.note(format!("views that read it: {}", readers.collect::<Vec<_>>().join(", "))),
        None => diagnostic.note("no view reads it"),
    };
    found.push(diagnostic.help("join one of its views, or write REQUEST (…) with the columns that a request gives"));
}

/// What the names of defaults begin with.
pub(super) const DEFAULT: &str = "default.";

/// What has defaults, for messages.
pub(super) struct Defaulted {
    pub(super) one: &'static str,
    pub(super) many: &'static str,
    /// What to do where there is to be none.
    pub(super) without: &'static str,
}

/// The defaults that options give to what has these names.
pub(super) fn checked_defaults(
    options: &[&WrittenOption],
    names: &[&str],
    what: &Defaulted,
    statement: &Statement,
    found: &mut Vec<Diagnostic>,
) -> IndexMap<String, Literal> {
    let mut defaults = IndexMap::new();
    for option in options {
        let name = &option.name.text[DEFAULT.len()..];
        let at = statement.origin.at(option.name.span);
        let Some(output) = names.iter().find(|output| **output == name).or_else(|| names.iter().find(|output| **output == name.to_ascii_lowercase()))
        else {
            // Without outputs something else is wrong, and is said.
            if !names.is_empty() {
                found.push(did_you_mean(at.error(format!("a default for `{name}`, which is no {}", what.one)), name, what.many, names));
            }
            continue;
        };
        let Some(literal) = literal(option, statement) else {
            let diagnostic = statement.origin.at(option.value_span).error("a default is a number, a text, true or false");
            found.push(diagnostic.help(what.without));
            continue;
        };
        if defaults.insert((*output).to_owned(), literal).is_some() {
            found.push(at.error(format!("a second default for `{name}`")).help("keep one of them"));
        }
    }
    defaults
}

fn literal(option: &WrittenOption, statement: &Statement) -> Option<Literal> {
    match &option.value {
        Value::Bool(value) => Some(Literal::Boolean(*value)),
        // As written: a decimal has more digits than a float holds.
        Value::Number(_) => Some(Literal::Number(statement.origin.file.slice(option.value_span).split_whitespace().collect())),
        Value::String(text) => Some(Literal::Text(text.clone())),
        _ => None,
    }
}

struct ServiceBody<'a, 'b> {
    selected: &'a Select,
    request: &'a RequestColumns<'a>,
    joined: &'a Joins<'a>,
    checker: Checker<'b>,
}

/// An output with what an alias for it could be.
struct Candidate {
    output: Output,
    proposal: String,
}

impl ServiceBody<'_, '_> {
    fn outputs(&mut self, written: &WrittenService<'_>) -> Vec<Output> {
        let mut candidates = Vec::new();
        for item in &self.selected.projection {
            self.item(item, &mut candidates);
        }
        if self.selected.projection.is_empty() {
            let diagnostic = self.checker.at(written.name.span).error(format!("feature service `{}` has no outputs", written.name.text));
            self.checker.found.push(diagnostic.help("write SELECT o.departures_1h, …"));
        }
        self.check_unique(&candidates);
        candidates.into_iter().map(|candidate| candidate.output).collect()
    }

    fn item(&mut self, item: &SelectItem, candidates: &mut Vec<Candidate>) {
        let span = item_span(item, self.checker.statement);
        match item {
            SelectItem::ExprWithAlias { expr, alias } => self.expression(expr, Some(normalise(alias)), span, candidates),
            SelectItem::UnnamedExpr(expr) => self.expression(expr, as_column(expr).map(|(_, column)| normalise(column)), span, candidates),
            SelectItem::Wildcard(options) if is_plain(options) => {
                self.joined.written().into_iter().for_each(|relation| self.all_of(relation, span, candidates));
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) if is_plain(options) => {
                self.qualified_wildcard(name, span, candidates);
            }
            _ => {
                let diagnostic = self.checker.at(span).error("a feature service has no such form of `*`");
                self.checker.found.push(diagnostic.help("write o.* or the outputs one by one"));
            }
        }
    }

    fn qualified_wildcard(&mut self, name: &datafusion::sql::sqlparser::ast::ObjectName, span: Span, candidates: &mut Vec<Candidate>) {
        let alias = single_name(name).map(normalise).unwrap_or_else(|| name.to_string());
        let relations = self.joined.written();
        match relations.iter().find(|relation| relation.alias == alias) {
            Some(relation) => self.all_of(relation, span, candidates),
            None => {
                let aliases: Vec<_> = relations.iter().map(|relation| relation.alias.as_str()).collect();
                let diagnostic = self.checker.statement.origin.of(name).error(format!("unknown alias `{alias}`"));
                self.checker.found.push(did_you_mean(diagnostic, &alias, "aliases", &aliases));
            }
        }
    }

    /// The columns of a request, or the features of a view; the moment of the request is no output unless asked for.
    fn all_of(&self, relation: &Relation, span: Span, candidates: &mut Vec<Candidate>) {
        let is_request = relation.alias == self.request.relation.alias;
        for ours in relation.columns.iter().filter(|ours| !(is_request && ours.name == REQUEST_TIME)) {
            let output = Output { name: ours.name.clone(), expr: column(&relation.alias, &ours.name), span };
            candidates.push(Candidate { output, proposal: proposal(&relation.alias, &ours.name) });
        }
    }

    fn expression(&mut self, expr: &Expr, name: Option<String>, span: Span, candidates: &mut Vec<Candidate>) {
        self.checker.near = span;
        self.checker.scalar(expr, Clause::Output);
        let Some(name) = name else {
            let text = self.checker.statement.origin.file.slice(span).split_whitespace().collect::<Vec<_>>().join(" ");
            self.checker.found.push(self.checker.at(span).error("this output has no name").help(format!("write {text} AS a_name")));
            return;
        };
        let expr = qualified(expr, self.checker.scope, &self.checker.statement.origin);
        let proposal = match as_column(&expr) {
            Some((Some(alias), column)) => proposal(&alias.value, &column.value),
            _ => format!("{name} AS {}", quoted(&format!("{name}_2"))),
        };
        candidates.push(Candidate { output: Output { name, expr, span }, proposal });
    }

    fn check_unique(&mut self, candidates: &[Candidate]) {
        for (index, candidate) in candidates.iter().enumerate() {
            let name = &candidate.output.name;
            let Some(first) = candidates[..index].iter().find(|earlier| earlier.output.name.to_lowercase() == name.to_lowercase()) else { continue };
            let title = if first.output.name == *name {
                format!("two outputs are named `{name}`")
            } else {
                format!("output `{name}` differs from `{}` by case alone", first.output.name)
            };
            let diagnostic = self.checker.at(candidate.output.span).error(title).note("a model takes its features by name");
            self.checker.found.push(diagnostic.help(format!("give them names of their own: {}, {}", first.proposal, candidate.proposal)));
        }
    }
}

fn proposal(alias: &str, name: &str) -> String {
    format!("{}.{} AS {}", quoted(alias), quoted(name), quoted(&format!("{alias}_{name}")))
}

fn is_plain(options: &datafusion::sql::sqlparser::ast::WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
}
