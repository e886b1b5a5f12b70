//! The joins of a feature service: views by their whole key, once per role, at most two reads deep.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Join as SqlJoin, JoinConstraint, JoinOperator, Select, TableFactor, visit_expressions};

use super::candidates::{Unnested, unnested, unnested_twice};
use super::data_type::{same_key, sql_name};
use super::expr::{Checker, Clause, as_column};
use super::lex::Statement;
use super::names::{did_you_mean, normalise, quoted};
use super::qualify::qualified;
use super::relation::single_name;
use super::request::RequestColumns;
use super::scope::{Relation, Scope, ScopeColumn};
use super::service::Known;
use super::text::Span;
use super::{Diagnostic, Entity, Join, JoinKey, View};

/// How many reads may follow one another: a key from the request, and one from a feature of such a join.
const HOPS_MAX: usize = 2;

/// The joins of a service.
pub(super) struct Joins<'a> {
    pub(super) request: Relation,
    /// In the order of the FROM clause.
    pub(super) relations: Vec<Joined<'a>>,
    /// What makes several rows of a request, where there is such a thing.
    pub(super) unnested: Option<Unnested<'a>>,
    /// So ordered that a key never needs a later one.
    pub(super) joins: Vec<Join>,
    /// How many of them need nothing that is unnested; they come first.
    pub(super) joins_before: usize,
}

/// A view under an alias.
pub(super) struct Joined<'a> {
    pub(super) relation: Relation,
    view: &'a View,
    entity: &'a Entity,
    on: &'a Expr,
    span: Span,
}

/// Checks the joins; nothing where the views or their aliases cannot be known.
pub(super) fn joins<'a>(
    selected: &'a Select,
    request: &RequestColumns<'_>,
    known: &Known<'a>,
    statement: &Statement,
    found: &mut Vec<Diagnostic>,
) -> Option<Joins<'a>> {
    let before = found.len();
    let mut relations: Vec<Joined<'a>> = Vec::new();
    let mut candidates: Option<Unnested<'a>> = None;
    let mut complete = true;
    for table in selected.from.iter().skip(1) {
        found.push(no_left_join(statement, statement.place(&table.relation), "a comma joins every request to every row"));
    }
    for join in selected.from.first().map_or(&[][..], |table| &table.joins) {
        if matches!(join.relation, TableFactor::UNNEST { .. }) {
            if candidates.is_some() {
                found.push(unnested_twice(join, statement));
            }
            candidates = unnested(join, relations.len(), statement, found);
            continue;
        }
        match joined(join, known, statement, found) {
            Some(joined) => {
                check_alias(&joined, request, &relations, statement, found);
                relations.push(joined);
            }
            None => complete = false,
        }
    }
    if !complete || found.len() > before {
        return None;
    }
    let mut all = Joins { request: request.relation.clone(), relations, unnested: candidates, joins: Vec::new(), joins_before: 0 };
    check_unnested_alias(&all, statement, found)?;
    let scope = all.scope();
    let joins: Vec<Option<Join>> = all.relations.iter().map(|joined| Keys { joined, scope: &scope, statement, found }.join()).collect();
    let (first, then) = apart(joins.into_iter().collect::<Option<_>>()?, &all, &scope, statement, found)?;
    all.joins = ordered(first, statement, found)?;
    all.joins_before = all.joins.len();
    all.joins.append(&mut ordered(then, statement, found)?);
    check_roles(&all.joins, statement, found);
    Some(all)
}

fn no_left_join(statement: &Statement, span: Span, note: &str) -> Diagnostic {
    let diagnostic = statement.origin.at(span).error("a feature service joins views by LEFT JOIN … ON");
    diagnostic.note(note).help("write LEFT JOIN airport_load o ON o.airport = r.origin; every request is answered, known entity or not")
}

fn joined<'a>(join: &'a SqlJoin, known: &Known<'a>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<Joined<'a>> {
    let span = statement.place(&join.relation);
    let on = match on(join) {
        Ok(on) => on,
        Err(note) => {
            found.push(no_left_join(statement, span, note));
            return None;
        }
    };
    let TableFactor::Table { name, alias, args: None, sample: None, version: None, .. } = &join.relation else {
        found.push(statement.origin.at(span).error("a feature service joins feature views by their name").help("define it as a feature view"));
        return None;
    };
    let ident = single_name(name).or_else(|| {
        found.push(statement.origin.at(span).error(format!("unknown feature view `{name}`")).note("definitions have no schemas"));
        None
    })?;
    let view_name = normalise(ident);
    let Some(view) = known.views.get(&view_name) else {
        found.extend(unknown_view(&view_name, known, statement, statement.origin.of_ident(ident).span));
        return None;
    };
    let entity = known.entities.get(&view.entity)?;
    let alias = alias.as_ref().map_or_else(|| view_name.clone(), |alias| normalise(&alias.name));
    let relation = Relation { columns: features(view), hidden: hidden(view, &alias), plural: "features", alias };
    let span = span.to(statement.place(on));
    Some(Joined { relation, view, entity, on, span })
}

fn features(view: &View) -> Vec<ScopeColumn> {
    view.features.iter().map(|feature| ScopeColumn { name: feature.name.clone(), data_type: None }).collect()
}

/// The key is what the request gave, and need not be asked of the view.
fn hidden(view: &View, alias: &str) -> Vec<(String, String)> {
    let text = |key: &str| format!("`{}.{}` is the key, and equals what it is joined to: write that", quoted(alias), quoted(key));
    view.keys.iter().map(|key| (key.name.clone(), text(&key.name))).collect()
}

/// The condition of a left join, or why it is none.
fn on(join: &SqlJoin) -> Result<&Expr, &'static str> {
    let constraint = match &join.join_operator {
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => constraint,
        JoinOperator::Join(_) | JoinOperator::Inner(_) => return Err("an inner join drops the requests whose entity is unknown"),
        JoinOperator::CrossJoin(_) => return Err("a cross join gives a request every entity there is"),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_) => {
            return Err("this join gives rows that nobody asked for");
        }
        _ => return Err("a service answers every request once, in order"),
    };
    match constraint {
        JoinConstraint::On(condition) => Ok(condition),
        JoinConstraint::Using(_) => Err("USING needs one name on both sides, and a view may be joined in several roles"),
        JoinConstraint::Natural => Err("a natural join depends on names that others may add"),
        JoinConstraint::None => Err("a join without a condition gives a request every entity there is"),
    }
}

fn unknown_view(name: &str, known: &Known<'_>, statement: &Statement, span: Span) -> Option<Diagnostic> {
    if known.view_names.contains(&name) {
        return None;
    }
    let diagnostic = statement.origin.at(span).error(format!("unknown feature view `{name}`"));
    if known.sources.all.contains(&name) {
        let diagnostic = diagnostic.note(format!("`{name}` is a source, and a request is answered from views"));
        return Some(diagnostic.help("define a feature view over it, and join that"));
    }
    Some(did_you_mean(diagnostic, name, "feature views", known.view_names))
}

fn check_alias(joined: &Joined<'_>, request: &RequestColumns<'_>, earlier: &[Joined<'_>], statement: &Statement, found: &mut Vec<Diagnostic>) {
    let alias = &joined.relation.alias;
    let taken = earlier.iter().find(|other| other.relation.alias == *alias);
    let title = match taken {
        _ if request.relation.alias == *alias => format!("`{alias}` is the request already"),
        Some(other) if other.view.name == joined.view.name => format!("`{}` is joined twice under one name", joined.view.name),
        Some(_) => format!("two joins are named `{alias}`"),
        None => return,
    };
    let diagnostic = statement.origin.at(joined.span).error(title).note("each role of a view has a name of its own");
    found.push(diagnostic.help(format!("write LEFT JOIN {} {} ON …", quoted(&joined.view.name), quoted(&format!("{alias}_2")))));
}

/// Checks the condition of one join.
struct Keys<'a, 'b> {
    joined: &'a Joined<'a>,
    scope: &'a Scope,
    statement: &'a Statement,
    found: &'b mut Vec<Diagnostic>,
}

impl Keys<'_, '_> {
    fn join(mut self) -> Option<Join> {
        let before = self.found.len();
        let mut given: Vec<(String, &Expr)> = Vec::new();
        for condition in conjuncts(self.joined.on) {
            if let Some((key, expr)) = self.equality(condition) {
                if given.iter().any(|(name, _)| *name == key) {
                    let span = self.statement.place(condition);
                    self.found
                        .push(self.statement.origin.at(span).error(format!("the key `{key}` is given twice")).help("keep one of the conditions"));
                }
                given.push((key, expr));
            }
        }
        if self.found.len() > before {
            return None;
        }
        let keys: Vec<JoinKey> = self.joined.entity.keys.iter().filter_map(|column| self.key(&column.name, &given)).collect();
        (self.found.len() == before).then(|| Join {
            view: self.joined.view.name.clone(),
            alias: self.joined.relation.alias.clone(),
            keys,
            hop: 0,
            span: self.joined.span,
        })
    }

    fn key(&mut self, name: &str, given: &[(String, &Expr)]) -> Option<JoinKey> {
        let Some((_, expr)) = given.iter().find(|(key, _)| key == name) else {
            let view = &self.joined.view.name;
            let diagnostic =
                self.statement.origin.at(self.joined.span).error(format!("`{view}` is not joined by its whole key: `{name}` is missing"));
            let keys: Vec<_> = self.joined.entity.keys.iter().map(|column| column.name.as_str()).collect();
            let diagnostic = diagnostic.note(format!("the key of entity `{}`: {}", self.joined.entity.name, super::names::list(keys)));
            let alias = quoted(&self.joined.relation.alias);
            self.found.push(diagnostic.help(format!("add AND {alias}.{} = …", quoted(name))));
            return None;
        };
        Some(JoinKey { column: name.to_owned(), expr: qualified(expr, self.scope, &self.statement.origin) })
    }

    /// `alias.key = expression`, either way round.
    fn equality<'e>(&mut self, condition: &'e Expr) -> Option<(String, &'e Expr)> {
        let sides = match condition {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => [(left, right), (right, left)],
            _ => {
                self.not_an_equality(condition);
                return None;
            }
        };
        let Some((key, expr)) = sides.into_iter().find_map(|(key, expr)| self.own_key(key).map(|key| (key, expr))) else {
            self.not_an_equality(condition);
            return None;
        };
        let mut checker = Checker { statement: self.statement, scope: self.scope, found: &mut *self.found, near: self.joined.span };
        checker.scalar(expr, Clause::JoinKey);
        self.key_type(&key, expr);
        Some((key, expr))
    }

    /// The key column of the joined view that an expression is.
    fn own_key(&self, expr: &Expr) -> Option<String> {
        let (qualifier, column) = as_column(expr)?;
        let name = normalise(column);
        let own = normalise(qualifier?) == self.joined.relation.alias && self.joined.entity.keys.iter().any(|key| key.name == name);
        own.then_some(name)
    }

    fn not_an_equality(&mut self, condition: &Expr) {
        let span = self.statement.place(condition);
        let alias = quoted(&self.joined.relation.alias);
        let keys: Vec<_> = self.joined.entity.keys.iter().map(|key| format!("{alias}.{}", quoted(&key.name))).collect();
        let diagnostic = self.statement.origin.at(span).error(format!("this is no equality with the key of `{}`", self.joined.view.name));
        self.found.push(
            diagnostic
                .note("a view is looked up by its key, and by nothing else")
                .help(format!("write ON {}; choose events in the view, or compare features in an output", keys.join(" = … AND ") + " = …")),
        );
    }

    /// A key that is a column of the request has the entity's type. What an expression gives, the planner knows.
    fn key_type(&mut self, key: &str, expr: &Expr) {
        let resolved = as_column(expr).and_then(|(qualifier, column)| self.scope.resolve(qualifier, column, &self.statement.origin).ok());
        let given = resolved.and_then(|at| self.scope.relations.get(at.relation)?.columns.get(at.column)?.data_type.as_ref());
        let wanted = self.joined.entity.keys.iter().find(|column| column.name == key).map(|column| &column.data_type);
        if let (Some(given), Some(wanted)) = (given, wanted)
            && !same_key(given, wanted)
        {
            let span = self.statement.place(expr);
            let (given, wanted) = (sql_name(given), sql_name(wanted));
            let title = format!("the key `{key}` is of type {wanted}, and this is of type {given}");
            self.found
                .push(self.statement.origin.at(span).error(title).help(format!("write CAST({expr} AS {wanted}), or declare the column as {wanted}")));
        }
    }
}

/// The conditions of an AND.
fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => [conjuncts(left), conjuncts(right)].concat(),
        Expr::Nested(inner) => conjuncts(inner),
        other => vec![other],
    }
}

/// Orders joins after those that give them their keys, each with its hop.
fn ordered(mut waiting: Vec<Join>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<Vec<Join>> {
    let mut done: Vec<Join> = Vec::new();
    while !waiting.is_empty() {
        let open: Vec<String> = waiting.iter().map(|join| join.alias.clone()).collect();
        let (mut ready, rest): (Vec<Join>, Vec<Join>) = waiting.into_iter().partition(|join| !uses_any(join, &open));
        let Some(first) = rest.first().filter(|_| ready.is_empty()) else {
            for join in &mut ready {
                join.hop =
                    done.iter().filter(|other| uses_any(join, std::slice::from_ref(&other.alias))).map(|other| other.hop + 1).max().unwrap_or(0);
            }
            done.append(&mut ready);
            waiting = rest;
            continue;
        };
        found.push(circle(first, statement));
        return None;
    }
    if let Some(deep) = done.iter().find(|join| join.hop >= HOPS_MAX) {
        let diagnostic = statement.origin.at(deep.span).error(format!("the key of `{}` is {} lookups away from the request", deep.alias, deep.hop));
        let note = format!("each is a read that waits for the one before, and {HOPS_MAX} reads are the most");
        found.push(diagnostic.note(note).help("take the key into the request, or into the features of a nearer view"));
        return None;
    }
    Some(done)
}

fn circle(join: &Join, statement: &Statement) -> Diagnostic {
    let own = uses_any(join, std::slice::from_ref(&join.alias));
    let title = if own {
        format!("the key of `{}` needs its own features", join.alias)
    } else {
        format!("the key of `{}` needs a feature that needs that key", join.alias)
    };
    statement.origin.at(join.span).error(title).help("give the key from the request, or from a view that does not need this one")
}

/// Whether a join's key needs a feature of one of these.
fn uses_any(join: &Join, aliases: &[String]) -> bool {
    join.keys.iter().any(|key| names_any(&key.expr, aliases))
}

/// Whether an expression names a column of one of these.
fn names_any(expr: &Expr, aliases: &[String]) -> bool {
    use std::ops::ControlFlow::{Break, Continue};
    visit_expressions(expr, |part| match part {
        Expr::CompoundIdentifier(parts) if parts.first().is_some_and(|alias| aliases.contains(&alias.value)) => Break(()),
        _ => Continue(()),
    })
    .is_break()
}

/// One view by one key in two roles is one role, or a slip of the pen.
fn check_roles(joins: &[Join], statement: &Statement, found: &mut Vec<Diagnostic>) {
    for (index, join) in joins.iter().enumerate() {
        if let Some(first) = joins[..index].iter().find(|other| other.view == join.view && other.keys == join.keys) {
            let title = format!("`{}` joins `{}` by the same key as `{}`", join.alias, join.view, first.alias);
            let diagnostic = statement.origin.at(join.span).error(title).note("both would always give the same values");
            found.push(diagnostic.help(format!("was another column meant? else write {}. for both", quoted(&first.alias))));
        }
    }
}

impl Joins<'_> {
    /// What expressions can name: the request, the features of every join, and the columns of a candidate.
    pub(super) fn scope(&self) -> Scope {
        let joined = self.relations.iter().map(|Joined { relation, .. }| relation.clone());
        let unnested = self.unnested.iter().map(|unnested| unnested.relation.clone());
        Scope { relations: std::iter::once(self.request.clone()).chain(joined).chain(unnested).collect() }
    }

    /// The same, as `*` has them: in the order in which they are written.
    pub(super) fn written(&self) -> Vec<&Relation> {
        let mut relations: Vec<&Relation> = self.relations.iter().map(|joined| &joined.relation).collect();
        if let Some(unnested) = &self.unnested {
            relations.insert(unnested.at, &unnested.relation);
        }
        relations.insert(0, &self.request);
        relations
    }
}

/// What is unnested has a name of its own.
fn check_unnested_alias(joins: &Joins<'_>, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<()> {
    let Some(unnested) = &joins.unnested else { return Some(()) };
    let alias = &unnested.relation.alias;
    let is_taken = joins.request.alias == *alias || joins.relations.iter().any(|joined| joined.relation.alias == *alias);
    if is_taken {
        let diagnostic = statement.origin.at(unnested.span).error(format!("`{alias}` is the name of something else already"));
        found.push(diagnostic.note("expressions could not tell the two apart").help("give the candidates a name of their own: AS i(item)"));
    }
    (!is_taken).then_some(())
}

/// Joins that need no candidate, and those that do, themselves or through another; nothing where the candidates need themselves.
fn apart(joins: Vec<Join>, joined: &Joins<'_>, scope: &Scope, statement: &Statement, found: &mut Vec<Diagnostic>) -> Option<(Vec<Join>, Vec<Join>)> {
    let Some(unnested) = &joined.unnested else { return Some((joins, Vec::new())) };
    let mut later = vec![unnested.relation.alias.clone()];
    let (mut before, mut after): (Vec<Join>, Vec<Join>) = (joins, Vec::new());
    loop {
        let (need, rest): (Vec<Join>, Vec<Join>) = before.into_iter().partition(|join| uses_any(join, &later));
        before = rest;
        if need.is_empty() {
            break;
        }
        later.extend(need.iter().map(|join| join.alias.clone()));
        after.extend(need);
    }
    if let Some(list) = unnested.lists.iter().find(|list| names_any(&qualified(list, scope, &statement.origin), &later)) {
        let diagnostic = statement.origin.at(statement.place_or(list, unnested.span)).error("the candidates are made of what needs a candidate");
        let note = format!("what is known of each candidate only: {}", later.join(", "));
        found.push(diagnostic.note(note).help("unnest a list of the request, or of a view that is joined without them"));
        return None;
    }
    Some((before, after))
}
