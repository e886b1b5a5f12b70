//! `approx_distinct`: HyperLogLog over a frozen hash.
//!
//! 2^12 registers, hence a standard error of 1.6 %. The hash is XXH3-64 (seed 0) of the value's canonical bytes: it is stored,
//! in effect, and must never change. The estimate is Ertl's (*New cardinality estimation algorithms for HyperLogLog sketches*,
//! 2017), which needs no table of corrections, and no function beyond the square root that could differ between machines.

use std::sync::Arc;

use arrow::array::UInt64Array;
use arrow::datatypes::DataType;
use lockstep_model::codec::{CodecError, Reader, put_varint};
use xxhash_rust::xxh3::xxh3_64;

use super::column::ValueType;
use super::kernel::{Kernel, Way, finished};
use super::{Finished, Rows};

/// Bits of the hash that choose a register.
const PRECISION: u32 = 12;
const REGISTERS: usize = 1 << PRECISION;
/// Greatest rank: of a hash whose other bits are all zero.
const RANK_MAX: u8 = (64 - PRECISION + 1) as u8;
/// Most registers in use that are listed one by one; at 512 a list takes about a third of the dense form.
const SPARSE_MAX: usize = 512;
/// Registers take 6 bits each.
const DENSE_BYTES: usize = REGISTERS * 6 / 8;

const SPARSE: u8 = 1;
const DENSE: u8 = 2;

/// `approx_distinct(x)`.
#[derive(Debug, Clone)]
pub(crate) struct ApproxDistinct {
    pub(crate) argument: ValueType,
}

/// For each register the greatest rank seen. Sparse up to [`SPARSE_MAX`] registers in use, dense above, so that the form too is a function
/// of the set.
#[derive(Debug, Clone)]
pub(crate) enum Registers {
    /// `(register, rank)` of those in use, ascending.
    Sparse(Vec<(u16, u8)>),
    Dense(Box<[u8; REGISTERS]>),
}

impl Default for Registers {
    fn default() -> Self {
        Registers::Sparse(Vec::new())
    }
}

impl Registers {
    fn add_hash(&mut self, hash: u64) {
        let register = (hash >> (64 - PRECISION)) as u16;
        // The bit below the hash's own ends the count of zeros.
        let rank = (hash << PRECISION | 1 << (PRECISION - 1)).leading_zeros() as u8 + 1;
        self.raise(register, rank);
    }

    /// `register` is less than [`REGISTERS`].
    fn raise(&mut self, register: u16, rank: u8) {
        match self {
            Registers::Dense(ranks) => {
                let held = &mut ranks[register as usize];
                *held = rank.max(*held);
            }
            Registers::Sparse(used) => match used.binary_search_by_key(&register, |&(register, _)| register) {
                Ok(at) => used[at].1 = rank.max(used[at].1),
                Err(at) => {
                    used.insert(at, (register, rank));
                    if used.len() > SPARSE_MAX {
                        *self = Registers::Dense(dense(used));
                    }
                }
            },
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Registers::Sparse(used) if used.is_empty())
    }

    /// How many registers have each rank.
    fn histogram(&self) -> [u32; RANK_MAX as usize + 1] {
        let mut counts = [0; RANK_MAX as usize + 1];
        match self {
            Registers::Dense(ranks) => ranks.iter().for_each(|&rank| counts[rank as usize] += 1),
            Registers::Sparse(used) => {
                counts[0] = (REGISTERS - used.len()) as u32;
                used.iter().for_each(|&(_, rank)| counts[rank as usize] += 1);
            }
        }
        counts
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Registers::Sparse(used) => {
                out.push(SPARSE);
                let mut next = 0;
                for &(register, rank) in used {
                    put_varint(out, u64::from(register - next) << 6 | u64::from(rank));
                    next = register + 1;
                }
            }
            Registers::Dense(ranks) => {
                out.push(DENSE);
                for &[a, b, c, d] in ranks.as_chunks::<4>().0 {
                    let packed = u32::from(a) | u32::from(b) << 6 | u32::from(c) << 12 | u32::from(d) << 18;
                    out.extend_from_slice(&packed.to_le_bytes()[..3]);
                }
            }
        }
    }

    fn merge_sparse(&mut self, bytes: &mut Reader<'_>) -> Result<(), CodecError> {
        let mut next = 0u64;
        let mut used = 0;
        while !bytes.is_empty() {
            let packed = bytes.varint()?;
            let (register, rank) = ((packed >> 6) + next, (packed & 0x3f) as u8);
            used += 1;
            if register >= REGISTERS as u64 || !(1..=RANK_MAX).contains(&rank) || used > SPARSE_MAX {
                return Err(CodecError::new("register out of range"));
            }
            self.raise(register as u16, rank);
            next = register + 1;
        }
        if used > 0 { Ok(()) } else { Err(CodecError::new("empty list of registers")) }
    }

    fn merge_dense(&mut self, bytes: &mut Reader<'_>) -> Result<(), CodecError> {
        let packed = bytes.array::<DENSE_BYTES>()?;
        let mut theirs = [0u8; REGISTERS];
        for (&[a, b, c], ranks) in packed.as_chunks::<3>().0.iter().zip(theirs.as_chunks_mut::<4>().0) {
            let packed = u32::from_le_bytes([a, b, c, 0]);
            *ranks = std::array::from_fn(|i| (packed >> (6 * i) & 0x3f) as u8);
        }
        let used = theirs.iter().filter(|&&rank| rank > 0).count();
        if used <= SPARSE_MAX || theirs.iter().any(|&rank| rank > RANK_MAX) {
            return Err(CodecError::new("register out of range"));
        }
        self.raise_all(&theirs);
        Ok(())
    }

    fn raise_all(&mut self, theirs: &[u8; REGISTERS]) {
        if let Registers::Sparse(used) = self {
            *self = Registers::Dense(dense(used));
        }
        if let Registers::Dense(mine) = self {
            mine.iter_mut().zip(theirs).for_each(|(mine, &theirs)| *mine = theirs.max(*mine));
        }
    }

    fn absorb(&mut self, other: &Registers) {
        match other {
            Registers::Sparse(used) => used.iter().for_each(|&(register, rank)| self.raise(register, rank)),
            Registers::Dense(ranks) => self.raise_all(ranks),
        }
    }
}

fn dense(used: &[(u16, u8)]) -> Box<[u8; REGISTERS]> {
    let mut ranks = Box::new([0; REGISTERS]);
    used.iter().for_each(|&(register, rank)| ranks[register as usize] = rank);
    ranks
}

/// Ertl's improved raw estimate, to the nearest integer.
fn estimate(histogram: &[u32; RANK_MAX as usize + 1]) -> u64 {
    // 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let (none, full) = (f64::from(histogram[0]), f64::from(histogram[RANK_MAX as usize]));
    let mut z = m * tau(1.0 - full / m);
    for &count in histogram[1..RANK_MAX as usize].iter().rev() {
        z = 0.5 * (z + f64::from(count));
    }
    z += m * sigma(none / m);
    (ALPHA * m * m / z).round() as u64
}

/// `x + Σ x^(2^k)·2^(k−1)`; infinite at 1, where no register is in use.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// `(1 − x − Σ (1 − x^(2^−k))²·2^−k) / 3`
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

impl Kernel for ApproxDistinct {
    type State = Registers;
    const INVERTIBLE: bool = false;
    const GROWS: bool = true;

    fn name(&self) -> String {
        "approx_distinct".into()
    }

    fn return_type(&self) -> DataType {
        DataType::UInt64
    }

    fn fold(&self, states: &mut [Registers], rows: Rows<'_>, _: Way) {
        let view = self.argument.view(&rows.args[0]);
        let mut value = Vec::new();
        for &(row, group) in rows.pairs {
            if view.is_valid(row as usize) {
                value.clear();
                view.put(row as usize, &mut value);
                states[group as usize].add_hash(xxh3_64(&value));
            }
        }
    }

    fn merge(&self, state: &mut Registers, bytes: &mut Reader<'_>, _: Way) -> Result<(), CodecError> {
        match bytes.byte()? {
            SPARSE => state.merge_sparse(bytes),
            DENSE => state.merge_dense(bytes),
            _ => Err(CodecError::new("unknown form of registers")),
        }
    }

    fn absorb(&self, state: &mut Registers, other: &Registers, _: Way) {
        state.absorb(other);
    }

    fn encode(&self, state: &Registers, out: &mut Vec<u8>) {
        if !state.is_empty() {
            state.encode(out);
        }
    }

    fn finish(&self, states: &[Registers]) -> Finished {
        finished(Arc::new(states.iter().map(|state| Some(estimate(&state.histogram()))).collect::<UInt64Array>()))
    }

    fn heap_size(state: &Registers) -> usize {
        match state {
            Registers::Sparse(used) => 4 * used.capacity(),
            Registers::Dense(_) => REGISTERS,
        }
    }
}
