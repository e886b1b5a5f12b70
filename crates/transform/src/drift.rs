//! How far the values of a column have moved from one sample to another.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use lockstep_model::Error;

use crate::distribution::texts;

/// Bins of numbers: deciles of the reference.
const BINS: usize = 10;
/// Texts that have a bin of their own: the most frequent ones of the reference.
const CATEGORIES: usize = 20;
/// Values that a sample must have. The index of two samples of one distribution is about (bins − 1) · (1/n + 1/m): 0.04 at this size, well below what counts as a shift.
pub const VALUES_MIN: usize = 500;

/// The population stability index of a sample against a reference: the sum over bins of (p − q) · ln(p / q). Below 0.1 the two are taken to be alike, above 0.25 one has
/// shifted. NULL has a bin of its own, and so a feature that becomes absent has moved.
///
/// `None` where there are fewer than [`VALUES_MIN`] values on either side, or the type has no bins, as lists have none.
///
/// # Errors
/// Internal where the two are of different types.
pub fn stability_index(reference: &ArrayRef, sample: &ArrayRef) -> Result<Option<f64>, Error> {
    if reference.data_type() != sample.data_type() {
        let types = format!("{} and {}", reference.data_type(), sample.data_type());
        return Err(Error::internal(format!("samples of different types are compared: {types}")));
    }
    if reference.len().min(sample.len()) < VALUES_MIN {
        return Ok(None);
    }
    let data_type = reference.data_type();
    let counts = if data_type.is_numeric() || data_type.is_temporal() || *data_type == DataType::Boolean {
        counts_of_numbers(&numbers(reference)?, &numbers(sample)?)
    } else if matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        counts_of_texts(&texts(reference)?, &texts(sample)?)
    } else {
        return Ok(None);
    };
    Ok(Some(index(&counts)))
}

/// The index of counts by bin. A bin that is empty on one side counts as half a value there, since its logarithm is none.
pub(crate) fn index(counts: &[[u64; 2]]) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "counts of a sample")]
    let total = |side: usize| counts.iter().map(|bin| bin[side] as f64 + 0.5).sum::<f64>();
    let totals = [total(0), total(1)];
    #[allow(clippy::cast_precision_loss, reason = "counts of a sample")]
    let of_bin = |bin: &[u64; 2]| {
        let [p, q] = [0, 1].map(|side| (bin[side] as f64 + 0.5) / totals[side]);
        (p - q) * (p / q).ln()
    };
    counts.iter().map(of_bin).sum()
}

/// Per bin, how many values either side has. The last bin is that of NULLs.
fn counts_of_numbers(reference: &[Option<f64>], sample: &[Option<f64>]) -> Vec<[u64; 2]> {
    let mut sorted: Vec<f64> = reference.iter().flatten().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..BINS).filter_map(|bin| sorted.get(sorted.len() * bin / BINS)).copied().collect();
    edges.dedup_by(|a, b| a.total_cmp(b) == Ordering::Equal);
    // Where a value is as frequent as several deciles, it has a bin up to it, and what is above has another.
    let bin = |value: &f64| edges.partition_point(|edge| edge.total_cmp(value) == Ordering::Less);
    counted(edges.len() + 1, [reference, sample], bin)
}

fn counts_of_texts(reference: &[Option<&str>], sample: &[Option<&str>]) -> Vec<[u64; 2]> {
    let mut frequencies: HashMap<&str, u64> = HashMap::new();
    reference.iter().flatten().for_each(|text| *frequencies.entry(text).or_default() += 1);
    let mut frequent: Vec<(&str, u64)> = frequencies.into_iter().collect();
    frequent.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    frequent.truncate(CATEGORIES);
    let bins: HashMap<&str, usize> = frequent.iter().enumerate().map(|(bin, (text, _))| (*text, bin)).collect();
    counted(bins.len() + 1, [reference, sample], |text: &&str| bins.get(*text).copied().unwrap_or(bins.len()))
}

fn counted<T>(bins: usize, sides: [&[Option<T>]; 2], bin: impl Fn(&T) -> usize) -> Vec<[u64; 2]> {
    let mut counts = vec![[0; 2]; bins + 1];
    for (side, values) in sides.into_iter().enumerate() {
        values.iter().for_each(|value| counts[value.as_ref().map_or(bins, &bin)][side] += 1);
    }
    counts
}

fn numbers(column: &ArrayRef) -> Result<Vec<Option<f64>>, Error> {
    let kernel = |error| Error::internal("a kernel refused values of a feature").caused_by(error);
    // Moments and durations become whole numbers first.
    let column = if column.data_type().is_temporal() { cast(column, &DataType::Int64).map_err(kernel)? } else { Arc::clone(column) };
    let floats = cast(&column, &DataType::Float64).map_err(kernel)?;
    Ok(floats.as_primitive::<Float64Type>().iter().collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn between(reference: impl Array + 'static, sample: impl Array + 'static) -> Option<f64> {
        let (reference, sample): (ArrayRef, ArrayRef) = (Arc::new(reference), Arc::new(sample));
        stability_index(&reference, &sample).unwrap()
    }

    fn numbers_to(end: i64, step: i64) -> Int64Array {
        (0..end).map(|n| Some(n * step)).collect()
    }

    #[test]
    fn what_is_alike_has_not_moved() {
        assert_eq!(between(numbers_to(1000, 1), numbers_to(1000, 1)), Some(0.0));
        let coarser = between(numbers_to(2000, 1), numbers_to(1000, 2)).unwrap();
        assert!(coarser < 0.01, "{coarser}");
    }

    /// Half of the values move from the lower five bins to the uppermost: counts by bin are 101, 100, …, 99 before, and 0, 0, 0, 0, 1, 100, …, 599 after.
    #[test]
    fn a_shift_is_what_it_is_by_hand() {
        let moved: Int64Array = (0..1000).map(|n| Some(if n < 500 { n + 5000 } else { n })).collect();
        let by_hand = |p: f64, q: f64| (p - q) * (p / q).ln();
        let share = |count: f64| (count + 0.5) / 1005.5;
        // The edges are 100, 200, … 900; a value at an edge is in the bin below it.
        let expected = by_hand(share(101.0), share(0.0))
            + 3.0 * by_hand(share(100.0), share(0.0))
            + by_hand(share(100.0), share(1.0))
            + by_hand(share(99.0), share(599.0));
        let found = between(numbers_to(1000, 1), moved).unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} and {expected}");
    }

    #[test]
    fn a_feature_that_becomes_absent_has_moved() {
        let absent: Float64Array = (0..1000).map(|n| (n % 2 == 0).then_some(f64::from(n))).collect();
        let index = between((0..1000).map(|n| Some(f64::from(n))).collect::<Float64Array>(), absent).unwrap();
        assert!(index > 1.0, "{index}");
    }

    #[test]
    fn texts_are_counted_by_the_frequent_ones() {
        let texts = |share: usize| (0..1000).map(|n| Some(if n % 10 < share { "a" } else { "b" })).collect::<StringArray>();
        assert_eq!(between(texts(5), texts(5)), Some(0.0));
        let moved = between(texts(5), texts(9)).unwrap();
        assert!(moved > 0.5, "{moved}");
    }

    #[test]
    fn too_few_values_say_nothing_and_some_types_have_no_bins() {
        assert_eq!(between(numbers_to(499, 1), numbers_to(1000, 1)), None);
        let lists = || ListArray::from_iter_primitive::<Int64Type, _, _>((0..1000).map(|n| Some(vec![Some(n)])));
        assert_eq!(between(lists(), lists()), None);
        let flags = || (0..1000).map(|n| Some(n % 3 == 0)).collect::<BooleanArray>();
        assert_eq!(between(flags(), flags()), Some(0.0));
        let moments = || (0..1000).map(Some).collect::<TimestampMicrosecondArray>();
        assert_eq!(between(moments(), moments()), Some(0.0));
    }

    #[test]
    fn other_types_are_not_compared() {
        let (reference, sample): (ArrayRef, ArrayRef) = (Arc::new(numbers_to(1000, 1)), Arc::new(StringArray::from(vec!["a"; 1000])));
        assert!(stability_index(&reference, &sample).is_err());
    }
}
