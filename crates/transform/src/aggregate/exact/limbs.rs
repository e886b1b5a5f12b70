//! Little-endian arithmetic on slices of 64-bit limbs: what a fixed-point sum needs, no more.

use smallvec::SmallVec;

/// Scratch limbs: most numbers fit without an allocation.
pub(crate) type Limbs = SmallVec<[u64; 16]>;

/// `a += b × 2^(64·at)`, modulo `2^(64·a.len())`. `b` must end inside `a`.
#[inline(always)]
pub(crate) fn add_at(a: &mut [u64], at: usize, b: &[u64]) {
    let (low, high) = a[at..].split_at_mut(b.len());
    let mut carry = false;
    for (x, &y) in low.iter_mut().zip(b) {
        (*x, carry) = x.carrying_add(y, carry);
    }
    for x in high {
        if !carry {
            return;
        }
        (*x, carry) = x.overflowing_add(1);
    }
}

/// `a -= b × 2^(64·at)`, modulo `2^(64·a.len())`. `b` must end inside `a`.
#[inline(always)]
pub(crate) fn sub_at(a: &mut [u64], at: usize, b: &[u64]) {
    let (low, high) = a[at..].split_at_mut(b.len());
    let mut borrow = false;
    for (x, &y) in low.iter_mut().zip(b) {
        (*x, borrow) = x.borrowing_sub(y, borrow);
    }
    for x in high {
        if !borrow {
            return;
        }
        (*x, borrow) = x.overflowing_sub(1);
    }
}

/// Whether a two's complement number is below zero.
#[inline(always)]
pub(crate) fn is_negative(a: &[u64]) -> bool {
    a.last().is_some_and(|&top| (top as i64) < 0)
}

/// Two's complement negation in place.
pub(crate) fn negate(a: &mut [u64]) {
    let mut carry = true;
    for x in a {
        (*x, carry) = (!*x).overflowing_add(u64::from(carry));
    }
}

/// Without leading zero limbs.
pub(crate) fn trimmed(a: &[u64]) -> &[u64] {
    let len = a.iter().rposition(|&x| x != 0).map_or(0, |i| i + 1);
    &a[..len]
}

/// Number of bits of a magnitude; 0 for zero.
pub(crate) fn bit_length(a: &[u64]) -> usize {
    let a = trimmed(a);
    a.last().map_or(0, |top| 64 * a.len() - top.leading_zeros() as usize)
}

/// `a × b`.
pub(crate) fn product(a: &[u64], b: &[u64]) -> Limbs {
    let mut out = Limbs::from_elem(0, a.len() + b.len());
    for (i, &x) in a.iter().enumerate() {
        let mut carry = 0;
        for (o, &y) in out[i..].iter_mut().zip(b) {
            (*o, carry) = x.carrying_mul_add(y, *o, carry);
        }
        out[i + b.len()] = carry;
    }
    out
}

/// Divides in place and returns the remainder; `divisor` is not 0.
pub(crate) fn divide_small(a: &mut [u64], divisor: u64) -> u64 {
    match u32::try_from(divisor) {
        Ok(small) => divide_by_u32(a, small),
        Err(_) => divide_by_u64(a, divisor),
    }
}

/// Counts rarely pass 2^32, and below it each half limb is one hardware division, several times faster than dividing 128 bits.
fn divide_by_u32(a: &mut [u64], divisor: u32) -> u64 {
    let divisor = u64::from(divisor);
    let mut rest = 0;
    for x in a.iter_mut().rev() {
        let high = rest << 32 | *x >> 32;
        let low = (high % divisor) << 32 | *x & 0xffff_ffff;
        *x = ((high / divisor) << 32) | (low / divisor);
        rest = low % divisor;
    }
    rest
}

fn divide_by_u64(a: &mut [u64], divisor: u64) -> u64 {
    let mut rest = 0;
    for x in a.iter_mut().rev() {
        let part = u128::from(rest) << 64 | u128::from(*x);
        *x = (part / u128::from(divisor)) as u64;
        rest = (part % u128::from(divisor)) as u64;
    }
    rest
}

/// The leading bits of a magnitude: `value ≈ bits × 2^shift`, with `dropped` where lower bits were not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leading {
    pub(crate) bits: u128,
    pub(crate) shift: usize,
    pub(crate) dropped: bool,
}

/// The leading 127 or 128 bits of a magnitude (all of it where it is shorter), `shift` having the parity of `odd`.
pub(crate) fn leading(a: &[u64], odd: bool) -> Leading {
    let a = trimmed(a);
    let mut shift = bit_length(a).saturating_sub(128);
    if shift % 2 != usize::from(odd) {
        shift += 1;
    }
    let (skip, within) = (shift / 64, shift % 64);
    let limb = |i: usize| u128::from(a.get(i).copied().unwrap_or(0));
    let whole = limb(skip) | limb(skip + 1) << 64;
    let bits = if within == 0 { whole } else { whole >> within | limb(skip + 2) << (128 - within) };
    let below = &a[..skip.min(a.len())];
    let dropped = below.iter().any(|&x| x != 0) || limb(skip) & ((1 << within) - 1) != 0;
    Leading { bits, shift, dropped }
}
