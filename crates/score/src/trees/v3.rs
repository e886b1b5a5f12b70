//! TreeEnsembleClassifier and TreeEnsembleRegressor of ai.onnx.ml 1 to 3: nodes and weights are told apart by tree and number.

use std::collections::HashMap;

use super::described::{Aggregate, Described, Labels, Node, Test, Transform};
use super::number::Number;
use crate::proto::Attributes;

pub(super) fn read<T: Number>(attributes: &Attributes<'_>, classifier: bool) -> Result<Described<T>, String> {
    let labels = if classifier { Some(labels(attributes)?) } else { None };
    let targets = match &labels {
        Some(Labels::Int64(labels)) => labels.len(),
        Some(Labels::Text(labels)) => labels.len(),
        None => usize::try_from(attributes.int("n_targets").unwrap_or(0)).unwrap_or(0),
    };
    if classifier && targets < 2 {
        return Err("it has fewer than two classes".to_owned());
    }
    let (mut nodes, roots, places) = nodes(attributes)?;
    weigh(attributes, if classifier { "class" } else { "target" }, &mut nodes, &places)?;
    let base = T::attribute(attributes, "base_values")?;
    if !(base.is_empty() || base.len() == targets || classifier && targets == 2 && base.len() == 1) {
        return Err(format!("it has {} base values, and {targets} targets", base.len()));
    }
    let aggregate = match attributes.text("aggregate_function").as_deref().unwrap_or("SUM") {
        // A classifier sums, whatever is said.
        _ if classifier => Aggregate::Sum,
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => return Err(format!("it aggregates by {other}")),
    };
    let transform = match attributes.text("post_transform").as_deref().unwrap_or("NONE") {
        "NONE" => Transform::None,
        "SOFTMAX" => Transform::Softmax,
        "LOGISTIC" => Transform::Logistic,
        "SOFTMAX_ZERO" => Transform::SoftmaxZero,
        "PROBIT" => Transform::Probit,
        other => return Err(format!("it transforms by {other}")),
    };
    Ok(Described { nodes, roots, targets, base, aggregate, transform, labels, wide: false })
}

fn labels(attributes: &Attributes<'_>) -> Result<Labels, String> {
    let (texts, ints) = (attributes.texts("classlabels_strings"), attributes.ints("classlabels_int64s"));
    match (texts.is_empty(), ints.is_empty()) {
        (false, true) => Ok(Labels::Text(texts)),
        (true, false) => Ok(Labels::Int64(ints.to_vec())),
        (true, true) => Err("it names no classes".to_owned()),
        (false, false) => Err("it names its classes twice".to_owned()),
    }
}

/// Where a node is, by its tree and its number in the tree.
type Places = HashMap<(i64, i64), usize>;

fn nodes<T: Number>(attributes: &Attributes<'_>) -> Result<(Vec<Node<T>>, Vec<usize>, Places), String> {
    let (trees, numbers) = (attributes.ints("nodes_treeids"), attributes.ints("nodes_nodeids"));
    let features = attributes.ints("nodes_featureids");
    let (yes, no) = (attributes.ints("nodes_truenodeids"), attributes.ints("nodes_falsenodeids"));
    let missing = attributes.ints("nodes_missing_value_tracks_true");
    let modes = attributes.texts("nodes_modes");
    let values = T::attribute(attributes, "nodes_values")?;
    let lengths = [numbers.len(), features.len(), yes.len(), no.len(), modes.len(), values.len()];
    if lengths.iter().any(|length| *length != trees.len()) {
        return Err(format!("it has {} nodes, and of what describes them {lengths:?}", trees.len()));
    }
    let (roots, places) = places(trees, numbers)?;
    let node = |at: usize| {
        if modes[at] == "LEAF" {
            return Ok(Node::Leaf(Vec::new()));
        }
        let child = |number: i64| match places.get(&(trees[at], number)) {
            Some(child) if *child != at => Ok(*child),
            Some(_) => Err(format!("node {} of tree {} leads to itself", numbers[at], trees[at])),
            None => Err(format!("node {} of tree {} leads to node {number}, which is not there", numbers[at], trees[at])),
        };
        Ok(Node::Branch {
            feature: feature(features[at])?,
            test: test(&modes[at], values[at])?,
            missing: missing.get(at) == Some(&1),
            yes: child(yes[at])?,
            no: child(no[at])?,
        })
    };
    Ok(((0..trees.len()).map(node).collect::<Result<_, String>>()?, roots, places))
}

/// The first node of each tree, whose nodes stand together, and where each node is.
fn places(trees: &[i64], numbers: &[i64]) -> Result<(Vec<usize>, Places), String> {
    let mut places = Places::with_capacity(trees.len());
    let mut roots = Vec::new();
    for (at, (tree, number)) in trees.iter().zip(numbers).enumerate() {
        if places.insert((*tree, *number), at).is_some() {
            return Err(format!("node {number} of tree {tree} is there twice"));
        }
        if at == 0 || trees[at - 1] != *tree {
            roots.push(at);
        }
    }
    Ok((roots, places))
}

/// Most values of a row that an ensemble may look at.
const FEATURES_MAX: i64 = 1 << 20;

pub(super) fn feature(id: i64) -> Result<u32, String> {
    match u32::try_from(id) {
        Ok(feature) if id < FEATURES_MAX => Ok(feature),
        _ => Err(format!("a branch looks at feature {id}")),
    }
}

fn test<T>(mode: &str, value: T) -> Result<Test<T>, String> {
    Ok(match mode {
        "BRANCH_LEQ" => Test::AtMost(value),
        "BRANCH_LT" => Test::Below(value),
        "BRANCH_GTE" => Test::AtLeast(value),
        "BRANCH_GT" => Test::Above(value),
        "BRANCH_EQ" => Test::Equals(value),
        "BRANCH_NEQ" => Test::Differs(value),
        other => return Err(format!("a node has the mode {other}")),
    })
}

/// Gives leaves their weights, in the order in which the file has them. Weights of branches are left out, as old exporters wrote them.
fn weigh<T: Number>(attributes: &Attributes<'_>, prefix: &str, nodes: &mut [Node<T>], places: &Places) -> Result<(), String> {
    let named = |name: &str| attributes.ints(&format!("{prefix}_{name}"));
    let (targets, trees, numbers) = (named("ids"), named("treeids"), named("nodeids"));
    let weights = T::attribute(attributes, &format!("{prefix}_weights"))?;
    if [trees.len(), numbers.len(), weights.len()].iter().any(|length| *length != targets.len()) {
        return Err(format!("it has {} weights, and {} targets of them", weights.len(), targets.len()));
    }
    for (at, weight) in weights.into_iter().enumerate() {
        let place = places
            .get(&(trees[at], numbers[at]))
            .ok_or_else(|| format!("a weight is of node {} of tree {}, which is not there", numbers[at], trees[at]))?;
        let target = u32::try_from(targets[at]).map_err(|_| format!("a leaf adds to target {}", targets[at]))?;
        if let Node::Leaf(own) = &mut nodes[*place] {
            own.push((target, weight));
        }
    }
    Ok(())
}
