//! Rows of one source, gathered from a block of text and turned into a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use lockstep_model::{Error, FilePosition, PartitionId, Position};

use super::super::column::{Bad, Column, column};
use super::super::json::Member;
use super::super::rows::{Cell, Kind, OriginalRows, Rows};
use super::super::settle::Draft;
use super::super::zone::Zone;
use super::super::{APPEND_TIME_MEMBER, BadRow, SourceBatch, SourceSchema, TOMBSTONE_MEMBER, WantedSource, nullable};
use super::slots::Slots;

/// A wanted source while its file is read.
#[derive(Debug)]
pub(super) struct Gather {
    source: SourceSchema,
    schema: SchemaRef,
    partition: PartitionId,
    resume: Option<FilePosition>,
    slots: Slots,
    /// Columns by slot: the declared ones, `_append_time`, `_tombstone`.
    columns: Vec<Box<dyn Column>>,
    rows: Rows,
    bad: Vec<BadRow>,
}

impl Gather {
    pub(super) fn new(file: &str, wanted: WantedSource) -> Result<Self, Error> {
        let WantedSource { schema: source, resume } = wanted;
        let mut columns = Vec::with_capacity(source.columns.fields().len() + 2);
        for field in source.columns.fields() {
            let column = column(field.data_type(), source.time_zone);
            columns.push(column.ok_or_else(|| no_form(&source.name, field.name(), field.data_type()))?);
        }
        columns.extend(column(&DataType::Timestamp(TimeUnit::Microsecond, None), Zone::Utc));
        columns.extend(column(&DataType::Boolean, Zone::Utc));
        let names = source.columns.fields().iter().map(|field| field.name().as_str());
        Ok(Gather {
            schema: nullable(&source.columns),
            partition: PartitionId { source: source.name.clone(), partition: file.to_owned() },
            resume,
            slots: Slots::new(names.chain([APPEND_TIME_MEMBER, TOMBSTONE_MEMBER])),
            rows: Rows::new(columns.len()),
            columns,
            bad: Vec::new(),
            source,
        })
    }

    pub(super) fn source(&self) -> &SourceSchema {
        &self.source
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn resume(&self) -> Option<&FilePosition> {
        self.resume.as_ref()
    }

    /// Whether a row is beyond what has been read before.
    #[inline]
    pub(super) fn wants(&self, row: u64) -> bool {
        self.resume.as_ref().is_none_or(|position| row >= position.rows)
    }

    /// Adds the object that `members` are of. Columns that are `mapped` have these values, whatever it says of them.
    pub(super) fn push_object(&mut self, text: &str, members: &[Member], row: u64, span: (usize, usize), mapped: &[(usize, Cell)]) {
        let cells = self.rows.push(row, span);
        if let Err(reason) = self.slots.fill(text, members, cells) {
            self.rows.pop();
            return self.push_bad(row, reason, text.as_bytes().get(span.0..span.1).unwrap_or_default());
        }
        for (column, cell) in mapped {
            cells[*column] = *cell;
        }
    }

    /// Adds a record; `slots` says where each of its fields belongs.
    pub(super) fn push_fields(&mut self, fields: &[Cell], slots: &[Option<usize>], row: u64, span: (usize, usize)) {
        let cells = self.rows.push(row, span);
        for (field, slot) in fields.iter().zip(slots) {
            if let Some(cell) = slot.and_then(|slot| cells.get_mut(slot)) {
                *cell = *field;
            }
        }
    }

    /// Adds a row that cannot be read.
    pub(super) fn push_bad(&mut self, row: u64, reason: String, bytes: &[u8]) {
        self.bad.push(BadRow { row, reason, bytes: bytes.to_vec() });
    }

    /// The rows gathered from `text`, with the position behind them.
    pub(super) fn finish(&mut self, text: &Arc<String>, position: Position) -> Result<SourceBatch, Error> {
        let mut faults = Bad::new();
        let declared = self.source.columns.fields().len();
        let columns = (0..declared).map(|slot| self.parse(slot, text, &mut faults)).collect();
        let append_time = self.parse_reserved(declared, text, &mut faults);
        let tombstone = self.parse_reserved(declared + 1, text, &mut faults);
        let draft = Draft {
            source: &self.source,
            schema: &self.schema,
            columns,
            tombstone: tombstone.map(|array| array.as_boolean().clone()),
            append_time: append_time.map(|array| array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast()),
            rows: self.rows.numbers().to_vec(),
            faults,
        };
        let settled = draft.settle().map_err(|error| Error::internal("rows of text made no batch").caused_by(error))?;
        let spans = self.split(settled.faults, text);
        self.rows.clear();
        let mut bad = std::mem::take(&mut self.bad);
        bad.sort_by_key(|bad| bad.row);
        Ok(SourceBatch {
            partition: self.partition.clone(),
            rows: settled.rows,
            batch: settled.batch,
            tombstone: settled.tombstone,
            append_time: settled.append_time,
            bad,
            original: OriginalRows::text(text.clone(), spans),
            heartbeat: None,
            position,
        })
    }

    fn parse(&mut self, slot: usize, text: &str, faults: &mut Bad) -> ArrayRef {
        let mut bad = Bad::new();
        self.columns[slot].push_rows(text, &self.rows, slot, &mut bad);
        let name = self.slots.name(slot);
        faults.extend(bad.into_iter().map(|(row, reason)| (row, format!("column `{name}`: {reason}"))));
        self.columns[slot].finish()
    }

    /// A reserved member's column, where any row has it.
    fn parse_reserved(&mut self, slot: usize, text: &str, faults: &mut Bad) -> Option<ArrayRef> {
        let occurs = self.rows.column(slot).any(|cell| !matches!(cell.kind(), Kind::Absent | Kind::Null));
        occurs.then(|| self.parse(slot, text, faults))
    }

    /// Keeps the text of rows with faults; where the others stand.
    fn split(&mut self, faults: Bad, text: &str) -> Vec<(u32, u32)> {
        let mut spans = self.rows.spans().to_vec();
        let mut is_bad = vec![false; spans.len()];
        for (index, reason) in faults {
            let (start, end) = spans[index];
            let bytes = text.as_bytes().get(start as usize..end as usize).unwrap_or_default();
            self.bad.push(BadRow { row: self.rows.numbers()[index], reason, bytes: bytes.to_vec() });
            is_bad[index] = true;
        }
        let mut is_bad = is_bad.into_iter();
        spans.retain(|_| !is_bad.next().unwrap_or_default());
        spans
    }
}

fn no_form(source: &str, column: &str, data_type: &DataType) -> Error {
    Error::invalid(format!("source `{source}`: column `{column}` is of type {data_type}, for which text has no form · read it from Parquet"))
}
