//! What the features of a view are like, over its entities at one moment.

use std::collections::BinaryHeap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::ArrayRef;
use arrow::compute::concat;
use lockstep_model::{Error, Generation, Status, TimeMode};
use lockstep_store::CutRead;
use lockstep_transform::tiles::Request;
use lockstep_transform::transformation::Transformation;
use xxhash_rust::xxh3::xxh3_64;

/// Entities of one read.
const BATCH: usize = 1024;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// The view.
    pub view: &'a Transformation,
    /// Its state.
    pub generation: Generation,
    /// The clock that counts.
    pub time: TimeMode,
    /// The moment, µs.
    pub moment: i64,
    /// Most entities that are read.
    pub sample: usize,
}

/// A view at a moment.
#[derive(Debug)]
pub struct Measured {
    /// Entities that have had an event, whenever.
    pub entities: u64,
    /// How many of them were read.
    pub sampled: u64,
    /// Per feature, in the view's order.
    pub features: Vec<MeasuredFeature>,
}

/// One feature of the entities that were read.
#[derive(Debug)]
pub struct MeasuredFeature {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: ArrayRef,
    statuses: [u64; 5],
}

impl MeasuredFeature {
    /// The share of entities with this status.
    #[allow(clippy::cast_precision_loss, reason = "a share for people and limits")]
    pub fn share(&self, status: Status) -> f64 {
        let all: u64 = self.statuses.iter().sum();
        if all == 0 { 0.0 } else { self.statuses[status as usize] as f64 / all as f64 }
    }
}

/// Measures a view. Where it has more entities than are to be read, those with the smallest hashes are: the same ones in every generation.
///
/// # Errors
/// Where the store cannot be read; as `progress` has, which is told of entities.
pub fn measure(cut: &dyn CutRead, of: Of<'_>, progress: &dyn Fn(u64) -> Result<()>) -> Result<Measured> {
    let (entities, chosen) = choose(cut, of.generation, of.sample)?;
    let state = cut.state(of.generation);
    let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); of.view.features.fields().len()];
    let mut statuses = vec![[0_u64; 5]; columns.len()];
    for (batch, keys) in chosen.chunks(BATCH).enumerate() {
        progress((batch * BATCH) as u64)?;
        let requests: Vec<Request<'_>> = keys.iter().map(|entity| Request { entity, at: of.moment }).collect();
        let features = of.view.read_at(&state, &requests, of.time, None)?;
        columns.iter_mut().zip(features.columns).for_each(|(all, column)| all.push(column));
        for (counts, of_feature) in statuses.iter_mut().zip(&features.statuses) {
            of_feature.iter().for_each(|status| counts[*status as usize] += 1);
        }
    }
    let fields = of.view.features.fields().iter();
    let feature = |((field, parts), statuses): ((&Arc<arrow::datatypes::Field>, &Vec<ArrayRef>), [u64; 5])| {
        let parts: Vec<&dyn arrow::array::Array> = parts.iter().map(AsRef::as_ref).collect();
        let values = if parts.is_empty() { arrow::array::new_empty_array(field.data_type()) } else { concat(&parts)? };
        Ok(MeasuredFeature { name: field.name().clone(), values, statuses })
    };
    let features = fields.zip(&columns).zip(statuses).map(feature).collect::<Result<_>>()?;
    Ok(Measured { entities, sampled: chosen.len() as u64, features })
}

/// How many entities there are, and the keys of those to be read.
fn choose(cut: &dyn CutRead, generation: Generation, most: usize) -> Result<(u64, Vec<Vec<u8>>), Error> {
    let mut entities = 0;
    // The greatest hash of those that are held goes first.
    let mut held: BinaryHeap<(u64, Vec<u8>)> = BinaryHeap::new();
    cut.each_entity(generation, &mut |entity, _| {
        entities += 1;
        let hash = xxh3_64(entity);
        if held.len() < most {
            held.push((hash, entity.to_vec()));
        } else if held.peek().is_some_and(|(greatest, _)| hash < *greatest) {
            held.pop();
            held.push((hash, entity.to_vec()));
        }
        Ok(())
    })?;
    let mut chosen: Vec<Vec<u8>> = held.into_iter().map(|(_, entity)| entity).collect();
    // In the order in which they lie.
    chosen.sort_unstable();
    Ok((entities, chosen))
}
