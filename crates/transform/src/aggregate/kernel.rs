//! What one aggregate has to say; everything around it is here, once.

use std::fmt::Debug;

use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray, NullBufferBuilder, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use lockstep_model::codec::{CodecError, Reader};

use super::sweep::{self, Schedule};
use super::{Aggregate, Finished, Groups, Rows};

/// Whether rows and states go into a group or come out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl Way {
    /// Counts one event in or out.
    #[inline(always)]
    pub(crate) fn step(self, count: &mut u64) {
        *count = match self {
            Way::In => count.wrapping_add(1),
            Way::Out => count.wrapping_sub(1),
        };
    }

    /// Counts in, or out, what another state has counted.
    #[inline(always)]
    pub(crate) fn steps(self, count: &mut u64, by: u64) {
        *count = match self {
            Way::In => count.wrapping_add(by),
            Way::Out => count.wrapping_sub(by),
        };
    }

    /// Counts `by` events in or out; refuses what no set of events could be.
    pub(crate) fn count(self, count: &mut u64, by: u64) -> Result<(), CodecError> {
        let after = match self {
            Way::In => count.checked_add(by).filter(|&n| n <= COUNT_MAX).ok_or(CodecError::new("more events than can be counted"))?,
            Way::Out => count.checked_sub(by).ok_or(CodecError::new("more events taken out than were put in"))?,
        };
        *count = after;
        Ok(())
    }
}

/// Most events in one state, which the widths of the exact sums are made for.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

/// An aggregate function, bound: the state of one group and what is done with it.
pub(crate) trait Kernel: Debug + Clone + Send + Sync + 'static {
    /// One group's state; the default is the empty one.
    type State: Default + Clone + Send + Sync;

    const INVERTIBLE: bool;
    const TILED: bool = true;
    /// Whether a state can grow with what was folded in, so that copies of it are to be few.
    const GROWS: bool = false;
    const CODEC_VERSION: u8 = 1;

    fn name(&self) -> String;

    fn return_type(&self) -> DataType;

    /// Folds rows in, or takes them out where [`Self::INVERTIBLE`].
    fn fold(&self, states: &mut [Self::State], rows: Rows<'_>, way: Way);

    /// Merges an encoded state other than the empty one, or takes it out where [`Self::INVERTIBLE`].
    fn merge(&self, state: &mut Self::State, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError>;

    /// Merges another state, or takes it out where [`Self::INVERTIBLE`]: what [`Self::merge`] does with its encoding.
    fn absorb(&self, state: &mut Self::State, other: &Self::State, way: Way);

    /// Appends nothing where the state is empty.
    fn encode(&self, state: &Self::State, out: &mut Vec<u8>);

    fn finish(&self, states: &[Self::State]) -> Finished;

    /// The values of a schedule over cells, where there is a better way to them than the general one.
    fn sweep(&self, _cells: &[Self::State], _schedule: &Schedule<'_>) -> Option<Finished> {
        None
    }

    /// Bytes a state holds outside itself.
    fn heap_size(_state: &Self::State) -> usize {
        0
    }
}

impl<K: Kernel> Aggregate for K {
    fn name(&self) -> String {
        Kernel::name(self)
    }

    fn codec_version(&self) -> u8 {
        K::CODEC_VERSION
    }

    fn return_type(&self) -> DataType {
        Kernel::return_type(self)
    }

    fn invertible(&self) -> bool {
        K::INVERTIBLE
    }

    fn tiled(&self) -> bool {
        K::TILED
    }

    fn groups(&self) -> Box<dyn Groups> {
        Box::new(States { kernel: self.clone(), states: Vec::new() })
    }
}

struct States<K: Kernel> {
    kernel: K,
    states: Vec<K::State>,
}

impl<K: Kernel> States<K> {
    fn merge_way(&mut self, group: usize, state: &[u8], way: Way) -> Result<(), CodecError> {
        if state.is_empty() {
            return Ok(());
        }
        let mut reader = Reader::new(state);
        self.kernel.merge(&mut self.states[group], &mut reader, way)?;
        if reader.is_empty() { Ok(()) } else { Err(CodecError::new("bytes after the end of a state")) }
    }
}

impl<K: Kernel> Groups for States<K> {
    fn resize(&mut self, groups: usize) {
        if groups > self.states.len() {
            self.states.resize_with(groups, K::State::default);
        }
    }

    fn clear(&mut self) {
        self.states.fill_with(K::State::default);
    }

    fn update(&mut self, rows: Rows<'_>) {
        self.kernel.fold(&mut self.states, rows, Way::In);
    }

    fn retract(&mut self, rows: Rows<'_>) {
        self.kernel.fold(&mut self.states, rows, Way::Out);
    }

    fn merge(&mut self, group: usize, state: &[u8]) -> Result<(), CodecError> {
        self.merge_way(group, state, Way::In)
    }

    fn unmerge(&mut self, group: usize, state: &[u8]) -> Result<(), CodecError> {
        self.merge_way(group, state, Way::Out)
    }

    fn encode(&self, group: usize, out: &mut Vec<u8>) {
        self.kernel.encode(&self.states[group], out);
    }

    fn finish(&self) -> Finished {
        self.kernel.finish(&self.states)
    }

    fn sweep(&self, schedule: &Schedule<'_>) -> Finished {
        let special = Kernel::sweep(&self.kernel, &self.states, schedule);
        special.unwrap_or_else(|| sweep::sweep(&self.kernel, &self.states, schedule))
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<K::State>() + self.states.iter().map(K::heap_size).sum::<usize>()
    }
}

/// Calls `fold` for each pair whose row is not NULL.
#[inline(always)]
pub(crate) fn fold_values<S, T: Copy>(states: &mut [S], rows: Rows<'_>, nulls: Option<&NullBuffer>, values: &[T], mut fold: impl FnMut(&mut S, T)) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => {
            for &(row, group) in rows.pairs {
                fold(&mut states[group as usize], values[row as usize]);
            }
        }
        Some(nulls) => {
            for &(row, group) in rows.pairs {
                if nulls.is_valid(row as usize) {
                    fold(&mut states[group as usize], values[row as usize]);
                }
            }
        }
    }
}

/// Numbers, of which some may be missing.
pub(crate) fn numbers<T: ArrowPrimitiveType>(items: impl ExactSizeIterator<Item = Option<T::Native>>) -> PrimitiveArray<T> {
    // Nothing is allocated for validity before a number is missing.
    let (mut values, mut valid) = (Vec::with_capacity(items.len()), NullBufferBuilder::new(items.len()));
    for item in items {
        values.push(item.unwrap_or_default());
        valid.append(item.is_some());
    }
    PrimitiveArray::new(values.into(), valid.finish())
}

/// Finished values none of which failed.
pub(crate) fn finished(values: ArrayRef) -> Finished {
    Finished { values, errors: None }
}

/// Finished values, with the groups that failed (their values are NULL).
pub(crate) fn finished_with(values: ArrayRef, failed: Vec<bool>) -> Finished {
    let errors = failed.contains(&true).then(|| BooleanArray::from(failed));
    Finished { values, errors }
}
