//! What is wrong with a definition, where, what is known, and what to do.

use std::fmt;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::text::{Position, SourceFile, Span};

/// One thing wrong with the definitions.
///
/// Texts are lower case without a full stop. The title says what is wrong, the label what the marked text is, the notes what
/// is known about it (the reason, the names there are), and the help what to write instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file it is in.
    pub file: Arc<SourceFile>,
    /// The bytes it marks.
    pub span: Span,
    /// What is wrong.
    pub title: String,
    /// What the marked text is, where the title does not say it already.
    pub label: Option<String>,
    /// What is known.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Something wrong at `span` of `file`.
    pub fn new(file: &Arc<SourceFile>, span: Span, title: impl Into<String>) -> Self {
        Diagnostic { file: Arc::clone(file), span, title: title.into(), label: None, notes: Vec::new(), help: None }
    }

    /// Says what the marked text is.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds something known.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with help where there is any.
    pub fn help_opt(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// As people read it, in the manner of a compiler; no newline at the end.
    pub fn render(&self, style: Style) -> String {
        let annotation = AnnotationKind::Primary.span(self.span.into());
        let annotation = match &self.label {
            Some(label) => annotation.label(label.as_str()),
            None => annotation,
        };
        let snippet = Snippet::source(self.file.text.as_str()).path(self.file.name.as_str()).annotation(annotation);
        let mut group = Level::ERROR.primary_title(self.title.as_str()).element(snippet);
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        renderer.render(&[group])
    }
}

/// How to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With the escape sequences of a colour terminal.
    Coloured,
}

/// `file:line:column: what is wrong`, on one line, for logs and assertions.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.file.position(self.span.start);
        write!(f, "{}:{line}:{column}: {}", self.file.name, self.title)
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Diagnostic {}

/// A [`Diagnostic`] as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiagnosticJson {
    /// The file it is in.
    pub file: String,
    /// Where the marked text starts.
    pub start: Position,
    /// The place after the marked text.
    pub end: Position,
    /// What is wrong.
    pub title: String,
    /// What the marked text is.
    pub label: Option<String>,
    /// What is known.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl From<&Diagnostic> for DiagnosticJson {
    fn from(diagnostic: &Diagnostic) -> Self {
        DiagnosticJson {
            file: diagnostic.file.name.clone(),
            start: diagnostic.file.position(diagnostic.span.start),
            end: diagnostic.file.position(diagnostic.span.end),
            title: diagnostic.title.clone(),
            label: diagnostic.label.clone(),
            notes: diagnostic.notes.clone(),
            help: diagnostic.help.clone(),
        }
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DiagnosticJson::from(self).serialize(serializer)
    }
}
