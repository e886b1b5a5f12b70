//! Reading the value of every frame at a moment: the only way state becomes a value.
//!
//! All requests walk their trees together, level by level: one batched read per level. A tile that lies inside a frame is merged;
//! one that an edge cuts is followed down; rows at the edges are gathered and folded in one go, measure by measure.

use arrow::array::{ArrayRef, BooleanArray};
use lockstep_model::codec::{CodecError, Reader};
use lockstep_model::{Error, StateKey, StateRead, TimeMode};

use super::frame::Frame;
use super::measure::Measures;
use super::node::{self, FANOUT, Node, Page, Row, TileMeta};
use super::order::{self, Cover, Path, TimeRange};
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

/// Reads, at each request's moment, each `(measure, frame)` of `outputs`. A touch is recorded for all that is used where `touches` is given.
pub fn read_at(
    measures: &Measures,
    frames: &[Frame],
    outputs: &[(usize, usize)],
    state: &dyn StateRead,
    requests: &[Request<'_>],
    mode: TimeMode,
    touches: Option<&mut Vec<Touch>>,
) -> Result<Values, Error> {
    let mut walk = Walk::new(measures, frames, outputs, requests, mode, touches);
    walk.heads(state)?;
    walk.trees(state)?;
    walk.choose_last_rows();
    Ok(walk.finish(outputs)?)
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

/// Rows gathered at edges, copied out of the nodes they were found in.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Start of the key, start of the arguments, end of both.
    spans: Vec<(usize, usize, usize)>,
}

impl Gathered {
    fn push(&mut self, row: &Row<'_>) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row.key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(row.args);
        self.spans.push((start, middle, self.bytes.len()));
        (self.spans.len() - 1) as u32
    }

    fn args(&self, row: usize) -> &[u8] {
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

struct Walk<'a> {
    measures: &'a Measures,
    frames: &'a [Frame],
    requests: &'a [Request<'a>],
    mode: TimeMode,
    touches: Option<&'a mut Vec<Touch>>,
    /// Per measure: the frames it is read over, in the order of its groups.
    frames_of: Vec<Vec<usize>>,
    /// Frames without and with a bound by rows, as bits.
    range_frames: u64,
    rows_frames: u64,
    /// Frames that some measure without tiles is read over: nothing of them can be merged.
    untiled_frames: u64,
    newest_rows: u64,
    /// Per request and frame: the moments inside.
    ranges: Vec<TimeRange>,
    groups: Vec<Box<dyn Groups>>,
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
    fn new(
        measures: &'a Measures,
        frames: &'a [Frame],
        outputs: &[(usize, usize)],
        requests: &'a [Request<'a>],
        mode: TimeMode,
        touches: Option<&'a mut Vec<Touch>>,
    ) -> Self {
        let mut frames_of = vec![Vec::new(); measures.measures.len()];
        let (mut range_frames, mut rows_frames, mut untiled_frames, mut newest_rows) = (0u64, 0u64, 0u64, 0u64);
        for &(measure, frame) in outputs {
            if !frames_of[measure].contains(&frame) {
                frames_of[measure].push(frame);
            }
            match frames[frame].last {
                None => range_frames |= 1 << frame,
                Some(last) => {
                    rows_frames |= 1 << frame;
                    newest_rows = newest_rows.max(last.reach());
                }
            }
            if !measures.measures[measure].tiled {
                untiled_frames |= 1 << frame;
            }
        }
        let ranges = requests.iter().flat_map(|request| frames.iter().map(|frame| frame.range(request.at))).collect();
        let mut groups = measures.groups();
        for (groups, frames) in groups.iter_mut().zip(&frames_of) {
            groups.resize(frames.len() * requests.len());
        }
        Walk {
            measures,
            frames,
            requests,
            mode,
            touches,
            frames_of,
            range_frames,
            rows_frames,
            untiled_frames,
            newest_rows,
            ranges,
            groups,
            gathered: Gathered::default(),
            pairs: vec![Vec::new(); frames.len()],
            candidates: Vec::new(),
            newest: vec![None; requests.len()],
            next: Vec::new(),
            stats: ReadStats::default(),
        }
    }

    /// Reads every head, takes its buffered rows, and plans to visit every root. Roots are asked for in the same read: most
    /// entities are one key and the store's filter answers for the root without touching a block.
    fn heads(&mut self, state: &dyn StateRead) -> Result<(), Error> {
        let duty = Duty { frames: self.range_frames, newest_rows: self.newest_rows, newest: true };
        let mut keys = Vec::with_capacity(2 * self.requests.len());
        for request in self.requests {
            keys.push(StateKey::head(request.entity));
            keys.push(StateKey::node(request.entity, Some((0, &[]))));
        }
        self.read(state, &keys, |walk, i, bytes| {
            let (request, Some(bytes)) = (i / 2, bytes) else { return Ok(()) };
            if i % 2 == 0 {
                let rows = node::decode_head(bytes)?;
                rows.iter().for_each(|row| walk.take_row(request, row, duty));
                return Ok(());
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
            Node::Leaf(rows) => {
                rows.iter().for_each(|row| self.take_row(visit.request, row, visit.duty));
                Ok(())
            }
            Node::Page(page) => self.visit_page(visit, &page),
        }
    }

    fn is_visible(&self, row: &Row<'_>, at: i64) -> bool {
        match self.mode {
            TimeMode::Event => row.is_live(),
            TimeMode::Known => row.known_from <= at && (at < row.known_until || row.is_live()),
        }
    }

    fn take_row(&mut self, request: usize, row: &Row<'_>, duty: Duty) {
        let at = self.requests[request].at;
        let time = order::time_of(row.key);
        if time > at || !self.is_visible(row, at) {
            return;
        }
        self.newest[request] = self.newest[request].max(Some(time));
        let mut gathered = None;
        for frame in bits(duty.frames) {
            if self.ranges[request * self.frames.len() + frame].contains(time) {
                let index = *gathered.get_or_insert_with(|| self.gathered.push(row));
                self.pairs[frame].push((index, request as u32));
            }
        }
        if duty.newest_rows > 0 {
            let index = gathered.unwrap_or_else(|| self.gathered.push(row));
            self.candidates.push((request as u32, index));
        }
    }

    /// Merges what lies inside, plans visits of what is cut. From the newest slot to the oldest, so that the wish for the newest rows is met on the way.
    fn visit_page(&mut self, visit: &Visit, page: &Page<'_>) -> Result<(), CodecError> {
        let at = self.requests[visit.request].at;
        let mut wanted = visit.duty;
        for slot in (0..FANOUT).rev() {
            let Some(tile) = page.tiles[slot] else { continue };
            let mut reader = Reader::new(tile);
            let meta = TileMeta::decode(&mut reader)?;
            let path = page.child(slot);
            let span = path.time_bounds();
            if span.0 > at {
                continue;
            }
            let settled = self.mode == TimeMode::Event || meta.known_max <= at;
            let whole = span.1 <= at && settled;
            let mut duty = Duty::default();
            let mut inside = 0u64;
            for frame in bits(wanted.frames) {
                match self.ranges[visit.request * self.frames.len() + frame].cover(span.0, span.1) {
                    Cover::Outside => {}
                    Cover::Inside if settled && self.untiled_frames & (1 << frame) == 0 => inside |= 1 << frame,
                    _ => duty.frames |= 1 << frame,
                }
            }
            if inside != 0 {
                self.merge(visit.request, inside, span, &meta, reader)?;
            }
            if wanted.newest_rows > 0 {
                duty.newest_rows = wanted.newest_rows;
                wanted.newest_rows -= if whole { meta.live.min(wanted.newest_rows) } else { 0 };
            }
            if wanted.newest {
                if whole && meta.live > 0 {
                    self.newest[visit.request] = self.newest[visit.request].max(Some(meta.newest));
                    wanted.newest = false;
                } else {
                    duty.newest = !whole;
                }
            }
            if !duty.is_none() {
                self.next.push(Visit { request: visit.request, path, duty });
            }
        }
        Ok(())
    }

    fn merge(&mut self, request: usize, frames: u64, span: (i64, i64), meta: &TileMeta, mut states: Reader<'_>) -> Result<(), CodecError> {
        let requests = self.requests.len();
        for (groups, frames_of) in self.groups.iter_mut().zip(&self.frames_of) {
            let state = states.bytes()?;
            if state.is_empty() {
                continue;
            }
            for (at, &frame) in frames_of.iter().enumerate() {
                if frames & (1 << frame) != 0 {
                    groups.merge(at * requests + request, state)?;
                }
            }
        }
        self.stats.tiles += u64::from(frames.count_ones());
        if let Some(touches) = &mut self.touches {
            touches.extend(bits(frames).map(|frame| Touch { request, frame, kind: TouchKind::Tile, span, rows: meta.live }));
        }
        Ok(())
    }

    /// Of all candidates, the rows that each `ROWS` frame counts.
    fn choose_last_rows(&mut self) {
        if self.rows_frames == 0 {
            return;
        }
        let gathered = &self.gathered;
        self.candidates.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| gathered.get(b.1 as usize).cmp(gathered.get(a.1 as usize))));
        for newest_first in self.candidates.chunk_by(|a, b| a.0 == b.0) {
            let request = newest_first[0].0 as usize;
            for frame in bits(self.rows_frames) {
                let (Some(last), range) = (self.frames[frame].last, self.ranges[request * self.frames.len() + frame]) else { continue };
                let inside = newest_first.iter().filter(|(_, row)| range.contains(order::time_of(gathered.get(*row as usize))));
                let n = last.n.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
                let chosen = inside.skip(usize::try_from(last.skip).unwrap_or(usize::MAX)).take(n);
                self.pairs[frame].extend(chosen.map(|&(request, row)| (row, request)));
            }
        }
    }

    fn finish(mut self, outputs: &[(usize, usize)]) -> Result<Values, CodecError> {
        self.fold_gathered()?;
        let requests = self.requests.len();
        let finished: Vec<_> = self.groups.iter().map(|groups| groups.finish()).collect();
        let mut values = Values { columns: Vec::new(), errors: Vec::new(), newest: Vec::new(), stats: self.stats };
        for &(measure, frame) in outputs {
            let at = self.frames_of[measure].iter().position(|&f| f == frame).unwrap_or_default();
            let errors = finished[measure].errors.as_ref().map(|errors| errors.slice(at * requests, requests));
            values.columns.push(finished[measure].values.slice(at * requests, requests));
            values.errors.push(errors.filter(|errors| errors.true_count() > 0));
        }
        values.newest = self.newest;
        Ok(values)
    }

    fn fold_gathered(&mut self) -> Result<(), CodecError> {
        let rows = self.gathered.spans.len();
        self.stats.rows = rows as u64;
        self.record_events();
        let columns = self.measures.codec.decode((0..rows).map(|row| self.gathered.args(row)))?;
        let requests = self.requests.len() as u32;
        let (mut pairs, mut filtered) = (Vec::new(), Vec::new());
        for ((measure, groups), frames) in self.measures.measures.iter().zip(&mut self.groups).zip(&self.frames_of) {
            pairs.clear();
            for (at, &frame) in frames.iter().enumerate() {
                let first = at as u32 * requests;
                pairs.extend(self.pairs[frame].iter().map(|&(row, request)| (row, first + request)));
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
