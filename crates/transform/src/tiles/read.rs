//! Reading the value of every frame at a moment: the only way state becomes a value.
//!
//! All requests walk their trees together, level by level: one batched read per level. A tile that lies inside a frame is merged;
//! one that an edge cuts is followed down; rows at the edges are gathered and folded in one go, measure by measure.

use arrow::array::{ArrayRef, BooleanArray};
use lockstep_model::codec::{CodecError, Reader};
use lockstep_model::{Error, StateKey, StateRead, TimeMode};

use super::gathered::{Gathered, Shared};
use super::measure::Measures;
use super::node::{self, FANOUT, Leaf, Node, Page, Row, Rows as StoredRows, TileMeta};
use super::order::{self, Cover, Path, TimeRange};
use super::plan::ReadPlan;
use crate::aggregate::{Groups, OrderKeys, Rows};

/// One entity at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Encoded entity key.
    pub entity: &'a [u8],
    /// The moment t, µs.
    pub at: i64,
}

/// What a read cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Keys asked for.
    pub keys: u64,
    /// Bytes of the values found.
    pub bytes: u64,
    /// Events folded one by one.
    pub rows: u64,
    /// Tiles merged, counted once per frame.
    pub tiles: u64,
    /// Batched reads.
    pub rounds: u64,
}

/// Something a value came from, for `--explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Index of the request.
    pub request: usize,
    /// Index of the frame.
    pub frame: usize,
    /// What it is.
    pub kind: TouchKind,
    /// First and last event time that can lie in it, µs.
    pub span: (i64, i64),
    /// Events in it.
    pub rows: u64,
}

/// A whole tile, or a single event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchKind {
    /// A tile merged whole.
    Tile,
    /// An event folded by itself.
    Event,
}

/// Values of all requests.
#[derive(Debug)]
pub struct Values {
    /// Per output of the plan: one value per request.
    pub columns: Vec<ArrayRef>,
    /// Per output: requests whose value could not be computed.
    pub errors: Vec<Option<BooleanArray>>,
    /// Per request: time of the newest event that counts at its moment, µs; `None` without one.
    pub newest: Vec<Option<i64>>,
    /// What it cost.
    pub stats: ReadStats,
}

/// Reads, at each request's moment, each output of the plan. A touch is recorded for all that is used where `touches` is given.
pub fn read_at(
    plan: &ReadPlan,
    measures: &Measures,
    state: &dyn StateRead,
    requests: &[Request<'_>],
    mode: TimeMode,
    touches: Option<&mut Vec<Touch>>,
) -> Result<Values, Error> {
    let mut walk = Walk::new(plan, measures, requests, mode, touches);
    walk.heads(state)?;
    walk.trees(state)?;
    walk.choose_last_rows();
    Ok(walk.finish()?)
}

/// A node to visit and why.
struct Visit {
    request: usize,
    path: Path,
    duty: Duty,
}

/// What is wanted from a node.
#[derive(Debug, Clone, Copy, Default)]
struct Duty {
    /// Frames (bits) it may hold events of.
    frames: u64,
    /// How many of its newest rows up to t are wanted for `ROWS` frames.
    newest_rows: u64,
    /// Whether the newest event time is wanted.
    newest: bool,
}

impl Duty {
    fn is_none(self) -> bool {
        self.frames == 0 && self.newest_rows == 0 && !self.newest
    }
}

struct Walk<'a> {
    plan: &'a ReadPlan,
    measures: &'a Measures,
    requests: &'a [Request<'a>],
    mode: TimeMode,
    touches: Option<&'a mut Vec<Touch>>,
    /// Per request and frame: the moments inside.
    ranges: Vec<TimeRange>,
    groups: Vec<Box<dyn Groups>>,
    shared: Shared,
    gathered: Gathered,
    /// Per frame: `(gathered row, request)`.
    pairs: Vec<Vec<(u32, u32)>>,
    /// Candidates of all `ROWS` frames: `(request, gathered row)`.
    candidates: Vec<(u32, u32)>,
    newest: Vec<Option<i64>>,
    next: Vec<Visit>,
    stats: ReadStats,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a ReadPlan, measures: &'a Measures, requests: &'a [Request<'a>], mode: TimeMode, touches: Option<&'a mut Vec<Touch>>) -> Self {
        let mut groups = measures.groups();
        for (groups, frames) in groups.iter_mut().zip(&plan.frames_of) {
            groups.resize(frames.len() * requests.len());
        }
        Walk {
            plan,
            measures,
            requests,
            mode,
            touches,
            ranges: requests.iter().flat_map(|request| plan.frames.iter().map(|frame| frame.range(request.at))).collect(),
            groups,
            shared: Shared::default(),
            gathered: Gathered::with_room(requests.len()),
            pairs: plan.frames.iter().map(|_| Vec::with_capacity(requests.len() * 32)).collect(),
            candidates: Vec::new(),
            newest: vec![None; requests.len()],
            next: Vec::new(),
            stats: ReadStats::default(),
        }
    }

    /// Reads every head, takes its buffered rows, and plans to visit every root. Roots are asked for in the same read: most
    /// entities are one key and the store's filter answers for the root without touching a block.
    fn heads(&mut self, state: &dyn StateRead) -> Result<(), Error> {
        let duty = Duty { frames: self.plan.range_frames, newest_rows: self.plan.newest_rows, newest: true };
        let mut keys = Vec::with_capacity(2 * self.requests.len());
        for request in self.requests {
            keys.push(StateKey::head(request.entity));
            keys.push(StateKey::node(request.entity, Some((0, &[]))));
        }
        self.read(state, &keys, |walk, i, bytes| {
            let (request, Some(bytes)) = (i / 2, bytes) else { return Ok(()) };
            if i % 2 == 0 {
                return walk.take_rows(request, node::head_rows(bytes)?, duty);
            }
            walk.visit(&Visit { request, path: Path::root(), duty }, bytes)
        })
    }

    fn trees(&mut self, state: &dyn StateRead) -> Result<(), Error> {
        while !self.next.is_empty() {
            let visits = std::mem::take(&mut self.next);
            let key = |visit: &Visit| StateKey::node(self.requests[visit.request].entity, Some((visit.path.nibbles(), visit.path.prefix())));
            let keys: Vec<StateKey> = visits.iter().map(key).collect();
            self.read(state, &keys, |walk, i, bytes| match bytes {
                Some(bytes) => walk.visit(&visits[i], bytes),
                // Its page knows it, and no frame reaches back to what has expired.
                None if visits[i].duty.frames != 0 || visits[i].duty.newest_rows != 0 => Err(CodecError::new("a node is missing")),
                None => Ok(()),
            })?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        state: &dyn StateRead,
        keys: &[StateKey],
        mut found: impl FnMut(&mut Self, usize, Option<&[u8]>) -> Result<(), CodecError>,
    ) -> Result<(), Error> {
        let mut failed = None;
        self.stats.keys += keys.len() as u64;
        self.stats.rounds += 1;
        state.get_many(keys, &mut |i, bytes| {
            self.stats.bytes += bytes.map_or(0, |bytes| bytes.len() as u64);
            if failed.is_none() {
                failed = found(self, i, bytes).err();
            }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn visit(&mut self, visit: &Visit, bytes: &[u8]) -> Result<(), CodecError> {
        match node::decode_node(&visit.path, bytes)? {
            Node::Leaf(leaf) => self.visit_leaf(visit, &leaf),
            Node::Page(page) => self.visit_page(visit, &page),
        }
    }

    fn is_visible(&self, row: &Row<'_>, at: i64) -> bool {
        match self.mode {
            TimeMode::Event => row.is_live(),
            TimeMode::Known => row.known_from <= at && (at < row.known_until || row.is_live()),
        }
    }

    fn take_rows(&mut self, request: usize, rows: StoredRows<'_>, duty: Duty) -> Result<(), CodecError> {
        let at = self.requests[request].at;
        for row in rows {
            let row = row?;
            let time = order::time_of(row.key);
            if time > at {
                break;
            }
            if self.is_visible(&row, at) {
                self.take_row(request, &row, time, duty);
            }
        }
        Ok(())
    }

    fn take_row(&mut self, request: usize, row: &Row<'_>, time: i64, duty: Duty) {
        self.newest[request] = self.newest[request].max(Some(time));
        let first_range = request * self.plan.frames.len();
        let mut gathered = None;
        for frame in bits(duty.frames) {
            if self.ranges[first_range + frame].contains(time) {
                let index = *gathered.get_or_insert_with(|| self.gathered.push(row));
                self.pairs[frame].push((index, request as u32));
            }
        }
        if duty.newest_rows > 0 {
            let index = gathered.unwrap_or_else(|| self.gathered.push(row));
            self.candidates.push((request as u32, index));
        }
    }

    /// Takes a page's tiles, and plans visits of the children that an edge cuts. From the newest slot to the oldest, so that the wish for the
    /// newest rows is met on the way.
    fn visit_page(&mut self, visit: &Visit, page: &Page<'_>) -> Result<(), CodecError> {
        let mut wanted = visit.duty;
        for slot in (0..FANOUT).rev() {
            let Some(tile) = page.tiles[slot] else { continue };
            let span = order::slot_bounds(page.prefix, page.nibbles, slot);
            let duty = self.take_tile(visit.request, &mut wanted, span, tile)?;
            if !duty.is_none() {
                self.next.push(Visit { request: visit.request, path: page.child(slot), duty });
            }
        }
        Ok(())
    }

    /// Takes a leaf's tiles, and the rows of runs that an edge cuts.
    fn visit_leaf(&mut self, visit: &Visit, leaf: &Leaf<'_>) -> Result<(), CodecError> {
        let mut wanted = visit.duty;
        let mut last = visit.path.time_bounds().1;
        for run in leaf.runs.iter().rev() {
            let Some((first, tile)) = run.tile else { return self.take_rows(visit.request, run.rows()?, wanted) };
            let duty = self.take_tile(visit.request, &mut wanted, (first, last), tile)?;
            if !duty.is_none() {
                self.take_rows(visit.request, run.rows()?, duty)?;
            }
            last = first;
        }
        Ok(())
    }

    /// Merges a tile of events that lie in `span` into the frames that hold all of them. Takes from `wanted` what it has given, and returns what has to be
    /// looked for below it.
    fn take_tile(&mut self, request: usize, wanted: &mut Duty, span: (i64, i64), tile: &[u8]) -> Result<Duty, CodecError> {
        let at = self.requests[request].at;
        let first_range = request * self.plan.frames.len();
        let cover = |walk: &Self, frame: usize, span: (i64, i64)| walk.ranges[first_range + frame].cover(span.0, span.1);
        let touched = bits(wanted.frames).any(|frame| cover(self, frame, span) != Cover::Outside);
        if span.0 > at || !(touched || wanted.newest || wanted.newest_rows > 0) {
            return Ok(Duty::default());
        }
        let mut reader = Reader::new(tile);
        let meta = TileMeta::decode(&mut reader)?;
        let settled = self.mode == TimeMode::Event || meta.known_max <= at;
        // What is settled counts by its winners alone, and there is none after the newest: a moment after it cuts nothing off.
        let winners = if settled { (span.0, span.1.min(meta.newest)) } else { span };
        let whole = settled && winners.1 <= at;
        if whole && meta.live == 0 {
            return Ok(Duty::default());
        }
        let mut duty = Duty::default();
        let mut inside = 0u64;
        for frame in bits(wanted.frames) {
            match cover(self, frame, winners) {
                Cover::Outside => {}
                Cover::Inside if settled && self.plan.untiled_frames & (1 << frame) == 0 => inside |= 1 << frame,
                _ => duty.frames |= 1 << frame,
            }
        }
        if inside != 0 {
            self.merge(request, inside, span, &meta, reader)?;
        }
        if wanted.newest_rows > 0 {
            duty.newest_rows = wanted.newest_rows;
            wanted.newest_rows -= if whole { meta.live.min(wanted.newest_rows) } else { 0 };
        }
        if wanted.newest {
            if whole {
                self.newest[request] = self.newest[request].max(Some(meta.newest));
                wanted.newest = false;
            } else {
                duty.newest = true;
            }
        }
        Ok(duty)
    }

    fn merge(&mut self, request: usize, frames: u64, span: (i64, i64), meta: &TileMeta, states: Reader<'_>) -> Result<(), CodecError> {
        if frames.is_power_of_two() {
            self.merge_alone(request, frames.trailing_zeros() as usize, states)?;
        } else {
            self.merge_shared(request, frames, states)?;
        }
        self.stats.tiles += u64::from(frames.count_ones());
        if let Some(touches) = &mut self.touches {
            touches.extend(bits(frames).map(|frame| Touch { request, frame, kind: TouchKind::Tile, span, rows: meta.live }));
        }
        Ok(())
    }

    fn merge_alone(&mut self, request: usize, frame: usize, mut states: Reader<'_>) -> Result<(), CodecError> {
        for (groups, frames_of) in self.groups.iter_mut().zip(&self.plan.frames_of) {
            let state = states.bytes()?;
            if let Some(at) = frames_of.iter().position(|&of| of == frame) {
                groups.merge(at * self.requests.len() + request, state)?;
            }
        }
        Ok(())
    }

    fn merge_shared(&mut self, request: usize, frames: u64, mut states: Reader<'_>) -> Result<(), CodecError> {
        let group = self.shared.group(self.measures, self.requests.len(), request, frames);
        for (groups, frames_of) in self.shared.groups.iter_mut().zip(&self.plan.frames_of) {
            let state = states.bytes()?;
            if frames_of.iter().any(|&frame| frames & (1 << frame) != 0) {
                groups.merge(group, state)?;
            }
        }
        Ok(())
    }

    /// Merges what frames share into each of them.
    fn part_shared(&mut self) -> Result<(), CodecError> {
        let requests = self.requests.len();
        let mut state = Vec::new();
        for ((groups, shared), frames_of) in self.groups.iter_mut().zip(&self.shared.groups).zip(&self.plan.frames_of) {
            for (request, &(frames, group)) in self.shared.of.iter().enumerate().flat_map(|(request, of)| of.iter().map(move |of| (request, of))) {
                state.clear();
                shared.encode(group, &mut state);
                for (at, _) in frames_of.iter().enumerate().filter(|&(_, &frame)| frames & (1 << frame) != 0) {
                    groups.merge(at * requests + request, &state)?;
                }
            }
        }
        Ok(())
    }

    /// Of all candidates, the rows that each `ROWS` frame counts.
    fn choose_last_rows(&mut self) {
        if self.plan.rows_frames == 0 {
            return;
        }
        let gathered = &self.gathered;
        self.candidates.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| gathered.get(b.1 as usize).cmp(gathered.get(a.1 as usize))));
        for newest_first in self.candidates.chunk_by(|a, b| a.0 == b.0) {
            let request = newest_first[0].0 as usize;
            for frame in bits(self.plan.rows_frames) {
                let range = self.ranges[request * self.plan.frames.len() + frame];
                let Some(last) = self.plan.frames[frame].last else { continue };
                let inside = newest_first.iter().filter(|(_, row)| range.contains(order::time_of(gathered.get(*row as usize))));
                let n = last.n.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
                let chosen = inside.skip(usize::try_from(last.skip).unwrap_or(usize::MAX)).take(n);
                self.pairs[frame].extend(chosen.map(|&(request, row)| (row, request)));
            }
        }
    }

    fn finish(mut self) -> Result<Values, CodecError> {
        self.part_shared()?;
        self.fold_gathered()?;
        let requests = self.requests.len();
        let finished: Vec<_> = self.groups.iter().map(|groups| groups.finish()).collect();
        let outputs = self.plan.outputs.iter();
        let (columns, errors) = outputs.map(|&(measure, place)| finished[measure].slice(place * requests, requests)).unzip();
        Ok(Values { columns, errors, newest: self.newest, stats: self.stats })
    }

    fn fold_gathered(&mut self) -> Result<(), CodecError> {
        let rows = self.gathered.len();
        self.stats.rows = rows as u64;
        self.record_events();
        if rows == 0 {
            return Ok(());
        }
        let columns = self.measures.codec.decode((0..rows).map(|row| self.gathered.args(row)))?;
        let requests = self.requests.len() as u32;
        let (mut pairs, mut filtered) = (Vec::new(), Vec::new());
        let mut pairs_of: Option<&[usize]> = None;
        for ((measure, groups), frames) in self.measures.measures.iter().zip(&mut self.groups).zip(&self.plan.frames_of) {
            // Most measures are read over the same frames as the one before.
            if pairs_of != Some(frames) {
                pairs.clear();
                for (at, &frame) in frames.iter().enumerate() {
                    let first = at as u32 * requests;
                    pairs.extend(self.pairs[frame].iter().map(|&(row, request)| (row, first + request)));
                }
                pairs_of = Some(frames);
            }
            let pairs = measure.filtered(&columns, &pairs, &mut filtered);
            if !pairs.is_empty() {
                groups.update(Rows { args: &measure.args(&columns), pairs, order: &self.gathered });
            }
        }
        Ok(())
    }

    fn record_events(&mut self) {
        let Some(touches) = &mut self.touches else { return };
        for (frame, pairs) in self.pairs.iter().enumerate() {
            touches.extend(pairs.iter().map(|&(row, request)| {
                let time = order::time_of(self.gathered.get(row as usize));
                Touch { request: request as usize, frame, kind: TouchKind::Event, span: (time, time), rows: 1 }
            }));
        }
    }
}

/// The set bits of a mask, ascending.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    })
}

impl std::ops::AddAssign for ReadStats {
    fn add_assign(&mut self, other: ReadStats) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.rows += other.rows;
        self.tiles += other.tiles;
        self.rounds += other.rounds;
    }
}
