//! What a read has gathered before it makes values of it: rows at the edges, and sums that frames share.

use smallvec::SmallVec;

use super::measure::Measures;
use super::node::Row;
use crate::aggregate::{Groups, OrderKeys};

/// Rows gathered at edges, copied out of the nodes they were found in.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// Start of the key, start of the arguments, end of both.
    spans: Vec<(usize, usize, usize)>,
}

impl Gathered {
    /// None yet, with room for those of so many requests: for a run at each edge of a few frames.
    pub(super) fn with_room(requests: usize) -> Self {
        Gathered { bytes: Vec::with_capacity(requests << 10), spans: Vec::with_capacity(requests * 32) }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Adds one, and returns its number.
    pub(super) fn push(&mut self, row: &Row<'_>) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row.key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(row.args);
        self.spans.push((start, middle, self.bytes.len()));
        (self.spans.len() - 1) as u32
    }

    /// The stored arguments of one.
    pub(super) fn args(&self, row: usize) -> &[u8] {
        let (_, middle, end) = self.spans[row];
        &self.bytes[middle..end]
    }
}

impl OrderKeys for Gathered {
    fn get(&self, row: usize) -> &[u8] {
        let (start, middle, _) = self.spans[row];
        &self.bytes[start..middle]
    }
}

/// Sums of tiles that lie inside the same frames, more than one: merged once, and their sum then into each of the frames. Windows of an hour, a day and a
/// month share most of what they hold.
#[derive(Default)]
pub(super) struct Shared {
    /// Per request: frames, as bits, and the group of their sum. Empty before anything is shared.
    pub(super) of: Vec<SmallVec<[(u64, usize); 2]>>,
    /// How many groups there are.
    count: usize,
    /// Per measure.
    pub(super) groups: Vec<Box<dyn Groups>>,
}

impl Shared {
    /// The group of these frames of a request, which is one of `requests`.
    pub(super) fn group(&mut self, measures: &Measures, requests: usize, request: usize, frames: u64) -> usize {
        if self.of.is_empty() {
            self.of.resize_with(requests, SmallVec::new);
            self.groups = measures.groups();
        }
        if let Some(&(_, group)) = self.of[request].iter().find(|&&(of, _)| of == frames) {
            return group;
        }
        let group = self.count;
        self.of[request].push((frames, group));
        self.count += 1;
        self.groups.iter_mut().for_each(|groups| groups.resize(self.count.next_power_of_two()));
        group
    }
}
