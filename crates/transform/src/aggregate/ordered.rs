//! Aggregates that depend on the order of events: `first_value`, `last_value`, `nth_value`, `array_agg`.
//!
//! Order is by order key and, where two rows share one (only possible in hand-written SQL), by value, so that these too are
//! functions of a set.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use lockstep_model::codec::{CodecError, Reader, put_bytes, put_varint};

use super::column::{ValueType, View};
use super::kernel::{Kernel, Way, finished, finished_with};
use super::{Finished, Rows};

/// One row: its order key, and its value's canonical bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    key: Vec<u8>,
    present: bool,
    value: Vec<u8>,
}

impl Entry {
    /// Overwrites the entry and keeps its memory.
    fn set(&mut self, key: &[u8], view: &View<'_>, row: usize) {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        self.present = view.is_valid(row);
        if self.present {
            view.put(row, &mut self.value);
        }
    }

    fn value(&self) -> Option<&[u8]> {
        self.present.then_some(self.value.as_slice())
    }

    /// `key length ‖ key ‖ 0`, or `key length ‖ key ‖ 1 + value length ‖ value`.
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.key);
        put_varint(out, if self.present { 1 + self.value.len() as u64 } else { 0 });
        out.extend_from_slice(&self.value);
    }

    fn decode(&mut self, reader: &mut Reader<'_>, value_type: &ValueType) -> Result<(), CodecError> {
        let key = reader.bytes()?;
        let tag = reader.varint()?;
        let value = match tag.checked_sub(1) {
            None => &[],
            Some(len) => {
                let value = usize::try_from(len).map_err(|_| CodecError::new("value too long")).and_then(|len| reader.take(len))?;
                value_type.check(value)?;
                value
            }
        };
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        self.value.extend_from_slice(value);
        self.present = tag > 0;
        Ok(())
    }

    fn heap_size(&self) -> usize {
        self.key.capacity() + self.value.capacity()
    }
}

/// Which end of the order a ranked aggregate counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    First,
    Last,
}

/// The n-th value from one end.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    pub(crate) argument: ValueType,
    pub(crate) end: End,
    /// From 1.
    pub(crate) rank: usize,
    pub(crate) ignore_nulls: bool,
}

/// The entries nearest to the end, nearest first, at most as many as the rank.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nearest {
    entries: Vec<Entry>,
    /// An entry whose memory serves the next one.
    spare: Entry,
}

impl Ranked {
    /// Whether `a` is nearer to the end than `b`.
    fn nearer(&self, order: Ordering) -> bool {
        match self.end {
            End::First => order == Ordering::Less,
            End::Last => order == Ordering::Greater,
        }
    }

    /// Whether an entry of this key can still be among the nearest.
    fn wants(&self, state: &Nearest, key: &[u8]) -> bool {
        let farthest = state.entries.get(self.rank - 1);
        farthest.is_none_or(|entry| key == entry.key.as_slice() || self.nearer(key.cmp(&entry.key)))
    }

    /// Puts the spare entry where it belongs.
    fn place_spare(&self, state: &mut Nearest) {
        let spare = std::mem::take(&mut state.spare);
        let at = state.entries.partition_point(|entry| !self.nearer(spare.cmp(entry)));
        state.entries.insert(at, spare);
        if state.entries.len() > self.rank {
            state.spare = state.entries.pop().unwrap_or_default();
        }
    }
}

impl Kernel for Ranked {
    type State = Nearest;
    const INVERTIBLE: bool = false;

    fn name(&self) -> String {
        let nulls = if self.ignore_nulls { " ignore nulls" } else { "" };
        match (self.end, self.rank) {
            (End::First, 1) => format!("first_value{nulls}"),
            (End::Last, 1) => format!("last_value{nulls}"),
            (End::First, rank) => format!("nth_value {rank}{nulls}"),
            (End::Last, rank) => format!("nth_value -{rank}{nulls}"),
        }
    }

    fn return_type(&self) -> DataType {
        self.argument.data_type.clone()
    }

    fn fold(&self, states: &mut [Nearest], rows: Rows<'_>, _: Way) {
        let view = self.argument.view(&rows.args[0]);
        for &(row, group) in rows.pairs {
            let (row, state) = (row as usize, &mut states[group as usize]);
            let key = rows.order.get(row);
            if (self.ignore_nulls && !view.is_valid(row)) || !self.wants(state, key) {
                continue;
            }
            state.spare.set(key, &view, row);
            self.place_spare(state);
        }
    }

    fn merge(&self, state: &mut Nearest, bytes: &mut Reader<'_>, _: Way) -> Result<(), CodecError> {
        while !bytes.is_empty() {
            state.spare.decode(bytes, &self.argument)?;
            self.place_spare(state);
        }
        Ok(())
    }

    fn absorb(&self, state: &mut Nearest, other: &Nearest, _: Way) {
        for entry in &other.entries {
            // Nearest first: what comes after one that is not wanted is not wanted either.
            if !self.wants(state, &entry.key) {
                return;
            }
            state.spare.clone_from(entry);
            self.place_spare(state);
        }
    }

    fn encode(&self, state: &Nearest, out: &mut Vec<u8>) {
        for entry in &state.entries {
            entry.encode(out);
        }
    }

    fn finish(&self, states: &[Nearest]) -> Finished {
        let value = |state: &'_ Nearest| state.entries.get(self.rank - 1).and_then(|entry| entry.value().map(<[u8]>::to_vec));
        let values: Vec<_> = states.iter().map(value).collect();
        finished(self.argument.build(values.iter().map(Option::as_deref)))
    }

    fn heap_size(state: &Nearest) -> usize {
        state.entries.capacity() * size_of::<Entry>() + state.entries.iter().chain([&state.spare]).map(Entry::heap_size).sum::<usize>()
    }
}

/// `array_agg`: all values in order, up to a limit.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) argument: ValueType,
    pub(crate) ignore_nulls: bool,
    pub(crate) limit: usize,
}

impl List {
    /// The type of a list of values.
    pub(crate) fn result(argument: &DataType) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(argument.clone(), true)))
    }

    fn step(&self, state: &mut VecDeque<Entry>, entry: Entry, way: Way) {
        // Rows mostly come in order, and leave in order.
        let in_order = state.back().is_none_or(|last| *last <= entry);
        match way {
            Way::In if in_order => state.push_back(entry),
            Way::In => {
                let at = state.partition_point(|held| *held <= entry);
                state.insert(at, entry);
            }
            Way::Out => {
                if let Ok(at) = state.binary_search(&entry) {
                    state.remove(at);
                }
            }
        }
    }

    fn build(&self, states: &[VecDeque<Entry>], kept: &[bool]) -> ArrayRef {
        let mut entries = Vec::new();
        let mut lengths = Vec::with_capacity(states.len());
        for (state, &kept) in states.iter().zip(kept) {
            let state = kept.then_some(state);
            lengths.push(state.map_or(0, VecDeque::len));
            entries.extend(state.into_iter().flatten().map(Entry::value));
        }
        let values = self.argument.build(entries.into_iter());
        let field = Arc::new(Field::new_list_field(self.argument.data_type.clone(), true));
        Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, Some(NullBuffer::from(kept))))
    }
}

impl Kernel for List {
    type State = VecDeque<Entry>;
    const INVERTIBLE: bool = true;
    const TILED: bool = false;
    const GROWS: bool = true;

    fn name(&self) -> String {
        format!("array_agg{} limit {}", if self.ignore_nulls { " ignore nulls" } else { "" }, self.limit)
    }

    fn return_type(&self) -> DataType {
        List::result(&self.argument.data_type)
    }

    fn fold(&self, states: &mut [VecDeque<Entry>], rows: Rows<'_>, way: Way) {
        let view = self.argument.view(&rows.args[0]);
        for &(row, group) in rows.pairs {
            let row = row as usize;
            if self.ignore_nulls && !view.is_valid(row) {
                continue;
            }
            let mut entry = Entry::default();
            entry.set(rows.order.get(row), &view, row);
            self.step(&mut states[group as usize], entry, way);
        }
    }

    fn merge(&self, state: &mut VecDeque<Entry>, bytes: &mut Reader<'_>, way: Way) -> Result<(), CodecError> {
        while !bytes.is_empty() {
            let mut entry = Entry::default();
            entry.decode(bytes, &self.argument)?;
            self.step(state, entry, way);
        }
        Ok(())
    }

    fn absorb(&self, state: &mut VecDeque<Entry>, other: &VecDeque<Entry>, way: Way) {
        other.iter().for_each(|entry| self.step(state, entry.clone(), way));
    }

    fn encode(&self, state: &VecDeque<Entry>, out: &mut Vec<u8>) {
        for entry in state {
            entry.encode(out);
        }
    }

    fn finish(&self, states: &[VecDeque<Entry>]) -> Finished {
        let failed: Vec<bool> = states.iter().map(|state| state.len() > self.limit).collect();
        let kept: Vec<bool> = states.iter().zip(&failed).map(|(state, failed)| !failed && !state.is_empty()).collect();
        finished_with(self.build(states, &kept), failed)
    }

    fn heap_size(state: &VecDeque<Entry>) -> usize {
        state.capacity() * size_of::<Entry>() + state.iter().map(Entry::heap_size).sum::<usize>()
    }
}
