//! Models of others, with the answers that they stored: ONNX's own node tests, and tract's.

use std::path::{Path, PathBuf};

use lockstep_score::{Runtime, Tensor, Values, load};
use prost::Message;
use tract_onnx::pb::TensorProto;

use crate::inflate::inflate;
use crate::stored::{Nearness, nearness};
use crate::{has_onnx_runtime, read};

/// A folder beside the checkout, if it is there.
fn beside(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("LOCKSTEP_REQUIRE_PEERS").is_none(), "no {}", folder.display());
    println!("{name}: left out, since there is no ../shared/data/{name} beside this checkout");
    None
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// What each runtime makes of a model of which some outputs are known.
fn compared(path: &Path, inputs: &[Tensor], outputs: &[Option<Tensor>]) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let file = match read(&path.join("model.onnx")) {
        Ok(file) => file,
        Err(error) => return format!("{name}: {error}"),
    };
    let mut said: Vec<String> = vec![];
    for runtime in [Runtime::Trees, Runtime::Tract, Runtime::OnnxRuntime] {
        if runtime == Runtime::OnnxRuntime && !has_onnx_runtime() {
            continue;
        }
        let model = match load(&file, Some(runtime)) {
            Ok(model) => model,
            Err(error) => {
                said.push(format!("not {}", error.refusals[0]));
                continue;
            }
        };
        let given = model.session().unwrap().run(inputs).unwrap_or_else(|error| panic!("{name} on {runtime}: {error}"));
        let given: Vec<Tensor> = given.into_iter().zip(outputs).filter(|(_, known)| known.is_some()).map(|(given, _)| given).collect();
        let known: Vec<Tensor> = outputs.iter().flatten().zip(&given).map(|(known, given)| like(known, given)).collect();
        match nearness(&given, &known) {
            Nearness::Far(why) => panic!("{name} on {runtime}: {why}"),
            Nearness::Equal | Nearness::Near(_) => said.push(runtime.to_string()),
        }
    }
    format!("{name}: {}", said.join(", "))
}

/// What is known as numbers alone, in the form in which it is given: some was stored by what a model was made from, in 64 bits and without dimensions.
fn like(known: &Tensor, given: &Tensor) -> Tensor {
    match (&known.values, &given.values) {
        (Values::Float64(known), Values::Float32(own)) if known.len() == own.len() => {
            Tensor { shape: given.shape.clone(), values: Values::Float32(known.iter().map(|value| *value as f32).collect()) }
        }
        (Values::Float32(values), Values::Float32(own)) if values.len() == own.len() => {
            Tensor { shape: given.shape.clone(), values: known.values.clone() }
        }
        _ => known.clone(),
    }
}

fn protobuf(path: &Path) -> Tensor {
    let proto = TensorProto::decode(std::fs::read(path).unwrap().as_slice()).unwrap();
    let shape = proto.dims.iter().map(|dim| *dim as usize).collect();
    let raw = &proto.raw_data;
    let values = match proto.data_type {
        1 if raw.is_empty() => Values::Float32(proto.float_data.clone()),
        1 => Values::Float32(raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        7 if raw.is_empty() => Values::Int64(proto.int64_data.clone()),
        7 => Values::Int64(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        8 => Values::Text(proto.string_data.iter().map(|text| String::from_utf8(text.clone()).unwrap()).collect()),
        11 if raw.is_empty() => Values::Float64(proto.double_data.clone()),
        11 => Values::Float64(raw.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        other => panic!("{}: type {other}", path.display()),
    };
    Tensor { shape, values }
}

#[test]
fn node_tests_of_onnx() {
    let Some(folder) = beside("onnx") else { return };
    let mut lines = Vec::new();
    for case in folders(&folder) {
        let set = case.join("test_data_set_0");
        let tensors = |prefix: &str| {
            (0..).map(|at| set.join(format!("{prefix}_{at}.pb"))).take_while(|path| path.exists()).map(|path| protobuf(&path)).collect::<Vec<_>>()
        };
        lines.push(compared(&case, &tensors("input"), &tensors("output").into_iter().map(Some).collect::<Vec<_>>()));
    }
    let said = lines.join("\n");
    println!("{said}");
    assert!(said.contains("test_ai_onnx_ml_tree_ensemble_set_membership: trees"), "{said}");
    assert!(said.contains("test_ai_onnx_ml_tree_ensemble_single_tree: trees"), "{said}");
}

/// The arrays of an .npz file, whose members are stored as they are or deflated, by name.
fn arrays(path: &Path) -> Vec<(String, Tensor)> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()) as usize;
    // Each member has its header before it, and the central directory has the sizes.
    let end = bytes.windows(4).rposition(|window| window == b"PK\x05\x06").unwrap();
    let mut at = word(end + 16);
    let mut found = Vec::new();
    for _ in 0..half(end + 10) {
        let (method, size, name, start) = (half(at + 10), word(at + 20), half(at + 28), word(at + 42));
        let title = String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap();
        let data = start + 30 + half(start + 26) + half(start + 28);
        let stored = &bytes[data..data + size];
        let plain = if method == 0 { stored.to_vec() } else { inflate(stored) };
        found.push((title.trim_end_matches(".npy").to_owned(), array(&plain)));
        at += 46 + name + half(at + 30) + half(at + 32);
    }
    found
}

fn array(bytes: &[u8]) -> Tensor {
    let length = u16::from_le_bytes(bytes[8..10].try_into().unwrap()) as usize;
    let header = String::from_utf8_lossy(&bytes[10..10 + length]).into_owned();
    let shape = header.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let shape = shape.split(',').filter_map(|dim| dim.trim().parse().ok()).collect();
    let data = &bytes[10 + length..];
    let values = match header.split("'descr': '").nth(1).unwrap().split('\'').next().unwrap() {
        "<f4" => Values::Float32(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        "<f8" => Values::Float64(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        "<i8" => Values::Int64(data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        other => panic!("an array of {other}"),
    };
    Tensor { shape, values }
}

#[test]
fn models_of_tract() {
    let Some(folder) = beside("peers/tract_onnx") else { return };
    let mut lines = Vec::new();
    for case in folders(&folder) {
        let stored = case.join("io.npz");
        if !stored.exists() {
            continue;
        }
        let file = read(&case.join("model.onnx")).unwrap();
        let arrays = arrays(&stored);
        let (inputs, outputs): (Vec<_>, Vec<_>) = arrays.into_iter().partition(|(name, _)| file.inputs().iter().any(|port| port.name == *name));
        let known = |name: &str| outputs.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor.clone());
        let outputs: Vec<Option<Tensor>> = file.outputs().iter().map(|port| known(&port.name)).collect();
        let inputs: Vec<Tensor> = inputs.into_iter().map(|(_, tensor)| tensor).collect();
        lines.push(compared(&case, &inputs, &outputs));
    }
    let said = lines.join("\n");
    println!("{said}");
    assert!(said.contains("xgboost_regressor_tree: trees"), "{said}");
    assert_eq!(lines.iter().filter(|line| line.contains(", tract")).count(), 2, "{said}");
}
