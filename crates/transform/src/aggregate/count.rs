//! `count`, `bool_and`, `bool_or`: plain counters.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use lockstep_model::codec::{CodecError, Reader, put_varint};

use super::kernel::{Kernel, Way, finished};
use super::{Finished, Rows};

/// Rows whose arguments are all not NULL; every row where there are no arguments.
#[derive(Debug, Clone)]
pub(crate) struct Count;

impl Kernel for Count {
    type State = u64;
    const INVERTIBLE: bool = true;

    fn name(&self) -> String {
        "count".into()
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn fold(&self, states: &mut [u64], rows: Rows<'_>, way: Way) {
        let nulls = rows.args.iter().fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref()));
        for &(row, group) in rows.pairs {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row as usize)) {
                way.step(&mut states[group as usize]);
            }
        }
    }

    fn merge(&self, state: &mut u64, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        way.count(state, bytes.varint()?)
    }

    fn absorb(&self, state: &mut u64, other: &u64, way: Way) {
        way.steps(state, *other);
    }

    fn encode(&self, state: &u64, out: &mut Vec<u8>) {
        if *state > 0 {
            put_varint(out, *state);
        }
    }

    fn finish(&self, states: &[u64]) -> Finished {
        finished(Arc::new(Int64Array::from_iter_values(states.iter().map(|&count| count as i64))))
    }
}

/// `bool_and` (`all`) or `bool_or`.
#[derive(Debug, Clone)]
pub(crate) struct Booleans {
    pub(crate) all: bool,
}

/// How many of each, so that either can be taken out again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Votes {
    yes: u64,
    no: u64,
}

impl Kernel for Booleans {
    type State = Votes;
    const INVERTIBLE: bool = true;

    fn name(&self) -> String {
        if self.all { "bool_and" } else { "bool_or" }.into()
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn fold(&self, states: &mut [Votes], rows: Rows<'_>, way: Way) {
        let column = rows.args[0].as_boolean();
        for &(row, group) in rows.pairs {
            if column.is_valid(row as usize) {
                let votes = &mut states[group as usize];
                way.step(if column.value(row as usize) { &mut votes.yes } else { &mut votes.no });
            }
        }
    }

    fn merge(&self, state: &mut Votes, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        let (yes, no) = (bytes.varint()?, bytes.varint()?);
        way.count(&mut state.yes, yes)?;
        way.count(&mut state.no, no)
    }

    fn absorb(&self, state: &mut Votes, other: &Votes, way: Way) {
        way.steps(&mut state.yes, other.yes);
        way.steps(&mut state.no, other.no);
    }

    fn encode(&self, state: &Votes, out: &mut Vec<u8>) {
        if state.yes > 0 || state.no > 0 {
            put_varint(out, state.yes);
            put_varint(out, state.no);
        }
    }

    fn finish(&self, states: &[Votes]) -> Finished {
        let value = |votes: &Votes| match (votes.yes, votes.no) {
            (0, 0) => None,
            (yes, no) => Some(if self.all { no == 0 } else { yes > 0 }),
        };
        finished(Arc::new(states.iter().map(value).collect::<BooleanArray>()))
    }
}
