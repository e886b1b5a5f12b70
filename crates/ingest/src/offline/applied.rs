//! How far a store, or a snapshot of one, has applied its inputs: all that whoever reads them again has to know of it.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_model::position::history_path;
use lockstep_model::{Error, EventTime, Generation, PartitionId, Position};
use lockstep_store::{CutRead, GenerationInfo};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use serde::{Deserialize, Serialize};

/// What some generations of a store have applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applied {
    /// Each of them.
    pub generations: Vec<AppliedGeneration>,
    /// Which sources were read together.
    pub together: Together,
}

/// What a generation has applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppliedGeneration {
    /// The generation.
    pub info: GenerationInfo,
    /// How far each partition was read.
    pub positions: Vec<(PartitionId, Position)>,
    /// Rows that the clock put aside.
    pub ahead: Ahead,
}

impl Applied {
    /// What these generations have applied, as it is in `cut`.
    ///
    /// # Errors
    /// Where the cut cannot be read.
    pub fn of(cut: &dyn CutRead, generations: impl IntoIterator<Item = GenerationInfo>) -> Result<Applied, Error> {
        let generation = |info: GenerationInfo| {
            let (positions, ahead) = (cut.positions(info.generation)?, Ahead::of(cut, info.generation)?);
            Ok::<_, Error>(AppliedGeneration { info, positions, ahead })
        };
        Ok(Applied { generations: generations.into_iter().map(generation).collect::<Result<_, _>>()?, together: Together::of(cut)? })
    }
}

impl AppliedGeneration {
    /// Where its history ended, if it did not take all of it.
    pub(super) fn until(&self) -> Option<EventTime> {
        self.info.history_until.filter(|until| *until != EventTime::MAX)
    }

    /// How far the partitions of a source were read, in the order of [`in_order`].
    pub(super) fn of_source<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a (PartitionId, Position)> {
        in_order(&self.positions).into_iter().filter(move |(id, _)| id.source == source)
    }
}

/// Positions in the order in which their partitions are read again: history before the logs, and each partition when it was begun, as it was.
pub(super) fn in_order(positions: &[(PartitionId, Position)]) -> Vec<&(PartitionId, Position)> {
    let mut positions: Vec<&(PartitionId, Position)> = positions.iter().collect();
    positions.sort_by_key(|(id, position)| (history_path(&id.partition).is_none(), position.order()));
    positions
}

/// Rows that the clock put aside, by partition. Everything else that becomes of a row follows from its log, and is decided anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead(Vec<(PartitionId, BTreeSet<u64>)>);

impl Ahead {
    /// Those of a generation.
    ///
    /// # Errors
    /// Where the cut cannot be read.
    pub(super) fn of(cut: &dyn CutRead, generation: Generation) -> Result<Ahead, Error> {
        let mut ahead: BTreeMap<PartitionId, BTreeSet<u64>> = BTreeMap::new();
        for letter in cut.dead_letters(generation) {
            let letter = letter?;
            if letter.reason == "ahead" {
                ahead.entry(letter.partition).or_default().insert(letter.row);
            }
        }
        Ok(Ahead(ahead.into_iter().collect()))
    }

    /// Those of a generation among the rows that came since earlier positions, and up to its own.
    ///
    /// # Errors
    /// Where the cut cannot be read.
    pub(super) fn since(cut: &dyn CutRead, generation: Generation, before: &[(PartitionId, Position)]) -> Result<Ahead, Error> {
        let mut ahead = Vec::new();
        for (id, position) in cut.positions(generation)? {
            let from = before.iter().find(|(known, _)| *known == id).map_or(0, |(_, before)| before.rows());
            if from >= position.rows() {
                continue;
            }
            let mut rows = BTreeSet::new();
            for letter in cut.dead_letters_from(generation, &id, from) {
                let letter = letter?;
                if letter.reason == "ahead" {
                    rows.insert(letter.row);
                }
            }
            ahead.push((id, rows));
        }
        Ok(Ahead(ahead))
    }

    /// The rows of a partition.
    pub(super) fn rows(&self, id: &PartitionId) -> Option<&BTreeSet<u64>> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, rows)| rows)
    }

    /// How many rows there are of each source.
    pub(super) fn by_source(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(id, rows)| (id.source.as_str(), rows.len() as u64))
    }
}

/// The sources that were read from each partition, into any generation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Together(BTreeMap<String, BTreeSet<String>>);

impl Together {
    /// As it is in a cut.
    ///
    /// # Errors
    /// Where the cut cannot be read.
    pub(super) fn of(cut: &dyn CutRead) -> Result<Together, Error> {
        let mut together: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for info in cut.generations()? {
            for (id, _) in cut.positions(info.generation)? {
                together.entry(id.partition).or_default().insert(id.source);
            }
        }
        Ok(Together(together))
    }

    /// The sources that a log was read for, in the order in which it was: where there are several, a row that names none is of none, and one that cannot be read is told to the first.
    /// Files of a history are read for one at a time.
    pub(super) fn sources<'c>(&self, catalog: &'c Catalog, id: &PartitionId) -> Vec<&'c SourcePlan> {
        let names = self.0.get(&id.partition).filter(|_| history_path(&id.partition).is_none());
        let is_read = |name: &String| *name == id.source || names.is_some_and(|names| names.contains(name));
        catalog.sources.values().filter(|source| is_read(&source.name)).map(|source| &**source).collect()
    }
}
