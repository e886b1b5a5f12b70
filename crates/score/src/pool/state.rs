//! What waits and what runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::{PoolError, PoolOptions, rows};
use crate::Tensor;

/// What a pool has done, and how it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Threads that run, or wait for work.
    pub threads: usize,
    /// Runs that wait for a thread.
    pub waiting: usize,
    /// Runs that are under way.
    pub running: usize,
    /// Threads that hang.
    pub hanging: usize,
    /// What was done so far.
    pub counted: Counted,
}

/// What a pool has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Runs.
    pub runs: u64,
    /// Rows in them.
    pub rows: u64,
    /// Those of the runs that were made on the thread of whoever asked.
    pub here: u64,
    /// Requests that were refused, since as many waited as may.
    pub shed: u64,
    /// Requests that were past their deadline before they were begun.
    pub late: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that panicked.
    pub panicked: u64,
    /// Runs that took longer than they may.
    pub hung: u64,
    /// Runs of up to so many rows as [`Counted::ROWS`] says, and more than the bound before; of more than the last one, at the end.
    pub of_rows: [u64; 7],
    /// Runs of which the oldest request had waited for up to so long as [`Counted::WAITED`] says, likewise.
    pub waited: [u64; 7],
}

impl Counted {
    /// Bounds on rows of a run.
    pub const ROWS: [usize; 6] = [1, 4, 16, 64, 256, 1024];
    /// Bounds on how long a request waits, µs.
    pub const WAITED: [u64; 6] = [100, 500, 2_000, 10_000, 50_000, 250_000];

    /// A run of so many rows was made, and came to this.
    pub fn ended(&mut self, rows: usize, outcome: &Result<Vec<Tensor>, PoolError>) {
        self.runs += 1;
        self.rows += rows as u64;
        self.of_rows[Self::ROWS.partition_point(|bound| *bound < rows)] += 1;
        match outcome {
            Ok(_) => {}
            Err(PoolError::Panicked(_)) => self.panicked += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// The same on the thread of whoever asked, who waited for no other.
    pub fn ended_here(&mut self, rows: usize, outcome: &Result<Vec<Tensor>, PoolError>) {
        self.here += 1;
        self.begun_after(Duration::ZERO);
        self.ended(rows, outcome);
    }

    /// A run was begun, of which the oldest request had waited so long.
    pub fn begun_after(&mut self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited[Self::WAITED.partition_point(|bound| *bound < micros)] += 1;
    }
}

/// What waits and what runs.
#[derive(Default)]
pub struct State {
    waiting: VecDeque<Block>,
    /// Threads that wait for work.
    pub idle: usize,
    /// Those that are not given up, by number.
    pub workers: BTreeMap<u64, Worker>,
    /// The number of the next one.
    pub next: u64,
    /// Threads that were given up and have not come back.
    pub hanging: usize,
    /// When the last run ended.
    pub run_ended: Option<Instant>,
    /// Whether whoever watches sleeps until it is woken.
    pub unwatched: bool,
    /// Nothing more is taken.
    pub ending: bool,
    /// What was done.
    pub counted: Counted,
}

/// A thread.
#[derive(Default)]
pub struct Worker {
    /// What it runs.
    pub run: Option<Run>,
}

/// Something that runs.
pub struct Run {
    /// When it takes too long.
    pub stalls_at: Instant,
    /// Who waits for it, each for one of its blocks; nobody for a session that is made.
    pub of: Vec<(Arc<Asked>, usize)>,
}

/// Rows of a request that are run together.
pub struct Block {
    /// Whose they are.
    pub asked: Arc<Asked>,
    /// Which of its blocks.
    pub number: usize,
    /// One tensor an input.
    pub tensors: Vec<Tensor>,
}

impl Block {
    /// Tells its request what came of it.
    pub fn ended(&self, outcome: Result<Vec<Tensor>, PoolError>) {
        self.asked.block_ended(self.number, outcome);
    }

    fn is_late(&self, now: Instant) -> bool {
        self.asked.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl State {
    /// Lets the blocks of a request wait.
    pub fn put(&mut self, asked: &Arc<Asked>, blocks: Vec<Vec<Tensor>>, options: &PoolOptions) -> Result<(), PoolError> {
        if self.ending {
            return Err(PoolError::Ended);
        }
        if self.workers.is_empty() {
            return Err(PoolError::Stuck(self.hanging));
        }
        // One that can begin at once does not wait.
        if self.waiting.len() >= options.queue.max(self.idle) {
            self.counted.shed += 1;
            return Err(PoolError::Full(self.waiting.len()));
        }
        let blocks = blocks.into_iter().enumerate();
        self.waiting.extend(blocks.map(|(number, tensors)| Block { asked: Arc::clone(asked), number, tensors }));
        Ok(())
    }

    /// Forgets what nobody waits for, and refuses what is too late.
    pub fn drop_late(&mut self, now: Instant) {
        let counted = &mut self.counted;
        self.waiting.retain(|block| {
            if block.is_late(now) && !block.asked.is_over() {
                counted.late += 1;
                block.ended(Err(PoolError::Late));
            }
            !block.asked.is_over()
        });
    }

    /// Until when whoever is free may wait for more to come; `None` where it is to run what there is, or there is nothing. What did not have to wait for a thread is no sign that more
    /// will come: a caller who asks again as soon as it is answered waits for nobody.
    pub fn linger(&self, options: &PoolOptions) -> Option<Instant> {
        let came = self.waiting.front()?.asked.came;
        let had_to_wait = self.run_ended.is_some_and(|ended| came < ended);
        let rows: usize = self.waiting.iter().map(|block| rows::rows(&block.tensors)).sum();
        (had_to_wait && self.idle == 0 && !self.ending && rows < options.max_batch).then(|| came + options.max_wait)
    }

    /// Takes what is run next: the oldest block, and those behind it as far as they fit.
    pub fn take(&mut self, most: usize) -> Vec<Block> {
        let mut taken: Vec<Block> = Vec::new();
        let mut count = 0;
        while let Some(next) = self.waiting.front() {
            count += rows::rows(&next.tensors);
            if taken.first().is_some_and(|first| count > most || !rows::fit(&first.tensors, &next.tensors)) {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        taken
    }

    /// Refuses all that waits.
    pub fn refuse(&mut self, error: &PoolError) {
        for block in self.waiting.drain(..) {
            block.ended(Err(error.clone()));
        }
    }

    /// The next moment at which something may take too long, or be too late.
    pub fn next_look(&self) -> Option<Instant> {
        let runs = self.workers.values().filter_map(|worker| Some(worker.run.as_ref()?.stalls_at));
        let deadlines = self.waiting.iter().filter_map(|block| block.asked.deadline);
        runs.chain(deadlines).min()
    }

    /// How it stands.
    pub fn figures(&self) -> Figures {
        // One that makes a session runs nothing.
        let is_running = |worker: &&Worker| worker.run.as_ref().is_some_and(|run| !run.of.is_empty());
        let running = self.workers.values().filter(is_running).count();
        Figures { threads: self.workers.len(), waiting: self.waiting.len(), running, hanging: self.hanging, counted: self.counted }
    }
}

impl Run {
    /// Of these blocks, for so long at most.
    pub fn new(blocks: &[Block], now: Instant, within: Duration) -> Run {
        Run { stalls_at: now + within, of: blocks.iter().map(|block| (Arc::clone(&block.asked), block.number)).collect() }
    }
}
