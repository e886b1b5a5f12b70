//! The crates depend on each other in the one direction that ARCHITECTURE.md shows, and what is heavy is imported where it says.

use std::process::Command;

use serde_json::Value;

/// A crate, and those of ours that it may build on.
const LAYERS: [(&str, &[&str]); 8] = [
    ("lockstep-model", &[]),
    ("lockstep-client", &[]),
    ("lockstep-transform", &["lockstep-model"]),
    ("lockstep-store", &["lockstep-model"]),
    ("lockstep-ingest", &["lockstep-model", "lockstep-transform", "lockstep-store"]),
    ("lockstep-score", &[]),
    ("lockstep-serve", &["lockstep-model", "lockstep-client", "lockstep-transform", "lockstep-store", "lockstep-score"]),
    (
        "lockstep",
        &["lockstep-model", "lockstep-client", "lockstep-transform", "lockstep-store", "lockstep-ingest", "lockstep-score", "lockstep-serve"],
    ),
];

/// A dependency, and the crates that may import it.
const HEAVY: [(&str, &[&str]); 6] = [
    ("datafusion", &["lockstep-transform", "lockstep"]),
    ("rocksdb", &["lockstep-store"]),
    ("clap", &["lockstep"]),
    ("rdkafka", &["lockstep-ingest", "lockstep-testkit"]),
    ("tract-onnx", &["lockstep-score"]),
    ("ort", &["lockstep-score"]),
];

/// The dependencies of each package, those of tests and benchmarks left out.
fn packages() -> Vec<(String, Vec<String>)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let package = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap();
        (name(package), dependencies.iter().filter(|dependency| dependency["kind"].is_null()).map(name).collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn crates_depend_in_one_direction() {
    for (package, dependencies) in packages() {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package) else {
            assert_eq!(package, "lockstep-testkit", "a crate that ARCHITECTURE.md and this test do not know");
            continue;
        };
        for dependency in dependencies.iter().filter(|name| name.starts_with("lockstep")) {
            assert!(allowed.contains(&dependency.as_str()), "{package} builds on {dependency} · it may build on {allowed:?}");
        }
    }
}

#[test]
fn what_is_heavy_is_imported_in_one_place() {
    for (package, dependencies) in packages() {
        for (heavy, importers) in HEAVY {
            let imports = dependencies.iter().any(|dependency| dependency == heavy);
            assert!(!imports || importers.contains(&package.as_str()), "{package} imports {heavy} · only {importers:?} may");
        }
    }
}
