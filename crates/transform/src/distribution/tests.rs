//! Samples of one distribution and of others, and what is written down of them.

use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};

use super::*;
use crate::profile::Profile;

/// Numbers that look random, and are the same in every run.
fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    // Near enough to a normal distribution.
    (0..count).map(|_| (0..12).map(|_| next()).sum::<f64>() - 6.0).collect()
}

fn floats(values: Vec<f64>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

fn trained(column: &ArrayRef) -> Reference {
    let mut profile = Profile::new(column.data_type());
    profile.add(column).unwrap();
    let (values, rows) = ((column.len() - column.null_count()) as u64, column.len() as u64);
    Reference::of_profile(column.data_type(), &profile.states(), (values, rows)).unwrap().unwrap()
}

fn compared(reference: &Reference, column: &ArrayRef) -> Comparison {
    reference.compare(&reference.count(column).unwrap()).unwrap()
}

#[test]
fn a_column_is_as_it_was_in_training_whatever_its_values() {
    let whole: ArrayRef = Arc::new((0..5000).map(|n| Some(n % 130 - 40)).collect::<Int64Array>());
    let flags: ArrayRef = Arc::new((0..3000).map(|n| (n % 7 > 0).then_some(n % 3 == 0)).collect::<BooleanArray>());
    let texts: ArrayRef = Arc::new((0..3000).map(|n| Some(format!("t{}", n % 50))).collect::<StringArray>());
    for column in [whole, flags, texts, floats(noise(1, 4000)), floats(vec![f64::NAN, f64::INFINITY, -0.0, 0.0, 1e300])] {
        let compared = compared(&trained(&column), &column);
        assert!(compared.index.abs() < 1e-9 && compared.distance < 1e-9, "{:?}: {compared:?}", column.data_type());
    }
}

#[test]
fn two_samples_of_one_distribution_are_within_chance() {
    let mut beyond = 0;
    for seed in 0..200u64 {
        let count = [60, 300, 2000][seed as usize % 3];
        let compared = compared(&trained(&floats(noise(seed * 2, 3000))), &floats(noise(seed * 2 + 1, count)));
        beyond += usize::from(compared.index > compared.index_by_chance || compared.distance > compared.distance_by_chance);
    }
    assert_eq!(beyond, 0);
}

#[test]
fn a_shift_is_beyond_chance_and_both_measures_see_it() {
    let reference = trained(&floats(noise(1, 5000)));
    let moved = compared(&reference, &floats(noise(2, 2000).into_iter().map(|value| value + 1.0).collect()));
    assert!(moved.index > 0.5 && moved.index > moved.index_by_chance, "{moved:?}");
    // The distance of two normal distributions that are one apart is 2·Φ(1/2) − 1.
    assert!((moved.distance - 0.383).abs() < 0.04, "{moved:?}");
    assert!(moved.values == [5000, 2000] && (10..=12).contains(&moved.bins.len()), "{moved:?}");
}

#[test]
fn nulls_and_texts_have_bins() {
    let column = |nulls: usize, offset: usize| -> ArrayRef {
        Arc::new((0..2000).map(|n| (n % 10 >= nulls).then(|| format!("t{}", (n + offset) % 5))).collect::<StringArray>())
    };
    let reference = trained(&column(1, 0));
    let absent = compared(&reference, &column(6, 0));
    assert!(absent.index > 0.25 && (absent.nulls[1] - 0.6).abs() < 1e-9, "{absent:?}");
    let renamed: ArrayRef = Arc::new((0..2000).map(|n| (n % 10 >= 1).then(|| format!("T{}", n % 5))).collect::<StringArray>());
    assert!(compared(&reference, &renamed).index > 0.5);
}

#[test]
fn windows_are_put_together_by_adding() {
    let reference = trained(&floats(noise(1, 3000)));
    let column = floats(noise(2, 1000));
    let mut parts = Counts::default();
    for at in [0, 250, 500, 750] {
        parts.add(&reference.count(&column.slice(at, 250)).unwrap());
    }
    assert_eq!((parts.values(), &parts), (1000, &reference.count(&column).unwrap()));
}

#[test]
fn values_that_rise_have_a_rank_that_rises() {
    let reference = Reference::of_values(&floats(noise(1, 2000))).unwrap().unwrap();
    let rank = |by: f64| reference.rank(&reference.count(&floats(noise(2, 500).into_iter().map(|value| value + by).collect())).unwrap()).unwrap();
    assert!((rank(0.0) - 0.5).abs() < 0.05);
    assert!(rank(-1.0) < rank(-0.5) && rank(0.5) < rank(1.0) && rank(10.0) > 0.95);
    assert_eq!(reference.values(), 2000);
}

#[test]
fn what_is_written_down_is_read_again_and_what_is_torn_is_not() {
    let texts: ArrayRef = Arc::new((0..3000).map(|n| (n % 9 > 0).then(|| format!("t{}", n % 50))).collect::<StringArray>());
    for column in [texts, floats(noise(3, 4000)), floats(vec![f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -0.0, 1e300]), floats(Vec::new())] {
        let reference = Reference::of_values(&column).unwrap().unwrap();
        let counts = reference.count(&column).unwrap();
        let mut bytes = Vec::new();
        reference.encode(&mut bytes);
        counts.encode(&mut bytes);
        let mut reader = Reader::new(&bytes);
        let again = Reference::decode(&mut reader).unwrap();
        assert_eq!(again.decode_counts(&mut reader).unwrap(), counts);
        let mut rewritten = Vec::new();
        again.encode(&mut rewritten);
        assert!(reader.is_empty() && bytes.starts_with(&rewritten), "{:?}", column.data_type());
        for torn in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..torn]);
            assert!(Reference::decode(&mut reader).and_then(|reference| reference.decode_counts(&mut reader)).is_err(), "{torn}");
        }
    }
    assert!(Reference::decode(&mut Reader::new(&[NUMBERS, 200, 1])).is_err());
}

#[test]
fn nothing_says_nothing() {
    let reference = trained(&floats(noise(1, 100)));
    assert_eq!(reference.compare(&Counts::default()), None);
    let nothing: ArrayRef = Arc::new(Float64Array::from(vec![None; 100]));
    let of_nulls = trained(&nothing);
    assert!(compared(&of_nulls, &floats(noise(1, 100))).index > 1.0);
    assert_eq!([0.0, 12.345678, 1234.5, 0.00123456, -2.5].map(short), ["0", "12.35", "1234", "0.001235", "-2.5"]);
}
