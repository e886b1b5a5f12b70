//! The text of a test, read.

use std::ops::Range;
use std::sync::Arc;

use lockstep_model::{EventTime, FilledBy, Status, TimeMode};
use lockstep_store::Counters;
use lockstep_transform::definition::{Diagnostic, SourceFile, Span};
use serde_json::{Map, Value};

use super::line::{Piece, cells, words};
use crate::text::did_you_mean;

/// A test file, as it was written.
#[derive(Debug)]
pub struct TestFile {
    /// The file.
    pub file: Arc<SourceFile>,
    /// What it says, in order.
    pub steps: Vec<Step>,
}

/// One statement of a test.
#[derive(Debug)]
pub enum Step {
    /// Rows come in.
    Events(Events),
    /// What became of them is expected.
    Rows(RowsLine),
    /// Features are asked for.
    Ask(Ask),
}

/// Rows of a source.
#[derive(Debug)]
pub struct Events {
    /// The source.
    pub source: Piece,
    /// The columns that are given.
    pub columns: Vec<Piece>,
    /// A cell for each column.
    pub rows: Vec<Vec<Piece>>,
    /// What time it is when they come in.
    pub now: Option<EventTime>,
}

/// What is expected to have become of the rows of a source.
#[derive(Debug)]
pub struct RowsLine {
    /// The source.
    pub source: Piece,
    /// How many of each.
    pub counters: Counters,
    /// The bytes that say so.
    pub place: Range<usize>,
}

/// Features at a moment.
#[derive(Debug)]
pub struct Ask {
    /// The bytes of its first line.
    pub place: Range<usize>,
    /// The moment.
    pub at: EventTime,
    /// What the request gives.
    pub columns: Vec<(String, String)>,
    /// Which clock counts.
    pub time: Option<TimeMode>,
    /// What is expected.
    pub expected: Vec<Expected>,
}

/// One expected value.
#[derive(Debug)]
pub struct Expected {
    /// The feature.
    pub feature: Piece,
    /// Its value as text; `NULL` where it is absent.
    pub value: String,
    /// Its status.
    pub status: Status,
    /// What filled it.
    pub filled_by: FilledBy,
    /// The bytes of its line.
    pub place: Range<usize>,
}

impl Expected {
    /// The bytes of what follows its name.
    pub fn value_place(&self) -> Range<usize> {
        self.feature.place.end..self.place.end
    }
}

type Result<T> = std::result::Result<T, Diagnostic>;

const STATEMENTS: [&str; 5] = ["events", "rows", "at", "now", "time"];

impl TestFile {
    /// Reads a test.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn parse(file: SourceFile) -> Result<TestFile> {
        let mut reader = Reader { file: Arc::new(file), steps: Vec::new(), now: None, time: None, open: false };
        let file = Arc::clone(&reader.file);
        let mut start = 0;
        for line in file.text.split_inclusive('\n') {
            let text = line.trim_end();
            if !text.trim_start().is_empty() && !text.trim_start().starts_with("--") {
                reader.line(text, start)?;
            }
            start += line.len();
        }
        Ok(TestFile { file: reader.file, steps: reader.steps })
    }

    /// Something wrong at a place in it.
    pub fn error(&self, place: Range<usize>, title: impl Into<String>) -> Diagnostic {
        error(&self.file, place, title)
    }

    /// The number of the line that a byte is in, from 1.
    pub fn line_of(&self, byte: usize) -> usize {
        self.file.position(byte).line
    }
}

fn error(file: &Arc<SourceFile>, place: Range<usize>, title: impl Into<String>) -> Diagnostic {
    Diagnostic::new(file, Span { start: place.start, end: place.end }, title)
}

struct Reader {
    file: Arc<SourceFile>,
    steps: Vec<Step>,
    now: Option<EventTime>,
    time: Option<TimeMode>,
    /// Whether the last statement takes indented lines.
    open: bool,
}

impl Reader {
    fn error(&self, place: Range<usize>, title: impl Into<String>) -> Diagnostic {
        error(&self.file, place, title)
    }

    fn line(&mut self, line: &str, start: usize) -> Result<()> {
        if !line.starts_with([' ', '\t']) {
            return self.statement(line, start);
        }
        let indent = line.len() - line.trim_start().len();
        let (body, place) = (line.trim_start(), start + indent..start + line.len());
        match self.steps.last() {
            Some(Step::Events(_)) if self.open => self.row(body, place),
            Some(Step::Ask(_)) if self.open => self.expectation(body, place),
            _ => Err(self.error(place, "an indented line that belongs to no `events` and no `at`").help("write statements at the start of a line")),
        }
    }

    fn words(&self, line: &str, start: usize) -> Result<Vec<Piece>> {
        words(line, start).map_err(|quote| self.unclosed(quote))
    }

    fn unclosed(&self, quote: usize) -> Diagnostic {
        self.error(quote..quote + 1, "a quote that is not closed").help("a quote within quotes is written twice")
    }

    fn statement(&mut self, line: &str, start: usize) -> Result<()> {
        let words = self.words(line, start)?;
        let place = start..start + line.len();
        let Some((verb, rest)) = words.split_first() else { return Ok(()) };
        self.open = false;
        match (verb.text.as_str(), rest) {
            ("events", [source]) => {
                self.steps.push(Step::Events(Events { source: source.clone(), columns: Vec::new(), rows: Vec::new(), now: self.now }));
                self.open = true;
            }
            ("rows", [source, first, ..]) => {
                let place = first.place.start..place.end;
                let counters = self.counters(place.clone())?;
                self.steps.push(Step::Rows(RowsLine { source: source.clone(), counters, place }));
            }
            ("at", [moment, columns @ ..]) => {
                let at = self.moment(moment)?;
                let columns = columns.iter().map(|column| self.assignment(column)).collect::<Result<_>>()?;
                self.steps.push(Step::Ask(Ask { place, at, columns, time: self.time, expected: Vec::new() }));
                self.open = true;
            }
            ("now", [moment]) => self.now = Some(self.moment(moment)?),
            ("time", [clock]) => self.time = Some(self.clock(clock)?),
            _ => return Err(self.unknown(verb, place)),
        }
        Ok(())
    }

    fn unknown(&self, verb: &Piece, place: Range<usize>) -> Diagnostic {
        let form = match verb.text.as_str() {
            "events" => "events SOURCE",
            "rows" => "rows SOURCE 3 applied, 1 duplicates",
            "at" => "at 2024-03-03T12:00:00Z COLUMN=VALUE",
            "now" => "now 2024-03-03T12:00:00Z",
            "time" => "time known, or time event",
            other => {
                let diagnostic = self.error(verb.place.clone(), format!("a test has no statement `{other}`{}", did_you_mean(other, STATEMENTS)));
                return diagnostic.note(format!("statements: {}", STATEMENTS.join(", "))).help("indent rows and expectations");
            }
        };
        self.error(place, format!("`{}` is written in another way", verb.text)).help(format!("write {form}"))
    }

    fn moment(&self, word: &Piece) -> Result<EventTime> {
        EventTime::parse(&word.text)
            .map_err(|_| self.error(word.place.clone(), format!("`{}` is not a moment", word.text)).help("write 2013-03-01T12:00:00Z"))
    }

    fn clock(&self, word: &Piece) -> Result<TimeMode> {
        match word.text.as_str() {
            "known" => Ok(TimeMode::Known),
            "event" => Ok(TimeMode::Event),
            other => Err(self.error(word.place.clone(), format!("there is no clock `{other}`")).help("write time known, or time event")),
        }
    }

    fn assignment(&self, word: &Piece) -> Result<(String, String)> {
        let split = word.text.split_once('=');
        let split =
            split.ok_or_else(|| self.error(word.place.clone(), format!("`{}` is no column=value", word.text)).help("quote values with spaces"));
        split.map(|(column, value)| (column.to_owned(), value.to_owned()))
    }

    fn row(&mut self, body: &str, place: Range<usize>) -> Result<()> {
        let cells = cells(body, place.start).map_err(|quote| self.unclosed(quote))?;
        let Some(Step::Events(events)) = self.steps.last_mut() else { return Ok(()) };
        if events.columns.is_empty() {
            events.columns = cells;
            return Ok(());
        }
        if cells.len() != events.columns.len() {
            let title = format!("a row of {} cells below {} columns", cells.len(), events.columns.len());
            return Err(self.error(place, title).help("leave a cell empty for NULL, and quote commas"));
        }
        events.rows.push(cells);
        Ok(())
    }

    fn expectation(&mut self, body: &str, place: Range<usize>) -> Result<()> {
        let words = self.words(body, place.start)?;
        let [feature, first, ..] = words.as_slice() else {
            return Err(self
                .error(place, "a feature without a value")
                .help("write NULL where it is absent, or let `lockstep test --bless` write it"));
        };
        let mut rest = body[first.place.start - place.start..].trim();
        let filled_by = if let Some(before) = before_word(rest, "default") {
            rest = before;
            FilledBy::Default
        } else {
            FilledBy::None
        };
        let statuses = [Status::NotFound, Status::Expired, Status::Error, Status::Null, Status::Present];
        let said = statuses.into_iter().find_map(|status| Some((before_word(rest, &status.to_string())?, status)));
        let (value, status) = match said {
            Some(("", status)) => ("NULL", status),
            Some((value, status)) => (value, status),
            None => (rest, Status::Present),
        };
        let expected = Expected { feature: feature.clone(), value: value.to_owned(), status, filled_by, place };
        if let Some(Step::Ask(ask)) = self.steps.last_mut() {
            if ask.expected.iter().any(|earlier| earlier.feature.text == expected.feature.text) {
                return Err(self.error(expected.feature.place, "a feature that is expected twice").help("remove one of the lines"));
            }
            ask.expected.push(expected);
        }
        Ok(())
    }

    fn counters(&self, place: Range<usize>) -> Result<Counters> {
        let mut counts = Map::new();
        let known = counter_names();
        for piece in cells(&self.file.text[place.clone()], place.start).map_err(|quote| self.unclosed(quote))? {
            let count = piece.text.split_once(' ').and_then(|(count, name)| Some((count.parse::<u64>().ok()?, name.trim())));
            let Some((count, name)) = count.filter(|(_, name)| known.iter().any(|known| known == name)) else {
                let title = format!("`{}` is no count of rows", piece.text);
                return Err(self.error(piece.place, title).note(format!("counts: {}", known.join(", "))).help("write 3 applied, 1 duplicates"));
            };
            counts.insert(name.to_owned(), Value::from(count));
        }
        serde_json::from_value(Value::Object(counts)).map_err(|wrong| self.error(place, wrong.to_string()))
    }
}

/// What comes before the last word of a text, where that is `word`.
fn before_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let before = text.strip_suffix(word)?;
    (before.is_empty() || before.ends_with(char::is_whitespace)).then(|| before.trim_end())
}

fn counts_of(counters: &Counters) -> Map<String, Value> {
    match serde_json::to_value(counters) {
        Ok(Value::Object(counts)) => counts,
        _ => Map::new(),
    }
}

/// The names of all counts.
fn counter_names() -> Vec<String> {
    counts_of(&Counters::default()).into_iter().map(|(name, _)| name).collect()
}

/// Counters as a test writes them: `2 applied, 1 duplicates`.
pub fn counters_text(counters: &Counters) -> String {
    let counts = counts_of(counters).into_iter().filter(|(_, count)| count.as_u64() != Some(0));
    let texts: Vec<String> = counts.map(|(name, count)| format!("{count} {name}")).collect();
    if texts.is_empty() { "0 applied".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TestFile> {
        TestFile::parse(SourceFile::new("x.test", text))
    }

    #[test]
    fn a_test_is_read_in_order_with_its_places() {
        let text = "-- about\nnow 2024-01-02\nevents sales\n  id, shop\n  -- a comment\n  1, \"a, b\"\n\nrows sales 1 applied, 2 duplicates\ntime event\n\
                    at 2024-01-01T00:00:00Z shop=\"a, b\"\n  n  1\n  s  \"x NULL\" PRESENT\n  e  EXPIRED\n  z  0 NOT_FOUND\n  d  0.0 NULL default\n";
        let test = parse(text).unwrap();
        let [Step::Events(events), Step::Rows(rows), Step::Ask(ask)] = test.steps.as_slice() else { panic!("{:?}", test.steps) };
        assert_eq!((events.rows.len(), events.rows[0][1].text.as_str(), events.now), (1, "a, b", EventTime::parse("2024-01-02").ok()));
        assert_eq!((rows.counters.applied, rows.counters.duplicates, &text[rows.place.clone()]), (1, 2, "1 applied, 2 duplicates"));
        assert_eq!(counters_text(&rows.counters), "1 applied, 2 duplicates");
        assert_eq!((ask.columns.as_slice(), ask.time), ([("shop".to_owned(), "a, b".to_owned())].as_slice(), Some(TimeMode::Event)));
        let read: Vec<_> = ask.expected.iter().map(|e| (e.feature.text.as_str(), e.value.as_str(), e.status, e.filled_by)).collect();
        let none = FilledBy::None;
        let wanted = [
            ("n", "1", Status::Present, none),
            ("s", "\"x NULL\"", Status::Present, none),
            ("e", "NULL", Status::Expired, none),
            ("z", "0", Status::NotFound, none),
            ("d", "0.0", Status::Null, FilledBy::Default),
        ];
        assert_eq!(read, wanted);
        assert_eq!(test.line_of(ask.place.start), 10);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, wanted) in [
            ("evnts x\n", "x.test:1:1: a test has no statement `evnts` · did you mean `events`?"),
            ("events x y\n", "x.test:1:1: `events` is written in another way"),
            ("  1, 2\n", "x.test:1:3: an indented line that belongs to no `events` and no `at`"),
            ("events x\n  a, b\n  1\n", "x.test:3:3: a row of 1 cells below 2 columns"),
            ("events x\n  a\n  \"1\n", "x.test:3:3: a quote that is not closed"),
            ("at noon\n", "x.test:1:4: `noon` is not a moment"),
            ("at 2024-01-01 shop\n", "x.test:1:15: `shop` is no column=value"),
            ("at 2024-01-01\n  n\n", "x.test:2:3: a feature without a value"),
            ("at 2024-01-01\n  n 1\n  n 1\n", "x.test:3:3: a feature that is expected twice"),
            ("rows x 1 aplied\n", "x.test:1:8: `1 aplied` is no count of rows"),
            ("time wall\n", "x.test:1:6: there is no clock `wall`"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn no_text_is_too_broken_to_be_told_so() {
        const PIECES: [&str; 16] =
            ["\"", ",", " ", "\n", "\n  ", "\t", "=", "--", "\u{a0}", "é", "at ", "rows ", "events ", "NULL", "2024-01-01", "\r\n"];
        let whole = include_str!("../../template/card_activity.test");
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..3_000 {
            let mut chars: Vec<char> = whole.chars().collect();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..chars.len());
                let end = (at + rng.usize(..20)).min(chars.len());
                let piece = PIECES[rng.usize(..PIECES.len())];
                chars.splice(at..end, piece.chars());
            }
            let text: String = chars.into_iter().collect();
            match parse(&text) {
                Ok(_) => good += 1,
                Err(wrong) => {
                    assert!(wrong.span.end <= text.len() && !wrong.render(lockstep_transform::definition::Style::Plain).is_empty(), "seed {seed}");
                    bad += 1;
                }
            }
        }
        assert!(good > 100 && bad > 100, "seed {seed}: {good} and {bad}");
    }
}
