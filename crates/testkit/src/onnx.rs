//! ONNX files of small ensembles of trees, written byte by byte: what tests need of a model without anybody who trains one.

/// A tree of one split: rows whose feature is at most `at` go to the first leaf.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stump {
    /// Which feature.
    pub feature: i64,
    /// Where it splits.
    pub at: f32,
    /// What it adds on either side.
    pub leaves: [f32; 2],
}

/// A tree all of whose leaves are equally deep.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Which feature each split looks at, and where it splits, level by level from the root; the splits under split `i` are `2 i + 1` and `2 i + 2`.
    pub splits: Vec<(i64, f32)>,
    /// What each leaf adds, from left to right; one more than there are splits.
    pub leaves: Vec<f32>,
}

/// A file that adds up stumps over rows of so many `float32` features: its input is `input`, its output `score`, of one value a row.
pub fn stumps(features: i64, stumps: &[Stump]) -> Vec<u8> {
    let tree = |stump: &Stump| Tree { splits: vec![(stump.feature, stump.at)], leaves: stump.leaves.into() };
    trees(features, &stumps.iter().map(tree).collect::<Vec<_>>())
}

/// As [`stumps`], of trees.
pub fn trees(features: i64, trees: &[Tree]) -> Vec<u8> {
    let node = Message::default()
        .text(1, "input")
        .text(2, "score")
        .text(3, "trees")
        .text(4, "TreeEnsembleRegressor")
        .text(7, "ai.onnx.ml")
        .messages(5, attributes(trees));
    let graph = Message::default().message(1, &node).text(2, "graph").message(11, &value("input", features)).message(12, &value("score", 1));
    Message::default()
        .int(1, 8)
        .text(2, "lockstep-testkit")
        .message(7, &graph)
        .message(8, &Message::default().text(1, "").int(2, 15))
        .message(8, &Message::default().text(1, "ai.onnx.ml").int(2, 3))
        .0
}

/// The nodes of each tree are its splits, and its leaves behind them.
fn attributes(trees: &[Tree]) -> Vec<Message> {
    let mut nodes = Nodes::default();
    (0..).zip(trees).for_each(|(id, tree)| nodes.add(id, tree));
    let zeros = vec![0; nodes.of.len()];
    vec![
        ints("nodes_treeids", &nodes.of),
        ints("nodes_nodeids", &nodes.ids),
        ints("nodes_featureids", &nodes.features),
        texts("nodes_modes", &nodes.modes),
        floats("nodes_values", &nodes.values),
        floats("nodes_hitrates", &vec![1.0; nodes.of.len()]),
        ints("nodes_truenodeids", &nodes.yes),
        ints("nodes_falsenodeids", &nodes.no),
        ints("nodes_missing_value_tracks_true", &zeros),
        ints("target_treeids", &nodes.leaf_of),
        ints("target_nodeids", &nodes.leaf_ids),
        ints("target_ids", &vec![0; nodes.leaf_of.len()]),
        floats("target_weights", &trees.iter().flat_map(|tree| tree.leaves.iter().copied()).collect::<Vec<_>>()),
        Message::default().text(1, "n_targets").int(3, 1).int(20, 2),
        Message::default().text(1, "post_transform").text(4, "NONE").int(20, 3),
    ]
}

/// What the format says of each node, list by list.
#[derive(Default)]
struct Nodes {
    of: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    values: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    leaf_of: Vec<i64>,
    leaf_ids: Vec<i64>,
}

impl Nodes {
    fn add(&mut self, tree: i64, of: &Tree) {
        let splits = of.splits.len();
        assert_eq!(of.leaves.len(), splits + 1, "a leaf more than splits");
        for id in 0..(splits + of.leaves.len()) as i64 {
            let split = of.splits.get(id as usize);
            let (feature, at) = split.copied().unwrap_or_default();
            self.of.push(tree);
            self.ids.push(id);
            self.features.push(feature);
            self.values.push(at);
            self.modes.push(if split.is_some() { "BRANCH_LEQ" } else { "LEAF" });
            self.yes.push(split.map_or(0, |_| 2 * id + 1));
            self.no.push(split.map_or(0, |_| 2 * id + 2));
            if split.is_none() {
                self.leaf_of.push(tree);
                self.leaf_ids.push(id);
            }
        }
    }
}

fn ints(name: &str, values: &[i64]) -> Message {
    values.iter().fold(Message::default().text(1, name), |message, value| message.int(8, *value)).int(20, 7)
}

fn floats(name: &str, values: &[f32]) -> Message {
    values.iter().fold(Message::default().text(1, name), |message, value| message.float(7, *value)).int(20, 6)
}

fn texts(name: &str, values: &[&str]) -> Message {
    values.iter().fold(Message::default().text(1, name), |message, value| message.text(9, value)).int(20, 8)
}

/// An input or output of `float32`, of any number of rows.
fn value(name: &str, width: i64) -> Message {
    let shape = Message::default().message(1, &Message::default().text(2, "rows")).message(1, &Message::default().int(1, width));
    let tensor = Message::default().int(1, 1).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// A message of Protocol Buffers.
#[derive(Debug, Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn int(mut self, field: u64, value: i64) -> Message {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    fn float(mut self, field: u64, value: f32) -> Message {
        self.varint((field << 3) | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn text(self, field: u64, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }

    fn messages(self, field: u64, messages: Vec<Message>) -> Message {
        messages.iter().fold(self, |all, one| all.message(field, one))
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.varint((field << 3) | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
