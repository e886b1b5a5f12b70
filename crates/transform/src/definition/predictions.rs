//! Published predictions: what batch runs of a deployment come to, kept as a view.
//!
//! A definition of them stands for two others, which are made here and checked like any other: a source, whose events are the predictions of each run, and a view of the newest of an entity's events.
//! So they are read, trained on, verified and explained as every view is.

use std::sync::Arc;

use arrow::datatypes::DataType;
use indexmap::IndexMap;

use super::data_type::sql_name;
use super::ddl::{Body, WrittenColumn, WrittenPredictions, parse};
use super::lex::{Statement, statements};
use super::names::{Name, did_you_mean, list, quoted};
use super::options::{PredictionsOptions, WrittenOption, read, value_span};
use super::relation::Sources;
use super::source::{columns, source};
use super::text::Origin;
use super::types::{Predictions, RankedList};
use super::view::{self, WrittenView, view};
use super::{Column, Definitions, Deployment, Diagnostic, Entity, Interval, Ranking, Service, Source, SourceFile, View};

/// The moment that a prediction is of: the event time of its source.
pub const COMPUTED_AT: &str = "computed_at";
/// The event time of the oldest thing that it was made from.
pub const OLDEST_INPUT_AT: &str = "oldest_input_at";
/// When its run was published, which is when it could be known.
pub const PUBLISHED_AT: &str = "published_at";
/// The number of its run: of two that are of one moment, the later run's counts.
pub const RUN: &str = "run";
/// The items of a ranked list, best first.
pub const ITEMS: &str = "items";
/// The prediction of each of them.
pub const SCORES: &str = "scores";

/// Names that the view or its source has beside what is declared.
const RESERVED: [&str; 6] = [COMPUTED_AT, OLDEST_INPUT_AT, PUBLISHED_AT, RUN, ITEMS, SCORES];

/// Runs that are kept where nothing else is said.
const KEEP: u32 = 3;
const KEEP_MAX: u32 = 100;
/// Items of a list where nothing else is said.
const TOP: u32 = 100;
const TOP_MAX: u32 = 10_000;

/// What predictions may name.
pub(super) struct Known<'a> {
    pub(super) entities: &'a IndexMap<String, Entity>,
    /// Entities by name, also those that are defined wrongly.
    pub(super) entity_names: &'a [&'a str],
}

/// What a definition of predictions stands for.
pub(super) struct Made {
    pub(super) predictions: Predictions,
    pub(super) source: Source,
    pub(super) view: View,
}

/// Checks predictions, but for what is to be known of their deployment. Where it gives nothing, diagnostics were added, to it or to what it needs.
pub(super) fn predictions(
    statement: &Statement,
    name: &Name,
    written: &WrittenPredictions,
    known: &Known<'_>,
    found: &mut Vec<Diagnostic>,
) -> Option<Made> {
    let before = found.len();
    let options: PredictionsOptions = read(&written.options, "options of predictions", &[], &statement.origin, found);
    let check = Check { statement, name, written, options: &written.options };
    let entity = check.entity(known, found);
    let columns = check.columns(entity, found);
    let list = check.list(&options, &columns, found);
    let keep = check.number("keep", options.keep, (KEEP, KEEP_MAX), found);
    if options.ttl == Some(Interval::ZERO) {
        let diagnostic = check.place("ttl").error("option `ttl` is more than nothing").note("no prediction would ever be there");
        found.push(diagnostic.help("leave it out to do without"));
    }
    if found.len() > before {
        return None;
    }
    let predictions = Predictions {
        name: name.text.clone(),
        origin: statement.origin.at(name.span),
        statement: statement.origin.span,
        entity: written.entity.text.clone(),
        deployment: written.deployment.text.clone(),
        deployment_origin: statement.origin.at(written.deployment.span),
        columns,
        list,
        keep,
        ttl: options.ttl,
        ttl_origin: check.place("ttl"),
    };
    let made = make(predictions, entity?, known, found);
    made.filter(|_| found.len() == before)
}

struct Check<'a> {
    statement: &'a Statement,
    name: &'a Name,
    written: &'a WrittenPredictions,
    options: &'a [WrittenOption],
}

impl Check<'_> {
    fn place(&self, option: &str) -> Origin {
        self.statement.origin.at(value_span(self.options, option).unwrap_or(self.name.span))
    }

    fn entity<'k>(&self, known: &Known<'k>, found: &mut Vec<Diagnostic>) -> Option<&'k Entity> {
        let name = &self.written.entity;
        let entity = known.entities.get(&name.text);
        if entity.is_none() && !known.entity_names.contains(&name.text.as_str()) {
            let diagnostic = self.statement.origin.at(name.span).error(format!("unknown entity `{}`", name.text));
            found.push(did_you_mean(diagnostic, &name.text, "entities", known.entity_names));
        }
        entity
    }

    /// What is kept of each prediction: no column of the key, and none that is there anyway.
    fn columns(&self, entity: Option<&Entity>, found: &mut Vec<Diagnostic>) -> Vec<Column> {
        let written = &self.written.columns;
        if written.columns.is_empty() {
            let diagnostic = self.statement.origin.at(written.span).error(format!("predictions `{}` keep nothing", self.name.text));
            found.push(diagnostic.help("name a prediction of the deployment, with its type: (late_probability DOUBLE)"));
        }
        if let Some(span) = written.primary_key_span {
            let diagnostic = self.statement.origin.at(span).error("the key of predictions is that of their entity");
            found.push(diagnostic.help("leave PRIMARY KEY out"));
        }
        for WrittenColumn { name, .. } in &written.columns {
            let is_key = entity.is_some_and(|entity| entity.keys.iter().any(|key| key.name == name.text));
            let why = match RESERVED.contains(&name.text.as_str()) {
                _ if is_key => "the key of the entity is there anyway",
                true => "it is there anyway",
                false => continue,
            };
            let diagnostic = self.statement.origin.at(name.span).error(format!("`{}` cannot be declared: {why}", name.text));
            found.push(diagnostic.help("leave it out, or give the prediction another name in its PREDICT"));
        }
        columns(self.statement, &written.columns, found)
    }

    fn list(&self, options: &PredictionsOptions, columns: &[Column], found: &mut Vec<Diagnostic>) -> Option<RankedList> {
        let Some(item) = &options.item else {
            for (name, given) in [("top", options.top.is_some()), ("best", options.best.is_some())] {
                if given {
                    let diagnostic = self.place(name).error(format!("option `{name}` goes with lists, and there is no `item`"));
                    found.push(diagnostic.help("name the column of items, item = 'flight_id', or leave it out"));
                }
            }
            return None;
        };
        let top = self.number("top", options.top, (TOP, TOP_MAX), found);
        let Some((item, score)) = columns.iter().position(|column| column.name == *item).and_then(|at| match columns {
            [first, second] => Some(if at == 0 { (first, second) } else { (second, first) }),
            _ => None,
        }) else {
            let diagnostic =
                self.place("item").error("a ranked list has two columns: `item` names that of the items, and the other is what they are ranked by");
            let diagnostic = diagnostic.note(format!("columns: {}", list(columns.iter().map(|column| column.name.as_str()))));
            found.push(diagnostic.help("write (flight_id BIGINT, late_probability DOUBLE) … WITH (item = 'flight_id')"));
            return None;
        };
        if !score.data_type.is_numeric() {
            let diagnostic = self.statement.origin.at(score.span).error(format!(
                "items are ranked by a number, and `{}` is of type {}",
                score.name,
                sql_name(&score.data_type)
            ));
            found.push(diagnostic.help("name a prediction that is a number"));
        }
        Some(RankedList { item: item.clone(), score: score.clone(), best: options.best, top })
    }

    fn number(&self, name: &str, value: Option<u32>, (default, max): (u32, u32), found: &mut Vec<Diagnostic>) -> u32 {
        match value {
            Some(value) if value == 0 || value > max => {
                found.push(self.place(name).error(format!("option `{name}` is from 1 to {max}")).help(format!("leave it out for {default}")));
                default
            }
            Some(value) => value,
            None => default,
        }
    }
}

/// The source and the view that predictions stand for.
fn make(predictions: Predictions, entity: &Entity, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> Option<Made> {
    let text = format!("{};\n{};\n", source_text(&predictions, entity), view_text(&predictions, entity));
    let file = Arc::new(SourceFile::new(format!("{} (predictions {})", predictions.origin.file.name, predictions.name), text));
    let mut own = Vec::new();
    let made = made_of(&file, known, &mut own);
    if let Some(wrong) = own.first() {
        // What was declared is checked before, so that this is a type that no view can keep.
        let diagnostic = predictions.origin.error(format!("predictions `{}` cannot be kept: {}", predictions.name, wrong.title));
        found.push(diagnostic.help_opt(wrong.help.clone()));
        return None;
    }
    let (mut source, mut view) = made?;
    (source.origin, source.statement) = (predictions.origin.clone(), predictions.statement);
    (view.origin, view.statement) = (predictions.origin.clone(), predictions.statement);
    Some(Made { predictions, source, view })
}

fn made_of(file: &Arc<SourceFile>, known: &Known<'_>, found: &mut Vec<Diagnostic>) -> Option<(Source, View)> {
    let parsed: Result<Vec<_>, Diagnostic> = statements(file).and_then(|statements| statements.into_iter().map(parse).collect());
    let written = parsed.map_err(|diagnostic| found.push(diagnostic)).ok()?;
    let (mut sources, mut views) = (IndexMap::new(), Vec::new());
    for one in &written {
        match &one.body {
            Body::Source { columns, options } => {
                sources.extend(source(&one.statement, &one.name, columns, options, found).map(|source| (source.name.clone(), source)));
            }
            Body::View { entity, options, query, tokens } => {
                let of = Sources { good: &sources, all: &[], others: &[] };
                let known = view::Known { entities: known.entities, entity_names: known.entity_names, sources: of };
                let written = WrittenView { statement: &one.statement, name: &one.name, entity, options, query, tokens };
                views.extend(view(&written, &known, found));
            }
            _ => {}
        }
    }
    Some((sources.into_values().next()?, views.pop()?))
}

/// The columns that are kept, and their types.
fn kept(predictions: &Predictions) -> Vec<(String, String)> {
    match &predictions.list {
        Some(RankedList { item, score, .. }) => {
            let of = |column: &Column| sql_name(&DataType::new_list(column.data_type.clone(), true));
            vec![(ITEMS.to_owned(), of(item)), (SCORES.to_owned(), of(score))]
        }
        None => predictions.columns.iter().map(|column| (column.name.clone(), sql_name(&column.data_type))).collect(),
    }
}

fn source_text(predictions: &Predictions, entity: &Entity) -> String {
    let keys = entity.keys.iter().map(|key| format!("{} {}", quoted(&key.name), sql_name(&key.data_type)));
    let kept = kept(predictions).into_iter().map(|(name, data_type)| format!("{} {data_type}", quoted(&name)));
    let own = [(COMPUTED_AT, "TIMESTAMP"), (OLDEST_INPUT_AT, "TIMESTAMP"), (PUBLISHED_AT, "TIMESTAMP"), (RUN, "BIGINT")];
    let own = own.map(|(name, data_type)| format!("{name} {data_type}"));
    let columns: Vec<String> = keys.chain(kept).chain(own).collect();
    format!(
        "CREATE SOURCE {} ({}, PRIMARY KEY ({}, {COMPUTED_AT})) WITH (event_time = '{COMPUTED_AT}', available_at = '{PUBLISHED_AT}', version = '{RUN}', history = 'all')",
        quoted(&predictions.name),
        columns.join(", "),
        key_names(entity),
    )
}

fn view_text(predictions: &Predictions, entity: &Entity) -> String {
    let kept = kept(predictions).into_iter().map(|(name, _)| name);
    let features = kept.chain([COMPUTED_AT, OLDEST_INPUT_AT].map(str::to_owned));
    let features: Vec<String> = features.map(|name| format!("last_value({}) OVER newest AS {}", quoted(&name), quoted(&name))).collect();
    let ttl = predictions.ttl.map(|ttl| format!(" WITH (ttl = '{ttl}')")).unwrap_or_default();
    let (name, keys) = (quoted(&predictions.name), key_names(entity));
    format!(
        "CREATE FEATURE VIEW {name} ENTITY {}{ttl} AS\nSELECT {keys}, {}\nFROM {name}\nWINDOW newest AS (PARTITION BY {keys} ORDER BY {COMPUTED_AT} ROWS BETWEEN CURRENT ROW AND CURRENT ROW)",
        quoted(&entity.name),
        features.join(", "),
    )
}

fn key_names(entity: &Entity) -> String {
    entity.keys.iter().map(|key| quoted(&key.name)).collect::<Vec<_>>().join(", ")
}

/// Checks predictions against their deployments, once those are checked. `deployment_names` are also those that are defined wrongly.
pub(super) fn check_deployments(definitions: &Definitions, deployment_names: &[&str], found: &mut Vec<Diagnostic>) {
    for predictions in definitions.predictions.values() {
        let name = &predictions.deployment;
        if definitions.deployments.contains_key(name) {
            let before = found.len();
            check_predicted(predictions, definitions, found);
            check_circle(predictions, definitions, found);
            if found.len() == before {
                check_lifetime(predictions, definitions, found);
            }
        } else if !deployment_names.contains(&name.as_str()) {
            let diagnostic = predictions.deployment_origin.error(format!("unknown deployment `{name}`"));
            found.push(did_you_mean(diagnostic, name, "deployments", deployment_names));
        }
    }
}

/// What is kept is what the deployment predicts, under the same names and of the same types.
fn check_predicted(predictions: &Predictions, definitions: &Definitions, found: &mut Vec<Diagnostic>) {
    let Some(deployment) = definitions.deployments.get(&predictions.deployment) else { return };
    let names: Vec<&str> = deployment.predictions.iter().map(|prediction| prediction.name.as_str()).collect();
    if let Some(ranking) = &deployment.ranking {
        check_ranked(predictions, deployment, ranking, found);
    }
    for column in predictions.predicted() {
        let at = predictions.origin.at(column.span);
        match deployment.predictions.iter().find(|prediction| prediction.name == column.name) {
            None => {
                let diagnostic = at.error(format!("`{}` predicts no `{}`", deployment.name, column.name));
                found.push(did_you_mean(diagnostic, &column.name, "predictions", &names));
            }
            Some(prediction) if prediction.data_type != column.data_type => {
                let (is, declared) = (sql_name(&prediction.data_type), sql_name(&column.data_type));
                let diagnostic = at.error(format!("`{}` is declared as {declared}, and `{}` predicts {is}", column.name, deployment.name));
                found.push(diagnostic.help(format!("write {} {is}", quoted(&column.name))));
            }
            Some(_) => {}
        }
    }
}

/// What a deployment that ranks candidates predicts of a row is a list of them, in its own order.
fn check_ranked(predictions: &Predictions, deployment: &Deployment, ranking: &Ranking, found: &mut Vec<Diagnostic>) {
    let (name, at) = (&deployment.name, &predictions.deployment_origin);
    let items: Vec<&str> = ranking.items.iter().map(String::as_str).collect();
    let Some(RankedList { item, best, .. }) = &predictions.list else {
        let diagnostic = at.error(format!("`{name}` ranks candidates, and what it predicts of a row is a list of them"));
        let item = items.first().copied().unwrap_or("item");
        found.push(diagnostic.help(format!("declare a list: ({} …, a prediction) FROM {} WITH (item = '{item}')", quoted(item), quoted(name))));
        return;
    };
    if !items.contains(&item.name.as_str()) {
        let diagnostic = predictions.origin.at(item.span).error(format!("`{name}` does not say of a candidate what its `{}` is", item.name));
        found.push(did_you_mean(diagnostic, &item.name, "outputs that tell candidates apart", &items));
    }
    if best.is_some() {
        let diagnostic = at.error(format!("`{name}` ranks candidates, and its order is that of the list"));
        found.push(diagnostic.help("leave `best` out"));
    }
    if deployment.explore.is_some() {
        let diagnostic = at.error(format!("`{name}` explores, and an order of chance is for one answer that is logged with its propensity"));
        let diagnostic = diagnostic.note("a list that is published is read again and again, and by whom is not known when it is made");
        found.push(diagnostic.help("publish what a deployment predicts that does not explore"));
    }
}

/// Refuses predictions that are made from themselves: what they mean would have no end.
fn check_circle(predictions: &Predictions, definitions: &Definitions, found: &mut Vec<Diagnostic>) {
    let Some(way) = circle(&predictions.name, &mut vec![predictions.name.as_str()], definitions) else { return };
    let diagnostic = predictions.deployment_origin.error(format!("predictions `{}` would be made from themselves", predictions.name));
    let diagnostic = diagnostic.note(format!("{} reads {}", predictions.name, way.join(", which reads ")));
    found.push(diagnostic.help("let a service of the deployment do without them, or predict by another deployment"));
}

/// The way from the last of these predictions back to `to`, where there is one.
fn circle<'d>(to: &str, way: &mut Vec<&'d str>, definitions: &'d Definitions) -> Option<Vec<String>> {
    let last = definitions.predictions.get(*way.last()?)?;
    for view in definitions.read_by(&last.deployment).flat_map(|service| &service.joins).map(|join| join.view.as_str()) {
        if view == to {
            return Some(way[1..].iter().copied().chain([view]).map(str::to_owned).collect());
        }
        if definitions.predictions.contains_key(view) && !way.contains(&view) {
            way.push(view);
            if let Some(found) = circle(to, way, definitions) {
                return Some(found);
            }
            way.pop();
        }
    }
    None
}

/// Refuses predictions that would outlive what they were made from.
fn check_lifetime(predictions: &Predictions, definitions: &Definitions, found: &mut Vec<Diagnostic>) {
    let Some((bound, what)) = shortest(predictions, definitions) else { return };
    if predictions.ttl.is_some_and(|ttl| ttl <= bound) {
        return;
    }
    let lives = predictions.ttl.map_or_else(|| "for ever".to_owned(), |ttl| format!("for {ttl}"));
    let diagnostic =
        predictions.ttl_origin.error(format!("predictions `{}` live {lives}, and what they are made from for {bound}", predictions.name));
    found.push(diagnostic.note(what).help(format!("write ttl = '{bound}', or less")));
}

/// The shortest life of anything that predictions are made from, and what lives so long.
fn shortest(predictions: &Predictions, definitions: &Definitions) -> Option<(Interval, String)> {
    let deployment = definitions.deployments.get(&predictions.deployment)?;
    let of_deployment = deployment.options.max_age.map(|age| (age, format!("the max_age of deployment `{}` is {age}", deployment.name)));
    let of_join = |service: &Service, view: &str| {
        let ttl = definitions.views.get(view)?.options.ttl?;
        Some((ttl, format!("`{}` reads view `{view}`, whose ttl is {ttl}", service.name)))
    };
    let of_service = |service: &Service| {
        let own = service.max_age.map(|age| (age, format!("the max_age of service `{}` is {age}", service.name)));
        service.joins.iter().filter_map(|join| of_join(service, &join.view)).chain(own).collect::<Vec<_>>()
    };
    definitions.read_by(&deployment.name).flat_map(of_service).chain(of_deployment).min_by_key(|(bound, _)| bound.micros())
}
