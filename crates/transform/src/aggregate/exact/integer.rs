//! Exact sums of integers and decimals: 256 bits, which 2^63 values of any type up to `Decimal128` cannot fill.

use arrow::datatypes::i256;
use lockstep_model::codec::{CodecError, Reader};

use super::limbs::{add_at, divide_small, product, trimmed};
use super::number::{self, limb};
use super::round::Magnitude;

/// An exact integer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Integer(i256);

impl Integer {
    /// Adds a value.
    #[inline(always)]
    pub(crate) fn add(&mut self, value: i128) {
        self.0 = self.0.wrapping_add(i256::from_i128(value));
    }

    /// Takes a value out.
    #[inline(always)]
    pub(crate) fn subtract(&mut self, value: i128) {
        self.0 = self.0.wrapping_sub(i256::from_i128(value));
    }

    /// Adds another sum, or takes it out.
    #[inline(always)]
    pub(crate) fn absorb(&mut self, other: Integer, out: bool) {
        self.0 = if out { self.0.wrapping_sub(other.0) } else { self.0.wrapping_add(other.0) };
    }

    /// The value, where it fits.
    pub(crate) fn to_i128(self) -> Option<i128> {
        self.0.to_i128()
    }

    /// The `f64` nearest to `self / divisor`; `divisor` is not 0.
    pub(crate) fn quotient(self, divisor: u64) -> f64 {
        let (negative, limbs) = self.magnitude();
        Magnitude { limbs: trimmed(&limbs).into(), exponent: 0 }.quotient(negative, &[divisor])
    }

    /// `self × factor / divisor` rounded half to even, where it fits; `divisor` is not 0.
    pub(crate) fn scaled_quotient(self, factor: u64, divisor: u64) -> Option<i128> {
        let (negative, limbs) = self.magnitude();
        let mut quotient = product(&limbs, &[factor]);
        let rest = divide_small(&mut quotient, divisor);
        // Compared with what is missing, since twice the remainder may not fit.
        let odd = quotient[0] & 1 == 1;
        if rest > divisor - rest || rest == divisor - rest && odd {
            add_at(&mut quotient, 0, &[1]);
        }
        if quotient[2..].iter().any(|&limb| limb != 0) {
            return None;
        }
        let magnitude = u128::from(quotient[1]) << 64 | u128::from(quotient[0]);
        if negative { 0i128.checked_sub_unsigned(magnitude) } else { i128::try_from(magnitude).ok() }
    }

    /// Appends the canonical encoding; zero is one byte.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let (negative, limbs) = self.magnitude();
        number::put_integer(out, negative, &limbs);
    }

    /// Adds an encoded integer, or takes it out.
    pub(crate) fn add_encoded(&mut self, reader: &mut Reader<'_>, out: bool) -> Result<(), CodecError> {
        let Some(number) = number::take_integer(reader)? else { return Ok(()) };
        let mut bytes = [0; 32];
        // The topmost byte stays free for the sign.
        bytes[..31].get_mut(..number.bytes.len()).ok_or(CodecError::new("integer sum out of range"))?.copy_from_slice(number.bytes);
        let value = i256::from_le_bytes(bytes);
        self.0 = if number.negative == out { self.0.wrapping_add(value) } else { self.0.wrapping_sub(value) };
        Ok(())
    }

    fn magnitude(self) -> (bool, [u64; 4]) {
        let negative = self.0.is_negative();
        let bytes = if negative { self.0.wrapping_neg() } else { self.0 }.to_le_bytes();
        (negative, std::array::from_fn(|i| limb(&bytes, i)))
    }
}
