//! The definitions as checked: what is here needs no further validation of names, shapes and options. Types of expressions are
//! the planner's to check.

use arrow::datatypes::DataType;
use chrono_tz::Tz;
use datafusion::sql::sqlparser::ast::{Expr, Query, SetExpr};
use indexmap::IndexMap;
use serde::Deserialize;

use super::options::{BatchFormat, Best, ViewOptions};
use super::text::{Origin, Span};
use super::{Deployment, Diagnostic, Interval, KafkaTopic, Model};

/// All definitions of a project, each kind by name in the order of the files.
///
/// Names are as SQL reads them: in lower case unless quoted.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    /// What features describe.
    pub entities: IndexMap<String, Entity>,
    /// Where events come from.
    pub sources: IndexMap<String, Source>,
    /// Features of one entity.
    pub views: IndexMap<String, View>,
    /// The features one model takes.
    pub services: IndexMap<String, Service>,
    /// What predicts from them.
    pub models: IndexMap<String, Model>,
    /// What is asked for predictions.
    pub deployments: IndexMap<String, Deployment>,
    /// Predictions that are published. Each is among the sources and the views, too, under its name.
    pub predictions: IndexMap<String, Predictions>,
}

impl Definitions {
    /// The services whose outputs go into a deployment: into its steps, and into its fallback.
    pub fn read_by(&self, deployment: &str) -> impl Iterator<Item = &Service> {
        let deployment = self.deployments.get(deployment).into_iter();
        let models = deployment.flat_map(|deployment| deployment.steps.iter().map(|step| &step.model).chain(&deployment.fallback));
        models.filter_map(|model| self.services.get(&self.models.get(model)?.service))
    }
}

/// A named value and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, as SQL reads it.
    pub name: String,
    /// Its type. Every column may be NULL.
    pub data_type: DataType,
    /// Where it is declared.
    pub span: Span,
}

/// What features describe, and the key that tells one from another.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub origin: Origin,
    /// The columns of its key, at least one, each of a type that can be part of a key.
    pub keys: Vec<Column>,
}

/// Events of one shape.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub origin: Origin,
    /// All of its definition, in the same file.
    pub statement: Span,
    /// Its columns, at least one.
    pub columns: Vec<Column>,
    /// The columns that name an event, as indices of `columns`, in the order of the PRIMARY KEY.
    pub primary_key: Vec<usize>,
    /// The column that says when an event happened, a timestamp, as an index of `columns`.
    pub event_time: usize,
    /// Everything else.
    pub options: SourceOptions,
}

impl Source {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name == name)
    }
}

/// The options of a source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// The zone of timestamps that are written without one; UTC unless declared.
    pub time_zone: Tz,
    /// How far an event may be behind its partition's newest; nothing unless declared.
    pub allowed_lateness: Lateness,
    /// How much state is kept beyond what the views need; nothing unless declared.
    pub history: History,
    /// How far past its append or availability time an event may claim to be; an hour unless declared.
    pub max_ahead: Interval,
    /// Where its history lies: paths, globs or URLs.
    pub batch: Vec<String>,
    /// The format of those files, where their names do not say.
    pub batch_format: Option<BatchFormat>,
    /// What separates the fields of its CSV files; a comma unless declared. ASCII.
    pub csv_delimiter: char,
    /// The text that stands for NULL in its CSV files; empty unless declared.
    pub csv_null: String,
    /// Where its log is: a path, or a URL such as `kafka://departures?format=json`.
    pub stream: Option<String>,
    /// The Kafka topic that is.
    pub topic: Option<KafkaTopic>,
    /// What tells a correction from what it corrects; without it, the source is append-only.
    pub version: Option<Version>,
    /// When an event could first be known; without it, when it happened.
    pub available_at: Option<AvailableAt>,
    /// The pipeline's own delay, added to that.
    pub serving_lag: Interval,
    /// The silence after which it is worth an alert.
    pub expect_events_every: Option<Interval>,
    /// How long the log of the events that were applied is kept; without it there is none.
    pub applied_log: Option<History>,
    /// Where rows are sent that could not be taken.
    pub dead_letters: Option<DeadLetterSink>,
}

/// Where dead letters are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterSink {
    /// A topic, by its name.
    Topic(String),
    /// A file, by its path.
    File(String),
}

/// How far an event may be behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Lateness {
    /// By so much at most.
    Within(Interval),
    /// By any length: every primary key is remembered.
    Unbounded,
}

/// How much is kept beyond what the views need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum History {
    /// So much.
    Within(Interval),
    /// Everything.
    All,
}

/// What orders the versions of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A column, by its index.
    Column(usize),
    /// The position in the log, which is compacted by the primary key.
    Position,
}

/// When an event could first be known.
#[derive(Debug, Clone)]
pub enum AvailableAt {
    /// When the log took it.
    AppendTime,
    /// The value of an expression over its columns, of type timestamp.
    Expression {
        /// The expression, names as written.
        expr: Box<Expr>,
        /// Its text.
        text: String,
        /// Where it is written.
        origin: Origin,
    },
}

/// Features of one entity, as SQL over sources.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub origin: Origin,
    /// All of its definition, in the same file.
    pub statement: Span,
    /// The entity its features describe.
    pub entity: String,
    /// Its options.
    pub options: ViewOptions,
    /// Its body as the parser gives it, unmodified: a query that DataFusion runs over tables named like the sources.
    pub query: Box<Query>,
    /// Where the body is written.
    pub body: Origin,
    /// The sources it reads: one, or those of its UNION ALL in order.
    pub branches: Vec<Branch>,
    /// The column of its FROM that is the event time.
    pub event_time: String,
    /// The items of its SELECT list that make the entity's key, in the order of that key.
    pub keys: Vec<KeyItem>,
    /// The other items of its SELECT list, in order; at least one.
    pub features: Vec<FeatureItem>,
}

impl View {
    /// A feature with the windows it names spelled out: equal texts mean the same over equal rows.
    pub fn feature_text(&self, feature: &FeatureItem) -> String {
        let mut text = feature.expr.to_string();
        let SetExpr::Select(select) = self.query.body.as_ref() else { return text };
        let names: Vec<String> = text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase).collect();
        for window in &select.named_window {
            if names.iter().any(|name| *name == window.0.value.to_lowercase()) {
                text += &format!(" WINDOW {window}");
            }
        }
        text
    }

    /// What its features are computed from: FROM and WHERE.
    pub fn rows_text(&self) -> String {
        let SetExpr::Select(select) = self.query.body.as_ref() else { return String::new() };
        let from: Vec<String> = select.from.iter().map(ToString::to_string).collect();
        let filter = select.selection.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        format!("FROM {}{filter}", from.join(", "))
    }

    /// The text of its body.
    pub fn body_text(&self) -> &str {
        self.body.file.slice(self.body.span)
    }

    /// Something wrong in its body, at a node of it.
    pub fn error(&self, node: &impl datafusion::sql::sqlparser::ast::Spanned, title: impl Into<String>) -> Diagnostic {
        self.body.of(node).error(title)
    }
}

/// A source that a view reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The source's name.
    pub source: String,
    /// Where it is named.
    pub span: Span,
}

/// An item of a view's SELECT list that is part of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyItem {
    /// The key column of the entity.
    pub name: String,
    /// What computes it from an event; no aggregate in it.
    pub expr: Expr,
    /// Its place in the SELECT list, from 0.
    pub item: usize,
    /// Where it is written.
    pub span: Span,
}

/// An item of a view's SELECT list that is a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureItem {
    /// The feature's name.
    pub name: String,
    /// What computes it; at least one aggregate over a window in it, and no column outside of those.
    pub expr: Expr,
    /// Its place in the SELECT list, from 0.
    pub item: usize,
    /// Where it is written.
    pub span: Span,
}

/// The features one model takes.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub origin: Origin,
    /// All of its definition, in the same file.
    pub statement: Span,
    /// What a request gives, beside its moment. With `request_as`, columns of that source without its event time.
    pub request: Vec<Column>,
    /// What expressions call the request; `request` unless the definition names it.
    pub request_alias: String,
    /// The source whose next event the request is.
    pub request_as: Option<String>,
    /// The views it joins, so ordered that a key never needs a later join.
    pub joins: Vec<Join>,
    /// What it gives, in order; at least one.
    pub outputs: Vec<Output>,
    /// What fills an output without a value, by the output's name.
    pub defaults: IndexMap<String, Literal>,
    /// How old the oldest input of an output may be before the output is absent.
    pub max_age: Option<Interval>,
    /// The least share of values that must be real ones.
    pub min_coverage: Option<f64>,
    /// How a request becomes a row for each candidate, where it does.
    pub candidates: Option<Candidates>,
}

/// How a request becomes candidates, and which of them are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// What expressions call a candidate; unique in the service.
    pub alias: String,
    /// Its columns by name, each with the list that it is an element of. Lists are unnested side by side.
    pub columns: Vec<(String, Placed)>,
    /// How many of the joins need no candidate; they come first.
    pub joins_before: usize,
    /// A candidate is answered where this is true.
    pub filter: Option<Placed>,
    /// What the candidates of a request are ordered by. Those that are equal in it keep the order of their list.
    pub order: Vec<SortKey>,
    /// How many of a request are answered at the most.
    pub limit: Option<u32>,
    /// With fewer left by the filter, the fallback answers.
    pub min_items: u32,
    /// Who answers then.
    pub fallback: Option<Fallback>,
    /// Where it is unnested.
    pub span: Span,
}

/// An expression and its place. Its columns are of the form `"alias"."column"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What computes it.
    pub expr: Expr,
    /// Where it is written.
    pub span: Span,
}

/// What rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The value.
    pub by: Placed,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Whether NULLs come before all else.
    pub nulls_first: bool,
}

/// A service that answers in place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Its name.
    pub service: String,
    /// Where it is named.
    pub span: Span,
}

/// The name under which expressions see the moment of a request, a timestamp.
pub const REQUEST_TIME: &str = "request_time";

/// A view that a service joins by its whole key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The view.
    pub view: String,
    /// What expressions call it here; unique in the service.
    pub alias: String,
    /// The key, in the order of the entity's.
    pub keys: Vec<JoinKey>,
    /// 0 where the key comes from the request alone, 1 where it needs a feature of such a join.
    pub hop: usize,
    /// Where it is written.
    pub span: Span,
}

/// What gives one column of a joined view's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinKey {
    /// The key column of the view's entity.
    pub column: String,
    /// What computes it. Its columns are of the form `"alias"."column"`, of the request or of an earlier join.
    pub expr: Expr,
}

/// What a service gives under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// What computes it. Its columns are of the form `"alias"."column"`, of the request or of a join.
    pub expr: Expr,
    /// Where it is written; outputs of one `*` share it.
    pub span: Span,
}

/// Predictions of a deployment, of many entities in one go, that are published run by run and read as a view.
#[derive(Debug, Clone)]
pub struct Predictions {
    /// Their name, and that of their source and their view.
    pub name: String,
    /// Where it is written.
    pub origin: Origin,
    /// All of the definition, in the same file.
    pub statement: Span,
    /// The entity that a prediction is of.
    pub entity: String,
    /// The deployment that predicts.
    pub deployment: String,
    /// Where it is named.
    pub deployment_origin: Origin,
    /// The predictions that are kept; of a list, its items and what they are ranked by.
    pub columns: Vec<Column>,
    /// How they are ranked, where an entity has a list of them.
    pub list: Option<RankedList>,
    /// Runs that are kept; from 1.
    pub keep: u32,
    /// How old a prediction may be before it is absent.
    pub ttl: Option<Interval>,
    /// Where that is written; the name where it is not.
    pub ttl_origin: Origin,
}

impl Predictions {
    /// What of its columns the deployment predicts.
    pub fn predicted(&self) -> impl Iterator<Item = &Column> {
        let item = self.list.as_ref().map(|list| &list.item.name);
        self.columns.iter().filter(move |column| Some(&column.name) != item)
    }
}

/// A list of items for each entity, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedList {
    /// The column that names an item.
    pub item: Column,
    /// The prediction that items are ranked by, a number.
    pub score: Column,
    /// Which of them come first; where it is not said, the greatest. Of a deployment that ranks, its order is the list's, and nothing is said.
    pub best: Option<Best>,
    /// Most items of a list; from 1.
    pub top: u32,
}

/// A constant as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// `true` or `false`.
    Boolean(bool),
    /// Digits, with a sign, a point and an exponent perhaps.
    Number(String),
    /// A text; also of a date or a moment.
    Text(String),
}
