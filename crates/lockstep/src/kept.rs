//! Answers that are kept, to be computed again later: with the moment, and the positions of the state they were read from.
//!
//! `get --keep`, `ingest --answer --keep` and the [feature log](crate::feature_log) of a server all write this. A Parquet file holds answers of one service or view, by one set of
//! definitions. Its columns are `number` (the request's place in the file or the call it came from), `moment`, the structs `request`, `value`, `status` and `filled_by`, and
//! `read_from`: as JSON, what was read and where it stood. A feature log has `request_id`, `served_at` and `event_time` beside them. A status that is NULL is of an output that was not
//! asked for. A file is written under another name, forced to the disk and then renamed: one that ends in `.parquet` is whole.
//!
//! Files of earlier releases say once, in their metadata, what all of their answers were read from.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::builder::StringDictionaryBuilder;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit, TimestampMicrosecondType, UInt32Type, UInt64Type};
use lockstep_model::{Error, Fingerprint, Generation, PartitionId, Position, TimeMode};
use lockstep_serve::Lookup;
use lockstep_store::CutRead;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
pub use scores::{KeptScores, ScoredBy};

mod candidates;
mod scores;

/// Name of the metadata of earlier files, and of the column of later ones.
const READ_FROM: &str = "lockstep.read_from";
const READ_FROM_COLUMN: &str = "read_from";

/// What answers were read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadFrom {
    /// The feature service or view that was asked.
    pub name: String,
    /// Which clock counted.
    pub time: TimeMode,
    /// One for each view that was read.
    pub views: Vec<ViewAt>,
    /// The number of the definitions that answered, where they are not those that were applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definitions: Option<u64>,
    /// What the service or view means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Fingerprint>,
    /// The release of definitions that served, and how often the pointer to it had been moved, where one was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<ServedBy>,
    /// The release of Lockstep that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The share of vectors that a feature log kept, this one among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Whether the store did not answer, and the last known good was given; then nobody knows where the views stood.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recalled: bool,
}

/// A release that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedBy {
    /// The release.
    pub release: u32,
    /// How often the pointer to what serves had been moved.
    pub epoch: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A view's state at its positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewAt {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Fingerprint>,
    /// The key space that was read.
    pub generation: Generation,
    /// How far each partition had been applied.
    pub positions: Vec<(PartitionId, Position)>,
}

/// Answers of one cut.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What they were read from.
    pub from: Arc<ReadFrom>,
    /// The requests' places in the file or the call they came from.
    pub numbers: Vec<u64>,
    /// Their moments, µs.
    pub moments: Vec<i64>,
    /// What was asked.
    pub requests: RecordBatch,
    /// Per output, the values.
    pub values: Vec<ArrayRef>,
    /// Names of the outputs.
    pub outputs: Fields,
    /// Per output, the statuses' names; NULL where it was not asked for.
    pub statuses: Vec<StringArray>,
    /// Per output, what filled the values.
    pub filled_by: Vec<StringArray>,
    /// Of a feature log.
    pub logged: Option<Logged>,
    /// What was predicted of them, of a feature log, where they were looked up to be scored.
    pub predicted: Option<KeptScores>,
}

/// What a feature log says beside.
#[derive(Debug, Clone)]
pub struct Logged {
    /// What callers called their requests; NULL where they had no name.
    pub request_ids: StringArray,
    /// When they were answered, µs.
    pub served_at: Vec<i64>,
    /// Per output, the time of the newest event behind each value, µs.
    pub event_times: Vec<TimestampMicrosecondArray>,
}

impl ViewAt {
    /// Rows applied in all positions: grows as the state does.
    pub fn rows_applied(&self) -> u64 {
        self.positions.iter().map(|(_, position)| position.rows()).sum()
    }
}

impl Kept {
    /// The answer to requests, as read from `cut`.
    ///
    /// # Errors
    /// Where the positions cannot be read.
    pub fn new(name: &str, cut: &dyn CutRead, lookup: &Lookup, numbers: Vec<u64>, moments: Vec<i64>, requests: RecordBatch) -> Result<Kept, Error> {
        let mut views: Vec<ViewAt> = Vec::new();
        for read in &lookup.reads {
            let role = &read.role;
            if views.iter().all(|known| known.generation != role.generation) {
                let positions = cut.positions(role.generation)?;
                let (view, meaning) = (role.view.view.clone(), Some(role.view.meaning));
                views.push(ViewAt { view, version: role.version, meaning, generation: role.generation, positions });
            }
        }
        let release = Some(env!("CARGO_PKG_VERSION").to_owned());
        let from = ReadFrom {
            name: name.to_owned(),
            time: lookup.time,
            views,
            definitions: None,
            meaning: None,
            served_by: None,
            release,
            share: None,
            recalled: false,
        };
        Ok(Kept {
            from: Arc::new(from),
            numbers,
            moments,
            requests,
            values: lookup.columns.clone(),
            outputs: lookup.schema.fields().clone(),
            statuses: texts(&lookup.statuses),
            filled_by: texts(&lookup.filled_by),
            logged: None,
            predicted: None,
        })
    }

    /// The same answers, said to be by these definitions.
    #[must_use]
    pub fn by(mut self, definitions: Option<u64>) -> Kept {
        Arc::make_mut(&mut self.from).definitions = definitions;
        self
    }

    /// Rows applied in all positions: grows as the state does.
    pub fn rows_applied(&self) -> u64 {
        self.from.views.iter().map(ViewAt::rows_applied).sum()
    }

    /// How many answers.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// What its caller called the request of a row, if anything; only a feature log says so.
    pub fn request_id(&self, row: usize) -> Option<&str> {
        let request_ids = &self.logged.as_ref()?.request_ids;
        request_ids.is_valid(row).then(|| request_ids.value(row))
    }

    /// A row for people: its place in its request.
    pub fn called(&self, row: usize) -> String {
        let number = self.numbers[row];
        self.request_id(row).map_or_else(|| format!("row {number} of a request"), |request_id| format!("request {request_id} row {number}"))
    }

    /// One row alone.
    #[must_use]
    pub fn row(&self, row: usize) -> Kept {
        let Kept { from, numbers, moments, requests, values, outputs, statuses, filled_by, logged, predicted } = self;
        let one = |columns: &[StringArray]| columns.iter().map(|column| column.slice(row, 1)).collect();
        Kept {
            from: Arc::clone(from),
            numbers: vec![numbers[row]],
            moments: vec![moments[row]],
            requests: requests.slice(row, 1),
            values: values.iter().map(|column| column.slice(row, 1)).collect(),
            outputs: outputs.clone(),
            statuses: one(statuses),
            filled_by: one(filled_by),
            logged: logged.as_ref().map(|logged| Logged {
                request_ids: logged.request_ids.slice(row, 1),
                served_at: vec![logged.served_at[row]],
                event_times: logged.event_times.iter().map(|column| column.slice(row, 1)).collect(),
            }),
            predicted: predicted.as_ref().map(|predicted| predicted.row(row)),
        }
    }

    /// Whether an output of a row was asked for.
    pub fn was_asked(&self, output: usize, row: usize) -> bool {
        self.statuses[output].is_valid(row)
    }

    /// The file that keeps the answers.
    ///
    /// # Errors
    /// Where they cannot be encoded.
    pub fn file(&self) -> Result<KeptFile> {
        let first = self.numbers.first().copied().unwrap_or_default();
        Ok(KeptFile { name: format!("answers-{:020}-{first:010}.parquet", self.rows_applied()), bytes: Bytes(encode(&[batch(&[self])?])?) })
    }

    /// Writes the answers into a directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        self.file()?.write(dir)
    }
}

/// Answers of one service or view, by one set of definitions, as rows of a file. There is at least one, and either all are of a feature log or none.
///
/// # Errors
/// Where they are not of one schema.
pub fn batch(all: &[&Kept]) -> Result<RecordBatch> {
    let Some(first) = all.first() else { return Err(Error::internal("no answers to write").into()) };
    let join = |part: &dyn Fn(&Kept) -> ArrayRef| -> Result<ArrayRef> {
        let parts: Vec<ArrayRef> = all.iter().map(|kept| part(kept)).collect();
        Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?)
    };
    let outputs = 0..first.outputs.len();
    let structure = |data_type: Option<&DataType>, part: &dyn Fn(&Kept, usize) -> ArrayRef| -> Result<ArrayRef> {
        let field = |field: &Arc<Field>| Field::new(field.name(), data_type.unwrap_or(field.data_type()).clone(), true);
        let fields: Fields = first.outputs.iter().map(field).collect();
        let columns = outputs.clone().map(|output| join(&|kept| part(kept, output))).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(StructArray::try_new(fields, columns, None)?))
    };
    let requests = first.requests.schema();
    let asked = (0..requests.fields().len()).map(|column| join(&|kept| Arc::clone(kept.requests.column(column)))).collect::<Result<Vec<_>>>()?;
    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("number", join(&|kept| Arc::new(UInt64Array::from(kept.numbers.clone())))?),
        ("moment", join(&|kept| Arc::new(TimestampMicrosecondArray::from(kept.moments.clone())))?),
        ("value", structure(None, &|kept, output| Arc::clone(&kept.values[output]))?),
        ("status", structure(Some(&DataType::Utf8), &|kept, output| Arc::new(kept.statuses[output].clone()))?),
        ("filled_by", structure(Some(&DataType::Utf8), &|kept, output| Arc::new(kept.filled_by[output].clone()))?),
        (READ_FROM_COLUMN, read_from(all)?),
    ];
    if !asked.is_empty() {
        // Parquet has no structs without fields.
        columns.insert(2, ("request", Arc::new(StructArray::try_new(requests.fields().clone(), asked, None)?)));
    }
    if first.logged.is_some() {
        let no_time = || new_null_array(&moment, 0);
        let logged = |kept: &Kept, part: &dyn Fn(&Logged) -> ArrayRef| kept.logged.as_ref().map_or_else(no_time, part);
        columns.push(("request_id", join(&|kept| logged(kept, &|logged| Arc::new(logged.request_ids.clone())))?));
        columns.push(("served_at", join(&|kept| logged(kept, &|logged| Arc::new(TimestampMicrosecondArray::from(logged.served_at.clone()))))?));
        columns.push(("event_time", structure(Some(&moment), &|kept, output| logged(kept, &|logged| Arc::new(logged.event_times[output].clone())))?));
    }
    if first.predicted.is_some() {
        columns.extend(scores::columns(&all.iter().filter_map(|kept| kept.predicted.as_ref()).collect::<Vec<_>>())?);
    }
    // Whether there are NULLs may not depend on the batch: batches of one file are of one schema.
    let may_be_null = |name: &str| ["request_id", "action", "propensity"].contains(&name);
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, may_be_null(name))))?)
}

/// What each answer was read from: few texts, each of many rows.
fn read_from(all: &[&Kept]) -> Result<ArrayRef> {
    let mut column = StringDictionaryBuilder::<UInt32Type>::new();
    let mut last: Option<(&Arc<ReadFrom>, String)> = None;
    for kept in all {
        let known = last.take().filter(|(from, _)| Arc::ptr_eq(from, &kept.from));
        let (from, text) = match known {
            Some(known) => known,
            None => (&kept.from, serde_json::to_string(&*kept.from)?),
        };
        for _ in 0..kept.len() {
            column.append(&text)?;
        }
        last = Some((from, text));
    }
    Ok(Arc::new(column.finish()))
}

/// A Parquet file of batches of one schema.
///
/// # Errors
/// Where they cannot be encoded.
pub fn encode(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let Some(first) = batches.first() else { return Err(Error::internal("no answers to write").into()) };
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), first.schema(), Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}

/// A file of answers: what a directory holds, and what questions and answers carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its name in the directory.
    pub name: String,
    /// What is in it: Parquet.
    pub bytes: Bytes,
}

impl KeptFile {
    /// Whether it has the answer to a request; without looking at anything but that.
    ///
    /// # Errors
    /// Data where it is no Parquet file.
    pub fn has_request(&self, request_id: &str) -> Result<bool> {
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(&self.bytes.0)).with_context(|| format!("read {}", self.name))?;
        let only = ProjectionMask::columns(builder.parquet_schema(), ["request_id"]);
        for batch in builder.with_projection(only).build()? {
            let batch = batch?;
            let request_ids = batch.column_by_name("request_id").and_then(|column| column.as_string_opt::<i32>());
            if request_ids.is_some_and(|ids| ids.iter().flatten().any(|id| id == request_id)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the file into a directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(&self.name);
        write_whole(&path, &self.bytes.0)?;
        Ok(path)
    }

    /// The answers in it, in their order.
    ///
    /// # Errors
    /// Data where it is no file of answers.
    pub fn read(&self) -> Result<Vec<Kept>> {
        let no_answers = || Error::data(format!("{} is no file of kept answers · take it out of the directory", self.name));
        Ok(decode(&self.bytes).with_context(|| format!("read {}", self.name))?.ok_or_else(no_answers)?)
    }
}

/// Writes a file that is whole once it has its name.
///
/// # Errors
/// Where it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let unfinished = path.with_extension(UNFINISHED);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().inspect_err(|_| drop(fs::remove_file(&unfinished))).with_context(|| format!("write {}", unfinished.display()))?;
    fs::rename(&unfinished, path).with_context(|| format!("rename {}", unfinished.display()))?;
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// What the name of a file ends in that is being written.
pub const UNFINISHED: &str = "unfinished";

/// The files of answers that a directory keeps, by name.
///
/// # Errors
/// NotFound where there are none; where one cannot be read.
pub fn files(dir: &Path) -> Result<Vec<KeptFile>> {
    let read = |path: &PathBuf| -> Result<KeptFile> {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(KeptFile { name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes: Bytes(bytes) })
    };
    let files: Vec<KeptFile> = paths(dir)?.iter().map(read).collect::<Result<_>>()?;
    if files.is_empty() {
        return Err(Error::not_found(format!(
            "{} keeps no answers · `lockstep get … --keep DIR` or `ingest --answer … --keep DIR` keeps them",
            dir.display()
        ))
        .into());
    }
    Ok(files)
}

/// The answers in files, in the order of the positions they were read at.
///
/// # Errors
/// Data where a file is no file of answers.
pub fn read(files: &[KeptFile]) -> Result<Vec<Kept>> {
    let mut all: Vec<Kept> = files.iter().map(KeptFile::read).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    all.sort_by_key(Kept::rows_applied);
    Ok(all)
}

/// The numbers of the requests that a directory keeps answers to, if it is there.
///
/// # Errors
/// As [`files`] and [`read`], but for a directory that keeps none.
pub fn numbers(dir: &Path) -> Result<Vec<u64>> {
    if !dir.is_dir() || paths(dir)?.is_empty() {
        return Ok(Vec::new());
    }
    Ok(read(&files(dir)?)?.into_iter().flat_map(|kept| kept.numbers).collect())
}

/// The whole files of a directory, and of those in it, by name.
///
/// # Errors
/// Where it cannot be read.
pub fn paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(dir)? {
        match path.is_dir() {
            true => files.extend(entries(&path)?),
            false => files.push(path),
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    files.sort();
    Ok(files)
}

/// What is in a directory.
///
/// # Errors
/// Where it cannot be read.
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// The answers in one file; `None` where it is none of ours.
fn decode(bytes: &Bytes) -> Result<Option<Vec<Kept>>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(&bytes.0))?;
    let metadata = builder.metadata().file_metadata().key_value_metadata();
    let of_file = |all: &Vec<KeyValue>| all.iter().find(|pair| pair.key == READ_FROM).and_then(|pair| pair.value.clone());
    let of_file: Option<Arc<ReadFrom>> = metadata.and_then(of_file).map(|text| serde_json::from_str(&text)).transpose()?.map(Arc::new);
    let mut all = Vec::new();
    for batch in builder.build()? {
        let batch = batch?;
        let runs = match (&of_file, batch.column_by_name(READ_FROM_COLUMN)) {
            (Some(from), _) => vec![(Arc::clone(from), 0..batch.num_rows())],
            (None, Some(column)) => runs(column)?,
            (None, None) => return Ok(None),
        };
        for (from, rows) in runs {
            let Some(kept) = kept_of(from, &batch.slice(rows.start, rows.len())) else { return Ok(None) };
            all.push(kept);
        }
    }
    Ok(Some(all))
}

/// Rows that follow each other and were read from the same state.
fn runs(column: &ArrayRef) -> Result<Vec<(Arc<ReadFrom>, std::ops::Range<usize>)>> {
    let texts = cast(column, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut runs: Vec<(Arc<ReadFrom>, std::ops::Range<usize>)> = Vec::new();
    for row in 0..texts.len() {
        match runs.last_mut() {
            Some((_, rows)) if texts.value(rows.start) == texts.value(row) => rows.end = row + 1,
            _ => runs.push((Arc::new(serde_json::from_str(texts.value(row))?), row..row + 1)),
        }
    }
    Ok(runs)
}

fn kept_of(from: Arc<ReadFrom>, batch: &RecordBatch) -> Option<Kept> {
    let part = |name: &str| batch.column_by_name(name)?.as_struct_opt();
    let (requests, values) = (part("request"), part("value")?);
    let texts = |name: &str| part(name)?.columns().iter().map(|column| column.as_string_opt::<i32>().cloned()).collect::<Option<Vec<_>>>();
    let micros = |column: &ArrayRef| -> Option<TimestampMicrosecondArray> {
        let is_moment = *column.data_type() == DataType::Timestamp(TimeUnit::Microsecond, None);
        column.as_primitive_opt::<TimestampMicrosecondType>().filter(|_| is_moment).cloned()
    };
    let logged = |request_ids: &ArrayRef| -> Option<Logged> {
        Some(Logged {
            request_ids: request_ids.as_string_opt::<i32>()?.clone(),
            served_at: micros(batch.column_by_name("served_at")?)?.values().to_vec(),
            event_times: part("event_time")?.columns().iter().map(micros).collect::<Option<_>>()?,
        })
    };
    let (fields, asked) = requests.map_or_else(|| (Fields::empty(), Vec::new()), |requests| (requests.fields().clone(), requests.columns().to_vec()));
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Some(Kept {
        from,
        numbers: batch.column_by_name("number")?.as_primitive_opt::<UInt64Type>()?.values().to_vec(),
        moments: micros(batch.column_by_name("moment")?)?.values().to_vec(),
        requests: RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), asked, &options).ok()?,
        values: values.columns().to_vec(),
        outputs: values.fields().clone(),
        statuses: texts("status")?,
        filled_by: texts("filled_by")?,
        logged: match batch.column_by_name("request_id") {
            Some(request_ids) => Some(logged(request_ids)?),
            None => None,
        },
        predicted: KeptScores::read(batch),
    })
}

/// Names of statuses or fills, as they are kept.
pub fn texts<T: ToString, C: AsRef<[T]>>(columns: &[C]) -> Vec<StringArray> {
    columns.iter().map(|column| column.as_ref().iter().map(|item| Some(item.to_string())).collect()).collect()
}

#[cfg(test)]
mod tests;
