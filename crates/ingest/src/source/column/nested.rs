//! Lists and structs, written as JSON, in a CSV cell too.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, FieldRef, Fields};

use super::super::json::{self, Member, Syntax};
use super::super::rows::{Cell, Kind};
use super::{Column, Value};

pub(super) struct Lists {
    element: FieldRef,
    column: Box<dyn Column>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
    /// Elements of a list that turned out bad: the NULL that takes its place owns them.
    orphans: usize,
    cells: Vec<Cell>,
    scratch: String,
}

impl Lists {
    pub(super) fn new(element: FieldRef, column: Box<dyn Column>) -> Self {
        Lists { element, column, lengths: Vec::new(), valid: Vec::new(), orphans: 0, cells: Vec::new(), scratch: String::new() }
    }
}

impl Column for Lists {
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        let text = json_text(value, &mut self.scratch, "a list")?;
        json::elements(text, &mut self.cells).map_err(|error| not_json(value, error))?;
        for (index, &cell) in self.cells.iter().enumerate() {
            if let Err(reason) = push_field(self.column.as_mut(), &self.element, Value::of(cell, text)) {
                self.column.push_null();
                self.orphans = index + 1;
                return Err(format!("element {index}: {reason}"));
            }
        }
        self.lengths.push(self.cells.len());
        self.valid.push(true);
        Ok(())
    }

    fn push_null(&mut self) {
        self.lengths.push(std::mem::take(&mut self.orphans));
        self.valid.push(false);
    }

    fn finish(&mut self) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let nulls = NullBuffer::from(std::mem::take(&mut self.valid));
        let values = self.column.finish();
        Arc::new(ListArray::new(Arc::new(as_built(&self.element, &values)), offsets, values, Some(nulls)))
    }
}

pub(super) struct Structs {
    fields: Fields,
    columns: Vec<Box<dyn Column>>,
    valid: Vec<bool>,
    /// Fields that already have a value of a struct that turned out bad.
    done: usize,
    members: Vec<Member>,
    scratch: String,
}

impl Structs {
    pub(super) fn new(fields: Fields, columns: Vec<Box<dyn Column>>) -> Self {
        Structs { fields, columns, valid: Vec::new(), done: 0, members: Vec::new(), scratch: String::new() }
    }
}

impl Column for Structs {
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        let text = json_text(value, &mut self.scratch, "a struct")?;
        json::members(text, 0, text.len(), &mut self.members).map_err(|error| not_json(value, error))?;
        for (index, (field, column)) in self.fields.iter().zip(&mut self.columns).enumerate() {
            let pushed = member(&self.members, text, field.name()).and_then(|value| push_field(column.as_mut(), field, value));
            if let Err(reason) = pushed {
                self.done = index;
                return Err(format!("field `{}`: {reason}", field.name()));
            }
        }
        self.valid.push(true);
        Ok(())
    }

    fn push_null(&mut self) {
        let done = std::mem::take(&mut self.done);
        self.columns.iter_mut().skip(done).for_each(|column| column.push_null());
        self.valid.push(false);
    }

    fn finish(&mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(|column| column.finish()).collect();
        let fields = self.fields.iter().zip(&columns).map(|(field, column)| as_built(field, column)).collect();
        Arc::new(StructArray::new(fields, columns, Some(NullBuffer::from(std::mem::take(&mut self.valid)))))
    }
}

/// A field as its column came out: bad rows leave NULLs behind at every level, which go with them.
fn as_built(field: &Field, column: &ArrayRef) -> Field {
    field.clone().with_data_type(column.data_type().clone()).with_nullable(true)
}

fn push_field(column: &mut dyn Column, field: &Field, value: Value<'_>) -> Result<(), String> {
    if value.is_null() && !field.is_nullable() {
        return Err("NULL, which its declared type does not allow".to_owned());
    }
    column.push_any(value)
}

/// The value of the member called `name`; absent where there is none.
fn member<'a>(members: &[Member], text: &'a str, name: &str) -> Result<Value<'a>, String> {
    let mut scratch = String::new();
    let mut found = Value::of(Cell::ABSENT, text);
    for &Member { key, value } in members {
        if Value::of(key, text).unescaped(&mut scratch)? != name {
            continue;
        }
        if found.kind != Kind::Absent {
            return Err("occurs twice".to_owned());
        }
        found = Value::of(value, text);
    }
    Ok(found)
}

/// The JSON text of a list or struct.
fn json_text<'s>(value: Value<'s>, scratch: &'s mut String, what: &str) -> Result<&'s str, String> {
    match value.kind {
        Kind::Nested => Ok(value.text),
        Kind::Text | Kind::CsvEscaped => value.unescaped(scratch),
        _ => Err(value.is_not(what)),
    }
}

fn not_json(value: Value<'_>, error: Syntax) -> String {
    value.is_not(format_args!("JSON: {} at its byte {}", error.what, error.at + 1))
}
