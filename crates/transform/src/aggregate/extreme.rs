//! `min` and `max`: the state is the value.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use lockstep_model::codec::{CodecError, Reader};

use super::column::{Cells, Shape, ValueType, bytes_at, put_wide, put_word, wide};
use super::kernel::{Kernel, Way, finished, fold_values};
use super::{Finished, Rows};

/// `max` or `min` of a type held in words.
#[derive(Debug, Clone)]
pub(crate) struct WordExtreme {
    pub(crate) max: bool,
    pub(crate) argument: ValueType,
}

/// `max` or `min` of decimals.
#[derive(Debug, Clone)]
pub(crate) struct WideExtreme {
    pub(crate) max: bool,
    pub(crate) argument: ValueType,
}

/// `max` or `min` of strings and binaries, compared as bytes.
#[derive(Debug, Clone)]
pub(crate) struct BytesExtreme {
    pub(crate) max: bool,
    pub(crate) argument: ValueType,
}

fn name(max: bool) -> String {
    if max { "max" } else { "min" }.into()
}

/// Keeps the greater, or the smaller, of both.
#[inline(always)]
fn offer<T: PartialOrd + Copy>(max: bool, state: &mut Option<T>, value: T) {
    let wins = match *state {
        None => true,
        Some(held) => (value > held) == max && value != held,
    };
    if wins {
        *state = Some(value);
    }
}

impl Kernel for WordExtreme {
    type State = Option<u64>;
    const INVERTIBLE: bool = false;

    fn name(&self) -> String {
        name(self.max)
    }

    fn return_type(&self) -> DataType {
        self.argument.data_type.clone()
    }

    fn fold(&self, states: &mut [Option<u64>], rows: Rows<'_>, _: Way) {
        let view = self.argument.view(&rows.args[0]);
        if let Cells::Words(_, words) = &view.cells {
            fold_values(states, rows, view.nulls.as_ref(), words, |state, word| offer(self.max, state, word));
        }
    }

    fn merge(&self, state: &mut Option<u64>, bytes: &mut Reader<'_>, _: Way) -> Result<(), CodecError> {
        offer(self.max, state, self.argument.word(rest(bytes)?)?);
        Ok(())
    }

    fn absorb(&self, state: &mut Option<u64>, other: &Option<u64>, _: Way) {
        if let Some(word) = *other {
            offer(self.max, state, word);
        }
    }

    fn encode(&self, state: &Option<u64>, out: &mut Vec<u8>) {
        if let (&Some(word), Shape::Word(kind)) = (state, self.argument.shape) {
            put_word(kind, word, out);
        }
    }

    fn finish(&self, states: &[Option<u64>]) -> Finished {
        finished(self.argument.build_words(states.iter().copied()))
    }
}

impl Kernel for WideExtreme {
    type State = Option<i128>;
    const INVERTIBLE: bool = false;

    fn name(&self) -> String {
        name(self.max)
    }

    fn return_type(&self) -> DataType {
        self.argument.data_type.clone()
    }

    fn fold(&self, states: &mut [Option<i128>], rows: Rows<'_>, _: Way) {
        let view = self.argument.view(&rows.args[0]);
        if let Cells::Wide(values) = view.cells {
            fold_values(states, rows, view.nulls.as_ref(), values, |state, value| offer(self.max, state, value));
        }
    }

    fn merge(&self, state: &mut Option<i128>, bytes: &mut Reader<'_>, _: Way) -> Result<(), CodecError> {
        offer(self.max, state, wide(rest(bytes)?)?);
        Ok(())
    }

    fn absorb(&self, state: &mut Option<i128>, other: &Option<i128>, _: Way) {
        if let Some(value) = *other {
            offer(self.max, state, value);
        }
    }

    fn encode(&self, state: &Option<i128>, out: &mut Vec<u8>) {
        if let Some(value) = *state {
            put_wide(value, out);
        }
    }

    fn finish(&self, states: &[Option<i128>]) -> Finished {
        finished(self.argument.build_wide(states.iter().copied()))
    }
}

impl BytesExtreme {
    fn offer(&self, state: &mut Option<Vec<u8>>, value: &[u8]) {
        match state {
            None => *state = Some(value.to_vec()),
            Some(held) if held.as_slice() != value && (value > held.as_slice()) == self.max => {
                held.clear();
                held.extend_from_slice(value);
            }
            Some(_) => {}
        }
    }
}

/// Precedes the value in its state, since an empty string is a value and no bytes are none.
const PRESENT: u8 = 1;

impl Kernel for BytesExtreme {
    type State = Option<Vec<u8>>;
    const INVERTIBLE: bool = false;

    fn name(&self) -> String {
        name(self.max)
    }

    fn return_type(&self) -> DataType {
        self.argument.data_type.clone()
    }

    fn fold(&self, states: &mut [Option<Vec<u8>>], rows: Rows<'_>, _: Way) {
        let column: &ArrayRef = &rows.args[0];
        let nulls = column.logical_nulls();
        for &(row, group) in rows.pairs {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row as usize)) {
                self.offer(&mut states[group as usize], bytes_at(column, row as usize));
            }
        }
    }

    fn merge(&self, state: &mut Option<Vec<u8>>, bytes: &mut Reader<'_>, _: Way) -> Result<(), CodecError> {
        if bytes.byte()? != PRESENT {
            return Err(CodecError::new("not the state of a minimum or maximum"));
        }
        let value = rest(bytes)?;
        self.argument.check(value)?;
        self.offer(state, value);
        Ok(())
    }

    fn absorb(&self, state: &mut Option<Vec<u8>>, other: &Option<Vec<u8>>, _: Way) {
        if let Some(value) = other {
            self.offer(state, value);
        }
    }

    fn encode(&self, state: &Option<Vec<u8>>, out: &mut Vec<u8>) {
        if let Some(value) = state {
            out.push(PRESENT);
            out.extend_from_slice(value);
        }
    }

    fn finish(&self, states: &[Option<Vec<u8>>]) -> Finished {
        finished(self.argument.build(states.iter().map(Option::as_deref)))
    }

    fn heap_size(state: &Option<Vec<u8>>) -> usize {
        state.as_ref().map_or(0, Vec::capacity)
    }
}

/// All bytes that are left.
fn rest<'a>(bytes: &mut Reader<'a>) -> Result<&'a [u8], CodecError> {
    bytes.take(bytes.rest().len())
}
