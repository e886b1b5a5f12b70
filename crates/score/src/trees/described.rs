//! An ensemble as its file describes it, once it was found to be trees: every branch ends, and every leaf says something. Nodes that no branch leads to are nothing.

use crate::proto::{Attributes, NodeProto};
use crate::trees::number::Number;

/// What a branch asks of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test<T> {
    /// `value <= this`
    AtMost(T),
    /// `value < this`
    Below(T),
    /// `value >= this`
    AtLeast(T),
    /// `value > this`
    Above(T),
    /// `value == this`
    Equals(T),
    /// `value != this`
    Differs(T),
    /// Whether the value is one of these.
    OneOf(Vec<T>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<T> {
    /// Adds to targets.
    Leaf(Vec<(u32, T)>),
    /// Goes on at `yes` or `no`, which are indices of nodes.
    Branch {
        feature: u32,
        test: Test<T>,
        /// Whether a missing value, NaN, goes to `yes`; else it goes where the test sends it.
        missing: bool,
        yes: usize,
        no: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

/// The classes of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Labels {
    Int64(Vec<i64>),
    Text(Vec<String>),
}

/// A checked ensemble.
#[derive(Debug, Clone)]
pub(super) struct Described<T> {
    pub(super) nodes: Vec<Node<T>>,
    /// The first node of each tree, in the order in which trees are summed.
    pub(super) roots: Vec<usize>,
    pub(super) targets: usize,
    pub(super) base: Vec<T>,
    pub(super) aggregate: Aggregate,
    pub(super) transform: Transform,
    pub(super) labels: Option<Labels>,
    /// Whether the outputs are of `T`, or else 32-bit floats.
    pub(super) wide: bool,
}

/// Most targets or classes: each row has a sum for every one of them.
const TARGETS_MAX: usize = 1 << 16;

impl<T: Number> Described<T> {
    /// Reads the operator that a node is.
    pub(super) fn read(node: &NodeProto) -> Result<Described<T>, String> {
        let attributes = Attributes(node);
        let described = match node.op_type.as_str() {
            "TreeEnsemble" => super::v5::read(&attributes),
            kind => super::v3::read(&attributes, kind == "TreeEnsembleClassifier"),
        }?;
        described.check()?;
        Ok(described)
    }

    /// How many values of a row are looked at.
    pub(super) fn features(&self) -> usize {
        let feature = |node: &Node<T>| if let Node::Branch { feature, .. } = node { *feature as usize + 1 } else { 0 };
        self.nodes.iter().map(feature).max().unwrap_or(0)
    }

    fn check(&self) -> Result<(), String> {
        if self.targets == 0 || self.targets > TARGETS_MAX {
            return Err(format!("it has {} targets", self.targets));
        }
        if self.roots.is_empty() {
            return Err("it has no trees".to_owned());
        }
        if self.roots.iter().any(|root| *root >= self.nodes.len()) {
            return Err("a tree begins at no node".to_owned());
        }
        for node in &self.nodes {
            match node {
                Node::Leaf(weights) if weights.is_empty() => return Err("a leaf adds to no target".to_owned()),
                Node::Leaf(weights) => {
                    if let Some((target, _)) = weights.iter().find(|(target, _)| *target as usize >= self.targets) {
                        return Err(format!("a leaf adds to target {target} of {}", self.targets));
                    }
                }
                Node::Branch { yes, no, .. } if *yes.max(no) >= self.nodes.len() => return Err("a branch leads to no node".to_owned()),
                Node::Branch { .. } => {}
            }
        }
        self.check_cycles()
    }

    /// Follows every branch to its end. Iteratively: a tree may be as deep as it has nodes.
    fn check_cycles(&self) -> Result<(), String> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            Above,
            Done,
        }
        let mut seen = vec![Seen::No; self.nodes.len()];
        let mut open: Vec<(usize, bool)> = self.roots.iter().rev().map(|root| (*root, false)).collect();
        while let Some((at, left)) = open.pop() {
            match (left, seen[at]) {
                (true, _) => seen[at] = Seen::Done,
                (false, Seen::Above) => return Err("a branch leads back to a node above it".to_owned()),
                (false, Seen::Done) => {}
                (false, Seen::No) => {
                    seen[at] = Seen::Above;
                    open.push((at, true));
                    if let Node::Branch { yes, no, .. } = &self.nodes[at] {
                        open.extend([(*no, false), (*yes, false)]);
                    }
                }
            }
        }
        Ok(())
    }
}
