//! The files of history that a backfill would read.

use lockstep_ingest::pipeline::{file_format, schema_of};
use lockstep_ingest::source::{ReadRequest, SourceFile, SourceReader, Stores, locate};
use lockstep_model::Error;
use lockstep_transform::catalog::{Catalog, SourcePlan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PlannedView;
use crate::project::Project;

/// A file of history.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedFile {
    /// The source.
    pub source: String,
    /// The file, or the location where there is none.
    pub file: String,
    /// Its rows, where its format says.
    pub rows: Option<u64>,
    /// Its size.
    pub bytes: Option<u64>,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

/// The history of all views that are to be filled.
pub fn of_views(project: &Project, catalog: &Catalog, views: &[PlannedView]) -> Vec<PlannedFile> {
    let reads = |source: &SourcePlan| {
        let needs = views.iter().filter(|view| view.backfill).filter_map(|view| catalog.views.get(&view.view));
        needs.into_iter().any(|view| view.branches.iter().any(|branch| branch.source == source.name))
    };
    let mut files = Vec::new();
    for source in catalog.sources.values().filter(|source| reads(source)) {
        for location in &source.options.batch {
            match locate(location, &project.dir, &Stores::local()) {
                Ok(found) => files.extend(found.iter().map(|file| planned_file(source, file))),
                Err(error) => files.push(PlannedFile {
                    source: source.name.clone(),
                    file: location.clone(),
                    rows: None,
                    bytes: None,
                    problem: Some(error.to_string()),
                }),
            }
        }
    }
    files
}

fn planned_file(source: &SourcePlan, file: &SourceFile) -> PlannedFile {
    let progress = || -> Result<_, Error> {
        let reader = SourceReader::open(file, ReadRequest::new(schema_of(source), file_format(source, file)?))?;
        Ok(reader.progress())
    };
    let (rows, bytes, problem) = match progress() {
        Ok(progress) => (progress.rows_total, progress.bytes_total, None),
        Err(error) => (None, None, Some(error.to_string())),
    };
    PlannedFile { source: source.name.clone(), file: file.name().to_owned(), rows, bytes, problem }
}
