//! From an exact number to the nearest `f64`, rounded once: half to even, gradual underflow, overflow to infinity.

use super::limbs::bit_length;
use super::limbs::{Leading, Limbs, divide_small, leading, trimmed};

/// An exact magnitude: `limbs × 2^exponent`.
#[derive(Debug, Clone)]
pub(crate) struct Magnitude {
    pub(crate) limbs: Limbs,
    pub(crate) exponent: i32,
}

impl Magnitude {
    /// The nearest `f64`.
    pub(crate) fn to_f64(&self, negative: bool) -> f64 {
        let top = leading(&self.limbs, false);
        nearest(negative, top.bits, self.exponent + top.shift as i32, top.dropped)
    }

    /// The nearest `f64` to the quotient by the product of `divisors`, none of them 0.
    pub(crate) fn quotient(self, negative: bool, divisors: &[u64]) -> f64 {
        let (quotient, inexact) = self.divided(divisors, 68);
        let top = leading(&quotient.limbs, false);
        nearest(negative, top.bits, quotient.exponent + top.shift as i32, top.dropped || inexact)
    }

    /// The nearest `f64` to the square root of that quotient.
    pub(crate) fn quotient_root(self, divisors: &[u64]) -> f64 {
        // 112 bits under the root leave 56 above it: the 53 of the result, and a remainder that says on which side of a tie it lies.
        let (quotient, inexact) = self.divided(divisors, 112);
        let Leading { bits, shift, dropped } = leading(&quotient.limbs, quotient.exponent % 2 != 0);
        let root = bits.isqrt();
        nearest(false, root, (quotient.exponent + shift as i32) / 2, inexact || dropped || root * root != bits)
    }

    /// Divides by each divisor in turn: at least `bits` bits of quotient, and whether a remainder was left.
    /// `⌊⌊a/b⌋/c⌋ = ⌊a/(b·c)⌋`, and the quotient is exact iff no step leaves a remainder.
    fn divided(mut self, divisors: &[u64], bits: usize) -> (Magnitude, bool) {
        let taken: usize = divisors.iter().map(|&d| bit_length(&[d])).sum();
        let have = bit_length(&self.limbs);
        if have > 0 {
            let limbs = (bits + taken).saturating_sub(have).div_ceil(64);
            self.limbs.insert_many(0, std::iter::repeat_n(0, limbs));
            self.exponent -= 64 * limbs as i32;
        }
        let mut inexact = false;
        for &divisor in divisors {
            inexact |= divide_small(&mut self.limbs, divisor) != 0;
        }
        self.limbs.truncate(trimmed(&self.limbs).len());
        (self, inexact)
    }
}

/// The `f64` nearest to `mantissa × 2^exponent`, plus something less than one unit of the mantissa where `inexact`; the
/// mantissa then has at least 55 bits. Zero is +0.0.
fn nearest(negative: bool, mantissa: u128, exponent: i32, inexact: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let top = exponent + 127 - mantissa.leading_zeros() as i32;
    if top > 1023 {
        return if negative { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let lowest = (top - 52).max(-1074);
    let mantissa = shifted_to_even(mantissa, lowest - exponent, inexact);
    // A mantissa rounded up to 2^53 carries into the exponent, up to infinity, as it should.
    let bits = (((lowest + 1074) as u64) << 52) + mantissa;
    f64::from_bits(bits | u64::from(negative) << 63)
}

/// `mantissa / 2^down`, rounded half to even.
fn shifted_to_even(mantissa: u128, down: i32, inexact: bool) -> u64 {
    if down <= 0 {
        return (mantissa << -down) as u64;
    }
    if down > 128 {
        return 0;
    }
    let half = 1u128 << (down - 1);
    let (kept, rest) = if down == 128 { (0, mantissa) } else { (mantissa >> down, mantissa & ((half << 1).wrapping_sub(1))) };
    let up = rest > half || rest == half && (inexact || kept & 1 == 1);
    kept as u64 + u64::from(up)
}
