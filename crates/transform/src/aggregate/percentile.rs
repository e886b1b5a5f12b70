//! `approx_percentile_cont`: a histogram over logarithmic buckets, with integer counts.
//!
//! A bucket is one 64th of a binary order of magnitude: the sign, the exponent and the first six bits of the significand. So finding it
//! takes no logarithm, which a platform's mathematics library could round in its own way, and counts can be taken out again.
//! A bucket stands for its middle: the answer is within 1/128 (0.8 %) of a value of that rank, for values above 2^-1022 in
//! magnitude; zero and the infinities are exact. Between two ranks it is interpolated, as `percentile_cont` does.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use lockstep_model::codec::{CodecError, Reader, put_signed, put_varint};

use super::kernel::{Kernel, Way, finished, fold_values};
use super::{Finished, Rows};

/// Bits of a float below those that name its bucket.
const DROPPED: u32 = 46;
/// The bucket of the one NaN, the last.
const BUCKET_MAX: i64 = 1 + (f64::NAN.to_bits() >> DROPPED) as i64;
/// The bucket of infinity.
const INFINITE: i64 = 1 + (f64::INFINITY.to_bits() >> DROPPED) as i64;

/// `approx_percentile_cont(x, percentile)`.
#[derive(Debug, Clone)]
pub(crate) struct ApproxPercentile {
    /// From 0 to 1.
    pub(crate) percentile: f64,
    /// `Float32`, or else `Float64`.
    pub(crate) single: bool,
}

/// Buckets in use with their counts, in the order of the values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: Vec<(i32, u64)>,
}

/// The bucket of a value: 0 for zero, the others counted away from it.
fn bucket(x: f64) -> i32 {
    if x == 0.0 {
        return 0;
    }
    let bits = if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
    let magnitude = 1 + (bits << 1 >> 1 >> DROPPED) as i32;
    if bits >> 63 == 1 { -magnitude } else { magnitude }
}

/// The value that stands for a bucket.
fn middle(bucket: i32) -> f64 {
    let Some(index) = bucket.unsigned_abs().checked_sub(1) else { return 0.0 };
    let low = u64::from(index) << DROPPED;
    let magnitude = match f64::from_bits(low) {
        low if low.is_infinite() => low,
        low if low.is_nan() => f64::NAN,
        _ => f64::from_bits(low | 1 << (DROPPED - 1)),
    };
    if bucket < 0 { -magnitude } else { magnitude }
}

/// What a state holds: values that stand for its buckets, ascending, with their counts. What is no number counts as the greatest.
pub(crate) fn histogram(state: &[u8]) -> Result<Vec<(f64, u64)>, CodecError> {
    let kernel = ApproxPercentile { percentile: 0.5, single: false };
    let mut histogram = Histogram::default();
    kernel.merge(&mut histogram, &mut Reader::new(state), Way::In)?;
    let value = |bucket| if middle(bucket).is_nan() { f64::INFINITY } else { middle(bucket) };
    Ok(histogram.buckets.iter().map(|&(bucket, count)| (value(bucket), count)).collect())
}

impl Histogram {
    fn slot(&mut self, bucket: i32) -> usize {
        match self.buckets.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
            Ok(at) => at,
            Err(at) => {
                self.buckets.insert(at, (bucket, 0));
                at
            }
        }
    }

    fn step(&mut self, bucket: i32, way: Way) {
        let at = self.slot(bucket);
        way.step(&mut self.buckets[at].1);
        self.drop_empty(at);
    }

    fn merge(&mut self, bucket: i32, count: u64, way: Way) -> Result<(), CodecError> {
        let at = self.slot(bucket);
        way.count(&mut self.buckets[at].1, count)?;
        self.drop_empty(at);
        Ok(())
    }

    fn absorb(&mut self, other: &Histogram, way: Way) {
        for &(bucket, count) in &other.buckets {
            let at = self.slot(bucket);
            way.steps(&mut self.buckets[at].1, count);
            self.drop_empty(at);
        }
    }

    fn drop_empty(&mut self, at: usize) {
        if self.buckets[at].1 == 0 {
            self.buckets.remove(at);
        }
    }

    /// The middle of the bucket that holds the value of a rank, counted from 0.
    fn at(&self, rank: u64) -> f64 {
        let mut seen = 0u64;
        let holds = |&&(_, count): &&(i32, u64)| {
            seen = seen.saturating_add(count);
            seen > rank
        };
        self.buckets.iter().find(holds).map_or(f64::NAN, |&(bucket, _)| middle(bucket))
    }

    fn percentile(&self, percentile: f64) -> Option<f64> {
        let count = self.buckets.iter().fold(0u64, |sum, &(_, count)| sum.saturating_add(count));
        let last = count.checked_sub(1)?;
        let rank = percentile * last as f64;
        let below = (rank.floor() as u64).min(last);
        let part = rank - rank.floor();
        let (low, high) = (self.at(below), self.at((below + 1).min(last)));
        Some(match part {
            0.0 => low,
            _ if low == high => low,
            part if low.is_finite() && high.is_finite() => low * (1.0 - part) + high * part,
            // Nothing lies between a number and infinity.
            part => {
                if part < 0.5 {
                    low
                } else {
                    high
                }
            }
        })
    }
}

impl Kernel for ApproxPercentile {
    type State = Histogram;
    const INVERTIBLE: bool = true;
    const GROWS: bool = true;

    fn name(&self) -> String {
        format!("approx_percentile_cont {}", self.percentile)
    }

    fn return_type(&self) -> DataType {
        if self.single { DataType::Float32 } else { DataType::Float64 }
    }

    fn fold(&self, states: &mut [Histogram], rows: Rows<'_>, way: Way) {
        if self.single {
            let column = rows.args[0].as_primitive::<Float32Type>();
            fold_values(states, rows, column.nulls(), column.values(), |state, x| state.step(bucket(f64::from(x)), way));
        } else {
            let column = rows.args[0].as_primitive::<Float64Type>();
            fold_values(states, rows, column.nulls(), column.values(), |state, x| state.step(bucket(x), way));
        }
    }

    fn merge(&self, state: &mut Histogram, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        let mut previous = None;
        while !bytes.is_empty() {
            let gap = bytes.signed()?;
            let (bucket, count) = (previous.unwrap_or(0i64).checked_add(gap), bytes.varint()?);
            let bucket = bucket.filter(|&bucket| (-INFINITE..=BUCKET_MAX).contains(&bucket) && previous.is_none_or(|previous| previous < bucket));
            let bucket = bucket.filter(|_| count > 0).ok_or(CodecError::new("bucket out of range"))?;
            state.merge(bucket as i32, count, way)?;
            previous = Some(bucket);
        }
        Ok(())
    }

    fn absorb(&self, state: &mut Histogram, other: &Histogram, way: Way) {
        state.absorb(other, way);
    }

    /// `(distance from the bucket before ‖ count)*`
    fn encode(&self, state: &Histogram, out: &mut Vec<u8>) {
        let mut previous = 0;
        for &(bucket, count) in &state.buckets {
            put_signed(out, i64::from(bucket - previous));
            put_varint(out, count);
            previous = bucket;
        }
    }

    fn finish(&self, states: &[Histogram]) -> Finished {
        let values = states.iter().map(|state| state.percentile(self.percentile));
        finished(if self.single {
            Arc::new(values.map(|value| value.map(|x| x as f32)).collect::<Float32Array>())
        } else {
            Arc::new(values.collect::<Float64Array>())
        })
    }

    fn heap_size(state: &Histogram) -> usize {
        state.buckets.capacity() * size_of::<(i32, u64)>()
    }
}
