//! A case as a project: sources with its rows, a view for each window and each joined table, and services that are asked for each row.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::case::{Case, Table, Type};
use super::frame::{self, OWN_ROWS, ROWS_MAX, Read, Reading};
use super::query::{self, Column, Join, Query, Reason, Relation, Token, Window, bare, reason};
use crate::engine::Asking;

mod expression;
mod join;
mod service;
mod source;

use expression::{Place, cast_to};
use join::Joined;
use source::{Rows, Source, event_time, event_time_name, record};

/// When everything has happened: 2100.
const THE_END: i64 = 4_102_444_800_000_000;
/// The largest set of distinct values in any case.
const LIMIT: u32 = 64;

/// Definitions, files, and what to ask.
#[derive(Debug)]
pub struct Plan {
    pub sql: String,
    pub files: Vec<(String, String)>,
    pub askings: Vec<Asking>,
    /// Which items of the statement each asking gives.
    pub items: Vec<Vec<usize>>,
    /// The statement's `LIMIT`.
    pub limit: Option<usize>,
}

/// Translates a case; everything it defines has names that begin with `prefix`.
pub fn translate(case: &Case, prefix: &str) -> Result<Plan, Reason> {
    if case.tables.iter().any(|table| table.elsewhere) {
        return reason("its rows are in a file that is not among the cases");
    }
    let query = query::parse(&case.sql)?;
    if !query.from.joins.is_empty() || !query.from.more.is_empty() {
        return reason("what is asked about is a join");
    }
    let main = side(case, &query.from)?;
    let mut work =
        Work { case, prefix, main, query: &query, joins: Vec::new(), views: Vec::new(), sources: Vec::new(), files: Vec::new(), sql: String::new() };
    if case.tables.iter().map(|table| table.rows.len()).sum::<usize>() > ROWS_MAX {
        return reason("more rows than fit into a moment");
    }
    for join in &query.joins {
        work.join(join)?;
    }
    work.services()
}

/// A table under a name, with the columns that it has there.
#[derive(Debug, Clone)]
struct Side<'a> {
    number: usize,
    table: &'a Table,
    alias: String,
    /// What it is called within a subquery that joins.
    within: Option<String>,
    columns: Option<Vec<(String, Vec<Token>)>>,
}

impl Side<'_> {
    fn called(&self, name: &str) -> bool {
        self.alias.eq_ignore_ascii_case(name) || self.within.as_ref().is_some_and(|within| within.eq_ignore_ascii_case(name))
    }

    /// A column of this table. One of another is named with that, and unknown, for the compiler to see.
    fn named(&self, column: &Column) -> String {
        match &column.table {
            Some(table) if !self.called(table) => format!("{table}.{}", column.name),
            _ => column.name.clone(),
        }
    }

    fn has(&self, column: &str) -> bool {
        match &self.columns {
            Some(columns) => columns.iter().any(|(name, _)| name == column),
            None => self.table.columns.iter().any(|(name, _)| name == column),
        }
    }

    /// What a column is, of the table's columns. An unknown one is itself, for the compiler to see.
    fn column(&self, name: &str) -> Vec<Token> {
        let projected = self.columns.iter().flatten().find(|(column, _)| column == name);
        projected.map_or_else(|| vec![Token::Word(name.to_owned())], |(_, of)| of.clone())
    }

    /// The type of a column, if it is one of the table's or a cast.
    fn of_type(&self, name: &str) -> Result<&'static str, Reason> {
        let column = self.column(name);
        match column.as_slice() {
            [Token::Word(column)] => Ok(self.table.columns.iter().find(|(name, _)| name == column).map_or("BIGINT", |(_, of)| of.sql())),
            [Token::Word(function), open, ..] if open.is("(") => match cast_to(function) {
                Some(of) => Ok(of),
                None if function.eq_ignore_ascii_case("cast") => column
                    .iter()
                    .rev()
                    .find_map(|token| match token {
                        Token::Word(of) => cast_to(of),
                        _ => None,
                    })
                    .ok_or_else(|| Reason("a key of a computed column".into())),
                None => reason("a key of a computed column"),
            },
            _ => reason("a key of a computed column"),
        }
    }

    /// The column of the table that `name` is.
    fn plain(&self, name: &str) -> Result<String, Reason> {
        match self.column(name).as_slice() {
            [Token::Word(column)] => Ok(column.clone()),
            [Token::Word(_), Token::Symbol("."), Token::Word(column)] => Ok(column.clone()),
            _ => reason("time is a computed column"),
        }
    }
}

fn side<'a>(case: &'a Case, relation: &Relation) -> Result<Side<'a>, Reason> {
    let number = case.tables.iter().position(|table| table.name.eq_ignore_ascii_case(&relation.table));
    let Some(number) = number else { return reason(format!("no table `{}`", relation.table)) };
    let within = (!relation.joins.is_empty()).then(|| relation.table.clone());
    Ok(Side { number, table: &case.tables[number], alias: relation.alias.clone(), within, columns: relation.columns.clone() })
}

/// A view in the making.
struct View<'a> {
    name: String,
    /// The key: the column in the view, its type, and what it is in the service.
    keys: Vec<(String, &'static str, Vec<Token>)>,
    branches: Vec<Branch<'a>>,
    filter: String,
    /// Each window's name and what it is.
    windows: Vec<(String, String)>,
    features: Vec<String>,
    reading: Reading,
    /// How the statement's window is read, if it is one's.
    of: Option<Read>,
    distinct: bool,
}

/// One input of a view.
struct Branch<'a> {
    source: String,
    side: Side<'a>,
}

struct Work<'a> {
    case: &'a Case,
    prefix: &'a str,
    query: &'a Query,
    main: Side<'a>,
    joins: Vec<Joined<'a>>,
    views: Vec<View<'a>>,
    sources: Vec<Source>,
    files: Vec<(String, String)>,
    sql: String,
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

impl<'a> Work<'a> {
    /// A view in the making.
    fn view(
        &mut self,
        keys: Vec<(String, &'static str, Vec<Token>)>,
        branches: Vec<Branch<'a>>,
        window: (String, String),
        reading: Reading,
    ) -> usize {
        let name = format!("{}v{}", self.prefix, self.views.len());
        let (filter, features, windows) = (String::new(), Vec::new(), vec![window]);
        self.views.push(View { name, keys, branches, filter, windows, features, reading, of: None, distinct: false });
        self.views.len() - 1
    }

    /// The view of a window of the statement.
    fn window(&mut self, name: &str, window: &Window) -> Result<usize, Reason> {
        if let Some(view) = self.views.iter().position(|view| view.of.is_some() && view.windows.first().is_some_and(|first| first.0 == name)) {
            return Ok(view);
        }
        let read = frame::read(window)?;
        let partition: Vec<String> = window.partition.iter().map(|column| self.main.named(column)).collect();
        let time = window.order.as_ref().map(|order| self.main.plain(&self.main.named(order))).transpose()?;
        let branches = self.branches(window, &read, time.clone())?;
        let mut keys = Vec::new();
        for column in &partition {
            let of_main = vec![Token::Word(self.main.alias.clone()), Token::Symbol("."), Token::Word(column.clone())];
            keys.push((column.clone(), self.main.of_type(column)?, of_main));
        }
        let partition = partition.iter().map(|column| self.in_view(column, &branches)).collect::<Result<Vec<_>, _>>()?;
        let mut over = if partition.is_empty() { String::new() } else { format!("PARTITION BY {} ", partition.join(", ")) };
        if window.order.is_some() {
            write!(over, "ORDER BY {} ", event_time_name(self.main.table, time.as_deref())).expect("a text");
        }
        let reading = Reading { time, ..read.reading.clone() };
        let view = self.view(keys, branches, (name.to_owned(), format!("{over}{}", read.frame)), reading);
        self.views[view].of = Some(read);
        Ok(view)
    }

    /// The inputs of a window's view: tables that are put together with the first, that itself, and the row that is asked about.
    fn branches(&mut self, window: &Window, read: &Read, time: Option<String>) -> Result<Vec<Branch<'a>>, Reason> {
        let mut branches = Vec::new();
        for union in &window.unions {
            if !union.joins.is_empty() || !union.more.is_empty() {
                return reason("a window over a join");
            }
            let other = side(self.case, union)?;
            let time = window.order.as_ref().map(|order| other.plain(&order.name)).transpose()?;
            let source = self.source(Rows { table: other.number, time, asked: false, late: read.late, none: false })?;
            branches.push(Branch { source, side: other });
        }
        for (there, none) in [(read.table, false), (read.reading.next, true)] {
            if there {
                let source = self.source(Rows { table: self.main.number, time: time.clone(), asked: true, late: read.late, none })?;
                branches.push(Branch { source, side: self.main.clone() });
            }
        }
        if branches.is_empty() { reason("a window without rows") } else { Ok(branches) }
    }

    /// A column as a view's own expressions name it.
    fn in_view(&self, column: &str, branches: &[Branch<'a>]) -> Result<String, Reason> {
        match branches {
            [one] => self.expression(&one.side.column(column), &Place::Row(&one.side)),
            _ => Ok(quoted(column)),
        }
    }

    /// A window with this frame in the view of another, by its name.
    fn frame_of(&mut self, view: usize, frame: &str) -> String {
        let windows = &mut self.views[view].windows;
        let (first, body) = windows[0].clone();
        let over = body[..body.find("ROWS BETWEEN").or_else(|| body.find("RANGE BETWEEN")).unwrap_or(body.len())].to_owned();
        let body = format!("{over}{frame}");
        if let Some((name, _)) = windows.iter().find(|window| window.1 == body) {
            return name.clone();
        }
        let name = format!("{first}_{}", windows.len());
        windows.push((name.clone(), body));
        name
    }

    /// A feature of a view, by what it is called in the service.
    fn feature(&mut self, view: usize, text: String) -> String {
        let features = &mut self.views[view].features;
        let at = features.iter().position(|known| *known == text).unwrap_or_else(|| {
            features.push(text);
            features.len() - 1
        });
        format!("{}.f{at}", self.alias(view))
    }

    fn alias(&self, view: usize) -> String {
        format!("v{view}")
    }
}
