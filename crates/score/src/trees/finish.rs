//! From a row's sums to its scores and class, step by step as ONNX Runtime does it: its formulas, and where it goes over to 32 bits.

use super::described::{Aggregate, Described, Labels, Transform};
use super::ensemble::Finished;
use super::number::Number;

/// A target's sum; not `known` where no leaf added to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Score<T> {
    pub(super) value: T,
    pub(super) known: bool,
}

impl<T: Number> Score<T> {
    fn of(value: T) -> Score<T> {
        Score { value, known: true }
    }

    /// The sum, or nothing.
    fn get(self) -> T {
        if self.known { self.value } else { T::default() }
    }
}

/// What is done with a row's sums.
#[derive(Debug)]
pub(super) struct Finish<T> {
    trees: T,
    targets: usize,
    base: Vec<T>,
    aggregate: Aggregate,
    transform: Transform,
    classes: Option<Classes>,
    wide: bool,
}

#[derive(Debug)]
struct Classes {
    labels: Labels,
    /// Two classes, of which leaves tell one alone.
    one_sided: bool,
    /// No weight is negative: a sum is a probability.
    positive: bool,
}

/// Which of two classes won, and by which rule: what the other class's score is made of.
#[derive(Clone, Copy, PartialEq)]
enum Second {
    /// It is the rest to one.
    Rest,
    /// It is the opposite.
    Opposite,
}

impl<T: Number> Finish<T> {
    /// What ONNX Runtime leaves to chance is refused: the second score of two classes where no rule makes it.
    pub(super) fn new(described: Described<T>) -> Result<Finish<T>, String> {
        let weights = || {
            described.nodes.iter().filter_map(|node| if let super::described::Node::Leaf(weights) = node { Some(weights) } else { None }).flatten()
        };
        let mut told: Vec<u32> = weights().map(|(target, _)| *target).collect();
        told.sort_unstable();
        told.dedup();
        let positive = !weights().any(|(_, weight)| *weight < T::default());
        let one_sided = described.targets == 2 && told.len() == 1;
        if described.labels.is_some() && described.targets == 2 && described.base.len() < 2 {
            if described.transform == Transform::Probit {
                return Err("it gives the probit of one class of two".to_owned());
            }
            if described.base.len() == 1 && !one_sided {
                return Err("it has one base value for two classes".to_owned());
            }
        }
        Ok(Finish {
            trees: T::of_usize(described.roots.len()),
            targets: described.targets,
            classes: described.labels.map(|labels| Classes { labels, one_sided, positive }),
            base: described.base,
            aggregate: described.aggregate,
            transform: described.transform,
            wide: described.wide,
        })
    }

    pub(super) fn labels(&self) -> Option<&Labels> {
        self.classes.as_ref().map(|classes| &classes.labels)
    }

    /// Scores of a row.
    pub(super) fn width(&self) -> usize {
        self.targets
    }

    /// Whether scores are of `T`, or else 32-bit floats.
    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Adds a row's scores, and its class.
    pub(super) fn row(&self, scores: &mut [Score<T>], to: &mut Finished<T>) {
        match &self.classes {
            Some(classes) => {
                let class = if self.targets > 2 { self.many(scores, &mut to.scores) } else { self.two(classes, scores, &mut to.scores) };
                match (&classes.labels, &mut to.classes) {
                    // Of two classes both of which leaves tell, the number is the class, whatever the file calls it.
                    (Labels::Int64(_), Some(Labels::Int64(to))) if self.targets == 2 && !classes.one_sided => to.push(class as i64),
                    (Labels::Int64(labels), Some(Labels::Int64(to))) => to.push(labels[class]),
                    (Labels::Text(labels), Some(Labels::Text(to))) => to.push(labels[class].clone()),
                    _ => {}
                }
            }
            None if self.targets == 1 => {
                let value = self.one(scores[0]);
                to.scores.push(if self.transform == Transform::Probit { T::of_f32(probit(value.to_f32())) } else { value });
            }
            None => {
                self.add_base(scores);
                self.write(scores, &mut to.scores);
            }
        }
    }

    /// A regressor's only target. Of the transforms only probit is meant for it.
    fn one(&self, score: Score<T>) -> T {
        let base = if self.base.len() == 1 { self.base[0] } else { T::default() };
        match self.aggregate {
            Aggregate::Sum => score.value + base,
            Aggregate::Average => score.value / self.trees + base,
            Aggregate::Min | Aggregate::Max => {
                if score.known {
                    score.value + base
                } else {
                    base
                }
            }
        }
    }

    fn add_base(&self, scores: &mut [Score<T>]) {
        for (at, score) in scores.iter_mut().enumerate() {
            let base = self.base.get(at).copied();
            match self.aggregate {
                Aggregate::Sum => score.value = base.map_or(score.value, |base| score.value + base),
                Aggregate::Average => score.value = base.map_or(score.value / self.trees, |base| score.value / self.trees + base),
                Aggregate::Min | Aggregate::Max => score.value = base.unwrap_or_default() + score.get(),
            }
        }
    }

    /// The class of the greatest score, the first of equal ones.
    fn many(&self, scores: &mut [Score<T>], to: &mut Vec<T>) -> usize {
        for (score, base) in scores.iter_mut().zip(&self.base) {
            *score = Score::of(if score.known { score.value + *base } else { *base });
        }
        let mut best: Option<(usize, T)> = None;
        for (at, score) in scores.iter().enumerate().filter(|(_, score)| score.known) {
            if best.is_none_or(|(_, most)| score.value > most) {
                best = Some((at, score.value));
            }
        }
        self.write(scores, to);
        best.map_or(0, |(at, _)| at)
    }

    /// One of two classes.
    fn two(&self, classes: &Classes, scores: &mut [Score<T>], to: &mut Vec<T>) -> usize {
        let mut both = true;
        let mut second = Second::Opposite;
        match self.base[..] {
            [_, base] if scores[1].known => {
                // The first base is taken to be the second's, and the sum to be the first class's.
                scores[1] = Score::of(base + scores[0].value);
                scores[0].value = -scores[1].value;
            }
            [first, base] => {
                scores[1].value = scores[1].value + base;
                scores[0].value = scores[0].value + first;
            }
            [base] => {
                scores[0].value = scores[0].value + base;
                both = scores[1].known;
            }
            _ => both = scores[1].known,
        }
        let weight = if both && scores[1].known { scores[1].value } else { scores[0].get() };
        let mut half = T::default();
        if classes.one_sided {
            second = if classes.positive { Second::Rest } else { Second::Opposite };
            half = if classes.positive { T::ONE / (T::ONE + T::ONE) } else { T::default() };
        }
        if both {
            self.write(scores, to)
        } else {
            self.write_one(scores[0], second, to)
        }
        usize::from(weight > half)
    }

    /// The scores of two classes of which one is known.
    fn write_one(&self, score: Score<T>, second: Second, to: &mut Vec<T>) {
        let value = score.get();
        match (self.transform, second) {
            (Transform::Logistic, _) => to.extend([-value, value].map(|value| T::of_f32(logistic(value.to_f32())))),
            (_, Second::Rest) => to.extend([T::ONE - value, value]),
            (_, Second::Opposite) => to.extend([-value, value]),
        }
    }

    fn write(&self, scores: &mut [Score<T>], to: &mut Vec<T>) {
        let start = to.len();
        to.extend(scores.iter().map(|score| score.get()));
        let own = &mut to[start..];
        match self.transform {
            Transform::None => {}
            Transform::Probit => own.iter_mut().for_each(|value| *value = T::of_f32(probit(value.to_f32()))),
            Transform::Logistic => own.iter_mut().for_each(|value| *value = T::of_f32(logistic(value.to_f32()))),
            Transform::Softmax => softmax(own, false),
            Transform::SoftmaxZero => softmax(own, true),
        }
    }
}

fn logistic(value: f32) -> f32 {
    let at_most_one = 1.0 / (1.0 + (-value.abs()).exp());
    if value < 0.0 { 1.0 - at_most_one } else { at_most_one }
}

fn probit(value: f32) -> f32 {
    std::f32::consts::SQRT_2 * inverse_erf(2.0 * value - 1.0)
}

/// Winitzki's approximation.
fn inverse_erf(value: f32) -> f32 {
    let sign = if value < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - value) * (1.0 + value)).ln();
    let half = 2.0 / (std::f32::consts::PI * 0.147) + 0.5 * log;
    sign * (-half + (half * half - 1.0 / 0.147 * log).sqrt()).sqrt()
}

/// Where `zero` is wanted, what is next to nothing stays so.
fn softmax<T: Number>(values: &mut [T], zero: bool) {
    let most = values.iter().map(|value| value.to_f32()).fold(-f32::MAX, |most, value| if value > most { value } else { most });
    let scale = (-most).exp();
    let mut sum = 0.0;
    for value in values.iter_mut() {
        let own = value.to_f32();
        let counts = own.abs() > 0.000_000_1;
        if counts || !zero {
            let power = (own - most).exp();
            *value = T::of_f32(power);
            sum += power;
        } else {
            *value = *value * T::of_f32(scale);
        }
    }
    for value in values {
        *value = if zero { *value / T::of_f32(sum) } else { T::of_f32(value.to_f32() / sum) };
    }
}
