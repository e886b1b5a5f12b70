//! An ensemble that runs: rows go down its trees, and what the leaves give is summed in the order of the trees, in the precision in which ONNX Runtime does it.

use std::collections::HashSet;

use super::described::{Aggregate, Described, Labels, Node};
use super::finish::{Finish, Score};
use super::layout::{LANES, Layout};
use super::lower::lower;
use super::number::Number;
use super::walk::BLOCK;
use crate::{Tensor, Values};

/// What a sum takes to become a score, in splits: an exponential, at the most.
const STEPS_OF_SCORE: usize = 8;

/// A compiled ensemble.
#[derive(Debug)]
pub(super) struct Ensemble<T> {
    sums: Sums<T>,
    aggregate: Aggregate,
    targets: usize,
    finish: Finish<T>,
}

/// What leaves give.
#[derive(Debug)]
enum Sums<T> {
    /// One weight each, all of a tree for one target.
    Single { targets: Vec<usize>, known: Vec<usize>, layout: Layout<T, T> },
    /// A run of weights.
    Many { layout: Layout<T, u32>, runs: Vec<(u32, u32)>, weights: Vec<(u32, T)> },
}

impl<T: Number> Ensemble<T> {
    pub(super) fn new(described: Described<T>) -> Result<Ensemble<T>, String> {
        let trees = lower(&described);
        let leaf = |at: usize| if let Node::Leaf(weights) = &described.nodes[at] { weights.as_slice() } else { &[] };
        let sums = match single_targets(&described) {
            Some(targets) => {
                let mut known = targets.clone();
                known.sort_unstable();
                known.dedup();
                let layout = Layout::new(&trees, |at| leaf(at).first().map_or(T::default(), |(_, weight)| *weight))?;
                Sums::Single { targets, known, layout }
            }
            None => {
                let (mut runs, mut weights) = (vec![(0, 0); described.nodes.len()], Vec::new());
                for (at, run) in runs.iter_mut().enumerate() {
                    let start = weights.len() as u32;
                    weights.extend_from_slice(leaf(at));
                    *run = (start, weights.len() as u32);
                }
                Sums::Many { layout: Layout::new(&trees, |at| at as u32)?, runs, weights }
            }
        };
        Ok(Ensemble { sums, aggregate: described.aggregate, targets: described.targets, finish: Finish::new(described)? })
    }

    /// How many values of a row are looked at.
    pub(super) fn features(&self) -> usize {
        match &self.sums {
            Sums::Single { layout, .. } => layout.features,
            Sums::Many { layout, .. } => layout.features,
        }
    }

    /// The steps that a row takes at the most: the splits that it passes, what leaves add, and what is made of the sums.
    pub(super) fn steps(&self) -> usize {
        let finishing = self.targets * STEPS_OF_SCORE;
        match &self.sums {
            Sums::Single { layout, .. } => layout.splits + finishing,
            Sums::Many { layout, .. } => layout.splits + layout.groups.len() * LANES * self.targets + finishing,
        }
    }

    /// Runs rows: the classes, if it has any, and the scores.
    pub(super) fn run(&self, input: &Tensor) -> Result<(Option<Tensor>, Tensor), String> {
        let (rows, width) = (input.rows(), input.width());
        if width < self.features() {
            return Err(format!("a row has {width} values · the trees look at {}", self.features()));
        }
        let values = T::all(&input.values).ok_or("trees cannot look at text")?;
        let mut scores = vec![Score::default(); rows.min(BLOCK) * self.targets];
        let mut finished = self.finish.start(rows);
        for start in (0..rows).step_by(BLOCK) {
            let count = (rows - start).min(BLOCK);
            let scores = &mut scores[..count * self.targets];
            scores.fill(Score::default());
            self.sum(&values[start * width..(start + count) * width], width, count, scores);
            scores.chunks_exact_mut(self.targets).for_each(|row| self.finish.row(row, &mut finished));
        }
        Ok(self.finish.tensors(finished, rows))
    }

    fn sum(&self, values: &[T], width: usize, rows: usize, scores: &mut [Score<T>]) {
        let targets = self.targets;
        match &self.sums {
            Sums::Single { targets: of_trees, known, layout } => {
                let mut single = Single { aggregate: self.aggregate, of_trees, sums: vec![T::default(); targets * BLOCK], one: known.len() == 1 };
                visit(layout, values, width, rows, &mut single);
                for (row, scores) in scores.chunks_exact_mut(targets).enumerate() {
                    known.iter().for_each(|target| scores[*target] = Score { value: single.sums[target * BLOCK + row], known: true });
                }
            }
            Sums::Many { layout, runs, weights } => {
                visit(layout, values, width, rows, &mut Many { aggregate: self.aggregate, runs, weights, scores, targets })
            }
        }
    }
}

/// Takes what leaves give, for each row in the order of the trees.
trait Take<L> {
    /// The leaves of a row, in as many trees from one on.
    fn trees(&mut self, row: usize, tree: usize, leaves: &[L]);

    /// The leaves of as many rows, from one on, in a tree.
    fn rows(&mut self, row: usize, tree: usize, leaves: &[L]);
}

/// Sums of trees that are each for one target.
struct Single<'a, T> {
    aggregate: Aggregate,
    of_trees: &'a [usize],
    /// A target's beside each other, row by row.
    sums: Vec<T>,
    /// Whether all trees are for the same target.
    one: bool,
}

impl<T: Number> Take<T> for Single<'_, T> {
    fn trees(&mut self, row: usize, tree: usize, leaves: &[T]) {
        if self.one {
            let sum = &mut self.sums[self.of_trees[0] * BLOCK + row];
            *sum = leaves.iter().enumerate().fold(*sum, |sum, (lane, weight)| self.aggregate.add(sum, *weight, tree + lane == 0));
            return;
        }
        for (weight, target) in leaves.iter().zip(&self.of_trees[tree..]) {
            let sum = &mut self.sums[target * BLOCK + row];
            *sum = *sum + *weight;
        }
    }

    fn rows(&mut self, row: usize, tree: usize, leaves: &[T]) {
        let sums = self.sums[self.of_trees[tree] * BLOCK + row..].iter_mut().zip(leaves);
        match self.aggregate {
            Aggregate::Sum | Aggregate::Average => sums.for_each(|(sum, weight)| *sum = *sum + *weight),
            Aggregate::Min | Aggregate::Max => sums.for_each(|(sum, weight)| *sum = self.aggregate.add(*sum, *weight, tree == 0)),
        }
    }
}

/// Sums of leaves that each add to several targets.
struct Many<'a, T> {
    aggregate: Aggregate,
    runs: &'a [(u32, u32)],
    weights: &'a [(u32, T)],
    scores: &'a mut [Score<T>],
    targets: usize,
}

impl<T: Number> Many<'_, T> {
    fn add(&mut self, row: usize, leaf: u32) {
        let (start, end) = self.runs[leaf as usize];
        let scores = &mut self.scores[row * self.targets..(row + 1) * self.targets];
        for (target, weight) in &self.weights[start as usize..end as usize] {
            let score = &mut scores[*target as usize];
            *score = Score { value: self.aggregate.add(score.value, *weight, !score.known), known: true };
        }
    }
}

impl<T: Number> Take<u32> for Many<'_, T> {
    fn trees(&mut self, row: usize, _: usize, leaves: &[u32]) {
        leaves.iter().for_each(|leaf| self.add(row, *leaf));
    }

    fn rows(&mut self, row: usize, _: usize, leaves: &[u32]) {
        leaves.iter().enumerate().for_each(|(lane, leaf)| self.add(row + lane, *leaf));
    }
}

impl Aggregate {
    /// A target's sum, or what stands for it, with one more weight; `first` where there is none yet.
    #[inline(always)]
    fn add<T: Number>(self, sum: T, weight: T, first: bool) -> T {
        match self {
            Aggregate::Sum | Aggregate::Average => sum + weight,
            Aggregate::Min => {
                if first || weight < sum {
                    weight
                } else {
                    sum
                }
            }
            Aggregate::Max => {
                if first || weight > sum {
                    weight
                } else {
                    sum
                }
            }
        }
    }
}

/// The target that a tree's leaves add to, for each tree, if they add one weight to one target. Where there are several targets, only sums can be told apart so.
fn single_targets<T: Number>(described: &Described<T>) -> Option<Vec<usize>> {
    let targets: Vec<usize> = described.roots.iter().map(|root| single_target(described, *root)).collect::<Option<_>>()?;
    let one = targets.iter().all(|target| *target == targets[0]);
    (one || matches!(described.aggregate, Aggregate::Sum | Aggregate::Average)).then_some(targets)
}

fn single_target<T: Number>(described: &Described<T>, root: usize) -> Option<usize> {
    let (mut open, mut seen, mut sole) = (vec![root], HashSet::new(), None);
    while let Some(at) = open.pop() {
        match &described.nodes[at] {
            Node::Branch { yes, no, .. } => open.extend([*yes, *no].into_iter().filter(|child| seen.insert(*child))),
            Node::Leaf(weights) => {
                // Of several weights for the only target of a regressor, the first counts.
                let own = match weights.as_slice() {
                    [(target, _)] => *target,
                    [(target, _), ..] if described.targets == 1 => *target,
                    _ => return None,
                };
                if *sole.get_or_insert(own) != own {
                    return None;
                }
            }
        }
    }
    sole.map(|target| target as usize)
}

/// Takes some rows, at most [`BLOCK`], through all trees.
fn visit<T: Number, L: Copy + Default>(layout: &Layout<T, L>, values: &[T], width: usize, rows: usize, to: &mut impl Take<L>) {
    let whole = rows - rows % LANES;
    if whole > 0 {
        let columns = columns(layout, values, width, whole);
        layout.rows(&columns, whole / LANES, |chunk, tree, leaves| to.rows(chunk * LANES, tree, &leaves));
    }
    if whole < rows {
        // The rest one by one, eight trees at a time.
        let mut row = vec![T::default(); layout.room()];
        for at in whole..rows {
            fill(layout, &values[at * width..], &mut row);
            layout.row(&row, |tree, leaves| to.trees(at, tree, leaves));
        }
    }
}

fn fill<T: Number, L: Copy + Default>(layout: &Layout<T, L>, values: &[T], row: &mut [T]) {
    row[..layout.features].copy_from_slice(&values[..layout.features]);
    if layout.missing {
        for at in 0..layout.features {
            row[layout.features + at] = present(row[at]);
        }
    }
}

/// Rows beside each other, value by value, in chunks of eight, with room behind them.
fn columns<T: Number, L: Copy + Default>(layout: &Layout<T, L>, values: &[T], width: usize, rows: usize) -> Vec<[T; LANES]> {
    let mut columns = vec![[T::default(); LANES]; layout.width() * rows / LANES + layout.room()];
    for (chunk, columns) in columns.chunks_exact_mut(layout.width()).take(rows / LANES).enumerate() {
        for lane in 0..LANES {
            let row = &values[(chunk * LANES + lane) * width..][..layout.features];
            for (column, value) in columns.iter_mut().zip(row) {
                column[lane] = *value;
            }
        }
        if layout.missing {
            for at in 0..layout.features {
                columns[layout.features + at] = columns[at].map(present);
            }
        }
    }
    columns
}

/// A value, or −∞ for NaN.
fn present<T: Number>(value: T) -> T {
    if value.is_nan() { T::NEG_INFINITY } else { value }
}

/// Rows' results so far.
pub(super) struct Finished<T> {
    pub(super) classes: Option<Labels>,
    pub(super) scores: Vec<T>,
}

impl<T: Number> Finish<T> {
    fn start(&self, rows: usize) -> Finished<T> {
        let classes = self.labels().map(|labels| match labels {
            Labels::Int64(_) => Labels::Int64(Vec::with_capacity(rows)),
            Labels::Text(_) => Labels::Text(Vec::with_capacity(rows)),
        });
        Finished { classes, scores: Vec::with_capacity(rows * self.width()) }
    }

    fn tensors(&self, finished: Finished<T>, rows: usize) -> (Option<Tensor>, Tensor) {
        let classes = finished.classes.map(|classes| Tensor {
            shape: vec![rows],
            values: match classes {
                Labels::Int64(classes) => Values::Int64(classes),
                Labels::Text(classes) => Values::Text(classes),
            },
        });
        let values = match self.is_wide() {
            true => T::into_values(finished.scores),
            false => Values::Float32(finished.scores.into_iter().map(T::to_f32).collect()),
        };
        (classes, Tensor { shape: vec![rows, self.width()], values })
    }
}
