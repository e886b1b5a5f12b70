//! What a window of theirs is here: which events it sees, at which moment it is read, and over which frame.
//!
//! Their rows are in milliseconds, ours in microseconds. A row that comes at T is an event a little after T, so that rows of one moment
//! keep their order, and a row is read at its own event: what comes later in the same moment is not seen, as it is with them. Frames
//! are as much longer as these differences are. A row that is not itself among the events, since its table or its moment is left out,
//! is the next event of a source that has none, by `REQUEST AS`.

use super::query::{Edge, Frame, Reason, Window, reason};

/// Most rows of a case's tables: so many µs fit into half of a millisecond, with room between.
pub const ROWS_MAX: usize = 249;
/// Where rows of the table that is asked about come among those of one moment: after those of other tables.
pub const OWN_ROWS: i64 = 250;
/// How far the events of one moment are apart, µs.
const APART: i64 = 499;
/// How much later events come that are not to be seen at their own moment, µs.
pub const LATE: i64 = 500;

/// When and how a row is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The column that has the row's time, once it is known; without one, everything there is is seen.
    pub time: Option<String>,
    /// Whether it is the moment of the row's own event, or the millisecond's beginning.
    pub own: bool,
    /// How much later than that, µs.
    pub later: i64,
    /// Whether the row is the next event.
    pub next: bool,
}

impl Reading {
    /// At the end of all rows.
    pub fn at_the_end() -> Reading {
        Reading { time: None, own: false, later: 0, next: false }
    }
}

/// Events, a moment, and frames.
#[derive(Debug)]
pub struct Read {
    pub reading: Reading,
    /// Whether the table's own rows are events.
    pub table: bool,
    /// Whether events come late.
    pub late: bool,
    /// The frame itself.
    pub frame: String,
    /// Where at most so many rows count, the frame of just those.
    pub newest: Option<(i64, String)>,
    /// The same frame up to the moment, for values that are counted back from the row; with that row's place in it.
    pub up_to_now: String,
    pub place: Option<i64>,
}

/// Reads a window.
pub fn read(window: &Window) -> Result<Read, Reason> {
    let Some(frame) = window.frame else {
        // The compiler is to say what it thinks of that.
        let reading = Reading { time: None, own: true, later: 0, next: false };
        return Ok(Read { reading, table: true, late: false, frame: String::new(), newest: None, up_to_now: String::new(), place: Some(0) });
    };
    if window.size_max.is_some_and(|most| frame.rows || most < 1) {
        return reason("MAXSIZE where they refuse it too, and there is nothing like it here");
    }
    if [frame.start, frame.end].iter().any(|edge| edge.0.is_some_and(|back| back < 0)) {
        return reason("a frame that ends after the row");
    }
    let to_now = frame.end == Edge(Some(0));
    let late = window.without_time && (to_now || frame.rows);
    let table = !window.without_table;
    // Does the row itself count, and is it among the events that are seen?
    let counts = to_now && !window.without_row;
    let next = counts && (late || !table);
    let among = next || (table && !late && (counts || !to_now));
    let later = match () {
        () if late => 0,
        () if !table => APART,
        // The row's own event is not to be seen.
        () if !among => -1,
        () => 0,
    };
    let reading = Reading { time: None, own: table && !late, later, next };
    let place = i64::from(!among);
    let read = Read { reading, table, late, frame: String::new(), newest: None, up_to_now: String::new(), place: Some(place) };
    if frame.rows { of_rows(frame, place, read) } else { Ok(of_time(frame, window.size_max, read)) }
}

fn of_rows(frame: Frame, place: i64, read: Read) -> Result<Read, Reason> {
    if frame.start.0.is_some_and(|start| start < place) {
        return reason("a frame without rows");
    }
    let back = |edge: Edge| edge.0.map(|rows| (rows - place).max(0));
    let start = back(frame.start);
    Ok(Read { frame: rows_frame(start, back(frame.end)), up_to_now: rows_frame(start, Some(0)), ..read })
}

fn of_time(frame: Frame, size_max: Option<i64>, read: Read) -> Read {
    let slack = if read.late { 0 } else { APART };
    let start = frame.start.0.map(|start| start * 1000 + slack);
    let end = frame.end.0.filter(|end| *end != 0).map(|end| end * 1000 - slack);
    let newest = size_max.map(|most| (most, rows_frame(Some(most - 1), Some(0))));
    match (&newest, end) {
        // Only the newest events of a moment can be counted: it is read at the frame's end, and nothing is counted back from the row.
        (Some(_), Some(end)) => {
            let frame = range_frame(start.map(|start| start - end - slack), None);
            let reading = Reading { own: false, later: -end, ..read.reading };
            Read { reading, up_to_now: frame.clone(), frame, newest, place: None, ..read }
        }
        _ => Read { frame: range_frame(start, end), up_to_now: range_frame(start, None), newest, ..read },
    }
}

fn rows_frame(start: Option<i64>, end: Option<i64>) -> String {
    let edge = |back: Option<i64>| match back {
        None => "UNBOUNDED PRECEDING".to_owned(),
        Some(0) => "CURRENT ROW".to_owned(),
        Some(back) => format!("{back} PRECEDING"),
    };
    format!("ROWS BETWEEN {} AND {}", edge(start), edge(end))
}

fn range_frame(start: Option<i64>, end: Option<i64>) -> String {
    let edge = |back: i64| format!("INTERVAL '{back} microseconds' PRECEDING");
    let start = start.map_or("UNBOUNDED PRECEDING".to_owned(), edge);
    format!("RANGE BETWEEN {start} AND {}", end.map_or("CURRENT ROW".to_owned(), edge))
}

/// The frame of one row, `back` rows from the newest.
pub fn one_row(back: i64) -> String {
    rows_frame(Some(back), Some(back))
}
