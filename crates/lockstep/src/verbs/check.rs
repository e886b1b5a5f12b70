//! `check`: are the definitions right?

use std::path::Path;

use anyhow::Result;
use clap::Args;
use lockstep_ingest::kafka::check_schemas;
use lockstep_transform::catalog::{Catalog, meaning_of_all};
use lockstep_transform::definition::{Diagnostic, DiagnosticJson, Source};
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::project::compile;
use crate::text::counted;

/// Check the definitions
///
/// Reads all `*.sql` files of the project and compiles them, with the schemas of Avro that they name: offline, without a store, in a moment. Prints what is
/// wrong and where, or a summary, and exits with 1 if anything is wrong.
#[derive(Debug, Args)]
pub struct Arguments {}

/// What a check found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Checked {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Everything that is wrong.
    pub diagnostics: Vec<DiagnosticJson>,
    /// Files read.
    pub files: usize,
    /// What was checked, where nothing is wrong.
    pub definitions: Option<Counts>,
}

/// How much there is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Counts {
    /// Entities.
    pub entities: usize,
    /// Sources.
    pub sources: usize,
    /// Feature views.
    pub views: usize,
    /// Features of all views.
    pub features: usize,
    /// Feature services.
    pub services: usize,
    /// Fingerprint of what the definitions mean.
    pub fingerprint: String,
}

/// Checks the definitions of the project.
///
/// # Errors
/// Where they cannot be read.
pub fn run(context: &Context, _: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let files = project.files()?;
    match compile(&files).and_then(|catalog| schemas(&catalog, &project.dir).map(|()| catalog)) {
        Ok(catalog) => {
            context.out.show(&Checked { ok: true, diagnostics: Vec::new(), files: files.len(), definitions: Some(Counts::of(&catalog)) })?;
            Ok(Outcome::Fine)
        }
        Err(wrong) => {
            show_wrong(context, files.len(), &wrong)?;
            Ok(Outcome::Differs)
        }
    }
}

/// Whether the schemas of Avro that are in files go with the sources that name them.
fn schemas(catalog: &Catalog, dir: &Path) -> Result<(), Vec<Diagnostic>> {
    let wrong = |source: &Source| {
        let error = check_schemas(catalog.sources.get(&source.name)?, dir).err()?.to_string();
        let (title, help) = error.rsplit_once(" · ").unwrap_or((&error, ""));
        Some(source.origin.error(title).help_opt(Some(help.to_owned()).filter(|help| !help.is_empty())))
    };
    let wrong: Vec<Diagnostic> = catalog.definitions.sources.values().filter_map(wrong).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn show_wrong(context: &Context, files: usize, wrong: &[Diagnostic]) -> Result<()> {
    let out = &context.out;
    if out.json {
        let diagnostics = wrong.iter().map(DiagnosticJson::from).collect();
        return Ok(out.show_json(&Checked { ok: false, diagnostics, files, definitions: None })?);
    }
    // What is wrong is the answer here, so that it can be piped.
    let rendered: String = wrong.iter().map(|diagnostic| diagnostic.render(out.out().into()) + "\n\n").collect();
    let summary = format!("{} in {}", counted(wrong.len(), "error", "errors"), counted(files, "file", "files"));
    Ok(out.print(&format!("{rendered}{}\n", out.out().red(summary)))?)
}

impl Counts {
    fn of(catalog: &Catalog) -> Self {
        Counts {
            entities: catalog.definitions.entities.len(),
            sources: catalog.sources.len(),
            views: catalog.views.len(),
            features: catalog.views.values().map(|view| view.features.fields().len()).sum(),
            services: catalog.services.len(),
            fingerprint: meaning_of_all(catalog).to_string(),
        }
    }
}

impl Report for Checked {
    fn text(&self, paint: Paint) -> String {
        let Some(Counts { entities, sources, views, features, services, .. }) = &self.definitions else { return String::new() };
        let views = format!("{} with {}", counted(*views, "view", "views"), counted(*features, "feature", "features"));
        let parts =
            [counted(*entities, "entity", "entities"), counted(*sources, "source", "sources"), views, counted(*services, "service", "services")];
        format!("{} {} in {}\n", paint.green("fine:"), parts.join(", "), counted(self.files, "file", "files"))
    }
}
