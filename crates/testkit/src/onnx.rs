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

/// A file that adds up stumps over rows of so many `float32` features: its input is `input`, its output `score`, of one value a row.
pub fn stumps(features: i64, stumps: &[Stump]) -> Vec<u8> {
    let node = Message::default()
        .text(1, "input")
        .text(2, "score")
        .text(3, "stumps")
        .text(4, "TreeEnsembleRegressor")
        .text(7, "ai.onnx.ml")
        .messages(5, attributes(stumps));
    let graph = Message::default().message(1, &node).text(2, "graph").message(11, &value("input", features)).message(12, &value("score", 1));
    Message::default()
        .int(1, 8)
        .text(2, "lockstep-testkit")
        .message(7, &graph)
        .message(8, &Message::default().text(1, "").int(2, 15))
        .message(8, &Message::default().text(1, "ai.onnx.ml").int(2, 3))
        .0
}

/// Each tree has three nodes: the split, and its leaves.
fn attributes(stumps: &[Stump]) -> Vec<Message> {
    let trees = || 0..stumps.len() as i64;
    let each = |of: [i64; 3]| trees().flat_map(|_| of).collect::<Vec<_>>();
    let of_leaves = |of: [i64; 2]| trees().flat_map(|_| of).collect::<Vec<_>>();
    vec![
        ints("nodes_treeids", &trees().flat_map(|tree| [tree; 3]).collect::<Vec<_>>()),
        ints("nodes_nodeids", &each([0, 1, 2])),
        ints("nodes_featureids", &stumps.iter().flat_map(|stump| [stump.feature, 0, 0]).collect::<Vec<_>>()),
        texts("nodes_modes", &stumps.iter().flat_map(|_| ["BRANCH_LEQ", "LEAF", "LEAF"]).collect::<Vec<_>>()),
        floats("nodes_values", &stumps.iter().flat_map(|stump| [stump.at, 0.0, 0.0]).collect::<Vec<_>>()),
        floats("nodes_hitrates", &vec![1.0; 3 * stumps.len()]),
        ints("nodes_truenodeids", &each([1, 0, 0])),
        ints("nodes_falsenodeids", &each([2, 0, 0])),
        ints("nodes_missing_value_tracks_true", &each([0, 0, 0])),
        ints("target_treeids", &trees().flat_map(|tree| [tree; 2]).collect::<Vec<_>>()),
        ints("target_nodeids", &of_leaves([1, 2])),
        ints("target_ids", &of_leaves([0, 0])),
        floats("target_weights", &stumps.iter().flat_map(|stump| stump.leaves).collect::<Vec<_>>()),
        Message::default().text(1, "n_targets").int(3, 1).int(20, 2),
        Message::default().text(1, "post_transform").text(4, "NONE").int(20, 3),
    ]
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
