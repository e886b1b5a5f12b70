//! Files that are broken: refused with a reason, never a panic, a hang or memory without bound.

use fastrand::Rng;
use lockstep_score::{FileError, ModelFile, Runtime, load, sample};
use prost::Message;
use tract_onnx::pb::{ModelProto, StringStringEntryProto, TensorProto};

use crate::build::{FLOAT, INT64, Recipe, floats, int, ints, model, node, text, texts, value};
use crate::models;

fn refusal(bytes: &[u8]) -> String {
    ModelFile::read(bytes).map(|_| ()).unwrap_err().to_string()
}

fn chain(inputs: &[&str]) -> Vec<u8> {
    let nodes = inputs.iter().enumerate().map(|(at, input)| node("Identity", "", &[input], &[&format!("v{at}")], vec![])).collect();
    model(nodes, vec![value("x", FLOAT, Some(2))], vec![value("v0", FLOAT, Some(2))], vec![])
}

fn with_weights(weights: TensorProto) -> Vec<u8> {
    let add = node("Add", "", &["x", "w"], &["y"], vec![]);
    model(vec![add], vec![value("x", FLOAT, Some(2))], vec![value("y", FLOAT, Some(2))], vec![weights])
}

/// Twelve bytes that ask for a terabyte.
fn large() -> Vec<u8> {
    let shape = TensorProto { name: "shape".to_owned(), dims: vec![2], data_type: INT64, int64_data: vec![1 << 20, 1 << 18], ..Default::default() };
    let nodes = vec![node("ConstantOfShape", "", &["shape"], &["zeros"], vec![]), node("Add", "", &["x", "zeros"], &["y"], vec![])];
    model(nodes, vec![value("x", FLOAT, Some(2))], vec![value("y", FLOAT, Some(2))], vec![shape])
}

#[test]
fn files_that_are_no_models_say_why() {
    let weights = |dims: &[i64], values: usize| TensorProto {
        name: "w".to_owned(),
        dims: dims.to_vec(),
        data_type: FLOAT,
        float_data: vec![0.0; values],
        ..Default::default()
    };
    let external = TensorProto {
        data_location: Some(1),
        external_data: vec![StringStringEntryProto { key: "location".to_owned(), value: "weights.bin".to_owned() }],
        ..weights(&[2], 0)
    };
    let half = model(vec![node("Identity", "", &["x"], &["y"], vec![])], vec![value("x", 10, Some(2))], vec![value("y", 10, Some(2))], vec![]);
    let said: Vec<String> = [
        b"SELECT 1".to_vec(),
        ModelProto::default().encode_to_vec(),
        chain(&["v1", "v0"]),
        chain(&["nothing"]),
        with_weights(weights(&[2, 3], 5)),
        with_weights(weights(&[i64::MAX, 4], 5)),
        with_weights(weights(&[-1], 1)),
        with_weights(external),
        half,
        large(),
    ]
    .iter()
    .map(|bytes| refusal(bytes))
    .collect();
    let wanted = include_str!("broken.txt");
    let said = said.join("\n") + "\n";
    if std::env::var_os("LOCKSTEP_BLESS").is_some() {
        std::fs::write(models().join("../table/broken.txt"), &said).unwrap();
        return;
    }
    assert_eq!(said, wanted, "LOCKSTEP_BLESS=1 writes what is said; read it in the diff");
}

/// Two nodes and a leaf, one list of which is another.
fn tree(lists: &[(&str, Vec<i64>)]) -> Vec<u8> {
    let mut own = vec![
        ("nodes_treeids", vec![0, 0, 0]),
        ("nodes_nodeids", vec![0, 1, 2]),
        ("nodes_featureids", vec![0, 0, 0]),
        ("nodes_truenodeids", vec![1, 0, 0]),
        ("nodes_falsenodeids", vec![2, 0, 0]),
        ("target_treeids", vec![0, 0]),
        ("target_nodeids", vec![1, 2]),
        ("target_ids", vec![0, 0]),
    ];
    for (name, list) in lists {
        own.iter_mut().find(|(own, _)| own == name).unwrap().1.clone_from(list);
    }
    let mut attributes: Vec<_> = own.into_iter().map(|(name, list)| ints(name, list)).collect();
    attributes.extend([
        texts("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]),
        floats("nodes_values", vec![0.5, 0.0, 0.0]),
        floats("target_weights", vec![1.0, 2.0]),
        int("n_targets", 1),
        text("post_transform", "NONE"),
    ]);
    let nodes = vec![node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], &["y"], attributes)];
    model(nodes, vec![value("x", FLOAT, Some(2))], vec![value("y", FLOAT, Some(1))], vec![])
}

#[test]
fn trees_that_are_none_are_refused() {
    let reason = |lists: &[(&str, Vec<i64>)]| match load(&ModelFile::read(&tree(lists)).unwrap(), Some(Runtime::Trees)) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.refusals[0].reason.clone(),
    };
    assert_eq!(reason(&[]), "fine");
    assert_eq!(reason(&[("nodes_truenodeids", vec![0, 0, 0])]), "node 0 of tree 0 leads to itself");
    assert_eq!(reason(&[("nodes_truenodeids", vec![7, 0, 0])]), "node 0 of tree 0 leads to node 7, which is not there");
    assert_eq!(reason(&[("nodes_nodeids", vec![0, 1, 1])]), "node 1 of tree 0 is there twice");
    assert_eq!(reason(&[("nodes_featureids", vec![5, 0, 0])]), "a row has 2 values · the trees look at 6");
    assert_eq!(reason(&[("nodes_featureids", vec![-1, 0, 0])]), "a branch looks at feature -1");
    assert_eq!(reason(&[("target_ids", vec![0, 1])]), "a leaf adds to target 1 of 1");
    assert_eq!(reason(&[("target_nodeids", vec![1, 1])]), "a leaf adds to no target");
    assert_eq!(reason(&[("target_nodeids", vec![1, 9])]), "a weight is of node 9 of tree 0, which is not there");
    assert_eq!(reason(&[("nodes_featureids", vec![0, 0])]), "it has 3 nodes, and of what describes them [3, 2, 3, 3, 3, 3]");
}

#[test]
fn a_cycle_of_branches_is_refused() {
    let branch = vec!["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"];
    let attributes = vec![
        ints("nodes_treeids", vec![0, 0, 0]),
        ints("nodes_nodeids", vec![0, 1, 2]),
        ints("nodes_featureids", vec![0, 0, 0]),
        ints("nodes_truenodeids", vec![1, 0, 0]),
        ints("nodes_falsenodeids", vec![2, 2, 0]),
        texts("nodes_modes", &branch),
        floats("nodes_values", vec![0.5, 0.0, 0.0]),
        ints("target_treeids", vec![0]),
        ints("target_nodeids", vec![2]),
        ints("target_ids", vec![0]),
        floats("target_weights", vec![1.0]),
        int("n_targets", 1),
    ];
    let nodes = vec![node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], &["y"], attributes)];
    let bytes = model(nodes, vec![value("x", FLOAT, Some(2))], vec![value("y", FLOAT, Some(1))], vec![]);
    let error = load(&ModelFile::read(&bytes).unwrap(), Some(Runtime::Trees)).unwrap_err();
    assert_eq!(error.refusals[0].reason, "a branch leads back to a node above it");
}

#[test]
fn trees_as_deep_as_they_have_nodes_need_no_stack() {
    let depth = 100_000;
    let count = 2 * depth + 1;
    // Node i is a branch with the leaf depth + 1 + i.
    let inner = |of: &dyn Fn(i64) -> i64| (0..count).map(|at| if at < depth { of(at) } else { 0 }).collect::<Vec<_>>();
    let modes: Vec<&str> = (0..count).map(|at| if at < depth { "BRANCH_LEQ" } else { "LEAF" }).collect();
    let attributes = vec![
        ints("nodes_treeids", vec![0; count as usize]),
        ints("nodes_nodeids", (0..count).collect()),
        ints("nodes_featureids", vec![0; count as usize]),
        ints("nodes_truenodeids", inner(&|at| at + 1)),
        ints("nodes_falsenodeids", inner(&|at| depth + 1 + at)),
        texts("nodes_modes", &modes),
        floats("nodes_values", (0..count).map(|at| 100_000.0 - at as f32).collect()),
        ints("target_treeids", vec![0; depth as usize + 1]),
        ints("target_nodeids", (depth..count).collect()),
        ints("target_ids", vec![0; depth as usize + 1]),
        floats("target_weights", (0..=depth).map(|at| at as f32).collect()),
        int("n_targets", 1),
    ];
    let nodes = vec![node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], &["y"], attributes)];
    let bytes = model(nodes, vec![value("x", FLOAT, Some(1))], vec![value("y", FLOAT, Some(1))], vec![]);
    let model = load(&ModelFile::read(&bytes).unwrap(), Some(Runtime::Trees)).unwrap();
    let rows = lockstep_score::Tensor { shape: vec![2, 1], values: lockstep_score::Values::Float32(vec![0.0, 100_000.0]) };
    let given = model.session().unwrap().run(&[rows]).unwrap();
    // At most every threshold to the last leaf, whose weight is the first; above all but the first to the second node's.
    assert_eq!(given[0].values, lockstep_score::Values::Float32(vec![0.0, 2.0]));
}

/// Changes some bytes of a file; unless it is to keep its length, cuts it or repeats a piece of it too.
fn mutated(rng: &mut Rng, bytes: &[u8], gently: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..if gently { 3 } else { 6 }) {
        let at = rng.usize(0..bytes.len());
        match if gently { rng.u8(2..4) } else { rng.u8(0..6) } {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] = 0xff,
            2 => bytes[at] = rng.u8(..),
            3 => bytes[at] ^= 1 << rng.u8(0..8),
            4 => drop(bytes.splice(at..at, (0..rng.usize(1..9)).map(|_| rng.u8(..)).collect::<Vec<_>>())),
            _ => {
                let end = (at + rng.usize(1..64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
        }
    }
    bytes
}

#[test]
fn mutated_files_are_refused_or_run() {
    let mut rng = Rng::with_seed(7);
    let mut good: Vec<Vec<u8>> = ["sklearn_forest_binary", "trees_v5", "xgboost_missing", "torch_mlp", "sklearn_logistic"]
        .iter()
        .map(|name| std::fs::read(models().join(format!("{name}.onnx"))).unwrap())
        .collect();
    good.extend((0..5).map(|_| Recipe::random(&mut rng).bytes(&mut rng)));
    let (mut refused, mut ran) = (0, 0);
    for round in 0..2_000 {
        let bytes = mutated(&mut rng, &good[round % good.len()], round % 2 == 0);
        let Ok(file) = ModelFile::read(&bytes) else {
            refused += 1;
            continue;
        };
        // What is far too wide to be sampled is no matter of trees.
        if file.inputs().iter().any(|port| port.width.iter().flatten().product::<usize>() > 1 << 12) {
            continue;
        }
        match load(&file, Some(Runtime::Trees)) {
            Ok(model) => {
                let _ = model.session().unwrap().run(&sample(model.inputs(), 9, round as u64));
                ran += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 500 && ran > 100, "{refused} were refused, {ran} ran");
}

#[test]
fn mutated_files_do_not_bring_tract_down() {
    let mut rng = Rng::with_seed(8);
    let good: Vec<Vec<u8>> = ["torch_mlp", "torch_embedding", "sklearn_scaled_logistic", "sklearn_logistic_classes", "double_linear"]
        .iter()
        .map(|name| std::fs::read(models().join(format!("{name}.onnx"))).unwrap())
        .collect();
    let (mut refused, mut ran) = (0, 0);
    for round in 0..300 {
        let Ok(file) = ModelFile::read(&mutated(&mut rng, &good[round % good.len()], true)) else { continue };
        if file.inputs().iter().any(|port| port.width.iter().flatten().product::<usize>() > 1 << 12) {
            continue;
        }
        match load(&file, Some(Runtime::Tract)) {
            Ok(model) => {
                let _ = model.session().unwrap().run(&sample(model.inputs(), 9, round as u64));
                ran += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10 && ran > 10, "{refused} were refused, {ran} ran");
}

#[test]
fn inputs_that_a_model_does_not_take_are_refused() {
    let file = ModelFile::read(&tree(&[])).unwrap();
    let mut session = load(&file, None).unwrap().session().unwrap();
    let wrong = lockstep_score::Tensor { shape: vec![1, 2], values: lockstep_score::Values::Int64(vec![1, 2]) };
    assert_eq!(session.run(&[wrong]).unwrap_err().to_string(), "input `x` is of int64 · the model takes float32");
    assert!(matches!(ModelFile::read(&[0xff; 40]), Err(FileError::Unreadable { .. })));
    assert_eq!(ModelFile::read(&tree(&[])).unwrap().inputs()[0].element.to_string(), "float32");
}
