//! TreeEnsemble of ai.onnx.ml 5: nodes and leaves are told apart by where they stand, and branches may ask for membership.

use super::described::{Aggregate, Described, Node, Test, Transform};
use super::number::Number;
use super::v3::feature;
use crate::proto::{Attributes, bytes};

pub(super) fn read<T: Number>(attributes: &Attributes<'_>) -> Result<Described<T>, String> {
    let aggregate = match attributes.int("aggregate_function").unwrap_or(1) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(format!("it aggregates by {other}")),
    };
    let transform = match attributes.int("post_transform").unwrap_or(0) {
        0 => Transform::None,
        // ONNX means one by either number, and ONNX Runtime the other.
        1 | 2 => return Err("it transforms by softmax or logistic, which others take for each other".to_owned()),
        3 => Transform::SoftmaxZero,
        4 => Transform::Probit,
        other => return Err(format!("it transforms by {other}")),
    };
    let targets = usize::try_from(attributes.int("n_targets").unwrap_or(0)).unwrap_or(0);
    let branches = attributes.ints("nodes_featureids").len();
    let mut nodes = branches_of(attributes, branches)?;
    nodes.extend(leaves::<T>(attributes)?);
    let roots = attributes.ints("tree_roots").iter().map(|root| root_of(attributes, *root, branches)).collect::<Result<_, String>>()?;
    Ok(Described { nodes, roots, targets, base: Vec::new(), aggregate, transform, labels: None, wide: true })
}

fn tensor<T: Number>(attributes: &Attributes<'_>, name: &str) -> Result<Vec<T>, String> {
    let values = attributes.tensor(name).ok_or_else(|| format!("it has no {name}"))?;
    T::of_tensor(values).ok_or_else(|| format!("{name} is of another type than the input"))
}

fn leaves<T: Number>(attributes: &Attributes<'_>) -> Result<Vec<Node<T>>, String> {
    let (targets, weights) = (attributes.ints("leaf_targetids"), tensor::<T>(attributes, "leaf_weights")?);
    if targets.len() != weights.len() {
        return Err(format!("it has {} weights, and {} targets of them", weights.len(), targets.len()));
    }
    let target = |target: i64| u32::try_from(target).map_err(|_| format!("a leaf adds to target {target}"));
    targets.iter().zip(weights).map(|(id, weight)| Ok(Node::Leaf(vec![(target(*id)?, weight)]))).collect()
}

fn branches_of<T: Number>(attributes: &Attributes<'_>, branches: usize) -> Result<Vec<Node<T>>, String> {
    let features = attributes.ints("nodes_featureids");
    let (yes, no) = (attributes.ints("nodes_truenodeids"), attributes.ints("nodes_falsenodeids"));
    let (yes_leaf, no_leaf) = (attributes.ints("nodes_trueleafs"), attributes.ints("nodes_falseleafs"));
    let missing = attributes.ints("nodes_missing_value_tracks_true");
    let modes = attributes.tensor("nodes_modes").and_then(bytes).ok_or("it has no nodes_modes")?;
    let splits = tensor::<T>(attributes, "nodes_splits")?;
    let lengths = [yes.len(), no.len(), yes_leaf.len(), no_leaf.len(), modes.len(), splits.len()];
    if lengths.iter().any(|length| *length != branches) {
        return Err(format!("it has {branches} branches, and of what describes them {lengths:?}"));
    }
    let mut members = members(attributes)?.into_iter();
    (0..branches)
        .map(|at| {
            let test = match modes[at] {
                0 => Test::AtMost(splits[at]),
                1 => Test::Below(splits[at]),
                2 => Test::AtLeast(splits[at]),
                3 => Test::Above(splits[at]),
                4 => Test::Equals(splits[at]),
                5 => Test::Differs(splits[at]),
                6 => Test::OneOf(members.next().ok_or("a branch asks for membership in no set")?),
                other => return Err(format!("a node has the mode {other}")),
            };
            let (yes, no) = (place(yes[at], yes_leaf[at], branches)?, place(no[at], no_leaf[at], branches)?);
            Ok(Node::Branch { feature: feature(features[at])?, test, missing: missing.get(at) == Some(&1), yes, no })
        })
        .collect()
}

/// The sets that branches ask for, in the order of the branches; a NaN ends each.
fn members<T: Number>(attributes: &Attributes<'_>) -> Result<Vec<Vec<T>>, String> {
    if attributes.tensor("membership_values").is_none() {
        return Ok(Vec::new());
    }
    let values = tensor::<T>(attributes, "membership_values")?;
    Ok(values.split(|value| value.is_nan()).map(<[T]>::to_vec).collect())
}

/// Leaves stand behind the branches.
fn place(id: i64, leaf: i64, branches: usize) -> Result<usize, String> {
    let id = usize::try_from(id).map_err(|_| format!("a branch leads to node {id}"))?;
    match leaf {
        0 if id < branches => Ok(id),
        0 => Err(format!("a branch leads to node {id} of {branches}")),
        _ => Ok(branches + id),
    }
}

/// Where a tree begins. A tree that is one leaf is written as a branch both of whose ends are that leaf.
fn root_of(attributes: &Attributes<'_>, root: i64, branches: usize) -> Result<usize, String> {
    let at = place(root, 0, branches)?;
    let (yes, no) = (attributes.ints("nodes_truenodeids")[at], attributes.ints("nodes_falsenodeids")[at]);
    let leaves = attributes.ints("nodes_trueleafs")[at] != 0 && attributes.ints("nodes_falseleafs")[at] != 0;
    if leaves && yes == no { place(yes, 1, branches) } else { Ok(at) }
}
