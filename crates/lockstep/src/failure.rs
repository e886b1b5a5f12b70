//! How a run ends: exit statuses, and errors as people or programs read them.

use std::fmt;
use std::process::ExitCode;

use lockstep_model::{Error, ErrorKind};
use lockstep_transform::definition::{Diagnostic, DiagnosticJson, Style};
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::Output;
use crate::text::counted;

/// The exit status of an error.
const ERROR: u8 = 2;

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// It did its work, and found a difference or a failed check.
    Differs,
}

impl Outcome {
    /// Fine where a check held.
    pub fn of(held: bool) -> Outcome {
        if held { Outcome::Fine } else { Outcome::Differs }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Fine => ExitCode::SUCCESS,
            Outcome::Differs => ExitCode::FAILURE,
        }
    }
}

/// Definitions or settings that do not check out.
#[derive(Debug)]
pub struct Wrong(pub Vec<Diagnostic>);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} · `lockstep check` shows them", counted(self.0.len(), "error", "errors"))
    }
}

impl std::error::Error for Wrong {}

/// An error as JSON, on standard error.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorJson {
    /// What a caller can do about it: `invalid`, `not_found`, `out_of_range`, `unavailable`, `data` or `internal`.
    pub kind: &'static str,
    /// What is wrong, what is known, what to do.
    pub message: String,
    /// What is wrong with the definitions, where that is it.
    pub diagnostics: Vec<DiagnosticJson>,
}

/// The name of a kind of error in JSON.
pub fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::NotFound => "not_found",
        ErrorKind::OutOfRange => "out_of_range",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Data => "data",
        ErrorKind::Internal => "internal",
    }
}

fn kind(error: &anyhow::Error) -> ErrorKind {
    error.downcast_ref::<Error>().map_or(ErrorKind::Invalid, Error::kind)
}

/// An error as another process is told it.
pub fn as_told(error: &anyhow::Error) -> Error {
    let wrong: &[Diagnostic] = error.downcast_ref::<Wrong>().map_or(&[], |wrong| &wrong.0);
    let shown: String = wrong.iter().map(|diagnostic| format!("\n\n{}", diagnostic.render(Style::Plain))).collect();
    Error::new(kind(error), message(error) + &shown)
}

/// Says on standard error what went wrong.
pub fn report(error: &anyhow::Error, out: &Output) -> ExitCode {
    let wrong: &[Diagnostic] = error.downcast_ref::<Wrong>().map_or(&[], |wrong| &wrong.0);
    if out.json {
        let diagnostics = wrong.iter().map(DiagnosticJson::from).collect();
        let json = ErrorJson { kind: kind_name(kind(error)), message: message(error), diagnostics };
        out.say(&serde_json::to_string(&json).unwrap_or_else(|_| message(error)));
    } else if wrong.is_empty() {
        out.say(&format!("{} {}", out.err().red("error:"), message(error)));
    } else {
        wrong.iter().for_each(|diagnostic| out.say(&format!("{}\n", diagnostic.render(out.err().into()))));
        out.say(&format!("{} {}", out.err().red("error:"), counted(wrong.len(), "error", "errors")));
    }
    ExitCode::from(ERROR)
}

/// An error and what caused it, on one line. Causes that an error says itself already are not said twice.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("no such file").context("read x: no such file").context("start");
        assert_eq!(message(&error), "start: read x: no such file");
    }
}
