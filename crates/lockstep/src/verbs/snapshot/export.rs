//! `snapshot export`: the values of every entity at the moment of a snapshot, as Parquet.
//!
//! Entities come in pages, so that no more than one of them is in memory. Where the store is, a page is read from the snapshot itself, which has no owner; from a server, a page is
//! a question.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use clap::Args;
use lockstep_model::{Error, Generation, key};
use lockstep_serve::LookupRequest;
use lockstep_serve::admin::Progress;
use lockstep_store::{CutRead, Snapshots};
use lockstep_transform::definition::sql_name;
use lockstep_transform::transformation::Transformation;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Context;
use super::show::Shown;
use crate::ask;
use crate::bytes::{Bytes, Rows};
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::pinned::Pinned;
use crate::progress::Display;
use crate::text::{bytes, counted, did_you_mean};
use crate::train::{Digesting, ManifestColumn, digest_of, sync_dir, write_whole};

/// Entities of a page.
const PAGE: usize = 16_384;
/// Pages of a group of rows in a file.
const GROUP: usize = 8;
/// The manifest's name.
const MANIFEST: &str = "manifest.json";

/// Write the values of every entity at the moment of a snapshot, as Parquet
///
/// A directory with a file for each view, and a manifest. A file has the columns of the key, a column for each feature, and one with the status of each value. They are what
/// `lockstep get --snapshot` answers, bit for bit. The directory is there whole or not at all; the same snapshot gives the same bytes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot
    pub name: String,
    /// The directory to write, which must not be there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only this view; may be given several times
    #[arg(long = "view", value_name = "VIEW")]
    pub views: Vec<String>,
}

/// What the owner of the store is asked: the next page.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The snapshot.
    pub snapshot: String,
    /// The view; none to be told which there are.
    pub view: Option<String>,
    /// The entity that was the last of the page before.
    pub after: Option<Bytes>,
}

/// A page.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    /// The snapshot.
    pub snapshot: Shown,
    /// Its views, in the order of their definitions.
    pub views: Vec<ViewMeaning>,
    /// The entities and their values.
    pub rows: Option<Rows>,
    /// The last entity; none where no more come.
    pub last: Option<Bytes>,
}

/// A view of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ViewMeaning {
    /// Its name.
    pub view: String,
    /// Fingerprint of what it means.
    pub meaning: String,
    /// How many columns the key has.
    pub key: usize,
    /// How many features.
    pub features: usize,
}

/// Values of a snapshot that were written, and what the manifest says.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotExport {
    /// The version of this layout.
    pub format: u32,
    /// The snapshot.
    pub snapshot: String,
    /// The moment of all values.
    pub moment: String,
    /// The number of the definitions.
    pub definitions: Option<u64>,
    /// Fingerprint of what they mean.
    pub fingerprint: Option<String>,
    /// The release that served when the snapshot was made.
    pub release: Option<u32>,
    /// Each view.
    pub views: Vec<ExportedView>,
    /// SHA-256 of the files' digests, in order.
    pub digest: String,
}

/// A view that was written.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExportedView {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// Its generation.
    pub generation: u32,
    /// Fingerprint of what it means.
    pub meaning: String,
    /// The file's columns, in order.
    pub columns: Vec<ManifestColumn>,
    /// The file.
    pub file: String,
    /// Entities.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Writes the values.
///
/// # Errors
/// NotFound where there is no such snapshot or view; Invalid where the directory is there; OutOfRange where a view cannot be read at the snapshot's moment.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { name, out, views } = arguments;
    let pages = Pages::open(context, name)?;
    let first = pages.page(&Question { snapshot: name.clone(), view: None, after: None })?;
    let wanted = wanted(name, &first.views, views)?;
    let exporting = Exporting { pages: &pages, snapshot: &first.snapshot, directory: Directory::make(out)? };
    let mut display = Display::new();
    let written = wanted.iter().map(|view| exporting.view(view, &mut display)).collect::<Result<Vec<_>>>();
    display.finish();
    let Shown { name, moment, definitions, fingerprint, release, .. } = first.snapshot.clone();
    let views = written?;
    let digest = digest_of(views.iter().map(|view| view.sha256.as_str()));
    let export = SnapshotExport { format: 1, snapshot: name, moment, definitions, fingerprint, release, views, digest };
    exporting.directory.finish(&export)?;
    context.out.show(&export)?;
    Ok(Outcome::Fine)
}

fn wanted(snapshot: &str, all: &[ViewMeaning], views: &[String]) -> Result<Vec<ViewMeaning>, Error> {
    for view in views {
        let known = || all.iter().map(|known| known.view.as_str());
        if !known().any(|known| known == view) {
            let meant = did_you_mean(view, known());
            let known = known().collect::<Vec<_>>().join(", ");
            return Err(Error::not_found(format!("snapshot `{snapshot}` has no view `{view}` · known: {known}{meant}")));
        }
    }
    Ok(all.iter().filter(|view| views.is_empty() || views.contains(&view.view)).cloned().collect())
}

/// Where pages come from.
enum Pages<'a> {
    /// The snapshot, where it lies.
    Here(Box<Pinned>),
    /// A server.
    Asked(&'a Context),
}

impl Pages<'_> {
    fn open<'a>(context: &'a Context, name: &str) -> Result<Pages<'a>> {
        if context.global.server.is_some() {
            return Ok(Pages::Asked(context));
        }
        let project = context.project()?;
        if !project.store.exists() {
            return Err(project.nothing_applied().into());
        }
        Ok(Pages::Here(Box::new(Pinned::open(&Snapshots::of(&project.store).find(name)?)?)))
    }

    fn page(&self, question: &Question) -> Result<Page> {
        match self {
            Pages::Here(pinned) => page(pinned, question),
            Pages::Asked(context) => context.ask(question),
        }
    }
}

impl ask::Question for Question {
    const VERB: &'static str = "snapshot export";
    type Answer = Page;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<Page> {
        page(&*owned.pinned.get(&owned.store, &self.snapshot)?, self)
    }
}

/// A page of a snapshot.
fn page(pinned: &Pinned, question: &Question) -> Result<Page> {
    let catalog = pinned.served().catalog();
    let meaning = |view: &Arc<Transformation>| ViewMeaning {
        view: view.view.clone(),
        meaning: view.meaning.to_string(),
        key: view.entity.len(),
        features: view.features.fields().len(),
    };
    let is_published = |view: &&Arc<Transformation>| pinned.served().generation(&view.view).is_some();
    let views = catalog.views.values().filter(is_published).map(meaning).collect();
    let mut page = Page { snapshot: Shown::new(pinned.manifest(), None), views, rows: None, last: None };
    if let Some(view) = &question.view {
        let cut = pinned.cut();
        let (view, generation) = find(pinned, view)?;
        let entities = cut.entities_after(generation, question.after.as_ref().map(|after| after.0.as_slice()), PAGE)?;
        page.rows = Some(Rows(values(pinned, &cut, view, &entities)?));
        page.last = entities.last().filter(|_| entities.len() == PAGE).map(|entity| Bytes(entity.clone()));
    }
    Ok(page)
}

/// A view of a snapshot, and its generation.
///
/// # Errors
/// NotFound.
pub fn find<'a>(pinned: &'a Pinned, view: &str) -> Result<(&'a Arc<Transformation>, Generation), Error> {
    let served = pinned.served();
    let found = served.catalog().views.get(view).zip(served.generation(view));
    found.map(|(view, info)| (view, info.generation)).ok_or_else(|| {
        let name = &pinned.manifest().name;
        Error::not_found(format!("snapshot `{name}` has no view `{view}` · `lockstep snapshot show {name}` tells which it has"))
    })
}

/// Entities with their values at the moment of a snapshot: columns of the key, features, statuses.
fn values(pinned: &Pinned, cut: &dyn CutRead, view: &Transformation, entities: &[Vec<u8>]) -> Result<RecordBatch> {
    let (keys, lookup) = looked_up(pinned, cut, view, entities)?;
    let statuses = lookup
        .statuses
        .iter()
        .map(|statuses| -> ArrayRef { Arc::new(statuses.iter().map(|status| Some(status.to_string())).collect::<StringArray>()) });
    let columns = keys.columns().iter().cloned().chain(lookup.columns.iter().cloned()).chain(statuses).collect();
    Ok(RecordBatch::try_new(schema_of(view), columns)?)
}

/// Entities of a view, as the columns of its key, and what the view says of them at the moment of a snapshot.
///
/// # Errors
/// As a lookup.
pub fn looked_up(pinned: &Pinned, cut: &dyn CutRead, view: &Transformation, entities: &[Vec<u8>]) -> Result<(RecordBatch, lockstep_serve::Lookup)> {
    let types: Vec<DataType> = view.entity.iter().map(|field| field.data_type().clone()).collect();
    let keys = RecordBatch::try_new(key_schema(view), key::decode(&types, entities.iter().map(Vec::as_slice))?)?;
    let moments = vec![pinned.manifest().moment.0; entities.len()];
    let request = LookupRequest { name: &view.view, rows: &keys, moments: &moments, time: None, explain: false };
    let lookup = pinned.served().lookup(cut, &request)?;
    Ok((keys, lookup))
}

fn key_schema(view: &Transformation) -> SchemaRef {
    let nullable = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
    Arc::new(Schema::new(view.entity.iter().map(nullable).collect::<Fields>()))
}

fn schema_of(view: &Transformation) -> SchemaRef {
    let features = view.features.fields();
    let mut fields: Vec<Field> = key_schema(view).fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.extend(features.iter().map(|feature| Field::new(feature.name(), feature.data_type().clone(), true)));
    fields.extend(features.iter().map(|feature| Field::new(format!("{}_status", feature.name()), DataType::Utf8, false)));
    Arc::new(Schema::new(fields))
}

/// Where an export is written, and from what.
struct Exporting<'a> {
    pages: &'a Pages<'a>,
    snapshot: &'a Shown,
    directory: Directory,
}

impl Exporting<'_> {
    /// Writes the file of a view.
    fn view(&self, view: &ViewMeaning, display: &mut Display) -> Result<ExportedView> {
        let file = format!("{}.parquet", view.view);
        let path = self.directory.partial.join(&file);
        let mut digesting = Digesting::new(File::create(&path).with_context(|| format!("make {}", path.display()))?);
        let (mut page, mut last) = self.page(view, None)?;
        let columns = columns_of(&page.schema(), view);
        let mut writer = ArrowWriter::try_new(&mut digesting, page.schema(), Some(self.properties(view)))?;
        let mut rows = 0;
        for number in 1usize.. {
            writer.write(&page)?;
            if number % GROUP == 0 {
                writer.flush()?;
            }
            rows += page.num_rows() as u64;
            display.step(&format!("{}: {rows} entities written", view.view));
            let Some(after) = last.take() else { break };
            (page, last) = self.page(view, Some(after))?;
        }
        writer.close()?;
        let (bytes, sha256) = digesting.finish()?;
        let generation = self.snapshot.generations.iter().rfind(|of| of.view == view.view && of.meaning == view.meaning);
        let (version, generation) = generation.map_or((0, 0), |of| (of.version, of.generation));
        Ok(ExportedView { view: view.view.clone(), version, generation, meaning: view.meaning.clone(), columns, file, rows, bytes, sha256 })
    }

    /// The entities behind one, and the last of them where more come.
    fn page(&self, view: &ViewMeaning, after: Option<Bytes>) -> Result<(RecordBatch, Option<Bytes>)> {
        let question = Question { snapshot: self.snapshot.name.clone(), view: Some(view.view.clone()), after };
        let Page { rows, last, .. } = self.pages.page(&question)?;
        let Rows(rows) = rows.ok_or_else(|| Error::internal("a page of a view has no rows"))?;
        Ok((rows, last))
    }

    fn properties(&self, view: &ViewMeaning) -> WriterProperties {
        WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(vec![
                KeyValue::new("lockstep.snapshot".to_owned(), self.snapshot.name.clone()),
                KeyValue::new("lockstep.moment".to_owned(), self.snapshot.moment.clone()),
                KeyValue::new("lockstep.meaning".to_owned(), view.meaning.clone()),
            ]))
            .build()
    }
}

fn columns_of(schema: &Schema, view: &ViewMeaning) -> Vec<ManifestColumn> {
    let role = |at: usize| match at {
        at if at < view.key => "key",
        at if at < view.key + view.features => "feature",
        _ => "status",
    };
    let column = |(at, field): (usize, &Arc<Field>)| ManifestColumn {
        name: field.name().clone(),
        data_type: sql_name(field.data_type()),
        role: role(at).to_owned(),
    };
    schema.fields().iter().enumerate().map(column).collect()
}

/// A directory that has its name once it is whole.
struct Directory {
    out: PathBuf,
    partial: PathBuf,
}

impl Directory {
    fn make(out: &Path) -> Result<Directory> {
        if out.exists() {
            return Err(Error::invalid(format!("{} is there already · name another directory, or remove it", out.display())).into());
        }
        let name = out.file_name().ok_or_else(|| Error::invalid(format!("{} is no name for a directory", out.display())))?;
        let partial = out.with_file_name(format!("{}.partial", name.to_string_lossy()));
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("make {}", partial.display()))?;
        Ok(Directory { out: out.to_owned(), partial })
    }

    fn finish(self, manifest: &SnapshotExport) -> Result<()> {
        write_whole(&self.partial.join(MANIFEST), serde_json::to_string_pretty(manifest)?.as_bytes())?;
        sync_dir(&self.partial)?;
        fs::rename(&self.partial, &self.out).with_context(|| format!("give {} its name", self.out.display()))?;
        sync_dir(self.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }
}

impl Report for SnapshotExport {
    fn text(&self, paint: Paint) -> String {
        let SnapshotExport { snapshot, moment, views, digest, .. } = self;
        let mut text = format!("{} the values of {snapshot} at {moment}\n", paint.green("written:"));
        for ExportedView { view, version, rows, file, bytes: size, .. } in views {
            text += &format!("  {view} version {version}: {} in {file}, {} on the disk\n", counted(*rows, "entity", "entities"), bytes(*size));
        }
        text + &format!("  digest {}\n", &digest[..12])
    }
}
