//! The spine of a training set: rows that say which entities are wanted at which moments, and what is carried along.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use lockstep_ingest::source::zone::Zone;
use lockstep_ingest::source::{Format, ReadRequest, SourceFile, SourceReader, SourceSchema, Stores, columns_of, locate};
use lockstep_model::{Error, EventTime};
use lockstep_transform::definition::{Interval, sql_name};

use super::output::InputFile;
use crate::requests::MOMENT;
use crate::text::did_you_mean;

/// Rows of a chunk that the readers give.
const READ_ROWS: usize = 1 << 16;

/// What spines are written in.
const MICROSECONDS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// What a spine is to be read for, and from where.
#[derive(Debug, Clone, Copy)]
pub struct SpineOf<'a> {
    /// The feature service or view.
    pub name: &'a str,
    /// What it is asked with.
    pub request: &'a Fields,
    /// A path or pattern.
    pub from: &'a str,
    /// The column of the moments, where it is named.
    pub timestamp: Option<&'a str>,
    /// The zone of timestamps that say none.
    pub zone: Zone,
    /// How it is spoken of.
    pub told: Told,
}

/// How a file of rows and moments is spoken of, and what its moments are called.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// What it is.
    pub noun: &'static str,
    /// The column of moments, unless one is named.
    pub moment: &'static str,
    /// The option that names one.
    pub option: &'static str,
}

/// A spine.
pub const SPINE: Told = Told { noun: "spine", moment: MOMENT, option: "--timestamp" };

/// A spine, read chunk by chunk.
#[derive(Debug)]
pub struct Spine {
    /// Its columns, as they are carried along.
    pub columns: SchemaRef,
    /// Index of the moment among them.
    pub timestamp: usize,
    /// Indices of the columns that are asked with, in the order of the request.
    request: Vec<usize>,
    request_schema: SchemaRef,
    rows: From,
    /// Rows that were read and not given yet.
    left: Option<RecordBatch>,
}

/// Where rows come from.
#[derive(Debug)]
enum From {
    Files(Files),
    Every(Every),
}

/// Rows of files, one after the other.
#[derive(Debug)]
struct Files {
    noun: &'static str,
    files: Vec<SourceFile>,
    schema: SourceSchema,
    /// The file at hand, and its reader.
    at: usize,
    reader: Option<SourceReader>,
}

/// Every entity at every moment of a range.
#[derive(Debug)]
struct Every {
    entities: Vec<ArrayRef>,
    next: i64,
    last: i64,
    step: i64,
}

/// Rows of a spine.
#[derive(Debug, Clone)]
pub struct SpineRows {
    /// All columns.
    pub rows: RecordBatch,
    /// The columns that are asked with.
    pub request: RecordBatch,
    /// The moments, µs.
    pub moments: Vec<i64>,
}

impl SpineRows {
    /// The rows behind the first few.
    pub fn after(&self, few: usize) -> SpineRows {
        let rest = self.moments.len().saturating_sub(few);
        SpineRows { rows: self.rows.slice(few, rest), request: self.request.slice(few, rest), moments: self.moments[few..].to_vec() }
    }

    /// The first half of the rows, and the second.
    pub fn halves(&self) -> (SpineRows, SpineRows) {
        let half = self.moments.len() / 2;
        let first = SpineRows { rows: self.rows.slice(0, half), request: self.request.slice(0, half), moments: self.moments[..half].to_vec() };
        (first, self.after(half))
    }

    /// The same rows at moments that lie so much before theirs.
    pub fn earlier_by(&self, before: Interval) -> SpineRows {
        SpineRows { moments: self.moments.iter().map(|at| at.saturating_sub(before.micros())).collect(), ..self.clone() }
    }

    /// At most so many rows, evenly spread, and which they are.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn sample(&self, most: usize) -> Result<(UInt32Array, SpineRows), Error> {
        let stride = self.moments.len().div_ceil(most).max(1);
        let numbers: UInt32Array = (0..self.moments.len() as u32).step_by(stride).collect();
        let some = |rows| take_record_batch(rows, &numbers).map_err(|error| Error::internal("a kernel refused rows of a spine").caused_by(error));
        let (rows, request) = (some(&self.rows)?, some(&self.request)?);
        let moments = self.moments.iter().step_by(stride).copied().collect();
        Ok((numbers, SpineRows { rows, request, moments }))
    }
}

impl Spine {
    /// Its files, as far as can be said before they are read.
    pub fn files(&self) -> Vec<InputFile> {
        let file = |file: &SourceFile| {
            let found = std::fs::metadata(file.name()).ok();
            let changed = found.as_ref().and_then(|found| found.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok());
            InputFile {
                source: None,
                file: file.name().to_owned(),
                size: found.map(|found| found.len()),
                identity: changed.map_or_else(String::new, |changed| format!("changed at {}.{:09}", changed.as_secs(), changed.subsec_nanos())),
                rows: None,
            }
        };
        match &self.rows {
            From::Files(files) => files.files.iter().map(file).collect(),
            From::Every(_) => Vec::new(),
        }
    }

    /// Opens the files of a spine and finds its columns.
    ///
    /// # Errors
    /// NotFound where there is no file; Invalid where a column is missing, or of a type that does not hold.
    pub fn open(of: SpineOf<'_>) -> Result<Spine, Error> {
        let files = locate(of.from, Path::new("."), &Stores::local())?;
        let found = columns_of_first(&files, of.from, of.told)?;
        let timestamp = timestamp_of(&found, of)?;
        let request = of.request.iter().map(|column| place_of(column, &found, of)).collect::<Result<Vec<_>, _>>()?;
        let column = |(at, field): (usize, &Arc<Field>)| {
            let asked = request.iter().position(|&place| place == at).map(|place| of.request[place].data_type().clone());
            let data_type = if at == timestamp { MICROSECONDS } else { asked.unwrap_or_else(|| carried_type(field.data_type())) };
            Field::new(field.name(), data_type, true)
        };
        let columns: SchemaRef = Arc::new(Schema::new(found.fields().iter().enumerate().map(column).collect::<Vec<_>>()));
        if let Some(asked) = request.iter().position(|&place| place == timestamp).filter(|&place| of.request[place].data_type() != &MICROSECONDS) {
            let (name, data_type) = (of.request[asked].name(), sql_name(of.request[asked].data_type()));
            return Err(Error::invalid(format!(
                "`{}` is asked with `{name}` as {data_type}, which is no moment · name another column with {}",
                of.name, of.told.option
            )));
        }
        let schema = SourceSchema {
            name: format!("the {}", of.told.noun),
            columns: Arc::clone(&columns),
            event_time: timestamp,
            primary_key: Vec::new(),
            time_zone: of.zone,
        };
        let request_schema = Arc::new(columns.project(&request).map_err(|error| Error::internal("a request without its columns").caused_by(error))?);
        let rows = From::Files(Files { noun: of.told.noun, files, schema, at: 0, reader: None });
        Ok(Spine { columns, timestamp, request, request_schema, rows, left: None })
    }

    /// Every entity, of which there is one to a row of the columns that are asked with, at each moment from the first to the last.
    ///
    /// # Errors
    /// Invalid where a step leads nowhere.
    pub fn every(step: Interval, (first, last): (EventTime, EventTime), request: &Fields, entities: Vec<ArrayRef>) -> Result<Spine, Error> {
        if step.micros() <= 0 {
            return Err(Error::invalid("--every is a length of time, such as '1 hour'"));
        }
        if request.iter().any(|column| column.name() == MOMENT) {
            return Err(Error::invalid(format!("a column `{MOMENT}` is asked with, the name of the moment · give a spine")));
        }
        let moment = Field::new(MOMENT, MICROSECONDS, true);
        let columns: Fields = request.iter().map(|column| column.as_ref().clone().with_nullable(true)).chain([moment]).map(Arc::new).collect();
        let timestamp = request.len();
        Ok(Spine {
            request_schema: Arc::new(Schema::new(columns[..timestamp].to_vec())),
            columns: Arc::new(Schema::new(columns)),
            timestamp,
            request: (0..timestamp).collect(),
            rows: From::Every(Every { entities, next: first.0, last: last.0, step: step.micros() }),
            left: None,
        })
    }

    /// The next rows, in the order of the files: as many as are wanted, or the last ones.
    ///
    /// # Errors
    /// Invalid where a row cannot be read, or has no moment.
    pub fn next(&mut self, wanted: usize) -> Result<Option<SpineRows>, Error> {
        let mut batches: Vec<RecordBatch> = self.left.take().into_iter().collect();
        let mut rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        while rows < wanted {
            let Some(batch) = self.batch()? else { break };
            rows += batch.num_rows();
            batches.push(batch);
        }
        if rows == 0 {
            return Ok(None);
        }
        let mut all = concat_batches(&self.columns, &batches).map_err(|error| Error::internal("rows of a spine make no batch").caused_by(error))?;
        if rows > wanted {
            self.left = Some(all.slice(wanted, rows - wanted));
            all = all.slice(0, wanted);
        }
        self.rows(all).map(Some)
    }

    fn rows(&self, rows: RecordBatch) -> Result<SpineRows, Error> {
        let no = || Error::internal("a moment is a timestamp in µs");
        let moments = rows.column(self.timestamp).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(no)?.values().to_vec();
        let columns: Vec<ArrayRef> = self.request.iter().map(|&at| Arc::clone(rows.column(at))).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let request = RecordBatch::try_new_with_options(Arc::clone(&self.request_schema), columns, &options);
        Ok(SpineRows { request: request.map_err(|error| Error::internal("a request without its columns").caused_by(error))?, rows, moments })
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        match &mut self.rows {
            From::Files(files) => files.batch(self.timestamp),
            From::Every(every) => every.batch(&self.columns),
        }
    }
}

impl Files {
    fn batch(&mut self, timestamp: usize) -> Result<Option<RecordBatch>, Error> {
        loop {
            let Some(file) = self.files.get(self.at) else { return Ok(None) };
            if self.reader.is_none() {
                let request = ReadRequest { batch_rows: READ_ROWS, ..ReadRequest::new(self.schema.clone(), format_of(file)?) };
                self.reader = Some(SourceReader::open(file, request)?);
            }
            let chunk = self.reader.as_mut().map(SourceReader::next_chunk).transpose()?.flatten();
            let Some(chunk) = chunk else {
                (self.at, self.reader) = (self.at + 1, None);
                continue;
            };
            let Some(batch) = chunk.batches.into_iter().next() else { continue };
            if let Some(bad) = batch.bad.first() {
                return Err(Error::invalid(format!("row {} of {} is no row of a {} · {}", bad.row + 1, file.name(), self.noun, bad.reason)));
            }
            let moments = batch.batch.column(timestamp);
            if let Some(row) = (moments.null_count() > 0).then(|| (0..moments.len()).find(|&row| moments.is_null(row))).flatten() {
                let name = self.schema.columns.field(timestamp).name();
                return Err(Error::invalid(format!("row {} of {} has no moment · `{name}` is NULL", batch.rows[row] + 1, file.name())));
            }
            if batch.batch.num_rows() > 0 {
                return Ok(Some(batch.batch));
            }
        }
    }
}

impl Every {
    fn batch(&mut self, columns: &SchemaRef) -> Result<Option<RecordBatch>, Error> {
        let entities = self.entities.first().map_or(0, |column| column.len());
        if self.next > self.last || entities == 0 {
            return Ok(None);
        }
        let mut all = self.entities.clone();
        all.push(Arc::new(TimestampMicrosecondArray::from_value(self.next, entities)));
        self.next = self.next.checked_add(self.step).unwrap_or(i64::MAX);
        if self.next == i64::MAX {
            self.last = i64::MIN;
        }
        RecordBatch::try_new(Arc::clone(columns), all).map(Some).map_err(|error| Error::internal("entities make no rows of a spine").caused_by(error))
    }
}

/// The columns of the first file that a path or pattern names.
///
/// # Errors
/// NotFound where there is none.
pub fn columns_in(from: &str, told: Told) -> Result<SchemaRef, Error> {
    columns_of_first(&locate(from, Path::new("."), &Stores::local())?, from, told)
}

fn columns_of_first(files: &[SourceFile], from: &str, told: Told) -> Result<SchemaRef, Error> {
    let noun = told.noun;
    let first = files.first().ok_or_else(|| Error::not_found(format!("there is no {noun} `{from}`")))?;
    if first.name() == "-" {
        return Err(Error::invalid(format!("a {noun} is read from files, since its columns are looked at first · write it into one")));
    }
    columns_of(first, format_of(first)?)
}

fn format_of(file: &SourceFile) -> Result<Format, Error> {
    Format::of(file.name()).ok_or_else(|| {
        Error::invalid(format!("the name of `{}` does not say its format · give it the ending .parquet, .csv or .ndjson", file.name()))
    })
}

/// The column of the moments: the one named, the one that is called so by default, or the only timestamp there is.
fn timestamp_of(found: &Schema, of: SpineOf<'_>) -> Result<usize, Error> {
    let Told { noun, moment, option } = of.told;
    let names = || found.fields().iter().map(|field| field.name().as_str());
    if let Some(name) = of.timestamp {
        let unknown = || Error::invalid(format!("the {noun} has no column `{name}`{} · it has {}", did_you_mean(name, names()), list(names())));
        return names().position(|known| known == name).ok_or_else(unknown);
    }
    if let Some(at) = names().position(|name| name == moment) {
        return Ok(at);
    }
    let is_moment = |field: &Field| matches!(field.data_type(), DataType::Timestamp(..));
    let moments: Vec<usize> = found.fields().iter().enumerate().filter(|(_, field)| is_moment(field)).map(|(at, _)| at).collect();
    match moments[..] {
        [only] => Ok(only),
        [] => {
            Err(Error::invalid(format!("which column is the moment of each row? · none is a timestamp · name it with {option}: {}", list(names()))))
        }
        _ => {
            let candidates = list(moments.iter().map(|&at| found.field(at).name().as_str()));
            Err(Error::invalid(format!("which column is the moment of each row? · name it with {option}: {candidates}")))
        }
    }
}

fn place_of(column: &Field, found: &Schema, of: SpineOf<'_>) -> Result<usize, Error> {
    let names = || found.fields().iter().map(|field| field.name().as_str());
    names().position(|name| name == column.name()).ok_or_else(|| {
        let (name, wanted) = (column.name(), sql_name(column.data_type()));
        let meant = did_you_mean(name, names());
        Error::invalid(format!(
            "the {} has no column `{name}` ({wanted}), which `{}` is asked with{meant} · it has {}",
            of.told.noun,
            of.name,
            list(names())
        ))
    })
}

/// The type in which a column is carried along: its own, in the layout that all of them are read in.
fn carried_type(found: &DataType) -> DataType {
    match found {
        DataType::Dictionary(_, value) => carried_type(value),
        DataType::RunEndEncoded(_, value) => carried_type(value.data_type()),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Timestamp(..) => MICROSECONDS,
        other => other.clone(),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
