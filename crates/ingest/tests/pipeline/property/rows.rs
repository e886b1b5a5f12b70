//! Rows of a case, as text in each format.

use std::fmt::Write;

use lockstep_model::EventTime;

/// A row on its way into a file.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Of source `a` (0) or `b` (1).
    pub source: usize,
    /// Members that are not NULL, in order.
    members: Vec<(&'static str, Value)>,
    /// A line that is no row, in place of the members.
    garbage: Option<&'static [u8]>,
    /// Its event time, where it has one, µs.
    pub time: Option<i64>,
    /// `k` and `g`, where both are there.
    pub entity: Option<(String, i32)>,
    /// Moments at which something about it may change, besides its event time, µs.
    pub moments: Vec<i64>,
}

#[derive(Debug, Clone)]
enum Value {
    Bare(String),
    Text(String),
}

impl Row {
    /// A row that is NULL throughout.
    pub fn new(source: usize) -> Row {
        Row { source, ..Row::default() }
    }

    /// A line that cannot be read.
    pub fn garbage(source: usize, bytes: &'static [u8]) -> Row {
        Row { source, garbage: Some(bytes), ..Row::default() }
    }

    /// Adds a number or truth value.
    pub fn bare(&mut self, name: &'static str, value: impl ToString) {
        self.members.push((name, Value::Bare(value.to_string())));
    }

    /// Adds a text.
    pub fn text(&mut self, name: &'static str, value: impl Into<String>) {
        self.members.push((name, Value::Text(value.into())));
    }

    /// Takes a member away again: it is NULL.
    pub fn clear(&mut self, name: &str) {
        self.members.retain(|(member, _)| *member != name);
    }

    /// The moment that a member says, µs.
    pub fn moment(&self, name: &str) -> Option<i64> {
        let (_, value) = self.members.iter().find(|(member, _)| *member == name)?;
        let (Value::Bare(text) | Value::Text(text)) = value;
        EventTime::parse(text).ok().map(|moment| moment.0)
    }

    /// Whether it deletes its key.
    pub fn is_tombstone(&self) -> bool {
        self.members.iter().any(|(member, _)| *member == "_tombstone")
    }

    /// Whether only NDJSON can hold it.
    pub fn is_garbage(&self) -> bool {
        self.garbage.is_some()
    }

    /// One line of NDJSON.
    pub fn ndjson(&self) -> Vec<u8> {
        if let Some(bytes) = self.garbage {
            return [bytes, b"\n"].concat();
        }
        let mut line = format!("{{\"_source\":\"{}\"", ["a", "b"][self.source]);
        for (name, value) in &self.members {
            let (Value::Bare(text) | Value::Text(text)) = value;
            let quoted = matches!(value, Value::Text(_)).then(|| serde_json::to_string(text).unwrap());
            write!(line, ",\"{name}\":{}", quoted.as_ref().unwrap_or(text)).unwrap();
        }
        (line + "}\n").into_bytes()
    }

    /// One record of CSV, of these columns.
    pub fn csv(&self, columns: &[&str]) -> String {
        let cell = |column: &&str| match self.members.iter().find(|(name, _)| name == column) {
            None => String::new(),
            Some((_, Value::Bare(text))) => text.clone(),
            Some((_, Value::Text(text))) => format!("\"{}\"", text.replace('"', "\"\"")),
        };
        columns.iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
    }
}
