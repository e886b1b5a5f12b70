//! Sources with the rows of tables, which become events.

use super::*;
use crate::engine::moment;
use crate::openmldb::frame::{LATE, OWN_ROWS};

pub(super) struct Source {
    pub(super) name: String,
    pub(super) of: Rows,
}

/// Which rows a source has, and when they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rows {
    /// The table's number.
    pub(super) table: usize,
    /// The column with their time; without one, they come as they were put in.
    pub(super) time: Option<String>,
    /// Whether rows of it are asked about.
    pub(super) asked: bool,
    /// Whether they come after their moment.
    pub(super) late: bool,
    /// Whether there are none, but for the one that is asked about.
    pub(super) none: bool,
}

impl<'a> Work<'a> {
    /// The source with these rows.
    pub(super) fn source(&mut self, of: Rows) -> Result<String, Reason> {
        if let Some(source) = self.sources.iter().find(|source| source.of == of) {
            return Ok(source.name.clone());
        }
        let name = format!("{}s{}", self.prefix, self.sources.len());
        let table = &self.case.tables[of.table];
        let columns: Vec<String> = table.columns.iter().map(|(name, of)| format!("{} {}", quoted(name), of.sql())).collect();
        // What cannot be a time is given to the compiler as it is.
        let event_time = of.time.clone().filter(|_| !is_time(table, of.time.as_deref())).unwrap_or_else(|| "_time".to_owned());
        writeln!(
            self.sql,
            "CREATE SOURCE {name} (_row BIGINT, _time TIMESTAMP, {}, PRIMARY KEY (_row))\nWITH (event_time = '{event_time}', history = 'all', batch = 'data/{name}.ndjson');",
            columns.join(", ")
        )
        .expect("a text");
        let rows = if of.none { String::new() } else { self.lines(table, &of) };
        self.files.push((format!("data/{name}.ndjson"), rows));
        self.sources.push(Source { name: name.clone(), of });
        Ok(name)
    }

    /// The rows, a line each, but for those without a time.
    fn lines(&self, table: &Table, of: &Rows) -> String {
        let mut lines = String::new();
        for (number, row) in table.rows.iter().enumerate() {
            let Some(begin) = event_time(table, of.time.as_deref(), number) else { continue };
            let place = self.rank(of.table, number) + if of.asked { OWN_ROWS } else { 0 };
            let mut line = record(table, row);
            line.insert("_row".into(), json!(number));
            line.insert("_time".into(), moment(begin + place + if of.late { LATE } else { 0 }).into());
            writeln!(lines, "{}", Value::Object(line)).expect("a text");
        }
        lines
    }

    /// A row's place among those of its moment: of tables that are put together, the first named comes last.
    pub(super) fn rank(&self, table: usize, row: usize) -> i64 {
        let after = self.case.tables.iter().enumerate().filter(|(number, _)| *number > table && *number != self.main.number);
        let before = if table == self.main.number { 0 } else { after.map(|(_, table)| table.rows.len()).sum() };
        i64::try_from(before + row).unwrap_or(0)
    }
}

/// Whether a column, or the order in which rows were put in, can be a time.
fn is_time(table: &Table, column: Option<&str>) -> bool {
    let of = column.and_then(|column| table.columns.iter().find(|(name, _)| name == column)).map(|(_, of)| *of);
    column.is_none() || matches!(of, Some(Type::Int16 | Type::Int32 | Type::Int64 | Type::Timestamp))
}

/// What the event time of a source is called.
pub(super) fn event_time_name(table: &Table, column: Option<&str>) -> String {
    column.filter(|_| !is_time(table, column)).map_or_else(|| "_time".to_owned(), quoted)
}

/// The time of a row, µs, if it has one.
pub(super) fn event_time(table: &Table, column: Option<&str>, row: usize) -> Option<i64> {
    let Some(column) = column else { return i64::try_from(row).ok().map(|row| row * 1000) };
    match table.columns.iter().position(|(name, _)| name == column).map(|column| &table.rows[row][column]) {
        Some(Value::Null) => None,
        value => Some(value.and_then(Value::as_i64).unwrap_or_default() * 1000),
    }
}

/// A row as a JSON object.
pub(super) fn record(table: &Table, row: &[Value]) -> Map<String, Value> {
    let value = |(value, of): (&Value, Type)| match (value, of) {
        (Value::Number(millis), Type::Timestamp) => moment(millis.as_i64().unwrap_or_default() * 1000).into(),
        _ => value.clone(),
    };
    table.columns.iter().zip(row).map(|((name, of), cell)| (name.clone(), value((cell, *of)))).collect()
}
