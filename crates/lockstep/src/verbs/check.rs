//! `check`: are the definitions right?

use std::path::Path;

use anyhow::Result;
use clap::Args;
use lockstep_ingest::kafka::check_schemas;
use lockstep_serve::scoring::Bound;
use lockstep_transform::catalog::{Catalog, meaning_of_all};
use lockstep_transform::definition::{Diagnostic, DiagnosticJson, Service, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::failure::{Outcome, Wrong};
use crate::models::{self, Smoking};
use crate::output::{Paint, Report};
use crate::project::{Project, compile};
use crate::serving::ServeConfig;
use crate::text::{bytes, counted};

/// Check the definitions
///
/// Reads all `*.sql` files of the project and compiles them, with the schemas of Avro and the models that they name: offline, without a store, in a moment. Prints what is
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
    /// Each model, in the order of the definitions, where nothing is wrong.
    pub models: Vec<CheckedModel>,
}

/// A model that goes with its features.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckedModel {
    /// Its name.
    pub model: String,
    /// What runs it: `trees`, `tract` or `onnxruntime`.
    pub runtime: String,
    /// The feature service whose outputs go into it.
    pub service: String,
    /// What goes into it.
    pub inputs: Vec<CheckedInput>,
    /// The operators of its graph.
    pub operators: Vec<String>,
    /// Bytes of its file.
    pub bytes: u64,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Rows of its training set, where it names one.
    pub trained_rows: Option<u64>,
}

/// An input of a model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckedInput {
    /// Its name in the file.
    pub name: String,
    /// What it is made of, such as `float32`.
    pub element: String,
    /// The features that go into it, in order.
    pub features: Vec<String>,
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
    /// Models.
    pub models: usize,
    /// Deployments.
    pub deployments: usize,
    /// Sets of published predictions, each of which is a source and a view, too.
    pub predictions: usize,
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
    match compile(&files).and_then(|catalog| beside(&catalog, &project).map(|models| (catalog, models))) {
        Ok((catalog, models)) => {
            let models = models.iter().map(CheckedModel::of).collect();
            let (files, definitions) = (files.len(), Some(Counts::of(&catalog)));
            context.out.show(&Checked { ok: true, diagnostics: Vec::new(), files, definitions, models })?;
            Ok(Outcome::Fine)
        }
        Err(wrong) => {
            show_wrong(context, files.len(), &wrong)?;
            Ok(Outcome::Differs)
        }
    }
}

/// Whether the files that definitions name go with them: schemas, and models, which come bound.
pub(super) fn beside(catalog: &Catalog, project: &Project) -> Result<Vec<Bound>, Vec<Diagnostic>> {
    schemas(catalog, &project.dir)?;
    ages(catalog, &project.config.serve)?;
    let read = models::read(project, catalog).map_err(|Wrong(wrong)| wrong)?;
    models::bind(catalog, &read, Smoking::Not)
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

/// Whether what stands in for a store that does not answer is younger than what services allow.
fn ages(catalog: &Catalog, serve: &ServeConfig) -> Result<(), Vec<Diagnostic>> {
    let Some(kept) = &serve.last_known_good else { return Ok(()) };
    let longer = |service: &&Service| service.max_age.is_some_and(|max_age| kept.age > max_age);
    let wrong = |service: &Service| {
        let max_age = service.max_age.unwrap_or_default();
        let title =
            format!("service `{}` has outputs of what is up to {max_age} old, and the last known good stands in for {}", service.name, kept.age);
        service.origin.error(title).note("lockstep.toml says so: [serve.last_known_good] age").help(format!("write age = '{max_age}' there, or less"))
    };
    let wrong: Vec<Diagnostic> = catalog.definitions.services.values().filter(longer).map(wrong).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn show_wrong(context: &Context, files: usize, wrong: &[Diagnostic]) -> Result<()> {
    let out = &context.out;
    if out.json {
        let diagnostics = wrong.iter().map(DiagnosticJson::from).collect();
        return Ok(out.show_json(&Checked { ok: false, diagnostics, files, definitions: None, models: Vec::new() })?);
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
            models: catalog.models.len(),
            deployments: catalog.deployments.len(),
            predictions: catalog.definitions.predictions.len(),
            fingerprint: meaning_of_all(catalog).to_string(),
        }
    }
}

impl Report for Checked {
    fn text(&self, paint: Paint) -> String {
        let Some(Counts { entities, sources, views, features, services, models, deployments, predictions, .. }) = &self.definitions else {
            return String::new();
        };
        let views = format!("{} with {}", counted(*views, "view", "views"), counted(*features, "feature", "features"));
        let mut parts =
            vec![counted(*entities, "entity", "entities"), counted(*sources, "source", "sources"), views, counted(*services, "service", "services")];
        if models + deployments > 0 {
            parts.extend([counted(*models, "model", "models"), counted(*deployments, "deployment", "deployments")]);
        }
        if *predictions > 0 {
            parts.push(counted(*predictions, "set of predictions", "sets of predictions"));
        }
        let summary = format!("{} {} in {}\n", paint.green("fine:"), parts.join(", "), counted(self.files, "file", "files"));
        self.models.iter().map(|model| model.text(paint)).collect::<String>() + &summary
    }
}

impl CheckedModel {
    /// What is said of a model that is bound.
    pub fn of(bound: &Bound) -> CheckedModel {
        let input = |port: &lockstep_score::Port| CheckedInput {
            name: port.name.clone(),
            element: port.element.to_string(),
            features: bound.features_of(&port.name).into_iter().map(str::to_owned).collect(),
        };
        CheckedModel {
            model: bound.name.clone(),
            runtime: bound.runtime.to_string(),
            service: bound.service.clone(),
            inputs: bound.ports().iter().map(input).collect(),
            operators: bound.operators.clone(),
            bytes: bound.bytes,
            sha256: bound.sha256.clone(),
            trained_rows: bound.training.as_ref().map(|training| training.rows),
        }
    }

    /// What runs it, what goes in, and what it is made of.
    pub fn text(&self, paint: Paint) -> String {
        let CheckedModel { model, runtime, service, inputs, operators, bytes: size, sha256, trained_rows } = self;
        let trained = trained_rows.map(|rows| format!(", trained on {}", counted(usize::try_from(rows).unwrap_or(usize::MAX), "row", "rows")));
        let mut text = format!(
            "{} {}  {}, {}, of {service}{}\n",
            paint.dim("model"),
            paint.bold(model),
            paint.cyan(runtime),
            bytes(*size),
            trained.unwrap_or_default()
        );
        for CheckedInput { name, element, features } in inputs {
            text += &format!("  {name} {element} ← {}\n", features.join(", "));
        }
        text + &paint.dim(format!("  {} · {}", operators.join(", "), &sha256[..12])) + "\n"
    }
}
