//! Reading NDJSON and CSV: a block of text at a time, all wanted sources of it at once.

mod gather;
mod header;
mod records;
mod slots;
mod syntax;

use std::sync::Arc;

use lockstep_model::{Error, FilePosition};

use super::block::Blocks;
use super::column::Value;
use super::error::SourceError;
use super::input;
use super::json::Member;
use super::locate::SourceFile;
use super::resume::{Change, Passed};
use super::route::{Route, Router};
use super::rows::{Cell, Kind};
use super::{Chunk, Dialect, Format, Progress, ReadRequest, SOURCE_MEMBER, position_of};
use gather::Gather;
use header::Header;
pub use records::JsonRecords;
use syntax::{Next, Place, Syntax};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// How much is kept of a record that is too long.
const LONG_RECORD_KEPT_BYTES: usize = 64 << 10;

/// A text file being read.
#[derive(Debug)]
pub(super) struct TextReader {
    file: String,
    batch_rows: usize,
    size: Option<u64>,
    etag: Option<String>,
    blocks: Blocks,
    passed: Passed,
    syntax: Syntax,
    /// Where CSV fields belong.
    header: Option<Header>,
    router: Router,
    sources: Vec<Gather>,
    /// Rows passed.
    rows: u64,
    /// Whether all positions said already that the file ends where it does.
    end_known: bool,
    done: bool,
}

/// Why gathering stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Full,
    NoMore,
    LongRecord,
}

impl TextReader {
    pub(super) fn open(file: &SourceFile, request: ReadRequest) -> Result<Self, Error> {
        let router = Router::new(&request);
        let opened = input::open(file)?;
        let changed = |change: Change| change.in_file(file.name());
        let passed = Passed::new(&request.sources, opened.size).map_err(changed)?;
        let end_known = request.sources.iter().all(|wanted| wanted.resume.as_ref().is_some_and(|position| position.complete));
        let mut reader = TextReader {
            file: file.name().to_owned(),
            batch_rows: request.batch_rows,
            size: opened.size,
            etag: opened.etag,
            blocks: Blocks::new(file.name(), opened.read, opened.size),
            passed,
            syntax: Syntax::Ndjson { members: Vec::new() },
            header: None,
            router,
            sources: request.sources.into_iter().map(|wanted| Gather::new(file.name(), wanted)).collect::<Result<_, _>>()?,
            rows: 0,
            end_known,
            done: false,
        };
        reader.start(request.format, request.csv)?;
        Ok(reader)
    }

    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        if self.done {
            return Ok(None);
        }
        let chunk = self.chunk();
        if !matches!(chunk, Ok(Some(_))) {
            self.done = true;
        }
        chunk
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { bytes_done: self.passed.bytes(), bytes_total: self.size, rows_done: self.rows, rows_total: None }
    }

    /// Passes the byte order mark, the header, and what every source has read already.
    fn start(&mut self, format: Format, dialect: Dialect) -> Result<(), SourceError> {
        while self.blocks.left() < BYTE_ORDER_MARK.len() && !self.blocks.eof() {
            self.blocks.more()?;
        }
        if self.blocks.bytes(0..BYTE_ORDER_MARK.len()) == BYTE_ORDER_MARK {
            self.pass(BYTE_ORDER_MARK.len())?;
        }
        if format == Format::Csv {
            let (header, next) = Header::read(&self.file, &mut self.blocks, &self.sources, &dialect)?;
            self.syntax = Syntax::Csv { fields: Vec::new(), width: header.width(), dialect };
            self.header = Some(header);
            self.pass(next)?;
        }
        let least = self.sources.iter().map(Gather::resume).collect::<Option<Vec<_>>>();
        let Some((rows, bytes)) = least.and_then(|all| all.iter().map(|position| (position.rows, position.bytes)).min()) else { return Ok(()) };
        self.skip_to(bytes)?;
        self.rows = rows;
        self.end_open_line()
    }

    /// Passes all that is before byte `target` of the file.
    fn skip_to(&mut self, target: u64) -> Result<(), SourceError> {
        while self.passed.bytes() < target && self.some_left()? {
            let missing = usize::try_from(target - self.passed.bytes()).unwrap_or(usize::MAX);
            self.pass(missing.min(self.blocks.left()))?;
        }
        if self.passed.bytes() < target { self.passed.end().map_err(|change| self.changed(change)) } else { Ok(()) }
    }

    /// Passes the line end that was missing when the line was read.
    fn end_open_line(&mut self) -> Result<(), SourceError> {
        while !self.passed.at_line_start() && self.some_left()? {
            self.pass(1)?;
        }
        Ok(())
    }

    /// Reads on where nothing is left; whether there is anything now.
    fn some_left(&mut self) -> Result<bool, SourceError> {
        while self.blocks.left() == 0 && !self.blocks.eof() {
            self.blocks.more()?;
        }
        Ok(self.blocks.left() > 0)
    }

    fn pass(&mut self, count: usize) -> Result<(), SourceError> {
        let at = self.blocks.at();
        let passed = self.passed.pass(self.blocks.bytes(at..at + count));
        self.blocks.pass(count);
        passed.map_err(|change| self.changed(change))
    }

    fn changed(&self, change: Change) -> SourceError {
        change.in_file(&self.file)
    }

    fn chunk(&mut self) -> Result<Option<Chunk>, Error> {
        let (rows, bytes) = (self.rows, self.passed.bytes());
        // A chunk is of one block, since cells point into it.
        loop {
            match self.gather()? {
                Stop::NoMore if self.rows == rows && !self.blocks.eof() => self.blocks.more()?,
                Stop::LongRecord if self.rows == rows => break self.pass_long_record()?,
                _ => break,
            }
        }
        let complete = self.blocks.eof() && self.blocks.left() == 0;
        if complete {
            self.passed.end().map_err(|change| self.changed(change))?;
            self.done = true;
        }
        let (rows_read, bytes_read) = (self.rows - rows, self.passed.bytes() - bytes);
        if bytes_read == 0 && (!complete || self.end_known) {
            return Ok(None);
        }
        let position = self.position(complete);
        let text = Arc::clone(self.blocks.text());
        let finish = |source: &mut Gather| source.finish(&text, position_of(source.resume(), &position));
        let batches = self.sources.iter_mut().map(finish).collect::<Result<_, _>>()?;
        Ok(Some(Chunk { batches, rows_read, bytes_read }))
    }

    fn position(&self, complete: bool) -> FilePosition {
        FilePosition {
            rows: self.rows,
            bytes: self.passed.bytes(),
            size: self.size,
            etag: self.etag.clone(),
            hash: self.passed.hash(),
            event_time_max: None,
            begun_at: None,
            order: 0,
            complete,
        }
    }

    /// Passes records of the block, as many as a chunk may have, and gathers those that are wanted.
    fn gather(&mut self) -> Result<Stop, SourceError> {
        let text = Arc::clone(self.blocks.text());
        let (start, eof) = (self.blocks.at(), self.blocks.eof());
        let (mut at, mut rows) = (start, 0);
        let stop = loop {
            if rows == self.batch_rows {
                break Stop::Full;
            }
            if at == text.len() {
                break Stop::NoMore;
            }
            match self.syntax.next(&text, at, eof) {
                Next::Row(place) => {
                    self.take(&text, place, self.rows + rows as u64);
                    (at, rows) = (place.next, rows + 1);
                }
                Next::Bad(place, reason) => {
                    self.put_aside(place, self.rows + rows as u64, reason);
                    (at, rows) = (place.next, rows + 1);
                }
                Next::Blank { next, counts } => (at, rows) = (next, rows + usize::from(counts)),
                Next::More => break Stop::NoMore,
                Next::TooLong => break Stop::LongRecord,
            }
        };
        self.pass(at - start)?;
        self.rows += rows as u64;
        Ok(stop)
    }

    /// Gathers the row whose cells have been found.
    fn take(&mut self, text: &str, place: Place, row: u64) {
        if !self.blocks.is_utf8(place.start..place.end) {
            return self.put_aside(place, row, "its bytes are not UTF-8".to_owned());
        }
        let span = (place.start, place.end);
        match (self.route(text), &self.syntax, &self.header) {
            (Ok(Route::Elsewhere), ..) => {}
            (Ok(Route::To(source)), _, _) if !self.sources[source].wants(row) => {}
            (Ok(Route::To(source)), Syntax::Ndjson { members }, _) => self.sources[source].push_object(text, members, row, span, &[]),
            (Ok(Route::To(source)), Syntax::Csv { fields, .. }, Some(header)) => {
                self.sources[source].push_fields(fields, header.slots(source), row, span);
            }
            (Ok(Route::To(_)), Syntax::Csv { .. }, None) => {}
            (Err(reason), ..) => self.put_aside(place, row, reason),
        }
    }

    fn route(&self, text: &str) -> Result<Route, String> {
        match &self.syntax {
            Syntax::Ndjson { members } => route(&self.router, text, members),
            Syntax::Csv { fields, .. } => {
                let named = self.header.as_ref().and_then(|header| fields.get(header.source_field()?).copied());
                route_to(&self.router, text, named)
            }
        }
    }

    /// Keeps a row that no source can be told of, or that cannot be read: with the first source, since some partition must have it.
    fn put_aside(&mut self, place: Place, row: u64, reason: String) {
        let bytes = self.blocks.bytes(place.start..place.end);
        let reason = if self.blocks.is_utf8(place.start..place.end) { reason } else { "its bytes are not UTF-8".to_owned() };
        if let Some(first) = self.sources.first_mut().filter(|source| source.wants(row)) {
            first.push_bad(row, reason, bytes);
        }
    }

    /// Passes a record beyond the longest that is read, to the end of its first line.
    fn pass_long_record(&mut self) -> Result<(), SourceError> {
        let at = self.blocks.at();
        let kept = self.blocks.bytes(at..at + LONG_RECORD_KEPT_BYTES).to_vec();
        while self.some_left()? {
            let at = self.blocks.at();
            let rest = self.blocks.bytes(at..at + self.blocks.left());
            match memchr::memchr(b'\n', rest) {
                Some(end) => {
                    self.pass(end + 1)?;
                    break;
                }
                None => self.pass(self.blocks.left())?,
            }
        }
        let reason = format!("longer than {} MiB, the longest a row may be", super::RECORD_BYTES_MAX >> 20);
        if let Some(first) = self.sources.first_mut().filter(|source| source.wants(self.rows)) {
            first.push_bad(self.rows, reason, &kept);
        }
        self.rows += 1;
        Ok(())
    }
}

/// Where an object goes.
fn route(router: &Router, text: &str, members: &[Member]) -> Result<Route, String> {
    route_to(router, text, named_source(text, members)?)
}

fn route_to(router: &Router, text: &str, named: Option<Cell>) -> Result<Route, String> {
    let Some(cell) = named.filter(|cell| cell.kind() != Kind::Null) else { return router.route(None) };
    let mut scratch = String::new();
    let name = Value::of(cell, text).unescaped(&mut scratch).map_err(|reason| format!("member `{SOURCE_MEMBER}`: {reason}"))?;
    router.route(Some(name))
}

/// The value of the member that names the source.
fn named_source(text: &str, members: &[Member]) -> Result<Option<Cell>, String> {
    let mut found = None;
    for member in members {
        if member.key.of(text) != SOURCE_MEMBER {
            continue;
        }
        if found.replace(member.value).is_some() {
            return Err(format!("member `{SOURCE_MEMBER}` occurs twice"));
        }
    }
    Ok(found)
}
