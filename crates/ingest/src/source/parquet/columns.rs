//! The columns of a wanted source within a Parquet file.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use lockstep_model::{FilePosition, PartitionId};
use lockstep_transform::definition::sql_name;

use super::super::cast::Cast;
use super::super::column::Bad;
use super::super::error::SourceError;
use super::super::rows::{OriginalRows, as_json};
use super::super::settle::Draft;
use super::super::zone::Zone;
use super::super::{APPEND_TIME_MEMBER, BadRow, SourceBatch, SourceSchema, TOMBSTONE_MEMBER, WantedSource, nullable, position_of};
use super::picked;

const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The columns of a file that are read.
pub(super) struct Projection<'a> {
    file: &'a str,
    schema: &'a Schema,
    read: BTreeSet<usize>,
}

impl<'a> Projection<'a> {
    pub(super) fn new(file: &'a str, schema: &'a Schema) -> Self {
        Projection { file, schema, read: BTreeSet::new() }
    }

    /// Their indices in the file.
    pub(super) fn into_read(self) -> Vec<usize> {
        self.read.into_iter().collect()
    }

    /// A column of the file, which is read from now on.
    fn find(&mut self, name: &str) -> Result<Option<&'a Field>, SourceError> {
        let mut named = self.schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
        let Some((index, field)) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            return Err(self.damaged(format!("has two columns called `{name}` · rename one of them")));
        }
        self.read.insert(index);
        Ok(Some(field))
    }

    /// How a declared column is taken over.
    fn declared(&mut self, source: &SourceSchema, field: &Field) -> Result<Cast, SourceError> {
        let drift = |found: String, remedy: String| SourceError::Drift {
            file: self.file.to_owned(),
            column: field.name().clone(),
            found,
            source_name: source.name.clone(),
            declared: sql_name(field.data_type()),
            remedy,
        };
        let names = self.schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let missing = drift("is missing".to_owned(), format!("columns: {names}"));
        let Some(found) = self.find(field.name())? else { return Err(missing) };
        Cast::between(found.data_type(), field.data_type(), source.time_zone).ok_or_else(|| {
            let found = sql_name(found.data_type());
            drift(format!("is {found}"), format!("values might be lost; declare a type that holds {found}, or write the file with the declared one"))
        })
    }

    /// How a reserved column is taken over, where the file has it.
    pub(super) fn reserved(&mut self, name: &str, to: &DataType) -> Result<Option<Cast>, SourceError> {
        let Some(found) = self.find(name)? else { return Ok(None) };
        let cast = match Cast::between(found.data_type(), to, Zone::Utc) {
            None if *to == MOMENT => Cast::parsed(found.data_type(), to),
            cast => cast,
        };
        let (is, wants) = (sql_name(found.data_type()), sql_name(to));
        let refused = || self.damaged(format!("has a column `{name}` that is {is}; the name is reserved for {wants} · call the column otherwise"));
        cast.map(Some).ok_or_else(refused)
    }

    fn damaged(&self, what: String) -> SourceError {
        SourceError::Damaged { file: self.file.to_owned(), what }
    }
}

/// A wanted source while its file is read.
pub(super) struct Columns {
    source: SourceSchema,
    schema: SchemaRef,
    partition: PartitionId,
    resume: Option<FilePosition>,
    /// Per declared column.
    casts: Vec<Cast>,
    append_time: Option<Cast>,
    tombstone: Option<Cast>,
}

impl Columns {
    pub(super) fn new(wanted: WantedSource, projection: &mut Projection<'_>) -> Result<Self, SourceError> {
        let WantedSource { schema: source, resume } = wanted;
        let casts = source.columns.fields().iter().map(|field| projection.declared(&source, field)).collect::<Result<_, _>>()?;
        Ok(Columns {
            schema: nullable(&source.columns),
            partition: PartitionId { source: source.name.clone(), partition: projection.file.to_owned() },
            resume,
            casts,
            append_time: projection.reserved(APPEND_TIME_MEMBER, &MOMENT)?,
            tombstone: projection.reserved(TOMBSTONE_MEMBER, &DataType::Boolean)?,
            source,
        })
    }

    /// No rows, with a position.
    pub(super) fn none(&self, position: &FilePosition) -> SourceBatch {
        SourceBatch {
            partition: self.partition.clone(),
            rows: Vec::new(),
            batch: RecordBatch::new_empty(self.schema.clone()),
            tombstone: None,
            append_time: None,
            bad: Vec::new(),
            original: OriginalRows::columns(None),
            heartbeat: None,
            position: position_of(self.resume.as_ref(), position),
        }
    }

    /// The rows of `batch` with these indices, as far as they have not been read before. Row 0 of it is number `start`; `bad` rows could not be routed;
    /// `position` is the one behind it.
    pub(super) fn read(
        &mut self,
        batch: &RecordBatch,
        mut indices: Vec<u32>,
        start: u64,
        mut bad: Vec<BadRow>,
        position: &FilePosition,
    ) -> Result<SourceBatch, ArrowError> {
        let before = self.resume.as_ref().map_or(0, |position| position.rows);
        indices.retain(|index| start + u64::from(*index) >= before);
        bad.retain(|bad| bad.row >= before);
        let rows: Vec<u64> = indices.iter().map(|index| start + u64::from(*index)).collect();
        let batch = picked(batch, indices)?;
        let settled = self.draft(&batch, rows.clone())?.settle()?;
        for (index, reason) in settled.faults {
            bad.push(BadRow { row: rows[index], reason, bytes: as_json(&batch.slice(index, 1)) });
        }
        bad.sort_by_key(|bad| bad.row);
        Ok(SourceBatch {
            rows: settled.rows,
            batch: settled.batch,
            original: OriginalRows::columns(settled.tombstone.clone()),
            tombstone: settled.tombstone,
            append_time: settled.append_time,
            bad,
            ..self.none(position)
        })
    }

    fn draft(&mut self, batch: &RecordBatch, rows: Vec<u64>) -> Result<Draft<'_>, ArrowError> {
        let mut faults = Bad::new();
        let mut columns = Vec::with_capacity(self.casts.len());
        for (field, cast) in self.source.columns.fields().iter().zip(&mut self.casts) {
            columns.push(take_over(batch, field.name(), cast, &mut faults)?);
        }
        let mut reserved = |name: &str, cast: &mut Option<Cast>| cast.as_mut().map(|cast| take_over(batch, name, cast, &mut faults)).transpose();
        let append_time = reserved(APPEND_TIME_MEMBER, &mut self.append_time)?;
        let tombstone = reserved(TOMBSTONE_MEMBER, &mut self.tombstone)?;
        Ok(Draft {
            source: &self.source,
            schema: &self.schema,
            columns,
            tombstone: tombstone.map(|array| array.as_boolean().clone()),
            append_time: append_time.map(|array| array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast()),
            rows,
            faults,
        })
    }
}

/// A column of the file in the type it is wanted in.
pub(super) fn take_over(batch: &RecordBatch, name: &str, cast: &mut Cast, faults: &mut Bad) -> Result<ArrayRef, ArrowError> {
    let column = batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("column `{name}` was not read")))?;
    let mut bad = Bad::new();
    let array = cast.apply(column, &mut bad)?;
    faults.extend(bad.into_iter().map(|(row, reason)| (row, format!("column `{name}`: {reason}"))));
    Ok(array)
}
