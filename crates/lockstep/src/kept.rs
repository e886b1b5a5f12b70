//! Answers that are kept, to be computed again later: with the moment, and the positions of the state they were read from.
//!
//! A directory holds one Parquet file per batch that was answered from one cut. Its columns are `number` (the request's place in the file it came from),
//! `moment`, and the structs `request`, `value`, `status` and `filled_by`; what was read is in the file's metadata, as JSON. A file is
//! written under another name, forced to the disk and then renamed: one that ends in `.parquet` is whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit, TimestampMicrosecondType, UInt64Type};
use lockstep_model::{Error, Generation, PartitionId, Position, TimeMode};
use lockstep_serve::Lookup;
use lockstep_store::CutRead;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// Name of the metadata.
const READ_FROM: &str = "lockstep.read_from";

/// What a batch of answers was read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadFrom {
    /// The feature service or view that was asked.
    pub name: String,
    /// Which clock counted.
    pub time: TimeMode,
    /// One for each view that was read.
    pub views: Vec<ViewAt>,
}

/// A view's state at its positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewAt {
    /// The view.
    pub view: String,
    /// Its version.
    pub version: u32,
    /// The key space that was read.
    pub generation: Generation,
    /// How far each partition had been applied.
    pub positions: Vec<(PartitionId, Position)>,
}

/// Answers of one cut.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What they were read from.
    pub from: ReadFrom,
    /// The requests' places in the file they came from.
    pub numbers: Vec<u64>,
    /// Their moments, µs.
    pub moments: Vec<i64>,
    /// What was asked.
    pub requests: RecordBatch,
    /// Per output, the values.
    pub values: Vec<ArrayRef>,
    /// Names of the outputs.
    pub outputs: Fields,
    /// Per output, the statuses' names.
    pub statuses: Vec<Vec<String>>,
    /// Per output, what filled the values.
    pub filled_by: Vec<Vec<String>>,
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
                views.push(ViewAt { view: role.view.view.clone(), version: role.version, generation: role.generation, positions });
            }
        }
        Ok(Kept {
            from: ReadFrom { name: name.to_owned(), time: lookup.time, views },
            numbers,
            moments,
            requests,
            values: lookup.columns.clone(),
            outputs: lookup.schema.fields().clone(),
            statuses: texts(&lookup.statuses),
            filled_by: texts(&lookup.filled_by),
        })
    }

    /// Rows applied in all positions: grows as the state does.
    pub fn rows_applied(&self) -> u64 {
        let rows = |(_, position): &(PartitionId, Position)| position.rows();
        self.from.views.iter().flat_map(|view| &view.positions).map(rows).sum()
    }

    fn batch(&self) -> Result<RecordBatch> {
        let names: Vec<&str> = self.outputs.iter().map(|field| field.name().as_str()).collect();
        let texts = |columns: &[Vec<String>]| {
            let fields: Fields = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
            let columns = columns.iter().map(|column| Arc::new(StringArray::from_iter_values(column)) as ArrayRef).collect();
            StructArray::try_new(fields, columns, None)
        };
        let outputs: Fields = self.outputs.iter().map(|field| Field::new(field.name(), field.data_type().clone(), true)).collect();
        let requests = StructArray::try_new(self.requests.schema().fields().clone(), self.requests.columns().to_vec(), None)?;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("number", Arc::new(UInt64Array::from(self.numbers.clone()))),
            ("moment", Arc::new(TimestampMicrosecondArray::from(self.moments.clone()))),
            ("request", Arc::new(requests)),
            ("value", Arc::new(StructArray::try_new(outputs, self.values.clone(), None)?)),
            ("status", Arc::new(texts(&self.statuses)?)),
            ("filled_by", Arc::new(texts(&self.filled_by)?)),
        ];
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    /// The file that keeps the answers.
    ///
    /// # Errors
    /// Where they cannot be encoded.
    pub fn file(&self) -> Result<KeptFile> {
        let batch = self.batch()?;
        let read_from = KeyValue::new(READ_FROM.to_owned(), serde_json::to_string(&self.from)?);
        let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![read_from])).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        let first = self.numbers.first().copied().unwrap_or_default();
        Ok(KeptFile { name: format!("answers-{:020}-{first:010}.parquet", self.rows_applied()), bytes: Bytes(writer.into_inner()?) })
    }

    /// Writes the answers into a directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        self.file()?.write(dir)
    }
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
    /// Writes the file into a directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let path = dir.join(&self.name);
        let unfinished = path.with_extension("unfinished");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&unfinished)?;
            file.write_all(&self.bytes.0)?;
            file.sync_all()
        };
        write().with_context(|| format!("write {}", unfinished.display()))?;
        fs::rename(&unfinished, &path).with_context(|| format!("rename {}", unfinished.display()))?;
        File::open(dir)?.sync_all()?;
        Ok(path)
    }

    fn read(&self) -> Result<Vec<Kept>> {
        let no_answers = || Error::data(format!("{} is no file of kept answers · take it out of the directory", self.name));
        Ok(decode(&self.bytes).with_context(|| format!("read {}", self.name))?.ok_or_else(no_answers)?)
    }
}

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

fn paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect();
    files.sort();
    Ok(files)
}

/// The answers in one file; `None` where it is none of ours.
fn decode(bytes: &Bytes) -> Result<Option<Vec<Kept>>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(&bytes.0))?;
    let metadata = builder.metadata().file_metadata().key_value_metadata();
    let read_from = metadata.and_then(|all| all.iter().find(|pair| pair.key == READ_FROM)).and_then(|pair| pair.value.clone());
    let Some(read_from) = read_from else { return Ok(None) };
    let from: ReadFrom = serde_json::from_str(&read_from)?;
    let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
    Ok(batches.iter().map(|batch| kept_of(&from, batch)).collect())
}

fn kept_of(from: &ReadFrom, batch: &RecordBatch) -> Option<Kept> {
    let part = |name: &str| batch.column_by_name(name)?.as_struct_opt();
    let (requests, values) = (part("request")?, part("value")?);
    let texts = |name: &str| -> Option<Vec<Vec<String>>> {
        let column = |column: &ArrayRef| Some(column.as_string_opt::<i32>()?.iter().map(|text| text.unwrap_or_default().to_owned()).collect());
        part(name)?.columns().iter().map(column).collect()
    };
    let schema = Schema::new(requests.fields().clone());
    let moments = batch.column_by_name("moment").filter(|column| *column.data_type() == DataType::Timestamp(TimeUnit::Microsecond, None))?;
    Some(Kept {
        from: from.clone(),
        numbers: batch.column_by_name("number")?.as_primitive_opt::<UInt64Type>()?.values().to_vec(),
        moments: moments.as_primitive_opt::<TimestampMicrosecondType>()?.values().to_vec(),
        requests: RecordBatch::try_new(Arc::new(schema), requests.columns().to_vec()).ok()?,
        values: values.columns().to_vec(),
        outputs: values.fields().clone(),
        statuses: texts("status")?,
        filled_by: texts("filled_by")?,
    })
}

/// Names of statuses or fills, as they are kept.
pub fn texts<T: ToString, C: AsRef<[T]>>(columns: &[C]) -> Vec<Vec<String>> {
    columns.iter().map(|column| column.as_ref().iter().map(ToString::to_string).collect()).collect()
}
