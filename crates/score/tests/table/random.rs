//! Ensembles at random on our executor and on ONNX Runtime: equal in every bit.

use fastrand::Rng;
use lockstep_score::{ModelFile, Runtime, Tensor, Values, load};

use crate::build::{DOUBLE, INT64, Recipe, eighths};
use crate::has_onnx_runtime;
use crate::stored::{Nearness, nearness};

/// So many ensembles, and as many times as many where `LOCKSTEP_TEST_EFFORT` is set.
const ENSEMBLES: usize = 400;

fn effort() -> usize {
    std::env::var("LOCKSTEP_TEST_EFFORT").ok().and_then(|effort| effort.parse().ok()).unwrap_or(1)
}

/// Rows in eighths, where thresholds are, some of them missing, infinite or zero of either sign.
fn rows(rng: &mut Rng, recipe: &Recipe, rows: usize) -> Tensor {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0];
    let values: Vec<f64> = (0..rows * recipe.features).map(|_| if rng.u8(0..8) == 0 { odd[rng.usize(0..5)] } else { eighths(rng) }).collect();
    let values = match recipe.element {
        DOUBLE => Values::Float64(values),
        INT64 => Values::Int64(values.into_iter().map(|value| value as i64).collect()),
        _ => Values::Float32(values.into_iter().map(|value| value as f32).collect()),
    };
    Tensor { shape: vec![rows, recipe.features], values }
}

#[test]
fn ensembles_at_random_are_equal_to_onnx_runtime() {
    if !has_onnx_runtime() {
        return;
    }
    let seed = std::env::var("LOCKSTEP_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::with_seed(seed);
    let (mut compared, mut refused) = (0, Vec::new());
    for number in 0..ENSEMBLES * effort() {
        let recipe = Recipe::random(&mut rng);
        let file = ModelFile::read(&recipe.bytes(&mut rng)).unwrap();
        let ours = load(&file, Some(Runtime::Trees)).unwrap_or_else(|error| panic!("seed {seed}, {number}: {error}: {recipe:?}"));
        let theirs = match load(&file, Some(Runtime::OnnxRuntime)) {
            Ok(theirs) => theirs,
            Err(error) => {
                refused.push(format!("{error}: {recipe:?}"));
                continue;
            }
        };
        let input = rows(&mut rng, &recipe, 21);
        let wanted = theirs.session().unwrap().run(std::slice::from_ref(&input)).unwrap();
        let found = ours.session().unwrap().run(std::slice::from_ref(&input)).unwrap();
        let near = nearness(&found, &wanted);
        assert_eq!(near, Nearness::Equal, "seed {seed}, {number}: {recipe:?}");
        compared += found.iter().map(|output| output.values.len()).sum::<usize>();
    }
    println!("{compared} values are equal; ONNX Runtime refused {} ensembles", refused.len());
    assert!(refused.len() * 10 < ENSEMBLES * effort(), "{:#?}", &refused[..3]);
}
