//! Reading many moments of the same entities at once: the offline schedule of what [`super::read_at`] does for a few.
//!
//! An entity's events lie in order, and so do the moments it is asked about. As moments go on, both edges of a frame only move forward, so that each event is inside
//! a frame from one moment to another. Events that come into all frames together, and go together, are folded into one *cell*, whatever the number of frames; what a
//! frame's value is made of then follows from the cells ([`Schedule`]). So an event is folded once, and not once for each window that it is in.
//!
//! In known time an event is inside from when it is known, and until another content of it is: an interval as well. Only `ROWS` frames need more then, since an event
//! that becomes known late moves others out: which events they count is followed from moment to moment.

use std::collections::{BTreeSet, BinaryHeap};

use lockstep_model::{Error, TimeMode};

use super::frame;
use super::measure::Measures;
use super::node::Row;
use super::order::{self, TimeRange};
use super::plan::ReadPlan;
use super::read::{ReadStats, Values};
use crate::aggregate::{OrderKeys, Rows, Schedule, Span};

/// One entity's events, and the moments it is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// All events, by order key.
    pub rows: &'a [Row<'a>],
    /// Moments, ascending, µs.
    pub moments: &'a [i64],
}

/// Reads, at each moment of each series, each output of the plan: the values that [`super::read_at`] gives for the same events, one series after the other.
///
/// # Errors
/// Where an event's arguments cannot be decoded.
pub fn sweep(plan: &ReadPlan, measures: &Measures, series: &[Series<'_>], mode: TimeMode) -> Result<Values, Error> {
    let mut sweep = Sweep::new(plan, series, mode);
    series.iter().for_each(|series| sweep.series(*series));
    sweep.finish(plan, measures)
}

/// An event that some moment may see.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Its row in the series.
    row: u32,
    time: i64,
    known_from: i64,
    known_until: i64,
}

/// Moments, as their numbers: from the first to before the second.
type Interval = (u32, u32);

/// Nobody sees it.
const NEVER: Interval = (0, 0);

struct Sweep<'a> {
    mode: TimeMode,
    plan: &'a ReadPlan,
    /// The first moment of each series, and the number of all.
    starts: Vec<u32>,
    /// Rows that are in any cell.
    rows: Vec<Row<'a>>,
    /// `(row, cell)`, in order.
    pairs: Vec<(u32, u32)>,
    cells: u32,
    /// Per frame.
    spans: Vec<Vec<Span>>,
    newest: Vec<Option<i64>>,
    /// Of the series at hand, per frame and moment: the events inside, by their places among those seen.
    inside: Vec<Vec<(u32, u32)>>,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Ordered<'a>(&'a [Row<'a>]);

impl OrderKeys for Ordered<'_> {
    fn get(&self, row: usize) -> &[u8] {
        self.0[row].key
    }
}

impl<'a> Sweep<'a> {
    fn new(plan: &'a ReadPlan, series: &[Series<'a>], mode: TimeMode) -> Self {
        let moments = series.iter().map(|series| series.moments.len()).sum();
        Sweep {
            mode,
            plan,
            starts: vec![0],
            rows: Vec::new(),
            pairs: Vec::new(),
            cells: 0,
            spans: vec![Vec::new(); plan.frames().len()],
            newest: Vec::with_capacity(moments),
            inside: vec![Vec::new(); plan.frames().len()],
            seen: Vec::new(),
        }
    }

    fn series(&mut self, series: Series<'a>) {
        let Some(&last) = series.moments.last() else { return };
        let first = self.newest.len() as u32;
        let until = series.rows.partition_point(|row| order::time_of(row.key) <= last);
        let mode = self.mode;
        let see = |(row, of): (usize, &Row<'_>)| {
            let (known_from, known_until) = match mode {
                TimeMode::Known => (of.known_from, of.known_until),
                TimeMode::Event => (i64::MIN, i64::MAX),
            };
            (mode == TimeMode::Known || of.is_live()).then(|| Seen { row: row as u32, time: order::time_of(of.key), known_from, known_until })
        };
        self.seen.clear();
        self.seen.extend(series.rows[..until].iter().enumerate().filter_map(see));
        // Whether events are seen from their own moment on, and for ever.
        let plain = self.seen.iter().all(|seen| seen.known_from <= seen.time && seen.known_until == i64::MAX);
        self.find_inside(series.moments, plain);
        if plain {
            let moments = Edges::at_each(&self.seen, series.moments.iter().copied());
            let newest = moments.map(|until| until.checked_sub(1).map(|at| self.seen[at as usize].time));
            self.newest.extend(newest);
        } else {
            newest_known(&self.seen, series.moments, &mut self.newest);
        }
        self.cut(series, first, plain);
        if !plain {
            self.choose_last_rows(series.moments, first);
        }
        self.starts.push(self.newest.len() as u32);
    }

    /// The events inside each frame at each moment, as far as event time says it; of `ROWS` frames the last ones only where all are known.
    fn find_inside(&mut self, moments: &[i64], plain: bool) {
        for (frame, inside) in self.plan.frames().iter().zip(&mut self.inside) {
            inside.clear();
            let mut firsts = Edges::default();
            let mut lasts = Edges::default();
            let last_rows = frame.last.filter(|_| plain);
            inside.extend(moments.iter().map(|&at| {
                let range = frame.range(at);
                if range == TimeRange::EMPTY {
                    return NEVER;
                }
                // An empty frame between others still lies where they do, so that edges only move forward.
                let start = firsts.before(&self.seen, range.first);
                let end = lasts.up_to(&self.seen, range.last).max(start);
                let Some(last) = last_rows else { return (start, end) };
                let less = |place: u32, by: u64| place.saturating_sub(u32::try_from(by).unwrap_or(u32::MAX)).max(start);
                let end = less(end, last.skip);
                (last.n.map_or(start, |n| less(end, n)), end)
            }));
        }
    }

    /// Puts events into cells, and cells into the frames that they are in.
    fn cut(&mut self, series: Series<'a>, first: u32, plain: bool) {
        let frames = self.plan.frames();
        let moments = series.moments.len() as u32;
        // Which events a `ROWS` frame counts is found later, for each by itself.
        let apart = !plain && frames.iter().any(|frame| frame.last.is_some());
        let mut cursors = vec![NEVER; frames.len()];
        let mut before: Vec<Interval> = vec![NEVER; frames.len()];
        let mut intervals = before.clone();
        let mut is_open = false;
        for (place, seen) in self.seen.iter().enumerate() {
            let known = if plain { (0, moments) } else { known_interval(seen, series.moments) };
            for (frame, interval) in intervals.iter_mut().enumerate() {
                *interval = if apart && frames[frame].last.is_some() {
                    NEVER
                } else {
                    let (from, to) = advance(&mut cursors[frame], &self.inside[frame], place as u32);
                    let (from, to) = (from.max(known.0), to.min(known.1));
                    if from < to { (from, to) } else { NEVER }
                };
            }
            if !apart && intervals.iter().all(|interval| *interval == NEVER) {
                is_open = false;
                continue;
            }
            if apart || !is_open || intervals != before {
                for (spans, &(from, to)) in self.spans.iter_mut().zip(&intervals) {
                    if from < to {
                        spans.push(Span { cell: self.cells, from: first + from, to: first + to });
                    }
                }
                self.cells += 1;
                before.copy_from_slice(&intervals);
                is_open = true;
            }
            self.pairs.push((self.rows.len() as u32, self.cells - 1));
            self.rows.push(series.rows[seen.row as usize]);
        }
    }

    /// What `ROWS` frames count where events become known in another order than theirs. Each event has a cell of its own, the last ones so far.
    fn choose_last_rows(&mut self, moments: &[i64], first: u32) {
        let plan = self.plan;
        for (frame, of) in plan.frames().iter().enumerate() {
            let Some(last) = of.last else { continue };
            let first_cell = self.cells - self.seen.len() as u32;
            let (mut comes, mut goes) = (Vec::new(), Vec::new());
            let mut cursor = NEVER;
            for (place, seen) in self.seen.iter().enumerate() {
                let known = known_interval(seen, moments);
                let (from, to) = advance(&mut cursor, &self.inside[frame], place as u32);
                let (from, to) = (from.max(known.0), to.min(known.1));
                if from < to {
                    comes.push((from, place as u32));
                    goes.push((to, place as u32));
                }
            }
            comes.sort_unstable();
            goes.sort_unstable();
            let mut chosen = LastRows::new(last, self.seen.len());
            let (mut comes, mut goes) = (comes.into_iter().peekable(), goes.into_iter().peekable());
            for moment in 0..moments.len() as u32 {
                while let Some((_, place)) = goes.next_if(|(at, _)| *at <= moment) {
                    chosen.remove(place, moment);
                }
                while let Some((_, place)) = comes.next_if(|(at, _)| *at <= moment) {
                    chosen.insert(place, moment);
                }
            }
            let spans = chosen.finish(moments.len() as u32);
            self.spans[frame].extend(spans.map(|(place, (from, to))| Span { cell: first_cell + place, from: first + from, to: first + to }));
        }
    }

    fn finish(self, plan: &ReadPlan, measures: &Measures) -> Result<Values, Error> {
        let columns = measures.codec.decode(self.rows.iter().map(|row| row.args))?;
        let schedules: Vec<Schedule<'_>> = self.spans.into_iter().map(|spans| Schedule::new(spans, &self.starts)).collect();
        let order = Ordered(&self.rows);
        let mut filtered = Vec::new();
        let mut finished = Vec::with_capacity(measures.measures.len());
        for (measure, frames) in measures.measures.iter().zip(plan.frames_of()) {
            let mut cells = measure.aggregate.groups();
            cells.resize(self.cells as usize);
            let pairs = measure.filtered(&columns, &self.pairs, &mut filtered);
            if !pairs.is_empty() {
                cells.update(Rows { args: &measure.args(&columns), pairs, order: &order });
            }
            finished.push(frames.iter().map(|&frame| cells.sweep(&schedules[frame])).collect::<Vec<_>>());
        }
        let outputs = plan.outputs().iter().map(|&(measure, place)| {
            let output = &finished[measure][place];
            (output.values.clone(), output.errors.clone().filter(|errors| errors.true_count() > 0))
        });
        let (columns, errors) = outputs.unzip();
        let stats = ReadStats { rows: self.rows.len() as u64, ..ReadStats::default() };
        Ok(Values { columns, errors, newest: self.newest, stats })
    }
}

/// How many events come before an edge that only moves forward.
#[derive(Debug, Default)]
struct Edges(u32);

impl Edges {
    /// For each moment, how many events there are up to it.
    fn at_each(seen: &[Seen], moments: impl Iterator<Item = i64>) -> impl Iterator<Item = u32> {
        let mut edge = Edges::default();
        moments.map(move |at| edge.up_to(seen, at))
    }

    /// Events at `time` or before it.
    fn up_to(&mut self, seen: &[Seen], time: i64) -> u32 {
        while seen.get(self.0 as usize).is_some_and(|seen| seen.time <= time) {
            self.0 += 1;
        }
        self.0
    }

    /// Events before `time`.
    fn before(&mut self, seen: &[Seen], time: i64) -> u32 {
        while seen.get(self.0 as usize).is_some_and(|seen| seen.time < time) {
            self.0 += 1;
        }
        self.0
    }
}

/// The moments at which an event lies between the edges; those of the event before are passed on.
fn advance((from, to): &mut Interval, inside: &[(u32, u32)], place: u32) -> Interval {
    while inside.get(*from as usize).is_some_and(|&(_, end)| end <= place) {
        *from += 1;
    }
    while inside.get(*to as usize).is_some_and(|&(start, _)| start <= place) {
        *to += 1;
    }
    (*from, *to)
}

/// The moments at which an event is what is known.
fn known_interval(seen: &Seen, moments: &[i64]) -> Interval {
    let from = if seen.known_from <= seen.time { 0 } else { moments.partition_point(|&at| at < seen.known_from) };
    let to = if seen.known_until == i64::MAX { moments.len() } else { moments.partition_point(|&at| at < seen.known_until) };
    (from as u32, to as u32)
}

/// The newest event that is known, at each moment.
fn newest_known(seen: &[Seen], moments: &[i64], newest: &mut Vec<Option<i64>>) {
    let mut comes: Vec<(i64, usize)> = seen.iter().enumerate().map(|(place, seen)| (seen.time.max(seen.known_from), place)).collect();
    comes.sort_unstable();
    let mut comes = comes.into_iter().peekable();
    let mut known: BinaryHeap<(i64, i64)> = BinaryHeap::new();
    newest.extend(moments.iter().map(|&at| {
        while let Some((_, place)) = comes.next_if(|(from, _)| *from <= at) {
            known.push((seen[place].time, seen[place].known_until));
        }
        while known.peek().is_some_and(|&(_, until)| until != i64::MAX && until <= at) {
            known.pop();
        }
        known.peek().map(|&(time, _)| time)
    }));
}

/// The last events of a set that changes: after leaving out the newest few, so many.
struct LastRows {
    skip: usize,
    n: usize,
    skipped: BTreeSet<u32>,
    chosen: BTreeSet<u32>,
    rest: BTreeSet<u32>,
    /// Since which moment each is chosen.
    since: Vec<u32>,
    done: Vec<(u32, Interval)>,
}

impl LastRows {
    fn new(last: frame::LastRows, places: usize) -> Self {
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        LastRows {
            skip: count(last.skip),
            n: last.n.map_or(usize::MAX, count),
            skipped: BTreeSet::new(),
            chosen: BTreeSet::new(),
            rest: BTreeSet::new(),
            since: vec![0; places],
            done: Vec::new(),
        }
    }

    fn insert(&mut self, place: u32, moment: u32) {
        let mut place = place;
        if self.skipped.len() < self.skip || self.skipped.first().is_some_and(|oldest| place > *oldest) {
            self.skipped.insert(place);
            if self.skipped.len() <= self.skip {
                return;
            }
            let Some(oldest) = self.skipped.pop_first() else { return };
            place = oldest;
        }
        if self.chosen.len() < self.n || self.chosen.first().is_some_and(|oldest| place > *oldest) {
            self.choose(place, moment);
            if self.chosen.len() > self.n
                && let Some(oldest) = self.chosen.pop_first()
            {
                self.end(oldest, moment);
                self.rest.insert(oldest);
            }
        } else {
            self.rest.insert(place);
        }
    }

    fn remove(&mut self, place: u32, moment: u32) {
        if self.rest.remove(&place) {
            return;
        }
        if self.chosen.remove(&place) {
            self.end(place, moment);
        } else if self.skipped.remove(&place)
            && let Some(newest) = self.chosen.pop_last()
        {
            self.end(newest, moment);
            self.skipped.insert(newest);
        } else {
            return;
        }
        if let Some(newest) = self.rest.pop_last() {
            self.choose(newest, moment);
        }
    }

    fn choose(&mut self, place: u32, moment: u32) {
        self.chosen.insert(place);
        self.since[place as usize] = moment;
    }

    fn end(&mut self, place: u32, moment: u32) {
        let since = self.since[place as usize];
        if since < moment {
            self.done.push((place, (since, moment)));
        }
    }

    /// Which were chosen, and when.
    fn finish(mut self, moments: u32) -> impl Iterator<Item = (u32, Interval)> {
        let last: Vec<u32> = self.chosen.iter().copied().collect();
        last.into_iter().for_each(|place| self.end(place, moments));
        self.done.into_iter()
    }
}
