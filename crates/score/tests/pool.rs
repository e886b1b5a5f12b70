//! Pools of models as they are exported: whatever runs together, each row gets the bits that it gets alone.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use lockstep_score::{Model, ModelFile, Pool, PoolOptions, Runtime, Tensor, load, sample};

const CALLERS: u64 = 6;
const REQUESTS: usize = 40;
/// Rows of a request, so that some are cut and others are put together.
const ROWS_MAX: usize = 40;

fn model(name: &str, runtime: Runtime) -> Arc<dyn Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/models/{name}.onnx"));
    let model = load(&ModelFile::read(&std::fs::read(path).unwrap()).unwrap(), Some(runtime)).unwrap();
    assert_eq!(model.runtime(), runtime);
    model
}

fn row(tensors: &[Tensor], row: usize) -> Vec<Tensor> {
    tensors.iter().map(|tensor| tensor.slice(row..row + 1)).collect()
}

fn same(found: &[Tensor], wanted: &[Tensor]) -> bool {
    found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| found.same(wanted))
}

/// Callers at random, each of whom compares every row with what a session of its own gives for that row alone.
fn check(name: &str, runtime: Runtime) {
    let model = model(name, runtime);
    let options =
        PoolOptions { threads: 2, max_batch: 16, max_wait: Duration::from_millis(1), timeout: Duration::from_secs(60), ..PoolOptions::default() };
    let pool = Pool::new(Arc::clone(&model), options, Vec::new()).unwrap();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (pool, model) = (&pool, &model);
            scope.spawn(move || {
                let (mut random, mut session) = (Rng::with_seed(caller), model.session().unwrap());
                for request in 0..REQUESTS {
                    let rows = random.usize(1..=ROWS_MAX);
                    let inputs = sample(model.inputs(), rows, (caller << 32) | request as u64);
                    let outputs = pool.run(inputs.clone(), None).unwrap();
                    for at in 0..rows {
                        let alone = session.run(&row(&inputs, at)).unwrap();
                        assert!(same(&row(&outputs, at), &alone), "{name}, caller {caller}, request {request}, row {at} of {rows}");
                    }
                }
            });
        }
    });
    let counted = pool.figures().counted;
    let requests = CALLERS * REQUESTS as u64;
    assert!(counted.runs != requests && counted.rows > requests, "{counted:?}");
    // What cannot hang is run by whoever asks, as long as it is one run; the rest, and what nobody knows the steps of, by threads.
    assert!(counted.here < counted.runs && (counted.here > 0) == (runtime == Runtime::Trees), "{counted:?}");
    pool.finish();
}

#[test]
fn trees() {
    check("sklearn_forest_binary", Runtime::Trees);
}

#[test]
fn steps_are_known_before_they_are_taken() {
    let steps = |name: &str, rows: usize| {
        let model = model(name, Runtime::Trees);
        model.brief().unwrap().steps(&sample(model.inputs(), rows, 7))
    };
    // Twelve trees of five levels, eight side by side: two groups, of which each row passes all.
    let one = steps("sklearn_forest_binary", 1);
    assert!((2 * 8 * 5..1000).contains(&one), "{one}");
    assert_eq!(steps("sklearn_forest_binary", 50), 50 * one);
    assert!(model("torch_mlp", Runtime::Tract).brief().is_none(), "its kernels are another's");
}

#[test]
fn tract() {
    check("sklearn_logistic", Runtime::Tract);
    check("torch_mlp", Runtime::Tract);
}
