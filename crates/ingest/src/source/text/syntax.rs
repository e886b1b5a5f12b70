//! From text to records: where the next one ends, and its cells.

use super::super::RECORD_BYTES_MAX;
use super::super::csv::{self, Dialect, Record};
use super::super::json::{self, Member};
use super::super::rows::Cell;

/// What stands at a place in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A row, whose cells have been found.
    Row(Place),
    /// A row that cannot be read, and why.
    Bad(Place, String),
    /// A line without a row. `counts` says whether it has a number all the same.
    Blank { next: usize, counts: bool },
    /// The record is not whole: there must be more text.
    More,
    /// A record beyond [`RECORD_BYTES_MAX`].
    TooLong,
}

/// Where a record stands in the text, its line end left out, and where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) next: usize,
}

impl Place {
    fn new(bytes: &[u8], start: usize, next: usize) -> Self {
        let whole = bytes.get(start..next).unwrap_or_default();
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Place { start, end: start + line.len(), next }
    }
}

/// How records are written, and the cells of the last one found.
#[derive(Debug)]
pub(super) enum Syntax {
    /// An object a line.
    Ndjson { members: Vec<Member> },
    /// Fields, as many as the header has.
    Csv { fields: Vec<Cell>, width: usize, dialect: Dialect },
}

impl Syntax {
    /// What stands at `from`, and the cells of it. `eof` says that the text ends for good.
    ///
    /// Looks no further than a record may reach, so that the outcome does not depend on how much has been read.
    pub(super) fn next(&mut self, text: &str, from: usize, eof: bool) -> Next {
        let bytes = text.as_bytes();
        let reach = from.saturating_add(RECORD_BYTES_MAX).min(bytes.len());
        let window = bytes.get(..reach).unwrap_or(bytes);
        let eof = eof && reach == bytes.len();
        let next = match self {
            Syntax::Ndjson { members } => line(text, window, from, eof, members),
            Syntax::Csv { fields, width, dialect } => record(window, from, eof, dialect, fields, *width),
        };
        if next == Next::More && reach - from == RECORD_BYTES_MAX { Next::TooLong } else { next }
    }
}

fn line(text: &str, window: &[u8], from: usize, eof: bool, members: &mut Vec<Member>) -> Next {
    let next = csv::line_after(window, from);
    if next == window.len() && !eof && window.last() != Some(&b'\n') {
        return Next::More;
    }
    let place = Place::new(window, from, next);
    let line = window.get(from..place.end).unwrap_or_default();
    if line.iter().all(u8::is_ascii_whitespace) {
        return Next::Blank { next, counts: true };
    }
    match json::members(text, from, place.end, members) {
        Ok(()) => Next::Row(place),
        Err(error) => Next::Bad(place, format!("not a JSON object: {} at byte {} of the line", error.what, error.at - from + 1)),
    }
}

fn record(window: &[u8], from: usize, eof: bool, dialect: &Dialect, fields: &mut Vec<Cell>, width: usize) -> Next {
    match csv::record(window, from, eof, dialect, fields) {
        Record::Fields { next } => {
            let place = Place::new(window, from, next);
            let found = fields.len();
            if found == width { Next::Row(place) } else { Next::Bad(place, format!("it has {found} fields and the header has {width}")) }
        }
        Record::Bad { reason, next } => Next::Bad(Place::new(window, from, next), reason.to_owned()),
        Record::Empty { next } => Next::Blank { next, counts: false },
        Record::Incomplete => Next::More,
    }
}
