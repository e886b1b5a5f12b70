//! Records of a log: what they have besides their values, and where it goes.

use arrow::array::{Array, Int64Array};
use arrow::datatypes::DataType;
use lockstep_model::{Error, PartitionId, Position};

use super::avro::{AvroRecords, Schemas, hexadecimal};
use super::text::JsonRecords;
use super::{SourceBatch, SourceSchema};

/// A record of a log.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its number within its partition.
    pub offset: u64,
    /// When the log took it, in microseconds, where it says so.
    pub time: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value. Without one, the record deletes what its key names.
    pub value: Option<&'a [u8]>,
    /// The parts of it that are values of columns, in the order of [`Mapping::columns`].
    pub mapped: &'a [Option<&'a [u8]>],
}

/// The columns whose values are parts of records, whatever their values say.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// The indices of these columns.
    pub columns: Vec<usize>,
    /// Which of them has the record's key.
    pub key: Option<usize>,
}

impl Mapping {
    /// Whether keys are values of a column of the primary key, so that nothing else has to be read in them.
    pub(super) fn has_primary_key(&self, source: &SourceSchema) -> bool {
        self.key.and_then(|at| self.columns.get(at)).is_some_and(|column| source.primary_key.contains(column))
    }
}

/// How the values of records are written.
#[derive(Debug, Clone)]
pub enum Encoding {
    /// One JSON object each.
    Json,
    /// One Avro record each.
    Avro(std::sync::Arc<Schemas>),
}

/// Records of one partition, gathered until they are made a batch.
///
/// A row that does not say its `_append_time` was taken when its record was. A record without a value deletes its key: the columns of the primary key as an object,
/// or, where that is one column, its value.
#[derive(Debug)]
pub enum Records {
    /// JSON objects.
    Json(Box<JsonRecords>),
    /// Avro records.
    Avro(Box<AvroRecords>),
}

impl Records {
    /// Nothing gathered yet of a partition. `declared` are the sources that rows may name by `_source`.
    ///
    /// # Errors
    /// Invalid where a column's type has no form in the encoding.
    pub fn new(
        partition: &PartitionId,
        source: SourceSchema,
        declared: Vec<String>,
        encoding: &Encoding,
        mapping: Mapping,
    ) -> Result<Records, Error> {
        Ok(match encoding {
            Encoding::Json => Records::Json(Box::new(JsonRecords::new(partition, source, declared, mapping)?)),
            Encoding::Avro(schemas) => Records::Avro(Box::new(AvroRecords::new(partition, source, declared, schemas, mapping)?)),
        })
    }

    /// Records gathered.
    pub fn len(&self) -> usize {
        match self {
            Records::Json(records) => records.len(),
            Records::Avro(records) => records.len(),
        }
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the next record.
    pub fn push(&mut self, record: Record<'_>) {
        match self {
            Records::Json(records) => records.push(record),
            Records::Avro(records) => records.push(record),
        }
    }

    /// The schemas in a registry that the records gathered are of.
    pub fn schema_ids(&self) -> impl Iterator<Item = u32> {
        let ids = match self {
            Records::Json(_) => None,
            Records::Avro(records) => Some(records.schema_ids()),
        };
        ids.into_iter().flatten()
    }

    /// The records gathered, with the position behind them.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn finish(&mut self, position: Position) -> Result<SourceBatch, Error> {
        match self {
            Records::Json(records) => records.finish(position),
            Records::Avro(records) => records.finish(position),
        }
    }
}

/// When each row was taken: as it says, else as its record does.
pub(super) fn append_time(said: Option<&Int64Array>, rows: &[u64], times: &[(u64, i64)]) -> Option<Int64Array> {
    if times.is_empty() {
        return said.cloned();
    }
    let mut times = times.iter().peekable();
    let of_row = |(index, &row): (usize, &u64)| {
        while times.next_if(|(offset, _)| *offset < row).is_some() {}
        let recorded = times.next_if(|(offset, _)| *offset == row).map(|(_, time)| *time);
        said.filter(|said| said.is_valid(index)).map(|said| said.value(index)).or(recorded)
    };
    Some(rows.iter().enumerate().map(of_row).collect())
}

/// A part of a record as the text of its column's value: bytes in hexadecimal where the column has bytes.
pub(super) fn push_part(part: &[u8], data_type: &DataType, text: &mut String) -> Result<(), String> {
    if *data_type == DataType::Binary {
        text.push_str(&hexadecimal(part));
        return Ok(());
    }
    text.push_str(std::str::from_utf8(part).map_err(|_| "its bytes are not UTF-8".to_owned())?);
    Ok(())
}
