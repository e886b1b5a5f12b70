//! Rows of text before their values are parsed: where each value stands.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Schema, TimestampMicrosecondType};

use super::TOMBSTONE_MEMBER;

/// What kind of text stands for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: the member or field is missing.
    Absent,
    /// NULL.
    Null,
    /// A JSON number, `true` or `false`.
    Bare,
    /// Text as it stands: the inside of a JSON string, or a CSV field.
    Text,
    /// The inside of a JSON string with escapes.
    JsonEscaped,
    /// The inside of a CSV field with doubled quotes.
    CsvEscaped,
    /// A JSON array or object.
    Nested,
}

/// A value's place in a block of text. Blocks are far below 4 GiB, so that 32 bits do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    start: u32,
    end: u32,
    kind: Kind,
}

impl Cell {
    pub(super) const ABSENT: Cell = Cell { start: 0, end: 0, kind: Kind::Absent };

    #[inline(always)]
    pub(super) fn new(kind: Kind, start: usize, end: usize) -> Self {
        Cell { start: start as u32, end: end as u32, kind }
    }

    #[inline(always)]
    pub(super) fn kind(self) -> Kind {
        self.kind
    }

    /// The text of it within the text it was found in.
    #[inline(always)]
    pub(super) fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

/// Rows of one source, gathered from a block of text.
#[derive(Debug)]
pub(super) struct Rows {
    width: usize,
    cells: Vec<Cell>,
    numbers: Vec<u64>,
    spans: Vec<(u32, u32)>,
}

impl Rows {
    /// Rows of `width` cells.
    pub(super) fn new(width: usize) -> Self {
        Rows { width, cells: Vec::new(), numbers: Vec::new(), spans: Vec::new() }
    }

    /// Adds a row of absent cells, to be filled in; `span` is where it stands in the block.
    pub(super) fn push(&mut self, number: u64, span: (usize, usize)) -> &mut [Cell] {
        let from = self.cells.len();
        self.cells.resize(from + self.width, Cell::ABSENT);
        self.numbers.push(number);
        self.spans.push((span.0 as u32, span.1 as u32));
        &mut self.cells[from..]
    }

    /// Takes back the last row.
    pub(super) fn pop(&mut self) {
        self.cells.truncate(self.cells.len().saturating_sub(self.width));
        self.numbers.pop();
        self.spans.pop();
    }

    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    pub(super) fn spans(&self) -> &[(u32, u32)] {
        &self.spans
    }

    /// The cells of one column.
    #[inline(always)]
    pub(super) fn column(&self, index: usize) -> impl Iterator<Item = Cell> + '_ {
        self.cells.iter().skip(index).step_by(self.width).copied()
    }

    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.numbers.clear();
        self.spans.clear();
    }
}

/// The rows of a batch as they stood in their file.
#[derive(Debug, Clone)]
pub struct OriginalRows(Original);

#[derive(Debug, Clone)]
enum Original {
    /// The block of text, and where each row of the batch stands in it.
    Text { block: Arc<String>, spans: Vec<(u32, u32)> },
    /// The rows have no text: they are shown as JSON. Which of them delete their keys.
    Columns(Option<BooleanArray>),
}

impl OriginalRows {
    pub(super) fn text(block: Arc<String>, spans: Vec<(u32, u32)>) -> Self {
        OriginalRows(Original::Text { block, spans })
    }

    /// Rows that have no text: they are shown as JSON. `deletes` says which of them delete their keys.
    pub fn columns(deletes: Option<BooleanArray>) -> Self {
        OriginalRows(Original::Columns(deletes))
    }

    /// The bytes of row `row` of `batch`, the batch these rows came with. Empty where there is no such row.
    pub fn bytes(&self, batch: &RecordBatch, row: usize) -> Vec<u8> {
        match &self.0 {
            Original::Text { block, spans } => {
                let span = spans.get(row).and_then(|&(start, end)| block.as_bytes().get(start as usize..end as usize));
                span.unwrap_or_default().to_vec()
            }
            Original::Columns(deletes) if row < batch.num_rows() => {
                let json = as_json(&in_utc(&batch.slice(row, 1)));
                let is_tombstone = deletes.as_ref().is_some_and(|deletes| row < deletes.len() && deletes.is_valid(row) && deletes.value(row));
                if is_tombstone { as_tombstone(json) } else { json }
            }
            Original::Columns(_) => Vec::new(),
        }
    }
}

/// A row whose moments say that they are in UTC, as those of a source's columns are, whatever its zone.
fn in_utc(row: &RecordBatch) -> RecordBatch {
    let column = |column: &ArrayRef| match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(moments) => Arc::new(moments.clone().with_timezone_utc()),
        None => Arc::clone(column),
    };
    let columns: Vec<ArrayRef> = row.columns().iter().map(column).collect();
    let fields =
        row.schema_ref().fields().iter().zip(&columns).map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).unwrap_or_else(|_| row.clone())
}

/// A row as JSON, as one that deletes its key.
fn as_tombstone(mut json: Vec<u8>) -> Vec<u8> {
    if json.pop_if(|last| *last == b'}').is_some() {
        let comma = if json.len() > 1 { "," } else { "" };
        json.extend_from_slice(format!("{comma}\"{TOMBSTONE_MEMBER}\":true}}").as_bytes());
    }
    json
}

/// A batch of one row as a JSON object. What JSON cannot show is left out.
pub(super) fn as_json(row: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    if writer.write(row).is_err() || writer.finish().is_err() {
        return Vec::new();
    }
    let mut bytes = writer.into_inner();
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    bytes
}
