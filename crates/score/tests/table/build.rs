//! Files made in memory: ensembles at random, in the terms of ONNX.

use fastrand::Rng;
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};

pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;
pub const TEXT: i32 = 8;
pub const DOUBLE: i32 = 11;

pub fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 7, ints, ..Default::default() }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 2, i, ..Default::default() }
}

pub fn floats(name: &str, floats: Vec<f32>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 6, floats, ..Default::default() }
}

pub fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 3, s: text.as_bytes().to_vec(), ..Default::default() }
}

pub fn texts(name: &str, texts: &[&str]) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: 8, strings: texts.iter().map(|text| text.as_bytes().to_vec()).collect(), ..Default::default() }
}

/// Numbers as a list of 32-bit floats or, of a name with `_as_tensor` behind, as a tensor of 64-bit ones.
fn numbers(name: &str, values: Vec<f64>, wide: bool) -> AttributeProto {
    if !wide {
        return floats(name, values.into_iter().map(|value| value as f32).collect());
    }
    let tensor = TensorProto { dims: vec![values.len() as i64], data_type: DOUBLE, double_data: values, name: name.to_owned(), ..Default::default() };
    AttributeProto { name: format!("{name}_as_tensor"), r#type: 4, t: Some(tensor), ..Default::default() }
}

pub fn value(name: &str, element: i32, width: Option<i64>) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let open = Dimension::default();
    let dim = std::iter::once(open).chain(width.map(|width| Dimension { value: Some(Value::DimValue(width)), ..Default::default() })).collect();
    let tensor = type_proto::Tensor { elem_type: element, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

pub fn model(nodes: Vec<NodeProto>, inputs: Vec<ValueInfoProto>, outputs: Vec<ValueInfoProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
    let graph = GraphProto { node: nodes, name: "made".to_owned(), input: inputs, output: outputs, initializer, ..Default::default() };
    ModelProto { ir_version: 8, opset_import: vec![opset("", 17), opset("ai.onnx.ml", 3)], graph: Some(graph), ..Default::default() }.encode_to_vec()
}

pub fn node(operator: &str, domain: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        input: owned(inputs),
        output: owned(outputs),
        op_type: operator.to_owned(),
        domain: domain.to_owned(),
        attribute,
        ..Default::default()
    }
}

/// What a random ensemble is made like.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub classifier: bool,
    /// Targets or classes.
    pub targets: usize,
    pub element: i32,
    pub trees: usize,
    pub levels: usize,
    pub features: usize,
    pub modes: Vec<&'static str>,
    pub missing: bool,
    /// Weights of a leaf: one, or one for each target.
    pub each: bool,
    /// Whether a tree's leaves all add to one target, as boosting has it.
    pub by_tree: bool,
    /// The only target that leaves add to, if it is one.
    pub sole: Option<i64>,
    pub positive: bool,
    pub base: usize,
    pub transform: &'static str,
    pub aggregate: &'static str,
    pub text: bool,
    /// How likely a branch ends before the last level.
    pub ends: f64,
    /// So many leaves of each tree, split at random, whatever levels that takes; levels count where it is none.
    pub leaves: usize,
}

/// The lists that describe nodes and weights.
#[derive(Default)]
struct Lists {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    values: Vec<f64>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing: Vec<i64>,
    weights: Vec<(i64, i64, i64, f64)>,
}

/// A number in eighths, so that rows meet it exactly.
pub fn eighths(rng: &mut Rng) -> f64 {
    f64::from(rng.i32(-24..24)) / 8.0
}

impl Recipe {
    pub fn bytes(&self, rng: &mut Rng) -> Vec<u8> {
        let mut lists = Lists::default();
        for tree in 0..self.trees {
            let mut next = 0;
            self.grow(rng, &mut lists, tree as i64, &mut next, self.levels, self.leaves);
        }
        let wide = self.element == DOUBLE && rng.bool();
        let prefix = if self.classifier { "class" } else { "target" };
        let mut attributes = vec![
            ints("nodes_treeids", lists.trees),
            ints("nodes_nodeids", lists.nodes),
            ints("nodes_featureids", lists.features),
            texts("nodes_modes", &lists.modes),
            numbers("nodes_values", lists.values, wide),
            ints("nodes_truenodeids", lists.yes),
            ints("nodes_falsenodeids", lists.no),
            ints(&format!("{prefix}_treeids"), lists.weights.iter().map(|weight| weight.0).collect()),
            ints(&format!("{prefix}_nodeids"), lists.weights.iter().map(|weight| weight.1).collect()),
            ints(&format!("{prefix}_ids"), lists.weights.iter().map(|weight| weight.2).collect()),
            numbers(&format!("{prefix}_weights"), lists.weights.iter().map(|weight| weight.3).collect(), wide),
            text("post_transform", self.transform),
        ];
        if self.missing {
            attributes.push(ints("nodes_missing_value_tracks_true", lists.missing));
        }
        if self.base > 0 {
            attributes.push(numbers("base_values", (0..self.base).map(|_| rng.f64() - 0.5).collect(), wide));
        }
        self.model(attributes)
    }

    fn model(&self, mut attributes: Vec<AttributeProto>) -> Vec<u8> {
        let input = value("x", self.element, Some(self.features as i64));
        let scores = value("scores", FLOAT, Some(self.targets as i64));
        if !self.classifier {
            attributes.push(int("n_targets", self.targets as i64));
            attributes.push(text("aggregate_function", self.aggregate));
            return model(vec![node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], &["scores"], attributes)], vec![input], vec![scores], vec![]);
        }
        let names: Vec<String> = (0..self.targets).map(|class| format!("class {class}")).collect();
        attributes.push(match self.text {
            true => texts("classlabels_strings", &names.iter().map(String::as_str).collect::<Vec<_>>()),
            false => ints("classlabels_int64s", (0..self.targets as i64).map(|class| 10 * class + 3).collect()),
        });
        let label = value("label", if self.text { TEXT } else { INT64 }, None);
        model(vec![node("TreeEnsembleClassifier", "ai.onnx.ml", &["x"], &["label", "scores"], attributes)], vec![input], vec![label, scores], vec![])
    }

    /// Adds a node and what is below it; a node's false branch is the next node.
    fn grow(&self, rng: &mut Rng, lists: &mut Lists, tree: i64, next: &mut i64, levels: usize, leaves: usize) -> i64 {
        let (own, at) = (*next, lists.trees.len());
        *next += 1;
        lists.trees.push(tree);
        lists.nodes.push(own);
        lists.features.push(rng.i64(0..self.features as i64));
        lists.values.push(eighths(rng));
        lists.missing.push(i64::from(rng.bool()));
        lists.yes.push(0);
        lists.no.push(0);
        let ends = if self.leaves > 0 { leaves == 1 } else { levels == 0 || rng.f64() < self.ends };
        if ends {
            lists.modes.push("LEAF");
            self.weigh(rng, lists, tree, own);
            return own;
        }
        lists.modes.push(self.modes[rng.usize(0..self.modes.len())]);
        let (below, left) = (levels.saturating_sub(1), if leaves > 1 { rng.usize(1..leaves) } else { 0 });
        lists.no[at] = self.grow(rng, lists, tree, next, below, left);
        lists.yes[at] = self.grow(rng, lists, tree, next, below, leaves - left);
        own
    }

    fn weigh(&self, rng: &mut Rng, lists: &mut Lists, tree: i64, node: i64) {
        let targets: Vec<i64> = match (self.sole, self.each) {
            _ if self.by_tree => vec![tree % self.targets as i64],
            (Some(sole), _) => vec![sole],
            (None, true) => (0..self.targets as i64).collect(),
            (None, false) => vec![rng.i64(0..self.targets as i64)],
        };
        for target in targets {
            let weight = rng.f64() - if self.positive { 0.0 } else { 0.5 };
            lists.weights.push((tree, node, target, weight / self.trees as f64 * 2.0));
        }
    }

    /// One of many recipes.
    pub fn random(rng: &mut Rng) -> Recipe {
        let classifier = rng.bool();
        let targets = if classifier { rng.usize(2..5) } else { rng.usize(1..4) };
        let all = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"];
        let modes = match rng.u8(0..3) {
            0 => vec!["BRANCH_LEQ"],
            1 => vec![all[rng.usize(0..all.len())]],
            _ => all.to_vec(),
        };
        let base = if rng.bool() { targets } else { 0 };
        let transforms = ["NONE", "NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"];
        // The probit of two classes is left to chance where they have no base values.
        let transform = transforms[rng.usize(0..if classifier && targets == 2 && base == 0 { 5 } else { 6 })];
        Recipe {
            classifier,
            targets,
            // ONNX Runtime has no regressor of integers.
            element: [FLOAT, FLOAT, DOUBLE, INT64][rng.usize(0..if classifier { 4 } else { 3 })],
            trees: rng.usize(1..30),
            levels: rng.usize(0..13),
            features: rng.usize(1..9),
            modes,
            missing: rng.bool(),
            each: rng.bool(),
            by_tree: rng.u8(0..4) == 0,
            sole: rng.bool().then(|| if classifier { 0 } else { rng.i64(0..targets as i64) }),
            positive: rng.bool(),
            base,
            transform,
            aggregate: ["SUM", "AVERAGE", "MIN", "MAX"][rng.usize(0..4)],
            text: rng.bool(),
            ends: [0.0, 0.1, 0.4][rng.usize(0..3)],
            leaves: [0, 0, 1, 31][rng.usize(0..4)],
        }
    }
}
