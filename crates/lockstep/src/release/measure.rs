//! What the features of a view are like, over its entities at one moment.

use std::collections::BTreeSet;
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

impl Measured {
    /// What lies in columns, each with its name and with whether there is a value for each row.
    pub fn of_columns(entities: u64, columns: Vec<(String, ArrayRef, Vec<bool>)>) -> Measured {
        let feature = |(name, values, has_value): (String, ArrayRef, Vec<bool>)| {
            let mut statuses = [0; 5];
            has_value.iter().for_each(|has| statuses[if *has { Status::Present } else { Status::Null } as usize] += 1);
            MeasuredFeature { name, values, statuses }
        };
        Measured { entities, sampled: entities, features: columns.into_iter().map(feature).collect() }
    }
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
    let mut smallest = Smallest::new(most);
    cut.each_entity(generation, &mut |entity, _| {
        entities += 1;
        smallest.add(entity);
        Ok(())
    })?;
    Ok((entities, smallest.sorted()))
}

/// Entities with the smallest hashes: the same ones wherever they are chosen, of however many, and in whatever order those come.
#[derive(Debug)]
pub struct Smallest {
    most: usize,
    held: BTreeSet<(u64, Vec<u8>)>,
}

impl Smallest {
    /// None yet, and so many at most.
    pub fn new(most: usize) -> Smallest {
        Smallest { most, held: BTreeSet::new() }
    }

    /// Takes one in, if it is among them. One that was taken in before is there once.
    pub fn add(&mut self, entity: &[u8]) {
        let hash = xxh3_64(entity);
        if self.held.len() >= self.most && self.held.last().is_none_or(|(greatest, _)| hash > *greatest) {
            return;
        }
        self.held.insert((hash, entity.to_vec()));
        if self.held.len() > self.most {
            self.held.pop_last();
        }
    }

    /// They, in the order in which they lie.
    pub fn sorted(self) -> Vec<Vec<u8>> {
        let mut chosen: Vec<Vec<u8>> = self.held.into_iter().map(|(_, entity)| entity).collect();
        chosen.sort_unstable();
        chosen
    }
}
