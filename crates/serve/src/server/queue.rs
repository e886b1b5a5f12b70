//! Turns at what not everybody may do at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tonic::Code;

use super::deadline::Until;
use super::failure::Failure;

/// Those who wait for a turn, and those whose turn it is.
pub struct Queue {
    waiting: Semaphore,
    turns: Arc<Semaphore>,
    /// What is said to who may not wait.
    full: String,
}

impl Queue {
    /// So many at once, and so many who wait for that; `what` says who they are.
    pub fn new(turns: usize, waiting: usize, what: &str) -> Queue {
        let full = format!("{waiting} {what} wait already · try again in a moment");
        Queue { waiting: Semaphore::new(waiting), turns: Arc::new(Semaphore::new(turns)), full }
    }

    /// A turn, when it comes.
    ///
    /// # Errors
    /// ResourceExhausted where too many wait; DeadlineExceeded.
    pub async fn turn(&self, until: &Until) -> Result<OwnedSemaphorePermit, Failure> {
        let full = |_| Failure::new(Code::ResourceExhausted, self.full.clone()).of_reading();
        let _waiting = self.waiting.try_acquire().map_err(full)?;
        let closed = |_| Failure::new(Code::Unavailable, "the server is about to end");
        timeout_at(until.at(), Arc::clone(&self.turns).acquire_owned()).await.map_err(|_| until.exceeded().of_reading())?.map_err(closed)
    }
}
