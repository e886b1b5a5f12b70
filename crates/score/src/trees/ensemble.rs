//! An ensemble that runs: rows go down its trees, and what the leaves give is summed in the order of the trees, in the precision in which ONNX Runtime does it.

use super::described::{Aggregate, Described, Labels, Node};
use super::finish::{Finish, Score};
use super::layout::{LANES, Layout};
use super::lower::lower;
use super::number::Number;
use super::walk::BLOCK;
use crate::{Tensor, Values};

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
    /// One weight each, all for one target.
    One { target: usize, layout: Layout<T, T> },
    /// A run of weights.
    Many { layout: Layout<T, u32>, runs: Vec<(u32, u32)>, weights: Vec<(u32, T)> },
}

impl<T: Number> Ensemble<T> {
    pub(super) fn new(described: Described<T>) -> Result<Ensemble<T>, String> {
        let trees = lower(&described);
        let leaf = |at: usize| if let Node::Leaf(weights) = &described.nodes[at] { weights.as_slice() } else { &[] };
        let sums = match sole_target(&described) {
            Some(target) => Sums::One { target, layout: Layout::new(&trees, |at| leaf(at).first().map_or(T::default(), |(_, weight)| *weight))? },
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
            Sums::One { layout, .. } => layout.features,
            Sums::Many { layout, .. } => layout.features,
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
            Sums::One { target, layout } => {
                // A target's sums side by side: nothing else is touched for a leaf.
                let mut sums = [T::default(); BLOCK];
                let add = |row: usize, weight: T, first: bool| sums[row] = self.aggregate.add(sums[row], weight, first);
                visit(layout, values, width, rows, add);
                for (row, sum) in sums[..rows].iter().enumerate() {
                    scores[row * targets + target] = Score { value: *sum, known: true };
                }
            }
            Sums::Many { layout, runs, weights } => visit(layout, values, width, rows, |row, leaf: u32, _| {
                let (start, end) = runs[leaf as usize];
                for (target, weight) in &weights[start as usize..end as usize] {
                    let score = &mut scores[row * targets + *target as usize];
                    *score = Score { value: self.aggregate.add(score.value, *weight, !score.known), known: true };
                }
            }),
        }
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

/// The target that all leaves add to, each with one weight.
fn sole_target<T: Number>(described: &Described<T>) -> Option<usize> {
    let mut sole = None;
    for node in &described.nodes {
        if let Node::Leaf(weights) = node {
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
    sole.map(|target| target as usize)
}

/// Gives each tree's leaf for each of some rows, at most [`BLOCK`]; for a row they come in the order of the trees, the first told apart.
fn visit<T: Number, L: Copy + Default>(layout: &Layout<T, L>, values: &[T], width: usize, rows: usize, mut each: impl FnMut(usize, L, bool)) {
    let whole = rows - rows % LANES;
    if whole > 0 {
        let columns = columns(layout, values, width, whole);
        let mut first = [true; BLOCK / LANES];
        layout.rows(&columns, |chunk, leaves| {
            let begins = std::mem::replace(&mut first[chunk], false);
            for (lane, leaf) in leaves.into_iter().enumerate() {
                each(chunk * LANES + lane, leaf, begins);
            }
        });
    }
    // The rest one by one, eight trees at a time.
    let mut row = vec![T::default(); layout.width()];
    for at in whole..rows {
        fill(layout, &values[at * width..], &mut row);
        let mut first = true;
        layout.row(&row, |leaf| each(at, leaf, std::mem::replace(&mut first, false)));
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

/// Rows beside each other, value by value, in chunks of eight.
fn columns<T: Number, L: Copy + Default>(layout: &Layout<T, L>, values: &[T], width: usize, rows: usize) -> Vec<[T; LANES]> {
    let mut columns = vec![[T::default(); LANES]; layout.width() * rows / LANES];
    for (chunk, columns) in columns.chunks_exact_mut(layout.width()).enumerate() {
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
