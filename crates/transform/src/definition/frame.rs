//! Window frames: which there are, and what is wrong with the others.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{Expr, Value, WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::Diagnostic;
use super::Interval;
use super::interval::IntervalError;
use super::lex::Statement;
use super::text::{Origin, Span};

/// The most events a `ROWS` frame may count. They are read one by one at each lookup.
pub const ROWS_MAX: u64 = 10_000;

/// A frame as far as other checks need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Whether the number of events in it has a bound.
    pub(super) bounded: bool,
}

/// `EXCLUDE`, which the parser stops at.
pub(super) fn exclude(at: &Origin) -> Diagnostic {
    at.error("a frame cannot exclude events")
        .note("a value is of a moment, and no event is the current one")
        .help("end the frame before the moment: RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND INTERVAL '1 microsecond' PRECEDING")
}

/// Checks a window's frame, whose window is written at `tokens`, parentheses included.
pub(super) struct FrameCheck<'a> {
    pub(super) statement: &'a Statement,
    pub(super) tokens: Range<usize>,
    /// The grid of the view, if it declares one.
    pub(super) resolution: Option<Interval>,
}

/// One edge of a frame, back from the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge<T> {
    /// So far.
    At(T),
    /// Without end.
    Unbounded,
}

impl FrameCheck<'_> {
    pub(super) fn check(&self, frame: Option<&WindowFrame>) -> Result<Frame, Diagnostic> {
        let Some(frame) = frame else { return Err(self.missing()) };
        match frame.units {
            WindowFrameUnits::Range => self.range(frame),
            WindowFrameUnits::Rows => self.rows(frame),
            WindowFrameUnits::Groups => Err(self
                .error("GROUPS frames are refused")
                .note("they count moments, and a moment's events may come in any number of batches")
                .help("write ROWS to count events, or RANGE to measure time")),
        }
    }

    fn missing(&self) -> Diagnostic {
        self.error_at(self.statement.range_span(&self.tokens), "this window has no frame")
            .note("without one, SQL takes RANGE UNBOUNDED PRECEDING, every event there ever was, which is seldom meant")
            .help("write RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW, or RANGE UNBOUNDED PRECEDING for all time")
    }

    fn range(&self, frame: &WindowFrame) -> Result<Frame, Diagnostic> {
        let start = self.edge(&frame.start_bound, |bound| self.interval(bound))?;
        let end = frame.end_bound.as_ref().map_or(Ok(Edge::At(Interval::ZERO)), |bound| self.edge(bound, |bound| self.interval(bound)))?;
        self.order(start, end)?;
        self.on_grid(start)?;
        self.on_grid(end)?;
        Ok(Frame { bounded: false })
    }

    /// An edge nearer than the grid would be no edge at all.
    fn on_grid(&self, edge: Edge<Interval>) -> Result<(), Diagnostic> {
        let (Some(resolution), Edge::At(interval)) = (self.resolution, edge) else { return Ok(()) };
        if interval == Interval::ZERO || interval >= resolution {
            return Ok(());
        }
        let diagnostic = self.error(format!("an edge {interval} back is finer than the view's resolution, {resolution}"));
        Err(diagnostic.note("every edge but the moment itself is floored to that grid").help("declare a finer resolution, or none for exact edges"))
    }

    fn rows(&self, frame: &WindowFrame) -> Result<Frame, Diagnostic> {
        if let (WindowFrameBound::Preceding(Some(count)), None) = (&frame.start_bound, &frame.end_bound) {
            return Err(self.shorthand(self.count(count)?));
        }
        let start = self.edge(&frame.start_bound, |bound| self.count(bound))?;
        let end = frame.end_bound.as_ref().map_or(Ok(Edge::At(0)), |bound| self.edge(bound, |bound| self.count(bound)))?;
        self.order(start, end)?;
        match start {
            Edge::At(back) if back >= ROWS_MAX => Err(self.too_many(back)),
            Edge::At(_) => Ok(Frame { bounded: true }),
            Edge::Unbounded => Ok(Frame { bounded: false }),
        }
    }

    /// `ROWS 10 PRECEDING`, which almost nobody means.
    fn shorthand(&self, back: u64) -> Diagnostic {
        let rows = |back: u64| if back == 0 { "ROWS CURRENT ROW".to_owned() } else { format!("ROWS BETWEEN {back} PRECEDING AND CURRENT ROW") };
        let count = if back == 0 { "one event".to_owned() } else { format!("{} events", back.saturating_add(1)) };
        let diagnostic = self.error(format!("`ROWS {back} PRECEDING` counts {count}"));
        let diagnostic = diagnostic.note("the current row is one of them");
        match back {
            0 => diagnostic.help(format!("for the newest event, write {}", rows(0))),
            _ => diagnostic.help(format!("for the last {back} events, write {}; for {}, {}", rows(back - 1), back.saturating_add(1), rows(back))),
        }
    }

    fn too_many(&self, back: u64) -> Diagnostic {
        self.error(format!("a ROWS frame of {} events is too long", back.saturating_add(1)))
            .note(format!("a lookup reads them one by one, and {ROWS_MAX} are the most"))
            .help("write a RANGE frame, whose states are kept merged, or count fewer events")
    }

    /// An edge, where it lies at or before the moment.
    fn edge<T>(&self, bound: &WindowFrameBound, read: impl Fn(&Expr) -> Result<T, Diagnostic>) -> Result<Edge<T>, Diagnostic>
    where
        T: Default,
    {
        match bound {
            WindowFrameBound::CurrentRow => Ok(Edge::At(T::default())),
            WindowFrameBound::Preceding(None) => Ok(Edge::Unbounded),
            WindowFrameBound::Preceding(Some(bound)) => Ok(Edge::At(read(bound)?)),
            WindowFrameBound::Following(_) => Err(self
                .error("a frame cannot reach past the moment it is asked for")
                .note("what follows has not happened yet when the feature is served")
                .help("end the frame at CURRENT ROW, or before it")),
        }
    }

    fn order<T: PartialOrd>(&self, start: Edge<T>, end: Edge<T>) -> Result<(), Diagnostic> {
        if end == Edge::Unbounded || start < end {
            return Err(self.error("this frame ends before it starts, and is always empty").help("write the farther edge first"));
        }
        Ok(())
    }

    /// The number of rows of an edge.
    fn count(&self, bound: &Expr) -> Result<u64, Diagnostic> {
        let number = match bound {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => digits.parse::<u64>().ok(),
                _ => None,
            },
            _ => None,
        };
        number.ok_or_else(|| {
            self.error("an edge of a ROWS frame is a number of events")
                .note("a whole number, written out")
                .help("write ROWS BETWEEN 9 PRECEDING AND CURRENT ROW for the last 10 events")
        })
    }

    /// The length of time of an edge.
    fn interval(&self, bound: &Expr) -> Result<Interval, Diagnostic> {
        let text = interval_text(bound).ok_or_else(|| {
            self.error("an edge of a RANGE frame is an interval")
                .note("events are ordered by time, so that the distance between them is a length of time")
                .help("write it as INTERVAL '1 hour', in quotes; to count events, write ROWS")
        })?;
        text.parse().map_err(|IntervalError { text, reason, help }| self.error(format!("`{text}` is no length of a frame")).note(reason).help(help))
    }

    fn error(&self, title: impl Into<String>) -> Diagnostic {
        self.error_at(self.frame_span(), title)
    }

    fn error_at(&self, span: Span, title: impl Into<String>) -> Diagnostic {
        self.statement.origin.at(span).error(title)
    }

    /// Where the frame is written: from its unit to the end of the window.
    fn frame_span(&self) -> Span {
        let inner = self.tokens.start + 1..self.tokens.end.saturating_sub(1);
        let starts = |index: &usize| ["ROWS", "RANGE", "GROUPS"].iter().any(|unit| self.statement.are_words(*index, &[unit]));
        let start = inner.clone().rev().find(starts).unwrap_or(self.tokens.start);
        self.statement.range_span(&(start..inner.end.max(start + 1)))
    }
}

/// The text of `INTERVAL '1 hour'` or `INTERVAL '1' HOUR`, the forms that DataFusion takes for an edge.
pub(crate) fn interval_text(bound: &Expr) -> Option<String> {
    let Expr::Interval(interval) = bound else { return None };
    let plain = interval.leading_precision.is_none() && interval.last_field.is_none() && interval.fractional_seconds_precision.is_none();
    let Expr::Value(value) = &*interval.value else { return None };
    match (&value.value, &interval.leading_field, plain) {
        (Value::SingleQuotedString(text), None, true) => Some(text.clone()),
        (Value::SingleQuotedString(text), Some(unit), true) => Some(format!("{text} {unit}")),
        _ => None,
    }
}
