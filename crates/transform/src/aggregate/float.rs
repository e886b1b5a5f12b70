//! `sum` and `avg` of floats, `var_*` and `stddev_*`: exact until the one rounding at the end.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use lockstep_model::codec::{CodecError, Reader, put_varint};

use super::exact::fixed::{SquareSum, Sum};
use super::exact::limbs::{Limbs, add_at, product, sub_at, trimmed};
use super::exact::round::Magnitude;
use super::kernel::{COUNT_MAX, Kernel, Way, finished, fold_values, numbers};
use super::{Finished, Rows};

/// Which values were not finite. Counted, so that they can be taken out again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Specials {
    nan: u64,
    positive: u64,
    negative: u64,
}

impl Specials {
    fn of(&mut self, x: f64) -> &mut u64 {
        match x {
            f64::INFINITY => &mut self.positive,
            f64::NEG_INFINITY => &mut self.negative,
            _ => &mut self.nan,
        }
    }

    fn counts(&mut self) -> [&mut u64; 3] {
        [&mut self.nan, &mut self.positive, &mut self.negative]
    }

    /// What a sum over them is; `None` where there are none.
    fn sum(self) -> Option<f64> {
        match self {
            Specials { nan: 0, positive: 0, negative: 0 } => None,
            Specials { nan: 0, positive: _, negative: 0 } => Some(f64::INFINITY),
            Specials { nan: 0, positive: 0, negative: _ } => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }
}

/// How many values were seen, and which of them were not finite.
#[derive(Debug, Clone, Default)]
struct Seen {
    count: u64,
    specials: Option<Box<Specials>>,
}

impl Seen {
    /// Counts a value; returns whether it is finite and goes into the sums.
    #[inline(always)]
    fn step(&mut self, x: f64, way: Way) -> bool {
        way.step(&mut self.count);
        if x.is_finite() {
            return true;
        }
        self.step_special(x, way);
        false
    }

    #[cold]
    fn step_special(&mut self, x: f64, way: Way) {
        let specials = self.specials.get_or_insert_default();
        way.step(specials.of(x));
    }

    fn specials(&self) -> Specials {
        self.specials.as_deref().copied().unwrap_or_default()
    }

    fn absorb(&mut self, other: &Seen, way: Way) {
        way.steps(&mut self.count, other.count);
        if let Some(theirs) = &other.specials {
            let mut theirs = **theirs;
            let mine = self.specials.get_or_insert_default();
            mine.counts().into_iter().zip(theirs.counts()).for_each(|(mine, theirs)| way.steps(mine, *theirs));
        }
    }

    /// `count and flag ‖ [nan, +inf, -inf]`.
    fn encode(&self, out: &mut Vec<u8>) {
        let mut specials = self.specials();
        let any = specials != Specials::default();
        put_varint(out, self.count << 1 | u64::from(any));
        if any {
            specials.counts().into_iter().for_each(|count| put_varint(out, *count));
        }
    }

    fn merge(&mut self, reader: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        let head = reader.varint()?;
        let count = head >> 1;
        if count == 0 || count > COUNT_MAX {
            return Err(CodecError::new("count out of range"));
        }
        way.count(&mut self.count, count)?;
        if head & 1 == 1 { self.merge_specials(reader, way, count) } else { Ok(()) }
    }

    fn merge_specials(&mut self, reader: &mut Reader<'_>, way: Way, count: u64) -> Result<(), CodecError> {
        let mut all = 0u64;
        for mine in self.specials.get_or_insert_default().counts() {
            let theirs = reader.varint()?;
            all = all.saturating_add(theirs);
            way.count(mine, theirs)?;
        }
        if (1..=count).contains(&all) { Ok(()) } else { Err(CodecError::new("more special values than values")) }
    }
}

/// `sum` and `avg` of `Float64`.
#[derive(Debug, Clone)]
pub(crate) struct FloatSum {
    pub(crate) average: bool,
}

/// A count and an exact sum.
#[derive(Debug, Clone, Default)]
pub(crate) struct FloatTotal {
    seen: Seen,
    sum: Sum,
}

impl Kernel for FloatSum {
    type State = FloatTotal;
    const INVERTIBLE: bool = true;

    fn name(&self) -> String {
        if self.average { "avg" } else { "sum" }.into()
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn fold(&self, states: &mut [FloatTotal], rows: Rows<'_>, way: Way) {
        let column = rows.args[0].as_primitive::<Float64Type>();
        let sign = if way == Way::In { 1.0 } else { -1.0 };
        fold_values(states, rows, column.nulls(), column.values(), |state, x| {
            if state.seen.step(x, way) {
                state.sum.add(x * sign);
            }
        });
    }

    fn merge(&self, state: &mut FloatTotal, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        state.seen.merge(bytes, way)?;
        state.sum.add_encoded(bytes, way == Way::Out)
    }

    fn absorb(&self, state: &mut FloatTotal, other: &FloatTotal, way: Way) {
        state.seen.absorb(&other.seen, way);
        state.sum.absorb(&other.sum, way == Way::Out);
    }

    fn encode(&self, state: &FloatTotal, out: &mut Vec<u8>) {
        if state.seen.count > 0 {
            state.seen.encode(out);
            state.sum.encode(out);
        }
    }

    fn finish(&self, states: &[FloatTotal]) -> Finished {
        let value = |state: &FloatTotal| {
            (state.seen.count > 0).then(|| {
                state.seen.specials().sum().unwrap_or_else(|| {
                    let (negative, sum) = state.sum.to_magnitude();
                    if self.average { sum.quotient(negative, &[state.seen.count]) } else { sum.to_f64(negative) }
                })
            })
        };
        finished(Arc::new(numbers::<Float64Type>(states.iter().map(value))))
    }

    fn heap_size(state: &FloatTotal) -> usize {
        state.sum.heap_size()
    }
}

/// `var_samp`, `var_pop`, `stddev_samp`, `stddev_pop` of `Float64`.
#[derive(Debug, Clone)]
pub(crate) struct Variance {
    /// Divides by n, not by n − 1.
    pub(crate) population: bool,
    /// The square root of it.
    pub(crate) deviation: bool,
}

/// A count, an exact sum and an exact sum of squares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moments {
    seen: Seen,
    sum: Sum,
    squares: SquareSum,
}

impl Moments {
    /// `n·Σx² − (Σx)²`, which is n² times the population variance.
    fn spread(&self) -> Magnitude {
        let (_, sum) = self.sum.to_magnitude();
        let (_, squares) = self.squares.to_magnitude();
        let (scaled, squared) = (product(&squares.limbs, &[self.seen.count]), product(&sum.limbs, &sum.limbs));
        // Both are whole limbs above 2^-2148.
        let (at, squared_at) = (squares.exponent, 2 * sum.exponent);
        let exponent = if trimmed(&squared).is_empty() { at } else { at.min(squared_at) };
        let offset = |from: i32| (from - exponent).max(0) as usize / 64;
        let mut spread = Limbs::from_elem(0, (offset(at) + scaled.len()).max(offset(squared_at) + squared.len()) + 1);
        add_at(&mut spread, offset(at), &scaled);
        sub_at(&mut spread, offset(squared_at), trimmed(&squared));
        Magnitude { limbs: spread, exponent }
    }
}

impl Variance {
    fn value(&self, state: &Moments) -> Option<f64> {
        let n = state.seen.count;
        let divisors = match self.population {
            true => [n, n],
            false => [n, n.saturating_sub(1)],
        };
        if divisors.contains(&0) {
            return None;
        }
        if state.seen.specials().sum().is_some() {
            return Some(f64::NAN);
        }
        let spread = state.spread();
        Some(if self.deviation { spread.quotient_root(&divisors) } else { spread.quotient(false, &divisors) })
    }
}

impl Kernel for Variance {
    type State = Moments;
    const INVERTIBLE: bool = true;

    fn name(&self) -> String {
        let function = if self.deviation { "stddev" } else { "var" };
        format!("{function}_{}", if self.population { "pop" } else { "samp" })
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn fold(&self, states: &mut [Moments], rows: Rows<'_>, way: Way) {
        let column = rows.args[0].as_primitive::<Float64Type>();
        let sign = if way == Way::In { 1.0 } else { -1.0 };
        fold_values(states, rows, column.nulls(), column.values(), |state, x| {
            if state.seen.step(x, way) {
                state.sum.add(x * sign);
                state.squares.add_square(x, way == Way::Out);
            }
        });
    }

    fn merge(&self, state: &mut Moments, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        state.seen.merge(bytes, way)?;
        state.sum.add_encoded(bytes, way == Way::Out)?;
        state.squares.add_encoded(bytes, way == Way::Out)
    }

    fn absorb(&self, state: &mut Moments, other: &Moments, way: Way) {
        state.seen.absorb(&other.seen, way);
        state.sum.absorb(&other.sum, way == Way::Out);
        state.squares.absorb(&other.squares, way == Way::Out);
    }

    fn encode(&self, state: &Moments, out: &mut Vec<u8>) {
        if state.seen.count > 0 {
            state.seen.encode(out);
            state.sum.encode(out);
            state.squares.encode(out);
        }
    }

    fn finish(&self, states: &[Moments]) -> Finished {
        finished(Arc::new(numbers::<Float64Type>(states.iter().map(|state| self.value(state)))))
    }

    fn heap_size(state: &Moments) -> usize {
        state.sum.heap_size() + state.squares.heap_size()
    }
}
