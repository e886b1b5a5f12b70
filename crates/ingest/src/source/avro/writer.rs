//! What is read of records that were written with one schema.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field as ArrowField, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use lockstep_transform::definition::sql_name;

use super::super::cast::Cast;
use super::super::column::{Bad, Column, Value, column};
use super::super::record::{Mapping, push_part};
use super::super::route::{Route, Router};
use super::super::rows::Kind;
use super::super::settle::{Draft, Settled};
use super::super::zone::Zone;
use super::super::{APPEND_TIME_MEMBER, SOURCE_MEMBER, SourceSchema, TOMBSTONE_MEMBER};
use super::decode::Records;
use super::key::uuid_text;
use super::schema::{Field, Schema, Type};
use super::walk;

const MOMENT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A record, without what stands before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a> {
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
    /// The parts of the record that are values of columns.
    pub(super) parts: &'a [Option<&'a [u8]>],
}

/// Rows of records, and what is wrong with the others.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) settled: Option<Settled>,
    /// By offset.
    pub(super) bad: Vec<(u64, String)>,
}

/// Reads records that were written with one schema.
pub(super) struct Writer {
    schema: Arc<Schema>,
    records: Records,
    columns: Vec<Taken>,
    named: Option<(usize, Cast)>,
    append_time: Option<(usize, Cast)>,
    tombstone: Option<(usize, Cast)>,
}

/// Where the values of a declared column come from.
enum Taken {
    /// From a field that is decoded, by its index among them.
    Field(usize, Cast),
    /// From one that has the sixteen bytes of a UUID, whose text is wanted.
    Uuid(usize),
    /// From a part of the record.
    Part(usize, Box<dyn Column>),
    /// The default of a field that is missing, an array of one; or NULL.
    Same(ArrayRef),
}

/// What the rows of a topic are read into.
pub(super) struct Target<'a> {
    pub(super) source: &'a SourceSchema,
    /// Its columns, all nullable.
    pub(super) columns: &'a SchemaRef,
    pub(super) router: &'a Router,
    pub(super) mapping: &'a Mapping,
}

impl Writer {
    /// # Errors
    /// Why records of this schema are no rows of the source.
    pub(super) fn new(schema: Arc<Schema>, reader: Option<&Schema>, target: &Target<'_>) -> Result<Writer, String> {
        let fields = schema.fields().ok_or("is the schema of no record")?;
        let mut wanted = Wanted { fields, reader, indices: Vec::new() };
        let declared = target.source.columns.fields();
        let found: Vec<Option<usize>> = declared.iter().enumerate().map(|(at, field)| wanted.declared(at, field.name(), target.mapping)).collect();
        let [named, append_time, tombstone] = [SOURCE_MEMBER, APPEND_TIME_MEMBER, TOMBSTONE_MEMBER].map(|name| wanted.find(name));
        let Wanted { indices, .. } = wanted;
        let records = Records::new(schema.json(), indices.clone()).map_err(|error| format!("is not read: {error}"))?;
        let decoded = records.schema();
        let types: Vec<&DataType> = decoded.fields().iter().map(|field| field.data_type()).collect();
        let mut columns = Vec::with_capacity(declared.len());
        for (at, (field, found)) in declared.iter().zip(found).enumerate() {
            columns.push(match (target.mapping.columns.iter().position(|column| *column == at), found) {
                (Some(part), _) => Taken::Part(part, part_column(field, target.source.time_zone)?),
                (None, Some(index)) => taken(&fields[indices[index]], types[index], index, field, target.source)?,
                (None, None) => Taken::Same(absent(reader, field, target.source.time_zone)?),
            });
        }
        let reserved = |found: Option<usize>, name: &str, to: &DataType| {
            found.map(|index| reserved(types[index], name, to).map(|cast| (index, cast))).transpose()
        };
        Ok(Writer {
            named: reserved(named, SOURCE_MEMBER, &DataType::Utf8)?,
            append_time: reserved(append_time, APPEND_TIME_MEMBER, &MOMENT)?,
            tombstone: reserved(tombstone, TOMBSTONE_MEMBER, &DataType::Boolean)?,
            schema,
            records,
            columns,
        })
    }

    /// The rows of records.
    pub(super) fn read(&mut self, bodies: &[Body<'_>], target: &Target<'_>) -> Result<Piece, ArrowError> {
        let mut piece = Piece::default();
        let mut walked = Vec::with_capacity(bodies.len());
        for body in bodies {
            match self.check(body.bytes) {
                Ok(()) => walked.push(*body),
                Err(reason) => piece.bad.push((body.offset, reason)),
            }
        }
        let batch = match self.records.decode(walked.iter().map(|body| body.bytes)) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(piece),
            Err(_) => self.one_by_one(&mut walked, &mut piece.bad)?,
        };
        let (batch, rows) = self.routed(batch, &walked, target, &mut piece.bad)?;
        let settled = self.draft(&batch, &rows, target)?.settle()?;
        piece.bad.extend(settled.faults.iter().map(|(row, reason)| (rows[*row].offset, reason.clone())));
        piece.settled = Some(settled);
        Ok(piece)
    }

    fn check(&self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Err("nothing is behind what says its schema".to_owned());
        }
        walk::check(&self.schema.data_type, bytes)
    }

    /// What the decoder has against one of many records, none of which the walk found anything wrong with, costs that one alone.
    fn one_by_one(&mut self, walked: &mut Vec<Body<'_>>, bad: &mut Vec<(u64, String)>) -> Result<RecordBatch, ArrowError> {
        let mut batches = Vec::with_capacity(walked.len());
        walked.retain(|body| match self.records.decode(std::iter::once(body.bytes)) {
            Ok(batch) => {
                batches.extend(batch);
                true
            }
            Err(reason) => {
                bad.push((body.offset, reason));
                false
            }
        });
        arrow::compute::concat_batches(&self.records.schema(), &batches)
    }

    /// The rows that are of the source.
    fn routed<'a>(
        &mut self,
        batch: RecordBatch,
        walked: &[Body<'a>],
        target: &Target<'_>,
        bad: &mut Vec<(u64, String)>,
    ) -> Result<(RecordBatch, Vec<Body<'a>>), ArrowError> {
        let Some((index, cast)) = &mut self.named else { return Ok((batch, walked.to_vec())) };
        let names = cast.apply(batch.column(*index), &mut Bad::new())?;
        let names: &StringArray = names.as_string();
        let (mut kept, mut rows) = (Vec::new(), Vec::new());
        for (row, body) in walked.iter().enumerate() {
            match target.router.route(names.is_valid(row).then(|| names.value(row))) {
                Ok(Route::To(_)) => {
                    kept.push(row as u32);
                    rows.push(*body);
                }
                Ok(Route::Elsewhere) => {}
                Err(reason) => bad.push((body.offset, reason)),
            }
        }
        Ok((take_record_batch(&batch, &UInt32Array::from(kept))?, rows))
    }

    fn draft<'a>(&mut self, batch: &RecordBatch, rows: &[Body<'_>], target: &Target<'a>) -> Result<Draft<'a>, ArrowError> {
        let mut faults = Bad::new();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (field, taken) in target.source.columns.fields().iter().zip(&mut self.columns) {
            let mut bad = Bad::new();
            columns.push(taken.apply(batch, rows, field, &mut bad)?);
            faults.extend(bad.into_iter().map(|(row, reason)| (row, format!("column `{}`: {reason}", field.name()))));
        }
        let mut reserved = |name: &str, taken: &mut Option<(usize, Cast)>| -> Result<Option<ArrayRef>, ArrowError> {
            let Some((index, cast)) = taken else { return Ok(None) };
            let mut bad = Bad::new();
            let array = cast.apply(batch.column(*index), &mut bad)?;
            faults.extend(bad.into_iter().map(|(row, reason)| (row, format!("field `{name}`: {reason}"))));
            Ok(Some(array))
        };
        let append_time = reserved(APPEND_TIME_MEMBER, &mut self.append_time)?;
        let tombstone: Option<BooleanArray> = reserved(TOMBSTONE_MEMBER, &mut self.tombstone)?.map(|array| array.as_boolean().clone());
        Ok(Draft {
            source: target.source,
            schema: target.columns,
            columns,
            tombstone,
            append_time: append_time.map(|array| array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast()),
            rows: rows.iter().map(|body| body.offset).collect(),
            faults,
        })
    }
}

/// The fields of a writer's schema that are decoded.
struct Wanted<'a> {
    fields: &'a [Field],
    reader: Option<&'a Schema>,
    indices: Vec<usize>,
}

impl Wanted<'_> {
    /// Where the values of a declared column are among what is decoded: in the field of its name, or of one that the reader's schema knows it by.
    fn declared(&mut self, column: usize, name: &str, mapping: &Mapping) -> Option<usize> {
        if mapping.columns.contains(&column) {
            return None;
        }
        let known = self.reader.and_then(Schema::fields).into_iter().flatten().find(|field| field.name == name);
        let aliases = known.map_or(&[][..], |field| &field.aliases);
        self.find(name).or_else(|| aliases.iter().find_map(|alias| self.find(alias)))
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        let index = self.fields.iter().position(|field| field.name == name)?;
        let known = self.indices.iter().position(|known| *known == index);
        Some(known.unwrap_or_else(|| {
            self.indices.push(index);
            self.indices.len() - 1
        }))
    }
}

/// How the values of a field become those of a column.
fn taken(field: &Field, found: &DataType, index: usize, declared: &ArrowField, source: &SourceSchema) -> Result<Taken, String> {
    if *declared.data_type() == DataType::Utf8 && is_uuid(&field.data_type) {
        return Ok(Taken::Uuid(index));
    }
    let cast = Cast::between(found, declared.data_type(), source.time_zone);
    cast.map(|cast| Taken::Field(index, cast)).ok_or_else(|| {
        let (found, wanted) = (sql_name(found), sql_name(declared.data_type()));
        format!(
            "has a field `{}` that is {found}, and column `{}` of source `{}` is {wanted}: values might be lost",
            field.name,
            declared.name(),
            source.name
        )
    })
}

/// Whether values are the bytes of a UUID, or NULL.
fn is_uuid(data_type: &Type) -> bool {
    match data_type {
        Type::Fixed { uuid, .. } => *uuid,
        Type::Union(branches) => branches.len() == 2 && branches.contains(&Type::Null) && branches.iter().any(is_uuid),
        _ => false,
    }
}

fn part_column(field: &ArrowField, zone: Zone) -> Result<Box<dyn Column>, String> {
    column(field.data_type(), zone).ok_or_else(|| format!("does not matter: column `{}` has no form as text", field.name()))
}

fn reserved(found: &DataType, name: &str, to: &DataType) -> Result<Cast, String> {
    let cast = match Cast::between(found, to, Zone::Utc) {
        None if *to == MOMENT => Cast::parsed(found, to),
        cast => cast,
    };
    cast.ok_or_else(|| format!("has a field `{name}` that is {}; the name is reserved for {}", sql_name(found), sql_name(to)))
}

/// What a column has that the writer did not know: the default of its field in the reader's schema, else NULL.
fn absent(reader: Option<&Schema>, declared: &ArrowField, zone: Zone) -> Result<ArrayRef, String> {
    let field = reader.and_then(Schema::fields).into_iter().flatten().find(|field| field.name == *declared.name());
    let default = field.and_then(|field| super::default::text_of(field).transpose()).transpose()?;
    let Some((kind, text)) = default else { return Ok(new_null_array(declared.data_type(), 1)) };
    let wrong = |reason: String| format!("lacks field `{}`, whose default is no value of its column: {reason}", declared.name());
    let mut column = part_column(declared, zone)?;
    column.push(Value { kind, text: &text }).map_err(wrong)?;
    Ok(column.finish())
}

impl Taken {
    fn apply(&mut self, batch: &RecordBatch, rows: &[Body<'_>], field: &ArrowField, bad: &mut Bad) -> Result<ArrayRef, ArrowError> {
        match self {
            Taken::Field(index, cast) => cast.apply(batch.column(*index), bad),
            Taken::Uuid(index) => {
                let bytes = batch.column(*index).as_fixed_size_binary();
                Ok(Arc::new(bytes.iter().map(|bytes| bytes.map(uuid_text)).collect::<StringArray>()))
            }
            Taken::Same(value) => repeated(value, rows.len()),
            Taken::Part(at, column) => {
                parts(rows, *at, field, column.as_mut(), bad);
                Ok(column.finish())
            }
        }
    }
}

fn repeated(value: &ArrayRef, count: usize) -> Result<ArrayRef, ArrowError> {
    if value.is_null(0) {
        return Ok(new_null_array(value.data_type(), count));
    }
    arrow::compute::take(value, &UInt32Array::from(vec![0; count]), None)
}

/// Appends a part of each record.
fn parts(rows: &[Body<'_>], at: usize, field: &ArrowField, column: &mut dyn Column, bad: &mut Bad) {
    let mut text = String::new();
    for (row, body) in rows.iter().enumerate() {
        let Some(part) = body.parts.get(at).copied().flatten() else {
            column.push_null();
            continue;
        };
        text.clear();
        let pushed = push_part(part, field.data_type(), &mut text).and_then(|()| column.push(Value { kind: Kind::Text, text: &text }));
        if let Err(reason) = pushed {
            column.push_null();
            bad.push((row, reason));
        }
    }
}
