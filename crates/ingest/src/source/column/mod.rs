//! From text to typed columns, one loop a column.
//!
//! A value either is one of its column's type, exactly, or its row is bad and the reason says why. Nothing is rounded (but decimal text to
//! the nearest float, which is what a float column means), cut off or guessed.

mod nested;
mod number;
mod scalar;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};

use super::rows::{Cell, Kind, Rows};
use super::zone::{ToUtc, Zone};

/// A value as text. Where it stood says how it may be read: a JSON number is no string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

impl<'a> Value<'a> {
    #[inline(always)]
    pub(super) fn of(cell: Cell, text: &'a str) -> Self {
        Value { kind: cell.kind(), text: cell.of(text) }
    }

    #[inline(always)]
    fn is_null(self) -> bool {
        matches!(self.kind, Kind::Absent | Kind::Null)
    }

    /// The text of a JSON string or a CSV field that stands for itself.
    #[inline(always)]
    fn plain(self) -> Option<&'a str> {
        (self.kind == Kind::Text).then_some(self.text)
    }

    /// The text of a JSON string or a CSV field, with its escapes undone into `scratch`.
    pub(super) fn unescaped<'s>(self, scratch: &'s mut String) -> Result<&'s str, String>
    where
        'a: 's,
    {
        scratch.clear();
        match self.kind {
            Kind::Text => return Ok(self.text),
            Kind::JsonEscaped => super::json::unescape(self.text, scratch)?,
            Kind::CsvEscaped => super::csv::unescape(self.text, scratch),
            _ => return Err(self.is_not("a string")),
        }
        Ok(scratch)
    }

    /// "`x` is not …", with the text cut to what a message can bear.
    pub(super) fn is_not(self, what: impl fmt::Display) -> String {
        const SHOWN_MAX: usize = 60;
        let shown: String = self.text.chars().take(SHOWN_MAX).collect();
        let more = if shown.len() < self.text.len() { "…" } else { "" };
        match self.kind {
            Kind::Bare | Kind::Nested => format!("{shown}{more} is not {what}"),
            _ => format!("\"{shown}{more}\" is not {what}"),
        }
    }
}

/// Rows whose value is not one of the column's type: their index, and the reason.
pub(super) type Bad = Vec<(usize, String)>;

/// A column being built. The loops are provided methods, so that each type has its own copy of them.
pub(super) trait Column: Send {
    /// Appends a value that is not NULL. After an error the caller appends NULL in its place.
    fn push(&mut self, value: Value<'_>) -> Result<(), String>;

    /// Appends NULL.
    fn push_null(&mut self);

    /// The array of what was appended; the column is empty again.
    fn finish(&mut self) -> ArrayRef;

    /// Appends column `index` of all rows; NULL where the value is bad.
    fn push_rows(&mut self, text: &str, rows: &Rows, index: usize, bad: &mut Bad) {
        for (row, cell) in rows.column(index).enumerate() {
            if let Err(reason) = self.push_any(Value::of(cell, text)) {
                self.push_null();
                bad.push((row, reason));
            }
        }
    }

    /// Appends NULL or a value.
    #[inline(always)]
    fn push_any(&mut self, value: Value<'_>) -> Result<(), String> {
        if value.is_null() {
            self.push_null();
            return Ok(());
        }
        self.push(value)
    }
}

impl fmt::Debug for dyn Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Column")
    }
}

/// A column of `data_type`, or `None` if text has no such values. Naive timestamps are in `zone`.
pub(super) fn column(data_type: &DataType, zone: Zone) -> Option<Box<dyn Column>> {
    Some(match data_type {
        DataType::Boolean => Box::new(scalar::Booleans::default()),
        DataType::Utf8 => Box::new(scalar::Texts::default()),
        DataType::Binary => Box::new(scalar::Binaries::default()),
        DataType::Date32 => Box::new(time::Dates::default()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Box::new(time::Moments::new(ToUtc::new(zone))),
        DataType::List(element) => Box::new(nested::Lists::new(element.clone(), column(element.data_type(), zone)?)),
        DataType::Struct(fields) if !fields.is_empty() => {
            let columns = fields.iter().map(|field| column(field.data_type(), zone)).collect::<Option<_>>()?;
            Box::new(nested::Structs::new(fields.clone(), columns))
        }
        number => return number::column(number),
    })
}
