//! What is watched of a server, as people read it.

use std::fmt::Write;

use lockstep_serve::watch::reading::{Reading, SourceReading, TargetReading};
use lockstep_serve::watch::{Severity, Signal};

use crate::output::Paint;
use crate::table::{Align, Cell, Table};
use crate::text::{age, counted, grouped};

/// Signals: causes, each with what follows from it below.
pub fn signals_text(signals: &[Signal], is_watched: bool, paint: Paint) -> String {
    if signals.is_empty() {
        return if is_watched { format!("{} · no signal is raised\n", paint.green("all is well")) } else { String::new() };
    }
    let mut text = format!("{}\n", paint.red(counted(signals.len(), "signal", "signals")));
    for signal in signals {
        let Signal { kind, severity, subject, since, what, todo, cause, .. } = signal;
        let indent = if cause.is_some() { "    └ " } else { "  " };
        let severity = match severity {
            Severity::Critical => paint.red(severity.name()),
            Severity::Warning => paint.yellow(severity.name()),
        };
        let _ = writeln!(text, "{indent}{severity} {} of {} since {since}", paint.bold(kind.name()), paint.cyan(subject.to_string()));
        let below = " ".repeat(if cause.is_some() { 6 } else { 4 });
        let _ = writeln!(text, "{below}{what} · {todo}");
        // One that is over is not above.
        if let Some(cause) = cause.as_ref().filter(|cause| signals.iter().all(|other| other.id != **cause)) {
            let _ = writeln!(text, "{below}{}", paint.dim(format!("it followed from what is over: {cause}")));
        }
    }
    text
}

/// How sources are, and what is answered.
pub fn reading_text(reading: &Reading, paint: Paint) -> String {
    let mut sources = Table::new(&[
        ("source", Align::Left),
        ("silence", Align::Right),
        ("lag", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("declared", Align::Right),
        ("behind", Align::Right),
        ("late", Align::Right),
        ("conflicts", Align::Right),
        ("dead letters", Align::Right),
    ]);
    reading.sources.iter().for_each(|(name, source)| sources.row(source_row(name, source)));
    let mut targets = Table::new(&[
        ("service or view", Align::Left),
        ("rows", Align::Right),
        ("coverage", Align::Right),
        ("errors", Align::Right),
        ("stale", Align::Right),
        ("moved most", Align::Left),
    ]);
    let answered = || reading.targets.iter().filter(|(_, target)| target.rows > 0);
    answered().for_each(|(name, target)| targets.row(target_row(name, target)));
    let mut text = format!("\n{}", sources.render(paint));
    if answered().next().is_some() {
        text += &format!("\n{}", targets.render(paint));
    }
    if let Some(replay) = &reading.replay {
        let why = replay.why_not.as_ref().map_or_else(String::new, |why| format!(" · {why}"));
        let _ = writeln!(
            text,
            "\nreplay: {} computed again, {} of their values differ{why}",
            counted(replay.vectors, "vector", "vectors"),
            replay.differ
        );
    }
    text
}

fn source_row(name: &str, source: &SourceReading) -> Vec<Cell> {
    let time = |seconds: Option<f64>| Cell::from(seconds.map_or_else(|| "–".to_owned(), |seconds| age((seconds * 1e6) as i64)));
    let rows = source.rows;
    vec![
        name.into(),
        time(source.silence_seconds),
        time(source.lag_seconds),
        time(source.lag_p50_seconds),
        time(source.lag_p99_seconds),
        time(Some(source.serving_lag_seconds)),
        source.behind_rows.map_or_else(|| "–".to_owned(), grouped).into(),
        grouped(rows.late).into(),
        grouped(rows.conflicts).into(),
        grouped(rows.dead_letters).into(),
    ]
}

fn target_row(name: &str, target: &TargetReading) -> Vec<Cell> {
    let share = |share: Option<f64>| Cell::from(share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0)));
    let most = target.features.first().and_then(|feature| Some((feature, feature.drift.as_ref()?)));
    let moved = most.map_or_else(
        || "–".to_owned(),
        |(feature, drift)| format!("{} PSI {:.2} KS {:.2} of {}", feature.feature, drift.psi, drift.ks, grouped(feature.sampled)),
    );
    vec![name.into(), grouped(target.rows).into(), share(target.coverage), share(target.errors), grouped(target.stale).into(), moved.into()]
}
