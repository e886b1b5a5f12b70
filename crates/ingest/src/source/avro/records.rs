//! Records of a log that are Avro, gathered and made a batch.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use lockstep_model::{Error, PartitionId, Position};

use super::super::record::{Mapping, Record, append_time};
use super::super::route::Router;
use super::super::rows::OriginalRows;
use super::super::text::JsonRecords;
use super::super::{BadRow, RECORD_BYTES_MAX, SourceBatch, SourceSchema, nullable};
use super::key::text_of;
use super::merge::{Rows, merge};
use super::schemas::Schemas;
use super::writer::{Body, Piece, Target, Writer};

/// How much is kept of a record that is too long.
const LONG_RECORD_KEPT_BYTES: usize = 64 << 10;
/// Most schemas that are kept ready for decoding.
const WRITERS_MAX: usize = 256;

/// Records whose values are Avro.
pub struct AvroRecords {
    schemas: Arc<Schemas>,
    partition: PartitionId,
    source: SourceSchema,
    columns: SchemaRef,
    router: Router,
    mapping: Mapping,
    /// By what records say: how those of a schema are read, or why they are not.
    writers: HashMap<u64, Result<Writer, Arc<str>>>,
    /// Records that delete keys, once their keys are text.
    tombstones: JsonRecords,
    bytes: Vec<u8>,
    gathered: Vec<Gathered>,
    /// Parts of the records, in the order of the mapping, of each record after the other.
    parts: Vec<Option<Span>>,
    ids: BTreeSet<u32>,
}

/// Where a value stands among the bytes.
type Span = (usize, usize);

#[derive(Debug, Clone, Copy)]
struct Gathered {
    offset: u64,
    time: Option<i64>,
    key: Option<Span>,
    value: Option<Span>,
}

impl fmt::Debug for AvroRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvroRecords").field("partition", &self.partition).field("gathered", &self.gathered.len()).finish_non_exhaustive()
    }
}

impl AvroRecords {
    pub(in super::super) fn new(
        partition: &PartitionId,
        source: SourceSchema,
        declared: Vec<String>,
        schemas: &Arc<Schemas>,
        mapping: Mapping,
    ) -> Result<Self, Error> {
        Ok(AvroRecords {
            schemas: Arc::clone(schemas),
            partition: partition.clone(),
            columns: nullable(&source.columns),
            router: Router::of(vec![source.name.clone()], declared.clone()),
            writers: HashMap::new(),
            tombstones: JsonRecords::new(partition, source.clone(), declared, mapping.clone())?,
            bytes: Vec::new(),
            gathered: Vec::new(),
            parts: Vec::new(),
            ids: BTreeSet::new(),
            source,
            mapping,
        })
    }

    /// Records gathered.
    pub(in super::super) fn len(&self) -> usize {
        self.gathered.len()
    }

    /// The schemas in a registry that they are of.
    pub(in super::super) fn schema_ids(&self) -> impl Iterator<Item = u32> {
        self.ids.iter().copied()
    }

    /// Adds the next record. Nothing is read of it before [`Self::finish`], since its schema may have to be asked for.
    pub(in super::super) fn push(&mut self, record: Record<'_>) {
        // Of what is too long no more is kept than a dead letter has.
        let kept = |bytes: &[u8]| if bytes.len() > RECORD_BYTES_MAX { RECORD_BYTES_MAX + 1 } else { bytes.len() };
        let value = record.value.map(|value| self.keep(&value[..kept(value)]));
        let needs_key = record.value.is_none() || self.mapping.key.is_some();
        let key = record.key.filter(|_| needs_key).map(|key| self.keep(key));
        for (at, part) in record.mapped.iter().enumerate() {
            // The key is there already.
            let part = part.filter(|_| self.mapping.key != Some(at)).map(|part| self.keep(part));
            self.parts.push(part);
        }
        let avro_key = record.key.filter(|key| needs_key && self.schemas.is_avro_key(key));
        self.ids.extend([record.value, avro_key].into_iter().flatten().filter_map(|bytes| self.schemas.id_of(bytes)));
        self.gathered.push(Gathered { offset: record.offset, time: record.time, key, value });
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        (start, self.bytes.len())
    }

    /// The records gathered, with the position behind them.
    pub(in super::super) fn finish(&mut self, position: Position) -> Result<SourceBatch, Error> {
        self.ids.clear();
        let (bytes, gathered, spans) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.gathered), std::mem::take(&mut self.parts));
        let at = |(start, end): Span| &bytes[start..end];
        let keys: Vec<Key<'_>> = gathered.iter().map(|record| self.key(record.key.map(at))).collect();
        let parts: Vec<Option<&[u8]>> = spans.iter().enumerate().map(|(number, span)| self.part(number, span.map(at), &keys)).collect();
        let width = self.mapping.columns.len();
        let mut sorted = Sorted::default();
        for (number, record) in gathered.iter().enumerate() {
            let parts = &parts[number * width..(number + 1) * width];
            let key = keys[number].as_ref().map_or(Ok(None), |key| key.as_ref().map(|text| Some(&**text)).map_err(Clone::clone));
            let sorted_in = match (record.value.map(at), key) {
                (None, key) => key.map(|key| self.tombstones.push(Record { offset: record.offset, time: None, key, value: None, mapped: parts })),
                (Some(_), Err(reason)) if self.mapping.key.is_some() => Err(reason),
                (Some(value), _) => self.sort(Body { offset: record.offset, bytes: value, parts }, &mut sorted),
            };
            sorted.bad.extend(sorted_in.err().map(|reason| (record.offset, reason)));
        }
        let no_batch = |error| Error::internal("records of Avro made no batch").caused_by(error);
        let mut rows = self.read(&mut sorted).map_err(no_batch)?;
        let mut tombstones = self.tombstones.finish(position.clone())?;
        let mut bad = std::mem::take(&mut tombstones.bad);
        bad.extend(sorted.bad.into_iter().map(|(offset, reason)| bad_row(offset, reason, &gathered, &bytes)));
        bad.sort_by_key(|bad| bad.row);
        rows.push(rows_of(tombstones));
        let merged = merge(&self.columns, rows).map_err(no_batch)?;
        let times: Vec<(u64, i64)> = gathered.iter().filter_map(|record| Some((record.offset, record.time?))).collect();
        Ok(SourceBatch {
            partition: self.partition.clone(),
            append_time: append_time(merged.append_time.as_ref(), &merged.rows, &times),
            original: OriginalRows::columns(merged.tombstone.clone()),
            rows: merged.rows,
            batch: merged.batch,
            tombstone: merged.tombstone,
            bad,
            heartbeat: None,
            position,
        })
    }

    /// A key as text.
    fn key<'a>(&self, key: Option<&'a [u8]>) -> Key<'a> {
        let key = key?;
        if !self.schemas.is_avro_key(key) {
            return Some(Ok(Cow::Borrowed(key)));
        }
        let text = self.schemas.split(key).and_then(|(id, body)| {
            let schema = self.schemas.get(id).map_err(|reason| reason.to_string())?;
            text_of(&schema.data_type, body)
        });
        Some(text.map(|text| Cow::Owned(text.into_bytes())).map_err(|reason| format!("its key: {reason}")))
    }

    /// A part of a record: its key as text, where that is what it is.
    fn part<'a>(&self, number: usize, part: Option<&'a [u8]>, keys: &'a [Key<'_>]) -> Option<&'a [u8]> {
        let width = self.mapping.columns.len();
        if self.mapping.key != Some(number % width) {
            return part;
        }
        keys[number / width].as_ref()?.as_ref().ok().map(|key| &**key)
    }

    /// Puts a record to the others of its schema.
    fn sort<'a>(&self, record: Body<'a>, sorted: &mut Sorted<'a>) -> Result<(), String> {
        if record.bytes.len() > RECORD_BYTES_MAX {
            return Err(format!("longer than {} MiB, the longest a row may be", RECORD_BYTES_MAX >> 20));
        }
        let (id, bytes) = self.schemas.split(record.bytes)?;
        sorted.by_schema.entry(id).or_default().push(Body { bytes, ..record });
        Ok(())
    }

    /// Reads records, schema by schema.
    fn read(&mut self, sorted: &mut Sorted<'_>) -> Result<Vec<Rows>, ArrowError> {
        let mut parts = Vec::with_capacity(sorted.by_schema.len() + 1);
        if self.writers.len() > WRITERS_MAX {
            self.writers.clear();
        }
        for (id, records) in &sorted.by_schema {
            let target = Target { source: &self.source, columns: &self.columns, router: &self.router, mapping: &self.mapping };
            // What is not read now may be later, where a registry has learnt of it.
            self.writers.retain(|known, writer| known != id || writer.is_ok());
            match self.writers.entry(*id).or_insert_with(|| writer(&self.schemas, *id, &target)) {
                Ok(writer) => {
                    let Piece { settled, bad } = writer.read(records, &target)?;
                    sorted.bad.extend(bad);
                    parts.extend(settled.map(|settled| Rows {
                        batch: settled.batch,
                        rows: settled.rows,
                        tombstone: settled.tombstone,
                        append_time: settled.append_time,
                    }));
                }
                Err(reason) => sorted.bad.extend(records.iter().map(|record| (record.offset, reason.to_string()))),
            }
        }
        Ok(parts)
    }
}

/// A key as text, where there is one; or what is wrong with it.
type Key<'a> = Option<Result<Cow<'a, [u8]>, String>>;

/// Records by what they say their schema is, and what is wrong with others by offset.
#[derive(Default)]
struct Sorted<'a> {
    by_schema: BTreeMap<u64, Vec<Body<'a>>>,
    bad: Vec<(u64, String)>,
}

fn writer(schemas: &Schemas, id: u64, target: &Target<'_>) -> Result<Writer, Arc<str>> {
    let schema = schemas.get(id)?;
    Writer::new(schema, schemas.reader(), target).map_err(|what| Arc::from(format!("{} {what}", schemas.name(id))))
}

/// A record that could not be read, with its bytes as they were.
fn bad_row(offset: u64, reason: String, gathered: &[Gathered], bytes: &[u8]) -> BadRow {
    let found = gathered.binary_search_by_key(&offset, |record| record.offset).ok().map(|at| gathered[at]);
    let (start, end) = found.and_then(|record| record.value.or(record.key)).unwrap_or_default();
    let kept = if end - start > RECORD_BYTES_MAX { start + LONG_RECORD_KEPT_BYTES } else { end };
    BadRow { row: offset, reason, bytes: bytes[start..kept].to_vec() }
}

fn rows_of(batch: SourceBatch) -> Rows {
    Rows { batch: batch.batch, rows: batch.rows, tombstone: batch.tombstone, append_time: batch.append_time }
}
