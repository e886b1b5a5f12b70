//! `dot(a, b)` and `cosine(a, b)`, of lists of numbers that are as long as each other.
//!
//! Products and their sums are exact and rounded once, so that neither a build nor a machine has a say in the last bits. Elements are taken as the nearest DOUBLE, which a REAL is.
//!
//! - `dot` is the nearest DOUBLE to the exact sum. Where elements are not finite, it is what their products add up to: NaN of ∞ and −∞, of 0 · ∞, and of NaN.
//! - `cosine` divides that by the nearest DOUBLE to the root of the exact product of both sums of squares, with neither overflow nor underflow on the way; it lies within −1 and 1, and is 1 of a list and itself.
//!   Of a list of zeros, or without elements, there is none: NULL. Where an element is not finite, it is NaN.
//! - A list with a NULL in it gives NULL. Lists of two lengths are an ERROR of their row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, GenericListArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::wrong;
use crate::aggregate::exact::fixed::SquareSum;
use crate::aggregate::exact::limbs::{bit_length, product};
use crate::aggregate::exact::round::Magnitude;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The sum of products.
    Dot,
    /// The cosine of the angle.
    Cosine,
}

/// A function of two lists.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Vectors {
    kind: Kind,
    signature: Signature,
}

impl Vectors {
    /// One of them.
    pub fn new(kind: Kind) -> Self {
        Vectors { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Vectors {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Dot => "dot",
            Kind::Cosine => "cosine",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let [_, _] = arguments else { return Err(wrong(format!("`{name}` takes two lists: {name}(r.embedding, u.taste)"))) };
        let is_list = |data_type: &DataType| match data_type {
            DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => element.data_type().is_numeric(),
            _ => false,
        };
        match arguments.iter().find(|data_type| !is_list(data_type)) {
            Some(other) => {
                Err(wrong(format!("`{name}` takes lists of numbers, and this is of type {other} · write [x, y], or a column of type DOUBLE[]")))
            }
            None => Ok(vec![DataType::new_list(DataType::Float64, true); 2]),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let [a, b] = arrays.as_slice() else { return exec_err!("{} takes two lists", self.name()) };
        let (a, b) = (a.as_list::<i32>(), b.as_list::<i32>());
        let mut out = Float64Array::builder(args.number_rows);
        for row in 0..args.number_rows {
            out.append_option(self.of(a, b, row)?);
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

impl Vectors {
    fn of(&self, a: &GenericListArray<i32>, b: &GenericListArray<i32>, row: usize) -> Result<Option<f64>> {
        if a.is_null(row) || b.is_null(row) {
            return Ok(None);
        }
        let (a, b) = (a.value(row), b.value(row));
        if a.len() != b.len() {
            return exec_err!("{} of lists of {} and {} elements · both are as long as each other", self.name(), a.len(), b.len());
        }
        if a.null_count() + b.null_count() > 0 {
            return Ok(None);
        }
        let (a, b) = (a.as_primitive::<Float64Type>().values(), b.as_primitive::<Float64Type>().values());
        Ok(match self.kind {
            Kind::Dot => Some(dot(a, b)),
            Kind::Cosine => cosine(a, b),
        })
    }
}

/// The sum of products, rounded once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    match specials(a, b) {
        Some(special) => special,
        None => {
            let (negative, sum) = products(a, b).to_magnitude();
            sum.to_f64(negative)
        }
    }
}

/// What products that are not finite add up to; `None` where all are. Of such values a sum does not depend on the order.
fn specials(a: &[f64], b: &[f64]) -> Option<f64> {
    let of_pair = |(x, y): (&f64, &f64)| (!x.is_finite() || !y.is_finite()).then(|| x * y);
    let sum = a.iter().zip(b).filter_map(of_pair).reduce(|sum, product| sum + product)?;
    // One NaN, whatever the processor's.
    Some(if sum.is_nan() { f64::NAN } else { sum })
}

fn products(a: &[f64], b: &[f64]) -> SquareSum {
    let mut sum = SquareSum::default();
    a.iter().zip(b).for_each(|(&x, &y)| sum.add_product(x, y));
    sum
}

fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.iter().chain(b).any(|x| !x.is_finite()) {
        return Some(f64::NAN);
    }
    let ((_, a_squared), (_, b_squared)) = (products(a, a).to_magnitude(), products(b, b).to_magnitude());
    let mut norms = Magnitude { limbs: product(&a_squared.limbs, &b_squared.limbs), exponent: a_squared.exponent + b_squared.exponent };
    let bits = i32::try_from(bit_length(&norms.limbs)).ok().filter(|bits| *bits > 0)?;
    // By a power of two, the same above and below, the root comes to lie from 1 to 2: nothing overflows.
    let scale = (norms.exponent + bits - 1).div_euclid(2);
    norms.exponent -= 2 * scale;
    let (negative, mut sum) = products(a, b).to_magnitude();
    sum.exponent -= scale;
    Some((sum.to_f64(negative) / norms.quotient_root(&[])).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_products_are_rounded_once() {
        assert_eq!(dot(&[1e16, 1.0, -1e16], &[1.0, 1.0, 1.0]), 1.0);
        assert_eq!(dot(&[1e200, 1e-200, -1e200], &[1e200, 1e-200, 1e200]).to_bits(), 0.0_f64.to_bits());
        assert_eq!(dot(&[0.1; 10], &[0.1; 10]), 0.1);
        assert_eq!(dot(&[], &[]), 0.0);
        assert_eq!(dot(&[-0.0], &[1.0]).to_bits(), 0.0_f64.to_bits());
        assert_eq!(dot(&[1e300, 1e300], &[1e10, 1.0]), f64::INFINITY);
    }

    #[test]
    fn what_is_not_finite_adds_up_as_products_do() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(dot(&[inf, 1.0], &[2.0, 5.0]), inf);
        assert_eq!(dot(&[inf, 1.0], &[-2.0, 5.0]), -inf);
        assert!(dot(&[inf, inf], &[1.0, -1.0]).is_nan());
        assert!(dot(&[inf], &[0.0]).is_nan());
        assert!(dot(&[nan, 1.0], &[1.0, 1.0]).is_nan());
        assert!(cosine(&[inf, 1.0], &[1.0, 1.0]).is_some_and(f64::is_nan));
    }

    #[test]
    fn a_cosine_is_within_one_and_neither_overflows_nor_vanishes() {
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), None);
        assert_eq!(cosine(&[], &[]), None);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 1.0]), Some(0.0));
        assert_eq!(cosine(&[3.0, 4.0], &[-6.0, -8.0]), Some(-1.0));
        assert_eq!(cosine(&[1e300, 1e300], &[1e-300, 1e-300]), Some(1.0));
        assert_eq!(cosine(&[f64::MIN_POSITIVE / 4.0], &[f64::MAX]), Some(1.0));
        assert_eq!(cosine(&[3.0, 4.0], &[4.0, 3.0]), Some(0.96));
    }

    proptest::proptest! {
        #[test]
        fn neither_order_nor_a_common_power_of_two_matters(
            mut pairs in proptest::collection::vec((-1e12..1e12_f64, -1e12..1e12_f64), 1..40),
            power in -300..300_i32,
        ) {
            let split = |pairs: &[(f64, f64)]| -> (Vec<f64>, Vec<f64>) { pairs.iter().copied().unzip() };
            let (a, b) = split(&pairs);
            pairs.reverse();
            pairs.rotate_left(power.unsigned_abs() as usize % a.len());
            let (c, d) = split(&pairs);
            proptest::prop_assert_eq!(dot(&a, &b).to_bits(), dot(&d, &c).to_bits());
            let scaled: Vec<f64> = a.iter().map(|x| x * 2_f64.powi(power)).collect();
            proptest::prop_assert_eq!(cosine(&a, &b).map(f64::to_bits), cosine(&d, &scaled_like(&c, power)).map(f64::to_bits));
            proptest::prop_assert_eq!(cosine(&a, &scaled).map(f64::to_bits), cosine(&a, &a).map(f64::to_bits));
            // Beside sums that are rounded at every step.
            let plain: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            let size: f64 = a.iter().zip(&b).map(|(x, y)| (x * y).abs()).sum();
            proptest::prop_assert!((dot(&a, &b) - plain).abs() <= size * 1e-14);
        }
    }

    fn scaled_like(values: &[f64], power: i32) -> Vec<f64> {
        values.iter().map(|x| x * 2_f64.powi(power)).collect()
    }
}
