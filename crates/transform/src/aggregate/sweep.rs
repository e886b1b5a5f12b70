//! Values of many windows over the same cells, one after the other: what entered since the window before is merged, and what left it is taken out.
//!
//! A *cell* is a run of events that all windows treat alike: they come in together and go together. States that can be taken out of each other need one
//! running state. The others take two stacks, as long as cells leave in the order in which they entered; where they do not, the windows are halved until a
//! cell is in all of them or in none. Merging is exact, so that none of these can change a bit.

use arrow::array::{Array, BooleanArray};
use arrow::compute::concat;

use super::Finished;
use super::kernel::{Kernel, Way, finished};

/// The windows that a cell is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The cell.
    pub cell: u32,
    /// The first window that it is in.
    pub from: u32,
    /// The window before which it leaves: after `from`, and not after the end of its series.
    pub to: u32,
}

/// Which cells each of many windows is made of.
///
/// Windows come in *series*, of one entity each, in which time goes on; a span lies within one series.
#[derive(Debug)]
pub struct Schedule<'a> {
    /// By where they begin.
    spans: Vec<Span>,
    /// The spans by where they end.
    by_end: Vec<u32>,
    /// The first window of each series, ascending, and the number of all windows.
    starts: &'a [u32],
    /// Whether spans of a series end in the order in which they begin.
    in_order: bool,
}

/// What happens next in a schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A series begins: nothing is in its first window yet.
    Begin,
    /// A cell comes in.
    Enter(usize),
    /// A cell goes.
    Leave(usize),
    /// The window is what it is to be.
    Value,
}

impl<'a> Schedule<'a> {
    /// Spans in any order; `starts` as the schedule keeps it, with the number of windows at its end.
    pub fn new(mut spans: Vec<Span>, starts: &'a [u32]) -> Self {
        if !spans.is_sorted_by_key(|span| span.from) {
            spans.sort_by_key(|span| span.from);
        }
        let in_order = spans.is_sorted_by_key(|span| span.to);
        let mut by_end: Vec<u32> = (0..spans.len() as u32).collect();
        if !in_order {
            by_end.sort_by_key(|&span| spans[span as usize].to);
        }
        Schedule { spans, by_end, starts, in_order }
    }

    /// How many windows there are.
    pub fn values(&self) -> usize {
        self.starts.last().map_or(0, |&end| end as usize)
    }

    /// Everything that happens, in order.
    pub(crate) fn run(&self, mut visit: impl FnMut(Step)) {
        let (mut entered, mut left) = (0, 0);
        for series in self.starts.array_windows::<2>() {
            visit(Step::Begin);
            // What was in the last window of the series before is gone with it.
            while left < self.by_end.len() && self.spans[self.by_end[left] as usize].to <= series[0] {
                left += 1;
            }
            for window in series[0]..series[1] {
                while let Some(span) = self.spans.get(entered).filter(|span| span.from == window) {
                    visit(Step::Enter(span.cell as usize));
                    entered += 1;
                }
                while let Some(span) = self.by_end.get(left).map(|&span| self.spans[span as usize]).filter(|span| span.to == window) {
                    visit(Step::Leave(span.cell as usize));
                    left += 1;
                }
                visit(Step::Value);
            }
        }
    }
}

/// The value of each window.
pub(super) fn sweep<K: Kernel>(kernel: &K, cells: &[K::State], schedule: &Schedule<'_>) -> Finished {
    let mut values = Values::new(kernel, schedule.values());
    if K::INVERTIBLE {
        running(kernel, cells, schedule, &mut values);
    } else if schedule.in_order && !K::GROWS {
        two_stacks(kernel, cells, schedule, &mut values);
    } else {
        let mut rest = schedule.spans.as_slice();
        for series in schedule.starts.array_windows::<2>() {
            let (spans, later) = rest.split_at(rest.partition_point(|span| span.from < series[1]));
            rest = later;
            halving(kernel, cells, spans, series[0]..series[1], &K::State::default(), &mut values);
        }
    }
    values.finish()
}

/// States whose values are wanted, finished so many at a time.
struct Values<'k, K: Kernel> {
    kernel: &'k K,
    states: Vec<K::State>,
    at_once: usize,
    pieces: Vec<Finished>,
}

impl<'k, K: Kernel> Values<'k, K> {
    fn new(kernel: &'k K, values: usize) -> Self {
        let at_once = if K::GROWS { 16 } else { 4096 };
        Values { kernel, states: Vec::with_capacity(at_once.min(values)), at_once, pieces: Vec::with_capacity(values.div_ceil(at_once)) }
    }

    #[inline(always)]
    fn push(&mut self, state: K::State) {
        self.states.push(state);
        if self.states.len() == self.at_once {
            self.pieces.push(self.kernel.finish(&self.states));
            self.states.clear();
        }
    }

    fn finish(mut self) -> Finished {
        if !self.states.is_empty() || self.pieces.is_empty() {
            self.pieces.push(self.kernel.finish(&self.states));
        }
        if self.pieces.len() == 1
            && let Some(only) = self.pieces.pop()
        {
            return only;
        }
        let values: Vec<&dyn Array> = self.pieces.iter().map(|piece| &*piece.values).collect();
        // Pieces are of one type.
        let Ok(values) = concat(&values) else { return self.kernel.finish(&[]) };
        if self.pieces.iter().all(|piece| piece.errors.is_none()) {
            return finished(values);
        }
        let errors = self.pieces.iter().flat_map(|piece| match &piece.errors {
            Some(errors) => errors.values().iter().map(Some).collect::<Vec<_>>(),
            None => vec![Some(false); piece.values.len()],
        });
        Finished { values, errors: Some(errors.collect::<BooleanArray>()) }
    }
}

fn running<K: Kernel>(kernel: &K, cells: &[K::State], schedule: &Schedule<'_>, values: &mut Values<'_, K>) {
    let (mut state, mut inside) = (K::State::default(), 0usize);
    schedule.run(|step| match step {
        Step::Begin => (state, inside) = (K::State::default(), 0),
        Step::Enter(cell) => {
            kernel.absorb(&mut state, &cells[cell], Way::In);
            inside += 1;
        }
        Step::Leave(cell) => {
            kernel.absorb(&mut state, &cells[cell], Way::Out);
            inside -= 1;
            if inside == 0 {
                // It is empty either way; this one is small again.
                state = K::State::default();
            }
        }
        Step::Value => values.push(state.clone()),
    });
}

/// The cells of a window are a queue. Those before a pivot have, one for each, the sum from there to the pivot; those after it are summed as they come. When the
/// last of the former has left, the pivot moves to the end: so a cell is merged twice.
fn two_stacks<K: Kernel>(kernel: &K, cells: &[K::State], schedule: &Schedule<'_>, values: &mut Values<'_, K>) {
    let mut queue: Vec<usize> = Vec::new();
    let mut head = 0;
    let mut pivot = 0;
    let mut front: Vec<K::State> = Vec::new();
    let mut back = K::State::default();
    schedule.run(|step| match step {
        Step::Begin => {
            queue.clear();
            front.clear();
            (head, pivot) = (0, 0);
            back = K::State::default();
        }
        Step::Enter(cell) => {
            kernel.absorb(&mut back, &cells[cell], Way::In);
            queue.push(cell);
        }
        Step::Leave(_) => head += 1,
        Step::Value => {
            if head >= pivot {
                front.clear();
                let mut sum = K::State::default();
                for &cell in queue[head..].iter().rev() {
                    kernel.absorb(&mut sum, &cells[cell], Way::In);
                    front.push(sum.clone());
                }
                pivot = queue.len();
                back = K::State::default();
            }
            front.truncate(pivot - head);
            let mut value = front.last().cloned().unwrap_or_default();
            kernel.absorb(&mut value, &back, Way::In);
            values.push(value);
        }
    });
}

/// The windows of a range, given the sum of what is in all of them.
fn halving<K: Kernel>(
    kernel: &K,
    cells: &[K::State],
    spans: &[Span],
    windows: std::ops::Range<u32>,
    inherited: &K::State,
    values: &mut Values<'_, K>,
) {
    let mut state = inherited.clone();
    let (all, some): (Vec<Span>, Vec<Span>) = spans.iter().partition(|span| span.from <= windows.start && span.to >= windows.end);
    all.iter().for_each(|span| kernel.absorb(&mut state, &cells[span.cell as usize], Way::In));
    match windows.len() {
        0 => {}
        1 => values.push(state),
        len => {
            let middle = windows.start + len as u32 / 2;
            let before: Vec<Span> = some.iter().filter(|span| span.from < middle).copied().collect();
            let after: Vec<Span> = some.iter().filter(|span| span.to > middle).copied().collect();
            halving(kernel, cells, &before, windows.start..middle, &state, values);
            halving(kernel, cells, &after, middle..windows.end, &state, values);
        }
    }
}
