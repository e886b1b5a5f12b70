//! Scoring in process: our trees and tract, against ONNX Runtime's own call on the same rows in the same run, with one thread.

#[path = "../crates/score/tests/table/build.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod build;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use build::{FLOAT, Recipe};
use lockstep_score::{ModelFile, Runtime, Tensor, Values, load, sample};
use ort::environment::Environment;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let Some(environment) = environment() else {
        println!("left out: scripts/onnxruntime.sh fetches what it is compared with");
        return;
    };
    trees(&environment, "200 trees of 6 levels, 20 features", &gradient_boosting(200, 6, 0, 1), "0.33 at most");
    trees(&environment, "200 trees of 31 leaves at any level, 20 features", &gradient_boosting(200, 0, 31, 1), "0.33 at most");
    trees(&environment, "300 trees of 5 levels, 3 classes, 20 features", &gradient_boosting(300, 5, 0, 3), "0.33 at most");
    compare(&environment, "a logistic regression of 6 features", Runtime::Tract, &stored("sklearn_logistic"), "beside it");
    compare(&environment, "a net of 6, 16, 8 and 1", Runtime::Tract, &stored("torch_mlp"), "beside it");
}

/// ONNX Runtime, if it is there. Nothing else here may load it: a process has it once.
fn environment() -> Option<Environment> {
    let place = std::env::var_os("LOCKSTEP_ONNXRUNTIME").map(PathBuf::from);
    let place = place
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/lockstep/onnxruntime/libonnxruntime.so")))
        .filter(|place| place.is_file())?;
    let silent: ort::logging::LoggerFunction = Arc::new(|_, _, _, _, _| {});
    ort::init_from(place).ok()?.with_telemetry(false).with_logger(silent).build().ok()
}

fn stored(name: &str) -> Vec<u8> {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    std::fs::read(models.join(format!("{name}.onnx"))).expect("a model of the tests")
}

fn gradient_boosting(trees: usize, levels: usize, leaves: usize, targets: usize) -> Vec<u8> {
    let recipe = Recipe {
        classifier: targets > 1,
        targets,
        element: FLOAT,
        trees,
        levels,
        features: 20,
        modes: vec!["BRANCH_LEQ"],
        missing: false,
        each: false,
        by_tree: true,
        sole: None,
        positive: false,
        base: 0,
        transform: if targets > 1 { "SOFTMAX" } else { "NONE" },
        aggregate: "SUM",
        text: false,
        ends: 0.0,
        leaves,
    };
    recipe.bytes(&mut fastrand::Rng::with_seed(1))
}

fn trees(environment: &Environment, title: &str, bytes: &[u8], aim: &str) {
    compare(environment, title, Runtime::Trees, bytes, aim);
}

/// Prints what a call takes for one row and for a thousand, and a floor's.
fn compare(environment: &Environment, title: &str, runtime: Runtime, bytes: &[u8], aim: &str) {
    println!("\n{title}: {runtime} beside ONNX Runtime");
    println!("  {:<58} {:>12} {:>12} {:>7}  aim", "", "value µs", "floor µs", "ratio");
    let file = ModelFile::read(bytes).expect("a model");
    let model = load(&file, Some(runtime)).expect("it runs");
    let mut session = model.session().expect("a session");
    let mut floor = ort::session::Session::builder(environment)
        .and_then(|builder| Ok(builder.with_intra_threads(1)?.with_inter_threads(1)?))
        .and_then(|mut builder| builder.commit_from_memory(bytes))
        .expect("it runs on ONNX Runtime");
    for (name, rows) in [("one row", 1), ("a thousand rows", 1_000)] {
        let inputs = sample(file.inputs(), rows, 7);
        let value = micros(rows, || drop(black_box(session.run(&inputs).expect("outputs"))));
        let least = micros(rows, || {
            let given: Vec<ort::session::SessionInputValue<'_>> = inputs.iter().map(view).collect();
            drop(black_box(floor.run(given.as_slice()).expect("outputs")));
        });
        println!("  {name:<58} {value:>12.2} {least:>12.2} {:>7.2}  {aim}", value / least);
    }
}

fn view(tensor: &Tensor) -> ort::session::SessionInputValue<'_> {
    match &tensor.values {
        Values::Float32(values) => ort::value::TensorRef::from_array_view((tensor.shape.clone(), values.as_slice())).expect("a tensor").into(),
        other => unreachable!("{other:?}"),
    }
}

/// Microseconds of this thread for a call, at best: others on the machine only ever slow it down.
fn micros(rows: usize, mut work: impl FnMut()) -> f64 {
    let calls = if rows == 1 { 2_000 } else { 20 };
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = thread_seconds();
        (0..calls).for_each(|_| work());
        best = best.min((thread_seconds() - start) * 1e6 / f64::from(calls));
    }
    best
}

/// Seconds that this thread was running.
fn thread_seconds() -> f64 {
    // The kernel brings the count up to date when the thread gives way.
    std::thread::yield_now();
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    nanos.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("a number") / 1e9
}
