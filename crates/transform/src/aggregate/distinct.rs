//! `count(distinct)`: the set itself, up to a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::DataType;
use lockstep_model::codec::{CodecError, Reader, put_bytes, put_varint};
use smallvec::SmallVec;

use super::column::ValueType;
use super::kernel::{Kernel, Way, finished_with};
use super::sweep::{Schedule, Step};
use super::{Finished, Rows};

/// `count(distinct x)`.
#[derive(Debug, Clone)]
pub(crate) struct CountDistinct {
    pub(crate) argument: ValueType,
    pub(crate) limit: usize,
}

/// Canonical bytes of a value; numbers lie inline.
type Value = SmallVec<[u8; 16]>;

/// The values seen, or the fact that there are more than the limit: then they are dropped, so that a state is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Set {
    // Ordered: encoding needs no sort, and no choice of values makes it slow, as it could a hash set without a secret.
    Values(BTreeSet<Value>),
    TooMany,
}

impl Default for Set {
    fn default() -> Self {
        Set::Values(BTreeSet::new())
    }
}

/// In the place of a count of values.
const TOO_MANY: u64 = 0;

impl Set {
    fn insert(&mut self, value: &[u8], limit: usize) {
        let Set::Values(values) = self else { return };
        if values.contains(value) {
            return;
        }
        values.insert(Value::from_slice(value));
        if values.len() > limit {
            *self = Set::TooMany;
        }
    }
}

/// In how many cells of a window each value is, so that cells can be taken out of it again.
#[derive(Debug, Default)]
struct Counted {
    values: BTreeMap<Value, u64>,
    /// How many of the cells have too many values by themselves.
    too_many: u64,
}

impl Counted {
    fn step(&mut self, cell: &Set, way: Way) {
        let Set::Values(values) = cell else { return way.step(&mut self.too_many) };
        for value in values {
            if way == Way::In {
                *self.values.entry(value.clone()).or_default() += 1;
            } else if let Some(count) = self.values.get_mut(value) {
                *count -= 1;
                if *count == 0 {
                    self.values.remove(value);
                }
            }
        }
    }
}

impl Kernel for CountDistinct {
    type State = Set;
    const INVERTIBLE: bool = false;
    const GROWS: bool = true;

    fn name(&self) -> String {
        format!("count_distinct limit {}", self.limit)
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn fold(&self, states: &mut [Set], rows: Rows<'_>, _: Way) {
        let view = self.argument.view(&rows.args[0]);
        let mut value = Vec::new();
        for &(row, group) in rows.pairs {
            if view.is_valid(row as usize) {
                value.clear();
                view.put(row as usize, &mut value);
                states[group as usize].insert(&value, self.limit);
            }
        }
    }

    fn merge(&self, state: &mut Set, bytes: &mut Reader<'_>, _: Way) -> Result<(), CodecError> {
        let count = bytes.varint()?;
        if count == TOO_MANY {
            *state = Set::TooMany;
            return Ok(());
        }
        let mut previous: Option<&[u8]> = None;
        for _ in 0..count {
            let value = bytes.bytes()?;
            if previous.is_some_and(|previous| previous >= value) {
                return Err(CodecError::new("distinct values out of order"));
            }
            self.argument.check(value)?;
            state.insert(value, self.limit);
            previous = Some(value);
        }
        Ok(())
    }

    fn absorb(&self, state: &mut Set, other: &Set, _: Way) {
        match other {
            Set::Values(values) => values.iter().for_each(|value| state.insert(value, self.limit)),
            Set::TooMany => *state = Set::TooMany,
        }
    }

    fn sweep(&self, cells: &[Set], schedule: &Schedule<'_>) -> Option<Finished> {
        let mut counted = Counted::default();
        let (mut values, mut failed) = (Vec::with_capacity(schedule.values()), Vec::with_capacity(schedule.values()));
        schedule.run(|step| match step {
            Step::Begin => counted = Counted::default(),
            Step::Enter(cell) => counted.step(&cells[cell], Way::In),
            Step::Leave(cell) => counted.step(&cells[cell], Way::Out),
            Step::Value => {
                let too_many = counted.too_many > 0 || counted.values.len() > self.limit;
                values.push((!too_many).then_some(counted.values.len() as i64));
                failed.push(too_many);
            }
        });
        Some(finished_with(Arc::new(Int64Array::from(values)), failed))
    }

    fn encode(&self, state: &Set, out: &mut Vec<u8>) {
        match state {
            Set::TooMany => put_varint(out, TOO_MANY),
            Set::Values(values) if values.is_empty() => {}
            Set::Values(values) => {
                put_varint(out, values.len() as u64);
                values.iter().for_each(|value| put_bytes(out, value));
            }
        }
    }

    fn finish(&self, states: &[Set]) -> Finished {
        let count = |state: &Set| match state {
            Set::Values(values) => Some(values.len() as i64),
            Set::TooMany => None,
        };
        let values = states.iter().map(count).collect::<Int64Array>();
        finished_with(Arc::new(values), states.iter().map(|state| *state == Set::TooMany).collect())
    }

    fn heap_size(state: &Set) -> usize {
        match state {
            // Long values lie on the heap of their own; counting them would cost a walk over the set.
            Set::Values(values) => values.len() * 2 * size_of::<Value>(),
            Set::TooMany => 0,
        }
    }
}
