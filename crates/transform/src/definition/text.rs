//! Definition files and places in them.

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Ident, Spanned};
use datafusion::sql::sqlparser::tokenizer::{Location, Span as SqlSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Diagnostic;

/// A definition file as it was read: its name as the user knows it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What messages call it, such as `feature_defs/airport_load.sql`.
    pub name: String,
    /// Its SQL.
    pub text: String,
}

impl SourceFile {
    /// A file of `name` holding `text`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        SourceFile { name: name.into(), text: text.into() }
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn position(&self, byte: usize) -> Position {
        let before = &self.text[..self.floor(byte)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// The text a span covers.
    pub fn slice(&self, span: Span) -> &str {
        &self.text[self.floor(span.start)..self.floor(span.end).max(self.floor(span.start))]
    }

    /// The bytes a parser's span covers; nothing where the parser did not know.
    pub fn span(&self, span: SqlSpan) -> Option<Span> {
        (span.start.line > 0).then(|| Span { start: self.byte(span.start), end: self.byte(span.end).max(self.byte(span.start)) })
    }

    /// The byte at a parser's location, within the text.
    pub(super) fn byte(&self, location: Location) -> usize {
        let lines_before = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let columns_before = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let line_start = match lines_before {
            0 => 0,
            n => self.text.match_indices('\n').nth(n - 1).map_or(self.text.len(), |(at, _)| at + 1),
        };
        let line = &self.text[line_start..];
        line_start + line.char_indices().nth(columns_before).map_or(line.len(), |(at, _)| at)
    }

    /// The nearest start of a character at or before `byte`.
    fn floor(&self, byte: usize) -> usize {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    }
}

/// Line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// Bytes of a file: the first, and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// From the start of one to the end of the other.
    pub fn to(self, last: Span) -> Span {
        Span { start: self.start.min(last.start), end: self.end.max(last.end) }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start..span.end
    }
}

/// Where something is written: a file, and the bytes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: Arc<SourceFile>,
    /// The bytes.
    pub span: Span,
}

impl Origin {
    /// Another place in the same file.
    pub fn at(&self, span: Span) -> Origin {
        Origin { file: Arc::clone(&self.file), span }
    }

    /// The place of a node of the parsed SQL; this place where the parser did not know.
    pub fn of(&self, node: &impl Spanned) -> Origin {
        self.at(self.file.span(node.span()).unwrap_or(self.span))
    }

    /// The place of a name.
    pub(super) fn of_ident(&self, ident: &Ident) -> Origin {
        self.at(self.file.span(ident.span).unwrap_or(self.span))
    }

    /// Something wrong here. `title` says what, in lower case and without a full stop.
    pub fn error(&self, title: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.file, self.span, title)
    }

    /// `file:line:column`, as compilers write it.
    pub fn display(&self) -> String {
        let Position { line, column } = self.file.position(self.span.start);
        format!("{}:{line}:{column}", self.file.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_and_sliced_in_bytes() {
        let file = SourceFile::new("x.sql", "SELECT 'é',\n       größe\n");
        let span = file.span(SqlSpan { start: Location::new(2, 8), end: Location::new(2, 13) }).unwrap();
        assert_eq!(file.slice(span), "größe");
        assert_eq!(file.position(span.start), Position { line: 2, column: 8 });
        assert_eq!(file.position(span.end), Position { line: 2, column: 13 });
        assert_eq!(file.span(SqlSpan::empty()), None);
    }

    #[test]
    fn places_outside_the_text_stay_inside_it() {
        let file = SourceFile::new("x.sql", "aé");
        assert_eq!(file.slice(Span { start: 2, end: 99 }), "é");
        assert_eq!(file.slice(Span { start: 3, end: 1 }), "");
        assert_eq!(file.byte(Location::new(9, 9)), 3);
        assert_eq!(file.byte(Location::new(1, 9)), 3);
    }
}
