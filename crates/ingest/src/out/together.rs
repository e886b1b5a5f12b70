//! What runs share that go on at once, each over generations of its own: a row leaves once, whoever meets it first, and nothing is forgotten that one of them still reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_model::{Generation, PartitionId};

/// Shared by runs that go on at once over the same store. A run that is alone has one of its own.
#[derive(Debug, Default)]
pub struct Together {
    /// By queue: the next row of each partition that it is to have.
    reached: Mutex<BTreeMap<String, BTreeMap<PartitionId, u64>>>,
    turn: Mutex<()>,
    /// The sources that each generation is being fed from.
    fed: Mutex<BTreeMap<Generation, BTreeSet<String>>>,
}

impl Together {
    /// Takes part in a queue that has come to these rows. What is known to be further stays so.
    pub(super) fn join(&self, queue: &str, rows: impl IntoIterator<Item = (PartitionId, u64)>) {
        let mut all = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = all.entry(queue.to_owned()).or_default();
        for (partition, row) in rows {
            let known = queue.entry(partition).or_default();
            *known = row.max(*known);
        }
    }

    /// The next row of a partition that a queue is to have. It only grows.
    pub(super) fn reached(&self, queue: &str, partition: &PartitionId) -> u64 {
        let all = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(queue).and_then(|queue| queue.get(partition)).copied().unwrap_or_default()
    }

    /// Held from looking at what queues have to the commit that puts more into them.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a run feeds generations from these sources, until what is given is dropped.
    pub(crate) fn feed(self: &Arc<Self>, generations: impl IntoIterator<Item = (Generation, BTreeSet<String>)>) -> Feeding {
        let generations: BTreeMap<Generation, BTreeSet<String>> = generations.into_iter().collect();
        let numbers = generations.keys().copied().collect();
        self.fed.lock().unwrap_or_else(PoisonError::into_inner).extend(generations);
        Feeding { together: Arc::clone(self), generations: numbers }
    }

    /// The generations that are being fed from a source, by whatever run.
    pub(crate) fn fed_from(&self, source: &str) -> BTreeSet<Generation> {
        let fed = self.fed.lock().unwrap_or_else(PoisonError::into_inner);
        fed.iter().filter(|(_, sources)| sources.contains(source)).map(|(generation, _)| *generation).collect()
    }
}

/// That generations are being fed.
#[derive(Debug)]
pub(crate) struct Feeding {
    together: Arc<Together>,
    generations: Vec<Generation>,
}

impl Drop for Feeding {
    fn drop(&mut self) {
        let mut fed = self.together.fed.lock().unwrap_or_else(PoisonError::into_inner);
        self.generations.iter().for_each(|generation| drop(fed.remove(generation)));
    }
}
