//! Scores as events: what was predicted for each entity at a moment, in the columns of the predictions' source.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, TimestampMicrosecondArray, UInt32Array, make_comparator,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, SortOptions, cast_with_options, concat_batches, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use lockstep_model::key::Keys;
use lockstep_model::{Error, EventTime};
use lockstep_transform::definition::{Best, OLDEST_INPUT_AT, RankedList, SCORES, sql_name};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use xxhash_rust::xxh3::xxh3_128;

use super::Defined;
use crate::train::{Digesting, Manifest};

/// Rows that are read at once.
const BATCH_ROWS: usize = 1 << 16;

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// Rows of the scores.
    pub rows: u64,
    /// Those whose key is NULL.
    pub without_key: u64,
    /// Predictions, or lists of them.
    pub events: u64,
    /// Entities that have one.
    pub entities: u64,
    /// The earliest and the latest moment that one is of, µs.
    pub computed: Option<(i64, i64)>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// What all events of a run have.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The run's number.
    pub run: u32,
    /// What time it is: a prediction is of a moment that has come.
    pub now: EventTime,
    /// From when on it can be read.
    pub published_at: EventTime,
}

/// Refuses scores that lack what predictions are found by: the key of the entity, or the items of a list.
///
/// # Errors
/// Invalid.
pub fn check_columns(of: &Defined, columns: &Schema) -> Result<(), Error> {
    let predictions = of.predictions();
    let item = predictions.list.as_ref().map(|list| ("items are", list.item.name.as_str(), &list.item.data_type));
    let keys = of.view.entity.iter().map(|key| ("the key of its entity has", key.name().as_str(), key.data_type()));
    for (what, name, data_type) in keys.chain(item) {
        if columns.field_with_name(name).is_err() {
            let known: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::invalid(format!(
                "the scores have no column `{name}` ({}), which {what} in `{}` · columns: {} · let the spine have it",
                sql_name(data_type),
                predictions.name,
                known.join(", ")
            )));
        }
    }
    Ok(())
}

/// Writes the events that scores in a directory come to.
///
/// # Errors
/// Where the scores cannot be read; Invalid where two are of one entity and moment, or one is of a moment that has not come yet; where the disk fails.
pub fn write(of: &Defined, (dir, manifest): (&Path, &Manifest), stamp: Stamp, to: &Path) -> Result<Written> {
    let file = File::create(to).with_context(|| format!("make {}", to.display()))?;
    let mut digesting = Digesting::new(file);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(&mut digesting, Arc::clone(&of.source.schema), Some(properties))?;
    let mut events = Events { of, stamp, written: Written::default(), moments: HashSet::new(), entities: HashSet::new() };
    let mut whole = Vec::new();
    for part in &manifest.parts {
        let path = dir.join(&part.file);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        for rows in ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS).build()? {
            let rows = events.columns(&rows?, manifest)?;
            match &of.predictions().list {
                None => writer.write(&events.single(&rows)?)?,
                Some(list) if of.are_ranked() => writer.write(&events.ranked(&rows, list)?)?,
                // The rows of an entity may lie anywhere.
                Some(_) => whole.push(rows),
            }
        }
    }
    if let (Some(list), Some(first)) = (&of.predictions().list, whole.first()) {
        let rows = concat_batches(&first.schema(), &whole)?;
        whole.clear();
        writer.write(&events.lists(&rows, list)?)?;
    }
    writer.close()?;
    let Events { mut written, entities, .. } = events;
    written.entities = entities.len() as u64;
    (written.bytes, written.sha256) = digesting.finish()?;
    Ok(written)
}

struct Events<'a> {
    of: &'a Defined,
    stamp: Stamp,
    written: Written,
    /// Entities and moments that have a prediction already, by a hash that no two of them share.
    moments: HashSet<u128>,
    entities: HashSet<u128>,
}

/// Columns of the moment and of the oldest input, behind those of the key and of what is kept.
const OWN: usize = 2;

impl Events<'_> {
    /// Of rows of the scores that have a key: it, what is kept, the moment that they are of, and when the oldest input happened.
    fn columns(&mut self, rows: &RecordBatch, manifest: &Manifest) -> Result<RecordBatch> {
        let (predictions, keys) = (self.of.predictions(), &self.of.view.entity);
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let are_ranked = self.of.are_ranked();
        let of_each = |data_type: &DataType| if are_ranked { DataType::new_list(data_type.clone(), true) } else { data_type.clone() };
        let kept = predictions.columns.iter().map(|column| (column.name.as_str(), of_each(&column.data_type)));
        let wanted = keys.iter().map(|key| (key.name().as_str(), key.data_type().clone())).chain(kept);
        let mut columns = wanted.map(|(name, data_type)| column(rows, name, &data_type)).collect::<Result<Vec<_>>>()?;
        let asked = column(rows, &manifest.job.timestamp, &moment)?;
        let computed: TimestampMicrosecondArray = asked.as_primitive::<TimestampMicrosecondType>().unary(|at| at.saturating_sub(manifest.job.before));
        columns.push(Arc::new(computed));
        columns.push(match rows.column_by_name(OLDEST_INPUT_AT) {
            Some(_) => column(rows, OLDEST_INPUT_AT, &moment)?,
            None => new_null_array(&moment, rows.num_rows()),
        });
        let fields = columns.iter().enumerate().map(|(at, column)| Field::new(format!("column {at}"), column.data_type().clone(), true));
        let columns = RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?;
        let encoded = Keys::encode(&columns.columns()[..keys.len()])?;
        let has_key: BooleanArray = (0..encoded.len()).map(|row| Some(!encoded.has_null(row))).collect();
        self.written.rows += rows.num_rows() as u64;
        self.written.without_key += has_key.false_count() as u64;
        Ok(filter_record_batch(&columns, &has_key)?)
    }

    /// An event for each row.
    fn single(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let keys = Keys::encode(&rows.columns()[..self.of.view.entity.len()])?;
        let moments = rows.column(rows.num_columns() - OWN).as_primitive::<TimestampMicrosecondType>();
        for row in 0..rows.num_rows() {
            self.note(keys.get(row), moments.value(row))?;
        }
        self.stamped(rows.columns().to_vec())
    }

    /// An event for the rows of each entity and moment: their items, best first.
    fn lists(&mut self, rows: &RecordBatch, list: &RankedList) -> Result<RecordBatch> {
        let key_columns = self.of.view.entity.len();
        let keys = Keys::encode(&rows.columns()[..key_columns])?;
        let moments = rows.column(rows.num_columns() - OWN).as_primitive::<TimestampMicrosecondType>();
        let (items, scores) = self.listed_columns(rows, list)?;
        let descending = list.best.unwrap_or_default() == Best::Greatest;
        let better = make_comparator(scores, scores, SortOptions { descending, nulls_first: false })?;
        let smaller = make_comparator(items, items, SortOptions::default())?;
        let same = |a: usize, b: usize| keys.get(a).cmp(keys.get(b)).then(moments.value(a).cmp(&moments.value(b)));
        let mut order: Vec<usize> = (0..rows.num_rows()).collect();
        order.sort_by(|&a, &b| same(a, b).then_with(|| better(a, b)).then_with(|| smaller(a, b)).then(a.cmp(&b)));
        let groups = groups(&order, same);
        let (mut firsts, mut picked, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups {
            let first = order[group.start];
            self.note(keys.get(first), moments.value(first))?;
            // What has no score has no place in a ranking.
            let ranked = order[group].iter().filter(|row| scores.is_valid(**row)).take(list.top as usize);
            let before = picked.len();
            picked.extend(ranked.map(|row| *row as u32));
            firsts.push(first as u32);
            lengths.push(picked.len() - before);
        }
        let columns = take_record_batch(rows, &UInt32Array::from(firsts))?.columns().to_vec();
        let picked = UInt32Array::from(picked);
        self.with_lists(columns, [take(items, &picked, None)?, take(scores, &picked, None)?], &lengths)
    }

    /// An event for each row, which is a list already, in the order of the deployment.
    fn ranked(&mut self, rows: &RecordBatch, list: &RankedList) -> Result<RecordBatch> {
        let keys = Keys::encode(&rows.columns()[..self.of.view.entity.len()])?;
        let moments = rows.column(rows.num_columns() - OWN).as_primitive::<TimestampMicrosecondType>();
        let (items, scores) = self.listed_columns(rows, list)?;
        let (items, scores) = (items.as_list::<i32>(), scores.as_list::<i32>());
        let (mut of_items, mut of_scores, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(rows.num_rows()));
        let elements = |list: &ListArray, row: usize| list.value_offsets()[row] as u32..list.value_offsets()[row + 1] as u32;
        for row in 0..rows.num_rows() {
            self.note(keys.get(row), moments.value(row))?;
            let (item, score) = (elements(items, row), elements(scores, row));
            if item.len() != score.len() {
                return Err(Error::data("a list of items and one of predictions are not equally long · score the rows again").into());
            }
            // What has no score has no place in a ranking.
            let ranked = item.zip(score).filter(|(_, score)| scores.values().is_valid(*score as usize)).take(list.top as usize);
            let before = of_items.len();
            for (item, score) in ranked {
                of_items.push(item);
                of_scores.push(score);
            }
            lengths.push(of_items.len() - before);
        }
        let taken = |list: &ListArray, at: Vec<u32>| take(list.values(), &UInt32Array::from(at), None);
        self.with_lists(rows.columns().to_vec(), [taken(items, of_items)?, taken(scores, of_scores)?], &lengths)
    }

    /// The columns of the items and of what they are ranked by.
    fn listed_columns<'r>(&self, rows: &'r RecordBatch, list: &RankedList) -> Result<(&'r ArrayRef, &'r ArrayRef), Error> {
        let place = |name: &str| self.of.predictions().columns.iter().position(|column| column.name == name);
        let column = |name: &str| Some(rows.column(self.of.view.entity.len() + place(name)?));
        column(&list.item.name).zip(column(&list.score.name)).ok_or_else(|| Error::internal("a ranked list without its columns"))
    }

    /// Columns with lists in place of those two, of these items and scores, so many each.
    fn with_lists(&self, mut columns: Vec<ArrayRef>, listed: [ArrayRef; 2], lengths: &[usize]) -> Result<RecordBatch> {
        let list = |values: ArrayRef| -> Result<ArrayRef> {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None)?))
        };
        let listed = listed.into_iter().map(list).collect::<Result<Vec<_>>>()?;
        let key_columns = self.of.view.entity.len();
        columns.splice(key_columns..key_columns + 2, listed);
        self.stamped(columns)
    }

    /// Notes a prediction, and refuses a second one of an entity and a moment: which of them is meant cannot be known.
    fn note(&mut self, entity: &[u8], moment: i64) -> Result<()> {
        if moment > self.stamp.now.0 {
            let (at, name) = (EventTime(moment), &self.of.predictions().name);
            return Err(Error::invalid(format!(
                "a prediction would be of {at}, which has not come yet · `{name}` serve what is of now or before · leave such rows out"
            ))
            .into());
        }
        let mut bytes = entity.to_vec();
        self.entities.insert(xxh3_128(&bytes));
        bytes.extend_from_slice(&moment.to_be_bytes());
        if !self.moments.insert(xxh3_128(&bytes)) {
            let name = &self.of.predictions().name;
            let what = format!("the scores have two rows of one entity at {}, and `{name}` have one prediction of each", EventTime(moment));
            return Err(Error::invalid(format!("{what} · let the spine have one row, or declare a ranked list (item = '…')")).into());
        }
        let (first, last) = self.written.computed.unwrap_or((moment, moment));
        self.written.computed = Some((first.min(moment), last.max(moment)));
        self.written.events += 1;
        Ok(())
    }

    /// With what all events of the run have.
    fn stamped(&self, mut columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let rows = columns.first().map_or(0, |column| column.len());
        columns.push(Arc::new(TimestampMicrosecondArray::from(vec![self.stamp.published_at.0; rows])));
        columns.push(Arc::new(Int64Array::from(vec![i64::from(self.stamp.run); rows])));
        Ok(RecordBatch::try_new(Arc::clone(&self.of.source.schema), columns)?)
    }
}

/// Runs of rows that are the same.
fn groups(order: &[usize], same: impl Fn(usize, usize) -> Ordering) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, &row) in order.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if same(order[group.start], row) == Ordering::Equal => group.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

/// A column of the scores, in the type that is declared.
fn column(rows: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let found = rows.column_by_name(name).ok_or_else(|| Error::invalid(format!("the scores have no column `{name}` · score the rows again")))?;
    let cast = cast_with_options(found, data_type, &CastOptions { safe: false, ..CastOptions::default() });
    let is_not = |error| {
        Error::invalid(format!("column `{name}` of the scores is no {} · {error} · let the spine have values of that type", sql_name(data_type)))
    };
    Ok(cast.map_err(is_not)?)
}

/// What was predicted by each event of a run, under the names of the view's features; of ranked lists, the scores of all items, and whether an entity has any.
///
/// # Errors
/// Where the file cannot be read.
pub fn predicted(of: &Defined, events: &Path) -> Result<Vec<(String, ArrayRef, Vec<bool>)>> {
    let file = File::open(events).with_context(|| format!("open {}", events.display()))?;
    let batches = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?.collect::<Result<Vec<_>, _>>()?;
    let schema: SchemaRef = Arc::clone(&of.source.schema);
    let rows = concat_batches(&schema, &batches)?;
    let valid = |column: &ArrayRef| (0..column.len()).map(|row| column.is_valid(row)).collect();
    if of.predictions().list.is_some() {
        let lists = rows.column_by_name(SCORES).and_then(|column| column.as_list_opt::<i32>());
        let lists = lists.ok_or_else(|| Error::data(format!("{} has no lists of scores", events.display())))?;
        let has_any = (0..lists.len()).map(|row| lists.value_length(row) > 0).collect();
        return Ok(vec![(SCORES.to_owned(), Arc::clone(lists.values()), has_any)]);
    }
    let kept = of.predictions().columns.iter().filter_map(|column| Some((column, rows.column_by_name(&column.name)?)));
    Ok(kept.map(|(column, values)| (column.name.clone(), Arc::clone(values), valid(values))).collect())
}
