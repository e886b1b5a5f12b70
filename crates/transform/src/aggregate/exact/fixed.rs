//! Exact sums of floats: a two's complement fixed-point number wide enough for every `f64`, of which a few limbs are kept inline.

use lockstep_model::codec::{CodecError, Reader};

use super::limbs::{add_at, is_negative, negate, sub_at, trimmed};
use super::number::{self, Number};
use super::round::Magnitude;

/// An exact number in units of `2^-UNIT`, `64·FULL` bits wide with its sign.
///
/// Only a window of `W` limbs is held inline, since the values of one group rarely differ by more than a few dozen binary
/// orders of magnitude; a group whose values do spills to the full width, once. Where the window lies changes no result.
#[derive(Debug, Clone)]
pub(crate) struct Fixed<const W: usize, const FULL: usize, const UNIT: i32> {
    /// Limbs `base .. base + W` of the number, the topmost extended with its sign. Limbs below `base` are zero.
    window: [u64; W],
    base: u32,
    full: Option<Box<[u64; FULL]>>,
}

/// A sum of `f64`: units of the smallest subnormal; 2098 bits of value and room for 2^63 of them.
pub(crate) type Sum = Fixed<4, 34, 1074>;

/// A sum of squares of `f64`, or of products of two.
pub(crate) type SquareSum = Fixed<6, 68, 2148>;

/// The significand of a finite float and its position in units of `2^-1074`: `|x| = significand × 2^(position - 1074)`.
#[inline(always)]
fn parts(bits: u64) -> (u64, u32) {
    let exponent = (bits >> 52 & 0x7ff) as u32;
    let normal = u32::from(exponent != 0);
    (bits & ((1 << 52) - 1) | u64::from(normal) << 52, exponent.wrapping_sub(normal))
}

impl Sum {
    /// Adds a finite float.
    #[inline(always)]
    pub(crate) fn add(&mut self, x: f64) {
        let bits = x.to_bits();
        let (significand, position) = parts(bits);
        let wide = u128::from(significand) << (position % 64);
        self.add_limbs((position / 64) as usize, &[wide as u64, (wide >> 64) as u64], bits >> 63 != 0);
    }
}

impl SquareSum {
    /// Adds, or takes out, the square of a finite float.
    #[inline(always)]
    pub(crate) fn add_square(&mut self, x: f64, negative: bool) {
        let (significand, position) = parts(x.to_bits());
        self.add_wide(u128::from(significand) * u128::from(significand), 2 * position, negative);
    }

    /// Adds the product of two finite floats.
    #[inline(always)]
    pub(crate) fn add_product(&mut self, x: f64, y: f64) {
        let ((a, at), (b, and)) = (parts(x.to_bits()), parts(y.to_bits()));
        self.add_wide(u128::from(a) * u128::from(b), at + and, x.is_sign_negative() != y.is_sign_negative());
    }

    #[inline(always)]
    fn add_wide(&mut self, product: u128, position: u32, negative: bool) {
        let shift = position % 64;
        let low = u128::from(product as u64) << shift;
        let high = (u128::from((product >> 64) as u64) << shift) + (low >> 64);
        self.add_limbs((position / 64) as usize, &[low as u64, high as u64, (high >> 64) as u64], negative);
    }
}

impl<const W: usize, const FULL: usize, const UNIT: i32> Default for Fixed<W, FULL, UNIT> {
    fn default() -> Self {
        Fixed { window: [0; W], base: 0, full: None }
    }
}

impl<const W: usize, const FULL: usize, const UNIT: i32> Fixed<W, FULL, UNIT> {
    /// The byte position around which encoded exponents are centred: that of 1.0.
    const CENTRE: i64 = UNIT as i64 / 8;

    /// Adds `± limbs × 2^(64·at)`; `at + limbs.len() <= FULL`.
    #[inline(always)]
    pub(crate) fn add_limbs(&mut self, at: usize, limbs: &[u64], negative: bool) {
        let offset = at.wrapping_sub(self.base as usize);
        // The top limb of the window takes only carries: one operation moves it by one at most, so that it cannot overflow
        // while it is well inside its range.
        let room = (self.window[W - 1].wrapping_add(1 << 62) as i64) >= 0;
        if offset < W && offset + limbs.len() < W && room && self.full.is_none() {
            let apply = if negative { sub_at } else { add_at };
            apply(&mut self.window, offset, limbs);
        } else {
            self.add_outside(at, limbs, negative);
        }
    }

    /// Moves the window so that it holds both the number and the limbs, or spills.
    #[cold]
    #[inline(never)]
    fn add_outside(&mut self, at: usize, limbs: &[u64], negative: bool) {
        if limbs.iter().all(|&limb| limb == 0) {
            return;
        }
        if self.full.is_none() && self.move_window(at, limbs.len()) {
            let offset = at - self.base as usize;
            let apply = if negative { sub_at } else { add_at };
            return apply(&mut self.window, offset, limbs);
        }
        let full = self.spill();
        let apply = if negative { sub_at } else { add_at };
        apply(full.as_mut_slice(), at, limbs);
    }

    /// Whether the window now covers its number, limbs `at .. at + len`, and a top limb for carries.
    fn move_window(&mut self, at: usize, len: usize) -> bool {
        let (low, high) = match self.occupied() {
            Some((low, high)) => (low.min(at), high.max(at + len)),
            // Where it fits, one limb of room below: the next value is as likely smaller as greater.
            None => (at.saturating_sub(usize::from(len + 1 < W)), at + len),
        };
        if high - low >= W || high >= FULL {
            return false;
        }
        let base = low.min(FULL - W);
        let sign = if is_negative(&self.window) { u64::MAX } else { 0 };
        let old = (self.base as usize, self.window);
        for (i, limb) in self.window.iter_mut().enumerate() {
            *limb = match (base + i).checked_sub(old.0) {
                Some(from) => old.1.get(from).copied().unwrap_or(sign),
                None => 0,
            };
        }
        self.base = base as u32;
        true
    }

    /// The limbs that carry the number, without those that only repeat its sign; `None` for zero.
    fn occupied(&self) -> Option<(usize, usize)> {
        let low = self.window.iter().position(|&limb| limb != 0)?;
        let sign = if is_negative(&self.window) { u64::MAX } else { 0 };
        let high = self.window.iter().rposition(|&limb| limb != sign).map_or(low, |i| i + 1).max(low + 1);
        Some((self.base as usize + low, self.base as usize + high))
    }

    fn spill(&mut self) -> &mut [u64; FULL] {
        self.full.get_or_insert_with(|| {
            let sign = if is_negative(&self.window) { u64::MAX } else { 0 };
            let (base, end) = (self.base as usize, self.base as usize + W);
            let mut full = Box::new([0; FULL]);
            full[base..end].copy_from_slice(&self.window);
            full[end..].fill(sign);
            full
        })
    }

    /// Calls `then` with the sign, the index of the lowest limb and the magnitude; zero is `(false, _, all zero)`.
    pub(crate) fn with_magnitude<R>(&self, then: impl FnOnce(bool, usize, &[u64]) -> R) -> R {
        match &self.full {
            None => magnitude(self.window, |negative, limbs| then(negative, self.base as usize, limbs)),
            Some(full) => magnitude(**full, |negative, limbs| then(negative, 0, limbs)),
        }
    }

    /// The sign and the exact magnitude, as a number of its own.
    pub(crate) fn to_magnitude(&self) -> (bool, Magnitude) {
        self.with_magnitude(|negative, base, limbs| {
            let exponent = 64 * base as i32 - UNIT;
            (negative, Magnitude { limbs: trimmed(limbs).into(), exponent })
        })
    }

    /// Appends the canonical encoding; zero is one byte.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.with_magnitude(|negative, base, limbs| number::put_scaled(out, negative, limbs, 8 * base as i64 - Self::CENTRE));
    }

    /// Adds an encoded number, or takes it out.
    pub(crate) fn add_encoded(&mut self, reader: &mut Reader<'_>, out: bool) -> Result<(), CodecError> {
        let Some((Number { negative, bytes }, exponent)) = number::take_scaled(reader)? else { return Ok(()) };
        let first = exponent.checked_add(Self::CENTRE).and_then(|first| usize::try_from(first).ok());
        // The topmost byte stays free for the sign.
        let first = first.filter(|&first| first < 8 * FULL && first + bytes.len() < 8 * FULL).ok_or(CodecError::new("float sum out of range"))?;
        let (at, within) = (first / 8, first % 8);
        if within + bytes.len() <= 8 * 4 {
            let mut padded = [0; 8 * 4];
            padded[within..within + bytes.len()].copy_from_slice(bytes);
            let limbs: [u64; 4] = std::array::from_fn(|i| number::limb(&padded, i));
            self.add_limbs(at, &limbs[..(within + bytes.len()).div_ceil(8)], negative != out);
        } else {
            let mut padded = [[0; 8]; FULL];
            padded.as_flattened_mut()[within..within + bytes.len()].copy_from_slice(bytes);
            let limbs = padded.map(u64::from_le_bytes);
            self.add_limbs(at, &limbs[..(within + bytes.len()).div_ceil(8)], negative != out);
        }
        Ok(())
    }

    /// Adds another number, or takes it out.
    #[inline(always)]
    pub(crate) fn absorb(&mut self, other: &Self, out: bool) {
        let room = |number: &Self| (number.window[W - 1].wrapping_add(1 << 61) as i64) >> 62 == 0;
        if self.base == other.base && self.full.is_none() && other.full.is_none() && room(self) && room(other) {
            let apply = if out { sub_at } else { add_at };
            return apply(&mut self.window, 0, &other.window);
        }
        if !out && self.window == [0; W] && self.full.is_none() {
            // From here on both have their window in one place.
            return self.clone_from(other);
        }
        self.absorb_elsewhere(other, out);
    }

    #[inline(never)]
    fn absorb_elsewhere(&mut self, other: &Self, out: bool) {
        other.with_magnitude(|negative, base, limbs| {
            let low = limbs.iter().position(|&limb| limb != 0).unwrap_or(limbs.len());
            self.add_limbs(base + low, trimmed(&limbs[low..]), negative != out);
        });
    }

    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        self.full.as_ref().map_or(0, |_| 8 * FULL)
    }
}

fn magnitude<const N: usize, R>(mut limbs: [u64; N], then: impl FnOnce(bool, &[u64]) -> R) -> R {
    let negative = is_negative(&limbs);
    if negative {
        negate(&mut limbs);
    }
    then(negative, &limbs)
}
