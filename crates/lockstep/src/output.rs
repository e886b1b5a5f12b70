//! How answers are shown: text for people, with colours on a terminal, or JSON for programs.

use std::io::{self, Write};

use lockstep_transform::definition::Style;
use serde::Serialize;

use crate::cli::Global;

/// An answer that can be shown either way.
pub trait Report: Serialize {
    /// As people read it; ends with a newline.
    fn text(&self, paint: Paint) -> String;
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Whether answers are JSON.
    pub json: bool,
    out: Paint,
    err: Paint,
}

impl Output {
    /// Output as the command line wants it.
    pub fn new(global: &Global) -> Self {
        let (out, err) = (global.color.applies_to(&io::stdout()), global.color.applies_to(&io::stderr()));
        Output { json: global.json, out: Paint(out), err: Paint(err) }
    }

    /// Colours on standard output.
    pub fn out(&self) -> Paint {
        self.out
    }

    /// Colours on standard error.
    pub fn err(&self) -> Paint {
        self.err
    }

    /// Shows an answer on standard output.
    pub fn show(&self, report: &impl Report) -> io::Result<()> {
        if self.json { self.show_json(report) } else { self.print(&report.text(self.out)) }
    }

    /// Shows a value as indented JSON.
    pub fn show_json(&self, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
        self.print(&(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// Writes to standard output. Nobody reading any further is no failure.
    pub fn print(&self, text: &str) -> io::Result<()> {
        self.write(text.as_bytes())
    }

    /// As [`Self::print`], of bytes.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome,
        }
    }

    /// Writes a line to standard error, as far as anybody listens.
    pub fn say(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        if self.0 && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A heading.
    pub fn bold(self, text: impl AsRef<str>) -> String {
        self.with("1", text)
    }

    /// What matters less.
    pub fn dim(self, text: impl AsRef<str>) -> String {
        self.with("2", text)
    }

    /// What is wrong.
    pub fn red(self, text: impl AsRef<str>) -> String {
        self.with("1;31", text)
    }

    /// What is well, or new.
    pub fn green(self, text: impl AsRef<str>) -> String {
        self.with("32", text)
    }

    /// What deserves a look.
    pub fn yellow(self, text: impl AsRef<str>) -> String {
        self.with("33", text)
    }

    /// Something to type or to look up.
    pub fn cyan(self, text: impl AsRef<str>) -> String {
        self.with("36", text)
    }
}

impl From<Paint> for Style {
    fn from(paint: Paint) -> Self {
        if paint.0 { Style::Coloured } else { Style::Plain }
    }
}
