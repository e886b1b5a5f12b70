//! A thread that runs a session.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use super::state::{Block, Run, State, Worker};
use super::{PoolError, Shared, no_thread, now, rows};
use crate::{Session, Tensor};

/// Tells whoever started a thread whether it is warm.
pub type Teller = SyncSender<Result<(), PoolError>>;

type Made = Result<Box<dyn Session>, PoolError>;

/// Starts a thread.
///
/// # Errors
/// Where there is none to be had.
pub fn start(shared: &Arc<Shared>, state: &mut State, teller: Option<Teller>) -> Result<(), PoolError> {
    let number = state.next;
    state.next += 1;
    let loading = Run::new(&[], now(), shared.options.warm_within);
    state.workers.insert(number, Worker { run: Some(loading) });
    let of = Arc::clone(shared);
    let started = thread::Builder::new().name(format!("score-{number}")).spawn(move || work(&of, number, teller));
    if started.is_err() {
        state.workers.remove(&number);
    }
    started.map(|_| ()).map_err(no_thread)
}

fn work(shared: &Shared, number: u64, teller: Option<Teller>) {
    let mut session = shared.session();
    if let Some(teller) = teller {
        // Who is told may have given up.
        let _ = teller.send(session.as_ref().map(|_| ()).map_err(Clone::clone));
        if session.is_err() {
            return shared.leave(number);
        }
    }
    while shared.ended(number) {
        if session.is_err() {
            shared.begin(number, &[], shared.options.warm_within);
            session = shared.session();
            if !shared.ended(number) {
                return;
            }
        }
        let Some(blocks) = shared.take(number) else { return };
        session = shared.run(number, session, &blocks);
    }
}

impl Shared {
    /// A thread begins to run blocks, or to make a session where there are none.
    fn begin(&self, number: u64, blocks: &[Block], within: Duration) {
        if let Some(worker) = self.lock().workers.get_mut(&number) {
            worker.run = Some(Run::new(blocks, now(), within));
        }
    }

    /// A thread has ended what it ran. Whether it goes on: one that was given up meanwhile does where it is needed.
    fn ended(&self, number: u64) -> bool {
        let mut state = self.lock();
        if let Some(worker) = state.workers.get_mut(&number) {
            worker.run = None;
            return true;
        }
        state.hanging -= 1;
        let goes_on = !state.ending && state.workers.len() < self.options.threads;
        if goes_on {
            state.workers.insert(number, Worker::default());
        }
        goes_on
    }

    /// A thread that is of no use goes.
    fn leave(&self, number: u64) {
        self.lock().workers.remove(&number);
        self.watch.notify_one();
    }

    /// Waits for work and takes it; `None` at the end.
    fn take(&self, number: u64) -> Option<Vec<Block>> {
        let mut state = self.lock();
        loop {
            let now = now();
            state.drop_late(now);
            if let Some(until) = state.linger(&self.options).filter(|until| *until > now) {
                state = self.work.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let blocks = state.take(self.options.max_batch);
            if !blocks.is_empty() {
                let run = Run::new(&blocks, now, self.options.timeout);
                let waited = blocks.first().map(|oldest| now.saturating_duration_since(oldest.asked.came)).unwrap_or_default();
                state.counted.begun_after(waited);
                state.workers.insert(number, Worker { run: Some(run) });
                if std::mem::take(&mut state.unwatched) {
                    self.watch.notify_one();
                }
                return Some(blocks);
            }
            if state.ending {
                state.workers.remove(&number);
                self.watch.notify_one();
                return None;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Runs blocks together, and gives back the session, or what became of it. Where that fails each is run by itself, so that none fails for the rows of another.
    fn run(&self, number: u64, session: Made, blocks: &[Block]) -> Made {
        let mut session = match session {
            Ok(session) => session,
            Err(error) => {
                blocks.iter().for_each(|block| block.ended(Err(error.clone())));
                return Err(error);
            }
        };
        let together: Vec<&[Tensor]> = blocks.iter().map(|block| block.tensors.as_slice()).collect();
        let outcome = match together.as_slice() {
            [alone] => self.run_once(&mut *session, alone),
            together => self.run_once(&mut *session, &rows::joined(together)),
        };
        // What has panicked may be in any state.
        let left = |error: &PoolError, session| if matches!(error, PoolError::Panicked(_)) { Err(error.clone()) } else { Ok(session) };
        match outcome {
            Ok(outputs) => {
                share_out(blocks, outputs);
                Ok(session)
            }
            Err(error) if blocks.len() > 1 => self.run_each(number, left(&error, session), blocks),
            Err(error) => {
                let left = left(&error, session);
                blocks.iter().for_each(|block| block.ended(Err(error.clone())));
                left
            }
        }
    }

    /// Runs blocks one after the other. Where one hangs, those behind it are given up with it.
    fn run_each(&self, number: u64, mut session: Made, blocks: &[Block]) -> Made {
        for (at, block) in blocks.iter().enumerate() {
            if !block.asked.is_over() {
                self.begin(number, &blocks[at..], self.options.timeout);
                session = self.run(number, session.or_else(|_| self.session()), std::slice::from_ref(block));
            }
        }
        session
    }

    fn run_once(&self, session: &mut dyn Session, tensors: &[Tensor]) -> Result<Vec<Tensor>, PoolError> {
        let rows = rows::rows(tensors);
        let outcome = self.caught(rows, || session.run(tensors));
        let mut state = self.lock();
        state.run_ended = Some(now());
        state.counted.ended(rows, &outcome);
        outcome
    }
}

fn share_out(blocks: &[Block], outputs: Vec<Tensor>) {
    if let [alone] = blocks {
        return alone.ended(Ok(outputs));
    }
    let mut first = 0;
    for block in blocks {
        let count = rows::rows(&block.tensors);
        block.ended(Ok(rows::cut(&outputs, first, count)));
        first += count;
    }
}
