//! What an entity would keep and a read would touch: trees of made-up events, built and read by the engine itself.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use lockstep_model::TimeMode;
use lockstep_model::key::Keys;
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::tiles::node::Row;
use lockstep_transform::tiles::{self, Frame, MemoryState, Request, Shape};
use lockstep_transform::transformation::Transformation;
use schemars::JsonSchema;
use serde::Serialize;

/// Events of the entities that are made up.
pub const SIZES: [usize; 5] = [1, 64, 1_000, 10_000, 100_000];
/// Where a view's windows have no length: what its events are spread over.
const SPREAD: i64 = 30 * 86_400_000_000;
/// The grid that is tried out in place of exact edges.
const GRID: i64 = 60_000_000;
/// How many moments a read is averaged over.
const READS: u64 = 16;

/// An entity of so many events.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// Its events, spread evenly over the longest window.
    pub events: usize,
    /// Bytes that it keeps, keys included, before compression.
    pub kept_bytes: u64,
    /// What a read of all features touches, on average.
    pub read: ReadEstimate,
    /// The same where edges are floored to a minute; absent where the view floors them already.
    pub with_resolution: Option<ReadEstimate>,
}

/// What one read touches.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReadEstimate {
    /// Keys asked for.
    pub keys: u64,
    /// Batched reads, one a level.
    pub rounds: u64,
    /// Bytes of the values found.
    pub bytes: u64,
    /// Tiles merged, counted once per window.
    pub tiles: u64,
    /// Events folded one by one.
    pub events: u64,
}

/// Estimates for entities of several sizes.
///
/// # Errors
/// Where the engine refuses the events, which were made for it.
pub fn estimates(catalog: &Catalog, view: &Transformation) -> Result<Vec<Estimate>> {
    SIZES.iter().map(|&events| estimate(catalog, view, events)).collect()
}

fn estimate(catalog: &Catalog, view: &Transformation, events: usize) -> Result<Estimate> {
    let spread = view.frames.iter().filter_map(|frame| frame.preceding).chain(view.reach()).max().filter(|&span| span > 0).unwrap_or(SPREAD);
    let made = Made::new(catalog, view, events, spread)?;
    let mut state = MemoryState::default();
    state.write(tiles::build(&view.measures, Shape::default(), ENTITY, &made.rows())?);
    let kept_bytes = state.sorted().iter().map(|(key, value)| (key.as_bytes().len() + value.len()) as u64).sum();
    let exact = view.frames.iter().all(|frame| frame.resolution <= 1);
    let floored: Vec<Frame> = view.frames.iter().map(|frame| Frame { resolution: GRID, ..frame.clone() }).collect();
    let with_resolution = exact.then(|| read(view, &floored, &state, spread)).transpose()?;
    Ok(Estimate { events, kept_bytes, read: read(view, &view.frames, &state, spread)?, with_resolution })
}

const ENTITY: &[u8] = b"an entity of usual length";

/// Reads shortly after the last event, where all windows are full.
fn read(view: &Transformation, frames: &[Frame], state: &MemoryState, spread: i64) -> Result<ReadEstimate> {
    let plan = tiles::ReadPlan::new(&view.measures, frames, &view.outputs);
    let mut sum = tiles::ReadStats::default();
    for i in 0..READS as i64 {
        // A request each, since requests of one batch share rounds.
        let request = Request { entity: ENTITY, at: START + spread + i * (spread / 4096) };
        sum += tiles::read_at(&plan, &view.measures, state, &[request], TimeMode::Event, None)?.stats;
    }
    let mean = |count: u64| count.div_ceil(READS);
    Ok(ReadEstimate { keys: mean(sum.keys), rounds: mean(sum.rounds), bytes: mean(sum.bytes), tiles: mean(sum.tiles), events: mean(sum.rows) })
}

/// 2024-01-01.
const START: i64 = 1_704_067_200_000_000;

/// Made-up events, ascending.
struct Made {
    /// Order key and stored columns of each.
    events: Vec<(Vec<u8>, Vec<u8>)>,
    known_from: Vec<i64>,
}

impl Made {
    fn new(catalog: &Catalog, view: &Transformation, count: usize, spread: i64) -> Result<Made> {
        let source = catalog.sources_of(view).into_iter().next().ok_or_else(|| anyhow!("`{}` reads no source", view.view))?;
        let keys = primary_keys(source, count)?;
        let columns: Vec<ArrayRef> =
            view.measures.codec.schema().fields().iter().map(|field| column(field.data_type(), count)).collect::<Result<_>>()?;
        let version: &[u8] = if source.version.is_some() { &[0; 9] } else { &[] };
        let encoder = view.measures.codec.encoder(&columns)?;
        let mut made = Made { events: Vec::with_capacity(count), known_from: Vec::with_capacity(count) };
        for event in 0..count {
            let time = START + (spread as i128 * event as i128 / count as i128) as i64;
            let (mut key, mut stored) = (Vec::new(), Vec::new());
            tiles::order::write(&mut key, time, 0, keys.get(event), version);
            encoder.write(event, &mut stored);
            made.events.push((key, stored));
            made.known_from.push(if source.has_availability() { time } else { i64::MIN });
        }
        Ok(made)
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let rows = self.events.iter().zip(&self.known_from);
        rows.map(|((key, args), &known_from)| Row { key, args, known_from, known_until: i64::MAX }).collect()
    }
}

fn primary_keys(source: &SourcePlan, count: usize) -> Result<Keys> {
    let serial: ArrayRef = Arc::new(Int64Array::from_iter_values(1_000_000..1_000_000 + count as i64));
    let texts = || Arc::new(StringArray::from_iter_values((0..count).map(|event| format!("key {event:08}")))) as ArrayRef;
    let columns = source.primary_key.iter().map(|&column| match source.schema.field(column).data_type() {
        DataType::Utf8 => texts(),
        other => cast(&serial, other).unwrap_or_else(|_| new_null_array(other, count)),
    });
    Ok(Keys::encode(&columns.collect::<Vec<_>>())?)
}

/// Values of a type, of usual size. What cannot be made is NULL.
fn column(data_type: &DataType, count: usize) -> Result<ArrayRef> {
    let whole = |most: u64| Arc::new(Int64Array::from_iter_values((0..count).map(|event| scattered(event, most) as i64))) as ArrayRef;
    Ok(match data_type {
        DataType::Utf8 => Arc::new(StringArray::from_iter_values((0..count).map(|event| format!("text {:03}", scattered(event, 200))))),
        DataType::Boolean => cast(&whole(2), data_type)?,
        DataType::Float64 | DataType::Float32 => {
            let floats: ArrayRef = Arc::new(Float64Array::from_iter_values((0..count).map(|event| scattered(event, 100_000) as f64 / 100.0)));
            cast(&floats, data_type)?
        }
        DataType::List(item) => {
            let items = column(item.data_type(), 2 * count)?;
            Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_repeated_length(2, count), items, None)?)
        }
        other => cast(&whole(100), other).unwrap_or_else(|_| new_null_array(other, count)),
    })
}

/// A number below `most` for each event, in no order.
fn scattered(event: usize, most: u64) -> u64 {
    ((event as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % most
}
