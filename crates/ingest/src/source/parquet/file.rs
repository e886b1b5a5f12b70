//! Opening a Parquet file, on disk or in an object store, and reading its batches.

use std::fs::File;
use std::io;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowReaderBuilder, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use ::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use ::parquet::basic::Type;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::ChunkReader;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use futures::StreamExt;
use tokio::runtime::Handle;

use super::super::error::SourceError;
use super::super::input::{self, store_error};
use super::super::locate::{Place, SourceFile};
use super::footer::Footer;
use super::object::{Object, ObjectFile};

/// Batches in file order.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, SourceError>> + Send>;

/// A Parquet file that is open.
pub(super) struct ParquetFile {
    name: String,
    bytes: FileBytes,
    metadata: ArrowReaderMetadata,
    pub(super) size: u64,
    pub(super) etag: Option<String>,
    /// Of its footer.
    pub(super) hash: u64,
}

enum FileBytes {
    Disk(File),
    Object(Object, Handle),
}

impl ParquetFile {
    pub(super) fn open(file: &SourceFile) -> Result<Self, SourceError> {
        let name = file.name().to_owned();
        let (bytes, size, etag) = match file.place() {
            Place::Local(path) => {
                let (opened, size) = input::open_local(file, path)?;
                (FileBytes::Disk(opened), size.ok_or_else(|| no_file(&name))?, None)
            }
            Place::Remote { store, path, runtime } => {
                let (size, etag) = input::head(&name, store.as_ref(), path, runtime)?;
                let object = Object { store: store.clone(), path: path.clone(), etag: etag.clone() };
                (FileBytes::Object(object, runtime.clone()), size, etag)
            }
            Place::Stream(_) => return Err(no_file(&name)),
        };
        let footer = Footer::read(&name, size, |range| match &bytes {
            FileBytes::Disk(opened) => {
                let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                opened.get_bytes(range.start, len).map_err(|error| read_error(&name, error))
            }
            FileBytes::Object(object, runtime) => runtime.block_on(object.range(range)).map_err(|error| store_error(&name, error)),
        })?;
        let metadata = described(footer.metadata).map_err(|error| read_error(&name, error))?;
        Ok(ParquetFile { name, bytes, metadata, size, etag, hash: footer.hash })
    }

    /// Its columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> u64 {
        self.groups().sum()
    }

    fn groups(&self) -> impl Iterator<Item = u64> + '_ {
        self.metadata.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// The rows from number `from` on, `batch_rows` at a time, of the columns with these indices. Row groups before are not read.
    pub(super) fn read(self, columns: &[usize], from: u64, batch_rows: usize) -> Result<Batches, SourceError> {
        let (mut first, mut before) = (0, 0);
        for rows in self.groups() {
            if before + rows > from {
                break;
            }
            (first, before) = (first + 1, before + rows);
        }
        let part = Part {
            mask: ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied()),
            groups: (first..self.metadata.metadata().num_row_groups()).collect(),
            offset: usize::try_from(from - before).unwrap_or(usize::MAX),
            batch_rows,
        };
        let name = self.name;
        let opened = match self.bytes {
            FileBytes::Disk(file) => part.of(ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata)).build().map(|reader| {
                let name = name.clone();
                Box::new(reader.map(move |batch| batch.map_err(|error| read_error(&name, ParquetError::from(error))))) as Batches
            }),
            FileBytes::Object(object, runtime) => {
                let input = ObjectFile { object, metadata: self.metadata.metadata().clone() };
                part.of(ParquetRecordBatchStreamBuilder::new_with_metadata(input, self.metadata)).build().map(|mut stream| {
                    let name = name.clone();
                    let next = move || runtime.block_on(stream.next()).map(|batch| batch.map_err(|error| read_error(&name, error)));
                    Box::new(std::iter::from_fn(next)) as Batches
                })
            }
        };
        opened.map_err(|error| read_error(&name, error))
    }
}

/// Which part of a file is read, and how.
struct Part {
    mask: ProjectionMask,
    groups: Vec<usize>,
    offset: usize,
    batch_rows: usize,
}

impl Part {
    fn of<T>(self, builder: ArrowReaderBuilder<T>) -> ArrowReaderBuilder<T> {
        builder.with_projection(self.mask).with_row_groups(self.groups).with_offset(self.offset).with_batch_size(self.batch_rows)
    }
}

/// The columns of a file. INT96, a timestamp no longer written by anything but old Spark and Impala, is read to the microsecond, the most that Spark writes:
/// read to the nanosecond, it would wrap around before 1678 and after 2262.
fn described(metadata: Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata, ParquetError> {
    let plain = ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::default())?;
    let columns = plain.parquet_schema();
    let is_int96 = |leaf: &usize| columns.column(*leaf).physical_type() == Type::INT96 && columns.column(*leaf).path().parts().len() == 1;
    let roots: Vec<usize> = (0..columns.num_columns()).filter(is_int96).map(|leaf| columns.get_column_root_idx(leaf)).collect();
    if roots.is_empty() {
        return Ok(plain);
    }
    let mut fields: Vec<_> = plain.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    for root in roots {
        if let Some(field) = fields.get_mut(root) {
            *field = field.clone().with_data_type(DataType::Timestamp(TimeUnit::Microsecond, None));
        }
    }
    let schema = Schema::new_with_metadata(fields, plain.schema().metadata().clone());
    ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new().with_schema(Arc::new(schema)))
}

fn no_file(name: &str) -> SourceError {
    let reason = "Parquet is read from its end, which a stream does not have yet · write it to a file".to_owned();
    SourceError::Location { location: name.to_owned(), reason }
}

fn read_error(file: &str, error: ParquetError) -> SourceError {
    let damaged =
        |cause: &dyn std::fmt::Display| SourceError::Damaged { file: file.to_owned(), what: format!("is damaged: {cause} · write it again") };
    let ParquetError::External(cause) = error else { return damaged(&error) };
    let cause = match cause.downcast::<object_store::Error>() {
        Ok(error) => return store_error(file, *error),
        Err(cause) => cause,
    };
    match cause.downcast_ref::<io::Error>() {
        Some(error) if error.kind() != io::ErrorKind::UnexpectedEof => SourceError::Io { file: file.to_owned(), cause: error.to_string() },
        _ => damaged(&cause),
    }
}
