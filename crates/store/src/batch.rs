//! One atomic batch under construction.

use lockstep_model::{Error, Generation, StateWrite};
use rocksdb::WriteBatch;
use serde::Serialize;

use crate::database::Families;
use crate::layout::{self, Tag};
use crate::record::{self, PositionRecord};
use crate::{Commit, KeyWrite};

/// Rows of every family that become visible and durable together.
pub(crate) struct Batch<'a> {
    families: Families<'a>,
    rows: WriteBatch,
    key: Vec<u8>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(families: Families<'a>) -> Self {
        Batch { families, rows: WriteBatch::default(), key: Vec::new() }
    }

    /// An empty batch becomes one with room for what these commits put, so that large ones are not moved while they grow.
    pub(crate) fn make_room(&mut self, commits: &[Commit]) {
        if self.rows.is_empty() {
            self.rows = WriteBatch::with_capacity_bytes(commits.iter().map(size_of_rows).sum());
        }
    }

    pub(crate) fn into_rows(self) -> WriteBatch {
        self.rows
    }

    /// Everything of a commit but what the book adds up: counters and horizon.
    pub(crate) fn put_rows(&mut self, commit: &Commit) -> Result<(), Error> {
        let generation = commit.generation;
        commit.state.iter().for_each(|write| self.put_state(generation, write));
        commit.keys.iter().for_each(|write| self.put_key(generation, write));
        for (partition, position) in &commit.positions {
            let record = PositionRecord { partition: partition.clone(), position: position.clone() };
            self.put_record(layout::position_key(generation, partition), &record)?;
        }
        for refusal in &commit.refusals {
            let key = layout::ledger_key(generation, &refusal.partition, refusal.row);
            self.rows.put_cf(self.families.refusals, key, record::encode(refusal)?);
        }
        for letter in &commit.dead_letters {
            let key = layout::ledger_key(generation, &letter.partition, letter.row);
            self.rows.put_cf(self.families.dead_letters, key, record::encode_dead_letter(letter)?);
        }
        Ok(())
    }

    fn put_state(&mut self, generation: Generation, StateWrite { key, value }: &StateWrite) {
        layout::state_key(&mut self.key, generation, key.as_bytes());
        match value {
            Some(value) => self.rows.put_cf(self.families.state, &self.key, value),
            None => self.rows.delete_cf(self.families.state, &self.key),
        }
    }

    fn put_key(&mut self, generation: Generation, KeyWrite { source, key, value }: &KeyWrite) {
        layout::entry_key(&mut self.key, generation, *source, key);
        match value {
            Some(value) => self.rows.put_cf(self.families.keys, &self.key, value),
            None => self.rows.delete_cf(self.families.keys, &self.key),
        }
    }

    /// Puts a record of `meta`.
    pub(crate) fn put_record<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), Error> {
        self.rows.put_cf(self.families.meta, key, record::encode(value)?);
        Ok(())
    }

    /// Puts rows of a queue.
    pub(crate) fn put_outgoing(&mut self, key: &[u8], rows: &[u8]) {
        self.rows.put_cf(self.families.outbox, key, rows);
    }

    /// Deletes the rows of a queue from one key to before another.
    pub(crate) fn delete_outgoing(&mut self, from: &[u8], to: &[u8]) {
        self.rows.delete_range_cf(self.families.outbox, from, to);
    }

    /// Deletes all that belongs to a generation, but not the record that it was there.
    pub(crate) fn delete_generation(&mut self, generation: Generation) {
        let (from, to) = generation_range(generation);
        for family in self.families.of_generations() {
            self.rows.delete_range_cf(family, &from, &to);
        }
        for tag in Tag::OF_A_GENERATION {
            let from = tag.of(generation);
            let to = layout::after_prefix(&from);
            self.rows.delete_range_cf(self.families.meta, &from, &to);
        }
    }
}

/// About the bytes that state and dedup entries of a commit take in a batch.
fn size_of_rows(commit: &Commit) -> usize {
    /// Tag, family, lengths and the start of the physical key.
    const OVERHEAD: usize = 16;
    let state = commit.state.iter().map(|write| write.key.as_bytes().len() + write.value.as_ref().map_or(0, Vec::len) + OVERHEAD);
    let keys = commit.keys.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, |value| value.len()) + OVERHEAD);
    let out = commit.out.iter().map(|out| out.bytes.len() + out.queue.len() + OVERHEAD);
    state.chain(keys).chain(out).sum()
}

/// The physical keys of a generation: from the first to just past the last.
pub(crate) fn generation_range(generation: Generation) -> (Vec<u8>, Vec<u8>) {
    let from = generation.0.to_be_bytes().to_vec();
    let to = layout::after_prefix(&from);
    (from, to)
}
