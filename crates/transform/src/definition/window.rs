//! Windows: partitioned by the entity's key, ordered by event time, with a frame.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, OrderByExpr, Value, VisitMut, VisitorMut, WindowSpec, WindowType,
};
use std::ops::ControlFlow;

use super::Diagnostic;
use super::expr::{Checker, Clause, as_column, single_name};
use super::frame::{Frame, FrameCheck};
use super::names::{did_you_mean, normalise, quoted};
use super::options::ViewOptions;
use super::text::Span;

/// What windows of a view must agree with.
pub(super) struct Rules<'a> {
    /// The name of the entity.
    pub(super) entity: &'a str,
    /// The expressions of the key, and the columns they give; empty where they are not known.
    pub(super) keys: Vec<(&'a str, &'a Expr)>,
    /// The event time column.
    pub(super) event_time: &'a str,
    pub(super) options: &'a ViewOptions,
}

/// The named windows of a view, checked; without a frame where something is wrong with it.
pub(super) struct Named {
    windows: Vec<(String, Option<Frame>)>,
}

/// The units of calendar windows.
const CALENDAR_UNITS: [&str; 5] = ["hour", "day", "week", "month", "year"];

impl Checker<'_> {
    /// Checks the windows of a WINDOW clause.
    pub(super) fn named_windows(&mut self, windows: &[NamedWindowDefinition], rules: &Rules<'_>) -> Named {
        let mut named = Named { windows: Vec::new() };
        for NamedWindowDefinition(ident, window) in windows {
            let name = normalise(ident);
            let span = self.statement.origin.of_ident(ident).span;
            if named.windows.iter().any(|(known, _)| *known == name) {
                self.found.push(self.at(span).error(format!("window `{name}` is defined twice")).help("give one of them another name"));
            }
            let frame = match window {
                NamedWindowExpr::WindowSpec(spec) => {
                    let open = self.statement.index_at(span.start) + 2;
                    self.window(spec, open..self.statement.closing(open) + 1, rules)
                }
                NamedWindowExpr::NamedWindow(other) => {
                    self.found.push(self.inherited(other));
                    None
                }
            };
            named.windows.push((name, frame));
        }
        named
    }

    /// Checks what a call is OVER, whose tokens are `tokens`.
    pub(super) fn over(&mut self, over: &WindowType, tokens: Range<usize>, named: &Named, rules: &Rules<'_>) -> Option<Frame> {
        match over {
            WindowType::WindowSpec(spec) => self.window(spec, tokens, rules),
            WindowType::NamedWindow(ident) => {
                let name = normalise(ident);
                if let Some((_, frame)) = named.windows.iter().find(|(known, _)| *known == name) {
                    return *frame;
                }
                let known: Vec<_> = named.windows.iter().map(|(name, _)| name.as_str()).collect();
                let diagnostic = self.statement.origin.of_ident(ident).error(format!("unknown window `{name}`"));
                self.found.push(did_you_mean(diagnostic, &name, "windows", &known));
                None
            }
        }
    }

    /// DataFusion reads the window's own clauses and passes over the name of the one it would inherit from.
    fn inherited(&self, base: &Ident) -> Diagnostic {
        let diagnostic = self.statement.origin.of_ident(base).error(format!("a window cannot inherit from `{}`", normalise(base)));
        diagnostic
            .note("inherited clauses are passed over in silence by DataFusion, so that the definition would not be its own oracle")
            .help("write its PARTITION BY, ORDER BY and frame out, or use the other window by its name")
    }

    fn window(&mut self, spec: &WindowSpec, tokens: Range<usize>, rules: &Rules<'_>) -> Option<Frame> {
        if let Some(base) = &spec.window_name {
            self.found.push(self.inherited(base));
            return None;
        }
        self.partition(spec, &tokens, rules);
        self.order_by(&spec.order_by, &tokens, rules);
        let check = FrameCheck { statement: self.statement, tokens, resolution: rules.options.resolution };
        match check.check(spec.window_frame.as_ref()) {
            Ok(frame) => Some(frame),
            Err(diagnostic) => {
                self.found.push(diagnostic);
                None
            }
        }
    }

    fn order_by(&mut self, order: &[OrderByExpr], tokens: &Range<usize>, rules: &Rules<'_>) {
        let wanted = format!("ORDER BY {}", quoted(rules.event_time));
        let [only] = order else {
            let (title, span) = match order.get(1) {
                None => ("this window has no order", self.statement.range_span(tokens)),
                Some(second) => ("a window is ordered by event time alone", self.statement.place(&second.expr)),
            };
            let note = "events of one moment are ordered by their primary key already";
            return self.found.push(self.at(span).error(title).note(note).help(format!("write {wanted}")));
        };
        let is_event_time = as_column(&only.expr).is_some_and(|(_, column)| normalise(column) == rules.event_time);
        let span = self.statement.place(&only.expr);
        if !is_event_time {
            let title = format!("a window is ordered by the event time, `{}`", rules.event_time);
            let note = "a value is of a moment, and only event time says which events were before it";
            self.found.push(self.at(span).error(title).note(note).help(format!("write {wanted}")));
        } else if only.options.asc == Some(false) || only.with_fill.is_some() {
            let note = "frames reach back from the moment; descending, PRECEDING would mean the future";
            self.found.push(self.at(span).error("a window is ordered by ascending event time").note(note).help(format!("write {wanted}")));
        }
    }

    /// PARTITION BY is the entity's key, and a calendar window perhaps.
    fn partition(&mut self, spec: &WindowSpec, tokens: &Range<usize>, rules: &Rules<'_>) {
        if rules.keys.is_empty() {
            return;
        }
        let mut missing: Vec<&(&str, &Expr)> = rules.keys.iter().collect();
        let mut foreign: Vec<&Expr> = Vec::new();
        let mut calendars = 0;
        for expr in &spec.partition_by {
            let canonical = canonical(expr);
            if let Some(index) = missing.iter().position(|(_, key)| self::canonical(key) == canonical) {
                missing.remove(index);
            } else if let Some(calendar) = self.calendar(expr, rules) {
                calendars += 1;
                match calendar {
                    Err(diagnostic) => self.found.push(*diagnostic),
                    Ok(()) if calendars > 1 => {
                        let span = self.statement.place(expr);
                        self.found.push(self.at(span).error("a window of two calendars").help("keep the shorter one"));
                    }
                    Ok(()) => {}
                }
            } else {
                foreign.push(expr);
            }
        }
        let before = self.found.len();
        foreign.iter().for_each(|expr| self.scalar(expr, Clause::Partition));
        if self.found.len() > before {
            return;
        }
        if !missing.is_empty() {
            self.found.push(self.unpartitioned(spec, tokens, rules));
        } else {
            foreign.into_iter().for_each(|expr| self.foreign_partition(expr, rules));
        }
    }

    fn foreign_partition(&mut self, expr: &Expr, rules: &Rules<'_>) {
        let span = self.statement.place(expr);
        let text = self.statement.origin.file.slice(span);
        let diagnostic = self.at(span).error(format!("`{text}` is no part of the key of entity `{}`", rules.entity));
        self.found.push(
            diagnostic
                .note(format!("the key is {}", key_text(rules)))
                .help("declare an entity whose key has it, or count a part of the events with FILTER (WHERE …)"),
        );
    }

    fn unpartitioned(&self, spec: &WindowSpec, tokens: &Range<usize>, rules: &Rules<'_>) -> Diagnostic {
        let span = match (spec.partition_by.first(), spec.partition_by.last()) {
            (Some(first), Some(last)) => self.statement.place(first).to(self.statement.place(last)),
            _ => self.statement.range_span(tokens),
        };
        let diagnostic = self.at(span).error(format!("this window is not partitioned by the key of entity `{}`", rules.entity));
        let partition: Vec<_> = rules.keys.iter().map(|(_, expr)| expr.to_string()).collect();
        diagnostic.note(format!("the key is {}", key_text(rules))).help(format!("write PARTITION BY {}", partition.join(", ")))
    }

    /// Whether an expression is a calendar window, and what is wrong with it then.
    fn calendar(&self, expr: &Expr, rules: &Rules<'_>) -> Option<Result<(), Box<Diagnostic>>> {
        let Expr::Function(call) = expr else { return None };
        let name = single_name(call).map(normalise)?;
        let [unit, moment] = super::expr::arguments(call).ok()?[..] else { return None };
        if !["date_trunc", "datetrunc"].contains(&name.as_str()) || !mentions(moment, rules.event_time) {
            return None;
        }
        Some(self.calendar_unit(unit).and_then(|()| self.calendar_moment(moment, rules)).map_err(Box::new))
    }

    fn calendar_unit(&self, unit: &Expr) -> Result<(), Diagnostic> {
        let text = text_of(unit).map(str::to_lowercase);
        if text.is_some_and(|text| CALENDAR_UNITS.contains(&text.as_str())) {
            return Ok(());
        }
        let diagnostic = self.at(self.statement.place(unit)).error("a calendar window is of another unit");
        Err(diagnostic.note(format!("units: {}", CALENDAR_UNITS.join(", "))).help("for shorter windows, write a RANGE frame"))
    }

    /// The event time itself, or twice AT TIME ZONE. DataFusion, like PostgreSQL, reads a single one as "this naive time is of
    /// that zone", which would shift the moments.
    fn calendar_moment(&self, moment: &Expr, rules: &Rules<'_>) -> Result<(), Diagnostic> {
        let event_time = quoted(rules.event_time);
        if is_column(moment, rules.event_time) {
            return Ok(());
        }
        let span = self.statement.place(moment);
        let Expr::AtTimeZone { timestamp, time_zone } = moment else {
            let diagnostic = self.at(span).error("a calendar window is of the event time itself");
            return Err(diagnostic.help(format!("write date_trunc('day', {event_time} AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York')")));
        };
        let Some(zone) = text_of(time_zone) else {
            return Err(self.at(self.statement.place(&**time_zone)).error("a zone is a text, such as 'America/New_York'"));
        };
        self.zone(zone, self.statement.place(&**time_zone))?;
        match &**timestamp {
            Expr::AtTimeZone { timestamp, time_zone } if is_column(timestamp, rules.event_time) && text_of(time_zone) == Some("UTC") => Ok(()),
            _ => {
                let diagnostic = self.at(span).error("this reads the event time as local time of a zone, and moves it");
                let note = "event time is in UTC; the first AT TIME ZONE says so, and the second asks for the zone's calendar";
                Err(diagnostic.note(note).help(format!("write {event_time} AT TIME ZONE 'UTC' AT TIME ZONE '{zone}'")))
            }
        }
    }

    fn zone(&self, zone: &str, span: Span) -> Result<(), Diagnostic> {
        super::source::time_zone(zone, &self.at(span)).map(drop)
    }
}

fn key_text(rules: &Rules<'_>) -> String {
    let keys: Vec<_> = (rules.keys.iter())
        .map(|(name, expr)| if expr.to_string() == **name { quoted(name) } else { format!("{expr} AS {}", quoted(name)) })
        .collect();
    keys.join(", ")
}

fn is_column(expr: &Expr, name: &str) -> bool {
    as_column(expr).is_some_and(|(_, column)| normalise(column) == name)
}

fn mentions(moment: &Expr, event_time: &str) -> bool {
    match moment {
        Expr::AtTimeZone { timestamp, .. } => mentions(timestamp, event_time),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => mentions(expr, event_time),
        other => is_column(other, event_time),
    }
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// An expression in one spelling: names as SQL reads them, without qualifiers and needless parentheses.
fn canonical(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Canonical);
    expr.to_string()
}

struct Canonical;

impl VisitorMut for Canonical {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some((_, column)) = as_column(expr) {
            *expr = Expr::Identifier(Ident::with_quote('"', normalise(column)));
        } else if let Expr::Function(call) = expr {
            for part in &mut call.name.0 {
                if let datafusion::sql::sqlparser::ast::ObjectNamePart::Identifier(ident) = part {
                    *ident = Ident::new(normalise(ident));
                }
            }
        }
        ControlFlow::Continue(())
    }
}
