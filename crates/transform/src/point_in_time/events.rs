//! A view's events in memory, hashed by entity and sorted, and the spine beside them.

use std::sync::Arc;

use arrow::array::{AsArray, BinaryBuilder, Int64Builder, RecordBatch, TimestampMicrosecondBuilder, UInt64Builder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use lockstep_model::Error;
use lockstep_model::state::shard_of;

use crate::changes::StagedChanges;
use crate::tiles::Request;
use crate::tiles::node::Row;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Bytes from which on a batch takes nothing more.
const BATCH_BYTES: usize = 16 << 20;

/// Columns of an event: its entity's encoded key, its order key, from when and until when it was known (µs), and the stored arguments.
pub fn event_schema() -> SchemaRef {
    let binary = |name| Field::new(name, DataType::Binary, false);
    let int = |name| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![binary("entity"), binary("order_key"), int("known_from"), int("known_until"), binary("args")]))
}

/// Columns of a spine: the entity's encoded key, the moment, and the number of the request.
pub fn spine_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("entity", DataType::Binary, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("row", DataType::UInt64, false),
    ]))
}

/// Some requests and the events that they may need, both sorted by entity.
#[derive(Debug)]
pub struct Unit {
    pub(super) events: Vec<RecordBatch>,
    pub(super) spine: Vec<RecordBatch>,
}

/// The events of the only bucket of changes that were staged side by side, sorted by entity and order key.
///
/// # Errors
/// Where a batch cannot be built.
pub fn sorted(all: &[&StagedChanges]) -> Result<Vec<RecordBatch>, Error> {
    let mut by_entity = StagedChanges::bucket_by_entity(all, 0);
    by_entity.sort_unstable_by_key(|changes| changes.entity);
    let mut rest: usize = by_entity.iter().map(|changes| changes.upserts.len()).sum();
    let mut batches = Vec::with_capacity(rest.div_ceil(BATCH_ROWS));
    let mut batch = EventBatch::with_room(rest.min(BATCH_ROWS), [BYTES_GUESSED; 3]);
    for changes in &by_entity {
        for row in &changes.upserts {
            batch.entity.append_value(changes.entity);
            batch.order_key.append_value(row.key);
            batch.known_from.append_value(row.known_from);
            batch.known_until.append_value(row.known_until);
            batch.args.append_value(row.args);
            batch.rows += 1;
            batch.bytes += changes.entity.len() + row.key.len() + row.args.len();
            if batch.rows == BATCH_ROWS || batch.bytes >= BATCH_BYTES {
                rest -= batch.rows;
                batches.push(batch.finish(rest)?);
            }
        }
    }
    if batch.rows > 0 {
        batches.push(batch.finish(0)?);
    }
    Ok(batches)
}

/// Which requests are about entities of each of so many partitions, a power of two: those of the buckets of staged changes.
///
/// # Errors
/// Invalid where there are more than 4,294,967,295.
pub fn assign(requests: &[Request<'_>], partitions: usize) -> Result<Vec<Vec<u32>>, Error> {
    if u32::try_from(requests.len()).is_err() {
        return Err(Error::invalid("a spine is read in chunks of at most 4,294,967,295 rows"));
    }
    let partitions = partitions.max(1);
    let mut assigned = vec![Vec::with_capacity(requests.len() / partitions + 8); partitions];
    let shift = 16 - partitions.trailing_zeros();
    for (number, request) in requests.iter().enumerate() {
        assigned[usize::from(shard_of(request.entity)) >> shift].push(number as u32);
    }
    Ok(assigned)
}

/// Requests of a partition of so many events in the order of their entities and moments: all together, or where the events are more than `unit_rows`, in as many
/// slices, so that those of a hot entity are shared between threads.
pub fn slices(requests: &[Request<'_>], mut numbers: Vec<u32>, events: usize, unit_rows: usize) -> Vec<Vec<u32>> {
    if numbers.is_empty() {
        return Vec::new();
    }
    numbers.sort_unstable_by(|a, b| {
        let (x, y) = (&requests[*a as usize], &requests[*b as usize]);
        x.entity.cmp(y.entity).then(x.at.cmp(&y.at)).then(a.cmp(b))
    });
    let slices = (events / unit_rows.max(1)).clamp(1, numbers.len());
    if slices == 1 {
        return vec![numbers];
    }
    numbers.chunks(numbers.len().div_ceil(slices)).map(<[u32]>::to_vec).collect()
}

/// Visits events in their order, each with its entity's encoded key.
pub fn each(events: &[RecordBatch], mut visit: impl FnMut(&[u8], &Row<'_>)) {
    for batch in events {
        let entities = batch.column(0).as_binary::<i32>();
        rows_of(batch).enumerate().for_each(|(at, row)| visit(entities.value(at), &row));
    }
}

impl Unit {
    /// The requests of these numbers, in the order of [`slices`], and the events of their partition.
    ///
    /// # Errors
    /// Where a batch cannot be built.
    pub fn new(events: Vec<RecordBatch>, requests: &[Request<'_>], numbers: &[u32]) -> Result<Unit, Error> {
        let spine = numbers.chunks(BATCH_ROWS).map(|numbers| spine_batch(numbers, requests)).collect::<Result<_, _>>()?;
        Ok(Unit { events, spine })
    }
}

/// The events of a batch.
pub(super) fn rows_of(batch: &RecordBatch) -> impl Iterator<Item = Row<'_>> {
    let (keys, args) = (batch.column(1).as_binary::<i32>(), batch.column(4).as_binary::<i32>());
    let (from, until) = (batch.column(2).as_primitive::<Int64Type>().values(), batch.column(3).as_primitive::<Int64Type>().values());
    (0..batch.num_rows()).map(move |row| Row { key: keys.value(row), known_from: from[row], known_until: until[row], args: args.value(row) })
}

/// Bytes of an entity key, an order key or arguments that there is room for at first.
const BYTES_GUESSED: usize = 24;

/// A batch that is being filled. There is room for all of it from the beginning, as far as the one before tells: builders that double copy what they have, and touch memory that was never used.
#[derive(Debug)]
struct EventBatch {
    entity: BinaryBuilder,
    order_key: BinaryBuilder,
    known_from: Int64Builder,
    known_until: Int64Builder,
    args: BinaryBuilder,
    rows: usize,
    bytes: usize,
}

impl EventBatch {
    /// Room for so many rows, and for so many bytes of each entity key, order key and arguments.
    fn with_room(rows: usize, [entity, order_key, args]: [usize; 3]) -> EventBatch {
        let binary = |each: usize| BinaryBuilder::with_capacity(rows, rows * each);
        let int = || Int64Builder::with_capacity(rows);
        let (entity, order_key, args) = (binary(entity), binary(order_key), binary(args));
        EventBatch { entity, order_key, known_from: int(), known_until: int(), args, rows: 0, bytes: 0 }
    }

    /// The batch, after which so many rows are to come.
    fn finish(&mut self, rest: usize) -> Result<RecordBatch, Error> {
        let each = |builder: &BinaryBuilder| builder.values_slice().len().div_ceil(self.rows.max(1));
        let room = [each(&self.entity), each(&self.order_key), each(&self.args)];
        let EventBatch { mut entity, mut order_key, mut known_from, mut known_until, mut args, .. } =
            std::mem::replace(self, EventBatch::with_room(rest.min(BATCH_ROWS), room));
        let columns = vec![
            Arc::new(entity.finish()) as _,
            Arc::new(order_key.finish()) as _,
            Arc::new(known_from.finish()) as _,
            Arc::new(known_until.finish()) as _,
            Arc::new(args.finish()) as _,
        ];
        RecordBatch::try_new(event_schema(), columns).map_err(|error| Error::internal("events make no batch").caused_by(error))
    }
}

fn spine_batch(numbers: &[u32], requests: &[Request<'_>]) -> Result<RecordBatch, Error> {
    let rows = numbers.len();
    let entity_bytes = numbers.iter().map(|&number| requests[number as usize].entity.len()).sum();
    let (mut entity, mut at) = (BinaryBuilder::with_capacity(rows, entity_bytes), TimestampMicrosecondBuilder::with_capacity(rows));
    let mut row = UInt64Builder::with_capacity(rows);
    for &number in numbers {
        let request = requests[number as usize];
        entity.append_value(request.entity);
        at.append_value(request.at);
        row.append_value(u64::from(number));
    }
    let columns = vec![Arc::new(entity.finish()) as _, Arc::new(at.finish()) as _, Arc::new(row.finish()) as _];
    RecordBatch::try_new(spine_schema(), columns).map_err(|error| Error::internal("a spine makes no batch").caused_by(error))
}
