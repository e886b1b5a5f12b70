//! Every branch as one question of one form: is this value at most that threshold?
//!
//! A descent then has nothing to decide but that. `<` is `<=` of the float before, `>` and `>=` are their opposites with the ends exchanged, equality is two questions, membership a search.
//! What is left is NaN, which is at most nothing: a branch that sends it where other values at most the threshold go looks at a copy of the row in which NaN is −∞.

use super::described::{Described, Node, Test};
use super::number::Number;

/// A node of a lowered tree; children are indices of nodes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lowered<T> {
    /// The leaf's index among those of the description's nodes.
    Leaf(usize),
    /// `row[feature] <= threshold`; features from [`Trees::features`] on are those of the row without NaNs.
    Branch { feature: u32, threshold: T, yes: usize, no: usize },
}

/// Lowered trees.
#[derive(Debug)]
pub(super) struct Trees<T> {
    pub(super) nodes: Vec<Lowered<T>>,
    pub(super) roots: Vec<usize>,
    /// How many values of a row are looked at.
    pub(super) features: usize,
    /// Whether any branch looks at the row without NaNs.
    pub(super) missing: bool,
}

/// Lowers all trees of a description.
pub(super) fn lower<T: Number>(described: &Described<T>) -> Trees<T> {
    let mut trees = Trees { nodes: Vec::with_capacity(described.nodes.len()), roots: Vec::new(), features: described.features(), missing: false };
    let mut places: Vec<Option<usize>> = vec![None; described.nodes.len()];
    for root in &described.roots {
        // Children first, each node once: several branches may lead to one node.
        let mut open = vec![*root];
        while let Some(at) = open.last().copied() {
            let waiting = match (places[at], &described.nodes[at]) {
                (None, Node::Branch { yes, no, .. }) => [*yes, *no].into_iter().filter(|child| places[*child].is_none()).collect(),
                _ => Vec::new(),
            };
            if waiting.is_empty() {
                open.pop();
                let place = places[at].unwrap_or_else(|| trees.node(&described.nodes[at], at, &places));
                places[at] = Some(place);
            }
            open.extend(waiting);
        }
        trees.roots.extend(places[*root]);
    }
    trees
}

/// A branch on its way to be lowered: what it looks at, and where it leads.
#[derive(Clone, Copy)]
struct Ends {
    feature: u32,
    missing: bool,
    yes: usize,
    no: usize,
}

impl Ends {
    fn exchanged(self) -> Ends {
        Ends { yes: self.no, no: self.yes, ..self }
    }
}

impl<T: Number> Trees<T> {
    fn node(&mut self, node: &Node<T>, at: usize, places: &[Option<usize>]) -> usize {
        match node {
            Node::Leaf(_) => self.push(Lowered::Leaf(at)),
            Node::Branch { feature, test, missing, yes, no } => {
                // Children were lowered before.
                let (yes, no) = (places[*yes].unwrap_or(0), places[*no].unwrap_or(0));
                self.test(test, Ends { feature: *feature, missing: *missing, yes, no })
            }
        }
    }

    fn push(&mut self, node: Lowered<T>) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn test(&mut self, test: &Test<T>, ends: Ends) -> usize {
        match test {
            Test::Differs(value) if value.is_nan() => ends.yes,
            // NaN differs from everything.
            Test::Differs(value) => self.equals(*value, Ends { missing: false, ..ends.exchanged() }),
            Test::OneOf(members) => self.one_of(members, ends),
            Test::AtMost(value) | Test::Below(value) | Test::AtLeast(value) | Test::Above(value) | Test::Equals(value) if value.is_nan() => {
                self.never(ends)
            }
            Test::AtMost(value) => self.at_most(*value, ends.missing, ends),
            Test::Below(value) if *value == T::NEG_INFINITY => self.never(ends),
            Test::Below(value) => self.at_most(value.before(), ends.missing, ends),
            Test::AtLeast(value) if *value == T::NEG_INFINITY => self.never(Ends { missing: !ends.missing, ..ends.exchanged() }),
            Test::AtLeast(value) => self.at_most(value.before(), !ends.missing, ends.exchanged()),
            Test::Above(value) => self.at_most(*value, !ends.missing, ends.exchanged()),
            Test::Equals(value) => self.equals(*value, ends),
        }
    }

    /// Values at most `threshold` to `yes`, NaN too if `missing`, others to `no`.
    fn at_most(&mut self, threshold: T, missing: bool, ends: Ends) -> usize {
        self.missing |= missing;
        let feature = ends.feature + if missing { self.features as u32 } else { 0 };
        self.push(Lowered::Branch { feature, threshold, yes: ends.yes, no: ends.no })
    }

    /// No number to `yes`, and NaN only if `missing`.
    fn never(&mut self, ends: Ends) -> usize {
        if ends.missing { self.at_most(T::INFINITY, false, ends.exchanged()) } else { ends.no }
    }

    fn equals(&mut self, value: T, ends: Ends) -> usize {
        if value == T::NEG_INFINITY {
            return self.at_most(value, ends.missing, ends);
        }
        // What comes here is at most the value, or a NaN that belongs to `yes`.
        let equal = self.at_most(value.before(), false, ends.exchanged());
        self.at_most(value, ends.missing, Ends { yes: equal, ..ends })
    }

    fn one_of(&mut self, members: &[T], ends: Ends) -> usize {
        let mut sorted: Vec<T> = members.iter().copied().filter(|member| !member.is_nan()).collect();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        sorted.dedup_by(|a, b| a == b);
        let found = self.search(&sorted, Ends { missing: false, ..ends });
        if ends.missing { self.never(Ends { no: found, ..ends }) } else { found }
    }

    /// Halves what is left; NaN goes to the last one, and is not it.
    fn search(&mut self, sorted: &[T], ends: Ends) -> usize {
        match sorted {
            [] => ends.no,
            [only] => self.equals(*only, ends),
            _ => {
                let (low, high) = sorted.split_at(sorted.len() / 2);
                let (yes, no) = (self.search(low, ends), self.search(high, ends));
                self.at_most(low[low.len() - 1], false, Ends { yes, no, ..ends })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::described::{Aggregate, Transform};
    use super::*;

    /// Where a branch sends a value, by what it says; not by what it was lowered to.
    fn said(test: &Test<f32>, missing: bool, value: f32) -> bool {
        let holds = match test {
            Test::AtMost(than) => value <= *than,
            Test::Below(than) => value < *than,
            Test::AtLeast(than) => value >= *than,
            Test::Above(than) => value > *than,
            Test::Equals(than) => value == *than,
            Test::Differs(than) => value != *than,
            Test::OneOf(members) => members.contains(&value),
        };
        holds || missing && value.is_nan()
    }

    fn followed(trees: &Trees<f32>, value: f32) -> usize {
        let row = [value, if value.is_nan() { f32::NEG_INFINITY } else { value }];
        let mut at = trees.roots[0];
        loop {
            match trees.nodes[at] {
                Lowered::Leaf(leaf) => return leaf,
                Lowered::Branch { feature, threshold, yes, no } => at = if row[feature as usize] <= threshold { yes } else { no },
            }
        }
    }

    #[test]
    fn a_lowered_branch_sends_every_value_where_the_branch_does() {
        let values = [
            f32::NAN,
            f32::NEG_INFINITY,
            f32::MIN,
            -1.0,
            -f32::MIN_POSITIVE,
            -1e-45,
            -0.0,
            0.0,
            1e-45,
            1.0,
            1.0f32.next_up(),
            2.0,
            7.0,
            f32::MAX,
            f32::INFINITY,
        ];
        let mut compared = 0;
        for threshold in values {
            let sets = [vec![], vec![threshold], vec![7.0, threshold, -1.0, 0.0, threshold], vec![f32::NAN, threshold, 1.0, 2.0]];
            let tests = [
                Test::AtMost(threshold),
                Test::Below(threshold),
                Test::AtLeast(threshold),
                Test::Above(threshold),
                Test::Equals(threshold),
                Test::Differs(threshold),
            ];
            for test in tests.into_iter().chain(sets.into_iter().map(Test::OneOf)) {
                for missing in [false, true] {
                    let leaf = |target| Node::Leaf(vec![(target, 1.0)]);
                    let nodes = vec![Node::Branch { feature: 0, test: test.clone(), missing, yes: 1, no: 2 }, leaf(0), leaf(1)];
                    let described = Described {
                        nodes,
                        roots: vec![0],
                        targets: 2,
                        base: Vec::new(),
                        aggregate: Aggregate::Sum,
                        transform: Transform::None,
                        labels: None,
                        wide: false,
                    };
                    let trees = lower(&described);
                    for value in values {
                        let wanted = if said(&test, missing, value) { 1 } else { 2 };
                        assert_eq!(followed(&trees, value), wanted, "{value} {test:?} missing {missing}");
                        compared += 1;
                    }
                }
            }
        }
        assert_eq!(compared, 15 * 10 * 2 * 15);
    }
}
