//! Feature views: one entity, one FROM, key items and features.

use std::collections::HashMap;
use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SelectItem};
use indexmap::IndexMap;

use super::call::Features;
use super::data_type::{same_key, sql_name};
use super::expr::{Checker, Clause, as_column, check_depth};
use super::lex::Statement;
use super::names::{Name, did_you_mean, normalise, quoted};
use super::options::{ViewOptions, WrittenOption, check_share, read, value_span};
use super::relation::{From, Sources, from, item_span};
use super::scope::Scope;
use super::shape::{Of, select};
use super::text::Span;
use super::window::Rules;
use super::{Diagnostic, Entity, FeatureItem, KeyItem, View};

/// A feature view as written.
pub(super) struct WrittenView<'a> {
    pub(super) statement: &'a Statement,
    pub(super) name: &'a Name,
    pub(super) entity: &'a Name,
    pub(super) options: &'a [WrittenOption],
    pub(super) query: &'a Query,
    pub(super) tokens: &'a Range<usize>,
}

/// What a view may name.
pub(super) struct Known<'a> {
    pub(super) entities: &'a IndexMap<String, Entity>,
    /// Entities by name, also those that are defined wrongly.
    pub(super) entity_names: &'a [&'a str],
    pub(super) sources: Sources<'a>,
}

/// Checks a view. Where it gives nothing, diagnostics were added, to it or to what it needs.
pub(super) fn view(written: &WrittenView<'_>, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> Option<View> {
    let statement = written.statement;
    let before = found.len();
    let options = options(written, found);
    let entity = entity(written.entity, known, statement, found);
    if let Err(diagnostic) = check_depth(written.query, statement) {
        found.push(diagnostic);
        return None;
    }
    let selected = select(written.query, Of::View, statement, found)?;
    let from = from(selected, &known.sources, statement, found)?;
    let scope = Scope::of(from.relation.clone());
    let mut body =
        ViewBody { written, selected, from: &from, options: &options, checker: Checker { statement, scope: &scope, found, near: written.name.span } };
    let (keys, features) = body.items(entity?);
    (found.len() == before).then(|| View {
        name: written.name.text.clone(),
        origin: statement.origin.at(written.name.span),
        statement: statement.origin.span,
        entity: written.entity.text.clone(),
        options,
        query: Box::new(written.query.clone()),
        body: statement.origin.at(statement.range_span(written.tokens)),
        event_time: from.event_time_name().to_owned(),
        branches: from.branches,
        keys,
        features,
    })
}

fn entity<'a>(name: &Name, known: &Known<'a>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<&'a Entity> {
    let entity = known.entities.get(&name.text);
    if entity.is_none() && !known.entity_names.contains(&name.text.as_str()) {
        let diagnostic = statement.origin.at(name.span).error(format!("unknown entity `{}`", name.text));
        found.push(did_you_mean(diagnostic, &name.text, "entities", known.entity_names));
    }
    entity
}

fn options(written: &WrittenView<'_>, found: &mut Vec<Diagnostic>) -> ViewOptions {
    let origin = &written.statement.origin;
    let options: ViewOptions = read(written.options, "options of a feature view", &[], origin, found);
    let place = |name| origin.at(value_span(written.options, name).unwrap_or(written.name.span));
    for (name, value) in [("ttl", options.ttl), ("max_staleness", options.max_staleness), ("resolution", options.resolution)] {
        if value.is_some_and(|value| value.micros() == 0) {
            let note = match name {
                "ttl" => "no value would ever be there",
                "max_staleness" => "every value would be stale at once",
                _ => "a grid has a width",
            };
            found.push(place(name).error(format!("option `{name}` is more than nothing")).note(note).help("leave it out to do without"));
        }
    }
    found.extend(check_share("min_coverage", options.min_coverage, &place("min_coverage")));
    options
}

struct ViewBody<'a, 'b> {
    written: &'a WrittenView<'a>,
    selected: &'a Select,
    from: &'a From,
    options: &'a ViewOptions,
    checker: Checker<'b>,
}

/// An item of the SELECT list: its name, and what it is.
struct Item<'a> {
    name: String,
    expr: &'a Expr,
    index: usize,
    span: Span,
}

impl<'a> ViewBody<'a, '_> {
    fn items(&mut self, entity: &Entity) -> (Vec<KeyItem>, Vec<FeatureItem>) {
        if let Some(condition) = &self.selected.selection {
            self.checker.scalar(condition, Clause::Where);
        }
        let items = self.named_items();
        let before = self.checker.found.len();
        self.check_unique(&items);
        let (keys, features): (Vec<Item<'a>>, Vec<Item<'a>>) =
            items.into_iter().partition(|item| entity.keys.iter().any(|column| column.name == item.name));
        let keys = self.keys(entity, keys);
        let complete = keys.len() == entity.keys.len() && self.checker.found.len() == before;
        let rules = Rules {
            entity: &entity.name,
            keys: if complete { keys.iter().map(|key| (key.name.as_str(), &key.expr)).collect() } else { Vec::new() },
            event_time: self.from.event_time_name(),
            options: self.options,
        };
        let features = self.features(features, &rules);
        (keys, features)
    }

    /// The items of the SELECT list that have names; the others are diagnostics.
    fn named_items(&mut self) -> Vec<Item<'a>> {
        let mut items = Vec::new();
        for (index, item) in self.selected.projection.iter().enumerate() {
            let span = item_span(item, self.checker.statement);
            let (expr, name) = match item {
                SelectItem::ExprWithAlias { expr, alias } => (expr, Some(normalise(alias))),
                SelectItem::UnnamedExpr(expr) => (expr, as_column(expr).map(|(_, column)| normalise(column))),
                _ => {
                    let diagnostic = self.checker.at(span).error("a feature view has no `*`");
                    let note = "a column of an event is no feature; a feature is a value at a moment";
                    self.checker.found.push(diagnostic.note(note).help("write out the key and the aggregates: last_value(x) OVER w AS x"));
                    continue;
                }
            };
            match name {
                Some(name) => items.push(Item { name, expr, index, span }),
                None => {
                    let diagnostic = self.checker.at(span).error("this feature has no name");
                    let text = self.checker.statement.origin.file.slice(span).split_whitespace().collect::<Vec<_>>().join(" ");
                    self.checker.found.push(diagnostic.help(format!("write {text} AS a_name")));
                }
            }
        }
        items
    }

    fn check_unique(&mut self, items: &[Item<'_>]) {
        let mut seen: HashMap<String, &Item<'_>> = HashMap::new();
        for item in items {
            if let Some(first) = seen.get(&item.name.to_lowercase()) {
                let (title, note) = if first.name == item.name {
                    (format!("`{}` is there twice", item.name), "whoever asks for it could get either".to_owned())
                } else {
                    let title = format!("`{}` differs from `{}` by case alone", item.name, first.name);
                    (title, "not every reader of features tells them apart".to_owned())
                };
                self.checker.found.push(self.checker.at(item.span).error(title).note(note).help("give one of them another name"));
            } else {
                seen.insert(item.name.to_lowercase(), item);
            }
        }
    }

    /// The key items in the order of the entity's key.
    fn keys(&mut self, entity: &Entity, items: Vec<Item<'a>>) -> Vec<KeyItem> {
        let mut keys = Vec::new();
        for column in &entity.keys {
            let Some(item) = items.iter().find(|item| item.name == column.name) else {
                self.missing_key(entity, &column.name);
                continue;
            };
            self.checker.near = item.span;
            self.checker.scalar(item.expr, Clause::Key);
            self.key_type(item, &column.data_type, entity);
            keys.push(KeyItem { name: item.name.clone(), expr: item.expr.clone(), item: item.index, span: item.span });
        }
        keys
    }

    fn missing_key(&mut self, entity: &Entity, column: &str) {
        let start = super::shape::select_start(self.selected, self.checker.statement);
        let span = self.checker.statement.token_span(start);
        let diagnostic = self.checker.at(span).error(format!("the key `{column}` of entity `{}` is not in the SELECT list", entity.name));
        let source = self.from.relation.position(column).map(|_| quoted(column));
        let example = source.unwrap_or_else(|| format!("origin AS {}", quoted(column)));
        self.checker.found.push(diagnostic.note("it says which entity an event belongs to").help(format!("add it: SELECT {example}, …")));
    }

    /// A key that is a column has the entity's type. What an expression gives, the planner knows.
    fn key_type(&mut self, item: &Item<'_>, wanted: &DataType, entity: &Entity) {
        let column = as_column(item.expr).and_then(|(_, column)| self.from.relation.position(&normalise(column)));
        let Some(given) = column.and_then(|index| self.from.relation.columns[index].data_type.as_ref()) else { return };
        if !same_key(given, wanted) {
            let (given, wanted) = (sql_name(given), sql_name(wanted));
            let title = format!("the key `{}` of entity `{}` is of type {wanted}, and this is of type {given}", item.name, entity.name);
            let help =
                format!("write CAST({} AS {wanted}) AS {}, here and in PARTITION BY, or declare the key as {given}", item.expr, quoted(&item.name));
            self.checker.found.push(self.checker.at(item.span).error(title).help(help));
        }
    }

    fn features(&mut self, items: Vec<Item<'a>>, rules: &Rules<'_>) -> Vec<FeatureItem> {
        let named = self.checker.named_windows(&self.selected.named_window, rules);
        if items.is_empty() && self.selected.projection.len() <= rules.keys.len() {
            let diagnostic = self.checker.at(self.written.name.span).error(format!("feature view `{}` has no features", self.written.name.text));
            self.checker.found.push(diagnostic.help("add one to the SELECT list: count(*) OVER w AS events"));
        }
        for item in &items {
            self.checker.near = item.span;
            let feature = Features { checker: &mut self.checker, named: &named, rules }.feature(item.expr);
            if feature.windows == 0 {
                let diagnostic = self.checker.at(item.span).error(format!("feature `{}` has no aggregate", item.name));
                let note = "it would be the same for every entity at every moment";
                self.checker.found.push(diagnostic.note(note).help("give a constant in the service, or aggregate over a window"));
            }
        }
        items.into_iter().map(|item| FeatureItem { name: item.name, expr: item.expr.clone(), item: item.index, span: item.span }).collect()
    }
}
