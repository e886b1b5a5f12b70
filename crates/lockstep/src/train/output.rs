//! Where a training set is written: a directory of Parquet files and a manifest, which is there whole or not at all.
//!
//! Parts are written to `OUT.partial`, each under another name until it is whole, with a report beside it. A killed run goes on behind the parts that are there,
//! if it is told to do the same; at the end the directory gets its manifest and its name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use lockstep_model::{Clock, Error, SystemClock};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::report::{PartReport, TrainingReport};
use super::scored::Scores;
use super::served::FromLog;

/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";
/// The name of what an unfinished run was told to do.
const JOB: &str = "job.json";

/// What a training set is made of, and what made it: two runs of one job write the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The version of this layout.
    pub format: u32,
    /// The feature service or view.
    pub name: String,
    /// Fingerprint of what it means.
    pub meaning: String,
    /// The views that were read, and their fingerprints.
    pub views: Vec<ViewUsed>,
    /// Which clock counted events: `known` or `event`.
    pub time: String,
    /// The spine's files.
    pub spine: Vec<InputFile>,
    /// The column that the moments are made of.
    pub timestamp: String,
    /// How long before it the moments are, µs.
    pub before: i64,
    /// Whether statuses are written.
    pub statuses: bool,
    /// Only what was known before this moment was read.
    pub until: Option<String>,
    /// The inputs as they were read: files of histories, and logs.
    pub inputs: Vec<InputFile>,
    /// Rows of a part.
    pub part_rows: u64,
    /// The release of lockstep.
    pub release: String,
    /// What it was told, where it is made of what was served; then its spine are the files of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_log: Option<FromLog>,
    /// The store that it was computed from, where it is one, and not batch files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_store: Option<FromStore>,
    /// What its rows were scored by, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
}

/// A view that a training set was read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViewUsed {
    /// Its name.
    pub view: String,
    /// Fingerprint of what it means.
    pub meaning: String,
    /// Fingerprint of how its state is encoded, where it was computed from history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A store, or a snapshot of one, as far as it had come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FromStore {
    /// The snapshot, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The snapshot's moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moment: Option<String>,
    /// The number of the definitions.
    pub definitions: u64,
    /// The release that served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// The epoch since which it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Each view's generation.
    pub generations: Vec<GenerationUsed>,
}

/// A generation whose inputs were read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GenerationUsed {
    /// The view.
    pub view: String,
    /// The view's version.
    pub version: u32,
    /// Its number.
    pub generation: u32,
    /// How far each partition was read.
    pub positions: Vec<PositionUsed>,
}

/// How far a partition was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PositionUsed {
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: String,
    /// How far, with all that it is known again by.
    pub position: serde_json::Value,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InputFile {
    /// The source; absent for the spine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its path or URL.
    pub file: String,
    /// Its size in bytes, where it is known.
    pub size: Option<u64>,
    /// What tells it from another of its size: a hash of its end, in hexadecimal, or when it was changed.
    pub identity: String,
    /// Rows read, where that is known beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// What a training set is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// What it was made of.
    pub job: Job,
    /// When it was finished.
    pub created_at: String,
    /// Its columns, in order.
    pub columns: Vec<ManifestColumn>,
    /// Its files, in the order of the spine, without what is in `report`.
    pub parts: Vec<ManifestPart>,
    /// SHA-256 of the files' digests, in order: of equal rows, values and layout.
    pub digest: String,
    /// What became of its rows.
    pub report: TrainingReport,
}

/// A column of a training set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestColumn {
    /// Its name.
    pub name: String,
    /// Its type in SQL.
    #[serde(rename = "type")]
    pub data_type: String,
    /// `request`, `timestamp`, `carried`, `outcome`, `weight`, `feature` or `status`; of scores also `prediction` and `way`.
    pub role: String,
}

/// A file of a training set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestPart {
    /// Its name.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// That of a set which is finished: its columns, each with its role, and its parts.
    pub fn new(job: Job, columns: Vec<ManifestColumn>, parts: &[PartReport], digest: String, report: TrainingReport) -> Manifest {
        Manifest { job, created_at: SystemClock.now().to_string(), columns, parts: parts.iter().map(ManifestPart::of).collect(), digest, report }
    }
}

impl ManifestPart {
    /// What a manifest says of a part.
    pub fn of(part: &PartReport) -> ManifestPart {
        ManifestPart { file: part.file.clone(), rows: part.rows, bytes: part.bytes, sha256: part.sha256.clone() }
    }
}

/// A directory in the making.
#[derive(Debug)]
pub struct Directory {
    out: PathBuf,
    partial: PathBuf,
    /// Parts that are whole, in order.
    pub parts: Vec<PartReport>,
}

impl Directory {
    /// Whether a set can be made here; `noun` is what messages call it.
    ///
    /// # Errors
    /// Invalid where something is there and is not to be replaced.
    pub fn check(out: &Path, replace: bool, noun: &str) -> Result<()> {
        let (shown, is_set) = (out.display(), out.join(MANIFEST).is_file());
        if is_set && !replace {
            return Err(Error::invalid(format!("there is a {noun} at {shown} · name another directory, or replace it with --replace")).into());
        }
        let is_empty = !out.exists() || (out.is_dir() && fs::read_dir(out)?.next().is_none());
        if !is_set && !is_empty {
            return Err(Error::invalid(format!("there is something at {shown} that is no {noun} · name another directory")).into());
        }
        Ok(())
    }

    /// Begins a training set, or goes on with one that the same job began.
    ///
    /// # Errors
    /// Where the directory cannot be made.
    pub fn begin(out: &Path, job: &Job) -> Result<Directory> {
        let name = out.file_name().ok_or_else(|| Error::invalid(format!("{} is no name for a directory", out.display())))?;
        let partial = out.with_file_name(format!("{}.partial", name.to_string_lossy()));
        let text = serde_json::to_string_pretty(job)?;
        let begun = fs::read_to_string(partial.join(JOB)).ok();
        if begun.as_ref() != Some(&text) {
            if partial.exists() {
                fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
            }
            fs::create_dir_all(&partial).with_context(|| format!("make {}", partial.display()))?;
            write_whole(&partial.join(JOB), text.as_bytes())?;
        }
        let mut parts = Vec::new();
        while let Some(part) = read_part(&partial, parts.len()) {
            parts.push(part);
        }
        Ok(Directory { out: out.to_owned(), partial, parts })
    }

    /// Where parts are written.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Rows of the parts that are there.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Writes the manifest and gives the directory its name.
    ///
    /// # Errors
    /// Where that fails; then nothing has changed under that name.
    pub fn finish(self, manifest: &Manifest) -> Result<()> {
        write_whole(&self.partial.join(MANIFEST), serde_json::to_string_pretty(manifest)?.as_bytes())?;
        for number in 0..self.parts.len() {
            fs::remove_file(report_path(&self.partial, number))?;
        }
        fs::remove_file(self.partial.join(JOB))?;
        sync_dir(&self.partial)?;
        let name = self.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Only what was moved there is removed from there.
        let old = self.out.exists().then(|| self.out.with_file_name(format!("{name}.replaced")));
        if let Some(old) = &old {
            fs::rename(&self.out, old).with_context(|| format!("move {} away to {}", self.out.display(), old.display()))?;
        }
        fs::rename(&self.partial, &self.out).with_context(|| format!("give {} its name", self.out.display()))?;
        sync_dir(self.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        if let Some(old) = &old {
            fs::remove_dir_all(old).with_context(|| format!("remove {}", old.display()))?;
        }
        Ok(())
    }
}

/// SHA-256 of the digests of parts, in order.
pub fn digest(parts: &[PartReport]) -> String {
    digest_of(parts.iter().map(|part| part.sha256.as_str()))
}

/// SHA-256 of the digests of files, in order.
pub fn digest_of<'a>(files: impl Iterator<Item = &'a str>) -> String {
    let mut all = Sha256::new();
    files.for_each(|sha256| all.update(sha256.as_bytes()));
    hexadecimal(&all.finalize())
}

/// The name of a part.
pub fn part_name(number: usize) -> String {
    format!("part-{number:05}.parquet")
}

fn report_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("part-{number:05}.json"))
}

/// A part that is whole: its report is written last.
fn read_part(dir: &Path, number: usize) -> Option<PartReport> {
    let report: PartReport = serde_json::from_slice(&fs::read(report_path(dir, number)).ok()?).ok()?;
    let same = fs::metadata(dir.join(&report.file)).is_ok_and(|metadata| metadata.len() == report.bytes);
    same.then_some(report)
}

/// Writes a part, and then its report.
///
/// # Errors
/// Where the disk is full, or cannot be written.
pub fn write_part(dir: &Path, number: usize, rows: &RecordBatch, job: &Job, mut report: PartReport) -> Result<PartReport> {
    report.file = part_name(number);
    let path = dir.join(&report.file);
    let writing = path.with_extension("writing");
    let file = File::create(&writing).with_context(|| format!("make {}", writing.display()))?;
    let mut digesting = Digesting::new(file);
    let mut writer = ArrowWriter::try_new(&mut digesting, rows.schema(), Some(properties(&rows.schema(), job)))?;
    writer.write(rows)?;
    writer.close()?;
    (report.bytes, report.sha256) = digesting.finish()?;
    fs::rename(&writing, &path)?;
    write_whole(&report_path(dir, number), &serde_json::to_vec(&report)?)?;
    Ok(report)
}

/// How Parquet is written.
fn properties(schema: &SchemaRef, job: &Job) -> WriterProperties {
    let mut properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(Some(vec![
        KeyValue::new("lockstep.name".to_owned(), job.name.clone()),
        KeyValue::new("lockstep.meaning".to_owned(), job.meaning.clone()),
        KeyValue::new("lockstep.time".to_owned(), job.time.clone()),
    ]));
    for field in schema.fields() {
        // Few of them come twice: a dictionary would be built, and given up.
        if matches!(field.data_type(), DataType::Float64 | DataType::Float32 | DataType::Timestamp(..)) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
        }
    }
    properties.build()
}

/// A file, and the hash of what is written to it.
pub struct Digesting {
    file: File,
    sha256: Sha256,
    bytes: u64,
}

impl Digesting {
    /// A file that nothing was written to yet.
    pub fn new(file: File) -> Self {
        Digesting { file, sha256: Sha256::new(), bytes: 0 }
    }

    /// Forces the file to the disk; how many bytes it has, and their SHA-256.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn finish(self) -> io::Result<(u64, String)> {
        self.file.sync_all()?;
        Ok((self.bytes, hexadecimal(&self.sha256.finalize())))
    }
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file under another name, forces it to the disk, and gives it its own.
///
/// # Errors
/// Where the disk fails.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = path.with_extension("writing");
    let mut file = File::create(&writing).with_context(|| format!("make {}", writing.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&writing, path)?;
    Ok(())
}

/// Forces the names in a directory to the disk.
///
/// # Errors
/// Where the disk fails.
pub fn sync_dir(dir: &Path) -> Result<()> {
    Ok(File::open(dir)?.sync_all()?)
}
