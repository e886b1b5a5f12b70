//! A request from when it is handed over until it is answered: its blocks are run by several threads, and put together again.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::{PoolError, rows};
use crate::Tensor;

type Outcome = Result<Vec<Tensor>, PoolError>;

/// Is told once how a request ended, whether anybody still waits for it or not.
pub type Teller = Box<dyn FnOnce(Result<(), &PoolError>) + Send>;

/// A request.
pub struct Asked {
    /// When it came.
    pub came: Instant,
    /// When nobody waits for it any more.
    pub deadline: Option<Instant>,
    gathered: Mutex<Gathered>,
    told: Condvar,
}

struct Gathered {
    /// What has come of each block.
    blocks: Vec<Option<Vec<Tensor>>>,
    outcome: Option<Outcome>,
    /// It was answered, or nobody waits for it.
    is_over: bool,
    waker: Option<Waker>,
    teller: Option<Teller>,
}

impl Asked {
    /// One of so many blocks.
    pub fn new(blocks: usize, came: Instant, deadline: Option<Instant>, teller: Option<Teller>) -> Asked {
        let gathered = Gathered { blocks: vec![None; blocks], outcome: None, is_over: false, waker: None, teller };
        Asked { came, deadline, gathered: Mutex::new(gathered), told: Condvar::new() }
    }

    /// Whether running its blocks is of no use any more.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// What has come of a block. Once one has failed, so has the request.
    pub fn block_ended(&self, block: usize, outcome: Outcome) {
        let mut gathered = self.lock();
        if gathered.is_over {
            // Nobody waits for it, and it says how the model is all the same.
            let teller = gathered.teller.take();
            drop(gathered);
            return tell(teller, &outcome);
        }
        let all = match outcome {
            Err(error) => Err(error),
            Ok(tensors) => {
                gathered.blocks[block] = Some(tensors);
                if gathered.blocks.iter().any(Option::is_none) {
                    return;
                }
                let mut blocks: Vec<Vec<Tensor>> = std::mem::take(&mut gathered.blocks).into_iter().flatten().collect();
                if blocks.len() == 1 { Ok(blocks.swap_remove(0)) } else { Ok(rows::joined(&blocks.iter().map(Vec::as_slice).collect::<Vec<_>>())) }
            }
        };
        let teller = gathered.teller.take();
        tell(teller, &all);
        gathered.outcome = Some(all);
        gathered.is_over = true;
        let waker = gathered.waker.take();
        drop(gathered);
        self.told.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Nothing that holds the lock panics between two steps.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked {
    /// What nobody waited for was never begun, which says nothing of the model.
    fn drop(&mut self) {
        let teller = self.lock().teller.take();
        tell(teller, &Err(PoolError::Ended));
    }
}

/// Tells, where somebody is to be told.
pub fn tell(teller: Option<Teller>, outcome: &Outcome) {
    if let Some(teller) = teller {
        teller(outcome.as_ref().map(|_| ()));
    }
}

/// What is to come of rows that were handed over: awaited, or waited for. Where it is dropped before, what was not begun is not run.
#[must_use = "rows that nobody waits for are not run"]
pub struct Pending(Of);

enum Of {
    /// A request that threads have, or had.
    Asked(Arc<Asked>),
    /// It ended where it was asked; `None` once that was told.
    Ended(Option<Outcome>),
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("ended", &matches!(self.0, Of::Ended(_))).finish_non_exhaustive()
    }
}

impl Pending {
    pub(super) fn of(asked: Arc<Asked>) -> Pending {
        Pending(Of::Asked(asked))
    }

    pub(super) fn ended(outcome: Outcome) -> Pending {
        Pending(Of::Ended(Some(outcome)))
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn wait(mut self) -> Outcome {
        let asked = match &mut self.0 {
            Of::Asked(asked) => Arc::clone(asked),
            Of::Ended(outcome) => return outcome.take().unwrap_or(Err(PoolError::Ended)),
        };
        let mut gathered = asked.lock();
        loop {
            if let Some(outcome) = gathered.outcome.take() {
                return outcome;
            }
            gathered = asked.told.wait(gathered).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            Of::Ended(outcome) => Poll::Ready(outcome.take().unwrap_or(Err(PoolError::Ended))),
            Of::Asked(asked) => {
                let mut gathered = asked.lock();
                match gathered.outcome.take() {
                    Some(outcome) => Poll::Ready(outcome),
                    None => {
                        gathered.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Of::Asked(asked) = &self.0 {
            asked.lock().is_over = true;
        }
    }
}
