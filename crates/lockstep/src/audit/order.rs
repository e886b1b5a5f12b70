//! The order in which answers can be computed again with inputs that are read once, from their beginning.
//!
//! All answers of one store were read from states that followed each other, but no clock says in which order: requests overtake one another, and services read different views. What does say
//! it are the positions of each view, of which one is never behind an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_model::Generation;

use crate::kept::Kept;

/// Answers that were read from the same positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How far each view had come: rows applied.
    pub at: BTreeMap<Generation, u64>,
    /// Their places.
    pub kept: Vec<usize>,
}

/// Puts answers in such an order. Where there is none, because they are of stores with different histories, views have to begin anew on the way.
pub fn steps(kept: &[Kept], places: impl Iterator<Item = usize>) -> Vec<Step> {
    let mut by_positions: BTreeMap<BTreeMap<Generation, u64>, Vec<usize>> = BTreeMap::new();
    for place in places {
        let at = kept[place].from.views.iter().map(|view| (view.generation, view.rows_applied())).collect();
        by_positions.entry(at).or_default().push(place);
    }
    let steps: Vec<Step> = by_positions.into_iter().map(|(at, kept)| Step { at, kept }).collect();
    let order = ordered(&steps.iter().map(|step| &step.at).collect::<Vec<_>>());
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    order.into_iter().filter_map(|step| steps[step].take()).collect()
}

/// The places of positions, such that no view goes back.
fn ordered(all: &[&BTreeMap<Generation, u64>]) -> Vec<usize> {
    // Of each view, its positions, and the steps at each.
    let mut levels: BTreeMap<Generation, BTreeMap<u64, BTreeSet<usize>>> = BTreeMap::new();
    for (step, at) in all.iter().enumerate() {
        for (generation, rows) in *at {
            levels.entry(*generation).or_default().entry(*rows).or_default().insert(step);
        }
    }
    // How many views of each step have not come there yet.
    let mut waits: Vec<usize> = all.iter().map(|at| at.len()).collect();
    let mut ready: Vec<usize> = (0..all.len()).filter(|&step| waits[step] == 0).collect();
    let mut come = |steps: &BTreeSet<usize>, ready: &mut Vec<usize>| {
        for &step in steps {
            waits[step] = waits[step].saturating_sub(1);
            if waits[step] == 0 {
                ready.push(step);
            }
        }
    };
    for steps in levels.values().filter_map(|levels| levels.values().next()) {
        come(steps, &mut ready);
    }
    let (mut order, mut is_done) = (Vec::with_capacity(all.len()), vec![false; all.len()]);
    while let Some(step) = ready.pop() {
        order.push(step);
        is_done[step] = true;
        for (generation, rows) in all[step] {
            let Some(levels) = levels.get_mut(generation) else { continue };
            let Some(left) = levels.get_mut(rows) else { continue };
            left.remove(&step);
            if left.is_empty() {
                levels.remove(rows);
                if let Some(next) = levels.values().next() {
                    come(next, &mut ready);
                }
            }
        }
    }
    order.extend((0..all.len()).filter(|&step| !is_done[step]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(positions: &[(u32, u64)]) -> BTreeMap<Generation, u64> {
        positions.iter().map(|&(generation, rows)| (Generation(generation), rows)).collect()
    }

    /// Whether no view goes back.
    fn holds(all: &[BTreeMap<Generation, u64>], order: &[usize]) -> bool {
        let mut come: BTreeMap<Generation, u64> = BTreeMap::new();
        order.iter().all(|&step| all[step].iter().all(|(generation, rows)| come.insert(*generation, *rows).is_none_or(|before| before <= *rows)))
    }

    #[test]
    fn services_over_different_views_are_put_in_the_order_of_their_store() {
        // By the sum of rows the second would come before the first.
        let all = [at(&[(1, 100)]), at(&[(1, 120), (2, 10)]), at(&[(1, 125)]), at(&[(2, 4)]), at(&[(1, 125), (2, 10)]), at(&[])];
        let order = ordered(&all.iter().collect::<Vec<_>>());
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>().len(), all.len());
        assert!(holds(&all, &order), "{order:?}");
    }

    #[test]
    fn random_services_of_a_store_are_put_in_order() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut come = [0_u64; 4];
            let mut all: Vec<BTreeMap<Generation, u64>> = Vec::new();
            for _ in 0..60 {
                come.iter_mut().for_each(|rows| *rows += u64::from(random.bool()) * random.u64(1..5));
                let views: Vec<(u32, u64)> = (0..4).filter(|_| random.bool()).map(|view| (view as u32, come[view])).collect();
                all.push(at(&views));
            }
            all.sort();
            all.dedup();
            let order = ordered(&all.iter().collect::<Vec<_>>());
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), all.len(), "seed {seed}");
            assert!(holds(&all, &order), "seed {seed}: {order:?}");
        }
    }

    #[test]
    fn histories_that_contradict_each_other_are_all_there() {
        let all = [at(&[(1, 1), (2, 2)]), at(&[(1, 2), (2, 1)])];
        assert_eq!(ordered(&all.iter().collect::<Vec<_>>()).len(), 2);
    }
}
