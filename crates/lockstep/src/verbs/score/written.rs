//! Scores that were written, as they are told.

use std::fmt::Write as _;
use std::path::Path;

use lockstep_model::TimeMode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{Paint, Report};
use crate::predictions::Published;
use crate::text::{bytes, counted};
use crate::train::{Manifest, TrainingReport};
use crate::verbs::train::engine::Engine;

/// Scores that were written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Written {
    /// The deployment.
    pub deployment: String,
    /// Where they are.
    pub out: String,
    /// Which clock counted events.
    pub time: TimeMode,
    /// Files and their bytes.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// SHA-256 of the files' digests.
    pub digest: String,
    /// Events that were read for them.
    pub events: u64,
    /// What they were read from: `the store` or `snapshot s0001`.
    pub origin: String,
    /// What became of the rows.
    pub report: TrainingReport,
}

impl Written {
    /// What is told of a run.
    pub fn new(deployment: &str, out: &Path, engine: &Engine<'_>, manifest: Manifest) -> Written {
        let Manifest { parts, digest, report, .. } = manifest;
        Written {
            deployment: deployment.to_owned(),
            out: out.display().to_string(),
            time: engine.time,
            files: parts.len() as u64,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            digest,
            events: engine.histories.events(),
            origin: engine.origin.told(),
            report,
        }
    }
}

/// Scores that were written, and what became of publishing them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScoredAndPublished {
    /// The scores.
    pub scored: Written,
    /// What became of them.
    pub published: Published,
}

impl Report for ScoredAndPublished {
    fn text(&self, paint: Paint) -> String {
        format!("{}\n{}", self.scored.text(paint), self.published.text(paint))
    }
}

impl Report for Written {
    fn text(&self, paint: Paint) -> String {
        let Written { deployment, out, origin, report, .. } = self;
        let time = if self.time == TimeMode::Known { "known" } else { "event" };
        let (rows, events) = (counted(report.rows, "row", "rows"), counted(self.events, "event", "events"));
        let mut text = format!("{} · {rows} scored in {out}, in {time} time, from {events} of {origin}\n\n", paint.bold(deployment));
        if let Some(scored) = &report.scored {
            text += &scored.text(paint);
        }
        for warning in &report.warnings {
            let _ = writeln!(text, "  {} {warning}", paint.yellow("warning:"));
        }
        let _ = writeln!(text, "\n  {} in {} · digest {}", bytes(self.bytes), counted(self.files, "file", "files"), &self.digest[..16]);
        text
    }
}
