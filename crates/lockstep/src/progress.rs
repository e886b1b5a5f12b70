//! Progress for whoever waits: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockstep_ingest::pipeline::Progress;

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
pub struct Display {
    bar: Option<ProgressBar>,
    stage: String,
    started: Instant,
    last_line: Instant,
    /// Rows by then.
    last_rows: u64,
}

impl Display {
    /// Starts the clock.
    #[allow(clippy::new_without_default, reason = "it starts a clock")]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8)));
        Display::on(bar)
    }

    /// As [`Self::new`], a line of its own beside others.
    pub fn among(all: &MultiProgress) -> Self {
        Display::on(std::io::stderr().is_terminal().then(|| all.add(ProgressBar::new_spinner())))
    }

    #[allow(clippy::disallowed_methods, reason = "how long a person has waited; nothing is computed from it")]
    fn on(bar: Option<ProgressBar>) -> Self {
        Display { bar, stage: String::new(), started: Instant::now(), last_line: Instant::now(), last_rows: 0 }
    }

    /// Shows how far a run has come.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    pub fn show(&mut self, progress: &Progress) {
        if self.stage != progress.stage {
            self.stage.clone_from(&progress.stage);
            self.started = Instant::now();
        }
        let text = self.text(progress);
        match &self.bar {
            Some(bar) => {
                let template = if progress.bytes_total.is_some() { "{bar:24} {percent:>3}% {msg} · {eta} left" } else { "{spinner} {msg}" };
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_length(progress.bytes_total.unwrap_or_default());
                bar.set_position(progress.bytes);
                bar.set_message(text);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                (self.last_line, self.last_rows) = (Instant::now(), progress.rows);
                let share = progress.bytes_total.filter(|total| *total > 0).map(|total| format!("{}% ", progress.bytes * 100 / total));
                let _ = writeln!(std::io::stderr(), "{}{text}", share.unwrap_or_default());
            }
            None => {}
        }
    }

    /// As [`Self::show`], of a run that is told from others by what is said before.
    pub fn show_as(&mut self, about: &str, progress: &Progress) {
        if about.is_empty() {
            self.show(progress);
        } else {
            self.show(&Progress { stage: format!("{about}{}", progress.stage), ..progress.clone() });
        }
    }

    /// Says what is being done, where nobody knows how much of it there is.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    pub fn step(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => {
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                    bar.set_style(style);
                }
                bar.set_message(text.to_owned());
                bar.tick();
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            None => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// How far a run has come, in words.
    pub fn text(&self, progress: &Progress) -> String {
        // What is followed is shown as it goes now, what ends as it went.
        let (rows, since) = if progress.behind.is_some() { (self.last_rows, self.last_line) } else { (0, self.started) };
        let rate = progress.rows.saturating_sub(rows) as f64 / since.elapsed().as_secs_f64().max(1e-3);
        let watermark = progress.watermark.map(|watermark| format!(" · watermark {watermark}")).unwrap_or_default();
        let rate = if progress.bytes > 0 { format!(" · {rate:.0} rows/s") } else { String::new() };
        let lag = progress.behind.map(|behind| format!(" · lag {behind}")).unwrap_or_default();
        let stopped = if progress.stopped > 0 { format!(" · {} stopped", progress.stopped) } else { String::new() };
        format!("{} · {} rows{rate}{lag}{watermark}{stopped}", progress.stage, progress.rows)
    }
}
