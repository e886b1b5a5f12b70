//! The one encoding of exact numbers: `length and sign ‖ [exponent] ‖ magnitude`.
//!
//! The magnitude is little-endian, as short as it goes, so that equal numbers have equal bytes. An integer keeps its low zero bytes; a
//! scaled number counts them in its exponent (in bytes), since the sums of floats have hundreds of them.

use lockstep_model::codec::{CodecError, Reader, put_signed, put_varint};

use super::limbs::trimmed;

/// A decoded number other than zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    pub(crate) negative: bool,
    /// Little-endian; the last byte is not zero.
    pub(crate) bytes: &'a [u8],
}

/// Appends an integer.
pub(crate) fn put_integer(out: &mut Vec<u8>, negative: bool, limbs: &[u64]) {
    let limbs = trimmed(limbs);
    put_head(out, negative, byte_length(limbs));
    put_bytes(out, limbs, 0);
}

/// Appends a number whose lowest byte has the weight `256^exponent`.
pub(crate) fn put_scaled(out: &mut Vec<u8>, negative: bool, limbs: &[u64], exponent: i64) {
    let limbs = trimmed(limbs);
    let skipped = limbs.iter().take_while(|&&limb| limb == 0).count();
    let limbs = &limbs[skipped..];
    let zeros = limbs.first().map_or(0, |limb| limb.trailing_zeros() as usize / 8);
    put_head(out, negative, byte_length(limbs) - zeros);
    if !limbs.is_empty() {
        put_signed(out, exponent + 8 * skipped as i64 + zeros as i64);
        put_bytes(out, limbs, zeros);
    }
}

/// Reads what [`put_integer`] wrote; `None` is zero.
pub(crate) fn take_integer<'a>(reader: &mut Reader<'a>) -> Result<Option<Number<'a>>, CodecError> {
    let Some((negative, length)) = take_head(reader)? else { return Ok(None) };
    let bytes = reader.take(length)?;
    canonical(bytes.last() != Some(&0), Number { negative, bytes }).map(Some)
}

/// Reads what [`put_scaled`] wrote: the number and the weight of its lowest byte; `None` is zero.
pub(crate) fn take_scaled<'a>(reader: &mut Reader<'a>) -> Result<Option<(Number<'a>, i64)>, CodecError> {
    let Some((negative, length)) = take_head(reader)? else { return Ok(None) };
    let exponent = reader.signed()?;
    let bytes = reader.take(length)?;
    let whole = bytes.first() != Some(&0) && bytes.last() != Some(&0);
    canonical(whole, (Number { negative, bytes }, exponent)).map(Some)
}

/// Limb `i` of little-endian bytes that are a whole number of limbs.
#[inline(always)]
pub(crate) fn limb(bytes: &[u8; 32], i: usize) -> u64 {
    bytes.as_chunks::<8>().0.get(i).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn canonical<T>(holds: bool, value: T) -> Result<T, CodecError> {
    if holds { Ok(value) } else { Err(CodecError::new("number not in its shortest form")) }
}

fn put_head(out: &mut Vec<u8>, negative: bool, length: usize) {
    put_varint(out, (length as u64) << 1 | u64::from(negative && length > 0));
}

fn take_head(reader: &mut Reader<'_>) -> Result<Option<(bool, usize)>, CodecError> {
    let head = reader.varint()?;
    let length = usize::try_from(head >> 1).map_err(|_| CodecError::new("number too long"))?;
    match (head & 1 == 1, length) {
        (true, 0) => Err(CodecError::new("negative zero")),
        (_, 0) => Ok(None),
        (negative, length) => Ok(Some((negative, length))),
    }
}

/// Bytes of trimmed limbs without their leading zeros.
fn byte_length(limbs: &[u64]) -> usize {
    limbs.last().map_or(0, |top| 8 * limbs.len() - top.leading_zeros() as usize / 8)
}

fn put_bytes(out: &mut Vec<u8>, limbs: &[u64], skip: usize) {
    let (start, length) = (out.len(), byte_length(limbs));
    for (i, limb) in limbs.iter().enumerate() {
        out.extend_from_slice(&limb.to_le_bytes()[if i == 0 { skip } else { 0 }..]);
    }
    out.truncate(start + length - skip);
}
